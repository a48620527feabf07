//! Bitcoin's Merkle tree over txids, its branches, and the partial tree of BIP-37.
//!
//! The last node of an odd level is paired with itself. Two lists of leaves may therefore share a root: one with its
//! tail repeated (CVE-2012-2459). [`root`] reports that, and [`Branch::verify`] refuses positions that exist only by
//! repetition. The tree does not separate leaves from inner nodes, so an inner node's 64 bytes could be passed off as a
//! transaction (CVE-2017-12842): consensus forbids transactions of that size.

use cairn_sha256d::Kernel;

use super::codec::{self, Decode, Encode};
use super::compact_size;
use super::hash::{Hash256, MerkleRoot, Txid};
use super::header::Header;
use super::meter;

/// A root, and whether another list of leaves, with a repeated tail, has the same root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Root {
    /// The root of the tree; zero over no leaves.
    pub hash: MerkleRoot,
    /// Two siblings are equal, so another list of leaves has this root too (CVE-2012-2459).
    pub mutated: bool,
}

/// The root over `leaves`.
pub fn root(leaves: Vec<Txid>) -> Root {
    let mut mutated = false;
    let mut level = Level::new(leaves);
    while level.0.len() > 1 {
        mutated |= level.0.as_chunks().0.iter().any(|[left, right]| left == right);
        level = level.above();
    }
    Root { hash: level.0.first().copied().map_or(MerkleRoot::ZERO, MerkleRoot::from_bytes), mutated }
}

/// The nodes of one level, in order and contiguous: the bytes of two siblings are the preimage of their parent.
struct Level(Vec<[u8; 32]>);

impl Level {
    fn new(leaves: Vec<Txid>) -> Self {
        Self(leaves.into_iter().map(|leaf| leaf.to_bytes()).collect())
    }

    /// The level above; all pairs are hashed in one batch.
    fn above(&self) -> Self {
        let mut above = vec![[0; 32]; self.0.len().div_ceil(2)];
        let (pairs, odd) = self.0.as_flattened().as_chunks::<64>();
        meter::hashed(pairs.len(), 64);
        Kernel::best().double64(pairs, &mut above[..pairs.len()]);
        if let (Ok(odd), Some(last)) = (odd.try_into(), above.last_mut()) {
            let odd = Hash256::from_bytes(odd);
            *last = Hash256::of_pair(&odd, &odd).to_bytes();
        }
        Self(above)
    }
}

/// A whole tree, for making many branches without hashing again.
pub struct Tree(Vec<Level>);

impl Tree {
    /// The tree over `leaves`.
    pub fn new(leaves: Vec<Txid>) -> Self {
        let mut levels = Vec::new();
        let mut level = Level::new(leaves);
        while level.0.len() > 1 {
            let above = level.above();
            levels.push(std::mem::replace(&mut level, above));
        }
        levels.push(level);
        Self(levels)
    }

    /// The branch of leaf `index`; `None` if there is no such leaf.
    pub fn branch(&self, index: u32) -> Option<Branch> {
        let mut position = index as usize;
        let (_, below) = self.0.split_last()?;
        self.0.first()?.0.get(position)?;
        let mut siblings = Vec::with_capacity(below.len());
        for Level(nodes) in below {
            // The last node of an odd level is its own sibling.
            siblings.push(Hash256::from_bytes(*nodes.get(position ^ 1).or_else(|| nodes.get(position))?));
            position /= 2;
        }
        Some(Branch { index, siblings })
    }
}

/// The hashes that lead from one leaf to the root.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Branch {
    /// The leaf's index, from 0.
    pub index: u32,
    /// The sibling at each level, lowest first.
    pub siblings: Vec<Hash256>,
}

/// The depth of a tree over 2^32 leaves, the most that an index can address.
const MAX_DEPTH: usize = 32;

impl Branch {
    /// The branch of leaf `index`; `None` if there is no such leaf.
    pub fn new(leaves: Vec<Txid>, index: u32) -> Option<Self> {
        Tree::new(leaves).branch(index)
    }

    /// Whether `leaf` is at [`Branch::index`] under `root`.
    pub fn verify(&self, leaf: &Txid, root: &MerkleRoot) -> bool {
        self.root(leaf) == Some(*root)
    }

