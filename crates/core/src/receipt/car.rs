//! A proof of inclusion as a CAR: content-addressed blocks that any IPLD tool can read and check, without knowing Cairn.
//!
//! CARv1 with one root, the CID of the block's header. Each block of the archive is one step of the proof: the header's
//! 80 bytes, the Merkle nodes on the way down (64 bytes: left hash, right hash), the transaction. A CID names its block
//! by the double SHA-256 that the chain itself uses (multihash `dbl-sha2-256`), so the hashes inside header and nodes
//! already link to the next block. The archive proves that the transaction is in that header's block. It does not prove
//! that the header is in a chain; the receipt does.

use cid::Cid;
use multihash::Multihash;

use super::Receipt;
use crate::primitives::codec;
use crate::primitives::hash::{Hash256, Txid};
use crate::primitives::header::Header;

/// Multicodec `bitcoin-block`: a header's 80 bytes.
pub const BITCOIN_BLOCK: u64 = 0xb0;
/// Multicodec `bitcoin-tx`: a transaction, or an inner node of the tree over them.
pub const BITCOIN_TX: u64 = 0xb1;
/// Multihash code `dbl-sha2-256`.
pub const DBL_SHA2_256: u64 = 0x56;

impl Receipt {
    /// The receipt's transaction and branch under its block's `header`, as the bytes of a CAR; `None` if the branch
    /// does not lead to that header's Merkle root.
    pub fn to_car(&self, header: &Header) -> Option<Vec<u8>> {
        let transaction = codec::encode(&self.transaction);
        let txid = Txid::of(&transaction);
        let mut node = txid.as_leaf();
        let mut blocks = vec![(BITCOIN_TX, txid.to_bytes(), transaction)];
        if !self.branch.verify(&txid, &header.merkle_root) {
            return None;
        }
        for (level, sibling) in self.branch.siblings.iter().enumerate() {
            let (left, right) = if self.branch.index >> level & 1 == 0 { (&node, sibling) } else { (sibling, &node) };
            let bytes = [left.to_bytes(), right.to_bytes()].concat();
            node = Hash256::of(&bytes);
            blocks.push((BITCOIN_TX, node.to_bytes(), bytes));
        }
        blocks.push((BITCOIN_BLOCK, header.hash().to_bytes(), header.to_bytes().to_vec()));
        let mut car = Vec::new();
        put(&mut car, &[&file_header(&cid(BITCOIN_BLOCK, header.hash().as_bytes())?)]);
        for (codec, hash, bytes) in blocks.iter().rev() {
            put(&mut car, &[&cid(*codec, hash)?, bytes]);
        }
        Some(car)
    }
}

/// The CIDv1 of a header, as text.
pub fn root(header: &Header) -> Option<String> {
    let multihash = Multihash::<64>::wrap(DBL_SHA2_256, header.hash().as_bytes()).ok()?;
    Some(Cid::new_v1(BITCOIN_BLOCK, multihash).to_string())
}

/// The bytes of the CIDv1 for content with this double SHA-256.
fn cid(codec: u64, hash: &[u8; 32]) -> Option<Vec<u8>> {
    let multihash = Multihash::<64>::wrap(DBL_SHA2_256, hash).ok()?;
    Some(Cid::new_v1(codec, multihash).to_bytes())
}

/// Appends a section: its length as a varint, then its content.
fn put(car: &mut Vec<u8>, parts: &[&[u8]]) {
    let length = parts.iter().map(|part| part.len()).sum();
    car.extend(unsigned_varint::encode::usize(length, &mut unsigned_varint::encode::usize_buffer()));
    parts.iter().for_each(|part| car.extend(*part));
}

/// The DAG-CBOR of `{"roots": [root], "version": 1}`: a map of two, whose only varying part is a CID of less than 255 bytes.
fn file_header(root: &[u8]) -> Vec<u8> {
    let link = [&[0xd8, 42, 0x58, root.len() as u8 + 1, 0], root].concat();
    [&b"\xa2\x65roots\x81"[..], &link, b"\x67version\x01"].concat()
}
