//! Follows keys without revealing them, by block filters, and whole blocks where a filter matches.
//!
//! Every peer is asked for the hashes of all filters, one of them for the filters themselves (BIP-157). Where peers
//! differ one of them lies, and the block itself decides. A payment found in a block is certain, since the body matches
//! the root in its header. A payment can be missed only if all peers omit it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::headers::Headers;
use super::proofs::check_body;
use crate::mempool::Recent;
use crate::p2p::message::{Item, MAX_FILTER_HEADERS, MAX_FILTERS, Message};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::p2p::{Now, PeerId};
use crate::primitives::amount::Amount;
use crate::primitives::block::Block;
use crate::primitives::gcs::Filter;
use crate::primitives::hash::{BlockHash, FilterHash, Txid};
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::time::MonoTime;
use crate::primitives::tx::{OutPoint, Transaction};

/// Time in which filters and blocks must come before another peer is asked.
pub const FILTER_TIMEOUT: Duration = Duration::from_secs(15);
/// Time before trying again when no peer had filters.
const RETRY: Duration = Duration::from_secs(5);
/// Most unconfirmed transactions remembered as checked.
const MAX_SEEN: usize = 50_000;

/// A transaction's effect on the watched keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The transaction.
    pub txid: Txid,
    /// What is received and spent, for each key that it concerns.
    pub changes: BTreeMap<PublicKey, (Amount, Amount)>,
    /// How far it is.
    pub stage: Stage,
}

/// How far a payment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Announced by peers, not proven.
    Seen,
    /// It is in a block of the best chain, which has fewer confirmations, in work, than wanted.
    Mined {
        /// The block's height.
        height: Height,
        /// The block.
        block: BlockHash,
    },
    /// It has the confirmations wanted.
    Confirmed {
        /// The block's height.
        height: Height,
        /// The block.
        block: BlockHash,
        /// The block, and those on top of it.
        confirmations: u32,
    },
    /// Its block is no longer on the best chain.
    Reorganised {
        /// The block's height.
        height: Height,
        /// The block.
        block: BlockHash,
    },
}

/// A payment in the best chain.
#[derive(Debug)]
struct Mined {
    height: Height,
    block: BlockHash,
    txid: Txid,
    changes: BTreeMap<PublicKey, (Amount, Amount)>,
    received: Vec<(OutPoint, PublicKey, Amount)>,
    spent: Vec<(OutPoint, PublicKey, Amount)>,
    /// Whether it was told to have enough confirmations.
    confirmed: bool,
}

/// Blocks whose filters are being looked at: from [`Watch::next`] to `stop`.
#[derive(Debug)]
struct Round {
    start: Height,
    stop: (Height, BlockHash),
    /// Peers asked for filter hashes that have not answered, and since when.
    waiting: BTreeMap<PeerId, MonoTime>,
    /// The filter hashes that peers gave, that of `start` first.
    hashes: BTreeMap<PeerId, Vec<FilterHash>>,
    /// Who was asked for filters, since when, and up to which height.
    filters: Option<(PeerId, MonoTime, Height)>,
    /// For blocks from `next` on, whether the block is needed.
    verdicts: VecDeque<bool>,
    /// Who was asked for the block `next`, and since when.
    block: Option<(PeerId, MonoTime)>,
    /// Who was asked for it.
    tried: BTreeSet<PeerId>,
}

/// The keys, and how far they have been followed.
#[derive(Debug)]
pub(super) struct Watch {
    keys: BTreeSet<PublicKey>,
    min_confirmations: u32,
    /// Height of the next block to look at.
    next: Height,
    round: Option<Round>,
    /// When to try again, if no peer had filters.
    retry_at: Option<MonoTime>,
    /// Unspent coins of the keys.
    coins: BTreeMap<OutPoint, (PublicKey, Amount)>,
    /// In the order of the chain.
    mined: Vec<Mined>,
    seen: Recent<Txid>,
    news: Vec<Payment>,
}

