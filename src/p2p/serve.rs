//! Answering requests for headers, blocks whole or in part, transactions, filters and proofs.
//!
//! A small request may ask for much, so answers go in portions: after each the peer has to have taken it
//! ([`Output::Flush`]) before the next is read from the store. A peer that reads slowly costs one portion of memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::chain::Chain;
use crate::mempool::Mempool;
use crate::p2p::blocks::{Blocks, COMPACT_DEPTH, TRANSACTIONS_DEPTH};
use crate::p2p::filters::FilterRequest;
use crate::p2p::interface::{Event, Output, PeerId};
use crate::p2p::message::{Item, MAX_HEADERS, MAX_INVENTORY, Message};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::p2p::proofs::{self, ProofQuery};
use crate::primitives::block::Block;
use crate::primitives::hash::BlockHash;
use crate::storage::StoreError;

/// Bytes after which a peer has to have taken them before it gets more.
pub const PORTION_BYTES: usize = 1_000_000;
/// Most bodies that may be waiting for a peer.
pub const MAX_WAITING: usize = 2 * MAX_INVENTORY;
/// Most requests for headers, filters, proofs or a block's transactions that may be waiting for a peer: each is answered with
/// many.
pub const MAX_WAITING_RANGES: usize = 8;

/// Where answers come from.
#[derive(Clone, Copy)]
pub(super) struct Shelf<'a> {
    pub(super) chain: &'a Chain,
    pub(super) mempool: &'a Mempool,
    pub(super) blocks: &'a Blocks,
}

#[derive(Debug)]
enum Request {
    Item(Item),
    BlockTransactions { block: BlockHash, places: Vec<u16> },
    Headers { locator: Vec<BlockHash>, stop: BlockHash },
    Filters(FilterRequest),
    Proofs(ProofQuery),
}

/// What a peer has asked for.
#[derive(Debug, Default)]
struct Queue {
    requests: VecDeque<Request>,
    /// Those that are for headers, filters, proofs or a block's transactions.
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
    pub(super) fn get_data(&mut self, peer: PeerId, items: Vec<Item>, shelf: Shelf<'_>, out: &mut Outbox) {
        let Some(queue) = self.0.get_mut(&peer) else { return };
        if queue.requests.len() + items.len() > MAX_WAITING {
            return out.offence(peer, Offence::RequestFlood);
        }
        queue.requests.extend(items.into_iter().map(Request::Item));
        queue.serve(peer, shelf, out);
    }

    /// A peer asks for headers.
    pub(super) fn get_headers(
        &mut self,
        peer: PeerId,
        locator: Vec<BlockHash>,
        stop: BlockHash,
        shelf: Shelf<'_>,
        out: &mut Outbox,
    ) {
        self.get_range(peer, Request::Headers { locator, stop }, shelf, out);
    }

    /// A peer asks for filters or their headers. Too long a range is held against it, and answered with an empty list.
    pub(super) fn get_filters(&mut self, peer: PeerId, request: FilterRequest, shelf: Shelf<'_>, out: &mut Outbox) {
        if request.is_too_long(shelf.chain) {
            out.offence(peer, Offence::RequestFlood);
        }
        self.get_range(peer, Request::Filters(request), shelf, out);
    }

    /// A peer asks for transactions of a block of which it has the compact form.
    pub(super) fn get_block_transactions(
        &mut self,
        peer: PeerId,
        block: BlockHash,
        places: Vec<u16>,
        shelf: Shelf<'_>,
        out: &mut Outbox,
    ) {
        self.get_range(peer, Request::BlockTransactions { block, places }, shelf, out);
    }

    /// A peer asks for proofs.
    pub(super) fn get_proofs(&mut self, peer: PeerId, query: ProofQuery, shelf: Shelf<'_>, out: &mut Outbox) {
        self.get_range(peer, Request::Proofs(query), shelf, out);
    }

    fn get_range(&mut self, peer: PeerId, request: Request, shelf: Shelf<'_>, out: &mut Outbox) {
        let Some(queue) = self.0.get_mut(&peer) else { return };
        if queue.ranges >= MAX_WAITING_RANGES {
            return out.offence(peer, Offence::RequestFlood);
        }
        queue.ranges += 1;
        queue.requests.push_back(request);
        queue.serve(peer, shelf, out);
    }

