//! Proofs that a caller can check without trusting this node.

use super::blockchain::entry;
use super::prune::{check_header_is_here, pruned};
use super::{Access, Method, Outcome};
use crate::p2p::chain_prover::sample;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::merkle::{Branch, PartialTree};
use crate::receipt::{Evidence, Receipt};
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::storage::TxLocation;

/// Headers in one answer of getheaders, and in one reading of the tree.
const MAX_HEADERS: u32 = 2_000;
/// Headers in one receipt for a caller without credentials: about as many as its answer has room for.
const MAX_PUBLIC_HEADERS: u32 = 12_000;
/// How often a receipt is rebuilt because the chain was reorganised.
const READ_ATTEMPTS: usize = 3;

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "gettxoutproof",
        access: Access::Public,
        params: &[
            required("txids", Kind::Array, "Ids of transactions, all in one block."),
            optional("blockhash", Kind::Hash, "null", "The block that holds them, in the best chain or not."),
        ],
        result: Shape::Hex,
        about: "A proof that transactions are in a block: Bitcoin's serialized partial Merkle tree (BIP-37), in hex.",
        run: |api, args| Box::pin(get_tx_out_proof(api, args)),
    },
    Method {
        name: "verifytxoutproof",
        access: Access::Public,
        params: &[required("proof", Kind::Hex, "The result of gettxoutproof.")],
        result: Shape::Array(&Shape::Hash),
        about: "The ids of the transactions that a proof shows to be in a block of the best chain; none if the proof is false.",
        run: |api, args| Box::pin(async move { verify_tx_out_proof(&api, &args) }),
    },
    Method {
        name: "getreceipt",
        access: Access::Public,
        params: &[
            required("txid", Kind::Hash, "A transaction of the best chain."),
            optional(
                "evidence",
                Kind::Text,
                "\"headers\"",
                "\"headers\" for all headers, \"succinct\" for a sample of them.",
            ),
            optional(
                "from",
                Kind::Integer,
                "null",
                "Height of the verifier's checkpoint: the receipt holds only later headers.",
            ),
        ],
        result: Shape::Object(&results::chain::RECEIPT),
        about: "A receipt for a transaction: the transaction, its Merkle branch, and evidence that its block is in the \
                chain, which `cairn proof verify` checks offline.",
        run: |api, args| Box::pin(get_receipt(api, args)),
    },
    Method {
        name: "getheaders",
        access: Access::Public,
        params: &[
            required("height", Kind::Integer, "Height of the first one."),
            optional("count", Kind::Integer, "2000", "Number of headers, at most 2000."),
        ],
        result: Shape::Hex,
        about: "Headers of the best chain: 80 bytes each, one after the other, in hex. Ends early at the tip.",
        run: |api, args| Box::pin(async move { get_headers(&api, &args) }),
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
    let within = within.map(|hash| entry(&*api.tree()?, &hash)).transpose()?;
    api.read(move |db, _| {
        let at = match within {
            Some(entry) => Some(entry.key()),
            None => match db.tx_location(&first)? {
                Some(location) => db.key_at(location.height)?,
                None => return Err(RpcError::not_found("Transaction not yet in block")),
            },
        };
        let not_found = || RpcError::not_found("Block not found");
        let at = at.ok_or_else(not_found)?;
        let Some(block) = db.block(&at)? else {
            return Err(if at.height < db.kept_from()? { pruned() } else { not_found() });
        };
        let txids = block.txids();
        if txids.iter().filter(|txid| wanted.binary_search(txid).is_ok()).count() < wanted.len() {
            return Err(RpcError::not_found("Not all transactions found in specified or retrieved block"));
        }
        let tree = PartialTree::new(block.header, &txids, |txid| wanted.binary_search(txid).is_ok());
        Ok(Reply::hex(&tree.to_bytes()))
    })
    .await
}

fn verify_tx_out_proof(api: &Api, args: &Args) -> Outcome {
    let malformed = |reason: String| RpcError::new(Code::Deserialization, format!("Proof decode failed: {reason}"));
    let bytes = hex::decode(args.get::<&str>("proof")?).map_err(|error| malformed(error.to_string()))?;
    let tree = PartialTree::from_bytes(&bytes).map_err(|error| malformed(error.to_string()))?;
    let Ok(found) = tree.verify() else { return Ok(Reply::of(&[(); 0])) };
    let (hash, leaves) = (tree.header.hash(), tree.leaves());
    let tree = api.tree()?;
    let entry = tree.entry(&hash).filter(|entry| tree.is_on_best_chain(entry));
    let count = entry.ok_or_else(|| RpcError::not_found("Block not found in chain"))?.tx_count;
    // A tree of another depth passes off inner nodes as transactions (CVE-2017-12842).
    let proven = found.iter().map(|(_, txid)| *txid).filter(|_| leaves == count);
    Ok(Reply::of(&proven.collect::<Vec<Txid>>()))
}

/// What a receipt is asked to show besides the payment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    /// All headers after this height.
    HeadersAfter(Height),
    /// A sample of the headers, with the nodes that tie them to the tip.
    Sample,
}

async fn get_receipt(api: Api, args: Args) -> Outcome {
    let txid: Txid = args.get("txid")?;
    let from: Option<Height> = args.get("from")?;
    let shown = match (args.get::<&str>("evidence")?, from) {
        ("headers", None) => Shown::HeadersAfter(Height::GENESIS),
        ("headers", Some(height)) => Shown::HeadersAfter(height),
        ("succinct", None) => Shown::Sample,
        ("succinct", Some(_)) => {
            return Err(RpcError::invalid("from: not with evidence \"succinct\", which samples the whole chain"));
        }
        _ => return Err(RpcError::invalid("evidence: expected \"headers\" or \"succinct\"")),
    };
    let receipt = receipt(&api, txid, shown).await?;
    api.reply(&receipt)
}

