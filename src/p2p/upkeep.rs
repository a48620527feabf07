//! The upkeep of the archive: nodes that archive go, and others take up the [runs](Run) that few are left to keep.
//!
//! A node looks up the providers of the runs around its share in turn, in an order drawn at random, so that of several nodes one
//! comes first. A run that fewer than [`MIN_COPIES`] others keep it fetches from one that does. A run that was taken up so is given
//! up when as many others that are nearer to the key keep it, so the nearest stay and no two give up because of each other.
//!
//! Of the nodes near the key only those count that say so themselves (`keepers`), and only they have a run given up. It may be a lie: one
//! that a run is kept leaves all as it would be without this, and one that it is not costs the node a run of its room. Runs that a
//! node archived when it pruned them it never gives up.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use rand::RngExt;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha20Rng;

use crate::chain::Run;
use crate::p2p::archive::{MIN_COPIES, Runs};
use crate::p2p::connection::PeerId;
use crate::p2p::kad::{K, NodeId, Table};
use crate::p2p::search::Found;
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::primitives::time::MonoTime;

/// Time in which a node looks up each run around its share once, if it is not held up.
pub const SWEEP: Duration = Duration::from_secs(3_600);
/// Least time between two such lookups, before chance halves it at most: 31 MB a day among a million nodes, if the runs are many.
pub const MIN_CHECK_INTERVAL: Duration = Duration::from_secs(120);
/// A run is around a node's share if it is at most so many times as far from its id.
const REACH: u32 = 4;
/// So is one to whose key it knows fewer live contacts that are nearer.
const MAX_NEARER: usize = 2 * MIN_COPIES;
/// Blocks that a peer is asked for at a time.
pub const BATCH: usize = 16;
/// Time that a peer has for a batch, beside that for its bytes, and the longest that it may send no block. Then another is
/// asked. A fetch that has had no peer to ask for as long ends.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Time that a run has for each batch, beside that for its bytes, from any number of peers: 30 minutes for 720 blocks.
const BATCH_TIMEOUT: Duration = Duration::from_secs(40);
/// Least time that a run has: some peers may fail.
pub const MIN_FETCH_TIMEOUT: Duration = Duration::from_secs(1_800);
/// Bytes for which a peer has a millisecond more: 40 kB/s, since one on a slow line may be the last that keeps a run.
const PACE: u64 = 40;

/// Whether a node looks after the run with this key.
pub(crate) fn is_around(table: &Table, share: u32, key: &NodeId) -> bool {
    table.own().distance(key).leading() <= share.saturating_mul(REACH) || table.is_near(key, MAX_NEARER)
}

/// The nodes that keep a run, by a lookup of its providers. A lookup asks all live nodes around the key that are known: those say it
/// themselves, whatever records are left of others. Nodes further away are not asked, and count by their records.
pub(crate) fn keepers(found: &Found) -> BTreeSet<NodeId> {
    let reach = found.nodes.get(K - 1).map(|last| last.id.distance(&found.target));
    let is_beyond = |id: &NodeId| reach.is_some_and(|reach| id.distance(&found.target) > reach);
    let far = found.providers.iter().map(|provider| provider.id).filter(is_beyond);
    found.keepers.iter().copied().chain(far).collect()
}

/// A run that is being fetched.
#[derive(Debug)]
pub(crate) struct Fetch {
    pub(crate) run: Run,
    /// The next block. Lower ones follow.
    pub(crate) next: Height,
    /// Who is asked for which blocks.
    asked: Option<(PeerId, VecDeque<BlockHash>)>,
    /// When the peer that is asked gives way to another, or the fetch ends if none is asked.
    late: MonoTime,
    /// When the fetch ends, however many peers are left to ask.
    ends: MonoTime,
    /// Who lacks a block of it, or sent another body, or nothing.
    tried: BTreeSet<PeerId>,
}

impl Fetch {
    /// Of a run of so many blocks, from its last one on.
    pub(crate) fn new(now: MonoTime, run: Run, last: Height, blocks: u32) -> Self {
        let within = (BATCH_TIMEOUT * blocks.div_ceil(BATCH as u32)).max(MIN_FETCH_TIMEOUT);
        Self { run, next: last, asked: None, late: now + PATIENCE, ends: now + within, tried: BTreeSet::new() }
    }

    /// Whether no peer is asked for anything.
    pub(crate) fn is_idle(&self) -> bool {
        self.asked.is_none()
    }

    /// Whether a peer may be asked.
    pub(crate) fn may_ask(&self, peer: PeerId) -> bool {
        !self.tried.contains(&peer)
    }

    pub(crate) fn ask(&mut self, now: MonoTime, peer: PeerId, blocks: VecDeque<BlockHash>) {
        self.asked = Some((peer, blocks));
        self.late = now + PATIENCE;
    }

    /// Whether a block is the one that a peer is to send next.
    pub(crate) fn expects(&self, peer: PeerId, hash: &BlockHash) -> bool {
        self.asked.as_ref().is_some_and(|(asked, blocks)| *asked == peer && blocks.front() == Some(hash))
    }

