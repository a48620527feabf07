//! What methods reach the node by.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::error::{Code, RpcError};
use crate::chain::ChainError;
use crate::consensus::params::Params;
use crate::p2p::{Node, Now};
use crate::primitives::address;
use crate::primitives::keys::PublicKey;
use crate::runtime::{Handle, Stage, Stopped, Tip};
use crate::storage::{Database, StoreError};

/// Long polls at a time: they must leave places for other requests.
const MAX_WAITING: usize = 32;
/// How often a reading is repeated because the tip moved meanwhile, before the node's thread does it.
const READ_ATTEMPTS: usize = 3;

/// A node, as the methods see it.
#[derive(Clone)]
pub struct Api {
    /// The node.
    pub(super) handle: Handle,
    /// Ends long polls when the server stops.
    stopping: CancellationToken,
    waiting: Arc<Semaphore>,
}

impl Api {
    pub(super) fn new(handle: Handle, stopping: CancellationToken) -> Self {
        Self { handle, stopping, waiting: Arc::new(Semaphore::new(MAX_WAITING)) }
    }

    pub(super) fn params(&self) -> &Arc<Params> {
        self.handle.params()
    }

    pub(super) fn db(&self) -> &Database {
        self.handle.db()
    }

    pub(super) fn tip(&self) -> Tip {
        *self.handle.tip().borrow()
    }

    /// [`Code::WarmingUp`] while the chain is still being read.
    pub(super) fn ready(&self) -> Result<(), RpcError> {
        match *self.handle.stage().borrow() {
            Stage::WarmingUp => Err(RpcError::new(Code::WarmingUp, "Loading the chain…")),
            Stage::Running => Ok(()),
            Stage::Stopped => Err(Stopped.into()),
        }
    }

    /// The key that `text` is an address of.
    pub(super) fn key_of(&self, text: &str) -> Result<PublicKey, RpcError> {
        address::decode(&self.params().address_prefix, text)
            .map_err(|error| RpcError::not_found(format!("Invalid address: {error}")))
    }

    /// The address of a key.
    pub(super) fn address_of(&self, key: &PublicKey) -> String {
        address::encode(&self.params().address_prefix, key)
    }

    /// Asks the node's thread, which peers and other calls ask too: `work` should be short.
    pub(super) async fn node<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Node, Now) -> R + Send + 'static,
    ) -> Result<R, RpcError> {
        Ok(self.handle.call(work).await?)
    }

    /// Reads a block, or more, on a thread where that may take its time.
    pub(super) async fn load<R: Send + 'static>(
        &self,
        reading: impl FnOnce(&Database) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        let db = self.db().clone();
        tokio::task::spawn_blocking(move || reading(&db)).await.map_err(RpcError::internal)?
    }

    /// Reads what spans several keys, all of it as of one tip. The store has no snapshots, so the reading is repeated if
    /// the tip moved; on a chain that never rests, the node's thread does it, where nothing moves.
    pub(super) async fn read<R: Send + 'static>(
        &self,
        reading: impl Fn(&Database) -> Result<R, RpcError> + Send + Sync + 'static,
    ) -> Result<R, RpcError> {
        let reading = Arc::new(reading);
        for _ in 0..READ_ATTEMPTS {
            let reading = Arc::clone(&reading);
            let attempt = move |db: &Database| {
                let before = db.tip()?;
                let result = reading(db);
                Ok((db.tip()? == before).then_some(result))
            };
            if let Some(result) = self.load(attempt).await? {
                return result;
            }
        }
        self.node(move |node, _| reading(node.chain().db())).await?
    }

    /// A place among those who wait for something to happen.
    pub(super) fn waiting_place(&self) -> Result<SemaphorePermit<'_>, RpcError> {
        let full = |_| RpcError::new(Code::Misc, format!("{MAX_WAITING} calls are waiting already"));
        self.waiting.try_acquire().map_err(full)
    }

    /// Completes when the server or the node is about to stop.
    pub(super) async fn stopping(&self) {
        tokio::select! {
            () = self.stopping.cancelled() => {}
            () = self.handle.shutdown_requested() => {}
            () = self.handle.stopped() => {}
        }
    }
}

impl From<Stopped> for RpcError {
    fn from(stopped: Stopped) -> Self {
        Self::new(Code::WarmingUp, stopped.to_string())
    }
}

impl From<StoreError> for RpcError {
    fn from(error: StoreError) -> Self {
        Self::internal(error)
    }
}

impl From<ChainError> for RpcError {
    fn from(error: ChainError) -> Self {
        match error {
            ChainError::Rule { .. }
            | ChainError::UnknownParent { .. }
            | ChainError::Duplicate { .. }
            | ChainError::Refused { .. } => Self::new(Code::Rejected, error.to_string()),
            ChainError::UnknownBlock { .. } => Self::not_found("Block not found"),
            ChainError::GenesisIsFixed => Self::invalid(error.to_string()),
            ChainError::Store(error) => error.into(),
        }
    }
}
