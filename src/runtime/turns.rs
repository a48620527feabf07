//! What has come from peers and waits for the node's thread: a queue for each, and whose turn it is.
//!
//! With one queue for all, one that asks for much makes all others wait behind it. Here the peer with most of its budget left
//! comes first, and among equals the one that has waited longest since its last turn or since it began to wait. How much may wait is
//! [`Inbox`](super::connection::Inbox)'s to bound.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};

use crate::p2p::PeerId;

/// What waits from one peer, oldest first.
#[derive(Debug)]
struct Queue<T> {
    waiting: VecDeque<T>,
    /// Number of its last turn.
    last: u64,
}

/// All that waits, by peer.
#[derive(Debug)]
pub(super) struct Turns<T> {
    /// A queue for each peer with something in it; none is empty.
    queues: BTreeMap<PeerId, Queue<T>>,
    /// The same of peers that have no turn for now.
    held: BTreeMap<PeerId, Queue<T>>,
    turn: u64,
}

impl<T> Turns<T> {
    pub(super) fn new() -> Self {
        Self { queues: BTreeMap::new(), held: BTreeMap::new(), turn: 0 }
    }

    /// Whether no peer has anything waiting, those that are held aside.
    pub(super) fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// Something came from a peer.
    pub(super) fn push(&mut self, peer: PeerId, what: T) {
        let queue = match self.held.get_mut(&peer) {
            Some(queue) => queue,
            None => self.queues.entry(peer).or_insert_with(|| Queue { waiting: VecDeque::new(), last: self.turn }),
        };
        queue.waiting.push_back(what);
    }

    /// A peer is gone: what it said is of no concern any more.
    pub(super) fn forget(&mut self, peer: PeerId) {
        self.queues.remove(&peer);
        self.held.remove(&peer);
    }

    /// Whose turn it is; `left` says what each peer has left of its budget.
    pub(super) fn next_peer(&self, left: impl Fn(PeerId) -> i64) -> Option<PeerId> {
        let order = |(peer, queue): &(&PeerId, &Queue<T>)| (left(**peer), Reverse(queue.last));
        Some(*self.queues.iter().max_by_key(order)?.0)
    }

    /// What waits from a peer that is not held.
    pub(super) fn waiting(&self, peer: PeerId) -> impl Iterator<Item = &T> {
        self.queues.get(&peer).into_iter().flat_map(|queue| &queue.waiting)
    }

    /// Gives a peer its turn: takes what waits first from it.
    pub(super) fn take(&mut self, peer: PeerId) -> Option<T> {
        let mut is_first = true;
        self.take_while(peer, |_| std::mem::take(&mut is_first)).pop()
    }

    /// Gives a peer its turn: takes what waits first from it, as long as it is of one kind.
    pub(super) fn take_while(&mut self, peer: PeerId, is_alike: impl FnMut(&T) -> bool) -> Vec<T> {
        let Some(queue) = self.queues.get_mut(&peer) else { return Vec::new() };
        self.turn += 1;
        queue.last = self.turn;
        let mut is_alike = is_alike;
        let count = queue.waiting.iter().take_while(|what| is_alike(what)).count();
        let taken = queue.waiting.drain(..count).collect();
        if queue.waiting.is_empty() {
            self.queues.remove(&peer);
        }
        taken
    }

    /// Gives a peer no turn until [`Turns::release`].
    pub(super) fn hold(&mut self, peer: PeerId) {
        if let Some(queue) = self.queues.remove(&peer) {
            self.held.insert(peer, queue);
        }
    }

