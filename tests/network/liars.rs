//! Peers that lie, each beside an honest peer: the victim detects the liar and ends up where it would have without it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn::consensus::error::RuleError;
use cairn::consensus::params::Params;
use cairn::p2p::message::{Hello, Item, MAX_HEADERS, MIN_PROTOCOL_VERSION, Message, SERVICE_FULL, TipClaim};
use cairn::p2p::misbehaviour::Offence;
use cairn::p2p::{Command, Config, Direction, Event, Input, Now, Output, PeerAddr, PeerId, Reason};
use cairn::primitives::amount::Amount;
use cairn::primitives::block::Block;
use cairn::primitives::hash::{BlockHash, Txid};
use cairn::primitives::header::Header;
use cairn::primitives::height::Height;
use cairn::primitives::target::Bits;
use cairn::primitives::tx::Transaction;
use cairn::sim::{NetworkConditions, Script, Sim};

use crate::{Seed, mine, params, payment, spend};
use cairn_testkit::Ledger;

/// A hello that claims more work than any node has.
pub(crate) fn boast(params: &Params) -> Hello {
    let work = Bits(0x0300_0001).target().unwrap().work();
    let tip = TipClaim { height: Height::from_u32(1_000_000), hash: BlockHash::of(b"far ahead"), work };
    Hello { tip, user_agent: "/liar/".to_owned(), ..Hello::new(params.genesis_hash, SERVICE_FULL) }
}

/// A script that says hello, answers pings, and for the rest does as `answer` says, which is asked after the hello too.
/// It dials `dial`, if that is given.
pub(crate) fn liar(
    hello: Hello,
    dial: Option<PeerAddr>,
    mut answer: impl FnMut(&Message) -> Vec<Message> + 'static,
) -> Script {
    let mut dialled = Vec::new();
    Box::new(move |_: Now, input: Input| {
        let send = |peer: PeerId, messages: Vec<Message>| {
            messages.into_iter().map(|message| Output::Send { peer, frame: message.into() }).collect::<Vec<_>>()
        };
        match input {
            Input::Tick => dial.iter().map(|address| Output::Connect { address: *address, id: None }).collect(),
            Input::Connected { peer, direction: Direction::Outbound, .. } => {
                dialled.push(peer);
                send(peer, vec![Message::Hello(hello.clone())])
            }
            Input::Received { peer, message: Message::Ping(nonce), .. } => send(peer, vec![Message::Pong(nonce)]),
            Input::Received { peer, message, .. } => {
                let mut messages = Vec::new();
                if matches!(message, Message::Hello(_)) && !dialled.contains(&peer) {
                    messages.push(Message::Hello(hello.clone()));
                }
                messages.extend(answer(&message));
                send(peer, messages)
            }
            _ => Vec::new(),
        }
    })
}

/// Node 0 is honest and has `blocks`; then comes the liar, number 1; then the victim, number 2, which knows the liar
/// first, and the honest node some seconds later.
pub(crate) fn stage(seed: u64, blocks: u32, script: impl FnOnce(&Sim, &Arc<Params>) -> Script) -> Sim {
    let params = params();
    let mut sim = Sim::new(params.clone(), NetworkConditions::default(), seed);
    sim.add_node(&[]).unwrap();
    mine(&mut sim, 0, blocks);
    let script = script(&sim, &params);
    sim.add_script(script);
    sim.add_node(&[1]).unwrap();
    sim.run_for(Duration::from_secs(3));
    sim.command(VICTIM, |reply| Command::AddNode(Sim::address(0), None, reply));
    sim
}

pub(crate) const VICTIM: usize = 2;
const LIAR: usize = 1;

fn has_synced(sim: &Sim) -> bool {
    sim.node(VICTIM).unwrap().chain().tip().hash == sim.node(0).unwrap().chain().tip().hash
}

