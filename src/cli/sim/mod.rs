//! `cairn sim`: simulations of large networks, and replays of a recorded node.

mod attack;
mod network;
mod plot;
mod providers;
mod replay;
mod scenario;

use std::fmt;
use std::str::FromStr;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::Common;
use crate::p2p::{fanout, kad};
use crate::primitives::amount::counted;
use crate::sim::gossip::{self, GossipReport, GossipSetup};
use crate::sim::lookup::{self, LookupSetup};
use crate::sim::summary::Summary;
use crate::sim::units::Share;

/// Options of `cairn sim`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: SimCommand,
}

#[derive(Debug, Subcommand)]
enum SimCommand {
    /// Simulate full nodes in virtual time, with faults and byzantine peers: blocks, propagation, reorganisations, traffic
    #[command(after_help = network::EXAMPLES)]
    Network(network::Args),
    /// Simulate double spends against a merchant who waits for confirmations, and compare the success rate with the formulas
    #[command(after_help = attack::EXAMPLES)]
    Attack(attack::Args),
    /// Simulate Kademlia lookups: hops, messages, success
    #[command(after_help = "\
Examples:
  cairn sim lookup --nodes 1000000
  cairn sim lookup --nodes 100000 --dead 0.2    # a fifth of the nodes are dead")]
    Lookup(LookupArgs),
    /// Simulate announcing content and finding who has it, with dead nodes, liars, and hostile ids around the key
    #[command(after_help = providers::EXAMPLES)]
    Providers(providers::Args),
    /// Simulate the gossip of one message by pushes and announcements: rounds, copies, bytes
    #[command(after_help = "\
Examples:
  cairn sim gossip --nodes 1000000
  cairn sim gossip --fanout 1..8                # compare copies with rounds
  cairn sim gossip --loss 0.05                  # 5 % of the messages are lost")]
    Gossip(GossipArgs),
    /// Run an incident from a file, with its events and checks, in virtual time
    #[command(after_help = scenario::EXAMPLES)]
    Run(crate::cli::scenario::Args),
    /// Replay the record of a node, and check that it does the same again
    #[command(after_help = replay::EXAMPLES)]
    Replay(replay::Args),
}

#[derive(Debug, clap::Args)]
struct LookupArgs {
    /// Number of nodes
    #[arg(long, env = "CAIRN_SIM_NODES", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    nodes: u32,
    /// Number of lookups, each by a random node for a random id
    #[arg(long, env = "CAIRN_SIM_LOOKUPS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    lookups: u32,
    /// Seed of all randomness: the same seed gives the same result
    #[arg(long, env = "CAIRN_SIM_SEED", default_value_t = 1)]
    seed: u64,
    /// Contacts in a bucket and in an answer
    #[arg(long, env = "CAIRN_SIM_K", default_value_t = kad::K as u8, value_parser = clap::value_parser!(u8).range(1..=128))]
    k: u8,
    /// Number of concurrent queries of a lookup
    #[arg(long, env = "CAIRN_SIM_ALPHA", default_value_t = kad::ALPHA as u8, value_parser = clap::value_parser!(u8).range(1..=32))]
    alpha: u8,
    /// Share of the nodes that do not answer, from 0 to 0.9
    #[arg(long, env = "CAIRN_SIM_DEAD", default_value_t = 0.0, value_parser = |text: &str| up_to(text, 0.9))]
    dead: f64,
}

#[derive(Debug, clap::Args)]
struct GossipArgs {
    /// Number of nodes
    #[arg(long, env = "CAIRN_SIM_NODES", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(2..=10_000_000))]
    nodes: u32,
    /// Number of peers to which a node pushes a new message; FROM..TO tries each number
    #[arg(long, env = "CAIRN_SIM_FANOUT", default_value_t = Fanouts::default(), value_name = "N|FROM..TO")]
    fanout: Fanouts,
    /// Number of nodes that each node dials
    #[arg(long, env = "CAIRN_SIM_DEGREE", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    degree: u32,
    /// Size of the message in bytes
    #[arg(long, env = "CAIRN_SIM_BYTES", default_value_t = 300)]
    bytes: u32,
    /// Share of the messages that are lost, from 0 to 0.9
    #[arg(long, env = "CAIRN_SIM_LOSS", default_value_t = 0.0, value_parser = |text: &str| up_to(text, 0.9))]
    loss: f64,
    /// Seed of all randomness: the same seed gives the same result
    #[arg(long, env = "CAIRN_SIM_SEED", default_value_t = 1)]
    seed: u64,
}

/// The fan-outs to try, from the first to the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fanouts(u32, u32);

impl Default for Fanouts {
    fn default() -> Self {
        Self(fanout::FANOUT as u32, fanout::FANOUT as u32)
    }
}

