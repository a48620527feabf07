//! The primitives and the rules: each rule broken, laws that hold for all values, and published vectors.

mod genesis;
mod hashing;
mod laws;
#[path = "../support/mod.rs"]
mod support;
mod table;
mod vectors;
