//! What a forgery of succinct evidence costs: the cheapest mix of true work, false work and draws of the tip, calculated,
//! and carried out with real hashes.
//!
//! `cargo test -p cairn-core --test receipts laboratory -- --nocapture` prints both beside each other.

use cairn_core::consensus::asert::exp2;
use cairn_core::consensus::params::{GenesisSpec, Params, Retarget};
use cairn_core::primitives::hash::{BlockHash, Hash256};
use cairn_core::primitives::target::{Bits, Work};
use cairn_core::primitives::time::UnixTime;
use cairn_core::receipt::succinct::TAIL;
use cairn_testkit::forge::Forge;
use ruint::aliases::{U256, U512};

/// The shares of what it claims that a forgery costs, as docs/receipts.md has them: for so many strata in an octave, a draw
/// of so many blocks' price and a tail of as many tips, by the blocks' worth of work claimed.
const TABLE: [(u32, f64, [f64; 6]); 4] = [
    (14, 1.0, [0.954, 0.932, 0.917, 0.857, 0.801, 0.758]),
    (18, 1.0 / 1_024.0, [0.833, 0.828, 0.799, 0.763, 0.738, 0.718]),
    (21, 1.0 / 1_048_576.0, [0.764, 0.758, 0.741, 0.706, 0.679, 0.657]),
    (25, 1.0 / 1_073_741_824.0, [0.706, 0.701, 0.705, 0.687, 0.669, 0.651]),
];
const CLAIMS: [f64; 6] = [300.0, 512.0, 1e3, 1e4, 1e5, 1e6];

/// The least that a forgery costs, as a share of the `claimed` blocks' worth of work, with `strata` in an octave and draws
/// at the `price` of so many blocks, where the last headers are as cheap as the tip. A forger does all of the tail, and of
/// each stratum as much as it pays to do: the same length of all, as far as it fits, since false work in a long stratum is
/// met as rarely as the same share of a short one. What it pays is also what the draws cost.
fn cheapest(claimed: f64, price: f64, strata: u32) -> f64 {
    let tail = f64::from(TAIL) * price;
    let ratio = 2f64.powf(-1.0 / f64::from(strata));
    let starts = (0..8).map(|eighth| claimed * 2f64.powf(f64::from(eighth) / 8.0 / f64::from(strata)));
    let cost = |start: f64, length: f64| {
        let (mut far, mut real, mut missed) = (start, tail, 1.0);
        while far > tail * (1.0 + 1e-12) {
            let near = (far * ratio).max(tail);
            let honest = (far - claimed).clamp(0.0, far - near);
            let done = length.clamp(honest, far - near);
            (real, missed) = (real + done - honest, missed * done / (far - near));
            far = near;
        }
        (real + price / missed) / claimed
    };
    let lengths = (-80..=80).map(|quarter| 2f64.powf(f64::from(quarter) / 4.0));
    starts.flat_map(|start| lengths.clone().map(move |length| cost(start, length))).fold(f64::INFINITY, f64::min)
}

#[test]
fn a_forgery_costs_what_the_table_says() {
    for (strata, price, shares) in TABLE {
        for (claimed, share) in CLAIMS.into_iter().zip(shares) {
            let found = cheapest(claimed, price, strata);
            assert!((found - share).abs() < 0.002, "{strata} strata, {claimed} blocks: {found}");
        }
    }
    assert!((cheapest(256.0, 1.0, 14) - 1.0).abs() < 0.01, "the tail is all true");
}

#[test]
fn no_forgery_costs_less_than_three_fifths() {
    // The number of strata follows from the tip's price and the whole work, which is at least what is claimed.
    let least = |prices: std::ops::RangeInclusive<i32>| {
        let all = (8..=20).flat_map(|claimed| prices.clone().step_by(10).map(move |price| (claimed, price)));
        let due = all.map(|(claimed, price)| (claimed, price, strata_due(f64::from(claimed + price))));
        due.filter(|(.., strata)| *strata <= 64)
            .map(|(claimed, price, strata)| cheapest(2f64.powi(claimed), 2f64.powi(-price), strata))
            .fold(f64::INFINITY, f64::min)
    };
    let shares = [least(0..=0), least(0..=60), least(65..=160)];
    println!(
        "least share, up to a million blocks: usual tip {:.3}, 2^-60 {:.3}, any {:.3}",
        shares[0], shares[1], shares[2]
    );
    assert!(shares[0] >= 0.75 && shares[1] >= 0.6 && shares[2] >= 0.5, "{shares:?}");
}

/// The strata in an octave where the whole work is 2^`cheapness` times the tip's, as the documentation has it.
fn strata_due(cheapness: f64) -> u32 {
    let security = (20.0 + cheapness.ceil()).max(40.0) as u32;
    (7 * security).div_ceil(20)
}

