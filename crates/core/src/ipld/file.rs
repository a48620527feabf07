//! A file as blocks, in the layouts of Kubo: [`Layout::Balanced`] and [`Layout::Trickle`].
//!
//! Bytes come in any pieces. Leaves are hashed a few at a time, on all cores; their links wait in a node for each level
//! of the tree. So a file of any size takes the memory of some times [`BATCH_BYTES`] and of `depth × links` links.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use rayon::prelude::*;

use super::block::Block;
use super::cid::{Cid, Codec};
use super::dagpb::{self, Link};
use super::options::{ChunkSize, Layout, Options};
use super::unixfs::{Data, Kind, Metadata};

/// Bytes of leaves that are hashed together: enough for some cores, at 256 KiB each.
pub const BATCH_BYTES: usize = 4 << 20;
const _: () = assert!(BATCH_BYTES > ChunkSize::MAX);
/// Batches whose memory is used again.
const MAX_SLABS: usize = 8;
/// Where a leaf of a batch begins in memory: a disk can be given it without a copy.
const LEAF_ALIGNMENT: usize = 4_096;
/// Bytes of a chunk from which on that is worth the room.
const MIN_ALIGNED: usize = 64 << 10;
/// Most bytes of a leaf around those of the file: some tags, and four numbers.
const LEAF_FRAME: usize = 64;
/// Subtrees of the same depth in a node of the trickle layout.
const TRICKLE_REPEAT: usize = 4;

/// The top of a file or directory, or of a part of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    /// Its block.
    pub cid: Cid,
    /// Bytes of its blocks, see [`Link::size`].
    pub dag_size: u64,
}

impl Root {
    /// The top of a DAG: a block, and what it links to.
    pub(super) fn over(block: &Block, links: &[Link]) -> Self {
        // Saturates: no DAG is so large, but blocks of others can claim it.
        let below = links.iter().fold(0, |sum: u64, link| sum.saturating_add(link.size));
        Self { cid: *block.cid(), dag_size: below.saturating_add(block.bytes().len() as u64) }
    }

    /// An entry of a directory.
    pub fn named(self, name: impl Into<Vec<u8>>) -> Link {
        Link { cid: self.cid, name: name.into(), size: self.dag_size }
    }
}

/// A part of a file with the bytes of the file in it.
#[derive(Debug, Clone)]
struct Part {
    link: Link,
    file_size: u64,
}

/// An inner node that grows.
#[derive(Debug, Default)]
struct Inner {
    links: Vec<Link>,
    block_sizes: Vec<u64>,
}

impl Inner {
    fn push(&mut self, part: Part) {
        self.links.push(part.link);
        self.block_sizes.push(part.file_size);
    }

    fn len(&self) -> usize {
        self.links.len()
    }

    /// Makes the node.
    fn seal(self, options: &Options, metadata: Metadata) -> (Block, Part) {
        let file_size = self.block_sizes.iter().fold(0, |sum: u64, size| sum.saturating_add(*size));
        let data =
            Data { file_size: Some(file_size), block_sizes: self.block_sizes, metadata, ..Data::new(Kind::File) };
        let block = options.block(Codec::DAG_PB, dagpb::encode(&self.links, &data.encode()));
        let part = Part { link: Root::over(&block, &self.links).named(""), file_size };
        (block, part)
    }
}

/// Turns the bytes of one file into blocks. Each block goes to `sink` as soon as it is made, children before parents.
#[derive(Debug)]
pub struct FileBuilder {
    options: Options,
    metadata: Metadata,
    /// Bytes of the file that are in no block yet: whole chunks, and an unfinished one at the end.
    held: Vec<u8>,
    /// Whether there are blocks.
    has_blocks: bool,
    slabs: Slabs,
    tree: Tree,
}

impl FileBuilder {
    /// A file without bytes yet.
    pub fn new(options: &Options, metadata: Metadata) -> Self {
        let tree = match options.layout {
            Layout::Balanced => Tree::Balanced(Vec::new()),
            Layout::Trickle => Tree::Trickle(vec![Frame::new(None)]),
        };
        Self { options: *options, metadata, held: Vec::new(), has_blocks: false, slabs: Slabs::default(), tree }
    }

