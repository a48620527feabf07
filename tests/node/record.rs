//! A node that records its input among other processes, and a replay of that record.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;

use crate::process::{Node, Place, flip, spec, wait_for};
use cairn::p2p::noise::Identity;
use cairn::primitives::amount::COIN;
use cairn::runtime::noise;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Every second hash is a block's.
const INSTANT: u32 = 0x207f_ffff;

/// What `cairn sim replay` says of a record, the time it took aside.
fn replay(place: &Place, file: &Path) -> Value {
    try_replay(place, file).expect("it replays")
}

fn try_replay(place: &Place, file: &Path) -> Option<Value> {
    let done = place.run("elsewhere", &["sim", "replay", file.to_str().unwrap(), "--json"]);
    if done.code != 0 {
        eprintln!("{done:?}");
        return None;
    }
    let mut replayed: Value = serde_json::from_str(&done.stdout).unwrap();
    assert!(replayed.as_object_mut().unwrap().remove("took").is_some());
    Some(replayed)
}

/// Tip, mempool and bans, as a node's RPC tells them.
fn standing(node: &Node) -> Value {
    let (height, tip) = node.tip();
    let mut mempool = node.mempool();
    mempool.sort_unstable();
    let bans = node.call("listbanned", &[]);
    let kept = ["address", "ban_created", "banned_until", "ban_reason"];
    let ban = |ban: &Value| kept.map(|field| ban[field].clone());
    let bans: Vec<_> = bans.as_array().unwrap().iter().map(ban).collect();
    json!({ "height": height, "tip": tip, "mempool": mempool, "bans": bans })
}

/// The same of a replay.
fn standing_of(replayed: &Value) -> Value {
    let mut mempool: Vec<String> = serde_json::from_value(replayed["mempool"].clone()).unwrap();
    mempool.sort_unstable();
    let kept = ["address", "ban_created", "banned_until", "ban_reason"];
    let ban = |ban: &Value| kept.map(|field| ban[field].clone());
    let bans: Vec<_> = replayed["bans"].as_array().unwrap().iter().map(ban).collect();
    json!({ "height": replayed["height"], "tip": replayed["tip"], "mempool": mempool, "bans": bans })
}

/// An address of this machine's own under which it is no loopback, so that bans are for it.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent.
    socket.connect("192.0.2.1:9").ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

/// Sends a node bytes that are not a frame, until it closes the connection.
fn send_nonsense(to: SocketAddr) {
    let tokio = tokio::runtime::Runtime::new().unwrap();
    tokio.block_on(async {
        let mut stream = TcpStream::connect(to).await.unwrap();
        let mut session = noise::initiate(&mut stream, &Identity::from_secret(rand::random()), None).await.unwrap();
        let mut records = Vec::new();
        session.sealer.seal(&[0; 5], &mut records).unwrap();
        stream.write_all(&records).await.unwrap();
        let mut heard = Vec::new();
        // However the connection ends, it ends.
        let _ = stream.read_to_end(&mut heard).await;
    });
}

fn peers(node: &Node, count: u64) {
    wait_for("the peers", || (node.call("getconnectioncount", &[]) == json!(count)).then_some(()));
}

fn agree(node: &Node, other: &Node) {
    wait_for(&format!("{} to agree with {}", node.name, other.name), || (node.tip() == other.tip()).then_some(()));
}

