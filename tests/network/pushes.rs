//! Relay in two modes: transactions are pushed while new, announced and requested otherwise; and useless pushes.

use std::sync::Arc;
use std::time::Duration;

use cairn::consensus::error::RuleError;
use cairn::p2p::fanout::FANOUT;
use cairn::p2p::message::{Hello, Item, Message};
use cairn::p2p::misbehaviour::{BAN_POINTS, Offence};
use cairn::p2p::pushes::{MAX_POINTS, ORPHAN, POINTS_A_SECOND, USELESS};
use cairn::p2p::{Config, Direction, Input, Output, PeerId, Protocol, Reason, Subnet};
use cairn::primitives::hash::Txid;
use cairn::primitives::keys::Signature;
use cairn::primitives::meter;
use cairn::primitives::tx::{HashedTransaction, OutPoint, Transaction};

use crate::connections::{Bench, hello, reasons, sent_to};
use crate::{params, payment, spend};

/// A node with peers that are full nodes, each at its own address.
fn bench(peers: usize) -> (Bench, Vec<PeerId>) {
    let mut bench = Bench::new(Config::default());
    let peers = (0..peers).map(|n| bench.guest(&format!("10.0.{n}.1:5"))).collect();
    (bench, peers)
}

fn push(bench: &mut Bench, peer: PeerId, tx: &Transaction) -> Vec<Output> {
    bench.say(peer, Message::Transaction(Arc::new(tx.clone())))
}

/// The peers that were pushed a transaction, and those that got an announcement.
fn reached(outputs: &[Output], tx: &Transaction, peers: &[PeerId]) -> (Vec<PeerId>, Vec<PeerId>) {
    let got = |peer: &PeerId, wanted: &Message| sent_to(outputs, *peer).contains(wanted);
    let whole = Message::Transaction(Arc::new(tx.clone()));
    let told = Message::Inventory(vec![Item::Transaction(tx.txid())]);
    let among = |wanted: &Message| peers.iter().copied().filter(|peer| got(peer, wanted)).collect();
    (among(&whole), among(&told))
}

/// One's own is pushed at once like any other, to full nodes only, and announced to the rest within the third of a second.
#[test]
fn new_transactions_are_pushed_to_three_and_announced_to_the_rest() {
    let (mut bench, mut peers) = bench(7);
    let light = PeerId(99);
    let address = "10.9.9.9:5".parse().unwrap();
    let id = cairn::p2p::kad::NodeId([9; 32]);
    bench.give(Input::Connected { peer: light, address, direction: Direction::Inbound, id });
    bench.say(light, Message::Hello(Hello { services: 0, ..hello() }));
    peers.push(light);
    let tx = payment(&params(), 1, 1_000);
    bench.node.submit_transaction(bench.now, tx.clone()).unwrap();
    let outputs = bench.give(Input::Tick);
    let (pushed, told) = reached(&outputs, &tx, &peers);
    assert_eq!((pushed.len(), told.len()), (FANOUT, 0));
    assert!(!pushed.contains(&light));
    let outputs = bench.after(Duration::from_millis(350));
    let (again, told) = reached(&outputs, &tx, &peers);
    assert_eq!((again.len(), told.len()), (0, peers.len() - FANOUT));
    assert!(told.contains(&light) && pushed.iter().all(|peer| !told.contains(peer)));
}

#[test]
fn a_pushed_transaction_is_pushed_and_an_announced_one_announced() {
    let (mut bench, peers) = bench(8);
    let (tx, other) = (payment(&params(), 1, 1_000), payment(&params(), 2, 1_000));
    let outputs = push(&mut bench, peers[0], &tx);
    let (pushed, _) = reached(&outputs, &tx, &peers);
    assert_eq!((pushed.len(), pushed.contains(&peers[0])), (FANOUT, false));
    assert_eq!(bench.score(peers[0]), Some(0));
    bench.after(Duration::from_millis(350));

    let outputs = bench.say(peers[1], Message::Inventory(vec![Item::Transaction(other.txid())]));
    assert_eq!(sent_to(&outputs, peers[1]), [Message::GetData(vec![Item::Transaction(other.txid())])]);
    // Another peer pushes it before the asked peer delivers: it is no longer new, and neither peer is at fault.
    let outputs = push(&mut bench, peers[2], &other);
    assert_eq!(reached(&outputs, &other, &peers).0, []);
    assert!(bench.node.mempool().contains(&other.txid()));
    push(&mut bench, peers[1], &other);
    assert_eq!((bench.score(peers[1]), bench.score(peers[2])), (Some(0), Some(0)));
    let (_, told) = reached(&bench.after(Duration::from_millis(350)), &other, &peers);
    assert_eq!(told.len(), peers.len() - 2);
}

