//! Other nodes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use rand::seq::SliceRandom;
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast::error::RecvError;

use super::{Access, Method, Outcome};
use crate::consensus::peer_name::PeerName;
use crate::p2p::addrbook::Record;
use crate::p2p::kad::NodeId;
use crate::p2p::message::{PROTOCOL_VERSION, SERVICE_FULL, SERVICE_PRUNED};
use crate::p2p::search::SEARCH_TIMEOUT;
use crate::p2p::search::{Found, Outcome as Asked};
use crate::p2p::{Command, Direction, Event, PeerAddr, PeerId};
use crate::primitives::height::Height;
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::runtime::{Flow, Totals};

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "getpeerinfo",
        access: Access::Public,
        params: &[],
        result: Shape::Array(&Shape::Object(&results::network::PEER)),
        about: "The nodes that this one is connected to.",
        run: |api, _| Box::pin(get_peer_info(api)),
    },
    Method {
        name: "getconnectioncount",
        access: Access::Public,
        params: &[],
        result: Shape::Integer,
        about: "How many nodes this one is connected to.",
        run: |api, _| Box::pin(get_connection_count(api)),
    },
    Method {
        name: "getnetworkinfo",
        access: Access::Public,
        params: &[],
        result: Shape::Object(&results::network::NETWORK_INFO),
        about: "This node as its peers see it: id, versions, services, connections.",
        run: |api, _| Box::pin(get_network_info(api)),
    },
    Method {
        name: "setnetworkactive",
        access: Access::Owner,
        params: &[required("state", Kind::Boolean, "Whether there may be connections.")],
        result: Shape::Boolean,
        about: "Closes all connections and refuses new ones, or allows them again. Answers the new state.",
        run: |api, args| Box::pin(set_network_active(api, args)),
    },
    Method {
        name: "getnettotals",
        access: Access::Public,
        params: &[],
        result: Shape::Object(&results::network::NET_TOTALS),
        about: "Bytes and messages over all connections since the start.",
        run: |api, _| Box::pin(get_net_totals(api)),
    },
    Method {
        name: "addnode",
        access: Access::Owner,
        params: &[
            required("node", Kind::Text, "HOST:PORT, or ID@HOST:PORT to accept only the node with that id."),
            required(
                "command",
                Kind::Text,
                "\"add\" to stay connected, \"remove\" to end that, \"onetry\" to dial once.",
            ),
        ],
        result: Shape::Null,
        about: "Connects to a node. getpeerinfo shows whether that worked.",
        run: |api, args| Box::pin(add_node(api, args)),
    },
    Method {
        name: "getaddednodeinfo",
        access: Access::Owner,
        params: &[optional("node", Kind::Text, "null", "Only the node at this address and port.")],
        result: Shape::Array(&Shape::Object(&results::network::ADDED_NODE)),
        about: "The nodes given by addnode and --connect, and whether this node is connected to each.",
        run: |api, args| Box::pin(get_added_node_info(api, args)),
    },
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
        name: "ping",
        access: Access::Owner,
        params: &[],
        result: Shape::Null,
        about: "Pings all peers. getpeerinfo shows how long they took to answer.",
        run: |api, _| Box::pin(ping(api)),
    },
    Method {
        name: "disconnectnode",
        access: Access::Owner,
        params: &[
            optional("address", Kind::Text, "\"\"", "The peer's address and port, as getpeerinfo shows it."),
            optional("nodeid", Kind::Integer, "null", "The peer's id, as getpeerinfo shows it."),
        ],
        result: Shape::Null,
        about: "Closes the connection to a peer.",
        run: |api, args| Box::pin(disconnect_node(api, args)),
    },
];

/// The networks there are, as Bitcoin Core names them.
const NETWORKS: [&str; 2] = ["ipv4", "ipv6"];

fn network_of(address: PeerAddr) -> &'static str {
    if address.ip().to_canonical().is_ipv4() { NETWORKS[0] } else { NETWORKS[1] }
}

fn service_names(services: u64) -> Vec<&'static str> {
    let names = [(SERVICE_FULL, "FULL"), (SERVICE_PRUNED, "PRUNED")];
    names.into_iter().filter(|(bit, _)| services & bit != 0).map(|(_, name)| name).collect()
}

