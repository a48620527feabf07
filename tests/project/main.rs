//! The repository itself: the order of its modules, and its documents.

mod layout;
mod protocol;