/// The node asks the peer that pushed the child for the parent, and accepts both.
#[test]
fn the_parent_of_a_pushed_orphan_is_asked_for() {
    let (mut bench, peers) = bench(5);
    let parent = payment(&params(), 1, 1_000);
    let outpoint = parent.outpoints(parent.txid()).next().unwrap().0;
    let child = spend(&params(), outpoint, &parent.outputs[0], 101, 5, 1_000);
    let outputs = push(&mut bench, peers[0], &child);
    assert_eq!(sent_to(&outputs, peers[0]), [Message::GetData(vec![Item::Transaction(parent.txid())])]);
    assert_eq!(reached(&outputs, &child, &peers).0, [], "it is not passed on before it is good");
    push(&mut bench, peers[0], &parent);
    assert!([parent, child].iter().all(|tx| bench.node.mempool().contains(&tx.txid())));
    assert_eq!(bench.score(peers[0]), Some(0));
}

/// The peer that sent a bad orphan leaves before its parent shows that it is bad, and comes back under another number.
#[test]
fn the_sender_of_a_bad_orphan_does_not_escape_by_leaving() {
    let (mut bench, peers) = bench(2);
    let sender = bench.guest("10.77.0.1:5");
    let parent = payment(&params(), 1, 1_000);
    let outpoint = parent.outpoints(parent.txid()).next().unwrap().0;
    let mut child = spend(&params(), outpoint, &parent.outputs[0], 101, 5, 1_000);
    child.inputs[0].signature = Signature::EMPTY;
    push(&mut bench, sender, &child);
    bench.give(Input::Disconnected { peer: sender });
    let again = bench.guest("10.77.0.1:6");
    let outputs = push(&mut bench, peers[0], &parent);
    assert!(bench.node.mempool().contains(&parent.txid()) && bench.node.mempool().orphan_count() == 0);
    let banned: Vec<Subnet> = bench.node.bans(bench.now).into_iter().map(|(subnet, _)| subnet).collect();
    assert_eq!(banned, [Subnet::host([10, 77, 0, 1].into())]);
    assert_eq!((reasons(&outputs), bench.score(again)), (vec![Reason::Banned], None));
}

/// Pushes transactions until the connection ends; how many it took.
fn pushes_until_banned(bench: &mut Bench, peer: PeerId, mut next: impl FnMut(u32) -> Transaction) -> u64 {
    for count in 1..=5_000 {
        let outputs = push(bench, peer, &next(count as u32));
        if let [reason] = &reasons(&outputs)[..] {
            assert_eq!(*reason, Reason::Misbehaved(Offence::PushFlood));
            return count;
        }
    }
    panic!("it goes on");
}

#[test]
fn known_pushes_are_tolerated_within_an_allowance() {
    let (mut bench, peers) = bench(3);
    let tx = payment(&params(), 1, 1_000);
    push(&mut bench, peers[0], &tx);
    // As fast as the allowance grows, for as long as one likes.
    for _ in 0..10 {
        (0..POINTS_A_SECOND).for_each(|_| drop(push(&mut bench, peers[1], &tx)));
        bench.after(Duration::from_secs(1));
    }
    assert_eq!(bench.score(peers[1]), Some(0));
    // And then all at once.
    let count = pushes_until_banned(&mut bench, peers[1], |_| tx.clone());
    assert_eq!(count, (MAX_POINTS - ORPHAN) / USELESS + 1 + u64::from(BAN_POINTS));
    assert_eq!(bench.score(peers[0]), Some(0));
}

#[test]
fn refused_pushes_are_tolerated_within_an_allowance_and_orphans_in_a_smaller_one() {
    let params = params();
    let genesis = &params.genesis.transactions[0];
    let coin = |n: u32| OutPoint { txid: genesis.txid(), index: n };
    let orphan = |n: u32| {
        let outpoint = OutPoint { txid: Txid::of(&n.to_le_bytes()), index: 0 };
        spend(&params, outpoint, &genesis.outputs[1], 1, 5, 1_000)
    };
    // Without a fee; another each time.
    let free = |n: u32| spend(&params, coin(1 + n % 20), &genesis.outputs[1], (1 + n % 20) as u8, (n / 20) as u8, 0);
    let refused = (MAX_POINTS - ORPHAN) / USELESS + 1;
    for (make, most) in [(&orphan as &dyn Fn(u32) -> Transaction, MAX_POINTS / ORPHAN), (&free, refused)] {
        let (mut bench, peers) = bench(3);
        assert_eq!(pushes_until_banned(&mut bench, peers[0], make), most + u64::from(BAN_POINTS));
        assert!(bench.node.mempool().orphan_count() as u64 <= MAX_POINTS / ORPHAN);
        assert!(bench.node.mempool().is_empty());
    }
}

