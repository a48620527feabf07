//! Archives of files and directories, in the format of POSIX.1-1988 with GNU's long names.

use std::io::Write;

use crate::content::ContentReader;
use crate::ipld::read::View;
use crate::ipld::{Cid, is_entry_name};
use crate::rpc::gateway::failure::Failure;

const RECORD: usize = 512;
/// A file of this size needs more digits than there are.
const MAX_FILE_BYTES: u64 = 1 << 33;

enum Entry {
    File(u64),
    Directory,
    Symlink(Vec<u8>),
}

/// Writes what is at `root` under `name`, and all below it.
pub(super) fn write(reader: &ContentReader, root: Cid, name: &[u8], out: &mut impl Write) -> Result<(), Failure> {
    let mut waiting = vec![(root, name.to_vec())];
    while let Some((cid, path)) = waiting.pop() {
        let entry = reader.view(cid, |view| match view {
            View::File(file) => Entry::File(file.size),
            View::Directory { .. } | View::Shard { .. } => Entry::Directory,
            View::Symlink { target, .. } => Entry::Symlink(target.to_vec()),
        })?;
        match entry {
            Entry::File(size) if size < MAX_FILE_BYTES => {
                header(out, &path, b'0', size, &[])?;
                reader.read_file::<Failure>(cid, 0..size, |bytes| Ok(out.write_all(bytes)?))?;
                pad(out, size)?;
            }
            Entry::File(_) => return Err(Failure::bad("a file of 8 GiB does not fit into an archive".to_owned())),
            Entry::Symlink(target) => header(out, &path, b'2', 0, &target)?,
            Entry::Directory => {
                header(out, &[&path[..], b"/"].concat(), b'5', 0, &[])?;
                let (entries, _) = reader.list(cid)?;
                for entry in entries.into_iter().rev() {
                    if !is_entry_name(&entry.name) {
                        return Err(Failure::bad("a name in the directory cannot be one".to_owned()));
                    }
                    waiting.push((entry.cid, [&path[..], b"/", &entry.name].concat()));
                }
            }
        }
    }
    Ok(out.write_all(&[0; 2 * RECORD])?)
}

fn pad(out: &mut impl Write, size: u64) -> Result<(), Failure> {
    let over = (size % RECORD as u64) as usize;
    Ok(out.write_all(&[0; RECORD][..(RECORD - over) % RECORD])?)
}

fn header(out: &mut impl Write, name: &[u8], kind: u8, size: u64, link: &[u8]) -> Result<(), Failure> {
    for (long, kind) in [(name, b'L'), (link, b'K')] {
        if long.len() > 100 {
            record(out, b"././@LongLink", kind, long.len() as u64 + 1, &[])?;
            out.write_all(long)?;
            out.write_all(&[0])?;
            pad(out, long.len() as u64 + 1)?;
        }
    }
    record(out, name, kind, size, link)
}

fn record(out: &mut impl Write, name: &[u8], kind: u8, size: u64, link: &[u8]) -> Result<(), Failure> {
    let mut bytes = [0; RECORD];
    let mode: &[u8] = if kind == b'5' { b"0000755\0" } else { b"0000644\0" };
    let size = format!("{size:011o}\0");
    let zero = b"0000000\0";
    for (at, most, text) in [
        (0, 100, name),
        (100, 8, mode),
        (108, 8, &zero[..]),
        (116, 8, &zero[..]),
        (124, 12, size.as_bytes()),
        (136, 12, b"00000000000\0"),
        (148, 8, b"        "),
        (156, 1, &[kind]),
        (157, 100, link),
        (257, 8, b"ustar  \0"),
    ] {
        let length = text.len().min(most);
        bytes[at..at + length].copy_from_slice(&text[..length]);
    }
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(out.write_all(&bytes)?)
}
