//! The compact form: the same receipt in half the bytes.
//!
//! Integers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `CAIRNRCT` |
//! | 4 | version, 1 |
//! | 32 | hash of genesis |
//! | 4 + … | length of the transaction, the transaction |
//! | 4, 4 | height of its block, its index in the block |
//! | 1 + … | number of hashes in its branch, then the hashes, 32 bytes each |
//! | 32 | hash of the tip |
//! | 1 | kind of the evidence: 0 headers, 1 headers since a checkpoint, 2 succinct |
//! | 4, 32 | of kind 1 only: height and hash of the checkpoint |
//! | rest | the headers, 80 bytes each; or the succinct evidence |

use super::json::headers_from;
use super::{Evidence, Receipt, ReceiptError, VERSION};
use crate::primitives::codec;
use crate::primitives::hash::{BlockHash, Hash256};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::merkle::Branch;

/// The magic bytes that every file begins with.
pub(super) const MAGIC: [u8; 8] = *b"CAIRNRCT";

const HEADERS: u8 = 0;
const SINCE: u8 = 1;
const SUCCINCT: u8 = 2;

impl Receipt {
    /// The receipt in the compact form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let transaction = codec::encode(&self.transaction);
        let mut out = MAGIC.to_vec();
        out.extend(VERSION.to_le_bytes());
        out.extend(self.network.to_bytes());
        out.extend((transaction.len() as u32).to_le_bytes());
        out.extend(transaction);
        out.extend(codec::encode(&self.height));
        out.extend(self.branch.index.to_le_bytes());
        out.push(self.branch.siblings.len() as u8);
        self.branch.siblings.iter().for_each(|hash| out.extend(hash.to_bytes()));
        out.extend(self.tip.to_bytes());
        match &self.evidence {
            Evidence::Headers(headers) => {
                out.push(HEADERS);
                put(headers, &mut out);
            }
            Evidence::Since { height, hash, headers } => {
                out.push(SINCE);
                out.extend(codec::encode(height));
                out.extend(hash.to_bytes());
                put(headers, &mut out);
            }
            Evidence::Succinct(proof) => {
                out.push(SUCCINCT);
                out.extend(proof);
            }
        }
        out
    }

    /// Reads a receipt in the compact form.
    ///
    /// # Errors
    /// As [`Receipt::read`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let mut rest = Rest(bytes);
        let magic = rest.array::<8>("format")?;
        if magic != MAGIC {
            let got = String::from_utf8_lossy(&magic).into_owned();
            return Err(ReceiptError::Format { got, expected: "CAIRNRCT" });
        }
        let version = rest.u32("version")?;
        if version != VERSION {
            return Err(ReceiptError::Version { got: version, supported: VERSION });
        }
        let network = BlockHash::from_bytes(rest.array("network")?);
        let length = rest.u32("transaction")?;
        let transaction = codec::decode(rest.take("transaction", length as usize)?)?;
        let (height, index) = (rest.height("height")?, rest.u32("index")?);
        let [count] = rest.array("branch")?;
        let siblings = (0..count).map(|_| rest.array("branch").map(Hash256::from_bytes)).collect::<Result<_, _>>()?;
        let tip = BlockHash::from_bytes(rest.array("tip")?);
        let [kind] = rest.array("evidence")?;
        let evidence = match kind {
            HEADERS => Evidence::Headers(rest.headers()?),
            SINCE => {
                let (height, hash) = (rest.height("checkpoint")?, BlockHash::from_bytes(rest.array("checkpoint")?));
                Evidence::Since { height, hash, headers: rest.headers()? }
            }
            SUCCINCT => Evidence::Succinct(rest.0.to_vec()),
            got => {
                return Err(ReceiptError::Field { field: "kind of evidence", got: got.into(), expected: "0, 1 or 2" });
            }
        };
        Ok(Self { network, transaction, branch: Branch { index, siblings }, height, evidence, tip })
    }
}

fn put(headers: &[Header], out: &mut Vec<u8>) {
    headers.iter().for_each(|header| out.extend(header.to_bytes()));
}

/// The bytes still to be read.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], ReceiptError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ReceiptError::Short { field })?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], ReceiptError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(ReceiptError::Short { field })?;
        self.0 = rest;
        Ok(*array)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, ReceiptError> {
        self.array(field).map(u32::from_le_bytes)
    }

    fn height(&mut self, field: &'static str) -> Result<Height, ReceiptError> {
        self.u32(field).map(Height::from_u32)
    }

    fn headers(&self) -> Result<Vec<Header>, ReceiptError> {
        headers_from(self.0).ok_or(ReceiptError::Short { field: "headers" })
    }
}
