//! The chain on one branch, on two, and across restarts.

use std::sync::Arc;

use cairn::chain::{Chain, ChainError, TipStatus, check};
use cairn::consensus::coins::CoinView;
use cairn::consensus::error::{Blame, RuleError};
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::height::Height;
use cairn::primitives::keys::PublicKey;
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::Output;
use cairn::storage::{MemoryStore, SledStore, Store, StoreError, TxLocation};
use cairn_testkit::{Ledger, genesis_coin, key, params, spend};

const NOW: UnixTime = UnixTime::from_secs(2_000_000_000);

fn open(store: &Arc<MemoryStore>) -> Chain {
    Chain::open(params(), store.clone()).unwrap()
}

fn accept(chain: &mut Chain, block: &cairn::primitives::block::Block) -> Result<(usize, usize), ChainError> {
    let update = chain.accept_block(block.clone(), NOW, &|_| false)?;
    Ok((update.disconnected.len(), update.connected.len()))
}

#[test]
fn the_longer_branch_wins_and_coins_follow() {
    let store = Arc::new(MemoryStore::new());
    let mut chain = open(&store);
    let params = chain.params().clone();
    let mut left = Ledger::on(&params);
    let (outpoint, coin) = genesis_coin(&params, 0);
    let tx =
        spend(&params, &[(outpoint, coin, &key(0))], vec![Output::pay(key(1).public_key(), Amount::from_grains(5))]);
    let fee = 1_000 * COIN - 5;
    let paid = left.make(&key(2).public_key(), std::slice::from_ref(&tx), fee, 0);
    left.push(paid.clone());
    assert_eq!(accept(&mut chain, &paid).unwrap(), (0, 1));
    assert_eq!(chain.db().tx_location(&tx.txid()).unwrap().unwrap().height, Height::from_u32(1));
    assert_eq!(chain.coin(&outpoint).unwrap(), None);
    let history = chain.db().address_history(&key(0).public_key(), TxLocation::default(), 10).unwrap();
    assert_eq!((history.len(), history[1].spent), (2, Amount::from_grains(fee + 5)));

    // A branch of equal length changes nothing; one block more moves the tip, the coins and the indexes.
    let mut right = Ledger::on(&params);
    let blocks = right.extend(3, 7);
    assert_eq!(accept(&mut chain, &blocks[0]).unwrap(), (0, 0));
    assert_eq!(accept(&mut chain, &blocks[1]).unwrap(), (1, 2));
    assert_eq!(chain.tip().hash, blocks[1].hash());
    assert_eq!(chain.committed().unwrap(), {
        let mut two = Ledger::on(&params);
        two.extend(2, 7);
        two.committed()
    });
    assert!(chain.coin(&outpoint).unwrap().is_some());
    assert_eq!(chain.db().tx_location(&tx.txid()).unwrap(), None);
    assert_eq!(chain.db().address_history(&key(0).public_key(), TxLocation::default(), 10).unwrap().len(), 1);
    assert_eq!(
        chain.tips().iter().map(|tip| tip.status).collect::<Vec<_>>(),
        [TipStatus::Active, TipStatus::ValidFork]
    );

    // And the same again after a restart.
    drop(chain);
    let mut chain = open(&store);
    assert_eq!(chain.tip().hash, blocks[1].hash());
    assert_eq!(accept(&mut chain, &blocks[2]).unwrap(), (0, 1));
    let update = chain.invalidate(&blocks[0].hash()).unwrap();
    assert_eq!((update.disconnected.len(), update.connected.len()), (3, 1));
    assert_eq!(chain.tip().hash, paid.hash());
    let error = accept(&mut chain, &blocks[2]).unwrap_err();
    // A block that only this node's operator refuses is not a peer's fault.
    assert!(matches!(error, ChainError::Refused { hash } if hash == blocks[2].hash()));
    assert_eq!(error.blame(), Blame::None);
    let update = chain.reconsider(&blocks[2].hash()).unwrap();
    assert_eq!((update.disconnected.len(), update.connected.len()), (1, 3));
}

/// Any bytes are a key to pay to, so another key that begins like one's own costs nothing.
#[test]
fn keys_that_begin_alike_have_histories_of_their_own() {
    let mut chain = open(&Arc::new(MemoryStore::new()));
    let params = chain.params().clone();
    let own = key(77).public_key();
    let alike = |from: usize| {
        let mut other = own;
        other.0[from..].fill(0xaa);
        other
    };
    let keys = [own, alike(31), alike(20), alike(1)];
    let (outpoint, coin) = genesis_coin(&params, 0);
    let pay = |(n, key): (u64, &PublicKey)| Output::pay(*key, Amount::from_grains(n));
    let tx = spend(&params, &[(outpoint, coin, &key(0))], (1..).zip(&keys).map(pay).collect());
    let ledger = Ledger::on(&params);
    let block = ledger.make(&key(2).public_key(), &[tx], 1_000 * COIN - 10, 0);
    accept(&mut chain, &block).unwrap();
    let received = |chain: &Chain| {
        let history = |key| chain.db().address_history(key, TxLocation::default(), 10).unwrap();
        keys.each_ref().map(|key| history(key).iter().map(|entry| entry.received.as_grains()).collect::<Vec<_>>())
    };
    assert_eq!(received(&chain), [[1], [2], [3], [4]]);
    check(chain.db(), &params, &mut |_, _| ()).unwrap();
    chain.invalidate(&block.hash()).unwrap();
    assert!(received(&chain).iter().all(Vec::is_empty));
}

