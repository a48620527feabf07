//! Small files for their owner's eyes only, with mode 0600: a crash leaves the whole file or none. And directories, with
//! mode 0700.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

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

/// Writes a new file.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] if there is one, which is left alone; otherwise whatever the file system says.
pub fn create(path: &Path, content: &[u8]) -> io::Result<()> {
    write(path, content, |temporary| {
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
    write(path, content, |temporary| fs::rename(temporary, path))
}

fn write(path: &Path, content: &[u8], put: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(name);
    let written = private(&temporary).and_then(|mut file| {
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

fn private(path: &Path) -> io::Result<File> {
    // A file left behind by a process of the same number might be open to others.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}
