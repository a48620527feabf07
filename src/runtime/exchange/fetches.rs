//! The fetches of a node: begun, watched and joined by callers, and ended when no caller is left.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc as blocking;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::dispatch::Dispatcher;
use super::gather::Gatherer;
use super::walk::Part;
use super::{Exchange, FetchError, Progress};
use crate::ipld::Cid;
use crate::p2p::Command;
use crate::p2p::kad::NodeId;

/// Fetches at a time.
pub const MAX_FETCHES: usize = 16;
/// How long a fetch goes on when no caller asks for it any more, and its result is remembered.
const UNWATCHED: Duration = Duration::from_secs(30);

/// What is fetched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// The root, at whose providers all else is found too.
    pub root: Cid,
    /// Names that lead down from it, divided by `/`.
    pub path: Vec<u8>,
    /// What of the file or directory at their end.
    pub part: Part,
}

/// How a fetch stands.
#[derive(Debug, Clone)]
pub struct FetchStatus {
    /// How far it is.
    pub progress: Progress,
    /// How it ended, if it did.
    pub ended: Option<Result<(), FetchError>>,
}

struct Fetch {
    progress: Arc<Mutex<Progress>>,
    ended: watch::Receiver<Option<Result<(), FetchError>>>,
    /// Until when a caller waits, or waited last.
    awaited_until: Arc<Mutex<Instant>>,
}

/// The fetches that are under way or have ended lately.
#[derive(Clone, Default)]
pub struct Fetches(Arc<Mutex<BTreeMap<Wanted, Fetch>>>);

impl Fetches {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<Wanted, Fetch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fetches what is not here of a part of a DAG, unless that is under way, and waits for its end or for a time. `patience` is how long no
    /// block may come. `None` if too many fetches are under way. A result is answered once.
    pub async fn fetch(
        &self,
        exchange: &Exchange,
        wanted: Wanted,
        patience: Duration,
        wait: Duration,
    ) -> Option<FetchStatus> {
        let (progress, mut ended) = {
            let mut all = self.lock();
            let now = Instant::now();
            let last = |fetch: &Fetch| *fetch.awaited_until.lock().unwrap_or_else(PoisonError::into_inner);
            all.retain(|_, fetch| fetch.ended.borrow().is_none() || last(fetch) + UNWATCHED > now);
            if !all.contains_key(&wanted) {
                if all.values().filter(|fetch| fetch.ended.borrow().is_none()).count() >= MAX_FETCHES {
                    return None;
                }
                all.insert(wanted.clone(), begin(exchange.clone(), wanted.clone(), patience));
            }
            let fetch = all.get(&wanted)?;
            let mut until = fetch.awaited_until.lock().unwrap_or_else(PoisonError::into_inner);
            *until = (*until).max(now + wait);
            drop(until);
            (Arc::clone(&fetch.progress), fetch.ended.clone())
        };
        let result = match tokio::time::timeout(wait, ended.wait_for(Option::is_some)).await {
            Ok(Ok(result)) => result.clone(),
            Ok(Err(_)) => Some(Err(FetchError::Stopped)),
            Err(_) => None,
        };
        if result.is_some() {
            self.lock().remove(&wanted);
        }
        let progress = progress.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(FetchStatus { progress, ended: result })
    }
}

fn begin(exchange: Exchange, wanted: Wanted, patience: Duration) -> Fetch {
    let progress = Arc::<Mutex<Progress>>::default();
    let awaited_until = Arc::new(Mutex::new(Instant::now()));
    let (end, ended) = watch::channel(None);
    let (shared, watched) = (Arc::clone(&progress), Arc::clone(&awaited_until));
    exchange.0.runtime.clone().spawn(async move {
        let unwatched = async {
            loop {
                let until = *watched.lock().unwrap_or_else(PoisonError::into_inner) + UNWATCHED;
                if until <= Instant::now() {
                    return;
                }
                tokio::time::sleep_until(until).await;
            }
        };
        let given_up = async {
            tokio::select! {
                () = unwatched => {}
                () = exchange.0.link.stopped() => {}
            }
        };
        end.send_replace(Some(run(&exchange, wanted, patience, shared, given_up).await));
    });
    Fetch { progress, ended, awaited_until }
}

async fn run(
    exchange: &Exchange,
    Wanted { root, path, part }: Wanted,
    patience: Duration,
    progress: Arc<Mutex<Progress>>,
    given_up: impl Future<Output = ()>,
) -> Result<(), FetchError> {
    let (requests, asked) = mpsc::unbounded_channel();
    let (arrived, arrivals) = blocking::channel();
    let mut dispatcher = Dispatcher::new(exchange.clone(), root, patience, Arc::clone(&progress), arrived);
    let (shared, is_whole) = (exchange.clone(), part == Part::All && path.iter().all(|byte| *byte == b'/'));
    let counted = Arc::clone(&progress);
    let gathering = tokio::task::spawn_blocking(move || {
        let gatherer = Gatherer {
            reader: &shared.0.reader,
            writer: shared.0.keeper.writer(),
            turns: &shared.0.turns,
            requests,
            arrivals,
            progress: counted,
            open: HashMap::new(),
        };
        gatherer.run(root, &path, part)
    });
    let dispatched = tokio::select! {
        dispatched = dispatcher.run(asked) => dispatched,
        () = given_up => Err(FetchError::Stopped),
    };
    dispatcher.hang_up().await;
    // Without it the gathering thread waits for nothing more, and ends.
    drop(dispatcher);
    let gathered = gathering.await.map_err(|_| FetchError::Stopped)?;
    dispatched?;
    gathered?;
    let has_fetched = progress.lock().unwrap_or_else(PoisonError::into_inner).fetched_blocks > 0;
    if is_whole && has_fetched {
        // Others find it here now.
        let key = NodeId::of_content(&root.multihash());
        let announced = exchange.0.link.command(move |reply| Command::Announce(key, reply)).await;
        announced.map_err(|_| FetchError::Stopped)?;
    }
    Ok(())
}
