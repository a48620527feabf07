//! Content in a page: a file fetched from peers while some lie, stall or lack it.

mod lists;
mod sharing;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use cairn::ipld::dagpb::{self, Link};
use cairn::ipld::read::{Entry, ReadError};
use cairn::ipld::{Block, ChunkSize, Cid, Codec, Data, FileBuilder, HashFunction, Kind, Metadata, Options};
use cairn::light::library::{
    FetchError, Library, MAX_FILE_BYTES, Output, PACE, PATIENCE, RETRY, SEEK_WAIT, STALL, Whole,
};
use cairn::p2p::PeerId;
use cairn::p2p::content_message::ContentMessage;
use cairn::p2p::kad::NodeId;
use cairn::p2p::wants::{ContentBlock, ContentFault, Have, Want};
use cairn::primitives::time::MonoTime;

const START: MonoTime = MonoTime::from_millis(1_000);

/// Bytes that do not repeat.
fn bytes(length: usize) -> Vec<u8> {
    (0..length as u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect()
}

/// The blocks of a file by multihash, and its root.
fn blocks(file: &[u8]) -> (BTreeMap<Vec<u8>, Vec<u8>>, Cid) {
    blocks_with(&Options::default(), file)
}

fn blocks_with(options: &Options, file: &[u8]) -> (BTreeMap<Vec<u8>, Vec<u8>>, Cid) {
    let mut blocks = BTreeMap::new();
    let mut sink = |block: Block| {
        blocks.insert(block.cid().multihash(), block.into_bytes());
        Ok::<(), ()>(())
    };
    let mut builder = FileBuilder::new(options, Metadata::NONE);
    builder.write(file, &mut sink).unwrap();
    let root = builder.finish(&mut sink).unwrap();
    (blocks, root.cid)
}

/// What a peer does when it is asked for a block.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Honest,
    /// Sends other bytes.
    Lie,
    /// Says nothing.
    Stall,
    /// Has nothing.
    Lack,
    /// Sends a block each [`DRIP`].
    Drip,
}

/// Less than the time after which a peer stalls.
const DRIP: Duration = Duration::from_secs(7);

/// A library and its peers, in virtual time. A penalised peer that lied is gone.
struct World {
    library: Library,
    now: MonoTime,
    blocks: BTreeMap<Vec<u8>, Vec<u8>>,
    peers: BTreeMap<PeerId, Manner>,
    file: Vec<u8>,
    entries: Vec<Entry>,
    faults: Vec<(PeerId, ContentFault)>,
    /// Wants of whole blocks, by peer.
    asked: BTreeMap<PeerId, usize>,
    /// What peers that drip owe.
    owed: VecDeque<(PeerId, Vec<u8>)>,
    dripped: MonoTime,
    /// What providers were looked for by, and when.
    sought: Vec<(NodeId, Duration)>,
}

impl World {
    fn new(blocks: BTreeMap<Vec<u8>, Vec<u8>>, manners: &[Manner]) -> Self {
        let peers: BTreeMap<PeerId, Manner> = (1..).map(PeerId).zip(manners.iter().copied()).collect();
        let mut library = Library::default();
        peers.keys().for_each(|peer| library.offers(START, *peer));
        let (file, entries, faults, asked) = (Vec::new(), Vec::new(), Vec::new(), BTreeMap::new());
        let (owed, sought) = (VecDeque::new(), Vec::new());
        Self { library, now: START, blocks, peers, file, entries, faults, asked, owed, dripped: START, sought }
    }

    /// Carries out what the library wants until it is done, or `until`.
    fn run(&mut self, until: Duration) -> Option<Result<Whole, FetchError>> {
        let end = self.now + until;
        loop {
            let mut again = false;
            while let Some(output) = self.library.next_output() {
                match output {
                    Output::Again => again = true,
                    Output::Piece(bytes) => self.file.extend(bytes),
                    Output::Entry(entry) => self.entries.push(entry),
                    Output::Ended(result) => return Some(result),
                    Output::Seek(key) => self.sought.push((key, self.now.saturating_since(START))),
                    Output::Penalise(peer, fault) => {
                        self.faults.push((peer, fault));
                        self.peers.remove(&peer);
                        self.library.gone(self.now, peer);
                    }
                    Output::Send(peer, ContentMessage::Wants(wants)) => self.answer(peer, wants),
                    Output::Send(_, other) => panic!("it sends {other:?}"),
                }
            }
            if !again {
                self.now += Duration::from_secs(1);
                if self.now > end {
                    return None;
                }
                self.drip();
            }
            self.library.tick(self.now);
        }
    }