    /// The root that this branch gives for `leaf`.
    ///
    /// `None` if the branch is deeper than any tree, the index is beyond its depth, or the position exists only because
    /// an odd node was paired with itself.
    pub fn root(&self, leaf: &Txid) -> Option<MerkleRoot> {
        if self.siblings.len() > MAX_DEPTH || u64::from(self.index) >> self.siblings.len() != 0 {
            return None;
        }
        let mut node = leaf.as_leaf();
        for (level, sibling) in self.siblings.iter().enumerate() {
            if self.index >> level & 1 == 0 {
                node = Hash256::of_pair(&node, sibling);
            } else if *sibling == node {
                return None;
            } else {
                node = Hash256::of_pair(sibling, &node);
            }
        }
        Some(MerkleRoot::from_node(node))
    }
}

/// Why a serialized partial Merkle tree is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PartialTreeError {
    /// The bytes end early or go on after the tree.
    #[error("partial Merkle tree: {got} bytes do not fit its own counts")]
    Length {
        /// Bytes given.
        got: usize,
    },
    /// No transactions, or more than a block can hold.
    #[error("partial Merkle tree: {got} transactions, expected 1 to {max}")]
    TransactionCount {
        /// The count it states.
        got: u32,
        /// The most allowed.
        max: u32,
    },
    /// More hashes than leaves, fewer flag bits than hashes, or some of either left over.
    #[error("partial Merkle tree: hashes and flags do not describe a tree over {leaves} transactions")]
    Shape {
        /// The count it states.
        leaves: u32,
    },
    /// A doubled node where two different ones must stand (CVE-2012-2459).
    #[error("partial Merkle tree: two equal neighbours, so the position is forged")]
    Mutated,
    /// The hashes lead to another root than the header's.
    #[error("partial Merkle tree: leads to root {got}, the header has {expected}")]
    Root {
        /// Root that the hashes give.
        got: MerkleRoot,
        /// Root in the header.
        expected: MerkleRoot,
    },
}

/// No block can hold more transactions than this. Bounds the work that verifying a proof can cost.
const MAX_LEAVES: u32 = 1 << 20;

/// A header with a subset of its block's txids and the fewest hashes that link them to its root: BIP-37's `merkleblock`
/// message and the answer of Bitcoin Core's `gettxoutproof`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialTree {
    /// The block's header.
    pub header: Header,
    /// Transactions in the block.
    leaves: u32,
    /// Hashes in depth-first order.
    hashes: Vec<Hash256>,
    /// One bit for each visited node, in depth-first order: whether a proven leaf is under it.
    flags: Vec<bool>,
}

impl PartialTree {
    /// Builds the proof for the txids for which `wanted` is true. `txids` are all those of `header`'s block.
    pub fn new(header: Header, txids: &[Txid], wanted: impl Fn(&Txid) -> bool) -> Self {
        let mut levels = vec![Level::new(txids.to_vec())];
        let mut marks = vec![txids.iter().map(wanted).collect::<Vec<bool>>()];
        while levels[levels.len() - 1].0.len() > 1 {
            let above = levels[levels.len() - 1].above();
            let marked = marks[marks.len() - 1].chunks(2).map(|pair| pair.contains(&true)).collect();
            levels.push(above);
            marks.push(marked);
        }
        let mut tree = Self { header, leaves: txids.len() as u32, hashes: Vec::new(), flags: Vec::new() };
        if !txids.is_empty() {
            tree.collect(&levels, &marks, levels.len() - 1, 0);
        }
        tree
    }

    fn collect(&mut self, levels: &[Level], marks: &[Vec<bool>], height: usize, position: usize) {
        let marked = marks[height][position];
        self.flags.push(marked);
        if height == 0 || !marked {
            self.hashes.push(Hash256::from_bytes(levels[height].0[position]));
            return;
        }
        for child in 2 * position..=2 * position + 1 {
            if child < levels[height - 1].0.len() {
                self.collect(levels, marks, height - 1, child);
            }
        }
    }

