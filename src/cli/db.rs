//! `cairn db`: checks a node's database, exports it to a plain file, and imports one. The node must not be running.
//! Checking and saving only read, and work on a disk that is read-only or full too.

use std::fs::File;
use std::io::{BufReader, BufWriter, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::console::note;
use super::{Common, genesis};
use crate::chain::{self, Chain};
use crate::primitives::amount::counted;
use crate::primitives::height::Height;
use crate::runtime::{STORE_DIR, unix_now};
use crate::storage::{Database, SledStore, StoreError, private_file};

/// Options of `cairn db`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: DbCommand,
}

#[derive(Debug, Subcommand)]
enum DbCommand {
    /// Replay the chain from genesis by every rule, and compare the result with the whole database
    #[command(visible_alias = "audit")]
    Check,
    /// Write the blocks of the best chain, as far as they can be read, to a file
    #[command(after_help = "\
Example:
  cairn db export blocks.cairn")]
    Export {
        /// The file to write; it must not exist yet
        file: PathBuf,
    },
    /// Validate the blocks of a file and add them to the database
    #[command(after_help = "\
Example, a damaged database rebuilt:
  cairn db export blocks.cairn
  mv ~/.cairn/chain ~/.cairn/chain.damaged
  cairn db import blocks.cairn")]
    Import {
        /// A file written by `cairn db export`
        file: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// If the database is in use, damaged or of another network, or a file fails.
pub fn run(args: Args, common: &Common) -> anyhow::Result<()> {
    match args.command {
        DbCommand::Check => check(common),
        DbCommand::Export { file } => export(&file, common),
        DbCommand::Import { file } => import(&file, common),
    }
}

fn check(common: &Common) -> anyhow::Result<()> {
    let params = common.params()?;
    let db = open_existing(common)?;
    ensure!(db.check_meta(&params.genesis_hash)?, "there is nothing to check: the database is empty");
    let bar = progress_bar("blocks replayed");
    let report = chain::check(&db, &params, &mut |height, tip| {
        bar.set_length(u64::from(tip.as_u32()));
        bar.set_position(u64::from(height.as_u32()));
    })?;
    bar.finish_and_clear();
    let text = || {
        let pruned = match report.kept_from {
            Height::GENESIS => String::new(),
            height => {
                format!("; blocks below height {height} are pruned, so the coins that they made were not checked")
            }
        };
        format!(
            "in order: height {}, {}, {}, {} worth {}{pruned}",
            report.height,
            counted(report.headers, "header"),
            counted(report.transactions, "transaction"),
            counted(report.coins, "coin"),
            report.value
        )
    };
    common.print(text, || {
        json!({
            "height": report.height,
            "headers": report.headers,
            "transactions": report.transactions,
            "coins": report.coins,
            "value": report.value,
            "pruneheight": report.kept_from,
        })
    })
}

fn export(path: &Path, common: &Common) -> anyhow::Result<()> {
    let params = common.params()?;
    let db = open_existing(common)?;
    ensure!(db.check_meta(&params.genesis_hash)?, "there is nothing to export: the database is empty");
    chain::check_exportable(&db)?;
    let file = File::create_new(path).with_context(|| format!("cannot create {}", path.display()))?;
    let bar = progress_bar("blocks written");
    let exported = chain::export(&db, &params.genesis_hash, BufWriter::new(&file), &mut |height| {
        bar.set_position(u64::from(height.as_u32()));
    });
    bar.finish_and_clear();
    // The readable part of a damaged database is kept, too.
    file.sync_all().with_context(|| format!("cannot write {}", path.display()))?;
    let blocks = exported?;
    let text = format!("{}: {}", path.display(), counted(blocks, "block"));
    common.print_outcome(&text, || json!({ "file": path, "blocks": blocks }))
}

fn import(path: &Path, common: &Common) -> anyhow::Result<()> {
    let params = common.params()?;
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let bytes = file.metadata().map_or(0, |metadata| metadata.len());
    let data_dir = common.node_dir()?;
    genesis::check_kept(&data_dir, &params)?;
    // Nothing is made for an archive of another network, or for what is none.
    chain::check_archive(BufReader::new(&file), &params)?;
    (&file).rewind().with_context(|| format!("cannot read {}", path.display()))?;
    private_file::create_dir(&data_dir).with_context(|| format!("cannot make {}", data_dir.display()))?;
    let dir = data_dir.join(STORE_DIR);
    let mut chain = Chain::open(params.clone(), Arc::new(SledStore::open(&dir)?))?;
    genesis::keep(&data_dir, &params)?;
    let bar = progress_bar("bytes read");
    bar.set_length(bytes);
    let imported =
        chain::import(&mut chain, BufReader::new(file), unix_now(), &mut |offset, _| bar.set_position(offset));
    bar.finish_and_clear();
    let imported =
        imported.with_context(|| format!("the import ended with the chain at height {}", chain.tip().height))?;
    let (height, new, known) = (chain.tip().height, imported.new, imported.known);
    let text = format!("height {height}: {} imported, {known} already known", counted(new, "block"));
    common.print_outcome(&text, || json!({ "height": height, "imported": new, "known": known }))
}

/// Opens an existing database for reading, without creating one; a copy if it cannot be written.
fn open_existing(common: &Common) -> anyhow::Result<Database> {
    let dir = common.node_dir()?.join(STORE_DIR);
    ensure!(dir.is_dir(), "there is no database at {}: give its directory with --data-dir", dir.display());
    let store = match SledStore::open(&dir) {
        Err(error @ StoreError::Backend { .. }) => {
            let (copy, place) = SledStore::open_copy(&dir).with_context(|| error.to_string())?;
            note(format_args!("{error}; reading from a copy in {}", place.display()));
            copy
        }
        opened => opened?,
    };
    Ok(Database::new(Arc::new(store)))
}

/// On a terminal only.
pub(super) fn progress_bar(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} {msg}, {elapsed}");
    let bar = ProgressBar::new(0).with_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
