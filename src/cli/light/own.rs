//! `cairn light balance` and `coin`: what addresses own, complete up to the tip.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::words::{agreeing, by_kind, bytes_json, in_bytes, peer_json, why};
use super::{LightError, Session, State};
use crate::cli::console::note;
use crate::consensus::coins::Coin;
use crate::consensus::params::Params;
use crate::light::{Command, Holding, Light, Notice, PeerReport, PeerStatus, Question, Scope};
use crate::primitives::address;
use crate::primitives::amount::{Amount, counted};
use crate::primitives::hash::Txid;
use crate::primitives::keys::PublicKey;
use crate::primitives::tx::{OutPoint, Transaction};
use crate::receipt::weight::BURIED;
use crate::state::Total;

/// What keys own, and how much work vouches for it.
pub(in crate::cli) struct Owned {
    /// What was proven, and what became of it.
    pub(in crate::cli) holding: Holding,
    /// Confirmations of the block that commits to the coins that were proven; `None` for those of genesis.
    confirmations: Option<u32>,
    state: State,
    peers: Vec<PeerReport>,
    warnings: Vec<String>,
    /// Bytes received from peers, by what they are.
    received: Vec<(&'static str, u64)>,
}

impl Session<'_> {
    /// Proves what is asked for, follows it to the tip, and warns of what is doubtful.
    pub(in crate::cli) async fn own(&mut self, scope: Scope) -> anyhow::Result<Owned> {
        let owned = self.own_in_silence(scope).await?;
        owned.warn();
        Ok(owned)
    }

    /// The same without a word, for one of several questions.
    pub(in crate::cli) async fn own_in_silence(&mut self, scope: Scope) -> anyhow::Result<Owned> {
        let is_total = matches!(scope, Scope::Totals(_));
        self.client.link().command(move |reply| Command::Own(scope, reply)).await?;
        let (mut seen, mut end) = (0, Instant::now() + self.patience);
        loop {
            for notice in self.notices().await? {
                match notice {
                    Notice::NotProven(reason) => return Err(LightError::NotProven(reason.to_string()).into()),
                    Notice::Lied(peer, offence) => {
                        note(format_args!("warning: {peer} lied and was disconnected: it {offence}"));
                    }
                    _ => {}
                }
            }
            if let Some(owned) = self.owned(is_total).await? {
                return Ok(owned);
            }
            let received: u64 = self.ask(|light| light.received_bytes().iter().map(|(_, bytes)| bytes).sum()).await?;
            if received != seen {
                (seen, end) = (received, Instant::now() + self.patience);
            }
            let is_over = Instant::now() >= end;
            ensure!(!is_over, LightError::NotProven(format!("no peer answered for {} s", self.patience.as_secs())));
            self.noticed(end.min(Instant::now() + super::PROGRESS_INTERVAL)).await?;
        }
    }

    /// Offers a transaction to all peers, until one that was sent it has it; answers the addresses of those that do by then.
    pub(in crate::cli) async fn hand_over(&mut self, tx: Transaction) -> anyhow::Result<Vec<String>> {
        let sought = tx.txid();
        self.client.link().command(move |reply| Command::HandOver(tx, reply)).await?;
        let (mut takers, mut refusals) = (Vec::new(), Vec::new());
        let end = Instant::now() + self.patience;
        loop {
            for notice in self.notices().await? {
                match notice {
                    Notice::HandedOver { txid, peer, taken } if txid == sought => {
                        if taken { &mut takers } else { &mut refusals }.push(peer.to_string());
                    }
                    _ => {}
                }
            }
            if !takers.is_empty() {
                return Ok(takers);
            }
            let ready = self.ask(|light| light.reports().iter().filter(|report| is_there(report)).count()).await?;
            ensure!(refusals.is_empty() || refusals.len() < ready, LightError::Refused { txid: sought, refusals });
            ensure!(Instant::now() < end, LightError::NotAsked { txid: sought });
            self.noticed(end.min(Instant::now() + super::PROGRESS_INTERVAL)).await?;
        }
    }

    /// Waits until a payment of the keys of [`Session::own`] has so many confirmations.
    pub(in crate::cli) async fn wait_for(&mut self, txid: Txid, confirmations: u32) -> anyhow::Result<()> {
        loop {
            let (weight, is_connected, reports) = self
                .ask(move |light| {
                    let (chain, height) = (light.chain(), light.mined_at(&txid));
                    let weight = height.and_then(|height| chain.weight(height, chain.tip().time));
                    (weight, light.is_connected(), light.reports())
                })
                .await?;
            if weight.is_some_and(|weight| weight.confirmations >= confirmations) {
                return Ok(());
            }
            self.notices().await?;
            self.changed((!is_connected).then(|| Instant::now() + self.patience)).await?;
            let is_lost = !is_connected && !self.ask(Light::is_connected).await?;
            ensure!(!is_lost, LightError::NoPeer { reports });
        }
    }

