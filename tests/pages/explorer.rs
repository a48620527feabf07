//! The explorer as people use it: real nodes, and a real browser that shows their page.

use std::fs;
use std::process::{Child, Stdio};

use crate::browser::Browser;
use crate::process::{Node, Place, spec, wait_for};
use cairn::primitives::amount::COIN;
use serde_json::{Value, json};

/// Bits that every second hash meets.
const INSTANT: u32 = 0x207f_ffff;
/// Data that would do harm if the page read it as markup.
const MARKUP: &str = "<script>window.harmed=1</script><img src=x onerror=\"window.harmed=1\">";

/// A network of one node with blocks and a payer who has coins.
pub(crate) struct Scene {
    pub(crate) place: Place,
    pub(crate) node: Node,
    payer: String,
    pub(crate) payee: String,
    pub(crate) miner: String,
}

impl Scene {
    pub(crate) fn new(options: &[&str]) -> Self {
        let place = Place::new();
        let (payer, payee, miner) = (place.wallet("a"), place.wallet("payee"), place.wallet("miner"));
        place.found(&spec(INSTANT, &[(&payer, 1_000 * COIN)]));
        let node = place.node("a", options);
        node.generate(12, &miner);
        Self { place, node, payer, payee, miner }
    }

    pub(crate) fn pay(&self, coins: &str, data: Option<&str>) -> String {
        let mut args = vec!["wallet", "send", &self.payee, coins];
        args.extend(data.iter().flat_map(|data| ["--data", data]));
        self.place.run("a", &args).ok()
    }

    pub(crate) fn mine(&self, blocks: u32) {
        self.node.generate(blocks, &self.miner);
    }

    /// A directory with a file in the node's content: their CIDs.
    fn site(&self) -> (String, String) {
        let dir = self.place.path("site");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("notes.txt"), "notes").unwrap();
        let add = |path: &str| {
            let added = self.place.run("a", &["content", "add", "-rQ", "--cid-version", "1", path]);
            added.ok().trim().to_owned()
        };
        (add(dir.to_str().unwrap()), add(dir.join("notes.txt").to_str().unwrap()))
    }

    /// Where the page is.
    pub(crate) fn url(&self) -> String {
        self.node.url()
    }

    /// The same with the owner's credentials, as `cairn testnet` prints it.
    pub(crate) fn owners_url(&self) -> String {
        let cookie = fs::read_to_string(self.place.path("a/.cookie")).unwrap();
        format!("{}#key={cookie}", self.node.url())
    }
}

/// The text beside a name in a definition list.
pub(crate) fn fact(browser: &Browser, name: &str) -> String {
    let script = "return [...document.querySelectorAll('main dl > div')]\
                  .find((row) => row.querySelector('dt').textContent === arguments[0])?.querySelector('dd').innerText ?? ''";
    browser.run(script, &[name.into()]).as_str().unwrap_or_default().to_owned()
}

