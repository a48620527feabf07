//! What is known of the best chain, in words and in JSON.

use std::path::Path;

use serde_json::{Value, json};

use crate::cli::Common;
use crate::consensus::params::Params;
use crate::light::Headers;
use crate::primitives::hash::BlockHash;
use crate::primitives::header::Header;
use crate::primitives::height::Height;
use crate::primitives::target::Work;
use crate::primitives::time::UnixTime;
use crate::runtime::unix_now;

/// `cairn light status`.
pub(super) fn print(common: &Common, chain: &Headers, path: &Path) -> anyhow::Result<()> {
    let state = State::of(chain);
    let bytes = std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let text = || {
        let file = format!("file           {bytes} bytes in {}", path.display());
        [state.describe(chain.params()), state.headers(), file].join("\n")
    };
    common.print(text, || {
        let mut json = state.json(chain.params());
        json["file"] = json!(path);
        json["bytes"] = json!(bytes);
        json
    })
}

/// The best chain known.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) height: Height,
    pub(super) tip: BlockHash,
    pub(super) time: u32,
    pub(super) work: Work,
    /// The first height from which on all headers are kept.
    first: Height,
    headers_bytes: usize,
}

impl State {
    pub(super) fn of(chain: &Headers) -> Self {
        let (height, tip, time, work) = (chain.height(), chain.tip_hash(), chain.tip().time, chain.work());
        Self { height, tip, time, work, first: chain.first(), headers_bytes: chain.kept() * Header::LEN }
    }

    pub(super) fn describe(&self, params: &Params) -> String {
        [
            format!("network        {} (genesis {})", params.network, params.genesis_hash),
            format!("height         {}", self.height),
            format!(
                "tip            {}, {} s old",
                self.tip,
                unix_now().saturating_since(UnixTime::from_secs(self.time.into())).as_secs()
            ),
            format!("work in all    {:.3e} hashes, {}", self.work.as_f64(), self.work),
        ]
        .join("\n")
    }

    pub(super) fn headers(&self) -> String {
        let proven = if self.first.as_u32() > 1 { "; those below are proven by a sample" } else { "" };
        format!("headers        all from height {} on, {} bytes{proven}", self.first, self.headers_bytes)
    }

    pub(super) fn json(&self, params: &Params) -> Value {
        json!({
            "network": params.network,
            "genesis_hash": params.genesis_hash,
            "height": self.height,
            "tip": self.tip,
            "tip_time": self.time,
            "chainwork": self.work.to_string(),
            "headers_from": self.first,
            "headers_bytes": self.headers_bytes,
        })
    }
}
