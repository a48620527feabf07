//! A relay of UDP packets between a page and a node, which can lose all of them.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often its threads look whether they are still needed.
const POLL: Duration = Duration::from_millis(200);

/// A relay, until it is dropped.
pub struct Relay {
    port: u16,
    is_cut: Arc<AtomicBool>,
    /// Its threads hold the other ends.
    alive: Arc<()>,
}

impl Relay {
    /// One in front of a node's address for pages.
    pub fn start(node: &str) -> Self {
        let node: SocketAddr = format!("127.0.0.1:{}", node.split('/').nth(4).unwrap()).parse().unwrap();
        let front = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        front.set_read_timeout(Some(POLL)).unwrap();
        let relay = Self { port: front.local_addr().unwrap().port(), is_cut: Arc::default(), alive: Arc::default() };
        let (is_cut, alive) = (relay.is_cut.clone(), Arc::downgrade(&relay.alive));
        std::thread::spawn(move || {
            let (mut buffer, mut backs) = ([0; 2_048], HashMap::new());
            while alive.upgrade().is_some() {
                let Ok((length, source)) = front.recv_from(&mut buffer) else { continue };
                let back = backs.entry(source).or_insert_with(|| {
                    let back = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
                    back.connect(node).unwrap();
                    back.set_read_timeout(Some(POLL)).unwrap();
                    let (from, front, is_cut, alive) = (back.clone(), front.clone(), is_cut.clone(), alive.clone());
                    std::thread::spawn(move || {
                        let mut buffer = [0; 2_048];
                        while alive.upgrade().is_some() {
                            let Ok(length) = from.recv(&mut buffer) else { continue };
                            if !is_cut.load(Ordering::SeqCst) {
                                let _ = front.send_to(&buffer[..length], source);
                            }
                        }
                    });
                    back
                });
                if !is_cut.load(Ordering::SeqCst) {
                    let _ = back.send(&buffer[..length]);
                }
            }
        });
        relay
    }

    /// The node's address through this relay.
    pub fn address(&self, node: &str) -> String {
        let mut parts: Vec<&str> = node.split('/').collect();
        let port = self.port.to_string();
        parts[4] = &port;
        parts.join("/")
    }

    /// Loses all packets, or none.
    pub fn cut(&self, is_cut: bool) {
        self.is_cut.store(is_cut, Ordering::SeqCst);
    }
}
