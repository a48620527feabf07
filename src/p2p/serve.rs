//! Answering requests for headers, blocks, transactions, filters and proofs.
//!
//! A small request may ask for much, so answers go in portions: after each the peer has to have taken it
//! ([`Output::Flush`]) before the next is read from the store. A peer that reads slowly costs one portion of memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::chain::Chain;
use crate::mempool::Mempool;
use crate::p2p::filters::FilterRequest;
use crate::p2p::interface::{Event, Output, PeerId};
use crate::p2p::message::{Item, MAX_HEADERS, MAX_INVENTORY, Message};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::p2p::proofs::{self, ProofQuery};
use crate::primitives::hash::BlockHash;

/// Bytes after which a peer has to have taken them before it gets more.
pub const PORTION_BYTES: usize = 1_000_000;
/// Most bodies that may be waiting for a peer.
pub const MAX_WAITING: usize = 2 * MAX_INVENTORY;
/// Most requests for headers, filters or proofs that may be waiting for a peer: each is answered with many.
pub const MAX_WAITING_RANGES: usize = 8;

#[derive(Debug)]
enum Request {
    Item(Item),
    Headers { locator: Vec<BlockHash>, stop: BlockHash },
    Filters(FilterRequest),
    Proofs(ProofQuery),
}

/// What a peer has asked for.
#[derive(Debug, Default)]
struct Queue {
    requests: VecDeque<Request>,
    /// Those that are for headers, filters or proofs.
    ranges: usize,
    /// Bytes sent since the peer was last known to have taken all.
    portion: usize,
    /// A portion is full and on its way.
    flushing: bool,
}

/// All peers that have said hello.
#[derive(Debug, Default)]
pub(super) struct Server(BTreeMap<PeerId, Queue>);

impl Server {
    pub(super) fn connected(&mut self, peer: PeerId) {
        self.0.insert(peer, Queue::default());
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        self.0.remove(&peer);
    }

    /// A peer asks for bodies.
    pub(super) fn get_data(
        &mut self,
        peer: PeerId,
        items: Vec<Item>,
        chain: &Chain,
        mempool: &Mempool,
        out: &mut Outbox,
    ) {
        let Some(queue) = self.0.get_mut(&peer) else { return };
        if queue.requests.len() + items.len() > MAX_WAITING {
            return out.offence(peer, Offence::RequestFlood);
        }
        queue.requests.extend(items.into_iter().map(Request::Item));
        queue.serve(peer, chain, mempool, out);
    }

    /// A peer asks for headers.
    pub(super) fn get_headers(
        &mut self,
        peer: PeerId,
        locator: Vec<BlockHash>,
        stop: BlockHash,
        chain: &Chain,
        mempool: &Mempool,
        out: &mut Outbox,
    ) {
        self.get_range(peer, Request::Headers { locator, stop }, chain, mempool, out);
    }

    /// A peer asks for filters or their headers. Too long a range is held against it, and answered with an empty list.
    pub(super) fn get_filters(
        &mut self,
        peer: PeerId,
        request: FilterRequest,
        chain: &Chain,
        mempool: &Mempool,
        out: &mut Outbox,
    ) {
        if request.is_too_long(chain) {
            out.offence(peer, Offence::RequestFlood);
        }
        self.get_range(peer, Request::Filters(request), chain, mempool, out);
    }

    /// A peer asks for proofs.
    pub(super) fn get_proofs(
        &mut self,
        peer: PeerId,
        query: ProofQuery,
        chain: &Chain,
        mempool: &Mempool,
        out: &mut Outbox,
    ) {
        self.get_range(peer, Request::Proofs(query), chain, mempool, out);
    }

    fn get_range(&mut self, peer: PeerId, request: Request, chain: &Chain, mempool: &Mempool, out: &mut Outbox) {
        let Some(queue) = self.0.get_mut(&peer) else { return };
        if queue.ranges >= MAX_WAITING_RANGES {
            return out.offence(peer, Offence::RequestFlood);
        }
        queue.ranges += 1;
        queue.requests.push_back(request);
        queue.serve(peer, chain, mempool, out);
    }

    /// A peer has taken its portion.
    pub(super) fn flushed(&mut self, peer: PeerId, chain: &Chain, mempool: &Mempool, out: &mut Outbox) {
        if let Some(queue) = self.0.get_mut(&peer) {
            (queue.flushing, queue.portion) = (false, 0);
            queue.serve(peer, chain, mempool, out);
        }
    }
}

impl Queue {
    /// Sends the next portion, unless one is on its way.
    fn serve(&mut self, peer: PeerId, chain: &Chain, mempool: &Mempool, out: &mut Outbox) {
        if self.flushing {
            return;
        }
        let mut missing = Vec::new();
        while self.portion < PORTION_BYTES
            && let Some(request) = self.requests.pop_front()
        {
            let answer = match request {
                Request::Headers { locator, stop } => {
                    self.ranges -= 1;
                    Some(Message::Headers(chain.headers_after(&locator, &stop, MAX_HEADERS)))
                }
                Request::Filters(request) => {
                    self.ranges -= 1;
                    Some(request.answer(chain, out))
                }
                Request::Proofs(query) => {
                    self.ranges -= 1;
                    match proofs::answer(query, chain) {
                        Ok((answer, read)) => {
                            // What was read costs us as much as what is sent.
                            self.portion += read;
                            Some(Message::Proofs(answer))
                        }
                        Err(error) => {
                            out.event(Event::StoreFailed { error: error.to_string() });
                            None
                        }
                    }
                }
                Request::Item(item) => {
                    let found = body(&item, chain, mempool, out);
                    if found.is_none() {
                        missing.push(item);
                    }
                    found
                }
            };
            if let Some(answer) = answer {
                self.portion += answer.encoded_len();
                out.send(peer, answer);
            }
        }
        // A request's answer is never empty: its items are in the queue until they are answered.
        for items in missing.chunks(MAX_INVENTORY) {
            out.send(peer, Message::NotFound(items.to_vec()));
        }
        if self.portion >= PORTION_BYTES {
            self.flushing = true;
            out.push(Output::Flush { peer });
        }
    }
}

fn body(item: &Item, chain: &Chain, mempool: &Mempool, out: &mut Outbox) -> Option<Message> {
    match item {
        Item::Transaction(txid) => mempool.get(txid).map(|entry| Message::Transaction(entry.tx.clone())),
        Item::Block(hash) => match chain.db().block(hash) {
            Ok(block) => block.map(|block| Message::Block(Arc::new(block))),
            Err(error) => {
                out.event(Event::StoreFailed { error: error.to_string() });
                None
            }
        },
    }
}
