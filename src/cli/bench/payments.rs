//! Payments for a mempool, by keys that all differ, so that no batch of signatures is cheaper for a repeated key; and
//! headers alone.

use std::sync::Arc;

use rayon::prelude::*;

use crate::consensus::params::{Allocation, GenesisSpec, Params};
use crate::primitives::address;
use crate::primitives::amount::{Amount, COIN};
use crate::primitives::hash::{Hash256, Txid};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::keys::{SecretKey, Signature, SignatureCheck};
use crate::primitives::tx::{Input, OutPoint, Output, Transaction};

/// What a payment leaves to the miner: more than any pool's least.
const FEE: Amount = Amount::from_grains(1_000);

/// What a coin of genesis is worth.
const VALUE: Amount = Amount::from_grains(COIN);

/// A coin and its owner.
#[derive(Clone)]
pub(super) struct OwnedCoin {
    outpoint: OutPoint,
    value: Amount,
    owner: SecretKey,
}

/// A network with instant blocks, whose genesis gives a coin each to so many keys; and these coins.
pub(super) fn network(coins: u32) -> anyhow::Result<(Arc<Params>, Vec<OwnedCoin>)> {
    let owners: Vec<SecretKey> =
        (0..coins).map(|n| SecretKey::from_seed(Hash256::of(&n.to_le_bytes()).to_bytes())).collect();
    let mut spec = GenesisSpec::regtest();
    let to = |owner: &SecretKey| Allocation {
        address: address::encode(&spec.address_prefix, &owner.public_key()),
        value: VALUE,
    };
    spec.alloc = owners.iter().map(to).collect();
    spec.mine_nonce();
    let params = Params::new(spec)?;
    let txid = params.genesis.transactions[0].txid();
    // Output 0 is data.
    let coins =
        (1..).zip(owners).map(|(index, owner)| OwnedCoin { outpoint: OutPoint { txid, index }, value: VALUE, owner });
    let coins = coins.collect();
    Ok((Arc::new(params), coins))
}

/// A payment of each coin to its own owner, with its id; the coins become those that are made.
pub(super) fn payments(params: &Params, coins: &mut [OwnedCoin]) -> Vec<(Txid, Transaction)> {
    let pay = |coin: &mut OwnedCoin| {
        let key = coin.owner.public_key();
        let input = Input { outpoint: coin.outpoint, signature: Signature::EMPTY };
        let outputs = vec![Output::pay(key, coin.value.saturating_sub(FEE))];
        let mut tx = Transaction { version: 1, inputs: vec![input], outputs, lock_height: Height::GENESIS };
        let digest = tx.signature_digest(&params.genesis_hash, [&Output::pay(key, coin.value)]);
        tx.inputs[0].signature = coin.owner.sign(&digest);
        let txid = tx.txid();
        (coin.outpoint, coin.value) = (OutPoint { txid, index: 0 }, coin.value.saturating_sub(FEE));
        (txid, tx)
    };
    coins.par_iter_mut().map(pay).collect()
}

/// The signature checks of payments of these coins, to measure their cost alone.
pub(super) fn signature_checks(params: &Params, coins: &[OwnedCoin]) -> Vec<SignatureCheck> {
    let check = |(coin, (_, tx)): (&OwnedCoin, (Txid, Transaction))| {
        let key = coin.owner.public_key();
        let digest = tx.signature_digest(&params.genesis_hash, [&Output::pay(key, coin.value)]);
        SignatureCheck { key, signature: tx.inputs[0].signature, digest }
    };
    coins.iter().zip(payments(params, &mut coins.to_vec())).map(check).collect()
}

/// So many headers after genesis, at the pace that keeps the difficulty; there are no blocks to them.
pub(super) fn headers(params: &Params, count: usize) -> Vec<Header> {
    let mut parent = params.genesis.header;
    let next = || {
        let (previous, time) = (parent.hash(), parent.time + params.target_spacing_secs);
        parent = Header { previous, time, nonce: 0, ..parent };
        // Every second nonce will do.
        while !params.genesis_target.is_met_by(&parent.hash()) {
            parent.nonce += 1;
        }
        parent
    };
    std::iter::repeat_with(next).take(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Chain;
    use crate::mempool::{Limits, Mempool};
    use crate::primitives::time::UnixTime;
    use crate::storage::MemoryStore;

    #[test]
    fn payments_and_headers_keep_the_rules() {
        let (params, mut coins) = network(3).unwrap();
        let mut chain = Chain::open(params.clone(), Arc::new(MemoryStore::new())).unwrap();
        assert!(signature_checks(&params, &coins).iter().all(SignatureCheck::holds));
        let mut pool = Mempool::new(params.clone(), Limits::default());
        let now = u64::from(params.timestamp);
        for (txid, tx) in payments(&params, &mut coins).into_iter().chain(payments(&params, &mut coins)) {
            assert_eq!(pool.accept(tx, &chain, UnixTime::from_secs(now)).unwrap().txid, txid);
        }
        assert_eq!(chain.accept_headers(&headers(&params, 20), UnixTime::from_secs(now + 1_000)).unwrap(), 20);
    }
}
