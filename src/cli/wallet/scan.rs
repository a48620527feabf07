//! Scans for used addresses of a wallet with a node.

use std::fmt;

use anyhow::ensure;
use serde::Serialize;
use serde_json::{Value, json};

use super::TIMEOUT;
use crate::cli::Common;
use crate::cli::client::{ClientArgs, call};
use crate::consensus::params::Params;
use crate::primitives::address;
use crate::primitives::amount::counted;
use crate::primitives::height::Height;
use crate::wallet::account::Account;

/// Most addresses scanned, as many as the file has room for: a node that reports all of them as used must not keep the
/// scan running for ever.
pub(super) const MAX_SCANNED: u32 = 100_000;

/// The extent of a scan.
#[derive(Debug, clap::Args)]
pub struct ScanArgs {
    /// Addresses in a row without a transaction after which no further ones are looked for
    // BIP-44's "address gap limit".
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) gap_limit: u32,
}

/// What a scan found.
#[derive(Debug, Serialize)]
pub struct Scan {
    /// Addresses looked at, from the first.
    pub(super) addresses: u32,
    /// Addresses up to the last used one, which are handed out again.
    pub used: u32,
    /// The height of the node's chain at the time.
    pub(super) height: Height,
}

impl fmt::Display for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { addresses, used, height } = self;
        let looked = counted(*addresses, "address");
        match used {
            0 => write!(f, "{looked} up to height {height}: none was used"),
            used => write!(f, "{looked} up to height {height}: number {used} is the last that was used"),
        }
    }
}

/// Asks a node for transactions of one address after the other, until so many in a row have none.
///
/// # Errors
/// If no node answers, or there is no end of used addresses.
pub fn scan(
    options: &ScanArgs,
    node: &ClientArgs,
    account: &Account,
    params: &Params,
    common: &Common,
) -> anyhow::Result<Scan> {
    let node = node.connect(common, Some(TIMEOUT))?;
    let height = call(&node, "getblockcount", &[])?;
    let (mut addresses, mut used) = (0, 0);
    while addresses < used + options.gap_limit {
        ensure!(addresses < MAX_SCANNED, "the node has transactions of all the first {MAX_SCANNED} addresses");
        let address = address::encode(&params.address_prefix, &account.key(addresses).public_key());
        let history: Vec<Value> = call(&node, "getaddresshistory", &[json!(address), json!(0), json!(1)])?;
        addresses += 1;
        if !history.is_empty() {
            used = addresses;
        }
    }
    Ok(Scan { addresses, used, height })
}
