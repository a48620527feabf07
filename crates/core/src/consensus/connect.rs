//! Rules that need the coins a block spends.

use crate::consensus::check::CheckedBlock;
use crate::consensus::coins::{Coin, CoinView, Delta};
use crate::consensus::error::RuleError;
use crate::consensus::params::Params;
use crate::primitives::amount::Amount;
use crate::primitives::hash::{Commitment, Txid};
use crate::primitives::height::Height;
use crate::primitives::keyed::HashMap;
use crate::primitives::keys::{self, SignatureCheck};
use crate::primitives::meter;
use crate::primitives::tx::{Lock, OutPoint, Transaction};

/// Bytes of the commitment at the start of a coinbase's data.
pub const COMMITMENT_LEN: usize = 32;

/// Why a block cannot be connected: it breaks a rule, or the view of coins failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError<E> {
    /// The block breaks a rule.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The view could not look up a coin.
    #[error("looking up a coin: {0}")]
    View(E),
}

/// What the rules need to know about a block's place in the chain.
#[derive(Debug, Clone, Copy)]
pub struct BlockContext<'a> {
    /// The network.
    pub params: &'a Params,
    /// The block's height, at least 1.
    pub height: Height,
    /// What its coinbase must begin with ([`Committed`](super::commitment::Committed)).
    pub commitment: Commitment,
}

/// Checks a block against the coins before it and returns the change it makes to them, without applying it.
///
/// The signatures of a transaction for which `is_verified` returns true are not checked again: a txid commits to the
/// signatures and to the outputs spent, so a transaction whose signatures were valid once stays valid.
///
/// # Errors
/// The first rule broken, or the view's own error.
pub fn connect<V: CoinView>(
    block: &CheckedBlock,
    context: &BlockContext<'_>,
    view: &V,
    is_verified: impl Fn(&Txid) -> bool,
) -> Result<Delta, ConnectError<V::Error>> {
    let (delta, signatures) = spend(block, context, view, is_verified)?;
    signatures.verify()?;
    Ok(delta)
}

/// The signatures of a block or transaction whose other rules all hold: the only check left.
#[derive(Debug, Default)]
#[must_use]
pub struct Signatures {
    checks: Vec<SignatureCheck>,
    /// The transaction and input of each check.
    owners: Vec<(Txid, u32)>,
}

impl Signatures {
    /// With fewer signatures than this, handing the check to another thread costs more than it saves.
    const FEW: usize = 32;

    /// Adds the signatures of a transaction that spends `coins`, in the order of its inputs.
    pub fn add(&mut self, tx: &Transaction, txid: &Txid, coins: &[Coin], params: &Params) {
        self.owners.extend((0..tx.inputs.len()).map(|input| (*txid, input as u32)));
        self.checks.extend(signature_checks(tx, coins, params));
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.checks.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.checks.is_empty()
    }

    /// Checks all signatures, on all cores.
    ///
    /// # Errors
    /// [`RuleError::BadSignature`] for the first invalid signature.
    pub fn verify(&self) -> Result<(), RuleError> {
        keys::verify_all(&self.checks).map_err(|first| {
            let (txid, input) = self.owners[first];
            RuleError::BadSignature { txid, input }
        })
    }

    /// Like [`Signatures::verify`], but runs `work` in parallel; `work` runs whatever the verdict.
    ///
    /// # Errors
    /// As [`Signatures::verify`].
    pub fn verify_during(&self, work: impl FnOnce() + Send) -> Result<(), RuleError> {
        if self.checks.len() < Self::FEW {
            work();
            return self.verify();
        }
        meter::verified(self.checks.len());
        meter::apart(|| rayon::join(|| self.verify(), work).0)
    }
}

