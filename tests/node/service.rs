//! A node as terminals, service managers and small machines treat it: unread streams, signals, few file descriptors,
//! full and read-only disks.

use std::io::{PipeReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use crate::cpuminer::stratum::Miner;
use crate::process::{Disk, Node, Place, done, spec, wait_for};
use cairn::consensus::params::GenesisSpec;
use cairn::primitives::address;
use cairn::primitives::amount::COIN;
use cairn::runtime::STORE_DIR;
use serde_json::json;

fn full_device() -> Stdio {
    Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap())
}

/// A pipe that takes nothing more; the reader keeps it so.
fn full_pipe(blocking: bool) -> (PipeReader, Stdio) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    rustix::io::ioctl_fionbio(&writer, true).unwrap();
    while writer.write(&[b'.'; 4096]).is_ok() {}
    // A last byte, where a page has no room.
    while writer.write(b".").is_ok() {}
    rustix::io::ioctl_fionbio(&writer, !blocking).unwrap();
    (reader, Stdio::from(writer))
}

fn payee() -> String {
    address::encode(&GenesisSpec::regtest().address_prefix, &cairn_testkit::public(3))
}

/// A wallet with coins, and a node of that network.
fn funded() -> (Place, Node) {
    let place = Place::new();
    let address = place.wallet("node");
    place.found(&spec(0x207f_ffff, &[(&address, 100 * COIN)]));
    let node = place.node("node", &[]);
    (place, node)
}

#[test]
fn a_node_survives_the_loss_of_its_stderr() {
    let gone = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        (None, Stdio::from(writer))
    };
    let kept = |(reader, stdio)| (Some(reader), stdio);
    let streams: [(&str, (Option<PipeReader>, Stdio)); 4] = [
        ("its reader is gone", gone()),
        ("the disk is full", (None, full_device())),
        ("no process reads it", kept(full_pipe(true))),
        ("no process reads it, and it does not block", kept(full_pipe(false))),
    ];
    for (what, (_reader, stderr)) in streams {
        let place = Place::new();
        let node = place.node_with("node", &["--log", "trace", "--mine", &payee()], |command| {
            command.stderr(stderr);
        });
        // Much more is logged than a pipe holds.
        node.generate(300, &payee());
        let height = node.tip().0;
        assert!(height >= 300, "{what}: height {height}");
        wait_for("a block that is mined", || (node.tip().0 > height).then_some(()));
        assert!(place.run("node", &["health"]).ok().contains("ready"), "{what}");
        assert!(node.terminate().success(), "{what}");
    }
}

#[test]
fn a_testnet_runs_without_a_reader() {
    let place = Place::new();
    let (_reader, stdout) = full_pipe(true);
    let mut command = place.command("net", &["testnet", "--nodes", "1", "--until-height", "3", "--json"]);
    command.env_remove("CAIRN_GENESIS").stdout(stdout).stderr(full_device());
    assert_eq!(done(command).code, 0);

    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = place.command("net", &["testnet", "--until-height", "6"]);
    command.env_remove("CAIRN_GENESIS").stdout(writer).stderr(Stdio::null());
    assert_eq!(done(command).code, 0);
}