/// The strata of the work before the tip, as positions in it, as the documentation has them.
fn strata(total: U256, tail: U256, per_octave: u32) -> Vec<(U256, U256)> {
    let edge = |i: u32| {
        let (q, j) = (i / per_octave, i % per_octave);
        let factor = if j == 0 { 1 << 17 } else { exp2((65_536 * (per_octave - j) / per_octave) as u16) };
        U256::from((U512::from(total) * U512::from(factor)) >> (17 + q) as usize)
    };
    let edges = (0..).map(|i| (edge(i), edge(i + 1).max(tail))).take_while(|(far, _)| *far > tail);
    edges.map(|(far, near)| (total - far, total - near)).collect()
}

/// Blocks of the honest chain before the branch.
const HONEST: u32 = 24;

/// A forger of a branch of one price, on an honest chain.
struct Forger {
    honest: Forge,
    /// Hashes that a block of the usual difficulty takes.
    unit: f64,
    /// Whether the branch ends a day late, after which all is easy: then so is the tail, and a draw.
    is_late: bool,
}

/// What a forger does: which blocks of the branch are true, and how it goes.
struct Plan {
    /// Whether each block is true: the payment first, the last before the tail last.
    real: Vec<bool>,
    /// The work before the tip, and that of the tail.
    total: U256,
    tail: U256,
    per_octave: u32,
    /// Where a sample meets a false header, or one whose parent is false.
    exposed: Vec<(U256, U256)>,
    /// The expected cost, as a share of what is claimed.
    expected: f64,
}

impl Forger {
    /// A forger where the usual block has these bits.
    fn new(bits: u32, is_late: bool) -> Self {
        let mut spec = GenesisSpec {
            retarget: Retarget::Asert,
            bits: Bits(bits),
            target_spacing_secs: 5,
            half_life_secs: 1_440,
            max_future_secs: 120,
            ..GenesisSpec::regtest()
        };
        assert!(spec.mine_nonce());
        let mut honest = Forge::new(Params::new(spec).expect("the parameters are valid"));
        let start = honest.params.timestamp;
        for height in 1..=HONEST {
            honest.add_forged(start + 5 * height, None, |_| true);
        }
        let unit = honest.params.genesis_target.work().as_f64();
        Self { honest, unit, is_late }
    }

    /// The times of the branch's blocks from the payment's to the last before the tail, and that of the tail's. `seed`
    /// changes all hashes.
    fn times(&self, blocks: u32, seed: u32) -> (Vec<u32>, u32) {
        let end = self.honest.params.timestamp + 5 * HONEST + seed;
        let mut times: Vec<u32> = (1..=blocks).map(|number| end + 5 * number).collect();
        let late = end + if self.is_late { 86_400 } else { 5 * blocks };
        if self.is_late
            && let Some(last) = times.last_mut()
        {
            *last = late;
        }
        (times, late)
    }

    /// Adds the tail to a branch, but for the tip: true, or only claimed. Answers the hashes spent.
    fn add_tail(&self, forge: &mut Forge, late: u32, claim: bool) -> u64 {
        let time = |number| if self.is_late { late } else { late + 5 * number };
        (1..=TAIL).map(|number| forge.add_forged(time(number), claim.then(|| due(forge)), |_| true)).sum()
    }

    /// The cheapest plan for a branch of so many blocks before the tail.
    fn plan(&self, blocks: u32, seed: u32) -> Plan {
        let mut forge = self.honest.clone();
        let (times, late) = self.times(blocks, seed);
        let mut starts = Vec::new();
        for time in times {
            starts.push(forge.work().0);
            let claim = due(&forge);
            forge.add_forged(time, Some(claim), |_| true);
        }
        let before_tail = forge.work().0;
        starts.push(before_tail);
        self.add_tail(&mut forge, late, true);
        let (total, price) = (forge.work().0, due(&forge));
        let tail = total - before_tail;
        let per_octave = strata_due((f64::from(total) / price.as_f64()).log2());
        let strata = strata(total, tail, per_octave);
        let lengths = (-8..24).map(|quarter| self.unit * 2f64.powf(f64::from(quarter) / 4.0));
        let plans = lengths.map(|length| {
            let real = chosen(&starts, &strata, length);
            let exposed = exposed(&starts, &real);
            let met = |(from, to): &(U256, U256)| {
                let within = exposed.iter().map(|(start, end)| (*end.min(to)).saturating_sub(*start.max(from)));
                f64::from(within.sum::<U256>()) / f64::from(to - from)
            };
            let missed: f64 = strata.iter().map(|stratum| 1.0 - met(stratum)).product();
            let done: U256 = (0..real.len()).filter(|at| real[*at]).map(|at| starts[at + 1] - starts[at]).sum();
            let cost = f64::from(done + tail) + price.as_f64() / missed;
            let expected = cost / (f64::from(total - starts[0]) + price.as_f64());
            Plan { real, total, tail, per_octave, exposed, expected }
        });
        plans.min_by(|a, b| a.expected.total_cmp(&b.expected)).expect("there is a plan")
    }

