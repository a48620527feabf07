//! Networks and blocks made up for the benchmarks: valid ones, full of payments by keys that all differ, so that no
//! signature is cheaper for having a neighbour of the same key.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use crate::consensus::params::{Allocation, GenesisSpec, Params};
use crate::primitives::address;
use crate::primitives::amount::COIN;
use crate::primitives::block::Block;
use crate::primitives::hash::{Hash256, Txid};
use crate::primitives::header::Header;
use crate::primitives::keys::{SecretKey, Signature, SignatureCheck};
use crate::primitives::merkle;
use crate::primitives::mmr::{Node, Range};
use crate::primitives::tx::{Input, OutPoint, Output, Transaction};

/// What a payment leaves to the miner, in grains: more than any pool's least.
const FEE: u64 = 1_000;

/// A coin and its owner.
#[derive(Clone)]
pub(super) struct Owned {
    outpoint: OutPoint,
    value: u64,
    owner: SecretKey,
}

/// A network with instant blocks, whose genesis gives a coin each to so many keys; and these coins.
pub(super) fn network(coins: u32) -> anyhow::Result<(Arc<Params>, Vec<Owned>)> {
    let owners: Vec<SecretKey> = (0..coins).map(|n| SecretKey::from_seed(Hash256::of(&n.to_le_bytes()).0)).collect();
    let mut spec = GenesisSpec::regtest();
    let to = |owner: &SecretKey| Allocation {
        address: address::encode(&spec.address_prefix, &owner.public_key()),
        value: COIN,
    };
    spec.alloc = owners.iter().map(to).collect();
    spec.mine_nonce();
    let params = Params::new(spec)?;
    let txid = params.genesis.transactions[0].txid();
    // Output 0 is data.
    let coins =
        (1..).zip(owners).map(|(index, owner)| Owned { outpoint: OutPoint { txid, index }, value: COIN, owner });
    let coins = coins.collect();
    Ok((Arc::new(params), coins))
}

/// A payment of each coin to its own owner, with its id; the coins become those that are made.
pub(super) fn payments(params: &Params, coins: &mut [Owned]) -> Vec<(Txid, Transaction)> {
    let pay = |coin: &mut Owned| {
        let key = coin.owner.public_key();
        let input = Input { outpoint: coin.outpoint, signature: Signature::EMPTY };
        let outputs = vec![Output::pay(key, coin.value - FEE)];
        let mut tx = Transaction { version: 1, inputs: vec![input], outputs, lock_height: 0 };
        let digest = tx.signature_digest(&params.genesis_hash, [&Output::pay(key, coin.value)]);
        tx.inputs[0].signature = coin.owner.sign(&digest);
        let txid = tx.txid();
        (coin.outpoint, coin.value) = (OutPoint { txid, index: 0 }, coin.value - FEE);
        (txid, tx)
    };
    coins.par_iter_mut().map(pay).collect()
}

/// The claims that payments of these coins make by their signatures: what checking them costs by itself.
pub(super) fn signature_checks(params: &Params, coins: &[Owned]) -> Vec<SignatureCheck> {
    let check = |(coin, (_, tx)): (&Owned, (Txid, Transaction))| {
        let key = coin.owner.public_key();
        let digest = tx.signature_digest(&params.genesis_hash, [&Output::pay(key, coin.value)]);
        SignatureCheck { key, signature: tx.inputs[0].signature, digest }
    };
    coins.iter().zip(payments(params, &mut coins.to_vec())).map(check).collect()
}

/// So many blocks after genesis, each with a payment of every coin.
pub(super) fn full_blocks(params: &Params, coins: &mut [Owned], count: u32) -> Vec<Block> {
    let mut range = Range::default();
    let work = params.genesis_target.work();
    range.push(Node::leaf(params.genesis_hash, work));
    let mut tip = (params.genesis_hash, params.genesis.header);
    let mut block = |height: u32| {
        let payments = payments(params, coins);
        let payee = SecretKey::from_seed([7; 32]).public_key();
        let reward = params.subsidy_at(height) + FEE * payments.len() as u64;
        let outputs = vec![Output::pay(payee, reward), Output::data(range.root().0.to_vec())];
        let coinbase = Transaction { version: 1, inputs: Vec::new(), outputs, lock_height: height };
        let coinbase = (coinbase.txid(), coinbase);
        let (txids, transactions) = std::iter::once(coinbase).chain(payments).unzip();
        let header = child(tip, merkle::root(txids).hash, params);
        tip = (header.hash(), header);
        range.push(Node::leaf(tip.0, work));
        Block { header, transactions }
    };
    (1..=count).map(&mut block).collect()
}

/// So many headers after genesis; there are no blocks to them.
pub(super) fn headers(params: &Params, count: u32) -> Vec<Header> {
    let mut tip = (params.genesis_hash, params.genesis.header);
    let mut next = |n: u32| {
        let header = child(tip, Hash256::of(&n.to_le_bytes()), params);
        tip = (header.hash(), header);
        header
    };
    (0..count).map(&mut next).collect()
}

/// A mined header: on these networks every second nonce will do.
fn child((hash, parent): (Hash256, Header), merkle_root: Hash256, params: &Params) -> Header {
    let time = parent.time + params.target_spacing_secs;
    let mut header = Header { version: 1, previous: hash, merkle_root, time, bits: parent.bits, nonce: 0 };
    while !params.genesis_target.is_met_by(&header.hash()) {
        header.nonce += 1;
    }
    header
}

/// A new directory, removed with all that is in it when this is dropped.
pub(super) struct ScratchDir(PathBuf);

impl ScratchDir {
    pub(super) fn new() -> std::io::Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cairn-bench-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // What cannot be removed from the system's place for such things, the system will remove.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::Chain;
    use crate::storage::MemoryStore;

    #[test]
    fn blocks_and_headers_keep_the_rules() {
        let (params, mut coins) = network(3).unwrap();
        let mut chain = Chain::open(params.clone(), Arc::new(MemoryStore::new())).unwrap();
        let now = u64::from(params.timestamp) + 1_000;
        assert!(signature_checks(&params, &coins).iter().all(SignatureCheck::holds));
        for block in full_blocks(&params, &mut coins, 3) {
            assert_eq!(block.transactions.len(), 4);
            assert_eq!(chain.accept_block(block, now, &|_| false).unwrap().connected.len(), 1);
        }
        let mut chain = Chain::open(params.clone(), Arc::new(MemoryStore::new())).unwrap();
        assert_eq!(chain.accept_headers(&headers(&params, 20), now).unwrap(), 20);
    }
}
