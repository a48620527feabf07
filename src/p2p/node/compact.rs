//! Compact blocks: from a peer to the chain, and on to the peers that want them pushed.

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

/// A block that is whole and was pushed on, and is to be connected in the next call: what was pushed leaves before.
pub(super) struct Pending {
    from: PeerId,
    block: MatchedBlock,
    /// When, by [`Now::mono`].
    pub(super) at: MonoTime,
}

impl Node {
    /// A compact block came, asked for or pushed. Its header is an announcement like any other.
    pub(super) fn compact_block(&mut self, now: Now, id: PeerId, compact: &CompactBlock) {
        let hash = compact.hash();
        if self.chain.entry(&hash).is_none()
            && self.protocols.sync.received(now, id, &[compact.header], &mut self.chain, &mut self.out)
        {
            self.protocols.download.refresh();
            self.gained = true;
        }
        self.take_compact(now, id, hash, compact);
    }

    fn take_compact(&mut self, now: Now, id: PeerId, hash: BlockHash, compact: &CompactBlock) {
        let Some(entry) = self.chain.entry(&hash) else { return };
        self.protocols.sync.has(id, &entry, &self.chain);
        let is_here = entry.has_body() || self.is_pending(&hash);
        let is_first = self.protocols.blocks.came(id, hash);
        let is_asked = self.protocols.download.take_compact(id, &hash);
        // The late answer to a request that another fulfilled is no offence.
        if !is_asked && !is_first {
            return self.out.offence(id, Offence::UnrequestedBlock);
        }
        let tip = self.chain.tip();
        // Of what was not asked for only a better tip is taken, and of a peer that was not asked to push only the header.
        let leads = entry.work > tip.work && entry.height <= tip.height + MAX_AHEAD;
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
                self.protocols.blocks.ask(id, hash, partial, &mut self.out);
            }
            Err(error) => self.incomplete(now, id, hash, error),
        }
    }

    /// Whether a block is whole and about to be connected.
    pub(super) fn is_pending(&self, hash: &BlockHash) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.block.hash() == *hash)
    }

    /// Transactions that were missing came.
    pub(super) fn block_transactions(
        &mut self,
        now: Now,
        id: PeerId,
        hash: BlockHash,
        transactions: Vec<Arc<Transaction>>,
    ) {
        match self.protocols.blocks.answered(id, &hash) {
            None => self.out.offence(id, Offence::UnrequestedBlockTransactions),
            // The block came from somebody else meanwhile.
            Some(None) => {}
            Some(Some(partial)) => self.completed(now, id, hash, partial, transactions),
        }
    }

    /// All transactions are here: the block is pushed on and then connected, or, if there is nobody to push it to, connected
    /// at once. Proof of work and header were checked when the header came, and the Merkle root is here; the rest costs
    /// time at each hop. What a block costs to make is why nobody pushes bad ones for long.
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
        if is_next && self.protocols.blocks.wanting().next().is_some() {
            self.protocols.blocks.publish(block.clone(), &lacked);
            pushed = self.push_block(hash);
        }
        self.pending = Some(Pending { from: id, block, at: now.mono + Duration::from_millis(1) });
        if !pushed {
            self.connect_pending(now);
        }
    }

    /// No block comes of a compact one. Unless somebody is to blame it is asked for whole.
    fn incomplete(&mut self, now: Now, id: PeerId, hash: BlockHash, error: CompactError) {
        match error.blame() {
            Blame::Peer => {
                self.protocols.download.failed(now, id, &hash);
                self.out.offence(id, Offence::BadCompactBlock(error));
            }
            Blame::Nobody | Blame::Local => self.protocols.download.needs_whole(hash),
        }
    }

    /// Connects the block that waits for that. Peers push before they have, so none answers for a block that breaks a rule
    /// (BIP-152).
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
                    self.protocols.download.needs_whole(hash);
                } else {
                    self.protocols.download.failed(now, from, &hash);
                }
                if let ChainError::Store(error) = error {
                    self.out.event(Event::StoreFailed { error: error.to_string() });
                }
            }
        }
    }

    /// Makes the compact form of a new tip, if anybody wants it.
    pub(super) fn publish(&mut self, update: &ChainUpdate) {
        if let Some(tip) = update.connected.last()
            && self.protocols.blocks.newest(&tip.hash()).is_none()
            && self.protocols.blocks.wanting().next().is_some()
        {
            self.protocols.blocks.publish(tip.matched().clone(), &[]);
        }
    }

    /// Pushes the newest block to the peers that want that, have its parent and may not have it; whether there are any.
    pub(super) fn push_block(&mut self, hash: BlockHash) -> bool {
        let Self { protocols: Protocols { blocks, sync, .. }, chain, out, .. } = self;
        let Some(newest) = blocks.newest(&hash) else { return false };
        let Some(entry) = chain.entry(&hash) else { return false };
        let Some(parent) = chain.entry(&entry.header.previous) else { return false };
        let mut pushed = false;
        for peer in blocks.wanting() {
            if !sync.knows(peer, &entry, chain) && sync.knows(peer, &parent, chain) {
                out.send(peer, newest.compact.clone());
                sync.tell(peer, hash);
                pushed = true;
            }
        }
        pushed
    }
}
