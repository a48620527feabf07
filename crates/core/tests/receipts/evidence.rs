//! Succinct evidence: it agrees with evidence of all headers, and every lie is refused.

use std::fs;
use std::path::Path;

use cairn_core::consensus::error::RuleError;
use cairn_core::primitives::height::Height;
use cairn_core::primitives::target::Bits;
use cairn_core::primitives::time::UnixTime;
use cairn_core::receipt::succinct::{SuccinctError, TAIL};
use cairn_core::receipt::weight::Weight;
use cairn_core::receipt::{Evidence, Proven, Receipt, ReceiptError, checkpoint_to_json};
use cairn_testkit::forge::{Fault, Forge, params};

fn proof_of(receipt: &Receipt) -> &[u8] {
    match &receipt.evidence {
        Evidence::Succinct(proof) => proof,
        other => panic!("{other:?}"),
    }
}

fn refusal(forge: &Forge, height: u32) -> SuccinctError {
    match forge.succinct(Height::from_u32(height)).verify(&forge.params, None, UnixTime::from_secs(u64::MAX)) {
        Err(ReceiptError::Succinct(error)) => error,
        other => panic!("{other:?}"),
    }
}

/// An honest chain of `honest` blocks, and then blocks each with the fault that `fault` gives its height.
fn forged(honest: u32, length: u32, fault: impl Fn(u32) -> Fault) -> Forge {
    let mut forge = Forge::honest(params(), honest);
    (honest + 1..=length).for_each(|height| forge.add(fault(height)));
    forge
}

#[test]
fn a_sample_proves_what_all_headers_prove() {
    let mut forge = Forge::new(params());
    for length in [1, 2, 3, 64, TAIL - 1, TAIL, TAIL + 1, TAIL + 2, 400, 777, 1500] {
        while forge.height() < Height::from_u32(length) {
            forge.add(Fault::None);
        }
        let places = [0, 1, 2, length / 3, length / 2, length.saturating_sub(TAIL), length - 1, length];
        for height in places.into_iter().filter(|height| *height <= length) {
            let expected = forge
                .whole(Height::from_u32(height))
                .verify(&forge.params, None, UnixTime::from_secs(u64::MAX))
                .unwrap();
            let receipt = forge.succinct(Height::from_u32(height));
            for read in
                [Receipt::read(&receipt.to_bytes()[..]).unwrap(), Receipt::from_json(receipt.to_json()).unwrap()]
            {
                assert_eq!(read, receipt);
                let proven = read.verify(&forge.params, None, UnixTime::from_secs(u64::MAX)).unwrap_or_else(|error| {
                    panic!("block {height} of {length}: {error}");
                });
                // The unit is the work of a header, be it one from before the window that all headers show.
                let below = &forge.headers[..=height as usize];
                let largest = below.iter().map(|header| header.bits.target().unwrap().work()).max().unwrap();
                assert!(proven.weight.unit <= largest, "block {height} of {length}");
                let weight = Weight { on_top: expected.weight.on_top, ..proven.weight };
                let expected = Proven { checkpoint: None, weight, ..expected.clone() };
                assert_eq!(proven, expected, "block {height} of {length}");
            }
        }
    }
}

#[test]
fn size_grows_with_the_logarithm() {
    let mut forge = Forge::new(params());
    let mut sizes = Vec::new();
    for length in [2_000, 4_000, 8_000, 16_000] {
        while forge.height() < Height::from_u32(length) {
            forge.add(Fault::None);
        }
        sizes.push(proof_of(&forge.succinct(Height::from_u32(length / 2))).len());
    }
    // Each doubling adds one octave: 14 samples of less than a kilobyte.
    for pair in sizes.windows(2) {
        assert!(pair[1] > pair[0] && pair[1] - pair[0] < 14_000, "{sizes:?}");
    }
}

