//! The SHA extensions of x86: an instruction does two rounds of one message.
//!
//! It has a latency of four cycles and each waits for the one before, so several messages take turns.

#![expect(
    clippy::needless_range_loop,
    reason = "words lie group by group, so message l's are at the same place in each"
)]

use std::arch::x86_64::*;

use super::{END, INITIAL, K, NonceSearch, PADDING_OF_64, small_sigma0};

/// Messages hashed at once by `double64` and `double80`.
pub const LANES: usize = 2;

type V = __m128i;

/// States of `L` messages, as the instructions want them: words f, e, b, a and h, g, d, c, each from the lowest lane up.
type States<const L: usize> = [[V; 2]; L];

/// The last sixteen words of `L` messages' schedules, four to a vector.
type Words<const L: usize> = [[V; L]; 4];

/// Four words, the first in the lowest lane.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn four(words: [u32; 4]) -> V {
    let [a, b, c, d] = words.map(u32::cast_signed);
    _mm_setr_epi32(a, b, c, d)
}

#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn state(words: &[u32; 8]) -> [V; 2] {
    let [a, b, c, d, e, f, g, h] = *words;
    [four([f, e, b, a]), four([h, g, d, c])]
}

/// The constants of rounds `4 * group` to `4 * group + 3`.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn constants(group: usize) -> V {
    let (groups, _) = K.as_chunks::<4>();
    four(groups[group])
}

/// Two rounds of each message, with the two lower words of `wk`: the schedule's words plus the rounds' constants.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn two_rounds<const L: usize>(states: &mut States<L>, wk: [V; L]) {
    for l in 0..L {
        let [abef, cdgh] = states[l];
        states[l] = [_mm_sha256rnds2_epu32(cdgh, abef, wk[l]), abef];
    }
}

/// Four rounds of each message.
#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn four_rounds<const L: usize>(states: &mut States<L>, words: [V; L], k: V) {
    let mut wk = words;
    for wk in &mut wk {
        *wk = _mm_add_epi32(*wk, k);
    }
    two_rounds(states, wk);
    for wk in &mut wk {
        *wk = _mm_shuffle_epi32::<0b00_00_11_10>(*wk);
    }
    two_rounds(states, wk);
}

/// The second half of computing four words of the schedule: from the first half's result, the eight words before.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn extend_rest(first_half: V, before: V, last: V) -> V {
    _mm_sha256msg2_epu32(_mm_add_epi32(first_half, _mm_alignr_epi8::<4>(last, before)), last)
}

/// Puts the schedule's words `4 * group` and the next three where the ones sixteen before them were.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn extend<const L: usize>(w: &mut Words<L>, group: usize) {
    for l in 0..L {
        let first_half = _mm_sha256msg1_epu32(w[group % 4][l], w[(group + 1) % 4][l]);
        w[group % 4][l] = extend_rest(first_half, w[(group + 2) % 4][l], w[(group + 3) % 4][l]);
    }
}

/// Digests as the first eight words of the outer hash's schedule; padding as the others.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn outer_words<const L: usize>(states: &States<L>) -> Words<L> {
    let zero = four([0; 4]);
    let mut w = [[zero; L], [zero; L], [four([END, 0, 0, 0]); L], [four([0, 0, 0, 8 * 32]); L]];
    for l in 0..L {
        [w[0][l], w[1][l]] = in_order(states[l]);
    }
    w
}

/// A state's words in their order, a to d and e to h.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn in_order([abef, cdgh]: [V; 2]) -> [V; 2] {
    let abef = _mm_shuffle_epi32::<0b00_01_10_11>(abef);
    let ghcd = _mm_shuffle_epi32::<0b10_11_00_01>(cdgh);
    [_mm_blend_epi16::<0b1111_0000>(abef, ghcd), _mm_alignr_epi8::<8>(ghcd, abef)]
}

#[inline]
#[target_feature(enable = "sha,sse4.1")]
fn add_states<const L: usize>(sum: &mut States<L>, to: &States<L>) {
    for l in 0..L {
        for half in 0..2 {
            sum[l][half] = _mm_add_epi32(sum[l][half], to[l][half]);
        }
    }
}

/// One block of each message.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn compress<const L: usize>(states: &mut States<L>, mut w: Words<L>) {
    let before = *states;
    unroll!(GROUP in [0 1 2 3] { four_rounds(states, w[GROUP], constants(GROUP)); });
    unroll!(GROUP in [4 5 6 7 8 9 10 11 12 13 14 15] {
        extend(&mut w, GROUP);
        four_rounds(states, w[GROUP % 4], constants(GROUP));
    });
    add_states(states, &before);
}

/// Words of a block, from its bytes.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn load_blocks<const L: usize>(blocks: &[[u8; 64]; L]) -> Words<L> {
    let mut w = [[four([0; 4]); L]; 4];
    for (l, block) in blocks.iter().enumerate() {
        let (quarters, _) = block.as_chunks::<16>();
        for (words, quarter) in w.iter_mut().zip(quarters) {
            // SAFETY: reads 16 bytes, all of them the array's; no alignment is asked for.
            words[l] = swap_bytes(unsafe { _mm_loadu_si128(quarter.as_ptr().cast()) });
        }
    }
    w
}

