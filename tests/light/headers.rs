//! Which chain the client follows, and how it treats peers that offer another.

use std::sync::Arc;

use cairn::consensus::error::RuleError;
use cairn::consensus::params::{GenesisSpec, Params, Retarget};
use cairn::light::{Config, Headers, Kept, Notice, PeerStatus, Question};
use cairn::p2p::Reason;
use cairn::p2p::kad::{Contact, NodeId};
use cairn::p2p::message::Message;
use cairn::p2p::misbehaviour::Offence;
use cairn::primitives::header::Header;
use cairn::primitives::height::Height;
use cairn::primitives::target::{Bits, Work};
use cairn::runtime::HeaderFile;

use crate::world::{Lie, World, address, honest};
use cairn_testkit::{Ledger, params};
use std::time::Duration;

/// A liar who changes headers before it sends them, and links the following headers to them.
fn bent(mut change: impl FnMut(&mut Header) + 'static) -> Lie {
    Box::new(move |message| match message {
        Message::Headers(mut headers) => {
            let mut parent = None;
            for header in &mut headers {
                header.previous = parent.unwrap_or(header.previous);
                change(header);
                parent = Some(header.hash());
            }
            vec![Message::Headers(headers)]
        }
        other => vec![other],
    })
}

#[test]
fn the_chain_with_most_work_wins_from_any_peer() {
    let params = params();
    let mut short = Ledger::on(&params);
    let blocks = short.extend(30, 1);
    let mut long = Ledger::on(&params);
    let best = long.extend(31, 2);
    for order in [[0, 1], [1, 0]] {
        let mut world = World::new(&params, 3, Config::default());
        for branch in order {
            world.serve([&blocks, &best][branch], honest());
        }
        world.serve(&best[..20], honest());
        world.sync();
        assert_eq!(
            (world.light.chain().height(), world.light.chain().tip_hash()),
            (Height::from_u32(31), best[30].hash())
        );
        let reports = world.light.reports();
        let standings: Vec<&PeerStatus> = reports.iter().map(|report| &report.standing).collect();
        let other = PeerStatus::OtherBranch { height: Height::from_u32(30), hash: blocks[29].hash() };
        let expected = if order == [0, 1] { [&other, &PeerStatus::Agrees] } else { [&PeerStatus::Agrees, &other] };
        assert_eq!(standings[..2], expected);
        assert_eq!(*standings[2], PeerStatus::Behind { height: Height::from_u32(20) });
        assert!(world.goodbyes.is_empty(), "none of this is a lie");
    }
}

#[test]
fn a_long_branch_is_fetched_twice_and_kept_once() {
    let params = params();
    let mut ours = Ledger::on(&params);
    let first = ours.extend(4_500, 1);
    let mut theirs = Ledger::on(&params);
    let best = theirs.extend(4_600, 2);
    let mut world = World::new(&params, 2, Config { proof_ahead: Some(u32::MAX), ..Config::default() });
    world.serve(&first, honest());
    world.serve(&best[..4_000], honest());
    world.sync();
    assert_eq!(world.light.chain().tip_hash(), first[4_499].hash());
    world.mine(1, &best[4_000..]);
    let tip = best[4_599].hash();
    world.run_until("the better branch", |world| world.light.chain().tip_hash() == tip);
    world.sync();
    let chain = world.light.chain();
    assert_eq!(
        (chain.height(), chain.work()),
        (Height::from_u32(4_600), chain.work_at(Height::from_u32(4_600)).unwrap())
    );
    for (height, block) in (1..).zip(&best) {
        assert_eq!(
            (chain.hash(Height::from_u32(height)), chain.header(Height::from_u32(height))),
            (Some(block.hash()), Some(&block.header))
        );
    }
    assert!(world.goodbyes.is_empty());
}

#[test]
fn new_blocks_and_reorganisations_are_followed() {
    let params = params();
    let mut branch = Ledger::on(&params);
    let blocks = branch.extend(10, 1);
    let mut fork = branch.clone();
    let mut world = World::new(&params, 2, Config::default());
    world.serve(&blocks, honest());
    world.serve(&blocks, honest());
    world.sync();
    let next = branch.extend(1, 2);
    world.mine(0, &next);
    world.run_until("the new block", |world| world.light.chain().tip_hash() == next[0].hash());
    let better = fork.extend(2, 3);
    world.mine(1, &better);
    world.run_until("the reorganisation", |world| world.light.chain().tip_hash() == better[1].hash());
    assert_eq!(world.light.chain().height(), Height::from_u32(12));
}

