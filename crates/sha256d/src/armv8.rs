//! The SHA extensions of ARMv8: an instruction does four rounds of half of one message's state.
//!
//! The two halves of a message wait for each other, so several messages take turns.

#![expect(
    clippy::needless_range_loop,
    reason = "words lie group by group, so message l's are at the same place in each"
)]

use std::arch::aarch64::*;

use super::{END, INITIAL, K, NonceSearch, PADDING_OF_64, small_sigma0};

/// Messages hashed at once by `double64` and `double80`.
pub const LANES: usize = 2;

type V = uint32x4_t;

/// States of `L` messages, as the instructions want them: words a, b, c, d and e, f, g, h.
type States<const L: usize> = [[V; 2]; L];

/// The last sixteen words of `L` messages' schedules, four to a vector.
type Words<const L: usize> = [[V; L]; 4];

/// Four words, the first in the lowest lane.
#[inline]
#[target_feature(enable = "sha2")]
fn four(words: [u32; 4]) -> V {
    // SAFETY: reads 16 bytes, all of them the array's, which is aligned as its words are.
    unsafe { vld1q_u32(words.as_ptr()) }
}

#[inline]
#[target_feature(enable = "sha2")]
fn state(words: &[u32; 8]) -> [V; 2] {
    let [a, b, c, d, e, f, g, h] = *words;
    [four([a, b, c, d]), four([e, f, g, h])]
}

/// The constants of rounds `4 * group` to `4 * group + 3`.
#[inline]
#[target_feature(enable = "sha2")]
fn constants(group: usize) -> V {
    let (groups, _) = K.as_chunks::<4>();
    four(groups[group])
}

/// Four rounds of each message, with the schedule's words plus the rounds' constants.
#[inline]
#[target_feature(enable = "sha2")]
fn four_rounds<const L: usize>(states: &mut States<L>, words: [V; L], k: V) {
    for l in 0..L {
        let [abcd, efgh] = states[l];
        let wk = vaddq_u32(words[l], k);
        states[l] = [vsha256hq_u32(abcd, efgh, wk), vsha256h2q_u32(efgh, abcd, wk)];
    }
}

/// Puts the schedule's words `4 * group` and the next three where the ones sixteen before them were.
#[inline]
#[target_feature(enable = "sha2")]
fn extend<const L: usize>(w: &mut Words<L>, group: usize) {
    for l in 0..L {
        let first_half = vsha256su0q_u32(w[group % 4][l], w[(group + 1) % 4][l]);
        w[group % 4][l] = vsha256su1q_u32(first_half, w[(group + 2) % 4][l], w[(group + 3) % 4][l]);
    }
}

/// Digests as the first eight words of the outer hash's schedule; padding as the others.
#[inline]
#[target_feature(enable = "sha2")]
fn outer_words<const L: usize>(states: &States<L>) -> Words<L> {
    let zero = four([0; 4]);
    let mut w = [[zero; L], [zero; L], [four([END, 0, 0, 0]); L], [four([0, 0, 0, 8 * 32]); L]];
    for l in 0..L {
        [w[0][l], w[1][l]] = states[l];
    }
    w
}

#[inline]
#[target_feature(enable = "sha2")]
fn add_states<const L: usize>(sum: &mut States<L>, to: &States<L>) {
    for l in 0..L {
        for half in 0..2 {
            sum[l][half] = vaddq_u32(sum[l][half], to[l][half]);
        }
    }
}

/// One block of each message.
#[inline]
#[target_feature(enable = "sha2")]
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
#[target_feature(enable = "sha2")]
fn load_blocks<const L: usize>(blocks: &[[u8; 64]; L]) -> Words<L> {
    let mut w = [[four([0; 4]); L]; 4];
    for (l, block) in blocks.iter().enumerate() {
        let (quarters, _) = block.as_chunks::<16>();
        for (words, quarter) in w.iter_mut().zip(quarters) {
            // SAFETY: reads 16 bytes, all of them the array's; no alignment is asked for.
            let bytes = unsafe { vld1q_u8(quarter.as_ptr()) };
            words[l] = vreinterpretq_u32_u8(vrev32q_u8(bytes));
        }
    }
    w
}

