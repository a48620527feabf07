//! Finding content among a million nodes: one node announces that it has it, another finds out, with dead nodes, liars and a
//! wall of ids around the key.
//!
//! The network is that of [`lookup`](super::lookup): tables filled by [`Table`](crate::p2p::kad::Table), and lookups that are
//! [`Lookup`]s. A trial is an announcement, a lookup for the key whose nearest nodes are told, and then a search by another
//! node, which ends like one of the node's own, at the latest after [`SEARCH_TIMEOUT`].

use rand::RngExt;
use rand_chacha::ChaCha20Rng;
use rayon::prelude::*;
use serde::Serialize;

use super::generator;
use super::lookup::{Contacts, LookupSetup, Net, drive, tables};
use super::summary::{Summary, share};
use crate::p2p::announcer::MAX_TOLD;
use crate::p2p::kad::{ALPHA, Contact, K, Lookup, NodeId};
use crate::p2p::providers::MAX_NEARER;
use crate::p2p::search::SEARCH_TIMEOUT;
use crate::primitives::time::MonoTime;

/// Generators: for the kinds of the nodes, and for the trials of each condition.
const KINDS: u64 = 4;
const TRIALS: u64 = 16;

/// The network, and what is tried in it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProvidersSetup {
    /// How many nodes there are.
    pub nodes: u32,
    /// How often content is announced and looked for under each condition.
    pub trials: u32,
    /// The part of all nodes, from 0 to 1, that is dead or lies.
    pub share: f64,
    /// How many ids stand around the key, under one condition each.
    pub walls: Vec<u32>,
    /// The numbers of disjoint paths of a lookup to try.
    pub paths: Vec<u8>,
    /// Where all randomness comes from.
    pub seed: u64,
}

/// What is wrong with the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// All nodes do what they should.
    Honest,
    /// Some do not answer, though others still have them in their tables.
    Dead,
    /// Some work together: they keep no record, and name those of their kind that are nearest to the key.
    Concealing,
    /// Some keep no record, and name nodes that do not exist, nearer to the key than any.
    Inventing,
    /// Nodes nearer to the key than any other, which keep no record and name each other. They are in the tables of all nodes
    /// that have room for them.
    Wall(u32),
}

/// What came of it under one condition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ProvidersReport {
    /// Disjoint paths of a lookup.
    pub paths: u8,
    /// The condition.
    pub condition: Condition,
    /// The part of the searches that found the provider.
    pub success: f64,
    /// Length of the chain of queries that led to the node that named it first, itself included.
    pub hops: Summary,
    /// Questions and answers until then.
    pub messages: Summary,
    /// Milliseconds until then.
    pub millis: Summary,
    /// Questions and answers of a whole search, which looks for all providers.
    pub all_messages: Summary,
    /// Milliseconds of a whole search.
    pub all_millis: Summary,
    /// Questions and answers of an announcement.
    pub announcement: Summary,
    /// Of the [`K`] nodes nearest to the key that do what they should, the part that keeps a record.
    pub kept: f64,
    /// Of the same nodes, the part that answered the search.
    pub coverage: f64,
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Honest,
    Dead,
    Liar,
}

/// A search that found the provider.
struct Hit {
    hop: u32,
    messages: u64,
    millis: u64,
}

struct Trial {
    hit: Option<Hit>,
    messages: u64,
    millis: u64,
    announcement: u64,
    kept: usize,
    covered: usize,
    nearest: usize,
}

/// The network under one condition.
struct World<'a> {
    net: &'a Net<'a>,
    tables: &'a [Contacts],
    condition: Condition,
    kinds: &'a [Kind],
    paths: u8,
}

/// One key, and the wall around it.
struct Place<'a> {
    world: &'a World<'a>,
    key: NodeId,
    /// The liars nearest to it.
    liars: Vec<Contact>,
    /// By distance from it.
    wall: Vec<Contact>,
    /// Distances below 2 to this power are nearer than the nearest node.
    empty_bits: u16,
}

/// Makes the network, and announces and looks for content under each condition. `progress` is told of each of the nodes,
/// and of the trials of each condition, as they are done.
pub fn run(setup: &ProvidersSetup, progress: &(dyn Fn() + Sync)) -> Vec<ProvidersReport> {
    let ProvidersSetup { nodes, seed, .. } = *setup;
    let lookups = LookupSetup { nodes, lookups: 0, k: K as u8, alpha: ALPHA as u8, dead: 0.0, seed };
    let net = Net::new(&lookups);
    let tables = tables(&net, progress);
    let conditions = setup.conditions();
    let all = setup.paths.iter().flat_map(|paths| conditions.iter().map(|condition| (*paths, *condition)));
    let report = |(paths, condition)| {
        let kinds = setup.kinds(condition);
        let world = World { net: &net, tables: &tables, condition, kinds: &kinds, paths };
        let trial = |number| world.trial(seed, number);
        let trials: Vec<Trial> =
            (0..setup.trials).into_par_iter().map(trial).inspect(|_| progress()).flatten_iter().collect();
        summarise(paths, condition, &trials)
    };
    all.map(report).collect()
}

