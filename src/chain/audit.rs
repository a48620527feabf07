//! Checking a store against its own blocks: replayed from genesis for `cairn db check`, the last ones for `verifychain`.

use std::cell::RefCell;

use super::index::{Entry, Index};
use super::{archive, audit_state, effects, epochs};
use crate::consensus::check::{CheckedBlock, check_block, check_merkle_root, check_proof_of_work};
use crate::consensus::coins::{CoinView, Coins, Delta};
use crate::consensus::commitment::Committed;
use crate::consensus::connect::{BlockContext, ConnectError, connect};
use crate::consensus::filter::block_filter;
use crate::consensus::headers::HeaderTail;
use crate::consensus::params::Params;
use crate::primitives::amount::Amount;
use crate::primitives::hash::{BlockHash, FilterHeader, MerkleRoot, StateRoot};
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::keyed::HashSet;
use crate::primitives::mmr;
use crate::primitives::target::Bits;
use crate::primitives::tx::OutPoint;
use crate::receipt::weight::work_of;
use crate::storage::{BlockKey, Counts, Database, HeaderGap, StoreError, TxLocation};

/// Totals of a consistent store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Report {
    /// Height of the best chain.
    pub height: Height,
    /// Headers on all branches, genesis included.
    pub headers: u64,
    /// Transactions in the best chain, that of genesis included.
    pub transactions: u64,
    /// Unspent coins.
    pub coins: u64,
    /// What the unspent coins are worth together.
    pub value: Amount,
    /// The lowest height whose blocks are kept. If it is not genesis's, blocks below are pruned, and what only they can
    /// show was not checked: the coins and index entries that they made.
    pub kept_from: Height,
}

/// Replays the best chain from genesis by every rule, signatures included, and compares all that the store says about
/// it: headers, coins, undo records, filters, indexes, header range. Takes memory for all unspent coins. `progress` is told the
/// height reached and that of the tip.
///
/// If blocks are pruned, or the node started from a state, checks all headers and the header range, and connects the blocks that are kept again, as
/// [`check_recent`] does.
///
/// # Errors
/// [`StoreError::Corrupt`], naming the first thing that does not agree; or the store's own.
pub fn check(db: &Database, params: &Params, progress: &mut dyn FnMut(Height, Height)) -> Result<Report, StoreError> {
    if !db.check_meta(&params.genesis_hash)? {
        return Err(db.corrupt("it is empty"));
    }
    if db.is_restarting()? || db.state_load()?.is_some() {
        return Err(StoreError::Incomplete { dir: db.store().dir() });
    }
    let index = Index::load(db)?;
    let mut hashes = check_buried(db, params, &index)?;
    check_headers(db, params, &index)?;
    check_block_headers(db, &index)?;
    let tip = db.tip()?.ok_or_else(|| db.corrupt("there is no tip"))?;
    let tip = index.find(&tip).ok_or_else(|| db.corrupt(format!("tip {tip} has no header")))?;
    let root = hashes.len();
    let tip_place = index.place(&tip).ok_or_else(|| db.corrupt(format!("tip {} is buried", tip.hash)))?;
    hashes.extend(index.line(tip_place).map(|id| index.get(id)).map(|entry| (entry.height, entry.hash)));
    hashes[root..].reverse();
    for (height, hash) in &hashes {
        if db.hash_at(*height)? != Some(*hash) {
            return Err(db.corrupt(format!("the best chain's block at height {height} is not {hash}")));
        }
    }
    let kept_from = db.kept_from()?;
    if kept_from > Height::GENESIS {
        return check_pruned(db, params, &index, &hashes, (&tip, kept_from), progress);
    }

    let mut replay = Replay {
        db,
        params,
        coins: Coins::default(),
        filter_header: FilterHeader::ZERO,
        range: mmr::Range::default(),
        seen: Counts::default(),
    };
    let mut states = audit_state::Audit::new(db, params)?;
    if index.buried().gap().is_some() {
        return Err(db.corrupt("it has all blocks, but not all headers"));
    }
    for (height, hash) in hashes {
        let block = db.block(&BlockKey { height, hash })?;
        let block = block.ok_or_else(|| db.corrupt(format!("body of block {hash} is missing")))?;
        let block =
            check_block(block, params).map_err(|e| db.corrupt(format!("block {hash} at height {height}: {e}")))?;
        if block.hash() != hash {
            return Err(db.corrupt(format!("block {} is stored as block {hash}", block.hash())));
        }
        let delta = replay.step(&block, height, states.due(height))?;
        replay.seen.edges += u64::from(states.push(height, block.hash(), &delta)?);
        progress(height, tip.height);
    }
    replay.finish()?;
    states.finish()?;
    Ok(Report {
        height: tip.height,
        headers: (root + index.len()) as u64,
        transactions: replay.seen.transactions,
        coins: replay.seen.coins,
        value: Amount::saturating_sum(replay.coins.0.values().map(|coin| coin.output.value)),
        kept_from,
    })
}

