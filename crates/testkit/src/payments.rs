//! Well-known test keys, their coins in genesis, and signed transactions.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use cairn_core::consensus::coins::Coin;
use cairn_core::consensus::params::{Allocation, GenesisSpec, Params};
use cairn_core::primitives::address;
use cairn_core::primitives::amount::{Amount, COIN};
use cairn_core::primitives::height::Height;
use cairn_core::primitives::keys::{PublicKey, SecretKey, Signature};
use cairn_core::primitives::tx::{Input, OutPoint, Output, Transaction};
use cairn_core::state::KeyRange;

/// One of 256 well-known test keys.
pub fn key(n: u8) -> SecretKey {
    SecretKey::from_seed([n; 32])
}

/// The public half of [`key`].
pub fn public(n: u8) -> PublicKey {
    key(n).public_key()
}

/// Two keys whose locks have digests with 40 leading bits in common, so that their coins stand next to each other in the
/// state. They are found by search: among a million and more there are two.
pub fn twins() -> [PublicKey; 2] {
    static TWINS: OnceLock<[PublicKey; 2]> = OnceLock::new();
    *TWINS.get_or_init(|| {
        let numbered = |n: u64| PublicKey([n.to_le_bytes(); 4].concat().try_into().expect("32 bytes"));
        let mut seen = HashMap::new();
        let mut pairs = (0..).filter_map(|n| {
            let bits: [u8; 5] = *KeyRange::lock(&numbered(n)).first().as_bytes().first_chunk()?;
            seen.insert(bits, n).map(|other| [numbered(other), numbered(n)])
        });
        pairs.next().expect("the numbers do not end before")
    })
}

/// A regtest network whose genesis gives a coin of `value` grains to each of `keys`, in their order.
pub fn funded(keys: impl IntoIterator<Item = u8>, value: u64) -> GenesisSpec {
    let mut spec = GenesisSpec::regtest();
    let address = |n| address::encode(&spec.address_prefix, &public(n));
    spec.alloc =
        keys.into_iter().map(|n| Allocation { address: address(n), value: Amount::from_grains(value) }).collect();
    assert!(spec.mine_nonce());
    spec
}

/// Regtest with 1,000 coins from genesis for each of keys 0 to 7.
pub fn params() -> Arc<Params> {
    Arc::new(Params::new(funded(0..8, 1_000 * COIN)).expect("the parameters are valid"))
}

/// The first coin of genesis that key `n` owns.
pub fn genesis_coin(params: &Params, n: u8) -> (OutPoint, Coin) {
    let coinbase = &params.genesis.transactions[0];
    let owner = public(n);
    let mut outputs = coinbase.outpoints(coinbase.txid());
    let (outpoint, output) = outputs.find(|(_, output)| output.key() == Some(&owner)).expect("genesis funds the key");
    (outpoint, Coin { output: output.clone(), height: Height::GENESIS, coinbase: false })
}

/// A transaction with empty signatures.
pub fn unsigned(spends: &[OutPoint], outputs: Vec<Output>) -> Transaction {
    let inputs = spends.iter().map(|outpoint| Input { outpoint: *outpoint, signature: Signature::EMPTY }).collect();
    Transaction { version: 1, inputs, outputs, lock_height: Height::GENESIS }
}

/// Signs each input with the key beside the output that it spends.
pub fn sign(params: &Params, mut tx: Transaction, spent: &[(&Output, &SecretKey)]) -> Transaction {
    let digest = tx.signature_digest(&params.genesis_hash, spent.iter().map(|(output, _)| *output));
    for (input, (_, key)) in tx.inputs.iter_mut().zip(spent) {
        input.signature = key.sign(&digest);
    }
    tx
}

/// A transaction that spends `coins`, each signed by the key beside it, into `outputs`.
pub fn spend(params: &Params, coins: &[(OutPoint, Coin, &SecretKey)], outputs: Vec<Output>) -> Transaction {
    let spends: Vec<OutPoint> = coins.iter().map(|(outpoint, ..)| *outpoint).collect();
    let spent: Vec<_> = coins.iter().map(|(_, coin, key)| (&coin.output, *key)).collect();
    sign(params, unsigned(&spends, outputs), &spent)
}
