//! genesis.json: every parameter of a network. The rules read [`Params`]; [`super::genesis`] checks them once.

use serde::{Deserialize, Serialize};

use crate::consensus::peer_name::PeerName;
use crate::primitives::address;
use crate::primitives::amount::{Amount, COIN};
use crate::primitives::block::Block;
use crate::primitives::codec;
use crate::primitives::hash::{BlockHash, Hash256};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::merkle;
use crate::primitives::target::{Bits, Target};
use crate::primitives::tx::{Output, Transaction};

/// The largest `max_block_bytes` a network may set: blocks are decoded in memory, on small machines too.
pub const MAX_BLOCK_BYTES: u32 = 8_000_000;

/// What a block commits to, and how ([`super::commitment`]), as part of a network's rules. Version 0 committed to headers
/// alone.
const COMMITMENT_VERSION: u32 = 1;

/// Most seconds that a block's time may lie ahead of the clock where difficulty has this half-life: a tenth, which makes the
/// next block at most 7 % easier, but no less than one.
pub fn most_future_secs(half_life_secs: u32) -> u32 {
    (half_life_secs / 10).max(1)
}

/// How the bits of a block follow from the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retarget {
    /// `aserti3-2d` at every block.
    Asert,
    /// Always those of genesis: instant blocks on a local network.
    None,
}

/// A coin that genesis creates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allocation {
    /// The payee's address.
    pub address: String,
    /// The coin's value.
    pub value: Amount,
}

/// The content of genesis.json, unchecked, with fields in the order they are written. [`Params`] is the checked form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisSpec {
    /// Name of the network.
    pub network: String,
    /// The bech32m prefix of its addresses.
    pub address_prefix: String,
    /// Text kept in the coinbase of genesis; at most 224 bytes.
    pub message: String,
    /// Time of genesis, in seconds since 1970.
    pub timestamp: u32,
    /// Difficulty of genesis and of block 1.
    pub bits: Bits,
    /// Makes the hash of genesis meet `bits`.
    pub nonce: u32,
    /// The easiest difficulty allowed.
    pub pow_limit_bits: Bits,
    /// Difficulty rule.
    pub retarget: Retarget,
    /// Target interval between blocks, in seconds.
    pub target_spacing_secs: u32,
    /// Seconds behind schedule that halve the difficulty.
    pub half_life_secs: u32,
    /// The subsidy of a block before any halving.
    pub subsidy: Amount,
    /// Blocks between halvings of the subsidy.
    pub halving_interval: u32,
    /// Blocks after which a coinbase's coins can be spent.
    pub coinbase_maturity: u32,
    /// Largest size of an encoded block, in bytes.
    pub max_block_bytes: u32,
    /// How far a block's time may be ahead of the clock, in seconds; where difficulty adjusts, at most a tenth of the
    /// half-life.
    pub max_future_secs: u32,
    /// Blocks of an epoch: the coins after every so many blocks are committed to ([`Params::committed_state`]).
    pub epoch_blocks: u32,
    /// Coins that genesis makes, spendable at once.
    #[serde(default)]
    pub alloc: Vec<Allocation>,
    /// Nodes to contact first when joining: `HOST:PORT` or `ID@HOST:PORT`.
    #[serde(default)]
    pub seeds: Vec<String>,
}

/// Why genesis.json is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// Not JSON, or a field is missing, unknown or of the wrong type.
    #[error("genesis.json: {0}")]
    Syntax(String),
    /// A value out of bounds.
    #[error("genesis.json: {field} is {got}, expected {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        got: String,
        /// What is allowed.
        expected: String,
    },
}

/// An error for a bad field: its name, its value, and what is allowed.
pub(super) fn field(field: &'static str, got: impl ToString, expected: impl ToString) -> ParamsError {
    ParamsError::Field { field, got: got.to_string(), expected: expected.to_string() }
}

/// The checked parameters of a network with its genesis block. [`Params::new`] makes them.
#[derive(Debug, Clone)]
pub struct Params {
    /// The file's content.
    pub spec: GenesisSpec,
    /// The first block.
    pub genesis: Block,
    /// Its hash, which names the network.
    pub genesis_hash: BlockHash,
    /// The target of genesis: the difficulty rule's anchor.
    pub genesis_target: Target,
    /// The easiest target.
    pub pow_limit: Target,
    /// Nodes to contact first when joining.
    pub seeds: Vec<PeerName>,
}

/// Lets rules read the fields of genesis.json directly: `params.subsidy`.
impl std::ops::Deref for Params {
    type Target = GenesisSpec;

    fn deref(&self) -> &GenesisSpec {
        &self.spec
    }
}