    fn drip(&mut self) {
        if self.now < self.dripped + DRIP {
            return;
        }
        self.dripped = self.now;
        let Some((peer, hash)) = self.owed.pop_front() else { return };
        let bytes = self.blocks[&hash].clone();
        self.library.received(self.now, peer, ContentMessage::Block(ContentBlock { hash, bytes }));
    }

    fn answer(&mut self, peer: PeerId, wants: Vec<Want>) {
        *self.asked.entry(peer).or_default() += wants.len();
        for Want { hash, whole } in wants {
            assert!(whole);
            let block = self.blocks.get(&hash).cloned();
            let message = match (self.peers.get(&peer), block) {
                (Some(Manner::Honest), Some(bytes)) => ContentMessage::Block(ContentBlock { hash, bytes }),
                (Some(Manner::Lie), Some(mut bytes)) => {
                    bytes[0] ^= 1;
                    ContentMessage::Block(ContentBlock { hash, bytes })
                }
                (Some(Manner::Honest | Manner::Lie | Manner::Lack), _) => {
                    ContentMessage::Haves(vec![Have { hash, here: false }])
                }
                (Some(Manner::Drip), Some(_)) => {
                    self.owed.push_back((peer, hash));
                    continue;
                }
                (Some(Manner::Stall | Manner::Drip) | None, _) => continue,
            };
            self.library.received(self.now, peer, message);
        }
    }

    /// Fetches, and has the whole file.
    fn fetches(&mut self, text: &str, file: &[u8]) {
        self.library.fetch(self.now, text).unwrap();
        assert_eq!(self.run(PATIENCE), Some(Ok(Whole::File)));
        assert!(self.file == file, "{} bytes of {}", self.file.len(), file.len());
    }
}

#[test]
fn a_file_comes_whole_from_several_peers() {
    let file = bytes(5_000_000);
    let (blocks, root) = blocks(&file);
    let mut world = World::new(blocks, &[Manner::Honest, Manner::Honest, Manner::Lack]);
    world.fetches(&format!("/ipfs/{root}"), &file);
    assert!(world.faults.is_empty());
    // Each block once, but for what a peer lacked; both gave.
    let [first, second] = [1, 2].map(|peer| world.asked[&PeerId(peer)]);
    assert!(first > 2 && second > 2 && first + second == 5_000_000_usize.div_ceil(262_144) + 1, "{:?}", world.asked);
}

#[test]
fn files_of_any_shape_come_whole() {
    // Empty, of one block, of repeated blocks, and of more than one level of nodes.
    for file in [Vec::new(), bytes(1), vec![0; 20_000_000], bytes(175 * 262_144)] {
        let (blocks, root) = blocks(&file);
        World::new(blocks, &[Manner::Honest]).fetches(&root.to_string(), &file);
    }
    // A raw block, a block in its CID, and a file by its path.
    let raw = bytes(1_000);
    let cid = Cid::v1(Codec::RAW, HashFunction::Sha2_256, &raw).unwrap();
    let inline = Cid::v1(Codec::RAW, HashFunction::Identity, b"inline").unwrap();
    let data = Data::new(Kind::Directory).encode();
    let directory = dagpb::encode(&[Link { name: b"name".to_vec(), cid, size: 1_000 }], &data);
    let above = Cid::v0(&directory).unwrap();
    let known: BTreeMap<_, _> = [(cid.multihash(), raw.clone()), (above.multihash(), directory)].into();
    World::new(known.clone(), &[Manner::Honest]).fetches(&cid.to_string(), &raw);
    World::new(known.clone(), &[]).fetches(&inline.to_string(), b"inline");
    World::new(known.clone(), &[Manner::Honest]).fetches(&format!("ipfs://{above}/name/"), &raw);
    let mut world = World::new(known, &[Manner::Honest]);
    world.library.fetch(world.now, &format!("{above}/other")).unwrap();
    assert!(matches!(world.run(PATIENCE), Some(Err(FetchError::Read(ReadError::NoEntry { .. })))));
    assert!(matches!(world.library.fetch(world.now, "nothing"), Err(FetchError::Cid(_))));
}

#[test]
fn a_peer_that_lies_is_named_and_the_block_asked_of_others() {
    let file = bytes(1_000_000);
    let (blocks, root) = blocks(&file);
    let mut world = World::new(blocks, &[Manner::Lie, Manner::Honest]);
    world.fetches(&root.to_string(), &file);
    let [(PeerId(1), ContentFault::False { hash })] = &world.faults[..] else { panic!("{:?}", world.faults) };
    assert!(world.blocks.contains_key(hash));
}

