//! Content in a browser page: fetches a file from nodes and pages by its CID, or the list of a directory's entries, and shares
//! files with those that ask.
//!
//! [`Library`] is a state machine beside [`Light`](super::Light), which hands on what peers say about content
//! ([`Notice::Content`](super::Notice::Content)). The page runs it as a module of its own (`crates/library`): so the
//! light client's is no larger for it, and what strangers send as content is read in another memory.
//!
//! Every block is checked against its CID before anything is read in it. A file is handed out piece by piece.

mod assembly;
mod patience;
mod shelf;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

pub use assembly::{MAX_ENTRIES, MAX_FILE_BYTES};
pub use patience::PACE;
pub use shelf::MAX_SHARED_BYTES;

use self::assembly::{AHEAD, Assembly, Step};
use self::patience::Patience;
use self::shelf::Shelf;
use crate::ipld::read::{Entry, ReadError};
use crate::ipld::{Block, BlockError, Cid, CidError};
use crate::p2p::PeerId;
use crate::p2p::bucket::{Bucket, Rate};
use crate::p2p::content_message::ContentMessage;
use crate::p2p::kad::NodeId;
use crate::p2p::wants::{ContentBlock, ContentFault, Have, MAX_WANTS, Want};
use crate::primitives::time::MonoTime;

/// Blocks that a peer is asked for at a time at first, one more with each that it sends, up to [`AHEAD`].
const WINDOW: usize = 2;
/// Time without any answer after which what a peer was asked for is asked of others: 8 s for a peer that has sent blocks,
/// 3 s for one that has not. A block adds to what is left of it by its bytes ([`PACE`]).
pub const STALL: Duration = Duration::from_secs(8);
const FIRST_STALL: Duration = Duration::from_secs(3);
/// Times in a row that a peer may stall before it is asked no more.
const MAX_STALLS: u32 = 2;
/// Until peers that lacked a block are asked for it again.
pub const RETRY: Duration = Duration::from_secs(5);
/// Time without any block after which a fetch has failed, as at a node: pages need some to meet. A block adds to what is
/// left of it by its bytes ([`PACE`]).
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Wants of a peer that wait to be served, as at a node.
pub const MAX_WAITING: usize = 4 * MAX_WANTS;
/// Time until providers are looked for, if no peer offers content: pages need some to meet.
pub const SEEK_WAIT: Duration = Duration::from_secs(2);
/// Bytes that all peers together are sent at once, and a millisecond besides: 5 MB/s, as of a node.
pub const UPLOAD_BURST: u64 = 16 << 20;
const UPLOAD: Rate = Rate { gain: 5_000, most: UPLOAD_BURST };
/// Minimum charge for a want, in bytes.
const LEAST: u64 = 1_000;

/// Why there is no file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum FetchError {
    /// The text before the path is not a CID.
    #[error(transparent)]
    Cid(#[from] CidError),
    /// The blocks do not make a file.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// No peer could prove that it sends the right block.
    #[error(transparent)]
    Unverifiable(BlockError),
    /// More than the page keeps.
    #[error("the file has {size} bytes, and a page takes at most {MAX_FILE_BYTES}")]
    TooLarge { size: u64 },
    /// More than the page shows.
    #[error("the directory has more than {MAX_ENTRIES} entries, or large ones: give the path of one of them")]
    Crowded,
    /// They would take the page's time without end.
    #[error("the file has {size} bytes, and its blocks more than the {most} that a page reads for them")]
    Bloated { size: u64, most: u64 },
    /// No peer sends it, or not fast enough.
    #[error("none of {peers} connected peers with content sends the block {cid} in time")]
    Absent { cid: Box<Cid>, peers: usize },
}

/// Why a file cannot be shared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShareError {
    /// There is no room.
    #[error("a page shares at most {MAX_SHARED_BYTES} bytes")]
    Full,
    /// No file was begun.
    #[error("no file was begun")]
    NotBegun,
}

