//! What is proven is what the naive model has, and no proof is larger than promised.

use cairn_core::primitives::amount::Amount;
use cairn_core::primitives::hash::Txid;
use cairn_core::primitives::tx::OutPoint;
use cairn_core::state::proof::{MAX_PROOF_BYTES, PAGE_COINS};
use cairn_core::state::{Key, KeyRange, Leaf, Table};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::model::{coins, id, leaf, lock, outpoint, some_leaf, some_range, table, within};

/// The proofs of a page, with its end, and of a total.
pub fn prove(table: &Table, range: &KeyRange) -> (Vec<u8>, Option<Key>, Vec<u8>) {
    table.with_source(|source| {
        let (page, end) = source.prove_page(range).unwrap();
        (page, end, source.prove_total(range).unwrap())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn pages_and_totals_are_what_the_state_has(
        leaves in vec(some_leaf(), 0..150),
        ranges in vec(some_range(), 1..8),
    ) {
        let coins = coins(leaves);
        let (id, table) = (id(&coins), table(&coins));
        for range in ranges {
            let (leaves, sum) = within(&coins, &range);
            let (page, end, total) = prove(&table, &range);
            let proven = id.total(&range, &total).unwrap();
            prop_assert_eq!((proven.sum.as_grains(), proven.count), (sum, leaves.len() as u64));
            let proven = id.page(&range, end.as_ref(), &page).unwrap();
            prop_assert_eq!((proven.leaves, proven.rest), (leaves, None));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Where two states differ by some coins, the nodes over a range tell exactly in which ranges they do.
    #[test]
    fn coins_are_compared_with_the_nodes_over_them(
        before in vec(some_leaf(), 0..120),
        gone in vec(any::<prop::sample::Index>(), 0..4),
        other in vec((any::<prop::sample::Index>(), 0..3), 0..2),
        come in vec(some_leaf(), 0..4),
        ranges in vec(some_range(), 1..12),
    ) {
        let before = coins(before);
        let mut now = before.clone();
        for index in gone.iter().filter(|_| !before.is_empty()) {
            now.remove(index.get(&before.keys().copied().collect::<Vec<_>>()));
        }
        for (index, part) in other.iter().filter(|_| !before.is_empty()) {
            if let Some(leaf) = now.get_mut(index.get(&before.keys().copied().collect::<Vec<_>>())) {
                match part {
                    0 => leaf.value = Amount::from_grains(leaf.value.as_grains() + 1),
                    1 => leaf.height = leaf.height.next(),
                    _ => leaf.coinbase ^= true,
                }
            }
        }
        now.extend(coins(come));
        let (id, table) = (id(&now), table(&now));
        for range in ranges.into_iter().chain([KeyRange::ALL]) {
            let [(old, _), (new, _)] = [&before, &now].map(|coins| within(coins, &range));
            let (_, _, proof) = prove(&table, &range);
            prop_assert_eq!(id.is_all_of(&range, &old, &proof), Ok(old == new), "{} and {} coins", old.len(), new.len());
            prop_assert_eq!(id.is_all_of(&range, &new, &proof), Ok(true));
            let turned: Vec<Leaf> = new.iter().rev().copied().collect();
            prop_assert_eq!(id.is_all_of(&range, &turned, &proof), Ok(new.len() < 2));
            let twice: Vec<Leaf> = new.iter().flat_map(|leaf| [*leaf; 2]).collect();
            prop_assert_eq!(id.is_all_of(&range, &twice, &proof), Ok(new.is_empty()));
        }
    }
}

/// A transaction's id as if it were drawn.
fn drawn(n: u32) -> OutPoint {
    OutPoint { txid: Txid::of(&n.to_le_bytes()), index: 0 }
}

/// Follows the pages of a range from one to the next, each checked by itself.
fn pages(table: &Table, id: &cairn_core::state::StateId, range: KeyRange) -> (Vec<Leaf>, Vec<usize>) {
    let (mut leaves, mut sizes, mut rest) = (Vec::new(), Vec::new(), Some(range));
    while let Some(range) = rest {
        let (proof, end, _) = prove(table, &range);
        let page = id.page(&range, end.as_ref(), &proof).unwrap();
        leaves.extend(page.leaves);
        sizes.push(proof.len());
        if let Some((left, at)) = page.rest.zip(page.split) {
            assert!(at > *left.first() && left.contains(&at), "it parts what is left");
            assert!(table.leaves().any(|leaf| leaf.key >= at && left.contains(&leaf.key)), "coins follow");
        }
        rest = page.rest;
    }
    (leaves, sizes)
}

/// `cargo test -p cairn-core --test state many -- --nocapture` shows what proofs about many coins take.
#[test]
fn a_lock_with_many_coins_has_pages_and_a_small_total() {
    let many = (0..100_000).map(|n| leaf(1, drawn(n), 1 + u64::from(n)));
    let others = (100_000..120_000).map(|n| leaf((2 + n % 200) as u8, drawn(n), 7));
    let coins = coins(many.chain(others));
    let (id, table) = (id(&coins), table(&coins));
    let range = KeyRange::lock(&lock(1));
    let (leaves, sizes) = pages(&table, &id, range);
    assert_eq!(leaves, within(&coins, &range).0);
    assert_eq!(sizes.len(), 100_000 / PAGE_COINS, "the last page is full, and is the last");
    assert!(sizes.iter().all(|size| *size < MAX_PROOF_BYTES), "{sizes:?}");
    assert_eq!(pages(&table, &id, KeyRange::ALL).0.len(), 120_000);

    let (_, _, proof) = prove(&table, &range);
    let total = id.total(&range, &proof).unwrap();
    assert_eq!((total.count, total.sum), (100_000, Amount::from_grains(5_000_050_000)));
    assert!(proof.len() < 2_000, "{} bytes", proof.len());

    let key = *leaves[54_321].key.as_bytes();
    let one = KeyRange::key(Key::from_bytes(key));
    let (single, _, _) = prove(&table, &one);
    assert_eq!(id.coin(one.first(), &single).unwrap(), Some(leaves[54_321]));
    assert!(single.len() < 1_300, "{} bytes", single.len());
    println!(
        "of 120,000 coins: one {} bytes; 100,000 of a lock: total {} bytes, pages {sizes:?}",
        single.len(),
        proof.len()
    );
}

#[test]
fn outputs_of_one_transaction_stand_by_their_index() {
    let coins = coins((0..300).map(|index| leaf(1, outpoint(5, index), u64::from(index) + 1)));
    let (id, table) = (id(&coins), table(&coins));
    let (leaves, _) = pages(&table, &id, KeyRange::lock(&lock(1)));
    let indices: Vec<u32> = leaves.iter().map(|leaf| leaf.key.outpoint().index).collect();
    assert_eq!(indices, (0..300).collect::<Vec<u32>>());
    for index in [0, 1, 254, 255, 256, 257, 299, 300, u32::MAX] {
        let key = Key::new(&lock(1), &outpoint(5, index));
        let (proof, _, _) = prove(&table, &KeyRange::key(key));
        let expected = (index < 300).then(|| leaf(1, outpoint(5, index), u64::from(index) + 1));
        assert_eq!(id.coin(&key, &proof).unwrap(), expected, "{index}");
    }
}

/// An attacker who makes transactions until their ids begin alike lengthens a path, and no more.
#[test]
fn alike_ids_make_a_longer_proof() {
    let alike = |bit: usize| {
        let mut txid = [0xa5; 32];
        txid[bit / 8] ^= 0x80 >> (bit % 8);
        leaf(1, OutPoint { txid: Txid::from_bytes(txid), index: 0 }, 1)
    };
    let victim = leaf(1, OutPoint { txid: Txid::from_bytes([0xa5; 32]), index: 0 }, 1);
    let sizes = [0, 40].map(|bits| {
        let coins = coins((0..bits).map(alike).chain([victim]));
        let (id, table) = (id(&coins), table(&coins));
        let (proof, _, _) = prove(&table, &KeyRange::key(victim.key));
        assert_eq!(id.coin(&victim.key, &proof).unwrap(), Some(victim));
        proof.len()
    });
    assert!(sizes[1] - sizes[0] <= 40 * 45, "{sizes:?}");
}

#[test]
fn a_coin_is_absent_only_under_the_lock_that_it_would_have() {
    let coins = coins([leaf(1, outpoint(1, 0), 5), leaf(2, outpoint(2, 0), 5)]);
    let (id, table) = (id(&coins), table(&coins));
    let shown = |owner, outpoint| {
        let key = Key::new(&lock(owner), &outpoint);
        let (proof, _, _) = prove(&table, &KeyRange::key(key));
        id.coin(&key, &proof).unwrap()
    };
    assert_eq!(shown(1, outpoint(1, 1)), None, "spent, or never made");
    assert_eq!(shown(2, outpoint(1, 0)), None, "which says nothing of the coin that another lock has");
    assert_eq!(shown(1, outpoint(1, 0)), Some(leaf(1, outpoint(1, 0), 5)));
}

#[test]
fn a_state_without_coins_proves_that_there_are_none() {
    let coins = coins([]);
    let (id, table) = (id(&coins), table(&coins));
    let (page, end, total) = prove(&table, &KeyRange::ALL);
    assert_eq!((page.len(), end, &page), (1, None, &total));
    assert!(id.page(&KeyRange::ALL, None, &page).unwrap().leaves.is_empty());
    assert_eq!(id.total(&KeyRange::ALL, &total).unwrap().count, 0);
}
