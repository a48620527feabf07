//! What a newcomer types wrong, and the message and exit code that answer it.

use std::net::TcpListener;

use crate::process::{Node, Place, done};
use cairn::primitives::height::Height;
use cairn_testkit::forge::{self, Forge};
use serde_json::Value;

pub const FAILED: i32 = 1;
pub const USAGE: i32 = 2;
pub const NOT_PROVEN: i32 = 3;
pub const NO_NODE: i32 = 4;
pub const SLOW_CHAIN: i32 = 5;

/// A port that is taken for as long as the listener lives.
pub fn taken() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// A port on which no process listens.
pub fn free() -> String {
    taken().1
}

pub fn regtest() -> (Place, Node, String) {
    let place = Place::new();
    let address = place.wallet("node");
    let node = place.node("node", &[]);
    (place, node, address)
}

#[test]
fn a_refused_call_fails_with_the_nodes_error() {
    let (place, node, address) = regtest();
    let rpc = |args: &[&str]| place.run("node", &[&["rpc"], args].concat());
    rpc(&["getblokcount"]).fails(FAILED, "Method not found");
    rpc(&["getblockhash"]).fails(FAILED, "height");
    rpc(&["getblockhash", "high"]).fails(FAILED, "height");
    rpc(&["getblockhash", "99"]).fails(FAILED, "out of range");
    rpc(&["getblock", "77"]).fails(FAILED, "error");
    rpc(&["sendrawtransaction", "00"]).fails(FAILED, "TX decode failed");
    rpc(&["generatetoaddress", "1", "me"]).fails(FAILED, "address");
    rpc(&["--named", "getblockhash", "7"]).fails(USAGE, "NAME=VALUE");
    rpc(&[]).fails(USAGE, "<METHOD>");
    place.run("elsewhere", &["rpc", "--rpc", &node.url(), "uptime"]).fails(FAILED, "refuses these credentials");

    assert_eq!(rpc(&["getblockcount"]).ok(), "0");
    let genesis = rpc(&["getblockhash", "0"]).ok();
    assert!(genesis.len() == 64 && !genesis.contains('"'), "text is printed bare: {genesis}");
    assert_eq!(rpc(&["--named", "getblockhash", "height=0"]).ok(), genesis);
    assert_eq!(rpc(&["getblockhash", "0", "--json"]).ok(), format!("{genesis:?}"));
    assert!(rpc(&["getblock", &genesis]).ok().starts_with("{\n"), "objects are printed as JSON");
    assert!(rpc(&["validateaddress", &address]).ok().contains("\"isvalid\": true"));
}

#[test]
fn wallet_commands_refuse_wrong_input() {
    let place = Place::new();
    let wallet = |args: &[&str]| place.run("a", &[&["wallet"], args].concat());
    wallet(&["address"]).fails(FAILED, "make one with `cairn wallet new`");
    wallet(&["new", "--words", "13"]).fails(USAGE, "--words");
    let made: serde_json::Value = serde_json::from_str(&wallet(&["new", "--words", "24", "--json"]).ok()).unwrap();
    let (words, address) = (made["words"].as_str().unwrap(), made["address"].as_str().unwrap());
    assert_eq!((words.split(' ').count(), wallet(&["address"]).ok().as_str()), (24, address));
    assert_eq!(wallet(&["words"]).ok(), words);
    let second = wallet(&["address", "--new"]).ok();

    let before = std::fs::read(place.path("a/wallet.json")).unwrap();
    wallet(&["new"]).fails(FAILED, "wallets are never overwritten");
    assert_eq!(std::fs::read(place.path("a/wallet.json")).unwrap(), before);

    // The words give both addresses back.
    place.run_with_input("b", &["wallet", "new", "--restore", "--addresses", "2"], words).ok();
    assert_eq!(place.run("b", &["wallet", "address", "--all"]).ok(), format!("{address}\n{second}"));
    let restore = |words: &str| place.run_with_input("c", &["wallet", "new", "--restore"], words);
    restore("abandon about").fails(FAILED, "12 or 24 words, got 2");
    restore(&words.replace(' ', "x ")).fails(FAILED, "word 1 is not in the list");
    restore(&"abandon ".repeat(12)).fails(FAILED, "checksum");

    place.wallet("d");
    std::fs::write(place.path("d/wallet.json"), "{}").unwrap();
    place.run("d", &["wallet", "address"]).fails(FAILED, "is not a wallet");
}

