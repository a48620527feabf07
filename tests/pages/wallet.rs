//! The light client's page as a wallet: keys, payments and proofs in a real browser, with a real node and the wallet's commands
//! on the other side.

use std::process::Command;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::light::{LISTEN, Scene, wait_for_height};
use crate::process::{Done, Node, done};

fn fill(browser: &Browser, field: &str, text: &str) {
    browser.run("document.getElementById(arguments[0]).value = arguments[1]", &[field.into(), text.into()]);
}

/// Makes a wallet of words, or a new one.
pub fn open(browser: &Browser, words: &str, passphrase: &str) {
    fill(browser, "words-old", words);
    fill(browser, "passphrase-new", passphrase);
    browser.click("#make button");
    browser.wait("document.getElementById('own-address').textContent !== ''");
}

fn unlock(browser: &Browser, passphrase: &str) {
    fill(browser, "passphrase", passphrase);
    browser.click("#unlock button");
}

pub fn review(browser: &Browser, payee: &str, amount: &str, rate: &str) {
    for (field, text) in [("payee", payee), ("amount", amount), ("rate", rate)] {
        fill(browser, field, text);
    }
    browser.click("#pay button");
}

pub fn wait_for_spendable(browser: &Browser, amount: &str) {
    browser.wait(&format!("document.getElementById('spendable').textContent === '{amount}'"));
}

/// A wallet's command on a file that needs a passphrase.
fn wallet(scene: &Scene, passphrase: &str, args: &[&str]) -> Done {
    let mut command: Command = scene.place.command("a", &[&["wallet"], args].concat());
    command.env("CAIRN_PASSPHRASE", passphrase);
    done(command)
}

/// Pays from the owner's wallet, in a block.
pub fn pay(scene: &Scene, node: &Node, to: &str, amount: &str) {
    scene.place.run("a", &["wallet", "send", to, amount]).ok();
    node.generate(1, &scene.owner);
}

