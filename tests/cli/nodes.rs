//! Nodes that do not start or do not answer, nodes that run elsewhere, and the network a data directory belongs to.

use crate::commands::{FAILED, NO_NODE, USAGE, free, regtest, taken};
use crate::process::{Place, done, spec, wait_for};
use serde_json::Value;

fn start(place: &Place, name: &str, args: &[&str]) -> crate::process::Done {
    let basics = ["node", "--listen", "127.0.0.1:0", "--rpc", "127.0.0.1:0", "--log", "error"];
    // Giving an option twice is an error, so the test's options replace the defaults.
    let mut all: Vec<&str> = Vec::new();
    for pair in basics[1..].chunks(2).filter(|pair| !args.contains(&pair[0])) {
        all.extend(pair);
    }
    place.run(name, &[&["node"], &all[..], args].concat())
}

#[test]
fn nodes_that_do_not_start() {
    let place = Place::new();
    let address = place.wallet("wallet");
    let (_listener, port) = taken();
    for (option, whom) in [("--listen", "peers"), ("--rpc", "RPC"), ("--stratum", "miners")] {
        let failed = start(&place, "a", &[option, &port]);
        assert!(failed.stderr.contains(&format!("given with {option})")), "{failed:?}");
        failed.fails(FAILED, &format!("cannot listen for {whom} on {port}"));
    }
    #[cfg(feature = "webrtc")]
    {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().to_string();
        let failed = start(&place, "a", &["--listen-webrtc", &port]);
        assert!(failed.stderr.contains("given with --listen-webrtc)"), "{failed:?}");
        failed.fails(FAILED, &format!("cannot listen for browsers on {port}"));
    }
    start(&place, "a", &["--listen", "nowhere"]).fails(USAGE, "--listen");
    start(&place, "a", &["--connect", "just-a-name"]).fails(USAGE, "expected HOST:PORT");
    start(&place, "a", &["--connect", "7331@127.0.0.1:7331"]).fails(USAGE, "expected 64 hex digits");
    start(&place, "a", &["--mine", "me"]).fails(USAGE, "\"me\" is not an address");
    let other_network = address.replace("rcairn", "cairn");
    start(&place, "a", &["--mine", &other_network]).fails(USAGE, "is not an address");
    start(&place, "a", &["--threads", "0", "--mine", &address]).fails(USAGE, "--threads");
    start(&place, "a", &["--prune", "100"]).fails(USAGE, "at least 1728 blocks have to be kept");
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

/// A peer's address with the port of its RPC is a likely mistake.
#[test]
fn a_node_says_that_an_address_to_connect_to_is_not_for_peers() {
    let place = Place::new();
    let a = place.node("a", &[]);
    let web = a.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let b = place.node("b", &["--connect", &web]);
    let said = |line: &String| line.contains("WARN") && line.contains("a server speaks HTTP") && line.contains(&web);
    wait_for("a warning", || b.tail().iter().any(said).then_some(()));
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
fn health_reports_readiness_by_its_exit_code() {
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
    init().fails(FAILED, "keys/wallet.json, the wallet that it pays, does not");
    // A miner that makes its own wallet.
    let node = place.node("node", &["--mine", "wallet", "--threads", "1"]);
    let miner = place.run("node", &["wallet", "address"]).ok();
    wait_for("a block", || (node.tip().0 > 0).then_some(()));
    let mined = node.call("getaddressbalance", &[miner.into()]);
    assert!(mined["immature"].as_u64().unwrap() > 0, "{mined}");
    assert!(place.run("rich", &["wallet", "balance", "--rpc", &node.url()]).code != 0, "no credentials");
    let cookie = std::fs::read_to_string(place.path("node/.cookie")).unwrap();
    let url = node.url().replace("http://", &format!("http://{cookie}@"));
    assert!(place.run("rich", &["wallet", "balance", "--rpc", &url]).ok().starts_with("spendable  1000 coins"));
}

/// The network is given once, to the node; later commands find it in the data directory.
#[test]
fn a_node_keeps_the_genesis_that_it_is_given() {
    let place = Place::new();
    let without = |args: &[&str]| {
        let mut command = place.command("a", args);
        command.env_remove("CAIRN_GENESIS");
        done(command)
    };
    let built_in = without(&["genesis", "show", "--json"]).ok();
    // A first start that fails stores no genesis.
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
    place.run("a", &["rpc", "--rpc", "https://node:1", "uptime"]).fails(USAGE, "only http is supported");
    // A test network is not started by `cairn node`.
    let net = ["rpc", "uptime", "--data-dir", "cairn-testnet"];
    place.run("a", &net).fails(NO_NODE, "start the network with `cairn testnet --data-dir cairn-testnet`");
    std::fs::create_dir(place.path("cairn-testnet")).unwrap();
    place
        .run("a", &["rpc", "uptime"])
        .fails(NO_NODE, "give --data-dir cairn-testnet for the network of `cairn testnet`");
    std::fs::create_dir_all(place.path("other/node-1")).unwrap();
    place.run("other", &["rpc", "uptime"]).fails(NO_NODE, "start the network with `cairn testnet --data-dir");
    place.run("a", &["rpc", "--rpc", "node:port", "uptime"]).fails(USAGE, "is not a node's address");
    // Killed without time to tidy up: the address file stays, but no node listens.
    place.node("a", &[]).kill();
    place.run("a", &["rpc", "getblockcount"]).fails(NO_NODE, "is it running?");
}

/// A test network has no store of its own; each of its nodes has one.
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
