//! Methods that report figures, check the chain, or set the clock.

use std::collections::BTreeSet;

use cairn::consensus::params::{GenesisSpec, Retarget};
use cairn::miner::{kernel, template};
use cairn::primitives::block::Block;
use cairn::primitives::gcs::Filter;
use cairn::primitives::hash::{BlockHash, FilterHeader};
use cairn::primitives::header::Header;
use cairn::primitives::height::Height;
use cairn::primitives::keys::PublicKey;
use cairn::primitives::tx::Transaction;
use cairn::primitives::{address, codec};
use cairn::storage::Batch;
use serde_json::{Value, json};

use crate::fixture::{Fixture, hex_of};

/// Calls every method about figures on a chain of at least 13 blocks.
pub fn every_method(fixture: &Fixture) {
    let height = fixture.call("getblockcount", json!([])).as_u64().unwrap();
    // A payment and two that need it.
    let hash = fixture.call("getblockhash", json!([2]));
    let coinbase: Transaction = fixture.block(&serde_json::from_value(hash.clone()).unwrap()).transactions[0].clone();
    let parent = fixture.payment(&coinbase, 1, 50_000, 6, 1_000);
    let child = fixture.payment(&parent, 6, 20_000, 7, 3_000);
    let grandchild = fixture.payment(&child, 7, 5_000, 8, 2_000);
    for tx in [&parent, &child, &grandchild] {
        fixture.call("sendrawtransaction", json!([hex_of(tx)]));
    }
    let set = |ids: Value| {
        let mut ids: Vec<String> = serde_json::from_value(ids).unwrap();
        ids.sort();
        ids
    };
    let ids = |of: &[&Transaction]| set(json!(of.iter().map(|tx| tx.txid()).collect::<Vec<_>>()));
    let ancestors = |tx: &Transaction| set(fixture.call("getmempoolancestors", json!([tx.txid()])));
    let descendants = |tx: &Transaction| set(fixture.call("getmempooldescendants", json!([tx.txid()])));
    assert_eq!((ancestors(&parent), descendants(&grandchild)), (vec![], vec![]));
    assert_eq!(ancestors(&grandchild), ids(&[&parent, &child]));
    assert_eq!(descendants(&parent), ids(&[&child, &grandchild]));
    let entries = fixture.call("getmempooldescendants", json!([child.txid(), true]));
    assert_eq!(
        entries,
        json!({ grandchild.txid().to_string(): fixture.call("getmempoolentry", json!([grandchild.txid()])) })
    );
    for method in ["getmempoolancestors", "getmempooldescendants"] {
        fixture.refused(method, json!([coinbase.txid()]), -5, "Transaction not in mempool");
    }

    // Their block.
    let [mined] = fixture.generate(1, 9)[..] else { panic!("one block") };
    let block = fixture.block(&mined);
    let stats = fixture.call("getblockstats", json!([mined]));
    assert_eq!(fixture.call("getblockstats", json!([height + 1])), stats);
    assert_eq!(fixture.call("getblockstats", json!([(height + 1).to_string()])), stats);
    let payments = &block.transactions[1..];
    let sizes: Vec<usize> = payments.iter().map(Transaction::size).collect();
    let rates = [(&parent, 1_000), (&child, 3_000), (&grandchild, 2_000)].map(|(tx, fee)| fee / tx.size());
    for (name, expected) in [
        ("blockhash", json!(mined)),
        ("height", json!(height + 1)),
        ("time", json!(block.header.time)),
        ("txs", json!(4)),
        ("ins", json!(3)),
        ("outs", json!(block.transactions.iter().map(|tx| tx.outputs.len()).sum::<usize>())),
        ("totalfee", json!(6_000)),
        ("avgfee", json!(2_000)),
        ("medianfee", json!(2_000)),
        ("minfee", json!(1_000)),
        ("maxfee", json!(3_000)),
        ("minfeerate", json!(rates.iter().min())),
        ("maxfeerate", json!(rates.iter().max())),
        ("total_size", json!(sizes.iter().sum::<usize>())),
        ("avgtxsize", json!(sizes.iter().sum::<usize>() / 3)),
        ("mintxsize", json!(sizes.iter().min())),
        ("maxtxsize", json!(sizes.iter().max())),
        ("subsidy", json!(fixture.params.subsidy_at(Height::from_u32(height as u32 + 1)))),
        (
            "total_out",
            json!(payments.iter().flat_map(|tx| &tx.outputs).map(|output| output.value.as_grains()).sum::<u64>()),
        ),
        // A coinbase's coin and data, six outputs; three coins spent.
        ("utxo_increase", json!(5)),
        ("utxo_increase_actual", json!(4)),
    ] {
        assert_eq!(stats[name], expected, "{name}");
    }
    assert_eq!(stats["feerate_percentiles"].as_array().map(Vec::len), Some(5));
    assert_eq!(
        fixture.call("getblockstats", json!([mined, ["txs", "totalfee", "txs"]])),
        json!({ "txs": 4, "totalfee": 6_000 })
    );
    let first = fixture.call("getblockstats", json!({ "hash_or_height": 1 }));
    assert_eq!((&first["avgfee"], &first["txs"], &first["total_size"]), (&json!(0), &json!(1), &json!(0)));
    assert_eq!(fixture.call("getblockstats", json!([0, ["height"]])), json!({ "height": 0 }));
    fixture.refused("getblockstats", json!([mined, ["weight"]]), -8, "Invalid selected statistic 'weight'");
    fixture.refused("getblockstats", json!([height + 2]), -8, "after current tip");
    fixture.refused("getblockstats", json!([-1]), -8, "is negative");
    fixture.refused("getblockstats", json!(["00".repeat(32)]), -5, "Block not found");
    fixture.refused("getblockstats", json!(["mined"]), -8, "hash_or_height");

    filters(fixture, &block);

    // The chain's transactions.
    let all = fixture.call("getchaintxstats", json!([]));
    let blocks: Vec<Value> = (0..=height + 1)
        .map(|height| fixture.call("getblock", json!([fixture.call("getblockhash", json!([height]))])))
        .collect();
    let count: u64 = blocks.iter().map(|block| block["nTx"].as_u64().unwrap()).sum();
    assert_eq!((&all["txcount"], &all["window_block_count"]), (&json!(count), &json!(height)));
    assert_eq!(all["window_tx_count"], json!(count - 2), "all but those of genesis and of block 1");
    let three = fixture.call("getchaintxstats", json!([3, mined]));
    assert_eq!((&three["window_block_count"], &three["window_tx_count"]), (&json!(3), &json!(6)));
    assert_eq!((&three["window_final_block_hash"], &three["time"]), (&json!(mined), &json!(block.header.time)));
    assert!(fixture.call("getchaintxstats", json!([0]))["window_interval"].is_null());
    fixture.refused("getchaintxstats", json!([height + 1]), -8, "Invalid block count");
    fixture.refused("getchaintxstats", json!([-1]), -8, "Invalid block count");
    fixture.refused("getchaintxstats", json!([1, "00".repeat(32)]), -5, "Block not found");
    let genesis = fixture.params.genesis_hash;
    assert_eq!(fixture.call("getchaintxstats", json!({ "blockhash": genesis }))["txcount"], json!(1));

    // What is stored is what was checked.
    for level in 0..=4 {
        assert_eq!(fixture.call("verifychain", json!([level, 0])), true, "{level}");
        assert_eq!(fixture.call("verifychain", json!([level])), true, "{level}");
    }
    assert_eq!(fixture.call("verifychain", json!({ "checklevel": 9, "nblocks": -1 })), true);

    // Fees: nothing waits and no block is full, so the least is enough; only that some must have been paid at all.
    for (target, blocks) in [(1, 1), (6, 6), (1_008, (height + 1).min(24))] {
        let estimate = fixture.call("estimatesmartfee", json!([target]));
        match estimate.get("feerate") {
            Some(rate) => assert_eq!((rate, &estimate["blocks"]), (&json!(1), &json!(blocks))),
            None => assert_eq!(estimate["errors"], json!(["Insufficient data or no feerate found"])),
        }
    }
    for (params, text) in [
        (json!([0]), "between 1 and 1008"),
        (json!([1_009]), "between 1 and 1008"),
        (json!([6, "hopeful"]), "Invalid estimate_mode parameter"),
    ] {
        fixture.refused("estimatesmartfee", params, -8, text);
    }

    // What Bitcoin Core's tools ask.
    let indexes = fixture.call("getindexinfo", json!([]));
    assert_eq!(indexes["txindex"], json!({ "synced": true, "best_block_height": height + 1 }));
    assert_eq!(fixture.call("getindexinfo", json!(["addressindex"])).as_object().map(|found| found.len()), Some(1));
    let filters = json!({ "basic block filter index": { "synced": true, "best_block_height": height + 1 } });
    assert_eq!(fixture.call("getindexinfo", json!(["basic block filter index"])), filters);
    assert_eq!(fixture.call("getindexinfo", json!(["coinstatsindex"])), json!({}));
    let rules = json!({ "hash": mined, "height": height + 1, "script_flags": [], "deployments": {} });
    assert_eq!(fixture.call("getdeploymentinfo", json!([])), rules);
    assert_eq!(fixture.call("getdeploymentinfo", json!([genesis]))["height"], 0);
    fixture.refused("getdeploymentinfo", json!(["00".repeat(32)]), -5, "Block not found");
    let info = fixture.call("getrpcinfo", json!([]));
    assert_eq!(info["active_commands"][0]["method"], "getrpcinfo");
    assert!(info["active_commands"][0]["duration"].is_u64() && info["logpath"] == "", "{info}");
    let memory = fixture.call("getmemoryinfo", json!([]));
    assert_eq!(memory["locked"]["used"], 0);
    #[cfg(target_os = "linux")]
    assert!(memory["resident"]["used"].as_u64() > Some(1 << 20), "{memory}");
    fixture.refused("getmemoryinfo", json!(["mallocinfo"]), -8, "unknown mode");

    header_before_block(fixture);
    clock(fixture);
}

