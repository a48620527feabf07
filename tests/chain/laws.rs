//! The chain against a naive model of it: whatever arrives, in whatever order, with restarts in between, its tip is the
//! end of the heaviest valid branch that was complete first, and everything it keeps is what a replay from genesis makes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use cairn::chain::{self, Burial, Chain, ChainError, ChainUpdate};
use cairn::consensus::coins::Coin;
use cairn::consensus::error::Verdict;
use cairn::consensus::params::{GenesisSpec, Params};
use cairn::primitives::amount::{Amount, COIN};
use cairn::primitives::block::Block;
use cairn::primitives::hash::{BlockHash, Txid};
use cairn::primitives::height::Height;
use cairn::primitives::keys::PublicKey;
use cairn::primitives::target::Work;
use cairn::primitives::time::UnixTime;
use cairn::primitives::tx::{OutPoint, Output, Transaction};
use cairn::storage::{HistoryEntry, MemoryStore, Store, TxLocation};
use cairn_testkit::{Ledger, funded, key, seal, spend};
use proptest::prelude::*;
use proptest::sample::Index;

const NOW: UnixTime = UnixTime::from_secs(2_000_000_000);
const KEYS: u8 = 4;
const MATURITY: u32 = 2;
const EPOCH: u32 = 2;

fn params() -> Arc<Params> {
    let mut spec = GenesisSpec { coinbase_maturity: MATURITY, epoch_blocks: EPOCH, ..funded(0..KEYS, 1_000 * COIN) };
    assert!(spec.mine_nonce());
    Arc::new(Params::new(spec).unwrap())
}

/// What a generated block holds, and what is wrong with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    Nothing,
    Payment,
    /// A payment, and another that spends what the first makes.
    Chained,
    /// The coinbase takes a grain too much.
    Greedy,
    /// Signed by the wrong key.
    Forged,
    /// The coinbase commits to other headers.
    Uncommitted,
    /// Invalid by itself, whatever precedes it: data with value.
    Malformed,
}

#[derive(Debug, Clone)]
enum Event {
    Header(Index),
    Body(Index),
    /// The next body in the order of creation, as from a peer in sync.
    Next,
    /// A body that is not its header's.
    Mangled(Index),
    Restart,
    /// Another thread moves the table of the state by a block.
    State,
    Invalidate(Index),
    Reconsider(Index),
}

fn contents() -> impl Strategy<Value = Content> {
    prop_oneof![
        4 => Just(Content::Nothing),
        4 => Just(Content::Payment),
        3 => Just(Content::Chained),
        1 => Just(Content::Greedy),
        1 => Just(Content::Forged),
        1 => Just(Content::Uncommitted),
        1 => Just(Content::Malformed),
    ]
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => any::<Index>().prop_map(Event::Header),
        8 => any::<Index>().prop_map(Event::Body),
        8 => Just(Event::Next),
        1 => any::<Index>().prop_map(Event::Mangled),
        1 => Just(Event::Restart),
        4 => Just(Event::State),
        1 => any::<Index>().prop_map(Event::Invalidate),
        1 => any::<Index>().prop_map(Event::Reconsider),
    ]
}

/// A block of the tree, with the branch that ends in it.
struct Made {
    block: Block,
    hash: BlockHash,
    /// Place of the parent in the tree; `None` for genesis.
    parent: Option<usize>,
    branch: Ledger,
    /// Whether this block and all its ancestors are valid.
    is_valid: bool,
}

/// A tree of blocks: the parent of each is genesis or an earlier block, mostly a recent one.
fn make_tree(params: &Arc<Params>, plan: &[(u8, Content, u16)]) -> Vec<Made> {
    let mut made: Vec<Made> = Vec::new();
    for (number, (back, content, choice)) in plan.iter().enumerate() {
        let back = usize::from(*back);
        let parent = (back < number).then(|| number - 1 - back);
        let mut branch = parent.map_or_else(|| Ledger::on(params), |parent| made[parent].branch.clone());
        let block = make_block(&branch, *content, usize::from(*choice), number as u64);
        branch.push(block.clone());
        let fits = matches!(content, Content::Nothing | Content::Payment | Content::Chained);
        let is_valid = fits && parent.is_none_or(|parent| made[parent].is_valid);
        made.push(Made { hash: block.hash(), block, parent, branch, is_valid });
    }
    made
}

