use std::io::{Cursor, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::entry::{self, COMMAND, END, INPUT};
use super::*;
use crate::chain::Chain;
use crate::consensus::params::{GenesisSpec, Params};
use crate::mempool::{Limits, Mempool};
use crate::miner::template;
use crate::p2p::chain_prover::TipProof;
use crate::p2p::frame::FrameError;
use crate::p2p::kad::NodeId;
use crate::p2p::message::tests::samples;
use crate::p2p::message::{Kind, Message};
use crate::p2p::wants::ContentFault;
use crate::p2p::{Command, Config, Direction, Input, Node, Now, PeerAddr, PeerId, Protocol, Reply};
use crate::primitives::block::Block;
use crate::primitives::codec;
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::time::{MonoTime, UnixTime};
use crate::primitives::tx::HashedTransaction;
use crate::storage::{BlockKey, MemoryStore};

fn params() -> Arc<Params> {
    Arc::new(Params::new(GenesisSpec::regtest()).unwrap())
}

fn address() -> PeerAddr {
    "192.0.2.7:7331".parse().unwrap()
}

/// One of each, and of each message.
fn inputs() -> Vec<Input> {
    let (peer, address, id) = (PeerId(7), address(), NodeId([9; 32]));
    let mut inputs = vec![
        Input::Connected { peer, address, direction: Direction::Inbound, id },
        Input::Connected { peer, address: "[2001:db8::1]:1".parse().unwrap(), direction: Direction::Outbound, id },
        Input::ConnectFailed { address, found: None },
        Input::Malformed { peer, reason: FrameError::Empty },
        Input::Malformed { peer, reason: Message::decode(Kind::Ping, &[1]).unwrap_err().into() },
        Input::Transactions { peer, transactions: Vec::new(), verified: Vec::new() },
        Input::Transactions {
            peer,
            transactions: vec![HashedTransaction::new(params().genesis.transactions[0].clone()); 2],
            verified: vec![params().genesis.transactions[0].txid()],
        },
        Input::Flushed { peer },
        Input::Disconnected { peer },
        Input::Delayed { by: Duration::from_millis(700) },
        Input::Tick,
        Input::Stop,
    ];
    inputs.extend(samples().into_iter().map(|message| Input::Received { peer, message, at: MonoTime::from_millis(3) }));
    inputs
}

/// One of each.
fn commands() -> Vec<Command> {
    let (address, id, hash) = (address(), Some(NodeId([9; 32])), BlockHash::from_bytes([3; 32]));
    let genesis = params().genesis.clone();
    let subnet = "203.0.113.0/24".parse().unwrap();
    vec![
        Command::SubmitTransaction(genesis.transactions[0].clone(), Reply::nowhere()),
        Command::SubmitHeader(genesis.header, Reply::nowhere()),
        Command::SubmitBlock(genesis, Reply::nowhere()),
        Command::RestoreMempool(vec![1, 2, 3], Reply::nowhere()),
        Command::RestoreMempool(Vec::new(), Reply::nowhere()),
        Command::Invalidate(hash, Reply::nowhere()),
        Command::Reconsider(hash, Reply::nowhere()),
        Command::Ping(Reply::nowhere()),
        Command::AddNode(address, id, Reply::nowhere()),
        Command::AddSeed(address, None, Reply::nowhere()),
        Command::RemoveNode(address, Reply::nowhere()),
        Command::ConnectOnce(address, id, Reply::nowhere()),
        Command::Disconnect(PeerId(5), Reply::nowhere()),
        Command::DisconnectAddress(address, Reply::nowhere()),
        Command::Unban(subnet, Reply::nowhere()),
        Command::ClearBans(Reply::nowhere()),
        Command::Ban(subnet, UnixTime::from_secs(1_800_000_000), Reply::nowhere()),
        Command::Tick(Reply::nowhere()),
        Command::FindNode(NodeId([1; 32]), Reply::nowhere()),
        Command::FindProviders(NodeId([1; 32]), Reply::nowhere()),
        Command::Announce(NodeId([1; 32]), Reply::nowhere()),
        Command::Provide(vec![NodeId([1; 32]); 2], Reply::nowhere()),
        Command::StopProviding(vec![NodeId([1; 32]); 2], Reply::nowhere()),
        Command::PenaliseContent(PeerId(5), ContentFault::False { hash: vec![1; 34] }, Reply::nowhere()),
        Command::TakeSnapshot("before".to_owned(), Reply::nowhere()),
        Command::Revert("before".to_owned(), Reply::nowhere()),
        Command::DropSnapshot("before".to_owned(), Reply::nowhere()),
        Command::SetActive(true, Reply::nowhere()),
        Command::PruneBelow(Height::from_u32(7), Reply::nowhere()),
        Command::StateReady(BlockKey { height: Height::from_u32(7), hash }, Reply::nowhere()),
        Command::ProofMade(None, Reply::nowhere()),
        Command::ProofMade(
            Some(TipProof { tip: BlockKey { height: Height::from_u32(7), hash }, bytes: vec![1] }),
            Reply::nowhere(),
        ),
    ]
}

#[test]
fn inputs_and_commands_survive() {
    let mut tags: Vec<u8> = Vec::new();
    for input in inputs() {
        let bytes = encode_input(&input);
        let read = decode_input(&bytes).unwrap();
        // Messages are not all comparable, and their bytes are all there is to them.
        assert_eq!((format!("{read:?}"), encode_input(&read)), (format!("{input:?}"), bytes.clone()));
        tags.push(bytes[0]);
    }
    tags.dedup();
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags, (0..10).collect::<Vec<u8>>(), "one of each kind of input is tried");
    let mut tags: Vec<u8> = Vec::new();
    for command in commands() {
        let bytes = encode_command(&command);
        let read = decode_command(&bytes).unwrap();
        assert_eq!((format!("{read:?}"), encode_command(&read)), (format!("{command:?}"), bytes.clone()));
        tags.push(bytes[0]);
    }
    tags.sort_unstable();
    tags.dedup();
    assert_eq!(tags, (0..30).collect::<Vec<u8>>(), "one of each kind of command is tried");
}