/// Recognises an offence by the rule that was broken.
type IsIt = fn(&Offence) -> bool;

#[test]
fn headers_that_break_a_rule_end_the_conversation() {
    let mut spec = GenesisSpec {
        retarget: Retarget::Asert,
        bits: Bits(0x2007_ffff),
        max_future_secs: 360,
        ..GenesisSpec::regtest()
    };
    spec.mine_nonce();
    let params = Arc::new(Params::new(spec).unwrap());
    let blocks = asert_blocks(&params, 40);
    // What each does, and which rule that breaks.
    let liars: [(Lie, IsIt); 4] = [
        (
            // Easier bits.
            bent(|header| {
                header.bits = Bits(0x207f_ffff);
                cairn_testkit::mine(header);
            }),
            |offence| matches!(offence, Offence::BadHeader { rule: RuleError::WrongBits { .. }, .. }),
        ),
        (
            // No proof of work.
            bent(cairn_testkit::unmine),
            |offence| matches!(offence, Offence::BadHeader { rule: RuleError::HighHash { .. }, .. }),
        ),
        (
            // Constant times.
            bent(|header| {
                header.time = header.time.min(1_600_000_000);
                cairn_testkit::mine(header);
            }),
            |offence| matches!(offence, Offence::BadHeader { rule: RuleError::TimeTooOld { .. }, .. }),
        ),
        (
            Box::new(|message| match message {
                Message::Headers(mut headers) => {
                    headers.reverse();
                    vec![Message::Headers(headers)]
                }
                other => vec![other],
            }),
            |offence| *offence == Offence::UnlinkedHeaders,
        ),
    ];
    let mut world = World::new(&params, 5, Config::default());
    let mut broken = Vec::new();
    for (lie, rule) in liars {
        world.serve(&blocks, lie);
        broken.push(rule);
    }
    world.serve(&blocks[..35], honest());
    world.sync();
    assert_eq!(world.light.chain().tip_hash(), blocks[34].hash(), "the honest peer has less, and wins");
    for (server, is_it) in broken.iter().enumerate() {
        let lied = |notice: &&Notice| matches!(notice, Notice::Lied(liar, offence) if *liar == address(server) && is_it(offence));
        assert_eq!(world.notices.iter().filter(lied).count(), 1, "liar {server}: {:?}", world.notices);
    }
}

/// Blocks of a network whose difficulty changes with every one.
fn asert_blocks(params: &Arc<Params>, count: u32) -> Vec<cairn::primitives::block::Block> {
    let mut branch = Ledger::on(params);
    (0..count)
        .map(|_| {
            let mut block = branch.make(&cairn_testkit::key(9).public_key(), &[], 0, 0);
            let chain = branch.blocks.iter().skip(1).fold(
                cairn::consensus::headers::HeaderTail::new(params),
                |mut chain, block| {
                    chain.push(&block.header, params).unwrap();
                    chain
                },
            );
            block.header.bits = chain.next_context(params).bits;
            cairn_testkit::mine(&mut block.header);
            branch.push(block.clone());
            block
        })
        .collect()
}

#[test]
fn a_false_claim_of_work_is_detected() {
    let params = params();
    let blocks = Ledger::on(&params).extend(5, 1);
    let mut world = World::new(&params, 2, Config::default());
    world.serve(
        &blocks,
        Box::new(|message| match message {
            Message::Hello(mut hello) => {
                hello.tip.work = hello.tip.work + hello.tip.work;
                vec![Message::Hello(hello)]
            }
            other => vec![other],
        }),
    );
    world.serve(&blocks, honest());
    world.sync();
    assert_eq!(world.light.chain().height(), Height::from_u32(5));
    assert!(
        matches!(world.goodbyes[..], [(0, Reason::Misbehaved(Offence::EmptyClaim { .. }))]),
        "{:?}",
        world.goodbyes
    );
}

/// A peer that claims most work, so that it is asked first, and gives this in place of headers.
fn asked_first(answer: impl Fn() -> Vec<Message> + 'static) -> Lie {
    Box::new(move |message| match message {
        Message::Hello(mut hello) => {
            hello.tip.work = Work(hello.tip.work.0 << 1);
            vec![Message::Hello(hello)]
        }
        Message::Headers(_) => answer(),
        other => vec![other],
    })
}

