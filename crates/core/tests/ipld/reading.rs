//! What is built can be read: files by ranges, directories by listing and by path, DAGs as CARs.

use std::collections::BTreeMap;

use cairn_core::ipld::car::{self, CarError, CarReader};
use cairn_core::ipld::read::{DagReader, DirectoryReader, FileReader, PathReader, ReadError};
use cairn_core::ipld::{
    BATCH_BYTES, Block, Choices, ChunkSize, Cid, DirectoryBuilder, DirectoryError, Fanout, FileBuilder, InlineLimit,
    Layout, MaxFileLinks, Metadata, Mode, Options, Root,
};
use proptest::prelude::*;

/// Blocks by their CIDs.
#[derive(Default)]
pub struct Blocks(pub BTreeMap<Cid, Vec<u8>>);

impl Blocks {
    pub fn get<'a>(&'a self, cid: &'a Cid) -> &'a [u8] {
        cid.inline().unwrap_or_else(|| &self.0[cid])
    }

    fn put(&mut self, block: Block) -> Result<(), DirectoryError> {
        self.0.insert(*block.cid(), block.into_bytes());
        Ok(())
    }

    pub fn add_file(&mut self, bytes: &[u8], options: &Options) -> Root {
        let mut builder = FileBuilder::new(options, Metadata::NONE);
        builder.write(bytes, &mut |block| self.put(block)).unwrap();
        builder.finish(&mut |block| self.put(block)).unwrap()
    }

    pub fn add_directory(&mut self, names: impl Iterator<Item = String>, options: &Options) -> Root {
        let mut builder = DirectoryBuilder::new();
        for name in names {
            let file = self.add_file(name.as_bytes(), options);
            builder.insert(file.named(name)).unwrap();
        }
        builder.finish(Metadata::NONE, options, &mut |block| self.put(block)).unwrap()
    }

    /// Bytes of a range, and the number of blocks that were read.
    pub fn read(&self, root: Cid, range: std::ops::Range<u64>) -> Result<(Vec<u8>, usize), ReadError> {
        let mut reader = FileReader::new(root, range);
        let (mut bytes, mut count) = (Vec::new(), 0);
        while let Some(cid) = reader.wanted() {
            bytes.extend(reader.supply(self.get(&cid))?);
            count += 1;
        }
        Ok((bytes, count))
    }

    /// Names with what they lead to.
    pub fn list(&self, root: Cid) -> Result<BTreeMap<String, Cid>, ReadError> {
        let mut reader = DirectoryReader::new(root);
        let mut entries = BTreeMap::new();
        while let Some(cid) = reader.wanted() {
            for entry in reader.supply(self.get(&cid))? {
                assert_eq!(entries.insert(String::from_utf8(entry.name).unwrap(), entry.cid), None);
            }
        }
        Ok(entries)
    }

    pub fn find(&self, root: Cid, path: &str) -> Result<Cid, ReadError> {
        let mut reader = PathReader::new(root, path.as_bytes());
        while let Some(cid) = reader.wanted()? {
            reader.supply(self.get(&cid))?;
        }
        Ok(reader.found())
    }

    fn to_car(&self, root: Cid) -> Vec<u8> {
        let mut out = car::header(&[root]);
        let mut reader = DagReader::new([root]);
        while let Some(cid) = reader.next_block() {
            reader.supply(&cid, self.get(&cid)).unwrap();
            if cid.inline().is_none() {
                car::write_block(&mut out, &cid, self.get(&cid)).unwrap();
            }
        }
        out
    }
}

pub fn small_options(chunk: u64, links: u64, layout: Layout, inline: Option<u64>) -> Options {
    let choices = Choices {
        chunk_size: Some(ChunkSize::new(chunk).unwrap()),
        max_file_links: Some(MaxFileLinks::new(links).unwrap()),
        layout: Some(layout),
        inline: inline.map(|limit| InlineLimit::new(limit).unwrap()),
        ..Choices::default()
    };
    choices.options().unwrap()
}

