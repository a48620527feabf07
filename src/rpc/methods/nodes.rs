//! The nodes of this process: pause one and let it go on; and what the program that runs a network of them does: add one and
//! remove one, cause a reorganisation, and pay from its wallet.

use tokio::sync::oneshot;

use super::{Access, Method, Outcome};
use crate::primitives::amount::Amount;
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, Param, optional, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::operator::Request;
use crate::rpc::results;
use crate::rpc::schema::Shape;
use crate::runtime::Handle;

const NODE: Param = required("node", Kind::Text, "The name of a node of this process.");
const FORGET_SNAPSHOTS: Param =
    optional("forget_snapshots", Kind::Boolean, "true", "false to fail if there are snapshots.");

/// Most blocks that a call for a reorganisation may ask for.
const MAX_FORK: u32 = 10_000;

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
        params: &[FORGET_SNAPSHOTS],
        result: Shape::Object(&results::network::CHANGED_NODE),
        about: "Starts another node of this test network, connected to some of the others. Snapshots are forgotten: they do not \
                have it.",
        run: |api, args| Box::pin(add(api, args)),
    },
    Method {
        name: "removetestnode",
        access: Access::Owner,
        params: &[NODE, FORGET_SNAPSHOTS],
        result: Shape::Object(&results::network::CHANGED_NODE),
        about: "Stops a node of this test network, other than the first, and removes its files, its wallet too. Snapshots are \
                forgotten.",
        run: |api, args| Box::pin(remove(api, args)),
    },
    Method {
        name: "forktestnet",
        access: Access::Owner,
        params: &[optional("depth", Kind::Integer, "1", "Blocks that the first node gives up, 1 to 10000.")],
        result: Shape::Object(&results::network::NETWORK_FORK),
        about: "Causes a reorganisation of this test network: cuts it in two, mines in both halves, heals it, and waits until all \
                nodes agree. Miners rest meanwhile. If the caller goes, the network is healed at once.",
        run: |api, args| Box::pin(fork(api, args)),
    },
    Method {
        name: "sendtestcoins",
        access: Access::Owner,
        params: &[
            required("address", Kind::Address, "The address to pay."),
            required("amount", Kind::Integer, "In grains."),
        ],
        result: Shape::Hash,
        about: "Pays from the wallet of this test network, and returns the transaction's id.",
        run: |api, args| Box::pin(send_coins(api, args)),
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

async fn add(api: Api, args: Args) -> Outcome {
    request(api, Request::Add { forget_snapshots: args.get(FORGET_SNAPSHOTS.name)? }).await
}

async fn remove(api: Api, args: Args) -> Outcome {
    let name = args.get::<&str>("node")?.to_owned();
    request(api, Request::Remove { name, forget_snapshots: args.get(FORGET_SNAPSHOTS.name)? }).await
}

async fn fork(api: Api, args: Args) -> Outcome {
    let depth: u32 = args.get("depth")?;
    if !(1..=MAX_FORK).contains(&depth) {
        return Err(RpcError::invalid(format!("depth: expected 1 to {MAX_FORK}")));
    }
    request(api, Request::Fork(depth)).await
}

async fn send_coins(api: Api, args: Args) -> Outcome {
    let payee = api.key_of(args.get("address")?)?;
    let amount = Amount::from_grains(args.get("amount")?);
    request(api, Request::Pay(payee, amount)).await
}

/// Asks the program that runs this network.
async fn request(api: Api, what: Request) -> Outcome {
    let alone = || RpcError::new(Code::Misc, "this needs a network that cairn testnet runs");
    let gone = || RpcError::new(Code::Misc, "the network is stopping");
    let operator = api.operator.as_ref().ok_or_else(alone)?;
    let (answer, answered) = oneshot::channel();
    operator.send((what, answer)).await.map_err(|_| gone())?;
    let answer = answered.await.map_err(|_| gone())?;
    Ok(Reply::of(&answer.map_err(|reason| RpcError::new(Code::Misc, reason))?))
}
