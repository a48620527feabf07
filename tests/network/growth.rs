//! Honest nodes alone.

use std::time::Duration;

use cairn::p2p::Event;
use cairn::primitives::height::Height;
use cairn::sim::{NetworkConditions, Sim};

use crate::{Seed, network, params, payment, settles};

#[test]
fn fifty_nodes_find_each_other_and_keep_one_chain() {
    let seed = Seed::new(5);
    let mut sim = network(50, NetworkConditions::default(), seed.0);
    let found = sim.run_until(Duration::from_secs(60), |sim| {
        sim.nodes().all(|(_, node)| {
            let (inbound, outbound) = node.connection_counts();
            inbound + outbound >= 8
        })
    });
    assert!(found, "some node found fewer than 8 others");
    sim.set_mining(Some(Duration::from_secs(5)));
    let payments: Vec<_> = (1..=20).map(|n| payment(&params(), n, 1_000)).collect();
    for (tx, node) in payments.iter().zip(0..) {
        sim.submit(node, tx.clone()).unwrap().unwrap();
    }
    sim.run_for(Duration::from_secs(200));
    assert!(settles(&mut sim, Duration::from_secs(20)), "tips differ 20 s after the last block");
    for (number, node) in sim.nodes() {
        assert!(
            node.chain().tip().height > Height::from_u32(20),
            "node {number} is at height {}",
            node.chain().tip().height
        );
        for tx in &payments {
            assert!(node.chain().db().tx_location(&tx.txid()).unwrap().is_some(), "node {number} lacks a payment");
        }
        assert!(node.mempool().is_empty());
        assert!(node.bans(sim.now()).is_empty(), "node {number} banned an honest one");
    }
}

/// A tip reaches every node within a few round trips.
#[test]
fn a_block_is_everywhere_within_a_second() {
    let seed = Seed::new(2);
    let mut sim = network(50, NetworkConditions::default(), seed.0);
    sim.run_for(Duration::from_secs(60));
    for node in [0, 17, 49] {
        let start = sim.now().mono;
        let hash = sim.mine(node).unwrap();
        assert!(sim.run_until(Duration::from_secs(1), Sim::is_converged), "not within a second");
        assert_eq!(sim.node(5).unwrap().chain().tip().hash, hash);
        let told = |event: &Event| matches!(event, Event::TipChanged { hash: told, .. } if *told == hash);
        for other in 0..50 {
            assert!(sim.events(other).iter().any(|(at, event)| *at >= start && told(event)));
        }
    }
}

#[test]
fn bad_weather_delays_but_does_not_divide() {
    let seed = Seed::new(3);
    let conditions = NetworkConditions {
        loss: 0.02,
        resets: 0.002,
        jitter: Duration::from_millis(100),
        ..NetworkConditions::default()
    };
    let mut sim = network(30, conditions, seed.0);
    sim.run_for(Duration::from_secs(30));
    sim.set_mining(Some(Duration::from_secs(4)));
    for (n, node) in (1..=10).zip(0..) {
        sim.submit(node, payment(&params(), n, 1_000)).unwrap().unwrap();
    }
    sim.run_for(Duration::from_secs(240));
    assert!(settles(&mut sim, Duration::from_secs(60)));
    for (number, node) in sim.nodes() {
        for n in 1..=10 {
            let txid = payment(&params(), n, 1_000).txid();
            let pools = sim.nodes().filter(|(_, node)| node.mempool().contains(&txid)).count();
            let is_there = node.chain().db().tx_location(&txid).unwrap().is_some();
            assert!(is_there, "node {number} lacks payment {n}, which is in {pools} mempools");
        }
        assert!(node.bans(sim.now()).is_empty(), "node {number} banned an honest one");
    }
}

#[test]
fn a_seed_repeats_its_run_to_the_last_message() {
    let run = |seed| {
        let conditions = NetworkConditions { loss: 0.05, resets: 0.005, ..NetworkConditions::default() };
        let mut sim = network(20, conditions, seed);
        sim.set_mining(Some(Duration::from_secs(3)));
        sim.run_for(Duration::from_secs(20));
        sim.partition(&[&[1, 2, 3, 4, 5], &[6, 7, 8, 9]]);
        sim.submit(3, payment(&params(), 1, 500)).unwrap().unwrap();
        sim.run_for(Duration::from_secs(20));
        sim.crash(7).unwrap();
        sim.heal();
        sim.run_for(Duration::from_secs(10));
        sim.start(7).unwrap();
        sim.run_for(Duration::from_secs(10));
        (sim.trace(), sim.traffic())
    };
    let seed = Seed::new(4).0;
    assert_eq!(run(seed), run(seed));
    assert_ne!(run(seed).0, run(seed + 1).0);
}
