//! Block download: a window of missing bodies moves up the best branch, and each body is requested from one peer at a
//! time. Near the tip a single block is requested in compact form, and its timers run until it is complete. A peer on
//! another branch with more work than the active chain is asked for that branch's bodies: a peer that withholds the
//! bodies of the best headers must not keep the node from the rest.
//!
//! Peers that deliver fast get more requests at a time. The requests of a peer that stalls are reassigned, and after
//! two stalls it is disconnected.

mod schedule;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::chain::{Chain, Run};
use crate::mempool::Recent;
use crate::p2p::archive::Runs;
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::interface::Reason;
use crate::p2p::message::{Hello, SERVICE_PRUNED};
use crate::p2p::outbox::Outbox;
use crate::p2p::sync::HeaderSync;
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::primitives::time::MonoTime;

/// Heights above the last block in common with the best header that may be asked for: what may have to be stored before
/// it can be connected.
pub const WINDOW: u32 = 1_024;
/// Blocks that a peer is asked for at once, at first.
pub const START_LIMIT: usize = 16;
/// Most blocks that a peer is asked for at once.
pub const MAX_LIMIT: usize = 256;
/// Fewest.
const MIN_LIMIT: usize = 4;
/// Time in which a block is delivered fast: more of them may be under way.
const FAST_DELIVERY: Duration = Duration::from_secs(1);
/// Time without any delivery after which a peer stalls: the largest block over a slow line takes less.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(8);
/// Time for which the lowest block may hold up all others when another peer has it.
pub const FRONT_TIMEOUT: Duration = Duration::from_secs(3);
/// Stalls after which a peer is disconnected.
const MAX_STALLS: u32 = 2;
/// Time for which a peer that stalled is asked only if no other has the block.
const COLD_TIME: Duration = Duration::from_secs(10);
/// Most blocks whose senders are remembered.
const MAX_SENDERS: usize = 2 * WINDOW as usize;
/// Most remembered blocks whose compact form could not be reconstructed.
const MAX_UNRECONSTRUCTED: usize = 64;

/// A block asked for.
#[derive(Debug)]
struct Request {
    peer: PeerId,
    height: Height,
    since: MonoTime,
    /// Compact forms that are still accepted.
    compacts: u8,
}

/// The blocks that a peer says that it has.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    from: Height,
    /// Height of its tip when it said hello, if it prunes.
    pruned_at: Option<Height>,
    /// Runs of lower blocks.
    archived: Runs,
}

impl Kept {
    pub(super) fn by(hello: &Hello) -> Self {
        let is_pruned = hello.services & SERVICE_PRUNED != 0;
        let from = if is_pruned { hello.bodies_from } else { Height::GENESIS };
        Self { from, pruned_at: is_pruned.then_some(hello.tip.height), archived: Runs::default() }
    }

    /// The lowest block that it can be relied on to have, now that its best header is at `best`: while its chain grows it
    /// prunes as many blocks.
    pub(super) fn lowest(&self, best: Height) -> Height {
        self.from.saturating_add(self.pruned_at.map_or(0, |tip| best.blocks_since(tip)))
    }
}

/// The blocks that a peer has while its best header stays.
struct Available<'a> {
    /// The lowest block of the recent run that it keeps.
    lowest: Height,
    /// Runs of lower blocks.
    archived: Option<&'a Runs>,
    /// Blocks per epoch.
    epoch: u32,
}

impl Available<'_> {
    fn has(&self, height: Height) -> bool {
        let is_archived = |runs: &Runs| runs.has(Run::of(height, self.epoch));
        height >= self.lowest || self.archived.is_some_and(is_archived)
    }
}

/// A peer that blocks can be asked from.
#[derive(Debug)]
struct Source {
    kept: Kept,
    limit: usize,
    in_flight: usize,
    /// When it last delivered, or was asked after a pause.
    progress: MonoTime,
    stalls: u32,
    /// It held up blocks and has not delivered one since.
    is_holding_up: bool,
    /// Until when it is only asked if there is no other, since it stalled or failed.
    penalised_until: Option<MonoTime>,
}

impl Source {
    fn penalise(&mut self, now: Now) {
        self.is_holding_up = true;
        self.penalised_until = Some(now.mono + COLD_TIME);
    }
}

/// Whether a received block was requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// Asked from this peer.
    Requested,
    /// Requested from another peer by now, or not at all.
    Unrequested,
}

