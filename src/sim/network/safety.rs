//! Safety: honest nodes may disagree about the last blocks, and about no others.

use std::time::Duration;

use crate::p2p::Event;
use crate::p2p::Node;
use crate::primitives::height::Height;
use crate::primitives::time::MonoTime;
use crate::sim::Sim;

/// Blocks about which honest nodes may disagree without a fault: the confirmations that a careful payee waits for.
pub const SETTLED_BLOCKS: u32 = 6;
/// Time after the end of a partition in which nodes still learn of the other side's blocks.
pub const GRACE: Duration = Duration::from_secs(120);
/// Most violations of a kind that are reported.
pub(super) const MAX_REPORTED: usize = 20;

/// A partition, during which nodes cannot agree.
struct Cut {
    from: MonoTime,
    until: Option<MonoTime>,
    /// Blocks found before it.
    found: usize,
}

/// Checks the nodes' chains for safety.
pub(super) struct Safety {
    honest: usize,
    cuts: Vec<Cut>,
    pub(super) violations: Vec<String>,
}

impl Safety {
    pub(super) fn new(honest: usize) -> Self {
        Self { honest, cuts: Vec::new(), violations: Vec::new() }
    }

    pub(super) fn cut(&mut self, sim: &Sim) {
        self.cuts.push(Cut { from: sim.now().mono, until: None, found: sim.found().len() });
    }

    pub(super) fn healed(&mut self, sim: &Sim) {
        if let Some(cut) = self.cuts.last_mut() {
            cut.until = Some(sim.now().mono);
        }
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cuts.last().is_some_and(|cut| cut.until.is_none())
    }

    /// Blocks about which nodes may disagree at a time: [`SETTLED_BLOCKS`], and all that were found since the network was
    /// cut, if it is or was so lately.
    fn allowed(&self, sim: &Sim, at: MonoTime) -> u32 {
        let felt = |cut: &&Cut| cut.from <= at && cut.until.is_none_or(|until| at <= until + GRACE);
        let found = self
            .cuts
            .iter()
            .find(felt)
            .map_or(0, |cut| sim.found()[cut.found..].iter().take_while(|found| found.at <= at).count());
        SETTLED_BLOCKS + found as u32
    }

    fn violated(&mut self, what: String) {
        if self.violations.len() < MAX_REPORTED {
            self.violations.push(what);
        }
    }

    /// Checks that the chains of all running nodes agree as far as required.
    pub(super) fn check(&mut self, sim: &Sim) {
        let at = sim.now().mono;
        let allowed = self.allowed(sim, at);
        let Some((first, reference)) = sim.nodes().next() else { return };
        for (number, node) in sim.nodes() {
            let depth = disagreement(reference, node);
            if depth > allowed {
                self.violated(format!(
                    "at {} ms nodes {first} and {number} disagree about {depth} blocks, not {allowed}",
                    at.as_millis()
                ));
            }
        }
    }

    /// Checks every reorganisation; returns how many of each depth there were.
    pub(super) fn reorganisations(&mut self, sim: &Sim) -> Vec<u64> {
        let mut depths = Vec::new();
        for node in 0..self.honest {
            let mut depth = 0;
            for (at, event) in sim.events(node) {
                match event {
                    Event::BlockDisconnected { .. } => depth += 1,
                    Event::TipChanged { .. } if depth > 0 => {
                        let allowed = self.allowed(sim, *at);
                        if depth > allowed {
                            let millis = at.as_millis();
                            self.violated(format!(
                                "at {millis} ms node {node} took {depth} blocks back, not {allowed}"
                            ));
                        }
                        let depth = std::mem::take(&mut depth) as usize;
                        depths.resize(depths.len().max(depth + 1), 0);
                        depths[depth] += 1;
                    }
                    _ => {}
                }
            }
        }
        depths
    }
}

/// Number of blocks of the lower of two chains that are not on the other.
fn disagreement(a: &Node, b: &Node) -> u32 {
    let (a, b) = (a.chain(), b.chain());
    let lower = a.tip().height.min(b.tip().height);
    let hash = |chain: &crate::chain::Chain, height| chain.entry_at(height).map(|entry| entry.hash);
    let common = Height::GENESIS.through(lower).rev().find(|height| hash(a, *height) == hash(b, *height));
    lower.blocks_since(common.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::consensus::params::{GenesisSpec, Params};
    use crate::sim::NetworkConditions;

    /// Two nodes that go different ways for so many blocks, and meet again. The watch is told of the cut, or not.
    fn watch(blocks: u32, told: bool) -> (Vec<u64>, Vec<String>) {
        let params = Arc::new(Params::new(GenesisSpec::regtest()).unwrap());
        let mut sim = Sim::new(params, NetworkConditions::default(), 1);
        sim.add_node(&[]).unwrap();
        sim.add_node(&[0]).unwrap();
        sim.run_for(Duration::from_secs(5));
        let mut safety = Safety::new(2);
        sim.partition(&[&[], &[1]]);
        if told {
            safety.cut(&sim);
        }
        (0..blocks).for_each(|_| assert!(sim.mine(1).is_some()));
        (0..=blocks).for_each(|_| assert!(sim.mine(0).is_some()));
        safety.check(&sim);
        sim.heal();
        if told {
            safety.healed(&sim);
        }
        assert!(sim.run_until(Duration::from_secs(60), Sim::is_converged));
        let depths = safety.reorganisations(&sim);
        (depths, safety.violations)
    }

    #[test]
    fn unexplained_disagreement_is_reported() {
        let (depths, violations) = watch(SETTLED_BLOCKS + 1, false);
        assert_eq!(depths, [0, 0, 0, 0, 0, 0, 0, 1]);
        assert!(violations[0].contains("nodes 0 and 1 disagree about 7 blocks, not 6"), "{violations:?}");
        assert!(violations[1].contains("node 1 took 7 blocks back, not 6"), "{violations:?}");
        assert_eq!(watch(SETTLED_BLOCKS + 1, true).1, [""; 0]);
        assert_eq!(watch(SETTLED_BLOCKS, false).1, [""; 0]);
    }
}
