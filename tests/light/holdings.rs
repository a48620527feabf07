//! What keys own: proven as of an edge, complete up to the tip, through payments, reorganisations and lies.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cairn::consensus::coins::Coin;
use cairn::consensus::params::{GenesisSpec, Params};
use cairn::light::{Config, Holding, NotProven, Notice, Scope};
use cairn::p2p::Reason;
use cairn::p2p::coins::{About, CoinProof, CoinQuery, PEER_PAGE_COINS};
use cairn::p2p::message::{Kind, Message};
use cairn::p2p::misbehaviour::Offence;
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::height::Height;
use cairn::primitives::keys::PublicKey;
use cairn::primitives::tx::{OutPoint, Output, Transaction};
use cairn::state::{KeyRange, Leaf, Source, StateProofError, Table, Total};

use crate::world::{Lie, World, honest};
use cairn_testkit::{Ledger, funded, genesis_coin, key, public, spend};

const EPOCH: u32 = 10;
/// The edge that is asked about at height [`TIP`]: of the last two that blocks commit to, the older one.
const EDGE: u32 = 280;
const FIRST: u32 = EDGE + EPOCH;
const TIP: u32 = 305;
/// Outputs of each of the payments to key 50.
const OUTPUTS: usize = 300;

fn at(height: u32) -> Height {
    Height::from_u32(height)
}

fn params(epoch_blocks: u32) -> Arc<Params> {
    let mut spec = GenesisSpec { epoch_blocks, ..funded(0..20, 1_000 * COIN) };
    assert!(spec.mine_nonce());
    Arc::new(Params::new(spec).unwrap())
}

fn pay(ledger: &mut Ledger, txs: &[Transaction]) {
    let block = ledger.make(&public(9), txs, 0, 0);
    ledger.push(block);
}

/// Spends key `n`'s coin of genesis to so many coins of key `to`.
fn payment(ledger: &Ledger, n: u8, to: u8, outputs: usize) -> Transaction {
    let (outpoint, coin) = genesis_coin(&ledger.params, n);
    let each = Output::pay(public(to), Amount::from_grains(COIN / 100));
    spend(&ledger.params, &[(outpoint, coin, &key(n))], vec![each; outputs])
}

/// Spends a coin of key 50 to key `to`.
fn spend_on(ledger: &Ledger, outpoint: OutPoint, to: u8) -> Transaction {
    let coin = ledger.coins.0[&outpoint].clone();
    let output = Output::pay(public(to), coin.output.value);
    spend(&ledger.params, &[(outpoint, coin, &key(50))], vec![output])
}

/// What the tests are about.
struct Story {
    ledger: Ledger,
    /// All coins after the edge.
    state: Vec<Leaf>,
    /// The first payment to key 50; one of its coins is spent in each of three blocks after the edge.
    first: Transaction,
}

/// Key 50 gets 1,200 coins before the edge. After it, three are spent: before the first block that commits to the edge,
/// after it, and in the newest block. Key 51 gets what is spent.
fn story() -> Story {
    let mut ledger = Ledger::on(&params(EPOCH));
    ledger.extend(4, 1);
    let payments: Vec<Transaction> = (1..=4).map(|n| payment(&ledger, n, 50, OUTPUTS)).collect();
    pay(&mut ledger, &payments);
    ledger.extend(EDGE - ledger.height().as_u32(), 1);
    let state = ledger.epochs.table().leaves().copied().collect();
    let first = payments[0].clone();
    for (index, height) in [(0, FIRST - 5), (1, FIRST + 5), (2, TIP)] {
        ledger.extend(height - 1 - ledger.height().as_u32(), 1);
        let tx = spend_on(&ledger, OutPoint { txid: first.txid(), index }, 51);
        pay(&mut ledger, &[tx]);
    }
    Story { ledger, state, first }
}

