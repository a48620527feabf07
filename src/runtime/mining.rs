//! Mining in a running node: keeps the miner's template fresh and submits found blocks.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tracing::{info, warn};

use super::link::{NodeLink, Stopped};
use super::states;
use super::work::{self, Rejection};
use crate::chain::{ChainError, ChainUpdate};
use crate::miner::kernel;
use crate::miner::rate::RateMeter;
use crate::miner::template::{self, Template};
use crate::miner::worker::Miner;
use crate::p2p::{Command, Node, Now, Reply};
use crate::primitives::block::Block;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::tx::Transaction;

/// Interval of mempool checks, and so the longest wait for better fees.
const REFRESH: Duration = Duration::from_secs(1);
/// Oldest work, so that a block's time is never far from when it was found.
const MAX_AGE: Duration = Duration::from_secs(10);
/// Window of the hash rate.
const RATE_WINDOW: Duration = Duration::from_secs(10);
/// Between hash rates in the log.
const LOG_INTERVAL: Duration = Duration::from_secs(60);
/// With this many more headers than blocks a node is catching up, and mining would be in vain. With fewer it goes on: a
/// peer that publishes headers without bodies must not stop miners.
const CATCHING_UP: u32 = 10;

/// Starts, stops and watches a node's miner.
pub struct MiningControl {
    order: watch::Sender<Orders>,
    /// The number of the orders that the task acts on.
    obeyed: watch::Receiver<u64>,
    /// The last payee.
    payee: Mutex<Option<PublicKey>>,
    meters: Arc<Meters>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What the task is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Orders {
    /// Counts changes.
    number: u64,
    /// `None` if nothing is to be mined.
    mining: Option<MiningOrder>,
    /// Until when it rests nevertheless.
    rest_until: Option<Instant>,
    /// Whether it rests as long as the node is paused.
    is_held: bool,
}

/// The work and the payee of the threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct MiningOrder {
    payee: PublicKey,
    threads: NonZeroUsize,
}

/// The state of mining.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Status {
    /// The present payee, or the last one; `None` if there never was one.
    pub payee: Option<PublicKey>,
    /// Mining threads; 0 while nothing is mined.
    pub threads: usize,
    /// Hashes a second over the last ten seconds.
    pub hash_rate: f64,
    /// Blocks found and accepted by this node since its start.
    pub blocks_found: u64,
}

#[derive(Default)]
struct Meters {
    /// Bits of the hash rate.
    hash_rate: AtomicU64,
    blocks_found: AtomicU64,
}

impl Meters {
    fn set_hash_rate(&self, rate: f64) {
        self.hash_rate.store(rate.to_bits(), Ordering::Relaxed);
    }
}

impl MiningControl {
    /// A miner that does nothing yet. Must be made on a tokio runtime.
    pub(super) fn new(link: NodeLink) -> Self {
        let (order, orders) = watch::channel(Orders::default());
        let (obeys, obeyed) = watch::channel(0);
        let meters = Arc::new(Meters::default());
        let task = tokio::spawn(run_orders(link, orders, obeys, meters.clone()));
        Self { order, obeyed, payee: Mutex::default(), meters, task: Mutex::new(Some(task)) }
    }

    /// Mines for `payee` on so many threads from now on, or not at all without a thread. Without a payee, it is the last
    /// one; if there never was one, nothing is mined. When what it returns is complete, no block of what was mined before is still
    /// to come; nothing needs to wait for that.
    pub fn set(&self, payee: Option<PublicKey>, threads: usize) -> impl Future<Output = ()> + use<> {
        let payee = {
            let mut last = self.payee.lock().unwrap_or_else(PoisonError::into_inner);
            *last = payee.or(*last);
            *last
        };
        let order = payee.zip(NonZeroUsize::new(threads)).map(|(payee, threads)| MiningOrder { payee, threads });
        self.change(|present| present.mining = order);
        self.obeyed()
    }

    /// Has the miner rest for so long from now on, whether it is started meanwhile or not; with zero, a rest ends. A caller
    /// that vanishes so leaves no miner stopped. What it returns is as for [`MiningControl::set`].
    pub fn rest(&self, how_long: Duration) -> impl Future<Output = ()> + use<> {
        let until = (!how_long.is_zero()).then(|| Instant::now() + how_long);
        self.change(|present| present.rest_until = until);
        self.obeyed()
    }

