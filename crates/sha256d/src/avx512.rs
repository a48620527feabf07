//! Sixteen lanes: AVX-512, whose rotation and three-way logic make a round 17 instructions.

use std::arch::x86_64::*;

use super::lanes::lanes;
use super::{END, INITIAL, K, NonceSearch, PADDING_OF_64};

/// Messages hashed at once.
pub const LANES: usize = 16;

type V = __m512i;

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn splat(word: u32) -> V {
    _mm512_set1_epi32(word.cast_signed())
}

/// `start` in the first lane, one more in each after it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn counting(start: u32) -> V {
    add(splat(start), _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn add(x: V, y: V) -> V {
    _mm512_add_epi32(x, y)
}

// The constant of a ternary operation is its truth table: bit 4x + 2y + z is the result for bits x, y and z.

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn xor3(x: V, y: V, z: V) -> V {
    _mm512_ternarylogic_epi32::<0b1001_0110>(x, y, z)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn choose(x: V, y: V, z: V) -> V {
    _mm512_ternarylogic_epi32::<0b1100_1010>(x, y, z)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn majority(x: V, y: V, z: V) -> V {
    _mm512_ternarylogic_epi32::<0b1110_1000>(x, y, z)
}

/// Rotates to the right by `R`; `L` is 32 less that, for those who have only shifts.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn rotr<const R: i32, const L: i32>(x: V) -> V {
    _mm512_ror_epi32::<R>(x)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn shr<const R: u32>(x: V) -> V {
    _mm512_srli_epi32::<R>(x)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn swap_bytes(x: V) -> V {
    let order = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
    _mm512_shuffle_epi8(x, _mm512_broadcast_i32x4(order))
}

/// A bit for each lane where `x` is at most `limit`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn at_most(x: V, limit: V) -> u32 {
    u32::from(_mm512_cmple_epu32_mask(x, limit))
}

/// Within each 128 bits: four words of four vectors, rows become columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn transpose([a, b, c, d]: [V; 4]) -> [V; 4] {
    let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab_low, cd_low),
        _mm512_unpackhi_epi64(ab_low, cd_low),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// Four times sixteen bytes, the first in the lowest bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn gather(a: &[u8; 16], b: &[u8; 16], c: &[u8; 16], d: &[u8; 16]) -> V {
    // SAFETY: each reads 16 bytes, all of them the array's; no alignment is asked for.
    let [a, b, c, d] = [a, b, c, d].map(|bytes| unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) });
    let x = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(a), b);
    _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(x, c), d)
}

/// The words of a block in each lane: word `i` of all of them in the vector `i`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn load_blocks(blocks: &[[u8; 64]; LANES]) -> [V; 16] {
    let mut words = [splat(0); 16];
    unroll!(Q in [0 1 2 3] {
        let mut rows = [splat(0); 4];
        unroll!(I in [0 1 2 3] {
            let quarter = |message: usize| &blocks[message].as_chunks::<16>().0[Q];
            rows[I] = swap_bytes(gather(quarter(I), quarter(I + 4), quarter(I + 8), quarter(I + 12)));
        });
        let columns = transpose(rows);
        unroll!(I in [0 1 2 3] { words[4 * Q + I] = columns[I]; });
    });
    words
}

/// The way back: the state in lane `i` is digest `i`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn store_digests(state: [V; 8], digests: &mut [[u8; 32]; LANES]) {
    let (halves, _) = state.as_chunks::<4>();
    unroll!(HALF in [0 1] {
        let rows = transpose(halves[HALF]);
        unroll!(I in [0 1 2 3] {
            let row = swap_bytes(rows[I]);
            let quarters = [
                _mm512_extracti32x4_epi32::<0>(row),
                _mm512_extracti32x4_epi32::<1>(row),
                _mm512_extracti32x4_epi32::<2>(row),
                _mm512_extracti32x4_epi32::<3>(row),
            ];
            for (j, words) in quarters.into_iter().enumerate() {
                let to = &mut digests[4 * j + I].as_chunks_mut::<16>().0[HALF];
                // SAFETY: writes 16 bytes, all of them the array's, borrowed for that; no alignment is asked for.
                unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), words) };
            }
        });
    });
}

lanes!("avx512f,avx512bw");
