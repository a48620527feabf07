//! Content in the light client's page: fetched from a node, shared from page to page and with a node, and a page that
//! lies.

use std::fs;
use std::path::Path;

use cairn::ipld::{Cid, Codec, HashFunction};
use cairn::p2p::PeerAddr;
use cairn::p2p::kad::{Contact, NodeId};
use cairn::p2p::message::{Hello, Message, SERVICE_CONTENT};
use cairn::p2p::wants::{MAX_WANTS, Want};
use serde_json::json;

use crate::browser::Browser;
use crate::calls::wait_for_pages;
use crate::liar::{Liar, Lie};
use crate::light::{LISTEN, Scene, address, wait_for_height};
use crate::process::wait_for;

/// Bytes of the files: some more than a whole number of blocks.
const SIZE: usize = 8_000_001;

/// Bytes that do not repeat.
fn bytes(seed: u64) -> Vec<u8> {
    (0..SIZE as u64).map(|i| ((i ^ seed << 40).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u8).collect()
}

/// Has the page fetch a file by its CID, and waits until it is there.
fn fetch(browser: &Browser, cid: &str) {
    browser.run("document.getElementById('cid').value = arguments[0]", &[cid.into()]);
    browser.click("#fetch button");
    wait_for_file(browser);
}

fn wait_for_file(browser: &Browser) {
    browser.wait("document.getElementById('fetch-state').textContent.endsWith('each block checked')");
    println!("{}, {}", browser.text("#fetch-state"), browser.text("#fetch-from").replace('\n', "; "));
}

/// Saves the file that was fetched, as a person would, and reads it.
fn saved(browser: &Browser, name: &str) -> Vec<u8> {
    assert_eq!(browser.text("#save-file"), format!("Save {name}"));
    browser.click("#save-file");
    let file = browser.downloads().join(name);
    // It has its name once it is whole.
    wait_for("the download", || fs::read(&file).ok().filter(|bytes| !bytes.is_empty()))
}

/// Has the page share a file: its CID, and the link for other pages.
fn share(browser: &Browser, file: &Path) -> (String, String) {
    browser.choose("#files", &[file]);
    browser.wait("document.querySelector('#shared a')");
    let link = browser.run("return document.querySelector('#shared a').href", &[]);
    (browser.text("#shared code"), link.as_str().unwrap().to_owned())
}

#[test]
fn a_page_fetches_from_a_node_and_shows_what_is_safe() {
    let scene = Scene::new();
    let node = scene.place.node("a", &LISTEN);
    let add = |name: &str, bytes: &[u8]| {
        fs::write(scene.place.path(name), bytes).unwrap();
        scene.place.run("a", &["content", "add", "-Q", name]).ok()
    };
    let file = bytes(1);
    let cid = add("film.bin", &file);
    let browser = Browser::open(&format!("{}light", node.url()));
    fetch(&browser, &cid);
    assert!(saved(&browser, &cid) == file, "other bytes");
    let from = browser.text("#fetch-from");
    assert!(from.starts_with("/ip4/127.0.0.1/udp/") && from.lines().count() == 1, "{from}");

    // One raw block; and by a path, in a directory.
    let raw = scene.place.run("a", &["content", "add", "-Q", "--cid-version", "1", "genesis.json"]).ok();
    fetch(&browser, &raw);
    let text = browser.run("return document.getElementById('fetched-text').textContent", &[]);
    assert_eq!(text, fs::read_to_string(scene.place.path("genesis.json")).unwrap());
    fs::create_dir_all(scene.place.path("site/img")).unwrap();
    // What a document would run is text here.
    let hostile = "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">";
    fs::write(scene.place.path("site/index.html"), hostile).unwrap();
    let dot = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
    let dot = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, dot).unwrap();
    fs::write(scene.place.path("site/img/dot.png"), dot).unwrap();
    let site = scene.place.run("a", &["content", "add", "-rQ", "site"]).ok();
    fetch(&browser, &format!("/ipfs/{site}/index.html"));
    assert_eq!(browser.text("#fetched-text"), hostile);
    assert!(saved(&browser, "index.html") == hostile.as_bytes());
    fetch(&browser, &format!("{site}/img/dot.png"));
    browser.wait("document.getElementById('fetched-picture').naturalWidth === 1");
    assert_eq!(browser.text("#fetched-text"), "");
    assert_ne!(browser.run("return document.title", &[]), "run");

    // A directory is listed, and from the list a person goes on.
    fetch(&browser, &site);
    let names = "return [...document.querySelectorAll('#entries button')].map((button) => button.textContent)";
    assert_eq!(browser.run(names, &[]), json!(["img", "index.html"]));
    browser.click("#entries li:first-child button");
    browser.wait(&format!("document.getElementById('cid').value === '{site}/img'"));
    browser.wait("document.querySelector('#entries button')?.textContent === 'dot.png'");
    browser.click("#entries button");
    browser.wait("document.getElementById('fetched-picture').naturalWidth === 1");
    assert_eq!(browser.text("#entries"), "");
    fs::create_dir(scene.place.path("empty")).unwrap();
    fetch(&browser, &scene.place.run("a", &["content", "add", "-rQ", "empty"]).ok());
    assert!(browser.text("#fetch-state").starts_with("0 entries"));

    // What is no CID.
    browser.run("document.getElementById('cid').value = arguments[0]", &["nothing".into()]);
    browser.click("#fetch button");
    browser.wait("document.getElementById('fetch-state').textContent.includes('not a CID')");
    browser.is_well(&node.url());
}

