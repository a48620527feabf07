//! Browser pages that meet through a node and then need none: calls, headers, proofs and payments from page to page.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cairn::chain::Chain;
use cairn::consensus::params::Params;
use cairn::light::{
    CALL_BURST, CALL_INTERVAL, CALL_TIMEOUT, Call, Config, Headers, Light, MAX_CALLERS, Notice, PeerStatus,
    RELAY_BURST, REST, Scope, TARGET,
};
use cairn::mempool::{Limits, Mempool};
use cairn::p2p::chain_prover::prove_tip;
use cairn::p2p::kad::NodeId;
use cairn::p2p::message::Message;
use cairn::p2p::signal::Signal;
use cairn::p2p::wants::{ContentFault, Want};
use cairn::p2p::{Command, Direction, Event, Input, Node, Now, Output, PeerAddr, PeerId, Protocol, Reply};
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::block::Block;
use cairn::primitives::hash::BlockHash;
use cairn::primitives::time::{MonoTime, UnixTime};
use cairn::primitives::tx::{Output as TxOutput, Transaction};
use cairn::storage::MemoryStore;

use cairn_testkit::{Ledger, genesis_coin, key, params, public, spend};

enum Machine {
    Page(Box<Light>),
    Node(Box<Node>),
}

/// A connection, whose number both sides use.
struct Link {
    /// Who dialled first.
    ends: [usize; 2],
    is_open: bool,
}

/// Pages and nodes, in virtual time. What is sent arrives at once.
struct World {
    params: Arc<Params>,
    now: Now,
    machines: Vec<Machine>,
    wakes: Vec<Option<MonoTime>>,
    links: Vec<Link>,
    /// All notices of each machine but calls.
    notices: Vec<Vec<Notice>>,
    /// Calls that ended without a connection.
    ended: Vec<(usize, NodeId)>,
    /// Changes what a page sends to another.
    bend: fn(usize, Message) -> Message,
    /// A page whose browser never describes its side.
    mute: Option<usize>,
}

/// The id of a machine.
fn id(machine: usize) -> NodeId {
    NodeId([machine as u8 + 1; 32])
}

fn address(node: usize) -> PeerAddr {
    PeerAddr::WebRtc { socket: ([10, 0, 0, node as u8 + 1], 7331).into(), certhash: [1; 32] }
}

impl World {
    fn new(params: &Arc<Params>) -> Self {
        let unix = UnixTime::from_secs(u64::from(params.timestamp) + 10_000);
        Self {
            params: params.clone(),
            now: Now { mono: MonoTime::from_millis(1_000), unix },
            machines: Vec::new(),
            wakes: Vec::new(),
            links: Vec::new(),
            notices: Vec::new(),
            ended: Vec::new(),
            bend: |_, message| message,
            mute: None,
        }
    }

    fn add(&mut self, machine: Machine) -> usize {
        self.machines.push(machine);
        self.wakes.push(Some(MonoTime::START));
        self.notices.push(Vec::new());
        self.machines.len() - 1
    }

    fn node(&mut self, blocks: &[Block]) -> usize {
        let chain = Chain::open(self.params.clone(), Arc::new(MemoryStore::default())).unwrap();
        let mempool = Mempool::new(self.params.clone(), Limits::default());
        let listens = vec![address(self.machines.len())];
        let config = cairn::p2p::Config { id: id(self.machines.len()), listens, ..cairn::p2p::Config::default() };
        let node = Node::new(chain, mempool, config, self.now).unwrap();
        let node = self.add(Machine::Node(Box::new(node)));
        self.mine(node, blocks);
        node
    }

    /// A page that dials these nodes.
    fn page(&mut self, nodes: &[usize], config: Config) -> usize {
        let config = Config {
            peers: nodes.iter().map(|node| (address(*node), None)).collect(),
            transports: cairn::p2p::Transports { tcp: false, webrtc: true },
            page: Some(id(self.machines.len())),
            seed: [self.machines.len() as u8; 32],
            ..config
        };
        let light = Light::new(Headers::new(self.params.clone()), config, self.now);
        self.add(Machine::Page(Box::new(light)))
    }

