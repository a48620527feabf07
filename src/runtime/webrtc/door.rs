//! Who may have a session: what is kept about sources of packets that have none.
//!
//! The source of a UDP packet can be forged, so a session, with its tens of kilobytes and its asymmetric cryptography, is
//! made only for a browser that
//!
//! 1. sends a check signed with the password in the fragment it names (anyone can make one up; it costs an HMAC-SHA1),
//! 2. answers a check of the node, which proves that it receives what is sent to its address, and
//! 3. begins a DTLS handshake.
//!
//! A request without credentials asks only for its own source address. The answer leaves no state behind. A forger can
//! direct it at any victim, so the number of answers is bounded for each host and for all.
//!
//! Until it has a session, a source takes one of [`MAX_VISITORS`] places, and a host gets only a few of them. Nothing
//! here is asymmetric.
//!
//! A browser whose node restarted, or dropped its session, does not notice as long as its checks are answered. So a
//! session that ended is not answered again, nor is a source that goes on with a handshake that this node does not know,
//! or begins none in time.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::config::CryptoProvider;

use super::credentials::{Credentials, SessionId};
use super::stun::{self, Kind, Stun, Transaction};
use crate::p2p::bans::Subnet;
use crate::p2p::bucket::{Bucket, Rate};
use crate::primitives::keyed::{HashMap, HashSet, Keyed};
use crate::primitives::time::MonoTime;

/// Most sources without a session.
pub(super) const MAX_VISITORS: usize = 1_024;
/// Most of them from one host ([`Subnet::host`]), loopback excepted, as among TCP's handshakes.
pub(super) const MAX_FROM_HOST: usize = 16;
/// Most bytes of a check: no path carries more without fragments.
pub(super) const MAX_REQUEST: usize = 1_280;
/// From the first check until a handshake begins. Chromium takes some milliseconds.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// How long a session is remembered after its end. Browsers give up 30 s after the last answer (RFC 7675).
pub(super) const FORGOTTEN_FOR: Duration = Duration::from_secs(120);
/// Most ended sessions that are remembered.
pub(super) const MAX_FORGOTTEN: usize = 4_096;

/// Plain requests of a host that are answered in a burst, and one more each so many milliseconds: a page asks once for each of
/// its own addresses when it calls another.
pub(super) const REFLECTED_TO_HOST: u64 = 32;
const HOST_INTERVAL: u64 = 250;
/// The same for all hosts together.
pub(super) const REFLECTED: u64 = 1_000;
const INTERVAL: u64 = 2;
/// Hosts are counted in so many places, by a keyed hash: two of them may share one.
const HOST_PLACES: usize = 1_024;

const HOST_RATE: Rate = Rate { gain: 1, most: REFLECTED_TO_HOST * HOST_INTERVAL };
const RATE: Rate = Rate { gain: 1, most: REFLECTED * INTERVAL };

/// How many plain requests may still be answered.
struct Reflections {
    since: Instant,
    all: Bucket,
    hosts: Vec<Bucket>,
}

impl Reflections {
    fn new(now: Instant) -> Self {
        let full = |rate| Bucket::full(MonoTime::START, rate);
        Self { since: now, all: full(RATE), hosts: vec![full(HOST_RATE); HOST_PLACES] }
    }

    /// Counts a request; `false` if it gets no answer.
    fn take(&mut self, now: Instant, key: &Keyed, source: SocketAddr) -> bool {
        let millis = now.saturating_duration_since(self.since).as_millis();
        let now = MonoTime::from_millis(u64::try_from(millis).unwrap_or(u64::MAX));
        let place = key.hash_one(Subnet::host(source.ip())) as usize % HOST_PLACES;
        let host = &mut self.hosts[place];
        (source.ip().is_loopback() || host.take(now, HOST_RATE, HOST_INTERVAL)) && self.all.take(now, RATE, INTERVAL)
    }
}

