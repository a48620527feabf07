//! `cairn light watch`: prints payments to and from addresses as they are seen, mined and confirmed.

use std::collections::BTreeSet;

use anyhow::ensure;
use serde_json::json;
use tokio::time::Instant;

use super::words::peers_in_words;
use super::{LightError, Session};
use crate::cli::console::note;
use crate::cli::print_line;
use crate::light::{Command, Notice, Payment, Stage};
use crate::primitives::address;
use crate::primitives::amount::{Amount, counted};
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;

impl Session<'_> {
    /// Watches `keys` from the block at `from`, and prints each stage of each payment. Returns only with an
    /// error, such as [`LightError::NoPeer`] once no peer has been connected for the session's patience.
    pub(super) async fn watch(
        &mut self,
        keys: BTreeSet<PublicKey>,
        from: Height,
        min_confirmations: u32,
    ) -> anyhow::Result<()> {
        self.state().await?;
        let watch = move |reply| Command::Watch(keys, from, min_confirmations, reply);
        self.client.link().command(watch).await?;
        // Since when no peer is connected.
        let mut alone: Option<Instant> = None;
        loop {
            for notice in self.notices().await? {
                match notice {
                    Notice::Payment(payment) => self.print_payment(&payment)?,
                    Notice::Watched { height } => tracing::info!(height = height.as_u32(), "followed"),
                    Notice::Lied(peer, offence) => {
                        note(format_args!("warning: {peer} lied and was disconnected: it {offence}"));
                    }
                    Notice::Synced
                    | Notice::Answered(..)
                    | Notice::Proven
                    | Notice::NotProven(_)
                    | Notice::HandedOver { .. }
                    | Notice::Call(..)
                    | Notice::OffersContent(_)
                    | Notice::Content(..) => {}
                }
            }
            let (connected, reports) = self.ask(|light| (light.is_connected(), light.reports())).await?;
            match alone {
                None if !connected => {
                    let patience = counted(self.patience.as_secs(), "second");
                    let gone = peers_in_words(&reports);
                    note(format_args!("warning: no peer is left{gone}; trying again for {patience}"));
                    alone = Some(Instant::now());
                }
                Some(_) if connected => {
                    note("a peer is connected again");
                    alone = None;
                }
                Some(since) => ensure!(since.elapsed() < self.patience, LightError::NoPeer { reports }),
                None => {}
            }
            // Otherwise only an interruption ends it.
            self.changed(alone.map(|since| since + self.patience)).await?;
        }
    }

    fn print_payment(&self, payment: &Payment) -> anyhow::Result<()> {
        let (stage, height, block, confirmations) = match payment.stage {
            Stage::Seen => ("seen", None, None, 0),
            Stage::Mined { height, block } => ("mined", Some(height), Some(block), 1),
            Stage::Confirmed { height, block, confirmations } => {
                ("confirmed", Some(height), Some(block), confirmations)
            }
            Stage::Reorganised { height, block } => ("reorganised", Some(height), Some(block), 0),
        };
        for (key, (received, spent)) in &payment.changes {
            let address = address::encode(&self.params.address_prefix, key);
            if self.common.json() {
                let line = json!({
                    "event": stage,
                    "txid": payment.txid,
                    "address": address,
                    "received": received,
                    "spent": spent,
                    "height": height,
                    "blockhash": block,
                    "confirmations": confirmations,
                });
                print_line(&line.to_string())?;
                continue;
            }
            let amount = match (*received, *spent) {
                (received, Amount::ZERO) => format!("+{}", received.in_coins()),
                (Amount::ZERO, spent) => format!("-{}", spent.in_coins()),
                (received, spent) => format!("+{received} -{}", spent.in_coins()),
            };
            let place = match payment.stage {
                Stage::Seen => "not in a block yet, and not proven".to_owned(),
                Stage::Mined { height, block } => format!("block {height} {block}"),
                Stage::Confirmed { height, block, confirmations } => {
                    format!("block {height} {block}, {}", counted(confirmations, "confirmation"))
                }
                Stage::Reorganised { height, block } => format!("block {height} {block} is no longer in the chain"),
            };
            print_line(&format!("{stage:<11}  {amount}  {address}  {}  {place}", payment.txid))?;
        }
        Ok(())
    }
}
