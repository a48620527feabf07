//! The best chain of headers: in full from genesis on, or its end above what a proof shows.
//!
//! A chain that is followed from genesis keeps every header, 80 bytes each. One that begins with a succinct proof keeps the
//! last headers that the proof shows and all that came since, the headers sampled below, which say how much work stood where
//! and when, and the range over all headers below the first that is kept. Single headers below are proven under that range when
//! they are needed ([`Headers::learn`]).
//!
//! What the owner keeps is the proof, if there is one, and headers one after the other. They are checked like those from peers,
//! so damage costs no more than fetching the rest again. The hash of a block is the next header's `previous`, so none is stored.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use crate::consensus::headers::{HeaderChainError, HeaderTail};
use crate::consensus::params::Params;
use crate::primitives::codec;
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::mmr::Range;
use crate::primitives::target::Work;
use crate::receipt::succinct::{ProvenChain, ProvenHeader, SuccinctError, verify_chain, verify_headers};
use crate::receipt::weight::{Milestone, Weight, backwards, weigh, work_of};

/// Blocks below the tip among which a hash is searched one by one.
const RECENT: u32 = 2_016;
/// Blocks by which a chain is longer when a proof of it has fewer bytes than their headers.
pub const PROOF_AHEAD: u32 = 2_000;
/// Most headers that were proven one by one and are remembered; the oldest of them go first.
const MAX_LEARNED: usize = 100_000;
/// What kept bytes begin with if there is a proof; no header's version. The proof's length follows, four bytes.
const PROOF_MAGIC: [u8; 8] = *b"CAIRNLCP";

/// The chain. All of it is checked, and has more work than any other that was seen.
#[derive(Debug)]
pub struct Headers {
    params: Arc<Params>,
    /// What is known below the first header kept; `None` if that is block 1.
    base: Option<Base>,
    /// That of [`Headers::first`] first.
    headers: Vec<Header>,
    tail: HeaderTail,
    learned: Learned,
    /// How many of `headers` [`Headers::load`] has read.
    loaded: usize,
    changed: Changed,
}

/// What a proof shows below the headers that are kept.
#[derive(Debug)]
struct Base {
    /// The proof itself, for other pages.
    proof: Vec<u8>,
    /// Over all headers below the first kept.
    range: Range,
    /// Those that were sampled, in the order of the chain.
    sampled: Vec<ProvenHeader>,
    first_time: u32,
}

/// Headers below those kept that were proven one by one.
#[derive(Debug, Default)]
struct Learned {
    by_height: BTreeMap<Height, ProvenHeader>,
    /// In the order in which they came.
    order: VecDeque<Height>,
}

/// What changed since [`Headers::take_changes`].
#[derive(Debug, Default)]
struct Changed {
    /// Another beginning: a proof, or none.
    beginning: Option<Vec<u8>>,
    /// The height above which headers changed.
    above: Option<Height>,
}

/// What is to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// If set, these bytes take the place of all that was kept, and the headers follow them.
    pub beginning: Option<Vec<u8>>,
    /// The headers take the place of those kept above this height.
    pub above: Height,
    /// The headers above it, 80 bytes each.
    pub headers: Vec<u8>,
}

impl Headers {
    /// The chain of genesis alone.
    pub fn new(params: Arc<Params>) -> Self {
        let tail = HeaderTail::new(&params);
        Self {
            params,
            base: None,
            headers: Vec::new(),
            tail,
            learned: Learned::default(),
            loaded: 0,
            changed: Changed::default(),
        }
    }

    /// The bytes of a proof that begin what was kept, and how many bytes with those before them; `None` if it begins without.
    pub fn kept_proof(bytes: &[u8]) -> Option<(&[u8], usize)> {
        let rest = bytes.strip_prefix(&PROOF_MAGIC)?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let proof = rest.get(..u32::from_le_bytes(*length) as usize)?;
        Some((proof, PROOF_MAGIC.len() + 4 + proof.len()))
    }

