#!/usr/bin/env bash
# A short call over HTTP/1 to a server in Rust: hyper's connection on tokio's threads, which most of them are, axum's too.
#
# hyper 1.12.0 and tokio 1.54.1. A connection over a socket in memory is polled by hand, by a waker that counts how often its task
# is woken while it is polled. tokio puts a task that was woken so at the end of its queue, and wakes another thread to look for work.
# Then 3,000 requests of each kind go to a server on two threads, whose waits the kernel counts.
#
# Expected: a request that has come as a whole is read and answered in one poll, with a body or without, and wakes no other thread.
# Seen:     without a body, yes. With one, be it a byte that came together with the head, the connection wakes its own task, once
#           for each request: the service that asks for the body wakes the connection that polls it. So each call with a body,
#           as every JSON-RPC call is, has a second thread woken that finds nothing to do.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
cat >"$dir/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2024"

[dependencies]
http-body-util = "=0.1.5"
hyper = { version = "=1.12.0", features = ["http1", "server"] }
hyper-util = { version = "=0.1.21", features = ["tokio"] }
tokio = { version = "=1.54.1", features = ["io-util", "net", "rt-multi-thread"] }

[workspace]
TOML
cat >"$dir/src/main.rs" <<'RUST'
use std::convert::Infallible;
use std::future::Future;
use std::io::{Read, Write};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Wake, Waker};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const KINDS: [(&str, &str, usize); 2] = [
    ("without a body", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0),
    ("with a body of one byte", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n1", 1),
];

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(request.into_body().collect().await.unwrap().to_bytes())))
}

#[derive(Default)]
struct Counter {
    is_polling: AtomicBool,
    wakes: AtomicUsize,
}

impl Wake for Counter {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(usize::from(self.is_polling.load(SeqCst)), SeqCst);
    }
}

/// How often one connection wakes itself for ten requests.
async fn own_wakes(request: &str) -> usize {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let mut connection = pin!(http1::Builder::new().serve_connection(TokioIo::new(server), service_fn(answer)));
    let counter = Arc::new(Counter::default());
    let waker = Waker::from(counter.clone());
    for _ in 0..10 {
        client.write_all(request.as_bytes()).await.unwrap();
        loop {
            let before = counter.wakes.load(SeqCst);
            counter.is_polling.store(true, SeqCst);
            assert!(connection.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
            counter.is_polling.store(false, SeqCst);
            if counter.wakes.load(SeqCst) == before {
                break;
            }
        }
        let mut answer = [0; 1_000];
        let count = client.read(&mut answer).await.unwrap();
        assert!(answer[..count].starts_with(b"HTTP/1.1 200"));
    }
    counter.wakes.load(SeqCst)
}

/// How often the threads of a server have waited so far.
fn waits() -> u64 {
    let mut waits = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let status = std::fs::read_to_string(task.unwrap().path().join("status")).unwrap();
        if status.starts_with("Name:\tserver") {
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            waits += line.unwrap().trim().parse::<u64>().unwrap();
        }
    }
    waits
}

fn main() {
    let here = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let server = tokio::runtime::Builder::new_multi_thread().worker_threads(2).thread_name("server").enable_io().build();
    let server = server.unwrap();
    let listener = server.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
    let address = listener.local_addr().unwrap();
    server.spawn(async move {
        loop {
            let stream = TokioIo::new(listener.accept().await.unwrap().0);
            tokio::spawn(http1::Builder::new().serve_connection(stream, service_fn(answer)));
        }
    });
    for (name, request, expected) in KINDS {
        let wakes = here.block_on(own_wakes(request));
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let before = waits();
        for _ in 0..3_000 {
            stream.write_all(request.as_bytes()).unwrap();
            assert_ne!(stream.read(&mut [0; 1_000]).unwrap(), 0);
        }
        let waited = (waits() - before) as f64 / 3e3;
        println!("{name}: {wakes} own wakes in 10 requests; threads of the server waited {waited:.2} times a request");
        assert_eq!(wakes, 10 * expected);
    }
}
RUST
cargo run --quiet --release --manifest-path "$dir/Cargo.toml"
echo "as described"
