//! The mempool: 1,500 one-input payments admitted one after the other, their signatures checked, and a block's worth
//! selected from them.

use std::sync::Arc;

use cairn::chain::Chain;
use cairn::mempool::{Limits, Mempool};
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::Transaction;
use cairn::storage::MemoryStore;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const PAYMENTS: u32 = 1_500;

fn mempool(c: &mut Criterion) {
    let (ledger, block) = cairn_testkit::full_block(PAYMENTS);
    let now = u64::from(block.header.time);
    let params = ledger.params;
    let chain = Chain::open(params.clone(), Arc::new(MemoryStore::new())).expect("a fresh chain opens");
    let payments = &block.transactions[1..];
    let empty = || Mempool::new(params.clone(), Limits::default());
    let admit = |(mut pool, payments): (Mempool, Vec<Transaction>)| {
        for tx in payments {
            pool.accept(tx, &chain, UnixTime::from_secs(now)).expect("the payment is valid");
        }
        pool
    };
    let full = admit((empty(), payments.to_vec()));
    let mut group = c.benchmark_group("mempool");
    group.sample_size(20);
    group.throughput(Throughput::Elements(u64::from(PAYMENTS)));
    group.bench_function("admit 1,500 payments", |b| {
        b.iter_batched(|| (empty(), payments.to_vec()), admit, BatchSize::LargeInput);
    });
    group.bench_function("select a block of 1,500", |b| {
        b.iter(|| assert_eq!(full.select(1_000_000).len(), PAYMENTS as usize));
    });
    group.finish();
}

criterion_group!(benches, mempool);
criterion_main!(benches);
