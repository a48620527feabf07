//! The files of a test network: made the first time, found again afterwards.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ruint::aliases::U256;

use crate::consensus::params::{Allocation, GenesisSpec, Params, Retarget};
use crate::miner::kernel;
use crate::primitives::address;
use crate::primitives::amount::COIN;
use crate::primitives::hash::Hash256;
use crate::primitives::header::Header;
use crate::primitives::keys::PublicKey;
use crate::primitives::target::{Bits, Target};

/// What addresses of test networks begin with, so that they are not taken for those of another network.
pub const ADDRESS_PREFIX: &str = "tcairn";
/// Seconds that a block should take.
const SPACING_SECS: u32 = 5;
/// Short, so that difficulty has found its place after a minute or two.
const HALF_LIFE_SECS: u32 = 60;
/// Coins that the demo wallet begins with, in so many outputs: as many payments can be under way at a time.
const FUNDS: (u64, usize) = (100 * COIN, 10);
/// How long the machine's speed is measured.
const MEASURE: Duration = Duration::from_millis(300);

/// Where things lie below the network's directory.
#[derive(Debug, Clone)]
pub struct Layout {
    /// The directory.
    pub dir: PathBuf,
}

impl Layout {
    /// The network's parameters.
    pub fn genesis(&self) -> PathBuf {
        self.dir.join("genesis.json")
    }

    /// The demo wallet.
    pub fn wallet(&self) -> PathBuf {
        self.dir.join("wallet.json")
    }

    /// Logs, when the terminal shows the table.
    pub fn log(&self) -> PathBuf {
        self.dir.join("testnet.log")
    }

    /// The data directory of node `number`, counted from 1.
    pub fn node(&self, number: usize) -> PathBuf {
        self.dir.join(format!("node-{number}"))
    }

    /// The wallet that node `number` mines to.
    pub fn miner_wallet(&self, number: usize) -> PathBuf {
        self.node(number).join("wallet.json")
    }

    /// Makes the directory, or makes sure that it is a network's and not something else that must not be written to.
    ///
    /// # Errors
    /// If it cannot be made or read, or holds other things.
    pub fn prepare(&self) -> anyhow::Result<()> {
        let dir = self.dir.display();
        std::fs::create_dir_all(&self.dir).with_context(|| format!("cannot make {dir}"))?;
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

/// A network that pays `funded` from the start and whose blocks take about five seconds with so many miners at work on this
/// machine. Its genesis takes about half as long to find.
///
/// # Errors
/// If no nonce is found, which does not happen at such difficulties.
pub fn new_genesis(funded: &PublicKey, miners: usize, now: u64) -> anyhow::Result<Params> {
    let rate = measure_hash_rate(miners.max(1));
    // Twice as easy as it should be in the end: it is a minute until difficulty is right, and a quick start until then.
    let target = target_of(rate * f64::from(SPACING_SECS) / 2.0);
    let mut spec = GenesisSpec {
        network: "cairn-testnet".to_owned(),
        address_prefix: ADDRESS_PREFIX.to_owned(),
        message: "A network on one machine".to_owned(),
        timestamp: u32::try_from(now).context("the clock is beyond the year 2106")?,
        bits: target.to_bits(),
        nonce: 0,
        pow_limit_bits: target_of(target.work().as_f64() / 16.0).to_bits(),
        retarget: Retarget::Asert,
        target_spacing_secs: SPACING_SECS,
        half_life_secs: HALF_LIFE_SECS,
        subsidy: 50 * COIN,
        halving_interval: 840_000,
        coinbase_maturity: 10,
        max_block_bytes: 1_000_000,
        max_future_secs: 120,
        alloc: vec![Allocation { address: address::encode(ADDRESS_PREFIX, funded), value: FUNDS.0 }; FUNDS.1],
        seeds: Vec::new(),
    };
    crate::cli::genesis::mine(&mut spec)?;
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
    /// Between looks at the clock.
    const CHUNK: u32 = 1 << 13;
    let header =
        Header { version: 1, previous: Hash256::ZERO, merkle_root: Hash256::ZERO, time: 0, bits: Bits(0), nonce: 0 };
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

/// Writes a file that others may be about to read: all of it or nothing.
///
/// # Errors
/// If the directory cannot be written to.
pub fn write_whole(path: &Path, text: &str) -> anyhow::Result<()> {
    let partial = path.with_extension("partial");
    std::fs::write(&partial, text)
        .and_then(|()| std::fs::rename(&partial, path))
        .with_context(|| format!("cannot write {}", path.display()))
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
