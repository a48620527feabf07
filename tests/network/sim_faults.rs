//! Whole networks under faults that the seed chooses: honest nodes never disagree about what is settled, and agree on all
//! once the faults are over. A failure prints the command that repeats it.

use std::time::Duration;

use cairn::sim::network::{self, Attack, NetworkReport, NetworkSetup, SETTLED_BLOCKS};
use cairn::sim::units::{Fault, Latency, Span};
use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;

/// Seeds of a batch; `CAIRN_SEEDS=FROM..TO` tries others.
const SEEDS: std::ops::Range<u64> = 0..30;

fn seeds() -> std::ops::Range<u64> {
    let range = std::env::var("CAIRN_SEEDS").ok();
    let range = range.as_ref().and_then(|text| text.split_once(".."));
    let numbers = range.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    numbers.unwrap_or(SEEDS)
}

/// Faults of all sorts at once, as the seed has it. Every third network is cut, every third crashes, most lose messages, and
/// all but every seventh have liars.
fn mixed(seed: u64) -> NetworkSetup {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut fault = |seed_has: bool| {
        let from = Duration::from_secs(rng.random_range(10..60));
        let to = from + Duration::from_secs(rng.random_range(20..90));
        let share = f64::from(rng.random_range(2..6)) / 10.0;
        if seed_has { vec![Fault { from, to, share }] } else { Vec::new() }
    };
    let partitions = fault(!seed.is_multiple_of(3));
    let crashes = fault(seed % 3 != 1);
    let latency = match rng.random_range(0..3) {
        0 => Latency::Uniform(Duration::from_millis(10), Duration::from_millis(80)),
        1 => Latency::Exponential(Duration::from_millis(80)),
        _ => Latency::LogNormal(Duration::from_millis(60), 0.6),
    };
    NetworkSetup {
        nodes: 12,
        duration: Span::from_secs(180),
        interval: Span::from_secs(rng.random_range(4..12)),
        payments: 1.0,
        latency,
        loss: f64::from(rng.random_range(0..4)) / 100.0,
        partitions,
        crashes,
        attack: Attack::ALL.get(seed as usize % 7).copied(),
        share: 0.25,
        audit: true,
        seed,
        ..NetworkSetup::default()
    }
}

/// The violation in a run, if any.
fn fault_in(report: &NetworkReport) -> Option<String> {
    let honest = u64::from(report.setup.honest());
    match report {
        _ if !report.violations.is_empty() => Some(report.violations.join("; ")),
        _ if report.settled.is_none() => Some("honest nodes end on different tips".to_owned()),
        _ if report.audited != honest => Some(format!("{} of {honest} stores are in order", report.audited)),
        _ if report.blocks.in_chain < report.blocks.count / 3 => Some("most blocks are lost".to_owned()),
        _ if report.payments.in_chain == 0 => Some("no payment is confirmed".to_owned()),
        _ => None,
    }
}

#[test]
fn safety_and_liveness_under_mixed_faults() {
    let run = |seed: u64| {
        let setup = mixed(seed);
        setup.check().unwrap();
        let report = network::run(&setup, &|_| ()).unwrap();
        let fault = fault_in(&report).map(|fault| format!("seed {seed}: {fault}\n  again: {}", report.command));
        (report, fault)
    };
    let ended: Vec<_> = seeds().into_par_iter().map(run).collect();
    let faults: Vec<String> = ended.iter().filter_map(|(_, fault)| fault.clone()).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    // The batch is worth something only if the faults bite.
    let reports = || ended.iter().map(|(report, _)| report);
    let deepest = reports().flat_map(|report| &report.reorganisations).map(|reorg| reorg.depth).max();
    assert!(deepest > Some(2), "no partition led to a reorganisation worth the name: {deepest:?}");
    let found_out: u64 = reports().filter_map(|report| report.hostile.as_ref()).map(|hostile| hostile.found_out).sum();
    assert!(found_out > 10, "liars were found out only {found_out} times");
}

/// Deeper than what is settled, and explained by the partition.
#[test]
fn a_long_partition_ends_in_a_deep_reorganisation() {
    let setup = NetworkSetup {
        nodes: 10,
        duration: Span::from_secs(240),
        interval: Span::from_secs(3),
        partitions: vec![Fault { from: Duration::from_secs(10), to: Duration::from_secs(130), share: 0.4 }],
        seed: 5,
        ..NetworkSetup::default()
    };
    let report = network::run(&setup, &|_| ()).unwrap();
    assert_eq!(fault_in(&NetworkReport { audited: 10, ..report.clone() }), None, "{}", report.command);
    let deepest = report.reorganisations.last().unwrap().depth;
    assert!(deepest > SETTLED_BLOCKS, "{deepest} blocks taken back");
    assert!(report.healings[0].took.is_some_and(|took| took < Span::from_secs(90)), "{:?}", report.healings);
    assert!(report.blocks.count - report.blocks.in_chain >= u64::from(deepest), "the lighter side's blocks are stale");
}
