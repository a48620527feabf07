//! The exact bytes that bitcoin-cli sends, and the parts of the answer that it reads.
//!
//! It uses libevent's client, sends one request for each connection with `Connection: close`, and ends the body in a
//! newline. It sends a parameter as text unless its table of methods says otherwise; methods that it does not know are
//! not in the table. From version 28 on it speaks JSON-RPC 2.0, before that it states no version.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::fixture::{Answer, Fixture, exchange, hex_of};

/// A request as libevent writes it.
fn send(fixture: &Fixture, endpoint: &str, body: &Value) -> Answer {
    let cookie = std::fs::read_to_string(fixture.dir.path().join(".cookie")).unwrap();
    let body = format!("{body}\n");
    let text = format!(
        "POST {endpoint} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Authorization: Basic {}\r\nContent-Length: {}\r\n\r\n{body}",
        STANDARD.encode(cookie),
        body.len()
    );
    exchange(fixture.address(), text.as_bytes())
}

/// What bitcoin-cli prints: the result, or the error with its number. It accepts the four statuses below as answers and
/// reports any other as a broken server.
fn read(answer: &Answer) -> Result<Value, (i64, String)> {
    assert!([200, 400, 404, 500].contains(&answer.status), "{answer:?}");
    assert_eq!(answer.header("Content-Type"), Some("application/json"));
    assert_eq!(
        answer.header("Content-Length"),
        Some(answer.body.len().to_string().as_str()),
        "libevent reads by length"
    );
    assert!(answer.body.ends_with('\n'), "{answer:?}");
    result(&serde_json::from_str(&answer.body).unwrap())
}

fn result(reply: &Value) -> Result<Value, (i64, String)> {
    match &reply["error"] {
        Value::Null => Ok(reply["result"].clone()),
        error => Err((error["code"].as_i64().unwrap(), error["message"].as_str().unwrap().to_owned())),
    }
}

/// The two request formats of its versions.
fn requests(method: &str, params: &Value) -> [Value; 2] {
    [
        json!({ "method": method, "params": params, "id": 1 }),
        json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": 1 }),
    ]
}

#[test]
fn calls_with_every_parameter_as_text() {
    let fixture = Fixture::new();
    let hashes = fixture.generate(3, 1);
    let payee = fixture.payee(2);
    for (method, params, expected) in [
        ("getblockcount", json!([]), json!(3)),
        ("getblockhash", json!(["2"]), json!(hashes[1])),
        ("getblockhash", json!([2]), json!(hashes[1])),
        ("getblockhash", json!({ "height": "2" }), json!(hashes[1])),
        ("getblockheader", json!([hashes[0], "false"]), fixture.call("getblockheader", json!([hashes[0], false]))),
        ("getblock", json!([hashes[0], "0"]), fixture.call("getblock", json!([hashes[0], 0]))),
        ("getblockstats", json!(["1", "[\"txs\"]"]), json!({ "txs": 1 })),
        ("gettxout", json!(["00".repeat(32), "0", "true"]), Value::Null),
        ("waitforblockheight", json!(["3", "1"]), json!({ "hash": hashes[2], "height": 3 })),
        ("waitforblock", json!([hashes[2], "1"]), json!({ "hash": hashes[2], "height": 3 })),
        // -named, with both names that Bitcoin Core has for it.
        (
            "getblock",
            json!({ "blockhash": hashes[0], "verbosity": 0 }),
            fixture.call("getblock", json!([hashes[0], 0])),
        ),
        (
            "getblock",
            json!({ "blockhash": hashes[0], "verbose": "false" }),
            fixture.call("getblock", json!([hashes[0], 0])),
        ),
        ("help", json!(["getpizza"]), json!("help: unknown command: getpizza")),
        ("addnode", json!(["127.0.0.1:1", "onetry", "true"]), Value::Null),
        ("setban", json!(["10.1.0.0/255.255.0.0", "add", "60"]), Value::Null),
        ("generatetoaddress", json!(["0", payee]), json!([])),
        ("verifychain", json!(["4", "0"]), json!(true)),
    ] {
        for request in requests(method, &params) {
            for endpoint in ["/", "/wallet/x", "/wallet/"] {
                assert_eq!(read(&send(&fixture, endpoint, &request)), Ok(expected.clone()), "{endpoint} {request}");
            }
        }
    }
}

