//! What the fuzz targets share: a small honest network, an input read byte by byte, and where the first inputs of a corpus go.
//!
//! A target's input is a program of a few bytes an instruction, so that changing a byte changes one thing that happens.
//! No first input is kept in the repository: each target writes its own before it runs, from the tests' data and from what
//! honest nodes say.

use cairn::primitives::height::Height;
use std::fs;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use cairn::chain::Chain;
use cairn::consensus::params::{GenesisSpec, Params};
use cairn::mempool::{Limits, Mempool};
use cairn::miner::template;
use cairn::p2p::Now;
use cairn::p2p::chain_proofs::{ChainAnswer, ChainQuery};
use cairn::p2p::coins::{About, CoinAnswer, CoinProof, CoinQuery};
use cairn::p2p::compact::CompactBlock;
use cairn::p2p::kad::{Contact, NodeId};
use cairn::p2p::message::{Hello, Item, Message, SERVICE_FULL, TipClaim};
use cairn::p2p::proofs::{ProofQuery, Proofs, TxProof};
use cairn::p2p::signal::Signal;
use cairn::p2p::state::{RangeAnswer, RangePage, RangeQuery};
use cairn::p2p::wants::{ContentBlock, Have, Want};
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::block::Block;
use cairn::primitives::gcs::Filter;
use cairn::primitives::hash::{BlockHash, FilterHeader};
use cairn::primitives::merkle::{self, Branch};
use cairn::primitives::target::Work;
use cairn::primitives::time::{MonoTime, UnixTime};
use cairn::primitives::tx::{Output, Transaction};
use cairn::state::{KeyRange, StateId};
use cairn::storage::{MemoryStore, TxLocation};
pub use cairn_testkit::key;
use cairn_testkit::{funded, genesis_coin, public, spend};

/// Blocks of the honest chain after genesis.
pub const HEIGHT: u32 = 12;
/// The honest nodes' clock when all is mined, some minutes after genesis.
pub const UNIX: UnixTime = UnixTime::from_secs(1_767_226_000);

/// A network with instant blocks: every second hash has enough work. Keys 1 to 8 have 10 coins each in genesis.
pub fn params() -> &'static Arc<Params> {
    static PARAMS: LazyLock<Arc<Params>> = LazyLock::new(|| {
        let funded = funded(1..=8, 10 * COIN);
        let mut spec = GenesisSpec { coinbase_maturity: 3, max_block_bytes: 100_000, ..funded };
        assert!(spec.mine_nonce());
        Arc::new(Params::new(spec).expect("the parameters are valid"))
    });
    &PARAMS
}

/// Spends the coin of key `n` in genesis, less `fee`, to key 100 + `n`.
pub fn payment(n: u8, fee: u64) -> Transaction {
    let (outpoint, coin) = genesis_coin(params(), n);
    let outputs = vec![Output::pay(public(100 + n), Amount::from_grains(coin.output.value.as_grains() - fee))];
    spend(params(), &[(outpoint, coin, &key(n))], outputs)
}

/// A chain with nothing but genesis, in memory.
pub fn fresh_chain() -> Chain {
    Chain::open(params().clone(), Arc::new(MemoryStore::new())).expect("memory does not fail")
}

/// A mempool with nothing in it.
pub fn fresh_pool() -> Mempool {
    Mempool::new(params().clone(), Limits::default())
}

/// The honest chain's blocks from height 1 on. Keys 1 to 4 pay in blocks 3 and 5.
pub fn blocks() -> &'static [Block] {
    static BLOCKS: LazyLock<Vec<Block>> = LazyLock::new(|| {
        let mut chain = fresh_chain();
        (1..=HEIGHT)
            .map(|height| {
                let mut pool = fresh_pool();
                let payers: &[u8] = match height {
                    3 => &[1],
                    5 => &[2, 3, 4],
                    _ => &[],
                };
                for payer in payers {
                    pool.accept(payment(*payer, 1_000), &chain, UNIX).expect("the payment is valid");
                }
                let time = u64::from(chain.tip().header.time) + 5;
                let template =
                    template::build(&chain, &pool, &key(9).public_key(), height.into(), UnixTime::from_secs(time));
                let template = template.expect("the bits are a target");
                let meets = |block: &Block| template.target.is_met_by(&block.hash());
                let block = (0..).map(|nonce| template.block(nonce)).find(meets).expect("every second one will do");
                chain.accept_block(block.clone(), UNIX, &|_| false).expect("the block is valid");
                block
            })
            .collect()
    });
    &BLOCKS
}

