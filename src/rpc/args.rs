//! Parameters: how a method declares them, and how a call's are matched with the declaration.

use std::fmt;

use serde_json::{Map, Value, json};

use super::error::{Code, RpcError};
use super::jsonrpc::Params;
use super::values::{FromJson, type_of};

/// The kind of a parameter, shown by `help` and enforced for each call.
///
/// A caller that does not know a method, as bitcoin-cli does not know all of these, sends every parameter as a string;
/// numbers, booleans, arrays and objects are therefore taken from their text too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// An integer.
    Integer,
    /// A number, whole or not.
    Number,
    /// `true` or `false`.
    Boolean,
    /// An integer, or `false` and `true` for 0 and 1.
    Verbosity,
    /// Any text.
    Text,
    /// The name of a block or transaction: 64 hex digits.
    Hash,
    /// Bytes as hex digits.
    Hex,
    /// An address of this network.
    Address,
    /// A block's hash or its height.
    HashOrHeight,
    /// A JSON array.
    Array,
    /// A JSON object.
    Object,
    /// Any JSON.
    Any,
    /// Any text, or an integer, which is handed on as its text.
    TextOrInteger,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Verbosity => "integer or boolean",
            Self::Text => "string",
            Self::Hash => "hash",
            Self::Hex => "hex",
            Self::Address => "address",
            Self::HashOrHeight => "hash or integer",
            Self::Array => "array",
            Self::Object => "object",
            Self::Any => "value",
            Self::TextOrInteger => "string or integer",
        })
    }
}

impl Kind {
    /// The JSON Schema of a parameter of this kind, in the form that is preferred: text is taken for most others too.
    pub fn schema(self) -> Value {
        match self {
            Self::Integer => json!({ "type": "integer" }),
            Self::Number => json!({ "type": "number" }),
            Self::Boolean => json!({ "type": "boolean" }),
            Self::Verbosity => json!({ "type": ["integer", "boolean"] }),
            Self::Text | Self::Address => json!({ "type": "string" }),
            Self::Hash => json!({ "type": "string", "pattern": "^[0-9A-Fa-f]{64}$" }),
            Self::Hex => json!({ "type": "string", "pattern": "^([0-9A-Fa-f]{2})*$" }),
            Self::HashOrHeight => {
                json!({ "anyOf": [{ "type": "string", "pattern": "^[0-9A-Fa-f]{64}$" }, { "type": "integer" }] })
            }
            Self::Array => json!({ "type": "array" }),
            Self::Object => json!({ "type": "object" }),
            Self::Any => json!({}),
            Self::TextOrInteger => json!({ "type": ["string", "integer"] }),
        }
    }

    /// The value that `given` stands for, or `None` if it is of another JSON type.
    fn coerce(self, given: Value) -> Option<Value> {
        let from_text = |text: &str| serde_json::from_str::<Value>(text).ok();
        let is_integer = |value: &Value| value.is_i64() || value.is_u64();
        match (self, given) {
            (Self::Any, value) => Some(value),
            (Self::Integer | Self::Verbosity | Self::HashOrHeight, value) if is_integer(&value) => Some(value),
            (Self::Verbosity, Value::Bool(verbose)) => Some(Value::from(u8::from(verbose))),
            (Self::Number, value @ Value::Number(_)) => Some(value),
            (Self::Boolean, value @ Value::Bool(_)) | (Self::Array, value @ Value::Array(_)) => Some(value),
            (Self::Object, value @ Value::Object(_)) => Some(value),
            (Self::Text | Self::Hash | Self::Hex | Self::Address | Self::TextOrInteger, value @ Value::String(_)) => {
                Some(value)
            }
            (Self::TextOrInteger, value) if is_integer(&value) => Some(Value::String(value.to_string())),
            // A height may come as text, but a hash of decimal digits alone is still a hash.
            (Self::HashOrHeight, Value::String(text)) => match text.len() {
                64 => Some(Value::String(text)),
                _ => Some(from_text(&text).filter(is_integer).unwrap_or(Value::String(text))),
            },
            (Self::Number, Value::String(text)) => from_text(&text).filter(Value::is_number),
            (Self::Integer, Value::String(text)) => from_text(&text).filter(is_integer),
            (Self::Boolean, Value::String(text)) => from_text(&text).filter(Value::is_boolean),
            (Self::Array, Value::String(text)) => from_text(&text).filter(Value::is_array),
            (Self::Object, Value::String(text)) => from_text(&text).filter(Value::is_object),
            (Self::Verbosity, Value::String(text)) => {
                from_text(&text).filter(|value| !value.is_string()).and_then(|value| self.coerce(value))
            }
            _ => None,
        }
    }
}

