//! Transactions as bytes: read, decoded, sent.

use std::sync::Arc;

use serde::Serialize;

use super::blockchain::entry;
use super::prune::unavailable;
use super::{Access, Method, Outcome};
use crate::consensus::coins::{Coin, CoinView};
use crate::mempool::{Accepted, MempoolError};
use crate::p2p::{Command, Node};
use crate::primitives::amount::{Amount, FeeRate, counted};
use crate::primitives::codec;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::height::Height;
use crate::primitives::tx::{OutPoint, Output, Transaction};
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, Param, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::rpc::view::{TransactionView, fee_of, hex_of};
use crate::storage::TxLocation;

/// Transactions that one call may have tested.
const MAX_TESTED: usize = 25;

/// As Bitcoin Core's, but in grains a byte, as all fee rates are here.
const MAX_FEE_RATE_PARAM: Param =
    optional("maxfeerate", Kind::Integer, "10000", "Refuse a fee rate above this, in grains a byte; 0 for no limit.");

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "getrawtransaction",
        access: Access::Public,
        params: &[
            required("txid", Kind::Hash, "The transaction."),
            optional(
                "verbosity",
                Kind::Verbosity,
                "0",
                "0 for the transaction's encoding in hex, 1 for an object, 2 with its fee and the coins it spends too.",
            )
            .or("verbose"),
            optional("blockhash", Kind::Hash, "null", "Look in this block only, in the best chain or not."),
        ],
        result: Shape::Either(&[Shape::Hex, Shape::Object(&results::transaction::TRANSACTION)]),
        about: "A transaction of the best chain or the mempool.",
        run: |api, args| Box::pin(get_raw_transaction(api, args)),
    },
    Method {
        name: "decoderawtransaction",
        access: Access::Public,
        params: &[required("hexstring", Kind::Hex, "A transaction's encoding.")],
        result: Shape::Object(&results::transaction::DECODED),
        about: "Decodes a transaction, without checking whether it is valid.",
        run: |api, args| Box::pin(async move { decode_raw_transaction(&api, &args) }),
    },
    Method {
        name: "sendrawtransaction",
        access: Access::Owner,
        params: &[
            required("hexstring", Kind::Hex, "A transaction's encoding."),
            MAX_FEE_RATE_PARAM,
            optional(
                "maxburnamount",
                Kind::Number,
                "0",
                "As in Bitcoin Core. An output with data has no value, so none burns any.",
            ),
            optional("replace", Kind::Boolean, "true", "Whether it may replace others that spend the same coins."),
        ],
        result: Shape::Hash,
        about: "Validates a transaction, adds it to the mempool, relays it and returns its id. The node does not keep a \
                transaction that it refuses, not even as an orphan.",
        run: |api, args| Box::pin(send_raw_transaction(api, args)),
    },
    Method {
        name: "testmempoolaccept",
        access: Access::Owner,
        params: &[
            required("rawtxs", Kind::Array, "The encodings of up to 25 transactions in hex; each is tested by itself."),
            MAX_FEE_RATE_PARAM,
        ],
        result: Shape::Array(&Shape::Object(&results::transaction::VERDICT)),
        about: "Whether the mempool would accept transactions, and if not, why.",
        run: |api, args| Box::pin(test_mempool_accept(api, args)),
    },
];

pub(super) fn decode(hex: &str) -> Result<Transaction, RpcError> {
    codec::decode_hex(hex).map_err(|error| RpcError::new(Code::Deserialization, format!("TX decode failed: {error}")))
}

/// A transaction, and where it was found.
struct Found {
    tx: Arc<Transaction>,
    block: Option<BlockHash>,
}

async fn get_raw_transaction(api: Api, args: Args) -> Outcome {
    #[derive(Serialize)]
    struct View {
        #[serde(skip_serializing_if = "Option::is_none")]
        in_active_chain: Option<bool>,
        #[serde(flatten)]
        transaction: TransactionView,
        hex: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        blockhash: Option<BlockHash>,
        /// Blocks on top of it, and its own; 0 if that is not in the best chain.
        #[serde(skip_serializing_if = "Option::is_none")]
        confirmations: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        height: Option<Height>,
        #[serde(skip_serializing_if = "Option::is_none")]
        time: Option<u32>,
        #[serde(skip_serializing_if = "Option::is_none")]
        blocktime: Option<u32>,
    }
    let txid: Txid = args.get("txid")?;
    let verbosity: u8 = args.get("verbosity")?;
    let within: Option<BlockHash> = args.get("blockhash")?;
    let found = match within {
        Some(hash) => find_in_block(&api, txid, hash).await?,
        None => find(&api, txid).await?,
    };
    if verbosity == 0 {
        return api.reply_hex(&codec::encode(&*found.tx));
    }
    let spent = match (verbosity, found.block) {
        (..2, _) => Vec::new(),
        (_, Some(hash)) => spent_in_block(&api, txid, hash).await?,
        // All or none, as in a block that was never connected.
        (_, None) => coins_of(&api, &found.tx).await?.into_iter().collect::<Option<_>>().unwrap_or_default(),
    };
    let fee = if spent.is_empty() { None } else { fee_of(&found.tx, &spent) };
    let transaction = TransactionView::with_coins(&found.tx, txid, &api.params().address_prefix, &spent, fee);
    let place = match found.block {
        None => None,
        Some(hash) => {
            let tree = api.tree()?;
            let entry = entry(&tree, &hash)?;
            let active = tree.is_on_best_chain(&entry);
            let confirmations = if active { tree.tip().height.blocks_since(entry.height) + 1 } else { 0 };
            Some((active, confirmations, entry.height, entry.header.time))
        }
    };
    api.reply(&View {
        in_active_chain: within.and(place).map(|(active, ..)| active),
        transaction,
        hex: hex_of(&*found.tx),
        blockhash: found.block,
        confirmations: place.map(|(_, confirmations, ..)| confirmations),
        height: place.map(|(_, _, height, _)| height),
        time: place.map(|(.., time)| time),
        blocktime: place.map(|(.., time)| time),
    })
}

