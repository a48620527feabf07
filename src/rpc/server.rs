//! The HTTP side: who may call, how much, and which status an answer has.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::{any, get};
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::auth::{self, Credentials, RuntimeFile};
use super::connections::{Connections, Place};
use super::error::{Code, RpcError};
use super::jsonrpc::{self, Parsed};
use super::limits::{Config, Limits, PublicLimits};
use super::socket::{self, Socket};
use super::strangers::{Memory, Usage};
use super::{Api, events, explorer, hosts, methods, metrics};
use crate::runtime::Handle;

/// How long a call with wrong credentials waits for its answer: guessing is slow (Bitcoin Core's 250 ms).
const REFUSAL_DELAY: Duration = Duration::from_millis(250);
/// How long calls under way may take to end when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a request's header, and of what is read or written ahead on a connection (the HTTP library's least is 8192).
const MAX_BUFFERED: usize = 16_384;
/// Memory that a call takes besides its answer, in blocks of the largest size: a block and the coins that it spent, as
/// they are stored and as they are read.
const BLOCKS_READ: usize = 6;
/// Times that an answer is in memory at most while it is put together: by itself, with what goes around it, and in the
/// batch, whose text may grow to twice its length.
const COPIES: usize = 4;
/// How long the node's thread may take to answer before it is said not to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

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
pub struct RpcServer {
    address: SocketAddr,
    server: Arc<Server>,
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

    /// What callers without credentials cost.
    pub fn public_usage(&self) -> Usage {
        self.server.usage()
    }

    /// Lets calls under way end, for some seconds at most, and takes no new ones.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_TIMEOUT, &mut self.task).await.is_err() {
            tracing::warn!("RPC calls are still under way; dropping them");
        }
    }
}

impl fmt::Debug for RpcServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RpcServer").field("address", &self.address).finish_non_exhaustive()
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
    let listener = socket::listen(config.bind).map_err(bind_error)?;
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
    let (public, connections) = (&config.limits.public, Connections::new(config.limits.connections));
    let working_set = BLOCKS_READ * handle.params().max_block_bytes as usize;
    let server = Arc::new(Server {
        api: Api::new(handle, stop.child_token(), &config),
        credentials,
        allow_hosts: config.allow_hosts.clone(),
        requests: Semaphore::new(config.limits.requests),
        memory: Memory::new(public.memory, COPIES * public.answer_bytes + working_set, Arc::clone(&connections)),
        scrapes: Arc::new(Semaphore::new(1)),
        connections,
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
        .route("/health", get(health))
        .route("/health/live", get(async || plain(StatusCode::OK, "live")))
        .route("/metrics", get(metrics::metrics))
        .merge(pages)
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&server), refuse_foreign))
        .with_state(Arc::clone(&server));
    let task = tokio::spawn(accept(listener, Arc::clone(&server), router, stop.clone()));
    tracing::info!(%address, "answering RPC");
    Ok(RpcServer { address, server, stop, task, _files: files })
}

