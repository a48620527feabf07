//! The JSON-RPC envelope of requests and answers. No I/O and no methods.
//!
//! There are two dialects, distinguished by the request's `jsonrpc` member, as in Bitcoin Core since version 28:
//!
//! - *legacy* (none, `"1.0"` or `"1.1"`): an answer always has `result`, `error` and `id`, nulls included, and an
//!   error shows in the HTTP status as well;
//! - *2.0*: either `result` or `error`, HTTP 200 even for an error, and no answer (204) to a request without `id`.
//!
//! A batch is always answered with 200.

use std::collections::BTreeMap;
use std::{fmt, io};

use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::{Code, RpcError};

/// The outcome of a call.
pub type Outcome = Result<Reply, RpcError>;

/// Which rules an answer follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Version {
    /// JSON-RPC 1.0 and 1.1, and requests of unknown version.
    #[default]
    Legacy,
    /// JSON-RPC 2.0.
    V2,
}

/// The part of a request that is needed to answer it, even if the rest is malformed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Caller {
    /// Rules of the answer.
    pub version: Version,
    /// Its JSON, returned byte by byte: parsing could lose digits of a number. `None` if there was no such member.
    pub id: Option<String>,
}

impl Caller {
    /// Whether no answer is wanted. Legacy requests are always answered.
    pub fn is_notification(&self) -> bool {
        self.version == Version::V2 && self.id.is_none()
    }

