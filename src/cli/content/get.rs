//! `cairn content get`: a file or directory, written to disk.
//!
//! The directory comes from a stranger, so nothing in it may lead out of the target. Everything is made in a new
//! directory under a temporary name, in which nothing is ever replaced or followed: names are checked, an entry that
//! is there already is an error, and symbolic links are made last. The target gets its name when it is whole.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::{BufWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use indicatif::ProgressBar;
use serde_json::json;

use super::network::{Extent, FetchArgs};
use super::progress::bytes_bar;
use super::{Common, ContentPath, car, chain, is_stream};
use crate::cli::temporary::{Temporary, check_interrupted, require_free};
use crate::content::ContentReader;
use crate::ipld::read::View;
use crate::ipld::{Cid, Metadata, Mtime, is_entry_name};
use crate::primitives::amount::counted;

/// Options of `cairn content get`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn content get QmThVgYVR9dyaxAcDttKyxXhBk2WskuHZi3HLuoiU9GMXV -o site
  cairn content get bafybei…/img/logo.png
  cairn content get bafybei… --car -o site.car")]
pub struct Args {
    /// A CID, or a path below one
    path: ContentPath,
    /// Where to write it; PATH/ is a directory to write it into [default: its name, here]
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Write a CAR file with all its blocks instead
    #[arg(long)]
    car: bool,
    /// The most files and directories to make: a directory of a few blocks can have more than any disk
    #[arg(long, value_name = "N", default_value_t = 1_000_000, conflicts_with = "car")]
    max_entries: u64,
    #[command(flatten)]
    network: FetchArgs,
}

/// Runs the command.
///
/// # Errors
/// If a block is missing or damaged and cannot be fetched, the target exists, or a name in a directory leads out of it.
pub fn run(args: &Args, store: &ContentReader, common: &Common) -> anyhow::Result<()> {
    if let Some(hash) = chain::block_at(&args.path) {
        ensure!(!args.car, "a block of the chain is written whole: leave out --car");
        return chain::write(hash, &target(args)?, args.network.node(), common);
    }
    let target = match (&args.output, args.car) {
        (Some(output), true) => output.clone(),
        (None, true) => PathBuf::from(format!("{}.car", args.path.file_name())),
        (_, false) => target(args)?,
    };
    let to_stdout = args.car && is_stream(&target);
    if !to_stdout {
        require_free(&target)?;
    }
    let write = || match args.car {
        true => car::write(store, args.path.resolve(store)?, (!to_stdout).then_some(&target), common),
        false => write(args, &target, store, common),
    };
    // What is here is read without asking other nodes.
    match write() {
        Ok(()) => Ok(()),
        Err(error) => {
            args.network.fetch(&args.path, Extent::All, error, common, None, check_interrupted)?;
            write()
        }
    }
}

fn write(args: &Args, target: &Path, store: &ContentReader, common: &Common) -> anyhow::Result<()> {
    let cid = args.path.resolve(store)?;
    let size = store.view(cid, |view| if let View::File(file) = view { file.size } else { 0 })?;
    let bar = bytes_bar(size, false);
    let temporary = Temporary::beside(target)?;
    let mut made = Made { store, bar: &bar, left: args.max_entries, totals: Totals::default(), later: Vec::new() };
    made.entry(cid, temporary.path())?;
    made.finish()?;
    temporary.rename(target).with_context(|| format!("cannot write {}", target.display()))?;
    bar.finish_and_clear();
    let Totals { files, bytes } = made.totals;
    let text = format!("{}: {}, {}", target.display(), counted(files, "file"), counted(bytes, "byte"));
    common.print_outcome(&text, || json!({ "path": target, "cid": cid, "files": files, "bytes": bytes }))
}

/// Where what is got is written. The same command twice must not put the second directory into the first.
fn target(args: &Args) -> anyhow::Result<PathBuf> {
    let name = args.path.file_name();
    let name = checked(name.as_bytes())?;
    Ok(match &args.output {
        Some(output) if names_directory(output) => output.join(name),
        Some(output) => output.clone(),
        None => name.to_owned(),
    })
}

/// Whether a path is that of a directory by its form: it ends in a slash or in dots.
fn names_directory(path: &Path) -> bool {
    path.as_os_str().as_bytes().ends_with(b"/") || path.file_name().is_none()
}

