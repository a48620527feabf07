//! Blocks for one answer: a bounded number of them, read and checked in turns with other answers, and fetched from peers if
//! they are not here and that is allowed.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedSemaphorePermit;

use super::failure::Failure;
use super::fetch::Fetching;
use super::request::ContentPath;
use crate::content::{ContentError, ContentReader};
use crate::ipld::read::PathReader;
use crate::ipld::{Block, Cid};
use crate::runtime::exchange::{Part, Wanted};

/// Blocks that are read for one answer, at most: 16 GiB of Kubo's usual pieces. A longer file can be read in parts.
const MAX_BLOCKS: u64 = 1 << 16;

/// Blocks of the store, for one answer.
pub(super) struct Source {
    reader: ContentReader,
    /// Held by the answer that is reading a block: strangers keep one core at most busy with hashing.
    turn: Arc<Mutex<()>>,
    left: u64,
    fetching: Option<Fetching>,
    /// Held from the first fetch on.
    place: Option<OwnedSemaphorePermit>,
    /// What to fetch if a block is not here.
    wanted: Option<Wanted>,
}

/// Where a path leads.
#[derive(Debug, Clone)]
pub(super) struct Found {
    /// The path.
    pub(super) path: ContentPath,
    /// The root, and what each name leads to.
    pub(super) roots: Vec<Cid>,
    /// The last of them.
    pub(super) end: Cid,
    /// The nodes of directories on the way, in order.
    pub(super) nodes: Vec<Cid>,
}

impl Source {
    /// Of the store, and of peers if there is `fetching`.
    pub(super) fn new(reader: ContentReader, turn: Arc<Mutex<()>>, fetching: Option<Fetching>) -> Self {
        Self { reader, turn, left: MAX_BLOCKS, fetching, place: None, wanted: None }
    }

    /// A block, checked. If it is not here, what the answer needs next is fetched.
    pub(super) fn get(&mut self, cid: &Cid) -> Result<Block, Failure> {
        self.left = self.left.checked_sub(1).ok_or(Failure::TooManyBlocks { most: MAX_BLOCKS })?;
        match self.read(cid) {
            Err(Failure::Content(ContentError::Missing { .. } | ContentError::Damaged { .. }))
                if self.fetch(cid)? =>
            {
                self.read(cid)
            }
            read => read,
        }
    }

    fn read(&self, cid: &Cid) -> Result<Block, Failure> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(self.reader.get(cid)?)
    }

    /// Fetches what is wanted, until a block is here or the fetch has ended. `false` if nothing is to be fetched.
    fn fetch(&mut self, cid: &Cid) -> Result<bool, Failure> {
        let Some((fetching, wanted)) = self.fetching.clone().zip(self.wanted.take()) else { return Ok(false) };
        if self.place.is_none() {
            self.place = Some(fetching.place()?);
        }
        // The rest is asked for again when it is needed.
        if fetching.fetch(&wanted, || Ok(self.read(cid).is_ok()))? {
            self.wanted = Some(wanted);
        }
        Ok(true)
    }

    /// From now on, this part of what is at the end of the path that was followed last is fetched if a block is not here.
    pub(super) fn want(&mut self, path: &ContentPath, part: Part) {
        if self.fetching.is_some() {
            self.wanted = Some(Wanted { root: path.root, path: path.names.join(&b'/'), part });
        }
    }

    /// Whether a block is here, without reading it.
    pub(super) fn has(&self, cid: &Cid) -> Result<bool, Failure> {
        Ok(self.reader.size(cid)?.is_some())
    }

    /// Follows a path. The block at its end need not be here.
    pub(super) fn follow(&mut self, path: &ContentPath) -> Result<Found, Failure> {
        self.want(path, Part::Block);
        let mut found = Found { path: path.clone(), roots: vec![path.root], end: path.root, nodes: Vec::new() };
        for name in &path.names {
            let mut reader = PathReader::new(found.end, name);
            while let Some(cid) = reader.wanted().map_err(ContentError::Read)? {
                reader.supply(self.get(&cid)?.bytes()).map_err(ContentError::Read)?;
                found.nodes.push(cid);
            }
            found.end = reader.found();
            found.roots.push(found.end);
        }
        Ok(found)
    }
}
