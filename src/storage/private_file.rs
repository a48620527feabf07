//! Small files, written atomically, with mode 0600 unless other users may read them; and directories with mode 0700.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Creates a directory and its missing parents. An existing directory keeps its mode, which its owner may have chosen,
/// as in Bitcoin Core.
///
/// # Errors
/// The file system's.
pub fn create_dir(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Why a file is not opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum OpenError {
    /// The file system's.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Users other than its owner may read or write it.
    #[error("its mode is {mode:03o}, expected 600")]
    TooOpen { mode: u32 },
}

/// Whether only its owner may read a file.
pub fn is_private(file: &fs::Metadata) -> bool {
    #[cfg(unix)]
    return std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o077 == 0;
    #[cfg(not(unix))]
    false
}

/// Opens a file to read it, unless other users may read or write it: its content might then be known to them or come
/// from them.
///
/// # Errors
/// [`OpenError`].
pub fn open(path: &Path) -> Result<File, OpenError> {
    let file = File::open(path)?;
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata()?.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            return Err(OpenError::TooOpen { mode });
        }
    }
    Ok(file)
}

/// Makes an empty file, unless there is a file.
///
/// # Errors
/// The file system's.
pub fn touch(path: &Path) -> io::Result<()> {
    owner_only().write(true).create(true).truncate(false).open(path).map(drop)
}

/// Waits for the lock of a file and takes it. Dropping the returned [`File`] releases it.
///
/// The lock is advisory and on a separate file, `NAME.lock`, because the file itself is replaced when it is written.
/// The lock file stays, since a waiting process may have it open.
///
/// # Errors
/// The file system's.
pub fn lock(path: &Path) -> io::Result<File> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    let file = owner_only().write(true).create(true).truncate(false).open(path.with_file_name(name))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => tracing::info!(path = %path.display(), "waiting for another process"),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    loop {
        match file.lock() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other.map(|()| file),
        }
    }
}

/// Writes a new file.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if the file exists, which is left unchanged; otherwise the file system's.
pub fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    write(path, content, owner_only(), |temporary| {
        // Unlike a rename, a link never replaces what is there.
        let linked = fs::hard_link(temporary, path);
        fs::remove_file(temporary)?;
        linked
    })
}

/// Writes a file, in place of the one that may be there.
///
/// # Errors
/// The file system's.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    write(path, content, owner_only(), |temporary| fs::rename(temporary, path))
}

/// The same with the mode that files usually have, for what others may read.
///
/// # Errors
/// The file system's.
pub fn replace_shared(path: &Path, content: &[u8]) -> io::Result<()> {
    write(path, content, OpenOptions::new(), |temporary| fs::rename(temporary, path))
}

/// Removes a file. `false` if there is none.
///
/// # Errors
/// The file system's.
pub fn remove(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn write(
    path: &Path,
    content: &[u8],
    options: OpenOptions,
    put: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // Of two concurrent writes, by this process or another, one survives whole.
    static WRITES: AtomicU64 = AtomicU64::new(0);
    name.push(format!(".{}.{}.tmp", std::process::id(), WRITES.fetch_add(1, Ordering::Relaxed)));
    let temporary = path.with_file_name(name);
    let written = make(&temporary, options).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()?;
        put(&temporary)
    });
    if written.is_err() {
        // It may not exist; a failure changes nothing.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn make(path: &Path, mut options: OpenOptions) -> io::Result<File> {
    // A file left behind by a process of the same number might be open to others.
    remove(path)?;
    options.write(true).create_new(true).open(path)
}

/// Files made with these options have mode 0600.
fn owner_only() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
