//! What holds between any two calls of a node, whatever its peers send.

use std::collections::BTreeSet;

use super::Node;
use super::protocols::Protocols;
use crate::p2p::connection::PeerId;

impl Node {
    /// Panics, in a debug build, if a sub-protocol keeps a peer that is not connected, misses one that is, counts more or
    /// fewer requests in flight than there are, or has a queue beyond its bound.
    pub(super) fn assert_conserved(&self) {
        if !cfg!(debug_assertions) {
            return;
        }
        let peers = &self.peering.peers;
        let connected: BTreeSet<PeerId> = peers.iter().map(|(peer, _)| peer).collect();
        let (greeted, silent): (Vec<PeerId>, Vec<PeerId>) =
            connected.iter().partition(|peer| peers.get(**peer).is_some_and(|peer| peer.hello.is_some()));
        let ready: Vec<PeerId> = peers.ready().collect();
        assert!(self.peering.handshakes.peers().eq(silent), "a handshake for each connection without a hello");
        assert!(self.peering.pings.peers().eq(ready.iter().copied()), "pings for each peer");
        assert!(self.peering.scores.peers().all(|peer| connected.contains(&peer)), "no score without a connection");
        let Protocols {
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
        } = &self.protocols;
        assert!(budgets.peers().eq(connected), "a budget for each connection");
        assert!(discovery.peers().eq(greeted), "a talk for each connection with a hello");
        assert!(pushes.peers().eq(ready.iter().copied()), "an allowance of pushes for each peer");
        assert!(sync.peers().eq(ready.iter().copied()), "a chain for each peer");
        assert!(signalling.peers().all(|peer| ready.contains(&peer)), "no page without a connection");
        discovery.assert_conserved();
        blocks.assert_conserved(&ready);
        download.assert_conserved(&ready);
        relay.assert_conserved(&ready);
        requests.assert_conserved(&ready);
        server.assert_conserved(&ready);
        state_sync.assert_conserved(&ready);
        late_headers.assert_conserved(&ready);
        self.upkeep.assert_conserved(&ready);
        assert!(self.out.is_settled(), "each offence and each closing is carried out");
    }
}
