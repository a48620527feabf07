//! Exchange of addresses: all at once when a connection is made to learn from, and news a few at a time.

use std::collections::BTreeMap;
use std::net::IpAddr;

use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;

use crate::p2p::addrbook::{AddrBook, is_believable};
use crate::p2p::interface::{Direction, Now, PeerId};
use crate::p2p::message::{MAX_ADDRESSES, Message, PeerAddress};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;

/// Most addresses told in answer to a request.
pub const MAX_TOLD: usize = 500;
/// Most addresses that are news; more at once are only sent when asked for.
pub const MAX_NEWS: usize = 10;
/// To how many peers news is passed on.
const NEWS_PEERS: usize = 2;
/// Milliseconds in which a peer may send one more address unasked.
const REFILL_MILLIS: u64 = 10_000;
/// Most addresses that it may send unasked at once.
const MAX_TOKENS: u64 = 20;

#[derive(Debug)]
struct Gossiper {
    /// It was asked for addresses, which have not come.
    asked: bool,
    /// It was given addresses: once is enough, or it could collect the whole book.
    answered: bool,
    /// How many addresses it may still send unasked, and since when that counts.
    tokens: u64,
    since: u64,
}

/// All peers that have said hello.
#[derive(Debug, Default)]
pub(crate) struct Gossip(BTreeMap<PeerId, Gossiper>);

impl Gossip {
    /// A peer said hello. Only those that this node chose are asked: others might come just to tell.
    pub(crate) fn connected(&mut self, now: Now, peer: PeerId, direction: Direction, out: &mut Outbox) {
        let asked = direction == Direction::Outbound;
        self.0.insert(peer, Gossiper { asked, answered: false, tokens: MAX_TOKENS, since: now.millis });
        if asked {
            out.send(peer, Message::GetAddresses);
        }
    }

    pub(crate) fn disconnected(&mut self, peer: PeerId) {
        self.0.remove(&peer);
    }

    /// A peer at `ip` asks for addresses.
    pub(crate) fn asked(&mut self, peer: PeerId, ip: IpAddr, book: &AddrBook, rng: &mut ChaCha20Rng, out: &mut Outbox) {
        let Some(gossiper) = self.0.get_mut(&peer) else { return };
        if !std::mem::replace(&mut gossiper.answered, true) {
            // It would not believe us private addresses, and has no need to know them.
            let sample = book.sample(MAX_TOLD.min(MAX_ADDRESSES), rng, |address| is_believable(address, ip));
            out.send(peer, Message::Addresses(sample));
        }
    }

    /// A peer at `ip` tells addresses.
    pub(crate) fn told(
        &mut self,
        now: Now,
        (peer, ip): (PeerId, IpAddr),
        mut addresses: Vec<PeerAddress>,
        book: &mut AddrBook,
        rng: &mut ChaCha20Rng,
        out: &mut Outbox,
    ) {
        let Some(gossiper) = self.0.get_mut(&peer) else { return };
        let answers = gossiper.asked && addresses.len() != 1;
        if answers {
            gossiper.asked = false;
        } else {
            let refill = now.millis.saturating_sub(gossiper.since) / REFILL_MILLIS;
            gossiper.since += refill * REFILL_MILLIS;
            gossiper.tokens = (gossiper.tokens + refill).min(MAX_TOKENS);
            // Many newcomers at once are news that honest peers pass on too, one by one: what is too much is not read, and only
            // more in one message than anybody has news of is an offence.
            if addresses.len() as u64 > MAX_TOKENS {
                out.offence(peer, Offence::AddressFlood);
            }
            addresses.truncate(gossiper.tokens as usize);
            gossiper.tokens -= addresses.len() as u64;
        }
        let is_news = !answers && addresses.len() <= MAX_NEWS;
        for address in addresses {
            if book.add(now, &address, ip) && is_news {
                self.pass_on(peer, address, rng, out);
            }
        }
    }

    /// Tells a few peers, other than who brought it, of a new address.
    pub(crate) fn pass_on(&mut self, from: PeerId, address: PeerAddress, rng: &mut ChaCha20Rng, out: &mut Outbox) {
        let mut peers: Vec<PeerId> = self.0.keys().copied().filter(|peer| *peer != from).collect();
        peers.shuffle(rng);
        peers.into_iter().take(NEWS_PEERS).for_each(|peer| out.send(peer, Message::Addresses(vec![address])));
    }
}
