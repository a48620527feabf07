//! Fee estimation.
//!
//! The estimate is the lowest fee rate at which a transaction would have been mined in time in recent blocks, and would
//! be now.
//!
//! - *Lately.* A block that is nearly full has a threshold: the rate below which only a twentieth of its bytes paid. A
//!   block with room has none. Of each run of as many blocks as the caller can wait, the lowest threshold would have been
//!   enough. The estimate is the median of that over all runs among the last 48 blocks, or the highest if the caller asks
//!   to be conservative.
//! - *Now.* If more waits in the mempool than fits into that many blocks, the rate at which they would be full.
//!
//! The higher one counts, and never less than the mempool takes.

use std::sync::PoisonError;

use serde::Serialize;

use super::stats::{Payment, rate_at};
use super::{Access, Method, Outcome};
use crate::mempool::Entry;
use crate::primitives::amount::{Amount, FeeRate};
use crate::primitives::height::Height;
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, optional, required};
use crate::rpc::error::RpcError;
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::storage::{BlockKey, Database};

/// Recent blocks that an estimate uses.
const WINDOW: usize = 48;
/// Most blocks to wait that tell estimates apart: half of those looked at, so that there are several runs of them.
const MAX_RUN: usize = WINDOW / 2;
/// Longest wait that may be asked for, as in Bitcoin Core.
const MAX_TARGET: i64 = 1_008;
/// Transactions, in those blocks or waiting, with which an estimate is more than a guess.
const MIN_TRANSACTIONS: u64 = 10;
/// Share of the allowed bytes from which a block counts as full, in percent.
const FULL_PERCENT: u64 = 90;
/// Share of a full block's bytes that may have paid less than its threshold, in percent: by favour, or because
/// a descendant paid for them.
const BELOW_PERCENT: u64 = 5;
/// Blocks whose thresholds are remembered.
const REMEMBERED: usize = 4 * WINDOW;

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[Method {
    name: "estimatesmartfee",
    access: Access::Owner,
    params: &[
        required("conf_target", Kind::Integer, "Within how many blocks the transaction is to be mined, 1 to 1008."),
        optional(
            "estimate_mode",
            Kind::Text,
            "\"economical\"",
            "\"economical\", or \"conservative\" for a rate that would have been enough at all recent times.",
        ),
    ],
    result: Shape::Object(&results::mempool::FEE_ESTIMATE),
    about: "Estimates the fee rate, in grains a byte, at which a transaction is mined within conf_target blocks, from the \
            last 48 blocks and the mempool. If there is too little data, the result has \"errors\" instead of \"feerate\".",
    run: |api, args| Box::pin(estimate_smart_fee(api, args)),
}];

