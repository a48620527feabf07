//! A forger tries the known attacks on receipts. Each test counts the hashes an attack costs and the confirmations it
//! gets. Honest blocks cost 65,536 hashes each, the easiest allowed cost 2, and the last honest block is a day old.

use cairn_core::consensus::params::{GenesisSpec, Params, Retarget};
use cairn_core::primitives::hash::{BlockHash, Hash256};
use cairn_core::primitives::height::Height;
use cairn_core::primitives::target::{Bits, Work};
use cairn_core::primitives::time::UnixTime;
use cairn_core::receipt::succinct::{PER_OCTAVE, SuccinctError, TAIL};
use cairn_core::receipt::{Proven, Receipt, ReceiptError};
use cairn_testkit::forge::Forge;
use ruint::aliases::U256;

/// Blocks of the honest chain.
const HONEST: u32 = 24;
/// Seconds since the last honest block.
const AGE_SECS: u32 = 86_400;
/// Work at the easiest target allowed.
const EASIEST: Bits = Bits(0x207f_ffff);

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
    /// Work that exposes the forger when sampled, as distances from genesis: false work, and headers whose parent is
    /// false.
    unlinked: Vec<(U256, U256)>,
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
            forge.add_forged(start + 5 * height, None, None, any);
        }
        let now = start + 5 * HONEST + AGE_SECS;
        Self { forge, now, hashes: 0, unit, payment: Height::GENESIS, unlinked: Vec::new() }
    }

    /// Adds a block that proves its work, with the bits due, or with other bits where its parent will be hidden.
    fn mined(&mut self, time: u32, bits: Option<Bits>) {
        let before = self.forge.work();
        self.hashes += self.forge.add_forged(time, bits, None, any);
        if bits.is_some() {
            self.unlinked.push((before.0, self.forge.work().0));
        }
    }

    /// Adds a block that proves no work.
    fn claimed(&mut self, work: Work) {
        let before = self.forge.work();
        self.forge.add_forged(self.now, Some(EASIEST), Some(work), any);
        self.unlinked.push((before.0, self.forge.work().0));
    }

    /// Two headers, of which only the second is worth anything: the first has whatever time makes the second worth about
    /// so many hashes. Times do not fall along the headers shown, so a later call cannot ask for more hashes than an earlier
    /// one.
    fn raised(&mut self, hashes: u64) {
        // As if the tip were that parent: one height more is a thousandth of a half-life.
        let (mut low, mut high) = (0, self.now);
        while low < high {
            let middle = low + (high - low) / 2;
            let due = self.forge.due_after(middle).target().expect("bits of a target").work();
            if due.0 > U256::from(hashes) { low = middle + 1 } else { high = middle }
        }
        self.mined(low, Some(EASIEST));
        self.mined(low, None);
    }

    /// One more block of the price of the last.
    fn on_schedule(&mut self) {
        let last = self.forge.headers[self.forge.height().as_usize()].time;
        self.mined(last + self.forge.params.target_spacing_secs, None);
    }

    /// The payment, in a block for two hashes: its parent's time is a day late, and the parent's own bits cannot be
    /// checked, since a lie stands before it.
    fn cheap_payment(&mut self) {
        self.claimed(work(2));
        self.mined(self.now, Some(EASIEST));
        self.mined(self.now, None);
        self.payment = self.forge.height();
    }

    /// The last headers, for two hashes each, after a parent whose time is a day late. Answers the work before them.
    fn easy_tail(&mut self) -> Work {
        self.claimed(work(2));
        self.mined(self.now, Some(EASIEST));
        let before = self.forge.work();
        (0..TAIL).for_each(|_| self.mined(self.now, None));
        before
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

/// A few hundred hashes buy any number of headers that claim no work and so would never be sampled.
#[test]
fn headers_without_work_are_not_taken() {
    let mut forger = Forger::new();
    forger.cheap_payment();
    (0..5_000).for_each(|_| forger.claimed(Work::ZERO));
    forger.easy_tail();
    // The second tip draws none of the other lies, which are refused otherwise.
    (0..2).for_each(|_| forger.mined(forger.now, None));
    assert!(forger.hashes < 2_000, "{}", forger.hashes);
    let error = refusal(forger.sampled());
    assert!(matches!(error, SuccinctError::TooLittleWork { .. }), "{error}");
}

/// Headers that claim the least work allowed are sampled like any other false work.
#[test]
fn headers_at_the_limit_are_looked_at() {
    let mut forger = Forger::new();
    forger.cheap_payment();
    (0..5_000).for_each(|_| forger.claimed(work(2)));
    forger.easy_tail();
    forger.mined(forger.now, None);
    let error = refusal(forger.sampled());
    assert!(matches!(error, SuccinctError::Rule { .. } | SuccinctError::OtherHeaders { .. }), "{error}");
}

/// One header claims the work of a thousand blocks and proves none.
#[test]
fn one_large_lie_is_looked_at() {
    let mut forger = Forger::new();
    forger.cheap_payment();
    forger.claimed(work(1_000 * forger.unit));
    forger.easy_tail();
    forger.mined(forger.now, None);
    let error = refusal(forger.sampled());
    assert!(matches!(error, SuccinctError::Rule { .. } | SuccinctError::OtherHeaders { .. }), "{error}");
}

/// Everything for two hashes a header, by one parent with a chosen time: proven, and worth nothing.
#[test]
fn an_easy_branch_is_no_confirmation_however_long() {
    let mut forger = Forger::new();
    forger.cheap_payment();
    (0..700).for_each(|_| forger.mined(forger.now, None));
    let proven = forger.sampled().unwrap();
    assert_eq!((proven.headers, proven.weight.confirmations), (701, 0));
    assert!(forger.hashes < 3_000 && matches!(proven.demand(1), Err(ReceiptError::TooLittleWork { .. })));
}

/// A branch that breaks no rule, from the honest chain's end of a day ago: one block at full price, and then the difficulty
/// is down.
#[test]
fn a_stale_branch_with_all_headers_is_one_confirmation() {
    let mut forger = Forger::new();
    forger.mined(forger.now, None);
    forger.payment = forger.forge.height();
    (0..TAIL).for_each(|_| forger.mined(forger.now + 1 + forger.forge.height().as_u32() / 5, None));
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
        forge.add_forged(late + at, None, None, any);
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
        branch.add_forged(now + branch.height().as_u32(), None, None, any);
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
    forger.mined(forger.now, None);
    forger.payment = forger.forge.height();
    forger.mined(forger.now + 121, None);
    for receipt in [forger.forge.succinct(forger.payment), forger.forge.whole(forger.payment)] {
        let verdict = forger.shown(&receipt);
        assert!(matches!(verdict, Err(ReceiptError::FromTheFuture { .. })), "{verdict:?}");
    }
    forger.now += 1;
    assert!(forger.sampled().is_ok());
}

/// The sampled points as the documentation computes them.
fn points(genesis: &BlockHash, tip: &BlockHash, total: U256, tail: U256) -> impl Iterator<Item = U256> {
    let seed = Hash256::of(&[&b"cairn succinct receipt"[..], genesis.as_bytes(), tip.as_bytes()].concat());
    (0u8..).take_while(move |octave| total >> usize::from(*octave) > tail).flat_map(move |octave| {
        let (near, far) = (total >> (usize::from(octave) + 1), total >> usize::from(octave));
        (0..PER_OCTAVE).map(move |number| {
            let draw = U256::from_le_bytes(Hash256::of(&[&seed.as_bytes()[..], &[octave, number]].concat()).to_bytes());
            total - (near + U256::ONE + draw % (far - near))
        })
    })
}

/// A forger who claims the work of eight blocks and does the share `real` of it, the rest being false and lying where it is
/// seen least; and then draws tips, for two hashes each, until no sample falls on a lie. Answers the hashes spent and the
/// work claimed, or nothing if so many draws were not enough.
fn mixed(honest: &Forger, seed: u32, real: f64, draws: u64) -> Option<(u64, u64)> {
    const SLICES: u32 = 48;
    // Another time changes all hashes.
    let now = honest.now + seed;
    let mut forger = Forger { forge: honest.forge.clone(), unlinked: Vec::new(), now, ..*honest };
    let claim = 8.0 * forger.unit as f64;
    // False shares of 1 − near/x at the distance x, and none nearer than that: near × (1 + ln 1/near) of the work is real.
    let (mut low, mut high) = (1e-9, 1.0);
    for _ in 0..60 {
        let middle: f64 = (low + high) / 2.0;
        if middle * (1.0 - middle.ln()) < real { low = middle } else { high = middle }
    }
    // All real work is in blocks of one price, the payment's too: a block after a late time would be cheaper, but nothing
    // after it could be dearer again.
    let slice = claim / f64::from(SLICES);
    let price = (slice / 4.0) as u64;
    forger.claimed(work(2));
    forger.raised(price);
    forger.payment = forger.forge.height();
    let mut owed = 0;
    for number in (0..SLICES).rev() {
        let distance = (f64::from(number) + 0.5) / f64::from(SLICES);
        let lie = (slice * (1.0 - low / distance).max(0.0)) as u64;
        forger.claimed(work(lie.max(2)));
        owed += slice as u64 - lie;
        let mut is_linked = false;
        while owed >= price {
            // A sampled block shows its parent, so two false parents in a row would expose each other.
            if is_linked {
                forger.on_schedule()
            } else {
                forger.raised(price)
            }
            is_linked = true;
            owed -= price;
        }
    }
    let before_tail = forger.easy_tail();
    let (genesis, total) = (forger.forge.params.genesis_hash, forger.forge.work().0);
    let tail = total - before_tail.0;
    let tried = std::cell::Cell::new(0);
    let lies = &forger.unlinked;
    let accept = |tip: &BlockHash| {
        tried.set(tried.get() + 1);
        let mut all = points(&genesis, tip, total, tail);
        tried.get() > draws || !all.any(|point| lies.iter().any(|(from, to)| *from <= point && point < *to))
    };
    forger.hashes += forger.forge.add_forged(forger.now, None, None, accept);
    if tried.get() > draws {
        return None;
    }
    let proven = forger.sampled().unwrap_or_else(|error| panic!("share {real}: {error}"));
    Some((forger.hashes, proven.weight.on_top.0.to()))
}

/// Least, median and most.
fn spread(mut costs: Vec<f64>) -> [f64; 3] {
    costs.sort_by(f64::total_cmp);
    [costs[0], costs[costs.len() / 2], costs[costs.len() - 1]]
}

/// `cargo test --test receipts cheapest -- --nocapture` shows what a forgery costs beside what it claims.
#[test]
fn the_cheapest_forgery_costs_most_of_what_it_claims() {
    const SEEDS: u32 = 15;
    const DRAWS: u64 = 1 << 12;
    let honest = Forger::new();
    let mut cheapest = vec![f64::INFINITY; SEEDS as usize];
    println!("{:>5}  {:>5}  {:>5}  {:>6}  {:>5}", "real", "found", "least", "median", "most");
    for real in [0.95, 0.9, 0.85, 0.7] {
        let mut costs = Vec::new();
        for (seed, cheapest) in (0..).zip(&mut cheapest) {
            let Some((hashes, claimed)) = mixed(&honest, seed, real, DRAWS) else { continue };
            assert!(claimed >= 6 * honest.unit, "it is taken for six blocks");
            let cost = hashes as f64 / claimed as f64;
            *cheapest = cheapest.min(cost);
            costs.push(cost);
        }
        match costs.len() {
            0 => println!("{real:>5}      0  in {DRAWS} draws each"),
            found => {
                let [least, median, most] = spread(costs);
                println!("{real:>5}  {found:>5}  {least:>5.3}  {median:>6.3}  {most:>5.3}");
            }
        }
    }
    let [least, median, most] = spread(cheapest);
    println!(
        "the cheapest of each of {SEEDS} seeds costs {least:.3} to {most:.3} of what it claims, {median:.3} in the median"
    );
    // The cost of a block varies by chance: by a twelfth in a sum of this many.
    assert!(least > 0.7 && (0.8..1.1).contains(&median), "{least} {median} {most}");
}
