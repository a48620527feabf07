//! Answers to requests for block filters and their headers (BIP-157). `serve` schedules them.

use crate::chain::Chain;
use crate::consensus::params::MAX_BLOCK_BYTES;
use crate::p2p::interface::Event;
use crate::p2p::message::{MAX_FILTER_HEADERS, MAX_FILTERS, MAX_FILTERS_BYTES, Message};
use crate::p2p::outbox::Outbox;
use crate::primitives::hash::{BlockHash, FilterHash, FilterHeader};
use crate::primitives::height::Height;
use crate::storage::{BlockKey, StoreError};

/// The greatest filter, as [`MAX_FILTERS_BYTES`] explains it, with its block's hash and the lengths fits one answer.
const _: () = assert!(MAX_BLOCK_BYTES as usize / 16 + 64 <= MAX_FILTERS_BYTES);

/// The requested content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Its filter's hash.
    Headers,
    /// The filter.
    Filters,
}

/// A request for a part of the best chain.
#[derive(Debug)]
pub(super) struct FilterRequest {
    pub(super) content: Content,
    /// Height of the first block.
    pub(super) start_height: Height,
    /// The last block.
    pub(super) stop: BlockHash,
}

impl FilterRequest {
    /// Whether it asks for more than one answer may hold. No change of the chain can alter that: a block has one
    /// height.
    pub(super) fn is_too_long(&self, chain: &Chain) -> bool {
        let max = match self.content {
            Content::Headers => MAX_FILTER_HEADERS,
            Content::Filters => MAX_FILTERS,
        };
        let stop = chain.entry(&self.stop).map(|entry| entry.height);
        stop.is_some_and(|stop| stop.blocks_since(self.start_height) as usize >= max)
    }

    /// The answer, which is empty unless all is on the best chain: the tip may have moved since the peer last heard of it.
    pub(super) fn answer(&self, chain: &Chain, out: &mut Outbox) -> Message {
        let answer = match self.content {
            Content::Headers => self.headers(chain),
            Content::Filters => self.filters(chain),
        };
        answer.unwrap_or_else(|error| {
            out.event(Event::StoreFailed { error: error.to_string() });
            match self.content {
                Content::Headers => self.header_message(FilterHeader::ZERO, Vec::new()),
                Content::Filters => Message::Filters(Vec::new()),
            }
        })
    }

    /// The blocks that the request is about; none if it cannot be answered, as for the filters of pruned blocks
    /// or the filter headers of those before the state from which the node started.
    fn blocks<'a>(&self, chain: &'a Chain) -> impl Iterator<Item = BlockKey> + use<'a> {
        let lowest = match self.content {
            Content::Headers => chain.started_from().map_or(Height::GENESIS, Height::next),
            Content::Filters => chain.kept_from(),
        };
        let are_kept = self.start_height >= lowest;
        let stop =
            chain.entry(&self.stop).filter(|stop| chain.is_on_best_chain(stop) && !self.is_too_long(chain) && are_kept);
        let heights = stop.map(|stop| self.start_height.through(stop.height)).into_iter().flatten();
        heights.filter_map(|height| chain.entry_at(height).map(|entry| entry.key()))
    }

    fn headers(&self, chain: &Chain) -> Result<Message, StoreError> {
        let db = chain.db();
        let hashes = self.blocks(chain).map(|at| Ok(db.filter_header_of(&at)?.0));
        let hashes = hashes.collect::<Result<Vec<FilterHash>, StoreError>>()?;
        let before = self.start_height.prev().filter(|_| !hashes.is_empty());
        let before = before.and_then(|height| chain.entry_at(height));
        let previous = before.map_or(Ok(FilterHeader::ZERO), |entry| Ok(db.filter_header_of(&entry.key())?.1))?;
        Ok(self.header_message(previous, hashes))
    }

    fn header_message(&self, previous: FilterHeader, hashes: Vec<FilterHash>) -> Message {
        Message::FilterHeaders { stop: self.stop, previous, hashes }
    }

    fn filters(&self, chain: &Chain) -> Result<Message, StoreError> {
        let db = chain.db();
        let mut filters = Vec::new();
        let mut bytes = Message::Filters(Vec::new()).encoded_len();
        for at in self.blocks(chain) {
            let stored = db.filter(&at)?;
            let (filter, _) = stored.ok_or_else(|| db.corrupt(format!("block {} has no filter", at.hash)))?;
            let filter = filter.as_bytes().to_vec();
            bytes += 32 + 8 + filter.len();
            if bytes > MAX_FILTERS_BYTES {
                break;
            }
            filters.push((at.hash, filter));
        }
        Ok(Message::Filters(filters))
    }
}
