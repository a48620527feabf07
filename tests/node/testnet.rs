//! `cairn testnet` as a newcomer uses it: the network starts, the three commands it suggests work as printed, and a
//! stored network resumes.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};

use crate::process::{Done, Place, done, finish, flip, send_signal, wait_for};
use serde_json::Value;

/// `cairn testnet` in directory `net`.
fn testnet(place: &Place, args: &[&str]) -> Command {
    let mut command = place.command("net", &[&["testnet"], args].concat());
    command.env_remove("CAIRN_GENESIS");
    command
}

/// Killed when a test fails.
pub(crate) struct Running(pub(crate) Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already if the test went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_commands_it_tells_work_as_they_stand_and_the_network_is_resumed() {
    let place = Place::new();
    let mut network =
        Running(testnet(&place, &["--nodes", "3", "--miners", "1"]).stderr(Stdio::null()).spawn().unwrap());
    let mut stdout = BufReader::new(network.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut told = |what: &str| {
        let line =
            stdout.by_ref().find(|line| line.trim_start().starts_with(what)).expect("it is told before the table");
        line.trim_start().trim_start_matches(what).to_owned()
    };
    let (send, look, prove) = (told("send "), told("look "), told("prove "));
    // A reader that stops reading would stop the network.
    let rest = std::thread::spawn(move || stdout.collect::<Vec<_>>());

    // Typed one after the other; a person looks until it is confirmed.
    let script = format!("{send}\nuntil {look} | grep -q '\"confirmations\"'; do sleep 0.1; done\n{prove}\n");
    let mut shell = Command::new("sh");
    shell.args(["-eu", "-c", &script]).current_dir(place.path("")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let proven = done(shell).ok();
    assert!(proven.contains("proven ") && proven.contains("1.5 coins to tcairn1"), "{proven}");

    done(testnet(&place, &[])).fails(1, "is in use by another process");

    assert!(place.path("net/.rpc-address").exists());
    send_signal("INT", network.0.id());
    assert!(network.0.wait().unwrap().success());
    assert_eq!(rest.join().unwrap().last().map(String::as_str), Some("stopping…"));
    assert!(!place.path("net/.rpc-address").exists(), "the address of a node that is gone");

    let genesis = fs::read_to_string(place.path("net/genesis.json")).unwrap();
    let resumed = done(testnet(&place, &["--nodes", "3", "--until-height", "1", "--json"])).ok();
    let nodes: serde_json::Value = serde_json::from_str(resumed.lines().last().unwrap()).unwrap();
    let nodes = nodes["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    assert!(nodes.iter().all(|node| node["height"].as_u64().unwrap() >= 1), "{resumed}");
    assert_eq!(fs::read_to_string(place.path("net/genesis.json")).unwrap(), genesis);
}

/// A network that runs in a directory, its blocks made only when asked for, so that nothing takes its time.
pub(crate) struct Instant<'a> {
    place: &'a Place,
    dir: &'static str,
    process: Running,
}

impl<'a> Instant<'a> {
    pub(crate) fn start(place: &'a Place, dir: &'static str, args: &[&str]) -> Self {
        let mut command = in_dir(place, dir, &[&["testnet", "--block-time", "0"], args].concat());
        let mut process = Running(command.stderr(Stdio::null()).spawn().unwrap());
        let mut stdout = BufReader::new(process.0.stdout.take().unwrap()).lines().map(Result::unwrap);
        let told = stdout.by_ref().take_while(|line| !line.starts_with("Commands with")).collect::<Vec<_>>();
        let explore = told.iter().find_map(|line| line.strip_prefix("  explore  ")).expect("the link is told");
        assert!(explore.starts_with("http://127.0.0.1:") && explore.contains("/#key=__cookie__:"), "{explore}");
        std::thread::spawn(move || stdout.count());
        Self { place, dir, process }
    }

    pub(crate) fn run(&self, args: &[&str]) -> Done {
        done(in_dir(self.place, self.dir, args))
    }

    /// What a command answers with --json.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        serde_json::from_str(&self.run(&[args, &["--json"]].concat()).ok()).unwrap()
    }

    pub(crate) fn stop(mut self) {
        send_signal("INT", self.process.0.id());
        assert!(self.process.0.wait().unwrap().success());
    }
}

pub(crate) fn in_dir(place: &Place, dir: &str, args: &[&str]) -> Command {
    let mut command = place.command(dir, args);
    command.env_remove("CAIRN_GENESIS");
    command
}

/// Starts a network, and answers its nodes once they are at least at a height; then stops it.
pub(crate) fn nodes_at(place: &Place, dir: &str, height: u64, args: &[&str]) -> Vec<Value> {
    let until = height.to_string();
    let shown = done(in_dir(place, dir, &[&["testnet", "--json", "--until-height", &until], args].concat())).ok();
    let last: Value = serde_json::from_str(shown.lines().last().unwrap()).unwrap();
    last["nodes"].as_array().unwrap().clone()
}

#[test]
fn a_network_is_worked_on_saved_and_loaded() {
    let place = Place::new();
    let net = Instant::start(&place, "net", &["--seed", "7", "--nodes", "4"]);

    let mined = net.run(&["testnet", "mine", "12"]).ok();
    let mined: Vec<&str> = mined.lines().collect();
    assert_eq!(mined.len(), 12);
    assert_eq!(net.run(&["rpc", "getblockhash", "12"]).ok().trim_matches('"'), mined[11]);

    let payee = net.run(&["wallet", "address", "--wallet", "net/node-3/wallet.json"]).ok();
    let txid = net.run(&["testnet", "faucet", &payee, "2.5"]).ok();
    net.run(&["testnet", "mine"]).ok();
    let paid: Value = serde_json::from_str(&net.run(&["rpc", "getrawtransaction", &txid, "1"]).ok()).unwrap();
    assert_eq!(paid["confirmations"], 1);
    let balance = net.json(&["wallet", "balance"]);
    assert!(balance["spendable"].as_u64().unwrap() < 1000 * 100_000_000 - 250_000_000, "{balance}");
    net.run(&["testnet", "faucet", &payee, "0"]).fails(2, "the amount is 0");
    net.run(&["testnet", "faucet", "rcairn1nobody"]).fails(2, "address");

    let fork = net.json(&["testnet", "fork", "--depth", "3"]);
    assert_eq!((&fork["depth"], &fork["fork"]["height"], &fork["old"]["height"]), (&3.into(), &13.into(), &16.into()));
    let new = fork["new"]["hash"].as_str().unwrap();
    for node in ["net/node-1", "net/node-4"] {
        assert_eq!(done(in_dir(&place, node, &["rpc", "getbestblockhash"])).ok().trim_matches('"'), new);
    }
    let tips = net.run(&["rpc", "getchaintips"]).ok();
    assert!(tips.contains(fork["old"]["hash"].as_str().unwrap()), "{tips}");

    let cut = net.json(&["testnet", "link", "1", "node-2", "cut"]);
    assert_eq!((&cut["ends"][0]["cut"], &cut["ends"][1]["cut"]), (&true.into(), &true.into()));
    let slow = net.json(&["testnet", "link", "1", "2", "slow", "--delay-ms", "20", "--loss", "0.5"]);
    assert_eq!(slow["ends"][0]["delay_ms"], 20);
    assert_eq!((&slow["ends"][1]["cut"], &slow["ends"][1]["loss"]), (&false.into(), &0.5.into()));
    let links: Value = serde_json::from_str(&net.run(&["rpc", "getlinks"]).ok()).unwrap();
    assert_eq!((&links["chaos"], links["nodes"].as_array().unwrap().len()), (&true.into(), 4));
    assert_eq!(net.run(&["testnet", "link", "1", "2", "heal"]).ok(), "node-1 — node-2: healed");
    net.run(&["testnet", "link", "1", "5", "cut"]).fails(1, "expected one of node-1, node-2, node-3, node-4");
    net.run(&["testnet", "link", "2", "node-2", "cut"]).fails(2, "no link to itself");
    net.run(&["testnet", "link", "1", "2", "slow", "--loss", "1.5"]).fails(2, "1.5 is not a share from 0 to 1");

    // Saved while it runs and when it has stopped: the same to the byte.
    fs::write(place.path("running.cairnnet.partial"), "the user's").unwrap();
    net.run(&["testnet", "save", "running.cairnnet"]).ok();
    assert_eq!(fs::read(place.path("running.cairnnet.partial")).unwrap(), b"the user's");
    net.run(&["testnet", "save", "running.cairnnet"]).fails(1, "running.cairnnet exists");
    net.stop();
    let stopped = |args: &[&str]| done(in_dir(&place, "net", args));
    assert_eq!(stopped(&["testnet", "save", "stopped.cairnnet"]).ok(), "stopped.cairnnet: 4 nodes, height 17");
    let bytes = fs::read(place.path("running.cairnnet")).unwrap();
    assert!(bytes == fs::read(place.path("stopped.cairnnet")).unwrap(), "two files of one network differ");
    stopped(&["testnet", "mine"]).fails(4, "no node is running");
    stopped(&["testnet", "load", "running.cairnnet"]).fails(1, "is not empty");

    let copy = |args: &[&str]| done(in_dir(&place, "copy", args));
    for place_of_damage in [0, 12, 200, bytes.len() / 2, bytes.len() - 1] {
        flip(&place.path("stopped.cairnnet"), place_of_damage);
        copy(&["testnet", "load", "stopped.cairnnet"]).fails(1, "stopped.cairnnet");
        flip(&place.path("stopped.cairnnet"), place_of_damage);
    }
    for length in [0, 20, bytes.len() - 1] {
        fs::write(place.path("short.cairnnet"), &bytes[..length]).unwrap();
        copy(&["testnet", "load", "short.cairnnet"]).fails(1, "short.cairnnet");
    }
    copy(&["testnet", "load", "net"]).fails(1, "net is a directory: load takes a file that `cairn testnet save` wrote");
    assert!(!place.path("copy").exists());
    // An empty directory gives way.
    fs::create_dir(place.path("copy")).unwrap();
    copy(&["testnet", "load", "stopped.cairnnet"]).ok();
    let nodes = nodes_at(&place, "copy", 17, &[]);
    assert_eq!(nodes.len(), 4);
    assert!(nodes.iter().all(|node| node["tip"] == new && node["height"] == 17), "{nodes:?}");
    let again = Instant::start(&place, "copy", &[]);
    assert_eq!(again.json(&["wallet", "balance"]), balance);
    again.stop();

    // The same seed makes the same network.
    nodes_at(&place, "twin", 0, &["--seed", "7", "--block-time", "0"]);
    for file in ["genesis.json", "wallet.json", "node-2/wallet.json"] {
        let text = |dir: &str| fs::read_to_string(place.path(dir).join(file)).unwrap();
        assert_eq!(text("net"), text("twin"), "{file}");
        assert_eq!(text("net"), text("copy"), "{file}");
    }
    let twin = |args: &[&str]| done(in_dir(&place, "twin", args));
    twin(&["testnet", "--seed", "8"]).fails(1, "--seed is 8");
    twin(&["testnet", "--block-time", "9s"]).fails(1, "--block-time is 9, but this network was made with 0");
    twin(&["testnet", "--miners", "1"]).fails(1, "instant blocks");
}

#[test]
fn an_interrupted_mine_says_so() {
    let place = Place::new();
    let net = Instant::start(&place, "net", &["--nodes", "1"]);
    let mine = in_dir(&place, "net", &["testnet", "mine", "100000"]).spawn().unwrap();
    wait_for("a block", || (net.run(&["rpc", "getblockcount"]).ok() != "0").then_some(()));
    assert!(send_signal("INT", mine.id()));
    finish(mine).fails(130, "interrupted");
    net.stop();
}

#[test]
fn an_interrupted_load_leaves_nothing() {
    let place = Place::new();
    let net = Instant::start(&place, "net", &["--nodes", "8"]);
    net.run(&["testnet", "mine", "50"]).ok();
    net.run(&["testnet", "save", "eight.cairnnet"]).ok();
    net.stop();
    let begun = || -> Vec<String> {
        let entries = fs::read_dir(place.path("")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(".copy")).collect()
    };
    wait_for("a signal that comes in time", || {
        fs::create_dir(place.path("copy")).unwrap();
        let mut load = in_dir(&place, "copy", &["testnet", "load", "eight.cairnnet"]).spawn().unwrap();
        wait_for("something to be written", || {
            (!begun().is_empty() || load.try_wait().unwrap().is_some()).then_some(())
        });
        if load.try_wait().unwrap().is_none() {
            // It may end meanwhile.
            let _ = send_signal("INT", load.id());
        }
        let done = finish(load);
        assert_eq!(begun(), [] as [String; 0]);
        if done.code == 0 {
            fs::remove_dir_all(place.path("copy")).unwrap();
            return None;
        }
        done.fails(130, "interrupted");
        assert_eq!(fs::read_dir(place.path("copy")).unwrap().count(), 0, "the empty directory is there as before");
        Some(())
    });
}

#[test]
fn faucets_at_once_all_pay() {
    let place = Place::new();
    let net = Instant::start(&place, "net", &["--nodes", "1"]);
    let payee = net.run(&["wallet", "address", "--wallet", "net/node-1/wallet.json"]).ok();
    let txids: BTreeSet<String> = std::thread::scope(|scope| {
        let run = || net.run(&["testnet", "faucet", &payee, "2.5"]).ok();
        let running: Vec<_> = (0..10).map(|_| scope.spawn(run)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(txids.len(), 10);
    net.run(&["testnet", "mine"]).ok();
    let balance = net.json(&["wallet", "balance", "--wallet", "net/node-1/wallet.json"]);
    assert_eq!(balance["spendable"], 10 * 250_000_000u64, "{balance}");
    net.stop();
}

#[test]
fn a_reverted_network_is_what_it_was() {
    let place = Place::new();
    let net = Instant::start(&place, "net", &["--nodes", "4"]);
    let payee = net.run(&["wallet", "address", "--wallet", "net/node-3/wallet.json"]).ok();
    net.run(&["testnet", "mine", "5"]).ok();
    let waiting = net.run(&["testnet", "faucet", &payee, "1"]).ok();
    net.run(&["testnet", "link", "1", "4", "slow", "--delay-ms", "1"]).ok();
    let each = |method: &str| -> Vec<String> {
        (1..=4).map(|node| done(in_dir(&place, &format!("net/node-{node}"), &["rpc", method])).ok()).collect()
    };
    let agreed = |method: &str, expected: &str| {
        wait_for(method, || each(method).iter().all(|answer| answer.contains(expected)).then_some(()));
    };
    agreed("getrawmempool", &waiting);
    let tip = each("getbestblockhash").remove(0);
    agreed("getbestblockhash", &tip);
    let headers = |node: &Value| node["links"].as_array().unwrap().iter().filter(|link| link["delay_ms"] == 1).count();
    net.run(&["testnet", "snapshot", "funded"]).ok();
    let wallet = fs::read(place.path("net/wallet.json")).unwrap();

    for round in 0..3 {
        net.run(&["testnet", "faucet", &payee, "2"]).ok();
        net.run(&["wallet", "address", "--new"]).ok();
        net.run(&["testnet", "mine", "3"]).ok();
        net.run(&["testnet", "link", "1", "4", "cut"]).ok();
        net.run(&["testnet", "snapshot", "later"]).ok();
        let names: Vec<Value> = net.json(&["testnet", "list"]).as_array().unwrap().clone();
        assert_eq!(names.iter().map(|kept| kept["name"].as_str().unwrap()).collect::<Vec<_>>(), ["funded", "later"]);
        let reverted = net.json(&["testnet", "revert", "funded"]);
        assert_eq!(reverted["nodes"], 4, "round {round}: {reverted}");
        assert_eq!(net.json(&["testnet", "list"]).as_array().unwrap().len(), 1, "the later one is gone");
        net.run(&["testnet", "revert", "later"]).fails(1, "there is no snapshot \"later\"");
        // At once, on every node: nothing is left to be caught up with.
        assert!(each("getbestblockhash").iter().all(|other| *other == tip));
        assert!(each("getrawmempool").iter().all(|pool| pool.contains(&waiting) && pool.matches('"').count() == 2));
        assert_eq!(fs::read(place.path("net/wallet.json")).unwrap(), wallet);
        let links: Value = serde_json::from_str(&net.run(&["rpc", "getlinks"]).ok()).unwrap();
        let nodes = links["nodes"].as_array().unwrap();
        assert_eq!(nodes.iter().map(headers).collect::<Vec<_>>(), [1, 0, 0, 1], "{links}");
        assert_eq!(each("getblockcount"), ["5"; 4]);
    }
    // What was done before can be done again.
    net.run(&["testnet", "mine", "2"]).ok();
    agreed("getblockcount", "7");
    net.run(&["testnet", "snapshot", "../up"]).fails(1, "does not fit");
    let of_node = done(in_dir(&place, "net/node-2", &["testnet", "list"]));
    of_node.fails(1, "node-2 is the directory of a node: give that of its test network");
    net.run(&["testnet", "revert", "never"]).fails(1, "there is no snapshot");
    net.stop();
}

/// The ends of links that are cut, as `node-1 to node-2`.
fn cut_ends(net: &Instant) -> Vec<String> {
    let links: Value = serde_json::from_str(&net.run(&["rpc", "getlinks"]).ok()).unwrap();
    let ends = |node: &Value| -> Vec<String> {
        let cut = node["links"].as_array().unwrap().iter().filter(|link| link["cut"] == true);
        cut.map(|link| format!("{} to {}", node["name"], link["name"])).collect()
    };
    links["nodes"].as_array().unwrap().iter().flat_map(ends).collect()
}

#[test]
fn links_of_a_paused_node_are_healed() {
    let place = Place::new();
    let net = Instant::start(&place, "net", &["--nodes", "2"]);
    let on_second = |args: &[&str]| done(in_dir(&place, "net/node-2", args)).ok();
    net.run(&["testnet", "link", "1", "2", "cut"]).ok();
    assert_eq!(cut_ends(&net).len(), 2);
    net.run(&["testnet", "pause", "2"]).ok();
    net.run(&["testnet", "link", "1", "2", "heal"]).ok();
    assert_eq!(cut_ends(&net), [] as [String; 0]);
    net.run(&["testnet", "resume", "2"]).ok();
    net.run(&["testnet", "mine", "1"]).ok();
    wait_for("the block", || (on_second(&["rpc", "getblockcount"]) == "1").then_some(()));
    net.stop();
}

#[test]
fn a_fork_that_a_pause_ends_leaves_no_link_cut() {
    let place = Place::new();
    let net = Instant::start(&place, "net", &["--nodes", "3"]);
    wait_for("all links", || {
        let links: Value = serde_json::from_str(&net.run(&["rpc", "getlinks"]).ok()).unwrap();
        links["nodes"].as_array().unwrap().iter().all(|node| node["links"].as_array().unwrap().len() == 2).then_some(())
    });
    let fork = in_dir(&place, "net", &["testnet", "fork", "--depth", "10000"]);
    let fork = std::thread::spawn(move || done(fork));
    wait_for("the cut", || (cut_ends(&net).len() == 4).then_some(()));
    // It mines, first in the half of node-1.
    net.run(&["testnet", "pause", "1"]).ok();
    fork.join().unwrap().fails(1, "paused");
    assert_eq!(cut_ends(&net), [] as [String; 0]);
    net.run(&["testnet", "resume", "1"]).ok();
    let tips = || -> BTreeSet<String> {
        let nodes = ["net/node-1", "net/node-2", "net/node-3"];
        nodes.iter().map(|node| done(in_dir(&place, node, &["rpc", "getbestblockhash"])).ok()).collect()
    };
    wait_for("all to agree", || (tips().len() == 1).then_some(()));
    net.stop();
}

#[test]
fn a_node_that_is_added_has_whole_links() {
    let place = Place::new();
    // Its ports are the same again, and so is what names its links.
    let port = free_ports(4).to_string();
    let net = Instant::start(&place, "net", &["--nodes", "2", "--base-port", &port]);
    let address = || net.json(&["rpc", "getlinks"])["nodes"][1]["address"].clone();
    let before = address();
    net.run(&["testnet", "link", "1", "2", "cut"]).ok();
    net.run(&["testnet", "remove", "2"]).ok();
    assert_eq!(cut_ends(&net), [] as [String; 0]);
    net.run(&["testnet", "mine", "1"]).ok();
    net.run(&["testnet", "add"]).ok();
    assert_eq!((address(), cut_ends(&net)), (before, Vec::new()));
    wait_for("the block", || (done(in_dir(&place, "net/node-2", &["rpc", "getblockcount"])).ok() == "1").then_some(()));
    net.stop();
}

#[test]
fn nodes_that_disagree_are_saved_as_they_are() {
    let place = Place::new();
    let net = Instant::start(&place, "net", &["--nodes", "2"]);
    net.run(&["testnet", "mine", "2"]).ok();
    wait_for("node-2 to have both", || {
        (done(in_dir(&place, "net/node-2", &["rpc", "getblockcount"])).ok() == "2").then_some(())
    });
    net.run(&["testnet", "link", "1", "2", "cut"]).ok();
    net.run(&["testnet", "mine", "1"]).ok();
    assert_eq!(net.json(&["testnet", "save", "two.cairnnet"])["chains"], 2);
    net.stop();
    let mut load = in_dir(&place, "copy", &["testnet", "load", "two.cairnnet"]);
    load.env("CAIRN_JSON", "1");
    assert_eq!(serde_json::from_str::<Value>(&done(load).ok()).unwrap()["height"], 3);
    // Each node's chain ends where it ended; together, they agree on the longer one.
    let heights = ["copy/node-1", "copy/node-2"].map(|node| {
        let report: Value = serde_json::from_str(&done(in_dir(&place, node, &["db", "check", "--json"])).ok()).unwrap();
        report["height"].as_u64().unwrap()
    });
    assert_eq!(heights, [3, 2]);
    assert!(nodes_at(&place, "copy", 3, &[]).iter().all(|node| node["height"] == 3));
}

/// The board in a terminal: keys and the mouse reach the links, and the terminal is given back.
#[test]
fn the_board_is_played_with_keys_and_mouse() {
    let place = Place::new();
    let mut command = in_dir(&place, "net", &["testnet", "--block-time", "0", "--nodes", "3"]);
    command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
    // It takes every byte for a character, so only ASCII is looked for.
    let mut terminal = rexpect::session::spawn_command(command, Some(120_000)).unwrap();
    terminal.exp_string("node-2: whole").unwrap();
    let is_cut = |other: &str| {
        let links = done(in_dir(&place, "net", &["rpc", "getlinks"])).ok();
        let links: Value = serde_json::from_str(&links).unwrap();
        let links = links["nodes"][0]["links"].as_array().unwrap().clone();
        links.iter().any(|link| link["name"] == other && link["cut"] == true)
    };
    terminal.send("c").unwrap();
    terminal.flush().unwrap();
    terminal.exp_string("node-2: cut").unwrap();
    assert!(is_cut("node-2") && !is_cut("node-3"));
    terminal.send("h").unwrap();
    terminal.flush().unwrap();
    terminal.exp_string("node-2: whole").unwrap();

    // A click where node-1's row and node-3's column meet on the last whole frame; terminals count from 1.
    terminal.exp_string("\x1b[?7l\x1b[H").unwrap();
    let frame = terminal.exp_string("q quit").unwrap();
    let line = frame.split("\r\n").position(|line| line.starts_with("  links ")).expect("the matrix is there") + 2;
    terminal.send(&format!("\x1b[<0;22;{line}M\x1b[<0;22;{line}m")).unwrap();
    terminal.flush().unwrap();
    terminal.exp_string("node-3: cut").unwrap();
    assert!(is_cut("node-3"));

    terminal.send("q").unwrap();
    terminal.flush().unwrap();
    let rest = terminal.exp_eof().unwrap();
    assert!(rest.contains("\x1b[?1049l") && rest.contains("\x1b[?25h") && rest.contains("stopping"), "{rest:?}");
}

/// The first of some ports in a row that are free: below those that a system gives by itself (32768 on Linux), since a
/// connection or a listener of another test could get one of those before it is used.
fn free_ports(count: u16) -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    wait_for("ports in a row", || {
        let base = NEXT.fetch_add(count, Ordering::Relaxed);
        assert!(base < 32_000, "no ports are free");
        let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
        (base..base + count).all(is_free).then_some(base)
    })
}

#[test]
fn networks_run_side_by_side() {
    let place = Place::new();
    let base = free_ports(8);
    let port = base.to_string();
    let left = Instant::start(&place, "left", &["--nodes", "2", "--base-port", &port]);
    let ports = |net: &Instant| -> Vec<Value> {
        let links: Value = serde_json::from_str(&net.run(&["rpc", "getlinks"]).ok()).unwrap();
        links["nodes"].as_array().unwrap().iter().map(|node| node["address"].clone()).collect()
    };
    assert_eq!(ports(&left), [format!("127.0.0.1:{base}"), format!("127.0.0.1:{}", base + 2)]);
    // The same ports: refused where they were asked for, others where they were not.
    let clash = done(in_dir(&place, "clash", &["testnet", "--block-time", "0", "--base-port", &port]));
    assert!(
        clash.code == 1 && clash.stderr.contains(&format!("node-1 cannot listen on 127.0.0.1:{base}")),
        "{clash:?}"
    );
    assert!(clash.stderr.contains("given with --base-port)") && !clash.stderr.contains("--listen"), "{clash:?}");
    let right = Instant::start(&place, "right", &["--nodes", "2"]);
    left.run(&["testnet", "mine", "3"]).ok();
    right.run(&["testnet", "mine", "1"]).ok();
    assert_eq!(left.run(&["rpc", "getblockcount"]).ok(), "3");
    assert_eq!(right.run(&["rpc", "getblockcount"]).ok(), "1");
    right.stop();
    left.stop();
    // The port is part of the network.
    let nodes = nodes_at(&place, "left", 3, &[]);
    assert_eq!(nodes[1]["rpc"], format!("http://127.0.0.1:{}", base + 3));
}

#[test]
fn an_offline_start_waits_for_the_network() {
    let place = Place::new();
    let net = Instant::start(&place, "net", &["--nodes", "2", "--offline-start"]);
    net.run(&["testnet", "mine", "1"]).ok();
    let rpc =
        |node: usize, args: &[&str]| done(in_dir(&place, &format!("net/node-{node}"), &[&["rpc"], args].concat())).ok();
    for node in [1, 2] {
        assert_eq!(rpc(node, &["getconnectioncount"]), "0");
        assert!(rpc(node, &["getnetworkinfo"]).contains("\"networkactive\": false"));
    }
    for node in [1, 2] {
        rpc(node, &["setnetworkactive", "true"]);
    }
    wait_for("the block", || (rpc(2, &["getblockcount"]) == "1").then_some(()));
    net.stop();
}

/// The board on a terminal of a size: its first whole frame with the table, and the page of help.
fn board(place: &Place, dir: &str, (columns, rows): (usize, usize), nodes: &str) -> (Vec<String>, String) {
    let cairn = env!("CARGO_BIN_EXE_cairn");
    let script = format!("stty rows {rows} cols {columns}; exec {cairn} testnet --block-time 0 --nodes {nodes}");
    let mut command = in_dir(place, dir, &[]);
    let envs: Vec<_> =
        command.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
    let current = command.get_current_dir().unwrap().to_owned();
    command = Command::new("sh");
    command.args(["-c", &script]).current_dir(current).env("NO_COLOR", "1");
    for (name, value) in envs {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let mut terminal = rexpect::session::spawn_command(command, Some(120_000)).unwrap();
    terminal.exp_string("\x1b[?7l\x1b[H").unwrap();
    let frame = terminal.exp_string("\x1b[J").unwrap();
    terminal.send("?").unwrap();
    terminal.flush().unwrap();
    terminal.exp_string("\x1b[?1000l").unwrap();
    terminal.exp_string("\x1b[?7h\x1b[H").unwrap();
    let help = terminal.exp_string("\x1b[J").unwrap();
    terminal.send("?q").unwrap();
    terminal.flush().unwrap();
    terminal.exp_eof().unwrap();
    // What takes no place: it takes every byte for a character, so those of one character are made one.
    let bytes: Vec<u8> = frame.chars().map(|c| c as u8).collect();
    let text = String::from_utf8(bytes).unwrap().replace("\x1b[K", "").replace("\x1b[7m", "").replace("\x1b[0m", "");
    (text.split("\r\n").map(str::to_owned).collect(), help)
}

#[test]
fn the_board_fits_any_terminal() {
    let place = Place::new();
    for (size, nodes) in [((80, 24), "4"), ((40, 10), "4"), ((80, 24), "12"), ((200, 60), "3"), ((26, 5), "2")] {
        let (frame, help) = board(&place, &format!("net-{}-{nodes}", size.0), size, nodes);
        let shown = format!("{size:?}: {frame:#?}");
        assert!(frame.len() <= size.1, "{shown}");
        assert!(frame.iter().all(|line| line.chars().count() <= size.0 && !line.contains('\x1b')), "{shown}");
        let first = frame.iter().find(|line| line.starts_with("  node-1 ")).expect(&shown);
        // The port at least, which is all that one needs on this machine.
        let port = first.split([':', ' ']).next_back().unwrap();
        assert!(port.parse::<u16>().is_ok(), "{shown}");
        assert!(frame.last().unwrap().contains("? help") && frame.iter().any(|line| line.contains("cairn testnet")));
        assert_eq!(frame.iter().any(|line| line.starts_with("  links")), size.1 >= 10, "{shown}");
        // Whole, however long, so that it can be copied.
        let fork =
            format!("testnet fork --depth 2 --data-dir {}", place.path(&format!("net-{}-{nodes}", size.0)).display());
        assert!(size.1 < 24 || help.contains(&fork), "{help:?}");
    }
}

#[test]
fn wrong_input_is_reported() {
    let place = Place::new();
    done(testnet(&place, &["--genesis", "genesis.json"])).fails(1, "makes a genesis.json of its own");
    done(testnet(&place, &["--nodes", "0"])).fails(2, "0 is not in 1..=64");

    fs::create_dir(place.path("net")).unwrap();
    fs::write(place.path("net/thesis.txt"), "years of work").unwrap();
    done(testnet(&place, &[])).fails(1, "holds no test network");
    assert_eq!(fs::read_dir(place.path("net")).unwrap().count(), 1);
}
