//! JSON-RPC over HTTP: names, parameters, results and error numbers are Bitcoin Core's where the meaning is the same.

pub mod auth;
pub mod client;
pub mod error;
pub mod jsonrpc;
