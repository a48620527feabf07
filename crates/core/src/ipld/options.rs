//! How files become blocks. Every choice here changes CIDs; the defaults are Kubo's.

use std::num::NonZeroUsize;

use super::block::Block;
use super::cid::{Cid, Codec};
use super::hash::{HashFunction, MAX_IDENTITY_BYTES};

/// How CIDs of dag-pb blocks are written. Raw blocks always have a CIDv1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CidVersion {
    /// Base58 of a SHA-256: `Qm…`.
    V0,
    /// Any codec, hash function and base.
    V1,
}

/// Bytes of a file in one block: 1 to 2 MiB − 256, so that the block with what goes around it can be exchanged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkSize(usize);

impl ChunkSize {
    /// The largest.
    pub const MAX: usize = super::MAX_BLOCK_BYTES - 256;

    /// # Errors
    /// [`OptionsError`], with Kubo's words.
    pub fn new(bytes: u64) -> Result<Self, OptionsError> {
        match usize::try_from(bytes) {
            Ok(0) => Err(OptionsError::NoChunk),
            Ok(bytes) if bytes <= Self::MAX => Ok(Self(bytes)),
            _ => Err(OptionsError::LargeChunk),
        }
    }

    /// The size.
    pub fn bytes(self) -> usize {
        self.0
    }
}

/// The most links in a node of a file: at least 2, and so few that the node remains within the size of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxFileLinks(usize);

impl MaxFileLinks {
    /// The largest: such a node has at most 1.2 MB, even if its links are inline CIDs.
    pub const MAX: usize = 8_192;

    /// # Errors
    /// [`OptionsError::FileLinks`].
    pub fn new(links: u64) -> Result<Self, OptionsError> {
        let fits = usize::try_from(links).ok().filter(|links| (2..=Self::MAX).contains(links));
        fits.map(Self).ok_or(OptionsError::FileLinks { got: links })
    }

    /// The number.
    pub fn get(self) -> usize {
        self.0
    }
}

/// Places in a node of a sharded directory: a power of two from 8 to 1,024.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fanout(usize);

impl Fanout {
    /// # Errors
    /// [`OptionsError::Fanout`].
    pub fn new(places: u64) -> Result<Self, OptionsError> {
        let fits = (8..=1_024).contains(&places) && places.is_power_of_two();
        if fits { Ok(Self(places as usize)) } else { Err(OptionsError::Fanout { got: places }) }
    }

    /// The number.
    pub fn places(self) -> usize {
        self.0
    }

    /// Bits of a name's hash that choose a place.
    pub fn bits(self) -> u32 {
        self.0.trailing_zeros()
    }

    /// Hexadecimal digits before each name.
    pub fn digits(self) -> usize {
        (self.bits() as usize).div_ceil(4)
    }
}

/// The largest block that goes into its CID: at most 128 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InlineLimit(usize);

impl InlineLimit {
    /// # Errors
    /// [`OptionsError::InlineLimit`].
    pub fn new(bytes: u64) -> Result<Self, OptionsError> {
        let fits = usize::try_from(bytes).ok().filter(|bytes| *bytes <= MAX_IDENTITY_BYTES);
        fits.map(Self).ok_or(OptionsError::InlineLimit { got: bytes })
    }
}

/// How a file's blocks are arranged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// All leaves at the same depth.
    Balanced,
    /// Each node has leaves first and then ever deeper subtrees, for reading from the start.
    Trickle,
}

/// How the size of a directory is estimated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeEstimate {
    /// Bytes of all names and binary CIDs.
    Links,
    /// Bytes of the node.
    Block,
}

/// When a directory is split into many nodes, and how wide those are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharding {
    /// A directory estimated above this is split.
    pub threshold: usize,
    /// The estimate.
    pub estimate: SizeEstimate,
    /// A directory with more entries is split.
    pub max_links: Option<NonZeroUsize>,
    /// Width of a node.
    pub fanout: Fanout,
}

/// Defaults under a name, as in [IPIP-499](https://specs.ipfs.tech/ipips/ipip-0499/).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// CIDv0, dag-pb leaves of 256 KiB, 174 links. Kubo's default.
    #[default]
    UnixfsV0_2015,
    /// CIDv1, raw leaves of 1 MiB, 1,024 links.
    UnixfsV1_2025,
}

