use serde_json::Value;
use snow::StatelessTransportState;

use super::*;
use crate::p2p::noise::PROLOGUE;

fn hex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn key(value: &Value) -> Identity {
    Identity::from_secret(hex(value).try_into().unwrap())
}

fn random() -> Identity {
    Identity::from_secret(rand::random())
}

fn initiate(own: &Identity, expected: Option<NodeId>) -> Handshake {
    Handshake::initiate(own, &Carrier::Tcp, expected, rand::random()).unwrap()
}

fn respond(own: &Identity) -> Handshake {
    Handshake::respond(own, &Carrier::Tcp, rand::random()).unwrap()
}

/// What one side says if the other says nothing but this, and its connection if that was enough for one.
fn answer(mut own: Handshake, mut said: &[u8]) -> (Vec<u8>, Result<Option<Session>, HandshakeError>) {
    let mut sent = Vec::new();
    loop {
        sent.extend(own.send().unwrap().unwrap_or_default());
        let Some(length) = own.awaited() else { return (sent, own.finish().map(Some)) };
        let Some(message) = said.split_off(..length) else { return (sent, Ok(None)) };
        if let Err(error) = own.receive(message) {
            return (sent, Err(error));
        }
    }
}

/// The handshake of two keys, with what each said.
fn shaken(one: &Identity, other: &Identity) -> (Session, Session, [Vec<u8>; 3]) {
    let (mut near, mut far) = (initiate(one, Some(other.id())), respond(other));
    let messages = std::array::from_fn(|turn| {
        let (from, to) = if turn == 1 { (&mut far, &mut near) } else { (&mut near, &mut far) };
        let message = from.send().unwrap().expect("it is its turn");
        assert_eq!(to.send().unwrap(), None);
        assert_eq!(to.awaited(), Some(message.len()));
        to.receive(&message).unwrap();
        message
    });
    assert_eq!((near.awaited(), far.awaited()), (None, None));
    (near.finish().unwrap(), far.finish().unwrap(), messages)
}

/// Two sides whose ephemeral keys are given too.
fn fixed(vector: &Value, side: [&str; 2], prologue: &[u8]) -> HandshakeState {
    let (secret, ephemeral) = (hex(&vector[side[0]]), hex(&vector[side[1]]));
    let builder = Builder::with_resolver(PROTOCOL.parse().unwrap(), Box::new(Strict { seed: [0; 32] }));
    let builder = builder.local_private_key(&secret).unwrap().prologue(prologue).unwrap();
    let builder = builder.fixed_ephemeral_key_for_testing_only(&ephemeral);
    if side[0].starts_with("init") { builder.build_initiator() } else { builder.build_responder() }.unwrap()
}

/// The vector for this protocol among those that Noise implementations check each other with (cacophony's).
#[test]
fn the_handshake_gives_the_published_vector() {
    let vector: Value = serde_json::from_str(include_str!("../../../../tests/data/noise/cacophony.json")).unwrap();
    assert_eq!(vector["protocol_name"], PROTOCOL);
    let prologue = hex(&vector["init_prologue"]);
    let mut sides = [
        fixed(&vector, ["init_static", "init_ephemeral"], &prologue),
        fixed(&vector, ["resp_static", "resp_ephemeral"], &prologue),
    ];
    let messages = vector["messages"].as_array().unwrap();
    for (turn, message) in messages[..3].iter().enumerate() {
        let mut buffer = [0; 1_024];
        let written = sides[turn % 2].write_message(&hex(&message["payload"]), &mut buffer).unwrap();
        assert_eq!(buffer[..written], hex(&message["ciphertext"]), "message {turn}");
        let mut payload = [0; 1_024];
        let read = sides[1 - turn % 2].read_message(&buffer[..written], &mut payload).unwrap();
        assert_eq!(payload[..read], hex(&message["payload"]));
    }
    assert_eq!(sides[0].get_handshake_hash(), hex(&vector["handshake_hash"]));
    let mut sides = sides.map(|state| session(state).unwrap());
    for (turn, message) in messages.iter().enumerate().skip(3) {
        let (plain, mut record) = (hex(&message["payload"]), Vec::new());
        sides[turn % 2].sealer.seal(&plain, &mut record).unwrap();
        assert_eq!(record[2..], hex(&message["ciphertext"]), "message {turn}");
        sides[1 - turn % 2].opener.push(&record);
        assert_eq!(sides[1 - turn % 2].opener.open().unwrap(), Some(&plain[..]));
    }
}

