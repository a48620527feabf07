//! Inputs and commands as bytes: a tag (u8), and what goes with it. Replies are no part of it: in a replay no caller waits.

use std::time::Duration;

use super::MalformedEntry;
use crate::p2p::chain_prover::TipProof;
use crate::p2p::kad::NodeId;
use crate::p2p::message::{Kind, Message};
use crate::p2p::{Command, Direction, Input, PeerAddr, PeerId, Reply, Subnet};
use crate::primitives::block::Block;
use crate::primitives::codec::{self, CodecError, Encode};
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::time::{MonoTime, UnixTime};
use crate::primitives::tx::{HashedTransaction, Transaction};
use crate::storage::BlockKey;

fn tagged(tag: u8, value: &impl Encode) -> Vec<u8> {
    codec::encode(&(tag, value))
}

/// Whole milliseconds of a span: the record keeps no fractions.
fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

/// The bytes of an input.
pub fn encode_input(input: &Input) -> Vec<u8> {
    match input {
        Input::Connected { peer, address, direction, id } => {
            tagged(0, &(peer.0, address, *direction == Direction::Outbound, id))
        }
        // A full node only logs what else was found there.
        Input::ConnectFailed { address, found: _ } => tagged(1, address),
        Input::Received { peer, message, at } => {
            let mut bytes = tagged(2, &(peer.0, at, message.kind() as u8));
            bytes.extend(message.encode());
            bytes
        }
        Input::Transactions { peer, transactions, verified } => {
            let transactions: Vec<_> = transactions.iter().map(HashedTransaction::shared).collect();
            tagged(9, &(peer.0, transactions, verified))
        }
        Input::Malformed { peer, reason } => tagged(3, &(peer.0, reason)),
        Input::Flushed { peer } => tagged(4, &peer.0),
        Input::Disconnected { peer } => tagged(5, &peer.0),
        Input::Delayed { by } => tagged(6, &millis(*by)),
        Input::Tick => vec![7],
        Input::Stop => vec![8],
    }
}

/// The input that `bytes` are.
///
/// # Errors
/// [`MalformedEntry`].
pub fn decode_input(bytes: &[u8]) -> Result<Input, MalformedEntry> {
    let (tag, body) = bytes.split_first().ok_or(MalformedEntry::Empty)?;
    let peer = || codec::decode(body).map(PeerId);
    Ok(match tag {
        0 => {
            let (peer, address, outbound, id) = codec::decode::<(u64, PeerAddr, bool, NodeId)>(body)?;
            let direction = if outbound { Direction::Outbound } else { Direction::Inbound };
            Input::Connected { peer: PeerId(peer), address, direction, id }
        }
        1 => Input::ConnectFailed { address: codec::decode(body)?, found: None },
        2 => {
            let ((peer, at, kind), used) = codec::decode_prefix::<(u64, MonoTime, u8)>(body)?;
            let kind = Kind::from_byte(kind).ok_or(MalformedEntry::Kind { what: "message", found: kind })?;
            Input::Received { peer: PeerId(peer), message: Message::decode(kind, &body[used..])?, at }
        }
        3 => {
            let (peer, reason) = codec::decode(body)?;
            Input::Malformed { peer: PeerId(peer), reason }
        }
        4 => Input::Flushed { peer: peer()? },
        5 => Input::Disconnected { peer: peer()? },
        6 => Input::Delayed { by: Duration::from_millis(codec::decode(body)?) },
        7 => nothing(body, Input::Tick)?,
        8 => nothing(body, Input::Stop)?,
        9 => {
            let (peer, transactions, verified) = codec::decode::<(u64, Vec<Transaction>, Vec<Txid>)>(body)?;
            let transactions = transactions.into_iter().map(HashedTransaction::new).collect();
            Input::Transactions { peer: PeerId(peer), transactions, verified }
        }
        found => return Err(MalformedEntry::Kind { what: "input", found: *found }),
    })
}

/// The bytes of a command, its reply aside.
pub fn encode_command(command: &Command) -> Vec<u8> {
    match command {
        Command::SubmitBlock(block, _) => tagged(0, block),
        Command::SubmitHeader(header, _) => tagged(1, header),
        Command::SubmitTransaction(tx, _) => tagged(2, tx),
        // Without a length before it, for it may be longer than the codec lets a list be.
        Command::RestoreMempool(saved, _) => [&[3], &saved[..]].concat(),
        Command::Invalidate(hash, _) => tagged(4, hash),
        Command::Reconsider(hash, _) => tagged(5, hash),
        Command::Ping(_) => vec![6],
        Command::AddNode(address, id, _) => tagged(7, &(address, id)),
        Command::AddSeed(address, id, _) => tagged(8, &(address, id)),
        Command::RemoveNode(address, _) => tagged(9, address),
        Command::ConnectOnce(address, id, _) => tagged(10, &(address, id)),
        Command::Disconnect(peer, _) => tagged(11, &peer.0),
        Command::DisconnectAddress(address, _) => tagged(12, address),
        Command::Ban(subnet, until, _) => tagged(13, &(subnet.to_string(), until)),
        Command::Unban(subnet, _) => tagged(14, &subnet.to_string()),
        Command::ClearBans(_) => vec![15],
        Command::Tick(_) => vec![16],
        Command::FindNode(target, _) => tagged(17, target),
        Command::FindProviders(key, _) => tagged(25, key),
        Command::Announce(key, _) => tagged(26, key),
        Command::Provide(keys, _) => tagged(27, keys),
        Command::StopProviding(keys, _) => tagged(28, keys),
        Command::PenaliseContent(peer, fault, _) => tagged(29, &(peer.0, fault)),
        Command::TakeSnapshot(name, _) => tagged(18, name),
        Command::Revert(name, _) => tagged(19, name),
        Command::DropSnapshot(name, _) => tagged(20, name),
        Command::SetActive(is_active, _) => tagged(21, is_active),
        Command::PruneBelow(height, _) => tagged(22, height),
        Command::StateReady(block, _) => tagged(23, &(block.height, block.hash)),
        Command::ProofMade(proof, _) => {
            tagged(24, &proof.as_ref().map(|TipProof { tip, bytes }| (tip.height, tip.hash, bytes)))
        }
    }
}

