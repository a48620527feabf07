//! Payments that wait, replaced by the wallet.

use crate::process::{Done, Node, Place, spec};
use cairn::primitives::amount::COIN;
use serde_json::Value;

use crate::wallet::{FAILED, INSTANT};

/// A node whose wallet has `coins` coins of 100, and the addresses of that wallet and of a payee.
fn rich(coins: usize) -> (Place, Node, String, String) {
    let place = Place::new();
    let own = place.wallet("node");
    place.found(&spec(INSTANT, &vec![(own.as_str(), 100 * COIN); coins]));
    let payee = place.wallet("payee");
    let node = place.node("node", &[]);
    (place, node, own, payee)
}

fn json(done: Done) -> Value {
    serde_json::from_str(&done.ok()).unwrap()
}

#[test]
fn a_bumped_payment_pays_the_same_with_a_higher_fee() {
    let (place, node, own, payee) = rich(1);
    let run = |args: &[&str]| place.run("node", &[&["wallet"], args].concat());
    let old = run(&["send", &payee, "1", "--data", "for the tea", "--label", "tea"]).ok();
    let before = node.call("getmempoolentry", &[old.as_str().into()]);
    let said = json(run(&["bump", &old, "--dry-run", "--json"]));
    assert_eq!(node.mempool(), [old.as_str()], "nothing is sent");
    let new = json(run(&["bump", &old, "--json"]));
    assert_eq!((&said["fee"], &said["outputs"]), (&new["fee"], &new["outputs"]));
    let txid = new["txid"].as_str().unwrap();
    assert_eq!(node.mempool(), [txid]);
    // Its own relay is paid for beside what it replaces.
    let size = new["size"].as_u64().unwrap();
    assert_eq!(new["fee"].as_u64().unwrap(), before["fees"]["base"].as_u64().unwrap() + size);
    let outputs = node.call("getrawtransaction", &[txid.into(), 1.into()])["vout"].clone();
    assert_eq!((&outputs[0]["value"], &outputs[0]["scriptPubKey"]["address"]), (&COIN.into(), &payee.as_str().into()));
    assert_eq!(outputs[1]["scriptPubKey"]["hex"], hex::encode("for the tea"));
    assert_eq!((outputs.as_array().unwrap().len(), &outputs[2]["scriptPubKey"]["address"]), (3, &own.as_str().into()));
    assert!(run(&["history"]).ok().contains("tea"), "the label goes with it");

    run(&["bump", txid, "--fee-rate", "1"]).fails(FAILED, "a replacement of");
    run(&["bump", txid, "--fee-rate", "20000"]).fails(FAILED, "is taken for a mistake");
    let dearer = run(&["bump", txid, "--fee-rate", "20"]).ok();
    assert_eq!(node.call("getmempoolentry", &[dearer.as_str().into()])["fees"]["base"], size * 20);
    run(&["bump", txid]).fails(FAILED, "only a payment that waits in the mempool can");
    node.generate(1, &payee);
    assert_eq!((node.confirmations(&dearer), node.confirmations(&old)), (Some(1), None));
    run(&["bump", &dearer]).fails(FAILED, "only a payment that waits in the mempool can");
}

#[test]
fn payments_of_others_and_those_that_others_build_on_are_not_replaced() {
    let (place, node, _, payee) = rich(1);
    let run = |args: &[&str]| place.run("node", &[&["wallet"], args].concat());
    let first = run(&["send", &payee, "1"]).ok();
    let cookie = std::fs::read_to_string(place.path("node/.cookie")).unwrap();
    let url = node.url().replace("http://", &format!("http://{cookie}@"));
    for action in ["bump", "cancel"] {
        let foreign = place.run("payee", &["wallet", action, &first, "--rpc", &url]);
        foreign.fails(FAILED, "is not a payment of this wallet");
    }
    // Of change that is not in a block yet.
    let second = run(&["send", &payee, "2"]).ok();
    for action in ["bump", "cancel"] {
        run(&[action, &first]).fails(FAILED, "1 transaction in the mempool would vanish");
    }
    run(&["cancel", &second]).ok();
}

#[test]
fn a_payment_without_change_is_bumped_with_another_coin() {
    let (place, node, _, payee) = rich(2);
    let run = |args: &[&str]| place.run("node", &[&["wallet"], args].concat());
    let coins = json(run(&["coins", "--json"]));
    let coin = format!("{}:{}", coins[0]["txid"].as_str().unwrap(), coins[0]["vout"]);
    let old = json(run(&["send", &payee, "all", "--from", &coin, "--json"]));
    let new = json(run(&["bump", old["txid"].as_str().unwrap(), "--json"]));
    assert_eq!((&new["amount"], new["inputs"].as_array().unwrap().len()), (&old["amount"], 2));
    assert_eq!(node.mempool(), [new["txid"].as_str().unwrap()]);
}

#[test]
fn a_cancelled_payment_is_never_mined() {
    let (place, node, own, payee) = rich(3);
    let run = |args: &[&str]| place.run("node", &[&["wallet"], args].concat());
    let old = run(&["send", &payee, "250"]).ok();
    let cancelled = json(run(&["cancel", &old, "--json"]));
    let new = cancelled["txid"].as_str().unwrap();
    assert_eq!((&cancelled["replaced"], node.mempool()), (&old.as_str().into(), vec![new.to_owned()]));
    assert_eq!(cancelled["inputs"].as_array().unwrap().len(), 1, "the other coins are free again");
    node.generate(1, &payee);
    assert_eq!((node.confirmations(&old), node.confirmations(new)), (None, Some(1)));
    let balance = json(run(&["balance", "--json"]));
    assert_eq!(balance["spendable"].as_u64().unwrap(), 300 * COIN - cancelled["fee"].as_u64().unwrap());
    assert_eq!(cancelled["outputs"][0]["address"], own.as_str());
}
