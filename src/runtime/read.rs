//! Reading from streams that are many and mostly silent.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Reads what has come, at most `MOST` bytes; nothing at the end. A waiting connection holds no buffer. Nothing is lost if
/// the caller gives up.
pub(super) async fn read_some<const MOST: usize>(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    poll_fn(|cx| {
        let mut room = [const { MaybeUninit::uninit() }; MOST];
        let mut buffer = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().to_vec()))
    })
    .await
}
