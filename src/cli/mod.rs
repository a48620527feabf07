//! The commands of the binary: options, wiring, and output. One file for each subcommand.
//!
//! Results go to stdout, logs and errors to stderr. Lasting options are environment variables too, `CAIRN_…`; options
//! of a single payment or address exist only on the command line.

use std::ffi::OsString;
use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, anyhow, bail};
use clap::builder::{BoolishValueParser, TypedValueParser};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use serde_json::Value;
use tokio::runtime::Runtime;

use self::console::Console;
use self::failure::{Failure, is_reader_gone};
use self::logging::LogFormat;
use crate::consensus::params::Params;
use crate::consensus::peer_name::{PeerName, PeerNameError};
use crate::content::CONTENT_DIR;
use crate::primitives::hash::Txid;
use crate::receipt::weight::Slow;
use crate::runtime::STORE_DIR;
use crate::storage::private_file;

pub mod bench;
pub mod client;
pub mod content;
pub mod db;
pub mod genesis;
pub mod health;
pub mod light;
pub mod node;
pub mod proof;
pub mod rpc;
pub mod sim;
pub mod testnet;
pub mod wallet;

mod account;
mod console;
mod failure;
mod holding;
mod logging;
mod login;
mod manual;
mod prompt;
mod scenario;
mod settings;
mod temporary;

/// The data directory in the home directory.
const DEFAULT_DATA_DIR: &str = ".cairn";

/// The development network's parameters, used when `--genesis` is not given.
pub const DEFAULT_GENESIS: &str = include_str!("../../genesis.json");

/// The command line as a whole.
#[derive(Debug, Parser)]
#[command(name = "cairn", version, about, long_about = LONG_ABOUT, after_long_help = AFTER_HELP, max_term_width = 120)]
pub struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

const LONG_ABOUT: &str = "\
A proof-of-work blockchain node: full node, miner, wallet, verifier of payment proofs and local test network, in one \
binary.";

const AFTER_HELP: &str = "\
A network in one command:
  cairn testnet

By hand, in three terminals:
  cairn wallet new                              # keys, and an address
  cairn node --mine \"$(cairn wallet address)\"   # a node that mines
  cairn rpc getblockcount                       # call it

Exit codes: 0 success; 1 failure, with the reason on stderr; 2 wrong usage; 3 a proof that does not hold; 4 no node answers; 5 a chain \
that most miners have left; 130 interrupted before there was a result. \
With --json, the reason is an object in the last line of stderr: {\"error\": {\"code\": 1, \"kind\": \"failed\", \"message\": …}}.";

/// Options that every command takes.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Common {
    /// Directory of the node's chain, and of the address and cookie by which commands find it [default: ~/.cairn]
    #[arg(long, global = true, env = "CAIRN_DATA_DIR", value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// A configuration file in TOML [default: cairn.toml in the data directory, if there is one]
    #[arg(long, global = true, env = "CAIRN_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// The network's genesis.json [default: the data directory's, else the built-in development network's]
    #[arg(long, global = true, env = "CAIRN_GENESIS", value_name = "FILE")]
    genesis: Option<PathBuf>,
    /// Print the result as JSON, for programs
    #[arg(long, global = true, env = "CAIRN_JSON", value_parser = BoolishValueParser::new())]
    json: bool,
    /// What to log to stderr: error, warn, info, debug, trace, or a filter like cairn::p2p=debug
    #[arg(long, global = true, env = "CAIRN_LOG", value_name = "LEVEL", value_parser = logging::filter)]
    log: Option<String>,
    /// Log format: lines of text, or one JSON object a line for programs
    #[arg(long, global = true, env = "CAIRN_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
}

impl Common {
    /// The data directory: as given, else `.cairn` in the home directory.
    ///
    /// # Errors
    /// If there is no home directory either.
    pub fn data_dir(&self) -> anyhow::Result<PathBuf> {
        if let Some(dir) = &self.data_dir {
            return Ok(dir.clone());
        }
        let home = std::env::home_dir().context("there is no home directory: give --data-dir")?;
        Ok(home.join(DEFAULT_DATA_DIR))
    }

    /// The data directory of a single node.
    ///
    /// # Errors
    /// If it is a test network's, in which each node has one.
    pub fn node_dir(&self) -> anyhow::Result<PathBuf> {
        let dir = self.data_dir()?;
        let Some((nodes, first)) = test_network(&dir) else { return Ok(dir) };
        bail!(
            "{} holds a test network: give the directory of one of its nodes, {}{}",
            dir.display(),
            first.display(),
            if nodes > 1 { format!(" to node-{nodes}") } else { String::new() }
        )
    }

    /// The directory whose content a command is about: a test network's is that of its first node, whose RPC answers, too.
    ///
    /// # Errors
    /// If there is no home directory.
    pub fn content_dir(&self) -> anyhow::Result<PathBuf> {
        let dir = self.data_dir()?;
        Ok(test_network(&dir).map_or(dir, |(_, first)| first).join(CONTENT_DIR))
    }

