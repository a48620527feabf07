//! Peers' answers and results, as text and as JSON.

use serde_json::{Value, json};

use super::State;
use crate::light::{Answer, Found, PeerReport, PeerStatus};
use crate::p2p::SPEAKS_HTTP;
use crate::p2p::message::Kind;
use crate::primitives::amount::counted;

pub(super) fn agreeing(reports: &[PeerReport]) -> usize {
    reports.iter().filter(|report| report.standing == PeerStatus::Agrees).count()
}

/// Why nothing was proven.
pub(super) fn why(answer: &Answer) -> String {
    let parts = [
        (answer.denied, "say that they do not have it"),
        (answer.elsewhere, "show it in a block that is not on the best chain"),
        (answer.silent, "did not answer"),
        (answer.false_proofs, "sent a false proof and were disconnected"),
    ];
    let told: Vec<String> =
        parts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")).collect();
    if told.is_empty() {
        "no peer was left to ask".to_owned()
    } else {
        format!("of the peers asked, {}", told.join(", "))
    }
}

pub(super) fn names(all: impl IntoIterator<Item = impl std::fmt::Display>) -> String {
    all.into_iter().map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

pub(super) fn peers_in_words(reports: &[PeerReport]) -> String {
    let told: Vec<String> = reports.iter().map(|report| format!("{} {}", report.address, in_words(report))).collect();
    if told.is_empty() { ": none is known; give one with --peer".to_owned() } else { format!(": {}", told.join("; ")) }
}

pub(super) fn in_words(report: &PeerReport) -> String {
    match &report.standing {
        PeerStatus::Asked => "has not sent everything yet".to_owned(),
        PeerStatus::Agrees => "agrees".to_owned(),
        PeerStatus::Behind { height } => format!("is behind, at height {height}"),
        PeerStatus::OtherBranch { height, hash } => {
            format!("has another chain with less work, to {hash} at height {height}")
        }
        PeerStatus::Less { height } => format!("claims less work, at height {height}"),
        PeerStatus::Gone { reason } => format!("was disconnected: {reason}"),
        PeerStatus::Unreachable => "cannot be reached".to_owned(),
        PeerStatus::OtherNode { id } => format!("is another node, whose id is {id}"),
        PeerStatus::Http => SPEAKS_HTTP.to_owned(),
    }
}

pub(super) fn peer_json(report: &PeerReport) -> Value {
    let standing = match &report.standing {
        PeerStatus::Asked => "asked",
        PeerStatus::Agrees => "agrees",
        PeerStatus::Behind { .. } => "behind",
        PeerStatus::OtherBranch { .. } => "other_branch",
        PeerStatus::Less { .. } => "less",
        PeerStatus::Gone { .. } => "gone",
        PeerStatus::Unreachable => "unreachable",
        PeerStatus::OtherNode { .. } => "other_node",
        PeerStatus::Http => "http",
    };
    json!({ "address": report.address, "standing": standing, "about": in_words(report) })
}

pub(super) fn history_line(found: &Found, confirmations: u32) -> String {
    let confirmations = counted(confirmations, "confirmation");
    format!("{}  block {} {}  {confirmations}", found.txid, found.place.height, found.block)
}

pub(super) fn history_json(found: &Found, confirmations: u32, state: &State) -> Value {
    json!({
        "txid": found.txid,
        "blockhash": found.block,
        "height": found.place.height,
        "time": found.time,
        "confirmations": confirmations,
        "headers": state.height.next().blocks_since(found.place.height),
    })
}

/// Bytes by what a user may want to know of.
pub(super) fn by_kind(received: &[(Kind, u64)]) -> Vec<(&'static str, u64)> {
    let groups: [(&str, &[Kind]); 4] = [
        ("headers", &[Kind::Headers, Kind::ChainProof]),
        ("proofs", &[Kind::Proofs, Kind::Opening, Kind::Coins]),
        ("filters", &[Kind::FilterHeaders, Kind::Filters]),
        ("blocks", &[Kind::Block]),
    ];
    let sum =
        |kinds: &[Kind]| received.iter().filter(|(kind, _)| kinds.contains(kind)).map(|(_, bytes)| bytes).sum::<u64>();
    let known: u64 = groups.iter().map(|(_, kinds)| sum(kinds)).sum();
    let other = received.iter().map(|(_, bytes)| bytes).sum::<u64>() - known;
    groups.iter().map(|(what, kinds)| (*what, sum(kinds))).chain([("other", other)]).collect()
}

pub(super) fn in_bytes(received: &[(&str, u64)]) -> String {
    let sum: u64 = received.iter().map(|(_, bytes)| bytes).sum();
    let came = received.iter().filter(|(_, bytes)| *bytes > 0);
    let each: Vec<String> = came.map(|(what, bytes)| format!("{what} {bytes}")).collect();
    format!("received       {}: {}", counted(sum, "byte"), each.join(", "))
}

pub(super) fn bytes_json(received: &[(&str, u64)]) -> Value {
    received.iter().map(|(what, bytes)| ((*what).to_owned(), json!(bytes))).collect()
}
