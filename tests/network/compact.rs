//! Compact blocks: rebuilt from the node's own transactions, completed by requests, and fetched from other peers when
//! one fails.

use std::sync::Arc;
use std::time::Duration;

use cairn::consensus::error::RuleError;
use cairn::p2p::blocks::{COMPACT_DEPTH, MAX_PUSHERS, PATIENCE, TRANSACTIONS_DEPTH};
use cairn::p2p::compact::{CompactBlock, CompactError, MAX_TRANSACTIONS, Prefilled, ShortId};
use cairn::p2p::download::FRONT_TIMEOUT;
use cairn::p2p::message::{Item, Kind, Message};
use cairn::p2p::misbehaviour::Offence;
use cairn::p2p::{Config, Output, PeerId, Reason};
use cairn::primitives::amount::Amount;
use cairn::primitives::block::Block;
use cairn::primitives::hash::BlockHash;
use cairn::primitives::tx::Transaction;
use cairn::sim::{NetworkConditions, Sim};

use crate::connections::{Bench, reasons, sent, sent_to};
use crate::{Seed, mine, network, params, payment};
use cairn_testkit::Ledger;

/// A node with peers, and a source of blocks.
struct Stage {
    bench: Bench,
    peers: Vec<PeerId>,
    miner: Ledger,
}

impl Stage {
    fn new(peers: usize) -> Self {
        let mut bench = Bench::new(Config::default());
        let peers = (0..peers).map(|n| bench.guest(&format!("10.0.{n}.1:5"))).collect();
        Self { bench, peers, miner: Ledger::on(&params()) }
    }

    /// The same, with a block that the first peer delivered: it is asked to push.
    fn with_pusher(peers: usize) -> Self {
        let mut stage = Self::new(peers);
        let block = stage.mined(&[]);
        let outputs = stage.deliver(0, &block);
        assert!(sent_to(&outputs, stage.peers[0]).contains(&Message::SendCompact(true)));
        stage
    }

    /// The next block, with payments of these keys.
    fn mined(&mut self, payers: &[u8]) -> Block {
        let payments = payers.iter().map(|payer| payment(&params(), *payer, 1_000 + u64::from(*payer)));
        let block = self.miner.block(payments.collect());
        self.miner.append(&block);
        block
    }

    /// The node has the payments of these keys.
    fn has(&mut self, payers: &[u8]) {
        for payer in payers {
            let tx = payment(&params(), *payer, 1_000 + u64::from(*payer));
            self.bench.node.submit_transaction(self.bench.now, tx).unwrap();
        }
        self.bench.after(Duration::from_millis(400));
    }

    fn say(&mut self, peer: usize, message: Message) -> Vec<Output> {
        self.bench.say(self.peers[peer], message)
    }

    fn announce(&mut self, peer: usize, block: &Block) -> Vec<Output> {
        self.say(peer, Message::Headers(vec![block.header]))
    }

    fn push(&mut self, peer: usize, block: &Block) -> Vec<Output> {
        self.say(peer, compact(block))
    }

    /// Sends what was asked for of a block.
    fn answer(&mut self, peer: usize, block: &Block, places: &[u16]) -> Vec<Output> {
        let transactions = places.iter().map(|place| Arc::new(block.transactions[usize::from(*place)].clone()));
        self.say(peer, Message::BlockTransactions { block: block.hash(), transactions: transactions.collect() })
    }

    /// Announces a block, and sends its compact form when asked.
    fn deliver(&mut self, peer: usize, block: &Block) -> Vec<Output> {
        let outputs = self.announce(peer, block);
        assert_eq!(sent_to(&outputs, self.peers[peer]), [wants(block)]);
        let outputs = self.push(peer, block);
        assert!(self.has_tip(block));
        outputs
    }

    fn has_tip(&self, block: &Block) -> bool {
        self.bench.node.chain().tip().hash == block.hash()
    }

    fn score(&self, peer: usize) -> Option<u32> {
        self.bench.score(self.peers[peer])
    }

    /// Places of transactions that a peer is asked for.
    fn asked(&self, outputs: &[Output], peer: usize) -> Option<Vec<u16>> {
        sent_to(outputs, self.peers[peer]).into_iter().find_map(|message| match message {
            Message::GetBlockTransactions { places, .. } => Some(places),
            _ => None,
        })
    }
}

