//! The cost that callers without credentials can cause, counted in bytes, connections and calls to the node's thread.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use cairn::consensus::params::GenesisSpec;
use cairn::p2p::Command;
use cairn::primitives::amount::Amount;
use cairn::primitives::hash::BlockHash;
use cairn::primitives::height::Height;
use cairn::primitives::keys::Signature;
use cairn::primitives::tx::{Input, OutPoint, Output, Transaction};
use cairn::rpc::Usage;
use serde_json::{Value, json};
use tokio::net::TcpSocket;

use crate::fixture::{Fixture, exchange, hex_of, key};

const DEADLINE: Duration = Duration::from_secs(120);

impl Fixture {
    fn usage(&self) -> Usage {
        self.server.as_ref().unwrap().public_usage()
    }

    /// A connection with a tiny receive buffer, as of a client that does not read.
    pub fn deaf(&self) -> TcpStream {
        let connecting = async {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4_096).unwrap();
            socket.connect(self.address()).await.unwrap().into_std().unwrap()
        };
        let stream = self.tokio.block_on(connecting);
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// Spends output `index` of `from`, which is `key(owner)`'s, on `outputs`.
    fn spend(&self, from: &Transaction, index: u32, owner: u8, outputs: Vec<Output>) -> Transaction {
        let input = Input { outpoint: OutPoint { txid: from.txid(), index }, signature: Signature::EMPTY };
        let mut tx = Transaction { version: 1, inputs: vec![input], outputs, lock_height: Height::GENESIS };
        let spent = &from.outputs[index as usize];
        tx.inputs[0].signature = key(owner).sign(&tx.signature_digest(&self.params.genesis_hash, [spent]));
        tx
    }

    /// A transaction that pays `count` outputs to `key(owner)`, in a block. `from` is `key(1)`'s.
    fn split(&self, from: &Transaction, owner: u8, count: u64) -> (Transaction, BlockHash) {
        let each = (from.outputs[0].value.as_grains() - 10_000_000) / count;
        let outputs = (0..count).map(|_| Output::pay(key(owner).public_key(), Amount::from_grains(each))).collect();
        let tx = self.spend(from, 0, 1, outputs);
        self.call("sendrawtransaction", json!([hex_of(&tx)]));
        (tx, self.generate(1, 3)[0])
    }

    fn public(&self, method: &str, params: &Value) -> Value {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        serde_json::from_str(&self.send("POST", "/public", &[], &body).body).unwrap()
    }
}

