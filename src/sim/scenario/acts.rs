//! What a run does to nodes and reads from them, the same in every world.

use super::plan::{COIN_VALUE, PayPlan, payer};
use super::world::{World, WorldError};
use crate::chain::ChainError;
use crate::p2p::{Command, Node};
use crate::primitives::amount::Amount;
use crate::primitives::block::Block;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::height::Height;
use crate::primitives::tx::Output;
use crate::sim::{Sim, next_block};
use crate::storage::BlockKey;
use crate::wallet::coins::Spendable;
use crate::wallet::payment::{Fee, Funding, Order, Payment, PaymentError};

/// A world with the names of its nodes, for errors.
pub(super) struct Stage<'a, W> {
    pub(super) world: &'a mut W,
    pub(super) names: &'a [String],
}

/// A payment that a node did not take: its reason.
pub(super) struct Refused(pub(super) String);

impl<W: World> Stage<'_, W> {
    fn failed(&self, node: usize, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> WorldError {
        WorldError { name: self.names[node].clone(), source: source.into() }
    }

    /// Reads a node, where the reading may fail; `None` if it is down.
    pub(super) fn try_read<R, E>(
        &mut self,
        node: usize,
        look: impl FnOnce(&Node) -> Result<R, E> + Send + 'static,
    ) -> Result<Option<R>, WorldError>
    where
        R: Send + 'static,
        E: std::error::Error + Send + Sync + 'static,
    {
        let read = self.world.read(node, |node, _| look(node))?.transpose();
        read.map_err(|error| self.failed(node, error))
    }

    /// Has a node find a block on its tip; `None` if it is down. `number` is another one each time.
    pub(super) fn mine(&mut self, node: usize, number: u64) -> Result<Option<BlockHash>, WorldError> {
        let payee = Sim::miner_key(node).public_key();
        let found = self.world.read(node, move |node, now| next_block(node, &payee, number, now.unix))?.transpose();
        let Some(block) = found.map_err(|error| self.failed(node, error))?.flatten() else { return Ok(None) };
        let hash = block.hash();
        self.submit(node, block)?;
        Ok(Some(hash))
    }

    /// Gives a node a block, which it may have already.
    pub(super) fn submit(&mut self, node: usize, block: Block) -> Result<(), WorldError> {
        match self.world.command(node, |reply| Command::SubmitBlock(block, reply))?.transpose() {
            Ok(_) | Err(ChainError::Duplicate { .. }) => Ok(()),
            Err(error) => Err(self.failed(node, error)),
        }
    }

    /// Makes the payment of a number and gives it to a node; `None` if the node is down.
    pub(super) fn pay(
        &mut self,
        node: usize,
        number: usize,
        plan: &PayPlan,
    ) -> Result<Option<Result<Txid, Refused>>, WorldError> {
        let rate = plan.rate;
        let made = self.try_read(node, move |node| payment(node, number, Fee::at_rate(rate)))?;
        let Some(Payment { transaction, txid, .. }) = made else { return Ok(None) };
        let taken = self.world.command(node, |reply| Command::SubmitTransaction(transaction, reply))?;
        Ok(taken.map(|taken| taken.map(|_| txid).map_err(|error| Refused(error.to_string()))))
    }

    /// The hashes of a node's best chain after genesis; `None` if it is down.
    pub(super) fn chain(&mut self, node: usize) -> Result<Option<Vec<BlockHash>>, WorldError> {
        self.world.read(node, |node, _| {
            let tree = node.chain().tree();
            let heights = 1..=tree.tip().height.as_u32();
            heights.filter_map(|height| Some(tree.entry_at(Height::from_u32(height))?.hash)).collect()
        })
    }

    /// A block that a node has; `None` if it has not, or is down.
    pub(super) fn block(&mut self, node: usize, at: BlockKey) -> Result<Option<Block>, WorldError> {
        Ok(self.try_read(node, move |node| node.chain().db().block(&at))?.flatten())
    }
}

/// Half of the coin of that number, which genesis has, to another key; the rest comes back.
fn payment(node: &Node, number: usize, fee: Fee) -> Result<Payment, PaymentError> {
    let params = node.chain().params();
    let key = payer(number);
    let owner = key.public_key();
    let coinbase = &params.genesis.transactions[0];
    let owned = coinbase.outpoints(coinbase.txid()).find(|(_, output)| output.key() == Some(&owner));
    let coins: Vec<Spendable> =
        owned.map(|(outpoint, _)| Spendable { outpoint, value: COIN_VALUE, key: owner }).into_iter().collect();
    let half = Amount::from_grains(COIN_VALUE.as_grains() / 2);
    let outputs = vec![Output::pay(payer(number + 1).public_key(), half)];
    let draft = Order::pay(outputs, fee).draft(Funding::AllOf(&coins), owner)?;
    draft.sign(&params.genesis_hash, |_| Some(key.clone()))
}
