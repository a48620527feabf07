//! The log of a command: what it holds, and where it goes.

use anyhow::anyhow;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::console::{self, Console, colours};
use super::{Command, Common, testnet};

/// Libraries that call what a stranger sends an error, once for each packet: they log only if a filter names them.
const TALKATIVE: [&str; 3] = ["dimpl", "sctp_proto", "str0m"];

/// What log lines look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line: `timestamp`, `level`, `target`, `fields` with `message`, and `span` where a node has a name.
    Json,
}

/// A filter of log lines, as it was given.
pub(super) fn filter(text: &str) -> Result<String, String> {
    text.parse::<Targets>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Long-running commands log their progress, others only errors. Returns the console of the log.
///
/// # Errors
/// If the filter cannot be read, or the log of a test network cannot be written to.
pub(super) fn start(common: &Common, command: &Command) -> anyhow::Result<Console> {
    let usual = match command {
        Command::Node(_) => "info",
        Command::Testnet(args) if args.runs_network() => "info",
        Command::Testnet(_)
        | Command::Wallet(_)
        | Command::Rpc(_)
        | Command::Light(_)
        | Command::Proof(_)
        | Command::Genesis(_)
        | Command::Content(_)
        | Command::Db(_)
        | Command::Bench(_)
        | Command::Health(_)
        | Command::Sim(_)
        | Command::Completion(_)
        | Command::Man(_) => "warn",
    };
    let filter = common.log.as_deref().unwrap_or(usual);
    let targets: Targets = filter.parse().map_err(|e| anyhow!("--log {filter:?}: {e}"))?;
    let unnamed = TALKATIVE.into_iter().filter(|library| !filter.contains(library));
    let filter = targets.with_targets(unnamed.map(|library| (library, LevelFilter::OFF)));
    let file = match command {
        Command::Testnet(args) => testnet::log_file(args, common)?,
        _ => None,
    };
    let ansi = file.is_none() && colours();
    let log = file.map_or_else(|| console::stderr().clone(), Console::new);
    let writer = log.clone();
    let lines = tracing_subscriber::fmt::layer().with_writer(move || writer.clone()).with_ansi(ansi);
    let filtered = tracing_subscriber::registry().with(filter);
    match common.log_format {
        LogFormat::Text => filtered.with(lines).init(),
        LogFormat::Json => filtered.with(lines.json().with_span_list(false)).init(),
    }
    log_panics();
    Ok(log)
}

/// Panics go to the log: written to stderr directly, as by default, they could block on a stuck reader.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let backtrace = std::backtrace::Backtrace::capture();
        tracing::error!(thread = thread.name().unwrap_or("unnamed"), %backtrace, "{panic}");
    }));
}