impl Watch {
    pub(super) fn new(keys: BTreeSet<PublicKey>, from: Height, min_confirmations: u32) -> Self {
        Self {
            keys,
            min_confirmations: min_confirmations.max(1),
            next: from,
            round: None,
            retry_at: None,
            coins: BTreeMap::new(),
            mined: Vec::new(),
            seen: Recent::new(MAX_SEEN),
            news: Vec::new(),
        }
    }

    /// News since the last call.
    pub(super) fn take_payments(&mut self) -> Vec<Payment> {
        std::mem::take(&mut self.news)
    }

    /// Height of the next block to look at.
    pub(super) fn next(&self) -> Height {
        self.next
    }

    /// The best chain is another above `fork`.
    pub(super) fn on_reorganisation(&mut self, fork: Height, chain: &Headers) {
        self.round.take_if(|round| fork < round.stop.0);
        while let Some(last) = self.mined.pop_if(|last| last.height > fork) {
            let Mined { height, block, txid, changes, received, spent, .. } = last;
            for (outpoint, ..) in &received {
                self.coins.remove(outpoint);
            }
            self.coins.extend(spent.into_iter().map(|(outpoint, key, value)| (outpoint, (key, value))));
            self.news.push(Payment { txid, changes, stage: Stage::Reorganised { height, block } });
        }
        self.next = self.next.min(fork.next());
        self.confirm(chain);
    }

    /// Tells of payments that have enough confirmations by now.
    fn confirm(&mut self, chain: &Headers) {
        for mined in self.mined.iter_mut().rev().filter(|mined| !mined.confirmed) {
            let Mined { height, block, txid, .. } = *mined;
            let confirmations = chain.weight(height, chain.tip().time).map_or(0, |weight| weight.confirmations);
            if confirmations >= self.min_confirmations {
                mined.confirmed = true;
                let stage = Stage::Confirmed { height, block, confirmations };
                self.news.push(Payment { txid, changes: mined.changes.clone(), stage });
            }
        }
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        if let Some(round) = &mut self.round {
            round.forget(peer);
        }
    }

    pub(super) fn tick(&mut self, now: Now) {
        let Some(round) = &mut self.round else { return };
        let late = |since: MonoTime| since + FILTER_TIMEOUT <= now.mono;
        let waiting = round.waiting.iter().filter(|(_, since)| late(**since)).map(|(peer, _)| *peer);
        let filters = round.filters.iter().filter(|(_, since, _)| late(*since)).map(|(peer, ..)| *peer);
        for peer in waiting.chain(filters).collect::<Vec<_>>() {
            round.forget(peer);
        }
        round.block.take_if(|(_, since)| late(*since));
    }

