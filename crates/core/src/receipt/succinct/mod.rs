//! Evidence whose size grows with the logarithm of the chain's length: FlyClient (Bünz, Kiffer, Luu, Zamani 2020) over
//! the Merkle mountain range that every coinbase commits to.
//!
//! The tip's coinbase commits to all earlier headers and the sum of their work. The proof shows the last [`TAIL`]
//! headers and a sample of the others. The tip's hash determines the sample, so the maker of a chain cannot choose it.
//! Each header shown is tied to the commitment, proves its work and has the bits that the difficulty rule gives after
//! the time of the node to its left. The coinbase of each sampled block commits to exactly the headers that the tip's
//! commitment places before it. The work claimed for headers that are not shown is within what the rule allows between
//! the times around them.
//!
//! # What it shows
//! Work, and only in expectation. Suppose a forger does the share `c` of the work claimed on top of the honest chain;
//! the rest is false. Distances from the end are divided into octaves, each half as long as the one before, down to the
//! last [`TAIL`] headers, which are all shown. The same number of samples is drawn by work from each octave. If false
//! work fills the shares `f₀, f₁, …` of the octaves, a set of samples misses all of it with probability `Π (1 −
//! fⱼ)^samples`: at `c = 1/2` and the worst distribution, `4^−samples`. That is the chance of one draw. Each new draw
//! needs a new tip and costs its work, but false times, which no one checks, can make a tip cheap. The number of
//! samples therefore grows as the tip gets cheaper ([`per_octave`]), so that the cost of a draw times the expected
//! number of draws exceeds the whole work.
//!
//! The number of headers proves nothing: on a branch that begins at an old tip they are as cheap as the network allows.
//! Times are their miners' claims. They do not fall and are not in the future, and a forger who makes headers dear by
//! early times must claim the work of the climb, and so have it sampled.
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
//! A *coinbase* is the ledger root (32), to which it commits besides headers; the transaction's encoding without the 32
//! bytes of the commitment, which the verifier computes; then the number of hashes in its Merkle branch (1 byte) and those
//! hashes. A *node* begins with a byte:
//!
//! | byte | node | then |
//! |---|---|---|
//! | 0 | nothing under it is shown | its hash (32), the length of its work in bytes (1) and those bytes, little-endian, the last not 0; its last time (4) |
//! | 1 | an inner node | its left node, its right node |
//! | 2 | a header | its parent's hash (32) unless the leaf before is shown, its Merkle root (32), version, time, bits, nonce (4 each) |
//! | 3 | a header that is sampled | version, time, bits, nonce (4 each), its *coinbase*; the leaf before is shown |
//!
//! The leaf of genesis is not written: the verifier has it. The proof shows header 1, where difficulty is anchored; the
//! last [`TAIL`] headers; and the sampled headers (byte 3) with the parent of each. The first of the last [`TAIL`] headers
//! always counts as sampled, and so does the payment's block if it is before them; genesis never does. Nothing else may
//! be shown, so that one chain has one proof.

mod bounds;
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

/// The first header after genesis, where difficulty is anchored.
const FIRST: Height = Height::GENESIS.next();
/// The last this many headers before the tip are all shown.
pub const TAIL: u32 = 256;
/// Fewest samples from each octave: if half of the work is forged, one draw misses it with probability `4^−25`.
pub const PER_OCTAVE: u8 = 25;
/// Most samples from each octave. More would be due only if the whole work exceeded 2^108 times the tip's, which no
/// honest chain comes near.
const MAX_PER_OCTAVE: u32 = 64;
/// If half of the work is forged, the expected cost of the draws needed is at least 2^20 times the whole work.
const MARGIN_BITS: usize = 20;

/// Domain tag of the challenge's hash.
const CHALLENGE_TAG: &[u8] = b"cairn succinct receipt";

const HIDDEN: u8 = 0;
const INNER: u8 = 1;
const HEADER: u8 = 2;
const SAMPLE: u8 = 3;

/// Samples from each octave, where `total` is the work before the tip and `tip` the tip's own work, which is the cost
/// of a draw; `None` if more would be due than a verifier accepts. Each sample adds two bits of security against a
/// forger of half the work; the number makes up for the cost of a draw.
pub fn per_octave(total: Work, tip: Work) -> Option<u8> {
    // The least n with tip × 2^n ≥ total.
    let cheapness = total.0.saturating_sub(U256::ONE).checked_div(tip.0)?.bit_len();
    let due = (MARGIN_BITS + cheapness).div_ceil(2) as u32;
    u8::try_from(due.max(PER_OCTAVE.into())).ok().filter(|samples| u32::from(*samples) <= MAX_PER_OCTAVE)
}

/// The points to sample, as positions in the work before the tip, in `0..total`: `samples` from each octave. Octaves
/// within the last `tail`, which is shown anyway, get none.
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

/// The mountains of the range over the headers before `tip`, tallest first, as the levels of each and its first leaf.
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

    /// Computes the greatest chance that one sample from each octave misses all false work, over all points where the
    /// attacker's part can begin. The attacker does best when `1 − fⱼ` is inversely proportional to the octaves'
    /// lengths, as far as the shares fit.
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
