//! A forger tries the known attacks on receipts. Each test counts the hashes an attack costs and the confirmations it
//! gets. Honest blocks cost 65,536 hashes each, the easiest allowed cost 2, and the last honest block is a day old.

use cairn_core::consensus::error::RuleError;
use cairn_core::consensus::params::{GenesisSpec, Params, Retarget};
use cairn_core::primitives::hash::BlockHash;
use cairn_core::primitives::height::Height;
use cairn_core::primitives::target::{Bits, Work};
use cairn_core::primitives::time::UnixTime;
use cairn_core::receipt::succinct::{SuccinctError, TAIL};
use cairn_core::receipt::{Proven, Receipt, ReceiptError};
use cairn_testkit::forge::Forge;
use ruint::aliases::U256;

/// Blocks of the honest chain.
const HONEST: u32 = 24;
/// Seconds since the last honest block.
const AGE_SECS: u32 = 86_400;

fn work(hashes: u64) -> Work {
    Work(U256::from(hashes))
}

fn any(_: &BlockHash) -> bool {
    true
}

/// A forger who starts from the end of the honest chain.
struct Forger {
    forge: Forge,
    /// The clock, in seconds since 1970.
    now: u32,
    /// Hashes spent, and what one honest block costs.
    hashes: u64,
    unit: u64,
    /// Height of the payment.
    payment: Height,
}

impl Forger {
    fn new() -> Self {
        let mut spec = GenesisSpec {
            retarget: Retarget::Asert,
            bits: Bits(0x1f00_ffff),
            target_spacing_secs: 5,
            half_life_secs: 1_440,
            max_future_secs: 120,
            ..GenesisSpec::regtest()
        };
        assert!(spec.mine_nonce());
        let mut forge = Forge::new(Params::new(spec).expect("the parameters are valid"));
        let unit = forge.params.genesis_target.work().0.to::<u64>();
        let start = forge.params.timestamp;
        for height in 1..=HONEST {
            forge.add_forged(start + 5 * height, None, any);
        }
        let now = start + 5 * HONEST + AGE_SECS;
        Self { forge, now, hashes: 0, unit, payment: Height::GENESIS }
    }

    /// Adds a block that proves its work.
    fn mined(&mut self, time: u32) {
        self.hashes += self.forge.add_forged(time, None, any);
    }

    /// Adds a block that claims work and proves none.
    fn claimed(&mut self, time: u32, work: Work) {
        self.forge.add_forged(time, Some(work), any);
    }

    /// Adds a block that claims the work due and proves none.
    fn claimed_as_due(&mut self, time: u32) {
        let due = self.forge.due().target().expect("bits of a target").work();
        self.claimed(time, due);
    }

    /// A payment in a real block, after which all are easy: its time is a day late.
    fn pay_late(&mut self) {
        self.mined(self.now);
        self.payment = self.forge.height();
    }

    /// The last headers and the tip, for two hashes each after a late one.
    fn easy_end(&mut self) {
        (0..=TAIL).for_each(|_| self.mined(self.now));
    }

    fn shown(&self, receipt: &Receipt) -> Result<Proven, ReceiptError> {
        receipt.verify(&self.forge.params, None, UnixTime::from_secs(self.now.into()))
    }

    fn sampled(&self) -> Result<Proven, ReceiptError> {
        self.shown(&self.forge.succinct(self.payment))
    }
}