async fn estimate_smart_fee(api: Api, args: Args) -> Outcome {
    #[derive(Serialize)]
    struct Estimate {
        #[serde(skip_serializing_if = "Option::is_none")]
        feerate: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        errors: Option<[&'static str; 1]>,
        blocks: usize,
    }
    let target: i64 = args.get("conf_target")?;
    if !(1..=MAX_TARGET).contains(&target) {
        return Err(RpcError::invalid(format!("Invalid conf_target, must be between 1 and {MAX_TARGET}")));
    }
    let mode: &str = args.get("estimate_mode")?;
    let conservative = match mode.to_ascii_lowercase().as_str() {
        "unset" | "economical" => false,
        "conservative" => true,
        _ => {
            let modes = "\"unset\", \"economical\", \"conservative\"";
            return Err(RpcError::invalid(format!("Invalid estimate_mode parameter, must be one of: {modes}")));
        }
    };
    let (blocks, confirmed, mut waiting, least) = api
        .node(|node, _| {
            let (chain, mempool) = (node.chain(), node.mempool());
            // Genesis was not mined from a mempool.
            let recent = chain.branch(&chain.tip()).take(WINDOW).filter(|entry| entry.height > Height::GENESIS);
            let recent: Vec<(BlockKey, u32)> = recent.map(|entry| (entry.key(), entry.tx_count)).collect();
            let confirmed: u64 = recent.iter().map(|(_, count)| u64::from(count.saturating_sub(1))).sum();
            let blocks: Vec<BlockKey> = recent.into_iter().map(|(at, _)| at).collect();
            let entries = mempool.txids().into_iter().filter_map(|txid| mempool.get(&txid));
            let payment = |entry: &Entry| Payment { rate: entry.mining_rate(), size: entry.size as u64 };
            let waiting: Vec<Payment> = entries.map(payment).collect();
            (blocks, confirmed, waiting, mempool.min_fee_rate())
        })
        .await?;
    let run = (target as usize).min(MAX_RUN).min(blocks.len()).max(1);
    if confirmed + (waiting.len() as u64) < MIN_TRANSACTIONS {
        let errors = Some(["Insufficient data or no feerate found"]);
        return Ok(Reply::of(&Estimate { feerate: None, errors, blocks: 0 }));
    }
    let room = u64::from(api.params().max_block_bytes);
    let thresholds = thresholds(&api, blocks, room).await?;
    let past_rate = past_rate(&thresholds, run, conservative);
    let now = now(&mut waiting, room.saturating_mul(run as u64));
    Ok(Reply::of(&Estimate {
        feerate: Some(past_rate.max(now).max(least).grains_per_byte()),
        errors: None,
        blocks: run,
    }))
}

/// The thresholds of blocks; zero for one with room.
async fn thresholds(api: &Api, blocks: Vec<BlockKey>, room: u64) -> Result<Vec<FeeRate>, RpcError> {
    let known = api.thresholds.clone();
    api.load(move |db| {
        let threshold = |at: BlockKey| {
            let known = || known.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(threshold) = known().get(&at.hash).copied() {
                return Ok(threshold);
            }
            let threshold = threshold_of(db, &at, room)?;
            let mut known = known();
            if known.len() >= REMEMBERED {
                known.clear();
            }
            known.insert(at.hash, threshold);
            Ok(threshold)
        };
        blocks.into_iter().map(threshold).collect()
    })
    .await
}

fn threshold_of(db: &Database, at: &BlockKey, room: u64) -> Result<FeeRate, RpcError> {
    let gone = || RpcError::internal(format!("block {} of the best chain cannot be read", at.hash));
    let raw = db.raw_block(at)?.ok_or_else(gone)?;
    if (raw.len() as u64) * 100 < room * FULL_PERCENT {
        return Ok(FeeRate::ZERO);
    }
    let block = db.block(at)?.ok_or_else(gone)?;
    let undo = db.undo(at)?;
    let mut coins = undo.iter();
    let mut payments = Vec::with_capacity(block.transactions.len());
    for tx in block.transactions.iter().filter(|tx| !tx.is_coinbase()) {
        let taken = Amount::saturating_sum(coins.by_ref().take(tx.inputs.len()).map(|coin| coin.output.value));
        let paid = Amount::saturating_sum(tx.outputs.iter().map(|output| output.value));
        payments.push(Payment::new(taken.saturating_sub(paid), tx.size()));
    }
    payments.sort_unstable_by_key(|payment| payment.rate);
    Ok(rate_at(&payments, BELOW_PERCENT))
}

/// The rate that would have sufficed within `run` blocks, over all runs.
fn past_rate(thresholds: &[FeeRate], run: usize, conservative: bool) -> FeeRate {
    let lowest = |run: &[FeeRate]| run.iter().copied().min().unwrap_or(FeeRate::ZERO);
    let mut enough: Vec<FeeRate> = thresholds.windows(run).map(lowest).collect();
    enough.sort_unstable();
    let chosen = if conservative { enough.last() } else { enough.get(enough.len() / 2) };
    chosen.copied().unwrap_or(FeeRate::ZERO)
}

/// What is enough to be among the best `room` bytes of those waiting; zero if all have room.
fn now(waiting: &mut [Payment], room: u64) -> FeeRate {
    waiting.sort_unstable_by_key(|payment| std::cmp::Reverse(payment.rate));
    let mut sum = 0;
    let first_out = waiting.iter().find(|payment| {
        sum += payment.size;
        sum > room
    });
    first_out.map_or(FeeRate::ZERO, |payment| FeeRate::from_grains_per_byte(payment.rate.grains_per_byte() + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_that_sufficed_recently() {
        let past_rate = |thresholds: &[u64], run, conservative| {
            let thresholds: Vec<_> = thresholds.iter().copied().map(FeeRate::from_grains_per_byte).collect();
            past_rate(&thresholds, run, conservative).grains_per_byte()
        };
        assert_eq!((past_rate(&[], 1, true), past_rate(&[7], 1, false)), (0, 7));
        let thresholds = [5, 0, 9, 8, 7, 0];
        assert_eq!((past_rate(&thresholds, 1, false), past_rate(&thresholds, 1, true)), (7, 9));
        // Runs of two: 0, 0, 8, 7, 0. Of three: 0, 0, 7, 0.
        assert_eq!((past_rate(&thresholds, 2, false), past_rate(&thresholds, 2, true)), (0, 8));
        assert_eq!((past_rate(&thresholds, 3, false), past_rate(&thresholds, 3, true)), (0, 7));
        assert_eq!(past_rate(&thresholds, 6, true), 0);
    }

    #[test]
    fn the_rate_that_suffices_now() {
        let waiting = || (1..=10).map(|rate| Payment::new(Amount::from_grains(rate * 100), 100)).collect::<Vec<_>>();
        let now = |waiting: &mut [Payment], room| now(waiting, room).grains_per_byte();
        assert_eq!(now(&mut waiting(), 1_000), 0);
        assert_eq!(now(&mut waiting(), 999), 2);
        assert_eq!(now(&mut waiting(), 250), 9);
        assert_eq!(now(&mut waiting(), 50), 11);
        assert_eq!(now(&mut [], 0), 0);
    }
}