fn form(block: &Block) -> CompactBlock {
    CompactBlock::new(block, &block.txids(), 5, &[])
}

fn compact(block: &Block) -> Message {
    Message::CompactBlock(Arc::new(form(block)))
}

fn wants(block: &Block) -> Message {
    Message::GetData(vec![Item::CompactBlock(block.hash())])
}

fn wants_whole(block: &Block) -> Message {
    Message::GetData(vec![Item::Block(block.hash())])
}

/// Where a transaction of a key is in a block.
fn place(block: &Block, payer: u8) -> u16 {
    let txid = payment(&params(), payer, 1_000 + u64::from(payer)).txid();
    block.txids().iter().position(|other| *other == txid).unwrap() as u16
}

#[test]
fn a_block_whose_transactions_are_here_takes_no_round_more() {
    let mut stage = Stage::with_pusher(2);
    stage.has(&[1, 2, 3]);
    let block = stage.mined(&[1, 2, 3]);
    let outputs = stage.push(0, &block);
    assert!(stage.has_tip(&block));
    assert!(sent(&outputs).all(|message| matches!(message, Message::Headers(_))), "{outputs:?}");
    assert!(stage.bench.node.mempool().is_empty());
}

#[test]
fn missing_transactions_are_requested_in_one_round() {
    for has in [&[][..], &[2], &[1, 3]] {
        let mut stage = Stage::with_pusher(2);
        stage.has(has);
        let block = stage.mined(&[1, 2, 3]);
        let outputs = stage.push(0, &block);
        let mut missing: Vec<u16> =
            [1, 2, 3].into_iter().filter(|payer| !has.contains(payer)).map(|payer| place(&block, payer)).collect();
        missing.sort_unstable();
        assert_eq!(stage.asked(&outputs, 0), Some(missing.clone()));
        stage.answer(0, &block, &missing);
        assert!(stage.has_tip(&block));
        assert_eq!(stage.score(0), Some(0));
    }
}

/// Replaced transactions and orphans also serve to rebuild a block.
#[test]
fn replaced_transactions_and_orphans_are_at_hand() {
    let mut stage = Stage::with_pusher(1);
    stage.has(&[1]);
    let better = payment(&params(), 1, 500_000);
    let accepted = stage.bench.node.submit_transaction(stage.bench.now, better).unwrap();
    assert_eq!(accepted.replaced.len(), 1);
    let block = stage.mined(&[1]);
    stage.push(0, &block);
    assert!(stage.has_tip(&block));
}

/// A peer that asked for pushes gets a block before it is connected; other peers get it afterwards.
#[test]
fn a_block_goes_on_before_it_is_connected() {
    let mut stage = Stage::with_pusher(3);
    stage.say(1, Message::SendCompact(true));
    stage.has(&[1]);
    let block = stage.mined(&[1, 2]);
    let outputs = stage.push(0, &block);
    let missing = stage.asked(&outputs, 0).unwrap();
    let outputs = stage.answer(0, &block, &missing);
    assert!(!stage.has_tip(&block));
    let [Message::CompactBlock(pushed)] = &sent_to(&outputs, stage.peers[1])[..] else { panic!("{outputs:?}") };
    let along: Vec<u16> = pushed.prefilled.iter().map(|prefilled| prefilled.index).collect();
    assert_eq!(along, [0, missing[0]], "what was missing here may be there");
    assert!(sent_to(&outputs, stage.peers[2]).is_empty());
    // The node serves the block before it is connected, and requests it from no peer.
    let ask = Message::GetBlockTransactions { block: block.hash(), places: vec![place(&block, 1)] };
    let outputs = stage.say(1, ask);
    let transactions = vec![Arc::new(block.transactions[usize::from(place(&block, 1))].clone())];
    assert_eq!(sent_to(&outputs, stage.peers[1]), [Message::BlockTransactions { block: block.hash(), transactions }]);
    assert!(sent_to(&stage.announce(2, &block), stage.peers[2]).is_empty());
    let outputs = stage.bench.after(Duration::from_millis(1));
    assert!(stage.has_tip(&block));
    assert!(sent_to(&outputs, stage.peers[1]).is_empty(), "once is enough");

    // The node's own block is pushed first, too.
    let block = stage.mined(&[]);
    stage.bench.node.submit_block(stage.bench.now, block.clone()).unwrap();
    let outputs = stage.bench.after(Duration::ZERO);
    let order: Vec<Message> = sent(&outputs).collect();
    assert!(matches!(order[0], Message::CompactBlock(_)) && order.len() == 3, "{order:?}");
    assert!(order[1..].iter().all(|message| *message == Message::Headers(vec![block.header])));
}

