//! The entries of a record, and their bytes.

use std::time::Duration;

use super::input;
use super::state::{Digest, State};
use super::{MalformedEntry, RecordError};
use crate::chain::Retention;
use crate::consensus::params::Params;
use crate::mempool::Limits;
use crate::p2p::kad::NodeId;
use crate::p2p::{Command, Config, Input, Now, PeerAddr, Transports};
use crate::primitives::amount::FeeRate;
use crate::primitives::codec;
use crate::primitives::hash::Hash256;
use crate::primitives::time::{MonoTime, UnixTime};

/// Bytes of an entry before its body: length and kind.
pub(super) const HEAD_BYTES: usize = 5;
/// Bytes of the checksum that follows an entry.
pub(super) const CHECKSUM_BYTES: usize = 4;

pub(super) const START: u8 = 0;
pub(super) const STORED: u8 = 1;
pub(super) const INPUT: u8 = 2;
pub(super) const COMMAND: u8 = 3;
pub(super) const CHECKPOINT: u8 = 4;
pub(super) const END: u8 = 5;

/// What a node begins with, its store aside.
#[derive(Debug, Clone)]
pub struct Start {
    /// The version of the program that records.
    pub program: String,
    /// The text of genesis.json.
    pub genesis: String,
    /// The node's settings and its random seed. Its key is none of them.
    pub config: Config,
    /// The mempool's limits.
    pub limits: Limits,
    /// When it was made.
    pub now: Now,
}

impl Start {
    /// That of a node of this program's.
    pub fn new(params: &Params, config: &Config, limits: &Limits, now: Now) -> Self {
        let (program, genesis) = (env!("CARGO_PKG_VERSION").to_owned(), params.to_json());
        Self { program, genesis, config: config.clone(), limits: limits.clone(), now }
    }
}

/// A key of the store, and its value.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

#[derive(Debug)]
pub(super) enum Entry {
    Start(Box<Start>),
    Stored(Vec<Pair>),
    Input { now: Now, digest: Digest, input: Input },
    Command { now: Now, digest: Digest, command: Command },
    Checkpoint(Digest, State),
    End(Digest, State),
}

/// Appends an entry to `bytes`.
pub(super) fn write(bytes: &mut Vec<u8>, kind: u8, body: &[&[u8]]) {
    let start = bytes.len();
    let length: usize = body.iter().map(|part| part.len()).sum();
    // No input comes near 4 GB: messages are capped, and so is the mempool that a file may hold.
    bytes.extend((length as u32 + 1).to_le_bytes());
    bytes.push(kind);
    body.iter().for_each(|part| bytes.extend_from_slice(part));
    let checksum = checksum(&bytes[start..]);
    bytes.extend(checksum);
}

pub(super) fn checksum(entry: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = Hash256::of(entry).to_bytes();
    std::array::from_fn(|i| hash[i])
}

/// The time and the digest, which inputs and commands begin with.
pub(super) fn moment(now: Now, digest: Digest) -> Vec<u8> {
    codec::encode(&(now.mono, now.unix, digest))
}

pub(super) fn encode_start(start: &Start) -> Vec<u8> {
    let Start { program, genesis, config, limits, now } = start;
    let Config {
        id,
        listens,
        transports,
        connect,
        seeds,
        outbound_target,
        max_inbound,
        max_inbound_per_address,
        retention,
        archive_share,
        sync_state,
        accept_slow_chain,
        content,
        user_agent,
        seed,
    } = config;
    let Limits {
        max_bytes,
        max_ancestors,
        max_descendants,
        expiry,
        min_fee_rate,
        max_orphans,
        max_orphan_bytes,
        max_orphan_size,
        orphan_expiry,
    } = limits;
    // No node keeps its last 0 blocks.
    let retention = match retention {
        Retention::All => None,
        Retention::Manual => Some(0),
        Retention::Last(count) => Some(*count),
    };
    let sizes = [max_bytes, max_ancestors, max_descendants, max_orphans, max_orphan_bytes, max_orphan_size];
    codec::encode(&(
        (program, genesis),
        (id, listens, transports, connect, seeds),
        (
            [outbound_target, max_inbound, max_inbound_per_address].map(|number| *number as u64),
            user_agent,
            seed,
            (retention, archive_share, [sync_state, accept_slow_chain], content),
        ),
        (sizes.map(|size| *size as u64), [expiry.as_secs(), min_fee_rate.grains_per_byte(), orphan_expiry.as_secs()]),
        (now.mono, now.unix),
    ))
}

