//! A long chain whose blocks have few payments or none: what several benchmarks begin with, and what takes most of their time.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, ensure};

use super::connect::{accept, open};
use super::fixture::{Fixture, Scratch};
use crate::cli::genesis::KEPT_FILE;
use crate::consensus::params::{GenesisSpec, Params, Retarget};
use crate::runtime::{STORE_DIR, unix_now};

/// Blocks of an epoch: those of an hour on the development network.
const EPOCH: u32 = 720;

/// Which chain it is.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// Blocks of the chain
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(10_000..=4_000_000))]
    pub(super) blocks: u32,
    /// Payments in each block, beside its coinbase
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=5_500))]
    payments: u32,
    /// Keep the chain in this directory, or take the one that is there
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// A node's directory with such a chain, whose tip was made when the chain was.
pub(super) struct LongChain {
    pub(super) params: Arc<Params>,
    dir: PathBuf,
    /// Where it is, if it goes with this.
    _scratch: Option<Scratch>,
}

impl LongChain {
    /// Makes it, or takes the one that is kept.
    pub(super) fn new(args: &Args) -> anyhow::Result<Self> {
        let (dir, scratch) = match &args.keep {
            Some(dir) => (dir.clone(), None),
            None => {
                let scratch = Scratch::new()?;
                (scratch.path().join("node"), Some(scratch))
            }
        };
        if !dir.exists() {
            // Under another name until it is whole.
            let mut unfinished = dir.clone().into_os_string();
            unfinished.push(".unfinished");
            let unfinished = PathBuf::from(unfinished);
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished)?;
            }
            fs::create_dir_all(&unfinished).with_context(|| format!("cannot make {}", unfinished.display()))?;
            fs::write(unfinished.join(KEPT_FILE), make(args, &unfinished)?.spec.to_json())?;
            fs::rename(&unfinished, &dir)?;
        }
        let is_kept = dir.join(KEPT_FILE).is_file() && dir.join(STORE_DIR).is_dir();
        ensure!(is_kept, "{} has no chain: name a directory that is not there", dir.display());
        let params = Arc::new(Params::new(GenesisSpec::from_json(&fs::read_to_string(dir.join(KEPT_FILE))?)?)?);
        let chain = Self { params, dir, _scratch: scratch };
        let tip = open(&chain.params, &chain.dir.join(STORE_DIR))?.tip();
        let (blocks, payments) = (tip.height.as_u32(), tip.tx_count.saturating_sub(1));
        let is_it = (blocks, payments) == (args.blocks, args.payments);
        ensure!(is_it, "the chain in {} has {blocks} blocks, of {payments} payments each", chain.dir.display());
        Ok(chain)
    }

    /// The node's directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// What says which network it is.
    pub(super) fn genesis(&self) -> PathBuf {
        self.dir.join(KEPT_FILE)
    }
}

fn make(args: &Args, dir: &Path) -> anyhow::Result<Arc<Params>> {
    let Args { blocks, payments, .. } = *args;
    let regtest = GenesisSpec::regtest();
    let span = u64::from(blocks + 1) * u64::from(regtest.target_spacing_secs);
    let timestamp = u32::try_from(unix_now().as_secs().saturating_sub(span)).context("the clock is wrong")?;
    let spec =
        GenesisSpec { timestamp, retarget: Retarget::Asert, max_future_secs: 360, epoch_blocks: EPOCH, ..regtest };
    let mut fixture = Fixture::of(spec, payments.max(1) as usize);
    let mut chain = open(&fixture.params, &dir.join(STORE_DIR))?;
    for _ in 0..blocks {
        accept(&mut chain, fixture.pay(payments as usize), true)?;
    }
    Ok(fixture.params)
}
