//! Proofs that transactions are in the best chain: asked of one peer after the other, and checked against the headers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::headers::Headers;
use crate::consensus::check::check_merkle_root;
use crate::p2p::message::{Item, Message};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::outbox::Outbox;
use crate::p2p::proofs::{ProofFault, ProofQuery, Proofs, TxProof};
use crate::p2p::{Now, PeerId};
use crate::primitives::block::Block;
use crate::primitives::hash::{BlockHash, Hash256, Txid};
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::time::MonoTime;
use crate::primitives::tx::{Lock, Transaction};
use crate::storage::TxLocation;

/// Time after which another peer is asked for a proof.
pub const PROOF_TIMEOUT: Duration = Duration::from_secs(10);
/// Most transactions of one key that are kept.
pub const MAX_HISTORY: usize = 100_000;

/// A transaction proven to be in the best chain by a Merkle branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its id.
    pub txid: Txid,
    /// The transaction.
    pub transaction: Transaction,
    /// The block that holds it.
    pub block: BlockHash,
    /// Where in the chain: the block's height, and the place in the block.
    pub place: TxLocation,
    /// The block's time, in seconds since 1970.
    pub time: u32,
    /// The proof: from the transaction to the root in the block's header.
    pub siblings: Vec<Hash256>,
}

/// The answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// What was proven, in the order of the chain.
    pub found: Vec<Found>,
    /// The requested block, if it is on the best chain and its body matches its header.
    pub block: Option<Arc<Block>>,
    /// Peers that deny having it, which proves nothing.
    pub denied: usize,
    /// Peers that showed it in a block that is not on the best chain known here.
    pub elsewhere: usize,
    /// Peers that did not answer in time or left.
    pub silent: usize,
    /// Peers whose proof was false.
    pub false_proofs: usize,
}

/// Checks a proof against the best chain of headers.
///
/// # Errors
/// Why it is not valid.
pub fn check(proof: TxProof, chain: &Headers) -> Result<Found, ProofFault> {
    let TxProof { height, block, .. } = proof;
    let header = chain.header(height).filter(|_| chain.hash(height) == Some(block));
    let header = header.ok_or(ProofFault::Elsewhere { block, height })?;
    let txid = proof.txid_under(&header.merkle_root)?;
    let TxProof { branch, transaction, .. } = proof;
    let place = TxLocation { height, position: branch.index };
    Ok(Found { txid, transaction, block, place, time: header.time, siblings: branch.siblings })
}

/// Checks that a body matches its header.
pub(super) fn check_body(block: &Block) -> Result<(), Offence> {
    check_merkle_root(&block.header, block.txids()).map_err(|rule| Offence::BadBlock { hash: block.hash(), rule })
}

/// An answer whose headers are being asked for.
#[derive(Debug)]
enum Pending {
    Proofs(Proofs),
    Block(Arc<Block>),
}

impl Pending {
    /// The heights at which it says that its blocks are.
    fn heights(&self) -> Vec<Height> {
        match self {
            Self::Proofs(proofs) => proofs.proofs.iter().map(|proof| proof.height).collect(),
            // The coinbase says it.
            Self::Block(block) => block.transactions.first().map(|coinbase| coinbase.lock_height).into_iter().collect(),
        }
    }
}

/// A question under way.
#[derive(Debug, Default)]
struct OpenQuestion {
    /// The peer being asked, since when, and from which place in the chain on.
    asked: Option<(PeerId, MonoTime, TxLocation)>,
    /// Peers asked so far.
    tried: BTreeSet<PeerId>,
    /// What the peer has answered, if that cannot be checked yet.
    pending: Option<Pending>,
    found: BTreeMap<TxLocation, Found>,
    answer: Answer,
}

/// All questions under way.
#[derive(Debug, Default)]
pub(super) struct Questions(BTreeMap<Question, OpenQuestion>);

/// A question of the owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// Whether a transaction is in the chain. One proof answers it.
    Transaction(Txid),
    /// The transactions of a key. All peers are asked, since any may omit some.
    Key(PublicKey),
    /// A whole block, which alone can prove that a transaction is not in it.
    Block(BlockHash),
}

