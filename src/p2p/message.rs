//! The messages between nodes. Each kind has a number, a largest payload and a largest count, which decoding enforces.

use std::sync::Arc;

use crate::consensus::check::{MAX_COINBASE_BYTES, MAX_TRANSACTION_BYTES};
use crate::p2p::archive::MAX_RUNS_BYTES;
use crate::p2p::chain_proofs::{ChainAnswer, ChainQuery};
use crate::p2p::coins::{CoinAnswer, CoinQuery, MAX_OPENING_OVERHEAD, Opening};
use crate::p2p::compact::{CompactBlock, MAX_PREFILLED, MAX_TRANSACTIONS};
use crate::p2p::kad::{Contact, K, NodeId};
use crate::p2p::peer_addr::{IfKnown, PeerAddr};
use crate::p2p::proofs::{MAX_ANSWER_OVERHEAD, MAX_PROOFS, ProofQuery, Proofs};
use crate::p2p::signal::{MAX_DESCRIPTION, MAX_PAGES, Signal};
use crate::p2p::state::{RangeAnswer, RangeQuery};
use crate::p2p::wants::{ContentBlock, Have, MAX_CONTENT_BYTES, MAX_HASH_BYTES, MAX_WANTS, Want};
use crate::primitives::block::Block;
use crate::primitives::codec::{self, CodecError, Decode, DecodeError, Decoder, Encode};
use crate::primitives::hash::{BlockHash, FilterHash, FilterHeader, Txid};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::target::Work;
use crate::primitives::tx::Transaction;

/// The version of the protocol spoken here.
pub const PROTOCOL_VERSION: u32 = 5;
/// The oldest version understood.
pub const MIN_PROTOCOL_VERSION: u32 = 5;

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
    /// Answers [`Message::FindNode`]: at most [`K`] nodes, the nearest first.
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
        /// Nodes that said that they have it, at most [`K`]. The address that the sender gives for itself means nothing.
        providers: Vec<Contact>,
        /// As in [`Message::Nodes`].
        nearer: Vec<Contact>,
    },
    /// Asks for blocks of content, or whether they are there; at most [`MAX_WANTS`].
    WantBlocks(Vec<Want>),
    /// Answers [`Message::WantBlocks`] for what is not sent, at most [`MAX_WANTS`].
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
    /// [`MAX_RUNS_BYTES`]. It replaces what was said before.
    Archive(Vec<u8>),
    /// A page asks a node for other pages.
    GetPages,
    /// Answers [`Message::GetPages`]: pages that are connected to the sender, at most [`MAX_PAGES`], chosen by chance.
    Pages(Vec<NodeId>),
    /// An offer or an answer for a page, or from one, relayed by the node between them.
    Signal {
        /// To a node the page that is meant; from a node the page that sent it.
        page: NodeId,
        /// The offer or answer, with at most [`MAX_DESCRIPTION`] bytes.
        signal: Signal,
    },
    /// Answers a [`Message::Signal`] with an offer that is not relayed: there is no such page, or it is called too often.
    NoPage {
        /// The page, as it was named.
        page: NodeId,
    },
}

/// The byte that says which message a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[repr(u8)]
#[allow(missing_docs)] // Named as the messages are.
pub enum Kind {
    Hello = 0,
    Ping = 1,
    Pong = 2,
    Inventory = 5,
    GetData = 6,
    NotFound = 7,
    GetHeaders = 8,
    Headers = 9,
    Block = 10,
    Transaction = 11,
    GetFilterHeaders = 12,
    FilterHeaders = 13,
    GetFilters = 14,
    Filters = 15,
    GetProofs = 16,
    Proofs = 17,
    FindNode = 18,
    Nodes = 19,
    CompactBlock = 20,
    GetBlockTransactions = 21,
    BlockTransactions = 22,
    SendCompact = 23,
    GetStateRange = 24,
    StateRange = 25,
    GetOpening = 26,
    Opening = 27,
    GetCoins = 28,
    Coins = 29,
    GetChainProof = 30,
    ChainProof = 31,
    AddProvider = 32,
    ProviderAdded = 33,
    GetProviders = 34,
    Providers = 35,
    WantBlocks = 36,
    HaveBlocks = 37,
    ContentBlock = 38,
    NoHeaders = 39,
    Archive = 40,
    GetPages = 41,
    Pages = 42,
    Signal = 43,
    NoPage = 44,
}

/// A count's own bytes, before the elements counted.
const COUNT_BYTES: usize = 8;