    /// Has the miner rest until it is told to go on, as if it had no other orders; these can be changed meanwhile.
    pub(super) fn hold(&self, is_held: bool) -> impl Future<Output = ()> + use<> {
        self.change(|present| present.is_held = is_held);
        self.obeyed()
    }

    fn change(&self, make: impl FnOnce(&mut Orders)) {
        self.order.send_if_modified(|present| {
            let before = *present;
            make(present);
            let is_other = *present != before;
            present.number += u64::from(is_other);
            is_other
        });
    }

    /// Waits until the task acts on the present orders, or is gone.
    fn obeyed(&self) -> impl Future<Output = ()> + use<> {
        let (number, mut obeyed) = (self.order.borrow().number, self.obeyed.clone());
        async move {
            // It fails if the task is gone, and nothing is mined then.
            let _ = obeyed.wait_for(|obeyed| *obeyed >= number).await;
        }
    }

    /// Hashes a second over the last ten seconds; 0 while nothing is mined.
    pub fn hash_rate(&self) -> f64 {
        match self.order.borrow().mining {
            Some(_) => f64::from_bits(self.meters.hash_rate.load(Ordering::Relaxed)),
            None => 0.0,
        }
    }

    /// The state of mining.
    pub fn status(&self) -> Status {
        let order = self.order.borrow().mining;
        Status {
            payee: *self.payee.lock().unwrap_or_else(PoisonError::into_inner),
            threads: order.map_or(0, |order| order.threads.get()),
            hash_rate: self.hash_rate(),
            blocks_found: self.meters.blocks_found.load(Ordering::Relaxed),
        }
    }

    /// Ends mining and waits until its threads are gone.
    pub(super) async fn stop(&self) {
        drop(self.set(None, 0));
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            task.abort();
            // The only possible error is that it was aborted, as intended.
            let _ = task.await;
        }
    }
}

/// Mines as told, until the node or the control is gone, and tells which orders it acts on.
async fn run_orders(
    link: NodeLink,
    mut orders: watch::Receiver<Orders>,
    obeys: watch::Sender<u64>,
    meters: Arc<Meters>,
) {
    loop {
        let Orders { number, mining, rest_until, is_held } = *orders.borrow_and_update();
        obeys.send_replace(number);
        let changed = match (mining.filter(|_| !is_held), rest_until.filter(|until| *until > Instant::now())) {
            (None, _) => orders.changed().await.is_ok(),
            (Some(_), Some(until)) => {
                tokio::select! {
                    () = sleep_until(until.into()) => true,
                    changed = orders.changed() => changed.is_ok(),
                }
            }
            (Some(order), None) => {
                info!(threads = order.threads, "mining starts");
                let mining = mine(&link, order, &meters);
                let changed = tokio::select! {
                    Err(Stopped) = mining => false,
                    changed = orders.changed() => changed.is_ok(),
                };
                meters.set_hash_rate(0.0);
                info!("mining stops");
                // A block that was handed over before is taken by the time this is answered.
                changed && link.read(|_, _| ()).await.is_ok()
            }
        };
        if !changed {
            return;
        }
    }
}

