//! Content addressing as IPFS has it: blocks named by their hash, and files and directories made of them.
//!
//! A [`Cid`] names a [`Block`] by the hash of its bytes, so a block from any source can be checked. Files and directories
//! are [UnixFS](https://specs.ipfs.tech/unixfs/): nodes in the protobuf format [`dagpb`] that link to one another.
//! The same bytes and [`Options`] give the CIDs that Kubo gives, and Kubo reads what is made here.
//!
//! Nothing here reads a disk or a network. Builders take bytes and hand out blocks; readers say which block they need
//! next. Both hold a few blocks at a time, whatever the size of the file.

mod block;
mod cid;
mod directory;
mod file;
mod hamt;
mod hash;
mod murmur3;
mod options;
mod proto;
mod unixfs;

pub mod car;
pub mod dagpb;
pub mod read;

pub use block::{Block, BlockError, MAX_BLOCK_BYTES};
pub use cid::{Cid, CidError, Codec};
pub use directory::{DirectoryBuilder, is_entry_name, symlink};
pub use file::{BATCH_BYTES, FileBuilder, Root};
pub use hash::{HashFunction, MAX_IDENTITY_BYTES};
pub use options::{
    Choices, ChunkSize, CidVersion, Fanout, InlineLimit, Layout, MaxFileLinks, Options, OptionsError, Profile,
    Sharding, SizeEstimate,
};
pub use unixfs::{Data, Kind, Metadata, Mode, Mtime};

/// Bytes that are not in the format that they should be in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum FormatError {
    /// Broken off, or a varint too long.
    #[error("{what}: {reason}")]
    Malformed { what: &'static str, reason: &'static str },
    /// A field that the format does not have, that came before, or that is in the wrong place.
    #[error("{what}: field {field} is unknown, repeated or out of place")]
    Field { what: &'static str, field: u64 },
    /// A field that the format demands.
    #[error("{what}: {field} is missing")]
    Missing { what: &'static str, field: &'static str },
    /// A value that the field cannot have.
    #[error("{what}: {field} cannot be {got}")]
    Value { what: &'static str, field: &'static str, got: u64 },
    /// A link to something that is no CID.
    #[error("{what}: {error}")]
    Cid { what: &'static str, error: CidError },
}

/// A directory that cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum DirectoryError {
    /// No file system has such a file.
    #[error("{name:?} cannot be the name of an entry")]
    Name { name: String },
    /// Two entries of one name.
    #[error("there are two entries named {name:?}")]
    Repeated { name: String },
    /// Two names with the same hash, made on purpose.
    #[error("the name {name:?} collides with another in the directory's hash function")]
    TooDeep { name: String },
}
