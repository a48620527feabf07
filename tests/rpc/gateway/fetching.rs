//! A gateway that fetches what it lacks from another node, and what it and delegated routing say of content elsewhere.

use std::time::{Duration, Instant};

use cairn::content::{ContentStore, PinKind};
use cairn::p2p::Event;
use serde_json::{Value, json};

use super::scene::{Got, Scene};
use crate::fixture::Fixture;

/// A node with a directory of a file in many pieces, and one that may fetch; each is a contact of the other.
struct Pair {
    has: Scene,
    fetches: Scene,
    bytes: Vec<u8>,
}

impl Pair {
    fn new() -> Self {
        let bytes: Vec<u8> = (0..5_000u32).flat_map(u32::to_le_bytes).collect();
        let has = Scene::new(
            |_| (),
            |adding| {
                let file = adding.file("file", &bytes);
                let other = adding.file("other", b"other");
                let list = vec![file.named("notes.txt"), other.named("other.txt")];
                adding.directory("site", list);
            },
        );
        let mut fetches = Scene::new(
            |config| {
                (config.gateway, config.gateway_fetch) = (cairn::rpc::Gateway::Files, true);
            },
            |_| (),
        );
        fetches.cids.clone_from(&has.cids);
        connect(&has.fixture, &fetches.fixture);
        let announced = has.fixture.call("providecontent", json!([has.cids["site"]]));
        assert_eq!(announced["nodes"], 1, "{announced}");
        Self { has, fetches, bytes }
    }

    /// The names of the blocks that the second node has.
    fn fetched(&self) -> Vec<&str> {
        let reader = self.fetches.reader();
        let is_here = |cid| reader.size(cid).unwrap().is_some();
        self.fetches.cids.iter().filter(|(_, cid)| is_here(cid)).map(|(name, _)| name.as_str()).collect()
    }
}

fn connect(one: &Fixture, other: &Fixture) {
    let address = one.node.as_ref().unwrap().p2p_address().unwrap().to_string();
    let mut events = other.node.as_ref().unwrap().handle().subscribe();
    assert_eq!(other.call("addnode", json!([address, "onetry"])), Value::Null);
    let connected = async { while !matches!(events.recv().await.unwrap(), Event::PeerConnected { .. }) {} };
    other.tokio.block_on(async { tokio::time::timeout(Duration::from_secs(60), connected).await.unwrap() });
    // The one that was dialled dials back.
    let start = Instant::now();
    for fixture in [one, other] {
        let has_contact = |known: &Value| known.as_array().unwrap().iter().any(|known| known["bucket"].is_u64());
        while !has_contact(&fixture.call("getnodeaddresses", json!([0]))) {
            assert!(start.elapsed() < Duration::from_secs(60), "they do not get acquainted");
        }
    }
}

fn json_of(got: &Got) -> Value {
    assert_eq!(got.status, 200, "{got:?}");
    serde_json::from_str(&got.text()).unwrap()
}

#[test]
fn a_range_fetches_the_blocks_that_hold_it() {
    let pair = Pair::new();
    let path = "/ipfs/{site}/notes.txt";
    let cached = pair.fetches.get(path, &[("Cache-Control", "only-if-cached")]);
    assert_eq!((cached.status, pair.fetched()), (412, vec![]), "it is not asked for");
    // Pieces of 256 bytes: this is the end of the fourth and the start of the fifth.
    let got = pair.fetches.get(path, &[("Range", "bytes=1020-1029")]);
    assert_eq!((got.status, &got.body[..]), (206, &pair.bytes[1_020..1_030]), "{got:?}");
    assert_eq!(pair.fetched(), ["file", "file.3", "file.4", "site"]);
    // Nothing is pinned.
    let store = ContentStore::open_within(&pair.fetches.dir(), 1 << 30, Duration::from_secs(5)).unwrap();
    assert!(store.reader().pins().unwrap().iter().all(|pin| pin.kind != PinKind::Recursive));
    drop(store);

    let got = pair.fetches.get(path, &[]);
    assert_eq!((got.status, got.is_whole), (200, true));
    assert_eq!(got.body, pair.bytes);
    assert!(!pair.fetched().contains(&"other"));
}