/// The filter of `block`, the tip, which spends what keys 1, 6 and 7 had.
fn filters(fixture: &Fixture, block: &Block) {
    let hash = block.hash();
    let read = |hash: &BlockHash| {
        let shown = fixture.call("getblockfilter", json!([hash, "basic"]));
        let bytes = hex::decode(shown["filter"].as_str().unwrap()).unwrap();
        let header: FilterHeader = serde_json::from_value(shown["header"].clone()).unwrap();
        (Filter::from_bytes(bytes).unwrap(), header)
    };
    let (filter, header) = read(&hash);
    assert_eq!(filter.header(&read(&block.header.previous).1), header);
    let of_genesis = read(&fixture.params.genesis_hash);
    assert_eq!(of_genesis.0.header(&FilterHeader::ZERO), of_genesis.1);
    let mut keys: Vec<PublicKey> =
        block.transactions.iter().flat_map(|tx| &tx.outputs).filter_map(|output| output.key()).copied().collect();
    keys.extend([1, 6, 7].map(|n| address::decode(&fixture.params.address_prefix, &fixture.payee(n)).unwrap()));
    for key in &keys {
        assert_eq!(filter.matches_any(&hash, [key.0]), Ok(true));
    }
    assert_eq!(filter.count(), keys.into_iter().collect::<BTreeSet<_>>().len());
    fixture.refused("getblockfilter", json!([hash, "extended"]), -5, "Unknown filtertype");
    fixture.refused("getblockfilter", json!(["00".repeat(32)]), -5, "Block not found");
    fixture.call("invalidateblock", json!([hash]));
    fixture.refused("getblockfilter", json!([hash]), -5, "Filter not found. Block was not connected to active chain.");
    fixture.call("reconsiderblock", json!([hash]));
    assert_eq!(read(&hash), (filter, header));
}