async fn find(api: &Api, txid: Txid) -> Result<Found, RpcError> {
    if let Some(found) = find_confirmed(api, txid).await? {
        return Ok(found);
    }
    let pending = api.node(move |node, _| node.mempool().get(&txid).map(|entry| entry.tx.shared().clone())).await?;
    if let Some(tx) = pending {
        return Ok(Found { tx, block: None });
    }
    // It may have moved from one to the other between the two reads.
    if let Some(found) = find_confirmed(api, txid).await? {
        return Ok(found);
    }
    let text = "No such mempool or blockchain transaction";
    Err(match api.tree()?.started_from() {
        Some(base) => RpcError::not_found(format!("{text}; those of blocks up to height {base} are not known here")),
        None => RpcError::not_found(text),
    })
}

async fn find_confirmed(api: &Api, txid: Txid) -> Result<Option<Found>, RpcError> {
    let found = api.read(move |db, _| {
        let found = db.transaction(&txid)?;
        match db.tx_location(&txid)?.filter(|_| found.is_none()) {
            Some(TxLocation { height, .. }) if height < db.kept_from()? => {
                let reason =
                    format!("The transaction is in the block at height {height}, which is not available (pruned data)");
                Err(RpcError::new(Code::Misc, reason))
            }
            _ => Ok(found),
        }
    });
    let found = found.await?;
    Ok(found.map(|(tx, block, _)| Found { tx: Arc::new(tx), block: Some(block) }))
}

async fn find_in_block(api: &Api, txid: Txid, hash: BlockHash) -> Result<Found, RpcError> {
    let unknown = || RpcError::not_found("Block hash not found");
    let entry = api.tree()?.entry(&hash).ok_or_else(unknown)?;
    let Some(block) = api.load(move |db| Ok(db.block(&entry.key())?)).await? else {
        return Err(unavailable(&*api.tree()?, &entry));
    };
    let tx = block.transactions.into_iter().find(|tx| tx.txid() == txid);
    let absent = || RpcError::not_found("No such transaction found in the provided block");
    Ok(Found { tx: Arc::new(tx.ok_or_else(absent)?), block: Some(hash) })
}

/// The coins that a transaction of a block spends, in the order of its inputs; none if the block was never connected.
async fn spent_in_block(api: &Api, txid: Txid, hash: BlockHash) -> Result<Vec<Coin>, RpcError> {
    let at = entry(&*api.tree()?, &hash)?.key();
    api.load(move |db| {
        let Some(block) = db.block(&at)? else { return Ok(Vec::new()) };
        let mut undo = db.undo(&at)?.into_iter();
        for tx in &block.transactions {
            let coins: Vec<Coin> = undo.by_ref().take(tx.inputs.len()).collect();
            if tx.txid() == txid {
                return Ok(if coins.len() == tx.inputs.len() { coins } else { Vec::new() });
            }
        }
        Ok(Vec::new())
    })
    .await
}

/// The coins that a transaction outside the chain spends, in the order of its inputs: those of the mempool, at height
/// [`Height::MAX`], or of the chain. `None` where neither has the coin.
pub(super) async fn coins_of(api: &Api, tx: &Transaction) -> Result<Vec<Option<Coin>>, RpcError> {
    let outpoints: Vec<OutPoint> = tx.inputs.iter().map(|input| input.outpoint).collect();
    let wanted = outpoints.clone();
    let pending = move |node: &Node, _| {
        let output = |outpoint: &OutPoint| {
            let parent = node.mempool().get(&outpoint.txid)?;
            parent.tx.outputs.get(outpoint.index as usize).cloned()
        };
        wanted.iter().map(output).collect::<Vec<_>>()
    };
    let pending = api.node(pending).await?;
    api.load(move |db| {
        let coin = |(outpoint, output): (&OutPoint, Option<Output>)| match output {
            Some(output) => Ok(Some(Coin { output, height: Height::MAX, coinbase: false })),
            None => Ok(db.coin(outpoint)?),
        };
        outpoints.iter().zip(pending).map(coin).collect()
    })
    .await
}

