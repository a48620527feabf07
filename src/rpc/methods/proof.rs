//! Proofs that whoever asks can check without trusting this node.

use super::{Method, Outcome};
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::header::Header;
use crate::primitives::merkle::PartialTree;
use crate::receipt::Receipt;
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;

/// Headers read from the node's thread at a time.
const HEADERS_AT_A_TIME: u32 = 2_000;
/// How often the headers are read again because the chain was reorganised meanwhile.
const READ_ATTEMPTS: usize = 3;

/// See [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "gettxoutproof",
        params: &[
            required("txids", Kind::Array, "Ids of transactions, all in one block."),
            optional("blockhash", Kind::Hash, "null", "That block, in the best chain or not."),
        ],
        about: "That transactions are in a block: Bitcoin's serialized partial Merkle tree (BIP-37), in hex.",
        run: |api, args| Box::pin(get_tx_out_proof(api, args)),
    },
    Method {
        name: "verifytxoutproof",
        params: &[required("proof", Kind::Hex, "What gettxoutproof answers.")],
        about: "Ids of the transactions that a proof proves to be in a block of the best chain; none if it is false.",
        run: |api, args| Box::pin(verify_tx_out_proof(api, args)),
    },
    Method {
        name: "getreceipt",
        params: &[required("txid", Kind::Hash, "A transaction of the best chain.")],
        about: "A receipt for a transaction: the transaction, its Merkle branch and every header since genesis, which \
                `cairn proof verify` checks offline.",
        run: |api, args| Box::pin(get_receipt(api, args)),
    },
    Method {
        name: "getheaders",
        params: &[
            required("height", Kind::Integer, "Height of the first one."),
            optional("count", Kind::Integer, "2000", "How many, at most 2000."),
        ],
        about: "Headers of the best chain: 80 bytes each, one after the other, in hex. Ends early at the tip.",
        run: |api, args| Box::pin(get_headers(api, args)),
    },
];

async fn get_tx_out_proof(api: Api, args: Args) -> Outcome {
    let txids: Vec<Txid> = args.get("txids")?;
    let within: Option<BlockHash> = args.get("blockhash")?;
    let Some(first) = txids.first().copied() else {
        return Err(RpcError::invalid("Parameter 'txids' cannot be empty"));
    };
    let mut wanted = txids.clone();
    wanted.sort_unstable();
    if let Some(pair) = wanted.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(RpcError::invalid(format!("Invalid parameter, duplicated txid: {}", pair[0])));
    }
    api.read(move |db| {
        let hash = match within {
            Some(hash) => Some(hash),
            None => match db.tx_location(&first)? {
                Some(location) => db.hash_at(location.height)?,
                None => return Err(RpcError::not_found("Transaction not yet in block")),
            },
        };
        let block = match hash {
            Some(hash) => db.block(&hash)?,
            None => None,
        };
        let block = block.ok_or_else(|| RpcError::not_found("Block not found"))?;
        let txids = block.txids();
        if txids.iter().filter(|txid| wanted.binary_search(txid).is_ok()).count() < wanted.len() {
            return Err(RpcError::not_found("Not all transactions found in specified or retrieved block"));
        }
        let tree = PartialTree::new(block.header, &txids, |txid| wanted.binary_search(txid).is_ok());
        Ok(Reply::of(&hex::encode(tree.to_bytes())))
    })
    .await
}

async fn verify_tx_out_proof(api: Api, args: Args) -> Outcome {
    let malformed = |reason: String| RpcError::new(Code::Deserialization, format!("Proof decode failed: {reason}"));
    let bytes = hex::decode(args.get::<&str>("proof")?).map_err(|error| malformed(error.to_string()))?;
    let tree = PartialTree::from_bytes(&bytes).map_err(|error| malformed(error.to_string()))?;
    let Ok(found) = tree.verify() else { return Ok(Reply::of(&[(); 0])) };
    let (hash, leaves) = (tree.header.hash(), tree.leaves());
    let count = api
        .node(move |node, _| {
            let chain = node.chain();
            chain.entry(&hash).filter(|entry| chain.is_on_best_chain(entry)).map(|entry| entry.tx_count)
        })
        .await?
        .ok_or_else(|| RpcError::not_found("Block not found in chain"))?;
    // A tree of another depth passes off inner nodes as transactions (CVE-2017-12842).
    let proven = found.iter().map(|(_, txid)| *txid).filter(|_| leaves == count);
    Ok(Reply::of(&proven.collect::<Vec<Txid>>()))
}

