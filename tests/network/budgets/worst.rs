//! The most expensive message of each kind.

use std::sync::Arc;

use cairn::p2p::PeerId;
use cairn::p2p::archive::MAX_RUNS_BYTES;
use cairn::p2p::blocks::COMPACT_DEPTH;
use cairn::p2p::chain_proofs::{ChainAnswer, ChainQuery, MAX_SHOWN_HEADERS, MAX_SPANS};
use cairn::p2p::coins::{About, CoinAnswer, CoinProof, CoinQuery};
use cairn::p2p::compact::CompactBlock;
use cairn::p2p::kad::{Contact, K, NodeId};
use cairn::p2p::message::{
    Item, Kind, MAX_FILTER_HEADERS, MAX_FILTERS, MAX_HEADERS, MAX_INVENTORY, MAX_LOCATOR, MAX_PROVIDED, Message,
};
use cairn::p2p::proofs::Proofs;
use cairn::p2p::signal::{MAX_DESCRIPTION, MAX_PAGES, Signal};
use cairn::p2p::state::{RangeAnswer, RangePage, RangeQuery};
use cairn::p2p::wants::{ContentBlock, Have, MAX_CONTENT_BYTES, MAX_HASH_BYTES, MAX_WANTS, Want};
use cairn::primitives::amount::Amount;
use cairn::primitives::hash::{BlockHash, FilterHash, FilterHeader, Hash256, StateRoot, Txid};
use cairn::primitives::height::Height;
use cairn::primitives::keys::Signature;
use cairn::primitives::tx::{Input as TxInput, OutPoint, Output as TxOutput, Transaction};
use cairn::state::KeyRange;

use super::{FULL, bad_block, blocks, by_key, extend, fill_mempool};
use crate::connections::{Bench, hello, id, sent};
use crate::params;
use cairn_testkit::{Ledger, key, public};

