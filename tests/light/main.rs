//! The light client against full nodes, honest and not, in virtual time.

mod finding;
mod headers;
mod holdings;
mod library;
mod pages;
mod proofs;
mod succinct;
mod watch;
mod world;
