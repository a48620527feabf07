//! Who gave how much content, and took how much: when not all can be served at once, those go first who give.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use crate::p2p::kad::NodeId;

/// Most nodes that are remembered.
pub const MAX_ACCOUNTS: usize = 4_096;
/// Bytes that count as given and taken at the beginning: a newcomer is neither first nor last.
const GRACE: u64 = 16 << 20;

/// Bytes of blocks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Account {
    given: u64,
    taken: u64,
}

/// The accounts of all nodes, by their ids: a new connection does not clear them.
#[derive(Debug, Default)]
pub struct Ledger {
    accounts: BTreeMap<NodeId, Account>,
}

impl Ledger {
    fn account(&mut self, node: NodeId) -> &mut Account {
        if !self.accounts.contains_key(&node) && self.accounts.len() >= MAX_ACCOUNTS {
            // The node that gave and took least is nearest to what a newcomer is.
            let least = self.accounts.iter().min_by_key(|(_, account)| account.given.saturating_add(account.taken));
            if let Some(least) = least.map(|(node, _)| *node) {
                self.accounts.remove(&least);
            }
        }
        self.accounts.entry(node).or_default()
    }

    /// A node gave this one so many bytes that were wanted and right.
    pub fn gave(&mut self, node: NodeId, bytes: u64) {
        let account = self.account(node);
        account.given = account.given.saturating_add(bytes);
    }

    /// A node was given so many bytes.
    pub fn took(&mut self, node: NodeId, bytes: u64) {
        let account = self.account(node);
        account.taken = account.taken.saturating_add(bytes);
    }

    /// Which of two nodes gave more for what it took; the greater one is served first.
    pub fn compare(&self, a: &NodeId, b: &NodeId) -> Ordering {
        let of = |node| self.accounts.get(node).copied().unwrap_or_default();
        let (a, b) = (of(a), of(b));
        let with_grace = |bytes: u64| u128::from(bytes.saturating_add(GRACE));
        (with_grace(a.given) * with_grace(b.taken)).cmp(&(with_grace(b.given) * with_grace(a.taken)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(n: u16) -> NodeId {
        NodeId::of_content(&n.to_le_bytes())
    }

    #[test]
    fn those_who_give_go_before_strangers_and_strangers_before_those_who_take() {
        let mut ledger = Ledger::default();
        ledger.gave(node(1), 1 << 20);
        ledger.took(node(3), 1 << 20);
        // Much of both is no better than nothing of either.
        ledger.gave(node(4), u64::MAX);
        ledger.took(node(4), u64::MAX);
        assert_eq!(ledger.compare(&node(1), &node(2)), Ordering::Greater);
        assert_eq!(ledger.compare(&node(2), &node(3)), Ordering::Greater);
        assert_eq!(ledger.compare(&node(2), &node(4)), Ordering::Equal);
        assert_eq!(ledger.compare(&node(5), &node(2)), Ordering::Equal);
    }

    #[test]
    fn the_number_of_accounts_is_bounded() {
        let mut ledger = Ledger::default();
        ledger.gave(node(0), 1 << 30);
        for n in 1..=MAX_ACCOUNTS as u16 + 100 {
            ledger.took(node(n), 1);
        }
        assert_eq!(ledger.accounts.len(), MAX_ACCOUNTS);
        assert_eq!(ledger.compare(&node(0), &node(9_999)), Ordering::Greater, "the one that gave most is remembered");
    }
}
