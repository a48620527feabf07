//! [CAR](https://ipld.io/specs/transport/car/) files: blocks one after the other, behind a header that names roots.
//!
//! Version 1 is written. Version 2, which wraps a version 1 and adds an index, is read too; the index is not needed.

use std::io::{self, Read, Write};

use super::block::{Block, BlockError, MAX_BLOCK_BYTES};
use super::cid::{Cid, CidError};
use super::hash::MAX_IDENTITY_BYTES;

/// The largest header that is read: some 25,000 roots.
const MAX_HEADER_BYTES: u64 = 1 << 20;
/// The largest block with its CID.
const MAX_SECTION_BYTES: u64 = (MAX_BLOCK_BYTES + MAX_IDENTITY_BYTES + 32) as u64;
/// Of version 2, behind the first 11 bytes: characteristics, and where the version 1 begins, how long it is, and where
/// the index begins.
const V2_HEADER_BYTES: usize = 40;

/// A CAR that cannot be read.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum CarError {
    /// The reader's.
    #[error(transparent)]
    Io(io::Error),
    /// It ends within a header or a block.
    #[error("the CAR breaks off")]
    Truncated,
    /// Not the DAG-CBOR of a header.
    #[error("not a CAR: {reason}")]
    Header { reason: &'static str },
    /// A version that is not known.
    #[error("a CAR of version {got}, and 1 and 2 are known")]
    Version { got: u64 },
    /// A length that no block has.
    #[error("a block of {length} bytes in the CAR, and at most {MAX_BLOCK_BYTES} are taken")]
    Length { length: u64 },
    /// No CID where one should be.
    #[error("the CAR has {0}")]
    Cid(#[from] CidError),
    /// Another block than its CID says.
    #[error(transparent)]
    Block(#[from] BlockError),
}

impl From<io::Error> for CarError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof { Self::Truncated } else { Self::Io(error) }
    }
}

/// The header of version 1: the DAG-CBOR of `{"roots": [root…], "version": 1}`, behind its length.
pub fn header(roots: &[Cid]) -> Vec<u8> {
    let mut map = b"\xa2\x65roots".to_vec();
    put_head(&mut map, 4, roots.len() as u64);
    for root in roots {
        let bytes = root.to_bytes();
        map.extend([0xd8, 42]);
        put_head(&mut map, 2, bytes.len() as u64 + 1);
        map.push(0);
        map.extend(bytes);
    }
    map.extend(b"\x67version\x01");
    let mut buffer = unsigned_varint::encode::usize_buffer();
    [unsigned_varint::encode::usize(map.len(), &mut buffer), &map].concat()
}

/// A major type and a number, in the shortest form.
fn put_head(out: &mut Vec<u8>, major: u8, number: u64) {
    let bytes = number.to_be_bytes();
    let (low, rest) = match number {
        0..24 => (number as u8, &bytes[8..]),
        24..0x100 => (24, &bytes[7..]),
        0x100..0x1_0000 => (25, &bytes[6..]),
        0x1_0000..0x1_0000_0000 => (26, &bytes[4..]),
        _ => (27, &bytes[..]),
    };
    out.push(major << 5 | low);
    out.extend(rest);
}

/// Writes a block.
///
/// # Errors
/// The writer's.
pub fn write_block(out: &mut impl Write, cid: &Cid, bytes: &[u8]) -> io::Result<()> {
    let cid = cid.to_bytes();
    let mut buffer = unsigned_varint::encode::usize_buffer();
    out.write_all(unsigned_varint::encode::usize(cid.len() + bytes.len(), &mut buffer))?;
    out.write_all(&cid)?;
    out.write_all(bytes)
}

/// Reads the blocks of a CAR in their order, and checks each. Holds one at a time.
#[derive(Debug)]
pub struct CarReader<R> {
    input: io::Take<R>,
    roots: Vec<Cid>,
}

