//! What keys own: proven as of an edge of the chain, none left out, then followed by filters that the chain commits to.
//!
//! One peer after the other is asked for what the first block after an epoch commits to, and for proofs from the root over
//! the coins after that epoch's edge. Every answer is checked, so a peer can refuse to answer, but not leave out a coin. The
//! work on top of that block vouches for the root. [`Watch`](super::watch) then follows the keys from the edge on.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::headers::Headers;
use super::openings::check_opening;
use super::request::{Next, Request};
use crate::consensus::coins::{Coin, Delta};
use crate::consensus::params::Params;
use crate::p2p::coins::{About, CoinAnswer, CoinQuery, Opening, ShownCoins};
use crate::p2p::message::Message;
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::p2p::{Now, PeerId};
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::time::MonoTime;
use crate::primitives::tx::OutPoint;
use crate::receipt::weight::BURIED;
use crate::state::{StateId, Total};

/// Most coins that are kept.
pub const MAX_COINS: usize = 1_000_000;

/// Whose coins are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All coins of these keys.
    Keys(BTreeSet<PublicKey>),
    /// One coin of a key.
    Coin(PublicKey, OutPoint),
    /// Only the value and number of the coins of these keys at the edge, whatever became of them since.
    Totals(BTreeSet<PublicKey>),
}

impl Scope {
    /// The keys.
    pub fn keys(&self) -> BTreeSet<PublicKey> {
        match self {
            Self::Keys(keys) | Self::Totals(keys) => keys.clone(),
            // An array's set would be sorted, whose code is 0.5 % of the browser's module.
            Self::Coin(key, _) => {
                let mut keys = BTreeSet::new();
                keys.insert(*key);
                keys
            }
        }
    }

    fn questions(&self) -> Vec<(PublicKey, About)> {
        match self {
            Self::Keys(keys) => keys.iter().map(|key| (*key, About::FIRST)).collect(),
            Self::Coin(key, outpoint) => vec![(*key, About::One(*outpoint))],
            Self::Totals(keys) => keys.iter().map(|key| (*key, About::Total)).collect(),
        }
    }
}

/// What was proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// Height and hash of the edge: the coins are those after this block.
    pub edge: (Height, BlockHash),
    /// Height of the first block that commits to them; `None` for those of genesis, which are known without a proof.
    pub committed_at: Option<Height>,
    /// The coins, but for [`Scope::Totals`].
    pub coins: BTreeMap<OutPoint, Coin>,
    /// Value and number of each key's coins that were asked for.
    pub totals: BTreeMap<PublicKey, Total>,
}

/// Why nothing was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotProven {
    /// No peer had a state that is committed to and kept, or none answered.
    #[error("no peer that was asked proves the coins after block {edge}, nor after a later edge")]
    NoAnswer {
        /// The edge.
        edge: Height,
    },
    /// More coins than are kept.
    #[error("the keys have more than {MAX_COINS} coins")]
    TooMany,
}

/// A state that is being asked about.
#[derive(Debug)]
struct Asking {
    edge: (Height, BlockHash),
    /// The first block that commits to it.
    first: (Height, BlockHash),
    /// The state, once that block is opened.
    state: Option<StateId>,
    request: Request,
    /// What is still to be asked, the next last.
    questions: Vec<(PublicKey, About)>,
    coins: BTreeMap<OutPoint, Coin>,
    totals: BTreeMap<PublicKey, Total>,
}

/// The owner's question, until it is answered.
#[derive(Debug)]
pub(super) struct Holdings {
    scope: Scope,
    proven: Option<Proven>,
    asking: Option<Asking>,
    /// Only later edges are tried.
    after: Option<Height>,
}

impl Holdings {
    pub(super) fn new(scope: Scope) -> Self {
        Self { scope, proven: None, asking: None, after: None }
    }

    pub(super) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// What was proven, once all is.
    pub(super) fn proven(&self) -> Option<&Proven> {
        self.proven.as_ref()
    }

    /// The best chain is another above `fork`. Whether what was proven no longer holds, and is asked for again.
    pub(super) fn on_reorganisation(&mut self, fork: Height) -> bool {
        let is_undone = self.proven.take_if(|proven| proven.committed_at.is_some_and(|at| fork < at)).is_some();
        if self.asking.take_if(|asking| fork < asking.first.0).is_some() || is_undone {
            self.after = None;
        }
        is_undone
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        if let Some(asking) = &mut self.asking {
            asking.request.failed(peer);
        }
    }

