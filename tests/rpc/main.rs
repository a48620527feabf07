//! JSON-RPC from outside: raw HTTP and the blocking client against a server with a whole node behind it.

mod fixture;
mod http;
mod methods;
mod network;
mod parameters;