/// Mines until the node is gone or this future is dropped, and the threads with it.
async fn mine(link: &NodeLink, order: MiningOrder, meters: &Arc<Meters>) -> Result<std::convert::Infallible, Stopped> {
    // A job finds at most one block, and found blocks are taken before the next job is given: there is always room for
    // one, and one more of a job that was replaced at that moment.
    let (found, mut blocks) = mpsc::channel(4);
    let start = Miner::start(order.threads, move |block| drop(found.try_send(block)));
    let miner = match start {
        Ok(miner) => miner,
        Err(error) => {
            warn!(%error, "no thread to mine on");
            return std::future::pending().await;
        }
    };
    let clock = Instant::now();
    let mut meter = RateMeter::new(RATE_WINDOW);
    let mut logged = clock.elapsed();
    let mut tip = link.tip();
    let mut ticks = interval(REFRESH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut work = Work::new(order.payee);
    loop {
        let block = tokio::select! {
            biased;
            Some(block) = blocks.recv() => Some(block),
            Ok(()) = tip.changed() => None,
            _ = ticks.tick() => {
                meter.record(clock.elapsed(), miner.hashes());
                meters.set_hash_rate(meter.per_second());
                if clock.elapsed() - logged >= LOG_INTERVAL {
                    logged = clock.elapsed();
                    info!(hashes_per_second = meter.per_second() as u64, "mining");
                }
                None
            }
            () = link.stopped() => return Err(Stopped),
        };
        match work.renew(link, block, meters).await? {
            Renewed::Same => {}
            Renewed::Pause => miner.set_job(None),
            Renewed::Job(template) => miner.set_job(Some(*template)),
        }
    }
}

/// The miner's present work, to decide whether a new template is better.
#[derive(Debug, Clone, Copy)]
struct Work {
    payee: PublicKey,
    /// A different one for every template, and no other node's: two that are paid to one key would search the same.
    extra_nonce: u64,
    /// The parent and the mempool's revision, and when that was.
    basis: Option<(BlockHash, u64, Instant)>,
}

enum Renewed {
    /// The present work is still good.
    Same,
    /// There is nothing to mine on now.
    Pause,
    /// A template that replaces the one before.
    Job(Box<Template>),
}

impl Work {
    /// Extra nonces between one template and the next: more than the threads get through.
    const STRIDE: u64 = 1 << 32;

    fn new(payee: PublicKey) -> Self {
        Self { payee, extra_nonce: rand::random(), basis: None }
    }

    /// Submits a found block, if any, and gets the next work.
    async fn renew(&mut self, link: &NodeLink, block: Option<Block>, meters: &Arc<Meters>) -> Result<Renewed, Stopped> {
        if let Some(block) = block {
            let height = block.transactions.first().map_or(Height::GENESIS, |coinbase| coinbase.lock_height);
            let hash = block.hash();
            // Counted with the answer: this future may be dropped before it has that.
            let counted = meters.clone();
            let count = move |result: Result<ChainUpdate, ChainError>| {
                counted.blocks_found.fetch_add(result.is_ok().into(), Ordering::Relaxed);
                result
            };
            if let Err(error) = link.command(|reply| Command::SubmitBlock(block, reply.map(count))).await? {
                warn!(%error, "block found, but not accepted");
                // The next block would probably fail too, so wait for the next interval.
                return Ok(self.pause());
            }
            info!(height = height.as_u32(), %hash, "block found");
            // Its job is done, even if another branch is the best one.
            self.basis = None;
        }
        let mut work = *self;
        let (work, renewed) = link
            .read(move |node, now| {
                let renewed = work.renew_on(node, now);
                (work, renewed)
            })
            .await?;
        *self = work;
        Ok(renewed)
    }

    fn renew_on(&mut self, node: &Node, now: Now) -> Renewed {
        let chain = node.chain();
        if chain.best_header().height > chain.tip().height.saturating_add(CATCHING_UP) {
            return self.pause();
        }
        let (tip, revision) = (chain.tip().hash, node.mempool().revision());
        if self.basis.is_some_and(|(on, seen, at)| on == tip && seen == revision && at.elapsed() < MAX_AGE) {
            return Renewed::Same;
        }
        self.extra_nonce = self.extra_nonce.wrapping_add(Self::STRIDE);
        match template::build(chain, node.mempool(), &self.payee, self.extra_nonce, now.unix) {
            Ok(template) => {
                self.basis = Some((tip, revision, Instant::now()));
                Renewed::Job(Box::new(template))
            }
            // The node comes back with it.
            Err(ChainError::StatePending { .. } | ChainError::Loading { .. }) => self.pause(),
            Err(error) => {
                warn!(%error, "no block to mine");
                self.pause()
            }
        }
    }

    fn pause(&mut self) -> Renewed {
        self.basis = None;
        Renewed::Pause
    }
}

/// Nonces tried on the node's thread: enough for instant blocks, and quickly done otherwise.
const QUICK_TRIES: u32 = 1 << 12;
/// Nonces tried elsewhere between two looks at the node.
const TRIES_APART: u64 = 1 << 21;
/// Nonces tried at a time there.
const CHUNK: u32 = 1 << 16;

/// Why [`generate`] made no more blocks.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// A block was refused.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// Mines `count` blocks at once, one after the other, and returns their hashes: fewer if `max_tries` nonces were not
/// enough for all. For networks whose blocks are instant; on others it takes as long as it takes. A caller that no longer
/// waits ends it within a fraction of a second.
///
/// # Errors
/// [`GenerateError`]; blocks made before stay.
pub async fn generate(
    link: &NodeLink,
    payee: PublicKey,
    count: usize,
    max_tries: u64,
) -> Result<Vec<BlockHash>, GenerateError> {
    let run = Run { hashes: Vec::new(), tries: max_tries, extra_nonce: rand::random(), end: None };
    let shared = Arc::new(Mutex::new(run));
    let is_pending = |error: &GenerateError| matches!(error, GenerateError::Chain(ChainError::StatePending { .. }));
    loop {
        let made = states::ask_when_computed(link, is_pending, || make_quick(link, payee, count, &shared)).await?;
        let Some(template) = made else { return Ok(std::mem::take(&mut lock(&shared).hashes)) };
        let budget = lock(&shared).tries.min(TRIES_APART);
        let search = tokio::task::spawn_blocking(move || search(*template, budget));
        // It panics only if the kernel does, and is cancelled only with the runtime.
        let Ok((block, tried)) = search.await else { return Err(Stopped.into()) };
        lock(&shared).spend(tried);
        if let Some(block) = block {
            let hash = block.hash();
            link.command(move |reply| Command::SubmitBlock(block, reply)).await??;
            lock(&shared).hashes.push(hash);
        }
    }
}

/// Makes blocks on the node's thread, as long as a few nonces are enough for each. Returns the template of a block that needs
/// more, or `None` once no other block is wanted.
async fn make_quick(
    link: &NodeLink,
    payee: PublicKey,
    count: usize,
    shared: &Arc<Mutex<Run>>,
) -> Result<Option<Box<Template>>, GenerateError> {
    let on_thread = shared.clone();
    link.repeat(move |node, now| {
        let is_wanted = lock(&on_thread).wants(count);
        if is_wanted { quick_block(node, now, payee, &on_thread) } else { None }
    })
    .await?;
    match lock(shared).end.take() {
        Some(End::Failed(error)) => Err(error),
        Some(End::Hard(template)) => Ok(Some(template)),
        None => Ok(None),
    }
}

/// A transaction for [`generate_of`].
#[derive(Debug, Clone)]
pub enum Chosen {
    /// One of the mempool.
    Waiting(Txid),
    /// Any.
    Given(Arc<Transaction>),
}

/// Why [`generate_of`] made no block.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum GenerateOfError {
    /// The node has stopped.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The chain does not say what the next block is like, or its store failed.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The mempool has no such transaction.
    #[error("the mempool has no transaction {txid}")]
    NotWaiting { txid: Txid },
    /// A block with these transactions would break a rule.
    #[error("{}: {}", .0.reason, .0.detail)]
    Invalid(Rejection),
    /// The nonces that were tried do not suffice.
    #[error("no block among {tried} hashes")]
    TooHard { tried: u64 },
}

