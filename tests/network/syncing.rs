//! Newcomers.

use std::time::Duration;

use cairn::p2p::Config;
use cairn::primitives::height::Height;
use cairn::sim::units::Latency;
use cairn::sim::{NetworkConditions, Sim};

use crate::{Seed, mine, network, params, settles};

/// 50 ms each way, so that every needless round trip shows.
fn far() -> NetworkConditions {
    NetworkConditions {
        latency: Latency::Uniform(Duration::from_millis(50), Duration::from_millis(50)),
        jitter: Duration::ZERO,
        ..NetworkConditions::default()
    }
}

#[test]
fn two_thousand_blocks_from_one_peer_take_few_round_trips() {
    let seed = Seed::new(20);
    let mut sim = Sim::new(params(), far(), seed.0);
    sim.add_node(&[]).unwrap();
    mine(&mut sim, 0, 2_000);
    let before = (sim.now().mono, sim.traffic().messages);
    sim.add_node(&[0]).unwrap();
    assert!(sim.run_until(Duration::from_secs(60), Sim::is_converged), "not in a minute");
    let (took, messages) = (sim.now().mono.saturating_since(before.0), sim.traffic().messages - before.1);
    // 2,000 bodies, one at a time, would be 200 s.
    assert!(took <= Duration::from_secs(4), "{took:?}, {messages} messages");
    assert!(messages < 2_200, "{messages} messages for 2,000 blocks");
}

#[test]
fn a_late_joiner_syncs_from_several_while_the_chain_grows() {
    let seed = Seed::new(21);
    let mut sim = network(8, far(), seed.0);
    sim.run_for(Duration::from_secs(20));
    mine(&mut sim, 0, 600);
    assert!(sim.run_until(Duration::from_secs(60), Sim::is_converged));
    sim.set_mining(Some(Duration::from_secs(2)));
    let seeds = [1, 2, 3, 4, 5];
    let connect = seeds.map(Sim::address).to_vec();
    let newcomer = sim.add_node_with(Config { connect, ..Config::default() }).unwrap();
    let mut busiest = 0;
    let synced = sim.run_until(Duration::from_secs(60), |sim| {
        let node = sim.node(newcomer).unwrap();
        let busy = node.peers(sim.now()).iter().filter(|peer| !peer.in_flight.is_empty()).count();
        busiest = busiest.max(busy);
        node.chain().tip().height >= Height::from_u32(600)
    });
    assert!(synced);
    assert!(busiest >= 3, "bodies were asked from {busiest} peers at once");
    sim.run_for(Duration::from_secs(10));
    assert!(settles(&mut sim, Duration::from_secs(10)));
}

/// Nodes in a line: each has only its neighbours.
#[test]
fn a_chain_passes_through_a_line_of_nodes() {
    let seed = Seed::new(22);
    let mut sim = Sim::new(params(), far(), seed.0);
    sim.add_node(&[]).unwrap();
    mine(&mut sim, 0, 300);
    for node in 1..6 {
        let connect = vec![Sim::address(node - 1)];
        sim.add_node_with(Config { connect, outbound_target: 0, ..Config::default() }).unwrap();
    }
    assert!(sim.run_until(Duration::from_secs(60), Sim::is_converged));
    let hash = sim.mine(5).unwrap();
    assert!(sim.run_until(Duration::from_secs(5), Sim::is_converged));
    assert_eq!(sim.node(0).unwrap().chain().tip().hash, hash);
}