    pub(super) fn tick(&mut self, now: Now) {
        if let Some(asking) = &mut self.asking {
            asking.request.tick(now);
        }
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.asking.as_ref()?.request.deadline()
    }

    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        if let Some(asking) = &mut self.asking {
            asking.request.extend_deadline(by);
        }
    }

    /// Heights whose headers are needed next and are not known.
    pub(super) fn unknown(&self, chain: &Headers) -> Vec<Height> {
        match choose(chain, self.after) {
            Choice::Unknown(heights) if self.proven.is_none() && self.asking.is_none() => heights,
            _ => Vec::new(),
        }
    }

    /// Asks the next peer, unless one is being asked. Whether all is proven now.
    ///
    /// # Errors
    /// [`NotProven`], after which there is nothing more to do.
    pub(super) fn advance(
        &mut self,
        now: Now,
        peers: &[PeerId],
        chain: &Headers,
        out: &mut Outbox,
    ) -> Result<bool, NotProven> {
        while self.proven.is_none() {
            let asking = match &mut self.asking {
                Some(asking) => asking,
                None => match choose(chain, self.after) {
                    Choice::Genesis => {
                        self.proven = Some(genesis(chain.params(), &self.scope));
                        return Ok(true);
                    }
                    Choice::Edge(edge, first) => self.asking.insert(Asking {
                        edge,
                        first,
                        state: None,
                        request: Request::default(),
                        questions: self.scope.questions(),
                        coins: BTreeMap::new(),
                        totals: BTreeMap::new(),
                    }),
                    Choice::Unknown(_) => return Ok(false),
                    Choice::None => {
                        return Err(NotProven::NoAnswer { edge: self.after.unwrap_or_default() });
                    }
                },
            };
            let Some(message) = asking.next_message() else {
                let (coins, totals) = (std::mem::take(&mut asking.coins), std::mem::take(&mut asking.totals));
                self.proven = Some(Proven { edge: asking.edge, committed_at: Some(asking.first.0), coins, totals });
                self.asking = None;
                return Ok(true);
            };
            if asking.coins.len() > MAX_COINS {
                return Err(NotProven::TooMany);
            }
            match asking.request.next(now, peers) {
                Next::Ask(peer) => out.send(peer, message),
                Next::Wait => return Ok(false),
                // The state may be gone at all peers: they keep the last ones.
                Next::Exhausted => {
                    self.after = Some(asking.edge.0);
                    self.asking = None;
                }
            }
        }
        Ok(false)
    }

    /// Whether this is the block that `peer` is asked to open.
    pub(super) fn awaits_opening(&self, peer: PeerId, block: &BlockHash) -> bool {
        let asking = self.asking.as_ref().filter(|asking| asking.state.is_none() && asking.first.1 == *block);
        asking.is_some_and(|asking| asking.request.is_of(peer))
    }

    /// Takes the answer of the peer that is asked to open a block.
    pub(super) fn opening(&mut self, peer: PeerId, opening: Option<Opening>, chain: &Headers, out: &mut Outbox) {
        let Some(asking) = &mut self.asking else { return };
        let checked = opening.map_or(Ok(None), |opening| check_opening(opening, &asking.first, chain));
        match checked {
            Ok(Some(committed)) => {
                let (height, block) = asking.edge;
                asking.state = Some(StateId { height, block, root: committed.state });
                asking.request.answered(peer);
            }
            Ok(None) => asking.request.failed(peer),
            Err(offence) => {
                asking.request.failed(peer);
                out.offence(peer, offence);
            }
        }
    }

    /// Takes a peer's answer about coins.
    pub(super) fn coins(&mut self, peer: PeerId, answer: CoinAnswer, out: &mut Outbox) {
        let asked = |asking: &&mut Asking| asking.query() == Some(answer.query) && asking.request.is_of(peer);
        let Some(asking) = self.asking.as_mut().filter(asked) else {
            return out.offence(peer, Offence::UnrequestedProofs);
        };
        let (Some(state), Some(proof)) = (&asking.state, answer.proof) else { return asking.request.failed(peer) };
        match answer.query.check(state, &proof) {
            Ok(shown) => {
                asking.request.answered(peer);
                asking.take(answer.query.owner, shown);
            }
            Err(fault) => {
                asking.request.failed(peer);
                out.offence(peer, Offence::FalseCoins(fault));
            }
        }
    }
}

