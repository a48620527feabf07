//! The owner's commands, from RPC or elsewhere, as values. Only these and [`Input`](crate::p2p::Input) change a node.

use std::fmt;

use crate::chain::{ChainError, ChainUpdate};
use crate::mempool::{Accepted, MempoolError, SavedError};
use crate::p2p::bans::Subnet;
use crate::p2p::chain_prover::TipProof;
use crate::p2p::connection::PeerId;
use crate::p2p::kad::NodeId;
use crate::p2p::peer_addr::PeerAddr;
use crate::p2p::wants::ContentFault;
use crate::primitives::block::Block;
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::time::UnixTime;
use crate::primitives::tx::Transaction;
use crate::storage::BlockKey;

/// The reply channel of a [`Command`]. Without a caller it discards the reply.
pub struct Reply<T>(Option<Box<dyn FnOnce(T) + Send>>);

impl<T: 'static> Reply<T> {
    /// Hands the answer to `caller`.
    pub fn to(caller: impl FnOnce(T) + Send + 'static) -> Self {
        Self(Some(Box::new(caller)))
    }

    /// For a command without a waiting caller.
    pub fn nowhere() -> Self {
        Self(None)
    }

    /// Answers.
    pub fn send(self, answer: T) {
        if let Some(caller) = self.0 {
            caller(answer);
        }
    }

    /// A reply of another type, which `change` converts to this one's.
    pub fn map<U: 'static>(self, change: impl FnOnce(U) -> T + Send + 'static) -> Reply<U> {
        match self.0 {
            Some(caller) => Reply::to(move |answer| caller(change(answer))),
            None => Reply::nowhere(),
        }
    }
}

impl<T> fmt::Debug for Reply<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Reply" } else { "Reply::nowhere" })
    }
}

/// Most snapshots that a node keeps: each has a whole mempool.
pub const MAX_SNAPSHOTS: usize = 100;

/// Why a snapshot cannot be taken, or reverted to.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum SnapshotError {
    /// There is none of that name; or there was, and the node was reverted to an earlier one.
    #[error("there is no snapshot {name:?}")]
    Unknown { name: String },
    /// There are enough.
    #[error("there are {MAX_SNAPSHOTS} snapshots, the most there can be: drop some")]
    TooMany,
    /// The chain's error.
    #[error(transparent)]
    Chain(#[from] ChainError),
}

/// What an owner asks of a full node. Each is carried out by the method of [`Node`](crate::p2p::Node) named with it, which says
/// what it does and what the answer means.
#[derive(Debug)]
pub enum Command {
    /// [`Node::submit_block`](crate::p2p::Node::submit_block).
    SubmitBlock(Block, Reply<Result<ChainUpdate, ChainError>>),
    /// [`Node::submit_header`](crate::p2p::Node::submit_header).
    SubmitHeader(Header, Reply<Result<(), ChainError>>),
    /// [`Node::submit_transaction`](crate::p2p::Node::submit_transaction).
    SubmitTransaction(Transaction, Reply<Result<Accepted, MempoolError>>),
    /// [`Node::restore_mempool`](crate::p2p::Node::restore_mempool).
    RestoreMempool(Vec<u8>, Reply<Result<usize, SavedError>>),
    /// [`Node::invalidate`](crate::p2p::Node::invalidate).
    Invalidate(BlockHash, Reply<Result<ChainUpdate, ChainError>>),
    /// [`Node::reconsider`](crate::p2p::Node::reconsider).
    Reconsider(BlockHash, Reply<Result<ChainUpdate, ChainError>>),
    /// [`Node::prune_below`](crate::p2p::Node::prune_below).
    PruneBelow(Height, Reply<Result<Height, ChainError>>),
    /// [`Node::state_ready`](crate::p2p::Node::state_ready).
    StateReady(BlockKey, Reply<()>),
    /// [`Node::proof_made`](crate::p2p::Node::proof_made).
    ProofMade(Option<TipProof>, Reply<()>),
    /// [`Node::ping`](crate::p2p::Node::ping).
    Ping(Reply<()>),
    /// [`Node::add_node`](crate::p2p::Node::add_node).
    AddNode(PeerAddr, Option<NodeId>, Reply<bool>),
    /// [`Node::add_seed`](crate::p2p::Node::add_seed).
    AddSeed(PeerAddr, Option<NodeId>, Reply<()>),
    /// [`Node::remove_node`](crate::p2p::Node::remove_node).
    RemoveNode(PeerAddr, Reply<bool>),
    /// [`Node::connect_once`](crate::p2p::Node::connect_once).
    ConnectOnce(PeerAddr, Option<NodeId>, Reply<()>),
    /// [`Node::disconnect`](crate::p2p::Node::disconnect).
    Disconnect(PeerId, Reply<bool>),
    /// [`Node::disconnect_address`](crate::p2p::Node::disconnect_address).
    DisconnectAddress(PeerAddr, Reply<bool>),
    /// [`Node::ban`](crate::p2p::Node::ban).
    Ban(Subnet, UnixTime, Reply<()>),
    /// [`Node::unban`](crate::p2p::Node::unban).
    Unban(Subnet, Reply<bool>),
    /// [`Node::clear_bans`](crate::p2p::Node::clear_bans).
    ClearBans(Reply<()>),
    /// Looks at the clock, as at [`Input::Tick`](crate::p2p::Input::Tick), and answers when what is due is done.
    Tick(Reply<()>),
    /// [`Node::take_snapshot`](crate::p2p::Node::take_snapshot).
    TakeSnapshot(String, Reply<Result<(), SnapshotError>>),
    /// [`Node::revert`](crate::p2p::Node::revert).
    Revert(String, Reply<Result<(), SnapshotError>>),
    /// [`Node::drop_snapshot`](crate::p2p::Node::drop_snapshot).
    DropSnapshot(String, Reply<bool>),
    /// [`Node::set_active`](crate::p2p::Node::set_active).
    SetActive(bool, Reply<()>),
    /// [`Node::find_node`](crate::p2p::Node::find_node).
    FindNode(NodeId, Reply<Option<u64>>),
    /// [`Node::find_providers`](crate::p2p::Node::find_providers).
    FindProviders(NodeId, Reply<Option<u64>>),
    /// [`Node::penalise_content`](crate::p2p::Node::penalise_content).
    PenaliseContent(PeerId, ContentFault, Reply<()>),
    /// [`Node::announce`](crate::p2p::Node::announce).
    Announce(NodeId, Reply<bool>),
    /// [`Node::provide`](crate::p2p::Node::provide).
    Provide(Vec<NodeId>, Reply<usize>),
    /// [`Node::stop_providing`](crate::p2p::Node::stop_providing).
    StopProviding(Vec<NodeId>, Reply<()>),
}
