//! Reading files, directories, paths and whole DAGs.
//!
//! Each reader is a state machine: `wanted` names the block that it needs next, and `supply` takes that block's bytes,
//! which the caller has checked. None fetches a block, so the same code reads from a disk and from a network.
//!
//! Blocks come from strangers, so each reader has a bound:
//! - A file's reader fetches only blocks that hold bytes of the file, each at most [`MAX_DEPTH`] nodes below the root, and
//!   holds at most [`MAX_PENDING`] links. A part of another size than its parent claims is an error.
//! - A directory's reader checks that each name belongs in the shard where it stands, so a shard that is linked to from
//!   two places is found out at its first name.
//! - A DAG's reader takes each block once.

use std::collections::BTreeSet;
use std::ops::Range;

use super::FormatError;
use super::cid::{Cid, Codec};
use super::dagpb::{LinkRef, Node};
use super::hamt::{self, MURMUR3_X64_64};
use super::murmur3::murmur3_x64_64;
use super::options::Fanout;
use super::unixfs::{Data, Kind, Metadata};

/// Nodes from a file's root to a leaf, at most. Kubo's layouts need 5 for a terabyte.
pub const MAX_DEPTH: usize = 128;
/// Links that a reader holds at most: 40 MB. Kubo's widest files need some thousands.
pub const MAX_PENDING: usize = 1 << 18;

/// Blocks that do not make what they should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum ReadError {
    /// No decoder here finds links in such a block.
    #[error("the block {cid} is {codec}, and only raw and dag-pb blocks can be read")]
    Codec { cid: Box<Cid>, codec: Codec },
    /// Not in the format.
    #[error("the block {cid} is not valid: {error}")]
    Format { cid: Box<Cid>, error: FormatError },
    /// Another kind of entry.
    #[error("{cid} is {got}, not {expected}")]
    Kind { cid: Box<Cid>, got: &'static str, expected: &'static str },
    /// As many sizes as links, and the sum is the file's size.
    #[error("the sizes in the block {cid} contradict each other")]
    Sizes { cid: Box<Cid> },
    /// A part of another size than its parent says.
    #[error("the block {cid} holds {got} bytes of the file, and the node above says {expected}")]
    PartSize { cid: Box<Cid>, expected: u64, got: u64 },
    /// Deeper than any layout.
    #[error("the block {cid} is more than {MAX_DEPTH} nodes below the root")]
    TooDeep { cid: Box<Cid> },
    /// Wider than any layout.
    #[error("more than {MAX_PENDING} links wait at the block {cid}")]
    TooWide { cid: Box<Cid> },
    /// A shard that is not as the hash of names makes it.
    #[error("the block {cid} is no part of this sharded directory")]
    Shard { cid: Box<Cid> },
    /// A path that leads nowhere.
    #[error("{cid} has no entry {name:?}")]
    NoEntry { cid: Box<Cid>, name: String },
}

/// What a block is.
#[derive(Debug)]
pub enum View<'a> {
    /// A file, or a part of one.
    File(FileNode<'a>),
    /// A directory.
    Directory {
        /// Its entries.
        node: Node<'a>,
        /// Mode and time.
        metadata: Metadata,
    },
    /// A node of a sharded directory.
    Shard {
        /// Entries and nodes below.
        node: Node<'a>,
        /// Places.
        fanout: Fanout,
        /// Mode and time.
        metadata: Metadata,
    },
    /// A symbolic link.
    Symlink {
        /// Where it leads.
        target: &'a [u8],
        /// Time.
        metadata: Metadata,
    },
}

/// A file's node: its own bytes come before those of its parts.
#[derive(Debug)]
pub struct FileNode<'a> {
    /// The node's own bytes.
    pub bytes: &'a [u8],
    /// Bytes in the node and all parts.
    pub size: u64,
    /// Mode and time.
    pub metadata: Metadata,
    node: Option<Node<'a>>,
    part_sizes: Vec<u64>,
}

impl FileNode<'_> {
    /// Its parts, each with the bytes in it.
    pub fn parts(&self) -> impl Iterator<Item = (Cid, u64)> {
        let links = self.node.iter().flat_map(Node::links).map(|link| link.cid);
        links.zip(self.part_sizes.iter().copied())
    }
}

