//! Proofs of transactions, true and false.

use std::sync::Arc;

use cairn::consensus::params::Params;
use cairn::light::{Config, Headers, Notice, Question, check};
use cairn::p2p::message::Message;
use cairn::p2p::misbehaviour::Offence;
use cairn::p2p::proofs::{ProofFault, TxProof};
use cairn::primitives::amount::Amount;
use cairn::primitives::block::Block;
use cairn::primitives::hash::{BlockHash, Hash256, Txid};
use cairn::primitives::height::Height;
use cairn::primitives::merkle::{self, Branch as MerkleBranch};
use cairn::primitives::tx::{Output, Transaction};
use cairn::storage::TxLocation;

use crate::world::{Lie, World, address, honest};
use cairn_testkit::{Ledger, MINER, genesis_coin, key, params, public, spend};

/// Ten blocks; that of height 4 holds payments of keys 0 to 5 to key 50, and that of height 6 one of key 50 to key 51.
fn payments(params: &Arc<Params>) -> (Vec<Block>, Vec<Txid>) {
    let mut branch = Ledger::on(params);
    let mut blocks = branch.extend(3, 1);
    let made: Vec<Transaction> = (0..6)
        .map(|n| {
            let (outpoint, coin) = genesis_coin(params, n);
            let value = coin.output.value.as_grains();
            spend(
                params,
                &[(outpoint, coin, &key(n))],
                vec![Output::pay(key(50).public_key(), Amount::from_grains(value))],
            )
        })
        .collect();
    let block = branch.make(&key(9).public_key(), &made, 0, 0);
    branch.push(block.clone());
    blocks.push(block);
    blocks.extend(branch.extend(1, 1));
    let (outpoint, coin) = branch.coin(made[2].txid(), 0);
    let value = coin.output.value.as_grains();
    let onward = spend(
        params,
        &[(outpoint, coin, &key(50))],
        vec![Output::pay(key(51).public_key(), Amount::from_grains(value))],
    );
    let block = branch.make(&key(9).public_key(), std::slice::from_ref(&onward), 0, 0);
    branch.push(block.clone());
    blocks.push(block);
    blocks.extend(branch.extend(4, 1));
    (blocks, made.iter().chain([&onward]).map(Transaction::txid).collect())
}

/// A liar who changes proofs before they are sent.
fn bent(mut change: impl FnMut(&mut Vec<TxProof>) + 'static) -> Lie {
    Box::new(move |message| match message {
        Message::Proofs(mut answer) => {
            change(&mut answer.proofs);
            vec![Message::Proofs(answer)]
        }
        other => vec![other],
    })
}

#[test]
fn one_honest_peer_among_four_liars_is_enough() {
    let params = params();
    let (blocks, txids) = payments(&params);
    let other = blocks[3].transactions[2].clone();
    let other_txid = other.txid();
    let mut world = World::new(&params, 5, Config::default());
    // One denies, one forges the branch, one shows another transaction, one hides the last blocks and then is silent.
    world.serve(&blocks, bent(Vec::clear));
    world.serve(
        &blocks,
        bent(|proofs| proofs.iter_mut().for_each(|proof| proof.branch.siblings[0] = Hash256::of(b"forged"))),
    );
    world.serve(
        &blocks,
        bent(move |proofs| {
            for proof in proofs {
                proof.branch.index = 2;
                proof.transaction = other.clone();
            }
        }),
    );
    world.serve(
        &blocks[..5],
        Box::new(|message| match message {
            Message::Proofs(_) => vec![],
            other => vec![other],
        }),
    );
    world.serve(&blocks, honest());
    world.sync();
    assert_eq!(world.light.chain().height(), Height::from_u32(10));
    let answer = world.ask(Question::Transaction(txids[3]));
    let [found] = &answer.found[..] else { panic!("{answer:?}") };
    assert_eq!(
        (found.txid, found.block, found.place),
        (txids[3], blocks[3].hash(), TxLocation { height: Height::from_u32(4), position: 4 })
    );
    assert_eq!((answer.denied, answer.false_proofs, answer.silent), (1, 2, 1));
    for (liar, shown) in [(1, txids[3]), (2, other_txid)] {
        let fault = ProofFault::NotInBlock { txid: shown, block: blocks[3].hash() };
        let caught = |notice: &Notice| *notice == Notice::Lied(address(liar), Offence::FalseProof(fault));
        assert!(world.notices.iter().any(caught), "{:?}", world.notices);
    }
    // A transaction that no peer has is not proven, but may still exist.
    let answer = world.ask(Question::Transaction(Txid::of(b"nothing")));
    assert_eq!((answer.found.len(), answer.denied, answer.silent), (0, 2, 1), "three peers are left");
}

