//! All coins in one tree, and proofs about any of them.
//!
//! The coins after a block stand in the order of their [`Key`]: lock, transaction, index. The tree over them has a node
//! wherever the keys part, and no other, so it follows from the coins alone, whatever the order in which they came. Each
//! node commits to the value and the number of coins on either side. From one root ([`StateId`]), with one format and
//! one verifier, follow: a coin, or that there is none under a key; the coins in a range of keys, those of a lock among
//! them, with none left out; and their value and number in about a kilobyte, however many they are.
//!
//! What it cannot show is that an outpoint is not there at all: its lock must be known, which the transaction that made
//! it says. A key under another lock is absent, and says nothing.
//!
//! - [`build`]: nodes from coins in order, in little memory.
//! - [`epochs`]: the states that blocks commit to.
//! - [`source`], [`update`]: a table kept on a disk, and what to write to it when coins change.
//! - [`proof`]: proofs, made and checked.
//!
//! ```
//! # use cairn_core::consensus::coins::Coin;
//! # use cairn_core::primitives::{amount::Amount, hash::{BlockHash, Txid}, height::Height, keys::PublicKey};
//! # use cairn_core::primitives::tx::{OutPoint, Output};
//! use cairn_core::state::{KeyRange, Leaf, StateId, Table};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let lock = PublicKey([7; 32]);
//! let coin = |value| Coin {
//!     output: Output::pay(lock, Amount::from_grains(value)),
//!     height: Height::from_u32(1),
//!     coinbase: false,
//! };
//! let outpoint = |index| OutPoint { txid: Txid::of(b"a payment"), index };
//! let table = Table::new((0..3).filter_map(|index| Leaf::new(&outpoint(index), &coin(100))))?;
//! let id = StateId::new(Height::from_u32(1), BlockHash::of(b"its block"), table.top());
//!
//! let range = KeyRange::lock(&lock);
//! let proof = table.with_source(|source| source.prove_total(&range))?;
//! let total = id.total(&range, &proof)?;
//! assert_eq!((total.sum, total.count), (Amount::from_grains(300), 3));
//! # Ok(())
//! # }
//! ```

pub mod build;
pub mod changes;
pub mod epochs;
pub mod key;
pub mod node;
pub mod proof;
pub mod source;
pub mod table;
pub mod update;

pub use build::{BuildError, Builder, node_over};
pub use changes::{Change, Changes};
pub use epochs::Epochs;
pub use key::{Key, KeyRange, Prefix};
pub use node::{Inner, Leaf, Node, StateId};
pub use proof::{Page, StateProofError, Total};
pub use source::{Source, SourceError};
pub use table::Table;
pub use update::{Halves, Rewritten, Update, UpdateError};
