//! Which state a node starts from, by a proof of the chain in place of its headers.
//!
//! Of the peers that serve proofs the one that claims most work is asked for its proof, as a light client asks
//! ([`receipt::succinct`](crate::receipt::succinct)); then for a few headers below its end, proven under the range that it
//! shows: those of the blocks of the states that may be good enough, and the one from which on the node is to have all. Another
//! peer is asked as long as one claims more work than was proven. A peer whose answer proves nothing is blamed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::chain::{HeaderStart, MEDIAN_SPAN, NoState, StateHeights, StateTarget, TargetBlock, is_buried, issued_by};
use crate::consensus::context::check_clock;
use crate::consensus::params::Params;
use crate::p2p::chain_proofs::{ChainAnswer, ChainQuery};
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::interface::Reason;
use crate::p2p::message::{Message, TipClaim};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::mmr;
use crate::primitives::target::Work;
use crate::primitives::time::MonoTime;
use crate::receipt::succinct::{ProvenChain, ProvenHeader, TAIL, verify_chain, verify_header, verify_headers};
use crate::receipt::weight::{Milestone, due_until, work_of};

/// Time-out for an answer: 300 kB over a slow line, and the time in which a peer makes its proof.
pub const PROOF_TIMEOUT: Duration = Duration::from_secs(30);
/// Epochs of headers that are fetched anyway, from before the oldest state that may be chosen.
const FETCHED_EPOCHS: u32 = 6;

/// Blocks by which a chain must be longer than genesis to be started from by a proof: the headers of a shorter one are few.
pub fn least_proven(params: &Params) -> u32 {
    TAIL.saturating_add(FETCHED_EPOCHS.saturating_mul(params.epoch_blocks))
}

/// A state to start from, and where the headers begin.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) target: StateTarget,
    pub(super) start: HeaderStart,
    /// Work of the chain that was proven.
    work: Work,
}

/// What the peer that is asked was asked for.
#[derive(Debug)]
enum Step {
    /// The proof of its chain.
    Tip,
    /// Headers of the blocks that have to do with states.
    Blocks { chain: Box<ProvenChain>, wanted: BTreeSet<Height> },
    /// The header from which on all are fetched.
    Start { chain: Box<ProvenChain>, target: Box<StateTarget>, height: Height },
}

#[derive(Debug)]
struct Asked {
    peer: PeerId,
    since: MonoTime,
    step: Step,
}

/// A peer that serves proofs.
#[derive(Debug)]
struct Prover {
    claim: TipClaim,
    /// It was asked, and has proven what it can.
    is_done: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct StateStart {
    provers: BTreeMap<PeerId, Prover>,
    asked: Option<Asked>,
    found: Option<Found>,
    /// Why the last chain that was proven has no state to start from.
    refused: Option<NoState>,
    /// Whether a state may be under less work than its miners did before.
    pub(super) accepts_slow: bool,
}

impl StateStart {
    /// With no peer asked yet. A chain that slowed down has a state to start from only if `accepts_slow`.
    pub(super) fn new(accepts_slow: bool) -> Self {
        Self { accepts_slow, ..Self::default() }
    }

    /// A peer that serves proofs said hello.
    pub(super) fn connected(&mut self, peer: PeerId, claim: TipClaim) {
        self.provers.insert(peer, Prover { claim, is_done: false });
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        self.provers.remove(&peer);
        self.asked.take_if(|asked| asked.peer == peer);
    }

    /// Begins anew: all peers may be asked again.
    pub(super) fn reset(&mut self) {
        self.provers.values_mut().for_each(|prover| prover.is_done = false);
        (self.asked, self.found, self.refused) = (None, None, None);
    }

    /// Whether this peer is asked now.
    pub(super) fn is_asked(&self, peer: PeerId) -> bool {
        self.asked.as_ref().is_some_and(|asked| asked.peer == peer)
    }

    /// Whether a peer that was not asked claims so much more than the headers up to a height that a proof is worth while.
    pub(super) fn may_prove(&self, known: Height, params: &Params) -> bool {
        let least = known.saturating_add(least_proven(params));
        self.provers.values().any(|prover| !prover.is_done && prover.claim.height >= least)
    }

