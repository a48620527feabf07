//! `cairn testnet save` and `load`: a whole network to a file, and back.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use serde_json::json;
use serde_json::value::RawValue;

use super::control::{Control, name_of};
use super::saved::{self, Manifest, Saved, SavedNode};
use super::setup::{self, Layout, Settings};
use crate::chain::Chain;
use crate::cli::client::call;
use crate::cli::temporary::{Temporary, check_interrupted};
use crate::cli::{Common, genesis};
use crate::primitives::amount::counted;
use crate::primitives::codec;
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::rpc::client::{Client, ClientError};
use crate::runtime::{STORE_DIR, unix_now};
use crate::storage::archive::Writer;
use crate::storage::{BlockKey, Database, SledStore, private_file};

/// Options of `cairn testnet save`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Saves genesis, wallets and every node's chain, but not mempools, addresses and bans. If the network runs, its miners pause \
meanwhile. The file contains the wallets' words: keep it secret.

Example:
  cairn testnet save demo.cairnnet")]
pub struct SaveArgs {
    /// The file to write; it must not exist yet
    file: PathBuf,
}

/// Options of `cairn testnet load`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Creates --data-dir, which must be empty or not exist. `cairn testnet` then resumes the network.

Example:
  cairn testnet load demo.cairnnet --data-dir demo
  cairn testnet --data-dir demo")]
pub struct LoadArgs {
    /// A file written by `cairn testnet save`
    file: PathBuf,
}

/// A source of a node's blocks.
enum Source {
    /// Of a running node.
    Running(Client),
    /// The store of a stopped node.
    Stopped(Database),
}

impl Source {
    /// The best chain from height 1 on.
    fn hashes(&self) -> anyhow::Result<Vec<BlockHash>> {
        /// As many as getheaders gives at most.
        const PAGE: usize = 2_000;
        let mut hashes: Vec<BlockHash> = Vec::new();
        loop {
            check_interrupted()?;
            let last = Height::from_u32(hashes.len() as u32);
            match self {
                Self::Stopped(db) => match db.hash_at(last.next())? {
                    Some(hash) => hashes.push(hash),
                    None => return Ok(hashes),
                },
                Self::Running(client) => {
                    // From the last that is known, or genesis: there is always one.
                    let text: String = call(client, "getheaders", &[json!(last), json!(PAGE)])?;
                    let bytes = hex::decode(text).context("getheaders did not answer hex")?;
                    let headers = bytes.chunks(Header::LEN).map(codec::decode::<Header>);
                    let headers = headers.collect::<Result<Vec<Header>, _>>()?;
                    let mut last = hashes.last().copied();
                    for (place, header) in headers.iter().enumerate() {
                        let hash = header.hash();
                        let expected = if place == 0 { hash } else { header.previous };
                        let moved = "the tip changed while the chain was read; try again";
                        ensure!(last.is_none_or(|last| last == expected), moved);
                        if place > 0 {
                            hashes.push(hash);
                        }
                        last = Some(hash);
                    }
                    if headers.len() < PAGE {
                        return Ok(hashes);
                    }
                }
            }
        }
    }

    fn block(&self, at: &BlockKey) -> anyhow::Result<Vec<u8>> {
        let hash = at.hash;
        match self {
            Self::Running(client) => {
                let text: String = call(client, "getblock", &[json!(hash), json!(0)])?;
                Ok(hex::decode(text).context("getblock did not answer hex")?)
            }
            Self::Stopped(db) => db.raw_block(at)?.with_context(|| format!("block {hash} is not stored")),
        }
    }
}

