//! Heights: where on a chain a block stands.

use serde::{Deserialize, Serialize};

use super::codec::{Decode, Encode};

/// How many blocks a block stands above genesis. Sums end at the last height there is.
///
/// A bare number is no height, since it may as well be a count of blocks:
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
    /// The first block's.
    pub const GENESIS: Self = Self(0);

    /// The height `blocks` above genesis.
    pub const fn from_u32(blocks: u32) -> Self {
        Self(blocks)
    }

    /// Blocks above genesis.
    pub const fn as_u32(self) -> u32 {
        self.0
    }

    /// The height of the block after this one, or the last there is.
    #[must_use]
    pub const fn next(self) -> Self {
        self.saturating_add(1)
    }

    /// The height `blocks` further up, or the last there is.
    #[must_use]
    pub const fn saturating_add(self, blocks: u32) -> Self {
        Self(self.0.saturating_add(blocks))
    }
}

/// Shows the number of blocks above genesis.
impl std::fmt::Display for Height {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::codec;

    #[test]
    fn heights_end_where_their_encoding_does() {
        let (height, last) = (Height::from_u32(7), Height::from_u32(u32::MAX));
        assert_eq!((height.next(), last.next()), (Height::from_u32(8), last));
        assert_eq!((height.saturating_add(3), height.saturating_add(u32::MAX)), (Height::from_u32(10), last));
        assert_eq!(codec::encode(&height), codec::encode(&7u32));
    }
}