/// The coins of keys at the end of a ledger.
fn coins_of(ledger: &Ledger, keys: &[u8]) -> BTreeMap<OutPoint, Coin> {
    let keys: Vec<PublicKey> = keys.iter().map(|n| public(*n)).collect();
    let is_theirs = |coin: &Coin| coin.output.key().is_some_and(|key| keys.contains(key));
    let coins = ledger.coins.0.iter().filter(|(_, coin)| is_theirs(coin));
    coins.map(|(outpoint, coin)| (*outpoint, coin.clone())).collect()
}

fn keys(numbers: &[u8]) -> BTreeSet<PublicKey> {
    numbers.iter().map(|n| public(*n)).collect()
}

/// What the client says once it has followed the coins to its tip.
fn own(world: &mut World, scope: Scope) -> Holding {
    world.light.own(world.now, scope);
    let tip = world.light.chain().height();
    world.run_until("all coins", move |world| {
        world.notices.iter().any(|notice| matches!(notice, Notice::Watched { height } if *height >= tip))
    });
    world.light.holding().expect("it is proven")
}

fn world(blocks: &Ledger, lies: Vec<Lie>) -> World {
    let mut world = World::new(&blocks.params, lies.len(), Config::default());
    for lie in lies {
        world.serve(&blocks.blocks[1..], lie);
    }
    world.sync();
    world
}

/// A liar who answers questions about coins in its own way.
fn answers(mut lie: impl FnMut(&CoinQuery, &mut Option<CoinProof>) + 'static) -> Lie {
    Box::new(move |message| match message {
        Message::Coins(mut answer) => {
            lie(&answer.query, &mut answer.proof);
            vec![Message::Coins(answer)]
        }
        other => vec![other],
    })
}

/// A liar who proves from other coins than those that the chain commits to.
fn proves_from(leaves: Vec<Leaf>) -> Lie {
    let table = Table::new(leaves).unwrap();
    answers(move |query, proof| {
        let lock = KeyRange::lock(&query.owner);
        let page = |source: &Source<'_, _>| match query.about {
            About::Total => (source.prove_total(&lock).unwrap(), None),
            _ => source.prove_page_of(PEER_PAGE_COINS, &lock).unwrap(),
        };
        let (bytes, end) = table.with_source(page);
        *proof = Some(CoinProof { bytes, end: end.map(|end| end.outpoint()) });
    })
}

#[test]
fn coins_are_complete_up_to_the_tip() {
    let Story { ledger, state, first } = story();
    let mut world = world(&ledger, vec![honest()]);
    let holding = own(&mut world, Scope::Keys(keys(&[50, 51, 52])));
    assert_eq!((holding.proven.edge, holding.tip), ((at(EDGE), ledger.blocks[EDGE as usize].hash()), at(TIP)));
    assert_eq!(holding.proven.committed_at, Some(at(FIRST)));
    let proven: BTreeMap<OutPoint, Coin> =
        state.iter().filter(|leaf| leaf.lock == public(50)).map(Leaf::coin).collect();
    assert_eq!((holding.proven.coins.len(), &holding.proven.coins), (4 * OUTPUTS, &proven));
    assert_eq!(holding.coins, coins_of(&ledger, &[50, 51, 52]));
    let since: Vec<(u32, Vec<u32>)> = holding
        .since
        .iter()
        .map(|since| (since.height.as_u32(), since.spent.iter().map(|(outpoint, _)| outpoint.index).collect()))
        .collect();
    assert_eq!(since, [(FIRST - 5, vec![0]), (FIRST + 5, vec![1]), (TIP, vec![2])]);

    // One coin, still there, spent after the edge, or never made.
    for (index, then, now) in [(7, true, true), (1, true, false), (OUTPUTS as u32, false, false)] {
        let outpoint = OutPoint { txid: first.txid(), index };
        world.notices.clear();
        let holding = own(&mut world, Scope::Coin(public(50), outpoint));
        let seen = (holding.proven.coins.contains_key(&outpoint), holding.coins.contains_key(&outpoint));
        assert_eq!(seen, (then, now), "output {index}");
    }

    // The value and number alone.
    world.notices.clear();
    world.light.own(world.now, Scope::Totals(keys(&[50, 52])));
    world.run_until("the totals", |world| world.notices.contains(&Notice::Proven));
    let sum = Amount::from_grains(COIN / 100 * 4 * OUTPUTS as u64);
    let expected = [(public(50), Total { sum, count: 4 * OUTPUTS as u64 }), (public(52), Total::default())];
    assert_eq!(world.light.holding().unwrap().proven.totals, expected.into());
}

