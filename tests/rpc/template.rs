//! Mining from outside over HTTP: templates as an unmodified cpuminer requests them, and blocks as it submits them.

use std::collections::BTreeSet;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use crate::cpuminer::Work;
use crate::fixture::{Fixture, hex_of, key};
use cairn::consensus::params::GenesisSpec;
use cairn::primitives::amount::Amount;
use cairn::primitives::block::Block;
use cairn::primitives::codec;
use cairn::primitives::hash::{BlockHash, MerkleRoot};
use cairn::primitives::tx::Transaction;
use serde_json::{Value, json};

/// What cpuminer sends when it asks for work.
const CAPABILITIES: &str = r#"["coinbasetxn", "coinbasevalue", "longpoll", "workid"]"#;

/// A call as cpuminer makes it, with its URL's path: HTTP status and answer.
fn call(fixture: &Fixture, path: &str, body: &str) -> (u16, Value) {
    let headers = [
        ("Authorization", fixture.authorization()),
        ("Content-Type", "application/json".to_owned()),
        ("User-Agent", "cpuminer/2.5.1".to_owned()),
        ("X-Mining-Extensions", "midstate".to_owned()),
    ];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = fixture.send("POST", path, &headers, body);
    (answer.status, serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("no JSON: {answer:?}")))
}

fn template(fixture: &Fixture, path: &str) -> Value {
    let body = format!(
        "{{\"method\": \"getblocktemplate\", \"params\": [{{\"capabilities\": {CAPABILITIES}}}], \"id\":0}}\r\n"
    );
    let (status, answer) = call(fixture, path, &body);
    assert_eq!((status, &answer["error"]), (200, &Value::Null), "{answer}");
    answer["result"].clone()
}

fn submit(fixture: &Fixture, path: &str, hex: &str) -> Value {
    let (status, answer) =
        call(fixture, path, &format!("{{\"method\": \"submitblock\", \"params\": [\"{hex}\"], \"id\":1}}\r\n"));
    assert_eq!((status, &answer["error"]), (200, &Value::Null), "{answer}");
    answer["result"].clone()
}

fn mine_path(fixture: &Fixture, n: u8) -> String {
    format!("/mine/{}", fixture.payee(n))
}

fn tip(fixture: &Fixture) -> Value {
    fixture.call("getbestblockhash", json!([]))
}

/// A block's hex as bytes again.
fn own_form(work: &Work) -> Block {
    // The same bytes but for the count, which is one byte there and eight here.
    let count = usize::from(work.rest[0]);
    let bytes = [&work.header[..], &(count as u64).to_le_bytes(), &work.rest[1..]].concat();
    codec::decode(&bytes).unwrap()
}

#[test]
fn blocks_are_mined_by_the_bytes_alone() {
    let fixture = Fixture::new();
    for height in 1..=5 {
        let path = mine_path(&fixture, height);
        let mut work = crate::cpuminer::decode(&template(&fixture, &path));
        assert_eq!(work.height, u32::from(height));
        work.search(true);
        assert_eq!(submit(&fixture, &path, &work.submission()), Value::Null);
        assert_eq!(tip(&fixture), work.hash());
        let paid = fixture.call("getaddressbalance", json!([fixture.payee(height)]));
        assert_eq!(paid["balance"], json!(fixture.params.subsidy), "{paid}");
    }
}

/// On a network without subsidy, a block without payments has nothing for its miner.
#[test]
fn a_coinbase_without_subsidy_and_fees_pays_no_address() {
    let mut spec = GenesisSpec { subsidy: Amount::ZERO, ..GenesisSpec::regtest() };
    assert!(spec.mine_nonce());
    let fixture = Fixture::on(spec, |_| ());
    let path = mine_path(&fixture, 1);
    let mut work = crate::cpuminer::decode(&template(&fixture, &path));
    work.search(true);
    assert_eq!(submit(&fixture, &path, &work.submission()), Value::Null);
    assert_eq!(tip(&fixture), work.hash());
    for hash in fixture.generate(2, 1) {
        let block = fixture.block(&hash);
        let [data] = &block.transactions[0].outputs[..] else { panic!("one output is there: {block:?}") };
        assert_eq!((data.key(), data.value), (None, Amount::ZERO));
    }
    assert_eq!(fixture.call("getaddressbalance", json!([fixture.payee(1)]))["balance"], json!(0));
}