impl FromStr for Fanouts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (from, to) = text.split_once("..").unwrap_or((text, text));
        let number = |text: &str| text.parse().ok().filter(|number| *number <= 64);
        let range = number(from).zip(number(to)).filter(|(from, to)| from <= to);
        range.map(|(from, to)| Self(from, to)).ok_or_else(|| "expected a number up to 64, or two like 1..8".to_owned())
    }
}

impl fmt::Display for Fanouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(from, to) = self;
        if from == to { write!(f, "{from}") } else { write!(f, "{from}..{to}") }
    }
}

/// A share of at most `most`.
fn up_to(text: &str, most: f64) -> Result<f64, String> {
    Share::parse_within(text, 0.0..=most).map(Share::get)
}

/// Runs the command.
///
/// # Errors
/// If stdout or a file cannot be written to, or a run fails.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    match &args.command {
        SimCommand::Network(args) => network::run(args, common),
        SimCommand::Attack(args) => attack::run(args, common),
        SimCommand::Lookup(args) => lookups(args, common),
        SimCommand::Providers(args) => providers::run(args, common),
        SimCommand::Gossip(args) => gossips(args, common),
        SimCommand::Run(args) => scenario::run(args, common),
        SimCommand::Replay(args) => replay::run(args, common),
    }
}

fn lookups(args: &LookupArgs, common: &Common) -> anyhow::Result<()> {
    let LookupArgs { nodes, lookups, k, alpha, dead, seed, .. } = *args;
    let setup = LookupSetup { nodes, lookups, k, alpha, dead, seed };
    let bar = progress_bar(u64::from(nodes) + u64::from(lookups), "tables and lookups");
    let report = lookup::run(&setup, &|| bar.inc(1));
    bar.finish_and_clear();
    let text = || {
        [
            format!(
                "{nodes} nodes, {}, k {k}, alpha {alpha}, {:.0} % dead, seed {seed}",
                counted(lookups, "lookup"),
                dead * 100.0
            ),
            String::new(),
            format!("{:12} {:>9} {:>7} {:>7} {:>7}", "", "mean", "p50", "p99", "max"),
            row("hops", &report.hops),
            row("messages", &report.messages),
            row("milliseconds", &report.millis),
            row("table", &report.table),
            String::new(),
            format!("nearest found  {:.2} %", report.success * 100.0),
            format!("nearest {k} found  {:.2} %", report.found * 100.0),
        ]
        .join("\n")
    };
    common.print(text, || as_json(&report))
}

fn gossips(args: &GossipArgs, common: &Common) -> anyhow::Result<()> {
    let GossipArgs { nodes, degree, bytes, loss, seed, fanout: Fanouts(from, to) } = *args;
    let bar = progress_bar(u64::from(nodes) * u64::from(to - from + 1), "nodes reached");
    let run = |fanout| gossip::run(&GossipSetup { nodes, degree, fanout, bytes, loss, seed }, &|| bar.inc(1));
    let reports: Vec<GossipReport> = (from..=to).map(run).collect();
    bar.finish_and_clear();
    let text = || {
        let lines = [
            format!(
                "{nodes} nodes that dial {degree} each, {}, {:.0} % lost, seed {seed}",
                counted(bytes, "byte"),
                loss * 100.0
            ),
            String::new(),
            "pushed to some, announced to the rest                                    pushed only".to_owned(),
            "fanout  reached   rounds   mean  copies   asked  messages   bytes     reached  formula  peers".to_owned(),
        ];
        lines.into_iter().chain(reports.iter().map(gossip_row)).collect::<Vec<_>>().join("\n")
    };
    common.print(text, || match &reports[..] {
        [report] => as_json(report),
        reports => as_json(&reports),
    })
}

fn gossip_row(report: &GossipReport) -> String {
    let only = &report.push_only;
    format!(
        "{:6} {:7.2} % {:8} {:6.1} {:7.2} {:5.1} % {:9.1} {:7.0} {:9.2} % {:6.2} % {:5.2} %",
        report.setup.fanout,
        report.coverage * 100.0,
        report.rounds,
        report.arrival.mean,
        report.copies_per_node,
        report.asked * 100.0,
        report.messages_per_node,
        report.bytes_per_node,
        only.coverage * 100.0,
        only.closed_form * 100.0,
        only.over_peers * 100.0,
    )
}

fn row(name: &str, summary: &Summary) -> String {
    let Summary { mean, p50, p99, max } = summary;
    format!("{name:12} {mean:>9.2} {p50:>7} {p99:>7} {max:>7}")
}

fn as_json(report: &impl serde::Serialize) -> Value {
    serde_json::to_value(report).unwrap_or_else(|e| json!({ "error": e.to_string() }))
}

/// A bar on a terminal, nothing elsewhere.
fn progress_bar(length: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg}: {human_pos} of {human_len} {wide_bar} {eta}");
    let bar = ProgressBar::new(length).with_message(what);
    if let Ok(style) = style { bar.with_style(style) } else { bar }
}
