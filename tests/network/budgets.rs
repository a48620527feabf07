//! The worst-case cost of each message to the node's thread, counted and compared with the budgets in
//! docs/threat-model.md; and peers do not wait for an expensive peer.

mod worst;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cairn::miner::template;
use cairn::p2p::blocks::TRANSACTIONS_DEPTH;
use cairn::p2p::budget::Cost;
use cairn::p2p::compact::CompactBlock;
use cairn::p2p::download::STALL_TIMEOUT;
use cairn::p2p::handshake::HANDSHAKE_TIMEOUT;
use cairn::p2p::kad::QUERY_TIMEOUT;
use cairn::p2p::message::{Hello, Item, Kind, MAX_INVENTORY, Message, TipClaim};
use cairn::p2p::misbehaviour::Offence;
use cairn::p2p::ping::PING_TIMEOUT;
use cairn::p2p::proofs::{MAX_PROOFS, ProofQuery, Proofs};
use cairn::p2p::requests::TRANSACTION_TIMEOUT;
use cairn::p2p::serve::{MAX_WAITING_RANGES, SLICE};
use cairn::p2p::sync::HEADERS_TIMEOUT;
use cairn::p2p::{Config, Direction, Event, Input, Output, PeerId, Protocol};
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::block::Block;
use cairn::primitives::hash::{BlockHash, SignatureDigest, Txid};
use cairn::primitives::height::Height;
use cairn::primitives::meter::{self, Effort};
use cairn::primitives::target::Bits;
use cairn::primitives::tx::{OutPoint, Output as TxOutput, Transaction};
use cairn::storage::{MemoryStore, TxLocation};

use self::worst::worst;
use crate::connections::{Bench, hello, id, sent, sent_to};
use crate::{params, spend};
use cairn_testkit::{Ledger, MINER, genesis_coin, key, public};

/// Transactions of a full block.
const FULL: usize = 4_000;
/// Full blocks, at the end of the chain.
const BLOCKS: usize = 7;

/// Splits the first key's coin into many of its own.
fn fan_out() -> Transaction {
    let params = params();
    let (outpoint, coin) = genesis_coin(&params, 1);
    let outputs = vec![TxOutput::pay(public(1), Amount::from_grains(COIN / 1_000)); FULL];
    cairn_testkit::spend(&params, &[(outpoint, coin, &key(1))], outputs)
}

fn append(ledger: &mut Ledger, txs: &[Transaction]) -> Block {
    let block = ledger.make(&public(MINER), txs, 0, 0);
    ledger.push(block.clone());
    block
}

/// A chain that ends with full blocks; each spends all coins of the first key back to that key.
fn blocks() -> &'static [Block] {
    static BUILT: OnceLock<Vec<Block>> = OnceLock::new();
    BUILT.get_or_init(|| {
        let params = params();
        let mut ledger = Ledger::on(&params);
        let fan_out = fan_out();
        let mut coins: Vec<(OutPoint, TxOutput)> = (0..)
            .zip(&fan_out.outputs)
            .map(|(index, output)| (OutPoint { txid: fan_out.txid(), index }, output.clone()))
            .collect();
        let mut blocks = vec![append(&mut ledger, &[fan_out])];
        for _ in 0..BLOCKS {
            let again = |(outpoint, spent): &(OutPoint, TxOutput)| spend(&params, *outpoint, spent, 1, 1, 1);
            let txs: Vec<Transaction> = coins.iter().map(again).collect();
            let coin = |tx: &Transaction| (OutPoint { txid: tx.txid(), index: 0 }, tx.outputs[0].clone());
            coins = txs.iter().map(coin).collect();
            blocks.push(append(&mut ledger, &txs));
        }
        blocks
    })
}

/// A node with these blocks. They are connected once: that takes longer than most of what is measured.
fn full_node() -> Bench {
    static CONNECTED: OnceLock<MemoryStore> = OnceLock::new();
    let store = CONNECTED.get_or_init(|| {
        let store = Arc::new(MemoryStore::new());
        let mut bench = Bench::with_store(Config::default(), store.clone());
        for block in blocks() {
            bench.node.submit_block(bench.now, block.clone()).unwrap();
        }
        MemoryStore::clone(&store)
    });
    let mut bench = Bench::with_store(Config::default(), Arc::new(store.clone()));
    bench.after(Duration::from_secs(1));
    bench
}