impl<R: Read> CarReader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`CarError`].
    pub fn new(input: R) -> Result<Self, CarError> {
        let mut input = input.take(u64::MAX);
        let (version, roots) = read_header(&mut input)?;
        match (version, roots) {
            (1, Some(roots)) => Ok(Self { input, roots }),
            (1, None) => Err(CarError::Header { reason: "it names no roots" }),
            (2, _) => {
                let mut header = [0; V2_HEADER_BYTES];
                input.read_exact(&mut header)?;
                let number = |at: usize| header[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                let start = 11 + V2_HEADER_BYTES as u64;
                let reason = "the data begins within the header";
                let padding = number(16).checked_sub(start).ok_or(CarError::Header { reason })?;
                if io::copy(&mut (&mut input).take(padding), &mut io::sink())? < padding {
                    return Err(CarError::Truncated);
                }
                input.set_limit(number(24));
                match read_header(&mut input)? {
                    (1, Some(roots)) => Ok(Self { input, roots }),
                    _ => Err(CarError::Header { reason: "version 2 wraps no version 1" }),
                }
            }
            (got, _) => Err(CarError::Version { got }),
        }
    }

    /// The roots that the header names. Their blocks need not be there.
    pub fn roots(&self) -> &[Cid] {
        &self.roots
    }

    /// The next block; `None` at the end.
    ///
    /// # Errors
    /// [`CarError`], after which the reader is of no use.
    pub fn next_block(&mut self) -> Result<Option<Block>, CarError> {
        let Some(length) = read_varint(&mut self.input)? else { return Ok(None) };
        if length > MAX_SECTION_BYTES {
            return Err(CarError::Length { length });
        }
        let mut section = read_bytes(&mut self.input, length)?;
        let (cid, rest) = Cid::read_prefix(&section)?;
        let start = section.len() - rest.len();
        section.drain(..start);
        Ok(Some(Block::check(cid, section)?))
    }
}

/// A varint; `None` if the input ends before it.
fn read_varint(input: &mut impl Read) -> Result<Option<u64>, CarError> {
    let mut bytes = Vec::new();
    loop {
        let mut byte = [0];
        match input.read_exact(&mut byte) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && bytes.is_empty() => return Ok(None),
            read => read?,
        }
        bytes.push(byte[0]);
        if unsigned_varint::decode::is_last(byte[0]) || bytes.len() == 9 {
            let malformed = CarError::Header { reason: "a length is no varint" };
            return unsigned_varint::decode::u64(&bytes).map(|(number, _)| Some(number)).map_err(|_| malformed);
        }
    }
}

/// So many bytes. Memory grows with those that come, not with those that are claimed.
fn read_bytes(input: &mut impl Read, length: u64) -> Result<Vec<u8>, CarError> {
    let mut bytes = Vec::new();
    input.take(length).read_to_end(&mut bytes)?;
    if bytes.len() as u64 == length { Ok(bytes) } else { Err(CarError::Truncated) }
}

/// Version and roots.
fn read_header(input: &mut impl Read) -> Result<(u64, Option<Vec<Cid>>), CarError> {
    let length = read_varint(input)?.ok_or(CarError::Truncated)?;
    if length > MAX_HEADER_BYTES {
        return Err(CarError::Header { reason: "the header is too long" });
    }
    let bytes = read_bytes(input, length)?;
    let mut cbor = Cbor(&bytes);
    let (mut version, mut roots) = (None, None);
    for _ in 0..cbor.head(5)? {
        match cbor.bytes(3)? {
            b"version" if version.is_none() => version = Some(cbor.head(0)?),
            b"roots" if roots.is_none() => {
                let count = cbor.head(4)?;
                let mut list = Vec::new();
                for _ in 0..count {
                    if cbor.head(6)? != 42 {
                        return Err(CarError::Header { reason: "a root is no link" });
                    }
                    let (0, link) = cbor.bytes(2)?.split_first().map_or((1, &[][..]), |(first, rest)| (*first, rest))
                    else {
                        return Err(CarError::Header { reason: "a root is no binary CID" });
                    };
                    list.push(Cid::from_bytes(link)?);
                }
                roots = Some(list);
            }
            _ => return Err(CarError::Header { reason: "its header has an unknown or repeated key" }),
        }
    }
    match (version, cbor.0) {
        (Some(version), []) => Ok((version, roots)),
        (None, _) => Err(CarError::Header { reason: "it names no version" }),
        (Some(_), _) => Err(CarError::Header { reason: "bytes follow its header" }),
    }
}

/// The part of [CBOR](https://www.rfc-editor.org/rfc/rfc8949) that headers use.
struct Cbor<'a>(&'a [u8]);

impl<'a> Cbor<'a> {
    /// The number of an item that must have this major type.
    fn head(&mut self, major: u8) -> Result<u64, CarError> {
        let malformed = CarError::Header { reason: "its header is not the DAG-CBOR of one" };
        let Some((first, rest)) = self.0.split_first().filter(|(first, _)| **first >> 5 == major) else {
            return Err(malformed);
        };
        let (number, rest) = match first & 31 {
            small @ 0..24 => (Some(small.into()), rest),
            size @ 24..28 => match rest.split_at_checked(1 << (size - 24)) {
                Some((bytes, rest)) => (Some(bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte))), rest),
                None => (None, rest),
            },
            _ => (None, rest),
        };
        self.0 = rest;
        number.ok_or(malformed)
    }

    fn bytes(&mut self, major: u8) -> Result<&'a [u8], CarError> {
        let length = usize::try_from(self.head(major)?).unwrap_or(usize::MAX);
        let short = CarError::Header { reason: "its header breaks off" };
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(short)?;
        self.0 = rest;
        Ok(bytes)
    }
}