fn header_before_block(fixture: &Fixture) {
    let key = address::decode(&fixture.params.address_prefix, &fixture.payee(1)).unwrap();
    let handle = fixture.node.as_ref().unwrap().handle().clone();
    let mined = fixture.tokio.block_on(handle.read(move |node, now| {
        let template = template::build(node.chain(), node.mempool(), &key, 0, now.unix).unwrap();
        let nonce = kernel::search(&template.header, template.target, 0..=u32::MAX).unwrap();
        template.block(nonce)
    }));
    let block = mined.unwrap();
    let before = fixture.call("getblockchaininfo", json!([]));
    assert_eq!(fixture.call("submitheader", json!([hex_of(&block.header)])), Value::Null);
    assert_eq!(fixture.call("submitheader", json!([hex_of(&block.header)])), Value::Null, "known is no mistake");
    let after = fixture.call("getblockchaininfo", json!([]));
    assert_eq!(
        (&after["blocks"], after["headers"].as_u64()),
        (&before["blocks"], Some(before["headers"].as_u64().unwrap() + 1))
    );
    assert_eq!(fixture.call("submitblock", json!([hex_of(&block)])), Value::Null);
    assert_eq!(fixture.call("getbestblockhash", json!([])), json!(block.hash()));

    let sealed = |mut header: Header| {
        cairn_testkit::mine(&mut header);
        hex_of(&header)
    };
    let stranger = Header { previous: "11".repeat(32).parse().unwrap(), ..block.header };
    fixture.refused("submitheader", json!([sealed(stranger)]), -25, "Must submit previous header (1111");
    fixture.refused("submitheader", json!([sealed(Header { time: 1, ..block.header })]), -25, "time");
    fixture.refused("submitheader", json!(["00"]), -22, "Block header decode failed");
    fixture.refused("submitheader", json!([hex_of(&block)]), -22, "Block header decode failed");
}