/// The coins are proven as of block 300, and the headers from there to the proof's last ones are still to be asked for.
#[test]
fn headers_that_a_balance_needs_are_asked_for_at_once() {
    let mut ledger = Ledger::on(&params(300));
    ledger.extend(4, 1);
    let payment = payment(&ledger, 1, 50, 3);
    pay(&mut ledger, &[payment]);
    ledger.extend(995, 1);
    let mut world = World::new(&ledger.params, 1, Config { proof_ahead: Some(300), ..Config::default() });
    world.serve(&ledger.blocks[1..], honest());
    world.sync();
    let asked = world.now.mono.as_millis();
    let holding = own(&mut world, Scope::Keys(keys(&[50])));
    let took = world.now.mono.as_millis() - asked;
    assert_eq!((holding.proven.edge.0, holding.coins), (at(300), coins_of(&ledger, &[50])));
    assert!(took < 1_000, "{took} ms: no timer has to wake the client");
}

#[test]
fn liars_about_coins_are_caught_and_the_next_peer_is_asked() {
    let Story { ledger, state, .. } = story();
    let own_leaves: Vec<usize> =
        state.iter().enumerate().filter(|(_, leaf)| leaf.lock == public(50)).map(|(place, _)| place).collect();
    let without = |place: usize| {
        let mut leaves = state.clone();
        leaves.remove(place);
        proves_from(leaves)
    };
    let mut richer = state.clone();
    richer[own_leaves[0]].value = Amount::from_grains(COIN);
    let mut rival = Ledger::on(&ledger.params);
    rival.extend(EDGE, 7);
    let lies = || {
        vec![
            without(own_leaves[0]),
            without(own_leaves[own_leaves.len() / 2]),
            without(own_leaves[own_leaves.len() - 1]),
            proves_from(richer.clone()),
            // The state of a branch, and no coins at all.
            proves_from(rival.epochs.table().leaves().copied().collect()),
            proves_from(Vec::new()),
            // The first page ends early, or says that nothing follows it.
            answers(|query, proof| {
                let end = proof.as_mut().and_then(|proof| proof.end.as_mut());
                match end {
                    Some(end) if query.about == About::FIRST => end.index = end.index.wrapping_sub(1),
                    _ => {}
                }
            }),
            answers(|_, proof| proof.iter_mut().for_each(|proof| proof.end = None)),
            // That is no lie.
            answers(|_, proof| *proof = None),
            honest(),
        ]
    };
    let caught = |world: &World| {
        let offences = world.goodbyes.iter().map(|(server, reason)| match reason {
            Reason::Misbehaved(Offence::FalseCoins(fault)) => (*server, fault.clone()),
            other => panic!("server {server}: {other}"),
        });
        offences.collect::<BTreeMap<usize, StateProofError>>()
    };
    let mut all = world(&ledger, lies());
    assert_eq!(own(&mut all, Scope::Keys(keys(&[50]))).coins, coins_of(&ledger, &[50]));
    assert_eq!(caught(&all).into_keys().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>(), "{:?}", all.goodbyes);

    // A false total; those who lie about pages only are asked no page here.
    let mut all = world(&ledger, lies());
    all.light.own(all.now, Scope::Totals(keys(&[50])));
    all.run_until("the total", |world| world.notices.contains(&Notice::Proven));
    let total = all.light.holding().unwrap().proven.totals[&public(50)];
    assert_eq!((total.sum, total.count), (Amount::from_grains(COIN / 100 * 1_200), 1_200));
    let caught = caught(&all);
    assert_eq!(caught.keys().copied().collect::<Vec<_>>(), (0..6).collect::<Vec<_>>());
    assert!(caught.values().all(|fault| matches!(fault, StateProofError::WrongRoot { .. })), "{caught:?}");
}

