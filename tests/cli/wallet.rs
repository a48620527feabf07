//! `cairn wallet` in real processes: used by several people and programs at once, with losses and mistakes.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::process::Stdio;

use crate::process::{Done, Node, Place, done, spec, wait_for};
use cairn::primitives::amount::{Amount, COIN};
use serde_json::Value;

pub const FAILED: i32 = 1;
const NO_NODE: i32 = 4;

/// Bits that every second hash meets.
pub const INSTANT: u32 = 0x207f_ffff;

/// A node of a network that gives directory `node`'s wallet `coins` coins of `value` grains.
fn rich(coins: usize, value: u64) -> (Place, Node, String) {
    let place = Place::new();
    let own = place.wallet("node");
    place.found(&spec(INSTANT, &vec![(own.as_str(), value); coins]));
    let node = place.node("node", &[]);
    (place, node, own)
}

/// Runs commands at the same time, each in its own process.
fn at_once(place: &Place, commands: &[(&str, Vec<&str>)]) -> Vec<Done> {
    std::thread::scope(|scope| {
        let run = |(name, args): &(&str, Vec<&str>)| place.run(name, args);
        let running: Vec<_> = commands.iter().map(|command| scope.spawn(move || run(command))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn transaction(node: &Node, txid: &str) -> Value {
    node.call("getrawtransaction", &[txid.into(), 1.into()])
}

/// The coins that a transaction spends.
fn spent(node: &Node, txid: &str) -> Vec<String> {
    let tx = transaction(node, txid);
    tx["vin"].as_array().unwrap().iter().map(|input| format!("{}:{}", input["txid"], input["vout"])).collect()
}

#[test]
fn addresses_handed_out_at_once_all_differ_and_are_all_kept() {
    const CALLERS: usize = 60;
    let place = Place::new();
    let first = place.wallet("a");
    let answers = at_once(&place, &vec![("a", vec!["wallet", "address", "--new"]); CALLERS]);
    let printed: BTreeSet<String> = answers.into_iter().map(Done::ok).collect();
    assert_eq!(printed.len(), CALLERS, "no two callers got one address");
    let kept = place.run("a", &["wallet", "address", "--all"]).ok();
    let kept: BTreeSet<String> = kept.lines().map(str::to_owned).collect();
    assert_eq!(kept.len(), CALLERS + 1);
    assert!(kept.contains(&first) && printed.is_subset(&kept));
    let files: BTreeSet<_> =
        std::fs::read_dir(place.path("a")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(files, ["wallet.json", "wallet.json.lock"].map(Into::into).into(), "no temporary file is left");
}

#[test]
fn wallets_made_at_once_in_one_place_are_one_wallet() {
    let place = Place::new();
    let answers = at_once(&place, &vec![("a", vec!["wallet", "new"]); 8]);
    let (made, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(|done| done.code == 0);
    assert_eq!((made.len(), refused.len()), (1, 7), "{refused:?}");
    let address = place.run("a", &["wallet", "address"]).ok();
    assert!(made[0].stdout.contains(&address), "the one that was told is the one that is kept");
    refused.into_iter().for_each(|done| done.fails(FAILED, "wallets are never overwritten"));
}

/// Payments of one wallet at the same time, half of them at a fee rate at which they would replace the others.
#[test]
fn payments_at_once_are_all_made_and_none_replaces_another() {
    let (place, node, _) = rich(10, 100 * COIN);
    let payee = place.wallet("payee");
    let send = |rate| ("node", vec!["wallet", "send", &payee, "1.5", "--fee-rate", rate]);
    let commands: Vec<_> = ["1", "20"].into_iter().cycle().take(12).map(send).collect();
    let txids: BTreeSet<String> = at_once(&place, &commands).into_iter().map(Done::ok).collect();
    assert_eq!(txids.len(), 12);
    let waiting: BTreeSet<String> = node.mempool().into_iter().collect();
    assert_eq!(waiting, txids, "none was replaced");
    node.generate(1, &payee);
    assert!(txids.iter().all(|txid| node.confirmations(txid) == Some(1)));
    let inputs: Vec<String> = txids.iter().flat_map(|txid| spent(&node, txid)).collect();
    assert_eq!(inputs.iter().collect::<BTreeSet<_>>().len(), inputs.len(), "each spends coins of its own");
}

/// The lock is a file system's: it does not reach a copy of the wallet. The node refuses what would replace a payment.
#[test]
fn copies_of_a_wallet_do_not_replace_each_others_payments() {
    let (place, node, _) = rich(4, 100 * COIN);
    std::fs::create_dir(place.path("copy")).unwrap();
    std::fs::copy(place.path("node/wallet.json"), place.path("copy/wallet.json")).unwrap();
    let copy = place.path("copy/wallet.json");
    let payee = place.wallet("payee");
    let pay = |args: &[&str]| {
        let send = ["wallet", "send", &payee, "1"];
        (0..6).map(|_| place.run("node", &[&send, args].concat()).ok()).collect::<Vec<_>>()
    };
    let txids: Vec<String> = std::thread::scope(|scope| {
        let cheap = scope.spawn(|| pay(&["--fee-rate", "1"]));
        let dear = scope.spawn(|| pay(&["--fee-rate", "20", "--wallet", copy.to_str().unwrap()]));
        [cheap.join().unwrap(), dear.join().unwrap()].concat()
    });
    assert_eq!(node.mempool().into_iter().collect::<BTreeSet<_>>(), txids.into_iter().collect());
}

fn json(done: Done) -> Value {
    serde_json::from_str(&done.ok()).unwrap()
}

#[test]
fn several_are_paid_at_once_and_all_is_what_is_left() {
    let (place, node, own) = rich(3, 100 * COIN);
    let (ada, bob) = (place.wallet("ada"), place.wallet("bob"));
    let send = |args: &[&str]| place.run("node", &[&["wallet", "send"], args].concat());
    let usage = |args: &[&str], text: &str| send(args).fails(2, text);
    usage(&[&ada], "2 values required");
    usage(&[&ada, "1", &bob], "has no amount: give ADDRESS AMOUNT");
    usage(&[&ada, "all", &bob, "all"], "only one payee can get all");
    usage(&[&ada, "1", &bob, "some"], "is not an amount of coins");
    let paid = json(send(&[&ada, "1.5", &bob, "2", "--json"]));
    let txid = paid["txid"].as_str().unwrap().to_owned();
    assert_eq!((&paid["amount"], &paid["fee"]), (&(350_000_000).into(), &(24 + 100 + 3 * 44).into()));
    let outputs = transaction(&node, &txid)["vout"].clone();
    let address = |index: usize| outputs[index]["scriptPubKey"]["address"].as_str().unwrap().to_owned();
    assert_eq!((address(0), address(1), address(2)), (ada.clone(), bob.clone(), own.clone()));
    // Everything, what is not in a block yet too: of 300 coins, 3.5 and the fees are gone.
    let rest = json(send(&[&bob, "1", &ada, "all", "--json"]));
    assert_eq!(rest["inputs"].as_array().unwrap().len(), 3);
    let left = 300 * COIN - 350_000_000 - paid["fee"].as_u64().unwrap();
    assert_eq!((&rest["change"], &rest["fee"]), (&0.into(), &(24 + 300 + 88).into()));
    assert_eq!(rest["amount"].as_u64().unwrap(), left - 412);
    send(&[&ada, "all"]).fails(FAILED, "not enough coins: 0 can be spent");
    node.generate(1, &ada);
    let balance = json(place.run("node", &["wallet", "balance", "--json"]));
    assert_eq!((&balance["balance"], &balance["pending"]), (&0.into(), &0.into()));
}

#[test]
fn a_dry_run_says_what_a_payment_would_do_and_does_nothing() {
    let (place, node, own) = rich(2, 100 * COIN);
    let payee = place.wallet("payee");
    let send = |args: &[&str]| place.run("node", &[&["wallet", "send", &payee], args].concat());
    let text = send(&["1", "--dry-run"]).ok();
    assert!(text.contains(&format!("1  {payee}")) && text.contains(&format!("98.99999788  {own}  change")), "{text}");
    assert!(text.contains("0.00000212  1 grain a byte, 212 bytes") && text.contains("nothing was signed"), "{text}");
    assert!(node.mempool().is_empty());
    let said = json(send(&["1", "--dry-run", "--json"]));
    assert!(said["txid"].is_null(), "{said}");
    let mut sent = json(send(&["1", "--json"]));
    sent.as_object_mut().unwrap().remove("txid");
    assert_eq!(said, sent, "what was said is what is done");
    send(&["1", "--dry-run", "--wait", "1"]).fails(2, "cannot be used with");
    // No secret is needed to look.
    let mut command = place.command("sealed", &["wallet", "new", "--passphrase"]);
    command.env("CAIRN_PASSPHRASE", "secret");
    done(command).ok();
    let sealed = place.run("sealed", &["wallet", "address"]).ok();
    place.run("node", &["wallet", "send", &sealed, "5"]).ok();
    let url = with_cookie(&place, &node);
    place.run("sealed", &["wallet", "send", &payee, "1", "--dry-run", "--rpc", &url]).ok();
    place.run("sealed", &["wallet", "send", &payee, "1", "--rpc", &url]).fails(FAILED, "no terminal");
}

/// The node's URL with its credentials, for commands with another data directory.
fn with_cookie(place: &Place, node: &Node) -> String {
    let cookie = std::fs::read_to_string(place.path(&node.name).join(".cookie")).unwrap();
    node.url().replace("http://", &format!("http://{cookie}@"))
}

#[test]
fn named_coins_are_spent_and_no_others() {
    let (place, node, own) = rich(4, 100 * COIN);
    let payee = place.wallet("payee");
    let listed = json(place.run("node", &["wallet", "coins", "--json"]));
    let outpoint = |n: usize| format!("{}:{}", listed[n]["txid"].as_str().unwrap(), listed[n]["vout"]);
    assert!(place.run("node", &["wallet", "coins"]).ok().contains(&format!("{}  {own}  1 confirmation", outpoint(2))));
    let (first, last) = (outpoint(0), outpoint(3));
    let send = |args: &[&str]| place.run("node", &[&["wallet", "send", &payee], args].concat());
    let txid = send(&["1", "--from", &first, "--from", &last]).ok();
    let named: Vec<String> = spent(&node, &txid).iter().map(|coin| coin.replace('"', "")).collect();
    assert_eq!(named, [first.clone(), last]);
    send(&["1", "--from", &first]).fails(FAILED, &format!("{first} is no coin that this wallet can spend now"));
    send(&["200", "--from", &outpoint(1)]).fails(FAILED, "not enough coins: 100 can be spent");
    send(&["1", "--from", "7:0"]).fails(2, "is not an outpoint");
    let swept = json(send(&["all", "--from", &outpoint(1), "--json"]));
    assert_eq!(swept["amount"], 100 * COIN - 168);
    let listed = place.run("node", &["wallet", "coins"]).ok();
    assert!(listed.contains(&format!("spent by {txid}")), "{listed}");
    assert!(listed.lines().next().unwrap().ends_with("not in a block yet"), "first what can be spent: {listed}");

    // What is spent, and what comes back of it, adds up.
    let balance = json(place.run("node", &["wallet", "balance", "--json"]));
    let total = balance["balance"].as_i64().unwrap() + balance["pending"].as_i64().unwrap();
    let coins = |grains: i64| Amount::from_grains(grains as u64).in_coins().to_string();
    let lines = [
        "spendable  100 coins".to_owned(),
        format!("incoming   {}, change included, not in a block yet", coins(total - 100 * COIN as i64)),
        format!("in all     {}", coins(total)),
    ];
    assert_eq!(place.run("node", &["wallet", "balance"]).ok(), lines.join("\n"));
}

/// The payee would see both parts of the payer's coin as its own.
#[test]
fn change_never_goes_to_a_payee() {
    let (place, node, own) = rich(2, 100 * COIN);
    let addresses = |txid: &str| -> Vec<String> {
        let outputs = transaction(&node, txid)["vout"].clone();
        let address = |output: &Value| output["scriptPubKey"]["address"].as_str().unwrap().to_owned();
        outputs.as_array().unwrap().iter().map(address).collect()
    };
    let send = |to: &str| place.run("node", &["wallet", "send", to, "1"]).ok();
    let paid = addresses(&send(&own));
    let newest = place.run("node", &["wallet", "address"]).ok();
    assert_eq!(paid, [own.clone(), newest.clone()], "the wallet had one address, and made another");
    assert_ne!(own, newest);
    assert_eq!(addresses(&send(&newest)), [newest, own]);
}

#[test]
fn the_history_says_when_with_whom_and_what_for() {
    let (place, node, own) = rich(1, 100 * COIN);
    let payee = place.wallet("payee");
    let run = |args: &[&str]| place.run("node", &[&["wallet"], args].concat());
    let sent = run(&["send", &payee, "1", "--label", "rent for May"]).ok();
    let second = run(&["address", "--new", "--label", "Ada"]).ok();
    let own_payment = run(&["send", &second, "2"]).ok();
    node.generate(1, &payee);
    node.generate(1, &own);
    let url = with_cookie(&place, &node);
    node.generate(1, &own);
    let received = place.run("payee", &["wallet", "send", &second, "0.5", "--rpc", &url]).ok();
    let history = json(run(&["history", "--json"]));
    let history = history.as_array().unwrap();
    let entry = |txid: &str| history.iter().find(|entry| entry["txid"] == txid).unwrap();
    let with =
        |txid: &str| (entry(txid)["kind"].clone(), entry(txid)["counterparties"].clone(), entry(txid)["label"].clone());
    assert_eq!(with(&sent), ("sent".into(), [payee.as_str()].into_iter().collect(), "rent for May".into()));
    assert_eq!(with(&own_payment), ("own".into(), Value::Array(vec![]), Value::Null));
    assert_eq!(with(&received), ("received".into(), [payee.as_str()].into_iter().collect(), "Ada".into()));
    let kinds: Vec<&str> = history.iter().map(|entry| entry["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["genesis", "sent", "own", "mined", "mined", "received"]);
    assert!(history.iter().all(|entry| entry["time"].as_u64() >= Some(1_600_000_000)), "{history:?}");
    let text = run(&["history"]).ok();
    let line = text.lines().find(|line| line.contains(&sent)).unwrap();
    assert!(line.contains("-1.00000212") && line.contains("to rcairn1") && line.ends_with("rent for May"), "{text}");
    let line = text.lines().find(|line| line.contains(&received)).unwrap();
    assert!(line.starts_with("20") && line.contains("+0.5") && line.contains("from rcairn1"), "{text}");

    run(&["label", &sent, ""]).ok();
    run(&["label", &payee, "the landlord"]).ok();
    run(&["label", "alice", "x"]).fails(2, "neither a transaction's id nor an address");
    run(&["label", &payee, "a\nb"]).fails(2, "control character");
    let history = json(run(&["history", "--json"]));
    let labels: Vec<&Value> = history.as_array().unwrap().iter().map(|entry| &entry["label"]).collect();
    assert_eq!(labels[1], "the landlord");
    run(&["send", &payee, "1", "--label", &"x".repeat(256)]).fails(2, "the label has 256 characters");
}

#[test]
fn messages_are_signed_and_verified_without_a_node() {
    const NOT_PROVEN: i32 = 3;
    let place = Place::new();
    let (own, other) = (place.wallet("a"), place.wallet("b"));
    let second = place.run("a", &["wallet", "address", "--new"]).ok();
    let run = |args: &[&str]| place.run("a", &[&["wallet"], args].concat());
    let signature = run(&["sign-message", "I was here."]).ok();
    let signed = json(run(&["sign-message", "I was here.", "--address", &own, "--json"]));
    assert_eq!(signed["address"], own.as_str());
    run(&["sign-message", "x", "--address", &other]).fails(FAILED, "is not an address of this wallet");
    let verify = |address: &str, signature: &str, text: &str| {
        place.run("verifier", &["wallet", "verify-message", address, signature, text])
    };
    assert_eq!(verify(&second, &signature, "I was here.").ok(), format!("signed by {second}"));
    verify(&own, signed["signature"].as_str().unwrap(), "I was here.").ok();
    verify(&own, &signature, "I was here.").fails(NOT_PROVEN, "did not sign this message");
    verify(&second, &signature, "I was there.").fails(NOT_PROVEN, "did not sign this message");
    verify(&second, "AA==", "I was here.").fails(2, "not a signature");

    // The node signs with the key that the wallet prints.
    let node = place.node("node", &[]);
    let private = run(&["private-key", &second]).ok();
    run(&["private-key", &other]).fails(FAILED, "is not an address of this wallet");
    let by_node = node.call("signmessagewithprivkey", &[private.into(), "I was here.".into()]);
    assert_eq!(by_node, signature);
    assert_eq!(node.call("verifymessage", &[second.into(), by_node, "I was here.".into()]), true);
}

#[test]
fn coins_joined_on_advice_are_used_before_they_are_confirmed() {
    let (place, node, own) = rich(1_950, COIN / 10);
    let payee = place.wallet("payee");
    let send = |to: &str, amount: &str| place.run("node", &["wallet", "send", to, amount]);
    // 195 coins in pieces; 900 pieces fit into one payment. After the first, 1,050 are left.
    send(&payee, "100").fails(FAILED, "pay oneself first to join small coins");
    let joined = send(&own, "89.9").ok();
    let paid = send(&payee, "100").ok();
    assert!(spent(&node, &paid).iter().any(|coin| coin.contains(&joined)), "the joined coin is spent");
    node.generate(1, &payee);
    assert_eq!((node.confirmations(&joined), node.confirmations(&paid)), (Some(1), Some(1)));
}

#[test]
fn absurd_fees_are_refused_unless_they_are_allowed() {
    let (place, node, _) = rich(1, 100 * COIN);
    let payee = place.wallet("payee");
    let send = |args: &[&str]| place.run("node", &[&["wallet", "send", &payee, "1"], args].concat());
    send(&["--fee-rate", "1000000"]).fails(FAILED, "the fee would be 2.12 coins");
    send(&["--fee-rate", "10001"]).fails(FAILED, "--max-fee 0.02120212 allows it");
    send(&["--fee-rate", "10001", "--max-fee", "0.02120211"])
        .fails(FAILED, "more than 0.02120211: --max-fee allows more");
    send(&["--max-fee", "0.00000211"]).fails(FAILED, "the fee would be 0.00000212 coins");
    assert!(node.mempool().is_empty());
    let txid = send(&["--fee-rate", "10001", "--max-fee", "0.02120212"]).ok();
    assert_eq!(node.mempool(), [txid]);
}

/// An environment variable applies to every later command, so payments do not read their data or fee from it.
#[test]
fn the_environment_adds_nothing_to_a_payment() {
    let (place, node, own) = rich(1, 100 * COIN);
    let with = |args: &[&str]| {
        let mut command = place.command("node", args);
        for name in ["DATA", "DATA_HEX", "FEE_RATE", "MAX_FEE", "WAIT", "NEW", "ADDRESS", "AMOUNT"] {
            command.env(format!("CAIRN_{name}"), "77");
        }
        done(command).ok()
    };
    assert_eq!(with(&["wallet", "address"]), own);
    let payee = place.wallet("payee");
    let txid = with(&["wallet", "send", &payee, "1"]);
    let tx = transaction(&node, &txid);
    assert_eq!(tx["vout"].as_array().unwrap().len(), 2, "the payee's and the change: {tx}");
    assert_eq!(node.call("getmempoolentry", &[txid.into()])["fees"]["base"], 212);
}

#[test]
fn a_payment_is_waited_for() {
    let (place, node, own) = rich(1, 100 * COIN);
    let mut child = place.command("node", &["wallet", "send", &own, "1", "--wait", "2"]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut txid = String::new();
    stdout.read_line(&mut txid).unwrap();
    let txid = txid.trim();
    assert_eq!(node.mempool(), [txid], "the id is told before the wait");
    for confirmations in 1..=2 {
        let waits = || node.call("getrpcinfo", &[]).to_string().contains("waitfornewblock");
        wait_for("it to wait for a block", || waits().then_some(()));
        assert!(child.try_wait().unwrap().is_none());
        node.generate(1, &own);
        assert_eq!(node.confirmations(txid), Some(confirmations));
    }
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success() && rest.is_empty(), "{rest}");

    // A node that stops meanwhile.
    let mut child = place.command("node", &["wallet", "send", &own, "1", "--wait", "1"]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut txid = String::new();
    stdout.read_line(&mut txid).unwrap();
    node.kill();
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains(&format!("payment {} was sent", txid.trim())), "{told}");
    assert_eq!(output.status.code(), Some(NO_NODE));
}

#[test]
fn words_restore_every_address_that_was_used() {
    let (place, node, first) = rich(1, 100 * COIN);
    let words = place.run("node", &["wallet", "words"]).ok();
    let handed_out: Vec<String> = (0..44).map(|_| place.run("node", &["wallet", "address", "--new"]).ok()).collect();
    // Numbers 1, 5, 25 and 45, counted from 1: never twenty unused in a row.
    for (number, coins) in [(5, 1), (25, 2)] {
        place.run("node", &["wallet", "send", &handed_out[number - 2], &coins.to_string()]).ok();
    }
    node.generate(3, &handed_out[43]);
    let balance = place.run("node", &["wallet", "balance", "--rpc", &node.url()]).ok();

    let url = with_cookie(&place, &node);
    let restore =
        |name, args: &[&str]| place.run_with_input(name, &[&["wallet", "new", "--restore"], args].concat(), &words);
    let told = restore("b", &["--rpc", &url]).ok();
    assert!(told.contains("scanned  65 addresses up to height 3: number 45 is the last that was used"), "{told}");
    let all = place.run("b", &["wallet", "address", "--all"]).ok();
    assert_eq!(
        all.lines().collect::<Vec<_>>(),
        [&[first.as_str()], &handed_out.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat()
    );
    assert_eq!(place.run("b", &["wallet", "balance", "--rpc", &url]).ok(), balance);

    // A smaller gap than there is.
    let told: Value =
        serde_json::from_str(&restore("c", &["--rpc", &url, "--gap-limit", "10", "--json"]).ok()).unwrap();
    assert_eq!(told["scanned"], serde_json::json!({ "addresses": 15, "used": 5, "height": 3 }));

    // No node at first.
    let told = restore("d", &[]).ok();
    assert!(told.contains("scanned  nothing: no node is running") && told.contains("cairn wallet scan"), "{told}");
    assert_eq!(place.run("d", &["wallet", "address", "--all"]).ok(), first);
    place.run("d", &["wallet", "scan"]).fails(NO_NODE, "no node is running");
    assert!(place.run("d", &["wallet", "scan", "--rpc", &url]).ok().ends_with("added    44 addresses"));
    assert_eq!(place.run("d", &["wallet", "address", "--all"]).ok(), all);
    assert!(place.run("d", &["wallet", "scan", "--rpc", &url]).ok().ends_with("added    0 addresses"));
}

/// A command at a terminal, where a person answers.
fn at_a_terminal(place: &Place, name: &str, args: &[&str]) -> rexpect::session::PtySession {
    let mut command = place.command(name, args);
    // The terminal takes the place of the pipes.
    command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    rexpect::session::spawn_command(command, Some(120_000)).unwrap()
}

#[test]
fn a_new_wallet_is_encrypted_where_a_person_can_be_asked() {
    let place = Place::new();
    let is_encrypted = |name: &str| {
        let text = std::fs::read_to_string(place.path(name).join("wallet.json")).unwrap();
        assert_ne!(text.contains("argon2id"), text.contains("entropy"), "{text}");
        text.contains("argon2id")
    };
    let mut session = at_a_terminal(&place, "a", &["wallet", "new"]);
    for question in ["New passphrase (empty for none): ", "The same again: "] {
        session.exp_string(question).unwrap();
        session.send_line("a secret").unwrap();
    }
    let rest = session.exp_eof().unwrap();
    assert!(rest.contains("words") && !rest.contains("a secret") && !rest.contains("not encrypted"), "{rest}");
    assert!(is_encrypted("a"));
    let mut session = at_a_terminal(&place, "a", &["wallet", "words"]);
    session.exp_string("Passphrase: ").unwrap();
    session.send_line("another").unwrap();
    assert!(session.exp_eof().unwrap().contains("the passphrase does not open"));

    let mut session = at_a_terminal(&place, "b", &["wallet", "new"]);
    session.exp_string("(empty for none): ").unwrap();
    session.send_line("").unwrap();
    assert!(session.exp_eof().unwrap().contains("The file is not encrypted"));
    assert!(!is_encrypted("b"));

    let mut session = at_a_terminal(&place, "c", &["wallet", "new"]);
    session.exp_string("(empty for none): ").unwrap();
    session.send_line("a secret").unwrap();
    session.exp_string("The same again: ").unwrap();
    session.send_line("a secrte").unwrap();
    assert!(session.exp_eof().unwrap().contains("the two passphrases differ"));
    assert!(!place.path("c/wallet.json").exists());

    // Neither a program nor a person who has said no is asked.
    for (name, option) in [("d", "--no-passphrase"), ("e", "--json")] {
        let mut session = at_a_terminal(&place, name, &["wallet", "new", option]);
        assert!(!session.exp_eof().unwrap().contains("passphrase"));
        assert!(!is_encrypted(name));
    }
    let mut command = place.command("f", &["wallet", "new"]);
    command.env("CAIRN_PASSPHRASE", "a secret");
    done(command).ok();
    assert!(is_encrypted("f"));
}

#[cfg(unix)]
#[test]
fn a_wallet_that_others_may_read_is_refused_with_the_remedy() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let address = place.wallet("a");
    let path = place.path("a/wallet.json");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    for args in [&["wallet", "address"][..], &["wallet", "address", "--new"], &["wallet", "words"]] {
        place.run("a", args).fails(FAILED, "has mode 644, expected 600");
    }
    place.run("a", &["wallet", "address"]).fails(FAILED, &format!("chmod 600 {}", path.display()));
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_eq!(place.run("a", &["wallet", "address"]).ok(), address);
}
