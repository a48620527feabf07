//! The race between the honest chain and an attacker's secret branch.
//!
//! # What is raced for
//!
//! The attacker has the share *q* of all hash power, honest miners p = 1 − q. He pays the merchant and mines, in secret, a branch in
//! which the same coin goes back to himself. The merchant delivers once the payment has *z* confirmations (1: its own
//! block). A node moves to another branch only if that has *more* work, so he must *overtake*: publish a branch longer than
//! the honest one after it has grown by z blocks.
//!
//! As in [Rosenfeld 2014](https://arxiv.org/abs/1402.2009), he has mined one block of his branch before he pays: he can
//! choose when to pay, and waits until he is one ahead. Overtaking from one block ahead is the same race as catching up
//! from level, which is what [Nakamoto 2008](https://bitcoin.org/bitcoin.pdf), section 11, asks for, so both formulas answer
//! one question. They differ in how many blocks the attacker has when the z-th honest one is found: [`rosenfeld`] takes the
//! negative binomial distribution that this number has, [`nakamoto`] the Poisson distribution of its mean z·q/p, which is
//! too kind to the merchant.
//!
//! # How it is run
//!
//! Each next block is the attacker's with probability q ([`Dice`]). [`headers`] plays it with two chains of real
//! headers, checked by every rule on headers at the least difficulty; [`super::doublespend`] with whole nodes. The
//! attacker gives up when the chance to catch up is below [`GIVE_UP`].

use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;
use serde::Serialize;

use super::generator;
use crate::consensus::headers::{HeaderChainError, HeaderTail};
use crate::consensus::params::Params;
use crate::primitives::hash::MerkleRoot;
use crate::primitives::header::Header;

/// The chance to catch up at which the attacker gives up; so much, at most, the rate is too low.
pub const GIVE_UP: f64 = 1e-6;
/// The quantile of the normal distribution that leaves 2.5 % on either side.
const Z_95: f64 = 1.959_963_984_540_054;
/// Domain of the random numbers of races.
const RACE: u64 = 21;

/// The chance of success by Nakamoto's paper, section 11.
pub fn nakamoto(share: f64, confirmations: u32) -> f64 {
    let (q, p) = (share, 1.0 - share);
    if q >= p {
        return 1.0;
    }
    let lambda = f64::from(confirmations) * q / p;
    let mut poisson = (-lambda).exp();
    let mut fails = 0.0;
    for k in 0..=confirmations {
        fails += poisson * (1.0 - (q / p).powi((confirmations - k) as i32));
        poisson *= lambda / f64::from(k + 1);
    }
    1.0 - fails
}

/// The chance of success by Rosenfeld's "Analysis of hashrate-based double-spending", equation 1.
pub fn rosenfeld(share: f64, confirmations: u32) -> f64 {
    let (q, p) = (share, 1.0 - share);
    if q >= p || confirmations == 0 {
        return 1.0;
    }
    // The chance that he has found m blocks when the honest miners find their n-th.
    let n = confirmations;
    let mut chance = p.powi(n as i32);
    let mut fails = 0.0;
    for m in 0..n {
        fails += chance * (1.0 - (q / p).powi((n - m) as i32));
        chance *= q * f64::from(m + n) / f64::from(m + 1);
    }
    1.0 - fails
}

/// Who finds the next block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The honest miners.
    Honest,
    /// The attacker.
    Attacker,
}

/// The side that finds each block of a race.
pub struct Dice {
    rng: ChaCha20Rng,
    share: f64,
}

impl Dice {
    /// Those of race `number`.
    pub fn new(seed: u64, number: u32, share: f64) -> Self {
        Self { rng: generator(seed, RACE, u64::from(number)), share }
    }

    fn next(&mut self) -> Side {
        if self.rng.random::<f64>() < self.share { Side::Attacker } else { Side::Honest }
    }
}

/// How a race ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Whether the attacker's branch came to be the longer one after the merchant delivered.
    pub success: bool,
    /// Blocks that the honest miners found since the payment was made.
    pub honest: u32,
    /// Blocks of the attacker's branch.
    pub attacker: u32,
}

