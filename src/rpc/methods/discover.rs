//! `rpc.discover`: the table of methods as an OpenRPC document, for programs that generate clients and documentation.

use serde_json::{Value, json};

use super::{GROUPS, Method};
use crate::rpc::args::Param;

/// The version of the OpenRPC specification that the document follows.
const OPENRPC: &str = "1.2.6";

/// The document. It is the same for every node of this version.
pub(super) fn document() -> Value {
    let methods: Vec<Value> = GROUPS
        .iter()
        .flat_map(|(group, methods)| methods.iter().map(move |method| method_object(group, method)))
        .collect();
    json!({
        "openrpc": OPENRPC,
        "info": {
            "title": "Cairn node",
            "description": "JSON-RPC 2.0, and leniently 1.0, over HTTP POST with Basic authentication. Names, parameters, \
                results and error codes are Bitcoin Core's where the meaning is the same. Amounts are integers of grains \
                (1 coin = 10^8 grains). Numbers, booleans and arrays are taken from their text too.",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": env!("CARGO_PKG_LICENSE") },
        },
        "methods": methods,
    })
}

fn method_object(group: &str, method: &Method) -> Value {
    json!({
        "name": method.name,
        "summary": method.summary(),
        "description": method.about,
        "tags": [{ "name": group }],
        "paramStructure": "either",
        "params": method.params.iter().map(content_descriptor).collect::<Vec<_>>(),
        "result": { "name": "result", "schema": method.result.schema() },
    })
}

fn content_descriptor(param: &Param) -> Value {
    let mut schema = param.kind.schema();
    // A default is JSON text; null means that the parameter has none.
    let default =
        param.default.and_then(|text| serde_json::from_str::<Value>(text).ok()).filter(|value| !value.is_null());
    if let Some(default) = default {
        schema["default"] = default;
    }
    json!({
        "name": param.name,
        "description": param.about,
        "required": param.default.is_none(),
        "schema": schema,
    })
}