    /// The answer's text, without a newline.
    pub fn answer(&self, outcome: &Result<Reply, RpcError>) -> String {
        let (result, error) = match outcome {
            Ok(reply) => (Some(reply.0.as_str()), None),
            Err(error) => (None, Some(to_json(error))),
        };
        let id = self.id.as_deref().unwrap_or("null");
        let (result, error) = (result.unwrap_or("null"), error.as_deref());
        match (self.version, error) {
            (Version::Legacy, error) => {
                let error = error.unwrap_or("null");
                [r#"{"result":"#, result, r#","error":"#, error, r#","id":"#, id, "}"].concat()
            }
            (Version::V2, Some(error)) => [r#"{"jsonrpc":"2.0","error":"#, error, r#","id":"#, id, "}"].concat(),
            (Version::V2, None) => [r#"{"jsonrpc":"2.0","result":"#, result, r#","id":"#, id, "}"].concat(),
        }
    }

    /// The HTTP status of the answer to a lone request.
    pub fn status(&self, outcome: &Result<Reply, RpcError>) -> u16 {
        match (self.version, outcome) {
            (_, Ok(_)) | (Version::V2, Err(_)) => 200,
            (Version::Legacy, Err(error)) => match error.code {
                Code::InvalidRequest => 400,
                Code::MethodNotFound => 404,
                _ => 500,
            },
        }
    }
}

/// A result as JSON text: fields keep their declared order, and a result that is already text is not parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply(String);

impl Reply {
    /// A successful call's result, written as JSON.
    pub fn of(value: &(impl Serialize + ?Sized)) -> Self {
        Self(to_json(value))
    }

    /// The result `value`, if its text has at most `most` bytes. No more than that is ever written.
    pub fn within(value: &(impl Serialize + ?Sized), most: usize) -> Option<Self> {
        let mut text = Bounded { text: Vec::new(), most };
        serde_json::to_writer(&mut text, value).ok()?;
        // JSON is UTF-8.
        String::from_utf8(text.text).ok().map(Self)
    }

    /// Bytes in hex, written directly: a block has a million of them, and none needs escaping.
    pub fn hex(bytes: &[u8]) -> Self {
        let mut text = vec![b'"'; 2 * bytes.len() + 2];
        let digits = 1..1 + 2 * bytes.len();
        hex::encode_to_slice(bytes, &mut text[digits]).expect("there are two digits a byte");
        Self(String::from_utf8(text).expect("digits and quotes are ASCII"))
    }

    /// The result of a method that answers nothing: `null`.
    pub fn null() -> Self {
        Self("null".to_owned())
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Text that fails to grow beyond a bound.
struct Bounded {
    text: Vec<u8>,
    most: usize,
}

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.most - self.text.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn to_json(value: &(impl Serialize + ?Sized)) -> String {
    serde_json::to_string(value).expect("results have string keys and no failing serializer")
}

/// The parameters of a call, as they were given.
#[derive(Debug, Clone, PartialEq)]
pub enum Params {
    /// In the method's order.
    Positional(Vec<Value>),
    /// Parameters by their names.
    Named(serde_json::Map<String, Value>),
}

/// A request whose envelope is as one of the dialects wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The dialect and id of the answer.
    pub caller: Caller,
    /// The method that is called, known here or not.
    pub method: String,
    /// The parameters as they were sent, not checked yet.
    pub params: Params,
}

/// A request, or the error and the caller to send it to.
pub type Parsed = Result<Request, (Caller, RpcError)>;

/// What an HTTP body holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// One request.
    Single(Parsed),
    /// Several, to be answered together and in order.
    Batch(Vec<Parsed>),
}

/// Parses an HTTP body; every body has an answer. A batch of more than `max_batch` is not parsed further.
pub fn parse(body: &[u8], max_batch: usize) -> Body {
    let wrong = |code, message: String| Body::Single(Err((Caller::default(), RpcError::new(code, message))));
    let no_json = |error: &dyn fmt::Display| wrong(Code::Parse, format!("Parse error: {error}"));
    let text = match std::str::from_utf8(body) {
        Ok(text) => text,
        Err(error) => return no_json(&error),
    };
    match text.trim_ascii_start().as_bytes().first() {
        Some(b'{') => Body::Single(parse_request(text)),
        Some(b'[') => match serde_json::from_str::<Vec<&RawValue>>(text) {
            Err(error) => no_json(&error),
            Ok(requests) if requests.len() > max_batch => {
                let got = requests.len();
                wrong(Code::InvalidRequest, format!("a batch of {got} requests, at most {max_batch} are allowed"))
            }
            Ok(requests) => Body::Batch(requests.into_iter().map(|request| parse_request(request.get())).collect()),
        },
        _ => match serde_json::from_str::<IgnoredAny>(text) {
            Err(error) => no_json(&error),
            Ok(_) => wrong(Code::Parse, "Top-level object parse error".to_owned()),
        },
    }
}

fn parse_request(text: &str) -> Parsed {
    let mut caller = Caller::default();
    match parse_members(text, &mut caller) {
        Ok((method, params)) => Ok(Request { caller, method, params }),
        Err(error) => Err((caller, error)),
    }
}

/// Method and parameters. `caller` is filled in on the way, as an error must be answered by what is known so far.
fn parse_members(text: &str, caller: &mut Caller) -> Result<(String, Params), RpcError> {
    let no_json = |error: serde_json::Error| RpcError::new(Code::Parse, format!("Parse error: {error}"));
    let invalid = |message: &str| RpcError::new(Code::InvalidRequest, message);
    if !text.trim_ascii_start().starts_with('{') {
        return Err(invalid("Invalid Request object"));
    }
    let members: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(no_json)?;
    let member =
        |name| members.get(name).map_or(Ok(Value::Null), |raw| serde_json::from_str(raw.get()).map_err(no_json));
    caller.id = members.get("id").map(|raw| raw.get().to_owned());
    caller.version = match member("jsonrpc")? {
        Value::Null => Version::Legacy,
        Value::String(version) => match version.as_str() {
            "1.0" | "1.1" => Version::Legacy,
            "2.0" => Version::V2,
            _ => return Err(invalid("JSON-RPC version not supported")),
        },
        _ => return Err(invalid("jsonrpc field must be a string")),
    };
    let method = match member("method")? {
        Value::Null => return Err(invalid("Missing method")),
        Value::String(method) => method,
        _ => return Err(invalid("Method must be a string")),
    };
    let params = match member("params")? {
        Value::Null => Params::Positional(Vec::new()),
        Value::Array(values) => Params::Positional(values),
        Value::Object(values) => Params::Named(values),
        _ => return Err(invalid("Params must be an array or object")),
    };
    Ok((method, params))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn single(text: &str) -> Parsed {
        match parse(text.as_bytes(), 10) {
            Body::Single(parsed) => parsed,
            Body::Batch(_) => panic!("{text} is no batch"),
        }
    }

    #[test]
    fn bytes_are_hex_as_the_string_of_it_would_be() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(Reply::hex(&bytes), Reply::of(&hex::encode(&bytes)));
        assert_eq!(Reply::hex(&[]).as_str(), r#""""#);
    }

    #[test]
    fn an_answer_is_no_longer_than_it_may_be() {
        let value = vec!["ab"; 100];
        let whole = Reply::of(&value);
        assert_eq!(Reply::within(&value, whole.as_str().len()), Some(whole.clone()));
        assert_eq!(Reply::within(&value, whole.as_str().len() - 1), None);
        assert_eq!(Reply::within(&value, 0), None);
    }

    #[test]
    fn dialects_are_told_apart() {
        for (jsonrpc, expected) in [
            ("", Some(Version::Legacy)),
            (r#""jsonrpc": null,"#, Some(Version::Legacy)),
            (r#""jsonrpc": "1.0","#, Some(Version::Legacy)),
            (r#""jsonrpc": "1.1","#, Some(Version::Legacy)),
            (r#""jsonrpc": "2.0","#, Some(Version::V2)),
            (r#""jsonrpc": "3.0","#, None),
            (r#""jsonrpc": 2,"#, None),
        ] {
            let parsed = single(&format!(r#"{{{jsonrpc} "id": 1, "method": "help"}}"#));
            assert_eq!(parsed.ok().map(|request| request.caller.version), expected, "{jsonrpc}");
        }
    }

    #[test]
    fn answers_of_each_dialect() {
        let ok = Ok(Reply::of(&7));
        let failed = Err(RpcError::new(Code::MethodNotFound, "Method not found"));
        let legacy = Caller { version: Version::Legacy, id: None };
        assert_eq!(legacy.answer(&ok), r#"{"result":7,"error":null,"id":null}"#);
        assert_eq!(
            legacy.answer(&failed),
            r#"{"result":null,"error":{"code":-32601,"message":"Method not found"},"id":null}"#
        );
        let v2 = Caller { version: Version::V2, id: Some(r#""a""#.to_owned()) };
        assert_eq!(v2.answer(&ok), r#"{"jsonrpc":"2.0","result":7,"id":"a"}"#);
        assert_eq!(
            v2.answer(&failed),
            r#"{"jsonrpc":"2.0","error":{"code":-32601,"message":"Method not found"},"id":"a"}"#
        );
        assert_eq!((legacy.status(&failed), v2.status(&failed)), (404, 200));
    }

    #[test]
    fn an_id_comes_back_as_it_was() {
        for id in
            ["1.50", "-0", "1e400", "340282366920938463463374607431768211456", r#""\u0041""#, r#"{ "b":1, "a":[ ] }"#]
        {
            let caller = single(&format!(r#"{{"id": {id} , "method": "help"}}"#)).unwrap().caller;
            assert_eq!(caller.answer(&Ok(Reply::null())), format!(r#"{{"result":null,"error":null,"id":{id}}}"#));
        }
    }

    #[test]
    fn only_a_2_0_request_without_id_is_a_notification() {
        let is = |text| single(text).unwrap().caller.is_notification();
        assert!(is(r#"{"jsonrpc": "2.0", "method": "uptime"}"#));
        assert!(!is(r#"{"jsonrpc": "2.0", "method": "uptime", "id": null}"#));
        assert!(!is(r#"{"method": "uptime"}"#));
    }

    #[test]
    fn an_error_is_answered_by_what_was_read_before_it() {
        let (caller, error) = single(r#"{"jsonrpc": "2.0", "id": 9, "method": 5}"#).unwrap_err();
        assert_eq!((caller.version, caller.id), (Version::V2, Some("9".to_owned())));
        assert_eq!(error.code, Code::InvalidRequest);
        let (caller, error) = single("{").unwrap_err();
        assert_eq!((caller, error.code), (Caller::default(), Code::Parse));
        // Nested deeper than any recursion should go: the whole, a parameter, and an ignored member.
        assert_eq!(single(&"[".repeat(100_000)).unwrap_err().1.code, Code::Parse);
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(matches!(&parse(deep.as_bytes(), 10), Body::Batch(batch) if batch[0].is_err()));
        let request = |params: &str, id: &str| format!(r#"{{"method": "help", "params": {params}, "id": {id}}}"#);
        assert_eq!(single(&request(&deep, "1")).unwrap_err().1.code, Code::Parse);
        assert_eq!(single(&request("[]", &deep)).unwrap().caller.id, Some(deep));
    }
}