/// The command that `bytes` are, whose reply goes nowhere.
///
/// # Errors
/// [`MalformedEntry`].
pub fn decode_command(bytes: &[u8]) -> Result<Command, MalformedEntry> {
    let (tag, body) = bytes.split_first().ok_or(MalformedEntry::Empty)?;
    let place = || codec::decode::<(PeerAddr, Option<NodeId>)>(body);
    Ok(match tag {
        0 => Command::SubmitBlock(codec::decode::<Block>(body)?, Reply::nowhere()),
        1 => Command::SubmitHeader(codec::decode::<Header>(body)?, Reply::nowhere()),
        2 => Command::SubmitTransaction(codec::decode::<Transaction>(body)?, Reply::nowhere()),
        3 => Command::RestoreMempool(body.to_vec(), Reply::nowhere()),
        4 => Command::Invalidate(codec::decode::<BlockHash>(body)?, Reply::nowhere()),
        5 => Command::Reconsider(codec::decode::<BlockHash>(body)?, Reply::nowhere()),
        6 => nothing(body, Command::Ping(Reply::nowhere()))?,
        7 => {
            let (address, id) = place()?;
            Command::AddNode(address, id, Reply::nowhere())
        }
        8 => {
            let (address, id) = place()?;
            Command::AddSeed(address, id, Reply::nowhere())
        }
        9 => Command::RemoveNode(codec::decode(body)?, Reply::nowhere()),
        10 => {
            let (address, id) = place()?;
            Command::ConnectOnce(address, id, Reply::nowhere())
        }
        11 => Command::Disconnect(PeerId(codec::decode(body)?), Reply::nowhere()),
        12 => Command::DisconnectAddress(codec::decode(body)?, Reply::nowhere()),
        13 => {
            let (text, until) = codec::decode::<(String, UnixTime)>(body)?;
            Command::Ban(subnet(text)?, until, Reply::nowhere())
        }
        14 => Command::Unban(subnet(codec::decode(body)?)?, Reply::nowhere()),
        15 => nothing(body, Command::ClearBans(Reply::nowhere()))?,
        16 => nothing(body, Command::Tick(Reply::nowhere()))?,
        17 => Command::FindNode(codec::decode(body)?, Reply::nowhere()),
        18 => Command::TakeSnapshot(codec::decode(body)?, Reply::nowhere()),
        19 => Command::Revert(codec::decode(body)?, Reply::nowhere()),
        20 => Command::DropSnapshot(codec::decode(body)?, Reply::nowhere()),
        21 => Command::SetActive(codec::decode(body)?, Reply::nowhere()),
        22 => Command::PruneBelow(codec::decode(body)?, Reply::nowhere()),
        23 => {
            let (height, hash) = codec::decode(body)?;
            Command::StateReady(BlockKey { height, hash }, Reply::nowhere())
        }
        24 => {
            let proof = codec::decode::<Option<(Height, BlockHash, Vec<u8>)>>(body)?;
            let made = |(height, hash, bytes)| TipProof { tip: BlockKey { height, hash }, bytes };
            Command::ProofMade(proof.map(made), Reply::nowhere())
        }
        25 => Command::FindProviders(codec::decode(body)?, Reply::nowhere()),
        26 => Command::Announce(codec::decode(body)?, Reply::nowhere()),
        27 => Command::Provide(codec::decode(body)?, Reply::nowhere()),
        28 => Command::StopProviding(codec::decode(body)?, Reply::nowhere()),
        29 => {
            let (peer, fault) = codec::decode(body)?;
            Command::PenaliseContent(PeerId(peer), fault, Reply::nowhere())
        }
        found => return Err(MalformedEntry::Kind { what: "command", found: *found }),
    })
}

/// `value`, if nothing goes with it.
fn nothing<T>(body: &[u8], value: T) -> Result<T, CodecError> {
    codec::decode::<()>(body).map(|()| value)
}

fn subnet(text: String) -> Result<Subnet, MalformedEntry> {
    text.parse().map_err(|_| MalformedEntry::Text { got: text, expected: "subnet" })
}
