//! One connection's socket: lines in and out, with bounds on both.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

use super::limits::Limits;
use super::meters::{Meters, Miner};
use super::protocol::{self, Call, Fault, Refusal};
use super::session::{Reply, Session};
use crate::chain::ChainError;
use crate::miner::template::latest_time;
use crate::primitives::block::Block;
use crate::primitives::height::Height;
use crate::runtime::work::{self, TemplateError};
use crate::runtime::{Handle, Stopped, Tip, states};
use crate::storage::StoreError;

/// Longest line that a miner may send; a share has some 200 bytes.
const MAX_LINE: usize = 4096;
/// Time-out of writes to the miner.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Interval of difficulty adjustments.
const TICK: Duration = Duration::from_secs(1);
/// Age at which a job is replaced, for fees and the time in it.
const MAX_JOB_AGE: Duration = Duration::from_secs(30);
/// Least time between two jobs, for networks with instant blocks.
const MIN_JOB_AGE: Duration = Duration::from_millis(20);

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum End {
    #[error("the miner hung up")]
    HungUp,
    #[error("the node has stopped")]
    Stopped,
    #[error("a line longer than {MAX_LINE} bytes")]
    LongLine,
    #[error("not a request: {0:?}")]
    Garbage(String),
    #[error("neither subscribed nor authorized in time")]
    Late,
    #[error("silent for too long")]
    Idle,
    #[error("too many bad shares")]
    Flood,
    #[error("it does not read what the node sends")]
    WriteTimeout,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Template(TemplateError),
}

impl From<Stopped> for End {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

/// A connection at work.
pub(super) struct Connection {
    number: u64,
    handle: Handle,
    meters: Arc<Meters>,
    limits: Limits,
    session: Session,
    lines: FramedRead<OwnedReadHalf, LinesCodec>,
    writer: OwnedWriteHalf,
    start: Instant,
    /// When the newest job was given.
    given: Instant,
    heard: Instant,
    /// Bad shares, less good ones.
    offences: u32,
    /// The next line is read then: lines come no faster than they may.
    next_line: Instant,
}

impl Connection {
    pub(super) fn new(
        (stream, peer): (TcpStream, SocketAddr),
        number: u64,
        extranonce1: [u8; 4],
        handle: Handle,
        meters: Arc<Meters>,
        limits: Limits,
    ) -> Self {
        // A failure costs only latency.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        let lines = FramedRead::new(reader, LinesCodec::new_with_max_length(MAX_LINE));
        let start = Instant::now();
        meters.connect(number, Miner::new(peer));
        Self {
            number,
            handle,
            meters,
            limits,
            session: Session::new(extranonce1, Duration::ZERO),
            lines,
            writer,
            start,
            given: start,
            heard: start,
            offences: 0,
            next_line: start,
        }
    }

