//! Directories and symbolic links as blocks.

use std::collections::BTreeMap;

use super::DirectoryError;
use super::block::Block;
use super::cid::{Cid, Codec};
use super::dagpb::{self, Link};
use super::file::Root;
use super::hamt;
use super::options::{Options, SizeEstimate};
use super::proto::bytes_len;
use super::unixfs::{Data, Kind, Metadata};

/// A directory that gets its entries, in any order.
#[derive(Debug, Default)]
pub struct DirectoryBuilder {
    /// Name, block, and bytes of the blocks.
    entries: BTreeMap<Vec<u8>, (Cid, u64)>,
}

impl DirectoryBuilder {
    /// An empty directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an entry. Takes some 200 bytes of memory beside its name.
    ///
    /// # Errors
    /// [`DirectoryError`] if the name is taken, or is none.
    pub fn insert(&mut self, entry: Link) -> Result<(), DirectoryError> {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        if !is_entry_name(&entry.name) {
            return Err(DirectoryError::Name { name: text(&entry.name) });
        }
        if self.entries.contains_key(&entry.name) {
            return Err(DirectoryError::Repeated { name: text(&entry.name) });
        }
        self.entries.insert(entry.name, (entry.cid, entry.size));
        Ok(())
    }

    /// Makes the blocks: one, or many if the directory is large. Each goes to `sink`, the root last.
    ///
    /// # Errors
    /// [`DirectoryError::TooDeep`], and those of `sink`.
    pub fn finish<E: From<DirectoryError>>(
        self,
        metadata: Metadata,
        options: &Options,
        sink: &mut impl FnMut(Block) -> Result<(), E>,
    ) -> Result<Root, E> {
        let links: Vec<Link> = self.entries.into_iter().map(|(name, (cid, size))| Link { cid, name, size }).collect();
        let data = Data { metadata, ..Data::new(Kind::Directory) }.encode();
        let sharding = &options.sharding;
        let estimate: usize = match sharding.estimate {
            SizeEstimate::Links => links.iter().map(|link| link.name.len() + link.cid.encoded_len()).sum(),
            SizeEstimate::Block => links.iter().map(Link::encoded_len).sum::<usize>() + bytes_len(data.len()),
        };
        let is_wide = sharding.max_links.is_some_and(|max| links.len() > max.get());
        // An empty directory stays in one node, whatever the threshold.
        if !links.is_empty() && (estimate > sharding.threshold || is_wide) {
            return hamt::build(links, metadata, options, sink);
        }
        let block = options.block(Codec::DAG_PB, dagpb::encode(&links, &data));
        let root = Root::over(&block, &links);
        sink(block)?;
        Ok(root)
    }
}

/// Whether a directory's entry can have this name: it is not empty, `.` or `..`, and has neither `/` nor NUL.
pub fn is_entry_name(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.contains(&b'/') && !name.contains(&0)
}

/// Makes a symbolic link to `target`, any bytes. Of the metadata only the time is kept, as in Kubo.
///
/// # Errors
/// Those of `sink`.
pub fn symlink<E>(
    target: &[u8],
    metadata: Metadata,
    options: &Options,
    sink: &mut impl FnMut(Block) -> Result<(), E>,
) -> Result<Root, E> {
    let metadata = Metadata { mode: None, ..metadata };
    let data = Data { bytes: target, metadata, ..Data::new(Kind::Symlink) };
    let block = options.block(Codec::DAG_PB, dagpb::encode(&[], &data.encode()));
    let root = Root::over(&block, &[]);
    sink(block)?;
    Ok(root)
}
