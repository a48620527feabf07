//! The messages between nodes. Each kind has a number, a largest payload and a largest count, which decoding enforces.

mod codec;
mod kind;

use std::sync::Arc;

pub use kind::Kind;

use crate::p2p::chain_proofs::{ChainAnswer, ChainQuery};
use crate::p2p::coins::{CoinAnswer, CoinQuery, Opening};
use crate::p2p::compact::CompactBlock;
use crate::p2p::kad::{Contact, NodeId};
use crate::p2p::peer_addr::{IfKnown, PeerAddr};
use crate::p2p::proofs::{ProofQuery, Proofs};
use crate::p2p::signal::Signal;
use crate::p2p::state::{RangeAnswer, RangeQuery};
use crate::p2p::wants::{ContentBlock, Have, Want};
use crate::primitives::block::Block;
use crate::primitives::codec::{CodecError, Decode, DecodeError, Decoder, Encode};
use crate::primitives::hash::{BlockHash, FilterHash, FilterHeader, Txid};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::target::Work;
use crate::primitives::tx::Transaction;

/// The version of the protocol spoken here.
pub const PROTOCOL_VERSION: u32 = 6;
/// The oldest version understood.
pub const MIN_PROTOCOL_VERSION: u32 = 6;

/// Service bit: has every block of its best chain, and serves it and its filters.
pub const SERVICE_FULL: u64 = 1;

/// Service bit of a brief connection, which only asks for nodes: it gets no unsolicited messages and offers nothing.
pub const SERVICE_BRIEF: u64 = 1 << 1;

/// Service bit of a full node that does not keep every block: it has those of its best chain from
/// [`Hello::bodies_from`] on, and serves them and their filters. It may prune further, but not deeper under its tip.
pub const SERVICE_PRUNED: u64 = 1 << 2;

/// Service bit: serves the coins after the last edges of its best chain, to nodes that start from them.
pub const SERVICE_STATE: u64 = 1 << 3;

/// Service bit: serves proofs of its whole chain, and of single headers in it.
pub const SERVICE_CHAIN_PROOFS: u64 = 1 << 4;

/// Service bit: serves blocks of content.
pub const SERVICE_CONTENT: u64 = 1 << 5;

/// Service bit of a full node that relays calls between browser pages, and of a page that takes such calls.
pub const SERVICE_PAGES: u64 = 1 << 6;

/// Service bit: archives runs of the blocks that it prunes, and says which by [`Message::Archive`].
pub const SERVICE_ARCHIVE: u64 = 1 << 7;

/// Whether services are those of a browser page that other pages may call.
pub fn is_page(services: u64) -> bool {
    services & SERVICE_PAGES != 0 && !is_full_node(services)
}

/// Whether services are those of a node that checks and relays blocks and transactions.
pub fn is_full_node(services: u64) -> bool {
    services & (SERVICE_FULL | SERVICE_PRUNED) != 0
}

/// Most headers in a [`Message::Headers`]; as many mean that there are more.
pub const MAX_HEADERS: usize = 2_000;
/// Most ids in a [`Message::Inventory`], [`Message::GetData`] or [`Message::NotFound`].
pub const MAX_INVENTORY: usize = 2_000;
/// Most hashes in a locator: those of 2^32 blocks, at doubling distances after the first ten, are fewer.
pub const MAX_LOCATOR: usize = 64;
/// Most filter hashes in a [`Message::FilterHeaders`], and blocks that one may be asked for.
pub const MAX_FILTER_HEADERS: usize = 2_000;
/// Most filters in a [`Message::Filters`], and blocks that one may be asked for.
pub const MAX_FILTERS: usize = 100;
/// Most bytes of a [`Message::Filters`]. One filter always fits: an output takes 44 bytes of its block, an input more, and
/// a key 21.5 bits of the filter, so that the filter has less than a sixteenth of the block's bytes.
pub const MAX_FILTERS_BYTES: usize = 1_000_000;
/// Most addresses in a [`Hello`]: a few transports, over both IPv4 and IPv6 at different ports.
pub const MAX_LISTENS: usize = 4;
/// Most keys in a [`Message::AddProvider`].
pub const MAX_PROVIDED: usize = 1_000;
/// Most bytes of a user agent.
pub const MAX_USER_AGENT: usize = 128;
/// Most bytes of a [`Hello`]: what is defined today and room for fields to come.
pub const MAX_HELLO_BYTES: usize = 1_024;

/// First message of each side, and only the first: its network, services and tip.
///
/// Bytes after the fields known here are ignored, so that later versions may add some.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub struct Hello {
    /// Version of the protocol that the sender speaks.
    pub version: u32,
    /// Hash of genesis, which names the network.
    pub genesis: BlockHash,
    /// What the sender offers, as `SERVICE_` bits; unknown ones are ignored.
    pub services: u64,
    /// Its best chain.
    pub tip: TipClaim,
    /// The lowest height whose blocks it has; genesis's with [`SERVICE_FULL`].
    pub bodies_from: Height,
    /// Where it accepts connections, preferred address first; at most [`MAX_LISTENS`]. The receiver puts the connection's
    /// source IP in place of theirs, which are not trusted. Addresses of unknown kinds are left out when it is decoded.
    pub listens: Vec<PeerAddr>,
    /// Name and version of the software, for people to read.
    pub user_agent: String,
}