    /// Serves the miner until either side closes.
    pub(super) async fn run(mut self) -> End {
        match self.serve().await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        let mut tip = self.handle.tip();
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                line = next_line(self.next_line, &mut self.lines) => self.hear(&line?).await?,
                changed = next_change(self.given + MIN_JOB_AGE, &mut tip) => {
                    changed?;
                    if self.session.parent().is_some_and(|parent| parent != tip.borrow_and_update().hash) {
                        self.give().await?;
                    }
                }
                _ = ticks.tick() => self.tick().await?,
            }
        }
    }

    async fn tick(&mut self) -> Result<(), End> {
        let Some(_) = self.session.ready() else {
            return if self.start.elapsed() >= self.limits.setup { Err(End::Late) } else { Ok(()) };
        };
        if self.heard.elapsed() >= self.limits.idle {
            return Err(End::Idle);
        }
        if self.session.adjust(self.start.elapsed()) || self.given.elapsed() >= MAX_JOB_AGE {
            self.give().await?;
        }
        Ok(())
    }

    /// Gives a new job.
    async fn give(&mut self) -> Result<(), End> {
        let Some(payee) = self.session.ready() else { return Ok(()) };
        let is_pending = |error: &TemplateError| matches!(error, TemplateError::Chain(ChainError::StatePending { .. }));
        let ask = || self.handle.templates().get(payee, None);
        let (template, _) = match states::ask_when_computed(&self.handle, is_pending, ask).await {
            Err(TemplateError::Stopped(_)) => return Err(End::Stopped),
            Err(error) => return Err(End::Template(error)),
            Ok(given) => given,
        };
        self.given = Instant::now();
        let lines = self.session.give(template, self.start.elapsed());
        let level = self.session.level();
        self.meters.change(self.number, |miner| miner.level = level);
        for line in lines {
            self.say(line).await?;
        }
        Ok(())
    }

    async fn hear(&mut self, line: &str) -> Result<(), End> {
        let now = Instant::now();
        self.heard = now;
        self.next_line = self.next_line.max(now.checked_sub(self.limits.burst).unwrap_or(now)) + self.limits.line_time;
        let request = protocol::parse(line).ok_or_else(|| End::Garbage(line.chars().take(100).collect()))?;
        let call = request.call.clone();
        let was_ready = self.session.ready().is_some();
        let params = self.handle.params().clone();
        let latest = latest_time(self.handle.unix_now(), params.max_future_secs);
        match self.session.take(request, &params.address_prefix, latest, self.start.elapsed()) {
            Reply::Line(line) => self.say(line).await?,
            Reply::Rejected { fault, offence, line } => {
                self.meters.reject(self.number, fault);
                self.say(line).await?;
                self.offences += u32::from(offence);
                if self.offences >= self.limits.offences {
                    return Err(End::Flood);
                }
            }
            Reply::Share { id, level, block } => {
                self.offences = self.offences.saturating_sub(1);
                let refusal = match block {
                    Some(block) => self.submit(block).await?,
                    None => None,
                };
                let line = match refusal {
                    None => {
                        self.meters.accept(self.number, level);
                        protocol::answer(&id, &true.into())
                    }
                    Some(refusal) => {
                        self.meters.reject(self.number, refusal.fault);
                        protocol::refuse(&id, &refusal)
                    }
                };
                self.say(line).await?;
            }
        }
        let has_news = match call {
            Ok(Call::Subscribe { agent }) => {
                self.note(&agent, |miner, agent| miner.agent = agent);
                !was_ready
            }
            Ok(Call::Authorize { worker }) if self.session.payee().is_some() => {
                self.note(&worker, |miner, worker| miner.worker = worker);
                !was_ready
            }
            Ok(Call::SuggestDifficulty(_)) => true,
            _ => false,
        };
        if has_news && self.session.ready().is_some() {
            self.give().await?;
        }
        Ok(())
    }

    fn note(&self, text: &str, note: impl FnOnce(&mut Miner, String)) {
        let printable = text.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(128).collect();
        self.meters.change(self.number, |miner| note(miner, printable));
    }

    /// Submits a block, as `submitblock` does; returns the refusal, if any.
    async fn submit(&self, block: Block) -> Result<Option<Refusal>, End> {
        let height = block.transactions.first().map_or(Height::GENESIS, |coinbase| coinbase.lock_height);
        let hash = block.hash();
        let rejection = work::submit(&self.handle, block).await??;
        Ok(match rejection {
            None => {
                self.meters.found_block();
                tracing::info!(height = height.as_u32(), %hash, "block found by a miner over Stratum");
                None
            }
            Some(rejection) => {
                tracing::info!(
                    reason = rejection.reason,
                    detail = rejection.detail,
                    "a miner's block is not the new tip"
                );
                // Most likely another block came first, so the job is stale.
                Some(Refusal::new(Fault::JobNotFound, rejection.reason))
            }
        })
    }

    async fn say(&mut self, mut line: String) -> Result<(), End> {
        line.push('\n');
        match timeout(WRITE_TIMEOUT, self.writer.write_all(line.as_bytes())).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(End::WriteTimeout),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.meters.disconnect(self.number);
    }
}

/// The next line, not before its time. Nothing is lost if this is dropped.
async fn next_line(time: Instant, lines: &mut FramedRead<OwnedReadHalf, LinesCodec>) -> Result<String, End> {
    if time > Instant::now() {
        sleep_until(time).await;
    }
    match lines.next().await {
        Some(Ok(line)) => Ok(line),
        Some(Err(LinesCodecError::MaxLineLengthExceeded)) => Err(End::LongLine),
        Some(Err(LinesCodecError::Io(error))) => Err(error.into()),
        None => Err(End::HungUp),
    }
}

/// Waits until the tip has changed, and until `time` at least.
async fn next_change(time: Instant, tip: &mut watch::Receiver<Tip>) -> Result<(), End> {
    sleep_until(time).await;
    tip.changed().await.map_err(|_| End::Stopped)
}
