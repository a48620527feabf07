//! Faults on links, set while the node runs: cut, delay, loss and bandwidth, without privileges and for this node alone.
//!
//! Only a node started with [`Config::chaos`](super::Config::chaos) has it; other nodes' connections do not check it.
//!
//! Settings belong to the peer's listening address, once known, so that they outlive connections in either direction;
//! until then, to the connection.
//!
//! - *Cut*: like a pulled cable. Nothing is read or written, while the connection stands until either side loses
//!   patience; dials to the address, and the handshakes of dials, time out. Healing lets what waits go on.
//! - *Delay*: what is sent leaves that much later, in order. The send queue is the delay line: messages wait in it side by
//!   side, so a delay costs time and not throughput, and takes no more memory than the queue may hold anyway.
//! - *Bandwidth*: the bytes sent leave at that rate at most.
//! - *Loss*: so large a share of the messages sent is dropped, each by chance, before they are encrypted. TCP itself loses
//!   nothing: this is for the protocol above, which has to cope with peers that never answer.
//!
//! Delay, bandwidth and loss begin with the first message: like TCP's own, the handshake of the encryption knows only the cut.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::read::read_some;
use crate::p2p::{Direction, PeerAddr, PeerId};
use crate::sim::LinkSettings;

/// Pieces a second in which bytes leave when the bandwidth is limited.
const PIECES_PER_SEC: u64 = 20;
/// Largest of these pieces.
const MAX_PIECE: u64 = 64 << 10;
/// A timer is taken to be late at most so much; more is a line that had nothing to carry.
const LATE: Duration = Duration::from_millis(20);

/// Identifies a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkKey {
    /// The link to the peer that listens there, connected or not.
    Listening(PeerAddr),
    /// Those of a connection whose peer listens nowhere, or has not said where yet.
    Connection(PeerId),
}

/// The settings of all links of a node. A connection that waits for them to change is woken by the change.
#[derive(Debug, Default)]
pub struct Chaos(watch::Sender<Table>);

#[derive(Debug, Default)]
struct Table {
    /// Links with faults, by the peer's listening address.
    kept: BTreeMap<PeerAddr, LinkSettings>,
    open: BTreeMap<PeerId, Open>,
}

#[derive(Debug)]
struct Open {
    address: PeerAddr,
    listens_at: Option<PeerAddr>,
    /// Until it is known where the peer listens.
    own: LinkSettings,
}

impl Open {
    fn key(&self, peer: PeerId) -> LinkKey {
        self.listens_at.map_or(LinkKey::Connection(peer), LinkKey::Listening)
    }
}

impl Table {
    fn get(&self, key: LinkKey) -> LinkSettings {
        match key {
            LinkKey::Listening(address) => self.kept.get(&address).copied(),
            LinkKey::Connection(peer) => self.open.get(&peer).map(|open| open.own),
        }
        .unwrap_or_default()
    }

    fn of(&self, peer: PeerId) -> LinkSettings {
        self.open.get(&peer).map(|open| self.get(open.key(peer))).unwrap_or_default()
    }

    fn set(&mut self, key: LinkKey, settings: LinkSettings) {
        match key {
            LinkKey::Listening(address) if settings == LinkSettings::default() => drop(self.kept.remove(&address)),
            LinkKey::Listening(address) => drop(self.kept.insert(address, settings)),
            LinkKey::Connection(peer) => {
                if let Some(open) = self.open.get_mut(&peer) {
                    open.own = settings;
                }
            }
        }
    }
}

impl Chaos {
    /// The link of a connection; `None` if there is no such connection.
    pub fn link_of(&self, peer: PeerId) -> Option<LinkKey> {
        self.0.borrow().open.get(&peer).map(|open| open.key(peer))
    }

    /// The link that an address means: of a connection to it, of a peer that listens there, or of one that something is
    /// wrong with though no connection stands. `None` if there is none of these.
    pub fn link_at(&self, address: PeerAddr) -> Option<LinkKey> {
        let table = self.0.borrow();
        if table.kept.contains_key(&address) {
            return Some(LinkKey::Listening(address));
        }
        let mut open = table.open.iter();
        let (peer, open) = open.find(|(_, open)| open.address == address || open.listens_at == Some(address))?;
        Some(open.key(*peer))
    }

    /// What is set for a link; the defaults if nothing is.
    pub fn get(&self, key: LinkKey) -> LinkSettings {
        self.0.borrow().get(key)
    }

    /// The settings that a connection is under.
    pub fn of(&self, peer: PeerId) -> LinkSettings {
        self.0.borrow().of(peer)
    }

    /// All links with faults whose peer's listening address is known, connected or not.
    pub fn kept(&self) -> Vec<(PeerAddr, LinkSettings)> {
        self.0.borrow().kept.iter().map(|(address, settings)| (*address, *settings)).collect()
    }

    /// Removes all faults of the link to a peer that listens nowhere any more.
    pub fn forget(&self, address: PeerAddr) {
        self.change(LinkKey::Listening(address), |settings| *settings = LinkSettings::default());
    }

