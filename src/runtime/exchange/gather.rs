//! Walks through a DAG, checks and stores what comes, and says what is missing. On a thread where waiting is allowed.

use std::collections::HashMap;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, mpsc::UnboundedSender};

use super::keeper::{REST, Writer};
use super::turns::Turns;
use super::walk::{Part, Walk};
use super::{FetchError, Progress};
use crate::content::{ContentError, ContentReader};
use crate::ipld::read::PathReader;
use crate::ipld::{Block, Cid};
use crate::p2p::PeerId;
use crate::p2p::kad::NodeId;

/// Links that may wait to be followed: some 80 MB.
const MAX_LINKS: usize = 1_000_000;
/// Bytes that may be on their way at a time, if blocks stay as large as they were; and how many blocks, at least and at most.
const WINDOW_BYTES: u64 = 12 << 20;
const WINDOW_BLOCKS: [u64; 2] = [4, 64];

/// What the gathering thread tells the dispatcher.
pub(super) enum Request {
    /// A block is missing.
    Want(Cid),
    /// A peer sent other bytes than the block's, which is still missing.
    False { cid: Cid, peer: PeerId, node: NodeId },
}

/// A block, as it came.
pub(super) struct Arrival {
    pub(super) cid: Cid,
    pub(super) bytes: Vec<u8>,
    pub(super) peer: PeerId,
    pub(super) node: NodeId,
    /// Room that it takes in memory.
    pub(super) _space: Option<OwnedSemaphorePermit>,
}

pub(super) struct Gatherer<'a> {
    pub(super) reader: &'a ContentReader,
    pub(super) writer: Writer<'a>,
    pub(super) turns: &'a Turns,
    pub(super) requests: UnboundedSender<Request>,
    pub(super) arrivals: mpsc::Receiver<Arrival>,
    pub(super) progress: Arc<Mutex<Progress>>,
    /// Blocks that were asked for, by multihash, with their names: a DAG can link to the same bytes in two codecs.
    pub(super) open: HashMap<Vec<u8>, Vec<Cid>>,
}

fn supply(walk: &mut Walk, cid: &Cid, bytes: &[u8]) -> Result<(), FetchError> {
    walk.supply(cid, bytes).map_err(FetchError::Read)?;
    if walk.waiting() > MAX_LINKS { Err(FetchError::TooManyLinks { most: MAX_LINKS }) } else { Ok(()) }
}

