//! Puts a file together from its blocks: names those that come next, and hands the file's bytes out in order. Or lists a
//! directory in the same way.

use std::collections::{BTreeMap, BTreeSet};

use super::{FetchError, Whole};
use crate::ipld::read::{DirectoryReader, Entry, FileReader, PathReader, ReadError, View};
use crate::ipld::{Cid, MAX_BLOCK_BYTES};

/// Links that it looks ahead.
pub(super) const AHEAD: usize = 16;
/// Bytes of blocks that came before their turn, at most: those of the next links have room in any case.
const MAX_HELD_BYTES: usize = AHEAD * MAX_BLOCK_BYTES;
/// Bytes of a file, at most: the page keeps them all.
pub const MAX_FILE_BYTES: u64 = 256 << 20;
/// Entries of a directory, at most: the page shows them all.
pub const MAX_ENTRIES: usize = 10_000;
/// Blocks that are read in one step, their bytes, and bytes that are handed out together. A file of one byte a block
/// takes long, and the page does other things between.
const STEP_BLOCKS: usize = 256;
const STEP_READ_BYTES: u64 = 4 << 20;
const STEP_BYTES: usize = 1 << 20;
/// Bytes of blocks that may be read for a file: so many for each of its own, and besides. Blocks of 16 bytes stay below
/// that, and nodes with links to nothing do not.
const MAX_READ_FACTOR: u64 = 16;
const MAX_READ_BESIDES: u64 = 64 << 20;

enum Reader {
    Path {
        way: Box<PathReader>,
        /// The block that it needs next.
        next: Cid,
    },
    /// A file, unless its root turns out to be a directory's.
    File(FileReader),
    Directory {
        reader: DirectoryReader,
        /// Entries that were handed out.
        listed: usize,
    },
}

impl Reader {
    /// Of what is at the end of a path, where the file begins.
    fn along(way: Box<PathReader>) -> Result<Self, ReadError> {
        Ok(match way.wanted()? {
            Some(next) => Self::Path { way, next },
            None => Self::of_file(&way),
        })
    }

    fn of_file(way: &PathReader) -> Self {
        Self::File(FileReader::new(way.found(), 0..u64::MAX))
    }
}

/// What a step brought.
pub(super) enum Step {
    /// The file's next bytes.
    Piece(Vec<u8>),
    /// The directory's next entries.
    Entries(Vec<Entry>),
    /// Nothing yet, but it can go on.
    More,
    /// A block has to come first.
    Waits,
    /// There is no more.
    Ended(Whole),
}

/// A file under way.
pub(super) struct Assembly {
    reader: Reader,
    /// Blocks that came before their turn, by multihash.
    held: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Bytes that come next and are not handed out yet.
    piece: Vec<u8>,
    /// Bytes of the file before the end of `piece`.
    read: u64,
    /// Bytes of blocks that were read for them.
    blocks_read: u64,
}

impl Assembly {
    /// Of the file at the end of `path` below `root`.
    ///
    /// # Errors
    /// [`FetchError::Read`] if a block of this codec has no path below it.
    pub(super) fn new(root: Cid, path: &[u8]) -> Result<Self, FetchError> {
        let reader = Reader::along(PathReader::new(root, path).into())?;
        Ok(Self { reader, held: BTreeMap::new(), piece: Vec::new(), read: 0, blocks_read: 0 })
    }

    /// The blocks that come next, in their order.
    fn upcoming(&self) -> impl Iterator<Item = Cid> {
        let (next, parts, shards) = match &self.reader {
            Reader::Path { next, .. } => (Some(*next), None, None),
            Reader::File(file) => (None, Some(file.upcoming()), None),
            Reader::Directory { reader, .. } => (None, None, Some(reader.upcoming())),
        };
        let then = parts.into_iter().flatten().chain(shards.into_iter().flatten());
        next.into_iter().chain(then).take(AHEAD)
    }

    /// Those of them that are not here.
    pub(super) fn wanted(&self) -> Vec<Cid> {
        let is_wanted = |cid: &Cid| cid.inline().is_none() && !self.held.contains_key(&cid.multihash());
        self.upcoming().filter(is_wanted).collect()
    }

    /// Takes a block that was checked.
    pub(super) fn hold(&mut self, hash: Vec<u8>, bytes: Vec<u8>) {
        self.held.insert(hash, bytes);
        if self.held_bytes() > MAX_HELD_BYTES {
            // Links of a node that was read since now come before the others, which are asked for again in their turn.
            let upcoming: BTreeSet<Vec<u8>> = self.upcoming().map(|cid| cid.multihash()).collect();
            self.held.retain(|hash, _| upcoming.contains(hash));
        }
    }

    fn held_bytes(&self) -> usize {
        self.held.values().map(Vec::len).sum()
    }

    /// Bytes of the file that were read, and how many it has, once that is known.
    pub(super) fn progress(&self) -> (u64, Option<u64>) {
        let size = match &self.reader {
            Reader::Path { .. } | Reader::Directory { .. } => None,
            Reader::File(file) => file.size(),
        };
        (self.read, size)
    }