    /// What is proven, once the coins have been followed to the tip, or `at_edge` without that.
    async fn owned(&self, at_edge: bool) -> anyhow::Result<Option<Owned>> {
        let read = self
            .ask(move |light| {
                let chain = light.chain();
                let is_done = light.followed_to().is_some_and(|height| at_edge || height == chain.height());
                let holding = light.holding().filter(|_| is_done)?;
                let committed_at = holding.proven.committed_at;
                let weight = committed_at.and_then(|height| chain.weight(height, chain.tip().time));
                Some((holding, weight, by_kind(light.received_bytes())))
            })
            .await?;
        let Some((holding, weight, received)) = read else { return Ok(None) };
        let confirmations = weight.map(|weight| weight.under(&self.params).confirmations);
        let (state, peers, mut warnings) = self.state_in_silence().await?;
        if let Some(few) = confirmations.filter(|confirmations| *confirmations < BURIED) {
            warnings.push(format!(
                "{} vouch for the coins that are proven, and {BURIED} are advised: a miner who forges them can claim any coin",
                counted(few, "confirmation")
            ));
        }
        Ok(Some(Owned { holding, confirmations, state, peers, warnings, received }))
    }

    /// Prints what these keys own: all coins, or only their value and number at the edge.
    pub(super) async fn balance(
        &mut self,
        keys: BTreeSet<PublicKey>,
        (only_total, show_coins): (bool, bool),
        min_confirmations: u32,
    ) -> anyhow::Result<()> {
        let scope = if only_total { Scope::Totals(keys) } else { Scope::Keys(keys) };
        let owned = self.own(scope).await?;
        owned.demand(min_confirmations)?;
        let params = self.params.clone();
        if only_total {
            let total = owned.proven_total();
            let text = || {
                let mut lines =
                    vec![format!("balance        {} after block {}", summary(total), owned.holding.proven.edge.0)];
                lines.extend(owned.evidence());
                lines.join("\n")
            };
            return self.common.print(text, || owned.json(&params));
        }
        let text = || owned.describe(&params, show_coins);
        self.common.print(text, || {
            let Holding { proven, since, coins, tip } = &owned.holding;
            let mut json = owned.json(&params);
            let (total, buried) = (total(coins.values()), total(owned.buried()));
            json["value"] = json!(total.sum);
            json["count"] = json!(total.count);
            json["complete_to"] = json!(tip);
            json["buried"] = json!({ "value": buried.sum, "count": buried.count });
            let newer = Total { sum: total.sum.saturating_sub(buried.sum), count: total.count - buried.count };
            json["newer"] = json!({ "value": newer.sum, "count": newer.count });
            json["payments_since"] = json!(since.len());
            if show_coins {
                let coin = |(outpoint, coin): (&OutPoint, &Coin)| {
                    json!({
                        "txid": outpoint.txid,
                        "vout": outpoint.index,
                        "value": coin.output.value,
                        "address": owner(coin, &params),
                        "height": coin.height,
                        "coinbase": coin.coinbase,
                        "buried": proven.coins.contains_key(outpoint),
                    })
                };
                json["coins"] = coins.iter().map(coin).collect();
            }
            json
        })
    }

    /// Prints whether a coin is unspent.
    pub(super) async fn coin(&mut self, outpoint: OutPoint, min_confirmations: u32) -> anyhow::Result<()> {
        let answer = self.answer(Question::Transaction(outpoint.txid)).await?;
        let found = answer.found.first().ok_or_else(|| LightError::NotProven(why(&answer)))?;
        let output = found.transaction.outputs.get(outpoint.index as usize);
        let owner = output.and_then(|output| output.key()).copied();
        let owner = owner.with_context(|| format!("output {} of {} is no coin", outpoint.index, outpoint.txid))?;
        let owned = self.own(Scope::Coin(owner, outpoint)).await?;
        owned.demand(min_confirmations)?;
        let Holding { proven, since, coins, tip } = &owned.holding;
        let spender = since.iter().find(|since| since.spent.iter().any(|(spent, _)| *spent == outpoint));
        let params = self.params.clone();
        let address = address::encode(&params.address_prefix, &owner);
        let value = output.map_or(Amount::ZERO, |output| output.value);
        let text = || {
            let verdict = match (coins.contains_key(&outpoint), spender) {
                (true, _) => format!("unspent        up to block {tip}"),
                (false, Some(spender)) => format!("spent          by {} at height {}", spender.txid, spender.height),
                (false, None) => {
                    format!("spent          before block {}: it is not among the coins after it", proven.edge.0)
                }
            };
            let mut lines = vec![
                verdict,
                format!("value          {}", value.in_coins()),
                format!("owner          {address}"),
                format!("made           at height {}, in block {}", found.place.height, found.block),
            ];
            lines.extend(owned.evidence());
            lines.join("\n")
        };
        self.common.print(text, || {
            let mut json = owned.json(&params);
            json["unspent"] = json!(coins.contains_key(&outpoint));
            json["spent_by"] = json!(spender.map(|spender| spender.txid));
            json["spent_at"] = json!(spender.map(|spender| spender.height));
            json["complete_to"] = json!(tip);
            json["value"] = json!(value);
            json["address"] = json!(address);
            json["made_at"] = json!(found.place.height);
            json
        })
    }
}

