//! Moves the table of the state, apart from the node's thread.

use std::sync::Arc;

use tracing::error;

use super::driver::Due;
use super::link::{NodeLink, Stopped};
use crate::p2p::Command;

/// Computes states whenever one is due, until the node stops.
pub(super) async fn work(link: NodeLink, due: Arc<Due>) {
    while follow(&link).await.is_ok() {
        due.states.notified().await;
    }
}

/// What `ask` answers. After an error that says that a state is still to be computed, waits for that state and asks again.
///
/// # Errors
/// Those of `ask` that are not pending; [`Stopped`].
pub async fn ask_when_computed<T, E, F>(
    link: &NodeLink,
    is_pending: impl Fn(&E) -> bool,
    mut ask: impl FnMut() -> F,
) -> Result<T, E>
where
    E: From<Stopped>,
    F: Future<Output = Result<T, E>>,
{
    loop {
        match ask().await {
            Err(error) if is_pending(&error) => follow(link).await?,
            answer => return answer,
        }
    }
}

/// Moves the table to the last edge of the best chain, and tells the node of each edge that it comes to. Callers take turns.
///
/// # Errors
/// [`Stopped`].
async fn follow(link: &NodeLink) -> Result<(), Stopped> {
    let table = link.read(|node, _| node.chain().state_table()).await?;
    loop {
        let moving = table.clone();
        // It is cancelled only with the runtime, and panics only with the store.
        let Ok(step) = tokio::task::spawn_blocking(move || moving.next_edge()).await else { return Err(Stopped) };
        match step {
            Ok(Some(edge)) => link.command(move |reply| Command::StateReady(edge, reply)).await?,
            Ok(None) => return Ok(()),
            Err(error) => {
                error!(%error, "the table of the state failed");
                // The node meets the same error, and stops.
                return link.decide(|node, _, reply| Some(Command::StateReady(node.chain().last_edge(), reply))).await;
            }
        }
    }
}