/// What decides which peer has which blocks, apart from the download itself: how often the best header of a peer has changed,
/// the tip, and the best header.
type Basis = (u64, BlockHash, BlockHash);

/// Missing and requested blocks.
#[derive(Debug)]
pub(super) struct Download {
    /// Missing and not requested, lowest first.
    wanted: VecDeque<(BlockHash, Height)>,
    requests: BTreeMap<BlockHash, Request>,
    sources: BTreeMap<PeerId, Source>,
    /// Whether there may be more missing than `wanted` says.
    stale: bool,
    /// Whether anything here has changed since [`Download::schedule`] last looked.
    changed: bool,
    /// The headers by which it last did.
    basis: Option<Basis>,
    /// Deliveries since `wanted` was filled.
    delivered: u32,
    /// Senders of recent blocks, to blame if one is invalid; oldest first.
    senders: VecDeque<(BlockHash, PeerId)>,
    /// Blocks to request whole.
    whole: Recent<BlockHash>,
    /// The lowest missing block that no peer has.
    lacking: Option<Height>,
    /// Blocks of an epoch.
    epoch: u32,
}

impl Download {
    pub(super) fn new(epoch: u32) -> Self {
        Self {
            epoch,
            wanted: VecDeque::new(),
            requests: BTreeMap::new(),
            sources: BTreeMap::new(),
            stale: false,
            changed: false,
            basis: None,
            delivered: 0,
            senders: VecDeque::new(),
            whole: Recent::new(MAX_UNRECONSTRUCTED),
            lacking: None,
        }
    }

    pub(super) fn connected(&mut self, peer: PeerId, kept: Kept) {
        let source = Source {
            kept,
            limit: START_LIMIT,
            in_flight: 0,
            progress: MonoTime::START,
            stalls: 0,
            is_holding_up: false,
            penalised_until: None,
        };
        self.sources.insert(peer, source);
        self.changed = true;
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        self.release(peer);
        self.sources.remove(&peer);
        self.changed = true;
    }

    /// A peer says which runs of old blocks it has.
    pub(super) fn archived(&mut self, peer: PeerId, runs: Runs) {
        if let Some(source) = self.sources.get_mut(&peer).filter(|source| source.kept.archived != runs) {
            source.kept.archived = runs;
            self.changed = true;
        }
    }

