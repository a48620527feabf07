//! Looks in the network for those who ask at `/routing/v1`: a bounded number of lookups, whose answers are remembered for a
//! while.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;
use tokio::sync::broadcast::error::RecvError;

use crate::p2p::bucket::{Bucket, Rate};
use crate::p2p::kad::{Contact, K, NodeId};
use crate::p2p::{Command, Event};
use crate::primitives::time::MonoTime;
use crate::runtime::Handle;

/// Lookups at a time, of the eight that the node makes for its owner.
const MAX_LOOKUPS: usize = 2;
/// Lookups that may begin at once, and the time after which one more may: half as often as the node begins any, so that it has
/// as many for itself.
const BURST: u64 = 16;
const INTERVAL: Duration = Duration::from_secs(4);
/// A token is a millisecond: a lookup takes an interval.
const TOKENS: u64 = INTERVAL.as_millis() as u64;
const RATE: Rate = Rate { gain: 1, most: BURST * TOKENS };
/// How long a caller waits; what was found by then is answered.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long an answer is remembered, and how many are, some 2 kB each.
const MEMORY: Duration = Duration::from_secs(60);
const MAX_REMEMBERED: usize = 1_024;

/// What is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sought {
    /// Providers of the content with this key.
    Providers(NodeId),
    /// A node.
    Node(NodeId),
}

/// The lookups.
pub(super) struct Lookups {
    handle: Handle,
    places: Semaphore,
    started: Instant,
    allowance: Mutex<Bucket>,
    known: Mutex<BTreeMap<Sought, (Instant, Vec<Contact>)>>,
}

impl Lookups {
    pub(super) fn new(handle: Handle) -> Self {
        Self {
            handle,
            places: Semaphore::new(MAX_LOOKUPS),
            started: Instant::now(),
            allowance: Mutex::new(Bucket::full(MonoTime::START, RATE)),
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<Sought, (Instant, Vec<Contact>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nodes that are named for what is sought, at most [`K`]: none if too much is asked for.
    pub(super) async fn find(&self, sought: Sought) -> Vec<Contact> {
        if let Some((at, found)) = self.known().get(&sought)
            && at.elapsed() < MEMORY
        {
            return found.clone();
        }
        let Ok(_place) = self.places.try_acquire() else { return Vec::new() };
        let now = MonoTime::from_millis(self.started.elapsed().as_millis() as u64);
        if !self.allowance.lock().unwrap_or_else(PoisonError::into_inner).take(now, RATE, TOKENS) {
            return Vec::new();
        }
        let mut found = Vec::new();
        // What was named in time counts.
        let _ = tokio::time::timeout(PATIENCE, self.look(sought, &mut found)).await;
        found.truncate(K);
        let mut known = self.known();
        if known.len() >= MAX_REMEMBERED {
            known.retain(|_, (at, _)| at.elapsed() < MEMORY);
        }
        if known.len() < MAX_REMEMBERED {
            known.insert(sought, (Instant::now(), found.clone()));
        }
        found
    }

    /// Adds what is named to `found` until the lookup ends.
    async fn look(&self, sought: Sought, found: &mut Vec<Contact>) {
        let mut events = self.handle.subscribe();
        let asked = self.handle.command(move |reply| match sought {
            Sought::Providers(key) => Command::FindProviders(key, reply),
            Sought::Node(id) => Command::FindNode(id, reply),
        });
        let Ok(Some(lookup)) = asked.await else { return };
        loop {
            match events.recv().await {
                Ok(Event::ProviderNamed { number, provider }) if number == lookup => found.push(provider),
                Ok(Event::NodesFound(ended)) if ended.number == Some(lookup) => {
                    if let Sought::Node(id) = sought {
                        found.extend(ended.nodes.iter().find(|contact| contact.id == id));
                    }
                    return;
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    }
}