/// The block that a node would mine next.
fn next_block(bench: &Bench) -> Block {
    let (chain, pool) = (bench.node.chain(), bench.node.mempool());
    let template =
        template::build(chain, pool, &key(1).public_key(), bench.now.mono.as_millis(), bench.now.unix).unwrap();
    let mut block = template.block(0);
    cairn_testkit::mine(&mut block.header);
    block
}

/// Puts so many blocks on a node's tip; the height that it has then.
fn extend(bench: &mut Bench, count: usize) -> u32 {
    for _ in 0..count {
        let block = next_block(bench);
        bench.node.submit_block(bench.now, block).unwrap();
    }
    bench.after(Duration::from_secs(1));
    bench.node.chain().tip().height.as_u32()
}

/// Payments with the coins that the last block made.
fn unconfirmed(from: usize, to: usize) -> Vec<Transaction> {
    let again =
        |tx: &Transaction| spend(&params(), OutPoint { txid: tx.txid(), index: 0 }, &tx.outputs[0], 1, 2, 10_000);
    blocks().last().unwrap().transactions[1 + from..1 + to].iter().map(again).collect()
}

/// Puts `count` of these payments into a node's mempool.
fn fill_mempool(bench: &mut Bench, count: usize) {
    for tx in unconfirmed(0, count) {
        bench.node.submit_transaction(bench.now, tx).unwrap();
    }
    bench.after(Duration::from_secs(1));
}

/// A full block on the tip whose last signature is bad, which shows when all are checked.
fn bad_block(bench: &Bench) -> Block {
    let mut block = next_block(bench);
    block.transactions.truncate(1);
    block.transactions.extend(unconfirmed(0, FULL));
    let last = block.transactions.last_mut().unwrap();
    last.inputs[0].signature = key(2).sign(&SignatureDigest::of(b"something else"));
    cairn_testkit::seal(&mut block);
    block
}

/// The cost of a message: all work until its answer was complete.
#[derive(Debug, Default)]
struct Bill {
    effort: Effort,
    /// The most expensive single call of the node.
    call: Cost,
    total: Cost,
    bytes: usize,
    calls: usize,
}

/// Lets the node handle a message, drains all portions of the answer, and counts the work.
fn bill(bench: &mut Bench, peer: PeerId, message: Message) -> Bill {
    let start = meter::effort();
    let mut bill = Bill::default();
    let mut input = Input::Received { peer, message: message.clone(), at: bench.now.mono };
    let mut spent = None;
    loop {
        let before = meter::effort();
        let outputs = bench.give(input);
        let bytes: usize = sent(&outputs).map(|message| message.encoded_len()).sum();
        let cost = Cost::of(meter::effort() - before) + Cost::of_sending(bytes);
        let cost = if bill.calls == 0 { cost + Cost::of_message(&message) } else { cost };
        bill.call = bill.call.max(cost);
        bill.total += cost;
        bill.bytes += bytes;
        bill.calls += 1;
        let now = bench.node.spent(peer);
        if outputs.iter().any(|output| matches!(output, Output::Flush { .. })) {
            input = Input::Flushed { peer };
        } else if now.is_some() && now != spent {
            bench.now.mono += Duration::from_millis(1);
            input = Input::Tick;
        } else {
            bill.effort = meter::effort() - start;
            return bill;
        }
        spent = now;
    }
}

/// The number in a table cell, written with commas.
fn number(cell: &str) -> Option<u64> {
    cell.replace(',', "").parse().ok()
}

/// Budgets of one call and of a whole answer in microseconds, as the threat model has them.
fn written() -> BTreeMap<String, (u64, u64)> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/threat-model.md")).unwrap();
    let table = text.split("### What each message may cost").nth(1).expect("the table is there");
    let rows = table.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let row = |row: &str| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, _, call, total, ..] = cells[..] else { panic!("{row}") };
        Some((name.trim_matches('`').to_owned(), (number(call)?, number(total)?)))
    };
    rows.filter_map(row).collect()
}

