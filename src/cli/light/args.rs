//! The command line of `cairn light`.

use clap::Subcommand;

use crate::cli::peer_name;
use crate::consensus::peer_name::PeerName;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::height::Height;
use crate::primitives::target::Work;
use crate::primitives::tx::OutPoint;

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
    pub(super) command: LightCommand,
}

/// Which peers to ask, and for how long.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct PeerArgs {
    /// A full node to ask; with an id, no other node is accepted. May be repeated [default: nodes found through the
    /// network's seeds]
    #[arg(long, env = "CAIRN_PEER", value_name = "[ID@]HOST:PORT", value_delimiter = ',', value_parser = peer_name)]
    pub(super) peer: Vec<Option<PeerName>>,
    /// Seconds to wait for peers before continuing with those that have answered
    #[arg(long, env = "CAIRN_TIMEOUT", value_name = "SECONDS", default_value_t = 60,
          value_parser = clap::value_parser!(u64).range(..=MAX_TIMEOUT_SECS))]
    pub(super) timeout: u64,
    /// Download and check every header, 80 bytes a block, rather than a proof of a long chain, which samples them
    #[arg(long, env = "CAIRN_ALL_HEADERS", value_parser = clap::builder::BoolishValueParser::new())]
    pub(super) all_headers: bool,
    /// Print a warning unless the chain has more work than this, in hex, which another source reports
    #[arg(long, env = "CAIRN_EXPECT_WORK", value_name = "HEX")]
    pub(super) expect_work: Option<Work>,
    /// Accept a chain that has less than half of the work that its miners did before, with a warning
    #[arg(long, env = "CAIRN_ACCEPT_SLOW_CHAIN", value_parser = clap::builder::BoolishValueParser::new())]
    pub(super) accept_slow_chain: bool,
}

/// What is asked of the client.
#[derive(Debug, Subcommand)]
pub(super) enum LightCommand {
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

impl LightCommand {
    /// The addresses that it is about, as typed.
    pub(super) fn addresses(&self) -> &[String] {
        match self {
            Self::History { address, .. } => std::slice::from_ref(address),
            Self::Watch { addresses, .. } | Self::Balance { addresses, .. } => addresses,
            Self::Sync(_) | Self::Verify { .. } | Self::Coin { .. } | Self::Status => &[],
        }
    }
}
