//! Every state over a handful of keys, every range between them, both questions: one proof for each, and no other passes.

use std::collections::BTreeSet;

use cairn_core::state::{Key, KeyRange, Leaf};

use crate::model::{Coins, coins, id, leaf, outpoint, table, within};
use crate::proofs::prove;

/// Coins whose keys part at a lock's bit, a transaction's first and last bits, and an index.
fn universe() -> [Leaf; 4] {
    [
        leaf(1, outpoint(0x00, 0), 3),
        leaf(1, outpoint(0x00, 256), 5),
        leaf(1, outpoint(0x80, 0), 8),
        leaf(2, outpoint(0x80, 1), 13),
    ]
}

fn states() -> impl Iterator<Item = Coins> {
    let universe = universe();
    (0..1 << universe.len())
        .map(move |set| coins((0..universe.len()).filter(|n| set >> n & 1 == 1).map(|n| universe[n])))
}

fn ranges() -> Vec<KeyRange> {
    let mut ends: Vec<Key> = universe().iter().map(|leaf| leaf.key).chain([Key::MIN, Key::MAX]).collect();
    ends.sort();
    let pairs = ends.iter().flat_map(|first| ends.iter().map(move |last| KeyRange::new(*first, *last)));
    pairs.flatten().collect()
}

#[test]
fn every_question_has_one_proof() {
    let ranges = ranges();
    assert_eq!(ranges.len(), 21);
    let (mut pages, mut totals) = (BTreeSet::new(), BTreeSet::new());
    for coins in states() {
        let table = table(&coins);
        for range in &ranges {
            let (page, end, total) = prove(&table, range);
            assert_eq!(end, None);
            pages.insert(page);
            totals.insert(total);
        }
    }
    let all: Vec<&Vec<u8>> = pages.union(&totals).collect();
    for coins in states() {
        let (id, table) = (id(&coins), table(&coins));
        for range in &ranges {
            let (leaves, sum) = within(&coins, range);
            let (page, _, total) = prove(&table, range);
            for proof in &all {
                match id.page(range, None, proof) {
                    Ok(shown) => assert_eq!((*proof, &shown.leaves), (&page, &leaves)),
                    Err(_) => assert_ne!(*proof, &page),
                }
                match id.total(range, proof) {
                    Ok(shown) => {
                        assert_eq!((*proof, shown.sum.as_grains(), shown.count), (&total, sum, leaves.len() as u64));
                    }
                    Err(_) => assert_ne!(*proof, &total),
                }
            }
        }
    }
}
