//! The client that begins with a succinct proof: it comes to the same chain, knows old blocks when it needs them, and sees
//! through liars.

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn::consensus::params::Params;
use cairn::light::{Config, Headers, Kept, Notice, PeerStatus, Question, Stage};
use cairn::p2p::Reason;
use cairn::p2p::chain_proofs::{ChainAnswer, ChainQuery};
use cairn::p2p::message::{Kind, Message};
use cairn::p2p::misbehaviour::Offence;
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::hash::Txid;
use cairn::primitives::header::Header;
use cairn::primitives::height::Height;
use cairn::primitives::tx::Output;
use cairn::runtime::HeaderFile;

use crate::world::{Lie, World, honest};
use cairn_testkit::{Ledger, genesis_coin, key, params, public, spend};

/// Headers that a proof shows at the end, besides the tip's.
const TAIL: u32 = 256;
const TIP: u32 = 700;

fn at(height: u32) -> Height {
    Height::from_u32(height)
}

/// Peers' chains are proven if they are 300 blocks ahead.
fn config() -> Config {
    Config { proof_ahead: Some(300), ..Config::default() }
}

/// All headers, as before there were proofs.
fn whole() -> Config {
    Config { proof_ahead: Some(u32::MAX), ..Config::default() }
}

/// 700 blocks with a payment of key 1 to key 50 in block 5, spent on to key 51 in block 150.
fn ledger() -> (Ledger, [Txid; 2]) {
    let params = params();
    let mut ledger = Ledger::on(&params);
    ledger.extend(4, 1);
    let pay = |ledger: &mut Ledger, outpoint, coin, from: u8, to: u8| {
        let output = Output::pay(public(to), Amount::from_grains(1_000 * COIN));
        let tx = spend(&params, &[(outpoint, coin, &key(from))], vec![output]);
        let block = ledger.make(&public(9), std::slice::from_ref(&tx), 0, 0);
        ledger.push(block);
        tx.txid()
    };
    let (outpoint, coin) = genesis_coin(&params, 1);
    let first = pay(&mut ledger, outpoint, coin, 1, 50);
    ledger.extend(144, 1);
    let (outpoint, coin) = ledger.coin(first, 0);
    let second = pay(&mut ledger, outpoint, coin, 50, 51);
    ledger.extend(TIP - 150, 1);
    (ledger, [first, second])
}

fn world(params: &Arc<Params>, blocks: &Ledger, config: Config, lies: Vec<Lie>) -> World {
    let mut world = World::new(params, lies.len(), config);
    lies.into_iter().for_each(|lie| world.serve(&blocks.blocks[1..], lie));
    world
}

/// A liar who changes proofs of its tip.
fn bent(mut change: impl FnMut(&mut Option<Vec<u8>>) + 'static) -> Lie {
    Box::new(move |message| match message {
        Message::ChainProof(mut answer) if answer.query == ChainQuery::Tip => {
            change(&mut answer.proof);
            vec![Message::ChainProof(answer)]
        }
        other => vec![other],
    })
}

fn received(world: &World, kind: Kind) -> u64 {
    world.light.received_bytes().iter().find(|(of, _)| *of == kind).map_or(0, |(_, bytes)| *bytes)
}

/// What both know of the chain is the same.
fn assert_agree(proven: &Headers, full: &Headers) {
    assert_eq!((proven.height(), proven.tip_hash(), proven.work()), (full.height(), full.tip_hash(), full.work()));
    for height in Height::GENESIS.through(full.height()) {
        let Some(header) = proven.header(height) else { continue };
        assert_eq!((Some(header), proven.hash(height)), (full.header(height), full.hash(height)), "{height}");
        assert_eq!(
            (proven.work_at(height), proven.tail(height)),
            (full.work_at(height), full.tail(height)),
            "{height}"
        );
        let weights = [proven, full].map(|chain| chain.weight(height, chain.tip().time).unwrap());
        assert_eq!(weights[0].on_top, weights[1].on_top);
        assert_eq!(weights[0].confirmations, weights[1].confirmations, "{height}");
    }
}

