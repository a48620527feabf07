//! Signatures with any changes, among honest ones: a batch's verdict is the one on each of them alone.

#![no_main]

use std::sync::LazyLock;

use cairn::primitives::hash::SignatureDigest;
use cairn::primitives::keys::{PublicKey, Signature, SignatureCheck, verify_all};
use cairn_fuzz::{Script, key, seed};
use libfuzzer_sys::fuzz_target;

/// As many as it takes for the batch to be checked with vectors, and a few more.
static HONEST: LazyLock<Vec<SignatureCheck>> = LazyLock::new(|| {
    (0..60)
        .map(|n| {
            let digest = SignatureDigest::of(&[n]);
            SignatureCheck { key: key(n).public_key(), signature: key(n).sign(&digest), digest }
        })
        .collect()
});

fn seeds() {
    // A key and an R of small order with s = 0, encoded canonically and not, which are valid; and bits changed.
    let neutral = |top: u8| [&[1; 1][..], &[0; 30], &[top]].concat();
    let beyond = |low: u8, top: u8| [&[low][..], &[0xff; 30], &[top]].concat();
    let points = [neutral(0), neutral(0x80), beyond(0xec, 0x7f), beyond(0xee, 0xff), beyond(0xf0, 0x7f)];
    let pairs = points.iter().flat_map(|a| points.iter().map(move |r| [&[20, 0], &a[..], r, &[0; 32]].concat()));
    let changes = (0..96u8).map(|byte| vec![byte, 1, byte, 1]);
    seed("signatures", pairs.chain(changes));
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let mut checks = HONEST.clone();
    let mut script = Script(bytes);
    while !script.is_empty() && checks.len() < 2 * HONEST.len() {
        let place = usize::from(script.byte()) % checks.len();
        let mut check = checks[place];
        match script.byte() % 4 {
            // All of it.
            0 => {
                let mut parts = [0; 96];
                let given = script.take(96);
                parts[..given.len()].copy_from_slice(given);
                let (key, signature) = parts.split_at(32);
                check.key = PublicKey(key.try_into().expect("32 bytes"));
                check.signature = Signature(signature.try_into().expect("64 bytes"));
            }
            // One byte.
            1 => {
                let (byte, change) = (usize::from(script.byte()) % 96, script.byte());
                match byte.checked_sub(32) {
                    None => check.key.0[byte] ^= change,
                    Some(byte) => check.signature.0[byte] ^= change,
                }
            }
            // Another's.
            2 => check.key = script.choose(&HONEST).key,
            _ => check.signature = script.choose(&HONEST).signature,
        }
        if script.byte() % 2 == 0 {
            checks.insert(place, check);
        } else {
            checks[place] = check;
        }
    }
    let first = checks.iter().position(|check| !check.holds());
    assert_eq!(verify_all(&checks), first.map_or(Ok(()), Err));
});
