//! The pinning service API at `/pins`: cases after its description, with content fetched from another node.

use std::time::{Duration, Instant};

use cairn::content::{CONTENT_DIR, ContentReader, ContentStore, PinKind, PinName};
use cairn::ipld::{Block, Cid, Codec, HashFunction};
use cairn::p2p::Event;
use serde_json::{Value, json};

use crate::fixture::{Answer, Fixture};

const PATIENCE: Duration = Duration::from_secs(60);

/// The token of the fixture's node: what its cookie file holds.
fn token(fixture: &Fixture) -> String {
    std::fs::read_to_string(fixture.dir.path().join(".cookie")).unwrap()
}

fn send(fixture: &Fixture, method: &str, path: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {}", token(fixture));
    fixture.send(method, path, &[("Authorization", &bearer)], body)
}

fn call(fixture: &Fixture, method: &str, path: &str, body: &str, status: u16) -> Value {
    let answer = send(fixture, method, path, body);
    assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
    serde_json::from_str(&answer.body).unwrap_or_default()
}

/// A request once it has one of these statuses.
fn settled(fixture: &Fixture, id: &str, wanted: &[&str]) -> Value {
    let start = Instant::now();
    loop {
        let request = call(fixture, "GET", &format!("/pins/{id}"), "", 200);
        if wanted.contains(&request["status"].as_str().unwrap()) {
            return request;
        }
        assert!(start.elapsed() < PATIENCE, "{request}");
    }
}

fn put(fixture: &Fixture, bytes: &[u8]) -> Cid {
    let cid = Cid::v1(Codec::RAW, HashFunction::Sha2_256, bytes).unwrap();
    let dir = fixture.dir.path().join(CONTENT_DIR);
    let mut store = ContentStore::open_within(&dir, 1 << 20, PATIENCE).unwrap();
    store.put(&Block::check(cid, bytes.to_vec()).unwrap()).and_then(|()| store.flush()).unwrap();
    cid
}

fn is_pinned(fixture: &Fixture, cid: &Cid) -> bool {
    let dir = fixture.dir.path().join(CONTENT_DIR);
    let store = ContentStore::open_within(&dir, 1 << 20, PATIENCE).unwrap();
    store.reader().pins().unwrap().iter().any(|pin| pin.cid == *cid && pin.kind == PinKind::Recursive)
}

#[test]
fn content_of_another_node_is_fetched_and_kept() {
    let (has, pins) = (Fixture::new(), Fixture::new());
    let cid = put(&has, b"kept");
    let address = has.node.as_ref().unwrap().p2p_address().unwrap();
    let origin = format!("/ip4/{}/tcp/{}", address.ip(), address.port());
    let mut events = pins.node.as_ref().unwrap().handle().subscribe();
    let pin = json!({ "cid": cid, "name": "a name", "origins": [origin], "meta": { "app": "test" } });
    let made = call(&pins, "POST", "/pins", &pin.to_string(), 202);
    let id = made["requestid"].as_str().unwrap();
    assert_eq!((&made["pin"], made["delegates"].as_array().map(Vec::len)), (&pin, Some(1)), "{made}");
    assert!(["queued", "pinning"].contains(&made["status"].as_str().unwrap()), "{made}");
    let connected = async { while !matches!(events.recv().await.unwrap(), Event::PeerConnected { .. }) {} };
    pins.tokio.block_on(async { tokio::time::timeout(PATIENCE, connected).await.unwrap() });
    let pinned = settled(&pins, id, &["pinned", "failed"]);
    assert_eq!((&pinned["status"], &pinned["created"]), (&json!("pinned"), &made["created"]), "{pinned}");
    let reader = ContentReader::open(&pins.dir.path().join(CONTENT_DIR)).unwrap();
    assert_eq!(reader.get(&cid).unwrap().bytes(), b"kept");
    assert!(is_pinned(&pins, &cid));

    // Each filter takes it or not.
    let created = made["created"].as_str().unwrap();
    for (query, count) in [
        (String::new(), 1),
        (format!("cid={cid}"), 1),
        ("cid=bafkqaaa".to_owned(), 0),
        ("name=a+name".to_owned(), 1),
        ("name=A+name".to_owned(), 0),
        ("name=A+name&match=iexact".to_owned(), 1),
        ("name=nam&match=partial".to_owned(), 1),
        ("name=NAM&match=ipartial".to_owned(), 1),
        ("name=NAM&match=partial".to_owned(), 0),
        ("status=queued,pinning,failed".to_owned(), 0),
        ("status=failed,pinned&limit=1".to_owned(), 1),
        (format!("before={created}"), 0),
        (format!("after={created}"), 0),
        ("after=1970-01-01T00:00:00Z".to_owned(), 1),
        ("meta=%7B%22app%22%3A%22test%22%7D".to_owned(), 1),
        ("meta=%7B%22app%22%3A%22other%22%7D".to_owned(), 0),
    ] {
        let list = call(&pins, "GET", &format!("/pins?{query}"), "", 200);
        assert_eq!((&list["count"], list["results"].as_array().map(Vec::len)), (&json!(count), Some(count)), "{query}");
    }

    // Replaced by one with the same content, which stays pinned until that is gone, too.
    let other = call(&pins, "POST", &format!("/pins/{id}"), &json!({ "cid": cid }).to_string(), 202);
    assert_eq!(send(&pins, "GET", &format!("/pins/{id}"), "").status, 404);
    let id = other["requestid"].as_str().unwrap();
    settled(&pins, id, &["pinned"]);
    assert!(is_pinned(&pins, &cid));
    assert_eq!(send(&pins, "DELETE", &format!("/pins/{id}"), "").status, 202);
    assert!(!is_pinned(&pins, &cid));
    assert_eq!(call(&pins, "GET", "/pins?status=queued,pinning,pinned,failed", "", 200)["count"], 0);
}

