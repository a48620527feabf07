//! `/ipfs/CID[/path]`: the content beside the chain over HTTP, by the specifications of [IPFS's
//! gateways](https://specs.ipfs.tech/http-gateways/). It needs no credentials.
//!
//! A blocking thread makes each answer: it reads blocks, checks them, and writes them while the caller reads. A bounded
//! number of answers is made at a time. What is not in this store is fetched from peers if the owner allows it.

mod body;
mod car;
pub(super) mod failure;
pub(super) mod fetch;
mod files;
mod head;
mod kinds;
mod listing;
mod lookups;
mod redirects;
pub(super) mod request;
mod routing;
mod source;
pub(super) mod stream;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use axum::{Extension, Router};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use self::body::Content;
use self::car::Car;
use self::failure::Failure;
use self::fetch::Fetching;
use self::head::{Head, redirect};
use self::lookups::Lookups;
use self::request::{Asked, ContentPath, Format};
use self::routing::Provider;
use self::source::Source;
use super::connections::{Connections, Place, Pool};
use super::hosts;
use super::http::{Server, plain};
use super::limits::{Config, Gateway};
use super::strangers::Memory;
use crate::content::{CONTENT_DIR, ContentReader};
use crate::runtime::Handle;

/// Memory for one answer: a block, chunks on their way, links that wait to be followed, and the blocks sent before.
const ANSWER_BYTES: usize = 8 << 20;
/// The content that is served, and what all answers share.
pub(super) struct Served {
    dir: PathBuf,
    handle: Handle,
    /// Whether as files and sites too.
    has_files: bool,
    provider: Provider,
    memory: Memory,
    turn: Arc<Mutex<()>>,
    /// If what is not here may be fetched.
    fetching: Option<Fetching>,
}

impl Served {
    /// The content of a node whose server listens at `address`; `None` if none is to be served.
    pub(super) fn new(
        config: &Config,
        handle: &Handle,
        address: SocketAddr,
        connections: &Arc<Connections>,
        fetching: Option<Fetching>,
    ) -> Option<Arc<Self>> {
        let has_files = match config.gateway {
            Gateway::Off => return None,
            Gateway::Trustless => false,
            Gateway::Files => true,
        };
        let memory = config.limits.downloads * ANSWER_BYTES;
        Some(Arc::new(Self {
            dir: config.data_dir.join(CONTENT_DIR),
            handle: handle.clone(),
            has_files,
            provider: Provider::new(handle.id(), address, Lookups::new(handle.clone()), fetching.is_some()),
            memory: Memory::new(Pool::Content, memory, ANSWER_BYTES, Arc::clone(connections)),
            turn: Arc::default(),
            fetching,
        }))
    }

    /// What is here: the store, and the headers of the chain.
    fn reader(&self) -> Result<ContentReader, Failure> {
        Ok(ContentReader::open(&self.dir)?.with_headers(self.handle.tree()))
    }

    /// The node in the form of a peer id.
    pub(super) fn peer_id(&self) -> String {
        self.provider.text().unwrap_or_default()
    }

    /// Whether a host name such as `CID.ipfs.localhost` is a site's: the CID's text. `allowed` are names of the node.
    pub(super) fn site_of(&self, headers: &HeaderMap, allowed: &[String]) -> Option<String> {
        hosts::site(headers, allowed).filter(|_| self.has_files)
    }
}

/// The routes.
pub(super) fn routes(served: Option<&Arc<Served>>) -> Router<Arc<Server>> {
    let Some(served) = served.cloned() else { return Router::new() };
    let located = Arc::clone(&served);
    let locate = move |request: Request| {
        let served = Arc::clone(&located);
        async move { routing::serve(&served, request).await }
    };
    let answer = move |Extension(place): Extension<Place>, request: Request| {
        let served = Arc::clone(&served);
        async move {
            match by_path(&served, &request) {
                Ok(Step::Answer(asked)) => answer(&served, place, *asked).await,
                Ok(Step::Redirect(to)) => redirect(StatusCode::MOVED_PERMANENTLY, &to),
                Err(failure) => refuse(&failure),
            }
        }
    };
    Router::new().route("/ipfs/{*path}", any(answer)).route("/routing/v1/{*path}", any(locate))
}