async fn get_peer_info(api: Api) -> Outcome {
    #[derive(Serialize)]
    struct Peer {
        id: u64,
        /// The id that it has proven.
        nodeid: String,
        /// The power of two of its distance; null for this node's own id.
        bucket: Option<u8>,
        addr: PeerAddr,
        network: &'static str,
        /// Where it takes connections itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        listenaddr: Option<PeerAddr>,
        services: String,
        servicesnames: Vec<&'static str>,
        lastsend: u64,
        lastrecv: u64,
        bytessent: u64,
        bytesrecv: u64,
        /// Bytes by kind of message, framing included.
        bytessent_per_msg: BTreeMap<&'static str, u64>,
        bytesrecv_per_msg: BTreeMap<&'static str, u64>,
        conntime: u64,
        /// Round trip of the last ping, in seconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        pingtime: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        minping: Option<f64>,
        version: u32,
        subver: String,
        inbound: bool,
        connection_type: &'static str,
        startingheight: i64,
        synced_headers: Height,
        synced_blocks: Height,
        inflight: Vec<Height>,
        /// Points of misbehaviour.
        score: u32,
    }
    // Peers that have completed the handshake: nothing is known of the others.
    let peers = api.node(|node, now| node.peers(now)).await?;
    let peers = peers.into_iter().filter(|peer| peer.ready).map(|peer| {
        let Totals { sent, received } = api.handle.peer_totals(peer.id).unwrap_or_default();
        let inbound = peer.direction == Direction::Inbound;
        Peer {
            id: peer.id.0,
            nodeid: peer.node.to_string(),
            bucket: peer.bucket,
            addr: peer.address,
            network: network_of(peer.address),
            listenaddr: peer.listens_at,
            services: format!("{:016x}", peer.services),
            servicesnames: service_names(peer.services),
            lastsend: peer.last_sent.as_secs(),
            lastrecv: peer.last_received.as_secs(),
            bytessent: sent.bytes,
            bytesrecv: received.bytes,
            bytessent_per_msg: bytes_by_kind(&sent),
            bytesrecv_per_msg: bytes_by_kind(&received),
            conntime: peer.connected_at.as_secs(),
            pingtime: peer.ping.map(seconds),
            minping: peer.min_ping.map(seconds),
            version: peer.version,
            subver: peer.user_agent,
            inbound,
            connection_type: match (inbound, peer.manual) {
                (true, _) => "inbound",
                (false, true) => "manual",
                (false, false) => "outbound-full-relay",
            },
            startingheight: peer.start_tip.map_or(-1, |tip| i64::from(tip.height.as_u32())),
            synced_headers: peer.synced_headers,
            synced_blocks: peer.synced_blocks,
            inflight: peer.in_flight,
            score: peer.score,
        }
    });
    api.reply(&peers.collect::<Vec<_>>())
}

/// Bytes of each kind of message that was sent or received.
fn bytes_by_kind(flow: &Flow) -> BTreeMap<&'static str, u64> {
    let moved = flow.by_kind().filter(|(_, messages)| messages.count > 0);
    moved.map(|(kind, messages)| (kind.name(), messages.bytes)).collect()
}

async fn get_connection_count(api: Api) -> Outcome {
    let (inbound, outbound) = api.node(|node, _| node.connection_counts()).await?;
    Ok(Reply::of(&(inbound + outbound)))
}

