//! Payments: wallets that pass on coins of genesis, each payment through a random node.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use rand_chacha::ChaCha20Rng;

use crate::consensus::params::{Allocation, GenesisSpec, Params};
use crate::primitives::address;
use crate::primitives::amount::{Amount, COIN, FeeRate};
use crate::primitives::hash::Txid;
use crate::primitives::keys::{PublicKey, SecretKey};
use crate::primitives::time::MonoTime;
use crate::primitives::tx::Output;
use crate::sim::Sim;
use crate::storage::StoreError;
use crate::wallet::coins::Spendable;
use crate::wallet::payment::{Fee, Funding, Order};

/// Coins there are at least, and at most: every node's store has them all.
const COINS: std::ops::RangeInclusive<usize> = 20..=2_000;
/// Mean number of blocks until a coin can be spent again, with a margin.
const BLOCKS_UNDER_WAY: f64 = 4.0;
/// Coins of a wallet that are looked at.
const MAX_COINS: usize = 16;
/// Wallets looked at for a coin that is not under way.
const TRIES: usize = 10;
/// What payments pay.
const FEE_RATE: FeeRate = FeeRate::from_grains_per_byte(3);
/// What a payment leaves of its coin: enough for that, and nothing that is worth giving back.
const FEE: Amount = Amount::from_grains(600);

/// The wallets, and what they paid.
pub(super) struct Payments {
    /// Time between two payments in the mean, in milliseconds.
    mean: Option<f64>,
    rng: ChaCha20Rng,
    keys: Vec<SecretKey>,
    /// The wallet of each key.
    owners: BTreeMap<PublicKey, usize>,
    params: Arc<Params>,
    /// Payments that a node took, and when it first did.
    pub(super) made: BTreeMap<Txid, MonoTime>,
}

impl Payments {
    /// Wallets enough for so many payments a second, with a block every `interval`.
    pub(super) fn new(per_second: f64, interval: Duration, rng: ChaCha20Rng) -> Self {
        let under_way = per_second * interval.as_secs_f64() * BLOCKS_UNDER_WAY;
        let count = (under_way as usize).clamp(*COINS.start(), *COINS.end());
        let key = |number: usize| {
            let mut seed = [9; 32];
            seed[..8].copy_from_slice(&(number as u64).to_le_bytes());
            SecretKey::from_seed(seed)
        };
        let keys: Vec<SecretKey> = (0..count).map(key).collect();
        let mut spec = GenesisSpec::regtest();
        let address = |key: &SecretKey| address::encode(&spec.address_prefix, &key.public_key());
        spec.alloc = keys
            .iter()
            .map(|key| Allocation { address: address(key), value: Amount::from_grains(100 * COIN) })
            .collect();
        spec.mine_nonce();
        let params = Arc::new(Params::new(spec).expect("the private network's parameters are valid"));
        let owners = keys.iter().enumerate().map(|(number, key)| (key.public_key(), number)).collect();
        let mean = (per_second > 0.0).then(|| 1_000.0 / per_second);
        Self { mean, rng, keys, owners, params, made: BTreeMap::new() }
    }

    /// A private network in which each wallet has a coin.
    pub(super) fn params(&self) -> Arc<Params> {
        Arc::clone(&self.params)
    }

    /// Time to the next payment; `None` if there is none.
    pub(super) fn wait(&mut self) -> Option<Duration> {
        let mean = self.mean?;
        Some(Duration::from_millis((-(1.0 - self.rng.random::<f64>()).ln() * mean) as u64))
    }

    /// Makes one payment between random wallets, through a random node, of a coin that is unspent there. Does nothing
    /// if there is no such coin.
    pub(super) fn pay(&mut self, sim: &mut Sim) -> Result<(), StoreError> {
        let up: Vec<usize> = sim.nodes().map(|(number, _)| number).collect();
        if up.is_empty() {
            return Ok(());
        }
        let node = up[self.rng.random_range(0..up.len() as u64) as usize];
        for _ in 0..TRIES {
            let payer = self.keys[self.rng.random_range(0..self.keys.len() as u64) as usize].public_key();
            let Some(coin) = Self::coin(sim, node, payer)? else { continue };
            let payee = self.keys[self.rng.random_range(0..self.keys.len() as u64) as usize].public_key();
            let outputs = vec![Output::pay(payee, coin.value.saturating_sub(FEE))];
            let key_of = |key: &PublicKey| self.owners.get(key).map(|number| self.keys[*number].clone());
            let draft = Order::pay(outputs, Fee::at_rate(FEE_RATE)).draft(Funding::AnyOf(&[coin]), payer);
            if let Ok(payment) = draft.and_then(|draft| draft.sign(&self.params.genesis_hash, key_of))
                && let Some(Ok(_)) = sim.submit(node, payment.transaction)
            {
                // The same payment may be made again at a node that does not know it, as after a crash.
                self.made.entry(payment.txid).or_insert(sim.now().mono);
            }
            return Ok(());
        }
        Ok(())
    }

    fn coin(sim: &Sim, node: usize, key: PublicKey) -> Result<Option<Spendable>, StoreError> {
        let Some(node) = sim.node(node) else { return Ok(None) };
        let coins = node.chain().db().address_coins(&key, None, MAX_COINS)?;
        let free = coins.into_iter().find(|(outpoint, coin)| {
            node.mempool().spender(outpoint).is_none() && coin.output.value.as_grains() > COIN
        });
        Ok(free.map(|(outpoint, coin)| Spendable { outpoint, value: coin.output.value, key }))
    }
}
