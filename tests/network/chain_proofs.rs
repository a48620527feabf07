//! Proofs of the chain for light clients: the node has the tip's made apart, keeps it for all peers, and proves headers below.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cairn::chain::Chain;
use cairn::p2p::chain_proofs::{ChainAnswer, ChainQuery};
use cairn::p2p::chain_prover::{TipProof, prove_tip};
use cairn::p2p::message::{Hello, Message, SERVICE_CHAIN_PROOFS};
use cairn::p2p::{Command, Config, Event, Output, PeerId, Protocol, Reply};
use cairn::primitives::height::Height;
use cairn::primitives::mmr;
use cairn::receipt::succinct::{verify_chain, verify_header, verify_headers};
use cairn::receipt::weight::work_of;
use cairn::storage::MemoryStore;

use crate::connections::{Bench, hello, sent_to};
use crate::params;
use cairn_testkit::Ledger;

fn made(chain: &Chain) -> Option<TipProof> {
    prove_tip(chain.db(), chain.params(), chain.tip().key()).unwrap()
}

/// A node with these blocks, and peers that have said hello.
fn asked<const N: usize>(ledger: &Ledger) -> (Bench, [PeerId; N]) {
    let mut bench = Bench::on(&ledger.params, Config::default(), Arc::new(MemoryStore::new()));
    for block in &ledger.blocks[1..] {
        bench.node.submit_block(bench.now, block.clone()).unwrap();
    }
    bench.after(Duration::from_secs(1));
    let peers = std::array::from_fn(|n| {
        let (peer, _) = bench.inbound(&format!("10.0.0.{}:5", n + 1));
        bench.say(peer, Message::Hello(Hello { genesis: ledger.params.genesis_hash, ..hello() }));
        peer
    });
    (bench, peers)
}

fn due(outputs: &[Output]) -> usize {
    outputs.iter().filter(|output| matches!(output, Output::Event(Event::ProofDue))).count()
}

fn answers(outputs: &[Output], peer: PeerId) -> Vec<ChainAnswer> {
    let answers = sent_to(outputs, peer).into_iter().filter_map(|message| match message {
        Message::ChainProof(answer) => Some(answer),
        _ => None,
    });
    answers.collect()
}

#[test]
fn the_tip_is_proven_once_for_all_peers_and_again_when_it_is_far_behind() {
    let mut ledger = Ledger::on(&params());
    ledger.extend(600, 0);
    let (mut bench, [first, second]) = asked(&ledger);
    assert!(bench.node.services() & SERVICE_CHAIN_PROOFS != 0);
    let ask = || Message::GetChainProof(ChainQuery::Tip);
    let outputs = bench.say(first, ask());
    assert_eq!((due(&outputs), answers(&outputs, first).len()), (1, 0), "it is made elsewhere");
    let outputs = bench.say(second, ask());
    assert_eq!((due(&outputs), answers(&outputs, second).len()), (0, 0));
    // Other requests are served meanwhile, those of a peer that waits after its proof.
    let proof = made(bench.node.chain());
    bench.node.command(bench.now, Command::ProofMade(proof, Reply::nowhere()));
    let outputs: Vec<Output> = bench.node.drain().collect();
    for peer in [first, second] {
        let [answer] = &answers(&outputs, peer)[..] else { panic!("{outputs:?}") };
        let proven = verify_chain(answer.proof.as_ref().unwrap(), &ledger.params).unwrap();
        assert_eq!((proven.tail.height(), proven.tail.tip_hash()), (Height::from_u32(600), ledger.blocks[600].hash()));
        assert_eq!(proven.tail.work(), bench.node.chain().tip().work);
        let last: Vec<_> = ledger.blocks[344..].iter().map(|block| block.header).collect();
        assert_eq!((proven.range.leaves(), proven.last), (344, last));
    }
    // It serves again, until more blocks are on top of it.
    for height in 601..=616 {
        let blocks = ledger.extend(1, 0);
        bench.node.submit_block(bench.now, blocks[0].clone()).unwrap();
        let mut outputs = bench.say(first, ask());
        outputs.extend(bench.after(Duration::from_millis(2)));
        assert_eq!((due(&outputs), answers(&outputs, first).len()), (0, 1), "{height}");
    }
    let blocks = ledger.extend(1, 0);
    bench.node.submit_block(bench.now, blocks[0].clone()).unwrap();
    assert_eq!(due(&bench.say(first, ask())), 1);
    // It could not be made: the peer learns that there is none.
    bench.node.command(bench.now, Command::ProofMade(None, Reply::nowhere()));
    let outputs: Vec<Output> = bench.node.drain().collect();
    assert_eq!(answers(&outputs, first), [ChainAnswer { query: ChainQuery::Tip, proof: None }]);

    // A proof of a block that is no longer in the chain is no answer.
    let mut rival = Ledger::on(&ledger.params);
    let stale = made(bench.node.chain());
    for block in rival.extend(620, 7) {
        bench.node.submit_block(bench.now, block).unwrap();
    }
    assert_eq!(due(&bench.say(first, ask())), 1);
    bench.node.command(bench.now, Command::ProofMade(stale, Reply::nowhere()));
    let outputs: Vec<Output> = bench.node.drain().collect();
    assert_eq!(answers(&outputs, first), [ChainAnswer { query: ChainQuery::Tip, proof: None }]);
    assert_eq!(bench.score(first), Some(0));
}

