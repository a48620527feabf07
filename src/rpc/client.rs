//! A blocking client, for the command line.

use crate::primitives::height::Height;
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, StatusCode, Uri, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::auth::{self, ADDRESS_FILE, COOKIE_FILE};

/// Longest answer read: twice what a whole block of the largest kind takes as hex.
const MAX_ANSWER_BYTES: usize = 256 << 20;
/// Longest answer of `/health` read: many times what it has.
const MAX_HEALTH_BYTES: usize = 4096;
/// Longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A node's address and the caller's credentials.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `http://[USER:PASSWORD@]HOST:PORT[/PATH]`, or just `HOST:PORT`. Without it, the node of `data_dir` is called.
    pub url: Option<String>,
    /// The node's data directory, which holds its address and its cookie.
    pub data_dir: PathBuf,
    /// Longest wait for an answer. `None` waits as long as it takes, as long polls do.
    pub timeout: Option<Duration>,
}

/// Why a call has no result. The messages are for the user of the command line.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum ClientError {
    /// The data directory has no node's address.
    #[error("no node is running with data directory {}: {}, or give a node's address with --rpc URL", data_dir.display(), start_advice(data_dir))]
    NoNode { data_dir: PathBuf },
    /// Not a URL that can be called.
    #[error("{url:?} is not a node's address: {reason} (expected http://HOST:PORT)")]
    BadUrl { url: String, reason: &'static str },
    /// The cookie or the address cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// No connection, or one that ended without an answer.
    #[error("cannot reach a node at {url}: {reason}; is it running?")]
    Unreachable { url: String, reason: String },
    /// The answer did not come within the client's timeout.
    #[error("the node at {url} did not answer within {} s", timeout.as_secs())]
    TimedOut { url: String, timeout: Duration },
    /// It does not know these credentials.
    #[error(
        "the node at {url} refuses these credentials: give its --data-dir, which holds the cookie, or --rpc http://USER:PASSWORD@HOST:PORT"
    )]
    Unauthorized { url: String },
    /// It is busy or refuses the HTTP request.
    #[error("the node at {url} answered HTTP {status}: {text}")]
    Refused { url: String, status: u16, text: String },
    /// Something else listens there.
    #[error("the server at {url} is not a node: {reason}")]
    NotANode { url: String, reason: String },
    /// The node answered with an error.
    #[error("{message} (error {code})")]
    Rpc { code: i64, message: String },
}

impl ClientError {
    /// The node's error number, if the node returned an error.
    pub fn code(&self) -> Option<i64> {
        match self {
            Self::Rpc { code, .. } => Some(*code),
            _ => None,
        }
    }
}

/// A node's answer at `/health`.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Health {
    /// Whether its thread answers: the chain is read.
    pub ready: bool,
    /// Height of its tip; 0 as long as it is not ready.
    pub height: Height,
}

/// Calls one node: each call over a connection of its own.
#[derive(Debug, Clone)]
pub struct Client {
    /// `http://HOST[:PORT]/[PATH]`, without credentials.
    url: Uri,
    authorization: Option<String>,
    timeout: Option<Duration>,
}

