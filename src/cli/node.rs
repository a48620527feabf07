//! `cairn node`: a full node, and a miner if asked.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use tracing::{info, warn};

use super::login::Login;
use super::{Common, UsageError, genesis, start_threads};
use crate::chain::{Retention, min_kept};
use crate::consensus::params::Params;
use crate::consensus::peer_name::PeerName;
use crate::primitives::address;
use crate::rpc;
use crate::rpc::auth::RpcAuth;
use crate::runtime::exchange::ExchangeConfig;
use crate::runtime::{self, Running, descriptors};
use crate::sim::units::Share;
use crate::stratum;
use crate::wallet::Wallet;
use crate::wallet::keyfile::KeyFileError;

/// Options of `cairn node`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Ctrl-C, SIGTERM, SIGHUP (a closed terminal; ignored under nohup) or `cairn rpc stop` stop the node cleanly. Logs go to \
stderr; an unread stderr does not block the node.

Examples:
  cairn node                              # the development network
  cairn node --mine \"$(cairn wallet address)\"      # mine on all cores
  cairn node --stratum 0.0.0.0:3333       # external miners: see docs/mining.md
  cairn node --prune 20000                # old blocks are removed from the disk
  cairn node --prune 20000 --archive-share 0.1       # but for a tenth of them
  cairn node --sync state                 # ready soon, without old blocks
  cairn node --record incident.rec        # for cairn sim replay incident.rec
  cairn node --genesis mine.json          # another network; the choice is kept
  cairn node --check                      # what it would do; starts nothing
  CAIRN_LOG=cairn::p2p=debug cairn node   # options as environment variables
  # a second node on the same machine
  cairn node --data-dir b --listen 127.0.0.1:0 --rpc 127.0.0.1:0 \\
    --connect 127.0.0.1:7331")]
