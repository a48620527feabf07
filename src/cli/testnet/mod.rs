//! `cairn testnet`: a whole local network in one process. Real nodes over TCP on loopback, each with its own thread, store and
//! JSON-RPC.

mod board;
mod control;
mod faucet;
mod fork;
mod init;
mod link;
mod links;
mod mine;
mod network;
mod nodes;
mod run;
mod saved;
mod screen;
mod setup;
mod snapshot;
mod transfer;

use std::fs::File;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Subcommand;
use tokio::sync::mpsc;

use self::board::Board;
use self::network::Network;
use self::screen::{Input, Screen};
use self::setup::{BLOCK_TIME_SECS, Layout, MAX_BASE_PORT, MAX_NODES, Settings};
use super::console::Console;
use super::{Common, UsageError, genesis, start_threads};
use crate::consensus::params::Retarget;
use crate::primitives::amount::counted;
use crate::primitives::height::Height;
use crate::rpc::{Answer, Request};
use crate::sim::units::parse_time;

/// Requests of callers that wait.
const MAX_REQUESTS: usize = 16;
/// Longest block interval of a network.
const MAX_BLOCK_TIME_SECS: u32 = 3_600;
/// Refresh interval.
const REFRESH: Duration = Duration::from_millis(500);
/// The default directory of a network.
const DEFAULT_DIR: &str = "cairn-testnet";

/// Options of `cairn testnet`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The network is stored in --data-dir [default: ./cairn-testnet] and resumed the next time; remove the directory to start \
over. It holds genesis.json, wallet.json with coins for testing, and a directory for each node. Options default to the values \
of the last start. The commands need a running network, except init, load and save.

Examples, for scripts:
  cairn testnet --data-dir \"$(mktemp -d)\" --until-height 10
  cairn testnet --seed 1 --block-time 0 &
  cairn testnet mine 5 && cairn testnet fork --depth 2")]
