//! A site as content: added as a directory, opened through the gateway.

use std::fs;

use cairn::primitives::amount::COIN;
use serde_json::json;

use crate::browser::Browser;
use crate::process::{Place, spec};

const PAGE: &str = "<!doctype html><title>site</title><link rel=stylesheet href=style.css><h1>first</h1><p id=data>\
                    <script type=module src=js/main.js></script>";
const SCRIPT: &str = "document.querySelector('#data').textContent = await (await fetch('data.json')).text();\
                      localStorage.seen = location.host;";

#[test]
fn a_site_is_opened_and_one_byte_makes_another() {
    let place = Place::new();
    let payee = place.wallet("a");
    place.found(&spec(0x207f_ffff, &[(&payee, COIN)]));
    let node = place.node("a", &["--gateway-files"]);
    fs::create_dir_all(place.path("site/js")).unwrap();
    for (name, text) in
        [("index.html", PAGE), ("js/main.js", SCRIPT), ("data.json", "[1, 2]"), ("style.css", "h1 { color: #010203 }")]
    {
        fs::write(place.path("site").join(name), text).unwrap();
    }
    // The node runs, and serves what is added.
    let add = || place.run("a", &["content", "add", "-rQ", "--cid-version", "1", "site"]).ok();
    let first = add();
    fs::write(place.path("site/index.html"), PAGE.replace("first", "First")).unwrap();
    let second = add();
    assert_ne!(first, second);

    let own = node.url().trim_end_matches('/').to_owned();
    let local = own.replace("127.0.0.1", "localhost");
    let authority = local.strip_prefix("http://").unwrap();
    let browser = Browser::open(&format!("{local}/ipfs/{first}"));
    for (cid, heading) in [(&first, "first"), (&second, "First"), (&first, "first")] {
        browser.go(&format!("{local}/ipfs/{cid}"));
        browser.wait("document.querySelector('#data').textContent === '[1, 2]'");
        assert_eq!(browser.text("h1"), heading);
        let host = browser.run("return location.host", &[]);
        assert_eq!(host, format!("{cid}.ipfs.{authority}"));
        assert_eq!(browser.run("return localStorage.seen", &[]), host, "storage is each site's own");
        let color = browser.run("return getComputedStyle(document.querySelector('h1')).color", &[]);
        assert_eq!(color, "rgb(1, 2, 3)");
    }
    // The site reaches neither the node nor another site.
    for url in
        [format!("{local}/public"), format!("{own}/public"), format!("http://{second}.ipfs.{authority}/data.json")]
    {
        let attempt = format!(
            "try {{ await (await fetch({}, {{ method: 'GET' }})).text(); return 'read'; }} catch {{ return 'refused'; }}",
            json!(url)
        );
        assert_eq!(browser.run_async(&attempt), "refused", "{url}");
    }

    // By its address the node keeps the origin for itself: the page is there, and nothing in it runs.
    browser.go(&format!("{own}/ipfs/{first}/"));
    browser.wait("document.querySelector('h1').textContent === 'first'");
    assert_eq!(browser.text("#data"), "");
    browser.go(&format!("{own}/ipfs/{first}/js/"));
    browser.wait("document.title.startsWith('Index of /ipfs/')");
    browser.click("a[href$='main.js']");
    browser.wait("document.body.textContent.includes('localStorage')");
}
