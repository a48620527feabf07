//! Byzantine peers: they follow the protocol only as far as their attack needs. None of them mines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha20Rng;
use serde::Serialize;

use super::Script;
use crate::consensus::params::Params;
use crate::p2p::compact::{CompactBlock, Prefilled, ShortId};
use crate::p2p::kad::{Contact, K};
use crate::p2p::message::{Hello, Item, MAX_HEADERS, Message, SERVICE_FULL, TipClaim};
use crate::p2p::sync::MAX_ANNOUNCED;
use crate::p2p::{Direction, Input, Now, Output, PeerAddr, PeerId};
use crate::primitives::block::Block;
use crate::primitives::hash::{BlockHash, MerkleRoot, Txid};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::target::Bits;
use crate::primitives::tx::Transaction;

/// Time between two rounds of dialling and of unsolicited messages.
const TURN: Duration = Duration::from_secs(5);
/// How many connections to others it wants.
const DIALS: usize = 16;
/// Most dials in a round.
const DIALS_PER_ROUND: usize = 4;
/// The fraction of a garbler's messages in which a bit is flipped.
pub(super) const GARBLED: f64 = 0.02;
/// Transactions that do not exist in a hollow block.
const HOLLOW: usize = 20;
/// Transactions that do not exist, announced to each peer in a turn.
const SPAM: usize = 500;

/// What byzantine peers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Attack {
    /// Announce every block as soon as it is heard of, and never deliver it.
    Withhold,
    /// The same with compact blocks: send short ids of transactions that do not exist.
    Hollow,
    /// Send malformed frames, bad headers, blocks and transactions.
    Garbage,
    /// Offer a valid chain of headers from genesis that has less work.
    Stale,
    /// Announce transactions that do not exist.
    Spam,
    /// Occupy the connections of one node, name no other nodes to it, and announce no blocks.
    Eclipse,
}

impl Attack {
    /// Every attack, in the order of the command's help.
    pub const ALL: [Self; 6] = [Self::Withhold, Self::Hollow, Self::Garbage, Self::Stale, Self::Spam, Self::Eclipse];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Withhold => "withhold",
            Self::Hollow => "hollow",
            Self::Garbage => "garbage",
            Self::Stale => "stale",
            Self::Spam => "spam",
            Self::Eclipse => "eclipse",
        }
    }
}

/// The stage of a connection's handshake.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Inbound; the other side says hello first.
    Dialled,
    /// Hello was said and is to be answered.
    Greeted,
    /// Both have said hello.
    Ready,
}

/// A peer that attacks its neighbours in one way.
struct Byzantine {
    attack: Attack,
    params: Arc<Params>,
    rng: ChaCha20Rng,
    /// Addresses of the honest nodes to dial.
    targets: Vec<PeerAddr>,
    /// All colluding peers, itself included.
    colluders: Vec<Contact>,
    hello: Hello,
    /// Connections.
    peers: BTreeMap<PeerId, State>,
    /// Headers after genesis: those heard of, or its own.
    headers: Vec<Header>,
    /// Greatest height claimed by any peer.
    height: Height,
}

/// A peer that dials `targets` and performs `attack` on them. It listens at a node's port and colludes with `colluders`.
pub(super) fn script(
    attack: Attack,
    params: Arc<Params>,
    targets: Vec<PeerAddr>,
    colluders: Vec<Contact>,
    rng: ChaCha20Rng,
) -> Script {
    let work = Bits(0x0300_0001).target().map(|target| target.work()).unwrap_or_default();
    // A withholding or stalling peer claims the most work, to be asked first.
    let claims_most = matches!(attack, Attack::Withhold | Attack::Hollow | Attack::Garbage | Attack::Stale);
    let tip = TipClaim {
        height: if claims_most { Height::from_u32(1_000_000) } else { Height::GENESIS },
        hash: params.genesis_hash,
        work: if claims_most { work } else { params.genesis_target.work() },
    };
    let hello = Hello {
        tip,
        listens: vec![PeerAddr::tcp_port(super::PORT)],
        user_agent: "/byzantine/".to_owned(),
        ..Hello::new(params.genesis_hash, SERVICE_FULL)
    };
    let (peers, headers) = (BTreeMap::new(), Vec::new());
    let mut peer =
        Byzantine { attack, params, rng, targets, colluders, hello, peers, headers, height: Height::GENESIS };
    Box::new(move |now, input| peer.handle(now, input))
}