/// Why the victim ended its connections with the liar.
fn verdicts(sim: &Sim) -> Vec<Reason> {
    let liar = Sim::address(LIAR).ip();
    let ended = sim.events(VICTIM).iter().filter_map(|(_, event)| match event {
        Event::PeerDisconnected { address, reason, .. } if address.ip() == liar => Some(reason.clone()),
        _ => None,
    });
    ended.collect()
}

/// The victim has the honest chain, and has banned the liar for what `offence` recognises.
fn assert_banned(mut sim: Sim, offence: impl Fn(&Offence) -> bool) {
    let both = |sim: &Sim| has_synced(sim) && !verdicts(sim).is_empty();
    let done = sim.run_until(Duration::from_secs(60), both);
    let verdicts = verdicts(&sim);
    assert!(done, "synced: {}, verdicts: {verdicts:?}", has_synced(&sim));
    assert!(matches!(&verdicts[0], Reason::Misbehaved(got) if offence(got)), "{verdicts:?}");
    let bans = sim.node(VICTIM).unwrap().bans(sim.now());
    assert_eq!(bans.len(), 1);
    assert!(bans[0].0.contains(Sim::address(LIAR).ip()));
}

fn header_of(sim: &Sim, height: u32) -> Header {
    sim.node(0).unwrap().chain().entry_at(Height::from_u32(height)).unwrap().header
}

#[test]
fn headers_without_proof_of_work_ban_their_sender() {
    let seed = Seed::new(30);
    let sim = stage(seed.0, 50, |sim, params| {
        let mut bad = header_of(sim, 1);
        cairn_testkit::unmine(&mut bad);
        liar(boast(params), None, move |message| match message {
            Message::GetHeaders { .. } => vec![Message::Headers(vec![bad])],
            _ => Vec::new(),
        })
    });
    assert_banned(sim, |offence| matches!(offence, Offence::BadHeader { rule: RuleError::HighHash { .. }, .. }));
}

#[test]
fn headers_with_wrong_bits_ban_their_sender() {
    let seed = Seed::new(31);
    let sim = stage(seed.0, 50, |sim, params| {
        let mut bad = Header { bits: Bits(0x2070_0000), ..header_of(sim, 1) };
        cairn_testkit::mine(&mut bad);
        liar(boast(params), None, move |message| match message {
            Message::GetHeaders { .. } => vec![Message::Headers(vec![bad])],
            _ => Vec::new(),
        })
    });
    assert_banned(sim, |offence| matches!(offence, Offence::BadHeader { rule: RuleError::WrongBits { .. }, .. }));
}

#[test]
fn unlinked_headers_ban_their_sender() {
    let seed = Seed::new(32);
    let sim = stage(seed.0, 50, |sim, params| {
        let headers = vec![header_of(sim, 1), header_of(sim, 3)];
        liar(boast(params), None, move |message| match message {
            Message::GetHeaders { .. } => vec![Message::Headers(headers.clone())],
            _ => Vec::new(),
        })
    });
    assert_banned(sim, |offence| matches!(offence, Offence::UnlinkedHeaders));
}

/// Serves a private chain, body by body.
pub(crate) fn server(params: &Params, blocks: Vec<Block>) -> Script {
    liar(boast(params), None, move |message| serve(&blocks, message))
}

fn serve(blocks: &[Block], message: &Message) -> Vec<Message> {
    match message {
        Message::GetHeaders { locator, .. } => {
            let known = |block: &Block| locator.contains(&block.hash());
            let start = blocks.iter().rposition(known).map_or(0, |at| at + 1);
            let headers = blocks[start..].iter().take(MAX_HEADERS).map(|block| block.header).collect();
            vec![Message::Headers(headers)]
        }
        Message::GetData(items) => items
            .iter()
            .filter_map(|item| {
                // A whole block is an answer to either question.
                let asked = |hash| [Item::Block(hash), Item::CompactBlock(hash)].contains(item);
                blocks.iter().find(|block| asked(block.hash()))
            })
            .map(|block| Message::Block(Arc::new(block.clone())))
            .collect(),
        _ => Vec::new(),
    }
}

