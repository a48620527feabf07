//! `cairn testnet fork`: a reorganisation on demand.

use std::time::Duration;

use anyhow::{Context, ensure};
use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::control::{self, Control, Tip};
use super::setup::Layout;
use crate::cli::Common;
use crate::cli::client::call;
use crate::primitives::amount::counted;
use crate::primitives::hash::BlockHash;

/// Between two pictures of the spinner.
const SPIN: Duration = Duration::from_millis(200);

/// Options of `cairn testnet fork`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Cuts the network in two halves, mines DEPTH blocks in the half of node-1 and more work in the other, and heals the \
network. The half of node-1 then gives up its blocks. The nodes' own miners pause meanwhile. Waits until all nodes agree. \
If the command is killed, the network heals by itself.

Example:
  cairn testnet fork --depth 3")]
pub struct Args {
    /// Blocks that node-1 gives up
    #[arg(long, env = "CAIRN_DEPTH", value_name = "BLOCKS", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    depth: u32,
}

/// The result.
#[derive(Debug, Deserialize, Serialize)]
pub struct Fork {
    depth: u32,
    /// The last block that both halves had.
    fork: Tip,
    /// The tip of the losing half.
    old: Tip,
    /// The tip of the winning half.
    new: Tip,
    /// How many nodes agree on it.
    nodes: usize,
}

/// Runs the command. The network's own process does the work, and heals the network when this one ends early.
///
/// # Errors
/// If no network of at least two nodes runs in the directory, its nodes do not agree before or after, or a node refuses.
/// The links are healed and the miners at work again even so.
pub fn run(args: &Args, common: &Common, layout: &Layout) -> anyhow::Result<()> {
    let node = Control::first(layout, None)?;
    let bar = ProgressBar::new_spinner().with_message("mining in both halves of the network");
    bar.enable_steady_tick(SPIN);
    let fork = call::<Fork>(&node, "forktestnet", &[json!(args.depth)]);
    bar.finish_and_clear();
    let fork = fork?;
    let Fork { depth, fork: base, old, new, nodes } = &fork;
    let agreement = format!("a reorganisation of depth {depth}; all {nodes} nodes agree");
    common.print_done(
        format_args!("{agreement} on {} at height {}", new.hash, new.height),
        || {
            [
                format!("fork  {} at height {}", base.hash, base.height),
                format!("old   {} at height {}", old.hash, old.height),
                format!("new   {} at height {}", new.hash, new.height),
                agreement.clone(),
            ]
            .join("\n")
        },
        || json!(fork),
    )
}

/// Cuts the network that runs in this process in two, mines in both halves, and heals it.
///
/// # Errors
/// As [`run`].
pub fn work(control: &Control, layout: &Layout, depth: u32) -> anyhow::Result<Fork> {
    ensure!(control.len() >= 2, "a fork needs two nodes at least, and this network has one");
    control.require_running()?;
    control.while_quiet(|| fork(control, layout, depth))
}

fn fork(control: &Control, layout: &Layout, depth: u32) -> anyhow::Result<Fork> {
    let all = control.len();
    let half = all.div_ceil(2);
    let base = control.agree(0..all)?;
    let mut cut = Vec::new();
    let halves = part(control, half, &mut cut).and_then(|()| {
        let payee = control::payee(layout, 1)?;
        for _ in 0..depth {
            control.mine(0, &payee)?;
        }
        let old = control.agree(0..half)?;
        ensure!(
            old.height == base.height.saturating_add(depth),
            "node-1 is at height {}, not {} further",
            old.height,
            counted(depth, "block")
        );
        let payee = control::payee(layout, control.numbers()[half])?;
        let to_beat = chain_work(control, 0, &old.hash)?;
        let mut mined = 0;
        // Usually one block more is more work. But its blocks are later, and may therefore be easier.
        loop {
            let hash = control.mine(half, &payee)?;
            mined += 1;
            if mined > depth && chain_work(control, half, &hash)? > to_beat {
                break;
            }
        }
        Ok((old, control.agree(half..all)?))
    });
    // Heals all links, even if one fails.
    let healed = cut.iter().map(|(from, to)| set_cut(control, *from, *to, false)).fold(Ok(()), Result::and);
    let (old, new) = halves?;
    healed?;
    let end = control.agree(0..all).context("the network is healed, but")?;
    ensure!(end == new, "the nodes agree on {} at height {}, not on {}", end.hash, end.height, new.hash);
    Ok(Fork { depth: old.height.blocks_since(base.height), fork: base, old, new, nodes: all })
}

/// Cuts every link between the first nodes and the others, and records them in `cut`: links that were cut before stay
/// cut.
fn part(control: &Control, half: usize, cut: &mut Vec<(usize, usize)>) -> anyhow::Result<()> {
    let before = cut_links(control)?;
    let across = (0..half).flat_map(|from| (half..control.len()).flat_map(move |to| [(from, to), (to, from)]));
    for (from, to) in across.filter(|link| !before.contains(link)) {
        cut.push((from, to));
        set_cut(control, from, to, true)?;
    }
    Ok(())
}

/// The links that are cut, each by the node that cut it and the one at its other end.
fn cut_links(control: &Control) -> anyhow::Result<Vec<(usize, usize)>> {
    #[derive(Deserialize)]
    struct Links {
        nodes: Vec<Node>,
    }
    #[derive(Deserialize)]
    struct Node {
        links: Vec<Link>,
    }
    #[derive(Deserialize)]
    struct Link {
        name: Option<String>,
        cut: bool,
    }
    let Links { nodes } = call(control.node(0), "getlinks", &[])?;
    let mut found = Vec::new();
    for (from, node) in nodes.iter().enumerate() {
        for link in node.links.iter().filter(|link| link.cut) {
            let number = link.name.as_deref().and_then(control::number_of);
            found.extend(number.and_then(|number| control.index_of(number)).map(|to| (from, to)));
        }
    }
    Ok(found)
}

fn set_cut(control: &Control, from: usize, to: usize, cut: bool) -> anyhow::Result<()> {
    let params = [json!(control.name(to)), json!({ "cut": cut })];
    call::<Value>(control.node(from), "setlink", &params)?;
    Ok(())
}

/// The work of the chain up to a block, in hex digits of equal number, so that the greater is the later text.
fn chain_work(control: &Control, node: usize, hash: &BlockHash) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Header {
        chainwork: String,
    }
    let header: Header = call(control.node(node), "getblockheader", &[json!(hash)])?;
    Ok(format!("{:0>64}", header.chainwork))
}
