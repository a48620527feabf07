//! Transactions: they spend coins and create coins, with one signature for each input.

use super::amount::Amount;
use super::codec::{self, Decode, Encode};
use super::hash::{BlockHash, SignatureDigest, Txid};
use super::keys::{PublicKey, Signature};
use crate::primitives::height::Height;
use std::fmt;
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

/// Most bytes a data output may hold.
pub const MAX_DATA_BYTES: usize = 256;

/// Prefixes the preimage of every signature digest, so that a signature is not valid in another protocol.
const SIGHASH_TAG: &[u8] = b"cairn/sighash/1";

/// A reference to one output of one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct OutPoint {
    /// The transaction.
    pub txid: Txid,
    /// The output's index in it, from 0.
    pub index: u32,
}

/// Shows `TXID:INDEX`.
impl fmt::Display for OutPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.txid, self.index)
    }
}

/// Text that is not an outpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{got:?} is not an outpoint: expected TXID:INDEX, a transaction's id and the number of its output, from 0")]
pub struct OutPointParseError {
    /// The text given, cut to 80 characters.
    pub got: String,
}

/// Reads `TXID:INDEX`.
///
/// # Errors
/// [`OutPointParseError`] on anything but 64 hex digits, a colon and a decimal number below 2^32.
impl FromStr for OutPoint {
    type Err = OutPointParseError;

    fn from_str(text: &str) -> Result<Self, OutPointParseError> {
        let parsed = text.split_once(':').and_then(|(txid, index)| {
            let is_number = index.bytes().all(|b| b.is_ascii_digit());
            Some(Self { txid: txid.parse().ok()?, index: index.parse().ok().filter(|_| is_number)? })
        });
        parsed.ok_or_else(|| OutPointParseError { got: text.chars().take(80).collect() })
    }
}

/// An input: spends one coin.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Input {
    /// The coin.
    pub outpoint: OutPoint,
    /// The signature by the coin's key on [`Transaction::signature_digest`].
    pub signature: Signature,
}

/// Who may spend an output.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub enum Lock {
    /// The holder of this key.
    Key(PublicKey),
    /// Unspendable: at most [`MAX_DATA_BYTES`] bytes of data, with value 0.
    Data(Vec<u8>),
}

/// An output: a value under a lock.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Output {
    /// Its value: zero for data, at least a grain for a key.
    pub value: Amount,
    /// Who may spend it.
    pub lock: Lock,
}

impl Output {
    /// An output that pays `value` to `key`.
    pub fn pay(key: PublicKey, value: Amount) -> Self {
        Self { value, lock: Lock::Key(key) }
    }

    /// An output that holds `data` and has no value.
    pub fn data(data: Vec<u8>) -> Self {
        Self { value: Amount::ZERO, lock: Lock::Data(data) }
    }

    /// The key that may spend it; `None` for data.
    pub fn key(&self) -> Option<&PublicKey> {
        match &self.lock {
            Lock::Key(key) => Some(key),
            Lock::Data(_) => None,
        }
    }
}

/// A transaction. Its id commits to every byte, including the signatures, so a Merkle proof covers the signatures too.
/// A third party cannot change a payment's id.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Transaction {
    /// 1 today. No consensus rule reads it; relay policy does.
    pub version: u32,
    /// Coins spent. Only a coinbase has none.
    pub inputs: Vec<Input>,
    /// Coins made.
    pub outputs: Vec<Output>,
    /// The lowest height of a block that may contain it; in a coinbase, its block's height.
    pub lock_height: Height,
}

impl Transaction {
    /// Double SHA-256 of the whole encoding.
    pub fn txid(&self) -> Txid {
        Txid::of(&codec::encode(self))
    }

    /// Length of the encoding in bytes: what fees pay for.
    pub fn size(&self) -> usize {
        codec::encoded_len(self)
    }

    /// Whether it has no inputs, as only a coinbase may.
    pub fn is_coinbase(&self) -> bool {
        self.inputs.is_empty()
    }

    /// The outpoint and output of each of its outputs, in order; `txid` is its id.
    pub fn outpoints(&self, txid: Txid) -> impl Iterator<Item = (OutPoint, &Output)> {
        (0..).zip(&self.outputs).map(move |(index, output)| (OutPoint { txid, index }, output))
    }

    /// The digest that every input signs: double SHA-256 of a domain tag, the genesis hash (so that a transaction is
    /// invalid on other networks), the transaction without its signatures, and the outputs it spends, in the order of
    /// its inputs (so that an offline signer can check amounts and fee).
    pub fn signature_digest<'a>(
        &self,
        genesis: &BlockHash,
        spent: impl IntoIterator<Item = &'a Output>,
    ) -> SignatureDigest {
        let outpoints: Vec<OutPoint> = self.inputs.iter().map(|input| input.outpoint).collect();
        let mut bytes = SIGHASH_TAG.to_vec();
        bytes.extend_from_slice(genesis.as_bytes());
        bytes.extend(codec::encode(&(self.version, outpoints)));
        bytes.extend(codec::encode(&self.outputs));
        bytes.extend(codec::encode(&self.lock_height));
        for output in spent {
            bytes.extend(codec::encode(output));
        }
        SignatureDigest::of(&bytes)
    }
}

/// A transaction with its id, which is computed once. Clones share the data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedTransaction {
    txid: Txid,
    tx: Arc<Transaction>,
}

impl HashedTransaction {
    /// Computes the id of `tx` and keeps it.
    pub fn new(tx: impl Into<Arc<Transaction>>) -> Self {
        let tx = tx.into();
        Self { txid: tx.txid(), tx }
    }

    /// Wraps a transaction whose id is already known.
    pub(crate) fn with_id(tx: Arc<Transaction>, txid: Txid) -> Self {
        Self { txid, tx }
    }

    /// The stored id. Unlike [`Transaction::txid`], this does not hash.
    pub fn txid(&self) -> Txid {
        self.txid
    }

    /// The transaction, shared.
    pub fn shared(&self) -> &Arc<Transaction> {
        &self.tx
    }

    /// The transaction, without its id.
    pub fn into_shared(self) -> Arc<Transaction> {
        self.tx
    }
}

impl Deref for HashedTransaction {
    type Target = Transaction;

    fn deref(&self) -> &Transaction {
        &self.tx
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outpoint_is_text_and_back() {
        let outpoint = OutPoint { txid: Txid::from_bytes([7; 32]), index: 42 };
        assert_eq!(outpoint.to_string(), format!("{}:42", "07".repeat(32)));
        assert_eq!(outpoint.to_string().parse(), Ok(outpoint));
        let id = "07".repeat(32);
        for wrong in ["", ":", "7:0", &id, &format!("{id}:"), &format!("{id}:+1"), &format!("{id}:4294967296")] {
            assert!(wrong.parse::<OutPoint>().is_err(), "{wrong}");
        }
    }
}