impl Kind {
    /// All kinds, in the order of their bytes.
    pub const ALL: [Self; 43] = [
        Self::Hello,
        Self::Ping,
        Self::Pong,
        Self::Inventory,
        Self::GetData,
        Self::NotFound,
        Self::GetHeaders,
        Self::Headers,
        Self::Block,
        Self::Transaction,
        Self::GetFilterHeaders,
        Self::FilterHeaders,
        Self::GetFilters,
        Self::Filters,
        Self::GetProofs,
        Self::Proofs,
        Self::FindNode,
        Self::Nodes,
        Self::CompactBlock,
        Self::GetBlockTransactions,
        Self::BlockTransactions,
        Self::SendCompact,
        Self::GetStateRange,
        Self::StateRange,
        Self::GetOpening,
        Self::Opening,
        Self::GetCoins,
        Self::Coins,
        Self::GetChainProof,
        Self::ChainProof,
        Self::AddProvider,
        Self::ProviderAdded,
        Self::GetProviders,
        Self::Providers,
        Self::WantBlocks,
        Self::HaveBlocks,
        Self::ContentBlock,
        Self::NoHeaders,
        Self::Archive,
        Self::GetPages,
        Self::Pages,
        Self::Signal,
        Self::NoPage,
    ];

    /// The kind of a byte; `None` for unknown ones and for 3 and 4, which are retired.
    pub fn from_byte(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }

    /// Its place in [`Kind::ALL`], for counters.
    pub fn place(self) -> usize {
        // Tests check that every kind is in the list.
        Self::ALL.iter().position(|kind| *kind == self).unwrap_or(0)
    }

    /// Most bytes that the payload may have in a network whose blocks have at most `max_block_bytes`.
    pub fn max_payload(self, max_block_bytes: usize) -> usize {
        match self {
            Self::Hello => MAX_HELLO_BYTES,
            Self::Ping | Self::Pong => 8,
            Self::Inventory | Self::GetData | Self::NotFound => COUNT_BYTES + MAX_INVENTORY * Item::LEN,
            Self::GetHeaders => COUNT_BYTES + (MAX_LOCATOR + 1) * 32,
            Self::Headers => COUNT_BYTES + MAX_HEADERS * Header::LEN,
            Self::Block => max_block_bytes,
            Self::Transaction => MAX_TRANSACTION_BYTES.min(max_block_bytes),
            Self::GetFilterHeaders | Self::GetFilters => 4 + 32,
            Self::FilterHeaders => 32 + 32 + COUNT_BYTES + MAX_FILTER_HEADERS * 32,
            Self::Filters => MAX_FILTERS_BYTES,
            Self::GetProofs => ProofQuery::MAX_LEN,
            Self::Proofs => MAX_ANSWER_OVERHEAD + MAX_TRANSACTION_BYTES,
            Self::FindNode => 32,
            Self::Nodes => COUNT_BYTES + K * Contact::MAX_LEN,
            // Short ids are shorter than what they stand for; number, second count and places come on top.
            Self::CompactBlock => max_block_bytes + 8 + COUNT_BYTES + 2 * MAX_PREFILLED,
            Self::GetBlockTransactions => 32 + COUNT_BYTES + 2 * MAX_TRANSACTIONS,
            // The rest of a block is longer than a hash.
            Self::BlockTransactions => max_block_bytes,
            Self::SendCompact => 1,
            Self::GetStateRange => RangeQuery::LEN,
            Self::StateRange => RangeAnswer::MAX_LEN,
            Self::GetOpening => 32,
            Self::Opening => 32 + 1 + MAX_OPENING_OVERHEAD + MAX_COINBASE_BYTES,
            Self::GetCoins => CoinQuery::MAX_LEN,
            Self::Coins => CoinAnswer::MAX_LEN,
            Self::GetChainProof => ChainQuery::MAX_LEN,
            Self::ChainProof => ChainAnswer::MAX_LEN,
            Self::AddProvider => COUNT_BYTES + MAX_PROVIDED * 32,
            Self::ProviderAdded => 2,
            Self::GetProviders => 32,
            Self::Providers => 2 * (COUNT_BYTES + K * Contact::MAX_LEN),
            Self::WantBlocks | Self::HaveBlocks => COUNT_BYTES + MAX_WANTS * (COUNT_BYTES + MAX_HASH_BYTES + 1),
            Self::ContentBlock => 2 * COUNT_BYTES + MAX_HASH_BYTES + MAX_CONTENT_BYTES,
            Self::NoHeaders => 8,
            Self::Archive => COUNT_BYTES + MAX_RUNS_BYTES,
            Self::GetPages => 0,
            Self::Pages => COUNT_BYTES + MAX_PAGES * 32,
            Self::Signal => 32 + 4 + COUNT_BYTES + MAX_DESCRIPTION,
            Self::NoPage => 32,
        }
    }

