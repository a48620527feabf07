//! Old blocks: which of them this node archives, and who has those that it needs.

use std::collections::BTreeSet;

use rand::seq::SliceRandom;

use super::Node;
use crate::chain::Run;
use crate::p2p::archive::{self, Runs};
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::interface::{Event, Reason};
use crate::p2p::kad::{Contact, NodeId};
use crate::p2p::message::{Message, is_full_node};
use crate::p2p::upkeep::Upkeep;

/// Providers of a run that are dialled after a lookup.
const DIALS: usize = 4;
/// Outbound peers beyond the usual number, for the runs that they have.
const MAX_EXTRA_PEERS: usize = 16;

impl Node {
    /// Prunes the next few blocks. Announces the runs that are archived with them.
    pub(super) fn prune(&mut self, now: Now) {
        let Self { chain, protocols, config, out, .. } = self;
        let (table, before) = (protocols.discovery.table(), chain.count_archived_runs());
        let keeps = |last: &_| archive::is_kept(table, config.archive_share, last);
        if let Err(error) = chain.prune_step_keeping(keeps) {
            return out.event(Event::StoreFailed { error: error.to_string() });
        }
        if self.chain.count_archived_runs() > before {
            self.announce_archive(now);
        }
    }

    /// Announces the archived runs to the nodes nearest to their keys from now on, as far as there is room, and stops announcing
    /// the others. Tells peers if anything has changed.
    pub(super) fn announce_archive(&mut self, now: Now) {
        let keys: BTreeSet<NodeId> = self.chain.archived_runs().iter().map(|(_, last)| archive::key_of(last)).collect();
        let Upkeep { keys: known, refused, .. } = &mut self.upkeep;
        if keys == *known {
            return;
        }
        let announcer = self.protocols.discovery.announcer();
        known.difference(&keys).filter(|gone| !refused.contains(*gone)).for_each(|gone| announcer.stop(gone));
        *refused = keys.iter().filter(|key| !announcer.provide(now.mono, **key)).copied().collect();
        *known = keys;
        let peers: Vec<PeerId> = self.peering.peers.ready().collect();
        self.send_archive(&peers);
    }

    /// Announces runs for which there was no room before, as far as there is now.
    pub(super) fn announce_refused(&mut self, now: Now) {
        if !self.upkeep.refused.is_empty() {
            let announcer = self.protocols.discovery.announcer();
            self.upkeep.refused.retain(|key| !announcer.provide(now.mono, *key));
        }
    }

    /// Tells those of some peers that are full nodes which runs are archived here.
    pub(super) fn send_archive(&mut self, peers: &[PeerId]) {
        let mut runs = Runs::default();
        self.chain.archived_runs().into_iter().for_each(|(run, _)| runs.insert(run));
        for id in peers {
            let hello = self.peering.peers.get(*id).and_then(|peer| peer.hello.as_ref());
            if hello.is_some_and(|hello| is_full_node(hello.services)) {
                self.out.send(*id, Message::Archive(runs.to_bytes()));
            }
        }
    }

    /// Dials the providers of runs that were looked up, and looks up the run that is needed next if no peer has it.
    pub(super) fn advance_archive(&mut self, now: Now) {
        for found in self.protocols.discovery.take_archives() {
            if !self.judge_run(now, &found) {
                self.dial_providers(now, &found.providers);
            }
        }
        self.advance_upkeep(now);
        match self.needed_run() {
            None => self.lookups.need_none(),
            Some(key) if self.lookups.need(now.mono, key) => {
                self.protocols.discovery.look_for_archive(key);
            }
            Some(_) => {}
        }
    }

    /// The key of the run that is needed next, and that no peer has.
    fn needed_run(&self) -> Option<NodeId> {
        if self.protocols.state_sync.is_active() {
            return None;
        }
        let height = self.protocols.download.lacking()?;
        let epoch = self.chain.params().epoch_blocks;
        let (tree, last) = (self.chain.tree(), Run::of(height, epoch).last(epoch));
        // No node prunes a run that has no last block yet.
        let last = tree.ancestor(&tree.best_header(), last)?;
        Some(archive::key_of(&last.hash))
    }

    /// Dials some nodes that have a run, and answers which.
    pub(super) fn dial_providers(&mut self, now: Now, providers: &[Contact]) -> Vec<NodeId> {
        let mut dialled = Vec::new();
        if self.config.outbound_target == 0 {
            return dialled;
        }
        let Self { peering, rng, .. } = self;
        let is_fit = |contact: &&Contact| {
            peering.peers.connection_with(contact.id).is_none()
                && peering.book.may_dial(now, &contact.address)
                && !peering.book.is_own(&contact.address)
                && !peering.bans.contains(contact.address.ip(), now.unix)
        };
        let mut fit: Vec<Contact> = providers.iter().filter(is_fit).copied().collect();
        fit.shuffle(rng);
        for contact in fit.into_iter().take(DIALS) {
            if self.peering.peers.automatic() >= self.config.outbound_target + MAX_EXTRA_PEERS && !self.make_room(now) {
                break;
            }
            self.peering.dialer.dial(now, contact.address, Some(contact.id), &mut self.out);
            dialled.push(contact.id);
        }
        dialled
    }

    /// Ends a connection that this node made to a peer which has nothing that is needed now. `false` if there is none.
    fn make_room(&mut self, now: Now) -> bool {
        let idle = self.protocols.download.idle();
        let is_automatic = |(peer, ..): &(PeerId, _, _)| self.peering.peers.is_automatic(*peer);
        let Some((peer, from, needed)) = idle.into_iter().find(is_automatic) else { return false };
        self.disconnected(now, peer, Reason::LacksBlocks { from, needed });
        true
    }
}