    /// Asks the next peer, unless one is asked. Whether an answer is awaited.
    pub(super) fn advance(&mut self, now: Now, params: &Params, out: &mut Outbox) -> bool {
        let proven = self.found.as_ref().map(|found| found.work);
        if self.asked.is_none() {
            let is_open = |prover: &Prover| {
                !prover.is_done
                    && prover.claim.height.as_u32() >= least_proven(params)
                    && proven.is_none_or(|work| prover.claim.work > work)
            };
            let open = self.provers.iter_mut().filter(|(_, prover)| is_open(prover));
            let Some((peer, prover)) = open.max_by_key(|(_, prover)| prover.claim.work) else { return false };
            prover.is_done = true;
            self.asked = Some(Asked { peer: *peer, since: now.mono, step: Step::Tip });
            out.send(*peer, Message::GetChainProof(ChainQuery::Tip));
        }
        true
    }

    /// What was found, once no peer is left to ask: a state, why there is none, or nothing.
    pub(super) fn take(&mut self) -> Option<Result<Found, NoState>> {
        let refused = self.refused.take();
        self.found.take().map(Ok).or_else(|| refused.map(Err))
    }

    /// An answer of the peer that is asked.
    pub(super) fn answer(&mut self, now: Now, answer: ChainAnswer, params: &Params, out: &mut Outbox) {
        let Some(Asked { peer, step, .. }) = self.asked.take() else { return };
        // It has no proof, or its chain has moved.
        let Some(proof) = answer.proof else { return };
        let next = match step {
            Step::Tip => verify_chain(&proof, params).map(|chain| self.on_chain(now, chain, params)),
            Step::Blocks { chain, wanted } => {
                let shown = verify_headers(&proof, &wanted, (&chain.range, first_time(&chain)), params);
                shown.map(|shown| self.choose(now, chain, shown, params))
            }
            Step::Start { chain, target, height } => {
                let shown = verify_header(&proof, height, (&chain.range, first_time(&chain)), params);
                shown.map(|(proven, range)| {
                    self.note(&chain, *target, (height, proven.header), range);
                    None
                })
            }
        };
        match next {
            Ok(None) => {}
            Ok(Some((query, step))) => {
                out.send(peer, Message::GetChainProof(query));
                self.asked = Some(Asked { peer, since: now.mono, step });
            }
            Err(error) => {
                self.provers.remove(&peer);
                out.offence(peer, Offence::FalseChainProof(error));
            }
        }
    }

    /// A chain was proven: asks for the headers of its states' blocks.
    fn on_chain(&mut self, now: Now, chain: ProvenChain, params: &Params) -> Option<(ChainQuery, Step)> {
        let is_better = self.found.as_ref().is_none_or(|found| chain.tail.work() > found.work);
        // If the tip is from the future, it may be our clock that is wrong: headers say more.
        if !is_better || check_clock(chain.tail.tip(), now.unix, params).is_err() {
            return None;
        }
        let heights = StateHeights::below(chain.tail.height(), params);
        let wanted = heights.flat_map(|StateHeights { edge, before, first }| [before, edge, edge.next(), first]);
        let is_shown = |height: &Height| *height >= first_kept(&chain) || known(&chain).contains_key(height);
        let wanted: BTreeSet<Height> = wanted.filter(|height| !is_shown(height)).collect();
        if wanted.is_empty() {
            return self.choose(now, Box::new(chain), Vec::new(), params);
        }
        let below = chain.last.first().map(Header::hash)?;
        let query = ChainQuery::headers(below, wanted.iter().copied());
        Some((query, Step::Blocks { chain: Box::new(chain), wanted }))
    }

