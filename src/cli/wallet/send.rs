//! Payments.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use super::order::{self, OrderArgs};
use super::view::DraftView;
use super::{TIMEOUT, addresses, unlock};
use crate::cli::Common;
use crate::cli::account;
use crate::cli::client::{ClientArgs, call};
use crate::cli::console::note;
use crate::consensus::params::Params;
use crate::primitives::codec;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::keys::PublicKey;
use crate::primitives::tx::OutPoint;
use crate::rpc::client::{Client, ClientError};
use crate::rpc::error::Code;
use crate::wallet::coins::Spendable;
use crate::wallet::labels::{Kind, Labels};
use crate::wallet::payment::{Draft, Order, Payment};
use crate::wallet::{LockedWallet, Secret, Wallet};

/// Payments built anew after a refusal: each uses coins that the node reported as spendable, which only blocks and
/// other wallets with the same words can spend meanwhile.
const MAX_RETRIES: usize = 4;
/// Longest wait for a block in one call, in milliseconds: within [`TIMEOUT`].
const POLL_MILLIS: u64 = 30_000;

/// Options of `cairn wallet send`.
#[derive(Debug, clap::Args)]
pub struct SendArgs {
    #[command(flatten)]
    pub(super) order: OrderArgs,
    /// Say what would be spent and paid; sign and send nothing
    #[arg(long, conflicts_with_all = ["label", "wait"])]
    pub(super) dry_run: bool,
    /// What the payment is for, for the history of this wallet; no other party learns of it
    #[arg(long, value_name = "TEXT", value_parser = super::label)]
    pub(super) label: Option<String>,
    /// Wait until the payment has so many confirmations
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) wait: u32,
}

/// Runs `cairn wallet send`.
///
/// # Errors
/// If the wallet's file, the passphrase, the payment or the node fails.
pub(super) fn run(
    send: &SendArgs,
    node: &ClientArgs,
    path: &Path,
    params: &Params,
    common: &Common,
) -> anyhow::Result<()> {
    let node = node.connect(common, Some(TIMEOUT))?;
    let order = send.order.order(&node, params)?;
    if send.dry_run {
        let wallet = Wallet::open(path)?;
        let coins = account::coins(&node, wallet.keys(), &addresses(&wallet, params))?;
        // A payment to all addresses of the wallet would make one more. An output to any other key is as long.
        let change_to = wallet.change_key(&order::payees(&order)).unwrap_or(wallet.newest_key());
        let view = DraftView::new(&order::draft(&order, send.order.from(), &coins, change_to)?, wallet.keys(), params);
        return view.print_only("nothing was signed or sent", common);
    }
    let Sent { draft, payment, keys } = pay(&order, send.order.from(), &node, path, params)?;
    let view = DraftView::new(&draft, &keys, params);
    note(view.summary());
    // Before the wait, which may be interrupted.
    common.print_payment(&payment.txid, || view.sent(&payment.txid))?;
    keep_label(path, &payment.txid, send.label.as_deref())?;
    wait(&node, &payment.txid, send.wait)
}

/// A payment that a node has taken.
#[derive(Debug)]
pub(in crate::cli) struct Sent {
    /// As it was before it was signed.
    draft: Draft,
    /// As it was sent.
    pub payment: Payment,
    /// The wallet's keys.
    keys: Vec<PublicKey>,
}

/// Signs a payment and submits it to a node. It spends the coins in `from`, all of them, or any if there are none there.
/// Concurrent payments of one wallet wait for each other.
///
/// # Errors
/// If the wallet's file, the passphrase, the payment or the node fails.
pub(in crate::cli) fn pay(
    order: &Order,
    from: &[OutPoint],
    node: &Client,
    path: &Path,
    params: &Params,
) -> anyhow::Result<Sent> {
    let (wallet, secret, change_to) = open_to_pay(order, path)?;
    let own = addresses(&wallet, params);
    let known_coins = || account::coins(node, wallet.keys(), &own);
    let sign = |draft: Draft| {
        let payment = draft.clone().sign(&params.genesis_hash, |key| wallet.secret_key(&secret, key))?;
        anyhow::Ok(Sent { draft, payment, keys: wallet.keys().to_vec() })
    };
    let mut sent = sign(order::draft(order, from, &known_coins()?, change_to)?)?;
    let mut avoided = BTreeSet::new();
    for _ in 0..MAX_RETRIES {
        let Some(refusal) = hand_in(&sent.payment, false, node)? else { return Ok(sent) };
        let spent: BTreeSet<OutPoint> = sent.draft.spent.iter().map(|coin| coin.outpoint).collect();
        let mut coins = known_coins()?;
        let is_left = |coin: &&Spendable| spent.contains(&coin.outpoint);
        let chained: Vec<OutPoint> = coins.unconfirmed.iter().filter(is_left).map(|coin| coin.outpoint).collect();
        let has_changed = coins.confirmed.iter().filter(is_left).count() + chained.len() < spent.len();
        // Unconfirmed coins may be at the end of too long a chain; others may do, but they would not be all.
        let avoidable = if order.rest_to.is_none() { chained } else { Vec::new() };
        if !has_changed && avoidable.is_empty() {
            return Err(refusal.into());
        }
        avoided.extend(avoidable);
        coins.unconfirmed.retain(|coin| !avoided.contains(&coin.outpoint));
        sent =
            order::draft(order, from, &coins, change_to).and_then(sign).map_err(|error| match avoided.is_empty() {
                true => error,
                false => refusal.into(),
            })?;
    }
    submit(&sent.payment, false, node)?;
    Ok(sent)
}

