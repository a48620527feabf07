//! Has the node announce what is pinned in the store of content beside the chain.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use tracing::{debug, warn};

use super::link::{NodeLink, Stopped};
use crate::content::PinWatch;
use crate::p2p::Command;
use crate::p2p::announcer::MAX_OWN_KEYS;
use crate::p2p::kad::NodeId;

/// Time between two looks at the pins: other processes make them too.
const INTERVAL: Duration = Duration::from_secs(2);
/// Keys handed over at once, so that the node's thread is not held up.
const BATCH: usize = 1_000;

/// Follows the pins of the store in `dir` until the node stops.
pub(super) async fn work(link: NodeLink, dir: PathBuf) {
    let mut watch = PinWatch::new(&dir);
    let mut provided = BTreeSet::new();
    loop {
        let looking = tokio::task::spawn_blocking(move || {
            let changed = watch.changed();
            (watch, changed)
        });
        // It is cancelled only with the runtime.
        let Ok((again, changed)) = looking.await else { return };
        watch = again;
        match changed {
            Ok(None) => {}
            Ok(Some(pinned)) => {
                let keys = pinned.iter().filter(|cid| cid.inline().is_none());
                let keys: BTreeSet<NodeId> = keys.map(|cid| NodeId::of_content(&cid.multihash())).collect();
                if keys.len() > MAX_OWN_KEYS {
                    warn!(pins = keys.len(), most = MAX_OWN_KEYS, "not all that is pinned is announced");
                }
                if update(&link, &provided, &keys).await.is_err() {
                    return;
                }
                provided = keys;
            }
            Err(error) => debug!(%error, "cannot read the pins"),
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

async fn update(link: &NodeLink, before: &BTreeSet<NodeId>, keys: &BTreeSet<NodeId>) -> Result<(), Stopped> {
    let (gone, new): (Vec<NodeId>, Vec<NodeId>) =
        (before.difference(keys).copied().collect(), keys.difference(before).copied().collect());
    for batch in gone.chunks(BATCH).map(<[NodeId]>::to_vec) {
        link.command(move |reply| Command::StopProviding(batch, reply)).await?;
    }
    for batch in new.chunks(BATCH).map(<[NodeId]>::to_vec) {
        link.command(move |reply| Command::Provide(batch, reply)).await?;
    }
    Ok(())
}
