//! Pruned blocks: how the owner removes blocks, and what is answered about those that are gone.

use super::{Access, Method, Outcome};
use crate::chain::{BlockTree, Entry, Retention, min_kept};
use crate::p2p::Command;
use crate::primitives::height::Height;
use crate::rpc::Api;
use crate::rpc::args::{Args, Kind, required};
use crate::rpc::error::{Code, RpcError};
use crate::rpc::jsonrpc::Reply;
use crate::rpc::schema::Shape;

/// Heights beyond this are times, and blocks must be older than such a time by this much: both as in Bitcoin Core.
const GREATEST_HEIGHT: i64 = 1_000_000_000;
const TIMESTAMP_WINDOW_SECS: i64 = 7_200;

/// The methods of this file, a group of [`super::GROUPS`].
pub const METHODS: &[Method] = &[Method {
    name: "pruneblockchain",
    access: Access::Owner,
    params: &[required(
        "height",
        Kind::Integer,
        "Remove blocks up to this height. Beyond 1000000000 it is a time in seconds since 1970: remove blocks two hours older.",
    )],
    result: Shape::Integer,
    about: "Removes old blocks from the disk of a node with --prune. Answers the height of the last block to be removed.",
    run: |api, args| Box::pin(prune_blockchain(api, args)),
}];

/// Why the body of a known block is not at hand.
pub(super) fn unavailable(tree: &BlockTree, entry: &Entry) -> RpcError {
    if entry.height < tree.kept_from() { pruned() } else { not_come() }
}

/// Refuses a question about the header at a height that the node has still to fetch, since it started from a state.
///
/// # Errors
/// [`Code::Misc`], with what is missing.
pub(super) fn check_header_is_here(tree: &BlockTree, height: Height) -> Result<(), RpcError> {
    if tree.lacks_header(height) { Err(RpcError::new(Code::Misc, missing_headers(tree))) } else { Ok(()) }
}

/// Which headers are still to be fetched; nothing if all are here.
pub(super) fn missing_headers(tree: &BlockTree) -> String {
    tree.header_gap().map_or_else(String::new, |gap| {
        format!(
            "Header not available (this node started from a state, and is still fetching the headers from height {} to {})",
            gap.from,
            gap.end.saturating_sub(1)
        )
    })
}

/// The body of a block was here.
pub(super) fn pruned() -> RpcError {
    RpcError::new(Code::Misc, "Block not available (pruned data)")
}

fn not_come() -> RpcError {
    RpcError::new(Code::Misc, "Block not available (its body has not arrived yet)")
}

async fn prune_blockchain(api: Api, args: Args) -> Outcome {
    let given: i64 = args.get("height")?;
    if given < 0 {
        return Err(RpcError::invalid("Negative block height."));
    }
    let tip = api.tip().height;
    let last = if given > GREATEST_HEIGHT {
        let time = given - TIMESTAMP_WINDOW_SECS;
        // Times do not fall along a chain.
        let first = api.walk(move |tree| {
            let (mut low, mut high) = (Height::GENESIS, tree.tip().height.next());
            while low < high {
                let middle = low.saturating_add(high.blocks_since(low) / 2);
                // Where headers are still to come, no block is kept.
                let is_older = |entry: Entry| i64::from(entry.header.time) < time;
                let is_older = tree.lacks_header(middle) || tree.entry_at(middle).is_some_and(is_older);
                if is_older { low = middle.next() } else { high = middle }
            }
            Ok(low)
        });
        let first = first.await?;
        if first > tip {
            return Err(RpcError::invalid("Could not find block with at least the specified timestamp."));
        }
        first
    } else {
        u32::try_from(given).map(Height::from_u32).unwrap_or(Height::MAX)
    };
    let retention = api.tree()?.retention();
    // Of a node that does not prune, or a chain that is too short for it, that is said first.
    if retention != Retention::All && tip.as_u32() >= min_kept(api.params()) && last > tip {
        return Err(RpcError::invalid("Blockchain is shorter than the attempted prune height."));
    }
    let kept_from = api.command(move |reply| Command::PruneBelow(last.next(), reply)).await??;
    Ok(Reply::of(&kept_from.prev().map_or(-1, |last| i64::from(last.as_u32()))))
}
