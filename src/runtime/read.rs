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
    read_with::<MOST, _>(stream, <[u8]>::to_vec).await
}

/// The same, for `take` to use where it lies.
pub(super) async fn read_with<const MOST: usize, T>(
    stream: &mut (impl AsyncRead + Unpin),
    mut take: impl FnMut(&[u8]) -> T,
) -> io::Result<T> {
    poll_fn(|cx| {
        let mut room = [const { MaybeUninit::uninit() }; MOST];
        let mut buffer = ReadBuf::uninit(&mut room);
        ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(take(buffer.filled())))
    })
    .await
}
