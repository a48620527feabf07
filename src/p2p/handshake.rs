//! The first message each way. The dialling side speaks first; the other answers only if it accepts the hello.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::p2p::connection::{Now, PeerId};
use crate::p2p::interface::Reason;
use crate::p2p::message::{Hello, MIN_PROTOCOL_VERSION};
use crate::primitives::hash::BlockHash;
use crate::primitives::time::MonoTime;

/// Time in which a peer must have said hello: time enough for three lost packets.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Connections that have not said hello yet, and since when. Their number is bounded with that of all connections.
#[derive(Debug, Default)]
pub(crate) struct Handshakes(BTreeMap<PeerId, MonoTime>);

impl Handshakes {
    /// A connection was made.
    pub(crate) fn connected(&mut self, now: Now, peer: PeerId) {
        self.0.insert(peer, now.mono);
    }

    pub(crate) fn disconnected(&mut self, peer: PeerId) {
        self.0.remove(&peer);
    }

    /// Judges a peer's hello, which ends its handshake. `None` if it had ended before.
    ///
    /// # Errors
    /// Why the connection has to end.
    pub(crate) fn finish(&mut self, peer: PeerId, hello: &Hello, genesis: &BlockHash) -> Option<Result<(), Reason>> {
        self.0.remove(&peer)?;
        Some(if hello.genesis != *genesis {
            Err(Reason::WrongGenesis { got: hello.genesis, expected: *genesis })
        } else if hello.version < MIN_PROTOCOL_VERSION {
            Err(Reason::TooOld { got: hello.version, min: MIN_PROTOCOL_VERSION })
        } else {
            Ok(())
        })
    }

    /// The peers, in order.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.0.keys().copied()
    }

    /// Extend all deadlines by a span.
    pub(crate) fn extend_deadlines(&mut self, by: Duration) {
        self.0.values_mut().for_each(|since| *since += by);
    }

    /// Those that took too long.
    pub(crate) fn expired(&self, now: Now) -> Vec<PeerId> {
        let late = |since: MonoTime| since + HANDSHAKE_TIMEOUT <= now.mono;
        self.0.iter().filter(|(_, since)| late(**since)).map(|(peer, _)| *peer).collect()
    }

    /// The next time-out.
    pub(crate) fn deadline(&self) -> Option<MonoTime> {
        self.0.values().map(|since| *since + HANDSHAKE_TIMEOUT).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p2p::message::PROTOCOL_VERSION;
    use crate::primitives::time::UnixTime;

    const GENESIS: BlockHash = BlockHash::from_bytes([7; 32]);
    const START: Now = Now { mono: MonoTime::from_millis(1_000), unix: UnixTime::EPOCH };

    fn hello() -> Hello {
        Hello::new(GENESIS, 0)
    }

    #[test]
    fn only_this_networks_nodes_come_in() {
        let mut handshakes = Handshakes::default();
        let mut verdict = |hello: Hello| {
            handshakes.connected(START, PeerId(2));
            handshakes.finish(PeerId(2), &hello, &GENESIS).unwrap()
        };
        assert_eq!(verdict(hello()), Ok(()));
        assert_eq!(verdict(Hello { version: PROTOCOL_VERSION + 9, ..hello() }), Ok(()), "later ones may");
        let got = BlockHash::ZERO;
        assert_eq!(verdict(Hello { genesis: got, ..hello() }), Err(Reason::WrongGenesis { got, expected: GENESIS }));
        let old = MIN_PROTOCOL_VERSION - 1;
        assert!(matches!(verdict(Hello { version: old, ..hello() }), Err(Reason::TooOld { got, .. }) if got == old));
        assert_eq!(handshakes.finish(PeerId(2), &hello(), &GENESIS), None, "a second hello");
    }

    #[test]
    fn a_silent_peer_times_out() {
        let mut handshakes = Handshakes::default();
        handshakes.connected(START, PeerId(1));
        let deadline = handshakes.deadline().unwrap();
        assert_eq!(
            handshakes.expired(Now { mono: MonoTime::from_millis(deadline.as_millis() - 1), unix: UnixTime::EPOCH }),
            []
        );
        assert_eq!(handshakes.expired(Now { mono: deadline, unix: UnixTime::EPOCH }), [PeerId(1)]);
        handshakes.disconnected(PeerId(1));
        assert_eq!(handshakes.deadline(), None);
    }
}
