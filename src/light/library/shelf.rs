//! The blocks of files that a person shares from the page, in memory until the page is left.

use std::collections::{BTreeMap, BTreeSet};

use super::ShareError;
use crate::ipld::{Block, Cid, FileBuilder, Metadata, Options};

/// Bytes of all blocks that are shared.
pub const MAX_SHARED_BYTES: usize = 128 << 20;

/// A file that is being added.
struct Adding {
    builder: FileBuilder,
    /// Its blocks so far.
    hashes: BTreeSet<Vec<u8>>,
}

#[derive(Default)]
pub(super) struct Shelf {
    /// By multihash.
    blocks: BTreeMap<Vec<u8>, Vec<u8>>,
    bytes: usize,
    /// The blocks of each file by its root, all by multihash: files may have blocks in common.
    files: BTreeMap<Vec<u8>, BTreeSet<Vec<u8>>>,
    adding: Option<Adding>,
}

impl Shelf {
    pub(super) fn get(&self, hash: &[u8]) -> Option<&[u8]> {
        self.blocks.get(hash).map(Vec::as_slice)
    }

    /// Begins a file, in place of one that did not come to its end.
    pub(super) fn begin(&mut self) {
        self.give_up();
        // Kubo's, and so those of `cairn content add`.
        let builder = FileBuilder::new(&Options::default(), Metadata::NONE);
        self.adding = Some(Adding { builder, hashes: BTreeSet::new() });
    }

    /// Takes the file's next bytes. After an error nothing of it is kept.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), ShareError> {
        let Self { blocks, bytes: sum, adding, .. } = self;
        let Adding { builder, hashes } = adding.as_mut().ok_or(ShareError::NotBegun)?;
        let written = builder.write(bytes, &mut |block| put(blocks, sum, hashes, block));
        if written.is_err() {
            self.give_up();
        }
        written
    }

    /// Ends the file: its CID.
    pub(super) fn finish(&mut self) -> Result<Cid, ShareError> {
        let Adding { builder, mut hashes } = self.adding.take().ok_or(ShareError::NotBegun)?;
        let Self { blocks, bytes: sum, .. } = self;
        let finished = builder.finish(&mut |block| put(blocks, sum, &mut hashes, block));
        match &finished {
            Ok(root) => drop(self.files.insert(root.cid.multihash(), hashes)),
            Err(_) => self.remove(hashes),
        }
        finished.map(|root| root.cid)
    }

    /// Forgets a file that did not come to its end.
    pub(super) fn give_up(&mut self) {
        if let Some(Adding { hashes, .. }) = self.adding.take() {
            self.remove(hashes);
        }
    }

    /// Forgets the file with this root.
    pub(super) fn forget(&mut self, root: &[u8]) {
        if let Some(hashes) = self.files.remove(root) {
            self.remove(hashes);
        }
    }

    /// Removes those of these blocks that no file has.
    fn remove(&mut self, hashes: BTreeSet<Vec<u8>>) {
        for hash in hashes {
            let adding = self.adding.iter().map(|adding| &adding.hashes);
            if !self.files.values().chain(adding).any(|file| file.contains(&hash)) {
                self.bytes -= self.blocks.remove(&hash).map_or(0, |bytes| bytes.len());
            }
        }
    }
}

fn put(
    blocks: &mut BTreeMap<Vec<u8>, Vec<u8>>,
    sum: &mut usize,
    hashes: &mut BTreeSet<Vec<u8>>,
    block: Block,
) -> Result<(), ShareError> {
    let hash = block.cid().multihash();
    if !blocks.contains_key(&hash) {
        if *sum + block.bytes().len() > MAX_SHARED_BYTES {
            return Err(ShareError::Full);
        }
        *sum += block.bytes().len();
        blocks.insert(hash.clone(), block.into_bytes());
    }
    hashes.insert(hash);
    Ok(())
}
