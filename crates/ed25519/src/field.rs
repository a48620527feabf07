//! The field of integers modulo 2^255 - 19, one element at a time: what follows a sum in vectors, and the model that the
//! vectors are held against.

use std::ops::{Add, Mul, Neg, Sub};

/// The bits of a limb.
const MASK: u64 = (1 << 51) - 1;

/// Four times the modulus in limbs above 2^52, so that subtracting from it leaves no limb negative.
const FOUR_P: [u64; 5] = [4 * (MASK - 18), 4 * MASK, 4 * MASK, 4 * MASK, 4 * MASK];

/// An element: the sum of `limb[i] * 2^(51 i)`. Limbs are below 2^52, so an element has several forms.
#[derive(Debug, Clone, Copy)]
pub struct Element([u64; 5]);

impl Element {
    pub const ZERO: Self = Self([0; 5]);
    pub const ONE: Self = Self([1, 0, 0, 0, 0]);

    /// From limbs of less than 2^52.
    pub fn from_limbs(limbs: [u64; 5]) -> Self {
        Self(limbs)
    }

    /// The limbs of the lower 255 bits.
    pub fn limbs_of(encoding: [u8; 32]) -> [u64; 5] {
        let (words, _) = encoding.as_chunks::<8>();
        let [a, b, c, d] = [words[0], words[1], words[2], words[3]].map(u64::from_le_bytes);
        [a, a >> 51 | b << 13, b >> 38 | c << 26, c >> 25 | d << 39, d >> 12].map(|limb| limb & MASK)
    }

    /// From signed limbs of less than 2^53.
    pub fn from_signed(limbs: [f64; 5]) -> Self {
        let mut sum = FOUR_P;
        for (sum, limb) in sum.iter_mut().zip(limbs) {
            // Below zero by less than four times the modulus adds: the largest limb of a vector is 2^52.
            *sum = sum.wrapping_add_signed(limb as i64);
        }
        Self::carry(sum)
    }

    /// The only form below the modulus.
    pub fn canonical(self) -> [u64; 5] {
        let Self(mut limbs) = Self::carry(self.0);
        // The value is below 2p, so the carry out of value + 19 says whether the modulus is to be taken off.
        let mut carry = 19;
        for limb in limbs {
            carry = (limb + carry) >> 51;
        }
        carry *= 19;
        for limb in &mut limbs {
            let sum = *limb + carry;
            (*limb, carry) = (sum & MASK, sum >> 51);
        }
        limbs
    }

    pub fn is_zero(self) -> bool {
        self.canonical() == [0; 5]
    }

    pub fn is_odd(self) -> bool {
        self.canonical()[0] & 1 == 1
    }

    fn carry(mut limbs: [u64; 5]) -> Self {
        let mut carry = 0;
        for limb in &mut limbs {
            let sum = *limb + carry;
            (*limb, carry) = (sum & MASK, sum >> 51);
        }
        limbs[0] += 19 * carry;
        Self(limbs)
    }
}

impl Add for Element {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::carry(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }
}

impl Sub for Element {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self::carry(std::array::from_fn(|i| self.0[i] + FOUR_P[i] - other.0[i]))
    }
}

impl Neg for Element {
    type Output = Self;

    fn neg(self) -> Self {
        Self::ZERO - self
    }
}

impl Mul for Element {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        let mut sums = [0u128; 5];
        for (i, a) in self.0.into_iter().enumerate() {
            for (j, b) in other.0.into_iter().enumerate() {
                // 2^255 is 19.
                let wrapped = if i + j < 5 { b } else { 19 * b };
                sums[(i + j) % 5] += u128::from(a) * u128::from(wrapped);
            }
        }
        let mut limbs = [0; 5];
        let mut carry = 0;
        for (limb, sum) in limbs.iter_mut().zip(sums) {
            let sum = sum + carry;
            (*limb, carry) = (sum as u64 & MASK, sum >> 51);
        }
        // The last carry is below 2^63, and 19 times that takes more than a word.
        let first = u128::from(limbs[0]) + 19 * carry;
        limbs[0] = first as u64 & MASK;
        limbs[1] += (first >> 51) as u64;
        Self(limbs)
    }
}
