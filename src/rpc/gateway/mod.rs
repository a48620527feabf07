//! `/ipfs/CID[/path]`: the content beside the chain over HTTP, by the specifications of a [trustless
//! gateway](https://specs.ipfs.tech/http-gateways/trustless-gateway/). It needs no credentials.
//!
//! A blocking thread makes each answer: it reads blocks, checks them, and writes them while the caller reads. A bounded
//! number of answers is made at a time. What is not in this store is not looked for elsewhere.

mod car;
mod failure;
mod request;
mod source;
mod stream;

use std::io::Write;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use axum::{Extension, Router};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use self::car::Car;
use self::failure::Failure;
use self::request::{Asked, ContentPath, Format, encode_percent};
use self::source::Source;
use self::stream::Sink;
use super::connections::{Connections, Place, Pool};
use super::http::{Server, plain};
use super::limits::{Config, Gateway};
use super::strangers::Memory;
use crate::content::{CONTENT_DIR, ContentReader};
use crate::ipld::{Block, Cid};

/// Memory for one answer: a block, chunks on their way, links that wait to be followed, and the blocks sent before.
const ANSWER_BYTES: usize = 8 << 20;
/// What is named by its hash never changes.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("public, max-age=29030400, immutable");
/// The longest list of roots in a header: Kubo takes headers of 1.5 kB from a gateway, but not of 3 kB.
const MAX_HEADER_BYTES: usize = 1_000;

/// What all answers share.
struct Shared {
    dir: PathBuf,
    memory: Memory,
    turn: Arc<Mutex<()>>,
}

/// The routes.
pub(super) fn routes(config: &Config, connections: &Arc<Connections>) -> Router<Arc<Server>> {
    if config.gateway == Gateway::Off {
        return Router::new();
    }
    let memory = config.limits.downloads * ANSWER_BYTES;
    let shared = Arc::new(Shared {
        dir: config.data_dir.join(CONTENT_DIR),
        memory: Memory::new(Pool::Content, memory, ANSWER_BYTES, Arc::clone(connections)),
        turn: Arc::default(),
    });
    let answer = move |Extension(place): Extension<Place>, request: Request| {
        let shared = Arc::clone(&shared);
        async move {
            match by_path(&request) {
                Ok(asked) => answer(&shared, place, asked).await,
                Err(failure) => refuse(&failure),
            }
        }
    };
    Router::new().route("/ipfs/{*path}", any(answer))
}

/// `/ipfs/CID[/path]`.
fn by_path(request: &Request) -> Result<Asked, Failure> {
    let text = request.uri().path();
    ask(ContentPath::parse(text.strip_prefix("/ipfs/").unwrap_or_default())?, text, request)
}

fn ask(path: ContentPath, text: &str, request: &Request) -> Result<Asked, Failure> {
    let is_head = request.method() == Method::HEAD;
    if !is_head && request.method() != Method::GET {
        let text = "content is read with GET and HEAD".to_owned();
        return Err(Failure::Refused { status: StatusCode::METHOD_NOT_ALLOWED, text });
    }
    Asked::new(path, text.to_owned(), request.uri(), request.headers(), is_head)
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
async fn answer(shared: &Shared, place: Place, asked: Asked) -> Response {
    let Some(share) = shared.memory.reserve().await else {
        let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "too many requests for content: try again later");
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
        return response;
    };
    let (told, beginning) = oneshot::channel();
    let (dir, turn) = (shared.dir.clone(), Arc::clone(&shared.turn));
    tokio::task::spawn_blocking(move || {
        let _share = share;
        let planned = ContentReader::open(&dir).map_err(Failure::from).and_then(|reader| {
            let mut source = Source::new(reader, turn);
            Ok((plan(&mut source, &asked)?, source))
        });
        match planned {
            Ok(((head, Content::Nothing), _)) => drop(told.send(Ok(head))),
            Ok(((head, _), _)) if asked.is_head => drop(told.send(Ok(head))),
            Ok(((head, content), source)) => write(content, source, stream::begin(head, told, &place, ANSWER_BYTES)),
            Err(failure) => drop(told.send(Err(failure))),
        }
    });
    match beginning.await {
        Ok(Ok(response)) => response,
        Ok(Err(failure)) => refuse(&failure),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the request failed inside this node"),
    }
}

/// What follows the headers.
enum Content {
    /// Nothing, or what is there already.
    Nothing,
    Bytes(Block, Range<usize>),
    Car(Car),
}

fn write(content: Content, mut source: Source, mut sink: Sink) {
    let written = match content {
        Content::Nothing => Ok(()),
        Content::Bytes(block, range) => {
            sink.write_all(block.bytes().get(range).unwrap_or_default()).map_err(Failure::from)
        }
        Content::Car(car) => car.write(&mut source, &mut sink),
    };
    match written {
        Ok(()) => drop(sink.finish()),
        Err(failure) => {
            tracing::debug!(error = %failure, "an answer of the gateway breaks off");
            sink.fail(failure);
        }
    }
}

