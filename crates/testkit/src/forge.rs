//! Long in-memory chains of headers and coinbases, honest or forged: the input for succinct evidence.

use std::convert::Infallible;

use cairn_core::consensus::commitment::commitment;
use cairn_core::consensus::context::{Parent, next_bits};
use cairn_core::consensus::params::{GenesisSpec, Params, Retarget};
use cairn_core::primitives::amount::Amount;
use cairn_core::primitives::hash::{BlockHash, Commitment, LedgerRoot, Txid};
use cairn_core::primitives::header::Header;
use cairn_core::primitives::height::Height;
use cairn_core::primitives::keys::Signature;
use cairn_core::primitives::merkle::{self, Branch};
use cairn_core::primitives::mmr::{Node, Range};
use cairn_core::primitives::target::{Bits, Work};
use cairn_core::primitives::tx::{Input, OutPoint, Output, Transaction};
use cairn_core::receipt::succinct::{Source, prove};
use cairn_core::receipt::{Evidence, Receipt};

use crate::payments::public;

/// A fault in a block that [`Forge::add`] makes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    None,
    /// Its hash does not meet its bits.
    NoWork,
    /// Its bits are not those due, but its hash meets them.
    Bits(Bits),
    /// Its coinbase commits to something else.
    Commitment,
    /// Its coinbase states another height.
    Height,
}

/// A chain, with the nodes of its header range.
#[derive(Clone)]
pub struct Forge {
    /// The network.
    pub params: Params,
    /// All headers, by height.
    pub headers: Vec<Header>,
    /// The transactions of each block: only a coinbase, except in blocks made with payments.
    bodies: Vec<Vec<Transaction>>,
    nodes: Vec<Node>,
    range: Range,
    tip: BlockHash,
}

/// A network whose difficulty changes at every block and takes a few hashes.
pub fn params() -> Params {
    let mut spec = GenesisSpec {
        retarget: Retarget::Asert,
        bits: Bits(0x202f_ffff),
        target_spacing_secs: 5,
        half_life_secs: 60,
        max_future_secs: 6,
        ..GenesisSpec::regtest()
    };
    assert!(spec.mine_nonce());
    Params::new(spec).expect("the parameters are valid")
}

impl Forge {
    /// The network at genesis.
    pub fn new(params: Params) -> Self {
        let (tip, header) = (params.genesis_hash, params.genesis.header);
        let body = params.genesis.transactions.clone();
        let (mut range, work) = (Range::default(), params.genesis_target.work());
        let nodes = range.push(Node::leaf(tip, work, header.time));
        Self { params, headers: vec![header], bodies: vec![body], nodes, range, tip }
    }

    /// An honest chain of `length` blocks after genesis, whose pace changes.
    pub fn honest(params: Params, length: u32) -> Self {
        let mut forge = Self::new(params);
        (0..length).for_each(|_| forge.add(Fault::None));
        forge
    }

    /// Height of the newest block.
    pub fn height(&self) -> Height {
        Height::from_u32(self.headers.len() as u32 - 1)
    }

    /// Adds a block with this fault.
    pub fn add(&mut self, fault: Fault) {
        self.add_with(fault, Vec::new());
    }

    /// Adds a block with `count` payments of coins that do not exist, which a receipt's verifier cannot check.
    pub fn add_payments(&mut self, count: u8) {
        let payment = |n: u8| Transaction {
            version: 1,
            inputs: vec![Input {
                outpoint: OutPoint { txid: Txid::of(&[n]), index: n.into() },
                signature: Signature::EMPTY,
            }],
            outputs: vec![Output::pay(public(n), Amount::from_grains(150_000_000 + u64::from(n)))],
            lock_height: Height::GENESIS,
        };
        self.add_with(Fault::None, (1..=count).map(payment).collect());
    }

    /// Adds a forged block with any time, either mined or claiming work that it does not prove. `accept` decides whether
    /// a hash is used: the block is drawn again until it is. Returns the number of hashes tried.
    pub fn add_forged(&mut self, time: u32, claim: Option<Work>, accept: impl Fn(&BlockHash) -> bool) -> u64 {
        let body = vec![self.coinbase(self.height().next(), self.commitment())];
        let merkle_root = merkle::root(vec![body[0].txid()]).hash;
        let mut header = Header { version: 1, previous: self.tip, merkle_root, time, bits: self.due(), nonce: 0 };
        let target = header.bits.target().expect("bits of a target");
        let (mut hash, mut hashes) = (header.hash(), u64::from(claim.is_none()));
        while claim.is_none() && !(target.is_met_by(&hash) && accept(&hash)) {
            header.nonce += 1;
            hash = header.hash();
            hashes += 1;
        }
        self.push(header, hash, body, claim.unwrap_or_else(|| target.work()));
        hashes
    }

