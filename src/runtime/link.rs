//! The way to the node's thread: closures go in over a bounded channel, events and the tip come out.

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::p2p::{Event, Node, Now, Protocol};
use crate::primitives::hash::BlockHash;

/// Calls that may wait for the node's thread; further callers wait for a place.
pub(super) const MAX_WAITING_CALLS: usize = 256;
/// Events that a subscriber may lag behind before it loses the oldest.
pub(super) const EVENT_BACKLOG: usize = 1024;

/// Work for the node's thread. What it returns is called once the tip and the events that came of it are told, so that
/// whoever gets the answer finds them so.
pub(super) type Command<P> = Box<dyn FnOnce(&mut P, Now) -> Answer + Send>;
/// Hands the result to whoever waits for it.
pub(super) type Answer = Box<dyn FnOnce() + Send>;

/// The end of the best chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Its height.
    pub height: u32,
    /// Its hash.
    pub hash: BlockHash,
}

/// How far a node is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// The store is open and the chain is being read; calls wait.
    WarmingUp,
    /// At work.
    Running,
    /// No longer answering: its thread has ended, or is about to.
    Stopped,
}

/// The node has stopped, so nobody answers any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the node has stopped")]
pub struct Stopped;

/// Reaches a full node's thread.
pub type NodeLink = Link<Node>;

/// Reaches the node's thread from any task. Clones are cheap and reach the same node.
pub struct Link<P> {
    pub(super) commands: mpsc::Sender<Command<P>>,
    pub(super) events: broadcast::WeakSender<Event>,
    pub(super) tip: watch::Receiver<Tip>,
    pub(super) stage: watch::Receiver<Stage>,
    pub(super) shutdown: CancellationToken,
}

// Derived, it would ask the same of `P`.
impl<P> Clone for Link<P> {
    fn clone(&self) -> Self {
        let Self { commands, events, tip, stage, shutdown } = self;
        Self {
            commands: commands.clone(),
            events: events.clone(),
            tip: tip.clone(),
            stage: stage.clone(),
            shutdown: shutdown.clone(),
        }
    }
}

impl<P: Protocol> Link<P> {
    /// Runs `work` on the node's thread and answers what it returned. Peers' messages and other calls take turns with it,
    /// so it should be short. Dropping the future does not take back work already handed over.
    ///
    /// # Errors
    /// [`Stopped`] if the node stopped before it came to this.
    pub async fn call<R, F>(&self, work: F) -> Result<R, Stopped>
    where
        R: Send + 'static,
        F: FnOnce(&mut P, Now) -> R + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let command: Command<P> = Box::new(move |node, now| {
            let result = work(node, now);
            Box::new(move || {
                // A caller that no longer waits has no use for the answer.
                let _ = answer.send(result);
            })
        });
        self.commands.send(command).await.map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
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

    /// Asks whoever runs the node to stop it; [`Link::stopped`] tells when it has.
    pub fn shutdown(&self) {
        self.shutdown.cancel();
    }

    /// Completes when someone has asked for shutdown.
    pub async fn shutdown_requested(&self) {
        self.shutdown.cancelled().await;
    }

    /// Completes when the node's thread has ended, for whatever reason.
    pub async fn stopped(&self) {
        // An error means that the thread and its sender are gone.
        let _ = self.stage.clone().wait_for(|stage| *stage == Stage::Stopped).await;
    }
}