/// A parameter of a method.
#[derive(Debug)]
pub struct Param {
    /// Its name, for named parameters and for people.
    pub name: &'static str,
    /// Another name that Bitcoin Core takes for it.
    pub alias: Option<&'static str>,
    /// What values it takes.
    pub kind: Kind,
    /// The value of an absent or null parameter, as JSON; `None` if it is required. The method sees `null` as absent.
    pub default: Option<&'static str>,
    /// A sentence for `help` and the OpenRPC document.
    pub about: &'static str,
}

impl Param {
    /// The same with another name that Bitcoin Core takes for it.
    pub const fn or(self, alias: &'static str) -> Self {
        Self { alias: Some(alias), ..self }
    }

    fn has_name(&self, name: &str) -> bool {
        self.name == name || self.alias == Some(name)
    }
}

/// A parameter that must be given.
pub const fn required(name: &'static str, kind: Kind, about: &'static str) -> Param {
    Param { name, alias: None, kind, default: None, about }
}

/// A parameter that may be left out, or null, and then is `default`, in JSON.
pub const fn optional(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Param {
    Param { name, alias: None, kind, default: Some(default), about }
}

/// Name and parameters of a method in a line, optional ones in parentheses, as Bitcoin Core writes it.
pub(super) fn usage(method: &str, params: &[Param]) -> String {
    let mut text = method.to_owned();
    for param in params {
        let name = match param.kind {
            Kind::Text | Kind::Hash | Kind::Hex | Kind::Address => format!("\"{}\"", param.name),
            Kind::Array => format!("[{},...]", param.name),
            Kind::Object => format!("{{{}}}", param.name),
            Kind::Integer
            | Kind::Number
            | Kind::Boolean
            | Kind::Verbosity
            | Kind::HashOrHeight
            | Kind::TextOrInteger
            | Kind::Any => param.name.to_owned(),
        };
        text += &if param.default.is_none() { format!(" {name}") } else { format!(" ( {name} )") };
    }
    text
}

/// The parameters of one call: one value for each that the method declares, in that order and of its kind.
#[derive(Debug)]
pub struct Args {
    method: &'static str,
    params: &'static [Param],
    values: Vec<Value>,
}

impl Args {
    /// Matches the parameters of a call with `params`, those that `method` declares.
    ///
    /// # Errors
    /// [`Code::Misc`] with the method's usage for too few or too many, [`Code::InvalidParameter`] for a name that is
    /// unknown or given twice, [`Code::Type`] for a value of another kind.
    pub fn bind(method: &'static str, params: &'static [Param], given: Params) -> Result<Self, RpcError> {
        let (mut positional, named) = match given {
            Params::Positional(values) => (values, Map::new()),
            Params::Named(mut named) => match named.remove("args") {
                // Bitcoin Core's mixture: the first ones by place, others by name.
                Some(Value::Array(values)) => (values, named),
                Some(_) => return Err(RpcError::new(Code::Type, "args: expected an array of positional parameters")),
                None => (Vec::new(), named),
            },
        };
        let wrong_count =
            |what: String| RpcError::new(Code::Misc, format!("{what}\n\nUsage: {}", usage(method, params)));
        let (got, most) = (positional.len(), params.len());
        if got > most {
            return Err(wrong_count(format!("{method} takes at most {most} parameters, got {got}")));
        }
        positional.resize(most, Value::Null);
        for (name, value) in named {
            let place = params.iter().position(|param| param.has_name(&name));
            let place = place.ok_or_else(|| RpcError::invalid(format!("Unknown named parameter {name}")))?;
            if place >= got && !positional[place].is_null() {
                return Err(RpcError::invalid(format!("Parameter {name} specified multiple times")));
            }
            if place < got {
                let twice = format!("Parameter {name} specified twice both as positional and named argument");
                return Err(RpcError::invalid(twice));
            }
            positional[place] = value;
        }
        let mut values = Vec::with_capacity(most);
        for (param, value) in params.iter().zip(positional) {
            values.push(match (value, param.default) {
                (Value::Null, None) => {
                    return Err(wrong_count(format!("{method} needs the parameter {}", param.name)));
                }
                (Value::Null, Some(default)) => serde_json::from_str(default).map_err(RpcError::internal)?,
                (value, _) => {
                    let got = type_of(&value);
                    let wrong = || format!("{}: expected {}, got {got}", param.name, with_article(param.kind));
                    param.kind.coerce(value).ok_or_else(|| RpcError::new(Code::Type, wrong()))?
                }
            });
        }
        Ok(Self { method, params, values })
    }

    /// The parameter declared as `name`.
    ///
    /// # Errors
    /// [`Code::InvalidParameter`], naming it, if its value is not one of `T`'s.
    pub fn get<'a, T: FromJson<'a>>(&'a self, name: &str) -> Result<T, RpcError> {
        let place = self.params.iter().position(|param| param.name == name);
        let value = place.and_then(|place| self.values.get(place));
        let value = value.ok_or_else(|| RpcError::internal(format!("{} declares no {name}", self.method)))?;
        T::from_json(value).map_err(|error| RpcError::invalid(format!("{name}: {error}")))
    }
}

fn with_article(kind: Kind) -> String {
    match kind {
        Kind::Hash | Kind::Hex => format!("a string ({kind})"),
        Kind::Integer | Kind::Verbosity | Kind::Address | Kind::Array | Kind::Object => {
            format!("an {kind}")
        }
        Kind::Number | Kind::Boolean | Kind::Text | Kind::HashOrHeight | Kind::TextOrInteger | Kind::Any => {
            format!("a {kind}")
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const PARAMS: &[Param] = &[
        required("count", Kind::Integer, "How many."),
        optional("loud", Kind::Boolean, "false", "Whether to shout."),
        optional("names", Kind::Array, "[]", "Whose."),
        optional("level", Kind::Verbosity, "1", "How much.").or("verbose"),
    ];

    fn bind(params: Value) -> Result<(i64, bool, Vec<String>, u8), RpcError> {
        let params = match params {
            Value::Array(values) => Params::Positional(values),
            Value::Object(values) => Params::Named(values),
            other => panic!("{other}"),
        };
        let args = Args::bind("try", PARAMS, params)?;
        Ok((args.get("count")?, args.get("loud")?, args.get("names")?, args.get("level")?))
    }

    #[test]
    fn parameters_are_read_by_position_by_name_and_by_both() {
        let all = (3, true, vec!["a".to_owned()], 0);
        for params in [
            json!([3, true, ["a"], 0]),
            json!(["3", "true", "[\"a\"]", "0"]),
            json!([3, true, ["a"], false]),
            json!([3, true, ["a"], "false"]),
            json!({ "level": 0, "names": ["a"], "loud": true, "count": 3 }),
            json!({ "args": [3, true], "names": ["a"], "level": 0 }),
            json!({ "args": [3, true], "names": ["a"], "verbose": false }),
        ] {
            assert_eq!(bind(params.clone()), Ok(all.clone()), "{params}");
        }
        for params in [json!([3]), json!([3, null]), json!({ "count": 3, "level": null })] {
            assert_eq!(bind(params.clone()), Ok((3, false, vec![], 1)), "{params}");
        }
    }

    #[test]
    fn unexpected_parameters_are_named() {
        for (params, code, text) in [
            (json!([]), Code::Misc, "count"),
            (json!({}), Code::Misc, "count"),
            (json!([null]), Code::Misc, "count"),
            (json!([1, true, [], 1, 5]), Code::Misc, "at most 4"),
            (json!({ "count": 1, "size": 2 }), Code::InvalidParameter, "size"),
            (json!({ "args": [1], "count": 2 }), Code::InvalidParameter, "count"),
            (json!({ "count": 1, "level": 2, "verbose": true }), Code::InvalidParameter, "multiple times"),
            (json!({ "args": 1 }), Code::Type, "args"),
            (json!(["three"]), Code::Type, "count"),
            (json!([1.5]), Code::Type, "count"),
            (json!([1, 1]), Code::Type, "loud"),
            (json!([1, true, {}]), Code::Type, "names"),
            (json!([1, true, [5]]), Code::InvalidParameter, "names"),
            (json!([1, true, [], 256]), Code::InvalidParameter, "level"),
        ] {
            let error = bind(params.clone()).unwrap_err();
            assert_eq!(error.code, code, "{params}: {error}");
            assert!(error.message.contains(text), "{params}: {error}");
        }
    }

    #[test]
    fn objects_and_names_come_as_text_too() {
        assert_eq!(Kind::Object.coerce(json!("{\"cut\": true}")), Some(json!({ "cut": true })));
        assert_eq!(Kind::Object.coerce(json!({})), Some(json!({})));
        for wrong in [json!("[]"), json!("cut"), json!([]), json!(1)] {
            assert_eq!(Kind::Object.coerce(wrong), None);
        }
        assert_eq!(Kind::TextOrInteger.coerce(json!(7)), Some(json!("7")));
        assert_eq!(Kind::TextOrInteger.coerce(json!("node-2")), Some(json!("node-2")));
        assert_eq!(Kind::TextOrInteger.coerce(json!(1.5)), None);
    }

    #[test]
    fn a_hash_of_digits_is_no_height() {
        let coerce = |value: Value| Kind::HashOrHeight.coerce(value).unwrap();
        assert_eq!(coerce(json!("7")), json!(7));
        assert_eq!(coerce(json!(7)), json!(7));
        assert_eq!(coerce(json!("1".repeat(64))), json!("1".repeat(64)));
    }
}
