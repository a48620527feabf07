//! Rules that need the headers before.

use crate::consensus::asert::{self, Schedule};
use crate::consensus::error::RuleError;
use crate::consensus::params::{Params, Retarget};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::target::{Bits, Target, Work};
use crate::primitives::time::UnixTime;
use std::time::Duration;

/// What a header's place in its chain asks of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderContext {
    /// Its height.
    pub height: Height,
    /// The earliest time it may have: its parent's.
    pub min_time: u32,
    /// Bits that the difficulty rule gives.
    pub bits: Bits,
}

/// What the difficulty rule needs to know of a parent and its ancestors.
#[derive(Debug, Clone, Copy)]
pub struct Parent {
    /// Its height.
    pub height: Height,
    /// Its time.
    pub time: u32,
    /// The time of the block at height 1 on its branch; any value if the parent is genesis.
    pub first_time: u32,
}

/// The bits of a child of `parent`.
///
/// # Consensus
/// The difficulty rule is anchored at block 1, with the bits of genesis. Anchored at genesis itself, a network that
/// starts long after its genesis was written would owe all the blocks of that time, and mine them at the lowest
/// difficulty; anchored at its first block, its schedule begins when it does. Block 1 has the bits of genesis.
pub fn next_bits(parent: &Parent, params: &Params) -> Bits {
    let genesis_bits = params.genesis.header.bits;
    match params.retarget {
        Retarget::None => genesis_bits,
        Retarget::Asert if parent.height == Height::GENESIS => genesis_bits,
        Retarget::Asert => {
            let schedule = Schedule {
                // The reference is the time that block 1's parent would have had on schedule.
                elapsed_secs: i64::from(parent.time) - i64::from(parent.first_time)
                    + i64::from(params.target_spacing_secs),
                blocks: i64::from(parent.height.as_u32()) - 1,
                target_spacing_secs: params.target_spacing_secs,
                half_life_secs: params.half_life_secs,
            };
            asert::next_bits(params.genesis_target, &schedule, params.pow_limit)
        }
    }
}

/// The work of a child of `parent`, which has the bits that [`next_bits`] gives. It does not fall as the parent's height
/// rises, and does not rise with the parent's time.
pub fn next_work(parent: &Parent, params: &Params) -> Work {
    // The rule gives no bits that are not a target.
    next_bits(parent, params).target().map(Target::work).unwrap_or_default()
}

/// Checks a header against its place. Its proof of work is for [`super::check::check_proof_of_work`].
///
/// # Consensus
/// Times do not fall along a chain, so that a verifier who sees one header knows that no earlier one has a later time.
/// They may stand still: a miner whose clock is ahead of another's leaves the other its own time to use.
///
/// # Errors
/// [`RuleError::WrongBits`], [`RuleError::TimeTooOld`].
pub fn check_header(header: &Header, context: &HeaderContext) -> Result<(), RuleError> {
    if header.bits != context.bits {
        return Err(RuleError::WrongBits { got: header.bits, expected: context.bits });
    }
    check_order(header.time, context.min_time)
}

/// Checks that a header's time is not before that of a header below it.
///
/// # Errors
/// [`RuleError::TimeTooOld`].
pub fn check_order(time: u32, below: u32) -> Result<(), RuleError> {
    if time < below { Err(RuleError::TimeTooOld { time, parent: below }) } else { Ok(()) }
}

/// Checks a header's time against the clock, which the caller gives: `now`.
///
/// # Errors
/// [`RuleError::TimeTooNew`], which is no mark against the block: it may pass later.
pub fn check_clock(header: &Header, now: UnixTime, params: &Params) -> Result<(), RuleError> {
    let latest = now.saturating_add(Duration::from_secs(params.max_future_secs.into()));
    if header.unix_time() > latest {
        return Err(RuleError::TimeTooNew { time: header.time, latest });
    }
    Ok(())
}
