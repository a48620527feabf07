//! The store on a disk: [`SledStore`] collects commits in memory, and its own thread writes many of them together: small
//! values packed into pages, whose places in a file are sled's values, and large ones appended to files. A journal makes each
//! write atomic.

mod changes;
mod copy;
mod entries;
mod extents;
#[cfg(test)]
mod format;
mod journal;
mod large;
mod pages;
mod repair;
mod sled;
mod store;
#[cfg(test)]
mod tests;
mod value;

pub use self::store::SledStore;