#[test]
fn a_history_is_what_any_peer_can_prove() {
    let params = params();
    let (blocks, txids) = payments(&params);
    let mut world = World::new(&params, 3, Config::default());
    // Each leaves something out.
    world.serve(&blocks, bent(|proofs| proofs.retain(|proof| proof.height != Height::from_u32(6))));
    world.serve(
        &blocks,
        bent(|proofs| proofs.retain(|proof| proof.height == Height::from_u32(6) || proof.branch.index % 2 == 1)),
    );
    world.serve(&blocks[..5], honest());
    world.sync();
    let answer = world.ask(Question::Key(key(50).public_key()));
    let found: Vec<Txid> = answer.found.iter().map(|found| found.txid).collect();
    assert_eq!(found, txids, "in the order of the chain, what was spent included");
    let answer = world.ask(Question::Key(key(77).public_key()));
    assert_eq!((answer.found, answer.denied), (Vec::new(), 3));
}

#[test]
fn long_histories_come_in_pages() {
    let params = params();
    let blocks = Ledger::on(&params).extend(250, 1);
    let mut world = World::new(&params, 1, Config::default());
    world.serve(&blocks, honest());
    world.sync();
    let answer = world.ask(Question::Key(public(MINER)));
    let heights: Vec<Height> = answer.found.iter().map(|found| found.place.height).collect();
    assert_eq!(heights, (1..=250).map(Height::from_u32).collect::<Vec<_>>());
    assert_eq!(world.servers[0].heard.iter().filter(|name| **name == "getproofs").count(), 3);
}

#[test]
fn false_proofs_are_told_from_true_ones() {
    let params = params();
    let (blocks, _) = payments(&params);
    let mut chain = Headers::new(params.clone());
    let headers: Vec<_> = blocks.iter().map(|block| block.header).collect();
    assert!(chain.extend(&headers).1.is_ok());
    let block = &blocks[3];
    let proof = |index: u32| TxProof {
        height: Height::from_u32(4),
        block: block.hash(),
        branch: MerkleBranch::new(block.txids(), index).unwrap(),
        transaction: block.transactions[index as usize].clone(),
    };
    for index in 0..7 {
        assert_eq!(check(proof(index), &chain).unwrap().txid, block.txids()[index as usize]);
        // No single bit of the branch can be another.
        let depth = proof(index).branch.siblings.len();
        for bit in 0..depth * 256 {
            let mut forged = proof(index);
            let sibling = &mut forged.branch.siblings[bit / 256];
            let mut bytes = sibling.to_bytes();
            bytes[bit % 256 / 8] ^= 1 << (bit % 8);
            *sibling = Hash256::from_bytes(bytes);
            assert!(matches!(check(forged, &chain), Err(ProofFault::NotInBlock { .. })));
        }
        for other in (0..16).filter(|other| *other != index) {
            let mut forged = proof(index);
            forged.branch.index = other;
            assert!(check(forged, &chain).is_err(), "{index} as {other}");
        }
    }
    // Seven leaves: the last is paired with itself, which would put it at a position that does not exist.
    let mut doubled = proof(6);
    doubled.branch.index = 7;
    assert!(matches!(check(doubled, &chain), Err(ProofFault::NotInBlock { .. })));
    let elsewhere = TxProof { height: Height::from_u32(5), ..proof(1) };
    assert!(
        matches!(check(elsewhere, &chain), Err(ProofFault::Elsewhere { height, .. }) if height == Height::from_u32(5))
    );
    let unknown = TxProof { block: BlockHash::of(b"x"), ..proof(1) };
    assert!(matches!(check(unknown, &chain), Err(ProofFault::Elsewhere { .. })));
    let above = TxProof { height: Height::MAX, ..proof(1) };
    assert!(matches!(check(above, &chain), Err(ProofFault::Elsewhere { .. })));
}

#[test]
fn a_possible_inner_node_is_no_transaction() {
    let params = params();
    let mut branch = Ledger::on(&params);
    // 64 bytes that are both a transaction and two hashes: a miner can make such a block, and nodes would refuse it.
    let node_sized = Transaction {
        version: 1,
        inputs: Vec::new(),
        outputs: vec![Output::data(vec![7; 20])],
        lock_height: Height::GENESIS,
    };
    assert_eq!(node_sized.size(), 64);
    let mut block = branch.make(&key(1).public_key(), std::slice::from_ref(&node_sized), 0, 0);
    cairn_testkit::seal(&mut block);
    branch.push(block.clone());
    let mut chain = Headers::new(params.clone());
    assert!(chain.extend(&[block.header]).1.is_ok());
    let proof = TxProof {
        height: Height::from_u32(1),
        block: block.hash(),
        branch: MerkleBranch::new(block.txids(), 1).unwrap(),
        transaction: node_sized,
    };
    assert!(proof.branch.verify(&proof.transaction.txid(), &merkle::root(block.txids()).hash));
    assert_eq!(check(proof, &chain), Err(ProofFault::NodeSized));
}
