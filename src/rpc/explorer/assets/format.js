// Numbers, times and sizes as people read them.

const GRAINS = 100_000_000;

/** Grains as coins: digits in groups of three before the point, no idle zeros after it. */
export function coins(grains) {
  const sign = grains < 0 ? "−" : "";
  const all = Math.abs(grains);
  const whole = count(Math.floor(all / GRAINS));
  const rest = String(all % GRAINS).padStart(8, "0").replace(/0+$/, "");
  return rest ? `${sign}${whole}.${rest}` : `${sign}${whole}`;
}

/** The same with the unit. */
export const inCoins = (grains) => `${coins(grains)} ${Math.abs(grains) === GRAINS ? "coin" : "coins"}`;

/** An integer with its digits in groups of three. */
export function count(number) {
  return String(number).replace(/\B(?=(\d{3})+(?!\d))/g, "\u202f");
}

const trim = (number) => (number >= 100 ? number.toFixed(0) : number >= 10 ? number.toFixed(1) : number.toFixed(2));

function scaled(value, units, step) {
  let unit = 0;
  while (value >= step && unit < units.length - 1) {
    value /= step;
    unit += 1;
  }
  return `${unit === 0 && Number.isInteger(value) ? value : trim(value)} ${units[unit]}`;
}

export const rate = (hashes) => scaled(hashes, ["H/s", "kH/s", "MH/s", "GH/s", "TH/s", "PH/s", "EH/s"], 1000);
export const bytes = (size) => scaled(size, ["B", "kB", "MB", "GB", "TB"], 1000);

/** A difficulty, as a multiple of Bitcoin's difficulty 1: on small networks it is far below 1. */
export function difficulty(value) {
  if (value === 0) return "0";
  if (value >= 1e6) return scaled(value, ["", "k", "M", "G", "T", "P"], 1000).trim();
  return value >= 1000 ? count(Math.round(value)) : Number(value.toPrecision(4)).toString();
}

/** Seconds as the two largest units that are not zero. */
export function duration(seconds) {
  if (seconds < 0) return `−${duration(-seconds)}`;
  if (seconds < 10 && !Number.isInteger(seconds)) return `${seconds.toFixed(1)} s`;
  const total = Math.round(seconds);
  const parts = [["d", Math.floor(total / 86400)], ["h", Math.floor(total / 3600) % 24], ["min", Math.floor(total / 60) % 60], ["s", total % 60]];
  const first = parts.findIndex(([, value]) => value > 0);
  if (first < 0) return "0 s";
  return parts.slice(first, first + 2).filter(([, value]) => value > 0).map(([unit, value]) => `${value} ${unit}`).join(" ");
}

/** How long ago a time in seconds since 1970 was. */
export function ago(time) {
  const seconds = Math.floor(Date.now() / 1000) - time;
  return seconds < 2 ? "now" : `${duration(seconds)} ago`;
}

/** A time in seconds since 1970, in this machine's zone. */
export function moment(time) {
  const date = new Date(time * 1000);
  const two = (number) => String(number).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

// Controls, and characters that turn the direction of the text around them or are not seen at all.
// eslint-disable-next-line no-control-regex
const UNSEEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;

/** Bytes as text, with what cannot be seen made visible; null if they are no UTF-8. */
export function text(bytesOfText) {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytesOfText).replace(UNSEEN, "\ufffd");
  } catch {
    return null;
  }
}
