//! Any request body gets an answer that JSON-RPC allows, and does the node no harm.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use cairn::rpc::methods;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::fixture::{Answer, Fixture};

/// Methods excluded because they wait, run long, look up names, or stop the node.
const APART: [&str; 7] =
    ["stop", "waitfornewblock", "waitforblock", "waitforblockheight", "generatetoaddress", "setgenerate", "addnode"];

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-3i64..200).prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(|x| json!(x)),
        any::<String>().prop_map(Value::from),
        "[0-9a-f]{64}".prop_map(Value::from),
        "([0-9a-f]{2}){0,200}".prop_map(Value::from),
        prop::sample::select(vec!["1", "true", "[]", "null", "{", "1e400", "2.0", ""]).prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
            prop::collection::btree_map("[a-z_]{0,8}", inner, 0..6).prop_map(|members| json!(members)),
        ]
    })
}

/// Almost a request: some members are right, some wrong, some missing.
fn any_request() -> impl Strategy<Value = Value> {
    static NAMES: LazyLock<Vec<&str>> =
        LazyLock::new(|| methods::all().map(|method| method.name).filter(|name| !APART.contains(name)).collect());
    let version = prop_oneof![
        4 => prop::sample::select(vec![json!("1.0"), json!("1.1"), json!("2.0"), json!(null), json!("3.0")]).prop_map(Some),
        2 => Just(None),
        1 => any_json().prop_map(Some),
    ];
    let method = prop_oneof![
        8 => prop::sample::select(NAMES.as_slice()).prop_map(|name| Some(json!(name))),
        1 => any_json().prop_filter("is set apart", |name| !APART.iter().any(|apart| name == apart)).prop_map(Some),
        1 => Just(None),
    ];
    // Named parameters of any name, or those of some method.
    let named = prop::collection::btree_map(
        prop::sample::select(
            methods::all().flat_map(|method| method.params).map(|param| param.name).collect::<Vec<_>>(),
        ),
        any_json(),
        0..4,
    );
    let params = prop_oneof![
        4 => prop::collection::vec(any_json(), 0..4).prop_map(|params| Some(Value::Array(params))),
        2 => named.prop_map(|params| Some(json!(params))),
        1 => any_json().prop_map(Some),
        1 => Just(None),
    ];
    let id = prop_oneof![3 => any_json().prop_map(Some), 1 => Just(None)];
    (version, method, params, id).prop_map(|(version, method, params, id)| {
        let members = [("jsonrpc", version), ("method", method), ("params", params), ("id", id)];
        let present = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Value::Object(present.collect::<Map<_, _>>())
    })
}

/// Bytes that a failing test shows as text.
struct Body(Vec<u8>);

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

fn any_body() -> impl Strategy<Value = Vec<u8>> {
    let text = |value: Value| value.to_string().into_bytes();
    prop_oneof![
        6 => any_request().prop_map(text),
        2 => prop::collection::vec(prop_oneof![4 => any_request(), 1 => any_json()], 0..5).prop_map(move |batch| text(json!(batch))),
        1 => any_json().prop_filter("is a batch of anything", |value| !value.to_string().contains("method")).prop_map(text),
        // A request cut short, or with a byte changed.
        1 => (any_request(), any::<prop::sample::Index>(), any::<u8>()).prop_map(move |(request, at, byte)| {
            let mut bytes = text(request);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        }).prop_filter("says what is set apart", |bytes| {
            let text = String::from_utf8_lossy(bytes);
            !APART.iter().any(|name| text.contains(name))
        }),
        1 => (any_request(), any::<prop::sample::Index>()).prop_map(move |(request, at)| {
            let mut bytes = text(request);
            bytes.truncate(at.index(bytes.len()));
            bytes
        }),
        1 => prop::collection::vec(any::<u8>(), 0..100),
    ]
}

/// Checks an answer to `request`, one of those in a batch or one alone.
fn check_envelope(answer: &Value, request: &Value) {
    let members: Vec<&str> = answer.as_object().unwrap().keys().map(String::as_str).collect();
    let error = &answer["error"];
    assert!(error.is_null() || error["code"].is_i64() && error["message"].is_string(), "{answer}");
    assert!(error["code"] != -32603, "the node's own fault: {request} {answer}");
    match answer.get("jsonrpc") {
        Some(version) => {
            assert_eq!((version, &request["jsonrpc"]), (&json!("2.0"), &json!("2.0")));
            assert!(members == ["id", "jsonrpc", "result"] || members == ["error", "id", "jsonrpc"], "{answer}");
        }
        None => {
            assert_eq!(members, ["error", "id", "result"]);
            assert_ne!(request["jsonrpc"], json!("2.0"));
            assert!(error.is_null() || answer["result"].is_null(), "{answer}");
        }
    }
    assert_eq!(answer["id"], *request.get("id").unwrap_or(&Value::Null));
}

