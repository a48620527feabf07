//! The page as people use it: files chosen, dropped and pasted, and the verdicts it shows.

use std::path::{Path, PathBuf};

use base64::prelude::{BASE64_STANDARD, Engine};
use cairn::consensus::params::{GenesisSpec, Params};
use cairn::primitives::hash::{BlockHash, MerkleRoot};
use cairn::primitives::header::Header;
use cairn::primitives::height::Height;
use cairn::primitives::merkle::Branch;
use cairn::receipt::{Evidence, Receipt};
use serde_json::{Value, json};

use super::vectors::Vector;
use super::{url, vectors};
use crate::browser::Browser;
use crate::process::Place;

/// A directory with files to choose.
struct Desk(Place);

impl Desk {
    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A vector's receipt, and what its verifier holds.
    fn files(&self, vector: &Vector) -> Vec<PathBuf> {
        let mut files = vec![self.file("receipt", &vector.file), self.file("genesis.json", &vector.genesis)];
        files.extend(vector.checkpoint.as_ref().map(|text| self.file("checkpoint.json", text)));
        files
    }
}

fn choose(browser: &Browser, files: &[PathBuf]) {
    let files: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    browser.choose("#files", &files);
}

/// Waits for a new verdict. Earlier ones are removed first, so that none is mistaken for it.
fn verdict(browser: &Browser) -> String {
    browser.wait("document.getElementById('verdict').dataset.holds && document.querySelector('#steps li')");
    browser.run("return document.getElementById('verdict').dataset.holds", &[]).as_str().unwrap().to_owned()
}

fn forget(browser: &Browser) {
    browser.reload();
    browser.wait("document.getElementById('genesis-hash').textContent");
}

/// The facts of the verdict: name and text, in their order.
fn facts(browser: &Browser) -> Vec<(String, String)> {
    let script = "return [...document.querySelectorAll('#facts > div')].map((row) => [...row.children].map((cell) => cell.textContent))";
    let rows: Vec<(String, String)> = serde_json::from_value(browser.run(script, &[])).unwrap();
    rows
}

#[test]
fn every_shape_is_proven_in_the_words_of_the_command() {
    let desk = Desk(Place::new());
    let browser = Browser::open(&url());
    for vector in &vectors::good() {
        forget(&browser);
        let files = desk.files(vector);
        choose(&browser, &files);
        // With the work of fewer than six blocks on top, or with a warning, it is less than a yes.
        let verdict = verdict(&browser);
        assert_ne!(verdict, "no", "{}: {}", vector.name, browser.text("#verdict"));
        let doubted = browser.run("return !document.getElementById('doubts').hidden", &[]) == true;
        assert_eq!(verdict == "yes", browser.text("#holds") == "Proven", "{}", vector.name);
        assert!(!(doubted && verdict == "yes"), "{}", vector.name);
        let mut args = vec!["proof", "verify", "receipt", "--min-work", "0"];
        if vector.checkpoint.is_some() {
            args.extend(["--checkpoint", "checkpoint.json"]);
        }
        let said = desk.0.run("a", &args).ok();
        let expected: Vec<(String, String)> =
            said.lines().map(|line| (line[..15].trim_end().to_owned(), line[15..].to_owned())).collect();
        // What it pays stands first here.
        let (mut expected, rest): (Vec<_>, Vec<_>) =
            expected.into_iter().partition(|(name, _)| name == "pays" || name == "holds");
        expected.extend(rest);
        let shown = facts(&browser);
        assert_eq!(shown[..expected.len()], expected, "{}", vector.name);
        assert_eq!(shown.len(), expected.len() + 1);
        assert_eq!(browser.run("return document.querySelectorAll('#steps > li[data-holds=yes]').length", &[]), 6);
    }
    browser.is_well("file:///");
}

#[test]
fn an_invalid_receipt_is_refused_at_its_fault() {
    let desk = Desk(Place::new());
    let browser = Browser::open(&url());
    let payment = vectors::payment();
    let vector = payment.iter().find(|vector| vector.name == "payment 6 of 11, since 5, json").unwrap();
    let text = std::str::from_utf8(&vector.file).unwrap();
    let [receipt, genesis, checkpoint] = desk.files(vector).try_into().unwrap();
    let flip = |from: &str| {
        let at = text.find(from).unwrap() + from.len();
        let other = if text.as_bytes()[at] == b'0' { "1" } else { "0" };
        desk.file(&format!("spoilt {at}"), [&text[..at], other, &text[at + 1..]].concat())
    };
    let cases = [
        (vec![receipt.clone()], "The network", "the receipt is for the network with genesis"),
        (vec![receipt.clone(), genesis.clone()], "Every header since your checkpoint", "give a checkpoint of it"),
        (vec![genesis.clone(), checkpoint.clone(), desk.file("cut", &text[..400])], "The file", "not a receipt: EOF"),
        (
            vec![genesis.clone(), checkpoint.clone(), flip("\"branch\": [\n    \"")],
            "The Merkle branch",
            "is not in block",
        ),
        (vec![genesis.clone(), checkpoint.clone(), flip("\"tip\": \"")], "The tip", "it states"),
        (
            vec![genesis.clone(), checkpoint.clone(), flip("\"headers\": \"01000000")],
            "Every header since",
            "names parent",
        ),
        (
            vec![genesis.clone(), checkpoint.clone(), flip("\"transaction\": \"")],
            "The Merkle branch",
            "is not in block",
        ),
        (vec![genesis, checkpoint, desk.file("empty", "")], "The file", "not a receipt: EOF"),
    ];
    for (files, step, reason) in cases {
        forget(&browser);
        choose(&browser, &files);
        assert_eq!(verdict(&browser), "no", "{}", browser.text("#verdict"));
        assert_eq!(browser.text("#holds"), "Not proven");
        assert!(browser.text("#reason").contains(reason), "{reason}: {}", browser.text("#reason"));
        let broken = browser.text("#steps > li[data-holds=no]");
        assert!(broken.starts_with(step) && broken.contains(reason), "{step}: {broken}");
        let last = browser.run("return document.querySelector('#steps > li:last-child').dataset.holds", &[]);
        assert_eq!(last, "no");
        assert_eq!(facts(&browser), []);
    }
    browser.is_well("file:///");
}

