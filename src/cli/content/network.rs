//! `cairn content provide` and `find`: content among nodes. The node in the data directory, or another, does it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::ensure;
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::{Value, json};

use super::progress::bytes_bar;
use super::{Common, ContentPath};
use crate::cli::client::{ClientArgs, call};
use crate::content::{ContentError, ContentReader};
use crate::ipld::Cid;
use crate::primitives::amount::counted;
use crate::rpc::client::Client;

/// Longer than a node takes for a lookup, and for announcing what it found.
const PATIENCE: Duration = Duration::from_secs(90);
/// Time between two looks at what a fetch has brought, and for signals.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Options of `cairn content provide`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A node announces by itself what is pinned in its data directory.

Example:
  cairn content provide QmThVgYVR9dyaxAcDttKyxXhBk2WskuHZi3HLuoiU9GMXV")]
pub struct ProvideArgs {
    /// CIDs that are here, or paths below some
    #[arg(required = true)]
    paths: Vec<ContentPath>,
    #[command(flatten)]
    node: ClientArgs,
}

/// Options of `cairn content find`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  cairn content find QmThVgYVR9dyaxAcDttKyxXhBk2WskuHZi3HLuoiU9GMXV")]
pub struct FindArgs {
    /// A CID
    cid: Cid,
    #[command(flatten)]
    node: ClientArgs,
}

/// Whether to ask the network for what is not here.
#[derive(Debug, clap::Args)]
pub struct FetchArgs {
    /// Do not ask other nodes for what is not here
    #[arg(long)]
    offline: bool,
    /// Seconds without any block after which a fetch from other nodes fails
    #[arg(long, value_name = "SECONDS", default_value_t = 30, conflicts_with = "offline")]
    timeout: u64,
    #[command(flatten)]
    node: ClientArgs,
}

/// Whether an error says that a block is not here, or not as it should be.
pub fn is_lacking(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref::<ContentError>(), Some(ContentError::Missing { .. } | ContentError::Damaged { .. }))
}

/// What of a file or directory is fetched.
#[derive(Debug, Clone, Copy)]
pub enum Extent {
    /// All that is below.
    All,
    /// Its block.
    Block,
    /// So many bytes of a file from one on.
    Bytes { offset: u64, length: u64 },
}

impl Extent {
    /// As parameters of `fetchcontent`.
    fn params(self) -> [Value; 3] {
        match self {
            Self::All => [json!("all"), json!(0), Value::Null],
            Self::Block => [json!("block"), json!(0), Value::Null],
            Self::Bytes { offset, length } => [json!("entity"), json!(offset), json!(length)],
        }
    }
}

impl FetchArgs {
    /// The node that is asked.
    pub fn node(&self) -> &ClientArgs {
        &self.node
    }