#[test]
fn every_view_shows_its_data() {
    let scene = Scene::new(&[]);
    let txid = scene.pay("1.5", None);
    scene.mine(1);
    let waiting = scene.pay("2.25", None);
    let (height, tip) = scene.node.tip();
    let browser = Browser::open(&scene.url());

    browser.wait("document.querySelectorAll('.blocks li').length === 14");
    assert_eq!(browser.text("#live"), "live");
    assert!(fact(&browser, "Height").starts_with(&height.to_string()));
    assert!(fact(&browser, "Mempool").starts_with('1'));
    assert_eq!(browser.text("#network"), "test");

    browser.view(&format!("#/block/{tip}"));
    browser.wait_for_text("1 confirmation");
    assert!(fact(&browser, "Hash").contains(&tip));
    assert_eq!(fact(&browser, "Transactions"), "2");
    let fees = scene.node.call("getblockstats", &[tip.as_str().into()])["totalfee"].as_u64().unwrap();
    assert_eq!(fact(&browser, "Fees"), format!("0.{fees:08}").trim_end_matches('0').to_owned() + " coins");
    browser.keys("[");
    browser.wait("document.querySelector('h1').innerText === 'Block 12'");
    browser.view("#/block/0");
    browser.wait("document.querySelector('h1').innerText === 'Genesis'");

    browser.view(&format!("#/tx/{txid}"));
    browser.wait_for_text("1 confirmation");
    let shown = browser.text("main");
    assert!(shown.contains("1.5") && shown.contains("1 input") && shown.contains("2 outputs"), "{shown}");
    let title = "return [...document.querySelectorAll('.coins [title]')].map((node) => node.title).join(' ')";
    let titles = browser.run(title, &[]);
    for address in [&scene.payer, &scene.payee] {
        assert!(titles.as_str().unwrap().contains(address.as_str()), "{titles}");
    }

    browser.view(&format!("#/address/{}", scene.payee));
    browser.wait_for_text("1.5");
    assert_eq!(fact(&browser, "Balance"), "1.5 coins");
    assert_eq!(fact(&browser, "Pending"), "+2.25 coins");
    browser.wait("document.querySelectorAll('main tbody [data-item]').length === 2");

    browser.view("#/mempool");
    browser.wait(&format!("document.querySelector('main tbody').innerText.includes({:?})", &waiting[..8]));
    browser.view("#/peers");
    browser.wait_for_text("This node is alone.");
    browser.view("#/charts");
    browser.wait("document.querySelectorAll('.plot svg').length === 3");
    // Two labels on each axis at least.
    browser
        .wait("[...document.querySelectorAll('.plot svg')].every((plot) => plot.querySelectorAll('.left').length > 1)");
    browser.wait(
        "[...document.querySelectorAll('.plot svg')].every((plot) => plot.querySelectorAll('.below').length > 1)",
    );
    browser.view("#/verify");
    browser.wait("document.getElementById('receipt')");
    browser.view("#/nothing");
    browser.wait_for_text("There is no such view.");
    browser.view("#/block/99999");
    browser.wait_for_text("This node knows no block 99999.");
    // Names that are none, as a link that was cut short has them.
    for (view, heading, said) in [
        ("#/tx/00", "Transaction", "“00” names no transaction: an id has 64 hex digits."),
        ("#/tx/", "Transaction", "“” names no transaction"),
        ("#/block/zz", "Block", "“zz” names no block: a hash has 64 hex digits, and a height is a number."),
        ("#/address/x", "Address", "This is no address of this network: "),
    ] {
        browser.view(view);
        browser.wait_for_text(said);
        assert_eq!(browser.text("main h1"), heading, "{view}");
    }
    browser.is_well(&scene.node.url());
}

#[test]
fn a_name_that_is_no_cid_is_said_to_be_none() {
    let scene = Scene::new(&[]);
    let browser = Browser::open(&format!("{}#/content/zz", scene.url()));
    browser.wait_for_text("invalid path \"/ipfs/zz\": ");
    assert_eq!(browser.text("main h1"), "Block of content");
}

#[test]
fn a_payment_is_seen_to_come_and_to_be_confirmed() {
    let scene = Scene::new(&[]);
    let browser = Browser::open(&scene.url());
    browser.view("#/mempool");
    browser.wait_for_text("Nothing waits for a block.");
    browser.wait("document.getElementById('live').dataset.state === 'live'");
    browser.run("window.loaded_once = true", &[]);

    let txid = scene.pay("3", None);
    browser.click(&format!("main a[href='#/tx/{txid}']"));
    browser.wait("document.getElementById('standing').innerText === 'waiting for a block'");
    scene.mine(1);
    browser.wait("document.getElementById('standing').innerText === '1 confirmation'");
    scene.mine(2);
    browser.wait("document.getElementById('standing').innerText === '3 confirmations'");
    browser.view("#/");
    browser.wait("document.querySelectorAll('.blocks li').length === 16");
    scene.mine(1);
    browser.wait("document.querySelectorAll('.blocks li').length === 17");
    browser.wait("document.getElementById('said').textContent.includes('16')");
    assert_eq!(browser.run("return window.loaded_once", &[]), true);
    browser.is_well(&scene.node.url());
}

