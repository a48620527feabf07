//! The nodes of a test network come and go, stand still, and are left whole by commands that are killed.

use std::process::Stdio;

use serde_json::Value;

use crate::process::{Place, done, send_signal, wait_for};
use crate::testnet::{Instant, Running, in_dir, nodes_at};

#[test]
fn nodes_are_paused_added_and_removed() {
    let place = Place::new();
    let net = Instant::start(&place, "net", &["--nodes", "3"]);
    let height = |node: usize| done(in_dir(&place, &format!("net/node-{node}"), &["rpc", "getblockcount"])).ok();
    let reaches = |node: usize, expected: &str| {
        wait_for("the height", || (height(node) == expected).then_some(()));
    };
    assert_eq!(net.run(&["testnet", "pause", "2"]).ok(), "node-2: paused");
    assert_eq!(net.run(&["testnet", "pause", "node-2"]).ok(), "node-2: paused already");
    net.run(&["testnet", "mine", "2"]).ok();
    reaches(3, "2");
    // It stands still, and says so, while the others go on.
    assert_eq!(height(2), "0");
    let advice = "node-2 is paused: `cairn testnet resume node-2 --data-dir DIR` lets it go on";
    done(in_dir(&place, "net/node-2", &["rpc", "getpeerinfo"])).fails(1, advice);
    let links: Value = serde_json::from_str(&net.run(&["rpc", "getlinks"]).ok()).unwrap();
    let paused: Vec<&Value> = links["nodes"].as_array().unwrap().iter().map(|node| &node["paused"]).collect();
    assert_eq!(paused, [false, true, false]);
    net.run(&["testnet", "snapshot", "one"]).fails(1, advice);
    net.run(&["testnet", "add"]).fails(1, advice);
    net.run(&["testnet", "fork"]).fails(1, advice);
    net.run(&["testnet", "remove", "3"]).fails(1, advice);
    assert_eq!(net.run(&["testnet", "resume", "2"]).ok(), "node-2: running");
    assert_eq!(net.json(&["testnet", "resume", "2"])["changed"], false);
    reaches(2, "2");

    // Snapshots are not lost unasked.
    net.run(&["testnet", "snapshot", "one"]).ok();
    let said = "which do not fit other nodes: forget_snapshots (--forget-snapshots) gives up \"one\"";
    net.run(&["testnet", "add"]).fails(1, said);
    net.run(&["testnet", "remove", "2"]).fails(1, said);
    net.run(&["testnet", "revert", "one"]).ok();
    let added = net.json(&["testnet", "add", "--forget-snapshots"]);
    assert_eq!(added["name"], "node-4");
    assert_eq!(net.json(&["testnet", "list"]).as_array().unwrap().len(), 0, "no snapshot has the new node");
    assert_eq!(net.run(&["testnet", "list"]).stdout, "", "an empty list is no line");
    reaches(4, "2");
    // Whatever works on all nodes works on it.
    assert_eq!(net.json(&["testnet", "fork"])["nodes"], 4);
    net.run(&["testnet", "link", "1", "4", "cut"]).ok();
    net.run(&["testnet", "link", "1", "4", "heal"]).ok();
    net.run(&["testnet", "remove", "1"]).fails(1, "node-1 stays");
    net.run(&["testnet", "remove", "5"]).fails(1, "expected one of node-1, node-2, node-3, node-4");
    // Any other goes, and the rest keep their names.
    assert_eq!(net.run(&["testnet", "remove", "2"]).ok(), "node-2: removed");
    assert!(!place.path("net/node-2").exists());
    assert_eq!(net.json(&["testnet", "fork"])["nodes"], 3);
    assert_eq!(net.run(&["testnet", "link", "1", "3", "cut"]).ok(), "node-1 — node-3: cut");
    net.run(&["testnet", "link", "1", "3", "heal"]).ok();
    net.run(&["testnet", "link", "1", "2", "cut"]).fails(1, "expected one of node-1, node-3, node-4");
    net.run(&["testnet", "snapshot", "two"]).ok();
    net.run(&["testnet", "revert", "two"]).ok();
    net.run(&["testnet", "save", "three.cairnnet"]).ok();
    // The number that is free comes first.
    assert_eq!(net.json(&["testnet", "add", "--forget-snapshots"])["name"], "node-2");
    net.run(&["testnet", "remove", "2"]).ok();
    net.run(&["testnet", "remove", "4"]).ok();
    assert_eq!(net.json(&["testnet", "fork"])["nodes"], 2);
    // A paused node does not keep the network from stopping.
    net.run(&["testnet", "pause", "1"]).ok();
    net.stop();
    let names =
        |nodes: &[Value]| nodes.iter().map(|node| node["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&nodes_at(&place, "net", 0, &[])), ["node-1", "node-3"], "as it was last");
    assert_eq!(names(&nodes_at(&place, "net", 0, &["--nodes", "3"])), ["node-1", "node-3", "node-4"]);
    // A copy's nodes are numbered anew.
    done(in_dir(&place, "copy", &["testnet", "load", "three.cairnnet"])).ok();
    assert_eq!(names(&nodes_at(&place, "copy", 0, &[])), ["node-1", "node-2", "node-3"]);
}

/// A command that dies at work leaves neither links cut nor miners off.
#[test]
fn a_killed_command_leaves_the_network_whole() {
    let place = Place::new();
    let killed_once = |dir: &str, args: &[&str], is_at_work: &dyn Fn() -> bool| {
        let mut command = Running(in_dir(&place, dir, args).spawn().unwrap());
        wait_for("the command to be at work", || is_at_work().then_some(()));
        assert!(command.0.try_wait().unwrap().is_none(), "it is still at work");
        command.0.kill().unwrap();
    };
    let net = Instant::start(&place, "net", &["--nodes", "3"]);
    let has_cut = || net.run(&["rpc", "getlinks"]).ok().contains("\"cut\": true");
    killed_once("net", &["testnet", "fork", "--depth", "10000"], &has_cut);
    wait_for("the links to be healed", || (!has_cut()).then_some(()));
    let tip = |node: usize| done(in_dir(&place, &format!("net/node-{node}"), &["rpc", "getbestblockhash"])).ok();
    wait_for("the nodes to agree", || (tip(1) == tip(2) && tip(2) == tip(3)).then_some(()));
    net.stop();

    let args = ["testnet", "--block-time", "1", "--nodes", "1", "--miners", "1"];
    let mut mining =
        Running(in_dir(&place, "mining", &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let rpc = |method: &str| -> Value {
        let answer = done(in_dir(&place, "mining", &["rpc", method]));
        serde_json::from_str(&answer.stdout).unwrap_or(Value::Null)
    };
    let height = || rpc("getblockcount").as_u64();
    wait_for("a block", || height().filter(|height| *height > 0));
    let rests = || rpc("getmininginfo")["hashespersec"] == 0.0 && height() > Some(2);
    killed_once("mining", &["testnet", "mine", "100000"], &rests);
    let then = height().unwrap();
    wait_for("the node to mine again", || height().filter(|height| *height > then + 2));
    send_signal("INT", mining.0.id());
    assert!(mining.0.wait().unwrap().success());
}
