//! Real nodes under attacks that occupy the whole machine, which count blocks, seconds and bytes: one test at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

mod hostile;
mod hostile_work;
#[path = "../process/mod.rs"]
mod process;

/// Waits until no other test of this program runs. Cargo runs test programs one after another, so nothing else of the suite
/// runs then either.
fn alone() -> MutexGuard<'static, ()> {
    static RUNNING: Mutex<()> = Mutex::new(());
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