/// Requests what the first key received from a height on.
fn by_key(height: u32) -> ProofQuery {
    ProofQuery::Key { key: key(1).public_key(), from: TxLocation { height: Height::from_u32(height), position: 0 } }
}

#[test]
fn every_message_is_held_to_its_written_budget() {
    let budgets = written();
    let mut over = Vec::new();
    for kind in Kind::ALL {
        let mut bench = full_node();
        let is_page = matches!(kind, Kind::GetPages | Kind::Signal);
        let peer = if is_page { bench.page("10.0.0.1:5") } else { bench.guest("10.0.0.1:5") };
        let message = worst(kind, &mut bench, peer);
        let bytes = message.encoded_len();
        let start = std::time::Instant::now();
        let bill = bill(&mut bench, peer, message);
        let took = start.elapsed().as_micros();
        let Some((call, total)) = budgets.get(kind.name()) else { panic!("{} is not in the table", kind.name()) };
        let Effort { lookups, bytes_read, hashes, signatures, .. } = bill.effort;
        println!(
            "{:<22} in {bytes:>7} B, out {:>8} B, {:>3} calls, {:>6} µs a call, {:>6} µs in all, {took:>7} µs measured; \
             {lookups} look-ups, {bytes_read} B read, {hashes} hashes, {signatures} signatures",
            kind.name(),
            bill.bytes,
            bill.calls,
            bill.call.micros(),
            bill.total.micros(),
        );
        if bill.call.micros() > *call || bill.total.micros() > *total {
            over.push((kind.name(), bill));
        }
    }
    assert!(over.is_empty(), "{over:#?}");
}

#[test]
fn a_compact_block_named_two_thousand_times_is_read_once_and_sent_once() {
    let mut bench = full_node();
    let peer = bench.guest("10.0.0.1:5");
    let block = &blocks()[blocks().len() - 2];
    let bill = bill(&mut bench, peer, Message::GetData(vec![Item::CompactBlock(block.hash()); MAX_INVENTORY]));
    // The header is looked for in two places, and then the body.
    assert_eq!((bill.effort.lookups, bill.effort.hashes), (3, 1 + FULL as u64), "{bill:?}");
    // In as many messages of one, what is kept serves.
    let before = meter::effort();
    for _ in 0..MAX_INVENTORY {
        bench.say(peer, Message::GetData(vec![Item::CompactBlock(block.hash())]));
        bench.give(Input::Flushed { peer });
        bench.now.mono += Duration::from_millis(1);
    }
    assert_eq!((meter::effort() - before).bytes_read, 0);
}

#[test]
fn parts_of_a_recent_block_are_read_once_and_of_an_old_one_charged() {
    let mut bench = full_node();
    let peer = bench.guest("10.0.0.1:5");
    let ask = |block: &Block| Message::GetBlockTransactions { block: block.hash(), places: vec![1] };
    let block = &blocks()[blocks().len() - 3];
    let first = bill(&mut bench, peer, ask(block));
    assert_eq!(first.effort.bytes_read as usize, block.size());
    let spent = bench.node.spent(peer).unwrap();
    assert!(spent >= first.total, "{spent:?}, {first:?}");
    let again = bill(&mut bench, peer, ask(block));
    assert_eq!((again.effort.bytes_read, again.effort.lookups), (0, 0));
    // Out of order: nothing is read to find that out.
    let bad = Message::GetBlockTransactions { block: blocks()[2].hash(), places: vec![2, 1] };
    assert_eq!(bill(&mut bench, peer, bad).effort.bytes_read, 0);
    assert_eq!(bench.score(peer), None);

    let mut bench = full_node();
    extend(&mut bench, TRANSACTIONS_DEPTH as usize);
    let peer = bench.guest("10.0.0.1:5");
    let before = bench.node.spent(peer).unwrap();
    let old = bill(&mut bench, peer, ask(block));
    assert_eq!(old.effort.bytes_read as usize, block.size());
    assert!(old.bytes >= block.size() && bench.node.spent(peer).unwrap().0 - before.0 >= old.total.0);
}

