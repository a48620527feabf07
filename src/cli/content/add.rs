//! `cairn content add`.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, IsTerminal};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use anyhow::{Context, ensure};
use clap::ArgAction;
use indicatif::ProgressBar;
use serde_json::json;

use super::progress::bytes_bar;
use super::tree::{FileId, Rules, Walk, bytes_below, file_id};
use super::{Common, is_stream, printable};
use crate::cli::{UsageError, print_line};
use crate::content::{ContentError, ContentStore, Pin, PinKind, PinName};
use crate::ipld::{
    Block, Choices, ChunkSize, Cid, CidVersion, DirectoryBuilder, Fanout, HashFunction, InlineLimit, Layout,
    MaxFileLinks, Metadata, Mode, Mtime, OptionsError, Profile, Root,
};

/// Blocks that may wait for the thread that stores them: at most 16 MiB.
const WAITING_BLOCKS: usize = 8;

/// Options of `cairn content add`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn content add notes.txt
  cairn content add -r -w site img.png
  cairn content add -Q --only-hash --cid-version 1 film.mp4
  tar c site | cairn content add -Q --stdin-name site.tar -w")]
pub struct Args {
    /// Files and directories; stdin if there is none, or for -
    paths: Vec<PathBuf>,
    /// Add directories with all below them
    #[arg(short, long)]
    recursive: bool,
    /// Put what is added into a directory, so that it keeps its name
    #[arg(short, long)]
    wrap_with_directory: bool,
    /// Print CIDs only
    #[arg(short, long)]
    quiet: bool,
    /// Print the last CID only
    #[arg(short = 'Q', long)]
    quieter: bool,
    /// Print nothing
    #[arg(long)]
    silent: bool,
    /// Show a progress bar [default: if stderr is a terminal]
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    progress: Option<bool>,
    /// Compute CIDs, and store nothing
    #[arg(short = 'n', long)]
    only_hash: bool,
    /// Keep what is added when blocks are collected
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true",
        value_name = "BOOL",
        action = ArgAction::Set
    )]
    pin: bool,
    /// Name of the pin
    #[arg(long, value_name = "NAME")]
    pin_name: Option<PinName>,
    /// Name of stdin in the directory of -w
    #[arg(long, value_name = "NAME")]
    stdin_name: Option<String>,
    /// Add files whose names begin with a dot, too
    #[arg(short = 'H', long)]
    hidden: bool,
    /// Add what links among the PATHS lead to
    #[arg(long)]
    dereference_args: bool,
    /// Add what links lead to, everywhere
    #[arg(long)]
    dereference_symlinks: bool,
    /// Defaults of all options below: unixfs-v0-2015 or unixfs-v1-2025
    #[arg(long, value_name = "NAME", default_value = "unixfs-v0-2015", value_parser = profile)]
    profile: Profile,
    /// 0 or 1, which implies raw leaves [default: 0]
    #[arg(long, value_name = "VERSION", value_parser = cid_version)]
    cid_version: Option<CidVersion>,
    /// The hash function; another than sha2-256 implies CIDs of version 1 [default: sha2-256]
    #[arg(long, value_name = "NAME", value_parser = hash)]
    hash: Option<HashFunction>,
    /// Store pieces of files without anything around them
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    raw_leaves: Option<bool>,
    /// How files are cut: size-BYTES, up to size-2096896 [default: size-262144]
    #[arg(short = 's', long, value_name = "CHUNKER", value_parser = chunker)]
    chunker: Option<ChunkSize>,
    /// Arrange a file's pieces for reading from the start
    #[arg(short, long)]
    trickle: bool,
    /// Links in a node of a file, at most [default: 174]
    #[arg(long, value_name = "N", value_parser = file_links)]
    max_file_links: Option<MaxFileLinks>,
    /// Entries of a directory in one node, at most [default: by size]
    #[arg(long, value_name = "N")]
    max_directory_links: Option<NonZeroUsize>,
    /// Width of the nodes of a large directory [default: 256]
    #[arg(long, value_name = "N", value_parser = fanout)]
    max_hamt_fanout: Option<Fanout>,
    /// Put small blocks into their CIDs
    #[arg(long)]
    inline: bool,
    /// The largest of these blocks, in bytes
    #[arg(long, value_name = "BYTES", default_value = "32", value_parser = inline_limit)]
    inline_limit: InlineLimit,
    /// Keep the permissions of files and directories
    #[arg(long)]
    preserve_mode: bool,
    /// Keep the times of last modification
    #[arg(long)]
    preserve_mtime: bool,
    /// Permissions for all that is added; octal begins with 0
    #[arg(long, value_name = "MODE", value_parser = mode)]
    mode: Option<u32>,
    /// Time for all that is added, in seconds since 1970
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    mtime: Option<i64>,
    /// Nanoseconds of that time
    #[arg(long, value_name = "NANOS", requires = "mtime", value_parser = clap::value_parser!(u32).range(..1_000_000_000))]
    mtime_nsecs: Option<u32>,
}