#[test]
fn it_comes_to_the_same_chain_as_with_all_headers_and_follows_it() {
    let (mut ledger, _) = ledger();
    let mut fork = ledger.clone();
    let mut proven = world(&ledger.params, &ledger, config(), vec![honest(), honest()]);
    let mut full = world(&ledger.params, &ledger, whole(), vec![honest(), honest()]);
    proven.sync();
    full.sync();
    assert_agree(proven.light.chain(), full.light.chain());
    assert_eq!((proven.light.chain().first(), full.light.chain().first()), (at(TIP - TAIL), at(1)));
    assert!(
        (0..2)
            .map(|n| proven.servers[n].heard.iter().filter(|heard| **heard == "getchainproof").count())
            .sum::<usize>()
            == 1
    );
    assert!(proven.light.reports().iter().all(|report| report.standing == PeerStatus::Agrees));
    assert_eq!(
        received(&full, Kind::Headers),
        u64::from(8 + 80 * TIP) + 88,
        "the second peer has no more than the tip"
    );
    assert!(received(&proven, Kind::Headers) < 200, "those since the proof, and there are none");
    // New blocks, a reorganisation below the proof's tip, and one below that.
    let mut steps = vec![ledger.extend(3, 2), fork.extend(5, 3)];
    let mut lower = Ledger::on(&ledger.params);
    for block in &ledger.blocks[1..=TIP as usize - 200] {
        lower.push(block.clone());
    }
    steps.push(lower.extend(220, 4));
    for blocks in steps {
        let tip = blocks[blocks.len() - 1].hash();
        for world in [&mut proven, &mut full] {
            world.mine(1, &blocks);
            world.run_until("the new tip", |world| world.light.chain().tip_hash() == tip);
        }
        assert_agree(proven.light.chain(), full.light.chain());
        // What is kept leads to the same chain.
        let mut again = Headers::new(ledger.params.clone());
        assert!(again.load(&proven.beginning) && again.load(&proven.kept));
        assert_agree(&again, full.light.chain());
        assert_eq!(again.take_changes(), None);
    }
    assert_eq!(proven.light.chain().first(), at(TIP - TAIL), "nothing was proven anew");
    assert!(proven.goodbyes.is_empty() && full.goodbyes.is_empty());
}

#[test]
fn a_branch_below_the_headers_kept_is_proven_too() {
    let params = params();
    let mut ledger = Ledger::on(&params);
    ledger.extend(100, 1);
    let mut other = ledger.clone();
    ledger.extend(TIP - 100, 1);
    let best = other.extend(TIP - 90, 7);
    let mut world = world(&params, &ledger, config(), vec![honest(), honest()]);
    world.sync();
    world.mine(1, &best);
    let tip = best[best.len() - 1].hash();
    world.run_until("the better branch", |world| world.light.chain().tip_hash() == tip);
    world.sync();
    assert_eq!(world.light.chain().first(), at(TIP + 10 - TAIL));
    let standings: Vec<PeerStatus> = world.light.reports().into_iter().map(|report| report.standing).collect();
    let first = PeerStatus::OtherBranch { height: at(TIP), hash: ledger.blocks[TIP as usize].hash() };
    assert_eq!(standings, [first, PeerStatus::Agrees]);
    assert!(world.goodbyes.is_empty(), "none of this is a lie");
    // A newcomer is shown both, and takes the better one in any order.
    for order in [[&ledger, &other], [&other, &ledger]] {
        let mut world = World::new(&params, 2, config());
        order.into_iter().for_each(|ledger| world.serve(&ledger.blocks[1..], honest()));
        world.sync();
        assert_eq!(world.light.chain().tip_hash(), tip);
        assert!(world.goodbyes.is_empty());
    }
}

