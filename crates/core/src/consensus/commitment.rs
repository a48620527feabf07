//! What a coinbase commits to: one hash over all headers before its block, the coins and the block filters.
//!
//! The range root has a side of its own, because most openings are about headers: a verifier who follows headers alone is
//! given one hash, the [`LedgerRoot`], for all the rest.

use crate::primitives::codec::{Decode, Encode};
use crate::primitives::hash::{Commitment, FilterHeader, LedgerRoot, MmrRoot, StateRoot};

/// Domain tags, apart from those of the header range (1 and 2) and of the state (0x10 to 0x13). With a tag a preimage has 65
/// bytes, so it is no inner node of a Merkle tree, which has 64.
const COMMITMENT_TAG: u8 = 3;
const LEDGER_TAG: u8 = 4;

/// What the coinbase of a block must commit to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Committed {
    /// Over the headers from genesis to the parent ([`Range::root`](crate::primitives::mmr::Range::root)).
    pub range: MmrRoot,
    /// All coins after an earlier block ([`Params::committed_state`](super::params::Params::committed_state)); zero where
    /// none is due.
    pub state: StateRoot,
    /// The parent's filter header, which commits to the filters of all blocks up to the parent.
    pub filters: FilterHeader,
}

impl Committed {
    /// The half of the commitment that is not about headers.
    pub fn ledger_root(&self) -> LedgerRoot {
        ledger_root(&self.state, &self.filters)
    }

    /// The commitment: what the coinbase's data begins with.
    pub fn commitment(&self) -> Commitment {
        commitment(&self.range, &self.ledger_root())
    }
}

/// Double SHA-256 of tag 4, the state root and the filter header.
pub fn ledger_root(state: &StateRoot, filters: &FilterHeader) -> LedgerRoot {
    LedgerRoot::of(&tagged(LEDGER_TAG, state.as_bytes(), filters.as_bytes()))
}

/// Double SHA-256 of tag 3, the range root and the ledger root.
pub fn commitment(range: &MmrRoot, ledger: &LedgerRoot) -> Commitment {
    Commitment::of(&tagged(COMMITMENT_TAG, range.as_bytes(), ledger.as_bytes()))
}

fn tagged(tag: u8, left: &[u8; 32], right: &[u8; 32]) -> [u8; 65] {
    let mut bytes = [tag; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::hash::Hash256;

    #[test]
    fn every_part_moves_the_commitment_and_the_ledger_root_opens_it() {
        let one = Committed { range: MmrRoot::of(b"1"), state: StateRoot::of(b"2"), filters: FilterHeader::of(b"3") };
        let pair = |tag: u8, left: &[u8], right: &[u8]| Hash256::of(&[&[tag], left, right].concat()).to_bytes();
        let ledger = pair(4, one.state.as_bytes(), one.filters.as_bytes());
        assert_eq!(one.ledger_root().to_bytes(), ledger);
        assert_eq!(one.commitment().to_bytes(), pair(3, one.range.as_bytes(), &ledger));
        assert_eq!(one.commitment(), commitment(&one.range, &one.ledger_root()));
        let others = [
            Committed { range: MmrRoot::of(b"0"), ..one },
            Committed { state: StateRoot::ZERO, ..one },
            Committed { filters: FilterHeader::ZERO, ..one },
        ];
        assert!(others.iter().all(|other| other.commitment() != one.commitment()));
    }
}
