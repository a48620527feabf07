//! What follows the headers of an answer.

use std::io::Write;
use std::ops::Range;

use super::car::{Car, check_waiting};
use super::failure::Failure;
use super::source::{Found, Source};
use super::stream::Sink;
use crate::ipld::Block;
use crate::ipld::read::FileReader;
use crate::runtime::exchange::Part;

/// Bytes of a file that are fetched ahead of those that are read.
const AHEAD: u64 = 8 << 20;

/// What follows the headers of an answer.
pub(super) enum Content {
    /// Nothing, or a text that is in the answer already.
    Nothing,
    /// Bytes of a block.
    Bytes(Block, Range<usize>),
    /// A text.
    Text(Vec<u8>),
    /// Blocks.
    Car(Car),
    /// Bytes of a file.
    File(Found, Range<u64>),
}

impl Content {
    /// Writes it.
    pub(super) fn write(self, source: &mut Source, sink: &mut Sink) -> Result<(), Failure> {
        match self {
            Self::Nothing => Ok(()),
            Self::Bytes(block, range) => Ok(sink.write_all(block.bytes().get(range).unwrap_or_default())?),
            Self::Text(text) => Ok(sink.write_all(&text)?),
            Self::Car(car) => car.write(source, sink),
            Self::File(found, range) => read_file(source, &found, range, &mut |bytes| Ok(sink.write_all(bytes)?)),
        }
    }
}

/// Gives bytes of the file at the end of a path in order to `write`.
pub(super) fn read_file(
    source: &mut Source,
    found: &Found,
    range: Range<u64>,
    write: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (mut at, end) = (range.start, range.end);
    let mut reader = FileReader::new(found.end, range);
    while let Some(cid) = reader.wanted() {
        source.want(&found.path, Part::Bytes { from: at, to: end.min(at.saturating_add(AHEAD)) });
        let block = source.get(&cid)?;
        let bytes = reader.supply(block.bytes())?;
        write(bytes)?;
        at = at.saturating_add(bytes.len() as u64);
        check_waiting(reader.pending())?;
    }
    Ok(())
}
