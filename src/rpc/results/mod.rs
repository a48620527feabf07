//! The objects of results, member by member.
//!
//! `rpc.discover` publishes them as JSON Schema, from which clients make types. The tests hold every answer to them: a
//! member that is missing here, or that an answer lacks, fails.

pub mod address;
pub mod chain;
pub mod content;
pub mod control;
pub mod holding;
pub mod mempool;
pub mod mining;
pub mod network;
pub mod stats;
pub mod transaction;

use super::schema::{Field, Object, Shape, field, optional_field};

/// What `null` stands beside.
const OPTIONAL_INTEGER: Shape = Shape::Either(&[Shape::Integer, Shape::Null]);
const OPTIONAL_TEXT: Shape = Shape::Either(&[Shape::Text, Shape::Null]);
const BITS: Field = field("bits", Shape::Hex, "The target in Bitcoin's compact form.");
const TARGET: Field = field("target", Shape::Hash, "The greatest hash that the header may have.");
const DIFFICULTY: Field = field("difficulty", Shape::Number, "As a multiple of Bitcoin's difficulty 1.");
const WARNINGS: Field = field("warnings", Shape::Array(&Shape::Text), "What the owner should know.");

/// An object without a base.
const fn object(name: &'static str, fields: &'static [Field]) -> Object {
    Object { name, base: None, fields }
}

/// An object that has all that `base` has, too.
const fn extended(name: &'static str, base: &'static Object, fields: &'static [Field]) -> Object {
    Object { name, base: Some(base), fields }
}
