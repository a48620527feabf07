//! A node's inputs and outputs: all I/O is data.

use std::collections::vec_deque::Drain;
use std::sync::Arc;
use std::time::Duration;

use crate::mempool::Ahead;
use crate::p2p::bans::Subnet;
use crate::p2p::connection::{Direction, Now, PeerId};
use crate::p2p::frame::{Frame, FrameError};
use crate::p2p::kad::{Contact, NodeId};
use crate::p2p::message::Message;
use crate::p2p::misbehaviour::Offence;
use crate::p2p::peer_addr::PeerAddr;
use crate::p2p::search::Found;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::height::Height;
use crate::primitives::time::{MonoTime, UnixTime};
use crate::primitives::tx::HashedTransaction;

/// One side of the peer-to-peer protocol: a full node, or a light client. The driver has the sockets and the clock.
pub trait Protocol {
    /// The owner's commands.
    type Command: Send;

    /// Handles an input. [`Protocol::drain`] returns the outputs.
    fn handle(&mut self, now: Now, input: Input);

    /// Carries out a command and sends its [`Reply`](crate::p2p::Reply). [`Protocol::drain`] returns the outputs.
    fn command(&mut self, now: Now, command: Self::Command);

    /// The outputs, in order. To be emptied after every call that takes the protocol as mutable.
    fn drain(&mut self) -> Drain<'_, Output>;

    /// A peer's remaining budget, in nanoseconds of this thread: of two waiting peers, the one with more left is served
    /// first. See [`budget`](crate::p2p::budget).
    fn budget_left(&self, now: Now, peer: PeerId) -> i64;

    /// The signatures of transactions that a peer sent, for the driver to check on whatever thread before it hands these over
    /// as [`Input::Transactions`]. `earlier` are those that wait for their hand-over before them.
    fn signatures_of(&self, earlier: &[&HashedTransaction], transactions: &[HashedTransaction]) -> Ahead;

    /// The end of the best chain: its height and hash.
    fn tip(&self) -> (Height, BlockHash);
}

/// What answers a dial in place of the node that was meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OtherParty {
    /// A node with another id than was required.
    Node(NodeId),
    /// A server of HTTP, such as a node's RPC.
    Http,
}

/// What is said of an address at which [`OtherParty::Http`] answers.
pub const SPEAKS_HTTP: &str = "speaks HTTP, as a node's address for RPC does: give its address for peers";

/// Inputs.
#[derive(Debug, Clone)]
pub enum Input {
    /// A connection is established, inbound or requested by [`Output::Connect`].
    Connected {
        /// Its number.
        peer: PeerId,
        /// The other side's address; for an outbound connection the one dialled.
        address: PeerAddr,
        /// Who dialled.
        direction: Direction,
        /// The other side's id, which the driver verifies before this input.
        id: NodeId,
    },
    /// A dial requested by [`Output::Connect`] failed, or another id was found there.
    ConnectFailed {
        /// The address dialled.
        address: PeerAddr,
        /// What answers there instead, if that is known.
        found: Option<OtherParty>,
    },
    /// A message came.
    Received {
        /// The sender.
        peer: PeerId,
        /// The message.
        message: Message,
        /// When it was read from the socket, by [`Now::mono`]: it may have waited for this node's thread since.
        at: MonoTime,
    },
    /// Messages that came one after the other, each with a transaction. They are handled one by one.
    Transactions {
        /// The sender.
        peer: PeerId,
        /// What they hold, in the order in which they came.
        transactions: Vec<HashedTransaction>,
        /// Those of them whose signatures the driver has found valid: see [`Protocol::signatures_of`]. The node checks those
        /// of the others itself, so it never takes another's word for it that one is invalid.
        verified: Vec<Txid>,
    },
    /// Received bytes are no message; the driver reads no more from this peer.
    Malformed {
        /// The sender.
        peer: PeerId,
        /// What is wrong with it.
        reason: FrameError,
    },
    /// Everything sent to a peer before an [`Output::Flush`] was written.
    Flushed {
        /// The receiver.
        peer: PeerId,
    },
    /// The connection is gone. Not needed after [`Output::Disconnect`], and harmless.
    Disconnected {
        /// The peer.
        peer: PeerId,
    },
    /// The driver's thread was busy with one call, and messages received meanwhile wait: the delay is not the peers'.
    Delayed {
        /// For how long.
        by: Duration,
    },
    /// The time of an [`Output::WakeAt`] has come. Harmless at any other time.
    Tick,
    /// The driver stops, and this is the last input: saves the state that a later start uses.
    Stop,
}

/// Outputs, to be carried out in order.
#[derive(Debug, Clone)]
pub enum Output {
    /// Send a message.
    Send {
        /// The receiver.
        peer: PeerId,
        /// What, encoded.
        frame: Frame,
    },
    /// Answer with [`Input::Flushed`] once everything sent to this peer so far is written: bodies are served in
    /// portions, so that a slow reader costs no more than one.
    Flush {
        /// The receiver.
        peer: PeerId,
    },
    /// Dial an address; answer with [`Input::Connected`] or [`Input::ConnectFailed`].
    Connect {
        /// The address.
        address: PeerAddr,
        /// The required id; `None` for any.
        id: Option<NodeId>,
    },
    /// Close a connection once everything sent before is written, or a moment later in any case.
    Disconnect {
        /// The peer.
        peer: PeerId,
        /// Why.
        reason: Reason,
    },
    /// Give [`Input::Tick`] at this time of [`Now::mono`]. Each replaces the one before.
    WakeAt {
        /// When.
        at: MonoTime,
    },
    /// Keep the headers of a light client, 80 bytes each, in place of those kept above a height. Only the owner of one
    /// needs them.
    KeepHeaders {
        /// If set, these bytes go in place of all that was kept, and the headers follow them.
        beginning: Option<Vec<u8>>,
        /// The height of the last header that stays.
        above: Height,
        /// The headers from the next height on, one after the other.
        headers: Vec<u8>,
    },
    /// Notify subscribers.
    Event(Event),
}

