//! The states that blocks commit to: computed apart, waited for, kept and checked.

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn::chain::{self, Chain, ChainError, ChainUpdate, Step};
use cairn::consensus::params::{GenesisSpec, Params};
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::block::Block;
use cairn::primitives::height::Height;
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::{OutPoint, Output};
use cairn::state::{KeyRange, Leaf, Source};
use cairn::storage::{Batch, Database, MemoryStore, Store, StoreError};
use cairn_testkit::{Ledger, funded, public};

use crate::storage::entries;

const NOW: UnixTime = UnixTime::from_secs(2_000_000_000);
const EPOCH: u32 = 3;
/// Coins of genesis that a block spends.
const PAYMENTS: u8 = 4;

fn params() -> Arc<Params> {
    let mut spec = GenesisSpec { epoch_blocks: EPOCH, ..funded(0..100, COIN) };
    assert!(spec.mine_nonce());
    Arc::new(Params::new(spec).unwrap())
}

/// Blocks on the ledger's tip. Each block spends some coins of genesis, and each coin to two others.
pub fn spending(ledger: &mut Ledger, count: u32) -> Vec<Block> {
    let next = |_| {
        let first = PAYMENTS * ledger.height().as_u32() as u8;
        let pay = |n: u8| {
            let half = Output::pay(public(n), Amount::from_grains(COIN / 2));
            ledger.payment(&[ledger.allocation(n + 1)], vec![half.clone(), half])
        };
        let block = ledger.block((first..first + PAYMENTS).map(pay).collect());
        ledger.append(&block);
        block
    };
    (0..count).map(next).collect()
}

fn accept(chain: &mut Chain, block: &Block) -> ChainUpdate {
    let update = chain.accept_block(block.clone(), NOW, &|_| false).unwrap();
    assert!(update.rejected.is_empty());
    update
}

fn check(chain: &Chain) {
    chain::check(chain.db(), chain.params(), &mut |_, _| {}).unwrap();
}

/// The coins after the last edge of a ledger.
fn coins_of(ledger: &Ledger) -> Vec<Leaf> {
    ledger.epochs.table().leaves().copied().collect()
}

/// The coins of a state, if the chain keeps it.
fn kept(chain: &Chain, edge: u32) -> Option<Vec<Leaf>> {
    let all = |source: &Source<'_, StoreError>| (source.leaves)(&KeyRange::ALL, usize::MAX).unwrap();
    chain.db().with_state(Height::from_u32(edge), EPOCH, all).unwrap()
}

/// Moves the table as far as it goes, a block at a time, so that it stands between edges too.
fn follow(chain: &Chain) {
    while chain.state_table().advance(1).unwrap() != Step::Idle {}
}

fn next_edge(chain: &Chain) -> cairn::storage::BlockKey {
    chain.state_table().next_edge().unwrap().expect("the chain has come to an edge")
}

#[test]
fn a_block_waits_for_the_state_that_it_commits_to() {
    let mut chain = Chain::open(params(), Arc::new(MemoryStore::new())).unwrap();
    chain.await_states().unwrap();
    let mut ledger = Ledger::on(&params());
    let blocks = spending(&mut ledger, 9);
    // The first epoch commits to nothing, the second to genesis, which is known.
    for block in &blocks[..5] {
        assert_eq!(accept(&mut chain, block).connected.len(), 1);
    }
    assert!(chain.is_state_due());
    let is_pending = |chain: &Chain| {
        chain.is_state_pending()
            && matches!(chain.committed(), Err(ChainError::StatePending { edge }) if edge == Height::from_u32(EPOCH))
    };
    assert!(is_pending(&chain));
    // What comes meanwhile is kept, out of order too.
    let headers: Vec<_> = blocks[5..].iter().map(|block| block.header).collect();
    assert_eq!(chain.accept_headers(&headers, NOW).unwrap(), 4);
    for at in [6, 5, 7] {
        assert!(accept(&mut chain, &blocks[at]).is_empty());
    }
    assert!(chain.resume().unwrap().awaits_state);
    assert_eq!(chain.tip().height, Height::from_u32(5));

    let edge = next_edge(&chain);
    // Until the chain is told, the table changes nothing.
    assert!(is_pending(&chain) && chain.resume().unwrap().awaits_state);
    chain.state_ready(&edge).unwrap();
    let update = chain.resume().unwrap();
    assert_eq!((update.connected.len(), update.awaits_state), (3, false));
    let edge = next_edge(&chain);
    assert_eq!(edge, chain.entry_at(Height::from_u32(6)).unwrap().key());
    assert_eq!(chain.state_table().next_edge().unwrap(), None);
    assert_eq!(chain.last_edge(), edge);
    chain.state_ready(&edge).unwrap();
    accept(&mut chain, &blocks[8]);
    assert_eq!(chain.tip().hash, ledger.tip().hash());
    check(&chain);
}

