//! Mining as part of a running node: blocks made to order, and blocks made as long as it is told to.

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn::consensus::params::{Allocation, GenesisSpec, Params};
use cairn::p2p::Command;
use cairn::primitives::address;
use cairn::primitives::amount::Amount;
use cairn::primitives::height::Height;
use cairn::primitives::keys::{PublicKey, Signature};
use cairn::primitives::target::Bits;
use cairn::primitives::tx::{Input, OutPoint, Output, Transaction};
use cairn::runtime::mining::generate;
use cairn::runtime::{Config, Running};
use tempfile::TempDir;

const PAYEE: PublicKey = PublicKey([7; 32]);

fn params(bits: Option<Bits>, owner: &PublicKey) -> Arc<Params> {
    let mut spec = GenesisSpec::regtest();
    spec.bits = bits.unwrap_or(spec.bits);
    spec.alloc = vec![Allocation {
        address: address::encode(&spec.address_prefix, owner),
        value: Amount::from_grains(1_000_000),
    }];
    assert!(spec.mine_nonce());
    Arc::new(Params::new(spec).expect("valid parameters"))
}

async fn start(params: Arc<Params>) -> (Running, TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Running::start(Config::new(dir.path(), params)).await.expect("a node");
    (node, dir)
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_mined_on_request() {
    let (node, _dir) = start(params(None, &PAYEE)).await;
    let handle = node.handle();
    let hashes = generate(handle, PAYEE, 60, u64::MAX).await.expect("blocks");
    assert_eq!(hashes.len(), 60);
    assert_eq!(handle.tip().borrow().height, Height::from_u32(60));
    for (height, hash) in (1..).zip(&hashes) {
        assert_eq!(handle.db().hash_at(Height::from_u32(height)).expect("readable"), Some(*hash));
    }
    assert_eq!(
        handle.db().address_coins(&PAYEE, None, 1000).expect("readable").len(),
        61,
        "all paid, and the allocation"
    );
    assert!(generate(handle, PAYEE, 5, 0).await.expect("no try").is_empty());
    assert!(generate(handle, PAYEE, 0, u64::MAX).await.expect("no block").is_empty());
    node.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_blocks_are_mined_on_request() {
    // One hash in 65,536: more than is tried on the node's own thread.
    let (node, _dir) = start(params(Some(Bits(0x1f00_ffff)), &PAYEE)).await;
    let handle = node.handle();
    assert_eq!(generate(handle, PAYEE, 3, u64::MAX).await.expect("blocks").len(), 3);
    assert_eq!(handle.tip().borrow().height, Height::from_u32(3));
    assert!(generate(handle, PAYEE, u32::MAX as usize, 1 << 18).await.expect("some blocks").len() < 1000);
    node.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn mining_while_told_to() {
    let (node, _dir) = start(params(Some(Bits(0x1f00_ffff)), &PAYEE)).await;
    let handle = node.handle();
    assert_eq!((handle.miner().status().threads, handle.miner().status().payee), (0, None));
    handle.miner().set(Some(PAYEE), 2).await;
    let mut tip = handle.tip();
    tip.wait_for(|tip| tip.height >= Height::from_u32(3)).await.expect("the node lives");
    let status = handle.miner().status();
    assert_eq!((status.threads, status.payee), (2, Some(PAYEE)));
    let other = PublicKey([8; 32]);
    handle.miner().set(Some(other), 1).await;
    let paid = || handle.db().address_coins(&other, None, 10).expect("readable").len();
    while paid() == 0 {
        tip.changed().await.expect("the node lives");
    }
    handle.miner().set(None, 0).await;
    let stopped_at = *tip.borrow_and_update();
    handle.read(|_, _| ()).await.expect("the node lives");
    assert_eq!(*tip.borrow(), stopped_at, "a block that was found before is there when mining has stopped");
    let status = handle.miner().status();
    assert_eq!((status.threads, status.payee), (0, Some(other)), "nothing is mined, and the payee is not forgotten");
    assert!(status.blocks_found >= 3);
    let paid_before = paid();
    handle.miner().set(None, 1).await;
    while paid() == paid_before {
        tip.changed().await.expect("the node lives");
    }
    node.stop().await.expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_are_mined_with_their_fees() {
    let key = cairn_testkit::key(1);
    let params = params(None, &key.public_key());
    let (node, _dir) = start(params.clone()).await;
    let handle = node.handle();
    let coin = OutPoint { txid: params.genesis.transactions[0].txid(), index: 1 };
    let mut tx = Transaction {
        version: 1,
        inputs: vec![Input { outpoint: coin, signature: Signature::EMPTY }],
        outputs: vec![Output::pay(key.public_key(), Amount::from_grains(990_000))],
        lock_height: Height::GENESIS,
    };
    let spent = Output::pay(key.public_key(), Amount::from_grains(1_000_000));
    tx.inputs[0].signature = key.sign(&tx.signature_digest(&params.genesis_hash, [&spent]));
    let txid = tx.txid();
    handle.command(|reply| Command::SubmitTransaction(tx, reply)).await.expect("the node lives").expect("a payment");
    generate(handle, PAYEE, 2, u64::MAX).await.expect("blocks");
    let location = handle.db().tx_location(&txid).expect("readable").expect("mined");
    assert_eq!((location.height, location.position), (Height::from_u32(1), 1));
    let coins = handle.db().address_coins(&PAYEE, None, 10).expect("readable");
    let values: BTreeSet<_> = coins.iter().map(|(_, coin)| coin.output.value).collect();
    assert_eq!(values, BTreeSet::from([params.subsidy, params.subsidy.saturating_add(Amount::from_grains(10_000))]));
    node.stop().await.expect("a clean end");
}
