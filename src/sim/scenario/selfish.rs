//! Selfish mining: I. Eyal and E. G. Sirer, *Majority Is Not Enough: Bitcoin Mining Is Vulnerable*, 2013, algorithm 1.

use std::collections::BTreeSet;

use super::acts::Stage;
use super::world::{World, WorldError};
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::storage::BlockKey;

/// A node that keeps its blocks to itself. Its links are cut: what it hears and what the others hear of it, it hears and they hear
/// through this.
#[derive(Debug)]
pub(super) struct Selfish {
    node: usize,
    others: Vec<usize>,
    published: BTreeSet<BlockHash>,
}

impl Selfish {
    pub(super) fn new(node: usize, others: Vec<usize>) -> Self {
        Self { node, others, published: BTreeSet::new() }
    }

    /// Compares its chain with the longest of the others, and takes theirs over, or publishes as much of its own as it must.
    /// Blocks have equal work in a scenario, so the longest chain is the one with most work.
    pub(super) fn react<W: World>(&mut self, stage: &mut Stage<W>) -> Result<(), WorldError> {
        let Some(own) = stage.chain(self.node)? else { return Ok(()) };
        let mut public: (Option<usize>, Vec<BlockHash>) = (None, Vec::new());
        for other in &self.others {
            match stage.chain(*other)? {
                Some(chain) if chain.len() > public.1.len() => public = (Some(*other), chain),
                _ => {}
            }
        }
        let (Some(source), public) = public else { return Ok(()) };
        let common = own.iter().zip(&public).take_while(|(a, b)| a == b).count();
        if common == public.len() {
            // The others have found nothing that it has not.
            return Ok(());
        }
        if public.len() > own.len() {
            for at in keys(&public, common..public.len()) {
                if let Some(block) = stage.block(source, at)? {
                    stage.submit(self.node, block)?;
                }
            }
            return Ok(());
        }
        // A lead of one or none is at risk, so all is published: it wins, or the network is split between two tips. With
        // a longer lead it only matches the others' length.
        let end = if own.len() - public.len() <= 1 { own.len() } else { public.len() };
        for at in keys(&own, common..end) {
            if !self.published.insert(at.hash) {
                continue;
            }
            if let Some(block) = stage.block(self.node, at)? {
                for other in &self.others {
                    stage.submit(*other, block.clone())?;
                }
            }
        }
        Ok(())
    }
}

/// The keys of a part of a chain whose first block has height 1.
fn keys(chain: &[BlockHash], part: std::ops::Range<usize>) -> impl Iterator<Item = BlockKey> {
    part.map(|place| BlockKey { height: Height::from_u32(place as u32 + 1), hash: chain[place] })
}
