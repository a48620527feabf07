//! The state's part of `cairn bench functions`.

use std::hint::black_box;
use std::time::Duration;

use super::{Figure, cost, shortest};
use crate::consensus::coins::Coin;
use crate::primitives::amount::Amount;
use crate::primitives::hash::{BlockHash, Hash256, Txid};
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::tx::{OutPoint, Output};
use crate::state::{Changes, Inner, KeyRange, Leaf, Prefix, StateId, Table, Update, node_over};

const COINS: u32 = 100_000;
/// Coins of the lock that proofs are about: one page.
const OWN_COINS: u32 = 10_000;
/// Coins spent and made between two states.
const CHANGES: u32 = 1_000;
const ROUNDS: u32 = 10;
/// Hashed in one go where a single one is too short to measure.
const HASHES: usize = 1_000;
/// Bytes hashed for a coin, and for a node over two where some 100,000 coins have 17 bits in common.
const PREIMAGES: [usize; 2] = [82, 102];

const HEIGHT: Height = Height::from_u32(1);

/// One coin of its transaction, of the lock `owner`.
fn leaf(n: u32, owner: u32) -> Option<Leaf> {
    let mut lock = [0; 32];
    lock[..4].copy_from_slice(&owner.to_le_bytes());
    let output = Output::pay(PublicKey(lock), Amount::from_grains(u64::from(n) + 1));
    let outpoint = OutPoint { txid: Txid::of(&n.to_le_bytes()), index: 0 };
    Leaf::new(&outpoint, &Coin { output, height: HEIGHT, coinbase: false })
}

fn hash_plainly(count: usize) {
    let bytes = [7; PREIMAGES[1]];
    for _ in 0..count {
        for len in PREIMAGES {
            black_box(Hash256::of(black_box(&bytes[..len])));
        }
    }
}

pub(super) fn figures() -> anyhow::Result<Vec<Figure>> {
    // The first lock has many coins, every other has one.
    let table = Table::new((0..COINS).filter_map(|n| leaf(n, n.saturating_sub(OWN_COINS - 1))))?;
    let leaves: Vec<&Leaf> = table.leaves().collect();
    let mut figures = vec![hashing(leaves[0], leaves[1])];
    let built = shortest(
        ROUNDS,
        &mut [
            Box::new(|| assert_eq!(node_over(black_box(table.leaves())).ok().flatten().as_ref(), table.top())),
            Box::new(|| hash_plainly(leaves.len())),
        ],
    );
    figures.push(cost("a state of 100,000 coins built, for each", &built, leaves.len(), ("ns", 1e9)));

    let mut changes = Changes::default();
    (0..CHANGES).filter_map(|n| leaf(COINS + n, COINS + n)).for_each(|leaf| changes.make(leaf));
    leaves.iter().step_by((COINS / CHANGES) as usize).for_each(|leaf| changes.spend(**leaf));
    let update = || table.with_source(|source| _ = black_box(Update::new(source, black_box(&changes))));
    let updated = shortest(ROUNDS, &mut [Box::new(update)])[0];
    figures.push(cost("1,000 coins made and 1,000 spent in it", &[updated, built[0]], 1, ("us", 1e6)));
    figures.extend(proofs(&table)?);
    Ok(figures)
}

fn hashing(left: &Leaf, right: &Leaf) -> Figure {
    let inner = Inner { prefix: Prefix::of(&left.key, 17), left: left.node(), right: right.node() };
    let times = shortest(
        100,
        &mut [
            Box::new(|| {
                for _ in 0..HASHES {
                    black_box(black_box(left).node());
                    drop(black_box(black_box(&inner).node()));
                }
            }),
            Box::new(|| hash_plainly(HASHES)),
        ],
    );
    cost("a coin's node and one above hashed", &times, HASHES, ("ns", 1e9))
}

/// The total and the page of the lock with many coins.
fn proofs(table: &Table) -> anyhow::Result<[Figure; 4]> {
    let id = StateId::new(HEIGHT, BlockHash::of(b"its block"), table.top());
    let mut lock = KeyRange::ALL;
    if let Some(leaf) = leaf(0, 0) {
        lock = KeyRange::lock(&leaf.lock);
    }
    let total = table.with_source(|source| source.prove_total(&lock))?;
    let (page, end) = table.with_source(|source| source.prove_page(&lock))?;
    let hash = |bytes: &[u8]| _ = black_box(Hash256::of(black_box(bytes)));
    let against = |bytes: &[u8], job: &dyn Fn()| -> Vec<Duration> {
        shortest(ROUNDS, &mut [Box::new(job), Box::new(|| hash(bytes))])
    };
    let prove_total = || drop(black_box(table.with_source(|source| source.prove_total(black_box(&lock)))));
    let prove_page = || drop(black_box(table.with_source(|source| source.prove_page(black_box(&lock)))));
    let check_total = || assert_eq!(id.total(&lock, black_box(&total)).map(|total| total.count), Ok(OWN_COINS.into()));
    let check_page = || {
        let shown = id.page(&lock, end.as_ref(), black_box(&page)).map(|page| page.leaves.len());
        assert_eq!(shown, Ok(OWN_COINS as usize));
    };
    let figure = |what: &str, bytes: &[u8], job: &dyn Fn()| {
        cost(&format!("{what}, {} bytes", bytes.len()), &against(bytes, job), 1, ("us", 1e6))
    };
    Ok([
        figure("total of 10,000 of its coins proven", &total, &prove_total),
        figure("the same checked", &total, &check_total),
        figure("these 10,000 coins proven", &page, &prove_page),
        figure("the same checked", &page, &check_page),
    ])
}
