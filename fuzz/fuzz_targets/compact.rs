//! Compact blocks, honest and not, made whole with any transactions at hand and any answer: what is found, what is missing
//! and what comes of it is what a naive reading of BIP-152 says, and nothing but the block itself passes for it.

#![no_main]

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use cairn::p2p::compact::{CompactBlock, CompactError, MAX_PREFILLED, Partial, Prefilled, ShortId};
use cairn::primitives::block::Block;
use cairn::primitives::hash::{Hash256, MerkleRoot, Txid};
use cairn::primitives::height::Height;
use cairn::primitives::keys::Signature;
use cairn::primitives::merkle;
use cairn::primitives::tx::{HashedTransaction, Input, OutPoint, Output, Transaction};
use cairn_fuzz::{Script, params, seed};
use libfuzzer_sys::fuzz_target;

fn seeds() {
    let honest = |count: u8, at_hand: &[u8]| [&[count, 7, 2, 1, 3][..], &[at_hand.len() as u8], at_hand].concat();
    let mut inputs = vec![honest(0, &[]), honest(3, &[0, 1]), honest(20, &(0..25).collect::<Vec<u8>>())];
    // Each kind of change, then each kind of answer.
    inputs.extend((0..9u8).map(|change| [honest(8, &[0, 1, 2, 5]), vec![1, change, 2, 3, 4, 5]].concat()));
    inputs.extend((0..5u8).map(|answer| [honest(8, &[0, 1, 2, 5]), vec![0, answer, 1, 2]].concat()));
    seed("compact", inputs);
}

/// Transaction `n` of no block in particular.
fn transaction(n: u8) -> Transaction {
    let outpoint = OutPoint { txid: Txid::of(&[n]), index: n.into() };
    let input = Input { outpoint, signature: Signature::EMPTY };
    Transaction {
        version: 1,
        inputs: vec![input],
        outputs: vec![Output::data(Vec::new())],
        lock_height: Height::GENESIS,
    }
}

type Pool = Vec<HashedTransaction>;

static ALL: LazyLock<Pool> = LazyLock::new(|| (0..=255).map(transaction).map(HashedTransaction::new).collect());

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let mut script = Script(bytes);
    let mut block = params().genesis.clone();
    block.transactions.extend((0..script.byte() % 64).map(transaction));
    block.header.merkle_root = merkle::root(block.txids()).hash;
    let nonce = script.byte().into();
    let mut also: Vec<u16> = (0..script.byte() % 8).map(|_| script.byte().into()).collect();
    also.sort_unstable();
    let at_hand: Pool = (0..script.byte()).map(|_| ALL[usize::from(script.byte())].clone()).collect();

    let honest = CompactBlock::new(&block, &block.txids(), nonce, &also);
    let mut compact = honest.clone();
    for _ in 0..script.byte() % 8 {
        change(&mut compact, &mut script);
    }

    let expected = place(&compact, &at_hand);
    let got = Partial::new(&compact, &at_hand);
    let (partial, slots) = match (got, expected) {
        (Ok(partial), Ok(slots)) => (partial, slots),
        (Err(got), Err(expected)) => return assert_eq!(got, expected),
        (got, expected) => panic!("{got:?}, not {expected:?}"),
    };
    let missing: Vec<u16> = (0..).zip(&slots).filter(|(_, slot)| slot.is_none()).map(|(place, _)| place).collect();
    assert_eq!(partial.missing(), missing);

    let answer = answer(&block, &missing, &mut script);
    let is_honest = compact == honest && answer == served(&block, &missing);
    let expected = whole(&compact, slots, &answer);
    let got = partial.finish(answer).map(|matched| matched.block().clone());
    assert_eq!(got, expected);
    if is_honest {
        assert_eq!(got.as_ref(), Ok(&block), "an honest block comes whole");
    }
    if let Ok(got) = got {
        assert_eq!(merkle::root(got.txids()).hash, compact.header.merkle_root);
        if compact.header == block.header {
            assert_eq!(got, block, "nothing else passes for it");
        }
    }
});

/// Something that no honest peer does, or that it does only when asked for another block.
fn change(compact: &mut CompactBlock, script: &mut Script) {
    let what = script.byte() % 9;
    let (a, b) = (usize::from(script.byte()), usize::from(script.byte()));
    let ids = compact.short_ids.len();
    match what {
        0 if ids > 0 => drop(compact.short_ids.remove(a % ids)),
        1 if ids > 0 => compact.short_ids[a % ids] = compact.short_ids[b % ids],
        2 if ids > 0 => compact.short_ids.swap(a % ids, b % ids),
        // As if the block had another transaction there.
        3 if ids > 0 => compact.short_ids[a % ids] = short_ids(compact, [ALL[b].txid()])[0],
        4 => compact.short_ids.push(ShortId([a as u8; ShortId::LEN])),
        5 if !compact.prefilled.is_empty() => {
            let length = compact.prefilled.len();
            compact.prefilled[a % length].index = b as u16;
        }
        6 if compact.prefilled.len() < MAX_PREFILLED => {
            let transaction = Arc::new(transaction(b as u8));
            compact.prefilled.push(Prefilled { index: a as u16, transaction });
        }
        7 if !compact.prefilled.is_empty() => drop(compact.prefilled.remove(a % compact.prefilled.len())),
        8 => compact.header.nonce ^= 1 + a as u32,
        _ => {}
    }
}

