//! The encrypted transport: any bytes as the other side's part of a handshake, and records that are changed, cut, repeated or
//! left out on the way. A handshake comes about only with who has the keys, and what is opened is what was sealed, in order.

#![no_main]

use std::sync::LazyLock;

use cairn::p2p::noise::{HANDSHAKE_BYTES, Identity, MAX_PLAIN, MAX_RECORD, Session, TAG_BYTES};
use cairn::runtime::noise::{initiate, respond};
use cairn_fuzz::{Script, seed};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::runtime::Runtime;

fn seeds() {
    let mut inputs = vec![vec![0], [&[0][..], &[7; 96]].concat(), [&[1][..], &[9; 96]].concat()];
    // Records of one byte, of some, and of more than one record holds; whole, in pieces, and with each mishap.
    for mishap in 0..6 {
        inputs.push(vec![2, 3, 1, 0, 200, 1, 255, 255, 13, mishap, 1, 5]);
    }
    seed("noise", inputs);
}

static TOKIO: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().expect("no thread is needed"));

fn identity(n: u8) -> Identity {
    Identity::from_secret([n; 32])
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let mut script = Script(bytes);
    match script.byte() % 3 {
        0 => TOKIO.block_on(answered_by(script.0, true)),
        1 => TOKIO.block_on(answered_by(script.0, false)),
        _ => records(script),
    }
});

/// A handshake whose other side says this, whatever it is asked.
async fn answered_by(bytes: &[u8], dials: bool) {
    let (mut here, mut there) = duplex(4 * HANDSHAKE_BYTES);
    let bytes = bytes.get(..HANDSHAKE_BYTES).unwrap_or(bytes);
    there.write_all(bytes).await.expect("there is room");
    there.shutdown().await.expect("it is memory");
    let result =
        if dials { initiate(&mut here, &identity(1), None).await } else { respond(&mut here, &identity(1)).await };
    assert!(result.is_err(), "no peer without a key completes the handshake");
    drop(here);
    let mut said = Vec::new();
    there.read_to_end(&mut said).await.expect("it is memory");
    assert!(said.len() <= HANDSHAKE_BYTES);
}

async fn sessions() -> (Session, Session) {
    let (mut here, mut there) = duplex(4 * HANDSHAKE_BYTES);
    let (a, b) = (identity(1), identity(2));
    let (dialler, listener) = tokio::join!(initiate(&mut here, &a, Some(b.id())), respond(&mut there, &b));
    let (dialler, listener) = (dialler.expect("both are honest"), listener.expect("both are honest"));
    assert_eq!((dialler.peer, listener.peer), (b.id(), a.id()));
    (dialler, listener)
}

fn records(mut script: Script) {
    let (mut from, mut to) = TOKIO.block_on(sessions());
    let mut plain = Vec::new();
    let mut sealed: Vec<Vec<u8>> = Vec::new();
    for number in 0..script.byte() % 4 {
        let piece = vec![number; script.short().into()];
        let mut out = Vec::new();
        from.sealer.seal(&piece, &mut out).expect("numbers do not run out");
        let count = piece.len().div_ceil(MAX_PLAIN);
        assert_eq!(out.len(), piece.len() + count * (2 + TAG_BYTES));
        plain.extend(piece);
        sealed.push(out);
    }
    let step = 1 + usize::from(script.byte()).pow(2);
    let (mishap, which) = (script.byte() % 6, usize::from(script.byte()));
    let place = which % sealed.len().max(1);
    match mishap {
        1 if !sealed.is_empty() => drop(sealed.remove(place)),
        2 if !sealed.is_empty() => sealed.insert(place, sealed[place].clone()),
        3 if !sealed.is_empty() => sealed.swap(0, place),
        4 => sealed.push(script.0.to_vec()),
        _ => {}
    }
    let mut stream = sealed.concat();
    if mishap == 5 {
        script.change(&mut stream);
    }

    let mut opened = Vec::new();
    let mut failed = false;
    'all: for piece in stream.chunks(step) {
        to.opener.push(piece);
        loop {
            match to.opener.open() {
                Ok(Some(bytes)) => opened.extend_from_slice(bytes),
                Ok(None) => break,
                Err(_) => {
                    failed = true;
                    break 'all;
                }
            }
        }
        assert!(to.opener.waiting() < 2 + MAX_RECORD, "at most a part of one record waits");
    }
    assert!(plain.starts_with(&opened), "what is opened was sealed, in order");
    if mishap == 0 {
        assert!(!failed && opened == plain);
    }
}