/// What the page is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send this.
    Send(PeerId, ContentMessage),
    /// Have the light client penalise a peer.
    Penalise(PeerId, ContentFault),
    /// Append these bytes to the file.
    Piece(Vec<u8>),
    /// It is a directory, and this is its next entry.
    Entry(Entry),
    /// No peer has what is needed next: have the light client look for nodes that provide the content of this key.
    Seek(NodeId),
    /// Call [`Library::tick`] as soon as nothing else is to be done.
    Again,
    /// It is whole, or there is none.
    Ended(Result<Whole, FetchError>),
}

/// What was fetched to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whole {
    /// All pieces of a file.
    File,
    /// All entries of a directory.
    Directory,
}

/// A peer that was heard of.
struct Peer {
    /// Whether it may be asked.
    offers: bool,
    /// Multihashes of the blocks that it owes an answer about, for this fetch and for those before.
    asked: BTreeSet<Vec<u8>>,
    late: BTreeSet<Vec<u8>>,
    window: usize,
    /// Whether it has ever sent a block.
    has_sent: bool,
    /// How long its answers are waited for.
    patience: Patience,
    stalls: u32,
    /// What it wants.
    wants: VecDeque<Want>,
}

impl Default for Peer {
    fn default() -> Self {
        let (asked, late, wants) = (BTreeSet::new(), BTreeSet::new(), VecDeque::new());
        let patience = Patience::full(MonoTime::START, FIRST_STALL);
        Self { offers: false, asked, late, window: WINDOW, has_sent: false, patience, stalls: 0, wants }
    }
}

/// A block that is missing.
struct Missing {
    cid: Cid,
    /// Who was asked last.
    asked: Option<PeerId>,
    /// Who does not have it, or did not send it.
    tried: Vec<PeerId>,
}

struct Fetch {
    assembly: Assembly,
    /// What providers are looked for by, until that is done.
    key: Option<NodeId>,
    began: MonoTime,
    /// By multihash.
    missing: BTreeMap<Vec<u8>, Missing>,
    patience: Patience,
    retried: MonoTime,
}

/// Fetches one file at a time, and shares files.
#[derive(Default)]
pub struct Library {
    peers: BTreeMap<PeerId, Peer>,
    fetch: Option<Fetch>,
    /// Bytes of blocks that each peer sent for the last fetch.
    given: BTreeMap<PeerId, u64>,
    shelf: Shelf,
    /// What may be sent; `None` before the first.
    upload: Option<Bucket>,
    out: VecDeque<Output>,
}

/// A CID and the path behind it, with or without `/ipfs/` or `ipfs://` before them.
fn parse(text: &str) -> Result<(Cid, &[u8]), CidError> {
    let text = text.trim();
    let text = ["/ipfs/", "ipfs://"].iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
    let (cid, path) = text.split_once('/').unwrap_or((text, ""));
    Ok((cid.parse()?, path.as_bytes()))
}

impl Library {
    /// What is to be done next.
    pub fn next_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// A peer says that it offers content.
    pub fn offers(&mut self, now: MonoTime, id: PeerId) {
        self.peers.entry(id).or_default().offers = true;
        self.assign(now);
    }

    /// A connection has ended.
    pub fn gone(&mut self, now: MonoTime, id: PeerId) {
        self.peers.remove(&id);
        self.release(id);
        self.assign(now);
    }

    /// Fetches the file that a text names by its CID and perhaps a path, in place of another. Lists a directory.
    ///
    /// # Errors
    /// [`FetchError::Cid`], [`FetchError::Read`] if nothing can be below that CID.
    pub fn fetch(&mut self, now: MonoTime, text: &str) -> Result<(), FetchError> {
        let (root, path) = parse(text)?;
        let key = Some(NodeId::of_content(&root.multihash()));
        let assembly = Assembly::new(root, path)?;
        self.peers.values_mut().for_each(|peer| peer.begin(now));
        self.given.clear();
        let patience = Patience::full(now, PATIENCE);
        self.fetch = Some(Fetch { assembly, key, began: now, missing: BTreeMap::new(), patience, retried: now });
        self.advance(now);
        Ok(())
    }

    /// Ends the fetch.
    pub fn stop(&mut self) {
        self.fetch = None;
    }

