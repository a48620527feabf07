//! The server: its listener, routes and connections.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, io};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{any, get};
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

use super::at_once::at_once;
use super::auth::{self, Credentials, RuntimeFile};
use super::connections::{Connections, Place, Pool};
use super::gateway::fetch::Fetching;
use super::gateway::{self, Served};
use super::hosts::{self, Foreign};
use super::http::{Server, call, json, plain};
use super::jsonrpc::Reply;
use super::limits::Config;
use super::socket::{self, Socket};
use super::strangers::{Memory, Usage};
use super::{Api, events, explorer, kubo, metrics, pinning};
use crate::primitives::height::Height;
use crate::runtime::Handle;

/// How long calls under way may take to end when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a request's header, and of what is read or written ahead on a connection (the HTTP library's least is 8192).
const MAX_BUFFERED: usize = 16_384;
/// Memory of a call besides its answer, in blocks of the largest size: a block and the coins that it spent, encoded and
/// decoded.
const BLOCKS_READ: usize = 6;
/// Most copies of an answer in memory: the result, its envelope, and the batch, whose buffer may grow to twice its
/// length.
const COPIES: usize = 4;
/// How long the node's thread may take to answer before the node counts as not ready.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum ServeError {
    /// The address is in use, or not this machine's.
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
    #[error(
        "an RPC user and its password must be given together; neither may be empty, and the user may not contain a colon"
    )]
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

    /// Stops accepting calls and waits some seconds for those under way.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(STOP_TIMEOUT, &mut self.task).await.is_err() {
            tracing::warn!("RPC calls are still in progress; dropping them");
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

/// Starts the server for the node behind `handle`. Writes a fresh cookie and the bound address into the data directory,
/// which is all that commands on this machine need.
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
        memory: Memory::new(
            Pool::Calls,
            public.memory,
            COPIES * public.answer_bytes + working_set,
            Arc::clone(&connections),
        ),
        scrapes: Arc::new(Semaphore::new(1)),
        connections,
        limits: config.limits.clone(),
    });
    let (root, pages) = match config.explorer {
        true => {
            (any(call).get(explorer::page), explorer::routes(&server).merge(events::routes(config.limits.listeners)))
        }
        false => (any(call), Router::new()),
    };
    let exchange = server.api.handle.exchange().filter(|_| config.gateway_fetch).cloned();
    let fetching = exchange.map(|exchange| Fetching::new(exchange, server.api.fetches.clone()));
    let content = Served::new(&config, &server.api.handle, address, &server.connections, fetching);
    let peer_id = content.as_ref().map_or_else(String::new, |content| content.peer_id());
    let family = if address.is_ipv4() { "ip4" } else { "ip6" };
    let delegate = format!("/{family}/{}/tcp/{}/http/p2p/{peer_id}", address.ip(), address.port());
    let pins = pinning::routes(&config, &server, delegate);
    let commands = kubo::routes(&config, peer_id, &server.api.handle);
    let router = Router::new()
        .route("/", root)
        .route("/wallet/", any(call))
        .route("/wallet/{name}", any(call))
        .route("/mine/{address}", any(call))
        .route("/health", get(health))
        .route("/health/live", get(async || plain(StatusCode::OK, "live")))
        .route("/metrics", get(metrics::metrics))
        .merge(pages)
        .merge(gateway::routes(content.as_ref()))
        .merge(commands)
        .merge(pins)
        .with_state(Arc::clone(&server));
    let site = Site { server: Arc::clone(&server), content, router: TowerToHyperService::new(router) };
    let task = tokio::spawn(accept(listener, Arc::new(site), stop.clone()));
    tracing::info!(%address, "answering RPC");
    Ok(RpcServer { address, server, stop, task, _files: files })
}

/// Accepts connections until the server is told to stop, then lets the calls under way end.
async fn accept(listener: TcpListener, site: Arc<Site>, stop: CancellationToken) {
    let tasks = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            // Without a place it is closed immediately: all connections have calls under way.
            Ok((stream, _)) => {
                if let Some(place) = site.server.connections.admit() {
                    tasks.spawn(at_once(serve_connection(stream, place, Arc::clone(&site), stop.clone())));
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

/// Serves one connection until it ends, is closed for another, or the server stops.
async fn serve_connection(stream: TcpStream, place: Place, site: Arc<Site>, stop: CancellationToken) {
    let socket = TokioIo::new(Socket::new(stream, site.server.limits.write_timeout));
    let header_timeout = site.server.limits.header_timeout;
    let caller = place.clone();
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        caller.touch();
        let (site, place) = (Arc::clone(&site), caller.clone());
        async move { Ok::<_, Infallible>(site.answer(place, request.map(Body::new)).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(MAX_BUFFERED)
        .serve_connection(socket, service);
    let mut connection = pin!(connection);
    let mut stopping = false;
    loop {
        // An error is caused by the client, by an action or a time-out, and needs no answer.
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

/// What is behind the listener.
struct Site {
    server: Arc<Server>,
    content: Option<Arc<Served>>,
    router: TowerToHyperService<Router>,
}

impl Site {
    /// Answers a request, but refuses those from pages of other sites: see [`hosts`]. Under a host name of its own, content is
    /// all that there is.
    async fn answer(&self, place: Place, mut request: Request) -> Response {
        let Self { server, content, router } = self;
        let Err(foreign) = hosts::check(request.method(), request.headers(), &server.allow_hosts) else {
            request.extensions_mut().insert(place);
            return match router.call(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
        };
        if foreign == Foreign::Host
            && let Some(content) = content
            && let Some(label) = content.site_of(request.headers(), &server.allow_hosts)
        {
            return gateway::by_host(content, &label, place, request).await;
        }
        plain(StatusCode::FORBIDDEN, &foreign.to_string())
    }
}

/// Any answer shows liveness; readiness means that the node's thread answers.
async fn health(State(server): State<Arc<Server>>) -> Response {
    #[derive(Serialize)]
    struct Health {
        live: bool,
        ready: bool,
        height: Height,
    }
    let ready = tokio::time::timeout(READY_TIMEOUT, server.api.handle.read(|_, _| ())).await;
    let health = Health { live: true, ready: matches!(ready, Ok(Ok(()))), height: server.api.tip().height };
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    json(status, format!("{}\n", Reply::of(&health).as_str()).into())
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
