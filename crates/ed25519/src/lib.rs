//! Ed25519 signatures checked many at once, by the rules of ZIP-215, with AVX-512 IFMA or with AVX2 and FMA.
//!
//! A batch of signatures (R, s) by keys A on messages holds if, with random weights z and challenges k,
//! `[8]([sum of z s] B - sum of [z] R - sum of [z k] A)` is the neutral point. What it costs is 2 points a signature to
//! decompress and one sum of their multiples; both run on many points at a time.
//!
//! The lower layers come first: `field` and `curve` compute on one element and one point, `avx2` on four and `avx512` on
//! eight; `sum` leads either through a batch.

#![allow(unsafe_code)]
// Elsewhere there is no kernel, and what only a kernel needs lies idle.
#![cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod curve;
#[cfg(target_arch = "x86_64")]
mod field;
#[cfg(target_arch = "x86_64")]
mod sum;
#[cfg(all(test, target_arch = "x86_64"))]
mod tests;

use std::fmt;
use std::sync::OnceLock;

use curve25519_dalek::Scalar;
use curve25519_dalek::constants::ED25519_BASEPOINT_COMPRESSED;
use sha2::{Digest, Sha512};

/// Digits of a multiple, which is below 2^253.
const WINDOWS: usize = 32;
/// Digits of a weight, which is below 2^126.
const SHORT_WINDOWS: usize = 16;

/// A multiple in base 256 by digits from -128 to 127, the least first.
type Digits = [i8; WINDOWS];

/// A signature to check: `signature` by `key` on `message`.
#[derive(Debug, Clone, Copy)]
pub struct Signed<'a> {
    /// The signer's public key.
    pub key: [u8; 32],
    /// R, then s.
    pub signature: [u8; 64],
    /// What was signed.
    pub message: &'a [u8],
}

/// Checks batches with vectors. There is one only on a processor that has the instructions, and on which it gave the
/// right verdicts on known signatures.
#[derive(Clone, Copy)]
pub struct Kernel(Vectors);

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The instructions that a kernel uses.
#[derive(Debug, Clone, Copy)]
enum Vectors {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Kernel {
    /// The fastest kernel that works here.
    pub fn detect() -> Option<Self> {
        Self::all().first().copied()
    }

    /// The kernels that work here, the fastest first. The first call tests them, which takes some milliseconds.
    pub fn all() -> &'static [Self] {
        static WORKING: OnceLock<Vec<Kernel>> = OnceLock::new();
        WORKING.get_or_init(|| Self::supported().into_iter().filter(Self::knows_valid_from_invalid).collect())
    }