fn make_block(branch: &Ledger, content: Content, choice: usize, salt: u64) -> Block {
    let params = &branch.params;
    let owner = |coin: &Coin| (0..KEYS).find(|i| coin.output.key() == Some(&key(*i).public_key()));
    let payee = key((choice % usize::from(KEYS)) as u8).public_key();
    let fee = 7;
    let pay = |coin: &(OutPoint, Coin), signer: u8| {
        let rest = coin.1.output.value.as_grains() - fee;
        let outputs = vec![
            Output::pay(payee, Amount::from_grains(rest / 3)),
            Output::pay(key(signer).public_key(), Amount::from_grains(rest - rest / 3)),
        ];
        spend(params, &[(coin.0, coin.1.clone(), &key(signer))], outputs)
    };
    let mut transactions: Vec<Transaction> = Vec::new();
    if matches!(content, Content::Payment | Content::Chained | Content::Forged) {
        let height = branch.height().next();
        let is_ripe = |coin: &Coin| !coin.coinbase || coin.height.saturating_add(MATURITY) <= height;
        let mut coins: Vec<_> = branch.coins.0.iter().filter(|(_, coin)| is_ripe(coin)).collect();
        coins.sort_by_key(|(outpoint, _)| **outpoint);
        let (outpoint, coin) = coins[choice % coins.len()];
        let coin = (*outpoint, coin.clone());
        let signer = owner(&coin.1).expect("only test keys are paid");
        transactions.push(pay(&coin, if content == Content::Forged { (signer + 1) % KEYS } else { signer }));
        if content == Content::Chained {
            let output = transactions[0].outputs[1].clone();
            let txid = transactions[0].txid();
            transactions.push(pay(&(OutPoint { txid, index: 1 }, Coin { output, height, coinbase: false }), signer));
        }
    }
    let fees = fee * transactions.len() as u64 + u64::from(content == Content::Greedy);
    let mut block = branch.make(&payee, &transactions, fees, salt);
    let data = block.transactions[0].outputs[0].clone();
    match content {
        Content::Uncommitted => block.transactions[0].outputs[0] = Output::data(vec![9; 40]),
        Content::Malformed => block.transactions[0].outputs[0] = Output { value: Amount::from_grains(1), ..data },
        _ => return block,
    }
    seal(&mut block);
    block
}

/// The naive model of the chain.
#[derive(Default, Clone)]
struct Model {
    /// Headers in the order of their arrival, of valid blocks only.
    headers: Vec<usize>,
    bodies: HashSet<usize>,
    /// Valid blocks in the order in which they became complete.
    complete: Vec<usize>,
    refused: HashSet<usize>,
}

impl Model {
    fn is_refused(&self, tree: &[Made], block: usize) -> bool {
        let mut branch = std::iter::successors(Some(block), |at| tree[*at].parent);
        branch.any(|at| self.refused.contains(&at))
    }

    /// Whether a valid block's header can be taken now.
    fn knows_parent(&self, tree: &[Made], block: usize) -> bool {
        tree[block].parent.is_none_or(|parent| self.headers.contains(&parent))
    }

    fn add_header(&mut self, block: usize) {
        if !self.headers.contains(&block) {
            self.headers.push(block);
        }
    }

    fn add_body(&mut self, tree: &[Made], block: usize) {
        self.add_header(block);
        self.bodies.insert(block);
        // Parents arrive before children, so one pass over the headers finds all that has become complete.
        for at in &self.headers {
            let ready = tree[*at].parent.is_none_or(|parent| self.complete.contains(&parent));
            if ready && self.bodies.contains(at) && !self.complete.contains(at) {
                self.complete.push(*at);
            }
        }
    }

