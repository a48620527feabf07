//! Nodes that keep only the last blocks: what they say, what they serve, and what they are asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use cairn::chain::Retention;
use cairn::p2p::message::{Hello, Item, Message, SERVICE_FULL, SERVICE_PRUNED, SERVICE_STATE, TipClaim};
use cairn::p2p::proofs::ProofQuery;
use cairn::p2p::{Config, Direction, Event, Input, Output, PeerId, Reason};
use cairn::primitives::block::Block;
use cairn::primitives::hash::BlockHash;
use cairn::primitives::height::Height;
use cairn::primitives::target::Bits;

use crate::connections::{Bench, hello, id, reasons, sent, sent_to};
use crate::params;
use cairn_testkit::Ledger;

fn at(height: u32) -> Height {
    Height::from_u32(height)
}

/// A node that keeps its last 100 blocks, at height 400, and all blocks.
fn pruned() -> (Bench, Vec<Block>) {
    let mut bench = Bench::new(Config { retention: Retention::Last(100), ..Config::default() });
    let mut branch = Ledger::on(&params());
    branch.extend(400, 0);
    for block in &branch.blocks[1..] {
        bench.node.submit_block(bench.now, block.clone()).unwrap();
        bench.give(Input::Tick);
    }
    assert_eq!(bench.node.chain().kept_from(), at(256));
    (bench, branch.blocks)
}

#[test]
fn a_pruned_node_says_what_it_has_and_serves_that() {
    let (mut bench, blocks) = pruned();
    let (peer, _) = bench.inbound("10.0.0.1:5");
    let outputs = bench.say(peer, Message::Hello(hello()));
    let said = sent(&outputs).find_map(|message| if let Message::Hello(hello) = message { Some(hello) } else { None });
    let said = said.expect("a hello");
    let services = SERVICE_PRUNED | SERVICE_STATE;
    assert_eq!((said.services, said.bodies_from, said.tip.height), (services, at(256), at(400)));

    let hash = |height: usize| blocks[height].hash();
    let items = |heights: &[usize]| heights.iter().map(|height| Item::Block(hash(*height))).collect::<Vec<_>>();
    let outputs = bench.say(peer, Message::GetData(items(&[0, 7, 255, 256, 400])));
    let answers: Vec<Message> = sent(&outputs).collect();
    let [Message::Block(lowest), Message::Block(tip), Message::NotFound(missing)] = &answers[..] else {
        panic!("{answers:?}")
    };
    assert_eq!((lowest.hash(), tip.hash(), missing), (hash(256), hash(400), &items(&[0, 7, 255])));
    let outputs = bench.say(peer, Message::GetBlockTransactions { block: hash(7), places: vec![0] });
    assert_eq!(sent(&outputs).collect::<Vec<_>>(), [Message::NotFound(items(&[7]))]);

    let mut filters = |start, stop| {
        let outputs = bench.say(peer, Message::GetFilters { start_height: at(start), stop: hash(stop) });
        sent(&outputs)
            .find_map(|message| if let Message::Filters(filters) = message { Some(filters.len()) } else { None })
    };
    assert_eq!((filters(255, 300), filters(256, 300)), (Some(0), Some(45)));
    let outputs = bench.say(peer, Message::GetFilterHeaders { start_height: at(1), stop: hash(400) });
    let headers = sent(&outputs).find_map(|message| match message {
        Message::FilterHeaders { hashes, .. } => Some(hashes.len()),
        _ => None,
    });
    assert_eq!(headers, Some(400));

    let mut proofs = |height: usize| {
        let query = ProofQuery::Transaction(blocks[height].transactions[0].txid());
        let outputs = bench.say(peer, Message::GetProofs(query));
        sent(&outputs).find_map(|message| match message {
            Message::Proofs(proofs) => Some((proofs.proofs.len(), proofs.more)),
            _ => None,
        })
    };
    assert_eq!((proofs(255), proofs(256)), (Some((0, false)), Some((1, false))));
    assert_eq!(bench.score(peer), Some(0), "to ask for what is gone is no offence");
}

/// The hello of a node at `tip` of a branch that says it has the blocks from a height on; from genesis's it prunes nothing.
fn hello_of(branch: &[Block], tip: usize, bodies_from: u32) -> Hello {
    // A claim of work only decides who is asked first.
    let work = Bits(0x0300_0001).target().unwrap().work();
    let services = if bodies_from == 0 { SERVICE_FULL } else { SERVICE_PRUNED };
    let tip = TipClaim { height: at(tip as u32), hash: branch[tip].hash(), work };
    Hello { services, tip, bodies_from: at(bodies_from), ..hello() }
}

/// The heights of the blocks that a peer was asked for.
fn asked(outputs: &[Output], peer: PeerId, branch: &[Block]) -> BTreeSet<usize> {
    let height = |hash: &BlockHash| branch.iter().position(|block| block.hash() == *hash).expect("of the branch");
    let items = sent_to(outputs, peer).into_iter().filter_map(|message| match message {
        Message::GetData(items) => Some(items),
        _ => None,
    });
    let heights = items.flatten().map(|item| match item {
        Item::Block(hash) | Item::CompactBlock(hash) => height(&hash),
        Item::Transaction(txid) => panic!("transaction {txid}"),
    });
    heights.collect()
}

