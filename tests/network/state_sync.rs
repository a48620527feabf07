//! Nodes that start from a state, with peers that serve it, lie about it, vanish or have none.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cairn::chain;
use cairn::consensus::params::{Allocation, GenesisSpec, Params};
use cairn::p2p::chain_prover::prove_tip;
use cairn::p2p::coins::Opening;
use cairn::p2p::message::{Hello, Message, SERVICE_PRUNED, SERVICE_STATE};
use cairn::p2p::misbehaviour::Offence;
use cairn::p2p::serve::MAX_WAITING_RANGES;
use cairn::p2p::state::{RangeAnswer, RangePage, RangeQuery, STATE_PAGE_COINS};
use cairn::p2p::state_servers::ANSWER_TIMEOUT;
use cairn::p2p::state_sync::{PATIENCE, SETTLE_TIME};
use cairn::p2p::{Command, Config, Direction, Event, Input, Output, PeerId, Protocol, Reason, Reply};
use cairn::primitives::address;
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::block::Block;
use cairn::primitives::hash::StateRoot;
use cairn::primitives::height::Height;
use cairn::primitives::tx::Output as TxOutput;
use cairn::state::{KeyRange, Leaf, Table};
use cairn::storage::MemoryStore;
use cairn_testkit::{Ledger, funded, public, twins};

use crate::connections::{Bench, hello, id};

pub const EPOCH: u32 = 5;
pub const LENGTH: u32 = 43;
/// The edge of the newest state that is buried: block 35 is the first to commit to it, with 9 blocks on top, itself included.
pub const EDGE: u32 = 30;

pub fn params() -> Arc<Params> {
    let mut spec = GenesisSpec { epoch_blocks: EPOCH, ..funded(0..200, COIN) };
    // Locks that lie side by side, with more coins than a record is kept for.
    let addresses = twins().map(|twin| address::encode(&spec.address_prefix, &twin));
    let coin = |address: &String| Allocation { address: address.clone(), value: Amount::from_grains(COIN) };
    spec.alloc.extend((0..40).flat_map(|_| addresses.iter().map(coin)));
    assert!(spec.mine_nonce());
    Arc::new(Params::new(spec).unwrap())
}

/// A chain whose blocks each spend some coins of genesis, so that there are some hundred coins.
pub fn ledger(params: &Arc<Params>) -> Ledger {
    let mut ledger = Ledger::on(params);
    while ledger.height() < Height::from_u32(LENGTH) {
        extend(&mut ledger);
    }
    ledger
}

pub fn extend(ledger: &mut Ledger) -> Block {
    let first = 4 * ledger.height().as_u32() as u8;
    let pay = |n: u8| {
        let third = TxOutput::pay(public(n), Amount::from_grains(COIN / 3));
        ledger.payment(&[ledger.allocation(n + 1)], vec![third.clone(), third.clone(), third])
    };
    let block = ledger.block((first..first + 4).map(pay).collect());
    ledger.append(&block);
    block
}

pub fn node(params: &Arc<Params>, sync_state: bool) -> Bench {
    Bench::on(params, Config { sync_state, ..Config::default() }, Arc::new(MemoryStore::new()))
}

pub fn with_blocks(params: &Arc<Params>, blocks: &[Block]) -> Bench {
    let mut bench = node(params, false);
    for block in &blocks[1..] {
        bench.node.submit_block(bench.now, block.clone()).unwrap();
    }
    bench.node.drain().for_each(drop);
    let table = bench.node.chain().state_table();
    while table.next_edge().unwrap().is_some() {}
    bench
}

/// What a server makes of its answer: another, or none.
pub type Tamper = Box<dyn FnMut(Message) -> Option<Message>>;

/// Hands over so many ranges of coins, and no more.
pub fn few_ranges(mut left: usize) -> Tamper {
    Box::new(move |message| {
        if let Message::StateRange(_) = message {
            left = left.checked_sub(1)?;
        }
        Some(message)
    })
}

/// A node that begins, and others that it is connected to. The others are whole nodes, whose answers may be changed on
/// their way.
pub struct World {
    pub fresh: Bench,
    pub servers: BTreeMap<PeerId, (Bench, Tamper)>,
    pub offences: Vec<(PeerId, Offence)>,
    pub events: Vec<Event>,
    /// What the fresh node asked each for, by the names of the messages.
    pub asked: BTreeMap<PeerId, Vec<&'static str>>,
    /// Of the peer that was connected last.
    pub number: u64,
}

