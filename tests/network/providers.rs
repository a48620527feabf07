//! Who has which content: announced, kept by the nodes nearest to its key, and found.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cairn::p2p::announcer::MAX_TOLD;
use cairn::p2p::discovery::ANNOUNCEMENT_BURST;
use cairn::p2p::kad::{Contact, K, NodeId};
use cairn::p2p::message::{Hello, MAX_PROVIDED, Message, SERVICE_BRIEF};
use cairn::p2p::misbehaviour::Offence;
use cairn::p2p::providers::{ANNOUNCE_INTERVAL, RECORD_LIFETIME};
use cairn::p2p::search::Found;
use cairn::p2p::{Command, Config, Event, PeerAddr, PeerId};
use cairn::sim::{NetworkConditions, Sim};

use crate::connections::{Bench, hello, id, reasons, sent_to};
use crate::{Seed, params};

fn key(n: u32) -> NodeId {
    NodeId::of_content(&n.to_le_bytes())
}

fn network(nodes: usize, seed: u64) -> Sim {
    let mut sim = Sim::new(params(), NetworkConditions::default(), seed);
    sim.add_node(&[]).unwrap();
    for _ in 1..nodes {
        sim.add_node(&[0]).unwrap();
        sim.run_for(Duration::from_millis(200));
    }
    sim.run_for(Duration::from_secs(40));
    sim
}

/// What a node finds when it looks for the providers of a key.
fn find(sim: &mut Sim, node: usize, key: NodeId) -> Arc<Found> {
    let number = sim.command(node, |reply| Command::FindProviders(key, reply)).unwrap().unwrap();
    let found = |sim: &Sim| {
        sim.events(node).iter().rev().find_map(|(_, event)| match event {
            Event::NodesFound(found) if found.number == Some(number) => Some(found.clone()),
            _ => None,
        })
    };
    assert!(sim.run_until(Duration::from_secs(40), |sim| found(sim).is_some()), "the lookup does not end");
    let found = found(sim).unwrap();
    let named = sim.events(node).iter().filter_map(|(_, event)| match event {
        Event::ProviderNamed { number: of, provider } if *of == number => Some(*provider),
        _ => None,
    });
    assert_eq!(named.collect::<Vec<_>>(), found.providers, "each is reported when it is named");
    found
}

fn providers(found: &Found) -> Vec<NodeId> {
    found.providers.iter().map(|contact| contact.id).collect()
}

#[test]
fn what_one_node_provides_all_others_find() {
    let mut sim = network(50, Seed::new(210).0);
    let keys: Vec<NodeId> = (0..3_000).map(key).collect();
    for batch in keys.chunks(1_000) {
        assert_eq!(sim.command(7, |reply| Command::Provide(batch.to_vec(), reply)).unwrap(), 1_000);
    }
    assert!(sim.command(8, |reply| Command::Announce(keys[0], reply)).unwrap());
    sim.run_for(Duration::from_secs(30));
    let announced = |sim: &Sim| {
        sim.events(8).iter().find_map(|(_, event)| match event {
            Event::Announced { key, nodes } => Some((*key, *nodes)),
            _ => None,
        })
    };
    let (announced, kept) = announced(&sim).unwrap();
    assert!(announced == keys[0] && (K..=MAX_TOLD).contains(&usize::from(kept)), "{kept} nodes");
    assert_eq!(
        providers(&find(&mut sim, 30, keys[0])).into_iter().collect::<BTreeSet<_>>(),
        [7, 8].map(Sim::id).into()
    );
    // Every key is kept by the nodes nearest to it, and some more.
    let records: usize = sim.nodes().map(|(_, node)| node.provided().1).sum();
    assert!((3_000 * K - 100..=3_001 * MAX_TOLD).contains(&records), "{records} records");
    for n in (0..3_000).step_by(500) {
        let found = find(&mut sim, 40, keys[n]);
        assert!(found.complete && providers(&found).contains(&Sim::id(7)), "{found:?}");
    }
    assert_eq!(find(&mut sim, 40, key(9_999)).providers, []);
    // A fifth of the nodes is gone.
    for node in (10..20).collect::<Vec<_>>() {
        sim.crash(node).unwrap();
    }
    for n in (0..3_000).step_by(500) {
        assert!(providers(&find(&mut sim, 41, keys[n])).contains(&Sim::id(7)));
    }
    assert!(sim.nodes().all(|(_, node)| node.bans(sim.now()).is_empty()), "an honest node is banned");
}

/// A peer that listens at a port, over a lasting or a brief connection.
fn listener(bench: &mut Bench, address: &str, services: u64) -> PeerId {
    let (peer, _) = bench.inbound(address);
    let listens = vec![PeerAddr::from(([9, 9, 9, 9], 7_000))];
    let outputs = bench.say(peer, Message::Hello(Hello { services, listens, ..hello() }));
    assert_eq!(reasons(&outputs), []);
    peer
}

