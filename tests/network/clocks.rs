//! Clocks that differ.

use std::time::Duration;

use cairn::miner::template;
use cairn::primitives::time::UnixTime;

use crate::liars::{VICTIM, server, stage};
use crate::{Private, Seed, key};

/// A block that is too early for a node's clock is asked for again as that clock goes on, though no peer says a word of it.
#[test]
fn a_block_that_was_too_early_is_taken_when_its_time_has_come() {
    let seed = Seed::new(60);
    let mut early = None;
    let mut sim = stage(seed.0, 0, |sim, params| {
        let mut private = Private::new(params);
        private.grow(3);
        let time = sim.now().unix.as_secs() + u64::from(params.max_future_secs) + 60;
        let template =
            template::build(&private.chain, &private.pool, &key(99).public_key(), 7, UnixTime::from_secs(time))
                .unwrap();
        let block = (0..).map(|nonce| template.block(nonce)).find(|block| template.target.is_met_by(&block.hash()));
        private.blocks.extend(block);
        early = private.blocks.last().map(|block| block.hash());
        server(params, private.blocks)
    });
    sim.run_for(Duration::from_secs(30));
    let tip = |sim: &cairn::sim::Sim| sim.node(VICTIM).unwrap().chain().tip();
    assert_eq!(tip(&sim).height, 3, "those before it are taken at once");
    let taken = sim.run_until(Duration::from_secs(90), |sim| Some(tip(sim).hash) == early);
    assert!(taken, "still at height {}", tip(&sim).height);
}