/// [`check`] of a store whose blocks below a height are pruned. The headers and the list of the best chain are checked.
fn check_pruned(
    db: &Database,
    params: &Params,
    index: &Index,
    hashes: &[(Height, BlockHash)],
    (tip, kept_from): (&Entry, Height),
    progress: &mut dyn FnMut(Height, Height),
) -> Result<Report, StoreError> {
    if let Some(lowest) = db.lowest_kept()?.filter(|lowest| *lowest < kept_from) {
        return Err(db.corrupt(format!("something is kept of a block at height {lowest}, which is pruned")));
    }
    archive::check(db)?;
    let base = db.state_base()?.unwrap_or_default();
    let gap = index.buried().gap();
    let mut range = mmr::Range::default();
    for (height, hash) in hashes {
        let entry = index.find(hash).filter(|entry| entry.height == *height);
        let entry = entry.ok_or_else(|| db.corrupt(format!("block {hash} has no header")))?;
        if let Some(gap) = gap.filter(|gap| gap.end == *height) {
            range = gap.range().unwrap_or_default();
            for (number, node) in mmr::peak_numbers(range.leaves()).zip(range.peaks()) {
                if db.range_node(number)?.as_ref() != Some(node) {
                    return Err(db.corrupt(format!("node {number} of the header range is another")));
                }
            }
        }
        let own_work = work_of(&entry.header);
        for (number, node) in range.push_numbered(mmr::Node::leaf(entry.hash, own_work, entry.header.time)) {
            if db.range_node(number)? != Some(node) {
                return Err(db.corrupt(format!("node {number} of the header range is another")));
            }
        }
        if entry.height >= base {
            db.filter_header_of(&entry.key())?;
        }
    }
    let kept = tip.height.next().blocks_since(kept_from);
    let reached = RefCell::new((kept_from, progress));
    let going_on = || {
        let (height, progress) = &mut *reached.borrow_mut();
        progress(*height, tip.height);
        *height = height.next();
        true
    };
    check_recent(db, params, (tip.hash, tip.height), Level::Connect, kept, &going_on)?;
    audit_state::check_table(db)?;
    audit_state::check_kept(db, params)?;
    let (found, coins) = (db.counts()?, db.coin_stats()?);
    let heights = hashes.len() as u64;
    let filter_headers = tip.height.next().blocks_since(base).into();
    let range_nodes = match gap {
        None => mmr::node_count(heights),
        Some(HeaderGap { from, end, .. }) => {
            let [from, end, all] = [*from, *end, tip.height.next()].map(|leaves| u64::from(leaves.as_u32()));
            // Of the gap, only peaks are here.
            let peaks = mmr::peak_numbers(end).filter(|number| *number >= mmr::node_count(from)).count();
            mmr::node_count(from) + peaks as u64 + mmr::node_count(all) - mmr::node_count(end)
        }
    };
    let expected = (heights, filter_headers, range_nodes, u64::from(kept), coins.count);
    let counts = (found.heights, found.filter_headers, found.range_nodes, found.filters, found.address_coins);
    if counts != expected {
        return Err(
            db.corrupt(format!("it holds {found:?}, which does not go with {heights} blocks, {kept} of them whole"))
        );
    }
    let below_root = hashes.iter().take_while(|(height, _)| *height < index.root_height()).count();
    let (headers, transactions) = ((below_root + index.len()) as u64, found.transactions);
    Ok(Report { height: tip.height, headers, transactions, coins: coins.count, value: coins.value, kept_from })
}

