//! The tree follows from the coins alone, however they came.

use std::convert::Infallible;

use cairn_core::consensus::coins::{Coin, Delta};
use cairn_core::primitives::amount::Amount;
use cairn_core::primitives::hash::Hash256;
use cairn_core::primitives::tx::Output;
use cairn_core::state::node::Overflow;
use cairn_core::state::{
    BuildError, Builder, Change, Changes, Halves, Inner, Node, Prefix, StateId, Table, Update, UpdateError,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::model::{Coins, HEIGHT, block, coins, id, leaf, outpoint, root, some_leaf, table};

/// What turns the coins `from` into `to`.
fn changes(from: &Coins, to: &Coins) -> Changes {
    let mut changes = Changes::default();
    from.values().filter(|leaf| to.get(&leaf.key) != Some(leaf)).for_each(|leaf| changes.spend(*leaf));
    to.values().filter(|leaf| !from.contains_key(&leaf.key)).for_each(|leaf| changes.make(*leaf));
    changes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn its_root_is_that_of_the_naive_tree(leaves in vec(some_leaf(), 0..150)) {
        let coins = coins(leaves);
        prop_assert_eq!(id(&coins).root, root(&coins));
    }

    /// Blocks that make and spend coins, one after another and back again.
    #[test]
    fn changes_lead_where_building_anew_does(states in vec(vec(some_leaf(), 0..150), 1..6)) {
        let mut now = Coins::new();
        let mut grown = Table::default();
        let mut undone = Vec::new();
        for next in states {
            // A coin that stays keeps its value: the same key is never made twice.
            let next = coins(next.into_iter().map(|leaf| *now.get(&leaf.key).unwrap_or(&leaf)));
            let changes = changes(&now, &next);
            let before = grown.clone();
            let update = before.with_source(|source| Update::new(source, &changes)).unwrap();
            if let Some(halves) = before.with_source(|source| Halves::new(source, &changes)).unwrap() {
                let half = |right| before.with_source(|source| halves.half(source, right)).unwrap();
                let (left, right) = (half(false), half(true));
                prop_assert_eq!(halves.join::<Infallible>(left, right).unwrap(), update);
            }
            grown.apply(&changes).unwrap();
            prop_assert_eq!(&grown, &table(&next), "coins, records and top");
            prop_assert_eq!(StateId::new(HEIGHT, block(), grown.top()).root, root(&next));
            undone.push((changes.reversed(), before));
            now = next;
        }
        for (changes, before) in undone.into_iter().rev() {
            grown.apply(&changes).unwrap();
            prop_assert_eq!(&grown, &before);
        }
    }

    /// A subtree stands for its coins: cut anywhere into subtrees, the tree is the same.
    #[test]
    fn subtrees_build_the_same_tree(leaves in vec(some_leaf(), 1..80), bits in 0u16..300) {
        let coins = coins(leaves);
        let mut builder = Builder::new(|_: &Inner, _: &Node| ());
        let all: Vec<_> = coins.values().collect();
        for group in all.chunk_by(|a, b| a.key.common_bits(&b.key) >= bits) {
            let part = table(&group.iter().map(|leaf| (leaf.key, **leaf)).collect());
            builder.push(Prefix::of(&group[0].key, bits), *part.top().unwrap()).unwrap();
        }
        prop_assert_eq!(builder.finish().unwrap(), table(&coins).top().copied());
    }
}

#[test]
fn what_is_made_and_spent_within_blocks_leaves_no_change() {
    let coin = |value| Coin {
        output: Output::pay(crate::model::lock(1), Amount::from_grains(value)),
        height: HEIGHT,
        coinbase: false,
    };
    let (kept, passing) = ((outpoint(1, 0), coin(5)), (outpoint(2, 0), coin(6)));
    let data = (outpoint(3, 0), Coin { output: Output::data(vec![1]), ..coin(0) });
    let first = Delta { created: vec![kept.clone(), passing.clone(), data], spent: vec![], fees: Amount::ZERO };
    let second = Delta { created: vec![], spent: vec![passing], fees: Amount::ZERO };
    let mut changes = Changes::default();
    changes.apply(&first);
    changes.apply(&second);
    let only: Vec<&Change> = changes.iter().map(|(_, change)| change).collect();
    assert!(matches!(only[..], [Change::Made(leaf)] if leaf.coin() == kept), "{only:?}");
    changes.undo(&second);
    changes.undo(&first);
    assert!(changes.is_empty());
}

#[test]
fn changes_of_another_state_change_nothing() {
    let held = coins((0..100).map(|n| leaf(1, outpoint(n, 0), 10)));
    let there = held.values().next().unwrap();
    let mut table = table(&held);
    let before = table.clone();
    let absent = leaf(1, outpoint(200, 0), 10);
    for (change, expected) in [
        (Change::Made(*there), UpdateError::Present { key: there.key }),
        (Change::Spent(absent), UpdateError::Missing { key: absent.key }),
        (Change::Spent(leaf(1, there.key.outpoint(), 11)), UpdateError::Missing { key: there.key }),
    ] {
        let mut changes = Changes::default();
        match change {
            Change::Made(leaf) => changes.make(leaf),
            Change::Spent(leaf) => changes.spend(leaf),
        }
        changes.make(leaf(2, outpoint(1, 1), 1));
        assert_eq!(table.apply(&changes), Err(expected));
        assert_eq!(table, before);
    }
}

#[test]
fn no_more_is_built_than_there_can_be() {
    let place = |n: u8| Prefix::whole(leaf(1, outpoint(n, 0), 1).key);
    let node = |sum: Amount, count| Node { digest: Hash256::of(b"coins"), sum, count };
    let build = |left, right| {
        let mut builder = Builder::new(|_: &Inner, _: &Node| ());
        builder.push(place(1), left).unwrap();
        builder.push(place(2), right).and_then(|()| builder.finish())
    };
    let one = Amount::from_grains(1);
    let most = Amount::from_grains(Amount::MAX.as_grains() - 1);
    assert!(build(node(most, 1), node(one, 1)).is_ok());
    let sum = build(node(Amount::MAX, 1), node(one, 1));
    assert_eq!(sum, Err(BuildError::Overflow(Overflow::Sum { left: Amount::MAX, right: one })));
    assert!(build(node(one, Node::MAX_COUNT - 1), node(one, 1)).is_ok());
    let count = build(node(one, Node::MAX_COUNT), node(one, 1));
    assert_eq!(count, Err(BuildError::Overflow(Overflow::Count { left: Node::MAX_COUNT, right: 1 })));
    let mut builder = Builder::new(|_: &Inner, _: &Node| ());
    builder.push(place(2), node(one, 1)).unwrap();
    for next in [place(1), place(2), Prefix::ALL] {
        assert!(matches!(builder.push(next, node(one, 1)), Err(BuildError::Unordered { .. })), "{next:?}");
    }
}