#[test]
fn old_blocks_are_looked_up_when_they_are_needed() {
    let (ledger, txids) = ledger();
    let mut world = world(&ledger.params, &ledger, config(), vec![honest(), honest()]);
    world.sync();
    for (txid, height) in [(txids[0], 5), (txids[1], 150)] {
        let answer = world.ask(Question::Transaction(txid));
        let [found] = &answer.found[..] else { panic!("{answer:?}") };
        assert_eq!((found.block, found.place.height), (ledger.blocks[height as usize].hash(), at(height)));
        let weight = world.light.chain().weight(at(height), world.light.chain().tip().time).unwrap();
        assert_eq!(weight.confirmations, TIP + 1 - height);
    }
    let block = &ledger.blocks[77];
    let answer = world.ask(Question::Block(block.hash()));
    assert_eq!(answer.block.as_deref(), Some(block));
    assert_eq!(world.light.chain().height_of(&block.hash()), Some(at(77)));
    // All payments of a key, in a private way: the headers of all blocks are looked up.
    world.light.watch(world.now, BTreeSet::from([public(50)]), Height::GENESIS, 1);
    world.run_until("the tip", |world| {
        world.notices.iter().any(|notice| matches!(notice, Notice::Watched { height } if *height == at(TIP)))
    });
    let stages: Vec<(Txid, Stage)> = world
        .notices
        .iter()
        .filter_map(|notice| match notice {
            Notice::Payment(payment) => Some((payment.txid, payment.stage)),
            _ => None,
        })
        .collect();
    let confirmed = |height: u32| Stage::Confirmed {
        height: at(height),
        block: ledger.blocks[height as usize].hash(),
        confirmations: TIP + 1 - height,
    };
    assert_eq!(stages, [(txids[0], confirmed(5)), (txids[1], confirmed(150))]);
    assert!(world.goodbyes.is_empty());
}

#[test]
fn a_false_header_below_those_kept_is_an_offence_and_another_peer_is_asked() {
    let (ledger, txids) = ledger();
    let liar: Lie = Box::new(|message| match message {
        Message::ChainProof(ChainAnswer { query: query @ ChainQuery::Headers { .. }, proof: Some(mut proof) }) => {
            let last = proof.len() - 1;
            proof[last] ^= 1;
            vec![Message::ChainProof(ChainAnswer { query, proof: Some(proof) })]
        }
        other => vec![other],
    });
    let mut world = world(&ledger.params, &ledger, config(), vec![liar, honest()]);
    world.sync();
    let answer = world.ask(Question::Transaction(txids[0]));
    assert_eq!((answer.found.len(), answer.false_proofs), (1, 0));
    let [(0, Reason::Misbehaved(Offence::FalseChainProof(_)))] = &world.goodbyes[..] else {
        panic!("{:?}", world.goodbyes)
    };
}

#[test]
fn one_honest_peer_among_liars_is_enough() {
    let (ledger, _) = ledger();
    let mut short = Ledger::on(&ledger.params);
    short.extend(320, 5);
    let other = {
        let mut world = world(&ledger.params, &short, config(), vec![honest()]);
        world.sync();
        // The proof as a client keeps it, without what stands before it.
        Headers::kept_proof(&world.beginning).unwrap().0.to_vec()
    };
    let forged = bent(|proof| {
        if let Some(byte) = proof.as_mut().and_then(|proof| proof.get_mut(5_000)) {
            *byte ^= 1;
        }
    });
    // A true proof of a chain with less work than is claimed, and no more headers.
    let stale: Lie = Box::new(move |message| match message {
        Message::ChainProof(ChainAnswer { query, .. }) => {
            vec![Message::ChainProof(ChainAnswer { query, proof: Some(other.clone()) })]
        }
        Message::Headers(_) => vec![Message::Headers(Vec::new())],
        other => vec![other],
    });
    let cut = bent(|proof| *proof = proof.take().map(|proof| proof[..proof.len() / 2].to_vec()));
    let silent: Lie = Box::new(|message| match message {
        Message::ChainProof(_) => vec![],
        other => vec![other],
    });
    let twice: Lie = Box::new(|message| match message {
        Message::ChainProof(answer) => vec![Message::ChainProof(answer.clone()), Message::ChainProof(answer)],
        other => vec![other],
    });
    let none = bent(|proof| *proof = None);
    // Each has one block more than an honest peer, so that it is asked first.
    let lies =
        [("forged", forged), ("stale", stale), ("cut", cut), ("silent", silent), ("twice", twice), ("none", none)];
    for (name, lie) in lies {
        let mut world = World::new(&ledger.params, 2, config());
        world.serve(&ledger.blocks[1..], lie);
        world.serve(&ledger.blocks[1..TIP as usize], honest());
        world.sync();
        let (heard, tip) = (&world.servers[0].heard, world.light.chain().tip_hash());
        assert!(heard.contains(&"getchainproof"), "{name} was asked: {heard:?}");
        let goodbyes = &world.goodbyes;
        let last = if matches!(name, "twice" | "none") { TIP } else { TIP - 1 };
        match (name, &goodbyes[..]) {
            ("forged" | "cut", [(0, Reason::Misbehaved(Offence::FalseChainProof(_)))]) => {}
            ("stale", [(0, Reason::Misbehaved(Offence::EmptyClaim { .. }))]) => {}
            ("silent", [(0, Reason::Stalled), ..]) => {}
            // It was paid for with points, and the rest came by headers.
            ("twice" | "none", []) => {}
            _ => panic!("{name}: {goodbyes:?}"),
        }
        assert!(name == "silent" || tip == ledger.blocks[last as usize].hash(), "{name}");
    }
}

