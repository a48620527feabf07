use proptest::prelude::*;

use super::*;
use crate::p2p::noise::{Carrier, Handshake, Identity, MESSAGE_BYTES, Session};

/// Both ends of a connection, the dialling end first.
fn pair() -> (Session, Session) {
    let [one, other] = [(); 2].map(|()| Identity::from_secret(rand::random()));
    let mut dialled = Handshake::initiate(&one, &Carrier::Tcp, None, rand::random()).unwrap();
    let mut answered = Handshake::respond(&other, &Carrier::Tcp, rand::random()).unwrap();
    for turn in 0..MESSAGE_BYTES.len() {
        let (from, to) = if turn == 1 { (&mut answered, &mut dialled) } else { (&mut dialled, &mut answered) };
        to.receive(&from.send().unwrap().unwrap()).unwrap();
    }
    (dialled.finish().unwrap(), answered.finish().unwrap())
}

fn seal(sealer: &mut Sealer, plain: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    sealer.seal(plain, &mut out).unwrap();
    out
}

/// All that opens, until something does not.
fn open_all(opener: &mut Opener) -> (Vec<u8>, Result<(), RecordError>) {
    let mut plain = Vec::new();
    loop {
        match opener.open() {
            Ok(Some(held)) => plain.extend_from_slice(held),
            Ok(None) => return (plain, Ok(())),
            Err(error) => return (plain, Err(error)),
        }
    }
}

/// Bytes that differ from place to place.
fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|place| (place * 7 + place / 251) as u8).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_the_stream_opens_the_same(
        writes in prop::collection::vec(prop_oneof![1..200usize, MAX_PLAIN - 2..MAX_PLAIN + 2, 1..300_000usize], 1..6),
        cuts in prop::collection::vec(prop_oneof![1..40usize, 1..70_000usize], 1..50),
        answered in any::<bool>(),
    ) {
        let (dialled, other) = pair();
        let (mut from, mut to) = if answered { (other, dialled) } else { (dialled, other) };
        let mut wire = Vec::new();
        let plain: Vec<u8> = bytes(writes.iter().sum());
        let mut rest = &plain[..];
        for length in writes {
            let (now, after) = rest.split_at(length);
            let sealed = seal(&mut from.sealer, now);
            prop_assert_eq!(sealed.len(), length + length.div_ceil(MAX_PLAIN) * (LENGTH_BYTES + TAG_BYTES));
            wire.extend(sealed);
            rest = after;
        }
        let (mut got, mut rest) = (Vec::new(), &wire[..]);
        for cut in cuts.iter().cycle() {
            let (now, after) = rest.split_at((*cut).min(rest.len()));
            to.opener.push(now);
            let (plain, result) = open_all(&mut to.opener);
            prop_assert_eq!(result, Ok(()));
            prop_assert!(to.opener.waiting() < LENGTH_BYTES + MAX_RECORD);
            got.extend(plain);
            rest = after;
            if rest.is_empty() { break; }
        }
        prop_assert_eq!(to.opener.waiting(), 0);
        prop_assert!(got == plain);
    }

    #[test]
    fn garbage_opens_nothing(garbage in prop::collection::vec(any::<u8>(), 0..70_000)) {
        let (_, mut to) = pair();
        to.opener.push(&garbage);
        prop_assert_eq!(open_all(&mut to.opener).0, Vec::<u8>::new());
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (mut from, mut to) = pair();
    let first = seal(&mut from.sealer, b"what was meant");
    let good = [first.clone(), seal(&mut from.sealer, b"and more")].concat();
    // A length that grew takes in what follows; that there is enough of it, the padding sees to.
    let padding = vec![0; MAX_RECORD];
    for bit in 0..8 * first.len() {
        let mut wire = good.clone();
        wire[bit / 8] ^= 1 << (bit % 8);
        let mut opener =
            Opener { state: to.opener.state.clone(), number: 0, received: Vec::new(), opened: 0, plain: Vec::new() };
        opener.push(&wire);
        opener.push(&padding);
        let (plain, result) = open_all(&mut opener);
        assert!(plain.is_empty(), "bit {bit}");
        assert!(
            matches!(result, Err(RecordError::Forged { number: 0 } | RecordError::TooShort { .. })),
            "bit {bit}: {result:?}"
        );
    }
    to.opener.push(&good);
    assert_eq!(open_all(&mut to.opener), (b"what was meantand more".to_vec(), Ok(())));
}

