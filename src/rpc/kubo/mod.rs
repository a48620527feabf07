//! `POST /api/v0/COMMAND`: the part of [Kubo's RPC](https://docs.ipfs.tech/reference/kubo/rpc/) that reads and changes
//! content, for the owner. Statuses and texts are Kubo's where clients look at them.

mod add;
mod multipart;
mod read;
mod tar;

use std::io::{self, Read};
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use axum::{Extension, Router};
use futures_util::StreamExt;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use self::multipart::Multipart;
use super::connections::Place;
use super::gateway::failure::Failure;
use super::gateway::stream::{self, Sink};
use super::http::{self, Server, plain};
use super::limits::{Config, Gateway};
use crate::content::{CONTENT_DIR, ContentReader, ContentStore, STORE_PATIENCE};
use crate::ipld::Cid;
use crate::runtime::Handle;

/// Whose commands these are: clients choose by it what they may send.
const VERSION: &str = "0.40.1";

/// Where answers go.
type Out = Sink;

/// How an answer looks to clients.
#[derive(Clone, Copy)]
enum Answer {
    Json,
    /// Lines of JSON.
    Lines,
    Bytes,
}

struct Command {
    name: &'static str,
    answer: Answer,
    /// What `arg` is, if one is needed.
    argument: Option<&'static str>,
    run: fn(&Call, &mut dyn Read, &mut Out) -> Result<(), Failure>,
}

/// All commands.
const COMMANDS: [Command; 14] = [
    Command { name: "add", answer: Answer::Lines, argument: None, run: add::add },
    Command { name: "block/get", answer: Answer::Bytes, argument: Some("cid"), run: read::block_get },
    Command { name: "block/put", answer: Answer::Json, argument: None, run: add::block_put },
    Command { name: "block/stat", answer: Answer::Json, argument: Some("cid"), run: read::block_stat },
    Command { name: "cat", answer: Answer::Bytes, argument: Some("ipfs-path"), run: read::cat },
    Command { name: "dag/export", answer: Answer::Bytes, argument: Some("root"), run: read::dag_export },
    Command { name: "dag/import", answer: Answer::Lines, argument: None, run: add::dag_import },
    Command { name: "get", answer: Answer::Bytes, argument: Some("ipfs-path"), run: read::get },
    Command { name: "id", answer: Answer::Json, argument: None, run: read::id },
    Command { name: "ls", answer: Answer::Json, argument: Some("ipfs-path"), run: read::ls },
    Command { name: "pin/add", answer: Answer::Json, argument: Some("ipfs-path"), run: read::pin_add },
    Command { name: "pin/ls", answer: Answer::Json, argument: None, run: read::pin_ls },
    Command { name: "pin/rm", answer: Answer::Json, argument: Some("ipfs-path"), run: read::pin_rm },
    Command { name: "version", answer: Answer::Json, argument: None, run: read::version },
];

/// The content, for its owner.
struct Owned {
    dir: PathBuf,
    max_bytes: u64,
    peer_id: String,
    handle: Handle,
    /// Held by the call that changes the store; another process is kept out by the store's own lock.
    changing: Mutex<()>,
    body_timeout: Duration,
}

/// The routes. `peer_id` is how the node is called in `id`.
pub(super) fn routes(config: &Config, peer_id: String, handle: &Handle) -> Router<Arc<Server>> {
    if config.gateway == Gateway::Off {
        return Router::new();
    }
    let owned = Arc::new(Owned {
        dir: config.data_dir.join(CONTENT_DIR),
        max_bytes: config.content_max,
        peer_id,
        handle: handle.clone(),
        changing: Mutex::default(),
        body_timeout: config.limits.body_timeout,
    });
    let call = move |State(server): State<Arc<Server>>,
                     Extension(place): Extension<Place>,
                     Path(command): Path<String>,
                     request: Request| {
        let owned = Arc::clone(&owned);
        async move { answer(owned, &server, place, &command, request).await }
    };
    Router::new().route("/api/v0/{*command}", any(call))
}

/// A call's options.
struct Call<'a> {
    owned: &'a Owned,
    query: Vec<(String, String)>,
    content_type: String,
}

/// The store while a call changes it.
struct Changing<'a> {
    store: ContentStore,
    _turn: MutexGuard<'a, ()>,
}

impl Deref for Changing<'_> {
    type Target = ContentStore;

    fn deref(&self) -> &ContentStore {
        &self.store
    }
}

impl DerefMut for Changing<'_> {
    fn deref_mut(&mut self) -> &mut ContentStore {
        &mut self.store
    }
}

