//! A chain of one branch in memory, straight over the consensus functions: no store, no index, no network.
//!
//! Every block that it makes keeps all rules, so that a test or a benchmark states only what it changes.

#![allow(dead_code, missing_docs, unreachable_pub)] // Each user takes what it needs.

use std::collections::HashMap;

use cairn_core::consensus::check::{self, CheckedBlock};
use cairn_core::consensus::coins::{Coins, Delta};
use cairn_core::consensus::connect::{self, BlockContext, ConnectError};
use cairn_core::consensus::context::{self, HeaderContext};
use cairn_core::consensus::error::RuleError;
use cairn_core::consensus::headers::HeaderTail;
use cairn_core::consensus::params::{Allocation, GenesisSpec, Params};
use cairn_core::primitives::address;
use cairn_core::primitives::amount::{Amount, COIN};
use cairn_core::primitives::block::Block;
use cairn_core::primitives::codec;
use cairn_core::primitives::hash::MerkleRoot;
use cairn_core::primitives::header::Header;
use cairn_core::primitives::keys::{PublicKey, SecretKey, Signature};
use cairn_core::primitives::merkle;
use cairn_core::primitives::mmr::{Node, Range};
use cairn_core::primitives::time::UnixTime;
use cairn_core::primitives::tx::{Input, OutPoint, Output, Transaction};

/// Whoever mines the blocks of a [`Ledger`].
pub const MINER: u8 = 255;

/// One of 256 keys that every test knows.
pub fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

/// The public half of [`key`].
pub fn public(n: u8) -> PublicKey {
    key(n).public_key()
}

/// A regtest network whose genesis gives 10 coins to each of keys 1 to `n`.
pub fn funded_spec(n: u8) -> GenesisSpec {
    let mut spec = GenesisSpec::regtest();
    spec.alloc = (1..=n)
        .map(|n| Allocation {
            address: address::encode(&spec.address_prefix, &public(n)),
            value: Amount::from_grains(10 * COIN),
        })
        .collect();
    spec.mine_nonce();
    spec
}

/// The end of one branch, and its coins.
#[derive(Clone)]
pub struct Ledger {
    pub params: Params,
    tail: HeaderTail,
    pub coins: Coins,
    pub range: Range,
    keys: HashMap<PublicKey, u8>,
}

impl Ledger {
    /// The network of `spec` at genesis.
    pub fn new(spec: GenesisSpec) -> Self {
        let params = Params::new(spec).expect("the tests' parameters are valid");
        let genesis = params.genesis.clone();
        let tail = HeaderTail::new(&params);
        let keys = (0..=255).map(|n| (public(n), n)).collect();
        let mut ledger = Self { params, tail, coins: Coins::default(), range: Range::default(), keys };
        let created = Delta::created_by(&genesis, &genesis.txids(), 0);
        ledger.apply(&genesis.header, &Delta { created, ..Delta::default() });
        ledger
    }

    /// Height of the newest block.
    pub fn height(&self) -> u32 {
        self.tail.height()
    }

    /// The newest block's header.
    pub fn tip(&self) -> &Header {
        self.tail.tip()
    }

    /// What the next header must fit.
    pub fn header_context(&self) -> HeaderContext {
        self.tail.next_context(&self.params)
    }