    /// The message's name, for logs and counters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Ping => "ping",
            Self::Pong => "pong",
            Self::Inventory => "inventory",
            Self::GetData => "getdata",
            Self::NotFound => "notfound",
            Self::GetHeaders => "getheaders",
            Self::Headers => "headers",
            Self::Block => "block",
            Self::Transaction => "transaction",
            Self::GetFilterHeaders => "getfilterheaders",
            Self::FilterHeaders => "filterheaders",
            Self::GetFilters => "getfilters",
            Self::Filters => "filters",
            Self::GetProofs => "getproofs",
            Self::Proofs => "proofs",
            Self::FindNode => "findnode",
            Self::Nodes => "nodes",
            Self::CompactBlock => "compactblock",
            Self::GetBlockTransactions => "getblocktransactions",
            Self::BlockTransactions => "blocktransactions",
            Self::SendCompact => "sendcompact",
            Self::GetStateRange => "getstaterange",
            Self::StateRange => "staterange",
            Self::GetOpening => "getopening",
            Self::Opening => "opening",
            Self::GetCoins => "getcoins",
            Self::Coins => "coins",
            Self::GetChainProof => "getchainproof",
            Self::ChainProof => "chainproof",
            Self::AddProvider => "addprovider",
            Self::ProviderAdded => "provideradded",
            Self::GetProviders => "getproviders",
            Self::Providers => "providers",
            Self::WantBlocks => "wantblocks",
            Self::HaveBlocks => "haveblocks",
            Self::ContentBlock => "contentblock",
            Self::NoHeaders => "noheaders",
            Self::Archive => "archive",
            Self::GetPages => "getpages",
            Self::Pages => "pages",
            Self::Signal => "signal",
            Self::NoPage => "nopage",
        }
    }
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

