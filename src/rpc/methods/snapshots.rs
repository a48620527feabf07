//! Snapshots of the network that runs in this process.

use serde::Serialize;

use super::{Access, Method, Outcome};
use crate::p2p::SnapshotError;
use crate::primitives::height::Height;
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::runtime::{Handle, NetworkSnapshotError, Reverted};

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "takesnapshot",
        access: Access::Owner,
        params: &[required("name", Kind::Text, "Up to 64 letters, digits, dots, dashes and underscores.")],
        result: Shape::Null,
        about: "Remembers chain, mempool, links and clock of every node of this process, in memory, on nodes started with \
                --chaos. A snapshot of that name is replaced. In a network that cairn testnet runs, copies of the wallets \
                are kept with it.",
        run: |api, args| Box::pin(take(api, args)),
    },
    Method {
        name: "revertsnapshot",
        access: Access::Owner,
        params: &[required("name", Kind::Text, "The snapshot's name.")],
        result: Shape::Object(&results::network::REVERTED),
        about: "Makes every node of this process what it was: blocks, transactions and faults of links that came since are \
                forgotten. Miners pause meanwhile. Later snapshots are dropped; this one stays.",
        run: |api, args| Box::pin(revert(api, args)),
    },
    Method {
        name: "listsnapshots",
        access: Access::Owner,
        params: &[],
        result: Shape::Array(&Shape::Object(&results::network::SNAPSHOT)),
        about: "The snapshots in the order in which they were taken, each with the height of this node's tip.",
        run: |api, _| Box::pin(list(api)),
    },
    Method {
        name: "dropsnapshot",
        access: Access::Owner,
        params: &[required("name", Kind::Text, "The snapshot's name.")],
        result: Shape::Null,
        about: "Forgets a snapshot.",
        run: |api, args| Box::pin(forget(api, args)),
    },
];

/// Longest name.
const MAX_NAME: usize = 64;

/// The snapshot that a call names.
fn name(args: &Args) -> Result<&str, RpcError> {
    let name: &str = args.get("name")?;
    let is_fit = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if name.is_empty() || name.len() > MAX_NAME || name.starts_with('.') || !name.chars().all(is_fit) {
        let expected = format!("1 to {MAX_NAME} letters, digits, dashes, underscores and dots, no dot first");
        return Err(RpcError::invalid(format!("name: {name:?} does not fit, expected {expected}")));
    }
    Ok(name)
}

/// The nodes, if they may be reverted.
fn nodes(api: &Api) -> Result<Vec<Handle>, RpcError> {
    let nodes = api.nodes();
    if nodes.iter().any(|(_, node)| node.chaos().is_none()) {
        let message = "snapshots are for test networks: this node was started without --chaos";
        return Err(RpcError::new(Code::Misc, message));
    }
    if let Some((name, _)) = nodes.iter().find(|(_, node)| node.is_paused()) {
        return Err(api.paused(name));
    }
    Ok(nodes.into_iter().map(|(_, node)| node).collect())
}

fn refused(error: NetworkSnapshotError) -> RpcError {
    match error {
        NetworkSnapshotError::Stopped(stopped) => stopped.into(),
        error => RpcError::new(Code::Misc, error.to_string()),
    }
}

async fn take(api: Api, args: Args) -> Outcome {
    let name = name(&args)?;
    api.snapshots.hold().await.take(&nodes(&api)?, name).await.map_err(refused)?;
    Ok(Reply::null())
}

async fn revert(api: Api, args: Args) -> Outcome {
    #[derive(Serialize)]
    struct Answer {
        /// Ends of links that are there again.
        link_ends: usize,
        /// Ends of links that are not yet.
        missing: usize,
        milliseconds: f64,
    }
    let name = name(&args)?;
    let reverted = api.snapshots.hold().await.revert(&nodes(&api)?, name).await;
    let Reverted { ends, missing, took } = reverted.map_err(refused)?;
    Ok(Reply::of(&Answer { link_ends: ends, missing, milliseconds: took.as_secs_f64() * 1e3 }))
}

async fn list(api: Api) -> Outcome {
    #[derive(Serialize)]
    struct View {
        name: String,
        height: Height,
    }
    let all = api.node(|node, _| node.snapshots()).await?;
    Ok(Reply::of(&all.into_iter().map(|(name, height)| View { name, height }).collect::<Vec<View>>()))
}

async fn forget(api: Api, args: Args) -> Outcome {
    let name = name(&args)?;
    let is_forgotten = api.snapshots.hold().await.forget(&nodes(&api)?, name).await?;
    if is_forgotten {
        return Ok(Reply::null());
    }
    Err(refused(SnapshotError::Unknown { name: name.to_owned() }.into()))
}
