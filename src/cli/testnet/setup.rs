//! The files of a test network, created at the first start.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use ruint::aliases::U256;
use serde::{Deserialize, Serialize};

use crate::cli::genesis;
use crate::consensus::params::{Allocation, GenesisSpec, Params, Retarget};
use crate::miner::kernel;
use crate::primitives::address;
use crate::primitives::amount::{Amount, COIN};
use crate::primitives::hash::{BlockHash, Hash256, MerkleRoot};
use crate::primitives::header::Header;
use crate::primitives::keys::PublicKey;
use crate::primitives::target::{Bits, Target};
use crate::primitives::time::UnixTime;
use crate::runtime::STORE_DIR;
use crate::storage::private_file;
use crate::wallet::Wallet;

/// Prefix of test networks' addresses, to distinguish them from other networks'.
pub const ADDRESS_PREFIX: &str = "tcairn";
/// Seconds that a block should take, unless told otherwise.
pub const BLOCK_TIME_SECS: u32 = 5;
/// Blocks behind schedule that halve the difficulty. A real network would use 288; here the difficulty must settle
/// within a minute on any machine, and again after a laptop wakes up or miners are added. This makes branches from old
/// tips cheap, which worthless coins can bear.
const HALF_LIFE_BLOCKS: u32 = 12;
/// Time of genesis on networks with a seed: 1 January 2026. The schedule starts with block 1, so its age does not matter.
const SEEDED_TIMESTAMP: u64 = 1_767_225_600;
/// Assumed hashes a second of a mining thread, for networks with a seed.
const SEEDED_HASH_RATE: f64 = 4e6;
/// Initial coins of the demo wallet, and the number of outputs, which bounds concurrent payments.
const INITIAL_COINS: (Amount, usize) = (Amount::from_grains(100 * COIN), 10);
/// How long the machine's speed is measured.
const MEASURE: Duration = Duration::from_millis(300);
/// Most nodes in one process.
pub const MAX_NODES: u16 = 64;

/// Highest first port, so that the last node has one too.
pub const MAX_BASE_PORT: u16 = u16::MAX - 2 * MAX_NODES + 1;

/// Paths in the network's directory.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The directory that holds the nodes', wallets' and network's files.
    pub dir: PathBuf,
}

impl Layout {
    /// The file with the network's parameters.
    pub fn genesis(&self) -> PathBuf {
        self.dir.join("genesis.json")
    }

    /// The file of the wallet that the introduction's commands use.
    pub fn wallet(&self) -> PathBuf {
        self.dir.join("wallet.json")
    }

    /// What the network was started with last.
    pub fn settings(&self) -> PathBuf {
        self.dir.join("testnet.json")
    }

    /// Logs, when the terminal shows the table.
    pub fn log(&self) -> PathBuf {
        self.dir.join("testnet.log")
    }

    /// The data directory of node `number`, counted from 1.
    pub fn node(&self, number: usize) -> PathBuf {
        self.dir.join(format!("node-{number}"))
    }

    /// The numbers of the nodes that have a store, lowest first.
    pub fn stores(&self) -> Vec<usize> {
        (1..=usize::from(MAX_NODES)).filter(|number| self.node(*number).join(STORE_DIR).is_dir()).collect()
    }

    /// The wallet that node `number` mines to.
    pub fn miner_wallet(&self, number: usize) -> PathBuf {
        self.node(number).join("wallet.json")
    }

    /// Creates the directory, or checks that an existing one is a network's.
    ///
    /// # Errors
    /// If it cannot be made or read, or holds other things.
    pub fn prepare(&self) -> anyhow::Result<()> {
        let dir = self.dir.display();
        private_file::create_dir(&self.dir).with_context(|| format!("cannot make {dir}"))?;
        let mut entries = std::fs::read_dir(&self.dir).with_context(|| format!("cannot read {dir}"))?;
        if entries.next().is_some() && !self.wallet().exists() && !self.log().exists() {
            bail!("{dir} is not empty and holds no test network: choose another directory with --data-dir");
        }
        Ok(())
    }
}

