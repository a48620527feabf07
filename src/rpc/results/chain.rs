//! The chain, its blocks and coins, and what proves them.

use super::transaction::{COINBASE, IN_BLOCK, LOCK};
use super::{BITS, DIFFICULTY, Field, Object, Shape, TARGET, WARNINGS, extended, field, object, optional_field};

const MEDIAN_TIME: Field =
    field("mediantime", Shape::Integer, "The median of the last eleven times, in seconds since 1970.");
const CHAIN_WORK: Field = field("chainwork", Shape::Hex, "The expected hashes of the chain up to here, 64 hex digits.");

/// The answer of `getblockchaininfo`.
pub const BLOCKCHAIN_INFO: Object = object(
    "BlockchainInfo",
    &[
        field("chain", Shape::Text, "The name of the network."),
        field("blocks", Shape::Integer, "The height of the tip."),
        field("headers", Shape::Integer, "The height of the best header, whose blocks may still be missing."),
        field("bestblockhash", Shape::Hash, "The tip."),
        field("genesisblockhash", Shape::Hash, "The first block, which identifies the network."),
        BITS,
        TARGET,
        DIFFICULTY,
        field("time", Shape::Integer, "The tip's time in seconds since 1970."),
        MEDIAN_TIME,
        field("verificationprogress", Shape::Number, "The share of the known headers whose blocks are here, 0 to 1."),
        field("initialblockdownload", Shape::Boolean, "Whether blocks of the best header's chain are missing."),
        CHAIN_WORK,
        field("size_on_disk", Shape::Integer, "The size of the store in bytes."),
        field("pruned", Shape::Boolean, "Whether old blocks are removed."),
        optional_field("pruneheight", Shape::Integer, "The first block that is kept whole, on a node that prunes."),
        optional_field("automatic_pruning", Shape::Boolean, "Whether the node prunes by itself."),
        optional_field("prune_target_blocks", Shape::Integer, "How many blocks it then keeps whole."),
        optional_field(
            "archived_blocks",
            Shape::Integer,
            "How many of the pruned blocks can still be had, as part of the archive.",
        ),
        WARNINGS,
    ],
);

/// A header in its chain: the answer of `getblockheader`.
pub const BLOCK_HEADER: Object = object(
    "BlockHeader",
    &[
        field("hash", Shape::Hash, ""),
        optional_field("cid", Shape::Text, "The CID of its header, under which the block can be had as content."),
        field("confirmations", Shape::Integer, "Blocks on top of it, and it; -1 if it is not in the best chain."),
        field("height", Shape::Integer, ""),
        field("version", Shape::Integer, ""),
        field("versionHex", Shape::Hex, "The version in hex."),
        field("merkleroot", Shape::Hash, "The root of the Merkle tree of the transactions."),
        field("time", Shape::Integer, "In seconds since 1970."),
        MEDIAN_TIME,
        field("nonce", Shape::Integer, ""),
        BITS,
        TARGET,
        DIFFICULTY,
        CHAIN_WORK,
        field("nTx", Shape::Integer, "How many transactions it has; 0 while its body is not here."),
        optional_field("previousblockhash", Shape::Hash, "The block before it; genesis has none."),
        optional_field("nextblockhash", Shape::Hash, "The block after it in the best chain."),
    ],
);

/// A block: the answer of `getblock`.
pub const BLOCK: Object = extended(
    "Block",
    &BLOCK_HEADER,
    &[
        field("size", Shape::Integer, "In bytes."),
        field("strippedsize", Shape::Integer, "The same: signatures have no discount."),
        field("weight", Shape::Integer, "Four times the size."),
        field("coinbase_tx", Shape::Object(&COINBASE), "The coinbase without its outputs."),
        field(
            "tx",
            Shape::Either(&[Shape::Array(&Shape::Hash), Shape::Array(&Shape::Object(&IN_BLOCK))]),
            "The ids of its transactions, or from verbosity 2 on the whole ones.",
        ),
    ],
);

/// The answer of `getblockfilter`.
pub const BLOCK_FILTER: Object = object(
    "BlockFilter",
    &[field("filter", Shape::Hex, "As in BIP-158."), field("header", Shape::Hash, "The filter header, as in BIP-157.")],
);