pub struct Args {
    /// Address on which to accept peers; port 0 picks a free one
    #[arg(long, env = "CAIRN_LISTEN", value_name = "ADDR", default_value = "0.0.0.0:7331")]
    listen: SocketAddr,
    /// Accept no inbound peers; only dial out
    #[arg(long, env = "CAIRN_NO_LISTEN", value_parser = clap::builder::BoolishValueParser::new())]
    no_listen: bool,
    /// UDP address on which to accept browsers, for programs built with the feature `webrtc`; port 0 picks a free one
    /// [default: off]
    #[arg(long, env = "CAIRN_LISTEN_WEBRTC", value_name = "ADDR")]
    listen_webrtc: Option<SocketAddr>,
    /// Address on which to serve JSON-RPC; port 0 picks a free one
    #[arg(long, env = "CAIRN_RPC", value_name = "ADDR", default_value = "127.0.0.1:7332")]
    rpc: SocketAddr,
    /// Do not serve the explorer, a page at / of the RPC address that reads the chain without credentials
    #[arg(long, env = "CAIRN_NO_EXPLORER", value_parser = clap::builder::BoolishValueParser::new())]
    no_explorer: bool,
    /// Do not serve the blocks of `cairn content` under /ipfs/ of the RPC address
    #[arg(long, env = "CAIRN_NO_GATEWAY", value_parser = clap::builder::BoolishValueParser::new())]
    no_gateway: bool,
    /// Serve that content as files and sites too, each site at CID.ipfs.localhost
    #[arg(long, env = "CAIRN_GATEWAY_FILES", value_parser = clap::builder::BoolishValueParser::new())]
    gateway_files: bool,
    /// Fetch from other nodes what /ipfs/ lacks, for every caller who can reach the RPC address
    #[arg(long, env = "CAIRN_GATEWAY_FETCH", value_parser = clap::builder::BoolishValueParser::new())]
    gateway_fetch: bool,
    /// The most bytes of content that calls to /api/v0 and fetches from peers store, such as 10GB or 512MiB
    #[arg(long, env = "CAIRN_CONTENT_MAX", value_name = "SIZE", default_value = "10GB", value_parser = super::content::size)]
    content_max: u64,
    /// Neither serve content to peers, nor fetch any from them
    #[arg(long, env = "CAIRN_NO_EXCHANGE", value_parser = clap::builder::BoolishValueParser::new())]
    no_exchange: bool,
    /// The most bytes of content to send to peers in a second, such as 5MB; those who give most are served first [default: no limit]
    #[arg(long, env = "CAIRN_CONTENT_UPLOAD", value_name = "SIZE", value_parser = super::content::size)]
    content_upload: Option<u64>,
    /// A host name allowed in requests to RPC, explorer and metrics, besides IP addresses and localhost; may be repeated
    #[arg(long, env = "CAIRN_RPC_ALLOW_HOST", value_name = "NAME", value_delimiter = ',')]
    rpc_allow_host: Vec<String>,
    #[command(flatten)]
    login: Login,
    /// An RPC user with the salted hash of a password, as Bitcoin Core's rpcauth.py writes it; may be repeated
    #[arg(long, env = "CAIRN_RPC_AUTH", value_name = "USER:SALT$HASH", value_delimiter = ',', hide_env_values = true)]
    rpc_auth: Vec<RpcAuth>,
    /// A node to stay connected to; with an id, no other node is accepted. May be repeated
    #[arg(long, env = "CAIRN_CONNECT", value_name = "[ID@]HOST:PORT", value_delimiter = ',', value_parser = super::peer_name)]
    connect: Vec<Option<PeerName>>,
    /// Mine to this address; `wallet` is the wallet in the data directory, which is created if it does not exist
    #[arg(long, env = "CAIRN_MINE", value_name = "ADDRESS")]
    mine: Option<String>,
    /// Mining threads [default: one for each core]
    #[arg(long, env = "CAIRN_THREADS", value_name = "N")]
    threads: Option<NonZeroUsize>,
    /// Address on which to serve Stratum miners; each is paid at the address it names [default: off]
    #[arg(long, env = "CAIRN_STRATUM", value_name = "ADDR")]
    stratum: Option<SocketAddr>,
    /// Number of outbound connections to nodes that the node finds by itself
    #[arg(long, env = "CAIRN_MAX_OUTBOUND", value_name = "N", default_value_t = 8)]
    max_outbound: usize,
    /// Maximum number of inbound connections
    #[arg(long, env = "CAIRN_MAX_INBOUND", value_name = "N", default_value_t = 117)]
    max_inbound: usize,
    /// Keep only the last N blocks whole, and of older ones headers, coins and indexes; 1 keeps all until the RPC method
    /// pruneblockchain is called [default: keep all]
    #[arg(long, env = "CAIRN_PRUNE", value_name = "N")]
    prune: Option<u32>,
    /// Of the blocks that `--prune` removes, keep this share, such as 0.1 or 10%, for the archive that all such nodes have
    /// together
    #[arg(long, env = "CAIRN_ARCHIVE_SHARE", value_name = "SHARE")]
    archive_share: Option<Share>,
    /// How a node without blocks begins: `full` downloads and validates all blocks; `state` has a peer prove the chain,
    /// downloads the coins to which a block commits that has 256 blocks' worth of work on top of it (an epoch's, if that is
    /// shorter), and validates only what comes after these coins. It trusts that the miners of that work checked the rest,
    /// keeps only blocks and histories since, and falls back to `full` if no peer serves the coins
    #[arg(long, env = "CAIRN_SYNC", value_name = "HOW", value_enum, default_value_t = Sync::Full)]
    sync: Sync,
    /// With `--sync state`, accept a chain that has less than half of the work that its miners did before, which may be a branch
    /// that others have left
    #[arg(long, env = "CAIRN_ACCEPT_SLOW_CHAIN", value_parser = clap::builder::BoolishValueParser::new())]
    accept_slow_chain: bool,
    /// Record everything that enters the node in this new file, for `cairn sim replay`; keep the file private
    #[arg(long, env = "CAIRN_RECORD", value_name = "FILE")]
    record: Option<PathBuf>,
    /// Allow the RPC method setlink, which cuts links, slows them and drops messages
    #[arg(long, env = "CAIRN_CHAOS", value_parser = clap::builder::BoolishValueParser::new())]
    chaos: bool,
    /// Check options, configuration and data directory, and say what the node would do; start and create nothing
    #[arg(long)]
    check: bool,
}

/// How a node without blocks begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Sync {
    /// With genesis.
    Full,
    /// With a state.
    State,
}