impl ProvidersSetup {
    /// How often `progress` of [`run`] is told.
    pub fn steps(&self) -> u64 {
        let runs = self.conditions().len() * self.paths.len();
        u64::from(self.nodes) + runs as u64 * u64::from(self.trials)
    }

    fn conditions(&self) -> Vec<Condition> {
        let faulty = [Condition::Dead, Condition::Concealing, Condition::Inventing];
        let walls = self.walls.iter().map(|ids| Condition::Wall(*ids));
        [Condition::Honest].into_iter().chain(faulty.into_iter().filter(|_| self.share > 0.0)).chain(walls).collect()
    }

    /// What each node does.
    fn kinds(&self, condition: Condition) -> Vec<Kind> {
        let other = match condition {
            Condition::Honest | Condition::Wall(_) => Kind::Honest,
            Condition::Dead => Kind::Dead,
            Condition::Concealing | Condition::Inventing => Kind::Liar,
        };
        let mut rng = generator(self.seed, KINDS, 0);
        let draw = |_| if rng.random_bool(self.share) { other } else { Kind::Honest };
        (0..self.nodes).map(draw).collect()
    }
}

fn summarise(paths: u8, condition: Condition, trials: &[Trial]) -> ProvidersReport {
    let hits = || trials.iter().filter_map(|trial| trial.hit.as_ref());
    let nearest = trials.iter().map(|trial| trial.nearest as u64).sum();
    ProvidersReport {
        paths,
        condition,
        success: share(hits().count() as u64, trials.len() as u64),
        hops: Summary::of(hits().map(|hit| u64::from(hit.hop))),
        messages: Summary::of(hits().map(|hit| hit.messages)),
        millis: Summary::of(hits().map(|hit| hit.millis)),
        all_messages: Summary::of(trials.iter().map(|trial| trial.messages)),
        all_millis: Summary::of(trials.iter().map(|trial| trial.millis)),
        announcement: Summary::of(trials.iter().map(|trial| trial.announcement)),
        kept: share(trials.iter().map(|trial| trial.kept as u64).sum(), nearest),
        coverage: share(trials.iter().map(|trial| trial.covered as u64).sum(), nearest),
    }
}

impl World<'_> {
    /// An honest node drawn at random; `None` if there is none.
    fn draw(&self, rng: &mut ChaCha20Rng, but: Option<u32>) -> Option<u32> {
        let nodes = self.kinds.len() as u32;
        let mut draws = (0..self.kinds.len()).map(|_| rng.random_range(0..nodes));
        draws.find(|node| self.kinds[*node as usize] == Kind::Honest && Some(*node) != but)
    }

    /// One announcement and one search.
    fn trial(&self, seed: u64, number: u32) -> Option<Trial> {
        let mut rng = generator(seed, TRIALS, u64::from(number));
        let key = NodeId::random(&mut rng);
        let provider = self.draw(&mut rng, None)?;
        let seeker = self.draw(&mut rng, Some(provider))?;
        let place = Place::new(self, key, &mut rng);
        let is_honest = |node: usize| self.kinds[node] == Kind::Honest;
        let nearest =
            self.net.nearest(&key, K, |node| is_honest(node) && node != provider as usize && node != seeker as usize);
        let nearest: Vec<NodeId> = nearest.into_iter().map(|node| self.net.ids[node as usize]).collect();

        let ends = Some(MonoTime::START + SEARCH_TIMEOUT);
        let mut announcement = place.lookup(provider);
        let driven =
            drive(&mut announcement, ends, &mut rng, |id| place.is_up(id), |told, rng| place.answer(told.id, rng));
        let told: Vec<NodeId> = announcement.nearest(MAX_TOLD).map(|contact| contact.id).collect();
        let keepers: Vec<NodeId> = told.iter().filter(|id| place.keeps(id)).copied().collect();

        let mut search = place.lookup(seeker);
        let (mut hit, mut answered) = (None, Vec::new());
        // The provider knows best what it has.
        let names = |id: &NodeId| keepers.contains(id) || *id == self.net.ids[provider as usize];
        let found = drive(
            &mut search,
            ends,
            &mut rng,
            |id| place.is_up(id),
            |answering, rng| {
                if names(answering.id) && hit.is_none() {
                    let millis = answering.at.as_millis();
                    hit = Some(Hit { hop: answering.hop, messages: answering.messages, millis });
                }
                answered.push(*answering.id);
                place.answer(answering.id, rng)
            },
        );
        Some(Trial {
            hit,
            messages: found.messages,
            millis: found.end.as_millis(),
            announcement: driven.messages + 2 * told.len() as u64,
            kept: nearest.iter().filter(|id| keepers.contains(id)).count(),
            covered: nearest.iter().filter(|id| answered.contains(id)).count(),
            nearest: nearest.len(),
        })
    }
}

