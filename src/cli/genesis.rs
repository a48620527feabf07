//! `cairn genesis`: the file that defines a network.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::{Subcommand, ValueEnum};
use rayon::prelude::*;
use serde_json::json;

use super::console::note;
use super::{Common, print_line, write_file};
use crate::consensus::params::{Allocation, GenesisSpec, Params, Retarget, most_future_secs};
use crate::consensus::peer_name::PeerName;
use crate::miner::kernel;
use crate::primitives::amount::{Amount, counted};
use crate::primitives::target::Bits;
use crate::primitives::time::UnixTime;
use crate::runtime::unix_now;
use crate::storage::private_file;

/// The file of a data directory that names its network.
pub(super) const KEPT_FILE: &str = "genesis.json";

/// Options of `cairn genesis`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: GenesisCommand,
}

#[derive(Debug, Subcommand)]
enum GenesisCommand {
    /// Print a new network's genesis.json, mined and ready
    #[command(after_help = "\
Example, a new network with a fast start:
  cairn genesis new --network mynet --address-prefix my -o genesis.json
  cairn node --genesis genesis.json

Example, for tests: an address with initial coins, and blocks without work:
  cairn genesis new --retarget none --bits 207fffff \\
    --pow-limit-bits 207fffff --alloc my1…=1000 -o genesis.json")]
    New {
        #[command(flatten)]
        new: Box<NewArgs>,
        #[command(flatten)]
        output: Output,
    },
    /// Find the nonce of an edited genesis.json, and print the file with it
    #[command(after_help = "\
Example:
  cairn genesis mine edited.json -o genesis.json")]
    Mine {
        /// The file to read
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Print a network's hash and parameters
    #[command(after_help = "\
Example:
  cairn genesis show
  cairn genesis show genesis.json --json")]
    Show {
        /// The file to read [default: --genesis, else the built-in development network]
        file: Option<PathBuf>,
    },
}

/// Where a genesis.json goes.
#[derive(Debug, clap::Args)]
struct Output {
    /// The file to write, whole or not at all [default: stdout]
    #[arg(short, long, env = "CAIRN_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Spacings that halve the difficulty, as the algorithm's authors chose (two days of ten minutes). With a shorter half-life
/// a branch from a tip of an hour ago is soon made of blocks that cost nothing.
const HALF_LIFE_SPACINGS: u32 = 288;

/// The network of a genesis.json.
///
/// # Errors
/// If it cannot be read or is not valid.
pub(super) fn read_params(path: &Path) -> anyhow::Result<Params> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    Params::from_json(&text).with_context(|| format!("{} is not valid", path.display()))
}

/// The same; `None` if there is no file.
///
/// # Errors
/// As [`read_params`].
pub(super) fn read_params_if_there(path: &Path) -> anyhow::Result<Option<Params>> {
    let is_there = path.try_exists().with_context(|| format!("cannot read {}", path.display()))?;
    is_there.then(|| read_params(path)).transpose()
}

/// Checks that the genesis in a data directory, if there is one, is that of `params`.
///
/// # Errors
/// If it is, or cannot be read.
pub(super) fn check_kept(dir: &Path, params: &Params) -> anyhow::Result<()> {
    let Some(kept) = read_params_if_there(&dir.join(KEPT_FILE))? else { return Ok(()) };
    ensure!(
        kept.genesis_hash == params.genesis_hash,
        "{} belongs to the network {} with genesis {}, not to {} with genesis {}: leave out --genesis, or choose another \
         --data-dir",
        dir.display(),
        kept.network,
        kept.genesis_hash,
        params.network,
        params.genesis_hash
    );
    Ok(())
}

/// Stores a network's genesis in a data directory, unless there is one, so that later commands find it.
///
/// # Errors
/// If it cannot be written.
pub(super) fn keep(dir: &Path, params: &Params) -> anyhow::Result<()> {
    let path = dir.join(KEPT_FILE);
    match private_file::create(&path, params.spec.to_json().as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("cannot write {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Every field of the file; those not given are the development network's.
#[derive(Debug, clap::Args)]
struct NewArgs {
    /// Name of the network
    #[arg(long, env = "CAIRN_NETWORK", default_value = "cairn-local")]
    network: String,
    /// Prefix of its addresses: 1 to 20 lower-case letters and digits
    #[arg(long, env = "CAIRN_ADDRESS_PREFIX", default_value = "cairn")]
    address_prefix: String,
    /// Text in the genesis block, at most 224 bytes
    #[arg(long, env = "CAIRN_MESSAGE", default_value = "")]
    message: String,
    /// Time of genesis, in seconds since 1970 [default: now]
    #[arg(long, env = "CAIRN_TIMESTAMP", value_name = "SECONDS")]
    timestamp: Option<u32>,
    /// Difficulty of genesis and of block 1, in compact form
    #[arg(long, env = "CAIRN_BITS", default_value = "1d3fffff")]
    bits: Bits,
    /// The lowest difficulty allowed, in compact form
    #[arg(long, env = "CAIRN_POW_LIMIT_BITS", default_value = "1e0fffff")]
    pow_limit_bits: Bits,
    /// The rule that sets the difficulty
    #[arg(long, env = "CAIRN_RETARGET", default_value = "asert")]
    retarget: RetargetArg,
    /// Target block interval in seconds
    #[arg(long, env = "CAIRN_TARGET_SPACING_SECS", default_value_t = 5, value_name = "SECONDS")]
    target_spacing_secs: u32,
    /// Seconds behind schedule that halve the difficulty [default: 288 times the spacing]
    #[arg(long, env = "CAIRN_HALF_LIFE_SECS", value_name = "SECONDS")]
    half_life_secs: Option<u32>,
    /// Coins that a block issues before the first halving
    #[arg(long, env = "CAIRN_SUBSIDY", default_value = "50", value_name = "COINS")]
    subsidy: Amount,
    /// Blocks between halvings of the subsidy
    #[arg(long, env = "CAIRN_HALVING_INTERVAL", default_value_t = 840_000, value_name = "BLOCKS")]
    halving_interval: u32,
    /// Blocks before a coinbase can be spent
    #[arg(long, env = "CAIRN_COINBASE_MATURITY", default_value_t = 20, value_name = "BLOCKS")]
    coinbase_maturity: u32,
    /// Maximum size of a block in bytes
    #[arg(long, env = "CAIRN_MAX_BLOCK_BYTES", default_value_t = 1_000_000, value_name = "BYTES")]
    max_block_bytes: u32,
    /// Maximum seconds that a block's time may be ahead of the clock, at most a tenth of the half-life [default: 120;
    /// 7200 without retargeting, where instant blocks run ahead of the clock and times do not affect the difficulty]
    #[arg(long, env = "CAIRN_MAX_FUTURE_SECS", value_name = "SECONDS")]
    max_future_secs: Option<u32>,
    /// Blocks of an epoch: the coins after every so many blocks are committed to
    #[arg(long, env = "CAIRN_EPOCH_BLOCKS", default_value_t = 720, value_name = "BLOCKS")]
    epoch_blocks: u32,
    /// Coins that genesis creates for an address; may be repeated
    #[arg(long, env = "CAIRN_ALLOC", value_name = "ADDRESS=COINS", value_parser = parse_allocation,
          value_delimiter = ',')]
    alloc: Vec<Allocation>,
    /// A node to join through; may be repeated
    #[arg(long = "seed", env = "CAIRN_SEEDS", value_name = "[ID@]HOST:PORT", value_delimiter = ',',
          value_parser = super::peer_name)]
    seeds: Vec<Option<PeerName>>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum RetargetArg {
    /// At every block, by aserti3-2d
    Asert,
    /// Never: constant difficulty
    None,
}

fn parse_allocation(text: &str) -> anyhow::Result<Allocation> {
    let (address, coins) = text.split_once('=').context("expected ADDRESS=COINS")?;
    Ok(Allocation { address: address.to_owned(), value: coins.parse()? })
}

/// Default for how far a block's time may be ahead of the clock: as far as does the difficulty no harm, up to two
/// minutes; two hours where the difficulty does not change.
pub(super) fn default_future_secs(retarget: Retarget, half_life_secs: u32) -> u32 {
    match retarget {
        Retarget::Asert => most_future_secs(half_life_secs).min(120),
        Retarget::None => 7_200,
    }
}

impl NewArgs {
    fn into_spec(self) -> anyhow::Result<GenesisSpec> {
        let timestamp = match self.timestamp {
            Some(timestamp) => timestamp,
            None => {
                u32::try_from(unix_now().as_secs()).context("the clock is beyond the year 2106: give --timestamp")?
            }
        };
        let retarget = match self.retarget {
            RetargetArg::Asert => Retarget::Asert,
            RetargetArg::None => Retarget::None,
        };
        let half_life_secs = self.half_life_secs.unwrap_or(self.target_spacing_secs.saturating_mul(HALF_LIFE_SPACINGS));
        let max_future_secs = self.max_future_secs.unwrap_or(default_future_secs(retarget, half_life_secs));
        Ok(GenesisSpec {
            network: self.network,
            address_prefix: self.address_prefix,
            message: self.message,
            timestamp,
            bits: self.bits,
            nonce: 0,
            pow_limit_bits: self.pow_limit_bits,
            retarget,
            target_spacing_secs: self.target_spacing_secs,
            half_life_secs,
            subsidy: self.subsidy,
            halving_interval: self.halving_interval,
            coinbase_maturity: self.coinbase_maturity,
            max_block_bytes: self.max_block_bytes,
            max_future_secs,
            epoch_blocks: self.epoch_blocks,
            alloc: self.alloc,
            seeds: self.seeds.iter().flatten().map(ToString::to_string).collect(),
        })
    }
}

/// Runs the command.
///
/// # Errors
/// If a file cannot be read, a field is invalid, or no nonce is found.
pub fn run(args: Args, common: &Common) -> anyhow::Result<()> {
    match args.command {
        GenesisCommand::New { new, output } => {
            if let Some(path) = output.output.as_deref().filter(|path| path.is_file()) {
                bail!("{} exists: another genesis would be another network", path.display());
            }
            put_mined(new.into_spec()?, output, common)
        }
        GenesisCommand::Mine { file, output } => put_mined(GenesisSpec::from_json(&read(&file)?)?, output, common),
        GenesisCommand::Show { file: None } => show(common.params()?.as_ref(), common),
        GenesisCommand::Show { file: Some(file) } => show(&Params::from_json(&read(&file)?)?, common),
    }
}

fn read(path: &std::path::Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

fn put_mined(mut spec: GenesisSpec, Output { output }: Output, common: &Common) -> anyhow::Result<()> {
    mine(&mut spec)?;
    let params = Params::new(spec)?;
    let json = params.spec.to_json();
    let Some(path) = output else { return print_line(json.trim_end()) };
    write_file(&path, json.as_bytes())?;
    let (network, hash) = (&params.network, params.genesis_hash);
    let written = format!("{}: network {network}, genesis {hash}", path.display());
    let json = || json!({ "file": path, "network": network, "genesis_hash": hash });
    common.print_outcome(&written, json)
}

/// Searches all nonces on all cores for the smallest valid one, so that the result is deterministic.
pub(super) fn mine(spec: &mut GenesisSpec) -> anyhow::Result<()> {
    let target = spec.bits.target()?;
    let header = spec.block()?.header;
    let expected = target.work().as_f64();
    note(format_args!("searching for a nonce that meets bits {}, {expected:.0} hashes expected…", spec.bits));
    // Some hundredths of a second a piece: the other cores then hear soon that a nonce is found.
    const PIECE: u32 = 1 << 18;
    let found = (0..=u32::MAX / PIECE).into_par_iter().find_map_first(|piece| {
        let first = piece * PIECE;
        kernel::search(&header, target, first..=first + (PIECE - 1))
    });
    let Some(nonce) = found else { bail!("no nonce meets bits {}: change the timestamp or the message", spec.bits) };
    spec.nonce = nonce;
    Ok(())
}

fn show(params: &Params, common: &Common) -> anyhow::Result<()> {
    let spec = &params.spec;
    let allocated = Amount::saturating_sum(spec.alloc.iter().map(|alloc| alloc.value));
    let text = || {
        let retarget = match spec.retarget {
            Retarget::Asert => format!(
                "every block ({} s apart, difficulty halves for every {} s behind)",
                spec.target_spacing_secs, spec.half_life_secs
            ),
            Retarget::None => "never".to_owned(),
        };
        [
            format!("network           {}", spec.network),
            format!("genesis hash      {}", params.genesis_hash),
            format!("message           {}", spec.message),
            format!("timestamp         {} ({} UTC)", spec.timestamp, UnixTime::from_secs(spec.timestamp.into()).utc()),
            format!("address prefix    {}", spec.address_prefix),
            format!("bits              {} ({:.0} hashes a block)", spec.bits, params.genesis_target.work().as_f64()),
            format!("easiest bits      {} ({:.0} hashes)", spec.pow_limit_bits, params.pow_limit.work().as_f64()),
            format!("retarget          {retarget}"),
            format!(
                "subsidy           {}, halved every {}",
                spec.subsidy.in_coins(),
                counted(spec.halving_interval, "block")
            ),
            format!("coinbase maturity {}", counted(spec.coinbase_maturity, "block")),
            format!("block size        at most {}", counted(spec.max_block_bytes, "byte")),
            format!("epoch             {}", counted(spec.epoch_blocks, "block")),
            format!("allocated         {} in {}", allocated.in_coins(), counted(spec.alloc.len(), "output")),
            format!(
                "seeds             {}",
                if spec.seeds.is_empty() { "none".to_owned() } else { spec.seeds.join(" ") }
            ),
        ]
        .join("\n")
    };
    common.print(text, || {
        json!({
            "network": spec.network,
            "genesis_hash": params.genesis_hash,
            "work": params.genesis_target.work().to_string(),
            "target": params.genesis_target.to_string(),
            "allocated": allocated,
            "parameters": spec,
        })
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        new: NewArgs,
    }

    #[test]
    fn defaults_are_the_development_network() {
        let spec = Line::parse_from(["new"]).new.into_spec().unwrap();
        let known = GenesisSpec::from_json(super::super::DEFAULT_GENESIS).unwrap();
        let own = |spec: GenesisSpec| GenesisSpec {
            network: String::new(),
            message: String::new(),
            timestamp: 0,
            nonce: 0,
            ..spec
        };
        assert_eq!(own(spec), own(known));
    }
}
