//! The mempool and fees.

use super::{Object, Shape, field, object, optional_field};

/// The answer of `getmempoolinfo`.
pub const MEMPOOL_INFO: Object = object(
    "MempoolInfo",
    &[
        field("loaded", Shape::Boolean, "Always true."),
        field("size", Shape::Integer, "How many transactions wait."),
        field("bytes", Shape::Integer, "Their size in bytes."),
        field("usage", Shape::Integer, "The memory that they take, in bytes."),
        field("total_fee", Shape::Integer, "The sum of their fees, in grains."),
        field("maxmempool", Shape::Integer, "The most memory that they may take, in bytes."),
        field("mempoolminfee", Shape::Integer, "The least fee rate that is accepted now, in grains a byte."),
        field("minrelaytxfee", Shape::Integer, "The same when the mempool is not full, in grains a byte."),
        field("incrementalrelayfee", Shape::Integer, "What a replacement must pay more, in grains a byte."),
        field("unbroadcastcount", Shape::Integer, "Always 0: it is not counted."),
        field("fullrbf", Shape::Boolean, "Always true: any transaction can be replaced."),
        field("permitbaremultisig", Shape::Boolean, "Always false: there are no scripts."),
        field("maxdatacarriersize", Shape::Integer, "The most bytes of an output's data."),
        field("limitclustercount", Shape::Integer, "Always 0, no limit: ancestors and descendants are limited."),
        field("limitclustersize", Shape::Integer, "Always 0, likewise."),
        field("optimal", Shape::Boolean, "Always true: nothing is linearised."),
        field("orphans", Shape::Integer, "Transactions kept aside because a coin that they spend is unknown."),
    ],
);

/// An entry: the answer of `getmempoolentry`.
pub const MEMPOOL_ENTRY: Object = object(
    "MempoolEntry",
    &[
        field("vsize", Shape::Integer, "Its size in bytes."),
        field("weight", Shape::Integer, "Four times the size."),
        field("time", Shape::Integer, "When it came, in seconds since 1970."),
        field("height", Shape::Integer, "The height of the tip at which it came."),
        field("descendantcount", Shape::Integer, "Transactions here that spend of it, and it."),
        field("descendantsize", Shape::Integer, "Their size in bytes."),
        field("ancestorcount", Shape::Integer, "Transactions here that it spends of, and it."),
        field("ancestorsize", Shape::Integer, "Their size in bytes."),
        field(
            "chunkweight",
            Shape::Integer,
            "Four times the size of it and its ancestors here, or of it alone if they pay no less a byte.",
        ),
        field("fees", Shape::Object(&ENTRY_FEES), ""),
        field("depends", Shape::Array(&Shape::Hash), "Transactions here whose outputs it spends."),
        field("spentby", Shape::Array(&Shape::Hash), "Transactions here that spend its outputs."),
        field("wtxid", Shape::Hash, "Its id: that has the signatures in it."),
        field("bip125-replaceable", Shape::Boolean, "Always true."),
        field("unbroadcast", Shape::Boolean, "Always false: it is not known."),
    ],
);

const ENTRY_FEES: Object = object(
    "EntryFees",
    &[
        field("base", Shape::Integer, "Its own fee in grains."),
        field("modified", Shape::Integer, "The same."),
        field("ancestor", Shape::Integer, "With those of its ancestors here, in grains."),
        field("descendant", Shape::Integer, "With those of its descendants here, in grains."),
        field("chunk", Shape::Integer, "Those of the transactions in chunkweight, in grains."),
    ],
);

/// An output in the answer of `gettxspendingprevout`.
pub const SPENDING: Object = object(
    "SpendingTransaction",
    &[
        field("txid", Shape::Hash, "The transaction that made the output."),
        field("vout", Shape::Integer, "Its index."),
        optional_field("spendingtxid", Shape::Hash, "The transaction in the mempool that spends it."),
    ],
);

/// The answer of `savemempool`.
pub const SAVED_MEMPOOL: Object = object("SavedMempool", &[field("filename", Shape::Text, "The file it is in.")]);

/// The answer of `estimatesmartfee`.
pub const FEE_ESTIMATE: Object = object(
    "FeeEstimate",
    &[
        optional_field("feerate", Shape::Integer, "In grains a byte."),
        optional_field("errors", Shape::Array(&Shape::Text), "Why there is no rate."),
        field("blocks", Shape::Integer, "The number of blocks that it is for."),
    ],
);
