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

/// Each hand-over wakes two threads: a read has none, a payment one, and so have all the blocks of a call.
#[test]
fn calls_are_handed_over_to_the_nodes_thread_as_rarely_as_can_be() {
    let fixture = Fixture::new();
    let handle = fixture.node.as_ref().unwrap().handle().clone();
    // Of some, the least: the node has work of its own at its start.
    let least = |work: &dyn Fn(usize)| {
        let count = |n| {
            let before = handle.handed_over();
            work(n);
            handle.handed_over() - before
        };
        (0..3).map(count).min().unwrap()
    };
    assert_eq!(least(&|_| assert_eq!(fixture.generate(100, 1).len(), 100)), 1, "blocks");
    let hash = fixture.call("getblockhash", json!([7]));
    let header = fixture.call("getblockheader", json!([hash]));
    for (method, params) in [
        ("getblockcount", json!([])),
        ("getblockhash", json!([7])),
        ("getblockheader", json!([hash])),
        ("getblock", json!([hash])),
        ("getrawtransaction", json!([fixture.call("getblock", json!([hash]))["tx"][0]])),
        ("gettxoutproof", json!([fixture.call("getblock", json!([hash]))["tx"]])),
    ] {
        assert_eq!(least(&|_| drop(fixture.call(method, params.clone()))), 0, "{method}");
    }
    assert_eq!(header["height"], 7);
    let coinbase = |height: usize| {
        let hash = fixture.call("getblockhash", json!([height]));
        fixture.block(&serde_json::from_value(hash).unwrap()).transactions.remove(0)
    };
    let payments: Vec<String> = (1..=3).map(|n| hex_of(&fixture.payment(&coinbase(n), 1, 7_000, 2, 500))).collect();
    assert_eq!(least(&|n| drop(fixture.call("sendrawtransaction", json!([payments[n]])))), 1, "a payment");
}

/// Blocks that one call makes leave room for peers and other callers.
#[test]
fn the_nodes_thread_answers_while_it_makes_many_blocks() {
    const COUNT: u32 = 1_400;
    let fixture = Fixture::new();
    let handle = fixture.node.as_ref().unwrap().handle().clone();
    std::thread::scope(|scope| {
        let making = scope.spawn(|| fixture.generate(COUNT, 1));
        let between = loop {
            let read = handle.read(|node, _| node.chain().tip().height.as_u32());
            let height = fixture.tokio.block_on(read).unwrap();
            if height > 0 || making.is_finished() {
                break height;
            }
        };
        assert!((1..COUNT).contains(&between), "{between}");
        assert_eq!(making.join().unwrap().len(), COUNT as usize);
    });
}
