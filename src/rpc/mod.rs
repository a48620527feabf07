//! JSON-RPC over HTTP: names, parameters, results and error numbers are Bitcoin Core's where the meaning is the same.
//!
//! `jsonrpc` is the envelope, `server` HTTP around it, `methods` the table of what can be called, `client` the other
//! end. Amounts are integers of grains everywhere.

mod api;
mod args;
pub mod auth;
pub mod client;
pub mod error;
pub mod jsonrpc;
mod listener;
pub mod methods;
mod server;
mod view;

pub use api::Api;
pub use args::{Args, Kind, Param};
pub use server::{Config, Limits, RpcServer, ServeError, serve};