    fn mine(&mut self, node: usize, blocks: &[Block]) {
        let Machine::Node(node) = &mut self.machines[node] else { panic!("no node") };
        for block in blocks {
            node.submit_block(self.now, block.clone()).unwrap();
        }
    }

    fn light(&self, page: usize) -> &Light {
        match &self.machines[page] {
            Machine::Page(light) => light,
            Machine::Node(_) => panic!("no page"),
        }
    }

    fn act(&mut self, page: usize, act: impl FnOnce(&mut Light, Now)) {
        match &mut self.machines[page] {
            Machine::Page(light) => act(light, self.now),
            Machine::Node(_) => panic!("no page"),
        }
    }

    fn handle(&mut self, machine: usize, input: Input) {
        match &mut self.machines[machine] {
            Machine::Page(light) => light.handle(self.now, input),
            Machine::Node(node) => node.handle(self.now, input),
        }
    }

    /// A node or a page stops, and all notice.
    fn kill(&mut self, machine: usize) {
        for number in 0..self.links.len() {
            if let (true, Some(side)) = (self.links[number].is_open, self.side(number, machine)) {
                self.links[number].is_open = false;
                let peer = PeerId(number as u64);
                self.handle(self.links[number].ends[1 - side], Input::Disconnected { peer });
                self.handle(machine, Input::Disconnected { peer });
            }
        }
        // It is found nowhere from now on.
        self.wakes[machine] = None;
        if let Machine::Node(_) = self.machines[machine] {
            self.machines[machine] =
                Machine::Page(Box::new(Light::new(Headers::new(self.params.clone()), Config::default(), self.now)));
        }
    }

    fn side(&self, link: usize, machine: usize) -> Option<usize> {
        self.links[link].ends.iter().position(|end| *end == machine)
    }

    /// Pages with which a page has a connection, and who called.
    fn met(&self, page: usize) -> Vec<(usize, Direction)> {
        let of = |link: &Link| match link.ends {
            _ if !link.is_open => None,
            [first, other] if first == page => Some((other, Direction::Outbound)),
            [other, second] if second == page => Some((other, Direction::Inbound)),
            _ => None,
        };
        let is_page = |(other, _): &(usize, Direction)| matches!(self.machines[*other], Machine::Page(_));
        self.links.iter().filter_map(of).filter(is_page).collect()
    }

    fn open(&mut self, from: usize, to: usize) {
        let peer = PeerId(self.links.len() as u64);
        self.links.push(Link { ends: [from, to], is_open: true });
        let is_page = matches!(self.machines[to], Machine::Page(_));
        let there = if is_page { PeerAddr::page(id(to).0) } else { address(to) };
        let here = if is_page {
            PeerAddr::page(id(from).0)
        } else {
            PeerAddr::WebRtc { socket: ([10, 1, 0, from as u8], 5_000).into(), certhash: [2; 32] }
        };
        self.handle(to, Input::Connected { peer, address: here, direction: Direction::Inbound, id: id(from) });
        self.handle(from, Input::Connected { peer, address: there, direction: Direction::Outbound, id: id(to) });
    }