/// What is to be done for a request.
enum Step {
    Answer(Box<Asked>),
    Redirect(String),
}

/// `/ipfs/CID[/path]`. A file or directory moves from `localhost` to a host of its own, as does a site's storage and
/// whatever its scripts may read.
fn by_path(served: &Served, request: &Request) -> Result<Step, Failure> {
    let (uri, headers) = (request.uri(), request.headers());
    let text = uri.path();
    let path = ContentPath::parse(text.strip_prefix("/ipfs/").unwrap_or_default())?;
    let root = path.root;
    let asked = ask(path, text.to_owned(), false, request)?;
    if asked.format != Format::Plain || !served.has_files {
        return Ok(Step::Answer(asked.into()));
    }
    if runs(headers) {
        let text = "scripts and styles are not served under the node's own name".to_owned();
        return Err(Failure::Refused { status: StatusCode::FORBIDDEN, text });
    }
    let Some(host) = hosts::localhost(headers) else { return Ok(Step::Answer(asked.into())) };
    let label = root.to_v1().to_string();
    check_label(&label)?;
    let is_https = headers.get("x-forwarded-proto").is_some_and(|proto| proto == "https");
    let scheme = if is_https { "https" } else { "http" };
    let below = text.split('/').skip(3).collect::<Vec<_>>().join("/");
    let query = uri.query().map_or_else(String::new, |query| format!("?{query}"));
    Ok(Step::Redirect(format!("{scheme}://{label}.ipfs.{host}/{below}{query}")))
}

/// A request under a site's host name.
pub(super) async fn by_host(served: &Arc<Served>, label: &str, place: Place, request: Request) -> Response {
    let text = request.uri().path();
    let asked = check_label(label).and_then(|()| {
        let root = label.parse().map_err(|error| Failure::bad(format!("{label} is no CID of a site: {error}")))?;
        let path = ContentPath::below(root, Some(text.strip_prefix('/').unwrap_or(text)))?;
        ask(path, format!("/ipfs/{root}{text}"), true, &request)
    });
    drop(request);
    match asked {
        Ok(asked) => answer(served, place, asked).await,
        Err(failure) => refuse(&failure),
    }
}

/// RFC 1035, 2.3.4.
fn check_label(label: &str) -> Result<(), Failure> {
    if label.len() <= 63 {
        return Ok(());
    }
    Err(Failure::bad(format!("CID incompatible with DNS label length limit of 63: {label}")))
}

/// Whether a page loads something that would run in it, or change it. Pages of the node and those of content that are
/// reached by its address have one origin, and none may use the other.
fn runs(headers: &HeaderMap) -> bool {
    let kinds = ["script", "style", "worker", "sharedworker", "serviceworker", "xslt"];
    let names = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    names("sec-fetch-dest").is_some_and(|kind| kinds.contains(&kind)) || names("service-worker").is_some()
}

fn ask(path: ContentPath, text: String, is_site: bool, request: &Request) -> Result<Asked, Failure> {
    let is_head = request.method() == Method::HEAD;
    if !is_head && request.method() != Method::GET {
        let text = "content is read with GET and HEAD".to_owned();
        return Err(Failure::Refused { status: StatusCode::METHOD_NOT_ALLOWED, text });
    }
    Asked::new(path, text, is_site, request.uri(), request.headers(), is_head)
}

