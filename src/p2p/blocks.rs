//! Relay of compact blocks (BIP-152): which peers push them, and blocks with missing transactions.
//!
//! Each node asks up to three peers to push new blocks immediately: those that recently delivered one first. All other
//! peers announce headers, and are asked for compact blocks. A block with missing transactions is kept while they are
//! requested from the peer that sent it first. If several pushed it, the next is asked after twice its round trip
//! ([`PATIENCE`] to [`MAX_PATIENCE`]), so that a peer that withholds them delays little. [`super::download`] has the block's
//! time-outs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::consensus::check::MatchedBlock;
use crate::mempool::Recent;
use crate::p2p::compact::{CompactBlock, Partial};
use crate::p2p::connection::{Direction, Now, PeerId};
use crate::p2p::frame::Frame;
use crate::p2p::message::Message;
use crate::p2p::outbox::Outbox;
use crate::primitives::block::Block;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::time::MonoTime;

/// Most peers that are asked to push (BIP-152): among three, one slow peer does not matter.
pub const MAX_PUSHERS: usize = 3;
/// Depth from the tip down to which blocks are sent in compact form; older ones, whose transactions are in no mempool,
/// are sent whole (BIP-152 and Bitcoin Core).
pub const COMPACT_DEPTH: u32 = 5;
/// Blocks from the tip down whose transactions are sent one by one; an older block is sent whole (BIP-152, Bitcoin Core).
pub const TRANSACTIONS_DEPTH: u32 = 10;
/// How far above the tip a block may be to be wanted in compact form. Farther up, at the first synchronisation, nothing of
/// it is at hand.
pub const MAX_AHEAD: u32 = 2;
/// Least time to wait for a block's missing transactions before another peer that pushed it is asked, too. Asking all at once
/// would bring a block whose payments are new as often as it was pushed.
pub const PATIENCE: Duration = Duration::from_millis(100);
/// The longest. Between them it is twice the peer's fastest round trip.
pub const MAX_PATIENCE: Duration = Duration::from_millis(500);
/// Most peers that may be asked for transactions of one block.
pub const MAX_PARTIALS_OF_BLOCK: usize = 3;
/// Most blocks whose transactions may be requested from one peer.
pub const MAX_PARTIALS_OF_PEER: usize = 2;
/// Most incomplete blocks kept. Each takes at most a block's memory; the oldest is dropped for a new one.
pub const MAX_PARTIALS: usize = 8;
/// Requests for transactions of a block remembered of each peer, whose answers may come after the block did.
const MAX_AWAITED: usize = 8;
/// Blocks remembered of each peer whose compact form it sent.
const MAX_SENT: usize = 8;

/// A peer that has said hello.
#[derive(Debug)]
struct State {
    direction: Direction,
    /// It wants new blocks pushed.
    wants: bool,
    /// Blocks whose compact form it sent.
    sent: Recent<BlockHash>,
    /// Blocks whose transactions were requested from it and have not arrived.
    awaiting_answer: VecDeque<BlockHash>,
}

/// A block with missing transactions, as one peer sent it.
#[derive(Debug)]
struct Incomplete {
    from: PeerId,
    hash: BlockHash,
    partial: Partial,
    /// When the peer was asked for what is missing, if it was.
    asked: Option<MonoTime>,
    /// How long its answer is waited for.
    patience: Duration,
}

/// The newest block, as long as peers are told of it.
#[derive(Debug)]
pub(super) struct Newest {
    pub(super) hash: BlockHash,
    pub(super) block: MatchedBlock,
    pub(super) compact: Frame,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Blocks {
    peers: BTreeMap<PeerId, State>,
    /// Peers asked to push, most recent deliverer first.
    pushers: Vec<PeerId>,
    /// Oldest first.
    partials: VecDeque<Incomplete>,
    newest: Option<Newest>,
    /// Keys short ids together with the header: the key differs for each block and each node, so that a collision
    /// affects only one node's compact block.
    nonce: u64,
}

impl Blocks {
    pub(super) fn new(nonce: u64) -> Self {
        let (peers, pushers, partials) = (BTreeMap::new(), Vec::new(), VecDeque::new());
        Self { peers, pushers, partials, newest: None, nonce }
    }

    pub(super) fn connected(&mut self, peer: PeerId, direction: Direction) {
        let (sent, awaiting_answer) = (Recent::new(MAX_SENT), VecDeque::new());
        self.peers.insert(peer, State { direction, wants: false, sent, awaiting_answer });
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        self.peers.remove(&peer);
        self.pushers.retain(|pusher| *pusher != peer);
        self.partials.retain(|incomplete| incomplete.from != peer);
    }

