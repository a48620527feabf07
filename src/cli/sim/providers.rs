//! `cairn sim providers`.

use super::{as_json, progress_bar, up_to};
use crate::cli::Common;
use crate::p2p::kad::CONTENT_PATHS;
use crate::primitives::amount::counted;
use crate::sim::providers::{self, Condition, ProvidersReport, ProvidersSetup};

pub(super) const EXAMPLES: &str = "\
Examples:
  cairn sim providers --nodes 1000000
  cairn sim providers --paths 1,2           # compare with a single path
  cairn sim providers --share 0 --wall 64   # 64 hostile ids around the key";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Number of nodes
    #[arg(long, env = "CAIRN_SIM_NODES", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(3..=10_000_000))]
    nodes: u32,
    /// How often content is announced and looked for under each condition, each time by other nodes
    #[arg(long, env = "CAIRN_SIM_TRIALS", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..))]
    trials: u32,
    /// Share of the nodes that are dead, or lie, from 0 to 0.9
    #[arg(long, env = "CAIRN_SIM_SHARE", default_value_t = 0.2, value_parser = |text: &str| up_to(text, 0.9))]
    share: f64,
    /// Number of hostile ids nearer to the key than any other; may be repeated
    #[arg(
        long,
        env = "CAIRN_SIM_WALL",
        value_name = "N",
        value_delimiter = ',',
        default_values_t = [8, 16, 64],
        value_parser = clap::value_parser!(u32).range(1..=1_000)
    )]
    wall: Vec<u32>,
    /// Disjoint paths of a lookup; each number of several is tried
    #[arg(
        long,
        env = "CAIRN_SIM_PATHS",
        value_name = "N",
        value_delimiter = ',',
        default_values_t = [CONTENT_PATHS as u8],
        value_parser = clap::value_parser!(u8).range(1..=16)
    )]
    paths: Vec<u8>,
    /// Seed of all randomness: the same seed gives the same result
    #[arg(long, env = "CAIRN_SIM_SEED", default_value_t = 1)]
    seed: u64,
}

pub(super) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let Args { nodes, trials, share, ref wall, ref paths, seed } = *args;
    let setup = ProvidersSetup { nodes, trials, share, walls: wall.clone(), paths: paths.clone(), seed };
    let bar = progress_bar(setup.steps(), "tables and trials");
    let reports = providers::run(&setup, &|| bar.inc(1));
    bar.finish_and_clear();
    let text = || {
        let head = format!("{nodes} nodes, {} under each condition, seed {seed}", counted(trials, "trial"));
        let names = "paths condition         found   hops    p99  messages     ms    p99   whole search    announced  kept  coverage";
        let rows = reports.iter().map(|report| row(share, report));
        [head, String::new(), names.to_owned()].into_iter().chain(rows).collect::<Vec<_>>().join("\n")
    };
    common.print(text, || as_json(&reports))
}

fn row(share: f64, report: &ProvidersReport) -> String {
    let percent = share * 100.0;
    let name = match report.condition {
        Condition::Honest => "all answer".to_owned(),
        Condition::Dead => format!("{percent:.0} % dead"),
        Condition::Concealing => format!("{percent:.0} % conceal"),
        Condition::Inventing => format!("{percent:.0} % invent"),
        Condition::Wall(ids) => format!("a wall of {ids}"),
    };
    format!(
        "{:5} {name:15} {:6.2} % {:6.2} {:6} {:9.1} {:6.0} {:6} {:6.1} {:6.0} ms {:12.1} {:5.1} % {:7.1} %",
        report.paths,
        report.success * 100.0,
        report.hops.mean,
        report.hops.p99,
        report.messages.mean,
        report.millis.mean,
        report.millis.p99,
        report.all_messages.mean,
        report.all_millis.mean,
        report.announcement.mean,
        report.kept * 100.0,
        report.coverage * 100.0,
    )
}