/// However the bytes of a file come, its blocks are the same and in the same order: leaves are made in batches, of memory that
/// is used again when no block is left in it.
#[test]
fn pieces_make_no_difference() {
    // More than two batches, and no multiple of anything.
    let bytes: Vec<u8> = (0..2 * BATCH_BYTES as u64 + 123_457).map(|n| (n * n % 65_521 % 251) as u8).collect();
    for (chunk, layout) in [(262_144, Layout::Balanced), (1_000_003, Layout::Balanced), (300_000, Layout::Trickle)] {
        let options = small_options(chunk, 174, layout, None);
        let blocks_of = |lengths: &[usize], are_kept: bool| {
            let (mut cids, mut kept) = (Vec::new(), Vec::new());
            let mut sink = |block: Block| {
                assert_eq!(block.cid().names(block.bytes()), Some(true));
                cids.push(*block.cid());
                if are_kept {
                    kept.push(block);
                }
                Ok::<(), DirectoryError>(())
            };
            let mut builder = FileBuilder::new(&options, Metadata::NONE);
            let (mut rest, mut lengths) = (&bytes[..], lengths.iter().cycle());
            while !rest.is_empty() {
                let (piece, after) = rest.split_at(rest.len().min(*lengths.next().unwrap()));
                builder.write(piece, &mut sink).unwrap();
                rest = after;
            }
            builder.finish(&mut sink).unwrap();
            assert!(
                kept.iter().all(|block| block.cid().names(block.bytes()) == Some(true)),
                "kept blocks are unchanged"
            );
            cids
        };
        let whole = blocks_of(&[bytes.len()], true);
        for lengths in [&[1_000][..], &[BATCH_BYTES], &[BATCH_BYTES - 10, 20, 7], &[chunk as usize, 3 * chunk as usize]]
        {
            assert_eq!(blocks_of(lengths, false), whole, "{chunk} {lengths:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, fork: false, ..ProptestConfig::default() })]

    /// Any range of a file of any layout is that of the bytes, and costs no block without bytes of it.
    #[test]
    fn ranges(
        length in 0usize..3_000,
        chunk in 1u64..40,
        links in 2u64..6,
        trickle: bool,
        inline: Option<bool>,
        from in 0u64..3_500,
        count in 0u64..3_500,
    ) {
        let bytes: Vec<u8> = (0..length).map(|i| (i * i % 251) as u8).collect();
        let layout = if trickle { Layout::Trickle } else { Layout::Balanced };
        let options = small_options(chunk, links, layout, inline.map(|large| if large { 128 } else { 20 }));
        let mut blocks = Blocks::default();
        let root = blocks.add_file(&bytes, &options);
        prop_assert_eq!(&blocks.read(root.cid, 0..u64::MAX).unwrap().0, &bytes);
        let end = from + count;
        let (read, cost) = blocks.read(root.cid, from..end).unwrap();
        let within = |at: u64| (at as usize).min(length);
        prop_assert_eq!(&read, &bytes[within(from)..within(end)]);
        let leaves = read.len().div_ceil(chunk as usize) + 1;
        prop_assert!(cost <= 1 + leaves * 16, "{} blocks for {} leaves", cost, leaves);

        // Through a CAR, whole.
        let car = blocks.to_car(root.cid);
        let mut reader = CarReader::new(&car[..]).unwrap();
        prop_assert_eq!(reader.roots(), &[root.cid]);
        let mut count = 0;
        while let Some(block) = reader.next_block().unwrap() {
            prop_assert_eq!(block.bytes(), blocks.get(block.cid()));
            count += 1;
        }
        prop_assert_eq!(count, blocks.0.keys().filter(|cid| cid.inline().is_none()).count());
    }

    /// A directory of any width lists the names that it was made of, and finds each, and no other.
    #[test]
    fn names(count in 0usize..300, fanout in 3u32..11, threshold in prop::option::of(1usize..10_000)) {
        let choices = Choices {
            fanout: Some(Fanout::new(1 << fanout).unwrap()),
            sharding_threshold: threshold,
            ..Choices::default()
        };
        let mut blocks = Blocks::default();
        let names = || (0..count).map(|n| format!("name {n}"));
        let root = blocks.add_directory(names(), &choices.options().unwrap());
        let listed = blocks.list(root.cid).unwrap();
        prop_assert!(listed.keys().cloned().eq(names().collect::<std::collections::BTreeSet<_>>()));
        for (name, cid) in &listed {
            prop_assert_eq!(blocks.find(root.cid, &format!("//{name}/")), Ok(*cid));
        }
        prop_assert_eq!(blocks.find(root.cid, ""), Ok(root.cid));
        for path in ["name", "name 0/deeper"] {
            let is_absent = matches!(blocks.find(root.cid, path), Err(ReadError::NoEntry { .. }));
            prop_assert!(is_absent, "{}", path);
        }
    }
}

#[test]
fn paths_go_through_directories_of_both_kinds() {
    let sharded = Choices { sharding_threshold: Some(1), ..Choices::default() }.options().unwrap();
    let mut blocks = Blocks::default();
    let inner = blocks.add_directory(["x".to_owned(), "y".to_owned()].into_iter(), &sharded);
    let mut outer = DirectoryBuilder::new();
    outer.insert(inner.named("inner")).unwrap();
    let mode = Metadata { mode: Mode::from_bits(0o750), mtime: None };
    let outer = outer.finish(mode, &Options::default(), &mut |block| blocks.put(block)).unwrap();
    let mut top = DirectoryBuilder::new();
    top.insert(outer.named("outer")).unwrap();
    let top = top.finish(Metadata::NONE, &sharded, &mut |block| blocks.put(block)).unwrap();
    let found = blocks.find(top.cid, "outer/inner/y").unwrap();
    assert_eq!(blocks.read(found, 0..9).unwrap().0, b"y");
    let absent = ReadError::NoEntry { cid: inner.cid.into(), name: "z".to_owned() };
    assert_eq!(blocks.find(top.cid, "outer/inner/z/y"), Err(absent));
}

#[test]
fn names_that_no_file_has_are_refused() {
    let root = Root { cid: "bafkqaaa".parse().unwrap(), dag_size: 0 };
    let mut directory = DirectoryBuilder::new();
    for name in ["", ".", "..", "a/b", "/", "a\0"] {
        assert_eq!(directory.insert(root.named(name)), Err(DirectoryError::Name { name: name.to_owned() }));
    }
    directory.insert(root.named("a")).unwrap();
    assert_eq!(directory.insert(root.named("a")), Err(DirectoryError::Repeated { name: "a".to_owned() }));
}

#[test]
fn cars_of_both_versions() {
    let mut blocks = Blocks::default();
    let root = blocks.add_file(&[5; 100], &small_options(9, 3, Layout::Balanced, None));
    let v1 = blocks.to_car(root.cid);
    let count = |bytes: &[u8]| -> Result<usize, CarError> {
        let mut reader = CarReader::new(bytes)?;
        let mut count = 0;
        while reader.next_block()?.is_some() {
            count += 1;
        }
        Ok(count)
    };
    let whole = count(&v1).unwrap();
    assert!(whole >= 5);
    // Version 2: pragma, characteristics, offsets, padding, the version 1, and an index.
    let v2 = [
        &b"\x0a\xa1\x67version\x02"[..],
        &[0; 16],
        &60u64.to_le_bytes(),
        &(v1.len() as u64).to_le_bytes(),
        &(60 + v1.len() as u64).to_le_bytes(),
        &[0; 9],
        &v1,
        b"index",
    ]
    .concat();
    assert_eq!(count(&v2).unwrap(), whole);

    for cut in 0..v1.len() {
        match count(&v1[..cut]) {
            Ok(fewer) => assert!(fewer < whole, "cut between blocks at {cut}"),
            Err(CarError::Truncated) => {}
            Err(other) => panic!("{cut}: {other}"),
        }
    }
    let faulty = |place: usize, byte: u8| {
        let mut bytes = v1.clone();
        bytes[place] = byte;
        count(&bytes)
    };
    assert!(matches!(faulty(v1.len() - 1, 99), Err(CarError::Block(_))));
    assert!(matches!(faulty(1, 0xa3), Err(CarError::Header { .. })));
    assert!(matches!(count(b"\x0a\xa1\x67version\x03"), Err(CarError::Version { got: 3 })));
    assert!(matches!(count(b"\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), Err(CarError::Header { .. })));
    let huge = [&car::header(&[])[..], &[0xff, 0xff, 0xff, 0x7f]].concat();
    assert!(matches!(count(&huge), Err(CarError::Length { .. })));
    assert_eq!(count(&car::header(&[root.cid; 300])).unwrap(), 0);
}
