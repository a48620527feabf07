//! Heights: a block's position in a chain.

use serde::{Deserialize, Serialize};

use super::codec::{Decode, Encode};

/// The number of blocks below this one in its chain: 0 for genesis. Sums saturate at [`Height::MAX`] unless they are
/// checked.
///
/// A plain number is not a height, since it may as well be a count of blocks:
///
/// ```compile_fail,E0308
/// # use cairn_core::primitives::height::Height;
/// let tip: Height = 840_000;
/// ```
///
/// Nor is a height a count of blocks:
///
/// ```compile_fail,E0308
/// # use cairn_core::primitives::height::Height;
/// let later = Height::GENESIS.saturating_add(Height::GENESIS);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Height(u32);

impl Height {
    /// The height of genesis, 0.
    pub const GENESIS: Self = Self(0);

    /// The largest height.
    pub const MAX: Self = Self(u32::MAX);

    /// The height `blocks` above genesis.
    pub const fn from_u32(blocks: u32) -> Self {
        Self(blocks)
    }

    /// Blocks above genesis.
    pub const fn as_u32(self) -> u32 {
        self.0
    }

    /// Blocks above genesis, as the index into a list of headers that begins with genesis.
    pub const fn as_usize(self) -> usize {
        self.0 as usize
    }

    /// The height of the block after this one, at most [`Height::MAX`].
    #[must_use]
    pub const fn next(self) -> Self {
        self.saturating_add(1)
    }

    /// The height `blocks` further up, at most [`Height::MAX`].
    #[must_use]
    pub const fn saturating_add(self, blocks: u32) -> Self {
        Self(self.0.saturating_add(blocks))
    }

    /// The height `blocks` further up, or `None` if that exceeds [`Height::MAX`].
    pub fn checked_add(self, blocks: u32) -> Option<Self> {
        self.0.checked_add(blocks).map(Self)
    }

    /// The height of the block before this one, or `None` for genesis.
    pub fn prev(self) -> Option<Self> {
        self.checked_sub(1)
    }

    /// The height `blocks` further down, or `None` if that is below genesis.
    pub fn checked_sub(self, blocks: u32) -> Option<Self> {
        self.0.checked_sub(blocks).map(Self)
    }

    /// The height `blocks` further down, at least that of genesis.
    #[must_use]
    pub const fn saturating_sub(self, blocks: u32) -> Self {
        Self(self.0.saturating_sub(blocks))
    }

    /// How many blocks this height is above `earlier`; 0 if it is not above.
    pub const fn blocks_since(self, earlier: Self) -> u32 {
        self.0.saturating_sub(earlier.0)
    }

    /// All heights from this one up to, but not including, `end`.
    pub fn until(self, end: Self) -> impl DoubleEndedIterator<Item = Self> {
        (self.0..end.0).map(Self)
    }

    /// All heights from this one to `last`, inclusive.
    pub fn through(self, last: Self) -> impl DoubleEndedIterator<Item = Self> {
        (self.0..=last.0).map(Self)
    }
}

/// Prints the number of blocks above genesis.
impl std::fmt::Display for Height {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Text that is not a height.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} is not a height: expected a whole number from 0 to {}", Height::MAX)]
pub struct HeightParseError {
    /// The text given, cut to 80 characters.
    pub got: String,
}

/// Reads the number of blocks above genesis, in decimal.
///
/// # Errors
/// [`HeightParseError`] on anything but a number from 0 to [`Height::MAX`].
impl std::str::FromStr for Height {
    type Err = HeightParseError;

    fn from_str(text: &str) -> Result<Self, HeightParseError> {
        text.parse().map(Self).map_err(|_| HeightParseError { got: text.chars().take(80).collect() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::codec;

    #[test]
    fn heights_end_where_their_encoding_does() {
        let (height, last) = (Height::from_u32(7), Height::MAX);
        assert_eq!((height.next(), last.next()), (Height::from_u32(8), last));
        assert_eq!((height.saturating_add(3), height.saturating_add(u32::MAX)), (Height::from_u32(10), last));
        assert_eq!((height.checked_add(3), last.checked_add(1)), (Some(Height::from_u32(10)), None));
        assert_eq!((height.prev(), Height::GENESIS.prev()), (Some(Height::from_u32(6)), None));
        assert_eq!((height.saturating_sub(3), height.saturating_sub(8)), (Height::from_u32(4), Height::GENESIS));
        assert_eq!((height.blocks_since(Height::from_u32(5)), height.blocks_since(last)), (2, 0));
        assert_eq!(codec::encode(&height), codec::encode(&7u32));
    }

    #[test]
    fn text_is_the_number_of_blocks() {
        for height in [Height::GENESIS, Height::from_u32(840_000), Height::MAX] {
            assert_eq!(height.to_string().parse(), Ok(height));
        }
        for text in ["", "-1", "1.5", "4294967296", "tip"] {
            assert_eq!(text.parse::<Height>(), Err(HeightParseError { got: text.to_owned() }));
        }
    }

    #[test]
    fn spans_of_heights_end_as_ranges_do() {
        let (low, high, last) = (Height::from_u32(5), Height::from_u32(7), Height::MAX);
        assert_eq!(low.until(high).collect::<Vec<_>>(), [5, 6].map(Height::from_u32));
        assert_eq!(low.through(high).rev().collect::<Vec<_>>(), [7, 6, 5].map(Height::from_u32));
        assert_eq!((high.until(low).count(), high.through(low).count(), low.until(low).count()), (0, 0, 0));
        assert_eq!(last.through(last).collect::<Vec<_>>(), [last]);
    }
}
