//! The test vectors of BIP-158 (`testnet-19.json`): blocks of Bitcoin's test network with their basic filters. The scripts
//! of outputs, and of the outputs spent, were taken out of the blocks; Bitcoin's elements are those that are not empty and
//! do not begin with `OP_RETURN`.

use cairn_core::primitives::gcs::{Filter, filter_header};
use cairn_core::primitives::hash::{BlockHash, FilterHash, FilterHeader};
use cairn_core::primitives::height::Height;
use serde::Deserialize;

const OP_RETURN: u8 = 0x6a;

#[derive(Deserialize)]
struct Vector {
    height: Height,
    note: String,
    hash: BlockHash,
    outputs: Vec<Script>,
    spent: Vec<Script>,
    previous: FilterHeader,
    filter: Script,
    header: FilterHeader,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Script(#[serde(with = "hex")] Vec<u8>);

impl Vector {
    fn elements(&self) -> impl Iterator<Item = &[u8]> {
        let outputs = self.outputs.iter().filter(|script| script.0.first() != Some(&OP_RETURN));
        outputs.chain(&self.spent).map(|script| &script.0[..]).filter(|script| !script.is_empty())
    }
}

fn vectors() -> Vec<Vector> {
    let vectors: Vec<Vector> = serde_json::from_str(&super::data("bip158.json")).unwrap();
    assert_eq!(vectors.len(), 10);
    vectors
}

#[test]
fn filters_and_headers() {
    for vector in vectors() {
        let name = format!("{} {}", vector.height, vector.note);
        let filter = Filter::new(&vector.hash, vector.elements());
        assert_eq!(hex::encode(filter.as_bytes()), hex::encode(&vector.filter.0), "{name}");
        assert_eq!(filter.header(&vector.previous), vector.header, "{name}");
        assert_eq!(filter_header(&FilterHash::of(&vector.filter.0), &vector.previous), vector.header, "{name}");
    }
    let [second, third] = [1, 2].map(|at| vectors().swap_remove(at));
    assert_eq!((second.height, third.previous), (Height::from_u32(2), second.header), "headers are a chain");
}

#[test]
fn published_bytes_are_read() {
    for vector in vectors() {
        let filter = Filter::from_bytes(vector.filter.0.clone()).unwrap();
        assert_eq!(filter.count(), usize::from(vector.filter.0[0]));
        for element in vector.elements() {
            assert_eq!(filter.matches_any(&vector.hash, [element]), Ok(true), "{}", vector.height);
        }
        let strangers = (0..1_000u32).map(u32::to_le_bytes);
        assert_eq!(filter.matches_any(&vector.hash, strangers), Ok(false), "{}", vector.height);
        // Under another block's hash the elements are strangers, too.
        assert_eq!(
            filter.matches_any(&BlockHash::from_bytes(vector.previous.to_bytes()), vector.elements()),
            Ok(false),
            "{}",
            vector.height
        );
    }
}
