//! Removes files that sled 0.34 leaves half written when it is killed or the disk is full while it opens. It would take
//! them for damage, though it can do without them.
//!
//! - `snap.*`, the positions of all pages, saves reading the log at the next opening. sled takes the last by name for the
//!   newest, and `snap.*.generating`, the one that was being written, comes last. Without any it reads the log.
//! - `conf` repeats the settings, which are constants here.
//!
//! `db`, which is the log, is never touched.

use std::fs;
use std::io;
use std::path::Path;

/// What sled appends to a snapshot: its length (`u64`) and its CRC-32.
const SNAPSHOT_TAIL: usize = 12;
/// The CRC-32 at the end of the settings.
const SETTINGS_TAIL: usize = 4;

/// Removes incomplete files in a store's directory. The caller holds sled's lock.
///
/// # Errors
/// What the file system says.
pub(super) fn remove_broken(dir: &Path) -> io::Result<()> {
    let mut snapshots = Vec::new();
    let mut broken = false;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name == "conf" {
            if !ends_with_sum(&path, SETTINGS_TAIL)? {
                fs::remove_file(&path)?;
            }
        } else if name.starts_with("snap.") {
            if name.ends_with(".generating") {
                fs::remove_file(&path)?;
            } else {
                broken |= !ends_with_sum(&path, SNAPSHOT_TAIL)?;
                snapshots.push(path);
            }
        }
    }
    // An older snapshot would refer to log segments that have been rewritten since.
    if broken {
        snapshots.iter().try_for_each(fs::remove_file)?;
    }
    Ok(())
}

/// Whether the last four bytes of a file are the CRC-32 of all but the last `tail`, and there are any of these.
fn ends_with_sum(path: &Path, tail: usize) -> io::Result<bool> {
    let bytes = fs::read(path)?;
    let content = bytes.len().checked_sub(tail).and_then(|length| bytes.get(..length)).unwrap_or_default();
    let sum = bytes.last_chunk().map(|sum| u32::from_le_bytes(*sum));
    Ok(!content.is_empty() && sum == Some(crc32fast::hash(content)))
}
