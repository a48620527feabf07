//! A whole network in one file. `docs/testnet.md` specifies it.
//!
//! The file starts with [`MAGIC`] and the format (u32), followed by the length (u32) and the text of a JSON object, the
//! [`Manifest`]; then come the chains, each an archive of blocks as [`crate::storage::archive`] writes it; and at the
//! end the SHA-256 of everything before. Integers are little-endian.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::setup::{MAX_NODES, Settings};
use crate::cli::temporary::{Temporary, check_interrupted};
use crate::consensus::params::{GenesisSpec, Params};
use crate::primitives::amount::counted;
use crate::primitives::hash::BlockHash;
use crate::storage::archive::Reader;

/// What a file starts with.
pub const MAGIC: [u8; 8] = *b"CAIRNNET";
/// The format described here.
pub const VERSION: u32 = 1;
/// Most bytes of a manifest: 64 nodes take a twentieth of it.
const MAX_MANIFEST_BYTES: u32 = 1 << 20;
/// Bytes of the checksum at the end.
const CHECKSUM_LEN: u64 = 32;

/// All of a network but its blocks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The network's parameters.
    pub genesis: GenesisSpec,
    /// What it was started with last.
    pub settings: Settings,
    /// The demo wallet's file.
    pub wallet: Box<RawValue>,
    /// The nodes, in order.
    pub nodes: Vec<SavedNode>,
    /// How many blocks each chain has, genesis not counted.
    pub chains: Vec<u32>,
}

/// A node as it is kept.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SavedNode {
    /// The wallet that it mines to, as its file.
    pub wallet: Box<RawValue>,
    /// Which of the chains is its.
    pub chain: usize,
    /// The end of its chain.
    pub tip: BlockHash,
}

impl Manifest {
    /// Checks what the types do not say, and answers the network's parameters.
    ///
    /// # Errors
    /// The first inconsistency.
    fn check(&self) -> anyhow::Result<Params> {
        let params = Params::new(self.genesis.clone())?;
        let nodes = self.nodes.len();
        ensure!(
            (1..=usize::from(MAX_NODES)).contains(&nodes),
            "it has {}, expected 1 to {MAX_NODES}",
            counted(nodes, "node")
        );
        ensure!(
            self.chains.len() <= nodes,
            "it has {} for {}",
            counted(self.chains.len(), "chain"),
            counted(nodes, "node")
        );
        for (number, node) in (1..).zip(&self.nodes) {
            ensure!(node.chain < self.chains.len(), "node-{number} has chain {}, which is missing", node.chain);
        }
        Ok(params)
    }
}

/// A reader or writer that checksums the bytes passing through.
struct Summed<T> {
    inner: T,
    sum: Sha256,
}

impl<W: Write> Write for Summed<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.sum.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Writes a file with mode 0600, since it contains wallets, and gives it its name when it is whole. `chains` writes the chains, in
/// order.
///
/// # Errors
/// If the file is there already or cannot be written, and those of `chains`.
pub fn write(
    path: &Path,
    temporary: Temporary,
    manifest: &Manifest,
    chains: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let cannot = || format!("cannot write {}", path.display());
    let text = serde_json::to_vec(manifest)?;
    let length = u32::try_from(text.len()).ok().filter(|length| *length <= MAX_MANIFEST_BYTES);
    let length = length.with_context(|| format!("the wallets take {} bytes, which is too much", text.len()))?;
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let file = options.open(temporary.path()).with_context(cannot)?;
    let mut out = Summed { inner: BufWriter::new(file), sum: Sha256::new() };
    for part in [&MAGIC[..], &VERSION.to_le_bytes(), &length.to_le_bytes(), &text] {
        out.write_all(part).with_context(cannot)?;
    }
    chains(&mut out)?;
    let checksum = out.sum.finalize();
    let mut file = out.inner;
    file.write_all(&checksum).and_then(|()| file.flush()).with_context(cannot)?;
    file.get_ref().sync_all().with_context(cannot)?;
    check_interrupted()?;
    temporary.rename(path).with_context(cannot)
}

/// An open file whose checksum and manifest are valid.
#[derive(Debug)]
pub struct Saved {
    /// All but the blocks.
    pub manifest: Manifest,
    /// The network's parameters.
    pub params: Params,
    input: BufReader<File>,
}

impl Saved {
    /// Opens a file, and checks all of it but the blocks themselves.
    ///
    /// # Errors
    /// If it is not such a file, of a newer format, cut off or damaged.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let shown = path.display();
        let cannot = || format!("cannot read {shown}");
        let mut file = File::open(path).with_context(cannot)?;
        let bytes = file.metadata().with_context(cannot)?.len();
        let mut start = [0; 16];
        let (Ok(()), Some(content)) = (file.read_exact(&mut start), bytes.checked_sub(CHECKSUM_LEN)) else {
            bail!("{shown} is not a saved network: it has {bytes} bytes");
        };
        let word = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| start[at + i]));
        ensure!(start[..8] == MAGIC, "{shown} is not a saved network: it does not start with CAIRNNET");
        let version = word(8);
        ensure!(
            version == VERSION,
            "{shown} has format {version}, this program knows format {VERSION}: use a newer cairn"
        );
        file.seek(SeekFrom::Start(0)).with_context(cannot)?;
        ensure!(
            checksum_holds(&mut file, content).with_context(cannot)?,
            "{shown} is cut off or damaged: its checksum does not match"
        );
        let length = word(12);
        ensure!(
            length <= MAX_MANIFEST_BYTES && u64::from(length) + 16 <= content,
            "{shown}: its description is {length} bytes, expected at most {MAX_MANIFEST_BYTES}"
        );
        file.seek(SeekFrom::Start(16)).with_context(cannot)?;
        let mut input = BufReader::new(file);
        let mut text = vec![0; length as usize];
        input.read_exact(&mut text).with_context(cannot)?;
        let manifest: Manifest = serde_json::from_slice(&text).with_context(|| format!("{shown}: its description"))?;
        let params = manifest.check().with_context(|| shown.to_string())?;
        Ok(Self { manifest, params, input })
    }

    /// The blocks of the next chain, which are read with [`Reader::next_block`] as often as the manifest says.
    ///
    /// # Errors
    /// [`crate::storage::archive::ArchiveError`].
    pub fn next_chain(&mut self) -> anyhow::Result<Reader<&mut BufReader<File>>> {
        Ok(Reader::new(&mut self.input, &self.params.genesis_hash)?)
    }
}

/// Whether the rest of a file, after `content` bytes, is their checksum.
fn checksum_holds(file: &mut File, content: u64) -> std::io::Result<bool> {
    let mut sum = Sha256::new();
    let mut left = content;
    let mut buffer = vec![0; 1 << 16];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = file.read(&mut buffer[..wanted])?;
        if count == 0 {
            return Ok(false);
        }
        sum.update(&buffer[..count]);
        left -= count as u64;
    }
    let mut expected = [0; CHECKSUM_LEN as usize];
    file.read_exact(&mut expected)?;
    Ok(sum.finalize()[..] == expected)
}
