//! Methods about peers, with a second node.

use cairn::content::ContentStore;
use cairn::ipld::{Block, Cid, Codec, HashFunction};
use cairn::p2p::Event;
use serde_json::{Value, json};

use crate::fixture::{Fixture, hex_of};

/// Waits for an event of the fixture's node; `subscribed` must be from before what causes it.
fn wait_for(fixture: &Fixture, events: &mut tokio::sync::broadcast::Receiver<Event>, wanted: impl Fn(&Event) -> bool) {
    let waiting = async { while !wanted(&events.recv().await.unwrap()) {} };
    fixture.tokio.block_on(async { tokio::time::timeout(std::time::Duration::from_secs(60), waiting).await.unwrap() });
}

/// Calls every method about peers.
pub fn every_method(fixture: &Fixture) {
    let other = Fixture::new();
    let address = other.node.as_ref().unwrap().p2p_address().unwrap().to_string();
    let mut events = fixture.node.as_ref().unwrap().handle().subscribe();
    let connected = |event: &Event| matches!(event, Event::PeerConnected { .. });
    let disconnected = |event: &Event| matches!(event, Event::PeerDisconnected { .. });

    assert_eq!(fixture.call("getconnectioncount", json!([])), 0);
    assert_eq!(fixture.call("addnode", json!([address, "onetry"])), Value::Null);
    wait_for(fixture, &mut events, connected);
    assert_eq!(fixture.call("getconnectioncount", json!([])), 1);
    let peers = fixture.call("getpeerinfo", json!([]));
    let peer = &peers[0];
    assert_eq!((&peer["addr"], &peer["inbound"], &peer["startingheight"]), (&json!(address), &json!(false), &json!(0)));
    assert!(peer["bytessent"].as_u64() > Some(0) && peer["bytesrecv"].as_u64() > Some(0), "{peer}");
    assert!(peer["bucket"].is_u64() && peer["nodeid"].as_str().is_some_and(|id| id.len() == 64), "{peer}");
    assert!(peer["subver"].as_str().is_some_and(|subver| subver.starts_with("/cairn:")), "{peer}");
    let info = fixture.call("getnetworkinfo", json!([]));
    let id = other.node.as_ref().unwrap().handle().id().to_string();
    assert_eq!(peer["nodeid"], json!(id));
    assert_eq!(other.call("getnetworkinfo", json!([]))["nodeid"], json!(id));
    assert_eq!(other.call("getpeerinfo", json!([]))[0]["nodeid"], info["nodeid"]);
    assert_eq!(
        (&info["connections"], &info["connections_out"], &info["connections_in"]),
        (&json!(1), &json!(1), &json!(0))
    );
    assert_eq!(info["subversion"], peer["subver"]);
    assert_eq!((&info["networks"][0]["name"], &info["networks"][1]["proxy"]), (&json!("ipv4"), &json!("")));
    let totals = fixture.call("getnettotals", json!([]));
    assert!(totals["totalbytessent"].as_u64() >= peer["bytessent"].as_u64(), "{totals} {peer}");

    // There is one other, and it is found, whatever is looked for.
    let found = fixture.call("findnode", json!(["0f".repeat(32)]));
    assert_eq!((&found["complete"], &found["target"]), (&json!(true), &json!("0f".repeat(32))), "{found}");
    assert_eq!((&found["nodes"][0]["nodeid"], &found["nodes"][0]["address"]), (&peer["nodeid"], &json!(address)));
    let step = &found["path"][0];
    assert_eq!((&step["nodeid"], &step["hop"], &step["outcome"]), (&peer["nodeid"], &json!(1), &json!("answered")));
    assert!(step["took"].is_f64() && found["took"].is_f64(), "{found}");
    fixture.refused("findnode", json!(["0f"]), -8, "64 hex digits");
    let known = fixture.call("getnodeaddresses", json!([0]));
    assert_eq!((&known[0]["nodeid"], &known[0]["bucket"]), (&peer["nodeid"], &peer["bucket"]), "{known}");

    content(fixture, &other);

    // The blocks of the one are now the other's too.
    let height = fixture.call("getblockcount", json!([]));
    assert_eq!(other.call("waitforblockheight", json!([height]))["hash"], fixture.call("getbestblockhash", json!([])));

    fixture.refused("disconnectnode", json!(["127.0.0.1:1"]), -29, "not found");
    fixture.refused("disconnectnode", json!([]), -8, "Only one of");
    fixture.refused("disconnectnode", json!([address, peer["id"]]), -8, "Only one of");
    fixture.refused("disconnectnode", json!(["nowhere"]), -8, "IP:PORT");
    assert_eq!(fixture.call("ping", json!([])), Value::Null);
    assert_eq!(fixture.call("disconnectnode", json!(["", peer["id"]])), Value::Null);
    wait_for(fixture, &mut events, disconnected);
    assert_eq!(fixture.call("getconnectioncount", json!([])), 0);

    // Staying connected, until told otherwise.
    fixture.refused("addnode", json!([address, "remove"]), -24, "not been added");
    fixture.refused("addnode", json!([address, "forget"]), -1, "onetry");
    fixture.refused("addnode", json!([address, "onetry", false]), -8, "every connection is encrypted");
    let known = fixture.call("getaddrmaninfo", json!([]));
    assert_eq!(known["all_networks"]["total"], known["ipv4"]["total"], "{known}");
    fixture.refused("addnode", json!(["nowhere", "add"]), -8, "HOST:PORT");
    fixture.refused("addnode", json!([format!("me@{address}"), "add"]), -8, "its id is \"me\", expected 64 hex digits");
    assert_eq!(fixture.call("addnode", json!([format!("{id}@{address}"), "add"])), Value::Null);
    fixture.refused("addnode", json!([format!("{id}@{address}"), "add"]), -23, "already added");
    wait_for(fixture, &mut events, connected);
    assert_eq!(fixture.call("getpeerinfo", json!([]))[0]["connection_type"], "manual");
    let added = json!([{
        "addednode": address, "connected": true, "addresses": [{ "address": address, "connected": "outbound" }],
    }]);
    assert_eq!(fixture.call("getaddednodeinfo", json!([])), added);
    assert_eq!(fixture.call("getaddednodeinfo", json!([address])), added);
    fixture.refused("getaddednodeinfo", json!(["127.0.0.1:1"]), -24, "has not been added");
    let known = fixture.call("getnodeaddresses", json!([0]));
    let known = known.as_array().unwrap();
    assert!(known.iter().all(|known| known["network"] == "ipv4" && known["port"].is_u64()), "{known:?}");
    assert_eq!(fixture.call("getnodeaddresses", json!([0, "ipv6"])), json!([]));
    fixture.refused("getnodeaddresses", json!([-1]), -8, "Address count out of range");
    fixture.refused("getnodeaddresses", json!([1, "onion"]), -8, "Network not recognized: onion");
    assert_eq!(fixture.call("addnode", json!([address, "remove"])), Value::Null);

    // Bans end connections.
    assert_eq!(fixture.call("setban", json!(["127.0.0.0/8", "add", 100])), Value::Null);
    let banned = fixture.call("listbanned", json!([]));
    assert_eq!((&banned[0]["address"], &banned[0]["ban_duration"]), (&json!("127.0.0.0/8"), &json!(100)));
    assert_eq!(fixture.call("setban", json!(["127.0.0.0/8", "remove"])), Value::Null);
    assert_eq!(fixture.call("listbanned", json!([])), json!([]));
    fixture.refused("setban", json!(["127.0.0.0/8", "remove"]), -30, "Unban failed");
    fixture.refused("setban", json!(["127.0.0", "add"]), -30, "Invalid IP/Subnet");
    fixture.refused("setban", json!(["10.0.0.1", "add", 5, true]), -8, "in the past");
    fixture.refused("setban", json!(["10.0.0.1", "forget"]), -1, "\"add\" or \"remove\"");
    fixture.call(
        "setban",
        json!({ "subnet": "10.0.0.1", "command": "add", "bantime": 9_999_999_999u64, "absolute": true }),
    );
    assert_eq!(fixture.call("listbanned", json!([]))[0]["banned_until"], json!(9_999_999_999u64));
    fixture.call("clearbanned", json!([]));
    assert_eq!(fixture.call("listbanned", json!([])), json!([]));
}