/// What to do about a packet.
#[derive(Debug)]
pub(super) enum Step {
    /// Nothing.
    Ignore,
    /// Send these to its source.
    Answer(Vec<Vec<u8>>),
    /// Give it to a session, which has one path more.
    Forward(SessionId),
    /// Make a session, and give it first the last check, then this packet.
    Admit(Box<Visitor>),
}

/// A source without a session.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) credentials: Credentials,
    pub(super) session: SessionId,
    /// The last check that nominated the path; without one the node could not send.
    pub(super) nomination: Vec<u8>,
    /// The number of the node's check.
    check: Transaction,
    /// Whether that was answered.
    is_there: bool,
    since: Instant,
}

/// All sources without a session, and the sessions that ended.
pub(super) struct Door {
    provider: CryptoProvider,
    key: Keyed,
    visitors: HashMap<SocketAddr, Visitor>,
    /// In the order in which they ended.
    ended: VecDeque<(Instant, SessionId)>,
    forgotten: HashSet<SessionId>,
    reflections: Reflections,
}

impl Door {
    pub(super) fn new(provider: CryptoProvider, now: Instant) -> Self {
        Self {
            provider,
            key: Keyed::default(),
            visitors: HashMap::default(),
            ended: VecDeque::new(),
            forgotten: HashSet::default(),
            reflections: Reflections::new(now),
        }
    }

    /// Takes a packet from a source that has no session.
    pub(super) fn receive(
        &mut self,
        now: Instant,
        source: SocketAddr,
        bytes: &[u8],
        is_live: impl Fn(&SessionId) -> bool,
    ) -> Step {
        match bytes.first() {
            Some(0 | 1) if bytes.len() <= MAX_REQUEST => match Stun::parse(bytes) {
                Some(stun) => self.check(now, source, &stun, bytes, is_live),
                None => self.reflect(now, source, bytes),
            },
            Some(20..=63) => self.record(now, source, bytes),
            _ => Step::Ignore,
        }
    }

    fn reflect(&mut self, now: Instant, source: SocketAddr, bytes: &[u8]) -> Step {
        match stun::plain_request(bytes) {
            Some(transaction) if self.reflections.take(now, &self.key, source) => {
                Step::Answer(vec![stun::reflection(transaction, source)])
            }
            _ => Step::Ignore,
        }
    }

    fn check(
        &mut self,
        now: Instant,
        source: SocketAddr,
        stun: &Stun<'_>,
        bytes: &[u8],
        is_live: impl Fn(&SessionId) -> bool,
    ) -> Step {
        let Kind::Request { asked, asking } = stun.kind else {
            if let Some(visitor) = self.visitors.get_mut(&source)
                && visitor.check == stun.transaction
                && stun.is_signed_with(&self.provider, visitor.credentials.page_password.as_bytes())
            {
                visitor.is_there = true;
            }
            return Step::Ignore;
        };
        let Some(credentials) = Credentials::parse(asked, asking) else { return Step::Ignore };
        let session = credentials.session(&self.key);
        if self.forgotten.contains(&session) || !stun.is_signed_with(&self.provider, asked.as_bytes()) {
            return Step::Ignore;
        }
        if is_live(&session) {
            return Step::Forward(session);
        }
        let is_known = self.visitors.get(&source).is_some_and(|visitor| visitor.credentials == credentials);
        if !is_known {
            self.make_room(source);
            let (nomination, check) = (Vec::new(), rand::random());
            let visitor = Visitor { credentials, session, nomination, check, is_there: false, since: now };
            self.visitors.insert(source, visitor);
        }
        let Some(visitor) = self.visitors.get_mut(&source) else { return Step::Ignore };
        if stun.nominates {
            visitor.nomination = bytes.to_vec();
        }
        let mut answers = vec![stun::success(&self.provider, stun.transaction, source, asked.as_bytes())];
        if !visitor.is_there {
            let Credentials { own, page, page_password, .. } = &visitor.credentials;
            let username = format!("{page}:{own}");
            answers.push(stun::request(&self.provider, visitor.check, &username, page_password.as_bytes()));
        }
        Step::Answer(answers)
    }

