//! The network's present state: a table and the matrix of links on a terminal, periodic lines elsewhere, objects with
//! `--json`.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::cli::console::Console;
use crate::primitives::amount::counted;
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;

/// Interval of lines without a terminal.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// One node, as it is now.
pub struct Row {
    /// `node-1`…
    pub name: String,
    /// Of its best chain.
    pub height: Height,
    /// The end of its best chain.
    pub tip: BlockHash,
    /// How much it has; `None` while it is paused.
    pub counts: Option<Counts>,
    /// Hashes a second; `None` if it does not mine.
    pub hash_rate: Option<f64>,
    /// URL of its JSON-RPC.
    pub rpc: String,
}

/// What a node has of each.
#[derive(Debug, Clone, Copy)]
pub struct Counts {
    /// Connections, but for those with pages.
    pub peers: usize,
    /// Browsers that are connected; `None` if it takes none.
    pub pages: Option<usize>,
    /// Transactions in the mempool.
    pub mempool: usize,
}

/// How the rows are shown where there is no screen.
pub struct Board {
    out: Console,
    json: bool,
    last_line: Option<Instant>,
}

impl Board {
    /// A board on `out`.
    pub fn new(out: Console, json: bool) -> Self {
        Self { out, json, last_line: None }
    }

    /// Shows the rows, unless the next line is not due yet.
    pub fn show(&mut self, rows: &[Row], last: bool) {
        if !last && self.last_line.is_some_and(|shown| shown.elapsed() < LINE_INTERVAL) {
            return;
        }
        self.last_line = Some(Instant::now());
        if self.json { self.out.line(object(rows)) } else { self.out.line(line(rows)) }
    }
}

/// A column: its heading, its width to the right or left (negative), and what it shows.
type Column = (&'static str, isize, fn(&Row) -> String);

/// The columns, in their order on the screen.
const COLUMNS: [Column; 8] = [
    ("node", -8, |row| row.name.clone()),
    ("height", 7, |row| row.height.to_string()),
    ("tip", -16, |row| format!(" {}", short(&row.tip))),
    ("peers", 5, Row::peers),
    ("pages", 5, Row::pages),
    ("mempool", 8, Row::mempool),
    ("mining", 11, Row::mining),
    ("RPC", -1, |row| row.rpc.clone()),
];
/// The last one where there is no room for a whole URL.
const PORT: Column = ("port", 5, |row| row.rpc.rsplit(':').next().unwrap_or_default().to_owned());
/// Which columns give way where there is little room, first to last. Name, height and port stay.
const GIVING_WAY: [&str; 5] = ["tip", "mempool", "mining", "pages", "peers"];

/// The title, as much of it as fits into `width` columns.
pub fn title(rows: &[Row], running: Duration, width: usize) -> String {
    let seconds = running.as_secs();
    fitting(
        &[
            "cairn testnet".to_owned(),
            counted(rows.len(), "node"),
            format!("up {}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60),
            format_rate(total_rate(rows)),
            "Ctrl-C stops it".to_owned(),
        ],
        width,
    )
}

/// The first of these texts, as many as fit into `width` columns.
pub fn fitting(parts: &[String], width: usize) -> String {
    let mut line = String::new();
    for part in parts {
        let gap = if line.is_empty() { "" } else { "   " };
        if line.chars().count() + gap.len() + part.chars().count() > width {
            break;
        }
        line = line + gap + part;
    }
    line
}

/// The heading and the rows, for a screen of `width` columns: whole, or with fewer columns.
pub fn table(rows: &[Row], width: usize) -> Vec<String> {
    let mut columns = COLUMNS.to_vec();
    if !take_pages(rows) {
        columns.retain(|(heading, ..)| *heading != "pages");
    }
    let mut lines = laid_out(rows, &columns);
    let is_wide = |lines: &[String]| lines.iter().any(|line| line.chars().count() > width);
    if is_wide(&lines) {
        columns.pop();
        columns.push(PORT);
        lines = laid_out(rows, &columns);
    }
    for name in GIVING_WAY {
        if is_wide(&lines) {
            columns.retain(|(heading, ..)| *heading != name);
            lines = laid_out(rows, &columns);
        }
    }
    lines
}

fn laid_out(rows: &[Row], columns: &[Column]) -> Vec<String> {
    let line = |text: &dyn Fn(&Column) -> String| {
        let cell = |column: &Column| match column.1 {
            width if width < 0 => format!("{:<1$}", text(column), width.unsigned_abs()),
            width => format!("{:>1$}", text(column), width.unsigned_abs()),
        };
        format!("  {}", columns.iter().map(cell).collect::<Vec<_>>().join(" ")).trim_end().to_owned()
    };
    let heading = line(&|(name, ..)| if *name == "tip" { " tip".to_owned() } else { (*name).to_owned() });
    std::iter::once(heading).chain(rows.iter().map(|row| line(&|(_, _, value)| value(row)))).collect()
}

impl Row {
    fn count(&self, of: impl FnOnce(Counts) -> Option<usize>) -> String {
        self.counts.and_then(of).map_or_else(|| "-".to_owned(), |count| count.to_string())
    }

    fn peers(&self) -> String {
        self.count(|counts| Some(counts.peers))
    }

    fn pages(&self) -> String {
        self.count(|counts| counts.pages)
    }

    fn mempool(&self) -> String {
        self.count(|counts| Some(counts.mempool))
    }

    fn mining(&self) -> String {
        match (self.counts, self.hash_rate) {
            (None, _) => "paused".to_owned(),
            (_, Some(rate)) => format_rate(rate),
            (_, None) => "-".to_owned(),
        }
    }
}

fn line(rows: &[Row]) -> String {
    let list = |value: fn(&Row) -> String| rows.iter().map(value).collect::<Vec<_>>().join(" ");
    let pages = if take_pages(rows) { format!("pages {}  ", list(Row::pages)) } else { String::new() };
    format!(
        "heights {}  tips {}  peers {}  {pages}mempool {}  {}",
        list(|row| row.height.to_string()),
        list(|row| short(&row.tip)),
        list(Row::peers),
        list(Row::mempool),
        format_rate(total_rate(rows))
    )
}

/// Whether any of the nodes takes browsers.
fn take_pages(rows: &[Row]) -> bool {
    rows.iter().any(|row| row.counts.is_some_and(|counts| counts.pages.is_some()))
}

/// The sum of all miners. Not `sum()`, which is −0 for none.
fn total_rate(rows: &[Row]) -> f64 {
    rows.iter().filter_map(|row| row.hash_rate).fold(0.0, |sum, rate| sum + rate)
}

fn object(rows: &[Row]) -> serde_json::Value {
    let nodes: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "name": row.name,
                "height": row.height,
                "tip": row.tip.to_string(),
                "paused": row.counts.is_none(),
                "peers": row.counts.map(|counts| counts.peers),
                "pages": row.counts.and_then(|counts| counts.pages),
                "mempool": row.counts.map(|counts| counts.mempool),
                "hash_rate": row.hash_rate,
                "rpc": row.rpc,
            })
        })
        .collect();
    json!({ "nodes": nodes })
}