    /// What a peer has, now that its best header is at `best`.
    fn available<'a>(&self, kept: &'a Kept, best: Height) -> Available<'a> {
        Available { lowest: kept.lowest(best), archived: Some(&kept.archived), epoch: self.epoch }
    }

    /// Peers that say that they have a run of old blocks.
    pub(super) fn keepers(&self, run: Run) -> impl Iterator<Item = PeerId> {
        let has = move |kept: &Kept| kept.archived.has(run) || kept.pruned_at.is_none() && kept.from == Height::GENESIS;
        self.sources.iter().filter(move |(_, source)| has(&source.kept)).map(|(peer, _)| *peer)
    }

    /// The lowest missing block that no peer has.
    pub(super) fn lacking(&self) -> Option<Height> {
        self.lacking
    }

    /// Peers that archive, and are asked for nothing and have nothing that is to be asked for: each with the lowest block that it
    /// has of the last ones, and the block that is needed.
    pub(super) fn idle(&self) -> Vec<(PeerId, Height, Height)> {
        let Some((_, needed)) = self.wanted.front().copied() else { return Vec::new() };
        let has_some = |kept: &Kept| {
            let available = self.available(kept, Height::GENESIS);
            self.wanted.iter().any(|(_, height)| available.has(*height))
        };
        let is_idle =
            |source: &Source| source.in_flight == 0 && !source.kept.archived.is_empty() && !has_some(&source.kept);
        let idle = self.sources.iter().filter(|(_, source)| is_idle(source));
        idle.map(|(peer, source)| (*peer, source.kept.from, needed)).collect()
    }

    /// The best header changed, or the blocks that lead to it.
    pub(super) fn refresh(&mut self) {
        self.wanted.clear();
        (self.stale, self.changed) = (true, true);
    }

    /// A block came from a peer.
    pub(super) fn received(&mut self, now: Now, peer: PeerId, hash: &BlockHash) -> Delivery {
        let mut delivery = Delivery::Unrequested;
        if let Some(request) = self.requests.remove(hash) {
            if let Some(source) = self.sources.get_mut(&request.peer) {
                source.in_flight = source.in_flight.saturating_sub(1);
            }
            if request.peer == peer {
                delivery = Delivery::Requested;
            }
            if let Some(source) = self.sources.get_mut(&peer) {
                source.progress = now.mono;
                (source.stalls, source.is_holding_up) = (0, false);
                let took = now.mono.saturating_since(request.since);
                source.limit =
                    if took <= FAST_DELIVERY { source.limit + 1 } else { source.limit - 1 }.clamp(MIN_LIMIT, MAX_LIMIT);
            }
        }
        self.wanted.retain(|(wanted, _)| wanted != hash);
        self.delivered += 1;
        self.changed = true;
        self.senders.push_back((*hash, peer));
        if self.senders.len() > MAX_SENDERS {
            self.senders.pop_front();
        }
        delivery
    }

    /// Whether a block is or will be requested.
    pub(super) fn wants(&self, hash: &BlockHash) -> bool {
        self.requests.contains_key(hash) || self.wanted.iter().any(|(wanted, _)| wanted == hash)
    }

    /// Whether a peer may send a block's compact form in answer to a request. Matching one scans the mempool, so each
    /// request allows a bounded number.
    pub(super) fn take_compact(&mut self, peer: PeerId, hash: &BlockHash) -> bool {
        let request = self.requests.get_mut(hash).filter(|request| request.peer == peer);
        let Some(request) = request.filter(|request| request.compacts > 0) else { return false };
        request.compacts -= 1;
        true
    }

    /// A peer pushed a compact block: counts as requested from it, unless the block was already requested.
    pub(super) fn pushed(&mut self, now: Now, peer: PeerId, hash: BlockHash, height: Height) {
        if let Some(source) = self.sources.get_mut(&peer)
            && !self.requests.contains_key(&hash)
        {
            if source.in_flight == 0 {
                source.progress = now.mono;
            }
            source.in_flight += 1;
            self.requests.insert(hash, Request { peer, height, since: now.mono, compacts: 0 });
            self.wanted.retain(|(wanted, _)| *wanted != hash);
            self.changed = true;
        }
    }

    /// A compact block could not be reconstructed: the block is requested whole, from this peer or another.
    pub(super) fn request_whole(&mut self, hash: BlockHash) {
        if let Some(request) = self.requests.remove(&hash)
            && let Some(source) = self.sources.get_mut(&request.peer)
        {
            source.in_flight = source.in_flight.saturating_sub(1);
        }
        self.whole.insert(hash);
        self.refresh();
    }

    /// Clears the sender of a block, which is then not blamed for it.
    pub(super) fn forget_sender(&mut self, hash: &BlockHash) {
        self.senders.retain(|(sent, _)| sent != hash);
    }

    /// The sender of a block.
    pub(super) fn sender_of(&self, hash: &BlockHash) -> Option<PeerId> {
        self.senders.iter().rev().find(|(sent, _)| sent == hash).map(|(_, peer)| *peer)
    }

    /// A peer does not have a requested block, so none below either.
    pub(super) fn not_found(&mut self, now: Now, peer: PeerId, hash: &BlockHash) {
        let height = self.failed(now, peer, hash);
        if let (Some(height), Some(source)) = (height, self.sources.get_mut(&peer)) {
            source.kept.from = source.kept.from.max(height.next());
        }
    }

    /// A peer does not have a run, whatever it said.
    pub(super) fn lacks(&mut self, peer: PeerId, run: Run) {
        if let Some(source) = self.sources.get_mut(&peer) {
            source.kept.archived.remove(run);
        }
    }

    /// A peer does not have a block, or sent another body for it. Returns the block's height, if it was requested from the peer.
    pub(super) fn failed(&mut self, now: Now, peer: PeerId, hash: &BlockHash) -> Option<Height> {
        let height = self.requests.get(hash).filter(|request| request.peer == peer).map(|request| request.height);
        if let Some(height) = height {
            self.requests.remove(hash);
            if let Some(source) = self.sources.get_mut(&peer) {
                source.in_flight = source.in_flight.saturating_sub(1);
            }
            self.lacks(peer, Run::of(height, self.epoch));
        }
        if let Some(source) = self.sources.get_mut(&peer) {
            source.penalised_until = Some(now.mono + COLD_TIME);
        }
        self.refresh();
        height
    }

    /// Cancels all requests to a peer.
    fn release(&mut self, peer: PeerId) {
        let before = self.requests.len();
        self.requests.retain(|_, request| request.peer != peer);
        if self.requests.len() < before {
            self.refresh();
        }
        if let Some(source) = self.sources.get_mut(&peer) {
            source.in_flight = 0;
        }
    }

    /// Blocks under way.
    pub(super) fn requested(&self) -> usize {
        self.requests.len()
    }

    /// Panics if the peers are not `ready`, the requests are not those in flight with the peers, or a queue is beyond its
    /// bound.
    pub(super) fn assert_conserved(&self, ready: &[PeerId]) {
        let Self {
            wanted,
            requests,
            sources,
            stale: _,
            delivered: _,
            senders,
            whole: _,
            changed: _,
            basis: _,
            lacking: _,
            epoch: _,
        } = self;
        assert!(sources.keys().eq(ready), "a source for each peer");
        let mut in_flight: BTreeMap<PeerId, usize> = BTreeMap::new();
        requests.values().for_each(|request| *in_flight.entry(request.peer).or_default() += 1);
        let counted = sources.iter().map(|(peer, source)| (*peer, source.in_flight));
        assert!(
            counted.filter(|(_, count)| *count > 0).eq(in_flight),
            "requests and blocks in flight with their peers"
        );
        assert!(wanted.len() <= WINDOW as usize && senders.len() <= MAX_SENDERS);
    }

    /// Extend all deadlines by a span.
    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        for Request { since, peer: _, height: _, compacts: _ } in self.requests.values_mut() {
            *since += by;
        }
        // The time of a penalty does not change.
        for Source { progress, penalised_until: _, limit: _, in_flight: _, stalls: _, is_holding_up: _, kept: _ } in
            self.sources.values_mut()
        {
            *progress += by;
        }
    }

    pub(super) fn tick(&mut self, now: Now, chain: &Chain, sync: &HeaderSync, out: &mut Outbox) {
        for source in self.sources.values_mut() {
            source.penalised_until.take_if(|until| *until <= now.mono);
        }
        let stalled = |source: &Source| source.in_flight > 0 && source.progress + STALL_TIMEOUT <= now.mono;
        let stalled: Vec<PeerId> = self.sources.iter().filter(|(_, s)| stalled(s)).map(|(peer, _)| *peer).collect();
        for peer in stalled {
            self.release(peer);
            if let Some(source) = self.sources.get_mut(&peer) {
                source.stalls += 1;
                source.limit = MIN_LIMIT;
                source.penalise(now);
                if source.stalls >= MAX_STALLS {
                    out.close(peer, Reason::Stalled);
                }
            }
        }
        // The lowest block holds up the window: another peer that has it gets the request.
        if let Some((peer, height)) = self.overdue_lowest(now) {
            if self.others_have(now, peer, height, chain, sync) {
                self.release(peer);
                if let Some(source) = self.sources.get_mut(&peer) {
                    source.limit = (source.limit / 2).max(MIN_LIMIT);
                    source.penalise(now);
                }
            } else if let Some(front) = self.requests.values_mut().min_by_key(|request| request.height) {
                // No other peer has it: check again later.
                front.since = now.mono;
            }
        }
        // Time alone may have brought a peer back.
        self.changed = true;
    }

    fn front(&self) -> Option<&Request> {
        self.requests.values().min_by_key(|request| request.height).filter(|_| self.wanted.is_empty())
    }

    fn overdue_lowest(&self, now: Now) -> Option<(PeerId, Height)> {
        let front = self.front()?;
        (front.since + FRONT_TIMEOUT <= now.mono).then_some((front.peer, front.height))
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        let busy = self.sources.values().filter(|source| source.in_flight > 0);
        let stall = busy.map(|source| source.progress + STALL_TIMEOUT).min();
        let front = self.front().map(|front| front.since + FRONT_TIMEOUT);
        // A peer that stalled may be the only one.
        let cold = (!self.wanted.is_empty())
            .then(|| self.sources.values().filter_map(|source| source.penalised_until).min())
            .flatten();
        [stall, front, cold].into_iter().flatten().min()
    }

    /// Heights of the blocks that a peer was asked for, lowest first.
    pub(super) fn in_flight(&self, peer: PeerId) -> Vec<Height> {
        let mut heights: Vec<Height> =
            self.requests.values().filter(|request| request.peer == peer).map(|request| request.height).collect();
        heights.sort_unstable();
        heights
    }
}
