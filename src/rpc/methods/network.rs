//! Other nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::{Access, Method, Outcome};
use crate::consensus::peer_name::PeerName;
use crate::p2p::kad::NodeId;
use crate::p2p::message::{
    PROTOCOL_VERSION, SERVICE_ARCHIVE, SERVICE_CHAIN_PROOFS, SERVICE_FULL, SERVICE_PAGES, SERVICE_PRUNED, SERVICE_STATE,
};
use crate::p2p::{Command, Direction, PeerAddr, PeerId};
use crate::primitives::height::Height;
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::runtime::{Flow, Totals};

/// The version of Bitcoin Core whose answers these follow. Clients choose by it how to read them; this software's own is
/// in `subversion`.
const CORE_VERSION: u32 = 319_900;

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
            optional(
                "v2transport",
                Kind::Boolean,
                "null",
                "As in Bitcoin Core: true, since every connection is encrypted.",
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
pub(super) const NETWORKS: [&str; 2] = ["ipv4", "ipv6"];

pub(super) fn network_of(address: PeerAddr) -> &'static str {
    if address.ip().to_canonical().is_ipv4() { NETWORKS[0] } else { NETWORKS[1] }
}

fn service_names(services: u64) -> Vec<&'static str> {
    let names = [
        (SERVICE_FULL, "FULL"),
        (SERVICE_PRUNED, "PRUNED"),
        (SERVICE_STATE, "STATE"),
        (SERVICE_CHAIN_PROOFS, "CHAIN_PROOFS"),
        (SERVICE_PAGES, "PAGES"),
        (SERVICE_ARCHIVE, "ARCHIVE"),
    ];
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
        /// What carries the bytes.
        transport: &'static str,
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
        /// What Bitcoin Core's clients read, and has no meaning here or is not recorded: a neutral value.
        #[serde(flatten)]
        neutral: Neutral,
    }
    #[derive(Serialize)]
    struct Neutral {
        addrbind: &'static str,
        relaytxes: bool,
        last_transaction: u64,
        last_block: u64,
        timeoffset: i64,
        bip152_hb_to: bool,
        bip152_hb_from: bool,
        permissions: [&'static str; 0],
        minfeefilter: u64,
        transport_protocol_type: &'static str,
        session_id: &'static str,
        inv_to_send: u32,
        last_inv_sequence: u32,
    }
    const NEUTRAL: Neutral = Neutral {
        addrbind: "",
        relaytxes: true,
        last_transaction: 0,
        last_block: 0,
        timeoffset: 0,
        bip152_hb_to: false,
        bip152_hb_from: false,
        permissions: [],
        minfeefilter: 0,
        // Every connection is encrypted.
        transport_protocol_type: "v2",
        session_id: "",
        inv_to_send: 0,
        last_inv_sequence: 0,
    };
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
            transport: match peer.address {
                PeerAddr::Tcp(_) => "tcp",
                PeerAddr::WebRtc { .. } => "webrtc",
            },
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
            neutral: NEUTRAL,
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
        /// Where browsers reach it.
        webrtc: Option<PeerAddr>,
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
    let webrtc = api.handle.webrtc_at();
    api.node(move |node, _| {
        let (inbound, outbound) = node.connection_counts();
        Reply::of(&Info {
            version: CORE_VERSION,
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
            webrtc,
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

async fn get_net_totals(api: Api) -> Outcome {
    #[derive(Serialize)]
    struct Info {
        totalbytesrecv: u64,
        totalbytessent: u64,
        totalmessagesrecv: u64,
        totalmessagessent: u64,
        timemillis: u64,
        uploadtarget: UploadTarget,
    }
    /// Bitcoin Core's limit of what is sent in a day: there is none.
    #[derive(Serialize)]
    struct UploadTarget {
        timeframe: u32,
        target: u64,
        target_reached: bool,
        serve_historical_blocks: bool,
        bytes_left_in_cycle: u64,
        time_left_in_cycle: u64,
    }
    let uploadtarget = UploadTarget {
        timeframe: 86_400,
        target: 0,
        target_reached: false,
        serve_historical_blocks: true,
        bytes_left_in_cycle: 0,
        time_left_in_cycle: 0,
    };
    let totals = api.handle.network_totals();
    let unix = api.node(|_, now| now.unix).await?;
    Ok(Reply::of(&Info {
        totalbytesrecv: totals.received.bytes,
        totalbytessent: totals.sent.bytes,
        totalmessagesrecv: totals.received.messages(),
        totalmessagessent: totals.sent.messages(),
        timemillis: unix.as_secs().saturating_mul(1000),
        uploadtarget,
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
        return Err(RpcError::new(Code::Misc, "command: expected \"add\", \"remove\" or \"onetry\""));
    }
    if args.get::<Option<bool>>("v2transport")? == Some(false) {
        return Err(RpcError::invalid("v2transport: every connection is encrypted"));
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

/// Seconds, to the millisecond.
pub(super) fn seconds(span: Duration) -> f64 {
    span.as_millis() as f64 / 1000.0
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
