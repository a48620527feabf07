//! Short encodings of what the store has most of: numbers that are mostly small, coins, outpoints.

use crate::consensus::coins::Coin;
use crate::primitives::amount::Amount;
use crate::primitives::hash::Txid;
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::tx::{Lock, OutPoint, Output};

/// From this on the first byte of an ordered number says how many bytes follow.
const FOLLOWED: u8 = 0xf8;

/// Appends a number: 7 bits a byte, the lowest first, and the highest bit says that more follow.
pub(super) fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Reads what [`put_number`] wrote.
pub(super) fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = *bytes.split_off_first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// Appends a number such that the order of the bytes is that of the numbers: one byte below [`FOLLOWED`], else how many bytes
/// follow, and these, big-endian.
pub(super) fn put_ordered(bytes: &mut Vec<u8>, number: u64) {
    if number < FOLLOWED.into() {
        return bytes.push(number as u8);
    }
    let zeros = number.leading_zeros() as usize / 8;
    bytes.push(FOLLOWED + (7 - zeros) as u8);
    bytes.extend_from_slice(&number.to_be_bytes()[zeros..]);
}

/// Reads what [`put_ordered`] wrote.
pub(super) fn ordered(bytes: &mut &[u8]) -> Option<u64> {
    let first = *bytes.split_off_first()?;
    let Some(follow) = first.checked_sub(FOLLOWED) else { return Some(first.into()) };
    let follow = bytes.split_off(..=usize::from(follow))?;
    Some(follow.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// A little-endian number without the zeros at its end.
pub(super) fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().rev().take_while(|byte| **byte == 0).count();
    &number[..number.len() - zeros]
}

/// A little-endian number with zeros at its end; `None` if it is longer.
pub(super) fn padded<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    let mut number = [0; N];
    number.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(number)
}

/// An outpoint in the order of outpoints.
pub(super) fn outpoint_bytes(outpoint: &OutPoint) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(37);
    bytes.extend_from_slice(outpoint.txid.as_bytes());
    put_ordered(&mut bytes, outpoint.index.into());
    bytes
}

/// Reads what [`outpoint_bytes`] wrote.
pub(super) fn outpoint_at(mut bytes: &[u8]) -> Option<OutPoint> {
    let txid = Txid::from_bytes(*bytes.split_off(..32)?.first_chunk()?);
    let index = ordered(&mut bytes)?.try_into().ok()?;
    bytes.is_empty().then_some(OutPoint { txid, index })
}

/// Appends a coin: 1 for a coinbase's, and 2 for data; its key, or the length of the data and these; its value; its height. What
/// coins have in common comes first, since a page has that once.
pub(super) fn put_coin(bytes: &mut Vec<u8>, Coin { output: Output { value, lock }, height, coinbase }: &Coin) {
    let is_data = matches!(lock, Lock::Data(_));
    bytes.push(u8::from(is_data) << 1 | u8::from(*coinbase));
    match lock {
        Lock::Key(key) => bytes.extend_from_slice(&key.0),
        Lock::Data(data) => {
            put_number(bytes, data.len() as u64);
            bytes.extend_from_slice(data);
        }
    }
    put_number(bytes, value.as_grains());
    put_number(bytes, height.as_u32().into());
}

/// Reads what [`put_coin`] wrote.
pub(super) fn coin(bytes: &mut &[u8]) -> Option<Coin> {
    let kind = *bytes.split_off_first().filter(|kind| **kind < 4)?;
    let lock = if kind & 2 == 0 {
        Lock::Key(PublicKey(*bytes.split_off(..32)?.first_chunk()?))
    } else {
        let length = number(bytes)?.try_into().ok()?;
        Lock::Data(bytes.split_off(..length)?.to_vec())
    };
    let value = Amount::from_grains(number(bytes)?);
    let height = Height::from_u32(number(bytes)?.try_into().ok()?);
    Some(Coin { output: Output { value, lock }, height, coinbase: kind & 1 == 1 })
}

/// The only coin in `bytes`.
pub(super) fn one_coin(mut bytes: &[u8]) -> Option<Coin> {
    coin(&mut bytes).filter(|_| bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0..64u32).prop_map(|(number, shift)| number >> shift)
    }

    fn ordered_bytes(number: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_ordered(&mut bytes, number);
        bytes
    }

    proptest! {
        #[test]
        fn numbers_come_back_and_ordered_ones_keep_their_order(a in numbers(), b in numbers()) {
            let (mut plain, mut in_order) = (Vec::new(), ordered_bytes(a));
            put_number(&mut plain, a);
            put_number(&mut plain, b);
            prop_assert_eq!(ordered_bytes(a).cmp(&ordered_bytes(b)), a.cmp(&b));
            put_ordered(&mut in_order, b);
            let (mut plain, mut in_order) = (&plain[..], &in_order[..]);
            prop_assert_eq!((number(&mut plain), number(&mut plain), plain), (Some(a), Some(b), &[][..]));
            prop_assert_eq!((ordered(&mut in_order), ordered(&mut in_order), in_order), (Some(a), Some(b), &[][..]));
        }

        #[test]
        fn coins_and_outpoints_come_back(
            (value, height, coinbase, index) in (numbers(), any::<u32>(), any::<bool>(), any::<u32>()),
            data in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
        ) {
            let lock = data.map_or(Lock::Key(PublicKey([7; 32])), Lock::Data);
            let output = Output { value: Amount::from_grains(value), lock };
            let sound = Coin { output, height: Height::from_u32(height), coinbase };
            let mut bytes = Vec::new();
            put_coin(&mut bytes, &sound);
            prop_assert_eq!(one_coin(&bytes), Some(sound.clone()));
            prop_assert_eq!(one_coin(&bytes[..bytes.len() - 1]), None);
            put_coin(&mut bytes, &sound);
            prop_assert_eq!(one_coin(&bytes), None, "two coins");
            let outpoint = OutPoint { txid: Txid::of(&bytes), index };
            prop_assert_eq!(outpoint_at(&outpoint_bytes(&outpoint)), Some(outpoint));
        }
    }

    #[test]
    fn what_is_cut_or_too_long_is_no_number() {
        for bytes in [&[][..], &[0x80], &[0xff; 10]] {
            assert_eq!(number(&mut &bytes[..]), None);
        }
        for bytes in [&[][..], &[0xf8], &[0xff, 1, 2, 3, 4, 5, 6, 7]] {
            assert_eq!(ordered(&mut &bytes[..]), None);
        }
        assert_eq!((ordered_bytes(0xf7), ordered_bytes(0xf8)), (vec![0xf7], vec![0xf8, 0xf8]));
        assert_eq!(ordered_bytes(u64::MAX), [0xff; 9]);
    }
}