#[test]
fn a_bad_block_in_a_longer_chain_bans_its_sender() {
    let seed = Seed::new(33);
    let mut bad = BlockHash::ZERO;
    let mut sim = stage(seed.0, 50, |_, params| {
        let mut ledger = Ledger::on(params);
        let mut blocks = ledger.extend(40, 0);
        // The coinbase takes too much; the header is valid.
        let mut block = ledger.block(Vec::new());
        block.transactions[0].outputs[1].value =
            block.transactions[0].outputs[1].value.saturating_add(Amount::from_grains(1));
        cairn_testkit::seal(&mut block);
        bad = block.hash();
        blocks.push(block);
        // Whatever comes after it is more work than the honest chain has.
        for time in 0..30 {
            let last = blocks.last().unwrap();
            let mut header =
                Header { previous: last.hash(), time: last.header.time + 1 + time, nonce: 0, ..last.header };
            cairn_testkit::mine(&mut header);
            blocks.push(Block { header, transactions: last.transactions.clone() });
        }
        server(params, blocks)
    });
    assert!(sim.run_until(Duration::from_secs(60), |sim| {
        sim.node(VICTIM).unwrap().chain().entry(&bad).is_some_and(|e| e.is_invalid())
    }));
    let rule =
        RuleError::CoinbaseTooHigh { got: Amount::from_grains(5_000_000_001), max: Amount::from_grains(5_000_000_000) };
    assert_banned(sim, |offence| *offence == Offence::BadBlock { hash: bad, rule: rule.clone() });
}

#[test]
fn a_body_that_does_not_match_its_header_bans_its_sender() {
    let seed = Seed::new(34);
    let sim = stage(seed.0, 50, |sim, params| {
        let chain = sim.node(0).unwrap().chain();
        let mut blocks: Vec<Block> = (1..=50)
            .map(|height| chain.db().block(&chain.entry_at(Height::from_u32(height)).unwrap().key()).unwrap().unwrap())
            .collect();
        for block in &mut blocks {
            block.transactions[0].outputs[0].value =
                block.transactions[0].outputs[0].value.saturating_sub(Amount::from_grains(1));
        }
        // It has the honest headers, and nothing else that is true.
        server(params, blocks)
    });
    assert_banned(sim, |offence| matches!(offence, Offence::BadBlock { rule: RuleError::WrongMerkleRoot { .. }, .. }));
}

#[test]
fn a_peer_that_sends_no_headers_is_disconnected_and_not_banned() {
    let seed = Seed::new(35);
    let mut sim = stage(seed.0, 50, |_, params| liar(boast(params), None, |_| Vec::new()));
    assert!(sim.run_until(Duration::from_secs(60), |sim| has_synced(sim) && !verdicts(sim).is_empty()));
    assert_eq!(verdicts(&sim)[..1], [Reason::Stalled]);
    assert!(sim.node(VICTIM).unwrap().bans(sim.now()).is_empty(), "slowness is no crime");
}

#[test]
fn a_peer_that_sends_no_bodies_does_not_stop_the_sync() {
    let seed = Seed::new(36);
    let mut sim = stage(seed.0, 400, |sim, params| {
        let headers: Vec<Header> = (1..=400).map(|height| header_of(sim, height)).collect();
        liar(boast(params), None, move |message| match message {
            Message::GetHeaders { .. } => vec![Message::Headers(headers.clone())],
            _ => Vec::new(),
        })
    });
    assert!(
        sim.run_until(Duration::from_secs(30), has_synced),
        "at {}",
        sim.node(VICTIM).unwrap().chain().tip().height
    );
    // A peer that did not answer is not asked again while there is another.
    mine(&mut sim, 0, 100);
    assert!(sim.run_until(Duration::from_secs(5), has_synced));
}

