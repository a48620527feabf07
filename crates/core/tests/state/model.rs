//! The tree as the specification words it: recursive, from all coins at once, and without the crate's own nodes.

use std::collections::BTreeMap;

use cairn_core::consensus::coins::Coin;
use cairn_core::primitives::amount::Amount;
use cairn_core::primitives::hash::{BlockHash, Hash256, StateRoot, Txid};
use cairn_core::primitives::height::Height;
use cairn_core::primitives::keys::PublicKey;
use cairn_core::primitives::tx::{OutPoint, Output};
use cairn_core::state::{Key, KeyRange, Leaf, StateId, Table};
use proptest::prelude::*;

/// Coins by their keys, which is all that a state is.
pub type Coins = BTreeMap<Key, Leaf>;

pub const HEIGHT: Height = Height::from_u32(77);

pub fn block() -> BlockHash {
    BlockHash::of(b"the block")
}

pub fn lock(n: u8) -> PublicKey {
    PublicKey([n; 32])
}

pub fn outpoint(txid: u8, index: u32) -> OutPoint {
    OutPoint { txid: Txid::from_bytes([txid; 32]), index }
}

pub fn leaf(owner: u8, outpoint: OutPoint, value: u64) -> Leaf {
    let output = Output::pay(lock(owner), Amount::from_grains(value));
    Leaf::new(&outpoint, &Coin { output, height: Height::from_u32(9), coinbase: value.is_multiple_of(2) })
        .expect("an output under a key is a coin")
}

pub fn coins(leaves: impl IntoIterator<Item = Leaf>) -> Coins {
    leaves.into_iter().map(|leaf| (leaf.key, leaf)).collect()
}

pub fn table(coins: &Coins) -> Table {
    Table::new(coins.values().copied()).expect("few coins of little value")
}

pub fn id(coins: &Coins) -> StateId {
    StateId::new(HEIGHT, block(), table(coins).top())
}

/// The coins in a range, and what they come to.
pub fn within(coins: &Coins, range: &KeyRange) -> (Vec<Leaf>, u64) {
    let leaves: Vec<Leaf> = coins.values().filter(|leaf| range.contains(&leaf.key)).copied().collect();
    let sum = leaves.iter().map(|leaf| leaf.value.as_grains()).sum();
    (leaves, sum)
}

/// Digest, sum and count.
type Triple = ([u8; 32], u64, u64);

fn bit(key: &Key, place: usize) -> bool {
    key.as_bytes()[place / 8] >> (7 - place % 8) & 1 == 1
}

fn put(bytes: &mut Vec<u8>, (digest, sum, count): Triple) {
    bytes.extend(digest);
    bytes.extend(sum.to_le_bytes());
    bytes.extend(count.to_le_bytes());
}

fn node(leaves: &[Leaf]) -> Triple {
    let (sum, count) = (leaves.iter().map(|leaf| leaf.value.as_grains()).sum(), leaves.len() as u64);
    let mut bytes = Vec::new();
    if let [leaf] = leaves {
        bytes.push(0x10);
        bytes.extend(leaf.key.as_bytes());
        bytes.extend(leaf.value.as_grains().to_le_bytes());
        bytes.extend(leaf.height.as_u32().to_le_bytes());
        bytes.push(leaf.coinbase.into());
    } else {
        let (first, last) = (&leaves[0].key, &leaves[leaves.len() - 1].key);
        let common = (0..).find(|place| bit(first, *place) != bit(last, *place)).expect("keys differ");
        bytes.push(0x11);
        bytes.extend((common as u16).to_le_bytes());
        for byte in 0..common.div_ceil(8) {
            let bits = (8 * byte..8 * byte + 8).map(|place| place < common && bit(first, place));
            bytes.push(bits.fold(0, |byte, bit| byte << 1 | u8::from(bit)));
        }
        let (left, right): (Vec<Leaf>, Vec<Leaf>) = leaves.iter().partition(|leaf| !bit(&leaf.key, common));
        put(&mut bytes, node(&left));
        put(&mut bytes, node(&right));
    }
    (Hash256::of(&bytes).to_bytes(), sum, count)
}

/// The state root over coins in the order of their keys.
pub fn root(coins: &Coins) -> StateRoot {
    let leaves: Vec<Leaf> = coins.values().copied().collect();
    let mut bytes = vec![0x12];
    bytes.extend(HEIGHT.as_u32().to_le_bytes());
    bytes.extend(block().to_bytes());
    put(&mut bytes, if leaves.is_empty() { ([0; 32], 0, 0) } else { node(&leaves) });
    StateRoot::of(&bytes)
}

/// Coins of few locks and transactions, so that keys share many bits, or few.
pub fn some_leaf() -> impl Strategy<Value = Leaf> {
    let index = prop_oneof![Just(0), Just(1), Just(255), Just(256), Just(u32::MAX), any::<u32>()];
    (0u8..4, prop_oneof![0u8..4, any::<u8>()], index, 1u64..1_000)
        .prop_map(|(owner, txid, index, value)| leaf(owner, outpoint(txid, index), value))
}

/// Ranges that begin and end at coins, beside them, or at neither.
pub fn some_range() -> impl Strategy<Value = KeyRange> {
    let lock = (0u8..5).prop_map(|owner| KeyRange::lock(&lock(owner)));
    let key = some_leaf().prop_map(|leaf| KeyRange::key(leaf.key));
    let any = (some_leaf(), some_leaf())
        .prop_map(|(a, b)| KeyRange::new(a.key.min(b.key), a.key.max(b.key)).expect("the first is not after the last"));
    prop_oneof![lock, key, any, Just(KeyRange::ALL)]
}