impl World {
    pub fn new(fresh: Bench) -> Self {
        let (servers, asked) = (BTreeMap::new(), BTreeMap::new());
        Self { fresh, servers, offences: Vec::new(), events: Vec::new(), asked, number: 0 }
    }

    /// The fresh node has dialled a server.
    pub fn connect(&mut self, mut server: Bench, tamper: Tamper) -> PeerId {
        self.number += 1;
        let peer = PeerId(self.number);
        let address = format!("10.0.{}.1:7331", peer.0).parse().unwrap();
        self.asked.insert(peer, Vec::new());
        let connected = |direction| Input::Connected { peer, address, direction, id: id(peer) };
        let outputs = server.give(connected(Direction::Inbound));
        self.servers.insert(peer, (server, tamper));
        assert!(!outputs.iter().any(|output| matches!(output, Output::Send { peer: to, .. } if *to == peer)));
        let outputs = self.fresh.give(connected(Direction::Outbound));
        self.deliver(outputs);
        peer
    }

    pub fn honest(&mut self, params: &Arc<Params>, blocks: &[Block]) -> PeerId {
        self.connect(with_blocks(params, blocks), Box::new(Some))
    }

    /// A server leaves.
    pub fn disconnect(&mut self, peer: PeerId) {
        self.servers.remove(&peer);
        let outputs = self.fresh.give(Input::Disconnected { peer });
        self.deliver(outputs);
    }

    /// Delivers what the fresh node says, and all that follows.
    pub fn deliver(&mut self, outputs: Vec<Output>) {
        let mut queue: VecDeque<Output> = outputs.into();
        while let Some(output) = queue.pop_front() {
            match output {
                Output::Send { peer, frame } => {
                    let Some((server, tamper)) = self.servers.get_mut(&peer) else { continue };
                    let message = frame.message().unwrap();
                    self.asked.entry(peer).or_default().push(message.kind().name());
                    server.now = self.fresh.now;
                    let mut answers = server.say(peer, message);
                    // What takes the server more than a slice, portions that it waits for, and proofs that are made elsewhere.
                    let is_open = |output: &Output| {
                        matches!(output, Output::WakeAt { .. } | Output::Flush { .. } | Output::Event(Event::ProofDue))
                    };
                    while let Some(at) = answers.iter().position(is_open) {
                        let more = match answers.remove(at) {
                            Output::Flush { peer } => server.give(Input::Flushed { peer }),
                            Output::Event(_) => {
                                let chain = server.node.chain();
                                let proof = prove_tip(chain.db(), chain.params(), chain.tip().key()).unwrap();
                                server.node.command(server.now, Command::ProofMade(proof, Reply::nowhere()));
                                server.node.drain().collect()
                            }
                            _ => {
                                let paused = server.now.mono + Duration::from_millis(1);
                                server.now.mono = paused;
                                let more = server.give(Input::Tick);
                                more.into_iter().filter(|output| !matches!(output, Output::WakeAt { .. })).collect()
                            }
                        };
                        answers.extend(more);
                    }
                    for answer in answers {
                        if let Output::Send { peer: to, frame } = answer
                            && to == peer
                            && let Some(message) = tamper(frame.message().unwrap())
                        {
                            queue.extend(self.fresh.say(peer, message));
                        }
                    }
                }
                Output::Disconnect { peer, reason } => {
                    if let Reason::Misbehaved(offence) = reason {
                        self.offences.push((peer, offence));
                    }
                    self.servers.remove(&peer);
                }
                Output::Event(event) => self.events.push(event),
                Output::Flush { .. } | Output::WakeAt { .. } | Output::Connect { .. } | Output::KeepHeaders { .. } => {}
            }
        }
    }

    pub fn after(&mut self, span: Duration) {
        let outputs = self.fresh.after(span);
        self.deliver(outputs);
    }

