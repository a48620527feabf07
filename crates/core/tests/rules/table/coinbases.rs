//! Coinbases: height, commitment, reward.

use cairn_core::consensus::commitment::Committed;
use cairn_core::consensus::filter::block_filter;
use cairn_core::consensus::params::GenesisSpec;
use cairn_core::primitives::amount::Amount;
use cairn_core::primitives::hash::{MmrRoot, StateRoot};
use cairn_core::primitives::height::Height;
use cairn_core::primitives::tx::{Lock, Output, Transaction};

use super::{Case, HEIGHT, NEXT, Scene, Subject, breaks, pay, valid};
use cairn_testkit::{Ledger, MINER};

/// The next block with one payment, its coinbase changed.
fn coinbase(scene: &Scene, change: impl FnOnce(&mut Transaction)) -> Subject {
    scene.altered(vec![scene.simple(1, 2)], |block| change(&mut block.transactions[0]))
}

/// The coinbase's data made of the commitment due and `tail`.
fn data(scene: &Scene, change: impl FnOnce(&mut Vec<u8>)) -> Subject {
    coinbase(scene, |tx| match &mut tx.outputs[0].lock {
        Lock::Data(data) => change(data),
        Lock::Key(_) => unreachable!("the first output is data"),
    })
}

/// The chain without its newest block.
fn earlier(scene: &Scene) -> Ledger {
    let mut earlier = Ledger::new(scene.ledger.params.spec.clone());
    earlier.extend(HEIGHT.as_u32() - 1, 0);
    assert_eq!(earlier.tip().hash(), scene.ledger.tip().previous);
    earlier
}

/// The coinbase commits to what is due after `change`.
fn committing(scene: &Scene, change: impl FnOnce(&mut Committed)) -> Subject {
    let mut due = scene.ledger.committed();
    change(&mut due);
    assert_ne!(due, scene.ledger.committed());
    data(scene, |data| data[..32].copy_from_slice(due.commitment().as_bytes()))
}

/// Starts over on a network whose subsidy halves every 5 blocks, after `blocks` blocks; the next block's coinbase takes `value`.
fn halving(scene: &mut Scene, blocks: u32, value: u64) -> Subject {
    let mut spec = GenesisSpec { halving_interval: 5, subsidy: Amount::from_grains(1_000), ..GenesisSpec::regtest() };
    spec.mine_nonce();
    scene.ledger = Ledger::new(spec);
    scene.ledger.extend(blocks, 0);
    scene.now = u64::from(scene.ledger.tip().time);
    scene.altered(Vec::new(), |block| {
        let outputs = &mut block.transactions[0].outputs;
        outputs.truncate(1);
        outputs.push(pay(MINER, value));
    })
}

