//! Whether a check holds, and what was seen.

use std::collections::{BTreeMap, BTreeSet};

use super::acts::Stage;
use super::plan::{Bounds, Check};
use super::world::{World, WorldError};
use crate::primitives::hash::{BlockHash, Txid};

/// What a run knows that no node does.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// Who found each block.
    pub(super) miners: BTreeMap<BlockHash, usize>,
    /// The ids of the payments made so far, by their numbers.
    pub(super) paid: BTreeMap<usize, Txid>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) holds: bool,
    /// In words.
    pub(super) text: String,
}

/// Looks whether a check holds now.
pub(super) fn look<W: World>(check: &Check, stage: &mut Stage<W>, facts: &Facts) -> Result<Seen, WorldError> {
    match check {
        Check::Agree(nodes) => agree(nodes, stage),
        Check::Tips(nodes, bounds) => {
            let tips: BTreeSet<BlockHash> = tips(nodes, stage)?.into_iter().filter_map(|(_, tip)| tip).collect();
            Ok(Seen { holds: bounds.hold(tips.len() as f64), text: tips.len().to_string() })
        }
        Check::Height(nodes, bounds) => each(nodes, *bounds, stage, |stage, node| {
            stage.world.read(node, |node, _| f64::from(node.chain().tip().height.as_u32()))
        }),
        Check::Peers { of, among, bounds } => each(of, *bounds, stage, |stage, node| {
            let others: BTreeSet<_> = among.iter().filter_map(|other| Some(stage.world.contact(*other)?.1)).collect();
            stage.world.read(node, move |node, now| {
                let peers: BTreeSet<_> =
                    node.peers(now).into_iter().filter(|peer| peer.ready).map(|peer| peer.node).collect();
                peers.intersection(&others).count() as f64
            })
        }),
        Check::Mempool(nodes, bounds) => {
            each(nodes, *bounds, stage, |stage, node| stage.world.read(node, |node, _| node.mempool().len() as f64))
        }
        Check::Confirmed { numbers, by, bounds } => each(by, *bounds, stage, |stage, node| {
            let paid: Vec<Txid> = facts.paid.range(numbers.clone()).map(|(_, txid)| *txid).collect();
            stage.try_read(node, move |node| {
                let db = node.chain().db();
                paid.iter().try_fold(0.0, |count, txid| {
                    Ok::<_, crate::storage::StoreError>(count + f64::from(u8::from(db.tx_location(txid)?.is_some())))
                })
            })
        }),
        Check::Share { miners, by, bounds } => each(by, *bounds, stage, |stage, node| {
            Ok(stage.chain(node)?.map(|chain| {
                let theirs = chain.iter().filter(|hash| facts.is_by(hash, miners)).count();
                theirs as f64 / chain.len().max(1) as f64
            }))
        }),
        Check::Lost { miners, by, bounds } => each(by, *bounds, stage, |stage, node| {
            Ok(stage.chain(node)?.map(|chain| {
                let found = facts.miners.values().filter(|miner| miners.contains(miner)).count();
                let kept = chain.iter().filter(|hash| facts.is_by(hash, miners)).count();
                found.saturating_sub(kept) as f64
            }))
        }),
    }
}

impl Facts {
    fn is_by(&self, hash: &BlockHash, miners: &[usize]) -> bool {
        self.miners.get(hash).is_some_and(|miner| miners.contains(miner))
    }
}

/// The tip of each node; `None` of one that is down.
fn tips<W: World>(nodes: &[usize], stage: &mut Stage<W>) -> Result<Vec<(usize, Option<BlockHash>)>, WorldError> {
    nodes.iter().map(|node| Ok((*node, stage.world.read(*node, |node, _| node.chain().tip().hash)?))).collect()
}

fn agree<W: World>(nodes: &[usize], stage: &mut Stage<W>) -> Result<Seen, WorldError> {
    let tips = tips(nodes, stage)?;
    let different: BTreeSet<_> = tips.iter().filter_map(|(_, tip)| *tip).collect();
    let down: Vec<&str> =
        tips.iter().filter(|(_, tip)| tip.is_none()).map(|(node, _)| stage.names[*node].as_str()).collect();
    let text = match (&different.len(), &down[..]) {
        (1, []) => "one tip".to_owned(),
        (count, []) => format!("{count} tips"),
        (_, down) => format!("not running: {}", down.join(", ")),
    };
    Ok(Seen { holds: different.len() == 1 && down.is_empty(), text })
}

/// Reads a number from each node that is up. All of them must be within the bounds.
fn each<W: World>(
    nodes: &[usize],
    bounds: Bounds,
    stage: &mut Stage<W>,
    mut number: impl FnMut(&mut Stage<W>, usize) -> Result<Option<f64>, WorldError>,
) -> Result<Seen, WorldError> {
    let mut seen = Vec::new();
    for node in nodes {
        if let Some(number) = number(stage, *node)? {
            seen.push((stage.names[*node].as_str(), number));
        }
    }
    let holds = !seen.is_empty() && seen.iter().all(|(_, number)| bounds.hold(*number));
    // Three digits are enough for a share, and a count has none.
    let rounded = |number: f64| (number * 1e3).round() / 1e3;
    let text = match &seen[..] {
        [] => "none of the nodes is running".to_owned(),
        [(_, first), others @ ..] if others.iter().all(|(_, number)| number == first) => rounded(*first).to_string(),
        all => all.iter().map(|(name, number)| format!("{name} {}", rounded(*number))).collect::<Vec<_>>().join(", "),
    };
    Ok(Seen { holds, text })
}