/// As the module's documentation says.
#[test]
fn an_input_takes_few_bytes() {
    let length = |input: &Input| {
        let mut bytes = Vec::new();
        entry::write(&mut bytes, INPUT, &[&entry::moment(at(1), [0; 8]), &encode_input(input)]);
        bytes.len()
    };
    assert_eq!(length(&Input::Tick), 34);
    for message in samples() {
        let frame = crate::p2p::frame::encode(&message).len();
        assert_eq!(length(&Input::Received { peer: PeerId(1), message, at: MonoTime::from_millis(2) }), 46 + frame);
    }
}

proptest! {
    /// Arbitrary bytes are an input, or a command, in no second way.
    #[test]
    fn arbitrary_bytes_are_refused_or_read_and_written_the_same(tag in 0..20u8, rest in prop::collection::vec(any::<u8>(), 0..80)) {
        let bytes = [&[tag], &rest[..]].concat();
        if let Ok(input) = decode_input(&bytes) {
            prop_assert_eq!(encode_input(&input), bytes.clone());
        }
        if let Ok(command) = decode_command(&bytes) {
            prop_assert_eq!(encode_command(&command), bytes);
        }
    }

    #[test]
    fn numbers_and_addresses_survive(peer: u64, ip: std::net::IpAddr, port: u16, id: [u8; 32], at: u64, until: u64) {
        let (address, id) = (PeerAddr::from((ip, port)), NodeId(id));
        for input in [
            Input::Connected { peer: PeerId(peer), address, direction: Direction::Inbound, id },
            Input::ConnectFailed { address, found: None },
            Input::Received { peer: PeerId(peer), message: Message::Pong(until), at: MonoTime::from_millis(at) },
            Input::Delayed { by: Duration::from_millis(at) },
        ] {
            let read = decode_input(&encode_input(&input)).unwrap();
            prop_assert_eq!(format!("{read:?}"), format!("{input:?}"));
        }
        let subnet = crate::p2p::Subnet::host(ip);
        let ban = Command::Ban(subnet, UnixTime::from_secs(until), Reply::nowhere());
        let read = decode_command(&encode_command(&ban)).unwrap();
        prop_assert_eq!(format!("{read:?}"), format!("{ban:?}"));
    }
}

fn at(millis: u64) -> Now {
    Now {
        mono: MonoTime::from_millis(millis),
        unix: UnixTime::from_secs(u64::from(params().timestamp) + 1_000 + millis / 1_000),
    }
}