impl Hello {
    /// The hello of a sender that speaks this version: its chain is genesis alone, it accepts no connections, and it has no
    /// name.
    pub fn new(genesis: BlockHash, services: u64) -> Self {
        Self {
            version: PROTOCOL_VERSION,
            genesis,
            services,
            tip: TipClaim { height: Height::GENESIS, hash: genesis, work: Work::ZERO },
            bodies_from: Height::GENESIS,
            listens: Vec::new(),
            user_agent: String::new(),
        }
    }
}

impl<C> Decode<C> for Hello {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let (version, genesis, services, tip, bodies_from) = Decode::decode(decoder)?;
        let listens = IfKnown::of_list(Decode::decode(decoder)?);
        Ok(Self { version, genesis, services, tip, bodies_from, listens, user_agent: Decode::decode(decoder)? })
    }
}

/// The claimed tip of the sender's best chain, used only to choose which peer to ask first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub struct TipClaim {
    /// Height of the block.
    pub height: Height,
    /// Its hash.
    pub hash: BlockHash,
    /// Work of the chain up to it.
    pub work: Work,
}

/// The name of a body that can be requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Item {
    /// A transaction.
    Transaction(Txid),
    /// A block.
    Block(BlockHash),
    /// A block in its compact form, or whole if it is not one of the last few. Only asked for, never announced.
    CompactBlock(BlockHash),
}

impl Item {
    /// Bytes of every encoding.
    pub const LEN: usize = 4 + 32;
}

