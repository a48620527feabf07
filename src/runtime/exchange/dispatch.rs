//! Asks peers for the blocks that a fetch lacks: several peers at once, the fastest for most; finds others when these do not
//! have what is missing, and asks again elsewhere for what does not come.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval};

use super::gather::{Arrival, Request};
use super::{Answer, Answers, Exchange, FetchError, Peer, Progress};
use crate::ipld::Cid;
use crate::p2p::kad::{Contact, NodeId};
use crate::p2p::wants::{ContentFault, Want};
use crate::p2p::{Command, Event, PeerAddr, PeerId};

/// Blocks that a peer is asked for at a time: at first, and at most.
const WINDOW: [usize; 2] = [4, 32];
/// Time without any answer after which what a peer was asked for is asked of others.
const STALL: Duration = Duration::from_secs(8);
/// Times that a peer may stall before it is asked no more.
const MAX_STALLS: u32 = 2;
/// Blocks in a row that a peer may lack before it is asked no more.
const MAX_LACKING: u32 = 256;
/// Time between two lookups of providers.
const SEARCH_INTERVAL: Duration = Duration::from_secs(3);
/// Most providers that are dialled for a fetch.
const MAX_DIALS: usize = 32;
/// Time in which a provider that is dialled should become a peer.
const DIAL_PATIENCE: Duration = Duration::from_secs(15);
/// Times that a provider is dialled again at once when it closes a connection before it is a peer.
const MAX_REFUSALS: u32 = 3;
/// How often time-outs are looked at.
const TICK: Duration = Duration::from_millis(200);
/// Blocks that wait for a peer that are looked at when one is free.
const LOOK_AHEAD: usize = 64;

/// A peer that has some of it.
struct Source {
    peer: Arc<Peer>,
    in_flight: usize,
    window: usize,
    /// When it last answered, or was first asked.
    last: Instant,
    stalls: u32,
    lacking: u32,
    has_sent: bool,
}

/// A dial to a provider.
struct Dial {
    /// When it was last dialled.
    at: Instant,
    /// Times that it was dialled again because it closed the connection.
    refusals: u32,
}

/// A block that is missing.
struct Missing {
    cid: Cid,
    /// Who was asked last.
    asked: Option<PeerId>,
    /// Who does not have it, or did not send it.
    tried: BTreeSet<PeerId>,
}

pub(super) struct Dispatcher {
    exchange: Exchange,
    root: Cid,
    patience: Duration,
    progress: Arc<Mutex<Progress>>,
    arrivals: blocking::Sender<Arrival>,
    answers: (Answers, mpsc::UnboundedReceiver<(PeerId, Answer)>),
    missing: BTreeMap<Vec<u8>, Missing>,
    /// Those of them that no peer is asked for.
    queue: VecDeque<Vec<u8>>,
    sources: BTreeMap<PeerId, Source>,
    /// Peers that were asked whether they have a block, with that block.
    probed: BTreeMap<PeerId, Vec<u8>>,
    /// Nodes that say that they have it.
    providers: BTreeMap<NodeId, Contact>,
    dialled: BTreeMap<NodeId, Dial>,
    /// Addresses that were dialled for the first time.
    dials: usize,
    liars: BTreeSet<NodeId>,
    /// Those that are asked no more.
    given_up: BTreeSet<PeerId>,
    /// The lookup under way.
    search: Option<u64>,
    searched_at: Option<Instant>,
    last_progress: Instant,
}

impl Dispatcher {
    pub(super) fn new(
        exchange: Exchange,
        root: Cid,
        patience: Duration,
        progress: Arc<Mutex<Progress>>,
        arrivals: blocking::Sender<Arrival>,
    ) -> Self {
        Self {
            exchange,
            root,
            patience,
            progress,
            arrivals,
            answers: mpsc::unbounded_channel(),
            missing: BTreeMap::new(),
            queue: VecDeque::new(),
            sources: BTreeMap::new(),
            probed: BTreeMap::new(),
            providers: BTreeMap::new(),
            dialled: BTreeMap::new(),
            dials: 0,
            liars: BTreeSet::new(),
            given_up: BTreeSet::new(),
            search: None,
            searched_at: None,
            last_progress: Instant::now(),
        }
    }

