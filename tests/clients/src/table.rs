//! The table in `docs/rpc.md`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::Outcomes;

/// The heading under which the table stands.
const HEADING: &str = "## Typed clients";

/// Compares outcomes with the table; returns its number of methods. With UPDATE_DOCS, it writes them into the table, and
/// methods that are not there yet at its end.
///
/// # Errors
/// Which rows differ and are not written, and which do not say why a client fails: a person has to write that.
pub fn compare(clients: &[Outcomes]) -> Result<usize, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/rpc.md");
    let text = fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    let start = text.find(HEADING).ok_or_else(|| format!("docs/rpc.md has no {HEADING:?}"))?;
    let mut missing: BTreeSet<&str> = clients.iter().flat_map(|client| client.0.keys().copied()).collect();
    let (mut rows, mut end) = (0, 0);
    let (mut differences, mut unexplained) = (Vec::new(), Vec::new());
    let mut row_of = |method: &str, why: &str| {
        let outcomes: Vec<String> = clients.iter().map(|client| client.cell(method)).collect();
        let row = format!("| `{method}` | {} | {why} |", outcomes.join(" | "));
        let differs = outcomes.iter().any(|outcome| outcome != "works" && outcome != "–");
        if differs && why.is_empty() {
            unexplained.push(format!("docs/rpc.md does not say why: {row}"));
        }
        row
    };
    let mut written: Vec<String> = text[..start].lines().map(str::to_owned).collect();
    let mut is_over = false;
    for line in text[start..].lines() {
        is_over |= line.starts_with("## ") && line != HEADING;
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let method = cells.first().and_then(|cell| cell.strip_prefix('`')?.strip_suffix('`'));
        let (Some(method), false, true) = (method, is_over, line.starts_with('|')) else {
            written.push(line.to_owned());
            continue;
        };
        let row = row_of(method, cells.get(1 + clients.len()).copied().unwrap_or_default());
        if row != line {
            differences.push(format!("docs/rpc.md says  {line}\nand it is         {row}"));
        }
        written.push(row);
        missing.remove(method);
        (rows, end) = (rows + 1, written.len());
    }
    for method in missing {
        let row = row_of(method, "");
        differences.push(format!("docs/rpc.md does not have {row}"));
        written.insert(end, row);
        (rows, end) = (rows + 1, end + 1);
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, written.join("\n") + "\n").map_err(|error| format!("{}: {error}", path.display()))?;
        differences.clear();
    }
    differences.extend(unexplained);
    if differences.is_empty() { Ok(rows) } else { Err(differences.join("\n")) }
}
