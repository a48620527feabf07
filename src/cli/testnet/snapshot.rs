//! `cairn testnet snapshot`, `revert` and `list`: the whole network as it was, for isolation between tests.

use anyhow::ensure;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::control::Control;
use super::setup::Layout;
use crate::cli::Common;
use crate::cli::client::call;
use crate::cli::console::note;
use crate::primitives::amount::counted;
use crate::primitives::height::Height;

/// Options of `cairn testnet snapshot`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Chains, mempools, links, clocks and wallets of all nodes. Snapshots are kept in memory: they end with the network. Use \
save for one that lasts.

Example:
  cairn testnet snapshot funded
  cairn testnet mine 3
  cairn testnet revert funded")]
pub struct SnapshotArgs {
    /// Up to 64 letters, digits, dots, dashes and underscores; replaces a snapshot of that name
    name: String,
}

/// Options of `cairn testnet revert`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Blocks, transactions and faults of links that came since are forgotten, and later snapshots dropped. The snapshot stays, so \
that every test can begin with it.

Example:
  cairn testnet revert funded")]
pub struct RevertArgs {
    /// The snapshot's name
    name: String,
}

/// Runs `cairn testnet snapshot`.
///
/// # Errors
/// If no network runs in the directory, the name does not fit, or a wallet cannot be read.
pub fn snapshot(args: &SnapshotArgs, common: &Common, layout: &Layout) -> anyhow::Result<()> {
    let control = Control::find(layout)?;
    let name = &args.name;
    call::<Value>(control.node(0), "takesnapshot", &[json!(name)])?;
    let text = format!("{name}: {}", counted(control.len(), "node"));
    common.print_outcome(&text, || json!({ "name": name, "nodes": control.len() }))
}

/// Runs `cairn testnet revert`.
///
/// # Errors
/// If no network runs in the directory, there is no such snapshot, a wallet cannot be written, or links do not come back.
pub fn revert(args: &RevertArgs, common: &Common, layout: &Layout) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Answer {
        link_ends: usize,
        missing: usize,
        milliseconds: f64,
    }
    let control = Control::find(layout)?;
    let name = &args.name;
    let answer: Answer = call(control.node(0), "revertsnapshot", &[json!(name)])?;
    let Answer { link_ends, missing, milliseconds } = answer;
    ensure!(missing == 0, "{name}: {} of links did not come back", counted(missing, "end"));
    let text = format!(
        "{name}: {} with {} in {milliseconds:.0} ms",
        counted(control.len(), "node"),
        counted(link_ends / 2, "link")
    );
    common.print_outcome(
        &text,
        || json!({ "name": name, "nodes": control.len(), "links": link_ends / 2, "milliseconds": milliseconds }),
    )
}

/// Runs `cairn testnet list`.
///
/// # Errors
/// If no network runs in the directory.
pub fn list(common: &Common, layout: &Layout) -> anyhow::Result<()> {
    #[derive(Deserialize, Serialize)]
    struct Kept {
        name: String,
        height: Height,
    }
    let control = Control::find(layout)?;
    let all: Vec<Kept> = call(control.node(0), "listsnapshots", &[])?;
    let lines: Vec<String> = all.iter().map(|kept| format!("{}  height {}", kept.name, kept.height)).collect();
    if lines.is_empty() {
        note("no snapshots");
    }
    common.print(|| lines.join("\n"), || json!(all))
}
