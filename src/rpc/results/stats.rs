//! Statistics.

use super::{Object, Shape, field, object, optional_field};

/// The answer of `getblockstats`: all of it, or what the caller selects.
pub const BLOCK_STATS: Object = object(
    "BlockStats",
    &[
        optional_field("avgfee", Shape::Integer, "In grains."),
        optional_field("avgfeerate", Shape::Integer, "In grains a byte."),
        optional_field("avgtxsize", Shape::Integer, "In bytes."),
        optional_field("blockhash", Shape::Hash, ""),
        optional_field(
            "feerate_percentiles",
            Shape::Array(&Shape::Integer),
            "At the 10th, 25th, 50th, 75th and 90th percentile of bytes, in grains a byte.",
        ),
        optional_field("height", Shape::Integer, ""),
        optional_field("ins", Shape::Integer, "Inputs, without the coinbase's."),
        optional_field("maxfee", Shape::Integer, "In grains."),
        optional_field("maxfeerate", Shape::Integer, "In grains a byte."),
        optional_field("maxtxsize", Shape::Integer, "In bytes."),
        optional_field("medianfee", Shape::Integer, "In grains."),
        optional_field("mediantime", Shape::Integer, "The median of the last eleven times, in seconds since 1970."),
        optional_field("mediantxsize", Shape::Integer, "In bytes."),
        optional_field("minfee", Shape::Integer, "In grains."),
        optional_field("minfeerate", Shape::Integer, "In grains a byte."),
        optional_field("mintxsize", Shape::Integer, "In bytes."),
        optional_field("outs", Shape::Integer, "Outputs."),
        optional_field("subsidy", Shape::Integer, "In grains."),
        optional_field("time", Shape::Integer, "In seconds since 1970."),
        optional_field("swtotal_size", Shape::Integer, "0: no transaction has a witness."),
        optional_field("swtotal_weight", Shape::Integer, "0."),
        optional_field("swtxs", Shape::Integer, "0."),
        optional_field("total_out", Shape::Integer, "The sum of the outputs without the coinbase's, in grains."),
        optional_field("total_size", Shape::Integer, "That of the transactions without the coinbase, in bytes."),
        optional_field("total_weight", Shape::Integer, "Four times that."),
        optional_field("totalfee", Shape::Integer, "In grains."),
        optional_field("txs", Shape::Integer, "Transactions, the coinbase included."),
        optional_field("utxo_increase", Shape::Integer, "Outputs less inputs, data outputs counted."),
        optional_field("utxo_size_inc", Shape::Integer, "Bytes of their records, likewise."),
        optional_field("utxo_increase_actual", Shape::Integer, "Without data outputs, which are no coins."),
        optional_field("utxo_size_inc_actual", Shape::Integer, "Bytes of their records, likewise."),
    ],
);

/// The answer of `getchaintxstats`.
pub const CHAIN_TX_STATS: Object = object(
    "ChainTxStats",
    &[
        field("time", Shape::Integer, "That of the last block, in seconds since 1970."),
        field("txcount", Shape::Integer, "Transactions up to that block."),
        field("window_final_block_hash", Shape::Hash, "The last block."),
        field("window_final_block_height", Shape::Integer, "Its height."),
        field("window_block_count", Shape::Integer, "Blocks in the window."),
        optional_field("window_tx_count", Shape::Integer, "Transactions in the window."),
        optional_field("window_interval", Shape::Integer, "Seconds in the window."),
        optional_field("txrate", Shape::Number, "Transactions a second in the window."),
    ],
);
