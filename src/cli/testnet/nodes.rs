//! `cairn testnet pause`, `resume`, `add` and `remove`.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::control::{Control, name_of};
use super::link;
use super::setup::Layout;
use crate::cli::Common;
use crate::cli::client::call;

/// A command that needs one node.
#[derive(Debug, clap::Args)]
pub struct NodeArgs {
    /// The node: node-2, or 2
    node: String,
}

/// What a change of the nodes takes with it.
#[derive(Debug, Clone, Copy, clap::Args)]
pub struct ChangeArgs {
    /// Forget all snapshots, which do not fit the changed network
    #[arg(long)]
    forget_snapshots: bool,
}

/// Options of `cairn testnet remove`.
#[derive(Debug, clap::Args)]
pub struct RemoveArgs {
    #[command(flatten)]
    node: NodeArgs,
    #[command(flatten)]
    change: ChangeArgs,
}

impl NodeArgs {
    /// Its name, as the network calls it.
    fn name(&self, control: &Control) -> anyhow::Result<String> {
        Ok(name_of(link::number(&self.node, control)?))
    }
}

/// A node that was added or removed.
#[derive(Debug, Deserialize, Serialize)]
struct Changed {
    name: String,
    address: Option<String>,
    rpc: Option<String>,
}

/// Runs `cairn testnet pause`.
///
/// # Errors
/// If no network runs in the directory, or there is no such node.
pub fn pause(args: &NodeArgs, common: &Common, layout: &Layout) -> anyhow::Result<()> {
    switch(args, common, layout, ("pausenode", "paused"))
}

/// Runs `cairn testnet resume`.
///
/// # Errors
/// If no network runs in the directory, or there is no such node.
pub fn resume(args: &NodeArgs, common: &Common, layout: &Layout) -> anyhow::Result<()> {
    switch(args, common, layout, ("resumenode", "running"))
}

fn switch(
    args: &NodeArgs,
    common: &Common,
    layout: &Layout,
    (method, state): (&str, &'static str),
) -> anyhow::Result<()> {
    let control = Control::find(layout)?;
    let name = args.name(&control)?;
    // Over a server of the process, which answers for paused nodes too.
    let changed: bool = call(control.node(0), method, &[json!(name)])?;
    let text = if changed { format!("{name}: {state}") } else { format!("{name}: {state} already") };
    common.print_outcome(&text, || json!({ "name": name, "state": state, "changed": changed }))
}

/// Runs `cairn testnet add`.
///
/// # Errors
/// If no network runs in the directory, a node is paused, snapshots would be lost, or there is no place for another one.
pub fn add(args: ChangeArgs, common: &Common, layout: &Layout) -> anyhow::Result<()> {
    let control = Control::find(layout)?;
    let changed: Changed = call(control.node(0), "addtestnode", &[json!(args.forget_snapshots)])?;
    let (address, rpc) = (changed.address.clone().unwrap_or_default(), changed.rpc.clone().unwrap_or_default());
    let text = format!("{}: peers at {address}, RPC at {rpc}", changed.name);
    common.print_outcome(&text, || json!(changed))
}

/// Runs `cairn testnet remove`.
///
/// # Errors
/// If no network runs in the directory, a node is paused, snapshots would be lost, or this is the first one.
pub fn remove(args: &RemoveArgs, common: &Common, layout: &Layout) -> anyhow::Result<()> {
    let control = Control::find(layout)?;
    let name = args.node.name(&control)?;
    let params = [json!(name), json!(args.change.forget_snapshots)];
    let changed: Changed = call(control.node(0), "removetestnode", &params)?;
    let text = format!("{}: removed", changed.name);
    common.print_outcome(&text, || json!(changed))
}