impl Client {
    /// A client for the node that `config` describes. Nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError::NoNode`], [`ClientError::BadUrl`], [`ClientError::File`].
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        let given = match config.url {
            Some(url) => url,
            None => read_if_there(&config.data_dir.join(ADDRESS_FILE))?
                .ok_or_else(|| ClientError::NoNode { data_dir: config.data_dir.clone() })?,
        };
        let (url, userinfo) = split_userinfo(given.trim())?;
        let credentials = match userinfo {
            Some(userinfo) => Some(userinfo),
            None => read_if_there(&config.data_dir.join(COOKIE_FILE))?,
        };
        let authorization = credentials.map(|credentials| auth::basic(credentials.trim()));
        Ok(Self { url, authorization, timeout: config.timeout })
    }

    /// The same client with a user name and password instead of the URL's or the cookie.
    pub fn log_in(self, user: &str, password: &str) -> Self {
        Self { authorization: Some(auth::basic(&format!("{user}:{password}"))), ..self }
    }

    /// The node's URL, without credentials.
    pub fn url(&self) -> String {
        self.url.to_string()
    }

    /// Calls `method` with positional parameters.
    ///
    /// # Errors
    /// [`ClientError::Rpc`] if the node returns an error, the others if no node answers.
    pub fn call(&self, method: &str, params: &[Value]) -> Result<Value, ClientError> {
        self.send(method, json!(params))
    }

    /// Calls `method` with named parameters, an object.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn call_named(&self, method: &str, params: serde_json::Map<String, Value>) -> Result<Value, ClientError> {
        self.send(method, Value::Object(params))
    }

    /// Asks whether the node is ready: `GET /health`, which needs no credentials.
    ///
    /// # Errors
    /// As [`Client::call`], but for [`ClientError::Rpc`] and [`ClientError::Unauthorized`].
    pub fn health(&self) -> Result<Health, ClientError> {
        let (status, text) = self.exchange(Request::get("/health").body(Body::empty()), MAX_HEALTH_BYTES)?;
        serde_json::from_slice(&text).map_err(|_| {
            self.not_a_node(format!("it answered HTTP {status} to /health, without saying whether it is ready"))
        })
    }

    fn send(&self, method: &str, params: Value) -> Result<Value, ClientError> {
        let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        let mut request = Request::post(self.url.path_and_query().map_or("/", |path| path.as_str()))
            .header(header::CONTENT_TYPE, "application/json");
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        let (status, text) = self.exchange(request.body(body.into()), MAX_ANSWER_BYTES)?;
        if status == StatusCode::UNAUTHORIZED {
            return Err(ClientError::Unauthorized { url: self.url() });
        }
        let answer: Option<Value> = serde_json::from_slice(&text).ok();
        let Some(Value::Object(mut answer)) = answer else {
            let shown: String = String::from_utf8_lossy(&text).trim().chars().take(200).collect();
            let status = status.as_u16();
            return Err(match status {
                403 | 405 | 413 | 503 => ClientError::Refused { url: self.url(), status, text: shown },
                _ => self.not_a_node(format!("it answered HTTP {status} without JSON: {shown:?}")),
            });
        };
        match (answer.remove("result"), answer.remove("error")) {
            (_, Some(Value::Object(error))) => Err(ClientError::Rpc {
                code: error.get("code").and_then(Value::as_i64).unwrap_or_default(),
                message: error.get("message").and_then(Value::as_str).unwrap_or("no message").to_owned(),
            }),
            (Some(result), _) => Ok(result),
            (None, _) => Err(self.not_a_node("its answer has neither result nor error".to_owned())),
        }
    }

    /// Sends a request over a connection of its own, and returns the answer's status and body, at most `limit` bytes.
    fn exchange(
        &self,
        request: Result<Request<Body>, axum::http::Error>,
        limit: usize,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let request = request.map_err(|error| self.failure(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| self.failure(&error))?;
        let answer = runtime.block_on(async {
            let answer = self.exchange_now(request, limit);
            match self.timeout {
                Some(longest) => timeout(longest, answer)
                    .await
                    .unwrap_or_else(|_| Err(ClientError::TimedOut { url: self.url(), timeout: longest })),
                None => answer.await,
            }
        });
        // A name that is still being looked up does not hold up the caller.
        runtime.shutdown_background();
        answer
    }

    async fn exchange_now(&self, mut request: Request<Body>, limit: usize) -> Result<(StatusCode, Bytes), ClientError> {
        let stream =
            timeout(CONNECT_TIMEOUT, self.connect()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let stream = stream.map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => self.unreachable("no answer to the connection attempt".to_owned()),
            _ => self.failure(&error),
        })?;
        // A request is small and waits for its answer. Without the option it is only slower.
        let _ = stream.set_nodelay(true);
        let authority = self.url.authority().map(|authority| authority.as_str().parse());
        if let Some(Ok(authority)) = authority {
            request.headers_mut().insert(header::HOST, authority);
        }
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| self.failure(&error))?;
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| self.failure(&error))?;
        let status = answer.status();
        let body = axum::body::to_bytes(Body::new(answer.into_body()), limit).await;
        Ok((status, body.map_err(|error| self.failure(&error))?))
    }

    /// Connects to the first of the host's addresses that answers. They share the time, so that a silent one leaves some to
    /// the next.
    async fn connect(&self) -> io::Result<TcpStream> {
        let host = self.url.host().unwrap_or_default();
        let addresses: Vec<_> = lookup_host(format!("{host}:{}", self.url.port_u16().unwrap_or(80))).await?.collect();
        let share = CONNECT_TIMEOUT / addresses.len().max(1) as u32;
        let mut result = Err(io::ErrorKind::AddrNotAvailable.into());
        for address in addresses {
            let connecting = timeout(share, TcpStream::connect(address)).await;
            result = connecting.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            if result.is_ok() {
                break;
            }
        }
        result
    }

    /// What an error of the connection, or of HTTP over it, says about the other end.
    fn failure(&self, error: &(dyn Error + 'static)) -> ClientError {
        let causes = || std::iter::successors(Some(error), |&error| error.source());
        if let Some(error) = causes().find_map(|error| error.downcast_ref::<io::Error>()) {
            return self.unreachable(plain_words(error));
        }
        match causes().find_map(|error| error.downcast_ref::<hyper::Error>()) {
            Some(error) if error.is_incomplete_message() || error.is_canceled() => self.unreachable(CLOSED.to_owned()),
            _ => self.not_a_node(error.to_string()),
        }
    }

    fn unreachable(&self, reason: String) -> ClientError {
        ClientError::Unreachable { url: self.url(), reason }
    }

    fn not_a_node(&self, reason: String) -> ClientError {
        ClientError::NotANode { url: self.url(), reason }
    }
}

