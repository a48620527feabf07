//! `/routing/v1`: where content is, by the [delegated routing
//! API](https://specs.ipfs.tech/routing/http-routing-v1/). The node knows of one provider: its own gateway.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axum::extract::{Query, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::json;

use super::failure::Failure;
use super::refuse;
use crate::content::ContentReader;
use crate::ipld::{Cid, Codec, HashFunction};
use crate::p2p::kad::NodeId;
use crate::rpc::http::plain;

/// The multicodec of keys that name peers.
const LIBP2P_KEY: Codec = Codec(0x72);
/// Protobuf of a libp2p public key, before the 32 bytes of an Ed25519 one.
const ED25519_HEAD: [u8; 4] = [0x08, 0x01, 0x12, 0x20];
/// What a [trustless gateway](super) speaks.
const PROTOCOL: &str = "transport-ipfs-gateway-http";
const NDJSON: &str = "application/x-ndjson";

/// A record of the peer schema.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    schema: &'static str,
    #[serde(rename = "ID")]
    id: String,
    addrs: Vec<String>,
    protocols: [&'static str; 1],
}

/// The node as others find it.
pub(super) struct Provider {
    /// In the form of a peer id. It stands for the node's id and proves nothing: what a gateway serves proves itself.
    key: Option<Cid>,
    address: SocketAddr,
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Who has a block.
    Providers(Cid),
    /// How to reach a peer, which may be this node.
    Peer { is_own: bool },
}

impl Provider {
    /// `address` is where the server listens.
    pub(super) fn new(id: NodeId, address: SocketAddr) -> Self {
        let key = [&ED25519_HEAD[..], &id.0].concat();
        Self { key: Cid::from_digest(LIBP2P_KEY, HashFunction::Identity, &key), address }
    }

    /// Reads a request for `/routing/v1/providers/CID` or `/routing/v1/peers/ID`.
    ///
    /// # Errors
    /// 404 for other paths and methods, 422 for what is no CID.
    fn read(&self, request: &Request) -> Result<Wanted, Failure> {
        let no_route = || Failure::Refused { status: StatusCode::NOT_FOUND, text: "there is no such route".to_owned() };
        // Kubo takes 404 for an answer when it announces what it has, as it does with some settings.
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return Err(no_route());
        }
        let malformed = |text| Failure::Refused { status: StatusCode::UNPROCESSABLE_ENTITY, text };
        let path = request.uri().path().strip_prefix("/routing/v1/").unwrap_or_default();
        match path.split_once('/') {
            Some(("providers", cid)) => {
                let cid = cid.parse().map_err(|error| malformed(format!("{cid}: {error}")))?;
                Ok(Wanted::Providers(cid))
            }
            Some(("peers", id)) => match id.parse::<Cid>() {
                Ok(cid) => Ok(Wanted::Peer { is_own: self.key.is_some_and(|key| key.multihash() == cid.multihash()) }),
                Err(_) if id.starts_with("12D3Koo") && id.bytes().all(|b| b.is_ascii_alphanumeric()) => {
                    Ok(Wanted::Peer { is_own: self.text().is_some_and(|own| own == id) })
                }
                Err(error) => Err(malformed(format!("{id} is no peer id: {error}"))),
            },
            _ => Err(no_route()),
        }
    }

    pub(super) fn text(&self) -> Option<String> {
        self.key.map(|key| key.multihash_text())
    }

    /// The answer. `has` is whether the node has what is wanted.
    fn answer(&self, wanted: Wanted, has: bool, request: &Asked) -> Response {
        let records: Vec<Record> = self.record(request).filter(|_| has).into_iter().collect();
        let name = match wanted {
            Wanted::Providers(_) => "Providers",
            Wanted::Peer { .. } => "Peers",
        };
        let (kind, text) = match request.lines {
            true => (NDJSON, records.iter().map(|record| json!(record).to_string() + "\n").collect()),
            false => ("application/json", json!({ name: records }).to_string()),
        };
        let mut response = Response::new(text.into());
        let seconds = if records.is_empty() { "public, max-age=15" } else { "public, max-age=300" };
        for (name, value) in [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, seconds), (header::VARY, "Accept")]
        {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// The node, unless the caller wants other addresses or protocols ([IPIP-484](https://specs.ipfs.tech/ipips/ipip-0484/)).
    fn record(&self, request: &Asked) -> Option<Record> {
        let address = request.host.unwrap_or(self.address);
        let family = if address.is_ipv4() { "ip4" } else { "ip6" };
        let is_wanted = |list: &[String], names: &[&str]| {
            let names_one = |filter: &str| names.iter().any(|name| name.eq_ignore_ascii_case(filter));
            let mut wanted = list.iter().filter(|filter| !filter.starts_with('!')).peekable();
            let is_positive = wanted.peek().is_none() || wanted.any(|filter| names_one(filter));
            is_positive && !list.iter().filter_map(|filter| filter.strip_prefix('!')).any(names_one)
        };
        let is_shown =
            is_wanted(&request.addrs, &[family, "tcp", "http"]) && is_wanted(&request.protocols, &[PROTOCOL]);
        Some(Record {
            schema: "peer",
            id: self.text().filter(|_| is_shown)?,
            addrs: vec![format!("/{family}/{}/tcp/{}/http", address.ip(), address.port())],
            protocols: [PROTOCOL],
        })
    }
}

/// What else a caller says.
struct Asked {
    /// The address by which it reached the node, if it named no host.
    host: Option<SocketAddr>,
    addrs: Vec<String>,
    protocols: Vec<String>,
    /// Whether it takes a line for each record.
    lines: bool,
}

impl Asked {
    fn new(request: &Request) -> Self {
        let text =
            |headers: &HeaderMap, name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let query = Query::<Vec<(String, String)>>::try_from_uri(request.uri()).map(|Query(query)| query);
        let query = query.unwrap_or_default();
        let list = |name: &str| -> Vec<String> {
            let found = query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
            found.unwrap_or_default().split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect()
        };
        Self {
            host: text(request.headers(), header::HOST).and_then(|host| host.parse().ok()),
            addrs: list("filter-addrs"),
            protocols: list("filter-protocols"),
            lines: text(request.headers(), header::ACCEPT).is_some_and(|accept| accept.contains(NDJSON)),
        }
    }
}

/// Whether a block is here. Costs one look into the file system.
fn has(dir: &Path, wanted: Wanted) -> Result<bool, Failure> {
    match wanted {
        Wanted::Providers(cid) => Ok(ContentReader::open(dir)?.size(&cid)?.is_some()),
        Wanted::Peer { is_own } => Ok(is_own),
    }
}

/// Answers a request.
pub(super) async fn serve(dir: PathBuf, provider: &Provider, request: Request) -> Response {
    let (wanted, asked) = (provider.read(&request), Asked::new(&request));
    drop(request);
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(failure) => return refuse(&failure),
    };
    match tokio::task::spawn_blocking(move || has(&dir, wanted)).await {
        Ok(Ok(has)) => provider.answer(wanted, has, &asked),
        Ok(Err(failure)) => refuse(&failure),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the request failed inside this node"),
    }
}
