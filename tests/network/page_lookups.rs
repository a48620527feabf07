//! A node looks up providers for browser pages, within bounds.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use cairn::p2p::discovery::{
    GROUP_INTERVAL, MAX_NAMED, MAX_OF_GROUP, MAX_VISITS, PAGE_TIMEOUT, PAGES_BURST, PAGES_INTERVAL,
};
use cairn::p2p::kad::{Contact, NodeId};
use cairn::p2p::message::{Hello, Message};
use cairn::p2p::misbehaviour::Offence;
use cairn::p2p::search::MAX_OF_ANSWER;
use cairn::p2p::{Config, Direction, Input, Output, PeerAddr, PeerId};

use crate::connections::{Bench, dials, hello, id, sent_to};

fn key(n: u32) -> NodeId {
    NodeId::of_content(&n.to_le_bytes())
}

fn webrtc(ip: [u8; 4]) -> PeerAddr {
    PeerAddr::WebRtc { socket: (ip, 7_332).into(), certhash: [7; 32] }
}

/// A page in a part of the net of its own.
fn page(bench: &mut Bench, n: u8) -> PeerId {
    bench.page(&webrtc([12, n, 0, 1]).to_string())
}

/// A node that takes browsers dials in, and announces keys.
fn provider(bench: &mut Bench, ip: [u8; 4], keys: &[NodeId]) -> PeerId {
    let (peer, _) = bench.inbound(&PeerAddr::from((ip, 50_000)).to_string());
    bench.say(peer, Message::Hello(provider_hello()));
    let outputs = bench.say(peer, Message::AddProvider(keys.to_vec()));
    assert!(matches!(sent_to(&outputs, peer)[..], [Message::ProviderAdded { .. }]), "{outputs:?}");
    peer
}

fn provider_hello() -> Hello {
    Hello { listens: vec![PeerAddr::tcp_port(7_331), webrtc([9, 9, 9, 9])], ..hello() }
}

/// Says that a provider has the content itself.
fn has_it(provider: PeerId) -> Message {
    let itself = Contact { id: id(provider), address: PeerAddr::tcp_port(0) };
    Message::Providers { providers: vec![itself], nearer: Vec::new() }
}

fn answers(outputs: &[Output], page: PeerId) -> Vec<Vec<Contact>> {
    let of = |message| match message {
        Message::Providers { providers, .. } => Some(providers),
        _ => None,
    };
    sent_to(outputs, page).into_iter().filter_map(of).collect()
}

/// Lets all dials fail, until there are none: which there were, and all outputs.
fn fail_dials(bench: &mut Bench, mut outputs: Vec<Output>) -> (Vec<PeerAddr>, Vec<Output>) {
    let (mut all, mut next) = (Vec::new(), dials(&outputs));
    while let Some(address) = next.pop() {
        all.push(address);
        let more = bench.give(Input::ConnectFailed { address, found: None });
        next.extend(dials(&more));
        outputs.extend(more);
    }
    (all, outputs)
}

#[test]
fn a_page_learns_where_a_provider_takes_browsers() {
    let mut bench = Bench::new(Config::default());
    let near = provider(&mut bench, [11, 1, 0, 1], &[key(1)]);
    let page = page(&mut bench, 1);
    let outputs = bench.say(page, Message::GetProviders { key: key(1) });
    assert_eq!(answers(&outputs, page), [[]; 0], "not before the provider has been asked");
    assert_eq!(sent_to(&outputs, near), [Message::GetProviders { key: key(1) }]);
    let found = Contact { id: id(near), address: webrtc([11, 1, 0, 1]) };
    assert_eq!(answers(&bench.say(near, has_it(near)), page), [[found]]);

    // It has it no more.
    bench.say(page, Message::GetProviders { key: key(1) });
    let outputs = bench.say(near, Message::Providers { providers: Vec::new(), nearer: Vec::new() });
    assert_eq!(answers(&outputs, page), [[]]);

    // One that is not connected is dialled: it is already, to check that it listens where it says.
    bench.give(Input::Disconnected { peer: near });
    bench.say(page, Message::GetProviders { key: key(1) });
    let address = PeerAddr::from(([11, 1, 0, 1], 7_331));
    let again = PeerId(1_000);
    bench.give(Input::Connected { peer: again, address, direction: Direction::Outbound, id: id(near) });
    let outputs = bench.say(again, Message::Hello(provider_hello()));
    assert!(sent_to(&outputs, again).contains(&Message::GetProviders { key: key(1) }), "{outputs:?}");
    assert_eq!(answers(&bench.say(again, has_it(near)), page), [[found]]);
    assert_eq!(bench.score(page), Some(0));
}

