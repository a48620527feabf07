//! Follows keys without revealing them, by block filters, and whole blocks where a filter matches.
//!
//! Every block commits to the filters of all blocks before it (BIP-157's filter headers). So the filter hashes of one peer
//! are enough: they lead to what a block of the best chain commits to, or the peer lies. Only the newest block's filter is
//! not committed to yet. It is taken from a peer as it is, and compared when the next block is there; where that is not
//! enough, the block itself is read. A payment found in a block is certain, since the body matches the root in its header.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::headers::Headers;
use super::openings::check_opening;
use super::proofs::check_body;
use super::request::{Next, Request};
use crate::consensus::coins::Coin;
use crate::mempool::Recent;
use crate::p2p::coins::Opening;
use crate::p2p::message::{Item, MAX_FILTER_HEADERS, MAX_FILTERS, Message};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::p2p::{Now, PeerId};
use crate::primitives::amount::Amount;
use crate::primitives::block::Block;
use crate::primitives::gcs::{Filter, filter_header};
use crate::primitives::hash::{BlockHash, FilterHash, FilterHeader, Txid};
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::time::MonoTime;
use crate::primitives::tx::{OutPoint, Transaction};

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

/// A payment in a block, as the keys see it.
#[derive(Debug, Clone)]
pub struct Since {
    /// The block's height.
    pub height: Height,
    /// The transaction.
    pub txid: Txid,
    /// Coins that it makes.
    pub received: Vec<(OutPoint, Coin)>,
    /// Coins that it spends.
    pub spent: Vec<(OutPoint, Coin)>,
}

/// What a transaction does to the keys.
#[derive(Debug)]
struct Effect {
    txid: Txid,
    /// What is received and spent, by key.
    changes: BTreeMap<PublicKey, (Amount, Amount)>,
    received: Vec<(OutPoint, Coin)>,
    spent: Vec<(OutPoint, Coin)>,
}

/// A payment in the best chain.
#[derive(Debug)]
struct Mined {
    height: Height,
    block: BlockHash,
    effect: Effect,
    /// Whether it was told to have enough confirmations.
    confirmed: bool,
}

/// Blocks whose filters are being looked at: from [`Watch::next`] to `stop`.
#[derive(Debug)]
struct Round {
    /// The first block whose filter hash is asked for.
    start: Height,
    stop: (Height, BlockHash),
    /// The block that commits to the filters of those before it: the one after `stop`, or `stop` if that is the tip.
    opened: (Height, BlockHash),
    opening: Request,
    /// The filter header that it commits to.
    committed: Option<FilterHeader>,
    headers: Request,
    /// The filter hashes of `start` to the block before `opened`, once they are checked.
    hashes: Option<Vec<FilterHash>>,
    filters: Request,
    /// For blocks from `next` on, whether the block is needed.
    verdicts: VecDeque<bool>,
    /// For the block `next`.
    block: Request,
}

