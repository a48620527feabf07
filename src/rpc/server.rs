//! The HTTP side: who may call, how much, and which status an answer has.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::{any, get};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::auth::{self, Credentials, RpcAuth, RuntimeFile};
use super::error::{Code, RpcError};
use super::jsonrpc::{self, Parsed};
use super::listener::{Activity, BoundedListener};
use super::{Api, events, explorer, methods, metrics};
use crate::consensus::params::MAX_BLOCK_BYTES;
use crate::runtime::Handle;
use crate::stratum;

/// How long a call with wrong credentials waits for its answer: guessing is slow (Bitcoin Core's 250 ms).
const REFUSAL_DELAY: Duration = Duration::from_millis(250);
/// How long calls under way may take to end when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the node's thread may take to answer before it is said not to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// Bounds on what callers can make the server do.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections at a time; more wait in the system's queue.
    pub connections: usize,
    /// Requests being read or answered at a time; more are answered 503.
    pub requests: usize,
    /// Requests in one batch.
    pub batch: usize,
    /// Bytes of a request: by default a block of the largest kind in hex.
    pub body_bytes: usize,
    /// Bytes of a batch's answers, after which its remaining requests are answered with an error.
    pub answer_bytes: usize,
    /// Time for a request's body to arrive.
    pub body_timeout: Duration,
    /// Time after which a connection without a request is closed.
    pub idle_timeout: Duration,
    /// Time that a poll for a block template waits for a new tip; from then on better fees end it too.
    pub fee_patience: Duration,
    /// Listeners to `/events` at a time; more are answered 503.
    pub listeners: usize,
    /// Bounds on `/public`.
    pub public: PublicLimits,
}

/// Bounds on what callers without credentials can make the server do.
#[derive(Debug, Clone)]
pub struct PublicLimits {
    /// Requests being read or answered at a time; more are answered 503.
    pub requests: usize,
    /// Requests in one batch.
    pub batch: usize,
    /// Bytes of a request.
    pub body_bytes: usize,
    /// Bytes of a batch's answers, after which its remaining requests are answered with an error.
    pub answer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            requests: 128,
            batch: 1_000,
            body_bytes: 2 * MAX_BLOCK_BYTES as usize + 65_536,
            answer_bytes: 64 << 20,
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(60),
            fee_patience: Duration::from_secs(60),
            listeners: 64,
            public: PublicLimits { requests: 32, batch: 100, body_bytes: 65_536, answer_bytes: 8 << 20 },
        }
    }
}

/// Where to listen, and whom to answer.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address to bind; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Where the cookie and the bound address are left.
    pub data_dir: PathBuf,
    /// A user besides the cookie's; needs `password`.
    pub user: Option<String>,
    /// That user's password.
    pub password: Option<String>,
    /// More users, whose passwords are not written anywhere.
    pub auth: Vec<RpcAuth>,
    /// What miners do over Stratum, if they are listened to.
    pub stratum: Option<Arc<stratum::Meters>>,
    /// Bounds.
    pub limits: Limits,
    /// The nodes of this process with their names, where there are several: all of them can then be asked about links,
    /// and told to change them. Empty if there is only the one that is served.
    pub nodes: Vec<(String, Handle)>,
    /// Whether the explorer is served: the page, and what it reads without credentials.
    pub explorer: bool,
}

impl Config {
    /// Listens on `bind`, with the cookie in `data_dir` as the only key.
    pub fn new(bind: SocketAddr, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            bind,
            data_dir: data_dir.into(),
            user: None,
            password: None,
            auth: Vec::new(),
            stratum: None,
            limits: Limits::default(),
            nodes: Vec::new(),
            explorer: true,
        }
    }
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum ServeError {
    /// The address is taken, or not this machine's.
    #[error("cannot listen for RPC on {address}: {source} (another address can be given with --rpc)")]
    Bind {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    /// The cookie or the address cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// One without the other, or a user that HTTP Basic cannot carry.
    #[error("an RPC user needs a password and a password a user, neither empty, and no colon in the user")]
    Credentials,
}

/// A server at work. [`RpcServer::stop`] ends it gracefully, dropping it at once; both remove its files.
#[derive(Debug)]
pub struct RpcServer {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
    _files: [RuntimeFile; 2],
}

impl RpcServer {
    /// The address bound, with the port that was free if 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A URL to call it at from this machine.
    pub fn url(&self) -> String {
        local_url(self.address)
    }

    /// Lets calls under way end, for some seconds at most, and takes no new ones.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_TIMEOUT, &mut self.task).await.is_err() {
            tracing::warn!("RPC calls are still under way; dropping them");
        }
    }
}

impl Drop for RpcServer {
    fn drop(&mut self) {
        self.stop.cancel();
        self.task.abort();
    }
}

