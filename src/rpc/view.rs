//! Blocks and transactions in results: Bitcoin Core's fields, as far as they apply.

use serde::Serialize;

use crate::consensus::coins::Coin;
use crate::ipld::Cid;
use crate::primitives::address;
use crate::primitives::amount::Amount;
use crate::primitives::codec;
use crate::primitives::hash::{BlockHash, MerkleRoot, Txid};
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::target::{Bits, Target};
use crate::primitives::tx::{Input, Lock, Output, Transaction};

/// Bitcoin's weight of a byte that is not a signature (BIP-141). Here all bytes are.
pub(super) const WEIGHT: usize = 4;
/// Bitcoin's sequence of an input that asks for nothing. Inputs here have none.
const FINAL_SEQUENCE: u32 = u32::MAX;

/// A transaction, by itself.
#[derive(Serialize)]
pub(super) struct TransactionView {
    txid: Txid,
    /// Bitcoin's id with signatures: the id here has them in it.
    hash: Txid,
    version: u32,
    size: usize,
    vsize: usize,
    weight: usize,
    locktime: u32,
    vin: Vec<InputView>,
    vout: Vec<OutputView>,
    /// Only where the coins spent are at hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    fee: Option<Amount>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum InputView {
    /// What a coinbase has instead of an input: its data, which is the commitment and the miner's extra nonce.
    Coinbase { coinbase: String, sequence: u32 },
    Spend {
        txid: Txid,
        vout: u32,
        signature: String,
        sequence: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        prevout: Option<PrevoutView>,
    },
}

#[derive(Serialize)]
struct PrevoutView {
    generated: bool,
    /// Of its block; absent while that is not mined.
    #[serde(skip_serializing_if = "Option::is_none")]
    height: Option<Height>,
    value: Amount,
    #[serde(rename = "scriptPubKey")]
    lock: LockView,
}

#[derive(Serialize)]
struct OutputView {
    value: Amount,
    n: u32,
    #[serde(rename = "scriptPubKey")]
    lock: LockView,
}

/// Who may spend an output. The field is named after Bitcoin's script.
#[derive(Serialize)]
pub(super) struct LockView {
    /// Bitcoin's script in words: there is none.
    asm: &'static str,
    hex: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl LockView {
    pub(super) fn new(lock: &Lock, prefix: &str) -> Self {
        match lock {
            Lock::Key(key) => Self::of_key(key, prefix),
            Lock::Data(data) => Self { asm: "", hex: hex_text(data), address: None, kind: "data" },
        }
    }

    pub(super) fn of_key(key: &PublicKey, prefix: &str) -> Self {
        Self { asm: "", hex: hex_text(&key.0), address: Some(address::encode(prefix, key)), kind: "key" }
    }
}

impl TransactionView {
    /// `prefix` is that of the network's addresses.
    pub(super) fn new(tx: &Transaction, txid: Txid, prefix: &str) -> Self {
        Self::with_coins(tx, txid, prefix, &[], None)
    }