/// How much [`check_recent`] checks: each level includes those below it. The numbers are Bitcoin Core's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// 0: bodies can be read and are the blocks that they are stored as.
    Read,
    /// 1: each keeps the rules that can be checked without any other block.
    Rules,
    /// 2: each has an undo record, for as many coins as it spends.
    Undo,
    /// 3: each output is unspent or spent by a later block, and no spent coin is still there.
    Coins,
    /// 4: each block connects again by every rule, signatures included, to the state before it, and its undo record,
    /// filter and index entries are right.
    Connect,
}

/// Checks the last `count` blocks of the best chain, whose tip is block `tip` at `height`, from the last one down. If
/// the tip moves meanwhile, the verdict means nothing. Ends at the first pruned block. Stops before a block if `going_on` returns `false`, and then
/// returns `false`.
///
/// # Errors
/// [`StoreError::Corrupt`], naming the first thing that does not agree; or the store's own.
pub fn check_recent(
    db: &Database,
    params: &Params,
    (tip, height): (BlockHash, Height),
    level: Level,
    count: u32,
    going_on: &dyn Fn() -> bool,
) -> Result<bool, StoreError> {
    let mut hash = tip;
    // Coins spent by the blocks above.
    let mut spent_later: HashSet<OutPoint> = HashSet::default();
    for height in Height::GENESIS.through(height).rev().take(count as usize) {
        if !going_on() {
            return Ok(false);
        }
        let fault = |what: String| db.corrupt(format!("block {hash} at height {height}: {what}"));
        // An archived block has no undo record.
        if height < db.kept_from()? {
            return Ok(true);
        }
        if db.hash_at(height)? != Some(hash) {
            return Err(fault("it is not listed as the best chain's".to_owned()));
        }
        let Some(block) = db.block(&BlockKey { height, hash })? else {
            return if height < db.kept_from()? { Ok(true) } else { Err(fault("its body is missing".to_owned())) };
        };
        let previous = block.header.previous;
        if block.hash() != hash {
            return Err(fault(format!("block {} is stored as it", block.hash())));
        }
        if level >= Level::Rules {
            let block = check_block(block, params).map_err(|e| fault(e.to_string()))?;
            if height > Height::GENESIS {
                check_proof_of_work(&block.block().header, &hash, params).map_err(|e| fault(e.to_string()))?;
            }
            if level >= Level::Undo {
                let delta = effects::delta_of(db, &block, height)?;
                if level >= Level::Coins {
                    check_coins(db, &delta, &mut spent_later)?;
                }
                if level >= Level::Connect {
                    let range = height.prev().map_or(Ok(mmr::Range::default()), |h| effects::load_range(db, h))?;
                    let own: HashSet<_> = block.txids().iter().collect();
                    let before = delta.spent.into_iter().filter(|(outpoint, _)| !own.contains(&outpoint.txid));
                    let coins = Coins(before.collect());
                    let filter_header = effects::filter_header_before(db, height, &previous)?;
                    let seen = Counts::default();
                    let due = epochs::due_root(params, db, height)?;
                    let due = due.ok_or_else(|| fault("the state that it commits to is missing".to_owned()))?;
                    Replay { db, params, coins, filter_header, range, seen }.step(&block, height, due)?;
                }
            }
        } else {
            check_merkle_root(&block.header, block.txids()).map_err(|e| fault(e.to_string()))?;
        }
        hash = previous;
    }
    Ok(true)
}

/// Compares the coins that a block made and spent with those in the store.
fn check_coins(db: &Database, delta: &Delta, spent_later: &mut HashSet<OutPoint>) -> Result<(), StoreError> {
    spent_later.extend(delta.spent.iter().map(|(outpoint, _)| *outpoint));
    for (outpoint, coin) in &delta.created {
        let expected = (!spent_later.contains(outpoint)).then_some(coin);
        if db.coin(outpoint)?.as_ref() != expected {
            return Err(db.corrupt(format!("coin {outpoint} is not as the blocks leave it")));
        }
    }
    for (outpoint, _) in &delta.spent {
        if db.coin(outpoint)?.is_some() {
            return Err(db.corrupt(format!("coin {outpoint} is spent, and there")));
        }
    }
    Ok(())
}

