//! Links: every node shows them, and only a node started with chaos changes them.

use serde_json::{Value, json};

use crate::fixture::Fixture;

/// Calls both methods on a node without chaos.
pub fn every_method(fixture: &Fixture) {
    let links = fixture.call("getlinks", json!([]));
    assert_eq!((&links["chaos"], &links["nodes"][0]["name"]), (&json!(false), &json!("this node")));
    assert_eq!(links["managed"], json!(false));
    fixture.refused("setlink", json!(["node-2", {}]), -1, "--chaos");
}

/// Waits until a node has so many links with a connection, and answers all its links.
fn links(fixture: &Fixture, node: usize, connected: usize) -> Vec<Value> {
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let answer = fixture.call("getlinks", json!([]));
        let links = answer["nodes"][node]["links"].as_array().unwrap().clone();
        if links.iter().filter(|link| !link["peer"].is_null()).count() == connected {
            return links;
        }
        assert!(std::time::Instant::now() < end, "{answer:#}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

#[test]
fn links_are_shown_and_changed_by_id_address_and_name() {
    let other = Fixture::with_chaos();
    let handle = other.node.as_ref().unwrap().handle().clone();
    let address = handle.listens_at().unwrap().to_string();
    let fixture = Fixture::with_chaos();
    let own = fixture.node.as_ref().unwrap().handle().clone();
    let mine = own.listens_at().unwrap().to_string();
    let fixture = fixture.serve_again(|config| {
        config.nodes.set(vec![("node-1".to_owned(), own), ("node-2".to_owned(), handle)]);
    });

    // A link may be cut before it is made.
    let whole = json!({
        "peer": null, "addr": address, "listenaddr": address, "name": "node-2", "inbound": false,
        "cut": false, "delay_ms": 0, "loss": 0.0, "bandwidth": 0
    });
    let with = |changes: Value| {
        let mut link = whole.clone();
        link.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        link
    };
    assert_eq!(links(&fixture, 0, 0), [] as [Value; 0]);
    assert_eq!(fixture.call("setlink", json!(["node-2", { "loss": 0.25 }])), with(json!({ "loss": 0.25 })));
    assert_eq!(links(&fixture, 0, 0), [with(json!({ "loss": 0.25 }))]);
    fixture.call("setlink", json!([address, "{\"loss\": 0}"]));
    assert_eq!(links(&fixture, 0, 0), [] as [Value; 0]);

    fixture.call("addnode", json!([address, "onetry"]));
    let link = links(&fixture, 0, 1).remove(0);
    let id = link["peer"].clone();
    assert_eq!(link, with(json!({ "peer": id })));
    for peer in [&id, &json!(id.to_string()), &json!(address), &json!("node-2")] {
        let delay = fixture.call("setlink", json!([peer, { "delay_ms": 3 }]));
        assert_eq!(delay, with(json!({ "peer": id, "delay_ms": 3 })));
        // What is left out stays.
        let both = fixture.call("setlink", json!([peer, { "bandwidth": 1_000_000 }]));
        assert_eq!(both, with(json!({ "peer": id, "delay_ms": 3, "bandwidth": 1_000_000 })));
        fixture.call("setlink", json!([peer, { "delay_ms": 0, "bandwidth": 0 }]));
    }

    // The other node's end, under the other node's name.
    let back = links(&fixture, 1, 1).remove(0);
    assert_eq!((&back["inbound"], &back["name"], &back["listenaddr"]), (&json!(true), &json!("node-1"), &json!(mine)));
    let changed = fixture.call("setlink", json!({ "peer": "node-1", "settings": { "delay_ms": 7 }, "node": "node-2" }));
    assert_eq!((&changed["delay_ms"], &changed["peer"]), (&json!(7), &back["peer"]));
    assert_eq!(other.call("getlinks", json!([]))["nodes"][0]["links"][0]["delay_ms"], 7);

    for (params, code, text) in [
        (json!(["node-2", { "loss": 1.5 }]), -8, "loss: 1.5 is not a share from 0 to 1"),
        (json!(["node-2", { "loss": -0.1 }]), -8, "loss: -0.1 is not a share"),
        (json!(["node-2", { "delay_ms": 60_001 }]), -8, "delay_ms is 60001, expected at most 60000"),
        (json!(["node-2", { "delay_ms": -1 }]), -8, "settings"),
        (json!(["node-2", { "bandwidth": "fast" }]), -8, "settings"),
        (json!(["node-2", { "speed": 1 }]), -8, "there is no \"speed\""),
        (json!(["node-2", []]), -3, "settings: expected an object, got an array"),
        (json!(["node-2"]), -1, "settings"),
        (json!([[], {}]), -3, "peer"),
        (json!(["node-3", { "cut": true }]), -29, "\"node-3\" is not a node of this process"),
        (json!(["node-1", { "cut": true }]), -8, "is the node itself"),
        (json!([99_999, { "cut": true }]), -29, "no connection has the id 99999"),
        (json!(["127.0.0.1:1", { "cut": true }]), -29, "no connection to 127.0.0.1:1"),
        (json!(["node-1", { "cut": true }, "node-9"]), -8, "expected one of node-1, node-2"),
    ] {
        fixture.refused("setlink", params, code, text);
    }
    // None of these changed anything.
    assert_eq!(links(&fixture, 0, 1), [with(json!({ "peer": id }))]);
}
