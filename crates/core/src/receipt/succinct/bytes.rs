//! Encoding shared by the prover and the verifier.

use crate::consensus::commitment::commitment;
use crate::consensus::connect::COMMITMENT_LEN;
use crate::primitives::amount::counted;
use crate::primitives::codec::{self, CodecError};
use crate::primitives::hash::{BlockHash, Hash256, LedgerRoot, MerkleRoot, MmrRoot};
use crate::primitives::header::Header;
use crate::primitives::merkle::Branch;
use crate::primitives::mmr::Node;
use crate::primitives::target::{Bits, Work};
use crate::primitives::tx::{Lock, Transaction};
use ruint::aliases::U256;

/// A coinbase and its branch to its block's Merkle root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Coinbase {
    /// The half of its commitment that is not about headers.
    pub(super) ledger: LedgerRoot,
    pub(super) transaction: Transaction,
    pub(super) branch: Branch,
}

/// The data output, which begins with the commitment.
fn data(transaction: &mut Transaction) -> Option<&mut Vec<u8>> {
    transaction.outputs.iter_mut().find_map(|output| match &mut output.lock {
        Lock::Data(data) => Some(data),
        Lock::Key(_) => None,
    })
}

impl Coinbase {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let mut bare = self.transaction.clone();
        if let Some(data) = data(&mut bare) {
            data.drain(..COMMITMENT_LEN.min(data.len()));
        }
        out.extend(self.ledger.as_bytes());
        out.extend(codec::encode(&bare));
        out.push(self.branch.siblings.len() as u8);
        self.branch.siblings.iter().for_each(|hash| out.extend(hash.to_bytes()));
    }

    /// Reads a coinbase without its commitment, which [`Coinbase::commit`] inserts.
    pub(super) fn read(bytes: &mut Reader<'_>) -> Result<Self, Malformed> {
        let ledger = LedgerRoot::from_bytes(bytes.array()?);
        let transaction = bytes.decode()?;
        let count = bytes.byte()?;
        let siblings = (0..count).map(|_| bytes.array().map(Hash256::from_bytes)).collect::<Result<_, _>>()?;
        Ok(Self { ledger, transaction, branch: Branch { index: 0, siblings } })
    }

    /// Inserts the commitment to the headers under `range` at the start of the data output.
    pub(super) fn commit(&mut self, range: &MmrRoot) -> Result<(), Malformed> {
        let commitment = commitment(range, &self.ledger);
        let data = data(&mut self.transaction).ok_or(Malformed::NoData)?;
        data.splice(0..0, commitment.to_bytes());
        Ok(())
    }
}

/// Writes the header fields that cannot be derived from other parts of the proof: version, time, bits, nonce.
pub(super) fn write_own_fields(header: &Header, out: &mut Vec<u8>) {
    out.extend(header.version.to_le_bytes());
    out.extend(header.time.to_le_bytes());
    out.extend(header.bits.0.to_le_bytes());
    out.extend(header.nonce.to_le_bytes());
}

pub(super) fn write_node(node: &Node, out: &mut Vec<u8>) {
    out.extend(node.hash.to_bytes());
    let work = node.work.0.to_le_bytes::<32>();
    let length = 32 - work.iter().rev().take_while(|byte| **byte == 0).count();
    out.push(length as u8);
    out.extend(&work[..length]);
    out.extend(node.last_time.to_le_bytes());
}

/// Bytes that do not follow the layout.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes end too early.
    #[error("it ends early")]
    Short,
    /// Bytes follow the end of the proof.
    #[error("{} after its end", counted(*.0, "byte"))]
    Trailing(usize),
    /// A tag byte that is not allowed at this place.
    #[error("byte {got} begins no node at height {height} of the tree")]
    Tag {
        /// The byte.
        got: u8,
        /// Levels above the leaves at which it stands.
        height: u32,
    },
    /// A work with a leading zero byte, or of more than 32 bytes.
    #[error("a work is not written in its shortest form")]
    Work,
    /// Not a transaction.
    #[error("a coinbase: {0}")]
    Coinbase(#[from] CodecError),
    /// A coinbase has no place for the commitment.
    #[error("a coinbase has no data output")]
    NoData,
}

/// Reads values from the front of the bytes.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl Reader<'_> {
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (array, rest) = self.0.split_first_chunk::<N>().ok_or(Malformed::Short)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn decode<T: codec::Decode<()>>(&mut self) -> Result<T, Malformed> {
        let (value, used) = codec::decode_prefix(self.0)?;
        self.0 = &self.0[used..];
        Ok(value)
    }

    /// Reads a header's own fields and completes them with its parent and Merkle root.
    pub(super) fn header(&mut self, previous: BlockHash, merkle_root: MerkleRoot) -> Result<Header, Malformed> {
        let version = self.array().map(i32::from_le_bytes)?;
        let (time, bits, nonce) = (self.u32()?, Bits(self.u32()?), self.u32()?);
        Ok(Header { version, previous, merkle_root, time, bits, nonce })
    }

    pub(super) fn node(&mut self) -> Result<Node, Malformed> {
        let (hash, length) = (Hash256::from_bytes(self.array()?), usize::from(self.byte()?));
        let bytes = self.0.get(..length).ok_or(Malformed::Short)?;
        let mut work = [0; 32];
        work.get_mut(..length).ok_or(Malformed::Work)?.copy_from_slice(bytes);
        if bytes.last() == Some(&0) {
            return Err(Malformed::Work);
        }
        self.0 = &self.0[length..];
        Ok(Node { hash, work: Work(U256::from_le_bytes(work)), last_time: self.u32()? })
    }
}
