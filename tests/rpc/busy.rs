//! Calls that are answered while the node's thread is busy for long.

use std::sync::mpsc;

use serde_json::{Value, json};

use crate::fixture::{Fixture, hex_of};

#[test]
fn blocks_and_their_places_are_read_while_the_nodes_thread_is_busy() {
    let fixture = Fixture::new();
    let hashes = fixture.generate(12, 1);
    let tx = fixture.payment(&fixture.block(&hashes[0]).transactions[0], 1, 7_000, 2, 500);
    fixture.call("sendrawtransaction", json!([hex_of(&tx)]));
    let [mined] = fixture.generate(1, 3)[..] else { panic!("one block") };
    let (txid, proof) = (tx.txid(), fixture.call("gettxoutproof", json!([[tx.txid()]])));
    let calls = [
        ("getblockheader", json!([hashes[4]])),
        ("getblockheader", json!([mined, false])),
        ("getblock", json!([mined, 0])),
        ("getblock", json!([mined, 1])),
        ("getblock", json!([mined, 2])),
        ("getblock", json!([mined, 3])),
        ("getblockcount", json!([])),
        ("getbestblockhash", json!([])),
        ("getblockhash", json!([5])),
        ("getblockchaininfo", json!([])),
        ("getblockfilter", json!([mined])),
        ("getblockstats", json!([mined])),
        ("getchaintips", json!([])),
        ("getchaintxstats", json!([])),
        ("getdeploymentinfo", json!([])),
        ("getdifficulty", json!([])),
        ("getheaders", json!([1])),
        ("getnetworkhashps", json!([])),
        ("getrawtransaction", json!([txid, 0])),
        ("getrawtransaction", json!([txid, 1])),
        ("getrawtransaction", json!([txid, 1, mined])),
        ("getreceipt", json!([txid])),
        ("getreceipt", json!([txid, "succinct"])),
        ("gettxoutproof", json!([[txid]])),
        ("gettxoutsetinfo", json!([])),
        ("verifytxoutproof", json!([proof])),
    ];
    let answer = |(method, params): &(&str, Value)| {
        let mut answer = fixture.call(method, params.clone());
        // The store may be writing.
        for changing in ["size_on_disk", "disk_size"] {
            answer.as_object_mut().and_then(|fields| fields.remove(changing));
        }
        answer
    };
    let before: Vec<Value> = calls.iter().map(answer).collect();

    let handle = fixture.node.as_ref().unwrap().handle().clone();
    let ((begin, begun), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
    let busy = fixture.tokio.spawn({
        let handle = handle.clone();
        async move {
            let work = move |_: &_, _| {
                begin.send(()).unwrap();
                // An error means that the test has failed, and the thread is to go on.
                let _ = released.recv();
            };
            handle.read(work).await
        }
    });
    begun.recv().unwrap();
    let waiting = fixture.tokio.spawn(async move { handle.read(|_, _| ()).await });
    for (call, before) in calls.iter().zip(before) {
        assert_eq!(answer(call), before, "{call:?}");
    }
    assert!(!waiting.is_finished(), "the thread had time meanwhile");
    release.send(()).unwrap();
    fixture.tokio.block_on(async {
        busy.await.unwrap().unwrap();
        waiting.await.unwrap().unwrap();
    });
}