impl Message {
    /// Which message it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Hello(_) => Kind::Hello,
            Self::Ping(_) => Kind::Ping,
            Self::Pong(_) => Kind::Pong,
            Self::Inventory(_) => Kind::Inventory,
            Self::GetData(_) => Kind::GetData,
            Self::NotFound(_) => Kind::NotFound,
            Self::GetHeaders { .. } => Kind::GetHeaders,
            Self::Headers(_) => Kind::Headers,
            Self::Block(_) => Kind::Block,
            Self::Transaction(_) => Kind::Transaction,
            Self::GetFilterHeaders { .. } => Kind::GetFilterHeaders,
            Self::FilterHeaders { .. } => Kind::FilterHeaders,
            Self::GetFilters { .. } => Kind::GetFilters,
            Self::Filters(_) => Kind::Filters,
            Self::GetProofs(_) => Kind::GetProofs,
            Self::Proofs(_) => Kind::Proofs,
            Self::FindNode { .. } => Kind::FindNode,
            Self::Nodes(_) => Kind::Nodes,
            Self::CompactBlock(_) => Kind::CompactBlock,
            Self::GetBlockTransactions { .. } => Kind::GetBlockTransactions,
            Self::BlockTransactions { .. } => Kind::BlockTransactions,
            Self::SendCompact(_) => Kind::SendCompact,
            Self::GetStateRange(_) => Kind::GetStateRange,
            Self::StateRange(_) => Kind::StateRange,
            Self::GetOpening(_) => Kind::GetOpening,
            Self::Opening { .. } => Kind::Opening,
            Self::GetCoins(_) => Kind::GetCoins,
            Self::Coins(_) => Kind::Coins,
            Self::GetChainProof(_) => Kind::GetChainProof,
            Self::ChainProof(_) => Kind::ChainProof,
            Self::AddProvider(_) => Kind::AddProvider,
            Self::ProviderAdded { .. } => Kind::ProviderAdded,
            Self::GetProviders { .. } => Kind::GetProviders,
            Self::Providers { .. } => Kind::Providers,
            Self::WantBlocks(_) => Kind::WantBlocks,
            Self::HaveBlocks(_) => Kind::HaveBlocks,
            Self::ContentBlock(_) => Kind::ContentBlock,
            Self::NoHeaders { .. } => Kind::NoHeaders,
            Self::Archive(_) => Kind::Archive,
            Self::GetPages => Kind::GetPages,
            Self::Pages(_) => Kind::Pages,
            Self::Signal { .. } => Kind::Signal,
            Self::NoPage { .. } => Kind::NoPage,
        }
    }

    /// Whether it belongs to the exchange of content, which goes on beside everything else.
    pub fn is_of_exchange(&self) -> bool {
        matches!(self, Self::WantBlocks(_) | Self::HaveBlocks(_) | Self::ContentBlock(_))
    }

    /// The payload's bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Hello(hello) => codec::encode(hello),
            Self::Ping(nonce) | Self::Pong(nonce) => codec::encode(nonce),
            Self::Inventory(items) | Self::GetData(items) | Self::NotFound(items) => codec::encode(items),
            Self::GetHeaders { locator, stop } => codec::encode(&(locator, stop)),
            Self::Headers(headers) => codec::encode(headers),
            Self::Block(block) => codec::encode(block),
            Self::Transaction(tx) => codec::encode(tx),
            Self::GetFilterHeaders { start_height, stop } | Self::GetFilters { start_height, stop } => {
                codec::encode(&(start_height, stop))
            }
            Self::FilterHeaders { stop, previous, hashes } => codec::encode(&(stop, previous, hashes)),
            Self::Filters(filters) => codec::encode(filters),
            Self::GetProofs(query) => codec::encode(query),
            Self::Proofs(proofs) => codec::encode(proofs),
            Self::FindNode { target } => codec::encode(target),
            Self::Nodes(contacts) => codec::encode(contacts),
            Self::CompactBlock(compact) => codec::encode(compact),
            Self::GetBlockTransactions { block, places } => codec::encode(&(block, places)),
            Self::BlockTransactions { block, transactions } => codec::encode(&(block, transactions)),
            Self::SendCompact(push) => codec::encode(push),
            Self::GetStateRange(query) => codec::encode(query),
            Self::StateRange(answer) => codec::encode(answer),
            Self::GetOpening(block) => codec::encode(block),
            Self::Opening { block, opening } => codec::encode(&(block, opening)),
            Self::GetCoins(query) => codec::encode(query),
            Self::Coins(answer) => codec::encode(answer),
            Self::GetChainProof(query) => codec::encode(query),
            Self::ChainProof(answer) => codec::encode(answer),
            Self::AddProvider(keys) => codec::encode(keys),
            Self::ProviderAdded { kept } => codec::encode(kept),
            Self::GetProviders { key } => codec::encode(key),
            Self::Providers { providers, nearer } => codec::encode(&(providers, nearer)),
            Self::WantBlocks(wants) => codec::encode(wants),
            Self::HaveBlocks(haves) => codec::encode(haves),
            Self::ContentBlock(block) => codec::encode(block),
            Self::NoHeaders { from, end } => codec::encode(&(from, end)),
            Self::Archive(runs) => codec::encode(runs),
            Self::GetPages => Vec::new(),
            Self::Pages(pages) => codec::encode(pages),
            Self::Signal { page, signal } => codec::encode(&(page, signal)),
            Self::NoPage { page } => codec::encode(page),
        }
    }

    /// Length of [`Message::encode`]'s answer in bytes, without building it.
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Hello(hello) => codec::encoded_len(hello),
            Self::Ping(_) | Self::Pong(_) => 8,
            Self::Inventory(items) | Self::GetData(items) | Self::NotFound(items) => {
                COUNT_BYTES + items.len() * Item::LEN
            }
            Self::GetHeaders { locator, .. } => COUNT_BYTES + (locator.len() + 1) * 32,
            Self::Headers(headers) => COUNT_BYTES + headers.len() * Header::LEN,
            Self::Block(block) => block.size(),
            Self::Transaction(tx) => tx.size(),
            Self::GetFilterHeaders { .. } | Self::GetFilters { .. } => 4 + 32,
            Self::FilterHeaders { hashes, .. } => 32 + 32 + COUNT_BYTES + hashes.len() * 32,
            Self::Filters(filters) => {
                COUNT_BYTES + filters.iter().map(|(_, filter)| 32 + COUNT_BYTES + filter.len()).sum::<usize>()
            }
            Self::GetProofs(query) => codec::encoded_len(query),
            Self::Proofs(proofs) => codec::encoded_len(proofs),
            Self::FindNode { .. } => 32,
            Self::Nodes(contacts) => codec::encoded_len(contacts),
            Self::CompactBlock(compact) => codec::encoded_len(compact),
            Self::GetBlockTransactions { places, .. } => 32 + COUNT_BYTES + 2 * places.len(),
            Self::BlockTransactions { transactions, .. } => 32 + codec::encoded_len(transactions),
            Self::SendCompact(_) => 1,
            Self::GetStateRange(_) => RangeQuery::LEN,
            Self::StateRange(answer) => codec::encoded_len(answer),
            Self::GetOpening(_) => 32,
            Self::Opening { opening, .. } => 32 + codec::encoded_len(opening),
            Self::GetCoins(query) => codec::encoded_len(query),
            Self::Coins(answer) => codec::encoded_len(answer),
            Self::GetChainProof(query) => codec::encoded_len(query),
            Self::ChainProof(answer) => codec::encoded_len(answer),
            Self::AddProvider(keys) => COUNT_BYTES + keys.len() * 32,
            Self::ProviderAdded { .. } => 2,
            Self::GetProviders { .. } => 32,
            Self::Providers { providers, nearer } => codec::encoded_len(providers) + codec::encoded_len(nearer),
            Self::WantBlocks(wants) => codec::encoded_len(wants),
            Self::HaveBlocks(haves) => codec::encoded_len(haves),
            Self::ContentBlock(block) => 2 * COUNT_BYTES + block.hash.len() + block.bytes.len(),
            Self::NoHeaders { .. } => 8,
            Self::Archive(runs) => COUNT_BYTES + runs.len(),
            Self::GetPages => 0,
            Self::Pages(pages) => COUNT_BYTES + pages.len() * 32,
            Self::Signal { signal, .. } => 32 + 4 + COUNT_BYTES + signal.description().len(),
            Self::NoPage { .. } => 32,
        }
    }

    /// The message of a payload whose length was checked against [`Kind::max_payload`].
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn decode(kind: Kind, payload: &[u8]) -> Result<Self, MessageError> {
        fn whole<T: Decode<()>>(kind: Kind, payload: &[u8]) -> Result<T, MessageError> {
            codec::decode(payload).map_err(|source| MessageError::Encoding { kind, source })
        }
        fn list<T: Decode<()>>(kind: Kind, payload: &[u8], max: usize) -> Result<Vec<T>, MessageError> {
            let list: Vec<T> = whole(kind, payload)?;
            within(kind, list.len(), max)?;
            Ok(list)
        }
        fn within(kind: Kind, got: usize, max: usize) -> Result<(), MessageError> {
            if got > max { Err(MessageError::TooMany { kind, got, max }) } else { Ok(()) }
        }
        Ok(match kind {
            Kind::Hello => {
                let (hello, _): (Hello, usize) =
                    codec::decode_prefix(payload).map_err(|source| MessageError::Encoding { kind, source })?;
                within(kind, hello.user_agent.len(), MAX_USER_AGENT)?;
                within(kind, hello.listens.len(), MAX_LISTENS)?;
                Self::Hello(hello)
            }
            Kind::Ping => Self::Ping(whole(kind, payload)?),
            Kind::Pong => Self::Pong(whole(kind, payload)?),
            Kind::Inventory => Self::Inventory(list(kind, payload, MAX_INVENTORY)?),
            Kind::GetData => Self::GetData(list(kind, payload, MAX_INVENTORY)?),
            Kind::NotFound => Self::NotFound(list(kind, payload, MAX_INVENTORY)?),
            Kind::GetHeaders => {
                let (locator, stop): (Vec<BlockHash>, BlockHash) = whole(kind, payload)?;
                within(kind, locator.len(), MAX_LOCATOR)?;
                Self::GetHeaders { locator, stop }
            }
            Kind::Headers => Self::Headers(list(kind, payload, MAX_HEADERS)?),
            Kind::Block => Self::Block(Arc::new(whole(kind, payload)?)),
            Kind::Transaction => Self::Transaction(Arc::new(whole(kind, payload)?)),
            Kind::GetFilterHeaders => {
                let (start_height, stop) = whole(kind, payload)?;
                Self::GetFilterHeaders { start_height, stop }
            }
            Kind::FilterHeaders => {
                let (stop, previous, hashes): (BlockHash, FilterHeader, Vec<FilterHash>) = whole(kind, payload)?;
                within(kind, hashes.len(), MAX_FILTER_HEADERS)?;
                Self::FilterHeaders { stop, previous, hashes }
            }
            Kind::GetFilters => {
                let (start_height, stop) = whole(kind, payload)?;
                Self::GetFilters { start_height, stop }
            }
            Kind::Filters => Self::Filters(list(kind, payload, MAX_FILTERS)?),
            Kind::GetProofs => Self::GetProofs(whole(kind, payload)?),
            Kind::Proofs => {
                let answer: Proofs = whole(kind, payload)?;
                within(kind, answer.proofs.len(), MAX_PROOFS)?;
                Self::Proofs(answer)
            }
            Kind::FindNode => Self::FindNode { target: whole(kind, payload)? },
            Kind::Nodes => Self::Nodes(IfKnown::of_list(list(kind, payload, K)?)),
            Kind::CompactBlock => {
                let compact: CompactBlock = whole(kind, payload)?;
                within(kind, compact.prefilled.len(), MAX_PREFILLED)?;
                within(kind, compact.transactions(), MAX_TRANSACTIONS)?;
                Self::CompactBlock(Arc::new(compact))
            }
            Kind::GetBlockTransactions => {
                let (block, places): (BlockHash, Vec<u16>) = whole(kind, payload)?;
                within(kind, places.len(), MAX_TRANSACTIONS)?;
                Self::GetBlockTransactions { block, places }
            }
            Kind::BlockTransactions => {
                let (block, transactions): (BlockHash, Vec<Arc<Transaction>>) = whole(kind, payload)?;
                within(kind, transactions.len(), MAX_TRANSACTIONS)?;
                Self::BlockTransactions { block, transactions }
            }
            Kind::SendCompact => Self::SendCompact(whole(kind, payload)?),
            Kind::GetStateRange => Self::GetStateRange(whole(kind, payload)?),
            Kind::StateRange => Self::StateRange(whole(kind, payload)?),
            Kind::GetOpening => Self::GetOpening(whole(kind, payload)?),
            Kind::Opening => {
                let (block, opening) = whole(kind, payload)?;
                Self::Opening { block, opening }
            }
            Kind::GetCoins => Self::GetCoins(whole(kind, payload)?),
            Kind::Coins => Self::Coins(whole(kind, payload)?),
            Kind::GetChainProof => Self::GetChainProof(whole(kind, payload)?),
            Kind::ChainProof => Self::ChainProof(whole(kind, payload)?),
            Kind::AddProvider => Self::AddProvider(list(kind, payload, MAX_PROVIDED)?),
            Kind::ProviderAdded => Self::ProviderAdded { kept: whole(kind, payload)? },
            Kind::GetProviders => Self::GetProviders { key: whole(kind, payload)? },
            Kind::Providers => {
                let (providers, nearer): (Vec<IfKnown<Contact>>, Vec<IfKnown<Contact>>) = whole(kind, payload)?;
                within(kind, providers.len(), K)?;
                within(kind, nearer.len(), K)?;
                Self::Providers { providers: IfKnown::of_list(providers), nearer: IfKnown::of_list(nearer) }
            }
            Kind::WantBlocks => {
                let wants: Vec<Want> = list(kind, payload, MAX_WANTS)?;
                wants.iter().try_for_each(|want| within(kind, want.hash.len(), MAX_HASH_BYTES))?;
                Self::WantBlocks(wants)
            }
            Kind::HaveBlocks => {
                let haves: Vec<Have> = list(kind, payload, MAX_WANTS)?;
                haves.iter().try_for_each(|have| within(kind, have.hash.len(), MAX_HASH_BYTES))?;
                Self::HaveBlocks(haves)
            }
            Kind::ContentBlock => {
                let block: ContentBlock = whole(kind, payload)?;
                within(kind, block.hash.len(), MAX_HASH_BYTES)?;
                within(kind, block.bytes.len(), MAX_CONTENT_BYTES)?;
                Self::ContentBlock(Arc::new(block))
            }
            Kind::Archive => {
                let runs: Vec<u8> = whole(kind, payload)?;
                within(kind, runs.len(), MAX_RUNS_BYTES)?;
                Self::Archive(runs)
            }
            Kind::NoHeaders => {
                let (from, end) = whole(kind, payload)?;
                Self::NoHeaders { from, end }
            }
            Kind::GetPages => {
                whole::<()>(kind, payload)?;
                Self::GetPages
            }
            Kind::Pages => Self::Pages(list(kind, payload, MAX_PAGES)?),
            Kind::Signal => {
                let (page, signal): (NodeId, Signal) = whole(kind, payload)?;
                within(kind, signal.description().len(), MAX_DESCRIPTION)?;
                Self::Signal { page, signal }
            }
            Kind::NoPage => Self::NoPage { page: whole(kind, payload)? },
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
