//! `verify.html` in a real Chromium: its words, and its agreement with the verifier in Rust.

#[path = "explorer/browser.rs"]
#[allow(dead_code)] // The explorer's tests use the rest.
mod browser;
mod forge;

use std::fs;
use std::path::{Path, PathBuf};

use browser::Browser;
use cairn::consensus::params::Params;
use cairn::primitives::target::Bits;
use cairn::receipt::{Receipt, checkpoint_from_json};
use forge::{Fault, Forge};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use serde_json::{Value, json};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn data(name: &str) -> Vec<u8> {
    fs::read(root().join("tests/data/receipts").join(name)).unwrap()
}

fn open() -> Browser {
    Browser::open(&format!("file://{}", root().join("verify.html").display()))
}

fn open_on_phone() -> Browser {
    Browser::open_on_phone(&format!("file://{}", root().join("verify.html").display()))
}

/// Gives the page files, as if they were dropped on it, and waits for what it says about the last.
fn drop_files(page: &Browser, files: &[Vec<u8>]) -> String {
    let files: Vec<String> = files.iter().map(hex::encode).collect();
    page.run(
        "const transfer = new DataTransfer();
         arguments[0].forEach((text, place) => transfer.items.add(new File([unhex(text)], `file${place}`)));
         document.getElementById('verdict').hidden = true;
         document.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));",
        &[json!(files)],
    );
    page.wait("!document.getElementById('verdict').hidden");
    page.text("#verdict")
}

#[test]
fn a_person_drops_a_receipt_and_reads_the_verdict() {
    for page in [open(), open_on_phone()] {
        let other = drop_files(&page, &[data("headers.json")]);
        assert!(
            other.starts_with("Not proven") && other.contains("the receipt is for the network with genesis"),
            "{other}"
        );
        for name in ["headers.json", "headers.bin", "succinct.json", "succinct.bin"] {
            let verdict = drop_files(&page, &[data("genesis.json"), data(name)]);
            for said in ["Proven: 200 confirmations", "1.50000006 coins to rcairn1", "height", "work on top"] {
                assert!(verdict.contains(said), "{name}: {said:?} is not in {verdict}");
            }
        }
        let alone = drop_files(&page, &[data("since.json")]);
        assert!(alone.contains("give a checkpoint of it"), "{alone}");
        for name in ["since.json", "since.bin"] {
            let verdict = drop_files(&page, &[data("checkpoint.json"), data(name)]);
            assert!(verdict.contains("Proven: 140 confirmations"), "{verdict}");
            assert!(verdict.contains("all 140 headers since the checkpoint at height 160"), "{verdict}");
        }
        let steps = page.text("#steps");
        for said in ["The network", "The transaction, hashed", "The chain of headers", "The Merkle branch", "level 2"] {
            assert!(steps.contains(said), "{said:?} is not in {steps}");
        }
        // Nothing sticks out to the side, also on a phone.
        assert_eq!(
            page.run("const page = document.documentElement; return page.scrollWidth <= page.clientWidth", &[]),
            true
        );
        assert_eq!(page.run("return performance.getEntriesByType('resource').length", &[]), 0, "nothing is loaded");

        let mut tampered = data("headers.bin");
        let end = tampered.len();
        tampered[end - 30] ^= 1;
        let verdict = drop_files(&page, &[tampered]);
        assert!(verdict.starts_with("Not proven") && verdict.contains("the receipt's headers"), "{verdict}");
        let verdict = drop_files(&page, &[data("headers.bin")[..5_000].to_vec()]);
        assert!(verdict.starts_with("Not proven"), "{verdict}");
        let verdict = drop_files(&page, &[b"<script>alert(1)</script>".to_vec()]);
        assert!(verdict.starts_with("Not proven") && verdict.contains("not a receipt"), "{verdict}");
        let genesis = String::from_utf8(data("genesis.json")).unwrap().replace("\"subsidy\": 5", "\"subsidy\": 6");
        let verdict = drop_files(&page, &[genesis.into_bytes()]);
        assert!(verdict.contains("This genesis.json will not do") && verdict.contains("nonce"), "{verdict}");
    }
}

#[test]
fn the_development_networks_genesis_in_the_page_is_the_repositorys() {
    let page = open();
    let built_in = page.run("return DEVELOPMENT", &[]);
    assert_eq!(built_in, fs::read_to_string(root().join("genesis.json")).unwrap().as_str());
    let params = Params::from_json(built_in.as_str().unwrap()).unwrap();
    assert!(page.text("#network").contains(&params.genesis_hash.to_string()));
    let csp = page.run("return document.querySelector('meta[http-equiv]').content", &[]);
    assert!(csp.as_str().unwrap().starts_with("default-src 'none'"), "{csp}");
    assert_eq!(page.run("return fetch('https://example.org').then(() => 'reached', () => 'refused')", &[]), "refused");
}

/// What the verifier in Rust says: the facts of a receipt that holds, or null.
fn in_rust(bytes: &[u8], params: &Params, checkpoint: &str) -> Value {
    let held = checkpoint_from_json(checkpoint, params).unwrap();
    let Ok(receipt) = Receipt::read(bytes) else { return Value::Null };
    let Ok(proven) = receipt.verify(params, Some(&held)) else { return Value::Null };
    json!({
        "txid": proven.txid,
        "blockhash": proven.block,
        "height": proven.height,
        "time": proven.header.time,
        "confirmations": proven.confirmations,
        "tip": proven.tip,
        "tip_time": proven.tip_time,
        "chainwork": proven.work.to_string(),
        "work_on_top": proven.work_on_top.to_string(),
    })
}

