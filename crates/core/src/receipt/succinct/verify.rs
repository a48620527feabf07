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
use crate::consensus::headers::HeaderTail;
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

/// A header that a proof shows, with its place in the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProvenHeader {
    /// Its height.
    pub height: Height,
    /// The header.
    pub header: Header,
    /// Its hash.
    pub hash: BlockHash,
    /// Its place in work.
    pub place: Milestone,
}

/// A chain as its proof shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenChain {
    /// The end of the chain.
    pub tail: HeaderTail,
    /// Headers that are shown before the last ones, in the order of the chain, genesis included if it is among them.
    pub sampled: Vec<ProvenHeader>,
    /// The range over the headers before the last ones.
    pub range: Range,
    /// The last headers, the tip's included, without genesis: those from the height of `range.leaves()` on.
    pub last: Vec<Header>,
}

/// Checks the evidence that the block at height `block` is in a chain.
pub(in crate::receipt) fn verify(
    bytes: &[u8],
    block: Height,
    params: &Params,
    now: UnixTime,
) -> Result<Followed, SuccinctError> {
    let Read { shown, range: _, first_time: _ } = read(bytes, Some(block), params)?;
    let (Some(end), Some(found)) = (shown.last(), shown.iter().find(|leaf| leaf.height == block)) else {
        return Err(SuccinctError::OtherHeaders { height: block });
    };
    let earlier = shown.iter().rev().filter(|leaf| leaf.height < block).map(Leaf::milestone);
    let work = end.before + end.own_work;
    Ok(Followed {
        header: found.header,
        block: found.hash,
        weight: weigh(found.milestone(), earlier, work, due_until(end.header.time, now, params)),
        tip_height: end.height,
        tip: end.header,
        work,
        checkpoint: None,
    })
}

/// Checks the proof of a chain that shows no block in particular: what a light client starts from.
///
/// # Errors
/// [`SuccinctError`]. Whether the tip is from the future is for the caller to check.
pub fn verify_chain(bytes: &[u8], params: &Params) -> Result<ProvenChain, SuccinctError> {
    let Read { shown, range, first_time } = read(bytes, None, params)?;
    let end = shown.last().ok_or(SuccinctError::OnlyGenesis)?;
    let tail = HeaderTail::checked((end.header, end.hash), end.height, end.before + end.own_work, first_time);
    let first = end.height.saturating_sub(TAIL);
    let (sampled, last): (Vec<Leaf>, Vec<Leaf>) = shown.iter().partition(|leaf| leaf.height < first.max(FIRST));
    Ok(ProvenChain {
        tail,
        sampled: sampled.iter().map(Leaf::proven).collect(),
        range,
        last: last.iter().map(|leaf| leaf.header).collect(),
    })
}

/// Checks a proof that these are the headers at the heights `wanted` of the chain whose first headers are those under
/// `range`. The time of its block 1 is `first_time`.
///
/// What is hidden is vouched for by the nodes of `range`, and by nothing else. Each header shown proves the work that is due
/// at its place.
///
/// # Errors
/// [`SuccinctError`].
pub fn verify_headers(
    bytes: &[u8],
    wanted: &BTreeSet<Height>,
    (range, first_time): (&Range, u32),
    params: &Params,
) -> Result<Vec<ProvenHeader>, SuccinctError> {
    let verifier = read_headers(bytes, wanted, (range, first_time), params)?;
    Ok(verifier.shown.iter().map(Leaf::proven).collect())
}

/// Checks a proof as [`verify_headers`] does that shows the header at `height` alone. Answers that header and the range over
/// those before it, from which a chain of headers can go on.
///
/// # Errors
/// [`SuccinctError`].
pub fn verify_header(
    bytes: &[u8],
    height: Height,
    (range, first_time): (&Range, u32),
    params: &Params,
) -> Result<(ProvenHeader, Range), SuccinctError> {
    let verifier = read_headers(bytes, &BTreeSet::from([height]), (range, first_time), params)?;
    match &verifier.shown[..] {
        [leaf] if verifier.before_tail.leaves() == u64::from(height.as_u32()) => {
            Ok((leaf.proven(), verifier.before_tail))
        }
        _ => Err(SuccinctError::OtherHeaders { height }),
    }
}

/// Reads a proof of headers under a range, to its end. The verifier has seen all of them, and the range before the first.
fn read_headers<'a>(
    bytes: &'a [u8],
    wanted: &BTreeSet<Height>,
    (range, first_time): (&Range, u32),
    params: &'a Params,
) -> Result<Verifier<'a>, SuccinctError> {
    let end = Height::from_u32(u32::try_from(range.leaves()).unwrap_or(u32::MAX));
    let first_of_tail = wanted.first().copied().unwrap_or_default();
    let mut verifier = Verifier {
        first_time,
        first_of_tail,
        shown: Vec::new(),
        is_whole: false,
        ..Verifier::new(params, Reader(bytes))
    };
    for ((levels, first), peak) in mountains(end).zip(range.peaks()) {
        let after = first.saturating_add(1 << levels);
        if wanted.range(first..after).next().is_some() && verifier.node(levels, first)? != *peak {
            return Err(SuccinctError::OtherCommitment { height: after });
        }
        verifier.left.push(*peak);
    }
    verifier.end()?;
    let mut expected = wanted.iter();
    for leaf in &verifier.shown {
        if expected.next() != Some(&leaf.height) {
            return Err(SuccinctError::OtherHeaders { height: leaf.height });
        }
    }
    match expected.next() {
        Some(height) => Err(SuccinctError::OtherHeaders { height: *height }),
        None => Ok(verifier),
    }
}

