//! The filter of a block: BIP-158's basic filter, over keys instead of scripts. It depends only on the block and the coins
//! it spends, so all nodes compute the same one.
//!
//! # Consensus
//! The coinbase of the next block commits to it, with the filter header. So a filter without one of its keys is the filter
//! of an invalid chain.

use crate::consensus::coins::Coin;
use crate::primitives::block::Block;
use crate::primitives::gcs::Filter;
use crate::primitives::tx::Output;

/// The filter over the 32-byte keys of `block`'s outputs and of the coins it spends; data outputs have no key and are
/// left out.
pub fn block_filter<'a>(block: &Block, spent: impl IntoIterator<Item = &'a Coin>) -> Filter {
    let made = block.transactions.iter().flat_map(|tx| &tx.outputs);
    let spent: Vec<&Output> = spent.into_iter().map(|coin| &coin.output).collect();
    let keys = made.chain(spent).filter_map(Output::key);
    Filter::new(&block.hash(), keys.map(|key| &key.0))
}
