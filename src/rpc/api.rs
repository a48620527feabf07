//! How methods reach the node.

use std::collections::HashMap;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLockReadGuard};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;

use super::error::{Code, RpcError};
use super::jsonrpc::{Outcome, Reply};
use super::limits::Config;
use super::operator::{self, Nodes, Operator};
use super::strangers::Turns;
use crate::chain::{BlockTree, ChainError, Entry, Level, TreeReader, check_recent};
use crate::consensus::params::Params;
use crate::content::CONTENT_DIR;
use crate::p2p::{Command, Node, Now, Reply as Answer};
use crate::primitives::address;
use crate::primitives::amount::FeeRate;
use crate::primitives::hash::BlockHash;
use crate::primitives::keys::PublicKey;
use crate::record::Recorded;
use crate::runtime::exchange::Fetches;
use crate::runtime::{Handle, Snapshots, Stage, Stopped, Tip};
use crate::storage::{Database, StoreError};
use crate::stratum;

/// Long polls at a time: they must leave places for other requests.
const MAX_WAITING: usize = 32;
/// How often a reading is repeated because the tip moved meanwhile, before the node's thread does it.
const READ_ATTEMPTS: usize = 3;

/// A node, as the methods see it. Each call has a clone, which is cheap; shared state is in `Shared`.
#[derive(Clone)]
pub struct Api {
    shared: Arc<Shared>,
    /// The payee that the URL names for blocks mined from its templates.
    payee: Option<Arc<str>>,
    /// Bytes that the answer may have, for a caller without credentials; `None` for the owner.
    room: Option<usize>,
}

/// State shared by all calls of a server.
pub struct Shared {
    pub(super) handle: Handle,
    /// The nodes of this process with their names; this one at least.
    nodes: Nodes,
    /// Who starts and ends them, if they can come and go.
    pub(super) operator: Option<Operator>,
    pub(super) snapshots: Arc<Snapshots>,
    /// Ends long polls when the server stops.
    stopping: CancellationToken,
    waiting: Semaphore,
    /// Callers without credentials on the node's thread.
    pub(super) turns: Turns,
    /// The same where they read the tree of blocks.
    tree_turns: Turns,
    calls: Mutex<Calls>,
    /// Allows one check of the store at a time, since a check reads as fast as it can.
    checking: Arc<Semaphore>,
    /// What was enough to be in a block: what fee estimates are made from, and slow to read.
    pub(super) thresholds: Arc<Mutex<HashMap<BlockHash, FeeRate>>>,
    /// How long a poll for a template waits for a new tip alone.
    pub(super) fee_patience: Duration,
    /// The store of content.
    pub(super) content_dir: PathBuf,
    /// What is fetched from peers.
    pub(super) fetches: Fetches,
    /// Stratum statistics, if the Stratum server runs.
    pub(super) stratum: Option<Arc<stratum::Meters>>,
}

/// Calls under way. A few at a time, so that a search is short and nothing is allocated for a call.
#[derive(Default)]
struct Calls {
    begun: u64,
    running: Vec<(u64, &'static str, Instant)>,
}

/// A call under way until this is dropped.
pub(super) struct Call<'a> {
    api: &'a Api,
    number: u64,
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let mut calls = self.api.calls();
        if let Some(place) = calls.running.iter().position(|(number, ..)| *number == self.number) {
            calls.running.swap_remove(place);
        }
    }
}

impl Deref for Api {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl Api {
    pub(super) fn new(handle: Handle, stopping: CancellationToken, config: &Config) -> Self {
        let shared = Shared {
            handle,
            nodes: config.nodes.clone(),
            operator: config.operator.clone(),
            snapshots: config.snapshots.clone(),
            stopping,
            waiting: Semaphore::new(MAX_WAITING),
            turns: Turns::default(),
            tree_turns: Turns::default(),
            calls: Mutex::default(),
            checking: Arc::new(Semaphore::new(1)),
            thresholds: Arc::default(),
            fee_patience: config.limits.fee_patience,
            content_dir: config.data_dir.join(CONTENT_DIR),
            fetches: Fetches::default(),
            stratum: config.stratum.clone(),
        };
        Self { shared: Arc::new(shared), payee: None, room: None }
    }

