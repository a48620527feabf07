//! CAR export: read back with nothing but CIDs and hashes, as IPLD tools do.

use std::collections::BTreeMap;

use cairn_core::primitives::codec;
use cairn_core::primitives::hash::Hash256;
use cairn_core::primitives::height::Height;
use cairn_core::primitives::time::UnixTime;
use cairn_core::primitives::tx::Transaction;
use cairn_core::receipt::Receipt;
use cairn_core::receipt::car::root;
use cairn_testkit::forge::{Fault, Forge, params};
use cid::Cid;

/// Multicodec and multihash codes.
const BITCOIN_BLOCK: u64 = 0xb0;
const BITCOIN_TX: u64 = 0xb1;
const DBL_SHA2_256: u64 = 0x56;

/// The root and the blocks of a CAR, each checked against its CID; `None` if one does not fit.
fn read(car: &[u8]) -> Option<(Cid, BTreeMap<Cid, Vec<u8>>)> {
    let section = |bytes: &mut &[u8]| {
        let (length, rest) = unsigned_varint::decode::usize(bytes).ok()?;
        let (section, rest) = rest.split_at_checked(length)?;
        *bytes = rest;
        Some(section.to_vec())
    };
    let mut rest = car;
    let header = section(&mut rest)?;
    // {"roots": [tag 42 (bytes: 0, CID)], "version": 1}
    let link = header.strip_prefix(b"\xa2\x65roots\x81\xd8\x2a\x58\x26\x00")?.strip_suffix(b"\x67version\x01")?;
    let root = Cid::try_from(link).ok()?;
    let mut blocks = BTreeMap::new();
    while !rest.is_empty() {
        let section = section(&mut rest)?;
        let mut bytes = &section[..];
        let cid = Cid::read_bytes(&mut bytes).ok()?;
        let fits = cid.hash().code() == DBL_SHA2_256 && cid.hash().digest() == Hash256::of(bytes).to_bytes();
        blocks.insert(fits.then_some(cid)?, bytes.to_vec());
    }
    Some((root, blocks))
}

#[test]
fn a_car_leads_from_the_header_to_the_transaction() {
    let mut forge = Forge::honest(params(), 5);
    for count in [0, 1, 2, 6, 7] {
        forge.add_payments(count);
        let height = forge.height();
        forge.add(Fault::None);
        let receipt = forge.whole(height);
        let proven = receipt.verify(&forge.params, None, UnixTime::from_secs(u64::MAX)).unwrap();
        let car = receipt.to_car(&proven.header).unwrap();
        let (root_cid, blocks) = read(&car).unwrap();
        assert_eq!((root_cid.codec(), root_cid.hash().digest()), (BITCOIN_BLOCK, &proven.block.as_bytes()[..]));
        assert_eq!(root(&proven.header).unwrap().to_string(), root_cid.to_string());
        assert_eq!(blocks.len(), receipt.branch.siblings.len() + 2);

        // Down from the header, by links alone.
        let find = |digest: &[u8]| {
            let is_it = |cid: &&Cid| cid.codec() == BITCOIN_TX && cid.hash().digest() == digest;
            blocks.keys().find(is_it).map(|cid| &blocks[cid])
        };
        let mut node = find(&blocks[&root_cid][36..68]).unwrap();
        for _ in 0..receipt.branch.siblings.len() {
            assert_eq!(node.len(), 64);
            node = find(&node[..32]).or_else(|| find(&node[32..])).expect("one of both is there");
        }
        assert_eq!(codec::decode::<Transaction>(node).unwrap(), receipt.transaction);

        for place in 0..car.len() {
            let mut flipped = car.clone();
            flipped[place] ^= 4;
            let same = read(&flipped).is_some_and(|(root, read)| root == root_cid && read == blocks);
            assert!(!same, "byte {place}");
        }
    }
}

#[test]
fn no_car_is_made_of_a_false_branch() {
    let mut forge = Forge::honest(params(), 5);
    forge.add_payments(4);
    let receipt = forge.whole(Height::from_u32(6));
    let header = receipt.verify(&forge.params, None, UnixTime::from_secs(u64::MAX)).unwrap().header;
    let mut forged: Receipt = receipt;
    forged.branch.siblings[1] = Hash256::of(b"forged");
    assert_eq!(forged.to_car(&header), None);
}
