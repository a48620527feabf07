//! Checks a network's parameters once, when they are loaded; the genesis block must obey the rules it sets.

use crate::consensus::check;
use crate::consensus::connect::COMMITMENT_LEN;
use crate::consensus::params::{GenesisSpec, MAX_BLOCK_BYTES, Params, ParamsError, Retarget, field, most_future_secs};
use crate::consensus::peer_name::{PeerName, PeerNameError};
use crate::primitives::amount::Amount;
use crate::primitives::target::Bits;
use crate::primitives::tx::MAX_DATA_BYTES;

/// A smaller block would not hold a coinbase and a payment.
const MIN_BLOCK_BYTES: u32 = 1_000;
/// Nodes that prune keep the blocks of two epochs.
const MAX_EPOCH_BLOCKS: u32 = 100_000;
/// The start of 2100: a header's time is a u32, which ends in 2106.
const MAX_TIMESTAMP: u32 = 4_102_444_800;

impl Params {
    /// Reads and checks genesis.json.
    ///
    /// # Errors
    /// [`ParamsError`] naming the first bad field.
    pub fn from_json(text: &str) -> Result<Self, ParamsError> {
        Self::new(GenesisSpec::from_json(text)?)
    }

    /// Checks a specification.
    ///
    /// # Errors
    /// [`ParamsError::Field`] naming the first bad field.
    pub fn new(spec: GenesisSpec) -> Result<Self, ParamsError> {
        let target = |name, bits: Bits| bits.target().map_err(|e| field(name, bits, format!("a target ({e})")));
        let pow_limit = target("pow_limit_bits", spec.pow_limit_bits)?;
        let genesis_target = target("bits", spec.bits)?;
        if genesis_target > pow_limit || genesis_target.to_bits() != spec.bits {
            return Err(field("bits", spec.bits, format!("canonical, at most pow_limit_bits {}", spec.pow_limit_bits)));
        }
        let longest = MAX_DATA_BYTES - COMMITMENT_LEN;
        if spec.message.len() > longest {
            return Err(field("message", format!("{} bytes", spec.message.len()), format!("at most {longest}")));
        }
        if spec.network.is_empty() || spec.network.len() > 64 {
            return Err(field("network", &spec.network, "a name of 1 to 64 bytes"));
        }
        for (name, got, least, most) in [
            ("target_spacing_secs", spec.target_spacing_secs, 1, 86_400),
            ("half_life_secs", spec.half_life_secs, 1, 31_536_000),
            ("halving_interval", spec.halving_interval, 1, u32::MAX),
            ("max_block_bytes", spec.max_block_bytes, MIN_BLOCK_BYTES, MAX_BLOCK_BYTES),
            ("max_future_secs", spec.max_future_secs, 1, 86_400),
            ("epoch_blocks", spec.epoch_blocks, 2, MAX_EPOCH_BLOCKS),
        ] {
            if !(least..=most).contains(&got) {
                return Err(field(name, got, format!("{least} to {most}")));
            }
        }
        let latest = most_future_secs(spec.half_life_secs);
        if spec.retarget == Retarget::Asert && spec.max_future_secs > latest {
            let expected =
                format!("at most {latest}, a tenth of half_life_secs: a later time makes the next block easier");
            return Err(field("max_future_secs", spec.max_future_secs, expected));
        }
        if spec.timestamp > MAX_TIMESTAMP {
            return Err(field(
                "timestamp",
                spec.timestamp,
                format!("at most {MAX_TIMESTAMP}: blocks need time after it"),
            ));
        }
        let seeds = spec.seeds.iter().map(|seed| seed.parse::<PeerName>());
        let seeds = seeds.collect::<Result<Vec<_>, _>>().map_err(|error| {
            let (PeerNameError::Place { given } | PeerNameError::Id { given, .. }) = error;
            field("seeds", given, "HOST:PORT or ID@HOST:PORT, with an ID of 64 hex digits")
        })?;
        let max_supply = u128::from(Amount::MAX.as_grains());
        let allocated: u128 = spec.alloc.iter().map(|alloc| u128::from(alloc.value.as_grains())).sum();
        if allocated > max_supply {
            return Err(field(
                "alloc.value",
                format!("{allocated} in all"),
                format!("at most {max_supply} grains in all"),
            ));
        }
        let supply = issued_supply(&spec) + allocated;
        if supply > max_supply {
            return Err(field(
                "subsidy",
                spec.subsidy.as_grains(),
                format!("a supply of at most {max_supply} grains, not {supply}"),
            ));
        }
        let genesis = spec.block()?;
        let genesis_hash = genesis.hash();
        let params = Self { genesis_target, pow_limit, genesis_hash, genesis, seeds, spec };
        check::check_proof_of_work(&params.genesis.header, &genesis_hash, &params).map_err(|_| {
            field(
                "nonce",
                params.nonce,
                format!("one whose hash meets bits {} (`cairn genesis mine` finds it)", params.bits),
            )
        })?;
        check::check_block(params.genesis.clone(), &params).map_err(|e| {
            field("alloc", format!("{} entries", params.alloc.len()), format!("a valid genesis block: {e}"))
        })?;
        Ok(params)
    }
}

/// The sum of all subsidies, in grains; less than two full intervals' worth.
fn issued_supply(spec: &GenesisSpec) -> u128 {
    (0..64).map(|halvings| u128::from(spec.subsidy.as_grains() >> halvings) * u128::from(spec.halving_interval)).sum()
}
