//! A node that stands still, for tests of what others make of it.

use std::sync::{Mutex, MutexGuard, PoisonError, mpsc};

use tokio::sync::{oneshot, watch};

use super::link::{NodeLink, Stopped};
use super::mining::MiningControl;

/// Whether a node is paused, and what lets it go on.
#[derive(Debug, Default)]
pub(super) struct Pause {
    /// What a paused node waits for: that this is dropped.
    hold: Mutex<Option<mpsc::Sender<()>>>,
    is_paused: watch::Sender<bool>,
}

impl Pause {
    /// No code under this lock can panic halfway, so a poisoned lock still guards consistent data.
    fn hold(&self) -> MutexGuard<'_, Option<mpsc::Sender<()>>> {
        self.hold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the node's thread wait in a call, and its miner rest. `false` if it does already. A caller that leaves meanwhile
    /// changes nothing.
    pub(super) async fn begin(&self, link: &NodeLink, mining: &MiningControl) -> Result<bool, Stopped> {
        let (release, held) = mpsc::channel::<()>();
        {
            let mut hold = self.hold();
            if hold.is_some() {
                return Ok(false);
            }
            *hold = Some(release);
        }
        let resting = mining.hold(true);
        let (begun, begins) = oneshot::channel();
        let (link, is_paused) = (link.clone(), self.is_paused.clone());
        // It ends when the node goes on.
        tokio::spawn(async move {
            resting.await;
            let standing = link.read(move |_, _| {
                is_paused.send_replace(true);
                // The caller may have left.
                let _ = begun.send(());
                // An error says that the other end was dropped, which is what this waits for.
                let _ = held.recv();
                is_paused.send_replace(false);
            });
            // A node that has stopped need not stand still.
            let _ = standing.await;
        });
        begins.await.map_err(|_| Stopped)?;
        Ok(true)
    }

    /// Lets the thread go on, and the miner; `false` if they do.
    pub(super) fn end(&self, mining: &MiningControl) -> bool {
        let is_held = self.hold().take().is_some();
        if is_held {
            self.is_paused.send_replace(false);
            drop(mining.hold(false));
        }
        is_held
    }

    /// Whether the node is paused, and a way to wait until it is.
    pub(super) fn state(&self) -> watch::Receiver<bool> {
        self.is_paused.subscribe()
    }
}
