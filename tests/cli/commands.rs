//! What a newcomer types wrong, and the message and exit code that answer it.

use std::net::TcpListener;
use std::process::Stdio;

use crate::process::{Node, Place, done, spec};
use serde_json::Value;

const FAILED: i32 = 1;
const USAGE: i32 = 2;
const NOT_PROVEN: i32 = 3;
const NO_NODE: i32 = 4;

/// A port that is taken for as long as the listener lives.
fn taken() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

/// A port on which nobody listens.
fn free() -> String {
    taken().1
}

fn start(place: &Place, name: &str, args: &[&str]) -> crate::process::Done {
    let basics = ["node", "--listen", "127.0.0.1:0", "--rpc", "127.0.0.1:0", "--log", "error"];
    // An option given twice is an error of its own: what the test gives takes the place of the usual.
    let mut all: Vec<&str> = Vec::new();
    for pair in basics[1..].chunks(2).filter(|pair| !args.contains(&pair[0])) {
        all.extend(pair);
    }
    place.run(name, &[&["node"], &all[..], args].concat())
}

fn regtest() -> (Place, Node, String) {
    let place = Place::new();
    let address = place.wallet("node");
    let node = place.node("node", &[]);
    (place, node, address)
}

#[test]
fn nodes_that_do_not_start() {
    let place = Place::new();
    let address = place.wallet("wallet");
    let (_listener, port) = taken();
    start(&place, "a", &["--listen", &port]).fails(FAILED, &format!("cannot listen for peers on {port}"));
    start(&place, "a", &["--rpc", &port]).fails(FAILED, &format!("cannot listen for RPC on {port}"));
    start(&place, "a", &["--listen", "nowhere"]).fails(USAGE, "--listen");
    start(&place, "a", &["--connect", "just-a-name"]).fails(FAILED, "expected HOST:PORT");
    start(&place, "a", &["--mine", "me"]).fails(FAILED, "\"me\" is not an address");
    let other_network = address.replace("rcairn", "cairn");
    start(&place, "a", &["--mine", &other_network]).fails(FAILED, "is not an address");
    start(&place, "a", &["--threads", "0", "--mine", &address]).fails(USAGE, "--threads");
    start(&place, "a", &["--rpc-user", "ada"]).fails(USAGE, "--rpc-password");
    start(&place, "a", &["--rpc-password-file", "secret"]).fails(USAGE, "--rpc-user");
    let login = ["--rpc-user", "ada", "--rpc-password-file", "secret"];
    start(&place, "a", &login).fails(FAILED, "--rpc-password-file: cannot read secret");
    std::fs::write(place.path("secret"), "\n").unwrap();
    start(&place, "a", &login).fails(FAILED, "secret is empty");
    start(&place, "a", &[&login[..], &["--rpc-password", "x"]].concat()).fails(USAGE, "cannot be used with");
    start(&place, "a", &["--log", "cairn=loud"]).fails(USAGE, "--log");
    start(&place, "a", &["--genesis", "missing.json"]).fails(FAILED, "cannot read missing.json");
    std::fs::write(place.path("broken.json"), "{\"network\": ").unwrap();
    start(&place, "a", &["--genesis", "broken.json"]).fails(FAILED, "broken.json is not valid");
    std::fs::write(place.path("a-file"), "").unwrap();
    start(&place, "a-file", &[]).fails(FAILED, "a-file");
    place.run("a", &["nod"]).fails(USAGE, "unrecognized subcommand");
}

#[test]
fn data_directories_that_belong_to_others() {
    let (place, node, _) = regtest();
    let dir = place.path("node").display().to_string();
    start(&place, "node", &[]).fails(FAILED, &dir);
    assert!(place.path("node/.cookie").exists(), "the failed start left the running node's cookie alone");
    assert!(node.terminate().success());

    let regtest = std::fs::read_to_string(place.path("genesis.json")).unwrap();
    place.found(&spec(0x207f_ffff, &[]));
    start(&place, "node", &[]).fails(FAILED, "genesis");
    std::fs::write(place.path("genesis.json"), regtest).unwrap();

    let database = std::fs::read_dir(place.path("node/chain")).unwrap().map(|entry| entry.unwrap().path());
    let file = database.filter(|path| path.is_file()).max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    std::fs::write(&file, vec![0xa5; 300_000]).unwrap();
    start(&place, "node", &[]).fails(FAILED, "cairn db");
}

