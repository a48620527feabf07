//! Makes proofs of the best chain for peers, apart from the node's thread.

use std::sync::Arc;

use tracing::warn;

use super::driver::Due;
use super::link::{NodeLink, Stopped};
use crate::p2p::Command;
use crate::p2p::chain_prover::{TipProof, prove_tip};
use crate::storage::{BlockKey, Database};

/// Times that a proof is begun again because the tip moved meanwhile.
const ATTEMPTS: u32 = 3;

/// Makes a proof whenever one is due, until the node stops. One is made at a time.
pub(super) async fn work(link: NodeLink, db: Database, due: Arc<Due>) {
    loop {
        due.proofs.notified().await;
        let Ok(proof) = prove(&link, &db).await else { return };
        if link.command(move |reply| Command::ProofMade(proof, reply)).await.is_err() {
            return;
        }
    }
}

/// The proof of the tip; `None` if it cannot be made.
async fn prove(link: &NodeLink, db: &Database) -> Result<Option<TipProof>, Stopped> {
    for _ in 0..ATTEMPTS {
        let read = |chain: &crate::chain::Chain| (chain.tip().key(), chain.params().clone());
        let (tip, params) = link.read(move |node, _| read(node.chain())).await?;
        let db = db.clone();
        let made = tokio::task::spawn_blocking(move || prove_tip(&db, &params, tip)).await;
        // It is cancelled only with the runtime, and panics only with the store.
        match made.map_err(|_| Stopped)? {
            Ok(None) if link.tip().borrow().hash != tip.hash => {}
            Ok(made) => return Ok(made),
            // The node meets the same error where it matters.
            Err(error) => {
                let BlockKey { height, hash } = tip;
                warn!(%error, height = height.as_u32(), %hash, "the proof of the tip failed");
                return Ok(None);
            }
        }
    }
    Ok(None)
}