/// One message. Bodies are shared, so that sending to many peers costs one copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// First on every connection, from both sides.
    Hello(Hello),
    /// To be answered with [`Message::Pong`] and the same number.
    Ping(u64),
    /// Answers [`Message::Ping`].
    Pong(u64),
    /// Announces at most [`MAX_INVENTORY`] ids.
    Inventory(Vec<Item>),
    /// Asks for at most [`MAX_INVENTORY`] bodies.
    GetData(Vec<Item>),
    /// The items of a [`Message::GetData`] that the sender does not have.
    NotFound(Vec<Item>),
    /// Asks for the headers after the first hash of the locator that is on the sender's best chain.
    GetHeaders {
        /// Hashes of the asker's chain, newest first, at growing distances, genesis last; at most [`MAX_LOCATOR`].
        locator: Vec<BlockHash>,
        /// The last header wanted; zero for as many as there may be.
        stop: BlockHash,
    },
    /// Up to [`MAX_HEADERS`] headers, each the parent of the next. Answers [`Message::GetHeaders`], and announces new
    /// blocks.
    Headers(Vec<Header>),
    /// A block asked for.
    Block(Arc<Block>),
    /// A transaction asked for.
    Transaction(Arc<Transaction>),
    /// Asks for the filter hashes of a part of the best chain (BIP-157), at most [`MAX_FILTER_HEADERS`].
    GetFilterHeaders {
        /// Height of the first block.
        start_height: Height,
        /// The last block.
        stop: BlockHash,
    },
    /// Answers [`Message::GetFilterHeaders`]. No hashes mean that `stop` is not on the sender's best chain, or not there.
    FilterHeaders {
        /// The last block, as it was asked for.
        stop: BlockHash,
        /// The filter header of the block before the first; zero before genesis, and if there are no hashes.
        previous: FilterHeader,
        /// Hashes of the filters, one a block. The filter headers follow from them and `previous`.
        hashes: Vec<FilterHash>,
    },
    /// Asks for the filters of a part of the best chain (BIP-157), at most [`MAX_FILTERS`].
    GetFilters {
        /// Height of the first block.
        start_height: Height,
        /// The last block.
        stop: BlockHash,
    },
    /// Answers [`Message::GetFilters`] with each block's hash and the bytes of its filter, in order: all, or as many from
    /// the first on as [`MAX_FILTERS_BYTES`] allow, and at least one. None mean that `stop` is not on the sender's best
    /// chain, or not there.
    Filters(Vec<(BlockHash, Vec<u8>)>),
    /// Asks for proofs that transactions are in blocks.
    GetProofs(ProofQuery),
    /// Answers [`Message::GetProofs`].
    Proofs(Proofs),
    /// Asks for the nodes nearest to an id that the other side knows.
    FindNode {
        /// The id.
        target: NodeId,
    },
    /// Answers [`Message::FindNode`]: at most [`K`](crate::p2p::kad::K) nodes, the nearest first.
    Nodes(Vec<Contact>),
    /// A compact block, requested or pushed to a peer that wants it.
    CompactBlock(Arc<CompactBlock>),
    /// Requests transactions of a block received in compact form.
    GetBlockTransactions {
        /// The block.
        block: BlockHash,
        /// Their places in it, each greater than the one before.
        places: Vec<u16>,
    },
    /// Answers [`Message::GetBlockTransactions`], in the order in which they were asked for.
    BlockTransactions {
        /// The block.
        block: BlockHash,
        /// The transactions.
        transactions: Vec<Arc<Transaction>>,
    },
    /// Whether the receiver is to push new blocks in their compact form (BIP-152's high bandwidth) or to announce their
    /// headers, as at first.
    SendCompact(bool),
    /// Asks for the coins of a state in a range of keys.
    GetStateRange(RangeQuery),
    /// Answers [`Message::GetStateRange`].
    StateRange(RangeAnswer),
    /// Asks what the coinbase of a block commits to.
    GetOpening(BlockHash),
    /// Answers [`Message::GetOpening`].
    Opening {
        /// The block, as it was asked for.
        block: BlockHash,
        /// `None` if the block is genesis, is not on the sender's best chain, or its body is not there.
        opening: Option<Box<Opening>>,
    },
    /// Asks about the coins of a key after an edge of the chain.
    GetCoins(CoinQuery),
    /// Answers [`Message::GetCoins`].
    Coins(CoinAnswer),
    /// Asks for a proof of the chain, or of headers in it.
    GetChainProof(ChainQuery),
    /// Answers [`Message::GetChainProof`].
    ChainProof(ChainAnswer),
    /// Says that the sender has the content of these keys ([`NodeId::of_content`]), at most [`MAX_PROVIDED`].
    AddProvider(Vec<NodeId>),
    /// Answers [`Message::AddProvider`].
    ProviderAdded {
        /// How many of the keys the sender keeps a record for.
        kept: u16,
    },
    /// Asks who has the content of a key, and for the nodes nearest to the key.
    GetProviders {
        /// The key.
        key: NodeId,
    },
    /// Answers [`Message::GetProviders`].
    Providers {
        /// Nodes that said that they have it, at most [`K`](crate::p2p::kad::K). The address that the sender gives for itself
        /// means nothing.
        providers: Vec<Contact>,
        /// As in [`Message::Nodes`].
        nearer: Vec<Contact>,
    },
    /// Asks for blocks of content, or whether they are there; at most [`MAX_WANTS`](crate::p2p::wants::MAX_WANTS).
    WantBlocks(Vec<Want>),
    /// Answers [`Message::WantBlocks`] for what is not sent, at most [`MAX_WANTS`](crate::p2p::wants::MAX_WANTS).
    HaveBlocks(Vec<Have>),
    /// Answers [`Message::WantBlocks`] with a block.
    ContentBlock(Arc<ContentBlock>),
    /// Answers a [`Message::GetHeaders`] that asks for headers which the sender has not fetched yet, since it started from a
    /// state: it has all from `end` on, and lacks some from `from` on.
    NoHeaders {
        /// The lowest height whose header is missing.
        from: Height,
        /// The height from which on none is missing.
        end: Height,
    },
    /// The runs of pruned blocks that the sender has, as a set of bits: run 8j + i is bit i of byte j. At most
    /// [`MAX_RUNS_BYTES`](crate::p2p::archive::MAX_RUNS_BYTES). It replaces what was said before.
    Archive(Vec<u8>),
    /// A page asks a node for other pages.
    GetPages,
    /// Answers [`Message::GetPages`]: pages that are connected to the sender, chosen by chance, at most
    /// [`MAX_PAGES`](crate::p2p::signal::MAX_PAGES).
    Pages(Vec<NodeId>),
    /// An offer or an answer for a page, or from one, relayed by the node between them.
    Signal {
        /// To a node the page that is meant; from a node the page that sent it.
        page: NodeId,
        /// The offer or answer, with at most [`MAX_DESCRIPTION`](crate::p2p::signal::MAX_DESCRIPTION) bytes.
        signal: Signal,
    },
    /// Answers a [`Message::Signal`] with an offer that is not relayed: there is no such page, or it is called too often.
    NoPage {
        /// The page, as it was named.
        page: NodeId,
    },
}

/// Why a payload is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Encode, Decode)]
pub enum MessageError {
    /// Not the encoding of what the kind says.
    #[error("{} message: {source}", kind.name())]
    Encoding {
        /// The kind in the frame.
        kind: Kind,
        /// What is wrong with it.
        source: CodecError,
    },
    /// More elements than allowed.
    #[error("{} message with {got} elements, at most {max} are allowed", kind.name())]
    TooMany {
        /// The kind in the frame.
        kind: Kind,
        /// How many there are.
        got: usize,
        /// How many there may be.
        max: usize,
    },
}

#[cfg(test)]
pub(crate) mod tests;