#[test]
fn a_branch_that_lost_is_drawn_beside_the_chain() {
    let scene = Scene::new(&[]);
    scene.pay("1", None);
    scene.mine(1);
    let (_, lost) = scene.node.tip();
    let browser = Browser::open(&scene.url());
    browser.wait("document.querySelectorAll('.blocks li').length === 14");
    scene.node.call("invalidateblock", &[lost.as_str().into()]);
    // Another payee, or the same block would be made again. The payment that was in it is mined once more.
    scene.node.generate(2, &scene.payee);
    scene.node.call("reconsiderblock", &[lost.as_str().into()]);
    browser.wait("document.querySelectorAll('.blocks li.side').length === 1");
    browser.wait("document.querySelectorAll('.tree path.branch').length === 1");
    browser.click("li.side a.height");
    browser.wait_for_text("on a side branch");
    assert!(fact(&browser, "Hash").contains(&lost));
    // Its story: where it left the chain, what stands in its place, and where its payments are.
    assert_eq!(fact(&browser, "Left the chain"), "after block 12");
    let instead = scene.node.call("getblockhash", &[13.into()]);
    assert!(fact(&browser, "In its place").starts_with(&instead.as_str().unwrap()[..8]));
    assert_eq!(fact(&browser, "Branch"), "1 block long: every block of it is valid, and it has less work");
    let now = "return [...document.querySelectorAll('main tbody tr')].map((row) => row.cells[6].innerText)";
    assert_eq!(browser.run(now, &[]), json!(["gone with the block", "in block 13"]));
    browser.is_well(&scene.node.url());
}

/// 1,500 blocks that pay an address lie under 1,000 that do not.
#[test]
fn an_address_is_read_page_by_page_from_its_newest_entry_on() {
    let scene = Scene::new(&[]);
    scene.node.generate(1_500, &scene.payee);
    scene.node.generate(1_000, &scene.miner);
    let browser = Browser::open(&scene.url());
    browser.wait("document.getElementById('live').dataset.state === 'live'");
    browser.run(
        "window.reads = 0; const send = window.fetch; \
         window.fetch = (path, options) => { \
           for (const call of [JSON.parse(options.body)].flat()) window.reads += call.method === 'getaddresshistory' ? 1 : 0; \
           return send(path, options); \
         }",
        &[],
    );
    browser.view(&format!("#/address/{}", scene.payee));
    let items = "document.querySelectorAll('main [data-item]').length";
    browser.wait(&format!("{items} === 100"));
    // A client that has just connected may be told to read everything once more.
    let first = browser.run("return window.reads", &[]).as_u64().unwrap();
    assert!(first <= 2, "{first} calls for one page");
    for page in 2..=15 {
        browser.click("main [data-key=older]");
        browser.wait(&format!("{items} === {}", 100 * page));
    }
    browser.click("main [data-key=older]");
    browser.wait("!document.querySelector('main [data-key=older]')");
    // Each of the 1,500 once, and nothing twice.
    let heights = "return [...document.querySelectorAll('main [aria-label=History] tbody tr')]\
                   .map((row) => Number(row.cells[2].innerText.replace(/\\D/g, '')))";
    let expected: Vec<u32> = (13..=1_512).rev().collect();
    assert_eq!(browser.run(heights, &[]), json!(expected));
    let reads = browser.run("return window.reads", &[]).as_u64().unwrap();
    assert!(reads <= first + 15, "{reads} calls for 16 pages");

    // What comes joins what has been read.
    scene.node.generate(1, &scene.payee);
    browser.wait(&format!("{items} === 1501"));
    browser.is_well(&scene.node.url());
}

