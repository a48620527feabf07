//! How deep a payment is buried, measured in work. A count of headers would not do: a branch that begins at an old tip
//! or has false times can consist of headers that cost nothing.

use std::fmt;
use std::time::Duration;

use ruint::aliases::{U256, U512};

use crate::consensus::params::{Params, Retarget};
use crate::primitives::header::Header;
use crate::primitives::target::Work;
use crate::primitives::time::UnixTime;

/// The unit and the pace are taken from the last 1/16 of the work (as a shift): enough blocks to even out luck, recent
/// enough to be the same miners'. Because the window is measured in work, no number of cheap headers can push others
/// out of it.
const WINDOW: u32 = 4;
/// Fewest units of work from which a pace is computed: with 64 blocks, the standard deviation of their number is an
/// eighth.
const PACE_UNITS: u32 = 64;
/// Boundaries examined are at least 1/64 of their distance from the payment apart (as a shift): a few hundred for a
/// million headers.
const THINNING: usize = 6;

/// Blocks' worth of work, its own included, on the first block to commit to a state that make the state good enough, unless
/// a caller says otherwise: a miner who forged a state could claim every coin in it.
pub const BURIED: u32 = 256;

/// Block spacings since the tip that count as time in which its miners were at work: an honest chain goes so long without
/// a block once in ten million times. A receipt that was kept for longer is old, not slow.
const IDLE_SPACINGS: u32 = 16;

/// A header that the proof shows, with its position in work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Milestone {
    /// Work of the chain up to this header, its own included.
    pub after: Work,
    /// Work of this header.
    pub own: Work,
    /// Its time, in seconds since 1970.
    pub time: u32,
}

/// The work on top of a payment, and what it is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// Work of the payment's block and all blocks after it.
    pub on_top: Work,
    /// What one confirmation is worth: the largest work of a header shown within the last 1/16 of the work before the
    /// payment's block, of the last one shown before that, or of the payment's block itself.
    pub unit: Work,
    /// `on_top` in units, rounded down.
    pub confirmations: u32,
    /// Set if the chain slowed down, so that miners may be on another branch.
    pub slow: Option<Slow>,
    /// Whether too little work is shown before the payment's block to compute a pace. A slowdown there goes unnoticed,
    /// though the branch may have begun shortly before.
    pub no_pace: bool,
}

/// From some time on the chain shows less than half of the work expected at its earlier pace: other miners have left
/// this branch, or most miners have stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slow {
    /// When the slowdown began, in seconds since 1970.
    pub since: u32,
    /// Work shown since then, as a percentage of the work expected at the earlier pace.
    pub percent: u32,
}

impl fmt::Display for Slow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { since, percent } = self;
        let since = UnixTime::from_secs((*since).into()).utc();
        write!(
            f,
            "since {since} UTC the chain shows {percent} % of the work that its miners did before: it is a branch that \
             others have left, or most miners are gone"
        )
    }
}

/// The time up to which work was due on a chain that a receipt shows at the time `now`, in seconds since 1970: its tip's,
/// or a few block spacings later, as far as they have passed.
pub fn due_until(tip_time: u32, now: UnixTime, params: &Params) -> u32 {
    let idle = IDLE_SPACINGS.saturating_mul(params.target_spacing_secs);
    let latest = UnixTime::from_secs(tip_time.into()).saturating_add(Duration::from_secs(idle.into()));
    u32::try_from(now.min(latest).as_secs()).unwrap_or(u32::MAX).max(tip_time)
}

impl Weight {
    /// Drops the warnings about pace on a network without a difficulty rule, where nothing sets the pace.
    pub fn under(self, params: &Params) -> Self {
        let has_pace = params.retarget == Retarget::Asert;
        Self { slow: self.slow.filter(|_| has_pace), no_pace: self.no_pace && has_pace, ..self }
    }

    /// Reasons to doubt that miners work on this chain. None of them refutes the receipt.
    pub fn warnings(&self) -> Vec<String> {
        let slow = self.slow.map(|slow| slow.to_string());
        let no_pace = self.no_pace.then(|| {
            "too little work is shown before the payment to know its miners' pace, as in a young chain or soon after a \
             checkpoint: compare the work in all with what others report"
                .to_owned()
        });
        slow.into_iter().chain(no_pace).collect()
    }
}

/// Weighs a payment in `block`, in a chain with `total` work, which was due until the time `until`. `earlier` are the
/// headers shown before `block`, latest first.
pub fn weigh(block: Milestone, earlier: impl Iterator<Item = Milestone>, total: Work, until: u32) -> Weight {
    let before = block.after - block.own;
    let window = Work(before.0 - (before.0 >> WINDOW));
    // A block with no header before it is genesis or the verifier's own checkpoint. The unit is at least the payment
    // block's own work, or a single lucky hash could pass for many blocks. One header from before the window counts
    // too: a forger with a cheap parent could otherwise draw tips until the window shows no other header.
    let mut unit = block.own;
    let mut within = true;
    let mut boundaries = vec![block];
    let mut last = block.after;
    for header in earlier {
        if within {
            unit = unit.max(header.own);
            within = header.after >= window;
        }
        if (last - header.after).0 >= (block.after - header.after).0 >> THINNING {
            boundaries.push(header);
            last = header.after;
        }
    }
    let on_top = total - before;
    let confirmations = on_top.0.checked_div(unit.0).unwrap_or_default().saturating_to();
    let no_pace = boundaries.last().is_none_or(|first| first.after + pace_span(block.after, unit) > block.after);
    let slow = slowest(&boundaries, unit, total, until);
    Weight { on_top, unit, confirmations, slow, no_pace }
}

