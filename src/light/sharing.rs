//! What a page gives other pages: its headers and the proof below them, news of its tip, and their payments.
//!
//! A page has no blocks, coins or filters, and answers nothing about them.

use super::Light;
use super::headers::Headers;
use crate::p2p::bucket::{Bucket, Rate};
use crate::p2p::chain_proofs::{ChainAnswer, ChainQuery};
use crate::p2p::message::{Item, MAX_HEADERS, Message};
use crate::p2p::sync::MAX_ANNOUNCED;
use crate::p2p::{Now, PeerId};
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::time::MonoTime;

/// Bytes of answers that a page is given at once: a proof, and as many headers as are kept above it.
const BURST: u64 = 4_000_000;
/// Bytes a millisecond that it is given besides.
const GAIN: u64 = 20;
/// What an answer costs at least: one looks through the headers that are kept.
const LEAST: u64 = 20_000;
const RATE: Rate = Rate { gain: GAIN, most: BURST };

/// How much each page may still be given.
#[derive(Debug, Default)]
pub(super) struct Sharing(Vec<(PeerId, Bucket)>);

impl Sharing {
    pub(super) fn disconnected(&mut self, page: PeerId) {
        self.0.retain(|(other, _)| *other != page);
    }

    /// Whether a page may be given an answer of so many bytes.
    fn takes(&mut self, now: MonoTime, page: PeerId, bytes: usize) -> bool {
        let place = self.0.iter().position(|(other, _)| *other == page).unwrap_or_else(|| {
            self.0.push((page, Bucket::full(now, RATE)));
            self.0.len() - 1
        });
        self.0[place].1.take(now, RATE, (bytes as u64).max(LEAST))
    }
}

/// The answer to a question for headers: those after the first hash of the locator that is on the chain, as far as they are kept.
fn headers_after(chain: &Headers, locator: &[BlockHash]) -> Message {
    let lowest = chain.first().saturating_sub(1);
    let known = |hash: &BlockHash| {
        let is_genesis = lowest == Height::GENESIS && *hash == chain.params().genesis_hash;
        if is_genesis { Some(lowest) } else { chain.recent(hash).or_else(|| chain.height_of(hash)) }
    };
    match locator.iter().find_map(|hash| known(hash).filter(|height| *height >= lowest)) {
        Some(fork) => {
            let heights = fork.next().through(chain.height()).take(MAX_HEADERS);
            Message::Headers(heights.filter_map(|height| chain.header(height).copied()).collect())
        }
        None => Message::NoHeaders { from: Height::GENESIS.next(), end: chain.first() },
    }
}

impl Light {
    /// Handles a page's message, after its hello. One that a page has no reason to send is ignored.
    pub(super) fn received_from_page(&mut self, now: Now, id: PeerId, message: Message, at: MonoTime) {
        match message {
            Message::Ping(nonce) => self.out.send(id, Message::Pong(nonce)),
            Message::Pong(nonce) => self.peering.pings.pong(at, id, nonce),
            // Charged before the answer is worked out, which takes a look through the headers for each hash.
            Message::GetHeaders { locator, .. } if self.protocols.sharing.takes(now.mono, id, LEAST as usize) => {
                let answer = headers_after(&self.chain, &locator);
                self.give(now, id, answer);
            }
            Message::GetChainProof(query) => {
                let proof = (query == ChainQuery::Tip).then(|| self.chain.proof().map(<[u8]>::to_vec)).flatten();
                self.give(now, id, Message::ChainProof(ChainAnswer { query, proof }));
            }
            Message::Headers(headers) => self.headers(now, id, &headers),
            Message::NoHeaders { .. } => self.protocols.branches.lacks_headers(now, id, &mut self.out),
            Message::ChainProof(answer) => self.chain_proof(now, id, answer),
            Message::Inventory(items) => {
                for item in items {
                    match item {
                        Item::Block(hash) | Item::CompactBlock(hash) => {
                            self.protocols.branches.announced(now, id, hash, &self.chain, &mut self.out);
                        }
                        Item::Transaction(txid) => self.protocols.handover.announced(id, txid, &mut self.out),
                    }
                }
            }
            Message::GetData(mut items) => {
                items.sort_unstable();
                items.dedup();
                let bytes: usize = items.iter().map(|item| self.protocols.handover.bytes_of(item)).sum();
                if self.protocols.sharing.takes(now.mono, id, bytes) {
                    self.protocols.handover.requested(id, items, &mut self.out);
                }
            }
            Message::Transaction(tx) => {
                self.heard_of(id, tx.txid(), true);
                let ready: Vec<PeerId> = self.peering.peers.ready().collect();
                self.protocols.handover.relay(now, id, tx, &ready, &mut self.out);
            }
            Message::NotFound(items) => {
                for item in items {
                    if let Item::Transaction(txid) = item {
                        self.heard_of(id, txid, false);
                    }
                }
            }
            _ => {}
        }
    }

    /// Sends a page an answer, unless it has had too much.
    fn give(&mut self, now: Now, page: PeerId, answer: Message) {
        if self.protocols.sharing.takes(now.mono, page, answer.encoded_len()) {
            self.out.send(page, answer);
        }
    }

    /// Tells pages of the tip, which stands above `fork`. One that has shown it learns that it is here, too.
    pub(super) fn announce_tip(&mut self, fork: Height) {
        let tip = self.chain.tip_hash();
        let news: Vec<Header> = match self.chain.height().blocks_since(fork) as usize {
            count if count <= MAX_ANNOUNCED => {
                let heights = fork.next().through(self.chain.height());
                heights.filter_map(|height| self.chain.header(height).copied()).collect()
            }
            _ => Vec::new(),
        };
        let is_page = |id: &PeerId| self.peering.peers.get(*id).is_some_and(|peer| peer.address.is_page());
        let pages: Vec<PeerId> = self.peering.peers.ready().filter(is_page).collect();
        for page in pages {
            let has_it = self.protocols.branches.shown(page).is_some_and(|shown| shown.hash == tip);
            let announcement = if has_it || news.is_empty() {
                Message::Inventory(vec![Item::Block(tip)])
            } else {
                Message::Headers(news.clone())
            };
            self.out.send(page, announcement);
        }
    }
}