/// Makes the next block of `chosen` alone, in this order, with up to `max_tries` nonces. It is valid, and not submitted. Its
/// coinbase takes no fees.
///
/// # Errors
/// [`GenerateOfError`].
pub async fn generate_of(
    link: &NodeLink,
    payee: PublicKey,
    chosen: Vec<Chosen>,
    max_tries: u64,
) -> Result<Block, GenerateOfError> {
    let is_pending = |error: &GenerateOfError| matches!(error, GenerateOfError::Chain(ChainError::StatePending { .. }));
    let make = || {
        let chosen = chosen.clone();
        async move { link.read(move |node, now| template_of(node, now, payee, chosen)).await? }
    };
    let template = states::ask_when_computed(link, is_pending, make).await?;
    let search = tokio::task::spawn_blocking(move || search(template, max_tries));
    // It panics only if the kernel does, and is cancelled only with the runtime.
    let Ok((block, tried)) = search.await else { return Err(Stopped.into()) };
    block.ok_or(GenerateOfError::TooHard { tried })
}

fn template_of(node: &Node, now: Now, payee: PublicKey, chosen: Vec<Chosen>) -> Result<Template, GenerateOfError> {
    let (max, mut bytes) = (node.chain().params().max_block_bytes as usize, 0);
    let mut transactions = Vec::new();
    for chosen in chosen {
        let tx = match chosen {
            Chosen::Given(tx) => tx,
            Chosen::Waiting(txid) => {
                let entry = node.mempool().get(&txid).ok_or(GenerateOfError::NotWaiting { txid })?;
                entry.tx.shared().clone()
            }
        };
        bytes += tx.size();
        // One of the mempool may be named more often than any block has room for.
        if bytes > max {
            let detail = format!("its transactions alone have more than {max} bytes");
            return Err(GenerateOfError::Invalid(Rejection { reason: "bad-blk-length", detail }));
        }
        transactions.push(tx);
    }
    let template = template::build_of(node.chain(), transactions, &payee, rand::random(), now.unix)?;
    match work::propose(node, now, template.block(0)).map_err(ChainError::from)? {
        Some(rejection) => Err(GenerateOfError::Invalid(rejection)),
        None => Ok(template),
    }
}

