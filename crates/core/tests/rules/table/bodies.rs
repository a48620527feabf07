//! Bodies: their encoding, and whether they are what the header commits to.

use std::sync::Arc;

use cairn_core::consensus::check::{MAX_COINBASE_BYTES, MAX_TRANSACTION_BYTES};
use cairn_core::primitives::block::Block;
use cairn_core::primitives::codec;
use cairn_core::primitives::hash::MerkleRoot;
use cairn_core::primitives::header::Header;
use cairn_core::primitives::height::Height;
use cairn_core::primitives::tx::{Lock, Output, Transaction};

use super::{Case, Scene, Subject, breaks, pay, valid};

/// Where a block's parts stand in its bytes: the header, then a u64 count of transactions.
const COUNT: usize = Header::LEN;
/// The first transaction's first output, after version (u32), inputs (u64 count: none), count of outputs (u64) and its
/// own value (u64): the tag of its lock, then the length of its data.
const LOCK_TAG: usize = COUNT + 8 + 4 + 8 + 8 + 8;
const DATA_LENGTH: usize = LOCK_TAG + 4;

/// The bytes of the next block, changed.
fn bytes(scene: &Scene, change: impl FnOnce(&mut Vec<u8>)) -> Subject {
    let mut bytes = codec::encode(&scene.ledger.block(vec![scene.simple(1, 2)]));
    change(&mut bytes);
    Subject::Bytes(bytes)
}

/// `block` with its last `n` transactions repeated: the same header, the same Merkle root.
fn repeated_tail(scene: &Scene, payments: u8, n: usize) -> Subject {
    let honest = scene.ledger.block((1..=payments).map(|from| scene.simple(from, 20)).collect());
    let mut block = honest.clone();
    block.transactions.extend_from_slice(&honest.transactions[honest.transactions.len() - n..]);
    assert_eq!(root(&block), honest.header.merkle_root, "the tail is such that the root stays");
    Subject::Block(block)
}

fn root(block: &Block) -> MerkleRoot {
    cairn_core::primitives::merkle::root(block.txids()).hash
}

/// A transaction without inputs whose only output holds `n` bytes: 44 + `n` bytes in all.
fn bare(n: usize) -> Transaction {
    Transaction {
        version: 1,
        inputs: Vec::new(),
        outputs: vec![Output::data(vec![0; n])],
        lock_height: Height::GENESIS,
    }
}

/// Bytes of an output to a key: its value, the tag of its lock, the key.
const KEY_OUTPUT: usize = 8 + 4 + 32;

/// The most outputs to a key, and then the most bytes of data, of at least `least`, that make up `bytes` together.
fn split(bytes: usize, least: usize) -> (usize, usize) {
    ((bytes - least) / KEY_OUTPUT, (bytes - least) % KEY_OUTPUT + least)
}

/// A payment of exactly `size` bytes, in a network with room for it.
fn sized_payment(scene: &mut Scene, size: usize) -> Subject {
    Arc::make_mut(&mut scene.ledger.params).spec.max_block_bytes = 2_000_000;
    let coin = scene.ledger.allocation(1);
    let empty = scene.ledger.payment(&[coin], vec![Output::data(Vec::new())]);
    let (count, data) = split(size - empty.size(), 0);
    let outputs = (0..count).map(|_| pay(2, 1)).chain([Output::data(vec![0; data])]).collect();
    let payment = scene.ledger.payment(&[coin], outputs);
    assert_eq!(payment.size(), size);
    Subject::Payment(payment)
}

/// The next block, with a coinbase of exactly `size` bytes.
fn sized_coinbase(scene: &Scene, size: usize) -> Subject {
    scene.altered(Vec::new(), |block| {
        let coinbase = &mut block.transactions[0];
        let find = |output: Output| match output.lock {
            Lock::Data(data) => Some(data),
            Lock::Key(_) => None,
        };
        let mut data = std::mem::take(&mut coinbase.outputs).into_iter().find_map(find).unwrap();
        let empty = coinbase.size() + codec::encoded_len(&Output::data(Vec::new()));
        let (count, length) = split(size - empty, data.len());
        data.resize(length, 0);
        coinbase.outputs = (0..count).map(|_| pay(2, 1)).chain([Output::data(data)]).collect();
        assert_eq!(coinbase.size(), size);
    })
}