    /// Works until nothing more is asked of it, or it has waited too long.
    pub(super) async fn run(&mut self, mut requests: mpsc::UnboundedReceiver<Request>) -> Result<(), FetchError> {
        let mut events = self.exchange.0.link.subscribe();
        let mut changes = self.exchange.0.changes.subscribe();
        let mut ticks = interval(TICK);
        loop {
            self.assign();
            self.search().await?;
            tokio::select! {
                request = requests.recv() => match request {
                    None => return Ok(()),
                    Some(Request::Want(cid)) => self.want(cid),
                    Some(Request::False { cid, peer, node }) => self.lied(cid, peer, node).await,
                },
                Some((peer, answer)) = self.answers.1.recv() => self.answered(peer, answer),
                changed = changes.changed() => {
                    changed.map_err(|_| FetchError::Stopped)?;
                    self.look_at_peers();
                }
                event = events.recv() => match event {
                    Ok(Event::ProviderNamed { number, provider }) if self.search == Some(number) => {
                        self.named(provider).await?;
                    }
                    Ok(Event::PeerDisconnected { address, .. }) => self.disconnected(address).await?,
                    Ok(Event::NodesFound(found)) if found.number.is_some() && found.number == self.search => {
                        self.search = None;
                    }
                    Ok(_) => {}
                    // The end of the lookup may be among what was lost.
                    Err(RecvError::Lagged(_)) => self.search = None,
                    Err(RecvError::Closed) => return Err(FetchError::Stopped),
                },
                _ = ticks.tick() => self.tick()?,
            }
        }
    }

    /// Connections that were made for this fetch are of no more use.
    pub(super) async fn hang_up(&self) {
        let made = self.exchange.sources().into_iter().filter(|peer| self.dialled.contains_key(&peer.node));
        for peer in made.map(|peer| peer.id).collect::<Vec<_>>() {
            // Fails only if the node has stopped.
            let _ = self.exchange.0.link.command(move |reply| Command::Disconnect(peer, reply)).await;
        }
    }

    fn want(&mut self, cid: Cid) {
        let hash = cid.multihash();
        if self.missing.is_empty() {
            self.last_progress = Instant::now();
        }
        self.missing.insert(hash.clone(), Missing { cid, asked: None, tried: BTreeSet::new() });
        self.queue.push_back(hash);
    }

    /// Asks those who have room for what no peer is asked for.
    fn assign(&mut self) {
        let mut lists: BTreeMap<PeerId, Vec<Want>> = BTreeMap::new();
        let mut left = VecDeque::new();
        for _ in 0..LOOK_AHEAD {
            let Some(hash) = self.queue.pop_front() else { break };
            let Some(missing) = self.missing.get_mut(&hash) else { continue };
            let free = self.sources.iter_mut().filter(|(id, source)| {
                source.in_flight < source.window && !missing.tried.contains(*id) && !source.peer.is_asked(&hash)
            });
            // Fast ones have large windows.
            let Some((id, source)) = free.max_by_key(|(_, source)| source.window - source.in_flight) else {
                left.push_back(hash);
                continue;
            };
            if source.in_flight == 0 {
                source.last = Instant::now();
            }
            source.in_flight += 1;
            missing.asked = Some(*id);
            lists.entry(*id).or_default().push(Want { hash, whole: true });
        }
        while let Some(hash) = left.pop_back() {
            self.queue.push_front(hash);
        }
        for (id, list) in lists {
            let is_asked = self.sources.get(&id).is_some_and(|source| source.peer.ask(list, &self.answers.0));
            if !is_asked {
                // It is about to go, or has left too much unanswered.
                self.give_up(id);
            }
        }
    }

    /// The block that waits for longest, if no peer is left to ask for it.
    fn stuck_at(&self) -> Option<&Vec<u8>> {
        let hash = self.queue.front()?;
        let missing = self.missing.get(hash)?;
        let is_free = |(id, source): (&PeerId, &Source)| !missing.tried.contains(id) && !source.peer.is_asked(hash);
        (!self.sources.iter().any(is_free)).then_some(hash)
    }

