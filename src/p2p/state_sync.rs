//! Starting from a state: the newest state that is buried under enough work takes the place of genesis.
//!
//! A proof of the chain says which state that is (`StateStart`). The node then fetches headers from shortly below it
//! on; the earlier ones come when there is time ([`LateHeaders`](super::late_headers)). If no peer proves its chain, or
//! the chain is short, the node fetches all headers first.
//!
//! One peer shows what two blocks commit to: the root over the coins, and what the block after them is checked with.
//! Then the node asks all peers that serve states for ranges of the coins, and checks each range as it comes. With all
//! coins there, it downloads and validates the blocks since as always. If anything fails, it synchronises from genesis.

use std::time::Duration;

use tracing::{info, warn};

use crate::chain::{Chain, HeaderStart, LoadStep, NoState, SORTED_COINS, StateTarget};
use crate::consensus::commitment::Committed;
use crate::p2p::chain_proofs::ChainAnswer;
use crate::p2p::coins::{Opening, OpeningFault};
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::interface::Reason;
use crate::p2p::message::{Message, SERVICE_CHAIN_PROOFS, SERVICE_STATE, TipClaim};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::p2p::state::RangeAnswer;
use crate::p2p::state_servers::{ANSWER_TIMEOUT, StateServers};
use crate::p2p::state_start::{StateStart, least_proven};
use crate::p2p::sync::HeaderSync;
use crate::primitives::hash::BlockHash;
use crate::primitives::time::MonoTime;
use crate::storage::{BlockKey, StateBase, StoreError};

/// Time for which more peers may come with more work, after the headers of the first are here.
pub const SETTLE_TIME: Duration = Duration::from_secs(2);
/// Time without any progress after which another state is looked for, and then none.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Ranges of keys that are loaded side by side, so that many peers can be asked.
const PARTS: usize = 32;

/// What is under way.
#[derive(Debug)]
enum Stage {
    /// Nothing: it is done, or not wanted.
    Off,
    /// Peers are asked for proofs of their chains; none is left to ask since a time.
    Proof(Option<MonoTime>),
    /// The headers come; all that there are seem to be here since a time.
    Headers(Option<MonoTime>),
    /// A peer is asked what the blocks of a target commit to.
    Openings(Box<Openings>),
    /// The coins come.
    Coins,
    /// All coins are here.
    Writing,
}

#[derive(Debug)]
struct Openings {
    target: StateTarget,
    /// Where the headers begin, if a proof takes the place of those before.
    start: Option<HeaderStart>,
    asked: Option<(PeerId, MonoTime)>,
    next: Option<Committed>,
    first: Option<Committed>,
}

/// What a call has led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Nothing that concerns others.
    None,
    /// All blocks are to be downloaded.
    GaveUp,
    /// The state's block is the tip.
    Started,
    /// The chain is genesis alone again, without headers.
    Restarted,
    /// Headers are to be fetched, which waited.
    HeadersDue,
}

/// See the module.
#[derive(Debug)]
pub(super) struct StateSync {
    /// Whether a state is wanted whenever the node has to begin anew.
    is_wanted: bool,
    stage: Stage,
    start: StateStart,
    servers: StateServers,
    /// The last state that was looked for without success.
    missed: Option<BlockHash>,
    /// A chain had more work than what proofs showed, so that headers are fetched first until a state is loaded.
    skips_proofs: bool,
    /// When something useful came last.
    progress: MonoTime,
    /// Whether it matters when that was.
    is_waiting: bool,
}

impl StateSync {
    /// For a node that wants to start from a state, if its chain is empty, or that was killed while it loaded one.
    pub(super) fn new(now: Now, is_wanted: bool, accepts_slow: bool, chain: &Chain) -> Self {
        let is_due = chain.state_load().is_some() || (is_wanted && chain.is_fresh());
        let stage = match is_due {
            false => Stage::Off,
            true if chain.is_fresh() => Stage::Proof(None),
            true => Stage::Headers(None),
        };
        let (start, servers) = (StateStart::new(accepts_slow), StateServers::default());
        Self {
            is_wanted,
            stage,
            start,
            servers,
            missed: None,
            skips_proofs: false,
            progress: now.mono,
            is_waiting: false,
        }
    }

