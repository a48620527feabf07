//! `cairn db`.

use super::Common;

/// Options of `cairn db`.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// Runs the command.
///
/// # Errors
/// Always, for now.
pub fn run(_args: Args, _common: &Common) -> anyhow::Result<()> {
    anyhow::bail!("`cairn db` is not there yet")
}
