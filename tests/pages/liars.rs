//! Nodes that lie to a page in a real browser, over WebRTC: each lie is refused, and the page names the liar and asks it no more.

use cairn::consensus::params::GenesisSpec;
use cairn::p2p::coins::{About, PEER_PAGE_COINS};
use cairn::p2p::message::Message;
use cairn::p2p::proofs::TxProof;
use cairn::primitives::amount::COIN;
use cairn::primitives::block::Block;
use cairn::primitives::hash::Hash256;
use cairn::primitives::merkle::Branch;
use cairn::state::{KeyRange, Source, Table};

use crate::browser::Browser;
use crate::liar::{Liar, Lie};
use crate::light::{LISTEN, address, wait_for_height};
use crate::process::{Node, Place, spec};
use crate::wallet::{self, wait_for_spendable};

/// A network with an honest node, whose owner has coins that blocks commit to.
struct Scene {
    place: Place,
    node: Node,
    owner: String,
}

impl Scene {
    fn new(blocks: u32) -> Self {
        let place = Place::new();
        let owner = place.wallet("a");
        let mut spec = GenesisSpec { epoch_blocks: 10, ..spec(0x207f_ffff, &[(&owner, 1_000 * COIN)]) };
        assert!(spec.mine_nonce());
        place.found(&spec);
        let node = place.node("a", &LISTEN);
        for from in (0..blocks).step_by(1_000) {
            node.generate((blocks - from).min(1_000), &owner);
        }
        Self { place, node, owner }
    }

    /// Opens the page of the honest node, which dials the liar, and the honest node only if it is named too.
    fn open(&self, liar: &Liar, with_honest: bool) -> Browser {
        let honest = if with_honest { format!("&peer={}", address(&self.node)) } else { String::new() };
        Browser::open(&format!("{}light#peer={}{honest}", self.node.url(), liar.address))
    }
}

/// Waits until the page says what the liar did. It then shows it as barred for that, and does not dial it again.
fn is_caught(browser: &Browser, liar: &Liar, lie: &str) {
    let words = format!("{} lied: it {lie}", liar.address);
    browser.wait(&format!("document.getElementById('log').textContent.includes({words:?})"));
    is_barred(browser, liar, lie);
}

fn is_barred(browser: &Browser, liar: &Liar, lie: &str) {
    let rows = "Array.from(document.querySelectorAll('#peers li'), (row) => row.textContent)";
    let row = format!("{} barred while this page is open: it {lie}", liar.address);
    browser.wait(&format!("{rows}.some((row) => row.startsWith({row:?}))"));
    assert_eq!(liar.connections(), 1, "{}", browser.text("#log"));
}

/// Asks for the coins of an address.
fn ask(browser: &Browser, owner: &str) {
    browser.run("document.getElementById('whose').value = arguments[0]", &[owner.into()]);
    browser.click("#own button");
}

#[test]
fn a_forged_proof_of_the_chain_is_refused() {
    // Long enough to be proven.
    let scene = Scene::new(2_500);
    let forge: Lie = Box::new(|message| match message {
        Message::ChainProof(mut answer) => {
            if let Some(byte) = answer.proof.as_mut().and_then(|proof| proof.get_mut(5_000)) {
                *byte ^= 1;
            }
            vec![Message::ChainProof(answer)]
        }
        other => vec![other],
    });
    let liar = Liar::start(&scene.place, &scene.node, forge);
    let browser = scene.open(&liar, false);
    is_caught(&browser, &liar, "sent a false proof of its chain");
    assert_eq!((browser.text("#height"), browser.text("#state")), ("0".to_owned(), "not verified".to_owned()));
    browser.view(&format!("#peer={}", address(&scene.node)));
    wait_for_height(&browser, 2_500);
    assert_eq!(browser.text("#tip"), scene.node.tip().1);
    assert_eq!(liar.connections(), 1);
}

#[test]
fn headers_without_proof_of_work_are_refused() {
    let scene = Scene::new(20);
    let bend: Lie = Box::new(|message| match message {
        Message::Headers(mut headers) => {
            if let Some(last) = headers.last_mut() {
                cairn_testkit::unmine(last);
            }
            vec![Message::Headers(headers)]
        }
        other => vec![other],
    });
    let liar = Liar::start(&scene.place, &scene.node, bend);
    let browser = scene.open(&liar, true);
    const LIE: &str = "sent a bad header";
    is_caught(&browser, &liar, LIE);
    wait_for_height(&browser, 20);
    assert_eq!((browser.text("#tip"), browser.text("#agree")), (scene.node.tip().1, "1 of 2".to_owned()));

    // It stays barred when the page is loaded again, and when another link names it.
    browser.reload();
    wait_for_height(&browser, 20);
    is_barred(&browser, &liar, LIE);
    assert_eq!(browser.text("#agree"), "1 of 1");
    browser.view(&format!("#peer={}", liar.address));
    browser.wait("document.getElementById('state').textContent.startsWith('as kept here')");
    is_barred(&browser, &liar, LIE);
    browser.view(&format!("#peer={}&peer={}", address(&scene.node), liar.address));
    wait_for_height(&browser, 20);
    is_barred(&browser, &liar, LIE);
}

/// Height at which coins of an edge are proven, and what stands for all of the owner's, up to there: of genesis and each block.
const BURIED: u32 = 300;
const ALL: &str = "301 coins, none left out: ";
const TO_THE_TIP: &str = "followed to block 300.";

