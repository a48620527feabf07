//! Requests for announced transactions: each goes to one announcer at a time, and to the next if that one fails.
//! [`Pull`] chooses the announcer; this file has the bounds and time-outs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::p2p::connection::{Now, PeerId};
use crate::p2p::fanout::Pull;
use crate::p2p::message::{Item, MAX_INVENTORY, Message};
use crate::p2p::outbox::Outbox;
use crate::p2p::relay;
use crate::primitives::hash::Txid;
use crate::primitives::time::MonoTime;

/// Time after which a transaction is requested from another peer.
pub const TRANSACTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Most transactions that a peer is asked for at once.
pub const MAX_ASKED: usize = 1_000;
/// Most transactions that a peer may have announced and not delivered: a sender's queue length, so that a peer with a
/// full mempool can announce all of it faster than this node requests it.
pub const MAX_ANNOUNCED_PER_PEER: usize = relay::MAX_QUEUE;
/// Most transactions announced by all peers together and not delivered. Each peer has an equal share, so that peers
/// that do not deliver take nothing from those that do.
pub const MAX_WANTED: usize = 100_000;

/// A wanted transaction.
#[derive(Debug, Default)]
struct Wanted {
    pull: Pull,
    /// When a peer was last asked.
    since: MonoTime,
}

/// A peer's undelivered announcements.
#[derive(Debug, Default)]
struct Announced {
    /// Requests in flight.
    asked: usize,
    /// Transactions to request when there is room; some may have arrived from other peers meanwhile.
    waiting: VecDeque<Txid>,
}

impl Announced {
    fn outstanding(&self) -> usize {
        self.asked + self.waiting.len()
    }
}

/// All wanted transactions.
#[derive(Debug, Default)]
pub(super) struct Requests {
    wants: BTreeMap<Txid, Wanted>,
    peers: BTreeMap<PeerId, Announced>,
    /// Requests, oldest first: the time-out is the same for all.
    timeouts: VecDeque<(MonoTime, Txid, PeerId)>,
}

impl Requests {
    /// A peer completed the handshake. The others' shares shrink: waiting requests beyond them go to other announcers.
    pub(super) fn connected(&mut self, now: Now, peer: PeerId, out: &mut Outbox) {
        self.peers.insert(peer, Announced::default());
        let share = self.fair_share();
        for peer in self.peers.keys().copied().collect::<Vec<_>>() {
            let Some(promises) = self.peers.get_mut(&peer) else { continue };
            let kept = share.saturating_sub(promises.asked).min(promises.waiting.len());
            let lost = promises.waiting.split_off(kept);
            self.reassign_waiting(now, peer, lost, out);
        }
    }

    pub(super) fn disconnected(&mut self, now: Now, peer: PeerId, out: &mut Outbox) {
        let Some(promises) = self.peers.remove(&peer) else { return };
        let asked = |want: &Wanted| want.pull.asked() == Some(peer);
        let lost: Vec<Txid> = self.wants.iter().filter(|(_, want)| asked(want)).map(|(txid, _)| *txid).collect();
        self.reassign_failed(now, peer, lost, out);
        self.reassign_waiting(now, peer, promises.waiting, out);
    }

    /// Most transactions that a peer may have promised and not delivered.
    fn fair_share(&self) -> usize {
        MAX_ANNOUNCED_PER_PEER.min(MAX_WANTED / self.peers.len().max(1))
    }

    /// Reassigns a peer's waiting requests to the next announcers.
    fn reassign_waiting(&mut self, now: Now, peer: PeerId, waiting: VecDeque<Txid>, out: &mut Outbox) {
        let mut lost = Vec::from(waiting);
        // The rest have arrived, or were announced again and wait for another peer.
        lost.retain(|txid| self.wants.get_mut(txid).is_some_and(|want| want.pull.withdraw(peer)));
        self.ask_next(now, lost, out);
    }

    /// A peer announces unknown transactions. `false` if it announced too many.
    pub(super) fn announced(&mut self, now: Now, peer: PeerId, txids: Vec<Txid>, out: &mut Outbox) -> bool {
        let share = self.fair_share();
        // Peers with requests from before their shares shrank may still exceed them.
        let mut total: usize = self.peers.values().map(Announced::outstanding).sum();
        let Some(promises) = self.peers.get_mut(&peer) else { return true };
        let mut kept = true;
        for txid in txids {
            if promises.outstanding() >= share || total >= MAX_WANTED {
                // A peer cannot know of a smaller share, so exceeding it is no offence.
                kept = promises.outstanding() < MAX_ANNOUNCED_PER_PEER;
                break;
            }
            if self.wants.entry(txid).or_default().pull.announced(peer) {
                promises.waiting.push_back(txid);
                total += 1;
            }
        }
        self.send_requests(now, peer, out);
        kept
    }

