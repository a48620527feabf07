//! The exchange of content blocks with peers, beside the node's thread: it reads the disk and hashes, and changes nothing of
//! the chain.
//!
//! Each connection has a task that takes its messages about content as they come, and one that serves what it wants. A
//! [fetch](Fetches::fetch) walks through a DAG on a thread of its own, which checks and stores blocks, and asks several
//! peers at once for those that are missing.

mod dispatch;
mod fetches;
mod gather;
mod keeper;
mod serve;
mod turns;
mod walk;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

pub use self::fetches::{FetchStatus, Fetches, Wanted};
use self::keeper::Keeper;
use self::serve::Served;
use self::turns::Turns;
pub use self::walk::Part;
use super::link::NodeLink;
use super::send_queue::Outlet;
use crate::content::{ContentError, ContentReader};
use crate::ipld::Cid;
use crate::ipld::read::ReadError;
use crate::p2p::kad::NodeId;
use crate::p2p::message::{Message, SERVICE_CONTENT};
use crate::p2p::wants::{ContentBlock, ContentFault, MAX_CONTENT_BYTES, MAX_WANTS, Want};
use crate::p2p::{Command, PeerId};

/// Bytes of messages about content that were received and are not looked at, of all peers.
const MAX_RECEIVED_BYTES: usize = 16 << 20;
/// Messages of a peer that were received and are not looked at.
const MAX_RECEIVED: usize = 16;
/// Answers that a peer may owe: fewer than the wants that it lets wait.
const MAX_PENDING: usize = 3 * MAX_WANTS;
/// Wants of a peer that wait to be served.
const MAX_WAITING_WANTS: usize = 4 * MAX_WANTS;

/// Settings of the exchange.
#[derive(Debug, Clone, Copy)]
pub struct ExchangeConfig {
    /// The most bytes of blocks to store.
    pub max_bytes: u64,
    /// The most bytes of blocks to send in a second; `None` for as many as go.
    pub upload: Option<u64>,
}

/// Why content could not be fetched.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum FetchError {
    /// No peer has it, and no node says that it does.
    #[error("no provider of {root} was found")]
    NoProvider { root: Box<Cid> },
    /// Providers are named, and none could be reached.
    #[error("{named} providers of {root} were named, and none could be reached")]
    Unreachable { root: Box<Cid>, named: usize },
    /// All that were asked lack a block, or do not answer.
    #[error("no peer has sent the block {cid}, or any other, for {} s", patience.as_secs())]
    Stalled { cid: Box<Cid>, patience: Duration },
    /// A DAG with so many links that wait to be followed that it cannot be walked through.
    #[error("more than {most} links wait to be followed")]
    TooManyLinks { most: usize },
    /// A link names a block by a hash that cannot be computed here, so no peer's answer could be checked.
    #[error("the block {cid} is named by an unknown hash function")]
    Unverifiable { cid: Box<Cid> },
    /// The blocks make no file, directory or DAG.
    #[error(transparent)]
    Read(ReadError),
    /// The store's.
    #[error("{text}")]
    Store { text: String },
    /// The node has stopped, or no caller waits for the content any longer.
    #[error("the fetch was given up")]
    Stopped,
}

impl From<ContentError> for FetchError {
    fn from(error: ContentError) -> Self {
        match error {
            ContentError::Read(error) => Self::Read(error),
            error => Self::Store { text: error.to_string() },
        }
    }
}

/// How far a fetch is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Progress {
    /// Blocks that are here and checked, and their bytes.
    pub blocks: u64,
    /// See above.
    pub bytes: u64,
    /// Those of them that came from peers.
    pub fetched_blocks: u64,
    /// See above.
    pub fetched_bytes: u64,
    /// Peers that have sent blocks.
    pub sources: usize,
    /// Providers that were named.
    pub providers: usize,
    /// Peers that sent other bytes than those of the block; each is banned.
    pub liars: Vec<NodeId>,
}

/// A message of a peer, and its room. The message is apart: a channel has room for 32 of these from the start.
type Received = (Box<Message>, Option<OwnedSemaphorePermit>);

