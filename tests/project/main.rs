//! The repository itself: the order of its modules, and its documents.

mod layout;
mod protocol;
#[path = "../../crates/core/tests/support/mod.rs"]
mod support;