    /// What the next body must fit.
    pub fn block_context(&self) -> BlockContext<'_> {
        BlockContext { params: &self.params, height: self.height() + 1, commitment: self.range.root() }
    }

    /// Coin `n` of genesis: 10 coins of key `n`.
    pub fn allocation(&self, n: u8) -> OutPoint {
        // Output 0 of the coinbase of genesis is its data.
        OutPoint { txid: self.params.genesis.transactions[0].txid(), index: u32::from(n) }
    }

    /// The output that `outpoint` names, in the coins or else among `pending` transactions.
    pub fn output(&self, outpoint: &OutPoint, pending: &[&Transaction]) -> Option<Output> {
        let waiting = || {
            let tx = pending.iter().find(|tx| tx.txid() == outpoint.txid)?;
            tx.outputs.get(outpoint.index as usize).cloned()
        };
        self.coins.0.get(outpoint).map(|coin| coin.output.clone()).or_else(waiting)
    }

    /// Signs every input whose coin is known, by its owner's key. `pending` are transactions whose outputs it may spend.
    pub fn sign(&self, mut tx: Transaction, pending: &[&Transaction]) -> Transaction {
        let spent: Vec<Option<Output>> = tx.inputs.iter().map(|input| self.output(&input.outpoint, pending)).collect();
        let digest = tx.signature_digest(&self.params.genesis_hash, spent.iter().flatten());
        for (input, output) in tx.inputs.iter_mut().zip(&spent) {
            if let Some(n) = output.as_ref().and_then(Output::key).and_then(|key| self.keys.get(key)) {
                input.signature = key(*n).sign(&digest);
            }
        }
        tx
    }

    /// A signed transaction.
    pub fn payment(&self, spends: &[OutPoint], outputs: Vec<Output>) -> Transaction {
        self.sign(unsigned(spends, outputs), &[])
    }

    /// Inputs less outputs.
    fn fee(&self, tx: &Transaction, pending: &[&Transaction]) -> u64 {
        let inputs: u64 =
            tx.inputs.iter().filter_map(|i| self.output(&i.outpoint, pending)).map(|o| o.value.as_grains()).sum();
        inputs.saturating_sub(tx.outputs.iter().map(|output| output.value.as_grains()).fold(0, u64::saturating_add))
    }

    /// The coinbase due to the next block, taking subsidy and `fees`.
    pub fn coinbase(&self, fees: u64) -> Transaction {
        let context = self.block_context();
        let data = [&context.commitment.as_bytes()[..], b"test"].concat();
        let reward = self.params.subsidy_at(context.height).as_grains() + fees;
        let outputs = vec![Output::data(data), Output::pay(public(MINER), Amount::from_grains(reward))];
        Transaction { version: 1, inputs: Vec::new(), outputs, lock_height: context.height }
    }

    /// The next block with `transactions` after a coinbase that takes all it may, five seconds after its parent, mined.
    pub fn block(&self, transactions: Vec<Transaction>) -> Block {
        let pending: Vec<&Transaction> = transactions.iter().collect();
        let fees = transactions.iter().map(|tx| self.fee(tx, &pending)).fold(0, u64::saturating_add);
        let header = Header {
            version: 1,
            previous: self.tip().hash(),
            merkle_root: MerkleRoot::ZERO,
            time: self.tip().time + 5,
            bits: self.header_context().bits,
            nonce: 0,
        };
        let mut block = Block { header, transactions: vec![self.coinbase(fees)] };
        block.transactions.extend(transactions);
        seal(&mut block);
        block
    }

    /// Puts a block through every stage that a node does, in its order; `now` is the clock.
    pub fn validate(&self, block: &Block, now: u64) -> Result<(CheckedBlock, Delta), RuleError> {
        self.validate_bytes(&codec::encode(block), now)
    }

    /// [`Self::validate`], from the wire.
    pub fn validate_bytes(&self, bytes: &[u8], now: u64) -> Result<(CheckedBlock, Delta), RuleError> {
        let block: Block = codec::decode(bytes)?;
        check::check_proof_of_work(&block.header, &block.hash(), &self.params)?;
        context::check_header(&block.header, &self.header_context())?;
        context::check_clock(&block.header, UnixTime::from_secs(now), &self.params)?;
        let checked = check::check_block(block, &self.params)?;
        match connect::connect(&checked, &self.block_context(), &self.coins, |_| false) {
            Ok(delta) => Ok((checked, delta)),
            Err(ConnectError::Rule(error)) => Err(error),
            Err(ConnectError::View(never)) => match never {},
        }
    }

    /// Validates a block and appends it.
    pub fn append(&mut self, block: &Block) -> Delta {
        let (_, delta) = self.validate(block, u64::from(block.header.time)).expect("the block keeps the rules");
        self.tail.push(&block.header, &self.params).expect("checked before");
        self.apply(&block.header, &delta);
        delta
    }

    /// Appends `n` blocks without payments.
    pub fn extend(&mut self, n: u32) {
        (0..n).for_each(|_| drop(self.append(&self.block(Vec::new()))));
    }

    fn apply(&mut self, header: &Header, delta: &Delta) {
        self.coins.apply(delta);
        let work = header.bits.target().expect("checked before").work();
        self.range.push(Node::leaf(header.hash(), work));
    }
}

/// A network whose genesis makes `payments` coins, and its first block, which spends each in a payment of its own.
pub fn full_block(payments: u32) -> (Ledger, Block) {
    let mut spec = GenesisSpec::regtest();
    let allocation = |n: u32| Allocation {
        address: address::encode(&spec.address_prefix, &public(n as u8)),
        value: Amount::from_grains(COIN),
    };
    spec.alloc = (0..payments).map(allocation).collect();
    spec.mine_nonce();
    let ledger = Ledger::new(spec);
    let txid = ledger.params.genesis.transactions[0].txid();
    let pay = |n: u32| {
        let coin = OutPoint { txid, index: n + 1 }; // Output 0 is data.
        ledger.payment(&[coin], vec![Output::pay(public(n as u8), Amount::from_grains(COIN - 1_000))])
    };
    let block = ledger.block((0..payments).map(pay).collect());
    (ledger, block)
}

/// A transaction with empty signatures.
pub fn unsigned(spends: &[OutPoint], outputs: Vec<Output>) -> Transaction {
    let inputs = spends.iter().map(|outpoint| Input { outpoint: *outpoint, signature: Signature::EMPTY }).collect();
    Transaction { version: 1, inputs, outputs, lock_height: 0 }
}

/// Makes the header commit to the transactions, then mines it.
pub fn seal(block: &mut Block) {
    block.header.merkle_root = merkle::root(block.txids()).hash;
    mine(&mut block.header);
}

/// Finds a nonce, if the bits are a target. Regtest needs about two hashes.
pub fn mine(header: &mut Header) {
    let Ok(target) = header.bits.target() else { return };
    header.nonce = 0;
    while !target.is_met_by(&header.hash()) {
        header.nonce += 1;
    }
}
