//! `cairn content`: files and directories under CIDs, as in IPFS, in a store beside the chain. Commands, options and
//! defaults are those of Kubo's `ipfs` where they do the same.

use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::str::FromStr;

use clap::Subcommand;

use super::Common;
use crate::content::{ContentReader, ContentStore, STORE_PATIENCE};
use crate::ipld::{Cid, CidError};

mod add;
mod car;
mod chain;
mod get;
mod keep;
mod network;
mod progress;
mod show;
mod tree;

/// Options of `cairn content`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The most bytes of blocks to store, such as 10GB or 512MiB; when it is reached, blocks that are not pinned go. What a
    /// running node fetches for a command, it stores within its own limit
    #[arg(
        long,
        global = true,
        env = "CAIRN_CONTENT_MAX",
        value_name = "SIZE",
        default_value = "10GB",
        value_parser = size
    )]
    content_max: u64,
    #[command(subcommand)]
    command: ContentCommand,
}

#[derive(Debug, Subcommand)]
enum ContentCommand {
    /// Add files and directories, and print their CIDs
    Add(Box<add::Args>),
    /// Write files to stdout
    Cat(Box<show::CatArgs>),
    /// Write a file or directory to disk
    Get(Box<get::Args>),
    /// List directories
    Ls(show::LsArgs),
    /// Describe a file, directory or block; without a CID, the store
    Stat(show::StatArgs),
    /// Keep blocks, or keep them no longer
    Pin(keep::PinArgs),
    /// Remove all blocks that are not pinned
    Gc(keep::GcArgs),
    /// Read all blocks and name those that are damaged
    Verify,
    /// Write all blocks below a CID to a CAR file
    Export(car::ExportArgs),
    /// Take the blocks of CAR files, and pin their roots
    Import(car::ImportArgs),
    /// Announce now to other nodes that this one has content
    Provide(network::ProvideArgs),
    /// Find the nodes that have content
    Find(network::FindArgs),
}

/// Runs the command.
///
/// # Errors
/// If the store is in use, full or damaged, a block is missing, or a file fails.
pub fn run(args: Args, common: &Common) -> anyhow::Result<()> {
    let dir = common.content_dir()?;
    let open =
        || -> anyhow::Result<ContentStore> { Ok(ContentStore::open_within(&dir, args.content_max, STORE_PATIENCE)?) };
    let read = || ContentReader::open(&dir);
    let read_once = || read().map(ContentReader::once);
    match args.command {
        ContentCommand::Add(args) => add::run(&args, open, common),
        ContentCommand::Cat(args) => show::cat(&args, &read_once()?, common),
        ContentCommand::Get(args) => get::run(&args, &read_once()?, common),
        ContentCommand::Ls(args) => show::ls(&args, &read()?, common),
        ContentCommand::Stat(stat) => show::stat(&stat, &read()?, args.content_max, common),
        ContentCommand::Pin(args) => keep::pin(args, open, &read()?, common),
        ContentCommand::Gc(args) => keep::gc(&args, &mut open()?, common),
        ContentCommand::Verify => keep::verify(&read_once()?, common),
        ContentCommand::Export(args) => car::export(&args, &read_once()?, common),
        ContentCommand::Import(args) => car::import(&args, &mut open()?, common),
        ContentCommand::Provide(args) => network::provide(&args, &read()?, common),
        ContentCommand::Find(args) => network::find(&args, common),
    }
}

/// A CID, and names that lead from it to a file or directory below.
#[derive(Debug, Clone)]
struct ContentPath {
    root: Cid,
    names: String,
}

impl ContentPath {
    /// Where it leads.
    fn resolve(&self, store: &ContentReader) -> anyhow::Result<Cid> {
        Ok(store.resolve(self.root, self.names.as_bytes())?)
    }

    /// What the file or directory is called: its name, or its CID if it has none.
    fn file_name(&self) -> String {
        let last = self.names.rsplit('/').find(|name| !name.is_empty());
        last.map_or_else(|| self.root.to_string(), str::to_owned)
    }
}

/// `CID`, `CID/name/name`, the same behind `/ipfs/`, or an `ipfs://` address.
impl FromStr for ContentPath {
    type Err = CidError;

    fn from_str(text: &str) -> Result<Self, CidError> {
        let path = text.strip_prefix("/ipfs/").or_else(|| text.strip_prefix("ipfs://")).unwrap_or(text);
        let (root, names) = path.split_once('/').unwrap_or((path, ""));
        Ok(Self { root: root.parse()?, names: names.to_owned() })
    }
}

impl Display for ContentPath {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.names.as_str() {
            "" => self.root.fmt(f),
            names => write!(f, "{}/{names}", self.root),
        }
    }
}

/// A number of bytes, with a unit of powers of 1,000 (kB, MB, GB, TB) or of 1,024 (KiB, MiB, GiB, TiB).
pub fn size(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err("expected a number of bytes, such as 512MiB or 10GB".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "expected a number of bytes, such as 512MiB or 10GB".to_owned())?;
    number.checked_mul(factor).ok_or_else(|| "that is more than 2^64 bytes".to_owned())
}

/// A name without what a terminal would obey or hide: such characters are shown as their escapes, and so are backslashes.
fn printable(name: &str) -> String {
    name.chars().map(|c| if matches!(c, '\'' | '"') { c.to_string() } else { c.escape_debug().to_string() }).collect()
}

/// A file, or stdin or stdout for `-`.
fn is_stream(path: &Path) -> bool {
    path.as_os_str() == "-"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("0", Ok(0)),
            ("17", Ok(17)),
            ("10GB", Ok(10_000_000_000)),
            ("512 MiB", Ok(512 << 20)),
            ("1kB", Ok(1_000)),
            ("18446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616", Err(())),
            ("20000000TiB", Err(())),
            ("", Err(())),
            ("GB", Err(())),
            ("1.5GB", Err(())),
            ("-1", Err(())),
            ("1 elephant", Err(())),
        ] {
            assert_eq!(size(text).map_err(|_| ()), bytes, "{text:?}");
        }
    }

    #[test]
    fn names_move_no_cursor() {
        assert_eq!(printable("red\u{1b}[31m\nGrüße 'a' \\"), "red\\u{1b}[31m\\nGrüße 'a' \\\\");
        assert_eq!(printable("\u{202e}gpj.exe"), "\\u{202e}gpj.exe");
    }

    #[test]
    fn paths_are_read() {
        let cid = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn";
        for (text, shown, name) in [
            (cid.to_owned(), cid.to_owned(), cid),
            (format!("/ipfs/{cid}/a/b"), format!("{cid}/a/b"), "b"),
            (format!("ipfs://{cid}/a/"), format!("{cid}/a/"), "a"),
        ] {
            let path: ContentPath = text.parse().unwrap();
            assert_eq!((path.to_string(), path.file_name().as_str()), (shown, name));
        }
        assert!("/ipns/example.org".parse::<ContentPath>().is_err());
    }
}
