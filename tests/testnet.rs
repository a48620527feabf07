//! `cairn testnet` as a newcomer meets it: the network starts, the three commands that it tells work as they stand, and
//! what was kept is resumed.

mod process;

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use process::{Place, done};

/// `cairn testnet` in directory `net`.
fn testnet(place: &Place, args: &[&str]) -> Command {
    let mut command = place.command("net", &[&["testnet"], args].concat());
    command.env_remove("CAIRN_GENESIS");
    command
}

/// Killed when a test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already if the test went well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_commands_it_tells_work_as_they_stand_and_the_network_is_resumed() {
    let place = Place::new();
    let mut network =
        Running(testnet(&place, &["--nodes", "3", "--miners", "1"]).stderr(Stdio::null()).spawn().unwrap());
    let mut stdout = BufReader::new(network.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut told = |what: &str| {
        let line =
            stdout.by_ref().find(|line| line.trim_start().starts_with(what)).expect("it is told before the table");
        line.trim_start().trim_start_matches(what).to_owned()
    };
    let (send, look, prove) = (told("send "), told("look "), told("prove "));
    // A reader that stops reading would stop the network.
    let rest = std::thread::spawn(move || stdout.collect::<Vec<_>>());

    // Typed one after the other; a person looks until it is confirmed.
    let script = format!("{send}\nuntil {look} | grep -q '\"confirmations\"'; do sleep 0.1; done\n{prove}\n");
    let mut shell = Command::new("sh");
    shell.args(["-eu", "-c", &script]).current_dir(place.path("")).stdout(Stdio::piped()).stderr(Stdio::piped());
    let proven = done(shell).ok();
    assert!(proven.contains("proven ") && proven.contains("1.5 coins to tcairn1"), "{proven}");

    done(testnet(&place, &[])).fails(1, "is in use by another process");

    assert!(place.path("net/.rpc-address").exists());
    Command::new("kill").args(["-INT", &network.0.id().to_string()]).status().unwrap();
    assert!(network.0.wait().unwrap().success());
    assert_eq!(rest.join().unwrap().last().map(String::as_str), Some("stopping…"));
    assert!(!place.path("net/.rpc-address").exists(), "the address of a node that is gone");

    let genesis = fs::read_to_string(place.path("net/genesis.json")).unwrap();
    let resumed = done(testnet(&place, &["--nodes", "3", "--until-height", "1", "--json"])).ok();
    let nodes: serde_json::Value = serde_json::from_str(resumed.lines().last().unwrap()).unwrap();
    let nodes = nodes["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 3);
    assert!(nodes.iter().all(|node| node["height"].as_u64().unwrap() >= 1), "{resumed}");
    assert_eq!(fs::read_to_string(place.path("net/genesis.json")).unwrap(), genesis);
}

#[test]
fn wrong_input_is_told() {
    let place = Place::new();
    done(testnet(&place, &["--genesis", "genesis.json"])).fails(1, "makes a genesis.json of its own");
    done(testnet(&place, &["--nodes", "0"])).fails(2, "0 is not in 1..=64");

    fs::create_dir(place.path("net")).unwrap();
    fs::write(place.path("net/thesis.txt"), "years of work").unwrap();
    done(testnet(&place, &[])).fails(1, "holds no test network");
    assert_eq!(fs::read_dir(place.path("net")).unwrap().count(), 1);
}
