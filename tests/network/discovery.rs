//! Which nodes a node finds, and what liars can change.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn::p2p::discovery::ANSWER_BURST;
use cairn::p2p::kad::{Contact, K, NodeId};
use cairn::p2p::message::{Hello, Message, SERVICE_BRIEF, SERVICE_FULL};
use cairn::p2p::misbehaviour::Offence;
use cairn::p2p::search::{Found, Outcome};
use cairn::p2p::{Command, Config, Direction, Event, Input, Now, Output, PeerAddr, PeerId, Protocol, Reason};
use cairn::sim::{NetworkConditions, Script, Sim};
use cairn::storage::{MemoryStore, Store};

use crate::connections::{Bench, dials, hello, id, reasons, sent, sent_to};
use crate::{Seed, mine, params, settles};

/// A network of `n` nodes; each knows only the first.
fn joined_through_one(n: usize, seed: u64) -> Sim {
    let mut sim = Sim::new(params(), NetworkConditions::default(), seed);
    sim.add_node(&[]).unwrap();
    for _ in 1..n {
        sim.add_node(&[0]).unwrap();
        sim.run_for(Duration::from_millis(200));
    }
    sim
}

/// What a node finds when its owner asks it to look for an id.
fn find(sim: &mut Sim, node: usize, target: NodeId) -> Arc<Found> {
    let number =
        sim.command(node, |reply| Command::FindNode(target, reply)).unwrap().expect("nothing else is looked for");
    let found = |sim: &Sim| {
        sim.events(node).iter().rev().find_map(|(_, event)| match event {
            Event::NodesFound(found) if found.number == Some(number) => Some(found.clone()),
            _ => None,
        })
    };
    assert!(sim.run_until(Duration::from_secs(40), |sim| found(sim).is_some()), "the lookup does not end");
    found(sim).unwrap()
}

fn connections(sim: &Sim, node: usize) -> usize {
    let (inbound, outbound) = sim.node(node).unwrap().connection_counts();
    inbound + outbound
}

/// The ids nearest to a target of nodes that are up, other than `but`.
fn nearest(sim: &Sim, target: NodeId, but: usize) -> Vec<NodeId> {
    let mut ids: Vec<NodeId> = sim.nodes().map(|(n, _)| n).filter(|n| *n != but).map(Sim::id).collect();
    ids.sort_by_key(|id| id.distance(&target));
    ids.truncate(K);
    ids
}

#[test]
fn sixty_nodes_that_joined_through_one_need_it_no_more() {
    let seed = Seed::new(60);
    let mut sim = joined_through_one(60, seed.0);
    sim.run_for(Duration::from_secs(60));
    let target = NodeId([0x5a; 32]);
    let found = find(&mut sim, 17, target);
    assert!(found.complete && found.took < Duration::from_secs(10), "{:?}", found.took);
    let ids: Vec<NodeId> = found.nodes.iter().map(|contact| contact.id).collect();
    assert_eq!(ids, nearest(&sim, target, 17), "the nearest of all are found, the nearest first");
    assert!(found.path.iter().any(|step| step.hop >= 1 && matches!(step.outcome, Outcome::Answered { told: 1.. })));

    sim.crash(0).unwrap();
    sim.run_for(Duration::from_secs(60));
    // A newcomer may join through any node.
    for through in [7, 33, 59] {
        let newcomer = sim.add_node(&[through]).unwrap();
        sim.run_for(Duration::from_secs(30));
        assert!(connections(&sim, newcomer) >= 8, "through {through}: {}", connections(&sim, newcomer));
    }
    sim.crash(7).unwrap();
    mine(&mut sim, 62, 1);
    assert!(sim.run_until(Duration::from_secs(5), Sim::is_converged), "a block does not reach all");
    mine(&mut sim, 30, 1);
    assert!(sim.run_until(Duration::from_secs(5), Sim::is_converged), "a block does not reach all");
    for (number, node) in sim.nodes() {
        assert!(node.bans(sim.now()).is_empty(), "node {number} banned an honest one");
        assert!(node.contacts().len() > 16, "node {number} knows {} others", node.contacts().len());
    }
}

