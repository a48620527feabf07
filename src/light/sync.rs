//! Header synchronisation from several peers; one honest peer among them is enough.
//!
//! Every peer is asked for all its headers beyond the best known chain, the one that claims most work first. A peer is
//! disconnected if a header breaks a rule, or its headers have less work than it claimed. Of valid chains the one with
//! most work wins, so a peer that hides blocks hides them in vain if another does not.
//!
//! Headers of the easiest difficulty cost little, but not many of them: the difficulty rule makes a chain that is
//! longer than the time since genesis allows ever harder. A branch other than the best is nevertheless kept only once
//! it is known to have more work: it is first checked without being stored, then requested again.

use std::collections::BTreeMap;
use std::time::Duration;

use super::headers::Headers;
use crate::consensus::context::check_clock;
use crate::consensus::headers::{HeaderChainError, HeaderTail};
use crate::p2p::lowwork::max_length;
use crate::p2p::message::{MAX_HEADERS, Message, TipClaim};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::p2p::sync::{HEADERS_TIMEOUT, MAX_ANNOUNCED};
use crate::p2p::{Now, PeerId, Reason};
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::target::Work;
use crate::primitives::time::MonoTime;

/// The last header that a peer has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) height: Height,
    pub(super) hash: BlockHash,
    pub(super) work: Work,
}

/// A request for headers that is open.
#[derive(Debug)]
struct Asked {
    since: MonoTime,
    /// Places in the best chain that the answer may begin after.
    from: Vec<(Height, BlockHash)>,
}

/// Headers that are not on the best chain.
#[derive(Debug)]
struct Branch {
    /// The last block it has in common with the best chain.
    fork: (Height, BlockHash),
    tail: HeaderTail,
    length: u64,
    /// All of it, once it is known to be worth that; at most `limit` headers.
    kept: Option<Vec<Header>>,
    limit: u64,
}

/// What is known of a peer's chain.
#[derive(Debug)]
struct PeerBranch {
    claim: TipClaim,
    asked: Option<Asked>,
    branch: Option<Branch>,
    shown: Option<Shown>,
    /// It has sent all it had when it was asked.
    has_sent_all: bool,
}

/// All peers that have said hello.
#[derive(Debug, Default)]
pub(super) struct PeerBranches(BTreeMap<PeerId, PeerBranch>);

impl PeerBranches {
    pub(super) fn connected(&mut self, now: Now, peer: PeerId, claim: TipClaim, chain: &Headers, out: &mut Outbox) {
        self.0.insert(peer, PeerBranch { claim, asked: None, branch: None, shown: None, has_sent_all: false });
        self.advance(now, chain, out);
    }

    pub(super) fn disconnected(&mut self, now: Now, peer: PeerId, chain: &Headers, out: &mut Outbox) {
        self.0.remove(&peer);
        self.advance(now, chain, out);
    }

    /// Whether every peer has sent all it has.
    pub(super) fn is_settled(&self) -> bool {
        self.0.values().all(|state| state.has_sent_all && state.asked.is_none())
    }

    /// Whether a peer has sent all it has.
    pub(super) fn has_settled(&self, peer: PeerId) -> bool {
        self.0.get(&peer).is_some_and(|state| state.has_sent_all)
    }

    /// The last header that a peer has sent.
    pub(super) fn shown(&self, peer: PeerId) -> Option<Shown> {
        self.0.get(&peer)?.shown
    }

    /// A peer has a block of this hash.
    pub(super) fn announced(&mut self, now: Now, peer: PeerId, hash: BlockHash, chain: &Headers, out: &mut Outbox) {
        match (chain.recent(&hash), self.0.get_mut(&peer)) {
            (Some(height), Some(state)) => state.mark_shown(chain, height),
            (None, Some(state)) => state.ask(now, peer, chain.locator(chain.height().saturating_sub(1)), out),
            (_, None) => {}
        }
    }

    /// Headers came. If the best chain changed, answers up to which height it is what it was.
    pub(super) fn received(
        &mut self,
        now: Now,
        peer: PeerId,
        headers: &[Header],
        chain: &mut Headers,
        out: &mut Outbox,
    ) -> Option<Height> {
        let fork = self.0.get_mut(&peer)?.take(now, peer, headers, chain, out);
        self.advance(now, chain, out);
        fork
    }