/// Starts to answer calls about the node behind `handle`. Leaves a fresh cookie and the bound address in the data
/// directory, so that commands on this machine need to know only that.
///
/// # Errors
/// [`ServeError`].
pub async fn serve(config: Config, handle: Handle) -> Result<RpcServer, ServeError> {
    let mut credentials = Credentials::default();
    match (&config.user, &config.password) {
        (None, None) => {}
        (Some(user), Some(password)) if !user.is_empty() && !password.is_empty() && !user.contains(':') => {
            credentials.accept(&format!("{user}:{password}"));
        }
        _ => return Err(ServeError::Credentials),
    }
    config.auth.iter().cloned().for_each(|auth| credentials.accept_salted(auth));
    let bind_error = |source| ServeError::Bind { address: config.bind, source };
    let listener = TcpListener::bind(config.bind).await.map_err(bind_error)?;
    let address = listener.local_addr().map_err(bind_error)?;
    if !address.ip().is_loopback() {
        tracing::warn!(%address, "RPC is reachable from other machines, over HTTP that is not encrypted");
    }
    let cookie = format!("{}:{}", auth::COOKIE_USER, hex::encode(rand::random::<[u8; 32]>()));
    credentials.accept(&cookie);
    let write = |name, content| {
        let path = config.data_dir.join(name);
        RuntimeFile::write(path.clone(), content).map_err(|source| ServeError::File { path, source })
    };
    let files = [write(auth::COOKIE_FILE, cookie)?, write(auth::ADDRESS_FILE, local_url(address))?];

    let stop = CancellationToken::new();
    let server = Arc::new(Server {
        api: Api::new(handle, stop.child_token(), &config),
        credentials,
        bound: address.ip(),
        requests: Semaphore::new(config.limits.requests),
        public_requests: Semaphore::new(config.limits.public.requests),
        limits: config.limits.clone(),
    });
    let (root, pages) = match config.explorer {
        true => (any(call).get(explorer::page), explorer::routes().merge(events::routes(config.limits.listeners))),
        false => (any(call), Router::new()),
    };
    let router = Router::new()
        .route("/", root)
        .route("/wallet/", any(call))
        .route("/wallet/{name}", any(call))
        .route("/mine/{address}", any(call))
        .merge(pages)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&server), refuse_foreign_pages))
        // Probes and scrapers come under any name.
        .route("/health", get(health))
        .route("/health/live", get(async || plain(StatusCode::OK, "live")))
        .with_state(Arc::clone(&server))
        .merge(metrics::routes(server.api.clone()));
    let listener = BoundedListener::new(listener, config.limits.connections, config.limits.idle_timeout);
    let stopped = stop.clone().cancelled_owned();
    let task = tokio::spawn(async move {
        let service = router.into_make_service_with_connect_info::<Activity>();
        if let Err(error) = axum::serve(listener, service).with_graceful_shutdown(stopped).await {
            tracing::error!(%error, "the RPC server ended");
        }
    });
    tracing::info!(%address, "answering RPC");
    Ok(RpcServer { address, stop, task, _files: files })
}

/// An address bound to all interfaces is reached on this machine by the loopback one.
fn local_url(address: SocketAddr) -> String {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => std::net::Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    format!("http://{}", SocketAddr::new(ip, address.port()))
}

pub(super) struct Server {
    pub(super) api: Api,
    credentials: Credentials,
    bound: IpAddr,
    requests: Semaphore,
    limits: Limits,
    /// The explorer's calls at a time: strangers leave places for those with credentials.
    public_requests: Semaphore,
}

/// Turns away what a page of another site makes a browser send: it carries that page's origin, or comes under the name
/// of a site that now resolves to this machine (DNS rebinding).
async fn refuse_foreign_pages(
    State(server): State<Arc<Server>>,
    request: Request,
    next: axum::middleware::Next,
) -> Response {
    if is_foreign(request.method(), request.headers(), server.bound) {
        return plain(StatusCode::FORBIDDEN, "calls from pages of other sites are refused");
    }
    next.run(request).await
}

fn is_foreign(method: &Method, headers: &HeaderMap, bound: IpAddr) -> bool {
    let Some(host) = headers.get(header::HOST) else { return headers.contains_key(header::ORIGIN) };
    let Ok(host) = host.to_str() else { return true };
    match headers.get(header::ORIGIN) {
        // A browser names the origin of every POST, and of no GET that its own page makes.
        None => method == Method::GET && !is_own_name(host, bound),
        Some(origin) => {
            let same = origin.to_str().is_ok_and(|origin| origin.strip_prefix("http://") == Some(host));
            !(same && is_own_name(host, bound))
        }
    }
}

