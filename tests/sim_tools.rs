//! `cairn sim`, at numbers of nodes that a test has time for.

use cairn::sim::gossip::{self, GossipReport, GossipSetup};
use cairn::sim::lookup::{self, LookupReport, LookupSetup};

fn look(nodes: u32, lookups: u32, dead: f64, seed: u64) -> LookupReport {
    lookup::run(&LookupSetup { nodes, lookups, k: 16, alpha: 3, dead, seed }, &|| ())
}

#[test]
fn hops_grow_as_the_logarithm() {
    let (small, large) = (look(500, 400, 0.0, 1), look(8_000, 400, 0.0, 1));
    for report in [&small, &large] {
        assert_eq!((report.success, report.found), (1.0, 1.0), "{report:?}");
        assert!(report.messages.max <= 60, "{report:?}");
    }
    assert!(small.hops.mean < large.hops.mean && large.hops.mean < 3.0, "{small:?} {large:?}");
    assert!(large.hops.p99 <= 4, "{large:?}");
    // 16 places in each bucket that has so many, of which there are log2(n / 16), and those that are nearer.
    assert!(large.table.mean < 16.0 * 11.0 && large.table.max <= 16 * 14, "{large:?}");
}

#[test]
fn the_dead_cost_time_and_little_else() {
    let report = look(3_000, 400, 0.2, 2);
    assert!(report.success > 0.99 && report.found > 0.9, "{report:?}");
    assert!(report.millis.p50 > 2_000, "somebody has to be waited for: {report:?}");
}

#[test]
fn small_networks_are_found_whole() {
    for nodes in [2, 3, 17] {
        let report = look(nodes, 50, 0.0, 3);
        assert_eq!((report.success, report.found, report.hops.max <= 2), (1.0, 1.0, true), "{report:?}");
    }
}

#[test]
fn a_seed_gives_the_same_bytes_on_any_number_of_threads() {
    let bytes = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        serde_json::to_string(&pool.install(|| look(2_000, 200, 0.1, 4))).unwrap()
    };
    let one = bytes(1);
    assert_eq!(one, bytes(1));
    assert_eq!(one, bytes(3));
    assert_ne!(one, serde_json::to_string(&look(2_000, 200, 0.1, 5)).unwrap());
}

fn tell(nodes: u32, fanout: u32, loss: f64, seed: u64) -> GossipReport {
    gossip::run(&GossipSetup { nodes, degree: 8, fanout, bytes: 300, loss, seed }, &|| ())
}

#[test]
fn all_are_told_and_few_twice() {
    let report = tell(20_000, 3, 0.0, 1);
    assert_eq!(report.coverage, 1.0);
    assert!(report.rounds <= 16 && report.copies_per_node < 1.25, "{report:?}");
    // Pushed and forgotten, it does not reach all, by simulation and by formula.
    let only = &report.push_only;
    assert_eq!(only.closed_form, 0.9405);
    assert!((only.coverage - only.closed_form).abs() < 0.01 && only.over_peers < 0.97, "{only:?}");
}

#[test]
fn more_pushes_are_faster_and_cost_more() {
    let reports: Vec<GossipReport> = (0..=8).step_by(2).map(|fanout| tell(5_000, fanout, 0.0, 2)).collect();
    assert!(reports.iter().all(|report| report.coverage == 1.0), "{reports:?}");
    assert!(reports.is_sorted_by(|a, b| a.rounds >= b.rounds && a.copies_per_node <= b.copies_per_node), "{reports:?}");
    assert!(
        reports[0].copies_per_node == share_of_all_but_one(5_000) && reports[0].asked == reports[0].copies_per_node
    );
}

/// Announced only, everybody but the first gets the message once.
fn share_of_all_but_one(nodes: u32) -> f64 {
    f64::from(nodes - 1) / f64::from(nodes)
}

#[test]
fn broken_promises_are_mended() {
    for loss in [0.05, 0.1] {
        let report = tell(5_000, 3, loss, 3);
        assert_eq!(report.coverage, 1.0, "{report:?}");
        assert!(report.rounds < 60, "{report:?}");
    }
}

#[test]
fn a_message_takes_the_same_way_each_time() {
    let bytes = |seed| serde_json::to_string(&tell(2_000, 3, 0.1, seed)).unwrap();
    assert_eq!(bytes(4), bytes(4));
    assert_ne!(bytes(4), bytes(5));
}