impl<'a> View<'a> {
    /// Reads a block. Costs time and memory in proportion to it.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn of(cid: Cid, bytes: &'a [u8]) -> Result<Self, ReadError> {
        let format = |error| ReadError::Format { cid: cid.into(), error };
        match cid.codec() {
            Codec::RAW => {
                let (size, metadata) = (bytes.len() as u64, Metadata::NONE);
                return Ok(Self::File(FileNode { bytes, size, metadata, node: None, part_sizes: Vec::new() }));
            }
            Codec::DAG_PB => {}
            codec => return Err(ReadError::Codec { cid: cid.into(), codec }),
        }
        let node = Node::decode(bytes).map_err(format)?;
        let data = Data::decode(node.data.unwrap_or_default()).map_err(format)?;
        let metadata = data.metadata;
        match data.kind {
            Kind::File | Kind::Raw => {
                let sum = data.block_sizes.iter().try_fold(data.bytes.len() as u64, |sum, n| sum.checked_add(*n));
                let size = sum.filter(|size| data.file_size.is_none_or(|claimed| claimed == *size));
                let size = size.filter(|_| data.block_sizes.len() == node.link_count);
                let size = size.ok_or(ReadError::Sizes { cid: cid.into() })?;
                let part_sizes = data.block_sizes;
                Ok(Self::File(FileNode { bytes: data.bytes, size, metadata, node: Some(node), part_sizes }))
            }
            Kind::Directory => Ok(Self::Directory { node, metadata }),
            Kind::HamtShard => {
                let fanout = data.fanout.and_then(|places| Fanout::new(places).ok());
                match fanout.filter(|_| data.hash_type == Some(MURMUR3_X64_64)) {
                    Some(fanout) => Ok(Self::Shard { node, fanout, metadata }),
                    None => Err(ReadError::Shard { cid: cid.into() }),
                }
            }
            Kind::Symlink => Ok(Self::Symlink { target: data.bytes, metadata }),
            Kind::Metadata => {
                Err(ReadError::Kind { cid: cid.into(), got: "a metadata node", expected: "a file or directory" })
            }
        }
    }

    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::File(_) => "a file",
            Self::Directory { .. } | Self::Shard { .. } => "a directory",
            Self::Symlink { .. } => "a symbolic link",
        }
    }

    /// Mode and time.
    pub fn metadata(&self) -> Metadata {
        match self {
            Self::File(file) => file.metadata,
            Self::Directory { metadata, .. } | Self::Shard { metadata, .. } | Self::Symlink { metadata, .. } => {
                *metadata
            }
        }
    }
}

/// The blocks that a block links to, in their order.
///
/// # Errors
/// [`ReadError::Codec`], [`ReadError::Format`].
pub fn links<'a>(cid: &Cid, bytes: &'a [u8]) -> Result<impl Iterator<Item = LinkRef<'a>> + use<'a>, ReadError> {
    let node = match cid.codec() {
        Codec::RAW => None,
        Codec::DAG_PB => Some(Node::decode(bytes).map_err(|error| ReadError::Format { cid: (*cid).into(), error })?),
        codec => return Err(ReadError::Codec { cid: (*cid).into(), codec }),
    };
    Ok(node.into_iter().flat_map(|node| node.links()))
}

/// A block of a file that is not read yet.
#[derive(Debug)]
struct Part {
    cid: Cid,
    /// Where in the file it begins.
    offset: u64,
    /// What the parent says; `None` for the root.
    size: Option<u64>,
    depth: usize,
}

/// Reads the bytes of a file, or a range of them, in order.
#[derive(Debug)]
pub struct FileReader {
    /// The next part comes last.
    pending: Vec<Part>,
    range: Range<u64>,
    size: Option<u64>,
}

impl FileReader {
    /// Reads the file at `root` from one byte to before another, as far as it has them.
    pub fn new(root: Cid, range: Range<u64>) -> Self {
        Self { pending: vec![Part { cid: root, offset: 0, size: None, depth: 0 }], range, size: None }
    }

    /// The block that is needed next; `None` at the end.
    pub fn wanted(&self) -> Option<Cid> {
        self.pending.last().map(|part| part.cid)
    }

    /// The blocks that are needed next, as far as is known: the wanted one first. Some may link to others that come
    /// between.
    pub fn upcoming(&self) -> impl Iterator<Item = Cid> {
        self.pending.iter().rev().map(|part| part.cid)
    }