    /// The same node, for a caller without credentials whose answer may have so many bytes.
    pub(super) fn for_stranger(&self, room: usize) -> Self {
        Self { shared: Arc::clone(&self.shared), payee: None, room: Some(room) }
    }

    /// Whether the caller gave no credentials.
    pub(super) fn is_for_stranger(&self) -> bool {
        self.room.is_some()
    }

    /// Chooses the owner's bound or that of callers without credentials.
    pub(super) fn bound<N>(&self, owner: N, stranger: N) -> N {
        if self.is_for_stranger() { stranger } else { owner }
    }

    /// A result that may be long.
    ///
    /// # Errors
    /// [`Code::Misc`] if it is longer than a caller without credentials may be answered.
    pub(super) fn reply(&self, value: &(impl Serialize + ?Sized)) -> Outcome {
        match self.room {
            None => Ok(Reply::of(value)),
            Some(room) => Reply::within(value, room).ok_or_else(too_long),
        }
    }

    /// A finished result.
    ///
    /// # Errors
    /// As [`Api::reply`].
    pub(super) fn fitting(&self, reply: Reply) -> Outcome {
        if self.room.is_some_and(|room| room < reply.as_str().len()) { Err(too_long()) } else { Ok(reply) }
    }

    /// Bytes in hex, which may be many.
    ///
    /// # Errors
    /// As [`Api::reply`].
    pub(super) fn reply_hex(&self, bytes: &[u8]) -> Outcome {
        if self.room.is_some_and(|room| room.saturating_sub(2) / 2 < bytes.len()) {
            Err(too_long())
        } else {
            Ok(Reply::hex(bytes))
        }
    }

    /// The same node, for a miner that names this address as payee.
    pub(super) fn mining_for(&self, address: &str) -> Self {
        Self { payee: Some(address.into()), ..self.clone() }
    }

    /// The payee of a template: from the URL, or else this node's own.
    pub(super) fn payee(&self) -> Result<PublicKey, RpcError> {
        match &self.payee {
            Some(address) => self.key_of(address),
            None => self
                .handle
                .miner()
                .status()
                .payee
                .ok_or_else(|| RpcError::invalid("no payee is set: call the URL path /mine/<address>")),
        }
    }

    /// The nodes of this process with their names; this one at least.
    pub(super) fn nodes(&self) -> Vec<(String, Handle)> {
        let nodes = self.nodes.list();
        if nodes.is_empty() { vec![("this node".to_owned(), self.handle.clone())] } else { nodes }
    }

    pub(super) fn params(&self) -> &Arc<Params> {
        self.handle.params()
    }

    pub(super) fn db(&self) -> &Database {
        self.handle.db()
    }

    /// The tree of blocks, for short reads. Related values come from one guard; taking a second one meanwhile could
    /// deadlock with a writer that waits for the first.
    pub(super) fn tree(&self) -> Result<RwLockReadGuard<'_, BlockTree>, RpcError> {
        self.tree_reader().map(TreeReader::read)
    }

    pub(super) fn tree_reader(&self) -> Result<&TreeReader, RpcError> {
        self.handle.tree().ok_or_else(warming_up)
    }