#[test]
fn an_encrypted_wallet_needs_its_passphrase() {
    let place = Place::new();
    let with = |passphrase: &str, args: &[&str]| {
        let mut command = place.command("a", args);
        command.env("CAIRN_PASSPHRASE", passphrase);
        done(command)
    };
    with("", &["wallet", "new", "--passphrase"]).fails(FAILED, "the passphrase is empty");
    let new: serde_json::Value =
        serde_json::from_str(&with("right", &["wallet", "new", "--passphrase", "--json"]).ok()).unwrap();
    let stored = std::fs::read_to_string(place.path("a/wallet.json")).unwrap();
    assert!(stored.contains("argon2id") && !stored.contains("entropy"), "{stored}");
    // What needs no secret needs no passphrase.
    assert_eq!(place.run("a", &["wallet", "address"]).ok(), new["address"].as_str().unwrap());
    with("wrong", &["wallet", "address", "--new"]).fails(FAILED, "the passphrase does not open");
    assert_eq!(with("right", &["wallet", "words"]).ok(), new["words"].as_str().unwrap());
    assert_ne!(with("right", &["wallet", "address", "--new"]).ok(), new["address"].as_str().unwrap());
}

#[test]
fn payments_with_wrong_arguments_are_refused() {
    let (place, node, address) = regtest();
    let send = |args: &[&str]| place.run("node", &[&["wallet", "send"], args].concat());
    send(&["me", "1"]).fails(USAGE, "\"me\" is not an address");
    let typo = address.replace("rcairn1", "rcairn1q");
    send(&[&typo, "1"]).fails(USAGE, "is not an address");
    send(&[&address, "one"]).fails(USAGE, "is not an amount of coins");
    send(&[&address, "-1"]).fails(USAGE, "-1");
    send(&[&address, "0.000000001"]).fails(USAGE, "at most 8 decimals");
    send(&[&address, "0"]).fails(USAGE, "the amount is 0");
    send(&[&address, "1", "--label", "a\nb"]).fails(USAGE, "control character");
    send(&[&address, "1"]).fails(FAILED, "not enough coins: 0 can be spent");
    node.generate(1, &address);
    send(&[&address, "1"]).fails(FAILED, "not enough coins: 0 can be spent");
    node.generate(10, &address);
    send(&[&address, "500"]).fails(FAILED, "not enough coins: 100 can be spent");
    send(&[&address, "1", "--data", &"x".repeat(257)]).fails(FAILED, "257 bytes of data");
    send(&[&address, "1", "--data-hex", "zz"]).fails(USAGE, "invalid value 'zz' for '--data-hex");
    send(&[&address, "1", "--fee-rate", "0"]).fails(FAILED, "at least 212 are needed");
    send(&[&address, "1"]).ok();
}