#[test]
fn errors_are_printed_with_their_numbers() {
    let fixture = Fixture::new();
    for (method, params, code, text) in [
        ("getpizza", json!([]), -32601, "Method not found"),
        ("getblockhash", json!(["9"]), -8, "Block height out of range"),
        ("getblockhash", json!([]), -1, "Usage: getblockhash height"),
        ("getblockhash", json!(["one"]), -3, "height"),
        ("getblock", json!(["00".repeat(32)]), -5, "Block not found"),
        ("sendrawtransaction", json!(["00"]), -22, "TX decode failed"),
        // A wallet is elsewhere; Bitcoin Core without one answers the same.
        ("getwalletinfo", json!([]), -32601, "Method not found"),
        ("getbalances", json!([]), -32601, "Method not found"),
        ("addnode", json!(["127.0.0.1:1", "frob"]), -1, "onetry"),
        ("setban", json!(["10.1.0.0/16", "frob"]), -1, "remove"),
        ("waitfornewblock", json!(["-1"]), -1, "Negative timeout"),
        ("gettxoutsetinfo", json!(["muhash"]), -8, "'muhash' is not a valid hash_type"),
        // As Bitcoin Core's clients send it, with a limit of what may be burnt before ours of what may be replaced.
        ("sendrawtransaction", json!(["00", "10000", "0.1"]), -22, "TX decode failed"),
    ] {
        for request in requests(method, &params) {
            let (got, message) = read(&send(&fixture, "/", &request)).unwrap_err();
            assert!(got == code && message.contains(text), "{request}: {got} {message}");
        }
    }
}

/// `bitcoin-cli -getinfo`: one batch, then each of these fields is read, by type.
#[test]
fn getinfo() {
    let fixture = Fixture::new();
    fixture.generate(2, 1);
    let names = ["getnetworkinfo", "getblockchaininfo", "getwalletinfo", "getbalances"];
    for version in 0..2 {
        let batch = names.iter().enumerate().map(|(id, name)| {
            let mut request = requests(name, &json!([]))[version].clone();
            request["id"] = json!(id);
            request
        });
        let answer = send(&fixture, "/", &Value::Array(batch.collect()));
        assert_eq!(answer.status, 200, "{answer:?}");
        let mut replies: Vec<Value> = serde_json::from_str(&answer.body).unwrap();
        replies.sort_by_key(|reply| reply["id"].as_u64());
        let replies: Vec<_> = replies.iter().map(result).collect();
        let [Ok(network), Ok(chain), Err((-32601, _)), Err((-32601, _))] = &replies[..] else { panic!("{replies:?}") };
        for field in ["version", "timeoffset", "connections", "connections_in", "connections_out", "relayfee"] {
            assert!(network[field].is_number(), "{field}: {network}");
        }
        let networks = network["networks"].as_array().unwrap();
        assert!(networks.iter().all(|network| network["proxy"].is_string() && network["name"].is_string()));
        assert!(network["warnings"].is_array(), "{network}");
        assert!(network["version"].as_u64() >= Some(209_900), "-netinfo refuses older servers: {network}");
        for field in ["blocks", "headers", "difficulty"] {
            assert!(chain[field].is_number(), "{field}: {chain}");
        }
        assert!(chain["verificationprogress"].is_f64() && chain["chain"].is_string(), "{chain}");
    }
}

