//! Links between nodes, and simulated faults on them.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{Access, Method, Outcome};
use crate::p2p::{Direction, PeerAddr, PeerId, PeerInfo};
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::rpc::values::member;
use crate::runtime::{Chaos, Handle, LinkKey, LinkSettings, MAX_DELAY};
use crate::sim::units::Share;

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "getlinks",
        access: Access::Public,
        params: &[],
        result: Shape::Object(&results::network::LINKS),
        about: "The nodes of this process, each with its links to other nodes and the faults that setlink has set on them.",
        run: |api, _| Box::pin(get_links(api)),
    },
    Method {
        name: "setlink",
        access: Access::Owner,
        params: &[
            required(
                "peer",
                Kind::TextOrInteger,
                "The other end: an id as in getpeerinfo, an address IP:PORT, or the name of a node of this process.",
            ),
            required(
                "settings",
                Kind::Object,
                "Any of cut (boolean), delay_ms (integer), loss (share of the messages, 0 to 1) and bandwidth (bytes a \
                 second, 0 for no limit). Settings that are left out do not change.",
            ),
            optional(
                "node",
                Kind::Text,
                "null",
                "The node of this process on whose side to set them. Default: the node that is called.",
            ),
        ],
        result: Shape::Object(&results::network::LINK),
        about: "Cuts a link like a pulled cable, slows it or makes it lose messages, on nodes started with --chaos. A cut \
                works both ways; the other settings affect only what the node sends.",
        run: |api, args| Box::pin(set_link(api, args)),
    },
];

/// A link, as both methods answer it.
#[derive(Debug, Serialize)]
struct LinkView {
    /// The connection; null if the link is cut, slow or lossy and no connection stands.
    peer: Option<u64>,
    addr: PeerAddr,
    listenaddr: Option<PeerAddr>,
    /// The node of this process that listens there.
    name: Option<String>,
    inbound: bool,
    cut: bool,
    delay_ms: u64,
    loss: f64,
    bandwidth: u64,
}

impl LinkView {
    fn new(api: &Api, peer: Option<&PeerInfo>, key: LinkKey, settings: LinkSettings) -> Option<Self> {
        let listens_at = match key {
            LinkKey::Listening(address) => Some(address),
            LinkKey::Connection(_) => None,
        };
        let LinkSettings { cut, delay, loss, bandwidth } = settings;
        Some(Self {
            peer: peer.map(|peer| peer.id.0),
            addr: peer.map(|peer| peer.address).or(listens_at)?,
            listenaddr: listens_at,
            name: listens_at.and_then(|address| name_of(api, address)),
            inbound: peer.is_some_and(|peer| peer.direction == Direction::Inbound),
            cut,
            delay_ms: delay.as_millis() as u64,
            loss,
            bandwidth,
        })
    }
}

fn name_of(api: &Api, address: PeerAddr) -> Option<String> {
    api.nodes().into_iter().find(|(_, node)| node.listens_at() == Some(address)).map(|(name, _)| name)
}

/// Connections that have completed the handshake; none of a paused node, which cannot say.
async fn peers(api: &Api, node: &Handle) -> Result<Vec<PeerInfo>, RpcError> {
    let peers = api.ask_unless_paused(node, |node, now| node.peers(now)).await?;
    Ok(peers.into_iter().flatten().filter(|peer| peer.ready).collect())
}

fn key_of(peer: &PeerInfo) -> LinkKey {
    peer.listens_at.map_or(LinkKey::Connection(peer.id), LinkKey::Listening)
}

async fn get_links(api: Api) -> Outcome {
    #[derive(Serialize)]
    struct Answer {
        chaos: bool,
        managed: bool,
        nodes: Vec<NodeView>,
    }
    #[derive(Serialize)]
    struct NodeView {
        name: String,
        paused: bool,
        address: Option<PeerAddr>,
        height: Height,
        tip: BlockHash,
        links: Vec<LinkView>,
    }
    let mut nodes = Vec::new();
    for (name, node) in api.nodes() {
        let links = links_of(&api, &node).await?;
        let tip = *node.tip().borrow();
        nodes.push(NodeView {
            paused: node.is_paused(),
            name,
            address: node.listens_at(),
            height: tip.height,
            tip: tip.hash,
            links,
        });
    }
    api.reply(&Answer { chaos: api.handle.chaos().is_some(), managed: api.operator.is_some(), nodes })
}

/// Connected links first, then links with faults but without a connection.
async fn links_of(api: &Api, node: &Handle) -> Result<Vec<LinkView>, RpcError> {
    let peers = peers(api, node).await?;
    let settings = |key| node.chaos().map_or_else(LinkSettings::default, |chaos| chaos.get(key));
    let connected = peers.iter().map(|peer| (Some(peer), key_of(peer)));
    let kept = node.chaos().map(Chaos::kept).unwrap_or_default().into_iter().map(|(address, _)| address);
    let unconnected = kept
        .filter(|address| !peers.iter().any(|peer| peer.listens_at == Some(*address)))
        .map(|address| (None, LinkKey::Listening(address)));
    Ok(connected.chain(unconnected).filter_map(|(peer, key)| LinkView::new(api, peer, key, settings(key))).collect())
}

