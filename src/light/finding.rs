//! Finds nodes that have content which no peer has: asks a few nodes who provides it, and dials those that take browsers.
//!
//! A node looks the key up in the hash table in the page's place, and names nodes that it has reached. One that lies can name
//! others: so several nodes are asked, what they name is dialled in turns, few at a time, and a provider that sends no block
//! soon gives way to the next.

use std::time::Duration;

use super::Light;
use crate::p2p::bucket::{Bucket, Rate};
use crate::p2p::kad::{Contact, NodeId};
use crate::p2p::message::Message;
use crate::p2p::misbehaviour::Offence;
use crate::p2p::{Now, PeerAddr, PeerId, Reason};
use crate::primitives::time::MonoTime;

/// Nodes that are asked for the providers of one key.
pub const MAX_ASKED: usize = 3;
/// Providers that are taken from an answer.
pub const MAX_TAKEN: usize = 8;
/// Providers that are dialled, or connected for this, at a time.
pub const MAX_DIALLED: usize = 4;
/// Time without a block of it after which a provider gives way, if others wait.
pub const PROVIDER_PATIENCE: Duration = Duration::from_secs(5);
/// Keys that are looked for at once, and one more after each [`FIND_INTERVAL`]: less than a node answers.
pub const FIND_BURST: u64 = 3;
/// See [`FIND_BURST`].
pub const FIND_INTERVAL: Duration = Duration::from_secs(20);
/// Time after which nodes are asked for the same key again, if nothing is left of their answers: they may have been busy, or a
/// provider come since. Twice as long each time until a block comes.
pub const FIND_AGAIN: Duration = Duration::from_secs(5);
/// A token is a millisecond.
const TOKENS: u64 = FIND_INTERVAL.as_millis() as u64;
const RATE: Rate = Rate { gain: 1, most: FIND_BURST * TOKENS };

/// A provider that was dialled.
#[derive(Debug)]
struct Dialled {
    contact: Contact,
    /// When it was dialled, or last sent a block.
    since: MonoTime,
    /// Whether it is not wanted any more: a dial cannot be called back, so its connection is closed once there is one.
    left: bool,
}

/// What is looked for, and what came of it.
#[derive(Debug, Default)]
pub(super) struct Finding {
    key: Option<NodeId>,
    /// Nodes that were asked for this key.
    asked: Vec<PeerId>,
    /// Questions without an answer, also those for earlier keys.
    open: Vec<(PeerId, NodeId)>,
    /// Providers that wait, each with its place in the answer that named it.
    named: Vec<(usize, Contact)>,
    dialled: Vec<Dialled>,
    /// How many keys may still be looked for; `None` before the first.
    allowance: Option<Bucket>,
    /// When the next may be, or this one again.
    retry_at: Option<MonoTime>,
    /// When nodes are asked for this one again, if nothing is left of their answers, and how long that takes.
    again_at: Option<MonoTime>,
    wait: Duration,
}

impl Finding {
    pub(super) fn disconnected(&mut self, peer: PeerId) {
        self.asked.retain(|asked| *asked != peer);
        self.open.retain(|(asked, _)| *asked != peer);
    }

    /// There is no connection with an address, or it has ended.
    pub(super) fn gone(&mut self, address: &PeerAddr) {
        self.dialled.retain(|provider| provider.contact.address != *address);
    }

    /// Whether a connection with an address is not wanted any more.
    pub(super) fn has_left(&self, address: &PeerAddr) -> bool {
        self.dialled.iter().any(|provider| provider.left && provider.contact.address == *address)
    }

    /// Whether a node has answered. One that does not holds up no other.
    fn is_answered(&self) -> bool {
        self.asked.iter().any(|node| self.open.iter().all(|(asked, _)| asked != node))
    }

    /// Until when there is something to wait for of what nodes named; `None` if a provider waits to be dialled.
    fn exhausted_at(&self, now: MonoTime) -> Option<MonoTime> {
        let wanted = self.dialled.iter().filter(|provider| !provider.left);
        let last = wanted.map(|provider| provider.since + PROVIDER_PATIENCE).max();
        self.named.is_empty().then_some(last.unwrap_or(now))
    }

    fn is_full(&self) -> bool {
        self.dialled.iter().filter(|provider| !provider.left).count() >= MAX_DIALLED
    }

    /// Which of those that wait is dialled next. A liar may have named another node at the address of one, which then waits for its turn.
    fn next(&self) -> Option<usize> {
        let is_free = |contact: &Contact| self.dialled.iter().all(|dialled| dialled.contact.address != contact.address);
        let free = self.named.iter().enumerate().filter(|(_, (_, contact))| is_free(contact));
        free.min_by_key(|(_, (order, _))| *order).map(|(place, _)| place)
    }

    /// A peer sends a block.
    pub(super) fn gives(&mut self, now: MonoTime, address: &PeerAddr) {
        // What comes from any peer is a reason to wait, and no longer than at first.
        (self.again_at, self.wait) = (None, FIND_AGAIN);
        for provider in self.dialled.iter_mut().filter(|provider| provider.contact.address == *address) {
            provider.since = now;
        }
    }

