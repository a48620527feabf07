//! The requests to pin, each in a file, and the work for them: fetch, and pin.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::model::{Filter, Pin, Request, Status};
use crate::content::{
    CONTENT_DIR, ContentError, ContentReader, ContentStore, Pin as ContentPin, PinKind, PinName, STORE_PATIENCE,
};
use crate::ipld::Cid;
use crate::p2p::{Command, PeerAddr};
use crate::runtime::exchange::{Fetches, Part, Wanted};
use crate::runtime::{Handle, unix_now};
use crate::storage::private_file;

/// Requests that are kept, at most.
const MAX_REQUESTS: usize = 10_000;
/// Requests that are worked for at a time: fewer than the fetches that a node makes.
const MAX_AT_WORK: usize = 4;
/// How long no block may come before a request fails.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long one look at a fetch takes: it is ended half a minute after the last.
const LOOK: Duration = Duration::from_secs(5);
/// How often a DAG is fetched again whose blocks were collected before it was pinned.
const MAX_ROUNDS: usize = 3;
/// Directory of the requests in that of the content.
const DIR: &str = "requests";

/// The service. Clones share everything.
#[derive(Clone)]
pub(super) struct Service(Arc<Shared>);

struct Shared {
    handle: Handle,
    fetches: Fetches,
    /// Of the content.
    dir: PathBuf,
    max_bytes: u64,
    /// By time of creation, the oldest first.
    requests: Mutex<BTreeMap<u64, Kept>>,
    places: Semaphore,
    stopping: CancellationToken,
}

struct Kept {
    request: Request,
    /// Ends the work for it.
    end: CancellationToken,
}

impl Service {
    /// The service of a node, with the requests of earlier runs, whose work begins again. Called within the runtime.
    pub(super) fn new(
        handle: Handle,
        fetches: Fetches,
        data_dir: &Path,
        max_bytes: u64,
        stopping: CancellationToken,
    ) -> Self {
        let dir = data_dir.join(CONTENT_DIR);
        let mut requests = BTreeMap::new();
        for file in fs::read_dir(dir.join(DIR)).into_iter().flatten().flatten() {
            let request = fs::read(file.path()).ok().and_then(|bytes| serde_json::from_slice::<Request>(&bytes).ok());
            match request {
                Some(request) => {
                    let end = stopping.child_token();
                    requests.insert(request.created, Kept { request, end });
                }
                None => tracing::warn!(path = %file.path().display(), "a request to pin cannot be read"),
            }
        }
        let open: Vec<u64> = requests.iter().filter(|(_, kept)| kept.request.is_open()).map(|(at, _)| *at).collect();
        let places = Semaphore::new(MAX_AT_WORK);
        let requests = Mutex::new(requests);
        let service = Self(Arc::new(Shared { handle, fetches, dir, max_bytes, requests, places, stopping }));
        open.into_iter().for_each(|created| service.begin(created));
        service
    }

    fn requests(&self) -> MutexGuard<'_, BTreeMap<u64, Kept>> {
        self.0.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Requests that a filter takes, the newest first, and how many there are.
    pub(super) fn list(&self, filter: &Filter) -> (usize, Vec<Request>) {
        let requests = self.requests();
        let taken = requests.values().rev().map(|kept| &kept.request).filter(|request| filter.takes(request));
        (taken.clone().count(), taken.take(filter.limit).cloned().collect())
    }

    /// One request.
    pub(super) fn get(&self, id: &str) -> Option<Request> {
        self.requests().values().map(|kept| &kept.request).find(|request| request.id == id).cloned()
    }

