//! JSON-RPC from outside: raw HTTP and the blocking client against a server with a whole node behind it.

mod arbitrary;
mod bitcoin_cli;
mod busy;
#[path = "../node/cpuminer/mod.rs"]
mod cpuminer;
mod discover;
mod explorer;
mod figures;
mod fixture;
mod gateway;
mod holding;
mod http;
mod kubo;
mod links;
mod loading;
mod making;
mod methods;
mod metrics;
mod network;
mod nodes;
mod parameters;
mod pending;
mod pinning;
mod pruned;
mod readme;
mod sending;
mod snapshots;
mod strangers;
mod template;
