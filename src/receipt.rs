//! Receipts: a payment's proof, checked by anyone who holds genesis.json, offline and trusting nobody.
//!
//! A receipt holds a transaction, the Merkle branch that ties it to a block, and evidence that the block is buried in a
//! chain. Today's evidence is the plainest: every header since genesis. The verifier follows the chain as a node would
//! (linkage, proof of work, difficulty, median time) and so learns how much work stands behind the payment; the
//! signatures are vouched for by the miners, who would have wasted that work on an invalid block.
//!
//! What a receipt cannot say: that no chain with more work exists. Compare [`Proven::work`] with what others know.

use std::io::Read;

use serde::{Deserialize, Serialize};

use crate::consensus::check::NODE_SIZE;
use crate::consensus::headers::{HeaderChain, HeaderChainError};
use crate::consensus::params::Params;
use crate::primitives::codec::{self, CodecError};
use crate::primitives::hash::{BlockHash, Hash256, Txid};
use crate::primitives::header::Header;
use crate::primitives::merkle::Branch;
use crate::primitives::target::Work;
use crate::primitives::tx::Transaction;

/// Names the format in every file.
pub const FORMAT: &str = "cairn-receipt";
/// The version written and read.
pub const VERSION: u32 = 1;
/// Most bytes of a file that are read: a chain of about 1.6 million headers.
pub const MAX_FILE_BYTES: u64 = 256 << 20;

/// A transaction, and why to believe that it is in the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Hash of genesis of the network it is for.
    pub network: BlockHash,
    /// The transaction.
    pub transaction: Transaction,
    /// From the transaction to the root in its block's header.
    pub branch: Branch,
    /// Height of its block.
    pub height: u32,
    /// That the block is in a chain.
    pub evidence: Evidence,
}

/// Kinds of evidence that a block is buried in a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// All headers from height 1 to the tip.
    Headers(Vec<Header>),
}

/// What a valid receipt proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proven {
    /// The transaction's id.
    pub txid: Txid,
    /// The block that holds it.
    pub block: BlockHash,
    /// That block's height.
    pub height: u32,
    /// That block's time, in seconds since 1970.
    pub time: u32,
    /// Blocks on top of it, and it.
    pub confirmations: u32,
    /// The last block known to the receipt.
    pub tip: BlockHash,
    /// Its header's time, in seconds since 1970.
    pub tip_time: u32,
    /// Expected hashes behind the whole chain.
    pub work: Work,
    /// Expected hashes from the transaction's block to the tip: what it would take to undo the payment.
    pub work_on_top: Work,
}

