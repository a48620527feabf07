//! `cairn sim run`: a scenario in virtual time.

use serde_json::json;

use crate::cli::Common;
use crate::cli::scenario::{self, Args};
use crate::sim::scenario::Virtual;

pub(super) const EXAMPLES: &str = "\
The same file runs over real nodes, in real time, with `cairn testnet run`: docs/scenarios.md describes it. The same seed \
gives the same run to the byte.

Exit code 0 if every check holds, 1 if one does not, 2 if the file is no scenario.

Examples:
  cairn sim run scenarios/partition.toml
  cairn sim run scenarios/selfish-miner.toml --seed 7";

pub(super) fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let prepared = scenario::prepare(args, common)?;
    let mut world = Virtual::new(&prepared.scenario, prepared.seed)?;
    scenario::play(&prepared, &mut world, common, |world| Some(("trace", json!(world.trace()))))
}
