//! Peers, bans, links and snapshots.

use super::{OPTIONAL_INTEGER, OPTIONAL_TEXT, Object, Shape, WARNINGS, field, object, optional_field};

/// A peer, in the answer of `getpeerinfo`.
pub const PEER: Object = object(
    "Peer",
    &[
        field("id", Shape::Integer, "The number of the connection."),
        field("nodeid", Shape::Text, "The id that it has proven."),
        field("bucket", OPTIONAL_INTEGER, "The power of two of its distance; null for this node's own id."),
        field("addr", Shape::Text, "IP and port; of a browser a multiaddr with its certificate's hash."),
        field("network", Shape::Text, "\"ipv4\" or \"ipv6\"."),
        field("transport", Shape::Text, "\"tcp\", or \"webrtc\", by which browsers connect."),
        optional_field("listenaddr", Shape::Text, "Where it takes connections itself."),
        field("services", Shape::Hex, "What it offers, as bits."),
        field("servicesnames", Shape::Array(&Shape::Text), "The same by name."),
        field("lastsend", Shape::Integer, "In seconds since 1970."),
        field("lastrecv", Shape::Integer, "In seconds since 1970."),
        field("bytessent", Shape::Integer, ""),
        field("bytesrecv", Shape::Integer, ""),
        field("bytessent_per_msg", Shape::Map(&Shape::Integer), "By kind of message, framing included."),
        field("bytesrecv_per_msg", Shape::Map(&Shape::Integer), "By kind of message, framing included."),
        field("conntime", Shape::Integer, "When it connected, in seconds since 1970."),
        optional_field("pingtime", Shape::Number, "The round trip of the last ping, in seconds."),
        optional_field("minping", Shape::Number, "The shortest so far, in seconds."),
        field("version", Shape::Integer, "That of the protocol."),
        field("subver", Shape::Text, "Its software."),
        field("inbound", Shape::Boolean, "Whether it dialled."),
        field("connection_type", Shape::Text, "\"inbound\", \"manual\" or \"outbound-full-relay\"."),
        field("startingheight", Shape::Integer, "The height of its tip when it connected; -1 if it told none."),
        field("synced_headers", Shape::Integer, "The last header in common."),
        field("synced_blocks", Shape::Integer, "The last block in common."),
        field("inflight", Shape::Array(&Shape::Integer), "The heights of the blocks that it was asked for."),
        field("score", Shape::Integer, "Points of misbehaviour."),
        field("relaytxes", Shape::Boolean, "Always true."),
        field("last_transaction", Shape::Integer, "Always 0: it is not recorded."),
        field("last_block", Shape::Integer, "Always 0: it is not recorded."),
        field("timeoffset", Shape::Integer, "Always 0: clocks are not compared."),
        field("bip152_hb_to", Shape::Boolean, "Always false: compact blocks have no such mode."),
        field("bip152_hb_from", Shape::Boolean, "Always false."),
        field("permissions", Shape::Array(&Shape::Text), "Always empty."),
        field("minfeefilter", Shape::Integer, "Always 0: peers announce no least fee."),
        field("transport_protocol_type", Shape::Text, "Always \"v2\", Bitcoin Core's word for encrypted."),
        field("session_id", Shape::Text, "Always empty."),
        field("addrbind", Shape::Text, "Always empty: it is not kept."),
        field("inv_to_send", Shape::Integer, "Always 0: it is not counted."),
        field("last_inv_sequence", Shape::Integer, "Always 0: announcements have no numbers."),
    ],
);

/// The answer of `getnetworkinfo`.
pub const NETWORK_INFO: Object = object(
    "NetworkInfo",
    &[
        field("version", Shape::Integer, "That of Bitcoin Core whose answers these follow: 319900."),
        field("subversion", Shape::Text, "The software, as peers see it."),
        field("protocolversion", Shape::Integer, ""),
        field("nodeid", Shape::Text, "This node's id: the hash of its public key."),
        field("localservices", Shape::Hex, "What it offers, as bits."),
        field("localservicesnames", Shape::Array(&Shape::Text), "The same by name."),
        field("localrelay", Shape::Boolean, "Always true: it relays transactions."),
        field("timeoffset", Shape::Integer, "Always 0: it does not follow its peers' clocks."),
        field("networkactive", Shape::Boolean, "Whether it takes and makes connections."),
        field("connections", Shape::Integer, ""),
        field("connections_in", Shape::Integer, ""),
        field("connections_out", Shape::Integer, ""),
        field("networks", Shape::Array(&Shape::Object(&NETWORK)), ""),
        field("relayfee", Shape::Integer, "The least fee rate that is relayed, in grains a byte."),
        field("incrementalfee", Shape::Integer, "What a replacement must pay more, in grains a byte."),
        field("localaddresses", Shape::Array(&Shape::Null), "Always empty: it does not ask how peers see it."),
        field(
            "webrtc",
            OPTIONAL_TEXT,
            "The address at which browsers reach it, as a multiaddr; null if it does not listen.",
        ),
        WARNINGS,
    ],
);

