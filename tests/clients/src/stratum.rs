//! `sv1_api`: its side of a miner, which reads every line of a node that serves miners over Stratum.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use corepc_client::bitcoin::block::{Header, Version};
use corepc_client::bitcoin::hashes::{Hash, sha256d};
use corepc_client::bitcoin::pow::{CompactTarget, Target};
use corepc_client::bitcoin::{BlockHash, TxMerkleNode};
use serde_json::json;
use sv1_api::client_to_server::{ExtranonceSubscribe, Submit, SubmitError};
use sv1_api::error::Error;
use sv1_api::json_rpc::{Message, StandardRequest};
use sv1_api::methods::{Method, Server2ClientResponse};
use sv1_api::server_to_client::{Configure, Notify, SetDifficulty, SetExtranonce, SetVersionMask, Subscribe};
use sv1_api::utils::{Extranonce, HexU32Be};
use sv1_api::{ClientStatus, IsClient};

use crate::network::Network;

/// Longest wait for a line.
const PATIENCE: Duration = Duration::from_secs(60);
/// The requests' ids. The client subscribes by itself, under the id with which it configures.
const CONFIGURE: u64 = 1;
const SUGGEST: u64 = 2;
const EXTRANONCE: u64 = 3;
const AUTHORIZE: u64 = 4;
const SUBMIT: u64 = 5;
/// The bits of the version that the miner asks for, and one of them.
const MASK: u32 = 0x1fff_e000;
const ROLLED: u32 = 0x0400_0000;

/// A node that serves miners, killed with this.
struct Node {
    process: Child,
    address: String,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts a node of the network that is alone, and has it know of a payment.
fn start(network: &Network) -> Node {
    let path = |name: &str| network.path(name).display().to_string();
    let (genesis, wallet, dir) = (path("net/genesis.json"), path("net/wallet.json"), path("miners"));
    let local = "127.0.0.1:0";
    let options = ["--data-dir", &dir, "--listen", local, "--rpc", local, "--stratum", local];
    let process = network
        .command(&[&["node", "--genesis", &genesis][..], &options].concat())
        .env("NO_COLOR", "1")
        .stderr(Stdio::piped())
        .spawn()
        .expect("CAIRN names the program");
    let mut node = Node { process, address: String::new() };
    let mut lines =
        BufReader::new(node.process.stderr.take().expect("it is piped")).lines().map(|line| line.expect("text"));
    let told = lines.find(|line| line.contains("waiting for miners")).expect("the node serves miners");
    node.address = told.rsplit_once("address=").expect("it says where").1.to_owned();
    // A reader that stops reading would stop the log.
    std::thread::spawn(move || lines.count());
    network.run(&["wallet", "send", &network.address(), "1", "--data-dir", &dir, "--wallet", &wallet]);
    node
}

/// What a line was.
#[derive(Debug)]
enum Heard {
    Answer(Server2ClientResponse),
    Refusal(u64, i32),
    Notification,
}

/// A miner: what the client keeps, and its connection.
struct Miner {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    status: ClientStatus,
    name: String,
    authorized: Option<String>,
    extranonce1: Option<Extranonce>,
    extranonce2_size: usize,
    mask: Option<HexU32Be>,
    min_bits: Option<HexU32Be>,
    difficulty: Option<f64>,
    job: Option<Notify>,
    error: Option<(u64, i32)>,
}

impl Miner {
    fn connect(node: &Node, name: String) -> Self {
        let writer = TcpStream::connect(&node.address).expect("the node listens");
        writer.set_read_timeout(Some(PATIENCE)).expect("a time above zero");
        Self {
            reader: BufReader::new(writer.try_clone().expect("a second handle")),
            writer,
            status: ClientStatus::Init,
            name,
            authorized: None,
            extranonce1: None,
            extranonce2_size: 0,
            mask: Some(HexU32Be(MASK)),
            min_bits: Some(HexU32Be(2)),
            difficulty: None,
            job: None,
            error: None,
        }
    }

    fn send(&mut self, message: impl Into<Message>) {
        let line = serde_json::to_string(&message.into()).expect("it is JSON");
        self.writer.write_all(format!("{line}\n").as_bytes()).expect("the node reads");
    }

