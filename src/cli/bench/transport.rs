//! `cairn bench transport`: what encryption between nodes costs.

use std::hint::black_box;

use anyhow::Context;
use tokio::runtime::Runtime;

use super::{Figure, shortest};
use crate::p2p::noise::{Identity, Session};
use crate::primitives::hash::SignatureDigest;
use crate::primitives::keys::{SecretKey, SignatureCheck};
use crate::runtime::noise;

/// A ping, a transaction, what a socket is read in, a block.
const LENGTHS: [usize; 4] = [13, 200, 32 << 10, 1_000_000];
/// Bytes of a run, in however many messages.
const BYTES_OF_A_RUN: usize = 1_000_000;
const MAX_MESSAGES: usize = 1_000;
const ROUNDS: u32 = 50;

pub(super) fn run() -> anyhow::Result<(String, Vec<Figure>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut figures = vec![handshake(&runtime)?];
    for length in LENGTHS {
        figures.extend(records(&runtime, length)?);
    }
    let about = "\
Encryption between nodes. References: for a handshake, both of whose sides are counted, a signature checked alone; for
messages, copying the same bytes twice."
        .to_owned();
    Ok((about, figures))
}

/// Both ends of a connection, after the handshake.
fn sessions(runtime: &Runtime, one: &Identity, other: &Identity) -> anyhow::Result<(Session, Session)> {
    runtime.block_on(async {
        let (mut here, mut there) = tokio::io::duplex(1_024);
        let (dialled, answered) =
            tokio::join!(noise::initiate(&mut here, one, Some(other.id())), noise::respond(&mut there, other));
        Ok((dialled.context("dialling")?, answered.context("answering")?))
    })
}

fn handshake(runtime: &Runtime) -> anyhow::Result<Figure> {
    let (one, other) = (Identity::from_secret(rand::random()), Identity::from_secret(rand::random()));
    sessions(runtime, &one, &other)?;
    let key = SecretKey::from_seed([1; 32]);
    let digest = SignatureDigest::of(b"a payment");
    let check = SignatureCheck { key: key.public_key(), signature: key.sign(&digest), digest };
    let times = shortest(
        ROUNDS,
        &mut [
            Box::new(|| drop(black_box(sessions(runtime, &one, &other)))),
            Box::new(|| assert!(black_box(&check).holds())),
        ],
    );
    let micros = |n: usize| times[n].as_secs_f64() * 1e6;
    Ok(Figure::cost("a handshake".to_owned(), micros(0), "us", micros(1)))
}

/// Messages of so many bytes, sealed, and sealed and opened.
fn records(runtime: &Runtime, length: usize) -> anyhow::Result<[Figure; 2]> {
    let plain = vec![7; length];
    let messages = (BYTES_OF_A_RUN / length).clamp(1, MAX_MESSAGES);
    // Sealed records are never opened here, so the numbers of one session run ahead.
    let (mut alone, _) =
        sessions(runtime, &Identity::from_secret(rand::random()), &Identity::from_secret(rand::random()))?;
    let (mut from, mut to) =
        sessions(runtime, &Identity::from_secret(rand::random()), &Identity::from_secret(rand::random()))?;
    let mut sealed = Vec::new();
    let mut wire = Vec::new();
    let (mut one, mut other) = (Vec::new(), Vec::new());
    const NUMBERS: &str = "a session has more numbers than a benchmark uses";
    let times = shortest(
        ROUNDS,
        &mut [
            Box::new(|| {
                for _ in 0..messages {
                    sealed.clear();
                    alone.sealer.seal(black_box(&plain), &mut sealed).expect(NUMBERS);
                }
            }),
            Box::new(|| {
                for _ in 0..messages {
                    wire.clear();
                    from.sealer.seal(black_box(&plain), &mut wire).expect(NUMBERS);
                    to.opener.push(&wire);
                    while let Some(held) = to.opener.open().expect("what was sealed opens") {
                        black_box(held);
                    }
                }
            }),
            Box::new(|| {
                for _ in 0..messages {
                    one.clear();
                    one.extend_from_slice(black_box(&plain));
                    other.clear();
                    other.extend_from_slice(black_box(&one));
                    black_box(&other);
                }
            }),
        ],
    );
    let micros = |n: usize| times[n].as_secs_f64() * 1e6 / messages as f64;
    let figure = |what: &str, n| Figure::cost(format!("{length} bytes {what}"), micros(n), "us", micros(2));
    Ok([figure("sealed", 0), figure("sealed and opened", 1)])
}