/// What `bitcoin-cli -netinfo 4` and the typed clients of corepc-client and bitcoincore-rpc read, by name and type.
#[test]
fn fields_that_typed_clients_read() {
    let fixture = Fixture::new();
    let [hash, ..] = fixture.generate(13, 1)[..] else { panic!("thirteen blocks") };
    let other = Fixture::new();
    let address = fixture.node.as_ref().unwrap().p2p_address().unwrap().to_string();
    other.call("addnode", json!([address, "onetry"]));
    other.call("waitforblockheight", json!([13]));
    let peer = fixture.call("getpeerinfo", json!([]))[0].take();
    for field in
        ["last_block", "last_transaction", "timeoffset", "minfeefilter", "lastsend", "conntime", "startingheight"]
    {
        assert!(peer[field].is_i64() || peer[field].is_u64(), "{field}: {peer}");
    }
    for field in ["bip152_hb_to", "bip152_hb_from", "relaytxes", "inbound"] {
        assert!(peer[field].is_boolean(), "{field}: {peer}");
    }
    assert_eq!((&peer["transport_protocol_type"], &peer["permissions"]), (&json!("v2"), &json!([])));
    let memory = fixture.call("getmemoryinfo", json!([]));
    for (name, region) in memory.as_object().unwrap() {
        for field in ["used", "free", "total", "locked", "chunks_used", "chunks_free"] {
            assert!(region[field].is_u64(), "{name}.{field}: {memory}");
        }
    }
    let block = fixture.call("getblock", json!([hash]));
    assert_eq!(block["weight"].as_u64(), block["size"].as_u64().map(|size| 4 * size));
    let coinbase =
        json!({ "version": 1, "locktime": 1, "sequence": u32::MAX, "coinbase": block["coinbase_tx"]["coinbase"] });
    assert_eq!(block["coinbase_tx"], coinbase);
    let whole = fixture.call("getblock", json!([hash, 2]))["tx"][0].take();
    assert_eq!(whole["hash"], whole["txid"]);
    assert_eq!(whole["vsize"], whole["size"]);
    assert_eq!(whole["weight"].as_u64(), whole["size"].as_u64().map(|size| 4 * size));
    assert_eq!((&whole["vin"][0]["coinbase"], &whole["vin"][0]["sequence"]), (&coinbase["coinbase"], &json!(u32::MAX)));
    assert_eq!(whole["vout"][0]["scriptPubKey"]["asm"], "");
    assert_eq!(fixture.call("gettxoutsetinfo", json!([]))["bogosize"], 0);
    let pool = fixture.call("getmempoolinfo", json!([]));
    assert_eq!((&pool["permitbaremultisig"], &pool["maxdatacarriersize"]), (&json!(false), &json!(256)));
    assert!(pool["incrementalrelayfee"].is_u64() && pool["unbroadcastcount"] == 0 && pool["fullrbf"] == true, "{pool}");
    assert!(fixture.call("getmininginfo", json!([]))["blockmintxfee"].is_u64());
    let stats = fixture.call("getblockstats", json!([hash]));
    assert_eq!((&stats["swtxs"], &stats["swtotal_size"], &stats["total_weight"]), (&json!(0), &json!(0), &json!(0)));
    // Of the same size: a child that pays less than its parent is judged by itself, one that pays more by both.
    let coinbase = fixture.block(&hash).transactions[0].clone();
    let parent = fixture.payment(&coinbase, 1, 10_000_000, 6, 200_000);
    let poorer = fixture.payment(&parent, 6, 1_000_000, 7, 50_000);
    let richer = fixture.payment(&poorer, 7, 10_000, 8, 300_000);
    for (tx, count, fees) in [(&parent, 1, 200_000), (&poorer, 1, 50_000), (&richer, 3, 550_000)] {
        fixture.call("sendrawtransaction", json!([hex_of(tx)]));
        let entry = fixture.call("getmempoolentry", json!([tx.txid()]));
        let chunk = (&json!(count * 4 * parent.size()), &json!(fees));
        assert_eq!((&entry["chunkweight"], &entry["fees"]["chunk"]), chunk, "{entry}");
    }
    // -addrinfo
    assert!(fixture.call("getaddrmaninfo", json!([]))["all_networks"]["total"].is_u64());
}

#[test]
fn wrong_credentials_end_in_401() {
    let fixture = Fixture::new();
    let request = json!({ "method": "uptime", "params": [], "id": 1 });
    let answer = fixture.send("POST", "/", &[("Authorization", "Basic X19jb29raWVfXzo=")], &format!("{request}\n"));
    assert_eq!((answer.status, answer.header("WWW-Authenticate")), (401, Some("Basic realm=\"jsonrpc\"")));
}