    /// Bytes of the file that are here, and how many it has, if there is a fetch and that is known.
    pub fn progress(&self) -> (u64, Option<u64>) {
        self.fetch.as_ref().map_or((0, None), |fetch| fetch.assembly.progress())
    }

    /// Bytes of blocks that each peer sent for the last fetch.
    pub fn given(&self) -> &BTreeMap<PeerId, u64> {
        &self.given
    }

    /// Goes on with what waits for time: to be called after [`Output::Again`], and each second of a fetch.
    pub fn tick(&mut self, now: MonoTime) {
        let late: Vec<PeerId> =
            self.peers.iter_mut().filter_map(|(id, peer)| peer.stalled(now).then_some(*id)).collect();
        late.into_iter().for_each(|id| self.release(id));
        self.seek(now);
        if let Some(fetch) = &mut self.fetch
            && fetch.retried + RETRY <= now
        {
            fetch.retried = now;
            fetch.missing.values_mut().for_each(|missing| missing.tried.clear());
        }
        self.advance(now);
        let Some(fetch) = self.fetch.as_ref().filter(|fetch| fetch.patience.is_over(now)) else { return };
        if let Some(cid) = fetch.assembly.wanted().first() {
            let peers = self.peers.values().filter(|peer| peer.offers).count();
            self.end(Err(FetchError::Absent { cid: (*cid).into(), peers }));
        }
    }

    /// Once for each fetch: has providers looked for, if no peer has the block that is needed first.
    fn seek(&mut self, now: MonoTime) {
        let Self { peers, fetch: Some(fetch), out, .. } = self else { return };
        let Some(hash) = fetch.assembly.wanted().first().map(|cid| cid.multihash()) else { return };
        let Some(missing) = fetch.missing.get(&hash).filter(|missing| missing.asked.is_none()) else { return };
        let mut offering = peers.iter().filter(|(_, peer)| peer.offers).peekable();
        let is_due = offering.peek().is_some() || fetch.began + SEEK_WAIT <= now;
        // One that was asked and is silent is not asked again.
        if is_due && offering.all(|(id, peer)| missing.tried.contains(id) || peer.asked.contains(&hash)) {
            out.extend(fetch.key.take().map(Output::Seek));
        }
    }

    fn end(&mut self, result: Result<Whole, FetchError>) {
        self.fetch = None;
        self.out.push_back(Output::Ended(result));
    }

    /// What a peer was asked for may be asked of others.
    fn release(&mut self, id: PeerId) {
        let missing = self.fetch.iter_mut().flat_map(|fetch| fetch.missing.values_mut());
        for missing in missing.filter(|missing| missing.asked == Some(id)) {
            missing.asked = None;
            missing.tried.push(id);
        }
    }

    /// Handles what a peer says about content.
    pub fn received(&mut self, now: MonoTime, id: PeerId, message: ContentMessage) {
        let fine = match message {
            ContentMessage::Wants(wants) => self.peers.entry(id).or_default().take_wants(wants),
            ContentMessage::Haves(haves) => haves.into_iter().try_for_each(|have| self.lacks(now, id, &have)),
            ContentMessage::Block(block) => self.block(now, id, block),
        };
        if let Err(fault) = fine {
            self.out.push_back(Output::Penalise(id, fault));
        }
        self.advance(now);
        self.seek(now);
    }

    /// A peer answers a want without the block, whatever it says that it has.
    fn lacks(&mut self, now: MonoTime, id: PeerId, have: &Have) -> Result<(), ContentFault> {
        self.peers.entry(id).or_default().lacks(now, &have.hash)?;
        let missing = self.fetch.as_mut().and_then(|fetch| fetch.missing.get_mut(&have.hash));
        if let Some(missing) = missing.filter(|missing| missing.asked == Some(id)) {
            missing.asked = None;
            missing.tried.push(id);
        }
        Ok(())
    }

