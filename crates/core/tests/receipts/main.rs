//! Receipts: what verifies, what forgers try, and how receipts are exported.

mod car;
mod evidence;
#[path = "../forge/mod.rs"]
mod forge;
mod forgery;
