//! What addresses own, proven by peers alone, and payments of a wallet that has no node.

use std::io::{BufRead, BufReader};

use cairn::consensus::params::GenesisSpec;
use cairn::primitives::amount::COIN;
use serde_json::Value;

use crate::commands::{FAILED, NOT_PROVEN};
use crate::process::{Done, Node, Place, spec, wait_for};
use crate::wallet::INSTANT;

/// Two nodes of a network with epochs of four blocks, in which directory `owner`'s wallet has 60 coins and 40.
fn network() -> (Place, [Node; 2], String, String) {
    let place = Place::new();
    let (owner, miner) = (place.wallet("owner"), place.wallet("miner"));
    let mut spec = GenesisSpec { epoch_blocks: 4, ..spec(INSTANT, &[(&owner, 60 * COIN), (&owner, 40 * COIN)]) };
    assert!(spec.mine_nonce());
    place.found(&spec);
    let a = place.node("a", &[]);
    let b = place.node("b", &["--connect", &a.peer_address()]);
    (place, [a, b], owner, miner)
}

fn mine(nodes: &[Node; 2], blocks: u32, miner: &str) {
    nodes[0].generate(blocks, miner);
    let tip = nodes[0].tip();
    wait_for("the other node to follow", || (nodes[1].tip() == tip).then_some(()));
}

