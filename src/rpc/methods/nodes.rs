//! The nodes of this process: pause one and let it go on, add one and remove one.

use serde_json::json;
use tokio::sync::oneshot;

use super::{Access, Method, Outcome};
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, Param, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::operator::NodeChange;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::runtime::Handle;

const NODE: Param = required("node", Kind::Text, "The name of a node of this process.");

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[
    Method {
        name: "pausenode",
        access: Access::Owner,
        params: &[NODE],
        result: Shape::Boolean,
        about: "Makes a node stand still, like a process that got SIGSTOP, on nodes started with --chaos: its connections stay \
                open and say nothing, and calls that need it fail. Answers false if it is paused already.",
        run: |api, args| Box::pin(pause(api, args)),
    },
    Method {
        name: "resumenode",
        access: Access::Owner,
        params: &[NODE],
        result: Shape::Boolean,
        about: "Lets a paused node go on. Answers false if it is not paused.",
        run: |api, args| Box::pin(resume(api, args)),
    },
    Method {
        name: "addtestnode",
        access: Access::Owner,
        params: &[],
        result: Shape::Object(&results::network::CHANGED_NODE),
        about: "Starts another node of this test network, connected to some of the others. Snapshots are forgotten: they do not \
                have it.",
        run: |api, _| Box::pin(change(api, NodeChange::Add)),
    },
    Method {
        name: "removetestnode",
        access: Access::Owner,
        params: &[NODE],
        result: Shape::Object(&results::network::CHANGED_NODE),
        about: "Stops the last node of this test network and removes its files, its wallet too. Snapshots are forgotten.",
        run: |api, args| Box::pin(remove(api, args)),
    },
];

/// The node that a call names, if it may be paused.
fn node(api: &Api, args: &Args) -> Result<Handle, RpcError> {
    let name: &str = args.get("node")?;
    let node = super::links::find_node(api, name).ok_or_else(|| super::links::unknown_node(api, name))?;
    if node.chaos().is_none() {
        return Err(RpcError::new(Code::Misc, "this node was started without --chaos: it cannot be paused"));
    }
    Ok(node)
}

async fn pause(api: Api, args: Args) -> Outcome {
    Ok(Reply::of(&node(&api, &args)?.pause().await?))
}

async fn resume(api: Api, args: Args) -> Outcome {
    Ok(Reply::of(&node(&api, &args)?.resume()))
}

async fn remove(api: Api, args: Args) -> Outcome {
    let name: &str = args.get("node")?;
    let change_it = NodeChange::Remove(name.to_owned());
    change(api, change_it).await
}

async fn change(api: Api, what: NodeChange) -> Outcome {
    let alone =
        || RpcError::new(Code::Misc, "nodes can be added and removed only in a network that cairn testnet runs");
    let operator = api.operator.clone().ok_or_else(alone)?;
    let (reply, answer) = oneshot::channel();
    operator.send((what, reply)).await.map_err(|_| alone())?;
    let changed = answer.await.map_err(|_| alone())?.map_err(|reason| RpcError::new(Code::Misc, reason))?;
    Ok(Reply::of(&json!({ "name": changed.name, "address": changed.address, "rpc": changed.rpc })))
}