#[test]
fn headers_are_proven_below_a_block_of_the_best_chain_and_no_other() {
    let mut ledger = Ledger::on(&params());
    ledger.extend(300, 0);
    let (mut bench, [peer]) = asked(&ledger);
    let at = Height::from_u32;
    let proven = verify_chain(&made(bench.node.chain()).unwrap().bytes, &ledger.params).unwrap();
    assert_eq!(proven.range.leaves(), 44);
    let mut ask = |query: ChainQuery| {
        let mut outputs = bench.say(peer, Message::GetChainProof(query.clone()));
        outputs.extend(bench.after(Duration::from_millis(2)));
        let [answer] = &answers(&outputs, peer)[..] else { panic!("{outputs:?}") };
        assert_eq!(answer.query, query);
        answer.proof.clone()
    };
    let below = ledger.blocks[44].hash();
    let first_time = ledger.blocks[1].header.time;
    let sets: [&[u32]; 6] = [&[1], &[43], &[7, 8, 30], &[31, 32], &[40, 41, 42, 43], &(1..44).collect::<Vec<u32>>()];
    for set in sets {
        let wanted: BTreeSet<Height> = set.iter().copied().map(at).collect();
        let proof = ask(ChainQuery::headers(below, wanted.clone())).expect("it has them");
        let shown = verify_headers(&proof, &wanted, (&proven.range, first_time), &ledger.params).unwrap();
        for (header, height) in shown.iter().zip(&wanted) {
            let block = &ledger.blocks[height.as_usize()];
            assert_eq!((header.height, header.header, header.hash), (*height, block.header, block.hash()));
        }
        // Neither other heights nor another range are proven by it, nor by a part of it, nor with a bit changed.
        let check = |bytes: &[u8], wanted| verify_headers(bytes, wanted, (&proven.range, first_time), &ledger.params);
        let other: BTreeSet<Height> = wanted.iter().map(|height| height.next()).collect();
        assert!(check(&proof, &other).is_err());
        assert!(check(&proof[..proof.len() - 1], &wanted).is_err());
        for place in (0..proof.len()).step_by(proof.len() / 40 + 1) {
            let mut bent = proof.clone();
            bent[place] ^= 4;
            assert!(check(&bent, &wanted).is_err(), "byte {place} of {}", proof.len());
        }
    }
    // One header alone also shows the range over all before it.
    let mut range = mmr::Range::default();
    for height in (0..44).map(at) {
        let header = ledger.blocks[height.as_usize()].header;
        if height > Height::GENESIS {
            let proof = ask(ChainQuery::headers(below, [height])).expect("it has it");
            let check = |height| verify_header(&proof, height, (&proven.range, first_time), &ledger.params);
            let (shown, before) = check(height).unwrap();
            assert_eq!((shown.header, &before), (header, &range));
            assert_eq!(shown.place.after - shown.place.own, range.work());
            assert!(check(height.next()).is_err());
        }
        range.push(mmr::Node::leaf(header.hash(), work_of(&header), header.time));
    }
    let none = [
        ChainQuery::headers(below, [at(44)]),
        ChainQuery::headers(cairn::primitives::hash::BlockHash::of(b"nowhere"), [at(1)]),
        ChainQuery::headers(ledger.params.genesis_hash, [at(1)]),
    ];
    none.into_iter().for_each(|query| assert_eq!(ask(query), None));
    assert_eq!(bench.score(peer), Some(0));
    bench.say(peer, Message::GetChainProof(ChainQuery::Headers { below, spans: vec![(at(1), 1 << 30)] }));
    assert_eq!(bench.score(peer), Some(10), "no honest client asks for so much");
}
