//! `cairn testnet`.

use super::Common;

/// Options of `cairn testnet`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// Always, for now.
pub fn run(_args: Args, _common: &Common) -> anyhow::Result<()> {
    anyhow::bail!("`cairn testnet` is not there yet")
}