#[test]
fn cars_blocks_and_lists_are_fetched_as_far_as_they_go() {
    let pair = Pair::new();
    let got = pair.fetches.get("/ipfs/{site}?format=raw", &[]);
    assert_eq!((got.status, pair.fetched()), (200, vec!["site"]));
    let car = pair.fetches.get("/ipfs/{site}/notes.txt?format=car&dag-scope=entity&entity-bytes=0:300", &[]);
    let (root, blocks) = pair.fetches.car(&car);
    assert_eq!((root.as_str(), &blocks[..]), ("file", &["site", "file", "file.0", "file.1"].map(str::to_owned)[..]));
    assert_eq!(pair.fetched(), ["file", "file.0", "file.1", "site"]);
    let car = pair.fetches.get("/ipfs/{site}?format=car", &[]);
    assert!(car.is_whole);
    assert_eq!(pair.fetches.car(&car).1.len(), pair.has.cids.len());
    // What no node has.
    pair.has.remove("other");
    let absent = "/ipfs/bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy?format=raw";
    assert_eq!(pair.has.get(absent, &[]).status, 404);
}

#[test]
fn a_part_is_fetched_for_commands_too() {
    let pair = Pair::new();
    let (fetches, site) = (&pair.fetches.fixture, pair.has.cids["site"]);
    let path = format!("{site}/notes.txt");
    for (params, text) in [
        (json!([path, 30, 60, "some"]), "scope: expected"),
        (json!([path, 30, 60, "all", 1]), "need the scope"),
        (json!([path, 30, 60, "entity", -1]), "offset: expected"),
        (json!([path, 30, 60, "entity", 0, -1]), "length: expected"),
    ] {
        fetches.refused("fetchcontent", params, -8, text);
    }
    fetches.call("fetchcontent", json!([path, 30, 60, "block"]));
    assert_eq!(pair.fetched(), ["file", "site"]);
    let fetched = fetches.call("fetchcontent", json!([path, 30, 60, "entity", 600, 1]));
    assert_eq!((&fetched["complete"], &fetched["fetched_blocks"]), (&json!(true), &json!(1)), "{fetched}");
    assert_eq!(pair.fetched(), ["file", "file.2", "site"]);
    fetches.call("fetchcontent", json!([site, 30, 60, "entity"]));
    assert_eq!(pair.fetched().len(), 3, "a list of names does not need what they name");
}

/// The store is left to others at least once a second, also while a block does not come.
#[test]
fn others_change_the_store_while_a_fetch_goes_on() {
    let pair = Pair::new();
    pair.has.remove("file.70");
    let path = json!([format!("{}/notes.txt", pair.has.cids["site"]), 600, 0]);
    let mut status = pair.fetches.fixture.call("fetchcontent", path.clone());
    while status["fetched_blocks"].as_u64() < Some(50) {
        status = pair.fetches.fixture.call("fetchcontent", path.clone());
    }
    let store = ContentStore::open_within(&pair.fetches.dir(), 1 << 30, Duration::from_secs(5)).unwrap();
    drop(store);
    status = pair.fetches.fixture.call("fetchcontent", path);
    assert_eq!(status["complete"], false, "{status}");
}

#[test]
fn delegated_routing_names_providers_in_the_network() {
    let pair = Pair::new();
    let path = "/routing/v1/providers/{site}";
    let answer = json_of(&pair.fetches.get(path, &[]));
    let providers = answer["Providers"].as_array().unwrap();
    let port = pair.fetches.fixture.address().port();
    assert_eq!(providers[0]["Addrs"], json!([format!("/ip4/127.0.0.1/tcp/{port}/http")]), "it can fetch it");
    let node = pair.has.fixture.node.as_ref().unwrap();
    let address = node.p2p_address().unwrap();
    let addrs = json!([format!("/ip4/127.0.0.1/tcp/{}", address.port())]);
    assert_eq!((&providers[1]["Addrs"], &providers[1]["Protocols"]), (&addrs, &json!(["transport-cairn"])), "{answer}");
    assert_eq!(providers.len(), 2, "{answer}");
    let lines = pair.fetches.get(path, &[("Accept", "application/x-ndjson")]).text();
    assert_eq!(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>(), *providers);
    // Kubo takes gateways only.
    let kubo = "?filter-protocols=transport-bitswap,transport-ipfs-gateway-http,unknown";
    assert_eq!(json_of(&pair.fetches.get(&format!("{path}{kubo}"), &[])), json!({ "Providers": [providers[0]] }));
    // A node that does not fetch for others names who has it.
    let answer = json_of(&pair.has.get("/routing/v1/providers/{other}", &[]));
    assert_eq!(answer["Providers"].as_array().unwrap().len(), 1, "{answer}");

    let id = providers[1]["ID"].as_str().unwrap();
    let peers = json_of(&pair.fetches.get(&format!("/routing/v1/peers/{id}"), &[]));
    assert_eq!(peers, json!({ "Peers": [providers[1]] }));
}