#[test]
fn a_peer_that_stalls_loses_what_it_was_asked_for() {
    let file = bytes(1_000_000);
    let (blocks, root) = blocks(&file);
    let mut world = World::new(blocks, &[Manner::Stall, Manner::Honest]);
    world.fetches(&root.to_string(), &file);
    assert!(world.now < START + 3 * STALL, "it goes on after {:?}", world.now);
    assert!(world.faults.is_empty());
}

/// A file of many blocks of 16 bytes.
fn crumbs() -> (BTreeMap<Vec<u8>, Vec<u8>>, Cid, Vec<u8>) {
    let file = bytes(2_000);
    let (blocks, root) = blocks_with(&Options { chunk_size: ChunkSize::new(16).unwrap(), ..Options::default() }, &file);
    assert!(blocks.len() > 100);
    (blocks, root, file)
}

#[test]
fn a_peer_that_sends_tiny_blocks_just_in_time_delays_no_file() {
    let (blocks, root, file) = crumbs();
    let mut world = World::new(blocks, &[Manner::Drip, Manner::Honest]);
    world.fetches(&root.to_string(), &file);
    // It stalls twice, and what it owed is asked of the other.
    assert!(world.now < START + 3 * STALL, "it goes on after {:?}", world.now);
    assert!(world.faults.is_empty());
}

#[test]
fn a_fetch_that_is_fed_tiny_blocks_just_in_time_ends() {
    let (blocks, root, _) = crumbs();
    let sent: usize = blocks.values().map(Vec::len).sum();
    let mut world = World::new(blocks, &[Manner::Drip, Manner::Drip, Manner::Drip]);
    world.library.fetch(world.now, &root.to_string()).unwrap();
    let ended = world.run(Duration::from_secs(3_600));
    assert!(matches!(ended, Some(Err(FetchError::Absent { peers: 3, .. }))), "{ended:?}");
    let most = PATIENCE + Duration::from_secs(1 + sent as u64 / PACE);
    assert!(world.now <= START + most, "{:?}", world.now);
}

#[test]
fn a_peer_that_was_silent_is_asked_again_for_the_next_file() {
    let (first, other) = (bytes(1_000_000), vec![7; 300_000]);
    let ((blocks, root), (more, next)) = (blocks(&first), blocks(&other));
    let mut world = World::new(blocks, &[Manner::Stall]);
    world.blocks.extend(more);
    world.library.fetch(world.now, &root.to_string()).unwrap();
    assert!(matches!(world.run(2 * PATIENCE), Some(Err(FetchError::Absent { .. }))));
    world.peers.insert(PeerId(1), Manner::Honest);
    world.fetches(&next.to_string(), &other);
    // What it sends about the first file now is late, and no offence; but once only.
    let late = || ContentMessage::Haves(vec![Have { hash: root.multihash(), here: true }]);
    world.library.received(world.now, PeerId(1), late());
    assert_eq!(world.library.next_output(), None);
    world.library.received(world.now, PeerId(1), late());
    let again = Output::Penalise(PeerId(1), ContentFault::Unrequested);
    assert_eq!(world.library.next_output(), Some(again));
}

#[test]
fn what_no_peer_sends_ends_and_what_comes_late_is_found() {
    let file = bytes(300_000);
    let (blocks, root) = blocks(&file);
    let mut world = World::new(blocks, &[Manner::Lack, Manner::Stall]);
    world.library.fetch(world.now, &root.to_string()).unwrap();
    let ended = world.run(2 * PATIENCE);
    assert_eq!(ended, Some(Err(FetchError::Absent { cid: root.into(), peers: 2 })));
    assert!(START + PATIENCE <= world.now && world.now < START + 2 * PATIENCE);
    // Asked again and again, but not more often than it may be.
    assert!(world.asked[&PeerId(1)] <= (PATIENCE.as_secs() / RETRY.as_secs()) as usize + 1, "{:?}", world.asked);

    world.library.fetch(world.now, &root.to_string()).unwrap();
    assert_eq!(world.run(RETRY), None);
    world.peers.insert(PeerId(1), Manner::Honest);
    assert_eq!(world.run(2 * RETRY), Some(Ok(Whole::File)));
    // And a peer that comes later is asked.
    let mut world = World::new(world.blocks, &[]);
    world.library.fetch(world.now, &root.to_string()).unwrap();
    assert_eq!(world.run(RETRY), None);
    world.peers.insert(PeerId(7), Manner::Honest);
    world.library.offers(world.now, PeerId(7));
    assert_eq!(world.run(RETRY), Some(Ok(Whole::File)));
    assert!(world.file == file);
}