#[test]
fn requests_survive_a_restart_and_pins_of_others_survive_requests() {
    let fixture = Fixture::new();
    let cid = put(&fixture, b"here");
    let dir = fixture.dir.path().join(CONTENT_DIR);
    let mut store = ContentStore::open_within(&dir, 1 << 20, PATIENCE).unwrap();
    store.pin(&cairn::content::Pin { cid, kind: PinKind::Recursive, name: PinName::default() }).unwrap();
    drop(store);
    let made = call(&fixture, "POST", "/pins", &json!({ "cid": cid }).to_string(), 202);
    let id = made["requestid"].as_str().unwrap().to_owned();
    settled(&fixture, &id, &["pinned"]);
    // One that no node has.
    let absent = Cid::v1(Codec::RAW, HashFunction::Sha2_256, b"absent").unwrap();
    let waiting = call(&fixture, "POST", "/pins", &json!({ "cid": absent }).to_string(), 202);
    let waiting = waiting["requestid"].as_str().unwrap().to_owned();
    settled(&fixture, &waiting, &["pinning"]);

    let fixture = fixture.serve_again(|_| ());
    assert_eq!(call(&fixture, "GET", &format!("/pins/{id}"), "", 200)["status"], "pinned");
    settled(&fixture, &waiting, &["pinning"]);
    let list = call(&fixture, "GET", "/pins?status=queued,pinning,pinned,failed", "", 200);
    assert_eq!(list["results"][0]["requestid"], json!(waiting), "the newest first: {list}");
    for id in [&waiting, &id] {
        assert_eq!(send(&fixture, "DELETE", &format!("/pins/{id}"), "").status, 202);
    }
    assert!(is_pinned(&fixture, &cid), "it was pinned before");
}

#[test]
fn what_is_wrong_is_refused() {
    let fixture = Fixture::new();
    for authorization in [None, Some("Bearer wrong:token"), Some("Bearer d3Jvbmc="), Some("Digest x"), Some("Bearer")] {
        let headers: Vec<_> = authorization.map(|text| ("Authorization", text)).into_iter().collect();
        let answer = fixture.send("GET", "/pins", &headers, "");
        let body: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!((answer.status, &body["error"]["reason"]), (401, &json!("UNAUTHORIZED")), "{authorization:?}");
    }
    // The token in base64, too.
    let basic = cairn::rpc::auth::basic(&token(&fixture));
    let bearer = basic.replace("Basic", "Bearer");
    assert_eq!(fixture.send("GET", "/pins", &[("Authorization", &bearer)], "").status, 200);
    let long = "x".repeat(256);
    for (method, path, body, status) in [
        ("GET", "/pins?limit=0", "", 400),
        ("GET", "/pins?limit=1001", "", 400),
        ("GET", "/pins?status=elephant", "", 400),
        ("GET", "/pins?match=elephant", "", 400),
        ("GET", "/pins?before=yesterday", "", 400),
        ("GET", "/pins?cid=elephant", "", 400),
        ("GET", "/pins?meta=elephant", "", 400),
        ("POST", "/pins", "", 400),
        ("POST", "/pins", "{}", 400),
        ("POST", "/pins", r#"{"cid":"elephant"}"#, 400),
        ("POST", "/pins", r#"{"cid":"bafkqaaa","origins":"one"}"#, 400),
        ("POST", "/pins", &format!(r#"{{"cid":"bafkqaaa","name":"{long}"}}"#), 400),
        ("POST", "/pins/0f", r#"{"cid":"bafkqaaa"}"#, 404),
        ("GET", "/pins/0f", "", 404),
        ("GET", "/pins/..%2F..%2Fversion", "", 404),
        ("DELETE", "/pins/0f", "", 404),
        ("DELETE", "/pins", "", 405),
        ("PUT", "/pins", "", 405),
    ] {
        let answer = send(&fixture, method, path, body);
        let error: Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        assert!(error["error"]["reason"].is_string(), "{method} {path}: {error}");
    }
}
