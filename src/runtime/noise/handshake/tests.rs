use std::time::Duration;

use serde_json::Value;
use snow::StatelessTransportState;
use tokio::io::{DuplexStream, duplex};
use tokio::time::timeout;

use super::*;

/// A time-out for tests that would otherwise wait for ever.
const TIMEOUT: Duration = Duration::from_secs(60);

fn hex(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn key(value: &Value) -> Identity {
    Identity::from_secret(hex(value).try_into().unwrap())
}

/// A stream that has nothing more to say than this, and takes whatever is written.
fn says(bytes: &[u8]) -> DuplexStream {
    let (mut here, there) = duplex(1_024);
    let bytes = bytes.to_vec();
    tokio::spawn(async move {
        // Either may fail if the other end is gone.
        let _ = here.write_all(&bytes).await;
        let _ = here.shutdown().await;
        let _ = tokio::io::copy(&mut here, &mut tokio::io::sink()).await;
    });
    there
}

/// What one side writes if the other says nothing but this.
async fn answer_to(own: &Identity, said: &[u8]) -> (Vec<u8>, Result<Session, HandshakeError>) {
    let (mut here, mut there) = duplex(1_024);
    here.write_all(said).await.unwrap();
    here.shutdown().await.unwrap();
    let result = timeout(TIMEOUT, respond(&mut there, own)).await.unwrap();
    drop(there);
    let mut written = Vec::new();
    here.read_to_end(&mut written).await.unwrap();
    (written, result)
}

/// The handshake of two keys, with what each wrote.
async fn shaken(one: &Identity, other: &Identity) -> (Session, Session, [Vec<u8>; 3]) {
    let (mut near, mut here) = duplex(1_024);
    let (mut there, mut far) = duplex(1_024);
    // An eavesdropper that forwards and copies everything.
    let between = async {
        let mut kept = MESSAGE_BYTES.map(|length| vec![0; length]);
        here.read_exact(&mut kept[0]).await.unwrap();
        there.write_all(&kept[0]).await.unwrap();
        there.read_exact(&mut kept[1]).await.unwrap();
        here.write_all(&kept[1]).await.unwrap();
        here.read_exact(&mut kept[2]).await.unwrap();
        there.write_all(&kept[2]).await.unwrap();
        kept
    };
    let (dialled, answered, kept) =
        tokio::join!(initiate(&mut near, one, Some(other.id())), respond(&mut far, other), between);
    (dialled.unwrap(), answered.unwrap(), kept)
}

/// Two sides whose ephemeral keys are given too.
fn fixed(vector: &Value, side: [&str; 2], prologue: &[u8]) -> HandshakeState {
    let (secret, ephemeral) = (hex(&vector[side[0]]), hex(&vector[side[1]]));
    let builder = Builder::with_resolver(PROTOCOL.parse().unwrap(), Box::new(Strict));
    let builder = builder.local_private_key(&secret).unwrap().prologue(prologue).unwrap();
    let builder = builder.fixed_ephemeral_key_for_testing_only(&ephemeral);
    if side[0].starts_with("init") { builder.build_initiator() } else { builder.build_responder() }.unwrap()
}

/// The vector for this protocol among those that Noise implementations check each other with (cacophony's).
#[test]
fn the_published_vector() {
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

#[tokio::test]
async fn both_learn_who_the_other_is() {
    let (one, other) = (Identity::random(), Identity::random());
    let (mut dialled, mut answered, messages) = shaken(&one, &other).await;
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
    let (dialled, answered, _) = shaken(&one, &one).await;
    assert_eq!((dialled.peer, answered.peer), (one.id(), one.id()));
}

#[tokio::test]
async fn another_responder_is_refused_and_does_not_learn_the_initiator() {
    let (own, there, expected) = (Identity::random(), Identity::random(), Identity::random().id());
    let (mut here, mut far) = duplex(1_024);
    let asking = tokio::spawn(async move { initiate(&mut here, &own, Some(expected)).await.unwrap_err() });
    let answered = timeout(TIMEOUT, respond(&mut far, &there)).await.unwrap();
    assert!(matches!(answered, Err(HandshakeError::Io(error)) if error.kind() == io::ErrorKind::UnexpectedEof));
    let error = asking.await.unwrap();
    assert!(matches!(error, HandshakeError::WrongId { got, expected: e } if got == there.id() && e == expected));
    assert_eq!(error.to_string(), format!("another node is there: got node {}, expected {expected}", there.id()));
}

#[tokio::test]
async fn messages_cut_off_at_every_byte_are_no_handshake() {
    let (one, other) = (Identity::random(), Identity::random());
    let (_, _, [first, second, third]) = shaken(&one, &other).await;
    let is_eof = |error: HandshakeError| matches!(error, HandshakeError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof);
    for end in 0..first.len() {
        let (written, result) = answer_to(&other, &first[..end]).await;
        assert!(written.is_empty() && is_eof(result.unwrap_err()), "{end}");
    }
    for end in 0..third.len() {
        let (written, result) = answer_to(&other, &[&first, &third[..end]].concat()).await;
        assert!(written.len() == second.len() && is_eof(result.unwrap_err()), "{end}");
    }
    for end in 0..second.len() {
        assert!(is_eof(initiate(&mut says(&second[..end]), &one, None).await.unwrap_err()), "{end}");
    }
}

#[tokio::test]
async fn a_replayed_handshake_is_refused() {
    let (one, other) = (Identity::random(), Identity::random());
    let (_, _, [first, second, third]) = shaken(&one, &other).await;
    // The responder uses a new ephemeral key, so the replayed third message fails.
    let (again, result) = answer_to(&other, &[&first[..], &third].concat()).await;
    assert!(matches!(result, Err(HandshakeError::Invalid(snow::Error::Decrypt))));
    assert_ne!(again, second);
    let replayed = initiate(&mut says(&second), &one, Some(other.id())).await;
    assert!(matches!(replayed, Err(HandshakeError::Invalid(snow::Error::Decrypt))));
}

#[tokio::test]
async fn every_flipped_bit_is_noticed() {
    let (one, other) = (Identity::random(), Identity::random());
    for (message, length) in MESSAGE_BYTES.into_iter().enumerate() {
        for byte in 0..length {
            let (mut near, mut here) = duplex(1_024);
            let (mut there, mut far) = duplex(1_024);
            let between = async {
                let mut buffer = [0; HANDSHAKE_BYTES];
                for (turn, length) in MESSAGE_BYTES.into_iter().enumerate() {
                    let (from, to) = if turn == 1 { (&mut there, &mut here) } else { (&mut here, &mut there) };
                    if from.read_exact(&mut buffer[..length]).await.is_err() {
                        break;
                    }
                    if turn == message {
                        buffer[byte] ^= 1 << (byte % 8);
                    }
                    to.write_all(&buffer[..length]).await.unwrap();
                }
                drop((here, there));
            };
            let dialling = async {
                let result = initiate(&mut near, &one, None).await;
                drop(near);
                result
            };
            let answering = async {
                let result = respond(&mut far, &other).await;
                drop(far);
                result
            };
            let (dialled, answered, ()) = tokio::join!(dialling, answering, between);
            // Who dialled is done before the third message arrives; its first record would not be answered.
            let (dialled, answered) = (dialled.is_err(), answered.is_err());
            // The top bit of a public key means nothing in X25519, but it is part of what both sides hash.
            assert!(answered && (dialled || message == 2), "message {message}, byte {byte}: {dialled} {answered}");
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

#[tokio::test]
async fn weak_keys_are_refused() {
    let own = Identity::random();
    for weak in WEAK {
        let weak = hex::decode(weak).unwrap();
        let (written, result) = answer_to(&own, &[&weak[..], &[0; 64]].concat()).await;
        assert!(written.is_empty() && matches!(result, Err(HandshakeError::Invalid(snow::Error::Dh))), "{weak:?}");
        let said = [&weak[..], &[0; 64]].concat();
        let result = initiate(&mut says(&said), &own, None).await;
        assert!(matches!(result, Err(HandshakeError::Invalid(snow::Error::Dh))), "{weak:?}");
    }
}

#[tokio::test]
async fn other_prologues_and_garbage_are_not_understood() {
    let own = Identity::random();
    let mut state = Builder::with_resolver(PROTOCOL.parse().unwrap(), Box::new(Strict))
        .local_private_key(own.secret())
        .and_then(|builder| builder.prologue(b"cairn transport 2"))
        .and_then(Builder::build_initiator)
        .unwrap();
    let mut first = [0; HANDSHAKE_BYTES];
    let written = state.write_message(&[], &mut first).unwrap();
    let (second, _) = answer_to(&own, &first[..written]).await;
    assert!(matches!(state.read_message(&second, &mut []), Err(snow::Error::Decrypt)));

    for byte in [1, 9, 0x55, 0xff] {
        let (_, result) = answer_to(&own, &[byte; HANDSHAKE_BYTES]).await;
        assert!(matches!(result, Err(HandshakeError::Invalid(snow::Error::Decrypt))), "{byte}");
        let result = initiate(&mut says(&[byte; HANDSHAKE_BYTES]), &own, None).await;
        assert!(matches!(result, Err(HandshakeError::Invalid(snow::Error::Decrypt))), "{byte}");
    }
}

/// Both tasks of a socket use it, and it moves between threads.
#[test]
fn keys_may_be_shared() {
    fn shared<T: Send + Sync>() {}
    shared::<StatelessTransportState>();
}
