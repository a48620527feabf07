//! Fetches from peers what the gateway lacks, if the owner allows it.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::failure::Failure;
use crate::runtime::exchange::{Exchange, FetchStatus, Fetches, Wanted};

/// Answers that wait for peers at a time; more wait for a place.
const MAX_ANSWERS: usize = 4;
/// How long an answer waits for a place.
const PLACE_PATIENCE: Duration = Duration::from_secs(10);
/// How long no block may come.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often is looked whether the block that is needed next is here: what was fetched can be read a second later.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// What all answers share.
#[derive(Clone)]
pub(in crate::rpc) struct Fetching {
    exchange: Exchange,
    fetches: Fetches,
    places: Arc<Semaphore>,
    runtime: Handle,
}

impl Fetching {
    /// By this exchange. Called within the runtime.
    pub(in crate::rpc) fn new(exchange: Exchange, fetches: Fetches) -> Self {
        Self { exchange, fetches, places: Arc::new(Semaphore::new(MAX_ANSWERS)), runtime: Handle::current() }
    }

    /// A place among the answers that wait for peers. Blocks.
    ///
    /// # Errors
    /// 503 if there is none for some seconds.
    pub(super) fn place(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let place = tokio::time::timeout(PLACE_PATIENCE, Arc::clone(&self.places).acquire_owned());
        self.runtime.block_on(place).ok().and_then(Result::ok).ok_or_else(|| Failure::Refused {
            status: StatusCode::SERVICE_UNAVAILABLE,
            text: "too many requests wait for content of other nodes: try again later".to_owned(),
        })
    }

    /// Fetches until what is wanted is here, or `is_here` says that enough is. Blocks. Whether the fetch goes on.
    pub(super) fn fetch(
        &self,
        wanted: &Wanted,
        mut is_here: impl FnMut() -> Result<bool, Failure>,
    ) -> Result<bool, Failure> {
        loop {
            let fetching = self.fetches.fetch(&self.exchange, wanted.clone(), PATIENCE, LOOK_INTERVAL);
            let Some(FetchStatus { progress: _, ended }) = self.runtime.block_on(fetching) else {
                let text = "too many fetches are under way: try again later".to_owned();
                return Err(Failure::Refused { status: StatusCode::SERVICE_UNAVAILABLE, text });
            };
            match ended {
                None if !is_here()? => {}
                None => return Ok(true),
                Some(Ok(())) => return Ok(false),
                Some(Err(error)) => {
                    tracing::debug!(root = %wanted.root, %error, "the gateway could not fetch");
                    return Ok(false);
                }
            }
        }
    }
}
