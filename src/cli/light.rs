//! `cairn light`: verifies transactions with headers and proofs from untrusted peers.

mod own;
mod watch;
mod words;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Subcommand;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout_at};

pub(super) use self::own::Owned;
use self::words::{
    agreeing, by_kind, bytes_json, history_json, history_line, in_bytes, in_words, names, peer_json, peers_in_words,
    why,
};
use super::console::{note, warn};
use super::db::progress_bar;
use super::proof::{describe_output, output_json};
use super::{Common, SlowChain};
use crate::consensus::params::Params;
use crate::light::{Answer, Command, Config, Found, Headers, Light, Notice, PeerReport, PeerStatus, Question};
use crate::p2p::Event;
use crate::primitives::address;
use crate::primitives::amount::counted;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::target::Work;
use crate::primitives::time::UnixTime;
use crate::primitives::tx::OutPoint;
use crate::receipt::weight::{Slow, Weight};
use crate::runtime::{self, HeaderFile, RunningLight, unix_now};
use crate::storage::{TxLocation, private_file};

/// Block intervals without a block after which peers may be hiding newer ones: by chance alone, that happens once in
/// half a billion blocks.
const SUSPICIOUS_SPACINGS: u64 = 20;
/// The same in seconds at least, for networks with very short spacings.
const SUSPICIOUS_SECS: u64 = 600;
/// Nodes to find when none is given.
const OUTBOUND_TARGET: usize = 8;

/// Time after which progress is looked at, whatever has come.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// Longest wait that can be asked for: a year.
const MAX_TIMEOUT_SECS: u64 = 365 * 86_400;

/// Options of `cairn light`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn light sync --peer 203.0.113.7:7331 --peer node.example.org:7331
  cairn light verify 5f2b… --peer 203.0.113.7:7331 --min-confirmations 6
  # prints a line for each payment; no peer learns the address
  cairn light watch cairn1q… --peer 203.0.113.7:7331
  cairn light balance cairn1q… --peer 203.0.113.7:7331

Name several peers: one honest peer among them is enough. A chain that is more than 2,000 blocks ahead is proven by a sample of \
its headers: who shows a false proof has spent, on average, at least 3/5 of the work that it claims after the true chain. \
--all-headers checks every header instead. What is known of the chain is stored in the data directory.

Exit codes: 0 success, for verify only if proven; 3 not proven; 4 no peer answers; 5 the chain has less than half of the \
work that its miners did before.")]
pub struct Args {
    #[command(subcommand)]
    command: LightCommand,
}

/// Which peers to ask, and for how long.
#[derive(Debug, clap::Args)]
pub(super) struct PeerArgs {
    /// A full node to ask; with an id, no other node is accepted. May be repeated [default: nodes found through the
    /// network's seeds]
    #[arg(long, env = "CAIRN_PEER", value_name = "[ID@]HOST:PORT", value_delimiter = ',')]
    peer: Vec<String>,
    /// Seconds to wait for peers before continuing with those that have answered
    #[arg(long, env = "CAIRN_TIMEOUT", value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(..=MAX_TIMEOUT_SECS))]
    timeout: u64,
    /// Download and check every header, 80 bytes a block, rather than a proof of a long chain, which samples them
    #[arg(long, env = "CAIRN_ALL_HEADERS", value_parser = clap::builder::BoolishValueParser::new())]
    all_headers: bool,
    /// Print a warning unless the chain has more work than this, in hex, which another source reports
    #[arg(long, env = "CAIRN_EXPECT_WORK", value_name = "HEX")]
    expect_work: Option<Work>,
    /// Accept a chain that has less than half of the work that its miners did before, with a warning
    #[arg(long, env = "CAIRN_ACCEPT_SLOW_CHAIN", value_parser = clap::builder::BoolishValueParser::new())]
    accept_slow_chain: bool,
}