#[test]
fn many_followed_headers_give_way_to_a_proof() {
    let params = params();
    let mut ledger = Ledger::on(&params);
    ledger.extend(100, 1);
    let mut world = world(&params, &ledger, config(), vec![honest()]);
    world.sync();
    assert_eq!(world.light.chain().first(), at(1), "a short chain is kept whole");
    // Clients that follow blocks catch up by headers.
    world.light.watch(world.now, BTreeSet::from([public(50)]), Height::GENESIS, 1);
    world.mine(0, &ledger.extend(1_250, 1));
    let tip = ledger.blocks[1_350].hash();
    world.run_until("the tip", |world| world.light.chain().tip_hash() == tip && world.light.is_synced());
    world.run_until("a proof", |world| world.light.chain().first() > at(1));
    assert_eq!((world.light.chain().first(), world.light.chain().tip_hash()), (at(1_350 - TAIL), tip));
    let mut again = Headers::new(params);
    assert!(again.load(&world.beginning) && again.load(&world.kept));
    assert_eq!((again.first(), again.tip_hash()), (at(1_350 - TAIL), tip));
}

#[test]
fn a_file_with_a_proof_is_cut_where_it_is_damaged() {
    let (mut ledger, _) = ledger();
    let params = ledger.params.clone();
    let mut world = world(&params, &ledger, config(), vec![honest()]);
    world.sync();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("headers");
    let load = || HeaderFile::open(&path).unwrap().load(params.clone()).unwrap();
    {
        let file = HeaderFile::open(&path).unwrap();
        file.load(params.clone()).unwrap();
        file.replace(Some(world.beginning.clone()), at(TIP - TAIL - 1), &world.kept).unwrap();
    }
    let proven = load();
    assert_eq!((proven.tip_hash(), proven.first()), (ledger.blocks[TIP as usize].hash(), at(TIP - TAIL)));
    // More blocks behind those of the proof, and a reorganisation below its tip.
    let mut fork = ledger.clone();
    for blocks in [ledger.extend(4, 2), fork.extend(6, 3)] {
        let file = HeaderFile::open(&path).unwrap();
        let mut chain = file.load(params.clone()).unwrap();
        let headers: Vec<Header> = blocks.iter().map(|block| block.header).collect();
        let mut tail = chain.tail(at(TIP)).unwrap();
        tail.extend(&headers, &params).unwrap();
        chain.replace(at(TIP), &headers, tail);
        let Kept { beginning, above, headers } = chain.take_changes().unwrap();
        assert_eq!((&beginning, above), (&None, at(TIP)));
        file.replace(beginning, above, &headers).unwrap();
        drop(file);
        assert_eq!(load().tip_hash(), blocks[blocks.len() - 1].hash());
    }
    let good = std::fs::read(&path).unwrap();
    let start = world.beginning.len();
    // Cut in the headers: the proof is there, and what follows it.
    for (length, height) in [(good.len() - 1, TIP + 5), (start + 257 * 80 + 17, TIP), (start + 40, TIP), (start, TIP)] {
        std::fs::write(&path, &good[..length]).unwrap();
        assert_eq!(load().height(), at(height), "{length}");
        assert_eq!(load().height(), at(height), "it was mended");
    }
    // Cut or damaged in the proof: nothing is left, and the file is empty.
    let mut bent = good.clone();
    bent[start / 2] ^= 1;
    for bytes in [&good[..start - 1], &good[..9], &bent[..]] {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(load().height(), Height::GENESIS);
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    }
}