    /// The network's parameters: from `--genesis`, else from the data directory, else the built-in development network.
    ///
    /// # Errors
    /// If the file cannot be read or a field is invalid.
    pub fn params(&self) -> anyhow::Result<Arc<Params>> {
        let kept = self.data_dir().ok().map(|dir| dir.join(genesis::KEPT_FILE)).filter(|path| path.exists());
        let params = match self.genesis.as_ref().or(kept.as_ref()) {
            None => Params::from_json(DEFAULT_GENESIS).context("the built-in genesis.json")?,
            Some(path) => genesis::read_params(path)?,
        };
        Ok(Arc::new(params))
    }

    /// Whether `--json` was given.
    pub fn json(&self) -> bool {
        self.json
    }

    /// Prints a result: `json` with `--json`, else `text`. The empty text of an empty list makes no line.
    ///
    /// # Errors
    /// [`OutputError`] if stdout cannot be written to.
    pub fn print(&self, text: impl FnOnce() -> String, json: impl FnOnce() -> Value) -> anyhow::Result<()> {
        let result = if self.json { format!("{:#}", json()) } else { text() };
        if result.is_empty() { Ok(()) } else { print_line(&result) }
    }

    /// Prints the result of an irreversible action. If stdout fails or its reader is gone, the command fails with an
    /// error that includes the text of `done`, since a caller that does not learn of the action might repeat it.
    ///
    /// # Errors
    /// If stdout cannot be written to.
    pub fn print_done(
        &self,
        done: impl Display,
        text: impl FnOnce() -> String,
        json: impl FnOnce() -> Value,
    ) -> anyhow::Result<()> {
        self.print(text, json).map_err(|error| anyhow!("{done}, but {error}"))
    }

    /// The same where the text says what was done.
    ///
    /// # Errors
    /// If stdout cannot be written to.
    pub fn print_outcome(&self, text: &str, json: impl FnOnce() -> Value) -> anyhow::Result<()> {
        self.print_done(text, || text.to_owned(), json)
    }

    /// The same with the id of a payment that is sent.
    ///
    /// # Errors
    /// If stdout cannot be written to.
    pub fn print_payment(&self, txid: &Txid, json: impl FnOnce() -> Value) -> anyhow::Result<()> {
        self.print_done(format_args!("the payment is sent, its id is {txid}"), || txid.to_string(), json)
    }
}

/// Options that contradict each other.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(String);

/// How many nodes the test network in a directory has, and the first one's directory; `None` if a node's own store is there,
/// or no network.
fn test_network(dir: &Path) -> Option<(usize, PathBuf)> {
    let nodes = testnet::nodes_in(dir);
    (nodes > 0 && !dir.join(STORE_DIR).is_dir()).then(|| (nodes, dir.join("node-1")))
}

/// Stdout cannot be written to.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to stdout: {0}")]
pub struct OutputError(std::io::Error);

/// Prints a line to stdout.
///
/// # Errors
/// [`OutputError`], with which a command ends quietly if the reader has left.
pub fn print_line(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    Ok(writeln!(out, "{text}").and_then(|()| out.flush()).map_err(OutputError)?)
}

/// Writes a file atomically, unless it is a device or a pipe.
///
/// # Errors
/// If it cannot be written, or takes the place of one that only its owner may read: it may hold keys.
fn write_file(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let written = match std::fs::metadata(path) {
        Ok(there) if there.is_file() && private_file::is_private(&there) => {
            bail!("{} can be read by its owner alone, so it may hold keys: it is not overwritten", path.display());
        }
        Ok(there) if !there.is_file() => std::fs::write(path, content),
        // The file that a link leads to, not the link, is replaced.
        Ok(_) => std::fs::canonicalize(path).and_then(|path| private_file::replace_shared(&path, content)),
        Err(_) => private_file::replace_shared(path, content),
    };
    written.with_context(|| format!("cannot write {}", path.display()))
}

/// A node to connect to, as typed. In compose files, a variable that is not set arrives as an empty one, and names none.
fn peer_name(text: &str) -> Result<Option<PeerName>, PeerNameError> {
    Some(text).filter(|text| !text.is_empty()).map(str::parse).transpose()
}

/// Threads for what waits for sockets, timers and signals.
fn start_threads() -> anyhow::Result<Runtime> {
    Runtime::new().context("cannot start threads")
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a full node, and mine if asked to
    Node(node::Args),
    /// Run a whole local network: several nodes, some of them mining
    Testnet(testnet::Args),
    /// Manage keys, addresses and payments
    Wallet(wallet::Args),
    /// Call a method of a running node
    Rpc(rpc::Args),
    /// Verify transactions with headers and proofs alone, without trusting a peer
    Light(light::Args),
    /// Fetch the receipt of a payment, or check one offline
    Proof(proof::Args),
    /// Create, mine or show the file that defines a network
    Genesis(genesis::Args),
    /// Add, read, keep and exchange files under CIDs, as in IPFS
    Content(content::Args),
    /// Check, export or import a node's database
    Db(db::Args),
    /// Measure how fast this machine does the work of a node
    Bench(bench::Args),
    /// Report whether a node is ready
    Health(health::Args),
    /// Simulate large networks
    Sim(sim::Args),
    /// Print what a shell needs to complete commands and options
    Completion(manual::CompletionArgs),
    /// Write the manual pages
    Man(manual::ManArgs),
}

