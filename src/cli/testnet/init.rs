//! `cairn testnet init`: the files of a test network whose nodes run elsewhere, such as in containers.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::json;

use super::setup::{self, ADDRESS_PREFIX, Layout, Pace};
use crate::cli::Common;
use crate::cli::genesis::read_params_if_there;
use crate::primitives::address;
use crate::primitives::amount::Amount;
use crate::runtime::unix_now;
use crate::storage::private_file;
use crate::wallet::Wallet;

/// Options of `cairn testnet init`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Creates genesis.json in --data-dir, and a wallet with initial coins. Existing files are kept.

Example:
  cairn testnet init --data-dir net
  cairn node --genesis net/genesis.json --data-dir node-1 --mine wallet")]
pub struct Args {
    /// Number of mining threads to set the difficulty for, so that a block takes about five seconds
    #[arg(long, env = "CAIRN_MINERS", value_name = "THREADS", default_value_t = 2,
          value_parser = clap::value_parser!(u16).range(1..=256))]
    miners: u16,
    /// The wallet's file [default: wallet.json in the data directory]
    #[arg(long = "wallet", env = "CAIRN_WALLET", value_name = "FILE")]
    file: Option<PathBuf>,
    /// Create a password for the nodes' RPC in this file, for their --rpc-password-file
    #[arg(long, env = "CAIRN_MAKE_RPC_PASSWORD", value_name = "FILE")]
    make_rpc_password: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// If a file cannot be read or written, or there is a genesis without the wallet that it pays.
pub fn run(args: &Args, common: &Common, layout: &Layout) -> anyhow::Result<()> {
    let (path, file) = (layout.genesis(), args.file.clone().unwrap_or_else(|| layout.wallet()));
    let (genesis, wallet) = (path.display(), file.display());
    let (params, paid) = if let Some(params) = read_params_if_there(&path)? {
        if !file.exists() {
            bail!(
                "{genesis} exists, but {wallet}, the wallet that it pays, does not: for a new network, remove {genesis} too"
            );
        }
        (params, Wallet::open(&file)?.newest_key())
    } else {
        private_file::create_dir(&layout.dir).with_context(|| format!("cannot make {}", layout.dir.display()))?;
        let paid = Wallet::open_or_create(&file, &mut rand::rng())?.newest_key();
        let params = setup::new_genesis(&paid, Pace::usual(usize::from(args.miners)), unix_now())?;
        setup::write_whole(&path, &params.spec.to_json())?;
        (params, paid)
    };
    if let Some(path) = &args.make_rpc_password {
        make_password(path)?;
    }
    let coins = Amount::saturating_sum(params.spec.alloc.iter().map(|allocation| allocation.value));
    let address = address::encode(ADDRESS_PREFIX, &paid);
    common.print_done(
        format_args!("{genesis} and the wallet {wallet} are there"),
        || format!("genesis  {genesis} ({})\nwallet   {wallet}: {}", params.genesis_hash, coins.in_coins()),
        || json!({ "genesis": path, "genesis_hash": params.genesis_hash, "wallet": file, "address": address, "coins": coins }),
    )
}

/// Writes a password of 32 random bytes that only the file's owner may read, unless the file is there.
fn make_password(path: &Path) -> anyhow::Result<()> {
    let password = format!("{}\n", hex::encode(rand::random::<[u8; 32]>()));
    match private_file::create(path, password.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot write {}", path.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_made_once_and_is_no_one_elses() {
        let dir = tempfile::tempdir().unwrap();
        let [path, other] = ["a", "b"].map(|name| dir.path().join(name));
        make_password(&path).unwrap();
        let password = std::fs::read_to_string(&path).unwrap();
        assert!(password.len() == 65 && password.ends_with('\n'), "{password}");
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions()) & 0o777,
            0o600
        );
        make_password(&path).unwrap();
        make_password(&other).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), password);
        assert_ne!(std::fs::read_to_string(&other).unwrap(), password);
        assert!(make_password(&dir.path().join("no/such")).unwrap_err().to_string().contains("no/such"));
    }
}
