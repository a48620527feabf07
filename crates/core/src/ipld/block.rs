//! A block: bytes, and the CID that names them.

use std::fmt::{self, Debug, Formatter};
use std::ops::Range;
use std::sync::Arc;

use super::cid::Cid;

/// The largest block that IPFS nodes exchange, as in Kubo since 0.40.
pub const MAX_BLOCK_BYTES: usize = 2 << 20;

/// Bytes under the CID that names them: made from them, or checked against them. Clones share the bytes, and blocks that
/// were made together lie in the same memory, which is free when none of them is left.
#[derive(Clone)]
pub struct Block {
    cid: Cid,
    memory: Arc<Vec<u8>>,
    place: Range<usize>,
}

impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        self.cid == other.cid && self.bytes() == other.bytes()
    }
}

impl Eq for Block {}

impl Debug for Block {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "Block({}, {} bytes)", self.cid, self.place.len())
    }
}

/// Bytes that are not the block that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum BlockError {
    /// The hash differs.
    #[error("the bytes are not those of the block {cid}")]
    Mismatch { cid: Box<Cid> },
    /// The hash cannot be computed.
    #[error("the block {cid} is named by the hash function {code:#x}, which is not known here")]
    UnknownHash { cid: Box<Cid>, code: u64 },
    /// Larger than nodes exchange.
    #[error("the block {cid} has {size} bytes, and at most {MAX_BLOCK_BYTES} are taken")]
    TooLarge { cid: Box<Cid>, size: usize },
}

impl Block {
    /// A block whose CID was computed from its bytes.
    pub(super) fn made(cid: Cid, bytes: Vec<u8>) -> Self {
        let place = 0..bytes.len();
        Self { cid, memory: Arc::new(bytes), place }
    }

    /// The same, of bytes that lie at a place within others.
    pub(super) fn made_within(cid: Cid, memory: Arc<Vec<u8>>, place: Range<usize>) -> Self {
        Self { cid, memory, place }
    }

    /// Checks bytes from elsewhere. Costs one hash of them.
    ///
    /// # Errors
    /// [`BlockError`].
    pub fn check(cid: Cid, bytes: Vec<u8>) -> Result<Self, BlockError> {
        if bytes.len() > MAX_BLOCK_BYTES {
            return Err(BlockError::TooLarge { cid: cid.into(), size: bytes.len() });
        }
        match cid.names(&bytes) {
            Some(true) => Ok(Self::made(cid, bytes)),
            Some(false) => Err(BlockError::Mismatch { cid: cid.into() }),
            None => Err(BlockError::UnknownHash { cid: cid.into(), code: cid.function_code() }),
        }
    }

    /// The block that a CID holds itself, by the identity function.
    pub fn inline(cid: Cid) -> Option<Self> {
        Some(Self::made(cid, cid.inline()?.to_vec()))
    }

    /// Its name.
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.place.clone()]
    }

    /// Its bytes, kept. Copies them if others share their memory.
    pub fn into_bytes(self) -> Vec<u8> {
        if self.place.len() < self.memory.len() {
            return self.bytes().to_vec();
        }
        Arc::unwrap_or_clone(self.memory)
    }
}