/// The changes that setlink makes.
#[derive(Debug)]
struct Changes {
    cut: Option<bool>,
    delay: Option<Duration>,
    loss: Option<f64>,
    bandwidth: Option<u64>,
}

impl Changes {
    const NAMES: [&str; 4] = ["cut", "delay_ms", "loss", "bandwidth"];

    fn read(settings: &Map<String, Value>) -> Result<Self, RpcError> {
        if let Some(name) = settings.keys().find(|name| !Self::NAMES.contains(&name.as_str())) {
            let known = Self::NAMES.join(", ");
            return Err(RpcError::invalid(format!("settings: there is no {name:?}, only {known}")));
        }
        let read = || {
            Ok(Self {
                cut: member(settings, "cut")?,
                delay: member(settings, "delay_ms")?.map(Duration::from_millis),
                loss: member(settings, "loss")?,
                bandwidth: member(settings, "bandwidth")?,
            })
        };
        read().map_err(|error: String| RpcError::invalid(format!("settings: {error}")))
    }

    fn check(&self) -> Result<(), RpcError> {
        if let Some(Err(error)) = self.loss.map(Share::new) {
            return Err(RpcError::invalid(format!("settings: loss: {error}")));
        }
        if let Some(delay) = self.delay.filter(|delay| *delay > MAX_DELAY) {
            let (got, most) = (delay.as_millis(), MAX_DELAY.as_millis());
            return Err(RpcError::invalid(format!("settings: delay_ms is {got}, expected at most {most}")));
        }
        Ok(())
    }

    fn apply(&self, settings: &mut LinkSettings) {
        settings.cut = self.cut.unwrap_or(settings.cut);
        settings.delay = self.delay.unwrap_or(settings.delay);
        settings.loss = self.loss.unwrap_or(settings.loss);
        settings.bandwidth = self.bandwidth.unwrap_or(settings.bandwidth);
    }
}

async fn set_link(api: Api, args: Args) -> Outcome {
    let changes = Changes::read(args.get("settings")?)?;
    changes.check()?;
    let node = match args.get::<Option<&str>>("node")? {
        None => api.handle.clone(),
        Some(name) => find_node(&api, name).ok_or_else(|| unknown_node(&api, name))?,
    };
    let chaos = node.chaos().ok_or_else(|| {
        RpcError::new(Code::Misc, "this node was started without --chaos: its links cannot be changed")
    })?;
    let key = find_link(&api, &node, chaos, args.get("peer")?)?;
    let changed = node.change_link(key, |settings| changes.apply(settings)).await?;
    let settings = changed.unwrap_or_else(|| chaos.get(key));
    let peers = peers(&api, &node).await?;
    let peer = peers.iter().find(|peer| match key {
        LinkKey::Listening(address) => peer.listens_at == Some(address),
        LinkKey::Connection(id) => peer.id == id,
    });
    match LinkView::new(&api, peer, key, settings) {
        Some(view) => Ok(Reply::of(&view)),
        None => Err(RpcError::new(Code::NotConnected, "peer: the connection ended at that moment")),
    }
}

/// The node of this process that has a name.
pub(super) fn find_node(api: &Api, name: &str) -> Option<Handle> {
    api.nodes().into_iter().find(|(known, _)| known == name).map(|(_, node)| node)
}

/// Says which names there are.
pub(super) fn unknown_node(api: &Api, name: &str) -> RpcError {
    let names: Vec<String> = api.nodes().into_iter().map(|(name, _)| name).collect();
    RpcError::invalid(format!("node: {name:?} is not a node of this process, expected one of {}", names.join(", ")))
}

/// The link that a caller means. Nodes of this process need not be connected, so that a link can be cut before it is made.
fn find_link(api: &Api, node: &Handle, chaos: &Chaos, text: &str) -> Result<LinkKey, RpcError> {
    let no_peer = |what: &str| RpcError::new(Code::NotConnected, format!("peer: {what}"));
    if let Ok(id) = text.parse::<u64>() {
        return chaos.link_of(PeerId(id)).ok_or_else(|| no_peer(&format!("no connection has the id {id}")));
    }
    let address = match text.parse::<PeerAddr>() {
        Ok(address) => address,
        Err(_) => {
            let other = find_node(api, text).ok_or_else(|| {
                no_peer(&format!("{text:?} is not a node of this process, an id or an address IP:PORT"))
            })?;
            if other.is_same_node(node) {
                return Err(RpcError::invalid(format!("peer: {text:?} is the node itself")));
            }
            other.listens_at().ok_or_else(|| no_peer(&format!("{text:?} does not wait for peers")))?
        }
    };
    let known = chaos.link_at(address);
    let named = || name_of(api, address).map(|_| LinkKey::Listening(address));
    known.or_else(named).ok_or_else(|| no_peer(&format!("no connection to {address}")))
}