async fn get_network_info(api: Api) -> Outcome {
    #[derive(Serialize)]
    struct Info {
        version: u32,
        subversion: String,
        protocolversion: u32,
        /// This node's id.
        nodeid: String,
        localservices: String,
        localservicesnames: Vec<&'static str>,
        localrelay: bool,
        timeoffset: i64,
        networkactive: bool,
        connections: usize,
        connections_in: usize,
        connections_out: usize,
        networks: [Network; 2],
        /// Grains a byte.
        relayfee: u64,
        /// Grains a byte by which a replacement must pay more.
        incrementalfee: u64,
        /// Not known: a node does not ask others how they see it.
        localaddresses: [(); 0],
        warnings: Vec<String>,
    }
    #[derive(Serialize)]
    struct Network {
        name: &'static str,
        limited: bool,
        reachable: bool,
        /// There are no proxies.
        proxy: &'static str,
        proxy_randomize_credentials: bool,
    }
    let network =
        |name| Network { name, limited: false, reachable: true, proxy: "", proxy_randomize_credentials: false };
    api.node(move |node, _| {
        let (inbound, outbound) = node.connection_counts();
        Reply::of(&Info {
            version: version_number(),
            subversion: node.config().user_agent.clone(),
            protocolversion: PROTOCOL_VERSION,
            nodeid: node.config().id.to_string(),
            localservices: format!("{:016x}", node.services()),
            localservicesnames: service_names(node.services()),
            localrelay: true,
            timeoffset: 0,
            networkactive: node.is_active(),
            connections: inbound + outbound,
            connections_in: inbound,
            connections_out: outbound,
            networks: NETWORKS.map(network),
            relayfee: node.mempool().limits().min_fee_rate.grains_per_byte(),
            incrementalfee: node.mempool().limits().min_fee_rate.grains_per_byte(),
            localaddresses: [],
            warnings: Vec::new(),
        })
    })
    .await
}

async fn set_network_active(api: Api, args: Args) -> Outcome {
    let is_active: bool = args.get("state")?;
    api.command(move |reply| Command::SetActive(is_active, reply)).await?;
    Ok(Reply::of(&is_active))
}

/// 1.2.3 as 10203, in Bitcoin Core's manner.
fn version_number() -> u32 {
    let part = |text: &str| text.parse::<u32>().unwrap_or(0);
    let [major, minor, patch] =
        [env!("CARGO_PKG_VERSION_MAJOR"), env!("CARGO_PKG_VERSION_MINOR"), env!("CARGO_PKG_VERSION_PATCH")];
    part(major) * 10_000 + part(minor) * 100 + part(patch)
}

async fn get_net_totals(api: Api) -> Outcome {
    #[derive(Serialize)]
    struct Info {
        totalbytesrecv: u64,
        totalbytessent: u64,
        totalmessagesrecv: u64,
        totalmessagessent: u64,
        timemillis: u64,
    }
    let totals = api.handle.network_totals();
    let unix = api.node(|_, now| now.unix).await?;
    Ok(Reply::of(&Info {
        totalbytesrecv: totals.received.bytes,
        totalbytessent: totals.sent.bytes,
        totalmessagesrecv: totals.received.messages(),
        totalmessagessent: totals.sent.messages(),
        timemillis: unix.as_secs().saturating_mul(1000),
    }))
}

/// The addresses that `HOST:PORT` or `ID@HOST:PORT` resolves to now, and the id required there.
async fn resolve(text: &str) -> Result<(Vec<PeerAddr>, Option<NodeId>), RpcError> {
    let name: PeerName = text.parse().map_err(|error| RpcError::invalid(format!("node: {error}")))?;
    let error = |reason: String| RpcError::invalid(format!("node: {:?}: {reason}", name.host));
    let found = tokio::net::lookup_host(&name.host).await.map_err(|cause| error(cause.to_string()))?;
    let addresses: Vec<PeerAddr> = found.map(PeerAddr::from).collect();
    if addresses.is_empty() { Err(error("no such host".to_owned())) } else { Ok((addresses, name.id.map(NodeId))) }
}

async fn add_node(api: Api, args: Args) -> Outcome {
    let (name, command) = (args.get::<&str>("node")?, args.get::<&str>("command")?);
    if !matches!(command, "add" | "remove" | "onetry") {
        return Err(RpcError::invalid("command: expected \"add\", \"remove\" or \"onetry\""));
    }
    let (addresses, id) = resolve(name).await?;
    // A host may have several addresses: the call succeeds if it changes any one.
    let mut done = false;
    for address in addresses {
        done |= match command {
            "add" => api.command(move |reply| Command::AddNode(address, id, reply)).await?,
            "remove" => api.command(move |reply| Command::RemoveNode(address, reply)).await?,
            _ => {
                api.command(move |reply| Command::ConnectOnce(address, id, reply)).await?;
                return Ok(Reply::null());
            }
        };
    }
    match command {
        _ if done => Ok(Reply::null()),
        "add" => Err(RpcError::new(Code::AlreadyAdded, "Error: Node already added")),
        _ => Err(RpcError::new(Code::NotAdded, "Error: Node could not be removed. It has not been added previously.")),
    }
}

