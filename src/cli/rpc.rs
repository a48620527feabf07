//! `cairn rpc`: any method of a node, by name.

use anyhow::anyhow;
use serde_json::{Map, Value};

use super::client::ClientArgs;
use super::{Common, UsageError, is_reader_gone, print_line};
use crate::primitives::amount::counted;

/// Longest text parsed as a number, so that hashes of only digits stay text.
const MAX_NUMBER_CHARS: usize = 20;
/// Longest answer that an error quotes: a hash is shorter.
const MAX_QUOTED_BYTES: usize = 200;

/// Options of `cairn rpc`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Parameters that parse as JSON are sent as JSON, all others as strings. String results are printed without quotes, others \
as JSON.

Examples:
  cairn rpc help
  cairn rpc getblockcount
  cairn rpc getblock \"$(cairn rpc getbestblockhash)\" 2
  cairn rpc generatetoaddress 10 \"$(cairn wallet address)\"
  cairn rpc --named getblockhash height=7
  cairn rpc --rpc http://ada:secret@203.0.113.7:7332 getpeerinfo

Exit codes: 0 with a result; 1 if the node returns an error; 4 if no node answers.")]
pub struct Args {
    #[command(flatten)]
    node: ClientArgs,
    /// Parameters are given as NAME=VALUE
    #[arg(long, env = "CAIRN_NAMED", value_parser = clap::builder::BoolishValueParser::new())]
    named: bool,
    /// The method; `help` lists them
    method: String,
    /// Its parameters, in order
    #[arg(value_name = "PARAM", allow_negative_numbers = true)]
    params: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// The node's error, or that no node answers.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    // No time-out, because some methods wait for a block.
    let client = args.node.connect(common, None)?;
    let result = if args.named {
        client.call_named(&args.method, named(&args.params)?)?
    } else {
        let params: Vec<Value> = args.params.iter().map(|text| parse(text)).collect();
        client.call(&args.method, &params)?
    };
    let text = match result {
        Value::Null if !common.json() => return Ok(()),
        Value::String(text) if !common.json() => text,
        result => format!("{result:#}"),
    };
    print_line(&text).map_err(|error| match text.len() {
        _ if is_reader_gone(&error) => error,
        // The node has carried out the call, so an id in its answer must not be lost.
        ..=MAX_QUOTED_BYTES => anyhow!("the node answered {text}, but {error}"),
        bytes => anyhow!("the node answered with {}, but {error}", counted(bytes, "byte")),
    })
}

fn parse(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(Value::Number(_)) if text.len() > MAX_NUMBER_CHARS => Value::String(text.to_owned()),
        Ok(value) => value,
        Err(_) => Value::String(text.to_owned()),
    }
}

fn named(params: &[String]) -> Result<Map<String, Value>, UsageError> {
    let pair = |text: &String| match text.split_once('=') {
        Some((name, value)) => Ok((name.to_owned(), parse(value))),
        None => Err(UsageError(format!("{text:?} is not NAME=VALUE, which --named asks for"))),
    };
    params.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parameters_are_json_where_they_parse() {
        for (text, value) in [
            ("7", json!(7)),
            ("-1", json!(-1)),
            ("true", json!(true)),
            ("null", json!(null)),
            ("[\"a\",2]", json!(["a", 2])),
            ("\"7\"", json!("7")),
            ("cairn1abc", json!("cairn1abc")),
            ("", json!("")),
            ("00ff", json!("00ff")),
        ] {
            assert_eq!(parse(text), value, "{text}");
        }
        for hash in ["1".repeat(64), format!("{}e{}", "2".repeat(61), "10")] {
            assert_eq!(parse(&hash), Value::String(hash.clone()), "a hash stays text");
        }
    }
}
