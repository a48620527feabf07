//! Other nodes.

use std::net::SocketAddr;

use serde::Serialize;

use super::{Method, Outcome};
use crate::p2p::bans::{BAN_SECS, Subnet};
use crate::p2p::message::{PROTOCOL_VERSION, SERVICE_FULL};
use crate::p2p::{Direction, PeerId};
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::runtime::Totals;

/// See [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "getpeerinfo",
        params: &[],
        about: "The nodes that this one is connected to.",
        run: |api, _| Box::pin(get_peer_info(api)),
    },
    Method {
        name: "getconnectioncount",
        params: &[],
        about: "How many nodes this one is connected to.",
        run: |api, _| Box::pin(get_connection_count(api)),
    },
    Method {
        name: "getnetworkinfo",
        params: &[],
        about: "This node as others see it: versions, services, connections.",
        run: |api, _| Box::pin(get_network_info(api)),
    },
    Method {
        name: "getnettotals",
        params: &[],
        about: "Bytes and messages over all connections since the start.",
        run: |api, _| Box::pin(get_net_totals(api)),
    },
    Method {
        name: "addnode",
        params: &[
            required("node", Kind::Text, "HOST:PORT."),
            required(
                "command",
                Kind::Text,
                "\"add\" to stay connected, \"remove\" to no longer, \"onetry\" to dial once.",
            ),
        ],
        about: "Connects to a node. Whether that works shows in getpeerinfo.",
        run: |api, args| Box::pin(add_node(api, args)),
    },
    Method {
        name: "disconnectnode",
        params: &[
            optional("address", Kind::Text, "\"\"", "The peer's address and port, as getpeerinfo shows it."),
            optional("nodeid", Kind::Integer, "null", "Or its id there."),
        ],
        about: "Closes a connection.",
        run: |api, args| Box::pin(disconnect_node(api, args)),
    },
    Method {
        name: "setban",
        params: &[
            required("subnet", Kind::Text, "An address, or several such as 10.1.0.0/16."),
            required("command", Kind::Text, "\"add\" or \"remove\"."),
            optional("bantime", Kind::Integer, "0", "Seconds; 0 for a day."),
            optional("absolute", Kind::Boolean, "false", "bantime is a time since 1970 instead."),
        ],
        about: "Bans addresses, or ends a ban. Connections to them are closed.",
        run: |api, args| Box::pin(set_ban(api, args)),
    },
    Method {
        name: "listbanned",
        params: &[],
        about: "The bans in force, those for misbehaviour too.",
        run: |api, _| Box::pin(list_banned(api)),
    },
    Method { name: "clearbanned", params: &[], about: "Ends all bans.", run: |api, _| Box::pin(clear_banned(api)) },
];

fn service_names(services: u64) -> Vec<&'static str> {
    if services & SERVICE_FULL == 0 { Vec::new() } else { vec!["FULL"] }
}

async fn get_peer_info(api: Api) -> Outcome {
    #[derive(Serialize)]
    struct Peer {
        id: u64,
        addr: SocketAddr,
        /// Where it takes connections itself.
        #[serde(skip_serializing_if = "Option::is_none")]
        listenaddr: Option<SocketAddr>,
        services: String,
        servicesnames: Vec<&'static str>,
        lastsend: u64,
        lastrecv: u64,
        bytessent: u64,
        bytesrecv: u64,
        conntime: u64,
        /// Seconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        pingtime: Option<f64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        minping: Option<f64>,
        version: u32,
        subver: String,
        inbound: bool,
        connection_type: &'static str,
        startingheight: i64,
        synced_headers: u32,
        synced_blocks: u32,
        inflight: Vec<u32>,
        /// Points of misbehaviour.
        score: u32,
    }
    let seconds = |millis: u64| millis as f64 / 1000.0;
    // Those that have said hello: of the others nothing is known.
    let peers = api.node(|node, now| node.peers(now)).await?;
    let peers = peers.into_iter().filter(|peer| peer.ready).map(|peer| {
        let Totals { bytes_sent, bytes_received, .. } = api.handle.peer_totals(peer.id).unwrap_or_default();
        let inbound = peer.direction == Direction::Inbound;
        Peer {
            id: peer.id.0,
            addr: peer.address,
            listenaddr: peer.listens_at,
            services: format!("{:016x}", peer.services),
            servicesnames: service_names(peer.services),
            lastsend: peer.last_sent,
            lastrecv: peer.last_received,
            bytessent: bytes_sent,
            bytesrecv: bytes_received,
            conntime: peer.connected_at,
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
            startingheight: peer.start_tip.map_or(-1, |tip| i64::from(tip.height)),
            synced_headers: peer.synced_headers,
            synced_blocks: peer.synced_blocks,
            inflight: peer.in_flight,
            score: peer.score,
        }
    });
    Ok(Reply::of(&peers.collect::<Vec<_>>()))
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
        localservices: String,
        localservicesnames: Vec<&'static str>,
        localrelay: bool,
        timeoffset: i64,
        networkactive: bool,
        connections: usize,
        connections_in: usize,
        connections_out: usize,
        /// Grains a byte.
        relayfee: u64,
        warnings: Vec<String>,
    }
    api.node(|node, _| {
        let (inbound, outbound) = node.connection_counts();
        Reply::of(&Info {
            version: version_number(),
            subversion: node.config().user_agent.clone(),
            protocolversion: PROTOCOL_VERSION,
            localservices: format!("{SERVICE_FULL:016x}"),
            localservicesnames: service_names(SERVICE_FULL),
            localrelay: true,
            timeoffset: 0,
            networkactive: true,
            connections: inbound + outbound,
            connections_in: inbound,
            connections_out: outbound,
            relayfee: node.mempool().limits().min_fee_rate,
            warnings: Vec::new(),
        })
    })
    .await
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
        totalbytesrecv: totals.bytes_received,
        totalbytessent: totals.bytes_sent,
        totalmessagesrecv: totals.messages_received,
        totalmessagessent: totals.messages_sent,
        timemillis: unix * 1000,
    }))
}

