//! Coins, the views they are looked up in, and the change a block makes to them.

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
    /// Whether a coinbase made it: then it is spendable only once mature.
    pub coinbase: bool,
}

/// Looks up unspent coins. A view never holds data outputs.
pub trait CoinView {
    /// A failed look-up, such as a disk error.
    type Error;

    /// The coin at `outpoint`, or `None` if it never existed or is spent.
    ///
    /// # Errors
    /// The error of what the view reads from.
    fn coin(&self, outpoint: &OutPoint) -> Result<Option<Coin>, Self::Error>;
}

/// The change a block makes to the coins. Applying adds `created`, then removes `spent` (a coin may be in both);
/// undoing restores `spent`, then removes `created`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Delta {
    /// Coins spent, in the order of the inputs.
    pub spent: Vec<(OutPoint, Coin)>,
    /// Coins created, in the order of the outputs, without data outputs.
    pub created: Vec<(OutPoint, Coin)>,
    /// Sum of inputs minus outputs over all transactions except the coinbase.
    pub fees: Amount,
}

impl Delta {
    /// The coins that `block`'s transactions make at `height`.
    ///
    /// Coins of genesis do not count as a coinbase's: an allocation is spendable at once.
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
    /// Applies a block's change.
    pub fn apply(&mut self, delta: &Delta) {
        self.0.extend(delta.created.iter().cloned());
        delta.spent.iter().for_each(|(outpoint, _)| drop(self.0.remove(outpoint)));
    }

    /// Reverts a block's change.
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
