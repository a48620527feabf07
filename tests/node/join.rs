//! Real processes that joined through one node, which is then killed: the others stay together, and newcomers find them
//! through any other.

use crate::process::{Node, Place, spec, wait_for};
use serde_json::json;

/// Bits that every second hash meets.
const INSTANT: u32 = 0x207f_ffff;

fn peers(node: &Node) -> usize {
    node.call("getpeerinfo", &[]).as_array().unwrap().len()
}

/// Who has a place in its table, by address.
fn contacts(node: &Node) -> Vec<String> {
    let known = node.call("getnodeaddresses", &[json!(0)]);
    let placed = known.as_array().unwrap().iter().filter(|known| known["bucket"].is_u64());
    placed.map(|known| format!("{}:{}", known["address"].as_str().unwrap(), known["port"])).collect()
}

#[test]
fn a_network_outlives_the_node_that_it_was_joined_through() {
    let place = Place::new();
    place.found(&spec(INSTANT, &[]));
    let miner = place.wallet("miner");
    let bootstrap = place.node("bootstrap", &[]);
    let first = bootstrap.peer_address();
    let mut nodes: Vec<Node> = (1..8).map(|n| place.node(&format!("node-{n}"), &["--connect", &first])).collect();
    for node in &nodes {
        // Knowing others than the bootstrap node is enough to go on without it.
        wait_for("a node to find five others", || (contacts(node).len() >= 6 && peers(node) >= 5).then_some(()));
    }

    bootstrap.kill();
    let through = nodes[4].peer_address();
    let newcomer = place.node("newcomer", &["--connect", &through]);
    wait_for("the newcomer to find others", || (peers(&newcomer) >= 4).then_some(()));
    assert!(!contacts(&newcomer).contains(&first), "the dead node is taken for a living one");
    nodes.push(newcomer);

    // Wherever a block is found, it comes to all.
    for at in [0, 7, 3] {
        nodes[at].generate(1, &miner);
        let tip = nodes[at].tip();
        for node in &nodes {
            wait_for("the block to be everywhere", || (node.tip() == tip).then_some(()));
        }
    }

    // A restart needs neither the bootstrap node nor its like: whom it knew is enough.
    let last = nodes.pop().unwrap();
    assert!(last.terminate().success());
    let again = place.node("newcomer", &[]);
    wait_for("the restarted node to find others", || (peers(&again) >= 4).then_some(()));
    let found = again.call("findnode", &[json!("00".repeat(32))]);
    assert!(found["nodes"].as_array().unwrap().len() >= 6 && found["complete"] == true, "{found}");
    nodes[2].generate(1, &miner);
    let tip = nodes[2].tip();
    wait_for("the block to come", || (again.tip() == tip).then_some(()));
}
