//! How much memory peers can make the protocol use, in bytes of this process. It is a separate binary, so that no other
//! test runs in the process.

use std::sync::Arc;

use cairn::chain::Chain;
use cairn::mempool::{Limits, Mempool};
use cairn::p2p::kad::NodeId;
use cairn::p2p::message::{Hello, Item, MAX_INVENTORY, MAX_LOCATOR, Message, SERVICE_FULL};
use cairn::p2p::relay::MAX_KNOWN;
use cairn::p2p::serve::MAX_WAITING_RANGES;
use cairn::p2p::{Config, Direction, Input, Node, Now, PeerAddr, PeerId, Protocol};
use cairn::primitives::amount::COIN;
use cairn::primitives::hash::{BlockHash, Hash256, Txid};
use cairn::primitives::time::{MonoTime, UnixTime};
use cairn::storage::MemoryStore;
use cairn_testkit::{Ledger, funded};

/// Most bytes that the protocol remembers of one peer, as `docs/threat-model.md` says.
const MAX_PEER_MEMORY: usize = 1_800_000;

/// Bytes of memory that this process has.
#[cfg(target_os = "linux")]
fn memory() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("with this line");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1_024
}

/// Every slot is taken by a peer that announces, requests and promises as much as allowed, and reads nothing.
#[cfg(target_os = "linux")]
#[test]
fn all_peers_together_make_a_node_remember_no_more_than_stated() {
    let ledger = Ledger::new(funded(1..=1, 10 * COIN));
    let params = ledger.params.clone();
    let genesis = params.genesis_hash;
    let now =
        Now { mono: MonoTime::from_millis(1_000), unix: UnixTime::from_secs(u64::from(params.timestamp) + 10_000) };
    let chain = Chain::open(params.clone(), Arc::new(MemoryStore::default())).expect("a chain in memory");
    let mempool = Mempool::new(params, Limits::default());
    let config = Config { id: NodeId([9; 32]), ..Config::default() };
    let places = config.max_inbound;
    let mut node = Node::new(chain, mempool, config, now).expect("a node in memory");
    let give = |node: &mut Node, input: Input| {
        node.handle(now, input);
        drop(node.drain());
    };

    let before = memory();
    for number in 0..places as u64 {
        let (peer, [high, low]) = (PeerId(number), (number as u16).to_be_bytes());
        let address = PeerAddr::from(([20 + low, high, 1, 1], 7_331));
        let id = NodeId(Hash256::of(&number.to_le_bytes()).to_bytes());
        give(&mut node, Input::Connected { peer, address, direction: Direction::Inbound, id });
        let hello = Hello { user_agent: "x".repeat(100), ..Hello::new(genesis, SERVICE_FULL) };
        let mut messages = vec![Message::Hello(hello)];
        let fresh = |item: u64| [number.to_le_bytes(), item.to_le_bytes()].concat();
        for batch in 0..(MAX_KNOWN / MAX_INVENTORY) as u64 {
            let items = (0..MAX_INVENTORY as u64).map(|item| Item::Transaction(Txid::of(&fresh((batch << 32) + item))));
            messages.push(Message::Inventory(items.collect()));
        }
        // More than a slice of serving, and time stands still, so that the rest waits.
        for batch in 0..2u64 {
            let items = (0..MAX_INVENTORY as u64)
                .map(|item| Item::Block(BlockHash::of(&fresh((1 << 48) + (batch << 32) + item))));
            messages.push(Message::GetData(items.collect()));
        }
        (0..MAX_WAITING_RANGES).for_each(|_| {
            messages.push(Message::GetHeaders { locator: vec![BlockHash::ZERO; MAX_LOCATOR], stop: BlockHash::ZERO });
        });
        messages.into_iter().for_each(|message| give(&mut node, Input::Received { peer, message, at: now.mono }));
    }
    let peers = node.peers(now);
    assert_eq!(peers.len(), places, "none was thrown out for it");
    assert!(peers.iter().all(|peer| peer.score == 0), "none did what honest peers do not");
    let grown = memory().saturating_sub(before);
    println!("{places} peers: {grown} bytes, {} each", grown / places);
    assert!(grown / places <= MAX_PEER_MEMORY, "{grown} bytes of {places} peers");
}
