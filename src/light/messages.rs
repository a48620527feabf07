//! What each message leads to.

use super::protocols::Protocols;
use super::{Light, Notice};
use crate::p2p::addrbook::PeerAddress;
use crate::p2p::chain_proofs::{ChainAnswer, ChainQuery};
use crate::p2p::coins::Opening;
use crate::p2p::kad::Contact;
use crate::p2p::message::{Item, Message};
use crate::p2p::misbehaviour::Offence;
use crate::p2p::{Now, PeerId, Reason};
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::header::Header;
use crate::primitives::time::{MonoTime, UnixTime};

impl Light {
    /// A peer sent a message, which was read `at` a time.
    pub(super) fn received(&mut self, now: Now, id: PeerId, message: Message, at: MonoTime) {
        let Some(peer) = self.peering.peers.get_mut(id) else { return };
        let (address, ip) = (peer.address, peer.address.ip());
        let (kind, bytes) = (message.kind(), message.encoded_len() as u64);
        match self.received.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, sum)) => *sum += bytes,
            None => self.received.push((kind, bytes)),
        }
        if peer.hello.is_none() != matches!(message, Message::Hello(_)) {
            return self.out.offence(id, Offence::OutOfTurn(message.kind()));
        }
        if message.is_of_exchange() && self.protocols.pages.takes_part() {
            if matches!(message, Message::ContentBlock(_)) {
                self.protocols.finding.gives(now.mono, &address);
            }
            return self.notice(Notice::Content(id, message));
        }
        if address.is_page() && !matches!(message, Message::Hello(_)) {
            return self.received_from_page(now, id, message, at);
        }
        match message {
            Message::Hello(hello) => self.on_hello(now, id, hello),
            Message::Ping(nonce) => self.out.send(id, Message::Pong(nonce)),
            Message::Pong(nonce) => self.peering.pings.pong(at, id, nonce),
            Message::FindNode { .. } => self.out.send(id, Message::Nodes(Vec::new())),
            Message::AddProvider(_) => self.out.send(id, Message::ProviderAdded { kept: 0 }),
            Message::GetProviders { .. } => {
                self.out.send(id, Message::Providers { providers: Vec::new(), nearer: Vec::new() });
            }
            Message::WantBlocks(_) => {}
            Message::HaveBlocks(_) | Message::ContentBlock(_) => self.out.offence(id, Offence::UnrequestedContent),
            Message::ProviderAdded { .. } => self.out.offence(id, Offence::UnrequestedNodes),
            Message::Providers { providers, .. } => self.on_providers(now, id, providers),
            Message::Nodes(contacts) => {
                let Some(asked) = self.asked_for_nodes.iter().position(|peer| *peer == id) else {
                    return self.out.offence(id, Offence::UnrequestedNodes);
                };
                self.asked_for_nodes.swap_remove(asked);
                if self.config.outbound_target > 0 {
                    for Contact { address, .. } in contacts {
                        self.peering.book.add(
                            now,
                            &PeerAddress { address, services: 0, last_seen: UnixTime::EPOCH },
                            ip,
                        );
                    }
                }
            }
            Message::Inventory(items) => {
                for item in items {
                    match item {
                        Item::Block(hash) | Item::CompactBlock(hash) => {
                            self.protocols.branches.announced(now, id, hash, &self.chain, &mut self.out)
                        }
                        Item::Transaction(txid) => {
                            if let Some(watch) = &mut self.protocols.watch {
                                watch.announced(id, txid, &mut self.out);
                            }
                        }
                    }
                }
            }
            Message::Headers(headers) => self.headers(now, id, &headers),
            // Its first headers are still to come.
            Message::NoHeaders { from, end } => self.out.close(id, Reason::LacksBlocks { from: end, needed: from }),
            Message::FilterHeaders { stop, previous, hashes } => {
                if let Some(watch) = &mut self.protocols.watch {
                    watch.hashes(id, (stop, previous), hashes, &self.chain, &mut self.out);
                }
            }
            Message::Filters(filters) => {
                if let Some(watch) = &mut self.protocols.watch {
                    watch.filters(id, filters, &self.chain, &mut self.out);
                }
            }
            Message::Block(block) => {
                self.protocols.questions.block(now, id, &block, &self.chain, &mut self.out);
                if let Some(watch) = &mut self.protocols.watch {
                    watch.block(id, &block, &self.chain, &mut self.out);
                }
            }
            Message::Transaction(tx) => {
                self.heard_of(id, tx.txid(), true);
                if let Some(watch) = &mut self.protocols.watch {
                    watch.transaction(&tx);
                }
            }
            Message::NotFound(items) => {
                for item in &items {
                    if let Item::Transaction(txid) = item {
                        self.heard_of(id, *txid, false);
                    }
                }
                self.protocols.questions.not_found(id, &items);
                if let Some(watch) = &mut self.protocols.watch {
                    watch.not_found(id, &items, &self.chain);
                }
            }
            Message::Proofs(proofs) => self.protocols.questions.received(now, id, proofs, &self.chain, &mut self.out),
            // It has no headers to serve.
            Message::GetHeaders { .. } => self.out.send(id, Message::Headers(Vec::new())),
            Message::GetData(items) => {
                self.protocols.handover.requested(id, items, &mut self.out);
            }
            Message::Opening { block, opening } => self.opening(id, &block, opening.map(|opening| *opening)),
            Message::Coins(answer) => match &mut self.protocols.holdings {
                Some(holdings) => holdings.coins(id, answer, &mut self.out),
                None => self.out.offence(id, Offence::UnrequestedProofs),
            },
            Message::ChainProof(answer) => self.chain_proof(now, id, answer),
            Message::StateRange(_) => self.out.offence(id, Offence::UnrequestedProofs),
            Message::GetProofs(_)
            | Message::GetFilterHeaders { .. }
            | Message::GetFilters { .. }
            | Message::GetOpening(_)
            | Message::GetCoins(_)
            | Message::GetChainProof(_)
            | Message::GetStateRange(_) => {}
            // It requests and serves none.
            Message::CompactBlock(_)
            | Message::GetBlockTransactions { .. }
            | Message::BlockTransactions { .. }
            | Message::Archive(_)
            | Message::SendCompact(_) => {}
            Message::Pages(pages) => {
                let connected = self.connected_pages();
                self.protocols.pages.named(now, id, &pages, &connected);
            }
            Message::Signal { page, signal } => {
                let connected = self.connected_pages();
                self.protocols.pages.signal(now, id, (page, signal), &connected);
            }
            Message::NoPage { page } => self.protocols.pages.not_found(now, id, page),
            // It brings no pages together.
            Message::GetPages => {}
        }
    }

    /// Headers came from a peer.
    pub(super) fn headers(&mut self, now: Now, id: PeerId, headers: &[Header]) {
        if let Some(fork) = self.protocols.branches.received(now, id, headers, &mut self.chain, &mut self.out) {
            self.on_reorganisation(now, fork);
        }
    }

    /// A peer has a transaction, or says that it has it not.
    pub(super) fn heard_of(&mut self, id: PeerId, txid: Txid, taken: bool) {
        if self.protocols.handover.heard_of(id, txid, taken)
            && let Some(peer) = self.peering.peers.get(id).map(|peer| peer.address)
        {
            self.notice(Notice::HandedOver { txid, peer, taken });
        }
    }

    /// A peer has opened what a block commits to.
    fn opening(&mut self, id: PeerId, block: &BlockHash, opening: Option<Opening>) {
        let Self { protocols: Protocols { holdings, watch, .. }, chain, out, .. } = self;
        let holdings = holdings.as_mut().filter(|holdings| holdings.awaits_opening(id, block));
        let watch = watch.as_mut().filter(|watch| watch.awaits_opening(id, block));
        match (holdings, watch) {
            (Some(holdings), _) => holdings.opening(id, opening, chain, out),
            (None, Some(watch)) => watch.opening(id, opening, chain, out),
            (None, None) => out.offence(id, Offence::UnrequestedProofs),
        }
    }

    /// A peer has proven its chain, or headers in it, or cannot.
    pub(super) fn chain_proof(&mut self, now: Now, id: PeerId, answer: ChainAnswer) {
        let Self { protocols: Protocols { branches, lookups, questions, .. }, chain, out, .. } = self;
        if answer.query == ChainQuery::Tip {
            if let Some(fork) = branches.proof(now, id, answer, chain, out) {
                self.on_reorganisation(now, fork);
            }
        } else if lookups.awaits(id, &answer) {
            lookups.answered(id, answer, chain, out);
            questions.check_pending(now, chain, out);
        } else {
            out.offence(id, Offence::UnrequestedProofs);
        }
    }
}