/// A reason for an answer that does not come.
const CLOSED: &str = "it closed the connection";

fn plain_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof => CLOSED.to_owned(),
        _ => error.to_string(),
    }
}

fn read_if_there(path: &Path) -> Result<Option<String>, ClientError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ClientError::File { path: path.to_owned(), source }),
    }
}

/// Where a network of `cairn testnet` keeps its first node, and the directory it has unless told otherwise.
const TESTNET_NODE: &str = "node-1";
const TESTNET_DIR: &str = "cairn-testnet";

/// Advice on how to start a node in `data_dir`; a directory of `cairn testnet` is started by that command.
fn start_advice(data_dir: &Path) -> String {
    if data_dir.join(TESTNET_NODE).is_dir() || data_dir.ends_with(TESTNET_DIR) {
        return format!("start the network with `cairn testnet --data-dir {}`", data_dir.display());
    }
    match Path::new(TESTNET_DIR).is_dir() {
        true => {
            format!("start one with `cairn node`, give --data-dir {TESTNET_DIR} for the network of `cairn testnet`")
        }
        false => "start one with `cairn node`".to_owned(),
    }
}

/// The URL without credentials, and the credentials, percent-decoded (RFC 3986, section 3.2.1).
fn split_userinfo(given: &str) -> Result<(Uri, Option<String>), ClientError> {
    // The URL may hold a password, so messages show only what follows it.
    let shown = || given.rsplit_once('@').map_or(given, |(_, rest)| rest).chars().take(200).collect::<String>();
    let error = |reason| ClientError::BadUrl { url: shown(), reason };
    let rest = match given.split_once("://") {
        None => given,
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => rest,
        Some(_) => return Err(error("only http is supported")),
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (userinfo, host) = match authority.rsplit_once('@') {
        None => (None, authority),
        Some((userinfo, host)) => {
            let decoded =
                percent_decode(userinfo).ok_or_else(|| error("its user or password is not percent-encoded UTF-8"))?;
            (Some(decoded), host)
        }
    };
    if host.is_empty() || host.starts_with(':') {
        return Err(error("it has no host"));
    }
    let port = host.rsplit_once(':').map_or("80", |(_, port)| port);
    if !host.ends_with(']') && port.parse::<u16>().is_err() {
        return Err(error("its port is not a number up to 65535"));
    }
    let path = if path.is_empty() { "/" } else { path };
    let url = format!("http://{host}{path}").parse();
    Ok((url.map_err(|_| error("it contains characters that are not allowed in a URL"))?, userinfo))
}

fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        bytes.push((digit()? << 4 | digit()?) as u8);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (given, url, userinfo) in [
            ("http://127.0.0.1:7332", "http://127.0.0.1:7332/", None),
            ("127.0.0.1:7332", "http://127.0.0.1:7332/", None),
            ("http://u:p%40ss@node:1/wallet/a", "http://node:1/wallet/a", Some("u:p@ss")),
            ("HTTP://u:a@b@[::1]:7332/", "http://[::1]:7332/", Some("u:a@b")),
        ] {
            let got = split_userinfo(given).unwrap();
            assert_eq!((got.0.to_string().as_str(), got.1.as_deref()), (url, userinfo), "{given}");
        }
        for given in ["https://host:1", "http://", "http://:7332", "node:port", "http://a b:1", "http://%zz:p@host:1"] {
            assert!(matches!(split_userinfo(given), Err(ClientError::BadUrl { .. })), "{given}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let error = split_userinfo("http://ada:secret@host:99999").unwrap_err().to_string();
        assert!(!error.contains("secret"), "{error}");
    }

    #[test]
    fn a_missing_node_is_reported() {
        let dir = tempfile::tempdir().unwrap();
        let config = |url: Option<String>| ClientConfig { url, data_dir: dir.path().to_owned(), timeout: None };
        let error = Client::new(config(None)).unwrap_err().to_string();
        assert!(error.contains("no node is running") && error.contains("cairn node"), "{error}");
        // Bound and dropped: a port without a listener.
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let client = Client::new(config(Some(free.to_string()))).unwrap();
        let error = client.call("uptime", &[]).unwrap_err().to_string();
        assert!(error.contains("cannot reach") && error.contains("connection refused"), "{error}");
    }
}
