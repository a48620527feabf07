//! Values of parameters, read from JSON with errors that name JSON's types, not a programming language's.

use serde_json::{Map, Value};

use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::height::Height;
use crate::primitives::tx::OutPoint;

/// What a parameter's value can be read as.
pub trait FromJson<'a>: Sized {
    /// Reads the value, or describes what is wrong with it.
    ///
    /// # Errors
    /// What was expected, and what was given.
    fn from_json(value: &'a Value) -> Result<Self, String>;
}

/// The JSON type of a value, with its article.
pub(super) fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(n) if n.is_f64() => "a fraction",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn expected<T>(what: &str, value: &Value) -> Result<T, String> {
    Err(format!("expected {what}, got {}", type_of(value)))
}

macro_rules! integers {
    ($($integer:ident),*) => {$(
        impl FromJson<'_> for $integer {
            fn from_json(value: &Value) -> Result<Self, String> {
                let given = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
                let Some(given) = given else { return expected("an integer", value) };
                let (least, most) = ($integer::MIN, $integer::MAX);
                given.try_into().map_err(|_| format!("{given} is out of range, expected {least} to {most}"))
            }
        }
    )*};
}

integers!(u8, u32, u64, usize, i64);

impl FromJson<'_> for Height {
    fn from_json(value: &Value) -> Result<Self, String> {
        u32::from_json(value).map(Self::from_u32)
    }
}

impl FromJson<'_> for f64 {
    fn from_json(value: &Value) -> Result<Self, String> {
        value.as_f64().map_or_else(|| expected("a number", value), Ok)
    }
}

impl FromJson<'_> for bool {
    fn from_json(value: &Value) -> Result<Self, String> {
        value.as_bool().map_or_else(|| expected("a boolean", value), Ok)
    }
}

impl<'a> FromJson<'a> for &'a str {
    fn from_json(value: &'a Value) -> Result<Self, String> {
        value.as_str().map_or_else(|| expected("a string", value), Ok)
    }
}

impl FromJson<'_> for String {
    fn from_json(value: &Value) -> Result<Self, String> {
        <&str>::from_json(value).map(str::to_owned)
    }
}

macro_rules! hashes {
    ($($hash:ident),*) => {$(
        impl FromJson<'_> for $hash {
            fn from_json(value: &Value) -> Result<Self, String> {
                <&str>::from_json(value)?.parse().map_err(|error| format!("{error}"))
            }
        }
    )*};
}

hashes!(BlockHash, Txid);

/// An object with `txid` and `vout`, such as a coin that an answer lists; other members are ignored.
impl FromJson<'_> for OutPoint {
    fn from_json(value: &Value) -> Result<Self, String> {
        let object = <&Map<String, Value>>::from_json(value)?;
        Ok(Self { txid: required_member(object, "txid")?, index: required_member(object, "vout")? })
    }
}

impl FromJson<'_> for Value {
    fn from_json(value: &Value) -> Result<Self, String> {
        Ok(value.clone())
    }
}

impl<'a> FromJson<'a> for &'a Map<String, Value> {
    fn from_json(value: &'a Value) -> Result<Self, String> {
        value.as_object().map_or_else(|| expected("an object", value), Ok)
    }
}

impl<'a, T: FromJson<'a>> FromJson<'a> for Option<T> {
    fn from_json(value: &'a Value) -> Result<Self, String> {
        if value.is_null() { Ok(None) } else { T::from_json(value).map(Some) }
    }
}

impl<'a, T: FromJson<'a>> FromJson<'a> for Vec<T> {
    fn from_json(value: &'a Value) -> Result<Self, String> {
        let Some(items) = value.as_array() else { return expected("an array", value) };
        let item = |(place, item)| T::from_json(item).map_err(|error| format!("item {place}: {error}"));
        items.iter().enumerate().map(item).collect()
    }
}

/// A member of an object; `None` if it is absent or null.
///
/// # Errors
/// What is wrong with it, with its name.
pub(super) fn member<'a, T: FromJson<'a>>(object: &'a Map<String, Value>, name: &str) -> Result<Option<T>, String> {
    let value = object.get(name).map(Option::<T>::from_json);
    value.unwrap_or(Ok(None)).map_err(|error| format!("{name}: {error}"))
}

/// A member of an object that has to be there.
///
/// # Errors
/// That it is not, or what is wrong with it, with its name.
pub(super) fn required_member<'a, T: FromJson<'a>>(object: &'a Map<String, Value>, name: &str) -> Result<T, String> {
    member(object, name)?.ok_or_else(|| format!("{name}: missing"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn errors_name_json_types() {
        assert_eq!(u8::from_json(&json!(255)), Ok(255));
        assert_eq!(u8::from_json(&json!(256)), Err("256 is out of range, expected 0 to 255".to_owned()));
        assert_eq!(u32::from_json(&json!(-1)), Err("-1 is out of range, expected 0 to 4294967295".to_owned()));
        assert_eq!(u32::from_json(&json!("x")), Err("expected an integer, got a string".to_owned()));
        assert_eq!(i64::from_json(&json!(u64::MAX)).unwrap_err().split(' ').next(), Some("18446744073709551615"));
        assert_eq!(u64::from_json(&json!(1.5)), Err("expected an integer, got a fraction".to_owned()));
        assert_eq!(
            Vec::<String>::from_json(&json!(["a", 5])),
            Err("item 1: expected a string, got a number".to_owned())
        );
        assert_eq!(Option::<u8>::from_json(&Value::Null), Ok(None));
        assert!(Txid::from_json(&json!("5")).unwrap_err().contains("64 hex digits"));
        let object = json!({ "a": true, "b": null });
        let object = object.as_object().unwrap();
        assert_eq!((member(object, "a"), member::<bool>(object, "b")), (Ok(Some(true)), Ok(None)));
        assert_eq!(required_member::<bool>(object, "b"), Err("b: missing".to_owned()));
        assert_eq!(member::<f64>(object, "a"), Err("a: expected a number, got a boolean".to_owned()));
    }
}