/// A node with a chain of `blocks`, recorded from there on.
fn recorded(mut recorder: Recorder, blocks: u32) -> Recorded {
    let (params, store) = (params(), Arc::new(MemoryStore::new()));
    let mut chain = Chain::open(params.clone(), store.clone()).unwrap();
    for _ in 0..blocks {
        let block = next_block(&chain, &Mempool::new(params.clone(), Limits::default()));
        chain.accept_block(block, at(0).unix, &|_| false).unwrap();
    }
    drop(chain);
    let config =
        Config { id: NodeId([4; 32]), listens: vec![PeerAddr::tcp_port(7331)], seed: [6; 32], ..Config::default() };
    let limits = Limits::default();
    recorder.begin(&Start::new(&params, &config, &limits, at(0)), &*store).unwrap();
    let chain = Chain::open(params.clone(), store).unwrap();
    let node = Node::new(chain, Mempool::new(params, limits), config, at(0)).unwrap();
    let mut recorded = Recorded::new(node, Some(recorder), at(0));
    recorded.drain();
    recorded
}

fn next_block(chain: &Chain, mempool: &Mempool) -> Block {
    let template = template::build(chain, mempool, &PublicKey([1; 32]), 0, at(0).unix).unwrap();
    let mut block = template.block(0);
    while !template.target.is_met_by(&block.hash()) {
        block.header.nonce += 1;
    }
    block
}

/// Some of everything, the last of them a block of its own.
fn live(node: &mut Recorded) {
    for (millis, input) in (1..).zip(inputs()) {
        if !matches!(input, Input::Stop) {
            node.handle(at(millis * 100), input);
            node.drain();
        }
    }
    for (millis, command) in (1..).zip(commands()) {
        node.command(at(10_000 + millis * 100), command);
        node.drain();
    }
    let block = next_block(node.chain(), node.mempool());
    node.command(at(20_000), Command::SubmitBlock(block, Reply::nowhere()));
    node.drain();
}

fn run_again(bytes: &[u8]) -> Result<Replay, RecordError> {
    replay(Reader::new(Cursor::new(bytes))?, &|_| ())
}

/// A record of a node's life, which ended in order or not, and how the node stood.
fn record(stop: bool) -> (Vec<u8>, State) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.rec");
    let mut node = recorded(Recorder::create(&path).unwrap(), 3);
    live(&mut node);
    let last = at(30_000);
    node.handle(last, if stop { Input::Stop } else { Input::Tick });
    node.drain();
    let state = State::of(&node, last);
    drop(node);
    (std::fs::read(&path).unwrap(), state)
}

/// Where the entries of a record start, and their kinds.
fn entries(bytes: &[u8]) -> Vec<(usize, u8)> {
    let (mut starts, mut at) = (Vec::new(), MAGIC.len() + 4);
    while at < bytes.len() {
        starts.push((at, bytes[at + 4]));
        at += 4 + u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize + entry::CHECKSUM_BYTES;
    }
    starts
}

#[test]
fn a_replay_comes_to_the_same() {
    let count = inputs().len() as u64;
    for (stop, ending) in [(true, Ending::Stopped), (false, Ending::Open)] {
        let (bytes, state) = record(stop);
        let replayed = run_again(&bytes).unwrap();
        assert_eq!((state.height, state.bans), (Height::from_u32(4), 1), "{state:?}");
        assert_eq!((&replayed.state, replayed.ending), (&state, ending));
        assert_eq!((replayed.inputs, replayed.commands), (count, commands().len() as u64 + 1));
        assert_eq!((replayed.checkpoints, replayed.last), (1 + u64::from(stop), at(30_000)));
        assert_eq!(replayed.start.config.seed, [6; 32]);
    }
}

#[test]
fn many_inputs_have_checkpoints() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.rec");
    let mut node = recorded(Recorder::create(&path).unwrap(), 0);
    for tick in 0..3 * CHECKPOINT_INTERVAL {
        node.handle(at(tick), Input::Tick);
        node.drain();
    }
    drop(node);
    let replayed = run_again(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!((replayed.inputs, replayed.checkpoints), (3 * CHECKPOINT_INTERVAL, 4));
}

#[test]
fn a_record_cut_anywhere_is_that_of_a_shorter_time() {
    let (bytes, _) = record(true);
    let starts = entries(&bytes);
    let first = starts.iter().position(|(_, kind)| [INPUT, COMMAND].contains(kind)).unwrap();
    // Every place within the last entries and at their ends, and some of the others.
    let tail = starts[starts.len() - 3].0;
    for length in (0..tail).step_by(97).chain(tail..bytes.len()) {
        let whole = starts.iter().filter(|(start, _)| *start <= length).count();
        match run_again(&bytes[..length]) {
            Ok(replayed) => {
                let done = (replayed.inputs + replayed.commands) as usize;
                let is_whole = starts.iter().any(|(start, _)| *start == length);
                assert_eq!(replayed.ending, if is_whole { Ending::Open } else { Ending::Cut }, "cut to {length}");
                // The one that `length` lies within or before is not there.
                assert_eq!(done, whole.saturating_sub(first + 1), "cut to {length}");
            }
            Err(RecordError::NotARecord) => assert!(length < MAGIC.len() + 4),
            Err(RecordError::TooShort { .. }) => assert!(length < starts[first].0, "cut to {length}"),
            Err(error) => panic!("cut to {length}: {error}"),
        }
    }
}

