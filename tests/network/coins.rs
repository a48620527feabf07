//! What a node answers to questions about coins: openings of commitments, and proofs from the states that it keeps.

use std::sync::Arc;

use cairn::consensus::params::{Allocation, GenesisSpec, Params};
use cairn::p2p::coins::{About, CoinAnswer, CoinQuery, Opening, OpeningFault, PEER_PAGE_COINS, ShownCoins};
use cairn::p2p::message::{Hello, Message};
use cairn::p2p::{Config, PeerId};
use cairn::primitives::address;
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::hash::{BlockHash, StateRoot};
use cairn::primitives::height::Height;
use cairn::primitives::tx::{OutPoint, Output};
use cairn::state::{Leaf, StateId};
use cairn::storage::MemoryStore;

use crate::connections::{Bench, hello, sent_to};
use cairn_testkit::{Ledger, funded, genesis_coin, key, public, spend, twins};

const EPOCH: u32 = 10;
/// Coins of key 50: two full pages and a part of one, from transactions of 300 outputs.
const COINS: usize = 1_200;

/// A chain of 25 blocks in which key 50 gets its coins in block 5.
fn ledger() -> Ledger {
    let mut spec = GenesisSpec { epoch_blocks: EPOCH, ..funded(1..=20, 10 * COIN) };
    assert!(spec.mine_nonce());
    let params = Arc::new(Params::new(spec).unwrap());
    let mut ledger = Ledger::on(&params);
    ledger.extend(4, 0);
    let pay = |n: u8| {
        let (outpoint, coin) = genesis_coin(&params, n);
        let outputs = vec![Output::pay(public(50), Amount::from_grains(1_000)); 300];
        spend(&params, &[(outpoint, coin, &key(n))], outputs)
    };
    let payments: Vec<_> = (1..=4).map(pay).collect();
    let block = ledger.make(&public(255), &payments, 0, 0);
    ledger.push(block);
    ledger.extend(20, 0);
    ledger
}

struct Asked {
    bench: Bench,
    peer: PeerId,
}

impl Asked {
    fn new(ledger: &Ledger) -> Self {
        let mut bench = Bench::on(&ledger.params, Config::default(), Arc::new(MemoryStore::new()));
        let (peer, _) = bench.inbound("10.0.0.1:5");
        bench.say(peer, Message::Hello(Hello { genesis: ledger.params.genesis_hash, ..hello() }));
        let mut asked = Self { bench, peer };
        asked.extend(&ledger.blocks[1..]);
        asked
    }

    fn extend(&mut self, blocks: &[cairn::primitives::block::Block]) {
        for block in blocks {
            self.bench.node.submit_block(self.bench.now, block.clone()).unwrap();
        }
        self.bench.after(std::time::Duration::from_secs(1));
    }

    /// The answer to a message, the only one.
    fn say(&mut self, message: Message) -> Message {
        let mut outputs = self.bench.say(self.peer, message);
        outputs.extend(self.bench.after(std::time::Duration::from_millis(2)));
        let answers = sent_to(&outputs, self.peer);
        let [answer] = &answers[..] else { panic!("{answers:?}") };
        answer.clone()
    }

    fn opening(&mut self, block: BlockHash) -> Option<Opening> {
        match self.say(Message::GetOpening(block)) {
            Message::Opening { block: of, opening } if of == block => opening.map(|opening| *opening),
            other => panic!("{other:?}"),
        }
    }

