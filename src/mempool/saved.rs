//! The pool over a restart: an orderly stop saves it, and the next start checks every transaction as if it were new.

use std::sync::Arc;

use super::Mempool;
use crate::primitives::codec::{self, CodecError, Decode, Encode};
use crate::primitives::hash::{BlockHash, Hash256};
use crate::primitives::time::UnixTime;
use crate::primitives::tx::Transaction;

/// Format of the bytes.
const VERSION: u32 = 1;

/// What the bytes begin with.
#[derive(Debug, Encode, Decode)]
struct Head {
    version: u32,
    /// The network.
    genesis: BlockHash,
    /// Double SHA-256 of what follows.
    checksum: Hash256,
}

/// A transaction that was in the pool.
#[derive(Debug, Clone, Encode, Decode)]
pub(super) struct Saved {
    /// When it came.
    pub(super) time: UnixTime,
    pub(super) tx: Arc<Transaction>,
}

/// Why saved bytes cannot be restored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum SavedError {
    /// They are cut off, or contain something that is no transaction.
    #[error(transparent)]
    Encoding(#[from] CodecError),
    /// Another version of this program wrote them.
    #[error("its format is version {got}, this program reads version {expected}")]
    Version {
        got: u32,
        /// The version that can be read.
        expected: u32,
    },
    /// They are another network's.
    #[error("it belongs to the network with genesis {got}")]
    Network {
        /// That network's genesis block.
        got: BlockHash,
    },
    /// They are damaged.
    #[error("its checksum is {got}, it should be {expected}")]
    Checksum {
        /// Hash of the bytes.
        got: Hash256,
        /// Hash that they say they have.
        expected: Hash256,
    },
}

impl Mempool {
    /// The pool as bytes, transactions before those that need them, with those from [`Mempool::restore`] that are not
    /// processed yet.
    pub fn save(&self) -> Vec<u8> {
        let mut entries: Vec<_> = self.graph.iter().collect();
        // A transaction has more ancestors than each of its ancestors.
        entries.sort_by_key(|entry| (entry.ancestors.count, entry.time, entry.number));
        let mut body = Vec::new();
        for entry in entries {
            body.extend(codec::encode(&Saved { time: entry.time, tx: entry.tx.shared().clone() }));
        }
        self.unfinished.saved.iter().for_each(|saved| body.extend(codec::encode(saved)));
        let head = Head { version: VERSION, genesis: self.params.genesis_hash, checksum: Hash256::of(&body) };
        [codec::encode(&head), body].concat()
    }

    /// Queues the transactions of [`Mempool::save`] and returns how many there are. [`Mempool::resume`] checks them in
    /// parts.
    ///
    /// # Errors
    /// [`SavedError`]; nothing is queued then.
    pub fn restore(&mut self, bytes: &[u8]) -> Result<usize, SavedError> {
        let (Head { version, genesis, checksum }, used) = codec::decode_prefix::<Head>(bytes)?;
        if version != VERSION {
            return Err(SavedError::Version { got: version, expected: VERSION });
        }
        if genesis != self.params.genesis_hash {
            return Err(SavedError::Network { got: genesis });
        }
        let mut body = &bytes[used..];
        let got = Hash256::of(body);
        if got != checksum {
            return Err(SavedError::Checksum { got, expected: checksum });
        }
        let mut saved = Vec::new();
        while !body.is_empty() {
            let (entry, used) = codec::decode_prefix::<Saved>(body)?;
            saved.push(entry);
            body = &body[used..];
        }
        let count = saved.len();
        self.unfinished.saved.extend(saved);
        Ok(count)
    }
}
