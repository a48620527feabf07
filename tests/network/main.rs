//! Networks of nodes in virtual time. A failure prints the seed that repeats it.

mod budgets;
mod clocks;
mod compact;
mod connections;
mod discovery;
mod faults;
mod filters;
mod growth;
mod kademlia;
mod liars;
mod lowwork;
mod pushes;
mod sim_faults;
mod sim_tools;
mod syncing;

use std::sync::Arc;
use std::time::Duration;

use cairn::chain::Chain;
use cairn::consensus::params::{Allocation, GenesisSpec, Params};
use cairn::mempool::{Limits, Mempool};
use cairn::miner::template;
use cairn::primitives::address;
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::block::Block;
use cairn::primitives::header::Header;
use cairn::primitives::keys::{SecretKey, Signature};
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::{Input, OutPoint, Output, Transaction};
use cairn::sim::{Sim, Weather};
use cairn::storage::MemoryStore;

/// Names the seed of a run when it fails. `CAIRN_SEED` sets another.
struct Seed(u64);

impl Seed {
    fn new(default: u64) -> Self {
        Self(std::env::var("CAIRN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(default))
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("CAIRN_SEED={} repeats this failure", self.0);
        }
    }
}

/// Keys 1 to 20 have 10 coins each in genesis.
fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

fn params() -> Arc<Params> {
    let mut spec = GenesisSpec::regtest();
    let prefix = spec.address_prefix.clone();
    let funded = |n| Allocation {
        address: address::encode(&prefix, &key(n).public_key()),
        value: Amount::from_grains(10 * COIN),
    };
    spec.alloc = (1..=20).map(funded).collect();
    spec.mine_nonce();
    Arc::new(Params::new(spec).unwrap())
}

/// Spends key `n`'s coin of genesis, less the fee, to key 100 + `n`.
fn payment(params: &Params, n: u8, fee: u64) -> Transaction {
    let genesis = &params.genesis.transactions[0];
    // Output 0 is the message.
    let outpoint = OutPoint { txid: genesis.txid(), index: u32::from(n) };
    let spent = &genesis.outputs[usize::from(n)];
    spend(params, outpoint, spent, n, 100 + n, fee)
}

/// Spends a coin of key `from`, less the fee, to key `to`.
fn spend(params: &Params, outpoint: OutPoint, spent: &Output, from: u8, to: u8, fee: u64) -> Transaction {
    let mut tx = Transaction {
        version: 1,
        inputs: vec![Input { outpoint, signature: Signature::EMPTY }],
        outputs: vec![Output::pay(key(to).public_key(), Amount::from_grains(spent.value.as_grains() - fee))],
        lock_height: 0,
    };
    let digest = tx.signature_digest(&params.genesis_hash, [spent]);
    tx.inputs[0].signature = key(from).sign(&digest);
    tx
}

/// A network of `n` nodes, each of which knows the first and one other.
fn network(n: usize, weather: Weather, seed: u64) -> Sim {
    let mut sim = Sim::new(params(), weather, seed);
    for node in 0..n {
        let seeds = if node == 0 { vec![] } else { vec![0, node / 2] };
        sim.add_node(&seeds).unwrap();
    }
    sim
}

/// Lets a node find `n` blocks at once.
fn mine(sim: &mut Sim, node: usize, n: u32) {
    for _ in 0..n {
        sim.mine(node).expect("a node takes its own block");
    }
}

/// Ends mining and waits for one tip. Two blocks found last and at once leave a tie, which is nobody's fault and ends with
/// the next block.
fn settles(sim: &mut Sim, limit: Duration) -> bool {
    sim.set_mining(None);
    if !sim.run_until(limit, Sim::is_converged) {
        let mut works: Vec<_> = sim.nodes().map(|(_, node)| node.chain().tip().work).collect();
        works.dedup();
        if works.len() > 1 {
            return false;
        }
        mine(sim, 0, 1);
    }
    sim.run_until(limit, Sim::is_converged)
}

/// Finds a nonce for a changed header.
fn remine(header: &mut Header) {
    let target = header.bits.target().unwrap();
    header.nonce = 0;
    while !target.is_met_by(&header.hash()) {
        header.nonce += 1;
    }
}

/// A chain of somebody's own, outside the network.
struct Private {
    chain: Chain,
    pool: Mempool,
    nonce: u64,
    blocks: Vec<Block>,
}

impl Private {
    fn new(params: &Arc<Params>) -> Self {
        let chain = Chain::open(params.clone(), Arc::new(MemoryStore::new())).unwrap();
        Self { chain, pool: Mempool::new(params.clone(), Limits::default()), nonce: 0, blocks: Vec::new() }
    }

    /// The next block, valid, not appended.
    fn next(&mut self) -> Block {
        self.nonce += 1;
        // Times run behind any node's clock.
        let time = u64::from(self.chain.tip().header.time) + 1;
        let template =
            template::build(&self.chain, &self.pool, &key(99).public_key(), self.nonce, UnixTime::from_secs(time))
                .unwrap();
        (0..).map(|nonce| template.block(nonce)).find(|block| template.target.is_met_by(&block.hash())).unwrap()
    }

    fn grow(&mut self, n: u32) -> &mut Self {
        for _ in 0..n {
            let block = self.next();
            self.chain.accept_block(block.clone(), UnixTime::from_secs(u64::from(u32::MAX)), &|_| false).unwrap();
            self.blocks.push(block);
        }
        self
    }
}