/// Runs a node until it is told to stop.
///
/// # Errors
/// Why it does not start, or why it failed.
pub fn run(args: Args, common: &Common) -> anyhow::Result<()> {
    let params = common.params()?;
    let retention = match args.prune {
        None | Some(0) => Retention::All,
        Some(1) => Retention::Manual,
        Some(count) => {
            let least = min_kept(&params);
            let few = || UsageError(format!("--prune {count}: at least {least} blocks have to be kept"));
            ensure!(count >= least, few());
            Retention::Last(count)
        }
    };
    let archive_share = args.archive_share.unwrap_or_default();
    // Not by clap, for which values of a configuration file are defaults, and in no conflict with others.
    for (is_vain, said) in [
        (
            archive_share > Share::default() && retention == Retention::All,
            "--archive-share is a share of the blocks that --prune removes, and without it none is removed",
        ),
        (args.no_gateway && args.gateway_files, "--gateway-files contradicts --no-gateway"),
        (args.no_gateway && args.gateway_fetch, "--gateway-fetch contradicts --no-gateway"),
        (args.no_exchange && args.gateway_fetch, "--gateway-fetch contradicts --no-exchange"),
    ] {
        ensure!(!is_vain, UsageError(said.to_owned()));
    }
    let (user, password) = args.login.read()?.unzip();
    let data_dir = common.node_dir()?;
    genesis::check_kept(&data_dir, &params)?;
    // In compose files, a variable that is not set arrives as an empty one.
    let mine = match args.mine.as_deref().filter(|text| !text.is_empty()) {
        Some("wallet") if args.check => match Wallet::open(&data_dir.join("wallet.json")) {
            Ok(wallet) => Some(wallet.newest_key()),
            Err(KeyFileError::Missing { .. }) => None,
            Err(error) => return Err(error.into()),
        },
        Some("wallet") => Some(Wallet::open_or_create(&data_dir.join("wallet.json"), &mut rand::rng())?.newest_key()),
        Some(text) => Some(address::decode(&params.address_prefix, text).context("--mine")?),
        None => None,
    };
    let cores = || std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let mut config = runtime::Config {
        listen: (!args.no_listen).then_some(args.listen),
        listen_webrtc: args.listen_webrtc,
        connect: args.connect.into_iter().flatten().collect(),
        mine,
        threads: args.threads.unwrap_or_else(cores).get(),
        outbound_target: args.max_outbound,
        max_inbound: args.max_inbound,
        retention,
        archive_share: archive_share.in_32_bits(),
        sync_state: args.sync == Sync::State,
        accept_slow_chain: args.accept_slow_chain,
        chaos: args.chaos,
        exchange: (!args.no_exchange)
            .then_some(ExchangeConfig { max_bytes: args.content_max, upload: args.content_upload }),
        // In compose files, a variable that is not set arrives as an empty one.
        record: args.record.filter(|path| !path.as_os_str().is_empty()),
        ..runtime::Config::new(&data_dir, params.clone())
    };
    let rpc = rpc::Config {
        user,
        password,
        auth: args.rpc_auth,
        allow_hosts: args.rpc_allow_host,
        explorer: !args.no_explorer,
        gateway: match (args.no_gateway, args.gateway_files) {
            (true, _) => rpc::Gateway::Off,
            (false, false) => rpc::Gateway::Trustless,
            (false, true) => rpc::Gateway::Files,
        },
        gateway_fetch: args.gateway_fetch,
        content_max: args.content_max,
        ..rpc::Config::new(args.rpc, &data_dir)
    };
    if args.check {
        let mines = args.mine.is_some_and(|text| !text.is_empty());
        return print_check((&config, archive_share), &rpc, args.stratum, mines, common);
    }
    let stratum = args.stratum.map(stratum::Config::new);
    let clients = rpc.limits.connections + stratum.as_ref().map_or(0, |stratum| stratum.limits.connections);
    let wanted = descriptors::connections_of(&config).saturating_add(clients);
    let missing = wanted - descriptors::reserve_for(wanted);
    config.max_inbound = config.max_inbound.saturating_sub(missing);
    info!(network = params.network, genesis = %params.genesis_hash, data_dir = %data_dir.display(), "starting");
    let tokio = start_threads()?;
    tokio.block_on(serve(config, rpc, stratum))
}

/// Which blocks a node keeps.
fn kept_blocks(retention: Retention, archive_share: Share) -> String {
    let kept = match retention {
        Retention::All => return "all blocks".to_owned(),
        Retention::Last(count) => format!("the last {count} blocks"),
        Retention::Manual => "all blocks until pruneblockchain is called".to_owned(),
    };
    if archive_share == Share::default() {
        return kept;
    }
    format!("{kept}, and {archive_share} of those that are pruned")
}

/// How a node without blocks begins.
fn begins(config: &runtime::Config) -> &'static str {
    match (config.sync_state, config.accept_slow_chain) {
        (false, _) => "with all blocks",
        (true, false) => "with the state of a recent block",
        (true, true) => "with the state of a recent block, of a slow chain too",
    }
}

