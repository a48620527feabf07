//! `cairn content export` and `import`: DAGs in CAR files.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::ArgAction;
use serde_json::json;

use super::progress::bytes_bar;
use super::{Common, ContentPath, is_stream};
use crate::cli::OutputError;
use crate::cli::temporary::{Temporary, check_interrupted};
use crate::content::{ContentReader, ContentStore, Pin, PinKind, PinName, Usage};
use crate::ipld::Cid;
use crate::ipld::car::{self, CarReader};
use crate::primitives::amount::counted;

/// Options of `cairn content export`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn content export QmThVgYVR9dyaxAcDttKyxXhBk2WskuHZi3HLuoiU9GMXV > site.car
  cairn content export bafybei…/img -o img.car")]
pub struct ExportArgs {
    /// A CID, or a path below one
    path: ContentPath,
    /// Where to write it [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Runs `cairn content export`.
pub fn export(args: &ExportArgs, store: &ContentReader, common: &Common) -> anyhow::Result<()> {
    let output = args.output.as_ref().filter(|output| !is_stream(output));
    write(store, args.path.resolve(store)?, output.map(PathBuf::as_path), common)
}

/// Writes the DAG below a CID as a CAR, to a new file or to stdout.
pub fn write(store: &ContentReader, root: Cid, output: Option<&Path>, common: &Common) -> anyhow::Result<()> {
    let Some(path) = output else {
        let out = io::stdout().lock();
        ensure!(!out.is_terminal(), "a CAR is no text: give a file with -o, or pipe stdout somewhere");
        // Whatever is lacking is found before the first byte is written.
        store.totals(root)?;
        write_blocks(store, root, out, |error| OutputError(error).into())?;
        return Ok(());
    };
    let cannot = || format!("cannot write {}", path.display());
    let temporary = Temporary::beside(path)?;
    let file = File::create_new(temporary.path()).with_context(cannot)?;
    let Usage { bytes, blocks } =
        write_blocks(store, root, &file, |error| anyhow::Error::from(error).context(cannot()))?;
    file.sync_all().with_context(cannot)?;
    temporary.rename(path).with_context(cannot)?;
    let text = format!("{}: {} with {}", path.display(), counted(blocks, "block"), counted(bytes, "byte"));
    let json = || json!({ "path": path, "root": root, "blocks": blocks, "bytes": bytes });
    common.print_outcome(&text, json)
}

fn write_blocks(
    store: &ContentReader,
    root: Cid,
    out: impl Write,
    cannot: impl Fn(io::Error) -> anyhow::Error,
) -> anyhow::Result<Usage> {
    let mut out = BufWriter::with_capacity(1 << 20, out);
    let mut totals = Usage::default();
    let bar = bytes_bar(0, false);
    out.write_all(&car::header(&[root])).map_err(&cannot)?;
    store.walk([root], |block| {
        check_interrupted()?;
        // What a CID holds itself is no section of its own, as in Kubo.
        if block.cid().inline().is_some() {
            return Ok(());
        }
        car::write_block(&mut out, block.cid(), block.bytes()).map_err(&cannot)?;
        let bytes = block.bytes().len() as u64;
        totals = Usage { bytes: totals.bytes + bytes, blocks: totals.blocks + 1 };
        bar.inc(bytes);
        anyhow::Ok(())
    })?;
    out.flush().map_err(&cannot)?;
    bar.finish_and_clear();
    Ok(totals)
}

/// Options of `cairn content import`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cairn content import site.car
  cairn content import --pin-roots=false < site.car")]
pub struct ImportArgs {
    /// CAR files of version 1 or 2; stdin if there is none, or for -
    files: Vec<PathBuf>,
    /// Pin the roots that the files name
    #[arg(
        long,
        num_args = 0..=1,
        require_equals = true,
        default_value = "true",
        default_missing_value = "true",
        value_name = "BOOL",
        action = ArgAction::Set
    )]
    pin_roots: bool,
}

/// Runs `cairn content import`.
pub fn import(args: &ImportArgs, store: &mut ContentStore, common: &Common) -> anyhow::Result<()> {
    let stdin = [PathBuf::from("-")];
    let files = if args.files.is_empty() { &stdin[..] } else { &args.files };
    let (mut totals, mut roots) = (Usage::default(), Vec::new());
    for path in files {
        let cannot = || format!("cannot import {}", path.display());
        if is_stream(path) {
            take(store, io::stdin().lock(), 0, &mut totals, &mut roots).context("cannot import stdin")?;
        } else {
            let file = File::open(path).with_context(cannot)?;
            let bytes = file.metadata().map_or(0, |metadata| metadata.len());
            take(store, file, bytes, &mut totals, &mut roots).with_context(cannot)?;
        }
    }
    store.flush()?;
    for cid in roots.iter().filter(|_| args.pin_roots) {
        // A root that is not whole would stop every later collection.
        let checked = store
            .reader()
            .check(Pin { cid: *cid, kind: PinKind::Recursive, name: PinName::default() })
            .with_context(|| format!("the blocks are here, but the root {cid} cannot be pinned"))?;
        store.pin_checked(&checked)?;
    }
    let Usage { bytes, blocks } = totals;
    let text = || {
        let how = if args.pin_roots { "pinned root" } else { "root" };
        let mut lines: Vec<String> = roots.iter().map(|cid| format!("{how} {cid}")).collect();
        lines.push(format!("{} with {}", counted(blocks, "block"), counted(bytes, "byte")));
        lines.join("\n")
    };
    common.print_done(
        "the blocks are imported",
        text,
        || json!({ "roots": roots, "pinned": args.pin_roots, "blocks": blocks, "bytes": bytes }),
    )
}

fn take(
    store: &mut ContentStore,
    input: impl Read,
    length: u64,
    totals: &mut Usage,
    roots: &mut Vec<Cid>,
) -> anyhow::Result<()> {
    let bar = bytes_bar(length, false);
    let mut reader = CarReader::new(BufReader::with_capacity(1 << 20, input))?;
    for root in reader.roots() {
        if !roots.contains(root) {
            roots.push(*root);
        }
    }
    while let Some(block) = reader.next_block()? {
        store.put(&block)?;
        let bytes = block.bytes().len() as u64;
        *totals = Usage { bytes: totals.bytes + bytes, blocks: totals.blocks + 1 };
        bar.inc(bytes);
    }
    bar.finish_and_clear();
    Ok(())
}
