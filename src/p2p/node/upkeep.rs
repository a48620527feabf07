//! Runs of old blocks that few nodes keep: finds them, fetches them and gives them up again.

use super::Node;
use crate::chain::Run;
use crate::consensus::check::check_merkle_root;
use crate::p2p::archive::{self, MAX_RUNS, MIN_COPIES};
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::interface::{Event, Reason};
use crate::p2p::kad::Contact;
use crate::p2p::message::{Item, Message};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::records;
use crate::p2p::search::Found;
use crate::p2p::upkeep::{self, BATCH, Fetch};
use crate::primitives::block::Block;
use crate::primitives::hash::BlockHash;
use crate::storage::{BlockKey, StoreError};

impl Node {
    /// Goes on with the run that is being fetched, or looks up the next one when that is due.
    pub(super) fn advance_upkeep(&mut self, now: Now) {
        if self.upkeep.fetch.is_some() {
            return self.advance_fetch(now);
        }
        if !self.upkeep.is_due(now.mono) {
            return;
        }
        self.hang_up_on_keepers();
        self.announce_refused(now);
        let is_synced = self.chain.tip().hash == self.chain.best_header().hash;
        if is_synced && !self.protocols.state_sync.is_active() {
            self.check_next_run();
        }
        self.upkeep.wait(now.mono, &mut self.rng);
    }

    /// Looks up the next run around this node's share, or of those that it took up.
    fn check_next_run(&mut self) {
        let Self { chain, protocols, config, upkeep, rng, .. } = self;
        if upkeep.is_swept() {
            let table = protocols.discovery.table();
            let is_looked_after = |run: &Run| match chain.has_run(*run) {
                true => upkeep.taken_up.has(*run),
                false => chain
                    .last_of_run(*run)
                    .is_some_and(|last| upkeep::is_around(table, config.archive_share, &archive::key_of(&last))),
            };
            let runs = (0..chain.pruned_runs().min(MAX_RUNS)).map(Run).filter(is_looked_after).collect();
            upkeep.begin(runs, rng);
        }
        if let Some(run) = upkeep.take()
            && let Some(last) = chain.last_of_run(run)
        {
            let key = archive::key_of(&last);
            upkeep.check(run, key);
            protocols.discovery.look_for_archive(key);
        }
    }

    /// A lookup of a run's providers has ended. `false` if it was not for its upkeep.
    pub(super) fn judge_run(&mut self, now: Now, found: &Found) -> bool {
        let Some(run) = self.upkeep.checked(&found.target) else { return false };
        // Without the network around the key, nothing is known of it.
        if !found.complete || found.nodes.is_empty() || self.upkeep.fetch.is_some() {
            return true;
        }
        let (keepers, own) = (upkeep::keepers(found), self.config.id.distance(&found.target));
        if self.chain.has_run(run) {
            let nearer = found.keepers.iter().filter(|keeper| keeper.distance(&found.target) < own).count();
            if nearer >= MIN_COPIES && self.upkeep.taken_up.has(run) && !self.is_own_run(run) {
                tracing::debug!(run = run.0, "enough nearer nodes keep a run, it is given up");
                self.drop_run(now, run);
            }
        } else if keepers.len() < MIN_COPIES && self.has_room_for(run) {
            let is_keeper = |provider: &&Contact| keepers.contains(&provider.id);
            let providers: Vec<Contact> = found.providers.iter().filter(is_keeper).copied().collect();
            self.upkeep.dialled = self.dial_providers(now, &providers);
            self.upkeep.taken_up.insert(run);
            let blocks = self.chain.params().epoch_blocks;
            tracing::debug!(run = run.0, keepers = keepers.len(), "few nodes keep a run, it is taken up");
            self.upkeep.fetch = Some(Fetch::new(now.mono, run, run.last(blocks), blocks));
            self.save_taken_up();
        }
        true
    }

    /// Whether a run is in this node's share.
    fn is_own_run(&self, run: Run) -> bool {
        let (table, share) = (self.protocols.discovery.table(), self.config.archive_share);
        self.chain.last_of_run(run).is_some_and(|last| archive::is_kept(table, share, &last))
    }

    /// Whether a run may be taken up: one of the node's share always, and of others as many as its share has.
    fn has_room_for(&self, run: Run) -> bool {
        let share = (u64::from(self.config.archive_share) * u64::from(self.chain.pruned_runs())) >> 32;
        let others = self.upkeep.taken_up.iter().filter(|run| self.chain.has_run(*run) && !self.is_own_run(*run));
        self.is_own_run(run) || (others.count() as u64) < share.max(1)
    }

    fn save_taken_up(&mut self) {
        let saved = records::save_taken_up(self.chain.db(), &self.upkeep.taken_up);
        self.report_store(saved);
    }

