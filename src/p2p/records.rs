//! Address book and bans, as they are stored.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::p2p::addrbook::{AddrBook, Record};
use crate::p2p::bans::{Ban, Bans, Subnet};
use crate::p2p::interface::Now;
use crate::primitives::codec::{self, Decode, Encode};
use crate::storage::{Batch, Database, StoreError};

/// One record, under the encoding of its [`Name`].
#[derive(Debug, Encode, Decode)]
enum Stored {
    Address(Record),
    Ban(Subnet, Ban),
}

#[derive(Debug, Encode)]
enum Name {
    Address(SocketAddr),
    Ban(Subnet),
}

/// What was saved. A record that cannot be read is left out: the network will tell again.
pub(super) fn load(db: &Database, now: Now) -> Result<(AddrBook, Bans), StoreError> {
    let (mut addresses, mut bans) = (Vec::new(), Bans::default());
    for record in db.peers()? {
        match codec::decode(&record) {
            Ok(Stored::Address(record)) => addresses.push(record),
            Ok(Stored::Ban(subnet, ban)) => bans.insert(subnet, ban),
            Err(error) => tracing::warn!(%error, "a record of the address book cannot be read"),
        }
    }
    bans.expire(now.unix);
    Ok((AddrBook::load(addresses), bans))
}

/// Saves what changed.
pub(super) fn save(db: &Database, book: &mut AddrBook, bans: &mut Bans) -> Result<(), StoreError> {
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
    if batch.is_empty() { Ok(()) } else { db.store().commit(batch) }
}