/// The short ids that a compact block would have for these transactions.
fn short_ids(compact: &CompactBlock, txids: impl IntoIterator<Item = Txid>) -> Vec<ShortId> {
    let txids: Vec<Txid> = [Txid::from_bytes([0; 32])].into_iter().chain(txids).collect();
    let empty = Transaction { version: 1, inputs: Vec::new(), outputs: Vec::new(), lock_height: Height::GENESIS };
    let stub = Block { header: compact.header, transactions: vec![empty; txids.len()] };
    CompactBlock::new(&stub, &txids, compact.nonce, &[]).short_ids
}

/// What stands where, one place after another.
fn place(compact: &CompactBlock, at_hand: &Pool) -> Result<Vec<Option<Arc<Transaction>>>, CompactError> {
    let total = compact.transactions();
    if compact.prefilled.first().is_none_or(|first| first.index != 0) {
        return Err(CompactError::NoCoinbase);
    }
    let mut slots: Vec<Option<Arc<Transaction>>> = vec![None; total];
    let mut last = None;
    for Prefilled { index, transaction } in &compact.prefilled {
        if usize::from(*index) >= total || last.is_some_and(|last| *index <= last) {
            return Err(CompactError::Misplaced { index: *index });
        }
        slots[usize::from(*index)] = Some(transaction.clone());
        last = Some(*index);
    }
    let distinct: BTreeSet<[u8; 6]> = compact.short_ids.iter().map(|id| id.0).collect();
    if distinct.len() < compact.short_ids.len() {
        return Err(CompactError::Collision);
    }
    let ids = short_ids(compact, at_hand.iter().map(HashedTransaction::txid));
    let empty = slots.iter_mut().filter(|slot| slot.is_none());
    for (slot, id) in empty.zip(&compact.short_ids) {
        let fitting = ids.iter().zip(at_hand).filter(|(other, _)| *other == id).map(|(_, tx)| (tx.txid(), tx.shared()));
        let fitting: std::collections::BTreeMap<_, _> = fitting.collect();
        if fitting.len() == 1 {
            *slot = fitting.into_values().next().cloned();
        }
    }
    Ok(slots)
}

fn served(block: &Block, places: &[u16]) -> Vec<Arc<Transaction>> {
    let at = |place: &u16| block.transactions.get(usize::from(*place)).cloned().map(Arc::new);
    places.iter().filter_map(at).collect()
}

/// What a peer answers that was asked for the missing ones.
fn answer(block: &Block, missing: &[u16], script: &mut Script) -> Vec<Arc<Transaction>> {
    let mut answer = served(block, missing);
    let what = script.byte() % 5;
    let (a, b) = (usize::from(script.byte()), script.byte());
    let length = answer.len().max(1);
    match what {
        1 => drop(answer.pop()),
        2 => answer.push(Arc::new(transaction(b))),
        3 => answer.iter_mut().skip(a % length).take(1).for_each(|tx| *tx = Arc::new(transaction(b))),
        4 => answer.reverse(),
        _ => {}
    }
    answer
}

/// The block that comes of it, if any.
fn whole(
    compact: &CompactBlock,
    mut slots: Vec<Option<Arc<Transaction>>>,
    answer: &[Arc<Transaction>],
) -> Result<Block, CompactError> {
    let expected = slots.iter().filter(|slot| slot.is_none()).count();
    if answer.len() != expected {
        return Err(CompactError::WrongCount { got: answer.len(), expected });
    }
    slots.iter_mut().filter(|slot| slot.is_none()).zip(answer).for_each(|(slot, tx)| *slot = Some(tx.clone()));
    let transactions: Vec<Transaction> = slots.into_iter().flatten().map(|tx| tx.as_ref().clone()).collect();
    let mut level: Vec<Hash256> = transactions.iter().map(|tx| tx.txid().as_leaf()).collect();
    let mut repeats = false;
    while level.len() > 1 {
        repeats |= level.chunks_exact(2).any(|pair| pair[0] == pair[1]);
        level = level.chunks(2).map(|pair| Hash256::of_pair(&pair[0], pair.get(1).unwrap_or(&pair[0]))).collect();
    }
    match repeats || MerkleRoot::from_node(level[0]) != compact.header.merkle_root {
        true => Err(CompactError::WrongRoot),
        false => Ok(Block { header: compact.header, transactions }),
    }
}
