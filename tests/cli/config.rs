//! The configuration file, `cairn node --check`, shell completion and manual pages.

use std::process::{Command, Stdio};

use crate::commands::{FAILED, USAGE};
use crate::process::{Done, Place, done};
use serde_json::Value;

/// A command whose settings come from files and options alone.
fn run(place: &Place, name: &str, args: &[&str]) -> Done {
    let mut command = place.command(name, args);
    command.env_remove("CAIRN_GENESIS");
    done(command)
}

fn json(done: Done) -> Value {
    serde_json::from_str(&done.ok()).unwrap()
}

#[test]
fn a_file_sets_what_the_environment_could_and_gives_way_to_it() {
    let place = Place::new();
    std::fs::create_dir(place.path("a")).unwrap();
    let file = place.path("a/cairn.toml");
    let genesis = place.path("genesis.json");
    let text = format!(
        "genesis = {genesis:?}\n[node]\nlisten = '127.0.0.1:0'\nrpc = '127.0.0.1:4000'\nmax-inbound = 7\n\
         connect = ['10.0.0.1:1', '10.0.0.2:2']\nno-explorer = true\n"
    );
    std::fs::write(&file, &text).unwrap();
    let check = |args: &[&str]| json(run(&place, "a", &[&["node", "--check", "--json"], args].concat()));
    let shown = check(&[]);
    assert_eq!((&shown["network"], &shown["rpc"]), (&"regtest".into(), &"127.0.0.1:4000".into()));
    assert_eq!((&shown["max_inbound"], &shown["explorer"]), (&7.into(), &false.into()));
    assert_eq!(shown["connect"].as_array().map(Vec::len), Some(2));
    assert_eq!(shown["config"], file.to_str().unwrap());
    assert_eq!(check(&["--rpc", "127.0.0.1:5000", "--connect", "10.0.0.3:3"])["rpc"], "127.0.0.1:5000");
    let mut command = place.command("a", &["node", "--check", "--json"]);
    command.env_remove("CAIRN_GENESIS").env("CAIRN_RPC", "127.0.0.1:6000").env("CAIRN_MAX_INBOUND", "9");
    let shown = json(done(command));
    assert_eq!((&shown["rpc"], &shown["max_inbound"]), (&"127.0.0.1:6000".into(), &9.into()));

    // Another file than the data directory's, for every command.
    std::fs::write(place.path("other.toml"), format!("genesis = {genesis:?}\njson = true\n")).unwrap();
    let shown = json(run(&place, "b", &["genesis", "show", "--config", "other.toml"]));
    assert_eq!(shown["network"], "regtest");

    // A node runs by it.
    std::fs::write(&file, text.replace("127.0.0.1:4000", "127.0.0.1:0")).unwrap();
    let node = place.node_with("a", &[], |command| {
        command.env_remove("CAIRN_GENESIS");
    });
    assert_eq!(node.call("getblockchaininfo", &[])["chain"], "regtest");
}

