//! Evidence that grows with the logarithm of the chain: FlyClient (Bünz, Kiffer, Luu, Zamani 2020) over the Merkle
//! mountain range that every coinbase commits to.
//!
//! The tip's coinbase commits to all headers before it, with their work summed. The verifier is shown the last
//! [`TAIL`] headers and a sample of the others, drawn by a hash of the tip, so that whoever made the chain could not
//! choose what is looked at. Each header shown is tied to the commitment, proves its work and has the bits that the
//! difficulty rule gives after its parent; each header sampled is the header of a block whose own coinbase commits to
//! exactly the headers that the tip places before it.
//!
//! # What it shows
//! Work, and only in expectation. Let somebody do the share `c` of the work that they claim on top of the honest chain; the
//! rest is false. Distances from the end are divided into octaves, each half as long as the one before, down to the last
//! [`TAIL`] headers, which are all shown; the same number of samples is drawn by work from each. If false work takes the
//! shares `f₀, f₁, …` of the octaves, a set of samples misses all of it with probability `Π (1 − fⱼ)^samples`: at
//! `c = 1/2` and the worst distribution, `4^−samples`. That is the chance of one draw. Draws are by the tip's hash, so another
//! costs the work of one more tip, and a tip can be made cheap by times that nobody checks: so the samples grow with
//! the price at which the tip was had ([`per_octave`]), and a draw's price times the draws needed stays above the whole.
//!
//! Headers prove nothing by their number. Those that are hidden may be worth as little as the network's limit, and
//! the bits of a header whose parent is shown follow from that parent's time, which is its maker's claim: the first such
//! header of a branch can be made as cheap, or as dear, as its maker likes. Its work must still be done.
//!
//! # Layout
//! Integers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | height `n` of the tip |
//! | 80 | the tip's header |
//! | … | the tip's *coinbase* |
//! | … | the range over the `n` headers before it: its mountains, tallest first, each a *node* |
//!
//! A *coinbase* is the transaction's encoding with the 32 bytes of the commitment left out, which the verifier knows;
//! then the number of its Merkle branch's hashes (1 byte) and those. A *node* begins with a byte:
//!
//! | byte | node | then |
//! |---|---|---|
//! | 0 | nothing under it is shown | its hash (32), the number of its work's bytes (1) and those, little-endian, the last of them not 0 |
//! | 1 | an inner node | its left node, its right node |
//! | 2 | a header | its parent's hash (32) unless the leaf before is shown, its Merkle root (32), version, time, bits, nonce (4 each) |
//! | 3 | a header that is sampled | version, time, bits, nonce (4 each), its *coinbase*; the leaf before is shown |
//!
//! Shown are: header 1, where difficulty is anchored; the last [`TAIL`] headers; and those sampled, as byte 3, with the
//! parent of each. The first of the last [`TAIL`] and the payment's block, if it is before them, count as sampled, unless
//! they are genesis. Nothing else may be shown, so that one chain has one proof. A hidden node of `n` headers has at
//! least `n` times the work of the easiest target.

mod bytes;
mod prove;
mod verify;

use ruint::aliases::U256;

pub use prove::{Source, prove};
pub use verify::SuccinctError;
pub(super) use verify::verify;

use crate::primitives::hash::{BlockHash, Hash256};
use crate::primitives::height::Height;
use crate::primitives::target::Work;

/// Where difficulty is anchored.
const FIRST: Height = Height::GENESIS.next();
/// Headers before the tip that are all shown.
pub const TAIL: u32 = 256;
/// Fewest samples from each octave: one draw misses the lies of a forger of half of the work with a chance of `4^−25`.
pub const PER_OCTAVE: u8 = 25;
/// Most samples from each octave. More are due where the whole work is 2^108 times that of the tip, which no honest chain
/// comes near.
const MAX_PER_OCTAVE: u32 = 64;
/// A forger of half of the work has to expect to pay at least 2^20 times the whole work for draws.
const MARGIN_BITS: usize = 20;

/// Marks what the challenge is a hash of.
const CHALLENGE_TAG: &[u8] = b"cairn succinct receipt";

const HIDDEN: u8 = 0;
const INNER: u8 = 1;
const HEADER: u8 = 2;
const SAMPLE: u8 = 3;

/// Samples from each octave, where `total` is the work before the tip and `tip` that of the tip, which a draw costs; `None`
/// if more would be due than any verifier takes. Two bits each against half of the work: enough for the price of a
/// draw to be made up for.
pub fn per_octave(total: Work, tip: Work) -> Option<u8> {
    // The least n with tip × 2^n ≥ total.
    let cheapness = total.0.saturating_sub(U256::ONE).checked_div(tip.0)?.bit_len();
    let due = (MARGIN_BITS + cheapness).div_ceil(2) as u32;
    u8::try_from(due.max(PER_OCTAVE.into())).ok().filter(|samples| u32::from(*samples) <= MAX_PER_OCTAVE)
}