#[test]
fn a_peer_whose_old_headers_are_still_to_come_is_left_without_blame() {
    let params = params();
    let blocks = Ledger::on(&params).extend(5, 1);
    let mut world = World::new(&params, 4, Config::default());
    let (from, end) = (Height::from_u32(1), Height::from_u32(4));
    world.serve(&blocks, asked_first(move || vec![Message::NoHeaders { from, end }]));
    world.serve(&blocks, honest());
    world.sync();
    assert_eq!(world.light.chain().height(), Height::from_u32(5));
    assert!(matches!(world.goodbyes[..], [(0, Reason::LacksBlocks { .. })]), "{:?}", world.goodbyes);
}

#[test]
fn a_client_that_goes_on_waits_for_no_frozen_peer() {
    let params = params();
    let blocks = Ledger::on(&params).extend(5, 1);
    let mut world = World::new(&params, 2, Config::default());
    world.serve(&blocks, Box::new(|_| vec![]));
    world.serve(&blocks, honest());
    world.run_until("the headers of one", |world| world.light.chain().height() == Height::from_u32(5));
    assert!(!world.light.is_synced(), "{:?}", world.goodbyes);
    let asked = world.now.mono.as_millis();
    world.light.go_on(world.now);
    let answer = world.ask(Question::Block(blocks[2].hash()));
    assert_eq!(answer.block.as_deref(), Some(&blocks[2]));
    let took = world.now.mono.as_millis() - asked;
    assert!(took < 1_000, "{took} ms");
}

#[test]
fn silent_peers_are_left_for_others() {
    let params = params();
    let blocks = Ledger::on(&params).extend(5, 1);
    let mut world = World::new(&params, 3, Config::default());
    world.serve(&blocks, asked_first(Vec::new));
    world.serve(&blocks, Box::new(|_| vec![]));
    world.serve(&blocks, honest());
    world.sync();
    assert_eq!(world.light.chain().height(), Height::from_u32(5));
    let reasons: Vec<&Reason> = world.goodbyes.iter().map(|(_, reason)| reason).collect();
    assert!(reasons.contains(&&Reason::Stalled) && reasons.contains(&&Reason::HandshakeTimeout), "{reasons:?}");
}

#[test]
fn a_header_from_the_future_waits_and_no_peer_is_blamed() {
    let params = params();
    let mut branch = Ledger::on(&params);
    let mut blocks = branch.extend(4, 1);
    let mut early = branch.make(&cairn_testkit::key(1).public_key(), &[], 0, 0);
    let mut world = World::new(&params, 1, Config::default());
    let latest = world.now.unix.as_secs() as u32 + params.max_future_secs;
    early.header.time = latest + 60;
    cairn_testkit::mine(&mut early.header);
    blocks.push(early.clone());
    world.serve(&blocks[..4], honest());
    world.sync();
    let server_clock = cairn::p2p::Now { unix: world.now.unix.saturating_add(Duration::from_secs(3_600)), ..world.now };
    world.servers[0].node.submit_block(server_clock, early.clone()).unwrap();
    world.run_until("the announcement", |world| world.servers[0].heard.len() > 3 || !world.goodbyes.is_empty());
    assert_eq!(world.light.chain().height(), Height::from_u32(4));
    assert!(world.goodbyes.is_empty(), "{:?}", world.goodbyes);
}