    /// A peer says whether it wants new blocks pushed.
    pub(super) fn send_compact(&mut self, peer: PeerId, wants: bool) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.wants = wants;
        }
    }

    /// Peers that want new blocks pushed.
    pub(super) fn push_receivers(&self) -> impl Iterator<Item = PeerId> {
        self.peers.iter().filter(|(_, state)| state.wants).map(|(peer, _)| *peer)
    }

    /// Peers asked to push, most recent deliverer first.
    pub(super) fn pushers(&self) -> &[PeerId] {
        &self.pushers
    }

    /// Notes that a peer sent the compact form of a block; `false` if it did before.
    pub(super) fn record_compact(&mut self, peer: PeerId, hash: BlockHash) -> bool {
        self.peers.get_mut(&peer).is_some_and(|state| state.sent.insert(hash))
    }

    /// A peer delivered a new tip first: it is asked to push from now on, in place of the least recent deliverer. One
    /// outbound peer stays among the pushers, since all inbound peers may belong to one attacker.
    pub(super) fn delivered(&mut self, peer: PeerId, out: &mut Outbox) {
        if let Some(place) = self.pushers.iter().position(|pusher| *pusher == peer) {
            return self.pushers[..=place].rotate_right(1);
        }
        if !self.peers.contains_key(&peer) {
            return;
        }
        out.send(peer, Message::SendCompact(true));
        self.pushers.insert(0, peer);
        if self.pushers.len() > MAX_PUSHERS {
            let dialled =
                |peer: &PeerId| self.peers.get(peer).is_some_and(|state| state.direction == Direction::Outbound);
            let is_last_dialled =
                dialled(&self.pushers[MAX_PUSHERS]) && !self.pushers[..MAX_PUSHERS].iter().any(dialled);
            let gone = self.pushers.remove(if is_last_dialled { MAX_PUSHERS - 1 } else { MAX_PUSHERS });
            out.send(gone, Message::SendCompact(false));
        }
    }

    /// Requests a block's missing transactions from a peer, unless enough peers may be asked for the block, or the peer
    /// for other blocks. While another peer's answer is expected, the request waits.
    pub(super) fn ask(
        &mut self,
        now: Now,
        (peer, round_trip): (PeerId, Option<Duration>),
        (hash, partial): (BlockHash, Partial),
        out: &mut Outbox,
    ) {
        if !self.peers.contains_key(&peer) {
            return;
        }
        // A repeated request asks for what is missing now.
        self.partials.retain(|other| (other.from, other.hash) != (peer, hash));
        let of_block = self.partials.iter().filter(|other| other.hash == hash).count();
        let of_peer = self.partials.iter().filter(|other| other.from == peer).count();
        if of_block >= MAX_PARTIALS_OF_BLOCK || of_peer >= MAX_PARTIALS_OF_PEER {
            return;
        }
        if self.partials.len() >= MAX_PARTIALS {
            self.partials.pop_front();
        }
        let patience = (2 * round_trip.unwrap_or_default()).clamp(PATIENCE, MAX_PATIENCE);
        self.partials.push_back(Incomplete { from: peer, hash, partial, asked: None, patience });
        self.tick(now, out);
    }

    /// Asks the next peer for each block whose transactions no peer has been asked for lately.
    pub(super) fn tick(&mut self, now: Now, out: &mut Outbox) {
        while let Some(next) = self.partials.iter().position(|next| self.due(next).is_some_and(|due| due <= now.mono)) {
            let Incomplete { from, hash, partial, asked, patience: _ } = &mut self.partials[next];
            *asked = Some(now.mono);
            let Some(state) = self.peers.get_mut(from) else { continue };
            if state.awaiting_answer.len() >= MAX_AWAITED {
                state.awaiting_answer.pop_front();
            }
            state.awaiting_answer.push_back(*hash);
            out.send(*from, Message::GetBlockTransactions { block: *hash, places: partial.missing().to_vec() });
        }
    }

    /// When to ask the peer of an incomplete block, unless it was asked.
    fn due(&self, next: &Incomplete) -> Option<MonoTime> {
        let of_block = self.partials.iter().filter(|other| other.hash == next.hash);
        let until = of_block.filter_map(|other| Some(other.asked? + other.patience)).max();
        next.asked.is_none().then(|| until.unwrap_or(MonoTime::START))
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.partials.iter().filter_map(|next| self.due(next)).min()
    }

    /// Extend all deadlines by a span.
    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        for asked in self.partials.iter_mut().filter_map(|incomplete| incomplete.asked.as_mut()) {
            *asked += by;
        }
    }

    /// A peer sent transactions of a block. `None` if it was not asked; `Some(None)` if the block came from another
    /// peer meanwhile.
    pub(super) fn take_partial(&mut self, peer: PeerId, hash: &BlockHash) -> Option<Option<Partial>> {
        let awaiting_answer = &mut self.peers.get_mut(&peer)?.awaiting_answer;
        awaiting_answer.remove(awaiting_answer.iter().position(|block| block == hash)?);
        let place = self.partials.iter().position(|other| (other.from, other.hash) == (peer, *hash));
        Some(place.and_then(|place| self.partials.remove(place)).map(|incomplete| incomplete.partial))
    }

    /// A block is complete: forgets its partial copies.
    pub(super) fn complete(&mut self, hash: &BlockHash) {
        self.partials.retain(|other| other.hash != *hash);
    }

    /// Panics if the peers are not `ready`, or a queue is beyond its bound.
    pub(super) fn assert_conserved(&self, ready: &[PeerId]) {
        let Self { peers, pushers, partials, newest: _, nonce: _ } = self;
        assert!(peers.keys().eq(ready), "a state for each peer");
        assert!(pushers.len() <= MAX_PUSHERS && pushers.iter().all(|peer| peers.contains_key(peer)), "{pushers:?}");
        assert!(partials.len() <= MAX_PARTIALS && partials.iter().all(|other| peers.contains_key(&other.from)));
        assert!(peers.values().all(|state| state.awaiting_answer.len() <= MAX_AWAITED));
    }

    /// Number of blocks with missing transactions.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.partials.len()
    }

    /// Makes and keeps the compact form of the newest block. `also` are places of transactions that this node lacked,
    /// and other nodes may lack too.
    pub(super) fn publish(&mut self, block: MatchedBlock, also: &[u16]) {
        let compact = self.compact(block.block(), block.txids(), also);
        self.newest = Some(Newest { hash: block.hash(), block, compact });
    }

    /// The compact form of a block as this node makes it.
    pub(super) fn compact(&self, block: &Block, txids: &[Txid], also: &[u16]) -> Frame {
        Message::CompactBlock(Arc::new(CompactBlock::new(block, txids, self.nonce, also))).into()
    }

    /// The newest block, if it is the one of this hash.
    pub(super) fn newest(&self, hash: &BlockHash) -> Option<&Newest> {
        self.newest.as_ref().filter(|newest| newest.hash == *hash)
    }

    /// A block turned out to be invalid: it is no longer relayed.
    pub(super) fn retract(&mut self, hash: &BlockHash) {
        self.newest.take_if(|newest| newest.hash == *hash);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::params::{GenesisSpec, Params};
    use crate::p2p::compact::ShortId;
    use crate::p2p::interface::Output;
    use crate::primitives::time::UnixTime;

    /// Peers 1 to 9; `dialled` are outbound.
    fn nine(dialled: &[u64]) -> (Blocks, Outbox) {
        let mut blocks = Blocks::new(1);
        for peer in 1..=9 {
            let direction = if dialled.contains(&peer) { Direction::Outbound } else { Direction::Inbound };
            blocks.connected(PeerId(peer), direction);
        }
        (blocks, Outbox::default())
    }

    fn sent_compacts(out: &mut Outbox) -> Vec<(u64, bool)> {
        let told = out.drain().filter_map(|output| match output {
            Output::Send { peer, frame } => match frame.message() {
                Ok(Message::SendCompact(push)) => Some((peer.0, push)),
                _ => None,
            },
            _ => None,
        });
        told.collect()
    }

    fn pushers(blocks: &Blocks) -> Vec<u64> {
        blocks.pushers().iter().map(|peer| peer.0).collect()
    }

    #[test]
    fn the_last_three_to_deliver_push() {
        let (mut blocks, mut out) = nine(&[1, 2, 3, 4, 5]);
        [1, 2, 3, 1].into_iter().for_each(|peer| blocks.delivered(PeerId(peer), &mut out));
        assert_eq!((pushers(&blocks), sent_compacts(&mut out)), (vec![1, 3, 2], vec![(1, true), (2, true), (3, true)]));
        blocks.delivered(PeerId(4), &mut out);
        assert_eq!((pushers(&blocks), sent_compacts(&mut out)), (vec![4, 1, 3], vec![(4, true), (2, false)]));
        blocks.disconnected(PeerId(1));
        blocks.delivered(PeerId(5), &mut out);
        assert_eq!((pushers(&blocks), sent_compacts(&mut out)), (vec![5, 4, 3], vec![(5, true)]));
    }

    #[test]
    fn one_that_was_dialled_stays() {
        let (mut blocks, mut out) = nine(&[1, 2]);
        [1, 3, 4, 5, 6].into_iter().for_each(|peer| blocks.delivered(PeerId(peer), &mut out));
        assert_eq!(pushers(&blocks), [6, 5, 1]);
        [2, 7, 8].into_iter().for_each(|peer| blocks.delivered(PeerId(peer), &mut out));
        assert_eq!(pushers(&blocks), [8, 7, 2]);
    }

    /// A block that lacks one transaction.
    fn partial() -> Partial {
        let genesis = Params::new(GenesisSpec::regtest()).unwrap().genesis;
        let mut compact = CompactBlock::new(&genesis, &genesis.txids(), 1, &[]);
        compact.short_ids.push(ShortId([1; 6]));
        Partial::new(&compact, []).unwrap()
    }

    fn at(millis: u64) -> Now {
        Now { mono: MonoTime::from_millis(millis), unix: UnixTime::EPOCH }
    }

    fn hash(n: u64) -> BlockHash {
        BlockHash::of(&n.to_le_bytes())
    }

    /// The peers that are asked for a block's transactions.
    fn asked(out: &mut Outbox) -> Vec<u64> {
        let to = |output: Output| match output {
            Output::Send { peer, frame } => {
                assert!(matches!(frame.message(), Ok(Message::GetBlockTransactions { .. })));
                peer.0
            }
            other => panic!("{other:?}"),
        };
        out.drain().map(to).collect()
    }

    #[test]
    fn one_peer_is_asked_at_a_time_and_the_next_if_it_is_slow_or_gone() {
        let (mut blocks, mut out) = nine(&[]);
        let patience = PATIENCE.as_millis() as u64;
        for peer in 1..=3 {
            blocks.ask(at(1_000 + peer), (PeerId(peer), None), (hash(0), partial()), &mut out);
        }
        assert_eq!(asked(&mut out), [1]);
        let second = MonoTime::from_millis(1_001 + patience);
        assert_eq!(blocks.deadline(), Some(second));
        blocks.tick(at(1_000 + patience), &mut out);
        assert!(asked(&mut out).is_empty());
        blocks.extend_deadlines(Duration::from_millis(10));
        assert_eq!(blocks.deadline(), Some(second + Duration::from_millis(10)));
        blocks.tick(at(1_011 + patience), &mut out);
        assert_eq!(asked(&mut out), [2]);
        blocks.disconnected(PeerId(1));
        blocks.tick(at(1_012 + patience), &mut out);
        assert!(asked(&mut out).is_empty(), "the second has its time");
        blocks.disconnected(PeerId(2));
        assert_eq!(blocks.deadline(), Some(MonoTime::START));
        blocks.tick(at(1_012 + patience), &mut out);
        assert_eq!(asked(&mut out), [3]);
        assert_eq!(blocks.deadline(), None);
        // Another block does not wait for this one.
        let far = Some(Duration::from_millis(patience));
        blocks.ask(at(1_013 + patience), (PeerId(4), far), (hash(1), partial()), &mut out);
        assert_eq!(asked(&mut out), [4]);
        // A peer that is far away has longer.
        blocks.ask(at(1_014 + patience), (PeerId(5), None), (hash(1), partial()), &mut out);
        assert_eq!(blocks.deadline(), Some(MonoTime::from_millis(1_013 + 3 * patience)));
    }

    #[test]
    fn missing_transactions_are_bounded_by_block_peer_and_total() {
        let (mut blocks, mut out) = nine(&[]);
        let mut now = 0;
        // Long after the others, so that it need not wait.
        let mut ask = |blocks: &mut Blocks, peer: u64, block: u64| {
            now += 1_000;
            blocks.ask(at(now), (PeerId(peer), None), (hash(block), partial()), &mut out);
            asked(&mut out).len()
        };
        assert_eq!((1..=5).map(|peer| ask(&mut blocks, peer, 0)).sum::<usize>(), MAX_PARTIALS_OF_BLOCK);
        assert_eq!((1..=5).map(|block| ask(&mut blocks, 9, block)).sum::<usize>(), MAX_PARTIALS_OF_PEER);
        assert_eq!(blocks.waiting(), 5);
        (10..14).for_each(|block| assert_eq!(ask(&mut blocks, block - 5, block), 1));
        assert_eq!(blocks.waiting(), MAX_PARTIALS);
        // The oldest made room; its answer still is one that was asked for, and no other is.
        assert!(matches!(blocks.take_partial(PeerId(1), &hash(0)), Some(None)));
        assert!(
            blocks.take_partial(PeerId(1), &hash(0)).is_none() && blocks.take_partial(PeerId(4), &hash(0)).is_none()
        );
        assert!(matches!(blocks.take_partial(PeerId(2), &hash(0)), Some(Some(_))));
        blocks.complete(&hash(0));
        assert!(matches!(blocks.take_partial(PeerId(3), &hash(0)), Some(None)), "it came from another");
        assert!((0..50).all(|_| ask(&mut blocks, 3, 0) == 1), "asked again, it is kept once");
        assert_eq!(blocks.peers[&PeerId(3)].awaiting_answer.len(), MAX_AWAITED);
    }
}
