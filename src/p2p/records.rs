//! Address book, bans, anchors, and which archived runs were taken up, as they are stored.

use std::collections::{BTreeMap, BTreeSet};

use crate::p2p::addrbook::{AddrBook, Record};
use crate::p2p::anchors::{Anchors, MAX_ANCHORS};
use crate::p2p::archive::Runs;
use crate::p2p::bans::{Ban, Bans, Subnet};
use crate::p2p::connection::Now;
use crate::p2p::kad::Contact;
use crate::p2p::peer_addr::{PeerAddr, Transports};
use crate::primitives::codec::{self, Decode, Encode};
use crate::storage::{Batch, Database, StoreError};

/// One record, under the encoding of its [`Name`].
#[derive(Debug, Encode, Decode)]
enum Stored {
    Address(Record),
    Ban(Subnet, Ban),
    Anchor(u8, Contact),
    TakenUp(Vec<u8>),
}

#[derive(Debug, Encode)]
enum Name {
    Address(PeerAddr),
    Ban(Subnet),
    Anchor(u8),
    TakenUp,
}

/// What is saved.
#[derive(Debug)]
pub(super) struct Saved {
    pub(super) book: AddrBook,
    pub(super) bans: Bans,
    pub(super) anchors: Anchors,
    /// Runs that were fetched because few nodes kept them.
    pub(super) taken_up: Runs,
}

/// The saved records. An unreadable one is skipped: the network will announce it again.
pub(super) fn load(db: &Database, now: Now, transports: Transports) -> Result<Saved, StoreError> {
    let (mut addresses, mut bans, mut anchors) = (Vec::new(), Bans::default(), BTreeMap::new());
    let mut taken_up = Runs::default();
    for record in db.peers()? {
        match codec::decode(&record) {
            Ok(Stored::Address(record)) => addresses.push(record),
            Ok(Stored::Ban(subnet, ban)) => bans.insert(subnet, ban),
            Ok(Stored::Anchor(place, contact)) => drop(anchors.insert(place, contact)),
            Ok(Stored::TakenUp(runs)) => taken_up = Runs::from_bytes(runs),
            Err(error) => tracing::warn!(%error, "a record of the address book cannot be read"),
        }
    }
    bans.expire(now.unix);
    let book = AddrBook::load(addresses, transports);
    Ok(Saved { book, bans, anchors: Anchors::load(anchors.into_values().collect()), taken_up })
}

/// Saves which runs were taken up.
pub(super) fn save_taken_up(db: &Database, runs: &Runs) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    batch.put_peer(&codec::encode(&Name::TakenUp), codec::encode(&Stored::TakenUp(runs.to_bytes())));
    db.store().commit(batch)
}

/// Saves what changed.
pub(super) fn save(
    db: &Database,
    book: &mut AddrBook,
    bans: &mut Bans,
    anchors: &mut Anchors,
) -> Result<(), StoreError> {
    let mut batch = Batch::default();
    for (address, record) in book.take_changed() {
        let name = codec::encode(&Name::Address(address));
        match record {
            Some(record) => batch.put_peer(&name, codec::encode(&Stored::Address(record))),
            None => batch.delete_peer(&name),
        }
    }
    let changed: BTreeSet<Subnet> = bans.take_changed();
    for subnet in changed {
        let name = codec::encode(&Name::Ban(subnet));
        match bans.get(&subnet) {
            Some(ban) => batch.put_peer(&name, codec::encode(&Stored::Ban(subnet, ban.clone()))),
            None => batch.delete_peer(&name),
        }
    }
    if anchors.take_changed() {
        for place in 0..MAX_ANCHORS {
            let name = codec::encode(&Name::Anchor(place as u8));
            match anchors.kept().get(place) {
                Some(anchor) => batch.put_peer(&name, codec::encode(&Stored::Anchor(place as u8, *anchor))),
                None => batch.delete_peer(&name),
            }
        }
    }
    if batch.is_empty() { Ok(()) } else { db.store().commit(batch) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p2p::kad::NodeId;
    use crate::primitives::hash::Hash256;
    use crate::primitives::time::UnixTime;
    use crate::storage::{PEER_RECORDS_DIGEST, SCHEMA_VERSION};

    #[test]
    fn records_are_those_of_the_storage_format() {
        let v4: PeerAddr = "1.2.3.4:5".parse().unwrap();
        let v6: PeerAddr = "[2001:db8::6]:7".parse().unwrap();
        let webrtc = PeerAddr::WebRtc { socket: "1.2.3.4:8".parse().unwrap(), certhash: [0x12; 32] };
        let id = NodeId([0x11; 32]);
        let record = Record {
            address: v4,
            id: Some(id),
            services: 0x0102,
            last_seen: UnixTime::from_secs(0x0304),
            last_success: UnixTime::from_secs(0x0506),
            failures: 0x0708,
            source: Subnet::group(v6.ip()),
        };
        let ban =
            Ban { created: UnixTime::from_secs(0x090a), until: UnixTime::from_secs(0x0b0c), reason: "why".to_owned() };
        let subnet = Subnet::host(v6.ip());
        let never_tried = Record { address: v6, id: None, last_success: UnixTime::EPOCH, ..record.clone() };
        let other_kind = Record { address: webrtc, ..record.clone() };
        let entries = [
            (Name::Address(v4), Stored::Address(record)),
            (Name::Address(v6), Stored::Address(never_tried)),
            (Name::Address(webrtc), Stored::Address(other_kind)),
            (Name::Ban(subnet), Stored::Ban(subnet, ban)),
            (Name::Anchor(1), Stored::Anchor(1, Contact { id, address: v4 })),
        ];
        let bytes = entries.map(|(name, record)| [codec::encode(&name), codec::encode(&record)].concat()).concat();
        let found = Hash256::of(&bytes).to_string();
        assert_eq!(
            found, PEER_RECORDS_DIGEST,
            "The storage format changed. Raise SCHEMA_VERSION, which is {SCHEMA_VERSION}, and set PEER_RECORDS_DIGEST to \
             {found}."
        );
    }
}
