//! What the explorer tells of the past and of what comes next: older blocks, spent outputs, replaced payments, receipts.

use std::fs;

use cairn::primitives::amount::COIN;
use serde_json::{Value, json};

use crate::browser::Browser;
use crate::explorer::Scene;

#[test]
fn older_blocks_are_read_page_by_page_to_genesis() {
    let scene = Scene::new(&[]);
    scene.mine(50);
    let browser = Browser::open(&scene.url());
    browser.wait("document.querySelectorAll('.blocks li').length === 24");
    browser.click("main a[href='#/blocks/38']");
    let heights = "return [...document.querySelectorAll('main tbody tr')]\
                   .map((row) => Number(row.cells[0].innerText.replace(/\\D/g, '')))";
    let expected = |from: u32, to: u32| json!((from..=to).rev().collect::<Vec<u32>>());
    browser.wait("document.querySelector('main h1').innerText.includes('38 to 14')");
    assert_eq!(browser.run(heights, &[]), expected(14, 38));
    browser.keys("[");
    browser.wait("document.querySelector('main h1').innerText.includes('13 to 0')");
    assert_eq!(browser.run(heights, &[]), expected(0, 13));
    browser.keys("]");
    browser.wait("document.querySelector('main h1').innerText.includes('38 to 14')");
    browser.keys("]");
    browser.wait("document.querySelector('main h1').innerText.includes('62 to 38')");
    browser.is_well(&scene.node.url());
}

#[test]
fn an_output_names_its_spender() {
    let scene = Scene::new(&[]);
    // Other entries in the history of the payer lie between the coin and its spender.
    let first = scene.pay("1", None);
    scene.mine(1);
    let second = scene.pay("2", None);
    let browser = Browser::open(&format!("{}#/tx/{first}", scene.url()));
    // The change is spent by the second payment, which waits; the payee keeps the coin.
    browser.wait("document.querySelectorAll('.flow section:last-child .badge').length === 2");
    let states = "return [...document.querySelectorAll('.flow section:last-child .badge')].map((badge) => badge.innerText).sort()";
    assert_eq!(browser.run(states, &[]), json!(["spent", "unspent"]));
    browser.click(&format!(".flow section:last-child a[href='#/tx/{second}']"));
    browser.wait_for_text("waiting for a block");
    scene.mine(1);
    browser.view(&format!("#/tx/{first}"));
    browser.wait(&format!("document.querySelector(\".flow section:last-child a[href='#/tx/{second}']\")"));
    browser.is_well(&scene.node.url());
}

#[test]
fn many_outputs_are_shown_page_by_page_each_with_its_state() {
    let scene = Scene::new(&[]);
    let mut args = vec!["wallet", "send"];
    (0..25).for_each(|_| args.extend([scene.payee.as_str(), "0.1"]));
    let txid = scene.place.run("a", &args).ok();
    let browser = Browser::open(&format!("{}#/tx/{txid}", scene.url()));
    let badges = |count: usize| {
        browser.wait(&format!("document.querySelectorAll('.flow section:last-child .badge').length === {count}"));
    };
    badges(20);
    let outputs = browser.text(".flow section:last-child");
    assert!(outputs.contains("26 outputs") && outputs.contains("1 to 20 of 26"), "{outputs}");
    browser.click("[data-key='Outputs Next']");
    badges(6);
    // The page stays where it was turned to when a block comes.
    scene.mine(1);
    browser.wait_for_text("1 confirmation");
    badges(6);
    assert!(browser.text(".flow section:last-child").contains("21 to 26 of 26"));
    browser.is_well(&scene.node.url());
}

#[test]
fn a_replaced_payment_says_by_what() {
    let scene = Scene::new(&[]);
    let old = scene.pay("1", None);
    let browser = Browser::open(&format!("{}#/tx/{old}", scene.url()));
    browser.wait_for_text("waiting for a block");
    let new = scene.place.run("a", &["wallet", "bump", &old, "--fee-rate", "20"]).ok();
    browser.wait(&format!("document.querySelector(\"#replaced a[href='#/tx/{new}']\")"));
    browser.is_well(&scene.node.url());
}

