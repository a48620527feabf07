//! Small files, of which a crash leaves the whole or nothing: with mode 0600, for their owner's eyes only, unless others
//! may read them. And directories, with mode 0700.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Makes a directory, and those above it, where they are missing. One that is there keeps its mode, which its owner may
/// have chosen: Bitcoin Core does the same.
///
/// # Errors
/// Whatever the file system says.
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
    /// What the file system says.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Users other than its owner may read or write it.
    #[error("its mode is {mode:03o}, expected 600")]
    TooOpen { mode: u32 },
}

/// Opens a file to read it, unless other users may read or write it: what it says may then be known, or not its owner's.
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

/// Waits until no other process holds the lock of a file, and takes it. It ends with the [`File`] that is returned.
///
/// The lock is advisory, and on a file of its own, `NAME.lock`: the file itself is replaced by another one of its name.
/// The lock's file stays, since a process that waits for it may have it open.
///
/// # Errors
/// Whatever the file system says.
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
/// [`io::ErrorKind::AlreadyExists`] if there is one, which is left alone; otherwise whatever the file system says.
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
/// Whatever the file system says.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    write(path, content, owner_only(), |temporary| fs::rename(temporary, path))
}

/// The same with the mode that files usually have, for what others may read.
///
/// # Errors
/// Whatever the file system says.
pub fn replace_shared(path: &Path, content: &[u8]) -> io::Result<()> {
    write(path, content, OpenOptions::new(), |temporary| fs::rename(temporary, path))
}

fn write(
    path: &Path,
    content: &[u8],
    options: OpenOptions,
    put: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // Two writes at a time, of this process or another, leave the whole of one of them.
    static WRITES: AtomicU64 = AtomicU64::new(0);
    name.push(format!(".{}.{}.tmp", std::process::id(), WRITES.fetch_add(1, Ordering::Relaxed)));
    let temporary = path.with_file_name(name);
    let written = make(&temporary, options).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()?;
        put(&temporary)
    });
    if written.is_err() {
        // Perhaps never made, perhaps gone already: either way there is nothing to do about it.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn make(path: &Path, mut options: OpenOptions) -> io::Result<File> {
    // A file left behind by a process of the same number might be open to others.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    options.write(true).create_new(true).open(path)
}

/// Files made with these options have mode 0600.
fn owner_only() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
