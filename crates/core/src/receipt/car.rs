//! A proof of inclusion as a CAR: content-addressed blocks that any IPLD tool can read and check, without knowing Cairn.
//!
//! CARv1 with one root, the CID of the block's header. Each block of the archive is one step of the proof: the header's
//! 80 bytes, the Merkle nodes on the way down (64 bytes: left hash, right hash), the transaction. A CID names its block
//! by the double SHA-256 that the chain itself uses (multihash `dbl-sha2-256`), so the hashes inside header and nodes
//! already link to the next block. The archive proves that the transaction is in that header's block. It does not prove
//! that the header is in a chain; the receipt does.

use super::Receipt;
use crate::ipld::{Cid, Codec, HashFunction, car};
use crate::primitives::codec;
use crate::primitives::hash::{Hash256, Txid};
use crate::primitives::header::Header;

impl Receipt {
    /// The receipt's transaction and branch under its block's `header`, as the bytes of a CAR; `None` if the branch
    /// does not lead to that header's Merkle root.
    pub fn to_car(&self, header: &Header) -> Option<Vec<u8>> {
        let transaction = codec::encode(&self.transaction);
        let txid = Txid::of(&transaction);
        let mut node = txid.as_leaf();
        let mut blocks = vec![(Codec::BITCOIN_TX, txid.to_bytes(), transaction)];
        if !self.branch.verify(&txid, &header.merkle_root) {
            return None;
        }
        for (level, sibling) in self.branch.siblings.iter().enumerate() {
            let (left, right) = if self.branch.index >> level & 1 == 0 { (&node, sibling) } else { (sibling, &node) };
            let bytes = [left.to_bytes(), right.to_bytes()].concat();
            node = Hash256::of(&bytes);
            blocks.push((Codec::BITCOIN_TX, node.to_bytes(), bytes));
        }
        blocks.push((Codec::BITCOIN_BLOCK, header.hash().to_bytes(), header.to_bytes().to_vec()));
        let mut out = car::header(&[cid(Codec::BITCOIN_BLOCK, header.hash().as_bytes())?]);
        for (codec, hash, bytes) in blocks.iter().rev() {
            car::write_block(&mut out, &cid(*codec, hash)?, bytes).ok()?;
        }
        Some(out)
    }
}

/// The CIDv1 of a header.
pub fn root(header: &Header) -> Option<Cid> {
    cid(Codec::BITCOIN_BLOCK, header.hash().as_bytes())
}

/// The CIDv1 for content with this double SHA-256.
fn cid(codec: Codec, hash: &[u8; 32]) -> Option<Cid> {
    Cid::from_digest(codec, HashFunction::DblSha2_256, hash)
}
