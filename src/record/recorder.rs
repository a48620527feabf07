//! Writes a record, beside the node.

use std::collections::vec_deque::Drain;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::ops::{ControlFlow, Deref};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use tracing::{error, info};

use super::entry::{self, CHECKPOINT, COMMAND, END, INPUT, Pair, START, STORED, Start};
use super::state::{self, Digest, State};
use super::{CHECKPOINT_INTERVAL, MAGIC, VERSION, input};
use crate::mempool::Ahead;
use crate::p2p::{Command, Input, Node, Now, Output, PeerId, Protocol};
use crate::primitives::codec;
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::primitives::tx::HashedTransaction;
use crate::storage::{Store, StoreError};

/// Most bytes that wait for the disk. With more, the recording ends: the node must not wait for the record's disk.
const MAX_WAITING: usize = 64 << 20;
/// Chunks between the node's thread and the one that writes: what comes while both are taken waits together for the next.
const CHUNKS: usize = 2;
/// Bytes of the store in one entry, about.
const STORED_BYTES: usize = 1 << 20;

/// A record being written, by its own thread, so that the disk never delays the node.
#[derive(Debug)]
pub struct Recorder {
    /// Not handed over yet.
    waiting: Vec<u8>,
    /// `None` once the recording has ended.
    writer: Option<Writer>,
    entries: u64,
    digest: Digest,
    /// Outputs of the node that the digest covers already.
    seen: usize,
}

#[derive(Debug)]
struct Writer {
    chunks: SyncSender<Vec<u8>>,
    thread: JoinHandle<()>,
}

