//! Bodies of the last few blocks, read once for all peers that ask for them, for parts of them or for their compact form.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::p2p::blocks::Blocks;
use crate::p2p::frame::Frame;
use crate::primitives::block::Block;
use crate::primitives::codec;
use crate::primitives::hash::BlockHash;
use crate::storage::{BlockKey, Database, StoreError};

/// Most bytes of blocks kept, as they are sent; one larger block excepted.
const MAX_BYTES: usize = 8_000_000;

/// A block that was read.
#[derive(Debug)]
struct Body {
    hash: BlockHash,
    /// As it is stored and sent.
    whole: Frame,
    /// Decoded when parts of it or its compact form are first asked for.
    block: Option<Arc<Block>>,
    /// Made when it is first asked for.
    compact: Option<Frame>,
}

/// See the module. The oldest reading comes first.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    kept: VecDeque<Body>,
    bytes: usize,
}

impl Bodies {
    /// The message that holds a block, from the store if it is not here.
    pub(super) fn whole(&mut self, at: &BlockKey, db: &Database) -> Result<Option<Frame>, StoreError> {
        Ok(self.body(at, db)?.map(|body| body.whole.clone()))
    }

    /// A block.
    pub(super) fn block(&mut self, at: &BlockKey, db: &Database) -> Result<Option<Arc<Block>>, StoreError> {
        let Some(body) = self.body(at, db)? else { return Ok(None) };
        body.block(db).map(Some)
    }

    /// The message that holds a block's compact form, which is made once.
    pub(super) fn compact(
        &mut self,
        at: &BlockKey,
        db: &Database,
        blocks: &Blocks,
    ) -> Result<Option<Frame>, StoreError> {
        let Some(body) = self.body(at, db)? else { return Ok(None) };
        if let Some(compact) = &body.compact {
            return Ok(Some(compact.clone()));
        }
        let block = body.block(db)?;
        let compact = blocks.compact(&block, &block.txids(), &[]);
        body.compact = Some(compact.clone());
        Ok(Some(compact))
    }

    fn body(&mut self, at: &BlockKey, db: &Database) -> Result<Option<&mut Body>, StoreError> {
        if !self.kept.iter().any(|body| body.hash == at.hash) {
            let Some(encoded) = db.raw_block(at)? else { return Ok(None) };
            let bytes = encoded.len();
            while self.bytes + bytes > MAX_BYTES
                && let Some(oldest) = self.kept.pop_front()
            {
                self.bytes -= oldest.whole.payload().len();
            }
            self.bytes += bytes;
            self.kept.push_back(Body { hash: at.hash, whole: Frame::of_block(encoded), block: None, compact: None });
        }
        Ok(self.kept.iter_mut().find(|body| body.hash == at.hash))
    }
}

impl Body {
    fn block(&mut self, db: &Database) -> Result<Arc<Block>, StoreError> {
        if let Some(block) = &self.block {
            return Ok(block.clone());
        }
        let block = codec::decode(self.whole.payload()).map_err(|error| db.corrupt(error.to_string()))?;
        Ok(self.block.insert(Arc::new(block)).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consensus::params::{GenesisSpec, Params};
    use crate::p2p::message::Message;
    use crate::primitives::height::Height;
    use crate::primitives::meter;
    use crate::storage::{Batch, MemoryStore, Store};

    #[test]
    fn a_block_is_read_and_its_compact_form_made_once() {
        let genesis = Params::new(GenesisSpec::regtest()).unwrap().genesis;
        let store = Arc::new(MemoryStore::new());
        let mut batch = Batch::default();
        let at = BlockKey { height: Height::GENESIS, hash: genesis.hash() };
        batch.put_block(&at, &genesis);
        store.commit(batch).unwrap();
        let (db, mut bodies, blocks) = (Database::new(store), Bodies::default(), Blocks::new(1));
        let first = bodies.compact(&at, &db, &blocks).unwrap().unwrap();
        let before = meter::effort();
        let second = bodies.compact(&at, &db, &blocks).unwrap().unwrap();
        assert_eq!((&first, &*bodies.block(&at, &db).unwrap().unwrap()), (&second, &genesis));
        assert_eq!(bodies.whole(&at, &db).unwrap(), Some(Frame::from(Message::Block(Arc::new(genesis)))));
        assert_eq!(meter::effort(), before, "nothing is read or hashed again");
        assert!(bodies.block(&BlockKey { hash: BlockHash::ZERO, ..at }, &db).unwrap().is_none());
    }
}
