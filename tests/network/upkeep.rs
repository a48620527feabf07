//! Nodes that archive go one after another. Others take up their runs, so that all of history stays. And one node among neighbours
//! that say what they keep: what it takes up, from whom, and what it gives up again.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use cairn::chain::Run;
use cairn::p2p::announcer::MAX_OWN_KEYS;
use cairn::p2p::archive::{MIN_COPIES, Runs, key_of};
use cairn::p2p::kad::{Contact, NodeId};
use cairn::p2p::message::{Hello, Item, Message, SERVICE_ARCHIVE, SERVICE_PRUNED, TipClaim};
use cairn::p2p::misbehaviour::Offence;
use cairn::p2p::upkeep::{BATCH, MIN_CHECK_INTERVAL, PATIENCE, SWEEP};
use cairn::p2p::{Config, Event, Input, PeerAddr, Reason};
use cairn::primitives::block::Block;
use cairn::primitives::height::Height;
use cairn::sim::{NetworkConditions, Sim};
use cairn::storage::MemoryStore;
use cairn_testkit::Ledger;
use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;

use crate::Seed;
use crate::archive::{BLOCKS, EPOCH, LAST, RUNS, archivist, at, network, params, params_with, runs_in, runs_of};
use crate::connections::Bench;
use crate::liars::{boast, liar};
use crate::state_sync::World;

const NODES: usize = 12;
/// So many of them go.
const LEAVING: usize = 8;

/// How many nodes that are up archive each run.
fn copies(sim: &Sim) -> Vec<usize> {
    let has: Vec<BTreeSet<u32>> = sim.nodes().map(|(node, _)| runs_of(sim, node)).collect();
    (0..RUNS).map(|run| has.iter().filter(|runs| runs.contains(&run)).count()).collect()
}

#[test]
fn history_outlives_nodes_that_go_one_after_another() {
    let seed = Seed::new(151);
    let mut sim = network(seed.0, NODES);
    let before: Vec<BTreeSet<u32>> = (1..=NODES).map(|node| runs_of(&sim, node)).collect();
    let mut order: Vec<usize> = (1..=NODES).collect();
    order.shuffle(&mut ChaCha20Rng::seed_from_u64(seed.0));
    let (leaving, staying) = order.split_at(LEAVING);
    let would_be_lost = |run: &u32| !staying.iter().any(|node| before[*node - 1].contains(run));
    let lost = (0..RUNS).filter(would_be_lost).count();
    assert!(lost > 0, "none would be lost: choose another seed");

    sim.stop(0).unwrap();
    for (gone, node) in leaving.iter().enumerate() {
        sim.stop(*node).unwrap();
        // Some come, too, and get all that they archive from those that are left.
        if gone % 4 == 3 {
            sim.add_node_with(archivist(staying[0])).unwrap();
        }
        sim.run_for(SWEEP / 2);
        let copies = copies(&sim);
        println!("{} gone: {} to {} copies", gone + 1, copies.iter().min().unwrap(), copies.iter().max().unwrap());
        assert!(copies.iter().all(|copies| *copies > 0), "{copies:?}");
    }
    sim.run_for(SWEEP + SWEEP / 2);
    let (copies, up) = (copies(&sim), sim.nodes().count());
    println!("{lost} of {RUNS} runs would have been lost; {copies:?} copies at {up} nodes");
    assert!(copies.iter().all(|copies| *copies >= MIN_COPIES.min(up) - 1), "{copies:?}");

    let newcomer = sim.add_node_with(Config { seeds: vec![Sim::address(staying[0])], ..Config::default() }).unwrap();
    let is_there = |sim: &Sim| sim.node(newcomer).unwrap().chain().tip().height == at(BLOCKS);
    assert!(sim.run_until(Duration::from_secs(600), is_there), "{:?}", sim.node(newcomer).unwrap().chain().tip());
    let chain = sim.node(newcomer).unwrap().chain();
    for height in Height::GENESIS.through(at(BLOCKS)) {
        assert!(chain.db().block(&chain.entry_at(height).unwrap().key()).unwrap().is_some(), "block {height}");
    }
}

/// Around one node that archives: each does as a test says.
const NEIGHBOURS: usize = 12;
/// The node itself.
const NODE: usize = NEIGHBOURS;

