//! Validation of a block of 1,500 one-input payments, in memory: checking it by itself, then connecting it.

use cairn::consensus::check::{CheckedBlock, check_block};
use cairn::consensus::connect::connect;
use cairn::primitives::block::Block;
use cairn::primitives::codec;
use cairn_testkit::full_block;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const PAYMENTS: u32 = 1_500;

fn validation(c: &mut Criterion) {
    let (ledger, block) = full_block(PAYMENTS);
    let bytes = codec::encode(&block);
    let check = |block: Block| check_block(block, &ledger.params).expect("the block is valid");
    let connect = |block: &CheckedBlock, known: bool| {
        connect(block, &ledger.block_context(), &ledger.coins, |_| known).expect("the block is valid")
    };
    let mut group = c.benchmark_group("1,500 payments");
    group.sample_size(20);
    group.throughput(Throughput::Elements(u64::from(PAYMENTS)));
    group.bench_function("decode", |b| b.iter(|| codec::decode::<Block>(&bytes).expect("the block is valid")));
    group.bench_function("check", |b| b.iter_batched(|| block.clone(), check, BatchSize::LargeInput));
    let checked = check(block.clone());
    group.bench_function("connect, signatures unknown", |b| b.iter(|| connect(&checked, false)));
    group.bench_function("connect, signatures known", |b| b.iter(|| connect(&checked, true)));
    group.bench_function("check and connect, signatures unknown", |b| {
        b.iter_batched(|| block.clone(), |block| connect(&check(block), false), BatchSize::LargeInput);
    });
    group.bench_function("check and connect, signatures known", |b| {
        b.iter_batched(|| block.clone(), |block| connect(&check(block), true), BatchSize::LargeInput);
    });
    group.finish();
}

criterion_group!(benches, validation);
criterion_main!(benches);