    /// Fetches a part of what is at the end of a path, because reading it failed with `error`. Calls `meanwhile` again and
    /// again until all is here. Shows itself in the caller's bar, if it has one: two on one terminal overwrite each other.
    ///
    /// # Errors
    /// That error, if it has another cause, the network is not to be asked, or no node runs; those of `meanwhile`, and those of
    /// the fetch.
    pub fn fetch(
        &self,
        path: &ContentPath,
        extent: Extent,
        error: anyhow::Error,
        common: &Common,
        bar: Option<&ProgressBar>,
        mut meanwhile: impl FnMut() -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        if self.offline || !is_lacking(&error) {
            return Err(error);
        }
        let node = match self.node.connect(common, Some(PATIENCE)) {
            Ok(node) => node,
            Err(no_node) => return Err(error.context(format!("it is not here, and cannot be fetched: {no_node:#}"))),
        };
        let shown = match bar {
            Some(bar) => Shown { bar: bar.clone(), is_own: false },
            None => Shown { bar: bytes_bar(0, common.json()), is_own: true },
        };
        let first = [json!(path.to_string()), json!(self.timeout), json!(1)];
        let params: Vec<Value> = first.into_iter().chain(extent.params()).collect();
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            // Dropped at the end of the fetch.
            let (fetching, fetched) = mpsc::channel::<()>();
            let (shown, params, is_over) = (&shown, &params, &is_over);
            let watching = thread::Builder::new().name("fetch".to_owned()).spawn_scoped(scope, move || {
                let _fetching = fetching;
                watch(&node, params, shown, is_over)
            })?;
            while fetched.recv_timeout(LOOK_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                if let Err(error) = meanwhile() {
                    is_over.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
            watching.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// How far a fetch is, as a node says.
#[derive(Deserialize)]
struct Status {
    complete: bool,
    bytes: u64,
    fetched_bytes: u64,
    sources: u64,
    liars: Vec<String>,
}

/// A bar that shows a fetch.
struct Shown {
    bar: ProgressBar,
    /// Shows how much is fetched, and goes with the fetch; else what the caller has done with it.
    is_own: bool,
}

impl Shown {
    fn update(&self, status: &Status) {
        if self.is_own {
            self.bar.set_position(status.bytes);
        }
        self.bar.set_message(format!("from {}", counted(status.sources, "peer")));
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if self.is_own {
            self.bar.finish_and_clear();
        }
    }
}

/// Watches a fetch until it has ended, or is over for the caller.
fn watch(node: &Client, params: &[Value], shown: &Shown, is_over: &AtomicBool) -> anyhow::Result<()> {
    let mut told = 0;
    while !is_over.load(Ordering::Relaxed) {
        let status: Status = call(node, "fetchcontent", params)?;
        shown.update(&status);
        for liar in status.liars.iter().skip(told) {
            shown.bar.suspend(|| eprintln!("{liar} sent false content, and was dropped"));
        }
        told = told.max(status.liars.len());
        if status.complete {
            tracing::debug!(bytes = status.fetched_bytes, "fetched");
            break;
        }
    }
    Ok(())
}

/// Announces content.
///
/// # Errors
/// If it is not here, there is no node, or no other node takes the announcement.
pub fn provide(args: &ProvideArgs, store: &ContentReader, common: &Common) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Announced {
        nodes: u64,
    }
    let node = args.node.connect(common, Some(PATIENCE))?;
    let mut announced = Vec::new();
    for path in &args.paths {
        let cid = path.resolve(store)?;
        let Announced { nodes } = call(&node, "providecontent", &[json!(cid)])?;
        ensure!(nodes > 0, "no node took the announcement of {cid}");
        announced.push((cid, nodes));
    }
    let lines: Vec<String> =
        announced.iter().map(|(cid, nodes)| format!("{cid} is announced to {}", counted(*nodes, "node"))).collect();
    let json: Vec<Value> = announced.iter().map(|(cid, nodes)| json!({ "cid": cid, "nodes": nodes })).collect();
    common.print(|| lines.join("\n"), || json!(json))
}

/// Prints who has content.
///
/// # Errors
/// If there is no node, or no provider.
pub fn find(args: &FindArgs, common: &Common) -> anyhow::Result<()> {
    #[derive(Deserialize)]
    struct Provider {
        nodeid: String,
        address: String,
    }
    let node = args.node.connect(common, Some(PATIENCE))?;
    let found: Value = call(&node, "findproviders", &[json!(args.cid)])?;
    let providers: Vec<Provider> = serde_json::from_value(found["providers"].clone())?;
    ensure!(!providers.is_empty(), "no other node says that it has {}", args.cid);
    let line = |provider: &Provider| format!("{}@{}", provider.nodeid, provider.address);
    common.print(|| providers.iter().map(line).collect::<Vec<_>>().join("\n"), || found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetch_shows_itself_in_the_bar_of_its_caller() {
        let status = Status { complete: false, bytes: 9, fetched_bytes: 9, sources: 2, liars: Vec::new() };
        for (is_own, position) in [(false, 5), (true, 9)] {
            let bar = bytes_bar(100, true);
            bar.set_position(5);
            let shown = Shown { bar: bar.clone(), is_own };
            shown.update(&status);
            assert_eq!((bar.position(), &bar.message()[..], bar.is_finished()), (position, "from 2 peers", false));
            drop(shown);
            assert_eq!(bar.is_finished(), is_own, "the caller goes on");
        }
    }
}
