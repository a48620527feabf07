//! The primitives and the rules: each rule broken, laws that hold for all values, and published vectors.

mod genesis;
mod hashing;
mod laws;
mod table;
mod vectors;