    /// Whether headers are to wait: a proof of the chain may take the place of most of them.
    pub(super) fn holds_headers(&self, chain: &Chain) -> bool {
        let is_proven = match &self.stage {
            Stage::Proof(_) => true,
            Stage::Openings(openings) => openings.start.is_some(),
            Stage::Off | Stage::Headers(_) | Stage::Coins | Stage::Writing => false,
        };
        is_proven && chain.is_fresh()
    }

    /// Whether a state is still to take the place of genesis: then no blocks are downloaded.
    pub(super) fn is_active(&self) -> bool {
        !matches!(self.stage, Stage::Off)
    }

    /// A peer said hello.
    pub(super) fn connected(&mut self, peer: PeerId, services: u64, claim: TipClaim) {
        if services & SERVICE_STATE != 0 {
            self.servers.connected(peer);
        }
        if services & SERVICE_CHAIN_PROOFS != 0 {
            self.start.connected(peer, claim);
        }
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        self.start.disconnected(peer);
        self.servers.remove(peer);
        if let Stage::Openings(openings) = &mut self.stage {
            openings.asked.take_if(|(asked, _)| *asked == peer);
        }
    }

    /// Whether an answer about the chain from this peer is awaited here.
    pub(super) fn awaits_proof(&self, peer: PeerId) -> bool {
        self.start.is_asked(peer)
    }

    /// A peer proved its chain, or headers of it.
    pub(super) fn chain_proof(&mut self, now: Now, answer: ChainAnswer, chain: &Chain, out: &mut Outbox) {
        self.progress = now.mono;
        self.start.answer(now, answer, chain.params(), out);
    }

    /// Turns from the headers to proofs, if a peer that proves a long chain has come after others. What was asked for is answered
    /// first.
    pub(super) fn turn_to_provers(&mut self, chain: &Chain, sync: &HeaderSync) {
        if matches!(self.stage, Stage::Headers(_))
            && !self.skips_proofs
            && chain.is_fresh()
            && !sync.is_asking()
            && self.start.may_prove(chain.best_header().height, chain.params())
        {
            self.stage = Stage::Proof(None);
        }
    }

    /// A peer showed what a block commits to.
    pub(super) fn opening(
        &mut self,
        now: Now,
        peer: PeerId,
        block: BlockHash,
        opening: Option<&Opening>,
        out: &mut Outbox,
    ) {
        let Stage::Openings(openings) = &mut self.stage else { return out.offence(peer, Offence::UnrequestedProofs) };
        let entry = [openings.target.next, openings.target.first].into_iter().find(|entry| entry.hash == block);
        let Some(entry) = entry.filter(|_| openings.asked.is_some_and(|(asked, _)| asked == peer)) else {
            return out.offence(peer, Offence::UnrequestedProofs);
        };
        let Some(opening) = opening else {
            openings.asked = None;
            return self.servers.rest(now, peer);
        };
        let coinbase = &opening.coinbase;
        let committed = if coinbase.block != block || coinbase.height != entry.height {
            Err(Offence::FalseOpening(OpeningFault::OtherBlock))
        } else {
            let is_there = coinbase.txid_under(&entry.merkle_root).map_err(Offence::FalseProof);
            is_there.and_then(|_| opening.check().map_err(Offence::FalseOpening))
        };
        match committed {
            Ok(committed) if block == openings.target.next.hash => openings.next = Some(*committed),
            Ok(committed) => openings.first = Some(*committed),
            Err(offence) => {
                openings.asked = None;
                self.servers.remove(peer);
                return out.offence(peer, offence);
            }
        }
        self.progress = now.mono;
    }

    /// A peer showed coins, or the nodes over them. `true` if they were missing, or outdated.
    ///
    /// # Errors
    /// The store's.
    pub(super) fn coins(
        &mut self,
        now: Now,
        peer: PeerId,
        answer: &RangeAnswer,
        chain: &mut Chain,
        out: &mut Outbox,
    ) -> Result<bool, StoreError> {
        let is_new = self.servers.coins(now, peer, answer, chain, out)?;
        if is_new {
            self.progress = now.mono;
        }
        Ok(is_new)
    }