/// Where to look: points of the work before the tip, in `0..total`, of which the last `tail` need no look; `samples` from
/// each octave.
fn challenges(genesis: &BlockHash, tip: &BlockHash, total: Work, tail: Work, samples: u8) -> Vec<U256> {
    let seed = Hash256::of(&[CHALLENGE_TAG, genesis.as_bytes(), tip.as_bytes()].concat());
    let (total, tail) = (total.0, tail.0);
    let mut points = Vec::new();
    for octave in 0u8..=u8::MAX {
        let (near, far) = (total >> (usize::from(octave) + 1), total >> usize::from(octave));
        if far <= tail || far == near {
            break;
        }
        for number in 0..samples {
            let draw = Hash256::of(&[&seed.as_bytes()[..], &[octave, number]].concat());
            let distance = near + U256::ONE + U256::from_le_bytes(draw.to_bytes()) % (far - near);
            points.push(total - distance);
        }
    }
    points
}

/// The mountains of the range over the headers before `tip`, tallest first: the levels of each, and its first leaf.
fn mountains(tip: Height) -> impl Iterator<Item = (u32, Height)> {
    let leaves = tip.as_u32();
    (0..u32::BITS).rev().filter(move |levels| leaves >> levels & 1 == 1).scan(Height::GENESIS, |first, levels| {
        let start = *first;
        *first = first.saturating_add(1 << levels);
        Some((levels, start))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountains_cover_all_leaves() {
        for tip in (0..70).map(Height::from_u32) {
            let leaves = |(levels, first): (u32, Height)| first.until(first.saturating_add(1 << levels));
            let all: Vec<Height> = mountains(tip).flat_map(leaves).collect();
            assert_eq!(all, Height::GENESIS.until(tip).collect::<Vec<_>>());
        }
    }

    #[test]
    fn points_fall_by_octaves_and_repeat() {
        let work = |n: u64| Work(U256::from(n));
        let (genesis, tip) = (BlockHash::of(b"genesis"), BlockHash::of(b"tip"));
        let points = challenges(&genesis, &tip, work(1 << 20), work(1 << 10), PER_OCTAVE);
        assert_eq!(points.len(), 10 * usize::from(PER_OCTAVE));
        for (place, point) in points.iter().enumerate() {
            let octave = place / usize::from(PER_OCTAVE);
            let distance = (1u64 << 20) - point.to::<u64>();
            assert!(distance > 1 << (19 - octave) && distance <= 1 << (20 - octave), "{octave} {distance}");
        }
        assert_eq!(points, challenges(&genesis, &tip, work(1 << 20), work(1 << 10), PER_OCTAVE));
        assert_ne!(points, challenges(&genesis, &BlockHash::of(b"another"), work(1 << 20), work(1 << 10), PER_OCTAVE));
        assert_eq!(challenges(&genesis, &tip, work(100), work(100), PER_OCTAVE), Vec::<U256>::new());
        assert_eq!(
            challenges(&genesis, &tip, Work(U256::MAX), work(0), PER_OCTAVE).len(),
            256 * usize::from(PER_OCTAVE)
        );
    }

    #[test]
    fn a_cheap_tip_is_looked_at_more_closely() {
        let work = |bits: usize| Work(U256::ONE << bits);
        assert_eq!(per_octave(work(20), work(0)), Some(25));
        assert_eq!(per_octave(work(30), work(0)), Some(25));
        assert_eq!(per_octave(work(30) + work(0), work(0)), Some(26));
        assert_eq!(per_octave(work(52), work(20)), Some(26));
        assert_eq!(per_octave(work(108), work(0)), Some(64));
        assert_eq!(per_octave(work(108) + work(0), work(0)), None);
        assert_eq!(per_octave(work(0), work(10)), Some(25));
        assert_eq!(per_octave(work(0), Work::ZERO), None);
    }

    /// The greatest chance to be missed by one sample of each octave, over where the attacker's part begins: the best
    /// shares of false work make `1 − fⱼ` inversely proportional to the octaves' lengths, as far as they fit.
    #[test]
    fn false_work_hides_from_one_sample_of_each_octave_one_time_in_four() {
        let mut worst = (0.0, 0.0);
        for step in 0..=1000 {
            let reach = f64::from(step) / 1000.0;
            // The first octave has length 1/2, of which the attacker holds a share of `reach`.
            let needed = (0.5 + reach / 2.0) / 2.0;
            let lengths: Vec<f64> = (1..40).map(|octave| 0.5f64.powi(octave)).collect();
            let shares = |price: f64| -> Vec<f64> {
                let share = |(octave, length): (usize, &f64)| {
                    (1.0 - 1.0 / (price * length)).clamp(0.0, if octave == 0 { reach } else { 1.0 })
                };
                lengths.iter().enumerate().map(share).collect()
            };
            let (mut low, mut high) = (1e-6f64, 1e12f64);
            for _ in 0..200 {
                let price = (low * high).sqrt();
                let sum: f64 = shares(price).iter().zip(&lengths).map(|(share, length)| share * length).sum();
                if sum >= needed { high = price } else { low = price }
            }
            let missed: f64 = shares(high).iter().map(|share| 1.0 - share).product();
            if missed > worst.0 {
                worst = (missed, reach);
            }
        }
        assert!((worst.0 - 0.25).abs() < 1e-9 && (worst.1 - 0.5f64).abs() < 1e-9, "{worst:?}");
    }
}