fn refusal(verdict: Result<Proven, ReceiptError>) -> SuccinctError {
    match verdict {
        Err(ReceiptError::Succinct(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// Hidden headers that claim no work would never be sampled, and any number of them is free.
#[test]
fn headers_without_work_are_not_taken() {
    let mut forger = Forger::new();
    forger.pay_late();
    (0..5_000).for_each(|_| forger.claimed(forger.now, Work::ZERO));
    forger.easy_end();
    let error = refusal(forger.sampled());
    assert!(matches!(error, SuccinctError::ImpossibleWork { .. }), "{error}");
}

/// Headers that claim the least work allowed are sampled like any other false work.
#[test]
fn headers_at_the_limit_are_looked_at() {
    let mut forger = Forger::new();
    forger.pay_late();
    (0..5_000).for_each(|_| forger.claimed_as_due(forger.now));
    forger.easy_end();
    let error = refusal(forger.sampled());
    assert!(matches!(error, SuccinctError::Rule { .. } | SuccinctError::OtherHeaders { .. }), "{error}");
}

/// Hidden headers cannot claim more than the rule has due, and one that is looked at must prove it.
#[test]
fn one_large_lie_is_not_taken() {
    for real in [0, 3_000] {
        let mut forger = Forger::new();
        forger.pay_late();
        forger.claimed(forger.now, work(1_000 * forger.unit));
        (0..real).for_each(|_| forger.mined(forger.now));
        forger.easy_end();
        let error = refusal(forger.sampled());
        assert!(
            matches!(
                error,
                SuccinctError::Rule { .. } | SuccinctError::OtherHeaders { .. } | SuccinctError::ImpossibleWork { .. }
            ),
            "{error}"
        );
    }
}

/// One false header a day late makes all later headers easy. It must claim the work of a real one, which is most of what
/// the easy ones have on top, and so is looked at.
#[test]
fn a_false_header_cannot_hide_before_easy_ones() {
    let mut forger = Forger::new();
    forger.claimed_as_due(forger.now);
    forger.mined(forger.now);
    forger.payment = forger.forge.height();
    (0..700).for_each(|_| forger.mined(forger.now));
    assert!(forger.hashes < 3_000, "{}", forger.hashes);
    let error = refusal(forger.sampled());
    assert!(matches!(error, SuccinctError::Rule { .. } | SuccinctError::OtherHeaders { .. }), "{error}");
}

/// A false header with an early time would make the next one as dear as its maker likes, for one lucky hash: hidden or
/// shown, no header has a time before those below.
#[test]
fn no_false_header_makes_the_next_dear() {
    for easy in [1, 300, 2_000] {
        let mut forger = Forger::new();
        let start = forger.forge.params.timestamp;
        forger.pay_late();
        (0..easy).for_each(|_| forger.mined(forger.now));
        forger.claimed_as_due(start);
        forger.easy_end();
        let error = refusal(forger.sampled());
        assert!(matches!(error, SuccinctError::Rule { source: RuleError::TimeTooOld { .. }, .. }), "{error}");
    }
}

/// Everything for two hashes a header after one real block with a late time: proven, and worth that block.
#[test]
fn an_easy_branch_is_one_confirmation_however_long() {
    let mut forger = Forger::new();
    forger.pay_late();
    (0..700).for_each(|_| forger.mined(forger.now));
    let proven = forger.sampled().unwrap();
    assert_eq!((proven.headers, proven.weight.confirmations), (701, 1), "for {} hashes", forger.hashes);
    assert!(matches!(proven.demand(2), Err(ReceiptError::TooLittleWork { .. })));
}

/// A branch that breaks no rule, from the honest chain's end of a day ago: one block at full price, and then the difficulty
/// is down.
#[test]
fn a_stale_branch_with_all_headers_is_one_confirmation() {
    let mut forger = Forger::new();
    forger.mined(forger.now);
    forger.payment = forger.forge.height();
    (0..TAIL).for_each(|_| forger.mined(forger.now + 1 + forger.forge.height().as_u32() / 5));
    forger.now += 120;
    let proven = forger.shown(&forger.forge.whole(forger.payment)).unwrap();
    assert_eq!((proven.headers, proven.weight.confirmations), (TAIL + 1, 1), "for {} hashes", forger.hashes);
    assert!(matches!(proven.demand(2), Err(ReceiptError::TooLittleWork { got: 1, headers: 257, .. })));
}

/// Where there was a pace, the branch's is noticed too.
#[test]
fn a_stale_branch_is_slow() {
    let params = {
        let mut spec =
            GenesisSpec { half_life_secs: 1_440, max_future_secs: 120, ..cairn_testkit::forge::params().spec };
        assert!(spec.mine_nonce());
        Params::new(spec).unwrap()
    };
    let mut forge = Forge::honest(params, 1_000);
    let honest = forge.whole(Height::from_u32(900));
    let end = forge.headers[1_000].time;
    assert_eq!(honest.verify(&forge.params, None, UnixTime::from_secs(end.into())).unwrap().warnings(), [""; 0]);
    let late = end + 3_600;
    for at in 0..8 {
        forge.add_forged(late + at, None, any);
    }
    let proven =
        forge.whole(Height::from_u32(1_001)).verify(&forge.params, None, UnixTime::from_secs(late.into())).unwrap();
    let slow = proven.weight.slow.unwrap();
    assert!(slow.since <= end && slow.percent < 5, "{slow:?}");
    assert!(proven.warnings()[0].contains("of the work that its miners did before"), "{:?}", proven.warnings());
    let proven =
        forge.succinct(Height::from_u32(1_001)).verify(&forge.params, None, UnixTime::from_secs(late.into())).unwrap();
    assert!(proven.weight.slow.is_some());
}

/// A branch from genesis costs blocks at early difficulty, and no earlier pace exposes it: only the total work does.
#[test]
fn a_branch_from_genesis_is_doubted() {
    let honest = Forge::honest(cairn_testkit::forge::params(), 1_000);
    let (now, unit) = (honest.headers[1_000].time, honest.params.genesis_target.work());
    let mut branch = Forge::new(cairn_testkit::forge::params());
    let enough = Work(unit.0 * U256::from(7));
    while branch.work() < enough && branch.height() < Height::from_u32(300) {
        branch.add_forged(now + branch.height().as_u32(), None, any);
    }
    let latest = branch.headers[branch.height().as_usize()].time;
    let proven =
        branch.whole(Height::from_u32(1)).verify(&branch.params, None, UnixTime::from_secs(latest.into())).unwrap();
    assert!(proven.demand(6).is_ok() && proven.weight.slow.is_none() && !proven.is_old);
    assert!(proven.weight.no_pace && proven.work < honest.work());
    let warnings = proven.warnings();
    assert!(warnings.len() == 1 && warnings[0].contains("compare the work in all"), "{warnings:?}");
}

#[test]
fn a_tip_from_the_future_is_refused() {
    let mut forger = Forger::new();
    forger.mined(forger.now);
    forger.payment = forger.forge.height();
    forger.mined(forger.now + 121);
    for receipt in [forger.forge.succinct(forger.payment), forger.forge.whole(forger.payment)] {
        let verdict = forger.shown(&receipt);
        assert!(matches!(verdict, Err(ReceiptError::FromTheFuture { .. })), "{verdict:?}");
    }
    forger.now += 1;
    assert!(forger.sampled().is_ok());
}
