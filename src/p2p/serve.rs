//! Answers requests for headers, blocks, transactions, filters, proofs and coins.
//!
//! A small request may ask for much, so answers are sent in portions: the peer must have received one
//! ([`Output::Flush`]) before the next is read from the store, and a slow reader costs one portion of memory. Work is
//! also done in slices: after each, the node's thread handles other inputs, and the peer with the lowest recent cost is
//! served next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::chain::Chain;
use crate::mempool::Mempool;
use crate::p2p::blocks::{Blocks, COMPACT_DEPTH, TRANSACTIONS_DEPTH};
use crate::p2p::bodies::Bodies;
use crate::p2p::budget::{Budgets, Cost};
use crate::p2p::chain_proofs::ChainQuery;
use crate::p2p::chain_prover::{TipProof, TipProofs};
use crate::p2p::coin_prover;
use crate::p2p::coins::{CoinQuery, Opening};
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::filters::FilterRequest;
use crate::p2p::frame::Frame;
use crate::p2p::interface::{Event, Output};
use crate::p2p::message::{Item, MAX_HEADERS, MAX_INVENTORY, Message};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::p2p::proofs::ProofQuery;
use crate::p2p::prover;
use crate::p2p::state::{RangeAnswer, RangeQuery};
use crate::primitives::hash::BlockHash;
use crate::primitives::meter;
use crate::primitives::time::MonoTime;
use crate::storage::{BlockKey, StoreError};

/// Bytes of a portion.
pub const PORTION_BYTES: usize = 1_000_000;
/// Most bodies that may be waiting for a peer.
pub const MAX_WAITING: usize = 2 * MAX_INVENTORY;
/// Most requests for headers, filters, proofs, openings, coins or a block's transactions that may be waiting for a peer: each is answered with
/// many.
pub const MAX_WAITING_RANGES: usize = 8;
/// Work of a slice: some milliseconds, as much as one large block. A slice exceeds it by at most one request.
pub const SLICE: Cost = Cost(4_000_000);
/// Work for one peer after which the next peer is chosen.
const TURN: Cost = Cost(1_000_000);
/// Time between two slices, in which the driver hands over new messages.
const PAUSE: Duration = Duration::from_millis(1);

/// The sources of answers.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub(super) chain: &'a Chain,
    pub(super) mempool: &'a Mempool,
    pub(super) blocks: &'a Blocks,
}

/// Requests for anything other than bodies.
#[derive(Debug)]
pub(super) enum Range {
    /// Transactions of a block whose compact form the peer has.
    BlockTransactions {
        block: BlockHash,
        places: Vec<u16>,
    },
    Headers {
        locator: Vec<BlockHash>,
        stop: BlockHash,
    },
    Filters(FilterRequest),
    Proofs(ProofQuery),
    Opening(BlockHash),
    Coins(CoinQuery),
    State(RangeQuery),
    Chain(ChainQuery),
}

#[derive(Debug)]
enum Request {
    Item(Item),
    Range(Range),
}

/// A peer's requests.
#[derive(Debug, Default)]
struct Queue {
    requests: VecDeque<Request>,
    /// Number of requests that are not for single bodies.
    ranges: usize,
    /// Requested items that were not found and not reported yet.
    missing: Vec<Item>,
    /// Bytes sent since the peer was last known to have taken all.
    portion: usize,
    /// A full portion is being sent.
    flushing: bool,
}

/// All peers that have said hello.
#[derive(Debug, Default)]
pub(super) struct Server {
    queues: BTreeMap<PeerId, Queue>,
    bodies: Bodies,
    proofs: TipProofs,
    /// When the next slice is due, if a peer waits for it.
    next: Option<MonoTime>,
}

impl Server {
    pub(super) fn connected(&mut self, peer: PeerId) {
        self.queues.insert(peer, Queue::default());
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        self.queues.remove(&peer);
    }

    /// A peer requests bodies. Duplicates are answered once.
    pub(super) fn get_data(&mut self, peer: PeerId, items: Vec<Item>, out: &mut Outbox) {
        let Some(queue) = self.queues.get_mut(&peer) else { return };
        if queue.requests.len() + items.len() > MAX_WAITING {
            return out.offence(peer, Offence::RequestFlood);
        }
        let mut named = BTreeSet::new();
        queue.requests.extend(items.into_iter().filter(|item| named.insert(*item)).map(Request::Item));
    }

    /// A peer requests something else. Too long a range of filters is an offence, answered with an empty list.
    pub(super) fn get_range(&mut self, peer: PeerId, range: Range, chain: &Chain, out: &mut Outbox) {
        let Some(queue) = self.queues.get_mut(&peer) else { return };
        let is_too_long = match &range {
            Range::Filters(request) => request.is_too_long(chain),
            Range::Chain(query) => query.heights().is_none(),
            _ => false,
        };
        let is_one_too_many = queue.ranges >= MAX_WAITING_RANGES;
        if is_too_long || is_one_too_many {
            out.offence(peer, Offence::RequestFlood);
        }
        if !is_one_too_many {
            if matches!(range, Range::Chain(ChainQuery::Tip)) && self.proofs.request(chain) {
                out.event(Event::ProofDue);
            }
            queue.ranges += 1;
            queue.requests.push_back(Request::Range(range));
        }
    }