/// What docs/protocol.md promises, byte by byte; the file was made by another implementation.
#[test]
fn the_vector_of_this_transport() {
    let vector: Value = serde_json::from_str(include_str!("../../../../tests/data/noise/cairn.json")).unwrap();
    assert_eq!(vector["prologue"].as_str().unwrap().as_bytes(), PROLOGUE);
    let flat = serde_json::json!({
        "init_static": vector["initiator"]["secret"], "init_ephemeral": vector["initiator"]["ephemeral"],
        "resp_static": vector["responder"]["secret"], "resp_ephemeral": vector["responder"]["ephemeral"],
    });
    let mut sides = [
        fixed(&flat, ["init_static", "init_ephemeral"], PROLOGUE),
        fixed(&flat, ["resp_static", "resp_ephemeral"], PROLOGUE),
    ];
    for (turn, length) in MESSAGE_BYTES.into_iter().enumerate() {
        let mut buffer = [0; HANDSHAKE_BYTES];
        let written = sides[turn % 2].write_message(&[], &mut buffer).unwrap();
        assert_eq!((written, &buffer[..written]), (length, &hex(&vector["handshake"][turn])[..]));
        sides[1 - turn % 2].read_message(&buffer[..written], &mut []).unwrap();
    }
    let [mut dialled, mut answered] = sides.map(|state| session(state).unwrap());
    assert_eq!(dialled.peer.to_string(), vector["responder"]["id"].as_str().unwrap());
    assert_eq!(answered.peer.to_string(), vector["initiator"]["id"].as_str().unwrap());
    assert_eq!(answered.peer, key(&vector["initiator"]["secret"]).id());
    for (sealer, records) in
        [(&mut dialled.sealer, &vector["initiator_records"]), (&mut answered.sealer, &vector["responder_records"])]
    {
        for record in records.as_array().unwrap() {
            let mut sealed = Vec::new();
            sealer.seal(&hex(&record["plain"]), &mut sealed).unwrap();
            assert_eq!(sealed, hex(&record["record"]));
        }
    }
}

#[test]
fn both_learn_who_the_other_is() {
    let (one, other) = (random(), random());
    let (mut dialled, mut answered, messages) = shaken(&one, &other);
    assert_eq!((dialled.peer, answered.peer), (other.id(), one.id()));
    for (from, to) in [(&mut dialled.sealer, &mut answered.opener), (&mut answered.sealer, &mut dialled.opener)] {
        let mut wire = Vec::new();
        from.seal(b"words", &mut wire).unwrap();
        to.push(&wire);
        assert_eq!(to.open().unwrap(), Some(&b"words"[..]));
    }
    // An eavesdropper does not see the static keys.
    for public in [&one, &other].map(|identity| identity.id().0) {
        assert!(messages.iter().all(|message| message.windows(32).all(|bytes| bytes != public)));
    }
    // A handshake with oneself succeeds too; the caller must compare the id.
    let (dialled, answered, _) = shaken(&one, &one);
    assert_eq!((dialled.peer, answered.peer), (one.id(), one.id()));
}

#[test]
fn another_responder_is_refused_and_does_not_learn_the_initiator() {
    let (own, there, expected) = (random(), random(), random().id());
    let mut asking = initiate(&own, Some(expected));
    let first = asking.send().unwrap().unwrap();
    let (second, answered) = answer(respond(&there), &first);
    assert!(matches!(answered, Ok(None)));
    let error = asking.receive(&second).unwrap_err();
    assert!(matches!(error, HandshakeError::WrongId { got, expected: e } if got == there.id() && e == expected));
    assert_eq!(error.to_string(), format!("another node answers there: got node {}, expected {expected}", there.id()));
}

#[test]
fn a_message_cut_off_is_answered_by_nothing() {
    let (one, other) = (random(), random());
    let (_, _, [first, second, third]) = shaken(&one, &other);
    for end in 0..first.len() {
        let (said, result) = answer(respond(&other), &first[..end]);
        assert!(said.is_empty() && matches!(result, Ok(None)), "{end}");
    }
    for end in 0..third.len() {
        let (said, result) = answer(respond(&other), &[&first, &third[..end]].concat());
        assert!(said.len() == second.len() && matches!(result, Ok(None)), "{end}");
    }
    for end in 0..second.len() {
        let (said, result) = answer(initiate(&one, None), &second[..end]);
        assert!(said.len() == first.len() && matches!(result, Ok(None)), "{end}");
    }
    for end in 0..first.len() {
        let error = respond(&other).receive(&first[..end]).unwrap_err();
        assert!(matches!(error, HandshakeError::Invalid(_)), "{end}");
    }
    assert!(initiate(&one, None).finish().is_err(), "no peer is known yet");
}

