//! Kubo's commands at `/api/v0`: what clients look at, and calls that go wrong. The clients themselves are in
//! `tests/python/test_content.py`.

use std::fs::File;

use cairn::content::{CONTENT_DIR, ContentReader, ContentStore};
use cairn::ipld::Cid;
use serde_json::{Value, json};

use crate::fixture::{Answer, Fixture};

/// Of `hello`, with Kubo's defaults.
const HELLO: &str = "QmWfVY9y3xjsixTgbd9AorQxH7VtMpzfx2HaWtsoUYecaX";
const ABSENT: &str = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";

fn call(fixture: &Fixture, command: &str, body: &[u8]) -> Answer {
    let authorization = fixture.authorization();
    let headers = [("Authorization", authorization.as_str()), ("Content-Type", "multipart/form-data; boundary=b")];
    fixture.send_bytes("POST", &format!("/api/v0/{command}"), &headers, body)
}

/// A body with these parts: path, type, bytes.
fn parts(parts: &[(&str, &str, &str)]) -> Vec<u8> {
    let part = |(name, kind, bytes): &(&str, &str, &str)| {
        format!(
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: {kind}\r\n\r\n{bytes}\r\n"
        )
    };
    (parts.iter().map(part).collect::<String>() + "--b--\r\n").into_bytes()
}

