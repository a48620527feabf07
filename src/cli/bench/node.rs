//! Real nodes for the benchmarks, each with its own directory and RPC server, and a cheap client of that server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::fixture::Scratch;
use crate::consensus::params::Params;
use crate::p2p::Command;
use crate::primitives::height::Height;
use crate::rpc::auth;
use crate::rpc::{self, RpcServer};
use crate::runtime::{self, Handle, Running};

/// After which a benchmark gives up: many times what any of them takes.
const TIMEOUT: Duration = Duration::from_secs(600);
/// User and password of the RPC server.
pub(super) const USER: &str = "bench";

/// A running node.
pub(super) struct Node {
    running: Running,
    server: RpcServer,
    /// Its directory, which goes with it.
    _dir: Scratch,
}

impl Node {
    /// A new one, which waits for peers.
    pub(super) async fn start(params: &Arc<Params>) -> anyhow::Result<Self> {
        let dir = Scratch::new()?;
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let config = runtime::Config { listen: Some(local), ..runtime::Config::new(dir.path(), params.clone()) };
        let running = Running::start(config).await?;
        let config = rpc::Config {
            user: Some(USER.to_owned()),
            password: Some(USER.to_owned()),
            ..rpc::Config::new(local, dir.path())
        };
        let server = rpc::serve(config, running.handle().clone()).await?;
        Ok(Self { running, server, _dir: dir })
    }

    pub(super) fn handle(&self) -> &Handle {
        self.running.handle()
    }

    /// Has the node dial `peer`.
    pub(super) async fn connect(&self, peer: &Self) -> anyhow::Result<()> {
        let address = peer.handle().listens_at().context("it does not wait for peers")?;
        let id = Some(peer.handle().id());
        Ok(self.handle().command(move |reply| Command::ConnectOnce(address, id, reply)).await?)
    }

    /// Returns when the node's best chain has come to `height`.
    pub(super) async fn reached(&self, height: Height) -> anyhow::Result<()> {
        let mut tip = self.handle().tip();
        timeout(TIMEOUT, tip.wait_for(|tip| tip.height >= height)).await.context("the chain does not grow")??;
        Ok(())
    }

    /// A connection to the RPC server.
    pub(super) async fn caller(&self) -> anyhow::Result<Caller> {
        Caller::connect(self.server.address()).await
    }

    /// The time to answer all `requests`, split evenly over `connections`.
    pub(super) async fn answer_all(&self, connections: usize, requests: &[Vec<u8>]) -> anyhow::Result<Duration> {
        let mut callers = Vec::new();
        for some in requests.chunks(requests.len().div_ceil(connections).max(1)) {
            callers.push((self.caller().await?, some.to_vec()));
        }
        let start = Instant::now();
        let calling = callers.into_iter().map(|(mut caller, requests)| {
            tokio::spawn(async move {
                for request in requests {
                    caller.send(&request).await?;
                }
                anyhow::Ok(())
            })
        });
        for call in calling.collect::<Vec<_>>() {
            timeout(TIMEOUT, call).await.context("no answer")???;
        }
        Ok(start.elapsed())
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        let Self { running, server, _dir } = self;
        server.stop().await;
        Ok(running.stop().await?)
    }
}

/// A call, as it goes over a connection.
pub(super) fn call(method: &str, params: &[Value]) -> Vec<u8> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let authorization = auth::basic(&format!("{USER}:{USER}"));
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: {authorization}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head, body].concat().into_bytes()
}

/// The cheapest request to the server.
pub(super) fn alive() -> Vec<u8> {
    b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()
}

/// A connection on which one request is answered after the other.
pub(super) struct Caller {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Caller {
    /// Connects to a server.
    pub(super) async fn connect(server: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, received: Vec::new() })
    }

    /// Sends a request and reads its answer's body.
    pub(super) async fn send(&mut self, request: &[u8]) -> anyhow::Result<&[u8]> {
        self.stream.write_all(request).await?;
        self.received.clear();
        let (start, end) = loop {
            ensure!(self.stream.read_buf(&mut self.received).await? > 0, "the server closed the connection");
            if let Some((start, length)) = head(&self.received)? {
                break (start, start + length);
            }
        };
        self.received.reserve(end.saturating_sub(self.received.len()));
        while self.received.len() < end {
            ensure!(self.stream.read_buf(&mut self.received).await? > 0, "the server closed the connection");
        }
        let body = &self.received[start..end];
        let error = br#"{"jsonrpc":"2.0","error""#;
        ensure!(!body.starts_with(error), "the node answered {}", String::from_utf8_lossy(body));
        Ok(body)
    }
}

/// Where the body begins, and its length, if the head is whole.
fn head(bytes: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = bytes.windows(END.len()).position(|window| window == END) else { return Ok(None) };
    let text = std::str::from_utf8(&bytes[..end])?;
    ensure!(text.starts_with("HTTP/1.1 200 "), "the node answered {text:?}");
    let mut lines = text.lines().filter_map(|line| line.split_once(": "));
    let length = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.context("an answer without a length")?.1.parse()?;
    Ok(Some((end + END.len(), length)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::bench::fixture::Fixture;

    #[tokio::test]
    async fn a_node_is_synchronised_and_answers() {
        let mut chain = Fixture::new(4);
        let first = Node::start(&chain.params).await.unwrap();
        let blocks = [chain.pay(2), chain.pay(3)];
        let hash = blocks[1].hash();
        for block in blocks {
            first.handle().command(move |reply| Command::SubmitBlock(block, reply)).await.unwrap().unwrap();
        }
        let second = Node::start(&chain.params).await.unwrap();
        second.connect(&first).await.unwrap();
        second.reached(Height::from_u32(2)).await.unwrap();
        let mut caller = second.caller().await.unwrap();
        let answer = caller.send(&call("getblockhash", &[json!(2)])).await.unwrap();
        assert_eq!(answer.trim_ascii_end(), format!(r#"{{"jsonrpc":"2.0","result":"{hash}","id":1}}"#).as_bytes());
        assert!(caller.send(&call("getblockhash", &[json!(3)])).await.is_err());
        second.answer_all(2, &[alive(), alive(), alive()]).await.unwrap();
        for node in [first, second] {
            node.stop().await.unwrap();
        }
    }

    #[test]
    fn the_head_of_an_http_answer_is_parsed() {
        assert_eq!(head(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n").unwrap(), None);
        assert_eq!(head(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe").unwrap(), Some((38, 5)));
        assert!(head(b"HTTP/1.1 503 No\r\ncontent-length: 5\r\n\r\n").is_err());
    }
}
