//! Proofs of what a key owns, over RPC: a caller checks them without the node.

use cairn::consensus::params::GenesisSpec;
use cairn::primitives::time::UnixTime;
use cairn::receipt::{Holding, HoldingReceipt};
use serde_json::{Value, json};

use crate::fixture::{Fixture, hex_of, key};

const EPOCH: u32 = 4;
const LATER: UnixTime = UnixTime::from_secs(u32::MAX as u64);

#[test]
fn what_an_address_owns_is_proven_as_of_an_edge() {
    let mut spec = GenesisSpec { epoch_blocks: EPOCH, coinbase_maturity: 1, ..GenesisSpec::regtest() };
    assert!(spec.mine_nonce());
    let fixture = Fixture::on(spec, |_| ());
    let early = "no block commits to coins before height 4";
    fixture.generate(3, 1);
    fixture.refused("getaddressproof", json!([fixture.payee(1)]), -10, early);

    // Every block until there pays the first key; half of the coin of block 1 goes to the second one in block 4.
    let first = fixture.block(&serde_json::from_value(fixture.call("getblockhash", json!([1]))).unwrap());
    let subsidy = fixture.params.subsidy.as_grains();
    let payment = fixture.payment(&first.transactions[0], 1, subsidy / 2, 2, 10_000);
    fixture.call("sendrawtransaction", json!([hex_of(&payment)]));
    // Blocks beyond the edge pay the third: they are not in its state.
    fixture.generate(1, 1);
    fixture.generate(13, 3);

    let prove = |method: &str, params: Value| {
        let answer = fixture.call(method, params);
        let receipt = HoldingReceipt::from_value(answer.clone()).unwrap();
        let (proven, shown) = receipt.verify(&fixture.params, None, LATER).unwrap();
        let edge = receipt.state.height.as_u32();
        assert!(edge >= EPOCH && proven.height.as_u32() == edge + EPOCH, "the first block of the epoch after next");
        let said = fixture.call("verifycoinproof", json!([answer]));
        assert_eq!(said["value"], json!(shown.total().sum));
        assert_eq!((&said["count"], &said["height"]), (&json!(shown.total().count), &json!(edge)));
        assert_eq!(said["confirmations"], json!(17 - proven.height.as_u32() + 1));
        (edge, shown, said)
    };
    for evidence in ["succinct", "headers"] {
        for coins in [false, true] {
            let of = |n| prove("getaddressproof", json!([fixture.payee(n), coins, evidence]));
            let (_, shown, said) = of(1);
            assert_eq!((shown.total().count, shown.total().sum.as_grains()), (4, 3 * subsidy + subsidy / 2));
            assert_eq!(said["coins"].as_array().map(Vec::len), coins.then_some(4));
            assert_eq!(of(2).1.total().count, 1);
            let (edge, shown, _) = of(3);
            assert_eq!(shown.total().count, u64::from(edge - EPOCH));
            assert_eq!(of(4).1.total().count, 0);
        }
        let coin = |txid, n: u32| prove("getcoinproof", json!([txid, n, evidence])).1;
        assert!(matches!(coin(payment.txid(), 0), Holding::Coin(Some(leaf)) if leaf.value.as_grains() == subsidy / 2));
        assert_eq!(coin(first.transactions[0].txid(), 0), Holding::Coin(None), "spent in block 4");
    }

    let unknown = "00".repeat(32);
    fixture.refused("getcoinproof", json!([unknown, 0]), -5, "No such transaction");
    fixture.refused("getcoinproof", json!([first.transactions[0].txid(), 1]), -8, "no coin");
    fixture.refused("getcoinproof", json!([payment.txid(), 7]), -8, "no coin");
    fixture.refused("getaddressproof", json!(["alice"]), -5, "Invalid address");
    fixture.refused("getaddressproof", json!([fixture.payee(1), true, "none"]), -8, "evidence:");
    let mut other = fixture.call("getaddressproof", json!([fixture.payee(1)]));
    other["question"]["owner"] = json!(hex::encode(key(2).public_key().0));
    fixture.refused("verifycoinproof", json!([other]), -25, "the proof of the coins");
    fixture.refused("verifycoinproof", json!([{ "format": "cairn-holding" }]), -25, "not a receipt");
}

/// What the table of all methods asks for, on a chain without a state.
pub fn every_method(fixture: &Fixture) {
    let none = "no block commits to coins before height 720";
    fixture.refused("getaddressproof", json!([fixture.payee(1)]), -10, none);
    let txid = fixture.params.genesis.transactions[0].txid();
    fixture.refused("getcoinproof", json!([txid, 0]), -8, "no coin");
    fixture.refused("verifycoinproof", json!([{}]), -8, "expected the result of getaddressproof");
}