    /// Changes a link from now on, what waits to be sent included. Answers the settings before and after.
    pub(super) fn change(&self, key: LinkKey, change: impl FnOnce(&mut LinkSettings)) -> (LinkSettings, LinkSettings) {
        let mut settings = self.get(key);
        let before = settings;
        change(&mut settings);
        self.0.send_modify(|table| table.set(key, settings));
        (before, settings)
    }

    /// A connection came about.
    pub(super) fn open(&self, peer: PeerId, address: PeerAddr, direction: Direction) -> FaultyLink {
        let listens_at = (direction == Direction::Outbound).then_some(address);
        self.0.send_modify(|table| {
            table.open.insert(peer, Open { address, listens_at, own: LinkSettings::default() });
        });
        FaultyLink { peer, table: self.0.subscribe(), free_at: None }
    }

    /// A peer that dialled in says where it listens, its IP aside.
    pub(super) fn set_listening(&self, peer: PeerId, address: PeerAddr) {
        self.0.send_if_modified(|table| {
            let Some(open) = table.open.get_mut(&peer).filter(|open| open.listens_at.is_none()) else { return false };
            let listens_at = address.at(open.address.ip());
            if !listens_at.is_valid() {
                return false;
            }
            open.listens_at = Some(listens_at);
            let own = open.own;
            if own != LinkSettings::default() {
                table.kept.entry(listens_at).or_insert(own);
            }
            true
        });
    }

    /// A connection is gone.
    pub(super) fn close(&self, peer: PeerId) {
        // This wakes no waiter.
        self.0.send_if_modified(|table| {
            table.open.remove(&peer);
            false
        });
    }

    /// Polls a future, a dial or its handshake, only while the link to an address is not cut.
    pub(super) async fn unless_cut<F: Future>(&self, address: PeerAddr, future: F) -> F::Output {
        let mut table = self.0.subscribe();
        let is_cut = |table: &Table| table.get(LinkKey::Listening(address)).cut;
        tokio::pin!(future);
        loop {
            // `self` is the sender, so this cannot fail.
            let _ = table.wait_for(|table| !is_cut(table)).await;
            tokio::select! {
                biased;
                _ = table.wait_for(is_cut) => {}
                output = &mut future => return output,
            }
        }
    }
}

/// A connection's view of its link. Once the node is gone, everything passes.
#[derive(Debug, Clone)]
pub(super) struct FaultyLink {
    peer: PeerId,
    table: watch::Receiver<Table>,
    /// When the last byte left whose rate was limited.
    free_at: Option<Instant>,
}

impl FaultyLink {
    fn settings(&self) -> LinkSettings {
        self.table.borrow().of(self.peer)
    }

    async fn until(&mut self, good: impl Fn(LinkSettings) -> bool) {
        let peer = self.peer;
        if self.table.wait_for(|table| good(table.of(peer))).await.is_err() {
            std::future::pending().await
        }
    }

    /// Waits until the link is not cut.
    pub(super) async fn until_healed(&mut self) {
        let peer = self.peer;
        let _ = self.table.wait_for(|table| !table.of(peer).cut).await;
    }