pub fn cases() -> Vec<Case> {
    vec![
        // Encoding.
        valid("the bytes of a block", |s| bytes(s, |_| {})),
        breaks("Encoding", "a byte after the end", |s| bytes(s, |bytes| bytes.push(0))),
        breaks("Encoding", "the last byte missing", |s| bytes(s, |bytes| bytes.truncate(bytes.len() - 1))),
        breaks("Encoding", "no bytes", |s| bytes(s, Vec::clear)),
        breaks("Encoding", "a header alone", |s| bytes(s, |bytes| bytes.truncate(Header::LEN))),
        breaks("Encoding", "one transaction more than there are", |s| bytes(s, |bytes| bytes[COUNT] += 1)),
        breaks("Encoding", "one transaction fewer than there are", |s| bytes(s, |bytes| bytes[COUNT] -= 1)),
        breaks("Encoding", "2^64 - 1 transactions", |s| bytes(s, |bytes| bytes[COUNT..COUNT + 8].fill(0xff))),
        breaks("Encoding", "a lock of an unknown kind", |s| {
            bytes(s, |bytes| {
                assert_eq!(bytes[LOCK_TAG..DATA_LENGTH], [1, 0, 0, 0], "the coinbase's first output is its data");
                bytes[LOCK_TAG] = 2;
            })
        }),
        breaks("Encoding", "a lock's tag with a high byte set", |s| bytes(s, |bytes| bytes[LOCK_TAG + 3] = 1)),
        breaks("Encoding", "data longer than the block", |s| bytes(s, |bytes| bytes[DATA_LENGTH + 5] = 1)),
        breaks("Encoding", "hex instead of bytes", |s| bytes(s, |bytes| *bytes = hex::encode(&bytes).into_bytes())),
        // Merkle root.
        breaks("WrongMerkleRoot", "a root of zero", |s| {
            s.forged(Vec::new(), |block| block.header.merkle_root = MerkleRoot::ZERO)
        }),
        breaks("WrongMerkleRoot", "transactions in another order than the header's", |s| {
            s.forged(vec![s.simple(1, 2), s.simple(2, 3)], |block| block.transactions.swap(1, 2))
        }),
        breaks("WrongMerkleRoot", "a transaction left out", |s| {
            s.forged(vec![s.simple(1, 2), s.simple(2, 3)], |block| drop(block.transactions.pop()))
        }),
        breaks("WrongMerkleRoot", "a transaction put in", |s| {
            let extra = s.simple(2, 3);
            s.forged(vec![s.simple(1, 2)], |block| block.transactions.push(extra))
        }),
        breaks("WrongMerkleRoot", "a signature altered on the way: the root commits to signatures", |s| {
            s.forged(vec![s.simple(1, 2)], |block| block.transactions[1].inputs[0].signature.0[5] ^= 1)
        }),
        breaks("WrongMerkleRoot", "the body of another block", |s| {
            let other = s.ledger.block(vec![s.simple(3, 4)]);
            s.forged(vec![s.simple(1, 2)], |block| block.transactions = other.transactions)
        }),
        breaks("WrongMerkleRoot", "an invalid body under a header that does not mean it", |s| {
            s.forged(vec![s.simple(1, 2)], |block| block.transactions[1].outputs.clear())
        }),
        valid("independent transactions in another order, and a header that says so", |s| {
            s.altered(vec![s.simple(1, 2), s.simple(2, 3)], |block| block.transactions.swap(1, 2))
        }),
        // Repeated tails (CVE-2012-2459).
        breaks("MutatedMerkleTree", "three transactions and the last of them again", |s| repeated_tail(s, 2, 1)),
        breaks("MutatedMerkleTree", "five, and the last of them three times more", |s| {
            let Subject::Block(mut block) = repeated_tail(s, 4, 1) else { unreachable!() };
            let last = block.transactions[4].clone();
            block.transactions.extend([last.clone(), last]);
            assert_eq!(root(&block), block.header.merkle_root);
            Subject::Block(block)
        }),
        breaks("MutatedMerkleTree", "six transactions and the last two of them again", |s| repeated_tail(s, 5, 2)),
        breaks("MutatedMerkleTree", "twelve transactions and the last four of them again", |s| repeated_tail(s, 11, 4)),
        breaks("MutatedMerkleTree", "a coinbase twice, and a header that says so", |s| {
            s.altered(Vec::new(), |block| block.transactions.push(block.transactions[0].clone()))
        }),
        valid("three transactions, whose last node is doubled by the tree itself", |s| {
            s.with(vec![s.simple(1, 2), s.simple(2, 3)])
        }),
        // Transactions that could pass for inner nodes (CVE-2017-12842).
        breaks("NodeSizedTransaction", "a 64-byte transaction", |_| {
            assert_eq!(bare(20).size(), 64);
            Subject::Payment(bare(20))
        }),
        breaks("NoInputs", "a 63-byte transaction", |_| Subject::Payment(bare(19))),
        breaks("NoInputs", "a 65-byte transaction", |_| Subject::Payment(bare(21))),
        breaks("NodeSizedTransaction", "a 64-byte coinbase", |s| {
            s.altered(Vec::new(), |block| block.transactions[0] = Transaction { lock_height: super::NEXT, ..bare(20) })
        }),
        breaks("ShortCommitment", "a 65-byte coinbase", |s| {
            s.altered(Vec::new(), |block| block.transactions[0] = Transaction { lock_height: super::NEXT, ..bare(21) })
        }),
        // Size and shape.
        valid("a block of exactly the greatest size", |s| {
            let block = s.ledger.block(vec![s.simple(1, 2)]);
            Arc::make_mut(&mut s.ledger.params).spec.max_block_bytes = block.size() as u32;
            Subject::Block(block)
        }),
        breaks("BlockTooLarge", "a block one byte larger", |s| {
            let block = s.ledger.block(vec![s.simple(1, 2)]);
            Arc::make_mut(&mut s.ledger.params).spec.max_block_bytes = block.size() as u32 - 1;
            Subject::Block(block)
        }),
        valid("a transaction of exactly the greatest size", |s| sized_payment(s, MAX_TRANSACTION_BYTES)),
        breaks("TransactionTooLarge", "a transaction one byte larger", |s| sized_payment(s, MAX_TRANSACTION_BYTES + 1)),
        valid("a coinbase of exactly the greatest size", |s| sized_coinbase(s, MAX_COINBASE_BYTES)),
        breaks("TransactionTooLarge", "a coinbase one byte larger", |s| sized_coinbase(s, MAX_COINBASE_BYTES + 1)),
        breaks("EmptyBlock", "no transactions", |s| s.altered(Vec::new(), |block| block.transactions.clear())),
        breaks("EmptyBlock", "no transactions under an honest header", |s| {
            s.forged(Vec::new(), |block| block.transactions.clear())
        }),
        breaks("FirstNotCoinbase", "a payment first", |s| {
            s.altered(vec![s.simple(1, 2)], |block| drop(block.transactions.remove(0)))
        }),
        breaks("FirstNotCoinbase", "the coinbase second", |s| {
            s.altered(vec![s.simple(1, 2)], |block| block.transactions.swap(0, 1))
        }),
        breaks("NoInputs", "a second coinbase", |s| {
            let mut second = s.ledger.block(Vec::new()).transactions.remove(0);
            second.outputs.truncate(1);
            s.altered(vec![s.simple(1, 2)], |block| block.transactions.push(second))
        }),
        breaks("NoInputs", "a transaction that only holds data", |s| {
            s.altered(Vec::new(), |block| block.transactions.push(bare(40)))
        }),
    ]
}