impl GenesisSpec {
    /// A private network with instant blocks: bits that every second hash meets, and no retargeting. `address_prefix`
    /// is `rcairn`. The nonce is already mined, so the specification is valid.
    pub fn regtest() -> Self {
        let mut spec = Self {
            network: "regtest".to_owned(),
            address_prefix: "rcairn".to_owned(),
            message: "A private place to try things".to_owned(),
            timestamp: 1_767_225_600,
            bits: Bits(0x207f_ffff),
            nonce: 0,
            pow_limit_bits: Bits(0x207f_ffff),
            retarget: Retarget::None,
            target_spacing_secs: 5,
            half_life_secs: 3600,
            subsidy: Amount::from_grains(50 * COIN),
            halving_interval: 210_000,
            coinbase_maturity: 10,
            max_block_bytes: 1_000_000,
            max_future_secs: 7200,
            epoch_blocks: 720,
            alloc: Vec::new(),
            seeds: Vec::new(),
        };
        spec.mine_nonce();
        spec
    }

    /// Reads the file's text, without checking the values.
    ///
    /// # Errors
    /// [`ParamsError::Syntax`], with line and column.
    pub fn from_json(text: &str) -> Result<Self, ParamsError> {
        serde_json::from_str(text).map_err(|e| ParamsError::Syntax(e.to_string()))
    }

    /// The text of genesis.json, one field per line.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("strings and numbers always serialize");
        text.push('\n');
        text
    }

    /// Searches for the nonce from 0 on this thread, so only for easy bits. Returns `false` if no nonce meets the bits,
    /// or the bits are not a valid target.
    pub fn mine_nonce(&mut self) -> bool {
        let (Ok(target), Ok(block)) = (self.bits.target(), self.block()) else { return false };
        let mut header = block.header;
        let found = (0..=u32::MAX).find(|nonce| {
            header.nonce = *nonce;
            target.is_met_by(&header.hash())
        });
        self.nonce = found.unwrap_or(0);
        found.is_some()
    }

    /// Double SHA-256 over the encoding of every rule parameter that is not itself a field of the genesis block, so
    /// that networks with different rules have different genesis hashes. Seeds are not a rule.
    pub fn rules_hash(&self) -> Hash256 {
        let retarget: u32 = match self.retarget {
            Retarget::Asert => 0,
            Retarget::None => 1,
        };
        Hash256::of(&codec::encode(&(
            (self.network.clone(), self.address_prefix.clone()),
            (self.pow_limit_bits, retarget, self.target_spacing_secs, self.half_life_secs),
            (self.subsidy, self.halving_interval, self.coinbase_maturity),
            (self.max_block_bytes, self.max_future_secs),
            (COMMITMENT_VERSION, self.epoch_blocks),
        )))
    }

    /// The genesis block: one coinbase of height 0, whose data is [`GenesisSpec::rules_hash`] (there is nothing to
    /// commit to) and the message, followed by the allocations.
    ///
    /// # Errors
    /// [`ParamsError::Field`] for an address that is not one.
    pub fn block(&self) -> Result<Block, ParamsError> {
        if !address::is_valid_prefix(&self.address_prefix) {
            return Err(field("address_prefix", &self.address_prefix, "1 to 20 lower-case letters and digits"));
        }
        let mut outputs = vec![Output::data([self.rules_hash().as_bytes(), self.message.as_bytes()].concat())];
        for alloc in &self.alloc {
            let key = address::decode(&self.address_prefix, &alloc.address)
                .map_err(|e| field("alloc.address", &alloc.address, format!("an address of this network: {e}")))?;
            outputs.push(Output::pay(key, alloc.value));
        }
        let coinbase = Transaction { version: 1, inputs: Vec::new(), outputs, lock_height: Height::GENESIS };
        let header = Header {
            version: 1,
            previous: BlockHash::ZERO,
            merkle_root: merkle::root(vec![coinbase.txid()]).hash,
            time: self.timestamp,
            bits: self.bits,
            nonce: self.nonce,
        };
        Ok(Block { header, transactions: vec![coinbase] })
    }
}

impl Params {
    /// The subsidy of the block at `height`: halved at every interval, zero after 64 halvings, and zero for genesis,
    /// which has allocations instead.
    pub fn subsidy_at(&self, height: Height) -> Amount {
        match height {
            Height::GENESIS => Amount::ZERO,
            _ => self
                .subsidy
                .as_grains()
                .checked_shr(height.as_u32() / self.halving_interval)
                .map_or(Amount::ZERO, Amount::from_grains),
        }
    }

    /// The height of the coins that the block at `height` commits to: those after the first block of the epoch before its
    /// own. `None` in the first epoch, whose blocks commit to no coins.
    ///
    /// All blocks of an epoch commit to the same coins, so between [`epoch_blocks`](GenesisSpec::epoch_blocks) and twice as
    /// many blocks pass before a node needs the root over them.
    pub fn committed_state(&self, height: Height) -> Option<Height> {
        self.last_edge(height).checked_sub(self.epoch_blocks)
    }

    /// The first block of the epoch of the block at `height`: an edge, for later blocks commit to the coins after it.
    pub fn last_edge(&self, height: Height) -> Height {
        height.saturating_sub(height.as_u32() % self.epoch_blocks)
    }

    /// Whether later blocks commit to the coins after the block at `height`.
    pub fn is_edge(&self, height: Height) -> bool {
        self.last_edge(height) == height
    }
}