/// Blocks behind at which the attacker gives up.
pub fn gives_up_at(share: f64) -> u32 {
    (GIVE_UP.ln() / (share / (1.0 - share)).ln()).ceil() as u32
}

/// Runs one race for a share below one half; `find` makes each block as it is found. The first is the one that the attacker
/// has before he pays.
///
/// # Errors
/// The first of `find`.
pub fn race<E>(mut dice: Dice, confirmations: u32, mut find: impl FnMut(Side) -> Result<(), E>) -> Result<Outcome, E> {
    let limit = gives_up_at(dice.share);
    find(Side::Attacker)?;
    let (mut honest, mut attacker) = (0, 1);
    loop {
        let success = honest >= confirmations && attacker > honest;
        if success || honest >= attacker + limit {
            return Ok(Outcome { success, honest, attacker });
        }
        let side = dice.next();
        find(side)?;
        match side {
            Side::Honest => honest += 1,
            Side::Attacker => attacker += 1,
        }
    }
}

/// One race between two chains of headers after genesis, each header checked as a verifier would. Success is the
/// attacker's chain having more work.
///
/// # Errors
/// A header that breaks a rule, which none does in a valid network.
pub fn headers(
    params: &Params,
    seed: u64,
    number: u32,
    share: f64,
    confirmations: u32,
) -> Result<Outcome, HeaderChainError> {
    let mut chains = [HeaderTail::new(params), HeaderTail::new(params)];
    let root = |side: Side| MerkleRoot::from_bytes([side as u8 + 1; 32]);
    let outcome = race(Dice::new(seed, number, share), confirmations, |side| {
        let chain = &mut chains[side as usize];
        let context = chain.next_context(params);
        let mut header = Header {
            version: 1,
            previous: chain.tip_hash(),
            merkle_root: root(side),
            time: context.min_time,
            bits: context.bits,
            nonce: 0,
        };
        while !params.genesis_target.is_met_by(&header.hash()) {
            header.nonce += 1;
        }
        chain.push(&header, params).map(drop)
    })?;
    let success = chains[Side::Attacker as usize].work() > chains[Side::Honest as usize].work();
    Ok(Outcome { success, ..outcome })
}

/// How often attacks succeeded, beside what the formulas say.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Rate {
    /// The attacker's share of the hash power.
    pub share: f64,
    /// Confirmations that the merchant waits for.
    pub confirmations: u32,
    /// Races run.
    pub runs: u32,
    /// Races that the attacker won.
    pub successes: u32,
    /// The part of the races that the attacker won.
    pub rate: f64,
    /// The interval that has the true rate in it in 95 of 100 experiments (Wilson 1927): from.
    pub low: f64,
    /// Upper end of that interval.
    pub high: f64,
    /// Nakamoto's formula.
    pub nakamoto: f64,
    /// Rosenfeld's formula.
    pub rosenfeld: f64,
}

/// Runs many races between chains of headers. `progress` is told of each.
///
/// # Errors
/// As [`headers`].
pub fn rate(
    params: &Params,
    (share, confirmations): (f64, u32),
    (seed, runs): (u64, u32),
    progress: &(dyn Fn() + Sync),
) -> Result<Rate, HeaderChainError> {
    let one = |number| {
        let outcome = headers(params, seed, number, share, confirmations)?;
        progress();
        Ok(u32::from(outcome.success))
    };
    let successes = (0..runs).into_par_iter().map(one).try_reduce(|| 0, |a, b| Ok(a + b))?;
    let (low, high) = wilson(successes, runs);
    Ok(Rate {
        share,
        confirmations,
        runs,
        successes,
        rate: f64::from(successes) / f64::from(runs.max(1)),
        low,
        high,
        nakamoto: nakamoto(share, confirmations),
        rosenfeld: rosenfeld(share, confirmations),
    })
}

