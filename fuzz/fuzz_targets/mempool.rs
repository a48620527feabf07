//! Any bytes as the mempool that an earlier run saved, and saved payments changed, left out or moved, with the right checksum or
//! not: they are refused and change nothing, or they are taken up within bounds, and what is saved then is taken up again.

#![no_main]

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::Duration;

use cairn::chain::Chain;
use cairn::mempool::{Mempool, SavedError};
use cairn::primitives::amount::Amount;
use cairn::primitives::codec;
use cairn::primitives::hash::Hash256;
use cairn::primitives::height::Height;
use cairn::primitives::keys::Signature;
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::{Input, OutPoint, Output, Transaction};
use cairn_fuzz::{Script, UNIX, fresh_chain, fresh_pool, key, params, payment, seed};
use libfuzzer_sys::fuzz_target;

/// Most records of a file that is made here.
const MAX_RECORDS: usize = 12;
/// Records begin after the version, the network and the checksum.
const HEAD: usize = 4 + 32 + 32;

thread_local! {
    static CHAIN: Chain = fresh_chain();
}

fn seeds() {
    let each = |how: u8| [&[1][..], &(0..24).flat_map(|n| [how, n, 0, 0]).collect::<Vec<u8>>()].concat();
    let mut inputs = vec![[&[0][..], &file(&[record(0, UNIX)])].concat(), each(0)];
    // Children before their parents; one changed; one with a wrong checksum; a later time than the clock's.
    inputs.push(vec![1, 0, 16, 0, 0, 0, 0, 0, 0]);
    inputs.push(vec![1, 1, 0, 0, 0, 1, 20, 0, 1]);
    inputs.push(vec![1, 2, 0, 0, 0]);
    inputs.push(vec![1, 0, 0, 255, 255]);
    seed("mempool", inputs);
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let mut script = Script(bytes);
    let bytes = match script.byte() % 2 {
        0 => script.0.to_vec(),
        _ => composed(script),
    };
    CHAIN.with(|chain| {
        let mut pool = fresh_pool();
        let count = match pool.restore(&bytes) {
            Ok(count) => count,
            Err(error) => {
                assert!(pool.is_empty() && !pool.is_unfinished());
                assert!(bytes.len() >= HEAD || matches!(error, SavedError::Encoding(_)));
                return;
            }
        };
        assert_eq!(pool.save(), bytes, "what waits is saved as it came");
        finish(&mut pool, chain, count);
        assert!(pool.len() <= count && pool.orphan_count() == 0);
        let saved = pool.save();
        let mut again = fresh_pool();
        assert_eq!(again.restore(&saved), Ok(pool.len()), "what was saved can be read");
        finish(&mut again, chain, pool.len());
        // Those of one time may have changed places.
        let set = |pool: &Mempool| pool.txids().into_iter().collect::<BTreeSet<_>>();
        assert_eq!(set(&again), set(&pool), "and is good once more");
        assert_eq!(again.save(), saved);
    });
});

/// Has all that waits checked; each call does a part.
fn finish(pool: &mut Mempool, chain: &Chain, count: usize) {
    for _ in 0..=count {
        if !pool.is_unfinished() {
            return;
        }
        pool.resume(chain, UNIX);
    }
    panic!("each call takes up one at least");
}

/// Two payments of each of 8 coins, and payments that spend the first of each two.
fn payments() -> &'static [Transaction] {
    static PAYMENTS: LazyLock<Vec<Transaction>> = LazyLock::new(|| {
        let firsts: Vec<Transaction> = (1..=8).map(|n| payment(n, 1_000)).collect();
        let others = (1..=8).map(|n| payment(n, 5_000));
        let children = (1..=8).map(|n| child(&firsts[usize::from(n) - 1], 100 + n));
        firsts.iter().cloned().chain(others).chain(children).collect()
    });
    &PAYMENTS
}

/// Spends the first output of a payment to key `owner`.
fn child(parent: &Transaction, owner: u8) -> Transaction {
    let spent = &parent.outputs[0];
    let mut tx = Transaction {
        version: 1,
        inputs: vec![Input { outpoint: OutPoint { txid: parent.txid(), index: 0 }, signature: Signature::EMPTY }],
        outputs: vec![Output::pay(key(99).public_key(), Amount::from_grains(spent.value.as_grains() - 1_000))],
        lock_height: Height::GENESIS,
    };
    let digest = tx.signature_digest(&params().genesis_hash, [spent]);
    tx.inputs[0].signature = key(owner).sign(&digest);
    tx
}

fn record(number: u8, time: UnixTime) -> Vec<u8> {
    let payments = payments();
    [codec::encode(&time), codec::encode(&payments[usize::from(number) % payments.len()])].concat()
}

fn file(records: &[Vec<u8>]) -> Vec<u8> {
    let body = records.concat();
    [&1u32.to_le_bytes()[..], params().genesis_hash.as_bytes(), Hash256::of(&body).as_bytes(), &body].concat()
}

/// Payments in any order, of any time, changed or not.
fn composed(mut script: Script) -> Vec<u8> {
    let mut records = Vec::new();
    let mut is_spoilt = false;
    while !script.is_empty() && records.len() < MAX_RECORDS {
        let (how, number, age) = (script.byte() % 3, script.byte(), script.short());
        // From two years before the clock to an hour after it.
        let latest = UNIX.saturating_add(Duration::from_secs(3_600));
        let time = latest.saturating_sub(Duration::from_secs(u64::from(age) * 1_000));
        let mut record = record(number, time);
        if how == 1 {
            script.change(&mut record);
        }
        is_spoilt |= how == 2;
        records.push(record);
    }
    let mut bytes = file(&records);
    if is_spoilt && let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    bytes
}