/// What the one has, the other finds.
fn content(fixture: &Fixture, other: &Fixture) {
    let cid = Cid::v1(Codec::RAW, HashFunction::Sha2_256, b"found").unwrap();
    let block = Block::check(cid, b"found".to_vec()).unwrap();
    fixture.refused("findproviders", json!(["no-cid"]), -8, "not a CID");
    fixture.refused("findproviders", json!(["bafkqaaa"]), -8, "in the CID itself");
    fixture.refused("providecontent", json!([cid]), -5, "is not here");
    let found = other.call("findproviders", json!([cid]));
    assert_eq!((&found["providers"], &found["complete"]), (&json!([]), &json!(true)), "{found}");

    let mut store = ContentStore::open(&fixture.dir.path().join("content"), 1_000).unwrap();
    store.put(&block).and_then(|()| store.flush()).unwrap();
    let announced = fixture.call("providecontent", json!([cid]));
    assert_eq!((&announced["cid"], &announced["nodes"]), (&json!(cid), &json!(1)), "{announced}");
    let found = other.call("findproviders", json!([cid]));
    let own = fixture.node.as_ref().unwrap();
    let expected = json!([{ "nodeid": own.handle().id().to_string(), "address": own.p2p_address().unwrap() }]);
    assert_eq!((&found["providers"], &found["key"]), (&expected, &announced["key"]), "{found}");

    other.refused("fetchcontent", json!(["no-cid"]), -8, "path: ");
    other.refused("fetchcontent", json!([cid, -1]), -8, "timeout: expected 0 to 3600");
    other.refused("fetchcontent", json!([cid, 30, 61]), -8, "wait: expected 0 to 60");
    let fetched = other.call("fetchcontent", json!([cid, 30, 60]));
    let expected = json!({
        "complete": true, "blocks": 1, "bytes": 5, "fetched_blocks": 1, "fetched_bytes": 5, "sources": 1, "liars": [],
        "providers": fetched["providers"],
    });
    assert_eq!(fetched, expected);
    // What is here is not fetched again.
    let again = other.call("fetchcontent", json!([cid, 30, 60]));
    assert_eq!((&again["blocks"], &again["fetched_blocks"]), (&json!(1), &json!(0)), "{again}");
    let own = fixture.call("fetchcontent", json!([cid, 30, 60]));
    assert_eq!((&own["complete"], &own["fetched_blocks"]), (&json!(true), &json!(0)), "{own}");
    let elsewhere = Cid::v1(Codec::RAW, HashFunction::Sha2_256, b"elsewhere").unwrap();
    other.refused("fetchcontent", json!([elsewhere, 1, 60]), -5, "no provider");
}

