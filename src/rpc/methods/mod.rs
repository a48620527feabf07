//! The methods. One table declares each of them once; calls are dispatched and `help` is written from it.

use super::Api;
use super::args::Args;
use super::error::{Code, RpcError};
use super::jsonrpc::Params;

pub use super::jsonrpc::Outcome;
pub use super::method::{Access, Method};

pub mod address;
pub mod bans;
pub mod blockchain;
pub mod content;
pub mod control;
mod discover;
pub mod discovery;
pub mod fees;
pub mod holding;
mod links;
pub mod mempool;
pub mod message;
pub mod mining;
pub mod network;
pub mod nodes;
pub mod proof;
pub mod prune;
pub mod rawtx;
pub mod signing;
pub mod snapshots;
pub mod stats;
pub mod template;
pub mod wait;

/// Every method, under the headings of `help`.
pub const GROUPS: [(&str, &[Method]); 22] = [
    ("Blockchain", blockchain::METHODS),
    ("Statistics and checks", stats::METHODS),
    ("Pruning", prune::METHODS),
    ("Waiting", wait::METHODS),
    ("Mempool and transactions", mempool::METHODS),
    ("Fees", fees::METHODS),
    ("Raw transactions", rawtx::METHODS),
    ("Making transactions", signing::METHODS),
    ("Proofs", proof::METHODS),
    ("Proofs of coins", holding::METHODS),
    ("Addresses", address::METHODS),
    ("Messages", message::METHODS),
    ("Mining", mining::METHODS),
    ("Mining elsewhere", template::METHODS),
    ("Network", network::METHODS),
    ("Discovery", discovery::METHODS),
    ("Content", content::METHODS),
    ("Bans", bans::METHODS),
    ("Links", links::METHODS),
    ("Snapshots", snapshots::METHODS),
    ("Nodes", nodes::METHODS),
    ("Control", control::METHODS),
];

/// Every method, in the order of `help`.
pub fn all() -> impl Iterator<Item = &'static Method> {
    GROUPS.iter().flat_map(|(_, methods)| *methods)
}

/// The method called `name`.
pub fn find(name: &str) -> Option<&'static Method> {
    all().find(|method| method.name == name)
}

/// Carries out one call.
///
/// # Errors
/// [`Code::MethodNotFound`], [`Code::WarmingUp`] while the chain is being read, those of [`Args::bind`], and the
/// method's own.
pub async fn dispatch(api: &Api, name: &str, params: Params) -> Outcome {
    let method = find(name).ok_or_else(|| RpcError::new(Code::MethodNotFound, "Method not found"))?;
    match method.access {
        Access::Public | Access::Owner => api.ready()?,
        Access::OwnerEarly => {}
    }
    let args = Args::bind(method.name, method.params, params)?;
    let _under_way = api.begin(method.name);
    (method.run)(api.clone(), args).await
}