    fn coins(&mut self, query: CoinQuery) -> CoinAnswer {
        match self.say(Message::GetCoins(query)) {
            Message::Coins(answer) if answer.query == query => answer,
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_opening_leads_from_a_header_to_the_root_and_only_of_blocks_on_the_best_chain() {
    let ledger = ledger();
    let mut asked = Asked::new(&ledger);
    let states: Vec<StateRoot> = (1..=25)
        .map(|height: usize| {
            let block = &ledger.blocks[height];
            let opening = asked.opening(block.hash()).expect("it is on the best chain");
            let proof = &opening.coinbase;
            assert_eq!((proof.height, proof.block), (Height::from_u32(height as u32), block.hash()));
            assert!(proof.branch.verify(&proof.transaction.txid(), &block.header.merkle_root));
            opening.check().unwrap().state
        })
        .collect();
    assert!(states[..9].iter().all(|root| *root == StateRoot::ZERO), "nothing is due in the first epoch");
    assert!(states[9..19].iter().all(|root| *root == states[9]) && states[19] != states[9]);

    let genesis = ledger.params.genesis_hash;
    let mut rival = Ledger::on(&ledger.params);
    let branch = rival.extend(3, 7);
    asked.extend(&branch);
    for block in [genesis, BlockHash::of(b"nowhere"), branch[2].hash()] {
        assert_eq!(asked.opening(block), None);
    }

    // Every part of an opening counts.
    let opening = asked.opening(ledger.blocks[20].hash()).unwrap();
    let mut others = [opening.clone(), opening.clone(), opening.clone(), opening.clone(), opening];
    others[0].committed.state = StateRoot::ZERO;
    others[1].committed.range = cairn::primitives::hash::MmrRoot::of(b"other");
    others[2].committed.filters = cairn::primitives::hash::FilterHeader::ZERO;
    others[3].coinbase.branch.index = 1;
    others[4].coinbase.transaction = ledger.blocks[5].transactions[1].clone();
    let faults = others.map(|other| other.check().map(|_| ()).unwrap_err());
    for fault in &faults[..3] {
        assert!(matches!(fault, OpeningFault::OtherCommitment { .. }), "{fault}");
    }
    for fault in &faults[3..] {
        assert!(matches!(fault, OpeningFault::NotCoinbase { .. }), "{fault}");
    }
}

#[test]
fn pages_totals_and_single_coins_are_proven_from_the_root_and_gone_epochs_are_not() {
    let mut ledger = ledger();
    let mut asked = Asked::new(&ledger);
    let edge = Height::from_u32(EPOCH);
    let block = ledger.blocks[EPOCH as usize].hash();
    let root = asked.opening(ledger.blocks[2 * EPOCH as usize].hash()).unwrap().committed.state;
    let id = StateId { height: edge, block, root };
    let owner = public(50);
    let mut ask = |about| {
        let query = CoinQuery { root, owner, about };
        let proof = asked.coins(query).proof.expect("the state is kept");
        (query.check(&id, &proof).unwrap(), proof.bytes.len())
    };

    let (mut leaves, mut pages, mut next): (Vec<Leaf>, Vec<usize>, _) = (Vec::new(), Vec::new(), Some(About::FIRST));
    while let Some(about) = next {
        let (ShownCoins::Page(page, rest), bytes) = ask(about) else { panic!("not a page") };
        assert!(bytes <= 51 * page.len() + 1_500, "{bytes} bytes for {} coins", page.len());
        pages.push(page.len());
        leaves.extend(page);
        next = rest.map(About::From);
    }
    assert_eq!(pages, [PEER_PAGE_COINS, PEER_PAGE_COINS, COINS - 2 * PEER_PAGE_COINS]);
    let mut expected: Vec<OutPoint> =
        ledger.coins.0.iter().filter(|(_, coin)| coin.output.key() == Some(&owner)).map(|(at, _)| *at).collect();
    expected.sort();
    assert_eq!(leaves.iter().map(|leaf| leaf.key.outpoint()).collect::<Vec<_>>(), expected);

    let (total, bytes) = ask(About::Total);
    let ShownCoins::Total(total) = total else { panic!("not a total") };
    assert_eq!((total.sum, total.count), (Amount::from_grains(1_000 * COINS as u64), COINS as u64));
    assert!(bytes < 1_500, "{bytes} bytes");
    assert_eq!(ask(About::One(expected[7])).0, ShownCoins::One(Some(leaves[7])));
    let absent = OutPoint { index: 300, ..expected[7] };
    assert_eq!(ask(About::One(absent)).0, ShownCoins::One(None));

    // A proof of other coins, or a page cut short, is refused.
    let query = |about| CoinQuery { root, owner, about };
    let total = asked.coins(query(About::Total)).proof.unwrap();
    assert!(query(About::FIRST).check(&id, &total).is_err());
    let mut page = asked.coins(query(About::FIRST)).proof.unwrap();
    page.end = Some(expected[PEER_PAGE_COINS - 2]);
    assert!(query(About::FIRST).check(&id, &page).is_err());

    // Not a root of a state that is kept: none at all, and one of an epoch that is gone.
    assert_eq!(asked.coins(CoinQuery { root: StateRoot::of(b"no state"), ..query(About::Total) }).proof, None);
    asked.extend(&ledger.extend(3 * EPOCH, 0));
    assert_eq!(asked.coins(query(About::Total)).proof, None);
}

#[test]
fn locks_whose_digests_share_40_bits_are_proven_apart() {
    let owners = twins();
    let counts = [40, 3];
    let mut spec = GenesisSpec { epoch_blocks: EPOCH, ..funded(1..=1, COIN) };
    for (owner, count) in owners.iter().zip(counts) {
        let coin =
            Allocation { address: address::encode(&spec.address_prefix, owner), value: Amount::from_grains(COIN) };
        spec.alloc.extend(vec![coin; count]);
    }
    assert!(spec.mine_nonce());
    let mut ledger = Ledger::on(&Arc::new(Params::new(spec).unwrap()));
    ledger.extend(2 * EPOCH, 0);
    let mut asked = Asked::new(&ledger);
    let root = asked.opening(ledger.blocks[2 * EPOCH as usize].hash()).unwrap().committed.state;
    let id = StateId { height: Height::from_u32(EPOCH), block: ledger.blocks[EPOCH as usize].hash(), root };
    for (n, owner) in owners.into_iter().enumerate() {
        for about in [About::Total, About::FIRST] {
            let query = CoinQuery { root, owner, about };
            let proof = asked.coins(query).proof.expect("the state is kept");
            let count = match query.check(&id, &proof).unwrap() {
                ShownCoins::Total(total) => total.count as usize,
                ShownCoins::Page(page, rest) => {
                    assert!(rest.is_none() && page.iter().all(|leaf| leaf.lock == owner));
                    page.len()
                }
                other => panic!("{other:?}"),
            };
            assert_eq!(count, counts[n], "{about:?} of {n}");
            let other = CoinQuery { root, owner: owners[1 - n], about };
            assert!(other.check(&id, &proof).is_err(), "{about:?} of {n} is none of its neighbour");
        }
    }
}