    /// Asks the peer with the highest claim first, and the others after it has sent everything.
    fn advance(&mut self, now: Now, chain: &Headers, out: &mut Outbox) {
        let from = || chain.locator(chain.height().saturating_sub(1));
        if self.0.values().any(|state| state.has_sent_all) {
            for (peer, state) in self.0.iter_mut().filter(|(_, state)| !state.has_sent_all && state.asked.is_none()) {
                state.ask(now, *peer, from(), out);
            }
        } else if self.0.values().all(|state| state.asked.is_none())
            && let Some((peer, state)) = self.0.iter_mut().max_by_key(|(_, state)| state.claim.work)
        {
            state.ask(now, *peer, from(), out);
        }
    }

    pub(super) fn tick(&mut self, now: Now, out: &mut Outbox) {
        for (peer, state) in &self.0 {
            if state.asked.as_ref().is_some_and(|asked| asked.since + HEADERS_TIMEOUT <= now.mono) {
                out.close(*peer, Reason::Stalled);
            }
        }
    }

    /// Extend all deadlines by a span.
    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        for PeerBranch { asked, claim: _, branch: _, shown: _, has_sent_all: _ } in self.0.values_mut() {
            asked.iter_mut().for_each(|Asked { since, from: _ }| *since += by);
        }
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        let asked = self.0.values().filter_map(|state| state.asked.as_ref());
        asked.map(|asked| asked.since + HEADERS_TIMEOUT).min()
    }
}

impl PeerBranch {
    fn ask(&mut self, now: Now, peer: PeerId, from: Vec<(Height, BlockHash)>, out: &mut Outbox) {
        if self.asked.is_none() {
            let locator = from.iter().map(|(_, hash)| *hash).collect();
            self.asked = Some(Asked { since: now.mono, from });
            out.send(peer, Message::GetHeaders { locator, stop: BlockHash::ZERO });
        }
    }

    /// Asks for what follows on a header that it sent.
    fn request_after(&mut self, now: Now, peer: PeerId, last: (Height, BlockHash), out: &mut Outbox) {
        self.asked = None;
        self.ask(now, peer, vec![last], out);
    }

    /// Notes that it has the best chain up to a height.
    fn mark_shown(&mut self, chain: &Headers, height: Height) {
        if let Some(hash) = chain.hash(height) {
            self.shown = Some(Shown { height, hash, work: chain.work_at(height) });
        }
    }

    /// It has sent all it has.
    fn settle(&mut self, peer: PeerId, out: &mut Outbox) {
        let shown = self.shown.map_or(Work::ZERO, |shown| shown.work);
        if !self.has_sent_all && self.claim.work > shown {
            out.offence(peer, Offence::EmptyClaim { claimed: self.claim.work, shown });
        }
        (self.has_sent_all, self.asked, self.branch) = (true, None, None);
    }

    fn take(
        &mut self,
        now: Now,
        peer: PeerId,
        headers: &[Header],
        chain: &mut Headers,
        out: &mut Outbox,
    ) -> Option<Height> {
        let [first, ..] = headers else {
            if let Some(asked) = self.asked.take() {
                // Its tip is one of the blocks asked about: the one that it named at first, or it has grown since.
                let tip = asked.from.iter().find(|(_, hash)| *hash == self.claim.hash);
                if let (None, Some((height, _))) = (self.shown, tip) {
                    self.mark_shown(chain, *height);
                }
                self.settle(peer, out);
            }
            return None;
        };
        let hashes = Header::hash_all(headers);
        if headers[1..].iter().zip(&hashes).any(|(header, parent)| header.previous != *parent) {
            out.offence(peer, Offence::UnlinkedHeaders);
            return None;
        }
        if let Some(branch) = self.branch.take_if(|branch| branch.tail.tip_hash() == first.previous) {
            self.asked = None;
            return self.follow(now, peer, branch, headers, headers.len() == MAX_HEADERS, chain, out);
        }
        let Some(parent) = self.place(&first.previous, chain) else {
            if headers.len() > MAX_ANNOUNCED {
                out.offence(peer, Offence::UnconnectedHeaders);
            } else {
                self.ask(now, peer, chain.locator(chain.height().saturating_sub(1)), out);
            }
            return None;
        };
        let answers = self.asked.take().is_some();
        if !answers && headers.len() > MAX_ANNOUNCED {
            out.offence(peer, Offence::UnrequestedHeaders);
        }
        let is_known = |(height, hash): &(Height, &BlockHash)| chain.hash(*height).as_ref() == Some(*hash);
        let known = parent.next().through(Height::MAX).zip(&hashes).take_while(is_known).count();
        let (fork, rest) = (parent.saturating_add(known as u32), &headers[known..]);
        self.mark_shown(chain, fork);
        let full = headers.len() == MAX_HEADERS;
        let tail = chain.tail(fork)?;
        if fork != chain.height() && !rest.is_empty() {
            let fork = (fork, tail.tip_hash());
            let branch = Branch { fork, tail, length: 0, kept: None, limit: u64::MAX };
            return self.follow(now, peer, branch, rest, full, chain, out);
        }
        let good = not_too_early(rest, now, chain);
        let (taken, result) = chain.extend(good);
        self.mark_shown(chain, fork.saturating_add(taken as u32));
        match result {
            Err(error) => refuse(peer, good.get(taken), error, out),
            Ok(()) if full && good.len() == rest.len() => {
                if let Some(shown) = self.shown {
                    self.request_after(now, peer, (shown.height, shown.hash), out);
                }
            }
            Ok(()) if answers => self.settle(peer, out),
            Ok(()) => {}
        }
        (taken > 0).then_some(fork)
    }