/// Accepts connections until the server is told to stop, then lets the calls under way end.
async fn accept(listener: TcpListener, server: Arc<Server>, router: Router, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            // What finds no place is closed at once: all connections there are belong to calls under way.
            Ok((stream, _)) => {
                if let Some(place) = server.connections.admit() {
                    tasks.spawn(serve_connection(stream, place, Arc::clone(&server), router.clone(), stop.clone()));
                }
            }
            Err(error) => {
                // Out of file descriptors, most likely: some will be closed.
                tracing::warn!(%error, "cannot accept an RPC connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

/// Serves one connection until it ends, has to give way, or the server stops.
async fn serve_connection(
    stream: TcpStream,
    place: Place,
    server: Arc<Server>,
    router: Router,
    stop: CancellationToken,
) {
    let caller = place.clone();
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        caller.touch();
        request.extensions_mut().insert(caller.clone());
        router.call(request)
    });
    let socket = TokioIo::new(Socket::new(stream, server.limits.write_timeout));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(server.limits.header_timeout)
        .max_buf_size(MAX_BUFFERED)
        .serve_connection(socket, service);
    let mut connection = pin!(connection);
    let mut stopping = false;
    loop {
        // An error is the other side's doing, or its failing to do anything; it hears no more of it.
        tokio::select! {
            _ = connection.as_mut() => return,
            () = place.closed() => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
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
    allow_hosts: Vec<String>,
    connections: Arc<Connections>,
    /// The owner's requests.
    requests: Semaphore,
    /// Those of callers without credentials.
    memory: Memory,
    /// Scrapes of `/metrics`: one at a time, so that they need no share of that memory.
    pub(super) scrapes: Arc<Semaphore>,
    limits: Limits,
}

impl Server {
    /// What callers without credentials cost.
    pub(super) fn usage(&self) -> Usage {
        let (node_calls, node_time) = self.api.turns.taken();
        Usage { memory: self.memory.taken(), node_calls, node_time }
    }

    /// Answers a caller without credentials, within the memory that all of them share. The text that `work` answers is
    /// counted until it was taken. Refuses if others have all the memory.
    pub(super) async fn answer_stranger<S: Send + 'static>(
        &self,
        place: &Place,
        work: impl Future<Output = (S, Option<String>)> + Send + 'static,
    ) -> Result<(S, Option<Body>), Response> {
        let Some(share) = self.memory.reserve().await else {
            let text = "too many calls without credentials: try again later";
            return Err(plain(StatusCode::SERVICE_UNAVAILABLE, text));
        };
        let _busy = place.busy();
        let ((status, text), share) = aside(async move { (work.await, share) }).await?;
        Ok((status, text.map(|text| share.body(text, place))))
    }
}

/// Works for a caller without credentials on a thread of its own, or putting long answers into words would keep those for
/// everybody else busy. A caller who hangs up ends neither what is done for it nor what `work` holds meanwhile.
pub(super) async fn aside<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, Response> {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(work)).await.map_err(|error| {
        tracing::error!(%error, "a call without credentials failed inside this node");
        plain(StatusCode::INTERNAL_SERVER_ERROR, "the call failed inside this node")
    })
}

/// Turns away what comes from a page of another site: see [`hosts`].
async fn refuse_foreign(State(server): State<Arc<Server>>, request: Request, next: axum::middleware::Next) -> Response {
    match hosts::check(request.method(), request.headers(), &server.allow_hosts) {
        Ok(()) => next.run(request).await,
        Err(foreign) => plain(StatusCode::FORBIDDEN, &foreign.to_string()),
    }
}

async fn call(State(server): State<Arc<Server>>, Extension(place): Extension<Place>, request: Request) -> Response {
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
    place.mark_owner();
    let _busy = place.busy();
    let Ok(_permit) = server.requests.try_acquire() else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "Work queue depth exceeded");
    };
    let api = match request.uri().path().strip_prefix("/mine/") {
        Some(address) => server.api.mining_for(address),
        None => server.api.clone(),
    };
    let limits = &server.limits;
    let body = match read_body(request, limits.body_bytes, limits.body_timeout).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let bounds = Bounds { methods: None, batch: limits.batch, answer_bytes: limits.answer_bytes };
    match answer(bounds, &api, &body).await {
        (status, Some(text)) => json(status, text.into()),
        (status, None) => empty(status),
    }
}

/// `POST /public`: the calls that need no credentials, within narrower bounds.
pub(super) async fn call_public(
    State(server): State<Arc<Server>>,
    Extension(place): Extension<Place>,
    request: Request,
) -> Response {
    let PublicLimits { batch, body_bytes, answer_bytes, .. } = server.limits.public;
    let body = match read_body(request, body_bytes, server.limits.body_timeout).await {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let bounds = Bounds { methods: Some(explorer::PUBLIC), batch, answer_bytes };
    let api = server.api.for_stranger(answer_bytes);
    match server.answer_stranger(&place, async move { answer(bounds, &api, &body).await }).await {
        Ok((status, Some(body))) => json(status, body),
        Ok((status, None)) => empty(status),
        Err(refusal) => refusal,
    }
}

/// What one HTTP request may ask for.
#[derive(Clone, Copy)]
struct Bounds {
    /// The methods that it may call; `None` for all.
    methods: Option<&'static [&'static str]>,
    batch: usize,
    answer_bytes: usize,
}

