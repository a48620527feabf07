//! What waits to be written to a peer: bounded in messages and in bytes, so that a peer which does not read costs a known
//! amount of memory and never blocks the node's thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::p2p::frame::Frame;
use crate::p2p::message::Message;

/// Most messages waiting for one peer.
const MAX_MESSAGES: usize = 4096;
/// Most encoded bytes waiting for one peer. One frame is let in whatever its size, or a large block could never be sent.
const MAX_BYTES: usize = 16 << 20;

/// What is handed to the writing task.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parcel {
    /// An encoded message.
    Frame(Frame),
    /// The node wants to know when everything before this has left.
    Mark,
}

/// A parcel, and when it was put in if that is noted.
type Queued = (Parcel, Option<Instant>);

/// The peer reads more slowly than it is written to; it is to be disconnected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overflow;

/// The end that the node's thread holds. Dropping it closes the connection once what waits is written.
#[derive(Debug)]
pub(super) struct SendQueue {
    parcels: mpsc::Sender<Queued>,
    /// Whether it is noted when parcels come.
    is_timed: bool,
    waiting_bytes: Arc<AtomicUsize>,
    written: Arc<Notify>,
}

/// A further end for what is sent beside the node's thread. It does not keep the connection open.
#[derive(Debug, Clone)]
pub(super) struct Outlet {
    parcels: mpsc::WeakSender<Queued>,
    is_timed: bool,
    waiting_bytes: Arc<AtomicUsize>,
    written: Arc<Notify>,
}

/// Who waits for room learns that there will be none.
impl Drop for SendQueueReader {
    fn drop(&mut self) {
        self.written.notify_waiters();
    }
}

/// The end that the writing task holds.
#[derive(Debug)]
pub(super) struct SendQueueReader {
    parcels: mpsc::Receiver<Queued>,
    waiting_bytes: Arc<AtomicUsize>,
    written: Arc<Notify>,
}

/// Both ends of a new queue. If it is timed, the reader learns when each parcel was put in.
pub(super) fn send_queue(is_timed: bool) -> (SendQueue, SendQueueReader) {
    let (sender, receiver) = mpsc::channel(MAX_MESSAGES);
    let waiting_bytes = Arc::new(AtomicUsize::new(0));
    let written = Arc::<Notify>::default();
    (
        SendQueue { parcels: sender, is_timed, waiting_bytes: waiting_bytes.clone(), written: written.clone() },
        SendQueueReader { parcels: receiver, waiting_bytes, written },
    )
}

impl Outlet {
    /// Waits until fewer bytes than `most` wait to be written. `false` if the connection is closing.
    pub(super) async fn has_room(&self, most: usize) -> bool {
        loop {
            let written = self.written.notified();
            if self.parcels.strong_count() == 0 {
                return false;
            }
            if self.waiting_bytes.load(Ordering::Relaxed) < most {
                return true;
            }
            written.await;
        }
    }

    /// Leaves a message to be written. `false` if the connection is closing, or has no room.
    pub(super) fn send(&self, message: &Message) -> bool {
        let Some(parcels) = self.parcels.upgrade() else { return false };
        let Self { is_timed, waiting_bytes, written, .. } = self.clone();
        SendQueue { parcels, is_timed, waiting_bytes, written }.push(Parcel::Frame(message.into())).is_ok()
    }
}

impl SendQueue {
    /// A further end.
    pub(super) fn outlet(&self) -> Outlet {
        let Self { parcels, is_timed, waiting_bytes, written } = self;
        Outlet {
            parcels: parcels.downgrade(),
            is_timed: *is_timed,
            waiting_bytes: waiting_bytes.clone(),
            written: written.clone(),
        }
    }

    /// Leaves something to be written, without waiting. A connection that has just closed swallows it.
    pub(super) fn push(&self, parcel: Parcel) -> Result<(), Overflow> {
        let len = match &parcel {
            Parcel::Frame(frame) => frame.size(),
            Parcel::Mark => 0,
        };
        let before = self.waiting_bytes.fetch_add(len, Ordering::Relaxed);
        if before > 0 && before + len > MAX_BYTES {
            return Err(Overflow);
        }
        let since = self.is_timed.then(Instant::now);
        match self.parcels.try_send((parcel, since)) {
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Overflow),
        }
    }
}

impl SendQueueReader {
    /// The next parcel, or `None` when the other end is dropped and all is written.
    ///
    /// A frame counts as waiting until [`SendQueueReader::written`].
    pub(super) async fn next(&mut self) -> Option<Queued> {
        self.parcels.recv().await
    }

    /// The next parcel, if one waits.
    pub(super) fn next_waiting(&mut self) -> Option<Parcel> {
        self.parcels.try_recv().ok().map(|(parcel, _)| parcel)
    }

    /// Says that a frame of so many bytes went out.
    pub(super) fn written(&self, len: usize) {
        self.waiting_bytes.fetch_sub(len, Ordering::Relaxed);
        self.written.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p2p::frame::HEADER_BYTES;

    fn frame(len: usize) -> Parcel {
        Parcel::Frame(Frame::of_block(vec![7; len - HEADER_BYTES]))
    }

    #[tokio::test]
    async fn bytes_waiting_are_bounded_and_freed_by_writing() {
        let (send_queue, mut reader) = send_queue(false);
        assert_eq!(send_queue.push(frame(MAX_BYTES / 2)), Ok(()));
        assert_eq!(send_queue.push(frame(MAX_BYTES / 2)), Ok(()));
        assert!(reader.next().await.is_some());
        reader.written(MAX_BYTES / 2);
        assert_eq!(send_queue.push(frame(MAX_BYTES / 2)), Ok(()));
        assert_eq!(send_queue.push(frame(HEADER_BYTES)), Err(Overflow));
    }

    #[test]
    fn one_oversized_frame_passes_when_nothing_waits() {
        let (send_queue, _reader) = send_queue(false);
        assert_eq!(send_queue.push(frame(MAX_BYTES + 1)), Ok(()));
        assert_eq!(send_queue.push(frame(HEADER_BYTES)), Err(Overflow));
    }

    #[test]
    fn messages_waiting_are_bounded() {
        let (send_queue, _reader) = send_queue(false);
        assert!((0..MAX_MESSAGES).all(|_| send_queue.push(Parcel::Mark).is_ok()));
        assert_eq!(send_queue.push(Parcel::Mark), Err(Overflow));
    }

    #[tokio::test]
    async fn waiting_messages_are_written_after_the_close() {
        let (send_queue, mut reader) = send_queue(false);
        send_queue.push(frame(HEADER_BYTES)).expect("there is room");
        drop(send_queue);
        assert_eq!(reader.next().await, Some((frame(HEADER_BYTES), None)));
        assert_eq!(reader.next().await, None);
    }
}