impl Asking {
    fn query(&self) -> Option<CoinQuery> {
        let ((owner, about), state) = (*self.questions.last()?, self.state?);
        Some(CoinQuery { root: state.root, owner, about })
    }

    /// `None` if all is answered.
    fn next_message(&self) -> Option<Message> {
        if self.state.is_none() {
            return Some(Message::GetOpening(self.first.1));
        }
        self.query().map(Message::GetCoins)
    }

    fn take(&mut self, owner: PublicKey, shown: ShownCoins) {
        self.questions.pop();
        match shown {
            ShownCoins::Total(total) => {
                self.totals.insert(owner, total);
            }
            ShownCoins::Page(leaves, rest) => {
                self.coins.extend(leaves.iter().map(|leaf| leaf.coin()));
                self.questions.extend(rest.map(|next| (owner, About::From(next))));
            }
            ShownCoins::One(leaf) => self.coins.extend(leaf.map(|leaf| leaf.coin())),
        }
    }
}

/// Which state is asked about.
enum Choice {
    /// That of genesis, which needs no proof.
    Genesis,
    /// The edge, and the first block that commits to it.
    Edge((Height, BlockHash), (Height, BlockHash)),
    /// That depends on the headers at these heights.
    Unknown(Vec<Height>),
    /// None is left.
    None,
}

/// The newest edge of the last two that blocks commit to whose first such block is buried, or else the older one. In a chain
/// too short for that, genesis. Only edges above `after`, if it is given.
fn choose(chain: &Headers, after: Option<Height>) -> Choice {
    let (params, tip) = (chain.params(), chain.height());
    let epoch = params.epoch_blocks;
    if after.is_none() && tip < Height::from_u32(epoch.saturating_add(BURIED - 1)) {
        return Choice::Genesis;
    }
    let until = chain.tip().time;
    let place = |height: Height| chain.hash(height).map(|hash| (height, hash));
    let newest = params.committed_state(tip);
    let edges = [newest, newest.and_then(|edge| edge.checked_sub(epoch))].into_iter().flatten();
    let edges: Vec<Height> = edges.filter(|edge| after.is_none_or(|after| *edge > after)).collect();
    let mut edge = edges.last().copied();
    for newer in edges {
        let unknown: Vec<Height> = chain.unknown([newer, newer.saturating_add(epoch)]).collect();
        if !unknown.is_empty() {
            return Choice::Unknown(unknown);
        }
        let weight = chain.weight(newer.saturating_add(epoch), until);
        if weight.is_some_and(|weight| weight.confirmations >= BURIED) {
            edge = Some(newer);
            break;
        }
    }
    let places = edge.and_then(|edge| Some((place(edge)?, place(edge.saturating_add(epoch))?)));
    places.map_or(Choice::None, |(edge, first)| Choice::Edge(edge, first))
}

/// The coins that genesis makes.
fn genesis(params: &Params, scope: &Scope) -> Proven {
    let block = &params.genesis;
    let keys = scope.keys();
    let owner = |coin: &Coin| coin.output.key().copied().filter(|key| keys.contains(key));
    let is_asked = |outpoint: &OutPoint| !matches!(scope, Scope::Coin(_, one) if one != outpoint);
    let created = Delta::created_by(block, &block.txids(), Height::GENESIS);
    // Collected, they would be sorted, whose code is 1 % of the browser's module.
    let mut coins: BTreeMap<OutPoint, Coin> = BTreeMap::new();
    coins.extend(created.into_iter().filter(|(outpoint, coin)| owner(coin).is_some() && is_asked(outpoint)));
    let mut totals: BTreeMap<PublicKey, Total> = BTreeMap::new();
    if matches!(scope, Scope::Totals(_)) {
        totals.extend(keys.iter().map(|key| (*key, Total::default())));
        for coin in coins.values() {
            if let Some(total) = owner(coin).and_then(|key| totals.get_mut(&key)) {
                *total = Total { sum: total.sum.saturating_add(coin.output.value), count: total.count + 1 };
            }
        }
    }
    Proven { edge: (Height::GENESIS, params.genesis_hash), committed_at: None, coins, totals }
}
