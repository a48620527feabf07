//! Known answers: what Bitcoin, Bitcoin Cash, BIP-158, BIP-350 and ZIP-215 published, against the primitives.

mod asert;
mod bip158;
mod bip350;
mod bitcoin;
mod gettxoutproof;
mod zip215;

use std::path::PathBuf;

/// The text of a file under `tests/data`.
fn data(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}
