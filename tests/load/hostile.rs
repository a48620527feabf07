//! Two hundred hostile connections attack a real node at once, each in its own way, and reconnect as soon as they are
//! disconnected: the node keeps mining, honest peers keep syncing, and its memory stays below a bound.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::process::{Node, Place, spec, wait_for};
use cairn::consensus::params::Params;
use cairn::p2p::frame;
use cairn::p2p::kad::{Contact, K, NodeId};
use cairn::p2p::message::{Hello, Item, Kind, MAX_INVENTORY, Message, SERVICE_FULL, TipClaim};
use cairn::p2p::noise::{HANDSHAKE_BYTES, Identity, MAX_RECORD, MESSAGE_BYTES, Session};
use cairn::primitives::amount::Amount;
use cairn::primitives::block::Block;
use cairn::primitives::hash::{BlockHash, Hash256, MerkleRoot, Txid};
use cairn::primitives::height::Height;
use cairn::primitives::keys::{SecretKey, Signature};
use cairn::primitives::target::{Bits, Work};
use cairn::primitives::tx::{Input, OutPoint, Output, Transaction};
use cairn::runtime::noise;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Hostile connections open, or being opened, at any time.
const HOSTILE: usize = 200;
/// Bits that take some 260,000 hashes: blocks come every few tenths of a second.
const QUICK: u32 = 0x1e3f_ffff;
/// Blocks before the attack.
const BEFORE: u32 = 150;
/// Blocks that must arrive during the attack.
const DURING: u64 = 60;
/// Most memory that a node under attack may use, in bytes: see "Memory under attack" in docs/threat-model.md.
const MEMORY_BOUND: u64 = 256 << 20;
/// Time between two messages of a flooding connection, so that this test leaves the node a processor to defend itself
/// with.
const PACE: Duration = Duration::from_millis(20);

/// The behaviour of a hostile connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mischief {
    /// Says nothing at all.
    Silence,
    /// Begins the handshake and stops.
    HalfAHandshake,
    /// Sends the handshake a byte at a time.
    SlowHandshake,
    /// Sends random bytes instead of a handshake.
    NoHandshake,
    /// Sends the node's own handshake message back as the third.
    Replay,
    /// Says nothing after the handshake.
    NoHello,
    /// Begins a record and stops.
    HalfARecord,
    /// Sends a record that does not decrypt.
    ForgedRecord,
    /// Sends a frame a byte at a time.
    SlowFrame,
    /// Sends all but the last byte of the longest frame allowed.
    NearlyAFrame,
    /// Sends the longest frame allowed, with a meaningless payload.
    LongestFrame,
    /// Announces a longer frame than allowed.
    TooLongAFrame,
    /// Sends frames of unknown kinds for ever.
    UnknownFrames,
    /// Announces transactions that do not exist.
    Inventory,
    /// Sends unrequested nodes without end.
    Nodes,
    /// Pushes transactions whose parents do not exist.
    Orphans,
    /// Sends unrequested blocks.
    Blocks,
    /// Asks for everything, and reads nothing.
    Greed,
    /// Asks for the nodes nearest to any id, again and again.
    Lookups,
    /// Claims more work than any node has, and never proves it.
    Boast,
}

impl Mischief {
    const ALL: [Self; 20] = [
        Self::Silence,
        Self::HalfAHandshake,
        Self::SlowHandshake,
        Self::NoHandshake,
        Self::Replay,
        Self::NoHello,
        Self::HalfARecord,
        Self::ForgedRecord,
        Self::SlowFrame,
        Self::NearlyAFrame,
        Self::LongestFrame,
        Self::TooLongAFrame,
        Self::UnknownFrames,
        Self::Inventory,
        Self::Nodes,
        Self::Orphans,
        Self::Blocks,
        Self::Greed,
        Self::Lookups,
        Self::Boast,
    ];
}

/// A hostile peer.
struct Attacker {
    victim: SocketAddr,
    params: Arc<Params>,
    mischief: Mischief,
    /// Randomness for content that must look random.
    counter: u64,
    /// Connections made by all of them.
    made: Arc<AtomicU64>,
}

type Outcome = std::io::Result<()>;

impl Attacker {
    fn random(&mut self) -> [u8; 32] {
        self.counter += 1;
        Hash256::of(&self.counter.to_le_bytes()).to_bytes()
    }

    /// Connects again and again, and ignores all errors: the node is expected to close connections.
    async fn run(mut self) {
        loop {
            if let Ok(mut stream) = TcpStream::connect(self.victim).await {
                self.made.fetch_add(1, Ordering::Relaxed);
                let _ = self.annoy(&mut stream).await;
            }
            tokio::time::sleep(PACE).await;
        }
    }

