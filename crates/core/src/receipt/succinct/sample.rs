//! Where to look: the strata of work, and a point in each that the tip's hash draws.
//!
//! Distances from the tip, in work, are divided into strata, each shorter than the next one out by the same ratio, from
//! the whole work before the tip down to the last [`TAIL`](super::TAIL) headers, which are all shown. One header is
//! sampled from each stratum. One point for each stratum finds a given share of false work with fewer samples than the
//! same number of independent points in an octave, since it cannot fall twice on the same true part.

use ruint::aliases::{U256, U512};

use crate::consensus::asert::exp2;
use crate::primitives::hash::{BlockHash, Hash256};
use crate::primitives::target::Work;

/// Domain tag of the challenge's hash.
const CHALLENGE_TAG: &[u8] = b"cairn succinct receipt";
/// Least security of a sample: one draw misses all false work, if that is half of the work claimed, at most once in
/// 2^40.
const LEAST_BITS: u32 = 40;
/// If half of the work is forged, the expected cost of the draws needed is at least 2^20 times the whole work.
const MARGIN_BITS: u32 = 20;
/// Most strata in an octave. More would be due only if the whole work exceeded 2^162 times the tip's, which no honest
/// chain comes near.
pub(super) const MAX_STRATA: u32 = 64;

/// Strata in an octave of work, where `total` is the work before the tip and `tip` the tip's own work, which is the cost
/// of a draw; `None` if more would be due than a verifier accepts. A stratum adds 20/7 bits of security against a forger
/// of half the work. The number makes up for the cost of a draw.
pub fn strata_per_octave(total: Work, tip: Work) -> Option<u32> {
    // The least n with tip × 2^n ≥ total.
    let cheapness = total.0.saturating_sub(U256::ONE).checked_div(tip.0)?.bit_len() as u32;
    let security = LEAST_BITS.max(MARGIN_BITS + cheapness);
    Some((7 * security).div_ceil(20)).filter(|strata| *strata <= MAX_STRATA)
}

/// The distance at which `number` strata have been cut off `total`: `total` × 2^(−number / per_octave), rounded down. The
/// power is that of the difficulty rule.
fn edge(total: Work, number: u32, per_octave: u32) -> U256 {
    let (octaves, part) = (number / per_octave, number % per_octave);
    let factor = match part {
        0 => 1 << 17,
        part => exp2((((per_octave - part) << 16) / per_octave) as u16),
    };
    U256::from((U512::from(total.0) * U512::from(factor)) >> (17 + octaves) as usize)
}

