//! What is the same for every method: envelopes, credentials, files, limits.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use cairn::p2p::Command;
use cairn::primitives::address;
use cairn::rpc::client::{Client, ClientConfig, ClientError};
use cairn::rpc::{self, auth};
use serde_json::{Value, json};

use crate::fixture::{Fixture, exchange};

#[test]
fn each_json_rpc_version_has_its_envelope() {
    let fixture = Fixture::new();
    let not_found = r#"{"code":-32601,"message":"Method not found"}"#;
    let invalid = r#"{"code":-32600,"message":"Invalid Request object"}"#;
    for (request, status, answer) in [
        // Legacy: all three members, and an HTTP status for errors.
        (r#"{"method":"getblockcount","id":1}"#, 200, r#"{"result":0,"error":null,"id":1}"#.to_owned()),
        (r#"{"method":"getblockcount"}"#, 200, r#"{"result":0,"error":null,"id":null}"#.to_owned()),
        (r#"{"jsonrpc":"1.0","method":"getblockcount","id":"x"}"#, 200, r#"{"result":0,"error":null,"id":"x"}"#.into()),
        (
            r#"{"jsonrpc":"1.1","method":"getblockcount","params":[]}"#,
            200,
            r#"{"result":0,"error":null,"id":null}"#.into(),
        ),
        (
            r#"{"jsonrpc":null,"method":"getblockcount","params":null}"#,
            200,
            r#"{"result":0,"error":null,"id":null}"#.into(),
        ),
        (r#"{"method":"nope","id":[1,{}]}"#, 404, format!(r#"{{"result":null,"error":{not_found},"id":[1,{{}}]}}"#)),
        (
            r#"{"method":"getblockhash","params":[7],"id":1}"#,
            500,
            r#"{"result":null,"error":{"code":-8,"message":"Block height out of range"},"id":1}"#.to_owned(),
        ),
        (r#"{"id":3}"#, 400, r#"{"result":null,"error":{"code":-32600,"message":"Missing method"},"id":3}"#.to_owned()),
        (
            r#"{"id":3,"method":7}"#,
            400,
            r#"{"result":null,"error":{"code":-32600,"message":"Method must be a string"},"id":3}"#.to_owned(),
        ),
        (
            r#"{"id":3,"method":"uptime","params":"none"}"#,
            400,
            r#"{"result":null,"error":{"code":-32600,"message":"Params must be an array or object"},"id":3}"#
                .to_owned(),
        ),
        (
            r#"{"jsonrpc":2,"id":3,"method":"uptime"}"#,
            400,
            r#"{"result":null,"error":{"code":-32600,"message":"jsonrpc field must be a string"},"id":3}"#.to_owned(),
        ),
        (
            r#"{"jsonrpc":"3.0","id":3,"method":"uptime"}"#,
            400,
            r#"{"result":null,"error":{"code":-32600,"message":"JSON-RPC version not supported"},"id":3}"#.to_owned(),
        ),
        (
            "5",
            500,
            r#"{"result":null,"error":{"code":-32700,"message":"Top-level object parse error"},"id":null}"#.to_owned(),
        ),
        // 2.0: one of the two, and 200 whatever happens.
        (r#"{"jsonrpc":"2.0","method":"getblockcount","id":1}"#, 200, r#"{"jsonrpc":"2.0","result":0,"id":1}"#.into()),
        (
            r#"{"jsonrpc":"2.0","method":"getblockcount","id":null}"#,
            200,
            r#"{"jsonrpc":"2.0","result":0,"id":null}"#.to_owned(),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"nope","id":1}"#,
            200,
            format!(r#"{{"jsonrpc":"2.0","error":{not_found},"id":1}}"#),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"getblockhash","params":{"height":7},"id":1}"#,
            200,
            r#"{"jsonrpc":"2.0","error":{"code":-8,"message":"Block height out of range"},"id":1}"#.to_owned(),
        ),
        // Batches: 200, in order, each in its own dialect, notifications left out.
        ("[]", 200, "[]".to_owned()),
        ("[5]", 200, format!(r#"[{{"result":null,"error":{invalid},"id":null}}]"#)),
        (
            r#"[{"method":"getblockcount","id":1},{"jsonrpc":"2.0","method":"uptime"},{"jsonrpc":"2.0","method":"nope","id":2}]"#,
            200,
            format!(r#"[{{"result":0,"error":null,"id":1}},{{"jsonrpc":"2.0","error":{not_found},"id":2}}]"#),
        ),
    ] {
        let got = fixture.post(request);
        assert_eq!((got.status, got.body.as_str()), (status, format!("{answer}\n").as_str()), "{request}");
        assert_eq!(got.header("Content-Type"), Some("application/json"), "{request}");
    }
    for request in [
        r#"{"jsonrpc":"2.0","method":"getblockcount"}"#,
        r#"{"jsonrpc":"2.0","method":"nope"}"#,
        r#"[{"jsonrpc":"2.0","method":"getblockcount"},{"jsonrpc":"2.0","method":"nope"}]"#,
    ] {
        let got = fixture.post(request);
        assert_eq!((got.status, got.body.as_str()), (204, ""), "{request}");
    }
    for request in ["", "{", "{]", r#"{"method":"uptime"} x"#, &"[".repeat(100_000)] {
        let got = fixture.post(request);
        let answer: Value = serde_json::from_str(&got.body).unwrap();
        assert_eq!((got.status, &answer["error"]["code"]), (500, &json!(-32700)), "{request:.20}");
        assert_eq!((&answer["result"], &answer["id"]), (&Value::Null, &Value::Null));
    }
}

#[test]
fn a_notification_is_carried_out() {
    let fixture = Fixture::new();
    let payee = fixture.payee(1);
    let request = json!({ "jsonrpc": "2.0", "method": "generatetoaddress", "params": [2, payee] });
    assert_eq!(fixture.post(&request.to_string()).status, 204);
    assert_eq!(fixture.call("getblockcount", json!([])), 2);
}

#[test]
fn paths_and_methods_of_http() {
    let fixture = Fixture::new();
    let authorization = fixture.authorization();
    let call = r#"{"method":"getblockcount","id":1}"#;
    let with = |method: &str, path: &str| fixture.send(method, path, &[("Authorization", &authorization)], call).status;
    assert_eq!(with("POST", "/"), 200);
    assert_eq!(with("POST", "/wallet/ada"), 200);
    assert_eq!(with("POST", "/nowhere"), 404);
    let got = fixture.send("PUT", "/", &[], "");
    assert_eq!((got.status, got.body.as_str()), (405, "JSONRPC server handles only POST requests\n"));
    let got = fixture.send("GET", "/health", &[], "");
    assert_eq!((got.status, got.body.as_str()), (200, "{\"live\":true,\"ready\":true,\"height\":0}\n"));
}

#[test]
fn calls_without_valid_credentials_are_refused() {
    let fixture = Fixture::with(|config| {
        config.user = Some("ada".to_owned());
        config.password = Some("correct horse: battery".to_owned());
        // python3 -c 'import hmac; print(hmac.new(b"7d9a2c", b"of:her own", "SHA256").hexdigest())'
        let hash = "9900337ad5d222ae3f3b168b0cbae95775c976f5e9a2fa45dfcb06eaa273d8e1";
        config.auth = vec![format!("bea:7d9a2c${hash}").parse().unwrap()];
    });
    let cookie = fixture.authorization();
    let call = r#"{"method":"getblockcount","id":1}"#;
    for good in [cookie.clone(), auth::basic("ada:correct horse: battery"), auth::basic("bea:of:her own")] {
        assert_eq!(fixture.send("POST", "/", &[("Authorization", &good)], call).status, 200, "{good}");
    }
    let none = fixture.send("POST", "/", &[], call);
    assert_eq!((none.status, none.body.as_str()), (401, ""));
    assert_eq!(none.header("WWW-Authenticate"), Some("Basic realm=\"jsonrpc\""));
    for bad in [
        auth::basic("ada:wrong"),
        auth::basic("bea:of"),
        auth::basic("__cookie__:"),
        "Basic".to_owned(),
        "Bearer x".to_owned(),
    ] {
        let got = fixture.send("POST", "/", &[("Authorization", &bad)], call);
        assert_eq!((got.status, got.body.as_str()), (401, ""), "{bad}");
        assert_eq!(got.header("WWW-Authenticate"), Some("Basic realm=\"jsonrpc\""));
    }
    let url = format!("http://ada:wrong@{}", fixture.address());
    let config = ClientConfig { url: Some(url), data_dir: fixture.dir.path().to_owned(), timeout: None };
    let error = Client::new(config).unwrap().call("uptime", &[]).unwrap_err();
    assert!(matches!(error, ClientError::Unauthorized { .. }) && !error.to_string().contains("wrong"), "{error}");
}

#[test]
fn half_credentials_are_refused_at_the_start() {
    let fixture = Fixture::new();
    for (user, password) in [(Some("ada"), None), (None, Some("x")), (Some(""), Some("x")), (Some("a:b"), Some("x"))] {
        let mut config = rpc::Config::new("127.0.0.1:0".parse().unwrap(), fixture.dir.path());
        (config.user, config.password) = (user.map(str::to_owned), password.map(str::to_owned));
        let handle = fixture.node.as_ref().unwrap().handle().clone();
        let refused = fixture.tokio.block_on(rpc::serve(config, handle));
        assert!(matches!(refused, Err(rpc::ServeError::Credentials)), "{user:?} {password:?}");
    }
    let mut config = rpc::Config::new(fixture.address(), fixture.dir.path());
    config.bind = fixture.address();
    let handle = fixture.node.as_ref().unwrap().handle().clone();
    let taken = fixture.tokio.block_on(rpc::serve(config, handle)).unwrap_err().to_string();
    assert!(taken.contains(&fixture.address().to_string()) && taken.contains("in use"), "{taken}");
    // Neither touched the files of the server at work.
    fixture.call("uptime", json!([]));
}

#[test]
fn cookie_and_address_files_come_and_go() {
    let fixture = Fixture::new();
    let (cookie, url) = (fixture.dir.path().join(".cookie"), fixture.dir.path().join(".rpc-address"));
    let text = fs::read_to_string(&cookie).unwrap();
    let secret = text.strip_prefix("__cookie__:").unwrap();
    assert!(secret.len() == 64 && secret.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')), "{text}");
    assert_eq!(fs::read_to_string(&url).unwrap(), format!("http://{}", fixture.address()));
    #[cfg(unix)]
    for file in [&cookie, &url] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(file).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
    let dir = fixture.stop();
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with('.')), "{left:?}");
}

#[test]
fn pages_of_other_sites_are_refused() {
    let fixture = Fixture::new();
    let (authorization, own) = (fixture.authorization(), format!("http://{}", fixture.address()));
    let call = r#"{"method":"getblockcount","id":1}"#;
    for (origin, status) in [(own.as_str(), 200), ("http://evil.example", 403), ("null", 403)] {
        let headers = [("Authorization", authorization.as_str()), ("Origin", origin)];
        assert_eq!(fixture.send("POST", "/", &headers, call).status, status, "{origin}");
    }
    let rebound =
        format!("GET / HTTP/1.1\r\nHost: evil.example:{}\r\nConnection: close\r\n\r\n", fixture.address().port());
    assert_eq!(exchange(fixture.address(), rebound.as_bytes()).status, 403);
}

#[test]
fn a_node_that_is_not_at_work_says_so() {
    let mut fixture = Fixture::new();
    let node = fixture.node.take().unwrap();
    fixture.tokio.block_on(node.stop()).unwrap();
    let legacy = fixture.post(r#"{"method":"getblockcount","id":1}"#);
    let error = r#"{"code":-28,"message":"the node has stopped"}"#;
    assert_eq!((legacy.status, legacy.body), (500, format!("{{\"result\":null,\"error\":{error},\"id\":1}}\n")));
    let strict = fixture.post(r#"{"jsonrpc":"2.0","method":"getblockcount","id":1}"#);
    assert_eq!((strict.status, strict.body), (200, format!("{{\"jsonrpc\":\"2.0\",\"error\":{error},\"id\":1}}\n")));
    // What needs no chain is answered all the same.
    assert!(fixture.call("help", json!(["stop"])).is_string());
}

#[test]
fn every_limit_is_enforced() {
    let fixture = Fixture::with(|config| {
        config.limits.batch = 3;
        config.limits.body_bytes = 2_000;
        config.limits.answer_bytes = 200;
        config.limits.requests = 1;
        config.limits.header_timeout = Duration::from_millis(200);
        config.limits.body_timeout = Duration::from_millis(200);
    });
    let call = r#"{"method":"getblockcount","id":1}"#;
    assert_eq!(fixture.post(&format!("[{call},{call},{call}]")).status, 200);
    let many = fixture.post(&format!("[{call},{call},{call},{call}]"));
    assert!(many.status == 400 && many.body.contains("at most 3"), "{many:?}");

    assert_eq!(fixture.post(&format!("{call}{}", " ".repeat(2_000 - call.len()))).status, 200);
    assert_eq!(fixture.post(&format!("{call}{}", " ".repeat(2_001 - call.len()))).status, 413);
    // Also where no length is stated.
    let head =
        format!("POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {}\r\n", fixture.authorization());
    let chunk = format!("{:x}\r\n{}\r\n", 1_500, " ".repeat(1_500));
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    assert_eq!(exchange(fixture.address(), chunked.as_bytes()).status, 413);

    // A length beyond the bound is not waited for.
    let endless = format!("{head}Content-Length: 99999999999\r\n\r\n");
    assert_eq!(exchange(fixture.address(), endless.as_bytes()).status, 413);

    let help = r#"{"method":"help","id":1}"#;
    let long = fixture.post(&format!("[{help},{call}]"));
    let answers: Vec<Value> = serde_json::from_str(&long.body).unwrap();
    assert!(answers[0]["result"].is_string() && answers[1]["error"]["code"] == -1, "{long:?}");

    // A body that never comes is given up.
    let slow = exchange(fixture.address(), format!("{head}Content-Length: 10\r\n\r\n{{").as_bytes());
    assert_eq!(slow.status, 408);
    // So is a header that never ends, without a word.
    let mut stream = TcpStream::connect(fixture.address()).unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\n").unwrap();
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.is_empty(), "{rest:?}");

    // One request at a time: another is turned away, and let in afterwards.
    let waiting = std::thread::scope(|scope| {
        // It tries until it has the place, which the calls below take for a moment, too.
        let wait = || fixture.post(r#"{"method":"waitforblockheight","params":[1, 0],"id":1}"#);
        let wait = scope.spawn(move || std::iter::repeat_with(wait).find(|answer| answer.status != 503).unwrap());
        while fixture.post(call).status != 503 {}
        let payee = fixture.payee(1);
        let handle = fixture.node.as_ref().unwrap().handle().clone();
        let key = address::decode(&fixture.params.address_prefix, &payee).unwrap();
        let mined = handle.decide(move |node, now, reply| {
            let template = cairn::miner::template::build(node.chain(), node.mempool(), &key, 0, now.unix).unwrap();
            let nonce = cairn::miner::kernel::search(&template.header, template.target, 0..=u32::MAX).unwrap();
            Some(Command::SubmitBlock(template.block(nonce), reply))
        });
        fixture.tokio.block_on(mined).unwrap().unwrap();
        wait.join().unwrap()
    });
    assert_eq!((waiting.status, fixture.post(call).status), (200, 200));
}

#[test]
fn waiting_callers_leave_room_and_end_with_the_server() {
    let fixture = Fixture::new();
    let wait = r#"{"method":"waitforblockheight","params":[1],"id":1}"#;
    let brief = json!({ "method": "waitforblockheight", "params": [1, 1], "id": 1 }).to_string();
    std::thread::scope(|scope| {
        // Each tries until it has a place: the brief calls below take one for a moment, too.
        let calls: Vec<_> = (0..32).map(|_| scope.spawn(|| while fixture.post(wait).status != 200 {})).collect();
        loop {
            let answer = fixture.post(&brief);
            if answer.status == 500 {
                assert!(answer.body.contains("waiting already"), "{answer:?}");
                break;
            }
        }
        assert_eq!(fixture.call("getblockcount", json!([])), 0);
        fixture.call("stop", json!([]));
        calls.into_iter().for_each(|call| call.join().unwrap());
    });
}
