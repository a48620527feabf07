//! Incidents from a file: nodes, links, events at their times, and checks of what must come of them.
//!
//! The same file runs in virtual time ([`Virtual`]) and over real nodes (`cairn testnet run`). Both are a [`World`], which
//! starts and stops nodes, sets links, reads nodes and hands them commands. What the events and checks mean is written once, on top
//! of that: [`run`] mines, pays and looks in the same way in both. Which node finds a block, and when, is drawn from the
//! seed before the run, so it is the same in both, too. What differs is how long messages take.

mod acts;
mod check;
mod file;
mod plan;
mod run;
mod selfish;
mod timeline;
mod virtual_time;
mod world;

pub use file::{MAX_FILE_BYTES, ScenarioError};
pub use plan::{MAX_NODES, Scenario};
pub use run::{CheckResult, LogLine, Report, run};
pub use virtual_time::Virtual;
pub use world::{World, WorldError};
