//! Payments.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{TIMEOUT, addresses, unlock};
use crate::cli::Common;
use crate::cli::account::{self, Coins};
use crate::cli::client::{ClientArgs, call};
use crate::cli::console::note;
use crate::consensus::params::Params;
use crate::primitives::address;
use crate::primitives::amount::{Amount, FeeRate};
use crate::primitives::codec;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::tx::{OutPoint, Output};
use crate::rpc::client::{Client, ClientError};
use crate::rpc::error::Code;
use crate::wallet::coins::{SelectionError, Spendable};
use crate::wallet::payment::{self, Fee, Payment, PaymentError};
use crate::wallet::{Secret, Wallet};

/// Payments built anew after a refusal: each uses coins that the node reported as spendable, which only blocks and
/// other wallets with the same words can spend meanwhile.
const MAX_RETRIES: usize = 4;
/// Longest wait for a block in one call, in milliseconds: within [`TIMEOUT`].
const POLL_MILLIS: u64 = 30_000;

/// Options of `cairn wallet send`.
#[derive(Debug, clap::Args)]
pub struct SendArgs {
    /// The address to pay
    address: String,
    /// The amount in coins, such as 2.5
    amount: Amount,
    /// Fee rate in grains a byte [default: the node's minimum, and at least 1]
    #[arg(long, value_name = "GRAINS")]
    fee_rate: Option<u64>,
    /// Maximum fee [default: 0.1 coins, at no more than 10000 grains a byte]
    #[arg(long, value_name = "COINS")]
    max_fee: Option<Amount>,
    /// Wait until the payment has so many confirmations
    #[arg(long, value_name = "N", default_value_t = 0)]
    wait: u32,
    /// Text to store in the chain with the payment, at most 256 bytes
    #[arg(long, value_name = "TEXT", conflicts_with = "data_hex")]
    data: Option<String>,
    /// Data to store in the chain, in hex
    #[arg(long, value_name = "HEX")]
    data_hex: Option<String>,
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
    ensure!(send.amount > Amount::ZERO, "the amount is 0");
    let mut outputs = vec![Output::pay(address::decode(&params.address_prefix, &send.address)?, send.amount)];
    match (&send.data, &send.data_hex) {
        (Some(text), _) => outputs.push(Output::data(text.as_bytes().to_vec())),
        (None, Some(hex)) => outputs.push(Output::data(hex::decode(hex).context("--data-hex is not hex")?)),
        (None, None) => {}
    }
    let node = node.connect(common, Some(TIMEOUT))?;
    let rate = match send.fee_rate {
        Some(grains) => FeeRate::from_grains_per_byte(grains),
        None => account::least_fee_rate(&node)?,
    };
    let payment = pay(&outputs, Fee { rate, max: send.max_fee }, &node, path, params)?;
    note(format_args!("{} to {}, fee {} ({rate})", send.amount.in_coins(), send.address, payment.fee));
    // Before the wait, which may be interrupted.
    common.print_payment(&payment.txid, || {
        json!({
            "txid": payment.txid,
            "amount": send.amount,
            "fee": payment.fee,
            "change": payment.change,
            "size": payment.transaction.size(),
        })
    })?;
    wait(&node, &payment.txid, send.wait)
}

/// Signs a payment of these outputs and submits it to a node. Concurrent payments of one wallet wait for each other.
///
/// # Errors
/// If the wallet's file, the passphrase, the payment or the node fails.
pub(in crate::cli) fn pay(
    outputs: &[Output],
    fee: Fee,
    node: &Client,
    path: &Path,
    params: &Params,
) -> anyhow::Result<Payment> {
    // This may prompt for the passphrase, so it does not hold the lock.
    let secret = unlock(&Wallet::open(path)?)?;
    let wallet = Wallet::lock(path, &secret)?;
    let own = addresses(&wallet, params);
    let known_coins = || account::coins(node, wallet.keys(), &own);
    let build = |coins: &Coins| build(outputs, fee, coins, (&wallet, &secret), params);
    let mut payment = build(&known_coins()?)?;
    let mut avoided = BTreeSet::new();
    for _ in 0..MAX_RETRIES {
        let Some(refusal) = hand_in(&payment, node)? else { return Ok(payment) };
        let spent: BTreeSet<OutPoint> = payment.transaction.inputs.iter().map(|input| input.outpoint).collect();
        let mut coins = known_coins()?;
        let is_left = |coin: &&Spendable| spent.contains(&coin.outpoint);
        let chained: Vec<OutPoint> = coins.unconfirmed.iter().filter(is_left).map(|coin| coin.outpoint).collect();
        if chained.is_empty() && coins.confirmed.iter().filter(is_left).count() == spent.len() {
            return Err(refusal.into());
        }
        // Unconfirmed coins may be at the end of too long a chain; others may do.
        avoided.extend(chained);
        coins.unconfirmed.retain(|coin| !avoided.contains(&coin.outpoint));
        payment = build(&coins).map_err(|error| match avoided.is_empty() {
            true => anyhow::Error::from(error),
            false => refusal.into(),
        })?;
    }
    match hand_in(&payment, node)? {
        None => Ok(payment),
        Some(refusal) => Err(refusal.into()),
    }
}

/// Chooses coins and signs.
fn build(
    outputs: &[Output],
    fee: Fee,
    coins: &Coins,
    (wallet, secret): (&Wallet, &Secret),
    params: &Params,
) -> Result<Payment, PaymentError> {
    // Change goes back to the newest address: a new one would need the words to be restored with their number.
    let change_to = wallet.newest_key();
    let key_of = |key: &_| wallet.secret_key(secret, key);
    let pay = |coins: &[_]| payment::pay(coins, outputs.to_vec(), fee, change_to, &params.genesis_hash, key_of);
    // Payments that are not in a block yet may never be: they are spent only if nothing else suffices.
    match pay(&coins.confirmed) {
        Err(PaymentError::Selection(SelectionError::NotEnough { .. } | SelectionError::TooManyCoins { .. })) => {
            pay(&coins.all())
        }
        other => other,
    }
}

/// Submits a payment to a node, which must not replace another with it. `None` if accepted, else the refusal.
fn hand_in(payment: &Payment, node: &Client) -> anyhow::Result<Option<ClientError>> {
    /// Bitcoin Core's value for no limit: the fee was checked when the payment was built.
    const ANY_FEE_RATE: u64 = 0;
    let raw = hex::encode(codec::encode(&payment.transaction));
    let txid = payment.txid;
    match call::<Txid>(node, "sendrawtransaction", &[json!(raw), json!(ANY_FEE_RATE), json!(false)]) {
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

/// Waits until a node knows a payment to have so many confirmations.
fn wait(node: &Client, txid: &Txid, confirmations: u32) -> anyhow::Result<()> {
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