    /// The end of the best chain; `None` for genesis. All blocks have the same work.
    fn tip(&self, tree: &[Made]) -> Option<usize> {
        let mut best: Option<usize> = None;
        for at in self.complete.iter().copied().filter(|at| !self.is_refused(tree, *at)) {
            let height = |at: usize| tree[at].branch.height();
            if best.is_none_or(|best| height(at) > height(best)) {
                best = Some(at);
            }
        }
        best
    }
}

/// The chain under test, and what the test expects of it.
struct Run<'a> {
    params: Arc<Params>,
    tree: &'a [Made],
    store: Arc<MemoryStore>,
    chain: Chain,
    model: Model,
    /// Hashes of the best chain, according to the updates.
    told: Vec<BlockHash>,
    /// When headers are buried, if any are.
    burial: Option<Burial>,
}

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// Everything that the store holds.
/// All but the states, which are where the last need of them left them.
fn entries(store: &MemoryStore) -> Entries {
    let mut entries = Entries::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        if !b"sSDEL".contains(&key[0]) {
            entries.insert(key.to_vec(), value.to_vec());
        }
        ControlFlow::Continue(())
    };
    store.scan(&[], &[], &mut visit).unwrap();
    entries
}

impl<'a> Run<'a> {
    fn new(params: &Arc<Params>, tree: &'a [Made], burial: Option<Burial>) -> Self {
        let store = Arc::new(MemoryStore::new());
        let mut chain = Chain::open(params.clone(), store.clone()).unwrap();
        burial.into_iter().for_each(|burial| chain.set_burial(burial));
        let (params, told) = (params.clone(), vec![params.genesis_hash]);
        Self { params, tree, store, chain, model: Model::default(), told, burial }
    }

    /// The chain may have forgotten branches that leave the best chain where it is buried, unless they have work or a mark of
    /// the operator. From then on the model does not know them either.
    fn forget(&mut self) {
        let Some(Burial { depth, .. }) = self.burial else { return };
        let root = Height::from_u32((self.chain.header_count() - self.chain.tree().headers_in_memory()) as u32);
        let is_gone = |at: &usize| self.chain.entry(&self.tree[*at].hash).is_none();
        let gone: Vec<usize> = self.model.headers.iter().copied().filter(is_gone).collect();
        for at in &gone {
            let mut below = std::iter::successors(Some(*at), |at| self.tree[*at].parent);
            let fork = below.find(|at| self.chain.entry(&self.tree[*at].hash).is_some());
            let fork = fork.map_or(Height::GENESIS, |fork| self.tree[fork].branch.height());
            assert!(fork < root, "a branch that leaves the chain at {fork} is forgotten");
            let height = self.tree[*at].branch.height();
            let tip = self.chain.tip().height;
            assert!(height.saturating_add(depth) < tip, "block {at} at height {height} is forgotten at tip {tip}");
            assert!(!self.model.refused.contains(at), "block {at}, which the operator has marked, is forgotten");
        }
        let Model { headers, bodies, complete, .. } = &mut self.model;
        headers.retain(|at| !gone.contains(at));
        bodies.retain(|at| !gone.contains(at));
        complete.retain(|at| !gone.contains(at));
    }