#[test]
fn what_was_not_asked_for_is_an_offence() {
    let mut world = World::new(BTreeMap::new(), &[Manner::Honest; 2]);
    let (hash, bytes) = (vec![0x12, 32], vec![1]);
    world.library.received(START, PeerId(1), ContentMessage::Block(ContentBlock { hash: hash.clone(), bytes }));
    world.library.received(START, PeerId(2), ContentMessage::Haves(vec![Have { hash, here: true }]));
    world.run(Duration::ZERO);
    let unrequested = |peer| (PeerId(peer), ContentFault::Unrequested);
    assert_eq!(world.faults, [unrequested(1), unrequested(2)]);
}

#[test]
fn a_file_larger_than_a_page_keeps_is_refused_at_its_root() {
    let leaf = bytes(1 << 20);
    let cid = Cid::v1(Codec::RAW, HashFunction::Sha2_256, &leaf).unwrap();
    let count = MAX_FILE_BYTES as usize / leaf.len() + 1;
    let link = Link { name: Vec::new(), cid, size: leaf.len() as u64 };
    let sizes = vec![leaf.len() as u64; count];
    let data = Data { file_size: Some(sizes.iter().sum()), block_sizes: sizes, ..Data::new(Kind::File) };
    let root = dagpb::encode(&vec![link; count], &data.encode());
    let top = Cid::v0(&root).unwrap();
    let mut world = World::new([(top.multihash(), root), (cid.multihash(), leaf)].into(), &[Manner::Honest]);
    world.library.fetch(world.now, &top.to_string()).unwrap();
    let ended = world.run(PATIENCE);
    assert_eq!(ended, Some(Err(FetchError::TooLarge { size: (count << 20) as u64 })));
    assert_eq!((world.asked[&PeerId(1)], world.file.len()), (1, 0));
}

/// A file of `count` bytes. Each byte has a block of `size` bytes that is full of links to nothing.
fn bloated(count: usize, size: usize) -> (BTreeMap<Vec<u8>, Vec<u8>>, Cid) {
    let nothing =
        Link { name: vec![b' '; 1_000], cid: Cid::v1(Codec::RAW, HashFunction::Identity, b"").unwrap(), size: 0 };
    let links = vec![nothing; size / 1_020];
    let data = Data { bytes: b"x", block_sizes: vec![0; links.len()], ..Data::new(Kind::File) };
    let block = dagpb::encode(&links, &data.encode());
    let cid = Cid::v0(&block).unwrap();
    let data = Data { block_sizes: vec![1; count], ..Data::new(Kind::File) };
    let root = dagpb::encode(&vec![Link { name: Vec::new(), cid, size: 1 }; count], &data.encode());
    let top = Cid::v0(&root).unwrap();
    ([(top.multihash(), root), (cid.multihash(), block)].into(), top)
}

#[test]
fn what_is_read_for_a_file_is_bounded_at_a_time_and_in_all() {
    // 200 blocks of a megabyte for 200 bytes.
    let (blocks, root) = bloated(200, 1 << 20);
    let mut world = World::new(blocks, &[Manner::Honest]);
    world.library.fetch(world.now, &root.to_string()).unwrap();
    let most = (64 << 20) + 16 * 200;
    let (mut read, mut ended) = (0, None);
    while ended.is_none() {
        ended = world.run(Duration::ZERO);
        let now = world.library.progress().0;
        assert!(now <= read + 5, "from {read} to {now} bytes at a time");
        read = now;
    }
    assert_eq!(ended, Some(Err(FetchError::Bloated { size: 200, most })));
    // The same is fine for a file whose blocks are small.
    let (blocks, root) = bloated(50, 1 << 20);
    World::new(blocks, &[Manner::Honest]).fetches(&root.to_string(), &[b'x'; 50]);
}