#[test]
fn a_payment_is_told_wherever_it_can_be() {
    let (place, node) = funded();
    let to = payee();
    let send = |prepare: &dyn Fn(&mut Command)| {
        let mut command = place.command("node", &["wallet", "send", &to, "0.5"]);
        prepare(&mut command);
        let done = done(command);
        node.generate(1, &to);
        done
    };
    let is_confirmed = |txid: &str| node.confirmations(txid) == Some(1);

    let quiet = send(&|command| {
        command.stderr(full_device());
    });
    assert!(is_confirmed(&quiet.ok()));
    let (_reader, stderr) = full_pipe(true);
    let stderr = std::cell::RefCell::new(Some(stderr));
    let quiet = send(&|command| {
        command.stderr(stderr.borrow_mut().take().unwrap());
    });
    assert!(is_confirmed(&quiet.ok()));

    // The id is in the message, since it could not be a result.
    let gone = || {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        Stdio::from(writer)
    };
    for stdout in [full_device, gone] {
        let told = send(&|command| {
            command.stdout(stdout());
        });
        let sent = told.stderr.split_once("the payment is sent, its id is ").map(|(_, rest)| rest[..64].to_owned());
        assert!(told.code == 1 && sent.as_deref().is_some_and(is_confirmed), "{told:?}");
        assert!(!told.stderr.contains("panicked"), "{told:?}");
    }

    let mut command = place.command("node", &["rpc", "generatetoaddress", "1", &to]);
    command.stdout(full_device());
    let told = done(command);
    assert!(told.code == 1 && told.stderr.contains(&node.tip().1), "{told:?}");
    assert!(node.terminate().success());
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_command_quietly() {
    let (place, node) = funded();
    for args in [&["rpc", "help"][..], &["genesis", "show"], &["wallet", "address"], &["rpc", "getblockcount"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = place.command("node", args);
        command.stdout(writer);
        let done = done(command);
        assert_eq!((done.code, done.stderr.as_str()), (0, ""), "{args:?}");
    }
    assert!(node.terminate().success());
}

#[test]
fn a_closed_terminal_ends_a_node_in_order_unless_it_is_told_to_ignore_that() {
    let place = Place::new();
    // Those who run the tests may ignore it, as nohup does, and that is inherited.
    let node = place.node_with("node", &[], |command| start_by(command, &["env", "--default-signal=HUP"]));
    node.generate(3, &payee());
    node.signal("HUP");
    assert!(node.wait().success(), "it was stopped in order");

    let ignoring = ["sh", "-c", "trap '' HUP; exec \"$@\"", "sh"];
    let node = place.node_with("node", &[], |command| start_by(command, &ignoring));
    node.signal("HUP");
    node.generate(1, &payee());
    assert_eq!(node.tip().0, 4);
    assert!(node.terminate().success());
}

/// Has a command of [`Place`] started by another program, which becomes it.
fn start_by(command: &mut Command, starter: &[&str]) {
    let mut by = Command::new(starter[0]);
    by.args(&starter[1..]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => by.env(name, value),
            None => by.env_remove(name),
        };
    }
    by.current_dir(command.get_current_dir().unwrap()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    *command = by;
}

/// Starts a node under a shell's `ulimit`.
fn limited(place: &Place, limit: &str, args: &[&str]) -> Node {
    let starter = ["sh", "-c", &format!("ulimit {limit}; exec \"$@\""), "sh"];
    place.node_with("node", args, |command| start_by(command, &starter))
}

#[test]
fn a_node_that_runs_out_of_file_descriptors_goes_on_writing() {
    const LIMIT: usize = 128;
    let place = Place::new();
    let node = limited(&place, &format!("-n {LIMIT}"), &["--mine", &payee()]);
    let open = || std::fs::read_dir(format!("/proc/{}/fd", node.pid())).unwrap().count();
    let url = node.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    // As many as wait unaccepted, too: one more would itself wait.
    let connections: Vec<_> = (0..LIMIT).map_while(|_| TcpStream::connect(&url).ok()).collect();
    assert_eq!(connections.len(), LIMIT);
    wait_for("all descriptors to be taken", || (open() >= LIMIT).then_some(()));
    let store = place.path("node").join(STORE_DIR);
    // Windows that are written and synced while there are none: the journal begins with the number of the last.
    let journal = || std::fs::read(store.join("journal")).unwrap();
    let window = || journal().first_chunk().map_or(0, |number| u64::from_le_bytes(*number));
    let before = window();
    wait_for("windows to be written", || (window() >= before + 3 && open() >= LIMIT).then_some(()));
    drop(connections);
    let height = wait_for("an answer", || node.try_call("getblockcount", &[]).ok()).as_u64().unwrap();
    assert!(height > 0);
    assert!(node.terminate().success(), "all could be written");
    let node = place.node("node", &[]);
    assert!(node.tip().0 >= height);
    assert!(node.terminate().success());
}

#[test]
fn the_limit_of_file_descriptors_is_raised_at_the_start() {
    let place = Place::new();
    let node = limited(&place, "-Sn 100", &[]);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", node.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard] = [3, 4].map(|at| line.split_whitespace().nth(at).unwrap().parse::<u64>().unwrap_or(u64::MAX));
    assert!(soft >= 500.min(hard), "{line}");
    assert!(node.terminate().success());
}

/// Mines blocks elsewhere for `submitblock`, on top of genesis.
fn blocks_from_elsewhere(place: &Place, count: u32) -> Vec<String> {
    let node = place.node("elsewhere", &[]);
    node.generate(count, &payee());
    let block = |height: u32| {
        let hash = node.call("getblockhash", &[height.into()]);
        node.call("getblock", &[hash, 0.into()]).as_str().unwrap().to_owned()
    };
    let blocks = (1..=count).map(block).collect();
    assert!(node.terminate().success());
    blocks
}

/// A miner with work of a node's.
fn miner(node: &Node) -> Miner {
    let log = node.log();
    let address = log.lock().unwrap().iter().find_map(|line| {
        let (before, address) = line.rsplit_once("address=")?;
        before.contains("waiting for miners").then(|| address.trim().parse().unwrap())
    });
    let mut miner = Miner::connect(address.unwrap());
    miner.subscribe();
    assert_eq!(miner.call("mining.authorize", json!([payee(), "x"])), Ok(json!(true)));
    miner.worker = payee();
    miner.wait_for_job();
    miner
}

#[test]
fn a_node_stops_on_a_full_disk_and_recovers() {
    let place = Place::new();
    let Some(disk) = Disk::mount(32 << 20) else { return };
    place.link("node", disk.path());
    let blocks = blocks_from_elsewhere(&place, 200);
    let node = place.node("node", &[]);
    // An orderly stop has written these; of what comes after, the last moments may be lost.
    const WRITTEN: u32 = 300;
    node.generate(WRITTEN, &payee());
    assert!(node.terminate().success());
    for way in ["generatetoaddress", "--mine", "submitblock", "--stratum"] {
        let address = payee();
        let args = match way {
            "--mine" => vec![way, address.as_str()],
            "--stratum" => vec![way, "127.0.0.1:0"],
            _ => vec![],
        };
        let node = place.node("node", &args);
        assert!(node.tip().0 >= u64::from(WRITTEN), "{way}: the chain was {WRITTEN} blocks high");
        disk.fill(0);
        match way {
            "generatetoaddress" => while node.try_call(way, &[json!(100), json!(payee())]).is_ok() {},
            "submitblock" => {
                // The chain is longer than these, so each is kept as a branch.
                for block in &blocks {
                    if node.try_call(way, &[json!(block)]).is_err() {
                        break;
                    }
                }
            }
            "--stratum" => miner(&node).mine_until_refused(),
            _ => {}
        }
        let log = node.log();
        let status = node.wait();
        assert_eq!(status.code(), Some(1), "{way}: {status}");
        let log = wait_for("the reason", || {
            let log = log.lock().unwrap();
            let text: Vec<_> = log.iter().cloned().collect();
            text.iter().any(|line| line.starts_with("error: ")).then(|| text.join("\n"))
        });
        assert!(log.contains("its store failed"), "{way}: {log}");
        place.run("node", &["health"]).fails(4, "no node");

        // The node does not start on a full disk, and files left by the attempt do not keep it from starting once there
        // is room.
        if let Ok(node) = place.try_node("node", &[]) {
            // Some room was left after all.
            node.kill();
        }
        disk.empty();
        place.run("node", &["db", "check"]).ok();
    }
    let node = place.node("node", &[]);
    assert!(node.tip().0 >= u64::from(WRITTEN));
    assert!(node.terminate().success());
}

/// Starts the node with so many pages of room, and then with as much as it wants. Answers whether the first start failed.
fn starts_in_spite_of(disk: &Disk, place: &Place, pages: u64) -> bool {
    disk.fill(pages << 12);
    let refused = match place.try_node("node", &[]) {
        Ok(node) => {
            assert!(node.kill().code() != Some(0));
            false
        }
        Err(log) => {
            let log = log.join("\n");
            assert!(!log.contains("damaged") && !log.contains("panicked"), "{pages} pages free: {log}");
            true
        }
    };
    disk.empty();
    let node = place.node("node", &[]);
    node.generate(5, &payee());
    assert!(node.terminate().success());
    refused
}

#[test]
fn a_start_on_a_full_disk_leaves_nothing_that_hinders_the_next() {
    let place = Place::new();
    let Some(disk) = Disk::mount(64 << 20) else { return };
    place.link("node", disk.path());
    let mut refused = 0;
    for pages in 0..12 {
        refused += u32::from(starts_in_spite_of(&disk, &place, pages));
        std::fs::remove_dir_all(disk.path().join(STORE_DIR)).unwrap();
    }
    assert!(refused > 0, "no first start failed");
    // Of a database with more than a page of pages, sled writes a snapshot that may have room in part.
    let node = place.node("node", &[]);
    node.generate(4_000, &payee());
    assert!(node.terminate().success());
    let rooms = [0; 8].into_iter().chain(0..12).chain((12..160).step_by(12));
    let refused = rooms.filter(|pages| starts_in_spite_of(&disk, &place, *pages)).count();
    assert!(refused > 0, "no later start failed");
    place.run("node", &["db", "check"]).ok();
}

#[test]
fn a_database_on_a_read_only_or_full_disk_is_checked_and_exported() {
    let (place, node) = funded();
    node.generate(40, &payee());
    place.run("node", &["wallet", "send", &payee(), "1"]).ok();
    node.generate(1, &payee());
    assert!(node.terminate().success());
    // Killed, so that there is something for sled to write when it opens.
    place.node("node", &[]).kill();
    let Some(disk) = Disk::mount(64 << 20) else { return };
    let copied = Command::new("cp").arg("-a").arg(place.path("node")).arg(disk.path()).status().unwrap();
    assert!(copied.success());
    place.link("disk", &disk.path().join("node"));

    let expected = place.run("node", &["db", "check"]).ok();
    std::fs::create_dir(place.path("tmp")).unwrap();
    let read = |args: &[&str]| {
        let mut command = place.command("disk", args);
        command.env("TMPDIR", place.path("tmp"));
        done(command)
    };
    disk.fill(0);
    assert_eq!(read(&["db", "check"]).ok(), expected);
    disk.empty();
    disk.set_read_only(true);
    assert_eq!(read(&["db", "check"]).ok(), expected);
    read(&["db", "export", "blocks"]).ok();
    place.run("new", &["db", "import", "blocks"]).ok();
    assert_eq!(place.run("new", &["db", "check"]).ok(), expected);
    assert_eq!(std::fs::read_dir(place.path("tmp")).unwrap().count(), 0, "no copy is left");
    disk.set_read_only(false);
}

#[test]
fn a_database_whose_file_is_cut_to_nothing_is_damaged_to_all() {
    let place = Place::new();
    let node = place.node("node", &[]);
    node.generate(30, &payee());
    assert!(node.terminate().success());
    std::fs::write(place.path("node").join(STORE_DIR).join("db"), "").unwrap();
    for _ in 0..2 {
        place.run("node", &["db", "check"]).fails(1, "damaged");
        place
            .run("node", &["node", "--listen", "127.0.0.1:0", "--rpc", "127.0.0.1:0", "--log", "error"])
            .fails(1, "damaged");
    }
}

#[test]
fn a_data_directory_is_its_owners() {
    let place = Place::new();
    let mode = |name: &str| std::fs::metadata(place.path(name)).unwrap().permissions().mode() & 0o777;
    assert!(place.node("made/by/node", &[]).terminate().success());
    place.wallet("wallet");
    assert_eq!([mode("made"), mode("made/by/node"), mode("wallet")], [0o700; 3]);
    // One that is there is as its owner wants it.
    std::fs::create_dir(place.path("theirs")).unwrap();
    std::fs::set_permissions(place.path("theirs"), std::fs::Permissions::from_mode(0o750)).unwrap();
    assert!(place.node("theirs", &[]).terminate().success());
    assert_eq!(mode("theirs"), 0o750);
}
