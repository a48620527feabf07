//! Building and signing a payment.

use super::coins::{self, Selection, SelectionError, Spendable};
use crate::consensus::check;
use crate::consensus::error::RuleError;
use crate::primitives::amount::{Amount, COIN, FeeRate};
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::height::Height;
use crate::primitives::keys::{PublicKey, SecretKey};
use crate::primitives::tx::{Output, Transaction};

/// The highest fee rate that is not taken for a mistake: Bitcoin Core's `maxfeerate` of 0.10 coins a
/// thousand bytes.
pub const MAX_FEE_RATE: FeeRate = FeeRate::from_grains_per_byte(10_000);
/// The highest fee that is not taken for a mistake: Bitcoin Core's `maxtxfee` of 0.10 coins.
pub const MAX_FEE: Amount = Amount::from_grains(COIN / 10);

/// The fee that a payment should have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fee {
    /// For each byte.
    pub rate: FeeRate,
    /// The most that it may come to, if the payer has said so: else [`MAX_FEE_RATE`] and [`MAX_FEE`] hold.
    pub max: Option<Amount>,
}

impl Fee {
    /// At a rate, within the usual limits.
    pub fn at_rate(rate: FeeRate) -> Self {
        Self { rate, max: None }
    }

    /// Whether a payment with this fee is what the payer wants.
    fn check(&self, fee: Amount) -> Result<(), PaymentError> {
        let max = self.max.unwrap_or(MAX_FEE);
        if self.max.is_none() && self.rate > MAX_FEE_RATE {
            return Err(PaymentError::FeeRateTooHigh { rate: self.rate, fee });
        }
        if fee > max { Err(PaymentError::FeeTooHigh { fee, max }) } else { Ok(()) }
    }
}

/// Why there is no payment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // The fields are what the messages name.
pub enum PaymentError {
    /// The coins do not suffice.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// The outputs asked for make no valid transaction: too much data, for one.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A fee so high that it must be a mistake.
    #[error(
        "the fee would be {}, at {rate}, and more than {} is taken for a mistake: --max-fee {fee} allows it",
        fee.in_coins(), MAX_FEE_RATE.grains_per_byte()
    )]
    FeeRateTooHigh {
        rate: FeeRate,
        /// What the payment would cost.
        fee: Amount,
    },
    /// A fee beyond what the payer allows.
    #[error("the fee would be {}, more than {max}: --max-fee allows more", fee.in_coins())]
    FeeTooHigh {
        /// What the payment would cost.
        fee: Amount,
        /// The most it may.
        max: Amount,
    },
    /// A coin whose key this wallet lacks.
    #[error("there is no key for the coin {}:{}", coin.outpoint.txid, coin.outpoint.index)]
    NoKey { coin: Box<Spendable> },
}

/// A signed payment, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Ready to be sent.
    pub transaction: Transaction,
    /// The transaction's id.
    pub txid: Txid,
    /// What the miner gets.
    pub fee: Amount,
    /// What comes back to the payer.
    pub change: Amount,
}