    fn block(&mut self, now: MonoTime, id: PeerId, block: ContentBlock) -> Result<(), ContentFault> {
        let peer = self.peers.entry(id).or_default();
        peer.sent(now, &block)?;
        let Some(fetch) = &mut self.fetch else { return Ok(()) };
        // Another may have sent it meanwhile.
        let Some(missing) = fetch.missing.get(&block.hash) else { return Ok(()) };
        let Ok(checked) = Block::check(missing.cid, block.bytes) else {
            peer.offers = false;
            self.release(id);
            return Err(ContentFault::False { hash: block.hash });
        };
        peer.window = (peer.window + 1).min(AHEAD);
        // Now there is a peer that has the file: finding it may have taken most of the time.
        if self.given.is_empty() {
            fetch.patience = Patience::full(now, PATIENCE);
        }
        *self.given.entry(id).or_default() += checked.bytes().len() as u64;
        fetch.patience.earn(now, checked.bytes().len(), PATIENCE);
        fetch.missing.remove(&block.hash);
        fetch.assembly.hold(block.hash, checked.into_bytes());
        Ok(())
    }

    /// Reads on in the file, a step at a time, and asks for what comes next.
    fn advance(&mut self, now: MonoTime) {
        let Some(fetch) = &mut self.fetch else { return };
        match fetch.assembly.advance() {
            Ok(Step::Ended(whole)) => return self.end(Ok(whole)),
            Err(error) => return self.end(Err(error)),
            Ok(Step::Waits) => {}
            Ok(Step::More) => self.out.push_back(Output::Again),
            Ok(Step::Piece(bytes)) => self.out.extend([Output::Piece(bytes), Output::Again]),
            Ok(Step::Entries(entries)) => {
                self.out.extend(entries.into_iter().map(Output::Entry).chain([Output::Again]));
            }
        }
        self.assign(now);
    }

    /// Asks peers that have room for what no peer is asked for.
    fn assign(&mut self, now: MonoTime) {
        let Self { peers, fetch: Some(fetch), shelf, out, .. } = self else { return };
        let mut lists: BTreeMap<PeerId, Vec<Want>> = BTreeMap::new();
        let wanted = fetch.assembly.wanted();
        if let Some(cid) = wanted.iter().find(|cid| cid.function().is_none()) {
            // Honest peers could neither send it nor be told from others.
            let (cid, code) = ((*cid).into(), cid.function_code());
            return self.end(Err(FetchError::Unverifiable(BlockError::UnknownHash { cid, code })));
        }
        for cid in wanted {
            let hash = cid.multihash();
            if let Some(bytes) = shelf.get(&hash) {
                fetch.assembly.hold(hash, bytes.to_vec());
                out.push_back(Output::Again);
                continue;
            }
            let missing = fetch.missing.entry(hash.clone()).or_insert(Missing { cid, asked: None, tried: Vec::new() });
            if missing.asked.is_some() {
                continue;
            }
            let free = peers.iter_mut().filter(|(id, peer)| {
                peer.offers && peer.room() > 0 && !missing.tried.contains(id) && !peer.asked.contains(&hash)
            });
            // Fast ones have large windows.
            let Some((id, peer)) = free.max_by_key(|(_, peer)| peer.room()) else { continue };
            if peer.asked.is_empty() {
                peer.patience.resume(now);
            }
            peer.asked.insert(hash.clone());
            missing.asked = Some(*id);
            lists.entry(*id).or_default().push(Want { hash, whole: true });
        }
        out.extend(lists.into_iter().map(|(id, wants)| Output::Send(id, ContentMessage::Wants(wants))));
    }

    /// The next answer to what a peer wants, if there is one and it may be sent now. To be called while the peer takes
    /// more.
    pub fn answer(&mut self, now: MonoTime, id: PeerId) -> Option<ContentMessage> {
        let wants = &mut self.peers.get_mut(&id)?.wants;
        let upload = self.upload.get_or_insert_with(|| Bucket::full(now, UPLOAD));
        let mut haves = Vec::new();
        while let Some(want) = wants.front() {
            let block = self.shelf.get(&want.hash);
            let sent = block.filter(|_| want.whole);
            let cost = sent.map_or(LEAST, |bytes| (bytes.len() as u64).max(LEAST));
            let is_full = haves.len() == MAX_WANTS || sent.is_some() && !haves.is_empty();
            if is_full || !upload.take(now, UPLOAD, cost) {
                break;
            }
            let (here, sent) = (block.is_some(), sent.map(<[u8]>::to_vec));
            let hash = wants.pop_front()?.hash;
            match sent {
                Some(bytes) => return Some(ContentMessage::Block(ContentBlock { hash, bytes })),
                None => haves.push(Have { hash, here }),
            }
        }
        (!haves.is_empty()).then_some(ContentMessage::Haves(haves))
    }

