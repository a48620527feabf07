//! The nonce search.
//!
//! A header is 80 bytes: one block of SHA-256 and a quarter of the next. The part that does not depend on the nonce is
//! computed once. The processor's fastest [`Kernel`] tries many nonces at a time and compares only the hash's top word,
//! which nearly always decides; the few that pass are hashed again and compared in full.

use std::ops::RangeInclusive;

use crate::primitives::header::Header;
use crate::primitives::sha256::{Kernel, NonceSearch};
use crate::primitives::target::Target;

/// The first of `nonces` with which `header` meets `target`; the header's own nonce is ignored.
///
/// Returns when it has found one or tried them all. A caller that may have to stop early passes few nonces at a time: a
/// call costs a hash or two more than there are nonces, rounded up to the kernel's lanes.
pub fn search(header: &Header, target: Target, nonces: RangeInclusive<u32>) -> Option<u32> {
    search_with(Kernel::best(), header, target, nonces)
}

/// [`search`] with a kernel other than the fastest, to compare them.
pub fn search_with(kernel: Kernel, header: &Header, target: Target, nonces: RangeInclusive<u32>) -> Option<u32> {
    let bytes = header.to_bytes();
    let (message, _) = bytes.split_first_chunk()?;
    // A hash is compared as a little-endian number, so its last four bytes are its top.
    let search = NonceSearch::new(message, (target.0 >> 224usize).to::<u32>());
    let (mut next, end) = (u64::from(*nonces.start()), u64::from(*nonces.end()) + 1);
    while next < end {
        let nonce = kernel.scan(&search, next as u32, end - next)?;
        if target.is_met_by(&Header { nonce, ..*header }.hash()) {
            return Some(nonce);
        }
        next = u64::from(nonce) + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha20Rng;
    use ruint::aliases::U256;

    use super::*;
    use crate::primitives::hash::{BlockHash, MerkleRoot};
    use crate::primitives::target::Bits;

    /// Bitcoin's first block.
    fn bitcoin_genesis() -> Header {
        Header {
            version: 1,
            previous: BlockHash::ZERO,
            merkle_root: "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b".parse().expect("a hash"),
            time: 1_231_006_505,
            bits: Bits(0x1d00_ffff),
            nonce: 0,
        }
    }

    fn random_header(rng: &mut ChaCha20Rng) -> Header {
        Header {
            version: rng.random(),
            previous: BlockHash::from_bytes(rng.random()),
            merkle_root: MerkleRoot::from_bytes(rng.random()),
            time: rng.random(),
            bits: Bits(rng.random()),
            nonce: rng.random(),
        }
    }

    #[test]
    fn bitcoins_first_nonce_is_found() {
        let header = bitcoin_genesis();
        let target = header.bits.target().expect("bits of genesis");
        let nonce = 2_083_236_893;
        assert_eq!(search(&header, target, nonce - 5000..=nonce + 5000), Some(nonce));
        assert_eq!(search(&header, target, nonce + 1..=nonce + 5000), None);
    }

    #[test]
    fn agrees_with_hashing_each_header() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for round in 0..200 {
            let header = random_header(&mut rng);
            // From nearly every hash to one in some 64.
            let target = Target(U256::MAX >> (round % 7));
            let start = rng.random_range(0..u32::MAX - 500);
            let expected =
                (start..=start + 500).find(|nonce| target.is_met_by(&Header { nonce: *nonce, ..header }.hash()));
            assert_eq!(search(&header, target, start..=start + 500), expected, "round {round}");
        }
    }

    #[test]
    fn equal_to_the_target_is_enough_and_the_last_nonce_is_tried() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        for _ in 0..50 {
            let header = Header { nonce: u32::MAX, ..random_header(&mut rng) };
            let hash = U256::from_le_bytes(header.hash().to_bytes());
            assert_eq!(search(&header, Target(hash), u32::MAX..=u32::MAX), Some(u32::MAX));
            assert_eq!(search(&header, Target(hash - U256::ONE), u32::MAX..=u32::MAX), None);
        }
    }
}
