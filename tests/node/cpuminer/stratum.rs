//! A miner over Stratum that knows no more than cpuminer does: lines, words and hashes.

#![allow(dead_code)] // Each test binary uses its own part.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use cairn::primitives::target::Bits;
use serde_json::{Value, json};

use super::{meets, sha256d};

const DEADLINE: Duration = Duration::from_secs(60);

/// A job as cpuminer keeps it.
#[derive(Clone, Default, Debug)]
pub struct Job {
    pub name: String,
    pub previous: String,
    pub before: String,
    pub after: String,
    pub branch: Vec<String>,
    pub version: String,
    pub bits: String,
    pub time: String,
    pub clean: bool,
    pub difficulty: f64,
}

pub struct Miner {
    reader: BufReader<TcpStream>,
    pub writer: TcpStream,
    pub worker: String,
    pub extranonce1: String,
    next_difficulty: f64,
    pub job: Job,
    pub jobs: usize,
    next_id: u64,
}

/// Number and sentence of a refusal.
pub type Refusal = (i64, String);

impl Miner {
    pub fn connect(address: SocketAddr) -> Self {
        Self::over(TcpStream::connect(address).unwrap())
    }

    pub fn over(writer: TcpStream) -> Self {
        writer.set_read_timeout(Some(DEADLINE)).unwrap();
        let reader = BufReader::new(writer.try_clone().unwrap());
        Self {
            reader,
            writer,
            worker: String::new(),
            extranonce1: String::new(),
            next_difficulty: 1.0,
            job: Job::default(),
            jobs: 0,
            next_id: 1,
        }
    }

    pub fn send(&mut self, line: &str) {
        // The server may have closed the connection meanwhile; the next read shows that.
        let _ = self.writer.write_all(format!("{line}\n").as_bytes());
    }

    /// The next line; `None` once the other side has closed.
    pub fn read(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.reader.read_line(&mut line) {
            Ok(0) => None,
            Ok(_) => Some(serde_json::from_str(&line).unwrap_or_else(|_| panic!("not JSON: {line}"))),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            Err(error) => panic!("{error}"),
        }
    }

    /// Takes a notification, as cpuminer does.
    pub fn notice(&mut self, line: &Value) {
        let params = &line["params"];
        match line["method"].as_str().unwrap() {
            // A power of two, which serde_json reads to the last digit but one.
            "mining.set_difficulty" => self.next_difficulty = params[0].as_f64().unwrap().log2().round().exp2(),
            "mining.notify" => {
                let text = |n: usize| params[n].as_str().unwrap().to_owned();
                self.job = Job {
                    name: text(0),
                    previous: text(1),
                    before: text(2),
                    after: text(3),
                    branch: serde_json::from_value(params[4].clone()).unwrap(),
                    version: text(5),
                    bits: text(6),
                    time: text(7),
                    clean: params[8].as_bool().unwrap(),
                    difficulty: self.next_difficulty,
                };
                self.jobs += 1;
            }
            other => panic!("{other} is nothing that cpuminer knows"),
        }
    }

    pub fn call(&mut self, method: &str, params: Value) -> Result<Value, Refusal> {
        self.try_call(method, params).expect("the server hung up")
    }

    /// The same; `None` if the other side closes first.
    pub fn try_call(&mut self, method: &str, params: Value) -> Option<Result<Value, Refusal>> {
        let id = self.next_id;
        self.next_id += 1;
        self.send(&json!({ "id": id, "method": method, "params": params }).to_string());
        loop {
            let line = self.read()?;
            if line["id"].is_null() {
                self.notice(&line);
                continue;
            }
            assert_eq!(line["id"], id);
            return Some(match &line["error"] {
                Value::Null => Ok(line["result"].clone()),
                error => Err((error[0].as_i64().unwrap(), error[1].as_str().unwrap().to_owned())),
            });
        }
    }