    /// Lets time go by until `done`; panics after an hour of it.
    fn run_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let end = self.now.mono + Duration::from_secs(3_600);
        loop {
            self.exchange();
            if done(self) {
                return;
            }
            let next = self.wakes.iter().flatten().min().copied().unwrap_or(end);
            let next = next.max(self.now.mono + Duration::from_millis(1));
            assert!(next < end, "{what} has not come; notices: {:?}", self.notices);
            self.pass(next);
        }
    }

    /// Lets a span go by.
    fn run_for(&mut self, span: Duration) {
        let end = self.now.mono + span;
        loop {
            self.exchange();
            let next = self.wakes.iter().flatten().min().copied().unwrap_or(end);
            let next = next.max(self.now.mono + Duration::from_millis(1));
            if next >= end {
                return self.pass(end);
            }
            self.pass(next);
        }
    }

    fn pass(&mut self, to: MonoTime) {
        let span = Duration::from_secs(to.as_millis() / 1_000 - self.now.mono.as_millis() / 1_000);
        self.now.unix = self.now.unix.saturating_add(span);
        self.now.mono = to;
        for machine in 0..self.machines.len() {
            if self.wakes[machine].take_if(|at| *at <= to).is_some() {
                self.handle(machine, Input::Tick);
            }
        }
        self.exchange();
    }

    fn exchange(&mut self) {
        loop {
            let mut idle = true;
            for machine in 0..self.machines.len() {
                let outputs: Vec<Output> = match &mut self.machines[machine] {
                    Machine::Page(light) => light.drain().collect(),
                    Machine::Node(node) => node.drain().collect(),
                };
                idle &= outputs.is_empty();
                outputs.into_iter().for_each(|output| self.carry_out(machine, output));
                let Machine::Page(light) = &mut self.machines[machine] else { continue };
                let notices = light.take_notices();
                idle &= notices.is_empty();
                notices.into_iter().for_each(|notice| self.notice(machine, notice));
            }
            if idle {
                return;
            }
        }
    }

    /// What a page's browser does: its description is its place in the world.
    fn notice(&mut self, page: usize, notice: Notice) {
        let describe = |world: &mut Self, other: NodeId| {
            if world.mute == Some(page) {
                return;
            }
            world.act(page, |light, now| light.describe(now, other, vec![page as u8]));
        };
        match notice {
            Notice::Call(other, Call::Make) => describe(self, other),
            Notice::Call(other, Call::Take(description)) => {
                assert_eq!(id(description[0].into()), other);
                describe(self, other);
            }
            Notice::Call(other, Call::Complete(description)) => {
                assert_eq!(id(description[0].into()), other);
                self.open(page, description[0].into());
            }
            Notice::Call(other, Call::End) => self.ended.push((page, other)),
            notice => self.notices[page].push(notice),
        }
    }

    fn carry_out(&mut self, machine: usize, output: Output) {
        match output {
            Output::Connect { address: to, .. } => {
                let is_node = |node: &usize| matches!(self.machines[*node], Machine::Node(_)) && address(*node) == to;
                match (0..self.machines.len()).find(is_node) {
                    Some(node) => self.open(machine, node),
                    None => self.handle(machine, Input::ConnectFailed { address: to, found: None }),
                }
            }
            Output::Send { peer, frame } => {
                let number = peer.0 as usize;
                let Some(side) = self.side(number, machine).filter(|_| self.links[number].is_open) else { return };
                let to = self.links[number].ends[1 - side];
                let message = frame.message().unwrap();
                let is_between_pages = [machine, to].iter().all(|end| matches!(self.machines[*end], Machine::Page(_)));
                let message = if is_between_pages { (self.bend)(machine, message) } else { message };
                self.handle(to, Input::Received { peer, message, at: self.now.mono });
            }
            Output::Disconnect { peer, .. } => {
                let number = peer.0 as usize;
                if let Some(side) = self.side(number, machine).filter(|_| self.links[number].is_open) {
                    self.links[number].is_open = false;
                    self.handle(self.links[number].ends[1 - side], Input::Disconnected { peer });
                }
            }
            Output::Flush { peer } => self.handle(machine, Input::Flushed { peer }),
            Output::WakeAt { at } => self.wakes[machine] = Some(at),
            Output::Event(Event::ProofDue) => {
                let Machine::Node(node) = &mut self.machines[machine] else { return };
                let chain = node.chain();
                let proof = prove_tip(chain.db(), chain.params(), chain.tip().key()).unwrap();
                node.command(self.now, Command::ProofMade(proof, Reply::nowhere()));
            }
            Output::KeepHeaders { .. } | Output::Event(_) => {}
        }
    }

    /// Whether a page knows of every other that it has the same tip.
    fn agrees_with_pages(&self, page: usize) -> bool {
        let reports = self.light(page).reports();
        reports.iter().filter(|report| report.address.is_page()).all(|report| report.standing == PeerStatus::Agrees)
    }

    fn tips(&self, pages: &[usize]) -> BTreeSet<BlockHash> {
        pages.iter().map(|page| self.light(*page).chain().tip_hash()).collect()
    }

    fn run_to_tip(&mut self, what: &str, pages: &[usize], tip: BlockHash) {
        self.run_until(what, |world| world.tips(pages) == BTreeSet::from([tip]));
    }
}

