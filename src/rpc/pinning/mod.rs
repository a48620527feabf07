//! `/pins`: the [pinning service API](https://ipfs.github.io/pinning-services-api-spec/), for the owner, so that `ipfs pin
//! remote` and web tools have this node fetch and keep content.

mod date;
mod model;
mod service;

use std::sync::Arc;

use axum::body::to_bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use axum::routing::any;
use axum::{Extension, Router};
use serde_json::{Value, json};

use self::model::{Filter, Pin};
use self::service::Service;
use super::auth;
use super::connections::Place;
use super::http::{self, Server};
use super::limits::{Config, Gateway};
use crate::content::ContentError;

/// Bytes of a request's body: the most that a pin may have, with room.
const MAX_BODY: usize = 512 << 10;

/// Why a call fails, in the words of the API's description.
struct Refusal {
    status: StatusCode,
    reason: &'static str,
    details: String,
}

impl Refusal {
    fn bad(details: impl Into<String>) -> Self {
        Self { status: StatusCode::BAD_REQUEST, reason: "BAD_REQUEST", details: details.into() }
    }

    fn not_found() -> Self {
        let details = "there is no such request".to_owned();
        Self { status: StatusCode::NOT_FOUND, reason: "NOT_FOUND", details }
    }

    fn answer(&self) -> Response {
        let error = json!({ "error": { "reason": self.reason, "details": self.details } });
        http::json(self.status, error.to_string().into())
    }
}

impl From<ContentError> for Refusal {
    fn from(error: ContentError) -> Self {
        tracing::error!(%error, "pinning");
        let details = "the request cannot be kept: the node's log says why".to_owned();
        Self { status: StatusCode::INTERNAL_SERVER_ERROR, reason: "INTERNAL_SERVER_ERROR", details }
    }
}

struct Served {
    service: Service,
    /// Where this node is, as multiaddrs.
    delegates: Vec<String>,
}

/// The routes. `delegate` is where the node's gateway is, as a multiaddr. Called within the runtime.
pub(super) fn routes(config: &Config, server: &Server, delegate: String) -> Router<Arc<Server>> {
    if config.gateway == Gateway::Off {
        return Router::new();
    }
    let (handle, fetches) = (server.api.handle.clone(), server.api.fetches.clone());
    let service =
        Service::new(handle, fetches, &config.data_dir, config.content_max, server.api.stopping_token().child_token());
    let served = Arc::new(Served { service, delegates: vec![delegate] });
    let all = Arc::clone(&served);
    let list = move |State(server): State<Arc<Server>>, Extension(place): Extension<Place>, request: Request| {
        let served = Arc::clone(&all);
        async move { answer(&served, &server, &place, None, request).await }
    };
    let one = move |State(server): State<Arc<Server>>,
                    Extension(place): Extension<Place>,
                    Path(id): Path<String>,
                    request: Request| {
        let served = Arc::clone(&served);
        async move { answer(&served, &server, &place, Some(id), request).await }
    };
    Router::new().route("/pins", any(list)).route("/pins/{id}", any(one))
}

/// The credentials of a bearer token, as HTTP Basic has them: `USER:PASSWORD`, or that in base64.
fn basic_of(headers: &HeaderMap) -> Option<String> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = Some(token.trim()).filter(|_| scheme.eq_ignore_ascii_case("bearer"))?;
    Some(if token.contains(':') { auth::basic(token) } else { format!("Basic {token}") })
}

async fn answer(served: &Served, server: &Server, place: &Place, id: Option<String>, request: Request) -> Response {
    let mut headers = HeaderMap::new();
    if let Some(basic) = basic_of(request.headers()).and_then(|basic| HeaderValue::from_str(&basic).ok()) {
        headers.insert(header::AUTHORIZATION, basic);
    } else if request.headers().contains_key(header::AUTHORIZATION) {
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static("none"));
    }
    if http::authorize(server, &headers).await.is_err() {
        let details = "the token is USER:PASSWORD of the RPC, as in the cookie file".to_owned();
        let refusal = Refusal { status: StatusCode::UNAUTHORIZED, reason: "UNAUTHORIZED", details };
        let mut response = refusal.answer();
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        return response;
    }
    place.mark_owner();
    let _busy = place.busy();
    let Ok(_permit) = server.requests.try_acquire() else {
        let details = "too many requests are being answered".to_owned();
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return Refusal { status, reason: "SERVICE_UNAVAILABLE", details }.answer();
    };
    match call(served, server, id, request).await {
        Ok((status, Some(value))) => http::json(status, value.to_string().into()),
        Ok((status, None)) => {
            let mut response = Response::default();
            *response.status_mut() = status;
            response
        }
        Err(refusal) => refusal.answer(),
    }
}

async fn call(
    served: &Served,
    server: &Server,
    id: Option<String>,
    request: Request,
) -> Result<(StatusCode, Option<Value>), Refusal> {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    match (method, id) {
        (Method::GET, None) => {
            let query = Query::<Vec<(String, String)>>::try_from_uri(&uri).map_err(|e| Refusal::bad(e.to_string()))?;
            let filter = Filter::read(&query.0).map_err(Refusal::bad)?;
            let (count, requests) = served.service.list(&filter);
            let results: Vec<Value> = requests.iter().map(|request| request.view(&served.delegates)).collect();
            Ok((StatusCode::OK, Some(json!({ "count": count, "results": results }))))
        }
        (Method::GET, Some(id)) => {
            let request = served.service.get(&id).ok_or_else(Refusal::not_found)?;
            Ok((StatusCode::OK, Some(request.view(&served.delegates))))
        }
        (Method::POST, old) => {
            if let Some(old) = &old {
                served.service.get(old).ok_or_else(Refusal::not_found)?;
            }
            let body = tokio::time::timeout(server.limits.body_timeout, to_bytes(request.into_body(), MAX_BODY)).await;
            let body = body.map_err(|_| Refusal::bad("the body did not arrive in time"))?;
            let body = body.map_err(|error| Refusal::bad(error.to_string()))?;
            let (pin, _) = Pin::read(&body).map_err(Refusal::bad)?;
            let service = served.service.clone();
            let request = blocking(move || {
                let request = service.add(pin)?;
                // After the new one, so that what both have is not taken away between.
                if let (Some(_), Some(old)) = (&request, old) {
                    service.remove(&old)?;
                }
                Ok(request)
            })
            .await?;
            let request = request.ok_or_else(|| Refusal {
                status: StatusCode::CONFLICT,
                reason: "INSUFFICIENT_FUNDS",
                details: "this node keeps no more requests: delete some".to_owned(),
            })?;
            Ok((StatusCode::ACCEPTED, Some(request.view(&served.delegates))))
        }
        (Method::DELETE, Some(id)) => {
            let service = served.service.clone();
            match blocking(move || service.remove(&id)).await? {
                true => Ok((StatusCode::ACCEPTED, None)),
                false => Err(Refusal::not_found()),
            }
        }
        _ => Err(Refusal {
            status: StatusCode::METHOD_NOT_ALLOWED,
            reason: "METHOD_NOT_ALLOWED",
            details: "the API has no such call".to_owned(),
        }),
    }
}

/// Carries out what waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ContentError> + Send + 'static,
) -> Result<T, Refusal> {
    match tokio::runtime::Handle::current().spawn_blocking(work).await {
        Ok(done) => done.map_err(Refusal::from),
        Err(_) => Err(Refusal {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            reason: "INTERNAL_SERVER_ERROR",
            details: "the call failed inside this node".to_owned(),
        }),
    }
}
