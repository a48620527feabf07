//! Real processes that prune, and archive a share of what they prune: together they have it all when the node that kept all is
//! gone.

use std::fs;

use cairn::consensus::params::GenesisSpec;
use serde_json::{Value, json};

use crate::process::{Node, Place, spec, wait_for};

/// Bits that every second hash meets.
const INSTANT: u32 = 0x207f_ffff;
const BLOCKS: u32 = 600;
/// Blocks of an epoch.
const EPOCH: u32 = 4;
/// The fewest that a node may keep then.
const KEPT: u32 = 296;
/// What a node has pruned at least: it waits until it can prune 128 blocks, and prunes whole epochs.
const PRUNED: u32 = BLOCKS + 1 - KEPT - 127 - (EPOCH - 1);

fn info(node: &Node, field: &str) -> u64 {
    node.call("getblockchaininfo", &[])[field].as_u64().unwrap()
}

#[test]
fn nodes_that_prune_have_all_history_among_them() {
    let place = Place::new();
    let mut spec = GenesisSpec { epoch_blocks: EPOCH, ..spec(INSTANT, &[]) };
    assert!(spec.mine_nonce());
    place.found(&spec);
    let miner = place.wallet("miner");
    let first = place.node("first", &[]);
    let address = first.peer_address();
    let kept = KEPT.to_string();
    let args = ["--connect", &address, "--prune", &kept, "--archive-share", "0.01"];
    let nodes: Vec<Node> = (0..8).map(|n| place.node(&format!("node-{n}"), &args)).collect();
    let contacts = |node: &Node| {
        let known = node.call("getnodeaddresses", &[json!(0)]);
        known.as_array().unwrap().iter().filter(|known| known["bucket"].is_u64()).count()
    };
    for node in &nodes {
        wait_for("the nodes to get acquainted", || (contacts(node) >= 8).then_some(()));
    }
    for _ in 0..BLOCKS / 100 {
        first.generate(100, &miner);
    }
    let tip = first.tip();
    for node in &nodes {
        let prunes = || Some(info(node, "pruneheight")).filter(|at| node.tip() == tip && *at >= PRUNED.into());
        let pruned = wait_for("a node to prune", prunes);
        let archived = info(node, "archived_blocks");
        println!("{archived} of {pruned} blocks are archived");
        assert!(archived < pruned, "no node has all");
        assert!(node.call("getnetworkinfo", &[])["localservicesnames"].as_array().unwrap().contains(&json!("ARCHIVE")));
    }
    let old = first.call("getblockhash", &[json!(100)]);
    let cid = first.call("getblockheader", std::slice::from_ref(&old))["cid"].as_str().unwrap().to_owned();
    let block = first.call("getblock", &[old.clone(), json!(0)]);
    let has: Vec<bool> = nodes.iter().map(|node| node.try_call("getblock", &[old.clone(), json!(0)]).is_ok()).collect();
    assert!(has.contains(&true) && has.contains(&false), "{has:?}");

    first.kill();
    let newcomer = place.node("newcomer", &["--connect", &nodes[0].peer_address()]);
    wait_for("the newcomer to have all blocks", || (newcomer.tip() == tip).then_some(()));
    assert_eq!(newcomer.call("getblock", &[old, json!(0)]), block);
    assert_eq!(newcomer.call("verifychain", &[json!(4), json!(0)]), Value::Bool(true));
    // As content, from a node that archives the block.
    let archivist = has.iter().position(|has| *has).unwrap();
    let target = place.path("block");
    let name = format!("node-{archivist}");
    place.run(&name, &["content", "get", &cid, "-o", target.to_str().unwrap()]).ok();
    assert_eq!(json!(hex::encode(fs::read(target).unwrap())), block);
    // What is archived survives a restart.
    let mut nodes = nodes;
    let archived = info(&nodes[archivist], "archived_blocks");
    assert!(nodes.remove(archivist).terminate().success());
    let again = place.node(&name, &args[2..]);
    assert_eq!(info(&again, "archived_blocks"), archived);
    drop(again);
    let checked: Value = serde_json::from_str(&place.run(&name, &["db", "check", "--json"]).ok()).unwrap();
    assert!(checked["pruneheight"].as_u64() >= Some(PRUNED.into()), "{checked}");
}
