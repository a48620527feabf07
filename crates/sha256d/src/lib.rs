//! SHA-256 of many messages at once, with whatever instructions the processor has for it.
//!
//! Besides `cairn-ed25519`, this is the only crate of the workspace with unsafe code: it calls functions compiled for
//! instruction sets that it has first seen to be there, and these load and store vectors. What is hashed where time does
//! not matter goes through the `sha2` crate, and every kernel is held against that.

#![allow(unsafe_code)]
// Elsewhere the `sha2` crate does it all, and what the kernels share lies idle.
#![cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
/// Repeats a block of code with a constant counting through the numbers listed. Nothing is left to the optimiser's mood:
/// each round stands in the code by itself, its constants known.
macro_rules! unroll {
    ($i:ident in [$($n:literal)*] $body:block) => { $({ const $i: usize = $n; $body })* };
}

#[cfg(target_arch = "aarch64")]
mod armv8;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod lanes;
#[cfg(target_arch = "x86_64")]
mod shani;

/// Initial state of SHA-256 (FIPS 180-4, section 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// Constants of the rounds (FIPS 180-4, section 4.2.2).
#[rustfmt::skip]
const K: [u32; 64] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
];

/// The word that ends a message: a one bit, then zeros.
const END: u32 = 0x8000_0000;

/// The whole schedule of the block of padding behind a message of 64 bytes, the rounds' constants added.
const PADDING_OF_64: [u32; 64] = {
    let mut w = [0u32; 64];
    w[0] = END;
    w[15] = 8 * 64;
    let mut t = 16;
    while t < 64 {
        w[t] =
            small_sigma1(w[t - 2]).wrapping_add(w[t - 7]).wrapping_add(small_sigma0(w[t - 15])).wrapping_add(w[t - 16]);
        t += 1;
    }
    let mut t = 0;
    while t < 64 {
        w[t] = w[t].wrapping_add(K[t]);
        t += 1;
    }
    w
};

const fn small_sigma0(x: u32) -> u32 {
    x.rotate_right(7) ^ x.rotate_right(18) ^ x >> 3
}

const fn small_sigma1(x: u32) -> u32 {
    x.rotate_right(17) ^ x.rotate_right(19) ^ x >> 10
}

/// One round (FIPS 180-4, section 6.2.2); `wk` is the schedule's word plus the round's constant.
fn round([a, b, c, d, e, f, g, h]: [u32; 8], wk: u32) -> [u32; 8] {
    let sum1 = e.rotate_right(6) ^ e.rotate_right(11) ^ e.rotate_right(25);
    let t = h.wrapping_add(sum1).wrapping_add(g ^ (e & (f ^ g))).wrapping_add(wk);
    let sum0 = a.rotate_right(2) ^ a.rotate_right(13) ^ a.rotate_right(22);
    let majority = (a & b) | (c & (a | b));
    [t.wrapping_add(sum0).wrapping_add(majority), a, b, c, d.wrapping_add(t), e, f, g]
}

/// What follows the first 64 of a message's 80 bytes: the other 16 and padding.
fn last_block_of_80(rest: &[u8]) -> [u8; 64] {
    let mut block = [0; 64];
    block[..16].copy_from_slice(rest);
    block[16] = 0x80;
    block[56..].copy_from_slice(&(8 * 80u64).to_be_bytes());
    block
}

/// A way to compute SHA-256 that this processor has the instructions for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kernel(Kind);

/// Only those that [`Kernel::available`] saw the instructions for ever get into a [`Kernel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    ShaNi,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "aarch64")]
    Armv8,
    Portable,
}

impl Kernel {
    /// All that can run here, the fastest first. The order is that of measurements in docs/performance.md.
    pub fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let special = [
            (Kind::Avx512, is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")),
            (
                Kind::ShaNi,
                is_x86_feature_detected!("sha")
                    && is_x86_feature_detected!("sse4.1")
                    && is_x86_feature_detected!("ssse3"),
            ),
            (Kind::Avx2, is_x86_feature_detected!("avx2")),
        ];
        #[cfg(target_arch = "aarch64")]
        let special = [(Kind::Armv8, std::arch::is_aarch64_feature_detected!("sha2"))];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let special = [];
        special.into_iter().chain([(Kind::Portable, true)]).filter(|(_, there)| *there).map(|(kind, _)| Self(kind))
    }