/// A branch with less work than the victim's chain is not stored, however long.
#[test]
fn headers_with_little_work_are_not_stored() {
    let seed = Seed::new(37);
    let params = params();
    let mut sim = Sim::new(params.clone(), NetworkConditions::default(), seed.0);
    sim.add_node(&[]).unwrap();
    mine(&mut sim, 0, 2_200);
    let blocks = Ledger::on(&params).extend(MAX_HEADERS as u32, 0);
    let batch: Vec<Header> = blocks.iter().map(|block| block.header).collect();
    let asked = Arc::new(Mutex::new(0));
    let counter = asked.clone();
    let script = liar(boast(&params), Some(Sim::address(0)), move |message| match message {
        Message::GetHeaders { .. } => {
            *counter.lock().unwrap() += 1;
            vec![Message::Headers(batch.clone())]
        }
        _ => Vec::new(),
    });
    sim.add_script(script);
    sim.run_for(Duration::from_secs(60));
    assert!(*asked.lock().unwrap() >= 2, "it was asked to go on");
    assert_eq!(sim.node(0).unwrap().chain().header_count(), 2_201, "nothing was stored");
}

/// Easy headers with one at their end that claims great difficulty: none of them is stored.
#[test]
fn headers_with_little_work_under_a_great_claim_are_not_stored() {
    let seed = Seed::new(48);
    let params = params();
    let mut sim = Sim::new(params.clone(), NetworkConditions::default(), seed.0);
    sim.add_node(&[]).unwrap();
    mine(&mut sim, 0, 400);
    let mut batch: Vec<Header> = Ledger::on(&params).extend(200, 0).iter().map(|block| block.header).collect();
    let last = batch[199];
    batch.push(Header { previous: last.hash(), bits: Bits(0x0300_0001), time: last.time + 1, ..last });
    let script = liar(boast(&params), Some(Sim::address(0)), move |message| match message {
        Message::GetHeaders { .. } => vec![Message::Headers(batch.clone())],
        _ => Vec::new(),
    });
    sim.add_script(script);
    sim.run_for(Duration::from_secs(10));
    assert_eq!(sim.node(0).unwrap().bans(sim.now()).len(), 1);
    assert_eq!(sim.node(0).unwrap().chain().header_count(), 401);
}

/// A reorganisation deeper than one message of headers: its work is proven first, then it is stored.
#[test]
fn a_deep_fork_with_more_work_goes_through() {
    let seed = Seed::new(38);
    let params = params();
    let mut sim = Sim::new(params.clone(), NetworkConditions::default(), seed.0);
    sim.add_node(&[]).unwrap();
    mine(&mut sim, 0, 2_200);
    let mut ledger = Ledger::on(&params);
    let blocks = ledger.extend(2_300, 0);
    let tip = ledger.tip().hash();
    let script = liar(boast(&params), Some(Sim::address(0)), move |message| serve(&blocks, message));
    sim.add_script(script);
    assert!(sim.run_until(Duration::from_secs(60), |sim| sim.node(0).unwrap().chain().tip().hash == tip));
}

#[test]
fn a_peer_of_another_genesis_or_an_old_version_is_refused() {
    let seed = Seed::new(39);
    let genesis = params().genesis_hash;
    for (change, expected) in [
        (
            Hello { genesis: BlockHash::ZERO, ..boast(&params()) },
            Reason::WrongGenesis { got: BlockHash::ZERO, expected: genesis },
        ),
        (Hello { version: 0, ..boast(&params()) }, Reason::TooOld { got: 0, min: MIN_PROTOCOL_VERSION }),
    ] {
        let mut sim = stage(seed.0, 5, |_, _| liar(change, None, |_| Vec::new()));
        assert!(sim.run_until(Duration::from_secs(10), |sim| has_synced(sim) && !verdicts(sim).is_empty()));
        assert_eq!(verdicts(&sim)[0], expected);
    }
}