#[test]
fn supervisors() {
    let place = Place::new();
    place.run("a", &["health"]).fails(NO_NODE, "no node is running with data directory");
    place.run("a", &["health", "--rpc", &free()]).fails(NO_NODE, "cannot reach a node at");
    std::fs::write(place.path("secret"), "s3cret\n").unwrap();
    let login = ["--rpc-user", "ada", "--rpc-password-file", "secret"];
    let node = place.node("a", &login);
    assert_eq!(place.run("a", &["health"]).ok(), "ready at height 0");
    let elsewhere = |args: &[&str]| place.run("elsewhere", &[args, &["--rpc", &node.url()]].concat());
    let health: Value = serde_json::from_str(&elsewhere(&["health", "--json"]).ok()).unwrap();
    assert_eq!(health, serde_json::json!({ "ready": true, "height": 0 }));
    elsewhere(&["rpc", "getblockcount"]).fails(FAILED, "refuses these credentials");
    assert_eq!(elsewhere(&[&["rpc", "getblockcount"], &login[..]].concat()).ok(), "0");
    std::fs::write(place.path("secret"), "wrong").unwrap();
    elsewhere(&[&["rpc", "getblockcount"], &login[..]].concat()).fails(FAILED, "refuses these credentials");
    let named = node.url().replace("http://", "http://ada:s3cret@");
    let url_first = [&["rpc", "getblockcount", "--rpc", &named], &login[..]].concat();
    assert_eq!(place.run("elsewhere", &url_first).ok(), "0", "a user in the URL is meant");
}

#[test]
fn networks_whose_nodes_run_elsewhere() {
    let place = Place::new();
    let init = || place.command("net", &["testnet", "init", "--wallet", "keys/wallet.json", "--json"]);
    // A test network makes its own genesis.
    let init = || {
        let mut command = init();
        command.env_remove("CAIRN_GENESIS");
        done(command)
    };
    let made: Value = serde_json::from_str(&init().ok()).unwrap();
    assert_eq!(made["coins"], 1000 * 100_000_000u64);
    assert_eq!(serde_json::from_str::<Value>(&init().ok()).unwrap(), made, "what is there is kept");
    std::fs::copy(place.path("net/genesis.json"), place.path("genesis.json")).unwrap();
    std::fs::create_dir(place.path("rich")).unwrap();
    std::fs::rename(place.path("keys/wallet.json"), place.path("rich/wallet.json")).unwrap();
    init().fails(FAILED, "keys/wallet.json, which it pays, is not");
    // A miner that makes its own wallet.
    let node = place.node("node", &["--mine", "wallet", "--threads", "1"]);
    let miner = place.run("node", &["wallet", "address"]).ok();
    crate::process::wait_for("a block", || (node.tip().0 > 0).then_some(()));
    let mined = node.call("getaddressbalance", &[miner.into()]);
    assert!(mined["immature"].as_u64().unwrap() > 0, "{mined}");
    assert!(place.run("rich", &["wallet", "balance", "--rpc", &node.url()]).code != 0, "no credentials");
    let cookie = std::fs::read_to_string(place.path("node/.cookie")).unwrap();
    let url = node.url().replace("http://", &format!("http://{cookie}@"));
    assert!(place.run("rich", &["wallet", "balance", "--rpc", &url]).ok().starts_with("spendable  1000 coins"));
}

