//! How much work headers can have that are not shown: the difficulty rule, with their number and the times around them.

use ruint::aliases::U256;

use crate::consensus::context::{Parent, next_work};
use crate::consensus::params::{Params, Retarget};
use crate::primitives::target::Work;

/// The least and the most work of `count` headers after `parent`; the last one has the time `last_time`.
///
/// The work due after a parent rises with its height and falls with its time. The times of the headers are neither
/// before their parent's nor after `last_time`, so each has at least the work due after a parent of its height with the
/// time `last_time`, and at most that after one with the time of `parent`. The first has exactly what is due after
/// `parent`. The sums over all heights are bounded by a few values of the rule, since due work halves or doubles within
/// `half_life / spacing` heights:
///
/// - least: the larger of two bounds. The second header has the least work due, so all have as much; and the last
///   `half_life / spacing` ones have what is due before them.
/// - most: a geometric series that ends with the last header has fewer than `1.5 half_life / spacing + 2` times its last
///   term, and where the easiest target stops it, each header has the least work that there is.
pub(super) fn bounds(parent: &Parent, count: u32, last_time: u32, params: &Params) -> (Work, Work) {
    let first = next_work(parent, params);
    let rest = count.saturating_sub(1);
    if params.retarget == Retarget::None || rest == 0 {
        let all = times(first, count);
        return (all, all);
    }
    // The work due after a header that comes so many after the parent.
    let due =
        |after: u32, time| next_work(&Parent { height: parent.height.saturating_add(after), time, ..*parent }, params);
    let halving = params.half_life_secs / params.target_spacing_secs;
    let series = (3 * params.half_life_secs).div_ceil(2 * params.target_spacing_secs) + 2;
    let last = halving.min(rest);
    let least = times(due(1, last_time), rest).max(times(due(count - last, last_time), last));
    let most = times(due(rest, parent.time), series.min(rest)) + times(params.pow_limit.work(), rest);
    (first + least, first + most)
}

fn times(work: Work, count: u32) -> Work {
    Work(work.0.saturating_mul(U256::from(count)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::params::GenesisSpec;
    use crate::primitives::height::Height;
    use crate::primitives::target::Bits;

    fn params(bits: u32, target_spacing_secs: u32, half_life_secs: u32, retarget: Retarget) -> Params {
        let bits = Bits(bits);
        let max_future_secs = 1;
        let spec = GenesisSpec {
            retarget,
            bits,
            target_spacing_secs,
            half_life_secs,
            max_future_secs,
            ..GenesisSpec::regtest()
        };
        let spec = (0..).map(|nonce| GenesisSpec { nonce, ..spec.clone() }).find_map(|spec| Params::new(spec).ok());
        spec.unwrap()
    }

    /// A generator of numbers that fall or rise at any pace (xorshift).
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, end: u32) -> u32 {
            for shift in [13, -7, 17i32] {
                self.0 ^= if shift > 0 { self.0 << shift } else { self.0 >> -shift };
            }
            (self.0 % u64::from(end.max(1))) as u32
        }
    }

    /// The work of each header of a chain with these times from height 1 on, by the rule alone.
    fn works(params: &Params, times: &[u32]) -> Vec<Work> {
        let mut parent = Parent { height: Height::GENESIS, time: params.timestamp, first_time: times[0] };
        let next = |time: &u32| {
            let work = next_work(&parent, params);
            parent = Parent { height: parent.height.next(), time: *time, ..parent };
            work
        };
        times.iter().map(next).collect()
    }

    #[test]
    fn all_headers_that_keep_the_rules_are_within() {
        let networks = [
            params(0x202f_ffff, 5, 60, Retarget::Asert),
            params(0x1f00_ffff, 5, 1_440, Retarget::Asert),
            params(0x1f00_ffff, 600, 172_800, Retarget::Asert),
            params(0x2000_8000, 60, 7, Retarget::Asert),
            params(0x207f_ffff, 1, 100_000, Retarget::Asert),
            params(0x2000_8000, 5, 60, Retarget::None),
        ];
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15);
        for params in &networks {
            for pace in [0, 1, 2, 5, 40] {
                let mut time = params.timestamp;
                let times: Vec<u32> = (0..700)
                    .map(|_| {
                        // On schedule in the mean, standing still, slow, or with gaps of a few half-lives.
                        let gap = if numbers.below(100) == 0 { 3 * params.half_life_secs } else { 0 };
                        time += numbers.below(pace * params.target_spacing_secs + 1) + if pace > 2 { gap } else { 0 };
                        time
                    })
                    .collect();
                let works = works(params, &times);
                for _ in 0..2_000 {
                    let first = 1 + numbers.below(690);
                    let count = 1 + numbers.below(700 - first - 1) % (1 << numbers.below(10));
                    let (from, to) = (first as usize, (first + count) as usize);
                    let parent =
                        Parent { height: Height::from_u32(first), time: times[from - 1], first_time: times[0] };
                    let (least, most) = bounds(&parent, count, times[to - 1], params);
                    let work: Work = works[from..to].iter().copied().sum();
                    assert!((least..=most).contains(&work), "{count} after {first}: {work:?} {least:?} {most:?}");
                }
            }
        }
    }

    /// Where times go by on schedule, the bounds of a node that is short against the half-life are near its work.
    #[test]
    fn bounds_are_tight_for_short_nodes() {
        let params = params(0x1f00_ffff, 5, 1_440, Retarget::Asert);
        let times: Vec<u32> = (1..1_000).map(|height| params.timestamp + 5 * height).collect();
        let works = works(&params, &times);
        for count in [1, 2, 8, 32] {
            let parent = Parent { height: Height::from_u32(500), time: times[499], first_time: times[0] };
            let (least, most) = bounds(&parent, count, times[499 + count as usize], &params);
            let work: Work = works[500..500 + count as usize].iter().copied().sum();
            let share = |bound: Work| bound.as_f64() / work.as_f64();
            let tolerance = f64::from(count) / 288.0;
            assert!(share(least) > 1.0 - tolerance && share(most) < 1.001 + tolerance, "{count}");
            assert!(count > 1 || (least, most) == (work, work));
        }
    }
}
