//! Proofs of what a key owns, which a caller can check without trusting this node.

use serde::Serialize;
use serde_json::Value;

use super::proof::{self, Shown};
use super::{Access, Method, Outcome};
use crate::chain::committed_by;
use crate::consensus::params::Params;
use crate::primitives::amount::Amount;
use crate::primitives::hash::{BlockHash, FilterHeader, MmrRoot, Txid};
use crate::primitives::height::Height;
use crate::primitives::tx::OutPoint;
use crate::receipt::weight::BURIED;
use crate::receipt::{HoldingReceipt, Question};
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, Param, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::state::proof::{PAGE_COINS, ProveError};
use crate::state::{Leaf, SourceError, StateId};
use crate::storage::Database;

/// How often a proof is made again because the chain or the state moved.
const READ_ATTEMPTS: usize = 3;

const EVIDENCE: Param = optional(
    "evidence",
    Kind::Text,
    "\"succinct\"",
    "\"succinct\" for a sample of the headers, \"headers\" for all of them.",
);

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "getaddressproof",
        access: Access::Public,
        params: &[
            required("address", Kind::Address, "Whose coins."),
            optional("coins", Kind::Boolean, "false", "Whether to show every coin, not only their value and number."),
            EVIDENCE,
        ],
        result: Shape::Object(&results::holding::RECEIPT),
        about: "A receipt for all coins of an address as they were after an edge of the chain, none left out, which \
                `cairn proof verify` checks offline.",
        run: |api, args| Box::pin(get_address_proof(api, args)),
    },
    Method {
        name: "getcoinproof",
        access: Access::Public,
        params: &[
            required("txid", Kind::Hash, "The transaction that made the coin."),
            required("n", Kind::Integer, "Its index among the outputs."),
            EVIDENCE,
        ],
        result: Shape::Object(&results::holding::RECEIPT),
        about: "A receipt for one coin after an edge of the chain, or for its absence there, which `cairn proof verify` \
                checks offline.",
        run: |api, args| Box::pin(get_coin_proof(api, args)),
    },
    Method {
        name: "verifycoinproof",
        access: Access::Public,
        params: &[required("proof", Kind::Object, "The result of getaddressproof or getcoinproof.")],
        result: Shape::Object(&results::holding::SHOWN),
        about: "What such a receipt shows, by its own headers. Fails if it shows nothing.",
        run: |api, args| Box::pin(async move { verify_coin_proof(&api, &args) }),
    },
];

async fn get_address_proof(api: Api, args: Args) -> Outcome {
    let owner = api.key_of(args.get("address")?)?;
    let question = if args.get("coins")? { Question::Coins(owner) } else { Question::Balance(owner) };
    holding(&api, question, shown(&args)?).await
}

async fn get_coin_proof(api: Api, args: Args) -> Outcome {
    let (txid, index): (Txid, u32) = (args.get("txid")?, args.get("n")?);
    let shown = shown(&args)?;
    let found = api.load(move |db| Ok(db.transaction(&txid)?)).await?;
    let (transaction, ..) = found.ok_or_else(|| RpcError::not_found("No such transaction in the best chain"))?;
    let output = transaction.outputs.get(index as usize);
    let owner = output.and_then(|output| output.key()).copied();
    let owner = owner.ok_or_else(|| RpcError::invalid("n: that output is no coin"))?;
    holding(&api, Question::Coin(owner, OutPoint { txid, index }), shown).await
}

fn shown(args: &Args) -> Result<Shown, RpcError> {
    match args.get::<&str>("evidence")? {
        "headers" => Ok(Shown::HeadersAfter(Height::GENESIS)),
        "succinct" => Ok(Shown::Sample),
        _ => Err(RpcError::invalid("evidence: expected \"headers\" or \"succinct\"")),
    }
}

/// The answer, before its coinbase's receipt.
struct Found {
    state: StateId,
    proof: Vec<u8>,
    range: MmrRoot,
    filters: FilterHeader,
    /// The block that commits to the state, and its coinbase.
    height: Height,
    coinbase: Txid,
}