#[test]
fn news_of_a_state_that_is_gone_changes_nothing() {
    let mut chain = Chain::open(params(), Arc::new(MemoryStore::new())).unwrap();
    chain.await_states().unwrap();
    Ledger::on(&params()).extend(5, 1).iter().for_each(|block| drop(accept(&mut chain, block)));
    let edge = next_edge(&chain);
    // The edge's block is left before the chain hears of its state, then taken again: its state is computed once more.
    chain.invalidate(&edge.hash).unwrap();
    chain.state_ready(&edge).unwrap();
    assert_eq!(chain.tip().height, Height::from_u32(EPOCH - 1));
    chain.reconsider(&edge.hash).unwrap();
    assert!(chain.is_state_pending());
    chain.state_ready(&edge).unwrap();
    assert!(!chain.is_state_pending());
    check(&chain);
}

#[test]
fn a_rewound_chain_waits_for_no_state_of_its_way_and_for_the_next_one() {
    let mut chain = Chain::open(params(), Arc::new(MemoryStore::new())).unwrap();
    chain.await_states().unwrap();
    let accept_all = |chain: &mut Chain, blocks: &[Block]| {
        for block in blocks {
            accept(chain, block);
            while let Some(edge) = chain.state_table().next_edge().unwrap() {
                chain.state_ready(&edge).unwrap();
            }
        }
    };
    let mut ledger = Ledger::on(&params());
    let blocks = spending(&mut ledger, 9);
    accept_all(&mut chain, &blocks[..8]);
    let bookmark = chain.bookmark();
    let mut other = Ledger::on(&params());
    blocks[..2].iter().for_each(|block| drop(other.append(block)));
    accept_all(&mut chain, &other.extend(10, 1));
    assert_eq!(chain.tip().hash, other.tip().hash());

    // Blocks 6 to 8 commit to the state after block 3 of this branch, which no thread has computed again.
    chain.rewind(&bookmark).unwrap();
    assert_eq!((chain.tip().hash, chain.is_state_due()), (blocks[7].hash(), true));
    assert!(chain.is_state_pending(), "the state after block 6 is still to come");
    assert!(accept(&mut chain, &blocks[8]).awaits_state);
    chain.state_ready(&next_edge(&chain)).unwrap();
    assert_eq!(chain.resume().unwrap().connected.len(), 1);
    check(&chain);
    // That state stays known if its block is not left.
    chain.rewind(&bookmark).unwrap();
    assert_eq!((chain.tip().hash, chain.is_state_pending()), (blocks[7].hash(), false));
    check(&chain);
}

