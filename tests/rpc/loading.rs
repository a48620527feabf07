//! A node that starts from a state, over RPC: what it says while it loads that.

use cairn::chain::{Chain, HeaderStart, LoadStep, SORTED_COINS};
use cairn::consensus::params::GenesisSpec;
use cairn::primitives::amount::Amount;
use cairn::primitives::header::Header;
use cairn::primitives::time::UnixTime;
use cairn::state::{Key, Leaf};
use cairn::storage::StateBase;
use cairn_testkit::Ledger;
use serde_json::json;

use crate::fixture::Fixture;

const NOW: UnixTime = UnixTime::from_secs(2_000_000_000);
const EPOCH: u32 = 4;
/// The height of the first header that the node has, and that of the state's block.
const START: u32 = EPOCH;
const EDGE: u32 = 2 * EPOCH;

/// Begins to load a state as after a proof of the chain, before other headers come; or goes on until the state is loaded.
fn load(chain: &mut Chain, to_the_end: bool) {
    let mut ledger = Ledger::on(chain.params());
    ledger.extend(START - 1, 0);
    let range = ledger.range.clone();
    ledger.extend(1, 0);
    let first_time = ledger.blocks[1].header.time;
    let start = HeaderStart { height: ledger.height(), header: *ledger.tip(), range, first_time };
    let before = *ledger.epochs.last().unwrap();
    ledger.extend(EDGE - START, 0);
    let edge = *ledger.epochs.last().unwrap();
    let base = StateBase {
        height: edge.height,
        block: edge.block,
        root: edge.root,
        before: (before.block, before.root),
        filters: ledger.filters,
        issued: Amount::MAX,
    };
    chain.begin_load_above(base, 1, &start).unwrap();
    if to_the_end {
        let headers: Vec<Header> = ledger.blocks[START as usize + 1..].iter().map(|block| block.header).collect();
        chain.accept_headers(&headers, NOW).unwrap();
        let coins: Vec<Leaf> = ledger.epochs.table().leaves().copied().collect();
        assert!(chain.load_coins((&Key::MIN, &Key::MAX), &coins, None).unwrap());
        while chain.load_step(SORTED_COINS).unwrap() != LoadStep::Started {}
    }
}

#[test]
fn blocks_are_missing_until_the_state_is_loaded() {
    for (is_loaded, tip) in [(false, START), (true, EDGE)] {
        let mut spec = GenesisSpec { epoch_blocks: EPOCH, ..GenesisSpec::regtest() };
        assert!(spec.mine_nonce());
        let fixture = Fixture::prepared(spec, |chain| load(chain, is_loaded));
        let info = fixture.call("getblockchaininfo", json!([]));
        // In both cases no header has more work than the tip.
        assert_eq!((&info["blocks"], &info["headers"]), (&json!(tip), &json!(tip)), "{info}");
        assert_eq!(info["initialblockdownload"], json!(!is_loaded), "{info}");
        fixture.stop();
    }
}
