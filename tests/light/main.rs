//! The light client against full nodes, honest and not, in virtual time.

#[path = "../common/mod.rs"]
mod common;
mod headers;
mod proofs;
mod watch;
mod world;