#[test]
fn false_openings_are_caught_and_refusals_are_not() {
    let Story { ledger, .. } = story();
    let bend = |bend: fn(&mut cairn::p2p::coins::Opening)| -> Lie {
        Box::new(move |message| match message {
            Message::Opening { block, opening: Some(mut opening) } => {
                bend(&mut opening);
                vec![Message::Opening { block, opening: Some(opening) }]
            }
            other => vec![other],
        })
    };
    let refuses: Lie = Box::new(|message| match message {
        Message::Opening { block, .. } => vec![Message::Opening { block, opening: None }],
        other => vec![other],
    });
    let silent: Lie = Box::new(|message| match message {
        Message::Opening { .. } | Message::Coins(_) => vec![],
        other => vec![other],
    });
    let lies = vec![
        refuses,
        silent,
        bend(|opening| opening.committed.state = cairn::primitives::hash::StateRoot::ZERO),
        bend(|opening| opening.coinbase.transaction.outputs.truncate(1)),
        honest(),
    ];
    let mut world = world(&ledger, lies);
    assert_eq!(own(&mut world, Scope::Keys(keys(&[50]))).coins, coins_of(&ledger, &[50]));
    assert_eq!(world.goodbyes.iter().map(|(server, _)| *server).collect::<Vec<_>>(), [2, 3], "{:?}", world.goodbyes);
}

#[test]
fn a_state_that_no_peer_keeps_any_more_gives_way_to_a_newer_one() {
    let Story { ledger, .. } = story();
    let edge = ledger.blocks[EDGE as usize].hash();
    // It does not open the first block that commits to the older edge.
    let first = ledger.blocks[FIRST as usize].hash();
    let forgets = || -> Lie {
        Box::new(move |message| match message {
            Message::Opening { block, .. } if block == first => vec![Message::Opening { block, opening: None }],
            other => vec![other],
        })
    };
    let mut all = world(&ledger, vec![forgets(), forgets()]);
    let holding = own(&mut all, Scope::Keys(keys(&[50])));
    assert!(holding.proven.edge.0 == at(EDGE + EPOCH) && holding.proven.edge.1 != edge);
    assert_eq!(holding.coins, coins_of(&ledger, &[50]));

    let refuses = || answers(|_, proof| *proof = None);
    let mut none = world(&ledger, vec![refuses(), refuses()]);
    none.light.own(none.now, Scope::Keys(keys(&[50])));
    none.run_until("the refusal", |world| {
        world.notices.contains(&Notice::NotProven(NotProven::NoAnswer { edge: at(EDGE + EPOCH) }))
    });
    assert_eq!(none.goodbyes, [], "a refusal is no offence");
}

#[test]
fn a_young_chain_begins_with_the_coins_of_genesis() {
    let mut ledger = Ledger::on(&params(EPOCH));
    ledger.extend(2, 1);
    let tx = payment(&ledger, 1, 50, 2);
    pay(&mut ledger, &[tx]);
    ledger.extend(20, 1);
    let mut world = world(&ledger, vec![honest()]);
    let holding = own(&mut world, Scope::Keys(keys(&[1, 2, 50])));
    assert_eq!((holding.proven.edge.0, holding.proven.committed_at), (Height::GENESIS, None));
    assert_eq!(holding.proven.coins.len(), 2, "one for each of keys 1 and 2");
    assert_eq!(holding.coins, coins_of(&ledger, &[1, 2, 50]));
    assert!(!world.servers[0].heard.contains(&"getcoins"));
}

