//! Calls over HTTP: authorization, bounds, and status codes.

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::{Body, Bytes, HttpBody, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use tokio::sync::Semaphore;

use super::Api;
use super::auth::Credentials;
use super::connections::{Connections, Place};
use super::error::{Code, RpcError};
use super::jsonrpc::{self, Outcome, Parsed};
use super::limits::{Limits, PublicLimits};
use super::methods::{self, Access};
use super::strangers::{Memory, Usage};
use crate::primitives::amount::counted;

/// Delay of the answer to wrong credentials, which slows down guessing (Bitcoin Core's 250 ms).
const REFUSAL_DELAY: Duration = Duration::from_millis(250);

/// What all requests to a server share.
pub(super) struct Server {
    pub(super) api: Api,
    pub(super) credentials: Credentials,
    pub(super) allow_hosts: Vec<String>,
    pub(super) connections: Arc<Connections>,
    /// The owner's requests.
    pub(super) requests: Semaphore,
    /// Memory of requests without credentials.
    pub(super) memory: Memory,
    /// Scrapes of `/metrics`: one at a time, so that they need no share of that memory.
    pub(super) scrapes: Arc<Semaphore>,
    pub(super) limits: Limits,
}

impl Server {
    /// What callers without credentials cost.
    pub(super) fn usage(&self) -> Usage {
        let (node_calls, node_time) = self.api.turns.taken();
        Usage { memory: self.memory.taken(), node_calls, node_time }
    }

    /// Answers a caller without credentials, within the memory that all such callers share. The text that `work`
    /// returns is counted until it is read. Refuses if other callers hold all the memory.
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
        let ((status, text), share) = run_blocking(async move { (work.await, share) }).await?;
        Ok((status, text.map(|text| share.body(text, place))))
    }
}

/// Runs the work of a caller without credentials on a blocking thread, so that serialising long answers does not occupy
/// the threads of other callers. If the caller hangs up, the work and the memory that it holds still continue to its
/// end.
pub(super) async fn run_blocking<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Response> {
    let runtime = tokio::runtime::Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(work)).await.map_err(|error| {
        tracing::error!(%error, "a call without credentials failed inside this node");
        plain(StatusCode::INTERNAL_SERVER_ERROR, "the call failed inside this node")
    })
}

/// Checks a request's credentials.
pub(super) async fn authorize(server: &Server, headers: &HeaderMap) -> Result<(), Response> {
    match headers.get(header::AUTHORIZATION).map(HeaderValue::to_str) {
        Some(Ok(authorization)) if server.credentials.allow(authorization) => Ok(()),
        None => Err(unauthorized()),
        Some(_) => {
            tracing::warn!("an RPC call with wrong credentials");
            tokio::time::sleep(REFUSAL_DELAY).await;
            Err(unauthorized())
        }
    }
}

/// `POST /`: calls with credentials.
pub(super) async fn call(
    State(server): State<Arc<Server>>,
    Extension(place): Extension<Place>,
    request: Request,
) -> Response {
    if request.method() != Method::POST {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "JSONRPC server handles only POST requests");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    if let Err(refusal) = authorize(&server, request.headers()).await {
        return refusal;
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
    let bounds = Bounds { public_only: false, batch: limits.batch, answer_bytes: limits.answer_bytes };
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
    let bounds = Bounds { public_only: true, batch, answer_bytes };
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
    /// Whether it may call only methods that need no credentials.
    public_only: bool,
    batch: usize,
    answer_bytes: usize,
}

/// A request's body, or the error to return.
async fn read_body(request: Request, most: usize, within: Duration) -> Result<Bytes, Response> {
    let too_long = || plain(StatusCode::PAYLOAD_TOO_LARGE, &format!("a request may have {}", counted(most, "byte")));
    // A body too long by its Content-Length is refused without reading it.
    if request.body().size_hint().lower() > most as u64 {
        return Err(too_long());
    }
    match tokio::time::timeout(within, to_bytes(request.into_body(), most)).await {
        Err(_) => Err(plain(StatusCode::REQUEST_TIMEOUT, "the request's body did not arrive in time")),
        Ok(Err(error)) if is_too_long(&error) => Err(too_long()),
        Ok(Err(error)) => Err(plain(StatusCode::BAD_REQUEST, &format!("cannot read the request: {error}"))),
        Ok(Ok(body)) => Ok(body),
    }
}

fn is_too_long(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|source| source.to_string().contains("length limit exceeded"))
}

/// A call's sender and its outcome.
type Answered = (jsonrpc::Caller, Outcome);

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
                // JSON-RPC 2.0 would require no answer, but an empty batch names no version: Bitcoin Core's choice.
                (true, false) => (StatusCode::OK, Some("[]".to_owned())),
                (false, _) => (StatusCode::OK, Some(answers + "]")),
            }
        }
    }
}

/// Whether `method` is one that needs no credentials.
fn is_public(method: &str) -> bool {
    methods::find(method).is_some_and(|method| method.access == Access::Public)
}

async fn run(bounds: Bounds, api: &Api, parsed: Parsed) -> Answered {
    match parsed {
        Ok(request) if bounds.public_only && !is_public(&request.method) => {
            let message = format!("{:?} needs credentials: use POST /", request.method);
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

/// The remaining calls of a batch whose answers have reached the limit.
fn refuse_rest(parsed: Parsed) -> Answered {
    let caller = match parsed {
        Ok(request) => request.caller,
        Err((caller, _)) => caller,
    };
    (
        caller,
        Err(RpcError::new(
            Code::Misc,
            "the batch's answers are too long, so this call was not made: use smaller batches",
        )),
    )
}

fn respond(status: StatusCode, headers: &[(HeaderName, &'static str)], body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    for (name, value) in headers {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

pub(super) fn json(status: StatusCode, body: Body) -> Response {
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
