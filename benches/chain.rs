//! The chain on sled: 2,000 empty blocks connected one by one, and a chain of 100,000 headers opened.

use std::path::Path;
use std::sync::Arc;

use cairn::chain::Chain;
use cairn::primitives::header::Header;
use cairn::primitives::time::UnixTime;
use cairn::storage::{SledStore, Store};
use cairn_testkit::{Ledger, params};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

const NOW: UnixTime = UnixTime::from_secs(2_000_000_000);
const BLOCKS: u32 = 2_000;
const HEADERS: u32 = 100_000;

fn open(dir: &Path) -> Chain {
    let store = SledStore::open(dir).expect("the store opens");
    Chain::open(params(), Arc::new(store)).expect("the chain opens")
}

/// Bytes of memory that the process holds, as Linux counts them.
fn resident() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    statm.split(' ').nth(1)?.parse::<u64>().ok().map(|pages| pages * 4_096)
}

fn connect(c: &mut Criterion) {
    let blocks = Ledger::on(&params()).extend(BLOCKS, 0);
    let mut group = c.benchmark_group("chain on sled");
    group.sample_size(10);
    group.throughput(Throughput::Elements(u64::from(BLOCKS)));
    group.bench_function("2,000 empty blocks", |b| {
        let prepare = || {
            let dir = tempfile::tempdir().expect("a temporary directory");
            (open(dir.path()), blocks.clone(), dir)
        };
        let run = |(mut chain, blocks, dir): (Chain, Vec<_>, _)| {
            for block in blocks {
                let _ = chain.accept_block(block, NOW, &|_| false).expect("a valid block");
            }
            assert_eq!(chain.tip().height, BLOCKS);
            (chain, dir)
        };
        b.iter_batched(prepare, run, BatchSize::PerIteration);
    });
    group.finish();
}

fn load(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut chain = open(dir.path());
    let mut header = params().genesis.header;
    let mut headers: Vec<Header> = Vec::new();
    for _ in 0..HEADERS {
        header = Header { previous: header.hash(), time: header.time + 5, nonce: 0, ..header };
        cairn_testkit::mine(&mut header);
        headers.push(header);
    }
    for some in headers.chunks(2_000) {
        chain.accept_headers(some, NOW).expect("valid headers");
    }
    chain.db().store().flush().expect("the disk has room");
    drop((chain, headers));

    let store: Arc<dyn Store> = Arc::new(SledStore::open(dir.path()).expect("the store opens"));
    let mut group = c.benchmark_group("chain on sled");
    group.sample_size(10);
    group.throughput(Throughput::Elements(u64::from(HEADERS)));
    let first = Chain::open(params(), store.clone()).expect("the chain opens");
    let before = resident();
    let second = Chain::open(params(), store.clone()).expect("the chain opens");
    if let (Some(before), Some(after)) = (before, resident()) {
        println!("an index of {HEADERS} headers takes {:.1} MB", after.saturating_sub(before) as f64 / 1e6);
    }
    drop((first, second));
    group.bench_function("open with 100,000 headers", |b| {
        b.iter(|| Chain::open(params(), store.clone()).expect("the chain opens").header_count());
    });
    group.finish();
}

criterion_group!(benches, connect, load);
criterion_main!(benches);