#[test]
fn a_wrong_file_is_refused_with_its_place() {
    let place = Place::new();
    let with = |text: &str, args: &[&str]| {
        std::fs::write(place.path("cairn.toml"), text).unwrap();
        run(&place, "a", &[args, &["--config", "cairn.toml"]].concat())
    };
    let check = &["node", "--check"];
    with("[node]\nlisten = 7", check).fails(USAGE, "invalid value '7'");
    with("[node]\nlissten = '127.0.0.1:0'", check).fails(USAGE, "no option or command \"node.lissten\"");
    with("[nod]\nlisten = '127.0.0.1:0'", check).fails(USAGE, "no option or command \"nod\"");
    with("[node]\nlisten = ['127.0.0.1:0', '127.0.0.1:0']", check).fails(USAGE, "cannot be used multiple times");
    with("[node]\nno-explorer = 'maybe'", check).fails(USAGE, "expected true or false");
    with("listen = '127.0.0.1:0'", check).fails(USAGE, "no option or command \"listen\"");
    with("[wallet.send]\nfee-rate = 5", check).fails(USAGE, "wallet.send.fee-rate is an option of a single use");
    with("[node", check).fails(USAGE, "cairn.toml: TOML parse error at line 1");
    with("[node]\nconnect = ['10.0.0.1:1', ['10.0.0.2:2']]", check).fails(USAGE, "node.connect is of the type array");
    with("", check).ok();
    let secret = "[node]\nrpc-user = 'ada'\nrpc-password = 'secret'";
    with(secret, check).fails(USAGE, "holds rpc-password and has mode 644, expected 600");
    let refused = run(&place, "a", &["node", "--check", "--config", "missing.toml"]);
    refused.fails(USAGE, "cannot read the configuration missing.toml");
    let refused = run(&place, "a", &["node", "--check", "--config", "missing.toml", "--json"]);
    let error: Value = serde_json::from_str(refused.stderr.trim()).unwrap();
    assert_eq!(error["error"]["kind"], "usage");
}

#[test]
fn a_check_starts_and_makes_nothing() {
    let place = Place::new();
    let text = place.run("a", &["node", "--check", "--mine", "wallet", "--rpc", "127.0.0.1:0"]).ok();
    assert!(text.contains("regtest") && text.contains("a new wallet"), "{text}");
    assert!(!place.path("a").exists());
    place.run("a", &["node", "--check", "--mine", "me"]).fails(USAGE, "--mine: \"me\" is not an address");
    place.run("a", &["node", "--check", "--connect", "nowhere"]).fails(FAILED, "nowhere");
    let node = place.node("a", &[]);
    place.run("a", &["node", "--check"]).ok();
    drop(node);
    std::fs::write(
        place.path("other.json"),
        place.run("a", &["genesis", "new", "--bits", "207fffff", "--pow-limit-bits", "207fffff"]).ok(),
    )
    .unwrap();
    place.run("a", &["node", "--check", "--genesis", "other.json"]).fails(FAILED, "genesis");
}

#[test]
fn a_shell_completes_commands_and_options() {
    let place = Place::new();
    let script = place.run("a", &["completion", "bash"]).ok();
    std::fs::write(place.path("cairn.bash"), script).unwrap();
    let complete = |words: &str, count: usize| {
        let program = format!(
            "source ./cairn.bash; COMP_WORDS=({words}); COMP_CWORD={count}; _cairn cairn \"${{COMP_WORDS[{count}]}}\" \
             \"${{COMP_WORDS[{}]}}\"; echo \"${{COMPREPLY[*]}}\"",
            count - 1
        );
        let output =
            Command::new("bash").args(["-c", &program]).current_dir(place.path("")).stdin(Stdio::null()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("cairn wal", 1), "wallet");
    assert_eq!(complete("cairn wallet verify", 2), "verify-message");
    assert_eq!(complete("cairn wallet send --dry", 3), "--dry-run");
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(place.run("a", &["completion", shell]).ok().contains("verify-message"), "{shell}");
    }
    place.run("a", &["completion", "cmd"]).fails(USAGE, "possible values: bash");
}

#[test]
fn every_command_has_a_manual_page() {
    let place = Place::new();
    place.run("a", &["man", "pages/man1"]).ok();
    let page = |name: &str| std::fs::read_to_string(place.path("pages/man1").join(name)).unwrap();
    for (name, holds) in
        [("cairn.1", "cairn\\-wallet(1)"), ("cairn-wallet-send.1", "dry\\-run"), ("cairn-node.1", "CAIRN_MINE")]
    {
        let text = page(name);
        assert!(text.contains(".TH ") && text.contains(holds), "{name}: {text}");
    }
    std::fs::write(place.path("taken"), "").unwrap();
    place.run("a", &["man", "taken"]).fails(FAILED, "cannot create taken");
}
