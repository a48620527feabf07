//! The mempool in a file between two runs, as Bitcoin Core keeps it. It is a convenience: a failure to read or write it
//! is logged, and a kill loses it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use tracing::{info, warn};

use crate::p2p::{Command, Node, Reply};
use crate::storage::private_file;

/// The file's name in the data directory.
const NAME: &str = "mempool.dat";

/// Where the mempool is kept.
#[derive(Debug, Clone)]
pub(super) struct MempoolFile(PathBuf);

impl MempoolFile {
    /// That of a data directory.
    pub(super) fn of(data_dir: &Path) -> Self {
        Self(data_dir.join(NAME))
    }

    /// The command that restores the saved mempool, which the node checks in parts.
    pub(super) fn load(&self) -> Option<Command> {
        let path = self.0.clone();
        match fs::read(&path) {
            Ok(bytes) => {
                let restored = Reply::to(move |result| match result {
                    Ok(transactions) => info!(transactions, "reading the mempool of the last run"),
                    Err(error) => warn!(path = %path.display(), %error, "the mempool of the last run is left out"),
                });
                return Some(Command::RestoreMempool(bytes, restored));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => warn!(path = %path.display(), %error, "the mempool of the last run cannot be read"),
        }
        None
    }

    /// The path of the file.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    /// Replaces the file with the bytes of [`Mempool::save`](crate::mempool::Mempool::save).
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn write(&self, saved: &[u8]) -> io::Result<()> {
        private_file::replace(&self.0, saved)
    }

    /// Writes a node's mempool.
    pub(super) fn save(&self, node: &Node) {
        if let Err(error) = self.write(&node.mempool().save()) {
            warn!(path = %self.0.display(), %error, "the mempool was not kept");
        }
    }
}
