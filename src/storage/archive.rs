//! Blocks in a plain file, to be appended to and read from start to end: what a store is rebuilt from.
//!
//! The file starts with [`MAGIC`], the format (u32) and the genesis hash (32 bytes). Then, for each block from height 1
//! on: the length of its encoding (u32), the encoding, and the first 8 bytes of the double SHA-256 of both. Integers
//! are little-endian. There is no trailer, so that blocks can be appended; a file cut between two blocks is a shorter
//! archive.

use std::io::{self, Read, Write};

use crate::consensus::params::MAX_BLOCK_BYTES;
use crate::primitives::block::Block;
use crate::primitives::codec::{self, CodecError};
use crate::primitives::hash::{BlockHash, Hash256};

/// What an archive starts with.
pub const MAGIC: [u8; 8] = *b"CAIRNBLK";
/// The format described here.
pub const VERSION: u32 = 1;

const CHECKSUM_LEN: usize = 8;

/// Why an archive cannot be read or written. Offsets are bytes from its start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum ArchiveError {
    /// The file system refused.
    #[error("archive, at byte {offset}: {source}")]
    Io {
        offset: u64,
        #[source]
        source: io::Error,
    },
    /// Not an archive at all.
    #[error("not an archive of blocks: it does not start with CAIRNBLK")]
    NotAnArchive,
    /// Written by a newer program.
    #[error("the archive has format {found}, this program knows formats up to {VERSION}: use a newer cairn")]
    NewerFormat { found: u32 },
    /// Of another network.
    #[error("the archive belongs to the network with genesis {archived}, but genesis.json gives {configured}")]
    GenesisMismatch {
        /// Hash of its genesis block.
        archived: BlockHash,
        /// Hash of the genesis block given.
        configured: BlockHash,
    },
    /// It ends inside a record.
    #[error("the archive is cut off: the record at byte {offset} is not complete")]
    Truncated {
        /// Where the record starts.
        offset: u64,
    },
    /// A record cannot be as long as it says.
    #[error("the record at byte {offset} claims {got} bytes, but a record has at most {MAX_BLOCK_BYTES}")]
    TooLong {
        /// Where the record starts.
        offset: u64,
        got: u32,
    },
    /// A record's bytes changed.
    #[error("the record at byte {offset} does not match its checksum")]
    Checksum {
        /// Where the record starts.
        offset: u64,
    },
    /// A record is no block, though its checksum is right.
    #[error("the record at byte {offset} is not a block: {source}")]
    NotABlock {
        /// Where the record starts.
        offset: u64,
        #[source]
        source: CodecError,
    },
}

/// Appends blocks to an archive.
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    offset: u64,
}

impl<W: Write> Writer<W> {
    /// Starts an archive of the network that `genesis` names.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub fn new(out: W, genesis: &BlockHash) -> Result<Self, ArchiveError> {
        let mut writer = Self { out, offset: 0 };
        writer.write(&[&MAGIC, &VERSION.to_le_bytes()[..], genesis.as_bytes()].concat())?;
        Ok(writer)
    }

    /// Appends a block, given by its encoding.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub fn append(&mut self, block: &[u8]) -> Result<(), ArchiveError> {
        let length = u32::try_from(block.len()).unwrap_or(u32::MAX);
        let mut record = length.to_le_bytes().to_vec();
        record.extend(block);
        let checksum = checksum(&record);
        record.extend(checksum);
        self.write(&record)
    }

    /// Flushes and returns the file.
    ///
    /// # Errors
    /// [`ArchiveError::Io`].
    pub fn finish(mut self) -> Result<W, ArchiveError> {
        self.out.flush().map_err(|source| ArchiveError::Io { offset: self.offset, source })?;
        Ok(self.out)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), ArchiveError> {
        self.out.write_all(bytes).map_err(|source| ArchiveError::Io { offset: self.offset, source })?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

/// Reads an archive, block by block.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    offset: u64,
}

impl<R: Read> Reader<R> {
    /// Reads the start of an archive, which must be of the network that `genesis` names.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn new(input: R, genesis: &BlockHash) -> Result<Self, ArchiveError> {
        let mut reader = Self { input, offset: 0 };
        let mut magic = [0; MAGIC.len()];
        if reader.fill(&mut magic)? < magic.len() || magic != MAGIC {
            return Err(ArchiveError::NotAnArchive);
        }
        let mut version = [0; 4];
        let mut archived = [0; 32];
        reader.fill_whole(&mut version, 0)?;
        let found = u32::from_le_bytes(version);
        if found != VERSION {
            return Err(ArchiveError::NewerFormat { found });
        }
        reader.fill_whole(&mut archived, 0)?;
        let archived = BlockHash::from_bytes(archived);
        if archived != *genesis {
            return Err(ArchiveError::GenesisMismatch { archived, configured: *genesis });
        }
        Ok(reader)
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next block; `None` at the end.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub fn next_block(&mut self) -> Result<Option<Block>, ArchiveError> {
        let offset = self.offset;
        let mut length = [0; 4];
        match self.fill(&mut length)? {
            0 => return Ok(None),
            4 => {}
            _ => return Err(ArchiveError::Truncated { offset }),
        }
        let got = u32::from_le_bytes(length);
        if got > MAX_BLOCK_BYTES {
            return Err(ArchiveError::TooLong { offset, got });
        }
        let mut record = vec![0; 4 + got as usize];
        record[..4].copy_from_slice(&length);
        self.fill_whole(&mut record[4..], offset)?;
        let mut expected = [0; CHECKSUM_LEN];
        self.fill_whole(&mut expected, offset)?;
        if checksum(&record) != expected {
            return Err(ArchiveError::Checksum { offset });
        }
        codec::decode(&record[4..]).map(Some).map_err(|source| ArchiveError::NotABlock { offset, source })
    }

