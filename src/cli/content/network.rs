//! `cairn content provide` and `find`: content among nodes. The node in the data directory, or another, does it.

use std::time::Duration;

use anyhow::ensure;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Common, ContentPath};
use crate::cli::client::{ClientArgs, call};
use crate::content::ContentReader;
use crate::ipld::Cid;
use crate::primitives::amount::counted;

/// Longer than a node takes for a lookup, and for announcing what it found.
const PATIENCE: Duration = Duration::from_secs(90);

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
    ensure!(!providers.is_empty(), "no node says that it has {}", args.cid);
    let line = |provider: &Provider| format!("{}@{}", provider.nodeid, provider.address);
    common.print(|| providers.iter().map(line).collect::<Vec<_>>().join("\n"), || found)
}