#[test]
fn false_work_is_found_wherever_it_begins() {
    for (honest, length) in [(1, 1_200), (600, 1_200), (900, 1_300), (200, 1_500)] {
        // Every second block proves no work, as much as an attacker with half of the honest work must leave out. The
        // last blocks, which are all checked, are valid.
        let fault = |height: u32| {
            if height.is_multiple_of(2) && height + TAIL < length { Fault::NoWork } else { Fault::None }
        };
        let forge = forged(honest, length, fault);
        let error = refusal(&forge, 1);
        assert!(matches!(error, SuccinctError::Rule { .. }), "{honest} {error}");
    }
}

#[test]
fn faults_in_the_tail_are_always_seen() {
    for back in [0, 1, 17, TAIL] {
        for (fault, expected) in [
            (Fault::NoWork, "does not meet"),
            (Fault::Bits(Bits(0x2010_0000)), "bits"),
            (Fault::Bits(Bits(0x207f_ffff)), "bits"),
        ] {
            let forge = forged(299, 600, |height| if height + back == 600 { fault } else { Fault::None });
            let error = refusal(&forge, 1);
            let text = error.to_string();
            assert!(
                matches!(error, SuccinctError::Rule { height, .. } if height == Height::from_u32(600 - back)),
                "{back} {text}"
            );
            assert!(text.contains(expected), "{text}");
        }
    }
}

#[test]
fn no_block_is_earlier_than_genesis_whether_that_is_shown_or_not() {
    for length in [1, 40, 700] {
        let mut forge = Forge::new(params());
        let genesis = forge.params.timestamp;
        forge.add_forged(genesis - 1, None, |_| true);
        (1..length).for_each(|_| forge.add(Fault::None));
        let (time, parent, height) = (genesis - 1, genesis, Height::from_u32(1));
        let source = RuleError::TimeTooOld { time, parent };
        assert_eq!(refusal(&forge, 1), SuccinctError::Rule { height, source }, "{length}");
    }
}

#[test]
fn a_coinbase_must_commit_to_what_is_shown_before_it() {
    let at_tip = |fault| forged(499, 500, |_| fault);
    assert!(
        matches!(refusal(&at_tip(Fault::Commitment), 1), SuccinctError::OtherCommitment { height } if height == Height::from_u32(500))
    );
    assert!(
        matches!(refusal(&at_tip(Fault::Height), 1), SuccinctError::NoCoinbase { height } if height == Height::from_u32(500))
    );
    // Of those sampled, some are among these.
    let in_the_middle = |fault| forged(10, 900, move |height| if height < 600 { fault } else { Fault::None });
    // The verifier inserts the commitment it expects, so it computes another header.
    let error = refusal(&in_the_middle(Fault::Commitment), 1);
    assert!(matches!(error, SuccinctError::Rule { source: RuleError::HighHash { .. }, .. }), "{error}");
    let error = refusal(&in_the_middle(Fault::Height), 1);
    assert!(matches!(error, SuccinctError::NoCoinbase { .. }), "{error}");
}

#[test]
fn a_proof_shows_exactly_what_is_asked_for() {
    let forge = Forge::honest(params(), 900);
    let of_another = |height, other| {
        let (height, other) = (Height::from_u32(height), Height::from_u32(other));
        let evidence = forge.succinct(other).evidence;
        match (Receipt { height, ..forge.receipt(Height::from_u32(1), evidence) }).verify(
            &forge.params,
            None,
            UnixTime::from_secs(u64::MAX),
        ) {
            Err(ReceiptError::Succinct(error)) => error,
            found => panic!("{found:?}"),
        }
    };
    let hidden = (2..900).rev().find(|height| {
        proof_of(&forge.succinct(Height::from_u32(*height))).len()
            > proof_of(&forge.succinct(Height::from_u32(899))).len()
    });
    let hidden = hidden.expect("not all headers are sampled");
    assert!(matches!(of_another(hidden, 899), SuccinctError::OtherHeaders { .. }), "not shown");
    assert!(
        matches!(of_another(899, hidden), SuccinctError::OtherHeaders { height } if [height, height.next()].contains(&Height::from_u32(hidden))),
        "for nothing"
    );
    assert!(matches!(of_another(901, 899), SuccinctError::OtherHeaders { height } if height == Height::from_u32(901)));

    let bytes = proof_of(&forge.succinct(Height::from_u32(1))).to_vec();
    let refused = |bytes: Vec<u8>| {
        forge
            .receipt(Height::from_u32(1), Evidence::Succinct(bytes))
            .verify(&forge.params, None, UnixTime::from_secs(u64::MAX))
            .unwrap_err()
    };
    let longer = refused([&bytes[..], &[0]].concat());
    assert!(matches!(longer, ReceiptError::Succinct(SuccinctError::Malformed(_))), "{longer}");
    let nothing = refused([0; 4].to_vec());
    assert!(matches!(nothing, ReceiptError::Succinct(SuccinctError::OnlyGenesis)), "{nothing}");
}

