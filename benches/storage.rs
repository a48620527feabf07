//! The store: batches as a full block makes them (2,000 coins in and 2,000 out, over 100,000 that stay), committed and
//! until they are on the disk; reads of what is and what is not there yet; and a block of 1,500 payments through the chain.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use cairn::chain::Chain;
use cairn::primitives::time::UnixTime;
use cairn::storage::{Batch, MemoryStore, SledStore, Store};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const LIVE: u32 = 100_000;
const CHANGES: u32 = 2_000;

/// The key and value of coin `n`: as long as those of the schema, and spread as txids are.
fn coin(n: u32) -> (Vec<u8>, Vec<u8>) {
    let key = [&b"u"[..], cairn::primitives::hash::Hash256::of(&n.to_le_bytes()).as_bytes(), &[0; 4]].concat();
    (key, vec![7; 49])
}

fn batch(made: std::ops::Range<u32>, spent: std::ops::Range<u32>) -> Batch {
    let mut batch = Batch::default();
    made.map(coin).for_each(|(key, value)| batch.put(key, value)); // Not said to be new: some are put again.
    spent.map(coin).for_each(|(key, _)| batch.delete(key));
    batch
}

fn storage(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = SledStore::open(dir.path()).expect("a fresh store opens");
    for start in (0..LIVE).step_by(10_000) {
        store.commit(batch(start..start + 10_000, 0..0)).expect("a batch");
    }
    store.flush().expect("the disk has room");
    let mut group = c.benchmark_group("store");
    group.sample_size(20);
    group.throughput(Throughput::Elements(u64::from(2 * CHANGES)));
    let mut next = 0;
    let mut prepare = || {
        next += CHANGES;
        batch(LIVE + next - CHANGES..LIVE + next, next - CHANGES..next)
    };
    group.bench_function("batch of 2,000 puts and 2,000 deletes, committed", |b| {
        b.iter_batched(&mut prepare, |batch| store.commit(batch).expect("a batch"), BatchSize::PerIteration);
    });
    group.bench_function("batch of 2,000 puts and 2,000 deletes, on the disk", |b| {
        let write = |batch| {
            store.commit(batch).expect("a batch");
            store.flush().expect("the disk has room");
        };
        b.iter_batched(&mut prepare, write, BatchSize::PerIteration);
    });
    group.throughput(Throughput::Elements(u64::from(CHANGES)));
    let newest = |prepared: u32| (LIVE + prepared - CHANGES..LIVE + prepared).map(|n| coin(n).0).collect::<Vec<_>>();
    let keys = newest(next);
    group.bench_function("2,000 reads from the disk", |b| {
        b.iter(|| assert!(keys.iter().all(|key| store.get(key).expect("a read").is_some())));
    });
    group.bench_function("2,000 reads of what waits to be written", |b| {
        // Committed again for each sample, for it is soon written.
        let prepare = || store.commit(batch(LIVE + next - CHANGES..LIVE + next, 0..0)).expect("a batch");
        let read = |()| assert!(keys.iter().all(|key| store.get(key).expect("a read").is_some()));
        b.iter_batched(prepare, read, BatchSize::PerIteration);
    });
    group.throughput(Throughput::Elements(u64::from(LIVE)));
    group.bench_function("scan of 100,000 entries, 2,000 of which wait to be written", |b| {
        let prepare = || store.commit(batch(LIVE + next - CHANGES..LIVE + next, 0..0)).expect("a batch");
        let scan = |()| {
            let mut count = 0;
            let mut visit = |_: &[u8], _: &[u8]| {
                count += 1;
                ControlFlow::Continue(())
            };
            store.scan(b"u", &[], &mut visit).expect("a scan");
            assert_eq!(count, LIVE);
        };
        b.iter_batched(prepare, scan, BatchSize::PerIteration);
    });
    group.finish();
}

fn chain(c: &mut Criterion) {
    let (ledger, block) = cairn_testkit::full_block(1_500);
    let now = u64::from(block.header.time);
    let params = ledger.params;
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
                let update =
                    chain.accept_block(block, UnixTime::from_secs(now), &|_| known).expect("the block is valid");
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
