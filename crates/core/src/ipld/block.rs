//! A block: bytes, and the CID that names them.

use super::cid::Cid;

/// The largest block that IPFS nodes exchange, as in Kubo since 0.40.
pub const MAX_BLOCK_BYTES: usize = 2 << 20;

/// Bytes under the CID that names them: made from them, or checked against them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    cid: Cid,
    bytes: Vec<u8>,
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
        Self { cid, bytes }
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
            Some(true) => Ok(Self { cid, bytes }),
            Some(false) => Err(BlockError::Mismatch { cid: cid.into() }),
            None => Err(BlockError::UnknownHash { cid: cid.into(), code: cid.function_code() }),
        }
    }

    /// The block that a CID holds itself, by the identity function.
    pub fn inline(cid: Cid) -> Option<Self> {
        Some(Self { bytes: cid.inline()?.to_vec(), cid })
    }

    /// Its name.
    pub fn cid(&self) -> &Cid {
        &self.cid
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its bytes, kept.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}