#[derive(Debug, Subcommand)]
enum LightCommand {
    /// Follow the chain with most work: a proof of it if it is long, and the headers since
    Sync(PeerArgs),
    /// Prove that a transaction is in the chain
    Verify {
        #[command(flatten)]
        peers: PeerArgs,
        /// The transaction
        txid: Txid,
        /// Confirmations to demand, measured in work: one is the work of a block shortly before the transaction's
        #[arg(long, env = "CAIRN_MIN_CONFIRMATIONS", value_name = "N", default_value_t = 1)]
        min_confirmations: u32,
        /// Fetch this block: its body proves that the transaction is in it, or that it is not
        #[arg(long, env = "CAIRN_BLOCK", value_name = "HASH")]
        block: Option<BlockHash>,
    },
    /// List the transactions of an address that peers can prove; this reveals the address to them
    History {
        #[command(flatten)]
        peers: PeerArgs,
        /// The address
        address: String,
    },
    /// Watch addresses by block filters without revealing them, until interrupted
    Watch {
        #[command(flatten)]
        peers: PeerArgs,
        /// The addresses
        #[arg(required = true)]
        addresses: Vec<String>,
        /// Height of the first block to check
        #[arg(long, env = "CAIRN_FROM_HEIGHT", value_name = "HEIGHT", default_value_t = Height::GENESIS)]
        from_height: Height,
        /// Confirmations, measured in work, after which a payment is reported as confirmed
        #[arg(long, env = "CAIRN_MIN_CONFIRMATIONS", value_name = "N", default_value_t = 1)]
        min_confirmations: u32,
    },
    /// Prove what addresses own, with no coin left out; this reveals the addresses to the peers that are asked
    #[command(after_help = "\
Examples:
  cairn light balance cairn1q… --peer 203.0.113.7:7331
  cairn light balance cairn1q… --coins --json
  cairn light balance cairn1q… --total   # value and number at the last edge

A peer proves all coins as they were after an edge of the chain. From there, filters that the chain commits to show the blocks \
that matter, up to the tip.")]
    Balance {
        #[command(flatten)]
        peers: PeerArgs,
        /// The addresses
        #[arg(required = true)]
        addresses: Vec<String>,
        /// Show each coin
        #[arg(long, env = "CAIRN_COINS", conflicts_with = "total",
              value_parser = clap::builder::BoolishValueParser::new())]
        coins: bool,
        /// Only the value and number of the coins at the edge: some kilobytes, however many they are
        #[arg(long, env = "CAIRN_TOTAL", value_parser = clap::builder::BoolishValueParser::new())]
        total: bool,
        /// Confirmations to demand of the block that commits to the coins; 256 are advised
        #[arg(long, env = "CAIRN_MIN_CONFIRMATIONS", value_name = "N", default_value_t = 1)]
        min_confirmations: u32,
    },
    /// Prove that a coin is unspent, or spent
    #[command(after_help = "\
Example:
  cairn light coin 5f2b…:0 --peer 203.0.113.7:7331")]
    Coin {
        #[command(flatten)]
        peers: PeerArgs,
        /// The coin
        #[arg(value_name = "TXID:N")]
        coin: OutPoint,
        /// Confirmations to demand of the block that commits to the coins; 256 are advised
        #[arg(long, env = "CAIRN_MIN_CONFIRMATIONS", value_name = "N", default_value_t = 1)]
        min_confirmations: u32,
    },
    /// Show the state of the stored headers, without contacting any peer
    Status,
}

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
    #[error("not proven: {0}. The transaction may still exist")]
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

/// A signal came before there was a result.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub(super) struct Interrupted;

