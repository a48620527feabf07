//! Content between nodes: announced, found, fetched from several peers while some lie or vanish.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cairn::consensus::params::{GenesisSpec, Params};
use cairn::content::{CONTENT_DIR, ContentReader, ContentStore, Pin, PinKind, PinName};
use cairn::ipld::dagpb::{self, Link};
use cairn::ipld::{Block, Cid, Codec, HashFunction};
use cairn::p2p::frame::{self, Decoder};
use cairn::p2p::kad::NodeId;
use cairn::p2p::message::{Hello, Message, SERVICE_CONTENT, SERVICE_FULL};
use cairn::p2p::noise::{Identity, Session};
use cairn::p2p::wants::{ContentBlock, Have};
use cairn::p2p::{Command, Event, PeerAddr};
use cairn::runtime::exchange::{FetchError, FetchStatus, Fetches, Part, Wanted};
use cairn::runtime::{Config, Running, noise};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::{Place, spec, wait_for};

/// Ends a test that would wait for ever; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bits that every second hash meets.
const INSTANT: u32 = 0x207f_ffff;

fn params() -> Arc<Params> {
    Arc::new(Params::new(GenesisSpec::regtest()).unwrap())
}

async fn start(dir: &Path) -> Running {
    let listen = Some((Ipv4Addr::LOCALHOST, 0).into());
    Running::start(Config { listen, ..Config::new(dir, params()) }).await.unwrap()
}

/// Connects one node to another.
async fn connect(from: &Running, to: SocketAddr) {
    let mut events = from.handle().subscribe();
    let address = PeerAddr::from(to);
    from.handle().command(move |reply| Command::ConnectOnce(address, None, reply)).await.unwrap();
    let connected = async { while !matches!(events.recv().await.unwrap(), Event::PeerConnected { .. }) {} };
    tokio::time::timeout(PATIENCE, connected).await.unwrap();
}

