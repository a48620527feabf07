//! Transactions that the owner wants peers to have.
//!
//! Each peer is told of each transaction, as full nodes do among themselves, and is sent it when it asks. Then it is asked for
//! the same: a peer that took it has it, and one that refused it does not.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::p2p::PeerId;
use crate::p2p::message::{Item, MAX_INVENTORY, Message};
use crate::p2p::outbox::Outbox;
use crate::primitives::hash::Txid;
use crate::primitives::tx::Transaction;

/// The transactions; at most [`MAX_INVENTORY`].
#[derive(Debug, Default)]
pub(super) struct Handover {
    offered: BTreeMap<Txid, Arc<Transaction>>,
    /// Peers that were sent a transaction, and have not said whether they have it.
    sent: Vec<(PeerId, Txid)>,
}

impl Handover {
    /// Tells `peers` of a transaction, and every peer that comes later.
    pub(super) fn offer(&mut self, tx: Transaction, peers: &[PeerId], out: &mut Outbox) {
        let txid = tx.txid();
        if self.offered.len() == MAX_INVENTORY {
            self.offered.pop_first();
        }
        self.offered.insert(txid, Arc::new(tx));
        peers.iter().for_each(|peer| out.send(*peer, Message::Inventory(vec![Item::Transaction(txid)])));
    }

    /// A full node has said hello.
    pub(super) fn ready(&self, peer: PeerId, out: &mut Outbox) {
        if !self.offered.is_empty() {
            out.send(peer, Message::Inventory(self.offered.keys().copied().map(Item::Transaction).collect()));
        }
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        self.sent.retain(|(to, _)| *to != peer);
    }

    /// Sends what a peer asks for and is here, and asks for it in turn.
    pub(super) fn requested(&mut self, peer: PeerId, items: Vec<Item>, out: &mut Outbox) {
        let (mut sent, mut missing) = (Vec::new(), Vec::new());
        for item in items {
            match item {
                Item::Transaction(txid) if let Some(tx) = self.offered.get(&txid) => {
                    out.send(peer, Message::Transaction(tx.clone()));
                    if !self.sent.contains(&(peer, txid)) {
                        self.sent.push((peer, txid));
                    }
                    sent.push(item);
                }
                other => missing.push(other),
            }
        }
        for (items, message) in [(missing, Message::NotFound as fn(Vec<Item>) -> Message), (sent, Message::GetData)] {
            if !items.is_empty() {
                out.send(peer, message(items));
            }
        }
    }

    /// A peer has a transaction, or has it not: whether it was sent this one and is heard of now.
    pub(super) fn heard_of(&mut self, peer: PeerId, txid: Txid) -> bool {
        let place = self.sent.iter().position(|sent| *sent == (peer, txid));
        place.map(|place| self.sent.swap_remove(place)).is_some()
    }
}