async fn get_receipt(api: Api, args: Args) -> Outcome {
    let txid: Txid = args.get("txid")?;
    for _ in 0..READ_ATTEMPTS {
        let found = api
            .load(move |db| {
                let Some(location) = db.tx_location(&txid)? else { return Ok(None) };
                let Some(hash) = db.hash_at(location.height)? else { return Ok(None) };
                Ok(db.block(&hash)?.map(|block| (location.height, block)))
            })
            .await?;
        let Some((height, block)) = found else {
            return Err(RpcError::not_found("No such transaction in the best chain"));
        };
        let Some(headers) = headers_to_tip(&api).await? else { continue };
        let own = match height.checked_sub(1) {
            None => Some(&api.params().genesis.header),
            Some(index) => headers.get(index as usize),
        };
        let place = block.txids().into_iter().zip(0u32..).find(|(id, _)| *id == txid);
        // Otherwise the chain was reorganised between the readings.
        if let (Some(own), Some((_, index))) = (own, place)
            && *own == block.header
        {
            let (txids, params) = (block.txids(), api.params());
            let tx = block.transactions.into_iter().nth(index as usize);
            let receipt = tx.and_then(|tx| Receipt::new(params, tx, txids, index, height, headers));
            return receipt
                .map(|receipt| Reply::of(&receipt))
                .ok_or_else(|| RpcError::internal("a place beyond the block"));
        }
    }
    Err(RpcError::new(Code::Misc, "the chain is being reorganised; try again"))
}

/// The headers of the best chain from height 1 to the tip, or `None` if it changed while they were read.
async fn headers_to_tip(api: &Api) -> Result<Option<Vec<Header>>, RpcError> {
    let mut headers: Vec<Header> = Vec::new();
    loop {
        let from = headers.len() as u32 + 1;
        let (more, end) = headers_from(api, from, HEADERS_AT_A_TIME).await?;
        let previous = headers.last().map_or(api.params().genesis_hash, Header::hash);
        if more.first().is_some_and(|header| header.previous != previous) {
            return Ok(None);
        }
        let empty = more.is_empty();
        headers.extend(more);
        if headers.len() as u32 >= end || empty {
            // A shorter chain than what was read is another one.
            return Ok((headers.len() as u32 == end).then_some(headers));
        }
    }
}

/// Up to `count` headers of the best chain from height `from`, and the height of its tip.
async fn headers_from(api: &Api, from: u32, count: u32) -> Result<(Vec<Header>, u32), RpcError> {
    api.node(move |node, _| {
        let chain = node.chain();
        let heights = from..from.saturating_add(count);
        let headers = heights.map_while(|height| chain.entry_at(height)).map(|entry| entry.header).collect();
        (headers, chain.tip().height)
    })
    .await
}

async fn get_headers(api: Api, args: Args) -> Outcome {
    let from: u32 = args.get("height")?;
    let count: u32 = args.get("count")?;
    if count > HEADERS_AT_A_TIME {
        return Err(RpcError::invalid(format!("count: at most {HEADERS_AT_A_TIME}")));
    }
    let (headers, tip) = headers_from(&api, from, count).await?;
    if from > tip {
        return Err(RpcError::invalid("Block height out of range"));
    }
    let bytes: Vec<u8> = headers.iter().flat_map(|header| header.to_bytes()).collect();
    Ok(Reply::of(&hex::encode(bytes)))
}
