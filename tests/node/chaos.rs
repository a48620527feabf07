//! Links that are cut, slow or lossy on purpose: real nodes over loopback, told over RPC.
//!
//! To show that something does *not* arrive, the tests do not wait: another peer of the same node, with an intact link,
//! already has it.

use std::time::{Duration, Instant};

use crate::process::{Node, Place, wait_for};
use serde_json::{Value, json};

/// Node `a`, to which `b` and `c` stay connected, and no other links; and an address to mine to.
struct Star {
    place: Place,
    a: Node,
    b: Node,
    c: Node,
    payee: String,
}

impl Star {
    fn new() -> Self {
        let place = Place::new();
        let payee = place.wallet("wallet");
        let alone = ["--max-outbound", "0", "--chaos"];
        let a = place.node("a", &alone);
        let hub = a.peer_address();
        let [b, c] = ["b", "c"].map(|name| place.node(name, &[&alone[..], &["--connect", &hub]].concat()));
        let star = Self { place, a, b, c, payee };
        wait_for("both to be connected", || (star.connected(&star.b) && star.connected(&star.c)).then_some(()));
        star
    }

    /// The link of `a` to a node, as getlinks shows it.
    fn link(&self, to: &Node) -> Option<Value> {
        let links = self.a.call("getlinks", &[]);
        let mut links = links["nodes"][0]["links"].as_array().unwrap().iter();
        links.find(|link| link["listenaddr"] == json!(to.peer_address())).cloned()
    }

    fn connected(&self, to: &Node) -> bool {
        self.link(to).is_some_and(|link| !link["peer"].is_null())
    }

    /// Changes the link of `a` to a node.
    fn set(&self, to: &Node, settings: Value) -> Value {
        self.a.call("setlink", &[to.peer_address().into(), settings])
    }

    /// Mines on `a`, and answers the tip.
    fn mine(&self, blocks: u32) -> (u64, String) {
        self.a.generate(blocks, &self.payee);
        self.a.tip()
    }
}

fn reaches(node: &Node, tip: &(u64, String)) {
    wait_for(&format!("{} to reach height {}", node.name, tip.0), || (node.tip() == *tip).then_some(()));
}

#[test]
fn nothing_passes_a_cut_link_not_even_over_a_new_connection() {
    let star = Star::new();
    let before = star.mine(3);
    reaches(&star.b, &before);
    reaches(&star.c, &before);

    let cut = star.set(&star.b, json!({ "cut": true }));
    assert_eq!((&cut["cut"], cut["peer"].is_u64()), (&json!(true), true), "the connection stands: {cut}");
    let during = star.mine(2);
    reaches(&star.c, &during);
    assert_eq!(star.b.tip(), before);
    star.set(&star.b, json!({ "cut": false }));
    reaches(&star.b, &during);

    // The other side dials anew, and says hello in vain.
    star.set(&star.b, json!({ "cut": true }));
    let sent = || star.b.call("getnettotals", &[])["totalbytessent"].as_u64().unwrap();
    let hello = sent();
    star.b.call("disconnectnode", &[star.a.peer_address().into()]);
    wait_for("another hello", || (sent() > hello).then_some(()));
    let again = star.mine(1);
    reaches(&star.c, &again);
    assert_eq!((star.b.tip(), star.b.call("getconnectioncount", &[])), (during, json!(0)));
    wait_for("the old connection to be noticed as gone, or not", || {
        star.link(&star.b).filter(|link| link["cut"] == json!(true))
    });
    star.set(&star.b, json!({ "cut": false }));
    reaches(&star.b, &again);
}

#[test]
fn a_slow_link_is_as_slow_as_it_is_told_to_be() {
    let star = Star::new();
    let started = Instant::now();
    star.set(&star.b, json!({ "delay_ms": 400 }));
    let tip = star.mine(1);
    reaches(&star.c, &tip);
    reaches(&star.b, &tip);
    assert!(started.elapsed() >= Duration::from_millis(400), "{:?}", started.elapsed());

    // Side by side: a hundred blocks do not take a hundred delays.
    let started = Instant::now();
    let tip = star.mine(100);
    reaches(&star.b, &tip);
    assert!(started.elapsed() < Duration::from_secs(40), "{:?}", started.elapsed());

    let bandwidth = 8_000;
    let link = star.set(&star.b, json!({ "delay_ms": 0, "bandwidth": bandwidth }));
    let sent = || {
        let peers = star.a.call("getpeerinfo", &[]);
        let peer = peers.as_array().unwrap().iter().find(|peer| peer["id"] == link["peer"]).cloned();
        peer.expect("it is still connected")["bytessent"].as_u64().unwrap()
    };
    let (started, before) = (Instant::now(), sent());
    let tip = star.mine(60);
    reaches(&star.b, &tip);
    let (took, bytes) = (started.elapsed(), sent() - before);
    let least = Duration::from_secs_f64(bytes as f64 / f64::from(bandwidth)).mul_f64(0.9);
    assert!(bytes > 5_000 && took >= least, "{bytes} bytes in {took:?}");
}

#[test]
fn lost_messages_are_recovered() {
    let star = Star::new();
    let before = star.mine(1);
    reaches(&star.b, &before);
    star.set(&star.b, json!({ "loss": 1.0 }));
    let lost = star.mine(1);
    reaches(&star.c, &lost);
    assert_eq!(star.b.tip(), before);
    star.set(&star.b, json!({ "loss": 0 }));
    let found = star.mine(1);
    reaches(&star.b, &found);
}

#[test]
fn halves_go_their_ways_and_agree_when_healed() {
    let star = Star::new();
    let common = star.mine(2);
    reaches(&star.b, &common);
    star.set(&star.b, json!({ "cut": true }));
    let ours = star.mine(2);
    reaches(&star.c, &ours);
    star.b.generate(3, &star.payee);
    let theirs = star.b.tip();
    assert!(star.a.tip() == ours && ours.1 != theirs.1 && theirs.0 == ours.0 + 1);
    star.set(&star.b, json!({ "cut": false }));
    reaches(&star.a, &theirs);
    reaches(&star.c, &theirs);

    for (args, text) in [
        (["rpc", "setlink", "127.0.0.1:1", "{\"cut\": true}"], "no connection to 127.0.0.1:1"),
        (["rpc", "setlink", "nowhere", "{\"cut\": true}"], "is not a node of this process"),
        (["rpc", "setlink", "this node", "{\"loss\": 1.5}"], "1.5 is not a share from 0 to 1"),
        (["rpc", "setlink", "this node", "{\"speed\": 1}"], "there is no \"speed\""),
    ] {
        star.place.run("a", &args).fails(1, text);
    }
    let plain = star.place.node("plain", &[]);
    star.place.run(&plain.name, &["rpc", "setlink", "1", "{\"cut\": true}"]).fails(1, "without --chaos");
}