fn profile(text: &str) -> Result<Profile, String> {
    let found = Profile::NAMES.into_iter().find(|(name, _)| *name == text);
    found
        .map(|(_, profile)| profile)
        .ok_or_else(|| format!("expected {}", Profile::NAMES.map(|row| row.0).join(" or ")))
}

fn cid_version(text: &str) -> Result<CidVersion, String> {
    match text {
        "0" => Ok(CidVersion::V0),
        "1" => Ok(CidVersion::V1),
        _ => Err("expected 0 or 1".to_owned()),
    }
}

fn hash(text: &str) -> Result<HashFunction, String> {
    let names = || HashFunction::names().collect::<Vec<_>>().join(", ");
    HashFunction::from_name(text).ok_or_else(|| format!("expected one of {}", names()))
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "expected a number".to_owned())
}

fn chunker(text: &str) -> Result<ChunkSize, String> {
    match text.strip_prefix("size-") {
        Some(bytes) => ChunkSize::new(number(bytes)?).map_err(|error| error.to_string()),
        None if text == "default" => ChunkSize::new(262_144).map_err(|error| error.to_string()),
        None => Err("expected size-BYTES; rabin and buzhash are not available".to_owned()),
    }
}

fn file_links(text: &str) -> Result<MaxFileLinks, String> {
    MaxFileLinks::new(number(text)?).map_err(|error| error.to_string())
}

fn fanout(text: &str) -> Result<Fanout, String> {
    Fanout::new(number(text)?).map_err(|error| error.to_string())
}

fn inline_limit(text: &str) -> Result<InlineLimit, String> {
    InlineLimit::new(number(text)?).map_err(|error| error.to_string())
}

/// As Kubo reads it: octal behind 0 or 0o, hexadecimal behind 0x, else decimal.
fn mode(text: &str) -> Result<u32, String> {
    let read = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => match text.strip_prefix("0o").or_else(|| text.strip_prefix('0')) {
            Some("") => Ok(0),
            Some(digits) => u32::from_str_radix(digits, 8),
            None => text.parse(),
        },
    };
    read.map_err(|_| "expected permissions such as 0644".to_owned())
}

impl Args {
    fn rules(&self) -> Result<Rules, OptionsError> {
        let choices = Choices {
            profile: self.profile,
            cid_version: self.cid_version,
            hash: self.hash,
            raw_leaves: self.raw_leaves,
            chunk_size: self.chunker,
            max_file_links: self.max_file_links,
            layout: self.trickle.then_some(Layout::Trickle),
            inline: self.inline.then_some(self.inline_limit),
            max_directory_links: self.max_directory_links,
            fanout: self.max_hamt_fanout,
            sharding_threshold: None,
        };
        let mtime = self.mtime.filter(|secs| *secs != 0);
        Ok(Rules {
            options: choices.options()?,
            metadata: Metadata {
                mode: self.mode.and_then(Mode::from_bits),
                mtime: mtime.map(|secs| Mtime { secs, nanos: self.mtime_nsecs.unwrap_or(0) }),
            },
            preserve_mode: self.preserve_mode,
            preserve_mtime: self.preserve_mtime,
            hidden: self.hidden,
            dereference: self.dereference_symlinks,
        })
    }
}

/// What was added under a name.
struct Added {
    name: String,
    root: Root,
}

/// What is added, to be printed once it is stored.
struct Listing<'a> {
    bar: &'a ProgressBar,
    /// Lines are printed, or only CIDs.
    is_printed: bool,
    is_quiet: bool,
    files: Vec<Added>,
    /// Printed after the files, as Kubo does.
    directories: Vec<Added>,
}

impl Listing<'_> {
    fn take(&mut self, shown: &Path, root: Root, is_directory: bool) {
        let list = if is_directory { &mut self.directories } else { &mut self.files };
        list.push(Added { name: shown.display().to_string(), root });
    }

    fn print(&self, Added { name, root }: &Added) -> anyhow::Result<()> {
        let line = if self.is_quiet { root.cid.to_string() } else { format!("added {} {}", root.cid, printable(name)) };
        if self.is_printed { self.bar.suspend(|| print_line(line.trim_end())) } else { Ok(()) }
    }
}

/// Runs the command.
///
/// # Errors
/// If a file cannot be read, or the store fails.
pub fn run(args: &Args, open: impl FnOnce() -> anyhow::Result<ContentStore>, common: &Common) -> anyhow::Result<()> {
    let rules = args.rules().map_err(|error| UsageError(error.to_string()))?;
    let stdin = [PathBuf::from("-")];
    let paths = if args.paths.is_empty() { &stdin[..] } else { &args.paths };
    check(args, paths)?;
    let is_shown = args.progress.unwrap_or_else(|| io::stderr().is_terminal() && !args.quiet && !args.quieter);
    let total = if is_shown { paths.iter().map(|path| bytes_below(path, args.hidden)).sum() } else { 0 };
    let bar = bytes_bar(total, !is_shown);
    let mut listing = Listing {
        bar: &bar,
        is_printed: !args.silent && !args.quieter && !common.json(),
        is_quiet: args.quiet,
        files: Vec::new(),
        directories: Vec::new(),
    };
    let roots = if args.only_hash {
        add(args, paths, &rules, &mut |_| Ok(()), &mut listing, None)?
    } else {
        store(args, paths, &rules, open()?, &mut listing)?
    };
    bar.finish_and_clear();
    listing.files.iter().chain(&listing.directories).try_for_each(|added| listing.print(added))?;
    let last = roots.last().context("nothing was added")?;
    if common.json() {
        let entry = |Added { name, root }: &Added| json!({ "name": name, "cid": root.cid, "size": root.dag_size });
        let entries: Vec<_> = listing.files.iter().chain(&listing.directories).map(entry).collect();
        let result = json!({ "roots": roots, "added": entries, "stored": !args.only_hash });
        return common.print_done(format_args!("{last} is added"), String::new, || result);
    }
    if args.quieter && !args.silent { print_line(&last.to_string()) } else { Ok(()) }
}

