//! What proofs must be refused for, and the reason given.

use cairn_core::primitives::amount::Amount;
use cairn_core::primitives::hash::{BlockHash, Hash256};
use cairn_core::primitives::height::Height;
use cairn_core::state::node::Overflow;
use cairn_core::state::proof::{MAX_PROOF_BYTES, Malformed, PAGE_COINS};
use cairn_core::state::{Key, KeyRange, Leaf, StateId, StateProofError as Error};
use unsigned_varint::encode;

use crate::model::{HEIGHT, block, coins, id, leaf, lock, outpoint, table};
use crate::proofs::prove;

fn number(n: u64) -> Vec<u8> {
    encode::u64(n, &mut encode::u64_buffer()).to_vec()
}

/// A coin as a proof shows it, with its lock or without.
fn shown(leaf: &Leaf, with_lock: bool) -> Vec<u8> {
    let outpoint = leaf.key.outpoint();
    let mut bytes = if with_lock { [&[4], &leaf.lock.0[..]].concat() } else { vec![5] };
    bytes.extend(outpoint.txid.as_bytes());
    bytes.extend(number(outpoint.index.into()));
    bytes.extend(number(leaf.value.as_grains()));
    bytes.extend(number(u64::from(leaf.height.as_u32()) << 1 | u64::from(leaf.coinbase)));
    bytes
}

fn hidden(digest: &Hash256, sum: u64, count: u64) -> Vec<u8> {
    [&[1], &digest.as_bytes()[..], &number(sum), &number(count)].concat()
}

fn replaced(proof: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let at = proof.windows(from.len()).position(|part| part == from).expect("it is shown");
    [&proof[..at], to, &proof[at + from.len()..]].concat()
}

#[test]
fn a_coin_left_out_is_missed_wherever_it_stands() {
    let coins = coins((1..=9).map(|n| leaf(1, outpoint(n, 0), n.into())));
    let (id, table, range) = (id(&coins), table(&coins), KeyRange::lock(&lock(1)));
    let (page, _, _) = prove(&table, &range);
    let leaves: Vec<Leaf> = coins.values().copied().collect();
    for (place, left_out) in leaves.iter().enumerate() {
        let node = left_out.node();
        let hidden = hidden(&node.digest, node.sum.as_grains(), 1);
        let mut proof = replaced(&page, &shown(left_out, place == 0), &hidden);
        if place == 0 {
            proof = replaced(&proof, &shown(&leaves[1], false), &shown(&leaves[1], true));
        }
        let verdict = id.page(&range, None, &proof);
        assert!(matches!(verdict, Err(Error::Withheld { .. })), "coin {place}: {verdict:?}");
        // And as if it had never been there.
        let mut fewer = coins.clone();
        fewer.remove(&left_out.key);
        let (without, _, _) = prove(&crate::model::table(&fewer), &range);
        let verdict = id.page(&range, None, &without);
        assert!(matches!(verdict, Err(Error::WrongRoot { .. })), "coin {place}: {verdict:?}");
    }
}

#[test]
fn a_total_hides_nothing_that_is_half_inside() {
    let coins = coins((1..=9).map(|n| leaf(1, outpoint(n, 0), n.into())));
    let (id, table) = (id(&coins), table(&coins));
    let keys: Vec<Key> = coins.keys().copied().collect();
    let range = KeyRange::new(keys[2], keys[6]).unwrap();
    let top = table.top().unwrap();
    let verdict = id.total(&range, &hidden(&top.digest, top.sum.as_grains(), top.count));
    assert!(matches!(verdict, Err(Error::Withheld { .. })), "{verdict:?}");
    // What may be hidden must be, or the question would have two proofs.
    let (page, _, _) = prove(&table, &KeyRange::ALL);
    let verdict = id.total(&KeyRange::ALL, &page);
    assert!(matches!(verdict, Err(Error::Superfluous { .. })), "{verdict:?}");
}

#[test]
fn another_block_height_or_root_is_another_state() {
    let coins = coins((1..=9).map(|n| leaf(1, outpoint(n, 0), n.into())));
    let (held, table) = (id(&coins), table(&coins));
    let (page, _, total) = prove(&table, &KeyRange::ALL);
    for other in [
        StateId { height: Height::from_u32(78), ..held },
        StateId { block: BlockHash::of(b"a block of a branch"), ..held },
        StateId::new(HEIGHT, block(), None),
    ] {
        assert!(matches!(other.page(&KeyRange::ALL, None, &page), Err(Error::WrongRoot { .. })));
        assert!(matches!(other.total(&KeyRange::ALL, &total), Err(Error::WrongRoot { .. })));
        assert!(matches!(held.page(&KeyRange::ALL, None, &[0]), Err(Error::WrongRoot { .. })));
    }
}

