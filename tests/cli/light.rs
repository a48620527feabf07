//! `cairn light` as a person types it, against real nodes over real sockets.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::interrupted::INTERRUPTED;
use crate::process::{Done, Place, send_signal, spec, wait_for};
use cairn::consensus::params::{GenesisSpec, Retarget};
use cairn::primitives::amount::COIN;
use serde_json::Value;

/// Bits that every second hash meets.
const INSTANT: u32 = 0x207f_ffff;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn a_payment_is_proven_without_trusting_any_node() {
    let place = Place::new();
    let (payer, payee, miner) = (place.wallet("a"), place.wallet("payee"), place.wallet("miner"));
    place.found(&spec(INSTANT, &[(&payer, 1_000 * COIN)]));
    let a = place.node("a", &[]);
    let b = place.node("b", &["--connect", &a.peer_address()]);
    let txid = place.run("a", &["wallet", "send", &payee, "12.5"]).ok();
    a.generate(6, &miner);
    let tip = a.tip();
    wait_for("B to follow", || (b.tip() == tip).then_some(()));
    let (at_a, at_b) = (a.peer_address(), b.peer_address());
    let light = |args: &[&str]| {
        let peers = ["--peer", &at_a, "--peer", &at_b];
        place.run("light", &[&["light"], args, &peers].concat())
    };

    let synced = light(&["sync"]).ok();
    for said in ["height         6", &tip.1, "2 agree", "480 bytes"] {
        assert!(synced.contains(said), "{said:?} is not in {synced}");
    }
    let proven = light(&["verify", &txid]).ok();
    for said in
        ["proven         transaction", "confirmations  6 (block 1 of 6)", "12.5 coins to", &payee, "2 of 2 agree"]
    {
        assert!(proven.contains(said), "{said:?} is not in {proven}");
    }
    let proven = json(&light(&["verify", &txid, "--json", "--min-confirmations", "6"]).ok());
    assert_eq!((&proven["proven"], &proven["confirmations"]), (&true.into(), &6.into()));
    let block = proven["blockhash"].as_str().unwrap().to_owned();
    assert_eq!(json(&light(&["verify", &txid, "--block", &block, "--json"]).ok())["blockhash"], block.as_str());

    // Not proven, proven absent and not deep enough are different failures.
    light(&["verify", &txid, "--min-confirmations", "7"]).fails(3, "proven, but with 6 confirmations, not 7");
    light(&["verify", &block]).fails(3, "not proven: of the peers asked, 2 say that they do not have it");
    light(&["verify", &txid, "--block", &tip.1]).fails(3, "proven absent: block");
    light(&["verify", &txid, "--block", &txid]).fails(3, "not proven");

    let history = json(&light(&["history", &payee, "--json"]).ok());
    assert_eq!(history["transactions"].as_array().map(Vec::len), Some(1), "{history}");
    assert_eq!(history["transactions"][0]["txid"], txid.as_str());
    light(&["history", "alice"]).fails(2, "\"alice\" is not an address");

    // Warnings are words, not failures: only one peer, and a chain that is no better than what was known.
    let work = proven["chainwork"].as_str().unwrap();
    let warned = json(&place.run("light", &["light", "sync", "--json", "--peer", &at_a, "--expect-work", work]).ok());
    let warnings = warned["warnings"].to_string();
    assert!(warnings.contains("fewer than two peers") && warnings.contains("an eclipse"), "{warnings}");

    // An address that is not for peers.
    let web = a.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let said = format!("{web} speaks HTTP, as a node's address for RPC does: give its address for peers");
    place.run("light", &["light", "sync", "--peer", &web]).fails(4, &said);
    let id = a.call("getnetworkinfo", &[])["nodeid"].as_str().unwrap().to_owned();
    let other = format!("{}@{at_a}", "7".repeat(64));
    let wrong = place.run("light", &["light", "sync", "--peer", &other]);
    wrong.fails(4, &format!("{at_a} is another node, whose id is {id}"));
    assert!(a.terminate().success() && b.terminate().success());
    place.run("light", &["light", "sync", "--peer", &at_a]).fails(4, "cannot be reached");
    let status = json(&place.run("light", &["light", "status", "--json"]).ok());
    assert_eq!((&status["height"], &status["tip"], &status["bytes"]), (&6.into(), &tip.1.as_str().into(), &480.into()));
    place.run("light", &["light", "sync", "--peer", "nowhere"]).fails(2, "is not a node to connect to");
    // Before any peer is asked: none answers.
    for command in ["balance", "watch", "history"] {
        place.run("light", &["light", command, "alice", "--peer", &at_a]).fails(2, "\"alice\" is not an address");
    }
}