#[test]
fn a_node_that_dials_its_own_address_disconnects_and_forgets_it() {
    let seed = Seed::new(40);
    let mut sim = Sim::new(params(), NetworkConditions::default(), seed.0);
    sim.add_node(&[0]).unwrap();
    sim.run_for(Duration::from_secs(120));
    let ended = sim.events(0).iter().filter_map(|(_, event)| match event {
        Event::PeerDisconnected { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(ended.collect::<Vec<_>>(), [Reason::SelfConnection], "once, and never again");
    assert!(sim.node(0).unwrap().known_addresses().is_empty());
}

#[test]
fn endless_announcements_ban_their_sender() {
    let seed = Seed::new(41);
    let mut sim = stage(seed.0, 5, |_, params| {
        let mut next = 0u64;
        let mut flood = move |n: usize| {
            let batches = (0..n).map(|_| {
                let ids = (0..2_000).map(|_| {
                    next += 1;
                    Item::Transaction(Txid::of(&next.to_le_bytes()))
                });
                Message::Inventory(ids.collect())
            });
            batches.collect()
        };
        liar(boast(params), None, move |message| match message {
            Message::Hello(_) => flood(30),
            // Never delivered, and each request is answered with more.
            Message::GetData(_) => flood(1),
            Message::GetHeaders { .. } => vec![Message::Headers(Vec::new())],
            _ => Vec::new(),
        })
    });
    // Honest payments get through meanwhile.
    let tx = payment(&params(), 1, 1_000);
    sim.submit(0, tx.clone()).unwrap().unwrap();
    assert!(sim.run_until(Duration::from_secs(20), |sim| sim.node(VICTIM).unwrap().mempool().contains(&tx.txid())));
    assert_banned(sim, |offence| matches!(offence, Offence::InventoryFlood));
}

#[test]
fn unrequested_blocks_ban_their_sender() {
    let seed = Seed::new(42);
    let sim = stage(seed.0, 20, |_, params| {
        // Stale blocks of a branch with little work.
        let blocks = Ledger::on(params).extend(10, 0);
        liar(boast(params), None, move |message| match message {
            Message::GetHeaders { .. } => vec![Message::Headers(Vec::new())],
            // Long after the victim has synced.
            Message::Headers(_) | Message::Inventory(_) => {
                let stale = blocks.iter().skip(1).cycle().take(30);
                stale.map(|block| Message::Block(Arc::new(block.clone()))).collect()
            }
            _ => Vec::new(),
        })
    });
    let mut sim = sim;
    assert!(sim.run_until(Duration::from_secs(20), has_synced));
    mine(&mut sim, 0, 1);
    assert_banned(sim, |offence| matches!(offence, Offence::UnrequestedBlock));
}

/// Announces a transaction and delivers it.
fn pusher(params: &Params, tx: Transaction) -> Script {
    let tx = Arc::new(tx);
    liar(boast(params), None, move |message| match message {
        Message::Hello(_) => vec![Message::Inventory(vec![Item::Transaction(tx.txid())])],
        Message::GetData(_) => vec![Message::Transaction(tx.clone())],
        Message::GetHeaders { .. } => vec![Message::Headers(Vec::new())],
        _ => Vec::new(),
    })
}

#[test]
fn a_forged_signature_bans_its_sender() {
    let seed = Seed::new(43);
    let sim = stage(seed.0, 20, |_, params| {
        let mut tx = payment(params, 1, 1_000);
        tx.inputs[0].signature.0[3] ^= 1;
        pusher(params, tx)
    });
    assert_banned(sim, |offence| matches!(offence, Offence::BadTransaction(RuleError::BadSignature { input: 0, .. })));
}

/// Not a lie: the child arrives first, and the node asks its sender for the parent.
#[test]
fn an_orphans_parent_is_asked_for() {
    let seed = Seed::new(44);
    let params = params();
    let parent = payment(&params, 1, 1_000);
    let outpoint = parent.outpoints(parent.txid()).next().unwrap().0;
    let child = spend(&params, outpoint, &parent.outputs[0], 101, 5, 1_000);
    let ids = [parent.txid(), child.txid()];
    let mut sim = stage(seed.0, 5, |_, params| {
        liar(boast(params), None, move |message| match message {
            Message::Hello(_) => vec![Message::Inventory(vec![Item::Transaction(child.txid())])],
            Message::GetData(items) => [&parent, &child]
                .into_iter()
                .filter(|tx| items.contains(&Item::Transaction(tx.txid())))
                .map(|tx| Message::Transaction(Arc::new(tx.clone())))
                .collect(),
            Message::GetHeaders { .. } => vec![Message::Headers(Vec::new())],
            _ => Vec::new(),
        })
    });
    let has_both =
        |sim: &Sim| [0, VICTIM].iter().all(|n| ids.iter().all(|id| sim.node(*n).unwrap().mempool().contains(id)));
    assert!(sim.run_until(Duration::from_secs(10), has_both));
}

/// An announced transaction is withheld: the node fetches it from the next peer that has it.
#[test]
fn a_withheld_payment_is_requested_from_another_peer() {
    let seed = Seed::new(45);
    let tx = payment(&params(), 1, 1_000);
    let txid = tx.txid();
    let mut sim = stage(seed.0, 5, |_, params| {
        liar(boast(params), None, move |message| match message {
            Message::Hello(_) => vec![Message::Inventory(vec![Item::Transaction(txid)])],
            Message::GetHeaders { .. } => vec![Message::Headers(Vec::new())],
            _ => Vec::new(),
        })
    });
    sim.run_for(Duration::from_secs(3));
    sim.submit(0, tx).unwrap().unwrap();
    assert!(sim.run_until(Duration::from_secs(10), |sim| sim.node(VICTIM).unwrap().mempool().contains(&txid)));
}

/// Blocks withheld from all: the next tip is relayed all the same.
#[test]
fn a_withheld_block_does_not_stop_the_relay_of_others() {
    let seed = Seed::new(46);
    let mut sim = stage(seed.0, 20, |_, params| {
        let blocks = Ledger::on(params).extend(60, 0);
        liar(boast(params), None, move |message| match message {
            Message::GetHeaders { .. } => serve(&blocks, message),
            _ => Vec::new(),
        })
    });
    sim.run_for(Duration::from_secs(40));
    assert!(has_synced(&sim));
    let last: Option<BlockHash> = (0..3)
        .map(|_| {
            let hash = sim.mine(VICTIM).unwrap();
            sim.run_for(Duration::from_secs(2));
            hash
        })
        .last();
    assert_eq!(Some(sim.node(0).unwrap().chain().tip().hash), last);
}

/// A peer that dials again and again gets only one slot, and an honest newcomer is accepted.
#[test]
fn one_node_cannot_take_all_places() {
    let seed = Seed::new(47);
    let params = params();
    let mut sim = Sim::new(params.clone(), NetworkConditions::default(), seed.0);
    let config = Config { max_inbound: 8, ..Config::default() };
    sim.add_node_with(config).unwrap();
    let hello = boast(&params);
    let mut count = 0;
    sim.add_script(Box::new(move |_, input| match input {
        Input::Tick => vec![Output::Connect { address: Sim::address(0), id: None }],
        Input::Connected { peer, .. } => {
            count += 1;
            let mut outputs = vec![Output::Send { peer, frame: Message::Hello(hello.clone()).into() }];
            if count < 50 {
                outputs.push(Output::Connect { address: Sim::address(0), id: None });
            }
            outputs
        }
        _ => Vec::new(),
    }));
    sim.run_for(Duration::from_secs(5));
    let from_liar = |sim: &Sim| {
        let peers = sim.node(0).unwrap().peers(sim.now());
        peers.iter().filter(|peer| peer.address.ip() == Sim::address(1).ip()).count()
    };
    assert_eq!(from_liar(&sim), 1);
    let newcomer = sim.add_node(&[0]).unwrap();
    assert!(sim.run_until(Duration::from_secs(10), |sim| sim.node(newcomer).unwrap().connection_counts().1 == 1));
}
