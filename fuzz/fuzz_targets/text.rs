//! Text that people are handed, or type: genesis.json, names of nodes, addresses, amounts, a wallet's file, its words,
//! checkpoints, credentials. What is read is written back so that it reads the same.

#![no_main]

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::LazyLock;

use cairn::consensus::params::{GenesisSpec, Params};
use cairn::consensus::peer_name::PeerName;
use cairn::primitives::amount::Amount;
use cairn::primitives::hash::Txid;
use cairn::primitives::height::Height;
use cairn::primitives::target::{Bits, Work};
use cairn::primitives::{address, codec};
use cairn::receipt::{checkpoint_from_json, checkpoint_to_json};
use cairn::rpc::auth::RpcAuth;
use cairn::wallet::keyfile::KeyFile;
use cairn::wallet::mnemonic::Mnemonic;
use cairn_fuzz::{Script, key, params, seed, test_data};
use libfuzzer_sys::fuzz_target;

fn seeds() {
    let address = address::encode("rcairn", &key(1).public_key());
    let id = "c7".repeat(32);
    let mut inputs = vec![(0, params().spec.to_json()), (0, text_of("receipts/genesis.json"))];
    inputs.extend(["node.example.org:7331", "[2001:db8::1]:1"].map(|name| (1, name.to_owned())));
    inputs.extend([(1, format!("{id}@203.0.113.7:7331")), (2, address.clone()), (2, address.to_uppercase())]);
    inputs.extend(["1.5", ".00000001", "90071992.54740991"].map(|amount| (3, amount.to_owned())));
    inputs.extend([(4, id.clone()), (5, "207fffff".to_owned()), (5, "0x1d00ffff".to_owned())]);
    let words = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";
    inputs.extend([(6, words.to_owned()), (7, text_of("receipts/checkpoint.json"))]);
    inputs.push((8, format!("user:salt${id}")));
    let mnemonic = Mnemonic::parse(words).ok().expect("they are the standard's own");
    let file = KeyFile::new(&mnemonic, None, vec![key(1).public_key()], &mut rand::rng());
    inputs.push((9, serde_json::to_string(&file).expect("it is JSON")));
    seed("text", inputs.into_iter().map(|(which, text)| [&[which][..], text.as_bytes()].concat()));
}

fn text_of(name: &str) -> String {
    String::from_utf8(test_data(name)).expect("it is text")
}

static RECEIPTS: LazyLock<Params> =
    LazyLock::new(|| Params::from_json(&text_of("receipts/genesis.json")).expect("it is a genesis.json"));
static WALLET: LazyLock<PathBuf> = LazyLock::new(|| {
    // Never removed: it is one file, and the process ends as libFuzzer likes.
    let path = std::env::temp_dir().join(format!("cairn-fuzz-wallet-{}.json", std::process::id()));
    fs::write(&path, "").expect("a file can be written");
    fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is this process's");
    path
});

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let mut script = Script(bytes);
    let which = script.byte() % 10;
    let Ok(text) = std::str::from_utf8(script.0) else { return };
    match which {
        0 => genesis(text),
        1 => {
            if let Ok(name) = text.parse::<PeerName>() {
                assert_eq!(name.to_string().parse(), Ok(name.clone()));
                assert!(name.host.len() <= 261 && name.host.rsplit_once(':').is_some());
            }
        }
        2 => {
            if let Ok(key) = address::decode("rcairn", text) {
                assert!(address::encode("rcairn", &key).eq_ignore_ascii_case(text), "a key has one address");
            }
        }
        3 => {
            if let Ok(amount) = text.parse::<Amount>() {
                assert!(amount <= Amount::MAX);
                assert_eq!(amount.to_string().parse(), Ok(amount));
            }
        }
        4 => {
            if let Ok(hash) = text.parse::<Txid>() {
                assert!(hash.to_string().eq_ignore_ascii_case(text));
            }
            if let Ok(work) = text.parse::<Work>() {
                assert_eq!(work.to_string().parse(), Ok(work));
            }
        }
        5 => {
            if let Ok(bits) = text.parse::<Bits>() {
                assert_eq!(bits.to_string().parse(), Ok(bits));
                if let Ok(target) = bits.target() {
                    // Bits that are not canonical stand for a target that has others.
                    assert_eq!(target.to_bits().target(), Ok(target));
                }
            }
        }
        6 => {
            if let Ok(mnemonic) = Mnemonic::parse(text) {
                let again = Mnemonic::parse(&mnemonic.words()).ok().expect("words that were written are words");
                assert_eq!(again.entropy(), mnemonic.entropy());
            }
        }
        7 => {
            if let Ok(checkpoint) = checkpoint_from_json(text, &RECEIPTS) {
                let again = checkpoint_from_json(&checkpoint_to_json(&checkpoint, &RECEIPTS), &RECEIPTS);
                assert_eq!(again.expect("what was written can be read"), checkpoint);
            }
        }
        8 => drop(text.parse::<RpcAuth>()),
        _ => wallet(text),
    }
});

fn genesis(text: &str) {
    let Ok(params) = Params::from_json(text) else { return };
    let again = Params::from_json(&params.spec.to_json()).expect("what was written can be read");
    assert_eq!((again.genesis_hash, &again.spec), (params.genesis_hash, &params.spec));
    assert!(params.genesis_target.is_met_by(&params.genesis_hash) && params.genesis_target <= params.pow_limit);
    assert_eq!(codec::decode(&codec::encode(&params.genesis)), Ok(params.genesis.clone()));
    assert_eq!(GenesisSpec::from_json(text), Ok(params.spec.clone()));
    assert!(Amount::checked_sum(params.alloc.iter().map(|alloc| alloc.value)).is_some());
    let halvings = [0, 1, params.halving_interval, params.halving_interval.saturating_mul(63), u32::MAX];
    assert!(halvings.into_iter().all(|height| params.subsidy_at(Height::from_u32(height)) <= params.subsidy));
}

fn wallet(text: &str) {
    fs::write(&*WALLET, text).expect("the file is this process's");
    let Ok(file) = KeyFile::read(&WALLET) else { return };
    assert!(!file.keys().is_empty());
    // One under a passphrase may ask for seconds of work, which its owner has asked for.
    if !file.is_encrypted()
        && let Ok(mnemonic) = file.decrypt(&WALLET, None)
    {
        assert!([16, 32].contains(&mnemonic.entropy().len()));
    }
}