    /// The next provider that gives way, and since when it may.
    fn idle(&self) -> Option<(usize, MonoTime)> {
        let is_full = !self.named.is_empty() && self.is_full();
        let wanted = self.dialled.iter().enumerate().filter(|(_, provider)| is_full && !provider.left);
        let (place, provider) = wanted.min_by_key(|(_, provider)| provider.since)?;
        Some((place, provider.since + PROVIDER_PATIENCE))
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.idle().map(|(_, at)| at).into_iter().chain(self.retry_at).min()
    }

    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        self.dialled.iter_mut().for_each(|provider| provider.since += by);
    }
}

impl Light {
    /// Looks for nodes that provide the content of a key, in place of another, and dials them: what they say comes as what
    /// other peers say. `None` ends it, and connections that were made for it alone.
    pub fn find(&mut self, now: Now, key: Option<NodeId>) {
        let finding = &mut self.protocols.finding;
        finding.key = key;
        finding.asked.clear();
        finding.named.clear();
        (finding.retry_at, finding.again_at, finding.wait) = (None, None, FIND_AGAIN);
        // As many as this client wants to have anyway are kept.
        let mut spare = self.peering.peers.automatic().saturating_sub(self.config.outbound_target);
        for place in (0..finding.dialled.len()).rev() {
            let address = self.protocols.finding.dialled[place].contact.address;
            let is_open = self.peering.peers.iter().any(|(_, peer)| peer.address == address);
            if is_open && spare == 0 {
                self.protocols.finding.dialled.swap_remove(place);
            } else {
                spare -= usize::from(is_open);
                self.leave(place);
            }
        }
        self.finish(now);
    }

    /// Ends the connection with a provider that was dialled.
    fn leave(&mut self, place: usize) {
        let provider = &mut self.protocols.finding.dialled[place];
        provider.left = true;
        if let Some((peer, _)) = self.peering.peers.iter().find(|(_, peer)| peer.address == provider.contact.address) {
            self.out.close(peer, Reason::Brief);
        }
    }

    /// Asks nodes, and dials providers that they named.
    pub(super) fn advance_finding(&mut self, now: Now) {
        let Some(key) = self.protocols.finding.key else { return };
        if let Some((place, at)) = self.protocols.finding.idle()
            && at <= now.mono
        {
            self.leave(place);
        }
        let nodes = self.nodes();
        let Self { protocols, peering, out, .. } = self;
        let finding = &mut protocols.finding;
        let exhausted_at = finding.exhausted_at(now.mono).filter(|_| finding.is_answered());
        let is_exhausted = exhausted_at.is_some_and(|at| at <= now.mono);
        finding.again_at = finding.again_at.or(Some(now.mono + finding.wait)).filter(|_| is_exhausted);
        if finding.again_at.take_if(|at| *at <= now.mono).is_some() {
            finding.asked.clear();
            finding.wait *= 2;
        }
        finding.retry_at = finding.again_at.or(exhausted_at.filter(|_| !is_exhausted));
        for node in nodes {
            if finding.asked.len() >= MAX_ASKED
                || finding.asked.contains(&node)
                || finding.open.iter().any(|(asked, _)| *asked == node)
            {
                continue;
            }
            if finding.asked.is_empty() {
                let allowance = finding.allowance.get_or_insert_with(|| Bucket::full(now.mono, RATE));
                if !allowance.take(now.mono, RATE, TOKENS) {
                    finding.retry_at = Some(allowance.when(RATE, TOKENS));
                    break;
                }
            }
            out.send(node, Message::GetProviders { key });
            finding.asked.push(node);
            finding.open.push((node, key));
        }
        while !finding.is_full()
            && let Some(place) = finding.next()
        {
            let (_, contact) = finding.named.remove(place);
            finding.dialled.push(Dialled { contact, since: now.mono, left: false });
            peering.dialer.dial(now, contact.address, Some(contact.id), out);
        }
    }

    /// A node names providers of what it was asked for.
    pub(super) fn on_providers(&mut self, now: Now, id: PeerId, providers: Vec<Contact>) {
        let Self { protocols, peering, config, out, .. } = self;
        let finding = &mut protocols.finding;
        let (Some(place), Some(peer)) =
            (finding.open.iter().position(|(asked, _)| *asked == id), peering.peers.get(id))
        else {
            return out.offence(id, Offence::UnrequestedNodes);
        };
        let (_, key) = finding.open.swap_remove(place);
        if finding.key != Some(key) {
            return;
        }
        for (place, contact) in providers.into_iter().take(MAX_TAKEN).enumerate() {
            let address = contact.address;
            let is_known = config.page == Some(contact.id)
                || peering.peers.connection_with(contact.id).is_some()
                || peering.peers.is_connected_to(&address)
                || finding.dialled.iter().any(|provider| provider.contact == contact)
                || finding.named.iter().any(|(_, named)| *named == contact);
            if !is_known
                && matches!(address, PeerAddr::WebRtc { .. })
                && address.is_believable(peer.address.ip())
                && !peering.bans.contains(address.ip(), now.unix)
            {
                finding.named.push((place, contact));
            }
        }
    }
}
