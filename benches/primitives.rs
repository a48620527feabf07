//! Hashing, trees and signatures: what every block asks for.

use std::hint::black_box;

use cairn::miner::kernel::search_with;
use cairn::primitives::gcs::Filter;
use cairn::primitives::hash::{BlockHash, MerkleRoot, SignatureDigest, Txid};
use cairn::primitives::header::Header;
use cairn::primitives::keys::{SecretKey, SignatureCheck, verify_all};
use cairn::primitives::merkle::{self, Branch};
use cairn::primitives::sha256::Kernel;
use cairn::primitives::target::{Bits, Target};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ruint::aliases::U256;

fn leaves(n: u32) -> Vec<Txid> {
    (0..n).map(|i| Txid::of(&i.to_le_bytes())).collect()
}

fn hashing(c: &mut Criterion) {
    let header = Header {
        version: 1,
        previous: BlockHash::of(b"parent"),
        merkle_root: MerkleRoot::of(b"root"),
        time: 1_767_225_600,
        bits: Bits(0x1d00_ffff),
        nonce: 42,
    };
    c.bench_function("header hash", |b| b.iter(|| black_box(&header).hash()));
    let headers: Vec<Header> = (0..2000).map(|nonce| Header { nonce, ..header }).collect();
    let mut group = c.benchmark_group("headers");
    group.throughput(Throughput::Elements(2000));
    group.bench_function("2,000 hashed together", |b| b.iter(|| Header::hash_all(black_box(&headers))));
    group.finish();
    let mut group = c.benchmark_group("nonce search");
    group.throughput(Throughput::Elements(1 << 16));
    for kernel in Kernel::available() {
        let nobody_finds = Target(U256::ONE);
        group.bench_function(kernel.name(), |b| {
            b.iter(|| search_with(kernel, black_box(&header), nobody_finds, 0..=(1 << 16) - 1));
        });
    }
    group.finish();
}

fn trees(c: &mut Criterion) {
    let mut group = c.benchmark_group("merkle");
    for n in [1, 64, 1024, 4096, 65_536] {
        let leaves = leaves(n);
        group.throughput(Throughput::Elements(n.into()));
        group.bench_function(format!("root of {n} leaves"), |b| {
            b.iter_batched(|| leaves.clone(), merkle::root, BatchSize::LargeInput);
        });
    }
    group.finish();
    let leaves = leaves(4096);
    let root = merkle::root(leaves.clone()).hash;
    let branch = Branch::new(leaves.clone(), 1234).expect("there is such a leaf");
    c.bench_function("merkle/verify a branch of 4,096 leaves", |b| {
        b.iter(|| assert!(black_box(&branch).verify(&leaves[1234], &root)));
    });
}

fn signatures(c: &mut Criterion) {
    let checks: Vec<SignatureCheck> = (0..1024u32)
        .map(|i| {
            let digest = SignatureDigest::of(&i.to_le_bytes());
            let secret = SecretKey::from_seed(digest.to_bytes());
            SignatureCheck { key: secret.public_key(), signature: secret.sign(&digest), digest }
        })
        .collect();
    let mut group = c.benchmark_group("signatures");
    group.sample_size(20);
    group.throughput(Throughput::Elements(checks.len() as u64));
    group.bench_function("1,024 one by one, one thread", |b| {
        b.iter(|| assert!(checks.iter().all(SignatureCheck::holds)));
    });
    group.bench_function("1,024 in batches, all cores", |b| b.iter(|| verify_all(black_box(&checks))));
    group.finish();
}

/// As for a block of 1,500 payments, each of one coin to two keys: 4,500 keys and the miner's.
fn filters(c: &mut Criterion) {
    let block = BlockHash::of(b"block");
    let keys: Vec<[u8; 32]> = leaves(4_501).into_iter().map(|leaf| leaf.to_bytes()).collect();
    let mine: Vec<[u8; 32]> = leaves(4_601).into_iter().skip(4_501).map(|leaf| leaf.to_bytes()).collect();
    let filter = Filter::new(&block, &keys);
    let mut group = c.benchmark_group(format!("filter of 4,501 keys, {} bytes", filter.as_bytes().len()));
    group.throughput(Throughput::Elements(4_501));
    group.bench_function("built", |b| b.iter(|| Filter::new(&block, black_box(&keys))));
    group.bench_function("100 keys looked for in vain", |b| {
        b.iter(|| assert_eq!(black_box(&filter).matches_any(&block, &mine), Ok(false)));
    });
    group.finish();
}

criterion_group!(benches, hashing, trees, signatures, filters);
criterion_main!(benches);