/// Runs a command with both nodes as peers.
fn with_peers(place: &Place, nodes: &[Node; 2], dir: &str, args: &[&str]) -> Done {
    let [a, b] = [nodes[0].peer_address(), nodes[1].peer_address()];
    place.run(dir, &[args, &["--peer", &a, "--peer", &b]].concat())
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_wallet_without_a_node_sees_its_coins_pays_and_is_restored() {
    let (place, nodes, owner, miner) = network();
    let payee = place.wallet("payee");
    let run = |dir: &str, args: &[&str]| with_peers(&place, &nodes, dir, args);

    // A young chain begins with what genesis gives.
    mine(&nodes, 5, &miner);
    let told = run("light", &["light", "balance", &owner]).ok();
    assert!(told.contains("balance        100 coins in 2 coins, complete up to block 5"), "{told}");
    assert!(told.contains("known          100 coins in 2 coins of genesis"), "{told}");

    mine(&nodes, 295, &miner);
    let told = run("light", &["light", "balance", &owner, &payee, "--coins"]);
    assert!(
        told.stderr.contains("5 confirmations vouch for the coins that are proven, and 256 are advised"),
        "{told:?}"
    );
    let told = told.ok();
    for said in [
        "balance        100 coins in 2 coins, complete up to block 300",
        "buried         100 coins in 2 coins: there after block 292, and not spent since",
        "by block 296 with 5 confirmations",
        "block 300 itself was read",
        "coin           60 coins ",
        "2 of 2 agree",
    ] {
        assert!(told.contains(said), "{said:?} is not in {told}");
    }
    // What there is nothing of has no line of its own.
    let whole = run("light", &["light", "balance", &owner, "--total"]).ok();
    assert!(!told.contains("newer") && told.contains("filters") && !whole.contains("filters"), "{told}\n{whole}");
    let none = run("light", &["light", "balance", &payee]).ok();
    assert!(none.starts_with("balance        0 coins in 0 coins, complete up to block 300\nproven "), "{none}");
    run("light", &["light", "balance", &owner, "--min-confirmations", "6"]).fails(NOT_PROVEN, "5 confirmations, not 6");
    let total = json(&run("light", &["light", "balance", &owner, "--total", "--json"]).ok());
    assert_eq!((&total["proven"]["value"], &total["proven"]["count"]), (&(100 * COIN).into(), &2.into()));
    assert_eq!((&total["value"], &total["received_bytes"]["filters"]), (&Value::Null, &0.into()));

    // What would be paid, what cannot be, and what is.
    let dry = run("owner", &["wallet", "send", &payee, "12.5", "--light", "--dry-run"]).ok();
    assert!(dry.contains("12.5"), "{dry}");
    run("owner", &["wallet", "send", &payee, "101", "--light"]).fails(FAILED, "not enough coins");
    let sent = run("owner", &["wallet", "send", &payee, "12.5", "--light", "--label", "tea"]);
    assert!(sent.stderr.contains("asked for the payment and got it"), "{sent:?}");
    let txid = sent.ok();
    for node in &nodes {
        wait_for("the payment", || node.mempool().contains(&txid).then_some(()));
    }
    mine(&nodes, 1, &miner);
    let after = json(&run("light", &["light", "balance", &owner, &payee, "--json", "--coins"]).ok());
    let coins = after["coins"].as_array().unwrap();
    let buried = |coin: &&Value| coin["buried"] == true;
    assert_eq!((coins.len(), coins.iter().filter(buried).count()), (3, 1), "{after}");
    assert_eq!(after["value"].as_u64().unwrap(), 100 * COIN - 212, "less the fee");

    // It waits for a block.
    let [a, b] = [nodes[0].peer_address(), nodes[1].peer_address()];
    let args = ["wallet", "send", &payee, "1", "--light", "--wait", "2", "--peer", &a, "--peer", &b];
    let mut waiting = place.command("owner", &args).spawn().unwrap();
    let mut lines = BufReader::new(waiting.stdout.take().unwrap()).lines();
    let second = lines.next().expect("its id").unwrap();
    wait_for("the second payment", || nodes[0].mempool().contains(&second).then_some(()));
    mine(&nodes, 1, &miner);
    assert!(waiting.try_wait().unwrap().is_none(), "one confirmation is not enough");
    mine(&nodes, 1, &miner);
    assert!(waiting.wait().unwrap().success());
    let balance = json(&run("payee", &["wallet", "balance", "--light", "--json"]).ok());
    assert_eq!((&balance["spendable"], &balance["complete_to"]), (&(27 * COIN / 2).into(), &303.into()));

    // Single coins.
    let unspent = json(&run("light", &["light", "coin", &format!("{txid}:0"), "--json"]).ok());
    assert_eq!((&unspent["unspent"], &unspent["address"]), (&true.into(), &payee.as_str().into()));
    let first = nodes[0].call("getrawtransaction", &[txid.as_str().into(), 1.into()])["vin"][0].clone();
    let first = format!("{}:{}", first["txid"].as_str().unwrap(), first["vout"]);
    let spent = json(&run("light", &["light", "coin", &first, "--json"]).ok());
    assert_eq!((&spent["unspent"], &spent["spent_by"]), (&false.into(), &txid.as_str().into()));
    mine(&nodes, 16, &miner);
    assert!(run("light", &["light", "coin", &first]).ok().contains("it is not among the coins after it"));
    run("light", &["light", "coin", &format!("{txid}:7")]).fails(FAILED, "is no coin");
    run("light", &["light", "coin", &format!("{}:0", nodes[0].tip().1)]).fails(NOT_PROVEN, "do not have it");

    // The wallet again from its words, with the third of three addresses used.
    let third = {
        place.run("payee", &["wallet", "address", "--new"]).ok();
        place.run("payee", &["wallet", "address", "--new"]).ok()
    };
    run("owner", &["wallet", "send", &third, "2", "--light"]).ok();
    wait_for("the third payment", || (!nodes[0].mempool().is_empty()).then_some(()));
    mine(&nodes, 1, &miner);
    let words = place.run("payee", &["wallet", "words"]).ok();
    let restore = ["wallet", "new", "--restore", "--light", "--no-passphrase", "--peer", &a];
    let restored = place.run_with_input("again", &restore, &words);
    // It takes two questions.
    assert_eq!(restored.stderr.matches("warning: fewer than two peers vouch").count(), 1, "{restored:?}");
    let restored = restored.ok();
    assert!(restored.contains("number 3 is the last that was used"), "{restored}");
    assert_eq!(place.run("again", &["wallet", "address"]).ok(), third);

    for node in nodes {
        assert!(node.terminate().success());
    }
    place.run("owner", &["wallet", "send", &payee, "1", "--light", "--peer", &a]).fails(4, "no peer answers");
}