#[test]
fn no_flipped_bit_and_no_other_length_passes() {
    let coins = coins((0..60).map(|n| leaf(1 + n % 3, outpoint(n, u32::from(n) << 6), 100 + u64::from(n))));
    let (id, table) = (id(&coins), table(&coins));
    for range in [KeyRange::lock(&lock(2)), KeyRange::ALL, KeyRange::key(Key::new(&lock(2), &outpoint(1, 0)))] {
        let (page, _, total) = prove(&table, &range);
        let page_passes = |proof: &[u8]| id.page(&range, None, proof).is_ok();
        let total_passes = |proof: &[u8]| id.total(&range, proof).is_ok();
        for (proof, passes) in [(page, &page_passes as &dyn Fn(&[u8]) -> bool), (total, &total_passes)] {
            assert!(passes(&proof));
            let mut flipped = proof.clone();
            for bit in 0..proof.len() * 8 {
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert!(!passes(&flipped), "bit {bit} of {range:?}");
                flipped[bit / 8] = proof[bit / 8];
            }
            assert!((0..proof.len()).all(|length| !passes(&proof[..length])));
            assert!(!passes(&[&proof[..], &[0]].concat()));
        }
    }
}

#[test]
fn layouts_are_read_in_one_form_only() {
    let coins = coins([leaf(1, outpoint(1, 0), 5), leaf(1, outpoint(2, 0), 6)]);
    let (id, all) = (id(&coins), KeyRange::ALL);
    let (page, _, _) = prove(&table(&coins), &all);
    let page_of = |proof: &[u8]| id.page(&all, None, proof).unwrap_err();
    let [first, second] = [1, 2].map(|n| leaf(1, outpoint(n, 0), 4 + u64::from(n)));
    let zeros = [0; 32];
    let stub = |len: u64, bits: &[u8]| {
        let node = |sum| [&zeros[..], &number(sum), &number(1)].concat();
        [&[2], &number(len)[..], bits, &node(1), &node(1)].concat()
    };
    let cases: [(&str, Vec<u8>, Error); 11] = [
        ("nothing", vec![], Malformed::Short.into()),
        ("no node", vec![6], Malformed::Tag { got: 6 }.into()),
        ("more", [&page[..], &[0, 0]].concat(), Malformed::Trailing { bytes: 2 }.into()),
        ("a lock twice", replaced(&page, &shown(&second, false), &shown(&second, true)), Malformed::Lock.into()),
        ("no lock", replaced(&page, &shown(&first, true), &shown(&first, false)), Malformed::Lock.into()),
        ("a long number", replaced(&page, &shown(&second, false)[33..], &[0x80, 0, 6, 19]), Malformed::Number.into()),
        ("too many bits", vec![3, 0xa0, 4], Malformed::Number.into()),
        ("a node of no coins", hidden(&Hash256::from_bytes([0; 32]), 0, 0), Malformed::Number.into()),
        (
            "more than there is",
            hidden(&Hash256::from_bytes([0; 32]), Amount::MAX.as_grains() + 1, 1),
            Malformed::Number.into(),
        ),
        ("spare bits", stub(3, &[0xff]), Malformed::SpareBits { len: 3 }.into()),
        ("too large", vec![3; MAX_PROOF_BYTES + 1], Error::TooLarge { got: MAX_PROOF_BYTES + 1, max: MAX_PROOF_BYTES }),
    ];
    for (name, proof, expected) in cases {
        assert_eq!(page_of(&proof), expected, "{name}");
    }
}