/// A payment of the first key.
fn payment(params: &Params) -> Transaction {
    let (outpoint, coin) = genesis_coin(params, 1);
    let output = TxOutput::pay(public(5), Amount::from_grains(coin.output.value.as_grains() - COIN / 1_000));
    spend(params, &[(outpoint, coin, &key(1))], vec![output])
}

#[test]
fn pages_that_lost_every_node_go_on_through_a_page_that_has_one() {
    let params = params();
    let mut ledger = Ledger::on(&params);
    let blocks = ledger.extend(30, 1);
    let mut world = World::new(&params);
    let (first, second) = (world.node(&blocks), world.node(&blocks));
    let far = world.page(&[first], Config::default());
    let middle = world.page(&[first], Config::default());
    let near = world.page(&[first, second], Config::default());
    let pages = [far, middle, near];
    world.run_until("a ring", |world| pages.iter().all(|page| world.met(*page).len() == 2));
    world.act(far, |light, now| light.own(now, Scope::Keys(BTreeSet::from([public(1)]))));
    world.run_until("coins", |world| world.light(far).holding().is_some());
    world.kill(first);
    assert!(world.light(far).is_synced(), "pages are peers, too");

    // Blocks come from page to page.
    for block in ledger.extend(12, 1) {
        world.mine(second, std::slice::from_ref(&block));
        world.run_to_tip("the next block", &pages, block.hash());
        // The page that was told of it first says that it has it.
        world.run_until("the pages to agree", |world| pages.iter().all(|page| world.agrees_with_pages(*page)));
    }
    let more = ledger.extend(200, 1);
    world.mine(second, &more);
    world.run_to_tip("many blocks", &pages, ledger.tip().hash());

    // A payment comes to the node, and its block back.
    let payment = payment(&params);
    let txid = payment.txid();
    world.act(far, |light, now| light.hand_over(now, payment.clone()));
    let is_there = |world: &World| match &world.machines[second] {
        Machine::Node(node) => node.mempool().contains(&txid),
        Machine::Page(_) => false,
    };
    world.run_until("the payment", is_there);
    let is_taken = |notice: &Notice| matches!(notice, Notice::HandedOver { txid: of, taken: true, .. } if *of == txid);
    world.run_until("the answer", |world| world.notices[far].iter().any(is_taken));
    let block = ledger.make(&public(9), &[payment], COIN / 1_000, 0);
    world.mine(second, std::slice::from_ref(&block));
    world.run_to_tip("its block", &pages, block.hash());
    // No peer is blamed for any of this.
    assert!(pages.iter().all(|page| world.met(*page).len() == 2));
    assert!(world.notices.iter().flatten().all(|notice| !matches!(notice, Notice::Lied(..))));
}

#[test]
fn a_page_far_behind_gets_the_proof_of_another() {
    let params = params();
    let mut ledger = Ledger::on(&params);
    let blocks = ledger.extend(700, 1);
    let mut world = World::new(&params);
    let proves = || Config { proof_ahead: Some(300), ..Config::default() };
    // Both meet at a node that has no blocks itself.
    let (empty, full) = (world.node(&[]), world.node(&blocks));
    let knows = world.page(&[empty, full], proves());
    world.run_to_tip("the node's proof", &[knows], ledger.tip().hash());
    assert!(world.light(knows).chain().proof().is_some());
    let learns = world.page(&[empty], proves());
    world.run_to_tip("the page's proof", &[learns], ledger.tip().hash());
    let (of_page, of_node) = (world.light(learns).chain(), world.light(knows).chain());
    assert_eq!((of_page.proof(), of_page.work()), (of_node.proof(), of_node.work()));
    assert!(of_page.kept() < 300);
    // One that is a little behind gets headers.
    world.kill(empty);
    let block = ledger.extend(1, 1);
    world.mine(full, &block);
    world.run_to_tip("a block", &[learns], ledger.tip().hash());
}

