//! The explorer over plain HTTP: its files and their headers, what may be called without credentials, events, limits.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use cairn::rpc;
use serde_json::{Value, json};

use crate::fixture::{Fixture, hex_of};

/// A client of `/events`.
struct Listener {
    lines: std::io::Lines<BufReader<TcpStream>>,
}

impl Listener {
    fn new(fixture: &Fixture) -> Self {
        let mut stream = TcpStream::connect(fixture.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        write!(stream, "GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", fixture.address()).unwrap();
        let mut lines = BufReader::new(stream).lines();
        let head: Vec<String> = lines.by_ref().map(Result::unwrap).take_while(|line| !line.is_empty()).collect();
        assert!(head[0].contains("200"), "{head:?}");
        assert!(head.iter().any(|line| line == "content-type: text/event-stream"), "{head:?}");
        assert!(head.iter().any(|line| line == "cache-control: no-store"), "{head:?}");
        Self { lines }
    }

    /// The next event and its data; lengths of chunks and comments in between are passed over.
    fn next(&mut self) -> Option<(String, Value)> {
        let name = self
            .lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| Some(line.strip_prefix("event: ")?.to_owned()))?;
        let data = self.lines.next()?.ok()?;
        Some((name, serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap()))
    }

    /// The next event of that name.
    fn wait_for(&mut self, name: &str) -> Value {
        loop {
            let (got, data) = self.next().expect("the stream goes on");
            if got == name {
                return data;
            }
        }
    }
}

#[test]
fn the_page_and_its_files() {
    let fixture = Fixture::new();
    let page = fixture.send("GET", "/", &[], "");
    assert_eq!(page.status, 200);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    let policy = page.header("content-security-policy").unwrap();
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.split("; ").any(|given| given == part), "{part} is not in {policy}");
    }
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(page.header("referrer-policy"), Some("no-referrer"));
    assert!(!page.body.contains("style=") && !page.body.contains("<script>"), "inline text is against the policy");

    // All resources that the page names exist, have the right type, and name nothing on other hosts.
    let named: Vec<&str> = page.body.split('"').filter(|text| text.starts_with("/assets/")).collect();
    assert!(named.len() >= 3, "{named:?}");
    for path in named.into_iter().chain(["/assets/proof.js"]) {
        let file = fixture.send("GET", path, &[], "");
        let kind = match path.rsplit_once('.').unwrap().1 {
            "js" => "text/javascript; charset=utf-8",
            "css" => "text/css; charset=utf-8",
            _ => "image/svg+xml",
        };
        assert_eq!((file.status, file.header("content-type")), (200, Some(kind)), "{path}");
        let tag = file.header("etag").unwrap().to_owned();
        let known = fixture.send("GET", path, &[("If-None-Match", &tag)], "");
        assert_eq!((known.status, known.body.as_str()), (304, ""), "{path}");
    }
    for path in ["/assets/nothing.js", "/assets/..%2Fmod.rs", "/assets/"] {
        assert_eq!(fixture.send("GET", path, &[], "").status, 404, "{path}");
    }
    let other = fixture.send("POST", "/assets/main.js", &[], "");
    assert_eq!(other.status, 405);
    // JSON-RPC is where it was.
    assert_eq!(fixture.send("POST", "/", &[], "{}").status, 401);
    assert_eq!(fixture.send("PUT", "/", &[], "").status, 405);
}

#[test]
fn the_verifier_is_a_file_of_its_own() {
    let fixture = Fixture::new();
    let page = fixture.send("GET", "/verify.html", &[], "");
    assert!(page.status == 200 && page.body == include_str!("../../verify.html"));
    assert_eq!(page.header("content-security-policy"), Some("frame-ancestors 'none'"));
    let tag = page.header("etag").unwrap();
    assert_eq!(fixture.send("GET", "/verify.html", &[("If-None-Match", tag)], "").status, 304);
}