    fn report_store(&mut self, result: Result<(), StoreError>) {
        if let Err(error) = result {
            self.out.event(Event::StoreFailed { error: error.to_string() });
        }
    }

    /// Keeps a run no longer, or what was fetched of it. If the store fails, a whole run comes back with the next start, and is still one
    /// that was taken up then.
    fn drop_run(&mut self, now: Now, run: Run) {
        match self.chain.remove_run(run) {
            Ok(()) => {
                self.upkeep.taken_up.remove(run);
                self.save_taken_up();
            }
            failed => self.report_store(failed),
        }
        self.announce_archive(now);
    }

    /// Asks a peer for the next blocks of the run, if none is asked.
    fn advance_fetch(&mut self, now: Now) {
        let Self { chain, protocols, peering, upkeep, out, .. } = self;
        if let Some(over) = upkeep.fetch.take_if(|fetch| fetch.is_over(now.mono)) {
            return self.drop_run(now, over.run);
        }
        let Some(fetch) = upkeep.fetch.as_mut().filter(|fetch| fetch.is_idle()) else { return };
        // Any peer can say that it keeps the run: those come first that were dialled for it.
        let is_dialled = |peer: &PeerId| peering.peers.get(*peer).is_some_and(|peer| upkeep.dialled.contains(&peer.id));
        let keepers = protocols.download.keepers(fetch.run).filter(|peer| fetch.may_ask(*peer));
        let Some(peer) = keepers.min_by_key(|peer| !is_dialled(peer)) else { return };
        let first = fetch.run.first(chain.params().epoch_blocks);
        let heights = first.through(fetch.next).rev().take(BATCH);
        let blocks: Vec<BlockHash> = heights.map_while(|height| Some(chain.entry_at(height)?.hash)).collect();
        // A header in the middle is still to come: the fetch ends for want of a peer.
        if blocks.is_empty() {
            return;
        }
        out.send(peer, Message::GetData(blocks.iter().map(|hash| Item::Block(*hash)).collect()));
        fetch.ask(now.mono, peer, blocks.into());
    }

    /// A block came that may be the next of the run. `false` if it is not.
    pub(super) fn archive_block(&mut self, now: Now, id: PeerId, block: &Block) -> bool {
        let hash = block.hash();
        let Some(fetch) = self.upkeep.fetch.as_mut().filter(|fetch| fetch.expects(id, &hash)) else { return false };
        if let Err(rule) = check_merkle_root(&block.header, block.txids()) {
            fetch.failed(now.mono, id);
            self.out.offence(id, Offence::BadBlock { hash, rule });
            return true;
        }
        let (run, height) = (fetch.run, fetch.next);
        self.is_useful = true;
        // Others of the batch follow, and are late answers if this one cannot be stored.
        if let Err(error) = self.chain.archive_fetched(&BlockKey { height, hash }, block) {
            fetch.failed(now.mono, id);
            self.report_store(Err(error));
            return true;
        }
        match height.prev().filter(|_| height > run.first(self.chain.params().epoch_blocks)) {
            Some(next) => fetch.came(now.mono, next, block.size()),
            None => {
                self.upkeep.fetch = None;
                self.announce_archive(now);
            }
        }
        true
    }

    /// A peer has no such items. Takes away those that it was asked for here.
    pub(super) fn lacks_archived(&mut self, now: Now, id: PeerId, items: &mut Vec<Item>) {
        let Some(fetch) = &mut self.upkeep.fetch else { return };
        let before = items.len();
        items.retain(|item| !matches!(item, Item::Block(hash) if fetch.has_asked(id, hash)));
        if items.len() < before {
            fetch.failed(now.mono, id);
            self.protocols.download.lacks(id, fetch.run);
        }
    }

    /// Ends connections that were made for a run which is here by now, if there are more than usual.
    fn hang_up_on_keepers(&mut self) {
        let (dialled, peers) = (std::mem::take(&mut self.upkeep.dialled), &self.peering.peers);
        let extra = peers.automatic().saturating_sub(self.config.outbound_target);
        let is_made =
            |id: &PeerId| peers.is_automatic(*id) && peers.get(*id).is_some_and(|peer| dialled.contains(&peer.id));
        let made: Vec<PeerId> = peers.ready().filter(is_made).take(extra).collect();
        made.into_iter().for_each(|peer| self.out.close(peer, Reason::Brief));
    }

    /// The chain begins anew, and what was archived of it has gone.
    pub(super) fn restart_upkeep(&mut self, now: Now) {
        self.upkeep.restart();
        self.save_taken_up();
        self.announce_archive(now);
    }
}