#[test]
fn every_flipped_bit_of_a_small_proof_is_refused() {
    let forge = Forge::honest(params(), 24);
    for bytes in
        [forge.succinct(Height::from_u32(5)).to_bytes(), forge.succinct(Height::from_u32(5)).to_json().into_bytes()]
    {
        let mut flipped = bytes.clone();
        for bit in 0..bytes.len() * 8 {
            flipped[bit / 8] ^= 1 << (bit % 8);
            let verdict = Receipt::read(&flipped[..])
                .and_then(|receipt| receipt.verify(&forge.params, None, UnixTime::from_secs(u64::MAX)));
            assert!(verdict.is_err(), "bit {bit}");
            flipped[bit / 8] = bytes[bit / 8];
        }
    }
}

#[test]
fn flipped_bits_and_truncations_of_a_sample_are_refused() {
    let forge = Forge::honest(params(), 1_000);
    let bytes = forge.succinct(Height::from_u32(3)).to_bytes();
    let verdict = |bytes: &[u8]| {
        Receipt::read(bytes).and_then(|receipt| receipt.verify(&forge.params, None, UnixTime::from_secs(u64::MAX)))
    };
    assert!(verdict(&bytes).is_ok());
    let mut flipped = bytes.clone();
    // The stride is coprime to the length, so that every part of the layout is hit.
    for bit in (0..bytes.len() * 8).step_by(97) {
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(verdict(&flipped).is_err(), "bit {bit}");
        flipped[bit / 8] = bytes[bit / 8];
    }
    for length in (0..bytes.len()).step_by(61) {
        assert!(verdict(&bytes[..length]).is_err(), "{length} bytes");
    }
}

/// Files for all verifiers: the example, the documentation and the page. Height 101 of 300 has six payments.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let mut forge = Forge::honest(params(), 100);
    forge.add_payments(6);
    (0..59).for_each(|_| forge.add(Fault::None));
    let held = forge
        .whole(Height::from_u32(101))
        .verify(&forge.params, None, UnixTime::from_secs(u64::MAX))
        .unwrap()
        .checkpoint
        .unwrap();
    forge.add_payments(3);
    (0..139).for_each(|_| forge.add(Fault::None));
    let (whole, succinct) = (forge.whole(Height::from_u32(101)), forge.succinct(Height::from_u32(101)));
    let headers = forge.headers[held.height.as_usize() + 1..].to_vec();
    let since =
        forge.receipt(Height::from_u32(161), Evidence::Since { height: held.height, hash: held.tip.hash(), headers });
    vec![
        ("genesis.json", forge.params.spec.to_json().into_bytes()),
        ("checkpoint.json", checkpoint_to_json(&held, &forge.params).into_bytes()),
        ("headers.json", whole.to_json().into_bytes()),
        ("headers.bin", whole.to_bytes()),
        ("since.json", since.to_json().into_bytes()),
        ("since.bin", since.to_bytes()),
        ("succinct.json", succinct.to_json().into_bytes()),
        ("succinct.bin", succinct.to_bytes()),
    ]
}

/// `CAIRN_WRITE_RECEIPTS=1 cargo test --test receipts` writes the files anew, when the format has changed.
#[test]
fn the_files_for_verifiers_are_those_that_this_program_makes() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/receipts");
    for (name, bytes) in files() {
        if std::env::var_os("CAIRN_WRITE_RECEIPTS").is_some() {
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(name), &bytes).unwrap();
        }
        assert!(fs::read(dir.join(name)).unwrap() == bytes, "{name}");
    }
}
