//! `cairn testnet snapshot`, `revert` and `list`: the whole network as it was, for isolation between tests.

use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::control::Control;
use super::setup::Layout;
use crate::cli::Common;
use crate::cli::client::call;
use crate::cli::console::note;
use crate::primitives::amount::counted;
use crate::primitives::height::Height;
use crate::storage::private_file;

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
/// If no network runs in the directory, the name does not fit, or a wallet cannot be copied.
pub fn snapshot(args: &SnapshotArgs, common: &Common, layout: &Layout) -> anyhow::Result<()> {
    let control = Control::find(layout)?;
    let name = &args.name;
    call::<Value>(control.node(0), "takesnapshot", &[json!(name)])?;
    let text = format!("{name}: {}", counted(control.len(), "node"));
    common.print_done(&text, || text.clone(), || json!({ "name": name, "nodes": control.len() }))
}

/// Runs `cairn testnet revert`.
///
/// # Errors
/// If no network runs in the directory, there is no such snapshot, or links do not come back.
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
    common.print_done(
        &text,
        || text.clone(),
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

/// Keeps copies of the wallets of nodes with these numbers with a snapshot, whose name is no path.
///
/// # Errors
/// If a wallet cannot be copied.
pub fn keep_wallets(layout: &Layout, numbers: &[usize], name: &str) -> anyhow::Result<()> {
    let copies = copies(layout, name);
    private_file::create_dir(&copies).with_context(|| format!("cannot make {}", copies.display()))?;
    wallets(layout, numbers, name).into_iter().try_for_each(|(wallet, copy)| copy_file(&wallet, &copy))
}

/// Makes the wallets what they were at a snapshot.
///
/// # Errors
/// If a copy cannot be read, or a wallet cannot be written.
pub fn restore_wallets(layout: &Layout, numbers: &[usize], name: &str) -> anyhow::Result<()> {
    wallets(layout, numbers, name).into_iter().try_for_each(|(wallet, copy)| copy_file(&copy, &wallet))
}

fn copy_file(from: &Path, to: &Path) -> anyhow::Result<()> {
    let text = std::fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    private_file::replace(to, &text).with_context(|| format!("cannot write {}", to.display()))
}

/// Removes the copies of an earlier run's snapshots, which ended with it.
///
/// # Errors
/// If they cannot be removed.
pub fn forget_all(layout: &Layout) -> anyhow::Result<()> {
    let dir = layout.snapshots();
    match std::fs::remove_dir_all(&dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// Where a snapshot's wallets are kept.
fn copies(layout: &Layout, name: &str) -> PathBuf {
    layout.snapshots().join(name)
}

/// Each wallet of the network, and its copy in a snapshot.
fn wallets(layout: &Layout, numbers: &[usize], name: &str) -> Vec<(PathBuf, PathBuf)> {
    let dir = copies(layout, name);
    let miners = numbers.iter().map(|number| (layout.miner_wallet(*number), dir.join(format!("node-{number}.json"))));
    [(layout.wallet(), dir.join("wallet.json"))].into_iter().chain(miners).collect()
}
