//! Transactions: coins in, coins out, one signature an input.

use super::amount::Amount;
use super::codec::{self, Decode, Encode};
use super::hash::{BlockHash, SignatureDigest, Txid};
use super::keys::{PublicKey, Signature};
use crate::primitives::height::Height;
use std::ops::Deref;
use std::sync::Arc;

/// Most bytes a data output may hold.
pub const MAX_DATA_BYTES: usize = 256;

/// Starts every signed digest, so that a signature made here means nothing in another protocol.
const SIGHASH_TAG: &[u8] = b"cairn/sighash/1";

/// Names one output of one transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub struct OutPoint {
    /// The transaction.
    pub txid: Txid,
    /// The output's place in it, from 0.
    pub index: u32,
}

/// Spends one coin.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Input {
    /// The coin.
    pub outpoint: OutPoint,
    /// By the coin's key, on [`Transaction::signature_digest`].
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

/// A value under a lock.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Output {
    /// What it is worth; nothing for data.
    pub value: Amount,
    /// Who may spend it.
    pub lock: Lock,
}

impl Output {
    /// Pays `value` to `key`.
    pub fn pay(key: PublicKey, value: Amount) -> Self {
        Self { value, lock: Lock::Key(key) }
    }

    /// Holds `data`, and no value.
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

/// Moves coins. Its id commits to every byte, signatures too, so a Merkle proof of it proves the signatures as well,
/// and no third party can change the id of a payment.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Transaction {
    /// 1 today; no rule reads it, relay policy does.
    pub version: u32,
    /// Coins spent; none in a coinbase, and only there.
    pub inputs: Vec<Input>,
    /// Coins made.
    pub outputs: Vec<Output>,
    /// Not minable below this height; a coinbase states its own here.
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

    /// Whether it has a coinbase's shape, which no other transaction may have: no inputs.
    pub fn is_coinbase(&self) -> bool {
        self.inputs.is_empty()
    }

    /// The outpoint and output of each of its outputs, in order; `txid` is its id.
    pub fn outpoints(&self, txid: Txid) -> impl Iterator<Item = (OutPoint, &Output)> {
        (0..).zip(&self.outputs).map(move |(index, output)| (OutPoint { txid, index }, output))
    }

    /// What every input signs: double SHA-256 of a domain tag, the genesis hash (a transaction for one network is void
    /// on another), the transaction with its signatures left out, and the outputs it spends, in the order of its
    /// inputs (so that an offline signer sees amounts and fee).
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

/// A transaction with its id, which is computed once. Clones share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashedTransaction {
    txid: Txid,
    tx: Arc<Transaction>,
}

impl HashedTransaction {
    /// Computes the id.
    pub fn new(tx: impl Into<Arc<Transaction>>) -> Self {
        let tx = tx.into();
        Self { txid: tx.txid(), tx }
    }

    /// A transaction whose id is computed already.
    pub(crate) fn with_id(tx: Arc<Transaction>, txid: Txid) -> Self {
        Self { txid, tx }
    }

    /// The id. Unlike [`Transaction::txid`], it is only looked up.
    pub fn txid(&self) -> Txid {
        self.txid
    }

    /// The transaction alone.
    pub fn shared(&self) -> &Arc<Transaction> {
        &self.tx
    }

    /// The same, without the id.
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
