//! Parameters, and the table that dispatches and explains.

use std::collections::BTreeSet;

use cairn::primitives::codec;
use cairn::rpc::methods;
use serde_json::{Value, json};

use crate::fixture::Fixture;

#[test]
fn parameters_by_place_by_name_and_as_text() {
    let fixture = Fixture::new();
    let genesis = fixture.params.genesis_hash.to_string();
    let raw = hex::encode(codec::encode(&fixture.params.genesis));
    for params in [json!([genesis, 0]), json!([genesis, "0"]), json!([genesis, false]), json!([genesis, "false"])] {
        assert_eq!(fixture.call("getblock", params), json!(raw));
    }
    assert_eq!(fixture.call("getblock", json!({ "verbosity": 0, "blockhash": genesis })), json!(raw));
    assert_eq!(fixture.call("getblock", json!({ "args": [genesis], "verbosity": 0 })), json!(raw));
    fixture.refused("getblock", json!([]), -1, "blockhash");
    fixture.refused("getblock", json!([genesis, 0, 0]), -1, "at most 2");
    fixture.refused("getblock", json!({ "blockhash": genesis, "verbose": 0 }), -8, "verbose");
    fixture.refused("getblock", json!([5]), -3, "blockhash");
    fixture.refused("getblock", json!(["5"]), -8, "64 hex digits");
    fixture.refused("getblock", json!([genesis, {}]), -3, "verbosity");
    fixture.refused("getblock", json!([genesis, -1]), -8, "verbosity");
    fixture.refused("getblock", json!(["00".repeat(32)]), -5, "Block not found");
}

#[test]
fn help_and_dispatch_are_one_table() {
    let fixture = Fixture::new();
    let help = fixture.call("help", json!([]));
    let listed: Vec<&str> = help.as_str().unwrap().lines().filter(|line| !line.is_empty()).collect();
    let listed: Vec<&str> = listed[..listed.len() - 1].iter().copied().filter(|line| !line.starts_with("==")).collect();
    let known: Vec<String> = methods::all().map(methods::Method::usage).collect();
    assert_eq!(listed, known);
    let names: BTreeSet<&str> = methods::all().map(|method| method.name).collect();
    assert_eq!(names.len(), known.len(), "a method is declared twice");
    for method in methods::all() {
        let text = fixture.call("help", json!([method.name]));
        let text = text.as_str().unwrap();
        assert!(text.starts_with(&method.usage()) && method.params.iter().all(|param| text.contains(param.about)));
        for param in method.params {
            let default = param.default.map(serde_json::from_str::<Value>);
            assert!(default.is_none_or(|default| default.is_ok()), "{} {}", method.name, param.name);
        }
    }
    fixture.refused("help", json!(["nope"]), -1, "nope");
}

#[test]
fn stop_is_answered_and_reaches_the_node() {
    let fixture = Fixture::new();
    assert_eq!(fixture.call("stop", json!([])), "Cairn is stopping");
    let handle = fixture.node.as_ref().unwrap().handle().clone();
    fixture.tokio.block_on(handle.shutdown_requested());
    fixture.stop();
}
