//! Headers-first synchronisation: each peer's chain, and the headers of the best.
//!
//! One peer at a time is asked for all its headers, the one that claims most work; an announcement of a new block is
//! followed up with its announcer. If a peer does not answer, the next is asked.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::chain::{Chain, ChainError, Entry};
use crate::consensus::error::RuleError;
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::interface::Reason;
use crate::p2p::lowwork::{LowWorkBranch, Proof, enough_work};
use crate::p2p::message::{MAX_HEADERS, Message, TipClaim};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::target::Work;
use crate::primitives::time::MonoTime;

/// Time-out for headers: 160 kB over a slow line, after the peer has finished its present work.
pub const HEADERS_TIMEOUT: Duration = Duration::from_secs(15);
/// Time until a peer is asked again after one of its headers was too far in the future: the clock may have been
/// corrected, or the time has come.
pub const EARLY_TIME: Duration = Duration::from_secs(10);
/// Most headers in an announcement of blocks; more are sent only on request.
pub const MAX_ANNOUNCED: usize = 8;

/// What is known of a peer's chain.
#[derive(Debug)]
struct PeerChain {
    /// Claimed work whose headers were not requested yet.
    claim: Option<Work>,
    /// An announced block with an unknown header.
    unresolved: Option<BlockHash>,
    /// The best header known here that it has.
    best: Option<BlockHash>,
    /// The last block announced to it.
    announced_to_peer: Option<BlockHash>,
    /// When it was asked for headers, if the answer has not come.
    asked: Option<MonoTime>,
    /// Until when its claim is ignored, since its headers were too far in the future.
    early_until: Option<MonoTime>,
    /// Its branch, while that has too little work to store.
    low: Option<LowWorkBranch>,
    /// A branch that has proven its work, and the headers still to be sent again.
    proven: Proof,
    /// Its branch was refused, since it leaves the best chain where blocks are pruned. Nothing more of it is requested.
    is_too_deep: bool,
    /// Its headers have more work than the best chain, which they leave below the headers that are here.
    is_outgrown: bool,
    /// Height of the tip that it claimed.
    claimed_height: Height,
}

/// All peers that have said hello.
#[derive(Debug, Default)]
pub(super) struct HeaderSync {
    peers: BTreeMap<PeerId, PeerChain>,
    revision: u64,
    /// Nothing is requested for now.
    is_held: bool,
}

impl HeaderSync {
    /// A peer said hello.
    pub(super) fn connected(&mut self, now: Now, peer: PeerId, tip: &TipClaim, chain: &Chain, out: &mut Outbox) {
        let state = PeerChain {
            claim: Some(tip.work),
            unresolved: Some(tip.hash),
            best: None,
            announced_to_peer: None,
            asked: None,
            early_until: None,
            low: None,
            proven: Proof::default(),
            is_too_deep: false,
            is_outgrown: false,
            claimed_height: tip.height,
        };
        self.peers.insert(peer, state);
        self.resolve(chain);
        self.continue_sync(now, chain, out);
    }

    /// Requests nothing, or goes on.
    pub(super) fn hold(&mut self, now: Now, is_held: bool, chain: &Chain, out: &mut Outbox) {
        let was_held = std::mem::replace(&mut self.is_held, is_held);
        if was_held && !is_held {
            self.resolve(chain);
            self.continue_sync(now, chain, out);
        }
    }

    /// Whether headers were requested and have not come.
    pub(super) fn is_asking(&self) -> bool {
        self.peers.values().any(|state| state.asked.is_some())
    }

    /// Whether a peer has shown a chain that has more work than the best and none of the headers that are here.
    pub(super) fn is_outgrown(&self) -> bool {
        self.peers.values().any(|state| state.is_outgrown)
    }

    /// Whether there are peers, and all claim chains of less than a height.
    pub(super) fn claims_less_than(&self, height: u32) -> bool {
        !self.peers.is_empty() && self.peers.values().all(|state| state.claimed_height < Height::from_u32(height))
    }

