//! The table in `docs/rpc.md`.

use std::fs;
use std::path::Path;

use crate::Outcomes;

/// The heading under which the table stands.
const HEADING: &str = "## Typed clients";

/// Compares outcomes with the table, or writes them into it; returns its number of methods.
///
/// # Errors
/// Which rows differ.
pub fn compare(clients: &[Outcomes]) -> Result<usize, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rpc.md");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let start = text.find(HEADING).ok_or_else(|| format!("docs/rpc.md has no {HEADING:?}"))?;
    let mut rows = 0;
    let mut differences = Vec::new();
    let mut written: Vec<String> = text[..start].lines().map(str::to_owned).collect();
    let mut is_over = false;
    let mut known = Vec::new();
    for line in text[start..].lines() {
        is_over |= line.starts_with("## ") && line != HEADING;
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let method = cells.first().and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`'));
        let (Some(method), false, true) = (method, is_over, line.starts_with('|')) else {
            written.push(line.to_owned());
            continue;
        };
        let outcomes: Vec<String> = clients.iter().map(|client| client.cell(method)).collect();
        let why = cells.get(1 + clients.len()).copied().unwrap_or_default();
        let row = format!("| `{method}` | {} | {why} |", outcomes.join(" | "));
        if row != line {
            differences.push(format!("docs/rpc.md says  {line}\nand it is         {row}"));
        }
        let differs = outcomes.iter().any(|outcome| outcome != "works" && outcome != "–");
        if differs && why.is_empty() {
            differences.push(format!("docs/rpc.md does not say why: {row}"));
        }
        written.push(row);
        known.push(method.to_owned());
        rows += 1;
    }
    for method in clients.iter().flat_map(|client| client.0.keys()) {
        if !known.iter().any(|known| known == method) {
            differences.push(format!("docs/rpc.md does not have {method}"));
        }
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, written.join("\n") + "\n").map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if differences.is_empty() { Ok(rows) } else { Err(differences.join("\n")) }
}