#[test]
fn one_that_lists_itself_alone_is_believed_and_does_not_hold_up_the_answer() {
    let mut bench = Bench::new(Config::default());
    let [honest, silent] = [1, 2].map(|n| provider(&mut bench, [11, n, 0, 1], &[key(1)]));
    let page = page(&mut bench, 1);
    bench.say(page, Message::GetProviders { key: key(1) });
    // It names another, which is not what it was asked.
    let outputs = bench.say(silent, has_it(honest));
    assert_eq!(answers(&outputs, page), [[]; 0]);
    let found = Contact { id: id(honest), address: webrtc([11, 1, 0, 1]) };
    assert_eq!(answers(&bench.say(honest, has_it(honest)), page), [[found]]);

    // While one says nothing, the answer waits a second for others.
    bench.say(page, Message::GetProviders { key: key(1) });
    assert_eq!(answers(&bench.say(honest, has_it(honest)), page), [[]; 0]);
    assert_eq!(answers(&bench.after(Duration::from_secs(1)), page), [[found]]);
    // If all say nothing, it comes without any.
    bench.say(page, Message::GetProviders { key: key(1) });
    assert_eq!(answers(&bench.after(PAGE_TIMEOUT), page), [[]]);
}

#[test]
fn a_thousand_false_providers_cost_few_dials() {
    let mut bench = Bench::new(Config::default());
    for n in 0..1_000_u32 {
        let [.., a, b] = n.to_be_bytes();
        let liar = provider(&mut bench, [20, a, b, 1], &[key(1)]);
        let outputs = bench.give(Input::Disconnected { peer: liar });
        fail_dials(&mut bench, outputs);
    }
    let outputs = bench.after(Duration::from_secs(60));
    fail_dials(&mut bench, outputs);
    assert!(bench.node.provided().1 <= 64, "{:?}", bench.node.provided());
    let page = page(&mut bench, 1);
    let outputs = bench.say(page, Message::GetProviders { key: key(1) });
    let (dialled, outputs) = fail_dials(&mut bench, outputs);
    let visits = dialled.iter().filter(|address| matches!(address, PeerAddr::Tcp(socket) if socket.port() == 7_331));
    assert!((1..=MAX_VISITS).contains(&visits.count()), "{dialled:?}");
    assert_eq!(answers(&outputs, page), [[]], "the page dials none of them");
}

#[test]
fn a_page_is_named_few_providers() {
    let mut bench = Bench::new(Config::default());
    let all: Vec<PeerId> = (1..=20).map(|n| provider(&mut bench, [11, n, 0, 1], &[key(1)])).collect();
    let page = page(&mut bench, 1);
    let outputs = bench.say(page, Message::GetProviders { key: key(1) });
    let asked: Vec<PeerId> = all.into_iter().filter(|peer| !sent_to(&outputs, *peer).is_empty()).collect();
    assert!((MAX_NAMED..=MAX_VISITS).contains(&asked.len()), "{asked:?}");
    let named: Vec<Vec<Contact>> =
        asked.iter().flat_map(|peer| answers(&bench.say(*peer, has_it(*peer)), page)).collect();
    assert_eq!(named.iter().map(Vec::len).collect::<Vec<_>>(), [MAX_NAMED]);
}

/// What came of a lookup.
#[derive(Debug, Default)]
struct Course {
    /// Neighbours that were asked for providers.
    asked: usize,
    /// Dials of providers that they named: by which one each.
    visits: Vec<u8>,
    /// Answers to the page.
    answers: usize,
}

/// Lets neighbours answer, until nothing more is asked: each names as many providers as a message holds, each at an address of its own
/// where none can be reached.
fn carry_out(bench: &mut Bench, outputs: Vec<Output>) -> Course {
    let (mut queue, mut course) = (VecDeque::from(outputs), Course::default());
    while let Some(output) = queue.pop_front() {
        let more = match output {
            Output::Connect { address, .. } => {
                if let IpAddr::V4(ip) = address.ip()
                    && let [14, liar, ..] = ip.octets()
                {
                    course.visits.push(liar);
                }
                bench.give(Input::ConnectFailed { address, found: None })
            }
            Output::Send { peer, frame } => match frame.message().unwrap() {
                Message::FindNode { .. } => bench.say(peer, Message::Nodes(Vec::new())),
                Message::GetProviders { .. } => {
                    course.asked += 1;
                    let liar = course.asked as u8;
                    let named = |n| Contact {
                        id: NodeId::of_content(&[liar, n]),
                        address: PeerAddr::from(([14, liar, n, 1], 7_331)),
                    };
                    bench.say(peer, Message::Providers { providers: (0..16).map(named).collect(), nearer: Vec::new() })
                }
                Message::Providers { .. } => {
                    course.answers += 1;
                    continue;
                }
                _ => continue,
            },
            _ => continue,
        };
        queue.extend(more);
    }
    course
}