impl Byzantine {
    fn handle(&mut self, now: Now, input: Input) -> Vec<Output> {
        match input {
            Input::Tick => self.turn(now),
            Input::Connected { peer, direction, .. } => {
                let outbound = direction == Direction::Outbound;
                self.peers.insert(peer, if outbound { State::Greeted } else { State::Dialled });
                if outbound { vec![self.greeting(peer)] } else { Vec::new() }
            }
            Input::Disconnected { peer } => {
                self.peers.remove(&peer);
                Vec::new()
            }
            Input::Received { peer, message: Message::Ping(nonce), .. } => vec![send(peer, Message::Pong(nonce))],
            Input::Received { peer, message, .. } => self.received(peer, message),
            Input::Transactions { .. }
            | Input::Delayed { .. }
            | Input::ConnectFailed { .. }
            | Input::Malformed { .. }
            | Input::Flushed { .. }
            | Input::Stop => Vec::new(),
        }
    }

    fn greeting(&self, peer: PeerId) -> Output {
        send(peer, Message::Hello(self.hello.clone()))
    }

    fn turn(&mut self, now: Now) -> Vec<Output> {
        let mut outputs = vec![Output::WakeAt { at: now.mono + TURN }];
        let wanted = DIALS.saturating_sub(self.peers.len()).min(DIALS_PER_ROUND);
        for _ in 0..wanted {
            outputs.extend(
                self.targets.choose(&mut self.rng).map(|address| Output::Connect { address: *address, id: None }),
            );
        }
        for peer in self.ready() {
            outputs.extend(self.unsolicited().into_iter().map(|message| send(peer, message)));
        }
        outputs
    }

    fn ready(&self) -> Vec<PeerId> {
        self.peers.iter().filter(|(_, state)| **state == State::Ready).map(|(peer, _)| *peer).collect()
    }

    fn received(&mut self, peer: PeerId, message: Message) -> Vec<Output> {
        let mut outputs = Vec::new();
        match message {
            Message::Hello(hello) => {
                if self.peers.insert(peer, State::Ready) == Some(State::Dialled) {
                    outputs.push(self.greeting(peer));
                }
                self.height = self.height.max(hello.tip.height);
                let locator = vec![self.params.genesis_hash];
                let ask = matches!(self.attack, Attack::Withhold | Attack::Hollow | Attack::Garbage);
                outputs.extend(ask.then(|| send(peer, Message::GetHeaders { locator, stop: BlockHash::ZERO })));
                outputs.extend(self.unsolicited().into_iter().map(|message| send(peer, message)));
            }
            Message::FindNode { .. } => outputs.push(send(peer, Message::Nodes(self.some_colluders()))),
            Message::Headers(headers) => {
                let news = self.learn(&headers);
                let announces = matches!(self.attack, Attack::Withhold | Attack::Hollow);
                if announces && !news.is_empty() && news.len() <= MAX_ANNOUNCED {
                    let others = self.ready().into_iter().filter(|other| *other != peer);
                    outputs.extend(others.map(|other| send(other, Message::Headers(news.clone()))));
                }
            }
            Message::GetData(items) if self.attack == Attack::Hollow => {
                let hollow: Vec<Message> = items.iter().filter_map(|item| self.hollow(item)).collect();
                outputs.extend(hollow.into_iter().map(|message| send(peer, message)));
            }
            Message::GetHeaders { locator, .. } => outputs.extend(self.headers_after(&locator).map(|m| send(peer, m))),
            Message::GetData(items) if self.attack == Attack::Garbage => {
                let wanted = items.iter().filter_map(|item| self.bad_body(item));
                outputs.extend(wanted.map(|message| send(peer, message)));
            }
            _ => {}
        }
        outputs
    }

    /// Keeps the headers of the longest chain heard of; returns the new ones.
    fn learn(&mut self, headers: &[Header]) -> Vec<Header> {
        if !matches!(self.attack, Attack::Withhold | Attack::Hollow | Attack::Garbage) {
            return Vec::new();
        }
        let Some(first) = headers.first() else { return Vec::new() };
        let Some(start) = self.place_after(&first.previous) else { return Vec::new() };
        if start + headers.len() <= self.headers.len() {
            return Vec::new();
        }
        let known = self.headers[start..].iter().zip(headers).take_while(|(a, b)| a == b).count();
        self.headers.truncate(start + known);
        self.headers.extend(&headers[known..]);
        headers[known..].to_vec()
    }

    /// The place of the header whose parent has this hash.
    fn place_after(&self, hash: &BlockHash) -> Option<usize> {
        if *hash == self.params.genesis_hash {
            return Some(0);
        }
        self.headers.iter().rposition(|header| header.hash() == *hash).map(|at| at + 1)
    }

    fn headers_after(&mut self, locator: &[BlockHash]) -> Option<Message> {
        match self.attack {
            // Its own header on the best chain: a node that accepts it requests the block.
            Attack::Garbage => self.bad_header().map(|header| Message::Headers(vec![header])),
            Attack::Spam | Attack::Eclipse => Some(Message::Headers(Vec::new())),
            Attack::Withhold | Attack::Hollow | Attack::Stale => {
                let start = locator.iter().find_map(|hash| self.place_after(hash)).unwrap_or(0);
                Some(Message::Headers(self.headers[start..].iter().take(MAX_HEADERS).copied().collect()))
            }
        }
    }

