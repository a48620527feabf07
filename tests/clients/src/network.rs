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
/// Height of the chain: of so many blocks, all coins together are more grains than `bitcoincore-rpc` reads.
pub const HEIGHT: u32 = 40;

/// A network that runs, and is killed with this.
pub struct Network {
    dir: TempDir,
    process: Child,
    /// Two blocks that only the second node has, in hex, on top of the others.
    pub fresh_blocks: [String; 2],
}

impl Network {
    /// Starts the network with the program that the variable CAIRN names, mines blocks, and makes two payments. It
    /// mines one of them.
    ///
    /// # Panics
    /// If any of this fails.
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory for temporary files");
        let log = dir.path().join("stderr");
        let process = command(&dir, &["testnet", "--block-time", "0", "--nodes", "5"])
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log).expect("a file for stderr"))
            .spawn()
            .expect("CAIRN names the program");
        let mut network = Self { dir, process, fresh_blocks: Default::default() };
        let told = BufReader::new(network.process.stdout.take().expect("it is piped"));
        let mut lines = told.lines().map(|line| line.expect("it is text"));
        let runs = lines.any(|line| line.starts_with("Commands with"));
        assert!(runs, "the network does not run: {}", fs::read_to_string(&log).unwrap_or_default());
        // A reader that stops reading would stop the network.
        std::thread::spawn(move || lines.count());
        network.run(&["testnet", "mine", &(HEIGHT - 1).to_string()]);
        for mined in [true, false] {
            network.run(&["wallet", "send", &network.address(), "1"]);
            if mined {
                network.run(&["testnet", "mine", "1"]);
            }
        }
        network.fresh_blocks = network.mine_apart();
        network
    }

    /// Runs a command on the network, and returns what it prints.
    ///
    /// # Panics
    /// If it fails.
    pub fn run(&self, args: &[&str]) -> String {
        let done = self.command(args).output().expect("the program starts");
        assert!(done.status.success(), "{args:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("it is text").trim().to_owned()
    }

    /// A command on the network.
    pub fn command(&self, args: &[&str]) -> Command {
        command(&self.dir, args)
    }

    /// A path in the directory that is removed with the network, whose own is `net`.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Calls a method of the first node, as a check on what clients read.
    pub fn call(&self, method: &str, params: &[Value]) -> Value {
        let params: Vec<String> = params.iter().map(ToString::to_string).collect();
        let args: Vec<&str> = ["rpc", "--json", method].into_iter().chain(params.iter().map(String::as_str)).collect();
        serde_json::from_str(&self.run(&args)).expect("it is JSON")
    }

    /// Mines two blocks on the second node, which is then without connections.
    fn mine_apart(&self) -> [String; 2] {
        let second = |args: &[&str]| {
            let dir = self.dir.path().join("net/node-2").display().to_string();
            self.run(&[&["rpc", "--data-dir", &dir], args].concat())
        };
        second(&["setnetworkactive", "false"]);
        second(&["generatetoaddress", "2", &self.address()]);
        let block = |height: u32| second(&["getblock", &second(&["getblockhash", &height.to_string()]), "0"]);
        [block(HEIGHT + 1), block(HEIGHT + 2)]
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

/// What hex stands for.
///
/// # Panics
/// If it is none.
pub fn bytes_of(text: &str) -> Vec<u8> {
    let digits = |place| u8::from_str_radix(&text[place..place + 2], 16).expect("hex");
    (0..text.len()).step_by(2).map(digits).collect()
}

fn command(dir: &TempDir, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CAIRN").expect("CAIRN names the program"));
    command.args(args).env("CAIRN_DATA_DIR", dir.path().join("net")).stderr(Stdio::piped());
    command
}
