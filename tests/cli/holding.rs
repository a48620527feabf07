//! What an address owns, proven by a node and checked by a machine that has never seen one.

use cairn::consensus::params::GenesisSpec;
use cairn::primitives::amount::COIN;
use serde_json::Value;

use crate::commands::{FAILED, NOT_PROVEN};
use crate::process::{Place, spec};
use crate::wallet::INSTANT;

#[test]
fn a_balance_is_proven_and_checked_offline() {
    let place = Place::new();
    let (owner, miner) = (place.wallet("owner"), place.wallet("miner"));
    let mut spec = GenesisSpec { epoch_blocks: 4, ..spec(INSTANT, &[(&owner, 60 * COIN), (&owner, 40 * COIN)]) };
    assert!(spec.mine_nonce());
    place.found(&spec);
    let node = place.node("a", &[]);
    let proof = |args: &[&str]| place.run("a", &[&["proof"], args].concat());
    proof(&["balance", &owner]).fails(FAILED, "no block commits to coins before height 4");
    node.generate(300, &miner);

    // A state that 256 blocks' worth of work vouch for is given if it is kept; with such short epochs none is.
    assert!(proof(&["balance", &owner, "-o", "balance.json"]).ok().contains("balance.json: 100 coins in 2 coins, "));
    let offline = |args: &[&str]| place.run("verifier", &[&["proof", "verify"], args].concat());
    offline(&["balance.json"]).fails(NOT_PROVEN, "the work of 256 is wanted");
    let shown = offline(&["balance.json", "--min-work", "1"]).ok();
    assert!(shown.contains("proven         100 coins in 2 coins") && shown.contains(&owner), "{shown}");

    proof(&["balance", &owner, "--coins", "--all-headers", "-o", "coins.json"]).ok();
    let shown: Value = serde_json::from_str(&offline(&["coins.json", "--min-work", "1", "--json"]).ok()).unwrap();
    assert_eq!((&shown["value"], &shown["count"]), (&(100 * COIN).into(), &2.into()));
    let coins = shown["coins"].as_array().unwrap();
    let coin = format!("{}:{}", coins[0]["txid"].as_str().unwrap(), coins[0]["vout"]);
    let text = proof(&["coin", &coin]).ok();
    let told = place.run_with_input("verifier", &["proof", "verify", "-", "--min-work", "1"], &text).ok();
    assert!(told.contains("unspent") && told.contains(&coin), "{told}");

    // Spent: the next state that is committed to does not have it.
    place.run("a", &["wallet", "send", &miner, "99", "--wallet", "owner/wallet.json"]).ok();
    node.generate(20, &miner);
    assert!(
        proof(&["coin", &coin, "-o", "coin.json"]).ok().contains("not among the coins: spent by then, or made later")
    );

    let forged = std::fs::read_to_string(place.path("balance.json")).unwrap().replace("\"balance\"", "\"coins\"");
    place.run_with_input("verifier", &["proof", "verify", "-"], &forged).fails(NOT_PROVEN, "the proof of the coins");
    place.run_with_input("verifier", &["proof", "verify", "-"], &forged[..400]).fails(FAILED, "not a receipt");
    proof(&["car", "balance.json", "-o", "x.car"]).fails(FAILED, "is about coins, not about a payment");
    offline(&["balance.json", "--min-work", "1", "--save-checkpoint", "seen.json"]).fails(FAILED, "a checkpoint");
}