/// Lets commands find node 1 through the network's directory too, by the files in which it leaves its address and cookie.
///
/// # Errors
/// If the directory cannot be written to.
pub fn point_to_first_node(layout: &Layout, names: &[&str]) -> anyhow::Result<()> {
    for name in names {
        let link = layout.dir.join(name);
        #[cfg(unix)]
        if link.symlink_metadata().is_err() {
            std::os::unix::fs::symlink(Path::new("node-1").join(name), &link)
                .with_context(|| format!("cannot make {}", link.display()))?;
        }
    }
    Ok(())
}

/// A network's settings, stored for the next start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Number of nodes.
    pub nodes: u16,
    /// How many of them mine.
    pub miners: u16,
    /// Mining threads of each of these.
    pub threads: u16,
    /// Seed of wallets and genesis; random without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// The first port, if one was chosen; without, the usual ones or free ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_port: Option<u16>,
    /// Numbers of nodes that were removed, between those of others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<u16>,
}

impl Settings {
    /// The stored settings; `None` for a network that was never started.
    ///
    /// # Errors
    /// If the file cannot be read or is none.
    pub fn read(layout: &Layout) -> anyhow::Result<Option<Self>> {
        let path = layout.settings();
        match std::fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Self::parse(&text).with_context(|| format!("{} is not valid", path.display()))?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
        }
    }

    /// The numbers of the nodes, lowest first.
    pub fn numbers(&self) -> Vec<usize> {
        let left = (1..=MAX_NODES).filter(|number| !self.removed.contains(number));
        left.take(usize::from(self.nodes)).map(usize::from).collect()
    }

    /// Has these nodes from now on.
    pub fn set_numbers(&mut self, numbers: &[usize]) {
        let last = numbers.iter().copied().max().unwrap_or_default();
        self.nodes = numbers.len() as u16;
        self.miners = self.miners.min(self.nodes);
        self.removed = (1..last).filter(|number| !numbers.contains(number)).map(|number| number as u16).collect();
    }

    /// Reads the file's text.
    ///
    /// # Errors
    /// If it is no JSON of this kind, or a number is out of bounds.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let settings: Self = serde_json::from_str(text)?;
        if !(1..=MAX_NODES).contains(&settings.nodes) || settings.miners > settings.nodes {
            bail!("{} nodes, {} of them mining: expected 1 to {MAX_NODES}", settings.nodes, settings.miners);
        }
        Ok(settings)
    }

    /// Stores them.
    ///
    /// # Errors
    /// If the directory cannot be written to.
    pub fn write(&self, layout: &Layout) -> anyhow::Result<()> {
        write_whole(&layout.settings(), &format!("{:#}\n", serde_json::json!(self)))
    }
}

/// The wallet in a file, which is made if it is not there: from the seed if there is one, for its place in the network.
///
/// # Errors
/// If there is a file but no wallet in it, or it cannot be written.
pub fn open_wallet(path: &Path, seed: Option<u64>, place: &str) -> anyhow::Result<Wallet> {
    let wallet = match seed {
        None => Wallet::open_or_create(path, &mut rand::rng()),
        Some(seed) => {
            let text = format!("cairn testnet, seed {seed}, {place}");
            Wallet::open_or_create(path, &mut ChaCha20Rng::from_seed(Hash256::of(text.as_bytes()).to_bytes()))
        }
    };
    Ok(wallet?)
}

/// The block interval that a genesis is made for.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Seconds that a block should take; with 0, blocks take no work at all.
    pub block_time: u32,
    /// Threads that mine on this machine at a time.
    pub threads: usize,
    /// Whether the genesis must be reproducible, independent of the machine's clock and speed.
    pub is_seeded: bool,
}

impl Pace {
    /// Five seconds with so many threads on this machine.
    pub fn usual(threads: usize) -> Self {
        Self { block_time: BLOCK_TIME_SECS, threads, is_seeded: false }
    }
}

