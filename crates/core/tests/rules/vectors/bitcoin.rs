//! Real blocks of Bitcoin: their headers, bits, proof of work and Merkle trees.

use cairn_core::primitives::codec;
use cairn_core::primitives::hash::{BlockHash, Hash256, MerkleRoot, Txid};
use cairn_core::primitives::header::Header;
use cairn_core::primitives::merkle::{self, Branch};
use cairn_core::primitives::sha256::{Kernel, NonceSearch};
use cairn_core::primitives::target::Bits;
use ruint::aliases::U512;
use serde::Deserialize;

#[derive(Deserialize)]
struct RealBlock {
    hash: BlockHash,
    header: String,
    merkle_root: MerkleRoot,
    bits: Bits,
    time: u32,
    txids: Vec<Txid>,
}

impl RealBlock {
    fn header(&self) -> Header {
        codec::decode_hex(&self.header).unwrap()
    }
}

fn blocks() -> Vec<RealBlock> {
    let blocks: Vec<RealBlock> = serde_json::from_str(&super::data("bitcoin/blocks.json")).unwrap();
    assert_eq!(blocks.len(), 15);
    blocks
}

#[test]
fn headers_are_bitcoins_80_bytes() {
    for block in blocks() {
        let header = block.header();
        assert_eq!(hex::encode(codec::encode(&header)), block.header);
        assert_eq!(header.to_bytes().len(), Header::LEN);
        assert_eq!(header.hash(), block.hash);
        assert_eq!((header.merkle_root, header.bits, header.time), (block.merkle_root, block.bits, block.time));
    }
}

#[test]
fn bits_and_proof_of_work() {
    for block in blocks() {
        let target = block.bits.target().unwrap();
        assert_eq!(target.to_bits(), block.bits);
        assert!(target.is_met_by(&block.hash));
        assert!(
            !target.is_met_by(&BlockHash::from_bytes(block.merkle_root.to_bytes())),
            "a hash without proof of work"
        );
        // Work is 2^256 / (target + 1), rounded down.
        let all = U512::ONE << 256;
        let (work, passing) = (U512::from(target.work().0), U512::from(target.0) + U512::ONE);
        assert!(work * passing <= all && all < (work + U512::ONE) * passing, "{}", block.hash);
    }
}

#[test]
fn every_kernel_finds_the_nonces() {
    for block in blocks() {
        let (header, target) = (block.header(), block.bits.target().unwrap());
        let bytes = header.to_bytes();
        let search = NonceSearch::new(bytes.first_chunk().unwrap(), (target.0 >> 224usize).to::<u32>());
        for kernel in Kernel::available() {
            // From places that are not multiples of any number of lanes, and with the nonce as the range's end.
            for before in [0, 1, 13, 700] {
                let first = header.nonce.saturating_sub(before);
                let count = u64::from(header.nonce - first) + 1;
                assert_eq!(kernel.scan(&search, first, count), Some(header.nonce), "{}", kernel.name());
            }
            assert_eq!(kernel.scan(&search, header.nonce + 1, 700), None, "{}", kernel.name());
        }
    }
}

#[test]
fn merkle_roots() {
    for block in blocks() {
        let root = merkle::root(block.txids.clone());
        assert_eq!((root.hash, root.mutated), (block.merkle_root, false), "{}", block.hash);
    }
}

#[test]
fn the_branch_of_every_index_verifies() {
    for block in blocks() {
        for (index, txid) in (0..).zip(&block.txids) {
            let branch = Branch::new(block.txids.clone(), index).unwrap();
            assert!(branch.verify(txid, &block.merkle_root), "{} index {index}", block.hash);
        }
        assert_eq!(Branch::new(block.txids.clone(), block.txids.len() as u32), None);
    }
}

#[test]
fn a_branch_proves_one_leaf_at_one_index() {
    for block in blocks().iter().filter(|block| block.txids.len() > 1) {
        let leaves = &block.txids;
        for (index, txid) in (0..).zip(leaves) {
            let branch = Branch::new(leaves.clone(), index).unwrap();
            let another = &leaves[(index as usize + 1) % leaves.len()];
            assert!(!branch.verify(another, &block.merkle_root), "another leaf at {index} of {}", block.hash);
            let foreign = MerkleRoot::from_bytes(another.to_bytes());
            assert!(!branch.verify(txid, &foreign), "another root");

            // Every index that the depth allows, and some that it does not.
            for wrong in (0..2 << branch.siblings.len()).filter(|wrong| *wrong != index) {
                let moved = Branch { index: wrong, ..branch.clone() };
                assert!(!moved.verify(txid, &block.merkle_root), "{index} as {wrong} of {}", block.hash);
            }
            for level in 0..branch.siblings.len() {
                let mut bent = branch.clone();
                bent.siblings[level] = Hash256::of(b"x");
                assert!(!bent.verify(txid, &block.merkle_root), "level {level} of {index} of {}", block.hash);
            }
            let mut longer = branch.clone();
            longer.siblings.push(Hash256::of(b"x"));
            let mut shorter = branch.clone();
            shorter.siblings.pop();
            assert!(!longer.verify(txid, &block.merkle_root) && !shorter.verify(txid, &block.merkle_root));
        }
    }
}

#[test]
fn an_inner_node_is_a_leaf_of_nothing() {
    // CVE-2017-12842: the upper part of a true branch proves an inner node as if it were a transaction, and only the
    // ban on 64-byte transactions stands between that and a forged payment.
    let block = blocks().pop().unwrap();
    let branch = Branch::new(block.txids.clone(), 0).unwrap();
    let inner = Hash256::of_pair(&block.txids[0].as_leaf(), &block.txids[1].as_leaf());
    let inner = Txid::from_bytes(inner.to_bytes());
    let upper = Branch { index: 0, siblings: branch.siblings[1..].to_vec() };
    assert!(upper.verify(&inner, &block.merkle_root));
    assert!(!block.txids.contains(&inner));
}
