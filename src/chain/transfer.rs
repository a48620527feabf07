//! The best chain to an archive, and back through validation: `cairn db export` and `import`.

use std::io::{Read, Write};

use super::{Chain, ChainError};
use crate::consensus::check::check_merkle_root;
use crate::consensus::params::Params;
use crate::primitives::block::Block;
use crate::primitives::codec;
use crate::primitives::hash::BlockHash;
use crate::primitives::height::Height;
use crate::primitives::time::UnixTime;
use crate::storage::archive::{ArchiveError, Reader, Writer};
use crate::storage::{Database, StoreError};

/// Why an export or import ended early.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum TransferError {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The blocks to be written are not all there.
    #[error(
        "blocks below height {kept_from} are pruned, and an archive begins with the first: export from a node that keeps all"
    )]
    Pruned { kept_from: Height },
    /// A block of the archive that the chain refuses.
    #[error("the record at byte {offset} of the archive: {source}")]
    Block {
        /// Where the record starts.
        offset: u64,
        source: ChainError,
    },
}

/// What an import did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Imported {
    /// Blocks taken.
    pub new: u64,
    /// Blocks that were there already.
    pub known: u64,
}

/// Whether all blocks are there.
///
/// # Errors
/// [`TransferError::Pruned`], [`TransferError::Store`].
pub fn check_exportable(db: &Database) -> Result<(), TransferError> {
    match db.kept_from()? {
        Height::GENESIS => Ok(()),
        kept_from => Err(TransferError::Pruned { kept_from }),
    }
}

/// Writes the best chain from height 1, one block at a time, and returns how many. The store may be damaged: all blocks
/// before the first unreadable one are written. `progress` is told each height.
///
/// # Errors
/// [`TransferError::Archive`], [`TransferError::Store`]; what was written before stands. [`TransferError::Pruned`].
pub fn export<W: Write>(
    db: &Database,
    genesis: &BlockHash,
    out: W,
    progress: &mut dyn FnMut(Height),
) -> Result<u32, TransferError> {
    check_exportable(db)?;
    let mut writer = Writer::new(out, genesis)?;
    let mut height = Height::GENESIS;
    while let Some(at) = db.key_at(height.next())? {
        let (hash, block) = (at.hash, db.raw_block(&at)?);
        // A record's checksum must not cover damaged bytes. The import checks the rest.
        let Some(block) = block.filter(|block| is_whole(block, &hash)) else {
            writer.finish()?;
            let reason = format!("block {hash} at height {} cannot be read; all before it are exported", height.next());
            return Err(db.corrupt(reason).into());
        };
        writer.append(&block)?;
        height = height.next();
        progress(height);
    }
    writer.finish()?;
    Ok(height.blocks_since(Height::GENESIS))
}

/// Whether an encoding is that of the block with a hash.
fn is_whole(encoding: &[u8], hash: &BlockHash) -> bool {
    codec::decode::<Block>(encoding)
        .is_ok_and(|block| block.hash() == *hash && check_merkle_root(&block.header, block.txids()).is_ok())
}

/// Reads the beginning of an archive.
///
/// # Errors
/// [`TransferError::Archive`] if it is none, or another network's.
pub fn check_archive<R: Read>(input: R, params: &Params) -> Result<(), TransferError> {
    Reader::new(input, &params.genesis_hash)?;
    Ok(())
}

/// Validates and stores an archive's blocks, one at a time. `now` is the clock's; `progress` is told how many bytes are
/// read and the height of the tip.
///
/// # Errors
/// [`TransferError`]; what was taken before stands.
pub fn import<R: Read>(
    chain: &mut Chain,
    input: R,
    now: UnixTime,
    progress: &mut dyn FnMut(u64, Height),
) -> Result<Imported, TransferError> {
    let mut reader = Reader::new(input, &chain.params().genesis_hash.clone())?;
    let mut imported = Imported::default();
    loop {
        let offset = reader.offset();
        let Some(block) = reader.next_block()? else { break };
        match chain.accept_block(block, now, &|_| false) {
            Ok(update) => match update.rejected.into_iter().next() {
                Some((hash, source)) => {
                    return Err(TransferError::Block { offset, source: ChainError::Rule { hash, source } });
                }
                None => imported.new += 1,
            },
            Err(ChainError::Duplicate { .. }) => imported.known += 1,
            Err(ChainError::Store(error)) => return Err(error.into()),
            Err(source) => return Err(TransferError::Block { offset, source }),
        }
        progress(reader.offset(), chain.tip().height);
    }
    chain.db().store().flush()?;
    Ok(imported)
}
