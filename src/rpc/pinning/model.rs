//! What the pinning service API calls pins, and which of them a list shows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::date;
use crate::ipld::Cid;

/// Names and CIDs in a query, entries of `meta` and origins, at most; the last as in the API's description.
const MAX_META: usize = 100;
const MAX_ORIGINS: usize = 20;
/// Characters of a name, as in the API's description, and bytes of any other text.
const MAX_NAME: usize = 255;
const MAX_TEXT: usize = 1_024;
const MAX_CIDS: usize = 10;
const MAX_LIMIT: usize = 1_000;

/// Where a request to pin stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    /// It waits for its turn.
    Queued,
    /// Blocks are fetched.
    Pinning,
    /// All is here and kept.
    Pinned,
    /// It could not be had.
    Failed,
}

/// What is to be pinned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pin {
    /// A CID.
    pub(super) cid: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    /// Multiaddrs of nodes that may have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) origins: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) meta: Option<BTreeMap<String, String>>,
}

impl Pin {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(body: &[u8]) -> Result<(Self, Cid), String> {
        let pin: Self = serde_json::from_slice(body).map_err(|error| error.to_string())?;
        let cid = pin.cid.parse().map_err(|error| format!("cid: {error}"))?;
        let is_short = |text: &String| text.len() <= MAX_TEXT;
        if pin.name.as_ref().is_some_and(|name| name.chars().count() > MAX_NAME) {
            return Err(format!("name: at most {MAX_NAME} characters"));
        }
        let origins = pin.origins.as_deref().unwrap_or_default();
        if origins.len() > MAX_ORIGINS || !origins.iter().all(is_short) {
            return Err(format!("origins: at most {MAX_ORIGINS}, each of at most {MAX_TEXT} bytes"));
        }
        let mut meta = pin.meta.iter().flatten();
        if meta.clone().count() > MAX_META || !meta.all(|(key, value)| is_short(key) && is_short(value)) {
            return Err(format!("meta: at most {MAX_META} entries, each of at most {MAX_TEXT} bytes"));
        }
        Ok((pin, cid))
    }
}

/// A request to pin, as it is kept on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Request {
    /// Its name for callers.
    pub(super) id: String,
    pub(super) status: Status,
    /// Milliseconds since 1970. No two requests have the same.
    pub(super) created: u64,
    pub(super) pin: Pin,
    /// Why it failed.
    #[serde(default)]
    pub(super) reason: Option<String>,
    /// Whether the pin was made for it, and goes with it.
    #[serde(default)]
    pub(super) made: bool,
}

impl Request {
    /// As callers see it.
    pub(super) fn view(&self, delegates: &[String]) -> serde_json::Value {
        let mut view = serde_json::json!({
            "requestid": self.id,
            "status": self.status,
            "created": date::write(self.created),
            "pin": self.pin,
            "delegates": delegates,
        });
        if let Some(reason) = &self.reason {
            view["info"] = serde_json::json!({ "status_details": reason });
        }
        view
    }
}

/// How names are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Match {
    Exact,
    IgnoringCase,
    Part,
    PartIgnoringCase,
}

/// Which requests a caller wants to see.
#[derive(Debug)]
pub(super) struct Filter {
    cids: Vec<Vec<u8>>,
    name: Option<(String, Match)>,
    statuses: Vec<Status>,
    before: Option<u64>,
    after: Option<u64>,
    meta: BTreeMap<String, String>,
    /// How many to show.
    pub(super) limit: usize,
}

impl Filter {
    /// Reads a query; names that are not known are ignored.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn read(query: &[(String, String)]) -> Result<Self, String> {
        let of = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        let list = |name: &str| of(name).into_iter().flat_map(|text| text.split(',')).filter(|item| !item.is_empty());
        let mut cids = Vec::new();
        for text in list("cid") {
            let cid: Cid = text.parse().map_err(|error| format!("cid: {error}"))?;
            cids.push(cid.multihash());
        }
        if cids.len() > MAX_CIDS {
            return Err(format!("cid: at most {MAX_CIDS}"));
        }
        let how = match of("match").unwrap_or("exact") {
            "exact" => Match::Exact,
            "iexact" => Match::IgnoringCase,
            "partial" => Match::Part,
            "ipartial" => Match::PartIgnoringCase,
            other => return Err(format!("match: {other:?} is not known")),
        };
        let mut statuses = Vec::new();
        for text in list("status") {
            let status = serde_json::from_value(text.into()).map_err(|_| format!("status: {text:?} is not known"))?;
            statuses.push(status);
        }
        if of("status").is_none() {
            statuses.push(Status::Pinned);
        }
        let time = |name: &str| match of(name) {
            Some(text) => date::read(text).map(Some).ok_or_else(|| format!("{name}: {text:?} is no time")),
            None => Ok(None),
        };
        let meta = of("meta").map(serde_json::from_str).transpose().map_err(|error| format!("meta: {error}"))?;
        let limit = of("limit").map_or(Ok(10), str::parse).ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
        Ok(Self {
            cids,
            name: of("name").map(|name| (name.to_owned(), how)),
            statuses,
            before: time("before")?,
            after: time("after")?,
            meta: meta.unwrap_or_default(),
            limit: limit.ok_or_else(|| format!("limit: expected 1 to {MAX_LIMIT}"))?,
        })
    }

    /// Whether a request is one of those.
    pub(super) fn takes(&self, request: &Request) -> bool {
        let Request { status, created, pin, .. } = request;
        let hash = || pin.cid.parse::<Cid>().map(|cid| cid.multihash());
        let own = pin.name.as_deref().unwrap_or_default();
        let has_name = self.name.as_ref().is_none_or(|(name, how)| match how {
            Match::Exact => own == name,
            Match::IgnoringCase => own.to_lowercase() == name.to_lowercase(),
            Match::Part => own.contains(name.as_str()),
            Match::PartIgnoringCase => own.to_lowercase().contains(&name.to_lowercase()),
        });
        let has_meta =
            |(key, value): (&String, &String)| pin.meta.as_ref().and_then(|meta| meta.get(key)) == Some(value);
        self.statuses.contains(status)
            && has_name
            && self.before.is_none_or(|before| *created < before)
            && self.after.is_none_or(|after| *created > after)
            && (self.cids.is_empty() || hash().is_ok_and(|hash| self.cids.contains(&hash)))
            && self.meta.iter().all(has_meta)
    }
}
