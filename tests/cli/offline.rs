//! Keys on a machine without a network: another wallet watches and prepares, any node sends.

use crate::commands::USAGE;
use crate::process::{Done, Place, spec};
use cairn::primitives::amount::COIN;
use serde_json::Value;

use crate::wallet::{FAILED, INSTANT};

fn json(done: Done) -> Value {
    serde_json::from_str(&done.ok()).unwrap()
}

#[test]
fn a_payment_is_prepared_signed_elsewhere_and_sent() {
    let place = Place::new();
    let first = place.wallet("cold");
    let second = place.run("cold", &["wallet", "address", "--new"]).ok();
    place.found(&spec(INSTANT, &[(first.as_str(), 60 * COIN), (second.as_str(), 40 * COIN)]));
    let node = place.node("hot", &[]);
    let payee = place.wallet("payee");
    let hot = |args: &[&str]| place.run("hot", &[&["wallet"], args].concat());
    let cold = |args: &[&str]| place.run("cold", &[&["wallet"], args].concat());

    hot(&["watch", &first]).ok();
    assert!(hot(&["watch", &first, &second]).ok().ends_with("watches 2 addresses"));
    hot(&["watch", "me"]).fails(USAGE, "is not an address");
    cold(&["watch", &payee]).fails(FAILED, "has keys of its own");
    assert_eq!(hot(&["balance"]).ok(), "spendable  100 coins");
    for args in [
        &["send", &payee, "1"][..],
        &["words"],
        &["address", "--new"],
        &["private-key", &first],
        &["sign-message", "I was here."],
        &["sign-message", "I was here.", "--address", &first],
    ] {
        hot(args).fails(FAILED, "watches addresses and has no keys: use the wallet that has them");
    }
    hot(&["sign-message", "x", "--address", &payee]).fails(FAILED, "is not an address of this wallet");
    assert!(hot(&["send", &payee, "1", "--dry-run"]).ok().contains("change"));

    hot(&["prepare", &payee, "70", "-o", "pay.json"]).ok();
    assert!(node.mempool().is_empty());
    // Away from the network.
    let shown = cold(&["sign", "pay.json", "--dry-run"]).ok();
    assert!(shown.contains(&format!("70  {payee}")) && shown.contains("this wallet"), "{shown}");
    assert!(shown.contains("60  ") && shown.contains("40  ") && shown.contains("312 bytes"), "{shown}");
    hot(&["broadcast", "pay.json"]).fails(FAILED, "2 signatures of the payment are missing");
    let signed = cold(&["sign", "pay.json", "-o", "signed.json"]).ok();
    assert!(signed.ends_with("signed.json: the payment is signed"), "{signed}");
    place.run("payee", &["wallet", "sign", "pay.json"]).fails(FAILED, "spends no coin of the wallet");
    hot(&["sign", "pay.json"]).fails(FAILED, "watches addresses and has no keys");

    // A value that was changed on the way shows as a signature that does not hold.
    let text = std::fs::read_to_string(place.path("signed.json")).unwrap();
    std::fs::write(place.path("lie.json"), text.replacen("6000000000", "6000000001", 1)).unwrap();
    hot(&["broadcast", "lie.json"]).fails(FAILED, "2 signatures of the payment are missing");
    std::fs::write(place.path("torn.json"), &text[..text.len() / 2]).unwrap();
    hot(&["broadcast", "torn.json"]).fails(FAILED, "torn.json cannot be used: not a payment's file");

    let sent = json(hot(&["broadcast", "signed.json", "--label", "rent", "--json"]));
    let txid = sent["txid"].as_str().unwrap();
    assert_eq!((node.mempool(), &sent["fee"]), (vec![txid.to_owned()], &312.into()));
    node.generate(1, &payee);
    assert_eq!(node.confirmations(txid), Some(1));
    assert!(hot(&["history"]).ok().lines().last().unwrap().ends_with("rent"));
    let change = json(hot(&["coins", "--json"]));
    assert_eq!((change.as_array().unwrap().len(), &change[0]["value"]), (1, &(30 * COIN - 312).into()));
}

#[test]
fn a_fee_that_must_be_a_mistake_is_not_signed() {
    let place = Place::new();
    let own = place.wallet("a");
    place.found(&spec(INSTANT, &[(own.as_str(), 100 * COIN)]));
    let _node = place.node("a", &[]);
    let payee = place.wallet("payee");
    let run = |args: &[&str]| place.run("a", &[&["wallet"], args].concat());
    run(&["address", "--new"]).ok();
    run(&["prepare", &payee, "1", "--fee-rate", "200000", "--max-fee", "1", "-o", "pay.json"]).ok();
    run(&["sign", "pay.json"]).fails(FAILED, "is taken for a mistake");
    let text = std::fs::read_to_string(place.path("pay.json")).unwrap();
    // From stdin to stdout, once the fee is allowed.
    let signed = place.run_with_input("a", &["wallet", "sign", "-", "--max-fee", "1"], &text).ok();
    let txid = place.run_with_input("a", &["wallet", "broadcast", "-"], &signed).ok();
    assert_eq!(txid.len(), 64);
}