    #[cfg(target_arch = "x86_64")]
    fn supported() -> Vec<Self> {
        let avx512 = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512ifma");
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        [(avx512, Vectors::Avx512), (avx2, Vectors::Avx2)]
            .into_iter()
            .filter_map(|(is_supported, vectors)| is_supported.then_some(Self(vectors)))
            .collect()
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn supported() -> Vec<Self> {
        Vec::new()
    }

    /// Whether every signature of the batch is valid by the rules of ZIP-215. If one is not, the answer is wrong with
    /// a probability of 2^-126, provided that `weight` gives numbers that the signers could not know.
    ///
    /// Fewer than about 48 signatures cost more than one by one.
    pub fn all_hold(self, batch: &[Signed<'_>], weight: impl FnMut() -> u128) -> bool {
        Terms::new(batch, weight).is_some_and(|terms| self.sum_has_small_order(&terms))
    }

    /// Whether all points are on the curve, and eight times the sum of their multiples is the neutral point.
    #[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables))]
    fn sum_has_small_order(self, terms: &Terms) -> bool {
        match self.0 {
            // SAFETY: this kernel exists only where `supported` saw the processor to have AVX-512F and IFMA.
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx512 => unsafe { avx512::sum_has_small_order(terms) },
            // SAFETY: this one exists only where it was seen to have AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Vectors::Avx2 => unsafe { avx2::sum_has_small_order(terms) },
        }
    }

    /// The verdicts on the first three signatures of RFC 8032, section 7.1, and on each of these with a bit changed.
    fn knows_valid_from_invalid(&self) -> bool {
        let valid = RFC_8032.map(|(key, signature, message)| Signed { key, signature, message });
        let mut weights = 0u128;
        let mut holds = |batch: &[Signed<'_>]| {
            self.all_hold(batch, || {
                // The fraction of the golden ratio: any numbers of many bits would do.
                weights = weights.wrapping_add(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
                weights
            })
        };
        holds(&valid)
            && (0..valid.len()).all(|changed| {
                [5, 37].into_iter().all(|byte| {
                    let mut batch = valid;
                    batch[changed].signature[byte] ^= 1;
                    !holds(&batch)
                })
            })
    }
}

/// Points and how many times each is to be added.
struct Terms {
    encodings: Vec<[u8; 32]>,
    digits: Vec<Digits>,
    /// How many come first with multiples of any size. The others are weights, and have only [`SHORT_WINDOWS`] digits.
    long: usize,
}

impl Terms {
    /// The keys, the base point and the Rs. None if an s is not below the group's order.
    fn new(batch: &[Signed<'_>], mut weight: impl FnMut() -> u128) -> Option<Self> {
        let mut encodings = Vec::with_capacity(2 * batch.len() + 1);
        let mut digits = Vec::with_capacity(2 * batch.len() + 1);
        let mut weights = Vec::with_capacity(batch.len());
        let mut base = Scalar::ZERO;
        for Signed { key, signature, message } in batch {
            let (halves, _) = signature.as_chunks::<32>();
            let [r, s] = [halves[0], halves[1]];
            let s = Option::<Scalar>::from(Scalar::from_canonical_bytes(s))?;
            let hash = Sha512::new().chain_update(r).chain_update(key).chain_update(message).finalize();
            let challenge = Scalar::from_bytes_mod_order_wide(&hash.into());
            // Of 126 bits, so that the last of the digits has room for a carry.
            let weight = Scalar::from(weight() >> 2);
            base -= weight * s;
            encodings.push(*key);
            digits.push(to_digits(weight * challenge));
            weights.push((r, weight));
        }
        encodings.push(ED25519_BASEPOINT_COMPRESSED.to_bytes());
        digits.push(to_digits(base));
        let long = digits.len();
        for (r, weight) in weights {
            encodings.push(r);
            digits.push(to_digits(weight));
        }
        Some(Self { encodings, digits, long })
    }
}

fn to_digits(multiple: Scalar) -> Digits {
    let mut carry = 0;
    multiple.to_bytes().map(|byte| {
        let sum = i16::from(byte) + carry;
        carry = i16::from(sum >= 128);
        // From -128 to 127.
        (sum - 256 * carry) as i8
    })
}

/// Public key, signature and message of tests 1 to 3 in RFC 8032, section 7.1.
#[rustfmt::skip]
const RFC_8032: [([u8; 32], [u8; 64], &[u8]); 3] = [
    (
        [
            0xd7, 0x5a, 0x98, 0x01, 0x82, 0xb1, 0x0a, 0xb7, 0xd5, 0x4b, 0xfe, 0xd3, 0xc9, 0x64, 0x07, 0x3a, 0x0e, 0xe1, 0x72,
            0xf3, 0xda, 0xa6, 0x23, 0x25, 0xaf, 0x02, 0x1a, 0x68, 0xf7, 0x07, 0x51, 0x1a,
        ],
        [
            0xe5, 0x56, 0x43, 0x00, 0xc3, 0x60, 0xac, 0x72, 0x90, 0x86, 0xe2, 0xcc, 0x80, 0x6e, 0x82, 0x8a, 0x84, 0x87, 0x7f,
            0x1e, 0xb8, 0xe5, 0xd9, 0x74, 0xd8, 0x73, 0xe0, 0x65, 0x22, 0x49, 0x01, 0x55, 0x5f, 0xb8, 0x82, 0x15, 0x90, 0xa3,
            0x3b, 0xac, 0xc6, 0x1e, 0x39, 0x70, 0x1c, 0xf9, 0xb4, 0x6b, 0xd2, 0x5b, 0xf5, 0xf0, 0x59, 0x5b, 0xbe, 0x24, 0x65,
            0x51, 0x41, 0x43, 0x8e, 0x7a, 0x10, 0x0b,
        ],
        &[],
    ),
    (
        [
            0x3d, 0x40, 0x17, 0xc3, 0xe8, 0x43, 0x89, 0x5a, 0x92, 0xb7, 0x0a, 0xa7, 0x4d, 0x1b, 0x7e, 0xbc, 0x9c, 0x98, 0x2c,
            0xcf, 0x2e, 0xc4, 0x96, 0x8c, 0xc0, 0xcd, 0x55, 0xf1, 0x2a, 0xf4, 0x66, 0x0c,
        ],
        [
            0x92, 0xa0, 0x09, 0xa9, 0xf0, 0xd4, 0xca, 0xb8, 0x72, 0x0e, 0x82, 0x0b, 0x5f, 0x64, 0x25, 0x40, 0xa2, 0xb2, 0x7b,
            0x54, 0x16, 0x50, 0x3f, 0x8f, 0xb3, 0x76, 0x22, 0x23, 0xeb, 0xdb, 0x69, 0xda, 0x08, 0x5a, 0xc1, 0xe4, 0x3e, 0x15,
            0x99, 0x6e, 0x45, 0x8f, 0x36, 0x13, 0xd0, 0xf1, 0x1d, 0x8c, 0x38, 0x7b, 0x2e, 0xae, 0xb4, 0x30, 0x2a, 0xee, 0xb0,
            0x0d, 0x29, 0x16, 0x12, 0xbb, 0x0c, 0x00,
        ],
        &[0x72],
    ),
    (
        [
            0xfc, 0x51, 0xcd, 0x8e, 0x62, 0x18, 0xa1, 0xa3, 0x8d, 0xa4, 0x7e, 0xd0, 0x02, 0x30, 0xf0, 0x58, 0x08, 0x16, 0xed,
            0x13, 0xba, 0x33, 0x03, 0xac, 0x5d, 0xeb, 0x91, 0x15, 0x48, 0x90, 0x80, 0x25,
        ],
        [
            0x62, 0x91, 0xd6, 0x57, 0xde, 0xec, 0x24, 0x02, 0x48, 0x27, 0xe6, 0x9c, 0x3a, 0xbe, 0x01, 0xa3, 0x0c, 0xe5, 0x48,
            0xa2, 0x84, 0x74, 0x3a, 0x44, 0x5e, 0x36, 0x80, 0xd7, 0xdb, 0x5a, 0xc3, 0xac, 0x18, 0xff, 0x9b, 0x53, 0x8d, 0x16,
            0xf2, 0x90, 0xae, 0x67, 0xf7, 0x60, 0x98, 0x4d, 0xc6, 0x59, 0x4a, 0x7c, 0x15, 0xe9, 0x71, 0x6e, 0xd2, 0x8d, 0xc0,
            0x27, 0xbe, 0xce, 0xea, 0x1e, 0xc4, 0x0a,
        ],
        &[0xaf, 0x82],
    ),
];
