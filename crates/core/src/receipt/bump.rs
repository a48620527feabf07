//! A proof of inclusion as a BUMP, "BSV Unified Merkle Path" (BRC-74): height and branch without header or transaction, for
//! wallets that have those.
//!
//! All numbers are compact sizes, hashes as they are in the block: height, number of levels, and for each level, lowest
//! first, the number of its hashes and these: position, flags, hash. The lowest level has the transaction beside its sibling.

use super::Receipt;
use crate::primitives::compact_size;
use crate::primitives::hash::Hash256;

/// The hash is one to compute with.
const PLAIN: u8 = 0;
/// The hash beside it stands here again: none follows.
const DUPLICATE: u8 = 1;
/// The id of the transaction that the path is for.
const TXID: u8 = 2;

impl Receipt {
    /// The receipt's branch, as the bytes of a BUMP. It proves nothing without the header of its height.
    pub fn to_bump(&self) -> Vec<u8> {
        let mut out = Vec::new();
        compact_size::write(&mut out, self.height.as_usize());
        // A block of one transaction has a tree of that one: its id is the root.
        compact_size::write(&mut out, self.branch.siblings.len().max(1));
        let leaf = self.transaction.txid().as_leaf();
        let (mut node, mut position) = (leaf, self.branch.index as usize);
        if self.branch.siblings.is_empty() {
            write_level(&mut out, vec![(position, TXID, leaf)]);
        }
        for (level, sibling) in self.branch.siblings.iter().enumerate() {
            let is_left = position & 1 == 0;
            let flags = if *sibling == node { DUPLICATE } else { PLAIN };
            let mut hashes = vec![(position ^ 1, flags, *sibling)];
            hashes.extend((level == 0).then_some((position, TXID, leaf)));
            hashes.sort_by_key(|(position, ..)| *position);
            write_level(&mut out, hashes);
            node = if is_left { Hash256::of_pair(&node, sibling) } else { Hash256::of_pair(sibling, &node) };
            position >>= 1;
        }
        out
    }
}

fn write_level(out: &mut Vec<u8>, hashes: Vec<(usize, u8, Hash256)>) {
    compact_size::write(out, hashes.len());
    for (position, flags, hash) in hashes {
        compact_size::write(out, position);
        out.push(flags);
        if flags != DUPLICATE {
            out.extend(hash.to_bytes());
        }
    }
}