/// What a proof shows.
struct Read {
    /// The headers, in the order of the chain: genesis first, the tip last.
    shown: Vec<Leaf>,
    /// The range over the headers before the last [`TAIL`] before the tip.
    range: Range,
    first_time: u32,
}

/// Reads and checks a whole proof, which shows `block`, or else no block in particular.
fn read(bytes: &[u8], block: Option<Height>, params: &Params) -> Result<Read, SuccinctError> {
    let mut bytes = Reader(bytes);
    let height = Height::from_u32(u32::from_le_bytes(bytes.array()?));
    let before_tip = height.prev().ok_or(SuccinctError::OnlyGenesis)?;
    let block = block.unwrap_or(height);
    let tip: Header = bytes.decode()?;
    let mut coinbase = Coinbase::read(&mut bytes)?;
    let first_of_tail = height.saturating_sub(TAIL);
    let mut verifier = Verifier { first_of_tail, ..Verifier::new(params, bytes) };
    for (levels, first) in mountains(height) {
        let peak = verifier.node(levels, first)?;
        verifier.left.push(peak);
    }
    verifier.end()?;
    let range = verifier.range(height)?;
    if range.work().0 == U256::MAX {
        return Err(SuccinctError::TooMuchWork);
    }
    coinbase.commit(&range.root())?;
    check_coinbase(&coinbase, &tip, height)?;
    let parent = verifier.parent(height).ok_or(SuccinctError::OtherHeaders { height: before_tip })?;
    let (tip_hash, own_work) = verifier.check_header(&tip, height, Some(parent.hash))?;
    // If block 1 is the tip, no other has shown it.
    let first_time = if height == FIRST { tip.time } else { verifier.first_time };
    let (mut shown, before_tail) = (verifier.shown, verifier.before_tail);
    if before_tail.leaves() != u64::from(first_of_tail.as_u32()) {
        return Err(SuccinctError::OtherHeaders { height: first_of_tail });
    }
    let strata = strata_per_octave(range.work(), own_work).ok_or(SuccinctError::CheapTip)?;
    let tail = range.work() - before_tail.work();
    let points = challenges(&params.genesis_hash, &tip_hash, range.work(), tail, strata);
    check_all_shown(&shown, &points, height, block)?;
    if height < block {
        return Err(SuccinctError::OtherHeaders { height: block });
    }
    shown.push(Leaf { height, header: tip, hash: tip_hash, before: range.work(), own_work, sampled: true });
    Ok(Read { shown, range: before_tail, first_time })
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

    fn proven(&self) -> ProvenHeader {
        ProvenHeader { height: self.height, header: self.header, hash: self.hash, place: self.milestone() }
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
    /// Whether it reads a whole chain and knows none of it. Else the caller has the peaks, which vouch for all nodes.
    is_whole: bool,
    /// The first header of the tail, or genesis.
    first_of_tail: Height,
    /// The range over the headers before it, once that header is read.
    before_tail: Range,
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
        Self {
            params,
            bytes,
            left: Vec::new(),
            first_time: 0,
            shown: vec![genesis],
            is_whole: true,
            first_of_tail: Height::GENESIS,
            before_tail: Range::default(),
        }
    }

    /// All bytes are read.
    fn end(&self) -> Result<(), SuccinctError> {
        match self.bytes.0.len() {
            0 => Ok(()),
            rest => Err(Malformed::Trailing(rest).into()),
        }
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
                if self.is_whole {
                    self.check_hidden(&node, first, 1 << levels)?;
                }
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
        if height == self.first_of_tail {
            self.before_tail = self.range(height)?;
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

/// Checks that exactly the required headers are shown, and the sampled ones with their coinbase.
fn check_all_shown(shown: &[Leaf], points: &[U256], height: Height, block: Height) -> Result<(), SuccinctError> {
    let first_of_tail = height.saturating_sub(TAIL);
    let missing = |height| SuccinctError::OtherHeaders { height };
    // Two headers always count as sampled. The first of the tail, because its coinbase ties the tail to all earlier
    // headers; and the payment's block, because its parent and commitment prove its height.
    // Collected, they would be sorted, whose code is 0.5 % of the browser's module.
    let (mut samples, mut needed) = (BTreeSet::new(), BTreeSet::new());
    samples.extend([first_of_tail, block.min(first_of_tail)].into_iter().filter(|leaf| *leaf > Height::GENESIS));
    needed.extend(first_of_tail.until(height).chain([Height::GENESIS, FIRST, block]).filter(|leaf| *leaf < height));
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