    /// Reads from the connection, but not while the link is cut.
    pub(super) async fn read<const MOST: usize>(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<Vec<u8>> {
        loop {
            self.until_healed().await;
            tokio::select! {
                biased;
                () = self.until(|settings| settings.cut) => {}
                read = read_some::<MOST>(stream) => return read,
            }
        }
    }

    /// Waits until what was put into the send queue at a time may leave.
    pub(super) async fn wait_delay(&mut self, since: Instant) {
        loop {
            let settings = self.settings();
            let at = since + settings.delay;
            if settings.delay.is_zero() || at <= Instant::now() {
                return;
            }
            tokio::select! {
                () = sleep_until(at) => return,
                () = self.until(|now| now.delay != settings.delay) => {}
            }
        }
    }

    /// Whether the message that is next gets lost.
    pub(super) fn drops_next(&self) -> bool {
        let loss = self.settings().loss;
        loss > 0.0 && rand::random::<f64>() < loss
    }

    /// Waits until the next of `bytes` may be written, and answers how many of them may be.
    pub(super) async fn pace(&mut self, bytes: usize) -> usize {
        loop {
            self.until_healed().await;
            let LinkSettings { bandwidth, .. } = self.settings();
            if bandwidth == 0 {
                return bytes;
            }
            let piece = (bandwidth / PIECES_PER_SEC).clamp(1, MAX_PIECE).min(bytes as u64);
            // From when the piece before left, so that what timers are late does not add up.
            let now = Instant::now();
            let since = self.free_at.filter(|at| now.saturating_duration_since(*at) < LATE).unwrap_or(now);
            let leaves = since + Duration::from_secs_f64(piece as f64 / bandwidth as f64);
            tokio::select! {
                () = sleep_until(leaves) => {
                    self.free_at = Some(leaves);
                    if !self.settings().cut {
                        return piece as usize;
                    }
                }
                () = self.until(|now| now.cut || now.bandwidth != bandwidth) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there() -> PeerAddr {
        ([127, 0, 0, 1], 7331).into()
    }

    /// A link that was dialled.
    fn dialled(chaos: &Chaos) -> (FaultyLink, LinkKey) {
        (chaos.open(PeerId(1), there(), Direction::Outbound), LinkKey::Listening(there()))
    }

    #[tokio::test(start_paused = true)]
    async fn delayed_messages_wait_in_parallel() {
        let chaos = Chaos::default();
        let (mut link, key) = dialled(&chaos);
        let start = Instant::now();
        link.wait_delay(start).await;
        assert_eq!(start.elapsed(), Duration::ZERO);
        chaos.change(key, |settings| settings.delay = Duration::from_millis(300));
        // Put in at once, all leave at once, 300 ms later.
        for _ in 0..10 {
            link.wait_delay(start).await;
        }
        assert_eq!(start.elapsed(), Duration::from_millis(300));
        // A line that gets shorter lets go of what waits in it.
        chaos.change(key, |settings| settings.delay = Duration::from_secs(50));
        let waiting = tokio::spawn(async move { link.wait_delay(Instant::now()).await });
        tokio::task::yield_now().await;
        chaos.change(key, |settings| settings.delay = Duration::ZERO);
        waiting.await.expect("it is due");
        assert_eq!(start.elapsed(), Duration::from_millis(300));
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_take_their_time() {
        let chaos = Chaos::default();
        let (mut link, key) = dialled(&chaos);
        assert_eq!(link.pace(5_000_000).await, 5_000_000);
        for (bandwidth, bytes, seconds) in [(100_000, 250_000, 2.5), (3, 6, 2.0), (10_000_000, 20_000_000, 2.0)] {
            chaos.change(key, |settings| settings.bandwidth = bandwidth);
            let (start, mut left) = (Instant::now(), bytes);
            while left > 0 {
                left -= link.pace(left).await;
            }
            let took = start.elapsed().as_secs_f64();
            // The clock of timers has milliseconds.
            assert!((seconds..seconds * 1.05).contains(&took), "{bytes} bytes at {bandwidth}: {took} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_passes_a_cut_until_it_heals() {
        let chaos = std::sync::Arc::new(Chaos::default());
        let (mut link, key) = dialled(&chaos);
        chaos.change(key, |settings| settings.cut = true);
        let healing = chaos.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(60)).await;
            healing.change(key, |settings| settings.cut = false);
        });
        let start = Instant::now();
        assert_eq!(link.pace(10).await, 10);
        chaos.unless_cut(there(), async {}).await;
        assert_eq!(start.elapsed(), Duration::from_secs(60));
    }

    #[test]
    fn messages_are_lost_in_proportion() {
        let chaos = Chaos::default();
        let (link, key) = dialled(&chaos);
        let lost = |loss| {
            chaos.change(key, |settings| settings.loss = loss);
            (0..1_000).filter(|_| link.drops_next()).count()
        };
        assert_eq!((lost(0.0), lost(1.0)), (0, 1_000));
        // Ten standard deviations either way.
        assert!((142..458).contains(&lost(0.3)));
    }

    #[test]
    fn settings_outlive_connections_and_follow_the_peer() {
        let chaos = Chaos::default();
        let (link, key) = dialled(&chaos);
        assert_eq!((chaos.link_of(PeerId(1)), chaos.link_at(there())), (Some(key), Some(key)));
        chaos.change(key, |settings| settings.delay = Duration::from_millis(5));
        chaos.close(PeerId(1));
        assert_eq!((chaos.link_of(PeerId(1)), chaos.link_at(there())), (None, Some(key)));
        assert_eq!(link.settings(), LinkSettings::default());

        // The same peer dials in, from a port that says nothing.
        let inbound = chaos.open(PeerId(2), ([127, 0, 0, 1], 50_000).into(), Direction::Inbound);
        assert_eq!(inbound.settings(), LinkSettings::default());
        assert_eq!(chaos.link_of(PeerId(2)), Some(LinkKey::Connection(PeerId(2))));
        chaos.set_listening(PeerId(2), PeerAddr::tcp_port(7331));
        assert_eq!((inbound.settings().delay, chaos.link_of(PeerId(2))), (Duration::from_millis(5), Some(key)));
        // What it says later changes nothing.
        chaos.set_listening(PeerId(2), PeerAddr::tcp_port(7333));
        assert_eq!(chaos.link_of(PeerId(2)), Some(key));

        // What was set before a hello stays set after it; one who listens nowhere keeps settings of its own.
        let early = chaos.open(PeerId(3), ([127, 0, 0, 1], 50_001).into(), Direction::Inbound);
        chaos.change(LinkKey::Connection(PeerId(3)), |settings| settings.loss = 0.5);
        chaos.set_listening(PeerId(3), PeerAddr::tcp_port(0));
        assert_eq!((early.settings().loss, chaos.link_of(PeerId(3))), (0.5, Some(LinkKey::Connection(PeerId(3)))));
        chaos.set_listening(PeerId(3), PeerAddr::tcp_port(7335));
        assert_eq!(chaos.kept().len(), 2);

        // A whole link takes no memory.
        chaos.change(key, |settings| *settings = LinkSettings::default());
        assert_eq!((chaos.kept().len(), inbound.settings()), (1, LinkSettings::default()));
    }
}
