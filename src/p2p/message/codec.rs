//! Messages as payloads of frames. Decoding enforces the largest counts.

use std::sync::Arc;

use super::kind::COUNT_BYTES;
use super::{
    Hello, Item, Kind, MAX_FILTER_HEADERS, MAX_FILTERS, MAX_HEADERS, MAX_INVENTORY, MAX_LISTENS, MAX_LOCATOR,
    MAX_PROVIDED, MAX_USER_AGENT, Message, MessageError,
};
use crate::p2p::archive::MAX_RUNS_BYTES;
use crate::p2p::compact::{CompactBlock, MAX_PREFILLED, MAX_TRANSACTIONS};
use crate::p2p::kad::{Contact, K, NodeId};
use crate::p2p::peer_addr::IfKnown;
use crate::p2p::proofs::{MAX_PROOFS, Proofs};
use crate::p2p::signal::{MAX_DESCRIPTION, MAX_PAGES, Signal};
use crate::p2p::state::RangeQuery;
use crate::p2p::wants::{ContentBlock, Have, MAX_CONTENT_BYTES, MAX_HASH_BYTES, MAX_WANTS, Want};
use crate::primitives::codec::{self, Decode};
use crate::primitives::hash::{BlockHash, FilterHash, FilterHeader};
use crate::primitives::header::Header;
use crate::primitives::tx::Transaction;

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