    /// The fastest that can run here.
    pub fn best() -> Self {
        Self::available().next().unwrap_or(Self(Kind::Portable))
    }

    /// What it is called in tables.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Kind::ShaNi => "sha-ni",
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Kind::Armv8 => "armv8-sha2",
            Kind::Portable => "portable",
        }
    }

    /// The first of `count` nonces from `first` on, past 2^32 from 0 again, whose hash may pass: the number that the
    /// hash is has a top word of at most the search's limit.
    pub fn scan(self, search: &NonceSearch, first: u32, count: u64) -> Option<u32> {
        match self.0 {
            // SAFETY: a kernel of this kind exists only where the processor was seen to have AVX-512F.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => unsafe { avx512::scan(search, first, count) },
            // SAFETY: likewise with the SHA extensions, SSE4.1 and SSSE3.
            #[cfg(target_arch = "x86_64")]
            Kind::ShaNi => unsafe { shani::scan::<4>(search, first, count) },
            // SAFETY: likewise with AVX2.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => unsafe { avx2::scan(search, first, count) },
            // SAFETY: likewise with the SHA extensions of ARMv8.
            #[cfg(target_arch = "aarch64")]
            Kind::Armv8 => unsafe { armv8::scan::<4>(search, first, count) },
            Kind::Portable => search.scan(first, count),
        }
    }

    /// Double SHA-256 of each message of 64 bytes, to the digest at the same place.
    ///
    /// # Panics
    /// If there are not as many digests as messages.
    pub fn double64(self, messages: &[[u8; 64]], digests: &mut [[u8; 32]]) {
        let all = Batches::new(messages, digests);
        let rest = match self.0 {
            // SAFETY, of all these: as in `scan`.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => all
                .full(|some, out| unsafe { avx512::double64::<2, { 2 * avx512::LANES }>(some, out) })
                .padded(|some, out| unsafe { avx512::double64::<1, { avx512::LANES }>(some, out) }),
            #[cfg(target_arch = "x86_64")]
            Kind::ShaNi => all.full(|some, out| unsafe { shani::double64(some, out) }),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => all.padded(|some, out| unsafe { avx2::double64::<1, { avx2::LANES }>(some, out) }),
            #[cfg(target_arch = "aarch64")]
            Kind::Armv8 => all.full(|some, out| unsafe { armv8::double64(some, out) }),
            Kind::Portable => all,
        };
        rest.full(|[one], [out]| *out = double(one));
    }

    /// Double SHA-256 of each message of 80 bytes, to the digest at the same place.
    ///
    /// # Panics
    /// If there are not as many digests as messages.
    pub fn double80(self, messages: &[[u8; 80]], digests: &mut [[u8; 32]]) {
        let all = Batches::new(messages, digests);
        let rest = match self.0 {
            // SAFETY, of all these: as in `scan`.
            #[cfg(target_arch = "x86_64")]
            Kind::Avx512 => all.padded(|some, out| unsafe { avx512::double80(some, out) }),
            #[cfg(target_arch = "x86_64")]
            Kind::ShaNi => all.full(|some, out| unsafe { shani::double80(some, out) }),
            #[cfg(target_arch = "x86_64")]
            Kind::Avx2 => all.padded(|some, out| unsafe { avx2::double80(some, out) }),
            #[cfg(target_arch = "aarch64")]
            Kind::Armv8 => all.full(|some, out| unsafe { armv8::double80(some, out) }),
            Kind::Portable => all,
        };
        rest.full(|[one], [out]| *out = double(one));
    }
}

/// Double SHA-256 by the `sha2` crate.
fn double(message: &[u8]) -> [u8; 32] {
    Sha256::digest(Sha256::digest(message)).into()
}

/// Messages of `L` bytes that are still to be hashed, and where their digests go.
struct Batches<'a, const L: usize> {
    messages: &'a [[u8; L]],
    digests: &'a mut [[u8; 32]],
}

impl<'a, const L: usize> Batches<'a, L> {
    fn new(messages: &'a [[u8; L]], digests: &'a mut [[u8; 32]]) -> Self {
        assert_eq!(messages.len(), digests.len(), "as many digests as messages");
        Self { messages, digests }
    }

