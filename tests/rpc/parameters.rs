//! Parameters, and the table that dispatches and explains.

use std::collections::BTreeSet;

use cairn::primitives::codec;
use cairn::rpc::client::ClientError;
use cairn::rpc::{Kind, methods};
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
    assert_eq!(fixture.call("getblock", json!({ "blockhash": genesis, "verbose": 0 })), json!(raw));
    fixture.refused("getblock", json!({ "blockhash": genesis, "loud": 0 }), -8, "loud");
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
    // A shape's objects are described member by member, once each.
    let text = fixture.call("help", json!(["getblock"]));
    let text = text.as_str().unwrap();
    assert!(text.contains("Result: hex or Block\n") && text.contains("  fee (integer, optional): In grains"), "{text}");
    assert_eq!(text.matches("\nLock:\n").count(), 1, "{text}");
    assert_eq!(fixture.call("help", json!(["nope"])), "help: unknown command: nope");
}

#[test]
fn stop_is_answered_and_reaches_the_node() {
    let fixture = Fixture::new();
    assert_eq!(fixture.call("stop", json!([])), "Cairn is stopping");
    let handle = fixture.node.as_ref().unwrap().handle().clone();
    fixture.tokio.block_on(handle.shutdown_requested());
    fixture.stop();
}

#[test]
fn errors_are_in_the_words_of_json() {
    // Methods that wait, work for long, look up names, or stop the node.
    const APART: [&str; 7] = [
        "stop",
        "waitfornewblock",
        "waitforblock",
        "waitforblockheight",
        "generatetoaddress",
        "setgenerate",
        "addnode",
    ];
    // What a library says of its own types. None of them is a word of JSON, or of bitcoin-cli's users.
    const FOREIGN: [&str; 14] = [
        "invalid type",
        "invalid value",
        "invalid length",
        "missing field",
        "unknown field",
        "expected u",
        "expected i6",
        "expected i3",
        "expected a sequence",
        "expected struct",
        "expected a map",
        "newtype",
        "Some(",
        "`",
    ];
    let fixture = Fixture::with_chaos();
    let genesis = fixture.params.genesis_hash.to_string();
    let usual = |kind: Kind| match kind {
        Kind::Integer | Kind::Verbosity => json!(1),
        Kind::Boolean => json!(true),
        Kind::Number => json!(0.5),
        Kind::Hash | Kind::HashOrHeight => json!(genesis),
        Kind::Address => json!(fixture.payee(1)),
        Kind::Array => json!([]),
        Kind::Object => json!({}),
        Kind::Text | Kind::Hex | Kind::Any | Kind::TextOrInteger => json!("00"),
    };
    let odd = [
        json!(null),
        json!(true),
        json!(-1),
        json!(256),
        json!(u64::MAX),
        json!(1.5),
        json!(""),
        json!("x"),
        json!("00"),
        json!([]),
        json!([5]),
        json!(["00", {}]),
        json!({}),
        json!({ "cut": 5, "mode": 5, "x": 1 }),
        json!({ "loss": "much" }),
        json!({ "longpollid": [] }),
    ];
    let mut errors = 0;
    for method in methods::all().filter(|method| !APART.contains(&method.name)) {
        for tried in method.params {
            for value in &odd {
                let required = method.params.iter().filter(|param| param.default.is_none());
                let mut params: serde_json::Map<String, Value> =
                    required.map(|param| (param.name.to_owned(), usual(param.kind))).collect();
                params.insert(tried.name.to_owned(), value.clone());
                let answer = fixture.try_call(method.name, json!(params));
                if let Err(ClientError::Rpc { message, .. }) = answer {
                    let foreign = FOREIGN.iter().find(|word| message.contains(**word));
                    assert_eq!(foreign, None, "{} {params:?}: {message}", method.name);
                    errors += 1;
                }
            }
        }
    }
    assert!(errors > 500, "{errors}");
    fixture.refused("getblock", json!([genesis, 256]), -8, "verbosity: 256 is out of range, expected 0 to 255");
    fixture.refused("gettxout", json!([genesis, -1]), -8, "n: -1 is out of range");
    fixture.refused("gettxoutproof", json!([[5]]), -8, "txids: item 0: expected a string, got a number");
}
