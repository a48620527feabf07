//! Proofs: a part of the tree, from the top down, with everything else as it stands in the nodes above it.
//!
//! A proof is about a range of keys and one of two questions: which coins are there (a *page*), or what they are worth and
//! how many they are (a *total*). A node's *place* is its parent's prefix and its side, that of the top no bits at all. One
//! rule says what is shown: a node is **hidden** if its place says all there is to know of it, and shown otherwise. To a
//! page, that is a place that does not meet the range; to a total, it is one within the range too, since a hidden node has
//! sum and count. So a coin left out, wherever it is, leaves a hidden place that meets the range, and a question has
//! exactly one proof.
//!
//! # Layout
//! The top's node, or byte 0 if there are no coins. Numbers are unsigned varints (LEB128) in their shortest form. A node
//! begins with a byte:
//!
//! | byte | node | then |
//! |---|---|---|
//! | 1 | hidden | its digest (32), sum, count |
//! | 2 | shown, both children hidden | the number of its prefix's bits, those in as few bytes as hold them, spare bits 0; left and right: digest (32), sum, count of each |
//! | 3 | shown, a child shown | the number of its prefix's bits; left node, right node |
//! | 4 | coin of another lock than the coin before | lock (32), txid (32), index, value, height × 2 + 1 for a coinbase's or + 0 |
//! | 5 | coin of the same lock as the coin before | the same without the lock |

mod bytes;
mod prove;
mod verify;

pub use bytes::Malformed;
pub use prove::ProveError;
pub use verify::{Page, StateProofError, Total};

use super::key::{Key, KeyRange, Prefix};

/// Coins of a page that is not the last.
pub const PAGE_COINS: usize = 10_000;
/// Most bytes of a proof. A page has at most 86 for each coin and 50 for each of at most 1,088 hidden nodes beside them.
pub const MAX_PROOF_BYTES: usize = 1 << 20;
/// Most nodes above a coin.
const MAX_DEPTH: u16 = Key::BITS;

const EMPTY: u8 = 0;
const HIDDEN: u8 = 1;
const STUB: u8 = 2;
const INNER: u8 = 3;
const COIN: u8 = 4;
const COIN_OF_LOCK: u8 = 5;

/// What is asked of a range of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Question {
    /// Every coin.
    Coins,
    /// Sum and count.
    Total,
}

/// Whether the node at `place` is hidden in the answer.
fn is_hidden(place: &Prefix, range: &KeyRange, question: Question) -> bool {
    let keys = place.range();
    !range.meets(&keys) || (question == Question::Total && range.covers(&keys))
}
