//! Amounts and fee rates. Storage, the wire and RPC count grains; coins are only for text that people read.

use std::cmp::Ordering;
use std::fmt::{self, Display};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::codec::{Decode, Encode};

/// Grains in one coin.
pub const COIN: u64 = 100_000_000;

/// An amount of money. The encoding and JSON are the plain number of grains; text is in coins.
///
/// Any `u64` decodes: that an output holds no more than [`Amount::MAX`] is a rule, not a property of the type. There
/// are no operators, since peers choose most of the numbers: each method's name says what happens on overflow.
///
/// A plain number is not an amount, since it does not state its unit:
///
/// ```compile_fail,E0308
/// # use cairn_core::primitives::amount::Amount;
/// let fee: Amount = 1_000;
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Amount(u64);

impl Amount {
    /// Zero grains.
    pub const ZERO: Self = Self(0);
    /// The largest supply of a network: 2^53 − 1 grains, so that every JSON reader can represent an amount exactly.
    pub const MAX: Self = Self((1 << 53) - 1);

    /// An amount of `grains` grains.
    pub const fn from_grains(grains: u64) -> Self {
        Self(grains)
    }

    /// The number of grains.
    pub const fn as_grains(self) -> u64 {
        self.0
    }

    /// The number of grains, or `i64::MAX`: for figures that may be negative.
    pub fn as_signed_grains(self) -> i64 {
        i64::try_from(self.0).unwrap_or(i64::MAX)
    }

    /// The sum, or `None` if it exceeds [`Amount::MAX`].
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self).filter(|sum| *sum <= Self::MAX)
    }

    /// The difference, or `None` if `other` is more.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The sum, or 2^64 − 1 grains: for turnover, which counts a coin each time it moves and so may exceed the supply.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, or zero if `other` is more.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The sum of all, or `None` if it exceeds [`Amount::MAX`].
    pub fn checked_sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }

    /// The sum of all, or 2^64 − 1 grains.
    pub fn saturating_sum(amounts: impl IntoIterator<Item = Self>) -> Self {
        amounts.into_iter().fold(Self::ZERO, Self::saturating_add)
    }

    /// The fee rate of a transaction of `bytes` bytes that pays this fee; 0 bytes count as 1.
    pub const fn per(self, bytes: usize) -> FeeRate {
        FeeRate { fee: self, bytes: if bytes == 0 { 1 } else { bytes } }
    }

    /// Text with the unit: `1 coin`, `1.5 coins`, `0 coins`.
    pub fn in_coins(self) -> String {
        format!("{self} coin{}", if self.0 == COIN { "" } else { "s" })
    }
}

/// Shows coins, without trailing zeros: `1.5`, `0.00000001`, `3`.
impl Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / COIN, self.0 % COIN);
        if part == 0 {
            return write!(f, "{whole}");
        }
        let decimals = format!("{part:08}");
        write!(f, "{whole}.{}", decimals.trim_end_matches('0'))
    }
}

/// Text that is not an amount of coins.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{got:?} is not an amount of coins: expected a number like 1.5 with at most 8 decimals and at most {}",
    Amount::MAX
)]
pub struct AmountParseError {
    /// The text given.
    pub got: String,
}

/// Reads coins, such as `1.5`. No float is involved.
///
/// # Errors
/// [`AmountParseError`] on anything but digits with at most one point and eight decimals, or above [`Amount::MAX`].
impl FromStr for Amount {
    type Err = AmountParseError;

    fn from_str(text: &str) -> Result<Self, AmountParseError> {
        let error = || AmountParseError { got: text.chars().take(80).collect() };
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 8 || (whole.is_empty() && part.is_empty()) {
            return Err(error());
        }
        let grains = format!("{whole}{part:0<8}").parse().map_err(|_| error())?;
        if grains > Self::MAX.0 { Err(error()) } else { Ok(Self(grains)) }
    }
}

/// A fee for a number of bytes, compared as the exact fraction: 2 grains for 4 bytes equal 1 grain for 2. [`Amount::per`]
/// makes one.
///
/// A rate is not an amount; [`FeeRate::fee_for`] a size gives one:
///
/// ```compile_fail,E0308
/// # use cairn_core::primitives::amount::{Amount, FeeRate};
/// let fee: Amount = FeeRate::from_grains_per_byte(2);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct FeeRate {
    fee: Amount,
    /// At least 1.
    bytes: usize,
}

impl FeeRate {
    /// No fee for any size.
    pub const ZERO: Self = Self::from_grains_per_byte(0);

    /// A rate of `grains` grains for each byte.
    pub const fn from_grains_per_byte(grains: u64) -> Self {
        Amount(grains).per(1)
    }

    /// Grains for each byte, rounded down.
    pub const fn grains_per_byte(self) -> u64 {
        self.fee.0 / self.bytes as u64
    }

    /// The least fee that reaches this rate for `bytes` bytes: rounded up, and at most 2^64 − 1 grains.
    pub fn fee_for(self, bytes: usize) -> Amount {
        let grains = (u128::from(self.fee.0) * bytes as u128).div_ceil(self.bytes as u128);
        Amount(u64::try_from(grains).unwrap_or(u64::MAX))
    }
}

