//! Partitions and crashes.

use std::time::Duration;

use cairn::primitives::height::Height;
use cairn::record::{Ending, Reader, Recorder, State, replay};
use cairn::sim::{NetworkConditions, Sim};

use crate::{Seed, mine, network, params, payment, settles};

#[test]
fn after_a_partition_the_heavier_side_wins_and_payments_return() {
    let seed = Seed::new(10);
    let mut sim = network(30, NetworkConditions::default(), seed.0);
    sim.run_for(Duration::from_secs(30));
    mine(&mut sim, 0, 5);
    assert!(sim.run_until(Duration::from_secs(10), Sim::is_converged));

    let small: Vec<usize> = (20..30).collect();
    sim.partition(&[&[], &small]);
    // A payment that only the lighter side sees, and confirms.
    let tx = payment(&params(), 1, 1_000);
    sim.submit(25, tx.clone()).unwrap().unwrap();
    sim.run_for(Duration::from_secs(3));
    for _ in 0..4 {
        sim.mine(21).unwrap();
        sim.run_for(Duration::from_secs(2));
    }
    let heavy = (0..8)
        .map(|_| {
            let hash = sim.mine(3).unwrap();
            sim.run_for(Duration::from_secs(2));
            hash
        })
        .last();
    let lighter = |sim: &Sim| sim.node(29).unwrap().chain().tip().height;
    assert_eq!(
        (sim.node(15).unwrap().chain().tip().height, lighter(&sim)),
        (Height::from_u32(13), Height::from_u32(9))
    );
    assert!(sim.node(29).unwrap().chain().db().tx_location(&tx.txid()).unwrap().is_some());

    sim.heal();
    assert!(sim.run_until(Duration::from_secs(60), Sim::is_converged), "not one chain a minute after healing");
    assert_eq!(Some(sim.node(29).unwrap().chain().tip().hash), heavy);
    assert!(sim.node(29).unwrap().mempool().contains(&tx.txid()), "the payment is back in the mempool");
    let everywhere = |sim: &Sim| sim.nodes().all(|(_, node)| node.mempool().contains(&tx.txid()));
    assert!(sim.run_until(Duration::from_secs(30), everywhere), "and is relayed to those who never saw it");
    sim.mine(0).unwrap();
    assert!(sim.run_until(Duration::from_secs(10), Sim::is_converged));
    assert!(sim.node(29).unwrap().chain().db().tx_location(&tx.txid()).unwrap().is_some());
}

#[test]
fn silent_connections_are_noticed_while_the_partition_lasts() {
    let seed = Seed::new(11);
    let mut sim = network(10, NetworkConditions::default(), seed.0);
    sim.run_for(Duration::from_secs(30));
    let cut: Vec<usize> = (5..10).collect();
    sim.partition(&[&[], &cut]);
    sim.run_for(Duration::from_secs(120));
    let ips: Vec<_> = (0..5).map(|node| Sim::address(node).ip()).collect();
    for node in 5..10 {
        let peers = sim.node(node).unwrap().peers(sim.now());
        assert!(
            peers.iter().all(|peer| !ips.contains(&peer.address.ip())),
            "node {node} still believes in a dead peer"
        );
    }
    sim.mine(0).unwrap();
    sim.heal();
    // Dials failed meanwhile and are tried again later and later, so it may take a while.
    assert!(sim.run_until(Duration::from_secs(300), Sim::is_converged));
}

#[test]
fn a_crashed_node_comes_back_to_what_it_had_and_catches_up() {
    let seed = Seed::new(12);
    let mut sim = network(12, NetworkConditions::default(), seed.0);
    sim.set_mining(Some(Duration::from_secs(2)));
    // Address books are saved every minute, and written half a second later at the latest.
    sim.run_for(Duration::from_secs(61));
    let before = sim.node(4).unwrap().chain().tip().height;
    sim.crash(4).unwrap();
    sim.run_for(Duration::from_secs(60));
    sim.start(4).unwrap();
    // But for what was found in the last half second before.
    assert!(sim.node(4).unwrap().chain().tip().height.next() >= before);
    assert!(sim.node(4).unwrap().known_addresses().len() > 2, "the address book was saved");
    sim.run_for(Duration::from_secs(20));
    assert!(settles(&mut sim, Duration::from_secs(20)));
    assert!(sim.node(4).unwrap().chain().tip().height > before.saturating_add(10));
}

#[test]
fn the_network_outlives_the_node_that_it_was_joined_through() {
    let seed = Seed::new(13);
    let mut sim = network(12, NetworkConditions::default(), seed.0);
    sim.run_for(Duration::from_secs(60));
    sim.crash(0).unwrap();
    sim.run_for(Duration::from_secs(30));
    let newcomer = sim.add_node(&[7]).unwrap();
    sim.set_mining(Some(Duration::from_secs(2)));
    sim.run_for(Duration::from_secs(60));
    assert!(settles(&mut sim, Duration::from_secs(20)));
    let (inbound, outbound) = sim.node(newcomer).unwrap().connection_counts();
    assert!(inbound + outbound >= 5, "the newcomer found {inbound} and {outbound} others");
}

/// It is killed, has recorded until then, and began with a chain.
#[test]
fn a_recorded_node_under_faults_does_the_same_again() {
    let seed = Seed::new(14);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.rec");
    let mut sim =
        network(10, NetworkConditions { loss: 0.02, resets: 0.000_5, ..NetworkConditions::default() }, seed.0);
    sim.set_mining(Some(Duration::from_secs(3)));
    sim.run_for(Duration::from_secs(60));
    sim.crash(4).unwrap();
    sim.run_for(Duration::from_secs(20));
    sim.start_with(4, Some(Recorder::create(&path).unwrap())).unwrap();
    // Peers whose messages are damaged on their way are banned: of three, one at least is or comes near.
    [6, 7, 8].into_iter().for_each(|node| sim.garble(node, 0.05));
    for n in 1..=10 {
        sim.run_for(Duration::from_secs(5));
        let _ = sim.submit(usize::from(n) % 3, payment(&params(), n, 1_000)).unwrap();
    }
    sim.partition(&[&[], &[1, 2, 3, 4]]);
    sim.run_for(Duration::from_secs(60));
    sim.heal();
    sim.run_for(Duration::from_secs(90));
    sim.submit(4, payment(&params(), 11, 1_000)).unwrap().unwrap();
    let (now, node) = (sim.now(), sim.node(4).unwrap());
    let (tip, mempool, bans) = (node.chain().tip().hash, node.mempool().txids(), node.bans(now));
    assert!(!bans.is_empty(), "no peer was banned");
    assert!(!mempool.is_empty());
    sim.crash(4).unwrap();

    let record = || Reader::new(std::fs::File::open(&path).map(std::io::BufReader::new).unwrap()).unwrap();
    let replayed = replay(record(), &|_| ()).unwrap();
    assert_eq!((replayed.state.tip, &replayed.mempool, &replayed.bans), (tip, &mempool, &bans));
    assert_eq!((replayed.ending, replayed.commands > 0, replayed.stored > 0), (Ending::Open, true, true));
    assert!(replayed.checkpoints > 1 && replayed.inputs > 1_000, "{replayed:?}");
    // On threads of a pool that others keep busy, it does the same.
    let states: Vec<State> = {
        use rayon::prelude::*;
        (0..8).into_par_iter().map(|_| replay(record(), &|_| ()).unwrap().state).collect()
    };
    assert!(states.iter().all(|state| *state == replayed.state));
}