/// Runs the command that the process was started with.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut outlets = DrainOnDrop(vec![console::stderr().clone()]);
    let args: Vec<OsString> = args.into_iter().collect();
    let (declared, config) = match settings::apply(settings::without_empty_variables(Cli::command()), &args) {
        Ok(declared) => declared,
        Err(error) => return Failure::usage(error.to_string()).report(wants_json(&args)),
    };
    let parsed = declared.try_get_matches_from(&args).and_then(|matches| Cli::from_arg_matches(&matches));
    let Cli { mut common, command } = match parsed {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && wants_json(&args) => {
            // In text it begins as every error does here, and in an object it has a name already.
            let text = error.to_string();
            let message = text.strip_prefix("error: ").unwrap_or(&text).to_owned();
            return Failure::usage(message).report(true);
        }
        Err(error) => error.exit(),
    };
    common.config = config;
    let logging = logging::start(&common, &command).map(|log| outlets.0.push(log));
    let done = logging.and_then(|()| match command {
        Command::Node(args) => node::run(args, &common),
        Command::Testnet(args) => testnet::run(args, &common),
        Command::Wallet(args) => wallet::run(&args, &common),
        Command::Rpc(args) => rpc::run(&args, &common),
        Command::Light(args) => light::run(args, &common),
        Command::Proof(args) => proof::run(&args, &common),
        Command::Genesis(args) => genesis::run(args, &common),
        Command::Content(args) => content::run(args, &common),
        Command::Db(args) => db::run(args, &common),
        Command::Bench(args) => bench::run(&args, &common),
        Command::Health(args) => health::run(&args, &common),
        Command::Sim(args) => sim::run(&args, &common),
        Command::Completion(args) => manual::completion(&args, &common),
        Command::Man(args) => manual::man(&args, &common),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // The reader, such as `head`, has closed the pipe.
        Err(error) if is_reader_gone(&error) => ExitCode::SUCCESS,
        Err(error) => Failure::of(&error).report(common.json),
    }
}

/// Drains stderr and the log when the command ends, in whatever way.
struct DrainOnDrop(Vec<Console>);

impl Drop for DrainOnDrop {
    fn drop(&mut self) {
        self.0.iter().for_each(Console::drain);
    }
}

/// A signal came before there was a result.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
struct Interrupted;

impl Interrupted {
    /// Fails once a signal has set the flag of [`interrupt_flag`](crate::runtime::interrupt_flag).
    fn check(flag: &AtomicBool) -> Result<(), Self> {
        if flag.load(Ordering::SeqCst) { Err(Self) } else { Ok(()) }
    }
}

/// A chain that shows less work than its miners did before, and that the user does not accept all the same.
#[derive(Debug, thiserror::Error)]
#[error("{0}, or a test network stood still; --accept-slow-chain accepts it all the same")]
struct SlowChain(Slow);

/// Whether JSON was asked for on a command line that cannot be parsed.
fn wants_json(args: &[OsString]) -> bool {
    let given = args.iter().take_while(|arg| *arg != "--").any(|arg| arg == "--json");
    let command = Cli::command();
    let is_true = |value: OsString| BoolishValueParser::new().parse_ref(&command, None, &value).is_ok_and(|is| is);
    given || std::env::var_os("CAIRN_JSON").is_some_and(is_true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// A variable would apply to all later payments, and may be set for another reason.
    #[test]
    fn options_of_one_payment_are_no_environment_variables() {
        let cli = Cli::command();
        let variables = |path: &str| -> Vec<OsString> {
            let find = |command: &'_ clap::Command, name: &str| command.find_subcommand(name).unwrap().clone();
            let command = path.split(' ').fold(cli.clone(), |command, name| find(&command, name));
            assert!(command.get_arguments().count() > 0, "{path}");
            let own = command.get_arguments().filter(|argument| !argument.is_global_set());
            own.filter_map(|argument| argument.get_env().map(ToOwned::to_owned)).collect()
        };
        // Which node or peers are asked holds for all payments.
        let of_peers = variables("light sync");
        assert!(!of_peers.is_empty());
        for path in ["wallet send", "wallet address", "wallet new", "wallet scan", "testnet faucet"] {
            let set: Vec<_> = variables(path).into_iter().filter(|name| !of_peers.contains(name)).collect();
            assert!(set.is_empty(), "{path}: {set:?}");
        }
    }

    #[test]
    fn the_built_in_genesis_is_valid() {
        let params = Params::from_json(DEFAULT_GENESIS).unwrap();
        assert_eq!((params.network.as_str(), params.address_prefix.as_str()), ("cairn-dev", "cairn"));
        assert_eq!(params.target_spacing_secs, 5);
        // Written as the program writes it, so that `cairn genesis mine` changes nothing but the nonce.
        assert_eq!(params.spec.to_json(), DEFAULT_GENESIS);
    }
}