type Addresses = (NodeId, Vec<PeerAddr>, Transports, Vec<PeerAddr>, Vec<PeerAddr>);
type StartBody = (
    (String, String),
    Addresses,
    ([u64; 3], String, [u8; 32], (Option<u32>, u32, [bool; 2], bool)),
    ([u64; 6], [u64; 3]),
    (MonoTime, UnixTime),
);

fn decode_start(body: &[u8]) -> Result<Start, MalformedEntry> {
    let (
        (program, genesis),
        (id, listens, transports, connect, seeds),
        (numbers, user_agent, seed, (retention, archive_share, [sync_state, accept_slow_chain], content)),
        (sizes, [expiry_secs, min_fee_rate, orphan_expiry_secs]),
        (mono, unix),
    ) = codec::decode::<StartBody>(body)?;
    let [outbound_target, max_inbound, max_inbound_per_address] = numbers.map(size);
    let [max_bytes, max_ancestors, max_descendants, max_orphans, max_orphan_bytes, max_orphan_size] = sizes.map(size);
    Ok(Start {
        program,
        genesis,
        config: Config {
            id,
            listens,
            transports,
            connect,
            seeds,
            outbound_target,
            max_inbound,
            max_inbound_per_address,
            retention: match retention {
                None => Retention::All,
                Some(0) => Retention::Manual,
                Some(count) => Retention::Last(count),
            },
            archive_share,
            sync_state,
            accept_slow_chain,
            content,
            user_agent,
            seed,
        },
        limits: Limits {
            max_bytes,
            max_ancestors,
            max_descendants,
            expiry: Duration::from_secs(expiry_secs),
            min_fee_rate: FeeRate::from_grains_per_byte(min_fee_rate),
            max_orphans,
            max_orphan_bytes,
            max_orphan_size,
            orphan_expiry: Duration::from_secs(orphan_expiry_secs),
        },
        now: Now { mono, unix },
    })
}

/// A size of the recording machine; more than this one can count is no limit here.
fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// The entry of a kind with a body.
pub(super) fn decode(kind: u8, body: &[u8]) -> Result<Entry, MalformedEntry> {
    let moment = |body| -> Result<_, MalformedEntry> {
        let ((mono, unix, digest), used) = codec::decode_prefix::<(MonoTime, UnixTime, Digest)>(body)?;
        Ok((Now { mono, unix }, digest, &body[used..]))
    };
    Ok(match kind {
        START => Entry::Start(Box::new(decode_start(body)?)),
        STORED => Entry::Stored(codec::decode(body)?),
        INPUT => {
            let (now, digest, rest) = moment(body)?;
            Entry::Input { now, digest, input: input::decode_input(rest)? }
        }
        COMMAND => {
            let (now, digest, rest) = moment(body)?;
            Entry::Command { now, digest, command: input::decode_command(rest)? }
        }
        CHECKPOINT | END => {
            let (digest, state) = codec::decode::<(Digest, State)>(body)?;
            if kind == END { Entry::End(digest, state) } else { Entry::Checkpoint(digest, state) }
        }
        found => return Err(MalformedEntry::Kind { what: "entry", found }),
    })
}

impl Entry {
    /// The error of an entry that may not stand where it does.
    pub(super) fn out_of_order(&self, offset: u64) -> RecordError {
        let kind = match self {
            Self::Start(_) => START,
            Self::Stored(_) => STORED,
            Self::Input { .. } => INPUT,
            Self::Command { .. } => COMMAND,
            Self::Checkpoint(..) => CHECKPOINT,
            Self::End(..) => END,
        };
        RecordError::OutOfOrder { offset, kind }
    }
}
