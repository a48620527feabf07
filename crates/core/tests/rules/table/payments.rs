//! Payments: shape, coins, amounts, signatures, and how they stand to one another in a block.

use cairn_core::primitives::amount::Amount;
use std::sync::Arc;

use cairn_core::primitives::hash::Txid;
use cairn_core::primitives::height::Height;
use cairn_core::primitives::tx::{OutPoint, Output, Transaction};

use super::{Case, HEIGHT, NEXT, Scene, Subject, TEN_COINS, breaks, pay, valid};
use cairn_testkit::{Ledger, funded, key, unsigned};

/// All the grains that can ever be.
const MOST: u64 = Amount::MAX.as_grains();

/// Key 1 spends its 10 coins on `outputs`.
fn to(scene: &Scene, outputs: Vec<Output>) -> Subject {
    Subject::Payment(scene.ledger.payment(&[scene.ledger.allocation(1)], outputs))
}

/// A payment from keys 1 and 2, changed after it was signed.
fn tampered(scene: &Scene, change: impl FnOnce(&mut Transaction)) -> Subject {
    let spends = [1, 2].map(|n| scene.ledger.allocation(n));
    let mut tx = scene.ledger.payment(&spends, vec![pay(3, TEN_COINS), Output::data(b"for tea".to_vec())]);
    change(&mut tx);
    Subject::Payment(tx)
}

/// Key 1's payment with `lock_height`.
fn locked(scene: &Scene, lock_height: Height) -> Subject {
    let tx = unsigned(&[scene.ledger.allocation(1)], vec![pay(2, TEN_COINS)]);
    Subject::Payment(scene.ledger.sign(Transaction { lock_height, ..tx }, &[]))
}

/// The miner of the block at `height` spends its coinbase.
fn spend_coinbase(scene: &Scene, height: Height) -> Subject {
    Subject::Payment(scene.ledger.payment(&[scene.coinbase_of(height)], vec![pay(1, 1)]))
}

/// A payment of all that output 0 of `parent` holds, which may be in the same block.
fn child(scene: &Scene, parent: &Transaction, to: u8) -> Transaction {
    let outpoint = OutPoint { txid: parent.txid(), index: 0 };
    scene.ledger.sign(unsigned(&[outpoint], vec![pay(to, parent.outputs[0].value.as_grains())]), &[parent])
}

pub fn cases() -> Vec<Case> {
    vec![shape(), coins(), amounts(), signatures(), chains()].into_iter().flatten().collect()
}

fn shape() -> Vec<Case> {
    vec![
        valid("a payment", |s| Subject::Payment(s.simple(1, 2))),
        valid("a payment of any version", |s| {
            let tx = unsigned(&[s.ledger.allocation(1)], vec![pay(2, TEN_COINS)]);
            Subject::Payment(s.ledger.sign(Transaction { version: u32::MAX, ..tx }, &[]))
        }),
        valid("a payment to a key that is no point on the curve", |s| {
            let mut off_curve = [0; 32];
            off_curve[0] = 2;
            to(s, vec![Output::pay(cairn_core::primitives::keys::PublicKey(off_curve), Amount::from_grains(TEN_COINS))])
        }),
        breaks("NoOutputs", "a payment without outputs", |s| to(s, Vec::new())),
        breaks("DuplicateInput", "one coin spent by both inputs", |s| {
            Subject::Payment(s.ledger.payment(&[1, 1].map(|n| s.ledger.allocation(n)), vec![pay(2, 2 * TEN_COINS)]))
        }),
        breaks("DuplicateInput", "one coin spent by the first and the third input", |s| {
            Subject::Payment(s.ledger.payment(&[1, 2, 1].map(|n| s.ledger.allocation(n)), vec![pay(2, TEN_COINS)]))
        }),
        valid("256 bytes of data in a payment", |s| to(s, vec![Output::data(vec![0; 256])])),
        breaks("DataTooLong", "257 bytes of data in a payment", |s| to(s, vec![Output::data(vec![0; 257])])),
        valid("data of no bytes", |s| to(s, vec![Output::data(Vec::new())])),
        breaks("DataWithValue", "one grain under data", |s| {
            to(s, vec![Output { value: Amount::from_grains(1), ..Output::data(vec![1]) }])
        }),
        breaks("TooManyData", "two data outputs", |s| to(s, vec![Output::data(vec![1]), Output::data(vec![2])])),
        valid("locked until this very block", |s| locked(s, NEXT)),
        breaks("Locked", "locked until the block after", |s| locked(s, NEXT.next())),
        breaks("Locked", "locked for ever", |s| locked(s, Height::from_u32(u32::MAX))),
    ]
}

