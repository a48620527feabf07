//! CARs: the blocks of a path, and a part of the DAG at its end.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::io::Write;
use std::ops::Range;

use super::failure::Failure;
use super::request::Scope;
use super::source::{Found, Source};
use crate::ipld::read::{DirectoryReader, FileReader, ReadError, View, links};
use crate::ipld::{Block, Cid, Codec, car};
use crate::runtime::exchange::Part;

/// Links that wait to be followed, at most. Kubo's widest DAGs need some thousands.
const MAX_WAITING: usize = 1 << 14;

/// Checks that no more links wait than may.
pub(super) fn check_waiting(links: usize) -> Result<(), Failure> {
    if links > MAX_WAITING { Err(Failure::TooManyLinks { most: MAX_WAITING }) } else { Ok(()) }
}

/// A CAR to be written.
#[derive(Debug)]
pub(super) struct Car {
    pub(super) found: Found,
    pub(super) scope: Scope,
    /// Whether a block comes as often as it is linked to.
    pub(super) dups: bool,
}

impl Car {
    /// Checks beforehand what can be known at once.
    pub(super) fn check(&self, source: &mut Source) -> Result<(), Failure> {
        let block = source.get(&self.found.end)?;
        if self.scope == Scope::All {
            // Whether links can be found in it.
            drop(links(&self.found.end, block.bytes())?);
        }
        Ok(())
    }

    /// Writes it.
    pub(super) fn write(&self, source: &mut Source, out: &mut impl Write) -> Result<(), Failure> {
        out.write_all(&car::header(&[self.found.end]))?;
        source.want(&self.found.path, if self.scope == Scope::All { Part::All } else { Part::Entity });
        let mut blocks = Blocks { source, out, sent: (!self.dups).then(Sent::new) };
        for cid in &self.found.nodes {
            blocks.send(cid)?;
        }
        match self.scope {
            Scope::Block => blocks.send(&self.found.end).map(drop),
            Scope::All => blocks.all(self.found.end),
            Scope::Entity(bytes) => {
                let block = blocks.send(&self.found.end)?;
                if ![Codec::RAW, Codec::DAG_PB].contains(&self.found.end.codec()) {
                    return Ok(());
                }
                let part = match View::of(self.found.end, block.bytes())? {
                    View::File(file) => Some(bytes.map_or(0..file.size, |bytes| bytes.of(file.size))),
                    View::Shard { .. } => None,
                    View::Directory { .. } | View::Symlink { .. } => return Ok(()),
                };
                if let Some(range) = &part {
                    let part = Part::Bytes { from: range.start, to: range.end };
                    blocks.source.want(&self.found.path, part);
                }
                match part {
                    Some(range) => blocks.file(block, range),
                    None => blocks.shards(block),
                }
            }
        }
    }
}

/// Blocks that were sent, by a hash of their CIDs that no maker of blocks can foresee: 128 bits do not collide. There are
/// no more of them than are read.
struct Sent {
    keys: [RandomState; 2],
    known: HashSet<[u64; 2]>,
}

impl Sent {
    fn new() -> Self {
        Self { keys: [RandomState::new(), RandomState::new()], known: HashSet::new() }
    }

    fn key(&self, cid: &Cid) -> [u64; 2] {
        [self.keys[0].hash_one(cid), self.keys[1].hash_one(cid)]
    }

    fn contains(&self, cid: &Cid) -> bool {
        self.known.contains(&self.key(cid))
    }

    /// Whether it is new.
    fn insert(&mut self, cid: &Cid) -> bool {
        self.known.insert(self.key(cid))
    }
}

struct Blocks<'a, W> {
    source: &'a mut Source,
    out: &'a mut W,
    /// `None` if blocks are repeated.
    sent: Option<Sent>,
}

impl<W: Write> Blocks<'_, W> {
    /// Reads a block, and sends it unless it was sent before. What a CID holds itself is never sent.
    fn send(&mut self, cid: &Cid) -> Result<Block, Failure> {
        let block = self.source.get(cid)?;
        let is_new = self.sent.as_mut().is_none_or(|sent| sent.insert(cid));
        if is_new && cid.inline().is_none() {
            car::write_block(&mut self.out, cid, block.bytes())?;
        }
        Ok(block)
    }

    /// All that is below, depth first.
    fn all(&mut self, root: Cid) -> Result<(), Failure> {
        // Binary CIDs, which are smaller than others; the next one last.
        let mut waiting = vec![root.to_bytes().into_boxed_slice()];
        while let Some(bytes) = waiting.pop() {
            let Ok(cid) = Cid::from_bytes(&bytes) else { continue };
            if self.sent.as_ref().is_some_and(|sent| sent.contains(&cid)) {
                continue;
            }
            let block = self.send(&cid)?;
            let first = waiting.len();
            for link in links(&cid, block.bytes())? {
                check_waiting(waiting.len() + 1)?;
                waiting.push(link.cid.to_bytes().into_boxed_slice());
            }
            waiting[first..].reverse();
        }
        Ok(())
    }

    /// The blocks below a file's root that hold these bytes.
    fn file(&mut self, root: Block, range: Range<u64>) -> Result<(), Failure> {
        let mut reader = FileReader::new(*root.cid(), range);
        self.follow(root, |block| {
            reader.supply(block)?;
            Ok((reader.pending(), reader.wanted()))
        })
    }

    /// The nodes below a sharded directory's root.
    fn shards(&mut self, root: Block) -> Result<(), Failure> {
        let mut reader = DirectoryReader::new(*root.cid());
        self.follow(root, |block| {
            reader.supply(block)?;
            Ok((reader.pending(), reader.wanted()))
        })
    }

    /// Sends the blocks that a reader wants, which is given each and says how many links wait and which is next.
    fn follow(
        &mut self,
        root: Block,
        mut supply: impl FnMut(&[u8]) -> Result<(usize, Option<Cid>), ReadError>,
    ) -> Result<(), Failure> {
        let mut next = Some(root);
        while let Some(block) = next.take() {
            let (waiting, wanted) = supply(block.bytes())?;
            check_waiting(waiting)?;
            next = wanted.map(|cid| self.send(&cid)).transpose()?;
        }
        Ok(())
    }
}