    /// Bits due after the tip.
    pub fn due(&self) -> Bits {
        let time = self.headers[self.headers.len() - 1].time;
        let first_time = self.headers.get(1).map_or(0, |first| first.time);
        next_bits(&Parent { height: self.height(), time, first_time }, &self.params)
    }

    /// Work claimed for all blocks, the tip's included.
    pub fn work(&self) -> Work {
        self.range.work()
    }

    /// What the block at a height commits to besides headers. Its coins are made up, so this is too.
    pub fn ledger_root(height: Height) -> LedgerRoot {
        LedgerRoot::of(&height.as_u32().to_le_bytes())
    }

    /// What the next coinbase commits to.
    fn commitment(&self) -> Commitment {
        commitment(&self.range.root(), &Self::ledger_root(self.height().next()))
    }

    fn coinbase(&self, height: Height, commitment: Commitment) -> Transaction {
        let key = public((height.as_u32() % 7) as u8);
        let data = [&commitment.as_bytes()[..], &u64::from(height.as_u32()).to_le_bytes()].concat();
        let outputs = vec![Output::pay(key, Amount::from_grains(50)), Output::data(data)];
        Transaction { version: 1, inputs: Vec::new(), outputs, lock_height: height }
    }

    fn push(&mut self, header: Header, hash: BlockHash, body: Vec<Transaction>, work: Work) {
        self.nodes.extend(self.range.push(Node::leaf(hash, work, header.time)));
        self.headers.push(header);
        self.bodies.push(body);
        self.tip = hash;
    }

    fn add_with(&mut self, fault: Fault, payments: Vec<Transaction>) {
        let height = self.height().next();
        let parent = self.headers[self.headers.len() - 1];
        let due = self.due();
        let commitment = if fault == Fault::Commitment { Commitment::of(b"else") } else { self.commitment() };
        let mut coinbase = self.coinbase(height, commitment);
        coinbase.lock_height = height.saturating_add(u32::from(fault == Fault::Height));
        let body = [vec![coinbase], payments].concat();
        let mut header = Header {
            version: 1,
            previous: self.tip,
            merkle_root: merkle::root(body.iter().map(Transaction::txid).collect()).hash,
            time: parent.time + if (height.as_u32() / 40).is_multiple_of(2) { 4 } else { 6 },
            bits: if let Fault::Bits(bits) = fault { bits } else { due },
            nonce: 0,
        };
        let target = header.bits.target().expect("bits of a target");
        let mut hash = header.hash();
        while target.is_met_by(&hash) == (fault == Fault::NoWork) {
            header.nonce += 1;
            hash = header.hash();
        }
        self.push(header, hash, body, target.work());
    }

    /// Calls `use_it` with the chain as a source of proofs. The tip commits to the range before it, so no proof
    /// contains the tip's own leaf.
    pub fn source<R>(&self, use_it: impl FnOnce(&Source<'_, Infallible>) -> R) -> R {
        use_it(&Source {
            node: &|number| Ok(self.nodes[number as usize]),
            header: &|height| Ok(self.headers[height.as_usize()]),
            coinbase: &|height| {
                let coinbase = self.bodies[height.as_usize()][0].clone();
                Ok((coinbase, self.branch(height, 0), Self::ledger_root(height)))
            },
        })
    }

    fn branch(&self, height: Height, index: u32) -> Branch {
        let txids = self.bodies[height.as_usize()].iter().map(Transaction::txid).collect();
        Branch::new(txids, index).expect("there is such a transaction")
    }

    /// A receipt for the last transaction at `height`, with `evidence`.
    pub fn receipt(&self, height: Height, evidence: Evidence) -> Receipt {
        let body = &self.bodies[height.as_usize()];
        let last = body.len() - 1;
        Receipt {
            network: self.params.genesis_hash,
            transaction: body[last].clone(),
            branch: self.branch(height, last as u32),
            height,
            evidence,
            tip: self.tip,
        }
    }

    /// A receipt with succinct evidence.
    pub fn succinct(&self, height: Height) -> Receipt {
        let proof = self.source(|source| prove(source, self.height(), height));
        let Ok(proof) = proof;
        self.receipt(height, Evidence::Succinct(proof))
    }

    /// A receipt with all headers.
    pub fn whole(&self, height: Height) -> Receipt {
        self.receipt(height, Evidence::Headers(self.headers[1..].to_vec()))
    }
}