    /// Lets all peers have their turns again.
    pub(super) fn release(&mut self) {
        self.queues.append(&mut self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next<T>(turns: &mut Turns<T>, left: impl Fn(PeerId) -> i64) -> Option<T> {
        turns.next_peer(left).and_then(|peer| turns.take(peer))
    }

    #[test]
    fn the_cheapest_peer_comes_first_and_its_order_is_kept() {
        let mut turns = Turns::new();
        // Two that flood, and then one that says little.
        for number in 0..50 {
            turns.push(PeerId(1), (1, number));
            turns.push(PeerId(2), (2, number));
        }
        turns.push(PeerId(3), (3, 0));
        let mut left = BTreeMap::from([(PeerId(1), 0), (PeerId(2), 0), (PeerId(3), 0)]);
        let mut order = Vec::new();
        while let Some((peer, number)) = next(&mut turns, |peer| left[&peer]) {
            order.push((peer, number));
            // What the first says costs three times as much.
            *left.get_mut(&PeerId(peer)).unwrap() -= if peer == 1 { 30 } else { 10 };
        }
        let place = |wanted| order.iter().position(|item| *item == wanted).unwrap();
        assert!(place((3, 0)) <= 2, "{order:?}");
        for peer in [1, 2] {
            let numbers: Vec<i32> = order.iter().filter(|(from, _)| *from == peer).map(|(_, number)| *number).collect();
            assert!(numbers.is_sorted() && numbers.len() == 50);
        }
        // By the time the cheap one is through, it has had three turns for each of the other's.
        assert!((65..=69).contains(&place((2, 49))), "{}", place((2, 49)));
        assert!(turns.is_empty());
    }

    #[test]
    fn what_is_alike_is_taken_together() {
        let mut turns = Turns::new();
        [2, 4, 5, 6].into_iter().for_each(|number| turns.push(PeerId(1), number));
        let is_even = |number: &i32| number % 2 == 0;
        assert_eq!(turns.take_while(PeerId(1), is_even), [2, 4]);
        assert!(turns.take_while(PeerId(1), is_even).is_empty());
        assert_eq!(next(&mut turns, |_| 0), Some(5));
        assert_eq!(turns.take_while(PeerId(1), is_even), [6]);
        assert!(turns.is_empty());
        assert!(turns.take_while(PeerId(1), is_even).is_empty());
    }

    #[test]
    fn equal_peers_alternate_and_a_closed_one_is_dropped() {
        let mut turns = Turns::new();
        for number in 0..3 {
            (1..=3).for_each(|peer| turns.push(PeerId(peer), (peer, number)));
        }
        let mut next_peer = || next(&mut turns, |_| 0).map(|(peer, _)| peer);
        let mut first: Vec<u64> = (0..3).filter_map(|_| next_peer()).collect();
        let mut second: Vec<u64> = (0..3).filter_map(|_| next_peer()).collect();
        [&mut first, &mut second].into_iter().for_each(|round| round.sort_unstable());
        assert_eq!((first, second), (vec![1, 2, 3], vec![1, 2, 3]));
        turns.forget(PeerId(2));
        let rest: Vec<u64> = std::iter::from_fn(|| next(&mut turns, |_| 0)).map(|(peer, _)| peer).collect();
        assert_eq!((rest.len(), rest.contains(&2)), (2, false));
    }

    #[test]
    fn a_held_peer_has_no_turn_and_loses_nothing() {
        let mut turns = Turns::new();
        [(1, 0), (2, 0), (1, 1)].into_iter().for_each(|(peer, number)| turns.push(PeerId(peer), (peer, number)));
        turns.hold(PeerId(1));
        turns.push(PeerId(1), (1, 2));
        assert_eq!((next(&mut turns, |_| 0), turns.is_empty()), (Some((2, 0)), true));
        assert_eq!((next(&mut turns, |_| 0), turns.waiting(PeerId(1)).count()), (None, 0));
        turns.release();
        assert_eq!(turns.waiting(PeerId(1)).count(), 3);
        let rest: Vec<(u64, i32)> = std::iter::from_fn(|| next(&mut turns, |_| 0)).collect();
        assert_eq!(rest, [(1, 0), (1, 1), (1, 2)]);
        turns.push(PeerId(1), (1, 3));
        turns.hold(PeerId(1));
        turns.forget(PeerId(1));
        turns.release();
        assert!(turns.is_empty());
    }
}
