//! Eight lanes: AVX2, for processors with neither AVX-512 nor instructions for SHA-256.

use std::arch::x86_64::*;

use super::lanes::lanes;
use super::{END, INITIAL, K, NonceSearch, PADDING_OF_64};

/// Messages hashed at once.
pub const LANES: usize = 8;

type V = __m256i;

#[inline]
#[target_feature(enable = "avx2")]
fn splat(word: u32) -> V {
    _mm256_set1_epi32(word.cast_signed())
}

/// `start` in the first lane, one more in each after it.
#[inline]
#[target_feature(enable = "avx2")]
fn counting(start: u32) -> V {
    add(splat(start), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

#[inline]
#[target_feature(enable = "avx2")]
fn add(x: V, y: V) -> V {
    _mm256_add_epi32(x, y)
}

#[inline]
#[target_feature(enable = "avx2")]
fn xor3(x: V, y: V, z: V) -> V {
    _mm256_xor_si256(_mm256_xor_si256(x, y), z)
}

#[inline]
#[target_feature(enable = "avx2")]
fn choose(x: V, y: V, z: V) -> V {
    _mm256_xor_si256(z, _mm256_and_si256(x, _mm256_xor_si256(y, z)))
}

#[inline]
#[target_feature(enable = "avx2")]
fn majority(x: V, y: V, z: V) -> V {
    _mm256_or_si256(_mm256_and_si256(x, y), _mm256_and_si256(z, _mm256_or_si256(x, y)))
}

/// Rotates to the right by `R`; `L` is 32 less that.
#[inline]
#[target_feature(enable = "avx2")]
fn rotr<const R: i32, const L: i32>(x: V) -> V {
    _mm256_or_si256(_mm256_srli_epi32::<R>(x), _mm256_slli_epi32::<L>(x))
}

#[inline]
#[target_feature(enable = "avx2")]
fn shr<const R: i32>(x: V) -> V {
    _mm256_srli_epi32::<R>(x)
}

#[inline]
#[target_feature(enable = "avx2")]
fn swap_bytes(x: V) -> V {
    let order = _mm256_setr_epi8(
        3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12, 3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12,
    );
    _mm256_shuffle_epi8(x, order)
}

/// A bit for each lane where `x` is at most `limit`.
#[inline]
#[target_feature(enable = "avx2")]
fn at_most(x: V, limit: V) -> u32 {
    // There is no comparison of unsigned numbers, but a minimum.
    let passing = _mm256_cmpeq_epi32(_mm256_min_epu32(x, limit), x);
    _mm256_movemask_ps(_mm256_castsi256_ps(passing)).cast_unsigned()
}

/// Rows become columns.
#[inline]
#[target_feature(enable = "avx2")]
fn transpose(r: [V; 8]) -> [V; 8] {
    // Within each four rows and each 128 bits: words, then pairs of words.
    let mut t = r;
    unroll!(Q in [0 4] {
        let low = _mm256_unpacklo_epi32(r[Q], r[Q + 1]);
        let high = _mm256_unpackhi_epi32(r[Q], r[Q + 1]);
        let low2 = _mm256_unpacklo_epi32(r[Q + 2], r[Q + 3]);
        let high2 = _mm256_unpackhi_epi32(r[Q + 2], r[Q + 3]);
        t[Q] = _mm256_unpacklo_epi64(low, low2);
        t[Q + 1] = _mm256_unpackhi_epi64(low, low2);
        t[Q + 2] = _mm256_unpacklo_epi64(high, high2);
        t[Q + 3] = _mm256_unpackhi_epi64(high, high2);
    });
    // Then halves of vectors, four rows apart.
    let mut c = r;
    unroll!(Q in [0 1 2 3] {
        c[Q] = _mm256_permute2x128_si256::<0x20>(t[Q], t[Q + 4]);
        c[Q + 4] = _mm256_permute2x128_si256::<0x31>(t[Q], t[Q + 4]);
    });
    c
}

/// The words of a block in each lane: word `i` of all of them in the vector `i`.
#[inline]
#[target_feature(enable = "avx2")]
fn load_blocks(blocks: &[[u8; 64]; LANES]) -> [V; 16] {
    let mut words = [splat(0); 16];
    unroll!(HALF in [0 1] {
        let mut rows = [splat(0); 8];
        unroll!(I in [0 1 2 3 4 5 6 7] {
            let (halves, _) = blocks[I].as_chunks::<32>();
            // SAFETY: reads 32 bytes, all of them the array's; no alignment is asked for.
            rows[I] = swap_bytes(unsafe { _mm256_loadu_si256(halves[HALF].as_ptr().cast()) });
        });
        let columns = transpose(rows);
        unroll!(I in [0 1 2 3 4 5 6 7] { words[8 * HALF + I] = columns[I]; });
    });
    words
}

/// The way back: the state in lane `i` is digest `i`.
#[inline]
#[target_feature(enable = "avx2")]
fn store_digests(state: [V; 8], digests: &mut [[u8; 32]; LANES]) {
    let columns = transpose(state);
    unroll!(I in [0 1 2 3 4 5 6 7] {
        let digest = swap_bytes(columns[I]);
        // SAFETY: writes 32 bytes, all of them the array's, which is borrowed for that; no alignment is asked for.
        unsafe { _mm256_storeu_si256(digests[I].as_mut_ptr().cast(), digest) };
    });
}

lanes!("avx2");
