//! The cost of each peer to the node's thread, and the order in which peers are served.
//!
//! The work that a peer causes has a price by its kind: look-ups, bytes read, hashed and sent, signatures. The sum is
//! charged to the peer's budget, which refills with time. The peer with most budget left is served first, so that a
//! peer that asks for little never waits for one that asks for much. Nothing is refused for lack of budget: a single
//! peer may use an idle thread completely. New and valid data, such as a block, are not charged.

use std::collections::BTreeMap;
use std::iter::Sum;
use std::ops::{Add, AddAssign};

use crate::p2p::bucket::{Bucket, Rate};
use crate::p2p::connection::{Now, PeerId};
use crate::p2p::message::Message;
use crate::primitives::meter::Effort;

/// Time of the node's thread, in nanoseconds of a small server: a price, not a measurement, so that it is the same
/// everywhere and in every run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(pub u64);

/// Cost of any message: the hand-over, and a check of all timers.
const MESSAGE: u64 = 20_000;
/// Each element of a message that is a list: some look-ups in memory.
const ELEMENT: u64 = 1_000;
/// A key looked up in the store, or an entry visited.
const LOOKUP: u64 = 4_000;
/// A byte read from the store and decoded.
const BYTE_READ: u64 = 3;
/// A hash, whatever its length.
const HASH: u64 = 300;
/// A byte hashed twice, as SHA-256 without special instructions does.
const BYTE_HASHED: u64 = 6;
/// A signature verified by itself. In batches it takes a third.
const SIGNATURE: u64 = 60_000;
/// An entry of a table in memory gone through, such as the mempool for short ids.
const STEP: u64 = 100;
/// A byte of an answer: encoded and handed to the socket.
const BYTE_SENT: u64 = 2;

/// Nanoseconds of the thread that a peer's budget gains a millisecond: with all 125 places taken, all peers together may have
/// half of the thread and owe nothing.
const GAIN: u64 = 4_000;
/// Most that is saved up: a tenth of a second.
const MOST: u64 = 100_000_000;
/// Largest debt: work on an otherwise idle thread is forgotten after four minutes.
const MOST_OWED: u64 = 1_000_000_000;

const RATE: Rate = Rate { gain: GAIN, most: MOST };

impl Cost {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The price of a thread's effort.
    pub fn of(effort: Effort) -> Self {
        let parts = [
            (effort.lookups, LOOKUP),
            (effort.bytes_read, BYTE_READ),
            (effort.hashes, HASH),
            (effort.bytes_hashed, BYTE_HASHED),
            (effort.signatures, SIGNATURE),
            (effort.steps, STEP),
        ];
        parts.into_iter().map(|(count, price)| Self(count.saturating_mul(price))).sum()
    }