/// The files that a user has after trying a test network: the receipt, and the genesis.json in its directory.
#[test]
fn a_receipt_of_another_network_asks_for_its_genesis_and_takes_it() {
    let desk = Desk(Place::new());
    let browser = Browser::open(&url());
    let [receipt, genesis] = desk.files(&vectors::payment()[0]).try_into().unwrap();
    choose(&browser, std::slice::from_ref(&receipt));
    assert_eq!(verdict(&browser), "no");
    assert!(browser.text("#reason").contains("Drop the genesis.json of its network"), "{}", browser.text("#reason"));
    choose(&browser, std::slice::from_ref(&genesis));
    browser.wait("document.getElementById('verdict').dataset.holds === 'little'");
    // Both at once, in either order.
    for files in [[receipt.clone(), genesis.clone()], [genesis, receipt]] {
        forget(&browser);
        choose(&browser, &files);
        assert_eq!(verdict(&browser), "little", "{}", browser.text("#verdict"));
    }
    browser.is_well("file:///");
}

/// Files in an event, as a drop and a paste bring them.
const TRANSFER: &str = "
    const transfer = new DataTransfer();
    for (const [name, base] of arguments[0]) {
      transfer.items.add(new File([Uint8Array.from(atob(base), (c) => c.charCodeAt(0))], name));
    }";

#[test]
fn receipts_are_dropped_and_pasted_too() {
    let browser = Browser::open(&url());
    let vectors = vectors::payment();
    let since = vectors.iter().find(|vector| vector.name == "payment 1 of 2, since 5, compact").unwrap();
    let base = |bytes: &[u8]| json!(BASE64_STANDARD.encode(bytes));
    let held = since.checkpoint.as_ref().unwrap();
    let files = json!([["r", base(&since.file)], ["c", base(held.as_bytes())], ["g", base(since.genesis.as_bytes())]]);
    let drop = "document.body.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true, cancelable: true }));";
    browser.run(&format!("{TRANSFER}{drop}"), &[files]);
    assert_eq!(verdict(&browser), "little");
    assert!(browser.text("#checkpoint-at").contains("height 5"));
    assert_eq!(browser.text("#network"), "Network regtest");

    // Without its checkpoint it does not hold any more, and on the other network neither.
    browser.click("#checkpoint-drop");
    browser.wait("document.getElementById('reason').textContent.includes('give a checkpoint of it')");
    browser.click("#network-back");
    browser.wait("document.getElementById('reason').textContent.includes('is for the network with genesis')");
    assert_eq!(browser.text("#network"), "Network cairn-dev");

    let paste = "
        const transfer = new DataTransfer();
        transfer.setData('text', arguments[0]);
        document.getElementById('paste').dispatchEvent(new ClipboardEvent('paste', { clipboardData: transfer, bubbles: true, cancelable: true }));";
    let whole = vectors.iter().find(|vector| vector.name == "payment 1 of 2, headers, json").unwrap();
    browser.run(paste, &[json!(whole.genesis)]);
    browser.run(paste, &[json!(std::str::from_utf8(&whole.file).unwrap())]);
    browser.wait("document.getElementById('verdict').dataset.holds === 'little'");
    // Its end serves as the checkpoint of the one before.
    browser.click("#use-checkpoint");
    assert!(browser.text("#checkpoint-at").contains("height 20"));

    // A checkpoint of another network, and a genesis.json that breaks a rule, change nothing.
    for (text, reason) in [
        (
            held.replace(&whole.params().genesis_hash.to_string(), &BlockHash::ZERO.to_string()),
            "is for the network with",
        ),
        (whole.genesis.replace("\"half_life_secs\": 3600", "\"half_life_secs\": 0"), "half_life_secs is 0"),
    ] {
        browser.run(paste, &[json!(text)]);
        browser.wait(&format!("document.getElementById('trouble').textContent.includes({})", json!(reason)));
        assert!(browser.text("#checkpoint-at").contains("height 20"));
        assert_eq!(browser.text("#network"), "Network regtest");
    }
    browser.is_well("file:///");
}