#[test]
fn transactions_are_mined_with_their_fees() {
    let fixture = Fixture::new();
    let maturity = fixture.params.coinbase_maturity;
    let hashes = fixture.generate(maturity + 4, 1);
    let path = mine_path(&fixture, 2);
    // Chained: the later ones depend on the earlier.
    let mut paid = BTreeSet::new();
    let mut from = fixture.block(&hashes[0]).transactions[0].clone();
    for fee in [1_000_000, 1_500_000, 2_000_000] {
        let payment = fixture.payment(&from, 1, from.outputs[0].value.as_grains() - fee - 1_000, 1, fee);
        paid.insert(json!(fixture.call("sendrawtransaction", json!([hex_of(&payment)]))).to_string());
        from = payment;
    }
    let given = template(&fixture, &path);
    let transactions = given["transactions"].as_array().unwrap();
    assert_eq!(transactions.iter().map(|tx| tx["txid"].to_string()).collect::<BTreeSet<_>>(), paid);
    let depends: Vec<&Value> = transactions.iter().map(|tx| &tx["depends"]).collect();
    assert_eq!(depends, [&json!([]), &json!([1]), &json!([2])]);
    assert_eq!(transactions.iter().map(|tx| tx["fee"].as_u64().unwrap()).sum::<u64>(), 4_500_000);
    assert_eq!(given["coinbasetxn"]["fee"], -4_500_000);

    let mut work = crate::cpuminer::decode(&given);
    assert_eq!(work.rest[0], 4);
    work.search(true);
    assert_eq!(submit(&fixture, &path, &work.submission()), Value::Null);
    assert_eq!(tip(&fixture), work.hash());
    let earned = fixture.call("getaddressbalance", json!([fixture.payee(2)]));
    assert_eq!(earned["balance"], json!(fixture.params.subsidy.as_grains() + 4_500_000));
    assert_eq!(fixture.call("getrawmempool", json!([])), json!([]));
}

#[test]
fn a_block_of_many_transactions_has_a_longer_count() {
    let fixture = Fixture::new();
    let blocks = 300;
    let hashes = fixture.generate(fixture.params.coinbase_maturity + blocks, 1);
    for hash in &hashes[..260] {
        let coinbase = fixture.block(hash).transactions[0].clone();
        let payment = fixture.payment(&coinbase, 1, 1_000, 2, 100_000);
        fixture.call("sendrawtransaction", json!([hex_of(&payment)]));
    }
    let path = mine_path(&fixture, 3);
    let mut work = crate::cpuminer::decode(&template(&fixture, &path));
    assert_eq!(work.rest[..3], [0xfd, 5, 1], "261 transactions");
    work.search(true);
    assert_eq!(submit(&fixture, &path, &work.submission()), Value::Null);
    assert_eq!(tip(&fixture), work.hash());
}

#[test]
fn each_template_is_other_work() {
    let fixture = Fixture::new();
    let path = mine_path(&fixture, 1);
    let roots: BTreeSet<Vec<u8>> =
        (0..20).map(|_| crate::cpuminer::decode(&template(&fixture, &path)).header[36..68].to_vec()).collect();
    assert_eq!(roots.len(), 20);
    let given = template(&fixture, &path);
    assert!(given["mintime"].as_u64() <= given["curtime"].as_u64());
    assert!(given.get("coinbasevalue").is_none(), "miners must not make a coinbase of their own");
}

