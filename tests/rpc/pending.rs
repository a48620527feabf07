//! Calls and miners while the root over the coins is not computed yet to which the next block commits.

use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use cairn::chain::StateTable;
use cairn::consensus::params::GenesisSpec;
use cairn::primitives::block::Block;
use cairn::stratum;
use cairn_testkit::Ledger;
use serde_json::{Value, json};

use crate::cpuminer::stratum::Miner;
use crate::fixture::{Fixture, hex_of};

const EPOCH: u32 = 4;
/// The last block that commits to a state which is known from the start.
const LAST: usize = 7;

/// Who has the table at hand in any case: the chain, the thread that holds it, and the test.
const OWNERS: usize = 3;

/// The table of the coins, kept where it is: as long as it stays, no root is computed.
struct Held {
    table: Arc<StateTable>,
    release: mpsc::Sender<()>,
    holder: JoinHandle<Option<()>>,
}

impl Held {
    fn new(fixture: &Fixture) -> Self {
        let handle = fixture.node.as_ref().unwrap().handle().clone();
        let table = fixture.tokio.block_on(handle.read(|node, _| node.chain().state_table())).unwrap();
        let ((hold, held), (release, released)) = (mpsc::channel(), mpsc::channel::<()>());
        let held_there = table.clone();
        let holder = thread::spawn(move || {
            let work = |_: &_| {
                hold.send(()).unwrap();
                // An error means that the test has failed, and the table is to go on.
                let _ = released.recv();
            };
            held_there.while_it_stays(work)
        });
        held.recv().unwrap();
        Self { table, release, holder }
    }

    /// Waits until so many, and the node itself, wait for the table to move. Each of them was told that the root is pending,
    /// and has the table at hand twice.
    fn until_awaited_by(&self, others: usize) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while Arc::strong_count(&self.table) < OWNERS + 2 * (1 + others) {
            assert!(Instant::now() < deadline, "fewer wait: {} have the table", Arc::strong_count(&self.table));
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn release(self) {
        self.release.send(()).unwrap();
        assert_eq!(self.holder.join().unwrap(), Some(()), "nothing else moved the table before");
    }
}

fn fixture() -> Fixture {
    let mut spec = GenesisSpec { epoch_blocks: EPOCH, ..GenesisSpec::regtest() };
    assert!(spec.mine_nonce());
    Fixture::on(spec, |_| ())
}

/// What a miner outside is answered that asks for work.
fn template(fixture: &Fixture) -> Value {
    let headers = [("Authorization", &*fixture.authorization()), ("Content-Type", "application/json")];
    let request = r#"{"method": "getblocktemplate", "id": 0}"#;
    let answer = fixture.send("POST", &format!("/mine/{}", fixture.payee(1)), &headers, request);
    serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("no JSON: {answer:?}"))
}

fn assert_pending(fixture: &Fixture) {
    let text = "state root pending: the root over the coins after the block at height 4 is still being computed";
    assert_eq!(template(fixture)["error"], json!({"code": -10, "message": text}));
}

fn tip(fixture: &Fixture) -> Value {
    fixture.call("getbestblockhash", json!([]))
}

/// The coins after an edge are being counted still when the blocks come that commit to them: no template is made, a block that
/// comes waits, and what could be said before is said.
#[test]
fn a_template_waits_for_the_root_over_the_coins() {
    let fixture = fixture();
    let blocks = Ledger::on(&fixture.params).extend(9, 0);
    let submit = |block: &Block| fixture.call("submitblock", json!([hex_of(block)]));
    let held = Held::new(&fixture);
    for block in &blocks[..LAST] {
        assert_eq!(submit(block), json!(null));
    }
    assert_pending(&fixture);
    for block in &blocks[LAST..] {
        submit(block);
    }
    assert_eq!(tip(&fixture), json!(blocks[LAST - 1].hash()), "what it commits to cannot be checked yet");
    assert_pending(&fixture);
    assert_eq!(fixture.call("getblockchaininfo", json!([]))["headers"], json!(9));
    held.release();
    assert_eq!(fixture.call("waitforblockheight", json!([9, 60_000]))["hash"], json!(blocks[8].hash()));
    assert_eq!(template(&fixture)["result"]["height"], json!(10));
}

/// A caller that asks for blocks, not for a template, gets them when the root is there. So does a miner over Stratum its work.
#[test]
fn blocks_made_by_a_call_and_work_for_miners_wait_for_the_root() {
    let fixture = fixture();
    let handle = fixture.node.as_ref().unwrap().handle().clone();
    let config = stratum::Config::new("127.0.0.1:0".parse().unwrap());
    let server = fixture.tokio.block_on(stratum::serve(config, handle)).unwrap();
    let payee = fixture.payee(1);
    let held = Held::new(&fixture);
    thread::scope(|scope| {
        // Seven blocks come at once, and the rest waits.
        let made = scope.spawn(|| fixture.call("generatetoaddress", json!([LAST + 3, payee])));
        fixture.call("waitforblockheight", json!([LAST, 60_000]));
        let chosen = scope.spawn(|| fixture.call("generateblock", json!([payee, [], false])));
        let mut miner = Miner::connect(server.address());
        miner.subscribe();
        assert_eq!(miner.call("mining.authorize", json!([payee, "x"])), Ok(json!(true)));
        held.until_awaited_by(3);
        assert_pending(&fixture);
        assert_eq!((fixture.call("getblockcount", json!([])), miner.jobs), (json!(LAST), 0));
        assert!(!made.is_finished() && !chosen.is_finished());

        held.release();
        let made = made.join().unwrap();
        assert_eq!((made.as_array().unwrap().len(), &made[LAST + 2]), (LAST + 3, &tip(&fixture)));
        assert!(chosen.join().unwrap()["hex"].is_string());
        miner.wait_for_job();
    });
    fixture.tokio.block_on(server.stop());
}
