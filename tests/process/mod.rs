//! Real `cairn` processes for tests: nodes on free ports, commands with what they print.

// Each test binary uses its own part of this.
#![allow(dead_code)]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use cairn::consensus::params::{Allocation, GenesisSpec, Params};
use cairn::primitives::amount::Amount;
use cairn::primitives::target::Bits;
use cairn::rpc::client::{Client, ClientConfig};
use serde_json::Value;

/// Far longer than any step here takes, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

/// Waits until `probe` gives something. Panics with `what` at the deadline.
pub fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How a node is started: on free ports.
const NODE: [&str; 5] = ["node", "--listen", "127.0.0.1:0", "--rpc", "127.0.0.1:0"];

/// A directory with a network's genesis.json, in which nodes and wallets live.
pub struct Place {
    dir: tempfile::TempDir,
}

/// What a command did.
#[derive(Debug)]
pub struct Done {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Done {
    /// What it printed, if it succeeded.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout.trim_end().to_owned()
    }

    /// Checks that it failed with `code` and a message that holds `text`, and printed no result.
    pub fn fails(self, code: i32, text: &str) {
        assert_eq!(self.code, code, "{self:?}");
        assert!(self.stderr.contains(text), "{text:?} is not in the message: {self:?}");
        assert!(!self.stderr.contains("panicked"), "{self:?}");
        assert_eq!(self.stdout, "", "{self:?}");
    }
}

/// A regtest-like network of another difficulty, on which each address in `alloc` has so many grains from the start.
pub fn spec(bits: u32, alloc: &[(&str, u64)]) -> GenesisSpec {
    let allocation = |(address, grains): &(&str, u64)| Allocation {
        address: (*address).to_owned(),
        value: Amount::from_grains(*grains),
    };
    let mut spec = GenesisSpec {
        network: "test".to_owned(),
        message: "Another place".to_owned(),
        bits: Bits(bits),
        coinbase_maturity: 2,
        alloc: alloc.iter().map(allocation).collect(),
        ..GenesisSpec::regtest()
    };
    assert!(spec.mine_nonce());
    spec
}

impl Place {
    /// An empty directory but for regtest's genesis.json.
    pub fn new() -> Self {
        let place = Self { dir: tempfile::tempdir().unwrap() };
        place.found(&GenesisSpec::regtest());
        place
    }

