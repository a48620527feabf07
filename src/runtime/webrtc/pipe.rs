//! A stream of bytes between two tasks.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Both ends of a stream in which at most `most` bytes wait in each direction, as of [`tokio::io::duplex`]. A direction in which
/// nothing waits holds no memory: pages are many and mostly silent.
pub fn pipe(most: usize) -> (End, End) {
    let [there, back] = [(); 2].map(|()| Arc::new(Mutex::new(Way { most, ..Way::default() })));
    (End { from: back.clone(), to: there.clone() }, End { from: there, to: back })
}

/// One end. Dropping it ends the stream in both directions.
#[derive(Debug)]
pub struct End {
    from: Arc<Mutex<Way>>,
    to: Arc<Mutex<Way>>,
}

/// One direction.
#[derive(Debug, Default)]
struct Way {
    most: usize,
    waiting: Vec<u8>,
    /// Of these, bytes that were read.
    read: usize,
    is_closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// Nothing panics while it is held.
fn lock(way: &Mutex<Way>) -> MutexGuard<'_, Way> {
    way.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Way {
    fn close(&mut self) {
        self.is_closed = true;
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

impl Drop for End {
    fn drop(&mut self) {
        lock(&self.from).close();
        lock(&self.to).close();
    }
}

impl AsyncRead for End {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, room: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut way = lock(&self.from);
        let rest = &way.waiting[way.read..];
        if rest.is_empty() && !way.is_closed {
            way.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = rest.len().min(room.remaining());
        room.put_slice(&rest[..count]);
        way.read += count;
        if way.read == way.waiting.len() {
            (way.waiting, way.read) = (Vec::new(), 0);
        }
        way.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut way = lock(&self.to);
        if way.is_closed {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(way.most - (way.waiting.len() - way.read));
        if count == 0 && !bytes.is_empty() {
            way.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        // What was read makes room, so that no more than `most` is ever held.
        let read = std::mem::take(&mut way.read);
        way.waiting.drain(..read);
        way.waiting.extend_from_slice(&bytes[..count]);
        way.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// The other end reads what waits, then the end.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        lock(&self.to).close();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn bytes_pass_in_order_and_no_more_wait_than_may() {
        let sent: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        for most in [1, 7, 1_000, 1 << 20] {
            let (mut near, mut far) = pipe(most);
            let write = async {
                for piece in sent.chunks(777) {
                    near.write_all(piece).await.unwrap();
                    assert!(lock(&near.to).waiting.len() <= most);
                }
                near.shutdown().await.unwrap();
                near
            };
            let read = async {
                let mut got = Vec::new();
                far.read_to_end(&mut got).await.unwrap();
                got
            };
            let (mut near, got) = tokio::join!(write, read);
            assert!(got == sent);
            assert_eq!(lock(&near.to).waiting.capacity(), 0);
            // The other direction is still open.
            let mut back = [0; 4];
            let (written, read) = tokio::join!(far.write_all(b"back"), near.read_exact(&mut back));
            assert_eq!((written.unwrap(), read.unwrap(), &back), ((), 4, b"back"));
        }
    }

    #[tokio::test]
    async fn an_end_that_is_dropped_ends_both_directions() {
        let (mut near, far) = pipe(4);
        near.write_all(b"full").await.unwrap();
        let (written, ()) = tokio::join!(near.write_all(b"more"), async { drop(far) });
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(near.read(&mut [0; 4]).await.unwrap(), 0);
    }
}