    /// Whether a peer waits for an answer.
    pub fn owes(&self) -> bool {
        self.peers.values().any(|peer| !peer.wants.is_empty())
    }

    /// Begins to share a file, in place of one that was not finished.
    pub fn share(&mut self) {
        self.shelf.begin();
    }

    /// Takes the next bytes of the file.
    ///
    /// # Errors
    /// [`ShareError`]; nothing of the file is kept then.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ShareError> {
        self.shelf.write(bytes)
    }

    /// Ends the file, which peers can have from now on: its CID, as `cairn content add` gives it.
    ///
    /// # Errors
    /// [`ShareError`]; nothing of the file is kept then.
    pub fn finish(&mut self) -> Result<Cid, ShareError> {
        self.shelf.finish()
    }

    /// Forgets a file that was begun and not finished.
    pub fn give_up(&mut self) {
        self.shelf.give_up();
    }

    /// Shares the file with this root no longer.
    pub fn unshare(&mut self, root: &Cid) {
        self.shelf.forget(&root.multihash());
    }

    /// Shares nothing any more.
    pub fn clear(&mut self) {
        self.shelf = Shelf::default();
    }
}

impl Peer {
    /// How many more blocks it may be asked for.
    fn room(&self) -> usize {
        if self.stalls < MAX_STALLS { self.window.saturating_sub(self.asked.len()) } else { 0 }
    }

    /// Another fetch begins: it may answer about blocks of the last one, and that leaves no less room for this one.
    fn begin(&mut self, now: MonoTime) {
        self.late.append(&mut self.asked);
        (self.stalls, self.window) = (0, WINDOW);
        self.patience = Patience::full(now, self.most());
    }

    /// The most that its answers are waited for.
    fn most(&self) -> Duration {
        if self.has_sent { STALL } else { FIRST_STALL }
    }

    fn answered(&mut self, hash: &[u8]) -> Result<(), ContentFault> {
        if self.asked.remove(hash) || self.late.remove(hash) { Ok(()) } else { Err(ContentFault::Unrequested) }
    }

    /// It says that it does not have a block, which costs it nothing: its stalls are not forgotten.
    fn lacks(&mut self, now: MonoTime, hash: &[u8]) -> Result<(), ContentFault> {
        self.answered(hash)?;
        self.patience = Patience::full(now, self.most());
        Ok(())
    }

    /// It sends a block. The stalls of one that sends few bytes are not forgotten.
    fn sent(&mut self, now: MonoTime, block: &ContentBlock) -> Result<(), ContentFault> {
        self.answered(&block.hash)?;
        if !std::mem::replace(&mut self.has_sent, true) {
            self.patience = Patience::full(now, STALL);
        }
        if self.patience.earn(now, block.bytes.len(), STALL) {
            self.stalls = 0;
        }
        Ok(())
    }

    /// Whether it has not answered for too long. It is asked for one block at a time then.
    fn stalled(&mut self, now: MonoTime) -> bool {
        let is_late = !self.asked.is_empty() && self.patience.is_over(now);
        if is_late {
            (self.patience, self.window, self.stalls) = (Patience::full(now, self.most()), 1, self.stalls + 1);
        }
        is_late
    }

    fn take_wants(&mut self, wants: Vec<Want>) -> Result<(), ContentFault> {
        let room = MAX_WAITING - self.wants.len();
        let is_flood = wants.len() > room;
        self.wants.extend(wants.into_iter().take(room));
        if is_flood { Err(ContentFault::Flood) } else { Ok(()) }
    }
}
