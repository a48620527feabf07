// Dark or light: as the system has it, or as chosen here.

const STORED = "cairn.theme";
const ORDER = ["auto", "light", "dark"];
const SIGNS = { auto: "◐", light: "☀", dark: "☾" };

function stored() {
  const theme = localStorage.getItem(STORED);
  return ORDER.includes(theme) ? theme : "auto";
}

function apply(theme, button) {
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  button.textContent = SIGNS[theme];
  button.title = `Colours: ${theme}`;
  button.setAttribute("aria-label", `Colours: ${theme}. Change`);
}

export function start() {
  const button = document.getElementById("theme");
  apply(stored(), button);
  button.addEventListener("click", () => {
    const next = ORDER[(ORDER.indexOf(stored()) + 1) % ORDER.length];
    localStorage.setItem(STORED, next);
    apply(next, button);
  });
}