/// Why a receipt proves nothing. One variant a reason.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are named by what was got and expected; the messages say the rest.
pub enum ReceiptError {
    // The file.
    /// The bytes cannot be read.
    #[error("cannot read the receipt: {0}")]
    Io(#[from] std::io::Error),
    /// More than is ever read.
    #[error("the receipt is larger than {max} bytes")]
    TooLarge { max: u64 },
    /// Not JSON, or not of this shape.
    #[error("not a receipt: {0}")]
    Syntax(#[from] serde_json::Error),
    /// JSON of something else.
    #[error("not a receipt: its format is {got:?}, expected {expected:?}")]
    Format { got: String, expected: &'static str },
    /// Of a later program.
    #[error("the receipt has version {got}, this program reads version {supported}")]
    Version { got: u32, supported: u32 },
    /// A field that is not lower-case hex of the right length.
    #[error("the receipt's {field} is not {expected}")]
    Hex { field: &'static str, expected: &'static str },
    /// Bytes that are no transaction.
    #[error("the receipt's transaction: {0}")]
    Transaction(#[from] CodecError),

    // What it says.
    /// For another network.
    #[error("the receipt is for the network with genesis {got}, this is {expected}")]
    OtherNetwork { got: BlockHash, expected: BlockHash },
    /// Could be an inner node of the tree (CVE-2017-12842).
    #[error("the transaction is 64 bytes, the size of an inner Merkle node")]
    NodeSizedTransaction,
    /// Headers that are no chain.
    #[error("the receipt's headers are no chain: {0}")]
    Headers(#[from] HeaderChainError),
    /// The block is not among the headers.
    #[error("the receipt places the transaction at height {height}, but its headers end at {tip}")]
    NoSuchHeight { height: u32, tip: u32 },
    /// The headers end elsewhere than stated.
    #[error("the receipt's headers end in {got}, it states {expected}")]
    OtherTip { got: BlockHash, expected: BlockHash },
    /// The branch leads elsewhere than to the block's root.
    #[error("transaction {txid} is not in block {block}: its branch does not lead to the header's Merkle root")]
    NotInBlock { txid: Txid, block: BlockHash },
}

impl Receipt {
    /// A receipt for `transaction`, number `index` of the block at `height`, whose transactions are `txids`. `headers`
    /// are those from height 1 to the tip. `None` if there is no such place in the block.
    pub fn new(
        params: &Params,
        transaction: Transaction,
        txids: Vec<Txid>,
        index: u32,
        height: u32,
        headers: Vec<Header>,
    ) -> Option<Self> {
        let branch = Branch::new(txids, index)?;
        Some(Self { network: params.genesis_hash, transaction, branch, height, evidence: Evidence::Headers(headers) })
    }

    /// Checks everything; needs nothing but the network's parameters.
    ///
    /// # Errors
    /// The first reason why it proves nothing.
    pub fn verify(&self, params: &Params) -> Result<Proven, ReceiptError> {
        if self.network != params.genesis_hash {
            return Err(ReceiptError::OtherNetwork { got: self.network, expected: params.genesis_hash });
        }
        if self.transaction.size() == NODE_SIZE {
            return Err(ReceiptError::NodeSizedTransaction);
        }
        let Evidence::Headers(headers) = &self.evidence;
        let mut chain = HeaderChain::new(params);
        // The block's header, its hash, and the work before it.
        let mut found = (self.height == 0).then(|| (*chain.tip(), chain.tip_hash(), Work::ZERO));
        for header in headers {
            let before = chain.work();
            let hash = chain.push(header)?;
            if chain.height() == self.height {
                found = Some((*header, hash, before));
            }
        }
        let tip = chain.height();
        let (header, block, before) = found.ok_or(ReceiptError::NoSuchHeight { height: self.height, tip })?;
        let txid = self.transaction.txid();
        if !self.branch.verify(&txid, &header.merkle_root) {
            return Err(ReceiptError::NotInBlock { txid, block });
        }
        Ok(Proven {
            txid,
            block,
            height: self.height,
            time: header.time,
            confirmations: (tip - self.height).saturating_add(1),
            tip: chain.tip_hash(),
            tip_time: chain.tip().time,
            work: chain.work(),
            work_on_top: chain.work() - before,
        })
    }

    /// Reads a file's content, up to [`MAX_FILE_BYTES`].
    ///
    /// # Errors
    /// [`ReceiptError`] if it is not a receipt that this program reads. Whether it proves anything is for
    /// [`Receipt::verify`].
    pub fn read(reader: impl Read) -> Result<Self, ReceiptError> {
        let mut bytes = Vec::new();
        reader.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            return Err(ReceiptError::TooLarge { max: MAX_FILE_BYTES });
        }
        serde_json::from_slice::<File>(&bytes)?.into_receipt()
    }

    /// Reads the JSON form.
    ///
    /// # Errors
    /// As [`Receipt::read`].
    pub fn from_json(text: &str) -> Result<Self, ReceiptError> {
        Self::read(text.as_bytes())
    }

    /// Takes the JSON form, parsed already.
    ///
    /// # Errors
    /// As [`Receipt::read`].
    pub fn from_value(value: serde_json::Value) -> Result<Self, ReceiptError> {
        serde_json::from_value::<File>(value)?.into_receipt()
    }

    /// The headers from height 1 to the tip.
    pub fn headers(&self) -> &[Header] {
        let Evidence::Headers(headers) = &self.evidence;
        headers
    }

    /// The JSON form, a field a line.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("strings and numbers always serialize");
        text.push('\n');
        text
    }
}

/// As the JSON form.
impl Serialize for Receipt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        File::new(self).serialize(serializer)
    }
}

/// The JSON form. Hex is lower case, so that no two texts differ in case alone.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    version: u32,
    /// Hash of genesis, as hashes are printed.
    network: String,
    /// Its encoding.
    transaction: String,
    height: u32,
    index: u32,
    /// Neighbours from the transaction upwards, as hashes are printed.
    branch: Vec<String>,
    evidence: FileEvidence,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase", tag = "kind")]
enum FileEvidence {
    Headers {
        /// 80 bytes each, one after the other, from height 1.
        headers: String,
        /// Hash of the last one (of genesis, if there is none): a seal on the only header that no other one names.
        tip: String,
    },
}

impl File {
    fn new(receipt: &Receipt) -> Self {
        let Evidence::Headers(headers) = &receipt.evidence;
        let mut bytes = Vec::with_capacity(headers.len() * Header::LEN);
        headers.iter().for_each(|header| bytes.extend(header.to_bytes()));
        let tip = headers.last().map_or(receipt.network, Header::hash);
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            network: receipt.network.to_string(),
            transaction: hex::encode(codec::encode(&receipt.transaction)),
            height: receipt.height,
            index: receipt.branch.index,
            branch: receipt.branch.siblings.iter().map(Hash256::to_string).collect(),
            evidence: FileEvidence::Headers { headers: hex::encode(bytes), tip: tip.to_string() },
        }
    }