/// A request's body, or what to tell its sender.
async fn read_body(request: Request, most: usize, within: Duration) -> Result<Bytes, Response> {
    match tokio::time::timeout(within, to_bytes(request.into_body(), most)).await {
        Err(_) => Err(plain(StatusCode::REQUEST_TIMEOUT, "the request's body did not arrive in time")),
        Ok(Err(error)) if is_too_long(&error) => {
            Err(plain(StatusCode::PAYLOAD_TOO_LARGE, &format!("a request may have {most} bytes")))
        }
        Ok(Err(error)) => Err(plain(StatusCode::BAD_REQUEST, &format!("cannot read the request: {error}"))),
        Ok(Ok(body)) => Ok(body),
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.to_string().contains("length limit exceeded"))
}

/// A call's sender, and what it came to.
type Answered = (jsonrpc::Caller, methods::Outcome);

/// The status and the text of the answer to a request's body, with a newline; no text if none is wanted.
async fn answer(bounds: Bounds, api: &Api, body: &[u8]) -> (StatusCode, Option<String>) {
    let (status, text) = answer_body(bounds, api, body).await;
    (status, text.map(|text| text + "\n"))
}

async fn answer_body(bounds: Bounds, api: &Api, body: &[u8]) -> (StatusCode, Option<String>) {
    match jsonrpc::parse(body, bounds.batch) {
        jsonrpc::Body::Single(parsed) => {
            let (caller, outcome) = run(bounds, api, parsed).await;
            if caller.is_notification() {
                return (StatusCode::NO_CONTENT, None);
            }
            let status = StatusCode::from_u16(caller.status(&outcome)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, Some(caller.answer(&outcome)))
        }
        jsonrpc::Body::Batch(batch) => {
            let asked = !batch.is_empty();
            let mut answers = String::new();
            for parsed in batch {
                let (caller, outcome) = match bounds.answer_bytes.checked_sub(answers.len()) {
                    // All answers to a stranger have to fit together, each with what goes around it.
                    Some(room) if api.is_for_stranger() => run(bounds, &api.for_stranger(room), parsed).await,
                    Some(_) => run(bounds, api, parsed).await,
                    None => refuse_rest(parsed),
                };
                if !caller.is_notification() {
                    answers.push(if answers.is_empty() { '[' } else { ',' });
                    answers += &caller.answer(&outcome);
                }
            }
            match (answers.is_empty(), asked) {
                (true, true) => (StatusCode::NO_CONTENT, None),
                // Strictly 2.0 would be silence, but nothing in an empty batch says that it is 2.0: Bitcoin Core's choice.
                (true, false) => (StatusCode::OK, Some("[]".to_owned())),
                (false, _) => (StatusCode::OK, Some(answers + "]")),
            }
        }
    }
}

async fn run(bounds: Bounds, api: &Api, parsed: Parsed) -> Answered {
    match parsed {
        Ok(request) if bounds.methods.is_some_and(|open| !open.contains(&request.method.as_str())) => {
            let message = format!("{:?} is not to be called without credentials: use POST /", request.method);
            (request.caller, Err(RpcError::new(Code::MethodNotFound, message)))
        }
        Ok(request) => {
            let outcome = methods::dispatch(api, &request.method, request.params).await;
            let outcome = outcome.and_then(|reply| api.fitting(reply));
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
    let ready = tokio::time::timeout(READY_TIMEOUT, server.api.handle.read(|_, _| ())).await;
    let health = Health { live: true, ready: matches!(ready, Ok(Ok(()))), height: server.api.tip().height };
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, format!("{}\n", jsonrpc::Reply::of(&health).as_str()).into())
}

fn respond(status: StatusCode, headers: &[(HeaderName, &'static str)], body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

fn json(status: StatusCode, body: Body) -> Response {
    respond(status, &[(header::CONTENT_TYPE, "application/json")], body)
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
    fn an_address_bound_to_all_interfaces_is_called_at_loopback() {
        assert_eq!(local_url("0.0.0.0:7332".parse().unwrap()), "http://127.0.0.1:7332");
        assert_eq!(local_url("[::]:7332".parse().unwrap()), "http://[::1]:7332");
        assert_eq!(local_url("10.0.0.7:80".parse().unwrap()), "http://10.0.0.7:80");
    }
}
