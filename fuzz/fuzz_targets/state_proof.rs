//! Any bytes as proofs about a state: what passes is the one proof that the state gives, and says what the state has.

#![no_main]

use std::sync::LazyLock;

use cairn::consensus::coins::Coin;
use cairn::primitives::amount::Amount;
use cairn::primitives::hash::{BlockHash, Txid};
use cairn::primitives::height::Height;
use cairn::primitives::keys::PublicKey;
use cairn::primitives::tx::{OutPoint, Output};
use cairn::state::{Key, KeyRange, Leaf, StateId, Table};
use cairn_fuzz::seed;
use libfuzzer_sys::fuzz_target;

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let coin = |n: u32| Coin {
        output: Output::pay(PublicKey([(n % 3) as u8; 32]), Amount::from_grains(u64::from(n) + 1)),
        height: Height::from_u32(n / 4),
        coinbase: n.is_multiple_of(5),
    };
    let outpoint = |n: u32| OutPoint { txid: Txid::of(&(n / 2).to_le_bytes()), index: n };
    Table::new((0..50).filter_map(|n| Leaf::new(&outpoint(n), &coin(n)))).expect("few coins of little value")
});

static ID: LazyLock<StateId> =
    LazyLock::new(|| StateId::new(Height::from_u32(12), BlockHash::of(b"its block"), TABLE.top()));

/// All coins, those of one lock, one coin, and none.
static RANGES: LazyLock<[KeyRange; 4]> = LazyLock::new(|| {
    let lock = KeyRange::lock(&PublicKey([1; 32]));
    let coin = TABLE.leaves().find(|leaf| lock.contains(&leaf.key)).expect("the lock has coins");
    [KeyRange::ALL, lock, KeyRange::key(coin.key), KeyRange::key(Key::MIN)]
});

/// The proofs of a page and of a total.
fn proofs(range: &KeyRange) -> [Vec<u8>; 2] {
    TABLE.with_source(|source| {
        let (page, _) = source.prove_page(range).expect("the table is whole");
        [page, source.prove_total(range).expect("the table is whole")]
    })
}

fn seeds() {
    seed("state_proof", RANGES.iter().flat_map(proofs));
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    for range in RANGES.iter() {
        let leaves = || TABLE.leaves().filter(|leaf| range.contains(&leaf.key));
        if let Ok(page) = ID.page(range, None, bytes) {
            assert_eq!(proofs(range)[0], bytes);
            assert!(page.rest.is_none() && page.leaves.iter().eq(leaves()));
        }
        let own: Vec<Leaf> = leaves().copied().collect();
        assert_eq!(ID.is_all_of(range, &own, bytes).is_ok_and(|is_all| is_all), proofs(range)[1] == bytes);
        if let Ok(total) = ID.total(range, bytes) {
            assert_eq!(proofs(range)[1], bytes);
            assert_eq!(total.count, leaves().count() as u64);
            assert_eq!(total.sum, Amount::saturating_sum(leaves().map(|leaf| leaf.value)));
        }
    }
});