#[test]
fn pages_share_files_with_each_other_and_with_a_node() {
    let scene = Scene::new();
    let node = scene.place.node("a", &LISTEN);
    let page = format!("{}light", node.url());
    let (first, second) = (Browser::open(&page), Browser::open(&page));
    [&first, &second].iter().for_each(|browser| wait_for_pages(browser, 1));
    let file = bytes(2);
    fs::write(scene.place.path("film.bin"), &file).unwrap();
    let (cid, link) = share(&first, &scene.place.path("film.bin"));
    assert_eq!(cid, scene.place.run("a", &["content", "add", "-nQ", "film.bin"]).ok());

    // The node has it from the page, and forgets it again.
    scene.place.run("a", &["content", "get", &cid, "-o", "copy"]).ok();
    assert!(fs::read(scene.place.path("copy")).unwrap() == file, "other bytes");
    scene.place.run("a", &["content", "gc"]).ok();

    // A page that is opened by the link finds the one that shares it.
    let third = Browser::open(&link);
    wait_for_file(&third);
    assert!(third.text("#fetch-from").starts_with("page/"), "{}", third.text("#fetch-from"));
    assert!(saved(&third, "film.bin") == file, "other bytes");
    drop(third);

    fetch(&second, &cid);
    // No node is needed.
    node.kill();
    fetch(&second, &cid);
    let from = second.text("#fetch-from");
    assert!(from.starts_with("page/") && from.lines().count() == 1, "{from}");
    assert!(saved(&second, &cid) == file, "other bytes");

    first.click("#unshare");
    first.wait("document.querySelector('#shared').innerText === ''");
}

#[test]
fn what_a_page_shares_is_shared_again_after_a_reload() {
    let scene = Scene::new();
    let node = scene.place.node("a", &LISTEN);
    let page = format!("{}light", node.url());
    let (first, second) = (Browser::open(&page), Browser::open(&page));
    [&first, &second].iter().for_each(|browser| wait_for_pages(browser, 1));
    let file = bytes(6);
    fs::write(scene.place.path("film.bin"), &file).unwrap();
    let film = share(&first, &scene.place.path("film.bin")).0;
    first.choose("#files", &[&scene.place.path("genesis.json")]);
    first.wait("document.querySelectorAll('#shared li').length === 2");
    assert!(!first.text("#shared").contains("until this page is left"), "the browser has room");
    // The browser has its own bytes, not those of the file as it is now.
    fs::write(scene.place.path("film.bin"), b"other bytes").unwrap();

    first.reload();
    first.wait("document.querySelectorAll('#shared li').length === 2");
    let names = "return [...document.querySelectorAll('#shared code')].map((code) => code.textContent)";
    let names: Vec<String> = serde_json::from_value(first.run(names, &[])).unwrap();
    let genesis = names.iter().find(|name| **name != film).unwrap();
    assert!(names.contains(&film), "{names:?}");
    fetch(&second, &film);
    let from = second.text("#fetch-from");
    assert!(from.starts_with("page/") && from.lines().count() == 1, "{from}");
    assert!(saved(&second, &film) == file, "other bytes");
    first.is_well(&node.url());

    // One is shared no longer, nor after another reload; what the other had stays.
    let row =
        format!("[...document.querySelectorAll('#shared li')].find((row) => row.textContent.includes('{genesis}'))");
    first.run(&format!("{row}.querySelector('button').click()"), &[]);
    first.wait("document.querySelectorAll('#shared li').length === 1");
    first.reload();
    first.wait("document.querySelectorAll('#shared li').length === 1");
    assert_eq!(first.text("#shared code"), film);

    // What the browser's disk has damaged is not shared, and said.
    let damage = "const kept = (await indexedDB.databases()).find(({ name }) => name.startsWith('cairn shared '));
    const done = await new Promise((resolve) => {
        indexedDB.open(kept.name).onsuccess = ({ target }) => {
            const transaction = target.result.transaction('files', 'readwrite');
            const store = transaction.objectStore('files');
            store.getAll().onsuccess = ({ target: { result } }) =>
                store.put({ ...result[0], file: new Blob(['damaged']) }, result[0].cid);
            transaction.oncomplete = () => resolve('done');
        };
    }); return done;";
    assert_eq!(first.run_async(damage), "done");
    first.reload();
    first.wait("document.getElementById('share-error').textContent.includes('is not shared any more')");
    assert_eq!(first.text("#shared"), "");
    first.reload();
    wait_for_pages(&first, 1);
    // Nothing is left: the next file is the only one.
    assert_eq!(share(&first, &scene.place.path("genesis.json")).0, *genesis);
    first.click("#unshare");
    first.wait("document.querySelector('#shared').innerText === ''");
    assert_eq!(first.text("#share-error"), "");
}

