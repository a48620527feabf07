//! Statistics of blocks and of the chain.

use serde::Serialize;
use serde_json::{Map, Value};

use super::blockchain::entry;
use super::prune::{check_header_is_here, unavailable};
use super::{Access, Method, Outcome};
use crate::chain::{BlockTree, Entry, Level};
use crate::consensus::coins::Coin;
use crate::primitives::amount::{Amount, FeeRate};
use crate::primitives::block::Block;
use crate::primitives::codec;
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::primitives::tx::Output;
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::rpc::view::WEIGHT;

/// Seconds in a month, as getchaintxstats counts.
const MONTH: u32 = 30 * 24 * 60 * 60;
/// Shares of a block's bytes at which its fee rates are told, in percent.
const PERCENTILES: [u64; 5] = [10, 25, 50, 75, 90];
/// How often the chain is verified again because the tip moved meanwhile.
const VERIFY_ATTEMPTS: usize = 3;

/// Of the id and the place by which a coin is found.
const OUTPOINT_BYTES: usize = 32 + 4;

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "getblockstats",
        access: Access::Public,
        params: &[
            required("hash_or_height", Kind::HashOrHeight, "The block, or its height in the best chain."),
            optional("stats", Kind::Array, "null", "Names of the figures to return. Default: all."),
        ],
        result: Shape::Object(&results::stats::BLOCK_STATS),
        about: "Sizes, fees and coins of a block that is or was in the best chain. Fees are in grains, fee rates in grains \
                a byte. Sizes and fees do not include the coinbase.",
        run: |api, args| Box::pin(get_block_stats(api, args)),
    },
    Method {
        name: "getchaintxstats",
        access: Access::Owner,
        params: &[
            optional("nblocks", Kind::Integer, "null", "Number of blocks. Default: those of a month."),
            optional("blockhash", Kind::Hash, "null", "The last of these blocks. Default: the tip."),
        ],
        result: Shape::Object(&results::stats::CHAIN_TX_STATS),
        about: "Number and rate of transactions in the best chain.",
        run: |api, args| Box::pin(get_chain_tx_stats(api, args)),
    },
    Method {
        name: "verifychain",
        access: Access::Owner,
        params: &[
            optional(
                "checklevel",
                Kind::Integer,
                "3",
                "0 reads the blocks; 1 also checks each by itself, 2 its undo record, 3 its coins; 4 connects it again by every rule.",
            ),
            optional("nblocks", Kind::Integer, "6", "Number of blocks, from the tip down; 0 for all."),
        ],
        result: Shape::Boolean,
        about: "Checks the last blocks of the best chain as they are stored. If the result is false, the log says what is wrong.",
        run: |api, args| Box::pin(verify_chain(api, args)),
    },
];

/// All statistics, in the order of the answer.
#[derive(Debug, Serialize)]
struct BlockStats {
    avgfee: u64,
    avgfeerate: u64,
    avgtxsize: u64,
    blockhash: BlockHash,
    /// At the 10th, 25th, 50th, 75th and 90th percentile of bytes.
    feerate_percentiles: [u64; 5],
    height: Height,
    ins: usize,
    maxfee: u64,
    maxfeerate: u64,
    maxtxsize: u64,
    medianfee: u64,
    mediantime: u32,
    mediantxsize: u64,
    minfee: u64,
    minfeerate: u64,
    mintxsize: u64,
    outs: usize,
    subsidy: Amount,
    time: u32,
    /// Bitcoin's totals of transactions with a witness: there are none.
    swtotal_size: u64,
    swtotal_weight: u64,
    swtxs: u64,
    total_out: Amount,
    total_size: u64,
    total_weight: u64,
    totalfee: u64,
    txs: usize,
    /// Outputs less inputs, data outputs counted.
    utxo_increase: i64,
    /// Bytes of their records, likewise.
    utxo_size_inc: i64,
    /// Without data outputs, which are no coins.
    utxo_increase_actual: i64,
    utxo_size_inc_actual: i64,
}

