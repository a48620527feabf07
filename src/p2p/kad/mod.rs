//! Kademlia: finds nodes with a number of queries that grows with the logarithm of the network's size.
//!
//! Every node has a 256-bit [`NodeId`], and the distance of two is their exclusive or. A node keeps up to [`K`] others
//! for each power of two of distance ([`Table`]): many that are near, a few of those far away. A [`Lookup`] asks the
//! nearest known nodes for the nearest nodes that they know, and so comes nearer by some bits with every answer.
//!
//! Nothing here does I/O: the caller asks and is asked, says what came of it, and gives the time and the
//! randomness. `docs/network.md` has bounds and figures.
//!
//! Maymounkov and Mazières, *Kademlia: A Peer-to-peer Information System Based on the XOR Metric*, IPTPS 2002. What is
//! done against liars follows Baumgart and Mies, *S/Kademlia: A Practicable Approach Towards Secure Key-Based Routing*,
//! ICPADS 2007, in three things: ids follow from keys and cannot be chosen, one peer's word about another is only a hint
//! for a query, and lookups for content go along disjoint paths.

mod bucket;
mod id;
mod lookup;
mod table;
#[cfg(test)]
mod tests;

pub use bucket::{CHECK_AGE, Insertion, Refusal};
pub use id::{Contact, Distance, NodeId};
pub use lookup::{CANDIDATES_PER_PLACE, Lookup, MAX_FALSE_HINTS, MAX_HINTS_PER_SUBNET, QUERY_TIMEOUT};
#[cfg(feature = "node")]
pub(crate) use table::bucket_order;
pub(crate) use table::subnet;
pub use table::{MAX_PER_SUBNET, MAX_PER_SUBNET_IN_BUCKET, REFRESH_INTERVAL, Table};

/// Contacts in a bucket, in an answer, and in what a lookup finds: enough that all of them leave within an hour
/// about never.
pub const K: usize = 16;
/// Concurrent queries of a lookup.
pub const ALPHA: usize = 3;
/// Disjoint paths of a lookup for content, which others may want to hide; a lookup for nodes has one.
pub const CONTENT_PATHS: usize = 2;
