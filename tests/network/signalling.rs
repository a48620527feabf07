//! A node brings browser pages together, within bounds.

use std::collections::BTreeSet;
use std::time::Duration;

use cairn::p2p::kad::NodeId;
use cairn::p2p::message::{Message, SERVICE_FULL, SERVICE_PAGES};
use cairn::p2p::misbehaviour::Offence;
use cairn::p2p::signal::{MAX_PAGES, Signal};
use cairn::p2p::signalling::{BURST, CALL_TIMEOUT, CALLED_BURST, INTERVAL, MAX_OPEN};
use cairn::p2p::{Config, Input, Output, PeerAddr, PeerId, Reason};

use crate::connections::{Bench, id, reasons, sent, sent_to};

fn offer(to: PeerId) -> Message {
    Message::Signal { page: id(to), signal: Signal::Offer(b"offer".to_vec()) }
}

fn answer(to: PeerId) -> Message {
    Message::Signal { page: id(to), signal: Signal::Answer(b"answer".to_vec()) }
}

/// What pages were sent, with their numbers.
fn relayed(outputs: &[Output]) -> Vec<(PeerId, Message)> {
    let to = |output: &Output| match output {
        Output::Send { peer, frame } => Some((*peer, frame.message().unwrap())),
        _ => None,
    };
    outputs.iter().filter_map(to).collect()
}

fn refused(to: PeerId) -> Message {
    Message::NoPage { page: id(to) }
}

#[test]
fn two_pages_are_brought_together() {
    let mut bench = Bench::new(Config::default());
    let [first, second] = ["10.0.0.1:5", "10.0.1.1:5"].map(|address| bench.page(address));
    assert_eq!(sent_to(&bench.say(first, Message::GetPages), first), [Message::Pages(vec![id(second)])]);
    // Each gets the other's id, which the node has proven, in the place of its own.
    let outputs = bench.say(first, offer(second));
    assert_eq!(relayed(&outputs), [(second, offer(first))]);
    let outputs = bench.say(second, answer(first));
    assert_eq!(relayed(&outputs), [(first, answer(second))]);
    // One answer for an offer.
    assert_eq!(relayed(&bench.say(second, answer(first))), []);
    assert_eq!((bench.score(first), bench.score(second)), (Some(0), Some(0)));
}

#[test]
fn a_page_is_told_of_a_few_others_chosen_by_chance() {
    let mut bench = Bench::new(Config::default());
    let pages: Vec<PeerId> = (0..30).map(|n| bench.page(&format!("10.0.{n}.1:5"))).collect();
    bench.guest("10.1.0.1:5");
    let mut told = BTreeSet::new();
    for _ in 0..BURST {
        let outputs = bench.say(pages[0], Message::GetPages);
        let [Message::Pages(some)] = &sent_to(&outputs, pages[0])[..] else { panic!("{outputs:?}") };
        assert_eq!(some.iter().collect::<BTreeSet<_>>().len(), MAX_PAGES);
        told.extend(some.iter().copied());
    }
    let all: BTreeSet<NodeId> = pages[1..].iter().map(|page| id(*page)).collect();
    assert!(told.is_subset(&all) && told.len() > 2 * MAX_PAGES, "{} of {}", told.len(), all.len());
}

#[test]
fn nothing_is_relayed_to_or_from_what_is_no_page() {
    let mut bench = Bench::new(Config::default());
    let [page, other] = ["10.0.0.1:5", "10.0.1.1:5"].map(|address| bench.page(address));
    let full = bench.guest("10.0.2.1:5");
    let absent = PeerId(77);
    for to in [full, absent, page] {
        assert_eq!(relayed(&bench.say(page, offer(to))), [(page, refused(to))]);
    }
    for message in [offer(page), answer(page), Message::GetPages] {
        assert_eq!(relayed(&bench.say(full, message)), []);
    }
    assert_eq!(relayed(&bench.say(page, answer(other))), [], "it was not called");
    assert_eq!(bench.score(full), Some(0));
    // Of nodes these are no messages that a node waits for.
    bench.say(full, Message::Pages(Vec::new()));
    bench.say(full, refused(page));
    assert_eq!(bench.score(full), Some(2 * Offence::UnrequestedNodes.points()));
    // One that has left is not found.
    bench.give(Input::Disconnected { peer: other });
    assert_eq!(relayed(&bench.say(page, offer(other))), [(page, refused(other))]);
}

