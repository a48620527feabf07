//! The verifier's side: one pass over the bytes, then a check that exactly the required headers are shown.

use std::collections::BTreeSet;

use ruint::aliases::U256;

use super::bounds::bounds;
use super::bytes::{Coinbase, Malformed, Reader};
use super::sample::{challenges, strata_per_octave};
use super::{FIRST, HEADER, HIDDEN, INNER, SAMPLE, TAIL, mountains};
use crate::consensus::check::{NODE_SIZE, check_proof_of_work};
use crate::consensus::context::{HeaderContext, Parent, check_header, check_order, next_bits};
use crate::consensus::error::RuleError;
use crate::consensus::params::Params;
use crate::primitives::hash::{BlockHash, MerkleRoot};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::mmr::{Node, Range};
use crate::primitives::target::Work;
use crate::primitives::time::UnixTime;
use crate::receipt::Followed;
use crate::receipt::weight::{Milestone, due_until, weigh};

/// Why succinct evidence proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum SuccinctError {
    /// The bytes do not follow the layout.
    #[error("it does not follow the layout: {0}")]
    Malformed(#[from] Malformed),
    /// A chain of genesis alone has nothing to sample.
    #[error("its chain has no block but genesis")]
    OnlyGenesis,
    /// A header breaks a rule.
    #[error("the header at height {height}: {source}")]
    Rule { height: Height, source: RuleError },
    /// A header does not name the previous header, which is shown.
    #[error("the header at height {height} names parent {got}, expected {expected}")]
    Unlinked { height: Height, got: BlockHash, expected: BlockHash },
    /// A transaction passed off as a coinbase.
    #[error("the transaction shown as the coinbase at height {height} is not a coinbase of that height")]
    NoCoinbase { height: Height },
    /// A coinbase is not in its block, or commits to other headers.
    #[error(
        "the coinbase at height {height} does not lead to its block's Merkle root with the headers shown before it"
    )]
    OtherCommitment { height: Height },
    /// The claimed work overflows 256 bits, which no real chain does.
    #[error("its nodes claim more work than there can be")]
    TooMuchWork,
    /// A hidden node claims less or more work than its headers can have by the difficulty rule.
    #[error("the {count} headers from height {first} on cannot have the work that is claimed for them")]
    ImpossibleWork { first: Height, count: u32 },
    /// The tip is so cheap that a forger could redraw the sample at almost no cost.
    #[error("its tip has too little work, compared with the work claimed, for a sample to prove anything")]
    CheapTip,
    /// A header is missing, not required, or shown in the wrong form.
    #[error("the headers shown are not those that the tip requires: at height {height}")]
    OtherHeaders { height: Height },
}

/// Checks the evidence that the block at height `block` is in a chain.
pub(in crate::receipt) fn verify(
    bytes: &[u8],
    block: Height,
    params: &Params,
    now: UnixTime,
) -> Result<Followed, SuccinctError> {
    let mut bytes = Reader(bytes);
    let height = Height::from_u32(u32::from_le_bytes(bytes.array()?));
    let before_tip = height.prev().ok_or(SuccinctError::OnlyGenesis)?;
    let tip: Header = bytes.decode()?;
    let mut coinbase = Coinbase::read(&mut bytes)?;
    let mut verifier = Verifier::new(params, bytes);
    for (levels, first) in mountains(height) {
        let peak = verifier.node(levels, first)?;
        verifier.left.push(peak);
    }
    if !verifier.bytes.0.is_empty() {
        return Err(Malformed::Trailing(verifier.bytes.0.len()).into());
    }
    let range = verifier.range(height)?;
    if range.work().0 == U256::MAX {
        return Err(SuccinctError::TooMuchWork);
    }
    coinbase.commit(&range.root())?;
    check_coinbase(&coinbase, &tip, height)?;
    let parent = verifier.parent(height).ok_or(SuccinctError::OtherHeaders { height: before_tip })?;
    let (tip_hash, own_work) = verifier.check_header(&tip, height, Some(parent.hash))?;
    let shown = verifier.shown;
    let strata = strata_per_octave(range.work(), own_work).ok_or(SuccinctError::CheapTip)?;
    let points =
        challenges(&params.genesis_hash, &tip_hash, range.work(), range.work() - before_tail(&shown, height)?, strata);
    check_all_shown(&shown, &points, height, block)?;

    let end = Leaf { height, header: tip, hash: tip_hash, before: range.work(), own_work, sampled: true };
    let all = || shown.iter().chain([&end]);
    let found = all().find(|leaf| leaf.height == block).ok_or(SuccinctError::OtherHeaders { height: block })?;
    let earlier = all().rev().filter(|leaf| leaf.height < block).map(Leaf::milestone);
    let work = range.work() + own_work;
    Ok(Followed {
        header: found.header,
        block: found.hash,
        weight: weigh(found.milestone(), earlier, work, due_until(tip.time, now, params)),
        tip_height: height,
        tip,
        work,
        checkpoint: None,
    })
}

