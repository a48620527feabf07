//! A record of all inputs of a node, from which its run can be replayed.
//!
//! A [`Node`](crate::p2p::Node) is a function of its beginning, its inputs and its owner's commands. [`Recorded`]
//! records them as they arrive; [`replay`] runs a node from the file, without socket, disk or clock, and compares its
//! outputs with those recorded.
//!
//! # The file
//!
//! It starts with [`MAGIC`] and the format (u32). Then come entries: the length of kind and body (u32), the kind (u8), the
//! body, and the first four bytes of the double SHA-256 of all these. Integers are little-endian, and bodies are encoded as
//! [`codec`](crate::primitives::codec) does.
//!
//! | kind | body |
//! |---|---|
//! | 0 start | this program's version, the text of genesis.json, the settings and the random seed, the mempool's limits, the time |
//! | 1 stored | keys and values of the store as it was, in order, as many entries as it takes |
//! | 2 input | the time, the digest before it, the [`Input`](crate::p2p::Input) |
//! | 3 command | the same with a [`Command`](crate::p2p::Command) |
//! | 4 checkpoint | the digest, and the [`State`]; before the first input, and after every [`CHECKPOINT_INTERVAL`] inputs and commands |
//! | 5 end | the same, after the last input, [`Input::Stop`](crate::p2p::Input::Stop) |
//!
//! The time is two u64: milliseconds and seconds, as in [`Now`](crate::p2p::Now). The digest is the first eight bytes
//! of the SHA-256 of the digest before, the tip's hash, the mempool's revision, and the node's outputs, messages as
//! their frames. A tick takes 34 bytes, a message 46 and its frame.
//!
//! Each entry is written before the node handles it, so the record includes the input at which a node dies. There is no
//! trailer: a file that ends early, even within an entry, is the record of a shorter time.

mod entry;
mod input;
mod reader;
mod recorder;
mod replay;
mod state;
#[cfg(test)]
mod tests;

use std::io;

pub use entry::Start;
pub use input::{decode_command, decode_input, encode_command, encode_input};
pub use reader::Reader;
pub use recorder::{Recorded, Recorder};
pub use replay::{Ending, Replay, replay};
pub use state::State;

use crate::consensus::params::ParamsError;
use crate::p2p::message::MessageError;
use crate::primitives::codec::CodecError;
use crate::storage::StoreError;

/// What a record starts with.
pub const MAGIC: [u8; 8] = *b"CAIRNREC";
/// The format described here.
pub const VERSION: u32 = 5;
/// Inputs and commands from one checkpoint to the next.
pub const CHECKPOINT_INTERVAL: u64 = 1_000;

/// Why a record cannot be replayed. Offsets are bytes from its start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum RecordError {
    /// The file system refused.
    #[error("the record, at byte {offset}: {source}")]
    Io {
        offset: u64,
        #[source]
        source: io::Error,
    },
    /// Not a record at all.
    #[error("not a record of a node: it does not start with CAIRNREC")]
    NotARecord,
    /// Written by another version of this program.
    #[error("the record has format {found}, this program knows format {VERSION}")]
    OtherFormat { found: u32 },
    /// An entry's bytes changed.
    #[error("the record is damaged: the entry at byte {offset} does not match its checksum")]
    Checksum {
        /// Where the entry starts.
        offset: u64,
    },
    /// An entry is not what its kind says, though its checksum is right.
    #[error("the record is damaged: the entry at byte {offset}: {source}")]
    Malformed {
        /// Where the entry starts.
        offset: u64,
        #[source]
        source: MalformedEntry,
    },
    /// An entry of a kind that may not stand there.
    #[error("the record is damaged: an entry of kind {kind} at byte {offset}")]
    OutOfOrder {
        /// Where the entry starts.
        offset: u64,
        kind: u8,
    },
    /// It ends before the node began: its store is not whole.
    #[error("the record ends at byte {offset}, before the node's first input")]
    TooShort { offset: u64 },
    /// The network's parameters in it are invalid.
    #[error("the record: {0}")]
    Params(#[from] ParamsError),
    /// The store in it is invalid.
    #[error("the record: {0}")]
    Store(#[from] StoreError),
    /// The replay's outputs differ from the recording's.
    #[error("the replay differs from the record after input {input}, at byte {offset} ({what}): {difference}")]
    Diverged {
        /// Inputs and commands replayed; the outputs of the last of them differ. 0 for the start.
        input: u64,
        /// Where the entry of that one starts.
        offset: u64,
        what: String,
        /// The difference.
        difference: String,
    },
}

/// Why an entry's body is not what its kind says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum MalformedEntry {
    /// Its encoding.
    #[error(transparent)]
    Encoding(#[from] CodecError),
    /// A message in it.
    #[error(transparent)]
    Message(#[from] MessageError),
    /// Text in it that cannot be parsed.
    #[error("{got:?} is no {expected}")]
    Text {
        got: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A kind of entry, input, command or message that is not known.
    #[error("{found} is not a kind of {what}")]
    Kind { what: &'static str, found: u8 },
    /// Nothing is in it.
    #[error("it is empty")]
    Empty,
}
