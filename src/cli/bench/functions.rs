//! `cairn bench functions`: what every block asks for, each beside the plain way to do the same.

use std::hint::black_box;
use std::time::Duration;

use super::fixture::Fixture;
use super::{Figure, cost, shortest, state};
use crate::consensus::check::check_block;
use crate::primitives::block::Block;
use crate::primitives::codec;
use crate::primitives::gcs::Filter;
use crate::primitives::hash::{BlockHash, Hash256, SignatureDigest};
use crate::primitives::header::Header;
use crate::primitives::keys::{SecretKey, SignatureCheck, verify_all};
use crate::primitives::merkle;

/// Headers of a full message.
const HEADERS: u32 = 2_000;
const SIGNATURES: u32 = 1_024;
/// Payments of a full block, and the keys that its filter has: two for a payment and the miner's, and those spent from.
const PAYMENTS: usize = 1_500;
const KEYS: u32 = 4_501;
/// Keys of a wallet.
const OWN_KEYS: u32 = 100;
const ROUNDS: u32 = 100;

pub(super) fn run() -> anyhow::Result<(String, Vec<Figure>)> {
    let mut figures = vec![headers(), signatures()];
    figures.extend(block()?);
    figures.extend(filter());
    figures.extend(state::figures()?);
    let about = "\
Functions that every block asks for, and the state and its proofs. References: for headers and signatures, one by one
on one thread; for a block's encoding, a copy of it; for its check, the Merkle tree over its ids alone; for a filter,
the hash of such a block once; for keys looked for, one at a time; for the state, plain hashes of the same bytes, for
its changes, building it anew, and for a proof, the hash of its bytes once."
        .to_owned();
    Ok((about, figures))
}

fn headers() -> Figure {
    let first = Fixture::new(1).params.genesis.header;
    let headers: Vec<Header> = (0..HEADERS).map(|nonce| Header { nonce, ..first }).collect();
    let times = shortest(
        ROUNDS,
        &mut [
            Box::new(|| drop(black_box(Header::hash_all(black_box(&headers))))),
            Box::new(|| headers.iter().for_each(|header| _ = black_box(black_box(header).hash()))),
        ],
    );
    cost("a header hashed, among 2,000", &times, headers.len(), ("ns", 1e9))
}

fn signatures() -> Figure {
    let check = |n: u32| {
        let digest = SignatureDigest::of(&n.to_le_bytes());
        let secret = SecretKey::from_seed(digest.to_bytes());
        SignatureCheck { key: secret.public_key(), signature: secret.sign(&digest), digest }
    };
    let checks: Vec<SignatureCheck> = (0..SIGNATURES).map(check).collect();
    let times = shortest(
        20,
        &mut [
            Box::new(|| assert_eq!(verify_all(black_box(&checks)), Ok(()))),
            Box::new(|| assert!(checks.iter().all(SignatureCheck::holds))),
        ],
    );
    cost("a signature checked, among 1,024", &times, checks.len(), ("us", 1e6))
}

/// A full block, read from its bytes and checked without its chain.
fn block() -> anyhow::Result<[Figure; 2]> {
    let mut fixture = Fixture::new(PAYMENTS);
    let block = fixture.pay(PAYMENTS);
    let bytes = codec::encode(&block);
    check_block(block.clone(), &fixture.params)?;
    let decoding = shortest(
        ROUNDS,
        &mut [
            Box::new(|| drop(black_box(codec::decode::<Block>(black_box(&bytes))))),
            Box::new(|| drop(black_box(black_box(&bytes).clone()))),
        ],
    );
    // A check takes the block, so each run copies one.
    let checking = shortest(
        ROUNDS,
        &mut [
            Box::new(|| drop(black_box(check_block(block.clone(), &fixture.params)))),
            Box::new(|| _ = black_box(merkle::root(block.clone().txids()))),
        ],
    );
    let figure = |what, times: &[Duration]| cost(&format!("a block of {PAYMENTS} {what}"), times, 1, ("us", 1e6));
    Ok([figure("decoded", &decoding), figure("checked by itself", &checking)])
}

/// The filter of a full block whose payments have two outputs each.
fn filter() -> [Figure; 2] {
    let block = BlockHash::of(b"block");
    let keys = |from: u32, count: u32| -> Vec<[u8; 32]> {
        (from..from + count).map(|n| Hash256::of(&n.to_le_bytes()).to_bytes()).collect()
    };
    let (theirs, own) = (keys(0, KEYS), keys(KEYS, OWN_KEYS));
    let filter = Filter::new(&block, &theirs);
    // As long as such a block.
    let bytes = vec![7; 318_000];
    let built = shortest(
        ROUNDS,
        &mut [
            Box::new(|| drop(black_box(Filter::new(&block, black_box(&theirs))))),
            Box::new(|| _ = black_box(Hash256::of(black_box(&bytes)))),
        ],
    );
    let look = |some: &[[u8; 32]]| assert_eq!(black_box(&filter).matches_any(&block, some), Ok(false));
    let matched = shortest(ROUNDS, &mut [Box::new(|| look(&own)), Box::new(|| own.chunks(1).for_each(look))]);
    let name = format!("a filter of {KEYS} keys built, {} bytes", filter.as_bytes().len());
    let micros = ("us", 1e6);
    [cost(&name, &built, 1, micros), cost(&format!("{OWN_KEYS} keys looked for in it in vain"), &matched, 1, micros)]
}
