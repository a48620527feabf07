//! Table and lookup against naive models, and against liars.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use proptest::prelude::*;
use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use super::*;
use crate::p2p::bans::Subnet;
use crate::p2p::peer_addr::PeerAddr;
use crate::primitives::time::MonoTime;

fn address(ip: [u8; 4]) -> PeerAddr {
    PeerAddr::from((ip, 7331))
}

/// A node of its own part of the public net.
fn public(id: NodeId) -> Contact {
    Contact { id, address: address([11 + id.0[28] % 100, id.0[29], id.0[30], id.0[31]]) }
}

/// A node of one private net.
fn private(id: NodeId) -> Contact {
    Contact { id, address: address([10, id.0[29], id.0[30], id.0[31]]) }
}

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// A table's invariants.
fn assert_sound(table: &Table, k: usize) {
    let mut addresses = BTreeSet::new();
    let mut subnets: BTreeMap<Subnet, usize> = BTreeMap::new();
    for (number, bucket) in table.buckets() {
        assert!(bucket.places.len() <= k && bucket.waiting.len() <= k);
        assert!(bucket.waiting.is_empty() || bucket.places.len() == k, "a contact waits although a place is free");
        for entries in [&bucket.places, &bucket.waiting] {
            assert!(entries.is_sorted_by_key(|entry| entry.seen), "not in the order of when they last answered");
        }
        let mut here: BTreeMap<Subnet, usize> = BTreeMap::new();
        for entry in bucket.iter() {
            assert_eq!(table.own().distance(&entry.contact.id).bucket(), Some(number), "in the wrong bucket");
            assert!(addresses.insert(entry.contact.address), "twice at {}", entry.contact.address);
            if let Some(subnet) = entry.subnet {
                *here.entry(subnet).or_default() += 1;
                *subnets.entry(subnet).or_default() += 1;
            }
        }
        assert!(here.values().all(|count| *count <= MAX_PER_SUBNET_IN_BUCKET), "{here:?}");
    }
    assert!(subnets.values().all(|count| *count <= MAX_PER_SUBNET), "{subnets:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A table keeps its bounds and finds the same nearest contacts as a sorted list.
    #[test]
    fn a_table_is_sound_and_answers_as_a_sorted_list(
        seed in any::<u64>(),
        own in any::<[u8; 32]>(),
        steps in prop::collection::vec((0u8..10, 0u8..=255, any::<u16>()), 1..300),
    ) {
        const PLACES: usize = 4;
        let (mut rng, own) = (rng(seed), NodeId(own));
        let mut table = Table::new(own, PLACES);
        let mut met: Vec<Contact> = Vec::new();
        for (now, (what, bucket, pick)) in steps.into_iter().enumerate() {
            let old = met.get(usize::from(pick) % met.len().max(1)).copied();
            let answers = match (what, old) {
                (0..=2, Some(old)) => {
                    table.failed(&old);
                    continue;
                }
                (3..=4, Some(old)) => old,
                // The same node elsewhere, and another node there.
                (5, Some(old)) => Contact { id: old.id, address: address([77, 1, 1, pick as u8]) },
                (6, Some(old)) => Contact { id: NodeId::random(&mut rng), ..old },
                _ => public(own.random_in(255 - bucket % 8, &mut rng)),
            };
            met.push(answers);
            table.answered(MonoTime::from_millis(now as u64), answers);
            assert_sound(&table, PLACES);
        }
        let target = NodeId::random(&mut rng);
        for count in [1, PLACES, 1_000] {
            let good = |entry: &&bucket::Entry| entry.failures == 0;
            let mut naive: Vec<Contact> =
                table.buckets().flat_map(|(_, bucket)| bucket.places.iter().filter(good)).map(|entry| entry.contact).collect();
            if naive.is_empty() {
                naive = table.contacts().copied().collect();
            }
            naive.sort_unstable_by_key(|contact| contact.id.distance(&target));
            naive.truncate(count);
            prop_assert_eq!(table.closest(&target, count), naive);
        }
    }

    /// In a network of honest nodes with full knowledge of their neighbourhoods, a lookup finds exactly the nearest, whatever
    /// the order of answers and however many are dead.
    #[test]
    fn a_lookup_finds_the_nearest_of_all(seed in any::<u64>(), nodes in 2usize..120, dead in 0usize..40, alpha in 1usize..6) {
        let mut rng = rng(seed);
        let mut all: Vec<Contact> = (0..nodes).map(|_| private(NodeId::random(&mut rng))).collect();
        all.shuffle(&mut rng);
        let mut tables: BTreeMap<NodeId, Table> = BTreeMap::new();
        for contact in &all {
            let mut table = Table::new(contact.id, K);
            for other in &all {
                table.answered(MonoTime::START, *other);
            }
            tables.insert(contact.id, table);
        }
        let (own, target) = (all[0].id, NodeId::random(&mut rng));
        let dead: BTreeSet<NodeId> = all.iter().skip(1).take(dead.min(nodes / 3)).map(|contact| contact.id).collect();
        let mut lookup = Lookup::new(own, target, K, alpha, tables[&own].closest(&target, K));
        let mut asked: Vec<Contact> = Vec::new();
        let mut now = MonoTime::START;
        let mut questions = BTreeSet::new();
        while !lookup.is_done() {
            while let Some(contact) = lookup.ask(now) {
                prop_assert!(questions.insert(contact.id), "asked twice");
                asked.push(contact);
                prop_assert!(asked.len() <= alpha);
            }
            now += Duration::from_millis(1);
            let next = asked.swap_remove(rng.random_range(0..asked.len()));
            if dead.contains(&next.id) {
                lookup.failed(&next.id);
            } else {
                prop_assert!(lookup.answered(&next.id, &tables[&next.id].closest(&target, K)));
                prop_assert!(!lookup.answered(&next.id, &[]), "answered twice");
            }
        }
        let mut truth: Vec<Contact> =
            all.iter().filter(|contact| contact.id != own && !dead.contains(&contact.id)).copied().collect();
        truth.sort_unstable_by_key(|contact| contact.id.distance(&target));
        truth.truncate(K);
        // With a third dead, some of the nearest may be known to dead ones alone.
        if dead.is_empty() {
            prop_assert_eq!(lookup.found().copied().collect::<Vec<_>>(), truth);
        } else {
            prop_assert!(lookup.found().all(|contact| !dead.contains(&contact.id)));
        }
    }
}

#[test]
fn the_oldest_goes_only_if_it_does_not_answer() {
    let mut rng = rng(1);
    let own = NodeId([0; 32]);
    let mut table = Table::new(own, 3);
    let ids: Vec<Contact> = (0..6).map(|_| public(own.random_in(255, &mut rng))).collect();
    for (now, contact) in ids[..3].iter().enumerate() {
        assert_eq!(table.answered(MonoTime::from_millis(now as u64), *contact), Insertion::Kept);
    }
    assert_eq!(
        table.answered(MonoTime::from_millis(10), ids[3]),
        Insertion::Full { ping: None },
        "all were heard of a moment ago"
    );
    let later = |millis: u64| MonoTime::START + CHECK_AGE + Duration::from_millis(millis);
    assert_eq!(table.answered(later(0), ids[3]), Insertion::Full { ping: Some(ids[0]) });
    assert_eq!(table.answered(later(0), ids[4]), Insertion::Full { ping: None }, "it is being asked");
    // It answers, and is now the one heard of last.
    assert_eq!(table.answered(later(1), ids[0]), Insertion::Kept);
    assert_eq!(table.answered(later(2), ids[5]), Insertion::Full { ping: Some(ids[1]) });
    table.failed(&ids[1]);
    let places: BTreeSet<NodeId> = table.contacts().map(|contact| contact.id).collect();
    assert_eq!(places, [ids[0].id, ids[2].id, ids[5].id].into(), "the last that answered has the place");
    // Without a replacement, failing contacts stay, are not handed out, and are replaced by the first that answers.
    [ids[3], ids[4]].iter().for_each(|waiting| table.failed(waiting));
    table.failed(&ids[2]);
    assert_eq!(table.len(), 3);
    assert!(!table.closest(&own, 9).contains(&ids[2]));
    assert_eq!(table.answered(later(3), ids[3]), Insertion::Kept);
    assert!(!table.contacts().any(|contact| *contact == ids[2]));
    // When all fail, it is more likely this node that has no network.
    let left: Vec<Contact> = table.contacts().copied().collect();
    left.iter().for_each(|contact| table.failed(contact));
    assert_eq!(table.closest(&own, 9).len(), 3);
}

#[test]
fn buckets_without_a_lookup_are_stale() {
    let mut rng = rng(2);
    let own = NodeId::random(&mut rng);
    let mut table = Table::new(own, K);
    assert!(table.stale(MonoTime::START).is_empty());
    table.answered(MonoTime::START, public(own.random_in(250, &mut rng)));
    assert_eq!(
        table.stale(MonoTime::START),
        [250, 251, 252, 253, 254, 255],
        "at the start all, down to the nearest contact's"
    );
    let looked = MonoTime::from_millis(5);
    for bucket in 251..=255 {
        table.record_lookup(looked, &own.random_in(bucket, &mut rng));
    }
    table.record_lookup(looked, &own);
    assert_eq!(table.stale(looked), [250]);
    assert_eq!(table.stale(looked + REFRESH_INTERVAL), [250, 251, 252, 253, 254, 255]);
}

#[test]
fn one_subnet_gets_few_places_in_the_public_net() {
    let mut rng = rng(3);
    let own = NodeId::random(&mut rng);
    let mut table = Table::new(own, K);
    for step in 0..20_000u64 {
        let id = own.random_in(255 - (step % 20) as u8, &mut rng);
        table.answered(
            MonoTime::from_millis(step),
            Contact { id, address: PeerAddr::from(([8, 8, 8, rng.random()], rng.random_range(1..9))) },
        );
        let ip: std::net::Ipv6Addr =
            std::net::Ipv6Addr::from_bits(0x2600_0001_0002 << 80 | rng.random::<u64>() as u128);
        table.answered(
            MonoTime::from_millis(step),
            Contact { id: own.random_in(255, &mut rng), address: (ip, 1).into() },
        );
    }
    assert_sound(&table, K);
    assert!(table.len() <= 2 * MAX_PER_SUBNET, "{}", table.len());
    // A private network has all its nodes in one.
    let mut table = Table::new(own, K);
    for _ in 0..1_000 {
        table.answered(MonoTime::START, private(NodeId::random(&mut rng)));
    }
    assert!(table.len() > 4 * K);
    for (address, refusal) in [("0.0.0.0:1", Refusal::Address), ("8.8.8.8:0", Refusal::Address)] {
        let contact = Contact { id: NodeId([1; 32]), address: address.parse().unwrap() };
        assert_eq!(table.answered(MonoTime::START, contact), Insertion::Refused(refusal));
    }
    assert_eq!(table.answered(MonoTime::START, public(own)), Insertion::Refused(Refusal::Own));
}

/// Thousands of invented ids around this node's own fill the empty buckets next to it and leave the rest of the table
/// unchanged.
#[test]
fn a_flood_of_sybils_evicts_no_contact() {
    let mut rng = rng(4);
    let own = NodeId::random(&mut rng);
    let mut table = Table::new(own, K);
    for _ in 0..2_000 {
        table.answered(MonoTime::START, public(NodeId::random(&mut rng)));
    }
    let honest: Vec<Contact> = table.contacts().copied().collect();
    for step in 0..10_000u64 {
        let sybil =
            Contact { id: own.random_in(rng.random(), &mut rng), address: public(NodeId::random(&mut rng)).address };
        table.answered(MonoTime::from_millis(step), sybil);
    }
    assert_sound(&table, K);
    assert!(table.len() <= 256 * K);
    let now: BTreeSet<NodeId> = table.contacts().map(|contact| contact.id).collect();
    assert!(honest.iter().all(|contact| now.contains(&contact.id)), "an honest contact was pushed out");
}

/// A liar who names ids that do not exist, nearer than any, costs one time-out, and its path only.
#[test]
fn invented_ids_are_dropped_after_a_time_out() {
    let mut rng = rng(8);
    let (own, target) = (NodeId::random(&mut rng), NodeId([0; 32]));
    let [liar, honest, near] = [255, 254, 253].map(|bucket| public(target.random_in(bucket, &mut rng)));
    for paths in [1, 2] {
        let mut lookup = Lookup::along(paths, own, target, K, ALPHA, [liar, honest]);
        assert_eq!([lookup.ask(MonoTime::START), lookup.ask(MonoTime::START)].map(Option::unwrap).len(), 2);
        let invented: Vec<Contact> = (0..K).map(|_| public(target.random_in(200, &mut rng))).collect();
        assert!(lookup.answered(&liar.id, &invented) && lookup.answered(&honest.id, &[near]));
        let asked: Vec<Contact> = std::iter::from_fn(|| lookup.ask(MonoTime::START)).collect();
        assert_eq!(asked.contains(&near), paths == 2, "the other path has its turn");
        let late = MonoTime::START + QUERY_TIMEOUT;
        lookup.answered(&near.id, &[]);
        lookup.tick(late);
        let rest: Vec<Contact> = std::iter::from_fn(|| lookup.ask(late)).collect();
        if paths == 1 {
            assert_eq!(rest, [near], "no more of what was invented");
            lookup.answered(&near.id, &[]);
        } else {
            let left: Vec<&Contact> = rest.iter().filter(|contact| !invented.contains(contact)).collect();
            assert!(left.is_empty() && rest.len() <= ALPHA, "{rest:?}");
            lookup.tick(late + QUERY_TIMEOUT);
        }
        assert!(lookup.is_done(), "{lookup:?}");
        assert_eq!(lookup.found().copied().collect::<Vec<_>>(), [near, honest, liar]);
    }
}

/// Liars answer every query with ever nearer ids that do not exist.
#[test]
fn a_lookup_of_invented_ids_ends() {
    for believes in [true, false] {
        let mut rng = rng(5);
        let (own, target) = (NodeId::random(&mut rng), NodeId::random(&mut rng));
        let start: Vec<Contact> = (0..K).map(|_| public(NodeId::random(&mut rng))).collect();
        let mut lookup = Lookup::new(own, target, K, ALPHA, start);
        let (mut now, mut asked, mut bucket) = (MonoTime::START, 0, 255u8);
        while !lookup.is_done() {
            while let Some(contact) = lookup.ask(now) {
                asked += 1;
                bucket = bucket.saturating_sub(1);
                let told: Vec<Contact> = (0..1_000)
                    .map(|_| Contact {
                        id: target.random_in(bucket, &mut rng),
                        address: public(NodeId::random(&mut rng)).address,
                    })
                    .collect();
                if believes || asked <= K {
                    lookup.answered(&contact.id, &told);
                }
            }
            assert!(lookup.candidates() <= CANDIDATES_PER_PLACE * K);
            if let Some(deadline) = lookup.deadline() {
                now = deadline;
                assert!(!lookup.tick(now).is_empty());
            }
        }
        assert!(asked <= CANDIDATES_PER_PLACE * K, "{asked} asked");
        assert_eq!(lookup.ask(now), None);
        assert!(lookup.found().count() > 0);
    }
}

#[test]
fn a_lookup_drops_bad_hints_and_takes_few_of_one_subnet() {
    let mut rng = rng(6);
    let (own, target) = (NodeId::random(&mut rng), NodeId::random(&mut rng));
    let teller = public(NodeId::random(&mut rng));
    let fresh = || Lookup::new(own, target, K, ALPHA, [teller]);
    let mut told = |lookup: &mut Lookup, addresses: &[PeerAddr]| {
        assert_eq!(lookup.ask(MonoTime::START), Some(teller));
        let told: Vec<Contact> =
            addresses.iter().map(|address| Contact { id: NodeId::random(&mut rng), address: *address }).collect();
        assert!(lookup.answered(&teller.id, &told));
        lookup.candidates() - 1
    };
    let foul = ["10.0.0.1:1", "127.0.0.1:1", "0.0.0.0:1", "[::1]:1", "9.9.9.9:0", "224.0.0.1:1"];
    assert_eq!(told(&mut fresh(), &foul.map(|address| address.parse().unwrap())), 0);
    let wall: Vec<PeerAddr> = (0..16).map(|host| address([8, 8, 8, host])).collect();
    assert_eq!(told(&mut fresh(), &wall), MAX_HINTS_PER_SUBNET);
    let many: Vec<PeerAddr> = (0..100).map(|net| address([8, 8, net, 1])).collect();
    assert_eq!(told(&mut fresh(), &many), K, "no answer is longer");
    // Unsolicited answers are ignored.
    let mut lookup = fresh();
    assert!(!lookup.answered(&teller.id, &[public(own)]));
    assert!(!lookup.answered(&NodeId([9; 32]), &[public(NodeId([8; 32]))]));
    assert_eq!(lookup.candidates(), 1);
}

#[test]
fn a_late_answer_counts_and_frees_nothing_twice() {
    let mut rng = rng(7);
    let target = NodeId::random(&mut rng);
    let start: Vec<Contact> = (0..5).map(|_| public(NodeId::random(&mut rng))).collect();
    let mut lookup = Lookup::new(NodeId::random(&mut rng), target, K, 2, start);
    let asked = [lookup.ask(MonoTime::START).unwrap(), lookup.ask(MonoTime::from_millis(1)).unwrap()];
    assert_eq!(
        (lookup.ask(MonoTime::from_millis(2)), lookup.deadline()),
        (None, Some(MonoTime::START + QUERY_TIMEOUT))
    );
    assert_eq!(lookup.tick(MonoTime::START + QUERY_TIMEOUT), asked[..1]);
    assert!(lookup.answered(&asked[0].id, &[]));
    lookup.failed(&asked[0].id);
    assert_eq!(lookup.found().next(), Some(&asked[0]));
    assert!(lookup.ask(MonoTime::from_millis(3)).is_some());
    assert_eq!(lookup.ask(MonoTime::from_millis(3)), None, "two are asked");
}