    /// The headers are here: chooses the state, and asks for the header from which on all are fetched.
    fn choose(
        &mut self,
        now: Now,
        chain: Box<ProvenChain>,
        shown: Vec<ProvenHeader>,
        params: &Params,
    ) -> Option<(ChainQuery, Step)> {
        let mut all = known(&chain);
        all.extend(shown.into_iter().map(|proven| (proven.height, proven)));
        let until = due_until(chain.tail.tip().time, now.unix, params);
        let mut chosen = Err(NoState::TooShort);
        for StateHeights { edge, before, first } in StateHeights::below(chain.tail.height(), params) {
            let Some(block) = all.get(&first) else { break };
            let earlier = all.range(..first).rev().map(|(_, proven)| proven.place);
            match is_buried(block.place, earlier, chain.tail.work(), until, self.accepts_slow, params) {
                Ok(false) => continue,
                Ok(true) => chosen = Ok((edge, before, first)),
                Err(slow) => chosen = Err(slow),
            }
            break;
        }
        let at = |height: Height| {
            let proven = all.get(&height).ok_or(NoState::TooShort)?;
            Ok(TargetBlock::new(height, proven.hash, &proven.header))
        };
        let target = chosen.and_then(|(edge, before, first)| {
            let (edge, before, next, first) = (at(edge)?, at(before)?, at(edge.next())?, at(first)?);
            Ok(StateTarget { edge, before, next, first, issued: issued_by(edge.height, params) })
        });
        // Blocks from the edge before on have median times of their own.
        let start = target.and_then(|target| match target.before.height.checked_sub(MEDIAN_SPAN) {
            Some(height) if height > Height::GENESIS.next() && chain.range.leaves() > 1 => Ok((target, height)),
            _ => Err(NoState::TooShort),
        });
        let (target, height) = match start {
            Ok(start) => start,
            Err(refused) => {
                self.refused = Some(refused);
                return None;
            }
        };
        let kept = first_kept(&chain);
        if height >= kept
            && let Some(header) = chain.last.first()
        {
            let range = chain.range.clone();
            self.note(&chain, target, (kept, *header), range);
            return None;
        }
        let query = ChainQuery::headers(chain.last.first().map(Header::hash)?, [height]);
        Some((query, Step::Start { chain, target: Box::new(target), height }))
    }

    fn note(
        &mut self,
        chain: &ProvenChain,
        target: StateTarget,
        (height, header): (Height, Header),
        range: mmr::Range,
    ) {
        let start = HeaderStart { height, header, range, first_time: first_time(chain) };
        self.found = Some(Found { target, start, work: chain.tail.work() });
    }

    /// Disconnects a peer that does not answer.
    pub(super) fn tick(&self, now: Now, out: &mut Outbox) {
        if let Some(asked) = self.asked.as_ref().filter(|asked| asked.since + PROOF_TIMEOUT <= now.mono) {
            out.close(asked.peer, Reason::Stalled);
        }
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.asked.as_ref().map(|asked| asked.since + PROOF_TIMEOUT)
    }

    /// Extend all deadlines by a span.
    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        self.asked.iter_mut().for_each(|asked| asked.since += by);
    }

    /// Panics if a peer is not one of `ready`.
    pub(super) fn assert_conserved(&self, ready: &[PeerId]) {
        assert!(self.provers.keys().all(|peer| ready.contains(peer)), "only peers prove chains");
        assert!(self.asked.as_ref().is_none_or(|asked| self.provers.contains_key(&asked.peer)));
    }
}

fn first_time(chain: &ProvenChain) -> u32 {
    chain.tail.checkpoint().first_time
}

/// The height from which on a proof shows all headers.
fn first_kept(chain: &ProvenChain) -> Height {
    Height::from_u32(u32::try_from(chain.range.leaves()).unwrap_or(u32::MAX)).max(Height::GENESIS.next())
}

/// All headers that a proof shows.
fn known(chain: &ProvenChain) -> BTreeMap<Height, ProvenHeader> {
    let mut all: BTreeMap<Height, ProvenHeader> = chain.sampled.iter().map(|proven| (proven.height, *proven)).collect();
    let mut after = chain.range.work();
    let hashes: Vec<BlockHash> = Header::hash_all(&chain.last);
    for ((height, header), hash) in first_kept(chain).through(Height::MAX).zip(&chain.last).zip(hashes) {
        let own = work_of(header);
        after = after + own;
        let place = Milestone { after, own, time: header.time };
        all.insert(height, ProvenHeader { height, header: *header, hash, place });
    }
    all
}
