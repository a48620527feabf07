//! One connection's state: subscription, jobs and difficulty. No I/O: lines and templates go in, lines and blocks come
//! out.

use std::collections::VecDeque;
use std::time::Duration;

use serde_json::{Value, json};

use super::job::Job;
use super::level::Level;
use super::protocol::{Call, Fault, Refusal, Request, Share, VERSION_MASK, answer, notify, refuse};
use super::vardiff::Vardiff;
use crate::miner::template::Template;
use crate::primitives::address;
use crate::primitives::block::Block;
use crate::primitives::hash::BlockHash;
use crate::primitives::keys::PublicKey;

/// Jobs for which shares are still accepted: some minutes' on one tip.
const MAX_JOBS: usize = 8;
/// Names are shown to people; those of an address and a name after it are shorter.
const MAX_NAME: usize = 128;
/// The bits of a header's version that are left to miners (BIP-320). No rule reads the others either, but one may some day.
const MINERS_VERSION_BITS: u32 = 0x1fff_e000;

/// The protocol's state on one connection.
#[derive(Debug)]
pub struct Session {
    extranonce1: [u8; 4],
    subscribed: bool,
    payee: Option<PublicKey>,
    vardiff: Vardiff,
    /// The network's own level, as of the newest job.
    ceiling: Level,
    /// Jobs that shares are taken for, oldest first, with their numbers.
    jobs: VecDeque<(u64, Job)>,
    next_job: u64,
    /// The level last sent to the miner.
    sent_level: Option<Level>,
    /// The bits of the version that the miner may set.
    version_mask: u32,
}

/// The result of a line.
#[derive(Debug)]
pub enum Reply {
    /// The answer.
    Line(String),
    /// A share, answered after its block, if it is one, is submitted.
    Share {
        /// The request's number.
        id: Value,
        /// How hard it was.
        level: Level,
        /// The whole block, if the share is one.
        block: Option<Block>,
    },
    /// A rejected share, answered and counted.
    Rejected {
        /// Why the share is refused.
        fault: Fault,
        /// Whether no honest miner would have sent it.
        offence: bool,
        /// The answer, a line of JSON.
        line: String,
    },
}

impl Session {
    /// A new connection, with a unique `extranonce1`.
    pub fn new(extranonce1: [u8; 4], now: Duration) -> Self {
        Self {
            extranonce1,
            subscribed: false,
            payee: None,
            vardiff: Vardiff::new(Level::START, now),
            ceiling: Level::HARDEST,
            jobs: VecDeque::new(),
            next_job: 1,
            sent_level: None,
            version_mask: 0,
        }
    }

    /// The payee of its blocks, once authorized.
    pub fn payee(&self) -> Option<PublicKey> {
        self.payee
    }

    /// The payee of its blocks, once the miner may be sent work.
    pub fn ready(&self) -> Option<PublicKey> {
        self.payee.filter(|_| self.subscribed)
    }

    /// The block that the newest job builds on.
    pub fn parent(&self) -> Option<BlockHash> {
        self.jobs.back().map(|(_, job)| job.parent())
    }

    /// The level of its newest job.
    pub fn level(&self) -> Level {
        self.sent_level.unwrap_or(self.vardiff.level())
    }

    /// Handles a request. `prefix` is that of the network's addresses, `latest` the latest time that a block may have
    /// now.
    pub fn take(&mut self, request: Request, prefix: &str, latest: u32, now: Duration) -> Reply {
        let Request { id, call } = request;
        let granted = |result: Value| Reply::Line(answer(&id, &result));
        match call {
            Ok(Call::Subscribe { .. }) => {
                self.subscribed = true;
                let name = hex::encode(self.extranonce1);
                let subscriptions = json!([["mining.set_difficulty", name], ["mining.notify", name]]);
                granted(json!([subscriptions, name, size_of::<[u8; 4]>()]))
            }
            Ok(Call::Authorize { worker }) => match self.authorize(&worker, prefix) {
                Ok(()) => granted(json!(true)),
                Err(refusal) => Reply::Line(refuse(&id, &refusal)),
            },
            Ok(Call::Submit(share)) => match self.check(&share, prefix, latest) {
                Ok((level, block)) => Reply::Share { id, level, block },
                Err(refusal) => {
                    // Past jobs count as stale, not unknown, since every miner is late now and then.
                    let number = u64::from_str_radix(&share.job, 16);
                    let late = refusal.fault == Fault::JobNotFound && number.is_ok_and(|n| n < self.next_job);
                    Reply::Rejected { fault: refusal.fault, offence: !late, line: refuse(&id, &refusal) }
                }
            },
            Ok(Call::SuggestDifficulty(difficulty)) => {
                self.vardiff = Vardiff::new(Level::of_difficulty(difficulty), now);
                granted(json!(true))
            }
            Ok(Call::Configure { extensions, version_mask }) => granted(self.configure(extensions, version_mask)),
            Ok(Call::ExtranonceSubscribe) => granted(json!(true)),
            Err(refusal) if refusal.fault == Fault::NoMethod => Reply::Line(refuse(&id, &refusal)),
            Err(refusal) => Reply::Rejected { fault: refusal.fault, offence: true, line: refuse(&id, &refusal) },
        }
    }