/// A file of so many bytes in pieces of 256 KiB, with the root last.
fn file(bytes: usize) -> Vec<Block> {
    const PIECE: usize = 256 << 10;
    let mut blocks = Vec::new();
    let mut links = Vec::new();
    for n in 0..bytes / PIECE {
        let piece: Vec<u8> = (0..PIECE as u64)
            .map(|i| ((i ^ (n as u64) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8)
            .collect();
        let cid = Cid::v1(Codec::RAW, HashFunction::Sha2_256, &piece).unwrap();
        links.push(Link { name: Vec::new(), cid, size: PIECE as u64 });
        blocks.push(Block::check(cid, piece).unwrap());
    }
    let root = dagpb::encode(&links, &[]);
    let cid = Cid::v1(Codec::DAG_PB, HashFunction::Sha2_256, &root).unwrap();
    blocks.push(Block::check(cid, root).unwrap());
    blocks
}

fn store(dir: &Path, blocks: &[Block]) {
    let mut store = ContentStore::open(&dir.join(CONTENT_DIR), 1 << 30).unwrap();
    blocks.iter().for_each(|block| store.put(block).unwrap());
    let cid = *blocks.last().unwrap().cid();
    store.pin(&Pin { cid, kind: PinKind::Recursive, name: PinName::default() }).unwrap();
}

/// What a peer by hand does when it is asked for a block.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// Sends other bytes.
    Lie,
    /// Sends so many blocks, then is gone.
    Vanish(usize),
    /// Says that it has all, and sends nothing.
    Stall,
    /// Sends what was not asked for.
    Push,
}

/// A peer that dials a node and says that it has content. Ends when the connection does; returns how many blocks it sent.
async fn peer(to: SocketAddr, secret: u8, blocks: HashMap<Vec<u8>, Vec<u8>>, manner: Manner) -> usize {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let identity = Identity::from_secret([secret; 32]);
    let Session { mut sealer, mut opener, .. } = noise::initiate(&mut stream, &identity, None).await.unwrap();
    let mut decoder = Decoder::new(1_000_000);
    let hello = Hello::new(params().genesis_hash, SERVICE_FULL | SERVICE_CONTENT);
    let mut answers = vec![Message::Hello(hello)];
    let (mut sent, mut buffer) = (0, vec![0; 64 << 10]);
    loop {
        for message in answers.drain(..) {
            let mut records = Vec::new();
            sealer.seal(&frame::encode(&message), &mut records).unwrap();
            if stream.write_all(&records).await.is_err() {
                return sent;
            }
            sent += usize::from(matches!(message, Message::ContentBlock(_)));
        }
        if matches!(manner, Manner::Vanish(most) if sent >= most) {
            return sent;
        }
        let Ok(read @ 1..) = stream.read(&mut buffer).await else { return sent };
        opener.push(&buffer[..read]);
        while let Some(plain) = opener.open().unwrap() {
            decoder.push(plain);
        }
        while let Some(message) = decoder.next_message().unwrap() {
            match message {
                Message::Hello(_) if manner == Manner::Push => {
                    for _ in 0..20 {
                        let block = ContentBlock { hash: vec![0x12; 34], bytes: vec![7; 1_000] };
                        answers.push(Message::ContentBlock(block.into()));
                    }
                }
                Message::Ping(nonce) => answers.push(Message::Pong(nonce)),
                Message::WantBlocks(wants) => {
                    for want in wants {
                        match (want.whole, manner) {
                            (false, _) => {
                                answers.push(Message::HaveBlocks(vec![Have { hash: want.hash, here: true }]));
                            }
                            (true, Manner::Lie) => {
                                let block = ContentBlock { hash: want.hash, bytes: b"not it".to_vec() };
                                answers.push(Message::ContentBlock(block.into()));
                            }
                            (true, Manner::Vanish(_)) => {
                                let bytes = blocks[&want.hash].clone();
                                answers.push(Message::ContentBlock(ContentBlock { hash: want.hash, bytes }.into()));
                            }
                            (true, Manner::Stall | Manner::Push) => {}
                        }
                    }
                }
                _ => {}
            }
        }
    }
}

/// Waits until a node has so many connections.
async fn peers(node: &Running, count: usize) {
    let mut events = node.handle().subscribe();
    let all = async {
        while node.handle().read(|node, _| node.connection_counts()).await.map(|(a, b)| a + b).unwrap() < count {
            events.recv().await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, all).await.unwrap();
}

async fn fetch(node: &Running, root: Cid, patience: Duration) -> FetchStatus {
    let exchange = node.handle().exchange().unwrap();
    let whole = Wanted { root, path: Vec::new(), part: Part::All };
    Fetches::default().fetch(exchange, whole, patience, PATIENCE).await.unwrap()
}

/// 32 MB from four providers; one of them lies and one vanishes.
#[test]
fn a_file_comes_from_four_providers_though_one_lies_and_one_vanishes() {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let blocks = file(32 << 20);
    let root = *blocks.last().unwrap().cid();
    let bytes: u64 = blocks.iter().map(|block| block.bytes().len() as u64).sum();
    for dir in &dirs[1..] {
        store(dir.path(), &blocks);
    }
    // Some of it is here already, as after a fetch that was interrupted.
    let mut own = ContentStore::open(&dirs[0].path().join(CONTENT_DIR), 1 << 30).unwrap();
    blocks[..16].iter().for_each(|block| own.put(block).unwrap());
    own.flush().unwrap();
    drop(own);
    tokio.block_on(async {
        let mut nodes = Vec::new();
        for dir in &dirs {
            nodes.push(start(dir.path()).await);
        }
        let fetcher = &nodes[0];
        for honest in &nodes[1..] {
            connect(fetcher, honest.p2p_address().unwrap()).await;
        }
        let by_hash: HashMap<Vec<u8>, Vec<u8>> =
            blocks.iter().map(|block| (block.cid().multihash(), block.bytes().to_vec())).collect();
        let address = fetcher.p2p_address().unwrap();
        let liar = tokio::spawn(peer(address, 1, HashMap::new(), Manner::Lie));
        let vanisher = tokio::spawn(peer(address, 2, by_hash, Manner::Vanish(5)));
        peers(fetcher, 4).await;
        let begun = std::time::Instant::now();
        let FetchStatus { progress, ended } = fetch(fetcher, root, Duration::from_secs(30)).await;
        println!("{bytes} bytes in {:?}: {progress:?}", begun.elapsed());
        assert!(matches!(ended, Some(Ok(()))), "{ended:?}");
        assert_eq!((progress.blocks, progress.bytes), (blocks.len() as u64, bytes));
        assert_eq!(progress.fetched_blocks, blocks.len() as u64 - 16, "what is here is not fetched again");
        assert_eq!(progress.liars, [Identity::from_secret([1; 32]).id()], "the liar is named");
        assert!(liar.await.unwrap() >= 1, "and its connection closed");
        // It answers what it was asked at once before it goes.
        assert!(vanisher.await.unwrap() >= 5);
        let reader = ContentReader::open(&dirs[0].path().join(CONTENT_DIR)).unwrap();
        assert_eq!(reader.totals(root).unwrap().bytes, bytes);
        for node in nodes {
            node.stop().await.unwrap();
        }
    });
}

#[test]
fn what_no_node_has_is_an_error_and_so_is_a_peer_that_stalls() {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let cid = Cid::v1(Codec::RAW, HashFunction::Sha2_256, b"nowhere").unwrap();
    tokio.block_on(async {
        let node = start(dir.path()).await;
        let patience = Duration::from_secs(1);
        let FetchStatus { ended, .. } = fetch(&node, cid, patience).await;
        assert!(matches!(ended, Some(Err(FetchError::NoProvider { .. }))), "{ended:?}");
        let staller = tokio::spawn(peer(node.p2p_address().unwrap(), 1, HashMap::new(), Manner::Stall));
        peers(&node, 1).await;
        let FetchStatus { ended, .. } = fetch(&node, cid, patience).await;
        assert!(matches!(ended, Some(Err(FetchError::Stalled { .. }))), "{ended:?}");
        staller.abort();
        // What was not asked for ends the connection when it is repeated.
        let pusher = peer(node.p2p_address().unwrap(), 2, HashMap::new(), Manner::Push);
        assert_eq!(tokio::time::timeout(PATIENCE, pusher).await.unwrap(), 20);
        node.stop().await.unwrap();
    });
}

/// What a peer promises and does not send is asked of another.
#[test]
fn blocks_that_a_peer_withholds_come_from_another() {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let blocks = file(4 << 20);
    let root = *blocks.last().unwrap().cid();
    store(dirs[1].path(), &blocks);
    tokio.block_on(async {
        let (fetcher, honest) = (start(dirs[0].path()).await, start(dirs[1].path()).await);
        let staller = tokio::spawn(peer(fetcher.p2p_address().unwrap(), 1, HashMap::new(), Manner::Stall));
        peers(&fetcher, 1).await;
        connect(&fetcher, honest.p2p_address().unwrap()).await;
        let FetchStatus { progress, ended } = fetch(&fetcher, root, PATIENCE).await;
        assert!(matches!(ended, Some(Ok(()))), "{ended:?}");
        assert_eq!((progress.fetched_blocks, progress.liars.len()), (blocks.len() as u64, 0));
        staller.abort();
        fetcher.stop().await.unwrap();
        honest.stop().await.unwrap();
    });
}

/// The same bytes under two names come once; a link that cannot be checked ends the fetch, and no peer is blamed.
#[test]
fn blocks_with_two_names_come_once_and_those_that_cannot_be_checked_are_not_asked_for() {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let dirs: Vec<_> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let link = |cid: Cid| Link { name: Vec::new(), cid, size: 0 };
    let block =
        |bytes: Vec<u8>| Block::check(Cid::v1(Codec::DAG_PB, HashFunction::Sha2_256, &bytes).unwrap(), bytes).unwrap();
    let twin = block(dagpb::encode(&[], b"twin"));
    let raw = Cid::v1(Codec::RAW, HashFunction::Sha2_256, twin.bytes()).unwrap();
    let root = block(dagpb::encode(&[link(raw), link(*twin.cid())], &[]));
    // Version 1, raw, a function of another table, 4 bytes of digest.
    let strange = Cid::from_bytes(&[1, 0x55, 0xb2, 0x40, 4, 1, 2, 3, 4]).unwrap();
    let bad = block(dagpb::encode(&[link(strange)], &[]));
    let (root_cid, bad_cid) = (*root.cid(), *bad.cid());
    store(dirs[1].path(), &[twin, bad, root]);
    tokio.block_on(async {
        let (fetcher, honest) = (start(dirs[0].path()).await, start(dirs[1].path()).await);
        connect(&fetcher, honest.p2p_address().unwrap()).await;
        let FetchStatus { progress, ended } = fetch(&fetcher, root_cid, PATIENCE).await;
        assert!(matches!(ended, Some(Ok(()))), "{ended:?}");
        assert_eq!(progress.fetched_blocks, 2);
        let FetchStatus { progress, ended } = fetch(&fetcher, bad_cid, PATIENCE).await;
        assert!(matches!(ended, Some(Err(FetchError::Unverifiable { .. }))), "{ended:?}");
        assert!(progress.liars.is_empty());
        fetcher.stop().await.unwrap();
        honest.stop().await.unwrap();
    });
}

/// A lookup asks a provider over a brief connection, which lasts for another second. It is no peer by that.
#[test]
fn a_provider_that_a_lookup_has_just_asked_is_dialled_at_once() {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    let dirs: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let blocks = file(1 << 20);
    let root = *blocks.last().unwrap().cid();
    let key = NodeId::of_content(&root.multihash());
    store(dirs[1].path(), &blocks);
    tokio.block_on(async {
        let (hub, provider) = (start(dirs[0].path()).await, start(dirs[1].path()).await);
        // It has no peers but the hub, and finds others by lookups alone.
        let config = Config { outbound_target: 0, ..Config::new(dirs[2].path(), params()) };
        let seeker = Running::start(config).await.unwrap();
        let hub_address = hub.p2p_address().unwrap();
        connect(&provider, hub_address).await;
        let mut events = provider.handle().subscribe();
        provider.handle().command(move |reply| Command::Announce(key, reply)).await.unwrap();
        let announced = async { while !matches!(events.recv().await.unwrap(), Event::Announced { nodes: 1.., .. }) {} };
        tokio::time::timeout(PATIENCE, announced).await.unwrap();
        connect(&seeker, hub_address).await;
        let mut events = seeker.handle().subscribe();
        let number = seeker.handle().command(move |reply| Command::FindProviders(key, reply)).await.unwrap();
        let found = async {
            loop {
                match events.recv().await.unwrap() {
                    Event::NodesFound(found) if found.number == number => return found,
                    _ => {}
                }
            }
        };
        let found = tokio::time::timeout(PATIENCE, found).await.unwrap();
        assert_eq!(found.providers.len(), 1);
        assert!(found.path.iter().any(|step| step.contact.id == found.providers[0].id), "{:?}", found.path);
        // Less than the time between two lookups of a fetch.
        let FetchStatus { progress, ended } = fetch(&seeker, root, Duration::from_millis(2_500)).await;
        assert!(matches!(ended, Some(Ok(()))), "{ended:?}: {progress:?}");
        for node in [hub, provider, seeker] {
            node.stop().await.unwrap();
        }
    });
}

/// Three processes: what one adds, another gets by its CID alone; then the first is gone, and a third gets it from the second.
#[test]
fn content_outlives_the_node_that_had_it_first() {
    let place = Place::new();
    place.found(&spec(INSTANT, &[]));
    let content = |node: &str, args: &[&str]| place.run(node, &[&["content"], args].concat());
    let first = place.node("a", &[]);
    std::fs::create_dir(place.path("site")).unwrap();
    let big: Vec<u8> = (0..2_000_000_u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect();
    std::fs::write(place.path("site/big"), &big).unwrap();
    std::fs::write(place.path("site/index.html"), "<p>here").unwrap();
    let root = content("a", &["add", "-rQ", "site"]).ok();
    content("b", &["cat", &format!("{root}/index.html")]).fails(1, "no node is running");
    let second = place.node("b", &["--connect", &first.peer_address()]);
    wait_for("the pin to be announced", || {
        let found = content("b", &["find", &root]);
        (found.code == 0 && found.ok().ends_with(&first.peer_address())).then_some(())
    });
    content("b", &["get", "--offline", &root, "-o", "none"]).fails(1, "is not here");
    assert_eq!(content("b", &["cat", &format!("{root}/index.html")]).ok(), "<p>here");
    content("b", &["get", &root, "-o", "got"]).ok();
    assert_eq!(std::fs::read(place.path("got/big")).unwrap(), big);
    first.kill();
    let third = place.node("c", &["--connect", &second.peer_address()]);
    wait_for("the third to know the second", || {
        let known = third.call("getconnectioncount", &[]);
        (known == 1).then_some(())
    });
    content("c", &["get", &root, "-o", "again"]).ok();
    assert_eq!(std::fs::read(place.path("again/big")).unwrap(), big);
    assert_eq!(std::fs::read(place.path("again/index.html")).unwrap(), b"<p>here");
}

/// A part of it is here before, so a CAR that was begun too early would have that part twice.
#[test]
fn a_car_of_content_that_is_elsewhere_begins_once() {
    let place = Place::new();
    place.found(&spec(INSTANT, &[]));
    let content = |node: &str, args: &[&str]| place.run(node, &[&["content"], args].concat());
    let first = place.node("a", &[]);
    std::fs::create_dir(place.path("site")).unwrap();
    let big: Vec<u8> = (0..600_000_u64).map(|i| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect();
    std::fs::write(place.path("site/big"), &big).unwrap();
    std::fs::write(place.path("site/index.html"), "<p>here").unwrap();
    let root = content("a", &["add", "-rQ", "site"]).ok();
    content("a", &["export", &root, "-o", "whole.car"]).ok();
    let second = place.node("b", &["--connect", &first.peer_address()]);
    wait_for("the second to know the first", || {
        let known = second.call("getconnectioncount", &[]);
        (known == 1).then_some(())
    });
    assert_eq!(content("b", &["cat", &format!("{root}/index.html")]).ok(), "<p>here");
    content("b", &["export", &root, "-o", "part.car"]).fails(1, "is not here");
    let got = place.command("b", &["content", "get", &root, "--car", "-o", "-"]).output().unwrap();
    assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
    assert!(got.stdout == std::fs::read(place.path("whole.car")).unwrap(), "{} bytes", got.stdout.len());
}