pub struct Args {
    /// Number of nodes [default: 4]
    #[arg(long, env = "CAIRN_NODES", value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_NODES)))]
    nodes: Option<u16>,
    /// Number of nodes that mine, at most all [default: 2]
    #[arg(long, env = "CAIRN_MINERS", value_name = "NODES")]
    miners: Option<u16>,
    /// Mining threads of each miner [default: 1]
    #[arg(long, env = "CAIRN_THREADS", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,
    /// Target block interval of a new network, in seconds or as in 90s, 1.5m or 1h; with 0, blocks are instant and made only
    /// on request [default: 5]
    #[arg(long, env = "CAIRN_BLOCK_TIME", value_name = "SECONDS", value_parser = parse_block_time)]
    block_time: Option<u32>,
    /// Derive wallets and genesis from this number, the same on every machine
    #[arg(long, env = "CAIRN_SEED", value_name = "NUMBER")]
    seed: Option<u64>,
    /// The first port: node N takes PORT + 2 (N - 1) for peers and the next for RPC, and no others [default: from 7331 on,
    /// and free ones where these are taken]
    #[arg(long, env = "CAIRN_BASE_PORT", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..=i64::from(MAX_BASE_PORT)))]
    base_port: Option<u16>,
    /// Start the nodes without connections, until the RPC method setnetworkactive allows them
    #[arg(long, env = "CAIRN_OFFLINE_START", value_parser = clap::builder::BoolishValueParser::new())]
    offline_start: bool,
    /// Stop, with exit code 0, once every node's chain is this high
    #[arg(long, env = "CAIRN_UNTIL_HEIGHT", value_name = "HEIGHT")]
    until_height: Option<Height>,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Whole seconds, with a unit or without.
fn parse_block_time(text: &str) -> Result<u32, String> {
    let time = text.parse().map(Duration::from_secs).or_else(|_| parse_time(text));
    let whole = time.ok().filter(|time| time.subsec_nanos() == 0);
    let secs = whole.and_then(|time| u32::try_from(time.as_secs()).ok());
    secs.filter(|secs| *secs <= MAX_BLOCK_TIME_SECS)
        .ok_or_else(|| format!("expected whole seconds up to {MAX_BLOCK_TIME_SECS}, such as 5, 90s or 1.5m"))
}

impl Args {
    /// Whether the network itself is to be run, not a command on one, or a scenario.
    pub fn runs_network(&self) -> bool {
        self.command.is_none()
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a network's files, for nodes that run elsewhere
    Init(init::Args),
    /// Mine blocks at once
    Mine(mine::Args),
    /// Send coins from the network's wallet
    Faucet(faucet::Args),
    /// Cause a reorganisation: cut the network in two, mine in both halves, heal it
    Fork(fork::Args),
    /// Cut, slow or heal the link between two nodes
    Link(link::Args),
    /// Make a node stand still: its connections stay open and say nothing
    Pause(nodes::NodeArgs),
    /// Let a paused node go on
    Resume(nodes::NodeArgs),
    /// Start another node
    Add(nodes::ChangeArgs),
    /// Stop a node, and remove its files
    Remove(nodes::RemoveArgs),
    /// Remember the whole network as it is
    Snapshot(snapshot::SnapshotArgs),
    /// Make the network what it was at a snapshot
    Revert(snapshot::RevertArgs),
    /// List the snapshots
    List,
    /// Run an incident from a file, with its events and checks, over nodes of its own
    #[command(after_help = run::EXAMPLES)]
    Run(crate::cli::scenario::Args),
    /// Write the whole network to one file
    Save(transfer::SaveArgs),
    /// Create a network from such a file
    Load(transfer::LoadArgs),
}

/// Runs the command.
///
/// # Errors
/// If the directory or a port cannot be used, or a node fails.
pub fn run(args: Args, common: &Common) -> anyhow::Result<()> {
    if common.genesis.is_some() {
        bail!("a test network makes a genesis.json of its own, fit for this machine: leave out --genesis");
    }
    let layout = layout(common);
    match &args.command {
        None => {}
        Some(Command::Init(args)) => return init::run(args, common, &layout),
        Some(Command::Mine(args)) => return mine::run(args, common, &layout),
        Some(Command::Faucet(args)) => return faucet::run(args, common, &layout),
        Some(Command::Fork(args)) => return fork::run(args, common, &layout),
        Some(Command::Link(args)) => return link::run(args, common, &layout),
        Some(Command::Pause(args)) => return nodes::pause(args, common, &layout),
        Some(Command::Resume(args)) => return nodes::resume(args, common, &layout),
        Some(Command::Add(args)) => return nodes::add(*args, common, &layout),
        Some(Command::Remove(args)) => return nodes::remove(args, common, &layout),
        Some(Command::Snapshot(args)) => return snapshot::snapshot(args, common, &layout),
        Some(Command::Revert(args)) => return snapshot::revert(args, common, &layout),
        Some(Command::List) => return snapshot::list(common, &layout),
        Some(Command::Run(args)) => return run::run(args, common),
        Some(Command::Save(args)) => return transfer::save(args, common, &layout),
        Some(Command::Load(args)) => return transfer::load(args, common, &layout),
    }
    layout.prepare()?;
    let (settings, block_time) = settings(&args, &layout)?;
    let runtime = start_threads()?;
    let result = runtime.block_on(live(&args, (&settings, block_time), common, &layout));
    // Tasks that still read from a client's socket are not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// How many nodes of a test network have a store in a directory.
pub fn nodes_in(dir: &Path) -> usize {
    Layout { dir: dir.to_owned() }.stores().len()
}

fn layout(common: &Common) -> Layout {
    Layout { dir: common.data_dir.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_DIR)) }
}

/// Where to log when a terminal shows the table, which lines in between would tear; `None` for stderr.
///
/// # Errors
/// If the network's directory cannot be used.
pub fn log_file(args: &Args, common: &Common) -> anyhow::Result<Option<File>> {
    if args.command.is_some() || common.json() || !std::io::stdout().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(None);
    }
    let layout = layout(common);
    layout.prepare()?;
    let path = layout.log();
    let file = File::options().create(true).append(true).open(&path);
    Ok(Some(file.with_context(|| format!("cannot write {}", path.display()))?))
}