#[test]
fn proofs_by_key_hash_each_block_once() {
    let mut bench = full_node();
    let peer = bench.guest("10.0.0.1:5");
    let outputs = bench.say(peer, Message::GetProofs(by_key(2)));
    let [Message::Proofs(first)] = &sent_to(&outputs, peer)[..] else { panic!("{outputs:?}") };
    assert_eq!((first.proofs.len(), first.more), (MAX_PROOFS, true));
    let blocks_in =
        |proofs: &Proofs| proofs.proofs.iter().map(|proof| proof.height).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(blocks_in(first).len(), 1);
    for proof in &first.proofs {
        let root = blocks()[proof.height.as_usize() - 1].header.merkle_root;
        assert!(proof.branch.verify(&proof.transaction.txid(), &root));
    }
    let bill = bill(&mut bench, peer, Message::GetProofs(by_key(2)));
    // Each id, and as many nodes of the tree.
    let most = 2 * (FULL as u64 + 1) + 32;
    assert!(bill.effort.hashes <= most, "{bill:?}");
    assert!(bill.effort.bytes_read as usize <= blocks()[1].size() + 101 * 60, "{bill:?}");
}

/// A compact block is processed once for each request: each time costs a scan of the mempool.
#[test]
fn a_compact_block_that_was_asked_for_comes_once() {
    let mut bench = full_node();
    fill_mempool(&mut bench, 500);
    let peer = bench.guest("10.0.0.1:5");
    let mut block = next_block(&bench);
    // One transaction is nowhere but in the block, so that it stays incomplete.
    block.transactions.extend(unconfirmed(600, 601));
    cairn_testkit::seal(&mut block);
    let outputs = bench.say(peer, Message::Headers(vec![block.header]));
    assert_eq!(sent_to(&outputs, peer), [Message::GetData(vec![Item::CompactBlock(block.hash())])]);
    let compact = Message::CompactBlock(Arc::new(CompactBlock::new(&block, &block.txids(), 1, &[])));
    let mut looked = 0;
    for times in 0.. {
        let before = meter::effort();
        let outputs = bench.say(peer, compact.clone());
        looked += u64::from((meter::effort() - before).steps >= 500);
        if bench.score(peer).is_none() {
            assert!(times <= 2 + 100 / Offence::UnrequestedBlock.points(), "{outputs:?}");
            break;
        }
    }
    assert_eq!(looked, 2, "one of them may be a push that crossed with the request");
}

/// Of a block whose transactions are in the mempool, only what is new is hashed: the Merkle tree, the coinbase, the header,
/// and for each coin made or spent the key under which it is listed.
#[test]
fn a_transaction_of_the_mempool_is_not_hashed_again_with_its_block() {
    let mut bench = full_node();
    fill_mempool(&mut bench, 500);
    let [sender, listener] = ["10.0.0.1:5", "10.0.1.1:5"].map(|address| bench.guest(address));
    bench.say(listener, Message::SendCompact(true));
    let block = next_block(&bench);
    assert_eq!(block.transactions.len(), 501);
    let (hash, compact) = (block.hash(), CompactBlock::new(&block, &block.txids(), 1, &[]));
    bench.say(sender, Message::Headers(vec![block.header]));
    let before = meter::effort();
    bench.say(sender, Message::CompactBlock(Arc::new(compact)));
    bench.after(Duration::from_millis(1));
    let hashes = (meter::effort() - before).hashes;
    assert_eq!(bench.node.tip().1, hash);
    assert!(hashes < (2 + 2) * 500, "{hashes} hashes");
}