async fn get_added_node_info(api: Api, args: Args) -> Outcome {
    #[derive(Serialize)]
    struct Added {
        addednode: PeerAddr,
        connected: bool,
        addresses: Vec<Address>,
    }
    #[derive(Serialize)]
    struct Address {
        address: PeerAddr,
        connected: &'static str,
    }
    let wanted: Option<&str> = args.get("node")?;
    let (added, peers) = api.node(|node, now| (node.added_nodes(), node.peers(now))).await?;
    let view = |addednode: PeerAddr| {
        let mut connections = peers.iter().filter(|peer| peer.ready);
        let peer = connections.find(|peer| peer.address == addednode || peer.listens_at == Some(addednode));
        let address = peer.map(|peer| Address {
            address: peer.address,
            connected: if peer.direction == Direction::Inbound { "inbound" } else { "outbound" },
        });
        Added { addednode, connected: address.is_some(), addresses: address.into_iter().collect() }
    };
    let is_wanted = |address: &PeerAddr| wanted.is_none_or(|wanted| address.to_string() == wanted);
    let added: Vec<Added> = added.into_iter().filter(is_wanted).map(view).collect();
    if wanted.is_some() && added.is_empty() {
        return Err(RpcError::new(Code::NotAdded, "Error: Node has not been added."));
    }
    Ok(Reply::of(&added))
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

/// Longer than any lookup takes.
const FIND_PATIENCE: Duration = SEARCH_TIMEOUT.saturating_add(Duration::from_secs(5));

async fn find_node(api: Api, args: Args) -> Outcome {
    let text: &str = args.get("nodeid")?;
    let target = NodeId::from_hex(text).ok_or_else(|| RpcError::invalid("nodeid: expected 64 hex digits"))?;
    let _place = api.waiting_place()?;
    let mut events = api.handle.subscribe();
    let number = api.command(move |reply| Command::FindNode(target, reply)).await?;
    let number = number.ok_or_else(|| RpcError::new(Code::Misc, "too many lookups are in progress"))?;
    let found = async {
        loop {
            match events.recv().await {
                Ok(Event::NodesFound(found)) if found.number == Some(number) => return Some(found),
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    };
    let found = tokio::select! {
        found = found => found,
        () = tokio::time::sleep(FIND_PATIENCE) => None,
        () = api.stopping() => None,
    };
    let found = found.ok_or_else(|| RpcError::new(Code::Misc, "the lookup did not end"))?;
    Ok(Reply::of(&found_view(&found)))
}

/// Seconds, to the millisecond.
fn seconds(span: Duration) -> f64 {
    span.as_millis() as f64 / 1000.0
}

fn found_view(found: &Found) -> serde_json::Value {
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

async fn ping(api: Api) -> Outcome {
    api.command(Command::Ping).await?;
    Ok(Reply::null())
}

async fn disconnect_node(api: Api, args: Args) -> Outcome {
    let address: &str = args.get("address")?;
    let id: Option<u64> = args.get("nodeid")?;
    let invalid = || RpcError::invalid("Only one of address and nodeid should be provided.");
    let address: Option<PeerAddr> = match (address, id) {
        ("", Some(_)) => None,
        ("", None) | (_, Some(_)) => return Err(invalid()),
        (text, None) => Some(text.parse().map_err(|error| RpcError::invalid(format!("address: {error}")))?),
    };
    let closed = match (address, id) {
        (Some(address), _) => api.command(move |reply| Command::DisconnectAddress(address, reply)).await?,
        (None, Some(id)) => api.command(move |reply| Command::Disconnect(PeerId(id), reply)).await?,
        (None, None) => false,
    };
    if closed { Ok(Reply::null()) } else { Err(RpcError::new(Code::NotConnected, "Node not found in connected nodes")) }
}