#[test]
fn a_receipt_is_downloaded_that_the_verifier_takes() {
    let scene = Scene::new(&[]);
    let txid = scene.pay("1", None);
    scene.mine(6);
    let browser = Browser::open(&format!("{}#/tx/{txid}", scene.url()));
    browser.wait("document.getElementById('download')");
    // What would be written to the disk.
    browser.run(
        "window.saved = null; const make = URL.createObjectURL; \
         URL.createObjectURL = (blob) => { blob.text().then((text) => { window.saved = text; }); return make(blob); }",
        &[],
    );
    browser.click("#download");
    browser.wait("window.saved !== null");
    let saved = browser.run("return window.saved", &[]);
    fs::write(scene.place.path("pay.json"), saved.as_str().unwrap()).unwrap();
    scene.place.run("a", &["proof", "verify", "pay.json"]).ok();
    browser.is_well(&scene.node.url());

    // The full verifier, which the node serves as well.
    browser.click("a[href='verify.html']");
    browser.wait("document.getElementById('genesis-hash')?.textContent");
    browser.choose("#files", &[&scene.place.path("pay.json"), &scene.place.path("genesis.json")]);
    browser.wait("document.getElementById('verdict').dataset.holds === 'yes'");
}

#[test]
fn a_part_of_a_name_is_found() {
    let scene = Scene::new(&[]);
    let txid = scene.pay("1", None);
    let hash = scene.node.call("getblockhash", &[7.into()]);
    let hash = hash.as_str().unwrap();
    let browser = Browser::open(&scene.url());
    let search = |text: &str| {
        browser.view("#/peers");
        browser.wait("document.querySelector('h1').innerText === 'Peers'");
        browser.keys("/");
        browser.wait("document.activeElement.id === 'query'");
        browser.keys(&format!("{text}\u{e007}"));
    };
    // As rows show it, its end alone, its beginning, both.
    let (start, end) = (&hash[..10], &hash[54..]);
    for text in [format!("…{end}"), end.to_owned(), start.to_owned(), format!("{start}…{end}")] {
        search(&text);
        browser.wait(&format!("location.hash === '#/block/{hash}'"));
    }
    search(&txid[..12]);
    browser.wait(&format!("location.hash === '#/tx/{txid}'"));
    search("0123456789abcdef");
    browser.wait("document.getElementById('found').innerText.includes('no part of one')");
    // What was not found stays in the field, which keeps the focus.
    browser.run("const query = document.getElementById('query'); query.value = ''; query.blur();", &[]);
    search("3df");
    browser.wait("document.getElementById('found').innerText.includes('needs 4 digits at least')");
    browser.is_well(&scene.node.url());
}

#[test]
fn the_start_page_shows_the_next_block() {
    let scene = Scene::new(&[]);
    let browser = Browser::open(&scene.url());
    browser.wait_for_text("Nothing waits for a block.");
    let txid = scene.pay("1", None);
    browser.wait(&format!("document.querySelector(\".newest a[href='#/tx/{txid}']\")"));
    let entry = scene.node.call("getmempoolentry", &[txid.as_str().into()]);
    let (size, fee) = (entry["vsize"].as_u64().unwrap(), entry["fees"]["base"].as_u64().unwrap());
    let shown = browser.text(".aside");
    let fee = format!("{}.{:08}", fee / COIN, fee % COIN);
    let said = format!("1 transaction, {size} B of 1.00 MB, {} coins in fees.", fee.trim_end_matches('0'));
    assert!(shown.contains("Next block 13") && shown.contains(&said), "{said} is not in {shown}");
    // The band is drawn and named. Its share is too small to be seen, so it has the least width.
    let width = browser.run("return Number(document.querySelector('.block-bar rect').getAttribute('width'))", &[]);
    assert_eq!(width.as_f64(), Some(12.0));
    let bands = browser.run("return document.querySelectorAll('.aside .bands li').length", &[]);
    assert_eq!(bands, Value::from(1));
    browser.is_well(&scene.node.url());
}
