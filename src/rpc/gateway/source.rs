//! Blocks for one answer: a bounded number of them, read and checked in turns with other answers.

use std::sync::{Arc, Mutex, PoisonError};

use super::failure::Failure;
use super::request::ContentPath;
use crate::content::{ContentError, ContentReader};
use crate::ipld::read::PathReader;
use crate::ipld::{Block, Cid};

/// Blocks that are read for one answer, at most: 16 GiB of Kubo's usual pieces. A longer file can be read in parts.
const MAX_BLOCKS: u64 = 1 << 16;

/// Blocks of the store, for one answer.
pub(super) struct Source {
    reader: ContentReader,
    /// Held by the answer that is reading a block: strangers keep one core at most busy with hashing.
    turn: Arc<Mutex<()>>,
    left: u64,
}

/// Where a path leads.
#[derive(Debug)]
pub(super) struct Found {
    /// The root, and what each name leads to.
    pub(super) roots: Vec<Cid>,
    /// The last of them.
    pub(super) end: Cid,
    /// The nodes of directories on the way, in order.
    pub(super) nodes: Vec<Cid>,
}

impl Source {
    pub(super) fn new(reader: ContentReader, turn: Arc<Mutex<()>>) -> Self {
        Self { reader, turn, left: MAX_BLOCKS }
    }

    /// A block, checked.
    pub(super) fn get(&mut self, cid: &Cid) -> Result<Block, Failure> {
        self.left = self.left.checked_sub(1).ok_or(Failure::TooManyBlocks { most: MAX_BLOCKS })?;
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.reader.get(cid)?)
    }

    /// Whether a block is here, without reading it.
    pub(super) fn has(&self, cid: &Cid) -> Result<bool, Failure> {
        Ok(self.reader.size(cid)?.is_some())
    }

    /// Follows a path. The block at its end need not be here.
    pub(super) fn follow(&mut self, path: &ContentPath) -> Result<Found, Failure> {
        let mut found = Found { roots: vec![path.root], end: path.root, nodes: Vec::new() };
        for name in &path.names {
            let mut reader = PathReader::new(found.end, name);
            while let Some(cid) = reader.wanted() {
                reader.supply(self.get(&cid)?.bytes()).map_err(ContentError::Read)?;
                found.nodes.push(cid);
            }
            found.end = reader.found();
            found.roots.push(found.end);
        }
        Ok(found)
    }
}
