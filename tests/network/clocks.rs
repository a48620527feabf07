//! Clocks that differ.

use cairn::primitives::height::Height;
use std::time::Duration;

use crate::Seed;
use crate::liars::{VICTIM, server, stage};
use cairn_testkit::Ledger;

/// A node requests a block that was too early for its clock again as the clock advances, without any new announcement.
#[test]
fn a_block_that_was_too_early_is_taken_when_its_time_has_come() {
    let seed = Seed::new(60);
    let mut early = None;
    let mut sim = stage(seed.0, 0, |sim, params| {
        let mut ledger = Ledger::on(params);
        let mut blocks = ledger.extend(3, 0);
        let mut block = ledger.block(Vec::new());
        let now = u32::try_from(sim.now().unix.as_secs()).unwrap();
        block.header.time = now + params.max_future_secs + 60;
        cairn_testkit::mine(&mut block.header);
        early = Some(block.hash());
        blocks.push(block);
        server(params, blocks)
    });
    sim.run_for(Duration::from_secs(30));
    let tip = |sim: &cairn::sim::Sim| sim.node(VICTIM).unwrap().chain().tip();
    assert_eq!(tip(&sim).height, Height::from_u32(3), "those before it are taken at once");
    let taken = sim.run_until(Duration::from_secs(90), |sim| Some(tip(sim).hash) == early);
    assert!(taken, "still at height {}", tip(&sim).height);
}
