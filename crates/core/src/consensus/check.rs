//! Rules that need only the bytes of a block or transaction.

use std::sync::Arc;

use crate::consensus::error::RuleError;
use crate::consensus::params::Params;
use crate::primitives::amount::Amount;
use crate::primitives::block::Block;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::merkle;
use crate::primitives::tx::{HashedTransaction, Lock, MAX_DATA_BYTES, Transaction};

/// The size in bytes that no transaction may have: an inner Merkle node hashes two hashes of this total size
/// (CVE-2017-12842).
pub const NODE_SIZE: usize = 64;
/// The most bytes of a transaction, so that a message can carry any with its proof.
pub const MAX_TRANSACTION_BYTES: usize = 1_000_000;
/// The most bytes of a coinbase, that of genesis excepted. A proof of the chain contains some two hundred whole, and must
/// fit into a message of 1 MB whatever their miners put there.
pub const MAX_COINBASE_BYTES: usize = 4_000;

/// A block whose transactions match its header, with its hash and their txids, each computed once. The constructors
/// enforce the match. Clones share the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchedBlock(Arc<Hashed>);

#[derive(Debug, PartialEq, Eq)]
struct Hashed {
    block: Block,
    hash: BlockHash,
    txids: Vec<Txid>,
}

impl MatchedBlock {
    /// Hashes a block's transactions and checks that its header commits to them.
    ///
    /// # Errors
    /// [`RuleError::EmptyBlock`], [`RuleError::NodeSizedTransaction`], [`RuleError::WrongMerkleRoot`],
    /// [`RuleError::MutatedMerkleTree`]: the body does not match the header, which may still be valid.
    pub fn new(block: Block) -> Result<Self, RuleError> {
        let txids = block.txids();
        Self::with_ids(block, txids)
    }

    /// Assembles a block from a header and transactions that are already hashed.
    ///
    /// # Errors
    /// As [`MatchedBlock::new`].
    pub fn assemble(header: Header, transactions: Vec<HashedTransaction>) -> Result<Self, RuleError> {
        let txids = transactions.iter().map(HashedTransaction::txid).collect();
        let transactions = transactions.into_iter().map(|tx| Arc::unwrap_or_clone(tx.into_shared())).collect();
        Self::with_ids(Block { header, transactions }, txids)
    }

    fn with_ids(block: Block, txids: Vec<Txid>) -> Result<Self, RuleError> {
        if txids.is_empty() {
            return Err(RuleError::EmptyBlock);
        }
        for (tx, txid) in block.transactions.iter().zip(&txids) {
            if tx.size() == NODE_SIZE {
                return Err(RuleError::NodeSizedTransaction { txid: *txid });
            }
        }
        check_merkle_root(&block.header, txids.clone())?;
        Ok(Self(Arc::new(Hashed { hash: block.hash(), block, txids })))
    }

    /// The block.
    pub fn block(&self) -> &Block {
        &self.0.block
    }

    /// Its hash.
    pub fn hash(&self) -> BlockHash {
        self.0.hash
    }

    /// The ids of its transactions.
    pub fn txids(&self) -> &[Txid] {
        &self.0.txids
    }

    /// Copies of its transactions with their ids, in order.
    pub fn transactions(&self) -> impl Iterator<Item = HashedTransaction> {
        let transactions = self.block().transactions.iter().zip(self.txids());
        transactions.map(|(tx, txid)| HashedTransaction::with_id(Arc::new(tx.clone()), *txid))
    }
}

/// A block that obeys every rule that needs no other block. Only [`check_block`] and [`check_matched`] make one, so a
/// checked block cannot be confused with a raw one. Clones share the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedBlock(MatchedBlock);

impl CheckedBlock {
    /// The block.
    pub fn block(&self) -> &Block {
        self.0.block()
    }

    /// Its hash, computed once.
    pub fn hash(&self) -> BlockHash {
        self.0.hash()
    }

    /// The ids of its transactions, computed once.
    pub fn txids(&self) -> &[Txid] {
        self.0.txids()
    }

    /// The block with its hash and txids, as before the check.
    pub fn matched(&self) -> &MatchedBlock {
        &self.0
    }
}

/// Checks that a header's bits are a target that the network allows, and that its hash meets it.
///
/// [`super::context::check_header`] checks that these are the bits due at its place in the chain.
///
/// # Errors
/// [`RuleError::BadBits`], [`RuleError::EasierThanLimit`], [`RuleError::HighHash`].
pub fn check_proof_of_work(header: &Header, hash: &BlockHash, params: &Params) -> Result<(), RuleError> {
    let target = header.bits.target()?;
    if target > params.pow_limit {
        return Err(RuleError::EasierThanLimit { got: header.bits, limit: params.pow_limit.to_bits() });
    }
    if !target.is_met_by(hash) {
        return Err(RuleError::HighHash { hash: *hash, bits: header.bits });
    }
    Ok(())
}

