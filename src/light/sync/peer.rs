//! What is known of a peer's chain, and what the peer is asked for next.

use std::time::Duration;

use super::{Headers, Shown};
use crate::consensus::context::check_clock;
use crate::consensus::headers::{HeaderChainError, HeaderTail};
use crate::p2p::chain_proofs::ChainQuery;
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
use crate::receipt::succinct::{ProvenChain, TAIL, verify_chain};

/// Time until a peer is asked for another proof: its branch may have grown.
const PROOF_INTERVAL: Duration = Duration::from_secs(600);

/// A request that is open.
#[derive(Debug)]
struct Asked {
    since: MonoTime,
    what: Awaited,
}

#[derive(Debug)]
enum Awaited {
    /// Headers after one of these places in the best chain.
    Headers(Vec<(Height, BlockHash)>),
    /// A proof of the peer's chain.
    Proof,
}

/// A proven chain with less work than the best. The peer is asked for the headers since its tip.
#[derive(Debug)]
struct Rival {
    proven: ProvenChain,
    proof: Vec<u8>,
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
pub(super) struct PeerBranch {
    pub(super) claim: TipClaim,
    pub(super) is_page: bool,
    serves_proofs: bool,
    /// When it was last asked for a proof of its chain.
    proof_asked: Option<MonoTime>,
    rival: Option<Box<Rival>>,
    asked: Option<Asked>,
    branch: Option<Branch>,
    pub(super) shown: Option<Shown>,
    /// It has sent all it had when it was asked.
    pub(super) has_sent_all: bool,
}

impl PeerBranch {
    /// Of a peer that has said hello.
    pub(super) fn new(claim: TipClaim, serves_proofs: bool, is_page: bool) -> Self {
        Self {
            claim,
            is_page,
            serves_proofs,
            proof_asked: None,
            rival: None,
            asked: None,
            branch: None,
            shown: None,
            has_sent_all: false,
        }
    }

    /// Whether a request is open.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether it has sent all it has, and no headers are awaited.
    pub(super) fn is_settled(&self) -> bool {
        let awaits_headers = |asked: &Asked| matches!(asked.what, Awaited::Headers(_));
        self.has_sent_all && !self.asked.as_ref().is_some_and(awaits_headers)
    }

    /// When the open request is late.
    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.asked.as_ref().map(|asked| asked.since + HEADERS_TIMEOUT)
    }

    /// Extend that by a span.
    pub(super) fn extend_deadline(&mut self, by: Duration) {
        let Self {
            asked,
            claim: _,
            is_page: _,
            serves_proofs: _,
            // An interval, not a deadline.
            proof_asked: _,
            rival: _,
            branch: _,
            shown: _,
            has_sent_all: _,
        } = self;
        asked.iter_mut().for_each(|Asked { since, what: _ }| *since += by);
    }

    /// Asks for all that it has beyond the best chain.
    pub(super) fn begin(&mut self, now: Now, peer: PeerId, ahead: u32, chain: &Headers, out: &mut Outbox) {
        let is_far = self.claim.height > chain.height().saturating_add(ahead);
        let before_first = chain.first().saturating_sub(1);
        if is_far && !self.is_page && self.may_prove(now) {
            self.ask_proof(now, peer, out);
        } else if self.claim.height < before_first && chain.work_at(before_first) >= Some(self.claim.work) {
            // Its headers would be compared with those that are not kept, and it has less work whatever they are.
            if chain.hash(self.claim.height) == Some(self.claim.hash) {
                self.mark_shown(chain, self.claim.height);
            }
            self.has_sent_all = true;
        } else {
            self.ask(now, peer, chain.locator(chain.height().saturating_sub(1)), out);
        }
    }

    /// Whether it serves proofs, and was not asked for one lately.
    pub(super) fn may_prove(&self, now: Now) -> bool {
        self.serves_proofs && self.proof_asked.is_none_or(|at| at + PROOF_INTERVAL <= now.mono)
    }

    pub(super) fn ask_proof(&mut self, now: Now, peer: PeerId, out: &mut Outbox) {
        self.proof_asked = Some(now.mono);
        self.asked = Some(Asked { since: now.mono, what: Awaited::Proof });
        out.send(peer, Message::GetChainProof(ChainQuery::Tip));
    }

    /// Asks for the headers up to a block that the peer has named.
    pub(super) fn ask_for_news(&mut self, now: Now, peer: PeerId, chain: &Headers, out: &mut Outbox) {
        self.ask(now, peer, chain.locator(chain.height().saturating_sub(1)), out);
    }

    fn ask(&mut self, now: Now, peer: PeerId, from: Vec<(Height, BlockHash)>, out: &mut Outbox) {
        if self.asked.is_none() {
            let locator = from.iter().map(|(_, hash)| *hash).collect();
            self.asked = Some(Asked { since: now.mono, what: Awaited::Headers(from) });
            out.send(peer, Message::GetHeaders { locator, stop: BlockHash::ZERO });
        }
    }

    /// Takes the answer to a request for headers: the places that it may begin after.
    pub(super) fn take_asked(&mut self) -> Option<Vec<(Height, BlockHash)>> {
        match self.asked.take_if(|asked| matches!(asked.what, Awaited::Headers(_)))?.what {
            Awaited::Headers(from) => Some(from),
            Awaited::Proof => None,
        }
    }

    /// Asks for what follows on a header that it sent.
    fn request_after(&mut self, now: Now, peer: PeerId, last: (Height, BlockHash), out: &mut Outbox) {
        self.take_asked();
        self.ask(now, peer, vec![last], out);
    }

