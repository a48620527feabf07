//! Bodies of the last few blocks, read once for all peers that ask for parts of them or for their compact form.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::p2p::blocks::Blocks;
use crate::p2p::compact::CompactBlock;
use crate::primitives::block::Block;
use crate::primitives::hash::BlockHash;
use crate::storage::{Database, StoreError};

/// Most bytes of blocks kept, as they are sent; one larger block excepted.
const MAX_BYTES: usize = 8_000_000;

/// A block that was read.
#[derive(Debug)]
struct Body {
    hash: BlockHash,
    bytes: usize,
    block: Arc<Block>,
    /// Made when it is first asked for.
    compact: Option<Arc<CompactBlock>>,
}

/// See the module. The oldest reading comes first.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    kept: VecDeque<Body>,
    bytes: usize,
}

impl Bodies {
    /// A block, from the store if it is not here.
    pub(super) fn block(&mut self, hash: &BlockHash, db: &Database) -> Result<Option<Arc<Block>>, StoreError> {
        Ok(self.body(hash, db)?.map(|body| body.block.clone()))
    }

    /// A block's compact form, which is made once.
    pub(super) fn compact(
        &mut self,
        hash: &BlockHash,
        db: &Database,
        blocks: &Blocks,
    ) -> Result<Option<Arc<CompactBlock>>, StoreError> {
        let Some(body) = self.body(hash, db)? else { return Ok(None) };
        let Body { block, compact, .. } = body;
        let compact = compact.get_or_insert_with(|| Arc::new(blocks.compact(block, &block.txids(), &[])));
        Ok(Some(compact.clone()))
    }

    fn body(&mut self, hash: &BlockHash, db: &Database) -> Result<Option<&mut Body>, StoreError> {
        if !self.kept.iter().any(|body| body.hash == *hash) {
            let Some(block) = db.block(hash)? else { return Ok(None) };
            let bytes = block.size();
            while self.bytes + bytes > MAX_BYTES
                && let Some(oldest) = self.kept.pop_front()
            {
                self.bytes -= oldest.bytes;
            }
            self.bytes += bytes;
            self.kept.push_back(Body { hash: *hash, bytes, block: Arc::new(block), compact: None });
        }
        Ok(self.kept.iter_mut().find(|body| body.hash == *hash))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::params::{GenesisSpec, Params};
    use crate::primitives::meter;
    use crate::storage::{Batch, MemoryStore, Store};

    #[test]
    fn a_block_is_read_and_its_compact_form_made_once() {
        let genesis = Params::new(GenesisSpec::regtest()).unwrap().genesis;
        let store = Arc::new(MemoryStore::new());
        let mut batch = Batch::default();
        batch.put_block(&genesis.hash(), &genesis);
        store.commit(batch).unwrap();
        let (db, mut bodies, blocks) = (Database::new(store), Bodies::default(), Blocks::new(1));
        let hash = genesis.hash();
        let first = bodies.compact(&hash, &db, &blocks).unwrap().unwrap();
        let before = meter::effort();
        let second = bodies.compact(&hash, &db, &blocks).unwrap().unwrap();
        assert!(Arc::ptr_eq(&first, &second) && *bodies.block(&hash, &db).unwrap().unwrap() == genesis);
        assert_eq!(meter::effort(), before, "nothing is read or hashed again");
        assert!(bodies.block(&BlockHash::ZERO, &db).unwrap().is_none());
    }
}
