//! About how much memory the pool takes, entry by entry, with all indexes.

use std::mem::size_of;

use super::by_key::{KeyEntry, KeySums};
use super::entry::Entry;
use crate::primitives::amount::{Amount, FeeRate};
use crate::primitives::hash::Txid;
use crate::primitives::keys::PublicKey;
use crate::primitives::tx::{Input, Lock, OutPoint, Output, Transaction};

impl Entry {
    /// About how much memory it takes, indexes included.
    pub(super) fn usage(&self) -> usize {
        memory_of(&self.tx)
            + PER_ENTRY
            + self.tx.inputs.len() * PER_INPUT
            + self.spends.len() * PER_KEY
            + self.tx.outputs.len() * (PER_KEY + PER_UNSPENT)
    }
}

/// A map's slot costs its key and value, and about as much again for empty slots and tree nodes.
const PER_ENTRY: usize =
    2 * (size_of::<(Txid, Entry)>() + 2 * size_of::<(FeeRate, Txid)>() + 2 * size_of::<((u64, u64), Txid)>());
/// The coin's spender, and a link with its maker each way.
const PER_INPUT: usize = 2 * (size_of::<(OutPoint, Txid)>() + 2 * size_of::<Txid>());
/// The cost of an input or output that is the only one of its key: the owner, the key's sums, and the entry by key.
const PER_KEY: usize = size_of::<(PublicKey, Amount)>()
    + 2 * (size_of::<(PublicKey, KeySums)>() + size_of::<((PublicKey, u64, u64), KeyEntry)>());
/// An output that nothing spends, under its key.
const PER_UNSPENT: usize = 2 * size_of::<((PublicKey, u64, u64, u32), (Txid, Amount))>();

/// Bytes that a transaction takes in memory.
pub(super) fn memory_of(tx: &Transaction) -> usize {
    let data = tx.outputs.iter().map(|output| match &output.lock {
        Lock::Data(data) => data.len(),
        Lock::Key(_) => 0,
    });
    size_of::<Transaction>()
        + tx.inputs.len() * size_of::<Input>()
        + tx.outputs.len() * size_of::<Output>()
        + data.sum::<usize>()
}
