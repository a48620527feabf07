//! Providers of content: questions for them, records of them, and announcements of what this node provides.

use std::net::IpAddr;

use rand_chacha::ChaCha20Rng;

use super::{ANNOUNCEMENT_RATE, ANSWER_TOKENS, Discovery, EXPIRY_INTERVAL, Question};
use crate::p2p::announcer::{Announced, Announcer};
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::interface::Event;
use crate::p2p::kad::{Contact, K, NodeId};
use crate::p2p::message::Message;
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::p2p::peer_addr::PeerAddr;
use crate::p2p::providers::MAX_NEARER;
use crate::p2p::search::{Client, Found, Purpose};

impl Discovery {
    /// What this node provides, to change it.
    pub(crate) fn announcer(&mut self) -> &mut Announcer {
        self.changed = true;
        &mut self.announcer
    }

    /// How many keys this node provides, and how many records it keeps for others.
    pub(crate) fn provided(&self) -> (usize, usize) {
        (self.announcer.len(), self.records.len())
    }

    /// Looks for providers of a key, as [`Discovery::look_for`]. [`Event::ProviderNamed`] has each as it is named.
    pub(crate) fn look_for_providers(&mut self, key: NodeId) -> Option<u64> {
        self.changed = true;
        self.searches.add_for_owner(key, Purpose::Providers)
    }

    /// Looks for providers of a run of old blocks: [`Discovery::take_archives`].
    pub(crate) fn look_for_archive(&mut self, key: NodeId) {
        self.changed = true;
        self.searches.add_for_archive(key);
    }

    /// The lookups of runs that have ended since the last call.
    pub(crate) fn take_archives(&mut self) -> Vec<Found> {
        std::mem::take(&mut self.archives)
    }

    /// A peer has the content of these keys. Records are kept of those for which this node is one of the nearest it knows, if the
    /// peer can be dialled.
    pub(crate) fn on_add_provider(&mut self, now: Now, peer: PeerId, keys: &[NodeId], out: &mut Outbox) {
        let Some(conversation) = self.conversations.get_mut(&peer) else { return };
        if !conversation.announcements.take(now.mono, ANNOUNCEMENT_RATE, ANSWER_TOKENS) {
            return out.offence(peer, Offence::RequestFlood);
        }
        let Self { table, records, .. } = self;
        let kept = match conversation.contact.filter(|contact| contact.address.is_valid()) {
            None => 0,
            Some(contact) => {
                let near = keys.iter().filter(|key| table.is_near(key, MAX_NEARER));
                near.filter(|key| records.add(now.mono, **key, contact)).count()
            }
        };
        // Messages have fewer keys than this can count.
        out.send(peer, Message::ProviderAdded { kept: u16::try_from(kept).unwrap_or(u16::MAX) });
    }

    /// A peer at `ip` asks who has the content of a key.
    pub(crate) fn on_get_providers(
        &mut self,
        now: Now,
        (peer, ip): (PeerId, IpAddr),
        key: NodeId,
        rng: &mut ChaCha20Rng,
        out: &mut Outbox,
    ) {
        let Some(nearer) = self.answer(now, (peer, ip), key, out) else { return };
        let Some(id) = self.conversations.get(&peer).map(|conversation| conversation.id) else { return };
        let fit = |contact: &Contact| contact.id != id && contact.address.is_believable(ip);
        let mut providers = self.records.get(now.mono, &key, fit, rng);
        if self.announcer.provides(now.mono, &key) {
            providers.truncate(K - 1);
            // The peer knows better where it is.
            providers.insert(0, Contact { id: self.table.own(), address: PeerAddr::tcp_port(0) });
        }
        out.send(peer, Message::Providers { providers, nearer });
    }