/// Checks the buried headers and the index of their hashes. Returns the hashes, by height, but for headers that are still to
/// come.
fn check_buried(db: &Database, params: &Params, index: &Index) -> Result<Vec<(Height, BlockHash)>, StoreError> {
    let (root, gap) = (index.root(), index.buried().gap());
    let (mut hashes, mut tail) = (Vec::new(), None::<HeaderTail>);
    let mut transactions = 0;
    for height in Height::GENESIS.until(root.height) {
        if let Some(gap) = gap.filter(|gap| gap.has(height)) {
            tail = Some(tail_below_gap_end(db, gap)?);
            continue;
        }
        let fault = |what: &str| db.corrupt(format!("the buried header at height {height} {what}"));
        let found = db.buried_at(height)?;
        let hash = found.header.hash();
        let tail = match &mut tail {
            None => tail.insert(HeaderTail::new(params)),
            Some(tail) => {
                let pushed = tail.push_child(&found.header, hash, params);
                pushed.map_err(|error| fault(&error.to_string()))?;
                tail
            }
        };
        transactions += u64::from(found.tx_count);
        if (tail.tip_hash(), tail.work(), transactions) != (hash, found.work, found.transactions) {
            return Err(fault("is another, or its sums are wrong"));
        }
        if db.find_buried(&hash)?.map(|(height, _)| height) != Some(height) {
            return Err(fault("is not found by its hash"));
        }
        hashes.push((height, hash));
    }
    let count = hashes.len() as u64;
    let previous = tail.as_ref().map(HeaderTail::tip_hash);
    if db.count_buried()? != (count, count) || previous.is_some_and(|last| last != root.header.previous) {
        return Err(db.corrupt(format!("the buried headers are not those below block {}", root.hash)));
    }
    let first_time = match tail {
        None => 0,
        Some(mut tail) => {
            tail.push_child(&root.header, root.hash, params).map_err(|error| db.corrupt(error.to_string()))?;
            tail.checkpoint().first_time
        }
    };
    if db.tree_root()?.is_none_or(|stored| stored.first_time != first_time) {
        return Err(db.corrupt("the root of the tree has another beginning"));
    }
    Ok(hashes)
}

/// The end of the headers that are still to come, as far as the rules need to know it: the range over them has the last time.
fn tail_below_gap_end(db: &Database, gap: &HeaderGap) -> Result<HeaderTail, StoreError> {
    let first_time = db.tree_root()?.map_or(0, |root| root.first_time);
    let time = gap.peaks.last().map_or(0, |last| last.last_time);
    let (previous, merkle_root) = (BlockHash::ZERO, MerkleRoot::ZERO);
    let last = Header { version: 0, previous, merkle_root, time, bits: Bits(0), nonce: 0 };
    Ok(HeaderTail::checked((last, gap.previous), gap.end.saturating_sub(1), gap.work(), first_time))
}

/// Checks every header on every branch that is not buried. Hashes and work are computed from the headers.
fn check_headers(db: &Database, params: &Params, index: &Index) -> Result<(), StoreError> {
    for entry in index.entries() {
        let fault = |what: String| db.corrupt(format!("header of block {}: {what}", entry.hash));
        if entry.height == Height::GENESIS {
            if entry.hash != params.genesis_hash {
                return Err(fault("it is not genesis".to_owned()));
            }
        } else {
            let mut tail = match (index.parent(&entry), index.buried().gap()) {
                (Some(parent), _) => index.tail(&parent),
                (None, Some(gap)) if entry.height == gap.end => tail_below_gap_end(db, gap)?,
                (None, _) => return Err(fault("it has no parent".to_owned())),
            };
            tail.push_child(&entry.header, entry.hash, params).map_err(|e| fault(e.to_string()))?;
        }
    }
    Ok(())
}

/// Checks that the headers of stored blocks are headers of the tree.
fn check_block_headers(db: &Database, index: &Index) -> Result<(), StoreError> {
    let is_known = |height: Height, hash: &BlockHash| {
        index.find(hash).is_some_and(|entry| entry.height == height && index.place(&entry).is_some())
    };
    match db.wrong_block_header(is_known)? {
        Some(height) => {
            Err(db.corrupt(format!("the header of a stored block at height {height} is not one of the tree")))
        }
        None => Ok(()),
    }
}

