//! Transaction relay, as [`super::fanout`] decides: a new transaction is pushed to a few peers immediately, and
//! announced to the others in batches after a random delay, so that many share a message and pushes mostly arrive
//! before requests.
//!
//! Pushes are not delayed, not even this node's own transactions: the receiver cannot tell whether the sender made the
//! transaction or just received it, and a delay would not change that. `docs/threat-model.md` says what it can guess.

use std::collections::{BTreeMap, VecDeque};
use std::hash::Hasher;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use siphasher::sip::SipHasher24;

use crate::mempool::Mempool;
use crate::mempool::Recent;
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::fanout::{FANOUT, push_to};
use crate::p2p::frame::Frame;
use crate::p2p::message::{Item, Message};
use crate::p2p::outbox::Outbox;
use crate::primitives::hash::Txid;
use crate::primitives::time::MonoTime;
use crate::primitives::tx::HashedTransaction;

/// Time from the first id that waits for a peer to the batch that tells of it, at random between these.
const MIN_TRICKLE: Duration = Duration::from_millis(50);
const MAX_TRICKLE: Duration = Duration::from_millis(350);
/// Time from a full batch to the next: a full batch hides enough.
const BACKLOG_INTERVAL: Duration = Duration::from_millis(20);
/// Most ids in a batch.
pub const MAX_BATCH: usize = 2_000;
/// Most ids waiting for a peer; beyond it the oldest are dropped, and other peers announce them.
pub const MAX_QUEUE: usize = 20_000;
/// Ids remembered of each peer as known to it: by their hashes, which take a quarter of the memory.
pub const MAX_KNOWN: usize = 20_000;

/// Hash of an id under this node's secret key, so that no peer can make two ids that count as one.
type ShortId = u64;

/// A peer that gets announcements.
#[derive(Debug)]
struct Listener {
    /// It has a mempool; pushes to a light client would be wasted.
    is_full: bool,
    known: Recent<ShortId>,
    queue: VecDeque<Txid>,
    /// When the next batch is due, if there is one.
    next: Option<MonoTime>,
}

/// All peers that have said hello.
#[derive(Debug)]
pub(super) struct Relay {
    listeners: BTreeMap<PeerId, Listener>,
    key: ShortIdKey,
}

/// The secret of this run.
#[derive(Debug, Clone, Copy)]
struct ShortIdKey([u64; 2]);

impl ShortIdKey {
    fn hash(self, txid: &Txid) -> ShortId {
        let mut hasher = SipHasher24::new_with_keys(self.0[0], self.0[1]);
        hasher.write(txid.as_bytes());
        hasher.finish()
    }
}

impl Relay {
    /// Without peers. `key` is to be secret.
    pub(super) fn new(key: [u64; 2]) -> Self {
        Self { listeners: BTreeMap::new(), key: ShortIdKey(key) }
    }

    /// A peer completed the handshake: the whole mempool is announced to it.
    pub(super) fn connected(
        &mut self,
        now: Now,
        peer: PeerId,
        is_full: bool,
        mempool: &Mempool,
        rng: &mut ChaCha20Rng,
    ) {
        let mut listener = Listener { is_full, known: Recent::new(MAX_KNOWN), queue: VecDeque::new(), next: None };
        listener.enqueue(now, &mempool.txids(), self.key, rng);
        self.listeners.insert(peer, listener);
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        self.listeners.remove(&peer);
    }

    /// A peer has a transaction.
    pub(super) fn mark_known(&mut self, peer: PeerId, txid: Txid) {
        if let Some(listener) = self.listeners.get_mut(&peer) {
            listener.known.insert(self.key.hash(&txid));
        }
    }

    /// Pushes a transaction that no peer announced before it arrived.
    pub(super) fn push(&mut self, tx: &HashedTransaction, rng: &mut ChaCha20Rng, out: &mut Outbox) {
        let short = self.key.hash(&tx.txid());
        let lacking =
            self.listeners.iter().filter(|(_, listener)| listener.is_full && !listener.known.contains(&short));
        let lacking: Vec<PeerId> = lacking.map(|(peer, _)| *peer).collect();
        let frame = Frame::from(Message::Transaction(tx.shared().clone()));
        for peer in push_to(&lacking, true, FANOUT, rng) {
            self.mark_known(peer, tx.txid());
            out.send(peer, frame.clone());
        }
    }

    /// Announces transactions to all peers that may lack them.
    pub(super) fn announce_all(&mut self, now: Now, txids: &[Txid], rng: &mut ChaCha20Rng) {
        self.listeners.values_mut().for_each(|listener| listener.enqueue(now, txids, self.key, rng));
    }

    pub(super) fn tick(&mut self, now: Now, mempool: &Mempool, out: &mut Outbox) {
        for (peer, listener) in &mut self.listeners {
            if listener.next.is_none_or(|next| next > now.mono) {
                continue;
            }
            let mut batch = Vec::new();
            while batch.len() < MAX_BATCH
                && let Some(txid) = listener.queue.pop_front()
            {
                if mempool.contains(&txid) && listener.known.insert(self.key.hash(&txid)) {
                    batch.push(Item::Transaction(txid));
                }
            }
            if !batch.is_empty() {
                out.send(*peer, Message::Inventory(batch));
            }
            listener.next = (!listener.queue.is_empty()).then(|| now.mono + BACKLOG_INTERVAL);
            if listener.queue.is_empty() {
                listener.queue = VecDeque::new(); // Gives its memory back.
            }
        }
    }

    /// Panics if the peers are not `ready`, or a queue is beyond its bound.
    pub(super) fn assert_conserved(&self, ready: &[PeerId]) {
        assert!(self.listeners.keys().eq(ready), "a listener for each peer");
        assert!(self.listeners.values().all(|listener| listener.queue.len() <= MAX_QUEUE));
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.listeners.values().filter_map(|listener| listener.next).min()
    }
}

impl Listener {
    fn enqueue(&mut self, now: Now, txids: &[Txid], key: ShortIdKey, rng: &mut ChaCha20Rng) {
        // At most a queue's length of a larger mempool, which would cost memory for every peer.
        let txids = &txids[txids.len().saturating_sub(MAX_QUEUE)..];
        self.queue.extend(txids.iter().filter(|txid| !self.known.contains(&key.hash(txid))));
        let excess = self.queue.len().saturating_sub(MAX_QUEUE);
        self.queue.drain(..excess);
        if self.next.is_none() && !self.queue.is_empty() {
            let spread = (MAX_TRICKLE - MIN_TRICKLE).as_millis() as u64;
            self.next = Some(now.mono + MIN_TRICKLE + Duration::from_millis(rng.random_range(0..=spread)));
        }
    }
}