fn decode_raw_transaction(api: &Api, args: &Args) -> Outcome {
    let tx = decode(args.get("hexstring")?)?;
    api.reply(&TransactionView::new(&tx, tx.txid(), &api.params().address_prefix))
}

async fn send_raw_transaction(api: Api, args: Args) -> Outcome {
    let tx = decode(args.get("hexstring")?)?;
    let max_fee_rate = max_fee_rate(&args)?;
    let replace: bool = args.get("replace")?;
    let txid = tx.txid();
    let check = move |node: &Node, tx: &Transaction| {
        let quote = match node.mempool().quote(tx, node.chain()) {
            // Sending a known transaction again is no error.
            Err(MempoolError::AlreadyKnown { .. }) => return Ok(false),
            other => other?,
        };
        if let Some(reason) = too_dear(&quote, max_fee_rate) {
            return Err(RpcError::new(Code::Verify, reason));
        }
        if let (false, Some(conflict)) = (replace, quote.replaced.first()) {
            let conflict = format!("txn-mempool-conflict: {conflict} spends one of its coins, or needs one that does");
            return Err(RpcError::new(Code::Rejected, conflict));
        }
        Ok(true)
    };
    let sent = api.handle.decide(move |node, _, reply| match check(node, &tx) {
        Ok(true) => {
            let reply = reply.map(|sent: Result<Accepted, MempoolError>| sent.map(drop).map_err(RpcError::from));
            Some(Command::SubmitTransaction(tx, reply))
        }
        checked => {
            reply.send(checked.map(drop));
            None
        }
    });
    api.awake(sent).await??;
    Ok(Reply::of(&txid))
}

/// The argument `maxfeerate`; 0 stands for no limit.
fn max_fee_rate(args: &Args) -> Result<Option<FeeRate>, RpcError> {
    let grains_per_byte: u64 = args.get("maxfeerate")?;
    Ok((grains_per_byte > 0).then_some(FeeRate::from_grains_per_byte(grains_per_byte)))
}

/// Why a transaction is refused if it pays more than `max`.
fn too_dear(quote: &Accepted, max: Option<FeeRate>) -> Option<String> {
    let Accepted { fee, size, .. } = quote;
    let max = max.filter(|max| fee.per(*size) > *max)?;
    let (fee, size) = (counted(fee.as_grains(), "grain"), counted(*size, "byte"));
    Some(format!("max-fee-exceeded: it pays {fee} for {size}, and maxfeerate is {max}"))
}

impl From<MempoolError> for RpcError {
    fn from(error: MempoolError) -> Self {
        let code = match &error {
            MempoolError::Store(_) => return Self::internal(error),
            MempoolError::MissingInputs { .. } => Code::Verify,
            MempoolError::AlreadyConfirmed { .. } => Code::AlreadyInChain,
            _ => Code::Rejected,
        };
        Self::new(code, error.to_string())
    }
}

async fn test_mempool_accept(api: Api, args: Args) -> Outcome {
    #[derive(Serialize)]
    struct Verdict {
        txid: Txid,
        allowed: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        vsize: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        fees: Option<Fees>,
        #[serde(rename = "reject-reason", skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    }
    #[derive(Serialize)]
    struct Fees {
        base: Amount,
    }
    let rawtxs: Vec<String> = args.get("rawtxs")?;
    let max_fee_rate = max_fee_rate(&args)?;
    if !(1..=MAX_TESTED).contains(&rawtxs.len()) {
        return Err(RpcError::invalid(format!("Array must contain between 1 and {MAX_TESTED} transactions.")));
    }
    let transactions = rawtxs.iter().map(|hex| decode(hex)).collect::<Result<Vec<_>, _>>()?;
    let verdicts = api
        .node(move |node, now| {
            let test = |tx: &Transaction| match node.mempool().test(tx, node.chain(), now.unix) {
                Ok(quote) => {
                    let reason = too_dear(&quote, max_fee_rate);
                    let Accepted { txid, fee, size, .. } = quote;
                    let fees = Some(Fees { base: fee });
                    Ok(Verdict { txid, allowed: reason.is_none(), vsize: Some(size), fees, reason })
                }
                Err(MempoolError::Store(error)) => Err(RpcError::from(error)),
                Err(error) => {
                    let reason = Some(error.to_string());
                    Ok(Verdict { txid: tx.txid(), allowed: false, vsize: None, fees: None, reason })
                }
            };
            transactions.iter().map(test).collect::<Result<Vec<_>, _>>()
        })
        .await??;
    Ok(Reply::of(&verdicts))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wallet::payment::MAX_FEE_RATE;

    #[test]
    fn the_wallets_limit_applies() {
        assert_eq!(MAX_FEE_RATE_PARAM.default, Some(MAX_FEE_RATE.grains_per_byte().to_string().as_str()));
    }
}
