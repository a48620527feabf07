//! `cairn light`: verifies transactions with headers and proofs from untrusted peers.

mod args;
mod own;
mod prove;
mod state;
mod watch;
mod words;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::json;
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout_at};

pub use self::args::Args;
use self::args::LightCommand;
pub(super) use self::args::PeerArgs;
pub(super) use self::own::Owned;
use self::state::State;
use self::words::{agreeing, by_kind, bytes_json, in_bytes, in_words, names, peer_json, peers_in_words};
use super::console::{note, warn};
use super::db::progress_bar;
use super::{Common, Interrupted, SlowChain, start_threads};
use crate::consensus::params::Params;
use crate::consensus::peer_name::PeerName;
use crate::light::{Answer, Command, Config, Light, Notice, PeerReport, PeerStatus, Question};
use crate::p2p::Event;
use crate::primitives::address;
use crate::primitives::amount::counted;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::keys::PublicKey;
use crate::primitives::target::Work;
use crate::primitives::time::UnixTime;
use crate::receipt::weight::Slow;
use crate::runtime::{self, HeaderFile, RunningLight, unix_now};
use crate::storage::private_file;

/// Block intervals without a block after which peers may be hiding newer ones: by chance alone, that happens once in
/// half a billion blocks.
const SUSPICIOUS_SPACINGS: u64 = 20;
/// The same in seconds at least, for networks with very short spacings.
const SUSPICIOUS_SECS: u64 = 600;
/// Nodes to find when none is given.
const OUTBOUND_TARGET: usize = 8;

/// Time after which progress is looked at, whatever has come.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);

/// Why a command fails.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum LightError {
    /// No peer could be reached, or none sent all its headers, or all are gone.
    #[error("no peer answers{}", peers_in_words(.reports))]
    NoPeer {
        /// The state of each.
        reports: Vec<PeerReport>,
    },
    /// No peer proved it.
    #[error("not proven: {0}")]
    NotProven(String),
    /// The block proves that it is absent.
    #[error("proven absent: block {block} has {}, and {txid} is not among them", counted(*.transactions, "transaction"))]
    ProvenAbsent {
        txid: Txid,
        block: BlockHash,
        /// How many it has.
        transactions: usize,
    },
    /// All peers refuse a payment.
    #[error("no peer takes payment {txid}: {} asked for it and refuse it", .refusals.join(", "))]
    Refused { txid: Txid, refusals: Vec<String> },
    /// No peer asked for a payment.
    #[error("no peer asked for payment {txid}; it may be under way")]
    NotAsked { txid: Txid },
    /// It is there, but not deep enough.
    #[error("proven, but with {}, not {expected}", counted(*.got, "confirmation"))]
    TooFewConfirmations {
        /// How many it has.
        got: u32,
        /// How many were wanted.
        expected: u32,
    },
}

/// Runs the command.
///
/// # Errors
/// [`LightError`], or what keeps the client from running.
pub fn run(args: Args, common: &Common) -> anyhow::Result<()> {
    let asked = match &args.command {
        LightCommand::Status => {
            let params = common.params()?;
            let path = headers_path(common, &params)?;
            return state::print(common, &HeaderFile::open(&path)?.load(params)?, &path);
        }
        LightCommand::Sync(peers)
        | LightCommand::Verify { peers, .. }
        | LightCommand::History { peers, .. }
        | LightCommand::Balance { peers, .. }
        | LightCommand::Coin { peers, .. }
        | LightCommand::Watch { peers, .. } => peers,
    };
    let command = &args.command;
    let prefix = &common.params()?.address_prefix;
    // Before any peer is asked, which takes long.
    let keys: BTreeSet<PublicKey> =
        command.addresses().iter().map(|text| address::decode(prefix, text)).collect::<Result<_, _>>()?;
    match with_session(common, asked, async |session| session.carry_out(command, keys).await)? {
        // A watch has no other end.
        None if !matches!(command, LightCommand::Watch { .. }) => Err(Interrupted.into()),
        _ => Ok(()),
    }
}

