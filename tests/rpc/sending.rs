//! What `sendrawtransaction` accepts, and the state it leaves.

use serde_json::json;

use crate::fixture::{Fixture, hex_of};

#[test]
fn a_fee_that_must_be_a_mistake_is_refused_unless_it_is_allowed() {
    let fixture = Fixture::new();
    let hashes = fixture.generate(11, 1);
    let coinbase = fixture.block(&hashes[0]).transactions[0].clone();
    let paying = |fee| fixture.payment(&coinbase, 1, 7_000, 2, fee);
    let size = paying(0).size() as u64;
    let dear = hex_of(&paying(size * 10_000 + 1));
    fixture.refused("sendrawtransaction", json!([dear]), -25, "max-fee-exceeded");
    fixture.refused("sendrawtransaction", json!([dear, 9_000]), -25, "maxfeerate is 9000 grains a byte");
    fixture.refused("sendrawtransaction", json!([dear, 0.1]), -3, "maxfeerate");
    let verdict = |params| fixture.call("testmempoolaccept", params)[0].clone();
    let refused = verdict(json!([[dear]]));
    assert_eq!((&refused["allowed"], &refused["fees"]["base"]), (&json!(false), &json!(size * 10_000 + 1)));
    assert!(refused["reject-reason"].to_string().contains("max-fee-exceeded"), "{refused}");
    for allowed in [0, 10_001] {
        assert_eq!(verdict(json!([[dear], allowed]))["allowed"], true, "{allowed}");
    }
    assert_eq!(verdict(json!([[hex_of(&paying(size * 10_000))]]))["allowed"], true, "the limit itself");
    assert_eq!(fixture.call("getrawmempool", json!([])), json!([]));
    fixture.call("sendrawtransaction", json!([dear, 0]));
}

#[test]
fn others_are_replaced_only_if_the_sender_agrees() {
    let fixture = Fixture::new();
    let hashes = fixture.generate(11, 1);
    let coinbase = fixture.block(&hashes[0]).transactions[0].clone();
    let (first, second) =
        (fixture.payment(&coinbase, 1, 7_000, 2, 500), fixture.payment(&coinbase, 1, 7_000, 3, 50_000));
    fixture.call("sendrawtransaction", json!([hex_of(&first)]));
    let conflict = format!("txn-mempool-conflict: {}", first.txid());
    fixture.refused("sendrawtransaction", json!([hex_of(&second), null, null, false]), -26, &conflict);
    // Where Bitcoin Core has an amount, a verdict on replacement is no such.
    fixture.refused("sendrawtransaction", json!([hex_of(&second), null, false]), -3, "maxburnamount");
    assert_eq!(fixture.call("getrawmempool", json!([])), json!([first.txid()]));
    fixture.call("sendrawtransaction", json!([hex_of(&first), null, null, false]));
    fixture.call("sendrawtransaction", json!([hex_of(&second)]));
    assert_eq!(fixture.call("getrawmempool", json!([])), json!([second.txid()]));
}

/// A refused transaction is not kept: its sender may have sent another one instead.
#[test]
fn a_transaction_that_was_refused_does_not_come_in_later() {
    let fixture = Fixture::new();
    let hashes = fixture.generate(11, 1);
    let parent = fixture.payment(&fixture.block(&hashes[0]).transactions[0], 1, 70_000, 2, 500);
    let child = fixture.payment(&parent, 2, 5, 3, 500);
    fixture.refused("sendrawtransaction", json!([hex_of(&child)]), -25, "unknown or already spent");
    fixture.call("sendrawtransaction", json!([hex_of(&parent)]));
    assert_eq!(fixture.call("getrawmempool", json!([])), json!([parent.txid()]));
    fixture.call("sendrawtransaction", json!([hex_of(&child)]));
}