impl Gatherer<'_> {
    /// Makes all blocks on the way along `path` from `root`, and a part of what is at its end, be here.
    pub(super) fn run(mut self, root: Cid, path: &[u8], part: Part) -> Result<(), FetchError> {
        let mut way = PathReader::new(root, path);
        while let Some(cid) = way.wanted().map_err(FetchError::Read)? {
            let block = self.obtain(cid)?;
            way.supply(block.bytes()).map_err(FetchError::Read)?;
        }
        let mut walk = Walk::new(way.found(), part);
        loop {
            while (self.open.len() as u64) < self.window()
                && let Some(cid) = walk.next_block()
            {
                if let Some(block) = self.local(cid)? {
                    supply(&mut walk, block.cid(), block.bytes())?;
                }
            }
            if self.open.is_empty() {
                break;
            }
            let (cids, block) = self.arrived()?;
            cids.iter().try_for_each(|cid| supply(&mut walk, cid, block.bytes()))?;
        }
        self.writer.rest().map_err(FetchError::from)
    }

    /// How many blocks may be on their way.
    fn window(&self) -> u64 {
        let progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let [least, most] = WINDOW_BLOCKS;
        match progress.fetched_bytes.checked_div(progress.fetched_blocks) {
            Some(mean) => (WINDOW_BYTES / mean.max(1)).clamp(least, most),
            None => least,
        }
    }

    /// A block of the store; else it is asked for.
    fn local(&mut self, cid: Cid) -> Result<Option<Block>, FetchError> {
        match self.reader.get(&cid) {
            Ok(block) => {
                self.count(&block, None);
                self.writer.give_way()?;
                Ok(Some(block))
            }
            Err(ContentError::Missing { .. }) => self.want(cid),
            Err(error @ ContentError::Damaged { .. }) => {
                tracing::warn!(%error, "fetched again");
                self.want(cid)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn want(&mut self, cid: Cid) -> Result<Option<Block>, FetchError> {
        // Honest peers could neither send it nor be told from others.
        if cid.function().is_none() {
            return Err(FetchError::Unverifiable { cid: cid.into() });
        }
        let names = self.open.entry(cid.multihash()).or_default();
        names.push(cid);
        if names.len() == 1 {
            self.requests.send(Request::Want(cid)).map_err(|_| FetchError::Stopped)?;
        }
        Ok(None)
    }

    fn obtain(&mut self, cid: Cid) -> Result<Block, FetchError> {
        match self.local(cid)? {
            Some(block) => Ok(block),
            None => self.arrived().map(|(_, block)| block),
        }
    }

    /// Waits for the next block that is one of those asked for, and stores it. Its names, and the block under one of them.
    fn arrived(&mut self) -> Result<(Vec<Cid>, Block), FetchError> {
        loop {
            let arrival = match self.arrivals.recv_timeout(REST) {
                Ok(arrival) => arrival,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    // Others need not wait for what may never come.
                    self.writer.rest()?;
                    continue;
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => return Err(FetchError::Stopped),
            };
            let Arrival { cid, bytes, peer, node, _space } = arrival;
            match Block::check(cid, bytes) {
                Ok(block) => {
                    let Some(names) = self.open.remove(&cid.multihash()) else { continue };
                    self.writer.put(&block, || !self.requests.is_closed())?;
                    self.turns.gave(node, block.bytes().len() as u64);
                    self.count(&block, Some(node));
                    return Ok((names, block));
                }
                Err(error) => {
                    tracing::warn!(%node, %error, "a peer sent false content, and is dropped");
                    let false_one = Request::False { cid, peer, node };
                    self.requests.send(false_one).map_err(|_| FetchError::Stopped)?;
                }
            }
        }
    }

    fn count(&self, block: &Block, from: Option<NodeId>) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = block.bytes().len() as u64;
        progress.blocks += 1;
        progress.bytes += bytes;
        if from.is_some() {
            progress.fetched_blocks += 1;
            progress.fetched_bytes += bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::keeper::Keeper;
    use super::*;
    use crate::content::ContentStore;
    use crate::ipld::{Codec, HashFunction};

    fn block(bytes: &[u8]) -> Block {
        Block::check(Cid::v1(Codec::RAW, HashFunction::Sha2_256, bytes).unwrap(), bytes.to_vec()).unwrap()
    }

    /// A fetch that goes on where it broke off may read for long before it stores again.
    #[test]
    fn who_asks_gets_the_store_while_a_fetch_reads_what_is_here() {
        let dir = tempfile::tempdir().unwrap();
        let (here, new) = (block(b"here"), block(b"new"));
        let mut store = ContentStore::open(dir.path(), 1 << 30).unwrap();
        store.put(&here).unwrap();
        drop(store.close().unwrap());
        let (keeper, turns) = (Keeper::new(dir.path().to_owned(), 1 << 30), Turns::new(None));
        let reader = ContentReader::open(dir.path()).unwrap();
        let (requests, _requests) = tokio::sync::mpsc::unbounded_channel();
        let (_arrived, arrivals) = mpsc::channel();
        let mut gatherer = Gatherer {
            reader: &reader,
            writer: keeper.writer(),
            turns: &turns,
            requests,
            arrivals,
            progress: Arc::default(),
            open: HashMap::new(),
        };
        gatherer.writer.put(&new, || true).unwrap();
        assert!(gatherer.local(*here.cid()).unwrap().is_some() && keeper.is_open(), "no process asks for it");
        std::thread::scope(|scope| {
            let other =
                scope.spawn(|| ContentStore::open_within(dir.path(), 1 << 30, Duration::from_secs(60)).map(drop));
            while !dir.path().join("wanted").exists() {
                std::thread::yield_now();
            }
            assert!(gatherer.local(*here.cid()).unwrap().is_some() && !keeper.is_open());
            other.join().unwrap().unwrap();
        });
        assert!(reader.get(new.cid()).is_ok());
    }
}