/// The chain is reorganised after the edge, and below it: what was proven is undone with the block that committed to it.
#[test]
fn reorganisations_above_and_below_the_edge() {
    let Story { ledger, .. } = story();
    for fork in [TIP - 2, FIRST + 2, FIRST - 2, EDGE - 2] {
        let mut rival = Ledger::on(&ledger.params);
        for block in &ledger.blocks[1..=fork as usize] {
            rival.push(block.clone());
        }
        let (outpoint, coin) = genesis_coin(&ledger.params, 7);
        let tx = spend(
            &ledger.params,
            &[(outpoint, coin.clone(), &key(7))],
            vec![Output::pay(public(50), coin.output.value)],
        );
        pay(&mut rival, &[tx]);
        rival.extend(TIP + 3 - rival.height().as_u32(), 9);
        let mut world = world(&ledger, vec![honest(), honest()]);
        assert_eq!(own(&mut world, Scope::Keys(keys(&[50]))).coins, coins_of(&ledger, &[50]));
        world.notices.clear();
        [0, 1].into_iter().for_each(|server| world.mine(server, &rival.blocks[fork as usize + 1..]));
        world.run_until("the other branch", |world| {
            world.notices.iter().any(|notice| matches!(notice, Notice::Watched { height } if *height == at(TIP + 3)))
        });
        assert_eq!(world.light.holding().unwrap().coins, coins_of(&rival, &[50]), "fork at {fork}");
        assert_eq!(world.goodbyes, [], "fork at {fork}");
    }
}

#[test]
fn a_hundred_thousand_coins_come_page_by_page() {
    const EACH: usize = 20_000;
    let mut ledger = Ledger::on(&params(EPOCH));
    for n in 1..=5 {
        let tx = payment(&ledger, n, 50, EACH);
        pay(&mut ledger, &[tx]);
    }
    ledger.extend(TIP - 5, 1);
    let mut world = world(&ledger, vec![honest()]);
    let holding = own(&mut world, Scope::Keys(keys(&[50])));
    assert_eq!((holding.coins.len(), &holding.coins), (5 * EACH, &coins_of(&ledger, &[50])));
    let asked = world.servers[0].heard.iter().filter(|heard| **heard == "getcoins").count();
    assert_eq!(asked, 5 * EACH / PEER_PAGE_COINS);
    let coins = |(kind, bytes): &(Kind, u64)| (*kind == Kind::Coins).then_some(*bytes);
    let bytes = world.light.received_bytes().iter().find_map(coins).unwrap();
    assert!((40..51).contains(&(bytes / (5 * EACH as u64))), "{bytes} bytes");
}

#[test]
fn a_transaction_is_handed_to_every_peer_that_asks() {
    let Story { ledger, .. } = story();
    let mut world = world(&ledger, vec![honest(), honest()]);
    let holding = own(&mut world, Scope::Keys(keys(&[50])));
    let (outpoint, coin) = holding.coins.iter().next().unwrap();
    let output = Output::pay(public(60), Amount::from_grains(coin.output.value.as_grains() - 1_000));
    let tx = spend(&ledger.params, &[(*outpoint, coin.clone(), &key(50))], vec![output]);
    let txid = tx.txid();
    world.light.hand_over(world.now, tx);
    let answers = |world: &World, txid, taken| {
        let is_one = |notice: &&Notice| matches!(notice, Notice::HandedOver { txid: of, taken: is, .. } if (*of, *is) == (txid, taken));
        world.notices.iter().filter(is_one).count()
    };
    world.run_until("both peers", |world| answers(world, txid, true) == 2);
    assert!(world.servers.iter().all(|server| server.node.mempool().contains(&txid)));

    // One that they refuse: it spends the same coin again.
    let output = Output::pay(public(61), Amount::from_grains(coin.output.value.as_grains() - 1_000));
    let tx = spend(&ledger.params, &[(*outpoint, coin.clone(), &key(50))], vec![output]);
    let txid = tx.txid();
    world.light.hand_over(world.now, tx);
    world.run_until("both refusals", |world| answers(world, txid, false) == 2);
}