impl BlockStats {
    /// `spent` are the coins of all inputs, in order.
    fn new(block: &Block, spent: &[Coin], place: Place) -> Option<Self> {
        let mut rest = spent;
        let (mut payments, mut fees): (Vec<Payment>, Vec<u64>) = (Vec::new(), Vec::new());
        let (mut outs, mut total_out) = (0, Amount::ZERO);
        let mut made = Growth::default();
        for tx in &block.transactions {
            for output in &tx.outputs {
                made.add(output, place.height, tx.is_coinbase());
            }
            outs += tx.outputs.len();
            let (coins, after) = rest.split_at_checked(tx.inputs.len())?;
            rest = after;
            if tx.is_coinbase() {
                continue;
            }
            let paid = Amount::saturating_sum(tx.outputs.iter().map(|output| output.value));
            let taken = Amount::saturating_sum(coins.iter().map(|coin| coin.output.value));
            let fee = taken.checked_sub(paid)?;
            total_out = total_out.saturating_add(paid);
            fees.push(fee.as_grains());
            payments.push(Payment::new(fee, tx.size()));
        }
        let mut gone = Growth::default();
        spent.iter().for_each(|coin| gone.add(&coin.output, coin.height, coin.coinbase));
        let mut sizes: Vec<u64> = payments.iter().map(|tx| tx.size).collect();
        fees.sort_unstable();
        sizes.sort_unstable();
        payments.sort_unstable_by_key(|payment| payment.rate);
        let (totalfee, total_size): (u64, u64) = (fees.iter().sum(), sizes.iter().sum());
        let count = payments.len() as u64;
        let rate_of = |payment: Option<&Payment>| payment.map_or(0, |payment| payment.rate.grains_per_byte());
        Some(Self {
            avgfee: totalfee.checked_div(count).unwrap_or(0),
            avgfeerate: totalfee.checked_div(total_size).unwrap_or(0),
            avgtxsize: total_size.checked_div(count).unwrap_or(0),
            blockhash: place.hash,
            feerate_percentiles: PERCENTILES.map(|share| rate_at(&payments, share).grains_per_byte()),
            height: place.height,
            ins: spent.len(),
            maxfee: fees.last().copied().unwrap_or(0),
            maxfeerate: rate_of(payments.last()),
            maxtxsize: sizes.last().copied().unwrap_or(0),
            medianfee: median(&fees),
            mediantime: place.median_time,
            mediantxsize: median(&sizes),
            minfee: fees.first().copied().unwrap_or(0),
            minfeerate: rate_of(payments.first()),
            mintxsize: sizes.first().copied().unwrap_or(0),
            outs,
            subsidy: place.subsidy,
            time: block.header.time,
            swtotal_size: 0,
            swtotal_weight: 0,
            swtxs: 0,
            total_out,
            total_size,
            total_weight: WEIGHT as u64 * total_size,
            totalfee,
            txs: block.transactions.len(),
            utxo_increase: made.outputs - gone.outputs,
            utxo_size_inc: made.bytes - gone.bytes,
            utxo_increase_actual: made.coins - gone.coins,
            utxo_size_inc_actual: made.coin_bytes - gone.coin_bytes,
        })
    }
}

/// Where a block is.
#[derive(Clone, Copy)]
struct Place {
    hash: BlockHash,
    height: Height,
    median_time: u32,
    subsidy: Amount,
}

/// At what rate a transaction pays, and for how many bytes.
pub(super) struct Payment {
    pub(super) rate: FeeRate,
    pub(super) size: u64,
}

impl Payment {
    pub(super) fn new(fee: Amount, size: usize) -> Self {
        Self { rate: fee.per(size), size: size as u64 }
    }
}

/// The rate of the payment at a share of all bytes, in percent; `payments` are in the order of their rates.
pub(super) fn rate_at(payments: &[Payment], percent: u64) -> FeeRate {
    let total: u64 = payments.iter().map(|payment| payment.size).sum();
    let mut sum = 0;
    let reached = payments.iter().find(|payment| {
        sum += payment.size;
        sum * 100 >= total * percent
    });
    reached.map_or(FeeRate::ZERO, |payment| payment.rate)
}

/// Bitcoin Core's: of an even number, the mean of the two in the middle. `values` are in order.
fn median(values: &[u64]) -> u64 {
    let middle = values.len() / 2;
    match (values.get(middle), middle.checked_sub(1).and_then(|below| values.get(below))) {
        (Some(above), Some(below)) if values.len().is_multiple_of(2) => (above + below) / 2,
        (Some(middle), _) => *middle,
        (None, _) => 0,
    }
}

/// Outputs and their records' bytes.
#[derive(Default)]
struct Growth {
    outputs: i64,
    bytes: i64,
    coins: i64,
    coin_bytes: i64,
}

impl Growth {
    fn add(&mut self, output: &Output, height: Height, coinbase: bool) {
        let coin = Coin { output: output.clone(), height, coinbase };
        let bytes = (OUTPOINT_BYTES + codec::encoded_len(&coin)) as i64;
        self.outputs += 1;
        self.bytes += bytes;
        if output.key().is_some() {
            self.coins += 1;
            self.coin_bytes += bytes;
        }
    }
}

async fn get_block_stats(api: Api, args: Args) -> Outcome {
    let wanted: Option<Vec<String>> = args.get("stats")?;
    let block: Value = args.get("hash_or_height")?;
    let named: Option<BlockHash> = match &block {
        Value::String(_) => Some(args.get("hash_or_height")?),
        _ => None,
    };
    let height = block.as_i64();
    let (place, entry) = {
        let tree = api.tree()?;
        let entry = match (named, height) {
            (Some(hash), _) => entry(&tree, &hash)?,
            (None, height) => at_height(&tree, height)?,
        };
        let subsidy = api.params().subsidy_at(entry.height);
        let place = Place { hash: entry.hash, height: entry.height, median_time: tree.median_time(&entry), subsidy };
        (place, entry)
    };
    let reader = api.tree_reader()?.clone();
    let stats = api
        .load(move |db| {
            let Some(block) = db.block(&entry.key())? else {
                return Err(unavailable(&reader.read(), &entry));
            };
            let never = || {
                RpcError::new(
                    Code::Misc,
                    "Its fees are not known: the block never was in the best chain, or is archived",
                )
            };
            BlockStats::new(&block, &db.undo(&entry.key())?, place).ok_or_else(never)
        })
        .await?;
    let Some(wanted) = wanted else { return Ok(Reply::of(&stats)) };
    let Ok(Value::Object(mut all)) = serde_json::to_value(&stats) else {
        return Err(RpcError::internal("the figures of a block are not an object"));
    };
    let mut chosen = Map::new();
    for name in wanted {
        let value = all.remove(&name).or_else(|| chosen.get(&name).cloned());
        let unknown = || RpcError::invalid(format!("Invalid selected statistic '{name}'"));
        chosen.insert(name.clone(), value.ok_or_else(unknown)?);
    }
    Ok(Reply::of(&chosen))
}