fn coins() -> Vec<Case> {
    vec![
        breaks("MissingCoin", "a coin that never was", |s| {
            let nothing = OutPoint { txid: Txid::of(b"nothing"), index: 0 };
            Subject::Payment(s.ledger.payment(&[nothing], vec![pay(1, 1)]))
        }),
        breaks("MissingCoin", "an output beyond its transaction's last", |s| {
            Subject::Payment(s.ledger.payment(&[s.ledger.allocation(13)], vec![pay(1, 1)]))
        }),
        breaks("MissingCoin", "a data output", |s| {
            Subject::Payment(s.ledger.payment(&[s.ledger.allocation(0)], vec![Output::data(vec![1])]))
        }),
        breaks("MissingCoin", "a known coin and an unknown one", |s| {
            let nothing = OutPoint { index: 99, ..s.ledger.allocation(1) };
            Subject::Payment(s.ledger.payment(&[s.ledger.allocation(1), nothing], vec![pay(1, 1)]))
        }),
        breaks("MissingCoin", "a coin spent in an earlier block", |s| {
            let again = s.simple(1, 3);
            s.ledger.append(&s.ledger.block(vec![s.simple(1, 2)]));
            Subject::Payment(again)
        }),
        breaks("MissingCoin", "a payment mined once already", |s| {
            let tx = s.simple(1, 2);
            s.ledger.append(&s.ledger.block(vec![tx.clone()]));
            Subject::Payment(tx)
        }),
        valid("what an earlier block paid", |s| {
            let parent = s.simple(1, 2);
            s.ledger.append(&s.ledger.block(vec![parent.clone()]));
            Subject::Payment(child(s, &parent, 3))
        }),
        valid("a coinbase at the end of its maturity", |s| spend_coinbase(s, NEXT.saturating_sub(10))),
        breaks("ImmatureCoin", "a coinbase one block before that", |s| spend_coinbase(s, NEXT.saturating_sub(9))),
        breaks("ImmatureCoin", "the newest coinbase", |s| spend_coinbase(s, HEIGHT)),
        breaks("ImmatureCoin", "the coinbase of its own block", |s| {
            s.altered(Vec::new(), |block| {
                let mined = OutPoint { txid: block.transactions[0].txid(), index: 1 };
                block.transactions.push(unsigned(&[mined], vec![pay(1, 1)]));
            })
        }),
        valid("a coinbase of the block before, where maturity is 1", |s| {
            Arc::make_mut(&mut s.ledger.params).spec.coinbase_maturity = 1;
            spend_coinbase(s, HEIGHT)
        }),
        valid("an allocation of genesis in the first block", |s| {
            s.ledger = Ledger::new(funded(1..=12, TEN_COINS));
            Subject::Payment(s.simple(1, 2))
        }),
    ]
}

fn amounts() -> Vec<Case> {
    vec![
        valid("no fee", |s| to(s, vec![pay(2, TEN_COINS)])),
        valid("everything as a fee", |s| to(s, vec![Output::data(Vec::new())])),
        valid("a key with one grain", |s| to(s, vec![pay(2, 1)])),
        breaks("KeyWithoutValue", "a key with no grain", |s| to(s, vec![pay(2, 0)])),
        breaks("KeyWithoutValue", "a key with no grain after others", |s| {
            to(s, vec![pay(2, 5), Output::data(vec![1]), pay(3, 0)])
        }),
        breaks("Overspend", "one grain more than there is", |s| to(s, vec![pay(2, TEN_COINS + 1)])),
        breaks("Overspend", "one grain more, in an output of its own", |s| to(s, vec![pay(2, TEN_COINS), pay(3, 1)])),
        breaks("Overspend", "all the grains that can ever be, of ten coins", |s| to(s, vec![pay(2, MOST)])),
        breaks("ValueOverflow", "more than there can be, in one output", |s| to(s, vec![pay(2, MOST + 1)])),
        breaks("ValueOverflow", "more than there can be, in two", |s| to(s, vec![pay(2, MOST), pay(3, 1)])),
        breaks("ValueOverflow", "a sum that wraps around to what there is", |s| {
            to(s, vec![pay(2, 1 << 63), pay(3, 1 << 63), pay(4, TEN_COINS)])
        }),
        breaks("ValueOverflow", "the greatest number there is, twice", |s| {
            to(s, vec![pay(2, u64::MAX), pay(3, u64::MAX)])
        }),
        breaks("Overspend", "another payment's fee used up", |s| {
            s.with(vec![s.simple(1, 2), s.ledger.payment(&[s.ledger.allocation(2)], vec![pay(3, TEN_COINS + 1)])])
        }),
    ]
}