/// Adds a file at a node that only the hash table leads to, and announces it: its CID, and the file's bytes.
fn provide(scene: &Scene, node: &str, seed: u64) -> (String, Vec<u8>) {
    let file = bytes(seed);
    fs::write(scene.place.path("film.bin"), &file).unwrap();
    let cid = scene.place.run(node, &["content", "add", "-Q", "film.bin"]).ok();
    scene.place.run(node, &["content", "provide", &cid]).ok();
    (cid, file)
}

#[test]
fn a_page_finds_a_node_that_has_the_file() {
    let scene = Scene::new();
    let first = scene.place.node("a", &LISTEN);
    let browser = Browser::open(&format!("{}light", first.url()));
    wait_for_height(&browser, 0);
    // They come later, so the page's node has not named them as peers to dial.
    let mut nodes = vec![scene.place.node("b", &[&LISTEN[..], &["--connect", &first.peer_address()]].concat())];
    for name in ["c", "d", "e"] {
        let connect = nodes[nodes.len() - 1].peer_address();
        nodes.push(scene.place.node(name, &[&LISTEN[..], &["--connect", &connect]].concat()));
    }
    let (cid, file) = provide(&scene, "e", 7);
    let provider = address(&nodes[3]);
    assert!(!browser.text("#peers").contains(&provider));
    fetch(&browser, &cid);
    assert!(saved(&browser, &cid) == file, "other bytes");
    let from = browser.text("#fetch-from");
    assert!(from.starts_with(&provider) && from.lines().count() == 1, "{from}");
    browser.is_well(&first.url());

    // What no node has is said so.
    let absent = Cid::v1(Codec::RAW, HashFunction::Sha2_256, b"absent").unwrap().to_string();
    browser.run("document.getElementById('cid').value = arguments[0]", &[absent.into()]);
    browser.click("#fetch button");
    browser.wait("document.getElementById('fetch-state').textContent.startsWith('asking, and looking for nodes')");
    browser.wait("document.getElementById('fetch-state').textContent.startsWith('none of')");
}