/// What a peer answers about a block.
enum Answer {
    Block(ContentBlock, Option<OwnedSemaphorePermit>),
    Have { hash: Vec<u8>, here: bool },
    Gone,
}

/// Where a fetch gets answers.
type Answers = mpsc::UnboundedSender<(PeerId, Answer)>;

/// A connection, as the exchange knows it.
struct Peer {
    id: PeerId,
    node: NodeId,
    outlet: Outlet,
    /// Whether it has said hello, is no brief connection, and offers content.
    ready: watch::Sender<bool>,
    offers: Mutex<bool>,
    gone: CancellationToken,
    /// Who waits for its answers about blocks, one entry for each answer that is due.
    pending: Mutex<HashMap<Vec<u8>, Vec<Answers>>>,
}

impl Peer {
    fn pending(&self) -> MutexGuard<'_, HashMap<Vec<u8>, Vec<Answers>>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it has said hello, and the connection is not brief.
    fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    fn offers_content(&self) -> bool {
        self.is_ready() && *self.offers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a fetch that goes on waits for its answer about a block.
    fn is_asked(&self, hash: &[u8]) -> bool {
        self.pending().get(hash).is_some_and(|waiting| waiting.iter().any(|answers| !answers.is_closed()))
    }

    /// Asks it for blocks, or whether they are there. `false` if too much is asked of it already, or it is gone.
    fn ask(&self, wants: Vec<Want>, answers: &Answers) -> bool {
        {
            let mut pending = self.pending();
            // What fetches asked that have ended is answered late, or never.
            if pending.values().map(Vec::len).sum::<usize>() + wants.len() > MAX_PENDING {
                return false;
            }
            for want in &wants {
                pending.entry(want.hash.clone()).or_default().push(answers.clone());
            }
        }
        self.outlet.send(&Message::WantBlocks(wants))
    }

    /// Hands an answer to a fetch that waits for it. `false` if none was due.
    fn answer(&self, hash: &[u8], make: impl FnOnce() -> Answer) -> bool {
        let mut pending = self.pending();
        let Some(waiting) = pending.get_mut(hash) else { return false };
        let place = waiting.iter().position(|answers| !answers.is_closed()).unwrap_or(0);
        let answers = waiting.swap_remove(place);
        if waiting.is_empty() {
            pending.remove(hash);
        }
        // Fails if the fetch has ended.
        let _ = answers.send((self.id, make()));
        true
    }
}

/// The exchange of one node. Clones share everything.
#[derive(Clone)]
pub struct Exchange(Arc<Shared>);

struct Shared {
    link: NodeLink,
    reader: ContentReader,
    keeper: Keeper,
    turns: Turns,
    served: Served,
    peers: Mutex<BTreeMap<PeerId, Arc<Peer>>>,
    /// Counts the changes of `peers`.
    changes: watch::Sender<u64>,
    room: Arc<Semaphore>,
    runtime: tokio::runtime::Handle,
}

impl Exchange {
    /// The exchange of the store in `dir`.
    ///
    /// # Errors
    /// [`ContentError::Version`].
    pub(super) fn new(link: NodeLink, dir: &Path, config: ExchangeConfig) -> Result<Self, ContentError> {
        Ok(Self(Arc::new(Shared {
            link,
            reader: ContentReader::open(dir)?,
            keeper: Keeper::new(PathBuf::from(dir), config.max_bytes),
            turns: Turns::new(config.upload),
            served: Served::default(),
            peers: Mutex::default(),
            changes: watch::Sender::new(0),
            room: Arc::new(Semaphore::new(MAX_RECEIVED_BYTES)),
            runtime: tokio::runtime::Handle::current(),
        })))
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<PeerId, Arc<Peer>>> {
        self.0.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection has come about; its end is told by [`Inlet`]'s.
    pub(super) fn attach(&self, id: PeerId, node: NodeId, outlet: Outlet) -> Inlet {
        let peer = Arc::new(Peer {
            id,
            node,
            outlet,
            ready: watch::Sender::new(false),
            offers: Mutex::default(),
            gone: CancellationToken::new(),
            pending: Mutex::default(),
        });
        self.peers().insert(id, Arc::clone(&peer));
        let (received, incoming) = mpsc::channel(MAX_RECEIVED);
        self.0.runtime.spawn(receive(self.clone(), Arc::clone(&peer), incoming));
        Inlet { exchange: self.clone(), peer, received }
    }

    /// A connection is a peer's from now on.
    pub(super) fn ready(&self, id: PeerId) {
        if let Some(peer) = self.peers().get(&id) {
            peer.ready.send_replace(true);
        }
        self.0.changes.send_modify(|count| *count += 1);
    }

    fn detach(&self, peer: &Peer) {
        self.peers().remove(&peer.id);
        peer.gone.cancel();
        let pending = std::mem::take(&mut *peer.pending());
        for waiting in pending.into_values().flatten() {
            let _ = waiting.send((peer.id, Answer::Gone));
        }
        self.0.changes.send_modify(|count| *count += 1);
    }

    /// Peers that offer content.
    fn sources(&self) -> Vec<Arc<Peer>> {
        self.peers().values().filter(|peer| peer.offers_content()).cloned().collect()
    }

    async fn penalise(&self, peer: PeerId, fault: ContentFault) {
        // Fails only if the node has stopped.
        let _ = self.0.link.command(move |reply| Command::PenaliseContent(peer, fault, reply)).await;
    }
}

/// Where a connection's reader leaves messages about content. Dropped with the connection.
pub(super) struct Inlet {
    exchange: Exchange,
    peer: Arc<Peer>,
    received: mpsc::Sender<Received>,
}

impl Inlet {
    /// The peer said hello.
    pub(super) fn greeted(&self, services: u64) {
        *self.peer.offers.lock().unwrap_or_else(PoisonError::into_inner) = services & SERVICE_CONTENT != 0;
    }

    /// Waits for room and takes a message of so many bytes. Nothing is taken when the exchange has ended, and before the peer
    /// is ready it is not even read on: what waits takes no room from others.
    pub(super) async fn receive(&self, message: Message, bytes: usize) {
        let mut ready = self.peer.ready.subscribe();
        if ready.wait_for(|ready| *ready).await.is_err() {
            return;
        }
        let bytes = bytes.clamp(1, 2 * MAX_CONTENT_BYTES) as u32;
        let space = Arc::clone(&self.exchange.0.room).acquire_many_owned(bytes).await.ok();
        let _ = self.received.send((Box::new(message), space)).await;
    }
}

impl Drop for Inlet {
    fn drop(&mut self) {
        self.exchange.detach(&self.peer);
    }
}

/// Takes a connection's messages about content.
async fn receive(exchange: Exchange, peer: Arc<Peer>, mut incoming: mpsc::Receiver<Received>) {
    let mut ready = peer.ready.subscribe();
    let is_ready = tokio::select! {
        is_ready = ready.wait_for(|ready| *ready) => is_ready.is_ok(),
        () = peer.gone.cancelled() => false,
    };
    if !is_ready {
        return;
    }
    let (wants, waiting) = mpsc::channel(MAX_WAITING_WANTS);
    exchange.0.runtime.spawn(serve::serve(exchange.clone(), Arc::clone(&peer), waiting));
    while let Some((message, space)) = incoming.recv().await {
        let is_fine = match *message {
            Message::WantBlocks(list) => {
                if list.into_iter().any(|want| wants.try_send(want).is_err()) {
                    exchange.penalise(peer.id, ContentFault::Flood).await;
                }
                true
            }
            Message::HaveBlocks(list) => list.into_iter().all(|have| {
                let (hash, here) = (have.hash.clone(), have.here);
                peer.answer(&have.hash, || Answer::Have { hash, here })
            }),
            Message::ContentBlock(block) => {
                let block = Arc::unwrap_or_clone(block);
                let hash = block.hash.clone();
                peer.answer(&hash, || Answer::Block(block, space))
            }
            _ => true,
        };
        if !is_fine {
            exchange.penalise(peer.id, ContentFault::Unrequested).await;
        }
    }
}
