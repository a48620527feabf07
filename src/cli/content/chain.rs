//! Blocks of the chain, under the CIDs of their headers. They are read from a node, which needs no copy of them in the content
//! store.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;

use anyhow::{Context, bail, ensure};
use serde_json::json;

use super::network::LOOK_INTERVAL;
use super::{Common, ContentPath};
use crate::cli::client::{ClientArgs, call};
use crate::cli::temporary::{Temporary, check_interrupted};
use crate::consensus::check::check_merkle_root;
use crate::ipld::{Codec, HashFunction};
use crate::primitives::amount::counted;
use crate::primitives::block::Block;
use crate::primitives::codec;
use crate::primitives::hash::BlockHash;
use crate::rpc::client::{Client, ClientError};

/// The hash of the block whose header a path names, if that is what it does.
pub fn block_at(path: &ContentPath) -> Option<BlockHash> {
    let is_header = path.root.codec() == Codec::BITCOIN_BLOCK && path.names.is_empty();
    path.root.digest_of(HashFunction::DblSha2_256).filter(|_| is_header).map(BlockHash::from_bytes)
}

/// A block as it is sent between nodes: header and transactions, checked against its hash.
///
/// # Errors
/// If there is no node, or it does not have the block.
pub fn read(hash: BlockHash, node: &ClientArgs, common: &Common) -> anyhow::Result<Vec<u8>> {
    let node = node.connect(common, None).context("a block of the chain is read from a node, and there is none")?;
    let text = hex_of(hash, node)?;
    let bytes = hex::decode(text).context("the node's block is not in hexadecimal")?;
    let block: Block = codec::decode(&bytes).context("what the node sent is no block")?;
    ensure!(block.hash() == hash, "the node sent another block");
    check_merkle_root(&block.header, block.txids()).context("the node sent a block with other transactions")?;
    Ok(bytes)
}

/// Asks the node apart, so that a signal ends the wait for it.
fn hex_of(hash: BlockHash, node: Client) -> anyhow::Result<String> {
    let (answer, answers) = mpsc::channel::<Result<String, ClientError>>();
    thread::Builder::new().name("fetch".to_owned()).spawn(move || {
        // Fails if a signal ended the wait.
        let _ = answer.send(call(&node, "getblock", &[json!(hash), json!(0)]));
    })?;
    loop {
        match answers.recv_timeout(LOOK_INTERVAL) {
            Ok(answer) => return Ok(answer?),
            Err(RecvTimeoutError::Timeout) => check_interrupted()?,
            Err(RecvTimeoutError::Disconnected) => bail!("the thread that asks the node failed"),
        }
    }
}

/// Writes a block to a file.
///
/// # Errors
/// Those of [`read`]; if the file exists or cannot be written; [`Interrupted`](crate::cli::Interrupted).
pub fn write(hash: BlockHash, target: &Path, node: &ClientArgs, common: &Common) -> anyhow::Result<()> {
    // From here on, signals are looked for.
    let temporary = Temporary::beside(target)?;
    let bytes = read(hash, node, common)?;
    let cannot = || format!("cannot write {}", target.display());
    let mut file = fs::File::create_new(temporary.path()).with_context(cannot)?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).with_context(cannot)?;
    check_interrupted()?;
    temporary.rename(target).with_context(cannot)?;
    let text = format!("{}: block {hash}, {}", target.display(), counted(bytes.len(), "byte"));
    common.print_outcome(&text, || json!({ "path": target, "hash": hash, "bytes": bytes.len() }))
}