/// Shows whole grains a byte, rounded down: `1 grain a byte`.
impl Display for FeeRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} a byte", counted(self.grains_per_byte(), "grain"))
    }
}

impl Ord for FeeRate {
    fn cmp(&self, other: &Self) -> Ordering {
        let scaled = |rate: &Self, by: &Self| u128::from(rate.fee.0) * by.bytes as u128;
        scaled(self, other).cmp(&scaled(other, self))
    }
}

impl PartialOrd for FeeRate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for FeeRate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for FeeRate {}

/// A count with its noun, in the plural where needed: `1 block`, `2 blocks`, `0 addresses`.
pub fn counted(count: impl Display + Copy + TryInto<u64>, noun: &str) -> String {
    let ending = match count.try_into().is_ok_and(|count| count == 1) {
        true => "",
        false if noun.ends_with('s') => "es",
        false => "s",
    };
    format!("{count} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::codec;

    #[test]
    fn one_takes_the_singular() {
        assert_eq!([0u64, 1, 2].map(|n| counted(n, "grain")), ["0 grains", "1 grain", "2 grains"]);
        assert_eq!([0u64, 1, 2].map(|n| counted(n, "address")), ["0 addresses", "1 address", "2 addresses"]);
        let shown = [0, COIN, COIN + 1].map(|grains| Amount::from_grains(grains).in_coins());
        assert_eq!(shown, ["0 coins", "1 coin", "1.00000001 coins"]);
        assert_eq!((counted(1usize, "peer"), counted(21u32, "peer")), ("1 peer".to_owned(), "21 peers".to_owned()));
    }

    #[test]
    fn coins_and_grains() {
        for (text, grains) in
            [("0", 0), ("1", COIN), ("1.5", 150_000_000), ("0.00000001", 1), (".5", COIN / 2), ("2.", 2 * COIN)]
        {
            let amount = Amount::from_grains(grains);
            assert_eq!(text.parse(), Ok(amount), "{text}");
            assert_eq!(amount.to_string().parse(), Ok(amount));
        }
        assert_eq!(Amount::MAX.to_string(), "90071992.54740991");
        for text in ["", ".", "-1", "1e8", "1.000000001", "1,5", " 1", "99999999999999999999", "90071992.54740992"] {
            assert!(text.parse::<Amount>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_amount_is_encoded_as_the_number_of_its_grains() {
        for grains in [0, 1, COIN, Amount::MAX.0, Amount::MAX.0 + 1, u64::MAX] {
            let amount = Amount::from_grains(grains);
            assert_eq!(codec::encode(&amount), grains.to_le_bytes());
            assert_eq!(codec::decode(&grains.to_le_bytes()), Ok(amount));
            assert_eq!(serde_json::to_string(&amount).unwrap(), grains.to_string());
            assert_eq!(serde_json::from_str::<Amount>(&grains.to_string()).unwrap(), amount);
        }
        assert!(serde_json::from_str::<Amount>("1.5").is_err() && serde_json::from_str::<Amount>("-1").is_err());
    }

    #[test]
    fn sums_end_at_the_supply_or_where_their_encoding_does() {
        let (one, max, end) = (Amount(1), Amount::MAX, Amount(u64::MAX));
        assert_eq!((one.checked_add(one), one.checked_sub(one)), (Some(Amount(2)), Some(Amount::ZERO)));
        assert_eq!(
            (Amount(max.0 - 1).checked_add(one), max.checked_add(one), end.checked_add(one)),
            (Some(max), None, None)
        );
        assert_eq!((one.checked_sub(Amount(2)), one.saturating_sub(Amount(2))), (None, Amount::ZERO));
        assert_eq!((max.saturating_add(one), end.saturating_add(one)), (Amount(max.0 + 1), end));
        assert_eq!(
            (Amount::checked_sum([]), Amount::checked_sum([max, Amount::ZERO])),
            (Some(Amount::ZERO), Some(max))
        );
        assert_eq!((Amount::checked_sum([max, one]), Amount::checked_sum([Amount(max.0 + 1)])), (None, None));
        assert_eq!((Amount::saturating_sum([max, one]), Amount::saturating_sum([end, one])), (Amount(max.0 + 1), end));
    }

    #[test]
    fn rates_are_exact_and_fees_are_rounded_up() {
        let rate = |fee, bytes| Amount(fee).per(bytes);
        assert_eq!(rate(2, 4), rate(1, 2));
        assert!(rate(1, 3) < rate(1, 2) && rate(10, 3) > FeeRate::from_grains_per_byte(3));
        assert!(rate(u64::MAX, usize::MAX) < rate(u64::MAX, usize::MAX - 1), "not told apart by a float");
        assert_eq!([0, 1, 2, 3, 6].map(|bytes| rate(10, 3).fee_for(bytes)), [0, 4, 7, 10, 20].map(Amount));
        assert_eq!(FeeRate::from_grains_per_byte(u64::MAX).fee_for(2), Amount(u64::MAX));
        assert_eq!((rate(7, 0), rate(10, 3).grains_per_byte()), (FeeRate::from_grains_per_byte(7), 3));
        assert_eq!(FeeRate::from_grains_per_byte(1).to_string(), "1 grain a byte");
    }
}
