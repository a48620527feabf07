//! Makes valid blocks, for tests to use or spoil.

#![allow(dead_code)] // Each test binary uses its own part.

use std::path::PathBuf;
use std::sync::Arc;

use cairn::consensus::coins::Coins;
use cairn::consensus::coins::{Coin, Delta};
use cairn::consensus::params::{GenesisSpec, Params};
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::block::Block;
use cairn::primitives::hash::{MerkleRoot, MmrRoot, Txid};
use cairn::primitives::header::Header;
use cairn::primitives::keys::{PublicKey, SecretKey, Signature};
use cairn::primitives::tx::{Input, OutPoint, Output, Transaction};
use cairn::primitives::{address, merkle, mmr};
use cairn::storage::{Batch, MemoryStore, Store, StoreError, Visitor};

/// A private network with instant blocks, on which `keys(0..8)` hold 1,000 coins each from genesis.
pub fn params() -> Arc<Params> {
    let mut spec = GenesisSpec::regtest();
    spec.alloc = (0..8)
        .map(|i| cairn::consensus::params::Allocation {
            address: address::encode(&spec.address_prefix, &key(i).public_key()),
            value: Amount::from_grains(1_000 * COIN),
        })
        .collect();
    assert!(spec.mine_nonce());
    Arc::new(Params::new(spec).expect("the private network's parameters are valid"))
}

/// The `i`th test key.
pub fn key(i: u8) -> SecretKey {
    SecretKey::from_seed([i; 32])
}

/// The genesis coin of `key(i)`.
pub fn genesis_coin(params: &Params, i: u8) -> (OutPoint, Coin) {
    let txid = params.genesis.transactions[0].txid();
    let output = params.genesis.transactions[0].outputs[usize::from(i) + 1].clone();
    (OutPoint { txid, index: u32::from(i) + 1 }, Coin { output, height: 0, coinbase: false })
}

/// A transaction that spends `coins`, each owned by the key beside it, into `outputs`.
pub fn spend(params: &Params, coins: &[(OutPoint, Coin, &SecretKey)], outputs: Vec<Output>) -> Transaction {
    let inputs =
        coins.iter().map(|(outpoint, ..)| Input { outpoint: *outpoint, signature: Signature::EMPTY }).collect();
    let mut tx = Transaction { version: 1, inputs, outputs, lock_height: 0 };
    let digest = tx.signature_digest(&params.genesis_hash, coins.iter().map(|(_, coin, _)| &coin.output));
    for (input, (_, _, key)) in tx.inputs.iter_mut().zip(coins) {
        input.signature = key.sign(&digest);
    }
    tx
}

/// A branch of blocks from genesis, kept with what is needed to build on it.
#[derive(Clone)]
pub struct Branch {
    pub params: Arc<Params>,
    pub blocks: Vec<Block>,
    pub coins: Coins,
    range: mmr::Range,
}

impl Branch {
    /// Just genesis.
    pub fn new(params: &Arc<Params>) -> Self {
        let genesis = params.genesis.clone();
        let mut coins = Coins::default();
        let created = Delta::created_by(&genesis, &genesis.txids(), 0);
        coins.apply(&Delta { spent: Vec::new(), created, fees: Amount::ZERO });
        let mut range = mmr::Range::default();
        range.push(mmr::Node::leaf(genesis.hash(), params.genesis_target.work()));
        Self { params: params.clone(), blocks: vec![genesis], coins, range }
    }

    pub fn tip(&self) -> &Block {
        self.blocks.last().expect("a branch begins with genesis")
    }

    pub fn height(&self) -> u32 {
        self.blocks.len() as u32 - 1
    }

    /// Root of the header range over all blocks so far.
    pub fn commitment(&self) -> MmrRoot {
        self.range.root()
    }

