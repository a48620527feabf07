//! Puts a file together from its blocks: names those that come next, and hands the file's bytes out in order.

use std::collections::BTreeMap;

use super::FetchError;
use crate::ipld::Cid;
use crate::ipld::read::{FileReader, PathReader, ReadError};

/// Links that it looks ahead. So many blocks of 2 MiB are held at most, for one that comes before its turn waits.
pub(super) const AHEAD: usize = 16;
/// Bytes of a file, at most: the page keeps them all.
pub const MAX_FILE_BYTES: u64 = 256 << 20;
/// Blocks that are read in one step, and bytes that are handed out together. A file of one byte a block takes long, and
/// the page does other things between.
const STEP_BLOCKS: usize = 256;
const STEP_BYTES: usize = 1 << 20;

enum Reader {
    Path {
        way: Box<PathReader>,
        /// The block that it needs next.
        next: Cid,
    },
    File(FileReader),
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
    /// Nothing yet, but it can go on.
    More,
    /// A block has to come first.
    Waits,
    /// The file is whole.
    Ended,
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
}

impl Assembly {
    /// Of the file at the end of `path` below `root`.
    ///
    /// # Errors
    /// [`FetchError::Read`] if a block of this codec has no path below it.
    pub(super) fn new(root: Cid, path: &[u8]) -> Result<Self, FetchError> {
        let reader = Reader::along(PathReader::new(root, path).into())?;
        Ok(Self { reader, held: BTreeMap::new(), piece: Vec::new(), read: 0 })
    }

    /// The blocks that come next, in their order.
    fn upcoming(&self) -> impl Iterator<Item = Cid> {
        let (next, then) = match &self.reader {
            Reader::Path { next, .. } => (Some(*next), None),
            Reader::File(file) => (None, Some(file.upcoming())),
        };
        next.into_iter().chain(then.into_iter().flatten()).take(AHEAD)
    }

    /// Those of them that are not here.
    pub(super) fn wanted(&self) -> Vec<Cid> {
        let is_wanted = |cid: &Cid| cid.inline().is_none() && !self.held.contains_key(&cid.multihash());
        self.upcoming().filter(is_wanted).collect()
    }

    /// Takes a block that was checked.
    pub(super) fn hold(&mut self, hash: Vec<u8>, bytes: Vec<u8>) {
        self.held.insert(hash, bytes);
    }

    /// Bytes of the file that were read, and how many it has, once that is known.
    pub(super) fn progress(&self) -> (u64, Option<u64>) {
        let size = match &self.reader {
            Reader::Path { .. } => None,
            Reader::File(file) => file.size(),
        };
        (self.read, size)
    }

    /// Goes on as far as one step and the blocks that are here allow.
    ///
    /// # Errors
    /// [`FetchError`], after which it is of no use.
    pub(super) fn advance(&mut self) -> Result<Step, FetchError> {
        for _ in 0..STEP_BLOCKS {
            let Some(cid) = self.upcoming().next() else {
                let is_empty = self.piece.is_empty();
                return Ok(if is_empty { Step::Ended } else { Step::Piece(std::mem::take(&mut self.piece)) });
            };
            let hash = cid.multihash();
            let inline = cid.inline().map(<[u8]>::to_vec);
            let Some(block) = inline.or_else(|| self.held.remove(&hash)) else { return Ok(Step::Waits) };
            match &mut self.reader {
                Reader::Path { way, next } => {
                    way.supply(&block)?;
                    match way.wanted()? {
                        Some(wanted) => *next = wanted,
                        None => self.reader = Reader::of_file(way),
                    }
                }
                Reader::File(file) => {
                    let bytes = file.supply(&block)?;
                    if let Some(size) = file.size().filter(|size| *size > MAX_FILE_BYTES) {
                        return Err(FetchError::TooLarge { size });
                    }
                    self.piece.extend(bytes);
                    self.read += bytes.len() as u64;
                }
            }
            // The same bytes may come again soon.
            if self.upcoming().any(|next| next.multihash() == hash) {
                self.held.insert(hash, block);
            }
            if self.piece.len() >= STEP_BYTES {
                return Ok(Step::Piece(std::mem::take(&mut self.piece)));
            }
        }
        Ok(Step::More)
    }
}
