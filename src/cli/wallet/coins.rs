//! The list of a wallet's coins.

use std::cmp::Reverse;

use serde::Serialize;
use serde_json::json;

use crate::cli::Common;
use crate::cli::account::{self, Utxo};
use crate::primitives::amount::counted;
use crate::rpc::client::Client;

/// A coin, and whose it is.
#[derive(Debug, Serialize)]
struct Owned<'a> {
    #[serde(flatten)]
    coin: Utxo,
    address: &'a str,
}

/// Prints the coins of all addresses: those that can be spent now before the others, the largest first.
///
/// # Errors
/// If the node does not answer or stdout cannot be written to.
pub fn print(node: &Client, addresses: &[String], common: &Common) -> anyhow::Result<()> {
    let mut coins = Vec::new();
    for address in addresses {
        coins.extend(account::utxos(node, address)?.into_iter().map(|coin| Owned { coin, address }));
    }
    coins.sort_by_key(|Owned { coin, .. }| (!coin.spendable, Reverse(coin.value), coin.outpoint()));
    let line = |Owned { coin, address }: &Owned| {
        let state = match (coin.spendable, coin.spentby, coin.height) {
            (_, Some(txid), _) => format!("spent by {txid}"),
            (false, None, _) => "mined lately".to_owned(),
            (true, None, None) => "not in a block yet".to_owned(),
            (true, None, Some(_)) => counted(coin.confirmations, "confirmation"),
        };
        format!("{:>20}  {}  {address}  {state}", coin.value.to_string(), coin.outpoint())
    };
    let text = || match &coins[..] {
        [] => "no coins".to_owned(),
        coins => coins.iter().map(line).collect::<Vec<_>>().join("\n"),
    };
    common.print(text, || json!(coins))
}