    /// Takes a request, and begins to work for it. `None` if there are too many. Call it where waiting is allowed.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn add(&self, pin: Pin) -> Result<Option<Request>, ContentError> {
        let request = {
            let mut requests = self.requests();
            if requests.len() >= MAX_REQUESTS {
                return Ok(None);
            }
            let now = unix_now().as_secs() * 1_000;
            let created = requests.last_key_value().map_or(now, |(last, _)| now.max(last + 1));
            let id = hex::encode(rand::random::<[u8; 16]>());
            let request = Request { id, status: Status::Queued, created, pin, reason: None, made: false };
            self.write(&request)?;
            let end = self.0.stopping.child_token();
            requests.insert(created, Kept { request: request.clone(), end });
            request
        };
        self.begin(request.created);
        Ok(Some(request))
    }

    /// Takes a request back, and the pin that was made for it, unless another request has the same content. `false` if there is
    /// none. Call it where waiting is allowed.
    ///
    /// # Errors
    /// [`ContentError`].
    pub(super) fn remove(&self, id: &str) -> Result<bool, ContentError> {
        let (gone, heir) = {
            let mut requests = self.requests();
            let Some(created) = requests.iter().find(|(_, kept)| kept.request.id == id).map(|(created, _)| *created)
            else {
                return Ok(false);
            };
            let Some(gone) = requests.remove(&created) else { return Ok(false) };
            gone.end.cancel();
            let path = self.path(id);
            fs::remove_file(&path).map_err(|error| ContentError::Io { path, error })?;
            let is_same = |kept: &&mut Kept| kept.request.pin.cid == gone.request.pin.cid;
            let heir = requests.values_mut().find(is_same).map(|kept| {
                // The pin stays as long as this one.
                kept.request.made |= gone.request.made;
                kept.request.clone()
            });
            (gone.request, heir)
        };
        match heir {
            Some(heir) => self.write(&heir)?,
            None if gone.made => {
                let mut store = ContentStore::open_within(&self.0.dir, self.0.max_bytes, STORE_PATIENCE)?;
                if let Ok(cid) = gone.pin.cid.parse() {
                    match store.unpin(&cid) {
                        Err(ContentError::NotPinned { .. }) => {}
                        done => done?,
                    }
                }
            }
            None => {}
        }
        Ok(true)
    }

    fn path(&self, id: &str) -> PathBuf {
        self.0.dir.join(DIR).join(format!("{id}.json"))
    }

    fn write(&self, request: &Request) -> Result<(), ContentError> {
        let dir = self.0.dir.join(DIR);
        private_file::create_dir(&self.0.dir)
            .and_then(|()| private_file::create_dir(&dir))
            .map_err(|error| ContentError::Io { path: dir, error })?;
        let (path, text) = (self.path(&request.id), serde_json::json!(request).to_string());
        private_file::replace(&path, text.as_bytes()).map_err(|error| ContentError::Io { path, error })
    }

    /// Changes a request that is still there.
    fn change(&self, created: u64, change: impl FnOnce(&mut Request)) {
        let mut requests = self.requests();
        let Some(kept) = requests.get_mut(&created) else { return };
        change(&mut kept.request);
        // It is worked for again after a restart.
        if let Err(error) = self.write(&kept.request) {
            tracing::warn!(%error, "a request to pin cannot be written");
        }
    }

    fn begin(&self, created: u64) {
        let service = self.clone();
        let Some(end) = self.requests().get(&created).map(|kept| kept.end.clone()) else { return };
        tokio::spawn(async move {
            let work = async {
                let Ok(_place) = service.0.places.acquire().await else { return };
                let Some(pin) = service.requests().get(&created).map(|kept| kept.request.pin.clone()) else { return };
                service.change(created, |request| request.status = Status::Pinning);
                let (status, made, reason) = match service.work(&pin).await {
                    Ok(made) => (Status::Pinned, made, None),
                    Err(reason) => (Status::Failed, false, Some(reason)),
                };
                service.change(created, |request| {
                    (request.status, request.reason) = (status, reason);
                    request.made |= made;
                });
            };
            tokio::select! {
                () = work => {}
                () = end.cancelled() => {}
            }
        });
    }

    /// Fetches and pins. Whether it was not pinned before.
    async fn work(&self, pin: &Pin) -> Result<bool, String> {
        let cid: Cid = pin.cid.parse().map_err(|error| format!("cid: {error}"))?;
        for origin in pin.origins.iter().flatten().filter_map(|origin| origin_of(origin)) {
            let dialling = self.0.handle.command(move |reply| Command::ConnectOnce(origin, None, reply));
            dialling.await.map_err(|error| error.to_string())?;
        }
        let mut failure = String::new();
        for _ in 0..MAX_ROUNDS {
            if self.0.handle.exchange().is_some() {
                self.fetch(cid).await?;
            }
            let (service, name) = (self.clone(), PinName::fitting(pin.name.as_deref().unwrap_or_default()));
            let pinning = tokio::task::spawn_blocking(move || keep(&service.0.dir, service.0.max_bytes, cid, name));
            match pinning.await.map_err(|_| "the work failed inside this node".to_owned())? {
                Ok(made) => return Ok(made),
                Err(
                    error @ (ContentError::Missing { .. } | ContentError::Damaged { .. } | ContentError::InUse { .. }),
                ) => {
                    failure = error.to_string();
                }
                Err(error) => return Err(error.to_string()),
            }
        }
        Err(failure)
    }

    async fn fetch(&self, cid: Cid) -> Result<(), String> {
        let Some(exchange) = self.0.handle.exchange() else { return Ok(()) };
        let wanted = Wanted { root: cid, path: Vec::new(), part: Part::All };
        loop {
            match self.0.fetches.fetch(exchange, wanted.clone(), PATIENCE, LOOK).await {
                Some(status) => {
                    if let Some(ended) = status.ended {
                        return ended.map_err(|error| error.to_string());
                    }
                }
                // Others have all places.
                None => tokio::time::sleep(LOOK).await,
            }
        }
    }
}