    /// Reads a line by the client, and sends what the client answers.
    ///
    /// # Panics
    /// If the client cannot read it.
    fn hear(&mut self) -> Heard {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("the node answers");
        let read = |what: &dyn std::fmt::Debug| -> ! { panic!("{line}: {what:?}") };
        let message: Message = serde_json::from_str(&line).unwrap_or_else(|error| read(&error));
        let method = Method::try_from(message.clone()).unwrap_or_else(|error| read(&error));
        let reply = self.handle_message(None, message).unwrap_or_else(|error| read(&error));
        if let Some(reply) = reply {
            self.send(reply);
        }
        match method {
            Method::Server2ClientResponse(response) => {
                Heard::Answer(self.update_response(None, response).unwrap_or_else(|error| read(&error)))
            }
            Method::ErrorMessage(_) => {
                let (id, code) = self.error.take().expect("the client keeps it");
                Heard::Refusal(id, code)
            }
            _ => Heard::Notification,
        }
    }

    /// What the node answers next; jobs may come before.
    fn answer(&mut self) -> Heard {
        loop {
            match self.hear() {
                Heard::Notification => {}
                answer => return answer,
            }
        }
    }

    /// Asserts that a share is refused as the error that the client knows.
    fn is_refused(&mut self, share: Submit, error: SubmitError) {
        self.send(share);
        let answer = self.answer();
        assert!(matches!(answer, Heard::Refusal(SUBMIT, code) if code == error.code()), "{error:?}: {answer:?}");
    }

    /// The newest job.
    fn job(&self) -> &Notify {
        self.job.as_ref().expect("there is one")
    }

    /// A share of the newest job, by the client.
    fn share(&mut self, nonce: u32) -> Submit {
        let zeros = Extranonce::try_from(vec![0; self.extranonce2_size]).expect("it is short");
        let (time, bits) = (self.job().time.0, Some(HexU32Be(ROLLED)));
        let share = self.submit(None, SUBMIT, self.name.clone(), zeros, time.into(), nonce.into(), bits);
        let Message::StandardRequest(request) = share.expect("the client takes it") else { panic!("not a request") };
        request.try_into().expect("the client reads its own")
    }

    /// The header that a share stands for, put together by Bitcoin's library.
    fn header(&self, share: &Submit) -> Header {
        let job = self.job();
        let parts = [
            Vec::from(job.coin_base1.clone()),
            Vec::from(self.extranonce1.clone().expect("it is subscribed")),
            Vec::from(share.extra_nonce2.clone()),
            Vec::from(job.coin_base2.clone()),
        ];
        let coinbase = sha256d::Hash::hash(&parts.concat());
        let root = job.merkle_branch.iter().fold(coinbase, |left, right| {
            sha256d::Hash::hash(&[&left.as_byte_array()[..], &Vec::from(right.clone())].concat())
        });
        let parent: &[u8] = job.prev_hash.as_ref();
        Header {
            version: Version::from_consensus((job.version.0 & !MASK | ROLLED).cast_signed()),
            prev_blockhash: BlockHash::from_slice(parent).expect("it has 32 bytes"),
            merkle_root: TxMerkleNode::from_byte_array(root.to_byte_array()),
            time: share.time.0,
            bits: CompactTarget::from_consensus(job.bits.0),
            nonce: share.nonce.0,
        }
    }

    /// The first share whose hash is as asked.
    fn search(&mut self, is_right: impl Fn(&Self, &Header) -> bool) -> (Submit, BlockHash) {
        let mut share = self.share(0);
        let mut header = self.header(&share);
        while !is_right(self, &header) {
            header.nonce = header.nonce.checked_add(1).expect("there is one");
        }
        share.nonce = HexU32Be(header.nonce);
        (share, header.block_hash())
    }

