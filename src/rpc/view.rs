//! Blocks and transactions in results: Bitcoin Core's fields, as far as they apply.

use serde::{Serialize, Serializer};

use super::error::RpcError;
use crate::chain::{BlockTree, Entry};
use crate::consensus::coins::Coin;
use crate::ipld::Cid;
use crate::primitives::address;
use crate::primitives::amount::Amount;
use crate::primitives::block::Block;
use crate::primitives::codec;
use crate::primitives::hash::{BlockHash, MerkleRoot, Txid};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::keys::PublicKey;
use crate::primitives::target::{Bits, Target};
use crate::primitives::tx::{Input, Lock, Output, Transaction};
use crate::receipt;

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
    hash: BlockHash,
    #[serde(skip_serializing_if = "Option::is_none")]
    cid: Option<Cid>,
    /// Blocks on top of it, and it; −1 if it is not in the best chain.
    confirmations: i64,
    height: Height,
    version: i32,
    #[serde(rename = "versionHex")]
    version_hex: String,
    merkleroot: MerkleRoot,
    time: u32,
    mediantime: u32,
    nonce: u32,
    #[serde(flatten)]
    difficulty: DifficultyView,
    chainwork: String,
    #[serde(rename = "nTx")]
    transactions: u32,
    #[serde(rename = "previousblockhash", skip_serializing_if = "Option::is_none")]
    previous: Option<BlockHash>,
    #[serde(rename = "nextblockhash", skip_serializing_if = "Option::is_none")]
    next: Option<BlockHash>,
}

impl HeaderView {
    pub(super) fn new(tree: &BlockTree, entry: &Entry) -> Self {
        let in_chain = tree.is_on_best_chain(entry);
        let next = if in_chain { tree.entry_at(entry.height.next()).map(|next| next.hash) } else { None };
        let Header { version, previous, merkle_root, time, bits, nonce } = entry.header;
        Self {
            hash: entry.hash,
            cid: receipt::car::root(&entry.header),
            confirmations: if in_chain { i64::from(tree.tip().height.blocks_since(entry.height)) + 1 } else { -1 },
            height: entry.height,
            version,
            version_hex: format!("{version:08x}"),
            merkleroot: merkle_root,
            time,
            mediantime: tree.median_time(entry),
            nonce,
            difficulty: DifficultyView::new(bits),
            chainwork: entry.work.to_string(),
            transactions: entry.tx_count,
            previous: (entry.height > Height::GENESIS).then_some(previous),
            next,
        }
    }
}

/// A block, with its transactions as `T` has them.
#[derive(Serialize)]
pub(super) struct BlockView<T: Serialize> {
    #[serde(flatten)]
    header: HeaderView,
    size: usize,
    /// Bitcoin's sizes without and with a discount for signatures. There is none here, so they follow from the size.
    strippedsize: usize,
    weight: usize,
    coinbase_tx: CoinbaseView,
    /// Ids, or [`BlockTransactions`].
    tx: T,
}

impl<T: Serialize> BlockView<T> {
    /// # Errors
    /// If the block has no transactions.
    pub(super) fn new(mut header: HeaderView, block: &Block, tx: T) -> Result<Self, RpcError> {
        // The body may have arrived after the header was read.
        header.transactions = block.transactions.len() as u32;
        let coinbase =
            block.transactions.first().ok_or_else(|| RpcError::internal("a stored block has no coinbase"))?;
        let (size, coinbase_tx) = (block.size(), CoinbaseView::new(coinbase));
        Ok(Self { header, size, strippedsize: size, weight: WEIGHT * size, coinbase_tx, tx })
    }
}

#[derive(Serialize)]
struct BlockTransaction {
    #[serde(flatten)]
    transaction: TransactionView,
    hex: String,
}

/// The transactions of a block, with their fees if `undo`, the coins they spend in order, is there. Each is serialised
/// as it is written, so that an answer that becomes too long is never built whole.
pub(super) struct BlockTransactions<'a> {
    pub(super) block: &'a Block,
    pub(super) undo: Option<&'a [Coin]>,
    pub(super) prefix: &'a str,
    pub(super) show_coins: bool,
}

impl Serialize for BlockTransactions<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut rest = self.undo;
        serializer.collect_seq(self.block.transactions.iter().map(|tx| {
            let spent = rest.and_then(|coins| coins.split_at_checked(tx.inputs.len()));
            rest = spent.map(|(_, after)| after);
            let spent = spent.map(|(coins, _)| coins);
            let (shown, fee) = (spent.filter(|_| self.show_coins), spent.and_then(|coins| fee_of(tx, coins)));
            let shown = shown.unwrap_or_default();
            let transaction = TransactionView::with_coins(tx, tx.txid(), self.prefix, shown, fee);
            BlockTransaction { transaction, hex: hex_of(tx) }
        }))
    }
}
