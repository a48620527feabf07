//! Reads a record, entry by entry.

use std::io::{self, Read};

use super::entry::{self, CHECKSUM_BYTES, Entry, HEAD_BYTES};
use super::{MAGIC, RecordError, VERSION};

/// Reads a record from start to end. Memory grows with the bytes that are there, whatever a length says.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    offset: u64,
    /// The last entry's bytes.
    bytes: Vec<u8>,
}

/// What is next in a record.
#[allow(clippy::large_enum_variant)] // There is one at a time.
pub(super) enum Next {
    /// An entry, and where it starts.
    Entry(u64, Entry),
    /// The end, after a whole entry, or within the one that starts there.
    End { cut: bool },
}

impl<R: Read> Reader<R> {
    /// Reads the start of a record.
    ///
    /// # Errors
    /// [`RecordError::NotARecord`], [`RecordError::OtherFormat`] or [`RecordError::Io`].
    pub fn new(input: R) -> Result<Self, RecordError> {
        let mut reader = Self { input, offset: 0, bytes: Vec::new() };
        reader.fill(MAGIC.len() + 4)?;
        let (magic, version) = reader.bytes.split_at(MAGIC.len().min(reader.bytes.len()));
        let version = version.try_into().map(u32::from_le_bytes);
        match version {
            Ok(VERSION) if magic == MAGIC => Ok(reader),
            Ok(found) if magic == MAGIC => Err(RecordError::OtherFormat { found }),
            _ => Err(RecordError::NotARecord),
        }
    }

    /// Bytes read so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn next_entry(&mut self) -> Result<Next, RecordError> {
        let offset = self.offset;
        self.bytes.clear();
        self.fill(HEAD_BYTES)?;
        let Some((&[a, b, c, d, kind], [])) = self.bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Ok(Next::End { cut: !self.bytes.is_empty() });
        };
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        // A length of 0 has no room for the kind, so its checksum cannot be right either.
        let whole = HEAD_BYTES + length.saturating_sub(1) + CHECKSUM_BYTES;
        self.fill(whole - HEAD_BYTES)?;
        if self.bytes.len() < whole {
            return Ok(Next::End { cut: true });
        }
        let (entry, checksum) = self.bytes.split_at(whole - CHECKSUM_BYTES);
        if checksum != entry::checksum(entry) {
            return Err(RecordError::Checksum { offset });
        }
        let entry = entry::decode(kind, &entry[HEAD_BYTES..]);
        entry.map(|entry| Next::Entry(offset, entry)).map_err(|source| RecordError::Malformed { offset, source })
    }

    /// Appends so many bytes, or as many as there are.
    fn fill(&mut self, count: usize) -> Result<(), RecordError> {
        let read = self.input.by_ref().take(count as u64).read_to_end(&mut self.bytes);
        let read = read.map_err(|source: io::Error| RecordError::Io { offset: self.offset, source })?;
        self.offset += read as u64;
        Ok(())
    }
}
