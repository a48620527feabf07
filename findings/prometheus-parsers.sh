#!/usr/bin/env bash
# Lines of Prometheus' text format, read by two Rust crates.
#
# prometheus-parse 0.2.5, openmetrics-parser 0.5.1 (its Prometheus half). The format's page says: a label's value may have any
# characters, with \\, \" and \n for three; a metric's name may have colons; blanks and tabs separate tokens and are ignored at
# the ends; braces may be empty; a comment needs no blank after its sign.
#
# Expected: both read the same names, labels and values, as Prometheus' own Python client does.
# Seen:     prometheus-parse splits labels at each comma and "=", whatever the quotes: of "a,b" it keeps "a", and a label with
#           "=" in its value is gone. It leaves escapes as they are and counts blanks to the label. A sample with "}" in a
#           label, with a colon in its name or with empty braces is gone. No error says so: an alert on such a series never
#           fires. openmetrics-parser reads all of these right. But it refuses the whole page for a tab, for blanks at an end,
#           or for a comment without a blank.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat >"$dir/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
openmetrics-parser = "=0.5.1"
prometheus-parse = "=0.2.5"

[workspace]
TOML
cat >"$dir/src/main.rs" <<'RUST'
use openmetrics_parser::{PrometheusValue, prometheus::parse_prometheus};
use prometheus_parse::{Scrape, Value};

type Series = (String, Vec<(String, String)>);

/// One page, the series that it has by the format, and what prometheus-parse makes of it when that is otherwise.
struct Case {
    page: &'static str,
    series: Series,
    by_first: Option<Option<Series>>,
    refused_by_second: bool,
}

fn series(name: &str, labels: &[(&str, &str)]) -> Series {
    (name.to_owned(), labels.iter().map(|(key, text)| (key.to_string(), text.to_string())).collect())
}

fn by_prometheus_parse(page: &str) -> Option<Series> {
    let read = Scrape::parse(page.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let sample = read.samples.first()?;
    assert!(read.samples.len() == 1 && matches!(sample.value, Value::Untyped(7.0)), "{page}");
    let mut labels: Vec<_> = sample.labels.iter().map(|(key, text)| (key.clone(), text.clone())).collect();
    labels.sort();
    Some((sample.metric.clone(), labels))
}

fn by_openmetrics_parser(page: &str) -> Option<Series> {
    let read = parse_prometheus(page).ok()?;
    let (name, family) = read.families.iter().next()?;
    let sample = family.iter_samples().next()?;
    assert!(matches!(&sample.value, PrometheusValue::Unknown(value) if value.as_f64() == 7.0), "{page}");
    let mut labels: Vec<_> = sample.get_labelset().unwrap().iter().map(|(key, text)| (key.clone(), text.clone())).collect();
    labels.sort();
    Some((name.clone(), labels))
}

fn main() {
    let right = |page, name, labels: &[_]| Case { page, series: series(name, labels), by_first: None, refused_by_second: false };
    let first = |page, name, labels: &[_], seen| Case { by_first: Some(seen), ..right(page, name, labels) };
    let second = |page, name, labels: &[_]| Case { refused_by_second: true, ..right(page, name, labels) };
    let some = |name, labels: &[_]| Some(series(name, labels));
    let cases = [
        right("up 7\n", "up", &[]),
        right("up{a=\"b\",c=\"d\"} 7 1700000000000\n", "up", &[("a", "b"), ("c", "d")]),
        right("up{a=\"b\",} 7\n", "up", &[("a", "b")]),
        first("up{a=\"b,c\"} 7\n", "up", &[("a", "b,c")], some("up", &[("a", "b")])),
        first("up{a=\"b=c\"} 7\n", "up", &[("a", "b=c")], some("up", &[])),
        first("up{a=\"b\\\\c\"} 7\n", "up", &[("a", "b\\c")], some("up", &[("a", "b\\\\c")])),
        first("up{a=\"b\\nc\"} 7\n", "up", &[("a", "b\nc")], some("up", &[("a", "b\\nc")])),
        first("up{a=\"{b}\"} 7\n", "up", &[("a", "{b}")], None),
        first("up{} 7\n", "up", &[], None),
        first("job:up:sum 7\n", "job:up:sum", &[], None),
        first("up{ a = \"b\" } 7\n", "up", &[("a", "b")], some("up", &[(" a ", " \"b\" ")])),
        second("up\t7\n", "up", &[]),
        second("up 7 \n", "up", &[]),
        second(" up 7\n", "up", &[]),
        second("#no blank\nup 7\n", "up", &[]),
    ];
    for case in &cases {
        let seen = by_prometheus_parse(case.page);
        let other = by_openmetrics_parser(case.page);
        println!("{:?}\n  prometheus-parse {seen:?}\n  openmetrics-parser {other:?}", case.page);
        assert_eq!(seen, case.by_first.clone().unwrap_or(Some(case.series.clone())));
        assert_eq!(other, (!case.refused_by_second).then(|| case.series.clone()));
    }
}
RUST
cargo run --quiet --manifest-path "$dir/Cargo.toml"
