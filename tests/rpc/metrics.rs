//! What a scraper reads.

use std::collections::BTreeMap;

use serde_json::json;

use crate::fixture::{Fixture, hex_of};

/// Every sample by its name and labels. Fails on text that is not Prometheus' format.
fn scrape(fixture: &Fixture) -> BTreeMap<String, f64> {
    let answer = fixture.send("GET", "/metrics", &[], "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("text/plain; version=0.0.4")));
    let mut described = Vec::new();
    let mut samples = BTreeMap::new();
    for line in answer.body.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.split(' ');
            let (what, name) = (words.next().unwrap(), words.next().unwrap());
            assert!(matches!(what, "HELP" | "TYPE"), "{line}");
            described.push(name.to_owned());
            continue;
        }
        let (sample, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line:?}"));
        let name = sample.split('{').next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let is_described = |name: &str| described.iter().any(|known| known == name);
        assert!(is_described(name) || family.is_some_and(is_described), "{line} has no description");
        let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
        assert_eq!(samples.insert(sample.to_owned(), value), None, "{sample} twice");
    }
    samples
}

#[test]
fn metrics_follow_what_happens() {
    let fixture = Fixture::new();
    let of = |samples: &BTreeMap<String, f64>, name: &str| {
        *samples.get(name).unwrap_or_else(|| panic!("{name} is not among {:?}", samples.keys().collect::<Vec<_>>()))
    };
    let before = scrape(&fixture);
    assert_eq!(of(&before, "cairn_chain_height"), 0.0);
    assert_eq!(of(&before, "cairn_ready"), 1.0);
    assert_eq!(of(&before, "cairn_kad_contacts"), 0.0);
    assert_eq!(of(&before, r#"cairn_peers{direction="inbound"}"#), 0.0);
    assert_eq!(of(&before, r#"cairn_messages_total{direction="sent",kind="block"}"#), 0.0);

    let blocks = fixture.generate(102, 1);
    let coinbase = fixture.block(&blocks[0]).transactions[0].clone();
    let payment = fixture.payment(&coinbase, 1, 1_000_000, 2, 10_000);
    fixture.call("sendrawtransaction", json!([hex_of(&payment)]));
    let after = scrape(&fixture);
    assert_eq!(of(&after, "cairn_chain_height"), 102.0);
    assert_eq!(of(&after, "cairn_mempool_transactions"), 1.0);
    assert!(of(&after, "cairn_mempool_bytes") > 100.0);
    assert!(of(&after, "cairn_chain_work") > of(&before, "cairn_chain_work"));
    for stage in ["check", "connect", "commit"] {
        assert_eq!(of(&after, &format!("cairn_block_{stage}_seconds_count")), 102.0, "{stage}");
        assert_eq!(of(&after, &format!(r#"cairn_block_{stage}_seconds_bucket{{le="+Inf"}}"#)), 102.0, "{stage}");
        assert!(of(&after, &format!("cairn_block_{stage}_seconds_sum")) > 0.0, "{stage}");
    }
    assert_eq!(of(&after, "cairn_reorganisation_depth_blocks_count"), 0.0);

    fixture.call("invalidateblock", json!([blocks[98]]));
    let reorganised = scrape(&fixture);
    assert_eq!(of(&reorganised, "cairn_chain_height"), 98.0);
    assert_eq!(of(&reorganised, "cairn_reorganisation_depth_blocks_count"), 1.0);
    assert_eq!(of(&reorganised, "cairn_reorganisation_depth_blocks_sum"), 4.0);
    assert_eq!(of(&reorganised, r#"cairn_reorganisation_depth_blocks_bucket{le="3"}"#), 0.0);
    assert_eq!(of(&reorganised, r#"cairn_reorganisation_depth_blocks_bucket{le="6"}"#), 1.0);
    if cfg!(target_os = "linux") {
        assert!(of(&reorganised, "process_resident_memory_bytes") > 1e6);
    }
}

#[test]
fn only_reading_is_served() {
    let fixture = Fixture::new();
    assert_eq!(fixture.send("POST", "/metrics", &[], "").status, 405);
    let live = fixture.send("GET", "/health/live", &[], "");
    assert_eq!((live.status, live.body.as_str()), (200, "live\n"));
}

#[test]
fn the_dashboard_asks_for_what_there_is() {
    let fixture = Fixture::new();
    let samples = scrape(&fixture);
    let dashboard = include_str!("../../docker/observe/dashboards/cairn.json");
    serde_json::from_str::<serde_json::Value>(dashboard).unwrap();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = dashboard.split(|c| !is_word(c));
    let names: Vec<&str> = words.filter(|word| word.starts_with("cairn_") || word.starts_with("process_")).collect();
    assert!(names.len() > 20, "{names:?}");
    for name in names {
        let known = samples.keys().any(|sample| sample.split('{').next() == Some(name));
        let is_of_linux = name.starts_with("process_");
        assert!(known || is_of_linux && !cfg!(target_os = "linux"), "no sample is called {name}");
    }
}
