//! Files and directories that get their name when they are whole.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, ensure};

use crate::cli::Interrupted;
use crate::runtime::interrupt_flag;

/// Set by a signal to end. None until the first temporary name, so that until then a signal ends the process.
static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Fails after a signal, so that what is there under a temporary name is removed. Call it often.
///
/// # Errors
/// [`Interrupted`].
pub fn check_interrupted() -> anyhow::Result<()> {
    Ok(INTERRUPTED.get().map_or(Ok(()), |flag| Interrupted::check(flag))?)
}

/// Fails if nothing can be made at `target`, before much is done for it.
///
/// # Errors
/// If it exists, or the directory that it would be in does not.
pub fn require_free(target: &Path) -> anyhow::Result<()> {
    ensure!(target.symlink_metadata().is_err(), "{} exists", target.display());
    let dir = directory_of(target);
    ensure!(dir.is_dir(), "cannot write {}: there is no directory {}", target.display(), dir.display());
    Ok(())
}

/// A hidden name beside a target. What is there is removed when this is dropped, unless it was renamed.
#[derive(Debug)]
pub struct Temporary {
    path: PathBuf,
}

impl Temporary {
    /// A name for what is to become `target`. Looks at the target even if the caller did so before a fetch: during the fetch,
    /// another program can have made it.
    ///
    /// # Errors
    /// Those of [`require_free`]; if the target ends in `..` or the like, or there is no thread to wait for signals on.
    pub fn beside(target: &Path) -> anyhow::Result<Self> {
        require_free(target)?;
        let name = target.file_name().with_context(|| format!("{} is no name for a file", target.display()))?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(".");
        let path = |process: u32| {
            let mut hidden = hidden.clone();
            hidden.push(format!("{process}.tmp"));
            target.with_file_name(hidden)
        };
        // What killed processes have left of this target, and one with the same number.
        for process in left_by(target, hidden.as_bytes()) {
            if process == std::process::id() || !is_running(process) {
                Self { path: path(process) }.remove();
            }
        }
        if INTERRUPTED.get().is_none() {
            let flag = interrupt_flag().context("cannot wait for signals")?;
            INTERRUPTED.get_or_init(|| flag);
        }
        Ok(Self { path: path(std::process::id()) })
    }

    /// The name.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives what is there its name, unless another program has made the target meanwhile.
    ///
    /// # Errors
    /// Those of [`require_free`], and the file system's.
    pub fn rename(self, target: &Path) -> anyhow::Result<()> {
        require_free(target)?;
        Ok(fs::rename(&self.path, target)?)
    }

    /// Follows no link.
    fn remove(&self) {
        let is_dir = self.path.symlink_metadata().is_ok_and(|found| found.is_dir());
        // It may not exist; a failure changes nothing.
        let _ = if is_dir { fs::remove_dir_all(&self.path) } else { fs::remove_file(&self.path) };
    }
}

fn directory_of(target: &Path) -> &Path {
    target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The processes that have begun names with `prefix` beside a target.
fn left_by(target: &Path, prefix: &[u8]) -> Vec<u32> {
    let process = |name: OsString| -> Option<u32> {
        let number = name.as_bytes().strip_prefix(prefix)?.strip_suffix(b".tmp")?;
        std::str::from_utf8(number).ok()?.parse().ok()
    };
    // A directory that cannot be read fails later, where it matters.
    let entries = fs::read_dir(directory_of(target)).into_iter().flatten().flatten();
    entries.filter_map(|entry| process(entry.file_name())).collect()
}

/// Whether there is a process of that number; where that cannot be told, there may be.
fn is_running(process: u32) -> bool {
    !Path::new("/proc/self").exists() || Path::new("/proc").join(process.to_string()).exists()
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.remove();
    }
}