impl Owned {
    /// Warns of what is doubtful about it.
    pub(in crate::cli) fn warn(&self) {
        super::warn(&self.warnings);
    }

    /// Demands that the proven coins have so many confirmations, unless they are those of genesis.
    fn demand(&self, min_confirmations: u32) -> Result<(), LightError> {
        match self.confirmations {
            Some(got) if got < min_confirmations => {
                Err(LightError::TooFewConfirmations { got, expected: min_confirmations })
            }
            _ => Ok(()),
        }
    }

    /// Coins that were proven and are not spent.
    fn buried(&self) -> impl Iterator<Item = &Coin> {
        let coins = self.holding.coins.iter();
        coins.filter(|(outpoint, _)| self.holding.proven.coins.contains_key(outpoint)).map(|(_, coin)| coin)
    }

    /// What was proven at the edge.
    fn proven_total(&self) -> Total {
        let totals = self.holding.proven.totals.values();
        let whole = total(self.holding.proven.coins.values());
        totals
            .fold(whole, |sum, total| Total { sum: sum.sum.saturating_add(total.sum), count: sum.count + total.count })
    }

    fn describe(&self, params: &Params, show_coins: bool) -> String {
        let Holding { proven, coins, tip, .. } = &self.holding;
        let (all, buried) = (total(coins.values()), total(self.buried()));
        let newer = Total { sum: all.sum.saturating_sub(buried.sum), count: all.count - buried.count };
        let edge = proven.edge.0;
        let mut lines = vec![format!("balance        {}, complete up to block {tip}", summary(all))];
        // Where there is nothing, the balance says so.
        if buried.count > 0 {
            lines.push(format!("buried         {}: there after block {edge}, and not spent since", summary(buried)));
        }
        if newer.count > 0 {
            lines.push(format!("newer          {}, made after block {edge}", summary(newer)));
        }
        lines.extend(self.evidence());
        if show_coins {
            lines.extend(coins.iter().map(|(OutPoint { txid, index }, coin)| {
                let (value, height) = (coin.output.value.in_coins(), coin.height);
                format!("coin           {value} {txid}:{index}, made at height {height}, of {}", owner(coin, params))
            }));
        }
        lines.join("\n")
    }

    /// The lines on what vouches for the result.
    fn evidence(&self) -> Vec<String> {
        let Holding { proven, since, tip, .. } = &self.holding;
        let mut lines = vec![match (proven.committed_at, self.confirmations) {
            (Some(first), Some(confirmations)) => format!(
                "proven         {} after block {}, by block {first} with {}, each the work of a block",
                summary(self.proven_total()),
                proven.edge.1,
                counted(confirmations, "confirmation")
            ),
            _ => format!("known          {} of genesis", summary(self.proven_total())),
        }];
        if *tip > proven.edge.0 {
            let payments = counted(since.len(), "payment");
            lines.push(format!(
                "since then     {payments}, by filters that the chain commits to; block {tip} itself was read"
            ));
        }
        lines.push(format!("peers          {} of {} agree on the tip", agreeing(&self.peers), self.peers.len()));
        lines.push(in_bytes(&self.received));
        lines
    }

    fn json(&self, params: &Params) -> Value {
        let proven = &self.holding.proven;
        let total = self.proven_total();
        let mut json = self.state.json(params);
        json["proven"] = json!({
            "height": proven.edge.0,
            "blockhash": proven.edge.1,
            "value": total.sum,
            "count": total.count,
            "committed_at": proven.committed_at,
            "confirmations": self.confirmations,
        });
        json["received_bytes"] = bytes_json(&self.received);
        json["peers"] = self.peers.iter().map(peer_json).collect();
        json["warnings"] = json!(self.warnings);
        json
    }
}

/// Whether a peer is connected.
fn is_there(report: &PeerReport) -> bool {
    !matches!(
        report.standing,
        PeerStatus::Gone { .. } | PeerStatus::Unreachable | PeerStatus::OtherNode { .. } | PeerStatus::Http
    )
}

fn total<'a>(coins: impl Iterator<Item = &'a Coin>) -> Total {
    coins.fold(Total::default(), |Total { sum, count }, coin| Total {
        sum: sum.saturating_add(coin.output.value),
        count: count + 1,
    })
}

fn summary(total: Total) -> String {
    format!("{} in {}", total.sum.in_coins(), counted(total.count, "coin"))
}

fn owner(coin: &Coin, params: &Params) -> String {
    coin.output.key().map_or_else(String::new, |key| address::encode(&params.address_prefix, key))
}
