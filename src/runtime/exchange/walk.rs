//! Which blocks of a DAG a fetch needs: all, or those that a part of a file or the names in a directory take.
//!
//! Whole parts are walked through as a DAG, each block once. At both edges of a range of bytes there is one node a level
//! that is wanted in part, so what is held is bounded by [`MAX_DEPTH`] and the links of one block a level.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use crate::ipld::Cid;
use crate::ipld::read::{DagReader, FileNode, MAX_DEPTH, ReadError, View};

/// What is fetched of what is at the end of a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// All blocks below it.
    All,
    /// A whole file, or the nodes of a directory without what its entries name.
    Entity,
    /// The blocks of a file that hold these bytes; of a directory as [`Part::Entity`].
    Bytes {
        /// The first byte.
        from: u64,
        /// The byte after the last.
        to: u64,
    },
    /// Its block alone.
    Block,
}

/// What a block is wanted for.
#[derive(Debug, Clone)]
enum Role {
    /// The end of the path.
    End,
    /// A node of a file, only partly wanted: where it begins, and the size that its parent names.
    Edge { offset: u64, size: Option<u64>, depth: usize },
    /// A node of a sharded directory.
    Shard { depth: usize },
}

/// Names the blocks that are wanted, and takes them in any order.
#[derive(Debug)]
pub(super) struct Walk {
    part: Part,
    /// The next one comes last.
    special: Vec<(Cid, Role)>,
    /// Those of them that were named.
    named: HashMap<Cid, Vec<Role>>,
    shards: BTreeSet<Cid>,
    dag: DagReader,
}

impl Walk {
    /// Of what is at `end`.
    pub(super) fn new(end: Cid, part: Part) -> Self {
        let (special, roots) = match part {
            Part::All => (Vec::new(), Some(end)),
            _ => (vec![(end, Role::End)], None),
        };
        Self { part, special, named: HashMap::new(), shards: BTreeSet::new(), dag: DagReader::new(roots) }
    }

    /// The next block; `None` if there is none before others are supplied. Give its bytes to [`Walk::supply`]: whenever they come, the
    /// next is the first one that is known in the order of links, for who reads does so in that order.
    pub(super) fn next_block(&mut self) -> Option<Cid> {
        let Some((cid, role)) = self.special.pop() else { return self.dag.next_ahead() };
        self.named.entry(cid).or_default().push(role);
        Some(cid)
    }

    /// Links that wait to be followed.
    pub(super) fn waiting(&self) -> usize {
        self.special.len() + self.dag.waiting()
    }

