//! Block filters: nodes serve what a light client needs, and nothing else.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn::consensus::coins::Coin;
use cairn::miner::template;
use cairn::p2p::message::{Hello, MAX_FILTER_HEADERS, MAX_FILTERS, MAX_FILTERS_BYTES, Message};
use cairn::p2p::misbehaviour::Offence;
use cairn::p2p::serve::{MAX_WAITING_RANGES, PORTION_BYTES};
use cairn::p2p::{Config, Input, Output, PeerId};
use cairn::primitives::amount::Amount;
use cairn::primitives::gcs::{Filter, filter_header};
use cairn::primitives::hash::{BlockHash, FilterHash, FilterHeader, Hash256};
use cairn::primitives::height::Height;
use cairn::primitives::keys::PublicKey;
use cairn::primitives::tx::{OutPoint, Output as TxOutput};
use cairn::sim::{NetworkConditions, Sim};

use crate::connections::{Bench, hello, sent};
use crate::liars::liar;
use crate::{Seed, mine, params, payment};
use cairn_testkit::{Ledger, genesis_coin, key, public};

/// What a client has learnt from filters alone.
#[derive(Default)]
struct Walk {
    /// Filter headers, by height.
    headers: Vec<FilterHeader>,
    /// Heights of blocks whose filters match.
    found: Vec<usize>,
    filters: usize,
}

/// Headers of all filters, 2,000 at a time and chained; then the filters, 100 at a time, each held against its header.
#[test]
fn a_client_finds_its_payments_by_filters_alone() {
    let seed = Seed::new(70);
    let params = params();
    let mut sim = Sim::new(params.clone(), NetworkConditions::default(), seed.0);
    sim.add_node(&[]).unwrap();
    mine(&mut sim, 0, 1_990);
    let tx = payment(&params, 1, 1_000);
    sim.submit(0, tx).unwrap().unwrap();
    mine(&mut sim, 0, 60);
    let chain = sim.node(0).unwrap().chain();
    let blocks: Vec<BlockHash> =
        (0..=2_050).map(|height| chain.entry_at(Height::from_u32(height)).unwrap().hash).collect();
    let (_, last) = chain.db().filter(&chain.tip().key()).unwrap().unwrap();

    let walk = Arc::new(Mutex::new(Walk::default()));
    let client = walk.clone();
    let wanted = key(1).public_key();
    let end = |start: usize, max: usize| (start + max).min(2_051) - 1;
    let light = Hello { services: 0, ..hello() };
    let script = liar(light, Some(Sim::address(0)), move |message| {
        let mut walk = client.lock().unwrap();
        match message {
            Message::Hello(_) => {}
            Message::FilterHeaders { stop, previous, hashes } => {
                assert_eq!(*stop, blocks[end(walk.headers.len(), MAX_FILTER_HEADERS)]);
                assert_eq!(*previous, walk.headers.last().copied().unwrap_or(FilterHeader::ZERO));
                for hash in hashes {
                    let before = walk.headers.last().copied().unwrap_or(FilterHeader::ZERO);
                    walk.headers.push(filter_header(hash, &before));
                }
            }
            Message::Filters(filters) => {
                for (block, bytes) in filters {
                    let height = walk.filters;
                    assert_eq!(*block, blocks[height]);
                    let filter = Filter::from_bytes(bytes.clone()).unwrap();
                    let before = height.checked_sub(1).map_or(FilterHeader::ZERO, |below| walk.headers[below]);
                    assert_eq!(filter.header(&before), walk.headers[height]);
                    if filter.matches_any(block, [wanted.0]).unwrap() {
                        walk.found.push(height);
                    }
                    walk.filters += 1;
                }
            }
            _ => return Vec::new(),
        }
        let start = walk.headers.len();
        if start < blocks.len() {
            let stop = blocks[end(start, MAX_FILTER_HEADERS)];
            return vec![Message::GetFilterHeaders { start_height: Height::from_u32(start as u32), stop }];
        }
        let start = walk.filters;
        if start < blocks.len() {
            let stop = blocks[end(start, MAX_FILTERS)];
            return vec![Message::GetFilters { start_height: Height::from_u32(start as u32), stop }];
        }
        Vec::new()
    });
    sim.add_script(script);
    assert!(sim.run_until(Duration::from_secs(60), |_| walk.lock().unwrap().filters == 2_051));
    let walk = walk.lock().unwrap();
    assert_eq!(walk.headers.last(), Some(&last));
    assert_eq!(walk.found, [0, 1_991], "genesis pays key 1, block 1,991 spends that");
    assert_eq!(sim.node(0).unwrap().peers(sim.now())[0].score, 0);
}

