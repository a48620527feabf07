//! Blocks that a stranger makes: each is a typed error after bounded work.

use cairn_core::ipld::dagpb::{self, Link};
use cairn_core::ipld::read::{DagReader, MAX_DEPTH, MAX_PENDING, ReadError};
use cairn_core::ipld::{
    Block, BlockError, Choices, Cid, Codec, Data, DirectoryBuilder, DirectoryError, FormatError, HashFunction, Kind,
    MAX_BLOCK_BYTES, Metadata,
};

use crate::reading::Blocks;

impl Blocks {
    /// A node with these links, whatever they are.
    fn node(&mut self, links: &[(Cid, &str)], data: &Data) -> Cid {
        let link = |(cid, name): &(Cid, &str)| Link { cid: *cid, name: (*name).into(), size: 0 };
        let links: Vec<Link> = links.iter().map(link).collect();
        self.raw(Codec::DAG_PB, dagpb::encode(&links, &data.encode()))
    }

    fn raw(&mut self, codec: Codec, bytes: Vec<u8>) -> Cid {
        let cid = Cid::v1(codec, HashFunction::Sha2_256, &bytes).unwrap();
        self.0.insert(cid, bytes);
        cid
    }

    /// A file's node that claims so many bytes in each part.
    fn file(&mut self, parts: &[(Cid, u64)]) -> Cid {
        let sizes: Vec<u64> = parts.iter().map(|(_, size)| *size).collect();
        let data = Data { file_size: Some(sizes.iter().sum()), block_sizes: sizes, ..Data::new(Kind::File) };
        self.node(&parts.iter().map(|(cid, _)| (*cid, "")).collect::<Vec<_>>(), &data)
    }
}

#[test]
fn sizes_that_lie() {
    let mut blocks = Blocks::default();
    let leaf = blocks.raw(Codec::RAW, vec![1; 10]);
    let short = blocks.file(&[(leaf, 9)]);
    assert_eq!(blocks.read(short, 0..99), Err(ReadError::PartSize { cid: leaf.into(), expected: 9, got: 10 }));
    // Where only a part before it is wanted, the lie is not seen.
    let late = blocks.file(&[(leaf, 10), (leaf, 9)]);
    assert_eq!(blocks.read(late, 0..10).unwrap().0, [1; 10]);
    for data in [
        Data { file_size: Some(5), ..Data::new(Kind::File) },
        Data { block_sizes: vec![10, 10], ..Data::new(Kind::File) },
        Data { block_sizes: vec![u64::MAX], bytes: b"x", ..Data::new(Kind::File) },
    ] {
        let cid = blocks.node(&[(leaf, "")], &data);
        assert_eq!(blocks.read(cid, 0..99), Err(ReadError::Sizes { cid: cid.into() }));
    }
}

/// A file of no bytes whose nodes link to each other a hundred thousand times costs one block.
#[test]
fn nodes_that_hold_nothing_are_not_fetched() {
    let mut blocks = Blocks::default();
    let mut cid = blocks.raw(Codec::RAW, Vec::new());
    for _ in 0..20 {
        cid = blocks.file(&vec![(cid, 0); 100_000 / 4]);
    }
    assert_eq!(blocks.read(cid, 0..u64::MAX), Ok((Vec::new(), 1)));
}

#[test]
fn a_chain_of_nodes_ends_at_the_depth_of_no_layout() {
    let mut blocks = Blocks::default();
    let mut cid = blocks.raw(Codec::RAW, vec![7]);
    for _ in 0..MAX_DEPTH {
        cid = blocks.file(&[(cid, 1)]);
    }
    assert_eq!(blocks.read(cid, 0..9), Ok((vec![7], MAX_DEPTH + 1)));
    let deeper = blocks.file(&[(cid, 1)]);
    assert!(matches!(blocks.read(deeper, 0..9), Err(ReadError::TooDeep { .. })));
}

/// The identity function puts a link into eight bytes, so that a block of 2 MiB has 200,000.
#[test]
fn nodes_with_very_many_links() {
    let mut blocks = Blocks::default();
    let one = Cid::v1(Codec::RAW, HashFunction::Identity, b"x").unwrap();
    let wide = blocks.file(&vec![(one, 1); 100_000]);
    assert!(blocks.get(&wide).len() < MAX_BLOCK_BYTES);
    assert_eq!(blocks.read(wide, 0..u64::MAX).unwrap().0.len(), 100_000);
    assert_eq!(blocks.read(wide, 99_999..u64::MAX), Ok((b"x".to_vec(), 2)));
    // Three such nodes one below the other hold more links than any layout.
    let lower = blocks.file(&[&[(wide, 100_000)][..], &vec![(one, 1); 90_000]].concat());
    let top = blocks.file(&[&[(lower, 190_000)][..], &vec![(one, 1); 90_000]].concat());
    assert!(blocks.read(top, 0..1).is_ok(), "only what is within the range waits");
    assert!(matches!(blocks.read(top, 0..u64::MAX), Err(ReadError::TooWide { .. })));
    const { assert!(MAX_PENDING < 280_000) };

    // As a DAG, each block counts once.
    let many = blocks.node(&vec![(wide, ""); 30_000], &Data::new(Kind::Directory));
    let top = blocks.node(&vec![(many, ""); 30_000], &Data::new(Kind::Directory));
    let mut reader = DagReader::new([top]);
    let mut count = 0;
    while let Some(cid) = reader.next_block() {
        reader.supply(&cid, blocks.get(&cid)).unwrap();
        count += 1;
    }
    assert_eq!(count, 4);
}

