//! `cairn bench hash`: nonces a second, cycles for each, and how near that is to the processor's limit.

use std::hint::black_box;
use std::thread;
use std::time::Duration;

use ruint::aliases::U256;

use super::{Figure, shortest};
use crate::miner::kernel::search_with;
use crate::primitives::hash::{BlockHash, MerkleRoot};
use crate::primitives::header::Header;
use crate::primitives::sha256::Kernel;
use crate::primitives::target::{Bits, Target};

/// Nonces of a run on one thread: short enough to go undisturbed now and then.
const NONCES: u32 = 1 << 13;
/// Nonces of each thread where threads are started for it, which takes time too.
const NONCES_OF_A_THREAD: u32 = 1 << 18;
const ROUNDS: u32 = 200;
const ROUNDS_OF_THREADS: u32 = 40;
/// Steps of the chain that the clock is measured with, and the cycles of a step.
const STEPS: u32 = 20_000;
const CYCLES_OF_A_STEP: u32 = 6;

pub(super) fn run() -> (String, Vec<Figure>) {
    let kernels: Vec<Kernel> = Kernel::available().collect();
    let mut jobs: Vec<Box<dyn FnMut()>> = vec![Box::new(chain)];
    jobs.extend(kernels.iter().map(|kernel| Box::new(|| scan(*kernel, NONCES)) as Box<dyn FnMut()>));
    let times = shortest(ROUNDS, &mut jobs);
    let clock = f64::from(STEPS * CYCLES_OF_A_STEP) / times[0].as_secs_f64();
    let rates: Vec<f64> = times[1..].iter().map(|time| mega_hashes(NONCES, *time)).collect();
    // The portable kernel comes last, and is what the others are held against.
    let reference = rates[rates.len() - 1];
    let mut figures = Vec::new();
    for (kernel, rate) in kernels.iter().zip(&rates) {
        figures.push(Figure::rate(format!("{}, one thread", kernel.name()), *rate, "MH/s", reference));
    }
    figures.push(two_threads(Kernel::best()));
    for (kernel, rate) in kernels.iter().zip(&rates) {
        if let Some(limit) = limit(*kernel) {
            let name = format!("{}, reference is the limit", kernel.name());
            figures.push(Figure::cost(name, clock / (rate * 1e6), "cycles/nonce", limit));
        }
    }
    let about = format!(
        "The nonce search. The reference is a loop over sha2's compress256 with the first block's state kept; for two \
         threads,\none of them; for cycles, the least that Zen 4 could do with the kernel's instructions. Clock: {:.2} \
         GHz, by a chain of\ndependent instructions.",
        clock / 1e9
    );
    (about, figures)
}

/// Cycles a nonce that Zen 4 would take if nothing but the kernel's arithmetic kept it busy; docs/performance.md says how
/// that is counted.
fn limit(kernel: Kernel) -> Option<f64> {
    match kernel.name() {
        // 2,867 instructions for sixteen nonces, two in each cycle.
        "avx512" => Some(2867.0 / 16.0 / 2.0),
        // 61 instructions for two rounds each, one in two cycles.
        "sha-ni" => Some(61.0 * 2.0),
        // 5,888 instructions for eight nonces, four in each cycle.
        "avx2" => Some(5888.0 / 8.0 / 4.0),
        _ => None,
    }
}

/// Both threads' rate against that of one, by itself, in turns.
fn two_threads(kernel: Kernel) -> Figure {
    let on = |threads: u32| {
        move || {
            thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(move || scan(kernel, NONCES_OF_A_THREAD));
                }
            });
        }
    };
    let times = shortest(ROUNDS_OF_THREADS, &mut [Box::new(on(1)), Box::new(on(2))]);
    let (one, two) = (mega_hashes(NONCES_OF_A_THREAD, times[0]), mega_hashes(2 * NONCES_OF_A_THREAD, times[1]));
    Figure::rate(format!("{}, two threads", kernel.name()), two, "MH/s", one)
}

/// Tries nonces that all fail.
fn scan(kernel: Kernel, nonces: u32) {
    let header = Header {
        version: 1,
        previous: BlockHash::from_bytes([1; 32]),
        merkle_root: MerkleRoot::from_bytes([2; 32]),
        time: 1_767_225_600,
        bits: Bits(0x1d00_ffff),
        nonce: 0,
    };
    black_box(search_with(kernel, black_box(&header), Target(U256::ONE), 0..=nonces - 1));
}

fn mega_hashes(nonces: u32, time: Duration) -> f64 {
    f64::from(nonces) / time.as_secs_f64() / 1e6
}

/// Shifts and exclusive ors, each dependent on the one before: a cycle each, on processors of this century.
fn chain() {
    let mut x = black_box(1u64);
    for _ in 0..STEPS {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    black_box(x);
}