    /// Sends a peer's waiting requests, as far as there is room.
    fn send_requests(&mut self, now: Now, peer: PeerId, out: &mut Outbox) {
        let Some(promises) = self.peers.get_mut(&peer) else { return };
        let mut items = Vec::new();
        while promises.asked < MAX_ASKED
            && items.len() < MAX_INVENTORY
            && let Some(txid) = promises.waiting.pop_front()
        {
            let Some(want) = self.wants.get_mut(&txid) else { continue };
            if !want.pull.ask(peer) {
                continue;
            }
            want.since = now.mono;
            promises.asked += 1;
            self.timeouts.push_back((now.mono + TRANSACTION_TIMEOUT, txid, peer));
            items.push(Item::Transaction(txid));
        }
        if !items.is_empty() {
            out.send(peer, Message::GetData(items));
        }
    }

    /// A transaction arrived from any peer. `true` if a peer announced it before, so that it is no news.
    pub(super) fn received(&mut self, now: Now, txid: &Txid, out: &mut Outbox) -> bool {
        let Some(want) = self.wants.remove(txid) else { return false };
        if let Some(asked) = want.pull.asked()
            && let Some(promises) = self.peers.get_mut(&asked)
        {
            promises.asked = promises.asked.saturating_sub(1);
            // In large portions, so that not every arrival triggers a request.
            if promises.asked <= MAX_ASKED / 2 && !promises.waiting.is_empty() {
                self.send_requests(now, asked, out);
            }
        }
        true
    }

    /// A peer does not have what it was asked for.
    pub(super) fn not_found(&mut self, now: Now, peer: PeerId, txids: &[Txid], out: &mut Outbox) {
        let asked = |txid: &&Txid| self.wants.get(txid).is_some_and(|want| want.pull.asked() == Some(peer));
        let lost = txids.iter().filter(asked).copied().collect();
        self.reassign_failed(now, peer, lost, out);
    }

    /// Requests from the next announcers what a peer failed to deliver.
    fn reassign_failed(&mut self, now: Now, from: PeerId, mut txids: Vec<Txid>, out: &mut Outbox) {
        // A peer may name one several times.
        let mut named = BTreeSet::new();
        txids.retain(|txid| named.insert(*txid));
        if let Some(promises) = self.peers.get_mut(&from) {
            promises.asked = promises.asked.saturating_sub(txids.len());
        }
        self.ask_next(now, txids, out);
        self.send_requests(now, from, out);
    }

    /// Requests transactions without a request in flight from the next announcers.
    fn ask_next(&mut self, now: Now, txids: Vec<Txid>, out: &mut Outbox) {
        let mut next = Vec::new();
        for txid in txids {
            let Some(want) = self.wants.get_mut(&txid) else { continue };
            want.pull.retain(|announcer| self.peers.contains_key(announcer));
            match want.pull.fail_over().and_then(|announcer| Some((announcer, self.peers.get_mut(&announcer)?))) {
                Some((announcer, promises)) => {
                    promises.waiting.push_back(txid);
                    next.push(announcer);
                }
                None => drop(self.wants.remove(&txid)),
            }
        }
        next.sort_unstable();
        next.dedup();
        next.into_iter().for_each(|peer| self.send_requests(now, peer, out));
    }

    /// Panics if the peers are not `ready`, the transactions in flight are not those that the peers were asked for, or a
    /// queue is beyond its bound.
    pub(super) fn assert_conserved(&self, ready: &[PeerId]) {
        let Self { wants, peers, timeouts: _ } = self;
        assert!(peers.keys().eq(ready), "promises of each peer");
        assert!(wants.len() <= MAX_WANTED && peers.values().all(|promises| promises.asked <= MAX_ASKED));
        // More than this few would cost a simulation most of its time.
        if wants.len() <= MAX_ASKED {
            let mut in_flight: BTreeMap<PeerId, usize> = BTreeMap::new();
            wants
                .values()
                .filter_map(|want| want.pull.asked())
                .for_each(|peer| *in_flight.entry(peer).or_default() += 1);
            let counted = peers.iter().map(|(peer, promises)| (*peer, promises.asked));
            assert!(counted.filter(|(_, count)| *count > 0).eq(in_flight), "transactions in flight with their peers");
        }
    }