#[test]
fn whatever_peers_say_the_file_is_right_or_there_is_none() {
    let file = bytes(700_000);
    let (blocks, root) = blocks(&file);
    let hashes: Vec<&Vec<u8>> = blocks.keys().collect();
    let mut whole = 0;
    for seed in 0..300_u64 {
        let mut state = seed;
        let mut chance = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let (mut library, mut now, mut read) = (Library::default(), START, Vec::new());
        library.fetch(now, &root.to_string()).unwrap();
        let mut asked: Vec<(PeerId, Vec<u8>)> = Vec::new();
        let mut ended = None;
        for _ in 0..400 {
            let peer = PeerId(chance(4) as u64);
            // Mostly about what it was asked for.
            let (peer, hash) = match asked.len() {
                0 => (peer, hashes[chance(hashes.len())].clone()),
                count if chance(4) > 0 => asked.swap_remove(chance(count)),
                _ => (peer, hashes[chance(hashes.len())].clone()),
            };
            let mut bytes = blocks[&hash].clone();
            match chance(9) {
                0 => library.gone(now, peer),
                1 | 2 => library.offers(now, peer),
                3 => library.received(now, peer, ContentMessage::Haves(vec![Have { hash, here: chance(2) == 0 }])),
                4 => {
                    let place = chance(bytes.len());
                    bytes[place] ^= 1 << chance(8);
                    library.received(now, peer, ContentMessage::Block(ContentBlock { hash, bytes }));
                }
                5 => {
                    library.received(now, peer, ContentMessage::Wants(vec![Want { hash, whole: true }]));
                    assert!(matches!(library.answer(now, peer), Some(ContentMessage::Haves(_))));
                }
                _ => library.received(now, peer, ContentMessage::Block(ContentBlock { hash, bytes })),
            }
            now += Duration::from_millis(chance(2_000) as u64);
            library.tick(now);
            while let Some(output) = library.next_output() {
                match output {
                    Output::Send(peer, ContentMessage::Wants(wants)) => {
                        asked.extend(wants.into_iter().map(|want| (peer, want.hash)));
                    }
                    Output::Send(_, other) => panic!("it sends {other:?}"),
                    Output::Piece(bytes) => read.extend(bytes),
                    Output::Entry(entry) => panic!("it lists {entry:?}"),
                    Output::Ended(result) => ended = Some(result),
                    Output::Penalise(..) | Output::Seek(_) | Output::Again => {}
                }
            }
            if ended.is_some() {
                break;
            }
        }
        match ended {
            Some(Ok(Whole::File)) => {
                assert!(read == file, "seed {seed}");
                whole += 1;
            }
            Some(Err(error)) => assert!(matches!(error, FetchError::Absent { .. }), "seed {seed}: {error}"),
            Some(Ok(Whole::Directory)) => panic!("seed {seed}"),
            None => {}
        }
    }
    assert!(whole > 100, "{whole} of 300");
}

#[test]
fn providers_are_looked_for_once_and_only_when_no_peer_has_the_block() {
    let file = bytes(600_000);
    let (blocks, root) = blocks(&file);
    let key = NodeId::of_content(&root.multihash());
    let stall = Duration::from_secs(3);
    type Row<'a> = (&'a str, &'a [Manner], &'a [Duration]);
    let rows: [Row<'_>; 6] = [
        ("a peer has it", &[Manner::Lack, Manner::Honest], &[]),
        ("all lack it", &[Manner::Lack, Manner::Lack], &[Duration::ZERO]),
        ("one is silent", &[Manner::Lack, Manner::Stall], &[stall]),
        ("two are silent", &[Manner::Stall, Manner::Stall], &[2 * stall]),
        ("one lies", &[Manner::Lie], &[SEEK_WAIT]),
        ("there is none", &[], &[SEEK_WAIT]),
    ];
    for (name, manners, expected) in rows {
        let mut world = World::new(blocks.clone(), manners);
        world.library.fetch(START, &root.to_string()).unwrap();
        let ended = world.run(PATIENCE + Duration::from_secs(2));
        assert_eq!(ended.is_some_and(|ended| ended.is_ok()), expected.is_empty(), "{name}");
        let expected: Vec<(NodeId, Duration)> = expected.iter().map(|after| (key, *after)).collect();
        assert_eq!(world.sought, expected, "{name}");
    }
    // A provider that comes then is asked, and the whole file comes from it.
    let mut world = World::new(blocks, &[Manner::Lack]);
    world.library.fetch(START, &root.to_string()).unwrap();
    assert_eq!(world.run(Duration::from_secs(20)), None);
    world.peers.insert(PeerId(9), Manner::Honest);
    world.library.offers(world.now, PeerId(9));
    assert_eq!(world.run(PATIENCE), Some(Ok(Whole::File)));
    assert!(world.file == file && world.sought.len() == 1);
}
