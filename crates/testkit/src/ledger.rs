//! An in-memory chain of one branch, built directly on the consensus functions: no store, no index, no network.
//!
//! Every block it makes is valid, so a test or benchmark states only what it changes.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use cairn_core::consensus::check::{self, CheckedBlock};
use cairn_core::consensus::coins::{Coin, Coins, Delta};
use cairn_core::consensus::commitment::Committed;
use cairn_core::consensus::connect::{self, BlockContext, ConnectError};
use cairn_core::consensus::context::{self, HeaderContext};
use cairn_core::consensus::error::RuleError;
use cairn_core::consensus::filter::block_filter;
use cairn_core::consensus::headers::HeaderTail;
use cairn_core::consensus::params::{GenesisSpec, Params};
use cairn_core::primitives::amount::{Amount, COIN};
use cairn_core::primitives::block::Block;
use cairn_core::primitives::codec;
use cairn_core::primitives::hash::{FilterHeader, MerkleRoot, Txid};
use cairn_core::primitives::header::Header;
use cairn_core::primitives::height::Height;
use cairn_core::primitives::keys::PublicKey;
use cairn_core::primitives::mmr::{Node, Range};
use cairn_core::primitives::time::UnixTime;
use cairn_core::primitives::tx::{OutPoint, Output, Transaction};
use cairn_core::state::Epochs;

use crate::payments::{funded, key, public, unsigned};
use crate::work::seal;

/// The key that mines the blocks of a [`Ledger`].
pub const MINER: u8 = 255;

/// A branch of blocks from genesis, with the coins at its end.
#[derive(Clone)]
pub struct Ledger {
    /// The network.
    pub params: Arc<Params>,
    /// All blocks, by height.
    pub blocks: Vec<Block>,
    /// The unspent coins.
    pub coins: Coins,
    /// The header range that the next coinbase commits to.
    pub range: Range,
    /// The newest block's filter header.
    pub filters: FilterHeader,
    /// The states that blocks commit to.
    pub epochs: Epochs,
    tail: HeaderTail,
}

impl Ledger {
    /// The network of `spec` at genesis.
    pub fn new(spec: GenesisSpec) -> Self {
        Self::on(&Arc::new(Params::new(spec).expect("the tests' parameters are valid")))
    }

    /// A network at genesis.
    pub fn on(params: &Arc<Params>) -> Self {
        let genesis = params.genesis.clone();
        let (tail, created) = (HeaderTail::new(params), Delta::created_by(&genesis, &genesis.txids(), Height::GENESIS));
        let (coins, range) = (Coins::default(), Range::default());
        let (filters, epochs) = (FilterHeader::ZERO, Epochs::default());
        let mut ledger = Self { params: params.clone(), blocks: Vec::new(), coins, range, filters, epochs, tail };
        ledger.apply(genesis, &Delta { created, ..Delta::default() });
        ledger
    }

    /// Height of the newest block.
    pub fn height(&self) -> Height {
        self.tail.height()
    }

    /// The newest block's header.
    pub fn tip(&self) -> &Header {
        self.tail.tip()
    }

    /// What the next coinbase commits to.
    pub fn committed(&self) -> Committed {
        let state = self.epochs.due(&self.params, self.height().next());
        Committed { range: self.range.root(), state, filters: self.filters }
    }

    /// The context that the next header is checked against.
    pub fn header_context(&self) -> HeaderContext {
        self.tail.next_context(&self.params)
    }

