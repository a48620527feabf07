//! A chain of blocks full of payments, input of the other benchmarks, built as fast as transactions can be signed.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{fs, process};

use anyhow::Context;
use rayon::prelude::*;

use crate::consensus::coins::{Coin, Delta};
use crate::consensus::commitment::Committed;
use crate::consensus::filter::block_filter;
use crate::consensus::params::{Allocation, GenesisSpec, Params};
use crate::primitives::address;
use crate::primitives::amount::{Amount, COIN};
use crate::primitives::block::Block;
use crate::primitives::hash::{BlockHash, FilterHeader, Hash256, MerkleRoot, StateRoot, Txid};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::keys::{SecretKey, Signature};
use crate::primitives::merkle::{self, Branch};
use crate::primitives::mmr;
use crate::primitives::tx::{Input, OutPoint, Output, Transaction};
use crate::state::key::lock_digest;
use crate::state::{Epochs, Leaf};

/// Number of owners: enough that no batch of signatures has a key twice, which would make it cheaper.
const KEYS: usize = 2_048;
/// Value of a coin of genesis, or of a state that is loaded.
const VALUE: Amount = Amount::from_grains(COIN);
/// Coins of such a state that payments can spend.
const PAYING: u32 = 100_000;

/// A coin that a payment can spend: its owner is a place in the ring of keys.
#[derive(Debug, Clone, Copy)]
struct Spendable {
    outpoint: OutPoint,
    value: Amount,
    owner: usize,
    /// Height of the block that made it.
    made: Height,
}

/// A chain on a network of its own, and the coins at its end.
#[derive(Clone)]
pub(super) struct Fixture {
    pub(super) params: Arc<Params>,
    keys: Arc<Vec<SecretKey>>,
    /// Coins that payments can spend, the oldest first.
    coins: VecDeque<Spendable>,
    range: mmr::Range,
    filters: FilterHeader,
    states: States,
    tip: Header,
    height: Height,
    /// Siblings on the path from a block's first transaction to the root, in place of other transactions.
    beside: Vec<Hash256>,
}

/// The states that blocks commit to.
#[derive(Clone)]
enum States {
    /// Computed from the blocks, with all coins in memory.
    Own(Box<Epochs>),
    /// Those of the chain, which says what the next blocks commit to.
    OfChain(StateRoot),
}

impl Fixture {
    /// A network whose genesis makes `coins` coins, and nothing after it yet. Every second hash is a block there.
    pub(super) fn new(coins: usize) -> Self {
        Self::of(GenesisSpec::regtest(), coins)
    }

    /// The same, by other rules than those of such a network, but for the coins.
    pub(super) fn of(mut spec: GenesisSpec, coins: usize) -> Self {
        let keys: Vec<SecretKey> =
            (0..KEYS).map(|n| SecretKey::from_seed(Hash256::of(&n.to_le_bytes()).to_bytes())).collect();
        let addresses: Vec<String> =
            keys.iter().map(|key| address::encode(&spec.address_prefix, &key.public_key())).collect();
        spec.alloc = (0..coins).map(|n| Allocation { address: addresses[n % KEYS].clone(), value: VALUE }).collect();
        spec.mine_nonce();
        let params = Params::new(spec).expect("the benchmark's network is valid");
        let (genesis, txid) = (params.genesis.header, params.genesis.transactions[0].txid());
        // Output 0 is data.
        let coin = |n: usize| OutPoint { txid, index: n as u32 + 1 };
        let coins = (0..coins)
            .map(|n| Spendable { outpoint: coin(n), value: VALUE, owner: n % KEYS, made: Height::GENESIS })
            .collect();
        let filters = block_filter(&params.genesis, []).header(&FilterHeader::ZERO);
        let mut fixture = Self {
            params: Arc::new(params),
            keys: Arc::new(keys),
            coins,
            range: mmr::Range::default(),
            filters,
            states: States::Own(Box::default()),
            tip: genesis,
            height: Height::GENESIS,
            beside: Vec::new(),
        };
        fixture.range.push(mmr::Node::leaf(genesis.hash(), fixture.params.genesis_target.work(), genesis.time));
        let created = Delta::created_by(&fixture.params.genesis, &[txid], Height::GENESIS);
        fixture.push_state(genesis.hash(), &Delta { created, ..Delta::default() });
        fixture
    }

