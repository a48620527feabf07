//! What holds for every command: bounds, environment variables, help, colour, logs, and errors as JSON.

use std::process::Stdio;

use crate::commands::{FAILED, NO_NODE, NOT_PROVEN, USAGE, free};
use crate::process::{Place, done};
use serde_json::Value;

/// A number out of range is refused with the bound, and never clamped.
#[test]
fn numbers_out_of_bounds_are_refused() {
    let place = Place::new();
    for (args, said) in [
        (&["testnet", "--miners", "9"][..], "--miners is 9: with 4 nodes"),
        (&["testnet", "--nodes", "1", "--miners", "2"], "--miners is 2: with 1 node,"),
        (&["testnet", "--nodes", "65"], "65 is not in 1..=64"),
        (&["testnet", "--block-time", "5 s"], "expected whole seconds up to 3600, such as 5, 90s or 1.5m"),
        (&["testnet", "--block-time", "0.0004s"], "expected whole seconds up to 3600"),
        (&["testnet", "--block-time", "2h"], "expected whole seconds up to 3600"),
        (&["testnet", "--block-time", "2500ms"], "expected whole seconds up to 3600"),
        (&["sim", "attack", "--runs", "1", "--full", "6"], "--full is 6, but --runs is only 1"),
        (&["sim", "network", "--interval", "0s"], "expected 1ms at least"),
        (&["light", "sync", "--timeout", "18446744073709551615"], "is not in 0..=31536000"),
    ] {
        let mut command = place.command("a", args);
        command.env_remove("CAIRN_GENESIS");
        done(command).fails(USAGE, said);
    }
    assert!(!place.path("a/node-1").exists(), "no network was made");
}

/// The environment is checked like the command line.
#[test]
fn variables_that_will_not_do_are_wrong_usage() {
    let place = Place::new();
    let with = |(name, value): (&str, &str), args: &[&str]| {
        let mut command = place.command("a", args);
        command.env(name, value);
        done(command)
    };
    let cli = <cairn::cli::Cli as clap::CommandFactory>::command();
    let mut switches = 0;
    for path in leaves(&cli, &[]) {
        let command = path.iter().fold(&cli, |command, name| command.find_subcommand(name).unwrap());
        let args: Vec<&str> = path.iter().map(String::as_str).collect();
        let is_switch = |argument: &&clap::Arg| matches!(argument.get_action(), clap::ArgAction::SetTrue);
        for name in command.get_arguments().filter(is_switch).filter_map(clap::Arg::get_env) {
            let name = name.to_str().unwrap();
            with((name, "maybe"), &args).fails(USAGE, "invalid value 'maybe'");
            switches += 1;
        }
    }
    assert!(switches >= 7, "{switches}");
    with(("CAIRN_JSON", "maybe"), &["genesis", "show"]).fails(USAGE, "invalid value 'maybe'");
    with(("CAIRN_LOG", "cairn=loud"), &["genesis", "show"]).fails(USAGE, "--log");
    with(("CAIRN_LOG_FORMAT", "xml"), &["genesis", "show"]).fails(USAGE, "possible values: text, json");
    with(("CAIRN_SUCCINCT", "yes"), &["proof", "get", &"00".repeat(32)]).fails(NO_NODE, "no node is running");
    assert!(with(("CAIRN_JSON", "on"), &["genesis", "show"]).ok().starts_with('{'));
    assert!(with(("CAIRN_JSON", "off"), &["genesis", "show"]).ok().starts_with("network"));
    // A variable that a script leaves empty is none.
    for empty in ["CAIRN_JSON", "CAIRN_DATA_DIR", "CAIRN_CONFIG", "CAIRN_LOG"] {
        assert!(with((empty, ""), &["genesis", "show"]).ok().starts_with("network"), "{empty}");
    }
}

/// A file that only its owner may read may hold keys.
#[test]
fn results_do_not_take_the_place_of_keys() {
    let place = Place::new();
    place.run("a", &["wallet", "new", "--no-passphrase", "--wallet", "keys.json"]).ok();
    let keys = std::fs::read(place.path("keys.json")).unwrap();
    let new = ["genesis", "new", "--bits", "207fffff", "--pow-limit-bits", "207fffff", "-o"];
    place.run("a", &[&new[..], &["other.json"]].concat()).ok();
    let mine = |output| place.run("a", &["genesis", "mine", "other.json", "-o", output]);
    mine("keys.json").fails(FAILED, "may hold keys");
    assert_eq!(std::fs::read(place.path("keys.json")).unwrap(), keys);
    let genesis = std::fs::read(place.path("other.json")).unwrap();
    mine("other.json").ok();
    place.run("a", &[&new[..], &["other.json"]].concat()).fails(FAILED, "other.json exists");
    assert_eq!(std::fs::read(place.path("other.json")).unwrap(), genesis);
}