    /// Extend all deadlines by a span.
    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        let Some(round) = &mut self.round else { return };
        let Round { waiting, filters, block, start: _, stop: _, hashes: _, verdicts: _, tried: _ } = round;
        let filters = filters.iter_mut().map(|(_, since, _)| since);
        let block = block.iter_mut().map(|(_, since)| since);
        waiting.values_mut().chain(filters).chain(block).for_each(|since| *since += by);
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        let Some(round) = &self.round else { return self.retry_at };
        let filters = round.filters.map(|(_, since, _)| since);
        let block = round.block.map(|(_, since)| since);
        let since = round.waiting.values().copied().chain(filters).chain(block).min();
        since.map(|since| since + FILTER_TIMEOUT)
    }

    /// Starts the next requests wherever none is open.
    pub(super) fn advance(&mut self, now: Now, peers: &[PeerId], chain: &Headers, out: &mut Outbox) {
        loop {
            if self.next > chain.height() || self.retry_at.is_some_and(|at| at > now.mono) || peers.is_empty() {
                return;
            }
            self.retry_at = None;
            let next = self.next;
            if self.round.is_none() {
                self.round = Round::begin(now, next, peers, chain, out);
            }
            let Some(round) = &mut self.round else { return };
            if !round.waiting.is_empty() {
                return;
            }
            match round.verdicts.front() {
                Some(false) => {
                    round.verdicts.pop_front();
                    self.next = self.next.next();
                    if next == round.stop.0 {
                        self.round = None;
                    }
                }
                Some(true) => return round.ask_block(now, next, peers, chain, out),
                None if round.filters.is_some() => return,
                None => {
                    if !round.ask_filters(now, next, chain, out) {
                        self.round = None;
                        self.retry_at = Some(now.mono + RETRY);
                    }
                }
            }
        }
    }

    /// Takes filter hashes that a peer has sent.
    pub(super) fn hashes(&mut self, peer: PeerId, stop: BlockHash, hashes: Vec<FilterHash>) {
        let Some(round) = &mut self.round else { return };
        if stop == round.stop.1 && round.waiting.remove(&peer).is_some() {
            let expected = round.stop.0.blocks_since(round.start) as usize + 1;
            // An empty answer means that the peer is on another chain.
            if hashes.len() == expected {
                round.hashes.insert(peer, hashes);
            }
        }
    }

    /// Takes filters that a peer has sent.
    pub(super) fn filters(
        &mut self,
        peer: PeerId,
        filters: Vec<(BlockHash, Vec<u8>)>,
        chain: &Headers,
        out: &mut Outbox,
    ) {
        let Some(round) = &mut self.round else { return };
        let Some((_, _, last)) = round.filters.take_if(|(asked, ..)| *asked == peer) else { return };
        if filters.is_empty() {
            return round.forget(peer);
        }
        for (height, (hash, bytes)) in self.next.through(last).zip(filters) {
            let place = height.blocks_since(round.start) as usize;
            let promised = round.hashes.get(&peer).and_then(|hashes| hashes.get(place)).copied();
            let matched = Filter::from_bytes(bytes)
                .ok()
                .filter(|filter| chain.hash(height) == Some(hash) && Some(filter.hash()) == promised);
            let matched = matched.and_then(|filter| filter.matches_any(&hash, self.keys.iter().map(|key| key.0)).ok());
            let Some(matched) = matched else {
                round.forget(peer);
                return out.offence(peer, Offence::FalseFilter { block: hash });
            };
            let agreed = round.hashes.values().all(|hashes| hashes.get(place).copied() == promised);
            round.verdicts.push_back(matched || !agreed);
        }
    }

    /// A peer does not have what it was asked for.
    pub(super) fn not_found(&mut self, peer: PeerId, items: &[Item], chain: &Headers) {
        let wanted = chain.hash(self.next).map(Item::Block);
        if let Some(round) = &mut self.round
            && items.iter().any(|item| Some(item) == wanted.as_ref())
        {
            round.block.take_if(|(asked, _)| *asked == peer);
        }
    }

    /// A block arrived. A peer that sends a body that does not match its header is disconnected.
    pub(super) fn block(&mut self, peer: PeerId, block: &Block, chain: &Headers, out: &mut Outbox) {
        let Some(round) = &mut self.round else { return };
        let (height, hash) = (self.next, block.hash());
        if round.block.is_none_or(|(asked, _)| asked != peer) || chain.hash(height) != Some(hash) {
            return;
        }
        round.block = None;
        if let Err(offence) = check_body(block) {
            return out.offence(peer, offence);
        }
        round.tried.clear();
        round.verdicts.pop_front();
        let done = height == round.stop.0;
        if done {
            self.round = None;
        }
        self.next = self.next.next();
        for tx in &block.transactions {
            self.scan(tx, height, hash);
        }
        self.confirm(chain);
    }

    fn scan(&mut self, tx: &Transaction, height: Height, block: BlockHash) {
        let txid = tx.txid();
        let Some((changes, received, spent)) = self.effect_on_keys(tx, txid) else { return };
        for (outpoint, ..) in &spent {
            self.coins.remove(outpoint);
        }
        self.coins.extend(received.iter().map(|(outpoint, key, value)| (*outpoint, (*key, *value))));
        if self.min_confirmations > 1 {
            self.news.push(Payment { txid, changes: changes.clone(), stage: Stage::Mined { height, block } });
        }
        self.mined.push(Mined { height, block, txid, changes, received, spent, confirmed: false });
    }

    /// A peer announces a transaction: it is requested once.
    pub(super) fn announced(&mut self, peer: PeerId, txid: Txid, out: &mut Outbox) {
        if !self.seen.contains(&txid) {
            self.seen.insert(txid);
            out.send(peer, Message::GetData(vec![Item::Transaction(txid)]));
        }
    }

    /// An unconfirmed transaction came.
    pub(super) fn transaction(&mut self, tx: &Transaction) {
        let txid = tx.txid();
        if let Some((changes, ..)) = self.effect_on_keys(tx, txid) {
            self.news.push(Payment { txid, changes, stage: Stage::Seen });
        }
    }

    /// What a transaction does to the keys; `None` for nothing.
    #[allow(clippy::type_complexity)] // Named once, used twice.
    fn effect_on_keys(
        &self,
        tx: &Transaction,
        txid: Txid,
    ) -> Option<(
        BTreeMap<PublicKey, (Amount, Amount)>,
        Vec<(OutPoint, PublicKey, Amount)>,
        Vec<(OutPoint, PublicKey, Amount)>,
    )> {
        let mut received = Vec::new();
        for (index, output) in (0..).zip(&tx.outputs) {
            if let Some(key) = output.key().filter(|key| self.keys.contains(key)) {
                received.push((OutPoint { txid, index }, *key, output.value));
            }
        }
        let own = |outpoint: OutPoint| self.coins.get(&outpoint).map(|(key, value)| (outpoint, *key, *value));
        let spent: Vec<_> = tx.inputs.iter().filter_map(|input| own(input.outpoint)).collect();
        let mut changes = BTreeMap::<PublicKey, (Amount, Amount)>::new();
        for (_, key, value) in &received {
            let sum = &mut changes.entry(*key).or_default().0;
            *sum = sum.saturating_add(*value);
        }
        for (_, key, value) in &spent {
            let sum = &mut changes.entry(*key).or_default().1;
            *sum = sum.saturating_add(*value);
        }
        (!changes.is_empty()).then_some((changes, received, spent))
    }
}