impl Recorder {
    /// Begins a record in a new file, for this user only.
    ///
    /// # Errors
    /// What the file system says; a file that is there already is left as it is.
    pub fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Self::to(options.open(path)?, path)
    }

    /// Begins a record in an open file.
    pub(super) fn to(file: File, path: &Path) -> io::Result<Self> {
        let (chunks, waiting) = sync_channel(CHUNKS);
        let path = path.to_owned();
        let thread = std::thread::Builder::new().name("record".to_owned());
        let thread = thread.spawn(move || write(file, &path, &waiting))?;
        let start = [&MAGIC[..], &VERSION.to_le_bytes()].concat();
        let writer = Some(Writer { chunks, thread });
        Ok(Self { waiting: start, writer, entries: 0, digest: Digest::default(), seen: 0 })
    }

    /// Records a node's initial state: its settings and its store. Waits for the disk.
    ///
    /// # Errors
    /// The store's. The disk's only end the recording.
    pub fn begin(&mut self, start: &Start, store: &dyn Store) -> Result<(), StoreError> {
        entry::write(&mut self.waiting, START, &[&entry::encode_start(start)]);
        let (mut pairs, mut bytes) = (Vec::<Pair>::new(), 0);
        store.scan(&[], &[], &mut |key, value| {
            bytes += key.len() + value.len();
            pairs.push((key.to_vec(), value.to_vec()));
            if bytes >= STORED_BYTES {
                bytes = 0;
                self.stored(&std::mem::take(&mut pairs));
            }
            if self.writer.is_some() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        self.stored(&pairs);
        Ok(())
    }

    fn stored(&mut self, pairs: &Vec<Pair>) {
        entry::write(&mut self.waiting, STORED, &[&codec::encode(pairs)]);
        let chunk = std::mem::take(&mut self.waiting);
        if self.writer.as_ref().is_some_and(|writer| writer.chunks.send(chunk).is_err()) {
            self.finish();
        }
    }

    fn entry(&mut self, kind: u8, now: Now, body: &[u8]) {
        if self.writer.is_none() {
            return;
        }
        entry::write(&mut self.waiting, kind, &[&entry::moment(now, self.digest), body]);
        self.entries += 1;
        self.send_chunk();
    }

    /// Hands over what waits, if the other thread has room for it.
    fn send_chunk(&mut self) {
        let Some(writer) = &self.writer else { return };
        match writer.chunks.try_send(std::mem::take(&mut self.waiting)) {
            Ok(()) => {}
            Err(TrySendError::Full(waiting)) if waiting.len() < MAX_WAITING => self.waiting = waiting,
            Err(TrySendError::Full(_)) => {
                error!("the recording has ended: its disk is too slow");
                // It writes what it has; nothing waits for that.
                self.writer = None;
            }
            // It has logged the reason.
            Err(TrySendError::Disconnected(_)) => self.writer = None,
        }
    }

    /// The node has handled what was written down last.
    fn handled(&mut self, node: &Node, now: Now) {
        if self.writer.is_none() {
            return;
        }
        self.digest = state::digest(self.digest, node, node.outputs().skip(self.seen));
        self.seen = node.outputs().count();
        if self.entries.is_multiple_of(CHECKPOINT_INTERVAL) {
            self.checkpoint(CHECKPOINT, node, now);
        }
    }

    fn checkpoint(&mut self, kind: u8, node: &Node, now: Now) {
        let body = codec::encode(&(self.digest, State::of(node, now)));
        entry::write(&mut self.waiting, kind, &[&body]);
        self.send_chunk();
    }

    /// Waits until all that was recorded is on the disk.
    fn finish(&mut self) {
        let Some(Writer { chunks, thread }) = self.writer.take() else { return };
        // Fails only if the thread has ended and logged the reason.
        let _ = chunks.send(std::mem::take(&mut self.waiting));
        drop(chunks);
        if thread.join().is_err() {
            error!("the recording has ended: its thread panicked");
        }
    }
}

/// Also at a panic, so that its input is in the record.
impl Drop for Recorder {
    fn drop(&mut self) {
        self.finish();
    }
}

fn write(mut file: File, path: &Path, chunks: &Receiver<Vec<u8>>) {
    let result = chunks.iter().try_for_each(|chunk| file.write_all(&chunk)).and_then(|()| file.sync_all());
    match result {
        Ok(()) => info!(path = %path.display(), "recorded"),
        Err(error) => error!(path = %path.display(), %error, "the recording has ended: it cannot be written"),
    }
}

/// A node whose inputs and commands are recorded before it handles them, if a record is wanted.
pub struct Recorded {
    node: Node,
    recorder: Option<Recorder>,
}

impl Recorded {
    /// A node made at `now`, and the record of its initial state.
    pub fn new(node: Node, recorder: Option<Recorder>, now: Now) -> Self {
        let mut recorded = Self { node, recorder };
        recorded.handled(now);
        recorded
    }

    /// Whether inputs are being recorded.
    pub fn is_recording(&self) -> bool {
        self.recorder.as_ref().is_some_and(|recorder| recorder.writer.is_some())
    }

    fn handled(&mut self, now: Now) {
        if let Some(recorder) = &mut self.recorder {
            recorder.handled(&self.node, now);
        }
    }
}

impl Deref for Recorded {
    type Target = Node;

    fn deref(&self) -> &Node {
        &self.node
    }
}

impl Protocol for Recorded {
    type Command = Command;

    fn handle(&mut self, now: Now, input: Input) {
        if let Some(recorder) = &mut self.recorder {
            recorder.entry(INPUT, now, &input::encode_input(&input));
        }
        let is_last = matches!(input, Input::Stop);
        self.node.handle(now, input);
        self.handled(now);
        if is_last && let Some(mut recorder) = self.recorder.take() {
            recorder.checkpoint(END, &self.node, now);
        }
    }

    fn command(&mut self, now: Now, command: Command) {
        if let Some(recorder) = &mut self.recorder {
            recorder.entry(COMMAND, now, &input::encode_command(&command));
        }
        self.node.command(now, command);
        self.handled(now);
    }

    fn drain(&mut self) -> Drain<'_, Output> {
        if let Some(recorder) = &mut self.recorder {
            recorder.seen = 0;
        }
        self.node.drain()
    }

    fn budget_left(&self, now: Now, peer: PeerId) -> i64 {
        self.node.budget_left(now, peer)
    }

    fn signatures_of(&self, earlier: &[&HashedTransaction], transactions: &[HashedTransaction]) -> Ahead {
        self.node.signatures_of(earlier, transactions)
    }

    fn tip(&self) -> (Height, BlockHash) {
        self.node.tip()
    }
}
