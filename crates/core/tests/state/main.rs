//! The tree over all coins, held against a naive one, and everything that its proofs must refuse.

mod exhaustive;
mod model;
mod proofs;
mod refusals;
mod tree;
