//! The version of the store's format, which is in [`mod@super`].

use std::fs;
use std::io;
use std::path::Path;

use super::error::{ContentError, at};
use crate::storage::private_file;

const VERSION: &str = "1";

/// Whether the store in `dir` has a version, which is then this one.
///
/// # Errors
/// [`ContentError::Version`], and the file system's.
pub(super) fn check(dir: &Path) -> Result<bool, ContentError> {
    let path = dir.join("version");
    match fs::read_to_string(&path) {
        Ok(text) if text.trim() == VERSION => Ok(true),
        Ok(text) => Err(ContentError::Version { dir: dir.to_owned(), got: text.trim().to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(at(&path)(error)),
    }
}

/// The same, and gives a new store this version.
pub(super) fn check_or_write(dir: &Path) -> Result<(), ContentError> {
    if !check(dir)? {
        let path = dir.join("version");
        private_file::replace(&path, format!("{VERSION}\n").as_bytes()).map_err(at(&path))?;
    }
    Ok(())
}