#[test]
fn false_providers_hide_no_true_one() {
    let scene = Scene::new();
    let node = scene.place.node("a", &LISTEN);
    let silent: Lie = Box::new(|message| match message {
        // It offers content, and answers no want.
        Message::Hello(hello) => vec![Message::Hello(Hello { services: hello.services | SERVICE_CONTENT, ..hello })],
        other => vec![other],
    });
    let silent = Liar::start(&scene.place, &node, silent);
    let silent = Contact { id: silent.id, address: silent.address.parse().unwrap() };
    // Where there is no node, and one that sends nothing; and then many more, without a question.
    let named: Lie = Box::new(move |message| match message {
        Message::Providers { nearer, .. } => {
            let false_one = |n: u16| {
                let address = PeerAddr::WebRtc { socket: ([127, 0, 0, 1], 20_000 + n).into(), certhash: [1; 32] };
                Contact { id: NodeId([n as u8; 32]), address }
            };
            let first = std::iter::once(silent).chain((0..15).map(false_one)).collect();
            let answer = Message::Providers { providers: first, nearer };
            let more = |batch: u16| Message::Providers {
                providers: (16 * batch..16 * (batch + 1)).map(false_one).collect(),
                nearer: Vec::new(),
            };
            std::iter::once(answer).chain((1..62_u16).map(more)).collect()
        }
        other => vec![other],
    });
    let liar = Liar::start(&scene.place, &node, named);
    let browser = Browser::open(&format!("{}light#peer={}&peer={}", node.url(), liar.address, address(&node)));
    browser.wait("document.getElementById('agree').textContent.startsWith('2 of ')");
    let other = scene.place.node("b", &[&LISTEN[..], &["--connect", &node.peer_address()]].concat());
    let (cid, file) = provide(&scene, "b", 8);
    fetch(&browser, &cid);
    assert!(saved(&browser, &cid) == file, "other bytes");
    let from = browser.text("#fetch-from");
    assert!(from.starts_with(&address(&other)) && from.lines().count() == 1, "{from}");
    let told = format!("{} misbehaved", liar.address);
    browser.wait(&format!("document.getElementById('log').textContent.includes('{told}')"));
}

#[test]
fn a_page_that_sends_a_false_block_is_dropped_and_named() {
    let scene = Scene::new();
    let node = scene.place.node("a", &LISTEN);
    let page = format!("{}light", node.url());
    let file = bytes(3);
    fs::write(scene.place.path("film.bin"), &file).unwrap();
    let cid = scene.place.run("a", &["content", "add", "-Q", "film.bin"]).ok();

    // The page as a file, changed so that it sends other bytes.
    let liar = Browser::open(&node.url());
    let text = liar.run_async("return await (await fetch('/light')).text()");
    let honest = "this.client.send(number, this.module.output());";
    let lie = "const bytes = this.module.output(); bytes[bytes.length - 1] ^= 1; this.client.send(number, bytes);";
    let text = text.as_str().unwrap();
    assert_eq!(text.matches(honest).count(), 1);
    let changed = text.replace(honest, lie).replace("http-equiv=\"Content-Security-Policy\"", "name=\"none\"");
    let place = scene.place.path("liar.html");
    fs::write(&place, changed).unwrap();
    liar.go(&format!("file://{}", place.display()));
    let browser = Browser::open(&page);
    [&liar, &browser].iter().for_each(|browser| wait_for_pages(browser, 1));
    assert_eq!(share(&liar, &scene.place.path("film.bin")).0, cid);

    fetch(&browser, &cid);
    assert!(saved(&browser, &cid) == file, "other bytes");
    let from = browser.text("#fetch-from");
    let [node, page] = [0, 1].map(|line| from.lines().nth(line).unwrap_or_default());
    assert!(node.starts_with("/ip4/127.0.0.1/udp/"), "{from}");
    assert!(page.starts_with("page/") && page.ends_with(" sent a false block, and was dropped"), "{from}");
    let name = page.split(' ').next().unwrap();
    let told = format!("{name} lied: it sent other bytes than those of the content block ");
    browser.wait(&format!("document.getElementById('log').textContent.includes('{told}')"));
    wait_for_pages(&browser, 0);
}

#[test]
fn a_packet_of_thousands_of_wants_leaves_the_page_well() {
    let scene = Scene::new();
    let node = scene.place.node("a", &LISTEN);
    node.generate(3, &scene.owner);
    let cid = scene.place.run("a", &["content", "add", "-Q", "genesis.json"]).ok();
    let mut wants = 5_000;
    let flood: Lie = Box::new(move |message| {
        let count = if matches!(message, Message::Hello(_)) { std::mem::take(&mut wants) } else { 0 };
        let wants = |length| Message::WantBlocks(vec![Want { hash: vec![1], whole: false }; length]);
        // The page answers these as they come, and then has more at once than may wait.
        let small = std::iter::repeat_n(wants(1), count);
        let large = std::iter::repeat_n(wants(MAX_WANTS), count / 100);
        std::iter::once(message).chain(small).chain(large).collect()
    });
    let liar = Liar::start(&scene.place, &node, flood);
    let browser = Browser::open(&format!("{}light", node.url()));
    // The module is there before the wants are, or else most are dropped.
    fetch(&browser, &cid);
    browser.view(&format!("#peer={}&peer={}", liar.address, address(&node)));
    let told = format!("{} misbehaved: it asked for too much at once", liar.address);
    browser.wait(&format!("document.getElementById('log').textContent.includes('{told}')"));
    node.generate(1, &scene.owner);
    wait_for_height(&browser, 4);
    fetch(&browser, &cid);
    // It sent no block, false or not.
    let from = browser.text("#fetch-from");
    assert!(from.starts_with(&address(&node)) && from.lines().count() == 1, "{from}");
    browser.is_well(&node.url());
}