/// Withheld transactions delay a block little if another peer pushed it too, and not for long if another has it.
#[test]
fn withheld_transactions_are_had_from_others() {
    let mut stage = Stage::with_pusher(3);
    let second = stage.mined(&[]);
    stage.deliver(1, &second);
    let block = stage.mined(&[1]);
    let outputs = stage.push(0, &block);
    assert_eq!(stage.asked(&outputs, 0), Some(vec![1]));
    let outputs = stage.push(1, &block);
    assert_eq!(stage.asked(&outputs, 1), None, "the first may still answer");
    let outputs = stage.bench.after(PATIENCE);
    assert_eq!(stage.asked(&outputs, 1), Some(vec![1]));
    stage.answer(1, &block, &[1]);
    assert!(stage.has_tip(&block));
    // The first answer is late, which is no offence; a second one is.
    stage.answer(0, &block, &[1]);
    assert_eq!(stage.score(0), Some(0));
    stage.answer(0, &block, &[1]);
    assert_eq!(stage.score(0), Some(Offence::UnrequestedBlockTransactions.points()));

    let block = stage.mined(&[2]);
    let outputs = stage.push(0, &block);
    assert_eq!(stage.asked(&outputs, 0), Some(vec![1]));
    assert!(sent_to(&stage.announce(2, &block), stage.peers[2]).is_empty(), "it is under way");
    let outputs = stage.bench.after(FRONT_TIMEOUT);
    assert!(sent_to(&outputs, stage.peers[2]).contains(&wants(&block)));
    let outputs = stage.push(2, &block);
    stage.answer(2, &block, &stage.asked(&outputs, 2).unwrap());
    assert!(stage.has_tip(&block));
}

/// What makes a compact block malformed.
type Change = fn(&mut CompactBlock);

#[test]
fn malformed_ones_end_the_connection() {
    let changes: [(Change, CompactError); 6] = [
        (|compact| compact.prefilled.clear(), CompactError::NoCoinbase),
        (|compact| compact.prefilled[0].index = 1, CompactError::NoCoinbase),
        (|compact| compact.prefilled.push(compact.prefilled[0].clone()), CompactError::Misplaced { index: 0 }),
        (
            |compact| {
                let transaction = compact.prefilled[0].transaction.clone();
                compact.prefilled.push(Prefilled { index: 3, transaction });
            },
            CompactError::Misplaced { index: 3 },
        ),
        (
            |compact| compact.short_ids = vec![ShortId([0; 6]); 60_000],
            CompactError::TooMany { got: 60_001, max: MAX_TRANSACTIONS },
        ),
        (|compact| (compact.prefilled, compact.short_ids) = (Vec::new(), Vec::new()), CompactError::NoCoinbase),
    ];
    for (change, error) in changes {
        let mut stage = Stage::with_pusher(1);
        let mut bad = form(&stage.mined(&[1]));
        change(&mut bad);
        let outputs = stage.say(0, Message::CompactBlock(Arc::new(bad)));
        assert_eq!(reasons(&outputs), [Reason::Misbehaved(Offence::BadCompactBlock(error))]);
    }
    let mut stage = Stage::with_pusher(1);
    let mut bad = form(&stage.mined(&[1]));
    cairn_testkit::unmine(&mut bad.header);
    let (hash, bits) = (bad.hash(), bad.header.bits);
    let outputs = stage.say(0, Message::CompactBlock(Arc::new(bad)));
    let rule = RuleError::HighHash { hash, bits };
    assert_eq!(reasons(&outputs), [Reason::Misbehaved(Offence::BadHeader { hash, rule })]);
}

