//! What encryption costs: a handshake, and the record layer beside a copy of the same bytes.

use std::hint::black_box;

use cairn::runtime::noise::{self, Identity, Session};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;

/// Both ends of a connection, after the handshake.
fn shaken(runtime: &Runtime, one: &Identity, other: &Identity) -> (Session, Session) {
    runtime.block_on(async {
        let (mut here, mut there) = tokio::io::duplex(1_024);
        let (dialled, answered) =
            tokio::join!(noise::initiate(&mut here, one, Some(other.id())), noise::respond(&mut there, other));
        (dialled.expect("both mean the same"), answered.expect("both mean the same"))
    })
}

fn handshake(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("threads are to be had");
    let (one, other) = (Identity::random(), Identity::random());
    c.bench_function("handshake, both sides", |b| b.iter(|| shaken(&runtime, &one, &other)));
}

fn records(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("threads are to be had");
    // A ping, a transaction, what a socket is read in, a block.
    for length in [13, 200, 32 << 10, 1_000_000] {
        let plain = vec![7; length];
        let mut group = c.benchmark_group(format!("{length} bytes"));
        group.throughput(Throughput::Bytes(length as u64));
        let mut wire = Vec::new();
        let (mut from, _) = shaken(&runtime, &Identity::random(), &Identity::random());
        group.bench_function("copy twice", |b| {
            let mut out = Vec::new();
            b.iter(|| {
                wire.clear();
                wire.extend_from_slice(black_box(&plain));
                out.clear();
                out.extend_from_slice(black_box(&wire));
                black_box(&out);
            });
        });
        group.bench_function("seal", |b| {
            b.iter(|| {
                wire.clear();
                from.sealer.seal(black_box(&plain), &mut wire).expect("there are numbers left");
            });
        });
        // What the bench before has sealed, nobody opened: begin anew.
        let (mut from, mut to) = shaken(&runtime, &Identity::random(), &Identity::random());
        group.bench_function("seal and open", |b| {
            b.iter(|| {
                wire.clear();
                from.sealer.seal(black_box(&plain), &mut wire).expect("there are numbers left");
                to.opener.push(&wire);
                while let Some(held) = to.opener.open().expect("it was sealed as it should be") {
                    black_box(held);
                }
            });
        });
        group.finish();
    }
}

criterion_group!(benches, handshake, records);
criterion_main!(benches);