    /// Links that are held.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Bytes of the whole file, once its root was supplied.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Takes the bytes of the wanted block, and returns those that come next in the file.
    ///
    /// # Errors
    /// [`ReadError`], after which the reader is of no use.
    pub fn supply<'a>(&mut self, block: &'a [u8]) -> Result<&'a [u8], ReadError> {
        match self.wanted() {
            Some(cid) => self.take(View::of(cid, block)?),
            None => Ok(&[]),
        }
    }

    /// Takes the wanted block, which was read already: see [`FileReader::supply`].
    ///
    /// # Errors
    /// [`ReadError`], after which the reader is of no use.
    pub fn take<'a>(&mut self, view: View<'a>) -> Result<&'a [u8], ReadError> {
        let Some(part) = self.pending.pop() else { return Ok(&[]) };
        let cid = part.cid;
        let node = match view {
            View::File(node) => node,
            other => return Err(ReadError::Kind { cid: cid.into(), got: other.kind(), expected: "a file" }),
        };
        if let Some(expected) = part.size.filter(|expected| *expected != node.size) {
            return Err(ReadError::PartSize { cid: cid.into(), expected, got: node.size });
        }
        self.size.get_or_insert(node.size);
        let (bytes, range) = (node.bytes, self.range.clone());
        let mut offset = part.offset + bytes.len() as u64;
        let first = self.pending.len();
        for (cid, size) in node.parts() {
            // What holds nothing is not fetched: such parts could be linked to without end.
            if size > 0 && offset < range.end && offset.saturating_add(size) > range.start {
                if part.depth == MAX_DEPTH {
                    return Err(ReadError::TooDeep { cid: cid.into() });
                }
                if self.pending.len() == MAX_PENDING {
                    return Err(ReadError::TooWide { cid: cid.into() });
                }
                self.pending.push(Part { cid, offset, size: Some(size), depth: part.depth + 1 });
            }
            // Sums up to the node's size, which was within bounds.
            offset = offset.saturating_add(size);
        }
        self.pending[first..].reverse();
        let within = |at: u64| usize::try_from(at.saturating_sub(part.offset)).unwrap_or(usize::MAX).min(bytes.len());
        Ok(&bytes[within(range.start).min(within(range.end))..within(range.end)])
    }
}

/// An entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Any bytes: check them with [`is_entry_name`](super::is_entry_name) before they become a path.
    pub name: Vec<u8>,
    /// What it names.
    pub cid: Cid,
    /// See [`Link::size`](super::dagpb::Link::size).
    pub dag_size: u64,
}

/// A node of a sharded directory that is not read yet, and the way to it: the first `used` bits of the hashes below.
#[derive(Debug, Clone, Copy)]
struct ShardWay {
    cid: Cid,
    hash: u64,
    used: u32,
}

/// Lists a directory, in one node or many. Entries of a sharded one come in the order of their names' hashes.
#[derive(Debug)]
pub struct DirectoryReader {
    pending: Vec<ShardWay>,
    fanout: Option<Fanout>,
    metadata: Metadata,
}

impl DirectoryReader {
    /// Lists the directory at `root`.
    pub fn new(root: Cid) -> Self {
        Self { pending: vec![ShardWay { cid: root, hash: 0, used: 0 }], fanout: None, metadata: Metadata::NONE }
    }

    /// The block that is needed next; `None` at the end.
    pub fn wanted(&self) -> Option<Cid> {
        self.pending.last().map(|way| way.cid)
    }

    /// The blocks that are needed next, as far as is known: the wanted one first.
    pub fn upcoming(&self) -> impl Iterator<Item = Cid> {
        self.pending.iter().rev().map(|way| way.cid)
    }

    /// Links that are held.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Mode and time, once the root was supplied.
    pub fn metadata(&self) -> Metadata {
        self.metadata
    }

    /// Takes the bytes of the wanted block, and returns the entries in it.
    ///
    /// # Errors
    /// [`ReadError`], after which the reader is of no use.
    pub fn supply(&mut self, block: &[u8]) -> Result<Vec<Entry>, ReadError> {
        match self.wanted() {
            Some(cid) => self.take(View::of(cid, block)?),
            None => Ok(Vec::new()),
        }
    }

