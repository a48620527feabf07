//! Balances and payments without a node: coins that peers prove, and payments handed to peers.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use serde_json::json;

use super::order;
use super::scan::{MAX_SCANNED, Scan, ScanArgs};
use super::send::{SendArgs, keep_label, open_to_pay};
use super::view::DraftView;
use crate::cli::account::Coins;
use crate::cli::console::note;
use crate::cli::light::{Owned, PeerArgs, with_session};
use crate::cli::{Common, Interrupted};
use crate::consensus::params::Params;
use crate::light::Scope;
use crate::mempool::Limits;
use crate::primitives::amount::Amount;
use crate::primitives::keys::PublicKey;
use crate::wallet::Wallet;
use crate::wallet::account::Account;
use crate::wallet::coins::{Spendable, mature};
use crate::wallet::payment::Draft;

/// Whether the light client takes the place of a node.
#[derive(Debug, clap::Args)]
pub struct LightArgs {
    /// Use the light client and no node: peers prove the coins, and learn the addresses
    #[arg(long)]
    pub light: bool,
    #[command(flatten, next_help_heading = "With --light")]
    pub peers: PeerArgs,
}

/// Coins that can be spent in the next block, and the value of those that cannot yet.
fn spendable(owned: &Owned, params: &Params) -> (Vec<Spendable>, Amount) {
    mature(&owned.holding.coins, owned.holding.tip.next(), params)
}

/// Prints the balance.
///
/// # Errors
/// If the wallet's file fails, or peers do not prove its coins.
pub fn balance(peers: &PeerArgs, path: &Path, params: &Params, common: &Common) -> anyhow::Result<()> {
    let keys: BTreeSet<PublicKey> = Wallet::open(path)?.keys().iter().copied().collect();
    with_session(common, peers, async |session| {
        let owned = session.own(Scope::Keys(keys)).await?;
        let (coins, immature) = spendable(&owned, params);
        let sum = Amount::saturating_sum(coins.iter().map(|coin| coin.value));
        let tip = owned.holding.tip;
        let text = || {
            let mut lines = vec![format!("spendable  {}", sum.in_coins())];
            if immature > Amount::ZERO {
                lines.push(format!("immature   {}, mined lately", immature.in_coins()));
            }
            lines.push(format!("complete   up to block {tip}; payments that no block has yet are not in it"));
            lines.join("\n")
        };
        common.print(text, || {
            let balance = sum.saturating_add(immature);
            json!({ "balance": balance, "spendable": sum, "immature": immature, "complete_to": tip })
        })
    })?
    .ok_or_else(|| Interrupted.into())
}

/// Pays from coins that peers prove, and hands the payment to them.
///
/// # Errors
/// If the wallet's file, the passphrase or the payment fails, or no peer proves the coins or takes the payment.
pub fn send(send: &SendArgs, peers: &PeerArgs, path: &Path, params: &Params, common: &Common) -> anyhow::Result<()> {
    let order = send.order.order_at(Limits::default().min_fee_rate, params)?;
    if send.dry_run {
        let wallet = Wallet::open(path)?;
        let keys: BTreeSet<PublicKey> = wallet.keys().iter().copied().collect();
        let owned = with_session(common, peers, async |session| session.own(Scope::Keys(keys)).await)?;
        let owned = owned.ok_or(Interrupted)?;
        let coins = Coins { confirmed: spendable(&owned, params).0, unconfirmed: Vec::new() };
        let change_to = wallet.change_key(&order::payees(&order)).unwrap_or(wallet.newest_key());
        let view = DraftView::new(&order::draft(&order, send.order.from(), &coins, change_to)?, wallet.keys(), params);
        return view.print_only("nothing was signed or sent", common);
    }
    let (wallet, secret, change_to) = open_to_pay(&order, path)?;
    let keys: BTreeSet<PublicKey> = wallet.keys().iter().copied().collect();
    let sent = with_session(common, peers, async |session| {
        let owned = session.own(Scope::Keys(keys)).await?;
        let coins = Coins { confirmed: spendable(&owned, params).0, unconfirmed: Vec::new() };
        let draft: Draft = order::draft(&order, send.order.from(), &coins, change_to)?;
        let payment = draft.clone().sign(&params.genesis_hash, |key| wallet.secret_key(&secret, key))?;
        let takers = session.hand_over(payment.transaction.clone()).await?;
        let view = DraftView::new(&draft, wallet.keys(), params);
        note(view.summary());
        note(format_args!("{} asked for the payment and got it", takers.join(", ")));
        // Another payment of this wallet need not wait for blocks.
        drop(wallet);
        // Before the wait, which may be interrupted.
        common.print_payment(&payment.txid, || view.sent(&payment.txid))?;
        keep_label(path, &payment.txid, send.label.as_deref())?;
        if send.wait > 0 {
            let lost = || format!("payment {} was sent, and cannot be followed any further", payment.txid);
            session.wait_for(payment.txid, send.wait).await.with_context(lost)?;
        }
        anyhow::Ok(())
    })?;
    sent.ok_or_else(|| Interrupted.into())
}

/// Looks for coins of one address after the other, until so many in a row have none and had no payment since the edge.
///
/// # Errors
/// If peers do not prove the coins.
pub fn scan(options: &ScanArgs, peers: &PeerArgs, account: &Account, common: &Common) -> anyhow::Result<Scan> {
    let gap = options.gap_limit;
    let scanned = with_session(common, peers, async |session| {
        let (mut addresses, mut used) = (0, 0);
        loop {
            let end = (used + gap).min(MAX_SCANNED);
            let keys: Vec<PublicKey> = (addresses..end).map(|number| account.key(number).public_key()).collect();
            let owned = session.own_in_silence(Scope::Keys(keys.iter().copied().collect())).await?;
            let holding = &owned.holding;
            let since = holding.since.iter().flat_map(|since| since.received.iter().map(|(_, coin)| coin));
            let seen: BTreeSet<&PublicKey> =
                holding.proven.coins.values().chain(since).filter_map(|coin| coin.output.key()).collect();
            let last = keys.iter().rposition(|key| seen.contains(key));
            used = last.map_or(used, |place| addresses + place as u32 + 1);
            addresses = end;
            if addresses >= used + gap || addresses == MAX_SCANNED {
                owned.warn();
                return Ok(Scan { addresses, used, height: holding.tip });
            }
        }
    })?;
    scanned.ok_or_else(|| Interrupted.into())
}