#[test]
fn the_latest_time_of_a_template_is_one_that_the_node_takes() {
    let fixture = Fixture::new();
    let path = mine_path(&fixture, 1);
    let most = u64::from(fixture.params.max_future_secs);
    let clock = u64::from(fixture.params.genesis.header.time) + 100_000;
    let integer = |given: &Value, name: &str| given[name].as_u64().unwrap();
    // From the sixth block on, the median of times is as late as may be, so that the least time is beyond the clock.
    for number in 0..12 {
        fixture.call("setmocktime", json!([clock]));
        let given = template(&fixture, &path);
        let (min, cur, max) = (integer(&given, "mintime"), integer(&given, "curtime"), integer(&given, "maxtime"));
        assert!(min <= cur && cur <= max, "{min} {cur} {max}");
        assert!(max <= clock + most, "block {number}: {} s beyond the clock", max - clock);
        let mut work = crate::cpuminer::decode(&given);
        work.header[68..72].copy_from_slice(&u32::try_from(max).unwrap().to_le_bytes());
        work.search(true);
        // The clock may be set by some seconds meanwhile.
        if max > min {
            fixture.call("setmocktime", json!([clock - 5]));
        }
        assert_eq!(submit(&fixture, &path, &work.submission()), Value::Null, "block {number} with time {max}");
        assert_eq!(tip(&fixture), work.hash());
    }
}

#[test]
fn both_forms_are_taken_and_told_apart() {
    let fixture = Fixture::new();
    let path = mine_path(&fixture, 1);
    let mut work = crate::cpuminer::decode(&template(&fixture, &path));
    work.search(true);
    let own = hex_of(&own_form(&work));
    assert_eq!(submit(&fixture, "/", &own), Value::Null);
    assert_eq!(submit(&fixture, "/", &work.submission()), "duplicate");
    assert_eq!(submit(&fixture, "/", &own), "duplicate");
    // As BIP-22 has it, an object may follow.
    let body = json!({ "method": "submitblock", "params": [own, { "workid": "1" }], "id": 1 });
    assert_eq!(call(&fixture, "/", &body.to_string()).1["result"], "duplicate");
    for (bytes, text) in [
        (String::new(), "too early"),
        (work.submission()[..160].to_owned(), "count of transactions"),
        (work.submission()[..300].to_owned(), "too early"),
        (work.submission() + "00", "ends after"),
        (own + "00", "ends after"),
        (format!("{}fd0100{}", &work.submission()[..160], &work.submission()[162..]), "shortest form"),
        (format!("{}ffffffffffffffffff{}", &work.submission()[..160], &work.submission()[162..]), "asks for more"),
        (format!("{}feffffffff{}", &work.submission()[..160], &work.submission()[162..]), "too early"),
        ("zz".to_owned(), "not hex"),
    ] {
        fixture.refused("submitblock", json!([bytes]), -22, text);
    }
}

#[test]
fn refusals_are_in_bip_22s_words() {
    let fixture = Fixture::new();
    let path = mine_path(&fixture, 1);
    let mut stale = crate::cpuminer::decode(&template(&fixture, &path));
    stale.search(true);

    let mut unworked = crate::cpuminer::decode(&template(&fixture, &path));
    unworked.search(false);
    assert_eq!(submit(&fixture, &path, &unworked.submission()), "high-hash");

    let mut other_root = crate::cpuminer::decode(&template(&fixture, &path));
    other_root.header[36] ^= 1;
    other_root.search(true);
    assert_eq!(submit(&fixture, &path, &other_root.submission()), "bad-txnmrklroot");

    let mut early = crate::cpuminer::decode(&template(&fixture, &path));
    early.header[68..72].copy_from_slice(&1u32.to_le_bytes());
    early.search(true);
    assert_eq!(submit(&fixture, &path, &early.submission()), "time-too-old");
    early.header[68..72].copy_from_slice(&u32::MAX.to_le_bytes());
    early.search(true);
    assert_eq!(submit(&fixture, &path, &early.submission()), "time-too-new");

    let mut orphan = crate::cpuminer::decode(&template(&fixture, &path));
    orphan.header[4] ^= 1;
    orphan.search(true);
    assert_eq!(submit(&fixture, &path, &orphan.submission()), "prev-blk-not-found");

    // A coinbase that takes too much.
    let work = crate::cpuminer::decode(&template(&fixture, &path));
    let mut block = own_form(&work);
    block.transactions[0].outputs[0].value =
        block.transactions[0].outputs[0].value.saturating_add(Amount::from_grains(1));
    block.header.merkle_root = MerkleRoot::from_node(block.transactions[0].txid().as_leaf());
    cairn_testkit::mine(&mut block.header);
    assert_eq!(submit(&fixture, &path, &hex_of(&block)), "bad-cb-amount");
    assert_eq!(submit(&fixture, &path, &hex_of(&block)), "bad-prevblk", "it is known by now");

    // Another miner was faster, twice.
    fixture.generate(2, 2);
    assert_eq!(submit(&fixture, &path, &stale.submission()), "inconclusive");
    assert_eq!(submit(&fixture, &path, &stale.submission()), "duplicate");
}