/// Twenty peers request expensive answers and one a cheap answer: the cheap one does not wait for the others.
#[test]
fn a_small_request_is_answered_before_large_ones() {
    const SMALL_BLOCKS: u32 = 1_500;
    let mut bench = full_node();
    let tip = extend(&mut bench, SMALL_BLOCKS as usize);
    let greedy: Vec<PeerId> = (1..=20).map(|n| bench.guest(&format!("10.0.{n}.1:5"))).collect();
    let modest = bench.guest("10.1.0.1:5");
    let answers = |outputs: &[Output]| sent(outputs).filter(|message| matches!(message, Message::Proofs(_))).count();
    // So many look-ups are more than a slice; all after them waits for the next. What is not there costs none.
    let small = (0..SMALL_BLOCKS).map(|n| bench.node.chain().entry_at(Height::from_u32(tip - n)).unwrap().hash);
    let small: Vec<Item> = small.map(Item::Block).collect();
    let unknown = (0..MAX_INVENTORY as u32).map(|n| Item::Block(BlockHash::of(&n.to_le_bytes()))).collect();
    let lookups = |bench: &mut Bench, items| bill(bench, greedy[0], Message::GetData(items)).effort.lookups;
    assert_eq!(lookups(&mut bench, unknown), 0);
    bench.say(greedy[0], Message::GetData(small));
    let mut answered = 0;
    for (peer, number) in greedy.iter().flat_map(|peer| (0..MAX_WAITING_RANGES).map(move |number| (*peer, number))) {
        let outputs = bench.say(peer, Message::GetProofs(by_key(2 + (number % BLOCKS) as u32)));
        answered += answers(&outputs);
    }
    assert_eq!(answered, 0, "all wait");
    let ask = Message::GetHeaders { locator: vec![params().genesis_hash], stop: BlockHash::ZERO };
    let outputs = bench.say(modest, ask);
    assert!(sent_to(&outputs, modest).is_empty(), "it is not the next slice yet");
    let mut slices = 0;
    while answered < greedy.len() * MAX_WAITING_RANGES {
        let before = meter::effort();
        let outputs = bench.after(Duration::from_millis(1));
        let bytes: usize = sent(&outputs).map(|message| message.encoded_len()).sum();
        let cost = Cost::of(meter::effort() - before) + Cost::of_sending(bytes);
        assert!(cost < SLICE + Cost(20_000_000), "a slice, and what it had begun: {cost:?}");
        answered += answers(&outputs);
        slices += 1;
        let is_heard = sent_to(&outputs, modest).iter().any(|message| matches!(message, Message::Headers(_)));
        assert_eq!(is_heard, slices == 1);
    }
    assert!(slices > 100, "{slices}");
    let left: Vec<i64> = greedy.iter().map(|peer| bench.node.budget_left(bench.now, *peer)).collect();
    let (least, most) = (left.iter().min().unwrap(), left.iter().max().unwrap());
    assert!(*most < 0 && most - least < 50_000_000, "they took turns: {left:?}");
    assert!(bench.node.budget_left(bench.now, modest) > *most);
}

/// A lone peer that fetches all blocks gets them as fast as it reads, one portion in every call.
#[test]
fn a_lone_peer_is_served_a_portion_at_once() {
    let mut bench = full_node();
    let peer = bench.guest("10.0.0.1:5");
    let mut outputs =
        bench.say(peer, Message::GetData(blocks().iter().map(|block| Item::Block(block.hash())).collect()));
    let (mut got, mut calls) = (0, 1);
    loop {
        got += sent(&outputs).filter(|message| matches!(message, Message::Block(_))).count();
        if got == blocks().len() {
            break;
        }
        calls += 1;
        let is_full = outputs.iter().any(|output| matches!(output, Output::Flush { .. }));
        outputs = if is_full { bench.give(Input::Flushed { peer }) } else { bench.after(Duration::from_millis(1)) };
    }
    assert!(calls <= blocks().len() + 1, "{calls} calls");
}

/// The node's thread was busy; the peer was not.
#[test]
fn a_pong_counts_from_when_it_came() {
    let mut bench = Bench::new(Config::default());
    let (peer, _) = bench.inbound("10.0.0.1:5");
    let outputs = bench.say(peer, Message::Hello(hello()));
    let nonce = |message| if let Message::Ping(nonce) = message { Some(nonce) } else { None };
    let Some(nonce) = sent(&outputs).find_map(nonce) else { panic!("{outputs:?}") };
    let at = bench.now.mono + Duration::from_millis(30);
    bench.now.mono += Duration::from_secs(15);
    bench.give(Input::Received { peer, message: Message::Pong(nonce), at });
    let info = &bench.node.peers(bench.now)[0];
    let took = Some(Duration::from_millis(30));
    assert_eq!((info.ping, info.min_ping), (took, took));
}

