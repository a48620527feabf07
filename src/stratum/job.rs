//! A job: a template in Stratum's form, and the check of its shares.

use std::collections::HashSet;

use serde_json::{Value, json};

use super::level::Level;
use super::protocol::{Fault, Refusal, Share};
use crate::miner::template::Template;
use crate::primitives::block::Block;
use crate::primitives::hash::BlockHash;

/// Most shares of one job; only a job that is far too easy gets more.
const MAX_SHARES: usize = 10_000;

/// A template sent to one miner.
#[derive(Debug)]
pub struct Job {
    template: Template,
    level: Level,
    /// This connection's part of the extra nonce.
    extranonce1: [u8; 4],
    /// Hashes of the submitted headers.
    shares: HashSet<BlockHash>,
}

impl Job {
    /// A job on `template`, whose shares are as hard as `level`, or the block itself if that is easier.
    pub fn new(template: Template, level: Level, extranonce1: [u8; 4]) -> Self {
        let level = level.min(Level::of_target(template.target));
        Self { template, level, extranonce1, shares: HashSet::new() }
    }

    /// How hard its shares are.
    pub fn level(&self) -> Level {
        self.level
    }

    /// The block it builds on.
    pub fn parent(&self) -> BlockHash {
        self.template.header.previous
    }

    /// The parameters of `mining.notify`. The header's fields are written as numbers, highest byte first, and the
    /// parent's hash as eight such numbers of four bytes each; the tree's nodes are written as bytes.
    pub fn params(&self, name: &str, clean: bool) -> Value {
        let header = &self.template.header;
        let (before, after) = self.template.coinbase_halves();
        let branch: Vec<String> = self.template.siblings().iter().map(|node| hex::encode(node.to_bytes())).collect();
        json!([
            name,
            swapped_words(&header.previous),
            hex::encode(before),
            hex::encode(after),
            branch,
            format!("{:08x}", header.version),
            format!("{:08x}", header.bits.0),
            format!("{:08x}", header.time),
            clean,
        ])
    }

    /// Whether a header with this hash was submitted for it.
    pub fn has(&self, hash: &BlockHash) -> bool {
        self.shares.contains(hash)
    }

    /// Records a submitted header.
    ///
    /// # Errors
    /// A refusal if it has too many already.
    pub fn remember(&mut self, hash: BlockHash) -> Result<(), Refusal> {
        if self.shares.len() >= MAX_SHARES {
            return Err(Refusal::new(Fault::Other, "too many shares of one job: take the next"));
        }
        self.shares.insert(hash);
        Ok(())
    }

    /// Checks a share, whose time may be `latest` at most, or the least time of the block if that is later, and whose
    /// version may differ from the job's in `version_mask`: its header's hash, and the block, if it is one. It does not
    /// check for duplicates.
    ///
    /// # Errors
    /// Why it is no share.
    pub fn check(&self, share: &Share, version_mask: u32, latest: u32) -> Result<(BlockHash, Option<Block>), Refusal> {
        let times = self.template.min_time..=latest.max(self.template.min_time);
        if !times.contains(&share.time) {
            let (first, last) = (times.start(), times.end());
            let message = format!("ntime is {}, expected {first} to {last}", share.time);
            return Err(Refusal::new(Fault::Other, message));
        }
        let [a, b, c, d] = self.extranonce1;
        let [e, f, g, h] = share.extranonce2;
        let mut template = self.template.clone();
        template.set_extra_nonce(u64::from_le_bytes([a, b, c, d, e, f, g, h]));
        if let Some(bits) = share.version_bits {
            if bits & !version_mask != 0 {
                let message = format!("version_bits are {bits:08x}, expected none outside {version_mask:08x}");
                return Err(Refusal::new(Fault::Other, message));
            }
            let fixed = template.header.version.cast_unsigned() & !version_mask;
            template.header.version = (fixed | bits).cast_signed();
        }
        template.header.time = share.time;
        template.header.nonce = share.nonce;
        let hash = template.header.hash();
        if !self.level.target().is_met_by(&hash) {
            let message = format!("hash {hash} is above the target of difficulty {}", self.level.difficulty());
            return Err(Refusal::new(Fault::LowDifficulty, message));
        }
        Ok((hash, template.target.is_met_by(&hash).then(|| template.block(share.nonce))))
    }
}

/// A hash as Stratum writes that of the parent: each four bytes reversed.
pub fn swapped_words(hash: &BlockHash) -> String {
    let words = hash.as_bytes().chunks_exact(4).flat_map(|word| word.iter().rev().copied());
    hex::encode(words.collect::<Vec<u8>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parents_hash_is_words() {
        // Bitcoin's genesis, as pools sent it for block 1.
        let genesis: BlockHash = "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f".parse().unwrap();
        let words = "0a8ce26f72b3f1b646a2a6c14ff763ae65831e939c085ae10019d66800000000";
        assert_eq!(swapped_words(&genesis), words);
    }
}