/// How a neighbour answers when it is asked for blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Right,
    /// The first time, then with nothing.
    Once,
    /// With headers that are asked for, and the transactions of other blocks.
    False,
    NotFound,
    Silence,
}

/// What the neighbours say, and what they heard.
#[derive(Default)]
struct Talk {
    blocks: Vec<Block>,
    /// Those that say that they keep all runs.
    keepers: BTreeMap<usize, Answer>,
    /// Whom all others name as providers of whatever they are asked for.
    named: Vec<Contact>,
    /// Who was asked for blocks, in order.
    asked: Vec<usize>,
    /// What was looked up.
    keys: Vec<NodeId>,
    /// Which runs the node said last that it has.
    told: Runs,
}

impl Talk {
    fn block(&self, item: &Item) -> usize {
        let Item::Block(hash) = item else { panic!("{item:?}") };
        self.blocks.iter().position(|block| block.hash() == *hash).expect("a block of the chain")
    }

    fn answer(&mut self, own: usize, message: &Message) -> Vec<Message> {
        let keeps = self.keepers.get(&own).copied();
        let mut all = Runs::default();
        (0..RUNS).for_each(|run| all.insert(Run(run)));
        let archive = keeps.map(|_| Message::Archive(all.to_bytes()));
        match message {
            Message::Hello(_) => archive.into_iter().collect(),
            Message::GetHeaders { .. } => vec![Message::Headers(Vec::new())],
            Message::FindNode { .. } => vec![Message::Nodes(Vec::new())],
            Message::AddProvider(keys) => vec![Message::ProviderAdded { kept: keys.len() as u16 }],
            Message::GetProviders { key } => {
                self.keys.push(*key);
                let itself = Contact { id: Sim::id(own), address: PeerAddr::tcp_port(0) };
                let others = self.named.iter().filter(|other| other.id != itself.id).copied();
                let providers = keeps.map(|_| itself).into_iter().chain(others).collect();
                archive.into_iter().chain([Message::Providers { providers, nearer: Vec::new() }]).collect()
            }
            Message::Archive(runs) => {
                self.told = Runs::from_bytes(runs.clone());
                Vec::new()
            }
            Message::GetData(items) => {
                self.asked.push(own);
                let other = |item: &Item| {
                    let place = self.block(item);
                    Block { transactions: self.blocks[place + 1].transactions.clone(), ..self.blocks[place].clone() }
                };
                let is_first = self.asked.iter().filter(|asked| **asked == own).count() == 1;
                match keeps.map(|answer| if answer == Answer::Once && is_first { Answer::Right } else { answer }) {
                    Some(Answer::Right) => {
                        let whole = |item: &Item| Message::Block(Arc::new(self.blocks[self.block(item)].clone()));
                        items.iter().map(whole).collect()
                    }
                    Some(Answer::False) => items.iter().map(|item| Message::Block(Arc::new(other(item)))).collect(),
                    Some(Answer::NotFound) => vec![Message::NotFound(items.clone())],
                    Some(Answer::Silence | Answer::Once) | None => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }
}

/// A node that archives a share, has pruned all runs, and is connected to all neighbours.
struct Stage {
    sim: Sim,
    talk: Rc<RefCell<Talk>>,
    share: u32,
    /// Blocks of a run.
    epoch: u32,
    /// What the node archived when it pruned.
    own: BTreeSet<u32>,
}

impl Stage {
    fn new(seed: u64, share: u32) -> Self {
        Self::with_epochs(seed, share, EPOCH)
    }

    fn with_epochs(seed: u64, share: u32, epoch: u32) -> Self {
        let params = params_with(epoch);
        let mut sim = Sim::new(params.clone(), NetworkConditions::default(), seed);
        let talk = Rc::new(RefCell::new(Talk::default()));
        let (genesis, work) = (params.genesis_hash, params.genesis_target.work());
        for own in 0..NEIGHBOURS {
            let hello = Hello {
                services: SERVICE_PRUNED | SERVICE_ARCHIVE,
                tip: TipClaim { height: Height::GENESIS, hash: genesis, work },
                bodies_from: at(1),
                listens: vec![PeerAddr::tcp_port(7_331)],
                ..boast(&params)
            };
            let talk = Rc::clone(&talk);
            sim.add_script(liar(hello, None, move |message| talk.borrow_mut().answer(own, message)));
        }
        let config = Config {
            archive_share: share,
            seeds: (0..NEIGHBOURS).map(Sim::address).collect(),
            outbound_target: NEIGHBOURS,
            ..archivist(0)
        };
        assert_eq!(sim.add_node_with(config).unwrap(), NODE);
        let is_met = |sim: &Sim| {
            let peers = sim.node(NODE).unwrap().peers(sim.now());
            peers.iter().filter(|peer| peer.ready).count() == NEIGHBOURS
        };
        assert!(sim.run_until(Duration::from_secs(120), is_met), "not all neighbours are connected");
        for _ in 0..BLOCKS - LAST {
            sim.mine(NODE).unwrap();
        }
        let chain = sim.node(NODE).unwrap().chain();
        let block = |height| chain.db().block(&chain.entry_at(height).unwrap().key()).unwrap().unwrap();
        talk.borrow_mut().blocks = Height::GENESIS.through(at(BLOCKS - LAST)).map(block).collect();
        for _ in 0..LAST {
            sim.mine(NODE).unwrap();
        }
        sim.run_for(Duration::from_secs(60));
        let own = runs_of(&sim, NODE);
        let stage = Self { sim, talk, share, epoch, own };
        let expected: BTreeSet<u32> = (0..runs_in(epoch)).filter(|run| stage.is_in_share(*run)).collect();
        assert_eq!(stage.own, expected);
        stage
    }

    fn key(&self, run: u32) -> NodeId {
        key_of(&self.talk.borrow().blocks[Run(run).last(self.epoch).as_usize()].hash())
    }

    /// The neighbours that are nearer to a run's key than the node.
    fn nearer(&self, run: u32) -> Vec<usize> {
        let key = self.key(run);
        let distance = |node| Sim::id(node).distance(&key);
        (0..NEIGHBOURS).filter(|node| distance(*node) < distance(NODE)).collect()
    }

    fn is_in_share(&self, run: u32) -> bool {
        Sim::id(NODE).distance(&self.key(run)).leading() <= self.share || self.nearer(run).len() < MIN_COPIES
    }

    /// Checks that the node has each block of a run.
    fn assert_whole(&self, run: u32) {
        let chain = self.sim.node(NODE).unwrap().chain();
        for height in Run(run).first(self.epoch).through(Run(run).last(self.epoch)) {
            let block = chain.db().block(&chain.entry_at(height).unwrap().key()).unwrap();
            assert_eq!(block.as_ref(), Some(&self.talk.borrow().blocks[height.as_usize()]));
        }
    }

    /// What the node has of other shares.
    fn taken_up(&self) -> Vec<u32> {
        let runs = runs_of(&self.sim, NODE);
        assert!(runs.is_superset(&self.own), "it gives up none of its own");
        assert_eq!(self.sim.node(NODE).unwrap().provided().0, runs.len(), "it announces what it has");
        let mut told = Runs::default();
        runs.iter().for_each(|run| told.insert(Run(*run)));
        assert!(self.talk.borrow().told.iter().eq(told.iter()), "and tells its peers");
        runs.difference(&self.own).copied().collect()
    }

    fn keepers(&self, keepers: impl IntoIterator<Item = (usize, Answer)>) {
        self.talk.borrow_mut().keepers = keepers.into_iter().collect();
    }

    /// Runs until the node has taken up a run, and returns it.
    fn take_up(&mut self) -> u32 {
        let own = self.own.len();
        assert!(self.sim.run_until(2 * SWEEP, |sim| runs_of(sim, NODE).len() > own), "none was taken up");
        self.sim.run_for(Duration::from_secs(1));
        let taken = self.taken_up();
        let [run] = taken[..] else { panic!("{taken:?}") };
        assert!(!self.is_in_share(run));
        run
    }

    /// Runs until the node has looked up a run once more, and has made up its mind.
    fn look_up(&mut self, run: u32) {
        let (key, talk) = (self.key(run), Rc::clone(&self.talk));
        talk.borrow_mut().keys.clear();
        assert!(self.sim.run_until(3 * SWEEP, |_| talk.borrow().keys.contains(&key)), "it is not looked up");
        self.sim.run_for(Duration::from_secs(30));
    }

    /// The peers that were connected first and last: blocks are asked of the first.
    fn first_and_last(&self) -> (usize, usize) {
        let mut peers = self.sim.node(NODE).unwrap().peers(self.sim.now());
        peers.sort_by_key(|peer| peer.id);
        let number = |id: NodeId| (0..NEIGHBOURS).find(|node| Sim::id(*node) == id).unwrap();
        (number(peers[0].node), number(peers[NEIGHBOURS - 1].node))
    }

    /// Why the node ended connections with a neighbour.
    fn verdicts(&self, neighbour: usize) -> Vec<Reason> {
        let ended = self.sim.events(NODE).iter().filter_map(|(_, event)| match event {
            Event::PeerDisconnected { address, reason, .. } if *address == Sim::address(neighbour) => {
                Some(reason.clone())
            }
            _ => None,
        });
        ended.collect()
    }
}

/// Two neighbours say that they keep all runs, and the one that is asked first answers so. Why the node ended its connection with that one.
fn fetch_from_another_than(seed: u64, answer: Answer) -> Vec<Reason> {
    let seed = Seed::new(seed);
    let mut stage = Stage::new(seed.0, 1);
    let (liar, honest) = stage.first_and_last();
    stage.keepers([(liar, answer), (honest, Answer::Right)]);
    let talk = Rc::clone(&stage.talk);
    assert!(stage.sim.run_until(SWEEP, |_| !talk.borrow().asked.is_empty()), "none was asked");
    let since = stage.sim.now().mono;
    let run = stage.take_up();
    assert_eq!(stage.talk.borrow().asked, [liar, honest]);
    let took = stage.sim.now().mono.saturating_since(since);
    assert_eq!(took > PATIENCE, answer == Answer::Silence, "it took {took:?}");
    stage.assert_whole(run);
    stage.verdicts(liar)
}

#[test]
fn a_run_is_fetched_from_another_than_one_that_says_it_has_it_and_sends_nothing() {
    assert_eq!(fetch_from_another_than(152, Answer::Silence), []);
}

#[test]
fn a_run_is_fetched_from_another_than_one_that_has_no_such_block() {
    assert_eq!(fetch_from_another_than(153, Answer::NotFound), []);
}

#[test]
fn a_neighbour_that_sends_a_false_body_is_named_and_dropped() {
    let verdicts = fetch_from_another_than(154, Answer::False);
    assert!(matches!(verdicts[..], [Reason::Misbehaved(Offence::BadBlock { .. })]), "{verdicts:?}");
}

#[test]
fn a_run_of_several_batches_goes_on_with_another_peer_where_the_first_fell_silent() {
    let seed = Seed::new(158);
    let mut stage = Stage::with_epochs(seed.0, 1, BATCH as u32 + 4);
    let (first, last) = stage.first_and_last();
    stage.keepers([(first, Answer::Once), (last, Answer::Right)]);
    let run = stage.take_up();
    assert_eq!(stage.talk.borrow().asked, [first, first, last]);
    stage.assert_whole(run);
    assert_eq!(stage.verdicts(first), []);
}

#[test]
fn a_run_that_none_sends_is_left_and_the_next_is_looked_up() {
    let seed = Seed::new(155);
    let mut stage = Stage::new(seed.0, 1);
    let (liar, honest) = stage.first_and_last();
    stage.keepers([(liar, Answer::Silence)]);
    stage.sim.run_for(SWEEP);
    assert!(stage.talk.borrow().asked.len() > 1 && stage.taken_up().is_empty());
    stage.keepers([(honest, Answer::Right)]);
    stage.take_up();
}

#[test]
fn a_run_is_given_up_when_five_nearer_nodes_say_themselves_that_they_keep_it() {
    let seed = Seed::new(156);
    let mut stage = Stage::new(seed.0, 1);
    let (first, last) = stage.first_and_last();
    stage.keepers([first, last].map(|node| (node, Answer::Right)));
    let run = stage.take_up();
    // Records that others have, or say that they have.
    let contact = |node| Contact { id: Sim::id(node), address: Sim::address(node) };
    stage.talk.borrow_mut().named = (0..NEIGHBOURS).map(contact).collect();
    stage.look_up(run);
    assert_eq!(stage.taken_up(), [run], "what is said of others has it given up");
    stage.talk.borrow_mut().named.clear();
    // Four that are nearer, and all that are not.
    let nearer = stage.nearer(run);
    let further = (0..NEIGHBOURS).filter(|node| !nearer.contains(node));
    stage.keepers(further.chain(nearer[1..MIN_COPIES].iter().copied()).map(|node| (node, Answer::Right)));
    stage.look_up(run);
    assert_eq!(stage.taken_up(), [run], "one of the five nearest is missing");
    stage.keepers(nearer[..MIN_COPIES].iter().map(|node| (*node, Answer::Right)));
    stage.look_up(run);
    assert!(stage.taken_up().is_empty());
}

#[test]
fn a_node_takes_up_as_many_runs_of_others_as_its_share_has() {
    let seed = Seed::new(157);
    let share = archivist(0).archive_share;
    let mut stage = Stage::new(seed.0, share);
    let (first, last) = stage.first_and_last();
    stage.keepers([first, last].map(|node| (node, Answer::Right)));
    let is_around = |run: &u32| stage.nearer(*run).len() < 2 * MIN_COPIES && !stage.is_in_share(*run);
    let (around, room) = ((0..RUNS).filter(is_around).count(), (u64::from(share) * u64::from(RUNS)) >> 32);
    assert!(room > 1 && around > 2 * room as usize, "{around} around, room for {room}: choose another share");
    stage.sim.run_for(2 * SWEEP);
    assert_eq!(stage.taken_up().len() as u64, room);
}

#[test]
fn a_run_without_room_among_the_announcements_is_announced_once_there_is_room() {
    let params = params();
    let mut ledger = Ledger::on(&params);
    ledger.extend(BLOCKS, 0);
    let config = Config { archive_share: u32::MAX, seeds: Vec::new(), ..archivist(0) };
    let mut bench = Bench::on(&params, config, Arc::new(MemoryStore::new()));
    // Room is left for one run.
    let others: Vec<NodeId> = (1..MAX_OWN_KEYS).map(|n| NodeId::of_content(&n.to_le_bytes())).collect();
    assert_eq!(bench.node.provide(bench.now, &others), others.len());
    for block in &ledger.blocks[1..] {
        bench.node.submit_block(bench.now, block.clone()).unwrap();
        bench.give(Input::Tick);
    }
    let has = |bench: &Bench| (bench.node.chain().count_archived_runs(), bench.node.provided().0);
    assert_eq!(has(&bench), (RUNS as usize, MAX_OWN_KEYS));
    bench.node.stop_providing(bench.now, &others[1..]);
    bench.after(2 * MIN_CHECK_INTERVAL);
    assert_eq!(has(&bench), (RUNS as usize, RUNS as usize + 1));
}

#[test]
fn runs_of_a_chain_that_began_anew_are_announced_no_more() {
    let params = params();
    let mut ledger = Ledger::on(&params);
    ledger.extend(BLOCKS, 0);
    let store = Arc::new(MemoryStore::new());
    let config = |sync_state| Config { archive_share: u32::MAX, sync_state, seeds: Vec::new(), ..archivist(0) };
    let mut bench = Bench::on(&params, config(false), store.clone());
    for block in &ledger.blocks[1..] {
        bench.node.submit_block(bench.now, block.clone()).unwrap();
        bench.give(Input::Tick);
    }
    let mut world = World::new(Bench::on(&params, config(true), store));
    let has = |world: &World| (world.fresh.node.chain().count_archived_runs(), world.fresh.node.provided().0);
    assert_eq!(has(&world), (RUNS as usize, RUNS as usize));
    // More work, from a fork where blocks are pruned.
    let mut other = Ledger::on(&params);
    ledger.blocks[1..50].iter().for_each(|block| drop(other.append(block)));
    other.extend(BLOCKS, 7);
    world.honest(&params, &other.blocks);
    world.after(Duration::from_secs(1));
    assert!(world.fresh.node.chain().is_fresh(), "all begins anew");
    assert_eq!(has(&world), (0, 0));
}