#[test]
fn proposals_are_checked_and_not_kept() {
    let fixture = Fixture::new();
    let path = mine_path(&fixture, 1);
    let propose = |hex: String| {
        let body = json!({ "method": "getblocktemplate", "params": [{ "mode": "proposal", "data": hex }], "id": 1 });
        let (_, answer) = call(&fixture, &path, &body.to_string());
        assert_eq!(answer["error"], Value::Null, "{answer}");
        answer["result"].clone()
    };
    let mut work = crate::cpuminer::decode(&template(&fixture, &path));
    work.search(false);
    assert_eq!(propose(work.submission()), Value::Null, "without proof of work");
    assert_eq!(fixture.call("getblockcount", json!([])), 0);
    let mut block = own_form(&work);
    assert_eq!(propose(hex_of(&block)), Value::Null);
    block.transactions[0].lock_height = block.transactions[0].lock_height.next();
    assert_eq!(propose(hex_of(&block)), "bad-txnmrklroot");
    block.header.merkle_root = MerkleRoot::from_node(block.transactions[0].txid().as_leaf());
    assert_eq!(propose(hex_of(&block)), "bad-cb-height");
    block.header.time = 0;
    assert_eq!(propose(hex_of(&block)), "time-too-old");
    block.header.bits.0 -= 1;
    assert_eq!(propose(hex_of(&block)), "bad-diffbits");
    block.header.previous = BlockHash::ZERO;
    assert_eq!(propose(hex_of(&block)), "inconclusive-not-best-prevblk");
    // What was proposed can still be mined.
    work.search(true);
    assert_eq!(submit(&fixture, &path, &work.submission()), Value::Null);
    assert_eq!(propose(work.submission()), "duplicate");
}

#[test]
fn a_payee_is_named_by_the_url_or_by_the_node() {
    let fixture = Fixture::new();
    let ask = |path: &str| {
        let (status, answer) = call(&fixture, path, r#"{"method": "getblocktemplate", "params": [{}], "id": 7}"#);
        (status, answer["error"]["code"].clone(), answer["error"]["message"].to_string())
    };
    let (status, code, message) = ask("/");
    assert_eq!((status, code), (500, json!(-8)));
    assert!(message.contains("/mine/<address>"), "{message}");
    for path in ["/mine/alice", "/mine/rcairn1qqqq"] {
        let (status, code, message) = ask(path);
        assert_eq!((status, code), (500, json!(-5)), "{path}");
        assert!(message.contains("Invalid address"), "{message}");
    }
    // The same door: no credentials, no work.
    let answer = fixture.send("POST", &mine_path(&fixture, 1), &[], "{}");
    assert_eq!(answer.status, 401);
    // The payee that this node mines for.
    let handle = fixture.node.as_ref().unwrap().handle().clone();
    fixture.tokio.block_on(handle.miner().set(Some(key(9).public_key()), 1));
    let given = template(&fixture, "/");
    let coinbase: Transaction = codec::decode_hex(given["coinbasetxn"]["data"].as_str().unwrap()).unwrap();
    assert_eq!(coinbase.outputs[0].key(), Some(&key(9).public_key()));
    fixture.refused("getblocktemplate", json!([{ "mode": "guess" }]), -8, "mode");
    fixture.refused("getblocktemplate", json!([{ "mode": 7 }]), -3, "template_request");
    fixture.refused("getblocktemplate", json!([{ "longpollid": "7" }]), -8, "longpollid");
    fixture.refused("getblocktemplate", json!([{ "mode": "proposal" }]), -3, "data");
}

/// Long-polls for work other than `known`, and sends the answer on a channel.
fn poll(fixture: &Fixture, n: u8, known: &str) -> mpsc::Receiver<(u16, String)> {
    let (sender, receiver) = mpsc::channel();
    let body = format!(
        "{{\"method\": \"getblocktemplate\", \"params\": [{{\"capabilities\": {CAPABILITIES}, \"longpollid\": \"{known}\"}}], \"id\":0}}\r\n"
    );
    let text = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nAuthorization: {}\r\nContent-Length: {}\r\n\r\n{body}",
        mine_path(fixture, n),
        fixture.address(),
        fixture.authorization(),
        body.len()
    );
    let address = fixture.address();
    std::thread::spawn(move || {
        let answer = crate::fixture::exchange(address, text.as_bytes());
        sender.send((answer.status, answer.body))
    });
    receiver
}