    /// The next block: pays subsidy and `fees` to `payee`, holds `transactions`, and `salt` makes it unique.
    pub fn make(&self, payee: &PublicKey, transactions: &[Transaction], fees: u64, salt: u64) -> Block {
        let height = self.height() + 1;
        let data = [&self.commitment().as_bytes()[..], &salt.to_le_bytes()].concat();
        let value = self.params.subsidy_at(height).as_grains() + fees;
        let coinbase = Transaction {
            version: 1,
            inputs: Vec::new(),
            outputs: vec![Output::pay(*payee, Amount::from_grains(value)), Output::data(data)],
            lock_height: height,
        };
        let mut all = vec![coinbase];
        all.extend_from_slice(transactions);
        let header = Header {
            version: 1,
            previous: self.tip().hash(),
            merkle_root: MerkleRoot::ZERO,
            time: self.tip().header.time + 1,
            bits: self.params.bits,
            nonce: 0,
        };
        let mut block = Block { header, transactions: all };
        seal(&mut block);
        block
    }

    /// Appends a block that is valid; its difference to the coins.
    pub fn push(&mut self, block: Block) -> Delta {
        let height = self.height() + 1;
        let txids = block.txids();
        let created = Delta::created_by(&block, &txids, height);
        let lookup = |outpoint: &OutPoint| {
            let made = created.iter().find(|(made, _)| made == outpoint).map(|(_, coin)| coin.clone());
            made.or_else(|| self.coins.0.get(outpoint).cloned()).expect("a valid block spends coins that exist")
        };
        let inputs = block.transactions.iter().flat_map(|tx| &tx.inputs);
        let spent = inputs.map(|input| (input.outpoint, lookup(&input.outpoint))).collect();
        let delta = Delta { spent, created, fees: Amount::ZERO };
        self.coins.apply(&delta);
        let work = block.header.bits.target().expect("valid bits").work();
        self.range.push(mmr::Node::leaf(block.hash(), work));
        self.blocks.push(block);
        delta
    }

    /// Appends `n` blocks without payments, and returns them.
    pub fn extend(&mut self, n: u32, salt: u64) -> Vec<Block> {
        (0..n)
            .map(|_| {
                let block = self.make(&key(200).public_key(), &[], 0, salt);
                self.push(block.clone());
                block
            })
            .collect()
    }

    /// The coin that output `index` of the transaction `txid` made.
    pub fn coin(&self, txid: Txid, index: u32) -> (OutPoint, Coin) {
        let outpoint = OutPoint { txid, index };
        (outpoint, self.coins.0[&outpoint].clone())
    }
}

/// Makes the header fit the transactions, and mines it.
pub fn seal(block: &mut Block) {
    block.header.merkle_root = merkle::root(block.txids()).hash;
    mine(block);
}

/// Finds a nonce for the header as it is.
pub fn mine(block: &mut Block) {
    let target = block.header.bits.target().expect("valid bits");
    while !target.is_met_by(&block.hash()) {
        block.header.nonce += 1;
    }
}

/// A store in memory that asks before each commit whether it is to fail.
pub struct Guarded<F> {
    pub inner: Arc<MemoryStore>,
    pub guard: F,
}

impl<F> Guarded<F> {
    pub fn new(guard: F) -> Self {
        Self { inner: Arc::default(), guard }
    }
}

impl<F: Fn() -> Result<(), StoreError> + Send + Sync> Store for Guarded<F> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.get(key)
    }

    fn scan(&self, prefix: &[u8], from: &[u8], visit: Visitor<'_>) -> Result<(), StoreError> {
        self.inner.scan(prefix, from, visit)
    }

    fn scan_back(&self, prefix: &[u8], before: &[u8], visit: Visitor<'_>) -> Result<(), StoreError> {
        self.inner.scan_back(prefix, before, visit)
    }

    fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        (self.guard)()?;
        self.inner.commit(batch)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.inner.flush()
    }

    fn bytes_on_disk(&self) -> u64 {
        self.inner.bytes_on_disk()
    }

    fn dir(&self) -> PathBuf {
        self.inner.dir()
    }
}