impl Call<'_> {
    fn option(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    fn flag(&self, name: &str, default: bool) -> bool {
        // ipfshttpclient writes them as Python does.
        self.option(name).map_or(default, |text| text.is_empty() || text.eq_ignore_ascii_case("true") || text == "1")
    }

    fn arguments(&self) -> impl Iterator<Item = &str> {
        self.query.iter().filter(|(key, _)| key == "arg").map(|(_, value)| value.as_str())
    }

    fn reader(&self) -> Result<ContentReader, Failure> {
        Ok(ContentReader::open(&self.owned.dir)?.with_headers(self.owned.handle.tree()))
    }

    /// The store, to change it, when the calls before have done so.
    fn store(&self) -> Result<Changing<'_>, Failure> {
        let turn = self.owned.changing.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Changing {
            store: ContentStore::open_within(&self.owned.dir, self.owned.max_bytes, STORE_PATIENCE)?,
            _turn: turn,
        })
    }

    fn id(&self) -> &str {
        &self.owned.peer_id
    }

    fn parts<'b>(&self, body: &'b mut dyn Read) -> Result<Multipart<&'b mut dyn Read>, Failure> {
        let wrong = || Failure::bad("the body has to be multipart/form-data".to_owned());
        Multipart::new(body, &self.content_type).ok_or_else(wrong)
    }

    /// Where the paths lead that are given.
    fn paths(&self, reader: &ContentReader) -> Result<Vec<Cid>, Failure> {
        let follow = |path: &str| -> Result<Cid, Failure> {
            let bare = path.strip_prefix("/ipfs/").or_else(|| path.strip_prefix("ipfs://")).unwrap_or(path);
            let (root, names) = bare.split_once('/').unwrap_or((bare, ""));
            let failed = |error| Failure::Failed { text: format!("invalid path \"{path}\": {error}") };
            Ok(reader.resolve(root.parse().map_err(failed)?, names.as_bytes())?)
        };
        self.arguments().map(follow).collect()
    }
}

/// A request's body, as a blocking thread reads it.
struct Incoming {
    chunks: mpsc::Receiver<io::Result<Bytes>>,
    now: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.now.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.now = chunk?,
                None => return Ok(0),
            }
        }
        let count = self.now.len().min(into.len());
        into[..count].copy_from_slice(&self.now.split_to(count));
        Ok(count)
    }
}

/// Hands a body on, chunk by chunk, as long as it is read.
async fn pump(body: Body, chunks: mpsc::Sender<io::Result<Bytes>>, patience: Duration) {
    let mut stream = body.into_data_stream();
    loop {
        let chunk = match tokio::time::timeout(patience, stream.next()).await {
            Ok(None) => return,
            Ok(Some(chunk)) => chunk.map_err(io::Error::other),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        };
        let is_last = chunk.is_err();
        if chunks.send(chunk).await.is_err() || is_last {
            return;
        }
    }
}

async fn answer(owned: Arc<Owned>, server: &Server, place: Place, command: &str, request: Request) -> Response {
    if request.method() != Method::POST {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "405 - Method Not Allowed");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let headers = request.headers();
    if let Err(refusal) = http::authorize(server, headers).await {
        return refusal;
    }
    place.mark_owner();
    let Ok(_permit) = server.requests.try_acquire() else {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "Work queue depth exceeded");
    };
    let Some(command) = COMMANDS.iter().find(|known| known.name == command) else {
        return plain(StatusCode::NOT_FOUND, "404 page not found");
    };
    let Ok(Query(query)) = Query::<Vec<(String, String)>>::try_from_uri(request.uri()) else {
        return plain(StatusCode::BAD_REQUEST, "the query cannot be read");
    };
    if let Some(argument) = command.argument.filter(|_| !query.iter().any(|(key, _)| key == "arg")) {
        return plain(StatusCode::BAD_REQUEST, &format!("argument \"{argument}\" is required"));
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let (chunks, received) = mpsc::channel(4);
    tokio::spawn(pump(request.into_body(), chunks, owned.body_timeout));
    let (told, beginning) = oneshot::channel();
    tokio::task::spawn_blocking(move || {
        let call = Call { owned: &owned, query, content_type };
        let mut body = Incoming { chunks: received, now: Bytes::new() };
        let mut out = stream::begin(head(command.answer), told, &place, 0);
        match (command.run)(&call, &mut body, &mut out) {
            // Fails if the caller is gone.
            Ok(()) => drop(out.finish()),
            Err(failure) => out.fail(failure),
        }
    });
    match beginning.await {
        Ok(Ok(response)) => response,
        Ok(Err(failure)) => refuse(&failure),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the call failed inside this node"),
    }
}

fn head(answer: Answer) -> Response {
    let mut response = Response::new(Body::empty());
    let (kind, name) = match answer {
        Answer::Json => ("application/json", None),
        Answer::Lines => ("application/json", Some("x-chunked-output")),
        Answer::Bytes => ("text/plain", Some("x-stream-output")),
    };
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Some(name) = name {
        response.headers_mut().insert(name, HeaderValue::from_static("1"));
    }
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A wrong call is 400 as text, what a command cannot do 500 as JSON: clients tell them apart.
fn refuse(failure: &Failure) -> Response {
    match failure {
        Failure::Refused { status, text } => plain(*status, text),
        failure => {
            let text = json!({ "Message": failure.text(), "Code": 0, "Type": "error" }).to_string();
            http::json(StatusCode::INTERNAL_SERVER_ERROR, (text + "\n").into())
        }
    }
}
