//! Nodes that get blocks sooner than they have computed the root that these commit to.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use cairn::chain::Chain;
use cairn::consensus::error::RuleError;
use cairn::consensus::params::Params;
use cairn::p2p::message::{Hello, Item, Message, TipClaim};
use cairn::p2p::misbehaviour::Offence;
use cairn::p2p::{Config, Event, Input, Output, Protocol, Reason};
use cairn::primitives::block::Block;
use cairn::primitives::height::Height;
use cairn::primitives::target::Work;
use cairn::storage::MemoryStore;
use cairn_testkit::Ledger;

use crate::connections::{Bench, hello, reasons};
use crate::false_states::{another_owner, belie};
use crate::state_sync::{EPOCH, LENGTH, World, ledger, params};

/// The last block that commits to a state which is known from the start.
const LAST: u32 = 2 * EPOCH - 1;

/// A node whose states are computed when the test says so.
fn awaiting(params: &Arc<Params>) -> Bench {
    let mut chain = Chain::open(params.clone(), Arc::new(MemoryStore::new())).unwrap();
    chain.await_states().unwrap();
    Bench::of(chain, Config::default())
}

fn tip(bench: &Bench) -> u32 {
    bench.node.chain().tip().height.as_u32()
}

/// Computes the next state, and tells the node; what it then says, or nothing if there is no edge.
fn compute(bench: &mut Bench) -> Option<Vec<Output>> {
    let edge = bench.node.chain().state_table().next_edge().unwrap()?;
    bench.node.state_ready(bench.now, &edge);
    let mut outputs: Vec<Output> = bench.node.drain().collect();
    outputs.extend(bench.give(Input::Tick));
    Some(outputs)
}

#[test]
fn blocks_wait_for_a_state_without_blame_and_are_not_asked_for_again() {
    let params = params();
    let ledger = ledger(&params);
    let mut world = World::new(awaiting(&params));
    let peer = world.honest(&params, &ledger.blocks);
    world.run_to(LAST);
    assert!(world.events.iter().any(|event| matches!(event, Event::StateDue)));
    world.after(Duration::from_secs(1));
    let asked = world.count(peer, "getdata");
    assert!(asked > 0);
    // Longer than any peer has for an answer.
    (0..600).for_each(|_| world.after(Duration::from_secs(1)));
    assert_eq!((tip(&world.fresh), world.count(peer, "getdata")), (LAST, asked));
    assert!(world.servers.contains_key(&peer) && world.offences.is_empty(), "{:?}", world.offences);
    assert_eq!(world.fresh.node.chain().best_header().height, Height::from_u32(LENGTH));

    let mut tips = Vec::new();
    while let Some(outputs) = compute(&mut world.fresh) {
        world.deliver(outputs);
        world.after(Duration::from_secs(1));
        tips.push(tip(&world.fresh));
    }
    // Each state lets the blocks of one epoch in, the last of them up to the end.
    let expected: Vec<u32> = (LAST + EPOCH..LENGTH).step_by(EPOCH as usize).chain([LENGTH, LENGTH]).collect();
    assert_eq!(tips, expected);
    assert_eq!(world.count(peer, "getdata"), asked);
}

#[test]
fn a_block_that_waited_and_commits_to_another_state_is_refused_and_its_sender_blamed() {
    let params = params();
    let mut forged = Ledger::on(&params);
    forged.extend(2, 1);
    let lie = another_owner(&forged, forged.allocation(190));
    belie(&mut forged, &lie);
    forged.extend(LAST + 1, 1);
    let blocks = &forged.blocks;

    let mut bench = awaiting(&params);
    let (peer, _) = bench.inbound("10.0.0.1:5");
    let work: Work = "1000000".parse().unwrap();
    let tip_claim = TipClaim { height: forged.height(), hash: forged.tip().hash(), work };
    let hello = Hello { genesis: params.genesis_hash, tip: tip_claim, ..hello() };
    let mut queue: VecDeque<Output> = bench.say(peer, Message::Hello(hello)).into();
    let whole = |item: &Item| -> Option<Block> {
        let (Item::Block(hash) | Item::CompactBlock(hash)) = item else { return None };
        blocks.iter().find(|block| block.hash() == *hash).cloned()
    };
    while let Some(output) = queue.pop_front() {
        assert!(!matches!(output, Output::Disconnect { .. }), "{output:?}");
        let Output::Send { frame, .. } = output else { continue };
        let answers: Vec<Message> = match frame.message().unwrap() {
            Message::GetHeaders { .. } => {
                vec![Message::Headers(blocks[1..].iter().map(|block| block.header).collect())]
            }
            Message::GetData(items) => items.iter().filter_map(whole).map(|b| Message::Block(Arc::new(b))).collect(),
            _ => Vec::new(),
        };
        answers.into_iter().for_each(|answer| queue.extend(bench.say(peer, answer)));
    }
    let first_false = blocks[LAST as usize + 1].hash();
    let is_invalid = |bench: &Bench| bench.node.chain().entry(&first_false).unwrap().is_invalid();
    assert_eq!((tip(&bench), is_invalid(&bench), bench.score(peer)), (LAST, false, Some(0)), "it waits");

    let outputs = compute(&mut bench).expect("the chain has come to an edge");
    let blamed = reasons(&outputs);
    let [Reason::Misbehaved(Offence::BadBlock { hash, rule: RuleError::WrongCommitment { .. } })] = &blamed[..] else {
        panic!("{blamed:?}")
    };
    assert_eq!((*hash, tip(&bench), is_invalid(&bench)), (first_false, LAST, true));
}