    fn handle(&mut self, event: &Event) {
        match event {
            Event::Header(index) => self.header(index.index(self.tree.len())),
            Event::Body(index) => self.body(index.index(self.tree.len())),
            Event::Next => {
                let next = (0..self.tree.len()).find(|at| self.tree[*at].is_valid && !self.model.bodies.contains(at));
                next.into_iter().for_each(|next| self.body(next));
            }
            Event::Mangled(index) => self.mangled(index.index(self.tree.len())),
            Event::Restart => {
                let before = entries(&self.store);
                self.chain = Chain::open(self.params.clone(), self.store.clone()).unwrap();
                assert_eq!(before, entries(&self.store), "opening changed the store");
                self.burial.into_iter().for_each(|burial| self.chain.set_burial(burial));
            }
            Event::State => drop(self.chain.state_table().advance(1).unwrap()),
            Event::Invalidate(index) => {
                let at = index.index(self.tree.len());
                match self.chain.invalidate(&self.tree[at].hash) {
                    Ok(update) => {
                        self.model.refused.insert(at);
                        self.follow(&update);
                    }
                    Err(ChainError::UnknownBlock { .. }) => assert!(!self.model.headers.contains(&at)),
                    Err(error) => panic!("{error}"),
                }
            }
            Event::Reconsider(index) => {
                let at = index.index(self.tree.len());
                let Ok(update) = self.chain.reconsider(&self.tree[at].hash) else { return };
                let tree = self.tree;
                let is_above = |low: usize, high: usize| {
                    std::iter::successors(Some(high), |at| tree[*at].parent).any(|at| at == low)
                };
                self.model.refused.retain(|refused| !is_above(*refused, at) && !is_above(at, *refused));
                self.follow(&update);
            }
        }
        self.forget();
        self.compare();
    }

    fn header(&mut self, at: usize) {
        let before = entries(&self.store);
        let outcome = self.chain.accept_header(self.tree[at].block.header, NOW);
        if outcome.is_err() {
            assert_eq!(before, entries(&self.store), "a refused header changed the store");
        }
        if !self.tree[at].is_valid {
            return;
        }
        match outcome {
            Ok(_) => {
                assert!(!self.model.is_refused(self.tree, at) && self.model.knows_parent(self.tree, at));
                self.model.add_header(at);
            }
            Err(ChainError::Refused { .. }) => assert!(self.model.is_refused(self.tree, at)),
            Err(ChainError::UnknownParent { .. }) => assert!(!self.model.knows_parent(self.tree, at)),
            Err(error) => panic!("{error}"),
        }
    }

    fn body(&mut self, at: usize) {
        let before = entries(&self.store);
        let outcome = self.chain.accept_block(self.tree[at].block.clone(), NOW, &|_| false);
        if let Err(error) = &outcome {
            // A refused block leaves only a status flag at its header.
            let leaves_mark = error.rule().is_some_and(|rule| rule.verdict() == Verdict::Invalid);
            let keep = |entries: Entries| -> Entries {
                entries.into_iter().filter(|(key, _)| !leaves_mark || !matches!(key[0], b'H' | b'B' | b'h')).collect()
            };
            // What is buried may have been put back.
            if self.burial.is_none() {
                assert_eq!(keep(before), keep(entries(&self.store)), "a refused block changed the store");
            }
        }
        if let Ok(update) = &outcome {
            self.follow(update);
        }
        if !self.tree[at].is_valid {
            return;
        }
        match outcome {
            Ok(update) => {
                assert!(!self.model.is_refused(self.tree, at) && self.model.knows_parent(self.tree, at));
                self.model.add_body(self.tree, at);
                let by_hash = |hash: &BlockHash| self.tree.iter().find(|made| made.hash == *hash);
                assert!(update.rejected.iter().all(|(hash, _)| by_hash(hash).is_some_and(|made| !made.is_valid)));
            }
            Err(ChainError::Duplicate { .. }) => assert!(self.model.bodies.contains(&at)),
            Err(ChainError::Refused { .. }) => assert!(self.model.is_refused(self.tree, at)),
            Err(ChainError::UnknownParent { .. }) => assert!(!self.model.knows_parent(self.tree, at)),
            Err(error) => panic!("{error}"),
        }
        self.forget();
    }

    fn mangled(&mut self, at: usize) {
        let before = entries(&self.store);
        let mut block = self.tree[at].block.clone();
        block.transactions[0].outputs[1].value =
            block.transactions[0].outputs[1].value.saturating_sub(Amount::from_grains(1));
        self.chain.accept_block(block, NOW, &|_| false).unwrap_err();
        if self.burial.is_none() {
            assert_eq!(before, entries(&self.store), "a body that is not its header's changed the store");
        }
    }