/// A time on both clocks of the node or client that is tried out.
pub fn now(mono: MonoTime) -> Now {
    Now { mono, unix: UNIX.saturating_add(mono.saturating_since(MonoTime::START)) }
}

/// What an honest peer may say: each kind of message, most in several shapes.
pub fn messages() -> &'static [Message] {
    static MESSAGES: LazyLock<Vec<Message>> = LazyLock::new(make_messages);
    &MESSAGES
}

fn make_messages() -> Vec<Message> {
    let (params, blocks) = (params(), blocks());
    let tip = blocks[blocks.len() - 1].hash();
    let work = (0..=HEIGHT).fold(Work::ZERO, |sum, _| Work(sum.0 + params.genesis_target.work().0));
    let claim = TipClaim { height: Height::from_u32(HEIGHT), hash: tip, work };
    let hello = |services| {
        let (listens, user_agent) = (vec![cairn::p2p::PeerAddr::tcp_port(7331)], "/fuzz:1/".to_owned());
        Message::Hello(Hello { tip: claim, listens, user_agent, ..Hello::new(params.genesis_hash, services) })
    };
    let headers =
        |range: std::ops::Range<usize>| Message::Headers(blocks[range].iter().map(|block| block.header).collect());
    let contact = |n: u8| Contact { id: NodeId([n; 32]), address: ([203, 0, 113, n], 7331).into() };
    let paying = &blocks[4];
    let txids = paying.txids();
    let filter = Filter::new(&paying.hash(), [b"one", b"two"]);
    let proof = TxProof {
        height: Height::from_u32(5),
        block: paying.hash(),
        branch: Branch::new(txids.clone(), 2).expect("it has four transactions"),
        transaction: paying.transactions[2].clone(),
    };
    let query = ProofQuery::Key { key: key(2).public_key(), from: TxLocation { height: Height::GENESIS, position: 0 } };
    let root = StateId::new(Height::GENESIS, params.genesis_hash, None).root;
    let coins = CoinQuery { root, owner: key(2).public_key(), about: About::FIRST };
    let range = RangeQuery::new(params.genesis_hash, &KeyRange::ALL);
    let mut messages = vec![
        hello(SERVICE_FULL),
        hello(0),
        headers(0..12),
        headers(0..6),
        headers(6..12),
        headers(11..12),
        Message::Ping(1),
        Message::Pong(1),
        Message::GetHeaders { locator: vec![params.genesis_hash], stop: BlockHash::ZERO },
        Message::GetFilterHeaders { start_height: Height::from_u32(1), stop: tip },
        Message::FilterHeaders { stop: tip, previous: FilterHeader::ZERO, hashes: vec![filter.hash(); 12] },
        Message::GetFilters { start_height: Height::from_u32(1), stop: tip },
        Message::Filters(vec![(paying.hash(), filter.as_bytes().to_vec())]),
        Message::GetProofs(ProofQuery::Transaction(txids[2])),
        Message::GetProofs(query),
        Message::Proofs(Proofs { query: ProofQuery::Transaction(txids[2]), proofs: vec![proof], more: false }),
        Message::Proofs(Proofs { query, proofs: Vec::new(), more: false }),
        Message::FindNode { target: NodeId([3; 32]) },
        Message::Nodes((1..=16).map(contact).collect()),
        Message::GetBlockTransactions { block: paying.hash(), places: vec![1, 3] },
        Message::BlockTransactions {
            block: paying.hash(),
            transactions: [1, 3].map(|place: usize| Arc::new(paying.transactions[place].clone())).into(),
        },
        Message::SendCompact(true),
        Message::SendCompact(false),
        Message::GetStateRange(range),
        Message::GetStateRange(RangeQuery { compares: true, ..range }),
        Message::StateRange(RangeAnswer { query: range, page: Some(RangePage { proof: vec![0], end: None }) }),
        Message::GetOpening(tip),
        Message::Opening { block: tip, opening: None },
        Message::GetCoins(coins),
        Message::Coins(CoinAnswer { query: coins, proof: Some(CoinProof { bytes: vec![0], end: None }) }),
        Message::GetChainProof(ChainQuery::Tip),
        Message::GetChainProof(ChainQuery::headers(tip, [Height::from_u32(3)])),
        Message::ChainProof(ChainAnswer { query: ChainQuery::Tip, proof: Some(vec![0]) }),
        Message::AddProvider((1..=9).map(|n| NodeId([n; 32])).collect()),
        Message::ProviderAdded { kept: 9 },
        Message::GetProviders { key: NodeId([3; 32]) },
        Message::WantBlocks(vec![Want { hash: vec![0x12; 34], whole: true }]),
        Message::HaveBlocks(vec![Have { hash: vec![0x12; 34], here: true }]),
        Message::ContentBlock(Arc::new(ContentBlock { hash: vec![0x12; 34], bytes: vec![1, 2, 3] })),
        Message::NoHeaders { from: Height::from_u32(1), end: Height::from_u32(700) },
        Message::Archive(vec![0b1000_0001, 2]),
        Message::GetPages,
        Message::Pages(vec![NodeId([3; 32])]),
        Message::Signal { page: NodeId([3; 32]), signal: Signal::Offer(b"a page".to_vec()) },
        Message::NoPage { page: NodeId([3; 32]) },
        Message::Providers { providers: vec![contact(3)], nearer: (1..=16).map(contact).collect() },
    ];
    for n in 1..=8 {
        let payment = payment(n, 2_000);
        messages.push(Message::Inventory(vec![Item::Transaction(payment.txid())]));
        messages.push(Message::GetData(vec![Item::Transaction(payment.txid())]));
        messages.push(Message::Transaction(Arc::new(payment)));
    }
    for block in blocks {
        let hash = block.hash();
        messages.push(Message::Block(Arc::new(block.clone())));
        messages.push(Message::CompactBlock(Arc::new(CompactBlock::new(block, &block.txids(), 7, &[]))));
        messages.push(Message::GetData(vec![Item::Block(hash), Item::CompactBlock(hash)]));
        messages.push(Message::NotFound(vec![Item::Block(hash)]));
    }
    messages
}

