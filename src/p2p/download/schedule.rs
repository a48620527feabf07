//! Which peer is asked for which blocks.

use super::{Available, Download, Request, Source, WINDOW};
use crate::chain::Chain;
use crate::p2p::blocks::MAX_AHEAD;
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::message::{Item, Message};
use crate::p2p::outbox::Outbox;
use crate::p2p::sync::HeaderSync;
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;

/// With at most this many blocks missing, a peer that stalled is avoided until it delivers a block. Otherwise it could
/// hold up each new block by announcing it first and never delivering it. With more missing, as in the initial
/// synchronisation, slow peers are needed.
const MAX_MISSING_TO_AVOID: usize = 8;
/// Compact forms accepted for one request: a push may cross with it.
const MAX_COMPACTS: u8 = 2;

impl Download {
    /// Requests missing blocks from peers that have them and have room. Looks for that only if something has changed
    /// since it last did, so the node can end every call with this.
    pub(in crate::p2p) fn schedule(&mut self, now: Now, chain: &Chain, sync: &HeaderSync, out: &mut Outbox) {
        let basis = Some((sync.revision(), chain.tip().hash, chain.best_header().hash));
        if !std::mem::take(&mut self.changed) && self.basis == basis {
            return;
        }
        self.basis = basis;
        self.reassign(now, chain, sync);
        let moved = self.delivered >= WINDOW / 8 || self.requests.is_empty();
        if self.wanted.is_empty() && (self.stale || (moved && self.delivered > 0)) {
            let missing = chain.missing_bodies(WINDOW, WINDOW as usize);
            self.wanted = missing.into_iter().filter(|(hash, _)| !self.requests.contains_key(hash)).collect();
            self.stale = false;
            self.delivered = 0;
        }
        // Peers that did not stall first, then those with fewest requests.
        let mut order: Vec<(bool, usize, PeerId)> = self
            .sources
            .iter()
            .filter(|(_, source)| source.in_flight * 2 <= source.limit)
            .map(|(peer, source)| (self.is_avoided(now, source), source.in_flight, *peer))
            .collect();
        order.sort_unstable();
        for (avoided, _, peer) in order {
            let Some(best) = sync.best(peer, chain) else { continue };
            let common = chain.fork_point(&best, &chain.best_header()).height;
            let Some(source) = self.sources.get(&peer) else { continue };
            let room = source.limit.saturating_sub(source.in_flight);
            let available = self.available(&source.kept, best.height);
            let has = |height: Height| available.has(height);
            let in_reach = self.wanted.iter().map(|(_, height)| *height).take_while(|height| *height <= common);
            let first = in_reach.into_iter().find(|height| has(*height));
            if avoided && self.others_have(now, peer, first.unwrap_or(common), chain, sync) {
                continue;
            }
            let mut portion: Vec<(BlockHash, Height)> = Vec::new();
            if first.is_some() {
                self.wanted.retain(|(hash, height)| {
                    let is_asked = portion.len() < room && *height <= common && has(*height);
                    if is_asked {
                        portion.push((*hash, *height));
                    }
                    !is_asked
                });
            }
            if portion.is_empty() && best.height > common && best.work > chain.tip().work && !best.is_invalid() {
                let missing = chain.missing_bodies_to(&best, WINDOW, WINDOW as usize).into_iter();
                let is_open = |(hash, height): &(BlockHash, Height)| has(*height) && !self.requests.contains_key(hash);
                portion.extend(missing.filter(is_open).take(room));
            }
            self.request(now, peer, portion, chain, out);
        }
        self.lacking = self.find_lacking(now, chain, sync);
    }

    /// The lowest wanted block that no peer has whose chain comes so far. What a peer that stalled says of runs does not count.
    fn find_lacking(&self, now: Now, chain: &Chain, sync: &HeaderSync) -> Option<Height> {
        let (first, last) = (self.wanted.front()?.1, self.wanted.back()?.1);
        let tip = chain.best_header();
        let in_reach = self.sources.iter().filter_map(|(peer, source)| {
            let common = sync.common_height(*peer, &tip, chain).filter(|common| *common >= first)?;
            let mut available = self.available(&source.kept, sync.best(*peer, chain)?.height);
            available.archived.take_if(|_| self.is_avoided(now, source));
            Some((available, common))
        });
        let sources: Vec<(Available, Height)> = in_reach.collect();
        if sources.iter().any(|(available, common)| available.lowest <= first && *common >= last) {
            return None;
        }
        let has = |height: Height| sources.iter().any(|(available, common)| height <= *common && available.has(height));
        self.wanted.iter().map(|(_, height)| *height).find(|height| !has(*height))
    }

    /// Whether a peer is asked only if no other has the block.
    fn is_avoided(&self, now: Now, source: &Source) -> bool {
        let are_few = self.requests.len() + self.wanted.len() <= MAX_MISSING_TO_AVOID;
        source.penalised_until.is_some_and(|until| until > now.mono) || source.is_holding_up && are_few
    }

    /// Re-request from a better peer any block that a penalised peer was asked for only because no other had it.
    fn reassign(&mut self, now: Now, chain: &Chain, sync: &HeaderSync) {
        let asked_for_want = |source: &Source| source.in_flight > 0 && self.is_avoided(now, source);
        let asked: Vec<PeerId> =
            self.sources.iter().filter(|(_, source)| asked_for_want(source)).map(|(peer, _)| *peer).collect();
        for peer in asked {
            let heights = self.requests.values().filter(|request| request.peer == peer).map(|request| request.height);
            if heights.min().is_some_and(|height| self.others_have(now, peer, height, chain, sync)) {
                self.release(peer);
            }
        }
    }

    fn request(&mut self, now: Now, peer: PeerId, portion: Vec<(BlockHash, Height)>, chain: &Chain, out: &mut Outbox) {
        let Some(source) = self.sources.get_mut(&peer).filter(|_| !portion.is_empty()) else { return };
        if source.in_flight == 0 {
            source.progress = now.mono;
        }
        source.in_flight += portion.len();
        let items = match portion[..] {
            [(hash, height)]
                if height <= chain.tip().height.saturating_add(MAX_AHEAD) && !self.whole.contains(&hash) =>
            {
                vec![Item::CompactBlock(hash)]
            }
            _ => portion.iter().map(|(hash, _)| Item::Block(*hash)).collect(),
        };
        let since = now.mono;
        let request = |height| Request { peer, height, since, compacts: MAX_COMPACTS };
        self.requests.extend(portion.into_iter().map(|(hash, height)| (hash, request(height))));
        // With this asked for, the next may be in reach.
        self.changed = true;
        out.send(peer, Message::GetData(items));
    }

    /// Whether another peer that is not avoided has the branch up to a height.
    pub(super) fn others_have(&self, now: Now, peer: PeerId, height: Height, chain: &Chain, sync: &HeaderSync) -> bool {
        self.sources.iter().any(|(other, source)| {
            *other != peer
                && !self.is_avoided(now, source)
                && sync.best(*other, chain).is_some_and(|best| self.available(&source.kept, best.height).has(height))
                && sync.common_height(*other, &chain.best_header(), chain).is_some_and(|common| common >= height)
        })
    }
}