#[test]
fn outbound_peers_are_spread_over_the_distances() {
    let seed = Seed::new(61);
    let mut sim = joined_through_one(60, seed.0);
    sim.run_for(Duration::from_secs(60));
    // A node that joins a large network can choose among many.
    let newcomers: Vec<usize> = [1, 20, 40].map(|through| sim.add_node(&[through]).unwrap()).to_vec();
    sim.run_for(Duration::from_secs(30));
    for (number, node) in sim.nodes().filter(|(number, _)| newcomers.contains(number)) {
        let outbound = node.peers(sim.now()).into_iter().filter(|peer| peer.direction == Direction::Outbound);
        let buckets: Vec<Option<u8>> = outbound.map(|peer| peer.bucket).collect();
        let different: BTreeSet<Option<u8>> = buckets.iter().copied().collect();
        // The nearest bucket that is not empty is about the sixth.
        assert!(buckets.len() == 8 && different.len() >= 4, "node {number} has peers in {buckets:?}");
    }
}

#[test]
fn a_restart_needs_no_bootstrap() {
    let seed = Seed::new(62);
    let mut sim = joined_through_one(20, seed.0);
    sim.run_for(Duration::from_secs(130));
    let before = sim.node(9).unwrap().contacts().len();
    sim.crash(9).unwrap();
    sim.crash(0).unwrap();
    sim.start(9).unwrap();
    let after = sim.node(9).unwrap().contacts().len();
    assert!(after * 2 > before, "{after} of {before} contacts are left");
    assert!(
        sim.run_until(Duration::from_secs(10), |sim| connections(sim, 9) >= 8),
        "it has {} peers",
        connections(&sim, 9)
    );
}