fn signatures() -> Vec<Case> {
    vec![
        valid("two owners who both signed", |s| tampered(s, |_| {})),
        breaks("BadSignature", "no signature", |s| {
            Subject::Payment(unsigned(&[s.ledger.allocation(1)], vec![pay(2, TEN_COINS)]))
        }),
        breaks("BadSignature", "the second owner did not sign", |s| {
            tampered(s, |tx| tx.inputs[1].signature = cairn_core::primitives::keys::Signature::EMPTY)
        }),
        breaks("BadSignature", "signatures of two owners swapped", |s| {
            tampered(s, |tx| {
                let [first, second] = &mut tx.inputs[..] else { unreachable!() };
                std::mem::swap(&mut first.signature, &mut second.signature);
            })
        }),
        breaks("BadSignature", "one owner's signature for both", |s| {
            tampered(s, |tx| tx.inputs[1].signature = tx.inputs[0].signature)
        }),
        breaks("BadSignature", "a bit of R turned", |s| tampered(s, |tx| tx.inputs[0].signature.0[0] ^= 1)),
        breaks("BadSignature", "a bit of s turned", |s| tampered(s, |tx| tx.inputs[1].signature.0[40] ^= 1)),
        breaks("BadSignature", "another key's signature", |s| {
            let mut tx = unsigned(&[s.ledger.allocation(1)], vec![pay(2, TEN_COINS)]);
            let spent = s.ledger.output(&s.ledger.allocation(1), &[]);
            tx.inputs[0].signature = key(9).sign(&tx.signature_digest(&s.ledger.params.genesis_hash, spent.iter()));
            Subject::Payment(tx)
        }),
        breaks("BadSignature", "a signature for another network", |s| {
            let mut spec = funded(1..=12, TEN_COINS);
            spec.message = "Another place".to_owned();
            spec.mine_nonce();
            // The same coin in every respect, but for the name of its network.
            let mut other = s.ledger.clone();
            other.params = Ledger::new(spec).params;
            Subject::Payment(other.sign(unsigned(&[s.ledger.allocation(1)], vec![pay(2, TEN_COINS)]), &[]))
        }),
        breaks("BadSignature", "a signature for another amount: the signer saw another fee", |s| {
            let mut fooled = s.ledger.clone();
            fooled.coins.0.get_mut(&s.ledger.allocation(1)).unwrap().output.value = Amount::from_grains(TEN_COINS / 2);
            Subject::Payment(fooled.payment(&[s.ledger.allocation(1)], vec![pay(2, TEN_COINS / 2)]))
        }),
        breaks("BadSignature", "a signature taken from the owner's other payment", |s| {
            let other = s.simple(1, 5);
            let mut tx = s.simple(1, 2);
            tx.inputs[0].signature = other.inputs[0].signature;
            Subject::Payment(tx)
        }),
        breaks("BadSignature", "an amount changed after signing", |s| {
            tampered(s, |tx| tx.outputs[0].value = tx.outputs[0].value.saturating_sub(Amount::from_grains(1)))
        }),
        breaks("BadSignature", "the payee changed after signing", |s| {
            tampered(s, |tx| tx.outputs[0] = pay(9, TEN_COINS))
        }),
        breaks("BadSignature", "data changed after signing", |s| {
            tampered(s, |tx| tx.outputs[1] = Output::data(b"for gin".to_vec()))
        }),
        breaks("BadSignature", "an output added after signing", |s| tampered(s, |tx| tx.outputs.push(pay(9, 1)))),
        breaks("BadSignature", "an output removed after signing", |s| tampered(s, |tx| drop(tx.outputs.pop()))),
        breaks("BadSignature", "outputs swapped after signing", |s| tampered(s, |tx| tx.outputs.swap(0, 1))),
        breaks("BadSignature", "an input added after signing", |s| {
            let mine = s.ledger.payment(&[s.ledger.allocation(4)], vec![pay(4, 1)]).inputs[0].clone();
            tampered(s, |tx| tx.inputs.push(mine))
        }),
        breaks("BadSignature", "an input removed after signing", |s| tampered(s, |tx| tx.inputs.truncate(1))),
        breaks("BadSignature", "inputs swapped after signing", |s| tampered(s, |tx| tx.inputs.swap(0, 1))),
        breaks("BadSignature", "the version changed after signing", |s| tampered(s, |tx| tx.version = 2)),
        breaks("BadSignature", "the lock height changed after signing", |s| {
            tampered(s, |tx| tx.lock_height = Height::from_u32(1))
        }),
        breaks("BadSignature", "the one bad signature of twelve payments", |s| {
            let mut payments: Vec<Transaction> = (1..=12).map(|n| s.simple(n, 20)).collect();
            payments[7].inputs[0].signature.0[10] ^= 4;
            s.with(payments)
        }),
    ]
}