    /// Applies an update to the expected best chain.
    fn follow(&mut self, update: &ChainUpdate) {
        for block in &update.disconnected {
            assert_eq!(self.told.pop(), Some(block.hash()));
        }
        for block in &update.connected {
            assert_eq!(self.told.last(), Some(&block.block().header.previous));
            self.told.push(block.hash());
        }
        assert!(!update.unfinished);
    }

    /// Tip, coins and header range after every event.
    fn compare(&self) {
        let genesis = Ledger::on(&self.params);
        let branch = self.model.tip(self.tree).map_or(&genesis, |tip| &self.tree[tip].branch);
        let tip = branch.tip().hash();
        assert_eq!((self.chain.tip().hash, self.chain.tip().height), (tip, branch.height()));
        assert_eq!((self.told.last(), self.told.len()), (Some(&tip), branch.blocks.len()));
        assert_eq!(self.chain.committed().unwrap(), branch.committed());
        let mut coins = cairn::primitives::keyed::HashMap::default();
        self.chain.db().for_each_coin(&mut |outpoint, coin| drop(coins.insert(*outpoint, coin))).unwrap();
        assert_eq!(coins, branch.coins.0);
        let mut work = Work::ZERO;
        for (height, block) in (0..).zip(&branch.blocks) {
            work = work + block.header.bits.target().unwrap().work();
            let (height, count) = (Height::from_u32(height), block.transactions.len() as u32);
            let by_height = self.chain.entry_at(height).unwrap();
            let by_hash = self.chain.entry(&block.hash()).unwrap();
            let above = self.chain.ancestor(&self.chain.tip(), height).unwrap();
            for entry in [by_height, by_hash, above] {
                assert_eq!((entry.hash, entry.height, entry.header), (block.hash(), height, block.header));
                assert_eq!((entry.work, entry.tx_count), (work, count));
                assert!(self.chain.is_on_best_chain(&entry) && entry.is_validated() && !entry.is_invalid());
            }
        }
        for hash in self.chain.missing_bodies(u32::MAX, usize::MAX).iter().map(|(hash, _)| hash) {
            let known = self.tree.iter().position(|made| made.hash == *hash).unwrap();
            assert!(!self.model.bodies.contains(&known), "a body that is there is missed");
        }
    }