/// A header that was shown.
#[derive(Clone, Copy)]
struct Leaf {
    height: Height,
    header: Header,
    hash: BlockHash,
    /// Work of the headers before it.
    before: Work,
    own_work: Work,
    /// Whether its coinbase was shown too.
    sampled: bool,
}

impl Leaf {
    fn milestone(&self) -> Milestone {
        Milestone { after: self.before + self.own_work, own: self.own_work, time: self.header.time }
    }
}

struct Verifier<'a> {
    params: &'a Params,
    bytes: Reader<'a>,
    /// The peaks of the range over all leaves so far.
    left: Vec<Node>,
    /// Time of header 1, which is shown before all others; 0 until then.
    first_time: u32,
    /// The headers shown so far. Genesis, which the verifier has, counts as shown.
    shown: Vec<Leaf>,
}

impl<'a> Verifier<'a> {
    fn new(params: &'a Params, bytes: Reader<'a>) -> Self {
        let genesis = Leaf {
            height: Height::GENESIS,
            header: params.genesis.header,
            hash: params.genesis_hash,
            before: Work::ZERO,
            own_work: params.genesis_target.work(),
            sampled: false,
        };
        Self { params, bytes, left: Vec::new(), first_time: 0, shown: vec![genesis] }
    }

    /// The range over the leaves before `height`, which are all read.
    fn range(&self, height: Height) -> Result<Range, SuccinctError> {
        let range = Range::from_peaks(height.as_u32().into(), self.left.clone());
        range.ok_or(SuccinctError::OtherCommitment { height })
    }

    /// Reads the node `levels` above the leaves whose first leaf is `first`.
    fn node(&mut self, levels: u32, first: Height) -> Result<Node, SuccinctError> {
        if first == Height::GENESIS && levels == 0 {
            let Params { genesis_hash, genesis_target, .. } = self.params;
            return Ok(Node::leaf(*genesis_hash, genesis_target.work(), self.params.timestamp));
        }
        match self.bytes.byte()? {
            HIDDEN => {
                let node = self.bytes.node()?;
                self.check_hidden(&node, first, 1 << levels)?;
                Ok(node)
            }
            INNER if levels > 0 => {
                let before = self.shown.len();
                let left = self.node(levels - 1, first)?;
                self.left.push(left);
                let right = self.node(levels - 1, first.saturating_add(1 << (levels - 1)))?;
                self.left.pop();
                // Nothing under this node is shown, so it should have been hidden: one chain has one proof.
                if self.shown.len() == before {
                    return Err(SuccinctError::OtherHeaders { height: first });
                }
                Ok(Node::parent(&left, &right))
            }
            HEADER if levels == 0 => {
                let previous = match self.parent(first) {
                    Some(parent) => parent.hash,
                    None => BlockHash::from_bytes(self.bytes.array()?),
                };
                let root = MerkleRoot::from_bytes(self.bytes.array()?);
                let header = self.bytes.header(previous, root)?;
                self.leaf(first, header, false)
            }
            SAMPLE if levels == 0 => {
                let parent = self.parent(first).ok_or(SuccinctError::OtherHeaders { height: first })?;
                let bare = self.bytes.header(parent.hash, MerkleRoot::ZERO)?;
                let range = self.range(first)?.root();
                let mut coinbase = Coinbase::read(&mut self.bytes)?;
                coinbase.commit(&range)?;
                let merkle_root = coinbase.branch.root(&coinbase.transaction.txid());
                let merkle_root = merkle_root.ok_or(SuccinctError::OtherCommitment { height: first })?;
                let header = Header { merkle_root, ..bare };
                check_coinbase(&coinbase, &header, first)?;
                self.leaf(first, header, true)
            }
            got => Err(Malformed::Tag { got, height: levels }.into()),
        }
    }

    /// The leaf before `height`, if it is shown.
    fn parent(&self, height: Height) -> Option<Leaf> {
        self.shown.last().copied().filter(|last| last.height.next() == height)
    }

    /// The parent of the header at `height`, as far as the difficulty rule needs it: the node to the left has its time.
    fn place(&self, height: Height) -> Parent {
        let time = self.left.last().map_or(self.params.timestamp, |left| left.last_time);
        Parent { height: height.saturating_sub(1), time, first_time: self.first_time }
    }

