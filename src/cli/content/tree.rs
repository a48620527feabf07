//! Files and directories of this machine, turned into blocks.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, bail, ensure};

use crate::ipld::{self, BATCH_BYTES, Block, DirectoryBuilder, FileBuilder, Metadata, Mode, Mtime, Options, Root};

/// Memory for bytes that are read: of two pieces, one is read while the other is hashed.
const PIECES: usize = 2;

/// What of the file system is added, and how.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub options: Options,
    /// Of everything that has none of its own.
    pub metadata: Metadata,
    pub preserve_mode: bool,
    pub preserve_mtime: bool,
    /// Entries whose names begin with a dot, too.
    pub hidden: bool,
    /// What links lead to, in place of links.
    pub dereference: bool,
}

impl Rules {
    fn metadata_of(&self, file: &fs::Metadata) -> Metadata {
        let mtime = Mtime { secs: file.mtime(), nanos: u32::try_from(file.mtime_nsec()).unwrap_or(0) };
        Metadata {
            mode: if self.preserve_mode { Mode::from_bits(file.mode()) } else { self.metadata.mode },
            mtime: if self.preserve_mtime { Some(mtime) } else { self.metadata.mtime },
        }
    }
}

/// Device and number of a file.
pub type FileId = (u64, u64);

/// What two paths to the same file have in common.
pub fn file_id(found: &fs::Metadata) -> FileId {
    (found.dev(), found.ino())
}

/// Walks through files and directories. Blocks go to `sink`; entries, each with the path it is printed with, to `added`.
pub struct Walk<'a> {
    pub rules: &'a Rules,
    pub sink: &'a mut dyn FnMut(Block) -> anyhow::Result<()>,
    pub added: &'a mut dyn FnMut(&Path, Root, bool),
    /// Bytes that were read.
    pub progress: &'a dyn Fn(u64),
    /// The store's own directory, which would grow while it is added.
    pub store: Option<FileId>,
    /// The directories above, which a link may lead back to.
    above: Vec<FileId>,
    /// Memory for the bytes of a file.
    piece: Vec<u8>,
}

impl<'a> Walk<'a> {
    pub fn new(
        rules: &'a Rules,
        sink: &'a mut dyn FnMut(Block) -> anyhow::Result<()>,
        added: &'a mut dyn FnMut(&Path, Root, bool),
        progress: &'a dyn Fn(u64),
        store: Option<FileId>,
    ) -> Self {
        Self { rules, sink, added, progress, store, above: Vec::new(), piece: Vec::new() }
    }

    /// Adds what is at `path`, printed as `shown`.
    pub fn add(&mut self, path: &Path, shown: &Path, dereference: bool) -> anyhow::Result<Root> {
        let cannot = || format!("cannot read {}", path.display());
        let found = if dereference { fs::metadata(path) } else { fs::symlink_metadata(path) };
        let found = found.with_context(cannot)?;
        let metadata = self.rules.metadata_of(&found);
        let kind = found.file_type();
        let root = if kind.is_file() {
            self.file(File::open(path).with_context(cannot)?, metadata).with_context(cannot)?
        } else if kind.is_symlink() {
            let target = fs::read_link(path).with_context(cannot)?;
            ipld::symlink(target.as_os_str().as_bytes(), metadata, &self.rules.options, &mut self.sink)?
        } else if kind.is_dir() {
            let id = file_id(&found);
            ensure!(self.store != Some(id), "{} is the store itself", path.display());
            ensure!(!self.above.contains(&id), "{} is a link to a directory above it", path.display());
            self.above.push(id);
            let root = self.directory(path, shown, metadata)?;
            self.above.pop();
            root
        } else {
            bail!("{} is neither a file nor a directory nor a symbolic link", path.display());
        };
        (self.added)(shown, root, kind.is_dir());
        Ok(root)
    }

    /// Adds the bytes of a stream.
    pub fn stream(&mut self, mut input: impl Read, metadata: Metadata) -> anyhow::Result<Root> {
        let mut builder = FileBuilder::new(&self.rules.options, metadata);
        while self.piece(&mut builder, &mut input)? {}
        builder.finish(&mut self.sink)
    }

    /// Adds the bytes of a file. Of a large one, a thread of its own reads on while bytes are hashed.
    fn file(&mut self, mut input: File, metadata: Metadata) -> anyhow::Result<Root> {
        let mut builder = FileBuilder::new(&self.rules.options, metadata);
        if self.piece(&mut builder, &mut input)? {
            self.read_on(&mut builder, input)?;
        }
        builder.finish(&mut self.sink)
    }

    /// Adds as many bytes as are hashed together. `false` if the input has ended.
    fn piece(&mut self, builder: &mut FileBuilder, input: &mut impl Read) -> anyhow::Result<bool> {
        self.piece.resize(BATCH_BYTES, 0);
        let count = read_full(input, &mut self.piece)?;
        builder.write(&self.piece[..count], &mut self.sink)?;
        (self.progress)(count as u64);
        Ok(count == BATCH_BYTES)
    }

    /// Adds what follows in a large file.
    fn read_on(&mut self, builder: &mut FileBuilder, mut input: File) -> anyhow::Result<()> {
        thread::scope(|scope| {
            let (free, emptied) = mpsc::channel::<Vec<u8>>();
            let (filled, pieces) = mpsc::sync_channel(PIECES);
            for _ in 0..PIECES {
                free.send(vec![0; BATCH_BYTES])?;
            }
            let reader = thread::Builder::new().name("reader".to_owned());
            reader.spawn_scoped(scope, move || {
                for mut piece in emptied {
                    let count = read_full(&mut input, &mut piece);
                    let is_last = count.as_ref().map_or(true, |count| *count < piece.len());
                    // Fails if the receiver is gone.
                    if filled.send((piece, count)).is_err() || is_last {
                        return;
                    }
                }
            })?;
            for (piece, count) in pieces {
                let count = count?;
                builder.write(&piece[..count], &mut self.sink)?;
                (self.progress)(count as u64);
                // Fails after the last.
                let _ = free.send(piece);
            }
            Ok(())
        })
    }

    fn directory(&mut self, path: &Path, shown: &Path, metadata: Metadata) -> anyhow::Result<Root> {
        let mut builder = DirectoryBuilder::new();
        for (name, path) in entries(path, self.rules.hidden)? {
            let root = self.add(&path, &shown.join(OsStr::from_bytes(&name)), self.rules.dereference)?;
            builder.insert(root.named(name))?;
        }
        builder.finish(metadata, &self.rules.options, &mut self.sink)
    }
}

/// Reads until a piece is full or the input ends.
fn read_full(input: &mut impl Read, piece: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match input.read(&mut piece[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Names and paths of a directory's entries, in order.
fn entries(dir: &Path, hidden: bool) -> anyhow::Result<BTreeMap<Vec<u8>, PathBuf>> {
    let cannot = || format!("cannot read {}", dir.display());
    let mut entries = BTreeMap::new();
    for entry in fs::read_dir(dir).with_context(cannot)? {
        let entry = entry.with_context(cannot)?;
        let name = entry.file_name().as_bytes().to_vec();
        if hidden || !name.starts_with(b".") {
            entries.insert(name, entry.path());
        }
    }
    Ok(entries)
}

/// Bytes of the files at or below a path, as far as they can be seen: for a progress bar.
pub fn bytes_below(path: &Path, hidden: bool) -> u64 {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => {
            entries(path, hidden).map_or(0, |entries| entries.values().map(|path| bytes_below(path, hidden)).sum())
        }
        Ok(found) if found.is_file() => found.len(),
        _ => 0,
    }
}
