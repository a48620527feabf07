//! A double spend between full nodes: the race of [`super::race`] with a real coin.
//!
//! Three nodes run: the merchant's, an honest miner's and the attacker's. The attacker's is partitioned from the others
//! while it mines a payment of the coin to the attacker in secret; the merchant receives a payment of the same coin.
//! When the secret branch is longer, the partition is healed and the nodes reorganise.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::race::{Dice, Outcome, Side, race};
use super::{NetworkConditions, Sim};
use crate::consensus::params::{Allocation, GenesisSpec, Params};
use crate::p2p::{Command, Event};
use crate::primitives::address;
use crate::primitives::amount::{Amount, COIN, FeeRate};
use crate::primitives::hash::Txid;
use crate::primitives::height::Height;
use crate::primitives::keys::SecretKey;
use crate::primitives::time::MonoTime;
use crate::primitives::tx::{OutPoint, Output, Transaction};
use crate::storage::StoreError;
use crate::wallet::coins::Spendable;
use crate::wallet::payment::{Fee, Funding, Order, PaymentError};

const MERCHANT: usize = 0;
const MINER: usize = 1;
const ATTACKER: usize = 2;
/// Time after each block in which it comes to all who may hear of it.
const BLOCK: Duration = Duration::from_millis(500);
/// Time in which anything that must happen happens.
const PATIENCE: Duration = Duration::from_secs(120);
/// What the miner gets, and what is paid of the coin.
const FEE_RATE: FeeRate = FeeRate::from_grains_per_byte(2);
const PRICE: Amount = Amount::from_grains(9 * COIN);

/// Why an attack could not be completed.
#[derive(Debug, thiserror::Error)]
pub enum AttackError {
    /// The coin could not be spent.
    #[error(transparent)]
    Payment(#[from] PaymentError),
    /// A store failed, which a memory store never does.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The nodes did not behave as expected.
    #[error("race {number}: {what}")]
    Unexpected {
        /// The race's number, which its random numbers follow from.
        number: u32,
        /// What did not happen.
        what: &'static str,
    },
}

/// The result of one attack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FullRun {
    /// How the race ended.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Confirmations of the payment at the merchant's node before the partition was healed.
    pub confirmations_seen: u32,
    /// Blocks that the merchant's node disconnected in the end.
    pub depth: u32,
    /// Whether the payment is gone from the merchant's chain and mempool and his wallet is empty.
    pub payment_gone: bool,
    /// Whether the other spend of the coin is confirmed at the merchant's node.
    pub coin_back: bool,
}

/// A network in which the attacker has one coin of genesis.
pub fn params() -> Arc<Params> {
    let mut spec = GenesisSpec::regtest();
    let owner = address::encode(&spec.address_prefix, &key(ATTACKER).public_key());
    spec.alloc = vec![Allocation { address: owner, value: Amount::from_grains(10 * COIN) }];
    spec.mine_nonce();
    Arc::new(Params::new(spec).expect("the private network's parameters are valid"))
}

fn key(of: usize) -> SecretKey {
    SecretKey::from_seed([of as u8 + 1; 32])
}

