//! A header and the transactions its Merkle root commits to.

use super::codec::{self, Decode, Encode};
use super::hash::{BlockHash, Txid};
use super::header::Header;
use super::tx::Transaction;

/// A block as it is sent and stored.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Block {
    /// The 80-byte header, which proves the work.
    pub header: Header,
    /// The coinbase, then the other transactions, each after those whose outputs it spends.
    pub transactions: Vec<Transaction>,
}

impl Block {
    /// The header's hash.
    pub fn hash(&self) -> BlockHash {
        self.header.hash()
    }

    /// The txids in order: the leaves of the Merkle tree.
    pub fn txids(&self) -> Vec<Txid> {
        self.transactions.iter().map(Transaction::txid).collect()
    }

    /// Length of the encoding in bytes.
    pub fn size(&self) -> usize {
        codec::encoded_len(self)
    }
}