    /// Goes on as far as one step and the blocks that are here allow.
    ///
    /// # Errors
    /// [`FetchError`], after which it is of no use.
    pub(super) fn advance(&mut self) -> Result<Step, FetchError> {
        let before = self.blocks_read;
        for _ in 0..STEP_BLOCKS {
            let Some(cid) = self.upcoming().next() else {
                return Ok(match (&self.reader, self.piece.is_empty()) {
                    (Reader::Directory { .. }, _) => Step::Ended(Whole::Directory),
                    (_, true) => Step::Ended(Whole::File),
                    (_, false) => Step::Piece(std::mem::take(&mut self.piece)),
                });
            };
            let hash = cid.multihash();
            let inline = cid.inline().map(<[u8]>::to_vec);
            let Some(block) = inline.or_else(|| self.held.remove(&hash)) else { return Ok(Step::Waits) };
            self.blocks_read += block.len() as u64;
            let size = self.progress().1.unwrap_or(0);
            let most = MAX_READ_FACTOR.saturating_mul(size).saturating_add(MAX_READ_BESIDES);
            if self.blocks_read > most {
                let is_list = matches!(self.reader, Reader::Directory { .. });
                return Err(if is_list { FetchError::Crowded } else { FetchError::Bloated { size, most } });
            }
            let mut entries = Vec::new();
            match &mut self.reader {
                Reader::Path { way, next } => {
                    way.supply(&block)?;
                    match way.wanted()? {
                        Some(wanted) => *next = wanted,
                        None => self.reader = Reader::of_file(way),
                    }
                }
                Reader::File(file) => match View::of(cid, &block)? {
                    view @ (View::Directory { .. } | View::Shard { .. }) if file.size().is_none() => {
                        let mut reader = DirectoryReader::new(cid);
                        entries = reader.take(view)?;
                        self.reader = Reader::Directory { reader, listed: entries.len() };
                    }
                    view => {
                        let bytes = file.take(view)?;
                        if let Some(size) = file.size().filter(|size| *size > MAX_FILE_BYTES) {
                            return Err(FetchError::TooLarge { size });
                        }
                        self.piece.extend(bytes);
                        self.read += bytes.len() as u64;
                    }
                },
                Reader::Directory { reader, listed } => {
                    entries = reader.supply(&block)?;
                    *listed += entries.len();
                }
            }
            if matches!(self.reader, Reader::Directory { listed, .. } if listed > MAX_ENTRIES) {
                return Err(FetchError::Crowded);
            }
            // The same bytes may come again soon.
            if self.upcoming().any(|next| next.multihash() == hash) {
                self.held.insert(hash, block);
            }
            if !entries.is_empty() {
                return Ok(Step::Entries(entries));
            }
            if self.piece.len() >= STEP_BYTES {
                return Ok(Step::Piece(std::mem::take(&mut self.piece)));
            }
            if self.blocks_read - before >= STEP_READ_BYTES {
                break;
            }
        }
        Ok(Step::More)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipld::dagpb::{self, Link};
    use crate::ipld::{Codec, Data, HashFunction, Kind};

    /// Each node's first block comes last: its siblings wait, and then the node's own parts come before them.
    #[test]
    fn blocks_that_wait_have_a_bound() {
        const LEAF: usize = 1 << 20;
        let (mut blocks, mut file) = (BTreeMap::new(), Vec::<u8>::new());
        let mut add = |codec, bytes: Vec<u8>| {
            let cid = Cid::v1(codec, HashFunction::Sha2_256, &bytes).unwrap();
            blocks.insert(cid.multihash(), bytes);
            cid
        };
        let (mut first, mut size) = (add(Codec::RAW, b"first".to_vec()), 5);
        file.extend(b"first");
        for level in 0..4_u8 {
            let leaves = (1..AHEAD as u8).map(|i| vec![level * AHEAD as u8 + i; LEAF]);
            let mut parts = vec![(first, size)];
            for leaf in leaves {
                file.extend(&leaf);
                parts.push((add(Codec::RAW, leaf), LEAF as u64));
            }
            let links: Vec<Link> =
                parts.iter().map(|(cid, size)| Link { name: Vec::new(), cid: *cid, size: *size }).collect();
            let sizes: Vec<u64> = parts.iter().map(|(_, size)| *size).collect();
            size = sizes.iter().sum();
            let data = Data { file_size: Some(size), block_sizes: sizes, ..Data::new(Kind::File) };
            first = add(Codec::DAG_PB, dagpb::encode(&links, &data.encode()));
        }

        let (mut assembly, mut read, mut most) = (Assembly::new(first, b"").unwrap(), Vec::new(), 0);
        loop {
            match assembly.advance().unwrap() {
                Step::Piece(piece) => read.extend(piece),
                Step::More => {}
                Step::Ended(whole) => {
                    assert_eq!(whole, Whole::File);
                    break;
                }
                Step::Entries(entries) => panic!("{entries:?}"),
                Step::Waits => {
                    for cid in assembly.wanted().into_iter().rev() {
                        let hash = cid.multihash();
                        let block = blocks[&hash].clone();
                        assembly.hold(hash, block);
                        most = most.max(assembly.held_bytes());
                    }
                }
            }
        }
        assert!(read == file, "{} bytes of {}", read.len(), file.len());
        // So it did come to the bound.
        assert!((MAX_HELD_BYTES - LEAF..=MAX_HELD_BYTES).contains(&most), "{most} bytes");
    }
}