#[test]
fn receipt_content_is_shown_as_text() {
    let browser = Browser::open(&url());
    let markup = "<img src=x onerror=\"window.harmed=1\"><script>window.harmed=1</script>";
    let mut spec =
        GenesisSpec { network: markup[..60].to_owned(), message: markup.to_owned(), ..GenesisSpec::regtest() };
    assert!(spec.mine_nonce());
    let params = Params::new(spec).unwrap();
    let receipt = Receipt {
        network: params.genesis_hash,
        transaction: params.genesis.transactions[0].clone(),
        branch: Branch { index: 0, siblings: Vec::new() },
        height: Height::GENESIS,
        evidence: Evidence::Headers(Vec::new()),
        tip: params.genesis_hash,
    };
    let text = |text: &str| json!(BASE64_STANDARD.encode(text));
    let files = json!([[markup, text(&params.spec.to_json())], ["r", text(&receipt.to_json())]]);
    let drop = "dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, cancelable: true }));";
    browser.run(&format!("{TRANSFER}{drop}"), &[files]);
    assert_eq!(verdict(&browser), "little", "{}", browser.text("#verdict"));
    assert!(browser.text("#verdict").contains("the work of 6 is wanted"), "{}", browser.text("#verdict"));
    assert!(browser.text("#network").contains("<img src=x"), "{}", browser.text("#network"));
    assert_eq!(browser.run("return [window.harmed ?? 0, document.images.length]", &[]), json!([0, 0]));
    browser.is_well("file:///");
}

/// A hundred thousand headers: the page lives on while they are checked, and shows how far it is.
#[test]
fn a_long_chain_is_checked_while_the_page_lives_on() {
    const LENGTH: u32 = 100_000;
    let desk = Desk(Place::new());
    let params = Params::new(GenesisSpec::regtest()).unwrap();
    let receipt = vectors::payment().swap_remove(0);
    let transaction = Receipt::read(&receipt.file[..]).unwrap().transaction;
    let headers = vectors::headers(&params, LENGTH, |_| MerkleRoot::from_node(transaction.txid().as_leaf()));
    let receipt = Receipt {
        network: params.genesis_hash,
        transaction,
        branch: Branch { index: 0, siblings: Vec::new() },
        height: Height::from_u32(LENGTH / 2),
        tip: headers.last().map_or(BlockHash::ZERO, Header::hash),
        evidence: Evidence::Headers(headers),
    };
    let files = [desk.file("genesis.json", params.spec.to_json()), desk.file("long", receipt.to_bytes())];
    let browser = Browser::open(&url());
    let watch = "
        window.seen = new Set();
        const look = () => { seen.add(document.getElementById('progress').value); requestAnimationFrame(look); };
        look();";
    browser.run(watch, &[]);
    choose(&browser, &files);
    assert_eq!(verdict(&browser), "little", "{}", browser.text("#verdict"));
    let shown = facts(&browser);
    let count = LENGTH - LENGTH / 2 + 1;
    let confirmations = format!("{count}, each the work of a block; in {count} headers");
    assert!(shown.contains(&("confirmations".to_owned(), confirmations)), "{shown:?}");
    assert!(browser.run("return seen.size", &[]).as_u64().unwrap() > 5, "the page stood still");

    // Its list is made when it is asked for, without its middle.
    browser.click("#steps > li:nth-child(4) summary");
    browser.wait("document.querySelectorAll('#steps > li:nth-child(4) .list li').length === 401");
    let list = browser.text("#steps > li:nth-child(4) .list");
    assert!(list.contains("99600 more") && list.contains(&receipt.tip.to_string()), "{list}");
    browser.is_well("file:///");
}

#[test]
fn it_is_used_by_keyboard_and_fits_a_phone() {
    let desk = Desk(Place::new());
    let browser = Browser::open_on_phone(&url());
    let vectors = vectors::good();
    let fits = || {
        // The window's own width grows with what does not fit.
        let width = browser.run("return document.documentElement.scrollWidth", &[]);
        assert_eq!(width, 360, "the page is wider than the screen");
    };
    fits();
    let focus = || -> Value { browser.run("return document.activeElement.id || document.activeElement.tagName", &[]) };
    const TAB: &str = "\u{e004}";
    browser.keys(TAB);
    assert_eq!(focus(), "choose");
    browser.keys(TAB);
    assert_eq!(focus(), "paste");
    let vector = vectors.iter().find(|vector| vector.name == "block 1100 of 1300, succinct, compact").unwrap();
    choose(&browser, &desk.files(vector));
    assert_eq!(verdict(&browser), "little");
    assert_eq!(focus(), "verdict");
    fits();
    // To the first list, opened by the keyboard.
    for _ in 0..3 {
        browser.keys(TAB);
        if focus() == "SUMMARY" {
            break;
        }
    }
    browser.keys("\u{e007}");
    browser.wait("document.querySelectorAll('#steps .list li').length > 256");
    fits();
}
