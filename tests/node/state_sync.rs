//! Real nodes that start from a state over real sockets, one of them killed again and again while it loads.

use cairn::consensus::params::{Allocation, GenesisSpec};
use cairn::primitives::amount::{Amount, COIN};
use cairn_testkit::public;

use crate::process::{Node, Place, spec, wait_for};

const EPOCH: u32 = 8;
/// Coins of genesis beside the payer's: enough for some ranges.
const COINS: u32 = 20_000;
const BLOCKS: u32 = 60;
/// The edge of the newest state that is buried: block 48 commits to it, with 13 blocks on top, itself included.
const EDGE: u32 = 40;
const KILLS: usize = 5;
/// Blocks of a chain that is long enough for a proof, the edge of its state, and the first of the last 256 headers before its tip.
const PROVEN: u32 = 400;
const PROVEN_EDGE: u32 = 384;
const PROVEN_START: u32 = 144;

/// A network with many coins.
fn found(place: &Place, payer: &str) {
    let prefix = GenesisSpec::regtest().address_prefix;
    let address = |n: u32| cairn::primitives::address::encode(&prefix, &public(n as u8));
    let coin = |n: u32| Allocation { address: address(n), value: Amount::from_grains(COIN + u64::from(n)) };
    let mut spec = spec(0x207f_ffff, &[(payer, 1_000 * COIN)]);
    spec.alloc.extend((0..COINS).map(coin));
    spec.epoch_blocks = EPOCH;
    assert!(spec.mine_nonce());
    place.found(&spec);
}

/// A node with blocks, and a payment before the state.
fn server(place: &Place, payee: &str, blocks: u32) -> Node {
    let server = place.node("server", &[]);
    let wallet = place.path("payer/wallet.json");
    let send = ["wallet", "send", payee, "25", "--wallet", wallet.to_str().unwrap()];
    place.run("server", &send).ok();
    server.generate(blocks, payee);
    server
}

/// Compares a node that started from the state with one that has validated all blocks.
fn compare(node: &Node, server: &Node, edge: u32) {
    let tip = server.tip();
    wait_for("the node to have all blocks", || (node.tip() == tip).then_some(()));
    assert_eq!(node.coins(), server.coins());
    let info = node.call("getblockchaininfo", &[]);
    assert_eq!((&info["pruned"], info["pruneheight"].as_u64()), (&true.into(), Some(u64::from(edge) + 1)), "{info}");
    assert!(info["warnings"][0].as_str().is_some_and(|text| text.contains("started from the coins")), "{info}");
}

#[test]
fn a_node_starts_from_a_state_and_pays() {
    let place = Place::new();
    let (payer, payee) = (place.wallet("payer"), place.wallet("fresh"));
    found(&place, &payer);
    let server = server(&place, &payee, BLOCKS);
    let fresh = place.node("fresh", &["--sync", "state", "--connect", &server.peer_address()]);
    compare(&fresh, &server, EDGE);
    let early = fresh.call("getblockhash", &[1.into()]);
    let refused = fresh.try_call("getblock", std::slice::from_ref(&early)).unwrap_err().to_string();
    assert!(refused.contains("pruned data"), "{refused}");

    // The state's coins can be spent, by the node that never saw the payments that made them.
    let txid = place.run("fresh", &["wallet", "send", &payer, "20"]).ok();
    wait_for("the payment to reach the server", || (server.mempool() == [txid.as_str()]).then_some(()));
    server.generate(2 * EPOCH, &payer);
    compare(&fresh, &server, EDGE);
    assert_eq!(fresh.confirmations(&txid), Some(u64::from(2 * EPOCH)));
    for node in [fresh, server] {
        assert!(node.terminate().success());
    }
    place.run("fresh", &["db", "check"]).ok();
}

#[test]
fn a_node_that_is_killed_while_it_loads_goes_on_from_there() {
    let place = Place::new();
    let (payer, payee) = (place.wallet("payer"), place.wallet("fresh"));
    found(&place, &payer);
    let server = server(&place, &payee, BLOCKS);
    let connect = server.peer_address();
    let start = || place.node("fresh", &["--sync", "state", "--connect", &connect]);
    let mut resumed = 0;
    for kill in 1..=KILLS {
        let node = start();
        let log = node.log();
        wait_for("some coins to come, or the end", || {
            let log = log.lock().unwrap();
            let count = |text| log.iter().filter(|line| line.contains(text)).count();
            (count("coins of the state came") >= 6 * kill || count("tip height=") > 0).then_some(())
        });
        resumed += usize::from(node.tail().iter().any(|line| line.contains("of a state goes on")));
        assert!(!node.kill().success());
    }
    assert!(resumed > 0, "no load went on");
    let node = start();
    compare(&node, &server, EDGE);
    assert!(node.terminate().success() && server.terminate().success());
    place.run("fresh", &["db", "check"]).ok();
}

#[test]
fn a_node_starts_by_a_proof_and_fetches_old_headers_later() {
    let place = Place::new();
    let (payer, payee) = (place.wallet("payer"), place.wallet("fresh"));
    found(&place, &payer);
    let server = server(&place, &payee, PROVEN);
    let connect = server.peer_address();
    let start = || place.node("fresh", &["--sync", "state", "--connect", &connect]);
    let node = start();
    let log = node.log();
    wait_for("some coins to come", || {
        let is_it = |line: &String| line.contains("coins of the state came");
        log.lock().unwrap().iter().any(is_it).then_some(())
    });
    assert!(!node.kill().success());

    // Alone, it says what it lacks.
    let node = place.node("fresh", &[]);
    assert_eq!(node.tip().0, u64::from(PROVEN_START));
    for (method, params) in
        [("getblockhash", vec![1.into()]), ("getheaders", vec![(PROVEN_START - 1).into(), 9.into()])]
    {
        let refused = node.try_call(method, &params).unwrap_err().to_string();
        assert!(refused.contains(&format!("headers from height 1 to {}", PROVEN_START - 1)), "{method}: {refused}");
    }
    let info = node.call("getblockchaininfo", &[]);
    assert!(info["warnings"][0].as_str().is_some_and(|text| text.contains("are still being fetched")), "{info}");
    assert!(node.terminate().success());

    let node = start();
    compare(&node, &server, PROVEN_EDGE);
    let early = wait_for("the old headers to come", || node.try_call("getblockhash", &[1.into()]).ok());
    for height in [1, PROVEN_START - 1, PROVEN_START] {
        let hash = server.call("getblockhash", &[height.into()]);
        assert_eq!(node.call("getblockhash", &[height.into()]), hash);
        let facts = |node: &Node| {
            let header = node.call("getblockheader", std::slice::from_ref(&hash));
            ["previousblockhash", "chainwork", "mediantime", "height"].map(|name| header[name].clone())
        };
        assert_eq!(facts(&node), facts(&server));
    }
    let refused = node.try_call("getblock", std::slice::from_ref(&early)).unwrap_err().to_string();
    assert!(refused.contains("pruned data"), "{refused}");
    assert!(node.terminate().success() && server.terminate().success());
    place.run("fresh", &["db", "check"]).ok();
}