/// Four nodes in a row: `b` and `c` are connected to `a`, which records, and `d` to `c`.
#[test]
fn a_node_among_four_is_run_again_to_the_same_tip_mempool_and_bans() {
    let place = Place::new();
    let (payer, payee) = (place.wallet("a"), place.wallet("payee"));
    place.found(&spec(INSTANT, &[(&payer, 1_000 * COIN)]));
    let file = place.path("a.rec");
    let record = ["--chaos", "--max-outbound", "0", "--listen", "0.0.0.0:0", "--record", file.to_str().unwrap()];
    let a = place.node("a", &record);
    let port = a.peer_address().parse::<SocketAddr>().unwrap().port();
    let hub = format!("127.0.0.1:{port}");
    let [b, c] = ["b", "c"].map(|name| place.node(name, &["--max-outbound", "0", "--connect", &hub]));
    let d = place.node("d", &["--max-outbound", "0", "--connect", &c.peer_address()]);
    peers(&a, 2);
    peers(&c, 2);
    b.generate(3, &payee);
    agree(&a, &b);
    agree(&d, &b);

    // Two halves: here a payment is confirmed, there are more blocks.
    a.call("setlink", &[c.peer_address().into(), json!({ "cut": true })]);
    let txid = place.run("a", &["wallet", "send", &payee, "1"]).ok();
    wait_for("the payment to be relayed", || b.mempool().contains(&txid).then_some(()));
    b.generate(2, &payee);
    agree(&a, &b);
    assert_eq!(a.confirmations(&txid), Some(2));
    d.generate(6, &payee);
    agree(&c, &d);
    assert_ne!(a.tip(), d.tip());
    a.call("setlink", &[c.peer_address().into(), json!({ "cut": false })]);
    agree(&a, &d);
    agree(&b, &d);
    wait_for("the payment to return", || a.mempool().contains(&txid).then_some(()));

    match own_address() {
        Some(ip) => {
            send_nonsense((ip, port).into());
            wait_for("the ban", || {
                let bans = a.call("listbanned", &[]).to_string();
                bans.contains(&ip.to_string()).then_some(())
            });
        }
        None => println!("NOT TESTED: a ban by misbehaviour, since this machine has no address but loopback"),
    }
    a.call("setban", &["203.0.113.0/24".into(), "add".into()]);
    a.call("ping", &[]);
    let kept = place.run("a", &["wallet", "send", &payee, "2"]).ok();
    wait_for("the payment to be relayed", || b.mempool().contains(&kept).then_some(()));

    let before = standing(&a);
    assert!(a.terminate().success());
    let replayed = replay(&place, &file);
    assert_eq!(standing_of(&replayed), before, "{replayed}");
    assert_eq!((&replayed["ending"], &replayed["height"]), (&json!("stopped"), &json!(9)));
    assert_eq!(replayed["mempool"].as_array().unwrap().len(), 2);
    assert!(replayed["commands"].as_u64().unwrap() >= 4, "two payments, a ban, a ping: {replayed}");
    assert_eq!(replay(&place, &file), replayed, "and again");
    let text = place.run("elsewhere", &["sim", "replay", file.to_str().unwrap()]).ok();
    assert!(text.contains(before["tip"].as_str().unwrap()) && text.contains("203.0.113.0/24"), "{text}");

    // An existing file is not overwritten, and the node does not start without its record.
    let refused = place.try_node("a", &["--record", file.to_str().unwrap()]).err().expect("it does not start");
    assert!(refused.iter().any(|line| line.contains("cannot record to")), "{refused:?}");

    // From a store and a mempool that are there.
    let second = place.path("second.rec");
    let a = place.node("a", &["--max-outbound", "0", "--record", second.to_str().unwrap()]);
    wait_for("the mempool of the last run", || (a.mempool().len() == 2).then_some(()));
    a.generate(1, &payee);
    let before = standing(&a);
    assert_eq!((&before["height"], before["mempool"].as_array().unwrap().len()), (&json!(10), 0));
    assert!(a.terminate().success());
    let replayed = replay(&place, &second);
    assert_eq!(standing_of(&replayed), before, "{replayed}");
    assert!(replayed["stored"].as_u64().unwrap() > 50, "{replayed}");
}

#[test]
fn a_node_that_is_killed_leaves_a_record_up_to_its_last_moment() {
    let place = Place::new();
    let payee = place.wallet("payee");
    let file = place.path("killed.rec");
    let node = place.node("node", &["--record", file.to_str().unwrap()]);
    node.generate(5, &payee);
    // The record of a node at work can be replayed, and has soon all that the node was told.
    let before = standing(&node);
    let live = wait_for("the record to come up", || {
        try_replay(&place, &file).filter(|replayed| standing_of(replayed) == before)
    });
    assert_ne!(live["ending"], "stopped");

    node.call("setgenerate", &[true.into(), 1.into(), payee.as_str().into()]);
    wait_for("some blocks", || (node.tip().0 > 50).then_some(()));
    node.kill();
    let replayed = replay(&place, &file);
    assert_ne!(replayed["ending"], "stopped");
    assert!(replayed["height"].as_u64().unwrap() > 50, "{replayed}");
    // What the store has kept was recorded before.
    let node = place.node("node", &[]);
    let (height, _) = node.tip();
    assert!(height <= replayed["height"].as_u64().unwrap(), "{height}: {replayed}");
    drop(node);

    // Cut within an entry, as if the machine had died.
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 3]).unwrap();
    let cut = replay(&place, &file);
    assert_eq!(cut["ending"], "cut");
    let all = |replayed: &Value| replayed["inputs"].as_u64().unwrap() + replayed["commands"].as_u64().unwrap();
    assert!(all(&cut) <= all(&replayed) && all(&cut) + 1 >= all(&replayed), "{cut}\n{replayed}");
    flip(&file, bytes.len() / 2);
    let damaged = ["sim", "replay", file.to_str().unwrap()];
    place.run("elsewhere", &damaged).fails(1, "the record is damaged: the entry at byte");
    std::fs::write(&file, "no record").unwrap();
    place.run("elsewhere", &damaged).fails(1, "not a record of a node");
}
