//! Whole nodes over real sockets and on real disks, most of them in processes of their own.

mod archive;
mod chaos;
mod content;
mod cpuminer;
mod crash;
mod e2e;
mod join;
mod members;
mod mining;
#[path = "../process/mod.rs"]
mod process;
mod record;
mod restart;
mod runtime;
mod scenarios;
mod service;
mod state_sync;
mod stratum;
mod testnet;