/// The network's settings: as given, else as the last time, else the defaults; and the block interval in seconds.
fn settings(args: &Args, layout: &Layout) -> anyhow::Result<(Settings, u32)> {
    let kept = Settings::read(layout)?;
    let made = genesis::read_params_if_there(&layout.genesis())?;
    let made = made.map(|params| if params.retarget == Retarget::None { 0 } else { params.target_spacing_secs });
    let block_time = made.or(args.block_time).unwrap_or(BLOCK_TIME_SECS);
    if let Some(asked) = args.block_time.filter(|asked| *asked != block_time) {
        bail!("--block-time is {asked}, but this network was made with {block_time}: choose another --data-dir");
    }
    let seed = if made.is_some() { kept.as_ref().and_then(|kept| kept.seed) } else { args.seed };
    if let Some(asked) = args.seed.filter(|asked| Some(*asked) != seed) {
        bail!("--seed is {asked}, but this network was made without it: choose another --data-dir");
    }
    let last = |field: fn(&Settings) -> u16| kept.as_ref().map(field);
    let nodes = args.nodes.or(last(|kept| kept.nodes)).unwrap_or(4);
    let miners = match (block_time, args.miners) {
        (0, Some(1..)) => bail!("--miners: with instant blocks no node mines continuously; use `cairn testnet mine`"),
        (0, _) => 0,
        (_, Some(miners)) if miners > nodes => {
            let nodes = counted(nodes, "node");
            return Err(UsageError(format!("--miners is {miners}: with {nodes}, that is more than all of them")).into());
        }
        (_, Some(miners)) => miners,
        (_, None) => last(|kept| kept.miners).unwrap_or(2).min(nodes),
    };
    let threads = args.threads.or(last(|kept| kept.threads)).unwrap_or(1);
    let base_port = args.base_port.or(kept.as_ref().and_then(|kept| kept.base_port));
    let removed = kept.map(|kept| kept.removed).unwrap_or_default();
    Ok((Settings { nodes, miners, threads, seed, base_port, removed }, block_time))
}

async fn live(
    args: &Args,
    (settings, block_time): (&Settings, u32),
    common: &Common,
    layout: &Layout,
) -> anyhow::Result<()> {
    let mut interrupted = std::pin::pin!(crate::runtime::interrupted());
    let (operator, mut requests) = mpsc::channel(MAX_REQUESTS);
    let mut network = tokio::select! {
        network = Network::start(layout, (settings, block_time), args.offline_start, operator) => network?,
        result = &mut interrupted => return result.context("cannot wait for signals"),
    };
    // Output errors do not stop the nodes.
    let stdout = Console::new(std::io::stdout());
    let outcome = tokio::select! {
        outcome = watch(&mut network, &mut requests, &stdout, args.until_height, (common, layout)) => outcome,
        result = &mut interrupted => result.context("cannot wait for signals"),
    };
    if !common.json() {
        stdout.line("stopping…");
    }
    let stopped = network.stop().await;
    stdout.drain();
    stopped.and(outcome)
}

