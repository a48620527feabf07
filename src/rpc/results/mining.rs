//! Mining.

use super::{BITS, DIFFICULTY, OPTIONAL_TEXT, Object, Shape, TARGET, WARNINGS, field, object, optional_field};

/// The answer of `getmininginfo`.
pub const MINING_INFO: Object = object(
    "MiningInfo",
    &[
        field("blocks", Shape::Integer, "The height of the tip."),
        BITS,
        TARGET,
        DIFFICULTY,
        field("networkhashps", Shape::Number, "The estimated hashes a second of the whole network."),
        field("pooledtx", Shape::Integer, "How many transactions wait in the mempool."),
        field("blockmintxfee", Shape::Integer, "The least fee rate that is mined, in grains a byte."),
        field("chain", Shape::Text, "The name of the network."),
        field("generate", Shape::Boolean, "Whether this node mines."),
        field("genproclimit", Shape::Integer, "With how many threads."),
        field("hashespersec", Shape::Number, "How fast."),
        field("blocksfound", Shape::Integer, "How many blocks it has found since its start."),
        field("address", OPTIONAL_TEXT, "To whom it mines; null if no payee is set."),
        field("next", Shape::Object(&NEXT_BLOCK), "The block to mine next."),
        WARNINGS,
    ],
);

const NEXT_BLOCK: Object = object(
    "NextBlock",
    &[
        field("height", Shape::Integer, ""),
        BITS,
        TARGET,
        DIFFICULTY,
        field("sizelimit", Shape::Integer, "The most bytes that a block may have."),
    ],
);

/// The answer of `generateblock`.
pub const GENERATED: Object = object(
    "GeneratedBlock",
    &[
        field("hash", Shape::Hash, "The block's hash."),
        optional_field("hex", Shape::Hex, "Its encoding, if it was not submitted."),
    ],
);

/// A template: the answer of `getblocktemplate`, as in BIP-22 and BIP-23.
pub const TEMPLATE: Object = object(
    "BlockTemplate",
    &[
        field("capabilities", Shape::Array(&Shape::Text), "\"proposal\"."),
        field("version", Shape::Integer, "That of the block."),
        field("rules", Shape::Array(&Shape::Text), "Always empty: there are no soft forks."),
        field("previousblockhash", Shape::Hash, "The tip."),
        field("transactions", Shape::Array(&Shape::Object(&TEMPLATE_TRANSACTION)), "Those after the coinbase."),
        field("coinbasetxn", Shape::Object(&TEMPLATE_TRANSACTION), "The coinbase."),
        field("longpollid", Shape::Text, "What to send to wait for other work."),
        TARGET,
        field("mintime", Shape::Integer, "The least time that the header may have, in seconds since 1970."),
        field("maxtime", Shape::Integer, "The greatest time that the header may have, in seconds since 1970."),
        field("mutable", Shape::Array(&Shape::Text), "What the miner may change."),
        field("noncerange", Shape::Hex, "The nonces to try."),
        field("sizelimit", Shape::Integer, "The most bytes that the block may have."),
        field("curtime", Shape::Integer, "The node's time in seconds since 1970."),
        BITS,
        field("height", Shape::Integer, "That of the block."),
    ],
);

const TEMPLATE_TRANSACTION: Object = object(
    "TemplateTransaction",
    &[
        field("data", Shape::Hex, "Its encoding."),
        field("txid", Shape::Hash, ""),
        field("hash", Shape::Hash, "The same."),
        field("depends", Shape::Array(&Shape::Integer), "Places in the list, from 1, of those that must come before."),
        field("fee", Shape::Integer, "In grains; for the coinbase, minus the sum of the others'."),
    ],
);

/// The answer of `getstratuminfo`.
pub const STRATUM_INFO: Object = object(
    "StratumInfo",
    &[
        field("enabled", Shape::Boolean, "Whether the node serves miners over Stratum."),
        field("connections", Shape::Integer, ""),
        field("accepted", Shape::Integer, "Shares that were good."),
        field("rejected", Shape::Object(&REJECTED_SHARES), "Shares that were not."),
        field("blocksfound", Shape::Integer, "Blocks found by these miners that became the tip."),
        field("hashespersec", Shape::Number, "Their estimated speed."),
        field("miners", Shape::Array(&Shape::Object(&STRATUM_MINER)), ""),
    ],
);

const REJECTED_SHARES: Object = object(
    "RejectedShares",
    &[
        field("stale", Shape::Integer, "For work that is gone."),
        field("duplicate", Shape::Integer, "Sent twice."),
        field("lowdifficulty", Shape::Integer, "Too easy."),
        field("invalid", Shape::Integer, "Malformed."),
    ],
);

const STRATUM_MINER: Object = object(
    "StratumMiner",
    &[
        field("addr", Shape::Text, "IP and port."),
        field("worker", Shape::Text, "The name that it gave."),
        field("agent", Shape::Text, "Its software."),
        field("difficulty", Shape::Number, "That of its shares."),
        field("conntime", Shape::Integer, "Seconds since it connected."),
        field("accepted", Shape::Integer, ""),
        field("rejected", Shape::Integer, ""),
        field("hashespersec", Shape::Number, ""),
    ],
);