fn lines(answer: &Answer) -> Vec<Value> {
    assert_eq!(answer.status, 200, "{answer:?}");
    let text: Vec<&str> = answer.body.lines().filter(|line| line.starts_with('{')).collect();
    text.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn pinned(fixture: &Fixture) -> Vec<String> {
    let store = ContentStore::open(&fixture.dir.path().join(CONTENT_DIR), 1 << 30).unwrap();
    store.reader().pins().unwrap().iter().map(|pin| pin.cid.to_string()).collect()
}

#[test]
fn wrong_calls_have_kubos_statuses() {
    let fixture = Fixture::new();
    let authorization = fixture.authorization();
    for (method, command, headers, status, text) in [
        ("GET", "version", vec![("Authorization", authorization.as_str())], 405, "Method Not Allowed"),
        ("POST", "version", vec![], 401, ""),
        ("POST", "version", vec![("Authorization", "Basic eDp5")], 401, ""),
        ("POST", "cat?arg=x", vec![("Authorization", "Bearer x")], 401, ""),
        ("POST", "version", vec![("Authorization", &authorization), ("Origin", "http://evil.example")], 403, "pages"),
    ] {
        let got = fixture.send(method, &format!("/api/v0/{command}"), &headers, "");
        assert_eq!(got.status, status, "{method} {command} {headers:?}");
        assert!(got.body.contains(text), "{got:?}");
    }
    for (command, status, text) in [
        ("elephant", 404, "404 page not found"),
        ("cat", 400, "argument \"ipfs-path\" is required"),
        ("block/stat", 400, "argument \"cid\" is required"),
        ("add?cid-version=2", 400, "cid-version"),
        ("add?chunker=rabin", 400, "chunker"),
        ("add", 400, "file argument 'path' is required"),
        ("version?elephant=1", 200, "\"Version\""),
    ] {
        let got = call(&fixture, command, &parts(&[]));
        assert_eq!(got.status, status, "{command}: {got:?}");
        assert!(got.body.contains(text), "{command}: {got:?}");
    }
    let long = vec![0x20; (2 << 20) + 1];
    let block = [&b"--b\r\n\r\n"[..], &long, b"\r\n--b--\r\n"].concat();
    for (command, body, text) in [
        (format!("cat?arg={ABSENT}"), &b""[..], "is not here"),
        ("cat?arg=elephant".to_owned(), b"", "invalid path"),
        (format!("ls?arg=/ipfs/{ABSENT}/x"), b"", "is not here"),
        (format!("pin/add?arg={ABSENT}"), b"", "is not here"),
        (format!("pin/rm?arg={ABSENT}"), b"", "not pinned or pinned indirectly"),
        (format!("pin/ls?arg={ABSENT}"), b"", "is not pinned"),
        ("dag/import".to_owned(), b"--b\r\n\r\nno CAR\r\n--b--\r\n", "CAR"),
        ("block/put".to_owned(), &block, "at most 2097152"),
    ] {
        let got = call(&fixture, &command, body);
        assert_eq!((got.status, got.header("Content-Type")), (500, Some("application/json")), "{command}: {got:?}");
        let error: Value = serde_json::from_str(&got.body).unwrap();
        assert_eq!((&error["Code"], &error["Type"]), (&json!(0), &json!("error")), "{command}");
        assert!(error["Message"].as_str().unwrap().contains(text), "{command}: {error}");
    }
}

#[test]
fn a_tree_is_added_and_read() {
    let fixture = Fixture::new();
    let (text, directory) = ("text/plain", "application/x-directory");
    let body = parts(&[
        ("t", directory, ""),
        ("t%2Fhello%20there", text, "hello"),
        ("t/sub/deep", text, "hello"),
        ("t/link", "application/symlink", "sub/deep"),
        ("t/empty", directory, ""),
    ]);
    let added = call(&fixture, "add?pin=true", &body);
    assert_eq!(added.header("X-Chunked-Output"), Some("1"));
    let added = lines(&added);
    let names: Vec<&str> = added.iter().map(|line| line["Name"].as_str().unwrap()).collect();
    assert_eq!(names, ["t/hello there", "t/sub/deep", "t/link", "t/empty", "t/sub", "t"]);
    assert_eq!(added[0], json!({ "Name": "t/hello there", "Hash": HELLO, "Size": "13" }));
    let root = added[5]["Hash"].as_str().unwrap();
    assert_eq!(pinned(&fixture), [root]);
    assert_eq!(lines(&call(&fixture, "add?only-hash=true", &body))[5]["Hash"], root);

    let listed = lines(&call(&fixture, &format!("ls?arg=/ipfs/{root}"), b""));
    let links = listed[0]["Objects"][0]["Links"].as_array().unwrap();
    let of = |link: &Value| (link["Name"].as_str().unwrap().to_owned(), link["Type"].as_u64().unwrap());
    let expected = [("empty", 1), ("hello there", 2), ("link", 4), ("sub", 1)];
    assert_eq!(links.iter().map(of).collect::<Vec<_>>(), expected.map(|(name, kind)| (name.to_owned(), kind)));
    let got = call(&fixture, &format!("cat?arg={root}/sub/deep&arg={HELLO}&offset=3&length=4"), b"");
    assert!(got.status == 200 && got.body.contains("lohe"), "{got:?}");
    assert_eq!(got.header("X-Stream-Output"), Some("1"));

    // A file without a name has its CID for one, and what is only hashed is not here.
    let got =
        lines(&call(&fixture, "add?only-hash=1&cid-version=1&raw-leaves=False", b"--b\r\n\r\nelsewhere\r\n--b--"));
    let cid: Cid = got[0]["Hash"].as_str().unwrap().parse().unwrap();
    assert_eq!(got[0]["Name"], cid.to_string());
    assert_eq!(cid.codec(), cairn::ipld::Codec::DAG_PB);
    let reader = ContentReader::open(&fixture.dir.path().join(CONTENT_DIR)).unwrap();
    assert_eq!(reader.size(&cid).unwrap(), None);
    let wrapped = lines(&call(&fixture, "add?wrap-with-directory=true", &parts(&[("a", text, "hello")])));
    assert_eq!(wrapped.iter().map(|line| &line["Name"]).collect::<Vec<_>>(), ["a", ""]);
}

#[test]
fn what_goes_wrong_pins_nothing() {
    let fixture = Fixture::new();
    let text = "text/plain";
    let whole = parts(&[("a", text, "hello"), ("b", text, "more")]);
    for body in [
        &whole[..whole.len() - 8],
        &parts(&[("a", text, "hello"), ("a", text, "hello")]),
        &parts(&[("a", text, "hello"), ("a/b", text, "hello")]),
        &parts(&[("../a", text, "hello")]),
        &parts(&[("", "application/x-directory", "")]),
        &parts(&[(&"a/".repeat(300), text, "hello")]),
        b"no parts",
    ] {
        let got = call(&fixture, "add", body);
        assert_eq!(got.status, 400, "{}: {got:?}", String::from_utf8_lossy(body));
        assert_eq!(pinned(&fixture), Vec::<String>::new());
    }
    let lock = File::open(fixture.dir.path().join(CONTENT_DIR).join("lock")).unwrap();
    lock.lock().unwrap();
    let got = call(&fixture, "add", &whole);
    assert!(got.status == 500 && got.body.contains("another process changes the content"), "{got:?}");
    drop(lock);
    assert_eq!(lines(&call(&fixture, "add", &whole)).len(), 2);
    assert_eq!(pinned(&fixture).len(), 2);
}