#[test]
fn the_clock_of_a_network_with_retargeting_cannot_be_set() {
    let mut spec = GenesisSpec { retarget: Retarget::Asert, max_future_secs: 360, ..GenesisSpec::regtest() };
    assert!(spec.mine_nonce());
    let fixture = Fixture::on(spec, |_| ());
    fixture.refused("setmocktime", json!([1_900_000_000]), -1, "networks without retargeting");
}

#[test]
fn estimates_follow_full_blocks_and_a_full_mempool() {
    // Room for a coinbase and some fifteen payments a block.
    let room = 4_000;
    let mut spec = GenesisSpec { max_block_bytes: room, ..GenesisSpec::regtest() };
    assert!(spec.mine_nonce());
    let fixture = Fixture::on(spec, |_| ());
    let estimate = |target: u32, mode: &str| fixture.call("estimatesmartfee", json!([target, mode]));
    let rate = |target: u32, mode: &str| estimate(target, mode)["feerate"].as_u64().unwrap();
    assert_eq!(estimate(1, "unset"), json!({ "errors": ["Insufficient data or no feerate found"], "blocks": 0 }));
    let hashes = fixture.generate(60, 1);
    let coinbases: Vec<Transaction> = hashes.iter().map(|hash| fixture.block(hash).transactions[0].clone()).collect();
    let size = fixture.payment(&coinbases[0], 1, 1_000, 2, 1_000).size();
    // Forty wait, at 1, 2, … 40 grains a byte, and the next block has room for the best of them only.
    for (coinbase, rate) in coinbases.iter().zip(1..=40) {
        let tx = fixture.payment(coinbase, 1, 1_000, 2, (rate * size) as u64);
        fixture.call("sendrawtransaction", json!([hex_of(&tx)]));
    }
    assert_eq!(rate(1, "economical"), 40 - (u64::from(room) / size as u64) + 1);
    assert_eq!(rate(2, "economical"), 40 - (2 * u64::from(room) / size as u64) + 1);
    assert_eq!(rate(10, "economical"), 1);
    // Once they are mined nothing waits any more, and what was enough for the full blocks is remembered.
    while fixture.call("getmempoolinfo", json!([]))["size"] != 0 {
        fixture.generate(1, 3);
    }
    assert!((20..=40).contains(&rate(1, "conservative")), "{}", rate(1, "conservative"));
    assert!((2..20).contains(&rate(2, "CONSERVATIVE")), "{}", rate(2, "conservative"));
    assert_eq!(rate(1, "economical"), 1, "most blocks had room");
    assert_eq!(estimate(1_008, "conservative"), json!({ "feerate": 1, "blocks": 24 }));
}

#[test]
fn a_damaged_block_does_not_verify() {
    let fixture = Fixture::new();
    let hashes = fixture.generate(8, 1);
    assert_eq!(fixture.call("verifychain", json!([4, 0])), true);
    let db = fixture.node.as_ref().unwrap().handle().db().clone();
    // The body of block 5 is stored in the place of that of block 4: both are sound, and one is not where it belongs.
    let mut batch = Batch::default();
    let key = [b"B".as_slice(), &4u32.to_be_bytes(), &hashes[3].as_bytes()[..12]].concat();
    batch.put(key, codec::encode(&fixture.block(&hashes[4]).transactions));
    db.store().commit(batch).unwrap();
    for level in 0..=4 {
        assert_eq!(fixture.call("verifychain", json!([level, 0])), false, "{level}");
        assert_eq!(fixture.call("verifychain", json!([level, 4])), true, "it is not among the last four");
        assert_eq!(fixture.call("verifychain", json!([level, 5])), false, "{level}");
    }
}

fn clock(fixture: &Fixture) {
    let tip = fixture.call("getblockchaininfo", json!([]));
    let later = tip["mediantime"].as_u64().unwrap() + 10_000_000;
    assert_eq!(fixture.call("setmocktime", json!([later])), Value::Null);
    let [hash] = fixture.generate(1, 1)[..] else { panic!("one block") };
    assert_eq!(u64::from(fixture.block(&hash).header.time), later);
    assert_eq!(fixture.call("getnettotals", json!([]))["timemillis"], json!(later * 1_000), "it stands still");
    fixture.refused("setmocktime", json!([-1]), -8, "timestamp");
    fixture.refused("setmocktime", json!([1u64 << 32]), -8, "timestamp");
    fixture.call("invalidateblock", json!([hash]));
    assert_eq!(fixture.call("setmocktime", json!([0])), Value::Null);
    assert!(fixture.call("getnettotals", json!([]))["timemillis"].as_u64() < Some(later * 1_000));
}