/// Whether no stranger can own the name: an address, `localhost`, or a name without a dot, as containers have.
fn is_own_name(host: &str, bound: IpAddr) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback() || address.ip() == bound || bound.is_unspecified();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    match name.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(ip) => ip.is_loopback() || ip == bound || bound.is_unspecified(),
        Err(_) => !name.is_empty() && !name.contains('.'),
    }
}

async fn call(
    State(server): State<Arc<Server>>,
    ConnectInfo(activity): ConnectInfo<Activity>,
    request: Request,
) -> Response {
    let _active = activity.begin();
    if request.method() != Method::POST {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "JSONRPC server handles only POST requests");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let authorization = request.headers().get(header::AUTHORIZATION).map(HeaderValue::to_str);
    match authorization {
        Some(Ok(authorization)) if server.credentials.allow(authorization) => {}
        None => return unauthorized(),
        Some(_) => {
            tracing::warn!("an RPC call with wrong credentials");
            tokio::time::sleep(REFUSAL_DELAY).await;
            return unauthorized();
        }
    }
    let api = match request.uri().path().strip_prefix("/mine/") {
        Some(address) => server.api.mining_for(address),
        None => server.api.clone(),
    };
    let limits = &server.limits;
    let bounds = Bounds {
        methods: None,
        places: &server.requests,
        batch: limits.batch,
        body_bytes: limits.body_bytes,
        answer_bytes: limits.answer_bytes,
    };
    read_and_answer(&server, &api, bounds, request).await
}

/// `POST /public`: the calls that need no credentials, within narrower bounds.
pub(super) async fn call_public(
    State(server): State<Arc<Server>>,
    ConnectInfo(activity): ConnectInfo<Activity>,
    request: Request,
) -> Response {
    let _active = activity.begin();
    let public = &server.limits.public;
    let bounds = Bounds {
        methods: Some(explorer::PUBLIC),
        places: &server.public_requests,
        batch: public.batch,
        body_bytes: public.body_bytes,
        answer_bytes: public.answer_bytes,
    };
    read_and_answer(&server, &server.api, bounds, request).await
}

/// What one HTTP request may ask for.
struct Bounds<'a> {
    /// The methods that it may call; `None` for all.
    methods: Option<&'static [&'static str]>,
    /// Its place among those that are being answered is one of these.
    places: &'a Semaphore,
    batch: usize,
    body_bytes: usize,
    answer_bytes: usize,
}

/// Reads a request's body and answers the calls in it.
async fn read_and_answer(server: &Server, api: &Api, bounds: Bounds<'_>, request: Request) -> Response {
    let Ok(_permit) = bounds.places.try_acquire() else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "Work queue depth exceeded");
    };
    let body = to_bytes(request.into_body(), bounds.body_bytes);
    match tokio::time::timeout(server.limits.body_timeout, body).await {
        Err(_) => plain(StatusCode::REQUEST_TIMEOUT, "the request's body did not arrive in time"),
        Ok(Err(error)) if is_too_long(&error) => {
            let text = format!("a request may have {} bytes", bounds.body_bytes);
            plain(StatusCode::PAYLOAD_TOO_LARGE, &text)
        }
        Ok(Err(error)) => plain(StatusCode::BAD_REQUEST, &format!("cannot read the request: {error}")),
        Ok(Ok(body)) => answer(&bounds, api, &body).await,
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.to_string().contains("length limit exceeded"))
}

/// A call's sender, and what it came to.
type Answered = (jsonrpc::Caller, methods::Outcome);