    /// What the hash of a share must not exceed.
    fn share_target(&self) -> Target {
        let difficulty = self.difficulty.expect("the node has set it");
        // A power of two, no more than 1 on a test network.
        let shift = (1.0 / difficulty).log2().round();
        let mut bytes = Target::MAX.to_be_bytes();
        for _ in 0..shift as u32 {
            for place in 0..bytes.len() {
                let next = bytes.get(place + 1).map_or(0, |byte| byte >> 7);
                bytes[place] = bytes[place] << 1 | next;
            }
        }
        Target::from_be_bytes(bytes)
    }
}

/// Mines a block as the client does it, and has each error of the protocol.
///
/// # Panics
/// If a line is not as the client reads it, or an answer is none that a miner expects.
pub fn run(network: &Network) {
    let node = start(network);
    let mut miner = Miner::connect(&node, format!("{}.rig", network.address()));

    let configure = miner.configure(None, CONFIGURE).expect("the client asks");
    miner.send(configure);
    let answer = miner.answer();
    assert!(matches!(answer, Heard::Answer(Server2ClientResponse::Configure(_))), "{answer:?}");
    assert_eq!(miner.mask, Some(HexU32Be(MASK)));
    let answer = miner.answer();
    assert!(matches!(answer, Heard::Answer(Server2ClientResponse::Subscribe(_))), "{answer:?}");
    assert_eq!(miner.extranonce2_size, 4);

    // The client has no way to say how hard.
    let method = "mining.suggest_difficulty".to_owned();
    miner.send(StandardRequest { id: SUGGEST, method, params: json!([0.001]) });
    let answer = miner.answer();
    assert!(matches!(answer, Heard::Answer(Server2ClientResponse::Submit(given)) if given.is_ok()), "suggestion");
    miner.send(ExtranonceSubscribe { id: EXTRANONCE });
    let answer = miner.answer();
    assert!(
        matches!(answer, Heard::Answer(Server2ClientResponse::ExtranonceSubscribe(given)) if given.is_ok()),
        "extra nonce"
    );

    let stranger = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4".to_owned();
    for (name, may) in [(stranger, false), (miner.name.clone(), true)] {
        let authorize = miner.authorize(None, AUTHORIZE, name, "x".to_owned()).expect("the client asks");
        miner.send(authorize);
        match miner.answer() {
            Heard::Answer(Server2ClientResponse::Authorize(given)) => assert!(may && given.is_ok()),
            Heard::Refusal(AUTHORIZE, code) => assert!(!may && code == SubmitError::UnauthorizedWorker.code()),
            other => panic!("{other:?}"),
        }
    }
    while miner.job.is_none() {
        miner.hear();
    }
    assert_eq!(miner.job().merkle_branch.len(), 1, "the payment");

    let is_block = |header: &Header| header.target().is_met_by(header.block_hash());
    let (miss, _) = miner.search(|miner, header| !miner.share_target().is_met_by(header.block_hash()));
    miner.is_refused(miss, SubmitError::LowDifficultyShare);
    let (mut odd, _) = miner.search(|_, _| true);
    odd.extra_nonce2 = Extranonce::try_from(vec![0; 3]).expect("it is short");
    miner.is_refused(odd, SubmitError::Other);
    let (share, _) =
        miner.search(|miner, header| miner.share_target().is_met_by(header.block_hash()) && !is_block(header));
    miner.send(share.clone());
    let answer = miner.answer();
    assert!(matches!(answer, Heard::Answer(Server2ClientResponse::Submit(given)) if given.is_ok()), "a share");
    miner.is_refused(share, SubmitError::DuplicateShare);

    let (block, hash) = miner.search(|_, header| is_block(header));
    miner.send(block.clone());
    let answer = miner.answer();
    assert!(matches!(answer, Heard::Answer(Server2ClientResponse::Submit(given)) if given.is_ok()), "the block");
    let dir = network.path("miners").display().to_string();
    assert_eq!(network.run(&["rpc", "getbestblockhash", "--data-dir", &dir]), hash.to_string());
    while !AsRef::<[u8]>::as_ref(&miner.job().prev_hash).eq(hash.as_byte_array()) {
        miner.hear();
    }
    assert!(miner.job().clean_jobs);
    miner.is_refused(block.clone(), SubmitError::JobNotFound);
    Miner::connect(&node, miner.name.clone()).is_refused(block, SubmitError::NotSubscribed);
}

/// What the client has a program keep for it.
impl IsClient for Miner {
    type Error = Error;