/// Wilson's 95 % interval of a part.
fn wilson(successes: u32, runs: u32) -> (f64, f64) {
    let n = f64::from(runs.max(1));
    let part = f64::from(successes) / n;
    let square = Z_95 * Z_95;
    let centre = part + square / (2.0 * n);
    let spread = Z_95 * (part * (1.0 - part) / n + square / (4.0 * n * n)).sqrt();
    let whole = 1.0 + square / n;
    (((centre - spread) / whole).max(0.0), ((centre + spread) / whole).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables of section 11 of Nakamoto's paper, to all their digits.
    #[test]
    fn nakamotos_own_figures() {
        let tenth = [1.0, 0.2045873, 0.0509779, 0.0131722, 0.0034552, 0.0009137, 0.0002428, 0.0000647];
        for (z, published) in (0..).zip(tenth) {
            assert!((nakamoto(0.1, z) - published).abs() < 5e-8, "{z}: {}", nakamoto(0.1, z));
        }
        for (z, published) in
            [(0, 1.0), (5, 0.1773523), (10, 0.0416605), (15, 0.0101008), (20, 0.0024804), (50, 0.0000006)]
        {
            assert!((nakamoto(0.3, z) - published).abs() < 5e-8, "{z}: {}", nakamoto(0.3, z));
        }
        // Confirmations for less than 0.1 %.
        for (share, z) in
            [(0.10, 5), (0.15, 8), (0.20, 11), (0.25, 15), (0.30, 24), (0.35, 41), (0.40, 89), (0.45, 340)]
        {
            assert!(nakamoto(share, z) < 0.001 && nakamoto(share, z - 1) >= 0.001, "{share}");
        }
    }

    /// Table 1 of Rosenfeld's paper, in percent and to its digits, for 1 to 6 confirmations.
    #[test]
    fn rosenfelds_own_figures() {
        let tenth = [20.0, 5.6, 1.712, 0.546, 0.178, 0.059];
        let three_tenths = [60.0, 43.2, 32.616, 25.207, 19.762, 15.645];
        for (share, published) in [(0.1, tenth), (0.3, three_tenths)] {
            for (n, percent) in (1..).zip(published) {
                let own = rosenfeld(share, n) * 100.0;
                assert!((own - percent).abs() <= 5e-4 + 1e-9, "{share} {n}: {own}");
            }
        }
    }

    #[test]
    fn rosenfeld_agrees_with_a_random_walk() {
        // Overtaking as a random walk: from d behind, the chance is (q/p)^d; one step leads to d - 1 or d + 1.
        for share in [0.1f64, 0.3, 0.45] {
            for z in 1..=10u32 {
                // The race as a table over (honest, attacker) until z honest blocks are found.
                let (q, p) = (share, 1.0 - share);
                let mut states = vec![1.0];
                let mut wins = 0.0;
                for _ in 0..z {
                    // Any number of blocks by the attacker, then one by the honest.
                    let mut next = vec![0.0; states.len() + 400];
                    for (m, chance) in states.iter().enumerate() {
                        for more in 0..400 {
                            next[m + more] += chance * q.powi(more as i32) * p;
                        }
                    }
                    states = next;
                }
                for (m, chance) in states.iter().enumerate() {
                    wins += chance * (q / p).powi(z.saturating_sub(m as u32) as i32);
                }
                assert!((rosenfeld(share, z) - wins).abs() < 1e-9, "{share} {z}: {} {wins}", rosenfeld(share, z));
            }
        }
    }

    #[test]
    fn half_of_the_power_always_wins() {
        assert_eq!((nakamoto(0.5, 100), rosenfeld(0.5, 100)), (1.0, 1.0));
        assert!(rosenfeld(0.0, 1) == 0.0 && nakamoto(0.0, 1) == 0.0);
    }

    #[test]
    fn wilson_intervals_are_those_published() {
        // Newcombe 1998, table I, for 81 of 263.
        let (low, high) = wilson(81, 263);
        assert!((low - 0.2553).abs() < 5e-5 && (high - 0.3662).abs() < 5e-5, "{low} {high}");
        assert!(wilson(0, 10).0 < 1e-12 && wilson(10, 10).1 > 1.0 - 1e-12);
    }

    #[test]
    fn the_attacker_gives_up_below_the_bound() {
        for share in [0.05f64, 0.3, 0.45] {
            let odds = share / (1.0 - share);
            let at = gives_up_at(share) as i32;
            assert!(odds.powi(at) <= GIVE_UP && odds.powi(at - 1) > GIVE_UP, "{share}");
        }
    }
}