/// Checks that a header commits to the transactions with these ids, in order.
///
/// # Errors
/// [`RuleError::WrongMerkleRoot`], [`RuleError::MutatedMerkleTree`].
pub fn check_merkle_root(header: &Header, txids: Vec<Txid>) -> Result<(), RuleError> {
    let root = merkle::root(txids);
    if root.hash != header.merkle_root {
        return Err(RuleError::WrongMerkleRoot { got: root.hash, expected: header.merkle_root });
    }
    if root.mutated {
        return Err(RuleError::MutatedMerkleTree);
    }
    Ok(())
}

/// Checks a block's body against its header, and each transaction by itself. Does not check proof of work.
///
/// # Errors
/// The first rule broken. Rules that match the body to the header come first: only once they hold does a broken rule
/// make the block itself invalid.
pub fn check_block(block: Block, params: &Params) -> Result<CheckedBlock, RuleError> {
    check_matched(MatchedBlock::new(block)?, params)
}

/// Like [`check_block`], for a block whose body is known to match its header.
///
/// # Errors
/// The first rule broken, which makes the block itself invalid.
pub fn check_matched(matched: MatchedBlock, params: &Params) -> Result<CheckedBlock, RuleError> {
    let (block, txids) = (matched.block(), matched.txids());
    let size = block.size();
    if size > params.max_block_bytes as usize {
        return Err(RuleError::BlockTooLarge { got: size, max: params.max_block_bytes });
    }
    let [coinbase, rest @ ..] = &block.transactions[..] else { return Err(RuleError::EmptyBlock) };
    if !coinbase.is_coinbase() {
        return Err(RuleError::FirstNotCoinbase { txid: txids[0] });
    }
    // The coinbase of genesis holds what the network allots.
    let most = if coinbase.lock_height == Height::GENESIS { MAX_TRANSACTION_BYTES } else { MAX_COINBASE_BYTES };
    check_size(coinbase, &txids[0], most)?;
    check_outputs(coinbase, &txids[0])?;
    for (tx, txid) in rest.iter().zip(&txids[1..]) {
        check_transaction(tx, txid)?;
    }
    Ok(CheckedBlock(matched))
}

/// Checks a non-coinbase transaction by itself. `txid` must be its id.
///
/// # Errors
/// The first rule broken.
pub fn check_transaction(tx: &Transaction, txid: &Txid) -> Result<(), RuleError> {
    let txid = *txid;
    // Only a transaction without inputs can be this small; checked first so that the error is the same as in a block.
    if tx.size() == NODE_SIZE {
        return Err(RuleError::NodeSizedTransaction { txid });
    }
    check_size(tx, &txid, MAX_TRANSACTION_BYTES)?;
    if tx.inputs.is_empty() {
        return Err(RuleError::NoInputs { txid });
    }
    let mut outpoints: Vec<_> = tx.inputs.iter().map(|input| input.outpoint).collect();
    outpoints.sort_unstable();
    if let Some(pair) = outpoints.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(RuleError::DuplicateInput { txid, outpoint: pair[0] });
    }
    check_outputs(tx, &txid)
}

fn check_size(tx: &Transaction, txid: &Txid, max: usize) -> Result<(), RuleError> {
    let got = tx.size();
    if got > max { Err(RuleError::TransactionTooLarge { txid: *txid, got, max }) } else { Ok(()) }
}

fn check_outputs(tx: &Transaction, txid: &Txid) -> Result<(), RuleError> {
    let txid = *txid;
    if tx.outputs.is_empty() {
        return Err(RuleError::NoOutputs { txid });
    }
    let mut data_outputs = 0;
    let mut sum = Amount::ZERO;
    for (index, output) in (0..).zip(&tx.outputs) {
        match &output.lock {
            Lock::Data(data) => {
                data_outputs += 1;
                if data.len() > MAX_DATA_BYTES {
                    return Err(RuleError::DataTooLong { txid, index, got: data.len(), max: MAX_DATA_BYTES });
                }
                if output.value != Amount::ZERO {
                    return Err(RuleError::DataWithValue { txid, index, value: output.value });
                }
            }
            Lock::Key(_) if output.value == Amount::ZERO => return Err(RuleError::KeyWithoutValue { txid, index }),
            Lock::Key(_) => {}
        }
        sum = sum.checked_add(output.value).ok_or(RuleError::ValueOverflow { txid, max: Amount::MAX })?;
    }
    if data_outputs > 1 {
        return Err(RuleError::TooManyData { txid, got: data_outputs });
    }
    Ok(())
}