    /// Takes what was kept, from its beginning on in as many calls as there are parts: a proof with what stands before it in one,
    /// then headers of 80 bytes. `false` if something does not continue the chain: nothing after it is taken. A part of a header
    /// at the end is left out.
    pub fn load(&mut self, bytes: &[u8]) -> bool {
        if bytes.starts_with(&PROOF_MAGIC) {
            let proof = Self::kept_proof(bytes).filter(|(_, length)| *length == bytes.len());
            let proven = proof.and_then(|(proof, _)| Some((verify_chain(proof, &self.params).ok()?, proof.to_vec())));
            return proven.map(|(proven, proof)| self.begin(proven, proof)).is_some();
        }
        // Any 80 bytes decode as a header.
        let read: Vec<Header> = bytes.chunks_exact(Header::LEN).filter_map(|bytes| codec::decode(bytes).ok()).collect();
        // The proof shows the first of them too.
        let ahead = self.headers.get(self.loaded..).unwrap_or_default();
        let known = ahead.iter().zip(&read).take_while(|(kept, read)| kept == read).count();
        self.loaded += known;
        let rest = &read[known..];
        if rest.is_empty() {
            return true;
        }
        if self.loaded < self.headers.len() {
            // The chain has another end than the proof's.
            let last = self.loaded.checked_sub(1).map(|above| self.first().saturating_add(above as u32));
            let Some(tail) = last.and_then(|last| self.tail(last)) else { return false };
            self.tail = tail;
            self.headers.truncate(self.loaded);
        }
        let before = self.height();
        let is_whole = self.tail.extend(rest, &self.params).is_ok();
        self.headers.reserve_exact(rest.len());
        self.headers.extend(&rest[..self.height().blocks_since(before) as usize]);
        self.loaded = self.headers.len();
        is_whole
    }

    /// The headers from the first kept on, as [`Headers::load`] takes them.
    pub fn kept_bytes(&self) -> Vec<u8> {
        self.bytes_from(0)
    }

    /// The bytes of the headers kept, but for so many first ones.
    fn bytes_from(&self, place: usize) -> Vec<u8> {
        self.headers[place..].iter().flat_map(Header::to_bytes).collect()
    }

    /// What is to be kept, if anything changed since the last call.
    pub fn take_changes(&mut self) -> Option<Kept> {
        let Changed { beginning, above } = std::mem::take(&mut self.changed);
        let before_first = self.first().saturating_sub(1);
        let above = match (&beginning, above) {
            (Some(_), _) => before_first,
            (None, above) => above?.max(before_first),
        };
        let beginning = beginning.map(|proof| match proof.len() {
            0 => proof,
            length => [&PROOF_MAGIC[..], &(length as u32).to_le_bytes(), &proof].concat(),
        });
        let place = above.blocks_since(before_first) as usize;
        Some(Kept { beginning, above, headers: self.bytes_from(place) })
    }

    /// The parameters of the network whose chain this is.
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// Height of the last header.
    pub fn height(&self) -> Height {
        self.tail.height()
    }

    /// Height of the first header from which on all are kept.
    pub fn first(&self) -> Height {
        self.base.as_ref().map_or(Height::GENESIS.next(), |base| Height::from_u32(base.range.leaves() as u32))
    }

    /// How many headers are kept.
    pub fn kept(&self) -> usize {
        self.headers.len()
    }

    /// The last header.
    pub fn tip(&self) -> &Header {
        self.tail.tip()
    }

    /// The hash of the last header.
    pub fn tip_hash(&self) -> BlockHash {
        self.tail.tip_hash()
    }

    /// Expected hashes behind the whole chain.
    pub fn work(&self) -> Work {
        self.tail.work()
    }

    /// The header at a height, as far as it is known.
    pub fn header(&self, height: Height) -> Option<&Header> {
        if height == Height::GENESIS {
            return Some(&self.params.genesis.header);
        }
        match height.checked_sub(self.first().as_u32()) {
            Some(place) => self.headers.get(place.as_usize()),
            None => self.below(height).map(|proven| &proven.header),
        }
    }

    /// The hash of the block at a height, as far as it is known.
    pub fn hash(&self, height: Height) -> Option<BlockHash> {
        if height == self.height() {
            return Some(self.tip_hash());
        }
        let next = height.checked_add(1)?;
        if next >= self.first() {
            return self.header(next).map(|next| next.previous);
        }
        match height {
            Height::GENESIS => Some(self.params.genesis_hash),
            height => self.below(height).map(|proven| proven.hash),
        }
    }

    /// A header below those kept that was proven.
    fn below(&self, height: Height) -> Option<&ProvenHeader> {
        let sampled = &self.base.as_ref()?.sampled;
        let place = sampled.binary_search_by_key(&height, |proven| proven.height);
        place.ok().map(|place| &sampled[place]).or_else(|| self.learned.by_height.get(&height))
    }

