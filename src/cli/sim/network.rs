//! `cairn sim network`.

use std::path::PathBuf;

use anyhow::bail;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::{as_json, plot, progress_bar, up_to};
use crate::cli::{Common, write_file};
use crate::primitives::amount::counted;
use crate::sim::network::{self, Attack, Items, NetworkReport, NetworkSetup, Reach};
use crate::sim::units::{Fault, Latency, Span};

pub(super) const EXAMPLES: &str = "\
Examples:
  cairn sim network --nodes 500 --duration 30m
  cairn sim network --latency lognormal:100ms:0.6 --loss 1% --crash 4m..5m:0.2
  cairn sim network --partition 60s..180s:0.3
  cairn sim network --attack withhold --share 0.2 --audit
  cairn sim network --svg run.svg --csv run.csv

Times count from the moment at which all nodes have had 30 s to find each other. The same options print the same bytes. Exit \
code 1 if honest nodes violated an invariant: ended on different tips, gave up more blocks than the faults explain, penalised an \
honest peer, or (--audit) stored anything that does not follow from their blocks.";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Number of nodes, byzantine ones included
    #[arg(long, env = "CAIRN_SIM_NODES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(2..=5_000))]
    nodes: u32,
    /// Duration of the simulation, in virtual time
    #[arg(long, env = "CAIRN_SIM_DURATION", default_value = "10m")]
    duration: Span,
    /// Mean time between blocks
    #[arg(long, env = "CAIRN_SIM_INTERVAL", default_value = "10s", value_parser = some_time)]
    interval: Span,
    /// Mean number of payments a second
    #[arg(long, env = "CAIRN_SIM_PAYMENTS", default_value = "0.5", value_parser = rate)]
    payments: f64,
    /// Blocks that the first node has before the others join it
    #[arg(long, env = "CAIRN_SIM_HEIGHT", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=10_000))]
    height: u32,
    /// Latency of messages: FROM..TO, exponential:MEAN or lognormal:MEDIAN:SIGMA
    #[arg(long, env = "CAIRN_SIM_LATENCY", default_value = "10ms..80ms")]
    latency: Latency,
    /// Share of the messages that are lost and resent later
    #[arg(long, env = "CAIRN_SIM_LOSS", default_value = "0", value_parser = |text: &str| up_to(text, 0.5))]
    loss: f64,
    /// Cut off a share of the nodes for a time; may be repeated
    #[arg(long, env = "CAIRN_SIM_PARTITION", value_name = "FROM..TO:SHARE", value_delimiter = ',')]
    partition: Vec<Fault>,
    /// Stop a share of the nodes and restart them with their store; may be repeated
    #[arg(long, env = "CAIRN_SIM_CRASH", value_name = "FROM..TO:SHARE", value_delimiter = ',')]
    crash: Vec<Fault>,
    /// What byzantine peers do
    #[arg(long, env = "CAIRN_SIM_ATTACK", value_parser = attack())]
    attack: Option<Attack>,
    /// Share of the nodes that are byzantine, if there is an attack
    #[arg(long, env = "CAIRN_SIM_SHARE", default_value = "0.1", value_parser = |text: &str| up_to(text, 0.9))]
    share: f64,
    /// At the end, replay every honest node's chain from genesis and compare the result with its store
    #[arg(long, env = "CAIRN_SIM_AUDIT", value_parser = clap::builder::BoolishValueParser::new())]
    audit: bool,
    /// Seed of all randomness: the same seed gives the same result
    #[arg(long, env = "CAIRN_SIM_SEED", default_value_t = 1)]
    seed: u64,
    /// Write samples of the network's state over time, one a line
    #[arg(long, env = "CAIRN_SIM_CSV", value_name = "FILE")]
    csv: Option<PathBuf>,
    /// Draw these samples, and the spread of blocks and payments
    #[arg(long, env = "CAIRN_SIM_SVG", value_name = "FILE")]
    svg: Option<PathBuf>,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.0..=1_000.0).contains(rate));
    rate.ok_or_else(|| "expected a number from 0 to 1000".to_owned())
}

fn some_time(text: &str) -> Result<Span, String> {
    let time: Span = text.parse()?;
    if time > Span::default() { Ok(time) } else { Err("expected 1ms at least".to_owned()) }
}

fn attack() -> impl TypedValueParser<Value = Attack> {
    let named = |name: String| Attack::ALL.into_iter().find(|attack| attack.name() == name);
    PossibleValuesParser::new(Attack::ALL.map(Attack::name)).try_map(move |name| named(name).ok_or("no such attack"))
}

impl Args {
    fn setup(&self) -> NetworkSetup {
        NetworkSetup {
            nodes: self.nodes,
            duration: self.duration,
            interval: self.interval,
            payments: self.payments,
            height: self.height,
            latency: self.latency.clone(),
            loss: self.loss,
            partitions: self.partition.clone(),
            crashes: self.crash.clone(),
            attack: self.attack,
            share: self.share,
            audit: self.audit,
            seed: self.seed,
        }
    }
}

pub(super) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let setup = args.setup();
    setup.check()?;
    let bar = progress_bar(setup.duration.0.as_secs(), "virtual seconds");
    let report = network::run(&setup, &|passed| bar.set_position(passed.as_secs()))?;
    bar.finish_and_clear();
    if let Some(path) = &args.csv {
        write_file(path, csv(&report).as_bytes())?;
    }
    if let Some(path) = &args.svg {
        write_file(path, plot::svg(&report).as_bytes())?;
    }
    common.print(|| table(&report), || as_json(&report))?;
    match report.violations.len() {
        _ if report.settled.is_none() => {
            bail!("honest nodes ended on different tips; to repeat it: {}", report.command)
        }
        0 => Ok(()),
        count => {
            bail!(
                "honest nodes violated an invariant {}: {}; to repeat it: {}",
                counted(count, "time"),
                report.violations[0],
                report.command
            )
        }
    }
}

