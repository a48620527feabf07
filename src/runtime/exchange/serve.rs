//! Serves the blocks that a peer wants, in their order, as fast as it takes them. The next is read while one is sent.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::mpsc;

use super::{Exchange, Peer};
use crate::content::{ContentError, ContentReader};
use crate::ipld::{Block, Cid};
use crate::p2p::message::Message;
use crate::p2p::wants::{ContentBlock, Have, MAX_WANTS, Want};

/// Bytes that may wait to be written to a peer when its next block is read, and when another is read beside that one.
const MAX_UNSENT: [usize; 2] = [1 << 20, 256 << 10];

/// Blocks that are remembered as served: 1 MB.
const MAX_SERVED: usize = 1 << 16;

/// Which blocks were served lately, by a part of their hashes. One that is wanted again is likely to be wanted often, and is to
/// stay in the page cache. The others leave that as it is: a large file that one peer fetches is not read again soon.
#[derive(Default)]
pub(super) struct Served(Mutex<HashSet<u64>>);

impl Served {
    /// Notes a block that is about to be served. Whether it was before.
    fn note(&self, hash: &[u8]) -> bool {
        let part = hash.last_chunk().map_or(0, |part| u64::from_le_bytes(*part));
        let mut served = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if served.len() >= MAX_SERVED {
            served.clear();
        }
        !served.insert(part)
    }
}

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

/// What a want is answered with.
enum Answer {
    Have(Have),
    Block(ContentBlock),
}

/// Looks a want up, when it is the peer's turn. `None` if the node is stopping.
async fn look_up(exchange: Exchange, peer: Arc<Peer>, want: Want) -> Option<Answer> {
    let shared = &exchange.0;
    let turn = shared.turns.take(peer.node).await;
    let (reader, hash) = (shared.reader.clone(), want.hash.clone());
    if !want.whole {
        let here = tokio::task::spawn_blocking(move || has(&reader, &hash)).await.ok()?;
        return Some(Answer::Have(Have { hash: want.hash, here }));
    }
    let reader = if shared.served.note(&hash) { reader } else { reader.once() };
    let Some(block) = tokio::task::spawn_blocking(move || read(&reader, &hash)).await.ok()? else {
        return Some(Answer::Have(Have { hash: want.hash, here: false }));
    };
    let bytes = block.into_bytes();
    turn.spend(peer.node, bytes.len() as u64).await;
    Some(Answer::Block(ContentBlock { hash: want.hash, bytes }))
}

/// Serves a peer until its connection ends. Answers come in the order of the wants.
pub(super) async fn serve(exchange: Exchange, peer: Arc<Peer>, mut wants: mpsc::Receiver<Want>) {
    // Ends what is looked up for a peer that has gone.
    let mut looking = FuturesOrdered::new();
    let mut haves = Vec::new();
    loop {
        let unsent = MAX_UNSENT.get(looking.len()).copied();
        // Words about many blocks go in one message, with the last answer.
        let is_due = looking.is_empty() && wants.is_empty() && !haves.is_empty() || haves.len() >= MAX_WANTS;
        if is_due && !peer.outlet.send(&Message::HaveBlocks(std::mem::take(&mut haves))) {
            return;
        }
        let answer = tokio::select! {
            biased;
            () = peer.gone.cancelled() => return,
            Some(answer) = looking.next() => answer,
            want = wanted(&peer, &mut wants, unsent.unwrap_or(0)), if unsent.is_some() => match want {
                Some(want) => {
                    looking.push_back(look_up(exchange.clone(), Arc::clone(&peer), want));
                    continue;
                }
                None => return,
            },
        };
        match answer {
            None => return,
            Some(Answer::Have(have)) => haves.push(have),
            Some(Answer::Block(block)) => {
                if !peer.outlet.send(&Message::ContentBlock(block.into())) {
                    return;
                }
            }
        }
    }
}

/// The next want of a peer, when fewer bytes than `unsent` wait to be written to it; `None` when its connection ends. Loses
/// nothing if it is given up.
async fn wanted(peer: &Peer, wants: &mut mpsc::Receiver<Want>, unsent: usize) -> Option<Want> {
    if !peer.outlet.has_room(unsent).await {
        return None;
    }
    wants.recv().await
}