    /// Writes the network's genesis.json.
    pub fn found(&self, spec: &GenesisSpec) {
        Params::new(spec.clone()).unwrap();
        std::fs::write(self.path("genesis.json"), spec.to_json()).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Makes `name` a link to a directory elsewhere.
    pub fn link(&self, name: &str, target: &Path) {
        std::os::unix::fs::symlink(target, self.path(name)).unwrap();
    }

    /// A command with `name` as its data directory, in an environment without other settings.
    pub fn command(&self, name: &str, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("CAIRN_") {
                command.env_remove(variable);
            }
        }
        command
            .args(args)
            .env("CAIRN_DATA_DIR", self.path(name))
            .env("CAIRN_GENESIS", self.path("genesis.json"))
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end.
    pub fn run(&self, name: &str, args: &[&str]) -> Done {
        done(self.command(name, args))
    }

    /// Runs a command to its end, with `input` as its stdin.
    pub fn run_with_input(&self, name: &str, args: &[&str], input: &str) -> Done {
        let mut child = self.command(name, args).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        finish(child)
    }

    /// A new wallet; answers its address.
    pub fn wallet(&self, name: &str) -> String {
        self.run(name, &["wallet", "new"]).ok();
        self.run(name, &["wallet", "address"]).ok()
    }

    /// Starts a node with its streams, or whatever else, as `prepare` leaves them. Waits until it answers, and not for its
    /// log.
    pub fn node_with(&self, name: &str, args: &[&str], prepare: impl FnOnce(&mut Command)) -> Node {
        let mut command = self.command(name, &[&NODE, args].concat());
        command.stdout(Stdio::null()).stderr(Stdio::null());
        prepare(&mut command);
        let mut child = command.spawn().unwrap();
        // The command holds the ends of the streams that are the node's.
        drop(command);
        let config = || ClientConfig { url: None, data_dir: self.path(name), timeout: Some(DEADLINE) };
        let client = wait_for("the node to answer", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{name} ended at its start: {status}");
            }
            Client::new(config()).ok().filter(|client| client.call("getblockcount", &[]).is_ok())
        });
        Node { name: name.to_owned(), child, log: Arc::default(), p2p: None, client: Some(client) }
    }

    /// Starts a node that keeps its data in directory `name`, and waits until it is ready.
    pub fn node(&self, name: &str, args: &[&str]) -> Node {
        self.try_node(name, args).unwrap_or_else(|log| panic!("{name} did not start: {log:#?}"))
    }

    /// The same; if it ends before it is ready, its log.
    pub fn try_node(&self, name: &str, args: &[&str]) -> Result<Node, Vec<String>> {
        let node: &[&str] = if args.contains(&"--listen") { &["node", "--rpc", "127.0.0.1:0"] } else { &NODE };
        let basics = [node, &["--log", "info,cairn=debug"]].concat();
        let mut child = self.command(name, &[&basics, args].concat()).spawn().unwrap();
        let log = Arc::new(Mutex::new(VecDeque::new()));
        let (sender, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let kept = log.clone();
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap();
                kept.push_back(line.clone());
                if kept.len() > 200 {
                    kept.pop_front();
                }
                drop(kept);
                // The receiver is gone once the node is ready.
                let _ = sender.send(line);
            }
        });
        let mut node = Node { name: name.to_owned(), child, log, p2p: None, client: None };
        loop {
            let line = match lines.recv_timeout(DEADLINE) {
                Ok(line) => line,
                Err(_) => return Err(node.tail()),
            };
            if line.contains("waiting for peers") {
                let address = line.rsplit_once("address=").map(|(_, address)| address.trim().parse().unwrap());
                node.p2p = address;
            }
            if line.contains("ready") && line.contains("rpc=") {
                break;
            }
        }
        let config = ClientConfig { url: None, data_dir: self.path(name), timeout: Some(DEADLINE) };
        node.client = Some(Client::new(config).unwrap());
        Ok(node)
    }
}

/// Runs a command to its end.
pub fn done(mut command: Command) -> Done {
    finish(command.spawn().unwrap())
}

