//! `/routing/v1`: where content is, by the [delegated routing
//! API](https://specs.ipfs.tech/routing/http-routing-v1/). The node names its own gateway for what it has, and for what it may
//! fetch, and the providers that it finds in the network.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{Query, Request};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::json;

use super::failure::Failure;
use super::lookups::{Lookups, Sought};
use super::{Served, refuse};
use crate::ipld::{Cid, CidError, Codec, HashFunction};
use crate::p2p::PeerAddr;
use crate::p2p::kad::{Contact, NodeId};
use crate::rpc::http::plain;

/// The multicodec of keys that name peers.
const LIBP2P_KEY: Codec = Codec(0x72);
/// Protobuf of a libp2p public key, before the 32 bytes of an Ed25519 one.
const ED25519_HEAD: [u8; 4] = [0x08, 0x01, 0x12, 0x20];
/// What a [trustless gateway](super) speaks.
const PROTOCOL: &str = "transport-ipfs-gateway-http";
/// What nodes speak with each other, which clients of IPFS do not.
const OWN_PROTOCOL: &str = "transport-cairn";
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

/// A node's id in the form of a peer id. It stands for the node's id and proves nothing: what a gateway serves proves itself.
fn peer_id(id: &NodeId) -> Option<Cid> {
    Cid::from_digest(LIBP2P_KEY, HashFunction::Identity, &[&ED25519_HEAD[..], &id.0].concat())
}

/// The node as others find it.
pub(super) struct Provider {
    id: NodeId,
    address: SocketAddr,
    lookups: Lookups,
    /// Whether its gateway serves what others have, too.
    fetches: bool,
}

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// Who has a block.
    Providers(Cid),
    /// How to reach a peer; `None` if its id is not one of a node here.
    Peer(Option<NodeId>),
}

impl Provider {
    /// `address` is where the server listens.
    pub(super) fn new(id: NodeId, address: SocketAddr, lookups: Lookups, fetches: bool) -> Self {
        Self { id, address, lookups, fetches }
    }

    /// Reads a request for `/routing/v1/providers/CID` or `/routing/v1/peers/ID`.
    ///
    /// # Errors
    /// 404 for other paths and methods, 422 for what is no CID.
    fn read(request: &Request) -> Result<Wanted, Failure> {
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
            Some(("peers", id)) => match read_peer_id(id) {
                Ok(id) => Ok(Wanted::Peer(id)),
                Err(error) => Err(malformed(format!("{id} is no peer id: {error}"))),
            },
            _ => Err(no_route()),
        }
    }

    pub(super) fn text(&self) -> Option<String> {
        peer_id(&self.id).map(|id| id.multihash_text())
    }

    /// The node itself if it `has` what is wanted, and those that it finds.
    async fn find(&self, wanted: Wanted, has: bool, request: &Asked) -> Vec<Record> {
        let sought = match wanted {
            Wanted::Providers(cid) if cid.inline().is_none() => {
                Some(Sought::Providers(NodeId::of_content(&cid.multihash())))
            }
            Wanted::Peer(Some(id)) if id != self.id => Some(Sought::Node(id)),
            Wanted::Providers(_) | Wanted::Peer(_) => None,
        };
        // Kubo takes no providers but gateways, and this one has it already.
        let is_enough = has && !request.shows(&["ip4", "ip6", "tcp"], OWN_PROTOCOL);
        let found = match sought.filter(|_| !is_enough) {
            Some(sought) => self.lookups.find(sought).await,
            None => Vec::new(),
        };
        let can_fetch = self.fetches && matches!(wanted, Wanted::Providers(_)) && !found.is_empty();
        let own = if has || can_fetch { self.record(request) } else { None };
        own.into_iter().chain(found.iter().filter_map(|contact| request.record_of(contact))).collect()
    }

    /// The answer.
    fn answer(wanted: Wanted, records: &[Record], request: &Asked) -> Response {
        let name = match wanted {
            Wanted::Providers(_) => "Providers",
            Wanted::Peer(_) => "Peers",
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
        let is_shown = request.shows(&[family, "tcp", "http"], PROTOCOL);
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
    /// Whether the caller wants records of such an address and protocol.
    fn shows(&self, address: &[&str], protocol: &str) -> bool {
        let is_wanted = |list: &[String], names: &[&str]| {
            let names_one = |filter: &str| names.iter().any(|name| name.eq_ignore_ascii_case(filter));
            let mut wanted = list.iter().filter(|filter| !filter.starts_with('!')).peekable();
            let is_positive = wanted.peek().is_none() || wanted.any(|filter| names_one(filter));
            is_positive && !list.iter().filter_map(|filter| filter.strip_prefix('!')).any(names_one)
        };
        is_wanted(&self.addrs, address) && is_wanted(&self.protocols, &[protocol])
    }

    /// Another node, if the caller wants such records and it listens on TCP.
    fn record_of(&self, contact: &Contact) -> Option<Record> {
        let PeerAddr::Tcp(address) = contact.address else { return None };
        let family = if address.is_ipv4() { "ip4" } else { "ip6" };
        let is_shown = self.shows(&[family, "tcp"], OWN_PROTOCOL);
        Some(Record {
            schema: "peer",
            id: peer_id(&contact.id).filter(|_| is_shown)?.multihash_text(),
            addrs: vec![format!("/{family}/{}/tcp/{}", address.ip(), address.port())],
            protocols: [OWN_PROTOCOL],
        })
    }

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

/// Reads a peer id, as a CID or as a multihash in base58; `None` if it cannot be that of a node here.
fn read_peer_id(text: &str) -> Result<Option<NodeId>, CidError> {
    let cid: Cid = match text.parse() {
        Ok(cid) => cid,
        Err(_) if text.starts_with("12D3Koo") => Cid::from_multihash_text(LIBP2P_KEY, text)?,
        Err(error) => return Err(error),
    };
    let id = cid.inline().and_then(|key| key.strip_prefix(&ED25519_HEAD[..])).and_then(|id| id.try_into().ok());
    Ok(id.map(NodeId))
}

/// Whether a block, or this node, is what is wanted. Costs one look into the file system.
fn has(served: &Served, wanted: Wanted) -> Result<bool, Failure> {
    match wanted {
        Wanted::Providers(cid) => Ok(served.reader()?.size(&cid)?.is_some()),
        Wanted::Peer(id) => Ok(id == Some(served.provider.id)),
    }
}

/// Answers a request.
pub(super) async fn serve(served: &Arc<Served>, request: Request) -> Response {
    let (wanted, asked) = (Provider::read(&request), Asked::new(&request));
    drop(request);
    let wanted = match wanted {
        Ok(wanted) => wanted,
        Err(failure) => return refuse(&failure),
    };
    let looking = Arc::clone(served);
    match tokio::task::spawn_blocking(move || has(&looking, wanted)).await {
        Ok(Ok(has)) => {
            let records = served.provider.find(wanted, has, &asked).await;
            Provider::answer(wanted, &records, &asked)
        }
        Ok(Err(failure)) => refuse(&failure),
        Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the request failed inside this node"),
    }
}