fn chains() -> Vec<Case> {
    vec![
        valid("twelve payments", |s| s.with((1..=12).map(|n| s.simple(n, 20)).collect())),
        valid("a chain of payments in one block", |s| {
            let mut chain = vec![s.simple(1, 2)];
            for n in 3..8 {
                chain.push(child(s, &chain[chain.len() - 1], n));
            }
            s.with(chain)
        }),
        breaks("MissingCoin", "a child before its parent", |s| {
            let parent = s.simple(1, 2);
            let child = child(s, &parent, 3);
            s.with(vec![child, parent])
        }),
        breaks("MissingCoin", "a child without its parent", |s| Subject::Payment(child(s, &s.simple(1, 2), 3))),
        breaks("MissingCoin", "two payments of one coin in a block", |s| s.with(vec![s.simple(1, 2), s.simple(1, 3)])),
        breaks("MissingCoin", "one payment twice in a block", |s| s.with(vec![s.simple(1, 2), s.simple(1, 2)])),
        breaks("MissingCoin", "two children of one output in a block", |s| {
            let parent = s.simple(1, 2);
            let children = [3, 4].map(|n| child(s, &parent, n));
            s.with([vec![parent], children.to_vec()].concat())
        }),
        valid("two children of two outputs in a block", |s| {
            let parent = s.ledger.payment(&[s.ledger.allocation(1)], vec![pay(2, 5), pay(3, 6)]);
            let children = [0, 1].map(|index| {
                let tx = unsigned(&[OutPoint { txid: parent.txid(), index }], vec![pay(4, 5)]);
                s.ledger.sign(tx, &[&parent])
            });
            s.with([vec![parent], children.to_vec()].concat())
        }),
        breaks("MissingCoin", "the data output of a parent in the block", |s| {
            let parent = s.ledger.payment(&[s.ledger.allocation(1)], vec![Output::data(vec![1])]);
            let child = unsigned(&[OutPoint { txid: parent.txid(), index: 0 }], vec![Output::data(vec![2])]);
            s.with(vec![parent, child])
        }),
        breaks("Overspend", "a child that makes more than its parent gave", |s| {
            let parent = s.simple(1, 2);
            let tx = unsigned(&[OutPoint { txid: parent.txid(), index: 0 }], vec![pay(3, TEN_COINS)]);
            let child = s.ledger.sign(tx, &[&parent]);
            s.with(vec![parent, child])
        }),
        breaks("BadSignature", "a child signed by its parent's payer", |s| {
            let parent = s.simple(1, 2);
            let mut child = child(s, &parent, 3);
            let digest = child.signature_digest(&s.ledger.params.genesis_hash, &parent.outputs[..1]);
            child.inputs[0].signature = key(1).sign(&digest);
            s.with(vec![parent, child])
        }),
    ]
}