/// Pays `outputs` from the coins in `available`, with what is left going to `change_to`.
///
/// `genesis` is the hash of the network's genesis block, without which a signature means nothing; `key_of` gives the
/// secret key of a coin's key.
///
/// # Errors
/// [`PaymentError`].
pub fn pay(
    available: &[Spendable],
    outputs: Vec<Output>,
    fee: Fee,
    change_to: PublicKey,
    genesis: &BlockHash,
    key_of: impl Fn(&PublicKey) -> Option<SecretKey>,
) -> Result<Payment, PaymentError> {
    let selection = coins::select(available, &outputs, fee.rate)?;
    fee.check(selection.fee)?;
    let Selection { coins: spent, change, fee } = selection;
    let inputs = spent.iter().map(coins::unsigned_input).collect();
    let mut transaction = Transaction { version: 1, inputs, outputs, lock_height: Height::GENESIS };
    if change > Amount::ZERO {
        transaction.outputs.push(Output::pay(change_to, change));
    }
    let spent_outputs: Vec<Output> = spent.iter().map(Spendable::output).collect();
    let digest = transaction.signature_digest(genesis, &spent_outputs);
    for (input, coin) in transaction.inputs.iter_mut().zip(&spent) {
        let key = key_of(&coin.key).ok_or_else(|| PaymentError::NoKey { coin: Box::new(coin.clone()) })?;
        input.signature = key.sign(&digest);
    }
    let txid = transaction.txid();
    check::check_transaction(&transaction, &txid)?;
    Ok(Payment { transaction, txid, fee, change })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::keys::SignatureCheck;
    use crate::primitives::tx::OutPoint;

    #[test]
    fn every_input_is_signed_by_its_coins_key() {
        let keys = [1, 2, 3].map(|n| SecretKey::from_seed([n; 32]));
        let key_of = |key: &PublicKey| keys.iter().find(|own| own.public_key() == *key).cloned();
        let coin = |(index, key): (u32, &SecretKey)| Spendable {
            outpoint: OutPoint { txid: Txid::from_bytes([9; 32]), index },
            value: Amount::from_grains(10_000),
            key: key.public_key(),
        };
        let available: Vec<Spendable> = (0..).zip(&keys).map(coin).collect();
        let outputs =
            vec![Output::pay(PublicKey([5; 32]), Amount::from_grains(25_000)), Output::data(b"for the tea".to_vec())];
        let genesis = BlockHash::from_bytes([4; 32]);
        let rate = FeeRate::from_grains_per_byte(2);
        let change_to = keys[0].public_key();
        let payment = pay(&available, outputs.clone(), Fee::at_rate(rate), change_to, &genesis, key_of).unwrap();

        let tx = &payment.transaction;
        assert_eq!(payment.txid, tx.txid());
        assert_eq!(tx.outputs[2], Output::pay(change_to, payment.change));
        assert_eq!(payment.fee, rate.fee_for(tx.size()));
        let spent: Vec<&Spendable> = tx
            .inputs
            .iter()
            .map(|input| available.iter().find(|coin| coin.outpoint == input.outpoint).unwrap())
            .collect();
        let outputs_spent: Vec<Output> = spent.iter().map(|coin| coin.output()).collect();
        let digest = tx.signature_digest(&genesis, &outputs_spent);
        for (input, coin) in tx.inputs.iter().zip(spent) {
            assert!(SignatureCheck { key: coin.key, signature: input.signature, digest }.holds());
        }

        let foreign = pay(&available, outputs, Fee::at_rate(rate), change_to, &genesis, |_| None);
        assert!(matches!(foreign, Err(PaymentError::NoKey { .. })));
        let wordy = vec![Output::data(vec![0; 300])];
        assert!(matches!(
            pay(&available, wordy, Fee::at_rate(rate), change_to, &genesis, key_of),
            Err(PaymentError::Rule(RuleError::DataTooLong { got: 300, .. }))
        ));
    }
    #[test]
    fn an_absurd_fee_is_refused_unless_it_is_allowed() {
        let key = SecretKey::from_seed([1; 32]);
        let outpoint = OutPoint { txid: Txid::from_bytes([9; 32]), index: 0 };
        let (grains, per_byte) = (Amount::from_grains, FeeRate::from_grains_per_byte);
        let available = [Spendable { outpoint, value: grains(50 * COIN), key: key.public_key() }];
        let paid = |rate, max| {
            let outputs = vec![Output::pay(PublicKey([5; 32]), grains(COIN))];
            let payment =
                pay(&available, outputs, Fee { rate, max }, key.public_key(), &BlockHash::from_bytes([4; 32]), |_| {
                    Some(key.clone())
                });
            payment.map(|payment| payment.fee)
        };
        // One input and two outputs: 212 bytes.
        assert_eq!(paid(MAX_FEE_RATE, None), Ok(grains(2_120_000)));
        let (rate, fee, less) = (per_byte(10_001), grains(2_120_212), grains(2_120_211));
        assert_eq!(paid(rate, None), Err(PaymentError::FeeRateTooHigh { rate, fee }));
        assert_eq!(paid(rate, Some(fee)), Ok(fee));
        assert_eq!(paid(rate, Some(less)), Err(PaymentError::FeeTooHigh { fee, max: less }));
        let (fee, max) = (grains(212), grains(211));
        assert_eq!(paid(per_byte(1), Some(max)), Err(PaymentError::FeeTooHigh { fee, max }));
        // A thousandth of the rate, on five hundred times the bytes.
        let small: Vec<Spendable> = (0..900)
            .map(|index| Spendable {
                outpoint: OutPoint { index, ..outpoint },
                value: grains(200_000),
                key: key.public_key(),
            })
            .collect();
        let outputs = vec![Output::pay(PublicKey([5; 32]), grains(60_000_000))];
        let dear = pay(
            &small,
            outputs,
            Fee::at_rate(per_byte(1_000)),
            key.public_key(),
            &BlockHash::from_bytes([4; 32]),
            |_| Some(key.clone()),
        );
        assert!(matches!(dear, Err(PaymentError::FeeTooHigh { fee, max: MAX_FEE }) if fee > MAX_FEE), "{dear:?}");
    }
}
