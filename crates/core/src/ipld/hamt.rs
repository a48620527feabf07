//! A directory in many nodes: a [hash array mapped trie](https://specs.ipfs.tech/unixfs/#hamt-structure-and-parameters).
//!
//! The hash of a name, read from its highest bit on, chooses a place in each node on the way down. A place holds the one
//! entry that belongs there, its name behind the place in hexadecimal, or a node for several, named by the place alone.

use super::DirectoryError;
use super::block::Block;
use super::cid::Codec;
use super::dagpb::{self, Link};
use super::file::Root;
use super::murmur3::murmur3_x64_64;
use super::options::{Fanout, Options};
use super::unixfs::{Data, Kind, Metadata};

/// Multihash code of the function that places names.
pub const MURMUR3_X64_64: u64 = 0x22;

/// The place of a name whose hash chose the way for `used` bits before. `None` if its bits are used up.
pub fn place(hash: u64, used: u32, fanout: Fanout) -> Option<usize> {
    let left = u64::BITS.checked_sub(used + fanout.bits())?;
    Some((hash >> left) as usize & (fanout.places() - 1))
}

/// The place as it stands before names.
pub fn prefix(place: usize, fanout: Fanout) -> String {
    format!("{place:0digits$X}", digits = fanout.digits())
}

/// Makes the nodes for these entries, whose names differ.
///
/// # Errors
/// [`DirectoryError::TooDeep`] if two names have the same hash, and those of `sink`.
pub fn build<E: From<DirectoryError>>(
    entries: Vec<Link>,
    metadata: Metadata,
    options: &Options,
    sink: &mut impl FnMut(Block) -> Result<(), E>,
) -> Result<Root, E> {
    let mut hashed: Vec<(u64, Link)> = entries.into_iter().map(|entry| (murmur3_x64_64(&entry.name), entry)).collect();
    hashed.sort_unstable_by_key(|(hash, _)| *hash);
    node(&hashed, 0, metadata, options, sink)
}

/// Recurses at most 21 times, for a fanout of 8.
fn node<E: From<DirectoryError>>(
    entries: &[(u64, Link)],
    used: u32,
    metadata: Metadata,
    options: &Options,
    sink: &mut impl FnMut(Block) -> Result<(), E>,
) -> Result<Root, E> {
    let fanout = options.sharding.fanout;
    let too_deep = || DirectoryError::TooDeep { name: lossy(&entries[0].1.name) };
    if used + fanout.bits() > u64::BITS {
        return Err(too_deep().into());
    }
    let mut links = Vec::new();
    let mut bits = vec![0; fanout.places() / 8];
    for group in entries.chunk_by(|a, b| place(a.0, used, fanout) == place(b.0, used, fanout)) {
        let place = place(group[0].0, used, fanout).ok_or_else(too_deep)?;
        let prefix = prefix(place, fanout).into_bytes();
        links.push(match group {
            [(_, entry)] => Link { name: [&prefix[..], &entry.name].concat(), ..entry.clone() },
            several => node(several, used + fanout.bits(), Metadata::NONE, options, sink)?.named(prefix),
        });
        let byte = bits.len() - 1 - place / 8;
        bits[byte] |= 1 << (place % 8);
    }
    let first = bits.iter().position(|byte| *byte != 0).unwrap_or(bits.len());
    let data = Data {
        bytes: &bits[first..],
        hash_type: Some(MURMUR3_X64_64),
        fanout: Some(fanout.places() as u64),
        metadata,
        ..Data::new(Kind::HamtShard)
    };
    let block = options.block(Codec::DAG_PB, dagpb::encode(&links, &data.encode()));
    let root = Root::over(&block, &links);
    sink(block)?;
    Ok(root)
}

fn lossy(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}
