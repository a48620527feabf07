//! `cairn content cat`, `ls` and `stat`.

use std::io::{self, Write};

use serde_json::{Value, json};

use super::network::{Extent, FetchArgs, is_lacking};
use super::progress::bytes_bar;
use super::{Common, ContentPath, chain, printable};
use crate::cli::{OutputError, print_line};
use crate::content::{ContentError, ContentReader, PinKind};
use crate::ipld::read::{Entry, ReadError, View};
use crate::ipld::{Cid, Codec, Metadata};
use crate::primitives::amount::counted;

/// Options of `cairn content cat`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn content cat QmVHSVH26fFdERFg5ryjofNbTETen2TFfLCqKoMKbUHZ8D > film.mp4
  cairn content cat bafybei…/notes.txt --offset 100 --length 20")]
pub struct CatArgs {
    /// CIDs, or paths below some
    #[arg(required = true)]
    paths: Vec<ContentPath>,
    /// Bytes to leave out at the start
    #[arg(short, long, value_name = "BYTES", default_value_t = 0)]
    offset: u64,
    /// Bytes to write, at most
    #[arg(short, long, value_name = "BYTES")]
    length: Option<u64>,
    #[command(flatten)]
    network: FetchArgs,
}

/// The file at the end of a path, and its size.
fn file_at(path: &ContentPath, store: &ContentReader) -> anyhow::Result<(Cid, u64)> {
    let cid = path.resolve(store)?;
    let size = store.view(cid, |view| match view {
        View::File(file) => Ok(file.size),
        other => Err(ReadError::Kind { cid: cid.into(), got: other.kind(), expected: "a file" }),
    })?;
    Ok((cid, size.map_err(ContentError::Read)?))
}

/// Writes files to stdout, one after the other. Offset and length are those of all together, as in Kubo.
pub fn cat(args: &CatArgs, store: &ContentReader, common: &Common) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    let (mut skip, mut left) = (args.offset, args.length.unwrap_or(u64::MAX));
    for path in &args.paths {
        if let Some(hash) = chain::block_at(path) {
            let bytes = chain::read(hash, args.network.node(), common)?;
            let from = usize::try_from(skip).unwrap_or(usize::MAX).min(bytes.len());
            let part = &bytes[from..];
            let part = &part[..usize::try_from(left).unwrap_or(usize::MAX).min(part.len())];
            (skip, left) = (skip - from as u64, left - part.len() as u64);
            out.write_all(part).map_err(OutputError)?;
            continue;
        }
        let (cid, size) = match file_at(path, store) {
            Ok(file) => file,
            Err(error) => {
                args.network.fetch(path, Extent::Block, error, common, None, || Ok(()))?;
                file_at(path, store)?
            }
        };
        let start = skip.min(size);
        let end = start.saturating_add(left).min(size);
        (skip, left) = (skip - start, left - (end - start));
        let bar = bytes_bar(end - start, io::IsTerminal::is_terminal(&out));
        let mut from = start;
        let mut write = |from: &mut u64| {
            store.read_file(cid, *from..end, |bytes| {
                bar.inc(bytes.len() as u64);
                *from += bytes.len() as u64;
                out.write_all(bytes).map_err(|error| anyhow::Error::from(OutputError(error)))
            })
        };
        if let Err(error) = write(&mut from) {
            // No more than is to be written.
            let extent = Extent::Bytes { offset: from, length: end - from };
            let mut write_on = || match write(&mut from) {
                Err(error) if is_lacking(&error) => Ok(()),
                written => written,
            };
            args.network.fetch(path, extent, error, common, Some(&bar), &mut write_on)?;
            write(&mut from)?;
        }
        bar.finish_and_clear();
    }
    Ok(out.flush().map_err(OutputError)?)
}

/// Options of `cairn content ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  cairn content ls QmThVgYVR9dyaxAcDttKyxXhBk2WskuHZi3HLuoiU9GMXV/sub")]
pub struct LsArgs {
    /// CIDs of directories, or paths below some
    #[arg(required = true)]
    paths: Vec<ContentPath>,
}

/// An entry's kind, and its size if it is a file. An entry whose block is not here has neither.
fn look(store: &ContentReader, entry: &Entry) -> Result<(&'static str, Option<u64>), ContentError> {
    let look = |view: &View| match view {
        View::File(file) => ("file", Some(file.size)),
        View::Directory { .. } | View::Shard { .. } => ("directory", None),
        View::Symlink { .. } => ("symlink", None),
    };
    match store.view(entry.cid, look) {
        Err(ContentError::Missing { .. } | ContentError::Read(ReadError::Codec { .. })) => Ok(("unknown", None)),
        other => other,
    }
}

