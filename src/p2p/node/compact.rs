//! Compact blocks: from a peer to the chain, and on to peers that want pushes.

use std::sync::Arc;
use std::time::Duration;

use super::Node;
use super::protocols::Protocols;
use crate::chain::{ChainError, ChainUpdate};
use crate::consensus::check::MatchedBlock;
use crate::consensus::error::{Blame, Verdict};
use crate::p2p::blocks::MAX_AHEAD;
use crate::p2p::compact::{CompactBlock, CompactError, Partial};
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::interface::Event;
use crate::p2p::misbehaviour::Offence;
use crate::primitives::hash::BlockHash;
use crate::primitives::time::MonoTime;
use crate::primitives::tx::Transaction;

/// A complete block that was pushed on, and is connected in the next call, after the pushes are written.
pub(super) struct Pending {
    from: PeerId,
    block: MatchedBlock,
    /// When, by [`Now::mono`].
    pub(super) at: MonoTime,
}

impl Node {
    /// A compact block was received, requested or pushed. Its header counts as an announcement.
    pub(super) fn compact_block(&mut self, now: Now, id: PeerId, compact: &CompactBlock) {
        let hash = compact.hash();
        if self.chain.entry(&hash).is_none()
            && self.protocols.sync.received(now, id, &[compact.header], &mut self.chain, &mut self.out)
        {
            self.protocols.download.refresh();
            self.is_useful = true;
        }
        self.take_compact(now, id, hash, compact);
    }

    fn take_compact(&mut self, now: Now, id: PeerId, hash: BlockHash, compact: &CompactBlock) {
        let Some(entry) = self.chain.entry(&hash) else { return };
        self.protocols.sync.has(id, &entry, &self.chain);
        let is_here = entry.has_body() || self.is_pending(&hash);
        let is_first = self.protocols.blocks.record_compact(id, hash);
        let is_asked = self.protocols.download.take_compact(id, &hash);
        // A late answer to a request that another peer fulfilled is no offence.
        if !is_asked && !is_first {
            return self.out.offence(id, Offence::UnrequestedBlock);
        }
        let tip = self.chain.tip();
        // Unsolicited, only a better tip is accepted, and from a peer that was not asked to push only its header.
        let leads = entry.work > tip.work && entry.height <= tip.height.saturating_add(MAX_AHEAD);
        let is_welcome = is_asked || leads && self.protocols.blocks.pushers().contains(&id);
        if is_here || entry.is_invalid() || !is_welcome {
            return;
        }
        let height = entry.height;
        match Partial::new(compact, self.mempool.at_hand()) {
            Ok(partial) if partial.missing().is_empty() => {
                self.protocols.download.pushed(now, id, hash, height);
                self.completed(now, id, hash, partial, Vec::new());
            }
            Ok(partial) => {
                self.protocols.download.pushed(now, id, hash, height);
                let round_trip = self.peering.pings.min_round_trip(id);
                self.protocols.blocks.ask(now, (id, round_trip), (hash, partial), &mut self.out);
            }
            Err(error) => self.incomplete(now, id, hash, error),
        }
    }

    /// Whether a block is whole and about to be connected.
    pub(super) fn is_pending(&self, hash: &BlockHash) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.block.hash() == *hash)
    }

    /// The missing transactions were received.
    pub(super) fn block_transactions(
        &mut self,
        now: Now,
        id: PeerId,
        hash: BlockHash,
        transactions: Vec<Arc<Transaction>>,
    ) {
        match self.protocols.blocks.take_partial(id, &hash) {
            None => self.out.offence(id, Offence::UnrequestedBlockTransactions),
            // The block came from another peer meanwhile.
            Some(None) => {}
            Some(Some(partial)) => self.completed(now, id, hash, partial, transactions),
        }
    }

    /// All transactions are present: the block is pushed on and then connected, or connected immediately if no peer
    /// wants it. Header and Merkle root are checked already; full validation would delay each hop. The cost of proof of
    /// work makes pushing invalid blocks expensive.
    fn completed(
        &mut self,
        now: Now,
        id: PeerId,
        hash: BlockHash,
        partial: Partial,
        transactions: Vec<Arc<Transaction>>,
    ) {
        let lacked = partial.missing().to_vec();
        let block = match partial.finish(transactions) {
            Ok(block) => block,
            Err(error) => return self.incomplete(now, id, hash, error),
        };
        self.protocols.blocks.complete(&hash);
        self.connect_pending(now);
        let is_next = block.block().header.previous == self.chain.tip().hash;
        let mut pushed = false;
        if is_next && self.protocols.blocks.push_receivers().next().is_some() {
            self.protocols.blocks.publish(block.clone(), &lacked);
            pushed = self.push_block(hash);
        }
        self.pending = Some(Pending { from: id, block, at: now.mono + Duration::from_millis(1) });
        if !pushed {
            self.connect_pending(now);
        }
    }

    /// Reconstruction failed. Penalise the sender if it is at fault; otherwise request the full block.
    fn incomplete(&mut self, now: Now, id: PeerId, hash: BlockHash, error: CompactError) {
        match error.blame() {
            Blame::Peer => {
                self.protocols.download.failed(now, id, &hash);
                self.out.offence(id, Offence::BadCompactBlock(error));
            }
            Blame::None | Blame::Local => self.protocols.download.request_whole(hash),
        }
    }

    /// Connects the pending block. Peers push before they validate, so none is blamed for an invalid block (BIP-152).
    pub(super) fn connect_pending(&mut self, now: Now) {
        let Some(Pending { from, block, .. }) = self.pending.take() else { return };
        let hash = block.hash();
        self.protocols.download.received(now, from, &hash);
        self.protocols.download.forget_sender(&hash);
        let mempool = &self.mempool;
        match self.chain.accept_matched(block, now.unix, &|txid| mempool.is_verified(txid)) {
            Ok(update) => self.delivered(now, from, &update),
            Err(error) => {
                self.protocols.blocks.retract(&hash);
                if error.rule().is_some_and(|rule| rule.verdict() == Verdict::BodyMismatch) {
                    self.protocols.download.request_whole(hash);
                } else {
                    self.protocols.download.failed(now, from, &hash);
                }
                if let ChainError::Store(error) = error {
                    self.out.event(Event::StoreFailed { error: error.to_string() });
                }
            }
        }
    }

    /// Makes the compact form of a new tip, if any peer wants pushes.
    pub(super) fn publish(&mut self, update: &ChainUpdate) {
        if let Some(tip) = update.connected.last()
            && self.protocols.blocks.newest(&tip.hash()).is_none()
            && self.protocols.blocks.push_receivers().next().is_some()
        {
            self.protocols.blocks.publish(tip.matched().clone(), &[]);
        }
    }

    /// Pushes the newest block to peers that want pushes, have its parent and may lack it; `false` if there are none.
    pub(super) fn push_block(&mut self, hash: BlockHash) -> bool {
        let Self { protocols: Protocols { blocks, sync, .. }, chain, out, .. } = self;
        let Some(newest) = blocks.newest(&hash) else { return false };
        let Some(entry) = chain.entry(&hash) else { return false };
        let Some(parent) = chain.entry(&entry.header.previous) else { return false };
        let mut pushed = false;
        for peer in blocks.push_receivers() {
            if !sync.knows(peer, &entry, chain) && sync.knows(peer, &parent, chain) {
                out.send(peer, newest.compact.clone());
                sync.mark_announced(peer, hash);
                pushed = true;
            }
        }
        pushed
    }
}