/// Pins what is here, if it is whole. `false` if it is pinned already.
fn keep(dir: &Path, max_bytes: u64, cid: Cid, name: PinName) -> Result<bool, ContentError> {
    let is_kept = |reader: &ContentReader| -> Result<bool, ContentError> {
        Ok(reader.pins()?.iter().any(|pin| pin.cid == cid && pin.kind == PinKind::Recursive))
    };
    let reader = ContentReader::open(dir)?;
    if is_kept(&reader)? {
        return Ok(false);
    }
    let checked = reader.check(ContentPin { cid, kind: PinKind::Recursive, name })?;
    let mut store = ContentStore::open_within(dir, max_bytes, STORE_PATIENCE)?;
    if is_kept(store.reader())? {
        return Ok(false);
    }
    store.pin_checked(&checked)?;
    Ok(true)
}

impl Request {
    fn is_open(&self) -> bool {
        matches!(self.status, Status::Queued | Status::Pinning)
    }
}

/// The address of a node of this network in a multiaddr such as `/ip4/192.0.2.1/tcp/7331`; `None` for others.
fn origin_of(text: &str) -> Option<PeerAddr> {
    let mut parts = text.strip_prefix('/')?.split('/');
    let ip: IpAddr = match (parts.next()?, parts.next()?) {
        ("ip4", ip) => IpAddr::V4(ip.parse().ok()?),
        ("ip6", ip) => IpAddr::V6(ip.parse().ok()?),
        _ => return None,
    };
    let port = match (parts.next()?, parts.next()?) {
        ("tcp", port) => port.parse().ok()?,
        _ => return None,
    };
    // What follows names another protocol, but for a peer's id.
    let is_plain = matches!(parts.next(), None | Some("p2p"));
    let address = PeerAddr::Tcp(SocketAddr::new(ip, port));
    (is_plain && address.is_valid()).then_some(address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ipld::{Block, Codec, HashFunction};

    #[test]
    fn what_is_collected_while_the_store_is_waited_for_is_not_pinned() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = b"some bytes".to_vec();
        let block = Block::check(Cid::v1(Codec::RAW, HashFunction::Sha2_256, &bytes).unwrap(), bytes).unwrap();
        let mut store = ContentStore::open(dir.path(), 1 << 20).unwrap();
        store.put(&block).unwrap();
        store.close().unwrap();
        let mut store = ContentStore::open(dir.path(), 1 << 20).unwrap();
        let keep = || keep(dir.path(), 1 << 20, *block.cid(), PinName::default());
        std::thread::scope(|scope| {
            let keeping = scope.spawn(keep);
            while !store.is_wanted() {
                std::thread::yield_now();
            }
            store.collect(|_| {}).unwrap();
            drop(store);
            assert!(matches!(keeping.join().unwrap(), Err(ContentError::Missing { .. })));
        });
        let mut store = ContentStore::open(dir.path(), 1 << 20).unwrap();
        assert_eq!(store.reader().pins().unwrap(), []);
        store.put(&block).unwrap();
        store.close().unwrap();
        assert!(keep().unwrap());
        assert!(!keep().unwrap(), "it is pinned already");
    }

    #[test]
    fn origins_are_addresses_of_this_network() {
        for (text, address) in [
            ("/ip4/192.0.2.1/tcp/7331", Some("192.0.2.1:7331")),
            ("/ip6/2001:db8::1/tcp/1/p2p/12D3KooW", Some("[2001:db8::1]:1")),
            ("/ip4/192.0.2.1/tcp/7331/http", None),
            ("/ip4/192.0.2.1/udp/7331/quic-v1", None),
            ("/dns4/example.org/tcp/7331", None),
            ("/ip4/192.0.2.1/tcp/0", None),
            ("/ip4/0.0.0.0/tcp/7331", None),
            ("192.0.2.1:7331", None),
            ("", None),
        ] {
            assert_eq!(origin_of(text), address.map(|address| address.parse().unwrap()), "{text}");
        }
    }
}