/// The addresses that `HOST:PORT` stands for now.
async fn resolve(text: &str) -> Result<Vec<SocketAddr>, RpcError> {
    let error = |reason: String| RpcError::invalid(format!("node: {text:?}: {reason} (expected HOST:PORT)"));
    let found = tokio::net::lookup_host(text).await.map_err(|cause| error(cause.to_string()))?;
    let addresses: Vec<SocketAddr> = found.collect();
    if addresses.is_empty() { Err(error("no such host".to_owned())) } else { Ok(addresses) }
}

async fn add_node(api: Api, args: Args) -> Outcome {
    let (name, command) = (args.get::<&str>("node")?, args.get::<&str>("command")?);
    if !matches!(command, "add" | "remove" | "onetry") {
        return Err(RpcError::invalid("command: expected \"add\", \"remove\" or \"onetry\""));
    }
    let command = command.to_owned();
    let addresses = resolve(name).await?;
    api.node(move |node, now| {
        // A host may have several addresses: any one that is new, or was there, makes the call a good one.
        let done =
            |good: usize, code, message| if good > 0 { Ok(Reply::null()) } else { Err(RpcError::new(code, message)) };
        match command.as_str() {
            "add" => {
                let added = addresses.iter().filter(|address| node.add_node(now, **address)).count();
                done(added, Code::AlreadyAdded, "Error: Node already added")
            }
            "remove" => {
                let removed = addresses.iter().filter(|address| node.remove_node(now, address)).count();
                done(removed, Code::NotAdded, "Error: Node could not be removed. It has not been added previously.")
            }
            _ => {
                addresses.iter().take(1).for_each(|address| node.connect_once(now, *address));
                Ok(Reply::null())
            }
        }
    })
    .await?
}

async fn disconnect_node(api: Api, args: Args) -> Outcome {
    let address: &str = args.get("address")?;
    let id: Option<u64> = args.get("nodeid")?;
    let invalid = || RpcError::invalid("Only one of address and nodeid should be provided.");
    let address: Option<SocketAddr> = match (address, id) {
        ("", Some(_)) => None,
        ("", None) | (_, Some(_)) => return Err(invalid()),
        (text, None) => Some(text.parse().map_err(|_| RpcError::invalid("address: expected IP:PORT"))?),
    };
    let closed = api
        .node(move |node, now| match (address, id) {
            (Some(address), _) => node.disconnect_address(now, address),
            (None, Some(id)) => node.disconnect(now, PeerId(id)),
            (None, None) => false,
        })
        .await?;
    if closed { Ok(Reply::null()) } else { Err(RpcError::new(Code::NotConnected, "Node not found in connected nodes")) }
}

async fn set_ban(api: Api, args: Args) -> Outcome {
    let subnet: &str = args.get("subnet")?;
    let subnet: Subnet = subnet
        .parse()
        .map_err(|error| RpcError::new(Code::InvalidSubnet, format!("Error: Invalid IP/Subnet: {error}")))?;
    let (time, absolute) = (args.get::<u64>("bantime")?, args.get::<bool>("absolute")?);
    match args.get::<&str>("command")? {
        "add" => {
            api.node(move |node, now| {
                let until = match (time, absolute) {
                    (0, _) => now.unix + BAN_SECS,
                    (time, true) => time,
                    (time, false) => now.unix.saturating_add(time),
                };
                if until <= now.unix {
                    return Err(RpcError::invalid("Error: Absolute timestamp is in the past"));
                }
                node.ban(now, subnet, until);
                Ok(Reply::null())
            })
            .await?
        }
        "remove" => {
            let ended = api.node(move |node, _| node.unban(&subnet)).await?;
            let unknown = "Error: Unban failed. Requested address/subnet was not previously manually banned.";
            if ended { Ok(Reply::null()) } else { Err(RpcError::new(Code::InvalidSubnet, unknown)) }
        }
        _ => Err(RpcError::invalid("command: expected \"add\" or \"remove\"")),
    }
}

async fn list_banned(api: Api) -> Outcome {
    #[derive(Serialize)]
    struct BanView {
        address: String,
        ban_created: u64,
        banned_until: u64,
        ban_duration: u64,
        time_remaining: u64,
        ban_reason: String,
    }
    api.node(|node, now| {
        let bans = node.bans(now).into_iter().map(|(subnet, ban)| BanView {
            address: subnet.to_string(),
            ban_created: ban.created,
            banned_until: ban.until,
            ban_duration: ban.until.saturating_sub(ban.created),
            time_remaining: ban.until.saturating_sub(now.unix),
            ban_reason: ban.reason,
        });
        Reply::of(&bans.collect::<Vec<_>>())
    })
    .await
}

async fn clear_banned(api: Api) -> Outcome {
    api.node(|node, _| node.clear_bans()).await?;
    Ok(Reply::null())
}