fn check(body: &[u8], answer: &Answer) {
    let request: Option<Value> = serde_json::from_slice(body).ok();
    if answer.status == 204 {
        assert_eq!(answer.body, "");
        let is_notification = |request: &Value| request["jsonrpc"] == "2.0" && request.get("id").is_none();
        let request = request.unwrap();
        let all = request.as_array().map_or_else(|| vec![&request], |batch| batch.iter().collect());
        assert!(!all.is_empty() && all.into_iter().all(is_notification), "{request}");
        return;
    }
    assert_eq!(answer.header("Content-Type"), Some("application/json"), "{answer:?}");
    assert!(answer.body.ends_with('\n'), "{answer:?}");
    // No JSON, or JSON that only some can read: an id of 1e400, half a character. It comes back as it was.
    let Some(request) = request else { return check_unreadable(answer) };
    let given: Value = serde_json::from_str(&answer.body).unwrap();
    match request {
        Value::Array(batch) => {
            assert_eq!(answer.status, 200);
            let asked = batch.iter().filter(|request| request["jsonrpc"] != "2.0" || request.get("id").is_some());
            let asked: Vec<&Value> = asked.collect();
            let given = given.as_array().unwrap();
            assert_eq!(given.len(), asked.len(), "{given:?}");
            given.iter().zip(asked).for_each(|(answer, request)| check_envelope(answer, request));
        }
        Value::Object(_) => {
            let status = match (given["error"]["code"].as_i64(), request["jsonrpc"] == "2.0") {
                (None, _) | (_, true) => 200,
                (Some(-32600), _) => 400,
                (Some(-32601), _) => 404,
                (Some(_), _) => 500,
            };
            assert_eq!(answer.status, status, "{request} {given}");
            check_envelope(&given, &request);
        }
        _ => {
            assert_eq!((answer.status, &given["error"]["code"]), (500, &json!(-32700)));
            check_envelope(&given, &json!({}));
        }
    }
}

/// Checks an answer to what cannot be read here, without reading the ids in it.
fn check_unreadable(answer: &Answer) {
    let (statuses, envelopes): (&[u16], Vec<BTreeMap<&str, &RawValue>>) = if answer.body.starts_with('[') {
        (&[200], serde_json::from_str(&answer.body).unwrap())
    } else {
        (&[200, 400, 404, 500], vec![serde_json::from_str(&answer.body).unwrap()])
    };
    assert!(statuses.contains(&answer.status), "{answer:?}");
    for envelope in envelopes {
        let error: Value = envelope.get("error").map_or(Value::Null, |raw| serde_json::from_str(raw.get()).unwrap());
        assert!(envelope.contains_key("id"), "{answer:?}");
        assert!(error["code"].is_i64() || envelope.contains_key("result"), "{answer:?}");
        assert!(error["code"] != -32603, "the node's own fault: {answer:?}");
    }
}

#[test]
fn any_body_is_answered() {
    let fixture = Fixture::new();
    fixture.generate(12, 1);
    let authorization = fixture.authorization();
    let config = Config { cases: 1_000, failure_persistence: None, ..Config::default() };
    let result = TestRunner::new(config).run(&any_body().prop_map(Body), |Body(body)| {
        let answer = fixture.send_bytes("POST", "/", &[("Authorization", &authorization)], &body);
        check(&body, &answer);
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    for body in [
        r#"{"id": 1e400, "method": "help"}"#,
        r#"[{"id": 1e400, "method": "help"}, {"id": [1e999], "method": 5}]"#,
        r#"{"id": "\ud800", "jsonrpc": "2.0", "method": "getblockcount"}"#,
    ] {
        check(body.as_bytes(), &fixture.send_bytes("POST", "/", &[("Authorization", &authorization)], body.as_bytes()));
    }
    // Undoes all bans, invalidations and settings; the node still works.
    fixture.call("clearbanned", json!([]));
    fixture.call("setmocktime", json!([0]));
    let height = fixture.call("getblockcount", json!([])).as_u64().unwrap();
    fixture.generate(1, 2);
    assert_eq!(fixture.call("getblockcount", json!([])), height + 1);
    assert_eq!(fixture.call("verifychain", json!([4, 0])), true);
}
