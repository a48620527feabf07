//! Any bytes as a receipt, in both forms, checked against a network. What is read and written again must be the same.

#![no_main]

use std::sync::LazyLock;

use cairn::consensus::params::Params;
use cairn::receipt::Receipt;
use libfuzzer_sys::fuzz_target;

static PARAMS: LazyLock<Params> = LazyLock::new(|| {
    Params::from_json(include_str!("../../tests/data/receipts/genesis.json")).expect("it is a genesis.json")
});

fuzz_target!(|bytes: &[u8]| {
    if let Ok(receipt) = Receipt::read(bytes) {
        assert_eq!(Receipt::from_bytes(&receipt.to_bytes()).expect("what was written can be read"), receipt);
        assert_eq!(Receipt::from_json(receipt.to_json()).expect("what was written can be read"), receipt);
        // Whether it holds does not matter; that there is an answer does.
        let _ = receipt.verify(&PARAMS, None);
    }
});