impl<'a> Place<'a> {
    fn new(world: &'a World, key: NodeId, rng: &mut ChaCha20Rng) -> Self {
        let nearest = world.net.nearest(&key, 1, |_| true);
        let distance = nearest.first().map(|node| world.net.ids[*node as usize].distance(&key));
        let empty_bits = distance.and_then(|distance| distance.bucket()).map_or(0, u16::from);
        let is_liar = |node: usize| world.kinds[node] == Kind::Liar;
        let liars = match world.condition {
            Condition::Concealing => world.net.nearest(&key, K, is_liar),
            _ => Vec::new(),
        };
        let mut place = Self {
            world,
            key,
            liars: liars.into_iter().map(|node| world.net.contact(node)).collect(),
            wall: Vec::new(),
            empty_bits,
        };
        if let Condition::Wall(ids) = world.condition {
            place.wall = (0..ids).map(|_| place.invent(rng)).collect();
            place.wall.sort_unstable_by_key(|contact| contact.id.distance(&key));
        }
        place
    }

    /// A node nearer to the key than any other, at an address anywhere.
    fn invent(&self, rng: &mut ChaCha20Rng) -> Contact {
        let (first, last) = self.key.neighbourhood(self.empty_bits);
        let free = NodeId::random(rng);
        let id = std::array::from_fn(|byte| first.0[byte] | free.0[byte] & (first.0[byte] ^ last.0[byte]));
        let host = rng.random_range(0..self.world.kinds.len() as u32);
        Contact { id: NodeId(id), ..self.world.net.contact(host) }
    }

    fn lookup(&self, by: u32) -> Lookup {
        let net = self.world.net;
        let paths = usize::from(self.world.paths);
        Lookup::along(paths, net.ids[by as usize], self.key, K, ALPHA, self.honest_answer(by))
    }

    /// Contacts that a node knows of the wall: as many as its bucket had places for.
    fn known_of_wall(&self, node: u32) -> &[Contact] {
        let net = self.world.net;
        let taken = net.bucket_size(node, &self.world.tables[node as usize], &self.key);
        &self.wall[..K.saturating_sub(taken).min(self.wall.len())]
    }

    fn honest_answer(&self, node: u32) -> Vec<Contact> {
        let mut known = self.known_of_wall(node).to_vec();
        known.extend(self.world.net.closest(node, &self.world.tables[node as usize], &self.key));
        known.truncate(K);
        known
    }

    fn is_up(&self, id: &NodeId) -> bool {
        match self.world.net.number_of(id) {
            Some(node) => self.world.kinds[node as usize] != Kind::Dead,
            None => self.wall.iter().any(|contact| contact.id == *id),
        }
    }

    /// Whether a node that is told keeps a record.
    fn keeps(&self, id: &NodeId) -> bool {
        let is_honest = |node: &u32| self.world.kinds[*node as usize] == Kind::Honest;
        self.world.net.number_of(id).filter(is_honest).is_some_and(|node| {
            let most = MAX_NEARER.saturating_sub(self.known_of_wall(node).len());
            self.world.net.is_near(node, &self.world.tables[node as usize], &self.key, most)
        })
    }

    /// The contacts that a node names.
    fn answer(&self, id: &NodeId, rng: &mut ChaCha20Rng) -> Vec<Contact> {
        let Some(node) = self.world.net.number_of(id) else {
            return self.wall.iter().take(K).copied().collect();
        };
        match (self.world.kinds[node as usize], self.world.condition) {
            (Kind::Honest, _) => self.honest_answer(node),
            (Kind::Liar, Condition::Inventing) => (0..K).map(|_| self.invent(rng)).collect(),
            (Kind::Liar | Kind::Dead, _) => self.liars.clone(),
        }
    }
}