/// Commands do not list options that they cannot use.
#[test]
fn commands_without_a_node_have_no_options_for_one() {
    let place = Place::new();
    for (path, asks) in [
        ("proof verify", false),
        ("proof car", false),
        ("proof bump", false),
        ("proof get", true),
        ("proof balance", true),
        ("proof coin", true),
        ("wallet words", false),
        ("wallet address", false),
        ("wallet balance", true),
        ("wallet send", true),
        ("light status", false),
        ("light sync", true),
        ("genesis show", false),
        ("db check", false),
    ] {
        let args: Vec<&str> = path.split(' ').chain(["--help"]).collect();
        let help = place.run("a", &args).ok();
        assert_eq!(help.contains("--rpc") || help.contains("--peer"), asks, "{path}: {help}");
    }
}

#[test]
fn logs_for_programs_are_an_object_a_line() {
    let place = Place::new();
    // The second run makes no files, so it prints no notes for a person.
    let run = || {
        let mut command = place.command("net", &["testnet", "--nodes", "1", "--miners", "0", "--until-height", "0"]);
        command.env_remove("CAIRN_GENESIS").args(["--log-format", "json"]);
        done(command)
    };
    run().ok();
    let again = run();
    let lines: Vec<Value> = again.stderr.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let ready = lines.iter().find(|line| line["fields"]["message"] == "chain is ready").expect("it says so");
    let seen = (&ready["level"], &ready["fields"]["height"], &ready["span"]["node"]);
    assert_eq!(seen, (&"INFO".into(), &0.into(), &"node-1".into()));
    place.run("net", &["rpc", "getblockcount", "--log-format", "xml"]).fails(USAGE, "possible values: text, json");
}

/// The paths of all commands that can be run, such as `wallet send`.
fn leaves(command: &clap::Command, path: &[String]) -> Vec<Vec<String>> {
    let subcommands: Vec<_> = command.get_subcommands().filter(|command| command.get_name() != "help").collect();
    let mut found: Vec<_> = subcommands
        .iter()
        .flat_map(|command| leaves(command, &[path, &[command.get_name().to_owned()]].concat()))
        .collect();
    if subcommands.is_empty() || !command.is_subcommand_required_set() {
        found.push(path.to_owned());
    }
    found
}