/// The same shard below each place of another, eight deep, would be 256⁸ names.
#[test]
fn shards_that_repeat_are_found_out() {
    let mut blocks = Blocks::default();
    let shard = Data { hash_type: Some(0x22), fanout: Some(256), ..Data::new(Kind::HamtShard) };
    let prefixes: Vec<String> = (0..256).map(|place| format!("{place:02X}")).collect();
    for bottom in ["", "name"] {
        let file = blocks.raw(Codec::RAW, Vec::new());
        let links: Vec<(Cid, String)> = prefixes.iter().map(|prefix| (file, format!("{prefix}{bottom}"))).collect();
        let links: Vec<(Cid, &str)> = links.iter().map(|(cid, name)| (*cid, name.as_str())).collect();
        let mut cid = blocks.node(if bottom.is_empty() { &[] } else { &links }, &shard);
        for _ in 0..7 {
            cid = blocks.node(&prefixes.iter().map(|prefix| (cid, prefix.as_str())).collect::<Vec<_>>(), &shard);
        }
        assert!(matches!(blocks.list(cid), Err(ReadError::Shard { .. })), "{bottom}");
        assert!(matches!(blocks.find(cid, "x"), Err(ReadError::Shard { .. } | ReadError::NoEntry { .. })));
    }
    // Places that are not written as they should be, or do not exist.
    let file = blocks.raw(Codec::RAW, Vec::new());
    for name in ["", "0", "zzname", "0aname", "+1name", "é", "00name"] {
        let cid = blocks.node(&[(file, name)], &shard);
        assert_eq!(blocks.list(cid), Err(ReadError::Shard { cid: cid.into() }), "{name}");
    }
    for data in [Data { fanout: Some(3), ..shard.clone() }, Data { hash_type: None, ..shard.clone() }] {
        let cid = blocks.node(&[], &data);
        assert_eq!(blocks.list(cid), Err(ReadError::Shard { cid: cid.into() }));
    }
}

#[test]
fn entries_of_another_kind() {
    let mut blocks = Blocks::default();
    let file = blocks.raw(Codec::RAW, b"x".to_vec());
    let directory = blocks.node(&[(file, "a")], &Data::new(Kind::Directory));
    let link = blocks.node(&[], &Data { bytes: b"a", ..Data::new(Kind::Symlink) });
    let kind = |cid: Cid, got, expected| Err(ReadError::Kind { cid: cid.into(), got, expected });
    assert_eq!(blocks.read(directory, 0..9), kind(directory, "a directory", "a file"));
    assert_eq!(blocks.list(file).map(|_| ()), kind(file, "a file", "a directory").map(|_| ()));
    assert_eq!(blocks.list(link).map(|_| ()), kind(link, "a symbolic link", "a directory").map(|_| ()));
    // A block that has no names need not be here, and is not asked for.
    let nowhere = Blocks::default();
    let header = Cid::v1(Codec::BITCOIN_BLOCK, HashFunction::DblSha2_256, &[0; 80]).unwrap();
    for cid in [file, header] {
        assert_eq!(nowhere.find(cid, "a"), Err(ReadError::NoEntry { cid: cid.into(), name: "a".to_owned() }));
        assert_eq!(nowhere.find(cid, "/"), Ok(cid));
    }
    assert!(matches!(blocks.find(link, "a"), Err(ReadError::NoEntry { .. })));
    let header = blocks.raw(Codec::BITCOIN_BLOCK, vec![0; 80]);
    assert_eq!(blocks.read(header, 0..9), Err(ReadError::Codec { cid: header.into(), codec: Codec::BITCOIN_BLOCK }));
    let garbage = blocks.raw(Codec::DAG_PB, vec![0xff]);
    assert!(matches!(blocks.read(garbage, 0..9), Err(ReadError::Format { error: FormatError::Malformed { .. }, .. })));
}

/// The hash of sharded directories is not cryptographic: here are two names that it cannot tell apart.
#[test]
fn names_that_collide_are_refused() {
    let options = Choices { sharding_threshold: Some(1), ..Choices::default() }.options().unwrap();
    let second = b"\x35\x19\xd4\xca\x19\x13\xab\x24\x54\x93\x34\x78\x86\x85\x84\x59";
    let mut directory = DirectoryBuilder::new();
    for name in [&b"a name that coll"[..], second] {
        let cid = Cid::v1(Codec::RAW, HashFunction::Sha2_256, name).unwrap();
        directory.insert(Link { cid, name: name.to_vec(), size: 1 }).unwrap();
    }
    let made = directory.finish(Metadata::NONE, &options, &mut |_| Ok(()));
    assert!(matches!(made, Err(DirectoryError::TooDeep { .. })));
}

#[test]
fn blocks_are_checked_against_their_names() {
    let cid = Cid::v1(Codec::RAW, HashFunction::Sha2_256, b"x").unwrap();
    assert!(Block::check(cid, b"x".to_vec()).is_ok());
    assert_eq!(Block::check(cid, b"y".to_vec()), Err(BlockError::Mismatch { cid: cid.into() }));
    let cid = Cid::from_bytes(&[1, 0x55, 0x59, 1, 0]).unwrap();
    assert_eq!(Block::check(cid, b"y".to_vec()), Err(BlockError::UnknownHash { cid: cid.into(), code: 0x59 }));
    let large = vec![0; MAX_BLOCK_BYTES + 1];
    let cid = Cid::v1(Codec::RAW, HashFunction::Sha2_256, &large).unwrap();
    assert_eq!(Block::check(cid, large), Err(BlockError::TooLarge { cid: cid.into(), size: MAX_BLOCK_BYTES + 1 }));
}