    /// Notes that it has the best chain up to a height.
    pub(super) fn mark_shown(&mut self, chain: &Headers, height: Height) {
        if let (Some(hash), Some(work)) = (chain.hash(height), chain.work_at(height)) {
            self.shown = Some(Shown { height, hash, work });
        }
    }

    /// It has sent all it has.
    fn settle(&mut self, peer: PeerId, out: &mut Outbox) {
        let shown = self.shown.map_or(Work::ZERO, |shown| shown.work);
        if !self.has_sent_all && self.claim.work > shown {
            match self.is_page {
                // What it has on top of an old proof may be more than was asked for.
                true => out.close(peer, Reason::Stalled),
                false => out.offence(peer, Offence::EmptyClaim { claimed: self.claim.work, shown }),
            }
        }
        self.take_asked();
        (self.has_sent_all, self.branch, self.rival) = (true, None, None);
    }

    /// Takes a proof of its chain, or that it has none.
    pub(super) fn take_proof(
        &mut self,
        now: Now,
        peer: PeerId,
        proof: Option<Vec<u8>>,
        chain: &mut Headers,
        out: &mut Outbox,
    ) -> Option<Height> {
        if self.asked.take_if(|asked| matches!(asked.what, Awaited::Proof)).is_none() {
            out.offence(peer, Offence::UnrequestedProofs);
            return None;
        }
        let Some(proof) = proof else {
            self.serves_proofs = false;
            return None;
        };
        let proven = match verify_chain(&proof, chain.params()) {
            Ok(proven) => proven,
            Err(error) => {
                out.offence(peer, Offence::FalseChainProof(error));
                return None;
            }
        };
        let (height, hash, work) = (proven.tail.height(), proven.tail.tip_hash(), proven.tail.work());
        if check_clock(proven.tail.tip(), now.unix, chain.params()).is_err() {
            // It may be our clock that is wrong: headers are taken up to the first that is too early.
            self.serves_proofs = false;
            return None;
        }
        if chain.hash(height) == Some(hash) && height > chain.first().saturating_add(TAIL) {
            // The chain that is here, in fewer bytes.
            self.mark_shown(chain, height);
            chain.shorten(proven, proof);
            return None;
        }
        self.shown = Some(Shown { height, hash, work });
        if work > chain.work() {
            let fork = chain.adopt(proven, proof);
            self.request_after(now, peer, (height, hash), out);
            return Some(fork);
        }
        self.rival = Some(Box::new(Rival { proven, proof }));
        self.request_after(now, peer, (height, hash), out);
        None
    }

    /// Takes headers on top of a proven chain with less work than the best, as many as one message has; makes it the best if it
    /// has more work with them.
    fn take_after(
        &mut self,
        now: Now,
        peer: PeerId,
        rival: Rival,
        headers: &[Header],
        chain: &mut Headers,
        out: &mut Outbox,
    ) -> Option<Height> {
        let (good, mut tail) = (not_too_early(headers, now, chain), rival.proven.tail);
        if let Err((place, error)) = tail.extend(good, chain.params()) {
            refuse(peer, good.get(place), error, out);
            return None;
        }
        let (height, hash, work) = (tail.height(), tail.tip_hash(), tail.work());
        self.shown = Some(Shown { height, hash, work });
        if work <= chain.work() {
            self.settle(peer, out);
            return None;
        }
        let proven_to = rival.proven.tail.height();
        let fork = chain.adopt(rival.proven, rival.proof);
        chain.replace(proven_to, good, tail);
        if headers.len() == MAX_HEADERS && good.len() == headers.len() {
            self.request_after(now, peer, (height, hash), out);
        } else {
            self.settle(peer, out);
        }
        Some(fork)
    }

    pub(super) fn take(
        &mut self,
        now: Now,
        peer: PeerId,
        headers: &[Header],
        chain: &mut Headers,
        out: &mut Outbox,
    ) -> Option<Height> {
        let [first, ..] = headers else {
            if let Some(from) = self.take_asked() {
                // Its tip is one of the blocks asked about: the one that it named at first, or it has grown since.
                let tip = from.iter().find(|(_, hash)| *hash == self.claim.hash);
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
        if let Some(rival) = self.rival.take_if(|rival| rival.proven.tail.tip_hash() == first.previous) {
            self.take_asked();
            return self.take_after(now, peer, *rival, headers, chain, out);
        }
        if let Some(branch) = self.branch.take_if(|branch| branch.tail.tip_hash() == first.previous) {
            self.take_asked();
            return self.follow(now, peer, branch, headers, headers.len() == MAX_HEADERS, chain, out);
        }
        let Some(parent) = self.place(&first.previous, chain) else {
            if headers.len() > MAX_ANNOUNCED {
                out.offence(peer, Offence::UnconnectedHeaders);
            } else {
                self.ask_for_news(now, peer, chain, out);
            }
            return None;
        };
        let answers = self.take_asked().is_some();
        if answers && parent.next() < chain.first() && self.serves_proofs {
            // Its chain leaves this one below the headers that are kept.
            match self.may_prove(now) {
                true => self.ask_proof(now, peer, out),
                false => self.has_sent_all = true,
            }
            return None;
        }
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
        let from = self.asked.iter().flat_map(|asked| match &asked.what {
            Awaited::Headers(from) => &from[..],
            Awaited::Proof => &[],
        });
        let asked = from.into_iter().find(|(_, asked)| asked == hash);
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
