//! The node's thread, from start to end, panics included.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, info_span};

use super::clock::Clock;
use super::connection::SocketEvent;
use super::driver::{Driver, Due};
use super::error::{Failure, StartError, panic_message};
use super::header_file::HeaderFile;
use super::link::{LinkEnds, Stage, Tip};
use super::net::Net;
use crate::p2p::{Now, Protocol};
use crate::storage::StoreError;

/// A protocol, and the commands to carry out first.
pub(super) type Opened<P> = Result<(P, Vec<<P as Protocol>::Command>), StartError>;

/// The parts that the thread starts with.
pub(super) struct ThreadParts<P: Protocol> {
    pub(super) name: Option<String>,
    /// Cancelled when the store has failed: the thread ends then, whatever made the change that could not be written.
    pub(super) store_failed: CancellationToken,
    /// Makes the protocol, once its thread runs, and says what it is to do first: that may take long.
    pub(super) open: Box<dyn FnOnce(Now) -> Opened<P> + Send>,
    /// Where a light client's headers are kept.
    pub(super) headers: Option<Arc<HeaderFile>>,
    /// Runs at an orderly stop, before the protocol is gone.
    pub(super) keep: Box<dyn FnOnce(&P) + Send>,
    /// Runs last, when the protocol is gone.
    pub(super) close: Box<dyn FnOnce() -> Result<(), StoreError> + Send>,
    pub(super) clock: Clock,
    pub(super) net: Net,
    pub(super) ends: LinkEnds<P>,
    pub(super) sockets: mpsc::Receiver<SocketEvent>,
    pub(super) due: Arc<Due>,
}

/// The thread, as the rest holds it.
pub(super) struct NodeThread {
    stop: CancellationToken,
    join: std::thread::JoinHandle<Result<(), Failure>>,
}

impl NodeThread {
    /// Starts it; `ready` gets one answer when the chain is read.
    pub(super) fn start<P: Protocol + 'static>(
        parts: ThreadParts<P>,
        ready: oneshot::Sender<Result<(), StartError>>,
    ) -> Result<Self, StartError> {
        let stop = parts.store_failed.child_token();
        let stopped = stop.clone();
        let join = std::thread::Builder::new()
            .name("node".to_owned())
            .spawn(move || run(parts, ready, stopped))
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

fn run<P: Protocol>(
    parts: ThreadParts<P>,
    ready: oneshot::Sender<Result<(), StartError>>,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let ThreadParts { name, store_failed, open, headers, keep, close, clock, net, ends, sockets, due } = parts;
    let LinkEnds { calls, events, tip, stage } = ends;
    let _span = name.map(|name| info_span!("thread", node = name).entered());
    let stages = stage.clone();
    let work = move || {
        // Timers run on this thread too: what the rest of the process does cannot delay them.
        let opened = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(StartError::Thread)
            .and_then(|timers| Ok((timers, open(clock.now())?)));
        let (timers, opened) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                // Fails if the starter has given up meanwhile; then a stop follows.
                let _ = ready.send(Err(error));
                return Ok(());
            }
        };
        let (height, hash) = opened.0.tip();
        info!(height = height.as_u32(), %hash, "chain is ready");
        tip.send_replace(Tip { height, hash });
        stage.send_replace(Stage::Running);
        let _ = ready.send(Ok(()));
        let node =
            timers.block_on(Driver::new(opened, clock, net, headers, events, due, tip).run(calls, sockets, stop))?;
        keep(&node);
        Ok(())
    };
    // The node is dropped inside, whatever happens; what it had committed to the store is whole.
    let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let message = panic_message(&*panic);
        error!(message, "the node's thread panicked");
        Err(Failure::Panicked { message })
    });
    let closed = close().map_err(|error| match store_failed.is_cancelled() {
        true => Failure::Store { message: error.to_string() },
        false => Failure::Flush(error),
    });
    stages.send_replace(Stage::Stopped);
    result.and(closed)
}