    /// Takes the next bytes of the file, best [`BATCH_BYTES`] at a time: it then copies few, but for the blocks.
    ///
    /// # Errors
    /// Those of `sink`, after which the builder is of no use.
    pub fn write<E>(&mut self, mut bytes: &[u8], sink: &mut impl FnMut(Block) -> Result<(), E>) -> Result<(), E> {
        let size = self.options.chunk_size.bytes();
        // More than a chunk, so none of its chunks is the whole file.
        if self.held.len() + bytes.len() >= BATCH_BYTES {
            let missing = (size - self.held.len() % size) % size;
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            self.held.extend_from_slice(now);
            let (whole, rest) = later.split_at(later.len() / size * size);
            bytes = rest;
            let mut held = std::mem::take(&mut self.held);
            let chunks = held.len() / size * size;
            self.make_leaves(&held[..chunks], sink)?;
            self.make_leaves(whole, sink)?;
            // Its room is used again. If a part of a chunk is left in it, no more bytes have come.
            held.drain(..chunks);
            self.held = held;
        }
        self.held.extend_from_slice(bytes);
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn finish<E>(mut self, sink: &mut impl FnMut(Block) -> Result<(), E>) -> Result<Root, E> {
        let is_single = !self.has_blocks && self.held.len() <= self.options.chunk_size.bytes();
        if is_single && self.options.layout == Layout::Balanced {
            let block = self.leaf(&self.held);
            let root = Root::over(&block, &[]);
            sink(block)?;
            return Ok(root);
        }
        let held = std::mem::take(&mut self.held);
        self.make_leaves(&held, sink)?;
        self.tree.finish(&self.options, self.metadata, sink)
    }

    /// A leaf that is the whole file.
    fn leaf(&self, chunk: &[u8]) -> Block {
        let (codec, parts) = self.leaf_parts(chunk, self.metadata);
        self.options.block(codec, parts.concat())
    }

    /// The bytes of a leaf, those of the file in the middle.
    fn leaf_parts<'a>(&self, chunk: &'a [u8], metadata: Metadata) -> (Codec, [Cow<'a, [u8]>; 3]) {
        if self.options.raw_leaves && self.metadata.is_none() {
            return (Codec::RAW, [Cow::default(), chunk.into(), Cow::default()]);
        }
        let kind = match self.options.layout {
            Layout::Balanced => Kind::File,
            Layout::Trickle => Kind::Raw,
        };
        let data = Data { bytes: chunk, file_size: Some(chunk.len() as u64), metadata, ..Data::new(kind) };
        let [before, bytes, after] = data.encode_parts();
        let head = dagpb::encode_head(before.len() + bytes.len() + after.len());
        (Codec::DAG_PB, [[head, before.into_owned()].concat().into(), bytes, after])
    }

    /// Makes leaves of chunks. Only the last chunk may be shorter than the others.
    fn make_leaves<E>(&mut self, bytes: &[u8], sink: &mut impl FnMut(Block) -> Result<(), E>) -> Result<(), E> {
        let size = self.options.chunk_size.bytes();
        let alignment = if size < MIN_ALIGNED { 1 } else { LEAF_ALIGNMENT };
        let room = (size.min(bytes.len()) + LEAF_FRAME).next_multiple_of(alignment);
        for batch in bytes.chunks((BATCH_BYTES / room).max(1) * size) {
            self.has_blocks = true;
            let mut memory = self.slabs.take();
            let slab = Arc::make_mut(&mut memory);
            let needed = batch.len().div_ceil(size) * room;
            if slab.len() < needed + LEAF_ALIGNMENT {
                slab.resize(needed + LEAF_ALIGNMENT, 0);
            }
            let first = slab.as_ptr().align_offset(LEAF_ALIGNMENT).min(LEAF_ALIGNMENT);
            let make = |(room, chunk): (&mut [u8], &[u8])| {
                let (codec, parts) = self.leaf_parts(chunk, Metadata::NONE);
                let mut len = 0;
                for part in &parts {
                    room[len..len + part.len()].copy_from_slice(part);
                    len += part.len();
                }
                (self.options.cid(codec, &room[..len]), len, chunk.len())
            };
            let rooms = slab[first..first + needed].par_chunks_mut(room);
            let leaves: Vec<(Cid, usize, usize)> = rooms.zip(batch.par_chunks(size)).map(make).collect();
            self.slabs.give(&memory);
            for ((cid, len, chunk), start) in leaves.into_iter().zip((first..).step_by(room)) {
                let block = Block::made_within(cid, Arc::clone(&memory), start..start + len);
                let link = Root::over(&block, &[]).named("");
                sink(block)?;
                self.tree.push(Part { link, file_size: chunk as u64 }, &self.options, sink)?;
            }
        }
        Ok(())
    }
}

/// Memory of batches of leaves: that of earlier ones is used again when none of their blocks is left, for fresh memory costs
/// as much time as hashing.
#[derive(Debug, Default)]
struct Slabs(VecDeque<Arc<Vec<u8>>>);

impl Slabs {
    /// Some that no block is in.
    fn take(&mut self) -> Arc<Vec<u8>> {
        let free = self.0.iter_mut().position(|slab| Arc::get_mut(slab).is_some());
        free.and_then(|at| self.0.remove(at)).unwrap_or_default()
    }

