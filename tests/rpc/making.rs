//! Blocks of chosen transactions.

use cairn::primitives::block::Block;
use cairn::primitives::codec;
use cairn::primitives::hash::{BlockHash, Txid};
use cairn::primitives::tx::Transaction;
use serde_json::json;

use crate::fixture::{Fixture, hex_of};

/// Calls every method that makes blocks of one's choice, on a chain of at least 13 blocks; the third one pays key 1.
pub fn every_method(fixture: &Fixture) {
    let hash: BlockHash = serde_json::from_value(fixture.call("getblockhash", json!([3]))).unwrap();
    let coinbase: Transaction = fixture.block(&hash).transactions[0].clone();
    let parent = fixture.payment(&coinbase, 1, 50_000, 6, 1_000);
    let child = fixture.payment(&parent, 6, 20_000, 7, 3_000);
    let payee = fixture.payee(9);
    let txids = |block: &Block| block.transactions.iter().skip(1).map(Transaction::txid).collect::<Vec<Txid>>();
    let is_subsidy = |block: &Block| {
        assert_eq!(block.transactions[0].outputs[0].value, fixture.params.subsidy, "the fees are left");
    };

    // In the mempool waits only the first; the second is valid after it, and not without it.
    fixture.call("sendrawtransaction", json!([hex_of(&parent)]));
    let both = json!([parent.txid(), hex_of(&child)]);
    let tip = fixture.call("getbestblockhash", json!([]));
    let made = fixture.call("generateblock", json!([payee, both, false]));
    let block: Block = codec::decode_hex(made["hex"].as_str().unwrap()).unwrap();
    assert_eq!((txids(&block), json!(block.hash())), (vec![parent.txid(), child.txid()], made["hash"].clone()));
    is_subsidy(&block);
    assert_eq!(fixture.call("getbestblockhash", json!([])), tip, "it was not submitted");
    fixture.refused("generateblock", json!([payee, [child.txid()]]), -5, "the mempool has no transaction");
    fixture.refused("generateblock", json!([payee, [hex_of(&child)]]), -25, "bad-txns-inputs-missingorspent");
    fixture.refused("generateblock", json!([payee, ["00"]]), -22, "TX decode failed");
    fixture.refused("generateblock", json!(["alice", []]), -5, "Invalid address");
    let often = vec![parent.txid(); fixture.params.max_block_bytes as usize / parent.size() + 1];
    fixture.refused("generateblock", json!([payee, often]), -25, "bad-blk-length");

    // An empty block leaves the mempool as it is.
    let empty = fixture.call("generateblock", json!([payee, []]));
    assert_eq!(fixture.call("getbestblockhash", json!([])), empty["hash"]);
    assert!(empty.get("hex").is_none(), "{empty}");
    assert_eq!(fixture.call("getrawmempool", json!([])), json!([parent.txid()]));
    let made = fixture.call("generateblock", json!({ "output": payee, "transactions": both }));
    let block = fixture.block(&serde_json::from_value(made["hash"].clone()).unwrap());
    assert_eq!(txids(&block), [parent.txid(), child.txid()]);
    is_subsidy(&block);
    assert_eq!(fixture.call("getrawmempool", json!([])), json!([]));
}