    /// Goes on as far as it can, and asks for what is missing. The node ends every call with this.
    ///
    /// # Errors
    /// The store's, and so for every method below.
    pub(super) fn advance(
        &mut self,
        now: Now,
        chain: &mut Chain,
        sync: &HeaderSync,
        out: &mut Outbox,
    ) -> Result<Outcome, StoreError> {
        if let Stage::Off = self.stage {
            return self.leave_lost_branch(chain, sync);
        }
        if sync.is_outgrown() {
            warn!("a chain with more work has none of the headers that are here: starting from its state");
            return self.begin_by_headers(chain);
        }
        self.servers.wake(now);
        // Without peers, patience is not what is wanting.
        if sync.peers().next().is_none() {
            self.progress = now.mono;
        }
        let load = chain.state_load().map(|load| load.base);
        self.turn_to_provers(chain, sync);
        if let Stage::Headers(since) = &mut self.stage {
            if let Some(base) = load.filter(|base| is_on_best_branch(chain, &base.key())) {
                info!(height = base.height.as_u32(), block = %base.block, "loading the coins of a state goes on");
                (self.stage, self.progress) = (Stage::Coins, now.mono);
            } else if !sync.is_caught_up(chain) {
                *since = None;
            } else if chain.tree().header_gap().is_some() {
                // The headers that are here do not show the pace of the chain. A state that is not on it is not looked for again.
                self.missed = load.map(|base| base.block);
                self.prove(now);
            } else if *since.get_or_insert(now.mono) + SETTLE_TIME <= now.mono {
                match chain.state_target(now.unix, self.start.accepts_slow) {
                    Ok(target) => self.begin(now, target, None),
                    Err(reason) => return self.give_up(chain, &reason),
                }
            }
        }
        if let Stage::Proof(_) = self.stage {
            match self.follow_proofs(now, chain, sync, out)? {
                Outcome::None => {}
                outcome => return Ok(outcome),
            }
        }
        if let Stage::Openings(openings) = &mut self.stage {
            if openings.start.is_none() && !is_on_best_branch(chain, &openings.target.first.key()) {
                self.stage = Stage::Headers(None);
            } else if let Some(base) = openings.base() {
                match &openings.start {
                    Some(start) => chain.begin_load_above(base, PARTS, start)?,
                    None => chain.begin_load(base, PARTS)?,
                }
                if openings.start.is_some() {
                    info!(height = base.height.as_u32(), "a proof shows a state: headers are fetched from below it on");
                    (self.stage, self.progress) = (Stage::Headers(None), now.mono);
                    return Ok(Outcome::HeadersDue);
                }
                info!(height = base.height.as_u32(), block = %base.block, "loading the coins of a state");
                (self.stage, self.progress) = (Stage::Coins, now.mono);
            } else if openings.asked.is_none()
                && let Some(peer) = self.servers.ready()
            {
                openings.asked = Some((peer, now.mono));
                for block in [openings.target.next, openings.target.first] {
                    out.send(peer, Message::GetOpening(block.hash));
                }
            }
        }
        if let Stage::Coins = self.stage {
            match chain.state_load() {
                Some(load) if is_on_best_branch(chain, &load.base.key()) => {
                    if load.is_complete() {
                        self.stage = Stage::Writing;
                    } else {
                        self.servers.ask(now, chain, load, out)?;
                    }
                }
                _ => self.stage = Stage::Headers(None),
            }
        }
        self.is_waiting = match &self.stage {
            Stage::Openings(_) | Stage::Coins => true,
            // Headers that a proof promised.
            Stage::Headers(_) => load.is_some() && chain.tree().header_gap().is_some(),
            Stage::Off | Stage::Proof(_) | Stage::Writing => false,
        };
        if self.is_waiting && self.progress + PATIENCE <= now.mono {
            return self.lose_patience(now, chain);
        }
        Ok(Outcome::None)
    }

