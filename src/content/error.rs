//! Why the store of content fails.

use std::io;
use std::path::{Path, PathBuf};

use crate::ipld::read::ReadError;
use crate::ipld::{Cid, DirectoryError};

/// Why the store of content fails.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum ContentError {
    /// The file system's.
    #[error("{path}: {error}", path = path.display())]
    Io { path: PathBuf, error: io::Error },
    /// One process at a time.
    #[error("another process uses the content in {dir}", dir = dir.display())]
    InUse { dir: PathBuf },
    /// Written by another version of this program.
    #[error("the content in {dir} has format {got:?}, and this program reads 1", dir = dir.display())]
    Version { dir: PathBuf, got: String },
    /// Not in the store.
    #[error("the block {cid} is not here")]
    Missing { cid: Box<Cid> },
    /// The file holds other bytes than the block's.
    #[error(
        "the block {cid} is damaged on disk, in {path}: add the file again that it belongs to, or import it",
        path = path.display()
    )]
    Damaged { cid: Box<Cid>, path: PathBuf },
    /// No room, although everything was removed that is not pinned.
    #[error(
        "{needed} more bytes do not fit: {used} of at most {max} bytes are in use, and all of that is pinned or belongs to what is \
         being added. --content-max sets another limit"
    )]
    Full { needed: u64, used: u64, max: u64 },
    /// No such pin.
    #[error("{cid} is not pinned")]
    NotPinned { cid: Box<Cid> },
    /// Blocks that make no file or directory.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A directory that cannot be made.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// Names the file that an operation failed on.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> ContentError {
    move |error| ContentError::Io { path: path.to_owned(), error }
}