    /// Whether the miner may use each of the extensions (BIP-310), and what it has to know of them.
    fn configure(&mut self, extensions: Vec<String>, version_mask: u32) -> Value {
        let mut results = serde_json::Map::new();
        for name in extensions {
            let may = match name.as_str() {
                "version-rolling" => {
                    self.version_mask = version_mask & MINERS_VERSION_BITS;
                    results.insert(VERSION_MASK.to_owned(), format!("{:08x}", self.version_mask).into());
                    true
                }
                // As with the request of this name: the extra nonce never changes.
                "subscribe-extranonce" => true,
                // No minimum difficulty: a share is never harder than the block, however easy that is.
                _ => false,
            };
            results.insert(name, may.into());
        }
        results.into()
    }

    fn authorize(&mut self, worker: &str, prefix: &str) -> Result<(), Refusal> {
        let payee = payee(worker, prefix)?;
        if self.payee.is_some_and(|known| known != payee) {
            let message = "one address a connection: its jobs pay the one that was authorized first";
            return Err(Refusal::new(Fault::Unauthorized, message));
        }
        self.payee = Some(payee);
        Ok(())
    }

    fn check(&mut self, share: &Share, prefix: &str, latest: u32) -> Result<(Level, Option<Block>), Refusal> {
        if !self.subscribed {
            return Err(Refusal::new(Fault::NotSubscribed, "not subscribed"));
        }
        let expected = self.payee.ok_or_else(|| Refusal::new(Fault::Unauthorized, "not authorized"))?;
        if payee(&share.worker, prefix)? != expected {
            return Err(Refusal::new(Fault::Unauthorized, "not the address that was authorized"));
        }
        let number = u64::from_str_radix(&share.job, 16).ok();
        let place = self.jobs.iter().position(|(known, _)| Some(*known) == number);
        let missing = || Refusal::new(Fault::JobNotFound, "job not found: stale, or never given");
        let place = place.ok_or_else(missing)?;
        let (hash, block) = self.jobs[place].1.check(share, self.version_mask, latest)?;
        // Two jobs may be of one template, so that one header is a share of both.
        if self.jobs.iter().any(|(_, job)| job.has(&hash)) {
            return Err(Refusal::new(Fault::Duplicate, "this share was handed in before"));
        }
        let job = &mut self.jobs[place].1;
        job.remember(hash)?;
        self.vardiff.share();
        Ok((job.level(), block))
    }

    /// A new job, and the lines that tell of it. With another parent, earlier jobs become stale.
    pub fn give(&mut self, template: Template, now: Duration) -> Vec<String> {
        self.ceiling = Level::of_target(template.target);
        self.adjust(now);
        let clean = self.parent() != Some(template.header.previous);
        if clean {
            self.jobs.clear();
        }
        let job = Job::new(template, self.vardiff.level(), self.extranonce1);
        let mut lines = Vec::new();
        if self.sent_level.replace(job.level()) != Some(job.level()) {
            lines.push(notify("mining.set_difficulty", &json!([job.level().difficulty()])));
        }
        let number = self.next_job;
        self.next_job += 1;
        lines.push(notify("mining.notify", &job.params(&format!("{number:x}"), clean)));
        self.jobs.push_back((number, job));
        if self.jobs.len() > MAX_JOBS {
            self.jobs.pop_front();
        }
        lines
    }

    /// Adjusts the level to the rate of shares; returns whether the miner needs a new job.
    pub fn adjust(&mut self, now: Duration) -> bool {
        self.vardiff.adjust(now, self.ceiling)
    }
}

/// The payee of `worker`: an address, optionally followed by a dot and a name.
fn payee(worker: &str, prefix: &str) -> Result<PublicKey, Refusal> {
    let address = worker.split_once('.').map_or(worker, |(address, _)| address);
    if worker.len() > MAX_NAME {
        return Err(Refusal::new(Fault::Unauthorized, format!("the worker's name has more than {MAX_NAME} bytes")));
    }
    address::decode(prefix, address).map_err(|error| {
        let message = format!("the worker's name must be the address to pay, or address.name: {error}");
        Refusal::new(Fault::Unauthorized, message)
    })
}