    /// Cost of a message before it is handled.
    pub fn of_message(message: &Message) -> Self {
        let elements = match message {
            Message::Inventory(items) | Message::GetData(items) | Message::NotFound(items) => items.len(),
            Message::Headers(headers) => headers.len(),
            Message::GetHeaders { locator, .. } => locator.len(),
            Message::Nodes(contacts) => contacts.len(),
            Message::AddProvider(keys) => keys.len(),
            Message::Archive(runs) => runs.len() / 32,
            Message::Providers { providers, nearer } => providers.len() + nearer.len(),
            Message::CompactBlock(compact) => compact.transactions(),
            Message::GetBlockTransactions { places, .. } => places.len(),
            Message::Block(block) => block.transactions.len(),
            Message::BlockTransactions { transactions, .. } => transactions.len(),
            Message::Hello(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::Transaction(_)
            | Message::GetFilterHeaders { .. }
            | Message::FilterHeaders { .. }
            | Message::GetFilters { .. }
            | Message::Filters(_)
            | Message::GetProofs(_)
            | Message::Proofs(_)
            | Message::FindNode { .. }
            | Message::SendCompact(_)
            | Message::GetStateRange(_)
            | Message::StateRange(_)
            | Message::GetOpening(_)
            | Message::Opening { .. }
            | Message::GetCoins(_)
            | Message::Coins(_)
            | Message::GetChainProof(_)
            | Message::ChainProof(_)
            // The exchange takes these, beside the thread.
            | Message::WantBlocks(_)
            | Message::HaveBlocks(_)
            | Message::ContentBlock(_)
            | Message::NoHeaders { .. }
            | Message::GetPages
            | Message::Pages(_)
            | Message::Signal { .. }
            | Message::NoPage { .. }
            | Message::ProviderAdded { .. }
            | Message::GetProviders { .. } => 0,
        };
        Self(MESSAGE.saturating_add(ELEMENT.saturating_mul(elements as u64)))
    }

    /// Cost of so many messages without elements before they are handled.
    pub fn of_messages(count: usize) -> Self {
        Self(MESSAGE.saturating_mul(count as u64))
    }

    /// Cost of looking up one requested item, at least in memory.
    pub fn of_request() -> Self {
        Self(ELEMENT)
    }

    /// What it costs to send so many bytes.
    pub fn of_sending(bytes: usize) -> Self {
        Self(BYTE_SENT.saturating_mul(bytes as u64))
    }

    /// In microseconds, rounded up.
    pub fn micros(self) -> u64 {
        self.0.div_ceil(1_000)
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Cost {
    fn sum<I: Iterator<Item = Self>>(costs: I) -> Self {
        costs.fold(Self::ZERO, Self::add)
    }
}

/// A peer's account.
#[derive(Debug)]
struct Account {
    budget: Bucket,
    /// All that was ever charged.
    spent: Cost,
}

/// The accounts of all connections.
#[derive(Debug, Default)]
pub(super) struct Budgets(BTreeMap<PeerId, Account>);

impl Budgets {
    /// A new connection starts with an empty budget: reconnecting clears a debt but gains no credit.
    pub(super) fn connected(&mut self, now: Now, peer: PeerId) {
        self.0.insert(peer, Account { budget: Bucket::empty(now.mono), spent: Cost::ZERO });
    }

    /// The peers, in order.
    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.0.keys().copied()
    }

    pub(super) fn disconnected(&mut self, peer: PeerId) {
        self.0.remove(&peer);
    }

    pub(super) fn charge(&mut self, now: Now, peer: PeerId, cost: Cost) {
        if let Some(account) = self.0.get_mut(&peer) {
            account.budget.spend(now.mono, RATE, cost.0, MOST_OWED);
            account.spent += cost;
        }
    }

    /// A peer's remaining budget, in nanoseconds; negative if it owes.
    pub(super) fn left(&self, now: Now, peer: PeerId) -> i64 {
        self.0.get(&peer).map_or(0, |account| account.budget.level(now.mono, RATE))
    }

    /// All that a peer was charged since it connected.
    pub(super) fn spent(&self, peer: PeerId) -> Option<Cost> {
        self.0.get(&peer).map(|account| account.spent)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::time::{MonoTime, UnixTime};

    #[test]
    fn a_cheaper_peer_has_more_budget_and_debts_expire() {
        let at = |millis| Now { mono: MonoTime::from_millis(millis), unix: UnixTime::EPOCH };
        let mut budgets = Budgets::default();
        [1, 2].into_iter().for_each(|peer| budgets.connected(at(0), PeerId(peer)));
        budgets.charge(at(0), PeerId(1), Cost(u64::MAX));
        budgets.charge(at(0), PeerId(2), Cost::of_message(&Message::Ping(1)));
        assert_eq!(budgets.left(at(0), PeerId(1)), -(MOST_OWED as i64));
        assert_eq!(budgets.left(at(0), PeerId(2)), -(MESSAGE as i64));
        assert_eq!(budgets.left(at((MOST_OWED + MOST) / GAIN), PeerId(1)), MOST as i64);
        assert_eq!(budgets.left(at(0), PeerId(3)), 0, "a stranger");
        assert_eq!(budgets.spent(PeerId(2)), Some(Cost(MESSAGE)));
        budgets.disconnected(PeerId(2));
        assert_eq!(budgets.spent(PeerId(2)), None);
    }
}
