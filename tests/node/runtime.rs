//! Nodes over real TCP on loopback: what the protocol's simulator cannot show.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cairn::consensus::params::{GenesisSpec, Params};
use cairn::consensus::peer_name::PeerName;
use cairn::miner::{kernel, template};
use cairn::p2p::noise::{HANDSHAKE_BYTES, Identity};
use cairn::p2p::{Command, Event, Reason};
use cairn::primitives::amount::Amount;
use cairn::primitives::hash::BlockHash;
use cairn::primitives::height::Height;
use cairn::primitives::keys::{SecretKey, Signature};
use cairn::primitives::tx::{Input, OutPoint, Output, Transaction};
use cairn::runtime::noise::{self, KEY_FILE};
use cairn::runtime::{Config, Failure, Handle, Running, SocketLimits, StartError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Ends a test that would wait for ever; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(60);

fn params() -> Arc<Params> {
    Arc::new(Params::new(GenesisSpec::regtest()).expect("valid as it stands"))
}

fn key() -> SecretKey {
    cairn_testkit::key(7)
}

fn config(dir: &Path) -> Config {
    Config { listen: Some((Ipv4Addr::LOCALHOST, 0).into()), ..Config::new(dir, params()) }
}

fn address(node: &Running) -> SocketAddr {
    node.p2p_address().expect("it listens")
}

async fn start(config: Config) -> Running {
    Running::start(config).await.expect("the node starts")
}

async fn stop(node: Running) {
    node.stop().await.expect("the node stops");
}

async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("it happens")
}

/// Mines so many blocks on the tip, and answers the last one's hash.
async fn mine(handle: &Handle, count: u32) -> BlockHash {
    let mut tip = handle.tip().borrow().hash;
    for _ in 0..count {
        tip = handle
            .decide(|node, now, reply| {
                let template = template::build(node.chain(), node.mempool(), &key().public_key(), 0, now.unix)
                    .expect("bits of genesis are a target");
                let nonce =
                    kernel::search(&template.header, template.target, 0..=u32::MAX).expect("one in two will do");
                let block = template.block(nonce);
                let hash = block.hash();
                Some(Command::SubmitBlock(block, reply.map(move |taken: Result<_, _>| taken.map(|_| hash))))
            })
            .await
            .expect("the node is there")
            .expect("a template makes a valid block");
    }
    tip
}

async fn reaches(handle: &Handle, hash: BlockHash) {
    let mut tip = handle.tip();
    within(tip.wait_for(|tip| tip.hash == hash)).await.expect("the node is there");
}

/// Whether the other side closes the connection, whatever it says before.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4096];
    within(async {
        loop {
            match stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return true,
                Ok(_) => {}
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_late_node_syncs_and_then_both_relay() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let miner = start(config(dirs[0].path())).await;
    let tip = mine(miner.handle(), 30).await;

    // By name, as a person would type it.
    let connect = vec![format!("localhost:{}", address(&miner).port()).parse().unwrap()];
    let late = start(Config { connect, ..config(dirs[1].path()) }).await;
    reaches(late.handle(), tip).await;

    let mut events = miner.handle().subscribe();
    let tip = mine(miner.handle(), 1).await;
    reaches(late.handle(), tip).await;

    let transaction = payment(late.handle()).await;
    let txid = transaction.txid();
    let accepted = late.handle().command(move |reply| Command::SubmitTransaction(transaction, reply)).await;
    assert!(matches!(accepted, Ok(Ok(_))), "{accepted:?}");
    within(async {
        loop {
            if let Event::TransactionAccepted { txid: seen } = events.recv().await.expect("the node is there") {
                assert_eq!(seen, txid);
                break;
            }
        }
    })
    .await;
    let tip = mine(miner.handle(), 1).await;
    reaches(late.handle(), tip).await;
    let (_, block, height) = late.handle().db().transaction(&txid).unwrap().expect("it was mined");
    assert_eq!((block, height), (tip, Height::from_u32(32)));

    let totals = [miner.handle().network_totals(), late.handle().network_totals()];
    assert!(totals.iter().all(|totals| totals.received.bytes > 0 && totals.sent.bytes > 0), "{totals:?}");
    stop(late).await;
    stop(miner).await;
}

/// Spends the coinbase of block 1, which has matured.
async fn payment(handle: &Handle) -> Transaction {
    let at = handle.db().key_at(Height::from_u32(1)).unwrap().expect("block 1 is there");
    let block = handle.db().block(&at).unwrap().expect("its body too");
    let coinbase = &block.transactions[0];
    let spent = coinbase.outputs[0].clone();
    let outpoint = OutPoint { txid: coinbase.txid(), index: 0 };
    let mut transaction = Transaction {
        version: 1,
        inputs: vec![Input { outpoint, signature: Signature::EMPTY }],
        outputs: vec![Output::pay(key().public_key(), Amount::from_grains(spent.value.as_grains() - 10_000))],
        lock_height: Height::GENESIS,
    };
    let digest = transaction.signature_digest(&handle.params().genesis_hash, [&spent]);
    transaction.inputs[0].signature = key().sign(&digest);
    transaction
}

#[tokio::test]
async fn a_restart_resumes_at_the_same_tip() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path())).await;
    let tip = mine(node.handle(), 12).await;
    stop(node).await;
    let node = start(config(dir.path())).await;
    assert_eq!(node.handle().tip().borrow().hash, tip);
    stop(node).await;
}