    fn fill_whole(&mut self, bytes: &mut [u8], record: u64) -> Result<(), ArchiveError> {
        if self.fill(bytes)? < bytes.len() { Err(ArchiveError::Truncated { offset: record }) } else { Ok(()) }
    }

    /// Reads into `bytes` up to the end of the file; returns how many bytes.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, ArchiveError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.input.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ArchiveError::Io { offset: self.offset + filled as u64, source }),
            }
        }
        self.offset += filled as u64;
        Ok(filled)
    }
}

fn checksum(record: &[u8]) -> [u8; CHECKSUM_LEN] {
    let hash = Hash256::of(record).to_bytes();
    std::array::from_fn(|i| hash[i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::params::{GenesisSpec, Params};

    fn genesis() -> Block {
        Params::new(GenesisSpec::regtest()).unwrap().genesis
    }

    /// An archive of three blocks, and where its records start and end.
    fn archive() -> (Vec<u8>, Vec<usize>) {
        let mut block = genesis();
        let mut writer = Writer::new(Vec::new(), &genesis().hash()).unwrap();
        let mut bounds = vec![MAGIC.len() + 4 + 32];
        for nonce in 0..3 {
            block.header.nonce = nonce;
            writer.append(&codec::encode(&block)).unwrap();
            bounds.push(bounds[nonce as usize] + 4 + block.size() + CHECKSUM_LEN);
        }
        (writer.finish().unwrap(), bounds)
    }

    fn read(bytes: &[u8]) -> Result<Vec<Block>, ArchiveError> {
        let mut reader = Reader::new(bytes, &genesis().hash())?;
        std::iter::from_fn(|| reader.next_block().transpose()).collect()
    }

    #[test]
    fn a_written_archive_is_read_back() {
        let (bytes, bounds) = archive();
        assert_eq!(bytes.len(), bounds[3]);
        let nonces: Vec<u32> = read(&bytes).unwrap().iter().map(|block| block.header.nonce).collect();
        assert_eq!(nonces, [0, 1, 2]);
    }

    #[test]
    fn an_archive_cut_anywhere_is_shorter_or_says_where_it_was_cut() {
        let (bytes, bounds) = archive();
        for length in 0..bytes.len() {
            let record = bounds.iter().rposition(|bound| *bound <= length);
            match (read(&bytes[..length]), record) {
                (Ok(blocks), Some(record)) => assert_eq!((bounds[record], blocks.len()), (length, record)),
                (Err(ArchiveError::Truncated { offset }), Some(record)) => assert_eq!(offset, bounds[record] as u64),
                (Err(ArchiveError::NotAnArchive), None) => assert!(length < MAGIC.len()),
                (Err(ArchiveError::Truncated { offset: 0 }), None) => assert!(length >= MAGIC.len()),
                (outcome, _) => panic!("cut to {length}: {outcome:?}"),
            }
        }
    }

    #[test]
    fn no_changed_bit_is_missed() {
        let (bytes, bounds) = archive();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            let error = read(&changed).unwrap_err();
            let record = bounds.iter().rposition(|bound| *bound <= at).map(|record| bounds[record] as u64);
            match (error, record) {
                (ArchiveError::NotAnArchive, None) => assert!(at < 8),
                (ArchiveError::NewerFormat { .. }, None) => assert!((8..12).contains(&at)),
                (ArchiveError::GenesisMismatch { .. }, None) => assert!((12..44).contains(&at)),
                (
                    ArchiveError::Checksum { offset }
                    | ArchiveError::Truncated { offset }
                    | ArchiveError::TooLong { offset, .. },
                    Some(record),
                ) => assert_eq!(offset, record),
                (error, _) => panic!("byte {at}: {error}"),
            }
        }
    }

    #[test]
    fn a_record_that_is_no_block_is_refused() {
        let mut writer = Writer::new(Vec::new(), &genesis().hash()).unwrap();
        writer.append(b"no block").unwrap();
        let bytes = writer.finish().unwrap();
        assert!(matches!(read(&bytes), Err(ArchiveError::NotABlock { offset: 44, .. })));
    }
}
