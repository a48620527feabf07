//! Received and sent payments, with whom and what for.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::cli::Common;
use crate::cli::account::{self, HistoryEntry};
use crate::cli::client::call;
use crate::primitives::height::Height;
use crate::primitives::time::UnixTime;
use crate::rpc::client::{Client, ClientError};
use crate::wallet::labels::{Kind, Labels};

/// A transaction's effect on the wallet, and what is known of it.
#[derive(Debug, Serialize)]
struct Shown {
    #[serde(flatten)]
    entry: HistoryEntry,
    kind: Direction,
    /// The payees of a payment sent, the payers of one received.
    counterparties: Vec<String>,
    label: Option<String>,
}

/// Where the coins came from or went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Received,
    Sent,
    /// From this wallet to itself.
    Own,
    /// A block's subsidy and fees.
    Mined,
    /// Coins that genesis gives.
    Genesis,
}

/// The parts of a transaction that name addresses.
#[derive(Debug, Deserialize)]
struct Transaction {
    vin: Vec<Input>,
    vout: Vec<Output>,
}

#[derive(Debug, Deserialize)]
struct Input {
    /// Of a coinbase only.
    coinbase: Option<String>,
    /// Absent in a coinbase.
    prevout: Option<Output>,
}

#[derive(Debug, Deserialize)]
struct Output {
    #[serde(rename = "scriptPubKey")]
    lock: Lock,
}

#[derive(Debug, Deserialize)]
struct Lock {
    /// Absent in data outputs.
    address: Option<String>,
}

/// Prints the newest `limit` payments, oldest first.
///
/// # Errors
/// If the node does not answer, the labels cannot be read, or stdout cannot be written to.
pub fn print(node: &Client, wallet: &Path, own: &[String], limit: usize, common: &Common) -> anyhow::Result<()> {
    let labels = Labels::open(wallet)?;
    let entries = account::history(node, own, limit)?;
    let shown = entries.into_iter().map(|entry| describe(node, entry, own, &labels));
    let shown = shown.collect::<Result<Vec<Shown>, _>>()?;
    common.print(|| table(&shown), || json!(shown))
}

fn describe(node: &Client, entry: HistoryEntry, own: &[String], labels: &Labels) -> Result<Shown, ClientError> {
    let tx: Transaction = call(node, "getrawtransaction", &[json!(entry.txid), json!(2)])?;
    let is_own = |address: &String| own.contains(address);
    let payers = tx.vin.iter().filter_map(|input| input.prevout.as_ref()?.lock.address.clone());
    let payees: Vec<String> = tx.vout.into_iter().filter_map(|output| output.lock.address).collect();
    let is_coinbase = tx.vin.iter().any(|input| input.coinbase.is_some());
    let spends = payers.clone().any(|address| is_own(&address));
    let mut counterparties: Vec<String> = match spends {
        true => payees.iter().filter(|address| !is_own(address)).cloned().collect(),
        false => payers.collect(),
    };
    counterparties.sort();
    counterparties.dedup();
    let kind = match entry.height {
        Some(Height::GENESIS) => Direction::Genesis,
        _ if is_coinbase => Direction::Mined,
        _ if !spends => Direction::Received,
        _ if counterparties.is_empty() => Direction::Own,
        _ => Direction::Sent,
    };
    // Else the label of an address: the payee's, or the own one that was paid.
    let named = if spends { counterparties.clone() } else { payees.into_iter().filter(is_own).collect() };
    let of_address = || named.iter().find_map(|address| labels.get(Kind::Address, address));
    let label = labels.get(Kind::Transaction, &entry.txid.to_string()).or_else(of_address);
    Ok(Shown { entry, kind, counterparties, label })
}

fn table(entries: &[Shown]) -> String {
    if entries.is_empty() {
        return "nothing yet".to_owned();
    }
    let head = format!(
        "{:<19}  {:>13}  {:>20}  {:<29}  {:<64}  label",
        "time (UTC)", "confirmations", "coins", "with", "transaction"
    );
    let line = |shown: &Shown| {
        let Shown { entry, kind, counterparties, label } = shown;
        let with = match kind {
            Direction::Received => format!("from {}", short(counterparties)),
            Direction::Sent => format!("to {}", short(counterparties)),
            Direction::Own => "itself".to_owned(),
            Direction::Mined => "mined".to_owned(),
            Direction::Genesis => "genesis".to_owned(),
        };
        let time = UnixTime::from_secs(entry.time).utc();
        let (coins, label) = (gain(entry), label.as_deref().unwrap_or_default());
        let line = format!("{time:<19}  {:>13}  {coins:>20}  {with:<29}  {}  {label}", entry.confirmations, entry.txid);
        line.trim_end().to_owned()
    };
    std::iter::once(head).chain(entries.iter().map(line)).collect::<Vec<_>>().join("\n")
}

/// The two ends of the first address, and how many more there are.
fn short(addresses: &[String]) -> String {
    let Some(first) = addresses.first() else { return "-".to_owned() };
    // Addresses are ASCII.
    let ends = match (first.get(..14), first.get(first.len().saturating_sub(4)..)) {
        (Some(start), Some(end)) => format!("{start}…{end}"),
        _ => first.clone(),
    };
    match addresses.len() {
        1 => ends,
        count => format!("{ends} +{}", count - 1),
    }
}

/// What came less what went, in coins with a sign.
fn gain(HistoryEntry { received, spent, .. }: &HistoryEntry) -> String {
    match received.checked_sub(*spent) {
        Some(gain) => format!("+{gain}"),
        None => format!("-{}", spent.saturating_sub(*received)),
    }
}