#[tokio::test]
async fn connections_that_say_nothing_or_too_little_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let short = Duration::from_secs(1);
    let sockets = SocketLimits { first_message: short, message: short, ..SocketLimits::default() };
    let node = start(Config { sockets, ..config(dir.path()) }).await;

    let mut silent = TcpStream::connect(address(&node)).await.unwrap();
    let mut slow = TcpStream::connect(address(&node)).await.unwrap();
    slow.write_all(&[100, 0]).await.unwrap();
    let mut known = TcpStream::connect(address(&node)).await.unwrap();
    noise::initiate(&mut known, &Identity::from_secret(rand::random()), Some(node.handle().id())).await.unwrap();
    assert!(is_closed(&mut silent).await && is_closed(&mut slow).await && is_closed(&mut known).await);
    stop(node).await;
}

#[tokio::test]
async fn garbage_and_oversized_frames_are_dropped() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path())).await;
    for bytes in [&b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..], &[0xff; 64], &[0; 64]] {
        // In place of the handshake, of a record, and in a record.
        let mut stream = TcpStream::connect(address(&node)).await.unwrap();
        stream.write_all(&[bytes, &[7; HANDSHAKE_BYTES]].concat()).await.unwrap();
        assert!(is_closed(&mut stream).await, "{bytes:?}");
        for is_sealed in [false, true] {
            let mut stream = TcpStream::connect(address(&node)).await.unwrap();
            let mut session = noise::initiate(&mut stream, &Identity::from_secret(rand::random()), None).await.unwrap();
            let mut wire = bytes.to_vec();
            if is_sealed {
                wire.clear();
                session.sealer.seal(bytes, &mut wire).unwrap();
            }
            wire.resize(wire.len() + (1 << 16), 7);
            // It may be closed before all is written.
            let _ = stream.write_all(&wire).await;
            assert!(is_closed(&mut stream).await, "{bytes:?} {is_sealed}");
        }
    }
    // And other connections are not affected.
    mine(node.handle(), 1).await;
    stop(node).await;
}

#[tokio::test]
async fn surplus_connections_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(Config { max_inbound: 2, ..config(dir.path()) }).await;
    let mut open = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(address(&node)).await.unwrap();
        if noise::initiate(&mut stream, &Identity::from_secret(rand::random()), None).await.is_ok() {
            open.push(stream);
        }
    }
    // Those within bounds stay open longer than a read of the last one takes.
    assert!(is_closed(&mut TcpStream::connect(address(&node)).await.unwrap()).await);
    assert!(open.len() >= 2);
    stop(node).await;
}

#[tokio::test]
async fn a_node_is_known_by_its_key() {
    let dirs = [(); 3].map(|()| tempfile::tempdir().unwrap());
    let node = start(config(dirs[0].path())).await;
    let (id, at) = (node.handle().id(), address(&node));
    let mut stream = TcpStream::connect(at).await.unwrap();
    assert_eq!(noise::initiate(&mut stream, &Identity::from_secret(rand::random()), None).await.unwrap().peer, id);
    let pinned = |id, dir| Config { connect: vec![PeerName { id: Some(id), host: at.to_string() }], ..config(dir) };

    let other = start(pinned(id.0, dirs[1].path())).await;
    let mut events = other.handle().subscribe();
    let is_peer =
        move |node: &cairn::record::Recorded, now| node.peers(now).iter().any(|peer| peer.ready && peer.node == id);
    while !other.handle().read(is_peer).await.unwrap() {
        within(events.recv()).await.unwrap();
    }
    let other_id = other.handle().id();
    stop(other).await;
    let other = start(config(dirs[1].path())).await;
    assert_eq!(other.handle().id(), other_id, "kept over a restart");
    stop(other).await;

    // Another node at that address is refused: the dial fails and is repeated.
    let other = start(pinned([7; 32], dirs[2].path())).await;
    mine(node.handle(), 1).await;
    let short = Duration::from_millis(1_500);
    let mut tip = other.handle().tip();
    assert!(tokio::time::timeout(short, tip.wait_for(|tip| tip.height == Height::from_u32(1))).await.is_err());
    stop(other).await;
    stop(node).await;

    std::fs::write(dirs[0].path().join(KEY_FILE), "short").unwrap();
    let error = Running::start(config(dirs[0].path())).await.err().unwrap();
    assert!(matches!(&error, StartError::Identity(_)), "{error:?}");
    assert!(error.to_string().contains("5 bytes, expected 32"), "{error}");
}

