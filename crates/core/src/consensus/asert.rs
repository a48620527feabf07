//! `aserti3-2d`, the difficulty rule of Bitcoin Cash: the target is an exponential of how far the chain is ahead of or
//! behind its schedule, so each block's bits follow from the anchor and its parent alone.
//!
//! Jonathan Toomim, Mark Lundeberg et al., "ASERT difficulty adjustment algorithm (aserti3-2d)", 2020.

use ruint::aliases::{U256, U512};

use crate::primitives::target::{Bits, Target};

/// A chain's progress since its anchor, and the pace it should keep.
#[derive(Debug, Clone, Copy)]
pub struct Schedule {
    /// Seconds from the anchor's reference time to the parent's time; may be negative.
    pub elapsed_secs: i64,
    /// Blocks from the anchor to the parent.
    pub blocks: i64,
    /// Seconds a block should take.
    pub target_spacing_secs: u32,
    /// Seconds behind schedule that double the target.
    pub half_life_secs: u32,
}

/// Bits for the block after the parent that `schedule` describes.
///
/// The anchor's reference time is that of the anchor's parent, so a chain on schedule has
/// `elapsed_secs == target_spacing_secs * (blocks + 1)`. The result lies between 1 and `limit`.
pub fn next_bits(anchor: Target, schedule: &Schedule, limit: Target) -> Bits {
    let ideal = i128::from(schedule.target_spacing_secs) * i128::from(schedule.blocks + 1);
    let late = i128::from(schedule.elapsed_secs) - ideal;
    // Fixed point with 16 fractional bits; the division rounds toward zero, the shift below toward minus infinity.
    let exponent = late * 65_536 / i128::from(schedule.half_life_secs);
    let scaled = U512::from(anchor.0) * U512::from(exp2(exponent as u16));
    let shift = (exponent >> 16) - 16;
    // 256 bits of target and 17 of factor: beyond these shifts only the clamps are left.
    let next = match shift {
        ..-300 => U512::ZERO,
        -300..=0 => scaled >> (-shift) as usize,
        1..=239 => scaled << shift as usize,
        _ => U512::MAX,
    };
    let next = next.clamp(U512::ONE, U512::from(limit.0));
    Target(U256::from(next)).to_bits()
}

/// 2^(`fraction` / 2^16), scaled by 2^16: a cubic, within 0.013 %, that does not fall as the fraction rises.
pub fn exp2(fraction: u16) -> u64 {
    let fraction = u64::from(fraction);
    65_536
        + ((195_766_423_245_049 * fraction
            + 971_821_376 * fraction * fraction
            + 5_127 * fraction * fraction * fraction
            + (1 << 47))
            >> 48)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What hidden headers can have as work rests on this: due work rises with height and falls with time.
    #[test]
    fn powers_of_two_do_not_fall() {
        let powers: Vec<u64> = (0..=u16::MAX).map(exp2).collect();
        assert!(powers.is_sorted() && powers[0] == 65_536 && powers[65_535] <= 131_072);
        for (fraction, power) in powers.iter().enumerate() {
            let exact = 2f64.powf(16.0 + fraction as f64 / 65_536.0);
            assert!((*power as f64 / exact - 1.0).abs() < 0.000_13 + 1.0 / 65_536.0, "{fraction}");
        }
    }
}