/// Shows the network until every node is at `until_height` or the user quits, and adds and removes nodes on request.
async fn watch(
    network: &mut Network,
    requests: &mut mpsc::Receiver<(Request, Answer)>,
    stdout: &Console,
    until_height: Option<Height>,
    (common, layout): (&Common, &Layout),
) -> anyhow::Result<()> {
    let introduction = introduction(layout, network)?;
    let json = common.json();
    if !json {
        stdout.line(&introduction);
    }
    let started = Instant::now();
    let mut board = Board::new(stdout.clone(), json);
    let mut screen = match !json && std::io::stdout().is_terminal() && std::io::stdin().is_terminal() {
        true => {
            stdout.drain();
            Some(Screen::take(&introduction).context("the terminal is not suitable")?)
        }
        false => None,
    };
    let mut interval = tokio::time::interval(REFRESH);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let typed = async {
            match &mut screen {
                Some(screen) => screen.inputs.recv().await,
                None => std::future::pending().await,
            }
        };
        let mut input = None;
        tokio::select! {
            _ = interval.tick() => {}
            typed = typed => input = Some(typed.context("the terminal is gone")?),
            Some((request, answer)) = requests.recv() => network.serve_request(request, answer, layout).await,
            name = network.any_finished() => bail!("{name} has stopped, and the network with it"),
        }
        if input == Some(Input::Quit) {
            return Ok(());
        }
        let rows = network.rows().await?;
        let reached = until_height.is_some_and(|height| rows.iter().all(|row| row.height >= height));
        match &mut screen {
            None => board.show(&rows, reached),
            Some(screen) => {
                let mut links = network.links().await?;
                if let Some((between, action)) = input.and_then(|input| screen.take_input(input, &links)) {
                    network.change_link(between, action).await?;
                    links = network.links().await?;
                }
                screen.draw(&rows, started.elapsed(), &links).context("cannot draw on the terminal")?;
            }
        }
        if reached {
            return Ok(());
        }
    }
}

/// Commands to try.
fn introduction(layout: &Layout, network: &Network) -> anyhow::Result<String> {
    let cairn = shell_word(&program());
    let dir = shell_word(&layout.dir);
    let (payee, explorer) = (network.payee(), network.explorer_link(layout)?);
    let light = network.light_link();
    let light = light
        .map_or_else(String::new, |light| format!("\nOr a page that checks the chain itself:\n\n  light    {light}\n"));
    let (running, them) = match network.len() {
        1 => ("1 node is".to_owned(), "it"),
        nodes => (format!("{nodes} nodes are"), "all of them"),
    };
    Ok(format!(
        "\
{running} running, and {dir} holds {them}. From another terminal:

  send    TXID=$({cairn} wallet send {payee} 1.5 --data-dir {dir})
  look    {cairn} rpc getrawtransaction $TXID 1 --data-dir {dir}
  prove   {cairn} proof get $TXID -o pay.json --data-dir {dir} && {cairn} proof verify pay.json --min-work 1 --data-dir {dir}
  fork    {cairn} testnet fork --depth 2 --data-dir {dir}

In a browser, signed in as the owner (keep this link private):

  explore  {explorer}
{light}
Commands with --data-dir {dir} call node-1. To call another node, give its own directory.
"
    ))
}

/// The shortest path that starts this program from here.
fn program() -> PathBuf {
    let Ok(path) = std::env::current_exe() else { return PathBuf::from("cairn") };
    let here = std::env::current_dir().ok();
    match here.and_then(|here| path.strip_prefix(here).ok().map(Path::to_path_buf)) {
        Some(relative) => Path::new(".").join(relative),
        None => path,
    }
}

/// A path as one word for a shell.
fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "./-_+@%:,=".contains(c)) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_times_are_whole_seconds() {
        for (text, secs) in [
            ("0", Some(0)),
            ("0.0s", Some(0)),
            ("0.0004s", None),
            ("0.1ms", None),
            ("1.0001s", None),
            ("1000ms", Some(1)),
            ("1.1m", Some(66)),
            ("1h", Some(3_600)),
            ("3601", None),
            ("-1s", None),
        ] {
            assert_eq!(parse_block_time(text).ok(), secs, "{text}");
        }
    }

    #[test]
    fn paths_survive_a_shell() {
        for (path, word) in
            [("cairn-testnet/node-1", "cairn-testnet/node-1"), ("my net", "'my net'"), ("it's", r"'it'\''s'")]
        {
            assert_eq!(shell_word(Path::new(path)), word);
        }
    }
}
