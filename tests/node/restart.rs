//! What a node without peers still knows after an orderly stop.

use std::path::Path;
use std::time::Duration;

use cairn::p2p::Command;
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::hash::Txid;
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::{OutPoint, Output, Transaction};
use cairn::runtime::{Config, Running};
use cairn_testkit::{Ledger, funded, public, unsigned};

/// Ends a test that would wait for ever; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(120);

async fn start(dir: &Path, ledger: &Ledger) -> Running {
    let config = Config { listen: None, ..Config::new(dir, ledger.params.clone()) };
    Running::start(config).await.expect("the node starts")
}

async fn submit(node: &Running, tx: &Transaction) {
    let tx = tx.clone();
    let accepted = node.handle().command(move |reply| Command::SubmitTransaction(tx, reply)).await;
    accepted.expect("the node is there").expect("a good payment");
}

/// The mempool's ids and the times at which they came, once nothing of an earlier run is left to check.
async fn mempool(node: &Running) -> Vec<(Txid, UnixTime)> {
    let ready = async {
        loop {
            let listed = node.handle().read(|node, _| {
                let pool = node.mempool();
                let entries = pool.txids().into_iter().filter_map(|txid| Some((txid, pool.get(&txid)?.time)));
                (!pool.is_unfinished()).then(|| entries.collect())
            });
            if let Some(listed) = listed.await.expect("the node is there") {
                return listed;
            }
        }
    };
    tokio::time::timeout(PATIENCE, ready).await.expect("in time")
}

#[tokio::test]
async fn payments_outlive_an_orderly_stop() {
    let dir = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::new(funded(1..=3, 10 * COIN));
    let pay =
        |n: u8| ledger.payment(&[ledger.allocation(n)], vec![Output::pay(public(9), Amount::from_grains(9 * COIN))]);
    let (first, second) = (pay(1), pay(2));
    let coin = OutPoint { txid: second.txid(), index: 0 };
    let child = ledger.sign(unsigned(&[coin], vec![Output::pay(public(3), Amount::from_grains(8 * COIN))]), &[&second]);

    let node = start(dir.path(), &ledger).await;
    for tx in [&first, &second, &child] {
        submit(&node, tx).await;
    }
    let before = mempool(&node).await;
    assert_eq!(before.len(), 3);
    // On demand it is the same file.
    let saved = node.handle().save_mempool().await.expect("the node is there").expect("writable");
    assert_eq!(saved, dir.path().join("mempool.dat"));
    let on_demand = std::fs::read(&saved).expect("a file");
    node.stop().await.expect("the node stops");
    let file = dir.path().join("mempool.dat");
    assert_eq!(std::fs::read(&file).expect("a file"), on_demand);
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("a file").permissions());
        assert_eq!(mode & 0o777, 0o600);
    }

    let node = start(dir.path(), &ledger).await;
    assert_eq!(mempool(&node).await, before, "with the times at which they came");
    // A stop that comes at once keeps them too.
    node.stop().await.expect("the node stops");
    start(dir.path(), &ledger).await.stop().await.expect("the node stops");
    let node = start(dir.path(), &ledger).await;
    assert_eq!(mempool(&node).await, before);
    node.stop().await.expect("the node stops");

    // A damaged file is ignored and does not keep the node from starting.
    let mut bytes = std::fs::read(&file).expect("readable");
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    std::fs::write(&file, &bytes).expect("writable");
    let node = start(dir.path(), &ledger).await;
    assert_eq!(mempool(&node).await, []);
    submit(&node, &first).await;
    node.stop().await.expect("the node stops");
    let node = start(dir.path(), &ledger).await;
    assert_eq!(mempool(&node).await.len(), 1);
    node.stop().await.expect("the node stops");
}