fn post_public(fixture: &Fixture, body: &str) -> String {
    let (address, length) = (fixture.address(), body.len());
    format!("POST /public HTTP/1.1\r\nHost: {address}\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[test]
fn stuck_callers_hold_bounded_memory_and_block_no_other() {
    const CONNECTIONS: usize = 256;
    let fixture = Fixture::new();
    let hashes = fixture.generate(fixture.params.coinbase_maturity + 2, 1);
    let (_, block) = fixture.split(&fixture.block(&hashes[0]).transactions[0], 2, 2_000);
    // As many blocks as have room in one answer: all together would be some 450 MB.
    let get = json!({ "jsonrpc": "2.0", "id": 1, "method": "getblock", "params": [block, 1] });
    let raw = json!({ "jsonrpc": "2.0", "id": 1, "method": "getblock", "params": [block, 0] });
    let batch = json!((0..11).map(|n| if n == 0 { &get } else { &raw }).collect::<Vec<_>>()).to_string();
    let whole = fixture.send("POST", "/public", &[], &batch);
    assert!(whole.status == 200 && whole.body.len() > 1_700_000, "{} bytes", whole.body.len());

    let bound = cairn::rpc::Limits::default().public.memory;
    let mut most = 0;
    let mut deaf = Vec::new();
    let mut probe = |fixture: &Fixture| {
        most = most.max(fixture.usage().memory);
        assert!(most <= bound, "{most} bytes are held");
        let health = fixture.send("GET", "/health", &[], "");
        assert_eq!(health.status, 200, "{health:?}");
        assert_eq!(fixture.post(r#"{"method":"getblockcount","id":1}"#).status, 200);
        most
    };
    for _ in 0..CONNECTIONS {
        let mut stream = fixture.deaf();
        stream.write_all(post_public(&fixture, &batch).as_bytes()).unwrap();
        deaf.push(stream);
        if deaf.len() % 16 == 0 {
            probe(&fixture);
        }
    }
    // Until strangers hold about all that they may: four fifths, since the last answer need not fit.
    let end = Instant::now() + DEADLINE;
    while probe(&fixture) < bound / 5 * 4 {
        assert!(Instant::now() < end, "strangers hold {most} bytes only");
    }
    // Another caller is answered, too: the server drops the answer that has waited longest.
    let brief = r#"{"method":"getblockcount","id":1}"#;
    while fixture.send("POST", "/public", &[], brief).status != 200 {
        assert!(Instant::now() < end, "strangers keep each other out");
    }
    drop(deaf);
    while fixture.usage().memory > 0 {
        assert!(Instant::now() < end, "{:?}", fixture.usage());
    }
}

#[test]
fn metrics_are_told_while_others_have_all_the_memory() {
    // Room for one request.
    let fixture = Fixture::with(|config| config.limits.public.memory = 0);
    let (release, released) = std::sync::mpsc::channel::<()>();
    let handle = fixture.node.as_ref().unwrap().handle().clone();
    // The test blocks the node's thread, so that the request stays in progress for as long as the test wants.
    let held = fixture.tokio.spawn(async move { handle.read(move |_, _| released.recv()).await });
    let metrics = thread::scope(|scope| {
        let call = r#"{"method":"getmempoolinfo","id":1}"#;
        let stranger = scope.spawn(|| fixture.send("POST", "/public", &[], call).status);
        let end = Instant::now() + DEADLINE;
        while fixture.usage().memory == 0 {
            assert!(Instant::now() < end, "the request was not begun");
            thread::yield_now();
        }
        let metrics = fixture.send("GET", "/metrics", &[], "");
        assert!(fixture.usage().memory > 0, "the request is over");
        drop(release);
        assert_eq!(stranger.join().unwrap(), 200);
        metrics
    });
    assert_eq!(metrics.status, 200, "{metrics:?}");
    assert!(metrics.body.contains("\ncairn_ready 0\n") && !metrics.body.contains("\ncairn_rpc_public_bytes 0\n"));
    assert!(fixture.tokio.block_on(held).unwrap().is_ok());
}

#[test]
fn a_write_that_is_not_taken_ends_the_connection() {
    let fixture = Fixture::with(|config| config.limits.write_timeout = Duration::from_millis(200));
    let hashes = fixture.generate(fixture.params.coinbase_maturity + 2, 1);
    let (_, block) = fixture.split(&fixture.block(&hashes[0]).transactions[0], 2, 2_000);
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "getblock", "params": [block, 0] });
    let mut deaf = fixture.deaf();
    deaf.write_all(post_public(&fixture, &json!(vec![&call; 10]).to_string()).as_bytes()).unwrap();
    let end = Instant::now() + DEADLINE;
    for what in ["held", "given back"] {
        while (fixture.usage().memory > 0) != (what == "held") {
            assert!(Instant::now() < end, "the answer was never {what}");
        }
    }
    // What was written before comes, and then the end.
    let mut rest = Vec::new();
    let _ = deaf.read_to_end(&mut rest);
    assert!(rest.len() < 1_000_000, "{} bytes came", rest.len());
}

#[test]
fn connections_without_a_request_keep_neither_probes_nor_the_owner_out() {
    let fixture = Fixture::with(|config| config.limits.connections = 8);
    let mut slow: Vec<TcpStream> = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(fixture.address()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: ").unwrap();
        slow.push(stream);
        let health = fixture.send("GET", "/health", &[], "");
        assert_eq!(health.status, 200);
        assert_eq!(fixture.post(r#"{"method":"getblockcount","id":1}"#).status, 200);
    }
    // The first ones have given way: all but the 8 that there may be are closed.
    for stream in slow.iter_mut().take(32) {
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{rest:?}");
    }
}

#[test]
fn an_answer_that_is_too_long_is_refused_and_a_list_is_paged() {
    let fixture = Fixture::with(|config| config.limits.public.answer_bytes = 50_000);
    let hashes = fixture.generate(fixture.params.coinbase_maturity + 2, 1);
    let (split, block) = fixture.split(&fixture.block(&hashes[0]).transactions[0], 2, 1_500);
    for (method, params) in [
        ("getblock", json!([block, 0])),
        ("getblock", json!([block, 2])),
        ("getblock", json!([block, 3])),
        ("getrawtransaction", json!([split.txid()])),
        ("getrawtransaction", json!([split.txid(), 1])),
        ("getreceipt", json!([split.txid()])),
        ("getaddressutxos", json!([fixture.payee(2)])),
    ] {
        let error = &fixture.public(method, &params)["error"];
        assert_eq!(error["code"], -1, "{method} {params}: {error}");
        assert!(error["message"].as_str().unwrap().contains("too long for a caller without credentials"), "{error}");
        assert!(fixture.try_call(method, params).is_ok(), "the owner may");
    }
    for (method, params) in [
        ("getaddressutxos", json!([fixture.payee(2), 1_001])),
        ("getaddresshistory", json!([fixture.payee(2), 0, 1_001])),
        ("getrawmempool", json!([false, 1_001])),
    ] {
        let error = &fixture.public(method, &params)["error"];
        assert_eq!((&error["code"], error["message"].as_str().unwrap().contains("at most 1000")), (&json!(-8), true));
        assert!(fixture.try_call(method, params).is_ok(), "the owner may");
    }
    // Page by page, the mempool is all there.
    for n in 0..25 {
        let outputs =
            vec![Output::pay(key(4).public_key(), Amount::from_grains(split.outputs[n].value.as_grains() - 10_000))];
        fixture.call("sendrawtransaction", json!([hex_of(&fixture.spend(&split, n as u32, 2, outputs))]));
    }
    let all = fixture.call("getrawmempool", json!([]));
    let mut paged: Vec<Value> = Vec::new();
    while paged.len() < 25 {
        let after = paged.last().cloned().unwrap_or(Value::Null);
        let page = fixture.public("getrawmempool", &json!([false, 10, after]));
        paged.extend(page["result"].as_array().unwrap().iter().cloned());
    }
    assert_eq!(json!(paged), all);
}

/// For each public method, in order of names, one of its most expensive calls.
fn worst_cases(
    split: &Transaction,
    block: BlockHash,
    payee: &str,
    chained: &Transaction,
) -> Vec<(&'static str, Value)> {
    let (txid, waiting) = (split.txid(), chained.txid());
    // As much as fits into a request.
    let fitting = Transaction { outputs: split.outputs[..700].to_vec(), ..split.clone() };
    vec![
        ("decoderawtransaction", json!([hex_of(&fitting)])),
        ("getaddressbalance", json!([payee])),
        ("getaddresshistory", json!([payee, 0, 1_000])),
        ("getaddressproof", json!([payee, true])),
        ("getaddressutxos", json!([payee, 1_000])),
        ("getbestblockhash", json!([])),
        ("getblock", json!([block, 3])),
        ("getblockchaininfo", json!([])),
        ("getblockcount", json!([])),
        ("getblockhash", json!([5])),
        ("getblockheader", json!([block])),
        ("getblockstats", json!([block])),
        ("getchaintips", json!([])),
        ("getcoinproof", json!([txid, 1_999])),
        ("getconnectioncount", json!([])),
        ("getdifficulty", json!([])),
        ("getheaders", json!([0, 2_000])),
        ("getlinks", json!([])),
        ("getmempoolancestors", json!([waiting, true])),
        ("getmempooldescendants", json!([waiting, true])),
        ("getmempoolentry", json!([waiting])),
        ("getmempoolinfo", json!([])),
        ("getmininginfo", json!([])),
        ("getnettotals", json!([])),
        ("getnetworkhashps", json!([100_000])),
        ("getnetworkinfo", json!([])),
        ("getpeerinfo", json!([])),
        ("getrawmempool", json!([true, 1_000])),
        ("getrawtransaction", json!([txid, 1])),
        ("getrawtransaction", json!([txid, 2])),
        ("getrawtransaction", json!([waiting, 2])),
        ("getreceipt", json!([txid])),
        ("gettxout", json!([txid, 1_999])),
        ("gettxoutproof", json!([[txid]])),
        ("validateaddress", json!([payee])),
        ("verifycoinproof", json!([{ "format": "cairn-holding" }])),
        ("verifymessage", json!([payee, "A".repeat(86) + "==", "x".repeat(10_000)])),
        ("verifytxoutproof", json!(["00"])),
    ]
}

/// The table in docs/threat-model.md: bytes and calls to the node's thread by method.
fn documented() -> BTreeMap<String, (usize, u64)> {
    let text = include_str!("../../docs/threat-model.md");
    let section = text.split("## What a stranger can ask over HTTP").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let number = |cell: &str| cell.trim().replace(',', "").parse::<u64>().unwrap_or_else(|_| panic!("{cell:?}"));
    rows.map(|(name, rest)| {
        let cells: Vec<&str> = rest.split('|').collect();
        (name.to_owned(), (number(cells[1]) as usize, number(cells[2])))
    })
    .collect()
}

#[test]
fn every_public_method_keeps_to_its_budget() {
    let mut spec = GenesisSpec::regtest();
    (spec.coinbase_maturity, spec.epoch_blocks) = (2, 2);
    assert!(spec.mine_nonce());
    let fixture = Fixture::on(spec, |_| ());
    let hashes = fixture.generate(10, 1);
    let coinbase = |n: usize| fixture.block(&hashes[n]).transactions[0].clone();
    let (split, block) = fixture.split(&coinbase(0), 2, 2_000);
    // Until a state that has these coins is committed to, and kept.
    fixture.generate(10, 4);
    // More waits, for one key, than one answer lists.
    for n in 0..1_100u32 {
        let outputs = vec![Output::pay(
            key(2).public_key(),
            Amount::from_grains(split.outputs[n as usize].value.as_grains() - 10_000),
        )];
        let tx = fixture.spend(&split, n, 2, outputs);
        let taken = fixture.node.as_ref().unwrap().handle().command(move |reply| Command::SubmitTransaction(tx, reply));
        fixture.tokio.block_on(taken).unwrap().unwrap();
    }
    // A chain as long as may be; the one in the middle has most relatives.
    let mut chain = vec![fixture.payment(&coinbase(1), 1, 1_000, 2, 10_000)];
    for place in 1..25 {
        let (last, index) = (&chain[place - 1], usize::from(place == 1));
        let outputs =
            vec![Output::pay(key(1).public_key(), Amount::from_grains(last.outputs[index].value.as_grains() - 10_000))];
        chain.push(fixture.spend(last, index as u32, 1, outputs));
    }
    for tx in &chain {
        fixture.call("sendrawtransaction", json!([hex_of(tx)]));
    }
    let cases = worst_cases(&split, block, &fixture.payee(2), &chain[12]);
    let mut costs = BTreeMap::new();
    for (method, params) in &cases {
        let before = fixture.usage();
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let answer = fixture.send("POST", "/public", &[], &body);
        let after = fixture.usage();
        let (calls, time) = (after.node_calls - before.node_calls, after.node_time - before.node_time);
        let cost: &mut (usize, u64, Duration) = costs.entry(*method).or_default();
        *cost = (cost.0.max(answer.body.len()), cost.1.max(calls), cost.2.max(time));
    }
    let before = fixture.usage();
    let metrics = fixture.send("GET", "/metrics", &[], "").body.len();
    let after = fixture.usage();
    costs.insert("/metrics", (metrics, after.node_calls - before.node_calls, after.node_time - before.node_time));
    costs.insert("/health", (fixture.send("GET", "/health", &[], "").body.len(), 1, Duration::ZERO));
    println!("{costs:#?}");
    let budgets = documented();
    for (name, (bytes, calls, _)) in &costs {
        let (most_bytes, most_calls) = budgets.get(*name).unwrap_or_else(|| panic!("{name} is not in the table"));
        assert!(bytes <= most_bytes, "{name}: {bytes} bytes, at most {most_bytes} are allowed");
        assert!(calls <= most_calls, "{name}: {calls} calls to the node's thread, at most {most_calls} are allowed");
    }
    let listed: Vec<&str> = budgets.keys().map(String::as_str).collect();
    assert_eq!(costs.into_keys().collect::<Vec<_>>(), listed, "the table and this test name the same");
    // One of the many at the address was listed as far as one may list, and the sums are those of all.
    let balance = fixture.public("getaddressbalance", &json!([fixture.payee(2)]))["result"].clone();
    let total: u64 = split.outputs.iter().map(|output| output.value.as_grains()).sum();
    let moved: u64 = split.outputs[..1_100].iter().map(|output| output.value.as_grains()).sum();
    assert_eq!((&balance["balance"], &balance["coins"]), (&json!(total), &json!(2_000)));
    assert_eq!(balance["spendable"], total - moved);
    assert_eq!(balance["pending"], 1_000 - 1_100 * 10_000);
    let history = fixture.public("getaddresshistory", &json!([fixture.payee(2), 0, 1_000]));
    assert_eq!(history["result"].as_array().unwrap().len(), 1_000);
}

#[test]
fn only_under_its_own_names() {
    let fixture = Fixture::with(|config| config.allow_hosts = vec!["node-2".to_owned()]);
    let get = |path: &str, host: &str| {
        let text = format!("GET {path} HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        exchange(fixture.address(), text.as_bytes()).status
    };
    for path in ["/health", "/health/live", "/metrics", "/", "/assets/main.js"] {
        for host in ["127.0.0.1", "localhost:80", "10.1.2.3:7332", "[::1]", "node-2:7332"] {
            assert_eq!(get(path, &format!("Host: {host}\r\n")), 200, "{path} at {host}");
        }
        for host in ["evil.example", "evil.example:7332", "node-1", "bootstrap:7332"] {
            assert_eq!(get(path, &format!("Host: {host}\r\n")), 403, "{path} at {host}");
        }
        // A probe without a Host header, as HTTP/1.0 allows.
        let probe = format!("GET {path} HTTP/1.0\r\n\r\n");
        assert_eq!(exchange(fixture.address(), probe.as_bytes()).status, 200, "{path}");
    }
    let call = r#"{"method":"getblockcount","id":1}"#;
    let post = |path: &str, headers: String| {
        let text = format!(
            "POST {path} HTTP/1.1\r\n{headers}Connection: close\r\nContent-Length: {}\r\n\r\n{call}",
            call.len()
        );
        exchange(fixture.address(), text.as_bytes()).status
    };
    assert_eq!(post("/public", "Host: node-1:7332\r\n".to_owned()), 403);
    assert_eq!(post("/public", "Host: node-2:7332\r\n".to_owned()), 200);
    // A browser names the origin of a POST, so a program with credentials may use any name for the node.
    let authorization = fixture.authorization();
    assert_eq!(post("/", format!("Host: node-1:7332\r\nAuthorization: {authorization}\r\n")), 200);
    // A page can put that header into a GET, for which browsers name no origin.
    for authorization in [authorization.as_str(), "x"] {
        for path in ["/metrics", "/health"] {
            let status = get(path, &format!("Host: node-1:7332\r\nAuthorization: {authorization}\r\n"));
            assert_eq!(status, 403, "{path} with {authorization:?}");
        }
    }
    let origin = "Origin: http://node-1:7332\r\n";
    assert_eq!(post("/", format!("Host: node-1:7332\r\n{origin}Authorization: {authorization}\r\n")), 403);
}