/// What the page says to each of many.
fn in_the_page(page: &Browser, inputs: &[Vec<u8>]) -> Vec<Value> {
    let texts: Vec<String> = inputs.iter().map(hex::encode).collect();
    let genesis = hex::encode(data("genesis.json"));
    let checkpoint = hex::encode(data("checkpoint.json"));
    page.run("window.inputs = arguments", &[json!(texts), json!(genesis), json!(checkpoint)]);
    let answers = page.run_async(
        "const [texts, genesis, checkpoint] = window.inputs;
         const params = readGenesis(unhex(genesis)), held = unhex(checkpoint), answers = [];
         for (const text of texts) {
           try {
             const { txid, blockhash, height, time, confirmations, tip, tip_time, chainwork, work_on_top } =
               await verify(unhex(text), params, held);
             answers.push({ txid, blockhash, height, time, confirmations, tip, tip_time, chainwork, work_on_top });
           } catch (error) {
             answers.push(error instanceof Refused ? null : String(error.stack));
           }
         }
         return answers;",
    );
    answers.as_array().unwrap_or_else(|| panic!("{answers}")).clone()
}

#[test]
fn the_page_agrees_with_the_verifier_in_rust() {
    let seed = std::env::var("CAIRN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random::<u64>);
    println!("CAIRN_SEED={seed}");
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let page = open();
    let params = Params::from_json(&String::from_utf8(data("genesis.json")).unwrap()).unwrap();
    let checkpoint = String::from_utf8(data("checkpoint.json")).unwrap();
    for name in ["headers.json", "headers.bin", "since.json", "since.bin", "succinct.json", "succinct.bin"] {
        let whole = data(name);
        let mut inputs = vec![whole.clone()];
        // Where the fields are, and anywhere.
        let anywhere: Vec<usize> = (0..60).map(|_| rng.random_range(0..whole.len())).collect();
        for place in (0..700).step_by(9).chain(anywhere) {
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << rng.random_range(0..8);
            inputs.push(flipped);
        }
        for _ in 0..20 {
            let place = rng.random_range(0..whole.len());
            inputs.push(whole[..place].to_vec());
            let mut shorter = whole.clone();
            shorter.remove(place);
            inputs.push(shorter);
            let mut longer = whole.clone();
            longer.insert(place, whole[place]);
            inputs.push(longer);
        }
        if name.ends_with(".json") {
            let text = String::from_utf8(whole).unwrap();
            let edits = [
                ("\"version\": 1", "\"version\": 1.0"),
                ("\"version\": 1", "\"version\": 01"),
                ("\"version\": 1", "\"version\": 2"),
                ("\"version\": 1", "\"version\": \"1\""),
                ("\"version\": 1,", "\"version\": 1, \"version\": 1,"),
                ("\"version\": 1,", "\"version\": 1, \"more\": null,"),
                ("\"height\": ", "\"height\": 4294967296"),
                ("\"height\": ", "\"height\": -"),
                ("\"index\": ", "\"index\": 1"),
                ("\"format\": \"cairn", "\"format\": \"\\u0063airn"),
                ("\"format\": \"cairn", "\"format\": \"Cairn"),
                ("\"kind\": \"", "\"kind\": \"x"),
                ("{", "\u{feff}{"),
                ("\"tip\": \"", "\"tip\": \"0"),
                ("\"branch\": [", "\"branch\": [ \"00\", "),
                ("\"transaction\": \"", "\"transaction\": \"AA"),
                ("\n}", ",\n}"),
                ("\n}", "\n} \t\r\n"),
            ];
            inputs.extend(edits.iter().map(|(from, to)| text.replacen(from, to, 1).into_bytes()));
        }
        let answers = in_the_page(&page, &inputs);
        assert_eq!(answers.len(), inputs.len());
        let mut held = 0;
        for (place, (input, answer)) in inputs.iter().zip(answers).enumerate() {
            let expected = in_rust(input, &params, &checkpoint);
            held += usize::from(!expected.is_null());
            assert_eq!(
                answer,
                expected,
                "{name}, input {place}: {}",
                String::from_utf8_lossy(&input[..input.len().min(900)])
            );
        }
        assert!(held >= 1, "{name} itself holds");
    }
}

/// Lies with all their work done, which no flipped bit is: easier bits, no work, a false commitment, another height, in the
/// last headers and among the sampled ones, for payments anywhere.
#[test]
fn the_page_agrees_about_chains_that_break_a_rule() {
    let page = open();
    let params = Params::from_json(&String::from_utf8(data("genesis.json")).unwrap()).unwrap();
    let checkpoint = String::from_utf8(data("checkpoint.json")).unwrap();
    let mut inputs = Vec::new();
    for fault in [Fault::None, Fault::NoWork, Fault::Bits(Bits(0x207f_ffff)), Fault::Commitment, Fault::Height] {
        for (first, length) in [(1, 3), (2, 3), (3, 3), (150, 300), (44, 300), (300, 300), (20, 600), (400, 600)] {
            let mut forge = Forge::honest(params.clone(), first - 1);
            // From there on, so that a sample of them is drawn.
            (first..=length).for_each(|_| forge.add(fault));
            for height in [0, 1, first, length / 2, length] {
                inputs.push(forge.succinct(height).to_bytes());
                inputs.push(forge.whole(height).to_bytes());
            }
        }
    }
    let answers = in_the_page(&page, &inputs);
    let mut verdicts = [0, 0];
    for (place, (input, answer)) in inputs.iter().zip(answers).enumerate() {
        let expected = in_rust(input, &params, &checkpoint);
        verdicts[usize::from(expected.is_null())] += 1;
        assert_eq!(answer, expected, "input {place}");
    }
    assert!(verdicts.iter().all(|count| *count > 50), "{verdicts:?}");
}