    /// Finds others to ask, if that is needed.
    async fn search(&mut self) -> Result<(), FetchError> {
        let Some(hash) = self.stuck_at().cloned() else { return Ok(()) };
        for peer in self.exchange.sources() {
            let is_known = self.sources.contains_key(&peer.id) || self.given_up.contains(&peer.id);
            let is_probed = self.probed.get(&peer.id) == Some(&hash) || peer.is_asked(&hash);
            if is_known || is_probed || self.liars.contains(&peer.node) {
                continue;
            }
            if self.providers.contains_key(&peer.node) {
                self.add_source(peer);
                continue;
            }
            self.probed.insert(peer.id, hash.clone());
            // One that cannot be asked now is asked about the next block.
            peer.ask(vec![Want { hash: hash.clone(), whole: false }], &self.answers.0);
        }
        let is_due = self.searched_at.is_none_or(|at| at.elapsed() >= SEARCH_INTERVAL);
        if self.search.is_none() && is_due {
            self.searched_at = Some(Instant::now());
            // What is pinned is announced by its root alone.
            let key = NodeId::of_content(&self.root.multihash());
            let link = &self.exchange.0.link;
            let number = link.command(move |reply| Command::FindProviders(key, reply)).await;
            self.search = number.map_err(|_| FetchError::Stopped)?;
        }
        Ok(())
    }

    async fn named(&mut self, provider: Contact) -> Result<(), FetchError> {
        let is_new = self.providers.insert(provider.id, provider) != Some(provider);
        self.progress().providers = self.providers.len();
        // The lookup may have asked this node over a brief connection, which carries no content.
        let known = self.exchange.peers().values().find(|peer| peer.node == provider.id && peer.is_ready()).cloned();
        if let Some(peer) = known {
            if peer.offers_content() && !self.sources.contains_key(&peer.id) && !self.given_up.contains(&peer.id) {
                self.add_source(peer);
            }
            return Ok(());
        }
        let last = self.dialled.get(&provider.id);
        let is_late = last.is_some_and(|dial| dial.at.elapsed() >= DIAL_PATIENCE);
        // A liar can name a node at any number of addresses.
        let is_first = (last.is_none() || is_new) && self.dials < MAX_DIALS;
        if (is_late || is_first) && !self.liars.contains(&provider.id) {
            self.dials += usize::from(!is_late);
            self.dial(provider).await?;
        }
        Ok(())
    }

    async fn dial(&mut self, provider: Contact) -> Result<(), FetchError> {
        let Contact { id, address } = provider;
        let dial = self.dialled.entry(id).or_insert(Dial { at: Instant::now(), refusals: 0 });
        dial.at = Instant::now();
        let dialling = self.exchange.0.link.command(move |reply| Command::ConnectOnce(address, Some(id), reply));
        dialling.await.map_err(|_| FetchError::Stopped)
    }

    /// A connection ended. A provider that closes one before it is a peer may have been asked by a lookup a moment ago, and take
    /// the new connection for a second one of the same kind.
    async fn disconnected(&mut self, address: PeerAddr) -> Result<(), FetchError> {
        let is_dialled = |provider: &&Contact| provider.address == address && self.dialled.contains_key(&provider.id);
        let Some(provider) = self.providers.values().find(is_dialled).copied() else { return Ok(()) };
        let is_peer = self.exchange.peers().values().any(|peer| peer.node == provider.id && peer.is_ready());
        match self.dialled.get_mut(&provider.id) {
            Some(dial) if !is_peer && dial.refusals < MAX_REFUSALS && !self.liars.contains(&provider.id) => {
                dial.refusals += 1;
                self.dial(provider).await
            }
            _ => Ok(()),
        }
    }

    fn add_source(&mut self, peer: Arc<Peer>) {
        let [window, _] = WINDOW;
        let last = Instant::now();
        self.sources.entry(peer.id).or_insert(Source {
            peer,
            in_flight: 0,
            window,
            last,
            stalls: 0,
            lacking: 0,
            has_sent: false,
        });
    }