    /// Hashes `N` at a time, and leaves fewer than that.
    fn full<const N: usize>(self, hash: impl Fn(&[[u8; L]; N], &mut [[u8; 32]; N])) -> Self {
        let (messages, rest) = self.messages.as_chunks();
        let (digests, digests_rest) = self.digests.as_chunks_mut();
        for (some, out) in messages.iter().zip(digests) {
            hash(some, out);
        }
        Self { messages: rest, digests: digests_rest }
    }

    /// Hashes `N` at a time, and then the rest with idle lanes beside them, unless there are so few that they are
    /// faster one by one.
    #[cfg(target_arch = "x86_64")]
    fn padded<const N: usize>(self, hash: impl Fn(&[[u8; L]; N], &mut [[u8; 32]; N])) -> Self {
        let Self { messages, digests } = self.full(&hash);
        if 3 * messages.len() < N {
            return Self { messages, digests };
        }
        let (mut some, mut out) = ([[0; L]; N], [[0; 32]; N]);
        some[..messages.len()].copy_from_slice(messages);
        hash(&some, &mut out);
        digests.copy_from_slice(&out[..messages.len()]);
        Self { messages: &[], digests: &mut [] }
    }
}

/// A search for the last four of 80 bytes, with all done that is the same for every nonce.
#[derive(Debug, Clone)]
pub struct NonceSearch {
    /// Bytes 64 to 75, what stands before the nonce in the second block.
    tail: [u8; 12],
    /// The state after the first 64 bytes.
    midstate: [u32; 8],
    /// That after the second block's first four rounds as if the nonce, its word 3, were zero. The nonce is then only to
    /// be added, to words 0 and 4.
    after_four: [u32; 8],
    /// Words 16 to 19 of the second block's schedule. In word 18, sigma 0 of the nonce is to be added; in word 19, the
    /// nonce.
    schedule: [u32; 4],
    /// What the hash's last word, bytes swapped, must not exceed.
    limit: u32,
}

impl NonceSearch {
    /// A search among the messages that begin with these 76 bytes, for hashes which as little-endian numbers have a top
    /// word of at most `limit`.
    pub fn new(message: &[u8; 76], limit: u32) -> Self {
        let (first, tail) = message.split_at(64);
        let tail: [u8; 12] = tail.try_into().expect("76 less 64");
        let mut midstate = INITIAL;
        compress256(&mut midstate, &[first.try_into().expect("64 bytes")]);
        let (words, _) = tail.as_chunks::<4>();
        let [w0, w1, w2] = [words[0], words[1], words[2]].map(u32::from_be_bytes);
        let rounds = [w0, w1, w2, 0].into_iter().zip(K);
        let after_four = rounds.fold(midstate, |state, (w, k)| round(state, w.wrapping_add(k)));
        let length = 8 * 80;
        let w16 = w0.wrapping_add(small_sigma0(w1));
        let w17 = w1.wrapping_add(small_sigma0(w2)).wrapping_add(small_sigma1(length));
        let w18 = w2.wrapping_add(small_sigma1(w16));
        let w19 = small_sigma0(END).wrapping_add(small_sigma1(w17));
        Self { tail, midstate, after_four, schedule: [w16, w17, w18, w19], limit }
    }

    /// [`Kernel::scan`] with the `sha2` crate.
    fn scan(&self, first: u32, count: u64) -> Option<u32> {
        let mut second = [0; 64];
        second[..12].copy_from_slice(&self.tail);
        second[16] = 0x80;
        second[56..].copy_from_slice(&(8 * 80u64).to_be_bytes());
        let mut outer = [0; 64];
        outer[32] = 0x80;
        outer[56..].copy_from_slice(&(8 * 32u64).to_be_bytes());
        (0..count).map(|done| first.wrapping_add(done as u32)).find(|nonce| {
            second[12..16].copy_from_slice(&nonce.to_le_bytes());
            let mut state = self.midstate;
            compress256(&mut state, &[second]);
            for (bytes, word) in outer.chunks_exact_mut(4).zip(state) {
                bytes.copy_from_slice(&word.to_be_bytes());
            }
            let mut state = INITIAL;
            compress256(&mut state, &[outer]);
            state[7].swap_bytes() <= self.limit
        })
    }
}