/// Decides what the answer is, and reads as much as that takes.
fn plan(source: &mut Source, asked: &Asked) -> Result<(Response, Content), Failure> {
    if asked.only_if_cached && !source.has(&asked.path.root)? {
        return Err(Failure::Refused {
            status: StatusCode::PRECONDITION_FAILED,
            text: format!("the block {} is not here", asked.path.root),
        });
    }
    match asked.format {
        Format::Raw => raw(source, asked),
        Format::Car { scope, dups } => {
            let found = source.follow(&asked.path)?;
            car_answer(source, asked, Car { found, scope, dups })
        }
        Format::Plain => Err(unverifiable()),
    }
}

fn unverifiable() -> Failure {
    let text = "this gateway serves blocks and CARs: ask for ?format=raw or ?format=car".to_owned();
    Failure::Refused { status: StatusCode::NOT_ACCEPTABLE, text }
}

/// A block, or a part of one.
fn raw(source: &mut Source, asked: &Asked) -> Result<(Response, Content), Failure> {
    if !asked.path.names.is_empty() {
        let text = "a block has no path: ask for its CID, or for ?format=car".to_owned();
        return Err(Failure::Refused { status: StatusCode::NOT_ACCEPTABLE, text });
    }
    let cid = asked.path.root;
    let block = source.get(&cid)?;
    let tag = format!("\"{cid}.raw\"");
    let mut head = Head::new(asked, &[cid], &tag);
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

/// The status and headers of an answer.
struct Head(HeaderMap);

impl Head {
    /// The headers of all content.
    fn new(asked: &Asked, roots: &[Cid], tag: &str) -> Self {
        let mut head = Self(HeaderMap::new());
        head.0.insert(header::CACHE_CONTROL, CACHE_CONTROL);
        head.0.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        head.set(header::ETAG, tag);
        let roots: Vec<String> = roots.iter().map(Cid::to_string).collect();
        let optional = [("x-ipfs-path", asked.text.clone()), ("x-ipfs-roots", roots.join(","))];
        for (name, value) in optional.into_iter().filter(|(_, value)| value.len() <= MAX_HEADER_BYTES) {
            head.set(HeaderName::from_static(name), &value);
        }
        if let Some(location) = &asked.location {
            head.set(header::CONTENT_LOCATION, location);
        }
        head
    }

    /// Sets a header; one that no header can hold is left out.
    fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.0.insert(name, value);
        }
    }

    /// Lets a browser save it, under the name that the caller wishes or its CID.
    fn attach(&mut self, asked: &Asked, cid: &Cid, extension: &str) {
        let name = asked.file_name.clone().unwrap_or_else(|| format!("{cid}.{extension}"));
        self.set(header::CONTENT_DISPOSITION, &disposition("attachment", &name));
    }

    fn respond(self, status: StatusCode) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        *response.headers_mut() = self.0;
        response
    }

    /// 304: the caller has it.
    fn not_modified(mut self) -> Response {
        self.0.remove(header::CONTENT_TYPE);
        self.0.remove(header::CONTENT_DISPOSITION);
        self.respond(StatusCode::NOT_MODIFIED)
    }

    /// 200, with the length if it is known.
    fn whole(mut self, length: Option<u64>) -> Response {
        if let Some(length) = length {
            self.0.insert(header::CONTENT_LENGTH, length.into());
        }
        self.respond(StatusCode::OK)
    }

    /// All of so many bytes, or the range that is asked for: 200 or 206, or 416 with nothing to follow.
    fn part(mut self, asked: &Asked, size: u64, tag: &str) -> (Response, Option<Range<u64>>) {
        self.set(header::ACCEPT_RANGES, "bytes");
        match asked.range(size, tag) {
            None => (self.whole(Some(size)), Some(0..size)),
            Some(Ok(range)) => {
                let Range { start, end } = range;
                self.set(header::CONTENT_RANGE, &format!("bytes {start}-{}/{size}", end - 1));
                self.0.insert(header::CONTENT_LENGTH, (end - start).into());
                (self.respond(StatusCode::PARTIAL_CONTENT), Some(range))
            }
            Some(Err(())) => {
                let mut response = plain(StatusCode::RANGE_NOT_SATISFIABLE, "there are no such bytes");
                self.0 = HeaderMap::new();
                self.set(header::CONTENT_RANGE, &format!("bytes */{size}"));
                response.headers_mut().extend(self.0);
                (response, None)
            }
        }
    }
}

/// RFC 6266, with the name in ASCII for those who do not read RFC 8187.
fn disposition(kind: &str, name: &str) -> String {
    let plain = |c: char| if c.is_ascii_graphic() && !matches!(c, '"' | '\\') || c == ' ' { c } else { '_' };
    let ascii: String = name.chars().map(plain).collect();
    format!("{kind}; filename=\"{ascii}\"; filename*=UTF-8''{}", encode_percent(name.as_bytes()))
}
