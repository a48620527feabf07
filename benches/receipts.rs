//! Receipts of all shapes for chains of growing length: how large they are, and how long their check takes.

#![allow(missing_docs)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

use cairn::consensus::headers::HeaderTail;
use cairn::primitives::time::UnixTime;
use cairn::receipt::{Evidence, Receipt};
use cairn_testkit::forge::{Fault, Forge, params};

fn receipts(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("receipt");
    group.sample_size(10);
    let mut forge = Forge::new(params());
    let mut checkpoint = None;
    for length in [1_000, 10_000, 100_000, 1_000_000] {
        while forge.height() < length {
            forge.add(Fault::None);
        }
        let block = length - 500;
        let mut chain = HeaderTail::new(&forge.params);
        forge.headers[1..].iter().for_each(|header| assert!(chain.push(header, &forge.params).is_ok()));
        // What a verifier holds who looked at a tenth of the chain before.
        let held = checkpoint.get_or_insert_with(|| chain.checkpoint()).clone();
        let mut shapes = vec![("headers", forge.whole(block), None), ("succinct", forge.succinct(block), None)];
        if held.height < length {
            let headers = forge.headers[held.height as usize + 1..].to_vec();
            let since = Evidence::Since { height: held.height, hash: held.tip.hash(), headers };
            shapes.push(("since", forge.receipt(block, since), Some(held)));
        }
        checkpoint = Some(chain.checkpoint());
        for (shape, receipt, held) in &shapes {
            let bytes = receipt.to_bytes();
            println!("{shape} receipt of {length} blocks: {} bytes, {} as JSON", bytes.len(), receipt.to_json().len());
            group.bench_function(BenchmarkId::new(*shape, length), |bencher| {
                bencher.iter(|| {
                    let read = Receipt::from_bytes(black_box(&bytes)).expect("a receipt");
                    read.verify(&forge.params, held.as_ref(), UnixTime::from_secs(u64::MAX)).expect("it holds")
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, receipts);
criterion_main!(benches);
