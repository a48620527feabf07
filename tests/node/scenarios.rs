//! Shipped scenarios over real nodes, in real time, and what the two commands say of a run.

use std::process::Command;

use serde_json::Value;

use crate::process::{Place, done};

fn command(place: &Place, args: &[&str]) -> Command {
    let mut command = place.command("net", args);
    command.env_remove("CAIRN_GENESIS");
    command
}

fn shipped(name: &str) -> String {
    format!("{}/scenarios/{name}.toml", env!("CARGO_MANIFEST_DIR"))
}

/// Runs a shipped scenario over real nodes and in virtual time: the same blocks and payments, and all checks hold.
fn holds_in_both(name: &str) {
    let (place, file) = (Place::new(), shipped(name));
    let run = |world: &str| -> Value {
        let out = done(command(&place, &[world, "run", &file, "--json"])).ok();
        serde_json::from_str(&out).unwrap()
    };
    let (real, simulated) = (run("testnet"), run("sim"));
    for member in ["title", "seed", "nodes", "blocks", "payments", "holds"] {
        assert_eq!(real[member], simulated[member], "{member}: {real:#} {simulated:#}");
    }
    assert_eq!(real["holds"], true, "{real:#}");
    let texts = |report: &Value| {
        let mut texts: Vec<String> =
            report["checks"].as_array().unwrap().iter().map(|check| check["text"].to_string()).collect();
        texts.sort();
        texts
    };
    assert_eq!(texts(&real), texts(&simulated));
    assert!(simulated["trace"].is_string() && real["trace"].is_null());
    assert!(!place.path("net").exists(), "a run leaves nothing behind");
}

#[test]
fn a_partition_over_real_nodes() {
    holds_in_both("partition");
}

#[test]
fn a_late_joiner_over_real_nodes() {
    holds_in_both("late-joiner");
}

#[test]
fn the_exit_code_says_whether_the_checks_hold() {
    let place = Place::new();
    let text = "title = 'Two'\nabout = 'Two nodes.'\n[[nodes]]\nname = 'n'\ncount = 2\n\
                [[events]]\nat = '200ms'\nmine = { node = 'n-1', blocks = 3 }\n\
                [[checks]]\nat = '300ms'\nwithin = '60s'\nnote = 'they have it'\nheight = { at_least = 3, at_most = 3 }\n";
    std::fs::write(place.path("good.toml"), text).unwrap();
    std::fs::write(
        place.path("bad.toml"),
        text.replace("at_least = 3, at_most = 3", "at_most = 2").replace("60s", "1s"),
    )
    .unwrap();
    std::fs::write(place.path("wrong.toml"), text.replace("n-1", "n-3")).unwrap();
    for world in ["sim", "testnet"] {
        let good = done(command(&place, &[world, "run", "good.toml"])).ok();
        assert!(good.contains("they have it") && good.ends_with("the check holds"), "{good}");
        let bad = done(command(&place, &[world, "run", "bad.toml"]));
        assert!(bad.code == 1 && bad.stderr.contains("1 check does not hold: line 10"), "{bad:?}");
        assert!(bad.stdout.contains("fails  they have it") && bad.stdout.contains("seen: 3"), "{bad:?}");
        done(command(&place, &[world, "run", "wrong.toml"])).fails(2, "wrong.toml: line 8: there is no node \"n-3\"");
        done(command(&place, &[world, "run", "none.toml"])).fails(1, "cannot read none.toml");
    }
}