    /// The proof of the tip is made, or cannot be: those that wait for it are answered.
    pub(super) fn proof_made(&mut self, proof: Option<TipProof>) {
        self.proofs.made(proof);
        self.next = None;
    }

    /// A peer has received its portion.
    pub(super) fn flushed(&mut self, peer: PeerId) {
        if let Some(queue) = self.queues.get_mut(&peer) {
            (queue.flushing, queue.portion) = (false, 0);
        }
    }

    /// Panics if the peers are not `ready`, or a queue is beyond its bound.
    pub(super) fn assert_conserved(&self, ready: &[PeerId]) {
        assert!(self.queues.keys().eq(ready), "a queue for each peer");
        let is_bounded = |queue: &Queue| {
            queue.ranges <= MAX_WAITING_RANGES && queue.requests.len() <= MAX_WAITING + MAX_WAITING_RANGES
        };
        assert!(self.queues.values().all(is_bounded));
    }

    /// When there is more to do.
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.next
    }

    /// Answers a slice of the waiting requests, unless the next slice is not due yet.
    pub(super) fn serve(&mut self, now: Now, sources: Sources<'_>, budgets: &mut Budgets, out: &mut Outbox) {
        if self.next.is_some_and(|at| at > now.mono) {
            return;
        }
        let mut slice = Cost::ZERO;
        while slice < SLICE
            && let Some(peer) = self.next_peer(now, budgets)
            && let Some(queue) = self.queues.get_mut(&peer)
        {
            let mut turn = Cost::ZERO;
            let is_proving = self.proofs.is_due();
            while turn < TURN && queue.is_waiting(is_proving) && queue.missing.len() < MAX_INVENTORY {
                let before = meter::effort();
                let sent = queue.answer_next(peer, sources, (&mut self.bodies, &self.proofs), out);
                turn += Cost::of(meter::effort() - before) + Cost::of_request() + Cost::of_sending(sent);
            }
            turn += Cost::of_sending(queue.send_not_found(peer, out));
            budgets.charge(now, peer, turn);
            slice += turn;
        }
        let is_proving = self.proofs.is_due();
        self.next = self.queues.values().any(|queue| queue.is_waiting(is_proving)).then_some(now.mono + PAUSE);
    }

    /// The waiting peer with most budget left.
    fn next_peer(&self, now: Now, budgets: &Budgets) -> Option<PeerId> {
        let is_proving = self.proofs.is_due();
        let waiting = self.queues.iter().filter(|(_, queue)| queue.is_waiting(is_proving));
        waiting.map(|(peer, _)| *peer).max_by_key(|peer| (budgets.left(now, *peer), Reverse(*peer)))
    }
}

impl Queue {
    /// Whether something can be answered now. While a proof of the tip is made, those that asked for it wait.
    fn is_waiting(&self, is_proving: bool) -> bool {
        let is_next =
            |request: &Request| !(is_proving && matches!(request, Request::Range(Range::Chain(ChainQuery::Tip))));
        !self.flushing && self.requests.front().is_some_and(is_next)
    }

    /// Answers the next request; returns the bytes sent.
    fn answer_next(
        &mut self,
        peer: PeerId,
        sources: Sources<'_>,
        (bodies, proofs): (&mut Bodies, &TipProofs),
        out: &mut Outbox,
    ) -> usize {
        let answer = match self.requests.pop_front() {
            Some(Request::Item(item)) => {
                let found = body(&item, sources, bodies);
                if matches!(found, Ok(None)) {
                    self.missing.push(item);
                }
                found
            }
            Some(Request::Range(range)) => {
                self.ranges -= 1;
                self.range(peer, range, sources, (bodies, proofs), out)
            }
            None => Ok(None),
        };
        let answer = answer.unwrap_or_else(|error| {
            out.event(Event::StoreFailed { error: error.to_string() });
            None
        });
        answer.map_or(0, |answer| self.send(peer, answer, out))
    }

    /// Reports the items that were not found; returns the bytes sent.
    fn send_not_found(&mut self, peer: PeerId, out: &mut Outbox) -> usize {
        if self.missing.is_empty() {
            return 0;
        }
        let missing = Message::NotFound(std::mem::take(&mut self.missing));
        self.send(peer, missing.into(), out)
    }

    /// Sends a message of the portion; returns its bytes.
    fn send(&mut self, peer: PeerId, frame: Frame, out: &mut Outbox) -> usize {
        let sent = frame.payload().len();
        out.send(peer, frame);
        self.portion += sent;
        if self.portion >= PORTION_BYTES && !self.flushing {
            self.flushing = true;
            out.push(Output::Flush { peer });
        }
        sent
    }