const NETWORK: Object = object(
    "Network",
    &[
        field("name", Shape::Text, "\"ipv4\" or \"ipv6\"."),
        field("limited", Shape::Boolean, "Always false."),
        field("reachable", Shape::Boolean, "Always true."),
        field("proxy", Shape::Text, "Always empty."),
        field("proxy_randomize_credentials", Shape::Boolean, "Always false."),
    ],
);

/// The answer of `getnettotals`.
pub const NET_TOTALS: Object = object(
    "NetTotals",
    &[
        field("totalbytesrecv", Shape::Integer, ""),
        field("totalbytessent", Shape::Integer, ""),
        field("totalmessagesrecv", Shape::Integer, ""),
        field("totalmessagessent", Shape::Integer, ""),
        field("timemillis", Shape::Integer, "The node's time in milliseconds since 1970, to the second."),
        field("uploadtarget", Shape::Object(&UPLOAD_TARGET), "Bitcoin Core's limit of what is sent: there is none."),
    ],
);

const UPLOAD_TARGET: Object = object(
    "UploadTarget",
    &[
        field("timeframe", Shape::Integer, "A day in seconds."),
        field("target", Shape::Integer, "0."),
        field("target_reached", Shape::Boolean, "False."),
        field("serve_historical_blocks", Shape::Boolean, "True."),
        field("bytes_left_in_cycle", Shape::Integer, "0."),
        field("time_left_in_cycle", Shape::Integer, "0."),
    ],
);

/// A node in the answer of `getaddednodeinfo`.
pub const ADDED_NODE: Object = object(
    "AddedNode",
    &[
        field("addednode", Shape::Text, "IP and port, as given."),
        field("connected", Shape::Boolean, ""),
        field("addresses", Shape::Array(&Shape::Object(&ADDED_ADDRESS)), "The connection, if there is one."),
    ],
);

const ADDED_ADDRESS: Object = object(
    "AddedNodeAddress",
    &[field("address", Shape::Text, "IP and port."), field("connected", Shape::Text, "\"inbound\" or \"outbound\".")],
);

/// The answer of `findnode`.
pub const FOUND: Object = object(
    "FoundNodes",
    &[
        field("target", Shape::Text, "The id that was looked for."),
        field("nodes", Shape::Array(&Shape::Object(&FOUND_NODE)), "The nearest nodes, nearest first."),
        field("path", Shape::Array(&Shape::Object(&LOOKUP_STEP)), "The nodes that were asked, in order."),
        field("took", Shape::Number, "In seconds."),
        field("complete", Shape::Boolean, "Whether no nearer node was left to ask."),
    ],
);

const FOUND_NODE: Object = object(
    "FoundNode",
    &[
        field("nodeid", Shape::Text, ""),
        field("address", Shape::Text, "IP and port."),
        field("bucket", OPTIONAL_INTEGER, "The power of two of its distance from the target; null if it is that."),
    ],
);

/// A question of a lookup.
pub const LOOKUP_STEP: Object = object(
    "LookupStep",
    &[
        field("nodeid", Shape::Text, ""),
        field("address", Shape::Text, "IP and port."),
        field("hop", Shape::Integer, "By how many nodes it was learned."),
        field("at", Shape::Number, "When it was asked, in seconds since the start."),
        field(
            "took",
            Shape::Either(&[Shape::Number, Shape::Null]),
            "How long it took to answer, in seconds; null if it has not.",
        ),
        field("outcome", Shape::Text, "\"open\", \"answered\", \"late\" or \"failed\"."),
        field("told", OPTIONAL_INTEGER, "How many nodes it named; null if it has not answered."),
    ],
);

/// An address in the answer of `getnodeaddresses`.
pub const NODE_ADDRESS: Object = object(
    "NodeAddress",
    &[
        field("nodeid", OPTIONAL_TEXT, "The id found there; null for an address never reached."),
        field("bucket", OPTIONAL_INTEGER, "Its bucket in the table of contacts; null if it has no place there."),
        field("time", Shape::Integer, "When a node was last connected to it, in seconds since 1970; 0 if unknown."),
        field("services", Shape::Integer, "What it offers, as bits."),
        field("address", Shape::Text, "The IP."),
        field("port", Shape::Integer, ""),
        field("network", Shape::Text, "\"ipv4\" or \"ipv6\"."),
        field("addr", Shape::Text, "IP, port and transport in one."),
    ],
);