/// Adds and pins. A thread of its own stores blocks, while others are read and hashed.
fn store(
    args: &Args,
    paths: &[PathBuf],
    rules: &Rules,
    mut store: ContentStore,
    listing: &mut Listing,
) -> anyhow::Result<Vec<Cid>> {
    let own = store.dir().metadata().ok().map(|found| file_id(&found));
    let (sender, blocks) = mpsc::sync_channel::<Block>(WAITING_BLOCKS);
    thread::scope(|scope| {
        let writer = thread::Builder::new().name("content".to_owned()).spawn_scoped(scope, move || {
            blocks.into_iter().try_for_each(|block| store.put(&block))?;
            Ok::<ContentStore, ContentError>(store)
        })?;
        let mut sink = |block| sender.send(block).context("the store has failed");
        let added = add(args, paths, rules, &mut sink, listing, own);
        drop(sender);
        // Its own error says more than that it takes no blocks.
        let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let (mut store, roots) = (written?, added?);
        let name = args.pin_name.clone().unwrap_or_default();
        for cid in roots.iter().filter(|_| args.pin) {
            store.pin(&Pin { cid: *cid, kind: PinKind::Recursive, name: name.clone() })?;
        }
        store.flush()?;
        Ok(roots)
    })
}

/// Makes the blocks of all paths. Returns the CID of each, or of the directory around them.
fn add(
    args: &Args,
    paths: &[PathBuf],
    rules: &Rules,
    sink: &mut dyn FnMut(Block) -> anyhow::Result<()>,
    listing: &mut Listing,
    store: Option<FileId>,
) -> anyhow::Result<Vec<Cid>> {
    let bar = listing.bar;
    let progress = |bytes| bar.inc(bytes);
    let mut added = |shown: &Path, root, is_directory| listing.take(shown, root, is_directory);
    let mut walk = Walk::new(rules, sink, &mut added, &progress, store);
    let mut entries = Vec::new();
    for path in paths {
        entries.push(if is_stream(path) {
            let root = walk.stream(io::stdin().lock(), rules.metadata).context("cannot read stdin")?;
            let name = args.stdin_name.clone().unwrap_or_else(|| root.cid.to_string());
            (walk.added)(Path::new(&name), root, false);
            root.named(name)
        } else {
            let name = name_of(path)?;
            let dereference = args.dereference_symlinks || args.dereference_args;
            let root = walk.add(path, Path::new(OsStr::from_bytes(&name)), dereference)?;
            root.named(name)
        });
    }
    if !args.wrap_with_directory {
        return Ok(entries.into_iter().map(|entry| entry.cid).collect());
    }
    let mut directory = DirectoryBuilder::new();
    entries.into_iter().try_for_each(|entry| directory.insert(entry))?;
    let root = directory.finish(rules.metadata, &rules.options, &mut walk.sink)?;
    (walk.added)(Path::new(""), root, true);
    Ok(vec![root.cid])
}

/// Finds faults before anything is read.
fn check(args: &Args, paths: &[PathBuf]) -> anyhow::Result<()> {
    let mut names = BTreeSet::new();
    for path in paths.iter().filter(|path| !is_stream(path)) {
        let dereference = args.dereference_symlinks || args.dereference_args;
        let found = if dereference { path.metadata() } else { path.symlink_metadata() };
        let found = found.with_context(|| format!("cannot read {}", path.display()))?;
        ensure!(args.recursive || !found.is_dir(), "{} is a directory: add it with -r", path.display());
        let is_new = names.insert(name_of(path)?);
        ensure!(is_new || !args.wrap_with_directory, "{} has the same name as another", path.display());
    }
    ensure!(paths.iter().filter(|path| is_stream(path)).count() <= 1, "stdin can be added once");
    Ok(())
}

/// The last name of a path, of `.` and `/.` too.
fn name_of(path: &Path) -> anyhow::Result<Vec<u8>> {
    let name = match path.file_name() {
        Some(name) => name.as_bytes().to_vec(),
        None => {
            let whole = path.canonicalize().with_context(|| format!("cannot read {}", path.display()))?;
            whole.file_name().map(|name| name.as_bytes().to_vec()).unwrap_or_default()
        }
    };
    ensure!(!name.is_empty(), "{} has no name", path.display());
    Ok(name)
}
