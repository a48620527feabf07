//! A node on its own network, with its RPC server.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn::chain::{Chain, Retention};
use cairn::consensus::params::{GenesisSpec, Params};
use cairn::primitives::amount::Amount;
use cairn::primitives::block::Block;
use cairn::primitives::hash::BlockHash;
use cairn::primitives::height::Height;
use cairn::primitives::keys::Signature;
use cairn::primitives::tx::{Input, OutPoint, Output, Transaction};
use cairn::primitives::{address, codec};
use cairn::rpc::client::{Client, ClientConfig, ClientError};
use cairn::rpc::{self, RpcServer, Shape, auth, methods};
use cairn::runtime::{self, Running, STORE_DIR};
use cairn::storage::SledStore;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A node on its own network, its server, and a client of the server.
pub struct Fixture {
    pub tokio: tokio::runtime::Runtime,
    pub node: Option<Running>,
    pub server: Option<RpcServer>,
    pub client: Client,
    pub dir: TempDir,
    pub params: Arc<Params>,
    pub called: Mutex<BTreeSet<String>>,
}

impl Fixture {
    pub fn new() -> Self {
        Self::with(|_| ())
    }

    pub fn with(change: impl FnOnce(&mut rpc::Config)) -> Self {
        Self::on(GenesisSpec::regtest(), change)
    }

    /// On another network than the usual one.
    pub fn on(spec: GenesisSpec, change: impl FnOnce(&mut rpc::Config)) -> Self {
        Self::start(spec, |_| (), change)
    }

    /// Whose links can be changed.
    pub fn with_chaos() -> Self {
        Self::start(GenesisSpec::regtest(), |config| config.chaos = true, |_| ())
    }

    /// Which keeps only some blocks whole.
    pub fn pruning(retention: Retention) -> Self {
        Self::start(GenesisSpec::regtest(), |config| config.retention = retention, |_| ())
    }

    /// On another network, with what `prepare` does to the chain before the node starts.
    pub fn prepared(spec: GenesisSpec, prepare: impl FnOnce(&mut Chain)) -> Self {
        let leave = |config: &mut runtime::Config| {
            let store = SledStore::open(&config.data_dir.join(STORE_DIR)).unwrap();
            let mut chain = Chain::open(config.params.clone(), Arc::new(store)).unwrap();
            prepare(&mut chain);
            chain.db().store().flush().unwrap();
        };
        Self::start(spec, leave, |_| ())
    }

    fn start(
        spec: GenesisSpec,
        change_node: impl FnOnce(&mut runtime::Config),
        change: impl FnOnce(&mut rpc::Config),
    ) -> Self {
        let tokio = tokio::runtime::Runtime::new().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let params = Arc::new(Params::new(spec).unwrap());
        let mut config = runtime::Config::new(dir.path(), params.clone());
        config.listen = Some("127.0.0.1:0".parse().unwrap());
        change_node(&mut config);
        let node = tokio.block_on(Running::start(config)).unwrap();
        let mut config = rpc::Config::new("127.0.0.1:0".parse().unwrap(), dir.path());
        change(&mut config);
        let server = tokio.block_on(rpc::serve(config, node.handle().clone())).unwrap();
        let client = client_of(&dir);
        Self { tokio, node: Some(node), server: Some(server), client, dir, params, called: Mutex::default() }
    }

    /// The same node behind another server.
    pub fn serve_again(mut self, change: impl FnOnce(&mut rpc::Config)) -> Self {
        self.tokio.block_on(self.server.take().unwrap().stop());
        let mut config = rpc::Config::new("127.0.0.1:0".parse().unwrap(), self.dir.path());
        change(&mut config);
        let node = self.node.as_ref().unwrap().handle().clone();
        self.server = Some(self.tokio.block_on(rpc::serve(config, node)).unwrap());
        self.client = client_of(&self.dir);
        self
    }

    pub fn address(&self) -> SocketAddr {
        self.server.as_ref().unwrap().address()
    }

    pub fn authorization(&self) -> String {
        auth::basic(&fs::read_to_string(self.dir.path().join(auth::COOKIE_FILE)).unwrap())
    }

    /// A call that succeeds.
    #[track_caller]
    pub fn call(&self, method: &str, params: Value) -> Value {
        self.try_call(method, params.clone()).unwrap_or_else(|error| panic!("{method} {params}: {error}"))
    }

    pub fn try_call(&self, method: &str, params: Value) -> Result<Value, ClientError> {
        self.called.lock().unwrap().insert(method.to_owned());
        let result = match params {
            Value::Array(params) => self.client.call(method, &params),
            Value::Object(params) => self.client.call_named(method, params),
            other => panic!("{other} are no parameters"),
        };
        if let (Some(declared), Ok(answer)) = (methods::find(method), &result) {
            assert_eq!(misfit(declared.result, answer), None, "{method} answers {answer}");
        }
        result
    }