/// The addresses of a network in the answer of `getaddrmaninfo`.
pub const ADDRESS_COUNTS: Object = object(
    "AddressCounts",
    &[
        field("new", Shape::Integer, "Heard of."),
        field("tried", Shape::Integer, "Reached."),
        field("total", Shape::Integer, ""),
    ],
);

/// A ban in the answer of `listbanned`.
pub const BAN: Object = object(
    "Ban",
    &[
        field("address", Shape::Text, "The subnet."),
        field("ban_created", Shape::Integer, "In seconds since 1970."),
        field("banned_until", Shape::Integer, "In seconds since 1970."),
        field("ban_duration", Shape::Integer, "In seconds."),
        field("time_remaining", Shape::Integer, "In seconds."),
        field("ban_reason", Shape::Text, ""),
    ],
);

/// The answer of `getlinks`.
pub const LINKS: Object = object(
    "Links",
    &[
        field("chaos", Shape::Boolean, "Whether links can be changed: the node was started with --chaos."),
        field(
            "managed",
            Shape::Boolean,
            "Whether cairn testnet runs it, which can add nodes, fork the network and pay.",
        ),
        field("nodes", Shape::Array(&Shape::Object(&LINKED_NODE)), "The nodes of this process."),
    ],
);

const LINKED_NODE: Object = object(
    "LinkedNode",
    &[
        field("name", Shape::Text, ""),
        field("paused", Shape::Boolean, "Whether it stands still: its links are not known then."),
        field("address", OPTIONAL_TEXT, "Where it takes connections; null if it takes none."),
        field("height", Shape::Integer, "The height of its tip."),
        field("tip", Shape::Hash, ""),
        field("links", Shape::Array(&Shape::Object(&LINK)), ""),
    ],
);

/// The answer of `addtestnode` and `removetestnode`.
pub const CHANGED_NODE: Object = object(
    "ChangedNode",
    &[
        field("name", Shape::Text, ""),
        field("address", OPTIONAL_TEXT, "Where it takes, or took, connections."),
        field("rpc", OPTIONAL_TEXT, "The URL of its JSON-RPC; null of a removed one."),
    ],
);

/// The answer of `forktestnet`.
pub const NETWORK_FORK: Object = object(
    "NetworkFork",
    &[
        field("depth", Shape::Integer, "Blocks that the first node gave up."),
        field("fork", Shape::Object(&NETWORK_TIP), "The last block that both halves had."),
        field("old", Shape::Object(&NETWORK_TIP), "The tip of the half that lost."),
        field("new", Shape::Object(&NETWORK_TIP), "The tip of the half that won."),
        field("nodes", Shape::Integer, "Nodes that agree on it."),
    ],
);

const NETWORK_TIP: Object =
    object("NetworkTip", &[field("height", Shape::Integer, ""), field("hash", Shape::Hash, "")]);

/// One side of a link: the answer of `setlink`.
pub const LINK: Object = object(
    "Link",
    &[
        field("peer", OPTIONAL_INTEGER, "The number of the connection; null if none stands."),
        field("addr", Shape::Text, "IP and port of the other side."),
        field("listenaddr", OPTIONAL_TEXT, "Where the other side takes connections."),
        field("name", OPTIONAL_TEXT, "The node of this process that listens there."),
        field("inbound", Shape::Boolean, "Whether the other side dialled."),
        field("cut", Shape::Boolean, ""),
        field("delay_ms", Shape::Integer, "Milliseconds by which what is sent comes late."),
        field("loss", Shape::Number, "The share of messages that is lost, 0 to 1."),
        field("bandwidth", Shape::Integer, "Bytes a second; 0 for no limit."),
    ],
);

/// The answer of `revertsnapshot`.
pub const REVERTED: Object = object(
    "Reverted",
    &[
        field("link_ends", Shape::Integer, "Ends of links that are there again."),
        field("missing", Shape::Integer, "Ends of links that are not yet."),
        field("milliseconds", Shape::Number, "How long it took."),
    ],
);

/// A snapshot in the answer of `listsnapshots`.
pub const SNAPSHOT: Object =
    object("Snapshot", &[field("name", Shape::Text, ""), field("height", Shape::Integer, "That of this node's tip.")]);
