//! `cairn testnet faucet`: coins from the network's wallet.

use anyhow::ensure;
use serde_json::json;

use super::control::Control;
use super::setup::Layout;
use crate::cli::console::note;
use crate::cli::{Common, UsageError, account, genesis, wallet};
use crate::consensus::params::Params;
use crate::primitives::address;
use crate::primitives::amount::Amount;
use crate::primitives::hash::Txid;
use crate::primitives::keys::PublicKey;
use crate::primitives::tx::Output;
use crate::wallet::Wallet;
use crate::wallet::payment::{Fee, Order, Payment};

/// Options of `cairn testnet faucet`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Prints the transaction's id. A miner has to confirm it.

Example:
  cairn testnet faucet tcairn1… 2.5")]
pub struct Args {
    /// The address to pay
    address: String,
    /// The amount in coins
    #[arg(default_value = "10")]
    amount: Amount,
}

/// Runs the command.
///
/// # Errors
/// If no network runs in the directory, the address or the amount is invalid, or the node refuses.
pub fn run(args: &Args, common: &Common, layout: &Layout) -> anyhow::Result<()> {
    let params = genesis::read_params(&layout.genesis())?;
    let to = address::decode(&params.address_prefix, &args.address)?;
    let payment = pay(layout, &params, to, args.amount)?;
    note(format_args!("{} to {}, fee {}", args.amount.in_coins(), args.address, payment.fee));
    common.print_payment(&payment.txid, || json!({ "txid": payment.txid, "amount": args.amount, "fee": payment.fee }))
}

fn pay(layout: &Layout, params: &Params, to: PublicKey, amount: Amount) -> anyhow::Result<Payment> {
    ensure!(amount > Amount::ZERO, UsageError("the amount is 0".to_owned()));
    let control = Control::find(layout)?;
    let node = control.node(0);
    let fee = Fee::at_rate(account::least_fee_rate(node)?);
    let order = Order::pay(vec![Output::pay(to, amount)], fee);
    Ok(wallet::send::pay(&order, &[], node, &layout.wallet(), params)?.payment)
}

/// Pays for a caller of the network that runs in this process, which cannot ask for a passphrase.
///
/// # Errors
/// If the wallet is encrypted, the amount is 0 or more than there is, or the node refuses.
pub fn work(layout: &Layout, to: PublicKey, amount: Amount) -> anyhow::Result<Txid> {
    let is_encrypted = Wallet::open(&layout.wallet())?.is_encrypted();
    ensure!(!is_encrypted, "the network's wallet is encrypted: pay from it with `cairn testnet faucet`");
    Ok(pay(layout, &genesis::read_params(&layout.genesis())?, to, amount)?.txid)
}