impl Question {
    fn message(self, from: TxLocation) -> Message {
        match self {
            Self::Transaction(txid) => Message::GetProofs(ProofQuery::Transaction(txid)),
            Self::Key(key) => Message::GetProofs(ProofQuery::Key { key, from }),
            Self::Block(hash) => Message::GetData(vec![Item::Block(hash)]),
        }
    }

    /// Whether a transaction answers this question. A key's spends are recognised by its earlier coins.
    fn concerns(self, found: &Found, known: &BTreeMap<TxLocation, Found>) -> bool {
        match self {
            Self::Transaction(txid) => found.txid == txid,
            Self::Key(key) => {
                let pays = |tx: &Transaction| tx.outputs.iter().any(|output| output.lock == Lock::Key(key));
                let spends = |earlier: &Found| {
                    found.transaction.inputs.iter().any(|input| input.outpoint.txid == earlier.txid)
                        && pays(&earlier.transaction)
                };
                pays(&found.transaction) || known.values().any(spends)
            }
            Self::Block(_) => false,
        }
    }
}

impl Questions {
    /// Begins to ask. The answer comes from [`Questions::take_answers`].
    pub(super) fn ask(&mut self, question: Question) {
        self.0.entry(question).or_default();
    }

    /// Heights whose headers are needed and are not known.
    pub(super) fn unknown(&self, chain: &Headers) -> impl Iterator<Item = Height> {
        let pending = self.0.values().filter_map(|asking| asking.pending.as_ref());
        chain.unknown(pending.flat_map(Pending::heights))
    }

    /// Checks answers whose headers have come.
    pub(super) fn check_pending(&mut self, now: Now, chain: &Headers, out: &mut Outbox) {
        for (question, asking) in &mut self.0 {
            let is_known = |pending: &mut Pending| chain.unknown(pending.heights()).next().is_none();
            match (asking.pending.take_if(is_known), asking.asked) {
                (Some(Pending::Proofs(proofs)), Some((peer, ..))) => {
                    asking.take(now, peer, *question, proofs, chain, out)
                }
                (Some(Pending::Block(block)), Some(_)) => asking.take_block(block, chain),
                _ => {}
            }
        }
    }

    /// Asks the next peer for each idle question; answers questions that all peers were asked.
    pub(super) fn advance(&mut self, now: Now, peers: &[PeerId], out: &mut Outbox) -> Vec<(Question, Answer)> {
        let mut answers = Vec::new();
        for (question, asking) in &mut self.0 {
            if asking.asked.is_some() {
                continue;
            }
            let enough = match question {
                Question::Transaction(_) => !asking.found.is_empty(),
                Question::Block(_) => asking.answer.block.is_some(),
                Question::Key(_) => false,
            };
            match peers.iter().find(|peer| !asking.tried.contains(peer)) {
                Some(peer) if !enough => asking.send(now, *peer, *question, TxLocation::default(), out),
                _ => {
                    let found = std::mem::take(&mut asking.found).into_values().collect();
                    answers.push((*question, Answer { found, ..std::mem::take(&mut asking.answer) }));
                }
            }
        }
        for (question, _) in &answers {
            self.0.remove(question);
        }
        answers
    }

    /// Takes proofs that a peer has sent.
    pub(super) fn received(&mut self, now: Now, peer: PeerId, proofs: Proofs, chain: &Headers, out: &mut Outbox) {
        let question = match proofs.query {
            ProofQuery::Transaction(txid) => Question::Transaction(txid),
            ProofQuery::Key { key, .. } => Question::Key(key),
        };
        let asking = self.0.get_mut(&question);
        let asked = |asking: &&mut OpenQuestion| {
            let message = Message::GetProofs(proofs.query);
            let is_asked = |(asked, _, from)| asked == peer && message == question.message(from);
            asking.asked.is_some_and(is_asked) && asking.pending.is_none()
        };
        let Some(asking) = asking.filter(asked) else {
            return out.offence(peer, Offence::UnrequestedProofs);
        };
        let pending = Pending::Proofs(proofs);
        if chain.unknown(pending.heights()).next().is_some() {
            return asking.wait(now, pending);
        }
        if let Pending::Proofs(proofs) = pending {
            asking.take(now, peer, question, proofs, chain, out);
        }
    }