/// The outer hash of digests in `states`, to bytes.
#[inline]
#[target_feature(enable = "sha2")]
fn finish<const L: usize>(inner: &States<L>, digests: &mut [[u8; 32]; L]) {
    let mut states = [state(&INITIAL); L];
    compress(&mut states, outer_words(inner));
    for (state, digest) in states.iter().zip(digests) {
        let (halves, _) = digest.as_chunks_mut::<16>();
        for (words, half) in state.iter().zip(halves) {
            let bytes = vrev32q_u8(vreinterpretq_u8_u32(*words));
            // SAFETY: writes 16 bytes, all of them the array's, which is borrowed for that; no alignment is asked for.
            unsafe { vst1q_u8(half.as_mut_ptr(), bytes) };
        }
    }
}

/// Double SHA-256 of messages of 64 bytes.
#[target_feature(enable = "sha2")]
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
#[target_feature(enable = "sha2")]
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
#[target_feature(enable = "sha2")]
pub fn scan<const L: usize>(search: &NonceSearch, first: u32, count: u64) -> Option<u32> {
    let zero = four([0; 4]);
    let end = four([END, 0, 0, 0]);
    let length = four([0, 0, 0, 8 * 80]);
    let midstate = [state(&search.midstate); L];
    let after_four = state(&search.after_four);
    let w16 = four(search.schedule);
    // Words 28 to 31 depend on the nonce in their second half only.
    let first_half_of_28 = vsha256su0q_u32(length, w16);
    let limit = search.limit;
    let mut done = 0;
    while done < count {
        let start = first.wrapping_add(done as u32);
        // The inner hash's second block, from round 4 on.
        let mut states = [after_four; L];
        let mut w = [[zero; L], [end; L], [zero; L], [length; L]];
        for l in 0..L {
            let nonce = start.wrapping_add(l as u32).swap_bytes();
            let to_add = four([nonce, 0, 0, 0]);
            states[l] = [vaddq_u32(after_four[0], to_add), vaddq_u32(after_four[1], to_add)];
            w[0][l] = vaddq_u32(w16, four([0, 0, small_sigma0(nonce), nonce]));
        }
        unroll!(GROUP in [1 2 3 4] { four_rounds(&mut states, w[GROUP % 4], constants(GROUP)); });
        // The first half of the next four words is `end`, for words 24 to 27 nothing.
        for l in 0..L {
            w[1][l] = vsha256su1q_u32(end, length, w[0][l]);
        }
        four_rounds(&mut states, w[1], constants(5));
        for l in 0..L {
            w[2][l] = vsha256su1q_u32(zero, w[0][l], w[1][l]);
        }
        four_rounds(&mut states, w[2], constants(6));
        for l in 0..L {
            w[3][l] = vsha256su1q_u32(first_half_of_28, w[1][l], w[2][l]);
        }
        four_rounds(&mut states, w[3], constants(7));
        unroll!(GROUP in [8 9 10 11 12 13 14 15] {
            extend(&mut w, GROUP);
            four_rounds(&mut states, w[GROUP % 4], constants(GROUP));
        });
        add_states(&mut states, &midstate);
        // The outer hash. Only its last word is wanted, so the other half of the last rounds is left out.
        let mut w = outer_words(&states);
        let mut states = [state(&INITIAL); L];
        unroll!(GROUP in [0 1 2 3] { four_rounds(&mut states, w[GROUP], constants(GROUP)); });
        unroll!(GROUP in [4 5 6 7 8 9 10 11 12 13 14] {
            extend(&mut w, GROUP);
            four_rounds(&mut states, w[GROUP % 4], constants(GROUP));
        });
        extend(&mut w, 15);
        for l in 0..L {
            let [abcd, efgh] = states[l];
            let efgh = vsha256h2q_u32(efgh, abcd, vaddq_u32(w[3][l], constants(15)));
            let last = vgetq_lane_u32::<3>(efgh).wrapping_add(INITIAL[7]);
            if last.swap_bytes() <= limit && done + (l as u64) < count {
                return Some(start.wrapping_add(l as u32));
            }
        }
        done += L as u64;
    }
    None
}