/// What breaks a rule at every tip is worse than useless.
#[test]
fn a_forged_one_ends_the_connection() {
    let (mut bench, peers) = bench(1);
    let mut tx = payment(&params(), 1, 1_000);
    tx.inputs[0].signature.0[3] ^= 1;
    let outputs = push(&mut bench, peers[0], &tx);
    let rule = RuleError::BadSignature { txid: tx.txid(), input: 0 };
    assert_eq!(reasons(&outputs), [Reason::Misbehaved(Offence::BadTransaction(rule))]);
}

/// Those that come together are checked as one batch, and judged as when each comes alone.
#[test]
fn a_forged_one_among_others_harms_only_its_sender() {
    let honest: Vec<_> = (1..=20).map(|n| Arc::new(payment(&params(), n, 1_000))).collect();
    let mut forged = honest.clone();
    Arc::make_mut(&mut forged[10]).inputs[0].signature.0[3] ^= 1;
    let rule = RuleError::BadSignature { txid: forged[10].txid(), input: 0 };

    let (mut bench, peers) = bench(2);
    let mut give = |peer, transactions: &[Arc<Transaction>]| {
        let transactions: Vec<_> = transactions.iter().cloned().map(HashedTransaction::new).collect();
        let verified = bench.node.signatures_of(&[], &transactions).verify();
        let before = meter::effort();
        let outputs = bench.give(Input::Transactions { peer, transactions, verified });
        let signatures = (meter::effort() - before).signatures;
        (reasons(&outputs), bench.node.mempool().txids(), signatures)
    };
    let ids = |transactions: &[Arc<Transaction>]| transactions.iter().map(|tx| tx.txid()).collect::<Vec<_>>();
    // Those before the forged one together, and that by itself; its sender is gone before the rest.
    let banned = [Reason::Misbehaved(Offence::BadTransaction(rule))];
    assert_eq!(give(peers[0], &forged), (banned.to_vec(), ids(&honest[..10]), 11));
    // The other peer's are all valid, and ten are new.
    assert_eq!(give(peers[1], &honest), (vec![], ids(&honest), 10));
    assert_eq!(give(peers[1], &honest), (vec![], ids(&honest), 0));
    // The first peer is not there any more.
    assert_eq!(give(peers[0], &forged), (vec![], ids(&honest), 0));
}

/// Signatures are checked ahead whatever order the transactions wait in; those of what is refused anyway are not.
#[test]
fn signatures_checked_ahead_are_those_that_matter() {
    let (mut bench, peers) = bench(1);
    let hashed = |tx: &Transaction| HashedTransaction::new(tx.clone());
    let child_of = |parent: &Transaction, from: u8, fee: u64| {
        let outpoint = OutPoint { txid: parent.txid(), index: 0 };
        hashed(&spend(&params(), outpoint, &parent.outputs[0], from, from, fee))
    };
    let first = hashed(&payment(&params(), 1, 1_000));
    let second = child_of(&first, 101, 1_000);
    let third = child_of(&second, 101, 1_000);
    let free = hashed(&payment(&params(), 2, 0));
    let orphan = child_of(&payment(&params(), 3, 1_000), 103, 1_000);
    // The first waits already, with a batch of its own.
    let waiting = [second.clone(), free, orphan, third.clone()];
    let ahead = bench.node.signatures_of(&[&first], &waiting);
    assert_eq!((ahead.len(), ahead.verify()), (2, vec![second.txid(), third.txid()]));
    assert!(bench.node.signatures_of(&[], &waiting).is_empty(), "without their parents");
    // Handed over in order, none of them is checked again; what is here already is left out.
    let verified = bench.node.signatures_of(&[], std::slice::from_ref(&first)).verify();
    bench.give(Input::Transactions { peer: peers[0], transactions: vec![first.clone()], verified });
    let verified = vec![second.txid(), third.txid()];
    let transactions = vec![second.clone(), third.clone()];
    bench.give(Input::Transactions { peer: peers[0], transactions, verified });
    assert_eq!(bench.node.mempool().txids(), [first.txid(), second.txid(), third.txid()]);
    assert!(bench.node.signatures_of(&[], &[first, second, third]).is_empty());
}