    /// Takes the bytes of a block that was named.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn supply(&mut self, cid: &Cid, block: &[u8]) -> Result<(), ReadError> {
        let Some(role) = self.take_role(cid) else { return self.dag.supply(cid, block) };
        if self.part == Part::Block {
            return Ok(());
        }
        let view = match View::of(*cid, block) {
            // What it links to is not known, and not a part of it.
            Err(ReadError::Codec { .. }) => return Ok(()),
            view => view?,
        };
        match (role, view) {
            (Role::End, View::File(node)) => self.follow_file(*cid, &node, 0, 0),
            (Role::End, View::Shard { node, fanout, .. }) => {
                self.follow_shards(*cid, node.links().map(|link| (link.name.len(), link.cid)), fanout.digits(), 0)
            }
            (Role::End, View::Directory { .. } | View::Symlink { .. }) => Ok(()),
            (Role::Edge { size: Some(expected), .. }, View::File(node)) if expected != node.size => {
                Err(ReadError::PartSize { cid: (*cid).into(), expected, got: node.size })
            }
            (Role::Edge { offset, depth, .. }, View::File(node)) => self.follow_file(*cid, &node, offset, depth),
            (Role::Shard { depth }, View::Shard { node, fanout, .. }) => {
                self.follow_shards(*cid, node.links().map(|link| (link.name.len(), link.cid)), fanout.digits(), depth)
            }
            (Role::Edge { .. }, other) => {
                Err(ReadError::Kind { cid: (*cid).into(), got: other.kind(), expected: "a file" })
            }
            (Role::Shard { .. }, _) => Err(ReadError::Shard { cid: (*cid).into() }),
        }
    }

    fn take_role(&mut self, cid: &Cid) -> Option<Role> {
        let roles = self.named.get_mut(cid)?;
        let role = roles.pop();
        if roles.is_empty() {
            self.named.remove(cid);
        }
        role
    }

    fn wanted_bytes(&self) -> Range<u64> {
        match self.part {
            Part::Bytes { from, to } => from..to,
            Part::All | Part::Entity | Part::Block => 0..u64::MAX,
        }
    }

    fn follow_file(&mut self, cid: Cid, node: &FileNode, offset: u64, depth: usize) -> Result<(), ReadError> {
        let wanted = self.wanted_bytes();
        if depth == MAX_DEPTH {
            return Err(ReadError::TooDeep { cid: cid.into() });
        }
        let (mut at, mut whole) = (offset.saturating_add(node.bytes.len() as u64), Vec::new());
        for (part, size) in node.parts() {
            let end = at.saturating_add(size);
            // As a file's reader does, without what holds nothing.
            if size > 0 && at < wanted.end && end > wanted.start {
                if wanted.start <= at && end <= wanted.end {
                    whole.push(part);
                } else {
                    self.special.push((part, Role::Edge { offset: at, size: Some(size), depth: depth + 1 }));
                }
            }
            at = end;
        }
        whole.into_iter().rev().for_each(|part| self.dag.add(part));
        Ok(())
    }

    fn follow_shards(
        &mut self,
        cid: Cid,
        links: impl Iterator<Item = (usize, Cid)>,
        digits: usize,
        depth: usize,
    ) -> Result<(), ReadError> {
        // 64 bits of hash, at least one at each level.
        if depth == u64::BITS as usize {
            return Err(ReadError::TooDeep { cid: cid.into() });
        }
        for (_, below) in links.filter(|(name, _)| *name == digits) {
            // The names in two shards differ in their hashes, so no shard stands in two places.
            if !self.shards.insert(below) {
                return Err(ReadError::Shard { cid: cid.into() });
            }
            self.special.push((below, Role::Shard { depth: depth + 1 }));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::RngExt;
    use rand_chacha::ChaCha20Rng;
    use rand_chacha::rand_core::SeedableRng;

    use super::*;
    use crate::content::ContentError;
    use crate::ipld::read::{DirectoryReader, FileReader};
    use crate::ipld::{Block, Choices, ChunkSize, DirectoryBuilder, FileBuilder, MaxFileLinks, Metadata, Options};

    fn options() -> Options {
        let chunk_size = Some(ChunkSize::new(100).unwrap());
        Choices { chunk_size, max_file_links: Some(MaxFileLinks::new(3).unwrap()), ..Choices::default() }
            .options()
            .unwrap()
    }

    fn file(bytes: &[u8], blocks: &mut BTreeMap<Cid, Vec<u8>>) -> Cid {
        let mut builder = FileBuilder::new(&options(), Metadata::NONE);
        let mut sink = |block: Block| {
            blocks.insert(*block.cid(), block.into_bytes());
            Ok::<(), ContentError>(())
        };
        builder.write(bytes, &mut sink).unwrap();
        builder.finish(&mut sink).unwrap().cid
    }

    /// The blocks that are wanted, each once; the last that is named is supplied first.
    fn walked(end: Cid, part: Part, blocks: &BTreeMap<Cid, Vec<u8>>) -> BTreeSet<Cid> {
        let (mut walk, mut named, mut wanted) = (Walk::new(end, part), Vec::new(), BTreeSet::new());
        loop {
            named.extend(std::iter::from_fn(|| walk.next_block()));
            let Some(cid) = named.pop() else { return wanted };
            wanted.insert(cid);
            walk.supply(&cid, &blocks[&cid]).unwrap();
        }
    }

    #[test]
    fn a_range_takes_the_blocks_that_its_reader_takes() {
        let mut blocks = BTreeMap::new();
        let bytes: Vec<u8> = (0..4_321u32).flat_map(|n| n.to_le_bytes()).take(4_321).collect();
        let root = file(&bytes, &mut blocks);
        for (from, to) in
            [(0, 1), (0, 100), (99, 101), (100, 200), (950, 3_210), (4_320, u64::MAX), (0, u64::MAX), (9_999, 10_000)]
        {
            let mut reader = FileReader::new(root, from..to);
            let mut read = BTreeSet::new();
            while let Some(cid) = reader.wanted() {
                read.insert(cid);
                reader.supply(&blocks[&cid]).unwrap();
            }
            assert_eq!(walked(root, Part::Bytes { from, to }, &blocks), read, "{from}..{to}");
        }
        assert_eq!(walked(root, Part::Entity, &blocks).len(), blocks.len());
        assert_eq!(walked(root, Part::Block, &blocks), [root].into());
    }

    /// The first block in the order of links that is not named, of those below blocks that are supplied.
    fn first(
        cid: Cid,
        (named, supplied): (&BTreeSet<Cid>, &BTreeSet<Cid>),
        blocks: &BTreeMap<Cid, Vec<u8>>,
    ) -> Option<Cid> {
        if !named.contains(&cid) {
            return Some(cid);
        }
        if !supplied.contains(&cid) {
            return None;
        }
        let View::File(node) = View::of(cid, &blocks[&cid]).unwrap() else { return None };
        let parts: Vec<Cid> = node.parts().map(|(part, _)| part).collect();
        parts.into_iter().find_map(|part| first(part, (named, supplied), blocks))
    }

    #[test]
    fn blocks_are_named_in_the_order_of_the_file_however_they_come() {
        let mut blocks = BTreeMap::new();
        // Some parts are in it several times.
        let bytes: Vec<u8> = (0..8_000u32).flat_map(|n| (n / 25 % 61).to_le_bytes()).collect();
        let root = file(&bytes, &mut blocks);
        for (part, seed) in
            [(Part::All, 1u64), (Part::All, 2), (Part::Entity, 3), (Part::Bytes { from: 0, to: 1 << 20 }, 4)]
        {
            let mut rng = ChaCha20Rng::seed_from_u64(seed);
            let (mut walk, mut open) = (Walk::new(root, part), Vec::new());
            let (mut named, mut supplied) = (BTreeSet::new(), BTreeSet::new());
            loop {
                while open.len() < 7 {
                    let next = walk.next_block();
                    assert_eq!(next, first(root, (&named, &supplied), &blocks));
                    let Some(cid) = next else { break };
                    assert!(named.insert(cid));
                    open.push(cid);
                }
                if open.is_empty() {
                    break;
                }
                let cid = open.swap_remove(rng.random_range(0..open.len()));
                walk.supply(&cid, &blocks[&cid]).unwrap();
                supplied.insert(cid);
            }
            assert_eq!(supplied, blocks.keys().copied().collect());
        }
    }

    #[test]
    fn a_directory_takes_its_nodes_without_what_they_name() {
        let mut blocks = BTreeMap::new();
        let root_of = |count: u32, blocks: &mut BTreeMap<Cid, Vec<u8>>| {
            let mut builder = DirectoryBuilder::new();
            let mut sink = |block: Block| {
                blocks.insert(*block.cid(), block.into_bytes());
                Ok::<(), ContentError>(())
            };
            for n in 0..count {
                let mut file = FileBuilder::new(&options(), Metadata::NONE);
                file.write(b"same", &mut sink).unwrap();
                let name = format!("{n}{}", "-".repeat(200)).into_bytes();
                builder.insert(file.finish(&mut sink).unwrap().named(name)).unwrap();
            }
            builder.finish(Metadata::NONE, &options(), &mut sink).unwrap().cid
        };
        for count in [2, 2_000] {
            let root = root_of(count, &mut blocks);
            let mut reader = DirectoryReader::new(root);
            let mut read = BTreeSet::new();
            while let Some(cid) = reader.wanted() {
                read.insert(cid);
                reader.supply(&blocks[&cid]).unwrap();
            }
            assert_eq!(read.len() > 1, count > 2, "the larger one is sharded");
            for part in [Part::Entity, Part::Bytes { from: 5, to: 6 }] {
                assert_eq!(walked(root, part, &blocks), read);
            }
        }
    }
}