/// The network is said once, to the node; every later command finds it in the data directory.
#[test]
fn a_node_keeps_the_genesis_that_it_is_given() {
    let place = Place::new();
    let without = |args: &[&str]| {
        let mut command = place.command("a", args);
        command.env_remove("CAIRN_GENESIS");
        done(command)
    };
    let built_in = without(&["genesis", "show", "--json"]).ok();
    // A first start that fails keeps nothing.
    let (_listener, port) = taken();
    start(&place, "a", &["--listen", &port]).fails(FAILED, "cannot listen for peers");
    assert!(!place.path("a/genesis.json").exists());

    let node = place.node("a", &[]);
    let kept = std::fs::read_to_string(place.path("a/genesis.json")).unwrap();
    assert_eq!(kept, std::fs::read_to_string(place.path("genesis.json")).unwrap());
    without(&["wallet", "new"]).ok();
    let address = without(&["wallet", "address"]).ok();
    assert!(address.starts_with("rcairn1"), "{address}");
    node.generate(4, &address);
    assert!(without(&["wallet", "balance"]).ok().starts_with("spendable"));
    assert!(node.terminate().success());
    assert!(without(&["db", "check"]).ok().starts_with("in order: height 4"));

    // Another network is refused by name, and nothing changes.
    place.found(&spec(0x207f_ffff, &[]));
    let said = format!("{} belongs to the network regtest", place.path("a").display());
    start(&place, "a", &[]).fails(FAILED, &said);
    place.run("a", &["db", "import", "genesis.json"]).fails(FAILED, &said);
    std::fs::write(place.path("dev.json"), cairn::cli::DEFAULT_GENESIS).unwrap();
    start(&place, "a", &["--genesis", "dev.json"]).fails(FAILED, "not to cairn-dev with genesis");
    assert_eq!(std::fs::read_to_string(place.path("a/genesis.json")).unwrap(), kept);
    assert_eq!(place.run("elsewhere", &["genesis", "show", "dev.json", "--json"]).ok(), built_in);
}

#[test]
fn nodes_that_do_not_answer() {
    let place = Place::new();
    place.wallet("a");
    let port = free();
    for command in [&["rpc", "getblockcount"][..], &["wallet", "balance"], &["proof", "get", &"00".repeat(32)]] {
        place.run("a", command).fails(NO_NODE, "no node is running with data directory");
        place.run("a", &[command, &["--rpc", &port]].concat()).fails(NO_NODE, "cannot reach a node at");
    }
    place.run("a", &["rpc", "--rpc", "https://node:1", "uptime"]).fails(FAILED, "only http is spoken");
    // A test network is not started by `cairn node`.
    let net = ["rpc", "uptime", "--data-dir", "cairn-testnet"];
    place.run("a", &net).fails(NO_NODE, "start the network with `cairn testnet --data-dir cairn-testnet`");
    std::fs::create_dir(place.path("cairn-testnet")).unwrap();
    place
        .run("a", &["rpc", "uptime"])
        .fails(NO_NODE, "give --data-dir cairn-testnet for the network of `cairn testnet`");
    std::fs::create_dir_all(place.path("other/node-1")).unwrap();
    place.run("other", &["rpc", "uptime"]).fails(NO_NODE, "start the network with `cairn testnet --data-dir");
    place.run("a", &["rpc", "--rpc", "node:port", "uptime"]).fails(FAILED, "is not a node's address");
    // Ended by a signal that leaves no time to tidy up: its address stays behind, and nobody is there.
    place.node("a", &[]).kill();
    place.run("a", &["rpc", "getblockcount"]).fails(NO_NODE, "is it running?");
}