    /// Unsolicited messages to a peer, after the handshake and in every round.
    fn unsolicited(&mut self) -> Vec<Message> {
        let genesis = self.params.genesis.header;
        match self.attack {
            Attack::Withhold | Attack::Hollow => Vec::new(),
            Attack::Garbage => match self.rng.random_range(0..5) {
                // Work that was not done.
                0 => {
                    let mut header = self.bad_header().unwrap_or(genesis);
                    while self.params.genesis_target.is_met_by(&header.hash()) {
                        header.nonce = header.nonce.wrapping_add(1);
                    }
                    vec![Message::Headers(vec![header])]
                }
                // No chain.
                1 => vec![Message::Headers(vec![genesis, Header { previous: BlockHash::ZERO, ..genesis }])],
                // A transaction from nothing, pushed as if it were news.
                2 => vec![Message::Transaction(Arc::new(forged(&mut self.rng)))],
                // A body without transactions.
                3 => {
                    let header = self.bad_header().unwrap_or(genesis);
                    vec![Message::Block(Arc::new(Block { header, transactions: Vec::new() }))]
                }
                _ => self.bad_header().map(|header| Message::Headers(vec![header])).into_iter().collect(),
            },
            Attack::Stale => {
                self.lengthen();
                let last = self.headers.len().saturating_sub(MAX_ANNOUNCED);
                vec![Message::Headers(self.headers[last..].to_vec())]
            }
            Attack::Spam => {
                let nothing = |rng: &mut ChaCha20Rng| Item::Transaction(Txid::from_bytes(rng.random()));
                vec![Message::Inventory((0..SPAM).map(|_| nothing(&mut self.rng)).collect())]
            }
            // It only answers.
            Attack::Eclipse => Vec::new(),
        }
    }

    /// Some of the colluding peers.
    fn some_colluders(&mut self) -> Vec<Contact> {
        self.colluders.shuffle(&mut self.rng);
        self.colluders.iter().copied().take(K).collect()
    }

    /// A header on the best chain known, good but for its block.
    fn bad_header(&self) -> Option<Header> {
        let parent = self.headers.last().copied().unwrap_or(self.params.genesis.header);
        self.mined(&parent, MerkleRoot::of(b"there is no such block"))
    }

    fn mined(&self, parent: &Header, merkle_root: MerkleRoot) -> Option<Header> {
        let (previous, time) = (parent.hash(), parent.time.checked_add(1)?);
        let mut header = Header { version: 1, previous, merkle_root, time, bits: self.params.bits, nonce: 0 };
        while !self.params.genesis_target.is_met_by(&header.hash()) {
            header.nonce = header.nonce.checked_add(1)?;
        }
        Some(header)
    }

    /// A chain half as long as the longest claimed.
    fn lengthen(&mut self) {
        while self.headers.len() < 1 + self.height.as_usize() / 2 {
            let parent = self.headers.last().copied().unwrap_or(self.params.genesis.header);
            let root = MerkleRoot::from_bytes(self.rng.random());
            match self.mined(&parent, root) {
                Some(header) => self.headers.push(header),
                None => return,
            }
        }
    }

    /// A compact block with a true header. The coinbase of genesis stands in for the block's until the transactions are
    /// requested.
    fn hollow(&mut self, item: &Item) -> Option<Message> {
        let Item::CompactBlock(hash) = item else { return None };
        let header = *self.headers.iter().rfind(|header| header.hash() == *hash)?;
        let short_ids = (0..HOLLOW).map(|_| ShortId(self.rng.random())).collect();
        let transaction = Arc::new(self.params.genesis.transactions[0].clone());
        let prefilled = vec![Prefilled { index: 0, transaction }];
        Some(Message::CompactBlock(Arc::new(CompactBlock { header, nonce: 0, short_ids, prefilled })))
    }

    /// Delivers what it announced: a body that is not its header's.
    fn bad_body(&self, item: &Item) -> Option<Message> {
        let header = self.bad_header().filter(|header| {
            let hash = header.hash();
            [Item::Block(hash), Item::CompactBlock(hash)].contains(item)
        })?;
        let transactions = self.params.genesis.transactions.clone();
        Some(Message::Block(Arc::new(Block { header, transactions })))
    }
}

fn send(peer: PeerId, message: Message) -> Output {
    Output::Send { peer, frame: message.into() }
}

/// A transaction without inputs.
fn forged(rng: &mut ChaCha20Rng) -> Transaction {
    Transaction {
        version: rng.random_range(1..10),
        inputs: Vec::new(),
        outputs: Vec::new(),
        lock_height: Height::from_u32(rng.random()),
    }
}