    /// The error that a call is answered with: its number, and a part of its message.
    #[track_caller]
    pub fn refused(&self, method: &str, params: Value, code: i64, text: &str) {
        match self.try_call(method, params.clone()) {
            Err(ClientError::Rpc { code: got, message }) if got == code && message.contains(text) => {}
            other => panic!("{method} {params}: expected error {code} with {text:?}, got {other:?}"),
        }
    }

    /// Posts a body with the right credentials.
    pub fn post(&self, body: &str) -> Answer {
        self.send("POST", "/", &[("Authorization", &self.authorization())], body)
    }

    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.send_bytes(method, path, headers, body.as_bytes())
    }

    pub fn send_bytes(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address());
        headers.iter().for_each(|(name, value)| text += &format!("{name}: {value}\r\n"));
        text += &format!("Content-Length: {}\r\n\r\n", body.len());
        exchange(self.address(), &[text.as_bytes(), body].concat())
    }

    pub fn stop(mut self) -> TempDir {
        let (node, server) = (self.node.take().unwrap(), self.server.take().unwrap());
        self.tokio.block_on(async {
            server.stop().await;
            node.stop().await.unwrap();
        });
        self.dir
    }
}

fn client_of(dir: &TempDir) -> Client {
    let data_dir = dir.path().to_owned();
    Client::new(ClientConfig { url: None, data_dir, timeout: Some(Duration::from_secs(60)) }).unwrap()
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Sends raw bytes and reads until the other side closes.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(bytes).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP: {text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

pub use cairn_testkit::key;

impl Fixture {
    /// The address of [`key`]`(n)`.
    pub fn payee(&self, n: u8) -> String {
        address::encode(&self.params.address_prefix, &key(n).public_key())
    }

    pub fn generate(&self, count: u32, n: u8) -> Vec<BlockHash> {
        let hashes = self.call("generatetoaddress", json!([count, self.payee(n)]));
        serde_json::from_value(hashes).unwrap()
    }

    pub fn block(&self, hash: &BlockHash) -> Block {
        codec::decode_hex(self.call("getblock", json!([hash, 0])).as_str().unwrap()).unwrap()
    }

    /// Spends output 0 of `from`, which is `key(owner)`'s: `value` to `key(to)`, the rest less `fee` back.
    pub fn payment(&self, from: &Transaction, owner: u8, value: u64, to: u8, fee: u64) -> Transaction {
        let spent = &from.outputs[0];
        let input = Input { outpoint: OutPoint { txid: from.txid(), index: 0 }, signature: Signature::EMPTY };
        let outputs = vec![
            Output::pay(key(to).public_key(), Amount::from_grains(value)),
            Output::pay(key(owner).public_key(), Amount::from_grains(spent.value.as_grains() - value - fee)),
        ];
        let mut tx = Transaction { version: 1, inputs: vec![input], outputs, lock_height: Height::GENESIS };
        tx.inputs[0].signature = key(owner).sign(&tx.signature_digest(&self.params.genesis_hash, [spent]));
        tx
    }
}

/// Where a result differs from its declared shape, and how; `None` if it does not.
fn misfit(shape: Shape, value: &Value) -> Option<String> {
    let is_hex =
        |text: &str| text.len().is_multiple_of(2) && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let within = |place: &str, shape, value| misfit(shape, value).map(|inner| format!("{place}: {inner}"));
    let is_right = match (shape, value) {
        (Shape::Any, _) | (Shape::Null, Value::Null) | (Shape::Boolean, Value::Bool(_)) => true,
        (Shape::Integer, value) => value.is_u64() || value.is_i64(),
        (Shape::Number, Value::Number(_)) | (Shape::Text, Value::String(_)) => true,
        (Shape::Hash, Value::String(text)) => text.len() == 64 && is_hex(text),
        (Shape::Hex, Value::String(text)) => is_hex(text),
        (Shape::Object(object), Value::Object(members)) => {
            let fields = object.all_fields();
            let undeclared = members.keys().find(|name| fields.iter().all(|field| field.name != name.as_str()));
            if let Some(name) = undeclared {
                return Some(format!("{}.{name} is not declared", object.name));
            }
            return fields.into_iter().find_map(|field| match members.get(field.name) {
                Some(value) => within(field.name, field.shape, value),
                None if field.is_optional => None,
                None => Some(format!("{}.{} is missing", object.name, field.name)),
            });
        }
        (Shape::Map(shape), Value::Object(members)) => {
            return members.iter().find_map(|(name, value)| within(name, *shape, value));
        }
        (Shape::Array(item), Value::Array(items)) => {
            return items.iter().enumerate().find_map(|(place, value)| within(&place.to_string(), *item, value));
        }
        (Shape::Either(shapes), value) => {
            let misfits: Option<Vec<String>> = shapes.iter().map(|shape| misfit(*shape, value)).collect();
            return misfits.map(|misfits| misfits.join("; or "));
        }
        _ => false,
    };
    if is_right { None } else { Some(format!("{value} is not {shape:?}")) }
}

pub fn hex_of<T: codec::Encode>(value: &T) -> String {
    hex::encode(codec::encode(value))
}
