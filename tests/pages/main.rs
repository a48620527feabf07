//! The pages that this project serves or ships, in a real browser.

mod browser;
mod explorer;
mod history;
#[path = "../process/mod.rs"]
mod process;
mod site;
mod verify_page;
