//! Higher fees for payments that wait, and payments taken back.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::json;

use super::order::FeeArgs;
use super::send::{submit, wait};
use super::view::DraftView;
use super::{TIMEOUT, addresses, unlock};
use crate::cli::Common;
use crate::cli::account;
use crate::cli::client::{ClientArgs, call};
use crate::cli::console::note;
use crate::consensus::params::Params;
use crate::primitives::amount::{Amount, FeeRate};
use crate::primitives::codec;
use crate::primitives::hash::Txid;
use crate::primitives::tx::Transaction;
use crate::primitives::{address, amount};
use crate::rpc::client::Client;
use crate::wallet::Wallet;
use crate::wallet::coins::Spendable;
use crate::wallet::labels::{Kind, Labels};
use crate::wallet::payment::Fee;
use crate::wallet::replacement::{NewFee, Replaced};

/// Options of `cairn wallet bump` and `cancel`.
#[derive(Debug, clap::Args)]
pub struct ReplaceArgs {
    /// The id of a payment that waits in the mempool
    txid: Txid,
    #[command(flatten)]
    fee: FeeArgs,
    /// Say what would be spent and paid; sign and send nothing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Wait until the new payment has so many confirmations
    #[arg(long, value_name = "N", default_value_t = 0)]
    wait: u32,
}

/// What takes the payment's place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The same payment with a higher fee.
    HigherFee,
    /// One that pays this wallet.
    Return,
}

/// Replaces a payment and prints the new one's id.
///
/// # Errors
/// If the payment does not wait in the mempool, is not this wallet's, or others build on it; if the wallet's file, the
/// passphrase or the node fails.
pub fn run(
    args: &ReplaceArgs,
    by: By,
    node: &ClientArgs,
    path: &Path,
    params: &Params,
    common: &Common,
) -> anyhow::Result<()> {
    let node = node.connect(common, Some(TIMEOUT))?;
    let wallet = Wallet::open(path)?;
    let old = find(&node, &args.txid, &wallet, params)?;
    let draft = |wallet: &Wallet| {
        let payees: Vec<_> = old.transaction.outputs.iter().filter_map(|output| output.key().copied()).collect();
        let change_to = wallet.change_key(&payees).unwrap_or(wallet.newest_key());
        let relay = relay_fee_rate(&node)?;
        let Fee { rate, max } = args.fee.fee(&node)?;
        let fee = if args.fee.fee_rate.is_some() { NewFee::Rate } else { NewFee::Least }(Fee { rate, max });
        anyhow::Ok(match by {
            By::HigherFee => {
                let coins = account::coins(&node, wallet.keys(), &addresses(wallet, params))?;
                old.bump(wallet.keys(), &coins.confirmed, change_to, fee, relay)?
            }
            By::Return => old.cancel(change_to, fee, relay)?,
        })
    };
    if args.dry_run {
        let view = DraftView::new(&draft(&wallet)?, wallet.keys(), params);
        return view.print_only("nothing was signed or sent", common);
    }
    let secret = unlock(&wallet)?;
    let wallet = Wallet::lock(path, &secret)?;
    let draft = draft(&wallet)?;
    let view = DraftView::new(&draft, wallet.keys(), params);
    let payment = draft.sign(&params.genesis_hash, |key| wallet.secret_key(&secret, key))?;
    submit(&payment, true, &node)?;
    drop(wallet);
    note(format_args!("{}, in place of {}", view.summary(), args.txid));
    common.print_payment(&payment.txid, || {
        let mut shown = view.sent(&payment.txid);
        shown["replaced"] = json!(args.txid);
        shown
    })?;
    if let (By::HigherFee, Some(label)) = (by, Labels::open(path)?.get(Kind::Transaction, &args.txid.to_string())) {
        Labels::set(path, Kind::Transaction, &payment.txid.to_string(), &label)?;
    }
    wait(&node, &payment.txid, args.wait)
}

/// What a node asks for relaying a replacement.
fn relay_fee_rate(node: &Client) -> anyhow::Result<FeeRate> {
    #[derive(Deserialize)]
    struct Info {
        minrelaytxfee: u64,
    }
    let info: Info = call(node, "getmempoolinfo", &[])?;
    Ok(FeeRate::from_grains_per_byte(info.minrelaytxfee))
}

/// A payment of this wallet in the node's mempool.
fn find(node: &Client, txid: &Txid, wallet: &Wallet, params: &Params) -> anyhow::Result<Replaced> {
    #[derive(Deserialize)]
    struct Entry {
        descendantcount: u32,
        fees: Fees,
    }
    #[derive(Deserialize)]
    struct Fees {
        base: Amount,
    }
    #[derive(Deserialize)]
    struct Whole {
        hex: String,
        vin: Vec<Input>,
    }
    #[derive(Deserialize)]
    struct Input {
        prevout: Option<Prevout>,
    }
    #[derive(Deserialize)]
    struct Prevout {
        value: Amount,
        #[serde(rename = "scriptPubKey")]
        lock: Lock,
    }
    #[derive(Deserialize)]
    struct Lock {
        address: String,
    }
    let entry: Entry = call(node, "getmempoolentry", &[json!(txid)])
        .with_context(|| format!("{txid} cannot be replaced, only a payment that waits in the mempool can"))?;
    let others = entry.descendantcount.saturating_sub(1);
    ensure!(
        others == 0,
        "{} in the mempool would vanish with {txid}, because they spend its outputs: replace the last one of them instead",
        amount::counted(others, "transaction")
    );
    let whole: Whole = call(node, "getrawtransaction", &[json!(txid), json!(2)])?;
    let transaction: Transaction = codec::decode_hex(&whole.hex).context("the node's transaction")?;
    let mut spent = Vec::new();
    for (input, shown) in transaction.inputs.iter().zip(whole.vin) {
        let Some(Prevout { value, lock }) = shown.prevout else { bail!("the node does not say what {txid} spends") };
        let key = address::decode(&params.address_prefix, &lock.address)?;
        ensure!(wallet.keys().contains(&key), "{txid} is not a payment of this wallet");
        spent.push(Spendable { outpoint: input.outpoint, value, key });
    }
    Ok(Replaced { transaction, spent, fee: entry.fees.base })
}