/// Plays race `number` with whole nodes: blocks are found by the same sides as in [`super::race::headers`].
///
/// # Errors
/// [`AttackError`].
pub fn run(
    params: &Arc<Params>,
    seed: u64,
    number: u32,
    share: f64,
    confirmations: u32,
) -> Result<FullRun, AttackError> {
    let unexpected = |what| AttackError::Unexpected { number, what };
    let mut sim = Sim::new(Arc::clone(params), NetworkConditions::default(), seed ^ u64::from(number) << 32);
    sim.add_node(&[])?;
    sim.add_node(&[MERCHANT])?;
    sim.add_node(&[MERCHANT, MINER])?;
    sim.run_for(Duration::from_secs(10));
    sim.mine(MINER).ok_or(unexpected("no block could be mined"))?;
    if !sim.run_until(PATIENCE, Sim::is_converged) {
        return Err(unexpected("the nodes did not find each other"));
    }

    let genesis = &params.genesis.transactions[0];
    // Output 0 is the message.
    let outpoint = OutPoint { txid: genesis.txid(), index: 1 };
    let owner = key(ATTACKER).public_key();
    let coin = Spendable { outpoint, value: genesis.outputs[1].value, key: owner };
    let pay = |to: usize| {
        let order = Order::pay(vec![Output::pay(key(to).public_key(), PRICE)], Fee::at_rate(FEE_RATE));
        let draft = order.draft(Funding::AnyOf(std::slice::from_ref(&coin)), owner)?;
        draft.sign(&params.genesis_hash, |_| Some(key(ATTACKER)))
    };
    let (payment, conflict) = (pay(MERCHANT)?, pay(ATTACKER)?);

    // The secret branch begins before the merchant is paid.
    sim.partition(&[&[], &[ATTACKER]]);
    submit(&mut sim, ATTACKER, conflict.transaction)
        .ok_or(unexpected("the attacker's node refused his own payment"))?;
    let mut first = true;
    let fork = sim.node(MERCHANT).map_or(Height::GENESIS, |node| node.chain().tip().height);
    let outcome = race(Dice::new(seed, number, share), confirmations, |side| {
        sim.mine(if side == Side::Attacker { ATTACKER } else { MINER }).ok_or(unexpected("no block could be mined"))?;
        sim.run_for(BLOCK);
        if std::mem::take(&mut first) {
            submit(&mut sim, MERCHANT, payment.transaction.clone()).ok_or(unexpected("the merchant's node refused"))?;
            let relayed = |sim: &Sim| sim.node(MINER).is_some_and(|node| node.mempool().contains(&payment.txid));
            if !sim.run_until(PATIENCE, relayed) {
                return Err(unexpected("the miner did not hear of the payment"));
            }
        }
        Ok(())
    })?;
    let confirmations_seen = confirmations_of(&sim, &payment.txid)?;

    let before = sim.events(MERCHANT).len();
    sim.heal();
    sim.command(ATTACKER, |reply| Command::ConnectOnce(Sim::address(MERCHANT), None, reply));
    if !sim.run_until(PATIENCE, Sim::is_converged) {
        return Err(unexpected("the nodes did not agree after the branch was published"));
    }
    let taken_back = |(_, event): &&(MonoTime, Event)| matches!(event, Event::BlockDisconnected { .. });
    let depth = sim.events(MERCHANT)[before..].iter().filter(taken_back).count() as u32;
    let merchant = sim.node(MERCHANT).ok_or(unexpected("the merchant's node is down"))?;
    let db = merchant.chain().db();
    let works = merchant.chain().tip().height == fork.saturating_add(outcome.honest.max(outcome.attacker));
    if !works {
        return Err(unexpected("the longest branch did not win"));
    }
    Ok(FullRun {
        outcome,
        confirmations_seen,
        depth,
        payment_gone: db.tx_location(&payment.txid)?.is_none()
            && !merchant.mempool().contains(&payment.txid)
            && db.address_coins(&key(MERCHANT).public_key(), None, 1)?.is_empty(),
        coin_back: db.tx_location(&conflict.txid)?.is_some(),
    })
}

fn submit(sim: &mut Sim, node: usize, tx: Transaction) -> Option<()> {
    sim.submit(node, tx)?.ok().map(drop)
}

/// Blocks of the merchant's chain from the one with a payment to the tip.
fn confirmations_of(sim: &Sim, txid: &Txid) -> Result<u32, StoreError> {
    let Some(node) = sim.node(MERCHANT) else { return Ok(0) };
    let found = node.chain().db().transaction(txid)?;
    Ok(found.map_or(0, |(_, _, height)| node.chain().tip().height.next().blocks_since(height)))
}