#[test]
fn a_seed_gives_the_ephemeral_key() {
    let own = random();
    let first = |seed| Handshake::initiate(&own, &Carrier::Tcp, None, seed).unwrap().send().unwrap();
    assert_eq!(first([1; 32]), first([1; 32]));
    assert_ne!(first([1; 32]), first([2; 32]));
}

#[test]
fn a_replayed_handshake_is_refused() {
    let (one, other) = (random(), random());
    let (_, _, [first, second, third]) = shaken(&one, &other);
    // The responder uses a new ephemeral key, so the replayed third message fails.
    let (again, result) = answer(respond(&other), &[&first[..], &third].concat());
    assert!(matches!(result, Err(HandshakeError::Invalid(snow::Error::Decrypt))));
    assert_ne!(again, second);
    let (_, replayed) = answer(initiate(&one, Some(other.id())), &second);
    assert!(matches!(replayed, Err(HandshakeError::Invalid(snow::Error::Decrypt))));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (one, other) = (random(), random());
    for (message, length) in MESSAGE_BYTES.into_iter().enumerate() {
        for byte in 0..length {
            let (mut near, mut far) = (initiate(&one, None), respond(&other));
            let refused = MESSAGE_BYTES.into_iter().enumerate().position(|(turn, _)| {
                let (from, to) = if turn == 1 { (&mut far, &mut near) } else { (&mut near, &mut far) };
                let mut said = from.send().unwrap().unwrap();
                if turn == message {
                    said[byte] ^= 1 << (byte % 8);
                }
                to.receive(&said).is_err()
            });
            // The first message has nothing encrypted, so that a change shows in the answer. The top bit of a public key
            // means nothing in X25519, but it is part of what both sides hash.
            assert_eq!(refused, Some(message.max(1)), "message {message}, byte {byte}");
        }
    }
}

/// Points of small order, on the curve or its twist, in the encodings that X25519 takes: with them every secret is zero.
const WEAK: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

#[test]
fn weak_keys_are_refused() {
    let own = random();
    for weak in WEAK {
        let weak = hex::decode(weak).unwrap();
        let mut far = respond(&own);
        let result = far.receive(&weak).and_then(|()| far.send());
        assert!(matches!(result, Err(HandshakeError::Invalid(snow::Error::Dh))), "{weak:?}");
        let (_, result) = answer(initiate(&own, None), &[&weak[..], &[0; 64]].concat());
        assert!(matches!(result, Err(HandshakeError::Invalid(snow::Error::Dh))), "{weak:?}");
    }
}

#[test]
fn other_prologues_and_garbage_are_not_understood() {
    let own = random();
    let mut state = Builder::with_resolver(PROTOCOL.parse().unwrap(), Box::new(Strict { seed: [0; 32] }))
        .local_private_key(own.secret())
        .and_then(|builder| builder.prologue(b"cairn transport 2"))
        .and_then(Builder::build_initiator)
        .unwrap();
    let mut first = [0; HANDSHAKE_BYTES];
    let written = state.write_message(&[], &mut first).unwrap();
    let (second, _) = answer(respond(&own), &first[..written]);
    assert!(matches!(state.read_message(&second, &mut []), Err(snow::Error::Decrypt)));

    for byte in [1, 9, 0x55, 0xff] {
        let (_, result) = answer(respond(&own), &[byte; HANDSHAKE_BYTES]);
        assert!(matches!(result, Err(HandshakeError::Invalid(snow::Error::Decrypt))), "{byte}");
        let (_, result) = answer(initiate(&own, None), &[byte; HANDSHAKE_BYTES]);
        assert!(matches!(result, Err(HandshakeError::Invalid(snow::Error::Decrypt))), "{byte}");
    }
}

/// Both tasks of a socket use it, and it moves between threads.
#[test]
fn keys_may_be_shared() {
    fn shared<T: Send + Sync>() {}
    shared::<StatelessTransportState>();
}

#[test]
fn both_sides_must_mean_the_same_carrier() {
    let (one, other) = (random(), random());
    let carriers = [
        Carrier::Tcp,
        Carrier::WebRtc { node: [1; 32], page: [2; 32] },
        Carrier::WebRtc { node: [2; 32], page: [1; 32] },
        Carrier::WebRtc { node: [1; 32], page: [3; 32] },
    ];
    for dialled in &carriers {
        for answered in &carriers {
            let mut near = Handshake::initiate(&one, dialled, Some(other.id()), rand::random()).unwrap();
            let mut far = Handshake::respond(&other, answered, rand::random()).unwrap();
            far.receive(&near.send().unwrap().unwrap()).unwrap();
            let received = near.receive(&far.send().unwrap().unwrap());
            assert_eq!(received.is_ok(), dialled == answered, "{dialled:?} {answered:?}");
        }
    }
}