    /// The indexes, and the whole store against its own replay.
    fn compare_indexes(&self) {
        let genesis = Ledger::on(&self.params);
        let branch = self.model.tip(self.tree).map_or(&genesis, |tip| &self.tree[tip].branch);
        let db = self.chain.db();
        let mut locations: HashMap<Txid, Option<TxLocation>> = HashMap::new();
        for block in self.tree.iter().map(|made| &made.block) {
            locations.extend(block.txids().into_iter().map(|txid| (txid, None)));
        }
        let mut made: HashMap<OutPoint, Output> = HashMap::new();
        let mut histories: BTreeMap<PublicKey, Vec<HistoryEntry>> = BTreeMap::new();
        for (height, block) in (0..).zip(&branch.blocks) {
            for (position, tx) in (0..).zip(&block.transactions) {
                let txid = tx.txid();
                locations.insert(txid, Some(TxLocation { height: Height::from_u32(height), position }));
                made.extend(tx.outpoints(txid).map(|(outpoint, output)| (outpoint, output.clone())));
                for owner in (0..KEYS).map(|i| key(i).public_key()) {
                    let sum = |outputs: &mut dyn Iterator<Item = &Output>| {
                        let own = outputs.filter(|output| output.key() == Some(&owner));
                        Amount::saturating_sum(own.map(|output| output.value))
                    };
                    let received = sum(&mut tx.outputs.iter());
                    let spent = sum(&mut tx.inputs.iter().map(|input| &made[&input.outpoint]));
                    if received.max(spent) > Amount::ZERO {
                        let entry = HistoryEntry { height: Height::from_u32(height), position, txid, received, spent };
                        histories.entry(owner).or_default().push(entry);
                    }
                }
            }
        }
        for (txid, location) in locations {
            assert_eq!(db.tx_location(&txid).unwrap(), location);
            assert_eq!(db.transaction(&txid).unwrap().map(|(tx, ..)| tx.txid()), location.map(|_| txid));
        }
        for (owner, history) in histories {
            assert_eq!(db.address_history(&owner, TxLocation::default(), usize::MAX).unwrap(), history);
            let mut coins: Vec<(OutPoint, Coin)> = branch.coins.0.clone().into_iter().collect();
            coins.retain(|(_, coin)| coin.output.key() == Some(&owner));
            coins.sort_by_key(|(outpoint, _)| *outpoint);
            assert_eq!(db.address_coins(&owner, None, usize::MAX).unwrap(), coins);
        }
        let report = chain::check(db, &self.params, &mut |_, _| {}).unwrap();
        assert_eq!((report.height, report.coins), (branch.height(), branch.coins.0.len() as u64));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_chain_agrees_with_a_naive_model(
        plan in prop::collection::vec((prop_oneof![6 => 0..2u8, 3 => 0..6u8, 1 => 0..30u8], contents(), any::<u16>()), 1..28),
        events in prop::collection::vec(events(), 0..80),
        burial in prop::option::of((1..5u32, 1..3u32)),
    ) {
        let params = params();
        let tree = make_tree(&params, &plan);
        let burial = burial.map(|(depth, batch)| Burial { depth, batch, step: 100 });
        let mut run = Run::new(&params, &tree, burial);
        events.iter().for_each(|event| run.handle(event));
        run.compare_indexes();
        // In the end everything arrives, and nothing is refused.
        run.model.refused.clear();
        for made in &tree {
            if let Ok(update) = run.chain.reconsider(&made.hash) {
                run.follow(&update);
                run.forget();
            }
        }
        (0..tree.len()).for_each(|at| run.body(at));
        run.compare();
        run.compare_indexes();
        // Leaving the best chain and coming back restores everything except block statuses.
        let state = |store: &MemoryStore| -> Entries {
            entries(store).into_iter().filter(|(key, _)| key[0] != b'H').collect()
        };
        let before = state(&run.store);
        for height in Height::from_u32(1).through(run.chain.tip().height) {
            let hash = run.chain.entry_at(height).unwrap().hash;
            let left = run.chain.invalidate(&hash).unwrap();
            run.follow(&left);
            run.forget();
            let back = run.chain.reconsider(&hash).unwrap();
            run.follow(&back);
            run.forget();
            run.compare();
        }
        if burial.is_none() {
            prop_assert_eq!(before, state(&run.store));
        }
        run.handle(&Event::Restart);
    }

    /// Whatever came since a bookmark: after rewinding to it the store holds what it held, byte for byte, and the same
    /// events do the same again.
    #[test]
    fn a_rewound_chain_is_what_it_was(
        plan in prop::collection::vec((prop_oneof![6 => 0..2u8, 3 => 0..6u8, 1 => 0..30u8], contents(), any::<u16>()), 1..20),
        before in prop::collection::vec(events(), 0..30),
        after in prop::collection::vec(events(), 0..30),
    ) {
        let params = params();
        let tree = make_tree(&params, &plan);
        let mut run = Run::new(&params, &tree, None);
        before.iter().for_each(|event| run.handle(event));
        let (bookmark, kept) = (run.chain.bookmark(), entries(&run.store));
        let (model, told) = (run.model.clone(), run.told.clone());
        for _ in 0..2 {
            after.iter().for_each(|event| run.handle(event));
            run.chain.rewind(&bookmark).unwrap();
            assert_eq!(entries(&run.store), kept);
            (run.model, run.told) = (model.clone(), told.clone());
            run.handle(&Event::Restart);
        }
        run.compare_indexes();
    }
}
