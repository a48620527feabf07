//! Reads a database that cannot be opened in place: sled writes while it opens, which a read-only or full disk or
//! another user's directory does not allow.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::sled::Tree;
use super::store::SledStore;
use crate::storage::StoreError;

impl SledStore {
    /// Opens a copy of the database in `dir`, for reading, and returns where it was made: a private directory among the
    /// system's temporary files. The directory is removed before this returns; the open files last as long as the
    /// store. Large values are not copied.
    ///
    /// # Errors
    /// [`StoreError::Locked`] if a process has the database open for writing, [`StoreError::Backend`] if it cannot be read
    /// or there is no room for the copy, or as [`SledStore::open`].
    pub fn open_copy(dir: &Path) -> Result<(Self, PathBuf), StoreError> {
        let place = std::env::temp_dir().join(format!("cairn-{}-{:016x}", std::process::id(), rand::random::<u64>()));
        let failed = |error: io::Error| StoreError::Backend {
            dir: dir.to_owned(),
            reason: format!("it cannot be copied to {}: {error}", place.display()),
        };
        let db = File::open(dir.join(Tree::FILE)).map_err(failed)?;
        match db.try_lock_shared() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(StoreError::Locked { dir: dir.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        DirBuilder::new().mode(0o700).create(&place).map_err(failed)?;
        let opened = copy_files(dir, &place).map_err(failed).and_then(|()| Self::open_copied(&place, dir));
        // The store has its files open. The system's own cleaning removes what this cannot.
        let _ = fs::remove_dir_all(&place);
        Ok((opened?, place))
    }
}

fn copy_files(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        // Large values, in a directory of their own, are read in place, since they are never changed.
        if entry.file_type()?.is_file() {
            let copy = to.join(entry.file_name());
            fs::copy(entry.path(), &copy)?;
            // The mode is copied too.
            fs::set_permissions(&copy, Permissions::from_mode(0o600))?;
        }
    }
    Ok(())
}