fn csv(report: &NetworkReport) -> String {
    let head = "millis,nodes_up,tips,lowest,highest,blocks_found,mempool_mean,messages,bytes".to_owned();
    let row = |sample: &network::Sample| {
        let network::Sample { at, up, tips, lowest, highest, found, mempool, messages, bytes } = sample;
        let millis = at.as_millis();
        format!("{millis},{up},{tips},{lowest},{highest},{found},{mempool},{messages},{bytes}")
    };
    let mut lines: Vec<String> = [head].into_iter().chain(report.series.iter().map(row)).collect();
    lines.push(String::new());
    lines.join("\n")
}

fn table(report: &NetworkReport) -> String {
    let NetworkReport { blocks, payments, .. } = report;
    let mut lines = vec![
        report.command.clone(),
        String::new(),
        format!(
            "blocks      {} found, {} in the chain, stale {:.2} %",
            blocks.count,
            blocks.in_chain,
            report.stale_rate * 100.0
        ),
        format!("payments    {} made, {} in the chain", payments.count, payments.in_chain),
        match report.settled {
            Some(span) => {
                format!("end         one tip at height {}, {} after the last", report.height, seconds(span))
            }
            None => format!("end         DIFFERENT TIPS, one of them at height {}", report.height),
        },
        String::new(),
        "time to reach       50 % of nodes        95 % of nodes            all nodes".to_owned(),
        "                  median      p95      median      p95      median      p95".to_owned(),
        spread("blocks", blocks),
        spread("payments", payments),
        String::new(),
        format!("{:20} {:>13} {:>13}", "a node gets", "messages", "bytes"),
    ];
    let traffic = report.traffic.iter().map(|kind| (kind.kind, kind.messages_per_node, kind.bytes_per_node));
    let total = ("all", report.messages_per_node, report.bytes_per_node);
    lines.extend(
        traffic.chain([total]).map(|(kind, messages, bytes)| format!("{kind:20} {messages:13.1} {bytes:13.0}")),
    );
    lines.push(String::new());
    lines.push(format!(
        "a block          {:.0} bytes whole, a node gets {:.0} for it",
        report.block_size, report.block_relay
    ));
    lines.push(format!(
        "a payment        {:.0} bytes over each of {}",
        report.payment_relay,
        counted(report.links, "connection")
    ));
    let depths = report.reorganisations.iter().map(|reorg| format!("{} of depth {}", reorg.count, reorg.depth));
    let depths: Vec<String> = depths.collect();
    lines.push(format!("reorganisations  {}", if depths.is_empty() { "none".to_owned() } else { depths.join(", ") }));
    lines.extend(report.healings.iter().map(|healing| {
        let took = healing.took.map_or("not before the next fault".to_owned(), seconds);
        format!("one tip after    {}: {took}", healing.fault)
    }));
    if let Some(hostile) = &report.hostile {
        lines.push(format!(
            "byzantine        {}, found out {}, given up as too slow {}, bans {}, {:.1} % of connections in the end",
            counted(hostile.peers, "peer"),
            counted(hostile.found_out, "time"),
            hostile.stalled,
            hostile.bans,
            hostile.connections * 100.0
        ));
        let victim = hostile
            .victim
            .map(|share| format!("victim           {:.1} % of its connections are theirs", share * 100.0));
        lines.extend(victim);
    }
    if report.audited > 0 {
        lines.push(format!(
            "audited          the stores of {}, which hold what their blocks make",
            counted(report.audited, "node")
        ));
    }
    lines.extend(report.violations.iter().map(|violation| format!("VIOLATED         {violation}")));
    lines.push(format!("trace            {}", report.trace));
    lines.join("\n")
}

fn spread(name: &str, items: &Items) -> String {
    let cell = |reach: &Reach| {
        if reach.reached == 0 {
            format!("{:>9} {:>9}", "-", "-")
        } else {
            format!("{:>9} {:>9}", seconds(reach.median), seconds(reach.p95))
        }
    };
    let Items { propagation, .. } = items;
    format!("{name:14} {}  {}  {}", cell(&propagation.half), cell(&propagation.most), cell(&propagation.all))
}

fn seconds(Span(span): Span) -> String {
    format!("{:.3} s", span.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn the_command_repeats_the_setup() {
        let fault = |text: &str| text.parse::<Fault>().unwrap();
        let setup = NetworkSetup {
            nodes: 12,
            duration: "90500ms".parse().unwrap(),
            height: 3,
            latency: "lognormal:100ms:0.6".parse().unwrap(),
            loss: 0.01,
            partitions: vec![fault("10s..20s:0.3"), fault("30s..40s:0.25")],
            crashes: vec![fault("5s..50s:0.1")],
            attack: Some(Attack::Garbage),
            share: 0.2,
            audit: true,
            seed: 7,
            ..NetworkSetup::default()
        };
        for setup in [setup, NetworkSetup::default()] {
            let command = setup.command();
            let words = command.strip_prefix("cairn sim ").unwrap().split(' ');
            assert_eq!(Line::try_parse_from(words).unwrap().args.setup(), setup, "{command}");
        }
    }
}
