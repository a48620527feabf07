//! `cairn testnet link`: changes a link from another terminal, like a click on the board.

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Subcommand;
use serde_json::{Value, json};

use super::control::{Control, name_of};
use super::links::{Action, SLOW};
use super::setup::Layout;
use crate::cli::client::call;
use crate::cli::{Common, UsageError};
use crate::primitives::amount::counted;
use crate::runtime::{LinkSettings, MAX_DELAY};
use crate::sim::units::Share;

/// Options of `cairn testnet link`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Changes both ends of the link. A cut link is like a pulled cable.

Examples:
  cairn testnet link 1 2 cut
  cairn testnet link node-1 node-3 slow --delay-ms 200 --loss 0.05
  cairn testnet link 1 2 heal")]
pub struct Args {
    /// A node: node-1, or 1
    a: String,
    /// The other node
    b: String,
    #[command(subcommand)]
    what: LinkChange,
}

#[derive(Debug, Subcommand)]
enum LinkChange {
    /// Block all traffic until the link is healed
    Cut,
    /// Remove all faults of the link
    Heal,
    /// Add delay, a bandwidth limit or loss [default: 500 ms, and 64000 bytes a second]
    Slow {
        /// Delay in milliseconds
        #[arg(long, env = "CAIRN_DELAY_MS", value_parser = clap::value_parser!(u64).range(0..=MAX_DELAY.as_millis() as u64))]
        delay_ms: Option<u64>,
        /// Maximum bytes a second; 0 for no limit
        #[arg(long, env = "CAIRN_BANDWIDTH", value_name = "BYTES")]
        bandwidth: Option<u64>,
        /// Share of the messages to drop, such as 0.05 or 5%
        #[arg(long, env = "CAIRN_LOSS", value_name = "SHARE")]
        loss: Option<Share>,
    },
}

/// Runs the command.
///
/// # Errors
/// If no network runs in the directory, or there are no such nodes.
pub fn run(args: &Args, common: &Common, layout: &Layout) -> anyhow::Result<()> {
    let settings = match args.what {
        LinkChange::Cut => Action::Cut.settings(),
        LinkChange::Heal => Action::Heal.settings(),
        LinkChange::Slow { delay_ms: None, bandwidth: None, loss: None } => SLOW,
        LinkChange::Slow { delay_ms, bandwidth, loss } => LinkSettings {
            cut: false,
            delay: Duration::from_millis(delay_ms.unwrap_or(0)),
            loss: loss.unwrap_or_default().get(),
            bandwidth: bandwidth.unwrap_or(0),
        },
    };
    let control = Control::find(layout)?;
    let (a, b) = (number(&args.a, &control)?, number(&args.b, &control)?);
    ensure!(a != b, UsageError(format!("{} has no link to itself", args.a)));
    let ends = [set(&control, a, b, &settings)?, set(&control, b, a, &settings)?];
    let LinkSettings { cut, delay, loss, bandwidth } = settings;
    let how = match settings {
        LinkSettings { cut: true, .. } => "cut".to_owned(),
        whole if whole == LinkSettings::default() => "healed".to_owned(),
        _ => format!(
            "{} ms later, {loss} of the messages lost, {}",
            delay.as_millis(),
            match bandwidth {
                0 => "no limit of bandwidth".to_owned(),
                most => format!("at most {} a second", counted(most, "byte")),
            }
        ),
    };
    let text = format!("node-{a} — node-{b}: {how}");
    common.print_outcome(
        &text,
        || json!({ "nodes": [format!("node-{a}"), format!("node-{b}")], "cut": cut, "ends": ends }),
    )
}

/// The number of the node that a user names.
pub(super) fn number(text: &str, control: &Control) -> anyhow::Result<usize> {
    let number = text.strip_prefix("node-").unwrap_or(text).parse::<usize>().ok();
    let number = number.filter(|number| control.index_of(*number).is_some());
    number.with_context(|| {
        let names: Vec<String> = control.numbers().iter().map(|number| name_of(*number)).collect();
        format!("there is no node {text:?}: expected one of {}", names.join(", "))
    })
}

/// Sets one end of a link between nodes of these numbers, and returns it as getlinks shows it.
///
/// # Errors
/// The node's error.
pub fn set(control: &Control, from: usize, to: usize, settings: &LinkSettings) -> anyhow::Result<Value> {
    let LinkSettings { cut, delay, loss, bandwidth } = settings;
    let settings = json!({ "cut": cut, "delay_ms": delay.as_millis() as u64, "loss": loss, "bandwidth": bandwidth });
    let index = control.index_of(from).with_context(|| format!("{} is gone", name_of(from)))?;
    Ok(call(control.node(index), "setlink", &[json!(name_of(to)), settings])?)
}