/// How far [`generate`] is, shared with the node's thread.
struct Run {
    hashes: Vec<BlockHash>,
    /// Nonces left to try.
    tries: u64,
    extra_nonce: u64,
    /// Why the node's thread makes no more.
    end: Option<End>,
}

enum End {
    Failed(GenerateError),
    /// A few nonces were not enough for this one.
    Hard(Box<Template>),
}

impl Run {
    /// Whether another block is to be made.
    fn wants(&self, count: usize) -> bool {
        self.end.is_none() && self.hashes.len() < count && self.tries > 0
    }

    fn spend(&mut self, tried: u64) {
        self.tries = self.tries.saturating_sub(tried);
    }
}

fn lock(run: &Mutex<Run>) -> MutexGuard<'_, Run> {
    run.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Makes the next block, if a few nonces are enough, to be submitted.
fn quick_block(node: &Node, now: Now, payee: PublicKey, shared: &Arc<Mutex<Run>>) -> Option<Command> {
    let mut run = lock(shared);
    run.extra_nonce = run.extra_nonce.wrapping_add(1);
    let template = match template::build(node.chain(), node.mempool(), &payee, run.extra_nonce, now.unix) {
        Ok(template) => template,
        Err(error) => {
            run.end = Some(End::Failed(error.into()));
            return None;
        }
    };
    let Some(nonce) = kernel::search(&template.header, template.target, 0..=QUICK_TRIES - 1) else {
        run.spend(u64::from(QUICK_TRIES));
        run.end = Some(End::Hard(Box::new(template)));
        return None;
    };
    run.spend(u64::from(nonce) + 1);
    let (block, shared) = (template.block(nonce), shared.clone());
    let hash = block.hash();
    let reply = Reply::to(move |result: Result<ChainUpdate, ChainError>| {
        let mut run = lock(&shared);
        match result {
            Ok(_) => run.hashes.push(hash),
            Err(error) => run.end = Some(End::Failed(error.into())),
        }
    });
    Some(Command::SubmitBlock(block, reply))
}

/// Tries up to `budget` nonces; the block, if found, and how many it took.
fn search(mut template: Template, budget: u64) -> (Option<Block>, u64) {
    let mut tried = 0;
    loop {
        template.set_extra_nonce(template.extra_nonce().wrapping_add(Work::STRIDE));
        for start in (0..=u32::MAX).step_by(CHUNK as usize) {
            if tried >= budget {
                return (None, tried);
            }
            if let Some(nonce) = kernel::search(&template.header, template.target, start..=start + (CHUNK - 1)) {
                return (Some(template.block(nonce)), tried + u64::from(nonce - start) + 1);
            }
            tried += u64::from(CHUNK);
        }
    }
}
