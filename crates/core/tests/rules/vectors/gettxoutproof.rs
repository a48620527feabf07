//! Answers of Bitcoin Core's `gettxoutproof`: BIP-37's partial Merkle trees as they are in use.

use cairn_core::primitives::codec;
use cairn_core::primitives::hash::Txid;
use cairn_core::primitives::header::Header;
use cairn_core::primitives::merkle::{PartialTree, PartialTreeError};
use proptest::prelude::*;
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    header: String,
    txids: Vec<Txid>,
    proofs: Vec<Proof>,
}

#[derive(Deserialize)]
struct Proof {
    txids: Vec<Txid>,
    indices: Vec<u32>,
    proof: String,
}

impl Proof {
    fn bytes(&self) -> Vec<u8> {
        hex::decode(&self.proof).unwrap()
    }

    fn expected(&self) -> Vec<(u32, Txid)> {
        self.indices.iter().copied().zip(self.txids.iter().copied()).collect()
    }
}

impl Vectors {
    fn read() -> Self {
        let vectors: Self = serde_json::from_str(&super::data("bitcoin/txoutproofs.json")).unwrap();
        assert_eq!((vectors.txids.len(), vectors.proofs.len()), (13, 5));
        vectors
    }

    fn header(&self) -> Header {
        codec::decode_hex(&self.header).unwrap()
    }
}

/// What a verifier makes of bytes: the header they speak for and what they prove under it.
fn read(bytes: &[u8]) -> Result<(Header, Vec<(u32, Txid)>), PartialTreeError> {
    let tree = PartialTree::from_bytes(bytes)?;
    Ok((tree.header, tree.verify()?))
}

#[test]
fn decode_verify_and_encode_again() {
    let vectors = Vectors::read();
    for proof in &vectors.proofs {
        let tree = PartialTree::from_bytes(&proof.bytes()).unwrap();
        assert_eq!(tree.header, vectors.header());
        assert_eq!(tree.verify(), Ok(proof.expected()), "{:?}", proof.indices);
        assert_eq!(hex::encode(tree.to_bytes()), proof.proof, "{:?}", proof.indices);
    }
}

#[test]
fn proofs_have_the_bytes_of_bitcoin_core() {
    let vectors = Vectors::read();
    for proof in &vectors.proofs {
        let tree = PartialTree::new(vectors.header(), &vectors.txids, |txid| proof.txids.contains(txid));
        assert_eq!(hex::encode(tree.to_bytes()), proof.proof, "{:?}", proof.indices);
    }
}

#[test]
fn every_subset_of_small_blocks() {
    let vectors = Vectors::read();
    for leaves in 1..=9 {
        let txids = &vectors.txids[..leaves];
        let merkle_root = cairn_core::primitives::merkle::root(txids.to_vec()).hash;
        let header = Header { merkle_root, ..vectors.header() };
        for subset in 0..1u32 << leaves {
            let wanted: Vec<(u32, Txid)> =
                (0..).zip(txids.iter().copied()).filter(|(index, _)| subset >> index & 1 == 1).collect();
            let tree = PartialTree::new(header, txids, |txid| wanted.iter().any(|(_, wanted)| wanted == txid));
            assert_eq!(read(&tree.to_bytes()), Ok((header, wanted)), "{subset:b} of {leaves}");
        }
    }
}

#[test]
fn no_single_bit_flip_proves_anything_false() {
    let vectors = Vectors::read();
    for proof in &vectors.proofs {
        let honest = proof.bytes();
        let flags = honest.len() - 2; // One or two bytes in these.
        for bit in 0..honest.len() * 8 {
            let mut bytes = honest.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let Ok((header, proven)) = read(&bytes) else { continue };
            assert_eq!(header.merkle_root, vectors.header().merkle_root, "bit {bit}");
            match bit / 8 {
                // The header's other fields: the tree stays whole, but speaks for a block with another hash.
                byte if byte < Header::LEN => assert_ne!(header.hash(), vectors.header().hash()),
                // The count of transactions, to which nothing commits, as long as the shape does not depend on it.
                byte if byte < Header::LEN + 4 => assert_eq!(proven, proof.expected(), "bit {bit}"),
                // The flag of a leaf: the proof then speaks of a leaf more or less, and truly.
                byte => {
                    assert!(byte >= flags, "bit {bit} of {:?} is accepted", proof.indices);
                    assert!(proven.iter().all(|(index, txid)| vectors.txids[*index as usize] == *txid), "bit {bit}");
                }
            }
        }
    }
}

#[test]
fn every_truncation_and_extension_is_refused() {
    for proof in &Vectors::read().proofs {
        let honest = proof.bytes();
        for length in 0..honest.len() {
            assert!(read(&honest[..length]).is_err(), "{length} bytes of {:?}", proof.indices);
        }
        for extra in [0, 1, 0x80, 0xff] {
            let longer = [&honest[..], &[extra]].concat();
            assert_eq!(read(&longer), Err(PartialTreeError::Length { got: longer.len() }));
        }
    }
}

#[test]
fn each_refusal_has_its_reason() {
    let vectors = Vectors::read();
    let honest = vectors.proofs[0].bytes();
    let with = |at: usize, bytes: &[u8]| {
        let mut altered = honest.clone();
        altered.splice(at..at + bytes.len(), bytes.iter().copied());
        read(&altered).unwrap_err()
    };
    let count = Header::LEN;
    for leaves in [0, (1 << 20) + 1, u32::MAX] {
        let error = with(count, &leaves.to_le_bytes());
        assert!(matches!(error, PartialTreeError::TransactionCount { got, .. } if got == leaves), "{error}");
    }
    // Five hashes cannot describe a tree of four transactions; a claim of more hashes than there are bytes is short.
    assert_eq!(with(count, &4u32.to_le_bytes()), PartialTreeError::Shape { leaves: 4 });
    assert!(matches!(with(count + 4, &[0xfc]), PartialTreeError::Length { .. }));
    let error = with(36, &[0]);
    assert!(matches!(error, PartialTreeError::Root { expected, .. } if expected != vectors.header().merkle_root));
    // CompactSize 5 in its three-byte form: one proof would have two encodings.
    let longer = [&honest[..count + 4], &[0xfd, 5, 0], &honest[count + 5..]].concat();
    assert!(matches!(read(&longer), Err(PartialTreeError::Length { .. })));
}

#[test]
fn a_doubled_tail_proves_no_position() {
    // CVE-2012-2459 over a partial tree: leaves [a, b, c] and [a, b, c, c] have one root, so a tree of four leaves could
    // place c at index 3, where no transaction is.
    let vectors = Vectors::read();
    let [a, b, c] = vectors.txids[..3] else { panic!("13 txids") };
    let merkle_root = cairn_core::primitives::merkle::root(vec![a, b, c]).hash;
    let header = Header { merkle_root, ..vectors.header() };
    let forged = PartialTree::new(header, &[a, b, c, c], |txid| *txid == c);
    assert_eq!(read(&forged.to_bytes()), Err(PartialTreeError::Mutated));
}

proptest! {
    /// Whatever stands after the header, nothing panics, and what is accepted has one encoding.
    #[test]
    fn arbitrary_bytes(leaves in 0u32..20, tail in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = hex::decode(Vectors::read().header).unwrap();
        bytes.extend(leaves.to_le_bytes());
        bytes.extend(tail);
        if let Ok(tree) = PartialTree::from_bytes(&bytes) {
            prop_assert_eq!(tree.to_bytes(), bytes);
            prop_assert!(tree.verify().is_err(), "no root is found by chance");
        }
    }
}