    /// A peer at `ip` names providers, and nodes. `false` if it was not asked.
    pub(crate) fn on_providers(
        &mut self,
        now: Now,
        (peer, ip): (PeerId, IpAddr),
        (providers, nearer): (&[Contact], &[Contact]),
        out: &mut Outbox,
    ) -> bool {
        let is_right = |question: &Question| matches!(question, Question::Providers(_) | Question::Visit(_));
        let Some((question, id)) = self.answered(now, peer, is_right, out) else { return false };
        let conversation = self.conversations.get(&peer);
        let key = match question {
            Question::Providers(key) => key,
            Question::Visit(number) => {
                let has_it = providers.iter().any(|provider| provider.id == id);
                let browsers_at = conversation.and_then(|conversation| conversation.browsers_at).filter(|_| has_it);
                self.on_visited(now, number, browsers_at.map(|address| Contact { id, address }));
                return true;
            }
            Question::Nodes(_) | Question::Delivery(_) => return false,
        };
        let own = conversation.and_then(|conversation| conversation.contact);
        let named = providers.iter().filter_map(|named| if named.id == id { own } else { Some(*named) });
        let is_use = |named: &Contact| {
            let is_believable = Some(*named) == own || named.address.is_believable(ip);
            named.id != self.table.own() && named.address.is_valid() && is_believable
        };
        let named: Vec<Contact> = named.filter(is_use).collect();
        match self.searches.named(key, &named) {
            (Some(Client::Owner(number)), new) => {
                new.into_iter().for_each(|provider| out.event(Event::ProviderNamed { number, provider }));
            }
            (Some(Client::Page(number)), new) => self.for_pages.named(number, named, &new),
            (Some(Client::Table | Client::Announcer { .. } | Client::Archive) | None, _) => {}
        }
        if providers.iter().any(|provider| provider.id == id) {
            self.searches.keeps(key, id);
        }
        self.searches.answered(now.mono, key, &id, nearer);
        true
    }

    /// A peer says how many records it keeps. `false` if it was not asked.
    pub(crate) fn on_provider_added(&mut self, now: Now, peer: PeerId, kept: u16, out: &mut Outbox) {
        let is_right = |question: &Question| matches!(question, Question::Delivery(_));
        if let Some((Question::Delivery(number), _)) = self.answered(now, peer, is_right, out) {
            self.delivered(now, number, kept, out);
        }
    }

    /// Removes what is old.
    pub(super) fn expire(&mut self, now: Now, out: &mut Outbox) {
        if self.next_expiry <= now.mono {
            self.next_expiry = now.mono + EXPIRY_INTERVAL;
            self.records.expire(now.mono);
        }
        let ended = self.announcer.tick(now.mono);
        report(ended, out);
    }

    /// Looks up the nodes around keys that are to be announced.
    pub(super) fn look_around(&mut self, now: Now) {
        if !self.table.is_empty()
            && let Some(target) = self.announcer.next_target(now.mono)
        {
            self.searches.add_for_announcer(target, self.announcer.is_awaited(&target));
        }
    }

    /// These nodes are around the announcer's target.
    pub(super) fn found_around(&mut self, now: Now, found: &Found, out: &mut Outbox) {
        let ended = self.announcer.found(now.mono, &found.nodes);
        report(ended, out);
    }

    /// Sends announcements that wait, as far as there is room for their connections.
    pub(super) fn deliver(&mut self, now: Now, out: &mut Outbox) {
        while self.has_room()
            && let Some((number, contact)) = self.announcer.next_delivery(now.mono)
        {
            self.ask(now, Question::Delivery(number), contact, out);
        }
    }

    pub(super) fn delivered(&mut self, now: Now, number: u64, kept: u16, out: &mut Outbox) {
        let ended = self.announcer.delivered(now.mono, number, kept);
        report(ended, out);
        self.changed = true;
    }

    /// Panics if what is kept for providers is inconsistent.
    pub(crate) fn assert_conserved(&self) {
        self.announcer.assert_conserved();
        self.for_pages.assert_conserved();
        self.records.assert_conserved();
    }
}

/// Tells the owner of announcements that it asked for.
fn report(ended: Vec<Announced>, out: &mut Outbox) {
    for Announced { key, nodes } in ended {
        out.event(Event::Announced { key, nodes });
    }
}