    /// Lets time pass until the node has a tip at a height.
    pub fn run_to(&mut self, height: u32) {
        for _ in 0..2_000 {
            if self.fresh.node.chain().tip().height == Height::from_u32(height) {
                return;
            }
            self.after(Duration::from_millis(100));
        }
        panic!("the tip is at {}, not at {height}", self.fresh.node.chain().tip().height);
    }

    pub fn started_from(&self) -> Option<u32> {
        self.fresh.node.chain().started_from().map(Height::as_u32)
    }

    pub fn count(&self, peer: PeerId, name: &str) -> usize {
        self.asked[&peer].iter().filter(|asked| **asked == name).count()
    }

    /// Compares the node with one that has validated all blocks.
    pub fn compare(&self, full: &Bench) {
        let (chain, full) = (self.fresh.node.chain(), full.node.chain());
        assert_eq!(chain.tip().hash, full.tip().hash);
        assert_eq!(chain.db().coin_stats().unwrap(), full.db().coin_stats().unwrap());
        assert_eq!(chain.committed().unwrap(), full.committed().unwrap());
        let table = chain.state_table();
        while table.next_edge().unwrap().is_some() {}
        let edge = chain.params().last_edge(chain.tip().height);
        assert_eq!(chain.db().edge(edge).unwrap(), full.db().edge(edge).unwrap());
        chain::check(chain.db(), chain.params(), &mut |_, _| {}).unwrap();
    }
}

#[test]
fn a_node_starts_from_a_state_and_validates_what_comes_after() {
    let params = params();
    let mut ledger = ledger(&params);
    let mut world = World::new(node(&params, true));
    let first = world.honest(&params, &ledger.blocks);
    let second = world.honest(&params, &ledger.blocks);
    world.run_to(LENGTH);
    assert_eq!((world.started_from(), &world.offences[..]), (Some(EDGE), &[][..]));
    assert!(
        [first, second].iter().all(|peer| world.count(*peer, "getstaterange") > 0),
        "both were asked: {:?}",
        world.asked
    );
    world.compare(&with_blocks(&params, &ledger.blocks));
    let services = world.fresh.node.services();
    assert_eq!(services, SERVICE_STATE | SERVICE_PRUNED);

    // A coin that was made before the state can be spent, and blocks go on.
    let early = ledger.blocks[3].transactions[1].txid();
    let (outpoint, coin) = ledger.coin(early, 0);
    let owner = 8;
    assert_eq!(coin.output.key(), Some(&public(owner)));
    let payment = ledger.payment(&[outpoint], vec![TxOutput::pay(public(1), Amount::from_grains(COIN / 4))]);
    let outputs = world.fresh.node.submit_transaction(world.fresh.now, payment.clone());
    outputs.unwrap();
    let block = ledger.block(vec![payment]);
    ledger.append(&block);
    world.fresh.node.submit_block(world.fresh.now, block).unwrap();
    for block in ledger.extend(2 * EPOCH, 1) {
        world.fresh.node.submit_block(world.fresh.now, block).unwrap();
    }
    world.compare(&with_blocks(&params, &ledger.blocks));

    // It serves its states in turn.
    let mut next = World { number: world.number, ..World::new(node(&params, true)) };
    std::mem::swap(&mut next, &mut world);
    let peer = world.connect(next.fresh, Box::new(Some));
    world.run_to(LENGTH + 1 + 2 * EPOCH);
    assert!(world.started_from() > Some(EDGE) && world.count(peer, "getstaterange") > 0);
    world.compare(&with_blocks(&params, &ledger.blocks));
}

/// Proves what it is asked for from other coins than those of the state: which, for a range.
fn proves_from(coins: impl Fn(&KeyRange) -> Vec<Leaf> + 'static) -> Tamper {
    changed("staterange", move |message| {
        let Message::StateRange(RangeAnswer { query, page: Some(page) }) = message else { return };
        let range = query.range().unwrap();
        let table = Table::new(coins(&range)).unwrap();
        let (proof, end) = table.with_source(|source| source.prove_page_of(STATE_PAGE_COINS, &range)).unwrap();
        *page = RangePage { proof, end: end.map(|end| *end.as_bytes()) };
    })
}

