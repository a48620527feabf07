//! A header and the transactions its Merkle root commits to.

use super::codec::{self, Decode, Encode};
use super::hash::{BlockHash, Txid};
use super::header::Header;
use super::tx::Transaction;

/// A block as it is sent and stored.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Block {
    /// What the work was done on.
    pub header: Header,
    /// The coinbase, then the rest in an order in which no transaction spends a later one's output.
    pub transactions: Vec<Transaction>,
}

impl Block {
    /// The header's hash.
    pub fn hash(&self) -> BlockHash {
        self.header.hash()
    }

    /// Ids of the transactions, in order: the leaves of the Merkle tree.
    pub fn txids(&self) -> Vec<Txid> {
        self.transactions.iter().map(Transaction::txid).collect()
    }

    /// Length of the encoding in bytes.
    pub fn size(&self) -> usize {
        codec::encoded_len(self)
    }
}
