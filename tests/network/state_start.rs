//! Nodes that start from a state by a proof of the chain, with peers that prove it, lie about it or vanish; and the headers
//! below the state, which come later.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use cairn::consensus::params::{GenesisSpec, Params};
use cairn::p2p::chain_proofs::{ChainAnswer, ChainQuery};
use cairn::p2p::late_headers::{self, CHUNK};
use cairn::p2p::message::{Hello, Message, SERVICE_CHAIN_PROOFS, SERVICE_PRUNED, SERVICE_STATE};
use cairn::p2p::misbehaviour::Offence;
use cairn::p2p::state::{RangeAnswer, RangePage};
use cairn::p2p::state_start::{PROOF_TIMEOUT, least_proven};
use cairn::p2p::state_sync::{PATIENCE, SETTLE_TIME};
use cairn::p2p::{Config, Direction, Input, PeerId};
use cairn::primitives::amount::COIN;
use cairn::primitives::hash::BlockHash;
use cairn::primitives::height::Height;
use cairn::primitives::target::Work;
use cairn::state::Key;
use cairn::storage::MemoryStore;
use cairn_testkit::{Ledger, funded};

use crate::connections::{Bench, hello, id, sent_to};
use crate::state_sync::{Tamper, World, changed, few_ranges, node, with_blocks};

const EPOCH: u32 = 100;
const LENGTH: u32 = 900;
/// Block 800 is the first to commit to the state after it, with 101 blocks on top, itself included.
const EDGE: u32 = 700;
/// Eleven blocks before the edge before.
const START: u32 = EDGE - EPOCH - 11;

fn ledger() -> Ledger {
    static LEDGER: OnceLock<Ledger> = OnceLock::new();
    let make = || {
        let mut spec = GenesisSpec { epoch_blocks: EPOCH, ..funded(0..200, COIN) };
        assert!(spec.mine_nonce());
        let mut ledger = Ledger::on(&Arc::new(Params::new(spec).unwrap()));
        ledger.extend(LENGTH, 0);
        ledger
    };
    LEDGER.get_or_init(make).clone()
}

fn gap(bench: &Bench) -> Option<(u32, u32)> {
    bench.node.chain().tree().header_gap().map(|gap| (gap.from.as_u32(), gap.end.as_u32()))
}

/// Drops the answers that the node wants for the headers which come late.
fn without_late(message: Message) -> Option<Message> {
    match &message {
        Message::ChainProof(ChainAnswer { query: ChainQuery::Headers { spans, .. }, .. }) if spans[0].1 > EPOCH => None,
        _ => Some(message),
    }
}

/// Changes the answers about the chain; `change` is given the number of each answer too.
fn proofs(change: impl Fn(usize, &mut ChainAnswer) + 'static) -> Tamper {
    let mut number = 0;
    Box::new(move |mut message| {
        if let Message::ChainProof(answer) = &mut message {
            change(number, answer);
            number += 1;
        }
        Some(message)
    })
}

/// Takes a service out of what a node says that it offers.
fn without(service: u64) -> Tamper {
    changed("hello", move |message| {
        if let Message::Hello(hello) = message {
            hello.services &= !service;
        }
    })
}

/// Lets time pass until all headers are here.
fn run_to_whole(world: &mut World) {
    for _ in 0..200 {
        if gap(&world.fresh).is_none() {
            return;
        }
        world.after(Duration::from_secs(1));
    }
    panic!("headers are still missing: {:?}", gap(&world.fresh));
}

