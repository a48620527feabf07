//! Snapshots of a network of one node.

use serde_json::{Value, json};

use crate::fixture::Fixture;

/// Calls every method on a node without chaos.
pub fn every_method(fixture: &Fixture) {
    assert_eq!(fixture.call("listsnapshots", json!([])), json!([]));
    for method in ["takesnapshot", "revertsnapshot", "dropsnapshot"] {
        fixture.refused(method, json!(["before"]), -1, "--chaos");
    }
    for state in [false, true] {
        assert_eq!(fixture.call("setnetworkactive", json!([state])), json!(state));
        assert_eq!(fixture.call("getnetworkinfo", json!([]))["networkactive"], json!(state));
    }
}

#[test]
fn a_node_is_reverted_to_a_snapshot() {
    let fixture = Fixture::with_chaos();
    let (genesis, time) = (fixture.call("getbestblockhash", json!([])), 1_900_000_000);
    fixture.call("setmocktime", json!([time]));
    let first = fixture.generate(1, 1);
    assert_eq!(fixture.call("takesnapshot", json!(["one"])), Value::Null);
    let blocks = fixture.generate(3, 1);
    let second = fixture.call("getblock", json!([blocks[0], 0]));
    fixture.call("takesnapshot", json!(["four"]));
    assert_eq!(
        fixture.call("listsnapshots", json!([])),
        json!([{ "name": "one", "height": 1 }, { "name": "four", "height": 4 }])
    );
    fixture.call("setmocktime", json!([time + 1_000]));
    let reverted = fixture.call("revertsnapshot", json!(["one"]));
    assert_eq!((&reverted["link_ends"], &reverted["missing"]), (&json!(0), &json!(0)), "{reverted}");
    assert_eq!(fixture.call("getbestblockhash", json!([])), json!(first[0]));
    fixture.refused("getblockheader", json!([blocks[0]]), -5, "not found");
    fixture.refused("revertsnapshot", json!(["four"]), -1, "there is no snapshot \"four\"");
    // The clock is back too, and a block that was forgotten can come again.
    let again = fixture.generate(1, 1);
    assert_eq!(fixture.call("getblockheader", json!([again[0]]))["time"], json!(time));
    fixture.call("revertsnapshot", json!(["one"]));
    assert_eq!(fixture.call("submitblock", json!([second])), Value::Null);
    assert_eq!(fixture.call("getbestblockhash", json!([])), json!(blocks[0]));

    fixture.call("invalidateblock", json!([first[0]]));
    assert_eq!(fixture.call("getbestblockhash", json!([])), genesis);
    fixture.call("revertsnapshot", json!(["one"]));
    assert_eq!(fixture.call("getbestblockhash", json!([])), json!(first[0]), "a mark of later is gone");

    assert_eq!(fixture.call("dropsnapshot", json!(["one"])), Value::Null);
    fixture.refused("dropsnapshot", json!(["one"]), -1, "there is no snapshot");
    let long = "a".repeat(65);
    for name in ["", ".", "../up", "a b", &long] {
        fixture.refused("takesnapshot", json!([name]), -8, "does not fit");
    }
    for number in 0..100 {
        fixture.call("takesnapshot", json!([format!("s{number}")]));
    }
    fixture.refused("takesnapshot", json!(["another"]), -1, "there are 100 snapshots");
}