    /// The context that the next body is checked against.
    pub fn block_context(&self) -> BlockContext<'_> {
        BlockContext { params: &self.params, height: self.height().next(), commitment: self.committed().commitment() }
    }

    /// Coin `n` of genesis.
    pub fn allocation(&self, n: u8) -> OutPoint {
        // Output 0 of the genesis coinbase is data.
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

    /// The unspent coin made by output `index` of transaction `txid`.
    pub fn coin(&self, txid: Txid, index: u32) -> (OutPoint, Coin) {
        let outpoint = OutPoint { txid, index };
        (outpoint, self.coins.0[&outpoint].clone())
    }

    /// Signs every input whose coin is known, by its owner's key. `pending` are transactions whose outputs it may spend.
    pub fn sign(&self, mut tx: Transaction, pending: &[&Transaction]) -> Transaction {
        let spent: Vec<Option<Output>> = tx.inputs.iter().map(|input| self.output(&input.outpoint, pending)).collect();
        let digest = tx.signature_digest(&self.params.genesis_hash, spent.iter().flatten());
        for (input, output) in tx.inputs.iter_mut().zip(&spent) {
            if let Some(n) = output.as_ref().and_then(Output::key).and_then(number) {
                input.signature = key(n).sign(&digest);
            }
        }
        tx
    }

    /// A signed transaction.
    pub fn payment(&self, spends: &[OutPoint], outputs: Vec<Output>) -> Transaction {
        self.sign(unsigned(spends, outputs), &[])
    }

    /// Sum of inputs minus sum of outputs.
    fn fee(&self, tx: &Transaction, pending: &[&Transaction]) -> u64 {
        let inputs: u64 =
            tx.inputs.iter().filter_map(|i| self.output(&i.outpoint, pending)).map(|o| o.value.as_grains()).sum();
        inputs.saturating_sub(tx.outputs.iter().map(|output| output.value.as_grains()).fold(0, u64::saturating_add))
    }

    /// A coinbase for the next block that takes subsidy and `fees`; `salt` follows the commitment in its data.
    fn coinbase(&self, payee: PublicKey, fees: u64, salt: &[u8]) -> Transaction {
        let context = self.block_context();
        let data = [&context.commitment.as_bytes()[..], salt].concat();
        let reward = self.params.subsidy_at(context.height).as_grains() + fees;
        let mut outputs = vec![Output::data(data)];
        if reward > 0 {
            outputs.push(Output::pay(payee, Amount::from_grains(reward)));
        }
        Transaction { version: 1, inputs: Vec::new(), outputs, lock_height: context.height }
    }

    /// The next block, `seconds` after its parent, mined.
    fn child(&self, coinbase: Transaction, transactions: &[Transaction], seconds: u32) -> Block {
        let header = Header {
            version: 1,
            previous: self.tip().hash(),
            merkle_root: MerkleRoot::ZERO,
            time: self.tip().time + seconds,
            bits: self.header_context().bits,
            nonce: 0,
        };
        let mut block = Block { header, transactions: [&[coinbase], transactions].concat() };
        seal(&mut block);
        block
    }

    /// The next block with `transactions` after a coinbase that takes all it may, five seconds after its parent.
    pub fn block(&self, transactions: Vec<Transaction>) -> Block {
        let pending: Vec<&Transaction> = transactions.iter().collect();
        let fees = transactions.iter().map(|tx| self.fee(tx, &pending)).fold(0, u64::saturating_add);
        self.child(self.coinbase(public(MINER), fees, b"test"), &transactions, 5)
    }

    /// The next block, one second after its parent: pays subsidy and `fees` to `payee`, and `salt` makes it unique. Long
    /// chains of such blocks stay behind the clocks that tests set.
    pub fn make(&self, payee: &PublicKey, transactions: &[Transaction], fees: u64, salt: u64) -> Block {
        self.child(self.coinbase(*payee, fees, &salt.to_le_bytes()), transactions, 1)
    }

    /// Runs a block through all of a node's checks, in the node's order, at clock time `now`.
    pub fn validate(&self, block: &Block, now: u64) -> Result<(CheckedBlock, Delta), RuleError> {
        self.validate_bytes(&codec::encode(block), now)
    }

    /// Like [`Self::validate`], from encoded bytes.
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

    /// Validates a block and appends it; returns its change to the coins.
    pub fn append(&mut self, block: &Block) -> Delta {
        let (_, delta) = self.validate(block, u64::from(block.header.time)).expect("the block keeps the rules");
        self.push_header(&block.header);
        self.apply(block.clone(), &delta);
        delta
    }

    /// Appends a block without validating its body. Its header must be valid, and its inputs must spend existing coins.
    pub fn push(&mut self, block: Block) -> Delta {
        let created = Delta::created_by(&block, &block.txids(), self.height().next());
        let coin = |outpoint: &OutPoint| {
            let made = created.iter().find(|(made, _)| made == outpoint).map(|(_, coin)| coin.clone());
            made.or_else(|| self.coins.0.get(outpoint).cloned()).expect("the block spends coins that exist")
        };
        let inputs = block.transactions.iter().flat_map(|tx| &tx.inputs);
        let spent = inputs.map(|input| (input.outpoint, coin(&input.outpoint))).collect();
        let delta = Delta { spent, created, fees: Amount::ZERO };
        self.push_header(&block.header);
        self.apply(block, &delta);
        delta
    }

    /// Appends `n` blocks without payments, mined by [`MINER`], and returns them. Different `salt`s give different
    /// branches.
    pub fn extend(&mut self, n: u32, salt: u64) -> Vec<Block> {
        let next = |_| {
            let block = self.make(&public(MINER), &[], 0, salt);
            self.append(&block);
            block
        };
        (0..n).map(next).collect()
    }

    fn push_header(&mut self, header: &Header) {
        self.tail.push(header, &self.params).expect("the header keeps the rules");
    }

    fn apply(&mut self, block: Block, delta: &Delta) {
        self.coins.apply(delta);
        let height = Height::from_u32(self.blocks.len() as u32);
        self.epochs.push(&self.params, height, block.hash(), delta).expect("the coins are those of the chain");
        self.filters = block_filter(&block, delta.spent.iter().map(|(_, coin)| coin)).header(&self.filters);
        let work = block.header.bits.target().expect("checked before").work();
        self.range.push(Node::leaf(block.hash(), work, block.header.time));
        self.blocks.push(block);
    }
}

/// The number of a key that [`key`] makes.
fn number(key: &PublicKey) -> Option<u8> {
    static NUMBERS: LazyLock<HashMap<PublicKey, u8>> = LazyLock::new(|| (0..=255).map(|n| (public(n), n)).collect());
    NUMBERS.get(key).copied()
}

/// A network whose genesis makes `payments` coins, and its first block, which spends each in a payment of its own.
pub fn full_block(payments: u32) -> (Ledger, Block) {
    let ledger = Ledger::new(funded((0..payments).map(|n| n as u8), COIN));
    let txid = ledger.params.genesis.transactions[0].txid();
    let pay = |n: u32| {
        let coin = OutPoint { txid, index: n + 1 }; // Output 0 is data.
        ledger.payment(&[coin], vec![Output::pay(public(n as u8), Amount::from_grains(COIN - 1_000))])
    };
    let block = ledger.block((0..payments).map(pay).collect());
    (ledger, block)
}
