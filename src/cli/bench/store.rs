//! `cairn bench store`: the store's cost of each change and each read, compared with plain sled.

use std::hint::black_box;
use std::ops::Range;
use std::time::Duration;

use anyhow::Context;

use super::fixture::Scratch;
use super::{Figure, shortest};
use crate::primitives::hash::Hash256;
use crate::storage::{Batch, SledStore, Store};

/// Entries that a batch puts, and as many old ones that it removes: a block of 2,000 payments.
const CHANGES: u32 = 2_000;
/// Most batches of a run, which ends with everything on the disk.
const BATCHES: u32 = 100;
const ROUNDS: u32 = 4;
const READS: u32 = 20_000;

/// What to measure.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Args {
    /// Entries that stay, like unspent coins; the reference keeps up to 2 GB of them in memory
    #[arg(long, value_name = "N", default_value = "100000", value_parser = clap::value_parser!(u32).range(10_000..=50_000_000))]
    entries: u32,
}

pub(super) fn run(args: &Args) -> anyhow::Result<(String, Vec<Figure>)> {
    let entries = args.entries.next_multiple_of(CHANGES);
    // A fifth of the entries gives way in a run.
    let batches = (entries / 5 / CHANGES).min(BATCHES);
    let next = |end: &mut u32| next(end, batches, entries);
    let open = |dir: &Scratch| SledStore::open(dir.path()).context("opening a store");
    let dirs = [Scratch::new()?, Scratch::new()?, Scratch::new()?, Scratch::new()?];
    let [batched, single] = [open(&dirs[0])?, open(&dirs[1])?];
    let sled = |dir: &Scratch| sled::open(dir.path()).context("opening sled");
    let [sled_batched, sled_single] = [sled(&dirs[2])?, sled(&dirs[3])?];
    for n in (0..entries).step_by(CHANGES as usize) {
        for store in [&batched, &single] {
            store.commit(batch(n..n + CHANGES, 0..0))?;
        }
        for db in [&sled_batched, &sled_single] {
            db.apply_batch(sled_batch(n..n + CHANGES, 0..0))?;
            collect();
        }
    }
    batched.flush()?;
    single.flush()?;

    // A failed write shows in the reads below.
    let mut rounds = [entries; 4];
    let [a, b, c, d] = &mut rounds;
    let times = shortest(
        ROUNDS,
        &mut [
            Box::new(|| {
                for (made, spent) in next(a) {
                    let _ = batched.commit(batch(made, spent));
                }
                let _ = batched.flush();
            }),
            Box::new(|| {
                for (made, spent) in next(b) {
                    for n in made.clone() {
                        let _ = single.commit(batch(n..n + 1, 0..0));
                    }
                    for n in spent.clone() {
                        let _ = single.commit(batch(0..0, n..n + 1));
                    }
                }
                let _ = single.flush();
            }),
            Box::new(|| {
                for (made, spent) in next(c) {
                    let _ = sled_batched.apply_batch(sled_batch(made, spent));
                    collect();
                }
                let _ = sled_batched.flush();
            }),
            Box::new(|| {
                for (made, spent) in next(d) {
                    for n in made {
                        let _ = sled_single.insert(key(n), &value(n)[..]);
                    }
                    for n in spent {
                        let _ = sled_single.remove(key(n));
                    }
                    collect();
                }
                let _ = sled_single.flush();
            }),
        ],
    );
    let micros = |time: Duration, n: u32| time.as_secs_f64() * 1e6 / f64::from(n);
    let write: Vec<f64> = times.iter().map(|time| micros(*time, 2 * CHANGES * batches)).collect();

    let end = rounds[0];
    // A step with no factor in common with their number, so that all are asked for, in no order.
    let keys: Vec<Vec<u8>> = (0..READS).map(|n| key(end - entries + n.wrapping_mul(7_919) % entries)).collect();
    let mut missing = 0;
    let reads = shortest(
        ROUNDS,
        &mut [
            Box::new(|| keys.iter().for_each(|key| missing += u32::from(!matches!(batched.get(key), Ok(Some(_)))))),
            Box::new(|| keys.iter().for_each(|key| drop(black_box(sled_batched.get(key))))),
        ],
    );
    anyhow::ensure!(missing == 0, "{missing} of the entries written are not there");
    let read: Vec<f64> = reads.iter().map(|time| micros(*time, READS)).collect();
    let bytes = |n: u64| n as f64 / f64::from(entries);
    let (ours, sleds) = (bytes(batched.bytes_on_disk()), bytes(sled_batched.size_on_disk()?));

    let name = |text: &str| text.to_owned();
    let figures = vec![
        Figure::cost(name("a change, in batches of 4,000; sled's batches"), write[0], "us", write[2]),
        Figure::cost(name("a change, in batches of 4,000; sled, one by one"), write[0], "us", write[3]),
        Figure::cost(name("a change, in batches of 4,000; batches of one"), write[0], "us", write[1]),
        Figure::cost(name("a change, in batches of one; sled, one by one"), write[1], "us", write[3]),
        Figure::cost(name("a read from the disk; sled"), read[0], "us", read[1]),
        Figure::cost(name("bytes on the disk for an entry; sled's batches"), ours, "bytes", sleds),
    ];
    let about = format!(
        "The store: {entries} entries of 86 bytes stay, and batches put {CHANGES} and remove the {CHANGES} oldest; {batches} of \
         them, and then\nall is on the disk. The reference is named after the semicolon; sled keeps 1 GB in memory, the store \
         8 MB of pages,\nand 16 MB of where they are. sled's flush does not sync its file, the store's does."
    );
    Ok((about, figures))
}

/// The value of entry `n`, which hardly any entry beside it shares.
fn value(n: u32) -> [u8; 49] {
    [n as u8; 49]
}

/// The key of entry `n`: as long as a coin's, and spread as txids are.
fn key(n: u32) -> Vec<u8> {
    [&b"C"[..], Hash256::of(&n.to_le_bytes()).as_bytes(), &[0; 4]].concat()
}

/// The ranges that the batches of the next run put and remove, where `entries` stay.
fn next(end: &mut u32, batches: u32, entries: u32) -> impl Iterator<Item = (Range<u32>, Range<u32>)> + use<> {
    let start = *end;
    *end += batches * CHANGES;
    (0..batches).map(move |n| {
        let made = start + n * CHANGES;
        (made..made + CHANGES, made - entries..made - entries + CHANGES)
    })
}

fn batch(made: Range<u32>, spent: Range<u32>) -> Batch {
    let mut batch = Batch::default();
    made.for_each(|n| batch.put_new(key(n), value(n)));
    spent.for_each(|n| batch.delete(key(n)));
    batch
}

fn sled_batch(made: Range<u32>, spent: Range<u32>) -> sled::Batch {
    let mut batch = sled::Batch::default();
    made.for_each(|n| batch.insert(key(n), &value(n)[..]));
    spent.for_each(|n| batch.remove(key(n)));
    batch
}

/// Otherwise sled's garbage fills the memory.
fn collect() {
    (0..32).for_each(|_| crossbeam_epoch::pin().flush());
}
