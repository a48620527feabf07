//! Proof of work, at difficulties that cost a few hashes.

use cairn_core::primitives::block::Block;
use cairn_core::primitives::hash::{BlockHash, MerkleRoot};
use cairn_core::primitives::header::Header;
use cairn_core::primitives::merkle;
use cairn_core::primitives::target::Bits;

/// Version, parent, Merkle root, time and bits of a header, as proptest generates them.
pub type HeaderFields = (i32, [u8; 32], [u8; 32], u32, u32);

/// A header from generated fields, with nonce 0.
pub fn header((version, previous, root, time, bits): HeaderFields) -> Header {
    Header {
        version,
        previous: BlockHash::from_bytes(previous),
        merkle_root: MerkleRoot::from_bytes(root),
        time,
        bits: Bits(bits),
        nonce: 0,
    }
}

/// Makes the header commit to the transactions, then mines it.
pub fn seal(block: &mut Block) {
    block.header.merkle_root = merkle::root(block.txids()).hash;
    mine(&mut block.header);
}

/// Finds the first nonce whose hash meets the bits, if the bits are a target. Regtest needs about two hashes.
pub fn mine(header: &mut Header) {
    try_nonces(header, true);
}

/// Finds the first nonce whose hash does not meet the bits.
pub fn unmine(header: &mut Header) {
    try_nonces(header, false);
}

fn try_nonces(header: &mut Header, meets: bool) {
    let Ok(target) = header.bits.target() else { return };
    header.nonce = 0;
    while target.is_met_by(&header.hash()) != meets {
        header.nonce += 1;
    }
}