#[test]
fn a_proof_is_verified_and_a_false_one_refused() {
    let scene = Scene::new(&[]);
    // Four transactions in the block: a branch of two levels.
    let others = [scene.pay("1", None), scene.pay("2", None)];
    let txid = scene.pay("3", None);
    scene.mine(3);
    let browser = Browser::open(&format!("{}#/tx/{txid}", scene.url()));
    browser.click("#verify");
    browser.wait("document.querySelector('.verdict').innerText.startsWith('Proven.')");
    let steps = browser.text(".steps");
    let receipt = scene.node.call("getreceipt", &[txid.as_str().into()]);
    let block = scene.node.call("getrawtransaction", &[txid.as_str().into(), 1.into()])["blockhash"].take();
    let header = scene.node.call("getblockheader", std::slice::from_ref(&block));
    let branch = receipt["branch"].as_array().unwrap();
    assert_eq!(branch.len(), 2, "{others:?}");
    for expected in [&json!(txid), &branch[0], &branch[1], &header["merkleroot"], &block, &header["target"]] {
        assert!(steps.contains(expected.as_str().unwrap()), "{expected} is not in {steps}");
    }
    assert!(browser.text(".verdict").contains("3 confirmations"));

    browser.click("#tamper");
    browser.click("#verify");
    browser.wait("document.querySelector('.verdict').innerText.startsWith('Refused')");
    assert!(browser.text(".verdict").contains("Merkle root"), "{}", browser.text(".verdict"));
    assert_eq!(browser.run("return document.querySelectorAll('.steps .bad').length", &[]), 1);

    // A receipt from a file: as it is, then with a header changed, then of another network.
    let check = |receipt: &Value, verdict: &str| {
        browser.view("#/verify");
        browser.wait("document.getElementById('receipt')");
        browser.run("document.getElementById('receipt').value = arguments[0]", &[receipt.to_string().into()]);
        browser.click("#verify");
        browser.wait(&format!("document.querySelector('.verdict').innerText.includes({verdict:?})"));
    };
    check(&receipt, "Proven.");
    let mut false_receipt = receipt.clone();
    let headers = receipt["evidence"]["headers"].as_str().unwrap();
    let digit = if &headers[8..9] == "0" { "1" } else { "0" };
    false_receipt["evidence"]["headers"] = format!("{}{digit}{}", &headers[..8], &headers[9..]).into();
    check(&false_receipt, "Refused");
    let mut foreign = receipt.clone();
    foreign["network"] = block.clone();
    check(&foreign, "it is of another network");
    check(&json!({ "format": "something" }), "this is no receipt");

    // The page's own SHA-256, for browsers that offer none on such a page, agrees with the browser's.
    let own = browser.run_async(
        "const { ownSha256, sha256 } = await import('/assets/sha256.js');\
         const differing = [];\
         for (const length of [0, 1, 55, 56, 63, 64, 65, 80, 119, 120, 1000]) {\
           const bytes = crypto.getRandomValues(new Uint8Array(length));\
           if (String(ownSha256(bytes)) !== String(await sha256(bytes))) differing.push(length);\
         }\
         return differing;",
    );
    assert_eq!(own, json!([]));
    browser.is_well(&scene.node.url());
}

/// Of more headers than a node gives a caller without credentials in one receipt.
#[test]
fn a_proof_is_verified_on_a_long_chain() {
    let scene = Scene::new(&[]);
    let txid = scene.pay("3", None);
    for _ in 0..7 {
        scene.mine(1_750);
    }
    let browser = Browser::open(&format!("{}#/tx/{txid}", scene.url()));
    browser.click("#verify");
    browser.wait("['yes', 'no'].includes(document.querySelector('.verdict').dataset.holds)");
    let verdict = browser.text(".verdict").replace('\u{202f}', "");
    assert!(verdict.starts_with("Proven.") && verdict.contains("in 12250 headers"), "{verdict}");
    browser.is_well(&scene.node.url());
}

#[test]
fn text_from_the_chain_stays_text() {
    let scene = Scene::new(&[]);
    let txid = scene.pay("1", Some(MARKUP));
    let browser = Browser::open(&format!("{}#/tx/{txid}", scene.url()));
    browser.wait("document.querySelector('.data pre')");
    assert_eq!(browser.run("return document.querySelector('.data pre').textContent", &[]), MARKUP);
    for view in ["#/", "#/mempool", &format!("#/address/{}", scene.payee), "#/block/1"] {
        browser.view(view);
        browser.wait("document.querySelector('main .view').childNodes.length > 0");
    }
    // Also what is typed into the address bar.
    for view in ["tx", "block", "address"] {
        browser.view(&format!("#/{view}/{MARKUP}"));
        browser.wait("document.querySelector('main .notice')");
    }
    assert_eq!(browser.run("return document.querySelectorAll('main script, main img').length", &[]), 0);
    assert_eq!(browser.run("return window.harmed ?? null", &[]), Value::Null);
    browser.is_well(&scene.node.url());
}