    /// Extend all deadlines by a span.
    pub(super) fn extend_deadlines(&mut self, by: Duration) {
        let Self { wants, peers: _, timeouts } = self;
        for Wanted { since, pull: _ } in wants.values_mut() {
            *since += by;
        }
        timeouts.iter_mut().for_each(|(at, ..)| *at += by);
    }

    pub(super) fn tick(&mut self, now: Now, out: &mut Outbox) {
        let mut late: BTreeMap<PeerId, Vec<Txid>> = BTreeMap::new();
        while let Some((at, txid, peer)) = self.timeouts.front().copied()
            && at <= now.mono
        {
            self.timeouts.pop_front();
            let is_open = |want: &Wanted| want.pull.asked() == Some(peer) && want.since + TRANSACTION_TIMEOUT == at;
            if self.wants.get(&txid).is_some_and(is_open) {
                late.entry(peer).or_default().push(txid);
            }
        }
        late.into_iter().for_each(|(peer, txids)| self.reassign_failed(now, peer, txids, out));
    }

    pub(super) fn deadline(&self) -> Option<MonoTime> {
        self.timeouts.front().map(|(at, _, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p2p::interface::Output;
    use crate::primitives::time::UnixTime;

    const A: PeerId = PeerId(1);
    const B: PeerId = PeerId(2);

    /// When a transaction that was asked for at the start is late.
    fn late() -> Now {
        Now { mono: MonoTime::START + TRANSACTION_TIMEOUT, unix: UnixTime::EPOCH }
    }

    fn at(millis: u64) -> Now {
        Now { mono: MonoTime::from_millis(millis), unix: UnixTime::EPOCH }
    }

    fn id(n: u32) -> Txid {
        Txid::of(&n.to_le_bytes())
    }

    fn asked(out: &mut Outbox) -> Vec<(PeerId, Vec<Txid>)> {
        let asked = out.drain().map(|output| match output {
            Output::Send { peer, frame } => {
                let Ok(Message::GetData(items)) = frame.message() else { panic!("{frame:?}") };
                let txids = items.into_iter().map(|item| match item {
                    Item::Transaction(txid) => txid,
                    Item::Block(_) | Item::CompactBlock(_) => panic!("a block"),
                });
                (peer, txids.collect())
            }
            other => panic!("{other:?}"),
        });
        asked.collect()
    }

    fn two() -> (Requests, Outbox) {
        let mut requests = Requests::default();
        let mut out = Outbox::default();
        [A, B].into_iter().for_each(|peer| requests.connected(at(0), peer, &mut out));
        (requests, out)
    }

    fn total(requests: &Requests) -> usize {
        requests.peers.values().map(Announced::outstanding).sum()
    }

    /// The first peers announce as many as they may; later peers find room nevertheless.
    #[test]
    fn new_peers_reduce_shares_and_the_total_holds() {
        const PEERS: u64 = 125;
        let (mut requests, mut out) = (Requests::default(), Outbox::default());
        for peer in 0..PEERS {
            requests.connected(at(0), PeerId(peer), &mut out);
            let share = requests.fair_share();
            let all = (0..MAX_ANNOUNCED_PER_PEER as u64)
                .map(|n| id((peer * MAX_ANNOUNCED_PER_PEER as u64 + n) as u32))
                .collect();
            requests.announced(at(0), PeerId(peer), all, &mut out);
            assert!(requests.wants.len() <= MAX_WANTED && total(&requests) <= MAX_WANTED, "{peer}");
            let promises = &requests.peers[&PeerId(peer)];
            assert!(promises.outstanding() == share || share < MAX_ASKED, "{peer}: {}", promises.outstanding());
            drop(out.drain());
        }
        // What was asked when shares were larger is late after a while, and then the last ones have room, too.
        requests.tick(late(), &mut out);
        requests.announced(late(), PeerId(PEERS - 1), (0..2_000).map(id).collect(), &mut out);
        let share = requests.fair_share();
        assert!(requests.peers.values().all(|promises| promises.outstanding() <= share));
        assert_eq!(requests.peers[&PeerId(PEERS - 1)].outstanding(), share);
    }

    /// A request that waits for a disconnected peer goes to the next announcer, and is dropped if there is none.
    #[test]
    fn requests_waiting_for_a_gone_peer_go_to_the_next() {
        let (mut requests, mut out) = two();
        let all: Vec<Txid> = (0..MAX_ASKED as u32 + 2).map(id).collect();
        requests.announced(at(0), A, all.clone(), &mut out);
        let shared = all[MAX_ASKED];
        requests.announced(at(0), B, vec![shared], &mut out);
        drop(out.drain());
        requests.disconnected(at(1), A, &mut out);
        assert_eq!(asked(&mut out), [(B, vec![shared])]);
        assert_eq!(requests.wants.len(), 1, "no peer has the others");
        requests.announced(at(2), B, vec![all[MAX_ASKED + 1]], &mut out);
        assert_eq!(asked(&mut out), [(B, vec![all[MAX_ASKED + 1]])], "it is wanted again");
    }

    #[test]
    fn requested_once_and_from_the_next_after_a_failure() {
        for how in 0..3 {
            let (mut requests, mut out) = two();
            requests.announced(at(0), A, vec![id(1), id(2)], &mut out);
            assert_eq!(asked(&mut out), [(A, vec![id(1), id(2)])]);
            requests.announced(at(1), B, vec![id(1)], &mut out);
            requests.announced(at(1), A, vec![id(1)], &mut out);
            assert_eq!(asked(&mut out), [], "it is under way");
            match how {
                0 => requests.not_found(at(2), A, &[id(1), id(2), id(9)], &mut out),
                1 => requests.disconnected(at(2), A, &mut out),
                _ => requests.tick(late(), &mut out),
            }
            assert_eq!(asked(&mut out), [(B, vec![id(1)])]);
            assert!(requests.received(at(3), &id(1), &mut out));
            assert!(!requests.received(at(3), &id(1), &mut out));
            assert!(requests.wants.is_empty(), "no peer has the other");
            assert_eq!(asked(&mut out), []);
        }
    }

    #[test]
    fn a_peer_that_names_a_transaction_twice_fails_once() {
        let (mut requests, mut out) = two();
        requests.announced(at(0), A, (0..5).map(id).collect(), &mut out);
        requests.announced(at(0), B, vec![id(1)], &mut out);
        drop(out.drain());
        requests.not_found(at(1), A, &[id(1), id(1), id(1)], &mut out);
        assert_eq!(asked(&mut out), [(B, vec![id(1)])]);
        assert_eq!((requests.peers[&A].asked, requests.peers[&B].outstanding()), (4, 1));
        requests.assert_conserved(&[A, B]);
    }

    #[test]
    fn a_full_mempool_may_be_announced_before_delivery() {
        let (mut requests, mut out) = two();
        let all: Vec<Txid> = (0..relay::MAX_QUEUE as u32).map(id).collect();
        assert!(all.chunks(relay::MAX_BATCH).all(|batch| requests.announced(at(0), A, batch.to_vec(), &mut out)));
        assert_eq!(requests.wants.len(), relay::MAX_QUEUE, "none is forgotten");
    }

    #[test]
    fn a_flood_is_taken_in_portions_up_to_a_bound() {
        let (mut requests, mut out) = two();
        let all: Vec<Txid> = (0..MAX_ANNOUNCED_PER_PEER as u32 + 5).map(id).collect();
        assert!(!requests.announced(at(0), A, all, &mut out));
        assert_eq!(requests.wants.len(), MAX_ANNOUNCED_PER_PEER);
        let mut portions = 0;
        let mut open: VecDeque<(PeerId, Vec<Txid>)> = asked(&mut out).into();
        let mut got = 0;
        while let Some((_, txids)) = open.pop_front() {
            assert!(txids.len() <= MAX_ASKED);
            portions += 1;
            for txid in txids {
                got += 1;
                assert!(requests.received(at(1), &txid, &mut out));
                open.extend(asked(&mut out));
            }
        }
        assert_eq!(got, MAX_ANNOUNCED_PER_PEER);
        assert!(portions <= 2 * MAX_ANNOUNCED_PER_PEER / MAX_ASKED + 1, "{portions}");
    }
}
