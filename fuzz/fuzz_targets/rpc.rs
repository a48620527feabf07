//! Any bytes as the body of a JSON-RPC request: through the parser and the binding of parameters, and then over HTTP to a real
//! node, whose answer has the form that the dialect asks for and is never the node's own fault.

#![no_main]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use cairn::p2p::Command;
use cairn::primitives::codec;
use cairn::rpc::jsonrpc::{self, Body, Params, Parsed, Reply, Version};
use cairn::rpc::{self, Args, auth, methods};
use cairn::runtime::{self, Running};
use cairn_fuzz::{UNIX, blocks, params, payment, seed};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// Methods that wait, work for long, dial, look up names, or stop the node, as they are told to: only their parameters are bound.
const APART: [&str; 12] = [
    "stop",
    "waitfornewblock",
    "waitforblockheight",
    "getblocktemplate",
    "generatetoaddress",
    "setgenerate",
    "addnode",
    "findnode",
    "testlink",
    "setlink",
    "setmocktime",
    "verifychain",
];
/// Most requests of a batch, as the server has it.
const MAX_BATCH: usize = 1_000;

fn seeds() {
    let hash = blocks()[4].hash();
    let values = [json!(hash), json!(5), json!(true), json!([]), json!({}), json!(codec_hex())];
    let call = |name: &str, params: Value| json!({ "jsonrpc": "2.0", "id": 1, "method": name, "params": params });
    let mut inputs: Vec<Vec<u8>> = Vec::new();
    for (number, method) in methods::all().enumerate() {
        let args: Vec<&Value> =
            (0..method.params.len()).map(|place| &values[(number + place) % values.len()]).collect();
        inputs.push(call(method.name, json!(args)).to_string().into());
        let named = method.params.iter().zip(&args).map(|(param, value)| (param.name.to_owned(), (*value).clone()));
        inputs.push(call(method.name, Value::Object(named.collect())).to_string().into());
    }
    let batch = json!([call("getblockcount", json!([])), { "method": "help", "params": ["getblock"], "id": "x" }, 5]);
    inputs.push(batch.to_string().into());
    inputs.push(br#" {"jsonrpc":"1.0","id":1e400,"method":"getblockhash","params":{"args":[1],"height":2}}"#.to_vec());
    seed("rpc", inputs);
}

fn codec_hex() -> String {
    codec::encode(&payment(6, 1_000)).iter().map(|byte| format!("{byte:02x}")).collect()
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let body = jsonrpc::parse(bytes, MAX_BATCH);
    let (all, is_batch) = match &body {
        Body::Single(parsed) => (std::slice::from_ref(parsed), false),
        Body::Batch(batch) => (batch.as_slice(), true),
    };
    assert!(all.len() <= MAX_BATCH);
    all.iter().for_each(bind);
    let is_apart = |parsed: &Parsed| parsed.as_ref().is_ok_and(|request| APART.contains(&request.method.as_str()));
    let is_call = |parsed: &Parsed| parsed.as_ref().is_ok_and(|request| methods::find(&request.method).is_some());
    if all.len() <= 4 && all.iter().any(is_call) && !all.iter().any(is_apart) {
        check(all, is_batch, server().send(bytes));
    }
});

