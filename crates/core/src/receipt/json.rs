//! Receipts and checkpoints as JSON, one field per line. Hex must be lower case, so that no two texts differ only in
//! case.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Evidence, Receipt, ReceiptError, VERSION};
use crate::consensus::headers::Checkpoint;
use crate::consensus::params::Params;
use crate::primitives::codec;
use crate::primitives::hash::{BlockHash, Hash256};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::merkle::Branch;

/// The `format` field of every receipt.
const FORMAT: &str = "cairn-receipt";
/// The `format` field of every checkpoint.
const CHECKPOINT_FORMAT: &str = "cairn-checkpoint";

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    format: String,
    version: u32,
    /// Hash of genesis, as hashes are printed.
    network: String,
    /// The transaction's encoding in hex.
    transaction: String,
    height: Height,
    index: u32,
    /// Merkle siblings from the transaction upwards, as hashes are printed.
    branch: Vec<String>,
    evidence: FileEvidence,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase", tag = "kind")]
enum FileEvidence {
    Headers {
        /// 80 bytes each, one after the other, from height 1.
        headers: String,
        tip: String,
    },
    Since {
        /// Height and hash of the checkpoint.
        height: Height,
        hash: String,
        /// 80 bytes each, one after the other, from the height after it.
        headers: String,
        tip: String,
    },
    Succinct {
        /// In the layout of the module `succinct`.
        proof: String,
        tip: String,
    },
}

/// Serializes the form that [`Receipt::to_json`] writes.
impl Serialize for Receipt {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        File::new(self).serialize(serializer)
    }
}

impl Receipt {
    /// The receipt as JSON text, with a newline at its end.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("strings and numbers always serialize");
        text.push('\n');
        text
    }

    /// Reads a receipt from JSON text.
    ///
    /// # Errors
    /// As [`Receipt::read`].
    pub fn from_json(text: impl AsRef<[u8]>) -> Result<Self, ReceiptError> {
        serde_json::from_slice::<File>(text.as_ref())?.into_receipt()
    }

    /// Reads a receipt from parsed JSON.
    ///
    /// # Errors
    /// As [`Receipt::read`].
    pub fn from_value(value: serde_json::Value) -> Result<Self, ReceiptError> {
        serde_json::from_value::<File>(value)?.into_receipt()
    }
}

impl File {
    pub(super) fn new(receipt: &Receipt) -> Self {
        let tip = receipt.tip.to_string();
        let evidence = match &receipt.evidence {
            Evidence::Headers(headers) => FileEvidence::Headers { headers: hex_of(headers), tip },
            Evidence::Since { height, hash, headers } => {
                FileEvidence::Since { height: *height, hash: hash.to_string(), headers: hex_of(headers), tip }
            }
            Evidence::Succinct(proof) => FileEvidence::Succinct { proof: hex::encode(proof), tip },
        };
        Self {
            format: FORMAT.to_owned(),
            version: VERSION,
            network: receipt.network.to_string(),
            transaction: hex::encode(codec::encode(&receipt.transaction)),
            height: receipt.height,
            index: receipt.branch.index,
            branch: receipt.branch.siblings.iter().map(Hash256::to_string).collect(),
            evidence,
        }
    }

    pub(super) fn into_receipt(self) -> Result<Receipt, ReceiptError> {
        check_format(&self.format, FORMAT, self.version)?;
        let network = hash("network", &self.network)?;
        let transaction = codec::decode(&lower_hex("transaction", "lower-case hex", &self.transaction)?)?;
        let siblings = self.branch.iter().map(|text| hash("branch", text)).collect::<Result<_, _>>()?;
        let (evidence, tip) = match self.evidence {
            FileEvidence::Headers { headers, tip } => (Evidence::Headers(headers_of(&headers)?), tip),
            FileEvidence::Since { height, hash: text, headers, tip } => {
                (Evidence::Since { height, hash: hash("hash", &text)?, headers: headers_of(&headers)? }, tip)
            }
            FileEvidence::Succinct { proof, tip } => {
                (Evidence::Succinct(lower_hex("proof", "lower-case hex", &proof)?), tip)
            }
        };
        let branch = Branch { index: self.index, siblings };
        let tip = hash("tip", &tip)?;
        Ok(Receipt { network, transaction, branch, height: self.height, evidence, tip })
    }
}

