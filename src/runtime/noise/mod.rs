//! The handshake of [`p2p::noise`](crate::p2p::noise) over a stream, and the file of a node's key.

mod identity;

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub use identity::{IdentityError, KEY_FILE, open_identity};

use crate::p2p::SPEAKS_HTTP;
use crate::p2p::kad::NodeId;
use crate::p2p::noise::{Carrier, HANDSHAKE_BYTES, Handshake, HandshakeError, Identity, Session};

/// Why there is no connection with a node.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The connection ended, or the network failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The other side does not speak this protocol, or is another node.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// The other side is a server of HTTP.
    #[error("the other side {SPEAKS_HTTP}")]
    Http,
}

/// What an answer over HTTP begins with.
const HTTP: &[u8] = b"HTTP/";

/// The dialling side over TCP. If the other side's id is not `expected`, it does not learn this side's id.
///
/// # Errors
/// [`ConnectError`]; nothing more is to be read or written then.
pub async fn initiate<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    own: &Identity,
    expected: Option<NodeId>,
) -> Result<Session, ConnectError> {
    initiate_over(stream, own, &Carrier::Tcp, expected).await
}

/// The dialling side. If the other side's id is not `expected`, it does not learn this side's id.
///
/// # Errors
/// [`ConnectError`]; nothing more is to be read or written then.
pub async fn initiate_over<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    own: &Identity,
    carrier: &Carrier,
    expected: Option<NodeId>,
) -> Result<Session, ConnectError> {
    carry(stream, Handshake::initiate(own, carrier, expected, rand::random())?).await
}

/// The side that was dialled over TCP.
///
/// # Errors
/// [`ConnectError`]; nothing more is to be read or written then.
pub async fn respond<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    own: &Identity,
) -> Result<Session, ConnectError> {
    respond_over(stream, own, &Carrier::Tcp).await
}

/// The side that was dialled.
///
/// # Errors
/// [`ConnectError`]; nothing more is to be read or written then.
pub async fn respond_over<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    own: &Identity,
    carrier: &Carrier,
) -> Result<Session, ConnectError> {
    carry(stream, Handshake::respond(own, carrier, rand::random())?).await
}

/// Carries the messages of both sides. No side reads further than the other's message.
async fn carry<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    mut handshake: Handshake,
) -> Result<Session, ConnectError> {
    let mut buffer = [0; HANDSHAKE_BYTES];
    loop {
        if let Some(message) = handshake.send()? {
            stream.write_all(&message).await?;
        }
        let Some(length) = handshake.awaited() else { return Ok(handshake.finish()?) };
        let message = read_most(stream, &mut buffer[..length]).await?;
        let received = if message.len() < length {
            Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
        } else {
            handshake.receive(message).map_err(ConnectError::from)
        };
        received.map_err(|error| if message.starts_with(HTTP) { ConnectError::Http } else { error })?;
    }
}

/// Fills `buffer`, unless the stream ends before; answers what came.
async fn read_most<'a, S: AsyncRead + Unpin>(stream: &mut S, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
    let mut length = 0;
    while length < buffer.len() {
        match stream.read(&mut buffer[length..]).await {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if length == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(&buffer[..length])
}

#[cfg(test)]
mod tests;
