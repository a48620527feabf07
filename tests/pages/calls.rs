//! Pages that meet through a node and then need it no more: real browsers, with real nodes.

use serde_json::json;

use crate::browser::Browser;
use crate::light::{LISTEN, Scene, address, wait_for_height};
use crate::process::{Node, wait_for};
use crate::wallet::{open, pay, review, wait_for_spendable};

/// Waits until a page shows so many other pages that agree with it.
pub fn wait_for_pages(browser: &Browser, count: usize) {
    let rows = "Array.from(document.querySelectorAll('#peers li'), (row) => row.textContent)";
    let pages = format!("{rows}.filter((row) => row.startsWith('page/') && row.endsWith('agrees'))");
    browser.wait(&format!("{pages}.length === {count}"));
}

/// Waits until a page is connected to no node.
fn wait_for_no_node(browser: &Browser) {
    let rows = "Array.from(document.querySelectorAll('#peers li'), (row) => row.textContent)";
    browser.wait(&format!("{rows}.every((row) => row.startsWith('page/') || /gone|unreachable/.test(row))"));
}

/// Gives a node the blocks of another, so that neither needs to know the other.
fn copy_blocks(from: &Node, to: &Node) {
    for height in to.tip().0 + 1..=from.tip().0 {
        let hash = from.call("getblockhash", &[json!(height)]);
        let block = from.call("getblock", &[hash, json!(0)]);
        assert_eq!(to.call("submitblock", &[block]), json!(null));
    }
}

#[test]
fn pages_go_on_without_the_node_through_which_they_met() {
    let scene = Scene::new();
    let (first, second) = (scene.place.node("a", &LISTEN), scene.place.node("b", &LISTEN));
    // Two pages know the first node alone, the third knows both.
    let page = format!("{}light", first.url());
    let (far, middle) = (Browser::open(&page), Browser::open(&page));
    let near = Browser::open(&format!("{page}#peer={}&peer={}", address(&first), address(&second)));
    let all = [&far, &middle, &near];
    open(&far, "", "a secret");
    far.click("#written");
    pay(&scene, &first, &far.text("#own-address"), "5");
    wait_for_spendable(&far, "5");
    copy_blocks(&first, &second);
    all.iter().for_each(|browser| wait_for_pages(browser, 2));

    first.kill();
    wait_for_no_node(&far);
    wait_for_no_node(&middle);
    // A block comes from page to page.
    second.generate(1, &scene.owner);
    all.iter().for_each(|browser| wait_for_height(browser, 2));

    // A payment comes to a miner, and its block back.
    review(&far, &scene.owner, "1.5", "2");
    far.wait("!document.getElementById('review').hidden");
    far.click("#send");
    far.wait("document.querySelector('#payments li').dataset.state === 'taken'");
    let txid = far.text("#payments code");
    wait_for("the payment", || second.mempool().contains(&txid).then_some(()));
    second.generate(1, &scene.owner);
    assert!(second.mempool().is_empty(), "it is in the block");
    all.iter().for_each(|browser| wait_for_height(browser, 3));
    assert_eq!(far.text("#tip"), second.tip().1);
    // To the node that is left there is one page.
    assert_eq!(second.call("getconnectioncount", &[]), json!(1));
}
