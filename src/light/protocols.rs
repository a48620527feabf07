//! The sub-protocols that only a light client has.

use std::time::Duration;

use super::finding::Finding;
use super::handover::Handover;
use super::headers::Headers;
use super::holdings::Holdings;
use super::lookups::Lookups;
use super::pages::Pages;
use super::proofs::Questions;
use super::sharing::Sharing;
use super::sync::PeerBranches;
use super::watch::Watch;
use crate::p2p::message::{SERVICE_CHAIN_PROOFS, SERVICE_PAGES, TipClaim};
use crate::p2p::outbox::Outbox;
use crate::p2p::{Now, PeerId};
use crate::primitives::time::MonoTime;

/// The sub-protocols. Each stage of a connection names every field, as in a full node.
#[derive(Debug, Default)]
pub(super) struct Protocols {
    pub(super) branches: PeerBranches,
    pub(super) lookups: Lookups,
    pub(super) questions: Questions,
    pub(super) holdings: Option<Holdings>,
    pub(super) watch: Option<Watch>,
    pub(super) handover: Handover,
    pub(super) pages: Pages,
    pub(super) sharing: Sharing,
    pub(super) finding: Finding,
}

impl Protocols {
    /// A full node or a page has said hello. Questions and filters are asked for once the headers are here.
    pub(super) fn ready(
        &mut self,
        now: Now,
        id: PeerId,
        (tip, services, is_page): (TipClaim, u64, bool),
        chain: &Headers,
        out: &mut Outbox,
    ) {
        // What is looked for is asked of it after every input.
        let Self { branches, lookups: _, questions: _, holdings: _, watch: _, handover, pages, sharing: _, finding: _ } =
            self;
        handover.ready(id, out);
        branches.connected(now, id, (tip, services & SERVICE_CHAIN_PROOFS != 0, is_page), chain, out);
        if !is_page && services & SERVICE_PAGES != 0 {
            pages.met_node(id);
        }
    }

    pub(super) fn disconnected(&mut self, now: Now, id: PeerId, chain: &Headers, out: &mut Outbox) {
        let Self { branches, lookups, questions, holdings, watch, handover, pages, sharing, finding } = self;
        finding.disconnected(id);
        pages.disconnected(id);
        sharing.disconnected(id);
        lookups.disconnected(id);
        questions.disconnected(id);
        handover.disconnected(id);
        if let Some(holdings) = holdings {
            holdings.disconnected(id);
        }
        if let Some(watch) = watch {
            watch.disconnected(id);
        }
        branches.disconnected(now, id, chain, out);
    }

    pub(super) fn tick(&mut self, now: Now, out: &mut Outbox) {
        // Pages and providers are looked for after every input.
        let Self { branches, lookups, questions, holdings, watch, handover: _, pages: _, sharing: _, finding: _ } =
            self;
        branches.tick(now, out);
        lookups.tick(now);
        questions.tick(now);
        if let Some(holdings) = holdings {
            holdings.tick(now);
        }
        if let Some(watch) = watch {
            watch.tick(now);
        }
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        let Self { branches, lookups, questions, holdings, watch, handover: _, pages, sharing: _, finding } = self;
        let watch = watch.as_ref().and_then(Watch::deadline);
        let holdings = holdings.as_ref().and_then(Holdings::deadline);
        let deadlines = [
            branches.deadline(),
            lookups.deadline(),
            questions.deadline(),
            holdings,
            watch,
            pages.deadline(),
            finding.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        let Self { branches, lookups, questions, holdings, watch, handover: _, pages, sharing: _, finding } = self;
        finding.extend_deadlines(by);
        pages.extend_deadlines(by);
        branches.extend_deadlines(by);
        lookups.extend_deadlines(by);
        questions.extend_deadlines(by);
        if let Some(holdings) = holdings {
            holdings.extend_deadlines(by);
        }
        if let Some(watch) = watch {
            watch.extend_deadlines(by);
        }
    }
}
