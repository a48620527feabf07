//! Nodes that are known of, and the search for others.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::seq::SliceRandom;
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use super::network::{NETWORKS, network_of, seconds};
use super::{Access, Method, Outcome};
use crate::p2p::addrbook::Record;
use crate::p2p::announcer::DELIVERY_TIMEOUT;
use crate::p2p::kad::NodeId;
use crate::p2p::search::{Found, Outcome as Asked, SEARCH_TIMEOUT};
use crate::p2p::{Command, Event, PeerAddr, Reply as Answer};
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "findnode",
        access: Access::Owner,
        params: &[required("nodeid", Kind::Text, "The id to look for, 64 hex digits; no node needs to have it.")],
        result: Shape::Object(&results::network::FOUND),
        about: "Looks for the nodes nearest to an id; returns them, nearest first, and the nodes that were asked. Ends within \
                30 seconds.",
        run: |api, args| Box::pin(find_node(api, args)),
    },
    Method {
        name: "getnodeaddresses",
        access: Access::Owner,
        params: &[
            optional("count", Kind::Integer, "1", "Maximum number to list; 0 for all."),
            optional("network", Kind::Text, "null", "\"ipv4\" or \"ipv6\"."),
        ],
        result: Shape::Array(&Shape::Object(&results::network::NODE_ADDRESS)),
        about: "A random choice of the addresses that this node has reached or heard of: the id of the node there, if it was \
                reached, and its bucket in the table of contacts, if it has a place there.",
        run: |api, args| Box::pin(get_node_addresses(api, args)),
    },
    Method {
        name: "getaddrmaninfo",
        access: Access::Owner,
        params: &[],
        result: Shape::Map(&Shape::Object(&results::network::ADDRESS_COUNTS)),
        about: "How many addresses this node has reached (\"tried\") or heard of (\"new\"), by network and in all.",
        run: |api, _| Box::pin(get_addr_man_info(api)),
    },
];

async fn get_addr_man_info(api: Api) -> Outcome {
    #[derive(Serialize, Default)]
    struct Counts {
        new: usize,
        tried: usize,
        total: usize,
    }
    let known = api.node(|node, _| node.known_addresses()).await?;
    let names = NETWORKS.into_iter().chain(["all_networks"]);
    let mut counts: BTreeMap<&str, Counts> = names.map(|name| (name, Counts::default())).collect();
    for record in &known {
        for name in [network_of(record.address), "all_networks"] {
            let counts = counts.entry(name).or_default();
            *(if record.is_tried() { &mut counts.tried } else { &mut counts.new }) += 1;
            counts.total += 1;
        }
    }
    Ok(Reply::of(&counts))
}

async fn get_node_addresses(api: Api, args: Args) -> Outcome {
    #[derive(Serialize)]
    struct Known {
        /// The id found there; null for an address never reached.
        nodeid: Option<String>,
        /// Its bucket in the table of contacts; null if it has no place there.
        bucket: Option<u8>,
        /// When a node was last connected to it, in seconds since 1970; 0 if unknown.
        time: u64,
        services: u64,
        address: IpAddr,
        port: u16,
        network: &'static str,
        /// IP, port and transport in one.
        addr: PeerAddr,
    }
    let count: i64 = args.get("count")?;
    let count = usize::try_from(count).map_err(|_| RpcError::invalid("Address count out of range"))?;
    let network: Option<&str> = args.get("network")?;
    if let Some(unknown) = network.filter(|name| !NETWORKS.contains(name)) {
        return Err(RpcError::invalid(format!("Network not recognized: {unknown}")));
    }
    let (mut known, buckets) = api
        .node(|node, _| {
            let places = node.contacts().places().map(|(bucket, contact)| (contact.address, bucket));
            (node.known_addresses(), places.collect::<BTreeMap<PeerAddr, u8>>())
        })
        .await?;
    known.retain(|record| network.is_none_or(|network| network_of(record.address) == network));
    known.shuffle(&mut rand::rng());
    if count > 0 {
        known.truncate(count);
    }
    let view = |record: Record| Known {
        nodeid: record.id.map(|id| id.to_string()),
        bucket: buckets.get(&record.address).copied(),
        time: record.last_seen.as_secs(),
        services: record.services,
        address: record.address.ip(),
        port: record.address.port(),
        network: network_of(record.address),
        addr: record.address,
    };
    Ok(Reply::of(&known.into_iter().map(view).collect::<Vec<_>>()))
}

/// Longer than any lookup takes, and an announcement after it.
const FIND_PATIENCE: Duration = SEARCH_TIMEOUT.saturating_add(DELIVERY_TIMEOUT).saturating_add(Duration::from_secs(5));

async fn find_node(api: Api, args: Args) -> Outcome {
    let text: &str = args.get("nodeid")?;
    let target = NodeId::from_hex(text).ok_or_else(|| RpcError::invalid("nodeid: expected 64 hex digits"))?;
    let found = await_found(&api, move |reply| Command::FindNode(target, reply)).await?;
    Ok(Reply::of(&lookup_view(&found)))
}

/// Starts a lookup, and waits until it ends.
pub(super) async fn await_found(
    api: &Api,
    make: impl FnOnce(Answer<Option<u64>>) -> Command + Send + 'static,
) -> Result<Arc<Found>, RpcError> {
    let _place = api.waiting_place()?;
    let mut events = api.handle.subscribe();
    let number = api.command(make).await?;
    let number = number.ok_or_else(|| RpcError::new(Code::Misc, "too many lookups are in progress"))?;
    let is_it = |event: &Event| match event {
        Event::NodesFound(found) if found.number == Some(number) => Some(Arc::clone(found)),
        _ => None,
    };
    await_event(api, &mut events, is_it).await
}

/// Waits for what a lookup leads to.
pub(super) async fn await_event<T>(
    api: &Api,
    events: &mut Receiver<Event>,
    is_it: impl Fn(&Event) -> Option<T>,
) -> Result<T, RpcError> {
    let coming = async {
        loop {
            match events.recv().await {
                Ok(event) => {
                    if let Some(found) = is_it(&event) {
                        return Some(found);
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    };
    let come = tokio::select! {
        come = coming => come,
        () = tokio::time::sleep(FIND_PATIENCE) => None,
        () = api.stopping() => None,
    };
    come.ok_or_else(|| RpcError::new(Code::Misc, "the lookup did not end"))
}

/// A lookup as it is answered.
pub(super) fn lookup_view(found: &Found) -> serde_json::Value {
    let nodes = found.nodes.iter().map(|contact| {
        json!({
            "nodeid": contact.id.to_string(),
            "address": contact.address,
            // The power of two of its distance from what was looked for; null if it is that.
            "bucket": contact.id.distance(&found.target).bucket(),
        })
    });
    let path = found.path.iter().map(|step| {
        let (outcome, told) = match step.outcome {
            Asked::Open => ("open", None),
            Asked::Answered { told } => ("answered", Some(told)),
            Asked::Late => ("late", None),
            Asked::Failed => ("failed", None),
        };
        json!({
            "nodeid": step.contact.id.to_string(),
            "address": step.contact.address,
            "hop": step.hop,
            "at": seconds(step.at),
            "took": step.took.map(seconds),
            "outcome": outcome,
            "told": told,
        })
    });
    json!({
        "target": found.target.to_string(),
        "nodes": nodes.collect::<Vec<_>>(),
        "path": path.collect::<Vec<_>>(),
        "took": seconds(found.took),
        "complete": found.complete,
    })
}