fn asked(bench: &mut Bench, peer: PeerId, key: NodeId) -> Vec<Contact> {
    let outputs = bench.say(peer, Message::GetProviders { key });
    match &sent_to(&outputs, peer)[..] {
        [Message::Providers { providers, .. }] => providers.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_node_can_announce_itself_alone() {
    let mut bench = Bench::new(Config::default());
    let asker = listener(&mut bench, "11.5.0.1:5", 1);
    for services in [1, SERVICE_BRIEF] {
        let peer = listener(&mut bench, &format!("11.1.0.{services}:5"), services);
        let outputs = bench.say(peer, Message::AddProvider(vec![key(services as u32)]));
        assert_eq!(sent_to(&outputs, peer), [Message::ProviderAdded { kept: 1 }]);
        // By its proven id, at the connection's IP: not at the one that it named.
        let itself = Contact { id: id(peer), address: format!("11.1.0.{services}:7000").parse().unwrap() };
        assert_eq!(asked(&mut bench, asker, key(services as u32)), [itself]);
        assert_eq!(asked(&mut bench, peer, key(services as u32)), [], "it is not told of itself");
    }
    // What cannot be dialled is of no use.
    let deaf = bench.guest("11.2.0.1:5");
    let outputs = bench.say(deaf, Message::AddProvider(vec![key(3)]));
    assert_eq!(sent_to(&outputs, deaf), [Message::ProviderAdded { kept: 0 }]);
    // Public nodes are not told of private ones.
    let private = listener(&mut bench, "10.1.0.1:5", 1);
    bench.say(private, Message::AddProvider(vec![key(4)]));
    assert_eq!(asked(&mut bench, asker, key(4)), []);
    assert_eq!(bench.node.provided(), (0, 3));
}

#[test]
fn records_are_renewed_and_expire() {
    let mut bench = Bench::new(Config::default());
    let providers = ["11.1.0.1:5", "11.2.0.1:5"].map(|address| listener(&mut bench, address, 1));
    for peer in providers {
        bench.say(peer, Message::AddProvider(vec![key(1)]));
    }
    // No node answers pings here, so another one asks each time.
    let found = |bench: &mut Bench, n: u8| {
        let asker = listener(bench, &format!("11.3.{n}.1:5"), 1);
        asked(bench, asker, key(1)).len()
    };
    bench.after(ANNOUNCE_INTERVAL);
    let again = listener(&mut bench, "11.1.0.1:6", 1);
    bench.say(again, Message::AddProvider(vec![key(1)]));
    assert_eq!(found(&mut bench, 1), 3, "each is a node of its own");
    bench.after(RECORD_LIFETIME - ANNOUNCE_INTERVAL);
    assert_eq!(found(&mut bench, 2), 1, "that which was announced again");
    bench.after(ANNOUNCE_INTERVAL);
    assert_eq!((found(&mut bench, 3), bench.node.provided().1), (0, 0));
}

#[test]
fn too_many_announcements_are_an_offence() {
    let mut bench = Bench::new(Config::default());
    let peer = listener(&mut bench, "11.1.0.1:5", 1);
    let mut kept = 0;
    for n in 0..ANNOUNCEMENT_BURST as u32 {
        let keys = (0..MAX_PROVIDED as u32).map(|m| key(n * MAX_PROVIDED as u32 + m)).collect();
        let outputs = bench.say(peer, Message::AddProvider(keys));
        let [Message::ProviderAdded { kept: more }] = sent_to(&outputs, peer)[..] else { panic!("{outputs:?}") };
        kept += usize::from(more);
    }
    assert_eq!(bench.score(peer), Some(0));
    assert_eq!((kept, bench.node.provided().1), (8_192, 8_192), "no part of the net takes all room");
    assert_eq!(sent_to(&bench.say(peer, Message::AddProvider(vec![key(0)])), peer), []);
    assert_eq!(bench.score(peer), Some(10));
    bench.after(Duration::from_secs(1));
    assert_eq!(
        sent_to(&bench.say(peer, Message::AddProvider(vec![key(0)])), peer),
        [Message::ProviderAdded { kept: 1 }]
    );
}

#[test]
fn answers_that_were_not_asked_for_are_an_offence() {
    for answer in [Message::ProviderAdded { kept: 1 }, Message::Providers { providers: Vec::new(), nearer: Vec::new() }]
    {
        let mut bench = Bench::new(Config::default());
        let peer = listener(&mut bench, "11.1.0.1:5", 1);
        bench.say(peer, answer);
        assert_eq!(bench.score(peer), Some(Offence::UnrequestedNodes.points()));
    }
}
