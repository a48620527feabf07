//! History that no node keeps whole: each of fifty archives a tenth of it, and a newcomer fetches it from those that are left.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cairn::chain::{Retention, Run};
use cairn::consensus::params::{GenesisSpec, Params};
use cairn::p2p::archive::{MIN_COPIES, Runs};
use cairn::p2p::message::{Hello, Item, Message, SERVICE_ARCHIVE, SERVICE_PRUNED, TipClaim};
use cairn::p2p::{Config, Output, PeerId};
use cairn::primitives::height::Height;
use cairn::primitives::target::Bits;
use cairn::sim::{NetworkConditions, Sim};
use cairn_testkit::Ledger;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;

use crate::Seed;
use crate::connections::{Bench, hello, reasons, sent_to};

const NODES: usize = 50;
pub(crate) const EPOCH: u32 = 4;
/// Blocks that each node keeps anyway.
const KEPT: u32 = 40;
pub(crate) const BLOCKS: u32 = 176;
/// Of them, those that are mined when all nodes are there: too few are kept for pruning before.
pub(crate) const LAST: u32 = 12;
/// All below are due to be pruned at that height.
const PRUNED: u32 = 128;
/// All of whose blocks are pruned by then.
pub(crate) const RUNS: u32 = runs_in(EPOCH);
const TENTH: u32 = (u32::MAX as u64 / 10) as u32;

pub(crate) fn at(height: u32) -> Height {
    Height::from_u32(height)
}

/// [`RUNS`] of a chain with epochs of so many blocks.
pub(crate) const fn runs_in(epoch: u32) -> u32 {
    (PRUNED - 1) / epoch
}

pub(crate) fn params() -> Arc<Params> {
    params_with(EPOCH)
}

/// With epochs of so many blocks.
pub(crate) fn params_with(epoch: u32) -> Arc<Params> {
    let mut spec = GenesisSpec { epoch_blocks: epoch, ..GenesisSpec::regtest() };
    assert!(spec.mine_nonce());
    Arc::new(Params::new(spec).unwrap())
}

/// A node that prunes, and archives a tenth.
pub(crate) fn archivist(seed: usize) -> Config {
    Config {
        retention: Retention::Last(KEPT),
        archive_share: TENTH,
        seeds: vec![Sim::address(seed)],
        ..Config::default()
    }
}

/// So many nodes that have pruned, and the one that mined the chain, which is the first and keeps all.
pub(crate) fn network(seed: u64, nodes: usize) -> Sim {
    let mut sim = Sim::new(params(), NetworkConditions::default(), seed);
    sim.add_node(&[]).unwrap();
    for _ in 0..BLOCKS - LAST {
        sim.mine(0).unwrap();
    }
    for _ in 0..nodes {
        sim.add_node_with(archivist(0)).unwrap();
        sim.run_for(Duration::from_millis(200));
    }
    let are_at = |height: u32| move |sim: &Sim| sim.nodes().all(|(_, node)| node.chain().tip().height == at(height));
    assert!(sim.run_until(Duration::from_secs(60), are_at(BLOCKS - LAST)), "the network does not synchronise");
    sim.run_for(Duration::from_secs(30));
    // They are acquainted when they begin to prune.
    for _ in 0..LAST {
        sim.mine(0).unwrap();
        sim.run_for(Duration::from_millis(500));
    }
    assert!(sim.run_until(Duration::from_secs(10), are_at(BLOCKS)), "not all have the last block");
    // Announcements.
    sim.run_for(Duration::from_secs(30));
    sim
}

/// The runs that a node archives.
pub(crate) fn runs_of(sim: &Sim, node: usize) -> BTreeSet<u32> {
    let chain = sim.node(node).unwrap().chain();
    let epoch = chain.params().epoch_blocks;
    assert!(chain.kept_from() >= Run(runs_in(epoch)).first(epoch), "{}", chain.kept_from());
    chain.archived_runs().into_iter().map(|(Run(run), _)| run).filter(|run| *run < runs_in(epoch)).collect()
}