/// The points to sample, as positions in the work before the tip, in `0..total`: one from each of the strata, so many in
/// an octave. The last one ends at the last `tail`, which is shown anyway.
pub(super) fn challenges(genesis: &BlockHash, tip: &BlockHash, total: Work, tail: Work, per_octave: u32) -> Vec<U256> {
    let seed = Hash256::of(&[CHALLENGE_TAG, genesis.as_bytes(), tip.as_bytes()].concat());
    let mut points = Vec::new();
    let mut far = total.0;
    // 256 octaves have at most 16,384 strata.
    for number in 0..=u16::MAX {
        if far <= tail.0 {
            break;
        }
        let near = edge(total, u32::from(number) + 1, per_octave).max(tail.0);
        if near < far {
            let draw = Hash256::of(&[&seed.as_bytes()[..], &number.to_le_bytes()].concat());
            let distance = near + U256::ONE + U256::from_le_bytes(draw.to_bytes()) % (far - near);
            points.push(total.0 - distance);
        }
        far = near;
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(n: u64) -> Work {
        Work(U256::from(n))
    }

    #[test]
    fn one_point_falls_in_each_stratum() {
        let (genesis, tip) = (BlockHash::of(b"genesis"), BlockHash::of(b"tip"));
        let drawn = |tip: &BlockHash| challenges(&genesis, tip, work(1 << 40), work(1 << 30), 14);
        let points = drawn(&tip);
        assert_eq!(points.len(), 140);
        for (number, point) in points.iter().enumerate() {
            let distance = (1u64 << 40) - point.to::<u64>();
            let edge = |number: usize| 2f64.powf(40.0 - number as f64 / 14.0);
            let (near, far) = (edge(number + 1) * 0.999_8, edge(number) * 1.000_2);
            assert!((near..=far).contains(&(distance as f64)), "{number} {distance}");
        }
        assert_eq!(points, drawn(&tip));
        assert_ne!(points, drawn(&BlockHash::of(b"another")));
        let none: Vec<U256> = Vec::new();
        assert_eq!(challenges(&genesis, &tip, work(100), work(100), 14), none);
        assert_eq!(challenges(&genesis, &tip, work(0), work(0), 14), none);
    }

    /// Every unit of work outside the tail is in exactly one stratum, whatever the rounding.
    #[test]
    fn strata_cover_all_work_down_to_the_tail() {
        for per_octave in [14, 15, 31, MAX_STRATA] {
            for (total, tail) in [(Work(U256::MAX), work(0)), (work(1_000_003), work(7)), (work(300), work(256))] {
                let octaves = total.0.bit_len() as u32;
                let edges: Vec<U256> =
                    (0..=per_octave * octaves).map(|number| edge(total, number, per_octave)).collect();
                assert_eq!((edges[0], edges[edges.len() - 1]), (total.0, U256::ZERO));
                assert!(edges.windows(2).all(|pair| pair[1] <= pair[0]), "{per_octave}");
                let points = challenges(&BlockHash::ZERO, &BlockHash::ZERO, total, tail, per_octave);
                assert!(points.iter().all(|point| *point < total.0 - tail.0));
                assert!(points.len() <= edges.len());
            }
        }
        let all = challenges(&BlockHash::ZERO, &BlockHash::ZERO, Work(U256::MAX), work(0), MAX_STRATA);
        assert!(all.len() > 250 * MAX_STRATA as usize && all.len() <= 256 * MAX_STRATA as usize);
    }

    #[test]
    fn a_cheap_tip_is_looked_at_more_closely() {
        let work = |bits: usize| Work(U256::ONE << bits);
        assert_eq!(strata_per_octave(work(20), work(0)), Some(14));
        assert_eq!(strata_per_octave(work(20) + work(0), work(0)), Some(15));
        assert_eq!(strata_per_octave(work(52), work(20)), Some(19));
        assert_eq!(strata_per_octave(work(162), work(0)), Some(64));
        assert_eq!(strata_per_octave(work(162) + work(0), work(0)), None);
        assert_eq!(strata_per_octave(work(0), work(10)), Some(14));
        assert_eq!(strata_per_octave(work(0), Work::ZERO), None);
    }

    /// The bits of security of a sample against a forger whose branch has length 1 and begins in the stratum from
    /// `start` > 1 down, if half of its work is false and lies where it is met least: where the true work of a stratum is
    /// as long as that of any other, as far as it fits.
    fn security(per_octave: u32, start: f64) -> f64 {
        let ratio = 2f64.powf(-1.0 / f64::from(per_octave));
        // The length of each stratum, and that of the honest work in it.
        let strata: Vec<(f64, f64)> = (0..40 * per_octave as i32)
            .map(|number| (start * ratio.powi(number), start * ratio.powi(number + 1)))
            .map(|(far, near)| (far - near, (far - 1.0).clamp(0.0, far - near)))
            .collect();
        let real = |price: f64| strata.iter().map(move |(length, honest)| price.clamp(*honest, *length));
        let (mut low, mut high) = (0.0, 1.0);
        for _ in 0..100 {
            let price = (low + high) / 2.0;
            let forged: f64 = real(price).zip(&strata).map(|(real, (_, honest))| real - honest).sum();
            if forged >= 0.5 { high = price } else { low = price }
        }
        real(high).zip(&strata).map(|(real, (length, _))| -(real / length).log2()).sum()
    }

    #[test]
    fn half_of_the_work_cannot_be_false() {
        for bits in [LEAST_BITS, 43, 51, 60, 100, 182] {
            let strata = strata_per_octave(Work(U256::ONE << (bits - MARGIN_BITS) as usize), work(1)).unwrap();
            let starts = (0..=20).map(|step| 2f64.powf(f64::from(step) / 20.0 / f64::from(strata)));
            let least = starts.map(|start| security(strata, start)).fold(f64::INFINITY, f64::min);
            assert!(least >= f64::from(bits), "{strata} strata: {least} bits, {bits} are due");
            assert!(least < f64::from(bits) + 5.0, "{strata} strata: {least} bits");
        }
    }
}
