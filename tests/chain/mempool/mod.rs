//! The pool on a real chain. This module holds what its tests share: a pool with its chain and clock, payments, and the
//! invariants of any pool.

mod admission;
mod blocks;
mod eviction;
mod histories;
mod limits;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cairn::chain::{Chain, ChainUpdate};
use cairn::consensus::check::check_block;
use cairn::consensus::coins::CoinView;
use cairn::consensus::connect::{BlockContext, connect};
use cairn::consensus::params::Params;
use cairn::mempool::{Accepted, Limits, Mempool, MempoolError};
use cairn::miner::{kernel, template};
use cairn::primitives::amount::{Amount, FeeRate};
use cairn::primitives::block::Block;
use cairn::primitives::hash::{Commitment, Txid};
use cairn::primitives::height::Height;
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::{OutPoint, Output, Transaction};
use cairn::storage::MemoryStore;
use cairn_testkit::{funded, key, public, sign, unsigned};

/// Number of coins in genesis, and the value of each.
const COINS: usize = 200;
const VALUE: u64 = 1_000_000;

fn params() -> Arc<Params> {
    Arc::new(Params::new(funded([1; COINS], VALUE)).expect("valid parameters"))
}

/// A pool, its chain, and the clock.
pub struct World {
    params: Arc<Params>,
    pub chain: Chain,
    pub pool: Mempool,
    pub now: u64,
    /// Makes every block unique.
    extra_nonce: u64,
}

impl World {
    fn new(limits: Limits) -> Self {
        Self::on(params(), limits)
    }

    pub fn on(params: Arc<Params>, limits: Limits) -> Self {
        let chain = Chain::open(params.clone(), Arc::new(MemoryStore::default())).expect("a chain in memory");
        let pool = Mempool::new(params.clone(), limits);
        let now = u64::from(params.timestamp) + 1_000_000;
        Self { params, chain, pool, now, extra_nonce: 0 }
    }

    /// The `index`th coin of genesis.
    fn coin(&self, index: usize) -> (OutPoint, u64) {
        let txid = self.params.genesis.transactions[0].txid();
        // Output 0 is the message.
        (OutPoint { txid, index: index as u32 + 1 }, VALUE)
    }

    fn spend(&self, coins: &[(OutPoint, u64)], values: &[u64]) -> Transaction {
        spend(&self.params, coins, values, |_| ())
    }

    /// A payment that spends the `chosen` of `coins`, each once, to `outputs` outputs; `None` if they hold too little.
    fn pay(&self, coins: &[(OutPoint, u64)], chosen: &[usize], outputs: u64, fee: u64) -> Option<Transaction> {
        let mut inputs: Vec<_> = chosen.iter().map(|choice| coins[choice % coins.len()]).collect();
        inputs.sort_unstable();
        inputs.dedup();
        let sum: u64 = inputs.iter().map(|(_, value)| value).sum();
        let left = sum.checked_sub(fee).filter(|left| *left > 4)?;
        let mut values = vec![left / outputs; outputs as usize];
        values[0] += left % outputs;
        Some(self.spend(&inputs, &values))
    }

    fn accept(&mut self, tx: &Transaction) -> Result<Accepted, MempoolError> {
        self.pool.accept(tx.clone(), &self.chain, UnixTime::from_secs(self.now))
    }

    fn admit(&mut self, tx: &Transaction) -> Txid {
        self.accept(tx).expect("acceptable").txid
    }

    /// Mines a block of `txs` on the tip without updating the pool.
    fn mine_only(&mut self, txs: &[&Transaction]) -> (Block, ChainUpdate) {
        let limits = Limits { min_fee_rate: FeeRate::ZERO, ..Limits::default() };
        let mut chosen = Mempool::new(self.params.clone(), limits);
        for tx in txs {
            chosen.accept(Transaction::clone(tx), &self.chain, UnixTime::from_secs(self.now)).expect("minable");
        }
        self.extra_nonce += 1;
        let block = mine(&self.chain, &chosen, self.extra_nonce, self.now);
        let update =
            self.chain.accept_block(block.clone(), UnixTime::from_secs(self.now), &|_| false).expect("a valid block");
        (block, update)
    }

    /// Mines a block of `txs` on the tip and updates the pool; returns the payments it admitted.
    fn mine(&mut self, txs: &[&Transaction]) -> Vec<Txid> {
        let (_, update) = self.mine_only(txs);
        self.pool.update(&update, &self.chain, UnixTime::from_secs(self.now)).admitted
    }

    /// Accepts a block and updates the pool.
    pub fn take(&mut self, block: &Block) {
        let update =
            self.chain.accept_block(block.clone(), UnixTime::from_secs(self.now), &|_| false).expect("a valid block");
        self.pool.update(&update, &self.chain, UnixTime::from_secs(self.now));
    }

    /// Resumes the pool until it is finished; returns the most transactions that one call admitted.
    pub fn resume(&mut self) -> usize {
        let mut most = 0;
        while self.pool.is_unfinished() {
            most = most.max(self.pool.resume(&self.chain, UnixTime::from_secs(self.now)).admitted.len());
        }
        most
    }