/// A peer that says hello under any id, and answers requests for nodes with what `tell` returns.
fn teller(dial: Option<PeerAddr>, mut tell: impl FnMut(NodeId) -> Option<Vec<Contact>> + 'static) -> Script {
    let genesis = params().genesis_hash;
    let mut dialled = BTreeSet::new();
    Box::new(move |_: Now, input: Input| {
        let hello = Hello { listens: vec![PeerAddr::tcp_port(7331)], ..Hello::new(genesis, SERVICE_FULL) };
        let send = |peer: PeerId, message: Message| vec![Output::Send { peer, frame: message.into() }];
        match input {
            Input::Tick => dial.iter().map(|address| Output::Connect { address: *address, id: None }).collect(),
            Input::Connected { peer, direction: Direction::Outbound, .. } => {
                dialled.insert(peer);
                send(peer, Message::Hello(hello))
            }
            Input::Received { peer, message, .. } => match message {
                Message::Hello(_) if !dialled.contains(&peer) => send(peer, Message::Hello(hello)),
                Message::Ping(nonce) => send(peer, Message::Pong(nonce)),
                Message::GetHeaders { .. } => send(peer, Message::Headers(Vec::new())),
                Message::FindNode { target } => {
                    tell(target).map_or_else(Vec::new, |told| send(peer, Message::Nodes(told)))
                }
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    })
}

/// Contacts that do not exist, near a target.
fn made_up(target: NodeId, from: u32) -> Vec<Contact> {
    let contact = |n: u32| {
        let mut id = target;
        id.0[28..].copy_from_slice(&(from + n).to_be_bytes());
        Contact { id, address: PeerAddr::from(([10, 200, (n >> 8) as u8, n as u8], 7331)) }
    };
    (0..K as u32).map(contact).collect()
}

#[test]
fn liars_with_made_up_contacts_are_not_believed() {
    let seed = Seed::new(63);
    let mut sim = joined_through_one(30, seed.0);
    for _ in 0..10 {
        let mut from = 0;
        sim.add_script(teller(Some(Sim::address(5)), move |target| {
            from += K as u32;
            Some(made_up(target, from))
        }));
    }
    sim.run_for(Duration::from_secs(120));
    let target = NodeId([0x33; 32]);
    let found = find(&mut sim, 5, target);
    let real: BTreeSet<NodeId> = (0..40).map(Sim::id).collect();
    assert!(found.nodes.iter().all(|contact| real.contains(&contact.id)), "a made-up contact was found");
    assert!(found.path.iter().any(|step| step.outcome == Outcome::Failed), "none was tried");
    for (number, node) in sim.nodes() {
        let contacts: Vec<Contact> = node.contacts().contacts().copied().collect();
        assert!(contacts.iter().all(|contact| real.contains(&contact.id)), "node {number} keeps a made-up contact");
        assert!(contacts.iter().filter(|contact| contact.id != Sim::id(5)).count() >= 16);
    }
}

/// All nodes nearest to a key belong to one attacker and name only each other. Lookups find them, as they must, and
/// also the nearest honest node, which they cannot displace from others' tables.
#[test]
fn a_flood_of_sybils_hides_no_known_node() {
    let seed = Seed::new(64);
    let honest = 40;
    let mut sim = joined_through_one(honest, seed.0);
    sim.run_for(Duration::from_secs(60));
    // Of a thousand ids the sixteen nearest to the id of node 20: as if the attacker had made many keys.
    let key = Sim::id(20);
    let mut wall: Vec<usize> = (honest..1_000).collect();
    wall.sort_by_key(|n| Sim::id(*n).distance(&key));
    wall.truncate(K);
    let contacts: Vec<Contact> = wall.iter().map(|n| Contact { id: Sim::id(*n), address: Sim::address(*n) }).collect();
    for n in honest..1_000 {
        // Those that are not of the wall only fill the numbers between.
        let told = contacts.clone();
        let dial = wall.contains(&n).then(|| Sim::address(n % honest));
        let script = teller(dial, move |_| Some(told.clone()));
        sim.add_script(if wall.contains(&n) { script } else { Box::new(|_, _| Vec::new()) });
    }
    sim.run_for(Duration::from_secs(120));
    let found = find(&mut sim, 3, key);
    assert_eq!(found.nodes[0].id, key, "it is hidden");
    let walls = found.nodes.iter().filter(|contact| contacts.contains(contact)).count();
    assert!(walls >= K / 2, "the wall is not met: {walls}");
    // And it has the peers that it had.
    let victims = sim.node(20).unwrap().peers(sim.now());
    let outbound = victims.iter().filter(|peer| peer.direction == Direction::Outbound);
    let (own, others): (Vec<_>, Vec<_>) = outbound.partition(|peer| contacts.iter().any(|c| c.id == peer.node));
    assert!(others.len() > own.len(), "{} of the wall, {} others", own.len(), others.len());
    mine(&mut sim, 1, 1);
    assert!(sim.run_until(Duration::from_secs(5), Sim::is_converged));
}

/// All inbound peers belong to the attacker and name only each other; the outbound peers are honest, and stay.
#[test]
fn an_eclipsed_node_keeps_those_it_chose() {
    let seed = Seed::new(65);
    let mut sim = joined_through_one(30, seed.0);
    sim.run_for(Duration::from_secs(60));
    let colluders: Vec<Contact> = (30..130).map(|n| Contact { id: Sim::id(n), address: Sim::address(n) }).collect();
    for n in 30..130 {
        let mut told = colluders.clone();
        told.rotate_left(n - 30);
        told.truncate(K);
        sim.add_script(teller(Some(Sim::address(4)), move |_| Some(told.clone())));
    }
    sim.run_for(Duration::from_secs(300));
    let is_gang = |id: &NodeId| colluders.iter().any(|contact| contact.id == *id);
    let peers = sim.node(4).unwrap().peers(sim.now());
    let outbound: Vec<_> = peers.iter().filter(|peer| peer.direction == Direction::Outbound).collect();
    let inbound = peers.iter().filter(|peer| peer.direction == Direction::Inbound && is_gang(&peer.node)).count();
    assert!(inbound > 50, "the attack did not come about: {inbound}");
    let honest = outbound.iter().filter(|peer| !is_gang(&peer.node)).count();
    assert!(honest * 2 > outbound.len(), "{honest} of {} are honest", outbound.len());
    mine(&mut sim, 11, 1);
    assert!(settles(&mut sim, Duration::from_secs(10)));
}

#[test]
fn floods_and_unsolicited_answers_are_offences() {
    let mut bench = Bench::new(Config::default());
    let peer = bench.guest("10.0.0.1:5");
    let target = NodeId([1; 32]);
    let answers = |outputs: &[Output]| sent(outputs).filter(|m| matches!(m, Message::Nodes(_))).count();
    let mut answered = 0;
    for _ in 0..ANSWER_BURST {
        answered += answers(&bench.say(peer, Message::FindNode { target }));
    }
    assert_eq!(answered as u64, ANSWER_BURST);
    assert_eq!(answers(&bench.say(peer, Message::FindNode { target })), 0);
    assert_eq!(bench.node.peers(bench.now)[0].score, Offence::RequestFlood.points());
    let outputs: Vec<Output> = (0..9).flat_map(|_| bench.say(peer, Message::FindNode { target })).collect();
    assert_eq!(reasons(&outputs), [Reason::Misbehaved(Offence::RequestFlood)]);

    let peer = bench.guest("10.0.1.1:5");
    bench.say(peer, Message::Nodes(made_up(target, 0)));
    assert_eq!(bench.node.peers(bench.now)[0].score, Offence::UnrequestedNodes.points());
    assert!(bench.node.known_addresses().is_empty() && bench.node.contacts().is_empty());
}

/// Accepts the node's next dial as an outbound peer; returns its number and what it was sent.
fn answer_dial(bench: &mut Bench, number: u64, address: PeerAddr) -> (PeerId, Vec<Output>) {
    let peer = PeerId(number);
    let direction = Direction::Outbound;
    bench.give(Input::Connected { peer, address, direction, id: id(peer) });
    (peer, bench.say(peer, Message::Hello(hello())))
}

#[test]
fn a_private_address_from_a_public_peer_is_never_dialled() {
    let address: PeerAddr = "8.8.8.8:7331".parse().unwrap();
    let mut bench = Bench::new(Config { id: NodeId([9; 32]), seeds: vec![address], ..Config::default() });
    assert_eq!(dials(&bench.node.drain().collect::<Vec<_>>()), [address]);
    let (peer, outputs) = answer_dial(&mut bench, 1_000, address);
    assert!(sent(&outputs).any(|message| matches!(message, Message::FindNode { target } if target == NodeId([9; 32]))));
    let contact = |n: u8, address: &str| Contact { id: NodeId([n; 32]), address: address.parse().unwrap() };
    let told = vec![contact(1, "10.0.0.1:7331"), contact(2, "127.0.0.1:7331"), contact(3, "9.9.9.9:7331")];
    let outputs = bench.say(peer, Message::Nodes(told));
    assert_eq!(dials(&outputs), ["9.9.9.9:7331".parse().unwrap()]);
    // Nor is one told to a public peer, while a private one learns of it.
    let private = bench.guest("10.7.0.1:5");
    let outputs = bench.say(private, Message::FindNode { target: NodeId([0; 32]) });
    let told = |outputs: &[Output]| {
        sent(outputs).find_map(|message| if let Message::Nodes(told) = message { Some(told) } else { None })
    };
    assert_eq!(told(&outputs).unwrap(), [Contact { id: id(PeerId(1_000)), address }]);
}

/// A node that dialled this one is asked over its own connection, which does not show whether it listens anywhere.
#[test]
fn a_node_that_dialled_and_could_not_be_dialled_back_is_tried_again_when_others_name_it() {
    let (seed, its): (PeerAddr, PeerAddr) = ("10.0.0.1:7331".parse().unwrap(), "10.0.0.2:7331".parse().unwrap());
    let mut bench = Bench::new(Config { seeds: vec![seed], ..Config::default() });
    assert_eq!(dials(&bench.node.drain().collect::<Vec<_>>()), [seed]);
    let (peer, _) = bench.inbound("10.0.0.2:50000");
    let outputs = bench.say(peer, Message::Hello(Hello { listens: vec![its], ..hello() }));
    assert_eq!(dials(&outputs), [its]);
    assert_eq!(dials(&bench.give(Input::ConnectFailed { address: its, found: None })), []);
    let (known, outputs) = answer_dial(&mut bench, 1_000, seed);
    assert!(sent_to(&outputs, known).iter().any(|message| matches!(message, Message::FindNode { .. })));
    let outputs = bench.say(known, Message::Nodes(vec![Contact { id: id(peer), address: its }]));
    assert!(sent_to(&outputs, peer).iter().any(|message| matches!(message, Message::FindNode { .. })), "{outputs:?}");
    assert_eq!(dials(&bench.say(peer, Message::Nodes(Vec::new()))), [its]);
    bench.give(Input::Connected { peer: PeerId(1_001), address: its, direction: Direction::Outbound, id: id(peer) });
    assert!(bench.node.contacts().knows(&its));
    // One that is known is asked, and not dialled.
    let outputs = bench.after(Duration::from_secs(10));
    assert!(sent_to(&outputs, peer).iter().any(|message| matches!(message, Message::FindNode { .. })), "{outputs:?}");
    assert_eq!(dials(&bench.say(peer, Message::Nodes(Vec::new()))), []);
}

/// A visitor that only queries gets nothing unrequested, and does not count as a peer.
#[test]
fn a_brief_visitor_is_answered_and_no_more() {
    let mut bench = Bench::new(Config::default());
    let (peer, _) = bench.inbound("10.0.0.1:5");
    let outputs = bench.say(peer, Message::Hello(Hello { services: SERVICE_BRIEF, ..hello() }));
    assert_eq!(sent(&outputs).count(), 1, "hello, and no ping");
    assert_eq!((bench.node.peers(bench.now).len(), bench.node.connection_counts()), (0, (0, 0)));
    let outputs = bench.say(peer, Message::FindNode { target: NodeId([1; 32]) });
    assert_eq!(sent(&outputs).collect::<Vec<_>>(), [Message::Nodes(Vec::new())]);
    let locator = vec![params().genesis_hash];
    let stop = params().genesis_hash;
    assert_eq!(sent(&bench.say(peer, Message::GetHeaders { locator, stop })).count(), 0);
    assert_eq!(reasons(&bench.after(Duration::from_secs(20))), [Reason::Brief]);
}

#[test]
fn anchors_are_dialled_first_and_forgotten_when_they_fail() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let addresses: Vec<PeerAddr> = (1..=3).map(|n| PeerAddr::from(([10, n, 0, 1], 7331))).collect();
    let config = Config { seeds: addresses.clone(), ..Config::default() };
    let mut bench = Bench::with_store(config, store.clone());
    let mut dialled = dials(&bench.node.drain().collect::<Vec<_>>());
    while dialled.len() < 3 {
        dialled.extend(dials(&bench.after(Duration::from_millis(100))));
    }
    for (n, address) in dialled.iter().enumerate() {
        answer_dial(&mut bench, 1_000 + n as u64, *address);
    }
    bench.node.handle(bench.now, Input::Stop);

    let mut again = Bench::with_store(Config::default(), store.clone());
    let outputs: Vec<Output> = again.node.drain().collect();
    let first: Vec<(PeerAddr, Option<NodeId>)> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Connect { address, id } => Some((*address, *id)),
            _ => None,
        })
        .take(2)
        .collect();
    let expected: Vec<_> = (0..2).map(|n| (dialled[n], Some(id(PeerId(1_000 + n as u64))))).collect();
    assert_eq!(first, expected, "those connected longest");
    again.give(Input::ConnectFailed { address: dialled[0], found: None });
    again.node.handle(again.now, Input::Stop);
    let mut third = Bench::with_store(Config { outbound_target: 0, ..Config::default() }, store);
    let outputs: Vec<Output> = third.node.drain().collect();
    assert_eq!(dials(&outputs)[0], dialled[1], "the first one is an anchor no more");
}

/// Announced addresses are tried one by one, and dropped where no node answers.
#[test]
fn feelers_test_announced_addresses() {
    let seed = Seed::new(66);
    let mut sim = joined_through_one(10, seed.0);
    let asked = Arc::new(AtomicUsize::new(0));
    let questions = Arc::new(Mutex::new(0));
    let (counter, from) = (asked.clone(), questions.clone());
    sim.add_script(teller(Some(Sim::address(2)), move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        let mut from = from.lock().unwrap();
        *from += K as u32;
        Some(made_up(NodeId([7; 32]), *from))
    }));
    sim.run_for(Duration::from_secs(60));
    assert!(asked.load(Ordering::Relaxed) > 0, "no node asked the liar");
    let untested = |sim: &Sim| sim.node(2).unwrap().known_addresses().iter().filter(|r| !r.is_tried()).count();
    let before = untested(&sim);
    assert!(before > 0);
    sim.run_for(Duration::from_secs(600));
    assert!(untested(&sim) < before, "{before} before, {} after", untested(&sim));
    assert!(sim.node(2).unwrap().known_addresses().iter().filter(|record| record.is_tried()).count() >= 9);
}
