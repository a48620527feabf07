//! `cairn sim attack`.

use rayon::prelude::*;
use serde::Serialize;

use super::{as_json, progress_bar};
use crate::cli::{Common, UsageError};
use crate::primitives::amount::counted;
use crate::sim::doublespend::{self, FullRun};
use crate::sim::race::{self, Rate};
use crate::sim::units::Share;

pub(super) const EXAMPLES: &str = "\
Examples:
  cairn sim attack --share 0.3 --confirmations 6
  # 100 of the races also between whole nodes
  cairn sim attack --share 10% --confirmations 2 --full 100
  # shares 0.1 to 0.45, 1 to 10 confirmations
  cairn sim attack --table --runs 1000

The attacker mines one block in secret, then pays. When the honest chain has z more blocks, the secret branch must become longer \
than it. This is Rosenfeld's convention. Nakamoto's attacker, who must catch up from level, runs the same race.";

/// Shares and confirmations of the table.
const SHARES: [f64; 8] = [0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45];
const CONFIRMATIONS: std::ops::RangeInclusive<u32> = 1..=10;

/// Races played between whole nodes, unless told otherwise.
const DEFAULT_FULL: u32 = 20;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The attacker's share of the hash power, below one half
    #[arg(long, env = "CAIRN_SIM_SHARE", default_value = "0.3", value_parser = minority)]
    share: f64,
    /// Confirmations that the merchant waits for
    #[arg(long, env = "CAIRN_SIM_CONFIRMATIONS", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    confirmations: u32,
    /// Number of attacks to simulate
    #[arg(long, env = "CAIRN_SIM_RUNS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Number of these to run between whole nodes, with a real double spend; the others use headers alone [default: 20, or all if
    /// there are fewer]
    #[arg(long, env = "CAIRN_SIM_FULL")]
    full: Option<u32>,
    /// Print a table for shares 0.1 to 0.45 and 1 to 10 confirmations, with headers alone
    #[arg(long, conflicts_with_all = ["share", "confirmations", "full"])]
    table: bool,
    /// Seed of all randomness: the same seed gives the same result
    #[arg(long, env = "CAIRN_SIM_SEED", default_value_t = 1)]
    seed: u64,
}

fn minority(text: &str) -> Result<f64, String> {
    let why = |error| match Share::parse_within(text, 0.5..=f64::INFINITY) {
        Ok(_) => format!("{error}: with half of the hash power the attacker always wins"),
        Err(_) => error,
    };
    Share::parse_within(text, 0.01..=0.49).map(Share::get).map_err(why)
}

/// The result.
#[derive(Debug, Serialize)]
struct AttackReport {
    seed: u64,
    #[serde(flatten)]
    rate: Rate,
    /// The runs between full nodes.
    full: Vec<FullRun>,
    /// Number of these with the same result as the race by headers.
    agree: usize,
}

pub(super) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let params = doublespend::params();
    let Args { share, confirmations, runs, seed, .. } = *args;
    if args.table {
        let cells: Vec<(f64, u32)> = SHARES.iter().flat_map(|share| CONFIRMATIONS.map(|z| (*share, z))).collect();
        let bar = progress_bar(cells.len() as u64 * u64::from(runs), "races");
        let rate = |cell: &(f64, u32)| race::rate(&params, *cell, (seed, runs), &|| bar.inc(1));
        let rates = cells.iter().map(rate).collect::<Result<Vec<Rate>, _>>()?;
        bar.finish_and_clear();
        return common.print(|| table(&rates, runs, seed), || as_json(&rates));
    }
    let full = match args.full {
        Some(full) if full > runs => {
            return Err(UsageError(format!("--full is {full}, but --runs is only {runs}")).into());
        }
        Some(full) => full,
        None => DEFAULT_FULL.min(runs),
    };
    let bar = progress_bar(u64::from(runs) + u64::from(full), "races");
    let rate = race::rate(&params, (share, confirmations), (seed, runs), &|| bar.inc(1))?;
    // The first of the races again, with whole nodes.
    let play = |number| {
        let played = doublespend::run(&params, seed, number, share, confirmations)?;
        bar.inc(1);
        Ok((played, race::headers(&params, seed, number, share, confirmations)?))
    };
    let played = (0..full).into_par_iter().map(play).collect::<anyhow::Result<Vec<_>>>()?;
    bar.finish_and_clear();
    let agree = played.iter().filter(|(played, raced)| {
        let done = (played.payment_gone && played.coin_back) == raced.success;
        played.outcome == *raced && done
    });
    let agree = agree.count();
    let report = AttackReport { seed, rate, agree, full: played.into_iter().map(|(played, _)| played).collect() };
    common.print(|| text(&report), || as_json(&report))
}

fn text(report: &AttackReport) -> String {
    let AttackReport { rate, full, agree, seed } = report;
    let won: Vec<&FullRun> = full.iter().filter(|run| run.payment_gone && run.coin_back).collect();
    let deepest = won.iter().map(|run| run.depth).max().unwrap_or(0);
    [
        format!(
            "attacker with {} % of the power, {}, {}, seed {seed}",
            rate.share * 100.0,
            counted(rate.confirmations, "confirmation"),
            counted(rate.runs, "race")
        ),
        "the attacker mines one block in secret before paying, and must overtake (Rosenfeld's convention)".to_owned(),
        String::new(),
        format!(
            "simulated     {:8.4} %   95 % interval {:.4} % to {:.4} %   ({} won)",
            rate.rate * 100.0,
            rate.low * 100.0,
            rate.high * 100.0,
            rate.successes
        ),
        format!("Rosenfeld     {:8.4} %   exact", rate.rosenfeld * 100.0),
        format!("Nakamoto      {:8.4} %   Poisson approximation", rate.nakamoto * 100.0),
        String::new(),
        "All races are between chains of real headers at the least difficulty.".to_owned(),
        format!(
            "Whole nodes replayed the first {} with conflicting payments: in {} the merchant's node reverted the payment, up to {} \
             deep; {agree} of {} ended as with headers alone.",
            full.len(),
            won.len(),
            counted(deepest, "block"),
            full.len()
        ),
    ]
    .join("\n")
}

fn table(rates: &[Rate], runs: u32, seed: u64) -> String {
    let head = [
        format!(
            "success in %, {} each by headers, seed {seed}: simulated, Rosenfeld (exact), Nakamoto (Poisson)",
            counted(runs, "race")
        ),
        String::new(),
        format!("   z {}", SHARES.map(|share| format!("{:>23}", format!("q {share:.2}"))).join("")),
    ];
    let cell = |rate: &Rate| {
        format!("  {:6.2} {:6.2} {:6.2}", rate.rate * 100.0, rate.rosenfeld * 100.0, rate.nakamoto * 100.0)
    };
    let row = |z: u32| {
        let cells: String = rates.iter().filter(|rate| rate.confirmations == z).map(cell).collect();
        format!("{z:4} {cells}")
    };
    head.into_iter().chain(CONFIRMATIONS.map(row)).collect::<Vec<_>>().join("\n")
}
