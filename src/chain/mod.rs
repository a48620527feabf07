//! The chain: every header known, and the state at the end of the best branch.

mod error;
mod index;
mod state;
mod step;
mod tips;

pub use error::ChainError;
pub use index::Entry;
pub use state::{Chain, ChainUpdate, IsVerified};
pub use tips::{ChainTip, TipStatus};