    /// The height of a block of the best chain after which headers may come from this peer.
    fn place(&self, hash: &BlockHash, chain: &Headers) -> Option<Height> {
        let asked = self.asked.iter().flat_map(|asked| &asked.from).find(|(_, asked)| asked == hash);
        // The best chain may have changed since it was asked.
        let asked = asked.map(|(height, _)| *height).filter(|height| chain.hash(*height).as_ref() == Some(hash));
        asked.or_else(|| chain.recent(hash))
    }

    /// Follows another branch than the best; makes it the best if it has more work.
    #[allow(clippy::too_many_arguments)]
    fn follow(
        &mut self,
        now: Now,
        peer: PeerId,
        mut branch: Branch,
        headers: &[Header],
        full: bool,
        chain: &mut Headers,
        out: &mut Outbox,
    ) -> Option<Height> {
        let (fork, fork_hash) = branch.fork;
        if chain.hash(fork) != Some(fork_hash) {
            // The best chain has changed below the fork of this branch.
            self.ask(now, peer, chain.locator(chain.height().saturating_sub(1)), out);
            return None;
        }
        let good = not_too_early(headers, now, chain);
        if let Err((place, error)) = branch.tail.extend(good, chain.params()) {
            refuse(peer, good.get(place), error, out);
            return None;
        }
        branch.length += good.len() as u64;
        if let Some(kept) = &mut branch.kept {
            kept.extend_from_slice(good);
        }
        let (height, hash, work) = (branch.tail.height(), branch.tail.tip_hash(), branch.tail.work());
        self.shown = Some(Shown { height, hash, work });
        let more = full && good.len() == headers.len();
        if work > chain.work() {
            let whole = branch.length == good.len() as u64;
            if whole || branch.kept.is_some() {
                let headers = branch.kept.as_deref().unwrap_or(good);
                chain.replace(fork, headers, branch.tail);
                if more {
                    self.request_after(now, peer, (height, hash), out);
                } else {
                    self.settle(peer, out);
                }
                return Some(fork);
            }
            let (tail, limit) = (chain.tail(fork)?, branch.length);
            let again = Branch { tail, length: 0, kept: Some(Vec::new()), limit, ..branch };
            self.request_after(now, peer, branch.fork, out);
            self.branch = Some(again);
        } else if !more || branch.length >= branch.limit {
            // The peer has no more, or the branch reached the limit for one that has no more work.
            self.settle(peer, out);
        } else if branch.length > max_length(chain.height()) {
            out.offence(peer, Offence::LowWorkHeaders);
        } else {
            self.request_after(now, peer, (height, hash), out);
            self.branch = Some(branch);
        }
        None
    }
}

/// Records an offence for `header`, which does not continue the chain that it was sent for.
fn refuse(peer: PeerId, header: Option<&Header>, error: HeaderChainError, out: &mut Outbox) {
    let Some(header) = header else { return };
    match error {
        HeaderChainError::Rule { source, .. } => {
            out.offence(peer, Offence::BadHeader { hash: header.hash(), rule: source });
        }
        HeaderChainError::Unlinked { .. } => out.offence(peer, Offence::UnlinkedHeaders),
        // No header can follow the greatest height, so this is no offence.
        HeaderChainError::TooHigh => {}
    }
}

/// Those before the first that is too far in the future: it is no offence, for it may be our clock that is wrong.
fn not_too_early<'a>(headers: &'a [Header], now: Now, chain: &Headers) -> &'a [Header] {
    let early = headers.iter().position(|header| check_clock(header, now.unix, chain.params()).is_err());
    &headers[..early.unwrap_or(headers.len())]
}