    /// Peers have come or gone; those that go say so themselves, too.
    fn look_at_peers(&mut self) {
        for peer in self.exchange.sources() {
            let is_wanted = self.providers.contains_key(&peer.node) && !self.liars.contains(&peer.node);
            if is_wanted && !self.given_up.contains(&peer.id) {
                self.add_source(peer);
            }
        }
        let gone: Vec<PeerId> =
            self.sources.iter().filter(|(_, source)| source.peer.gone.is_cancelled()).map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|id| self.drop_source(id));
    }

    fn answered(&mut self, id: PeerId, answer: Answer) {
        match answer {
            Answer::Gone => self.drop_source(id),
            Answer::Have { hash, here } => {
                let Some(source) = self.sources.get_mut(&id) else {
                    // The answer to a probe.
                    let peer = self.exchange.peers().get(&id).cloned();
                    if let Some(peer) = peer.filter(|_| here && !self.given_up.contains(&id)) {
                        self.add_source(peer);
                    }
                    return;
                };
                source.last = Instant::now();
                if let Some(missing) = self.missing.get_mut(&hash).filter(|missing| missing.asked == Some(id) && !here)
                {
                    (source.in_flight, source.lacking) = (source.in_flight.saturating_sub(1), source.lacking + 1);
                    missing.asked = None;
                    missing.tried.insert(id);
                    self.queue.push_front(hash);
                    if source.lacking >= MAX_LACKING {
                        self.give_up(id);
                    }
                }
            }
            Answer::Block(block, space) => {
                if let Some(source) = self.sources.get_mut(&id) {
                    let [_, most] = WINDOW;
                    (source.last, source.lacking, source.has_sent) = (Instant::now(), 0, true);
                    source.window = (source.window + 1).min(most);
                }
                let Some(missing) = self.missing.remove(&block.hash) else { return };
                // If it came late, another may have been asked meanwhile.
                if let Some(source) = missing.asked.and_then(|asked| self.sources.get_mut(&asked)) {
                    source.in_flight = source.in_flight.saturating_sub(1);
                }
                self.last_progress = Instant::now();
                let Some(node) = self.exchange.peers().get(&id).map(|peer| peer.node) else {
                    return self.want(missing.cid);
                };
                let arrival = Arrival { cid: missing.cid, bytes: block.bytes, peer: id, node, _space: space };
                // Fails only when the thread that takes it has ended.
                let _ = self.arrivals.send(arrival);
                let sources = self.sources.values().filter(|source| source.has_sent).count();
                let mut progress = self.progress();
                progress.sources = progress.sources.max(sources);
            }
        }
    }

    async fn lied(&mut self, cid: Cid, peer: PeerId, node: NodeId) {
        // Several of its blocks may have been on their way.
        if self.liars.insert(node) {
            self.progress().liars.push(node);
        }
        self.give_up(peer);
        self.exchange.penalise(peer, ContentFault::False { hash: cid.multihash() }).await;
        self.want(cid);
    }

    /// Asks a peer no more.
    fn give_up(&mut self, id: PeerId) {
        self.given_up.insert(id);
        self.drop_source(id);
    }

    fn drop_source(&mut self, id: PeerId) {
        self.sources.remove(&id);
        self.ask_again(id);
    }

    /// What a peer was asked for is to be asked of others.
    fn ask_again(&mut self, id: PeerId) {
        for (hash, missing) in self.missing.iter_mut().filter(|(_, missing)| missing.asked == Some(id)) {
            missing.asked = None;
            missing.tried.insert(id);
            self.queue.push_front(hash.clone());
        }
    }

    fn tick(&mut self) -> Result<(), FetchError> {
        let late = |source: &Source| source.in_flight > 0 && source.last.elapsed() >= STALL;
        let late: Vec<PeerId> = self.sources.iter().filter(|(_, source)| late(source)).map(|(id, _)| *id).collect();
        for id in late {
            self.ask_again(id);
            if let Some(source) = self.sources.get_mut(&id) {
                (source.in_flight, source.window, source.stalls) = (0, 1, source.stalls + 1);
                if source.stalls >= MAX_STALLS && self.sources.len() > 1 {
                    self.give_up(id);
                }
            }
        }
        // None of those who were asked has it, as far as they say: but they may get it.
        if self.last_progress.elapsed() >= STALL
            && let Some(hash) = self.stuck_at().cloned()
            && let Some(missing) = self.missing.get_mut(&hash)
        {
            missing.tried.clear();
        }
        if self.missing.is_empty() || self.last_progress.elapsed() < self.patience {
            return Ok(());
        }
        let root = Box::new(self.root);
        let progress = self.progress().clone();
        let cid = self.queue.front().and_then(|hash| self.missing.get(hash)).map_or(self.root, |missing| missing.cid);
        Err(match (progress.fetched_blocks, self.sources.is_empty(), self.providers.len()) {
            (0, true, 0) => FetchError::NoProvider { root },
            (0, true, named) => FetchError::Unreachable { root, named },
            _ => FetchError::Stalled { cid: cid.into(), patience: self.patience },
        })
    }

    fn progress(&self) -> std::sync::MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
