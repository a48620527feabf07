//! `cairn testnet mine`: blocks at once.

use serde_json::json;

use super::control::{self, Control};
use super::setup::Layout;
use crate::cli::Common;
use crate::primitives::amount::counted;
use crate::runtime::interrupt_flag;

/// Options of `cairn testnet mine`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The nodes' own miners pause meanwhile. The blocks pay node-1. Prints the blocks' hashes.

Example:
  cairn testnet mine 3")]
pub struct Args {
    /// Number of blocks
    #[arg(default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    blocks: u32,
}

/// Runs the command.
///
/// # Errors
/// If no network runs in the directory, or a node refuses.
pub fn run(args: &Args, common: &Common, layout: &Layout) -> anyhow::Result<()> {
    let control = Control::find(layout)?.interrupted_by(interrupt_flag()?);
    let payee = control::payee(layout, 1)?;
    let bar = control::progress(u64::from(args.blocks))?;
    let hashes = control.while_quiet(|| {
        let mine = |_| {
            let hash = control.mine(0, &payee)?;
            bar.inc(1);
            Ok(hash.to_string())
        };
        (0..args.blocks).map(mine).collect::<anyhow::Result<Vec<String>>>()
    });
    bar.finish_and_clear();
    let hashes = hashes?;
    let last = hashes.last().map(String::as_str).unwrap_or_default();
    let done = format!("{} mined, up to {last}", counted(hashes.len(), "block"));
    common.print_done(done, || hashes.join("\n"), || json!({ "hashes": hashes }))
}