    /// Those of `heights` whose headers can be had, but are not known yet.
    pub fn unknown(&self, heights: impl IntoIterator<Item = Height>) -> impl Iterator<Item = Height> {
        heights.into_iter().filter(|height| *height < self.first() && self.header(*height).is_none())
    }

    /// The proof of what is below the first header kept, and of some headers from there on; `None` if nothing is below it.
    pub fn proof(&self) -> Option<&[u8]> {
        self.base.as_ref().map(|base| &base.proof[..])
    }

    /// The block below which headers are proven: the first kept. `None` if nothing is below it.
    pub fn anchor(&self) -> Option<BlockHash> {
        self.base.as_ref().and_then(|_| self.hash(self.first()))
    }

    /// Takes headers at the heights `wanted` that are proven to be below the [anchor](Headers::anchor).
    ///
    /// # Errors
    /// Why they are not.
    pub fn learn(&mut self, proof: &[u8], wanted: &BTreeSet<Height>) -> Result<(), SuccinctError> {
        let Some(Base { range, first_time, .. }) = &self.base else { return Ok(()) };
        for proven in verify_headers(proof, wanted, (range, *first_time), &self.params)? {
            if self.learned.by_height.insert(proven.height, proven).is_none() {
                self.learned.order.push_back(proven.height);
            }
        }
        while self.learned.order.len() > MAX_LEARNED {
            self.learned.order.pop_front().and_then(|height| self.learned.by_height.remove(&height));
        }
        Ok(())
    }

    /// The height of a block, if it is one of the last few thousand.
    pub fn recent(&self, hash: &BlockHash) -> Option<Height> {
        let lowest = self.height().saturating_sub(RECENT).max(self.first().saturating_sub(1));
        lowest.through(self.height()).rev().find(|height| self.hash(*height).as_ref() == Some(hash))
    }

    /// The height of a block, as far as it is known: looks at all of them.
    pub fn height_of(&self, hash: &BlockHash) -> Option<Height> {
        let lowest = self.first().saturating_sub(1);
        let kept = lowest.through(self.height()).rev().find(|height| self.hash(*height).as_ref() == Some(hash));
        let learned = || self.learned.by_height.values().find(|proven| proven.hash == *hash);
        let sampled = || self.base.as_ref()?.sampled.iter().find(|proven| proven.hash == *hash);
        kept.or_else(|| learned().or_else(sampled).map(|proven| proven.height))
    }

    /// Heights and hashes from `top` down, ten one by one, then at doubling distances, to the lowest kept and genesis.
    pub fn locator(&self, top: Height) -> Vec<(Height, BlockHash)> {
        let (mut places, mut height, mut step) = (Vec::new(), top.min(self.height()), 1);
        let lowest = self.first().saturating_sub(1);
        loop {
            places.extend(self.hash(height).map(|hash| (height, hash)));
            if height <= lowest {
                break;
            }
            if places.len() >= 10 {
                step *= 2;
            }
            height = height.saturating_sub(step).max(lowest);
        }
        if height > Height::GENESIS {
            places.push((Height::GENESIS, self.params.genesis_hash));
        }
        places
    }

    /// Expected hashes behind the chain up to a height, as far as it is known.
    pub fn work_at(&self, height: Height) -> Option<Work> {
        let first = self.first();
        if height.next() >= first {
            let above = self.headers.iter().skip(height.next().blocks_since(first) as usize);
            return (height <= self.height()).then(|| self.work() - above.map(work_of).sum());
        }
        match height {
            Height::GENESIS => Some(self.params.genesis_target.work()),
            height => self.below(height).map(|proven| proven.place.after),
        }
    }

    /// The work of the block at a height and all blocks above it, which was due until the time `until`, in seconds since
    /// 1970; `None` above the tip, and where nothing is known.
    pub fn weight(&self, height: Height, until: u32) -> Option<Weight> {
        let header = self.header(height)?;
        let block = Milestone { after: self.work_at(height)?, own: work_of(header), time: header.time };
        // Genesis is among the sampled headers, if there are any.
        let lowest = if self.base.is_some() { self.first() } else { Height::GENESIS };
        let kept = lowest.until(height).rev().filter_map(|height| self.header(height));
        let sampled = self.base.iter().flat_map(|base| base.sampled.iter().rev());
        let sampled = sampled.filter(|proven| proven.height < height).map(|proven| proven.place);
        let earlier = backwards(kept, block.after - block.own).chain(sampled);
        Some(weigh(block, earlier, self.work(), until))
    }