/// A network that pays `funded` from the start. Its genesis takes about half a block's time to find.
///
/// # Errors
/// If no nonce is found, which does not happen at such difficulties.
pub fn new_genesis(funded: &PublicKey, pace: Pace, now: UnixTime) -> anyhow::Result<Params> {
    let is_instant = pace.block_time == 0;
    let threads = pace.threads.max(1);
    let rate = match (is_instant, pace.is_seeded) {
        (true, _) => 0.0,
        (false, true) => SEEDED_HASH_RATE * threads as f64,
        (false, false) => measure_hash_rate(threads),
    };
    // Twice as easy as intended, for a quick start; the difficulty settles within a minute.
    let target = target_of(rate * f64::from(pace.block_time) / 2.0);
    let now = if pace.is_seeded { SEEDED_TIMESTAMP } else { now.as_secs() };
    let retarget = if is_instant { Retarget::None } else { Retarget::Asert };
    let half_life_secs = pace.block_time.max(1) * HALF_LIFE_BLOCKS;
    let mut spec = GenesisSpec {
        network: "cairn-testnet".to_owned(),
        address_prefix: ADDRESS_PREFIX.to_owned(),
        message: "A network on one machine".to_owned(),
        timestamp: u32::try_from(now).context("the clock is beyond the year 2106")?,
        bits: target.to_bits(),
        nonce: 0,
        pow_limit_bits: target_of(target.work().as_f64() / 16.0).to_bits(),
        retarget,
        target_spacing_secs: pace.block_time.max(1),
        half_life_secs,
        subsidy: Amount::from_grains(50 * COIN),
        halving_interval: 840_000,
        coinbase_maturity: 10,
        max_block_bytes: 1_000_000,
        max_future_secs: genesis::default_future_secs(retarget, half_life_secs),
        epoch_blocks: 720,
        alloc: vec![
            Allocation { address: address::encode(ADDRESS_PREFIX, funded), value: INITIAL_COINS.0 };
            INITIAL_COINS.1
        ],
        seeds: Vec::new(),
    };
    genesis::mine(&mut spec)?;
    Ok(Params::new(spec)?)
}

/// The target that takes so many hashes on average, in a form that compact bits can hold.
fn target_of(hashes: f64) -> Target {
    let easiest = Bits(0x207f_ffff).target().unwrap_or(Target(U256::MAX >> 1));
    let exact = Target(U256::MAX / U256::from(hashes.max(2.0) as u64)).min(easiest);
    exact.to_bits().target().unwrap_or(easiest)
}

/// Hashes a second that so many threads find together, on whatever cores there are.
fn measure_hash_rate(threads: usize) -> f64 {
    /// Nonces between two readings of the clock.
    const CHUNK: u32 = 1 << 13;
    let header = Header {
        version: 1,
        previous: BlockHash::ZERO,
        merkle_root: MerkleRoot::ZERO,
        time: 0,
        bits: Bits(0),
        nonce: 0,
    };
    let unreachable = Target(U256::ZERO);
    let started = Instant::now();
    let count = || {
        let mut next = 0u32;
        while started.elapsed() < MEASURE {
            kernel::search(&header, unreachable, next..=next + (CHUNK - 1));
            next += CHUNK;
        }
        f64::from(next)
    };
    let hashes: f64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(count)).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).sum()
    });
    hashes / started.elapsed().as_secs_f64()
}

/// Writes a file atomically.
///
/// # Errors
/// If the directory cannot be written to.
pub fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    private_file::replace_shared(path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_takes_the_hashes_asked_for() {
        for hashes in [2.0, 1000.0, 25e6, 1e12] {
            let work = target_of(hashes).work().as_f64();
            assert!((0.99..1.01).contains(&(work / hashes)), "{work} for {hashes}");
        }
        assert_eq!(target_of(0.0).to_bits(), Bits(0x207f_ffff));
    }

    #[test]
    fn a_foreign_directory_is_left_alone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let layout = Layout { dir: dir.path().join("new") };
        layout.prepare().expect("a directory that is not there is made");
        std::fs::write(layout.dir.join("thesis.txt"), "years of work").expect("writable");
        let error = layout.prepare().expect_err("not a network's directory").to_string();
        assert!(error.contains("holds no test network"), "{error}");
    }
}
