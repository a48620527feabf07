//! Headers, blocks and transactions: from a peer to the chain or mempool, and on to other peers.

use std::sync::Arc;
use std::time::Duration;

use super::Node;
use crate::chain::ChainUpdate;
use crate::consensus::error::Blame;
use crate::mempool::{Accepted, MempoolError, Progress, Sender};
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::download::Delivery;
use crate::p2p::interface::Event;
use crate::p2p::message::{Item, Kind, Message};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::pushes::{self, Pushes};
use crate::p2p::sync::MAX_ANNOUNCED;
use crate::primitives::block::Block;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::meter;
use crate::primitives::tx::HashedTransaction;

/// Requested blocks from which on new tips are announced only at intervals: in the initial synchronisation peers need
/// not hear of every block.
const BUSY: usize = 8;
/// Time between two such announcements. They never stop, or a peer that withholds blocks could silence this node.
const BUSY_INTERVAL: Duration = Duration::from_millis(500);

impl Node {
    pub(super) fn inventory(&mut self, now: Now, id: PeerId, items: Vec<Item>) {
        let mut wanted = Vec::new();
        for item in items {
            match item {
                Item::Transaction(txid) => {
                    self.protocols.relay.mark_known(id, txid);
                    if !self.has_transaction(&txid) {
                        wanted.push(txid);
                    }
                }
                Item::Block(hash) | Item::CompactBlock(hash) => {
                    self.protocols.sync.announced(now, id, hash, &self.chain, &mut self.out);
                }
            }
        }
        if !self.protocols.requests.announced(now, id, wanted, &mut self.out) {
            self.out.offence(id, Offence::InventoryFlood);
        }
    }

    /// Whether a transaction need not be requested.
    pub(super) fn has_transaction(&self, txid: &Txid) -> bool {
        self.mempool.contains(txid) || self.mempool.is_orphan(txid) || self.refused.contains(txid)
    }

    pub(super) fn not_found(&mut self, now: Now, id: PeerId, mut items: Vec<Item>) {
        self.lacks_archived(now, id, &mut items);
        let mut transactions = Vec::new();
        for item in items {
            match item {
                Item::Transaction(txid) => transactions.push(txid),
                Item::Block(hash) | Item::CompactBlock(hash) => self.protocols.download.not_found(now, id, &hash),
            }
        }
        self.protocols.requests.not_found(now, id, &transactions, &mut self.out);
    }

    pub(super) fn headers(&mut self, now: Now, id: PeerId, headers: &[Header]) {
        if self.protocols.sync.received(now, id, headers, &mut self.chain, &mut self.out) {
            self.is_useful = true;
            self.protocols.download.refresh();
        }
    }

    pub(super) fn block(&mut self, now: Now, id: PeerId, block: Arc<Block>) {
        let hash = block.hash();
        if self.is_pending(&hash) || self.archive_block(now, id, &block) {
            return;
        }
        let (parent, is_known) = (self.chain.entry(&block.header.previous), self.chain.entry(&hash).is_some());
        let Some(parent) = parent else {
            self.out.offence(id, Offence::UnrequestedBlock);
            return self.protocols.sync.announced(now, id, hash, &self.chain, &mut self.out);
        };
        // An unsolicited block is accepted if it would be the tip: its proof of work cost more than validating it.
        let own_work = block.header.bits.target().map(|target| target.work()).unwrap_or_default();
        let would_lead = parent.work + own_work > self.chain.tip().work;
        let wanted = self.protocols.download.wants(&hash);
        if !wanted && !would_lead {
            // The late answer to a request that another fulfilled is no offence.
            if !is_known {
                self.out.offence(id, Offence::UnrequestedBlock);
            }
            return;
        }
        if self.protocols.download.received(now, id, &hash) == Delivery::Unrequested && !wanted {
            self.protocols.download.refresh();
        }
        let mempool = &self.mempool;
        let block = Arc::unwrap_or_clone(block);
        let result = self.chain.accept_block(block, now.unix, &|txid| mempool.is_verified(txid));
        if let Some(entry) = self.chain.entry(&hash) {
            self.protocols.sync.has(id, &entry, &self.chain);
        }
        match result {
            Ok(update) => {
                // No peer need be asked for its transactions.
                self.protocols.blocks.complete(&hash);
                self.is_useful |= wanted;
                self.delivered(now, id, &update);
            }
            Err(error) => {
                self.protocols.download.failed(now, id, &hash);
                self.out.on_refused(id, &error, |hash, rule| Offence::BadBlock { hash, rule });
            }
        }
    }