#[test]
fn a_fetch_can_be_stopped_and_ends_when_the_module_does() {
    let scene = Scene::new();
    let node = scene.place.node("a", &LISTEN);
    let browser = Browser::open(&format!("{}light", node.url()));
    wait_for_height(&browser, 0);
    let keep = "const instantiate = WebAssembly.instantiate; WebAssembly.instantiate = async (module) => {
        const instance = await instantiate(module); window.library = instance.exports; return instance; };";
    browser.run(keep, &[]);
    share(&browser, &scene.place.path("genesis.json"));
    // Of bytes that no peer has.
    let absent = Cid::v1(Codec::RAW, HashFunction::Sha2_256, b"absent").unwrap().to_string();
    let begin = || {
        browser.run("document.getElementById('cid').value = arguments[0]", &[absent.clone().into()]);
        browser.click("#fetch button");
    };
    begin();
    browser.click("#stop");
    let is_stop_hidden = || browser.run("return document.getElementById('stop').hidden", &[]) == true;
    assert!(browser.text("#fetch-state") == "stopped" && is_stop_hidden());

    begin();
    browser.wait("document.getElementById('fetch-state').textContent.startsWith('asking')");
    // No memory has room for this: the module traps, and does so whenever it is called from now on.
    let trap = "try { library.room(2 ** 32 - 1); } catch (error) { return error instanceof WebAssembly.RuntimeError; }";
    assert_eq!(browser.run(trap, &[]), true);
    let why = "content rests until the page is loaded again: ";
    browser.wait(&format!("document.getElementById('fetch-state').textContent.startsWith('{why}')"));
    assert!(browser.text("#shared").is_empty() && is_stop_hidden());
    // Neither a timer nor a click calls it again: the page would say so once more.
    begin();
    browser.wait(&format!("document.getElementById('fetch-state').textContent.startsWith('{why}')"));
    let log = browser.run("return document.getElementById('log').textContent", &[]);
    assert_eq!(log.as_str().unwrap().matches(why).count(), 1, "{log}");
    // The light client goes on.
    node.generate(1, &scene.owner);
    wait_for_height(&browser, 1);
    browser.is_well(&node.url());
}

#[test]
fn a_file_that_changes_while_it_is_shared_is_not_shared() {
    let scene = Scene::new();
    let node = scene.place.node("a", &LISTEN);
    let browser = Browser::open(&format!("{}light", node.url()));
    wait_for_height(&browser, 0);
    // The second piece is read when the test says so.
    let hold = "const read = Blob.prototype.arrayBuffer; let count = 0;
        Blob.prototype.arrayBuffer = function () {
            count += 1;
            if (count !== 2) return read.call(this);
            return new Promise((resolve) => { window.goOn = resolve; }).then(() => read.call(this));
        };";
    browser.run(hold, &[]);
    let path = scene.place.path("film.bin");
    fs::write(&path, bytes(4)).unwrap();
    browser.choose("#files", &[&path]);
    browser.wait("window.goOn");
    let after = bytes(5);
    fs::write(&path, &after[1..]).unwrap();
    browser.run("window.goOn()", &[]);
    let why = "film.bin is not shared: it changed meanwhile, or cannot be read";
    browser.wait(&format!("document.getElementById('share-error').textContent.startsWith('{why}')"));
    assert_eq!(browser.text("#shared"), "");
    // Chosen anew, it is what it is now.
    let (cid, _) = share(&browser, &path);
    assert_eq!(cid, scene.place.run("a", &["content", "add", "-nQ", "film.bin"]).ok());
    assert_eq!(browser.text("#share-error"), "");
    scene.place.run("a", &["content", "get", &cid, "-o", "copy"]).ok();
    assert!(fs::read(scene.place.path("copy")).unwrap() == after[1..], "other bytes");
}