    /// Checks a node under which nothing is shown, over `count` headers from `first` on.
    fn check_hidden(&self, node: &Node, first: Height, count: u32) -> Result<(), SuccinctError> {
        // The difficulty of all others is anchored at header 1.
        if first <= FIRST {
            return Err(SuccinctError::OtherHeaders { height: FIRST });
        }
        let parent = self.place(first);
        let last = first.saturating_add(count - 1);
        check_order(node.last_time, parent.time).map_err(|source| SuccinctError::Rule { height: last, source })?;
        let (least, most) = bounds(&parent, count, node.last_time, self.params);
        if !(least..=most).contains(&node.work) {
            return Err(SuccinctError::ImpossibleWork { first, count });
        }
        Ok(())
    }

    /// Checks a header by the rules of its place, and that it names `parent`, if that is shown. Answers its hash and work.
    fn check_header(
        &self,
        header: &Header,
        height: Height,
        parent: Option<BlockHash>,
    ) -> Result<(BlockHash, Work), SuccinctError> {
        let (hash, got) = (header.hash(), header.previous);
        if let Some(expected) = parent.filter(|parent| *parent != got) {
            return Err(SuccinctError::Unlinked { height, got, expected });
        }
        let place = self.place(height);
        let context = HeaderContext { height, min_time: place.time, bits: next_bits(&place, self.params) };
        let rules = || {
            check_header(header, &context)?;
            check_proof_of_work(header, &hash, self.params)?;
            Ok(header.bits.target()?.work())
        };
        rules().map(|work| (hash, work)).map_err(|source| SuccinctError::Rule { height, source })
    }

    fn leaf(&mut self, height: Height, header: Header, sampled: bool) -> Result<Node, SuccinctError> {
        let (hash, own_work) = self.check_header(&header, height, self.parent(height).map(|parent| parent.hash))?;
        if height == FIRST {
            self.first_time = header.time;
        }
        let before = self.left.iter().map(|node| node.work).sum();
        self.shown.push(Leaf { height, header, hash, before, own_work, sampled });
        Ok(Node::leaf(hash, own_work, header.time))
    }
}

/// Checks that a coinbase has a coinbase's shape and the right height, and is in its block.
fn check_coinbase(coinbase: &Coinbase, header: &Header, height: Height) -> Result<(), SuccinctError> {
    let Coinbase { ledger: _, transaction, branch } = coinbase;
    if !transaction.is_coinbase() || transaction.lock_height != height || transaction.size() == NODE_SIZE {
        return Err(SuccinctError::NoCoinbase { height });
    }
    if !branch.verify(&transaction.txid(), &header.merkle_root) {
        return Err(SuccinctError::OtherCommitment { height });
    }
    Ok(())
}

/// Work before the first of the last [`TAIL`] headers.
fn before_tail(shown: &[Leaf], height: Height) -> Result<Work, SuccinctError> {
    let first = height.saturating_sub(TAIL);
    let leaf = shown.iter().find(|leaf| leaf.height == first);
    leaf.map(|leaf| leaf.before).ok_or(SuccinctError::OtherHeaders { height: first })
}

/// Checks that exactly the required headers are shown, and the sampled ones with their coinbase.
fn check_all_shown(shown: &[Leaf], points: &[U256], height: Height, block: Height) -> Result<(), SuccinctError> {
    let first_of_tail = height.saturating_sub(TAIL);
    let missing = |height| SuccinctError::OtherHeaders { height };
    // Two headers always count as sampled. The first of the tail, because its coinbase ties the tail to all earlier
    // headers; and the payment's block, because its parent and commitment prove its height.
    let mut samples: BTreeSet<Height> =
        [first_of_tail, block.min(first_of_tail)].into_iter().filter(|leaf| *leaf > Height::GENESIS).collect();
    let mut needed: BTreeSet<Height> =
        first_of_tail.until(height).chain([Height::GENESIS, FIRST, block]).filter(|leaf| *leaf < height).collect();
    for point in points {
        // The last leaf that begins at or before the point must be shown and reach beyond it.
        let place = shown.partition_point(|leaf| leaf.before.0 <= *point);
        let leaf = place.checked_sub(1).and_then(|place| shown.get(place));
        match leaf.filter(|leaf| *point < (leaf.before + leaf.own_work).0) {
            None => return Err(missing(leaf.map_or(Height::GENESIS, |leaf| leaf.height.next()))),
            // Genesis commits to nothing.
            Some(leaf) if leaf.height > Height::GENESIS && leaf.height < first_of_tail => {
                samples.insert(leaf.height);
            }
            Some(_) => {}
        }
    }
    needed.extend(samples.iter().flat_map(|leaf| leaf.prev().into_iter().chain([*leaf])));
    let mut needed = needed.into_iter();
    for leaf in shown {
        if needed.next() != Some(leaf.height) || leaf.sampled != samples.contains(&leaf.height) {
            return Err(missing(leaf.height));
        }
    }
    needed.next().map_or(Ok(()), |height| Err(missing(height)))
}
