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
    with("listen = '127.0.0.1:0'", check).fails(USAGE, "listen is no option of every command: put it below [node]");
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
    place.run("a", &["node", "--check", "--connect", "nowhere"]).fails(USAGE, "nowhere");
    // As compose files leave it.
    place.run("a", &["node", "--check", "--connect", ""]).ok();
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
fn a_check_says_what_is_kept_and_how_it_begins() {
    let place = Place::new();
    let check = |args: &[&str]| place.run("a", &[&["node", "--check"], args].concat());
    let lines = |args: &[&str]| -> Vec<String> {
        let is_about = |line: &&str| line.starts_with("keeps ") || line.starts_with("begins ");
        let text = check(args).ok();
        text.lines().filter(is_about).map(|line| line.split_once("  ").unwrap().1.trim().to_owned()).collect()
    };
    assert_eq!(lines(&[]), ["all blocks", "with all blocks"]);
    assert_eq!(lines(&["--prune", "1"])[0], "all blocks until pruneblockchain is called");
    let share = &["--prune", "2000", "--archive-share", "10%", "--sync", "state"];
    assert_eq!(
        lines(share),
        ["the last 2000 blocks, and 0.1 of those that are pruned", "with the state of a recent block"]
    );
    // And not 7.000000000000001 %.
    assert_eq!(
        lines(&["--prune", "2000", "--archive-share", "7%"])[0],
        "the last 2000 blocks, and 0.07 of those that are pruned"
    );
    let slow = &["--sync", "state", "--accept-slow-chain"];
    assert_eq!(lines(slow)[1], "with the state of a recent block, of a slow chain too");
    let json: Value = serde_json::from_str(&check(&[&share[..], &["--json"]].concat()).ok()).unwrap();
    assert_eq!(
        (&json["prune"], &json["archive_share"], &json["sync_state"]),
        (&2000.into(), &0.1.into(), &true.into())
    );
}

/// Wherever they are given: clap takes what a configuration file says for defaults, which contradict nothing.
#[test]
fn options_that_would_do_nothing_are_refused() {
    let place = Place::new();
    let refused = |settings: &[(&str, &str)], said: &str| {
        let text: String = settings.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
        std::fs::write(place.path("cairn.toml"), format!("[node]\n{text}")).unwrap();
        run(&place, "a", &["node", "--check", "--config", "cairn.toml"]).fails(USAGE, said);
        let options = settings.iter().map(|(name, value)| match *value {
            "true" => format!("--{name}"),
            value => format!("--{name}={}", value.trim_matches('"')),
        });
        let options: Vec<String> = ["node", "--check"].map(str::to_owned).into_iter().chain(options).collect();
        run(&place, "a", &options.iter().map(String::as_str).collect::<Vec<_>>()).fails(USAGE, said);
    };
    refused(&[("archive-share", "0.1")], "--archive-share is a share of the blocks that --prune removes");
    refused(&[("archive-share", "0.1"), ("prune", "0")], "without it none is removed");
    refused(&[("archive-share", "1.5"), ("prune", "2000")], "1.5 is not a share from 0 to 1");
    refused(&[("gateway-files", "true"), ("no-gateway", "true")], "--gateway-files contradicts --no-gateway");
    refused(&[("gateway-fetch", "true"), ("no-gateway", "true")], "--gateway-fetch contradicts --no-gateway");
    refused(&[("gateway-fetch", "true"), ("no-exchange", "true")], "--gateway-fetch contradicts --no-exchange");
    refused(&[("rpc-user", "\"ada\"")], "--rpc-password");
}

/// An environment variable is for every command that has the option.
#[test]
fn a_node_starts_with_an_option_that_is_for_other_commands() {
    let place = Place::new();
    let mut command = place.command("a", &["node", "--check"]);
    command.env("CAIRN_ACCEPT_SLOW_CHAIN", "true");
    done(command).ok();
}

#[test]
fn a_node_that_is_refused_leaves_nothing() {
    let place = Place::new();
    for options in [&["--archive-share", "0.1"][..], &["--prune", "5"], &["--gateway-files", "--no-gateway"]] {
        place.run("a", &[&["node", "--mine", "wallet"], options].concat()).fails(USAGE, options[0]);
        assert!(!place.path("a/wallet.json").exists());
    }
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