    fn into_receipt(self) -> Result<Receipt, ReceiptError> {
        if self.format != FORMAT {
            return Err(ReceiptError::Format { got: self.format.chars().take(80).collect(), expected: FORMAT });
        }
        if self.version != VERSION {
            return Err(ReceiptError::Version { got: self.version, supported: VERSION });
        }
        let network = hash("network", &self.network)?;
        let transaction = codec::decode(&lower_hex("transaction", "lower-case hex", &self.transaction)?)?;
        let siblings = self.branch.iter().map(|text| hash("branch", text)).collect::<Result<_, _>>()?;
        let FileEvidence::Headers { headers, tip } = self.evidence;
        let headers = parse_headers(&headers)?;
        let (got, expected) = (headers.last().map_or(network, Header::hash), hash("tip", &tip)?);
        if got != expected {
            return Err(ReceiptError::OtherTip { got, expected });
        }
        Ok(Receipt {
            network,
            transaction,
            branch: Branch { index: self.index, siblings },
            height: self.height,
            evidence: Evidence::Headers(headers),
        })
    }
}

fn parse_headers(text: &str) -> Result<Vec<Header>, ReceiptError> {
    let expected = "lower-case hex of headers, 80 bytes each";
    let bytes = lower_hex("headers", expected, text)?;
    if bytes.len() % Header::LEN != 0 {
        return Err(ReceiptError::Hex { field: "headers", expected });
    }
    let header = |bytes| codec::decode(bytes).expect("any 80 bytes are a header's encoding");
    Ok(bytes.chunks_exact(Header::LEN).map(header).collect())
}

fn lower_hex(field: &'static str, expected: &'static str, text: &str) -> Result<Vec<u8>, ReceiptError> {
    let error = ReceiptError::Hex { field, expected };
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(error);
    }
    hex::decode(text).map_err(|_| error)
}