/// Prints what a node with these options would do.
fn print_check(
    (config, archive_share): (&runtime::Config, Share),
    rpc: &rpc::Config,
    stratum: Option<SocketAddr>,
    mines: bool,
    common: &Common,
) -> anyhow::Result<()> {
    let params = &config.params;
    let has_chain = config.data_dir.join(runtime::STORE_DIR).exists();
    let payee = config.mine.map(|key| address::encode(&params.address_prefix, &key));
    let text = || {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "none".to_owned());
        let chain = if has_chain { "with a chain" } else { "without a chain yet" };
        let mining = match (mines, &payee) {
            (false, _) => "no".to_owned(),
            (true, payee) => {
                format!(
                    "{} threads, to {}",
                    config.threads,
                    payee.as_deref().unwrap_or("a new wallet in the data directory")
                )
            }
        };
        let peers: Vec<String> = config.connect.iter().map(ToString::to_string).collect();
        [
            ("configuration", or_none(common.config.as_ref().map(|path| path.display().to_string()))),
            ("network", format!("{}, genesis {}", params.network, params.genesis_hash)),
            ("data directory", format!("{}, {chain}", config.data_dir.display())),
            (
                "accepts peers",
                or_none(config.listen.map(|address| format!("{address}, {} at most", config.max_inbound))),
            ),
            ("browsers", or_none(config.listen_webrtc.map(|address| address.to_string()))),
            ("connects to", or_none(Some(peers.join(", ")).filter(|text| !text.is_empty()))),
            ("RPC", rpc.bind.to_string()),
            ("mines", mining),
            ("Stratum", or_none(stratum.map(|address| address.to_string()))),
            ("keeps", kept_blocks(config.retention, archive_share)),
            ("begins", begins(config).to_owned()),
        ]
        .map(|(name, value)| format!("{name:<14}  {value}"))
        .join("\n")
    };
    let json = || {
        serde_json::json!({
            "config": common.config,
            "network": params.network,
            "genesis": params.genesis_hash,
            "data_dir": config.data_dir,
            "has_chain": has_chain,
            "listen": config.listen,
            "listen_webrtc": config.listen_webrtc,
            "max_inbound": config.max_inbound,
            "connect": config.connect.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "rpc": rpc.bind,
            "explorer": rpc.explorer,
            "mines": mines,
            "payee": payee,
            "stratum": stratum,
            "prune": match config.retention {
                Retention::All => None,
                Retention::Manual => Some(1),
                Retention::Last(count) => Some(count),
            },
            "archive_share": archive_share.get(),
            "sync_state": config.sync_state,
            "accept_slow_chain": config.accept_slow_chain,
        })
    };
    common.print(text, json)
}

/// Stores the network's genesis for later commands. A failure does not stop the node.
fn keep_genesis(dir: &Path, params: &Params) {
    if let Err(error) = genesis::keep(dir, params) {
        warn!("{error:#}: commands will need --genesis");
    }
}

async fn serve(config: runtime::Config, mut rpc: rpc::Config, stratum: Option<stratum::Config>) -> anyhow::Result<()> {
    let (data_dir, params) = (config.data_dir.clone(), config.params.clone());
    let has_chain = data_dir.join(runtime::STORE_DIR).exists();
    let mut interrupted = std::pin::pin!(runtime::interrupted());
    // RPC answers while the chain is loaded, if only with that error.
    let starting = tokio::select! {
        starting = Running::launch(config) => starting?,
        signal = &mut interrupted => {
            signal.context("cannot wait for signals")?;
            bail!("interrupted while the store was being opened");
        }
    };
    // The directory is this node's now, but perhaps of another network, which the start will end with.
    if !has_chain {
        keep_genesis(&data_dir, &params);
    }
    let stratum = match stratum {
        Some(config) => Some(stratum::serve(config, starting.handle().clone()).await?),
        None => None,
    };
    rpc.stratum = stratum.as_ref().map(|server| Arc::clone(server.meters()));
    let server = rpc::serve(rpc, starting.handle().clone()).await?;
    let node = tokio::select! {
        node = starting.ready() => node,
        signal = &mut interrupted => {
            signal.context("cannot wait for signals")?;
            bail!("interrupted while the chain was being read");
        }
    };
    let node = match node {
        Ok(node) => node,
        Err(error) => {
            server.stop().await;
            return Err(error.into());
        }
    };
    keep_genesis(&data_dir, &params);
    info!(rpc = %server.url(), "ready");
    tokio::select! {
        () = node.finished() => {}
        signal = &mut interrupted => {
            signal.context("cannot wait for signals")?;
            info!("stopping");
        }
    }
    if let Some(stratum) = stratum {
        stratum.stop().await;
    }
    server.stop().await;
    node.stop().await?;
    info!("stopped");
    Ok(())
}