/// What is known of each request without a node: its envelope, and whether its parameters fit.
fn bind(parsed: &Parsed) {
    let (caller, outcome) = match parsed {
        Err((caller, error)) => (caller, Err(error.clone())),
        Ok(request) => match methods::find(&request.method) {
            None => (&request.caller, Ok(Reply::null())),
            Some(method) => match Args::bind(method.name, method.params, request.params.clone()) {
                Err(error) => (&request.caller, Err(error)),
                Ok(args) => {
                    for param in method.params {
                        let value: Value = args.get(param.name).expect("a declared parameter has a value");
                        assert!(param.default.is_some() || !value.is_null(), "a required one is not null");
                    }
                    if let Params::Positional(given) = &request.params {
                        assert!(given.len() <= method.params.len());
                    }
                    (&request.caller, Ok(Reply::null()))
                }
            },
        },
    };
    let answer = caller.answer(&outcome);
    // An id may be JSON that not every reader takes; it comes back as it was.
    assert!(answer.ends_with(&format!(r#""id":{}}}"#, caller.id.as_deref().unwrap_or("null"))));
    assert!([200, 400, 404, 500].contains(&caller.status(&outcome)));
    if caller.id.is_none() {
        let answer: Value = serde_json::from_str(&answer).expect("an answer is JSON");
        assert_eq!(answer.get("jsonrpc").is_some(), caller.version == Version::V2);
    }
}

fn check(all: &[Parsed], is_batch: bool, (status, body): (u16, String)) {
    let caller = |parsed: &Parsed| match parsed {
        Ok(request) => request.caller.clone(),
        Err((caller, _)) => caller.clone(),
    };
    let asked: Vec<_> = all.iter().map(caller).filter(|caller| !caller.is_notification()).collect();
    if asked.is_empty() {
        return assert_eq!((status, body.as_str()), (204, ""));
    }
    assert!([200, 400, 404, 500].contains(&status), "{status}");
    assert!(body.ends_with('\n'));
    // Ids are given back as they came, and may be what this reader does not take.
    let Ok(answer) = serde_json::from_str::<Value>(&body) else {
        return assert!(asked.iter().any(|caller| caller.id.is_some()), "{body}");
    };
    let answers = if is_batch { answer.as_array().cloned().expect("a batch is answered by one") } else { vec![answer] };
    assert_eq!(answers.len(), asked.len());
    for (answer, caller) in answers.iter().zip(asked) {
        let (error, v2) = (&answer["error"], caller.version == Version::V2);
        assert!(error.is_null() || error["code"].is_i64() && error["message"].is_string(), "{answer}");
        assert!(error["code"] != -32603, "the node's own fault: {answer}");
        assert_eq!(answer.get("jsonrpc").is_some(), v2);
        assert_eq!(answer.as_object().map(serde_json::Map::len), Some(3), "{answer}");
        assert!(v2 || error.is_null() || answer["result"].is_null());
    }
}

/// A node in a directory of its own, its server, and one connection to that.
struct Server {
    stream: Mutex<Option<BufReader<TcpStream>>>,
    head: String,
    address: std::net::SocketAddr,
    _kept: (tokio::runtime::Runtime, Running, rpc::RpcServer, tempfile::TempDir),
}

fn server() -> &'static Server {
    static SERVER: OnceLock<Server> = OnceLock::new();
    SERVER.get_or_init(|| {
        let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let tokio = tokio.expect("threads can be made");
        let dir = tempfile::tempdir().expect("a directory can be made");
        let node = tokio.block_on(Running::start(runtime::Config::new(dir.path(), params().clone())));
        let node = node.expect("the node starts");
        node.handle().set_mock_time(UNIX);
        for block in blocks() {
            let block = block.clone();
            let taken = tokio.block_on(node.handle().command(move |reply| Command::SubmitBlock(block, reply)));
            taken.expect("the node runs").expect("the block is valid");
        }
        let config = rpc::Config::new(([127, 0, 0, 1], 0).into(), dir.path());
        let server = tokio.block_on(rpc::serve(config, node.handle().clone())).expect("a port is free");
        let cookie = std::fs::read_to_string(dir.path().join(auth::COOKIE_FILE)).expect("the server leaves a cookie");
        let address = server.address();
        let head = format!("POST / HTTP/1.1\r\nHost: {address}\r\nAuthorization: {}\r\n", auth::basic(&cookie));
        Server { stream: Mutex::default(), head, address, _kept: (tokio, node, server, dir) }
    })
}

impl Server {
    /// Status and body of the answer.
    fn send(&self, body: &[u8]) -> (u16, String) {
        let mut kept = self.stream.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stream = kept.take().unwrap_or_else(|| {
            let stream = TcpStream::connect(self.address).expect("the server listens");
            stream.set_nodelay(true).expect("it is a socket");
            stream.set_read_timeout(Some(Duration::from_secs(60))).expect("it is a socket");
            BufReader::new(stream)
        });
        let head = format!("{}Content-Length: {}\r\n\r\n", self.head, body.len());
        stream.get_mut().write_all(&[head.as_bytes(), body].concat()).expect("the server reads");
        let mut line = String::new();
        stream.read_line(&mut line).expect("the server answers");
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("it speaks HTTP");
        let mut length = 0;
        loop {
            line.clear();
            stream.read_line(&mut line).expect("the server answers");
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.parse().expect("a length is a number");
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).expect("the server answers");
        *kept = Some(stream);
        (status, String::from_utf8(body).expect("answers are text"))
    }
}
