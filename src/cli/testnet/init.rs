//! `cairn testnet init`: the files of a test network without its nodes, which run elsewhere: in containers, say.

use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::json;

use super::setup::{self, ADDRESS_PREFIX, Layout, Pace};
use crate::cli::Common;
use crate::consensus::params::Params;
use crate::primitives::address;
use crate::primitives::amount::format_coins;
use crate::runtime::unix_now;
use crate::storage::private_file;
use crate::wallet::Wallet;

/// Options of `cairn testnet init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Makes genesis.json in --data-dir, and a wallet that has coins from the start. What is there already is kept.

Example:
  cairn testnet init --data-dir net
  cairn node --genesis net/genesis.json --data-dir node-1 --mine wallet")]
pub struct Args {
    /// Mining threads like those of this machine, or of this container, that are to find a block in some five seconds
    #[arg(long, env = "CAIRN_MINERS", value_name = "THREADS", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    miners: u16,
    /// The wallet's file [default: wallet.json in the data directory]
    #[arg(long = "wallet", env = "CAIRN_WALLET", value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If a file cannot be read or written, or there is a genesis without the wallet that it pays.
pub fn run(args: &Args, common: &Common, layout: &Layout) -> anyhow::Result<()> {
    let (path, file) = (layout.genesis(), args.file.clone().unwrap_or_else(|| layout.wallet()));
    let (genesis, wallet) = (path.display(), file.display());
    let (params, paid) = if path.exists() {
        let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {genesis}"))?;
        let params = Params::from_json(&text).with_context(|| format!("{genesis} will not do"))?;
        if !file.exists() {
            bail!("{genesis} is there, but {wallet}, which it pays, is not: remove it too for a new network");
        }
        (params, Wallet::open(&file)?.newest_key())
    } else {
        private_file::create_dir(&layout.dir).with_context(|| format!("cannot make {}", layout.dir.display()))?;
        let paid = Wallet::open_or_create(&file)?.newest_key();
        let params = setup::new_genesis(&paid, Pace::usual(usize::from(args.miners)), unix_now())?;
        setup::write_whole(&path, &params.spec.to_json())?;
        (params, paid)
    };
    let coins: u64 = params.spec.alloc.iter().map(|allocation| allocation.value).sum();
    let address = address::encode(ADDRESS_PREFIX, &paid);
    common.print(
        || format!("genesis  {genesis} ({})\nwallet   {wallet}: {} coins", params.genesis_hash, format_coins(coins)),
        || json!({ "genesis": path, "genesis_hash": params.genesis_hash, "wallet": file, "address": address, "coins": coins }),
    )
}