#[test]
fn bodies_may_come_in_any_order_after_headers() {
    let mut chain = open(&Arc::new(MemoryStore::new()));
    let blocks = Ledger::on(chain.params()).extend(40, 0);
    let headers: Vec<_> = blocks.iter().map(|block| block.header).collect();
    assert_eq!(chain.accept_headers(&headers, NOW).unwrap(), 40);
    assert_eq!((chain.tip().height, chain.best_header().height), (Height::GENESIS, Height::from_u32(40)));
    assert_eq!(chain.missing_bodies(100, 100).len(), 40);
    assert_eq!(
        chain.missing_bodies(10, 3).iter().map(|(_, height)| *height).collect::<Vec<_>>(),
        [1, 2, 3].map(Height::from_u32)
    );
    for block in blocks[1..].iter().rev() {
        assert_eq!(accept(&mut chain, block).unwrap(), (0, 0));
    }
    assert_eq!(accept(&mut chain, &blocks[0]).unwrap(), (0, 40));
    assert!(matches!(accept(&mut chain, &blocks[0]), Err(ChainError::Duplicate { .. })));
}

#[test]
fn a_mismatched_body_does_not_invalidate_the_header() {
    let mut chain = open(&Arc::new(MemoryStore::new()));
    let block = Ledger::on(chain.params()).extend(1, 0).remove(0);
    let mut other = block.clone();
    other.transactions[0].outputs[1].value =
        other.transactions[0].outputs[1].value.saturating_sub(Amount::from_grains(1));
    assert!(matches!(accept(&mut chain, &other).unwrap_err().rule(), Some(RuleError::WrongMerkleRoot { .. })));
    assert_eq!(accept(&mut chain, &block).unwrap(), (0, 1));
}

#[test]
fn an_invalid_block_invalidates_its_descendants_and_the_old_branch_returns() {
    let store = Arc::new(MemoryStore::new());
    let mut chain = open(&store);
    let params = chain.params().clone();
    let mut good = Ledger::on(&params);
    good.extend(2, 1).iter().for_each(|block| assert_eq!(accept(&mut chain, block).unwrap(), (0, 1)));
    // The second block of this branch takes too much; the chain finds out only when the third block makes the branch
    // best.
    let mut bad = Ledger::on(&params);
    let first = bad.extend(1, 2).remove(0);
    let greedy = bad.make(&key(0).public_key(), &[], 1, 0);
    bad.push(greedy.clone());
    let third = bad.extend(1, 2).remove(0);
    for block in [&first, &greedy] {
        assert_eq!(accept(&mut chain, block).unwrap(), (0, 0));
    }
    let update = chain.accept_block(third.clone(), NOW, &|_| false).unwrap();
    assert_eq!(chain.tip().hash, good.tip().hash());
    assert!(update.is_empty());
    assert!(matches!(update.rejected[..], [(hash, RuleError::CoinbaseTooHigh { .. })] if hash == greedy.hash()));
    drop(chain);
    let chain = open(&store);
    assert!(chain.entry(&third.hash()).unwrap().is_invalid() && !chain.entry(&first.hash()).unwrap().is_invalid());
}

#[test]
fn stores_of_other_networks_and_versions_and_other_processes_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = SledStore::open(dir.path()).unwrap();
    drop(Chain::open(params(), Arc::new(store)).unwrap());

    let store = Arc::new(SledStore::open(dir.path()).unwrap());
    assert!(matches!(SledStore::open(dir.path()), Err(StoreError::Locked { dir: named }) if named == dir.path()));
    let mut other = params().spec.clone();
    other.message.push('!');
    other.mine_nonce();
    let other = Arc::new(cairn::consensus::params::Params::new(other).unwrap());
    let Err(StoreError::GenesisMismatch { stored, configured, .. }) = Chain::open(other.clone(), store.clone()) else {
        panic!("another network's chain was opened")
    };
    assert_eq!((stored, configured), (params().genesis_hash, other.genesis_hash));

    let mut batch = cairn::storage::Batch::default();
    batch.put(b"v", 999u32.to_le_bytes());
    store.commit(batch).unwrap();
    assert!(matches!(Chain::open(params(), store), Err(StoreError::OtherSchema { found: 999, .. })));
}