fn longpollid(fixture: &Fixture) -> String {
    crate::cpuminer::decode(&template(fixture, &mine_path(fixture, 1))).longpollid
}

const DEADLINE: Duration = Duration::from_secs(60);

#[test]
fn a_poll_is_answered_by_a_new_tip() {
    let fixture = Fixture::new();
    let known = longpollid(&fixture);
    let polls: Vec<_> = (1..=5).map(|n| poll(&fixture, n, &known)).collect();
    // Nothing is answered before there is something to say, however long it takes the polls to come in.
    assert!(polls[0].recv_timeout(Duration::from_millis(300)).is_err());
    let hash = fixture.generate(1, 9)[0];
    for poll in polls {
        let (status, body) = poll.recv_timeout(DEADLINE).unwrap();
        assert_eq!(status, 200, "{body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        let work = crate::cpuminer::decode(&answer["result"]);
        assert_eq!(answer["result"]["previousblockhash"], json!(hash));
        assert_ne!(work.longpollid, known);
    }
    // Old news are answered at once.
    poll(&fixture, 1, &known).recv_timeout(DEADLINE).unwrap();
}

#[test]
fn a_poll_is_answered_by_better_fees_after_a_while() {
    let fixture = Fixture::with(|config| config.limits.fee_patience = Duration::from_millis(1));
    let hashes = fixture.generate(fixture.params.coinbase_maturity + 1, 1);
    let known = longpollid(&fixture);
    let poll = poll(&fixture, 2, &known);
    let coinbase = fixture.block(&hashes[0]).transactions[0].clone();
    let payment = fixture.payment(&coinbase, 1, 1_000, 2, 100_000);
    let txid = fixture.call("sendrawtransaction", json!([hex_of(&payment)]));
    let (_, body) = poll.recv_timeout(DEADLINE).unwrap();
    let answer: Value = serde_json::from_str(&body).unwrap();
    let work = crate::cpuminer::decode(&answer["result"]);
    assert_ne!(work.longpollid, known);
    assert_eq!(answer["result"]["transactions"][0]["txid"], txid);
}

#[test]
fn polls_are_bounded_and_end_with_the_server() {
    let fixture = Fixture::new();
    let known = longpollid(&fixture);
    let polls: Vec<_> = (0..40).map(|n| poll(&fixture, n, &known)).collect();
    let end = Instant::now() + DEADLINE;
    let mut refused = 0;
    while refused < 8 {
        assert!(Instant::now() < end, "only {refused} of 40 were refused");
        std::thread::sleep(Duration::from_millis(10));
        refused += polls
            .iter()
            .filter_map(|poll| poll.try_recv().ok())
            .inspect(|(status, body)| {
                assert_eq!((*status, body.contains("waiting already")), (500, true), "{body}");
            })
            .count();
    }
    fixture.stop();
    let ended = polls.iter().filter_map(|poll| poll.recv_timeout(DEADLINE).ok()).count();
    assert_eq!(ended, 32);
}
