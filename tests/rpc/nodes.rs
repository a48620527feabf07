//! Pausing a node, and adding and removing nodes of a test network.

use std::time::Duration;

use cairn::primitives::height::Height;
use serde_json::json;

use crate::fixture::{Fixture, hex_of, key};

/// Calls every method on a node without chaos, alone in its process.
pub fn every_method(fixture: &Fixture) {
    for method in ["pausenode", "resumenode"] {
        fixture.refused(method, json!(["this node"]), -1, "--chaos");
        fixture.refused(method, json!(["node-9"]), -8, "is not a node of this process");
    }
    let alone = "needs a network that cairn testnet runs";
    fixture.refused("addtestnode", json!([]), -1, alone);
    fixture.refused("removetestnode", json!(["this node"]), -1, alone);
    fixture.refused("forktestnet", json!([]), -1, alone);
    fixture.refused("forktestnet", json!([0]), -8, "expected 1 to 10000");
    fixture.refused("sendtestcoins", json!([fixture.payee(1), 5]), -1, alone);
}

#[test]
fn links_are_told_while_a_node_is_being_paused() {
    let fixture = Fixture::with_chaos();
    let node = json!(["this node"]);
    std::thread::scope(|scope| {
        let asking =
            scope.spawn(|| (0..200).all(|_| fixture.call("getlinks", json!([]))["nodes"][0]["links"].is_array()));
        while !asking.is_finished() {
            assert_eq!(fixture.call("pausenode", node.clone()), json!(true));
            assert_eq!(fixture.call("resumenode", node.clone()), json!(true));
        }
        assert!(asking.join().unwrap());
    });
}

#[test]
fn a_paused_node_answers_only_what_it_need_not_be_asked() {
    let long = Duration::from_secs(3_600);
    let fixture = Fixture::with_chaos().serve_again(|config| config.limits.fee_patience = long);
    let hashes = fixture.generate(2, 1);
    let handle = fixture.node.as_ref().unwrap().handle().clone();
    fixture.tokio.block_on(handle.miner().set(Some(key(9).public_key()), 0));
    let known = fixture.call("getblocktemplate", json!([]))["longpollid"].take();
    let payment = fixture.payment(&fixture.block(&hashes[0]).transactions[0], 1, 7_000, 2, 500);
    let node = json!(["this node"]);
    assert_eq!(fixture.call("resumenode", node.clone()), json!(false));
    assert_eq!(fixture.call("pausenode", node.clone()), json!(true));
    assert_eq!(fixture.call("pausenode", node.clone()), json!(false));
    assert_eq!(fixture.call("getblockcount", json!([])), json!(2));
    assert_eq!(fixture.call("getlinks", json!([]))["nodes"][0]["paused"], json!(true));
    // Refused at once, not after a time-out: a command, a read, and a call that was under way before would be, too.
    for (method, params) in [
        ("getpeerinfo", json!([])),
        ("ping", json!([])),
        ("setnetworkactive", json!([false])),
        ("generatetoaddress", json!([1, fixture.payee(1)])),
        ("submitblock", json!([fixture.call("getblock", json!([fixture.call("getbestblockhash", json!([])), 0]))])),
        ("savemempool", json!([])),
        ("sendrawtransaction", json!([hex_of(&payment)])),
        ("getblocktemplate", json!([{ "longpollid": known }])),
    ] {
        fixture.refused(method, params, -1, "this node is paused: `resumenode`");
    }
    fixture.refused("takesnapshot", json!(["one"]), -1, "this node is paused");
    // What its miner is told now, it does when the node goes on.
    fixture.call("setgenerate", json!([true, 1]));
    assert_eq!(fixture.call("getblockcount", json!([])), json!(2));
    assert_eq!(fixture.call("resumenode", node), json!(true));
    assert_eq!(fixture.call("getpeerinfo", json!([])), json!([]));
    let mut tip = handle.tip();
    fixture.tokio.block_on(async { tip.wait_for(|tip| tip.height > Height::from_u32(2)).await.map(drop) }).unwrap();
    fixture.call("setgenerate", json!([false]));
    assert_eq!(fixture.generate(1, 1).len(), 1);
}