    fn record(&mut self, now: Instant, source: SocketAddr, bytes: &[u8]) -> Step {
        let Some(visitor) = self.visitors.get(&source) else { return Step::Ignore };
        if !begins_handshake(bytes) {
            let session = visitor.session;
            self.visitors.remove(&source);
            self.forget(now, session);
            return Step::Ignore;
        }
        if !visitor.is_there || visitor.nomination.is_empty() {
            // It comes again.
            return Step::Ignore;
        }
        self.visitors.remove(&source).map_or(Step::Ignore, |visitor| Step::Admit(Box::new(visitor)))
    }

    /// Lets the oldest visitor go if there are too many, in all or from the host of `source`.
    fn make_room(&mut self, source: SocketAddr) {
        let host = Subnet::host(source.ip());
        let of_host = self.visitors.iter().filter(|(other, _)| Subnet::host(other.ip()) == host);
        let (count, oldest) = of_host.fold((0, None), |(count, oldest), next| (count + 1, older(oldest, next)));
        let goes = if !source.ip().is_loopback() && count >= MAX_FROM_HOST {
            oldest
        } else if self.visitors.len() >= MAX_VISITORS {
            self.visitors.iter().fold(None, older)
        } else {
            None
        };
        if let Some(goes) = goes.map(|(source, _)| *source) {
            self.visitors.remove(&goes);
        }
    }

    /// A session ended: its page is not answered again.
    pub(super) fn forget(&mut self, now: Instant, session: SessionId) {
        if !self.forgotten.insert(session) {
            return;
        }
        self.ended.push_back((now, session));
        if self.ended.len() > MAX_FORGOTTEN
            && let Some((_, session)) = self.ended.pop_front()
        {
            self.forgotten.remove(&session);
        }
    }

    /// To be called every second or so.
    pub(super) fn clean(&mut self, now: Instant) {
        let is_late = |visitor: &Visitor| now.saturating_duration_since(visitor.since) >= PATIENCE;
        let late: Vec<SessionId> = self.visitors.values().filter(|v| is_late(v)).map(|v| v.session).collect();
        self.visitors.retain(|_, visitor| !is_late(visitor));
        for session in late {
            self.forget(now, session);
        }
        while let Some((_, session)) =
            self.ended.pop_front_if(|(at, _)| now.saturating_duration_since(*at) >= FORGOTTEN_FOR)
        {
            self.forgotten.remove(&session);
        }
    }

    /// Sources without a session, and ended sessions that are remembered.
    #[cfg(test)]
    pub(super) fn counts(&self) -> (usize, usize) {
        assert_eq!(self.ended.len(), self.forgotten.len());
        (self.visitors.len(), self.forgotten.len())
    }
}

type Entry<'a> = (&'a SocketAddr, &'a Visitor);

fn older<'a>(oldest: Option<Entry<'a>>, next: Entry<'a>) -> Option<Entry<'a>> {
    match oldest {
        Some(oldest) if oldest.1.since <= next.1.since => Some(oldest),
        _ => Some(next),
    }
}

/// Whether a DTLS record (RFC 6347, section 4.1; RFC 9147, section 4) is in the clear and holds a ClientHello. A
/// ClientHello with a post-quantum key exchange takes two records, and each of them says so.
fn begins_handshake(record: &[u8]) -> bool {
    const HANDSHAKE: u8 = 22;
    const CLIENT_HELLO: u8 = 1;
    record.first() == Some(&HANDSHAKE) && record.get(3..5) == Some(&[0, 0]) && record.get(13) == Some(&CLIENT_HELLO)
}

#[cfg(test)]
mod tests;