#[test]
fn no_changed_bit_is_missed() {
    let (bytes, _) = record(true);
    let tail = bytes.len() - 3_000.min(bytes.len());
    for place in (0..tail).step_by(101).chain(tail..bytes.len()) {
        let mut changed = bytes.clone();
        changed[place] ^= 1 << (place % 8);
        match run_again(&changed) {
            Err(
                RecordError::NotARecord
                | RecordError::OtherFormat { .. }
                | RecordError::Checksum { .. }
                | RecordError::Malformed { .. },
            ) => {}
            // A length that grew beyond the end cannot be told from a record that was cut there.
            Ok(Replay { ending: Ending::Cut, .. }) | Err(RecordError::TooShort { .. }) => {}
            other => panic!("byte {place}: {other:?}"),
        }
    }
}

#[test]
fn the_first_input_after_which_they_differ_is_named() {
    let (bytes, _) = record(true);
    let starts = entries(&bytes);
    let all: Vec<usize> = (0..starts.len()).filter(|n| [INPUT, COMMAND].contains(&starts[*n].1)).collect();
    let end = |n: usize| starts.get(n + 1).map_or(bytes.len(), |(start, _)| *start);
    let without = |n: usize| [&bytes[..starts[n].0], &bytes[end(n)..]].concat();
    // The input of a ping, which makes a pong, is gone: so the one before it is the last that is the same.
    let connected = without(all[0]);
    let Err(RecordError::Diverged { input, offset, what, .. }) = run_again(&connected) else {
        panic!("a connection that never was is not missed")
    };
    assert_eq!((input, offset, what.as_str()), (0, 0, "the start"));
    // The block at the end is another's.
    let block = *all.iter().rev().nth(1).unwrap();
    let body = &bytes[starts[block].0 + entry::HEAD_BYTES..end(block) - entry::CHECKSUM_BYTES];
    let mut body = body.to_vec();
    let last = body.len() - 1;
    body[last] ^= 1;
    let mut forged = bytes[..starts[block].0].to_vec();
    entry::write(&mut forged, COMMAND, &[&body]);
    forged.extend_from_slice(&bytes[end(block)..]);
    let Err(RecordError::Diverged { input, offset, what, difference }) = run_again(&forged) else {
        panic!("another block makes no difference")
    };
    let before = all.iter().position(|n| *n == block).unwrap() as u64;
    assert_eq!((input, offset, what.as_str()), (before + 1, starts[block].0 as u64, "command SubmitBlock"));
    assert!(difference.contains("outputs"), "{difference}");
    // Another state at the end, with the same outputs.
    let (start, kind) = *starts.last().unwrap();
    assert_eq!(kind, END);
    let body = &bytes[start + entry::HEAD_BYTES..bytes.len() - entry::CHECKSUM_BYTES];
    let (digest, state) = codec::decode::<([u8; 8], State)>(body).unwrap();
    let mut forged = bytes[..start].to_vec();
    entry::write(&mut forged, END, &[&codec::encode(&(digest, State { bans: 2, ..state }))]);
    let error = run_again(&forged).unwrap_err();
    assert!(error.to_string().contains("recorded: 2 bans; replayed: 1 others"), "{error}");
}

#[test]
fn an_existing_file_is_not_overwritten() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"precious").unwrap();
    assert!(Recorder::create(file.path()).is_err());
    assert_eq!(std::fs::read(file.path()).unwrap(), b"precious");
}

/// The node is told, and goes on.
#[test]
fn a_full_disk_ends_the_recording_and_not_the_node() {
    let full = Path::new("/dev/full");
    let file = std::fs::OpenOptions::new().write(true).open(full).unwrap();
    let mut node = recorded(Recorder::to(file, full).unwrap(), 0);
    live(&mut node);
    // The other thread fails when it likes.
    let mut millis = 20_000;
    while node.is_recording() {
        millis += 1;
        node.handle(at(millis), Input::Tick);
        node.drain();
    }
    assert_eq!(node.chain().tip().height, Height::from_u32(1));
    let block = next_block(node.chain(), node.mempool());
    node.command(at(millis), Command::SubmitBlock(block, Reply::nowhere()));
    assert_eq!(node.chain().tip().height, Height::from_u32(2));
}
