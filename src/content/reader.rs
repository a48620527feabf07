//! Reading the store.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::blocks::{self, Key, Usage};
use super::error::ContentError;
use super::pins::{self, CheckedPin, Pin, PinKind};
use super::version;
use crate::chain::TreeReader;
use crate::ipld::read::{DagReader, DirectoryReader, Entry, FileReader, PathReader, View};
use crate::ipld::{Block, Cid, Codec, HashFunction, Metadata};
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;

/// Blocks of a file that are read at a time: at most 16 MiB.
const READ_AHEAD: usize = 8;

/// Reads a store, beside the process that has it open. Every block has a name only while it is whole, and is checked
/// whenever it is read, so no lock is needed: at worst a block that is collected meanwhile is missing.
#[derive(Debug, Clone)]
pub struct ContentReader {
    /// The store's directory.
    dir: PathBuf,
    /// Directory of the blocks.
    blocks: PathBuf,
    /// The chain beside the store.
    chain: Option<TreeReader>,
    /// Whether blocks are read that are not likely to be read again soon.
    is_once: bool,
}

impl ContentReader {
    /// Reads the store in `dir`; where there is none, every block is missing.
    ///
    /// # Errors
    /// [`ContentError::Version`].
    pub fn open(dir: &Path) -> Result<Self, ContentError> {
        version::check(dir)?;
        Ok(Self { dir: dir.to_owned(), blocks: blocks::dir(dir), chain: None, is_once: false })
    }

    /// The store's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Reads blocks that are not likely to be read again soon, and leaves the system's page cache to others.
    #[must_use]
    pub fn once(self) -> Self {
        Self { is_once: true, ..self }
    }

    /// Has every header of the chain, too: 80 bytes by their double SHA-256, as `bitcoin-block` names them.
    #[must_use]
    pub fn with_headers(self, chain: Option<&TreeReader>) -> Self {
        Self { chain: chain.cloned(), ..self }
    }

    /// The header that a CID names, if it is of the chain.
    fn header(&self, cid: &Cid) -> Option<Header> {
        let hash = BlockHash::from_bytes(cid.digest_of(HashFunction::DblSha2_256)?);
        Some(self.chain.as_ref()?.read().entry(&hash)?.header)
    }

    /// A block, checked against its name. Costs a hash of it. A block that its CID holds is always there.
    ///
    /// # Errors
    /// [`ContentError::Missing`], [`ContentError::Damaged`].
    pub fn get(&self, cid: &Cid) -> Result<Block, ContentError> {
        if let Some(block) = Block::inline(*cid) {
            return Ok(block);
        }
        let key = Key::of(cid);
        let path = blocks::path(&self.blocks, &key);
        let read = if self.is_once { blocks::read_once } else { blocks::read };
        let bytes = match read(&path)? {
            Some(bytes) => bytes,
            None => self.header(cid).ok_or(ContentError::Missing { cid: (*cid).into() })?.to_bytes().to_vec(),
        };
        let damaged = |_| ContentError::Damaged { cid: (*cid).into(), path };
        Block::check(*cid, bytes).map_err(damaged)
    }

    /// Bytes of a block that is here, unchecked.
    ///
    /// # Errors
    /// [`ContentError::Io`].
    pub fn size(&self, cid: &Cid) -> Result<Option<u64>, ContentError> {
        match cid.inline() {
            Some(bytes) => Ok(Some(bytes.len() as u64)),
            None => match blocks::size(&blocks::path(&self.blocks, &Key::of(cid)))? {
                None => Ok(self.header(cid).map(|_| Header::LEN as u64)),
                size => Ok(size),
            },
        }
    }

    /// Visits all blocks below these roots, each once, in the order of a CAR.
    ///
    /// # Errors
    /// If one is missing, damaged or cannot be read, and those of `visit`.
    pub fn walk<E: From<ContentError>>(
        &self,
        roots: impl IntoIterator<Item = Cid>,
        mut visit: impl FnMut(&Block) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut reader = DagReader::new(roots);
        while let Some(cid) = reader.next_block() {
            let block = self.get(&cid)?;
            visit(&block)?;
            reader.supply(&cid, block.bytes()).map_err(ContentError::Read)?;
        }
        Ok(())
    }

    /// The bytes and blocks of a DAG. Reads and checks all of them.
    ///
    /// # Errors
    /// As [`ContentReader::walk`].
    pub fn totals(&self, root: Cid) -> Result<Usage, ContentError> {
        let mut totals = Usage::default();
        self.walk([root], |block| {
            totals = Usage { bytes: totals.bytes + block.bytes().len() as u64, blocks: totals.blocks + 1 };
            Ok::<(), ContentError>(())
        })?;
        Ok(totals)
    }