#[test]
fn receipts_are_fetched_and_verified_or_refused() {
    let (place, node, address) = regtest();
    node.generate(3, &address);
    let block = node.call("getblockhash", &[2.into()]);
    let txid = node.call("getblock", &[block])["tx"][0].as_str().unwrap().to_owned();
    let proof = |args: &[&str]| place.run("node", &[&["proof"], args].concat());
    proof(&["get", "12"]).fails(USAGE, "a hash is 64 hex digits");
    proof(&["get", &"00".repeat(32)]).fails(FAILED, "No such transaction");
    proof(&["get", &txid, "-o", "no/such/dir/pay.json"]).fails(FAILED, "cannot write no/such/dir/pay.json");
    proof(&["get", &txid, "-o", "pay.json"]).ok();
    let little = "proven, but with the work of 2 blocks on top in 2 headers, the work of 6 is wanted";
    proof(&["verify", "pay.json"]).fails(NOT_PROVEN, little);
    proof(&["verify", "pay.json", "--min-work", "3"]).fails(NOT_PROVEN, "the work of 3 is wanted");
    assert!(proof(&["verify", "pay.json", "--min-work", "2"]).ok().contains("confirmations  2,"));
    let newest = node.call("getblock", &[node.call("getbestblockhash", &[])])["tx"][0].as_str().unwrap().to_owned();
    let one = "proven, but with the work of 1 block on top in 1 header, the work of 2 is wanted";
    let receipt = proof(&["get", &newest]).ok();
    place.run_with_input("verifier", &["proof", "verify", "-", "--min-work", "2"], &receipt).fails(NOT_PROVEN, one);
    let receipt = std::fs::read_to_string(place.path("pay.json")).unwrap();
    assert_eq!(proof(&["get", &txid]).ok(), receipt.trim_end());
    let from_stdin =
        place.run_with_input("verifier", &["proof", "verify", "-", "--json", "--min-work", "1"], &receipt).ok();
    let told: serde_json::Value = serde_json::from_str(&from_stdin).unwrap();
    let two = "0000000000000000000000000000000000000000000000000000000000000004";
    assert_eq!((&told["confirmations"], &told["headers"], &told["work_on_top"]), (&2.into(), &2.into(), &two.into()));

    // The other shapes, and the compact form.
    proof(&["get", &txid, "--succinct", "--binary", "-o", "pay.bin"]).ok();
    let offline = |args: &[&str]| place.run("verifier", &[&["proof", "verify", "--min-work", "1"], args].concat());
    assert!(offline(&["pay.bin"]).ok().contains("shown by       a sample of the headers"));
    offline(&["pay.bin", "--save-checkpoint", "seen.json"]).fails(FAILED, "leaves no checkpoint");
    offline(&["pay.json", "--save-checkpoint", "seen.json"]).ok();
    node.generate(2, &address);
    let newest = node.call("getbestblockhash", &[]);
    let later = node.call("getblock", &[newest])["tx"][0].as_str().unwrap().to_owned();
    proof(&["get", &later, "--since", "seen.json", "-o", "later.json"]).ok();
    offline(&["later.json"]).fails(NOT_PROVEN, "give a checkpoint of it");
    assert!(
        offline(&["later.json", "--checkpoint", "seen.json"]).ok().contains("headers since the checkpoint at height 3")
    );
    offline(&["later.json", "--checkpoint", "pay.json"]).fails(FAILED, "pay.json is not valid");

    proof(&["verify", "missing.json"]).fails(FAILED, "cannot open missing.json");
    proof(&["verify", "genesis.json"]).fails(FAILED, "not a receipt");
    let half = &receipt[..receipt.len() / 2];
    place.run_with_input("verifier", &["proof", "verify", "-"], half).fails(FAILED, "not a receipt");
    // Edited so that it cannot be read as a receipt: nothing was checked, and nothing is refused.
    for (from, to, said) in [
        ("\"version\": 1", "\"version\": 99", "has version 99"),
        ("\"height\": 2", "\"height\": \"two\"", "not a receipt"),
        ("\"transaction\": \"", "\"transaction\": \"x", "transaction is not"),
        ("\"transaction\": \"", "\"transaction\": \"00", "the receipt's transaction"),
    ] {
        let malformed = receipt.replacen(from, to, 1);
        assert_ne!(malformed, receipt, "{from}");
        place.run_with_input("verifier", &["proof", "verify", "-"], &malformed).fails(FAILED, said);
    }
    let moved = receipt.replace("\"height\": 2", "\"height\": 3");
    place.run_with_input("verifier", &["proof", "verify", "-"], &moved).fails(NOT_PROVEN, "is not in block");
    let built_in = place.path("receipt-of-regtest.json");
    std::fs::write(&built_in, receipt).unwrap();
    let mut without_genesis = place.command("verifier", &["proof", "verify", built_in.to_str().unwrap()]);
    without_genesis.env_remove("CAIRN_GENESIS");
    done(without_genesis).fails(NOT_PROVEN, "the receipt is for the network with genesis");
}

#[test]
fn a_receipt_of_a_slow_chain_has_an_exit_code_of_its_own() {
    let mut forge = Forge::honest(forge::params(), 200);
    let late = forge.headers[200].time + 3_600;
    for number in 0..8 {
        forge.add_forged(late + number, None, |_| true);
    }
    let place = Place::new();
    std::fs::write(place.path("slow-genesis.json"), forge.params.spec.to_json()).unwrap();
    std::fs::write(place.path("slow.bin"), forge.whole(Height::from_u32(201)).to_bytes()).unwrap();
    let verify = |more: &[&str]| {
        let args = ["proof", "verify", "slow.bin", "--genesis", "slow-genesis.json", "--min-work"];
        place.run("verifier", &[&args, more].concat())
    };
    verify(&["1"]).fails(SLOW_CHAIN, "--accept-slow-chain");
    verify(&["300"]).fails(NOT_PROVEN, "the work of 300 is wanted");
    let accepted = verify(&["1", "--accept-slow-chain"]);
    assert!(accepted.stderr.contains("of the work that its miners did before"), "{accepted:?}");
    assert!(accepted.ok().contains("proven"));
}

