//! genesis.json: allowed values, and errors that name the bad field.

use cairn_core::consensus::params::{Allocation, GenesisSpec, Params, ParamsError, Retarget};
use cairn_core::primitives::address;
use cairn_core::primitives::amount::{Amount, COIN};
use cairn_core::primitives::hash::BlockHash;
use cairn_core::primitives::height::Height;
use cairn_core::primitives::target::{Bits, Work};
use cairn_testkit::{funded, public};
use serde_json::{Value, json};

/// The file of a valid network with one field changed; `Value::Null` takes it out.
fn with(name: &str, value: Value) -> String {
    let mut file: Value = serde_json::from_str(&funded(1..=2, 10 * COIN).to_json()).unwrap();
    let fields = file.as_object_mut().unwrap();
    match value {
        Value::Null => drop(fields.remove(name)),
        value => drop(fields.insert(name.to_owned(), value)),
    }
    file.to_string()
}

/// The network of that file, its nonce found again, unless that would take longer than a moment.
fn mined(name: &str, value: Value) -> Result<Params, ParamsError> {
    let mut spec = GenesisSpec::from_json(&with(name, value))?;
    if spec.bits.target().is_ok_and(|target| target >= Bits(0x2000_ffff).target().unwrap()) {
        spec.mine_nonce();
    }
    Params::new(spec)
}

fn address_of(n: u8) -> String {
    address::encode("rcairn", &public(n))
}

#[test]
fn every_bad_value_is_refused_by_its_name() {
    let alloc = |address: &str, value: u64| json!([{ "address": address, "value": value }]);
    let elsewhere = address::encode("other", &public(1));
    let crowd = vec![json!({ "address": address_of(1), "value": 1 }); 30_000];
    // Field, value, and what the error calls it.
    let table = [
        ("network", json!(""), "network"),
        ("network", json!("n".repeat(65)), "network"),
        ("address_prefix", json!(""), "address_prefix"),
        ("address_prefix", json!("Upper"), "address_prefix"),
        ("address_prefix", json!("with space"), "address_prefix"),
        ("address_prefix", json!("p".repeat(21)), "address_prefix"),
        ("message", json!("m".repeat(225)), "message"),
        ("timestamp", json!(4_102_444_801u32), "timestamp"),
        ("timestamp", json!(u32::MAX), "timestamp"),
        ("bits", json!("00000000"), "bits"),
        ("bits", json!("04923456"), "bits"),
        ("bits", json!("ff123456"), "bits"),
        ("bits", json!("2100ffff"), "bits"),
        ("bits", json!("01123456"), "bits"), // Stands for the target of 01120000.
        ("pow_limit_bits", json!("00000000"), "pow_limit_bits"),
        ("pow_limit_bits", json!("04923456"), "pow_limit_bits"),
        ("pow_limit_bits", json!("1d00ffff"), "bits"), // Now those of genesis are too easy.
        ("target_spacing_secs", json!(0), "target_spacing_secs"),
        ("target_spacing_secs", json!(86_401), "target_spacing_secs"),
        ("half_life_secs", json!(0), "half_life_secs"),
        ("half_life_secs", json!(31_536_001), "half_life_secs"),
        ("halving_interval", json!(0), "halving_interval"),
        ("max_block_bytes", json!(999), "max_block_bytes"),
        ("max_block_bytes", json!(8_000_001), "max_block_bytes"),
        ("max_future_secs", json!(0), "max_future_secs"),
        ("max_future_secs", json!(86_401), "max_future_secs"),
        ("epoch_blocks", json!(1), "epoch_blocks"),
        ("epoch_blocks", json!(100_001), "epoch_blocks"),
        // More than a tenth of the half-life.
        ("retarget", json!("asert"), "max_future_secs"),
        ("subsidy", json!(Amount::MAX), "subsidy"),
        ("subsidy", json!(u64::MAX), "subsidy"),
        ("alloc", alloc("nonsense", 1), "alloc.address"),
        ("alloc", alloc(&elsewhere, 1), "alloc.address"),
        ("alloc", alloc(&address_of(1), Amount::MAX.as_grains() + 1), "alloc.value"),
        ("alloc", alloc(&address_of(1), u64::MAX), "alloc.value"),
        ("alloc", alloc(&address_of(1), 0), "alloc"),
        ("alloc", json!(crowd), "alloc"), // Larger than a block may be.
        ("seeds", json!(["example.org"]), "seeds"),
        ("seeds", json!(["example.org:0"]), "seeds"),
        ("seeds", json!(["example.org:70000"]), "seeds"),
        ("seeds", json!([":7331"]), "seeds"),
        ("seeds", json!(["me@example.org:7331"]), "seeds"),
        ("seeds", json!(["node.example.org:7331", "two words:7331"]), "seeds"),
    ];
    for (name, value, expected) in table {
        let shown: String = value.to_string().chars().take(80).collect();
        match mined(name, value) {
            Err(ParamsError::Field { field, .. }) => assert_eq!(field, expected, "{name}: {shown}"),
            other => panic!("{name}: {shown}: {:?}", other.map(|params| params.genesis_hash)),
        }
    }
}