/// Gives a header the Merkle root of its transactions and enough work, so that a changed block is refused for what is wrong
/// with it and for nothing else. Its bits may be changed too: the work is that of the network.
pub fn reseal(block: &mut Block) {
    block.header.merkle_root = merkle::root(block.txids()).hash;
    let target = params().genesis_target;
    let meets = |nonce: &u32| {
        block.header.nonce = *nonce;
        target.is_met_by(&block.header.hash())
    };
    let found = (0..1_000).find(meets);
    assert!(found.is_some(), "every second nonce will do");
}

/// An input, read from its start. What is read beyond its end is zero.
pub struct Script<'a>(pub &'a [u8]);

impl<'a> Script<'a> {
    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    pub fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    /// The next two bytes as a number.
    pub fn short(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    /// So many bytes, or all that are left.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// One of `choices`, which are not empty.
    pub fn choose<'b, T>(&mut self, choices: &'b [T]) -> &'b T {
        &choices[usize::from(self.byte()) % choices.len()]
    }

    /// Changes some of `bytes`: a count of at most 15, then for each a place and what its bits are turned by.
    pub fn change(&mut self, bytes: &mut [u8]) {
        for _ in 0..self.byte() % 16 {
            let (place, turn) = (usize::from(self.short()), self.byte());
            let length = bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(place % length) {
                *byte ^= turn;
            }
        }
    }
}

/// Writes the first inputs of a target's corpus, where `cargo fuzz` and `.ci/fuzz` look for it.
pub fn seed(target: &str, inputs: impl IntoIterator<Item = Vec<u8>>) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    fs::create_dir_all(&dir).expect("the corpus can be written");
    for (number, input) in inputs.into_iter().enumerate() {
        fs::write(dir.join(format!("seed-{number:03}")), input).expect("the corpus can be written");
    }
}

/// The content of a file of the data that the core's tests have.
pub fn test_data(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/core/tests/data").join(name);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
