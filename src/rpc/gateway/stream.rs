//! An answer that a blocking thread writes while the caller reads it.
//!
//! Its head waits for the first chunk, so a failure before that has a status of its own. A later one breaks the answer
//! off.

use std::io::{self, Write};

use axum::body::{Body, Bytes};
use axum::response::Response;
use futures_util::stream::unfold;
use tokio::sync::{mpsc, oneshot};

use super::failure::Failure;
use crate::rpc::connections::{Busy, Hold, Place, Pool};

/// Bytes that are sent at a time.
const CHUNK_BYTES: usize = 128 << 10;

/// The first thing that the caller learns.
pub(in crate::rpc) type Beginning = Result<Response, Failure>;

enum Part {
    Bytes(Bytes),
    /// Nothing follows. Without this the answer has broken off.
    End,
}

/// The writing end. One chunk waits here, one for the caller, and one is being written to the socket.
pub(in crate::rpc) struct Sink {
    /// Until the first chunk.
    head: Option<(oneshot::Sender<Beginning>, Response)>,
    parts: mpsc::Sender<Part>,
    place: Place,
    /// Memory that the caller holds while it does not read.
    held: usize,
    buffer: Vec<u8>,
}

/// A chunk on its way.
struct Chunk {
    bytes: Vec<u8>,
    _hold: Hold,
}

impl AsRef<[u8]> for Chunk {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Begins an answer with this head, whose body `told` brings when its first chunk is there. A caller that leaves a chunk
/// unread counts as holding `held` bytes, and may be disconnected for others.
pub(in crate::rpc) fn begin(mut head: Response, told: oneshot::Sender<Beginning>, place: &Place, held: usize) -> Sink {
    let (parts, received) = mpsc::channel(1);
    *head.body_mut() = body(received, place.busy());
    Sink { head: Some((told, head)), parts, place: place.clone(), held, buffer: Vec::new() }
}

fn body(parts: mpsc::Receiver<Part>, busy: Busy) -> Body {
    Body::from_stream(unfold(Some((parts, busy)), |open| async move {
        let (mut parts, busy) = open?;
        match parts.recv().await {
            Some(Part::Bytes(bytes)) => Some((Ok(bytes), Some((parts, busy)))),
            Some(Part::End) => None,
            // The connection ends within the answer, so that the caller sees that it is not whole.
            None => Some((Err(io::Error::from(io::ErrorKind::UnexpectedEof)), None)),
        }
    }))
}

impl Sink {
    fn send(&mut self, part: Part) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        if let Some((told, head)) = self.head.take() {
            told.send(Ok(head)).map_err(|_| gone())?;
        }
        self.parts.blocking_send(part).map_err(|_| gone())
    }

    fn send_buffer(&mut self) -> io::Result<()> {
        let chunk = Chunk { bytes: std::mem::take(&mut self.buffer), _hold: self.place.hold(Pool::Content, self.held) };
        self.send(Part::Bytes(Bytes::from_owner(chunk)))
    }

    /// Ends the answer as a whole one.
    pub(in crate::rpc) fn finish(mut self) -> io::Result<()> {
        if !self.buffer.is_empty() {
            self.send_buffer()?;
        }
        self.send(Part::End)
    }

    /// Ends the answer with an error, or breaks it off.
    pub(in crate::rpc) fn fail(self, failure: Failure) {
        if let Some((told, _)) = self.head {
            // Fails if the caller is gone.
            drop(told.send(Err(failure)));
        }
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(CHUNK_BYTES - self.buffer.len());
        self.buffer.extend(&bytes[..taken]);
        if self.buffer.len() == CHUNK_BYTES {
            self.send_buffer()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
