//! The mining threads.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::kernel;
use super::template::Template;
use crate::primitives::block::Block;

/// Nonces tried between two checks for stale work: about half a millisecond on a fast processor, two on a slow one.
const CHUNK: u32 = 1 << 14;

/// Threads that search for the nonce of the present job, and sleep when there is none. Dropping it stops and joins
/// them.
pub struct Miner {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    slot: Mutex<Slot>,
    /// Told when the slot changes.
    changed: Condvar,
    hashes: AtomicU64,
    found: Box<dyn Fn(Block) + Send + Sync>,
}

#[derive(Default)]
struct Slot {
    job: Option<Arc<Job>>,
    stopping: bool,
}

struct Job {
    template: Template,
    started: Instant,
    /// Found, replaced or cancelled.
    done: AtomicBool,
}

impl Miner {
    /// Starts `threads` threads, without a job. `found` is called on one of them with a block that meets its target,
    /// at most once a job, and should return soon.
    ///
    /// # Errors
    /// The system's, if it cannot start a thread; none is left running then.
    pub fn start(threads: NonZeroUsize, found: impl Fn(Block) + Send + Sync + 'static) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            slot: Mutex::default(),
            changed: Condvar::new(),
            hashes: AtomicU64::new(0),
            found: Box::new(found),
        });
        let mut miner = Self { shared, threads: Vec::new() };
        for index in 0..threads.get() {
            let shared = miner.shared.clone();
            let stride = threads.get() as u64;
            let thread = thread::Builder::new()
                .name(format!("miner-{index}"))
                .spawn(move || shared.work(index as u64, stride))?;
            miner.threads.push(thread);
        }
        Ok(miner)
    }

    /// Sets the job of all threads, or none. Work on the previous job ends within milliseconds.
    ///
    /// The threads take extra nonces in turn, from the template's own upwards.
    pub fn set_job(&self, template: Option<Template>) {
        let job =
            template.map(|template| Arc::new(Job { template, started: Instant::now(), done: AtomicBool::new(false) }));
        let mut slot = self.shared.lock();
        if let Some(old) = std::mem::replace(&mut slot.job, job) {
            old.done.store(true, Ordering::Relaxed);
        }
        self.shared.changed.notify_all();
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    /// Headers hashed so far.
    pub fn hashes(&self) -> u64 {
        self.shared.hashes.load(Ordering::Relaxed)
    }
}

impl Drop for Miner {
    fn drop(&mut self) {
        self.set_job(None);
        self.shared.lock().stopping = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // A thread that panicked has reported it already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// No code under this lock can panic halfway, so a poisoned lock still guards consistent data.
    fn lock(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A thread's loop: waits for a job and works on it.
    fn work(&self, index: u64, stride: u64) {
        while let Some(job) = self.next_job() {
            if let Some(block) = self.search(&job, index, stride) {
                (self.found)(block);
            }
        }
    }

    /// Waits for a job that is not done; `None` when the threads are to stop.
    fn next_job(&self) -> Option<Arc<Job>> {
        let mut slot = self.lock();
        loop {
            match &slot.job {
                _ if slot.stopping => return None,
                Some(job) if !job.done.load(Ordering::Relaxed) => return Some(job.clone()),
                _ => slot = self.changed.wait(slot).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }

    /// Searches until this or another thread finds a block or the job is done otherwise.
    fn search(&self, job: &Job, index: u64, stride: u64) -> Option<Block> {
        let mut template = job.template.clone();
        let mut extra_nonce = template.extra_nonce().wrapping_add(index);
        loop {
            template.set_extra_nonce(extra_nonce);
            for start in (0..=u32::MAX).step_by(CHUNK as usize) {
                if job.done.load(Ordering::Relaxed) {
                    return None;
                }
                // The clock goes on while the job lasts.
                let elapsed = u32::try_from(job.started.elapsed().as_secs()).unwrap_or(u32::MAX);
                template.header.time = job.template.header.time.saturating_add(elapsed);
                let found = kernel::search(&template.header, template.target, start..=start + (CHUNK - 1));
                let tried = found.map_or(CHUNK, |nonce| nonce - start + 1);
                self.hashes.fetch_add(u64::from(tried), Ordering::Relaxed);
                if let Some(nonce) = found {
                    let first = !job.done.swap(true, Ordering::Relaxed);
                    return first.then(|| template.block(nonce));
                }
            }
            extra_nonce = extra_nonce.wrapping_add(stride);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::primitives::height::Height;
    use std::sync::mpsc;

    use ruint::aliases::U256;

    use super::*;
    use crate::chain::Chain;
    use crate::consensus::params::{GenesisSpec, Params};
    use crate::mempool::{Limits, Mempool};
    use crate::miner::template;
    use crate::primitives::keys::PublicKey;
    use crate::primitives::target::Target;
    use crate::primitives::time::UnixTime;
    use crate::storage::MemoryStore;

    const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);

    fn chain() -> Chain {
        let params = Arc::new(Params::new(GenesisSpec::regtest()).expect("valid parameters"));
        Chain::open(params, Arc::new(MemoryStore::default())).expect("a chain in memory")
    }

    /// On the tip, told from others by its extra nonce.
    fn easy(chain: &Chain, extra_nonce: u64) -> Template {
        let pool = Mempool::new(chain.params().clone(), Limits::default());
        template::build(chain, &pool, &PublicKey([7; 32]), extra_nonce, NOW).expect("a template")
    }

    /// No hash meets its target.
    fn endless(chain: &Chain) -> Template {
        let mut template = easy(chain, 1 << 40);
        template.target = Target(U256::ONE);
        template
    }

    fn start(threads: usize) -> (Miner, mpsc::Receiver<Block>) {
        let (sender, found) = mpsc::channel();
        let threads = NonZeroUsize::new(threads).expect("not zero");
        let miner = Miner::start(threads, move |block| sender.send(block).expect("a test waits")).expect("threads");
        (miner, found)
    }

    /// Waits until the threads have hashed more than they have now.
    fn wait_for_work(miner: &Miner) {
        let before = miner.hashes();
        while miner.hashes() == before {
            thread::yield_now();
        }
    }

    #[test]
    fn found_blocks_are_valid_and_one_a_job() {
        let mut chain = chain();
        let (miner, found) = start(2);
        for height in 1..=20 {
            miner.set_job(Some(easy(&chain, 1000 * u64::from(height))));
            let block = found.recv().expect("the miner lives");
            chain.accept_block(block, NOW, &|_| false).expect("a valid block");
            assert_eq!(chain.tip().height, Height::from_u32(height));
        }
        assert!(miner.hashes() >= 20);
        drop(miner);
        assert_eq!(found.iter().count(), 0);
    }

    #[test]
    fn stale_work_gives_way_to_new_work() {
        let chain = chain();
        let (miner, found) = start(2);
        for round in 0..10 {
            miner.set_job(Some(endless(&chain)));
            wait_for_work(&miner);
            miner.set_job(Some(easy(&chain, 10 * round)));
            let block = found.recv().expect("the miner lives");
            let expected = [0, 1].map(|thread| {
                let mut template = easy(&chain, 10 * round);
                template.set_extra_nonce(10 * round + thread);
                template.header.merkle_root
            });
            assert!(expected.contains(&block.header.merkle_root));
        }
    }

    #[test]
    fn dropping_ends_endless_work() {
        let chain = chain();
        let (miner, found) = start(2);
        miner.set_job(Some(endless(&chain)));
        wait_for_work(&miner);
        assert_eq!(miner.threads(), 2);
        drop(miner);
        assert_eq!(found.iter().count(), 0, "the threads are gone, and with them the sender");
    }
}
