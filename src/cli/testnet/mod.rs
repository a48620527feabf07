//! `cairn testnet`: a whole local network in one process. Real nodes over TCP on loopback, each with its own thread, store and
//! JSON-RPC.

mod board;
mod network;
mod setup;

use std::fs::File;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};

use self::board::Board;
use self::network::Network;
use self::setup::Layout;
use super::{Common, print_line};

/// Between looks at the nodes.
const REFRESH: Duration = Duration::from_millis(500);
/// Where a network lives unless told otherwise.
const DEFAULT_DIR: &str = "cairn-testnet";

/// Options of `cairn testnet`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The network is kept in --data-dir [default: ./cairn-testnet] and resumed the next time; remove the directory to begin anew.
It holds genesis.json, wallet.json with coins to try things with, and a directory for each node.

Example, for a script:
  cairn testnet --data-dir \"$(mktemp -d)\" --until-height 10")]
pub struct Args {
    /// Nodes of the network
    #[arg(long, env = "CAIRN_NODES", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    nodes: u16,
    /// How many of them mine
    #[arg(long, env = "CAIRN_MINERS", default_value_t = 2, value_name = "NODES")]
    miners: u16,
    /// Mining threads of each miner
    #[arg(long, env = "CAIRN_THREADS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Stop, with exit code 0, once every node's chain is this high
    #[arg(long, env = "CAIRN_UNTIL_HEIGHT", value_name = "HEIGHT")]
    until_height: Option<u32>,
}

/// Runs the command.
///
/// # Errors
/// If the directory, a port or a node will not do, or a node fails.
pub fn run(args: Args, common: &Common) -> anyhow::Result<()> {
    if common.genesis.is_some() {
        bail!("a test network makes a genesis.json of its own, fit for this machine: leave out --genesis");
    }
    let layout = layout(common);
    layout.prepare()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let result = runtime.block_on(live(&args, common, &layout));
    // Tasks that still read from a client's socket are not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

fn layout(common: &Common) -> Layout {
    Layout { dir: common.data_dir.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_DIR)) }
}

/// Where to log when a terminal shows the table, which lines in between would tear; `None` for stderr.
///
/// # Errors
/// If the network's directory will not do.
pub fn log_file(common: &Common) -> anyhow::Result<Option<File>> {
    if common.json() || !std::io::stdout().is_terminal() || !std::io::stderr().is_terminal() {
        return Ok(None);
    }
    let layout = layout(common);
    layout.prepare()?;
    let path = layout.log();
    let file = File::options().create(true).append(true).open(&path);
    Ok(Some(file.with_context(|| format!("cannot write {}", path.display()))?))
}

async fn live(args: &Args, common: &Common, layout: &Layout) -> anyhow::Result<()> {
    let mut interrupted = std::pin::pin!(crate::runtime::interrupted());
    let miners = usize::from(args.miners.min(args.nodes));
    let starting = Network::start(layout, usize::from(args.nodes), miners, usize::from(args.threads));
    let network = tokio::select! {
        network = starting => network?,
        result = &mut interrupted => return result.context("cannot wait for signals"),
    };
    if !common.json() {
        print_line(&introduction(layout, &network))?;
    }
    let outcome = tokio::select! {
        outcome = watch(&network, args.until_height, common.json()) => outcome,
        result = &mut interrupted => result.context("cannot wait for signals"),
        name = network.any_finished() => Err(anyhow::anyhow!("{name} has stopped, and the network with it")),
    };
    if !common.json() {
        print_line("stopping…")?;
    }
    network.stop().await.and(outcome)
}

/// Shows the network until every node is at `until_height`, or for ever.
async fn watch(network: &Network, until_height: Option<u32>, json: bool) -> anyhow::Result<()> {
    let mut board = Board::new(json);
    let mut interval = tokio::time::interval(REFRESH);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let rows = network.rows().await?;
        let reached = until_height.is_some_and(|height| rows.iter().all(|row| row.height >= height));
        board.show(&rows, reached).context("cannot write to stdout")?;
        if reached {
            return Ok(());
        }
    }
}

/// What to try, as it is to be typed.
fn introduction(layout: &Layout, network: &Network) -> String {
    let cairn = shell_word(&program());
    let dir = shell_word(&layout.dir);
    let (nodes, payee) = (network.len(), network.payee());
    format!(
        "\
{nodes} nodes are running, and {dir} holds all of them. From another terminal:

  send    TXID=$({cairn} wallet send {payee} 1.5 --data-dir {dir})
  look    {cairn} rpc getrawtransaction $TXID 1 --data-dir {dir}
  prove   {cairn} proof get $TXID -o pay.json --data-dir {dir} && {cairn} proof verify pay.json --data-dir {dir}

Commands with --data-dir {dir} ask node-1; each node's own directory serves as well.
"
    )
}

/// How this program was started, as short as it can be typed from here.
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
    fn paths_survive_a_shell() {
        for (path, word) in
            [("cairn-testnet/node-1", "cairn-testnet/node-1"), ("my net", "'my net'"), ("it's", r"'it'\''s'")]
        {
            assert_eq!(shell_word(Path::new(path)), word);
        }
    }
}