/// The page has no other node when it asks, and does not come to the tip. Then it is given the honest one.
fn is_refused_about_coins(lie: Lie, named: &str) {
    let scene = Scene::new(BURIED);
    let liar = Liar::start(&scene.place, &scene.node, lie);
    let browser = scene.open(&liar, false);
    wait_for_height(&browser, BURIED.into());
    ask(&browser, &scene.owner);
    is_caught(&browser, &liar, named);
    let shown = browser.text("#proof");
    assert!(!shown.contains(TO_THE_TIP), "{shown}");
    browser.view(&format!("#peer={}", address(&scene.node)));
    wait_for_height(&browser, BURIED.into());
    ask(&browser, &scene.owner);
    browser.wait(&format!("document.getElementById('proof').textContent.endsWith('{TO_THE_TIP}')"));
    assert!(browser.text("#proof").starts_with(ALL), "{}", browser.text("#proof"));
    assert_eq!(liar.connections(), 1);
}

#[test]
fn a_proof_that_leaves_coins_out_is_refused() {
    let none = Table::new(Vec::new()).unwrap();
    let lie: Lie = Box::new(move |message| match message {
        Message::Coins(mut answer) => {
            let lock = KeyRange::lock(&answer.query.owner);
            if let (Some(proof), true) = (&mut answer.proof, answer.query.about != About::Total) {
                proof.bytes =
                    none.with_source(|source: &Source<'_, _>| source.prove_page_of(PEER_PAGE_COINS, &lock).unwrap().0);
                proof.end = None;
            }
            vec![Message::Coins(answer)]
        }
        other => vec![other],
    });
    is_refused_about_coins(lie, "sent a false proof of coins");
}

#[test]
fn a_filter_that_leaves_a_block_out_is_refused() {
    let lie: Lie = Box::new(|message| match message {
        Message::Filters(mut filters) => {
            filters.iter_mut().for_each(|(_, bytes)| *bytes = vec![0]);
            vec![Message::Filters(filters)]
        }
        other => vec![other],
    });
    is_refused_about_coins(lie, "sent a false filter");
}

/// The page has paid, and a block has it. It is opened again with the liar as its only node, which tells the truth until the page
/// knows of the block, and then forges the payment's proof.
fn is_refused_about_a_payment(forge: fn(&mut TxProof, &Block), rule: &str) {
    let scene = Scene::new(3);
    let page = format!("{}light", scene.node.url());
    let browser = Browser::open(&page);
    wait_for_height(&browser, 3);
    wallet::open(&browser, "", "a secret");
    browser.click("#written");
    scene.place.run("a", &["wallet", "send", &browser.text("#own-address"), "5"]).ok();
    scene.node.generate(1, &scene.owner);
    wait_for_spendable(&browser, "5");
    wallet::review(&browser, &scene.owner, "1.5", "2");
    browser.wait("!document.getElementById('review').hidden");
    browser.click("#send");
    let is = |state: &str| format!("document.querySelector('#payments li').dataset.state === '{state}'");
    browser.wait(&is("taken"));
    let txid = browser.text("#payments code");
    scene.node.generate(1, &scene.owner);
    browser.wait(&is("proven"));

    let (paid, mut shown, mut held) = (txid.clone(), None, Vec::new());
    let lie: Lie = Box::new(move |message| {
        let mut rest = Vec::new();
        match message {
            Message::Proofs(proofs) => held.push(proofs),
            Message::Block(block) => {
                if block.txids().iter().any(|txid| txid.to_string() == paid) {
                    shown = Some(block.clone());
                }
                rest.push(Message::Block(block));
            }
            other => rest.push(other),
        }
        if let Some(block) = &shown {
            for mut proofs in held.drain(..) {
                proofs.proofs.iter_mut().for_each(|proof| forge(proof, block));
                rest.push(Message::Proofs(proofs));
            }
        }
        rest
    });
    let liar = Liar::start(&scene.place, &scene.node, lie);
    // On a page of the same origin it forgets the node that it knows.
    browser.go(&scene.node.url());
    browser.run("Object.keys(localStorage).filter((key) => key.startsWith('cairn nodes')).forEach((key) => localStorage.removeItem(key))", &[]);
    browser.go(&format!("{page}#peer={}", liar.address));
    is_caught(&browser, &liar, &format!("sent a false proof: {}", rule.replace("TXID", &txid)));
    // What it had, it has: the chain, its coins, and the payment, which is not proven.
    browser.wait("document.getElementById('state').textContent.startsWith('as kept here')");
    assert_eq!((browser.text("#height"), browser.text("#tip")), ("5".to_owned(), scene.node.tip().1));
    wait_for_spendable(&browser, "3.49999576");
    assert_eq!(browser.run(&format!("return {}", is("mined")), &[]), true, "{}", browser.text("#payments"));
    assert_eq!(browser.text("#payments code"), txid);

    browser.view(&format!("#peer={}&peer={}", liar.address, address(&scene.node)));
    browser.wait(&is("proven"));
    browser.click("#payments summary");
    let proof = browser.text("#payments pre");
    assert!(proof.starts_with(&format!("block 5 {}\n", scene.node.tip().1)), "{proof}");
    is_barred(&browser, &liar, "sent a false proof: ");
}

#[test]
fn a_forged_branch_of_a_payment_is_refused() {
    is_refused_about_a_payment(
        |proof, _| proof.branch.siblings[0] = Hash256::of(b"forged"),
        "the branch of transaction TXID does not lead to the Merkle root of block ",
    );
}

#[test]
fn the_proof_of_another_transaction_is_refused() {
    is_refused_about_a_payment(
        |proof, block| {
            proof.branch = Branch::new(block.txids(), 0).unwrap();
            proof.transaction = block.transactions[0].clone();
        },
        "transaction ",
    );
}