#[test]
fn a_page_pays_and_proves_it() {
    let scene = Scene::new();
    let node = scene.place.node("a", &LISTEN);
    let payee = scene.place.wallet("payee");
    let browser = Browser::open(&format!("{}light", node.url()));
    wait_for_height(&browser, 0);

    // A new wallet shows its words once, and an address that the node pays to.
    open(&browser, "", "a secret");
    browser.wait("document.getElementById('words-new').textContent.split(' ').length === 12");
    let words = browser.text("#words-new");
    browser.click("#written");
    browser.wait("document.getElementById('backup').hidden && document.getElementById('words-new').textContent === ''");
    let own = browser.text("#own-address");
    pay(&scene, &node, &own, "5");
    wait_for_spendable(&browser, "5");
    assert!(browser.text("#wallet-proof").starts_with("1 coins, none left out"), "{}", browser.text("#wallet-proof"));

    // What cannot be paid is named, and nothing is sent.
    for (payee, amount, rate, why) in [
        ("tcairn1nothing", "1", "1", "address"),
        (payee.as_str(), "6", "1", "not enough coins"),
        (&payee, "1.123456789", "1", "not an amount"),
        (&payee, "1", "1000000", "taken for a mistake"),
        (&payee, "1", "-1", "no number"),
    ] {
        review(&browser, payee, amount, rate);
        browser.wait(&format!("document.getElementById('wallet-error').textContent.includes({})", json!(why)));
    }
    review(&browser, &payee, "1.5", "2");
    browser.wait("!document.getElementById('review').hidden");
    // One input and two outputs: 212 bytes.
    assert!(
        browser.text("#terms").ends_with("fee 0.00000424 for 212 bytes, 3.49999576 come back"),
        "{}",
        browser.text("#terms")
    );
    assert!(node.mempool().is_empty(), "nothing is sent before it is confirmed");
    browser.click("#send");
    browser.wait("document.querySelector('#payments li').dataset.state === 'taken'");
    let txid = browser.text("#payments code");
    assert_eq!(node.mempool(), [txid.as_str()]);
    // Its coin is spent, and the change not here yet.
    wait_for_spendable(&browser, "0");

    node.generate(1, &scene.owner);
    browser.wait("document.querySelector('#payments li').dataset.state === 'proven'");
    wait_for_spendable(&browser, "3.49999576");
    node.generate(2, &scene.owner);
    browser.wait("document.querySelector('#payments span').textContent.includes('3 confirmations')");
    browser.click("#payments summary");
    let proof = browser.text("#payments pre");
    let hash = node.call("getblockhash", &[json!(2)]);
    assert!(proof.starts_with(&format!("block 2 {}\nheader ", hash.as_str().unwrap())), "{proof}");
    let raw = node.call("getrawtransaction", &[json!(txid), json!(0)]);
    assert!(proof.contains(&format!("\nplace 1\ntransaction {}\nsibling ", raw.as_str().unwrap())), "{proof}");

    // The page that is loaded again knows the wallet, and has no secret until it gets the passphrase.
    browser.reload();
    wait_for_height(&browser, 4);
    wait_for_spendable(&browser, "3.49999576");
    assert_eq!(browser.text("#own-address"), own);
    browser.wait("document.querySelector('#payments li').dataset.state === 'proven'");
    assert_eq!(browser.run("return document.getElementById('pay').hidden", &[]), json!(true));
    let kept = browser.run("return JSON.stringify(Object.entries(localStorage))", &[]);
    assert!(!kept.as_str().unwrap().contains(words.split(' ').next().unwrap()), "no words are kept");
    unlock(&browser, "another");
    browser.wait("document.getElementById('wallet-error').textContent.includes('does not open')");
    unlock(&browser, "a secret");
    browser.wait("!document.getElementById('pay').hidden");
    browser.click("#lock");
    browser.wait("document.getElementById('pay').hidden");

    // What it keeps is a file of the wallet's commands.
    let kept = "Object.entries(localStorage).find(([key]) => key.startsWith('cairn wallet'))[1]";
    let file = browser.run(&format!("return JSON.stringify(JSON.parse({kept}).file)"), &[]);
    let path = scene.place.path("page.json");
    std::fs::write(&path, file.as_str().unwrap()).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let of_file = ["--wallet", path.to_str().unwrap()];
    assert_eq!(wallet(&scene, "a secret", &[&["address"], &of_file[..]].concat()).ok(), own);
    assert_eq!(wallet(&scene, "a secret", &[&["words"], &of_file[..]].concat()).ok(), words);
    wallet(&scene, "a secret", &[&["send", &payee, "1"], &of_file[..]].concat()).ok();
    assert_eq!(node.mempool().len(), 1);
    browser.is_well(&node.url());
}

#[test]
fn words_restore_a_wallet_in_the_page() {
    let scene = Scene::new();
    let node = scene.place.node("a", &LISTEN);
    let first = scene.place.wallet("b");
    let words = scene.place.run("b", &["wallet", "words"]).ok();
    let second = scene.place.run("b", &["wallet", "address", "--new"]).ok();
    assert_ne!(first, second);
    pay(&scene, &node, &first, "1");
    pay(&scene, &node, &second, "2");
    let browser = Browser::open(&format!("{}light", node.url()));
    wait_for_height(&browser, 2);
    fill(&browser, "passphrase-new", "a secret");
    for (wrong, why) in [
        ("abandon about", "12 or 24 words"),
        ("abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abuot", "word 12"),
        ("abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon zoo", "checksum"),
    ] {
        fill(&browser, "words-old", wrong);
        fill(&browser, "passphrase-new", "a secret");
        browser.click("#make button");
        browser.wait(&format!("document.getElementById('wallet-error').textContent.includes({})", json!(why)));
    }
    open(&browser, &words.to_uppercase(), "a secret");
    // Both addresses are found, and the newest that was paid is shown.
    browser.wait(&format!("document.getElementById('own-address').textContent === {}", Value::from(second)));
    wait_for_spendable(&browser, "3");
    review(&browser, &scene.owner, "2.5", "1");
    browser.wait("!document.getElementById('review').hidden");
    browser.click("#send");
    browser.wait("document.querySelector('#payments li').dataset.state === 'taken'");
    node.generate(1, &scene.owner);
    browser.wait("document.querySelector('#payments li').dataset.state === 'proven'");
    browser.is_well(&node.url());
}