    /// A network whose chain loads [`Fixture::loaded`] in place of the coins of genesis, so many that memory does not hold them.
    pub(super) fn on_loaded(spec: GenesisSpec) -> Self {
        let mut fixture = Self::of(spec, 1);
        fixture.coins = (0..PAYING).map(|n| fixture.loaded_coin(n)).collect();
        fixture.states = States::OfChain(StateRoot::ZERO);
        fixture
    }

    /// From now on a block has a coinbase, and as many other transactions as make a tree of `levels` levels above it. They are
    /// not made: what is proven of the coinbase has the size that it would have.
    pub(super) fn fill(&mut self, levels: u32) {
        self.beside = (0..levels).map(|level| Hash256::of(&level.to_le_bytes())).collect();
    }

    /// The path from a block's first transaction to the root, if no other is made.
    pub(super) fn branch(&self) -> Branch {
        Branch { index: 0, siblings: self.beside.clone() }
    }

    /// The coins of a state with `coins` of them, in the order of their keys, those of an owner at a time.
    pub(super) fn loaded(&self, coins: u32) -> impl Iterator<Item = Vec<Leaf>> {
        let mut owners: Vec<usize> = (0..KEYS).collect();
        owners.sort_by_cached_key(|owner| lock_digest(&self.keys[*owner].public_key()).to_bytes());
        owners.into_iter().map(move |owner| {
            let own = (owner as u32..coins).step_by(KEYS);
            let mut leaves: Vec<Leaf> = own.filter_map(|n| self.leaf(&self.loaded_coin(n))).collect();
            leaves.sort_unstable_by_key(|leaf| leaf.key);
            leaves
        })
    }

    fn loaded_coin(&self, n: u32) -> Spendable {
        let outpoint = OutPoint { txid: Txid::of(&n.to_le_bytes()), index: 0 };
        Spendable { outpoint, value: VALUE, owner: n as usize % KEYS, made: Height::GENESIS }
    }

    fn leaf(&self, spendable: &Spendable) -> Option<Leaf> {
        let (outpoint, coin) = self.coin(spendable);
        Leaf::new(&outpoint, &coin)
    }

    fn coin(&self, &Spendable { outpoint, value, owner, made }: &Spendable) -> (OutPoint, Coin) {
        let output = Output::pay(self.keys[owner].public_key(), value);
        (outpoint, Coin { output, height: made, coinbase: false })
    }

    /// The next blocks commit to this state, that of a chain which loaded its coins.
    pub(super) fn commit_to(&mut self, state: StateRoot) {
        self.states = States::OfChain(state);
    }

    /// Adds the block at the present height to the states that blocks commit to.
    fn push_state(&mut self, block: BlockHash, delta: &Delta) {
        if let States::Own(epochs) = &mut self.states {
            epochs.push(&self.params, self.height, block, delta).expect("the coins are those of the chain");
        }
    }

    /// Coins that can be spent.
    pub(super) fn coins(&self) -> usize {
        self.coins.len()
    }

    /// What the next block commits to.
    pub(super) fn committed(&self) -> Committed {
        let state = match &self.states {
            States::Own(epochs) => epochs.due(&self.params, self.height.next()),
            States::OfChain(state) => *state,
        };
        Committed { range: self.range.root(), state, filters: self.filters }
    }

    /// The next block: as many payments, each spending the oldest coin left to another key.
    pub(super) fn pay(&mut self, payments: usize) -> Block {
        self.spend(payments, 1)
    }

