//! Receipts: what verifies, what forgers try, and how receipts are exported.

mod bump;
mod car;
mod evidence;
mod forgery;
mod holding;
mod laboratory;
