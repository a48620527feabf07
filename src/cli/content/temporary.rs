//! Files and directories that get their name when they are whole.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A hidden name beside a target. What is there is removed when this is dropped, unless it was renamed.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// # Errors
    /// If the target ends in `..` or the like.
    pub fn beside(target: &Path) -> anyhow::Result<Self> {
        let name = target.file_name().with_context(|| format!("{} is no name for a file", target.display()))?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".{}.tmp", std::process::id()));
        let temporary = Self { path: target.with_file_name(hidden) };
        // Of a killed process with the same number.
        temporary.remove();
        Ok(temporary)
    }

    /// The name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives what is there its name.
    ///
    /// # Errors
    /// The file system's.
    pub fn rename(self, target: &Path) -> io::Result<()> {
        fs::rename(&self.path, target)
    }

    /// Follows no link.
    fn remove(&self) {
        let is_dir = self.path.symlink_metadata().is_ok_and(|found| found.is_dir());
        // It may not exist; a failure changes nothing.
        let _ = if is_dir { fs::remove_dir_all(&self.path) } else { fs::remove_file(&self.path) };
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.remove();
    }
}
