//! Coins, the views they are looked up in, and the difference a block makes to them.

use crate::primitives::amount::Amount;
use crate::primitives::block::Block;
use crate::primitives::codec::{Decode, Encode};
use crate::primitives::height::Height;
use crate::primitives::keyed::HashMap;
use crate::primitives::tx::{OutPoint, Output};

/// An output that has not been spent.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Coin {
    /// Value and lock.
    pub output: Output,
    /// Height of the block that made it.
    pub height: Height,
    /// Made by a coinbase, so spendable only when mature.
    pub coinbase: bool,
}

/// Where unspent coins are looked up. Data outputs are never there.
pub trait CoinView {
    /// Why a look-up can fail: a disk, for one.
    type Error;

    /// The coin at `outpoint`, or `None` if it never was or is spent.
    ///
    /// # Errors
    /// Whatever the view stands on.
    fn coin(&self, outpoint: &OutPoint) -> Result<Option<Coin>, Self::Error>;
}

/// What a block does to the coins. Applying makes `created`, then removes `spent` (a coin may be in both); undoing
/// restores `spent`, then removes `created`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Coins spent, in the order of the inputs.
    pub spent: Vec<(OutPoint, Coin)>,
    /// Coins made, in the order of the outputs, data outputs left out.
    pub created: Vec<(OutPoint, Coin)>,
    /// Inputs less outputs over all transactions but the coinbase.
    pub fees: Amount,
}

impl Delta {
    /// The coins that `block`'s transactions make at `height`.
    ///
    /// Coins of genesis count as ordinary ones: an allocation is spendable at once.
    pub fn created_by(block: &Block, txids: &[crate::primitives::hash::Txid], height: Height) -> Vec<(OutPoint, Coin)> {
        let mut created = Vec::new();
        for (tx, txid) in block.transactions.iter().zip(txids) {
            let coinbase = tx.is_coinbase() && height > Height::GENESIS;
            for (outpoint, output) in tx.outpoints(*txid) {
                if output.key().is_some() {
                    created.push((outpoint, Coin { output: output.clone(), height, coinbase }));
                }
            }
        }
        created
    }
}

/// Coins in memory: the whole set in tests and simulations, a layer over another view elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coins(pub HashMap<OutPoint, Coin>);

impl Coins {
    /// Applies a block's difference.
    pub fn apply(&mut self, delta: &Delta) {
        self.0.extend(delta.created.iter().cloned());
        delta.spent.iter().for_each(|(outpoint, _)| drop(self.0.remove(outpoint)));
    }

    /// Takes a block's difference back.
    pub fn undo(&mut self, delta: &Delta) {
        self.0.extend(delta.spent.iter().cloned());
        delta.created.iter().for_each(|(outpoint, _)| drop(self.0.remove(outpoint)));
    }
}

impl CoinView for Coins {
    type Error = std::convert::Infallible;

    fn coin(&self, outpoint: &OutPoint) -> Result<Option<Coin>, Self::Error> {
        Ok(self.0.get(outpoint).cloned())
    }
}