    /// Accepts another chain's blocks; returns the payments that the pool readmitted.
    fn follow(&mut self, other: &World, from: u32) -> Vec<Txid> {
        let mut last = Vec::new();
        for height in from..=other.chain.tip().height.as_u32() {
            let at = other.chain.entry_at(Height::from_u32(height)).expect("on the best chain").key();
            let block = other.chain.db().block(&at).expect("readable").expect("stored");
            let update = self
                .chain
                .accept_block(block, UnixTime::from_secs(self.now), &|txid| self.pool.is_verified(txid))
                .expect("valid");
            last.extend(self.pool.update(&update, &self.chain, UnixTime::from_secs(self.now)).admitted);
        }
        last
    }
}

/// A transaction of the tests' key, changed before it is signed.
fn spend(params: &Params, coins: &[(OutPoint, u64)], values: &[u64], change: impl Fn(&mut Transaction)) -> Transaction {
    let outputs = values.iter().map(|value| Output::pay(public(1), Amount::from_grains(*value))).collect();
    let mut tx = unsigned(&coins.iter().map(|(outpoint, _)| *outpoint).collect::<Vec<_>>(), outputs);
    change(&mut tx);
    let key = key(1);
    let spent: Vec<Output> =
        coins.iter().map(|(_, value)| Output::pay(public(1), Amount::from_grains(*value))).collect();
    sign(params, tx, &spent.iter().map(|output| (output, &key)).collect::<Vec<_>>())
}

fn output(tx: &Transaction, index: u32) -> (OutPoint, u64) {
    (OutPoint { txid: tx.txid(), index }, tx.outputs[index as usize].value.as_grains())
}

fn mine(chain: &Chain, pool: &Mempool, extra_nonce: u64, now: u64) -> Block {
    let mut template = template::build(chain, pool, &public(1), 0, UnixTime::from_secs(now)).expect("a template");
    // Changes the Merkle root through the coinbase's branch alone; the block's check recomputes the whole tree.
    template.set_extra_nonce(extra_nonce);
    let nonce = kernel::search(&template.header, template.target, 0..=u32::MAX).expect("easy bits");
    template.block(nonce)
}

/// A chain of payments, each spending the previous one and paying `fee`.
fn chain_of(world: &World, start: (OutPoint, u64), length: usize, fee: u64) -> Vec<Transaction> {
    let mut coin = start;
    (0..length)
        .map(|_| {
            let tx = world.spend(&[coin], &[coin.1 - fee]);
            coin = output(&tx, 0);
            tx
        })
        .collect()
}

fn txids(txs: &[Transaction]) -> Vec<Txid> {
    txs.iter().map(Transaction::txid).collect()
}

/// Checks the invariants of any pool on any chain.
fn check(world: &World) {
    let World { pool, chain, params, .. } = world;
    let ids = pool.txids();
    assert_eq!(ids.len(), pool.len());
    let entries: BTreeMap<_, _> = ids.iter().map(|txid| (*txid, pool.get(txid).expect("listed"))).collect();
    let mut spent = BTreeSet::new();
    for entry in entries.values() {
        for input in &entry.tx.inputs {
            assert!(spent.insert(input.outpoint), "two entries spend one coin");
            assert_eq!(pool.spender(&input.outpoint), Some(entry.txid));
            let known = match entries.get(&input.outpoint.txid) {
                Some(parent) => (input.outpoint.index as usize) < parent.tx.outputs.len(),
                None => chain.coin(&input.outpoint).expect("readable").is_some(),
            };
            assert!(known, "an input of {} is not there", entry.txid);
        }
        assert!(entry.ancestors.count <= pool.limits().max_ancestors);
        assert!(entry.descendants.count <= pool.limits().max_descendants);
        assert_eq!(entry.ancestors.count, pool.ancestors(&entry.txid).len() + 1);
        assert_eq!(entry.descendants.count, pool.descendants(&entry.txid).len() + 1);
        assert!(pool.is_verified(&entry.txid));
    }
    assert_eq!(pool.bytes(), entries.values().map(|entry| entry.tx.size()).sum::<usize>());
    assert!(pool.usage() <= pool.limits().max_bytes);
    assert!(pool.orphan_count() <= pool.limits().max_orphans);
    // The template is a valid block, and holds the whole pool if there is room.
    let block = mine(chain, pool, 77, world.now);
    assert!(block.size() <= params.max_block_bytes as usize);
    assert_eq!(block.transactions.len(), pool.len() + 1);
    let checked = check_block(block, params).expect("a good body");
    let context = BlockContext { params, height: chain.tip().height.next(), commitment: commitment(chain) };
    let delta = connect(&checked, &context, chain, |_| false).expect("a good block");
    assert_eq!(delta.fees, Amount::saturating_sum(entries.values().map(|entry| entry.fee)));
}

fn commitment(chain: &Chain) -> Commitment {
    chain.committed().unwrap().commitment()
}