pub fn cases() -> Vec<Case> {
    vec![
        // Height.
        breaks("CoinbaseHeight", "the height of the block after", |s| coinbase(s, |tx| tx.lock_height = NEXT.next())),
        breaks("CoinbaseHeight", "the height of the block before", |s| coinbase(s, |tx| tx.lock_height = HEIGHT)),
        breaks("CoinbaseHeight", "no height", |s| coinbase(s, |tx| tx.lock_height = Height::GENESIS)),
        // Commitment.
        breaks("NoCommitment", "no data output", |s| coinbase(s, |tx| drop(tx.outputs.remove(0)))),
        breaks("ShortCommitment", "31 bytes of data", |s| data(s, |data| data.truncate(31))),
        breaks("ShortCommitment", "no bytes of data", |s| data(s, Vec::clear)),
        valid("32 bytes of data", |s| data(s, |data| data.truncate(32))),
        valid("256 bytes of data", |s| data(s, |data| data.resize(256, 7))),
        breaks("DataTooLong", "257 bytes of data in a coinbase", |s| data(s, |data| data.resize(257, 7))),
        breaks("WrongCommitment", "a commitment one bit off", |s| data(s, |data| data[31] ^= 0x80)),
        breaks("WrongCommitment", "a commitment of zero", |s| data(s, |data| data[..32].fill(0))),
        breaks("WrongCommitment", "the parent as the commitment", |s| {
            let parent = s.ledger.tip().hash();
            data(s, |data| data[..32].copy_from_slice(parent.as_bytes()))
        }),
        breaks("WrongCommitment", "a commitment to the headers before the parent only", |s| {
            let range = earlier(s).range.root();
            committing(s, |due| due.range = range)
        }),
        breaks("WrongCommitment", "the root over the headers alone", |s| {
            let range = s.ledger.range.root();
            data(s, |data| data[..32].copy_from_slice(range.as_bytes()))
        }),
        breaks("WrongCommitment", "the right half without the left", |s| {
            let ledger = s.ledger.committed().ledger_root();
            data(s, |data| data[..32].copy_from_slice(ledger.as_bytes()))
        }),
        breaks("WrongCommitment", "no headers", |s| committing(s, |due| due.range = MmrRoot::ZERO)),
        breaks("WrongCommitment", "a state before one is due", |s| {
            committing(s, |due| due.state = StateRoot::of(b"no state"))
        }),
        breaks("WrongCommitment", "a filter that leaves out a key of the parent", |s| {
            let before = earlier(s).filters;
            let mut parent = s.ledger.blocks[HEIGHT.as_usize()].clone();
            assert_eq!(block_filter(&parent, []).header(&before), s.ledger.filters);
            parent.transactions[0].outputs.retain(|output| output.key().is_none());
            committing(s, |due| due.filters = block_filter(&parent, []).header(&before))
        }),
        breaks("WrongCommitment", "the filters up to the parent's parent only", |s| {
            let before = earlier(s).filters;
            committing(s, |due| due.filters = before)
        }),
        // The cheap rules come before the costly one.
        breaks("WrongCommitment", "another commitment and a signature that is not one", |s| {
            s.altered(vec![s.simple(1, 2)], |block| {
                block.transactions[1].inputs[0].signature.0[0] ^= 1;
                match &mut block.transactions[0].outputs[0].lock {
                    Lock::Data(data) => data[0] ^= 1,
                    Lock::Key(_) => unreachable!("the first output is data"),
                }
            })
        }),
        valid("the first block commits to genesis", |s| {
            s.ledger = Ledger::new(GenesisSpec::regtest());
            assert_ne!(s.ledger.range.root(), MmrRoot::ZERO);
            s.with(Vec::new())
        }),
        valid("the commitment in another output than the first", |s| coinbase(s, |tx| tx.outputs.swap(0, 1))),
        // Shape.
        breaks("NoOutputs", "a coinbase that makes nothing", |s| coinbase(s, |tx| tx.outputs.clear())),
        breaks("TooManyData", "a coinbase with two data outputs", |s| {
            coinbase(s, |tx| tx.outputs.push(Output::data(vec![1])))
        }),
        breaks("DataWithValue", "a coinbase that buries its reward in data", |s| {
            coinbase(s, |tx| tx.outputs[0].value = tx.outputs.pop().unwrap().value)
        }),
        breaks("KeyWithoutValue", "a coinbase that pays a key nothing", |s| {
            coinbase(s, |tx| tx.outputs[1].value = Amount::ZERO)
        }),
        breaks("ValueOverflow", "a coinbase that takes more than there can be", |s| {
            coinbase(s, |tx| tx.outputs[1].value = Amount::from_grains(Amount::MAX.as_grains() + 1))
        }),
        breaks("ValueOverflow", "a coinbase whose sum wraps around to its due", |s| {
            coinbase(s, |tx| tx.outputs.extend([pay(1, 1 << 63), pay(2, 1 << 63)]))
        }),
        // Reward.
        valid("subsidy and fees, all of it", |s| coinbase(s, |_| {})),
        valid("one grain less than is due", |s| {
            coinbase(s, |tx| tx.outputs[1].value = tx.outputs[1].value.saturating_sub(Amount::from_grains(1)))
        }),
        valid("nothing taken at all", |s| coinbase(s, |tx| tx.outputs.truncate(1))),
        valid("the reward in many outputs", |s| {
            coinbase(s, |tx| {
                tx.outputs[1].value = tx.outputs[1].value.saturating_sub(Amount::from_grains(30));
                tx.outputs.extend((1..=3).map(|n| pay(n, 10)));
            })
        }),
        breaks("CoinbaseTooHigh", "one grain above subsidy and fees", |s| {
            coinbase(s, |tx| tx.outputs[1].value = tx.outputs[1].value.saturating_add(Amount::from_grains(1)))
        }),
        breaks("CoinbaseTooHigh", "one grain above, in an output of its own", |s| {
            coinbase(s, |tx| tx.outputs.push(pay(1, 1)))
        }),
        breaks("CoinbaseTooHigh", "the fee of a payment that was left out", |s| {
            s.altered(vec![s.simple(1, 2)], |block| drop(block.transactions.pop()))
        }),
        breaks("CoinbaseTooHigh", "all the grains that can ever be", |s| {
            coinbase(s, |tx| tx.outputs[1].value = Amount::MAX)
        }),
        valid("the whole subsidy just before a halving", |s| halving(s, 3, 1_000)),
        breaks("CoinbaseTooHigh", "the whole subsidy at a halving", |s| halving(s, 4, 1_000)),
        breaks("CoinbaseTooHigh", "one grain above half at a halving", |s| halving(s, 4, 501)),
        valid("half the subsidy at a halving", |s| halving(s, 4, 500)),
        valid("a quarter at the next", |s| halving(s, 9, 250)),
        valid("the last grain of 1,000, after nine halvings", |s| halving(s, 48, 1)),
        breaks("CoinbaseTooHigh", "a grain after ten halvings", |s| halving(s, 49, 1)),
        valid("no subsidy, and no key paid, after ten halvings", |s| {
            halving(s, 49, 0);
            s.with(Vec::new())
        }),
        breaks("KeyWithoutValue", "no subsidy, paid to a key", |s| halving(s, 49, 0)),
        breaks("CoinbaseTooHigh", "the subsidy after 64 halvings, where a shift might wrap around", |s| {
            halving(s, 5 * 64, 1_000)
        }),
    ]
}
