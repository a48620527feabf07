//! The nonce search.
//!
//! A header is 80 bytes: one block of SHA-256 and a quarter of the next. The first block has no nonce in it, so its
//! state is computed once; a nonce then costs the header's second block and the one block of the outer hash.

use std::ops::RangeInclusive;

use sha2::block_api::compress256;

use crate::primitives::hash::Hash256;
use crate::primitives::header::Header;
use crate::primitives::target::Target;

/// Initial state of SHA-256 (FIPS 180-4, section 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The first of `nonces` with which `header` meets `target`; the header's own nonce is not looked at.
///
/// Returns only when it has found one or tried them all. A caller who wants to stop early gives few nonces at a time:
/// a call costs one hash more than there are nonces.
pub fn search(header: &Header, target: Target, nonces: RangeInclusive<u32>) -> Option<u32> {
    let bytes = header.to_bytes();
    let (first, rest) = bytes.split_first_chunk::<64>()?;
    let mut midstate = INITIAL;
    compress256(&mut midstate, &[*first]);
    // The rest of the header but the nonce, then SHA-256's padding: a one bit, zeros, the length in bits.
    let mut second = [0; 64];
    second[..12].copy_from_slice(&rest[..12]);
    second[16] = 0x80;
    second[56..].copy_from_slice(&(8 * Header::LEN as u64).to_be_bytes());
    // The outer hash's one block: 32 bytes of digest, then padding.
    let mut outer = [0; 64];
    outer[32] = 0x80;
    outer[56..].copy_from_slice(&(8 * 32u64).to_be_bytes());
    // A hash is compared as a little-endian number, so the digest's last word, bytes swapped, is its top. It alone
    // decides nearly always.
    let top_limit = (target.0 >> 224usize).to::<u32>();
    for nonce in nonces {
        second[12..16].copy_from_slice(&nonce.to_le_bytes());
        let mut state = midstate;
        compress256(&mut state, &[second]);
        write_words(&mut outer, &state);
        let mut state = INITIAL;
        compress256(&mut state, &[outer]);
        if state[7].swap_bytes() <= top_limit {
            let mut hash = [0; 32];
            write_words(&mut hash, &state);
            if target.is_met_by(&Hash256(hash)) {
                return Some(nonce);
            }
        }
    }
    None
}

/// Writes SHA-256's words to the start of `bytes`, big-endian as it has them.
fn write_words(bytes: &mut [u8], words: &[u32; 8]) {
    for (chunk, word) in bytes.chunks_exact_mut(4).zip(words) {
        chunk.copy_from_slice(&word.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha20Rng;
    use ruint::aliases::U256;

    use super::*;
    use crate::primitives::target::Bits;

    /// Bitcoin's first block.
    fn bitcoin_genesis() -> Header {
        Header {
            version: 1,
            previous: Hash256::ZERO,
            merkle_root: "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b".parse().expect("a hash"),
            time: 1_231_006_505,
            bits: Bits(0x1d00_ffff),
            nonce: 0,
        }
    }

    fn random_header(rng: &mut ChaCha20Rng) -> Header {
        Header {
            version: rng.random(),
            previous: Hash256(rng.random()),
            merkle_root: Hash256(rng.random()),
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
            let hash = U256::from_le_bytes(header.hash().0);
            assert_eq!(search(&header, Target(hash), u32::MAX..=u32::MAX), Some(u32::MAX));
            assert_eq!(search(&header, Target(hash - U256::ONE), u32::MAX..=u32::MAX), None);
        }
    }
}
