//! `cairn health`: whether a node is running, for supervisors that check by running a program.

use std::time::Duration;

use anyhow::ensure;
use serde_json::json;

use super::Common;
use super::client::ClientArgs;

/// Longest wait for the answer. Supervisors repeat the question every few seconds.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Options of `cairn health`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn health                           # the node of the data directory
  cairn health --rpc 203.0.113.7:7332    # another node; needs no password

Exit codes: 0 if the node is ready; 1 if it is still loading its chain or is stuck; 4 if no node answers within three seconds.")]
pub struct Args {
    #[command(flatten)]
    node: ClientArgs,
}

/// Runs the command.
///
/// # Errors
/// If no node answers, or one that is not ready.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let client = args.node.connect(common, Some(TIMEOUT))?;
    let health = client.health()?;
    ensure!(health.ready, "the node at {} is not ready: it is loading its chain, or is stuck", client.url());
    common.print(
        || format!("ready at height {}", health.height),
        || json!({ "ready": health.ready, "height": health.height }),
    )
}