    pub fn subscribe(&mut self) {
        let given = self.call("mining.subscribe", json!(["cpuminer/2.5.1"])).unwrap();
        self.extranonce1 = given[1].as_str().unwrap().to_owned();
        assert_eq!((self.extranonce1.len(), &given[2]), (8, &json!(4)));
    }

    /// Waits for a job after those that came before.
    pub fn wait_for_job(&mut self) {
        self.next_job().expect("the server hung up");
    }

    fn next_job(&mut self) -> Option<()> {
        let before = self.jobs;
        while self.jobs == before {
            let line = self.read()?;
            self.notice(&line);
        }
        Some(())
    }

    /// The header for an extra nonce and a nonce, put together word by word as cpuminer does: numbers are turned around,
    /// and so is each word of the parent's hash.
    pub fn header(&self, extranonce2: &str, time: &str, nonce: u32) -> [u8; 80] {
        let job = &self.job;
        let bytes = |text: &str| hex::decode(text).unwrap();
        let coinbase = bytes(&format!("{}{}{extranonce2}{}", job.before, self.extranonce1, job.after));
        let root =
            job.branch.iter().fold(sha256d(&coinbase), |left, right| sha256d(&[&left[..], &bytes(right)].concat()));
        let turned =
            |text: &str| bytes(text).chunks(4).flat_map(|word| word.iter().rev().copied()).collect::<Vec<u8>>();
        let parts = [
            turned(&job.version),
            turned(&job.previous),
            root.to_vec(),
            turned(time),
            turned(&job.bits),
            nonce.to_le_bytes().to_vec(),
        ];
        parts.concat().try_into().unwrap()
    }

    /// The target of a difficulty, by cpuminer's arithmetic.
    pub fn target(difficulty: f64) -> [u8; 32] {
        let (mut difficulty, mut word) = (difficulty, 6);
        while word > 0 && difficulty > 1.0 {
            difficulty /= 4_294_967_296.0;
            word -= 1;
        }
        let high = (4_294_901_760.0 / difficulty) as u64;
        let mut target = [0; 32];
        target[4 * word..4 * word + 8].copy_from_slice(&high.to_le_bytes());
        target.reverse();
        target
    }

    /// A nonce from `first` on whose hash is a share, or is not.
    pub fn search(&self, extranonce2: &str, first: u32, met: bool) -> u32 {
        let target = Self::target(self.job.difficulty);
        let is = |nonce: &u32| meets(sha256d(&self.header(extranonce2, &self.job.time, *nonce)), &target) == met;
        (first..).find(is).unwrap()
    }

    pub fn submit(&mut self, extranonce2: &str, nonce: u32) -> Result<Value, Refusal> {
        self.try_submit(extranonce2, nonce).expect("the server hung up")
    }

    fn try_submit(&mut self, extranonce2: &str, nonce: u32) -> Option<Result<Value, Refusal>> {
        let (name, time) = (self.job.name.clone(), self.job.time.clone());
        self.try_call("mining.submit", json!([self.worker, name, extranonce2, time, format!("{nonce:08x}")]))
    }

    /// A nonce that makes a block of the job.
    pub fn search_block(&self, extranonce2: &str) -> u32 {
        let target = self.target_of_bits();
        (0..).find(|nonce| meets(sha256d(&self.header(extranonce2, &self.job.time, *nonce)), &target)).unwrap()
    }

    /// Mines block upon block until one is refused, or the other side closes.
    pub fn mine_until_refused(&mut self) {
        while let Some(Ok(_)) = self.try_submit("00000000", self.search_block("00000000"))
            && self.next_job().is_some()
        {}
    }

    fn target_of_bits(&self) -> [u8; 32] {
        let bits = Bits(u32::from_str_radix(&self.job.bits, 16).unwrap());
        bits.target().unwrap().0.to_be_bytes()
    }

    /// Reads until the other side closes.
    pub fn until_closed(mut self) {
        while self.read().is_some() {}
    }
}
