//! The Merkle mountain range over headers, to which every coinbase commits.
//!
//! A mountain range is an append-only list of leaves under perfect binary trees of decreasing height, one for each bit
//! set in the number of leaves. Each node also carries the work under it, and the time of the last header under it. This
//! is the variable-difficulty range of FlyClient (Bünz, Kiffer, Luu, Zamani 2020): it lets a verifier sample headers by
//! work, and so check a chain with a logarithmic number of headers. Since difficulty follows from a header's height and
//! its parent's time, the times let the verifier also check the bits of a header whose parent is hidden, and how much
//! work a hidden node can have.
//!
//! Nodes are numbered in the order in which appending creates them. A store keeps them under these numbers as an
//! append-only list, and a reorganisation truncates it.

use super::codec::{Decode, Encode};
use super::hash::{BlockHash, Hash256, MmrRoot};
use super::target::Work;

/// Domain tags, so that an inner node cannot be read as the list of peaks. A leaf needs none: it is the hash of an
/// 80-byte header, and an inner node's preimage has 137 bytes.
const INNER_TAG: u8 = 1;
const PEAKS_TAG: u8 = 2;

/// A node of the range: a hash, and the work and the last time of the headers under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct Node {
    /// In a leaf, the block hash; in an inner node, double SHA-256 of tag 1 and both children.
    pub hash: Hash256,
    /// Sum of the work of the leaves below.
    pub work: Work,
    /// Time of the last of them, in seconds since 1970. Times do not fall along a chain, so none below is later.
    pub last_time: u32,
}

impl Node {
    /// Bytes of a node's encoding: 32 of hash, 32 of work and 4 of time, both little-endian.
    pub const LEN: usize = 68;

    /// The leaf of a block whose header proves `work` and has this time.
    pub fn leaf(block: BlockHash, work: Work, time: u32) -> Self {
        Self { hash: Hash256::from_bytes(block.to_bytes()), work, last_time: time }
    }

    /// The node above `left` and `right`. A sum of work beyond 256 bits, which no chain reaches, stays at the greatest.
    pub fn parent(left: &Self, right: &Self) -> Self {
        let mut bytes = Vec::with_capacity(1 + 2 * Self::LEN);
        bytes.push(INNER_TAG);
        left.write(&mut bytes);
        right.write(&mut bytes);
        Self { hash: Hash256::of(&bytes), work: left.work + right.work, last_time: right.last_time }
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.hash.as_bytes());
        bytes.extend(self.work.0.to_le_bytes::<32>());
        bytes.extend(self.last_time.to_le_bytes());
    }
}

/// How many nodes a range over `leaves` leaves has, which is also the number of the next node.
pub fn node_count(leaves: u64) -> u64 {
    2 * leaves - u64::from(leaves.count_ones())
}

/// Numbers of the peaks of a range over `leaves` leaves, tallest first.
pub fn peak_numbers(leaves: u64) -> impl Iterator<Item = u64> {
    (0..u64::BITS).rev().filter(move |height| leaves >> height & 1 == 1).scan(0, |below, height| {
        *below += (2 << height) - 1;
        Some(*below - 1)
    })
}

/// A range, reduced to its peaks: all that appending and the root need.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Range {
    leaves: u64,
    peaks: Vec<Node>,
}

impl Range {
    /// A range over `leaves` leaves whose peaks, tallest first, are `peaks`; `None` if their number does not fit.
    pub fn from_peaks(leaves: u64, peaks: Vec<Node>) -> Option<Self> {
        (peaks.len() == leaves.count_ones() as usize).then_some(Self { leaves, peaks })
    }

    /// The number of leaves.
    pub fn leaves(&self) -> u64 {
        self.leaves
    }

    /// The peaks, tallest first.
    pub fn peaks(&self) -> &[Node] {
        &self.peaks
    }

    /// The work of all headers in the range.
    pub fn work(&self) -> Work {
        self.peaks.iter().map(|peak| peak.work).sum()
    }

    /// Appends a leaf and returns the new nodes with their numbers, in order.
    pub fn push_numbered(&mut self, leaf: Node) -> impl Iterator<Item = (u64, Node)> + use<> {
        (node_count(self.leaves)..).zip(self.push(leaf))
    }

    /// Appends a leaf and returns the new nodes in order. The first is numbered [`node_count`] of the leaves before.
    pub fn push(&mut self, leaf: Node) -> Vec<Node> {
        let mut made = vec![leaf];
        let mut top = leaf;
        for _ in 0..self.leaves.trailing_ones() {
            let left = self.peaks.pop().expect("a range has a peak for each bit set in its number of leaves");
            top = Node::parent(&left, &top);
            made.push(top);
        }
        self.peaks.push(top);
        self.leaves += 1;
        made
    }

    /// The range root: double SHA-256 of tag 2, the number of leaves (u64), and the peaks, tallest first; zero
    /// over no leaves.
    pub fn root(&self) -> MmrRoot {
        if self.leaves == 0 {
            return MmrRoot::ZERO;
        }
        let mut bytes = vec![PEAKS_TAG];
        bytes.extend(self.leaves.to_le_bytes());
        self.peaks.iter().for_each(|peak| peak.write(&mut bytes));
        MmrRoot::of(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ruint::aliases::U256;

    fn leaf(i: u64) -> Node {
        Node::leaf(BlockHash::of(&i.to_le_bytes()), Work(U256::from(i + 1)), 7 * i as u32)
    }

    /// The peak over a perfect tree, made the slow way.
    fn perfect(leaves: &[Node]) -> Node {
        match leaves {
            [one] => *one,
            many => {
                let (left, right) = many.split_at(many.len() / 2);
                Node::parent(&perfect(left), &perfect(right))
            }
        }
    }

    #[test]
    fn agrees_with_perfect_trees_made_the_slow_way() {
        let mut range = Range::default();
        let mut nodes = Vec::new();
        for n in 1..=130u64 {
            assert_eq!(nodes.len() as u64, node_count(n - 1));
            nodes.extend(range.push(leaf(n - 1)));
            let leaves: Vec<Node> = (0..n).map(leaf).collect();
            let mut rest = &leaves[..];
            let mut peaks = Vec::new();
            for height in (0..64).rev().filter(|height| n >> height & 1 == 1) {
                let (mountain, right) = rest.split_at(1 << height);
                peaks.push(perfect(mountain));
                rest = right;
            }
            let stored: Vec<Node> = peak_numbers(n).map(|number| nodes[number as usize]).collect();
            assert_eq!(stored, peaks);
            assert_eq!(Range::from_peaks(n, peaks.clone()), Some(range.clone()));
            assert_eq!(range.work(), leaves.iter().map(|leaf| leaf.work).sum());
            let mut last_times = peaks.iter().map(|peak| peak.last_time);
            assert!(last_times.clone().is_sorted() && last_times.next_back() == Some(7 * (n as u32 - 1)));
        }
    }

    #[test]
    fn every_leaf_and_the_count_move_the_root() {
        let root = |leaves: &[u64]| {
            let mut range = Range::default();
            leaves.iter().for_each(|i| drop(range.push(leaf(*i))));
            range.root()
        };
        let roots = [root(&[]), root(&[0]), root(&[0, 1]), root(&[1, 0]), root(&[0, 1, 2]), root(&[0, 1, 3])];
        for (i, a) in roots.iter().enumerate() {
            assert!(roots[..i].iter().all(|b| a != b));
        }
    }
}