#[test]
fn without_a_peer_the_light_client_says_so_and_ends() {
    let place = Place::new();
    let (payee, miner) = (place.wallet("payee"), place.wallet("miner"));
    // With any time-out: there is no address to try.
    let alone = place.run("light", &["light", "sync", "--timeout", "86400"]);
    assert!(alone.stderr.starts_with("no peer is named, and the network has no seeds\n"), "{alone:?}");
    alone.fails(4, "none is known; give one with --peer");
    // A seed that does not answer is the only address.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    place.found(&GenesisSpec { seeds: vec![silent.clone()], ..spec(INSTANT, &[]) });
    let unseeded = place.run("light", &["light", "sync", "--timeout", "86400"]);
    assert!(unseeded.stderr.contains(&format!("looking for nodes through the seeds {silent}")), "{unseeded:?}");
    unseeded.fails(4, &format!("{silent} cannot be reached"));

    // The only peer of a watch stops.
    place.found(&spec(INSTANT, &[]));
    let node = place.node("node", &[]);
    node.generate(2, &miner);
    let args = ["light", "watch", &payee, "--timeout", "2", "--peer", &node.peer_address()];
    let mut watch = place.command("light", &args).spawn().unwrap();
    let mut lines = BufReader::new(watch.stderr.take().unwrap()).lines();
    let mut said = |text: &str| {
        let found = lines.by_ref().map(Result::unwrap).find(|line| line.contains(text));
        assert!(found.is_some(), "it ended without saying {text:?}");
    };
    said("asking 127.0.0.1");
    said("fewer than two peers");
    assert!(node.terminate().success());
    said("warning: no peer is left");
    said("error: no peer answers");
    assert_eq!(watch.wait().unwrap().code(), Some(4));
}

#[test]
fn an_interruption_before_a_result_is_a_failure() {
    let place = Place::new();
    place.found(&spec(INSTANT, &[]));
    // It takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (txid, peer) = ("00".repeat(32), silent.local_addr().unwrap().to_string());
    let mut verify = place.command("light", &["light", "verify", &txid, "--peer", &peer]).spawn().unwrap();
    let mut said = BufReader::new(verify.stderr.take().unwrap()).lines();
    assert!(said.next().unwrap().unwrap().starts_with("asking"));
    assert!(send_signal("INT", verify.id()));
    assert_eq!(verify.wait().unwrap().code(), Some(INTERRUPTED));
}

#[test]
fn watch_prints_a_payment_as_it_is_seen_confirmed_and_reorganised_away() {
    let place = Place::new();
    let (payer, payee, miner) = (place.wallet("a"), place.wallet("payee"), place.wallet("miner"));
    place.found(&spec(INSTANT, &[(&payer, 1_000 * COIN)]));
    let a = place.node("a", &[]);
    let b = place.node("b", &[]);
    a.generate(3, &miner);
    // A rival branch, on a node without connections.
    b.generate(12, &payee);
    let args = ["light", "watch", &payee, "--json", "--peer", &a.peer_address(), "--peer", &b.peer_address()];
    let mut watch = place.command("light", &args);

    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    let mut next = || json(&lines.next().expect("it goes on").unwrap());

    // Another command beside it, on the same data.
    let peers = ["light", "sync", "--peer", &a.peer_address(), "--peer", &b.peer_address()];
    assert!(place.run("light", &peers).ok().contains("height         12"));

    // B's chain has more work, and pays the address in every block.
    for height in 1..=12 {
        let line = next();
        assert_eq!((&line["event"], &line["height"]), (&"confirmed".into(), &height.into()), "{line}");
        assert_eq!(line["received"], 50 * COIN);
    }
    // A's grows longer: all of those are gone, last first.
    let txid = place.run("a", &["wallet", "send", &payee, "2"]).ok();
    let seen = next();
    assert_eq!((&seen["event"], &seen["txid"]), (&"seen".into(), &txid.as_str().into()), "{seen}");
    a.generate(10, &miner);
    for height in (1..=12).rev() {
        let line = next();
        assert_eq!((&line["event"], &line["height"]), (&"reorganised".into(), &height.into()), "{line}");
    }
    let line = next();
    assert_eq!(
        (&line["event"], &line["txid"], &line["height"]),
        (&"confirmed".into(), &txid.as_str().into(), &4.into())
    );
    watch.kill().unwrap();
    watch.wait().unwrap();
}

/// Both verifiers doubt in the same words.
#[test]
fn a_young_chain_is_warned_of_as_a_receipt_of_it_is() {
    let place = Place::new();
    let (payer, miner) = (place.wallet("a"), place.wallet("miner"));
    let mut spec =
        GenesisSpec { retarget: Retarget::Asert, max_future_secs: 360, ..spec(INSTANT, &[(&payer, 1_000 * COIN)]) };
    assert!(spec.mine_nonce());
    place.found(&spec);
    let node = place.node("a", &[]);
    let txid = place.run("a", &["wallet", "send", &miner, "1"]).ok();
    node.generate(2, &miner);
    place.run("a", &["proof", "get", &txid, "-o", "pay.json"]).ok();
    let offline = place.run("verifier", &["proof", "verify", "pay.json", "--min-work", "1", "--json"]);
    let told = |done: &Done| done.stderr.lines().filter(|line| line.contains("pace")).map(str::to_owned).collect();
    let expected: Vec<String> = told(&offline);
    assert_eq!(expected.len(), 1, "{offline:?}");
    let online = place.run("light", &["light", "verify", &txid, "--json", "--peer", &node.peer_address()]);
    let same: Vec<String> = told(&online);
    assert_eq!(same, expected, "{online:?}");
    let warnings = json(&online.ok())["warnings"].to_string();
    assert!(warnings.contains("too little work is shown"), "{warnings}");
}