    /// Reads much of the tree, on a blocking thread. The tree cannot change meanwhile, so callers without credentials
    /// take turns here, too.
    pub(super) async fn walk<R: Send + 'static>(
        &self,
        reading: impl FnOnce(&BlockTree) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        let tree = self.tree_reader()?.clone();
        let reading = tokio::task::spawn_blocking(move || {
            let tree = tree.read();
            let start = Instant::now();
            (reading(&tree), start.elapsed())
        });
        if !self.is_for_stranger() {
            return reading.await.map_err(RpcError::internal)?.0;
        }
        self.tree_turns.take(reading).await.map_err(RpcError::internal)?
    }

    pub(super) fn tip(&self) -> Tip {
        *self.handle.tip().borrow()
    }

    fn calls(&self) -> MutexGuard<'_, Calls> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call of `method` among those under way.
    pub(super) fn begin(&self, method: &'static str) -> Call<'_> {
        let mut calls = self.calls();
        calls.begun += 1;
        let number = calls.begun;
        calls.running.push((number, method, Instant::now()));
        Call { api: self, number }
    }

    /// The methods that are being carried out, in the order in which they began, and since when.
    pub(super) fn under_way(&self) -> Vec<(&'static str, Instant)> {
        let mut running = self.calls().running.clone();
        running.sort_unstable_by_key(|(number, ..)| *number);
        running.into_iter().map(|(_, method, since)| (method, since)).collect()
    }

    /// [`Code::WarmingUp`] while the chain is still being read.
    pub(super) fn ready(&self) -> Result<(), RpcError> {
        admit(*self.handle.stage().borrow())
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

    /// Runs `work` on the node's thread, which also serves peers and other calls: `work` should be short.
    pub(super) async fn node<R: Send + 'static>(
        &self,
        work: impl FnOnce(&Node, Now) -> R + Send + 'static,
    ) -> Result<R, RpcError> {
        self.awake(self.on_thread_of(&self.handle, work)).await
    }

    /// Runs `work` on the thread of a node of this process, as [`Api::node`]; `None` if that node is paused, or becomes so
    /// meanwhile.
    pub(super) async fn ask_unless_paused<R: Send + 'static>(
        &self,
        node: &Handle,
        work: impl FnOnce(&Node, Now) -> R + Send + 'static,
    ) -> Result<Option<R>, RpcError> {
        Ok(node.unless_paused(self.on_thread_of(node, work)).await.transpose()?)
    }

    /// Runs `work` on a node's thread. Callers without credentials take turns.
    async fn on_thread_of<R: Send + 'static>(
        &self,
        node: &Handle,
        work: impl FnOnce(&Node, Now) -> R + Send + 'static,
    ) -> Result<R, Stopped> {
        if !self.is_for_stranger() {
            return node.read(move |node, now| work(node, now)).await;
        }
        let timed = move |node: &Recorded, now| {
            let start = Instant::now();
            (work(node, now), start.elapsed())
        };
        self.turns.take(node.read(timed)).await
    }

    /// Has the node carry out a command and returns the result. Only methods that need credentials do.
    pub(super) async fn command<R: Send + 'static>(
        &self,
        make: impl FnOnce(Answer<R>) -> Command + Send + 'static,
    ) -> Result<R, RpcError> {
        self.awake(self.handle.command(make)).await
    }

    /// Waits for what needs the node's thread.
    ///
    /// # Errors
    /// That the node is paused, or becomes so meanwhile; those of `work`.
    pub(super) async fn awake<R, E: Into<RpcError>>(
        &self,
        work: impl Future<Output = Result<R, E>>,
    ) -> Result<R, RpcError> {
        let name = || self.nodes().into_iter().find(|(_, node)| node.is_same_node(&self.handle)).map(|(name, _)| name);
        let paused = || self.paused(name().as_deref().unwrap_or("the node"));
        self.handle.unless_paused(work).await.ok_or_else(paused)?.map_err(Into::into)
    }

    /// That a node of this process is paused, and what lets it go on.
    pub(super) fn paused(&self, name: &str) -> RpcError {
        let said = match self.operator {
            Some(_) => operator::paused(name),
            None => format!("{name} is paused: `resumenode` lets it go on"),
        };
        RpcError::new(Code::Misc, said)
    }

    /// Reads blocks from the disk, on a blocking thread.
    pub(super) async fn load<R: Send + 'static>(
        &self,
        reading: impl FnOnce(&Database) -> Result<R, RpcError> + Send + 'static,
    ) -> Result<R, RpcError> {
        let db = self.db().clone();
        tokio::task::spawn_blocking(move || reading(&db)).await.map_err(RpcError::internal)?
    }

    /// Reads several keys, or keys and the tree, consistently at one tip, which `work` receives. The store has no
    /// snapshots, so the read is repeated if the tip moved. If the tip keeps moving, the node's thread reads, where
    /// nothing moves, unless the caller gave no credentials.
    pub(super) async fn read<R: Send + 'static>(
        &self,
        reading: impl Fn(&Database, &Entry) -> Result<R, RpcError> + Send + Sync + 'static,
    ) -> Result<R, RpcError> {
        let reading = Arc::new(reading);
        for _ in 0..READ_ATTEMPTS {
            let (reading, tree) = (Arc::clone(&reading), self.tree_reader()?.clone());
            let attempt = move |db: &Database| {
                let tip = tree.read().tip();
                if db.tip()? != Some(tip.hash) {
                    return Ok(None);
                }
                let result = reading(db, &tip);
                Ok((db.tip()? == Some(tip.hash)).then_some(result))
            };
            if let Some(result) = self.load(attempt).await? {
                return result;
            }
        }
        if self.is_for_stranger() {
            return Err(RpcError::new(Code::Misc, "the tip changed while the chain was read; try again"));
        }
        self.node(move |node, _| reading(node.chain().db(), &node.chain().tip())).await?
    }

    /// A place among the long polls.
    pub(super) fn waiting_place(&self) -> Result<SemaphorePermit<'_>, RpcError> {
        let full = |_| RpcError::new(Code::Misc, format!("{MAX_WAITING} calls are waiting already"));
        self.waiting.try_acquire().map_err(full)
    }

    /// Checks the last `count` blocks of the best chain on a blocking thread and logs what is wrong. Returns whether
    /// all is well, or `None` if the tip moved or the server stops meanwhile.
    ///
    /// # Errors
    /// [`Code::Misc`] if such a check is under way already.
    pub(super) async fn check_recent(&self, level: Level, count: u32) -> Result<Option<bool>, RpcError> {
        let busy = |_| RpcError::new(Code::Misc, "the chain is being verified already");
        let permit = Arc::clone(&self.checking).try_acquire_owned().map_err(busy)?;
        let (tip, params, stopping) = (self.tip(), Arc::clone(self.params()), self.stopping.clone());
        self.load(move |db| {
            let _permit = permit;
            let result = check_recent(db, &params, (tip.hash, tip.height), level, count, &|| !stopping.is_cancelled());
            if db.tip()? != Some(tip.hash) || matches!(result, Ok(false)) {
                return Ok(None);
            }
            if let Err(error) = &result {
                tracing::error!(%error, "the chain does not verify");
            }
            Ok(Some(result.is_ok()))
        })
        .await
    }

    /// Cancelled when the server is about to stop.
    pub(super) fn stopping_token(&self) -> &CancellationToken {
        &self.stopping
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

fn admit(stage: Stage) -> Result<(), RpcError> {
    match stage {
        Stage::WarmingUp => Err(warming_up()),
        Stage::Running => Ok(()),
        Stage::Stopped => Err(Stopped.into()),
    }
}

fn too_long() -> RpcError {
    RpcError::new(
        Code::Misc,
        "the answer is too long for a caller without credentials: ask for less, or use POST / with credentials",
    )
}

fn warming_up() -> RpcError {
    RpcError::new(Code::WarmingUp, "Loading the chain…")
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
            | ChainError::Refused { .. }
            | ChainError::TooDeep { .. } => Self::new(Code::Rejected, error.to_string()),
            ChainError::UnknownBlock { .. } => Self::not_found("Block not found"),
            ChainError::Pruned { .. } | ChainError::NotPruning | ChainError::TooShort { .. } => {
                Self::new(Code::Misc, error.to_string())
            }
            ChainError::StatePending { .. } | ChainError::Loading { .. } => {
                Self::new(Code::NotReady, error.to_string())
            }
            ChainError::GenesisIsFixed => Self::invalid(error.to_string()),
            ChainError::Store(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_taken_only_while_the_node_is_at_work() {
        assert_eq!(admit(Stage::Running), Ok(()));
        for stage in [Stage::WarmingUp, Stage::Stopped] {
            assert_eq!(admit(stage).unwrap_err().code as i32, -28, "{stage:?}");
        }
    }
}
