//! Addresses and what they own.

use super::{OPTIONAL_INTEGER, Object, Shape, field, object, optional_field};

/// The answer of `getaddressbalance`.
pub const BALANCE: Object = object(
    "AddressBalance",
    &[
        field("balance", Shape::Integer, "Confirmed, in grains."),
        field("spendable", Shape::Integer, "What a transaction sent now may spend, in grains."),
        field("immature", Shape::Integer, "Mined too recently to be spent, in grains."),
        field("pending", Shape::Integer, "The change that the mempool would make, in grains; negative for a loss."),
        field("coins", Shape::Integer, "How many confirmed coins there are."),
    ],
);

/// A coin in the answer of `getaddressutxos`.
pub const ADDRESS_COIN: Object = object(
    "AddressCoin",
    &[
        field("txid", Shape::Hash, "The transaction that made it."),
        field("vout", Shape::Integer, "Its index among the outputs."),
        field("value", Shape::Integer, "In grains."),
        field("height", OPTIONAL_INTEGER, "The block that made it; null while unconfirmed."),
        field("confirmations", Shape::Integer, "0 while unconfirmed."),
        field("coinbase", Shape::Boolean, "Whether it was mined."),
        field("spendable", Shape::Boolean, "Whether a transaction sent now may spend it."),
        optional_field("spentby", Shape::Hash, "The transaction in the mempool that spends it."),
    ],
);

/// An entry in the answer of `getaddresshistory`.
pub const HISTORY_ENTRY: Object = object(
    "HistoryEntry",
    &[
        field("txid", Shape::Hash, ""),
        field("height", OPTIONAL_INTEGER, "Its block; null while unconfirmed."),
        optional_field("position", Shape::Integer, "Its place in the block."),
        field("confirmations", Shape::Integer, "0 while unconfirmed."),
        field("time", Shape::Integer, "That of the block, or of its arrival, in seconds since 1970."),
        field("received", Shape::Integer, "What it paid the address, in grains."),
        field("spent", Shape::Integer, "What it spent of the address, in grains."),
    ],
);

/// The answer of `validateaddress`.
pub const VALID_ADDRESS: Object = object(
    "ValidAddress",
    &[
        field("isvalid", Shape::Boolean, "True."),
        field("address", Shape::Text, "The address in its usual form."),
        field("scriptPubKey", Shape::Hex, "The public key."),
    ],
);

/// The answer of `validateaddress` to another text.
pub const INVALID_ADDRESS: Object = object(
    "InvalidAddress",
    &[field("isvalid", Shape::Boolean, "False."), field("error", Shape::Text, "What is wrong with the text.")],
);
