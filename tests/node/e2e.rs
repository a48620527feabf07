//! Real processes over real sockets: payments, proofs, partitions, restarts.

use crate::process::{Place, spec, wait_for};
use cairn::primitives::amount::COIN;

/// Bits that every second hash meets.
const INSTANT: u32 = 0x207f_ffff;
/// Bits that take some 260,000 hashes: a tenth of a second.
const QUICK: u32 = 0x1e3f_ffff;

#[test]
fn a_payment_to_one_node_is_mined_by_another_and_proven_by_a_third() {
    let place = Place::new();
    let (payer, payee, miner) = (place.wallet("payer"), place.wallet("payee"), place.wallet("miner"));
    place.found(&spec(QUICK, &[(&payer, 1_000 * COIN)]));

    let a = place.node("a", &[]);
    let b = place.node("b", &["--connect", &a.peer_address()]);
    let c = place.node("c", &["--connect", &a.peer_address()]);
    wait_for("A to have two peers", || (a.call("getconnectioncount", &[]) == 2).then_some(()));

    let wallet = place.path("payer/wallet.json");
    let send = ["wallet", "send", &payee, "12.5", "--data", "for the tea", "--wallet", wallet.to_str().unwrap()];
    let txid = place.run("a", &send).ok();
    assert_eq!(a.mempool(), [txid.as_str()]);
    wait_for("the payment to reach B", || (b.mempool() == [txid.as_str()]).then_some(()));

    // Only B mines.
    b.call("setgenerate", &[true.into(), 1.into(), miner.as_str().into()]);
    wait_for("three confirmations at C", || c.confirmations(&txid).filter(|n| *n >= 3));
    let earned = c.call("getaddressbalance", &[miner.as_str().into()]);
    assert!(earned["balance"].as_u64().unwrap() >= 3 * 50 * COIN, "{earned}");
    let received = c.call("getaddressbalance", &[payee.as_str().into()]);
    assert_eq!(received["balance"], 1_250_000_000);

    let file = place.path("pay.json");
    let file = file.to_str().unwrap();
    place.run("c", &["proof", "get", &txid, "-o", file]).ok();
    for node in [a, b, c] {
        assert!(node.terminate().success());
    }

    // No node runs any more; the verifier has genesis.json and the receipt.
    let proven = place.run("verifier", &["proof", "verify", file, "--min-work", "1"]).ok();
    for said in [txid.as_str(), "12.5 coins to", &payee, "for the tea", "confirmations", "work"] {
        assert!(proven.contains(said), "{said:?} is not in {proven}");
    }
    let proven: serde_json::Value =
        serde_json::from_str(&place.run("verifier", &["proof", "verify", file, "--json", "--min-work", "2"]).ok())
            .unwrap();
    assert!(proven["headers"].as_u64().unwrap() >= 3 && proven["proven"] == true, "{proven}");

    // One digit changed, anywhere in the headers: no proof any more.
    let receipt = std::fs::read_to_string(file).unwrap();
    let digit = receipt.find("\"headers\": \"").unwrap() + 60;
    let other = if receipt[digit..].starts_with('0') { "1" } else { "0" };
    let (before, after) = (&receipt[..digit], &receipt[digit + 1..]);
    std::fs::write(file, [before, other, after].concat()).unwrap();
    place.run("verifier", &["proof", "verify", file]).fails(3, "the receipt's headers");
    std::fs::write(file, &receipt).unwrap();
    place.found(&spec(QUICK, &[]));
    place.run("verifier", &["proof", "verify", file]).fails(3, "the receipt is for the network with genesis");
}