/// Runs `cairn testnet save`.
///
/// # Errors
/// If there is no network in the directory, a chain cannot be read, or the file cannot be written.
pub fn save(args: &SaveArgs, common: &Common, layout: &Layout) -> anyhow::Result<()> {
    ensure!(
        layout.genesis().exists(),
        "there is no test network in {}: give its directory with --data-dir",
        layout.dir.display()
    );
    // From here on a signal is looked for, so that the miners go on at once.
    let temporary = Temporary::beside(&args.file)?;
    let manifest = match Control::find(layout) {
        Ok(control) => {
            let source = |index: usize, _| Ok(Source::Running(control.node(index).clone()));
            control.while_quiet(|| write(&args.file, temporary, layout, control.numbers(), source))
        }
        Err(error) => match error.downcast_ref::<ClientError>() {
            Some(ClientError::NoNode { .. } | ClientError::Unreachable { .. }) => {
                let source = |_, number: usize| -> anyhow::Result<Source> {
                    let store = SledStore::open(&layout.node(number).join(STORE_DIR))?;
                    Ok(Source::Stopped(Database::new(Arc::new(store))))
                };
                write(&args.file, temporary, layout, &layout.stores(), source)
            }
            _ => return Err(error),
        },
    }?;
    report(&args.file, &manifest, common)
}

fn report(path: &Path, manifest: &Manifest, common: &Common) -> anyhow::Result<()> {
    let highest = manifest.chains.iter().max().copied().unwrap_or(0);
    let (nodes, chains) = (manifest.nodes.len(), manifest.chains.len());
    let agreement = if chains == 1 { String::new() } else { format!(", which have {chains} different chains") };
    let text = format!("{}: {}{agreement}, height {highest}", path.display(), counted(nodes, "node"));
    common.print_outcome(&text, || json!({ "file": path, "nodes": nodes, "chains": chains, "height": highest }))
}

/// A chain to be written: where from, and its blocks' hashes from height 1 on.
struct Branch {
    source: usize,
    hashes: Vec<BlockHash>,
}

fn write(
    path: &Path,
    temporary: Temporary,
    layout: &Layout,
    numbers: &[usize],
    source: impl Fn(usize, usize) -> anyhow::Result<Source>,
) -> anyhow::Result<Manifest> {
    ensure!(!numbers.is_empty(), "the network in {} was never started", layout.dir.display());
    let params = genesis::read_params(&layout.genesis())?;
    let (mut sources, mut branches, mut nodes) = (Vec::new(), Vec::<Branch>::new(), Vec::new());
    for (index, number) in numbers.iter().copied().enumerate() {
        let named = || name_of(number);
        let source = source(index, number).with_context(named)?;
        let hashes = source.hashes().with_context(named)?;
        let tip = hashes.last().copied().unwrap_or(params.genesis_hash);
        // Nodes that agree share a chain.
        let chain = branches.iter().position(|branch| branch.hashes == hashes).unwrap_or_else(|| {
            branches.push(Branch { source: index, hashes });
            branches.len() - 1
        });
        nodes.push(SavedNode { wallet: raw(&layout.miner_wallet(number))?, chain, tip });
        sources.push(source);
    }
    let (nodes_of, removed) = (numbers.len() as u16, Vec::new());
    let unknown = Settings { nodes: 1, miners: 2, threads: 1, seed: None, base_port: None, removed: Vec::new() };
    let kept = Settings::read(layout)?.unwrap_or(unknown);
    // The copy's nodes are numbered anew.
    let settings = Settings { nodes: nodes_of, miners: kept.miners.min(nodes_of), base_port: None, removed, ..kept };
    let chains = branches.iter().map(|branch| branch.hashes.len() as u32).collect();
    let manifest = Manifest { genesis: params.spec.clone(), settings, wallet: raw(&layout.wallet())?, nodes, chains };
    saved::write(path, temporary, &manifest, |mut out| {
        for branch in &branches {
            let mut writer = Writer::new(&mut out, &params.genesis_hash)?;
            for (height, hash) in Height::GENESIS.next().through(Height::MAX).zip(&branch.hashes) {
                check_interrupted()?;
                let block = sources[branch.source].block(&BlockKey { height, hash: *hash })?;
                // The file's checksums must not cover damaged bytes, so the header's hash is compared.
                let is_whole = block.get(..Header::LEN).is_some_and(|header| BlockHash::of(header) == *hash);
                ensure!(is_whole, "block {hash} of node-{} is damaged", numbers[branch.source]);
                writer.append(&block)?;
            }
            writer.finish()?;
        }
        Ok(())
    })?;
    Ok(manifest)
}

/// A file's JSON, unchanged.
fn raw(path: &Path) -> anyhow::Result<Box<RawValue>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    RawValue::from_string(text.trim().to_owned()).with_context(|| format!("{} is not JSON", path.display()))
}