/// The tip of a branch, in the answer of `getchaintips`.
pub const CHAIN_TIP: Object = object(
    "ChainTip",
    &[
        field("height", Shape::Integer, ""),
        field("hash", Shape::Hash, ""),
        field("branchlen", Shape::Integer, "Blocks since it left the best chain; 0 for its tip."),
        field(
            "status",
            Shape::Text,
            "\"active\", \"valid-fork\", \"valid-headers\", \"headers-only\" or \"invalid\", as in Bitcoin Core.",
        ),
    ],
);

/// The answer of `getdeploymentinfo`.
pub const DEPLOYMENT_INFO: Object = object(
    "DeploymentInfo",
    &[
        field("hash", Shape::Hash, "The block that the answer is about."),
        field("height", Shape::Integer, "Its height."),
        field("script_flags", Shape::Array(&Shape::Text), "Always empty: there are no scripts."),
        field("deployments", Shape::Map(&Shape::Null), "Always empty."),
    ],
);

/// The state of an index, in the answer of `getindexinfo`.
pub const INDEX_INFO: Object = object(
    "IndexInfo",
    &[
        field("synced", Shape::Boolean, "Always true."),
        field("best_block_height", Shape::Integer, "The last block that is in it."),
    ],
);

/// The answer of `gettxout`.
pub const COIN: Object = object(
    "Coin",
    &[
        field("bestblock", Shape::Hash, "The tip at which it is unspent."),
        field("confirmations", Shape::Integer, "Those of its block; 0 in the mempool."),
        field("value", Shape::Integer, "In grains."),
        field("scriptPubKey", Shape::Object(&LOCK), "Who may spend it."),
        field("coinbase", Shape::Boolean, "Whether it was mined, and must mature."),
    ],
);

/// The answer of `gettxoutsetinfo`.
pub const COIN_SET_INFO: Object = object(
    "CoinSetInfo",
    &[
        field("height", Shape::Integer, "The height of the tip."),
        field("bestblock", Shape::Hash, "The tip."),
        field("txouts", Shape::Integer, "How many unspent outputs there are."),
        field("bogosize", Shape::Integer, "Always 0: it is not kept."),
        optional_field("digest", Shape::Hash, "Equal sets have equal digests; left out for hash_type \"none\"."),
        field("disk_size", Shape::Integer, "The size of the store in bytes."),
        field("total_amount", Shape::Integer, "The sum of their values, in grains."),
    ],
);

/// A tip that was waited for.
pub const TIP: Object =
    object("Tip", &[field("hash", Shape::Hash, "The tip."), field("height", Shape::Integer, "Its height.")]);

/// The answer of `getreceipt`: `docs/receipts.md` describes the format.
pub const RECEIPT: Object = object(
    "Receipt",
    &[
        field("format", Shape::Text, "Always \"cairn-receipt\"."),
        field("version", Shape::Integer, "Of the format."),
        field("network", Shape::Hash, "The hash of the genesis block."),
        field("transaction", Shape::Hex, "The encoding of the transaction."),
        field("height", Shape::Integer, "The height of the block."),
        field("index", Shape::Integer, "The place of the transaction in the block."),
        field("branch", Shape::Array(&Shape::Hash), "Its Merkle branch, from the leaves up."),
        field(
            "evidence",
            Shape::Either(&[
                Shape::Object(&HEADERS_EVIDENCE),
                Shape::Object(&SINCE_EVIDENCE),
                Shape::Object(&SUCCINCT_EVIDENCE),
            ]),
            "What shows that the block is in the chain.",
        ),
    ],
);

const HEADERS_EVIDENCE: Object = object(
    "HeadersEvidence",
    &[
        field("kind", Shape::Text, "\"headers\"."),
        field("headers", Shape::Hex, "All headers after genesis, 80 bytes each."),
        field("tip", Shape::Hash, "The hash of the last one."),
    ],
);

const SINCE_EVIDENCE: Object = object(
    "SinceEvidence",
    &[
        field("kind", Shape::Text, "\"since\"."),
        field("height", Shape::Integer, "The block after which the headers begin."),
        field("hash", Shape::Hash, "The hash of that block."),
        field("headers", Shape::Hex, "The headers after it, 80 bytes each."),
        field("tip", Shape::Hash, "The hash of the last one."),
    ],
);

const SUCCINCT_EVIDENCE: Object = object(
    "SuccinctEvidence",
    &[
        field("kind", Shape::Text, "\"succinct\"."),
        field("proof", Shape::Hex, "A sample of the headers, which the hash of the tip determines."),
        field("tip", Shape::Hash, "The hash of the last header."),
    ],
);
