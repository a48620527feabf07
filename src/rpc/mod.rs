//! JSON-RPC over HTTP: names, parameters, results and error numbers are Bitcoin Core's where the meaning is the same.
//!
//! `jsonrpc` is the envelope, `server` HTTP around it, `methods` the table of what can be called, `client` the other
//! end. Amounts are integers of grains everywhere.

mod api;
mod args;
pub mod auth;
pub mod client;
pub mod error;
mod events;
mod explorer;
pub mod jsonrpc;
mod listener;
pub mod methods;
mod metrics;
mod schema;
mod server;
mod view;

pub use api::Api;
pub use args::{Args, Kind, Param};
pub use schema::Shape;
pub use server::{Config, Limits, PublicLimits, RpcServer, ServeError, serve};
