//! Rules that need nothing but the bytes.

use crate::consensus::error::RuleError;
use crate::consensus::params::Params;
use crate::primitives::amount::MAX_SUPPLY;
use crate::primitives::block::Block;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::header::Header;
use crate::primitives::merkle;
use crate::primitives::tx::{Lock, MAX_DATA_BYTES, Transaction};

/// Size that no transaction may have: two hashes, which is what an inner Merkle node hashes (CVE-2017-12842).
pub const NODE_SIZE: usize = 64;

/// A block whose body belongs to its header and keeps every rule that needs no other block. Only [`check_block`] makes
/// one, so a checked block cannot be confused with a raw one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckedBlock {
    block: Block,
    hash: BlockHash,
    txids: Vec<Txid>,
}

impl CheckedBlock {
    /// The block.
    pub fn block(&self) -> &Block {
        &self.block
    }

    /// Its hash, computed once.
    pub fn hash(&self) -> BlockHash {
        self.hash
    }

    /// The ids of its transactions, computed once.
    pub fn txids(&self) -> &[Txid] {
        &self.txids
    }
}

/// Checks that a header's bits are a target that the network allows, and that its hash meets it.
///
/// Whether these are the bits due at its place is for [`super::context::check_header`].
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

/// Checks that the transactions of these ids are the body of a header.
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

/// Checks a block's body against its header and its transactions one by one. Proof of work is not looked at here.
///
/// # Errors
/// The first rule broken. Those that show the body not to be the header's come first, for only once they hold is a
/// broken rule the block's own fault.
pub fn check_block(block: Block, params: &Params) -> Result<CheckedBlock, RuleError> {
    let txids = block.txids();
    if txids.is_empty() {
        return Err(RuleError::EmptyBlock);
    }
    for (tx, txid) in block.transactions.iter().zip(&txids) {
        if tx.size() == NODE_SIZE {
            return Err(RuleError::NodeSizedTransaction { txid: *txid });
        }
    }
    check_merkle_root(&block.header, txids.clone())?;
    let size = block.size();
    if size > params.max_block_bytes as usize {
        return Err(RuleError::BlockTooLarge { got: size, max: params.max_block_bytes });
    }
    let [coinbase, rest @ ..] = &block.transactions[..] else { return Err(RuleError::EmptyBlock) };
    if !coinbase.is_coinbase() {
        return Err(RuleError::FirstNotCoinbase { txid: txids[0] });
    }
    check_outputs(coinbase, &txids[0])?;
    for (tx, txid) in rest.iter().zip(&txids[1..]) {
        check_transaction(tx, txid)?;
    }
    Ok(CheckedBlock { hash: block.hash(), block, txids })
}

/// Checks a transaction that is not a coinbase by itself. `txid` must be its id.
///
/// # Errors
/// The first rule broken.
pub fn check_transaction(tx: &Transaction, txid: &Txid) -> Result<(), RuleError> {
    let txid = *txid;
    // Only one without inputs can be as small as that, so this comes first, as it does in a block.
    if tx.size() == NODE_SIZE {
        return Err(RuleError::NodeSizedTransaction { txid });
    }
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

fn check_outputs(tx: &Transaction, txid: &Txid) -> Result<(), RuleError> {
    let txid = *txid;
    if tx.outputs.is_empty() {
        return Err(RuleError::NoOutputs { txid });
    }
    let mut data_outputs = 0;
    let mut sum = 0u64;
    for (index, output) in (0..).zip(&tx.outputs) {
        if let Lock::Data(data) = &output.lock {
            data_outputs += 1;
            if data.len() > MAX_DATA_BYTES {
                return Err(RuleError::DataTooLong { txid, index, got: data.len(), max: MAX_DATA_BYTES });
            }
            if output.value != 0 {
                return Err(RuleError::DataWithValue { txid, index, value: output.value });
            }
        }
        sum = sum
            .checked_add(output.value)
            .filter(|sum| *sum <= MAX_SUPPLY)
            .ok_or(RuleError::ValueOverflow { txid, max: MAX_SUPPLY })?;
    }
    if data_outputs > 1 {
        return Err(RuleError::TooManyData { txid, got: data_outputs });
    }
    Ok(())
}
