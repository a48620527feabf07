//! The sub-protocols that only a full node has.

use std::time::Duration;

use rand_chacha::ChaCha20Rng;

use crate::chain::Chain;
use crate::mempool::Mempool;
use crate::p2p::blocks::Blocks;
use crate::p2p::budget::Budgets;
use crate::p2p::connection::{Direction, Now, PeerId};
use crate::p2p::discovery::Discovery;
use crate::p2p::download::{Download, Kept};
use crate::p2p::kad::NodeId;
use crate::p2p::late_headers::LateHeaders;
use crate::p2p::message::{SERVICE_CHAIN_PROOFS, TipClaim, is_full_node};
use crate::p2p::outbox::Outbox;
use crate::p2p::pushes::Pushes;
use crate::p2p::relay::Relay;
use crate::p2p::requests::Requests;
use crate::p2p::serve::Server;
use crate::p2p::signalling::Signalling;
use crate::p2p::state_sync::StateSync;
use crate::p2p::sync::HeaderSync;
use crate::primitives::time::MonoTime;

/// The sub-protocols. Each stage of a connection names every field, so that a new one does not compile before it is decided
/// what it does there.
pub(super) struct Protocols {
    pub(super) discovery: Discovery,
    pub(super) sync: HeaderSync,
    pub(super) download: Download,
    pub(super) relay: Relay,
    pub(super) requests: Requests,
    pub(super) pushes: Pushes,
    pub(super) blocks: Blocks,
    pub(super) server: Server,
    pub(super) budgets: Budgets,
    pub(super) state_sync: StateSync,
    pub(super) late_headers: LateHeaders,
    pub(super) signalling: Signalling,
}

/// The state that they read, and their outbox.
pub(super) struct Context<'a> {
    pub(super) chain: &'a Chain,
    pub(super) mempool: &'a Mempool,
    pub(super) rng: &'a mut ChaCha20Rng,
    pub(super) out: &'a mut Outbox,
}

impl Protocols {
    /// A connection was made. Everything except its budget begins after the handshake.
    pub(super) fn connected(&mut self, now: Now, id: PeerId) {
        let Self {
            budgets,
            discovery: _,
            sync: _,
            download: _,
            relay: _,
            requests: _,
            pushes: _,
            blocks: _,
            server: _,
            state_sync: _,
            late_headers: _,
            signalling: _,
        } = self;
        budgets.connected(now, id);
    }

    /// A connection has completed the handshake and is not brief.
    pub(super) fn ready(
        &mut self,
        now: Now,
        id: PeerId,
        direction: Direction,
        (node, services, tip, kept): (NodeId, u64, TipClaim, Kept),
        context: Context<'_>,
    ) {
        let Context { chain, mempool, rng, out } = context;
        let Self {
            sync,
            download,
            relay,
            requests,
            pushes,
            blocks,
            server,
            state_sync,
            late_headers,
            signalling,
            discovery: _,
            budgets: _,
        } = self;
        signalling.connected(now, id, node, services);
        relay.connected(now, id, is_full_node(services), mempool, rng);
        requests.connected(now, id, out);
        pushes.connected(now, id);
        blocks.connected(id, direction);
        server.connected(id);
        download.connected(id, kept);
        state_sync.connected(id, services, tip);
        if services & SERVICE_CHAIN_PROOFS != 0 {
            late_headers.connected(id);
        }
        state_sync.turn_to_provers(chain, sync);
        sync.hold(now, state_sync.holds_headers(chain), chain, out);
        sync.connected(now, id, &tip, chain, out);
        // Discovery has to do with brief connections too: `Node::on_handshake_done`.
    }

    /// A connection has ended.
    pub(super) fn disconnected(&mut self, now: Now, id: PeerId, chain: &Chain, out: &mut Outbox) {
        let Self {
            discovery,
            sync,
            download,
            relay,
            requests,
            pushes,
            blocks,
            server,
            budgets,
            state_sync,
            late_headers,
            signalling,
        } = self;
        signalling.disconnected(id);
        state_sync.disconnected(id);
        late_headers.disconnected(id);
        budgets.disconnected(id);
        discovery.disconnected(now, id, out);
        relay.disconnected(id);
        server.disconnected(id);
        pushes.disconnected(id);
        blocks.disconnected(id);
        requests.disconnected(now, id, out);
        download.disconnected(id);
        sync.disconnected(now, id, chain, out);
    }

    /// Timers that are due. Lookups lead to dials, which the node makes (`Node::advance_lookups`). The server answers at
    /// the end of every input; budgets and pushes fill with time.
    pub(super) fn tick(&mut self, now: Now, context: Context<'_>) {
        let Context { chain, mempool, rng: _, out } = context;
        let Self {
            discovery,
            sync,
            download,
            relay,
            requests,
            state_sync,
            late_headers,
            blocks,
            pushes: _,
            server: _,
            budgets: _,
            // Calls that are late are dropped when the next comes.
            signalling: _,
        } = self;
        state_sync.tick(now, out);
        late_headers.tick(now, out);
        discovery.tick();
        sync.tick(now, chain, out);
        download.tick(now, chain, sync, out);
        blocks.tick(now, out);
        relay.tick(now, mempool, out);
        requests.tick(now, out);
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        let Self {
            discovery,
            sync,
            download,
            relay,
            requests,
            server,
            state_sync,
            late_headers,
            blocks,
            pushes: _,
            budgets: _,
            signalling: _,
        } = self;
        let deadlines = [
            state_sync.deadline(),
            late_headers.deadline(),
            discovery.deadline(),
            sync.deadline(),
            download.deadline(),
            blocks.deadline(),
            relay.deadline(),
            requests.deadline(),
            server.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    /// Extend the deadlines of peers' answers. Relay and server do something by themselves; budgets and pushes are gained in
    /// this node's delays too.
    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        let Self {
            discovery,
            sync,
            download,
            requests,
            state_sync,
            late_headers,
            blocks,
            relay: _,
            server: _,
            budgets: _,
            pushes: _,
            signalling: _,
        } = self;
        state_sync.extend_deadlines(by);
        late_headers.extend_deadlines(by);
        discovery.extend_deadlines(by);
        sync.extend_deadlines(by);
        download.extend_deadlines(by);
        blocks.extend_deadlines(by);
        requests.extend_deadlines(by);
    }
}