/// The error that a command printed with `--json`: the last line of its stderr, and nothing on stdout.
fn error_of(done: &crate::process::Done) -> Value {
    assert_eq!(done.stdout, "", "{done:?}");
    let last = done.stderr.lines().last().unwrap_or_default();
    let object: Value = serde_json::from_str(last).unwrap_or_else(|error| panic!("{error}: {done:?}"));
    assert_eq!(object["error"]["code"], done.code, "{done:?}");
    assert!(object["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{done:?}");
    object["error"].clone()
}

/// clap wraps help to the terminal: what is wrapped in the source as well is broken twice.
#[test]
fn help_is_wrapped_once() {
    fn check(command: &clap::Command, path: &str, faults: &mut Vec<String>) {
        let path = format!("{path} {}", command.get_name());
        let texts = [command.get_after_help(), command.get_after_long_help(), command.get_long_about()];
        for text in texts.into_iter().flatten().map(ToString::to_string) {
            let lines: Vec<&str> = text.lines().collect();
            let long = lines.iter().filter(|line| line.starts_with("  ") && line.chars().count() > 80);
            faults.extend(long.map(|line| format!("{path}: an example wider than 80 columns: {line}")));
            let is_prose = |line: &str| !line.is_empty() && !line.starts_with("  ");
            let broken = lines.windows(2).filter(|pair| is_prose(pair[0]) && is_prose(pair[1]));
            faults.extend(broken.map(|pair| format!("{path}: a line of prose goes on in the next: {}", pair[1])));
        }
        command.get_subcommands().for_each(|command| check(command, &path, faults));
    }
    let mut faults = Vec::new();
    check(&<cairn::cli::Cli as clap::CommandFactory>::command(), "", &mut faults);
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// <https://no-color.org>: on a terminal, too.
#[test]
fn no_color_is_honoured_on_a_terminal() {
    let place = Place::new();
    place.wallet("a");
    let shown = |variables: &[(&str, &str)], args: &[&str]| {
        let mut command = place.command("a", args);
        for name in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        command.env("TERM", "xterm-256color").envs(variables.iter().copied());
        // The terminal takes the place of the pipes.
        command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        let mut session = rexpect::session::spawn_command(command, Some(120_000)).unwrap();
        session.exp_eof().unwrap()
    };
    // Select Graphic Rendition (ECMA-48): the sequences of colour end in m.
    let coloured = |text: &str| {
        text.split("\x1b[")
            .skip(1)
            .any(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').starts_with('m'))
    };
    let port = free();
    let logs = ["rpc", "uptime", "--rpc", &port, "--log", "trace"];
    for args in [&["nod"][..], &["help", "node"], &logs] {
        assert!(coloured(&shown(&[], args)), "{args:?}: a terminal gets colours");
        assert!(!coloured(&shown(&[("NO_COLOR", "1")], args)), "{args:?}");
    }
}

#[test]
fn every_failure_with_json_is_an_object() {
    let place = Place::new();
    let commands = leaves(&<cairn::cli::Cli as clap::CommandFactory>::command(), &[]);
    assert!(commands.len() > 30, "{commands:?}");
    for command in &commands {
        let mut args: Vec<&str> = command.iter().map(String::as_str).collect();
        args.extend(["--json", "--no-such-option"]);
        let done = place.run("a", &args);
        let error = error_of(&done);
        assert_eq!((error["kind"].as_str(), done.code), (Some("usage"), USAGE), "{command:?}");
        let message = error["message"].as_str().unwrap();
        assert!(message.starts_with("unexpected argument '--no-such-option'"), "{command:?}: {message}");
    }
    std::fs::write(place.path("torn.json"), "{").unwrap();
    let txid = "00".repeat(32);
    for (args, code, kind) in [
        (&["node", "--genesis", "torn.json"][..], FAILED, "failed"),
        (&["testnet", "mine", "1"], FAILED, "failed"),
        (&["wallet", "address"], FAILED, "failed"),
        (&["wallet", "new", "--restore"], FAILED, "failed"),
        (&["rpc", "uptime"], NO_NODE, "no_node"),
        (&["rpc", "--rpc", "https://node:1", "uptime"], USAGE, "usage"),
        (&["light", "sync"], NO_NODE, "no_node"),
        (&["light", "status", "--genesis", "missing.json"], FAILED, "failed"),
        (&["proof", "get", &txid], NO_NODE, "no_node"),
        (&["proof", "verify", "missing.json"], FAILED, "failed"),
        (&["proof", "verify", "torn.json"], FAILED, "failed"),
        (&["genesis", "show", "missing.json"], FAILED, "failed"),
        (&["genesis", "mine", "torn.json"], FAILED, "failed"),
        (&["db", "check"], FAILED, "failed"),
        (&["db", "export", "blocks"], FAILED, "failed"),
        (&["db", "import", "missing"], FAILED, "failed"),
        (&["health"], NO_NODE, "no_node"),
        (&["sim", "network", "--duration", "40s", "--partition", "20s..50s:0.3"], FAILED, "failed"),
    ] {
        let done = place.run("b", &[args, &["--json"]].concat());
        assert_eq!((error_of(&done)["kind"].as_str(), done.code), (Some(kind), code), "{args:?}: {done:?}");
    }
    // An error from the node has its own RPC code.
    let node = place.node("node", &[]);
    let refused = error_of(&place.run("node", &["rpc", "getblockhash", "99", "--json"]));
    assert_eq!((&refused["code"], &refused["rpc_code"]), (&FAILED.into(), &(-8).into()), "{refused}");
    // A receipt that is well formed but proves nothing.
    node.generate(3, &place.wallet("miner"));
    let block = node.call("getblockhash", &[2.into()]);
    let txid = node.call("getblock", &[block])["tx"][0].as_str().unwrap().to_owned();
    let receipt = place.run("node", &["proof", "get", &txid]).ok();
    let moved = receipt.replace("\"height\": 2", "\"height\": 3");
    let done_elsewhere = place.run_with_input("verifier", &["proof", "verify", "-", "--json"], &moved);
    assert_eq!((error_of(&done_elsewhere)["kind"].as_str(), done_elsewhere.code), (Some("not_proven"), NOT_PROVEN));
    // A switch in the environment, although parsing the command line fails.
    let mut command = place.command("a", &["nod"]);
    command.env("CAIRN_JSON", "1");
    assert_eq!(error_of(&done(command))["kind"], "usage");
}