/// Leaves out one coin of a range: which of so many.
fn leaves_out(state: &[Leaf], which: fn(usize) -> usize) -> Tamper {
    let state = state.to_vec();
    proves_from(move |range| {
        let inside: Vec<usize> = (0..state.len()).filter(|place| range.contains(&state[*place].key)).collect();
        let mut coins = state.clone();
        coins.remove(inside[which(inside.len())]);
        coins
    })
}

/// Changes one message of a kind.
pub fn changed(kind: &'static str, change: impl Fn(&mut Message) + 'static) -> Tamper {
    Box::new(move |mut message| {
        if message.kind().name() == kind {
            change(&mut message);
        }
        Some(message)
    })
}

#[test]
fn all_peers_but_one_lie() {
    let params = params();
    let ledger = ledger(&params);
    let mut at_edge = Ledger::on(&params);
    ledger.blocks[1..EDGE as usize].iter().for_each(|block| drop(at_edge.append(block)));
    let mut rival = at_edge.clone();
    rival.extend(1, 7);
    at_edge.append(&ledger.blocks[EDGE as usize]);
    let [state, branch] = [at_edge, rival].map(|ledger| ledger.epochs.table().leaves().copied().collect::<Vec<Leaf>>());
    let range = |change: fn(&mut RangePage)| {
        changed("staterange", move |message| {
            if let Message::StateRange(answer) = message {
                answer.page.iter_mut().for_each(change);
            }
        })
    };
    let opening = |change: fn(&mut Opening)| {
        changed("opening", move |message| {
            if let Message::Opening { opening, .. } = message {
                opening.iter_mut().for_each(|opening| change(opening));
            }
        })
    };
    let lies: Vec<(&str, Tamper)> = vec![
        ("another root", opening(|opening| opening.committed.state = StateRoot::ZERO)),
        ("another coinbase", opening(|opening| opening.coinbase.transaction.outputs[1].value = Amount::ZERO)),
        ("another block", opening(|opening| opening.coinbase.height = Height::GENESIS)),
        ("a digest changed", range(|page| page.proof[3] ^= 1)),
        ("the end left out", range(|page| page.proof.truncate(page.proof.len() - 1))),
        (
            "a coin's value changed",
            range(|page| {
                let last = page.proof.len() - 3;
                page.proof[last] ^= 1;
            }),
        ),
        ("no coins at all", range(|page| page.proof = vec![0])),
        ("an early end", range(|page| page.end = Some([0x40; 68]))),
        ("the first coin left out", leaves_out(&state, |_| 0)),
        ("a coin in the middle left out", leaves_out(&state, |count| count / 2)),
        ("the last coin left out", leaves_out(&state, |count| count - 1)),
        ("the state of a branch", proves_from(move |_| branch.clone())),
    ];
    let mut world = World::new(node(&params, true));
    let liars: Vec<(&str, PeerId)> = lies
        .into_iter()
        .map(|(name, tamper)| (name, world.connect(with_blocks(&params, &ledger.blocks), tamper)))
        .collect();
    let honest = world.honest(&params, &ledger.blocks);
    world.run_to(LENGTH);
    assert_eq!(world.started_from(), Some(EDGE));
    world.compare(&with_blocks(&params, &ledger.blocks));
    for (name, peer) in liars {
        let offence = world.offences.iter().find(|(liar, _)| *liar == peer).map(|(_, offence)| offence);
        let is_named =
            matches!(offence, Some(Offence::FalseCoins(_) | Offence::FalseOpening(_) | Offence::FalseProof(_)));
        // One that was never asked could not lie.
        let was_asked = world.count(peer, "getstaterange") + world.count(peer, "getopening") > 0;
        assert_eq!(is_named, was_asked, "{name}: {offence:?}");
    }
    assert!(world.offences.iter().all(|(peer, _)| *peer != honest));
    assert!(world.offences.len() >= 10, "{:?}", world.offences);
}