#[test]
fn other_transactions_than_those_asked_for() {
    let mut stage = Stage::with_pusher(2);
    let block = stage.mined(&[1, 2]);
    stage.push(0, &block);
    let outputs = stage.answer(0, &block, &[1]);
    let error = CompactError::WrongCount { got: 1, expected: 2 };
    assert_eq!(reasons(&outputs), [Reason::Misbehaved(Offence::BadCompactBlock(error))]);

    // The right number of wrong transactions may be due to a collision, so the node requests the full block.
    let mut stage = Stage::with_pusher(2);
    let block = stage.mined(&[1, 2]);
    stage.push(0, &block);
    let outputs = stage.answer(0, &block, &[1, 1]);
    assert_eq!(sent_to(&outputs, stage.peers[0]), [wants_whole(&block)]);
    stage.say(0, Message::Block(Arc::new(block.clone())));
    assert!(stage.has_tip(&block));
    assert_eq!(stage.score(0), Some(0));
}

#[test]
fn collisions_blame_no_peer_and_the_block_comes_whole() {
    let twice = |_: &Stage, compact: &mut CompactBlock| compact.short_ids[1] = compact.short_ids[0];
    // The short id of a transaction that is here and not in the block.
    let another = |stage: &Stage, compact: &mut CompactBlock| {
        let mut posing = Block { header: compact.header, transactions: vec![stage_payment(3)] };
        posing.transactions.insert(0, params().genesis.transactions[0].clone());
        compact.short_ids[0] = form(&posing).short_ids[0];
        assert!(stage.bench.node.mempool().contains(&stage_payment(3).txid()));
    };
    for collide in [&twice as &dyn Fn(&Stage, &mut CompactBlock), &another] {
        let mut stage = Stage::with_pusher(1);
        stage.has(&[1, 2, 3]);
        let block = stage.mined(&[1, 2]);
        let mut compact = form(&block);
        collide(&stage, &mut compact);
        let outputs = stage.say(0, Message::CompactBlock(Arc::new(compact)));
        assert_eq!(sent_to(&outputs, stage.peers[0]), [wants_whole(&block)]);
        stage.say(0, Message::Block(Arc::new(block.clone())));
        assert!(stage.has_tip(&block));
        assert_eq!(stage.score(0), Some(0));
    }
}

fn stage_payment(payer: u8) -> Transaction {
    payment(&params(), payer, 1_000 + u64::from(payer))
}

/// Peers push before they have checked all, so a block that breaks a rule is held against the block alone.
#[test]
fn a_bad_block_is_not_the_pushers_fault() {
    let mut stage = Stage::with_pusher(3);
    stage.say(1, Message::SendCompact(true));
    let mut block = stage.mined(&[]);
    block.transactions[0].outputs[0].value =
        block.transactions[0].outputs[0].value.saturating_add(Amount::from_grains(1));
    cairn_testkit::seal(&mut block);
    let outputs = stage.push(0, &block);
    assert!(matches!(sent_to(&outputs, stage.peers[1])[..], [Message::CompactBlock(_)]));
    let outputs = stage.bench.after(Duration::from_millis(1));
    assert!(!stage.has_tip(&block) && stage.bench.node.chain().entry(&block.hash()).unwrap().is_invalid());
    assert!(sent(&outputs).next().is_none() && reasons(&outputs).is_empty(), "{outputs:?}");
    assert_eq!(stage.score(0), Some(0));
    // The node no longer announces it.
    let ask = Message::GetData(vec![Item::CompactBlock(block.hash())]);
    let outputs = stage.say(2, ask);
    assert_eq!(sent_to(&outputs, stage.peers[2]), [Message::NotFound(vec![Item::CompactBlock(block.hash())])]);
}

/// A push by a peer that was not asked to push counts as an announcement only.
#[test]
fn an_unasked_push_is_an_announcement() {
    let mut stage = Stage::with_pusher(2);
    let block = stage.mined(&[]);
    let outputs = stage.push(1, &block);
    assert_eq!(sent_to(&outputs, stage.peers[1]), [wants(&block)]);
    assert!(!stage.has_tip(&block));
    stage.push(1, &block);
    assert!(stage.has_tip(&block));
    assert_eq!(stage.score(1), Some(0));
    // Again, and again.
    stage.push(1, &block);
    stage.push(1, &block);
    assert_eq!(stage.score(1), Some(2 * Offence::UnrequestedBlock.points()));
}