#[test]
fn a_link_is_cut_and_healed_by_hand() {
    let scene = Scene::new(&["--chaos"]);
    let other = scene.place.node("b", &["--connect", &scene.node.peer_address()]);
    wait_for("the nodes to agree", || (other.tip() == scene.node.tip()).then_some(()));

    // Without credentials, links are seen and no more.
    let browser = Browser::open(&format!("{}#/links", scene.url()));
    browser.wait("document.querySelector('.link').dataset.state === 'open'");
    browser.click(".link .knob");
    browser.wait("document.querySelector('.sign-in')");
    browser.run("document.getElementById('password').value = 'wrong'", &[]);
    browser.click(".sign-in button");
    browser.wait("document.querySelector('.said').innerText.includes('wrong')");
    let cookie = fs::read_to_string(scene.place.path("a/.cookie")).unwrap();
    let (_, password) = cookie.split_once(':').unwrap();
    browser.run("document.getElementById('password').value = arguments[0]", &[password.into()]);
    browser.click(".sign-in button");

    browser.click("#cut");
    browser.wait("document.querySelector('.link').dataset.state === 'cut'");
    let links = scene.node.call("getlinks", &[]);
    assert_eq!(links["nodes"][0]["links"][0]["cut"], true, "{links}");
    let before = other.tip();
    scene.mine(2);
    browser.wait("document.querySelector('.node .height').textContent === '14'");
    assert_eq!(other.tip(), before);

    browser.click("#heal");
    browser.wait("document.querySelector('.link').dataset.state === 'open'");
    wait_for("the nodes to agree again", || (other.tip() == scene.node.tip()).then_some(()));
    browser.click("#slow");
    browser.wait("document.querySelector('.link').dataset.state === 'slow'");
    browser.click("#lossy");
    browser.wait("document.querySelector('.link').dataset.state === 'lossy'");
    let link = scene.node.call("getlinks", &[])["nodes"][0]["links"][0].take();
    assert_eq!((&link["delay_ms"], &link["loss"]), (&json!(800), &json!(0.3)), "{link}");
}

#[test]
fn credentials_leave_the_address_bar_at_once() {
    let scene = Scene::new(&["--chaos"]);
    let other = scene.place.node("b", &["--connect", &scene.node.peer_address()]);
    wait_for("the nodes to agree", || (other.tip() == scene.node.tip()).then_some(()));
    let browser = Browser::open(&scene.owners_url());
    browser.wait("location.hash === '#/'");
    browser.view("#/links");
    // By keyboard: to the link, open it, and there is no sign-in.
    browser.wait("document.querySelector('.link')");
    browser.keys("j");
    browser.wait("document.activeElement.classList.contains('link')");
    browser.keys("\u{e007}");
    browser.wait("document.getElementById('cut')");
    browser.is_well(&scene.node.url());
}