/// The keys, and how far they have been followed.
#[derive(Debug)]
pub(super) struct Watch {
    keys: BTreeSet<PublicKey>,
    min_confirmations: u32,
    /// Height of the next block to look at.
    next: Height,
    /// No round passes this block, so that the filters before it are those that it commits to.
    cut: Height,
    /// Whether the newest block is read whole, rather than its filter believed until the next one comes.
    reads_tip: bool,
    /// The block before `next`, if it was left out because of a filter that no block committed to yet.
    unproven: Option<(Height, FilterHash)>,
    round: Option<Round>,
    /// When to try again, if no peer had what is needed.
    retry_at: Option<MonoTime>,
    /// Unspent coins of the keys.
    coins: BTreeMap<OutPoint, Coin>,
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
            cut: Height::GENESIS,
            reads_tip: false,
            unproven: None,
            round: None,
            retry_at: None,
            coins: BTreeMap::new(),
            mined: Vec::new(),
            seen: Recent::new(MAX_SEEN),
            news: Vec::new(),
        }
    }

    /// Follows keys that have these coins after the block at `edge`, and leaves nothing out up to the tip. `committed_at` is
    /// the block whose commitment to the filters before it is to be relied on.
    pub(super) fn after(
        edge: Height,
        committed_at: Option<Height>,
        (keys, coins): (BTreeSet<PublicKey>, BTreeMap<OutPoint, Coin>),
    ) -> Self {
        let cut = committed_at.unwrap_or_default();
        Self { cut, reads_tip: true, coins, ..Self::new(keys, edge.next(), 1) }
    }

    /// The unspent coins of the keys, as far as they have been followed.
    pub(super) fn coins(&self) -> &BTreeMap<OutPoint, Coin> {
        &self.coins
    }

    /// What blocks have done to the keys, in the order of the chain.
    pub(super) fn mined(&self) -> impl Iterator<Item = Since> {
        let since = |Mined { height, effect: Effect { txid, received, spent, .. }, .. }: &Mined| Since {
            height: *height,
            txid: *txid,
            received: received.clone(),
            spent: spent.clone(),
        };
        self.mined.iter().map(since)
    }

    /// Height of the block that has a transaction which concerns the keys.
    pub(super) fn mined_at(&self, txid: &Txid) -> Option<Height> {
        self.mined.iter().rev().find(|mined| mined.effect.txid == *txid).map(|mined| mined.height)
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
        self.round.take_if(|round| fork < round.opened.0);
        self.unproven.take_if(|(height, _)| fork < *height);
        while let Some(last) = self.mined.pop_if(|last| last.height > fork) {
            let Mined { height, block, effect: Effect { txid, changes, received, spent }, .. } = last;
            for (outpoint, ..) in &received {
                self.coins.remove(outpoint);
            }
            self.coins.extend(spent);
            self.news.push(Payment { txid, changes, stage: Stage::Reorganised { height, block } });
        }
        self.next = self.next.min(fork.next());
        self.confirm(chain);
    }

    /// Tells of payments that have enough confirmations by now.
    fn confirm(&mut self, chain: &Headers) {
        for mined in self.mined.iter_mut().rev().filter(|mined| !mined.confirmed) {
            let (height, block, txid) = (mined.height, mined.block, mined.effect.txid);
            let confirmations = chain.weight(height, chain.tip().time).map_or(0, |weight| weight.confirmations);
            if confirmations >= self.min_confirmations {
                mined.confirmed = true;
                let stage = Stage::Confirmed { height, block, confirmations };
                self.news.push(Payment { txid, changes: mined.effect.changes.clone(), stage });
            }
        }
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        self.requests().for_each(|request| request.failed(peer));
    }

    pub(super) fn tick(&mut self, now: Now) {
        self.requests().for_each(|request| request.tick(now));
    }

    /// Extend all deadlines by a span.
    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        self.requests().for_each(|request| request.extend_deadline(by));
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        let Some(Round { opening, headers, filters, block, .. }) = &self.round else { return self.retry_at };
        [opening, headers, filters, block].into_iter().filter_map(Request::deadline).min()
    }

    fn requests(&mut self) -> impl Iterator<Item = &mut Request> {
        let round = self.round.iter_mut();
        round.flat_map(|Round { opening, headers, filters, block, .. }| [opening, headers, filters, block])
    }

    /// Heights whose headers are needed next and are not known.
    pub(super) fn unknown(&self, chain: &Headers) -> impl Iterator<Item = Height> {
        let due = self.round.is_none() && self.next <= chain.height();
        let (start, _, opened) = self.bounds(chain);
        chain.unknown(due.then(|| start.through(opened)).into_iter().flatten())
    }

    /// Starts the next request wherever none is open.
    pub(super) fn advance(&mut self, now: Now, peers: &[PeerId], chain: &Headers, out: &mut Outbox) {
        loop {
            if self.next > chain.height() || self.retry_at.is_some_and(|at| at > now.mono) || peers.is_empty() {
                return;
            }
            self.retry_at = None;
            if self.round.is_none() {
                self.round = self.begin(chain);
            }
            let Some(round) = &mut self.round else { return };
            if round.hashes.is_some() && round.verdicts.is_empty() && self.reads_tip && self.next == round.opened.0 {
                round.verdicts.push_back(true);
            }
            if round.hashes.is_some() && round.verdicts.front() == Some(&false) {
                round.verdicts.pop_front();
                self.go_on();
                continue;
            }
            let Some((request, message)) = round.next_request(self.next, self.reads_tip, chain) else { return };
            match request.next(now, peers) {
                Next::Ask(peer) => out.send(peer, message),
                Next::Wait => {}
                Next::Exhausted => {
                    self.round = None;
                    self.retry_at = Some(now.mono + RETRY);
                }
            }
            return;
        }
    }

    /// The next blocks: the first, the last, and the one that commits to the filters before it.
    fn bounds(&self, chain: &Headers) -> (Height, Height, Height) {
        let (tip, start) = (chain.height(), self.unproven.map_or(self.next, |(height, _)| height));
        let mut stop = tip.min(start.saturating_add(MAX_FILTER_HEADERS as u32 - 1));
        if self.next < self.cut {
            stop = stop.min(self.cut.saturating_sub(1));
        }
        (start, stop, tip.min(stop.next()))
    }

    /// The next blocks, once all their headers are known.
    fn begin(&self, chain: &Headers) -> Option<Round> {
        let (start, stop, opened) = self.bounds(chain);
        if self.unknown(chain).next().is_some() {
            return None;
        }
        Some(Round {
            start,
            stop: (stop, chain.hash(stop)?),
            opened: (opened, chain.hash(opened)?),
            opening: Request::default(),
            committed: None,
            headers: Request::default(),
            // Of the newest block alone, nothing is committed to.
            hashes: (start == opened).then(Vec::new),
            filters: Request::default(),
            verdicts: VecDeque::new(),
            block: Request::default(),
        })
    }

    /// The block `next` has been looked at.
    fn go_on(&mut self) {
        self.round.take_if(|round| round.stop.0 == self.next);
        self.next = self.next.next();
    }

    /// Whether this is the block that `peer` is asked to open.
    pub(super) fn awaits_opening(&self, peer: PeerId, block: &BlockHash) -> bool {
        self.round.as_ref().is_some_and(|round| round.opened.1 == *block && round.opening.is_of(peer))
    }

    /// Takes the answer of the peer that is asked to open a block.
    pub(super) fn opening(&mut self, peer: PeerId, opening: Option<Opening>, chain: &Headers, out: &mut Outbox) {
        let Some(round) = &mut self.round else { return };
        round.opening.failed(peer);
        match opening.map_or(Ok(None), |opening| check_opening(opening, &round.opened, chain)) {
            Ok(committed) => round.committed = committed.map(|committed| committed.filters),
            Err(offence) => out.offence(peer, offence),
        }
    }

    /// Takes filter hashes that a peer has sent.
    pub(super) fn hashes(
        &mut self,
        peer: PeerId,
        (stop, previous): (BlockHash, FilterHeader),
        hashes: Vec<FilterHash>,
        chain: &Headers,
        out: &mut Outbox,
    ) {
        let Some(round) = &mut self.round else { return };
        if !round.headers.is_of(peer) || chain.hash(round.opened.0.saturating_sub(1)) != Some(stop) {
            return;
        }
        round.headers.failed(peer);
        // The peer is on another chain.
        if hashes.is_empty() {
            return;
        }
        let expected = round.opened.0.blocks_since(round.start) as usize;
        let header = hashes.iter().fold(previous, |previous, hash| filter_header(hash, &previous));
        if hashes.len() != expected || Some(header) != round.committed {
            return out.offence(peer, Offence::FalseFilterHeaders { block: round.opened.1 });
        }
        if let Some((height, hash)) = self.unproven.take()
            && hashes.first() != Some(&hash)
        {
            // Its filter was false, so it is looked at again.
            self.next = height;
        }
        round.hashes = Some(hashes);
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
        let Some(hashes) = round.hashes.as_ref().filter(|_| round.filters.is_of(peer)) else { return };
        if filters.is_empty() {
            return round.filters.failed(peer);
        }
        let last = round.last_filtered(self.next, self.reads_tip);
        for (height, (hash, bytes)) in self.next.through(last).zip(filters) {
            let committed = hashes.get(height.blocks_since(round.start) as usize);
            let filter = Filter::from_bytes(bytes).ok().filter(|_| chain.hash(height) == Some(hash));
            let filter = filter.filter(|filter| committed.is_none_or(|committed| filter.hash() == *committed));
            let matched = filter.and_then(|filter| {
                let matched = filter.matches_any(&hash, self.keys.iter().map(|key| key.0)).ok()?;
                Some((matched, filter.hash()))
            });
            let Some((matched, of)) = matched else {
                round.filters.failed(peer);
                return out.offence(peer, Offence::FalseFilter { block: hash });
            };
            if committed.is_none() && !matched {
                self.unproven = Some((height, of));
            }
            round.verdicts.push_back(matched);
        }
        round.filters.answered(peer);
    }

    /// A peer does not have what it was asked for.
    pub(super) fn not_found(&mut self, peer: PeerId, items: &[Item], chain: &Headers) {
        let wanted = chain.hash(self.next).map(Item::Block);
        if let Some(round) = &mut self.round
            && items.iter().any(|item| Some(item) == wanted.as_ref())
        {
            round.block.failed(peer);
        }
    }

    /// A block arrived. A peer that sends a body that does not match its header is disconnected.
    pub(super) fn block(&mut self, peer: PeerId, block: &Block, chain: &Headers, out: &mut Outbox) {
        let Some(round) = &mut self.round else { return };
        let (height, hash) = (self.next, block.hash());
        if !round.block.is_of(peer) || chain.hash(height) != Some(hash) {
            return;
        }
        round.block.failed(peer);
        if let Err(offence) = check_body(block) {
            return out.offence(peer, offence);
        }
        round.block = Request::default();
        round.verdicts.pop_front();
        self.go_on();
        for tx in &block.transactions {
            self.scan(tx, height, hash);
        }
        self.confirm(chain);
    }

    fn scan(&mut self, tx: &Transaction, height: Height, block: BlockHash) {
        let Some(effect) = self.effect_on_keys(tx, height) else { return };
        for (outpoint, _) in &effect.spent {
            self.coins.remove(outpoint);
        }
        self.coins.extend(effect.received.iter().cloned());
        if self.min_confirmations > 1 {
            let stage = Stage::Mined { height, block };
            self.news.push(Payment { txid: effect.txid, changes: effect.changes.clone(), stage });
        }
        self.mined.push(Mined { height, block, effect, confirmed: false });
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
        if let Some(Effect { txid, changes, .. }) = self.effect_on_keys(tx, self.next) {
            self.news.push(Payment { txid, changes, stage: Stage::Seen });
        }
    }

    /// What a transaction in a block at a height does to the keys; `None` for nothing.
    fn effect_on_keys(&self, tx: &Transaction, height: Height) -> Option<Effect> {
        let txid = tx.txid();
        // As in every node, what genesis makes is no coinbase's.
        let coinbase = tx.is_coinbase() && height > Height::GENESIS;
        let is_own = |coin: &Coin| coin.output.key().is_some_and(|key| self.keys.contains(key));
        let made =
            tx.outpoints(txid).map(|(outpoint, output)| (outpoint, Coin { output: output.clone(), height, coinbase }));
        let received: Vec<_> = made.filter(|(_, coin)| is_own(coin)).collect();
        let own = |outpoint: OutPoint| self.coins.get(&outpoint).map(|coin| (outpoint, coin.clone()));
        let spent: Vec<_> = tx.inputs.iter().filter_map(|input| own(input.outpoint)).collect();
        let mut changes = BTreeMap::<PublicKey, (Amount, Amount)>::new();
        for (_, coin) in &received {
            if let Some(key) = coin.output.key() {
                let sum = &mut changes.entry(*key).or_default().0;
                *sum = sum.saturating_add(coin.output.value);
            }
        }
        for (_, coin) in &spent {
            if let Some(key) = coin.output.key() {
                let sum = &mut changes.entry(*key).or_default().1;
                *sum = sum.saturating_add(coin.output.value);
            }
        }
        (!changes.is_empty()).then_some(Effect { txid, changes, received, spent })
    }
}

impl Round {
    /// What is to be requested next, and the request for it; `None` if the chain has changed.
    fn next_request(&mut self, next: Height, reads_tip: bool, chain: &Headers) -> Option<(&mut Request, Message)> {
        if self.hashes.is_none() {
            if self.committed.is_none() {
                return Some((&mut self.opening, Message::GetOpening(self.opened.1)));
            }
            let stop = chain.hash(self.opened.0.prev()?)?;
            return Some((&mut self.headers, Message::GetFilterHeaders { start_height: self.start, stop }));
        }
        if self.verdicts.is_empty() {
            let stop = chain.hash(self.last_filtered(next, reads_tip))?;
            return Some((&mut self.filters, Message::GetFilters { start_height: next, stop }));
        }
        Some((&mut self.block, Message::GetData(vec![Item::Block(chain.hash(next)?)])))
    }

    /// The last block whose filter is requested together with that of `next`.
    fn last_filtered(&self, next: Height, reads_tip: bool) -> Height {
        let last = if reads_tip && self.stop == self.opened { self.stop.0.saturating_sub(1) } else { self.stop.0 };
        last.min(next.saturating_add(MAX_FILTERS as u32 - 1))
    }
}