async fn holding(api: &Api, question: Question, shown: Shown) -> Outcome {
    for _ in 0..READ_ATTEMPTS {
        let params = api.params().clone();
        let found = api.read(move |db, tip| find(db, &params, tip.height, &question)).await?;
        let Some(Found { state, proof, range, filters, height, coinbase }) = found else { continue };
        let receipt = proof::receipt(api, coinbase, shown).await?;
        // Otherwise the chain was reorganised between the readings.
        if receipt.height == height {
            return api.reply(&HoldingReceipt { question, state, proof, range, filters, receipt });
        }
    }
    Err(RpcError::new(Code::Misc, "the state moves on while it is read; try again"))
}

/// Proves the answer from the newest state that is buried, or the oldest that is kept. `None` if the state moved meanwhile.
fn find(db: &Database, params: &Params, tip: Height, question: &Question) -> Result<Option<Found>, RpcError> {
    let (head, epoch) = (db.state_head()?, params.epoch_blocks);
    let edges = (head.oldest.as_u32()..=head.height.as_u32()).step_by(epoch as usize).map(Height::from_u32);
    let committed: Vec<(Height, Height)> =
        edges.map(|edge| (edge, edge.saturating_add(epoch))).filter(|(_, first)| *first <= tip).collect();
    let is_buried = |(_, first): &&(Height, Height)| tip.blocks_since(*first) + 1 >= BURIED;
    let Some((edge, height)) = committed.iter().rev().find(is_buried).or(committed.first()).copied() else {
        let text = format!(
            "no block commits to coins before height {epoch}, the first of the second epoch; the tip is at {tip}"
        );
        return Err(RpcError::new(Code::NotReady, text));
    };
    let Some(state) = db.edge(edge)?.map(|state| state.id(edge)) else { return Ok(None) };
    let Some(at) = db.key_at(height)? else { return Ok(None) };
    let proof = match db.with_state(edge, epoch, |source| question.prove(source))? {
        Some(Ok(Some(proof))) => proof,
        Some(Ok(None)) => {
            let text = format!("coins: the address has more than {PAGE_COINS}; ask for their value and number");
            return Err(RpcError::invalid(text));
        }
        Some(Err(ProveError::Source(SourceError::Read(error)))) => return Err(error.into()),
        None | Some(Err(_)) => return Ok(None),
    };
    let holds = question.answer(&state, &proof).is_ok();
    let Some(block) = db.block(&at)?.filter(|_| holds) else { return Ok(None) };
    let committed = committed_by(db, params, height, &block.header.previous)?;
    let Some(coinbase) = block.transactions.first().map(|tx| tx.txid()) else { return Ok(None) };
    let (range, filters) = (committed.range, committed.filters);
    Ok(Some(Found { state, proof, range, filters, height, coinbase }))
}

fn verify_coin_proof(api: &Api, args: &Args) -> Outcome {
    #[derive(Serialize)]
    struct CoinView {
        txid: Txid,
        vout: u32,
        value: Amount,
        height: Height,
        coinbase: bool,
    }

    #[derive(Serialize)]
    struct View {
        address: String,
        height: Height,
        blockhash: BlockHash,
        confirmations: u32,
        value: Amount,
        count: u64,
        #[serde(skip_serializing_if = "Option::is_none")]
        coins: Option<Vec<CoinView>>,
    }

    let wrong = |error: &dyn std::fmt::Display| RpcError::new(Code::Verify, error.to_string());
    let proof: Value = args.get("proof")?;
    if !HoldingReceipt::is_format_of(proof.to_string().as_bytes()) {
        return Err(RpcError::invalid("proof: expected the result of getaddressproof or getcoinproof"));
    }
    let receipt = HoldingReceipt::from_value(proof).map_err(|error| wrong(&error))?;
    let (proven, shown) =
        receipt.verify(api.params(), None, crate::runtime::unix_now()).map_err(|error| wrong(&error))?;
    let total = shown.total();
    let coin = |leaf: &Leaf| {
        let OutPoint { txid, index } = leaf.key.outpoint();
        CoinView { txid, vout: index, value: leaf.value, height: leaf.height, coinbase: leaf.coinbase }
    };
    Ok(Reply::of(&View {
        address: api.address_of(receipt.question.owner()),
        height: receipt.state.height,
        blockhash: receipt.state.block,
        confirmations: proven.weight.confirmations,
        value: total.sum,
        count: total.count,
        coins: shown.coins().map(|leaves| leaves.iter().map(coin).collect()),
    }))
}