/// Miners who make many blocks at once and then none are gone a few seconds later.
#[test]
fn a_chain_that_its_miners_have_left_is_refused_unless_accepted() {
    let place = Place::new();
    let miner = place.wallet("miner");
    let mut spec = GenesisSpec { retarget: Retarget::Asert, max_future_secs: 360, ..spec(INSTANT, &[]) };
    assert!(spec.mine_nonce());
    place.found(&spec);
    let node = place.node("a", &[]);
    node.generate(200, &miner);
    let address = node.peer_address();
    let sync =
        |more: &[&str]| place.run("light", &[&["light", "sync", "--json", "--peer", &address][..], more].concat());
    let refused = wait_for("the chain to fall behind its pace", || Some(sync(&[])).filter(|done| done.code != 0));
    assert!(refused.stderr.contains("slow_chain"), "{refused:?}");
    refused.fails(5, "of the work that its miners did before");
    let warnings = json(&sync(&["--accept-slow-chain"]).ok())["warnings"].to_string();
    assert!(warnings.contains("of the work that its miners did before"), "{warnings}");
}

/// The headers of this chain take more bytes than a proof.
#[test]
fn a_long_chain_is_proven_by_a_sample_and_what_is_kept_survives_kills_and_damage() {
    const BLOCKS: u64 = 2_400;
    let place = Place::new();
    let (payer, payee, miner) = (place.wallet("a"), place.wallet("payee"), place.wallet("miner"));
    place.found(&spec(INSTANT, &[(&payer, 1_000 * COIN)]));
    let node = place.node("a", &[]);
    let txid = place.run("a", &["wallet", "send", &payee, "12.5"]).ok();
    node.generate(BLOCKS as u32, &miner);
    let peer = node.peer_address();
    let light = |args: &[&str]| place.run("light", &[&["light"], args, &["--json", "--peer", &peer]].concat());
    let status = || json(&place.run("light", &["light", "status", "--json"]).ok());
    let sync = |more: &[&str]| json(&light(&[&["sync"][..], more].concat()).ok());
    let bytes = |said: &Value| said["received_bytes"]["headers"].as_u64().unwrap();

    let first = sync(&[]);
    assert_eq!((&first["height"], &first["headers_from"]), (&BLOCKS.into(), &(BLOCKS - 256).into()));
    assert!(bytes(&first) < 80 * BLOCKS / 2, "{first}");
    // Old blocks, by transaction, whole, and by an address.
    let proven = json(&light(&["verify", &txid]).ok());
    assert_eq!((&proven["confirmations"], &proven["blockheight"]), (&BLOCKS.into(), &1.into()));
    let block = proven["blockhash"].as_str().unwrap().to_owned();
    assert_eq!(json(&light(&["verify", &txid, "--block", &block]).ok())["confirmations"], BLOCKS);
    let balance = json(&light(&["balance", &payee]).ok());
    assert_eq!(balance["value"], 12 * COIN + COIN / 2, "{balance}");

    // What is kept serves again, also when its writer was killed, and when its end is damaged.
    assert!(bytes(&sync(&[])) < 1_000);
    let mut watch =
        place.command("light", &["light", "watch", &miner, "--from-height", "2401", "--json", "--peer", &peer]);
    let mut watch = watch.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    let mut lines = BufReader::new(watch.stdout.take().unwrap()).lines();
    node.generate(3, &miner);
    for height in BLOCKS + 1..=BLOCKS + 3 {
        let line = json(&lines.next().expect("it goes on").unwrap());
        assert_eq!((&line["event"], &line["height"]), (&"confirmed".into(), &height.into()), "{line}");
    }
    watch.kill().unwrap();
    watch.wait().unwrap();
    let file = status()["file"].as_str().map(std::path::PathBuf::from).unwrap();
    let kept = std::fs::read(&file).unwrap();
    for length in [kept.len(), kept.len() - 30, kept.len() / 2, 5] {
        std::fs::write(&file, &kept[..length]).unwrap();
        let again = sync(&[]);
        assert_eq!(again["tip"], node.tip().1.as_str(), "{length} of {} bytes: {again}", kept.len());
        assert_eq!(bytes(&again) < 1_000, length > kept.len() / 2, "{length} of {} bytes: {again}", kept.len());
    }

    let whole = sync(&["--all-headers"]);
    assert_eq!((&whole["headers_from"], &whole["headers_bytes"]), (&1.into(), &(80 * (BLOCKS + 3)).into()));
    assert_eq!(whole["tip"], node.tip().1.as_str());
}