#[test]
fn shapes_that_are_no_tree_are_refused() {
    let coins = coins([leaf(1, outpoint(1, 0), 5), leaf(1, outpoint(2, 0), 6)]);
    let (id, all) = (id(&coins), KeyRange::ALL);
    let [first, second] = [1, 2].map(|n| leaf(1, outpoint(n, 0), 4 + u64::from(n)));
    let inner = |len: u64, left: &[u8], right: &[u8]| [&[3], &number(len)[..], left, right].concat();
    let verdict = |proof: &[u8]| id.page(&all, None, proof).unwrap_err();
    let (a, b) = (shown(&first, true), shown(&second, false));
    // The ids 01… and 02… part after 256 + 6 bits.
    assert!(id.page(&all, None, &inner(262, &a, &b)).is_ok());
    assert!(matches!(verdict(&inner(261, &a, &b)), Error::Misplaced { .. }));
    assert!(matches!(verdict(&inner(262, &shown(&second, true), &shown(&first, false))), Error::Misplaced { .. }));
    assert!(matches!(verdict(&inner(262, &a, &shown(&first, false))), Error::Misplaced { .. }));
    let hidden = hidden(&Hash256::from_bytes([0; 32]), 1, 1);
    assert_eq!(verdict(&inner(262, &hidden, &hidden)), Error::NoPrefix { len: 262 });
    let deep: Vec<u8> = (0..=545).flat_map(|_| [3, 0]).collect();
    assert_eq!(verdict(&deep), Error::TooDeep { max: 544 });
}

#[test]
fn sums_do_not_overflow() {
    let id = id(&coins([]));
    let zeros = [0; 32];
    let node = |sum: u64, count: u64| [&zeros[..], &number(sum), &number(count)].concat();
    let stub = |left: &[u8], right: &[u8]| [&[2, 0], left, right].concat();
    // To neither side does anything in this range belong.
    let far = KeyRange::key(Key::MAX);
    let most = Amount::MAX.as_grains();
    let over = stub(&node(most, 1), &node(1, 1));
    let verdict = id.total(&KeyRange::new(Key::MIN, Key::MIN).unwrap(), &over);
    assert!(matches!(verdict, Err(Error::Withheld { .. })), "{verdict:?}");
    let half = KeyRange::new(cairn_core::state::Prefix::ALL.child(true).first().to_owned(), Key::MAX).unwrap();
    let with_left_hidden = |left: &[u8], right: &[u8]| stub(left, right);
    let verdict = id.total(&half, &with_left_hidden(&node(most, 1), &node(1, 1)));
    let expected = Overflow::Sum { left: Amount::MAX, right: Amount::from_grains(1) };
    assert_eq!(verdict, Err(Error::Overflow(expected)));
    let verdict = id.total(&half, &with_left_hidden(&node(1, (1 << 40) - 1), &node(1, 1)));
    assert_eq!(verdict, Err(Error::Overflow(Overflow::Count { left: (1 << 40) - 1, right: 1 })));
    assert!(matches!(id.total(&far, &over), Err(Error::Withheld { .. })));
}

#[test]
fn pages_end_where_they_say() {
    let coins = coins((0..PAGE_COINS as u32 + 5).map(|n| {
        let txid = cairn_core::primitives::hash::Txid::of(&n.to_le_bytes());
        leaf(1, cairn_core::primitives::tx::OutPoint { txid, index: 0 }, 1)
    }));
    let (id, table, range) = (id(&coins), table(&coins), KeyRange::lock(&lock(1)));
    let (proof, end, _) = prove(&table, &range);
    let end = end.expect("there is more than a page");
    assert!(id.page(&range, Some(&end), &proof).is_ok());
    // A prover cannot pass a page off as the last, nor end it early.
    assert!(matches!(id.page(&range, None, &proof), Err(Error::Withheld { .. })));
    let early = *coins.keys().nth(PAGE_COINS - 2).unwrap();
    let part = KeyRange::new(*range.first(), early).unwrap();
    let (short, _, _) = prove(&table, &part);
    let expected = Error::PageLength { got: PAGE_COINS - 1, expected: PAGE_COINS };
    assert_eq!(id.page(&range, Some(&early), &short), Err(expected));
    let beside = end.next().unwrap();
    let (beside_proof, _, _) = prove(&table, &KeyRange::new(*range.first(), beside).unwrap());
    assert_eq!(id.page(&range, Some(&beside), &beside_proof), Err(Error::PageEnd { end: beside }));
    assert_eq!(id.page(&range, Some(&Key::MAX), &proof), Err(Error::PageEnd { end: Key::MAX }));
    assert_eq!(id.page(&range, Some(&Key::MIN), &proof), Err(Error::PageEnd { end: Key::MIN }));
}
