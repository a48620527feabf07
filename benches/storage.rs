//! The store: batches as a full block makes them (2,000 coins in and 2,000 out, over 100,000 that stay), and a block of
//! 1,500 payments through the chain.

#[path = "../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;

use cairn::chain::Chain;
use cairn::storage::{Batch, MemoryStore, SledStore, Store};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const LIVE: u32 = 100_000;
const CHANGES: u32 = 2_000;

/// The key and value of coin `n`: as long as those of the schema, and spread as txids are.
fn coin(n: u32) -> (Vec<u8>, Vec<u8>) {
    let key = [&b"u"[..], &cairn::primitives::hash::Hash256::of(&n.to_le_bytes()).0, &[0; 4]].concat();
    (key, vec![7; 49])
}

fn batch(made: std::ops::Range<u32>, spent: std::ops::Range<u32>) -> Batch {
    let mut batch = Batch::default();
    made.map(coin).for_each(|(key, value)| batch.put(key, value));
    spent.map(coin).for_each(|(key, _)| batch.delete(key));
    batch
}

fn storage(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = SledStore::open(dir.path()).expect("a fresh store opens");
    for start in (0..LIVE).step_by(10_000) {
        store.commit(batch(start..start + 10_000, 0..0)).expect("a batch");
    }
    let mut group = c.benchmark_group("sled");
    group.sample_size(20);
    group.throughput(Throughput::Elements(u64::from(2 * CHANGES)));
    let mut next = 0;
    group.bench_function("batch of 2,000 puts and 2,000 deletes", |b| {
        let prepare = || {
            next += CHANGES;
            batch(LIVE + next - CHANGES..LIVE + next, next - CHANGES..next)
        };
        b.iter_batched(prepare, |batch| store.commit(batch).expect("a batch"), BatchSize::PerIteration);
    });
    group.throughput(Throughput::Elements(u64::from(CHANGES)));
    let keys: Vec<Vec<u8>> = (LIVE + next - CHANGES..LIVE + next).map(|n| coin(n).0).collect();
    group.bench_function("2,000 reads", |b| {
        b.iter(|| assert!(keys.iter().all(|key| store.get(key).expect("a read").is_some())));
    });
    group.finish();
}

fn chain(c: &mut Criterion) {
    let (ledger, block) = support::full_block(1_500);
    let now = u64::from(block.header.time);
    let params = Arc::new(ledger.params);
    let mut group = c.benchmark_group("a block of 1,500 payments accepted");
    group.sample_size(10);
    group.throughput(Throughput::Elements(1_500));
    let mut run = |name: &str, known: bool, store: fn(&Path) -> Arc<dyn Store>| {
        group.bench_function(name, |b| {
            // The directory is part of the batch's input, so removing it is not measured.
            let prepare = || {
                let dir = tempfile::tempdir().expect("a temporary directory");
                let chain = Chain::open(params.clone(), store(dir.path())).expect("a fresh chain opens");
                (dir, chain, block.clone())
            };
            let accept = |(dir, mut chain, block): (tempfile::TempDir, Chain, _)| {
                let update = chain.accept_block(block, now, &|_| known).expect("the block is valid");
                assert_eq!(update.connected.len(), 1);
                (dir, chain)
            };
            b.iter_batched(prepare, accept, BatchSize::PerIteration);
        });
    };
    run("memory, signatures unknown", false, |_| Arc::new(MemoryStore::new()));
    run("memory, signatures known", true, |_| Arc::new(MemoryStore::new()));
    run("sled, signatures unknown", false, |dir| Arc::new(SledStore::open(dir).expect("a fresh store opens")));
    run("sled, signatures known", true, |dir| Arc::new(SledStore::open(dir).expect("a fresh store opens")));
    group.finish();
}

criterion_group!(benches, storage, chain);
criterion_main!(benches);