#[test]
fn the_keyboard_reaches_everything() {
    let scene = Scene::new(&[]);
    let (_, tip) = scene.node.tip();
    let browser = Browser::open(&scene.url());
    browser.wait("document.querySelectorAll('.blocks li').length === 13");
    browser.keys("jjj");
    browser.wait("document.activeElement.textContent === '10'");
    // What has the focus keeps it when a block comes.
    scene.mine(1);
    browser.wait("document.querySelectorAll('.blocks li').length === 14");
    browser.wait("document.activeElement.textContent === '10'");
    browser.keys("k");
    browser.wait("document.activeElement.textContent === '11'");
    browser.keys("\u{e007}");
    browser.wait("document.querySelector('h1').innerText === 'Block 11'");
    browser.keys("]");
    browser.wait("document.querySelector('h1').innerText === 'Block 12'");

    for (typed, expected) in
        [("7", "#/block/"), (tip.as_str(), &format!("#/block/{tip}")), (&scene.payee, "#/address/")]
    {
        browser.keys("/");
        browser.wait("document.activeElement.id === 'query'");
        browser.keys(&format!("{typed}\u{e007}"));
        browser.wait(&format!("location.hash.startsWith({expected:?})"));
        browser.view("#/");
    }
    browser.keys("/");
    browser.keys("no such thing\u{e007}");
    browser.wait("document.getElementById('found').innerText.includes('no block')");
    browser.keys("\u{e00c}");
    browser.keys("?");
    browser.wait("document.getElementById('shortcuts').open");
    browser.keys("\u{e00c}");
    browser.wait("!document.getElementById('shortcuts').open");
    browser.keys("5");
    browser.wait("location.hash === '#/charts'");
    // The focus can be seen.
    let outline = "return getComputedStyle(document.activeElement).outlineStyle";
    browser.keys("1");
    browser.wait("document.querySelectorAll('.blocks li').length === 14");
    browser.keys("j");
    assert_eq!(browser.run(outline, &[]), "solid");
    browser.is_well(&scene.node.url());
}

#[test]
fn it_fits_a_phone_and_keeps_its_colours() {
    let scene = Scene::new(&[]);
    let txid = scene.pay("1", Some(MARKUP));
    scene.mine(1);
    let (_, tip) = scene.node.tip();
    let (site, _) = scene.site();
    let browser = Browser::open_on_phone(&scene.owners_url());
    for view in [
        "#/".to_owned(),
        "#/blocks/9".to_owned(),
        format!("#/block/{tip}"),
        format!("#/tx/{txid}"),
        format!("#/address/{}", scene.miner),
        "#/mempool".to_owned(),
        "#/peers".to_owned(),
        "#/links".to_owned(),
        "#/charts".to_owned(),
        "#/content".to_owned(),
        format!("#/content/{site}"),
        "#/verify".to_owned(),
    ] {
        browser.view(&view);
        browser.wait("document.querySelector('main h1')");
        let widths = browser.run("return [document.documentElement.scrollWidth, window.innerWidth]", &[]);
        assert_eq!(widths, json!([360, 360]), "{view}");
        // Nothing is cut off at the right, and tables are tables to a screen reader however they are laid out.
        let cut = "return [...document.querySelectorAll('main td, main dd, main li')]\
                   .filter((cell) => cell.scrollWidth > cell.clientWidth + 1 || cell.getBoundingClientRect().right > 360)\
                   .map((cell) => cell.innerText)";
        assert_eq!(browser.run(cut, &[]), json!([]), "{view}");
        let bare = "return [...document.querySelectorAll('table, thead, tbody, tr, th, td')].filter((part) => !part.role).length";
        assert_eq!(browser.run(bare, &[]), 0, "{view}");
    }
    let paper = "return getComputedStyle(document.documentElement).backgroundColor";
    let light = browser.run(paper, &[]);
    browser.click("#theme");
    assert_eq!(browser.run("return document.documentElement.dataset.theme", &[]), "light");
    browser.click("#theme");
    let dark = browser.run(paper, &[]);
    assert_ne!(light, dark);
    browser.reload();
    browser.wait("document.querySelector('main h1')");
    assert_eq!(browser.run(paper, &[]), dark);
    browser.is_well(&scene.node.url());
}

