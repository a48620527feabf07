//! The explorer: a page, served by the node itself, that shows the chain, the mempool and the network as they change.
//!
//! The page reads by `POST /public`, which carries out public methods without credentials
//! ([`Access::Public`](super::methods::Access::Public)), and learns from `GET /events` when to read again. Calls that
//! change something go to `POST /` with the owner's credentials. The page loads nothing from other hosts, which its
//! Content-Security-Policy enforces.

#[cfg(feature = "webrtc")]
mod light;

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use sha2::{Digest, Sha256};

use super::http::{self, Server, plain};

/// Only the page's own files and this node, and nothing in the text of a page can run (CSP level 3).
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// A file of the page.
struct Asset {
    name: &'static str,
    kind: &'static str,
    content: &'static str,
    tag: HeaderValue,
    policy: HeaderValue,
}

/// The files under `assets/`, by name. Each is part of the binary.
macro_rules! assets {
    ($($name:literal),* $(,)?) => {
        vec![$(Asset::new($name, include_str!(concat!("assets/", $name)))),*]
    };
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    assets![
        "address.js",
        "bands.js",
        "block.js",
        "blocks.js",
        "chain.js",
        "charts.js",
        "content.js",
        "dag.js",
        "dom.js",
        "encoding.js",
        "format.js",
        "icon.svg",
        "index.html",
        "keys.js",
        "links.js",
        "list.js",
        "live.js",
        "main.js",
        "mempool.js",
        "owner.js",
        "peers.js",
        "plot.js",
        "proof.js",
        "rpc.js",
        "search.js",
        "sha256.js",
        "spends.js",
        "style.css",
        "theme.js",
        "transaction.js",
        "tree.js",
        "verify.js",
    ]
});

/// The verifier of receipts. The page works from a disk as well, so it brings its own policy, all but what only a header can say.
static VERIFIER: LazyLock<Asset> = LazyLock::new(|| Asset {
    policy: HeaderValue::from_static("frame-ancestors 'none'"),
    ..Asset::new("verify.html", include_str!("../../../verify.html"))
});

impl Asset {
    fn new(name: &'static str, content: &'static str) -> Self {
        let kind = match name.rsplit_once('.') {
            Some((_, "html")) => "text/html; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            _ => "text/javascript; charset=utf-8",
        };
        let digest = hex::encode(&Sha256::digest(content)[..16]);
        let tag = HeaderValue::from_str(&format!("\"{digest}\"")).expect("hex digits may stand in a header");
        Self { name, kind, content, tag, policy: POLICY }
    }

    /// The file, or 304 for a browser that has it.
    fn answer(&self, headers: &HeaderMap) -> Response {
        let known = headers.get_all(header::IF_NONE_MATCH).iter().any(|tag| *tag == self.tag);
        let (status, body) = match known {
            true => (StatusCode::NOT_MODIFIED, Body::empty()),
            false => (StatusCode::OK, Body::from(self.content)),
        };
        let mut response = (status, body).into_response();
        let fixed = HeaderValue::from_static;
        for (name, value) in [
            (header::CONTENT_TYPE, fixed(self.kind)),
            (header::ETAG, self.tag.clone()),
            // Cached, but revalidated each time, because an updated node may have a new page.
            (header::CACHE_CONTROL, fixed("no-cache")),
            (header::CONTENT_SECURITY_POLICY, self.policy.clone()),
            (header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff")),
            (header::REFERRER_POLICY, fixed("no-referrer")),
        ] {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// The routes besides `/` itself, which is the page to a GET and JSON-RPC to a POST.
pub(super) fn routes(server: &Server) -> Router<Arc<Server>> {
    let routes = Router::new()
        .route("/assets/{name}", get(asset))
        .route("/verify.html", get(async |headers: HeaderMap| VERIFIER.answer(&headers)))
        .route("/public", post(http::call_public));
    #[cfg(feature = "webrtc")]
    let routes = routes.merge(light::routes(server.api.params(), server.api.handle.webrtc_at()));
    #[cfg(not(feature = "webrtc"))]
    let _ = server;
    routes
}

/// `GET /`: the explorer's page.
pub(super) async fn page(headers: HeaderMap) -> Response {
    find("index.html", &headers)
}

async fn asset(Path(name): Path<String>, headers: HeaderMap) -> Response {
    find(&name, &headers)
}

fn find(name: &str, headers: &HeaderMap) -> Response {
    match ASSETS.iter().find(|asset| asset.name == name) {
        Some(asset) => asset.answer(headers),
        None => plain(StatusCode::NOT_FOUND, "no such file"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_in_the_binary() {
        let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rpc/explorer/assets");
        let mut there: Vec<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        there.sort();
        let mut embedded: Vec<&str> = ASSETS.iter().map(|asset| asset.name).collect();
        embedded.sort_unstable();
        assert_eq!(embedded, there);
    }
}
