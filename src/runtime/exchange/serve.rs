//! Serves the blocks that a peer wants, one after the other, as fast as it takes them.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Exchange, Peer};
use crate::content::{ContentError, ContentReader};
use crate::ipld::{Block, Cid};
use crate::p2p::message::Message;
use crate::p2p::wants::{ContentBlock, Have, MAX_WANTS, Want};

/// Bytes that wait to be written to a peer before its next block is read.
const MAX_UNSENT: usize = 1 << 20;

/// The block as raw bytes, whatever it is; `None` if it has no such name.
fn cid_of(hash: &[u8]) -> Option<Cid> {
    Cid::from_bytes(&[&[1, 0x55], hash].concat()).ok().filter(|cid| cid.inline().is_none())
}

/// A block of the store, checked: a damaged one is not there.
fn read(reader: &ContentReader, hash: &[u8]) -> Option<Block> {
    match reader.get(&cid_of(hash)?) {
        Ok(block) => Some(block),
        Err(ContentError::Missing { .. }) => None,
        Err(error) => {
            tracing::warn!(%error, "a block cannot be served");
            None
        }
    }
}

/// Whether it is there, unread.
fn has(reader: &ContentReader, hash: &[u8]) -> bool {
    cid_of(hash).is_some_and(|cid| reader.size(&cid).is_ok_and(|size| size.is_some()))
}

/// Serves a peer until its connection ends.
pub(super) async fn serve(exchange: Exchange, peer: Arc<Peer>, mut wants: mpsc::Receiver<Want>) {
    let shared = &exchange.0;
    while let Some(first) = wants.recv().await {
        let mut next = Some(first);
        let mut haves = Vec::new();
        while let Some(want) = next.take() {
            let has_room = tokio::select! {
                has_room = peer.outlet.has_room(MAX_UNSENT) => has_room,
                () = peer.gone.cancelled() => false,
            };
            if !has_room {
                return;
            }
            let turn = shared.turns.take(peer.node).await;
            if !want.whole {
                let (reader, hash) = (shared.reader.clone(), want.hash.clone());
                let Ok(here) = tokio::task::spawn_blocking(move || has(&reader, &hash)).await else { return };
                haves.push(Have { hash: want.hash, here });
            } else {
                let (reader, hash) = (shared.reader.clone(), want.hash.clone());
                let Ok(block) = tokio::task::spawn_blocking(move || read(&reader, &hash)).await else { return };
                match block {
                    None => haves.push(Have { hash: want.hash, here: false }),
                    Some(block) => {
                        let bytes = block.into_bytes();
                        let len = bytes.len() as u64;
                        if !peer.outlet.send(&Message::ContentBlock(ContentBlock { hash: want.hash, bytes }.into())) {
                            return;
                        }
                        turn.spend(peer.node, len).await;
                    }
                }
            }
            // Words about many blocks go in one message.
            if haves.len() < MAX_WANTS {
                next = wants.try_recv().ok();
            }
        }
        if !haves.is_empty() && !peer.outlet.send(&Message::HaveBlocks(haves)) {
            return;
        }
    }
}