    fn begin(&mut self, now: Now, target: StateTarget, start: Option<HeaderStart>) {
        let openings = Openings { target, start, asked: None, next: None, first: None };
        (self.stage, self.progress) = (Stage::Openings(Box::new(openings)), now.mono);
    }

    /// Asks for proofs of the chain.
    fn prove(&mut self, now: Now) {
        self.start.reset();
        (self.stage, self.progress) = (Stage::Proof(None), now.mono);
    }

    /// Asks for proofs until no peer is left to ask, and begins with what they show.
    fn follow_proofs(
        &mut self,
        now: Now,
        chain: &mut Chain,
        sync: &HeaderSync,
        out: &mut Outbox,
    ) -> Result<Outcome, StoreError> {
        let Stage::Proof(since) = &mut self.stage else { return Ok(Outcome::None) };
        if self.start.advance(now, chain.params(), out) || sync.peers().next().is_none() {
            *since = None;
            return Ok(Outcome::None);
        }
        match self.start.take() {
            Some(Ok(found)) if Some(found.target.edge.hash) == self.missed => {
                self.give_up(chain, &"no peer serves the state that is wanted")
            }
            Some(Ok(found)) if chain.is_fresh() => {
                self.begin(now, found.target, Some(found.start));
                Ok(Outcome::None)
            }
            Some(Ok(found)) if is_on_best_branch(chain, &found.target.first.key()) => {
                self.begin(now, found.target, None);
                Ok(Outcome::None)
            }
            Some(Ok(_)) => self.begin_anew(chain, Stage::Proof(None)),
            Some(Err(reason @ NoState::Slow(_))) => self.give_up(chain, &reason),
            Some(Err(NoState::TooShort)) if chain.is_fresh() => Ok(self.fetch_headers()),
            None if chain.is_fresh() && sync.claims_less_than(least_proven(chain.params())) => Ok(self.fetch_headers()),
            _ if *since.get_or_insert(now.mono) + SETTLE_TIME > now.mono => Ok(Outcome::None),
            _ if chain.is_fresh() => Ok(self.fetch_headers()),
            // What is being loaded may still be the best that there is.
            _ => self.begin_anew(chain, Stage::Proof(None)),
        }
    }

    /// Fetches all headers, since no proof takes their place.
    fn fetch_headers(&mut self) -> Outcome {
        self.stage = Stage::Headers(None);
        Outcome::HeadersDue
    }

    /// Removes what is here, since a chain has more work that no proof has shown.
    fn begin_by_headers(&mut self, chain: &mut Chain) -> Result<Outcome, StoreError> {
        self.skips_proofs = true;
        self.begin_anew(chain, Stage::Headers(None))
    }

    /// Removes what is here, and looks for a state again.
    fn begin_anew(&mut self, chain: &mut Chain, stage: Stage) -> Result<Outcome, StoreError> {
        chain.restart()?;
        self.start.reset();
        self.stage = stage;
        Ok(Outcome::Restarted)
    }

    /// Nothing useful came for long: peers may serve a later state by now.
    fn lose_patience(&mut self, now: Now, chain: &mut Chain) -> Result<Outcome, StoreError> {
        let old = match &self.stage {
            Stage::Openings(openings) => Some(openings.target.edge.hash),
            _ => chain.state_load().map(|load| load.base.block),
        };
        let proven = match &self.stage {
            Stage::Openings(openings) => openings.start.is_some(),
            _ => false,
        };
        if proven || chain.tree().header_gap().is_some() {
            self.missed = old;
            self.prove(now);
            return Ok(Outcome::None);
        }
        match chain.state_target(now.unix, self.start.accepts_slow) {
            Ok(target) if Some(target.edge.hash) != old => {
                self.begin(now, target, None);
                Ok(Outcome::None)
            }
            Ok(_) => self.give_up(chain, &"no peer serves the state that is wanted"),
            Err(reason) => self.give_up(chain, &reason),
        }
    }

    /// Leaves the synchronisation to the download of all blocks.
    fn give_up(&mut self, chain: &mut Chain, reason: &dyn std::fmt::Display) -> Result<Outcome, StoreError> {
        warn!(%reason, "not starting from a state: all blocks are downloaded");
        self.stage = Stage::Off;
        (self.missed, self.skips_proofs) = (None, false);
        if chain.state_load().is_none() {
            return Ok(Outcome::GaveUp);
        }
        chain.restart()?;
        Ok(Outcome::Restarted)
    }

