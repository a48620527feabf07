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
    /// Its connections with other nodes.
    pub peers: usize,
    /// Transactions in its mempool.
    pub mempool: usize,
    /// Hashes a second; `None` if it does not mine.
    pub hash_rate: Option<f64>,
    /// URL of its JSON-RPC.
    pub rpc: String,
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

/// The rows in lines, for a screen.
pub fn table(rows: &[Row], running: Duration) -> Vec<String> {
    let seconds = running.as_secs();
    let rate = total_rate(rows);
    let mut lines = vec![
        format!(
            "cairn testnet   {}   {}   up {}:{:02}:{:02}   Ctrl-C stops it",
            counted(rows.len(), "node"),
            format_rate(rate),
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        ),
        String::new(),
        format!("  {:<8} {:>7}  {:<16} {:>5} {:>8} {:>11}  RPC", "node", "height", "tip", "peers", "mempool", "mining"),
    ];
    for row in rows {
        lines.push(format!(
            "  {:<8} {:>7}  {:<16} {:>5} {:>8} {:>11}  {}",
            row.name,
            row.height,
            short(&row.tip),
            row.peers,
            row.mempool,
            row.hash_rate.map_or_else(|| "-".to_owned(), format_rate),
            row.rpc
        ));
    }
    lines
}

fn line(rows: &[Row]) -> String {
    let list = |value: fn(&Row) -> String| rows.iter().map(value).collect::<Vec<_>>().join(" ");
    format!(
        "heights {}  tips {}  peers {}  mempool {}  {}",
        list(|row| row.height.to_string()),
        list(|row| short(&row.tip)),
        list(|row| row.peers.to_string()),
        list(|row| row.mempool.to_string()),
        format_rate(total_rate(rows))
    )
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
                "peers": row.peers,
                "mempool": row.mempool,
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
        Row { name: name.to_owned(), height: Height::from_u32(12), tip, peers: 3, mempool: 1, hash_rate, rpc }
    }

    #[test]
    fn columns_stand_under_their_names() {
        let lines = table(&[row("node-1", Some(9_500_000.0)), row("node-2", None)], Duration::from_secs(3723));
        assert!(lines[0].contains("2 nodes   9.50 MH/s   up 1:02:03"), "{}", lines[0]);
        let column = |line: &str, text: &str| line.chars().count() - line[line.find(text).unwrap()..].chars().count();
        assert_eq!(column(&lines[2], "RPC"), column(&lines[3], "http"));
        assert_eq!(column(&lines[2], "RPC"), column(&lines[4], "http"));
    }

    #[test]
    fn rates_for_people() {
        assert_eq!(
            [999.0, 1_500.0, 9_540_000.0].map(format_rate),
            ["999 H/s", "1.5 kH/s", "9.54 MH/s"].map(str::to_owned)
        );
    }
}