#[test]
fn a_genesis_is_created_mined_and_shown() {
    let place = Place::new();
    let genesis = |args: &[&str]| place.run("a", &[&["genesis"], args].concat());
    let easy = ["new", "--bits", "207fffff", "--pow-limit-bits", "207fffff", "--network", "mine", "--message", "hello"];
    let text = genesis(&easy).ok();
    std::fs::write(place.path("mine.json"), &text).unwrap();
    let shown = genesis(&["show", "mine.json"]).ok();
    assert!(shown.contains("mine") && shown.contains("genesis hash"), "{shown}");
    let edited = text.replace("hello", "goodbye").replace("\"nonce\": ", "\"nonce\": 1");
    std::fs::write(place.path("edited.json"), edited).unwrap();
    std::fs::write(place.path("mined.json"), genesis(&["mine", "edited.json"]).ok()).unwrap();
    assert!(genesis(&["show", "mined.json"]).ok().contains("goodbye"));

    // To a file atomically, whole or not at all; to anything else, such as a pipe, directly.
    let shown: Value = serde_json::from_str(&genesis(&["show", "mined.json", "--json"]).ok()).unwrap();
    let written = genesis(&["mine", "edited.json", "-o", "new.json", "--json"]).ok();
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!((&written["file"], &written["genesis_hash"]), (&"new.json".into(), &shown["genesis_hash"]));
    let read = |name: &str| std::fs::read_to_string(place.path(name)).unwrap();
    assert_eq!(read("new.json").trim_end(), read("mined.json"));
    std::os::unix::fs::symlink("new.json", place.path("link.json")).unwrap();
    genesis(&["mine", "mine.json", "--output", "link.json"]).ok();
    assert!(place.path("link.json").is_symlink() && genesis(&["show", "new.json"]).ok().contains("hello"));
    genesis(&[&easy[..], &["--output", "link.json"]].concat()).fails(FAILED, "link.json exists");
    genesis(&[&easy[..], &["-o", "/dev/full"]].concat()).fails(FAILED, "cannot write /dev/full");
    genesis(&[&easy[..], &["-o", "no/new.json"]].concat()).fails(FAILED, "cannot write no/new.json");
    genesis(&["mine", "missing.json", "-o", "new.json"]).fails(FAILED, "cannot read missing.json");
    assert!(genesis(&["show", "new.json"]).ok().contains("hello"), "a failure leaves the file alone");
    let left = std::fs::read_dir(place.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(left.into_iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "no temporary file is left");

    genesis(&["show", "missing.json"]).fails(FAILED, "cannot read missing.json");
    genesis(&["new", "--bits", "hard"]).fails(USAGE, "8 hex digits");
    genesis(&["new", "--bits", "207fffff"]).fails(FAILED, "at most pow_limit_bits");
    genesis(&[&easy[..], &["--address-prefix", "No"]].concat()).fails(FAILED, "address_prefix");
    genesis(&[&easy[..], &["--alloc", "me"]].concat()).fails(USAGE, "ADDRESS=COINS");
    genesis(&[&easy[..], &["--alloc", "me=5"]].concat()).fails(FAILED, "alloc.address");
    genesis(&[&easy[..], &["--subsidy", "9000000"]].concat()).fails(FAILED, "subsidy");
    std::fs::write(place.path("typo.json"), text.replace("subsidy", "subsidie")).unwrap();
    genesis(&["show", "typo.json"]).fails(FAILED, "subsidie");
}

/// What a command did stays done where its stdout takes nothing: the error says what that is.
#[test]
fn a_done_payment_is_reported_although_stdout_is_full() {
    let (place, node, address) = regtest();
    node.generate(3, &address);
    let txid = node.call("getblock", &[node.call("getblockhash", &[2.into()])])["tx"][0].as_str().unwrap().to_owned();
    let full = |name: &str, args: &[&str]| {
        let mut command = place.command(name, args);
        command.stdout(std::fs::File::options().write(true).open("/dev/full").unwrap());
        if args[0] == "testnet" {
            command.env_remove("CAIRN_GENESIS");
        }
        done(command)
    };
    let blocks = ["db", "export", "blocks"];
    for (name, args, said) in [
        ("new", &["wallet", "new"][..], "new/wallet.json is made (`cairn wallet words` prints its words"),
        ("new", &["wallet", "address", "--new"], " is handed out, but cannot write to stdout"),
        ("node", &["wallet", "scan"], "0 addresses added to the wallet"),
        ("node", &["proof", "get", &txid, "-o", "pay.json"], "pay.json: 2 confirmations in 2 headers"),
        ("node", &["proof", "car", "pay.json", "-o", "pay.car"], "pay.car: "),
        (
            "node",
            &["proof", "verify", "pay.json", "--min-work", "1", "--save-checkpoint", "seen.json"],
            "the checkpoint is in seen.json",
        ),
        ("net", &["testnet", "init"], "net/genesis.json and the wallet "),
        ("a", &["genesis", "mine", "genesis.json", "-o", "mined.json"], "mined.json: network regtest"),
        ("node", &["rpc", "getblockhash", "0"], "the node answered "),
        ("node", &["rpc", "getblock", &node.tip().1, "2"], "the node answered with "),
    ] {
        full(name, args).fails(FAILED, said);
    }
    assert_eq!(place.run("new", &["wallet", "words"]).ok().split(' ').count(), 12);
    assert_eq!(place.run("new", &["wallet", "address", "--all"]).ok().lines().count(), 2);
    for file in ["pay.json", "pay.car", "seen.json", "net/genesis.json", "mined.json"] {
        assert!(place.path(file).metadata().unwrap().len() > 0, "{file}");
    }
    assert!(node.terminate().success());
    full("node", &blocks).fails(FAILED, "blocks: 3 blocks, but cannot write to stdout");
    full("other", &["db", "import", "blocks"]).fails(FAILED, "height 3: 3 blocks imported");
}

#[test]
fn simulations_write_their_reports_and_refuse_wrong_options() {
    let place = Place::new();
    let sim = |args: &[&str]| place.run("sim", &[&["sim"], args].concat());
    let csv = place.path("run.csv");
    let files = ["--csv", csv.to_str().unwrap(), "--svg"];
    let svg = place.path("run.svg");
    let network = ["network", "--nodes", "6", "--duration", "40s", "--crash", "10s..20s:0.3", "--json"];
    let json = sim(&[&network[..], &files, &[svg.to_str().unwrap()]].concat()).ok();
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&report["setup"]["crashes"][0], &report["violations"]),
        (&"10s..20s:0.3".into(), &serde_json::json!([]))
    );
    assert_eq!(sim(&network).ok(), json, "the same options, the same bytes");
    assert_eq!(std::fs::read_to_string(csv).unwrap().lines().count(), 1 + 41, "a head, and a line a second");
    assert!(std::fs::read_to_string(svg).unwrap().starts_with("<svg"));
    sim(&["network", "--duration", "40s", "--partition", "20s..50s:0.3"]).fails(FAILED, "ends after 40s");
    sim(&["network", "--partition", "50s..20s:0.3"]).fails(USAGE, "ends before it begins");
    sim(&["network", "--attack", "withold"]).fails(USAGE, "'withhold'");
    sim(&["network", "--latency", "fast"]).fails(USAGE, "is not a time");
    sim(&["network", "--loss", "1.5"]).fails(USAGE, "1.5 is not a share from 0 to 0.5");

    let attack = sim(&["attack", "--share", "30%", "--runs", "500", "--full", "2", "--json"]).ok();
    let report: Value = serde_json::from_str(&attack).unwrap();
    assert_eq!((&report["share"], &report["agree"]), (&0.3.into(), &2.into()));
    sim(&["attack", "--share", "0.6"]).fails(USAGE, "0.49: with half of the hash power the attacker always wins");
    sim(&["attack", "--share", "0"]).fails(USAGE, "0 is not a share from 0.01 to 0.49\n");
}