    /// A block arrived, perhaps for another part of the client.
    pub(super) fn block(&mut self, now: Now, peer: PeerId, block: &Arc<Block>, chain: &Headers, out: &mut Outbox) {
        let hash = block.hash();
        let Some(asking) = self.0.get_mut(&Question::Block(hash)) else { return };
        if asking.asked.is_none_or(|(asked, ..)| asked != peer) || asking.pending.is_some() {
            return;
        }
        if let Err(offence) = check_body(block) {
            asking.asked = None;
            asking.answer.false_proofs += 1;
            return out.offence(peer, offence);
        }
        let pending = Pending::Block(block.clone());
        match chain.unknown(pending.heights()).next() {
            Some(_) => asking.wait(now, pending),
            None => asking.take_block(block.clone(), chain),
        }
    }

    /// A peer does not have what it was asked for.
    pub(super) fn not_found(&mut self, peer: PeerId, items: &[Item]) {
        for item in items {
            if let Item::Block(hash) = item
                && let Some(asking) = self.0.get_mut(&Question::Block(*hash))
                && asking.asked.take_if(|(asked, ..)| *asked == peer).is_some()
            {
                asking.answer.denied += 1;
            }
        }
    }

    /// A peer is gone.
    pub(super) fn disconnected(&mut self, peer: PeerId) {
        for asking in self.0.values_mut() {
            if asking.asked.take_if(|(asked, ..)| *asked == peer).is_some() {
                asking.pending = None;
                asking.answer.silent += 1;
            }
        }
    }

    /// Times out slow peers.
    pub(super) fn tick(&mut self, now: Now) {
        for asking in self.0.values_mut() {
            if asking.asked.take_if(|(_, since, _)| *since + PROOF_TIMEOUT <= now.mono).is_some() {
                asking.pending = None;
                asking.answer.silent += 1;
            }
        }
    }

    /// Extend all deadlines by a span.
    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        for OpenQuestion { asked, tried: _, pending: _, found: _, answer: _ } in self.0.values_mut() {
            asked.iter_mut().for_each(|(_, since, _)| *since += by);
        }
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.0.values().filter_map(|asking| asking.asked).map(|(_, since, _)| since + PROOF_TIMEOUT).min()
    }
}

impl OpenQuestion {
    /// Keeps an answer until its headers are known; the peer has as long again.
    fn wait(&mut self, now: Now, pending: Pending) {
        self.pending = Some(pending);
        self.asked.iter_mut().for_each(|(_, since, _)| *since = now.mono);
    }

    /// Takes a body that matches its header.
    fn take_block(&mut self, block: Arc<Block>, chain: &Headers) {
        self.asked = None;
        match chain.height_of(&block.hash()) {
            Some(_) => self.answer.block = Some(block),
            None => self.answer.elsewhere += 1,
        }
    }

    fn send(&mut self, now: Now, peer: PeerId, question: Question, from: TxLocation, out: &mut Outbox) {
        self.tried.insert(peer);
        self.asked = Some((peer, now.mono, from));
        out.send(peer, question.message(from));
    }

    fn take(&mut self, now: Now, peer: PeerId, question: Question, proofs: Proofs, chain: &Headers, out: &mut Outbox) {
        let Some((_, _, from)) = self.asked.take() else { return };
        let (mut next, more) = (from, proofs.more);
        if proofs.proofs.is_empty() {
            self.answer.denied += 1;
            return;
        }
        for proof in proofs.proofs {
            let checked = check(proof, chain).and_then(|found| {
                // In order, so that asking for more comes to an end.
                let is_next = matches!(question, Question::Transaction(_)) || found.place >= next;
                let fits = is_next && question.concerns(&found, &self.found);
                if fits { Ok(found) } else { Err(ProofFault::Other { got: found.txid }) }
            });
            match checked {
                Ok(found) => {
                    next = TxLocation { height: found.place.height, position: found.place.position.saturating_add(1) };
                    if self.found.len() < MAX_HISTORY {
                        self.found.insert(found.place, found);
                    }
                }
                Err(ProofFault::Elsewhere { .. }) => {
                    self.answer.elsewhere += 1;
                    return;
                }
                Err(fault) => {
                    self.answer.false_proofs += 1;
                    return out.offence(peer, Offence::FalseProof(fault));
                }
            }
        }
        if more && matches!(question, Question::Key(_)) {
            self.send(now, peer, question, next, out);
        }
    }
}