    /// Carries a plan out. Answers the hashes spent, as a share of the work on top that the verifier takes for proven.
    fn carry_out(&self, plan: &Plan, seed: u32) -> f64 {
        let mut forge = self.honest.clone();
        let payment = forge.height().next();
        let (times, late) = self.times(plan.real.len() as u32, seed);
        let mut hashes = 0;
        for (time, real) in times.into_iter().zip(&plan.real) {
            let claim = (!real).then(|| due(&forge));
            hashes += forge.add_forged(time, claim, |_| true);
        }
        hashes += self.add_tail(&mut forge, late, false);
        assert_eq!(forge.work().0, plan.total, "the plan's works are those due");
        let strata = strata(plan.total, plan.tail, plan.per_octave);
        let genesis = forge.params.genesis_hash;
        let accept = |tip: &BlockHash| {
            let seed = Hash256::of(&[&b"cairn succinct receipt"[..], genesis.as_bytes(), tip.as_bytes()].concat());
            (0u16..).zip(&strata).all(|(number, (from, to))| {
                let draw = Hash256::of(&[&seed.as_bytes()[..], &number.to_le_bytes()].concat());
                let point = to - U256::ONE - U256::from_le_bytes(draw.to_bytes()) % (to - from);
                !plan.exposed.iter().any(|(start, end)| *start <= point && point < *end)
            })
        };
        hashes += forge.add_forged(late + 5 * (TAIL + 1), None, accept);
        let now = UnixTime::from_secs((late + 5 * (TAIL + 1)).into());
        let proven = forge.succinct(payment).verify(&forge.params, None, now).expect("no sample meets a lie");
        hashes as f64 / proven.weight.on_top.as_f64()
    }
}

/// The work due after the tip.
fn due(forge: &Forge) -> Work {
    forge.due().target().expect("bits of a target").work()
}

/// Which blocks to make true, so that `length` of each stratum is. `starts` are the positions at which the blocks begin,
/// and the end of the last. False blocks of neighbouring strata stand together, since the true one after them is as good
/// as false: where it is sampled, its parent is shown. The payment and the parent of the tail are always shown.
fn chosen(starts: &[U256], strata: &[(U256, U256)], length: f64) -> Vec<bool> {
    let blocks = starts.len() - 1;
    let mut real = vec![true; blocks];
    for (number, (from, to)) in strata.iter().enumerate() {
        // Those whose middle is in the stratum; the first and the last block are in none.
        let mut within: Vec<usize> =
            (1..blocks - 1).filter(|at| (*from..*to).contains(&((starts[*at] + starts[at + 1]) >> 1))).collect();
        if number % 2 == 0 {
            within.reverse();
        }
        let mut owed = f64::from(to - from) - length;
        for at in within {
            let own = f64::from(starts[at + 1] - starts[at]);
            if owed < own / 2.0 {
                break;
            }
            (real[at], owed) = (false, owed - own);
        }
    }
    real
}

/// The stretches of work where a sample meets a false block, or one whose parent is false.
fn exposed(starts: &[U256], real: &[bool]) -> Vec<(U256, U256)> {
    let mut stretches: Vec<(U256, U256)> = Vec::new();
    for at in (0..real.len()).filter(|at| !real[*at] || *at > 0 && !real[at - 1]) {
        match stretches.last_mut() {
            Some((_, end)) if *end == starts[at] => *end = starts[at + 1],
            _ => stretches.push((starts[at], starts[at + 1])),
        }
    }
    stretches
}

/// Least, median and most.
fn spread(mut costs: Vec<f64>) -> [f64; 3] {
    costs.sort_by(f64::total_cmp);
    [costs[0], costs[costs.len() / 2], costs[costs.len() - 1]]
}

#[test]
fn the_cheapest_forgery_costs_what_is_calculated() {
    println!("blocks claimed  draw  calculated  planned  least  median  most");
    // Draws for the work of a usual block, and of 2^-7 of it.
    for (bits, is_late, claims) in
        [(0x2003_ffff, false, [(300, 15), (1_000, 9)]), (0x2000_ffff, true, [(300, 7), (1_000, 3)])]
    {
        let forger = Forger::new(bits, is_late);
        for (claimed, seeds) in claims {
            let blocks = if is_late { claimed } else { claimed - TAIL - 1 };
            let plans: Vec<(u32, Plan)> = (0..seeds).map(|seed| (seed, forger.plan(blocks, seed))).collect();
            let price = if is_late { 2.0 / forger.unit } else { 1.0 };
            let calculated = cheapest(f64::from(claimed), price, plans[0].1.per_octave);
            let planned = plans[0].1.expected;
            let costs = plans.iter().map(|(seed, plan)| forger.carry_out(plan, *seed)).collect();
            let [least, median, most] = spread(costs);
            println!(
                "{claimed:>14}  {price:>4.0e}  {calculated:>10.3}  {planned:>7.3}  {least:.3}  {median:>6.3}  {most:.3}"
            );
            assert!((planned / calculated - 1.0).abs() < 0.1, "{claimed}: {planned} of {calculated}");
            // The cost of a block varies by chance.
            assert!((median / planned - 1.0).abs() < 0.1 && least > 0.75 * calculated, "{claimed}: {least} {median}");
        }
    }
}
