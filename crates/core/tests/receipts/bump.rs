//! BUMPs of receipts, read by a reader of the format's own words.

use std::collections::BTreeMap;

use cairn_core::primitives::hash::{Hash256, MerkleRoot, Txid};
use cairn_core::primitives::time::UnixTime;

use cairn_testkit::forge::{Fault, Forge, params};

fn number(bytes: &mut &[u8]) -> Option<u64> {
    let (first, rest) = bytes.split_first()?;
    let length = match first {
        0xfd => 2,
        0xfe => 4,
        0xff => 8,
        small => {
            *bytes = rest;
            return Some(u64::from(*small));
        }
    };
    let (value, rest) = rest.split_at_checked(length)?;
    *bytes = rest;
    Some(value.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

/// The height, the id that the path is for, and the root that it leads to.
fn read(mut bytes: &[u8]) -> Option<(u64, Txid, MerkleRoot)> {
    let (height, levels) = (number(&mut bytes)?, number(&mut bytes)?);
    let mut path = Vec::new();
    let mut client = None;
    for level in 0..levels {
        let mut hashes = BTreeMap::new();
        for _ in 0..number(&mut bytes)? {
            let position = number(&mut bytes)?;
            let (flags, rest) = bytes.split_first()?;
            bytes = rest;
            if *flags > 2 {
                return None;
            }
            let hash = if *flags == 1 {
                None
            } else {
                let (hash, rest) = bytes.split_at_checked(32)?;
                bytes = rest;
                Some(Hash256::from_bytes(hash.try_into().ok()?))
            };
            if *flags == 2 && level == 0 {
                client = Some((position, hash?));
            }
            hashes.insert(position, hash);
        }
        path.push(hashes);
    }
    if !bytes.is_empty() {
        return None;
    }
    let (mut position, leaf) = client?;
    let mut node = leaf;
    for hashes in &path {
        let Some(sibling) = hashes.get(&(position ^ 1)) else {
            // A block of one transaction.
            let is_alone = path.len() == 1 && hashes.len() == 1 && position == 0;
            return is_alone
                .then(|| (height, Txid::from_bytes(leaf.to_bytes()), MerkleRoot::from_bytes(node.to_bytes())));
        };
        let sibling = sibling.unwrap_or(node);
        node = if position & 1 == 0 { Hash256::of_pair(&node, &sibling) } else { Hash256::of_pair(&sibling, &node) };
        position >>= 1;
    }
    Some((height, Txid::from_bytes(leaf.to_bytes()), MerkleRoot::from_bytes(node.to_bytes())))
}

#[test]
fn a_bump_leads_to_the_root_in_the_header() {
    let mut forge = Forge::honest(params(), 5);
    for count in [0, 1, 2, 4, 6, 7] {
        forge.add_payments(count);
        let height = forge.height();
        forge.add(Fault::None);
        let receipt = forge.whole(height);
        let header = receipt.verify(&forge.params, None, UnixTime::from_secs(u64::MAX)).unwrap().header;
        let bump = receipt.to_bump();
        let expected = (u64::from(height.as_u32()), receipt.transaction.txid(), header.merkle_root);
        assert_eq!(read(&bump), Some(expected), "{count}");
        for place in 0..bump.len() {
            let mut flipped = bump.clone();
            flipped[place] ^= 4;
            assert_ne!(read(&flipped), Some(expected), "byte {place}");
        }
    }
}
