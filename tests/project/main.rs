//! The repository itself: the order of its modules, its documents, and what it is built from.

mod builds;
mod layout;
mod protocol;