#[test]
fn records_cut_off_wait_and_others_in_their_place_do_not_open() {
    let (mut from, mut to) = pair();
    let records: Vec<Vec<u8>> = (0..3).map(|n| seal(&mut from.sealer, &[n; 20])).collect();
    for end in 0..records[0].len() {
        let state = to.opener.state.clone();
        let mut opener = Opener { state, number: 0, received: Vec::new(), opened: 0, plain: Vec::new() };
        opener.push(&records[0][..end]);
        assert_eq!((open_all(&mut opener), opener.waiting()), ((Vec::new(), Ok(())), end));
    }
    to.opener.push(&records[0]);
    assert_eq!(open_all(&mut to.opener), (vec![0; 20], Ok(())));
    // Again, and out of order; one that is left out shows in the next.
    for wrong in [&records[0], &records[2]] {
        let state = to.opener.state.clone();
        let mut opener = Opener { state, number: 1, received: Vec::new(), opened: 0, plain: Vec::new() };
        opener.push(wrong);
        assert_eq!(open_all(&mut opener), (Vec::new(), Err(RecordError::Forged { number: 1 })));
    }
    // One's own, sent back.
    from.opener.push(&records[0]);
    assert_eq!(open_all(&mut from.opener).1, Err(RecordError::Forged { number: 0 }));
    // Of another connection between the same two it would be no better: every handshake has keys of its own.
    let (_, mut elsewhere) = pair();
    elsewhere.opener.push(&records[0]);
    assert_eq!(open_all(&mut elsewhere.opener).1, Err(RecordError::Forged { number: 0 }));
}

#[test]
fn records_have_at_least_a_byte_and_at_most_65_535() {
    let (mut from, mut to) = pair();
    let sealed = seal(&mut from.sealer, &bytes(MAX_PLAIN));
    assert_eq!((sealed.len(), &sealed[..2]), (2 + 65_535, &[0xff, 0xff][..]));
    let more = seal(&mut from.sealer, &bytes(MAX_PLAIN + 1));
    assert_eq!((more.len(), &more[2 + 65_535..][..2]), (2 + 65_535 + 2 + 17, &[17, 0][..]));
    to.opener.push(&[sealed, more].concat());
    let (plain, result) = open_all(&mut to.opener);
    assert_eq!(result, Ok(()));
    assert!(plain == [bytes(MAX_PLAIN), bytes(MAX_PLAIN + 1)].concat());
    assert!(seal(&mut from.sealer, &[]).is_empty());

    for got in 0..MIN_RECORD {
        let state = to.opener.state.clone();
        let mut opener = Opener { state, number: 0, received: Vec::new(), opened: 0, plain: Vec::new() };
        opener.push(&[got as u8, 0]);
        assert_eq!(opener.open(), Err(RecordError::TooShort { got }));
    }
}

#[test]
fn numbers_are_not_used_twice() {
    let (mut from, mut to) = pair();
    (from.sealer.number, to.opener.number) = (u64::MAX - 1, u64::MAX - 1);
    to.opener.push(&seal(&mut from.sealer, b"last"));
    assert_eq!(open_all(&mut to.opener), (b"last".to_vec(), Ok(())));
    assert_eq!(from.sealer.seal(b"one more", &mut Vec::new()), Err(RecordError::Exhausted));
    to.opener.push(&[17, 0].into_iter().chain([0; 17]).collect::<Vec<u8>>());
    assert_eq!(to.opener.open(), Err(RecordError::Exhausted));
}