    /// The chain up to a height, as the rules see it, as far as it is known.
    pub fn tail(&self, height: Height) -> Option<HeaderTail> {
        if height == self.height() {
            return Some(self.tail);
        }
        let tip = (*self.header(height)?, self.hash(height)?);
        let first_time = match &self.base {
            Some(base) if height > Height::GENESIS => base.first_time,
            _ => self.header(height.min(Height::GENESIS.next()))?.time,
        };
        Some(HeaderTail::checked(tip, height, self.work_at(height)?, first_time))
    }

    /// Appends headers up to the first that breaks a rule; returns how many were added.
    ///
    /// # Errors
    /// Beside that number, why the next was not.
    pub fn extend(&mut self, headers: &[Header]) -> (usize, Result<(), HeaderChainError>) {
        let mut tail = self.tail;
        let (taken, result) = match tail.extend(headers, &self.params) {
            Ok(()) => (headers.len(), Ok(())),
            Err((taken, error)) => (taken, Err(error)),
        };
        if taken > 0 {
            self.replace(self.height(), &headers[..taken], tail);
        }
        (taken, result)
    }

    /// Puts checked headers in the place of those above a height, which is genesis's or one from just below the first kept on.
    /// `tail` is that of the chain which they make.
    pub fn replace(&mut self, fork: Height, headers: &[Header], tail: HeaderTail) {
        if fork.next() < self.first() {
            // All headers of another chain.
            (self.base, self.learned) = (None, Learned::default());
            self.headers.clear();
            self.changed.beginning = Some(Vec::new());
        }
        self.headers.truncate(fork.next().blocks_since(self.first()) as usize);
        if self.headers.len() + headers.len() > self.headers.capacity() {
            // Doubling would leave up to half of the memory unused.
            self.headers.reserve_exact(headers.len().max(self.headers.len() / 8));
        }
        self.headers.extend_from_slice(headers);
        self.tail = tail;
        self.changed.above = Some(self.changed.above.map_or(fork, |above| above.min(fork)));
    }

    /// Puts a proven chain in the place of this one; `proof` is its proof. Answers the last height at which both are known to have
    /// the same block: genesis's, if this one's end is neither among the headers that the proof shows nor shortly below them.
    pub fn adopt(&mut self, proven: ProvenChain, proof: Vec<u8>) -> Height {
        let first = Height::from_u32(proven.range.leaves() as u32).max(Height::GENESIS.next());
        let shown = (first.through(Height::MAX)).zip(&proven.last);
        let is_same = |(height, header): &(Height, &Header)| self.header(*height) == Some(*header);
        let below = proven.last.first().filter(|header| self.hash(first.saturating_sub(1)) == Some(header.previous));
        let fork = match (below, shown.take_while(is_same).last()) {
            (_, Some((height, _))) => height,
            (Some(_), None) => first.saturating_sub(1),
            (None, None) => Height::GENESIS,
        };
        if fork == Height::GENESIS {
            self.learned = Learned::default();
        }
        self.begin(proven, proof.clone());
        self.changed = Changed { beginning: Some(proof), above: None };
        fork
    }

    /// Puts a proof of this very chain, up to its tip or a block shortly before, in the place of headers.
    pub fn shorten(&mut self, proven: ProvenChain, proof: Vec<u8>) {
        let (at, end) = (proven.tail.height(), self.tail);
        // A block on the chain may commit to something else than is before it; then its proof is not of this chain.
        if self.tail(at) != Some(proven.tail) {
            return;
        }
        let newer = self.headers[at.next().blocks_since(self.first()) as usize..].to_vec();
        self.begin(proven, proof.clone());
        self.headers.extend(newer);
        self.tail = end;
        self.changed = Changed { beginning: Some(proof), above: None };
    }

    fn begin(&mut self, proven: ProvenChain, proof: Vec<u8>) {
        let ProvenChain { tail, sampled, range, last } = proven;
        let first_time = tail.checkpoint().first_time;
        self.base = (range.leaves() > 1).then_some(Base { proof, range, sampled, first_time });
        (self.headers, self.tail, self.loaded) = (last, tail, 0);
    }
}
