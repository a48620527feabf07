//! The life of the node's thread, panics included.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, info_span};

use super::clock::Clock;
use super::connection::SocketEvent;
use super::driver::Driver;
use super::error::{Failure, StartError, panic_message};
use super::link::{Command, Stage, Tip};
use super::net::Net;
use crate::chain::Chain;
use crate::consensus::params::Params;
use crate::mempool::{self, Mempool};
use crate::p2p::{self, Event, Node};
use crate::storage::Store;

/// What the thread is born with.
pub(super) struct Birth {
    pub(super) name: Option<String>,
    pub(super) params: Arc<Params>,
    pub(super) store: Arc<dyn Store>,
    pub(super) mempool: mempool::Limits,
    pub(super) protocol: p2p::Config,
    pub(super) clock: Clock,
    pub(super) net: Net,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) sockets: mpsc::Receiver<SocketEvent>,
    pub(super) events: broadcast::Sender<Event>,
    pub(super) tip: watch::Sender<Tip>,
    pub(super) stage: watch::Sender<Stage>,
}

/// The thread, as the rest holds it.
pub(super) struct NodeThread {
    stop: CancellationToken,
    join: std::thread::JoinHandle<Result<(), Failure>>,
}

impl NodeThread {
    /// Starts it; `ready` gets one answer when the chain is read.
    pub(super) fn start(birth: Birth, ready: oneshot::Sender<Result<(), StartError>>) -> Result<Self, StartError> {
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let join = std::thread::Builder::new()
            .name("node".to_owned())
            .spawn(move || live(birth, ready, stopped))
            .map_err(StartError::Thread)?;
        Ok(Self { stop, join })
    }

    /// Lets it finish what it is at, flush the store, and waits for that.
    pub(super) async fn stop(self) -> Result<(), Failure> {
        self.stop.cancel();
        match tokio::task::spawn_blocking(move || self.join.join()).await {
            Ok(Ok(result)) => result,
            Ok(Err(panic)) => Err(Failure::Panicked { message: panic_message(&*panic) }),
            Err(error) => Err(Failure::Panicked { message: error.to_string() }),
        }
    }
}

fn live(birth: Birth, ready: oneshot::Sender<Result<(), StartError>>, stop: CancellationToken) -> Result<(), Failure> {
    let _span = birth.name.as_ref().map(|name| info_span!("thread", node = name).entered());
    let store = birth.store.clone();
    let stage = birth.stage.clone();
    // The node is dropped inside, whatever happens; what it had committed to the store is whole.
    let result = catch_unwind(AssertUnwindSafe(|| work(birth, ready, stop))).unwrap_or_else(|panic| {
        let message = panic_message(&*panic);
        error!(message, "the node's thread panicked");
        Err(Failure::Panicked { message })
    });
    let flushed = store.flush().map_err(Failure::Flush);
    stage.send_replace(Stage::Stopped);
    result.and(flushed)
}

fn work(birth: Birth, ready: oneshot::Sender<Result<(), StartError>>, stop: CancellationToken) -> Result<(), Failure> {
    let Birth { name: _, params, store, mempool, protocol, clock, net, commands, sockets, events, tip, stage } = birth;
    // Timers run on this thread too: what the rest of the process does cannot delay them.
    let opened =
        tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(StartError::Thread).and_then(
            |timers| {
                let chain = Chain::open(params.clone(), store)?;
                let node = Node::new(chain, Mempool::new(params, mempool), protocol, clock.now())?;
                Ok((timers, node))
            },
        );
    match opened {
        Ok((timers, node)) => {
            let best = node.chain().tip();
            info!(height = best.height, hash = %best.hash, "chain is ready");
            tip.send_replace(Tip { height: best.height, hash: best.hash });
            stage.send_replace(Stage::Running);
            // Fails if whoever started the node has given up meanwhile; then stop is on its way.
            let _ = ready.send(Ok(()));
            timers.block_on(Driver::new(node, clock, net, events, tip).run(commands, sockets, stop))
        }
        Err(error) => {
            let _ = ready.send(Err(error));
            Ok(())
        }
    }
}