pub(super) fn check_format(got: &str, expected: &'static str, version: u32) -> Result<(), ReceiptError> {
    if got != expected {
        return Err(ReceiptError::Format { got: got.chars().take(80).collect(), expected });
    }
    if version != VERSION {
        return Err(ReceiptError::Version { got: version, supported: VERSION });
    }
    Ok(())
}

fn hex_of(headers: &[Header]) -> String {
    hex::encode(headers.iter().flat_map(|header| header.to_bytes()).collect::<Vec<u8>>())
}

fn headers_of(text: &str) -> Result<Vec<Header>, ReceiptError> {
    let expected = "lower-case hex of headers, 80 bytes each";
    let bytes = lower_hex("headers", expected, text)?;
    headers_from(&bytes).ok_or(ReceiptError::Hex { field: "headers", expected })
}

/// Headers of 80 bytes each, one after the other.
pub(super) fn headers_from(bytes: &[u8]) -> Option<Vec<Header>> {
    let header = |bytes| codec::decode(bytes).expect("any 80 bytes are a header's encoding");
    bytes.len().is_multiple_of(Header::LEN).then(|| bytes.chunks_exact(Header::LEN).map(header).collect())
}

pub(super) fn lower_hex(field: &'static str, expected: &'static str, text: &str) -> Result<Vec<u8>, ReceiptError> {
    let error = ReceiptError::Hex { field, expected };
    if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(error);
    }
    hex::decode(text).map_err(|_| error)
}

pub(super) fn hash<T: FromStr>(field: &'static str, text: &str) -> Result<T, ReceiptError> {
    let error = ReceiptError::Hex { field, expected: "a hash: 64 lower-case hex digits" };
    match text.parse() {
        Ok(hash) if !text.bytes().any(|byte| byte.is_ascii_uppercase()) => Ok(hash),
        _ => Err(error),
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckpointFile {
    format: String,
    version: u32,
    network: BlockHash,
    height: Height,
    /// Its 80 bytes.
    header: String,
    /// Its encoding.
    work: String,
    first_time: u32,
}

/// A checkpoint as JSON text, with a newline at its end.
pub fn checkpoint_to_json(checkpoint: &Checkpoint, params: &Params) -> String {
    let Checkpoint { height, tip, work, first_time } = checkpoint;
    let file = CheckpointFile {
        format: CHECKPOINT_FORMAT.to_owned(),
        version: VERSION,
        network: params.genesis_hash,
        height: *height,
        header: hex::encode(tip.to_bytes()),
        work: hex::encode(codec::encode(work)),
        first_time: *first_time,
    };
    let mut text = serde_json::to_string_pretty(&file).expect("strings and numbers always serialize");
    text.push('\n');
    text
}

/// Reads a checkpoint, of the network of `params`.
///
/// # Errors
/// [`ReceiptError`] if it is not a checkpoint, or is one of another network.
pub fn checkpoint_from_json(text: &str, params: &Params) -> Result<Checkpoint, ReceiptError> {
    let file: CheckpointFile = serde_json::from_str(text)?;
    check_format(&file.format, CHECKPOINT_FORMAT, file.version)?;
    if file.network != params.genesis_hash {
        return Err(ReceiptError::OtherNetwork { got: file.network, expected: params.genesis_hash });
    }
    let expected = "a header: 160 lower-case hex digits";
    let header = lower_hex("header", expected, &file.header)?;
    let tip = codec::decode(&header).map_err(|_| ReceiptError::Hex { field: "header", expected })?;
    let expected = "a work: 64 lower-case hex digits";
    let work = lower_hex("work", expected, &file.work)?;
    let work = codec::decode(&work).map_err(|_| ReceiptError::Hex { field: "work", expected })?;
    Ok(Checkpoint { height: file.height, tip, work, first_time: file.first_time })
}