    /// Begins anew if the best headers are on a branch that leaves the chain before the block from which it started.
    fn leave_lost_branch(&mut self, chain: &mut Chain, sync: &HeaderSync) -> Result<Outcome, StoreError> {
        let (tip, best) = (chain.tip(), chain.best_header());
        let is_left = best.work > tip.work && chain.fork_point(&tip, &best).height.next() < chain.kept_from();
        if !self.is_wanted || !(is_left || sync.is_outgrown()) {
            return Ok(Outcome::None);
        }
        warn!(best = %best.hash, "the chain with most work leaves this one where blocks are missing: starting from its state");
        if is_left { self.begin_anew(chain, Stage::Proof(None)) } else { self.begin_by_headers(chain) }
    }

    /// Writes a part of what follows from the coins, when all are there.
    pub(super) fn write_step(&mut self, chain: &mut Chain) -> Result<Outcome, StoreError> {
        if !self.is_writing() {
            return Ok(Outcome::None);
        }
        match chain.load_step(SORTED_COINS)? {
            LoadStep::Loading => Ok(Outcome::None),
            LoadStep::Started => {
                (self.stage, self.missed, self.skips_proofs) = (Stage::Off, None, false);
                Ok(Outcome::Started)
            }
            LoadStep::Inflated => self.give_up(chain, &"the state has more value than was issued"),
        }
    }

    fn is_writing(&self) -> bool {
        matches!(self.stage, Stage::Writing)
    }

    /// Disconnects peers that do not answer.
    pub(super) fn tick(&self, now: Now, out: &mut Outbox) {
        self.start.tick(now, out);
        let mut late = self.servers.late(now);
        if let Stage::Openings(openings) = &self.stage
            && let Some((peer, since)) = openings.asked
            && since + ANSWER_TIMEOUT <= now.mono
        {
            late.push(peer);
        }
        for peer in late {
            out.close(peer, Reason::Stalled);
        }
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        let patience = self.progress + PATIENCE;
        match &self.stage {
            Stage::Off => None,
            Stage::Proof(since) => self.start.deadline().or(since.map(|since| since + SETTLE_TIME)),
            Stage::Headers(since) => {
                let settled = since.map(|since| since + SETTLE_TIME);
                settled.into_iter().chain(self.is_waiting.then_some(patience)).min()
            }
            Stage::Openings(openings) => {
                let answer = openings.asked.map(|(_, since)| since + ANSWER_TIMEOUT);
                self.servers.deadline().into_iter().chain(answer).chain([patience]).min()
            }
            Stage::Coins => self.servers.deadline().into_iter().chain([patience]).min(),
            Stage::Writing => Some(MonoTime::START),
        }
    }

    /// Extend all deadlines by a span.
    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        self.servers.extend_deadlines(by);
        if let Stage::Openings(openings) = &mut self.stage {
            openings.asked.iter_mut().for_each(|(_, since)| *since += by);
        }
        self.start.extend_deadlines(by);
        self.progress += by;
    }

    /// Panics if a peer is not one of `ready`, or a range is asked for twice.
    pub(super) fn assert_conserved(&self, ready: &[PeerId]) {
        self.start.assert_conserved(ready);
        self.servers.assert_conserved(ready);
    }
}

impl Openings {
    /// What a node starts from, when both blocks have shown what they commit to.
    fn base(&self) -> Option<StateBase> {
        let (target, next, first) = (&self.target, self.next?, self.first?);
        Some(StateBase {
            height: target.edge.height,
            block: target.edge.hash,
            root: first.state,
            before: (target.before.hash, next.state),
            filters: next.filters,
            issued: target.issued,
        })
    }
}

/// Whether a block is on the branch of the best header.
fn is_on_best_branch(chain: &Chain, at: &BlockKey) -> bool {
    chain.ancestor(&chain.best_header(), at.height).is_some_and(|entry| entry.hash == at.hash)
}
