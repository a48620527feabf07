//! Any bytes as a stream of frames, cut in any pieces: what is read does not depend on the cuts, agrees with a naive reader,
//! and is written back as it was. And any bytes as the payload of each kind of message, taken on to where the node would.

#![no_main]

use cairn::consensus::check::check_block;
use cairn::consensus::headers::HeaderTail;
use cairn::p2p::coins::CoinAnswer;
use cairn::p2p::compact::{CompactBlock, Partial};
use cairn::p2p::frame::{self, Decoder, Frame, FrameError, HEADER_BYTES, MAX_UNKNOWN_BYTES};
use cairn::p2p::message::{Kind, Message};
use cairn::primitives::gcs::Filter;
use cairn::primitives::height::Height;
use cairn::state::StateId;
use cairn_fuzz::{Script, messages, params, seed};
use libfuzzer_sys::fuzz_target;

/// All that is to be read, why it ends early if it does, and how many bytes are left over.
type Read = (Vec<Message>, Option<FrameError>, usize);

fn seeds() {
    let framed = messages().iter().map(frame::encode).collect::<Vec<_>>();
    let mut inputs: Vec<Vec<u8>> = framed.chunks(5).map(|some| [&[0, 7][..], &some.concat()].concat()).collect();
    // A kind of a version to come, between two that are known.
    inputs.push([&[0, 3][..], &framed[0], &[4, 0, 0, 0, 200, 1, 2, 3], &framed[6]].concat());
    // A node whose address is of a kind to come, and has three bytes.
    inputs.push([&[1, Kind::Nodes.place() as u8, 1, 0, 0, 0, 0, 0, 0, 0][..], &[7; 32], &[200, 3, 1, 2, 3]].concat());
    inputs
        .extend(messages().iter().map(|message| [&[1, message.kind().place() as u8][..], &message.encode()].concat()));
    seed("frame", inputs);
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    let mut script = Script(bytes);
    match script.byte() % 2 {
        0 => {
            let piece = 1 + usize::from(script.byte());
            let naive = read_naively(script.0);
            assert_eq!(read(script.0.chunks(script.0.len().max(1))), naive);
            assert_eq!(read(script.0.chunks(piece)), naive);
        }
        _ => payload(*script.choose(&Kind::ALL), script.0),
    }
});

fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Read {
    let mut decoder = Decoder::new(params().max_block_bytes);
    let mut got = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => got.push(message),
                Ok(None) => break,
                Err(error) => return (got, Some(error), 0),
            }
        }
        assert!(decoder.buffered() < HEADER_BYTES + MAX_UNKNOWN_BYTES, "at most one frame waits");
    }
    (got, None, decoder.buffered())
}

/// As the specification says it, with all bytes at hand.
fn read_naively(mut bytes: &[u8]) -> Read {
    let mut got = Vec::new();
    while let Some((&[a, b, c, d, kind], rest)) = bytes.split_first_chunk::<HEADER_BYTES>() {
        let Some(length) = u32::from_le_bytes([a, b, c, d]).checked_sub(1) else {
            return (got, Some(FrameError::Empty), 0);
        };
        let length = length as usize;
        let known = Kind::from_byte(kind);
        let max = known.map_or(MAX_UNKNOWN_BYTES, |kind| kind.max_payload(params().max_block_bytes as usize));
        if length > max {
            return (got, Some(FrameError::TooLong { kind, got: length, max }), 0);
        }
        match (known, rest.get(..length)) {
            (Some(kind), Some(payload)) => match Message::decode(kind, payload) {
                Ok(message) => {
                    check_written_back(&message, payload);
                    got.push(message);
                }
                Err(error) => return (got, Some(error.into()), 0),
            },
            (Some(_), None) => break,
            // Unknown kinds are skipped as they come.
            (None, _) => {}
        }
        bytes = rest.get(length..).unwrap_or_default();
    }
    (got, None, bytes.len())
}

/// That there is one encoding of what `payload` said, but for what versions to come may say.
fn check_written_back(message: &Message, payload: &[u8]) {
    let encoded = message.encode();
    assert_eq!(message.encoded_len(), encoded.len());
    // Nodes leave out addresses of kinds that they do not know, and what follows a hello.
    let may_leave_out = matches!(message.kind(), Kind::Hello | Kind::Nodes | Kind::Providers);
    if !may_leave_out || encoded.len() >= payload.len() {
        assert_eq!(encoded, payload, "there is one encoding");
    }
}

fn payload(kind: Kind, bytes: &[u8]) {
    let Ok(message) = Message::decode(kind, bytes) else { return };
    assert_eq!(message.kind(), kind);
    check_written_back(&message, bytes);
    assert_eq!(Frame::from(&message).message().as_ref(), Ok(&message));
    match message {
        Message::Block(block) => {
            assert_eq!(block.size(), bytes.len());
            let compact = CompactBlock::new(&block, &block.txids(), 1, &[1, 2, 3]);
            if block.transactions.len() > 1 {
                let _ = Partial::new(&compact, []);
            }
            if let Ok(checked) = check_block(block.as_ref().clone(), params()) {
                assert_eq!(checked.hash(), compact.hash());
            }
        }
        Message::CompactBlock(compact) => {
            if let Ok(partial) = Partial::new(&compact, []) {
                assert_eq!(partial.missing().len(), compact.short_ids.len());
            }
        }
        Message::Headers(headers) => {
            let mut chain = HeaderTail::new(params());
            let taken = chain.extend(&headers, params()).map_or_else(|(taken, _)| taken, |()| headers.len());
            assert_eq!(chain.height().as_usize(), taken);
        }
        Message::Proofs(answer) => {
            for proof in answer.proofs {
                let _ = proof.branch.root(&proof.transaction.txid());
            }
        }
        Message::Opening { opening: Some(opening), .. } => {
            let _ = opening.check();
        }
        Message::Coins(CoinAnswer { query, proof: Some(proof) }) => {
            let id = StateId { height: Height::GENESIS, block: params().genesis_hash, root: query.root };
            let _ = query.check(&id, &proof);
        }
        Message::Filters(filters) => {
            for (block, bytes) in filters {
                let _ = Filter::from_bytes(bytes).map(|filter| filter.matches_any(&block, [b"one"]));
            }
        }
        _ => {}
    }
}