#[test]
fn every_limit_itself_will_do() {
    let pinned = format!("{}@example.org:1", "c7".repeat(32));
    let table = [
        ("network", json!("n".repeat(64))),
        ("address_prefix", json!("rcairn")),
        ("message", json!("")),
        ("message", json!("m".repeat(224))),
        ("timestamp", json!(0)),
        ("timestamp", json!(4_102_444_800u32)),
        ("target_spacing_secs", json!(1)),
        ("target_spacing_secs", json!(86_400)),
        ("half_life_secs", json!(1)),
        ("half_life_secs", json!(31_536_000)),
        ("halving_interval", json!(1)),
        ("coinbase_maturity", json!(0)),
        ("coinbase_maturity", json!(u32::MAX)),
        ("max_block_bytes", json!(1_000)),
        ("max_block_bytes", json!(8_000_000)),
        ("max_future_secs", json!(1)),
        ("max_future_secs", json!(86_400)),
        ("epoch_blocks", json!(2)),
        ("epoch_blocks", json!(100_000)),
        ("subsidy", json!(0)),
        ("alloc", json!([])),
        ("alloc", Value::Null),
        ("seeds", Value::Null),
        ("seeds", json!(["example.org:1", "192.0.2.1:65535", "[2001:db8::1]:7331", pinned])),
    ];
    for (name, value) in table {
        let shown = value.to_string();
        if let Err(error) = mined(name, value) {
            panic!("{name}: {shown}: {error}");
        }
    }
}

#[test]
fn where_difficulty_changes_times_run_ahead_by_a_tenth_of_the_half_life() {
    for (retarget, half_life_secs, max_future_secs, is_valid) in [
        (Retarget::Asert, 3_600, 360, true),
        (Retarget::Asert, 3_600, 361, false),
        (Retarget::Asert, 3_609, 361, false),
        (Retarget::Asert, 1, 1, true),
        (Retarget::Asert, 19, 2, false),
        (Retarget::None, 1, 86_400, true),
    ] {
        let mut spec = GenesisSpec { retarget, half_life_secs, max_future_secs, ..GenesisSpec::regtest() };
        spec.mine_nonce();
        let verdict = Params::new(spec);
        let refused = matches!(verdict, Err(ParamsError::Field { field: "max_future_secs", .. }));
        assert_eq!(
            (verdict.is_ok(), refused),
            (is_valid, !is_valid),
            "{retarget:?} {half_life_secs} {max_future_secs}"
        );
    }
}

#[test]
fn the_supply_may_reach_its_limit_and_not_exceed_it() {
    // 1,000 grains over an interval of 10 blocks: 10 × (1000 + 500 + 250 + 125 + 62 + 31 + 15 + 7 + 3 + 1).
    let most = Amount::MAX.as_grains() - 10 * 1_994;
    let spec = |allocated| GenesisSpec {
        subsidy: Amount::from_grains(1_000),
        halving_interval: 10,
        alloc: vec![Allocation { address: address_of(1), value: Amount::from_grains(allocated) }],
        ..GenesisSpec::regtest()
    };
    let check = |mut spec: GenesisSpec| {
        spec.mine_nonce();
        Params::new(spec)
    };
    assert!(check(spec(most)).is_ok());
    let error = check(spec(most + 1)).unwrap_err();
    assert!(matches!(error, ParamsError::Field { field: "subsidy", .. }), "{error}");
}

#[test]
fn a_missing_unknown_or_mistyped_field_is_named() {
    let optional = ["alloc", "seeds"];
    let file: Value = serde_json::from_str(&funded(1..=1, 10 * COIN).to_json()).unwrap();
    for name in file.as_object().unwrap().keys().filter(|name| !optional.contains(&name.as_str())) {
        let error = Params::from_json(&with(name, Value::Null)).unwrap_err();
        assert!(
            matches!(&error, ParamsError::Syntax(text) if text.contains(&format!("missing field `{name}`"))),
            "{error}"
        );
    }
    for (name, value, expected) in [
        ("coinbase_maturty", json!(10), "unknown field `coinbase_maturty`"),
        ("retarget", json!("lwma"), "unknown variant `lwma`"),
        ("bits", json!("1d00fff"), "8 hex digits"),
        ("bits", json!(0x1d00_ffff), "expected a string"),
        ("timestamp", json!(-1), "expected u32"),
        ("timestamp", json!(1u64 << 32), "expected u32"),
        ("nonce", json!(1.5), "expected u32"),
        ("subsidy", json!("50"), "expected u64"),
        ("alloc", json!([{ "address": address_of(1) }]), "missing field `value`"),
        ("alloc", json!([{ "address": address_of(1), "value": 1, "name": "me" }]), "unknown field `name`"),
    ] {
        let error = Params::from_json(&with(name, value)).unwrap_err();
        assert!(matches!(&error, ParamsError::Syntax(text) if text.contains(expected)), "{name}: {error}");
    }
    assert!(matches!(Params::from_json("{"), Err(ParamsError::Syntax(_))));
}