    async fn annoy(&mut self, stream: &mut TcpStream) -> Outcome {
        let mut garbage = vec![0; MAX_RECORD];
        garbage.chunks_mut(32).for_each(|chunk| chunk.copy_from_slice(&self.random()[..chunk.len()]));
        match self.mischief {
            Mischief::Silence => {}
            Mischief::HalfAHandshake => stream.write_all(&garbage[..MESSAGE_BYTES[0] / 2]).await?,
            Mischief::SlowHandshake => drip(stream, &garbage[..HANDSHAKE_BYTES]).await?,
            Mischief::NoHandshake => stream.write_all(&garbage).await?,
            Mischief::Replay => {
                // Any 32 bytes pass for an ephemeral key; without its secret, the answer cannot be decrypted.
                stream.write_all(&garbage[..MESSAGE_BYTES[0]]).await?;
                let mut answer = [0; MESSAGE_BYTES[1]];
                stream.read_exact(&mut answer).await?;
                stream.write_all(&answer[..MESSAGE_BYTES[2]]).await?;
            }
            mischief => {
                let own = Identity::from_secret(rand::random());
                let session = noise::initiate(stream, &own, None).await.map_err(std::io::Error::other)?;
                return self.annoy_behind_handshake(stream, session, mischief, &garbage).await;
            }
        }
        until_closed(stream).await
    }

    async fn annoy_behind_handshake(
        &mut self,
        stream: &mut TcpStream,
        mut session: Session,
        mischief: Mischief,
        garbage: &[u8],
    ) -> Outcome {
        match mischief {
            Mischief::NoHello => return until_closed(stream).await,
            Mischief::HalfARecord => {
                stream.write_all(&(MAX_RECORD as u16).to_le_bytes()).await?;
                stream.write_all(&garbage[..MAX_RECORD / 2]).await?;
                return until_closed(stream).await;
            }
            Mischief::ForgedRecord => {
                stream.write_all(&(MAX_RECORD as u16).to_le_bytes()).await?;
                stream.write_all(garbage).await?;
                return until_closed(stream).await;
            }
            _ => {}
        }
        self.say(stream, &mut session, &Message::Hello(self.hello())).await?;
        let max = Kind::Block.max_payload(self.params.max_block_bytes as usize);
        match mischief {
            Mischief::SlowFrame => {
                let ping = frame::encode(&Message::Ping(1));
                for byte in ping.chunks(1) {
                    send(stream, &mut session, byte).await?;
                    tokio::time::sleep(50 * PACE).await;
                }
            }
            Mischief::NearlyAFrame | Mischief::LongestFrame | Mischief::TooLongAFrame => {
                let payload = if mischief == Mischief::TooLongAFrame { max + 1 } else { max };
                let mut bytes = (payload as u32 + 1).to_le_bytes().to_vec();
                bytes.push(Kind::Block as u8);
                bytes.resize(frame::HEADER_BYTES + max, 0xff);
                if mischief == Mischief::NearlyAFrame {
                    bytes.pop();
                }
                send(stream, &mut session, &bytes).await?;
            }
            _ => return self.flood(stream, session, mischief, garbage).await,
        }
        until_closed(stream).await
    }

    /// The messages sent until the connection is closed.
    async fn flood(
        &mut self,
        stream: &mut TcpStream,
        mut session: Session,
        mischief: Mischief,
        garbage: &[u8],
    ) -> Outcome {
        loop {
            match mischief {
                Mischief::UnknownFrames => {
                    let mut bytes = (garbage.len() as u32 + 1).to_le_bytes().to_vec();
                    bytes.push(0xee);
                    bytes.extend(garbage);
                    send(stream, &mut session, &bytes).await?;
                }
                Mischief::Inventory => {
                    let items =
                        (0..MAX_INVENTORY).map(|_| Item::Transaction(Txid::from_bytes(self.random()))).collect();
                    self.say(stream, &mut session, &Message::Inventory(items)).await?;
                }
                Mischief::Nodes => {
                    let made_up = |bytes: [u8; 32]| Contact {
                        id: NodeId(bytes),
                        address: ([11, bytes[0], bytes[1], bytes[2]], 7331).into(),
                    };
                    let nodes = (0..K).map(|_| made_up(self.random())).collect();
                    self.say(stream, &mut session, &Message::Nodes(nodes)).await?;
                }
                Mischief::Orphans => {
                    let orphan = self.orphan();
                    self.say(stream, &mut session, &Message::Transaction(Arc::new(orphan))).await?;
                }
                Mischief::Blocks => {
                    let mut header = self.params.genesis.header;
                    header.previous = self.params.genesis_hash;
                    header.merkle_root = MerkleRoot::from_bytes(self.random());
                    let block = Block { header, transactions: vec![self.orphan()] };
                    self.say(stream, &mut session, &Message::Block(Arc::new(block))).await?;
                }
                Mischief::Greed => {
                    let items = vec![Item::Block(self.params.genesis_hash); MAX_INVENTORY];
                    self.say(stream, &mut session, &Message::GetData(items)).await?;
                    let locator = vec![self.params.genesis_hash];
                    self.say(stream, &mut session, &Message::GetHeaders { locator, stop: BlockHash::ZERO }).await?;
                }
                Mischief::Lookups => {
                    let target = NodeId(self.random());
                    self.say(stream, &mut session, &Message::FindNode { target }).await?;
                }
                // Only the hello.
                _ => return until_closed(stream).await,
            }
            tokio::time::sleep(PACE).await;
        }
    }