#[test]
fn headers_are_kept_and_damage_costs_only_what_follows_it() {
    let params = params();
    let mut branch = Ledger::on(&params);
    let mut fork = branch.clone();
    let blocks = branch.extend(50, 1);
    let mut world = World::new(&params, 2, Config::default());
    world.serve(&blocks[..40], honest());
    world.serve(&[], honest());
    world.sync();
    let next = blocks[40..].to_vec();
    world.mine(0, &next);
    world.run_until("the new blocks", |world| world.light.chain().height() == Height::from_u32(50));
    let whole = world.kept.clone();
    let headers: Vec<u8> = blocks.iter().flat_map(|block| block.header.to_bytes()).collect();
    assert!(whole == headers, "80 bytes a block, in order");
    let better = fork.extend(51, 3);
    world.mine(1, &better);
    world.run_until("the reorganisation", |world| world.light.chain().height() == Height::from_u32(51));
    let headers: Vec<u8> = better.iter().flat_map(|block| block.header.to_bytes()).collect();
    assert!(world.kept == headers, "what is kept follows the best chain");

    let height = |bytes: &[u8]| {
        let mut chain = Headers::new(params.clone());
        let is_whole = chain.load(bytes);
        assert_eq!(chain.tip_hash(), chain.header(chain.height()).unwrap().hash());
        assert_eq!(chain.take_changes(), None, "what was kept need not be kept again");
        (chain.height().as_u32(), is_whole)
    };
    assert_eq!(height(&whole), (50, true));
    assert_eq!(height(&whole[..33 * 80 + 17]), (33, true), "cut short");
    let mut flipped = whole.clone();
    flipped[20 * 80 + 40] ^= 1;
    assert!(matches!(height(&flipped), (..=21, false)), "a flipped bit");
    assert_eq!(height(&[]), (0, true));
}

#[test]
fn a_file_of_headers_has_one_writer_and_is_cut_where_it_is_damaged() {
    let params = params();
    let mut branch = Ledger::on(&params);
    let blocks = branch.extend(50, 1);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("headers");
    let length = || std::fs::metadata(&path).unwrap().len();
    {
        let file = HeaderFile::open(&path).unwrap();
        let mut chain = file.load(params.clone()).unwrap();
        let headers: Vec<Header> = blocks.iter().map(|block| block.header).collect();
        chain.extend(&headers).1.unwrap();
        let Kept { beginning, above, headers } = chain.take_changes().unwrap();
        file.replace(beginning, above, &headers).unwrap();
        assert_eq!(length(), 50 * 80, "80 bytes a block");
        let reader = HeaderFile::open(&path).unwrap();
        let mut other = reader.load(params.clone()).unwrap();
        assert_eq!(other.tip_hash(), blocks[49].hash(), "another reads it");
        assert!(other.extend(&[branch.extend(1, 1)[0].header]).1.is_ok());
        let Kept { beginning, above, headers: bytes } = other.take_changes().unwrap();
        assert_eq!((&beginning, above, bytes.len()), (&None, Height::from_u32(50), 80));
        reader.replace(beginning, above, &bytes).unwrap();
        assert_eq!(length(), 50 * 80, "and leaves it alone");
        file.replace(None, Height::from_u32(30), &bytes).unwrap();
        assert_eq!(length(), 31 * 80, "what stood above is gone");
    }
    let header = |block: &cairn::primitives::block::Block| block.header.to_bytes();
    let whole: Vec<u8> = blocks.iter().flat_map(header).collect();
    let heights = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let chain = HeaderFile::open(&path).unwrap().load(params.clone()).unwrap();
        assert_eq!(length(), u64::from(chain.height().as_u32()) * 80, "what is bad is cut off");
        chain.height()
    };
    assert_eq!(heights(&whole), Height::from_u32(50));
    assert_eq!(heights(&whole[..33 * 80 + 17]), Height::from_u32(33), "cut short");
    let mut flipped = whole.clone();
    flipped[20 * 80 + 40] ^= 1;
    assert!(heights(&flipped) <= Height::from_u32(21), "a flipped bit");
    assert_eq!(heights(&[]), Height::GENESIS);
}

#[test]
fn contacts_that_were_not_asked_for_are_refused() {
    let params = params();
    let blocks = Ledger::on(&params).extend(3, 1);
    let stranger = Contact { id: NodeId([7; 32]), address: "10.9.9.9:7331".parse().unwrap() };
    let mut world = World::new(&params, 1, Config::default());
    world.serve(
        &blocks,
        Box::new(move |message| match message {
            Message::Headers(_) => std::iter::once(message).chain(vec![Message::Nodes(vec![stranger]); 10]).collect(),
            other => vec![other],
        }),
    );
    world.run_until("the goodbye", |world| !world.goodbyes.is_empty());
    let expected = Reason::Misbehaved(Offence::UnrequestedNodes);
    assert!(matches!(&world.goodbyes[..], [(0, reason)] if *reason == expected), "{:?}", world.goodbyes);
    assert!(world.light.reports().iter().all(|report| report.address != stranger.address), "it was dialled");
}
