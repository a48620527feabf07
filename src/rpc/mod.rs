//! JSON-RPC over HTTP: names, parameters, results and error numbers are Bitcoin Core's where the meaning is the same.
//!
//! `jsonrpc` is the envelope, `http` and `server` HTTP around it, `methods` the table of what can be called, `client` the other
//! end. Amounts are integers of grains everywhere.

mod api;
mod args;
mod at_once;
pub mod auth;
pub mod client;
mod connections;
pub mod error;
mod events;
mod explorer;
mod gateway;
mod hosts;
mod http;
pub mod jsonrpc;
mod kubo;
mod limits;
mod method;
pub mod methods;
mod metrics;
mod operator;
mod pinning;
pub mod results;
pub mod schema;
mod server;
mod socket;
mod strangers;
mod values;
mod view;

pub use api::Api;
pub use args::{Args, Kind, Param};
pub use limits::{Config, Gateway, Limits, PublicLimits};
pub use operator::{Answer, Nodes, Operator, Request, paused};
pub use schema::Shape;
pub use server::{RpcServer, ServeError, serve};
pub use strangers::Usage;
pub use values::FromJson;