    /// A peer has taken its portion.
    pub(super) fn flushed(&mut self, peer: PeerId, shelf: Shelf<'_>, out: &mut Outbox) {
        if let Some(queue) = self.0.get_mut(&peer) {
            (queue.flushing, queue.portion) = (false, 0);
            queue.serve(peer, shelf, out);
        }
    }
}

impl Queue {
    /// Sends the next portion, unless one is on its way.
    fn serve(&mut self, peer: PeerId, shelf: Shelf<'_>, out: &mut Outbox) {
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
                    Some(Message::Headers(shelf.chain.headers_after(&locator, &stop, MAX_HEADERS)))
                }
                Request::Filters(request) => {
                    self.ranges -= 1;
                    Some(request.answer(shelf.chain, out))
                }
                Request::Proofs(query) => {
                    self.ranges -= 1;
                    match proofs::answer(query, shelf.chain) {
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
                Request::BlockTransactions { block, places } => {
                    self.ranges -= 1;
                    let found = stored(block_transactions(peer, block, &places, shelf, out), out);
                    // A bad request is an offence, and has no answer.
                    if found.is_none() && shelf.chain.entry(&block).is_none_or(|entry| !entry.has_body()) {
                        missing.push(Item::Block(block));
                    }
                    found
                }
                Request::Item(item) => {
                    let found = stored(body(&item, shelf), out);
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

/// What was found, if the store did not fail.
fn stored(found: Result<Option<Message>, StoreError>, out: &mut Outbox) -> Option<Message> {
    found.unwrap_or_else(|error| {
        out.event(Event::StoreFailed { error: error.to_string() });
        None
    })
}

fn body(item: &Item, shelf: Shelf<'_>) -> Result<Option<Message>, StoreError> {
    let whole = |block: Block| Message::Block(Arc::new(block));
    Ok(match item {
        Item::Transaction(txid) => shelf.mempool.get(txid).map(|entry| Message::Transaction(entry.tx.clone())),
        Item::Block(hash) => shelf.chain.db().block(hash)?.map(whole),
        Item::CompactBlock(hash) => match shelf.blocks.newest(hash) {
            Some(newest) => Some(Message::CompactBlock(newest.compact.clone())),
            None => shelf.chain.db().block(hash)?.map(|block| {
                if is_within(COMPACT_DEPTH, hash, shelf.chain) {
                    let compact = shelf.blocks.compact(&block, &block.txids(), &[]);
                    Message::CompactBlock(Arc::new(compact))
                } else {
                    whole(block)
                }
            }),
        },
    })
}

/// Whether a block is one of the last few.
fn is_within(depth: u32, hash: &BlockHash, chain: &Chain) -> bool {
    chain.entry(hash).is_some_and(|entry| entry.height.saturating_add(depth) > chain.tip().height)
}

/// Transactions of a block, or all of it if it is an old one.
fn block_transactions(
    peer: PeerId,
    hash: BlockHash,
    places: &[u16],
    shelf: Shelf<'_>,
    out: &mut Outbox,
) -> Result<Option<Message>, StoreError> {
    // The newest block may have been pushed and not be stored yet.
    let block = match shelf.blocks.newest(&hash) {
        Some(newest) => newest.block.clone(),
        None => match shelf.chain.db().block(&hash)? {
            Some(block) => Arc::new(block),
            None => return Ok(None),
        },
    };
    let last = places.last().map_or(0, |place| usize::from(*place));
    if !places.is_sorted_by(|a, b| a < b) || last >= block.transactions.len() {
        out.offence(peer, Offence::BadPlaces);
        return Ok(None);
    }
    if shelf.blocks.newest(&hash).is_none() && !is_within(TRANSACTIONS_DEPTH, &hash, shelf.chain) {
        return Ok(Some(Message::Block(block)));
    }
    let of = |place: &u16| block.transactions.get(usize::from(*place)).cloned().map(Arc::new);
    Ok(Some(Message::BlockTransactions { block: hash, transactions: places.iter().filter_map(of).collect() }))
}