    /// Reads and checks what a pin is to keep. That can take long, so call it before the store is opened.
    ///
    /// # Errors
    /// As [`ContentReader::walk`].
    pub fn check(&self, pin: Pin) -> Result<CheckedPin, ContentError> {
        let mut cids = Vec::new();
        match pin.kind {
            PinKind::Direct => cids.push(*self.get(&pin.cid)?.cid()),
            PinKind::Recursive => self.walk([pin.cid], |block| {
                cids.push(*block.cid());
                Ok::<(), ContentError>(())
            })?,
        }
        Ok(CheckedPin { pin, cids })
    }

    /// Where a path of names leads from a root.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn resolve(&self, root: Cid, path: &[u8]) -> Result<Cid, ContentError> {
        let mut reader = PathReader::new(root, path);
        while let Some(cid) = reader.wanted()? {
            reader.supply(self.get(&cid)?.bytes())?;
        }
        Ok(reader.found())
    }

    /// Gives the bytes of a file in order, from one byte to before another, to `write`. Reads and checks some blocks at a time, on
    /// all cores.
    ///
    /// # Errors
    /// [`ContentError`], and those of `write`.
    pub fn read_file<E: From<ContentError>>(
        &self,
        root: Cid,
        range: std::ops::Range<u64>,
        mut write: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut reader = FileReader::new(root, range);
        let mut ahead: HashMap<Cid, Result<Block, ContentError>> = HashMap::new();
        while let Some(cid) = reader.wanted() {
            if !ahead.contains_key(&cid) {
                // What is left of earlier ones comes later, behind parts that are not known yet.
                if ahead.len() > 2 * READ_AHEAD {
                    ahead.clear();
                }
                let next: Vec<Cid> = reader.upcoming().take(READ_AHEAD).collect();
                ahead.par_extend(next.into_par_iter().map(|cid| (cid, self.get(&cid))));
            }
            let Some(block) = ahead.remove(&cid) else { continue };
            write(reader.supply(block?.bytes()).map_err(ContentError::Read)?)?;
        }
        Ok(())
    }

    /// Entries of a directory, in order of their names, and its mode and time.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn list(&self, root: Cid) -> Result<(Vec<Entry>, Metadata), ContentError> {
        let mut reader = DirectoryReader::new(root);
        let mut entries = Vec::new();
        while let Some(cid) = reader.wanted() {
            entries.extend(reader.supply(self.get(&cid)?.bytes())?);
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok((entries, reader.metadata()))
    }

    /// Reads a block as what it is, for `look`.
    ///
    /// # Errors
    /// [`ContentError`].
    pub fn view<T>(&self, cid: Cid, look: impl FnOnce(&View) -> T) -> Result<T, ContentError> {
        let block = self.get(&cid)?;
        Ok(look(&View::of(cid, block.bytes())?))
    }

    /// All pins, in order of their CIDs' text.
    ///
    /// # Errors
    /// The file system's.
    pub fn pins(&self) -> Result<Vec<Pin>, ContentError> {
        pins::all(&self.dir)
    }

    /// What the store holds.
    ///
    /// # Errors
    /// The file system's.
    pub fn usage(&self) -> Result<Usage, ContentError> {
        blocks::usage(&self.blocks, &blocks::usage_file(&self.dir))
    }

    /// The blocks below the recursive ones of `pins`, each once, in the order of a CAR. If a block is missing, pins that
    /// are not kept any more leave the list, and with them their blocks.
    ///
    /// # Errors
    /// [`ContentError::Missing`] if that was not why, and as [`ContentReader::walk`].
    fn below(&self, pins: &mut Vec<Pin>) -> Result<Vec<Cid>, ContentError> {
        loop {
            let mut cids = Vec::new();
            let roots = pins.iter().filter(|pin| pin.kind == PinKind::Recursive).map(|pin| pin.cid);
            let walked = self.walk(roots, |block| {
                cids.push(*block.cid());
                Ok(())
            });
            let Err(error @ ContentError::Missing { .. }) = walked else { return walked.map(|()| cids) };
            let (count, kept) = (pins.len(), self.pins()?);
            pins.retain(|pin| kept.iter().any(|other| pin.keeps_as(other)));
            if pins.len() == count {
                return Err(error);
            }
        }
    }

    /// The same without what `pins` name themselves: the blocks that are kept only for what is above them.
    ///
    /// # Errors
    /// [`ContentError::Missing`] if a block is lost, and as [`ContentReader::walk`].
    pub fn indirect(&self, pins: &mut Vec<Pin>) -> Result<Vec<Cid>, ContentError> {
        let mut cids = self.below(pins)?;
        let named: BTreeSet<Cid> = pins.iter().map(|pin| pin.cid).collect();
        cids.retain(|cid| !named.contains(cid));
        Ok(cids)
    }

    /// The blocks that pins keep and that are not here, each after its pin. What would be below them is not known.
    ///
    /// # Errors
    /// The file system's, or [`ContentError::Read`].
    pub fn missing(&self) -> Result<Vec<(Cid, Cid)>, ContentError> {
        self.missing_of(&self.pins()?)
    }

    /// Blocks of pins that were removed since `pins` were read may have been collected, and are not missing.
    fn missing_of(&self, pins: &[Pin]) -> Result<Vec<(Cid, Cid)>, ContentError> {
        let mut missing = Vec::new();
        for pin in pins {
            let mut reader = DagReader::new([pin.cid]);
            while let Some(cid) = reader.next_block() {
                if self.size(&cid)?.is_none() {
                    missing.push((pin, cid));
                } else if pin.kind == PinKind::Recursive && cid.codec() != Codec::RAW {
                    match self.get(&cid) {
                        Ok(block) => reader.supply(&cid, block.bytes())?,
                        // `verify` names it.
                        Err(ContentError::Damaged { .. }) => {}
                        Err(ContentError::Missing { cid }) => missing.push((pin, *cid)),
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        let kept = self.pins()?;
        missing.retain(|(pin, _)| kept.iter().any(|other| pin.keeps_as(other)));
        Ok(missing.into_iter().map(|(pin, cid)| (pin.cid, cid)).collect())
    }

    /// Names the blocks whose bytes are not those of their names, and says how many of how many are checked.
    ///
    /// # Errors
    /// The file system's.
    pub fn verify(&self, mut checked: impl FnMut(u64, u64)) -> Result<Vec<(Cid, PathBuf)>, ContentError> {
        let mut damaged = Vec::new();
        let cids: Vec<Cid> = blocks::keys(&self.blocks)?.iter().filter_map(Key::raw_cid).collect();
        for (count, cid) in cids.iter().enumerate() {
            checked(count as u64, cids.len() as u64);
            match self.get(cid) {
                Err(ContentError::Damaged { cid, path }) => damaged.push((*cid, path)),
                // Collected meanwhile.
                Err(ContentError::Missing { .. }) => {}
                other => drop(other?),
            }
        }
        checked(cids.len() as u64, cids.len() as u64);
        Ok(damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{ContentStore, PinName};
    use crate::ipld::dagpb::{self, Link};

    fn dag(byte: u8) -> [Block; 2] {
        let leaf = Cid::v1(Codec::RAW, HashFunction::Sha2_256, &[byte]).unwrap();
        let root = dagpb::encode(&[Link { cid: leaf, name: Vec::new(), size: 1 }], &[]);
        let cid = Cid::v1(Codec::DAG_PB, HashFunction::Sha2_256, &root).unwrap();
        [Block::check(cid, root).unwrap(), Block::check(leaf, vec![byte]).unwrap()]
    }

    /// As another process does it: the pins were read before, and the blocks are read after.
    #[test]
    fn what_is_unpinned_and_collected_meanwhile_is_no_loss() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = ContentStore::open(dir.path(), 1 << 30).unwrap();
        for blocks in [dag(1), dag(2)] {
            blocks.iter().for_each(|block| store.put(block).unwrap());
            store.pin(&Pin { cid: *blocks[0].cid(), kind: PinKind::Recursive, name: PinName::default() }).unwrap();
        }
        let cids = |blocks: &[Block]| blocks.iter().map(|block| *block.cid()).collect::<Vec<_>>();
        let reader = store.reader().clone();
        let read = reader.pins().unwrap();
        assert_eq!(reader.below(&mut read.clone()).unwrap().len(), 4);
        drop(store);
        let mut store = ContentStore::open(dir.path(), 1 << 30).unwrap();
        store.unpin(dag(1)[0].cid()).unwrap();
        assert_eq!(store.collect(|_| {}).unwrap().blocks, 2);
        let mut pins = read.clone();
        assert_eq!(reader.below(&mut pins).unwrap(), cids(&dag(2)));
        assert_eq!(pins, reader.pins().unwrap());
        assert_eq!(reader.missing_of(&read).unwrap(), []);

        let [root, leaf] = dag(2);
        std::fs::remove_file(blocks::path(&reader.blocks, &Key::of(leaf.cid()))).unwrap();
        assert!(matches!(reader.below(&mut read.clone()), Err(ContentError::Missing { .. })));
        assert_eq!(reader.missing_of(&read).unwrap(), [(*root.cid(), *leaf.cid())]);
    }
}