fn at_height(tree: &BlockTree, height: Option<i64>) -> Result<Entry, RpcError> {
    let height = height.unwrap_or(i64::MAX);
    if height < 0 {
        return Err(RpcError::invalid(format!("Target block height {height} is negative")));
    }
    let known = u32::try_from(height).map(Height::from_u32);
    known.map_or(Ok(()), |height| check_header_is_here(tree, height))?;
    let found = known.ok().and_then(|height| tree.entry_at(height));
    let tip = tree.tip().height;
    found.ok_or_else(|| RpcError::invalid(format!("Target block height {height} after current tip {tip}")))
}

async fn get_chain_tx_stats(api: Api, args: Args) -> Outcome {
    #[derive(Serialize)]
    struct Stats {
        time: u32,
        txcount: u64,
        window_final_block_hash: BlockHash,
        window_final_block_height: Height,
        window_block_count: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        window_tx_count: Option<u64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        window_interval: Option<u32>,
        /// Transactions a second within the window.
        #[serde(skip_serializing_if = "Option::is_none")]
        txrate: Option<f64>,
    }
    let count: Option<i64> = args.get("nblocks")?;
    let hash: Option<BlockHash> = args.get("blockhash")?;
    let month = (MONTH / api.params().target_spacing_secs.max(1)).max(1);
    api.walk(move |tree| {
        let last = hash.map_or(Ok(tree.tip()), |hash| entry(tree, &hash))?;
        if !tree.is_on_best_chain(&last) {
            return Err(RpcError::invalid("Block is not in main chain"));
        }
        let most = last.height.blocks_since(Height::GENESIS).saturating_sub(1);
        let window = match count {
            None => month.min(most),
            Some(count) => {
                let wrong = || RpcError::invalid("Invalid block count: should be between 0 and the block's height - 1");
                u32::try_from(count).ok().filter(|count| *count == 0 || *count <= most).ok_or_else(wrong)?
            }
        };
        let first = last.height.saturating_sub(window);
        check_header_is_here(tree, first)?;
        let (before, txcount) = (tree.transactions_up_to(first), tree.transactions_up_to(last.height));
        let start = tree.entry_at(first).map_or(0, |entry| tree.median_time(&entry));
        let interval = (window > 0).then(|| tree.median_time(&last).saturating_sub(start));
        Ok(Reply::of(&Stats {
            time: last.header.time,
            txcount,
            window_final_block_hash: last.hash,
            window_final_block_height: last.height,
            window_block_count: window,
            window_tx_count: interval.map(|_| txcount - before),
            window_interval: interval,
            txrate: interval.filter(|secs| *secs > 0).map(|secs| (txcount - before) as f64 / f64::from(secs)),
        }))
    })
    .await
}

async fn verify_chain(api: Api, args: Args) -> Outcome {
    let level: i64 = args.get("checklevel")?;
    let count: i64 = args.get("nblocks")?;
    let level = match level {
        ..=0 => Level::Read,
        1 => Level::Rules,
        2 => Level::Undo,
        3 => Level::Coins,
        4.. => Level::Connect,
    };
    let count = if count > 0 { u32::try_from(count).unwrap_or(u32::MAX) } else { u32::MAX };
    for _ in 0..VERIFY_ATTEMPTS {
        if let Some(verdict) = api.check_recent(level, count).await? {
            return Ok(Reply::of(&verdict));
        }
    }
    Err(RpcError::new(Code::Misc, "the tip changed while the chain was verified; try again, or check fewer blocks"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_percentiles() {
        assert_eq!((median(&[]), median(&[3]), median(&[3, 6]), median(&[1, 5, 9])), (0, 3, 4, 5));
        let payment = |fee, size| Payment::new(Amount::from_grains(fee), size);
        let rate_at = |payments: &[Payment], share| rate_at(payments, share).grains_per_byte();
        let payments: Vec<Payment> = (1..=10).map(|rate| payment(rate * 100, 100)).collect();
        assert_eq!(PERCENTILES.map(|share| rate_at(&payments, share)), [1, 3, 5, 8, 9]);
        assert_eq!(rate_at(&[], 50), 0);
        let uneven = [payment(900, 900), payment(1_000, 100)];
        assert_eq!((rate_at(&uneven, 90), rate_at(&uneven, 91)), (1, 10));
    }
}
