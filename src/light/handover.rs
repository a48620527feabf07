//! Transactions that the owner wants peers to have.
//!
//! Each peer is told of each transaction, as full nodes do among themselves, and is sent it when it asks. That a peer asks
//! says that it did not have it; whether it accepts it, it does not say.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::p2p::PeerId;
use crate::p2p::message::{Item, MAX_INVENTORY, Message};
use crate::p2p::outbox::Outbox;
use crate::primitives::hash::Txid;
use crate::primitives::tx::Transaction;

/// The transactions; at most [`MAX_INVENTORY`].
#[derive(Debug, Default)]
pub(super) struct Handover(BTreeMap<Txid, Arc<Transaction>>);

impl Handover {
    /// Tells `peers` of a transaction, and every peer that comes later.
    pub(super) fn offer(&mut self, tx: Transaction, peers: &[PeerId], out: &mut Outbox) {
        let txid = tx.txid();
        if self.0.len() == MAX_INVENTORY {
            self.0.pop_first();
        }
        self.0.insert(txid, Arc::new(tx));
        peers.iter().for_each(|peer| out.send(*peer, Message::Inventory(vec![Item::Transaction(txid)])));
    }

    /// A full node has said hello.
    pub(super) fn ready(&self, peer: PeerId, out: &mut Outbox) {
        if !self.0.is_empty() {
            out.send(peer, Message::Inventory(self.0.keys().copied().map(Item::Transaction).collect()));
        }
    }

    /// Sends what a peer asks for and is here; the ids of that.
    pub(super) fn requested(&self, peer: PeerId, items: Vec<Item>, out: &mut Outbox) -> Vec<Txid> {
        let (mut sent, mut missing) = (Vec::new(), Vec::new());
        for item in items {
            match item {
                Item::Transaction(txid) if let Some(tx) = self.0.get(&txid) => {
                    out.send(peer, Message::Transaction(tx.clone()));
                    sent.push(txid);
                }
                other => missing.push(other),
            }
        }
        if !missing.is_empty() {
            out.send(peer, Message::NotFound(missing));
        }
        sent
    }
}
