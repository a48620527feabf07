//! genesis.json: every parameter of a network. Rules read them here; [`super::genesis`] checks them once.

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

/// Most bytes a block may be allowed: a body is decoded in memory, on small machines too.
pub const MAX_BLOCK_BYTES: u32 = 8_000_000;

/// The part of the half-life that a block's time may at most lie ahead of the clock, where difficulty changes: such a time
/// makes the next block at most 7 % easier.
pub const FUTURE_PART: u32 = 10;

/// How bits follow from the chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Retarget {
    /// `aserti3-2d` at every block.
    Asert,
    /// Those of genesis for ever: instant blocks on a local network.
    None,
}

/// Coins that genesis makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allocation {
    /// The payee's address.
    pub address: String,
    /// How much.
    pub value: Amount,
}

/// The file as it is written, in the order of its fields. [`Params`] is what it means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisSpec {
    /// Name of the network.
    pub network: String,
    /// What its addresses begin with.
    pub address_prefix: String,
    /// Text kept in the coinbase of genesis; at most 224 bytes.
    pub message: String,
    /// Time of genesis, in seconds since 1970.
    pub timestamp: u32,
    /// Difficulty of genesis and of block 1.
    pub bits: Bits,
    /// Makes the hash of genesis meet `bits`.
    pub nonce: u32,
    /// The easiest difficulty there may be.
    pub pow_limit_bits: Bits,
    /// Difficulty rule.
    pub retarget: Retarget,
    /// Seconds that a block should take.
    pub target_spacing_secs: u32,
    /// Seconds behind schedule that halve the difficulty.
    pub half_life_secs: u32,
    /// What a block makes, before any halving.
    pub subsidy: Amount,
    /// Blocks between halvings of the subsidy.
    pub halving_interval: u32,
    /// Blocks before a coinbase can be spent.
    pub coinbase_maturity: u32,
    /// Most bytes of a block's encoding.
    pub max_block_bytes: u32,
    /// Most seconds that a block may be ahead of the clock; at most a tenth of the half-life, where difficulty changes.
    pub max_future_secs: u32,
    /// Coins that genesis makes, spendable at once.
    #[serde(default)]
    pub alloc: Vec<Allocation>,
    /// Nodes to join through: `HOST:PORT` or `ID@HOST:PORT`.
    #[serde(default)]
    pub seeds: Vec<String>,
}

/// A field of genesis.json that will not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParamsError {
    /// Not JSON, a field missing, unknown, or of another type.
    #[error("genesis.json: {0}")]
    Syntax(String),
    /// A value out of bounds.
    #[error("genesis.json: {field} is {got}, expected {expected}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        got: String,
        /// What would do.
        expected: String,
    },
}

/// A field that will not do: its name, what it is, and what would do.
pub(super) fn field(field: &'static str, got: impl ToString, expected: impl ToString) -> ParamsError {
    ParamsError::Field { field, got: got.to_string(), expected: expected.to_string() }
}

/// A network's parameters with its genesis block, checked: [`Params::new`] makes them.
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
    /// Nodes to join through.
    pub seeds: Vec<PeerName>,
}

/// Rules read the fields of the file directly: `params.subsidy`.
impl std::ops::Deref for Params {
    type Target = GenesisSpec;

    fn deref(&self) -> &GenesisSpec {
        &self.spec
    }
}

impl GenesisSpec {
    /// A private network with instant blocks: bits that every second hash meets, and no retargeting. `address_prefix`
    /// is `rcairn`. Its nonce is set, so it is valid as it stands.
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
            max_future_secs: 360,
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

    /// The file's text, a field a line.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("strings and numbers always serialize");
        text.push('\n');
        text
    }

    /// Searches for the nonce, from 0, on this thread: for easy bits. `false` if no nonce will do or bits are no target.
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

    /// Double SHA-256 of the encoding of every parameter that the genesis block does not hold as such, so that nodes
    /// which keep different rules never take each other for the same network. Seeds are no rule.
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
        )))
    }

    /// The genesis block: one coinbase of height 0, whose data is [`GenesisSpec::rules_hash`] (there are no headers to
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
    /// What the block at `height` may make: halved at every interval, nothing after 64 halvings, and nothing at
    /// height 0, where allocations stand instead.
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
}