#[test]
fn two_isolated_miners_join_and_the_losers_payments_confirm_again() {
    let place = Place::new();
    let (payer, payee, miner) = (place.wallet("a"), place.wallet("payee"), place.wallet("miner"));
    place.found(&spec(INSTANT, &[(&payer, 1_000 * COIN)]));
    let a = place.node("a", &[]);
    let b = place.node("b", &[]);

    let txid = place.run("a", &["wallet", "send", &payee, "1"]).ok();
    a.generate(3, &miner);
    assert_eq!(a.confirmations(&txid), Some(3));
    b.generate(8, &miner);
    let heavier = b.tip();
    assert_ne!(a.tip(), heavier);

    b.call("addnode", &[a.peer_address().into(), "add".into()]);
    wait_for("A to agree", || (a.tip() == heavier).then_some(()));
    assert_eq!(b.tip(), heavier, "the heavier chain stays");
    wait_for("the payment to return", || (a.mempool() == [txid.as_str()]).then_some(()));
    assert_eq!(a.confirmations(&txid), Some(0));

    a.generate(1, &miner);
    wait_for("B to see it confirmed", || b.confirmations(&txid).filter(|n| *n == 1));
    assert_eq!(a.tip(), b.tip());
    assert_eq!(a.coins(), b.coins(), "the same coins");
    for node in [a, b] {
        assert!(node.terminate().success());
    }
}

#[test]
fn a_restart_resumes_at_the_same_tip() {
    let place = Place::new();
    let address = place.wallet("node");
    let node = place.node("node", &[]);
    node.generate(25, &address);
    let (tip, coins) = (node.tip(), node.coins());
    assert!(node.terminate().success());
    assert!(!place.path("node/.cookie").exists(), "the cookie goes with the node");

    let node = place.node("node", &[]);
    assert_eq!((node.tip(), node.coins()), (tip.clone(), coins.clone()));
    node.kill();
    let node = place.node("node", &[]);
    assert_eq!((node.tip(), node.coins()), (tip, coins));

    // And `stop` ends it as a signal does.
    assert_eq!(place.run("node", &["rpc", "stop"]).code, 0);
    wait_for("the files to go", || (!place.path("node/.rpc-address").exists()).then_some(()));
}

#[test]
fn a_wallet_from_nothing_to_its_history() {
    let place = Place::new();
    place.found(&spec(INSTANT, &[]));
    let own = place.wallet("node");
    let node = place.node("node", &[]);
    let wallet = |args: &[&str]| place.run("node", &[&["wallet"], args].concat());
    assert_eq!(wallet(&["history"]).ok(), "nothing yet");
    assert_eq!(wallet(&["balance"]).ok(), "spendable  0 coins");

    node.generate(3, &own);
    let second = wallet(&["address", "--new"]).ok();
    assert_ne!(own, second);
    // Maturity is two blocks: of three coinbases two can go into the next block.
    assert_eq!(wallet(&["balance"]).ok(), "spendable  100 coins\nimmature   50 coins, mined lately");

    let first = wallet(&["send", &second, "30"]).ok();
    let balance: serde_json::Value = serde_json::from_str(&wallet(&["balance", "--json"]).ok()).unwrap();
    assert!(balance["pending"].as_i64().unwrap() < 0, "the fee: {balance}");
    // Needs the change of the first, which is in no block yet.
    let answer: serde_json::Value = serde_json::from_str(&wallet(&["send", &own, "95", "--json"]).ok()).unwrap();
    let fee = answer["fee"].as_u64().unwrap();
    assert!(fee >= answer["size"].as_u64().unwrap());
    node.generate(1, &own);
    assert!(node.mempool().is_empty());

    let history = wallet(&["history"]).ok();
    assert_eq!(history.lines().count(), 1 + 4 + 2, "a title, four coinbases, two payments:\n{history}");
    assert!(history.contains(&first) && history.contains(answer["txid"].as_str().unwrap()));
    let newest: serde_json::Value = serde_json::from_str(&wallet(&["history", "--limit", "1", "--json"]).ok()).unwrap();
    assert_eq!(newest.as_array().unwrap().len(), 1);

    // The balance equals all that was mined: the last coinbase returned the fees.
    let balance: serde_json::Value = serde_json::from_str(&wallet(&["balance", "--json"]).ok()).unwrap();
    assert_eq!(balance["balance"], 4 * 50 * COIN);
}