fn hash(field: &'static str, text: &str) -> Result<Hash256, ReceiptError> {
    let error = ReceiptError::Hex { field, expected: "a hash: 64 lower-case hex digits" };
    match text.parse::<Hash256>() {
        Ok(hash) if !text.bytes().any(|byte| byte.is_ascii_uppercase()) => Ok(hash),
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::error::RuleError;
    use crate::consensus::params::GenesisSpec;
    use crate::primitives::keys::PublicKey;
    use crate::primitives::merkle;
    use crate::primitives::target::Bits;
    use crate::primitives::tx::Output;

    fn params() -> Params {
        Params::new(GenesisSpec::regtest()).unwrap()
    }

    fn transaction(n: u32) -> Transaction {
        let outputs = vec![Output::pay(PublicKey([7; 32]), u64::from(n))];
        Transaction { version: 1, inputs: Vec::new(), outputs, lock_height: n }
    }

    fn mine(mut header: Header) -> Header {
        let target = header.bits.target().unwrap();
        while !target.is_met_by(&header.hash()) {
            header.nonce += 1;
        }
        header
    }

    fn mine_on(previous: BlockHash, time: u32, merkle_root: Hash256) -> Header {
        mine(Header { version: 1, previous, merkle_root, time, bits: GenesisSpec::regtest().bits, nonce: 0 })
    }

    /// `length` headers, of which that at `height` commits to `txids`.
    fn headers(params: &Params, length: u32, height: u32, txids: &[Txid]) -> Vec<Header> {
        let mut previous = params.genesis_hash;
        let mut headers = Vec::new();
        for h in 1..=length {
            let root = if h == height { merkle::root(txids.to_vec()).hash } else { Hash256::of(&h.to_le_bytes()) };
            headers.push(mine_on(previous, params.timestamp + 5 * h, root));
            previous = headers[headers.len() - 1].hash();
        }
        headers
    }

    /// A payment that is number 2 of the 3 in block 5, with 13 blocks in all.
    fn receipt() -> Receipt {
        let txids: Vec<_> = (0..3).map(|n| transaction(n).txid()).collect();
        let headers = headers(&params(), 13, 5, &txids);
        Receipt::new(&params(), transaction(2), txids, 2, 5, headers).unwrap()
    }

    fn edited(edit: impl FnOnce(&mut Receipt, &mut Vec<Header>)) -> Result<Proven, ReceiptError> {
        let mut receipt = receipt();
        let Evidence::Headers(mut headers) = receipt.evidence.clone();
        edit(&mut receipt, &mut headers);
        receipt.evidence = Evidence::Headers(headers);
        receipt.verify(&params())
    }

    #[test]
    fn a_receipt_survives_its_file_and_proves_what_it_says() {
        let receipt = receipt();
        let read = Receipt::from_json(&receipt.to_json()).unwrap();
        assert_eq!(read, receipt);
        let Evidence::Headers(headers) = &receipt.evidence;
        let one = params().genesis_target.work();
        let times = |n: usize| (0..n).map(|_| one).sum::<Work>();
        let expected = Proven {
            txid: transaction(2).txid(),
            block: headers[4].hash(),
            height: 5,
            time: params().timestamp + 25,
            confirmations: 9,
            tip: headers[12].hash(),
            tip_time: params().timestamp + 65,
            work: times(14),
            work_on_top: times(9),
        };
        assert_eq!(read.verify(&params()).unwrap(), expected);
    }

    #[test]
    fn genesis_has_receipts_too() {
        let params = params();
        let coinbase = params.genesis.transactions[0].clone();
        let receipt = Receipt::new(&params, coinbase, params.genesis.txids(), 0, 0, Vec::new()).unwrap();
        let proven = Receipt::from_json(&receipt.to_json()).unwrap().verify(&params).unwrap();
        assert_eq!((proven.confirmations, proven.block), (1, params.genesis_hash));
        assert_eq!(proven.work, proven.work_on_top);
    }

    #[test]
    fn every_flipped_bit_is_refused() {
        let params = params();
        let bytes = receipt().to_json().into_bytes();
        let mut flipped = bytes.clone();
        for bit in 0..bytes.len() * 8 {
            flipped[bit / 8] ^= 1 << (bit % 8);
            let verdict = Receipt::read(&flipped[..]).and_then(|receipt| receipt.verify(&params));
            assert!(verdict.is_err(), "bit {bit}: {:?}", String::from_utf8_lossy(&flipped));
            flipped[bit / 8] = bytes[bit / 8];
        }
    }

    #[test]
    fn every_truncation_is_refused() {
        let text = receipt().to_json();
        for length in 0..text.trim_end().len() {
            assert!(matches!(Receipt::from_json(&text[..length]), Err(ReceiptError::Syntax(_))), "{length} bytes");
        }
    }

    #[test]
    fn a_file_too_large_is_not_read() {
        let endless = std::io::repeat(b' ');
        assert!(matches!(Receipt::read(endless), Err(ReceiptError::TooLarge { .. })));
    }

    #[test]
    fn other_files_are_refused_by_name() {
        let change = |from: &str, to: &str| Receipt::from_json(&receipt().to_json().replace(from, to));
        assert!(matches!(change("cairn-receipt", "tar"), Err(ReceiptError::Format { got, .. }) if got == "tar"));
        assert!(matches!(change("\"version\": 1", "\"version\": 2"), Err(ReceiptError::Version { got: 2, .. })));
        assert!(matches!(
            change("\"branch\": [", "\"branch\": [\"zz\","),
            Err(ReceiptError::Hex { field: "branch", .. })
        ));
        assert!(matches!(change("\"transaction\": \"", "\"transaction\": \"00"), Err(ReceiptError::Transaction(_))));
        assert!(matches!(change("\"height\"", "\"heights\""), Err(ReceiptError::Syntax(_))));
    }

    #[test]
    fn lies_are_refused_each_for_its_reason() {
        assert!(edited(|_, _| ()).is_ok());
        let another = edited(|receipt, _| receipt.transaction = transaction(9));
        assert!(matches!(another, Err(ReceiptError::NotInBlock { .. })));
        let moved = edited(|receipt, _| receipt.branch.index = 3);
        assert!(matches!(moved, Err(ReceiptError::NotInBlock { .. })), "a place that exists only by doubling");
        let wrong_block = edited(|receipt, _| receipt.height = 6);
        assert!(matches!(wrong_block, Err(ReceiptError::NotInBlock { .. })));
        let beyond = edited(|receipt, _| receipt.height = 14);
        assert!(matches!(beyond, Err(ReceiptError::NoSuchHeight { height: 14, tip: 13 })));
        let foreign = edited(|receipt, _| receipt.network = Hash256::ZERO);
        assert!(matches!(foreign, Err(ReceiptError::OtherNetwork { .. })));
        let gap = edited(|_, headers| {
            headers.remove(8);
        });
        assert!(matches!(gap, Err(ReceiptError::Headers(HeaderChainError::Unlinked { height: 9, .. }))));
        let old = edited(|_, headers| {
            let last = headers.pop().unwrap();
            headers.push(mine(Header { time: params().timestamp, ..last }));
        });
        assert!(matches!(
            old,
            Err(ReceiptError::Headers(HeaderChainError::Rule { source: RuleError::TimeTooOld { .. }, .. }))
        ));
        let easy = edited(|_, headers| {
            let last = headers.pop().unwrap();
            headers.push(mine(Header { bits: Bits(0x2100_ffff), ..last }));
        });
        assert!(matches!(
            easy,
            Err(ReceiptError::Headers(HeaderChainError::Rule { source: RuleError::WrongBits { .. }, .. }))
        ));
    }

    /// CVE-2017-12842: 64 bytes that are a transaction and an inner node at once. Here the attacker has a block with
    /// such a transaction mined, as a leaf of a smaller tree.
    #[test]
    fn a_transaction_of_64_bytes_is_refused() {
        let outputs = vec![Output::data(vec![0; 20])];
        let tx = Transaction { version: 1, inputs: Vec::new(), outputs, lock_height: 1 };
        assert_eq!(tx.size(), 64);
        let txids = vec![tx.txid()];
        let headers = headers(&params(), 3, 2, &txids);
        let receipt = Receipt::new(&params(), tx, txids, 0, 2, headers).unwrap();
        assert!(matches!(receipt.verify(&params()), Err(ReceiptError::NodeSizedTransaction)));
    }
}
