//! The commands as a person types them: real processes, their output and exit codes.

mod commands;
mod config;
mod content;
mod conventions;
mod holding;
mod interrupted;
mod light;
mod nodes;
mod offline;
mod own;
#[path = "../process/mod.rs"]
mod process;
mod replace;
mod wallet;