/// A node with `n` blocks, and a peer of it.
fn stage(n: u32) -> (Bench, PeerId) {
    let mut bench = Bench::new(Config::default());
    for block in Ledger::on(&params()).extend(n, 0) {
        bench.node.submit_block(bench.now, block).unwrap();
    }
    let peer = bench.guest("10.0.0.1:5");
    (bench, peer)
}

fn hash_at(bench: &Bench, height: u32) -> BlockHash {
    bench.node.chain().entry_at(Height::from_u32(height)).unwrap().hash
}

fn headers(outputs: &[Output]) -> Vec<(FilterHeader, Vec<FilterHash>)> {
    let headers = |message| match message {
        Message::FilterHeaders { previous, hashes, .. } => Some((previous, hashes)),
        _ => None,
    };
    sent(outputs).filter_map(headers).collect()
}

fn filters(outputs: &[Output]) -> Vec<Vec<(BlockHash, Vec<u8>)>> {
    sent(outputs)
        .filter_map(|message| if let Message::Filters(filters) = message { Some(filters) } else { None })
        .collect()
}

#[test]
fn filters_off_the_best_chain_are_empty_and_too_many_are_an_offence() {
    let (mut bench, peer) = stage(2_000);
    let stale = hash_at(&bench, 2_000);
    bench.node.invalidate(bench.now, &stale).unwrap();
    let tip = hash_at(&bench, 1_999);
    let chain = bench.node.chain();
    let (_, below) = chain.db().filter(&chain.entry_at(Height::from_u32(1_899)).unwrap().key()).unwrap().unwrap();
    let mut ask = |start_height, stop| {
        let asked = bench.say(peer, Message::GetFilterHeaders { start_height, stop });
        let [(previous, hashes)] = &headers(&asked)[..] else { panic!("one answer") };
        let asked = bench.say(peer, Message::GetFilters { start_height, stop });
        let [filters] = &filters(&asked)[..] else { panic!("one answer") };
        assert_eq!(*previous == below, start_height == Height::from_u32(1_900));
        assert_eq!(*previous == FilterHeader::ZERO, start_height == Height::GENESIS || hashes.is_empty());
        (hashes.len(), filters.len(), bench.node.peers(bench.now)[0].score)
    };
    assert_eq!(ask(Height::from_u32(1_999), tip), (1, 1, 0));
    assert_eq!(ask(Height::from_u32(1_900), tip), (100, 100, 0));
    assert_eq!(ask(Height::from_u32(2_000), tip), (0, 0, 0), "nothing stands there");
    assert_eq!(ask(Height::from_u32(u32::MAX), tip), (0, 0, 0));
    assert_eq!(ask(Height::from_u32(1_950), stale), (0, 0, 0), "a block that has left the best chain");
    assert_eq!(ask(Height::from_u32(5), BlockHash::of(b"unknown")), (0, 0, 0));
    let points = Offence::RequestFlood.points();
    assert_eq!(ask(Height::from_u32(1_899), tip), (101, 0, points), "101 filters");
    assert_eq!(ask(Height::GENESIS, tip), (2_000, 0, 2 * points));
    assert_eq!(ask(Height::GENESIS, stale), (0, 0, 4 * points), "2,001 headers");
}

#[test]
fn unsolicited_answers_are_offences() {
    let (mut bench, peer) = stage(1);
    let headers = Message::FilterHeaders { stop: BlockHash::ZERO, previous: FilterHeader::ZERO, hashes: Vec::new() };
    for (times, message) in [(1, headers), (2, Message::Filters(Vec::new()))] {
        assert_eq!(sent(&bench.say(peer, message)).count(), 0);
        assert_eq!(bench.node.peers(bench.now)[0].score, times * Offence::UnrequestedFilters.points());
    }
}