    fn range(
        &mut self,
        peer: PeerId,
        range: Range,
        sources: Sources<'_>,
        (bodies, proofs): (&mut Bodies, &TipProofs),
        out: &mut Outbox,
    ) -> Result<Option<Frame>, StoreError> {
        Ok(match range {
            Range::Headers { locator, stop } => {
                let chain = sources.chain;
                let found = chain.headers_after(&locator, &stop, MAX_HEADERS);
                Some(found.map_or_else(|(from, end)| Message::NoHeaders { from, end }, Message::Headers).into())
            }
            Range::Filters(request) => Some(request.answer(sources.chain, out).into()),
            Range::Proofs(query) => Some(Message::Proofs(prover::answer(query, sources.chain)?).into()),
            Range::Opening(block) => {
                let opening = opening(&block, sources.chain, bodies)?.map(Box::new);
                Some(Message::Opening { block, opening }.into())
            }
            Range::Coins(query) => Some(Message::Coins(coin_prover::answer(query, sources.chain)?).into()),
            Range::State(query) => Some(Message::StateRange(RangeAnswer::to(query, sources.chain)?).into()),
            Range::Chain(query) => Some(proofs.answer(query, sources.chain)?),
            Range::BlockTransactions { block, places } => {
                let found = block_transactions(peer, block, &places, sources, bodies, out)?;
                // A bad request is an offence, and has no answer.
                if found.is_none() && stored(&block, sources.chain).is_none() {
                    self.missing.push(Item::Block(block));
                }
                found
            }
        })
    }
}

fn body(item: &Item, sources: Sources<'_>, bodies: &mut Bodies) -> Result<Option<Frame>, StoreError> {
    let Sources { chain, mempool, blocks } = sources;
    Ok(match item {
        Item::Transaction(txid) => {
            mempool.get(txid).map(|entry| Message::Transaction(entry.tx.shared().clone()).into())
        }
        Item::CompactBlock(hash) if let Some(newest) = blocks.newest(hash) => Some(newest.compact.clone()),
        Item::Block(hash) | Item::CompactBlock(hash) => match (item, stored(hash, chain)) {
            (_, None) => None,
            (Item::CompactBlock(_), Some(at)) if is_within(COMPACT_DEPTH, &at, chain) => {
                bodies.compact(&at, chain.db(), blocks)?
            }
            (Item::Block(_), Some(at)) if is_within(TRANSACTIONS_DEPTH, &at, chain) => bodies.whole(&at, chain.db())?,
            (_, Some(at)) => chain.db().raw_block(&at)?.map(Frame::of_block),
        },
    })
}

/// What a block's coinbase commits to. Only recent blocks are read through the cache, so that old ones do not displace them.
fn opening(hash: &BlockHash, chain: &Chain, bodies: &mut Bodies) -> Result<Option<Opening>, StoreError> {
    let Some(at) = stored(hash, chain) else { return Ok(None) };
    let block = if is_within(TRANSACTIONS_DEPTH, &at, chain) {
        bodies.block(&at, chain.db())?
    } else {
        chain.db().block(&at)?.map(Arc::new)
    };
    block.map_or(Ok(None), |block| coin_prover::opening(&at, &block, chain))
}

/// A block whose body is stored.
fn stored(hash: &BlockHash, chain: &Chain) -> Option<BlockKey> {
    let tree = chain.tree();
    tree.entry(hash).filter(|entry| tree.has_body(entry)).map(|entry| entry.key())
}

/// Whether a block is one of the last few.
fn is_within(depth: u32, at: &BlockKey, chain: &Chain) -> bool {
    at.height.saturating_add(depth) > chain.tip().height
}

/// Transactions of a block, or all of it if it is an old one.
fn block_transactions(
    peer: PeerId,
    hash: BlockHash,
    places: &[u16],
    sources: Sources<'_>,
    bodies: &mut Bodies,
    out: &mut Outbox,
) -> Result<Option<Frame>, StoreError> {
    let Sources { chain, blocks, .. } = sources;
    let is_sorted = places.is_sorted_by(|a, b| a < b);
    let at = stored(&hash, chain);
    // The newest block may have been pushed and not be stored yet.
    let read;
    let block = match blocks.newest(&hash) {
        Some(newest) => newest.block.block(),
        None if !is_sorted => {
            out.offence(peer, Offence::BadPlaces);
            return Ok(None);
        }
        None => match at {
            None => return Ok(None),
            Some(at) if !is_within(TRANSACTIONS_DEPTH, &at, chain) => {
                return Ok(chain.db().raw_block(&at)?.map(Frame::of_block));
            }
            Some(at) => match bodies.block(&at, chain.db())? {
                Some(block) => {
                    read = block;
                    &*read
                }
                None => return Ok(None),
            },
        },
    };
    let last = places.last().map_or(0, |place| usize::from(*place));
    if !is_sorted || last >= block.transactions.len() {
        out.offence(peer, Offence::BadPlaces);
        return Ok(None);
    }
    let of = |place: &u16| block.transactions.get(usize::from(*place)).cloned().map(Arc::new);
    let transactions = places.iter().filter_map(of).collect();
    Ok(Some(Message::BlockTransactions { block: hash, transactions }.into()))
}