#[test]
fn a_server_vanishes_and_another_goes_on() {
    let params = params();
    let ledger = ledger(&params);
    let mut world = World::new(node(&params, true));
    // It shows what blocks commit to and a few ranges, then nothing.
    let silent = world.connect(with_blocks(&params, &ledger.blocks), few_ranges(3));
    world.after(SETTLE_TIME);
    world.after(Duration::from_secs(1));
    let missing = |world: &World| world.fresh.node.chain().state_load().map(|load| load.missing.len());
    let before = missing(&world).expect("a state is being loaded");
    world.honest(&params, &ledger.blocks);
    assert!(missing(&world).is_none_or(|missing| missing < before), "the rest is loaded from the other");
    world.after(ANSWER_TIMEOUT);
    assert!(!world.servers.contains_key(&silent), "it is disconnected");
    world.run_to(LENGTH);
    assert_eq!((world.started_from(), &world.offences[..]), (Some(EDGE), &[][..]));
    world.compare(&with_blocks(&params, &ledger.blocks));
}

#[test]
fn without_a_server_all_blocks_are_validated() {
    let params = params();
    let ledger = ledger(&params);
    // A peer that serves no states, and one that says so and has none.
    let plain = || {
        changed("hello", |message| {
            if let Message::Hello(hello) = message {
                hello.services &= !SERVICE_STATE;
            }
        })
    };
    let none = || {
        changed("staterange", |message| {
            if let Message::StateRange(answer) = message {
                answer.page = None;
            }
        })
    };
    for (name, tamper) in [("plain", plain()), ("none", none())] {
        let mut world = World::new(node(&params, true));
        world.connect(with_blocks(&params, &ledger.blocks), tamper);
        world.after(SETTLE_TIME);
        world.after(Duration::from_secs(1));
        assert_eq!(world.fresh.node.chain().tip().height, Height::GENESIS, "{name}");
        world.after(PATIENCE);
        if name == "none" {
            // The load was begun, so headers and peers are gone with it; the node dials again.
            assert!(world.servers.is_empty() && world.fresh.node.chain().is_fresh());
            world.honest(&params, &ledger.blocks);
        }
        world.run_to(LENGTH);
        assert_eq!(world.started_from(), None, "{name}");
        world.compare(&with_blocks(&params, &ledger.blocks));
    }
}

#[test]
fn a_short_chain_is_validated_whole_at_once() {
    let params = params();
    let ledger = ledger(&params);
    let mut world = World::new(node(&params, true));
    world.honest(&params, &ledger.blocks[..12]);
    world.run_to(11);
    assert_eq!(world.started_from(), None);
}

#[test]
fn a_chain_that_leaves_before_the_state_is_started_from_by_itself() {
    let params = params();
    let ledger = ledger(&params);
    let mut world = World::new(node(&params, true));
    let first = world.honest(&params, &ledger.blocks);
    world.run_to(LENGTH);
    assert_eq!(world.started_from(), Some(EDGE));

    // More work, from a fork far before the state.
    let mut other = Ledger::on(&params);
    ledger.blocks[1..10].iter().for_each(|block| drop(other.append(block)));
    other.extend(LENGTH + 10, 7);
    let height = other.height().as_u32();
    let second = world.honest(&params, &other.blocks);
    world.after(Duration::from_secs(1));
    assert!(world.servers.is_empty(), "what was known of peers is forgotten: {first}, {second}");
    world.honest(&params, &other.blocks);
    world.run_to(height);
    assert!(world.started_from().is_some_and(|from| from > EDGE));
    world.compare(&with_blocks(&params, &other.blocks));
}

/// All blocks since the state are taken back, or some of them, and edges with them.
#[test]
fn a_branch_that_leaves_after_the_state_is_followed_across_edges() {
    let params = params();
    let ledger = ledger(&params);
    for fork in [EDGE, EDGE + EPOCH + 1] {
        let mut world = World::new(node(&params, true));
        world.honest(&params, &ledger.blocks);
        world.run_to(LENGTH);
        let mut other = Ledger::on(&params);
        ledger.blocks[1..=fork as usize].iter().for_each(|block| drop(other.append(block)));
        other.extend(LENGTH + 2 - fork, 7);
        world.honest(&params, &other.blocks);
        world.run_to(LENGTH + 2);
        assert_eq!((world.started_from(), world.servers.len(), &world.offences[..]), (Some(EDGE), 2, &[][..]));
        world.compare(&with_blocks(&params, &other.blocks));
    }
}