    /// Takes the wanted block, which was read already: see [`DirectoryReader::supply`].
    ///
    /// # Errors
    /// [`ReadError`], after which the reader is of no use.
    pub fn take(&mut self, view: View<'_>) -> Result<Vec<Entry>, ReadError> {
        let Some(way) = self.pending.pop() else { return Ok(Vec::new()) };
        let cid = way.cid;
        let is_root = way.used == 0;
        if is_root {
            self.metadata = view.metadata();
        }
        let (node, fanout) = match view {
            View::Directory { node, .. } if is_root => {
                let entry = |link: LinkRef| Entry { name: link.name.to_vec(), cid: link.cid, dag_size: link.size };
                return Ok(node.links().map(entry).collect());
            }
            View::Shard { node, fanout, .. } if self.fanout.is_none_or(|known| known == fanout) => (node, fanout),
            View::Shard { .. } | View::Directory { .. } => return Err(ReadError::Shard { cid: cid.into() }),
            other => return Err(ReadError::Kind { cid: cid.into(), got: other.kind(), expected: "a directory" }),
        };
        self.fanout = Some(fanout);
        // A shard without a name below could be linked to without end.
        if node.link_count == 0 && !is_root {
            return Err(ReadError::Shard { cid: cid.into() });
        }
        let mut entries = Vec::new();
        let first = self.pending.len();
        for link in node.links() {
            match place_of(&link, &way, fanout).ok_or(ReadError::Shard { cid: cid.into() })? {
                Place::Entry(name) => {
                    entries.push(Entry { name: name.to_vec(), cid: link.cid, dag_size: link.size });
                }
                Place::Shard(below) if self.pending.len() < MAX_PENDING => self.pending.push(below),
                Place::Shard(below) => return Err(ReadError::TooWide { cid: below.cid.into() }),
            }
        }
        self.pending[first..].reverse();
        Ok(entries)
    }
}

enum Place<'a> {
    Entry(&'a [u8]),
    Shard(ShardWay),
}

/// What a link of the shard at the end of `way` is; `None` if it does not belong there.
fn place_of<'a>(link: &LinkRef<'a>, way: &ShardWay, fanout: Fanout) -> Option<Place<'a>> {
    let (prefix, name) = link.name.split_at_checked(fanout.digits())?;
    let place = usize::from_str_radix(std::str::from_utf8(prefix).ok()?, 16).ok()?;
    if place >= fanout.places() || hamt::prefix(place, fanout).as_bytes() != prefix {
        return None;
    }
    let used = way.used + fanout.bits();
    let left = u64::BITS.checked_sub(used)?;
    let hash = way.hash | (place as u64) << left;
    if name.is_empty() {
        return Some(Place::Shard(ShardWay { cid: link.cid, hash, used }));
    }
    // Equal in the bits that were used.
    ((murmur3_x64_64(name) ^ hash) >> left == 0).then_some(Place::Entry(name))
}

/// Follows a path of names down from a root.
#[derive(Debug)]
pub struct PathReader {
    at: ShardWay,
    /// The directory of the shard.
    directory: Cid,
    fanout: Option<Fanout>,
    /// The names that are left, the next one last.
    names: Vec<Vec<u8>>,
}

impl PathReader {
    /// From `root` along `path`, names divided by `/`; empty ones are skipped.
    pub fn new(root: Cid, path: &[u8]) -> Self {
        let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).map(<[u8]>::to_vec);
        let at = ShardWay { cid: root, hash: 0, used: 0 };
        Self { at, directory: root, fanout: None, names: names.rev().collect() }
    }

    /// The block that is needed next; `None` at the end.
    ///
    /// # Errors
    /// If the path goes on below a block of a codec that has no names, which therefore need not be here.
    pub fn wanted(&self) -> Result<Option<Cid>, ReadError> {
        let Some(name) = self.names.last() else { return Ok(None) };
        let cid = self.at.cid;
        match cid.codec() {
            Codec::DAG_PB => Ok(Some(cid)),
            Codec::RAW | Codec::BITCOIN_BLOCK | Codec::BITCOIN_TX => Err(self.no_entry(name)),
            codec => Err(ReadError::Codec { cid: cid.into(), codec }),
        }
    }

    fn no_entry(&self, name: &[u8]) -> ReadError {
        ReadError::NoEntry { cid: self.directory.into(), name: String::from_utf8_lossy(name).into_owned() }
    }

    /// Where the path leads, at the end.
    pub fn found(&self) -> Cid {
        self.at.cid
    }

    /// Takes the bytes of the wanted block.
    ///
    /// # Errors
    /// [`ReadError`], after which the reader is of no use.
    pub fn supply(&mut self, block: &[u8]) -> Result<(), ReadError> {
        let Some(name) = self.names.last() else { return Ok(()) };
        let (cid, way) = (self.at.cid, self.at);
        let absent = self.no_entry(name);
        let found = match View::of(cid, block)? {
            View::Directory { node, .. } if way.used == 0 => {
                node.links().find(|link| link.name == name).map(|link| link.cid)
            }
            View::Shard { node, fanout, .. } if self.fanout.is_none_or(|known| known == fanout) => {
                self.fanout = Some(fanout);
                let place = hamt::place(murmur3_x64_64(name), way.used, fanout);
                let prefix = hamt::prefix(place.ok_or(ReadError::Shard { cid: cid.into() })?, fanout).into_bytes();
                let full = [&prefix[..], name].concat();
                let mut found = None;
                for link in node.links().filter(|link| link.name == prefix || link.name == full) {
                    match place_of(&link, &way, fanout).ok_or(ReadError::Shard { cid: cid.into() })? {
                        Place::Entry(_) => found = Some(link.cid),
                        Place::Shard(below) => {
                            self.at = below;
                            return Ok(());
                        }
                    }
                }
                found
            }
            View::Shard { .. } | View::Directory { .. } => return Err(ReadError::Shard { cid: cid.into() }),
            View::File(_) | View::Symlink { .. } => None,
        };
        let cid = found.ok_or(absent)?;
        self.names.pop();
        *self = Self {
            at: ShardWay { cid, hash: 0, used: 0 },
            directory: cid,
            fanout: None,
            names: std::mem::take(&mut self.names),
        };
        Ok(())
    }
}