#[test]
fn a_saved_mempool_is_read_by_another_node() {
    let [one, other] = [Fixture::new(), Fixture::new()];
    let hashes = one.generate(11, 1);
    let coinbase = one.block(&hashes[0]).transactions[0].clone();
    let payment = one.payment(&coinbase, 1, 7_000, 2, 1_000);
    one.call("sendrawtransaction", json!([hex_of(&payment)]));
    let file = one.call("savemempool", json!([]))["filename"].clone();

    let blocks: Vec<Value> = hashes.iter().map(|hash| one.call("getblock", json!([hash, 0]))).collect();
    other.call("submitheader", json!([blocks[0].as_str().unwrap()[..160]]));
    other.refused("importmempool", json!([file]), -10, "blocks are missing");
    for block in &blocks {
        assert_eq!(other.call("submitblock", json!([block])), Value::Null);
    }
    let mut events = other.node.as_ref().unwrap().handle().subscribe();
    assert_eq!(other.call("importmempool", json!([file])), json!({}));
    wait_for(&other, &mut events, |event| matches!(event, Event::TransactionAccepted { .. }));
    assert_eq!(other.call("getrawmempool", json!([])), json!([payment.txid()]));

    other.refused("importmempool", json!([other.dir.path()]), -1, "not a file");
    let large = other.dir.path().join("large");
    std::fs::File::create(&large).unwrap().set_len((256 << 20) + 1).unwrap();
    other.refused("importmempool", json!([large]), -1, "more than 268435456 bytes");
}