    fn hello(&self) -> Hello {
        let is_boast = self.mischief == Mischief::Boast;
        let work = if is_boast { Bits(0x0300_0001).target().unwrap().work() } else { Work::ZERO };
        let tip = TipClaim { height: Height::from_u32(1_000_000), hash: BlockHash::of(b"far ahead"), work };
        let user_agent = "/hostile/".to_owned();
        Hello { tip, user_agent, ..Hello::new(self.params.genesis_hash, SERVICE_FULL) }
    }

    /// As long as an orphan may be, and spends a coin that does not exist.
    fn orphan(&mut self) -> Transaction {
        let input = |bytes| Input {
            outpoint: OutPoint { txid: Txid::from_bytes(bytes), index: 0 },
            signature: Signature::EMPTY,
        };
        let to = SecretKey::from_seed(self.random()).public_key();
        let inputs = (0..90).map(|_| input(self.random())).collect();
        Transaction {
            version: 1,
            inputs,
            outputs: vec![Output::pay(to, Amount::from_grains(1))],
            lock_height: Height::GENESIS,
        }
    }

    async fn say(&self, stream: &mut TcpStream, session: &mut Session, message: &Message) -> Outcome {
        send(stream, session, &frame::encode(message)).await
    }
}

async fn send(stream: &mut TcpStream, session: &mut Session, bytes: &[u8]) -> Outcome {
    let mut records = Vec::new();
    session.sealer.seal(bytes, &mut records).map_err(std::io::Error::other)?;
    stream.write_all(&records).await
}

/// A byte at a time.
async fn drip(stream: &mut TcpStream, bytes: &[u8]) -> Outcome {
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        tokio::time::sleep(10 * PACE).await;
    }
    Ok(())
}

/// Keeps the connection until the victim closes it, and ignores what it sends.
async fn until_closed(stream: &mut TcpStream) -> Outcome {
    let mut buffer = vec![0; 64 << 10];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Mines so many blocks, however many hashes that takes.
fn mine(node: &Node, blocks: u32, address: &str) {
    let tries = u64::from(blocks) * 100 * 260_000;
    let hashes = node.call("generatetoaddress", &[blocks.into(), address.into(), tries.into()]);
    assert_eq!(hashes.as_array().unwrap().len(), blocks as usize);
}

#[test]
fn two_hundred_hostile_connections() {
    let _alone = crate::alone();
    let place = Place::new();
    let miner = place.wallet("miner");
    let spec = spec(QUICK, &[]);
    place.found(&spec);
    let params = Arc::new(Params::new(spec).unwrap());

    // The victim dials one honest node; another will dial the victim during the attack.
    let dialled = place.node("dialled", &[]);
    mine(&dialled, BEFORE, &miner);
    let victim = place.node("victim", &["--connect", &dialled.peer_address()]);
    wait_for("the victim to sync before the attack", || (victim.tip() == dialled.tip()).then_some(()));
    let calm = victim.memory();

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let made = Arc::<AtomicU64>::default();
    for number in 0..HOSTILE {
        let attacker = Attacker {
            victim: victim.peer_address().parse().unwrap(),
            params: params.clone(),
            mischief: Mischief::ALL[number % Mischief::ALL.len()],
            counter: (number as u64) << 40,
            made: made.clone(),
        };
        runtime.spawn(attacker.run());
    }
    wait_for("the attack to be under way", || (made.load(Ordering::Relaxed) >= 2 * HOSTILE as u64).then_some(()));

    // It mines.
    victim.call("setgenerate", &[true.into(), 1.into(), miner.as_str().into()]);
    // A new node joins through the victim and gets all blocks.
    let newcomer = place.node("newcomer", &["--connect", &victim.peer_address()]);
    let attacks = 15 * HOSTILE as u64;
    wait_for("the attack to go on for long", || (made.load(Ordering::Relaxed) >= attacks).then_some(()));
    wait_for("blocks to be mined under attack", || (victim.tip().0 >= u64::from(BEFORE) + DURING).then_some(()));
    victim.call("setgenerate", &[false.into()]);
    let tip = victim.tip();
    wait_for("the newcomer to sync through the victim", || (newcomer.tip() == tip).then_some(()));
    wait_for("the node it dialled to follow", || (dialled.tip() == tip).then_some(()));
    // And the victim receives the blocks that others mine.
    mine(&dialled, 1, &miner);
    wait_for("the victim to follow", || (victim.tip() == dialled.tip()).then_some(()));
    wait_for("the newcomer to follow", || (newcomer.tip() == dialled.tip()).then_some(()));

    let most = victim.memory_at_most();
    println!(
        "{} hostile connections; memory {} MB before, {} MB at most",
        made.load(Ordering::Relaxed),
        calm >> 20,
        most >> 20
    );
    assert!(most < MEMORY_BOUND, "{} MB", most >> 20);
    drop(runtime);
    wait_for("places to come free", || {
        let peers = victim.call("getpeerinfo", &[]);
        peers.as_array().unwrap().iter().all(|peer| peer["subver"] != "/hostile/").then_some(())
    });
    assert!(victim.terminate().success());
}