#[test]
fn a_state_of_another_branch_takes_the_place_of_one_that_is_partly_there() {
    let params = params();
    let ledger = ledger(&params);
    let mut world = World::new(node(&params, true));
    let first = world.connect(with_blocks(&params, &ledger.blocks), few_ranges(20));
    world.after(SETTLE_TIME);
    world.disconnect(first);
    let there = 32 - world.fresh.node.chain().state_load().expect("a state is being loaded").missing.len();
    assert!(there >= 20, "{there}");

    let mut other = Ledger::on(&params);
    ledger.blocks[1..EDGE as usize - 2].iter().for_each(|block| drop(other.append(block)));
    other.extend(LENGTH - EDGE + 9, 7);
    let compared = Rc::new(Cell::new(0));
    let counted = compared.clone();
    let count = move |message| {
        counted
            .set(counted.get() + usize::from(matches!(&message, Message::StateRange(answer) if answer.query.compares)));
        Some(message)
    };
    world.connect(with_blocks(&params, &other.blocks), Box::new(count));
    world.run_to(other.height().as_u32());
    assert!(compared.get() >= there, "{} parts were compared, of {there}", compared.get());
    assert_eq!(world.offences, []);
    world.compare(&with_blocks(&params, &other.blocks));
}

#[test]
fn a_load_waits_for_peers_and_goes_on_with_the_next() {
    let params = params();
    let ledger = ledger(&params);
    let mut world = World::new(node(&params, true));
    let peer = world.connect(with_blocks(&params, &ledger.blocks), few_ranges(5));
    world.after(SETTLE_TIME);
    let missing = |world: &World| world.fresh.node.chain().state_load().map(|load| load.missing.len());
    let before = missing(&world).expect("a state is being loaded");
    world.disconnect(peer);
    (0..5).for_each(|_| world.after(PATIENCE));
    assert_eq!(missing(&world), Some(before), "nothing is given up");
    world.honest(&params, &ledger.blocks);
    world.run_to(LENGTH);
    assert_eq!(world.started_from(), Some(EDGE));
    world.compare(&with_blocks(&params, &ledger.blocks));
}

#[test]
fn a_hundred_peers_ask_for_all_coins_at_once() {
    let params = params();
    let ledger = ledger(&params);
    let mut server = with_blocks(&params, &ledger.blocks);
    let edge = ledger.blocks[EDGE as usize].hash();
    let hello = Hello { genesis: params.genesis_hash, ..hello() };
    let mut join = |n: u32| {
        let (peer, _) = server.inbound(&format!("10.{n}.1.1:5"));
        server.say(peer, Message::Hello(hello.clone()));
        peer
    };
    let guests: Vec<PeerId> = (0..100).map(&mut join).collect();
    let id = server.node.chain().db().edge(Height::from_u32(EDGE)).unwrap().unwrap().id(Height::from_u32(EDGE));
    let query = RangeQuery::new(edge, &KeyRange::ALL);
    let mut pages: BTreeMap<PeerId, usize> = BTreeMap::new();
    let mut note = |outputs: &[Output]| {
        let mut pongs = 0;
        for output in outputs {
            let Output::Send { peer, frame } = output else { continue };
            match frame.message().unwrap() {
                Message::StateRange(answer) => {
                    let page = answer.page.expect("the state is kept");
                    assert!(page.check(&id, &KeyRange::ALL).unwrap().leaves.len() > 300);
                    *pages.entry(*peer).or_default() += 1;
                }
                Message::Pong(_) => pongs += 1,
                _ => {}
            }
        }
        pongs
    };
    for guest in &guests {
        for _ in 0..MAX_WAITING_RANGES {
            let outputs = server.say(*guest, Message::GetStateRange(query));
            note(&outputs);
        }
    }
    // Meanwhile others are answered at once.
    let outputs = server.say(guests[99], Message::Ping(7));
    assert_eq!(note(&outputs), 1);
    for _ in 0..2_000 {
        let mut outputs = server.after(Duration::from_millis(1));
        let flushes: Vec<PeerId> = outputs
            .iter()
            .filter_map(|output| if let Output::Flush { peer } = output { Some(*peer) } else { None })
            .collect();
        flushes.into_iter().for_each(|peer| outputs.extend(server.give(Input::Flushed { peer })));
        note(&outputs);
    }
    assert_eq!(pages.len(), 100);
    assert!(pages.values().all(|count| *count == MAX_WAITING_RANGES), "{pages:?}");
}
