//! `cairn sim`, at numbers of nodes that a test has time for.

use std::time::Duration;

use cairn::p2p::kad::CONTENT_PATHS;
use cairn::sim::gossip::{self, GossipReport, GossipSetup};
use cairn::sim::lookup::{self, LookupReport, LookupSetup};
use cairn::sim::network::{self, Attack, NetworkReport, NetworkSetup, SetupError};
use cairn::sim::providers::{self, Condition, ProvidersReport, ProvidersSetup};
use cairn::sim::units::{Fault, Latency, Span};
use cairn::sim::{doublespend, race};

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
    // 16 contacts in each of the log2(n / 16) full buckets, and the nearer nodes.
    assert!(large.table.mean < 16.0 * 11.0 && large.table.max <= 16 * 14, "{large:?}");
}

#[test]
fn dead_nodes_cost_time_and_little_else() {
    let report = look(3_000, 400, 0.2, 2);
    assert!(report.success > 0.99 && report.found > 0.9, "{report:?}");
    assert!(report.millis.p50 > 2_000, "dead nodes must cost time: {report:?}");
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
        serde_json::to_string(&pool.install(|| look(400, 40, 0.1, 4))).unwrap()
    };
    let one = bytes(1);
    assert_eq!(one, bytes(1));
    assert_eq!(one, bytes(3));
    assert_ne!(one, serde_json::to_string(&look(400, 40, 0.1, 5)).unwrap());
}

#[test]
fn providers_are_found_in_spite_of_dead_nodes_liars_and_walls() {
    let several = CONTENT_PATHS as u8;
    let (walls, paths) = (vec![8, 16, 64], vec![1, several]);
    let setup = ProvidersSetup { nodes: 2_000, trials: 200, share: 0.2, walls, paths, seed: 6 };
    let reports = providers::run(&setup, &|| ());
    let of = |paths: u8, condition| -> &ProvidersReport {
        reports.iter().find(|report| (report.paths, report.condition) == (paths, condition)).unwrap()
    };
    for condition in [Condition::Honest, Condition::Dead, Condition::Concealing, Condition::Inventing] {
        let report = of(several, condition);
        assert!(report.success >= 0.99 && report.hops.p99 <= 4, "{report:?}");
    }
    for ids in [8, 16, 64] {
        let report = of(several, Condition::Wall(ids));
        assert!(report.success >= 0.95, "{report:?}");
    }
    let (honest, dead) = (of(several, Condition::Honest), of(several, Condition::Dead));
    // But for the provider and the seeker, who may be among the nearest.
    assert!(honest.success == 1.0 && honest.kept > 0.999 && honest.coverage > 0.999, "{honest:?}");
    assert!(honest.messages.mean < 20.0 && honest.all_messages.mean < 80.0, "{honest:?}");
    assert!(dead.kept > 0.95 && dead.coverage > 0.95, "{dead:?}");
    // What disjoint paths are for: along one, those who hide content succeed.
    for condition in [Condition::Concealing, Condition::Wall(16)] {
        assert!(of(1, condition).success < of(several, condition).success, "{reports:?}");
    }
    assert!(of(1, Condition::Wall(16)).success < 0.7, "{reports:?}");
}

fn tell(nodes: u32, fanout: u32, loss: f64, seed: u64) -> GossipReport {
    gossip::run(&GossipSetup { nodes, degree: 8, fanout, bytes: 300, loss, seed }, &|| ())
}