/// Filters are read and sent in portions, each after the previous one was sent.
#[test]
fn a_greedy_peer_gets_one_portion_of_filters_at_a_time() {
    let (mut bench, peer) = stage(99);
    let ask = Message::GetFilters { start_height: Height::GENESIS, stop: hash_at(&bench, 99) };
    let outputs = bench.say(peer, ask.clone());
    let size = sent(&outputs).map(|message| message.encoded_len()).sum::<usize>();
    assert_eq!(filters(&outputs)[0].len(), 100);
    // The request that fills the portion is answered whole.
    let whole = PORTION_BYTES.div_ceil(size);
    for _ in 1..whole {
        assert_eq!(filters(&bench.say(peer, ask.clone())).len(), 1);
    }
    for _ in 0..MAX_WAITING_RANGES {
        assert_eq!(filters(&bench.say(peer, ask.clone())).len(), 0, "the portion has not left");
    }
    assert_eq!(bench.node.peers(bench.now)[0].score, 0);
    assert_eq!(sent(&bench.say(peer, ask)).count(), 0);
    assert_eq!(bench.node.peers(bench.now)[0].score, Offence::RequestFlood.points());
    let mut answered = filters(&bench.give(Input::Flushed { peer })).len();
    while answered < MAX_WAITING_RANGES {
        let outputs = bench.after(Duration::from_millis(1));
        assert!(!filters(&outputs).is_empty());
        answered += filters(&outputs).len();
    }
}

/// A block on the tip whose filter has `n` keys: `from`, a coin of the miner's key 1, pays a grain to each but that key. The
/// rest, from which the next such block can pay, takes its place.
fn submit_crowded(bench: &mut Bench, n: u32, from: &mut (OutPoint, Coin)) -> BlockHash {
    let (chain, time) = (bench.node.chain(), bench.now.unix);
    let template = template::build(chain, bench.node.mempool(), &key(1).public_key(), 0, time).unwrap();
    let mut block = template.block(0);
    let payee =
        |i: u32| PublicKey(Hash256::of(&[template.height.as_u32().to_le_bytes(), i.to_le_bytes()].concat()).to_bytes());
    let (outpoint, coin) = from.clone();
    let rest = Amount::from_grains(coin.output.value.as_grains() - u64::from(n - 1));
    let outputs = [TxOutput::pay(public(1), rest)];
    let outputs = outputs.into_iter().chain((1..n).map(|i| TxOutput::pay(payee(i), Amount::from_grains(1)))).collect();
    let tx = cairn_testkit::spend(chain.params(), &[(outpoint, coin, &key(1))], outputs);
    let coin = Coin { output: tx.outputs[0].clone(), height: template.height, coinbase: false };
    *from = (OutPoint { txid: tx.txid(), index: 0 }, coin);
    block.transactions.push(tx);
    cairn_testkit::seal(&mut block);
    let hash = block.hash();
    bench.node.submit_block(bench.now, block).unwrap();
    hash
}

#[test]
fn filters_that_do_not_fit_one_answer_are_had_by_asking_again() {
    let mut bench = Bench::new(Config::default());
    // 53 kB a filter: 18 fit.
    let mut coin = genesis_coin(bench.node.chain().params(), 1);
    let blocks: Vec<BlockHash> = (0..21).map(|_| submit_crowded(&mut bench, 20_000, &mut coin)).collect();
    let peer = bench.guest("10.0.0.1:5");
    let mut got = Vec::new();
    let mut answers = Vec::new();
    while got.len() < blocks.len() {
        let start_height = 1 + got.len() as u32;
        let outputs =
            bench.say(peer, Message::GetFilters { start_height: Height::from_u32(start_height), stop: blocks[20] });
        let [filters] = &filters(&outputs)[..] else { panic!("one answer") };
        assert!(sent(&outputs).all(|message| message.encoded_len() <= MAX_FILTERS_BYTES));
        answers.push(filters.len());
        for (block, bytes) in filters {
            let chain = bench.node.chain();
            let stored = chain.db().filter(&chain.entry(block).unwrap().key()).unwrap().unwrap().0;
            assert_eq!((stored.count(), stored.as_bytes()), (20_000, &bytes[..]));
            got.push(*block);
        }
    }
    assert_eq!((got, answers), (blocks, vec![18, 3]));
}