/// Waits for a command's end.
pub fn finish(child: Child) -> Done {
    let pid = child.id();
    let (sender, output) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let output = output.recv_timeout(DEADLINE).unwrap_or_else(|_| {
        // For its output to be seen.
        send_signal("KILL", pid);
        panic!("a command did not end: {:?}", output.recv_timeout(DEADLINE))
    });
    let output = output.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Done { code: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// Sends a process a signal, by the shell's own `kill`: the program of that name is not everywhere. Whether it was sent.
pub fn send_signal(name: &str, pid: u32) -> bool {
    let kill = ["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()];
    Command::new("sh").args(kill).status().unwrap().success()
}

/// A running node, killed when dropped.
pub struct Node {
    pub name: String,
    child: Child,
    log: Arc<Mutex<VecDeque<String>>>,
    p2p: Option<SocketAddr>,
    client: Option<Client>,
}

impl Node {
    /// Where peers reach it.
    pub fn peer_address(&self) -> String {
        self.p2p.expect("it logged where it waits for peers").to_string()
    }

    fn client(&self) -> &Client {
        self.client.as_ref().expect("it is ready")
    }

    /// The URL of its RPC.
    pub fn url(&self) -> String {
        self.client().url()
    }

    pub fn call(&self, method: &str, params: &[Value]) -> Value {
        self.client().call(method, params).unwrap_or_else(|e| panic!("{} {method}: {e}\n{:#?}", self.name, self.tail()))
    }

    /// Height and hash of its tip.
    pub fn tip(&self) -> (u64, String) {
        let info = self.call("getblockchaininfo", &[]);
        (info["blocks"].as_u64().unwrap(), info["bestblockhash"].as_str().unwrap().to_owned())
    }

    /// Its summary of all coins, without their size on disk.
    pub fn coins(&self) -> Value {
        let mut info = self.call("gettxoutsetinfo", &[]);
        info.as_object_mut().unwrap().remove("disk_size");
        info
    }

    /// Mines `blocks` at once.
    pub fn generate(&self, blocks: u32, address: &str) {
        let hashes = self.call("generatetoaddress", &[blocks.into(), address.into()]);
        assert_eq!(hashes.as_array().unwrap().len(), blocks as usize);
    }

    /// The ids in its mempool.
    pub fn mempool(&self) -> Vec<String> {
        serde_json::from_value(self.call("getrawmempool", &[])).unwrap()
    }

    /// How many confirmations it knows a transaction to have; `None` if it does not know the transaction.
    pub fn confirmations(&self, txid: &str) -> Option<u64> {
        let transaction = self.client().call("getrawtransaction", &[txid.into(), 1.into()]).ok()?;
        Some(transaction.get("confirmations").and_then(Value::as_u64).unwrap_or(0))
    }

    /// Asks it to stop, as an operator or a service manager would, and waits until it has.
    pub fn terminate(self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        assert!(send_signal(name, self.pid()));
    }

    /// Waits until it has ended.
    pub fn wait(mut self) -> ExitStatus {
        wait_for("the node to end", || self.child.try_wait().unwrap())
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A call that may fail.
    pub fn try_call(&self, method: &str, params: &[Value]) -> Result<Value, cairn::rpc::client::ClientError> {
        self.client().call(method, params)
    }

    /// Kills it, unless it has ended by itself.
    pub fn kill(mut self) -> ExitStatus {
        self.child.kill().unwrap();
        self.child.wait().unwrap()
    }

    /// The end of its log, and what comes after.
    pub fn log(&self) -> Arc<Mutex<VecDeque<String>>> {
        self.log.clone()
    }

    /// Bytes of memory that it holds.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most that it ever held.
    pub fn memory_at_most(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// A line of what Linux says of its process, in bytes.
    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() << 10
    }

    /// The end of its log.
    pub fn tail(&self) -> Vec<String> {
        self.log.lock().unwrap().iter().cloned().collect()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the log of {} ends with\n{}", self.name, self.tail().join("\n"));
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An in-memory disk whose size can be changed. Unmounted when dropped.
pub struct Disk {
    dir: tempfile::TempDir,
    bytes: u64,
}

impl Disk {
    /// Mounts one of so many bytes. `None`, with a line that says so, where that is not allowed.
    pub fn mount(bytes: u64) -> Option<Self> {
        let disk = Self { dir: tempfile::tempdir().unwrap(), bytes };
        let options = format!("size={bytes}");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(disk.path()).output();
        match done {
            Ok(done) if done.status.success() => Some(disk),
            other => {
                println!("NOT TESTED: what happens on a full disk, since this user may not mount one: {other:?}");
                None
            }
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Leaves room for `free` bytes more than it holds.
    pub fn fill(&self, free: u64) {
        // A node may write meanwhile, and a disk cannot be smaller than what it holds. A size of 0 would be no limit.
        let size = || (self.held() + free).max(1);
        wait_for("the disk to shrink", || self.remount(&format!("size={}", size())).then_some(()));
    }

    /// Gives all room back.
    pub fn empty(&self) {
        assert!(self.remount(&format!("size={}", self.bytes)));
    }

    /// Bytes that it holds.
    fn held(&self) -> u64 {
        let output = Command::new("stat").args(["-f", "-c", "%b %f %S"]).arg(self.path()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let numbers: Vec<u64> = text.split_whitespace().map(|n| n.parse().unwrap()).collect();
        (numbers[0] - numbers[1]) * numbers[2]
    }

    fn remount(&self, option: &str) -> bool {
        let options = format!("remount,{option}");
        Command::new("mount").args(["-o", &options]).arg(self.path()).stderr(Stdio::null()).status().unwrap().success()
    }

    /// Has it refuse all writes, or take them again.
    pub fn set_read_only(&self, read_only: bool) {
        assert!(self.remount(if read_only { "ro" } else { "rw" }));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process may still be about to end.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Flips a bit of a file.
pub fn flip(path: &Path, offset: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[offset] ^= 1;
    std::fs::write(path, bytes).unwrap();
}
