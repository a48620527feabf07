//! What an unmodified cpuminer makes of a template: written from its behaviour, byte for byte, and not from this
//! project's types.

#![allow(dead_code)] // Each test binary uses its own part.

pub mod stratum;

use cairn::primitives::hash::{BlockHash, Hash256};
use serde_json::Value;

/// Double SHA-256.
pub fn sha256d(bytes: &[u8]) -> [u8; 32] {
    Hash256::of(bytes).to_bytes()
}

/// Bitcoin's variable-length count.
pub fn compact_size(n: usize) -> Vec<u8> {
    match n {
        0..=0xfc => vec![n as u8],
        0xfd..=0xffff => [&[0xfd], &(n as u16).to_le_bytes()[..]].concat(),
        _ => [&[0xfe], &(n as u32).to_le_bytes()[..]].concat(),
    }
}

/// The root over ids in the order of their bytes, the last of an odd level paired with itself.
pub fn merkle_root(mut level: Vec<[u8; 32]>) -> [u8; 32] {
    while level.len() > 1 {
        if level.len() % 2 == 1 {
            level.push(level[level.len() - 1]);
        }
        level = level.chunks(2).map(|pair| sha256d(&pair.concat())).collect();
    }
    level[0]
}

/// Bytes of a hex member of exactly `len` bytes.
fn hex_of(value: &Value, key: &str, len: usize) -> Vec<u8> {
    let text = value[key].as_str().unwrap_or_else(|| panic!("{key} is not a string in {value}"));
    assert_eq!(text.len(), 2 * len, "{key}");
    hex::decode(text).unwrap()
}

fn integer(value: &Value, key: &str) -> u32 {
    assert!(value[key].is_u64(), "{key} is not an integer in {value}");
    value[key].as_u64().unwrap().try_into().unwrap()
}

/// A header to be hashed and everything that is submitted after it.
#[derive(Clone)]
pub struct Work {
    pub header: [u8; 80],
    /// Big-endian.
    pub target: [u8; 32],
    /// CompactSize count, coinbase, transactions.
    pub rest: Vec<u8>,
    pub height: u32,
    pub longpollid: String,
}

/// Decodes a template, holding it to all that cpuminer needs of it.
pub fn decode(template: &Value) -> Work {
    let mutable: Vec<&str> = template["mutable"].as_array().unwrap().iter().map(|m| m.as_str().unwrap()).collect();
    assert!(!mutable.contains(&"coinbase/append"), "it would rewrite the coinbase by Bitcoin's layout");
    let rules = template["rules"].as_array().unwrap();
    assert!(rules.is_empty(), "with segwit it would ask for other things");
    let height = integer(template, "height");
    let version = integer(template, "version");
    assert!(version & 0xff <= 3, "older ones refuse other versions");
    let mut previous = hex_of(template, "previousblockhash", 32);
    previous.reverse();
    let mut bits = hex_of(template, "bits", 4);
    bits.reverse();
    let curtime = integer(template, "curtime");
    let coinbase = hex::decode(template["coinbasetxn"]["data"].as_str().unwrap()).unwrap();
    assert!(coinbase.len() >= 60, "it refuses shorter ones");
    let mut ids = vec![sha256d(&coinbase)];
    let transactions = template["transactions"].as_array().unwrap();
    let mut rest = [compact_size(1 + transactions.len()), coinbase].concat();
    for transaction in transactions {
        let data = hex::decode(transaction["data"].as_str().unwrap()).unwrap();
        let mut id = hex_of(transaction, "txid", 32);
        id.reverse();
        assert_eq!(id, sha256d(&data), "an id is the hash of the bytes");
        assert_eq!(transaction["hash"], transaction["txid"]);
        ids.push(sha256d(&data));
        rest.extend(data);
    }
    let mut header = [0; 80];
    header[..4].copy_from_slice(&version.to_le_bytes());
    header[4..36].copy_from_slice(&previous);
    header[36..68].copy_from_slice(&merkle_root(ids));
    header[68..72].copy_from_slice(&curtime.to_le_bytes());
    header[72..76].copy_from_slice(&bits);
    let target = hex_of(template, "target", 32).try_into().unwrap();
    let longpollid = template["longpollid"].as_str().unwrap().to_owned();
    assert!(template.get("longpolluri").is_none(), "it would append a path to its own URL");
    Work { header, target, rest, height, longpollid }
}

/// Whether a hash, as the hash function gives it, is at most a big-endian target.
pub fn meets(hash: [u8; 32], target: &[u8; 32]) -> bool {
    hash.iter().rev().cmp(target.iter()).is_le()
}

impl Work {
    /// Rolls the nonce until the target is met, or until it is not.
    pub fn search(&mut self, met: bool) {
        for nonce in 0u32.. {
            self.header[76..].copy_from_slice(&nonce.to_le_bytes());
            if meets(sha256d(&self.header), &self.target) == met {
                return;
            }
        }
    }

    /// What is handed to `submitblock`.
    pub fn submission(&self) -> String {
        hex::encode([&self.header[..], &self.rest].concat())
    }

    /// The block's name as it is shown.
    pub fn hash(&self) -> String {
        BlockHash::from_bytes(sha256d(&self.header)).to_string()
    }
}