/// Runs a light client that has all headers of its peers, and `work` on its behalf. `None` if a signal interrupts it.
///
/// # Errors
/// Those of `work`; [`LightError::NoPeer`], or what keeps the client from running.
pub(super) fn with_session<T>(
    common: &Common,
    asked: &PeerArgs,
    work: impl AsyncFnOnce(&mut Session<'_>) -> anyhow::Result<T>,
) -> anyhow::Result<Option<T>> {
    let params = common.params()?;
    let path = headers_path(common, &params)?;
    let peers: Vec<PeerName> = asked.peer.iter().flatten().cloned().collect();
    let config = Config {
        outbound_target: if peers.is_empty() { OUTBOUND_TARGET } else { 0 },
        proof_ahead: asked.all_headers.then_some(u32::MAX),
        ..Config::default()
    };
    let tokio = start_threads()?;
    tokio.block_on(async {
        let running = RunningLight::start(params.clone(), &peers, Some(&path), config).await?;
        let mut session = Session::new(&running, common, asked, &peers);
        let done = tokio::select! {
            // Signals are caught before the first word is said.
            biased;
            signal = runtime::interrupted() => signal.context("cannot wait for signals").map(|()| None),
            done = async {
                session.sync().await?;
                session.check_pace().await?;
                work(&mut session).await
            } => done.map(Some),
        };
        running.stop().await?;
        done
    })
}

fn headers_path(common: &Common, params: &Params) -> anyhow::Result<PathBuf> {
    let dir = common.data_dir()?.join("light");
    private_file::create_dir(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let genesis = params.genesis_hash.to_string();
    Ok(dir.join(format!("{}.headers", &genesis[..16])))
}

/// A run of the client on behalf of one command.
pub(super) struct Session<'a> {
    client: &'a RunningLight,
    /// The peers given on the command line.
    peers: &'a [PeerName],
    events: broadcast::Receiver<Event>,
    common: &'a Common,
    params: Arc<Params>,
    patience: Duration,
    expect_work: Option<Work>,
    accept_slow_chain: bool,
    /// Set if the chain slowed down, and that is accepted.
    slow: Option<Slow>,
}

impl<'a> Session<'a> {
    fn new(client: &'a RunningLight, common: &'a Common, asked: &PeerArgs, peers: &'a [PeerName]) -> Self {
        Self {
            client,
            peers,
            events: client.link().subscribe(),
            common,
            params: client.params().clone(),
            patience: Duration::from_secs(asked.timeout),
            expect_work: asked.expect_work,
            accept_slow_chain: asked.accept_slow_chain,
            slow: None,
        }
    }

    /// Does what is asked; `keys` are those of its addresses.
    async fn carry_out(&mut self, command: &LightCommand, keys: BTreeSet<PublicKey>) -> anyhow::Result<()> {
        match command {
            LightCommand::Sync(_) => self.report_sync().await,
            LightCommand::Verify { txid, min_confirmations, block: None, .. } => {
                self.verify(*txid, *min_confirmations).await
            }
            LightCommand::Verify { txid, min_confirmations, block: Some(block), .. } => {
                self.verify_in(*txid, *block, *min_confirmations).await
            }
            LightCommand::History { address, .. } => {
                // Of one address.
                for key in keys {
                    self.history(address, key).await?;
                }
                Ok(())
            }
            LightCommand::Watch { from_height, min_confirmations, .. } => {
                self.watch(keys, *from_height, *min_confirmations).await
            }
            LightCommand::Balance { coins, total, min_confirmations, .. } => {
                self.balance(keys, (*total, *coins), *min_confirmations).await
            }
            LightCommand::Coin { coin, min_confirmations, .. } => self.coin(*coin, *min_confirmations).await,
            LightCommand::Status => Ok(()),
        }
    }

    async fn ask<R: Send + 'static>(&self, read: impl FnOnce(&Light) -> R + Send + 'static) -> anyhow::Result<R> {
        Ok(self.client.link().read(move |light, _| read(light)).await?)
    }

    async fn notices(&self) -> anyhow::Result<Vec<Notice>> {
        Ok(self.client.link().command(Command::TakeNotices).await?)
    }

    /// Waits for a notice, at most until `until`.
    async fn noticed(&mut self, until: Instant) -> anyhow::Result<bool> {
        loop {
            match timeout_at(until, self.events.recv()).await {
                Ok(Ok(Event::Noticed) | Err(broadcast::error::RecvError::Lagged(_))) => return Ok(true),
                Ok(Ok(_)) => {}
                Ok(Err(broadcast::error::RecvError::Closed)) => return Err(runtime::Stopped.into()),
                Err(_) => return Ok(false),
            }
        }
    }

    /// Waits for a notice, or a change of connections, at most until `end`.
    async fn changed(&mut self, end: Option<Instant>) -> anyhow::Result<()> {
        let change = async {
            loop {
                match self.events.recv().await {
                    Ok(Event::Noticed | Event::PeerConnected { .. } | Event::PeerDisconnected { .. })
                    | Err(broadcast::error::RecvError::Lagged(_)) => return Ok(()),
                    Ok(_) => {}
                    Err(broadcast::error::RecvError::Closed) => return Err(runtime::Stopped.into()),
                }
            }
        };
        match end {
            None => change.await,
            Some(end) => timeout_at(end, change).await.unwrap_or(Ok(())),
        }
    }

    /// Reports progress to a user; programs only see the result.
    fn say(&self, text: &str) {
        if !self.common.json() {
            note(text);
        }
    }

    /// Waits until every peer has sent all its headers, or the time-out.
    async fn sync(&mut self) -> anyhow::Result<()> {
        let bar = progress_bar("headers");
        let until = Instant::now() + self.patience;
        self.say(&match self.peers {
            [] if self.params.seeds.is_empty() => "no peer is named, and the network has no seeds".to_owned(),
            [] => format!("no peer is named: looking for nodes through the seeds {}", names(&self.params.seeds)),
            named => format!("asking {}", names(named)),
        });
        loop {
            let (synced, alone, height, claimed) = self
                .ask(|light| {
                    let claims = light.reports().into_iter().filter_map(|report| report.claim);
                    let claimed = claims.map(|claim| claim.height).max().unwrap_or_default();
                    (light.is_synced(), light.is_alone(), light.chain().height(), claimed)
                })
                .await?;
            bar.set_length(u64::from(claimed.max(height).as_u32()));
            bar.set_position(u64::from(height.as_u32()));
            let gave_up = Instant::now() >= until;
            if synced || alone || gave_up {
                bar.finish_and_clear();
                let reports = self.ask(|light| light.reports()).await?;
                let settled = |report: &PeerReport| {
                    matches!(
                        report.standing,
                        PeerStatus::Agrees
                            | PeerStatus::Behind { .. }
                            | PeerStatus::OtherBranch { .. }
                            | PeerStatus::Less { .. }
                    )
                };
                ensure!(reports.iter().any(settled), LightError::NoPeer { reports });
                if !synced {
                    self.client.link().command(Command::GoOn).await?;
                }
                return Ok(());
            }
            // Wakes at intervals to show progress.
            self.noticed(until.min(Instant::now() + PROGRESS_INTERVAL)).await?;
        }
    }

    /// Checks that the chain has the work that its miners would have done by now, if they had gone on as before.
    async fn check_pace(&mut self) -> anyhow::Result<()> {
        let now = u32::try_from(unix_now().as_secs()).unwrap_or(u32::MAX);
        let weight = self.ask(move |light| light.chain().weight(light.chain().height(), now)).await?;
        self.slow = weight.and_then(|weight| weight.under(&self.params).slow);
        match self.slow {
            Some(slow) if !self.accept_slow_chain => Err(SlowChain(slow).into()),
            _ => Ok(()),
        }
    }

    /// Warns of signs that one attacker controls all peers; returns the state and the peers.
    async fn state(&self) -> anyhow::Result<(State, Vec<PeerReport>, Vec<String>)> {
        let known = self.state_in_silence().await?;
        warn(&known.2);
        Ok(known)
    }

    /// The state, the peers, and what there is to warn of.
    async fn state_in_silence(&self) -> anyhow::Result<(State, Vec<PeerReport>, Vec<String>)> {
        let (state, reports) = self.ask(|light| (State::of(light.chain()), light.reports())).await?;
        let warnings = self.warnings(&state, &reports);
        Ok((state, reports, warnings))
    }

    fn warnings(&self, state: &State, reports: &[PeerReport]) -> Vec<String> {
        let mut warnings = Vec::new();
        if agreeing(reports) < 2 {
            warnings.push(
                "fewer than two peers vouch for this chain: ask more of them, who do not know each other".to_owned(),
            );
        }
        let age = unix_now().saturating_since(UnixTime::from_secs(state.time.into())).as_secs();
        let spacing = u64::from(self.params.target_spacing_secs);
        if age > (SUSPICIOUS_SPACINGS * spacing).max(SUSPICIOUS_SECS) {
            warnings.push(format!(
                "the last block is {age} s old, and there should be one every {spacing} s: all peers asked may be hiding the \
                 rest (an eclipse), or mining has stopped"
            ));
        }
        warnings.extend(self.slow.map(|slow| slow.to_string()));
        if let Some(expected) = self.expect_work.filter(|expected| state.work <= *expected) {
            warnings.push(format!(
                "this chain has work {}, no more than the {expected} expected: all peers asked may be hiding the rest (an \
                 eclipse)",
                state.work
            ));
        }
        warnings
    }

    async fn report_sync(&self) -> anyhow::Result<()> {
        let (state, reports, warnings) = self.state().await?;
        let received = self.ask(|light| by_kind(light.received_bytes())).await?;
        let text = || {
            let mut lines = vec![state.describe(&self.params), state.headers(), in_bytes(&received)];
            lines.push(format!("peers          {} agree", agreeing(&reports)));
            lines.extend(reports.iter().map(|report| format!("  {:<21}  {}", report.address, in_words(report))));
            lines.join("\n")
        };
        self.common.print(text, || {
            let mut json = state.json(&self.params);
            json["received_bytes"] = bytes_json(&received);
            json["peers"] = reports.iter().map(peer_json).collect();
            json["warnings"] = json!(warnings);
            json
        })
    }

    async fn answer(&mut self, question: Question) -> anyhow::Result<Answer> {
        self.client.link().command(move |reply| Command::Ask(question, reply)).await?;
        loop {
            for notice in self.notices().await? {
                match notice {
                    Notice::Answered(asked, answer) if asked == question => return Ok(answer),
                    _ => {}
                }
            }
            // Each peer has its own time-out; without peers there is nothing to wait for.
            let until = Instant::now() + self.patience;
            let ready = self.noticed(until).await?;
            ensure!(ready, LightError::NotProven(format!("no peer answered for {} s", self.patience.as_secs())));
        }
    }
}