fn refuse(failure: &Failure) -> Response {
    let status = failure.status();
    let mut response = plain(status, &failure.text());
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

/// Makes an answer on a blocking thread.
async fn answer(served: &Arc<Served>, place: Place, asked: Asked) -> Response {
    let Some(share) = served.memory.reserve().await else {
        let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "too many requests for content: try again later");
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
        return response;
    };
    let (told, beginning) = oneshot::channel();
    let served = Arc::clone(served);
    tokio::task::spawn_blocking(move || {
        let _share = share;
        let planned = served.reader().and_then(|reader| {
            let fetching = served.fetching.clone().filter(|_| !asked.only_if_cached);
            let mut source = Source::new(reader, Arc::clone(&served.turn), fetching);
            Ok((plan(&mut source, &asked, served.has_files)?, source))
        });
        match planned {
            Ok(((head, Content::Nothing), _)) => drop(told.send(Ok(head))),
            Ok(((head, _), _)) if asked.is_head => drop(told.send(Ok(head))),
            Ok(((head, content), mut source)) => {
                let mut sink = stream::begin(head, told, &place, ANSWER_BYTES);
                match content.write(&mut source, &mut sink) {
                    // Fails if the caller is gone.
                    Ok(()) => drop(sink.finish()),
                    Err(failure) => {
                        tracing::debug!(error = %failure, "an answer of the gateway breaks off");
                        sink.fail(failure);
                    }
                }
            }
            Err(failure) => drop(told.send(Err(failure))),
        }
    });
    match beginning.await {
        Ok(Ok(response)) => response,
        Ok(Err(failure)) => refuse(&failure),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the request failed inside this node"),
    }
}

/// Decides what the answer is, and reads as much as that takes.
fn plan(source: &mut Source, asked: &Asked, has_files: bool) -> Result<(Response, Content), Failure> {
    if asked.only_if_cached && !source.has(&asked.path.root)? {
        return Err(Failure::Refused {
            status: StatusCode::PRECONDITION_FAILED,
            text: format!("the block {} is not here", asked.path.root),
        });
    }
    match asked.format {
        Format::Raw => raw(source, asked, has_files),
        Format::Car { scope, dups } => {
            let found = source.follow(&asked.path)?;
            car_answer(source, asked, Car { found, scope, dups })
        }
        Format::Plain if has_files => files::plan(source, asked),
        Format::Plain => Err(unverifiable()),
    }
}

fn unverifiable() -> Failure {
    let text = "this gateway serves blocks and CARs: ask for ?format=raw or ?format=car".to_owned();
    Failure::Refused { status: StatusCode::NOT_ACCEPTABLE, text }
}

/// A block, or a part of one.
fn raw(source: &mut Source, asked: &Asked, has_files: bool) -> Result<(Response, Content), Failure> {
    if !asked.path.names.is_empty() && !has_files {
        let text = "a block has no path: ask for its CID, or for ?format=car".to_owned();
        return Err(Failure::Refused { status: StatusCode::NOT_ACCEPTABLE, text });
    }
    let found = source.follow(&asked.path)?;
    let cid = found.end;
    let block = source.get(&cid)?;
    let tag = format!("\"{cid}.raw\"");
    let mut head = Head::new(asked, &found.roots, &tag);
    head.attach(asked, &cid, "bin");
    head.set(header::CONTENT_TYPE, "application/vnd.ipld.raw");
    if asked.has(&tag) {
        return Ok((head.not_modified(), Content::Nothing));
    }
    let size = block.bytes().len();
    let (response, range) = head.part(asked, size as u64, &tag);
    let place = |at: u64| usize::try_from(at).unwrap_or(size);
    let content = range.map_or(Content::Nothing, |range| Content::Bytes(block, place(range.start)..place(range.end)));
    Ok((response, content))
}

fn car_answer(source: &mut Source, asked: &Asked, car: Car) -> Result<(Response, Content), Failure> {
    // Depends on all that decides which blocks come, and in which order.
    let kind = Sha256::digest(format!("{:?} {:?} {:?}", asked.path.names, car.scope, car.dups));
    let tag = format!("W/\"{}.car.{}\"", car.found.end, hex::encode(&kind[..8]));
    let mut head = Head::new(asked, &car.found.roots, &tag);
    head.attach(asked, &car.found.end, "car");
    let dups = if car.dups { "y" } else { "n" };
    head.set(header::CONTENT_TYPE, &format!("application/vnd.ipld.car; version=1; order=dfs; dups={dups}"));
    head.set(header::ACCEPT_RANGES, "none");
    car.check(source)?;
    if asked.has(&tag) {
        return Ok((head.not_modified(), Content::Nothing));
    }
    Ok((head.whole(None), Content::Car(car)))
}
