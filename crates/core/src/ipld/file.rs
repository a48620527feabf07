//! A file as blocks, in the layouts of Kubo: [`Layout::Balanced`] and [`Layout::Trickle`].
//!
//! Bytes come in any pieces. Leaves are hashed a few at a time, on all cores; their links wait in a node for each level
//! of the tree. So a file of any size takes the memory of [`BATCH_BYTES`] and of `depth × links` links.

use rayon::prelude::*;

use super::block::Block;
use super::cid::{Cid, Codec};
use super::dagpb::{self, Link};
use super::options::{Layout, Options};
use super::unixfs::{Data, Kind, Metadata};

/// Bytes of leaves that are hashed together: enough for some cores, at 256 KiB each.
const BATCH_BYTES: usize = 8 << 20;
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
    /// Whole chunks, and an unfinished one at the end.
    chunks: Vec<Vec<u8>>,
    /// Chunks hashed before.
    hashed: u64,
    tree: Tree,
}

impl FileBuilder {
    /// A file without bytes yet.
    pub fn new(options: &Options, metadata: Metadata) -> Self {
        let tree = match options.layout {
            Layout::Balanced => Tree::Balanced(Vec::new()),
            Layout::Trickle => Tree::Trickle(vec![Frame::new(None)]),
        };
        Self { options: *options, metadata, chunks: Vec::new(), hashed: 0, tree }
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// Those of `sink`, after which the builder is of no use.
    pub fn write<E>(&mut self, mut bytes: &[u8], sink: &mut impl FnMut(Block) -> Result<(), E>) -> Result<(), E> {
        let size = self.options.chunk_size.bytes();
        while !bytes.is_empty() {
            match self.chunks.last_mut() {
                Some(chunk) if chunk.len() < size => {
                    let (now, later) = bytes.split_at(bytes.len().min(size - chunk.len()));
                    chunk.extend(now);
                    bytes = later;
                }
                // A whole batch waits until it is known that it does not end the file.
                _ => {
                    if self.chunks.len() * size >= BATCH_BYTES {
                        self.hash_chunks(sink)?;
                    }
                    self.chunks.push(Vec::with_capacity(size.min(bytes.len())));
                }
            }
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Those of `sink`.
    pub fn finish<E>(mut self, sink: &mut impl FnMut(Block) -> Result<(), E>) -> Result<Root, E> {
        let is_single = self.hashed == 0 && self.chunks.len() <= 1 && self.options.layout == Layout::Balanced;
        if is_single {
            let chunk = self.chunks.pop().unwrap_or_default();
            let block = self.leaf(chunk, self.metadata);
            let root = Root::over(&block, &[]);
            sink(block)?;
            return Ok(root);
        }
        self.hash_chunks(sink)?;
        self.tree.finish(&self.options, self.metadata, sink)
    }

    fn leaf(&self, chunk: Vec<u8>, metadata: Metadata) -> Block {
        if self.options.raw_leaves && self.metadata.is_none() {
            return self.options.block(Codec::RAW, chunk);
        }
        let kind = match self.options.layout {
            Layout::Balanced => Kind::File,
            Layout::Trickle => Kind::Raw,
        };
        let data = Data { bytes: &chunk, file_size: Some(chunk.len() as u64), metadata, ..Data::new(kind) };
        self.options.block(Codec::DAG_PB, dagpb::encode(&[], &data.encode()))
    }

    fn hash_chunks<E>(&mut self, sink: &mut impl FnMut(Block) -> Result<(), E>) -> Result<(), E> {
        let chunks = std::mem::take(&mut self.chunks);
        self.hashed += chunks.len() as u64;
        let hash = |chunk: Vec<u8>| {
            let file_size = chunk.len() as u64;
            let block = self.leaf(chunk, Metadata::NONE);
            let link = Root::over(&block, &[]).named("");
            (block, Part { link, file_size })
        };
        let leaves: Vec<(Block, Part)> = chunks.into_par_iter().map(hash).collect();
        for (block, leaf) in leaves {
            sink(block)?;
            self.tree.push(leaf, &self.options, sink)?;
        }
        Ok(())
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