#[test]
fn a_newcomer_gets_all_history_from_forty_nodes_that_archive_a_tenth() {
    let seed = Seed::new(150);
    let mut sim = network(seed.0, NODES);
    let has: Vec<BTreeSet<u32>> = (1..=NODES).map(|node| runs_of(&sim, node)).collect();
    let copies = |run: u32| has.iter().filter(|runs| runs.contains(&run)).count();
    let (fewest, most) = ((0..RUNS).map(copies).min().unwrap(), (0..RUNS).map(copies).max().unwrap());
    let shares: Vec<f64> = has.iter().map(|runs| runs.len() as f64 / f64::from(RUNS)).collect();
    let mean = shares.iter().sum::<f64>() / NODES as f64;
    println!(
        "copies of a run: {fewest} to {most}; shares: {mean:.3}, at most {:.3}",
        shares.iter().copied().fold(0.0, f64::max)
    );
    // The node that keeps all may be one of the nearest, and does not archive.
    assert!(fewest >= MIN_COPIES - 1, "{fewest} copies of a run");
    assert!((0.09..0.15).contains(&mean), "{mean}");

    // How often ten that go at once take a run with them.
    let mut rng = ChaCha20Rng::seed_from_u64(seed.0);
    let mut nodes: Vec<usize> = (0..NODES).collect();
    let mut ten = || {
        nodes.shuffle(&mut rng);
        nodes[..10].iter().copied().collect::<BTreeSet<usize>>()
    };
    let is_lost = |gone: &BTreeSet<usize>| {
        let left = || has.iter().enumerate().filter(|(node, _)| !gone.contains(node));
        (0..RUNS).any(|run| !left().any(|(_, runs)| runs.contains(&run)))
    };
    let lost = (0..10_000).filter(|_| is_lost(&ten())).count();
    println!("of 10000 draws of ten nodes, {lost} take a run with them");
    assert!(lost < 200, "{lost}");

    let gone = ten();
    assert!(!is_lost(&gone), "two draws of a thousand: choose another seed");
    sim.stop(0).unwrap();
    for node in &gone {
        sim.stop(node + 1).unwrap();
    }
    let seeds = (1..=NODES).filter(|node| !gone.contains(&(node - 1))).take(1);
    let config = Config { seeds: seeds.map(Sim::address).collect(), ..Config::default() };
    let (before, start) = (sim.traffic(), sim.now().mono);
    let newcomer = sim.add_node_with(config).unwrap();
    // One that follows it has no block that it needs, and must not be taken for one that has all.
    let follower = Config { connect: vec![Sim::address(newcomer)], outbound_target: 0, ..Config::default() };
    sim.add_node_with(follower).unwrap();
    let is_there = |sim: &Sim| sim.node(newcomer).unwrap().chain().tip().height == at(BLOCKS);
    assert!(sim.run_until(Duration::from_secs(600), is_there), "{:?}", sim.node(newcomer).unwrap().chain().tip());
    let took = sim.now().mono.saturating_since(start);
    println!("the newcomer has all after {took:?}; {} messages in all", sim.traffic().messages - before.messages);
    let chain = sim.node(newcomer).unwrap().chain();
    for height in Height::GENESIS.through(at(BLOCKS)) {
        assert!(chain.db().block(&chain.entry_at(height).unwrap().key()).unwrap().is_some(), "block {height}");
    }
    // What it needed no more went again.
    sim.run_for(Duration::from_secs(60));
    assert!(sim.node(newcomer).unwrap().peers(sim.now()).len() < NODES);
}

/// A peer at the end of the chain that says which runs it has, and has no other block.
fn archives(bench: &mut Bench, ledger: &Ledger, address: &str, runs: &[u32]) -> (PeerId, Vec<Output>) {
    let last = ledger.blocks.last().unwrap();
    // A claim of work only decides who is asked first.
    let work = Bits(0x0300_0001).target().unwrap().work();
    let tip = TipClaim { height: ledger.height(), hash: last.hash(), work };
    let services = SERVICE_PRUNED | SERVICE_ARCHIVE;
    let genesis = ledger.blocks[0].hash();
    let (peer, _) = bench.inbound(address);
    bench.say(peer, Message::Hello(Hello { services, tip, bodies_from: ledger.height().next(), genesis, ..hello() }));
    let mut set = Runs::default();
    runs.iter().for_each(|run| set.insert(Run(*run)));
    let outputs = bench.say(peer, Message::Archive(set.to_bytes()));
    (peer, outputs)
}

#[test]
fn a_peer_that_lacks_a_run_is_not_asked_for_it_again() {
    let params = params();
    let mut ledger = Ledger::on(&params);
    ledger.extend(4 * EPOCH, 0);
    let mut bench = Bench::on(&params, Config::default(), Arc::new(cairn::storage::MemoryStore::new()));
    let (liar, _) = archives(&mut bench, &ledger, "10.0.0.1:5", &[0, 1, 2, 3, 9_999, 65_535]);
    let headers: Vec<_> = ledger.blocks[1..].iter().map(|block| block.header).collect();
    let mut outputs = bench.say(liar, Message::Headers(headers));
    let asked = |outputs: &[Output], peer| -> Vec<Item> {
        let items = sent_to(outputs, peer).into_iter().filter_map(|message| match message {
            Message::GetData(items) => Some(items),
            _ => None,
        });
        items.flatten().collect()
    };
    let mut refused = 0;
    loop {
        let items = asked(&outputs, liar);
        if items.is_empty() {
            break;
        }
        refused += items.len();
        assert!(refused <= 4 * EPOCH as usize, "asked for the same again");
        outputs = bench.say(liar, Message::NotFound(items));
        outputs.extend(bench.after(Duration::from_secs(11)));
    }
    assert!(refused > 0 && reasons(&outputs).is_empty());

    // Another has them, each run once.
    let (honest, mut outputs) = archives(&mut bench, &ledger, "10.0.1.1:5", &[0, 1, 2, 3]);
    loop {
        let items = asked(&outputs, honest);
        if items.is_empty() {
            break;
        }
        outputs.clear();
        for item in items {
            let (Item::Block(hash) | Item::CompactBlock(hash)) = item else { panic!("{item:?}") };
            let block = ledger.blocks.iter().find(|block| block.hash() == hash).unwrap();
            outputs.extend(bench.say(honest, Message::Block(block.clone().into())));
        }
    }
    assert_eq!(bench.node.chain().tip().height, ledger.height());
}