/// Walks through all blocks of a DAG, each once, parents before children and in the order of links.
#[derive(Debug)]
pub struct DagReader {
    /// Binary CIDs, which are smaller than others. The next one comes last.
    pending: Vec<Box<[u8]>>,
    seen: BTreeSet<Box<[u8]>>,
    /// Those that were named ahead, which keep their places in `pending` until they are supplied.
    ahead: BTreeSet<Box<[u8]>>,
}

impl DagReader {
    /// The DAGs below these roots.
    pub fn new(roots: impl IntoIterator<Item = Cid>) -> Self {
        let mut pending: Vec<_> = roots.into_iter().map(|cid| cid.to_bytes().into_boxed_slice()).collect();
        pending.reverse();
        Self { pending, seen: BTreeSet::new(), ahead: BTreeSet::new() }
    }

    /// Walks through the DAG below another root, too, before what waits.
    pub fn add(&mut self, root: Cid) {
        self.pending.push(root.to_bytes().into_boxed_slice());
    }

    /// The next block; `None` at the end. Give its bytes to [`DagReader::supply`], or nothing to leave out what is below.
    pub fn next_block(&mut self) -> Option<Cid> {
        while let Some(bytes) = self.pending.pop() {
            let cid = Cid::from_bytes(&bytes).ok();
            if self.seen.insert(bytes) && cid.is_some() {
                return cid;
            }
        }
        None
    }

    /// The same before those that were named last are supplied. What is below each then comes where it stands, in whatever order
    /// they are supplied, as all must be: the time is in proportion to how many are not.
    pub fn next_ahead(&mut self) -> Option<Cid> {
        for place in (0..self.pending.len()).rev() {
            let bytes = &self.pending[place];
            if self.ahead.contains(bytes) {
                continue;
            }
            if let Ok(cid) = Cid::from_bytes(bytes)
                && self.seen.insert(bytes.clone())
            {
                self.ahead.insert(bytes.clone());
                return Some(cid);
            }
            self.pending.remove(place);
        }
        None
    }

    /// How many links wait to be followed.
    pub fn waiting(&self) -> usize {
        self.pending.len()
    }

    /// Takes the bytes of a block. Costs time and memory in proportion to them.
    ///
    /// # Errors
    /// [`ReadError::Codec`], [`ReadError::Format`].
    pub fn supply(&mut self, cid: &Cid, block: &[u8]) -> Result<(), ReadError> {
        let name = cid.to_bytes().into_boxed_slice();
        let place = self.ahead.remove(&name).then(|| self.pending.iter().rposition(|bytes| *bytes == name)).flatten();
        let place = place.map_or(self.pending.len()..self.pending.len(), |place| place..place + 1);
        let mut below: Vec<Box<[u8]>> = Vec::new();
        for link in links(cid, block)? {
            let bytes = link.cid.to_bytes().into_boxed_slice();
            if !self.seen.contains(&bytes) && below.last() != Some(&bytes) {
                below.push(bytes);
            }
        }
        self.pending.splice(place, below.into_iter().rev());
        Ok(())
    }
}
