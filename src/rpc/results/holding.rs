//! Receipts for coins.

use super::chain;
use super::{Object, Shape, field, object, optional_field};

/// The answer of `getaddressproof` and `getcoinproof`: `docs/receipts.md` describes the format.
pub const RECEIPT: Object = object(
    "HoldingReceipt",
    &[
        field("format", Shape::Text, "Always \"cairn-holding\"."),
        field("version", Shape::Integer, "Of the format."),
        field("question", Shape::Object(&QUESTION), "What is shown."),
        field("height", Shape::Integer, "The height of the block after which the coins are."),
        field("block", Shape::Hash, "The hash of that block."),
        field("state_root", Shape::Hash, "The root over all coins after it."),
        field("proof", Shape::Hex, "From that root to the coins."),
        field("range_root", Shape::Hash, "The root over the headers that the coinbase commits to."),
        field("filter_header", Shape::Hash, "The filter header that the coinbase commits to."),
        field("receipt", Shape::Object(&chain::RECEIPT), "For the coinbase of a block that commits to the state."),
    ],
);

const QUESTION: Object = object(
    "HoldingQuestion",
    &[
        field("kind", Shape::Text, "\"balance\", \"coins\" or \"coin\"."),
        field("owner", Shape::Hex, "The public key whose coins they are."),
        optional_field("txid", Shape::Hash, "Of one coin: the transaction that made it."),
        optional_field("index", Shape::Integer, "Of one coin: its index among the outputs."),
    ],
);

/// The answer of `verifycoinproof`.
pub const SHOWN: Object = object(
    "Holding",
    &[
        field("address", Shape::Text, "Whose coins they are."),
        field("height", Shape::Integer, "The height of the block after which they are."),
        field("blockhash", Shape::Hash, "That block."),
        field("confirmations", Shape::Integer, "Blocks' worth of work that vouch for it."),
        field("value", Shape::Integer, "Of all coins shown, in grains."),
        field("count", Shape::Integer, "How many coins there are."),
        optional_field("coins", Shape::Array(&Shape::Object(&COIN)), "The coins, if the receipt shows each."),
    ],
);

const COIN: Object = object(
    "HeldCoin",
    &[
        field("txid", Shape::Hash, "The transaction that made it."),
        field("vout", Shape::Integer, "Its index among the outputs."),
        field("value", Shape::Integer, "In grains."),
        field("height", Shape::Integer, "The height of the block that made it."),
        field("coinbase", Shape::Boolean, "Whether it was mined."),
    ],
);