#[test]
fn the_last_states_can_be_read_while_the_table_moves_on_and_back() {
    let mut chain = Chain::open(params(), Arc::new(MemoryStore::new())).unwrap();
    let mut ledger = Ledger::on(&params());
    let mut expected = vec![coins_of(&ledger)];
    for last in 1..=4 {
        for block in spending(&mut ledger, EPOCH) {
            accept(&mut chain, &block);
            follow(&chain);
        }
        expected.push(coins_of(&ledger));
        for (edge, coins) in (0..).zip(&expected) {
            let is_kept = edge + 2 >= last;
            assert_eq!(kept(&chain, edge * EPOCH).as_ref(), is_kept.then_some(coins), "state {edge} of {last}");
        }
        check(&chain);
    }
    // Back behind the edges, a block at a time, to where no state is kept any more.
    while chain.tip().height > Height::from_u32(2) {
        let tip = chain.tip().hash;
        chain.invalidate(&tip).unwrap();
        let (height, edge) = (chain.tip().height, chain.tip().height.as_u32() / EPOCH);
        // The table is there itself when it comes to an edge; between edges it needs what was noted on the way up.
        let is_kept = edge >= 2 || height.as_u32().is_multiple_of(EPOCH);
        let coins = is_kept.then_some(&expected[edge as usize]);
        assert_eq!(kept(&chain, edge * EPOCH).as_ref(), coins, "back at {height}");
        check(&chain);
    }
    // Another branch from there, longer than the first.
    let mut other = Ledger::on(&params());
    ledger.blocks[1..=2].iter().for_each(|block| drop(other.append(block)));
    other.extend(13, 9).iter().for_each(|block| drop(accept(&mut chain, block)));
    assert_eq!(chain.tip().hash, other.tip().hash());
    follow(&chain);
    assert_eq!(kept(&chain, 15), Some(coins_of(&other)));
    check(&chain);
}

/// So many coins come, and go again, that two threads compute the table.
#[test]
fn a_table_of_many_changes_is_that_of_the_blocks() {
    const OUTPUTS: u32 = 300;
    let mut chain = Chain::open(params(), Arc::new(MemoryStore::new())).unwrap();
    chain.await_states().unwrap();
    let mut ledger = Ledger::on(&params());
    let each = Output::pay(public(1), Amount::from_grains(COIN / u64::from(OUTPUTS)));
    let spread: Vec<_> =
        (1..=4).map(|n| ledger.payment(&[ledger.allocation(n)], vec![each.clone(); OUTPUTS as usize])).collect();
    let txids: Vec<_> = spread.iter().map(|tx| tx.txid()).collect();
    for turn in 1..=2 {
        let payments = if turn == 1 {
            spread.clone()
        } else {
            let coins = |txid| (0..OUTPUTS - 10).map(|index| OutPoint { txid, index }).collect::<Vec<_>>();
            txids.iter().map(|txid| ledger.payment(&coins(*txid), vec![each.clone()])).collect()
        };
        let block = ledger.block(payments);
        ledger.append(&block);
        accept(&mut chain, &block);
        ledger.extend(EPOCH - 1, 1).iter().for_each(|block| drop(accept(&mut chain, block)));
        let edge = next_edge(&chain);
        chain.state_ready(&edge).unwrap();
        assert_eq!(kept(&chain, turn * EPOCH), Some(coins_of(&ledger)));
        check(&chain);
    }
}

#[test]
fn the_check_misses_no_entry_of_the_states() {
    let store = Arc::new(MemoryStore::new());
    let mut chain = Chain::open(params(), store.clone()).unwrap();
    spending(&mut Ledger::on(&params()), 3 * EPOCH + 1).iter().for_each(|block| drop(accept(&mut chain, block)));
    follow(&chain);
    let sound = entries(&*store);
    let kinds: BTreeSet<u8> = sound.keys().map(|key| key[0]).filter(|kind| b"sSDEL".contains(kind)).collect();
    assert_eq!(kinds.len(), 5, "all kinds of entries are there");
    let changed = |key: &[u8], value: Option<&[u8]>| {
        let store = Arc::new(MemoryStore::new());
        let mut batch = Batch::default();
        sound.iter().for_each(|(key, value)| batch.put(key, value));
        match value {
            Some(value) => batch.put(key, value),
            None => batch.delete(key),
        }
        store.commit(batch).unwrap();
        chain::check(&Database::new(store as Arc<dyn Store>), chain.params(), &mut |_, _| {})
    };
    // Each is a replay: some of each kind.
    for kind in kinds {
        let all: Vec<_> = sound.iter().filter(|(key, _)| key[0] == kind).collect();
        for (key, value) in all.iter().step_by(all.len().div_ceil(6)) {
            let name = format!("{}{}", kind as char, hex::encode(&key[1..]));
            assert!(changed(key, None).is_err(), "{name} may be missing");
            if let Some((last, rest)) = value.split_last() {
                assert!(changed(key, Some(&[rest, &[last ^ 1]].concat())).is_err(), "{name} may be another");
            }
        }
    }
}