/// Like [`connect`], but returns the signatures for the caller to check.
///
/// # Errors
/// The first broken rule other than signatures, or the view's own error.
pub fn spend<V: CoinView>(
    block: &CheckedBlock,
    context: &BlockContext<'_>,
    view: &V,
    is_verified: impl Fn(&Txid) -> bool,
) -> Result<(Delta, Signatures), ConnectError<V::Error>> {
    let transactions = &block.block().transactions;
    check_coinbase(&transactions[0], context)?;
    let created = Delta::created_by(block.block(), block.txids(), context.height);
    let mut delta = Delta { spent: Vec::new(), created, fees: Amount::ZERO };
    // Coins created so far in this block. A spent coin becomes None, so that a second spend fails here and does not
    // fall through to the view.
    let mut layer: HashMap<OutPoint, Option<&Coin>> = HashMap::default();
    let mut made = delta.created.iter().peekable();
    let mut signatures = Signatures::default();
    for (tx, txid) in transactions.iter().zip(block.txids()) {
        if !tx.is_coinbase() {
            let mut coins = Vec::with_capacity(tx.inputs.len());
            for input in &tx.inputs {
                let found = match layer.insert(input.outpoint, None) {
                    Some(layered) => layered.cloned(),
                    None => view.coin(&input.outpoint).map_err(ConnectError::View)?,
                };
                let coin = found.ok_or(RuleError::MissingCoin { txid: *txid, outpoint: input.outpoint })?;
                coins.push(coin);
            }
            let fee = check_spend(tx, txid, &coins, context.height, context.params)?;
            // Fees come from existing coins and the subsidy is yet to be issued, so the sum cannot exceed the supply.
            delta.fees = delta.fees.saturating_add(fee);
            if !is_verified(txid) {
                signatures.add(tx, txid, &coins, context.params);
            }
            delta.spent.extend(tx.inputs.iter().map(|input| input.outpoint).zip(coins));
        }
        while let Some((outpoint, coin)) = made.next_if(|(outpoint, _)| outpoint.txid == *txid) {
            layer.insert(*outpoint, Some(coin));
        }
    }
    let due = context.params.subsidy_at(context.height).saturating_add(delta.fees);
    let taken = Amount::saturating_sum(transactions[0].outputs.iter().map(|output| output.value));
    if taken > due {
        return Err(RuleError::CoinbaseTooHigh { got: taken, max: due }.into());
    }
    Ok((delta, signatures))
}

/// Checks the signatures of one transaction against the coins it spends, in the order of its inputs. The mempool runs
/// the cheap [`check_spend`] first and this costly check last.
///
/// # Errors
/// [`RuleError::BadSignature`] for the first invalid signature.
pub fn check_signatures(tx: &Transaction, txid: &Txid, coins: &[Coin], params: &Params) -> Result<(), RuleError> {
    let mut signatures = Signatures::default();
    signatures.add(tx, txid, coins, params);
    signatures.verify()
}

/// Checks every rule of a spend except its signatures, and returns the fee. The transaction must have passed
/// [`check_transaction`](super::check::check_transaction); `coins` are those it spends, in the order of its inputs;
/// `height` is that of the block it would go into.
///
/// # Errors
/// [`RuleError::Locked`], [`RuleError::ImmatureCoin`], [`RuleError::Overspend`].
pub fn check_spend(
    tx: &Transaction,
    txid: &Txid,
    coins: &[Coin],
    height: Height,
    params: &Params,
) -> Result<Amount, RuleError> {
    let txid = *txid;
    if tx.lock_height > height {
        return Err(RuleError::Locked { txid, lock_height: tx.lock_height, height });
    }
    for coin in coins.iter().filter(|coin| coin.coinbase) {
        let spendable = coin.height.saturating_add(params.coinbase_maturity);
        if height < spendable {
            return Err(RuleError::ImmatureCoin { txid, made: coin.height, spendable, height });
        }
    }
    // The inputs all exist at once and `check_transaction` has bounded the outputs' sum, so neither sum saturates.
    let inputs = Amount::saturating_sum(coins.iter().map(|coin| coin.output.value));
    let outputs = Amount::saturating_sum(tx.outputs.iter().map(|output| output.value));
    inputs.checked_sub(outputs).ok_or(RuleError::Overspend { txid, inputs, outputs })
}

fn signature_checks<'a>(
    tx: &'a Transaction,
    coins: &'a [Coin],
    params: &Params,
) -> impl Iterator<Item = SignatureCheck> + 'a {
    let digest = tx.signature_digest(&params.genesis_hash, coins.iter().map(|coin| &coin.output));
    tx.inputs.iter().zip(coins).filter_map(move |(input, coin)| match &coin.output.lock {
        Lock::Key(key) => Some(SignatureCheck { key: *key, signature: input.signature, digest }),
        Lock::Data(_) => None, // No view holds a data output.
    })
}

/// The commitment in a coinbase: the first 32 bytes of its only data output.
///
/// # Errors
/// [`RuleError::NoCommitment`], [`RuleError::ShortCommitment`].
pub fn commitment_of(coinbase: &Transaction) -> Result<Commitment, RuleError> {
    let data = coinbase.outputs.iter().find_map(|output| match &output.lock {
        Lock::Data(data) => Some(data),
        Lock::Key(_) => None,
    });
    let data = data.ok_or(RuleError::NoCommitment)?;
    let bytes = data.first_chunk::<COMMITMENT_LEN>().ok_or(RuleError::ShortCommitment { got: data.len() })?;
    Ok(Commitment::from_bytes(*bytes))
}

fn check_coinbase(coinbase: &Transaction, context: &BlockContext<'_>) -> Result<(), RuleError> {
    if coinbase.lock_height != context.height {
        return Err(RuleError::CoinbaseHeight { got: coinbase.lock_height, expected: context.height });
    }
    let got = commitment_of(coinbase)?;
    if got != context.commitment {
        return Err(RuleError::WrongCommitment { got, expected: context.commitment });
    }
    Ok(())
}