async fn answer(bounds: &Bounds<'_>, api: &Api, body: &[u8]) -> Response {
    match jsonrpc::parse(body, bounds.batch) {
        jsonrpc::Body::Single(parsed) => {
            let (caller, outcome) = run(bounds, api, parsed).await;
            if caller.is_notification() {
                return empty(StatusCode::NO_CONTENT);
            }
            let status = StatusCode::from_u16(caller.status(&outcome)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            json(status, caller.answer(&outcome))
        }
        jsonrpc::Body::Batch(batch) => {
            let asked = !batch.is_empty();
            let mut answers = String::new();
            for parsed in batch {
                let (caller, outcome) = if answers.len() > bounds.answer_bytes {
                    refuse_rest(parsed)
                } else {
                    run(bounds, api, parsed).await
                };
                if !caller.is_notification() {
                    answers.push(if answers.is_empty() { '[' } else { ',' });
                    answers += &caller.answer(&outcome);
                }
            }
            match (answers.is_empty(), asked) {
                (true, true) => empty(StatusCode::NO_CONTENT),
                // Strictly 2.0 would be silence, but nothing in an empty batch says that it is 2.0: Bitcoin Core's choice.
                (true, false) => json(StatusCode::OK, "[]".to_owned()),
                (false, _) => json(StatusCode::OK, answers + "]"),
            }
        }
    }
}

async fn run(bounds: &Bounds<'_>, api: &Api, parsed: Parsed) -> Answered {
    match parsed {
        Ok(request) if bounds.methods.is_some_and(|open| !open.contains(&request.method.as_str())) => {
            let message = format!("{:?} is not to be called without credentials: use POST /", request.method);
            (request.caller, Err(RpcError::new(Code::MethodNotFound, message)))
        }
        Ok(request) => {
            let outcome = methods::dispatch(api, &request.method, request.params).await;
            let error = outcome.as_ref().err().map(|error| error.code as i32);
            tracing::debug!(method = request.method, error, "RPC");
            (request.caller, outcome)
        }
        Err((caller, error)) => (caller, Err(error)),
    }
}

/// The rest of a batch whose answers are enough already.
fn refuse_rest(parsed: Parsed) -> Answered {
    let caller = match parsed {
        Ok(request) => request.caller,
        Err((caller, _)) => caller,
    };
    (caller, Err(RpcError::new(Code::Misc, "the batch's answers are too long; not called: ask in smaller batches")))
}

/// Liveness: that this is answered at all. Readiness: that the node's thread answers.
async fn health(State(server): State<Arc<Server>>) -> Response {
    #[derive(Serialize)]
    struct Health {
        live: bool,
        ready: bool,
        height: u32,
    }
    let ready = tokio::time::timeout(READY_TIMEOUT, server.api.handle.call(|_, _| ())).await;
    let health = Health { live: true, ready: matches!(ready, Ok(Ok(()))), height: server.api.tip().height };
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, jsonrpc::Reply::of(&health).as_str().to_owned())
}

fn respond(status: StatusCode, headers: &[(HeaderName, &'static str)], body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn json(status: StatusCode, mut text: String) -> Response {
    text.push('\n');
    respond(status, &[(header::CONTENT_TYPE, "application/json")], text.into())
}

pub(super) fn plain(status: StatusCode, text: &str) -> Response {
    respond(status, &[(header::CONTENT_TYPE, "text/plain; charset=utf-8")], format!("{text}\n").into())
}

fn empty(status: StatusCode) -> Response {
    respond(status, &[], Body::empty())
}

fn unauthorized() -> Response {
    respond(StatusCode::UNAUTHORIZED, &[(header::WWW_AUTHENTICATE, "Basic realm=\"jsonrpc\"")], Body::empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_of_other_sites_are_told_from_programs() {
        let foreign = |method: &Method, host: &str, origin: &str, bound: &str| {
            let mut headers = HeaderMap::new();
            for (name, value) in [(header::HOST, host), (header::ORIGIN, origin)] {
                if !value.is_empty() {
                    headers.insert(name, value.parse().unwrap());
                }
            }
            is_foreign(method, &headers, bound.parse().unwrap())
        };
        let local = "127.0.0.1";
        // Programs send no origin and may know the node by any name.
        assert!(!foreign(&Method::POST, "127.0.0.1:7332", "", local));
        assert!(!foreign(&Method::POST, "node.example.org:7332", "", local));
        assert!(!foreign(&Method::POST, "", "", local));
        // The node's own page.
        for host in ["127.0.0.1:7332", "localhost:7332", "[::1]:7332", "localhost", "node1:7332"] {
            assert!(!foreign(&Method::POST, host, &format!("http://{host}"), local), "{host}");
            assert!(!foreign(&Method::GET, host, "", local), "{host}");
        }
        assert!(!foreign(&Method::POST, "10.1.2.3:7332", "http://10.1.2.3:7332", "0.0.0.0"));
        // Others' pages.
        for origin in ["http://evil.example", "null", "https://127.0.0.1:7332", "http://127.0.0.1:80"] {
            assert!(foreign(&Method::POST, "127.0.0.1:7332", origin, local), "{origin}");
        }
        // Names that a stranger made to resolve here.
        assert!(foreign(&Method::POST, "evil.example:7332", "http://evil.example:7332", local));
        assert!(foreign(&Method::GET, "evil.example:7332", "", local));
        assert!(foreign(&Method::POST, "", "http://evil.example", local));
    }

    #[test]
    fn an_address_bound_to_all_interfaces_is_called_at_loopback() {
        assert_eq!(local_url("0.0.0.0:7332".parse().unwrap()), "http://127.0.0.1:7332");
        assert_eq!(local_url("[::]:7332".parse().unwrap()), "http://[::1]:7332");
        assert_eq!(local_url("10.0.0.7:80".parse().unwrap()), "http://10.0.0.7:80");
    }
}
