//! What follows the headers of an answer.

use std::io::Write;
use std::ops::Range;

use super::car::{Car, check_waiting};
use super::failure::Failure;
use super::source::Source;
use super::stream::Sink;
use crate::ipld::read::FileReader;
use crate::ipld::{Block, Cid};

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
    File(Cid, Range<u64>),
}

impl Content {
    /// Writes it.
    pub(super) fn write(self, source: &mut Source, sink: &mut Sink) -> Result<(), Failure> {
        match self {
            Self::Nothing => Ok(()),
            Self::Bytes(block, range) => Ok(sink.write_all(block.bytes().get(range).unwrap_or_default())?),
            Self::Text(text) => Ok(sink.write_all(&text)?),
            Self::Car(car) => car.write(source, sink),
            Self::File(cid, range) => read_file(source, cid, range, &mut |bytes| Ok(sink.write_all(bytes)?)),
        }
    }
}

/// Gives bytes of a file in order to `write`.
pub(super) fn read_file(
    source: &mut Source,
    cid: Cid,
    range: Range<u64>,
    write: &mut dyn FnMut(&[u8]) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut reader = FileReader::new(cid, range);
    while let Some(cid) = reader.wanted() {
        let block = source.get(&cid)?;
        write(reader.supply(block.bytes())?)?;
        check_waiting(reader.pending())?;
    }
    Ok(())
}