#[test]
fn calls_that_the_node_refuses() {
    let (place, node, address) = regtest();
    let rpc = |args: &[&str]| place.run("node", &[&["rpc"], args].concat());
    rpc(&["getblokcount"]).fails(FAILED, "Method not found");
    rpc(&["getblockhash"]).fails(FAILED, "height");
    rpc(&["getblockhash", "high"]).fails(FAILED, "height");
    rpc(&["getblockhash", "99"]).fails(FAILED, "out of range");
    rpc(&["getblock", "77"]).fails(FAILED, "error");
    rpc(&["sendrawtransaction", "00"]).fails(FAILED, "TX decode failed");
    rpc(&["generatetoaddress", "1", "me"]).fails(FAILED, "address");
    rpc(&["--named", "getblockhash", "7"]).fails(FAILED, "NAME=VALUE");
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
fn wallets() {
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
fn passphrases() {
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
fn payments() {
    let (place, node, address) = regtest();
    let send = |args: &[&str]| place.run("node", &[&["wallet", "send"], args].concat());
    send(&["me", "1"]).fails(FAILED, "\"me\" is not an address");
    let typo = address.replace("rcairn1", "rcairn1q");
    send(&[&typo, "1"]).fails(FAILED, "is not an address");
    send(&[&address, "one"]).fails(USAGE, "is not an amount of coins");
    send(&[&address, "-1"]).fails(USAGE, "-1");
    send(&[&address, "0.000000001"]).fails(USAGE, "at most 8 decimals");
    send(&[&address, "0"]).fails(FAILED, "the amount is 0");
    send(&[&address, "1"]).fails(FAILED, "not enough coins: 0 can be spent");
    node.generate(1, &address);
    send(&[&address, "1"]).fails(FAILED, "not enough coins: 0 can be spent");
    node.generate(10, &address);
    send(&[&address, "500"]).fails(FAILED, "not enough coins: 100 can be spent");
    send(&[&address, "1", "--data", &"x".repeat(257)]).fails(FAILED, "257 bytes of data");
    send(&[&address, "1", "--data-hex", "zz"]).fails(FAILED, "--data-hex is not hex");
    send(&[&address, "1", "--fee-rate", "0"]).fails(FAILED, "at least 212 are needed");
    send(&[&address, "1"]).ok();
}

#[test]
fn receipts() {
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
    place.run_with_input("nobody", &["proof", "verify", "-", "--min-work", "2"], &receipt).fails(NOT_PROVEN, one);
    let receipt = std::fs::read_to_string(place.path("pay.json")).unwrap();
    assert_eq!(proof(&["get", &txid]).ok(), receipt.trim_end());
    let from_stdin =
        place.run_with_input("nobody", &["proof", "verify", "-", "--json", "--min-work", "1"], &receipt).ok();
    let told: serde_json::Value = serde_json::from_str(&from_stdin).unwrap();
    let two = "0000000000000000000000000000000000000000000000000000000000000004";
    assert_eq!((&told["confirmations"], &told["headers"], &told["work_on_top"]), (&2.into(), &2.into(), &two.into()));

    // The other shapes, and the compact form.
    proof(&["get", &txid, "--succinct", "--binary", "-o", "pay.bin"]).ok();
    let offline = |args: &[&str]| place.run("nobody", &[&["proof", "verify", "--min-work", "1"], args].concat());
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
    place.run_with_input("nobody", &["proof", "verify", "-"], half).fails(FAILED, "not a receipt");
    let moved = receipt.replace("\"height\": 2", "\"height\": 3");
    place.run_with_input("nobody", &["proof", "verify", "-"], &moved).fails(NOT_PROVEN, "is not in block");
    let built_in = place.path("receipt-of-regtest.json");
    std::fs::write(&built_in, receipt).unwrap();
    let mut without_genesis = place.command("nobody", &["proof", "verify", built_in.to_str().unwrap()]);
    without_genesis.env_remove("CAIRN_GENESIS");
    done(without_genesis).fails(NOT_PROVEN, "the receipt is for the network with genesis");
}

#[test]
fn networks() {
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

    // Straight to a file, whole or not at all; what is no file is written to as it stands.
    let shown: Value = serde_json::from_str(&genesis(&["show", "mined.json", "--json"]).ok()).unwrap();
    let written = genesis(&["mine", "edited.json", "-o", "new.json", "--json"]).ok();
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!((&written["file"], &written["genesis_hash"]), (&"new.json".into(), &shown["genesis_hash"]));
    let read = |name: &str| std::fs::read_to_string(place.path(name)).unwrap();
    assert_eq!(read("new.json").trim_end(), read("mined.json"));
    std::os::unix::fs::symlink("new.json", place.path("link.json")).unwrap();
    genesis(&[&easy[..], &["--output", "link.json"]].concat()).ok();
    assert!(place.path("link.json").is_symlink() && genesis(&["show", "new.json"]).ok().contains("hello"));
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

/// A number that cannot be had is refused with the bound, and never made to fit.
#[test]
fn numbers_out_of_bounds_are_refused() {
    let place = Place::new();
    for (args, said) in [
        (&["testnet", "--miners", "9"][..], "--miners is 9: with 4 nodes"),
        (&["testnet", "--nodes", "1", "--miners", "2"], "--miners is 2: with 1 node,"),
        (&["testnet", "--nodes", "65"], "65 is not in 1..=64"),
        (&["sim", "attack", "--runs", "1", "--full", "6"], "--full is 6, but --runs is only 1"),
        (&["sim", "network", "--interval", "0s"], "expected 1ms at least"),
        (&["light", "sync", "--timeout", "18446744073709551615"], "is not in 0..=31536000"),
    ] {
        let mut command = place.command("a", args);
        command.env_remove("CAIRN_GENESIS");
        done(command).fails(USAGE, said);
    }
    assert!(!place.path("a/node-1").exists(), "no network was made");
}

/// The environment is checked like the command line.
#[test]
fn variables_that_will_not_do_are_wrong_usage() {
    let place = Place::new();
    let with = |(name, value): (&str, &str), args: &[&str]| {
        let mut command = place.command("a", args);
        command.env(name, value);
        done(command)
    };
    let cli = <cairn::cli::Cli as clap::CommandFactory>::command();
    let mut switches = 0;
    for path in leaves(&cli, &[]) {
        let command = path.iter().fold(&cli, |command, name| command.find_subcommand(name).unwrap());
        let args: Vec<&str> = path.iter().map(String::as_str).collect();
        let is_switch = |argument: &&clap::Arg| matches!(argument.get_action(), clap::ArgAction::SetTrue);
        for name in command.get_arguments().filter(is_switch).filter_map(clap::Arg::get_env) {
            let name = name.to_str().unwrap();
            with((name, "maybe"), &args).fails(USAGE, "invalid value 'maybe'");
            switches += 1;
        }
    }
    assert!(switches >= 7, "{switches}");
    with(("CAIRN_JSON", "maybe"), &["genesis", "show"]).fails(USAGE, "invalid value 'maybe'");
    with(("CAIRN_LOG", "cairn=loud"), &["genesis", "show"]).fails(USAGE, "--log");
    with(("CAIRN_LOG_FORMAT", "xml"), &["genesis", "show"]).fails(USAGE, "possible values: text, json");
    with(("CAIRN_SUCCINCT", "yes"), &["proof", "get", &"00".repeat(32)]).fails(NO_NODE, "no node is running");
    assert!(with(("CAIRN_JSON", "on"), &["genesis", "show"]).ok().starts_with('{'));
    assert!(with(("CAIRN_JSON", "off"), &["genesis", "show"]).ok().starts_with("network"));
}

/// A test network has no store of its own: its nodes have.
#[test]
fn the_nodes_of_a_test_network_are_named() {
    let place = Place::new();
    for node in ["node-1", "node-2"] {
        std::fs::create_dir_all(place.path("net").join(node).join("chain")).unwrap();
    }
    let said = format!("give the directory of one of its nodes, {} to node-2", place.path("net/node-1").display());
    for args in [&["db", "check"][..], &["db", "export", "blocks"], &["db", "import", "genesis.json"]] {
        place.run("net", args).fails(FAILED, &said);
    }
    start(&place, "net", &[]).fails(FAILED, &said);
    assert!(!place.path("net/chain").exists() && !place.path("blocks").exists());
}

/// Options that a command cannot use are not among its own.
#[test]
fn commands_without_a_node_have_no_options_for_one() {
    let place = Place::new();
    for (path, asks) in [
        ("proof verify", false),
        ("proof car", false),
        ("proof get", true),
        ("wallet words", false),
        ("wallet address", false),
        ("wallet balance", true),
        ("wallet send", true),
        ("light status", false),
        ("light sync", true),
        ("genesis show", false),
        ("db check", false),
    ] {
        let args: Vec<&str> = path.split(' ').chain(["--help"]).collect();
        let help = place.run("a", &args).ok();
        assert_eq!(help.contains("--rpc") || help.contains("--peer"), asks, "{path}: {help}");
    }
}

#[test]
fn logs_for_programs_are_an_object_a_line() {
    let place = Place::new();
    // On the second run there is nothing to make, of which it would tell a person.
    let run = || {
        let mut command = place.command("net", &["testnet", "--nodes", "1", "--miners", "0", "--until-height", "0"]);
        command.env_remove("CAIRN_GENESIS").args(["--log-format", "json"]);
        done(command)
    };
    run().ok();
    let again = run();
    let lines: Vec<Value> = again.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let ready = lines.iter().find(|line| line["fields"]["message"] == "chain is ready").expect("it says so");
    let seen = (&ready["level"], &ready["fields"]["height"], &ready["span"]["node"]);
    assert_eq!(seen, (&"INFO".into(), &0.into(), &"node-1".into()));
    place.run("net", &["rpc", "getblockcount", "--log-format", "xml"]).fails(USAGE, "possible values: text, json");
}

/// The paths of all commands that do something, as `wallet send`.
fn leaves(command: &clap::Command, path: &[String]) -> Vec<Vec<String>> {
    let subcommands: Vec<_> = command.get_subcommands().filter(|command| command.get_name() != "help").collect();
    let mut found: Vec<_> = subcommands
        .iter()
        .flat_map(|command| leaves(command, &[path, &[command.get_name().to_owned()]].concat()))
        .collect();
    if subcommands.is_empty() || !command.is_subcommand_required_set() {
        found.push(path.to_owned());
    }
    found
}

/// The error that a command printed with `--json`: the last line of its stderr, and nothing on stdout.
fn error_of(done: &crate::process::Done) -> Value {
    assert_eq!(done.stdout, "", "{done:?}");
    let last = done.stderr.lines().last().unwrap_or_default();
    let object: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {done:?}"));
    assert_eq!(object["error"]["code"], done.code, "{done:?}");
    assert!(object["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{done:?}");
    object["error"].clone()
}

/// clap wraps help to the terminal: what is wrapped in the source as well is broken twice.
#[test]
fn help_is_wrapped_once() {
    fn check(command: &clap::Command, path: &str, faults: &mut Vec<String>) {
        let path = format!("{path} {}", command.get_name());
        let texts = [command.get_after_help(), command.get_after_long_help(), command.get_long_about()];
        for text in texts.into_iter().flatten().map(ToString::to_string) {
            let lines: Vec<&str> = text.lines().collect();
            let long = lines.iter().filter(|line| line.starts_with("  ") && line.chars().count() > 80);
            faults.extend(long.map(|line| format!("{path}: an example wider than 80 columns: {line}")));
            let is_prose = |line: &str| !line.is_empty() && !line.starts_with("  ");
            let broken = lines.windows(2).filter(|pair| is_prose(pair[0]) && is_prose(pair[1]));
            faults.extend(broken.map(|pair| format!("{path}: a line of prose goes on in the next: {}", pair[1])));
        }
        command.get_subcommands().for_each(|command| check(command, &path, faults));
    }
    let mut faults = Vec::new();
    check(&<cairn::cli::Cli as clap::CommandFactory>::command(), "", &mut faults);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// <https://no-color.org>: on a terminal, too.
#[test]
fn no_color_is_honoured_on_a_terminal() {
    let place = Place::new();
    place.wallet("a");
    let shown = |variables: &[(&str, &str)], args: &[&str]| {
        let mut command = place.command("a", args);
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command.env("TERM", "xterm-256color").envs(variables.iter().copied());
        // The terminal takes the place of the pipes.
        command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        let mut session = rexpect::session::spawn_command(command, Some(120_000)).unwrap();
        session.exp_eof().unwrap()
    };
    // Select Graphic Rendition (ECMA-48): the sequences of colour end in m.
    let coloured = |text: &str| {
        text.split("\x1b[")
            .skip(1)
            .any(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m'))
    };
    let port = free();
    let logs = ["rpc", "uptime", "--rpc", &port, "--log", "trace"];
    for args in [&["nod"][..], &["help", "node"], &logs] {
        assert!(coloured(&shown(&[], args)), "{args:?}: a terminal gets colours");
        assert!(!coloured(&shown(&[("NO_COLOR", "1")], args)), "{args:?}");
    }
}

#[test]
fn every_failure_with_json_is_an_object() {
    let place = Place::new();
    let commands = leaves(&<cairn::cli::Cli as clap::CommandFactory>::command(), &[]);
    assert!(commands.len() > 30, "{commands:?}");
    for command in &commands {
        let mut args: Vec<&str> = command.iter().map(String::as_str).collect();
        args.extend(["--json", "--no-such-option"]);
        let done = place.run("a", &args);
        assert_eq!((error_of(&done)["kind"].as_str(), done.code), (Some("usage"), USAGE), "{command:?}");
    }
    std::fs::write(place.path("torn.json"), "{").unwrap();
    let txid = "00".repeat(32);
    for (args, code, kind) in [
        (&["node", "--genesis", "torn.json"][..], FAILED, "failed"),
        (&["testnet", "mine", "1"], FAILED, "failed"),
        (&["wallet", "address"], FAILED, "failed"),
        (&["wallet", "new", "--restore"], FAILED, "failed"),
        (&["rpc", "uptime"], NO_NODE, "no_node"),
        (&["rpc", "--rpc", "https://node:1", "uptime"], FAILED, "failed"),
        (&["light", "sync"], NO_NODE, "no_node"),
        (&["light", "status", "--genesis", "missing.json"], FAILED, "failed"),
        (&["proof", "get", &txid], NO_NODE, "no_node"),
        (&["proof", "verify", "missing.json"], FAILED, "failed"),
        (&["proof", "verify", "torn.json"], FAILED, "failed"),
        (&["genesis", "show", "missing.json"], FAILED, "failed"),
        (&["genesis", "mine", "torn.json"], FAILED, "failed"),
        (&["db", "check"], FAILED, "failed"),
        (&["db", "export", "blocks"], FAILED, "failed"),
        (&["db", "import", "missing"], FAILED, "failed"),
        (&["health"], NO_NODE, "no_node"),
        (&["sim", "network", "--duration", "40s", "--partition", "20s..50s:0.3"], FAILED, "failed"),
    ] {
        let done = place.run("b", &[args, &["--json"]].concat());
        assert_eq!((error_of(&done)["kind"].as_str(), done.code), (Some(kind), code), "{args:?}: {done:?}");
    }
    // What the node says has a number of its own.
    let node = place.node("node", &[]);
    let refused = error_of(&place.run("node", &["rpc", "getblockhash", "99", "--json"]));
    assert_eq!((&refused["code"], &refused["rpc_code"]), (&FAILED.into(), &(-8).into()), "{refused}");
    // A receipt that can be read and proves nothing.
    node.generate(3, &place.wallet("miner"));
    let block = node.call("getblockhash", &[2.into()]);
    let txid = node.call("getblock", &[block])["tx"][0].as_str().unwrap().to_owned();
    let receipt = place.run("node", &["proof", "get", &txid]).ok();
    let moved = receipt.replace("\"height\": 2", "\"height\": 3");
    let done_elsewhere = place.run_with_input("nobody", &["proof", "verify", "-", "--json"], &moved);
    assert_eq!((error_of(&done_elsewhere)["kind"].as_str(), done_elsewhere.code), (Some("not_proven"), NOT_PROVEN));
    // A switch in the environment, which the command line's own parser never saw.
    let mut command = place.command("a", &["nod"]);
    command.env("CAIRN_JSON", "1");
    assert_eq!(error_of(&done(command))["kind"], "usage");
}

#[test]
fn simulations() {
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

    let attack = sim(&["attack", "--share", "30%", "--runs", "500", "--full", "2", "--json"]).ok();
    let report: Value = serde_json::from_str(&attack).unwrap();
    assert_eq!((&report["share"], &report["agree"]), (&0.3.into(), &2.into()));
    sim(&["attack", "--share", "0.6"]).fails(USAGE, "he always wins");
}
