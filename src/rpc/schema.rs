//! The shapes of results, as JSON Schema (draft 7).

use std::fmt;

use serde_json::{Map, Value, json};

/// The declared shape of a result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Shape {
    /// Any value.
    Any,
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
    /// An object with declared members.
    Object(&'static Object),
    /// An object that names values of one shape: the names are data.
    Map(&'static Shape),
    /// An array of such.
    Array(&'static Shape),
    /// Any of these shapes.
    Either(&'static [Shape]),
}

/// An object of a result: it has these members and no others.
#[derive(Debug, PartialEq)]
pub struct Object {
    /// Its name in the OpenRPC document, for programs that make types of it.
    pub name: &'static str,
    /// What it has besides its own members.
    pub base: Option<&'static Object>,
    /// Its own members.
    pub fields: &'static [Field],
}

/// A member of an object.
#[derive(Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// Its value.
    pub shape: Shape,
    /// Whether some answers lack it.
    pub is_optional: bool,
    /// What it means, with its unit; empty if the name says it all.
    pub about: &'static str,
}

/// A member that is always there.
pub const fn field(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, shape, is_optional: false, about }
}

/// A member that some answers lack.
pub const fn optional_field(name: &'static str, shape: Shape, about: &'static str) -> Field {
    Field { name, shape, is_optional: true, about }
}

impl Object {
    /// All members: those of the base first.
    pub fn all_fields(&self) -> Vec<&'static Field> {
        let mut fields = self.base.map_or_else(Vec::new, Self::all_fields);
        fields.extend(self.fields);
        fields
    }

    fn schema(&self) -> Value {
        let fields = self.all_fields();
        let property = |field: &&Field| {
            let mut schema = field.shape.schema();
            if let (false, Some(members)) = (field.about.is_empty(), schema.as_object_mut()) {
                members.insert("description".to_owned(), json!(field.about));
            }
            (field.name.to_owned(), schema)
        };
        let required = fields.iter().filter(|field| !field.is_optional).map(|field| field.name);
        json!({
            "title": self.name,
            "type": "object",
            "properties": fields.iter().map(property).collect::<Map<_, _>>(),
            "required": required.collect::<Vec<_>>(),
            "additionalProperties": false,
        })
    }
}

/// In words, for `help`; objects by their names.
impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any value"),
            Self::Null => f.write_str("null"),
            Self::Boolean => f.write_str("boolean"),
            Self::Integer => f.write_str("integer"),
            Self::Number => f.write_str("number"),
            Self::Text => f.write_str("string"),
            Self::Hash => f.write_str("hash"),
            Self::Hex => f.write_str("hex"),
            Self::Object(object) => f.write_str(object.name),
            Self::Map(value) => write!(f, "object of {value}"),
            Self::Array(item) => write!(f, "array of {item}"),
            Self::Either(shapes) => {
                let names: Vec<String> = shapes.iter().map(Self::to_string).collect();
                f.write_str(&names.join(" or "))
            }
        }
    }
}

impl Shape {
    /// The objects that it mentions, each before those that it mentions itself, and once.
    pub fn objects(self) -> Vec<&'static Object> {
        let mut found = Vec::new();
        self.collect_objects(&mut found);
        found
    }

    fn collect_objects(self, found: &mut Vec<&'static Object>) {
        match self {
            Self::Object(object) if !found.contains(&object) => {
                found.push(object);
                object.all_fields().iter().for_each(|field| field.shape.collect_objects(found));
            }
            Self::Map(shape) | Self::Array(shape) => shape.collect_objects(found),
            Self::Either(shapes) => shapes.iter().for_each(|shape| shape.collect_objects(found)),
            _ => {}
        }
    }

    /// The JSON Schema of such values.
    pub fn schema(self) -> Value {
        match self {
            Self::Any => json!({}),
            Self::Null => json!({ "type": "null" }),
            Self::Boolean => json!({ "type": "boolean" }),
            Self::Integer => json!({ "type": "integer" }),
            Self::Number => json!({ "type": "number" }),
            Self::Text => json!({ "type": "string" }),
            Self::Hash => json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" }),
            Self::Hex => json!({ "type": "string", "pattern": "^([0-9a-f]{2})*$" }),
            Self::Object(object) => object.schema(),
            Self::Map(value) => json!({ "type": "object", "additionalProperties": value.schema() }),
            Self::Array(item) => json!({ "type": "array", "items": item.schema() }),
            Self::Either(shapes) => json!({ "anyOf": shapes.iter().map(|shape| shape.schema()).collect::<Vec<_>>() }),
        }
    }
}