#[test]
fn without_credentials_one_may_read_and_no_more() {
    let fixture = Fixture::new();
    let call = |method: &str, params: Value| {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let answer = fixture.send("POST", "/public", &[], &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        serde_json::from_str::<Value>(&answer.body).unwrap()
    };
    assert_eq!(call("getblockcount", json!([]))["result"], 0);
    assert_eq!(call("getblockchaininfo", json!([]))["result"]["blocks"], 0);
    for (method, params) in [
        ("stop", json!([])),
        ("setgenerate", json!([true])),
        ("generatetoaddress", json!([1, fixture.payee(1)])),
        ("sendrawtransaction", json!(["00"])),
        ("addnode", json!(["127.0.0.1:1", "add"])),
        ("setlink", json!(["x", { "cut": true }])),
        ("invalidateblock", json!([fixture.params.genesis_hash])),
        ("gettxoutsetinfo", json!([])),
        ("waitfornewblock", json!([])),
        ("help", json!([])),
    ] {
        let error = &call(method, params)["error"];
        assert_eq!(error["code"], -32601, "{method}: {error}");
        assert!(error["message"].as_str().unwrap().contains("credentials"), "{error}");
    }
    // In a batch, too, and with credentials that are right but asked for nowhere here.
    let batch = r#"[{"id":1,"method":"getblockcount"},{"id":2,"method":"stop"}]"#;
    let answer = fixture.send("POST", "/public", &[("Authorization", &fixture.authorization())], batch);
    let answers: Vec<Value> = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((&answers[0]["result"], &answers[1]["error"]["code"]), (&json!(0), &json!(-32601)));
    assert_eq!(fixture.send("GET", "/public", &[], "").status, 405);
    let foreign = fixture.send("POST", "/public", &[("Origin", "http://evil.example")], "{}");
    assert_eq!(foreign.status, 403);
    assert_eq!(fixture.call("getblockcount", json!([])), 0);
}

#[test]
fn strangers_are_bounded_more_narrowly() {
    let fixture = Fixture::with(|config| {
        config.limits.public = rpc::PublicLimits { batch: 2, body_bytes: 200, answer_bytes: 500, memory: 1 << 20 };
    });
    let call = r#"{"id":1,"method":"getblockcount"}"#;
    let post = |body: &str| fixture.send("POST", "/public", &[], body);
    assert_eq!(post(&format!("[{call},{call}]")).status, 200);
    let many = post(&format!("[{call},{call},{call}]"));
    assert!(many.status == 400 && many.body.contains("at most 2"), "{many:?}");
    assert_eq!(post(&format!("{call}{}", " ".repeat(201 - call.len()))).status, 413);
    let raw = r#"{"id":1,"method":"getheaders","params":[0,1]}"#;
    let info = r#"{"id":1,"method":"getblockchaininfo"}"#;
    let long = post(&format!("[{raw},{info}]"));
    let answers: Vec<Value> = serde_json::from_str(&long.body).unwrap();
    assert!(answers[0]["result"].is_string() && answers[1]["error"]["code"] == -1, "{long:?}");

    // A caller without credentials that never finishes a request takes neither the owner's slot nor another caller's.
    let head = "POST /public HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n";
    let mut slow = TcpStream::connect(fixture.address()).unwrap();
    slow.write_all(head.as_bytes()).unwrap();
    let mut line = String::new();
    BufReader::new(&slow).read_line(&mut line).unwrap();
    assert!(line.starts_with("HTTP/1.1 100"), "the server waits for the body: {line}");
    assert_eq!((post(call).status, fixture.post(call).status), (200, 200));
}

#[test]
fn events_are_told_as_they_happen() {
    let fixture = Fixture::new();
    let mut listener = Listener::new(&fixture);
    let genesis = json!({ "hash": fixture.params.genesis_hash, "height": 0 });
    assert_eq!(listener.next(), Some(("tip".to_owned(), genesis)));

    let blocks = fixture.generate(1 + fixture.params.coinbase_maturity, 1);
    let block = listener.wait_for("block");
    assert_eq!(block, json!({ "hash": blocks[0], "height": 1, "connected": true }));
    assert_eq!(listener.wait_for("tip"), json!({ "hash": blocks[0], "height": 1 }));

    let coinbase = &fixture.block(&blocks[0]).transactions[0];
    let payment = fixture.payment(coinbase, 1, 1_000, 2, 5_000);
    let txid = fixture.call("sendrawtransaction", json!([hex_of(&payment)]));
    assert_eq!(listener.wait_for("transaction"), json!({ "txid": txid }));

    let last = blocks.last().unwrap();
    fixture.call("invalidateblock", json!([last]));
    let mut gone = listener.wait_for("block");
    while gone["connected"] == true {
        gone = listener.wait_for("block");
    }
    assert_eq!(gone, json!({ "hash": last, "height": blocks.len(), "connected": false }));

    // The stream ends with the server, which does not wait for its listeners.
    let dir = fixture.stop();
    while listener.next().is_some() {}
    drop(dir);
}

#[test]
fn listeners_are_counted_and_leave_their_places() {
    let fixture = Fixture::with(|config| {
        config.limits.listeners = 2;
        config.limits.header_timeout = Duration::from_millis(300);
    });
    let mut first = Listener::new(&fixture);
    first.wait_for("tip");
    let second = Listener::new(&fixture);
    let third = fixture.send("GET", "/events", &[], "");
    assert_eq!((third.status, third.body.as_str()), (503, "there are 2 listeners already\n"));
    // A connection without a request is closed after a while, a stream without events is not.
    let mut idle = TcpStream::connect(fixture.address()).unwrap();
    assert_eq!(idle.read(&mut [0]).unwrap(), 0);
    fixture.generate(1, 1);
    assert_eq!(first.wait_for("tip")["height"], 1);
    drop(second);
    // The server notices that a listener is gone when it sends the next event.
    loop {
        fixture.generate(1, 1);
        let mut stream = TcpStream::connect(fixture.address()).unwrap();
        write!(stream, "GET /events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        if line.contains("200") {
            break;
        }
    }
}

#[test]
fn it_can_be_turned_off() {
    let fixture = Fixture::with(|config| config.explorer = false);
    for path in ["/assets/main.js", "/verify.html", "/events", "/public"] {
        assert_eq!(fixture.send("GET", path, &[], "").status, 404, "{path}");
    }
    assert_eq!(fixture.send("POST", "/public", &[], "{}").status, 404);
    let root = fixture.send("GET", "/", &[], "");
    assert_eq!((root.status, root.body.as_str()), (405, "JSONRPC server handles only POST requests\n"));
}
