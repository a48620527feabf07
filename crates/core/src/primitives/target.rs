//! Difficulty: compact bits, the 256-bit target they stand for, and the work a target proves.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, Sub};
use std::str::FromStr;

use ruint::aliases::U256;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::codec::{Decode, DecodeError, Decoder, Encode, EncodeError, Encoder, impl_borrow_decode};
use super::hash::BlockHash;

/// A target in Bitcoin's compact form: an exponent byte, a sign bit and a 23-bit mantissa. Text is eight hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Encode, Decode)]
pub struct Bits(pub u32);

/// Why compact bits are not a valid target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BitsError {
    /// The sign bit is set on a mantissa that is not zero.
    #[error("bits {0} are negative")]
    Negative(Bits),
    /// The value needs more than 256 bits.
    #[error("bits {0} overflow 256 bits")]
    Overflow(Bits),
    /// A target of zero, which no hash can meet.
    #[error("bits {0} are zero")]
    Zero(Bits),
}

/// The largest value of a valid header hash, read as a little-endian integer.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target(pub U256);

/// Expected number of hashes. The work of a chain is the sum over its headers.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Work(pub U256);

impl Bits {
    /// The target these bits stand for, by the arithmetic of Bitcoin's `SetCompact`.
    ///
    /// # Errors
    /// [`BitsError`] where Bitcoin reports negative, overflow or zero.
    pub fn target(self) -> Result<Target, BitsError> {
        let size = self.0 >> 24;
        let mantissa = (self.0 & 0x007f_ffff) >> (8 * 3u32.saturating_sub(size));
        let negative = mantissa != 0 && self.0 & 0x0080_0000 != 0;
        let overflow =
            mantissa != 0 && (size > 34 || (mantissa > 0xff && size > 33) || (mantissa > 0xffff && size > 32));
        if negative {
            return Err(BitsError::Negative(self));
        }
        if overflow {
            return Err(BitsError::Overflow(self));
        }
        let value = U256::from(mantissa) << (8 * (size as usize).saturating_sub(3));
        if value.is_zero() {
            return Err(BitsError::Zero(self));
        }
        Ok(Target(value))
    }
}

impl Target {
    /// The largest compact form not above this target: Bitcoin's `GetCompact`, which keeps the top 15 to 23 bits.
    pub fn to_bits(self) -> Bits {
        let mut size = self.0.byte_len() as u32;
        let mut mantissa = if size <= 3 {
            self.0.to::<u32>() << (8 * (3 - size))
        } else {
            (self.0 >> (8 * (size as usize - 3))).to::<u32>()
        };
        if mantissa & 0x0080_0000 != 0 {
            mantissa >>= 8;
            size += 1;
        }
        Bits(mantissa | size << 24)
    }

    /// Whether `hash` meets this target.
    pub fn is_met_by(self, hash: &BlockHash) -> bool {
        U256::from_le_bytes(hash.to_bytes()) <= self.0
    }

    /// Expected hashes to meet this target: 2^256 / (target + 1), as Bitcoin's `GetBlockProof` rounds it.
    pub fn work(self) -> Work {
        if self.0 == U256::MAX {
            return Work(U256::ONE);
        }
        Work((!self.0 / (self.0 + U256::ONE)) + U256::ONE)
    }

    /// How many times harder than Bitcoin's difficulty 1 (bits `1d00ffff`), for people to read.
    pub fn difficulty(self) -> f64 {
        let one = U256::from(0xffffu32) << 208;
        f64::from(one) / f64::from(self.0)
    }
}

impl Work {
    /// No work: the sum over no headers.
    pub const ZERO: Self = Self(U256::ZERO);

    /// As a float, for rates and estimates only.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0)
    }
}

/// Text that is not a work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("work is up to 64 hex digits, got {got:?}")]
pub struct WorkParseError {
    /// The text given.
    pub got: String,
}

impl FromStr for Work {
    type Err = WorkParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = !text.is_empty() && text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let work = U256::from_str_radix(text, 16).ok().filter(|_| digits).map(Self);
        work.ok_or_else(|| WorkParseError { got: text.chars().take(80).collect() })
    }
}

impl Add for Work {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Work {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Sum for Work {
    fn sum<I: Iterator<Item = Self>>(works: I) -> Self {
        works.fold(Self::ZERO, Add::add)
    }
}

impl Encode for Work {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.to_le_bytes::<32>().encode(encoder)
    }
}

impl<C> Decode<C> for Work {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Ok(Self(U256::from_le_bytes(<[u8; 32]>::decode(decoder)?)))
    }
}

impl_borrow_decode!(Work);

impl fmt::Display for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Debug for Bits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// Text that is not eight hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("bits are 8 hex digits like 1d00ffff, got {got:?}")]
pub struct BitsParseError {
    /// The text given.
    pub got: String,
}

impl FromStr for Bits {
    type Err = BitsParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 4];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| BitsParseError { got: text.chars().take(80).collect() })?;
        Ok(Self(u32::from_be_bytes(bytes)))
    }
}

impl Serialize for Bits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Bits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// 64 hex digits, most significant first.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:064x}", self.0)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// 64 hex digits, most significant first, as Bitcoin Core prints `chainwork`.
impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:064x}", self.0)
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The cases of Bitcoin Core's `arith_uint256` tests: compact bits, then the target or the error.
    #[test]
    fn compact_edge_cases() {
        let zero =
            [0x0000_0000, 0x0012_3456, 0x0100_3456, 0x0200_0056, 0x0300_0000, 0x0400_0000, 0x0092_3456, 0x0180_3456];
        for bits in zero.map(Bits) {
            assert_eq!(bits.target(), Err(BitsError::Zero(bits)), "{bits}");
        }
        for bits in [0x01fe_dcba, 0x0492_3456].map(Bits) {
            assert_eq!(bits.target(), Err(BitsError::Negative(bits)), "{bits}");
        }
        for bits in [0xff12_3456, 0x2300_0001, 0x2200_0100, 0x2101_0000].map(Bits) {
            assert_eq!(bits.target(), Err(BitsError::Overflow(bits)), "{bits}");
        }
        for (bits, value, back) in [
            (0x0112_3456, 0x12u64, 0x0112_0000),
            (0x0200_8000, 0x80, 0x0200_8000),
            (0x0500_9234, 0x9234_0000, 0x0500_9234),
            (0x0412_3456, 0x1234_5600, 0x0412_3456),
        ] {
            let target = Bits(bits).target().unwrap();
            assert_eq!((target.0, target.to_bits()), (U256::from(value), Bits(back)), "{bits:08x}");
        }
        assert_eq!(Bits(0x2012_3456).target().unwrap().to_bits(), Bits(0x2012_3456));
        assert_eq!(Target(U256::MAX).to_bits(), Bits(0x2100_ffff));
    }

    #[test]
    fn work_and_difficulty_of_known_bits() {
        let one = Bits(0x1d00_ffff).target().unwrap();
        assert_eq!(one.work().0, U256::from(0x1_0001_0001u64));
        assert_eq!(one.difficulty(), 1.0);
        assert_eq!(Bits(0x207f_ffff).target().unwrap().work().0, U256::from(2));
        assert_eq!(Target(U256::MAX).work().0, U256::ONE);
    }

    #[test]
    fn a_hash_equal_to_the_target_meets_it() {
        let target = Target(U256::from(5));
        let hash = |n: u8| BlockHash::from_bytes(U256::from(n).to_le_bytes());
        assert!(target.is_met_by(&hash(5)) && !target.is_met_by(&hash(6)));
    }
}