    /// That block came, of so many bytes; `next` is the one below.
    pub(crate) fn came(&mut self, now: MonoTime, next: Height, bytes: usize) {
        let worth = Duration::from_millis(bytes as u64 / PACE);
        self.late = (self.late + worth).min(now + PATIENCE);
        self.ends += worth;
        self.next = next;
        if let Some((_, blocks)) = &mut self.asked {
            blocks.pop_front();
        }
        self.asked.take_if(|(_, blocks)| blocks.is_empty());
    }

    /// Whether a peer was asked for a block.
    pub(crate) fn has_asked(&self, peer: PeerId, hash: &BlockHash) -> bool {
        self.asked.as_ref().is_some_and(|(asked, blocks)| *asked == peer && blocks.contains(hash))
    }

    /// A peer that was asked has not what it said, or is too slow, or gone.
    pub(crate) fn failed(&mut self, now: MonoTime, peer: PeerId) {
        self.tried.insert(peer);
        if self.asked.take_if(|(asked, _)| *asked == peer).is_some() {
            self.late = now + PATIENCE;
        }
    }

    /// Notes that the peer that is asked is too slow. Whether the fetch is to end, since there has been no peer to ask for long,
    /// or since it has taken too long in all.
    pub(crate) fn is_over(&mut self, now: MonoTime) -> bool {
        if now < self.deadline() {
            return false;
        }
        let Some((peer, _)) = self.asked.as_ref().filter(|_| now < self.ends) else { return true };
        self.failed(now, *peer);
        false
    }

    fn deadline(&self) -> MonoTime {
        self.late.min(self.ends)
    }
}

/// The runs that a node looks after.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    /// Those that are still to be looked up in this sweep.
    sweep: Vec<Run>,
    pace: Duration,
    /// When the next is looked up; `None` for never.
    next: Option<MonoTime>,
    /// The one whose lookup is under way.
    checking: Option<(Run, NodeId)>,
    pub(crate) fetch: Option<Fetch>,
    /// Nodes that were dialled for the last one.
    pub(crate) dialled: Vec<NodeId>,
    /// Runs that were fetched.
    pub(crate) taken_up: Runs,
    /// Keys of the runs that the node has. It announces them.
    pub(crate) keys: BTreeSet<NodeId>,
    /// Those of them for which the announcer had no room. They are tried again before each lookup.
    pub(crate) refused: BTreeSet<NodeId>,
}

impl Upkeep {
    /// Of a node that archives a `share`.
    pub(crate) fn new(now: MonoTime, share: u32, taken_up: Runs, rng: &mut ChaCha20Rng) -> Self {
        let mut upkeep = Self { pace: MIN_CHECK_INTERVAL, taken_up, ..Self::default() };
        if share > 0 {
            upkeep.wait(now, rng);
        }
        upkeep
    }

    /// The chain begins anew. What is announced is brought in line with it elsewhere.
    pub(crate) fn restart(&mut self) {
        let Self { sweep, pace: _, next: _, checking, fetch, dialled: _, taken_up, keys: _, refused: _ } = self;
        sweep.clear();
        (*checking, *fetch, *taken_up) = (None, None, Runs::default());
    }

    /// Whether it is time for a lookup.
    pub(crate) fn is_due(&self, now: MonoTime) -> bool {
        self.fetch.is_none() && self.next.is_some_and(|next| next <= now)
    }

    /// Whether the sweep is at its end.
    pub(crate) fn is_swept(&self) -> bool {
        self.sweep.is_empty()
    }

    /// Begins a sweep over these runs.
    pub(crate) fn begin(&mut self, mut runs: Vec<Run>, rng: &mut ChaCha20Rng) {
        runs.shuffle(rng);
        self.pace = (SWEEP / u32::try_from(runs.len()).unwrap_or(u32::MAX).max(1)).max(MIN_CHECK_INTERVAL);
        self.sweep = runs;
    }

    /// The next run of the sweep.
    pub(crate) fn take(&mut self) -> Option<Run> {
        self.sweep.pop()
    }

    /// The time of the next lookup: at half to one and a half times the pace.
    pub(crate) fn wait(&mut self, now: MonoTime, rng: &mut ChaCha20Rng) {
        self.next = Some(now + self.pace.mul_f64(rng.random_range(0.5..1.5)));
    }

    /// A lookup of a run has begun.
    pub(crate) fn check(&mut self, run: Run, key: NodeId) {
        self.checking = Some((run, key));
    }

    /// The run that a lookup was for.
    pub(crate) fn checked(&mut self, key: &NodeId) -> Option<Run> {
        self.checking.take_if(|(_, looked_up)| looked_up == key).map(|(run, _)| run)
    }

    pub(crate) fn disconnected(&mut self, now: MonoTime, peer: PeerId) {
        if let Some(fetch) = &mut self.fetch {
            fetch.failed(now, peer);
        }
    }

    pub(crate) fn deadline(&self) -> Option<MonoTime> {
        match &self.fetch {
            Some(fetch) => Some(fetch.deadline()),
            None => self.next,
        }
    }