#[test]
fn gossip_reaches_all_nodes_with_few_duplicates() {
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

/// With announcements only, every node but the first gets the message once.
fn share_of_all_but_one(nodes: u32) -> f64 {
    f64::from(nodes - 1) / f64::from(nodes)
}

#[test]
fn lost_messages_are_requested_from_the_next_peer() {
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

fn bad_day() -> NetworkSetup {
    NetworkSetup {
        nodes: 16,
        duration: Span::from_secs(90),
        interval: Span::from_secs(5),
        payments: 1.0,
        latency: Latency::LogNormal(Duration::from_millis(80), 0.5),
        loss: 0.02,
        partitions: vec![Fault { from: Duration::from_secs(10), to: Duration::from_secs(40), share: 0.3 }],
        crashes: vec![Fault { from: Duration::from_secs(20), to: Duration::from_secs(50), share: 0.2 }],
        attack: Some(Attack::Garbage),
        share: 0.2,
        audit: true,
        ..NetworkSetup::default()
    }
}

#[test]
fn a_network_runs_the_same_on_any_number_of_threads() {
    let bytes = |threads: usize, seed: u64| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let report = pool.install(|| network::run(&NetworkSetup { seed, ..bad_day() }, &|_| ()).unwrap());
        let series = serde_json::to_string(&report.series).unwrap();
        serde_json::to_string(&report).unwrap() + &series
    };
    let one = bytes(1, 1);
    assert_eq!(one, bytes(1, 1));
    assert_eq!(one, bytes(3, 1));
    assert_ne!(one, bytes(1, 2));
}

#[test]
fn the_figures_of_a_quiet_network() {
    let setup = NetworkSetup {
        nodes: 30,
        duration: Span::from_secs(300),
        payments: 0.5,
        audit: true,
        seed: 2,
        ..NetworkSetup::default()
    };
    let report = network::run(&setup, &|_| ()).unwrap();
    let NetworkReport { blocks, payments, .. } = &report;
    // 30 blocks and 150 payments in the mean; four standard deviations are 22 and 49.
    assert!((8..=52).contains(&blocks.count) && (100..=200).contains(&payments.count), "{report:?}");
    assert_eq!((report.violations.len(), report.audited), (0, 30), "{:?}", report.violations);
    assert!(payments.in_chain * 10 > payments.count * 8, "{payments:?}");
    for items in [blocks, payments] {
        let spread = &items.propagation;
        // A payment that is mined at once comes to some in its block alone.
        assert!(spread.half.reached * 10 > items.in_chain * 9, "{spread:?}");
        assert!(spread.half.median <= spread.most.median && spread.most.median <= spread.all.median, "{spread:?}");
        assert!(spread.curve.is_sorted() && spread.curve[0] == Span::default(), "{spread:?}");
        assert!(spread.all.p95 < Span::from_secs(3), "{spread:?}");
    }
    assert!(report.series.iter().is_sorted_by(|a, b| a.at < b.at && a.found <= b.found));
    let bytes: f64 = report.traffic.iter().map(|kind| kind.bytes_per_node).sum();
    assert!((bytes - report.bytes_per_node).abs() < 1.0);
}

/// A peer that announces every block first and delivers none, or delivers it without its transactions, costs each node
/// one delay in all, not one for each block.
#[test]
fn withheld_blocks_are_had_from_others() {
    for attack in [Attack::Withhold, Attack::Hollow] {
        let setup = NetworkSetup {
            nodes: 20,
            duration: Span::from_secs(900),
            interval: Span::from_secs(15),
            payments: 0.0,
            attack: Some(attack),
            share: 0.2,
            seed: 3,
            ..NetworkSetup::default()
        };
        let report = network::run(&setup, &|_| ()).unwrap();
        assert_eq!((report.violations.len(), report.settled.is_some()), (0, true), "{:?}", report.violations);
        assert!(report.hostile.as_ref().is_some_and(|hostile| hostile.connections > 0.1), "{:?}", report.hostile);
        assert!(report.blocks.propagation.most.median < Span::from_secs(1), "{:?}", report.blocks.propagation);
    }
}

/// Where mempools agree, a block costs a part of its bytes, though several push it.
#[test]
fn compact_blocks_cost_less_than_whole_ones() {
    let setup =
        NetworkSetup { nodes: 12, duration: Span::from_secs(60), payments: 10.0, seed: 4, ..NetworkSetup::default() };
    let report = network::run(&setup, &|_| ()).unwrap();
    assert_eq!(report.violations, [""; 0]);
    assert!(report.block_size > 5_000.0 && report.block_relay * 3.0 < report.block_size, "{report:?}");
    // A payment is some 200 bytes, and goes over few connections whole; an id goes over most of the others.
    assert!((50.0..300.0).contains(&report.payment_relay), "{report:?}");
}

#[test]
fn impossible_setups_are_refused() {
    let fault = |text: &str| text.parse::<Fault>().unwrap();
    let hostile = NetworkSetup { attack: Some(Attack::Spam), share: 0.9, nodes: 4, ..NetworkSetup::default() };
    assert_eq!(hostile.check(), Err(SetupError::TooFewHonest { honest: 0, nodes: 4 }));
    let late = NetworkSetup { crashes: vec![fault("1m..11m:0.1")], ..NetworkSetup::default() };
    assert!(matches!(late.check(), Err(SetupError::FaultTooLate { .. })));
    let partitions = vec![fault("3m..5m:0.1"), fault("1m..4m:0.2")];
    assert!(matches!(NetworkSetup { partitions, ..NetworkSetup::default() }.check(), Err(SetupError::Overlap { .. })));
    assert_eq!(bad_day().check(), Ok(()));
}

#[test]
fn races_are_won_as_often_as_rosenfeld_says() {
    let params = doublespend::params();
    for (share, confirmations) in [(0.1, 2), (0.3, 1), (0.3, 6), (0.45, 3)] {
        let rate = race::rate(&params, (share, confirmations), (7, 4_000), &|| ()).unwrap();
        assert!(rate.low <= rate.rosenfeld && rate.rosenfeld <= rate.high, "{rate:?}");
    }
    // Close as they are, so many races tell the formulas apart.
    let rate = race::rate(&params, (0.3, 6), (7, 20_000), &|| ()).unwrap();
    assert!(rate.low <= rate.rosenfeld && rate.rosenfeld <= rate.high && rate.nakamoto < rate.low, "{rate:?}");
}

#[test]
fn whole_nodes_take_a_payment_back() {
    let (params, confirmations) = (doublespend::params(), 2);
    let mut won = 0;
    for number in 0..12 {
        let raced = race::headers(&params, 1, number, 0.4, confirmations).unwrap();
        let played = doublespend::run(&params, 1, number, 0.4, confirmations).unwrap();
        assert_eq!(played.outcome, raced, "race {number}");
        assert_eq!(
            (played.payment_gone, played.coin_back),
            (raced.success, raced.success),
            "race {number}: {played:?}"
        );
        // The honest miners' blocks are all on top of the payment; if the attacker wins, they are disconnected.
        assert_eq!(played.confirmations_seen, raced.honest, "race {number}");
        assert_eq!(played.depth, if raced.success { raced.honest } else { 0 }, "race {number}");
        won += u32::from(raced.success);
    }
    assert!((1..12).contains(&won), "{won} of 12");
}
