//! Transactions.

use super::{Object, Shape, extended, field, object, optional_field};

/// Who may spend an output.
pub const LOCK: Object = object(
    "Lock",
    &[
        field("asm", Shape::Text, "Always empty: there are no scripts."),
        field("hex", Shape::Hex, "The public key, or the data of an output that cannot be spent."),
        optional_field("address", Shape::Text, "The address of the key."),
        field("type", Shape::Text, "\"key\" or \"data\"."),
    ],
);

/// An output.
pub const OUTPUT: Object = object(
    "Output",
    &[
        field("value", Shape::Integer, "In grains."),
        field("n", Shape::Integer, "Its index in the transaction, from 0."),
        field("scriptPubKey", Shape::Object(&LOCK), "Who may spend it."),
    ],
);

/// What a coinbase has instead of an input.
pub const COINBASE_INPUT: Object = object(
    "CoinbaseInput",
    &[
        field("coinbase", Shape::Hex, "The commitment and the miner's extra nonce."),
        field("sequence", Shape::Integer, "Always 4294967295: inputs have none."),
    ],
);

/// What a block shows of its coinbase.
pub const COINBASE: Object = extended(
    "Coinbase",
    &COINBASE_INPUT,
    &[field("version", Shape::Integer, ""), field("locktime", Shape::Integer, "The height of its block.")],
);

/// An input.
pub const SPEND: Object = object(
    "Spend",
    &[
        field("txid", Shape::Hash, "The transaction whose output it spends."),
        field("vout", Shape::Integer, "The index of that output."),
        field("signature", Shape::Hex, "64 bytes."),
        field("sequence", Shape::Integer, "Always 4294967295: inputs have none."),
        optional_field("prevout", Shape::Object(&SPENT_COIN), "The coin, from the verbosity on that asks for it."),
    ],
);

const SPENT_COIN: Object = object(
    "SpentCoin",
    &[
        field("generated", Shape::Boolean, "Whether a coinbase made it."),
        optional_field("height", Shape::Integer, "The block that made it; none while that is not mined."),
        field("value", Shape::Integer, "In grains."),
        field("scriptPubKey", Shape::Object(&LOCK), "Who may spend it."),
    ],
);

/// A transaction by itself: the answer of `decoderawtransaction`.
pub const DECODED: Object = object(
    "DecodedTransaction",
    &[
        field("txid", Shape::Hash, ""),
        field("hash", Shape::Hash, "The same: the id has the signatures in it."),
        field("version", Shape::Integer, ""),
        field("size", Shape::Integer, "In bytes."),
        field("vsize", Shape::Integer, "The same."),
        field("weight", Shape::Integer, "Four times the size."),
        field("locktime", Shape::Integer, "The first height at which a block may have it."),
        field("vin", Shape::Array(&Shape::Either(&[Shape::Object(&COINBASE_INPUT), Shape::Object(&SPEND)])), ""),
        field("vout", Shape::Array(&Shape::Object(&OUTPUT)), ""),
        optional_field("fee", Shape::Integer, "In grains, where the coins spent were looked up."),
    ],
);

/// The same with its bytes: a transaction of a block.
pub const IN_BLOCK: Object = extended("BlockTransaction", &DECODED, &[field("hex", Shape::Hex, "Its encoding.")]);

/// A transaction with its place: the answer of `getrawtransaction`.
pub const TRANSACTION: Object = extended(
    "Transaction",
    &IN_BLOCK,
    &[
        optional_field("in_active_chain", Shape::Boolean, "Whether the block that was named is in the best chain."),
        optional_field("blockhash", Shape::Hash, "Its block; none while it waits in the mempool."),
        optional_field("confirmations", Shape::Integer, "Blocks on top of that one, and it; 0 off the best chain."),
        optional_field("height", Shape::Integer, "The height of its block."),
        optional_field("time", Shape::Integer, "The time of its block in seconds since 1970."),
        optional_field("blocktime", Shape::Integer, "The same."),
    ],
);

/// A verdict of `testmempoolaccept`.
pub const VERDICT: Object = object(
    "MempoolVerdict",
    &[
        field("txid", Shape::Hash, ""),
        field("allowed", Shape::Boolean, "Whether the mempool would accept it now."),
        optional_field("vsize", Shape::Integer, "Its size in bytes, if it was judged so far."),
        optional_field("fees", Shape::Object(&BASE_FEE), "What it pays."),
        optional_field("reject-reason", Shape::Text, "Why it would be refused."),
    ],
);

const BASE_FEE: Object = object("BaseFee", &[field("base", Shape::Integer, "In grains.")]);

/// The answer of `signrawtransactionwithkey`.
pub const SIGNED: Object = object(
    "SignedTransaction",
    &[
        field("hex", Shape::Hex, "The transaction with the signatures that the keys could make."),
        field("complete", Shape::Boolean, "Whether every input is signed."),
        optional_field("errors", Shape::Array(&Shape::Object(&UNSIGNED)), "The inputs that are not."),
    ],
);

const UNSIGNED: Object = object(
    "UnsignedInput",
    &[
        field("txid", Shape::Hash, "The transaction whose output it spends."),
        field("vout", Shape::Integer, "The index of that output."),
        field("error", Shape::Text, "Why it is not signed."),
    ],
);
