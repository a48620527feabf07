//! Browsers among the inbound connections.

use std::io;

use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::Net;
use crate::runtime::webrtc::{Arrival, Listener, pipe};

/// Bytes of a session's stream that may wait in each direction.
const STREAM_BYTES: usize = 8 << 10;

impl Net {
    /// Accepts browsers until [`Net::stop`].
    pub(in crate::runtime) fn listen_webrtc(&self, listener: Listener) {
        let net = self.clone();
        self.spawn(listener.run(move |arrival| net.arrived(arrival)));
    }

    fn arrived(&self, arrival: Arrival) {
        let Arrival { mut session, address, carrier } = arrival;
        if self.0.inbound.available_permits() == 0 {
            return debug!(%address, "refused: too many connections");
        }
        let pending_handshake = self.0.browser_lobby.admit(address.ip());
        let net = self.clone();
        self.0.tasks.spawn(async move {
            let deadline = Instant::now() + net.0.limits.first_message;
            let opened = tokio::select! {
                () = net.0.stop.cancelled() => return,
                () = pending_handshake.evicted.cancelled() => Err(io::Error::other("another needs the room")),
                opened = timeout_at(deadline, session.open()) => match opened {
                    Ok(Ok(())) => Ok(()),
                    Ok(Err(error)) => Err(io::Error::other(error)),
                    Err(_) => Err(io::ErrorKind::TimedOut.into()),
                },
            };
            if let Err(error) = opened {
                return debug!(%address, %error, "no data channel");
            }
            let (ours, theirs) = pipe(STREAM_BYTES);
            let node = net.admitted(ours, address, &carrier, deadline, pending_handshake);
            let ((), ended) = tokio::join!(node, session.carry(theirs));
            debug!(%address, reason = %ended, "session ended");
        });
    }
}