/// Runs `cairn testnet load`.
///
/// # Errors
/// If the file is invalid, the directory is not empty, a block is invalid, or a signal comes. The directory is then as it was.
pub fn load(args: &LoadArgs, common: &Common, layout: &Layout) -> anyhow::Result<()> {
    let dir = layout.dir.display();
    let is_there = match std::fs::read_dir(&layout.dir).map(|mut entries| entries.next().is_some()) {
        Ok(true) => bail!("{dir} is not empty: choose another directory with --data-dir"),
        Ok(false) => true,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
        Err(error) => return Err(error).with_context(|| format!("cannot read {dir}")),
    };
    ensure!(
        !args.file.is_dir(),
        "{file} is a directory: load takes a file that `cairn testnet save` wrote; a network's own directory is started with \
         `cairn testnet --data-dir {file}`",
        file = args.file.display()
    );
    let mut saved = Saved::open(&args.file)?;
    let cannot = || format!("cannot make {dir}");
    if is_there {
        // An empty directory gives way to the network's.
        std::fs::remove_dir(&layout.dir).with_context(cannot)?;
    } else if let Some(above) = layout.dir.parent() {
        private_file::create_dir(above).with_context(cannot)?;
    }
    let loaded = Temporary::beside(&layout.dir).and_then(|temporary| {
        unpack(&mut saved, &Layout { dir: temporary.path().to_owned() })?;
        temporary.rename(&layout.dir).with_context(cannot)
    });
    if is_there && loaded.is_err() {
        // If that fails, too, what failed first is what to say.
        let _ = std::fs::create_dir(&layout.dir);
    }
    loaded.with_context(|| format!("{} cannot be loaded", args.file.display()))?;
    report(&layout.dir, &saved.manifest, common)
}

fn unpack(saved: &mut Saved, layout: &Layout) -> anyhow::Result<()> {
    let cannot = |path: &Path| format!("cannot make {}", path.display());
    private_file::create_dir(&layout.dir).with_context(|| cannot(&layout.dir))?;
    let genesis = saved.params.spec.to_json();
    setup::write_whole(&layout.genesis(), &genesis)?;
    saved.manifest.settings.write(layout)?;
    write_private(&layout.wallet(), saved.manifest.wallet.get())?;
    let params = Arc::new(saved.params.clone());
    let mut chains = Vec::new();
    for (number, node) in (1..).zip(&saved.manifest.nodes) {
        let dir = layout.node(number);
        private_file::create_dir(&dir).with_context(|| cannot(&dir))?;
        setup::write_whole(&dir.join("genesis.json"), &genesis)?;
        write_private(&layout.miner_wallet(number), node.wallet.get())?;
        chains.push(Chain::open(params.clone(), Arc::new(SledStore::open(&dir.join(STORE_DIR))?))?);
    }
    let now = unix_now();
    let owners: Vec<usize> = saved.manifest.nodes.iter().map(|node| node.chain).collect();
    for (index, count) in saved.manifest.chains.clone().into_iter().enumerate() {
        let mut reader = saved.next_chain()?;
        for height in 1..=count {
            check_interrupted()?;
            let block = reader.next_block()?;
            let block = block.with_context(|| format!("chain {index} ends before its block {height}"))?;
            for (chain, _) in chains.iter_mut().zip(&owners).filter(|(_, owner)| **owner == index) {
                let update = chain.accept_block(block.clone(), now, &|_| false)?;
                if let Some((hash, source)) = update.rejected.into_iter().next() {
                    return Err(source).with_context(|| format!("block {hash} at height {height}"));
                }
            }
        }
    }
    for ((number, chain), node) in (1..).zip(chains).zip(&saved.manifest.nodes) {
        let tip = chain.tip().hash;
        ensure!(tip == node.tip, "node-{number} ends at tip {tip}, not at {}", node.tip);
        chain.db().store().flush()?;
    }
    Ok(())
}

/// Writes a wallet's file with mode 0600.
fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = private_file::create(path, format!("{text}\n").as_bytes());
    written.with_context(|| format!("cannot write {}", path.display()))
}
