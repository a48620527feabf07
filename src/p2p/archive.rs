//! The archive: a node that prunes keeps the [runs](Run) of old blocks whose keys are nearest to its id, and says so.
//!
//! A run's key is the content key of its last block's header. A node that has the headers can compute it, and look for
//! the run's providers in the hash table. It trusts no claim about runs: it checks blocks against headers, and does not
//! ask a peer that lacks a block for that run again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::chain::Run;
use crate::p2p::kad::{NodeId, Table};
use crate::primitives::hash::BlockHash;
use crate::primitives::time::MonoTime;

/// Most bytes of a list of runs.
pub const MAX_RUNS_BYTES: usize = 8_192;
/// Most runs that a list has room for.
pub const MAX_RUNS: u32 = 8 * MAX_RUNS_BYTES as u32;
/// A node keeps a run beyond its share if it knows fewer nodes than this that are nearer to the key: in a small network shares
/// do not cover all runs evenly, and a run without a copy would be lost.
pub const MIN_COPIES: usize = 5;
/// Time after which a run is looked up again, if still no peer has it.
pub const LOOKUP_INTERVAL: Duration = Duration::from_secs(20);
/// Most runs whose lookups are remembered.
const MAX_LOOKUPS: usize = 64;

/// A multihash of 32 bytes of double SHA-256.
const MULTIHASH_HEAD: [u8; 2] = [0x56, 0x20];

/// The key of the run whose last block has this hash.
pub fn key_of(last: &BlockHash) -> NodeId {
    NodeId::of_content(&[&MULTIHASH_HEAD[..], last.as_bytes()].concat())
}

/// Whether a node with a share of the key space, in 2^-32, archives the run whose last block has this hash.
pub(crate) fn is_kept(table: &Table, share: u32, last: &BlockHash) -> bool {
    let key = key_of(last);
    share > 0 && (table.own().distance(&key).leading() <= share || table.is_near(&key, MIN_COPIES))
}

/// A set of runs: bit i of byte j is set for run 8j + i.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Runs(Vec<u8>);

impl Runs {
    /// Of a message, whose bytes may not be more than [`MAX_RUNS_BYTES`].
    pub fn from_bytes(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// As in a message.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.clone()
    }

    /// Whether it has a run.
    pub fn has(&self, Run(run): Run) -> bool {
        self.0.get(run as usize / 8).is_some_and(|byte| byte >> (run % 8) & 1 == 1)
    }

    /// Adds a run. Those that no message has room for are left out.
    pub fn insert(&mut self, Run(run): Run) {
        let at = run as usize / 8;
        if at < MAX_RUNS_BYTES {
            self.0.resize(self.0.len().max(at + 1), 0);
            self.0[at] |= 1 << (run % 8);
        }
    }

    /// Removes a run.
    pub fn remove(&mut self, Run(run): Run) {
        if let Some(byte) = self.0.get_mut(run as usize / 8) {
            *byte &= !(1 << (run % 8));
        }
    }

    /// Removes those that are not wanted.
    pub(crate) fn retain(&mut self, is_wanted: impl Fn(Run) -> bool) {
        let unwanted: Vec<Run> = self.iter().filter(|run| !is_wanted(*run)).collect();
        unwanted.into_iter().for_each(|run| self.remove(run));
    }

    /// Its runs, in order.
    pub fn iter(&self) -> impl Iterator<Item = Run> {
        (0..8 * self.0.len() as u32).map(Run).filter(|run| self.has(*run))
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|byte| *byte == 0)
    }
}

/// When runs that no peer has were looked up.
#[derive(Debug, Default)]
pub(crate) struct Lookups {
    since: BTreeMap<NodeId, MonoTime>,
    /// When the one that is needed may be looked up again.
    due: Option<MonoTime>,
}

impl Lookups {
    /// A run is needed: whether to look it up now.
    pub(crate) fn need(&mut self, now: MonoTime, key: NodeId) -> bool {
        self.since.retain(|_, since| *since + LOOKUP_INTERVAL > now);
        if let Some(since) = self.since.get(&key) {
            self.due = Some(*since + LOOKUP_INTERVAL);
            return false;
        }
        self.due = Some(now + LOOKUP_INTERVAL);
        if self.since.len() >= MAX_LOOKUPS {
            return false;
        }
        self.since.insert(key, now);
        true
    }

    /// All that is needed can be asked for.
    pub(crate) fn need_none(&mut self) {
        self.due = None;
    }

    /// When to look again.
    pub(crate) fn deadline(&self) -> Option<MonoTime> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_runs_is_read_as_it_is_written() {
        let mut runs = Runs::default();
        assert!(runs.is_empty());
        [0, 9, 15, 65_535, 65_536, u32::MAX].into_iter().for_each(|run| runs.insert(Run(run)));
        let mut read = Runs::from_bytes(runs.to_bytes());
        assert_eq!((read.clone(), read.to_bytes().len()), (runs, MAX_RUNS_BYTES));
        let has = |runs: &Runs| [0, 1, 9, 14, 15, 65_535, 65_536].map(|run| runs.has(Run(run)));
        assert_eq!(has(&read), [true, false, true, false, true, true, false]);
        [0, 9, 15, 65_535, u32::MAX].into_iter().for_each(|run| read.remove(Run(run)));
        assert!(read.is_empty());
    }

    #[test]
    fn a_run_is_looked_up_once_in_a_while() {
        let mut lookups = Lookups::default();
        let (now, one, other) = (MonoTime::START, NodeId([1; 32]), NodeId([2; 32]));
        assert!(lookups.need(now, one) && !lookups.need(now, one) && lookups.need(now, other));
        let later = now + LOOKUP_INTERVAL;
        assert_eq!(lookups.deadline(), Some(later));
        assert!(lookups.need(later, one));
        lookups.need_none();
        assert_eq!(lookups.deadline(), None);
    }
}