#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn swap_bytes(x: V) -> V {
    _mm_shuffle_epi8(x, _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12))
}

/// The outer hash of digests in `states`, to bytes.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn finish<const L: usize>(inner: &States<L>, digests: &mut [[u8; 32]; L]) {
    let mut states = [state(&INITIAL); L];
    compress(&mut states, outer_words(inner));
    for (state, digest) in states.iter().zip(digests) {
        let (halves, _) = digest.as_chunks_mut::<16>();
        for (words, half) in in_order(*state).into_iter().zip(halves) {
            // SAFETY: writes 16 bytes, all of them the array's, which is borrowed for that; no alignment is asked for.
            unsafe { _mm_storeu_si128(half.as_mut_ptr().cast(), swap_bytes(words)) };
        }
    }
}

/// Double SHA-256 of messages of 64 bytes.
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub fn double64(messages: &[[u8; 64]; LANES], digests: &mut [[u8; 32]; LANES]) {
    let mut states = [state(&INITIAL); LANES];
    compress(&mut states, load_blocks(messages));
    let before = states;
    let (padding, _) = PADDING_OF_64.as_chunks::<4>();
    for wk in padding {
        four_rounds(&mut states, [four(*wk); LANES], four([0; 4]));
    }
    add_states(&mut states, &before);
    finish(&states, digests);
}

/// Double SHA-256 of messages of 80 bytes.
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub fn double80(messages: &[[u8; 80]; LANES], digests: &mut [[u8; 32]; LANES]) {
    let mut states = [state(&INITIAL); LANES];
    let mut blocks = [[0; 64]; LANES];
    for (message, block) in messages.iter().zip(&mut blocks) {
        block.copy_from_slice(&message[..64]);
    }
    compress(&mut states, load_blocks(&blocks));
    for (message, block) in messages.iter().zip(&mut blocks) {
        *block = super::last_block_of_80(&message[64..]);
    }
    compress(&mut states, load_blocks(&blocks));
    finish(&states, digests);
}

/// The first of `count` nonces from `first` on whose hash may pass; `L` at a time.
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub fn scan<const L: usize>(search: &NonceSearch, first: u32, count: u64) -> Option<u32> {
    let zero = four([0; 4]);
    let end = four([END, 0, 0, 0]);
    let length = four([0, 0, 0, 8 * 80]);
    let midstate = [state(&search.midstate); L];
    let after_four = state(&search.after_four);
    let w16 = four(search.schedule);
    // Words 28 to 31 depend on the nonce in their second half only.
    let first_half_of_28 = _mm_sha256msg1_epu32(length, w16);
    let limit = search.limit;
    let mut done = 0;
    while done < count {
        let start = first.wrapping_add(done as u32);
        // The inner hash's second block, from round 4 on.
        let mut states = [after_four; L];
        let mut w = [[zero; L], [end; L], [zero; L], [length; L]];
        for l in 0..L {
            let nonce = start.wrapping_add(l as u32).swap_bytes();
            states[l][0] = _mm_add_epi32(states[l][0], four([0, nonce, 0, nonce]));
            w[0][l] = _mm_add_epi32(w16, four([0, 0, small_sigma0(nonce), nonce]));
        }
        unroll!(GROUP in [1 2 3 4] { four_rounds(&mut states, w[GROUP % 4], constants(GROUP)); });
        // The first half of the next four words is `end`, for words 24 to 27 nothing.
        for l in 0..L {
            w[1][l] = extend_rest(end, length, w[0][l]);
        }
        four_rounds(&mut states, w[1], constants(5));
        for l in 0..L {
            w[2][l] = extend_rest(zero, w[0][l], w[1][l]);
        }
        four_rounds(&mut states, w[2], constants(6));
        for l in 0..L {
            w[3][l] = extend_rest(first_half_of_28, w[1][l], w[2][l]);
        }
        four_rounds(&mut states, w[3], constants(7));
        unroll!(GROUP in [8 9 10 11 12 13 14 15] {
            extend(&mut w, GROUP);
            four_rounds(&mut states, w[GROUP % 4], constants(GROUP));
        });
        add_states(&mut states, &midstate);
        // The outer hash, as far as its last word needs: what is f after round 61 is h after round 63.
        let mut w = outer_words(&states);
        let mut states = [state(&INITIAL); L];
        unroll!(GROUP in [0 1 2 3] { four_rounds(&mut states, w[GROUP], constants(GROUP)); });
        unroll!(GROUP in [4 5 6 7 8 9 10 11 12 13 14] {
            extend(&mut w, GROUP);
            four_rounds(&mut states, w[GROUP % 4], constants(GROUP));
        });
        extend(&mut w, 15);
        let mut wk = w[3];
        for wk in &mut wk {
            *wk = _mm_add_epi32(*wk, constants(15));
        }
        two_rounds(&mut states, wk);
        for l in 0..L {
            let last = _mm_cvtsi128_si32(states[l][0]).cast_unsigned().wrapping_add(INITIAL[7]);
            if last.swap_bytes() <= limit && done + (l as u64) < count {
                return Some(start.wrapping_add(l as u32));
            }
        }
        done += L as u64;
    }
    None
}