#[test]
fn pages_are_few_and_called_by_few() {
    let params = params();
    let mut world = World::new(&params);
    let node = world.node(&[]);
    let pages: Vec<usize> = (0..20).map(|_| world.page(&[node], Config::default())).collect();
    world.run_for(Duration::from_secs(300));
    for page in &pages {
        let met = world.met(*page);
        let called = met.iter().filter(|(_, direction)| *direction == Direction::Outbound).count();
        assert!(called <= TARGET && met.len() - called <= MAX_CALLERS, "{met:?}");
        let others: BTreeSet<usize> = met.iter().map(|(other, _)| *other).collect();
        assert_eq!(others.len(), met.len(), "one connection with each");
        assert!(!met.is_empty());
    }
}

#[test]
fn a_page_that_lies_is_let_go_and_not_called_again_soon() {
    let params = params();
    let mut ledger = Ledger::on(&params);
    let blocks = ledger.extend(10, 1);
    let mut world = World::new(&params);
    let node = world.node(&blocks);
    let honest = world.page(&[node], Config::default());
    world.run_to_tip("the chain", &[honest], ledger.tip().hash());
    // Every header from the second page is bent.
    world.bend = |from, message| match message {
        Message::Headers(mut headers) if from == 2 => {
            headers.iter_mut().for_each(|header| header.time = 0);
            Message::Headers(headers)
        }
        other => other,
    };
    let liar = world.page(&[node], Config::default());
    assert_eq!(liar, 2);
    let is_lie = |notice: &Notice| matches!(notice, Notice::Lied(address, _) if *address == PeerAddr::page(id(liar).0));
    world.run_until("the lie", |world| world.notices[honest].iter().any(is_lie));
    assert_eq!(world.met(honest), []);
    // It calls by itself again, and is let go again; this page does not call it.
    let calls = |world: &World| world.links.iter().filter(|link| link.ends == [honest, liar]).count();
    let before = calls(&world);
    world.run_for(REST / 2);
    assert_eq!(calls(&world), before);
    assert_eq!(world.light(honest).chain().tip_hash(), ledger.tip().hash());
    assert!(world.light(honest).is_synced(), "the node is still there");
}

#[test]
fn bad_payments_of_pages_get_no_peer_banned() {
    let params = params();
    let mut world = World::new(&params);
    let (lonely, node) = (world.node(&[]), world.node(&[]));
    let honest = world.page(&[lonely, node], Config::default());
    let liar = world.page(&[lonely], Config::default());
    world.run_until("the call", |world| world.met(honest).len() == 1);
    world.kill(lonely);
    // Signed by another key: pages cannot see that.
    let (outpoint, coin) = genesis_coin(&params, 1);
    for n in 0..3 * RELAY_BURST {
        let output = TxOutput::pay(public(5), Amount::from_grains(COIN + n));
        let bad = spend(&params, &[(outpoint, coin.clone(), &key(2))], vec![output]);
        world.act(liar, |light, now| light.hand_over(now, bad));
        world.run_for(Duration::from_secs(1));
    }
    let Machine::Node(full) = &world.machines[node] else { panic!("no node") };
    let peers = full.peers(world.now);
    assert_eq!(peers.len(), 1, "it is still connected");
    assert!(peers[0].score > 10 && peers[0].score < 100, "{}", peers[0].score);
    // The one who made them learns that they were refused, or not passed on.
    let taken = |notice: &&Notice| matches!(notice, Notice::HandedOver { taken: false, .. });
    assert!(world.notices[liar].iter().filter(taken).count() > 0);
}