#[test]
fn three_that_delivered_first_are_asked_to_push() {
    let mut stage = Stage::new(MAX_PUSHERS + 1);
    let mut told = Vec::new();
    for peer in [0, 1, 2, 0, 3] {
        let block = stage.mined(&[]);
        let outputs = if told.contains(&(peer, true)) { stage.push(peer, &block) } else { stage.deliver(peer, &block) };
        assert!(stage.has_tip(&block));
        for (other, id) in stage.peers.iter().enumerate() {
            told.extend(sent_to(&outputs, *id).into_iter().filter_map(|message| match message {
                Message::SendCompact(push) => Some((other, push)),
                _ => None,
            }));
        }
    }
    assert_eq!(told, [(0, true), (1, true), (2, true), (1, false), (3, true)]);
}

#[test]
fn only_the_last_blocks_are_served_in_part() {
    let mut stage = Stage::new(1);
    let blocks: Vec<Block> = (0..20).map(|_| stage.mined(&[])).collect();
    for block in &blocks {
        stage.bench.node.submit_block(stage.bench.now, block.clone()).unwrap();
    }
    stage.bench.after(Duration::ZERO);
    let deep = |depth: u32| &blocks[blocks.len() - 1 - depth as usize];
    let mut answer = |message: Message| {
        let outputs = stage.say(0, message);
        let messages = sent_to(&outputs, stage.peers[0]);
        assert_eq!(messages.len(), 1, "{messages:?}");
        messages[0].kind()
    };
    let places = |block: &Block| Message::GetBlockTransactions { block: block.hash(), places: vec![0] };
    assert_eq!(answer(wants(deep(COMPACT_DEPTH - 1))), Kind::CompactBlock);
    assert_eq!(answer(wants(deep(COMPACT_DEPTH))), Kind::Block);
    assert_eq!(answer(places(deep(TRANSACTIONS_DEPTH - 1))), Kind::BlockTransactions);
    assert_eq!(answer(places(deep(TRANSACTIONS_DEPTH))), Kind::Block);
    let unknown = BlockHash::of(b"unknown");
    assert_eq!(answer(Message::GetBlockTransactions { block: unknown, places: vec![0] }), Kind::NotFound);
    assert_eq!(stage.score(0), Some(0));
}

#[test]
fn invalid_indexes_in_a_request_for_transactions_are_an_offence() {
    for places in [vec![0, 0], vec![1], vec![0, u16::MAX]] {
        let mut stage = Stage::with_pusher(1);
        let block = stage.bench.node.chain().tip().hash;
        let outputs = stage.say(0, Message::GetBlockTransactions { block, places });
        assert_eq!(reasons(&outputs), [Reason::Misbehaved(Offence::BadPlaces)]);
    }
}

/// Nodes that found each other and push each other blocks.
fn settled_network(seed: u64) -> Sim {
    let mut sim = network(8, NetworkConditions::default(), seed);
    sim.run_for(Duration::from_secs(20));
    for node in 0..8 {
        mine(&mut sim, node, 1);
        assert!(sim.run_until(Duration::from_secs(2), Sim::is_converged));
    }
    sim
}

fn count(sim: &Sim, kind: Kind) -> u64 {
    sim.traffic_by_kind()[kind.place()].messages
}

/// In a whole network, with mempools that agree, that agree in part, and that are empty but the miner's.
#[test]
fn a_block_spreads_in_compact_form_whatever_others_have() {
    let seed = Seed::new(80);
    for shared in [20, 10, 0] {
        let mut sim = settled_network(seed.0);
        for n in 1..=20 {
            if n == shared + 1 {
                sim.run_for(Duration::from_secs(5));
            }
            sim.submit(3, payment(&params(), n, 1_000)).unwrap().unwrap();
        }
        if shared == 20 {
            sim.run_for(Duration::from_secs(5));
        }
        let kinds = [Kind::Block, Kind::BlockTransactions, Kind::CompactBlock];
        let before = kinds.map(|kind| count(&sim, kind));
        let hash = sim.mine(3).unwrap();
        assert!(sim.run_until(Duration::from_secs(2), Sim::is_converged));
        assert!(sim.nodes().all(|(_, node)| node.chain().tip().hash == hash));
        let [whole, parts, compact] = kinds.map(|kind| count(&sim, kind));
        assert_eq!(whole, before[0], "none goes whole");
        assert_eq!(parts > before[1], shared < 20, "{shared}");
        assert!(compact >= before[2] + 7);
    }
}