#[tokio::test]
async fn a_node_that_dials_itself_notices() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path())).await;
    let mut events = node.handle().subscribe();
    let own = address(&node);
    node.handle().command(move |reply| Command::ConnectOnce(own.into(), None, reply)).await.unwrap();
    within(async {
        loop {
            match events.recv().await.expect("the node is there") {
                Event::PeerDisconnected { reason, .. } => return assert_eq!(reason, Reason::SelfConnection),
                Event::PeerConnected { .. } => panic!("with itself"),
                _ => {}
            }
        }
    })
    .await;
    stop(node).await;
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let node = start(config(dirs[0].path())).await;
    let taken = address(&node);
    let error = Running::start(Config { listen: Some(taken), ..config(dirs[1].path()) }).await.err().unwrap();
    assert!(matches!(&error, StartError::Listen { address, .. } if *address == taken));
    assert!(error.to_string().contains(&taken.to_string()), "{error}");
    stop(node).await;
}

#[tokio::test]
async fn a_data_directory_in_use_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path())).await;
    let error = Running::start(config(dir.path())).await.err().unwrap();
    assert!(matches!(error, StartError::Store(_)), "{error:?}");
    assert!(error.to_string().contains(&dir.path().display().to_string()), "{error}");
    stop(node).await;
}

#[tokio::test]
async fn another_networks_directory_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    stop(start(config(dir.path())).await).await;
    let mut spec = GenesisSpec { message: "Another place".to_owned(), ..GenesisSpec::regtest() };
    assert!(spec.mine_nonce());
    let other = Arc::new(Params::new(spec).unwrap());
    let error = Running::start(Config { params: other.clone(), ..config(dir.path()) }).await.err().unwrap().to_string();
    for hash in [params().genesis_hash, other.genesis_hash] {
        assert!(error.contains(&hash.to_string()), "{error}");
    }
}

#[tokio::test]
async fn wrong_directories_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Running::start(config(&file.join("data"))).await.err().unwrap();
    assert!(matches!(&error, StartError::DataDir { .. }), "{error:?}");
    assert!(error.to_string().contains(&file.display().to_string()), "{error}");
}

#[tokio::test]
async fn a_panic_on_the_nodes_thread_ends_the_node_and_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path())).await;
    let tip = mine(node.handle(), 3).await;
    let answer = node.handle().read(|_, _| -> u32 { panic!("a defect") }).await;
    assert!(answer.is_err());
    within(node.finished()).await;
    assert!(node.handle().read(|_, _| ()).await.is_err());
    let failure = node.stop().await.expect_err("it did not stop of its own free will");
    assert!(matches!(&failure, Failure::Panicked { message } if message == "a defect"), "{failure:?}");

    let node = start(config(dir.path())).await;
    assert_eq!(node.handle().tip().borrow().hash, tip);
    stop(node).await;
}

#[tokio::test]
async fn shutdown_can_be_asked_for_by_anyone_with_a_handle() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(config(dir.path())).await;
    let handle = node.handle().clone();
    let mut events = handle.subscribe();
    handle.shutdown();
    within(node.finished()).await;
    stop(node).await;
    handle.stopped().await;
    assert!(events.recv().await.is_err());
    assert!(handle.read(|_, _| ()).await.is_err());
}

#[tokio::test]
async fn a_node_mines_when_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let node = start(Config { mine: Some(key().public_key()), ..config(dir.path()) }).await;
    let mut tip = node.handle().tip();
    within(tip.wait_for(|tip| tip.height >= Height::from_u32(5))).await.unwrap();
    stop(node).await;
}
