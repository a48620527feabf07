//! Any bytes as a receipt, in both forms, checked against a network. What is read and written again must be the same.

#![no_main]

use std::sync::LazyLock;

use cairn::consensus::headers::Checkpoint;
use cairn::consensus::params::Params;
use cairn::primitives::time::UnixTime;
use cairn::receipt::{HoldingReceipt, Receipt, checkpoint_from_json};
use cairn_fuzz::{seed, test_data};
use libfuzzer_sys::fuzz_target;

static PARAMS: LazyLock<Params> = LazyLock::new(|| {
    Params::from_json(include_str!("../../crates/core/tests/data/receipts/genesis.json")).expect("it is a genesis.json")
});

static HELD: LazyLock<Checkpoint> = LazyLock::new(|| {
    let text = include_str!("../../crates/core/tests/data/receipts/checkpoint.json");
    checkpoint_from_json(text, &PARAMS).expect("it is a checkpoint")
});

fn seeds() {
    let files = ["headers", "since", "succinct"]
        .into_iter()
        .flat_map(|shape| [format!("{shape}.json"), format!("{shape}.bin")]);
    seed("receipt", files.map(|file| test_data(&format!("receipts/{file}"))));
}

fuzz_target!(init: seeds(), |bytes: &[u8]| {
    if let Ok(receipt) = Receipt::read(bytes) {
        assert_eq!(Receipt::from_bytes(&receipt.to_bytes()).expect("what was written can be read"), receipt);
        assert_eq!(Receipt::from_json(receipt.to_json()).expect("what was written can be read"), receipt);
        for held in [None, Some(&*HELD)] {
            if let Ok(proven) = receipt.verify(&PARAMS, held, UnixTime::from_secs(1_800_000_000)) {
                assert_eq!((proven.txid, proven.tip), (receipt.transaction.txid(), receipt.tip));
                assert!(proven.weight.on_top <= proven.work);
            }
        }
    }
    if let Ok(receipt) = HoldingReceipt::from_json(bytes) {
        assert_eq!(HoldingReceipt::from_json(receipt.to_json().as_bytes()).expect("what was written can be read"), receipt);
        // The proof comes from the same hands as the root that it is checked against.
        let _ = receipt.question.answer(&receipt.state, &receipt.proof);
        let _ = receipt.verify(&PARAMS, None, UnixTime::from_secs(1_800_000_000));
    }
});