    /// The next block: as many transactions, each making `outputs` coins of the oldest coin left.
    pub(super) fn spend(&mut self, transactions: usize, outputs: usize) -> Block {
        let spent: Vec<Spendable> = self.coins.drain(..transactions.min(self.coins.len())).collect();
        let made: Vec<(Transaction, Txid)> = spent.par_iter().map(|coin| self.transaction(coin, outputs)).collect();
        for ((tx, txid), coin) in made.iter().zip(&spent) {
            for (n, (outpoint, output)) in tx.outpoints(*txid).enumerate() {
                let (value, owner, made) = (output.value, next(coin.owner, n), self.height.next());
                self.coins.push_back(Spendable { outpoint, value, owner, made });
            }
        }
        self.block(made.into_iter().map(|(tx, _)| tx).collect(), &spent)
    }

    fn transaction(&self, coin: &Spendable, outputs: usize) -> (Transaction, Txid) {
        let value = Amount::from_grains(coin.value.as_grains() / outputs as u64);
        let pay = |n| Output::pay(self.keys[next(coin.owner, n)].public_key(), value);
        let mut tx = Transaction {
            version: 1,
            inputs: vec![Input { outpoint: coin.outpoint, signature: Signature::EMPTY }],
            outputs: (0..outputs).map(pay).collect(),
            lock_height: Height::GENESIS,
        };
        let key = &self.keys[coin.owner];
        let digest = tx.signature_digest(&self.params.genesis_hash, [&Output::pay(key.public_key(), coin.value)]);
        tx.inputs[0].signature = key.sign(&digest);
        let txid = tx.txid();
        (tx, txid)
    }

    /// The next block, of transactions without fees that spend `spent`.
    fn block(&mut self, mut transactions: Vec<Transaction>, spent: &[Spendable]) -> Block {
        let height = self.height.next();
        let coinbase = Transaction {
            version: 1,
            inputs: Vec::new(),
            outputs: vec![
                Output::pay(self.keys[0].public_key(), self.params.subsidy_at(height)),
                Output::data(self.committed().commitment().as_bytes().to_vec()),
            ],
            lock_height: height,
        };
        transactions.insert(0, coinbase);
        let header = Header {
            version: 1,
            previous: self.tip.hash(),
            merkle_root: MerkleRoot::ZERO,
            time: self.tip.time + self.params.target_spacing_secs,
            bits: self.params.bits,
            nonce: 0,
        };
        let mut block = Block { header, transactions };
        let txids = block.txids();
        block.header.merkle_root = match &txids[..] {
            [coinbase] => self.branch().root(coinbase).expect("the first of any number is in their tree"),
            _ => merkle::root(txids.clone()).hash,
        };
        while !self.params.genesis_target.is_met_by(&block.hash()) {
            block.header.nonce += 1;
        }
        let work = self.params.genesis_target.work();
        self.range.push(mmr::Node::leaf(block.hash(), work, block.header.time));
        let spent: Vec<_> = spent.iter().map(|coin| self.coin(coin)).collect();
        self.filters = block_filter(&block, spent.iter().map(|(_, coin)| coin)).header(&self.filters);
        (self.tip, self.height) = (block.header, height);
        let created = Delta::created_by(&block, &txids, height);
        self.push_state(block.hash(), &Delta { spent, created, ..Delta::default() });
        block
    }
}

/// A directory for a store, under the system's for temporary files, which goes when this does.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> anyhow::Result<Self> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let name = format!("cairn-bench-{}-{}", process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Files that cannot be removed are left to the system's cleaning.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The payee of output `n` by the key at place `owner`: far enough away that no key is paid twice by another.
fn next(owner: usize, n: usize) -> usize {
    (owner + 1 + n) % KEYS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Chain;
    use crate::primitives::time::UnixTime;
    use crate::storage::MemoryStore;

    #[test]
    fn the_blocks_keep_every_rule() {
        let mut fixture = Fixture::new(8);
        let mut chain = Chain::open(fixture.params.clone(), Arc::new(MemoryStore::new())).unwrap();
        for block in [fixture.spend(2, 3), fixture.pay(5), fixture.pay(0)] {
            let now = u64::from(block.header.time);
            let update = chain.accept_block(block, UnixTime::from_secs(now), &|_| false).unwrap();
            assert_eq!(update.connected.len(), 1);
        }
        assert_eq!((fixture.coins(), chain.tip().height), (12, Height::from_u32(3)));
    }
}