    /// A peer delivered a block.
    pub(super) fn delivered(&mut self, now: Now, id: PeerId, update: &ChainUpdate) {
        if let Some(peer) = self.peering.peers.get_mut(id)
            && !update.connected.is_empty()
        {
            peer.last_useful = Some(now.mono);
            self.is_useful = true;
            // Not during the initial synchronisation, whose blocks are not new.
            if self.protocols.download.requested() == 0 && self.chain.tip().hash == self.chain.best_header().hash {
                self.protocols.blocks.delivered(id, &mut self.out);
            }
        }
        self.on_chain_update(now, update);
    }

    /// Transactions of one peer, some with signatures known to be valid. The first that is an offence may end the connection,
    /// and then the rest is dropped, as when each comes alone.
    pub(super) fn transactions(
        &mut self,
        now: Now,
        id: PeerId,
        transactions: Vec<HashedTransaction>,
        verified: Vec<Txid>,
    ) {
        if self.heard(now, id, Kind::Transaction).is_none() {
            return;
        }
        // Wherever they were checked, it was for this peer, which is charged for it.
        let mut known = verified.iter().peekable();
        let is_verified = |tx: &&HashedTransaction| known.next_if(|txid| **txid == tx.txid()).is_some();
        meter::verified(transactions.iter().filter(is_verified).map(|tx| tx.inputs.len()).sum());
        self.mempool.set_verified_ahead(verified);
        for tx in transactions {
            self.transaction(now, id, tx);
            if !self.out.is_settled() {
                self.carry_out_judgements(now);
                if self.peering.peers.get(id).is_none() {
                    return;
                }
            }
        }
    }

    /// A transaction was received, requested or pushed. It is news if no peer announced it before.
    pub(super) fn transaction(&mut self, now: Now, id: PeerId, tx: HashedTransaction) {
        let txid = tx.txid();
        self.protocols.relay.mark_known(id, txid);
        let is_news = !self.protocols.requests.received(now, &txid, &mut self.out);
        if is_news && self.protocols.download.requested() >= BUSY {
            // It spends unknown coins, which the peer that pushed it cannot know.
            return;
        }
        if is_news && !self.protocols.pushes.has_allowance(now, id) {
            return self.out.offence(id, Offence::PushFlood);
        }
        let charge = |pushes: &mut Pushes, points: u64| {
            if is_news {
                pushes.charge(now, id, points);
            }
        };
        if self.has_transaction(&txid) {
            return charge(&mut self.protocols.pushes, pushes::USELESS);
        }
        let Some(peer) = self.peering.peers.get(id) else { return };
        let is_page = peer.is_page();
        let sender = Sender { connection: id.0, host: (!peer.manual && !is_page).then(|| peer.address.ip()) };
        match self.mempool.accept_from(Some(sender), tx, &self.chain, now.unix) {
            Ok(accepted) => {
                if let Some(peer) = self.peering.peers.get_mut(id) {
                    peer.last_useful = Some(now.mono);
                }
                self.accepted(now, &accepted, is_news);
            }
            Err(MempoolError::MissingInputs { missing, kept: true, .. }) => {
                charge(&mut self.protocols.pushes, pushes::ORPHAN);
                let mut parents: Vec<Txid> = missing.iter().map(|outpoint| outpoint.txid).collect();
                parents.sort_unstable();
                parents.dedup();
                parents.retain(|parent| !self.has_transaction(parent));
                // Its sender must have had its parents to accept it.
                self.protocols.requests.announced(now, id, parents, &mut self.out);
            }
            Err(error) => {
                charge(&mut self.protocols.pushes, pushes::USELESS);
                self.refused.insert(txid);
                let offence = if is_page { Offence::BadRelayedTransaction } else { Offence::BadTransaction };
                self.out.on_refused_transaction(id, &error, offence);
            }
        }
    }

