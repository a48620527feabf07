//! A light client on one connection with a node, which benchmarks have many of.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::{Duration, sleep_until};

use crate::consensus::params::Params;
use crate::light::{Config, Headers, Light, Scope};
use crate::p2p::frame::Decoder;
use crate::p2p::noise::{Opener, Sealer, Session};
use crate::p2p::{Direction, Input, Now, Output, PeerAddr, PeerId, Protocol, Transports};
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::time::MonoTime;
use crate::runtime::unix_now;
use crate::runtime::webrtc::SessionError;

/// Bytes read at once.
const READ_BYTES: usize = 16 << 10;
/// The only connection.
const NODE: PeerId = PeerId(1);
/// When a client that has no deadline wakes.
const RARELY: Duration = Duration::from_secs(3_600);

/// What a client has come to.
#[derive(Debug, Clone, Default)]
struct Seen {
    /// Of its chain, once the node agrees.
    height: Option<Height>,
    /// Whether it knows the coins that it asked for.
    is_proven: bool,
    /// Why it is gone.
    ended: Option<String>,
}

/// A client at work, until it is dropped.
pub(super) struct Page {
    seen: watch::Receiver<Seen>,
    asks: mpsc::UnboundedSender<PublicKey>,
    task: AbortHandle,
}

impl Drop for Page {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Page {
    /// A client of a node, over a stream on which the handshake is done, and which `carrying` carries if it is a page's.
    pub(super) fn begin<S>(
        stream: S,
        session: Session,
        node: PeerAddr,
        params: Arc<Params>,
        carrying: Option<JoinHandle<SessionError>>,
    ) -> Self
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, seen) = watch::channel(Seen::default());
        let (asks, asked) = mpsc::unbounded_channel();
        let Session { peer: id, sealer, opener } = session;
        let start = Instant::now();
        let config = Config {
            peers: vec![(node, None)],
            outbound_target: 0,
            transports: Transports { tcp: true, webrtc: true },
            seed: rand::random(),
            ..Config::default()
        };
        let decoder = Decoder::of_connection(params.max_block_bytes);
        let light = Light::new(Headers::new(params), config, now(start));
        let mut client = Client { light, start, sealer, opener, decoder, stream, wake: None, seen: sender, asked };
        let connected = Input::Connected { peer: NODE, address: node, direction: Direction::Outbound, id };
        let running = async move {
            if let Err(error) = client.run(connected).await {
                let Client { stream, seen, .. } = client;
                drop(stream);
                let why = match carrying {
                    Some(carrying) => carrying.await.map_or_else(|panic| panic.to_string(), |ended| ended.to_string()),
                    None => error.to_string(),
                };
                seen.send_modify(|seen| seen.ended = Some(why));
            }
        };
        let task = tokio::spawn(running).abort_handle();
        Self { seen, asks, task }
    }

    /// Waits until it has a height that the node agrees with.
    pub(super) async fn reach(&self, height: Height) -> anyhow::Result<()> {
        self.see(|seen| seen.height.is_some_and(|at| at >= height)).await
    }

    /// Has the coins of a key proven.
    pub(super) fn prove(&self, key: PublicKey) {
        // A client that has ended is noticed when it is waited for.
        let _ = self.asks.send(key);
    }

    /// Waits until that is done.
    pub(super) async fn proven(&self) -> anyhow::Result<()> {
        self.see(|seen| seen.is_proven).await
    }

    async fn see(&self, what: impl Fn(&Seen) -> bool) -> anyhow::Result<()> {
        let mut seen = self.seen.clone();
        let seen = seen.wait_for(|seen| what(seen) || seen.ended.is_some()).await?;
        anyhow::ensure!(what(&seen), "a client is gone: {}", seen.ended.as_deref().unwrap_or_default());
        Ok(())
    }
}

struct Client<S> {
    light: Light,
    start: Instant,
    sealer: Sealer,
    opener: Opener,
    decoder: Decoder,
    stream: S,
    wake: Option<MonoTime>,
    seen: watch::Sender<Seen>,
    asked: mpsc::UnboundedReceiver<PublicKey>,
}

fn now(start: Instant) -> Now {
    Now { mono: MonoTime::START + start.elapsed(), unix: unix_now() }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    async fn run(&mut self, connected: Input) -> anyhow::Result<()> {
        self.light.handle(now(self.start), Input::Tick);
        self.light.handle(now(self.start), connected);
        let mut buffer = vec![0; READ_BYTES];
        loop {
            self.carry_out().await?;
            let wake = self.wake.map_or(RARELY, |at| at.saturating_since(now(self.start).mono));
            tokio::select! {
                read = self.stream.read(&mut buffer) => {
                    let count = read?;
                    anyhow::ensure!(count > 0, "closed by the node");
                    self.opener.push(&buffer[..count]);
                    self.take()?;
                }
                Some(key) = self.asked.recv() => {
                    self.light.own(now(self.start), Scope::Keys(BTreeSet::from([key])));
                }
                () = sleep_until(tokio::time::Instant::now() + wake) => {
                    self.wake = None;
                    self.light.handle(now(self.start), Input::Tick);
                }
            }
        }
    }

    /// Handles the messages that have come.
    fn take(&mut self) -> anyhow::Result<()> {
        while let Some(plain) = self.opener.open()? {
            self.decoder.push(plain);
            while let Some(message) = self.decoder.next_message()? {
                let now = now(self.start);
                self.light.handle(now, Input::Received { peer: NODE, message, at: now.mono });
            }
        }
        Ok(())
    }

    async fn carry_out(&mut self) -> anyhow::Result<()> {
        let mut sealed = Vec::new();
        for output in self.light.drain() {
            match output {
                Output::Send { peer: NODE, frame } => self.sealer.seal(&frame.to_bytes(), &mut sealed)?,
                Output::Disconnect { peer: NODE, reason } => anyhow::bail!("the client leaves: {reason}"),
                Output::WakeAt { at } => self.wake = Some(at),
                _ => {}
            }
        }
        self.light.take_notices();
        let height = self.light.is_synced().then(|| self.light.chain().height());
        let is_proven = self.light.holding().is_some();
        self.seen.send_if_modified(|seen| {
            let is_new = (seen.height, seen.is_proven) != (height, is_proven);
            (seen.height, seen.is_proven) = (height, is_proven);
            is_new
        });
        if !sealed.is_empty() {
            self.stream.write_all(&sealed).await?;
        }
        Ok(())
    }
}
