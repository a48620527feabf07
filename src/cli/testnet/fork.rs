//! `cairn testnet fork`: a reorganisation on demand.

use anyhow::{Context, ensure};
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::{Value, json};

use super::control::{self, Control, Tip};
use super::setup::Layout;
use crate::cli::Common;
use crate::cli::client::call;
use crate::primitives::amount::counted;
use crate::primitives::hash::BlockHash;

/// Options of `cairn testnet fork`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Cuts the network in two halves, mines DEPTH blocks in the half of node-1 and more work in the other, and heals the \
network. The half of node-1 then gives up its blocks. The nodes' own miners pause meanwhile. Waits until all nodes agree.

Example:
  cairn testnet fork --depth 3")]
pub struct Args {
    /// Blocks that node-1 gives up
    #[arg(long, env = "CAIRN_DEPTH", value_name = "BLOCKS", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    depth: u32,
}

/// The result.
struct Fork {
    /// The last block that both halves had.
    base: Tip,
    /// The tip of the losing half.
    old: Tip,
    /// The tip of the winning half.
    new: Tip,
}

/// Runs the command.
///
/// # Errors
/// If no network of at least two nodes runs in the directory, its nodes do not agree before or after, or a node refuses.
/// The links are healed and the miners at work again even so.
pub fn run(args: &Args, common: &Common, layout: &Layout) -> anyhow::Result<()> {
    let control = Control::find(layout)?;
    ensure!(control.len() >= 2, "a fork needs two nodes at least, and this network has one");
    control.require_running()?;
    control.catch_interrupts()?;
    let bar = control::progress(2 * u64::from(args.depth) + 1)?;
    let fork = control.while_quiet(|| fork(&control, layout, args.depth, &bar));
    bar.finish_and_clear();
    let Fork { base, old, new } = fork?;
    let depth = old.height.blocks_since(base.height);
    let agreement = format!("a reorganisation of depth {depth}; all {} nodes agree", control.len());
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
        || json!({ "depth": depth, "fork": base, "old": old, "new": new, "nodes": control.len() }),
    )
}

fn fork(control: &Control, layout: &Layout, depth: u32, bar: &ProgressBar) -> anyhow::Result<Fork> {
    let all = control.len();
    let half = all.div_ceil(2);
    bar.set_message("waiting for the nodes to agree");
    let base = control.agree(0..all)?;
    let mut cut = Vec::new();
    let halves = part(control, half, &mut cut).and_then(|()| {
        bar.set_message("mining in the half of node-1");
        let payee = control::payee(layout, 1)?;
        for _ in 0..depth {
            control.mine(0, &payee)?;
            bar.inc(1);
        }
        let old = control.agree(0..half)?;
        ensure!(
            old.height == base.height.saturating_add(depth),
            "node-1 is at height {}, not {} further",
            old.height,
            counted(depth, "block")
        );
        bar.set_message("mining in the other half");
        let payee = control::payee(layout, half + 1)?;
        let to_beat = work(control, 0, &old.hash)?;
        let mut mined = 0;
        // Usually one block more is more work. But its blocks are later, and may therefore be easier.
        loop {
            let hash = control.mine(half, &payee)?;
            bar.inc(1);
            mined += 1;
            if mined > depth && work(control, half, &hash)? > to_beat {
                break;
            }
        }
        Ok((old, control.agree(half..all)?))
    });
    bar.set_message("healing");
    // Heals all links, even if one fails.
    let healed = cut.iter().map(|(from, to)| set_cut(control, *from, *to, false)).fold(Ok(()), Result::and);
    let (old, new) = halves?;
    healed?;
    let end = control.agree(0..all).context("the network is healed, but")?;
    ensure!(end == new, "the nodes agree on {} at height {}, not on {}", end.hash, end.height, new.hash);
    Ok(Fork { base, old, new })
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
            let number = link.name.as_deref().and_then(|name| name.strip_prefix("node-")?.parse::<usize>().ok());
            found.extend(number.and_then(|number| number.checked_sub(1)).map(|to| (from, to)));
        }
    }
    Ok(found)
}

fn set_cut(control: &Control, from: usize, to: usize, cut: bool) -> anyhow::Result<()> {
    let params = [json!(format!("node-{}", to + 1)), json!({ "cut": cut })];
    call::<Value>(control.node(from), "setlink", &params)?;
    Ok(())
}

/// The work of the chain up to a block, in hex digits of equal number, so that the greater is the later text.
fn work(control: &Control, node: usize, hash: &BlockHash) -> anyhow::Result<String> {
    #[derive(Deserialize)]
    struct Header {
        chainwork: String,
    }
    let header: Header = call(control.node(node), "getblockheader", &[json!(hash)])?;
    Ok(format!("{:0>64}", header.chainwork))
}