/// The widest tables, between a phone's cards and a desk.
#[test]
fn tables_fit_a_tablet() {
    let scene = Scene::new(&[]);
    let (_, given_up) = scene.node.tip();
    scene.node.call("invalidateblock", &[given_up.as_str().into()]);
    scene.mine(2);
    let other = scene.place.node("b", &["--connect", &scene.node.peer_address()]);
    wait_for("the nodes to agree", || (other.tip() == scene.node.tip()).then_some(()));
    let browser = Browser::open_on_tablet(&scene.url());
    for (view, title) in [
        ("#/peers", "Peers"),
        (format!("#/block/{given_up}").as_str(), "Block "),
        ("#/blocks", "Blocks"),
        (format!("#/address/{}", scene.miner).as_str(), "Address"),
    ] {
        browser.view(view);
        browser.wait(&format!(
            "document.querySelector('main h1')?.innerText.startsWith('{title}') && document.querySelector('main tbody td')"
        ));
        let room = "return [document.documentElement.scrollWidth, \
                    document.querySelector('main td') !== null && Math.max(...[...document.querySelectorAll('main td')].map((cell) => Math.floor(cell.getBoundingClientRect().right))) \
                    <= document.querySelector('main').getBoundingClientRect().right]";
        assert_eq!(browser.run(room, &[]), json!([768, true]), "{view}");
    }
    browser.is_well(&scene.node.url());
}

#[test]
fn a_node_that_comes_back_is_followed_again() {
    let scene = Scene::new(&[]);
    let browser = Browser::open(&scene.url());
    browser.wait("document.querySelectorAll('.blocks li').length === 13");
    let Scene { place, node, miner, .. } = scene;
    let rpc = node.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    assert!(node.terminate().success());
    browser.wait("document.getElementById('live').dataset.state === 'reconnecting'");
    // It says so, and what was shown stays.
    browser.wait("document.getElementById('gone').innerText.includes('does not answer')");
    assert_eq!(browser.run("return document.querySelectorAll('.blocks li').length", &[]), 13);
    let mut again = place.command("a", &["node", "--no-listen", "--rpc", &rpc]);
    let mut again = Killed(again.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    browser.wait("document.getElementById('live').dataset.state === 'live'");
    assert_eq!(browser.text("#gone"), "");
    place.run("a", &["rpc", "generatetoaddress", "1", &miner]).ok();
    browser.wait("document.querySelectorAll('.blocks li').length === 14");
    assert!(again.0.try_wait().unwrap().is_none());
}

/// Killed when dropped.
pub(crate) struct Killed(pub(crate) Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn content_is_added_by_its_owner_and_shows_its_links_and_who_has_it() {
    let scene = Scene::new(&[]);
    let (site, notes) = scene.site();
    let browser = Browser::open(&scene.url());
    browser.view(&format!("#/content/{site}"));
    browser.wait_for_text("notes.txt");
    assert_eq!((fact(&browser, "Kind").as_str(), fact(&browser, "Links").as_str()), ("file or directory", "1"));
    browser.wait_for_text("this node: ");
    browser.view("#/");
    browser.view(&format!("#/content/{notes}"));
    browser.wait_for_text("raw bytes");
    assert!(fact(&browser, "CID").contains(&notes));
    let (_, tip) = scene.node.tip();
    let cid = scene.node.call("getblockheader", &[json!(tip)])["cid"].as_str().unwrap().to_owned();
    browser.view(&format!("#/content/{cid}"));
    browser.wait_for_text("header of a block of the chain");
    // Pins are the owner's to see, and files to add.
    browser.view("#/content");
    browser.wait_for_text("file .cookie");
    assert!(!browser.text("main").contains(&site));

    browser.go(&scene.owners_url());
    browser.view("#/content");
    browser.wait_for_text("2 pins");
    let file = scene.place.path("a <b> & ü.txt");
    fs::write(&file, "dropped").unwrap();
    browser.choose("#files", &[&file]);
    browser.wait_for_text("a <b> & ü.txt is bafk");
    browser.wait_for_text("3 pins");
    // Dropped, as from a file manager.
    let drop = "const data = new DataTransfer(); data.items.add(new File(['other'], 'other.txt'));\
                document.querySelector('.drop').dispatchEvent(new DragEvent('drop', { dataTransfer: data, bubbles: true }));";
    browser.run(drop, &[]);
    browser.wait_for_text("4 pins");
    let pins = scene.place.run("a", &["content", "pin", "ls"]).ok();
    assert_eq!(pins.lines().count(), 4, "{pins}");
    let shown = browser.text("main");
    assert!(pins.lines().all(|pin| shown.contains(pin.split_whitespace().next().unwrap())), "{pins} {shown}");
    browser.is_well(&scene.node.url());
}
