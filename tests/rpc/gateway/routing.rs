//! Delegated routing: cases after the specification, and what Kubo sends.

use serde_json::{Value, json};

use super::scene::{Got, Scene};

const ABSENT: &str = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";

fn json_of(got: &Got) -> Value {
    assert_eq!((got.status, got.header("Content-Type")), (200, Some("application/json")), "{got:?}");
    serde_json::from_str(&got.text()).unwrap()
}

#[test]
fn the_node_is_a_provider_of_what_it_has() {
    let scene = Scene::new(
        |_| (),
        |adding| {
            adding.file("text", b"text");
        },
    );
    let port = scene.fixture.address().port();
    let path = "/routing/v1/providers/{text}";
    let got = scene.get(path, &[]);
    let answer = json_of(&got);
    let record = &answer["Providers"][0];
    let id = record["ID"].as_str().unwrap();
    assert!(id.starts_with("12D3KooW"), "{id}");
    let expected = json!({
        "Schema": "peer", "ID": id, "Addrs": [format!("/ip4/127.0.0.1/tcp/{port}/http")],
        "Protocols": ["transport-ipfs-gateway-http"],
    });
    assert_eq!(answer, json!({ "Providers": [expected] }));
    assert_eq!((got.header("Vary"), got.header("Cache-Control")), (Some("Accept"), Some("public, max-age=300")));

    // As Kubo asks: lines only, its own protocols, and the CID in any form.
    let kubo = "?filter-protocols=transport-bitswap,transport-ipfs-gateway-http,unknown";
    let got = scene.get(&format!("{path}{kubo}"), &[("Accept", "application/x-ndjson")]);
    assert_eq!(got.header("Content-Type"), Some("application/x-ndjson"));
    assert_eq!(got.text(), format!("{expected}\n"));

    for (filter, is_shown) in [
        ("filter-protocols=Transport-IPFS-Gateway-HTTP", true),
        ("filter-protocols=transport-bitswap,unknown", false),
        ("filter-addrs=http", true),
        ("filter-addrs=tcp,webtransport", true),
        ("filter-addrs=webtransport,wss", false),
        ("filter-addrs=!ip6,!quic-v1", true),
        ("filter-addrs=!ip4", false),
        ("filter-addrs=tcp,!http", false),
        ("filter-addrs=&filter-protocols=", true),
    ] {
        let answer = json_of(&scene.get(&format!("{path}?{filter}"), &[]));
        assert_eq!(!answer["Providers"].as_array().unwrap().is_empty(), is_shown, "{filter}");
    }
    // The address by which the caller came.
    let answer = json_of(&scene.get(path, &[("Host", "[::1]:80")]));
    assert_eq!(answer["Providers"][0]["Addrs"], json!(["/ip6/::1/tcp/80/http"]));
    let answer = json_of(&scene.get(path, &[("Host", "localhost:80")]));
    assert_eq!(answer["Providers"][0]["Addrs"], expected["Addrs"]);

    // An empty list, not 404: what is not here may be elsewhere.
    for (accept, text) in [("*/*", "{\"Providers\":[]}"), ("application/x-ndjson", "")] {
        let got = scene.get(&format!("/routing/v1/providers/{ABSENT}"), &[("Accept", accept)]);
        assert_eq!((got.status, got.text().as_str()), (200, text));
        assert_eq!(got.header("Cache-Control"), Some("public, max-age=15"));
    }

    assert_eq!(json_of(&scene.get(&format!("/routing/v1/peers/{id}"), &[])), json!({ "Peers": [expected] }));
    for other in ["12D3KooWLQzUv2FHWGVPXTXSZpdHs7oHbXub2G5WC8Tx4NQhyd2d", ABSENT] {
        assert_eq!(json_of(&scene.get(&format!("/routing/v1/peers/{other}"), &[])), json!({ "Peers": [] }), "{other}");
    }
    for (method, path, status) in [
        ("GET", "/routing/v1/providers/elephant", 422),
        ("GET", "/routing/v1/peers/elephant", 422),
        ("GET", "/routing/v1/peers/12D3Koo%0A", 422),
        ("GET", "/routing/v1/ipns/{text}", 404),
        // What Kubo sends to announce, with some settings: another status would count as a fault.
        ("PUT", "/routing/v1/providers/", 404),
        ("POST", "/routing/v1/providers/{text}", 404),
    ] {
        assert_eq!(scene.send(method, path, &[]).status, status, "{method} {path}");
    }
    assert_eq!(scene.get(path, &[("Origin", "http://evil.example")]).status, 403);
}
