//! The envelope: what a request is, and what goes around an answer. No I/O and no methods.
//!
//! Two dialects are spoken, told apart by the request's `jsonrpc` member as Bitcoin Core does since version 28:
//!
//! - *legacy* (none, `"1.0"` or `"1.1"`): an answer always has `result`, `error` and `id`, nulls included, and an
//!   error shows in the HTTP status as well;
//! - *2.0*: either `result` or `error`, HTTP 200 even for an error, and no answer (204) to a request without `id`.
//!
//! A batch is answered with 200 whatever is in it.

use serde::Serialize;
use serde_json::Value;

use super::error::{Code, RpcError};

/// Which rules an answer follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Version {
    /// JSON-RPC 1.0 and 1.1, and what cannot be told.
    #[default]
    Legacy,
    /// JSON-RPC 2.0.
    V2,
}

/// What is known of a request even if the rest of it is wrong: enough to answer it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Caller {
    /// Rules of the answer.
    pub version: Version,
    /// Given back as it came; `None` if there was no such member.
    pub id: Option<Value>,
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
        let id = to_json(&self.id);
        match (self.version, result, error) {
            (Version::Legacy, result, error) => {
                let null = || "null".to_owned();
                format!(r#"{{"result":{},"error":{},"id":{id}}}"#, result.unwrap_or("null"), error.unwrap_or_else(null))
            }
            (Version::V2, _, Some(error)) => format!(r#"{{"jsonrpc":"2.0","error":{error},"id":{id}}}"#),
            (Version::V2, result, None) => {
                format!(r#"{{"jsonrpc":"2.0","result":{},"id":{id}}}"#, result.unwrap_or("null"))
            }
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

/// A result, already as JSON text: fields keep the order in which they were declared, and a result that is at hand as
/// text is not parsed first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply(String);

impl Reply {
    /// The result `value`.
    pub fn of(value: &(impl Serialize + ?Sized)) -> Self {
        Self(to_json(value))
    }

    /// The JSON `null`.
    pub fn null() -> Self {
        Self("null".to_owned())
    }

    /// The JSON text.
    pub fn as_str(&self) -> &str {
        &self.0
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
    /// By name.
    Named(serde_json::Map<String, Value>),
}

/// A well-formed request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Whom to answer.
    pub caller: Caller,
    /// The method's name.
    pub method: String,
    /// Its parameters.
    pub params: Params,
}

/// A request, or what to tell whoever sent something else.
pub type Parsed = Result<Request, (Caller, RpcError)>;

/// What an HTTP body holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// One request.
    Single(Parsed),
    /// Several, to be answered together and in order.
    Batch(Vec<Parsed>),
}

/// Reads an HTTP body. Whatever it is, there is an answer to it. A batch of more than `max_batch` is not looked into.
pub fn parse(body: &[u8], max_batch: usize) -> Body {
    let wrong = |code, message: String| Body::Single(Err((Caller::default(), RpcError::new(code, message))));
    match serde_json::from_slice(body) {
        Err(error) => wrong(Code::Parse, format!("Parse error: {error}")),
        Ok(Value::Array(requests)) if requests.len() > max_batch => {
            let got = requests.len();
            wrong(Code::InvalidRequest, format!("a batch of {got} requests, at most {max_batch} are allowed"))
        }
        Ok(Value::Array(requests)) => Body::Batch(requests.into_iter().map(parse_request).collect()),
        Ok(request @ Value::Object(_)) => Body::Single(parse_request(request)),
        Ok(_) => wrong(Code::Parse, "Top-level object parse error".to_owned()),
    }
}

fn parse_request(request: Value) -> Parsed {
    let mut caller = Caller::default();
    match parse_members(request, &mut caller) {
        Ok((method, params)) => Ok(Request { caller, method, params }),
        Err(message) => Err((caller, RpcError::new(Code::InvalidRequest, message))),
    }
}

/// Method and parameters. `caller` is filled in on the way, as an error must be answered by what is known so far.
fn parse_members(request: Value, caller: &mut Caller) -> Result<(String, Params), &'static str> {
    let Value::Object(mut members) = request else { return Err("Invalid Request object") };
    caller.id = members.remove("id");
    caller.version = match members.remove("jsonrpc") {
        None | Some(Value::Null) => Version::Legacy,
        Some(Value::String(version)) => match version.as_str() {
            "1.0" | "1.1" => Version::Legacy,
            "2.0" => Version::V2,
            _ => return Err("JSON-RPC version not supported"),
        },
        Some(_) => return Err("jsonrpc field must be a string"),
    };
    let method = match members.remove("method") {
        None | Some(Value::Null) => return Err("Missing method"),
        Some(Value::String(method)) => method,
        Some(_) => return Err("Method must be a string"),
    };
    let params = match members.remove("params") {
        None | Some(Value::Null) => Params::Positional(Vec::new()),
        Some(Value::Array(values)) => Params::Positional(values),
        Some(Value::Object(values)) => Params::Named(values),
        Some(_) => return Err("Params must be an array or object"),
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
        let v2 = Caller { version: Version::V2, id: Some(Value::from("a")) };
        assert_eq!(v2.answer(&ok), r#"{"jsonrpc":"2.0","result":7,"id":"a"}"#);
        assert_eq!(
            v2.answer(&failed),
            r#"{"jsonrpc":"2.0","error":{"code":-32601,"message":"Method not found"},"id":"a"}"#
        );
        assert_eq!((legacy.status(&failed), v2.status(&failed)), (404, 200));
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
        assert_eq!((caller.version, caller.id), (Version::V2, Some(Value::from(9))));
        assert_eq!(error.code, Code::InvalidRequest);
        let (caller, error) = single("{").unwrap_err();
        assert_eq!((caller, error.code), (Caller::default(), Code::Parse));
        // Nested deeper than any recursion should go.
        assert_eq!(single(&"[".repeat(100_000)).unwrap_err().1.code, Code::Parse);
    }
}