#[test]
fn a_proof_takes_the_place_of_the_headers() {
    let ledger = ledger();
    let mut world = World::new(node(&ledger.params, true));
    let peer = world.connect(with_blocks(&ledger.params, &ledger.blocks), Box::new(without_late));
    world.run_to(LENGTH);
    assert_eq!((world.started_from(), &world.offences[..]), (Some(EDGE), &[][..]));
    assert_eq!(gap(&world.fresh), Some((1, START)), "no header before was asked for");
    let asked = ["getchainproof", "getheaders", "getopening"].map(|name| world.count(peer, name));
    assert_eq!(asked, [4, 1, 2], "a proof, headers of blocks, the first header, and then the late ones");
    world.compare(&with_blocks(&ledger.params, &ledger.blocks));

    // It serves its state, and says that it has no old headers.
    assert_eq!(world.fresh.node.services(), SERVICE_STATE | SERVICE_PRUNED);
    let genesis = ledger.params.genesis_hash;
    let (guest, address) = (PeerId(99), "10.9.9.9:5".parse().unwrap());
    world.fresh.give(Input::Connected { peer: guest, address, direction: Direction::Inbound, id: id(guest) });
    let hello = Hello { genesis, ..hello() };
    world.fresh.say(guest, Message::Hello(hello));
    let mut ask = |locator| {
        let mut outputs = world.fresh.say(guest, Message::GetHeaders { locator, stop: BlockHash::ZERO });
        outputs.extend(world.fresh.after(Duration::from_millis(2)));
        sent_to(&outputs, guest)
    };
    let (from, end) = (Height::from_u32(1), Height::from_u32(START));
    assert_eq!(ask(vec![genesis]), [Message::NoHeaders { from, end }]);
    let answers = ask(vec![ledger.blocks[START as usize].hash(), genesis]);
    let [Message::Headers(headers)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(headers.len() as u32, LENGTH - START);

    // The peer does not answer for the late ones, and the next one does.
    world.after(late_headers::ANSWER_TIMEOUT);
    assert!(!world.servers.contains_key(&peer));
    world.honest(&ledger.params, &ledger.blocks);
    run_to_whole(&mut world);
    world.compare(&with_blocks(&ledger.params, &ledger.blocks));
    assert_eq!(world.fresh.node.chain().header_count(), ledger.blocks.len());
    assert_eq!(world.offences, []);
}

#[test]
fn all_provers_but_one_lie() {
    let ledger = ledger();
    let flip = |answer: &mut ChainAnswer, place: usize| {
        if let Some(proof) = &mut answer.proof {
            let place = place.min(proof.len() - 1);
            proof[place] ^= 1;
        }
    };
    let lies: Vec<(&str, bool, Tamper)> = vec![
        ("a tip that is not mined", true, proofs(move |_, answer| flip(answer, 80))),
        (
            "another sample",
            true,
            proofs(move |number, answer| {
                if number == 0 {
                    flip(answer, 9_000)
                }
            }),
        ),
        (
            "another header",
            true,
            proofs(move |number, answer| {
                if number == 1 {
                    flip(answer, 400)
                }
            }),
        ),
        (
            "another beginning",
            true,
            proofs(move |number, answer| {
                if number == 2 {
                    flip(answer, 100)
                }
            }),
        ),
        (
            "a cut proof",
            true,
            proofs(|number, answer| {
                if number == 2 {
                    answer.proof = Some(Vec::new())
                }
            }),
        ),
        ("no proof", false, proofs(|_, answer| answer.proof = None)),
        (
            "no header",
            false,
            proofs(|number, answer| {
                if number > 0 {
                    answer.proof = None
                }
            }),
        ),
    ];
    for (name, is_offence, tamper) in lies {
        let mut world = World::new(node(&ledger.params, true));
        let mut tamper = tamper;
        // It claims most work, so that it is asked first.
        let boast: Tamper = Box::new(move |mut message| {
            if let Message::Hello(hello) = &mut message {
                hello.tip.work = hello.tip.work + "1".parse::<Work>().unwrap();
            }
            tamper(message)
        });
        let liar = world.connect(with_blocks(&ledger.params, &ledger.blocks), boast);
        let honest = world.honest(&ledger.params, &ledger.blocks);
        world.run_to(LENGTH);
        assert_eq!(world.started_from(), Some(EDGE), "{name}");
        assert!(world.count(liar, "getchainproof") > 0 && world.count(honest, "getchainproof") > 2, "{name}");
        let named = world
            .offences
            .iter()
            .filter(|(peer, offence)| *peer == liar && matches!(offence, Offence::FalseChainProof(_)));
        assert_eq!((named.count(), world.offences.len()), (usize::from(is_offence), usize::from(is_offence)), "{name}");
        run_to_whole(&mut world);
        world.compare(&with_blocks(&ledger.params, &ledger.blocks));
    }
}

#[test]
fn a_prover_vanishes_and_another_is_asked() {
    let ledger = ledger();
    for answered in 0..4 {
        let mut world = World::new(node(&ledger.params, true));
        let mut left = answered;
        let silent = world.connect(
            with_blocks(&ledger.params, &ledger.blocks),
            Box::new(move |message| {
                if let Message::ChainProof(_) = message {
                    left -= i32::from(left >= 0);
                    return (left >= 0).then_some(message);
                }
                Some(message)
            }),
        );
        world.after(Duration::from_secs(1));
        world.honest(&ledger.params, &ledger.blocks);
        world.after(PROOF_TIMEOUT);
        world.run_to(LENGTH);
        assert_eq!((world.started_from(), &world.offences[..]), (Some(EDGE), &[][..]), "{answered}");
        world.after(late_headers::ANSWER_TIMEOUT);
        assert!(!world.servers.contains_key(&silent), "it is disconnected");
        run_to_whole(&mut world);
        world.compare(&with_blocks(&ledger.params, &ledger.blocks));
    }
}

#[test]
fn late_headers_that_are_false_are_blamed_and_asked_of_another() {
    let ledger = ledger();
    let mut world = World::new(node(&ledger.params, true));
    let flip = |number: usize, answer: &mut ChainAnswer| {
        if let (3.., Some(proof)) = (number, &mut answer.proof) {
            proof[1_000] ^= 1;
        }
    };
    let liar = world.connect(with_blocks(&ledger.params, &ledger.blocks), proofs(flip));
    world.connect(with_blocks(&ledger.params, &ledger.blocks), without(SERVICE_CHAIN_PROOFS));
    world.run_to(LENGTH);
    assert_eq!(gap(&world.fresh), Some((1, START)));
    let [(peer, Offence::FalseChainProof(_))] = &world.offences[..] else { panic!("{:?}", world.offences) };
    assert_eq!(*peer, liar);
    // One that has another chain says so, and is asked again after a while.
    let none = |number: usize, answer: &mut ChainAnswer| {
        if number == 0 {
            answer.proof = None;
        }
    };
    let second = world.connect(with_blocks(&ledger.params, &ledger.blocks), proofs(none));
    world.after(late_headers::REST / 2);
    assert_eq!((gap(&world.fresh), world.count(second, "getchainproof")), (Some((1, START)), 1));
    world.after(late_headers::REST);
    run_to_whole(&mut world);
    assert_eq!(world.count(second, "getchainproof"), 1 + START.div_ceil(CHUNK) as usize);
    world.compare(&with_blocks(&ledger.params, &ledger.blocks));
}

#[test]
fn a_node_that_is_stopped_at_any_time_goes_on_from_there() {
    let ledger = ledger();
    let on = |store: &Arc<MemoryStore>| {
        let config = Config { sync_state: true, ..Config::default() };
        World::new(Bench::on(&ledger.params, config, store.clone()))
    };
    // After the first coins, then while headers are late.
    let store = Arc::new(MemoryStore::new());
    let mut world = on(&store);
    let mut left = 5;
    world.connect(
        with_blocks(&ledger.params, &ledger.blocks),
        Box::new(move |message| {
            left -= i32::from(matches!(message, Message::StateRange(_)));
            (left >= 0).then_some(message)
        }),
    );
    world.after(SETTLE_TIME);
    let chain = world.fresh.node.chain();
    assert_eq!((chain.tip().height.as_u32(), gap(&world.fresh)), (START, Some((1, START))));
    let missing = chain.state_load().expect("a state is being loaded").missing.len();
    drop(world);
    let mut world = on(&store);
    let begun = world.fresh.node.chain().state_load().map(|load| load.missing.len());
    assert_eq!((begun, gap(&world.fresh)), (Some(missing), Some((1, START))));
    let peer = world.connect(with_blocks(&ledger.params, &ledger.blocks), Box::new(without_late));
    world.run_to(LENGTH);
    assert_eq!((world.started_from(), world.count(peer, "getopening")), (Some(EDGE), 0), "nothing was asked again");
    drop(world);
    let mut world = on(&store);
    assert_eq!((world.started_from(), gap(&world.fresh)), (Some(EDGE), Some((1, START))));
    world.honest(&ledger.params, &ledger.blocks);
    run_to_whole(&mut world);
    world.compare(&with_blocks(&ledger.params, &ledger.blocks));
    assert_eq!(world.offences, []);
}

/// Of what was there, only ranges with coins that came since are loaded again, whatever the first peer had sent by then.
#[test]
fn the_epoch_moves_while_a_state_is_loaded() {
    for sent in [0_usize, 1, 20, 31] {
        let mut ledger = ledger();
        let mut world = World::new(node(&ledger.params, true));
        let peer = world.connect(with_blocks(&ledger.params, &ledger.blocks), few_ranges(sent));
        world.after(Duration::from_secs(1));
        let load = world.fresh.node.chain().state_load().expect("a state is being loaded");
        let missing = load.missing.len();
        assert_eq!((load.base.height.as_u32(), missing), (EDGE, 32 - sent));
        ledger.extend(3 * EPOCH, 0);
        world.disconnect(peer);
        // Its peers no longer keep that state.
        let counts = Rc::new(Cell::new([0_usize; 2]));
        let counted = counts.clone();
        let count = move |message| {
            if let Message::StateRange(RangeAnswer { query, page: Some(_) }) = &message {
                let mut now = counted.get();
                now[usize::from(query.compares)] += 1;
                counted.set(now);
            }
            Some(message)
        };
        world.connect(with_blocks(&ledger.params, &ledger.blocks), Box::new(count));
        world.after(PATIENCE);
        world.run_to(LENGTH + 3 * EPOCH);
        assert_eq!(world.started_from(), Some(EDGE + 3 * EPOCH));
        assert_eq!(world.offences, []);
        let [loaded, compared] = counts.get();
        // The new coins are all of one lock, which has more than a page of them.
        assert_eq!(compared, 32 - missing);
        assert!((missing + 2..=missing + 3).contains(&loaded), "{loaded} ranges were loaded, {missing} were missing");
        run_to_whole(&mut world);
        world.compare(&with_blocks(&ledger.params, &ledger.blocks));
    }
}

/// Peers that are asked for the nodes over coins that are there, and show something else.
#[test]
fn liars_are_blamed_when_coins_are_compared() {
    let mut ledger = ledger();
    let mut world = World::new(node(&ledger.params, true));
    let first = world.connect(with_blocks(&ledger.params, &ledger.blocks), few_ranges(20));
    world.after(Duration::from_secs(1));
    ledger.extend(3 * EPOCH, 0);
    world.disconnect(first);
    let lies: [fn(&mut RangePage); 3] =
        [|page| page.proof[20] ^= 1, |page| page.end = Some([7; Key::LEN]), |page| page.proof.push(0)];
    for (number, lie) in lies.into_iter().enumerate() {
        let tamper = move |mut message| {
            if let Message::StateRange(RangeAnswer { query, page: Some(page) }) = &mut message
                && query.compares
            {
                lie(page);
            }
            Some(message)
        };
        let liar = world.connect(with_blocks(&ledger.params, &ledger.blocks), Box::new(tamper));
        world.after(PATIENCE);
        (0..20).for_each(|_| world.after(Duration::from_millis(100)));
        assert_eq!(world.offences.len(), number + 1);
        assert!(matches!(world.offences[number], (peer, Offence::FalseCoins(_)) if peer == liar));
        let load = world.fresh.node.chain().state_load().expect("the rest is still to come");
        assert!(!load.outdated.is_empty());
    }
    // A peer without the state is no liar.
    let without = |mut message| {
        if let Message::StateRange(answer) = &mut message {
            answer.page = None;
        }
        Some(message)
    };
    world.connect(with_blocks(&ledger.params, &ledger.blocks), Box::new(without));
    world.honest(&ledger.params, &ledger.blocks);
    world.run_to(LENGTH + 3 * EPOCH);
    assert_eq!((world.started_from(), world.offences.len()), (Some(EDGE + 3 * EPOCH), 3));
    run_to_whole(&mut world);
    world.compare(&with_blocks(&ledger.params, &ledger.blocks));
}

#[test]
fn a_chain_that_leaves_before_all_headers_that_are_here_is_followed() {
    let ledger = ledger();
    let mut world = World::new(node(&ledger.params, true));
    world.connect(with_blocks(&ledger.params, &ledger.blocks), Box::new(without_late));
    world.run_to(LENGTH);
    assert_eq!((world.started_from(), gap(&world.fresh)), (Some(EDGE), Some((1, START))));
    // More work, from a fork far before the first header that is here. A lesser one changes nothing.
    let other = |length: u32, salt| {
        let mut other = Ledger::on(&ledger.params);
        ledger.blocks[1..50].iter().for_each(|block| drop(other.append(block)));
        other.extend(length - 49, salt);
        other
    };
    world.honest(&ledger.params, &other(LENGTH - 1, 7).blocks);
    world.after(Duration::from_secs(1));
    assert_eq!(world.fresh.node.chain().tip().hash, ledger.blocks[LENGTH as usize].hash());
    let other = other(LENGTH + 50, 8);
    world.honest(&ledger.params, &other.blocks);
    world.after(Duration::from_secs(1));
    assert!(world.servers.is_empty() && world.fresh.node.chain().is_fresh(), "all begins anew");
    world.honest(&ledger.params, &other.blocks);
    world.run_to(LENGTH + 50);
    assert_eq!((world.started_from(), gap(&world.fresh)), (Some(EDGE), None), "its headers have shown its work");
    assert_eq!(world.offences, []);
    world.compare(&with_blocks(&ledger.params, &other.blocks));
}

#[test]
fn without_provers_or_servers_it_goes_as_before() {
    let ledger = ledger();
    // No peer proves chains: headers come first.
    let mut world = World::new(node(&ledger.params, true));
    let peer = world.connect(with_blocks(&ledger.params, &ledger.blocks), without(SERVICE_CHAIN_PROOFS));
    world.after(SETTLE_TIME / 2);
    assert_eq!(world.count(peer, "getheaders"), 0, "a prover may still come");
    world.run_to(LENGTH);
    assert_eq!((world.started_from(), gap(&world.fresh)), (Some(EDGE), None));
    assert_eq!(world.count(peer, "getchainproof"), 0);
    // No peer serves states: all blocks are validated.
    let mut world = World::new(node(&ledger.params, true));
    let peer = world.connect(with_blocks(&ledger.params, &ledger.blocks), without(SERVICE_STATE));
    world.after(PATIENCE);
    world.run_to(LENGTH);
    assert_eq!((world.started_from(), gap(&world.fresh)), (None, None));
    assert!(world.count(peer, "getchainproof") > 2, "the second time it finds the same");
    // A short chain needs no proof.
    let short = least_proven(&ledger.params) as usize;
    let mut world = World::new(node(&ledger.params, true));
    let peer = world.honest(&ledger.params, &ledger.blocks[..short]);
    world.run_to(short as u32 - 1);
    assert_eq!((world.count(peer, "getchainproof"), gap(&world.fresh)), (0, None));
}

#[test]
fn a_prover_that_comes_after_others_is_asked() {
    let ledger = ledger();
    let mut world = World::new(node(&ledger.params, true));
    world.honest(&ledger.params, &ledger.blocks[..30]);
    assert_eq!(world.fresh.node.chain().best_header().height, Height::from_u32(29));
    let peer = world.connect(with_blocks(&ledger.params, &ledger.blocks), Box::new(without_late));
    world.run_to(LENGTH);
    assert_eq!((world.started_from(), gap(&world.fresh)), (Some(EDGE), Some((1, START))));
    assert_eq!((world.count(peer, "getheaders"), &world.offences[..]), (1, &[][..]));
}

/// A prover that shows a real chain, but not its headers, is no reason to try for ever.
#[test]
fn a_proven_chain_whose_headers_do_not_come_is_given_up() {
    let ledger = ledger();
    let mut world = World::new(node(&ledger.params, true));
    let silent = |mut message| {
        if let Message::Headers(headers) = &mut message {
            headers.clear();
        }
        Some(message)
    };
    let liar: PeerId = world.connect(with_blocks(&ledger.params, &ledger.blocks), Box::new(silent));
    for _ in 0..100 {
        world.after(Duration::from_secs(1));
    }
    assert!(world.fresh.node.chain().is_fresh() && world.count(liar, "getchainproof") <= 8, "{:?}", world.asked);
    world.honest(&ledger.params, &ledger.blocks);
    world.run_to(LENGTH);
    world.compare(&with_blocks(&ledger.params, &ledger.blocks));
}
