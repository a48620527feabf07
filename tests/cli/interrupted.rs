//! Commands that a signal ends leave nothing behind.

use std::fs;
use std::net::TcpListener;

use cairn::ipld::{Cid, Codec, Data, HashFunction, Kind};

use crate::content::{block, bytes, content, hostile_car, node};
use crate::process::{Done, Place, finish, send_signal, wait_for};

/// What a shell expects of a command that a signal has ended.
pub(crate) const INTERRUPTED: i32 = 130;

/// Entries of the directory in which the commands run that have a temporary name.
fn temporary(place: &Place) -> Vec<String> {
    let entries = fs::read_dir(place.path("")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".out") && name.ends_with(".tmp")).collect()
}

/// Sends a command a signal once it has begun to write.
fn interrupt(place: &Place, args: &[&str], signal: &str) -> Done {
    let mut child = place.command("a", &[&["content"], args].concat()).spawn().unwrap();
    wait_for("something to be written", || {
        (!temporary(place).is_empty() || child.try_wait().unwrap().is_some()).then_some(())
    });
    if child.try_wait().unwrap().is_none() {
        // It may end meanwhile.
        let _ = send_signal(signal, child.id());
    }
    finish(child)
}

#[test]
fn an_interrupted_get_leaves_nothing() {
    let place = Place::new();
    // Of four blocks, and with more files than are made before the signal.
    let names: Vec<String> = (100..200).map(|name| name.to_string()).collect();
    let mut blocks = vec![block(Codec::RAW, b"file".to_vec())];
    for _ in 0..3 {
        let below = blocks.last().unwrap().0;
        let links: Vec<_> = names.iter().map(|name| (below, name.as_bytes())).collect();
        blocks.push(node(&links, &Data::new(Kind::Directory)));
    }
    fs::write(place.path("many.car"), hostile_car(&blocks)).unwrap();
    content(&place, &["import", "many.car"]).ok();
    let root = blocks.last().unwrap().0.to_string();
    for signal in ["INT", "TERM"] {
        interrupt(&place, &["get", &root, "-o", "out"], signal).fails(INTERRUPTED, "interrupted");
        assert_eq!((temporary(&place), place.path("out").exists()), (Vec::new(), false), "{signal}");
    }
}

/// The node takes the call and does not answer it.
#[test]
fn an_interrupted_get_of_a_block_of_the_chain_leaves_nothing() {
    let place = Place::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    silent.set_nonblocking(true).unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let cid = Cid::v1(Codec::BITCOIN_BLOCK, HashFunction::DblSha2_256, &[8; 80]).unwrap().to_string();
    for signal in ["INT", "TERM"] {
        let child = place.command("a", &["content", "get", &cid, "-o", "out", "--rpc", &url]).spawn().unwrap();
        // By then the command looks for signals.
        let _call = wait_for("a call", || silent.accept().ok());
        assert!(send_signal(signal, child.id()));
        finish(child).fails(INTERRUPTED, "interrupted");
        assert_eq!((temporary(&place), place.path("out").exists()), (Vec::new(), false), "{signal}");
    }
}

#[test]
fn an_interrupted_export_leaves_nothing() {
    let place = Place::new();
    fs::write(place.path("data"), bytes(64 << 20)).unwrap();
    let root = content(&place, &["add", "-Q", "data"]).ok();
    for args in [&["export", &root, "-o", "out.car"][..], &["get", &root, "--car", "-o", "out.car"]] {
        wait_for("a signal that comes in time", || {
            let done = interrupt(&place, args, "INT");
            assert_eq!(temporary(&place), [] as [&str; 0], "{args:?}");
            if done.code == 0 {
                fs::remove_file(place.path("out.car")).unwrap();
                return None;
            }
            done.fails(INTERRUPTED, "interrupted");
            assert!(!place.path("out.car").exists(), "{args:?}");
            Some(())
        });
    }
}