/// Opens a wallet that pays, with its secret and the key that gets the change: none of the payees'.
///
/// # Errors
/// If the wallet's file or the passphrase fails.
pub(super) fn open_to_pay(order: &Order, path: &Path) -> anyhow::Result<(LockedWallet, Secret, PublicKey)> {
    // This may prompt for the passphrase, so it does not hold the lock.
    let secret = unlock(&Wallet::open(path)?)?;
    let mut wallet = Wallet::lock(path, &secret)?;
    let change_to = match wallet.change_key(&order::payees(order)) {
        Some(key) => key,
        None => wallet.add_key(&secret)?,
    };
    Ok((wallet, secret, change_to))
}

/// Submits a payment to a node, which replaces others with it only if it may.
///
/// # Errors
/// The node's refusal, or what kept it from answering.
pub(super) fn submit(payment: &Payment, may_replace: bool, node: &Client) -> anyhow::Result<()> {
    match hand_in(payment, may_replace, node)? {
        None => Ok(()),
        Some(refusal) => Err(refusal.into()),
    }
}

/// [`submit`] for a caller that can do something about a refusal: `None` if accepted, else the refusal.
fn hand_in(payment: &Payment, may_replace: bool, node: &Client) -> anyhow::Result<Option<ClientError>> {
    /// Bitcoin Core's value for no limit: the fee was checked when the payment was built.
    const ANY_FEE_RATE: u64 = 0;
    let raw = hex::encode(codec::encode(&payment.transaction));
    let txid = payment.txid;
    match call::<Txid>(node, "sendrawtransaction", &[json!(raw), json!(ANY_FEE_RATE), json!(0), json!(may_replace)]) {
        Ok(sent) if sent == txid => Ok(None),
        Ok(other) => bail!("the node calls the transaction {other}, not {txid}"),
        Err(error @ ClientError::Rpc { .. }) => match error.code() {
            Some(code) if code == Code::Verify as i64 || code == Code::Rejected as i64 => Ok(Some(error)),
            _ => Err(error.into()),
        },
        // Without an answer the payment may or may not have been accepted.
        Err(error) => Err(error).with_context(|| format!("payment {txid} may be under way")),
    }
}

/// Keeps the label of a payment that was sent, if it has one.
pub(super) fn keep_label(wallet: &Path, txid: &Txid, label: Option<&str>) -> anyhow::Result<()> {
    let Some(label) = label else { return Ok(()) };
    let lost = || format!("payment {txid} was sent, but its label is lost");
    Labels::set(wallet, Kind::Transaction, &txid.to_string(), label).with_context(lost)
}

/// Waits until a node knows a payment to have so many confirmations.
pub(super) fn wait(node: &Client, txid: &Txid, confirmations: u32) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Seen {
        /// Absent as long as it is in no block.
        #[serde(default)]
        confirmations: u32,
    }
    let lost = || format!("payment {txid} was sent, and cannot be followed any further");
    if confirmations == 0 {
        return Ok(());
    }
    loop {
        // Read first, so that no block between the check and the wait is missed.
        let tip: BlockHash = call(node, "getbestblockhash", &[]).with_context(lost)?;
        let seen: Seen = call(node, "getrawtransaction", &[json!(txid), json!(1)]).with_context(lost)?;
        if seen.confirmations >= confirmations {
            return Ok(());
        }
        call::<Value>(node, "waitfornewblock", &[json!(POLL_MILLIS), json!(tip)]).with_context(lost)?;
    }
}