impl Profile {
    /// All, with their names.
    pub const NAMES: [(&'static str, Self); 2] =
        [("unixfs-v0-2015", Self::UnixfsV0_2015), ("unixfs-v1-2025", Self::UnixfsV1_2025)];

    fn options(self) -> Options {
        let sharding =
            Sharding { threshold: 262_144, estimate: SizeEstimate::Links, max_links: None, fanout: Fanout(256) };
        let v0 = Options {
            cid_version: CidVersion::V0,
            hash: HashFunction::Sha2_256,
            raw_leaves: false,
            chunk_size: ChunkSize(262_144),
            max_file_links: MaxFileLinks(174),
            layout: Layout::Balanced,
            inline: None,
            sharding,
        };
        match self {
            Self::UnixfsV0_2015 => v0,
            Self::UnixfsV1_2025 => Options {
                cid_version: CidVersion::V1,
                raw_leaves: true,
                chunk_size: ChunkSize(1 << 20),
                max_file_links: MaxFileLinks(1_024),
                sharding: Sharding { estimate: SizeEstimate::Block, ..sharding },
                ..v0
            },
        }
    }
}

/// How files and directories become blocks, in full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Of dag-pb blocks.
    pub cid_version: CidVersion,
    /// Of all blocks.
    pub hash: HashFunction,
    /// Whether pieces of a file are blocks without anything around them. Not in files that have a mode or time.
    pub raw_leaves: bool,
    /// Bytes of a piece.
    pub chunk_size: ChunkSize,
    /// Links of a file's node.
    pub max_file_links: MaxFileLinks,
    /// Of files.
    pub layout: Layout,
    /// Blocks that go into their CIDs.
    pub inline: Option<InlineLimit>,
    /// Of directories.
    pub sharding: Sharding,
}

/// What a caller decides; everything else follows from it as in Kubo.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Choices {
    /// Where defaults come from.
    pub profile: Profile,
    /// 1 implies raw leaves.
    pub cid_version: Option<CidVersion>,
    /// Another than SHA-256 implies version 1.
    pub hash: Option<HashFunction>,
    /// See [`Options::raw_leaves`].
    pub raw_leaves: Option<bool>,
    /// See [`Options::chunk_size`].
    pub chunk_size: Option<ChunkSize>,
    /// See [`Options::max_file_links`].
    pub max_file_links: Option<MaxFileLinks>,
    /// See [`Options::layout`].
    pub layout: Option<Layout>,
    /// See [`Options::inline`].
    pub inline: Option<InlineLimit>,
    /// See [`Sharding::max_links`].
    pub max_directory_links: Option<NonZeroUsize>,
    /// See [`Sharding::fanout`].
    pub fanout: Option<Fanout>,
    /// See [`Sharding::threshold`].
    pub sharding_threshold: Option<usize>,
}

/// Options that cannot be, in Kubo's words where it has some.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum OptionsError {
    #[error("chunker size must be greater than 0")]
    NoChunk,
    #[error("chunker parameters may not exceed the maximum chunk size of {max}", max = ChunkSize::MAX)]
    LargeChunk,
    #[error("a file's node has 2 to {max} links, not {got}", max = MaxFileLinks::MAX)]
    FileLinks { got: u64 },
    #[error("the fanout is a power of two from 8 to 1024, not {got}")]
    Fanout { got: u64 },
    #[error("inline-limit {got} exceeds maximum allowed size of {MAX_IDENTITY_BYTES} bytes")]
    InlineLimit { got: u64 },
    #[error("CIDv0 only supports sha2-256")]
    V0Hash,
}

impl Choices {
    /// The options that follow.
    ///
    /// # Errors
    /// [`OptionsError::V0Hash`] if version 0 is chosen with another hash function than SHA-256.
    pub fn options(&self) -> Result<Options, OptionsError> {
        let defaults = self.profile.options();
        let hash = self.hash.unwrap_or(defaults.hash);
        let is_v0_possible = hash == HashFunction::Sha2_256;
        let cid_version = match self.cid_version {
            Some(CidVersion::V0) if !is_v0_possible => return Err(OptionsError::V0Hash),
            Some(version) => version,
            None if is_v0_possible => defaults.cid_version,
            None => CidVersion::V1,
        };
        let sharding = Sharding {
            threshold: self.sharding_threshold.unwrap_or(defaults.sharding.threshold),
            max_links: self.max_directory_links.or(defaults.sharding.max_links),
            fanout: self.fanout.unwrap_or(defaults.sharding.fanout),
            ..defaults.sharding
        };
        Ok(Options {
            cid_version,
            hash,
            raw_leaves: self.raw_leaves.unwrap_or(cid_version == CidVersion::V1),
            chunk_size: self.chunk_size.unwrap_or(defaults.chunk_size),
            max_file_links: self.max_file_links.unwrap_or(defaults.max_file_links),
            layout: self.layout.unwrap_or(defaults.layout),
            inline: self.inline.or(defaults.inline),
            sharding,
        })
    }
}

impl Default for Options {
    fn default() -> Self {
        Profile::default().options()
    }
}

impl Options {
    /// Names a block.
    pub(super) fn block(&self, codec: Codec, bytes: Vec<u8>) -> Block {
        Block::made(self.cid(codec, &bytes), bytes)
    }

    /// The name of a block.
    pub(super) fn cid(&self, codec: Codec, bytes: &[u8]) -> Cid {
        let inline = self.inline.filter(|limit| bytes.len() <= limit.0).map(|_| HashFunction::Identity);
        let cid = match self.cid_version {
            CidVersion::V0 if codec == Codec::DAG_PB && inline.is_none() => Cid::v0(bytes),
            _ => Cid::v1(codec, inline.unwrap_or(self.hash), bytes),
        };
        // Chosen as the hash of all blocks, the identity names those that are short enough.
        let cid = cid.or_else(|| Cid::v1(codec, HashFunction::Sha2_256, bytes));
        cid.expect("only the identity has a limit")
    }
}