#[test]
fn open_calls_are_few_and_end() {
    let mut bench = Bench::new(Config::default());
    let pages: Vec<PeerId> = (0..2 + 2 * MAX_OPEN).map(|n| bench.page(&format!("10.0.{n}.1:5"))).collect();
    let (caller, called) = (pages[0], pages[1]);
    let others = &pages[2..];
    // Of one caller.
    for to in &others[..MAX_OPEN] {
        assert_eq!(relayed(&bench.say(caller, offer(*to))), [(*to, offer(caller))]);
    }
    assert_eq!(relayed(&bench.say(caller, offer(called))), [(caller, refused(called))]);
    // To one page.
    for from in &others[..MAX_OPEN] {
        assert_eq!(relayed(&bench.say(*from, offer(called))), [(called, offer(*from))]);
    }
    let one_more = others[MAX_OPEN];
    assert_eq!(relayed(&bench.say(one_more, offer(called))), [(one_more, refused(called))]);
    // An answer makes room, and so does one that leaves; the same call twice is refused.
    bench.say(called, answer(others[0]));
    assert_eq!(relayed(&bench.say(one_more, offer(called))), [(called, offer(one_more))]);
    bench.give(Input::Disconnected { peer: others[1] });
    assert_eq!(relayed(&bench.say(one_more, offer(called))), [(one_more, refused(called))]);
    assert_eq!(relayed(&bench.say(others[0], offer(called))), [(called, offer(others[0]))]);
    // After a while none is open, and an answer is too late.
    bench.after(CALL_TIMEOUT);
    assert_eq!(relayed(&bench.say(called, answer(one_more))), []);
    assert_eq!(relayed(&bench.say(one_more, offer(called))), [(called, offer(one_more))]);
}

#[test]
fn a_page_that_floods_is_banned_and_the_others_hardly_notice() {
    let mut bench = Bench::new(Config::default());
    let [flooder, called] = ["10.0.0.1:5", "10.0.1.1:5"].map(|address| bench.page(address));
    let (mut reached, mut said) = (0, 0);
    let reason = loop {
        let outputs = bench.say(flooder, offer(called));
        said += 1;
        reached += sent_to(&outputs, called).len();
        bench.say(called, answer(flooder));
        if let Some(reason) = reasons(&outputs).pop() {
            break reason;
        }
        bench.now.mono += Duration::from_millis(1);
    };
    assert_eq!(reason, Reason::Misbehaved(Offence::RequestFlood));
    assert_eq!((reached as u64, said), (BURST, BURST + 10));

    // Many callers together have a bound too; the one that is called need not answer.
    let callers: Vec<PeerId> = (2..60).map(|n| bench.page(&format!("10.0.{n}.1:5"))).collect();
    let called = bench.page("10.1.0.1:5");
    let mut reached = 0;
    for caller in &callers {
        let outputs = bench.say(*caller, offer(called));
        reached += sent_to(&outputs, called).len();
        bench.say(called, answer(*caller));
    }
    assert_eq!(reached as u64, CALLED_BURST);
    // Questions are bounded as calls are.
    let asker = callers[0];
    let answered = (0..BURST + 1).filter(|_| sent(&bench.say(asker, Message::GetPages)).next().is_some()).count();
    assert_eq!((answered as u64, bench.score(asker)), (BURST, Some(Offence::RequestFlood.points())));
    bench.now.mono += INTERVAL;
    assert!(sent(&bench.say(asker, Message::GetPages)).next().is_some(), "one more after a while");
}

#[test]
fn a_node_that_takes_browsers_says_that_it_relays_calls() {
    let listens: Vec<PeerAddr> = vec![PeerAddr::WebRtc { socket: ([127, 0, 0, 1], 5).into(), certhash: [7; 32] }];
    assert_eq!(Bench::new(Config { listens, ..Config::default() }).node.services() & SERVICE_PAGES, SERVICE_PAGES);
    let services = Bench::new(Config::default()).node.services();
    assert_eq!(services & (SERVICE_PAGES | SERVICE_FULL), SERVICE_FULL);
}
