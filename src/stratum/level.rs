//! Share difficulties: powers of two, so that every miner's arithmetic gives the same target.

use ruint::aliases::U256;

use crate::primitives::target::Target;

/// A share difficulty of 2 to this power, in Bitcoin's measure: difficulty 1 is some 2³² hashes a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Level(i32);

impl Level {
    /// Difficulty 2⁻³²: nearly every hash is a share. The least that cpuminer's arithmetic can express.
    pub const EASIEST: Self = Self(-32);
    /// More than all of Bitcoin's miners together need.
    pub const HARDEST: Self = Self(50);
    /// Where a connection starts: some four million hashes, a second's or less of one core.
    pub const START: Self = Self(-10);

    /// The hardest level that is not harder than `target`: at it, no block is missed for not being a share.
    pub fn of_target(target: Target) -> Self {
        let hardest = (Self::EASIEST.0..=Self::HARDEST.0).rev().map(Self).find(|level| level.target() >= target);
        hardest.unwrap_or(Self::EASIEST)
    }

    /// The hardest level that is not harder than `difficulty`, within bounds.
    pub fn of_difficulty(difficulty: f64) -> Self {
        // A float cast saturates at the integer's bounds and maps NaN to 0.
        Self(0).harder(difficulty.log2().floor() as i32)
    }

    /// So many times twice as hard, or half as hard for negative numbers, within bounds.
    pub fn harder(self, steps: i32) -> Self {
        Self(self.0.saturating_add(steps).clamp(Self::EASIEST.0, Self::HARDEST.0))
    }

    /// As `mining.set_difficulty` has it.
    pub fn difficulty(self) -> f64 {
        f64::from(self.0).exp2()
    }

    /// What a share's hash must not exceed: difficulty 1's target, ffff followed by 26 zero bytes, over the difficulty.
    pub fn target(self) -> Target {
        let one = U256::from(0xffff_u32) << 208;
        Target(if self.0 >= 0 { one >> self.0.unsigned_abs() as usize } else { one << self.0.unsigned_abs() as usize })
    }

    /// Expected hashes of a share.
    pub fn hashes(self) -> f64 {
        self.target().work().as_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::target::Bits;

    /// As cpuminer reckons: the 64 highest bits of the target, of doubles.
    fn cpuminer_target(mut difficulty: f64) -> U256 {
        let mut word = 6;
        while word > 0 && difficulty > 1.0 {
            difficulty /= 4_294_967_296.0;
            word -= 1;
        }
        U256::from((4_294_901_760.0 / difficulty) as u64) << (32 * word)
    }

    #[test]
    fn miners_come_to_the_same_target() {
        for level in (Level::EASIEST.0..=Level::HARDEST.0).map(Level) {
            assert_eq!(cpuminer_target(level.difficulty()), level.target().0, "{level:?}");
            assert_eq!(Level::of_target(level.target()), level);
            assert_eq!(Level::of_difficulty(level.difficulty() * 1.5), level);
        }
        assert_eq!(Level(0).target(), Bits(0x1d00_ffff).target().unwrap());
        assert!((Level(0).hashes() / 4_295_032_833.0 - 1.0).abs() < 1e-9);
    }

    #[test]
    fn no_block_is_harder_to_hit_than_a_share() {
        for (bits, level) in [
            (0x207f_ffff, -32),
            (0x1d00_ffff, 0),
            (0x1d00_fffe, 0),
            (0x1c7f_ff80, 1),
            (0x1e3f_ffff, -15),
            (0x1e3f_ffc0, -14),
        ] {
            let target = Bits(bits).target().unwrap();
            assert_eq!(Level::of_target(target), Level(level), "{bits:x}");
            assert!(Level(level).target() >= target);
        }
    }

    #[test]
    fn levels_are_clamped_to_their_bounds() {
        assert_eq!(Level::of_difficulty(0.0), Level::EASIEST);
        assert_eq!(Level::of_difficulty(f64::INFINITY), Level::HARDEST);
        assert_eq!(Level::of_difficulty(f64::NAN), Level(0));
        assert_eq!(Level::EASIEST.harder(-1), Level::EASIEST);
        assert_eq!(Level::HARDEST.harder(i32::MAX), Level::HARDEST);
    }
}
