//! Networks of nodes in virtual time. A failure prints the seed that repeats it.

mod archive;
mod budgets;
mod chain_proofs;
mod clocks;
mod coins;
mod compact;
mod connections;
mod discovery;
mod false_states;
mod faults;
mod filters;
mod growth;
mod kademlia;
mod liars;
mod lowwork;
mod page_lookups;
mod pending;
mod providers;
mod pruned;
mod pushes;
mod scenarios;
mod signalling;
mod sim_faults;
mod sim_tools;
mod state_start;
mod state_sync;
mod syncing;
mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use cairn::consensus::params::Params;
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::tx::{OutPoint, Output, Transaction};
use cairn::sim::{NetworkConditions, Sim};
use cairn_testkit::{funded, genesis_coin, key, public, sign, unsigned};

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
fn params() -> Arc<Params> {
    Arc::new(Params::new(funded(1..=20, 10 * COIN)).unwrap())
}

/// Spends key `n`'s coin of genesis, less the fee, to key 100 + `n`.
fn payment(params: &Params, n: u8, fee: u64) -> Transaction {
    let (outpoint, coin) = genesis_coin(params, n);
    spend(params, outpoint, &coin.output, n, 100 + n, fee)
}

/// Spends a coin of key `from`, less the fee, to key `to`.
fn spend(params: &Params, outpoint: OutPoint, spent: &Output, from: u8, to: u8, fee: u64) -> Transaction {
    let tx = unsigned(&[outpoint], vec![Output::pay(public(to), Amount::from_grains(spent.value.as_grains() - fee))]);
    sign(params, tx, &[(spent, &key(from))])
}

/// A network of `n` nodes; each knows the first and one other.
fn network(n: usize, conditions: NetworkConditions, seed: u64) -> Sim {
    let mut sim = Sim::new(params(), conditions, seed);
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

/// Ends mining and waits for one tip. If the last two blocks were found at once, the tie is legitimate, and ends with
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
