//! Directories that are listed, and what is neither one nor a file.

use std::collections::BTreeMap;

use cairn::ipld::dagpb::Link;
use cairn::ipld::read::ReadError;
use cairn::ipld::{Block, Cid, DirectoryBuilder, DirectoryError, Metadata, Options, symlink};
use cairn::light::library::{FetchError, MAX_ENTRIES, PATIENCE, Whole};
use cairn::p2p::PeerId;

use super::{Manner, START, World, blocks};

/// A directory with so many entries, all of one file.
fn directory(blocks: &mut BTreeMap<Vec<u8>, Vec<u8>>, file: Cid, entries: usize) -> Cid {
    let mut directory = DirectoryBuilder::new();
    for n in 0..entries {
        directory.insert(Link { name: format!("file {n:05}").into_bytes(), cid: file, size: n as u64 }).unwrap();
    }
    let mut sink = |block: Block| {
        blocks.insert(block.cid().multihash(), block.into_bytes());
        Ok::<(), DirectoryError>(())
    };
    directory.finish(Metadata::NONE, &Options::default(), &mut sink).unwrap().cid
}

#[test]
fn directories_are_listed_whether_they_have_one_node_or_many() {
    let (mut blocks, file) = blocks(b"all the same");
    for entries in [0, 3, MAX_ENTRIES] {
        let root = directory(&mut blocks, file, entries);
        assert!(entries <= 3 || blocks.len() > 100, "it is sharded");
        let mut world = World::new(blocks.clone(), &[Manner::Lie, Manner::Honest]);
        world.library.fetch(START, &root.to_string()).unwrap();
        assert_eq!(world.run(PATIENCE), Some(Ok(Whole::Directory)));
        assert!(world.file.is_empty());
        assert!(world.faults.iter().all(|(peer, _)| *peer == PeerId(1)), "{:?}", world.faults);
        world.entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(world.entries.len(), entries);
        for (n, entry) in world.entries.iter().enumerate() {
            assert_eq!((&entry.name, entry.dag_size), (&format!("file {n:05}").into_bytes(), n as u64));
        }
        // What is below is fetched by its path.
        if entries > 0 {
            let mut world = World::new(blocks.clone(), &[Manner::Honest]);
            world.fetches(&format!("{root}/file 00002"), b"all the same");
        }
    }
}

#[test]
fn what_is_no_file_and_no_list_is_refused() {
    let (mut blocks, file) = blocks(b"all the same");
    let crowded = directory(&mut blocks, file, MAX_ENTRIES + 1);
    let mut link = None;
    let mut sink = |block: Block| {
        link = Some(*block.cid());
        blocks.insert(block.cid().multihash(), block.into_bytes());
        Ok::<(), ()>(())
    };
    symlink(b"elsewhere", Metadata::NONE, &Options::default(), &mut sink).unwrap();
    let link = link.unwrap();
    let mut world = World::new(blocks, &[Manner::Honest]);
    world.library.fetch(START, &crowded.to_string()).unwrap();
    assert_eq!(world.run(PATIENCE), Some(Err(FetchError::Crowded)));
    assert!(world.entries.len() <= MAX_ENTRIES);
    world.library.fetch(world.now, &link.to_string()).unwrap();
    assert!(matches!(world.run(PATIENCE), Some(Err(FetchError::Read(ReadError::Kind { .. })))));
}