    /// Verifies the tree, and returns the proven txids with their indices in the block, in order.
    ///
    /// # Errors
    /// [`PartialTreeError`] unless the tree is well formed, without unused bits or hashes, and leads to the header's
    /// root.
    pub fn verify(&self) -> Result<Vec<(u32, Txid)>, PartialTreeError> {
        if self.leaves == 0 || self.leaves > MAX_LEAVES {
            return Err(PartialTreeError::TransactionCount { got: self.leaves, max: MAX_LEAVES });
        }
        let shape = PartialTreeError::Shape { leaves: self.leaves };
        if self.hashes.len() > self.leaves as usize || self.flags.len() < self.hashes.len() {
            return Err(shape);
        }
        let mut walk = Walk { tree: self, next_flag: 0, next_hash: 0, found: Vec::new() };
        let height = self.leaves.next_power_of_two().trailing_zeros();
        let got = MerkleRoot::from_node(walk.node(height, 0)?);
        // Flags come in whole bytes; the rest of the last byte must be zero, or one proof would have many encodings.
        let spare = &self.flags[walk.next_flag..];
        if walk.next_hash != self.hashes.len() || spare.len() > 7 || spare.contains(&true) {
            return Err(shape);
        }
        if got != self.header.merkle_root {
            return Err(PartialTreeError::Root { got, expected: self.header.merkle_root });
        }
        Ok(walk.found)
    }

    /// Number of transactions in the block, as the tree claims.
    ///
    /// A caller that knows the block should compare: a tree of another depth can pass off inner nodes as transactions
    /// (CVE-2017-12842).
    pub fn leaves(&self) -> u32 {
        self.leaves
    }

    /// Bitcoin's serialization: header, count, hashes and flag bytes, the last two after a CompactSize length.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.to_bytes().to_vec();
        bytes.extend(self.leaves.to_le_bytes());
        compact_size::write(&mut bytes, self.hashes.len());
        self.hashes.iter().for_each(|hash| bytes.extend(hash.as_bytes()));
        let packed = self.flags.chunks(8).map(|bits| bits.iter().rev().fold(0, |byte, bit| byte << 1 | u8::from(*bit)));
        compact_size::write(&mut bytes, packed.len());
        bytes.extend(packed);
        bytes
    }

    /// Reads the form that [`PartialTree::to_bytes`] writes.
    ///
    /// # Errors
    /// [`PartialTreeError::Length`] if the counts and the bytes disagree.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, PartialTreeError> {
        Self::read(bytes).ok_or(PartialTreeError::Length { got: bytes.len() })
    }

    fn read(mut bytes: &[u8]) -> Option<Self> {
        let header = codec::decode(bytes.split_off(..Header::LEN)?).ok()?;
        let leaves = u32::from_le_bytes(bytes.split_off(..4)?.try_into().ok()?);
        let count = compact_size::read(&mut bytes)?;
        let hashes = bytes.split_off(..count.checked_mul(32)?)?;
        let hashes = hashes.as_chunks().0.iter().map(|hash| Hash256::from_bytes(*hash)).collect();
        let count = compact_size::read(&mut bytes)?;
        let flags =
            bytes.split_off(..count)?.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1)).collect();
        bytes.is_empty().then_some(Self { header, leaves, hashes, flags })
    }
}

/// A depth-first walk over a partial tree from its root, which consumes flags and hashes in order.
struct Walk<'a> {
    tree: &'a PartialTree,
    next_flag: usize,
    next_hash: usize,
    found: Vec<(u32, Txid)>,
}

impl Walk<'_> {
    fn node(&mut self, height: u32, position: u32) -> Result<Hash256, PartialTreeError> {
        let shape = PartialTreeError::Shape { leaves: self.tree.leaves };
        let marked = *self.tree.flags.get(self.next_flag).ok_or(shape.clone())?;
        self.next_flag += 1;
        if height == 0 || !marked {
            let hash = *self.tree.hashes.get(self.next_hash).ok_or(shape)?;
            self.next_hash += 1;
            if height == 0 && marked {
                self.found.push((position, Txid::from_bytes(hash.to_bytes())));
            }
            return Ok(hash);
        }
        let left = self.node(height - 1, 2 * position)?;
        let width = self.tree.leaves.div_ceil(1 << (height - 1));
        if 2 * position + 1 >= width {
            return Ok(Hash256::of_pair(&left, &left));
        }
        let right = self.node(height - 1, 2 * position + 1)?;
        if left == right {
            return Err(PartialTreeError::Mutated);
        }
        Ok(Hash256::of_pair(&left, &right))
    }
}
