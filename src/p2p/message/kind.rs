//! The kinds of messages: their numbers, their names and their largest payloads.

use super::{
    Item, MAX_FILTER_HEADERS, MAX_FILTERS_BYTES, MAX_HEADERS, MAX_HELLO_BYTES, MAX_INVENTORY, MAX_LOCATOR, MAX_PROVIDED,
};
use crate::consensus::check::{MAX_COINBASE_BYTES, MAX_TRANSACTION_BYTES};
use crate::p2p::archive::MAX_RUNS_BYTES;
use crate::p2p::chain_proofs::{ChainAnswer, ChainQuery};
use crate::p2p::coins::{CoinAnswer, CoinQuery, MAX_OPENING_OVERHEAD};
use crate::p2p::compact::{MAX_PREFILLED, MAX_TRANSACTIONS};
use crate::p2p::kad::{Contact, K};
use crate::p2p::proofs::{MAX_ANSWER_OVERHEAD, ProofQuery};
use crate::p2p::signal::{MAX_DESCRIPTION, MAX_PAGES};
use crate::p2p::state::{RangeAnswer, RangeQuery};
use crate::p2p::wants::{MAX_CONTENT_BYTES, MAX_HASH_BYTES, MAX_WANTS};
use crate::primitives::codec::{Decode, Encode};
use crate::primitives::header::Header;

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
pub(super) const COUNT_BYTES: usize = 8;

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