/// Runs the command.
///
/// # Errors
/// [`LightError`], or what keeps the client from running.
pub fn run(args: Args, common: &Common) -> anyhow::Result<()> {
    let asked = match &args.command {
        LightCommand::Status => {
            let params = common.params()?;
            let path = headers_path(common, &params)?;
            return status(common, &HeaderFile::open(&path)?.load(params)?, &path);
        }
        LightCommand::Sync(peers)
        | LightCommand::Verify { peers, .. }
        | LightCommand::History { peers, .. }
        | LightCommand::Balance { peers, .. }
        | LightCommand::Coin { peers, .. }
        | LightCommand::Watch { peers, .. } => peers,
    };
    let command = &args.command;
    match with_session(common, asked, async |session| session.carry_out(command).await)? {
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
    let peers = super::peer_names(&asked.peer)?;
    let config = Config {
        outbound_target: if peers.is_empty() { OUTBOUND_TARGET } else { 0 },
        proof_ahead: asked.all_headers.then_some(u32::MAX),
        ..Config::default()
    };
    let tokio = tokio::runtime::Runtime::new().context("cannot start threads")?;
    tokio.block_on(async {
        let running = RunningLight::start(params.clone(), &peers, Some(&path), config).await?;
        let mut session = Session::new(&running, common, asked);
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

fn status(common: &Common, chain: &Headers, path: &Path) -> anyhow::Result<()> {
    let state = State::of(chain);
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let text = || {
        let file = format!("file           {bytes} bytes in {}", path.display());
        [state.describe(chain.params()), state.headers(), file].join("\n")
    };
    common.print(text, || {
        let mut json = state.json(chain.params());
        json["file"] = json!(path);
        json["bytes"] = json!(bytes);
        json
    })
}

/// The best chain known.
#[derive(Debug, Clone)]
struct State {
    height: Height,
    tip: BlockHash,
    time: u32,
    work: Work,
    /// The first height from which on all headers are kept.
    first: Height,
    headers_bytes: usize,
}

impl State {
    fn of(chain: &Headers) -> Self {
        let (height, tip, time, work) = (chain.height(), chain.tip_hash(), chain.tip().time, chain.work());
        Self { height, tip, time, work, first: chain.first(), headers_bytes: chain.kept() * Header::LEN }
    }

    fn describe(&self, params: &Params) -> String {
        [
            format!("network        {} (genesis {})", params.network, params.genesis_hash),
            format!("height         {}", self.height),
            format!(
                "tip            {}, {} s old",
                self.tip,
                unix_now().saturating_since(UnixTime::from_secs(self.time.into())).as_secs()
            ),
            format!("work in all    {:.3e} hashes, {}", self.work.as_f64(), self.work),
        ]
        .join("\n")
    }

    fn headers(&self) -> String {
        let proven = if self.first.as_u32() > 1 { "; those below are proven by a sample" } else { "" };
        format!("headers        all from height {} on, {} bytes{proven}", self.first, self.headers_bytes)
    }

    fn json(&self, params: &Params) -> Value {
        json!({
            "network": params.network,
            "genesis_hash": params.genesis_hash,
            "height": self.height,
            "tip": self.tip,
            "tip_time": self.time,
            "chainwork": self.work.to_string(),
            "headers_from": self.first,
            "headers_bytes": self.headers_bytes,
        })
    }
}

/// A run of the client on behalf of one command.
pub(super) struct Session<'a> {
    client: &'a RunningLight,
    /// The peers given on the command line.
    peers: &'a [String],
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
    fn new(client: &'a RunningLight, common: &'a Common, asked: &'a PeerArgs) -> Self {
        Self {
            client,
            peers: &asked.peer,
            events: client.link().subscribe(),
            common,
            params: client.params().clone(),
            patience: Duration::from_secs(asked.timeout),
            expect_work: asked.expect_work,
            accept_slow_chain: asked.accept_slow_chain,
            slow: None,
        }
    }

    async fn carry_out(&mut self, command: &LightCommand) -> anyhow::Result<()> {
        match command {
            LightCommand::Sync(_) => self.report_sync().await,
            LightCommand::Verify { txid, min_confirmations, block: None, .. } => {
                self.verify(*txid, *min_confirmations).await
            }
            LightCommand::Verify { txid, min_confirmations, block: Some(block), .. } => {
                self.verify_in(*txid, *block, *min_confirmations).await
            }
            LightCommand::History { address, .. } => self.history(address).await,
            LightCommand::Watch { addresses, from_height, min_confirmations, .. } => {
                self.watch(addresses, *from_height, *min_confirmations).await
            }
            LightCommand::Balance { addresses, coins, total, min_confirmations, .. } => {
                self.balance(addresses, (*total, *coins), *min_confirmations).await
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
        let (state, reports) = self.ask(|light| (State::of(light.chain()), light.reports())).await?;
        let warnings = self.warnings(&state, &reports);
        warn(&warnings);
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

    async fn verify(&mut self, txid: Txid, min_confirmations: u32) -> anyhow::Result<()> {
        let answer = self.answer(Question::Transaction(txid)).await?;
        match answer.found.first() {
            Some(found) => self.proven(found, min_confirmations).await,
            None => Err(LightError::NotProven(why(&answer)).into()),
        }
    }

    async fn verify_in(&mut self, txid: Txid, hash: BlockHash, min_confirmations: u32) -> anyhow::Result<()> {
        let answer = self.answer(Question::Block(hash)).await?;
        let Some(block) = &answer.block else { return Err(LightError::NotProven(why(&answer)).into()) };
        let transactions = block.transactions.len();
        let place = block.txids().iter().position(|other| *other == txid);
        let place = place.ok_or(LightError::ProvenAbsent { txid, block: hash, transactions })?;
        let found = self.ask(move |light| light.chain().height_of(&hash)).await?.map(|height| Found {
            txid,
            transaction: block.transactions[place].clone(),
            block: hash,
            place: TxLocation { height, position: place as u32 },
            time: block.header.time,
        });
        let found =
            found.ok_or_else(|| LightError::NotProven(format!("block {hash} is no longer on the best chain")))?;
        self.proven(&found, min_confirmations).await
    }

    async fn proven(&self, found: &Found, min_confirmations: u32) -> anyhow::Result<()> {
        let (state, reports, mut warnings) = self.state().await?;
        let height = found.place.height;
        let headers = state.height.next().blocks_since(height);
        let weight = self.ask(move |light| light.chain().weight(height, light.chain().tip().time)).await?;
        let weight = weight.context("the block is no longer on the best chain")?.under(&self.params);
        // The pace was checked for the whole chain.
        let weight = Weight { slow: None, ..weight };
        let (confirmations, work_on_top) = (weight.confirmations, weight.on_top);
        warn(&weight.warnings());
        warnings.extend(weight.warnings());
        ensure!(
            confirmations >= min_confirmations,
            LightError::TooFewConfirmations { got: confirmations, expected: min_confirmations }
        );
        let outputs = &found.transaction.outputs;
        let text = || {
            let mut lines = vec![
                format!("proven         transaction {} is in block {}", found.txid, found.block),
                format!("confirmations  {confirmations} (block {height} of {})", state.height),
                format!("work on top    {:.3e} hashes", work_on_top.as_f64()),
                state.describe(&self.params),
                format!("peers          {} of {} agree on the tip", agreeing(&reports), reports.len()),
            ];
            lines.extend(outputs.iter().map(|output| describe_output(output, &self.params)));
            lines.join("\n")
        };
        self.common.print(text, || {
            let mut json = state.json(&self.params);
            json["proven"] = json!(true);
            json["txid"] = json!(found.txid);
            json["blockhash"] = json!(found.block);
            json["blockheight"] = json!(height);
            json["time"] = json!(found.time);
            json["confirmations"] = json!(confirmations);
            json["headers"] = json!(headers);
            json["unit"] = json!(weight.unit.to_string());
            json["work_on_top"] = json!(work_on_top.to_string());
            json["outputs"] = outputs.iter().map(|output| output_json(output, &self.params)).collect();
            json["peers"] = reports.iter().map(peer_json).collect();
            json["warnings"] = json!(warnings);
            json
        })
    }

    async fn history(&mut self, text: &str) -> anyhow::Result<()> {
        let key = self.key(text)?;
        let answer = self.answer(Question::Key(key)).await?;
        let (state, reports, warnings) = self.state().await?;
        let heights: Vec<Height> = answer.found.iter().map(|found| found.place.height).collect();
        let weights: Vec<Option<Weight>> = self
            .ask(move |light| {
                let (chain, until) = (light.chain(), light.chain().tip().time);
                heights.iter().map(|height| chain.weight(*height, until)).collect()
            })
            .await?;
        let confirmed = || weights.iter().map(|weight| weight.map_or(0, |weight| weight.confirmations));
        let lines = || {
            let found = answer.found.iter().zip(confirmed());
            let mut lines: Vec<String> =
                found.map(|(found, confirmations)| history_line(found, confirmations)).collect();
            lines.push(format!(
                "{} proven; {} of {} agree on the tip. Others may exist that no peer asked has told of",
                counted(answer.found.len(), "transaction"),
                agreeing(&reports),
                counted(reports.len(), "peer")
            ));
            lines.join("\n")
        };
        self.common.print(lines, || {
            let mut json = state.json(&self.params);
            json["address"] = json!(text);
            json["transactions"] = answer
                .found
                .iter()
                .zip(confirmed())
                .map(|(found, confirmations)| history_json(found, confirmations, &state))
                .collect();
            json["peers"] = reports.iter().map(peer_json).collect();
            json["warnings"] = json!(warnings);
            json
        })
    }

    fn key(&self, text: &str) -> anyhow::Result<PublicKey> {
        address::decode(&self.params.address_prefix, text).with_context(|| format!("{text:?} is not an address"))
    }
}