/// A name of an entry, if it can be one on this machine.
fn checked(name: &[u8]) -> anyhow::Result<&Path> {
    ensure!(is_entry_name(name), "{:?} is no name for a file here", String::from_utf8_lossy(name));
    Ok(Path::new(std::ffi::OsStr::from_bytes(name)))
}

#[derive(Default)]
struct Totals {
    files: u64,
    bytes: u64,
}

/// What is done when all files are there.
enum Later {
    Symlink {
        path: PathBuf,
        target: Vec<u8>,
    },
    /// Of directories, which must be writable until then.
    Metadata {
        path: PathBuf,
        metadata: Metadata,
    },
}

struct Made<'a> {
    store: &'a ContentReader,
    bar: &'a ProgressBar,
    /// Entries that may still be made.
    left: u64,
    totals: Totals,
    later: Vec<Later>,
}

impl Made<'_> {
    /// Makes `path`, which must not exist. Recurses no deeper than the file system allows paths to be long.
    fn entry(&mut self, cid: Cid, path: &Path) -> anyhow::Result<()> {
        let cannot = || format!("cannot write {}", path.display());
        check_interrupted()?;
        self.left = self.left.checked_sub(1).context("the directory has more entries than --max-entries allows")?;
        enum Kind {
            File(Metadata),
            Directory,
            Symlink(Vec<u8>),
        }
        let kind = self.store.view(cid, |view| match view {
            View::File(file) => Kind::File(file.metadata),
            View::Directory { .. } | View::Shard { .. } => Kind::Directory,
            View::Symlink { target, .. } => Kind::Symlink(target.to_vec()),
        })?;
        match kind {
            Kind::File(metadata) => {
                let file = File::create_new(path).with_context(cannot)?;
                let mut out = BufWriter::new(&file);
                self.store.read_file(cid, 0..u64::MAX, |bytes| {
                    check_interrupted()?;
                    self.totals.bytes += bytes.len() as u64;
                    self.bar.inc(bytes.len() as u64);
                    out.write_all(bytes).with_context(cannot)
                })?;
                out.flush().with_context(cannot)?;
                drop(out);
                set_metadata(&file, metadata).and_then(|()| file.sync_all()).with_context(cannot)?;
                self.totals.files += 1;
            }
            Kind::Directory => {
                fs::create_dir(path).with_context(cannot)?;
                let (entries, metadata) = self.store.list(cid)?;
                for entry in entries {
                    self.entry(entry.cid, &path.join(checked(&entry.name)?))?;
                }
                self.later.push(Later::Metadata { path: path.to_owned(), metadata });
            }
            Kind::Symlink(target) => self.later.push(Later::Symlink { path: path.to_owned(), target }),
        }
        Ok(())
    }

    /// Makes links, and then gives directories their modes and times: those below first.
    fn finish(&mut self) -> anyhow::Result<()> {
        let (links, directories): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.later).into_iter().partition(|later| matches!(later, Later::Symlink { .. }));
        for later in links.into_iter().chain(directories) {
            check_interrupted()?;
            let (path, done) = match later {
                Later::Symlink { path, target } => {
                    let made = symlink(std::ffi::OsStr::from_bytes(&target), &path);
                    (path, made)
                }
                Later::Metadata { path, metadata } => {
                    let set = File::open(&path).and_then(|dir| set_metadata(&dir, metadata));
                    (path, set)
                }
            };
            done.with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }
}

fn set_metadata(file: &File, metadata: Metadata) -> std::io::Result<()> {
    if let Some(time) = metadata.mtime.and_then(system_time) {
        file.set_times(FileTimes::new().set_modified(time))?;
    }
    match metadata.mode {
        Some(mode) => file.set_permissions(Permissions::from_mode(mode.bits())),
        None => Ok(()),
    }
}

/// `None` if this machine has no such time.
fn system_time(mtime: Mtime) -> Option<SystemTime> {
    let secs = Duration::from_secs(mtime.secs.unsigned_abs());
    let time = if mtime.secs < 0 { UNIX_EPOCH.checked_sub(secs) } else { UNIX_EPOCH.checked_add(secs) };
    time?.checked_add(Duration::from_nanos(mtime.nanos.into()))
}
