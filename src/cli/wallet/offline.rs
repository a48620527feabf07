//! Payments that one wallet prepares, another signs without a network, and any node sends.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::json;

use super::order::{self, OrderArgs};
use super::send::{keep_label, submit, wait};
use super::view::DraftView;
use super::{TIMEOUT, addresses, unlock};
use crate::cli::client::ClientArgs;
use crate::cli::console::note;
use crate::cli::{Common, account, print_line, write_file};
use crate::consensus::params::Params;
use crate::primitives::address;
use crate::primitives::amount::{Amount, counted};
use crate::wallet::Wallet;
use crate::wallet::payment::{Draft, Payment};
use crate::wallet::payment_file::{MAX_FILE_BYTES, PaymentFile};

/// Options of `cairn wallet prepare`.
#[derive(Debug, clap::Args)]
pub struct PrepareArgs {
    #[command(flatten)]
    order: OrderArgs,
    /// The file to write [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Options of `cairn wallet sign`.
#[derive(Debug, clap::Args)]
pub struct SignArgs {
    /// The payment's file; - for stdin
    file: PathBuf,
    /// The file to write [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Say what would be signed; sign nothing
    #[arg(long, conflicts_with = "output")]
    dry_run: bool,
    /// Maximum fee [default: 0.1 coins, at no more than 10000 grains a byte]
    #[arg(long, value_name = "COINS")]
    max_fee: Option<Amount>,
}

/// Options of `cairn wallet broadcast`.
#[derive(Debug, clap::Args)]
pub struct BroadcastArgs {
    /// The signed payment's file; - for stdin
    file: PathBuf,
    /// What the payment is for, for the history of this wallet; no other party learns of it
    #[arg(long, value_name = "TEXT", value_parser = super::label)]
    label: Option<String>,
    /// Wait until the payment has so many confirmations
    #[arg(long, value_name = "N", default_value_t = 0)]
    wait: u32,
}

/// Adds addresses to a wallet without keys, which is made if there is none.
///
/// # Errors
/// If an address is not of this network, or the wallet has keys or cannot be written.
pub fn watch(given: &[String], path: &Path, params: &Params, common: &Common) -> anyhow::Result<()> {
    let keys = given.iter().map(|text| address::decode(&params.address_prefix, text));
    let wallet = Wallet::watch(path, &keys.collect::<Result<Vec<_>, _>>()?)?;
    let count = counted(wallet.keys().len(), "address");
    let done = format!("the wallet {} watches {count}", path.display());
    common.print_outcome(&done, || json!({ "wallet": path, "addresses": addresses(&wallet, params) }))
}

/// Writes the file of a payment that is not signed.
///
/// # Errors
/// If the wallet's file, the payment or the node fails, or the file cannot be written.
pub fn prepare(
    args: &PrepareArgs,
    node: &ClientArgs,
    path: &Path,
    params: &Params,
    common: &Common,
) -> anyhow::Result<()> {
    let wallet = Wallet::open(path)?;
    let node = node.connect(common, Some(TIMEOUT))?;
    let order = args.order.order(&node, params)?;
    let coins = account::coins(&node, wallet.keys(), &addresses(&wallet, params))?;
    let change_to = wallet.change_key(&order::payees(&order));
    let change_to = change_to.context("change would go to a payee: hand out or watch another address first")?;
    let draft = order::draft(&order, args.order.from(), &coins, change_to)?;
    let view = DraftView::new(&draft, wallet.keys(), params);
    note(view.text());
    write(&PaymentFile::new(draft), args.output.as_deref(), "is prepared", params, common)
}

/// Signs what this wallet has the keys for, without a network.
///
/// # Errors
/// If the file is no payment's, the wallet has no key of it, the fee must be a mistake, or the new file cannot be
/// written.
pub fn sign(args: &SignArgs, path: &Path, params: &Params, common: &Common) -> anyhow::Result<()> {
    let mut file = read(&args.file, params)?;
    let wallet = Wallet::open(path)?;
    let draft = file.draft();
    let view = DraftView::new(draft, wallet.keys(), params);
    if args.dry_run {
        return view.print_only("nothing was signed", common);
    }
    // Before the passphrase is asked for, so that the payer sees what it is for.
    note(view.text());
    draft.check_fee(args.max_fee)?;
    ensure!(
        draft.spent.iter().any(|coin| wallet.keys().contains(&coin.key)),
        "the payment spends no coin of the wallet {}",
        path.display()
    );
    let secret = unlock(&wallet)?;
    file.sign(&params.genesis_hash, |key| wallet.secret_key(&secret, key));
    let left = file.unsigned(&params.genesis_hash);
    let state = match left {
        0 => "is signed".to_owned(),
        left => format!("needs {} more", counted(left, "signature")),
    };
    write(&file, args.output.as_deref(), &state, params, common)
}

/// Sends a signed payment and prints its id.
///
/// # Errors
/// If the file is no payment's or a signature is missing, or the node refuses it.
pub fn broadcast(
    args: &BroadcastArgs,
    node: &ClientArgs,
    path: &Path,
    params: &Params,
    common: &Common,
) -> anyhow::Result<()> {
    let file = read(&args.file, params)?;
    let missing = file.unsigned(&params.genesis_hash);
    let signatures = match missing {
        1 => "1 signature of the payment is".to_owned(),
        count => format!("{count} signatures of the payment are"),
    };
    ensure!(missing == 0, "{signatures} missing: `cairn wallet sign` makes them");
    let node = node.connect(common, Some(TIMEOUT))?;
    let Draft { transaction, fee, change, .. } = file.draft().clone();
    let payment = Payment { txid: transaction.txid(), transaction, fee, change };
    submit(&payment, false, &node)?;
    common.print_payment(&payment.txid, || DraftView::new(file.draft(), &[], params).sent(&payment.txid))?;
    keep_label(path, &payment.txid, args.label.as_deref())?;
    wait(&node, &payment.txid, args.wait)
}

/// The payment in a file; `-` is stdin.
///
/// # Errors
/// If it cannot be read or is no payment's.
pub fn read(path: &Path, params: &Params) -> anyhow::Result<PaymentFile> {
    let mut text = String::new();
    let read = match path.to_str() {
        Some("-") => std::io::stdin().lock().take(MAX_FILE_BYTES).read_to_string(&mut text),
        _ => File::open(path).and_then(|file| file.take(MAX_FILE_BYTES).read_to_string(&mut text)),
    };
    read.with_context(|| format!("cannot read {}", path.display()))?;
    PaymentFile::from_json(&text, params).with_context(|| format!("{} cannot be used", path.display()))
}

fn write(
    file: &PaymentFile,
    output: Option<&Path>,
    state: &str,
    params: &Params,
    common: &Common,
) -> anyhow::Result<()> {
    let text = file.to_json(params);
    let Some(path) = output else { return print_line(text.trim_end()) };
    write_file(path, text.as_bytes())?;
    let done = format!("{}: the payment {state}", path.display());
    let missing = file.unsigned(&params.genesis_hash);
    common.print_outcome(&done, || json!({ "file": path, "missing_signatures": missing }))
}