#[test]
fn a_pruned_peer_is_asked_for_what_it_has_and_the_others_for_the_rest() {
    let mut branch = Ledger::on(&params());
    branch.extend(100, 0);
    let branch = branch.blocks;
    let mut bench = Bench::new(Config::default());
    let (pruned, _) = bench.inbound("10.0.0.1:5");
    // At height 90 it had the blocks from 50 on. At 100, as its headers then show, it keeps those from 60 on.
    bench.say(pruned, Message::Hello(hello_of(&branch, 90, 50)));
    let headers = || Message::Headers(branch[1..].iter().map(|block| block.header).collect());
    let outputs = bench.say(pruned, headers());
    let first = asked(&outputs, pruned, &branch);
    assert_eq!(first, (60..76).collect(), "none below is asked for, though it is needed first");
    let deliver = |bench: &mut Bench, peer, heights: &BTreeSet<usize>| {
        let mut outputs = Vec::new();
        for height in heights {
            outputs.extend(bench.say(peer, Message::Block(branch[*height].clone().into())));
        }
        outputs
    };
    let mut outputs = deliver(&mut bench, pruned, &first);
    let mut of_pruned = first;
    loop {
        let next = asked(&outputs, pruned, &branch);
        if next.is_empty() {
            break;
        }
        outputs = deliver(&mut bench, pruned, &next);
        of_pruned.extend(next);
    }
    assert_eq!(of_pruned, (60..=100).collect());
    let outputs = bench.after(Duration::from_secs(9));
    assert_eq!((asked(&outputs, pruned, &branch), reasons(&outputs)), (BTreeSet::new(), vec![]), "it does not stall");

    let (full, _) = bench.inbound("10.0.1.1:5");
    let mut outputs = bench.say(full, Message::Hello(hello_of(&branch, 100, 0)));
    outputs.extend(bench.say(full, headers()));
    let mut of_full = BTreeSet::new();
    while bench.node.chain().tip().height < at(100) {
        let next = asked(&outputs, full, &branch);
        assert!(!next.is_empty() && asked(&outputs, pruned, &branch).is_empty());
        outputs = deliver(&mut bench, full, &next);
        of_full.extend(next);
    }
    assert_eq!(of_full, (1..60).collect());
}

#[test]
fn a_dialled_peer_that_lacks_the_next_block_gives_its_place_to_another() {
    let mut branch = Ledger::on(&params());
    branch.extend(100, 0);
    let mut bench = Bench::new(Config::default());
    let dial = |bench: &mut Bench, number: u64, bodies_from| {
        let (peer, address) = (PeerId(1_000 + number), format!("10.{number}.0.1:7331").parse().unwrap());
        bench.give(Input::Connected { peer, address, direction: Direction::Outbound, id: id(peer) });
        reasons(&bench.say(peer, Message::Hello(hello_of(&branch.blocks, 100, bodies_from))))
    };
    assert_eq!(dial(&mut bench, 1, 2), [Reason::LacksBlocks { from: at(2), needed: at(1) }]);
    assert_eq!(dial(&mut bench, 2, 1), []);
    assert_eq!(dial(&mut bench, 3, 0), []);
}

#[test]
fn a_branch_from_where_blocks_are_pruned_is_refused_once_and_no_peer_is_blamed() {
    let (mut bench, blocks) = pruned();
    let mut branch = Ledger::on(&params());
    blocks[1..=200].iter().for_each(|block| drop(branch.push(block.clone())));
    branch.extend(401, 7);
    let headers =
        |from: usize, to: usize| Message::Headers(branch.blocks[from..=to].iter().map(|block| block.header).collect());
    let asks = |outputs: &[Output], peer: PeerId| {
        sent_to(outputs, peer).iter().any(|message| matches!(message, Message::GetHeaders { .. }))
    };
    let (peer, _) = bench.inbound("10.0.0.1:5");
    let outputs = bench.say(peer, Message::Hello(hello_of(&branch.blocks, 600, 0)));
    assert!(asks(&outputs, peer));
    let outputs = bench.say(peer, headers(201, 600));
    assert!(outputs.iter().any(|output| matches!(output, Output::Event(Event::BranchTooDeep { .. }))), "{outputs:?}");
    assert_eq!((bench.node.chain().tip().height, bench.node.chain().tree().too_deep()), (at(400), Some(at(200))));
    // More of it is not asked for, or each new block would have the whole branch sent again.
    assert!(!asks(&bench.say(peer, headers(601, 601)), peer));
    assert_eq!(bench.score(peer), Some(0));
    // If the peer comes over, it is asked for blocks as any other.
    let mut own = Ledger::on(&params());
    blocks[1..].iter().for_each(|block| drop(own.push(block.clone())));
    let next = own.extend(1, 0).remove(0);
    let outputs = bench.say(peer, Message::Headers(vec![next.header]));
    let is_asked = |message: &Message| matches!(message, Message::GetData(items) if items.len() == 1);
    assert!(sent_to(&outputs, peer).iter().any(is_asked), "{outputs:?}");
}
