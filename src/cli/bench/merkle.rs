//! `cairn bench merkle`: cost of a Merkle root for each leaf.

use std::hint::black_box;

use super::{Figure, shortest};
use crate::primitives::hash::{Hash256, MerkleRoot, Txid};
use crate::primitives::merkle;

/// Leaves hashed in a run, over however many trees: long enough to time, short enough to go undisturbed now and then.
const LEAVES_OF_A_RUN: usize = 4096;
const ROUNDS: u32 = 100;

pub(super) fn run() -> (String, Vec<Figure>) {
    let about = "Merkle roots. The reference hashes pair after pair with the sha2 crate.".to_owned();
    (about, [1, 64, 1024, 4096, 65_536].into_iter().map(figure).collect())
}

fn figure(n: usize) -> Figure {
    let leaves: Vec<Txid> = (0..n as u32).map(|i| Txid::of(&i.to_le_bytes())).collect();
    let trees = (LEAVES_OF_A_RUN / n).max(1);
    let jobs: [fn(Vec<Txid>) -> MerkleRoot; 2] = [|leaves| merkle::root(leaves).hash, pair_by_pair];
    let mut jobs = jobs.map(|root| {
        let leaves = &leaves;
        Box::new(move || {
            for _ in 0..trees {
                black_box(root(black_box(leaves.clone())));
            }
        }) as Box<dyn FnMut()>
    });
    let times = shortest(ROUNDS, &mut jobs);
    let nanos = |i: usize| times[i].as_secs_f64() * 1e9 / (trees * n) as f64;
    let leaves = if n == 1 { "1 leaf".to_owned() } else { format!("{n} leaves") };
    Figure::cost(leaves, nanos(0), "ns/leaf", nanos(1))
}

fn pair_by_pair(leaves: Vec<Txid>) -> MerkleRoot {
    let mut level: Vec<Hash256> = leaves.iter().map(Txid::as_leaf).collect();
    while level.len() > 1 {
        level = level.chunks(2).map(|pair| Hash256::of_pair(&pair[0], &pair[pair.len() - 1])).collect();
    }
    level.first().copied().map_or(MerkleRoot::ZERO, MerkleRoot::from_node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_gives_the_same_root() {
        let leaves: Vec<Txid> = (0..77u32).map(|i| Txid::of(&i.to_le_bytes())).collect();
        assert_eq!(pair_by_pair(leaves.clone()), merkle::root(leaves).hash);
    }
}
