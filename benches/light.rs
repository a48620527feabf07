//! The light client's chain: reading it back and checking it, memory and disk included, and a proof in a full block.

#![allow(missing_docs)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

use cairn::light::Headers;
use cairn::primitives::hash::Txid;
use cairn::primitives::merkle::{self, Branch};
use cairn_testkit::forge::{Fault, Forge, params};

const LENGTH: u32 = 100_000;

fn headers(criterion: &mut Criterion) {
    let mut forge = Forge::new(params());
    while forge.height() < LENGTH {
        forge.add(Fault::None);
    }
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("headers");
    let params = Arc::new(forge.params.clone());
    let mut chain = Headers::open(params.clone(), Some(&path)).expect("a new file");
    for some in forge.headers[1..].chunks(2_000) {
        assert!(chain.extend(some).1.is_ok());
    }
    drop(chain);
    println!("{LENGTH} headers: {} bytes on disk", std::fs::metadata(&path).expect("it is there").len());
    let mut group = criterion.benchmark_group("light");
    group.sample_size(10).throughput(Throughput::Elements(LENGTH.into()));
    group.bench_function("100,000 headers opened and checked", |bencher| {
        bencher.iter(|| assert_eq!(Headers::open(params.clone(), Some(&path)).expect("it opens").height(), LENGTH));
    });
    group.bench_function("100,000 headers extended as they come from a peer", |bencher| {
        bencher.iter(|| {
            let mut chain = Headers::open(params.clone(), None).expect("no file");
            for some in forge.headers[1..].chunks(2_000) {
                assert!(chain.extend(black_box(some)).1.is_ok());
            }
        });
    });
    group.finish();
}

fn branches(criterion: &mut Criterion) {
    let leaves: Vec<Txid> = (0..4_000_u32).map(|n| Txid::of(&n.to_le_bytes())).collect();
    let root = merkle::root(leaves.clone()).hash;
    let (leaf, branch) = (leaves[1_234], Branch::new(leaves, 1_234).expect("there is such a leaf"));
    criterion.bench_function("branch in a block of 4,000 transactions", |bencher| {
        bencher.iter(|| assert!(black_box(&branch).verify(black_box(&leaf), &root)));
    });
}

criterion_group!(benches, headers, branches);
criterion_main!(benches);