/// Events for subscribers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The best chain ends at another block. Follows the events of its blocks.
    TipChanged {
        /// The new tip.
        hash: BlockHash,
        /// Its height.
        height: Height,
    },
    /// A block joined the best chain.
    BlockConnected {
        /// The block.
        hash: BlockHash,
        /// Its height.
        height: Height,
    },
    /// A block left the best chain.
    BlockDisconnected {
        /// The block.
        hash: BlockHash,
        /// Its height.
        height: Height,
    },
    /// The mempool admitted a transaction.
    TransactionAccepted {
        /// The transaction.
        txid: Txid,
    },
    /// A peer has said hello and is of this network.
    PeerConnected {
        /// The peer.
        peer: PeerId,
        /// Its address.
        address: PeerAddr,
        /// Who dialled.
        direction: Direction,
    },
    /// A connection ended, with or without an earlier [`Event::PeerConnected`].
    PeerDisconnected {
        /// The peer.
        peer: PeerId,
        /// Its address.
        address: PeerAddr,
        /// Why.
        reason: Reason,
    },
    /// Addresses are refused for some time.
    Banned {
        /// Which.
        subnet: Subnet,
        /// Until when.
        until: UnixTime,
    },
    /// A lookup that this node's owner asked for has ended.
    NodesFound(Arc<Found>),
    /// A lookup for providers of content, which this node's owner asked for, was told of one more.
    ProviderNamed {
        /// The lookup's number.
        number: u64,
        /// The provider. The node that named it may lie.
        provider: Contact,
    },
    /// Content was announced that this node's owner asked to announce.
    Announced {
        /// Its key.
        key: NodeId,
        /// How many nodes keep a record of it: none if none was reached.
        nodes: u16,
    },
    /// A light client has news, which its owner may read.
    Noticed,
    /// The best chain has come to an edge whose state is not computed yet: [`Chain::state_table`] is to be moved.
    ///
    /// [`Chain::state_table`]: crate::chain::Chain::state_table
    StateDue,
    /// A peer waits for a proof of the best chain, which is to be made ([`prove_tip`]) and given to the node with
    /// [`Command::ProofMade`](crate::p2p::Command::ProofMade).
    ///
    /// [`prove_tip`]: crate::p2p::chain_prover::prove_tip
    ProofDue,
    /// This node's store failed, so valid data were not stored. Continuing makes sense only if the cause goes away.
    StoreFailed {
        /// The error.
        error: String,
    },
    /// A branch with about as much work as the best chain leaves it where blocks are pruned, and was refused.
    BranchTooDeep {
        /// What happened, and what to do.
        error: String,
    },
}

/// Why a connection ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The other side, or the network, closed it.
    #[error("closed by the other side")]
    Closed,
    /// Requested over RPC.
    #[error("closed on request")]
    Requested,
    /// This node is to have no connections.
    #[error("networking is switched off")]
    Inactive,
    /// The peer is this node itself.
    #[error("connected to itself")]
    SelfConnection,
    /// There is another connection with the same node.
    #[error("connected to this node already")]
    Duplicate,
    /// It belongs to another network.
    #[error("its genesis is {got}, expected {expected}")]
    WrongGenesis {
        /// The peer's.
        got: BlockHash,
        /// This node's.
        expected: BlockHash,
    },
    /// It speaks a version too old to be understood.
    #[error("it speaks version {got}, at least {min} is needed")]
    TooOld {
        /// The peer's.
        got: u32,
        /// The least.
        min: u32,
    },
    /// It does not have all blocks, and a light client needs one that has.
    #[error("it is not a full node")]
    NotFull,
    /// It has pruned blocks that this node needs next.
    #[error("it has blocks from height {from} on, and needed is {needed}")]
    LacksBlocks {
        /// Its lowest.
        from: Height,
        /// The next of this node's best chain.
        needed: Height,
    },
    /// A brief connection whose purpose is fulfilled.
    #[error("all queries are done")]
    Brief,
    /// It did not say hello in time.
    #[error("no hello in time")]
    HandshakeTimeout,
    /// It did not answer a ping in time.
    #[error("no pong in time")]
    PingTimeout,
    /// It repeatedly did not deliver requested blocks.
    #[error("it stalls the synchronisation")]
    Stalled,
    /// Its address is banned.
    #[error("its address is banned")]
    Banned,
    /// There are enough connections from its address.
    #[error("too many connections from its address")]
    TooManyFromAddress,
    /// All places for inbound connections are taken by better peers.
    #[error("all slots are taken")]
    Full,
    /// A new peer took its place.
    #[error("evicted in favour of another peer")]
    Evicted,
    /// It broke the protocol once too often.
    #[error("misbehaved: {0}")]
    Misbehaved(Offence),
}