/// Work over which the pace up to a header is measured, if the chain up to it has `after` work.
fn pace_span(after: Work, unit: Work) -> Work {
    Work((after.0 >> WINDOW).max(unit.0.saturating_mul(U256::from(PACE_UNITS))))
}

/// The boundary after which the smallest share of the expected work is shown. `boundaries` run from the last to the
/// first.
fn slowest(boundaries: &[Milestone], unit: Work, total: Work, until: u32) -> Option<Slow> {
    let enough = U512::from(unit.0) * U512::from(PACE_UNITS);
    let mut slowest: Option<Slow> = None;
    let mut from = 0;
    for end in boundaries {
        let span = pace_span(end.after, unit);
        while boundaries.get(from).is_some_and(|start| start.after + span > end.after) {
            from += 1;
        }
        let Some(start) = boundaries.get(from) else { break };
        let (Some(elapsed), Some(took)) = (until.checked_sub(end.time), end.time.checked_sub(start.time)) else {
            continue;
        };
        let expected = U512::from((end.after - start.after).0) * U512::from(elapsed) / U512::from(took.max(1));
        let shown = U512::from((total - end.after).0);
        if expected < enough || shown * U512::from(2) >= expected {
            continue;
        }
        let percent = (shown * U512::from(100) / expected).saturating_to();
        if slowest.is_none_or(|slow| percent < slow.percent) {
            slowest = Some(Slow { since: end.time, percent });
        }
    }
    slowest
}

/// Milestones of `headers`, which run from the last to the first. `after` is the work up to the last.
pub fn backwards<'a>(
    headers: impl Iterator<Item = &'a Header> + 'a,
    mut after: Work,
) -> impl Iterator<Item = Milestone> + 'a {
    headers.map(move |header| {
        let milestone = Milestone { after, own: work_of(header), time: header.time };
        after = after - milestone.own;
        milestone
    })
}

/// The work that a header's bits stand for; zero if they are not a valid target.
pub fn work_of(header: &Header) -> Work {
    header.bits.target().map(|target| target.work()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(n: u64) -> Work {
        Work(U256::from(n))
    }

    /// Weighs the last of `headers`, given as (work, time), in a chain with `rest` more work on top.
    fn weighed(headers: &[(u64, u32)], rest: u64, until: u32) -> Weight {
        let mut sum = 0;
        let mut shown: Vec<Milestone> = headers
            .iter()
            .map(|(own, time)| {
                sum += own;
                Milestone { after: work(sum), own: work(*own), time: *time }
            })
            .collect();
        let block = shown.pop().unwrap();
        weigh(block, shown.into_iter().rev(), work(sum + rest), until)
    }

    #[test]
    fn a_confirmation_is_the_work_of_the_largest_block_shortly_before() {
        let steady: Vec<(u64, u32)> = (0..1_000).map(|i| (1_000, 10 * i)).collect();
        let weight = weighed(&steady, 5_999, 9_990);
        assert_eq!((weight.unit, weight.confirmations, weight.on_top), (work(1_000), 6, work(6_999)));
        // A thousand cheap headers do not push an honest one out of the window.
        let cheap = [&steady[..], &[(1, 9_990); 1_000]].concat();
        let weight = weighed(&cheap, 100, 9_990);
        assert_eq!((weight.unit, weight.confirmations), (work(1_000), 0));
        // A header from long ago does not count, unless no later one is shown.
        assert_eq!(weighed(&[(5_000, 0), (5_000, 10), (1, 20), (1, 30)], 6_000, 40).confirmations, 1);
        let eased = [&[(5_000, 0)], &steady[..]].concat();
        assert_eq!(weighed(&eased, 0, 9_990).unit, work(1_000));
        // A payment's block counts as one confirmation, whatever its work.
        let raised = [&steady[..], &[(50_000, 9_990)]].concat();
        assert_eq!((weighed(&raised, 0, 9_990).confirmations, weighed(&raised, 50_000, 9_990).confirmations), (1, 2));
        // Genesis alone.
        assert_eq!(weighed(&[(7, 0)], 0, 0).confirmations, 1);
    }

    #[test]
    fn work_is_due_for_a_while_after_the_tip() {
        let params = Params::new(crate::consensus::params::GenesisSpec::regtest()).unwrap();
        let until = |now| due_until(1_000, UnixTime::from_secs(now), &params);
        assert_eq!([0, 1_000, 1_079, 1_080, 1_081, u64::MAX].map(until), [1_000, 1_000, 1_079, 1_080, 1_080, 1_080]);
        assert_eq!(due_until(u32::MAX, UnixTime::from_secs(u64::MAX), &params), u32::MAX);
    }

    #[test]
    fn a_chain_that_slows_down_is_noticed_wherever_it_began() {
        let steady: Vec<(u64, u32)> = (0..2_000).map(|i| (1_000, 10 * i)).collect();
        assert_eq!(weighed(&steady, 100_000, 19_990 + 1_000).slow, None);
        assert_eq!(weighed(&steady, 51_000, 19_990 + 1_000).slow, None);
        let since_payment = weighed(&steady, 30_000, 19_990 + 1_000).slow.unwrap();
        assert_eq!(since_payment, Slow { since: 19_990, percent: 30 });
        // Too little work before the payment.
        assert!(!weighed(&steady[..65], 0, 650).no_pace && weighed(&steady[..64], 0, 640).no_pace);
        // Too short a time.
        assert_eq!(weighed(&steady, 0, 19_990 + 300).slow, None);
        // The branch began 300 cheap headers before the payment, all with the time of the end.
        let branch = [&steady[..], &[(10, 40_000); 300]].concat();
        let slow = weighed(&branch, 6_000, 40_000).slow.unwrap();
        assert!(slow.since >= 19_900 && slow.since < 20_000 && slow.percent < 2, "{slow:?}");
    }
}