impl Round {
    /// Asks all peers for the filter hashes of the next blocks.
    fn begin(now: Now, start: Height, peers: &[PeerId], chain: &Headers, out: &mut Outbox) -> Option<Self> {
        let height = chain.height().min(start.saturating_add(MAX_FILTER_HEADERS as u32 - 1));
        let stop = chain.hash(height)?;
        for peer in peers {
            out.send(*peer, Message::GetFilterHeaders { start_height: start, stop });
        }
        Some(Self {
            start,
            stop: (height, stop),
            waiting: peers.iter().map(|peer| (*peer, now.mono)).collect(),
            hashes: BTreeMap::new(),
            filters: None,
            verdicts: VecDeque::new(),
            block: None,
            tried: BTreeSet::new(),
        })
    }

    /// Asks a peer for the next filters; `false` if there is none to ask.
    fn ask_filters(&mut self, now: Now, next: Height, chain: &Headers, out: &mut Outbox) -> bool {
        let last = self.stop.0.min(next.saturating_add(MAX_FILTERS as u32 - 1));
        let (Some(peer), Some(stop)) = (self.hashes.keys().next().copied(), chain.hash(last)) else { return false };
        self.filters = Some((peer, now.mono, last));
        out.send(peer, Message::GetFilters { start_height: next, stop });
        true
    }

    /// Asks a peer for the next block, another one each time.
    fn ask_block(&mut self, now: Now, next: Height, peers: &[PeerId], chain: &Headers, out: &mut Outbox) {
        if self.block.is_some() {
            return;
        }
        if peers.iter().all(|peer| self.tried.contains(peer)) {
            self.tried.clear();
        }
        // Peers with the filters have this chain.
        let mut others = self.hashes.keys().chain(peers).filter(|peer| !self.tried.contains(peer));
        let peer = others.next().copied();
        if let (Some(peer), Some(hash)) = (peer, chain.hash(next)) {
            self.tried.insert(peer);
            self.block = Some((peer, now.mono));
            out.send(peer, Message::GetData(vec![Item::Block(hash)]));
        }
    }

    /// Leaves a peer out of what follows.
    fn forget(&mut self, peer: PeerId) {
        self.waiting.remove(&peer);
        self.hashes.remove(&peer);
        self.filters.take_if(|(asked, ..)| *asked == peer);
        self.block.take_if(|(asked, _)| *asked == peer);
    }
}
