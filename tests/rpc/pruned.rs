//! A node that prunes, over RPC: what it says about that, and what it answers about blocks that are gone.

use cairn::chain::{Retention, min_kept};
use cairn::primitives::hash::BlockHash;
use serde_json::{Value, json};

use crate::fixture::Fixture;

/// More blocks than a node keeps at least.
const BEYOND: u32 = 200;

fn height_of(fixture: &Fixture, name: &str) -> Value {
    fixture.call("getblockchaininfo", json!([]))[name].clone()
}

#[test]
fn old_blocks_go_by_hand_and_what_needs_them_says_so() {
    let fixture = Fixture::pruning(Retention::Manual);
    let least = min_kept(&fixture.params);
    let info = fixture.call("getblockchaininfo", json!([]));
    let said = |info: &Value| [info["pruned"].clone(), info["pruneheight"].clone(), info["automatic_pruning"].clone()];
    assert_eq!(said(&info), [json!(true), json!(0), json!(false)]);
    assert_eq!(fixture.call("getnetworkinfo", json!([]))["localservicesnames"], json!(["PRUNED", "STATE"]));
    fixture.refused("pruneblockchain", json!([1]), -1, "too short");
    fixture.refused("pruneblockchain", json!([-1]), -8, "Negative block height");

    let mut hashes: Vec<BlockHash> = Vec::new();
    while hashes.len() < (least + BEYOND) as usize {
        hashes.extend(fixture.generate(BEYOND.min(least + BEYOND - hashes.len() as u32), 1));
    }
    fixture.refused("pruneblockchain", json!([least + BEYOND + 1]), -8, "shorter than the attempted prune height");
    fixture.refused("pruneblockchain", json!([4_000_000_000_u32]), -8, "at least the specified timestamp");
    let coinbase = |height: usize| fixture.block(&hashes[height - 1]).transactions[0].txid();
    let (old, kept) = (coinbase(100), coinbase(101));
    assert_eq!(fixture.call("pruneblockchain", json!([100])), 100);
    assert_eq!(height_of(&fixture, "pruneheight"), 101);

    let gone = "Block not available (pruned data)";
    for verbosity in 0..=3 {
        fixture.refused("getblock", json!([hashes[99], verbosity]), -1, gone);
        fixture.call("getblock", json!([hashes[100], verbosity]));
    }
    fixture.refused("getblockstats", json!([100]), -1, gone);
    fixture.refused("getblockfilter", json!([hashes[99]]), -1, "Filter not available (pruned data)");
    fixture.refused("getrawtransaction", json!([old]), -1, "the block at height 100, which is not available");
    fixture.refused("getrawtransaction", json!([old, 0, hashes[99]]), -1, gone);
    fixture.refused("gettxoutproof", json!([[old]]), -1, gone);
    fixture.refused("getreceipt", json!([old]), -1, gone);
    fixture.refused("getreceipt", json!([kept, "succinct"]), -1, "this node has those from height 101 on");
    fixture.call("getreceipt", json!([kept]));
    fixture.call("gettxoutproof", json!([[kept]]));
    fixture.refused("invalidateblock", json!([hashes[99]]), -1, "cannot go back behind it");
    assert_eq!(fixture.call("verifychain", json!([4, 0])), true);
    // What stays is whole.
    assert_eq!(fixture.call("getblockheader", json!([hashes[0]]))["height"], 1);
    assert_eq!(fixture.call("getblockhash", json!([100])), json!(hashes[99]));
    let history = fixture.call("getaddresshistory", json!([fixture.payee(1), 0, 3]));
    assert_eq!(history.as_array().unwrap().iter().map(|entry| &entry["height"]).collect::<Vec<_>>(), [1, 2, 3]);

    // Not more than may go, whatever is asked for; blocks of a time go with all older by two hours.
    let last = fixture.call("pruneblockchain", json!([least + BEYOND]));
    assert_eq!(last, BEYOND - 1);
    assert_eq!(height_of(&fixture, "warnings"), json!([]));
}

#[test]
fn a_node_that_keeps_all_is_not_pruned_by_hand() {
    let fixture = Fixture::new();
    fixture.refused("pruneblockchain", json!([1]), -1, "Cannot prune blocks because node is not in prune mode.");
    let info = fixture.call("getblockchaininfo", json!([]));
    assert_eq!((&info["pruned"], info.get("pruneheight")), (&json!(false), None));
    assert_eq!(
        fixture.call("getnetworkinfo", json!([]))["localservicesnames"],
        json!(["FULL", "STATE", "CHAIN_PROOFS"])
    );
}

#[test]
fn automatic_pruning_follows_the_tip() {
    let least = {
        let fixture = Fixture::new();
        min_kept(&fixture.params)
    };
    let fixture = Fixture::pruning(Retention::Last(least));
    for _ in 0..10 {
        fixture.generate((least + BEYOND) / 10 + 1, 1);
    }
    let info = fixture.call("getblockchaininfo", json!([]));
    assert_eq!((&info["automatic_pruning"], &info["prune_target_blocks"]), (&json!(true), &json!(least)));
    let (height, from) = (info["blocks"].as_u64().unwrap(), info["pruneheight"].as_u64().unwrap());
    // Blocks go 128 at a time.
    assert!(from > 0 && (u64::from(least)..u64::from(least) + 128).contains(&(height + 1 - from)), "{height}, {from}");
}
