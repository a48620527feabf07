//! The shapes of results, as JSON Schema (draft 7).

use serde_json::{Value, json};

/// The declared shape of a result: kinds of JSON values, but not the members of objects.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Always `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// An integer.
    Integer,
    /// A number, whole or not.
    Number,
    /// Any text.
    Text,
    /// The name of a block or transaction: 64 hex digits.
    Hash,
    /// Bytes as hex digits.
    Hex,
    /// An object whose members are described in words.
    Object,
    /// An array of such.
    Array(&'static Shape),
    /// Any of these shapes.
    Either(&'static [Shape]),
}

impl Shape {
    /// The JSON Schema of such values.
    pub fn schema(self) -> Value {
        match self {
            Self::Null => json!({ "type": "null" }),
            Self::Boolean => json!({ "type": "boolean" }),
            Self::Integer => json!({ "type": "integer" }),
            Self::Number => json!({ "type": "number" }),
            Self::Text => json!({ "type": "string" }),
            Self::Hash => json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" }),
            Self::Hex => json!({ "type": "string", "pattern": "^([0-9a-f]{2})*$" }),
            Self::Object => json!({ "type": "object" }),
            Self::Array(item) => json!({ "type": "array", "items": item.schema() }),
            Self::Either(shapes) => json!({ "anyOf": shapes.iter().map(|shape| shape.schema()).collect::<Vec<_>>() }),
        }
    }
}