/// The end of a hash: its beginning is the zeros that all blocks share.
fn short(hash: &BlockHash) -> String {
    let text = hash.to_string();
    format!("…{}", &text[text.len() - 12..])
}

fn format_rate(rate: f64) -> String {
    match rate {
        rate if rate >= 1e6 => format!("{:.2} MH/s", rate / 1e6),
        rate if rate >= 1e3 => format!("{:.1} kH/s", rate / 1e3),
        rate => format!("{rate:.0} H/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, hash_rate: Option<f64>) -> Row {
        let (tip, rpc) = (BlockHash::ZERO, "http://127.0.0.1:7332".to_owned());
        let counts = Some(Counts { peers: 3, pages: Some(27), mempool: 1 });
        Row { name: name.to_owned(), height: Height::from_u32(12), tip, counts, hash_rate, rpc }
    }

    #[test]
    fn columns_stand_under_their_names() {
        let mut rows = [row("node-1", Some(9_500_000.0)), row("node-2", None), row("node-3", None)];
        rows[2].counts = None;
        let lines = table(&rows, 200);
        let column = |line: &str, text: &str| line[..line.find(text).unwrap()].chars().count();
        for line in &lines[1..] {
            assert_eq!(column(&lines[0], "RPC"), column(line, "http"));
            assert_eq!(column(&lines[0], "tip"), column(line, "…"));
        }
        assert!(lines[3].contains(" -     -        -      paused"), "{}", lines[3]);
    }

    #[test]
    fn pages_have_a_column_where_they_are_taken() {
        let mut rows = [row("node-1", Some(9_500_000.0)), row("node-2", None)];
        let lines = table(&rows, 80);
        assert!(lines[0].ends_with("peers pages  mempool      mining  port"), "{}", lines[0]);
        assert!(lines[2].ends_with("    3    27        1           -  7332"), "{}", lines[2]);
        assert!(line(&rows).contains("  peers 3 3  pages 27 27  mempool 1 1  "), "{}", line(&rows));
        assert_eq!(object(&rows)["nodes"][0]["pages"], 27);
        rows.iter_mut().filter_map(|row| row.counts.as_mut()).for_each(|counts| counts.pages = None);
        assert!(!table(&rows, 80)[0].contains("pages") && !line(&rows).contains("pages"));
        assert_eq!(object(&rows)["nodes"][0]["pages"], serde_json::Value::Null);
    }

    #[test]
    fn nothing_is_cut_at_any_width() {
        let rows = [row("node-1", Some(9_500_000.0)), row("node-64", None)];
        for width in 24..120 {
            let lines = table(&rows, width);
            assert!(lines.iter().all(|line| line.chars().count() <= width), "{width}: {lines:?}");
            assert!(lines[2].contains("node-64") && lines[2].ends_with(":7332") | lines[2].ends_with(" 7332"));
            let title = title(&rows, Duration::from_secs(3723), width);
            assert!(title.chars().count() <= width && title.starts_with("cairn testnet"), "{width}: {title}");
        }
        assert!(table(&rows, 80)[0].contains("mining  port"), "{:?}", table(&rows, 80));
        assert!(title(&rows, Duration::from_secs(3723), 80).contains("2 nodes   up 1:02:03   9.50 MH/s   Ctrl-C"));
    }

    #[test]
    fn rates_for_people() {
        assert_eq!(
            [999.0, 1_500.0, 9_540_000.0].map(format_rate),
            ["999 H/s", "1.5 kH/s", "9.54 MH/s"].map(str::to_owned)
        );
    }
}