    /// With its fee, and with the coins that its inputs are to show, in their order.
    pub(super) fn with_coins(tx: &Transaction, txid: Txid, prefix: &str, coins: &[Coin], fee: Option<Amount>) -> Self {
        let prevout = |index: usize| {
            let coin = coins.get(index)?;
            Some(PrevoutView {
                generated: coin.coinbase,
                height: Some(coin.height).filter(|height| *height < Height::MAX),
                value: coin.output.value,
                lock: LockView::new(&coin.output.lock, prefix),
            })
        };
        let spend = |(index, input): (usize, &Input)| InputView::Spend {
            txid: input.outpoint.txid,
            vout: input.outpoint.index,
            signature: hex_text(&input.signature.0),
            sequence: FINAL_SEQUENCE,
            prevout: prevout(index),
        };
        let vin = if tx.is_coinbase() {
            vec![InputView::Coinbase { coinbase: coinbase_data(tx), sequence: FINAL_SEQUENCE }]
        } else {
            tx.inputs.iter().enumerate().map(spend).collect()
        };
        let output = |(n, output): (u32, &Output)| OutputView {
            value: output.value,
            n,
            lock: LockView::new(&output.lock, prefix),
        };
        let size = tx.size();
        Self {
            txid,
            hash: txid,
            version: tx.version,
            size,
            vsize: size,
            weight: WEIGHT * size,
            locktime: tx.lock_height.as_u32(),
            vin,
            vout: (0..).zip(&tx.outputs).map(output).collect(),
            fee,
        }
    }
}

/// What Bitcoin Core shows of a block's coinbase beside the block.
#[derive(Serialize)]
pub(super) struct CoinbaseView {
    version: u32,
    locktime: u32,
    sequence: u32,
    coinbase: String,
}

impl CoinbaseView {
    pub(super) fn new(tx: &Transaction) -> Self {
        let (version, locktime) = (tx.version, tx.lock_height.as_u32());
        Self { version, locktime, sequence: FINAL_SEQUENCE, coinbase: coinbase_data(tx) }
    }
}

/// What a transaction pays, by the coins it spends; `None` for a coinbase.
pub(super) fn fee_of(tx: &Transaction, spent: &[Coin]) -> Option<Amount> {
    let inputs = Amount::saturating_sum(spent.iter().map(|coin| coin.output.value));
    let outputs = Amount::saturating_sum(tx.outputs.iter().map(|output| output.value));
    inputs.checked_sub(outputs).filter(|_| !tx.is_coinbase())
}

fn coinbase_data(tx: &Transaction) -> String {
    let data = tx.outputs.iter().find_map(|output| match &output.lock {
        Lock::Data(data) => Some(hex_text(data)),
        Lock::Key(_) => None,
    });
    data.unwrap_or_default()
}

/// Bytes in hex, written at once: `hex::encode` collects character by character.
fn hex_text(bytes: &[u8]) -> String {
    let mut digits = vec![0; 2 * bytes.len()];
    hex::encode_to_slice(bytes, &mut digits).expect("there are two digits a byte");
    String::from_utf8(digits).expect("digits are ASCII")
}

/// A value's encoding, in hex.
pub(super) fn hex_of<T: codec::Encode>(value: &T) -> String {
    hex_text(&codec::encode(value))
}

/// Bits, and what they stand for.
#[derive(Serialize)]
pub(super) struct DifficultyView {
    bits: Bits,
    target: String,
    difficulty: f64,
}

impl DifficultyView {
    pub(super) fn new(bits: Bits) -> Self {
        // Headers that are kept have bits that are a target; zero would show that one has not.
        let target = bits.target().ok();
        Self {
            bits,
            target: target.map_or_else(String::new, |target| target.to_string()),
            difficulty: target.map_or(0.0, Target::difficulty),
        }
    }
}

/// A header in its chain.
#[derive(Serialize)]
pub(super) struct HeaderView {
    pub(super) hash: BlockHash,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cid: Option<Cid>,
    /// Blocks on top of it, and it; −1 if it is not in the best chain.
    pub(super) confirmations: i64,
    pub(super) height: Height,
    pub(super) version: i32,
    #[serde(rename = "versionHex")]
    pub(super) version_hex: String,
    pub(super) merkleroot: MerkleRoot,
    pub(super) time: u32,
    pub(super) mediantime: u32,
    pub(super) nonce: u32,
    #[serde(flatten)]
    pub(super) difficulty: DifficultyView,
    pub(super) chainwork: String,
    #[serde(rename = "nTx")]
    pub(super) transactions: u32,
    #[serde(rename = "previousblockhash", skip_serializing_if = "Option::is_none")]
    pub(super) previous: Option<BlockHash>,
    #[serde(rename = "nextblockhash", skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<BlockHash>,
}