/// While the node's thread is busy for long, peers' answers wait unread: every deadline moves by that time.
#[test]
fn a_busy_thread_moves_every_deadline() {
    fn guests(bench: &mut Bench) -> [PeerId; 2] {
        ["10.0.0.1:5", "10.1.0.1:5"].map(|address| bench.guest(address))
    }
    fn greet(bench: &mut Bench) {
        bench.inbound("10.0.0.1:5");
    }
    fn ping(bench: &mut Bench) {
        bench.guest("10.0.0.1:5");
    }
    fn claim(bench: &mut Bench) {
        let (peer, _) = bench.inbound("10.0.0.1:5");
        let tip = TipClaim {
            height: Height::from_u32(9),
            hash: BlockHash::from_bytes([9; 32]),
            work: Bits(0x1f00_ffff).target().unwrap().work(),
        };
        let outputs = bench.say(peer, Message::Hello(Hello { tip, ..hello() }));
        assert!(sent(&outputs).any(|message| matches!(message, Message::GetHeaders { .. })), "{outputs:?}");
    }
    fn announce_block(bench: &mut Bench) {
        let header = next_block(bench).header;
        let outputs = guests(bench).map(|peer| bench.say(peer, Message::Headers(vec![header])));
        assert!(is_asked(&outputs[0]), "{outputs:?}");
    }
    fn announce_transaction(bench: &mut Bench) {
        let item = Item::Transaction(Txid::from_bytes([7; 32]));
        let outputs = guests(bench).map(|peer| bench.say(peer, Message::Inventory(vec![item])));
        assert!(is_asked(&outputs[0]), "{outputs:?}");
    }
    fn look_up(bench: &mut Bench) {
        let (peer, address) = (PeerId(1_000), "10.0.0.1:7".parse().unwrap());
        bench.node.connect_once(bench.now, address, None);
        bench.give(Input::Connected { peer, address, direction: Direction::Outbound, id: id(peer) });
        bench.say(peer, Message::Hello(hello()));
        bench.node.find_node(bench.now, id(PeerId(1_001))).unwrap();
        let asked = |output: &Output| matches!(output, Output::Send { frame, .. } if frame.kind() == Kind::FindNode);
        assert!(bench.node.drain().any(|output| asked(&output)));
    }
    fn is_found(outputs: &[Output]) -> bool {
        outputs.iter().any(|output| matches!(output, Output::Event(Event::NodesFound(_))))
    }
    fn is_closed(outputs: &[Output]) -> bool {
        outputs.iter().any(|output| matches!(output, Output::Disconnect { .. }))
    }
    fn is_asked(outputs: &[Output]) -> bool {
        sent(outputs).any(|message| matches!(message, Message::GetData(_)))
    }
    type Row = (&'static str, fn(&mut Bench), Duration, fn(&[Output]) -> bool);
    let rows: [Row; 6] = [
        ("a hello", greet, HANDSHAKE_TIMEOUT, is_closed),
        ("a pong", ping, PING_TIMEOUT, is_closed),
        ("headers", claim, HEADERS_TIMEOUT, is_closed),
        ("a block", announce_block, STALL_TIMEOUT, is_asked),
        ("a transaction", announce_transaction, TRANSACTION_TIMEOUT, is_asked),
        ("nodes", look_up, QUERY_TIMEOUT, is_found),
    ];
    for (name, ask, timeout, is_late) in rows {
        let wait = |busy: Duration| {
            let mut bench = Bench::new(Config::default());
            ask(&mut bench);
            bench.give(Input::Delayed { by: busy });
            let outputs = bench.after(timeout + Duration::from_millis(1));
            is_late(&outputs)
        };
        assert!(wait(Duration::ZERO), "{name} came in time");
        assert!(!wait(timeout), "{name} was late");
    }
}
