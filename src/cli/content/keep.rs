//! `cairn content pin`, `gc` and `verify`: what stays, and whether it is whole.

use anyhow::bail;
use clap::{ArgAction, Subcommand};
use serde_json::json;

use super::{Common, ContentPath};
use crate::cli::print_line;
use crate::content::{ContentReader, ContentStore, Pin, PinKind, PinName};
use crate::ipld::Cid;
use crate::primitives::amount::counted;

/// Options of `cairn content pin`.
#[derive(Debug, clap::Args)]
pub struct PinArgs {
    #[command(subcommand)]
    command: PinCommand,
}

#[derive(Debug, Subcommand)]
enum PinCommand {
    /// Keep blocks that are here
    #[command(after_help = "\
Example:
  cairn content pin add QmThVgYVR9dyaxAcDttKyxXhBk2WskuHZi3HLuoiU9GMXV")]
    Add {
        /// CIDs, or paths below some
        #[arg(required = true)]
        paths: Vec<ContentPath>,
        /// With all blocks below
        #[arg(
            short,
            long,
            num_args = 0..=1,
            require_equals = true,
            default_value = "true",
            default_missing_value = "true",
            value_name = "BOOL",
            action = ArgAction::Set
        )]
        recursive: bool,
        /// Name of the pin
        #[arg(short, long, value_name = "NAME")]
        name: Option<PinName>,
    },
    /// List what is kept
    Ls {
        /// Kind to list
        #[arg(short = 't', long = "type", value_name = "KIND", default_value = "all")]
        kind: Listed,
        /// Print CIDs only
        #[arg(short, long)]
        quiet: bool,
        /// Print names too
        #[arg(short, long)]
        names: bool,
    },
    /// Keep blocks no longer
    Rm {
        /// CIDs of pins
        #[arg(required = true)]
        cids: Vec<Cid>,
    },
}

/// Which pins are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Listed {
    All,
    Recursive,
    Direct,
    Indirect,
}

/// Runs `cairn content pin`.
pub fn pin(
    args: PinArgs,
    open: impl Fn() -> anyhow::Result<ContentStore>,
    reader: &ContentReader,
    common: &Common,
) -> anyhow::Result<()> {
    match args.command {
        PinCommand::Add { paths, recursive, name } => {
            let kind = if recursive { PinKind::Recursive } else { PinKind::Direct };
            let mut pinned = Vec::new();
            for path in &paths {
                let cid = path.resolve(reader)?;
                let checked = reader.check(Pin { cid, kind, name: name.clone().unwrap_or_default() })?;
                open()?.pin_checked(&checked)?;
                pinned.push(cid);
            }
            let how = if recursive { "recursively" } else { "directly" };
            let text = || pinned.iter().map(|cid| format!("pinned {cid} {how}")).collect::<Vec<_>>().join("\n");
            common.print(text, || json!({ "pins": pinned, "type": kind.to_string() }))
        }
        PinCommand::Ls { kind, quiet, names } => list(kind, quiet, names, reader, common),
        PinCommand::Rm { cids } => {
            let mut store = open()?;
            cids.iter().try_for_each(|cid| store.unpin(cid))?;
            let text = || cids.iter().map(|cid| format!("unpinned {cid}")).collect::<Vec<_>>().join("\n");
            common.print(text, || json!({ "pins": cids }))
        }
    }
}

fn list(kind: Listed, quiet: bool, names: bool, store: &ContentReader, common: &Common) -> anyhow::Result<()> {
    let mut pins = store.pins()?;
    let indirect = match kind {
        Listed::All | Listed::Indirect => store.indirect(&mut pins)?,
        Listed::Recursive | Listed::Direct => Vec::new(),
    };
    let wanted = |pin: &PinKind| match kind {
        Listed::All => true,
        Listed::Recursive => *pin == PinKind::Recursive,
        Listed::Direct => *pin == PinKind::Direct,
        Listed::Indirect => false,
    };
    let mut rows: Vec<(Cid, String, &str)> = pins
        .iter()
        .filter(|pin| wanted(&pin.kind))
        .map(|pin| (pin.cid, pin.kind.to_string(), pin.name.as_str()))
        .collect();
    rows.extend(indirect.into_iter().map(|cid| (cid, "indirect".to_owned(), "")));
    if common.json() {
        let row = |(cid, kind, name): &(Cid, String, &str)| json!({ "cid": cid, "type": kind, "name": name });
        return common.print(String::new, || rows.iter().map(row).collect());
    }
    rows.iter().try_for_each(|(cid, kind, name)| {
        let line = match (quiet, names) {
            (true, _) => cid.to_string(),
            (false, true) => format!("{cid} {kind} {name}"),
            (false, false) => format!("{cid} {kind}"),
        };
        print_line(line.trim_end())
    })
}

/// Options of `cairn content gc`.
#[derive(Debug, clap::Args)]
pub struct GcArgs {
    /// Print CIDs only
    #[arg(short, long)]
    quiet: bool,
    /// Print nothing but the sum
    #[arg(long)]
    silent: bool,
}

/// Runs `cairn content gc`.
pub fn gc(args: &GcArgs, store: &mut ContentStore, common: &Common) -> anyhow::Result<()> {
    let mut removed = Vec::new();
    let collected = store.collect(|cid| removed.push(*cid))?;
    if !common.json() && !args.silent {
        let line = |cid: &Cid| if args.quiet { cid.to_string() } else { format!("removed {cid}") };
        removed.iter().try_for_each(|cid| print_line(&line(cid)))?;
    }
    if args.quiet && !common.json() {
        return Ok(());
    }
    let text = format!("{} removed, {}", counted(collected.blocks, "block"), counted(collected.bytes, "byte"));
    let json = json!({ "removed": removed, "blocks": collected.blocks, "bytes": collected.bytes });
    common.print_outcome(&text, || json)
}

/// Runs `cairn content verify`.
pub fn verify(store: &ContentReader, common: &Common) -> anyhow::Result<()> {
    let bar = crate::cli::db::progress_bar("blocks read");
    let mut blocks = 0;
    let damaged = store.verify(|count, all| {
        blocks = all;
        bar.set_length(all);
        bar.set_position(count);
    })?;
    bar.finish_and_clear();
    let missing = store.missing()?;
    if !missing.is_empty() {
        let names: Vec<String> = missing.iter().map(|(pin, cid)| format!("{cid} below the pin {pin}")).collect();
        bail!("{} missing: {}", counted(missing.len(), "block"), names.join(", "));
    }
    if damaged.is_empty() {
        return common.print(|| format!("{} in order", counted(blocks, "block")), || json!({ "blocks": blocks }));
    }
    let names: Vec<String> = damaged.iter().map(|(cid, path)| format!("{cid} in {}", path.display())).collect();
    bail!("{} of {blocks} damaged: {}", counted(damaged.len(), "block"), names.join(", "));
}