    fn handle_error_message(&mut self, _: Option<usize>, message: Message) -> Result<Option<Message>, Error> {
        if let Message::ErrorResponse(response) = message {
            self.error = response.error.map(|error| (response.id, error.code));
        }
        Ok(None)
    }

    fn id_is_authorize(&mut self, _: Option<usize>, id: &u64) -> Result<Option<String>, Error> {
        Ok((*id == AUTHORIZE).then(|| self.name.clone()))
    }

    /// The client takes for a share's answer what is none of the others, and refuses what this claims.
    fn id_is_submit(&mut self, _: Option<usize>, _: &u64) -> Result<bool, Error> {
        Ok(false)
    }

    fn id_is_extranonce_subscribe(&mut self, _: Option<usize>, id: &u64) -> Result<bool, Error> {
        Ok(*id == EXTRANONCE)
    }

    fn handle_notify(&mut self, _: Option<usize>, notify: Notify) -> Result<(), Error> {
        self.job = Some(notify);
        Ok(())
    }

    fn handle_configure(&mut self, _: Option<usize>, _: &mut Configure) -> Result<(), Error> {
        Ok(())
    }

    fn handle_set_difficulty(&mut self, _: Option<usize>, set: &mut SetDifficulty) -> Result<(), Error> {
        self.difficulty = Some(set.value);
        Ok(())
    }

    fn handle_set_extranonce(&mut self, _: Option<usize>, set: &mut SetExtranonce) -> Result<(), Error> {
        Err(Error::UnexpectedMessage(set.to_string()))
    }

    fn handle_set_version_mask(&mut self, _: Option<usize>, set: &mut SetVersionMask) -> Result<(), Error> {
        Err(Error::UnexpectedMessage(set.to_string()))
    }

    fn handle_subscribe(&mut self, _: Option<usize>, _: &Subscribe) -> Result<(), Error> {
        Ok(())
    }

    fn set_extranonce1(&mut self, _: Option<usize>, extranonce1: Extranonce) -> Result<(), Error> {
        self.extranonce1 = Some(extranonce1);
        Ok(())
    }

    fn extranonce1(&self, _: Option<usize>) -> Result<Extranonce, Error> {
        self.extranonce1.clone().ok_or_else(|| Error::IncorrectClientStatus("not subscribed".to_owned()))
    }

    fn set_extranonce2_size(&mut self, _: Option<usize>, size: usize) -> Result<(), Error> {
        self.extranonce2_size = size;
        Ok(())
    }

    fn extranonce2_size(&self, _: Option<usize>) -> Result<usize, Error> {
        Ok(self.extranonce2_size)
    }

    fn version_rolling_mask(&self, _: Option<usize>) -> Result<Option<HexU32Be>, Error> {
        Ok(self.mask.clone())
    }

    fn set_version_rolling_mask(&mut self, _: Option<usize>, mask: Option<HexU32Be>) -> Result<(), Error> {
        self.mask = mask;
        Ok(())
    }

    fn set_version_rolling_min_bit(&mut self, _: Option<usize>, min_bits: Option<HexU32Be>) -> Result<(), Error> {
        self.min_bits = min_bits;
        Ok(())
    }

    fn version_rolling_min_bit(&mut self, _: Option<usize>) -> Result<Option<HexU32Be>, Error> {
        Ok(self.min_bits.clone())
    }

    fn set_status(&mut self, _: Option<usize>, status: ClientStatus) -> Result<(), Error> {
        self.status = status;
        Ok(())
    }

    fn signature(&self, _: Option<usize>) -> Result<String, Error> {
        Ok("rig/1.0".to_owned())
    }

    fn status(&self, _: Option<usize>) -> Result<ClientStatus, Error> {
        Ok(self.status)
    }

    fn last_notify(&self, _: Option<usize>) -> Result<Option<Notify>, Error> {
        Ok(self.job.clone())
    }

    fn is_authorized(&self, _: Option<usize>, name: &String) -> Result<bool, Error> {
        Ok(self.authorized.as_ref() == Some(name))
    }

    fn authorize_user_name(&mut self, _: Option<usize>, name: String) -> Result<(), Error> {
        self.authorized = Some(name);
        Ok(())
    }
}
