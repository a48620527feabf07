//! The best chain of headers: 80 bytes a block, in memory and wherever the owner keeps them.
//!
//! What is kept is the headers from height 1 on, one after the other, and nothing else. Headers that were kept are
//! checked like headers from peers, so damage costs no more than fetching the rest again. The hash of a block is the
//! next header's `previous`, so none is stored.

use std::sync::Arc;

use crate::consensus::headers::{HeaderChainError, HeaderTail};
use crate::consensus::params::Params;
use crate::primitives::codec;
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::target::Work;
use crate::receipt::weight::{Milestone, Weight, backwards, weigh, work_of};

/// Blocks below the tip among which a hash is searched one by one.
const RECENT: u32 = 2_016;

/// The chain. All of it is checked, and has more work than any other that was seen.
#[derive(Debug)]
pub struct Headers {
    params: Arc<Params>,
    /// That of height 1 first.
    headers: Vec<Header>,
    tail: HeaderTail,
    /// The height above which headers changed since [`Headers::take_changes`].
    changed_above: Option<Height>,
}

impl Headers {
    /// The chain of genesis alone.
    pub fn new(params: Arc<Params>) -> Self {
        let tail = HeaderTail::new(&params);
        Self { params, headers: Vec::new(), tail, changed_above: None }
    }

    /// Appends headers that were kept, up to the first that does not continue the chain; `false` if there is one. `bytes`
    /// are headers of 80 bytes, one after the other; a part of one at the end is left out.
    pub fn load(&mut self, bytes: &[u8]) -> bool {
        // Any 80 bytes decode as a header.
        let read: Vec<Header> = bytes.chunks_exact(Header::LEN).filter_map(|bytes| codec::decode(bytes).ok()).collect();
        let before = self.headers.len();
        let is_whole = self.tail.extend(&read, &self.params).is_ok();
        self.headers.reserve_exact(read.len());
        self.headers.extend(&read[..self.tail.height().as_usize() - before]);
        is_whole
    }

    /// What is to be kept in place of all that was kept above a height, if anything changed since the last call: that
    /// height, and the headers above it, as [`Headers::load`] takes them.
    pub fn take_changes(&mut self) -> Option<(Height, Vec<u8>)> {
        let above = self.changed_above.take()?;
        Some((above, self.headers[above.as_usize()..].iter().flat_map(Header::to_bytes).collect()))
    }

    /// The parameters of the network whose chain this is.
    pub fn params(&self) -> &Arc<Params> {
        &self.params
    }

    /// Height of the last header.
    pub fn height(&self) -> Height {
        self.tail.height()
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

    /// The header at a height.
    pub fn header(&self, height: Height) -> Option<&Header> {
        match height.checked_sub(1) {
            None => Some(&self.params.genesis.header),
            Some(place) => self.headers.get(place.as_usize()),
        }
    }

    /// The hash of the block at a height.
    pub fn hash(&self, height: Height) -> Option<BlockHash> {
        if height == self.height() {
            return Some(self.tip_hash());
        }
        self.header(height.checked_add(1)?).map(|next| next.previous)
    }

    /// The height of a block, if it is one of the last few thousand.
    pub fn recent(&self, hash: &BlockHash) -> Option<Height> {
        let lowest = self.height().saturating_sub(RECENT);
        lowest.through(self.height()).rev().find(|height| self.hash(*height).as_ref() == Some(hash))
    }

    /// The height of a block, however far down: looks at all of them.
    pub fn height_of(&self, hash: &BlockHash) -> Option<Height> {
        Height::GENESIS.through(self.height()).rev().find(|height| self.hash(*height).as_ref() == Some(hash))
    }

    /// Heights and hashes from `top` down to genesis, ten one by one, then at doubling distances.
    pub fn locator(&self, top: Height) -> Vec<(Height, BlockHash)> {
        let (mut places, mut height, mut step) = (Vec::new(), top.min(self.height()), 1);
        loop {
            places.extend(self.hash(height).map(|hash| (height, hash)));
            if height == Height::GENESIS {
                return places;
            }
            if places.len() >= 10 {
                step *= 2;
            }
            height = height.saturating_sub(step);
        }
    }

    /// Expected hashes behind the chain up to a height, which must not be above the tip.
    pub fn work_at(&self, height: Height) -> Work {
        let above = self.headers.iter().skip(height.as_usize());
        self.work() - above.map(work_of).sum()
    }

    /// The work of the block at a height and all blocks above it, which was due until the time `until`, in seconds since
    /// 1970; `None` above the tip.
    pub fn weight(&self, height: Height, until: u32) -> Option<Weight> {
        let header = self.header(height)?;
        let block = Milestone { after: self.work_at(height), own: work_of(header), time: header.time };
        let earlier = Height::GENESIS.until(height).rev().filter_map(|height| self.header(height));
        Some(weigh(block, backwards(earlier, block.after - block.own), self.work(), until))
    }

    /// The chain up to a height, which must not be above the tip, as the rules see it.
    pub fn tail(&self, height: Height) -> Option<HeaderTail> {
        if height == self.height() {
            return Some(self.tail);
        }
        let tip = (*self.header(height)?, self.hash(height)?);
        let first_time = self.header(height.min(Height::GENESIS.next()))?.time;
        Some(HeaderTail::checked(tip, height, self.work_at(height), first_time))
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

    /// Puts checked headers in the place of those above a height. `tail` is that of the chain which they make.
    pub fn replace(&mut self, fork: Height, headers: &[Header], tail: HeaderTail) {
        self.headers.truncate(fork.as_usize());
        if self.headers.len() + headers.len() > self.headers.capacity() {
            // Doubling would leave up to half of the memory unused.
            self.headers.reserve_exact(headers.len().max(self.headers.len() / 8));
        }
        self.headers.extend_from_slice(headers);
        self.tail = tail;
        self.changed_above = Some(self.changed_above.map_or(fork, |above| above.min(fork)));
    }
}