#[test]
fn one_answer_takes_few_of_the_visits_at_first_and_all_answers_no_more_than_there_are() {
    for liars in [1, 3, 15] {
        let mut bench = Bench::new(Config { outbound_target: 0, ..Config::default() });
        for n in 1..=liars {
            // It was dialled, and so is in the table.
            let (peer, address) = (PeerId(2_000 + n), PeerAddr::from(([13, n as u8, 0, 1], 7_331)));
            let mut outputs =
                bench.give(Input::Connected { peer, address, direction: Direction::Outbound, id: id(peer) });
            let hello = Hello { listens: vec![PeerAddr::tcp_port(7_331)], ..hello() };
            outputs.extend(bench.say(peer, Message::Hello(hello)));
            carry_out(&mut bench, outputs);
        }
        let page = page(&mut bench, 1);
        let outputs = bench.say(page, Message::GetProviders { key: key(1) });
        let Course { asked, visits, answers } = carry_out(&mut bench, outputs);
        assert_eq!((asked as u64, visits.len(), answers), (liars, MAX_VISITS, 1));
        let mut first = visits[..(MAX_OF_ANSWER * asked).min(MAX_VISITS)].to_vec();
        first.sort_unstable();
        assert!(first.chunk_by(u8::eq).all(|of_one| of_one.len() <= MAX_OF_ANSWER), "{visits:?}");
    }
}

#[test]
fn pages_of_one_part_of_the_net_leave_half_of_the_lookups_to_others() {
    let mut bench = Bench::new(Config::default());
    // It says nothing, so lookups take their time.
    provider(&mut bench, [11, 1, 0, 1], &[key(1)]);
    let begun = |bench: &mut Bench, pages: &[PeerId]| {
        let begins =
            |page: &&PeerId| answers(&bench.say(**page, Message::GetProviders { key: key(1) }), **page).is_empty();
        pages.iter().filter(begins).count()
    };
    let crowd = |bench: &mut Bench| -> Vec<PeerId> {
        (0..10).map(|n| bench.page(&webrtc([12, 1, n, 1]).to_string())).collect()
    };
    // At a time.
    let pages = crowd(&mut bench);
    assert_eq!(begun(&mut bench, &pages), 2);
    let pages = [2, 3].map(|n| page(&mut bench, n));
    assert_eq!(begun(&mut bench, &pages), 2);
    // In the long run.
    bench.after(PAGE_TIMEOUT);
    let pages = crowd(&mut bench);
    assert_eq!(begun(&mut bench, &pages), MAX_OF_GROUP - 2);
    bench.after(PAGE_TIMEOUT);
    let (pages, other) = (crowd(&mut bench), [page(&mut bench, 4)]);
    assert_eq!((begun(&mut bench, &pages), begun(&mut bench, &other)), (0, 1));
    bench.after(GROUP_INTERVAL - 2 * PAGE_TIMEOUT);
    let pages = crowd(&mut bench);
    assert_eq!(begun(&mut bench, &pages), 2);
}

#[test]
fn pages_ask_within_bounds() {
    let mut bench = Bench::new(Config::default());
    let keys: Vec<NodeId> = (0..20).map(key).collect();
    let silent = provider(&mut bench, [11, 1, 0, 1], &keys);
    let ask = |bench: &mut Bench, page: PeerId, n: usize| {
        let outputs = bench.say(page, Message::GetProviders { key: keys[n] });
        (answers(&outputs, page), sent_to(&outputs, silent).len())
    };
    // One question of a page at a time; the others are answered at once, and more are a flood.
    let first = page(&mut bench, 0);
    assert_eq!(ask(&mut bench, first, 0), (vec![], 1));
    for n in 1..4 {
        assert_eq!(ask(&mut bench, first, n), (vec![vec![]], 0));
    }
    assert_eq!(bench.score(first), Some(0));
    assert_eq!(ask(&mut bench, first, 4), (vec![], 0));
    assert_eq!(bench.score(first), Some(Offence::RequestFlood.points()));

    // All pages together.
    let pages: Vec<PeerId> = (1..=PAGES_BURST as u8 + 1).map(|n| page(&mut bench, n)).collect();
    let refused = pages.iter().enumerate().filter(|(n, page)| ask(&mut bench, **page, *n).0 == [vec![]]);
    assert_eq!(refused.count(), 2);
    // One that leaves is forgotten with its question.
    bench.give(Input::Disconnected { peer: first });
    bench.after(PAGES_INTERVAL);
    bench.after(PAGE_TIMEOUT);
    let late = page(&mut bench, 100);
    assert_eq!(ask(&mut bench, late, 5), (vec![], 1));
    assert!(pages.iter().all(|page| bench.score(*page) == Some(0)));
}