    /// The peers, in order.
    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.peers.keys().copied()
    }

    pub(super) fn disconnected(&mut self, now: Now, peer: PeerId, chain: &Chain, out: &mut Outbox) {
        self.peers.remove(&peer);
        self.continue_sync(now, chain, out);
    }

    /// How often the best header of any peer has changed.
    pub(super) fn revision(&self) -> u64 {
        self.revision
    }

    /// The best header known here that a peer has.
    pub(super) fn best(&self, peer: PeerId, chain: &Chain) -> Option<Entry> {
        chain.entry(&self.peers.get(&peer)?.best?)
    }

    /// Height up to which a peer has the branch to `tip`.
    pub(super) fn common_height(&self, peer: PeerId, tip: &Entry, chain: &Chain) -> Option<Height> {
        Some(chain.fork_point(&self.best(peer, chain)?, tip).height)
    }

    /// A peer has a block whose header is known here.
    pub(super) fn has(&mut self, peer: PeerId, entry: &Entry, chain: &Chain) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let better = state.best.and_then(|best| chain.entry(&best)).is_none_or(|best| entry.work > best.work);
        if better {
            state.best = Some(entry.hash);
            self.revision += 1;
        }
    }

    /// A peer announced a block by its hash.
    pub(super) fn announced(&mut self, now: Now, peer: PeerId, hash: BlockHash, chain: &Chain, out: &mut Outbox) {
        if let Some(entry) = chain.entry(&hash) {
            self.has(peer, &entry, chain);
        } else if let Some(state) = self.peers.get_mut(&peer) {
            state.unresolved = Some(hash);
            self.ask(now, peer, chain, out);
        }
    }

    /// A peer has blocks that do not connect to known headers.
    pub(super) fn ask(&mut self, now: Now, peer: PeerId, chain: &Chain, out: &mut Outbox) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if state.asked.is_none() && !state.is_too_deep && !self.is_held {
            state.low = None;
            // From the best header's parent, so that the answer shows whether the peer has that header.
            let best = chain.best_header();
            let from = chain.entry(&best.header.previous).unwrap_or(best);
            send_request(now, peer, state, chain.locator(&from), out);
        }
    }

    /// Headers came. `true` if any was new.
    pub(super) fn received(
        &mut self,
        now: Now,
        peer: PeerId,
        headers: &[Header],
        chain: &mut Chain,
        out: &mut Outbox,
    ) -> bool {
        let grown = self.take(now, peer, headers, chain, out);
        if grown {
            self.resolve(chain);
        }
        self.continue_sync(now, chain, out);
        grown
    }

    /// A peer does not have the headers that it was asked for.
    pub(super) fn no_headers(&mut self, now: Now, peer: PeerId, chain: &Chain, out: &mut Outbox) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        match state.asked.take() {
            Some(_) => state.mark_exhausted(),
            None => out.offence(peer, Offence::UnrequestedHeaders),
        }
        self.continue_sync(now, chain, out);
    }

    fn take(&mut self, now: Now, peer: PeerId, headers: &[Header], chain: &mut Chain, out: &mut Outbox) -> bool {
        let Some(state) = self.peers.get_mut(&peer) else { return false };
        let [first, ..] = headers else {
            if state.asked.take().is_some() {
                state.mark_exhausted();
            }
            return false;
        };
        let hashes: Vec<BlockHash> = Header::hash_all(headers);
        if headers[1..].iter().zip(&hashes).any(|(header, parent)| header.previous != *parent) {
            out.offence(peer, Offence::UnlinkedHeaders);
            return false;
        }
        let continues_low = state.low.as_ref().is_some_and(|low| low.tip() == first.previous);
        let Some(parent) = chain.entry(&first.previous) else {
            if continues_low {
                state.asked = None;
                self.take_low_work(now, peer, (headers, &hashes, 0), chain, out);
            } else if headers.len() > MAX_ANNOUNCED {
                out.offence(peer, Offence::UnconnectedHeaders);
            } else {
                // An announcement far ahead, while the headers between are or will be requested.
                state.unresolved = hashes.last().copied();
                self.ask(now, peer, chain, out);
            }
            return false;
        };
        let asked = state.asked.take().is_some();
        // A known header's parent is known, too.
        let known = hashes.partition_point(|hash| chain.entry(hash).is_some());
        let last_known = known == hashes.len();
        if !asked && last_known && headers.len() > MAX_ANNOUNCED {
            out.offence(peer, Offence::UnrequestedHeaders);
        }
        // Even the last header may claim false work, so all are checked before the first is stored. Known headers prove
        // nothing about those after them.
        let fork = known.checked_sub(1).and_then(|last| chain.entry(&hashes[last])).unwrap_or(parent);
        let is_far_behind = !last_known && fork.work < enough_work(chain);
        let proven = state.proven.take(&hashes);
        let sent = headers.len();
        let (mut headers, mut hashes) = (headers, &hashes[..]);
        if is_far_behind && proven > known {
            (headers, hashes) = (&headers[..proven], &hashes[..proven]);
        } else if is_far_behind && !self.take_low_work(now, peer, (headers, hashes, known), chain, out) {
            return false;
        }
        let has_more = sent == MAX_HEADERS || headers.len() < sent;
        let (mut early, mut is_too_deep) = (None, false);
        let (taken, new) = match chain.accept_hashed(headers, hashes, now.unix) {
            Ok(new) => (headers.len(), new > 0),
            Err((place, error)) => {
                out.on_refused(peer, &error, |hash, rule| Offence::BadHeader { hash, rule });
                is_too_deep = matches!(error, ChainError::TooDeep { .. });
                if let Some(RuleError::TimeTooNew { .. }) = error.rule()
                    && let Some(parent) = chain.entry(&headers[place].previous)
                {
                    // The rule on its bits comes first, so they are those of a target.
                    let own_work = headers[place].bits.target().map(|target| target.work()).unwrap_or_default();
                    early = Some(parent.work + own_work);
                }
                (place, place > known)
            }
        };
        if let Some(entry) = taken.checked_sub(1).and_then(|last| chain.entry(&hashes[last])) {
            self.has(peer, &entry, chain);
        }
        let Some(state) = self.peers.get_mut(&peer) else { return new };
        state.is_too_deep |= is_too_deep;
        if has_more && taken == headers.len() {
            send_request(now, peer, state, vec![hashes[taken - 1]], out);
        } else {
            let claim = state.claim.max(early);
            state.mark_exhausted();
            if early.is_some() {
                (state.claim, state.early_until) = (claim, Some(now.mono + EARLY_TIME));
            }
        }
        new
    }

    /// Handles headers whose chain may have too little work; the first `known` of them are stored. `true` if the others
    /// prove enough work by themselves.
    fn take_low_work(
        &mut self,
        now: Now,
        peer: PeerId,
        (headers, hashes, known): (&[Header], &[BlockHash], usize),
        chain: &Chain,
        out: &mut Outbox,
    ) -> bool {
        let Some(state) = self.peers.get_mut(&peer) else { return false };
        let is_full = headers.len() == MAX_HEADERS;
        let (headers, hashes) = (&headers[known..], &hashes[known..]);
        let continued = state.low.take().filter(|low| low.tip() == headers[0].previous);
        let fork = || chain.entry(&headers[0].previous).map(|fork| LowWorkBranch::new(chain, &fork));
        let Some(mut low) = continued.or_else(fork) else { return false };
        for (header, hash) in headers.iter().zip(hashes) {
            if let Err(rule) = low.push(header, *hash, chain) {
                let error = ChainError::Rule { hash: *hash, source: rule };
                out.on_refused(peer, &error, |hash, rule| Offence::BadHeader { hash, rule });
                return false;
            }
        }
        let is_below = is_below_gap(&low.fork(), chain);
        if is_below && low.work() > chain.best_header().work {
            // The tree has no place for it.
            state.is_outgrown = true;
            state.mark_exhausted();
            let fork = chain.entry(&low.fork()).map_or(Height::GENESIS, |fork| fork.height);
            let error = ChainError::TooDeep { hash: low.tip(), fork, kept_from: chain.kept_from() };
            out.on_refused(peer, &error, |hash, rule| Offence::BadHeader { hash, rule });
        } else if !is_below && low.work() >= enough_work(chain) {
            if low.length() == headers.len() as u64 {
                return true;
            }
            let fork = low.fork();
            state.proven = low.into_proof();
            if let Some(fork) = chain.entry(&fork) {
                send_request(now, peer, state, chain.locator(&fork), out);
            }
        } else if !is_full {
            // It has no more: its chain is behind ours, which is no offence.
            state.mark_exhausted();
        } else if low.is_too_long(chain) {
            out.offence(peer, Offence::LowWorkHeaders);
        } else {
            send_request(now, peer, state, vec![low.tip()], out);
            state.low = Some(low);
        }
        false
    }

    /// Resolves announced blocks whose headers are known by now.
    fn resolve(&mut self, chain: &Chain) {
        let resolved: Vec<(PeerId, BlockHash)> = self
            .peers
            .iter()
            .filter_map(|(peer, state)| Some((*peer, state.unresolved?)))
            .filter(|(_, hash)| chain.entry(hash).is_some())
            .collect();
        for (peer, hash) in resolved {
            if let Some(state) = self.peers.get_mut(&peer) {
                (state.unresolved, state.claim) = (None, None);
            }
            if let Some(entry) = chain.entry(&hash) {
                self.has(peer, &entry, chain);
            }
        }
    }

    /// Asks the peer with the highest claim, if that is more than our chain's work and no request is open. The best
    /// header's work does not count, since its body may never come.
    fn continue_sync(&mut self, now: Now, chain: &Chain, out: &mut Outbox) {
        if self.is_held || self.is_asking() {
            return;
        }
        let best = Some(chain.tip().work);
        let is_early = |state: &PeerChain| state.early_until.is_some_and(|until| until > now.mono);
        let promising = self.peers.iter().filter(|(_, state)| state.claim > best && !is_early(state));
        if let Some(peer) = promising.max_by_key(|(_, state)| state.claim).map(|(peer, _)| *peer) {
            self.ask(now, peer, chain, out);
        }
    }

    /// Whether all headers seem to be here: there are peers, and each has sent what it claimed.
    pub(super) fn is_caught_up(&self, chain: &Chain) -> bool {
        let best = Some(chain.best_header().work);
        let has_no_more = |state: &PeerChain| state.claim <= best || state.early_until.is_some();
        !self.peers.is_empty() && self.peers.values().all(has_no_more)
    }

    /// Whether a peer has a block, or was sent its announcement.
    pub(super) fn knows(&self, peer: PeerId, entry: &Entry, chain: &Chain) -> bool {
        let Some(state) = self.peers.get(&peer) else { return true };
        let known = [state.best, state.announced_to_peer].into_iter().flatten().filter_map(|hash| chain.entry(&hash));
        known.into_iter().any(|known| chain.ancestor(&known, entry.height).is_some_and(|at| at.hash == entry.hash))
    }

    /// Notes that a block was announced to a peer.
    pub(super) fn mark_announced(&mut self, peer: PeerId, hash: BlockHash) {
        if let Some(state) = self.peers.get_mut(&peer) {
            state.announced_to_peer = Some(hash);
        }
    }

    /// Extend all deadlines by a span.
    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        for state in self.peers.values_mut() {
            // `early_until` waits for this node's clock, not for an answer.
            let PeerChain {
                asked,
                early_until: _,
                claim: _,
                unresolved: _,
                best: _,
                announced_to_peer: _,
                low: _,
                proven: _,
                is_too_deep: _,
                is_outgrown: _,
                claimed_height: _,
            } = state;
            asked.iter_mut().for_each(|asked| *asked += by);
        }
    }

    pub(super) fn tick(&mut self, now: Now, chain: &Chain, out: &mut Outbox) {
        let is_due = |state: &PeerChain| state.early_until.is_some_and(|until| until <= now.mono);
        if self.peers.values().any(is_due) {
            self.peers.values_mut().filter(|state| is_due(state)).for_each(|state| state.early_until = None);
            self.continue_sync(now, chain, out);
        }
        for (peer, state) in &self.peers {
            if state.asked.is_some_and(|since| since + HEADERS_TIMEOUT <= now.mono) {
                out.close(*peer, Reason::Stalled);
            }
        }
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        let asked = self.peers.values().filter_map(|state| state.asked).map(|since| since + HEADERS_TIMEOUT);
        asked.chain(self.peers.values().filter_map(|state| state.early_until)).min()
    }
}

impl PeerChain {
    /// It has sent all its headers, so it has nothing beyond them.
    fn mark_exhausted(&mut self) {
        self.claim = None;
        self.low = None;
        self.proven = Proof::default();
    }
}

/// Whether headers of the best chain are missing above a block.
fn is_below_gap(block: &BlockHash, chain: &Chain) -> bool {
    let tree = chain.tree();
    let block = tree.entry(block);
    tree.header_gap().zip(block).is_some_and(|(gap, block)| block.height < gap.end)
}

fn send_request(now: Now, peer: PeerId, state: &mut PeerChain, locator: Vec<BlockHash>, out: &mut Outbox) {
    state.asked = Some(now.mono);
    out.send(peer, Message::GetHeaders { locator, stop: BlockHash::ZERO });
}