    /// Remembers it for later.
    fn give(&mut self, slab: &Arc<Vec<u8>>) {
        if self.0.len() == MAX_SLABS {
            self.0.pop_front();
        }
        self.0.push_back(Arc::clone(slab));
    }
}

#[derive(Debug)]
enum Tree {
    /// A node for each level above the leaves, which all have room or are just full.
    Balanced(Vec<Inner>),
    /// The nodes from the root to the one that takes leaves.
    Trickle(Vec<Frame>),
}

/// A node of the trickle layout that is not complete.
#[derive(Debug)]
struct Frame {
    node: Inner,
    /// Depth at which it takes no more subtrees; `None` in the root.
    max_depth: Option<usize>,
    /// Subtrees so far.
    subtrees: usize,
}

impl Frame {
    fn new(max_depth: Option<usize>) -> Self {
        Self { node: Inner::default(), max_depth, subtrees: 0 }
    }
}

impl Tree {
    fn push<E>(
        &mut self,
        leaf: Part,
        options: &Options,
        sink: &mut impl FnMut(Block) -> Result<(), E>,
    ) -> Result<(), E> {
        match self {
            Self::Balanced(levels) => push_at(levels, 0, leaf, options, sink)?,
            Self::Trickle(frames) => {
                while let Some(frame) = frames.last_mut() {
                    if frame.node.len() < options.max_file_links.get() && frame.subtrees == 0 {
                        frame.node.push(leaf);
                        return Ok(());
                    }
                    let depth = 1 + frame.subtrees / TRICKLE_REPEAT;
                    if frame.max_depth == Some(depth) {
                        close(frames, options, sink)?;
                    } else {
                        frame.subtrees += 1;
                        frames.push(Frame::new(Some(depth)));
                    }
                }
            }
        }
        Ok(())
    }

    fn finish<E>(
        self,
        options: &Options,
        metadata: Metadata,
        sink: &mut impl FnMut(Block) -> Result<(), E>,
    ) -> Result<Root, E> {
        let top = match self {
            Self::Balanced(mut levels) => {
                let mut at = 0;
                while at + 1 < levels.len() {
                    let (block, part) = std::mem::take(&mut levels[at]).seal(options, Metadata::NONE);
                    sink(block)?;
                    at += 1;
                    push_at(&mut levels, at, part, options, sink)?;
                }
                levels.pop().unwrap_or_default()
            }
            Self::Trickle(mut frames) => {
                while frames.len() > 1 {
                    close(&mut frames, options, sink)?;
                }
                frames.pop().map(|frame| frame.node).unwrap_or_default()
            }
        };
        let (block, part) = top.seal(options, metadata);
        sink(block)?;
        Ok(Root { cid: part.link.cid, dag_size: part.link.size })
    }
}

/// Adds a part to a level of the balanced layout. A level that is full becomes a part one level up.
fn push_at<E>(
    levels: &mut Vec<Inner>,
    mut at: usize,
    mut part: Part,
    options: &Options,
    sink: &mut impl FnMut(Block) -> Result<(), E>,
) -> Result<(), E> {
    while let Some(level) = levels.get_mut(at).filter(|level| level.len() == options.max_file_links.get()) {
        let full = std::mem::take(level);
        level.push(part);
        let (block, sealed) = full.seal(options, Metadata::NONE);
        sink(block)?;
        part = sealed;
        at += 1;
    }
    if at == levels.len() {
        levels.push(Inner::default());
    }
    levels[at].push(part);
    Ok(())
}

/// Makes the last node, and links to it from the one before.
fn close<E>(
    frames: &mut Vec<Frame>,
    options: &Options,
    sink: &mut impl FnMut(Block) -> Result<(), E>,
) -> Result<(), E> {
    let Some(frame) = frames.pop() else { return Ok(()) };
    let (block, part) = frame.node.seal(options, Metadata::NONE);
    if let Some(parent) = frames.last_mut() {
        parent.node.push(part);
    }
    sink(block)
}
