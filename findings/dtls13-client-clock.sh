#!/usr/bin/env bash
# A session of DTLS 1.3 between two ends of dimpl 0.7.6, the DTLS of str0m, that talk in memory, by a clock that the program
# moves: ten bytes each way once a second for a day. Then the same with DTLS 1.2.
#
# Expected: `handshake_timeout`, 40 seconds unless told otherwise, bounds the handshake. Once both ends are connected no
#           clock runs but for what is sent again, so all four ends are there after a day.
# Seen:     three are. The client of 1.3 reports the time-out of the connection at second 40, in the middle of a session
#           that has carried data both ways since second 0. Its server, and both ends of 1.2, stop that clock when they are
#           connected. A longer `handshake_timeout` only moves the second. So a dialler needs 1.2, or must tell this time-out
#           after `Connected` from the real one.
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
dimpl = "=0.7.6"

[workspace]
TOML
cat >"$dir/src/main.rs" <<'RUST'
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::certificate::generate_self_signed_certificate;
use dimpl::{Config, Dtls, Output};

const DAY: u64 = 24 * 60 * 60;

struct End {
    dtls: Dtls,
    connected: bool,
    /// Bytes of data that came.
    heard: usize,
    /// The second in which its clock reported an error, and the error.
    ended: Option<(u64, String)>,
}

impl End {
    fn new(mut dtls: Dtls, is_client: bool) -> Self {
        dtls.set_active(is_client);
        Self { dtls, connected: false, heard: 0, ended: None }
    }

    /// Lets the clock come to `now`, and returns the packets to send.
    fn at(&mut self, second: u64, now: Instant) -> Vec<Vec<u8>> {
        if let (Err(error), None) = (self.dtls.handle_timeout(now), &self.ended) {
            self.ended = Some((second, format!("{error:?}")));
        }
        let (mut packets, mut buffer) = (Vec::new(), vec![0; 4096]);
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => packets.push(packet.to_vec()),
                Output::Connected => self.connected = true,
                Output::ApplicationData(data) => self.heard += data.len(),
                Output::Timeout(_) => return packets,
                _ => {}
            }
        }
    }
}

/// Runs a session, and prints and returns when each end reports an error.
fn session(name: &str, make: fn(Arc<Config>, dimpl::DtlsCertificate, Instant) -> Dtls) -> [Option<(u64, String)>; 2] {
    let start = Instant::now();
    let config = Arc::new(Config::builder().build().unwrap());
    let end = |is_client| End::new(make(config.clone(), generate_self_signed_certificate().unwrap(), start), is_client);
    let mut ends = [end(true), end(false)];
    let exchange = |ends: &mut [End; 2], second, now| {
        for from in [0, 1] {
            for packet in ends[from].at(second, now) {
                ends[1 - from].dtls.handle_packet(&packet).unwrap();
            }
        }
    };
    for step in 0..50 {
        exchange(&mut ends, 0, start + Duration::from_millis(step * 10));
    }
    assert!(ends.iter().all(|end| end.connected), "{name}: not connected");
    let mut second = 1;
    while second <= DAY && ends.iter().all(|end| end.ended.is_none()) {
        for end in &mut ends {
            end.dtls.send_application_data(b"ten bytes.").unwrap();
        }
        for _ in 0..2 {
            exchange(&mut ends, second, start + Duration::from_secs(second));
        }
        second += 1;
    }
    for (who, end) in ["client", "server"].iter().zip(&ends) {
        let ended = end.ended.as_ref().map_or("there".to_owned(), |(at, error)| format!("ended in second {at}: {error}"));
        println!("{name}, {who}: connected, {} bytes heard, {ended}", end.heard);
        assert!(end.heard >= 10 * (second as usize - 3), "{name}: data was lost");
    }
    ends.map(|end| end.ended)
}

fn main() {
    let [client, server] = session("DTLS 1.3", Dtls::new_13);
    assert_eq!(client, Some((40, "Timeout(Connect)".to_owned())));
    assert_eq!(server, None);
    assert_eq!(session("DTLS 1.2", Dtls::new_12), [None, None]);
}
RUST
cargo run --quiet --release --manifest-path "$dir/Cargo.toml"
