//! The owner's controls of the explorer, on a node alone and on a network that `cairn testnet` runs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Stdio};

use crate::browser::Browser;
use crate::explorer::{Killed, Scene, fact};
use crate::process::{Place, wait_for};
use serde_json::{Value, json};

const BUTTONS: &str = "return [...document.querySelectorAll('.owners button')].map((button) => button.innerText)";

/// A network of three nodes whose blocks are made on request, and the link to its explorer with the owner's credentials.
fn network(place: &Place) -> (Killed, String) {
    let mut command = place.command("net", &["testnet", "--block-time", "0", "--nodes", "3"]);
    let mut process: Child = command.env_remove("CAIRN_GENESIS").stderr(Stdio::null()).spawn().unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap()).lines().map(Result::unwrap);
    let link = stdout.by_ref().find_map(|line| Some(line.strip_prefix("  explore  ")?.to_owned()));
    std::thread::spawn(move || stdout.count());
    (Killed(process), link.expect("the link is told"))
}

#[test]
fn a_test_network_is_worked_from_the_page() {
    let place = Place::new();
    let (_network, link) = network(&place);
    let origin = link.split("/#").next().unwrap().to_owned();
    let run = |args: &[&str]| {
        let mut command = place.command("net", args);
        command.env_remove("CAIRN_GENESIS");
        crate::process::done(command).ok()
    };
    let rpc = |method: &str| serde_json::from_str::<Value>(&run(&["rpc", method])).unwrap();
    let payee = run(&["wallet", "address", "--wallet", "net/node-3/wallet.json"]);
    let browser = Browser::open_on_phone(&link);
    // Who is signed in finds the way there.
    browser.click("nav #owner");
    browser.wait("document.getElementById('take')");
    let offered = browser.run(BUTTONS, &[]);
    let expected = ["Mine a block", "Start mining", "Pay", "Fork", "Pause", "Pause", "Pause", "Take a snapshot"];
    assert_eq!(offered, json!(expected));
    let widths = browser.run("return [document.documentElement.scrollWidth, window.innerWidth]", &[]);
    assert_eq!(widths, json!([360, 360]));

    let type_into = |id: &str, text: &str| {
        let script = "const field = document.getElementById(arguments[0]); field.value = arguments[1]; \
                      field.dispatchEvent(new Event('input', { bubbles: true }))";
        browser.run(script, &[id.into(), text.into()]);
    };
    let does = |id: &str, said: &str| {
        browser.click(&format!("#{id}"));
        browser.wait(&format!(
            "document.querySelector('.said').innerText.includes({said:?}) && !document.querySelector('[aria-busy]')"
        ));
    };
    does("mine", "address");
    type_into("payee", &payee);
    does("mine", "Mined");
    wait_for("the block", || (rpc("getblockcount") == 1).then_some(()));
    // What was typed stays when a block comes.
    browser.wait("document.querySelector('.owners').innerText.includes('height 2')");
    does("mine", "Mined");

    type_into("snapshot", "two");
    does("take", "two is taken");
    let wallet = std::fs::read(place.path("net/wallet.json")).unwrap();
    type_into("to", &payee);
    type_into("coins", "2.5");
    does("pay", "Paid by");
    assert_eq!(rpc("getrawmempool").as_array().unwrap().len(), 1);
    type_into("coins", "0");
    does("pay", "the amount is 0");

    type_into("depth", "2");
    does("fork", "2 blocks given up");
    assert_eq!(rpc("getblockcount"), 5);

    does("pause-node-2", "node-2 stands still");
    browser.wait("document.getElementById('resume-node-2')");
    does("take", "is paused");
    // Also the node whose page this is.
    does("pause-node-1", "node-1 stands still");
    does("resume-node-1", "node-1 goes on");
    does("resume-node-2", "node-2 goes on");

    does("revert-two", "Back at two");
    assert_eq!(rpc("getblockcount"), 2);
    assert_eq!(rpc("getrawmempool"), json!([]));
    assert_eq!(std::fs::read(place.path("net/wallet.json")).unwrap(), wallet, "the wallets come back too");
    does("drop-two", "two is forgotten");
    assert_eq!(rpc("listsnapshots"), json!([]));
    browser.is_well(&origin);
}

#[test]
fn a_node_alone_offers_only_to_mine() {
    let scene = Scene::new(&[]);
    let browser = Browser::open(&scene.owners_url());
    browser.wait("location.hash === '#/'");
    browser.view("#/owner");
    browser.wait("document.getElementById('start')");
    assert_eq!(browser.run(BUTTONS, &[]), json!(["Mine a block", "Start mining"]));
    let script = "const field = document.getElementById('payee'); field.value = arguments[0]; \
                  field.dispatchEvent(new Event('input'))";
    browser.run(script, &[scene.payee.as_str().into()]);
    browser.click("#start");
    browser.wait("document.getElementById('stop')");
    assert!(fact(&browser, "This node").starts_with("1 thread"));
    browser.click("#stop");
    browser.wait("document.getElementById('start')");
    assert_eq!(scene.node.call("getmininginfo", &[])["generate"], false);
    browser.is_well(&scene.node.url());
}

#[test]
fn who_is_not_the_owner_has_no_controls() {
    let scene = Scene::new(&["--chaos"]);
    let browser = Browser::open(&format!("{}#/owner", scene.url()));
    browser.wait("document.querySelector('.sign-in')");
    assert_eq!(browser.run(BUTTONS, &[]), json!([]));
    assert_eq!(browser.run("return document.getElementById('owner').hidden", &[]), true);
    // Credentials of an earlier run are forgotten at once.
    browser.run("sessionStorage.setItem('cairn.key', 'ada:wrong')", &[]);
    browser.reload();
    browser.wait("document.querySelector('.sign-in') && sessionStorage.getItem('cairn.key') === null");
    let cookie = std::fs::read_to_string(scene.place.path("a/.cookie")).unwrap();
    browser
        .run("document.getElementById('password').value = arguments[0]", &[cookie.split_once(':').unwrap().1.into()]);
    browser.click(".sign-in button");
    browser.wait("document.getElementById('take') && !document.getElementById('owner').hidden");

    // A page of another site, even one that knows the credentials, moves nothing and learns nothing.
    browser.go(&elsewhere());
    browser.wait("document.title === 'elsewhere'");
    let before = scene.node.tip();
    let call = json!({ "method": "generatetoaddress", "params": [1, scene.miner] }).to_string();
    let authorization = browser.run("return 'Basic ' + btoa(arguments[0])", &[cookie.as_str().into()]);
    for (options, outcome) in [
        (json!({ "mode": "no-cors", "credentials": "include" }), json!("opaque")),
        (json!({ "headers": { "Authorization": authorization } }), json!("refused")),
    ] {
        let attempt = format!(
            "try {{ return (await fetch({:?}, {{ method: 'POST', body: {}, ...{options} }})).type; }} catch {{ return 'refused'; }}",
            scene.url(),
            json!(call),
        );
        assert_eq!(browser.run_async(&attempt), outcome, "{options}");
    }
    assert_eq!(scene.node.tip(), before);
}

/// A page of another origin, without a policy of its own.
fn elsewhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map(Result::unwrap) {
            let page = "<!doctype html><title>elsewhere</title>";
            let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close";
            let _ = stream.read(&mut [0; 4096]); // Whatever is asked for.
            let _ = write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{page}", page.len());
        }
    });
    url
}