    /// Panics if a peer is asked that is not `ready`, or for too much.
    pub(crate) fn assert_conserved(&self, ready: &[PeerId]) {
        let mut asked = self.fetch.iter().filter_map(|fetch| fetch.asked.as_ref());
        let is_right = |(peer, blocks): &(PeerId, VecDeque<BlockHash>)| {
            ready.contains(peer) && (1..=BATCH).contains(&blocks.len())
        };
        assert!(asked.all(is_right), "{:?}", self.fetch);
    }

    /// Extend the deadlines of peers' answers by a span.
    pub(crate) fn extend_deadlines(&mut self, by: Duration) {
        if let Some(fetch) = &mut self.fetch {
            fetch.late += by;
            fetch.ends += by;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p2p::kad::Contact;
    use crate::p2p::search::Purpose;

    fn contact(n: u8) -> Contact {
        Contact { id: NodeId([n; 32]), address: ([10, 0, 0, n], 7331).into() }
    }

    /// A provider that is named can be far away, or long gone.
    #[test]
    fn keepers_are_those_that_say_so_and_those_too_far_to_be_asked() {
        let found = |nodes: &[u8], providers: &[u8], keepers: &[u8]| Found {
            number: None,
            purpose: Purpose::Providers,
            providers: providers.iter().map(|n| contact(*n)).collect(),
            keepers: keepers.iter().map(|n| contact(*n).id).collect(),
            target: NodeId([0; 32]),
            nodes: nodes.iter().map(|n| contact(*n)).collect(),
            path: Vec::new(),
            took: Duration::ZERO,
            complete: true,
        };
        let ids = |found: Found| keepers(&found).iter().map(|id| id.0[0]).collect::<Vec<u8>>();
        let few: Vec<u8> = (1..K as u8).collect();
        assert_eq!(
            ids(found(&few, &[3, 90, 91, 2, 4], &[2, 3])),
            [2, 3],
            "all nodes are known, and 4 does not keep it"
        );
        let many: Vec<u8> = (11..11 + K as u8).collect();
        assert_eq!(ids(found(&many, &[5, 6, 12, 200, 200], &[12])), [12, 200], "5 and 6 would have been asked");
    }

    #[test]
    fn a_silent_peer_is_not_asked_again_and_a_fetch_without_peers_ends() {
        let [mut now, first] = [MonoTime::START; 2];
        let (peer, hash) = (PeerId(1), BlockHash::from_bytes([1; 32]));
        let mut fetch = Fetch::new(first, Run(0), Height::from_u32(4), 5);
        fetch.ask(now, peer, [hash, hash].into());
        assert!(fetch.expects(peer, &hash) && !fetch.expects(PeerId(2), &hash) && !fetch.is_over(now));
        now += PATIENCE / 2;
        fetch.came(now, Height::from_u32(3), 0);
        now += PATIENCE;
        assert!(!fetch.is_over(now) && fetch.is_idle() && !fetch.may_ask(peer) && fetch.may_ask(PeerId(2)));
        assert!(!fetch.expects(peer, &hash));
        now += PATIENCE;
        assert!(fetch.is_over(now));
    }

    /// Else it could hold up the upkeep for as long as it has blocks.
    #[test]
    fn a_peer_that_sends_slowly_gives_way_and_a_fetch_ends_in_all() {
        let [mut now, first] = [MonoTime::START; 2];
        let (hash, height) = (BlockHash::from_bytes([1; 32]), Height::from_u32(4));
        // Of tiny blocks a peer sends one in its time; of large ones all, if none takes longer than its bytes.
        for (bytes, expected) in [(300, 1), (1_200_000, BATCH)] {
            let mut fetch = Fetch::new(now, Run(0), height, 720);
            fetch.ask(now, PeerId(1), vec![hash; BATCH].into());
            let mut blocks = 0;
            while blocks < BATCH {
                now += PATIENCE - Duration::from_secs(1);
                if fetch.is_over(now) || fetch.is_idle() {
                    break;
                }
                fetch.came(now, height, bytes);
                blocks += 1;
            }
            assert_eq!((blocks, fetch.may_ask(PeerId(1))), (expected, expected == BATCH), "blocks of {bytes} bytes");
        }
        // Peers that fail one after another are not asked without end.
        for (blocks, seconds) in [(4, 1_800), (720, 1_800), (100_000, 250_000)] {
            now = first;
            let mut fetch = Fetch::new(now, Run(0), height, blocks);
            let is_over = (0..u64::from(blocks) + 100).any(|peer| {
                fetch.ask(now, PeerId(peer), [hash].into());
                now += PATIENCE;
                fetch.is_over(now)
            });
            let expected = first + Duration::from_secs(seconds);
            assert!(is_over && expected <= now && now < expected + 2 * PATIENCE, "{blocks} blocks: {now:?}");
        }
        // A peer that goes leaves the next one its time.
        let mut fetch = Fetch::new(first, Run(0), height, 5);
        fetch.ask(first, PeerId(1), [hash].into());
        let almost = PATIENCE - Duration::from_secs(1);
        fetch.failed(first + almost, PeerId(1));
        assert!(!fetch.is_over(first + 2 * almost) && fetch.is_over(first + almost + PATIENCE));
    }
}