/// The receipt of a transaction of the best chain.
pub(super) async fn receipt(api: &Api, txid: Txid, shown: Shown) -> Result<Receipt, RpcError> {
    for _ in 0..READ_ATTEMPTS {
        let found = api
            .load(move |db| {
                let Some(location) = db.tx_location(&txid)? else { return Ok(None) };
                let Some(at) = db.key_at(location.height)? else { return Ok(None) };
                let block = db.block(&at)?;
                if block.is_none() && at.height < db.kept_from()? {
                    return Err(pruned());
                }
                Ok(block.map(|block| (location, block)))
            })
            .await?;
        let Some((TxLocation { height, position }, block)) = found else {
            return Err(RpcError::not_found("No such transaction in the best chain"));
        };
        let found = match shown {
            Shown::HeadersAfter(from) if from > height => {
                let text = format!("from: the transaction is in block {height}, which is not after block {from}");
                return Err(RpcError::invalid(text));
            }
            Shown::HeadersAfter(from) => {
                check_headers(api, api.tip().height.blocks_since(from))?;
                headers_after(api, from, block.hash(), height).await?
            }
            Shown::Sample => sampled(api, height, block.hash()).await?,
        };
        // Otherwise the chain was reorganised between the readings.
        let Some((evidence, tip)) = found else { continue };
        let branch = Branch::new(block.txids(), position);
        let transaction = block.transactions.into_iter().nth(position as usize);
        let (Some(branch), Some(transaction)) = (branch, transaction) else { continue };
        if transaction.txid() != txid {
            continue;
        }
        let network = api.params().genesis_hash;
        return Ok(Receipt { network, transaction, branch, height, evidence, tip });
    }
    Err(RpcError::new(Code::Misc, "the chain is being reorganised; try again"))
}

/// The headers of the best chain after height `from` with the tip, or `None` if `block` is not at `height` of it. The tree is
/// read in parts, between which the chain may move.
async fn headers_after(
    api: &Api,
    from: Height,
    block: BlockHash,
    height: Height,
) -> Result<Option<(Evidence, BlockHash)>, RpcError> {
    let start = {
        let tree = api.tree()?;
        if let Some(gap) = tree.header_gap().filter(|gap| from < gap.end) {
            check_header_is_here(&tree, gap.from)?;
        }
        tree.entry_at(from).map(|entry| entry.hash)
    };
    let Some(start) = start else { return Ok(None) };
    let (mut headers, mut tip): (Vec<Header>, BlockHash) = (Vec::new(), start);
    loop {
        let next = from.next().saturating_add(headers.len() as u32);
        let part = api.walk(move |tree| Ok(tree.headers_from(next, MAX_HEADERS as usize))).await?;
        if part.first().is_some_and(|first| first.previous != tip) {
            return Ok(None);
        }
        tip = part.last().map_or(tip, Header::hash);
        let is_last = part.len() < MAX_HEADERS as usize;
        headers.extend(part);
        if is_last {
            break;
        }
    }
    let shown = match height.blocks_since(from) {
        0 => Some(start),
        above => headers.get(above as usize - 1).map(Header::hash),
    };
    if shown != Some(block) {
        return Ok(None);
    }
    let evidence = match from {
        Height::GENESIS => Evidence::Headers(headers),
        height => Evidence::Since { height, hash: start, headers },
    };
    Ok(Some((evidence, tip)))
}

/// A sample of the best chain that shows `block` at `height`; `None` if the block is no longer there.
async fn sampled(api: &Api, height: Height, block: BlockHash) -> Result<Option<(Evidence, BlockHash)>, RpcError> {
    let params = api.params().clone();
    api.read(move |db, tip| {
        let kept_from = db.kept_from()?;
        if kept_from > Height::GENESIS {
            let reason = format!(
                "evidence: a sample shows old blocks, and this node has those from height {kept_from} on: ask it for \
                 \"headers\", or one that has all"
            );
            return Err(RpcError::new(Code::Misc, reason));
        }
        if tip.height == Height::GENESIS {
            return Err(RpcError::invalid("evidence: there is nothing to sample before the first block is mined"));
        }
        if db.hash_at(height)? != Some(block) {
            return Ok(None);
        }
        let proof = sample(db, &params, tip.height, height)?;
        Ok(Some((Evidence::Succinct(proof), tip.hash)))
    })
    .await
}

fn get_headers(api: &Api, args: &Args) -> Outcome {
    let from: Height = args.get("height")?;
    let count: u32 = args.get("count")?;
    if count > MAX_HEADERS {
        return Err(RpcError::invalid(format!("count: at most {MAX_HEADERS}")));
    }
    let tree = api.tree()?;
    if from > tree.tip().height {
        return Err(RpcError::invalid("Block height out of range"));
    }
    check_header_is_here(&tree, from)?;
    let bytes: Vec<u8> = tree.headers_from(from, count as usize).iter().flat_map(Header::to_bytes).collect();
    Ok(Reply::hex(&bytes))
}

/// Checks that a receipt with so many headers is for the caller.
///
/// # Errors
/// [`Code::InvalidParameter`] with what to ask for instead.
fn check_headers(api: &Api, count: u32) -> Result<(), RpcError> {
    if api.is_for_stranger() && count > MAX_PUBLIC_HEADERS {
        return Err(RpcError::invalid(format!(
            "evidence: {count} headers are more than the {MAX_PUBLIC_HEADERS} allowed without credentials: ask for \
             \"succinct\", or give a later checkpoint as \"from\""
        )));
    }
    Ok(())
}