    /// Relays admitted transactions. The received one is pushed if it is news; the orphans admitted with it arrived
    /// earlier, so other peers have them or will get them.
    pub(super) fn accepted(&mut self, now: Now, accepted: &Accepted, is_news: bool) {
        if let Some(entry) = self.mempool.get(&accepted.txid).filter(|_| is_news) {
            self.protocols.relay.push(&entry.tx, &mut self.rng, &mut self.out);
        }
        self.out.event(Event::TransactionAccepted { txid: accepted.txid });
        self.protocols.relay.announce_all(now, &[accepted.txid], &mut self.rng);
        self.progressed(now, &accepted.orphans);
    }

    /// Announces transactions admitted from the orphans or readmitted, and blames the senders of invalid ones.
    pub(super) fn progressed(&mut self, now: Now, Progress { admitted, blamed }: &Progress) {
        for txid in admitted {
            self.out.event(Event::TransactionAccepted { txid: *txid });
        }
        self.protocols.relay.announce_all(now, admitted, &mut self.rng);
        for (sender, rule) in blamed {
            let peer = PeerId(sender.connection);
            if let Some(sender) = self.peering.peers.get(peer) {
                let offence = if sender.is_page() { Offence::BadRelayedTransaction } else { Offence::BadTransaction };
                self.out.offence(peer, offence(rule.clone()));
            } else if let Some(host) = sender.host {
                self.peering.ban_address(now, host, &Offence::BadTransaction(rule.clone()), &mut self.out);
            }
        }
    }

    /// Continues long mempool work, a part for each call, so that peers and clients are served between.
    pub(super) fn resume_mempool(&mut self, now: Now) {
        let progress = self.mempool.resume(&self.chain, now.unix);
        self.progressed(now, &progress);
    }

    /// Updates the mempool and sub-protocols after the chain moved, and announces the change.
    pub(super) fn on_chain_update(&mut self, now: Now, update: &ChainUpdate) {
        for (hash, rule) in &update.rejected {
            self.protocols.download.refresh();
            if let Some(peer) = self.protocols.download.sender_of(hash)
                && rule.blame() == Blame::Peer
            {
                self.out.offence(peer, Offence::BadBlock { hash: *hash, rule: rule.clone() });
            }
        }
        self.unfinished = update.unfinished;
        self.awaits_state = update.awaits_state;
        if update.is_empty() {
            return;
        }
        if self.chain.is_state_due() {
            self.out.event(Event::StateDue);
        }
        if !update.disconnected.is_empty() {
            self.protocols.download.refresh();
        }
        let progress = self.mempool.update(update, &self.chain, now.unix);
        self.progressed(now, &progress);
        self.refused.clear();
        let height = |hash: &BlockHash| self.chain.entry(hash).map_or(Height::GENESIS, |entry| entry.height);
        for block in &update.disconnected {
            let hash = block.hash();
            self.out.event(Event::BlockDisconnected { hash, height: height(&hash) });
        }
        for block in &update.connected {
            let hash = block.hash();
            self.out.event(Event::BlockConnected { hash, height: height(&hash) });
        }
        let tip = self.chain.tip();
        self.out.event(Event::TipChanged { hash: tip.hash, height: tip.height });
        let next = self.announced + BUSY_INTERVAL;
        if self.protocols.download.requested() >= BUSY && next > now.mono {
            self.announce_at = Some(next);
        } else {
            self.publish(update);
            self.announce_tip(now);
        }
    }

    /// Announces the tip to every peer that may lack it. Peers that want pushes get it first; the others get the
    /// headers since their last known one, if these are few.
    pub(super) fn announce_tip(&mut self, now: Now) {
        (self.announce_at, self.announced) = (None, now.mono);
        self.push_block(self.chain.tip().hash);
        let tip = self.chain.tip();
        for peer in self.peering.peers.ready() {
            if self.protocols.sync.knows(peer, &tip, &self.chain) {
                continue;
            }
            let mut news: Vec<Header> = self
                .chain
                .branch(&tip)
                .take_while(|entry| {
                    entry.height > Height::GENESIS && !self.protocols.sync.knows(peer, entry, &self.chain)
                })
                .take(MAX_ANNOUNCED + 1)
                .map(|entry| entry.header)
                .collect();
            if news.len() > MAX_ANNOUNCED {
                self.out.send(peer, Message::Inventory(vec![Item::Block(tip.hash)]));
            } else {
                news.reverse();
                self.out.send(peer, Message::Headers(news));
            }
            self.protocols.sync.mark_announced(peer, tip.hash);
        }
    }
}
