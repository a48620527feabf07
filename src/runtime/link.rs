//! The channel to the node's thread: commands and reads go in through a bounded queue, events and the tip come out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::p2p::{Event, Now, Protocol, Reply};
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::record::Recorded;

/// Calls that may wait for the node's thread; further callers wait for a place.
const MAX_WAITING_CALLS: usize = 256;
/// Events that a subscriber may lag behind before it loses the oldest.
const EVENT_BACKLOG: usize = 1024;

/// A call on the node's thread.
pub(super) struct Call<P: Protocol> {
    /// Reads the node and returns the next command; called again after each, until it returns none.
    pub(super) next: Next<P>,
    /// Signalled once the resulting tip and events are published, so that the caller sees them.
    pub(super) published: oneshot::Sender<()>,
}

type Next<P> = Box<dyn FnMut(&P, Now) -> Option<<P as Protocol>::Command> + Send>;

/// The end of the best chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Blocks below the tip, genesis included.
    pub height: Height,
    /// The hash of the tip's header.
    pub hash: BlockHash,
}

/// A node's stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The store is open and the chain is being loaded; calls wait.
    WarmingUp,
    /// The chain is read, and the node handles inputs.
    Running,
    /// No longer answering: its thread has ended, or is about to.
    Stopped,
}

/// The node has stopped and answers no more calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node has stopped")]
pub struct Stopped;

/// Reaches a full node's thread.
pub type NodeLink = Link<Recorded>;

/// Reaches the node's thread from any task. Clones are cheap and reach the same node.
pub struct Link<P: Protocol> {
    pub(super) calls: mpsc::Sender<Call<P>>,
    /// Calls handed over so far, by all clones.
    pub(super) handed_over: Arc<AtomicU64>,
    pub(super) events: broadcast::WeakSender<Event>,
    pub(super) tip: watch::Receiver<Tip>,
    pub(super) stage: watch::Receiver<Stage>,
    pub(super) shutdown: CancellationToken,
}

/// The thread's ends of a link.
pub(super) struct LinkEnds<P: Protocol> {
    pub(super) calls: mpsc::Receiver<Call<P>>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) tip: watch::Sender<Tip>,
    pub(super) stage: watch::Sender<Stage>,
}

// A derived impl would require `P: Clone`.
impl<P: Protocol> Clone for Link<P> {
    fn clone(&self) -> Self {
        let Self { calls, handed_over, events, tip, stage, shutdown } = self;
        Self {
            calls: calls.clone(),
            handed_over: handed_over.clone(),
            events: events.clone(),
            tip: tip.clone(),
            stage: stage.clone(),
            shutdown: shutdown.clone(),
        }
    }
}

impl<P: Protocol> Link<P> {
    /// A link to a thread that is started later, and the ends for it. Until its chain is read, the tip is genesis.
    pub(super) fn new(genesis: BlockHash) -> (Self, LinkEnds<P>) {
        let (calls, waiting_calls) = mpsc::channel(MAX_WAITING_CALLS);
        let events = broadcast::Sender::new(EVENT_BACKLOG);
        let (tip, tip_changes) = watch::channel(Tip { height: Height::GENESIS, hash: genesis });
        let (stage, stage_changes) = watch::channel(Stage::WarmingUp);
        let link = Self {
            calls,
            handed_over: Arc::default(),
            events: events.downgrade(),
            tip: tip_changes,
            stage: stage_changes,
            shutdown: CancellationToken::new(),
        };
        (link, LinkEnds { calls: waiting_calls, events, tip, stage })
    }

    /// Runs `work` on the node's thread and answers what it returned. Peers' messages and other calls take turns with it,
    /// so it should be short. Dropping the future does not take back work already handed over.
    ///
    /// # Errors
    /// [`Stopped`] if the node stopped before it came to this.
    pub async fn read<R, F>(&self, work: F) -> Result<R, Stopped>
    where
        R: Send + 'static,
        F: FnOnce(&P, Now) -> R + Send + 'static,
    {
        self.decide(move |node, now, reply| {
            reply.send(work(node, now));
            None
        })
        .await
    }

    /// Has the node carry out the command that `make` builds around a reply, and returns the reply. Otherwise as
    /// [`Link::read`].
    ///
    /// # Errors
    /// [`Stopped`] if the node stopped before it came to this.
    pub async fn command<R, F>(&self, make: F) -> Result<R, Stopped>
    where
        R: Send + 'static,
        F: FnOnce(Reply<R>) -> P::Command + Send + 'static,
    {
        self.decide(move |_, _, reply| Some(make(reply))).await
    }

    /// Lets `choose` read the node, and has the node carry out the command that it returns atomically with the read.
    /// Without a command, `choose` returns the answer. Otherwise as [`Link::read`].
    ///
    /// # Errors
    /// [`Stopped`] if the node stopped before it came to this.
    pub async fn decide<R, F>(&self, choose: F) -> Result<R, Stopped>
    where
        R: Send + 'static,
        F: FnOnce(&P, Now, Reply<R>) -> Option<P::Command> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let reply = Reply::to(move |result| {
            // A caller that no longer waits has no use for the answer.
            let _ = answer.send(result);
        });
        let mut once = Some((choose, reply));
        self.hand_over(Box::new(move |node, now| once.take().and_then(|(choose, reply)| choose(node, now, reply))))
            .await?;
        answered.await.map_err(|_| Stopped)
    }

    /// Lets `next` look at the node and has the node carry out the command that it makes, again and again until it makes none:
    /// all with one hand-over. Peers and other calls have their turns in between. It ends with the command after which the
    /// future was dropped. Otherwise as [`Link::read`].
    ///
    /// # Errors
    /// [`Stopped`] if the node stopped before it was done.
    pub async fn repeat<F>(&self, next: F) -> Result<(), Stopped>
    where
        F: FnMut(&P, Now) -> Option<P::Command> + Send + 'static,
    {
        self.hand_over(Box::new(next)).await
    }

    /// Not generic over the call, so that it is compiled once for all of them.
    async fn hand_over(&self, next: Next<P>) -> Result<(), Stopped> {
        let (published, is_published) = oneshot::channel();
        self.handed_over.fetch_add(1, Ordering::Relaxed);
        self.calls.send(Call { next, published }).await.map_err(|_| Stopped)?;
        is_published.await.map_err(|_| Stopped)
    }

    /// Calls that were handed over to the node's thread so far: each may wake that thread, and its caller's again.
    pub fn handed_over(&self) -> u64 {
        self.handed_over.load(Ordering::Relaxed)
    }

    /// What happens from now on. Closed when the node stops; a receiver more than 1,024 events behind loses the oldest.
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        match self.events.upgrade() {
            Some(events) => events.subscribe(),
            None => broadcast::channel(1).1,
        }
    }

    /// The tip, and a way to wait until it changes.
    pub fn tip(&self) -> watch::Receiver<Tip> {
        self.tip.clone()
    }

    /// How far the node is in its life, and a way to wait until that changes.
    pub fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.clone()
    }

    /// Requests a shutdown from the program that runs the node; [`Link::stopped`] completes when it has stopped.
    pub fn shutdown(&self) {
        self.shutdown.cancel();
    }

    /// Completes when a shutdown was requested.
    pub async fn shutdown_requested(&self) {
        self.shutdown.cancelled().await;
    }

    /// Completes when the node's thread has ended, for whatever reason.
    pub async fn stopped(&self) {
        // An error means that the thread has ended.
        let _ = self.stage.clone().wait_for(|stage| *stage == Stage::Stopped).await;
    }
}