/// The state at a height, computed from blocks alone, and counts of the store's entries that it explains.
struct Replay<'a> {
    db: &'a Database,
    params: &'a Params,
    coins: Coins,
    filter_header: FilterHeader,
    range: mmr::Range,
    seen: Counts,
}

impl Replay<'_> {
    /// Connects a block, where `state` is the root over coins that it commits to, and compares what the store keeps for it
    /// alone. Returns what it does to the coins.
    fn step(&mut self, block: &CheckedBlock, height: Height, state: StateRoot) -> Result<Delta, StoreError> {
        let hash = block.hash();
        let at = BlockKey { height, hash };
        let fault = |what: String| self.db.corrupt(format!("block {hash} at height {height}: {what}"));
        let delta = if height == Height::GENESIS {
            Delta { created: Delta::created_by(block.block(), block.txids(), Height::GENESIS), ..Delta::default() }
        } else {
            let due = Committed { range: self.range.root(), state, filters: self.filter_header };
            let context = BlockContext { params: self.params, height, commitment: due.commitment() };
            connect(block, &context, &self.coins, |_| false).map_err(|error| match error {
                ConnectError::Rule(rule) => fault(rule.to_string()),
                ConnectError::View(never) => match never {},
            })?
        };
        if !self.db.undo(&at)?.iter().eq(delta.spent.iter().map(|(_, coin)| coin)) {
            return Err(fault("the undo record is not of the coins it spent".to_owned()));
        }
        let filter = block_filter(block.block(), delta.spent.iter().map(|(_, coin)| coin));
        self.filter_header = filter.header(&self.filter_header);
        let stored = (self.db.filter(&at)?, self.db.filter_header(&at)?);
        let hashes = (filter.hash(), self.filter_header);
        if stored != (Some((filter, self.filter_header)), Some(hashes)) {
            return Err(fault("the filter is not of its keys, or its header not over those before".to_owned()));
        }
        self.seen.filters += 1;
        self.seen.filter_headers += 1;
        for (position, txid) in (0..).zip(block.txids()) {
            if self.db.tx_location(txid)? != Some(TxLocation { height, position }) {
                return Err(fault(format!("transaction {txid} is not indexed there")));
            }
            self.seen.transactions += 1;
        }
        for (owner, entry) in effects::history(block, &delta.spent, height) {
            if self.db.history_entry(&owner, height, entry.position)? != Some(entry) {
                return Err(fault(format!("the history of key {owner:?} lacks transaction {}", entry.txid)));
            }
            self.seen.history += 1;
        }
        let work = block.block().header.bits.target().map_err(|e| fault(e.to_string()))?.work();
        let leaf = mmr::Node::leaf(hash, work, block.block().header.time);
        for (number, node) in self.range.push_numbered(leaf) {
            if self.db.range_node(number)? != Some(node) {
                return Err(fault(format!("node {number} of the header range is another")));
            }
            self.seen.range_nodes += 1;
        }
        self.seen.heights += 1;
        self.coins.apply(&delta);
        Ok(delta)
    }

    /// Compares the coins, and checks that the store has no entries that the blocks do not explain.
    fn finish(&mut self) -> Result<(), StoreError> {
        let mut wrong: Option<OutPoint> = None;
        self.db.for_each_coin(&mut |outpoint, coin| {
            if self.coins.0.get(outpoint) != Some(&coin) {
                wrong.get_or_insert(*outpoint);
            }
        })?;
        for (outpoint, coin) in &self.coins.0 {
            if coin.output.key().is_some_and(|owner| !matches!(self.db.owns_coin(owner, outpoint), Ok(true))) {
                wrong.get_or_insert(*outpoint);
            }
        }
        if let Some(OutPoint { txid, index }) = wrong {
            return Err(self.db.corrupt(format!("coin {txid}:{index} is not as the blocks leave it")));
        }
        self.seen.coins = self.coins.0.len() as u64;
        self.seen.address_coins = self.seen.coins;
        let found = self.db.counts()?;
        if found != self.seen {
            return Err(self.db.corrupt(format!("it holds {found:?}, the blocks account for {:?}", self.seen)));
        }
        Ok(())
    }
}
