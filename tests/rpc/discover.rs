//! The OpenRPC document. `tests/python/openrpc.py` checks it against others' idea of the format.

use cairn::rpc::methods;
use serde_json::{Value, json};

use crate::fixture::Fixture;

#[test]
fn the_document_is_the_table() {
    let fixture = Fixture::new();
    let document = fixture.call("rpc.discover", json!([]));
    assert_eq!(
        (&document["openrpc"], &document["info"]["version"]),
        (&json!("1.2.6"), &json!(env!("CARGO_PKG_VERSION")))
    );
    let described = document["methods"].as_array().unwrap();
    let names: Vec<&str> = described.iter().map(|method| method["name"].as_str().unwrap()).collect();
    let known: Vec<&str> = methods::all().map(|method| method.name).collect();
    assert_eq!(names, known);
    for (method, described) in methods::all().zip(described) {
        assert_eq!(described["description"], method.about, "{}", method.name);
        assert!(described["result"]["schema"].is_object(), "{}", method.name);
        let params = described["params"].as_array().unwrap();
        assert_eq!(params.len(), method.params.len(), "{}", method.name);
        for (declared, param) in method.params.iter().zip(params) {
            assert_eq!((&param["name"], &param["description"]), (&json!(declared.name), &json!(declared.about)));
            assert_eq!(param["required"], declared.default.is_none());
            let default = declared.default.map(|text| serde_json::from_str::<Value>(text).unwrap());
            assert_eq!(param["schema"].get("default"), default.filter(|value| !value.is_null()).as_ref());
        }
        // By position, what must be given cannot follow what may be left out.
        let required: Vec<bool> = params.iter().map(|param| param["required"] == true).collect();
        assert!(required.is_sorted_by(|before, after| before >= after), "{}: {required:?}", method.name);
    }
}
