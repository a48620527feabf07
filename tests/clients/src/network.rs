//! A test network of five nodes, with blocks and payments to ask for.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest wait for peers, and the time between two looks.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);

/// A network that runs, and is killed with this.
pub struct Network {
    dir: TempDir,
    process: Child,
    /// A block that only the second node has, in hex, on top of the others.
    pub fresh_block: String,
}

impl Network {
    /// Starts the network with the program that the variable CAIRN names, mines six blocks, and makes two payments, of
    /// which one is mined.
    ///
    /// # Panics
    /// If any of this fails.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory for temporary files");
        let mut process = command(&dir, &["testnet", "--block-time", "0", "--nodes", "5"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("CAIRN names the program");
        let told = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut lines = told.lines().map(|line| line.expect("it is text"));
        assert!(lines.any(|line| line.starts_with("Commands with")), "the network runs");
        // A reader that stops reading would stop the network.
        std::thread::spawn(move || lines.count());
        let mut network = Self { dir, process, fresh_block: String::new() };
        network.run(&["testnet", "mine", "5"]);
        for mined in [true, false] {
            network.run(&["wallet", "send", &network.address(), "1"]);
            if mined {
                network.run(&["testnet", "mine", "1"]);
            }
        }
        network.fresh_block = network.mine_apart();
        network
    }

    /// Runs a command on the network, and returns what it prints.
    fn run(&self, args: &[&str]) -> String {
        let done = command(&self.dir, args).output().expect("the program starts");
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("it is text").trim().to_owned()
    }

    /// Calls a method of the first node, as a check on what clients read.
    pub fn call(&self, method: &str, params: &[Value]) -> Value {
        let params: Vec<String> = params.iter().map(ToString::to_string).collect();
        let args: Vec<&str> = ["rpc", "--json", method].into_iter().chain(params.iter().map(String::as_str)).collect();
        serde_json::from_str(&self.run(&args)).expect("it is JSON")
    }

    /// Mines a block on the second node, which is then without connections.
    fn mine_apart(&self) -> String {
        let second = |args: &[&str]| {
            let dir = self.dir.path().join("net/node-2").display().to_string();
            self.run(&[&["rpc", "--data-dir", &dir], args].concat())
        };
        second(&["setnetworkactive", "false"]);
        second(&["generatetoaddress", "1", &self.address()]);
        second(&["getblock", &second(&["getbestblockhash"]), "0"])
    }

    /// The addresses and ids of two of the first node's peers, once it has them: disconnected ones come back.
    ///
    /// # Panics
    /// If it does not have them within a minute.
    pub fn two_peers(&self) -> [(String, u32); 2] {
        let end = Instant::now() + PATIENCE;
        loop {
            let peers = self.call("getpeerinfo", &[]);
            let named = |peer: &Value| {
                let id = peer["id"].as_u64().and_then(|id| u32::try_from(id).ok()).expect("an id");
                (peer["addr"].as_str().expect("an address").to_owned(), id)
            };
            if let [first, second, ..] = &peers.as_array().expect("a list")[..] {
                return [named(first), named(second)];
            }
            assert!(Instant::now() < end, "the node has no two peers");
            std::thread::sleep(POLL);
        }
    }

    /// An address of the network's wallet.
    pub fn address(&self) -> String {
        self.run(&["wallet", "address"])
    }

    /// The hash of the block at a height, in hex.
    pub fn hash_at(&self, height: u32) -> String {
        self.call("getblockhash", &[json!(height)]).as_str().expect("a hash").to_owned()
    }

    /// The first node's URL.
    pub fn url(&self) -> String {
        let address = fs::read_to_string(self.dir.path().join("net/.rpc-address")).expect("the node's address");
        let address = address.trim();
        if address.starts_with("http") { address.to_owned() } else { format!("http://{address}") }
    }

    /// The file with the node's credentials.
    pub fn cookie(&self) -> PathBuf {
        self.dir.path().join("net/.cookie")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(dir: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CAIRN").expect("CAIRN names the program"));
    command.args(args).env("CAIRN_DATA_DIR", dir.path().join("net")).stderr(Stdio::piped());
    command
}