#[test]
fn a_nonce_without_work_is_named() {
    let mut spec = funded(1..=1, 10 * COIN);
    let target = spec.bits.target().unwrap();
    while target.is_met_by(&spec.block().unwrap().hash()) {
        spec.nonce += 1;
    }
    let error = Params::new(spec).unwrap_err();
    assert!(matches!(error, ParamsError::Field { field: "nonce", .. }), "{error}");
    assert!(error.to_string().contains("cairn genesis mine"), "{error}");
}

#[test]
fn the_genesis_block() {
    let params = Params::new(funded(1..=3, 10 * COIN)).unwrap();
    let block = &params.genesis;
    assert_eq!(params.genesis_hash, block.hash());
    assert_eq!(block.header.previous, BlockHash::ZERO);
    assert_eq!((block.header.time, block.header.bits), (params.timestamp, params.bits));
    let [coinbase] = &block.transactions[..] else { panic!("one transaction") };
    assert!(coinbase.is_coinbase() && coinbase.lock_height == Height::GENESIS);
    assert_eq!(coinbase.outputs.len(), 1 + 3);
    for (n, output) in (1..).zip(&coinbase.outputs[1..]) {
        assert_eq!((output.key(), output.value), (Some(&public(n)), params.alloc[0].value));
    }
}

#[test]
fn every_rule_is_part_of_the_networks_name_and_seeds_are_not() {
    let hash = |name: &str, value: Value| mined(name, value).unwrap().genesis_hash;
    let plain = hash("seeds", json!([]));
    for (name, value) in [
        ("message", json!("another")),
        ("timestamp", json!(1_767_225_601)),
        ("bits", json!("2000ffff")),
        ("alloc", json!([])),
        ("network", json!("renamed")),
        ("pow_limit_bits", json!("2100ffff")),
        ("target_spacing_secs", json!(7)),
        ("half_life_secs", json!(77)),
        ("subsidy", json!(1)),
        ("halving_interval", json!(77)),
        ("coinbase_maturity", json!(5)),
        ("max_block_bytes", json!(77_777)),
        ("max_future_secs", json!(77)),
        ("epoch_blocks", json!(77)),
    ] {
        assert_ne!(hash(name, value), plain, "{name}");
    }
    assert_eq!(hash("seeds", json!(["seed.example:7331"])), plain);
    // Where the difficulty changes, blocks may not be as far in the future as by default.
    let near = |retarget| {
        let mut spec = GenesisSpec { retarget, max_future_secs: 77, ..GenesisSpec::regtest() };
        spec.mine_nonce();
        Params::new(spec).unwrap().genesis_hash
    };
    assert_ne!(near(Retarget::Asert), near(Retarget::None), "retarget");
}

#[test]
fn subsidy_by_height() {
    let mut spec = GenesisSpec { subsidy: Amount::from_grains(1_001), halving_interval: 4, ..GenesisSpec::regtest() };
    spec.mine_nonce();
    let params = Params::new(spec).unwrap();
    let expected = [(0, 0), (1, 1_001), (3, 1_001), (4, 500), (7, 500), (8, 250), (39, 1), (40, 0), (4 * 63, 0)];
    for (height, subsidy) in expected {
        assert_eq!(params.subsidy_at(Height::from_u32(height)), Amount::from_grains(subsidy), "height {height}");
    }
    assert_eq!(params.subsidy_at(Height::from_u32(4 * 64)), Amount::ZERO, "a shift by 64 must not wrap around");
    assert_eq!(params.subsidy_at(Height::from_u32(u32::MAX)), Amount::ZERO);
}

#[test]
fn the_file_is_read_as_it_was_written() {
    let spec = funded(1..=3, 10 * COIN);
    assert_eq!(GenesisSpec::from_json(&spec.to_json()), Ok(spec));
}

#[test]
fn regtest_asks_for_two_hashes_a_block() {
    let params = Params::new(GenesisSpec::regtest()).unwrap();
    assert_eq!(params.genesis_target.work(), Work(ruint::aliases::U256::from(2)));
    assert_eq!(params.bits, Bits(0x207f_ffff));
}
