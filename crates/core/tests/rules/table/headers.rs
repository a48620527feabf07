//! Headers: proof of work, bits, time.

use cairn_core::consensus::params::Retarget;
use cairn_core::primitives::target::Bits;

use super::{Case, Scene, Subject, TEN_COINS, breaks, valid};
use cairn_testkit::{Ledger, funded, mine, unmine};

/// The next block under other bits; mined, if they are a target that can be mined.
fn under(scene: &Scene, bits: u32) -> Subject {
    scene.forged(Vec::new(), |block| block.header.bits = Bits(bits))
}

/// The next block at another time.
fn at(scene: &Scene, time: u32) -> Subject {
    scene.forged(Vec::new(), |block| block.header.time = time)
}

/// Starts over on a network whose difficulty follows the schedule.
fn retargeting(scene: &mut Scene, blocks: u32) {
    let mut spec = funded(1..=12, TEN_COINS);
    (spec.retarget, spec.max_future_secs) = (Retarget::Asert, 360);
    spec.mine_nonce();
    scene.ledger = Ledger::new(spec);
    (0..blocks).for_each(|_| {
        // A second apart, five times too fast.
        let mut block = scene.ledger.block(Vec::new());
        block.header.time = scene.ledger.tip().time + 1;
        mine(&mut block.header);
        scene.ledger.append(&block);
    });
    scene.now = u64::from(scene.ledger.tip().time);
}

pub fn cases() -> Vec<Case> {
    vec![
        valid("the next block", |s| s.with(Vec::new())),
        valid("a block of any version", |s| s.forged(Vec::new(), |block| block.header.version = i32::MIN)),
        // Proof of work.
        breaks("BadBits", "negative bits", |s| under(s, 0x0492_3456)),
        breaks("BadBits", "bits beyond 256 bits", |s| under(s, 0xff12_3456)),
        breaks("BadBits", "bits of zero", |s| under(s, 0)),
        breaks("EasierThanLimit", "a target that every hash meets", |s| under(s, 0x2100_ffff)),
        breaks("HighHash", "no proof of work", |s| {
            let mut block = s.ledger.block(Vec::new());
            unmine(&mut block.header);
            Subject::Block(block)
        }),
        breaks("HighHash", "another's nonce", |s| {
            let mut block = s.ledger.block(Vec::new());
            let target = block.header.bits.target().unwrap();
            while target.is_met_by(&block.hash()) {
                block.header.time += 1;
            }
            Subject::Block(block)
        }),
        // Difficulty.
        breaks("WrongBits", "work harder than what is due", |s| under(s, 0x2000_ffff)),
        breaks("WrongBits", "work slightly easier to state than what is due", |s| under(s, 0x207f_fffe)),
        valid("bits as the schedule asks", |s| {
            retargeting(s, 30);
            assert_ne!(s.ledger.header_context().bits, s.ledger.params.bits, "the schedule has moved");
            s.with(Vec::new())
        }),
        breaks("WrongBits", "bits of genesis after the schedule has moved", |s| {
            retargeting(s, 30);
            under(s, s.ledger.params.bits.0)
        }),
        breaks("WrongBits", "the parent's bits after the schedule has moved", |s| {
            retargeting(s, 30);
            under(s, s.ledger.tip().bits.0)
        }),
        valid("a first block years after genesis, at the bits of genesis", |s| {
            retargeting(s, 0);
            s.now += 100_000_000;
            at(s, s.now as u32)
        }),
        valid("a second block after such a first one owes nothing for the years", |s| {
            retargeting(s, 0);
            let mut first = s.ledger.block(Vec::new());
            first.header.time += 100_000_000;
            mine(&mut first.header);
            s.ledger.append(&first);
            s.now += 100_000_005;
            assert_eq!(s.ledger.header_context().bits, s.ledger.params.bits);
            s.with(Vec::new())
        }),
        // Time.
        breaks("TimeTooOld", "a time one second before the parent's", |s| at(s, s.ledger.tip().time - 1)),
        breaks("TimeTooOld", "a time of zero", |s| at(s, 0)),
        valid("the parent's time", |s| at(s, s.ledger.tip().time)),
        valid("a first block at the time of genesis", |s| {
            s.ledger = Ledger::new(funded(1..=12, TEN_COINS));
            at(s, s.ledger.tip().time)
        }),
        breaks("TimeTooOld", "a first block one second before genesis", |s| {
            s.ledger = Ledger::new(funded(1..=12, TEN_COINS));
            at(s, s.ledger.tip().time - 1)
        }),
        valid("a parent's time that is ahead of the clock", |s| {
            let mut ahead = s.ledger.block(Vec::new());
            ahead.header.time = s.now as u32 + s.ledger.params.max_future_secs;
            mine(&mut ahead.header);
            s.ledger.append(&ahead);
            at(s, ahead.header.time)
        }),
        valid("a time as far ahead of the clock as may be", |s| at(s, s.now as u32 + s.ledger.params.max_future_secs)),
        breaks("TimeTooNew", "a time one second further ahead", |s| {
            at(s, s.now as u32 + s.ledger.params.max_future_secs + 1)
        }),
        breaks("TimeTooNew", "the last time there is", |s| at(s, u32::MAX)),
        valid("the last time there is, once the clock gets there", |s| {
            s.now = u64::from(u32::MAX);
            at(s, u32::MAX)
        }),
    ]
}