/// The most expensive message of a kind that any peer can send to a node with full blocks and a full mempool.
pub(super) fn worst(kind: Kind, bench: &mut Bench, peer: PeerId) -> Message {
    let full = blocks().last().unwrap();
    let digests = |count: usize| (0..count as u32).map(|n| Hash256::of(&n.to_le_bytes()).to_bytes());
    let (txids, hashes) =
        (|count| digests(count).map(Txid::from_bytes), |count| digests(count).map(BlockHash::from_bytes));
    match kind {
        Kind::Hello => Message::Hello(hello()),
        Kind::Ping => Message::Ping(1),
        Kind::Pong => Message::Pong(1),
        Kind::Inventory => Message::Inventory(txids(MAX_INVENTORY).map(Item::Transaction).collect()),
        // Every full block, whole and compact, and then blocks that the node does not have.
        Kind::GetData => {
            let named = blocks().iter().flat_map(|block| [Item::CompactBlock(block.hash()), Item::Block(block.hash())]);
            Message::GetData(named.chain(hashes(MAX_INVENTORY).map(Item::Block)).take(MAX_INVENTORY).collect())
        }
        Kind::NotFound => Message::NotFound(hashes(MAX_INVENTORY).map(Item::Block).collect()),
        Kind::GetHeaders => {
            extend(bench, MAX_HEADERS);
            Message::GetHeaders { locator: hashes(MAX_LOCATOR).collect(), stop: BlockHash::ZERO }
        }
        // Linked headers with proof of work, and useless.
        Kind::Headers => {
            let blocks = Ledger::on(&params()).extend(MAX_HEADERS as u32, 0);
            Message::Headers(blocks.iter().map(|block| block.header).collect())
        }
        Kind::Block => Message::Block(Arc::new(bad_block(bench))),
        // A requested block, none of whose transactions are in the full mempool.
        Kind::CompactBlock => {
            fill_mempool(bench, 2_000);
            let mut block = bad_block(bench);
            block.transactions.drain(1..=2_000);
            cairn_testkit::seal(&mut block);
            bench.say(peer, Message::Headers(vec![block.header]));
            Message::CompactBlock(Arc::new(CompactBlock::new(&block, &block.txids(), 1, &[])))
        }
        Kind::Transaction => {
            let coin = |tx: &Transaction| (OutPoint { txid: tx.txid(), index: 0 }, tx.outputs[0].clone());
            let coins: Vec<(OutPoint, TxOutput)> = full.transactions[1..901].iter().map(coin).collect();
            let input =
                |(outpoint, _): &(OutPoint, TxOutput)| TxInput { outpoint: *outpoint, signature: Signature::EMPTY };
            let outputs = vec![TxOutput::pay(key(2).public_key(), Amount::from_grains(1))];
            let mut tx = Transaction {
                version: 1,
                inputs: coins.iter().map(input).collect(),
                outputs,
                lock_height: Height::GENESIS,
            };
            let digest = tx.signature_digest(&params().genesis_hash, coins.iter().map(|(_, output)| output));
            let signature = key(1).sign(&digest);
            let (_, all_but_last) = tx.inputs.split_last_mut().unwrap();
            all_but_last.iter_mut().for_each(|input| input.signature = signature);
            Message::Transaction(Arc::new(tx))
        }
        Kind::GetFilterHeaders => {
            let start_height = extend(bench, MAX_FILTER_HEADERS) + 1 - MAX_FILTER_HEADERS as u32;
            Message::GetFilterHeaders {
                start_height: Height::from_u32(start_height),
                stop: bench.node.chain().tip().hash,
            }
        }
        Kind::GetFilters => {
            let start_height = extend(bench, MAX_FILTERS) + 1 - MAX_FILTERS as u32;
            Message::GetFilters { start_height: Height::from_u32(start_height), stop: bench.node.chain().tip().hash }
        }
        Kind::FilterHeaders => {
            let hashes = digests(MAX_HEADERS).map(FilterHash::from_bytes).collect();
            Message::FilterHeaders { stop: BlockHash::ZERO, previous: FilterHeader::ZERO, hashes }
        }
        Kind::Filters => Message::Filters(hashes(100).map(|hash| (hash, vec![0; 9_000])).collect()),
        Kind::GetProofs => Message::GetProofs(by_key(0)),
        Kind::Proofs => Message::Proofs(Proofs { query: by_key(0), proofs: Vec::new(), more: false }),
        Kind::FindNode => Message::FindNode { target: NodeId([1; 32]) },
        Kind::Nodes => {
            let contact = |n: u32| Contact {
                id: NodeId(Hash256::of(&n.to_le_bytes()).to_bytes()),
                address: ([11, 1, 1, n as u8], 7331).into(),
            };
            Message::Nodes((0..K as u32).map(contact).collect())
        }
        Kind::GetBlockTransactions => {
            let block = &blocks()[blocks().len() - 1 - COMPACT_DEPTH as usize];
            Message::GetBlockTransactions { block: block.hash(), places: (0..=FULL as u16).collect() }
        }
        Kind::BlockTransactions => {
            let block = bad_block(bench);
            bench.say(peer, Message::Headers(vec![block.header]));
            let outputs =
                bench.say(peer, Message::CompactBlock(Arc::new(CompactBlock::new(&block, &block.txids(), 1, &[]))));
            assert!(
                sent(&outputs).any(|message| matches!(message, Message::GetBlockTransactions { .. })),
                "{outputs:?}"
            );
            let transactions = block.transactions[1..].iter().cloned().map(Arc::new).collect();
            Message::BlockTransactions { block: block.hash(), transactions }
        }
        Kind::SendCompact => Message::SendCompact(true),
        // The oldest state that is kept, with the changes of two epochs above it.
        Kind::GetStateRange => {
            let epoch = params().epoch_blocks;
            extend(bench, 3 * epoch as usize - blocks().len());
            let edge = bench.node.chain().entry_at(Height::from_u32(epoch)).unwrap();
            Message::GetStateRange(RangeQuery::new(edge.hash, &KeyRange::ALL))
        }
        Kind::StateRange => {
            let query = RangeQuery::new(full.hash(), &KeyRange::ALL);
            Message::StateRange(RangeAnswer { query, page: Some(RangePage { proof: vec![0; 130_000], end: None }) })
        }
        Kind::GetOpening => Message::GetOpening(full.hash()),
        Kind::Opening => Message::Opening { block: full.hash(), opening: None },
        // The oldest state that is kept, with the changes of two epochs above it.
        Kind::GetCoins => {
            let epoch = params().epoch_blocks;
            extend(bench, 3 * epoch as usize - blocks().len());
            let edge = Height::from_u32(epoch);
            let root = bench.node.chain().db().edge(edge).unwrap().unwrap().id(edge).root;
            Message::GetCoins(CoinQuery { root, owner: public(1), about: About::FIRST })
        }
        Kind::Coins => {
            let query = CoinQuery { root: StateRoot::ZERO, owner: public(1), about: About::Total };
            Message::Coins(CoinAnswer { query, proof: Some(CoinProof { bytes: vec![0; 90_000], end: None }) })
        }
        // As many headers as may be, in as many spans: the tip's proof is made elsewhere.
        Kind::GetChainProof => {
            extend(bench, MAX_SHOWN_HEADERS + 2 * MAX_SPANS);
            let (below, length) = (bench.node.chain().tip().hash, (MAX_SHOWN_HEADERS / MAX_SPANS) as u32);
            let wanted = (1..).filter(|height| height % (length + 1) != 0).map(Height::from_u32);
            Message::GetChainProof(ChainQuery::headers(below, wanted))
        }
        Kind::ChainProof => Message::ChainProof(ChainAnswer { query: ChainQuery::Tip, proof: Some(vec![0; 200_000]) }),
        Kind::AddProvider => Message::AddProvider(digests(MAX_PROVIDED).map(NodeId).collect()),
        Kind::ProviderAdded => Message::ProviderAdded { kept: 1 },
        Kind::GetProviders => Message::GetProviders { key: NodeId([1; 32]) },
        Kind::Providers => {
            let contact = |n: u32| Contact {
                id: NodeId(Hash256::of(&n.to_le_bytes()).to_bytes()),
                address: ([11, 1, 1, n as u8], 7331).into(),
            };
            let contacts: Vec<Contact> = (0..K as u32).map(contact).collect();
            Message::Providers { providers: contacts.clone(), nearer: contacts }
        }
        Kind::WantBlocks => {
            Message::WantBlocks(vec![Want { hash: vec![0x12; MAX_HASH_BYTES], whole: true }; MAX_WANTS])
        }
        Kind::HaveBlocks => Message::HaveBlocks(vec![Have { hash: vec![0x12; MAX_HASH_BYTES], here: true }; MAX_WANTS]),
        Kind::Archive => Message::Archive(vec![0xff; MAX_RUNS_BYTES]),
        Kind::GetPages | Kind::Signal => {
            let pages: Vec<PeerId> = (1..=100).map(|n| bench.page(&format!("10.1.{n}.1:5"))).collect();
            match kind {
                Kind::GetPages => Message::GetPages,
                _ => Message::Signal { page: id(pages[99]), signal: Signal::Offer(vec![b'x'; MAX_DESCRIPTION]) },
            }
        }
        Kind::Pages => Message::Pages(digests(MAX_PAGES).map(NodeId).collect()),
        Kind::NoPage => Message::NoPage { page: NodeId([1; 32]) },
        Kind::NoHeaders => Message::NoHeaders { from: Height::from_u32(1), end: Height::MAX },
        Kind::ContentBlock => {
            let block = ContentBlock { hash: vec![0x12; MAX_HASH_BYTES], bytes: vec![7; MAX_CONTENT_BYTES] };
            Message::ContentBlock(Arc::new(block))
        }
    }
}