/// Lists directories: CID, bytes and name of each entry, a `/` behind directories.
pub fn ls(args: &LsArgs, store: &ContentReader, common: &Common) -> anyhow::Result<()> {
    let mut results = Vec::new();
    for path in &args.paths {
        let (entries, _) = store.list(path.resolve(store)?)?;
        if args.paths.len() > 1 && !common.json() {
            print_line(&format!("{path}:"))?;
        }
        let mut list = Vec::new();
        for entry in entries {
            let (kind, size) = look(store, &entry)?;
            let name = String::from_utf8_lossy(&entry.name);
            if common.json() {
                list.push(json!({ "name": name, "cid": entry.cid, "type": kind, "size": size }));
                continue;
            }
            let size = size.map_or_else(|| "-".to_owned(), |size| size.to_string());
            let mark = if kind == "directory" { "/" } else { "" };
            print_line(&format!("{} {size} {}{mark}", entry.cid, printable(&name)))?;
        }
        results.push(json!({ "path": path.to_string(), "entries": list }));
    }
    if common.json() { common.print(String::new, || Value::from(results)) } else { Ok(()) }
}

/// Options of `cairn content stat`.
#[derive(Debug, clap::Args)]
pub struct StatArgs {
    /// A CID, or a path below one; without it, the store is described
    path: Option<ContentPath>,
}

/// Describes a block and the DAG below it, or the store.
pub fn stat(args: &StatArgs, store: &ContentReader, max_bytes: u64, common: &Common) -> anyhow::Result<()> {
    let Some(path) = &args.path else { return stat_store(store, max_bytes, common) };
    let cid = path.resolve(store)?;
    let block = store.get(&cid)?.bytes().len();
    let (mut kind, mut size, mut target, mut metadata) = (cid.codec().to_string(), None, None, Metadata::NONE);
    if [Codec::RAW, Codec::DAG_PB].contains(&cid.codec()) {
        store.view(cid, |view| {
            metadata = view.metadata();
            kind = match view {
                View::File(file) => {
                    size = Some(file.size);
                    "file".to_owned()
                }
                View::Directory { .. } => "directory".to_owned(),
                View::Shard { .. } => "sharded directory".to_owned(),
                View::Symlink { target: to, .. } => {
                    target = Some(String::from_utf8_lossy(to).into_owned());
                    "symlink".to_owned()
                }
            };
        })?;
    }
    let totals = match store.totals(cid) {
        Err(ContentError::Read(ReadError::Codec { .. })) => None,
        totals => Some(totals?),
    };
    let pin = store.pins()?.into_iter().find(|pin| pin.cid == cid).map(|pin| pin.kind.to_string());
    let text = || {
        let mut lines = vec![format!("{cid}"), format!("type       {kind}")];
        lines.extend(size.map(|size| format!("size       {}", counted(size, "byte"))));
        lines.extend(target.as_ref().map(|target| format!("target     {}", printable(target))));
        lines.extend(metadata.mode.map(|mode| format!("mode       {:04o}", mode.bits())));
        lines.extend(metadata.mtime.map(|mtime| format!("mtime      {}.{:09}", mtime.secs, mtime.nanos)));
        lines.push(format!("block      {}", counted(block, "byte")));
        lines.extend(
            totals.map(|all| format!("all        {} in {}", counted(all.bytes, "byte"), counted(all.blocks, "block"))),
        );
        lines.push(format!("pinned     {}", pin.as_deref().unwrap_or("no root of a pin")));
        lines.join("\n")
    };
    common.print(text, || {
        json!({
            "cid": cid,
            "type": kind,
            "size": size,
            "target": target,
            "mode": metadata.mode.map(|mode| format!("{:04o}", mode.bits())),
            "mtime": metadata.mtime.map(|mtime| mtime.secs),
            "mtime_nsecs": metadata.mtime.map(|mtime| mtime.nanos),
            "block_bytes": block,
            "blocks": totals.map(|all| all.blocks),
            "bytes": totals.map(|all| all.bytes),
            "pin": pin,
        })
    })
}

fn stat_store(store: &ContentReader, max: u64, common: &Common) -> anyhow::Result<()> {
    let (usage, pins) = (store.usage()?, store.pins()?);
    let recursive = pins.iter().filter(|pin| pin.kind == PinKind::Recursive).count();
    let text = || {
        let (blocks, pins) = (counted(usage.blocks, "block"), counted(pins.len(), "pin"));
        format!("{}: {blocks}, {pins}, {} of at most {max} bytes", store.dir().display(), usage.bytes)
    };
    common.print(text, || {
        json!({
            "dir": store.dir(),
            "blocks": usage.blocks,
            "bytes": usage.bytes,
            "max_bytes": max,
            "recursive_pins": recursive,
            "direct_pins": pins.len() - recursive,
        })
    })
}
