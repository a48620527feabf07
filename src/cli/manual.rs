//! `cairn completion` and `cairn man`: what a shell and `man` know of the commands, from the same declarations.

use std::path::PathBuf;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;
use serde_json::json;

use super::{Cli, Common};

/// Options of `cairn completion`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn completion bash > ~/.local/share/bash-completion/completions/cairn
  cairn completion zsh > ~/.zfunc/_cairn    # fpath+=~/.zfunc in ~/.zshrc
  cairn completion fish > ~/.config/fish/completions/cairn.fish")]
pub struct CompletionArgs {
    /// The shell
    shell: Shell,
}

/// Options of `cairn man`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  cairn man ~/.local/share/man/man1 && man cairn-wallet-send")]
pub struct ManArgs {
    /// The directory for the pages, one for each command; it is created if it does not exist
    directory: PathBuf,
}

/// Prints a completion script.
///
/// # Errors
/// If stdout cannot be written to.
pub fn completion(args: &CompletionArgs, common: &Common) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cairn", &mut script);
    let script = String::from_utf8(script).context("the script is not UTF-8")?;
    common.print(|| script.trim_end().to_owned(), || json!({ "shell": args.shell.to_string(), "script": script }))
}

/// Writes the manual pages.
///
/// # Errors
/// If they cannot be written.
pub fn man(args: &ManArgs, common: &Common) -> anyhow::Result<()> {
    let dir = &args.directory;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    clap_mangen::generate_to(Cli::command(), dir).with_context(|| format!("cannot write to {}", dir.display()))?;
    let done = format!("the pages are in {}", dir.display());
    common.print_outcome(&done, || json!({ "directory": dir }))
}