#[test]
fn a_node_cannot_make_a_page_call_without_end() {
    let params = params();
    let mut world = World::new(&params);
    let node = world.node(&[]);
    let page = world.page(&[node], Config::default());
    world.run_until("the node", |world| world.light(page).is_connected());
    let mut begun = 0;
    let say = |world: &mut World, message| {
        // The first connection is with the node.
        let (peer, at) = (PeerId(0), world.now.mono);
        world.handle(page, Input::Received { peer, message, at });
        let Machine::Page(light) = &mut world.machines[page] else { panic!("no page") };
        let is_begun = |notice: &Notice| matches!(notice, Notice::Call(_, Call::Make | Call::Take(_)));
        light.take_notices().iter().filter(|notice| is_begun(notice)).count() as u64
    };
    for n in 0..100 {
        let [named, caller] = [1, 2].map(|kind| NodeId([[100 + n, kind]; 16].concat().try_into().unwrap()));
        begun += say(&mut world, Message::Pages(vec![named]));
        begun += say(&mut world, Message::NoPage { page: named });
        begun += say(&mut world, Message::Signal { page: caller, signal: Signal::Offer(Vec::new()) });
        // Its browser makes nothing of that.
        world.act(page, |light, now| light.call_failed(now, caller));
    }
    assert_eq!(begun, CALL_BURST);
    world.now.mono += CALL_INTERVAL;
    assert_eq!(say(&mut world, Message::Pages(vec![NodeId([99; 32])])), 1);
}

#[test]
fn a_call_without_an_answer_ends() {
    let params = params();
    let mut world = World::new(&params);
    let node = world.node(&[]);
    let page = world.page(&[node], Config::default());
    let silent = world.page(&[node], Config::default());
    world.mute = Some(silent);
    let since = world.now.mono;
    world.run_until("the end", |world| world.ended.contains(&(page, id(silent))));
    assert!(world.now.mono.saturating_since(since) >= CALL_TIMEOUT);
    // Its own calls come to nothing either. Later it is called again.
    let ends = |world: &World| world.ended.iter().filter(|ended| **ended == (page, id(silent))).count();
    world.run_for(REST / 2);
    assert_eq!((ends(&world), world.met(page)), (1, Vec::new()));
    world.mute = None;
    world.run_until("another call", |world| !world.met(page).is_empty());
}

#[test]
fn a_page_that_is_sought_is_called_before_others() {
    let params = params();
    let mut world = World::new(&params);
    let node = world.node(&[]);
    // Pages that have met each other do not call those that come later.
    let others: Vec<usize> = (0..30).map(|_| world.page(&[node], Config::default())).collect();
    world.run_for(Duration::from_secs(300));
    assert!(others.iter().all(|page| world.met(*page).len() >= TARGET));
    let sharing = world.page(&[node], Config::default());
    world.run_for(Duration::from_secs(1));
    let new = world.page(&[node], Config::default());
    world.act(new, |light, _| light.seek(id(sharing)));
    world.run_for(Duration::from_secs(1));
    assert!(world.met(new).contains(&(sharing, Direction::Outbound)), "{:?}", world.met(new));
}

#[test]
fn what_peers_say_about_content_is_handed_on() {
    let params = params();
    let mut world = World::new(&params);
    let node = world.node(&[]);
    let pages = [0; 2].map(|_| world.page(&[node], Config::default()));
    world.run_until("a call", |world| pages.iter().all(|page| world.met(*page).len() == 1));
    let [first, second] = pages;
    // The node of this world exchanges none.
    let peer = PeerId(world.links.len() as u64 - 1);
    assert!(pages.iter().all(|page| world.notices[*page].contains(&Notice::OffersContent(peer))));
    let message = Message::WantBlocks(vec![Want { hash: vec![1], whole: true }]);
    world.handle(second, Input::Received { peer, message: message.clone(), at: world.now.mono });
    world.exchange();
    assert_eq!(world.notices[second].last(), Some(&Notice::Content(peer, message)));
    // The page's other module judges it; the connection ends here.
    let fault = |hash: u8| ContentFault::False { hash: vec![hash] };
    world.act(first, |light, now| light.penalise_content(now, peer, fault(1)));
    world.exchange();
    let lied = Notice::Lied(PeerAddr::page(id(second).0), fault(1).into());
    assert_eq!(world.notices[first].last(), Some(&lied));
    assert!(world.met(first).is_empty() && world.met(second).is_empty());
}
