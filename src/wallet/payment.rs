//! Building and signing a payment: an [`Order`] says what to pay, a [`Draft`] how, and a [`Payment`] is signed.

use super::coins::{self, Selection, SelectionError, Spendable};
use crate::consensus::check;
use crate::consensus::error::RuleError;
use crate::primitives::amount::{Amount, COIN, FeeRate};
use crate::primitives::hash::{BlockHash, SignatureDigest, Txid};
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
    #[error("there is no key for the coin {}", coin.outpoint)]
    NoKey { coin: Box<Spendable> },
}

/// What to pay, and from which coins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What is paid.
    pub outputs: Vec<Output>,
    /// The key that gets all coins, less these outputs and the fee: there is no change then.
    pub rest_to: Option<PublicKey>,
    /// What the miner gets.
    pub fee: Fee,
}

/// Which coins a payment spends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Funding<'a> {
    /// As many of these as it takes.
    AnyOf(&'a [Spendable]),
    /// All of these.
    AllOf(&'a [Spendable]),
}

/// A payment that is not signed, with what its signer must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Without signatures. Change, if there is any, is the last output.
    pub transaction: Transaction,
    /// The coins that it spends, in the order of its inputs.
    pub spent: Vec<Spendable>,
    /// What the miner gets.
    pub fee: Amount,
    /// What comes back to the payer; zero if nothing does.
    pub change: Amount,
}

/// A signed payment, ready to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// With its signatures.
    pub transaction: Transaction,
    /// The transaction's id.
    pub txid: Txid,
    /// What the miner gets.
    pub fee: Amount,
    /// What comes back to the payer; zero if nothing does.
    pub change: Amount,
}

impl Order {
    /// Pays these outputs.
    pub fn pay(outputs: Vec<Output>, fee: Fee) -> Self {
        Self { outputs, rest_to: None, fee }
    }

    /// Chooses coins for it, and an output to `change_to` for what they leave.
    ///
    /// # Errors
    /// [`PaymentError`].
    pub fn draft(&self, from: Funding, change_to: PublicKey) -> Result<Draft, PaymentError> {
        let Self { mut outputs, rest_to, fee } = self.clone();
        let selection = match (rest_to, from) {
            (None, Funding::AnyOf(coins)) => coins::select(coins, &outputs, fee.rate)?,
            (None, Funding::AllOf(coins)) => coins::spend(coins, &outputs, fee.rate)?,
            (Some(key), Funding::AnyOf(coins) | Funding::AllOf(coins)) => {
                outputs.push(Output::pay(key, Amount::ZERO));
                let (selection, rest) = coins::spend_on_last(coins, &outputs, fee.rate)?;
                outputs.pop();
                outputs.push(Output::pay(key, rest));
                selection
            }
        };
        fee.check(selection.fee)?;
        let Selection { coins: spent, change, fee } = selection;
        if change > Amount::ZERO {
            outputs.push(Output::pay(change_to, change));
        }
        let inputs = spent.iter().map(coins::unsigned_input).collect();
        let transaction = Transaction { version: 1, inputs, outputs, lock_height: Height::GENESIS };
        check::check_transaction(&transaction, &transaction.txid())?;
        Ok(Draft { transaction, spent, fee, change })
    }
}

impl Draft {
    /// Whether the fee is what the payer wants: at most `max`, or within the usual limits.
    ///
    /// # Errors
    /// [`PaymentError::FeeTooHigh`], [`PaymentError::FeeRateTooHigh`].
    pub fn check_fee(&self, max: Option<Amount>) -> Result<(), PaymentError> {
        Fee { rate: self.fee.per(self.transaction.size()), max }.check(self.fee)
    }

    /// What is signed, the same for every input.
    pub(super) fn digest(&self, genesis: &BlockHash) -> SignatureDigest {
        let spent: Vec<Output> = self.spent.iter().map(Spendable::output).collect();
        self.transaction.signature_digest(genesis, &spent)
    }

    /// Signs every input.
    ///
    /// `genesis` is the hash of the network's genesis block, without which a signature means nothing; `key_of` gives the
    /// secret key of a coin's key.
    ///
    /// # Errors
    /// [`PaymentError::NoKey`].
    pub fn sign(
        self,
        genesis: &BlockHash,
        key_of: impl Fn(&PublicKey) -> Option<SecretKey>,
    ) -> Result<Payment, PaymentError> {
        let digest = self.digest(genesis);
        let Self { mut transaction, spent, fee, change } = self;
        for (input, coin) in transaction.inputs.iter_mut().zip(&spent) {
            let key = key_of(&coin.key).ok_or_else(|| PaymentError::NoKey { coin: Box::new(coin.clone()) })?;
            input.signature = key.sign(&digest);
        }
        Ok(Payment { txid: transaction.txid(), transaction, fee, change })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitives::keys::{Signature, SignatureCheck};
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
        let order = |outputs: Vec<Output>| Order::pay(outputs, Fee::at_rate(rate));
        let draft = order(outputs.clone()).draft(Funding::AnyOf(&available), change_to).unwrap();
        let payment = draft.clone().sign(&genesis, key_of).unwrap();

        let tx = &payment.transaction;
        assert_eq!(payment.txid, tx.txid());
        assert_eq!(tx.outputs[2], Output::pay(change_to, payment.change));
        assert_eq!(payment.fee, rate.fee_for(tx.size()));
        assert!(draft.transaction.inputs.iter().all(|input| input.signature == Signature::EMPTY));
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

        assert!(matches!(draft.sign(&genesis, |_| None), Err(PaymentError::NoKey { .. })));
        let wordy = vec![Output::data(vec![0; 300])];
        assert!(matches!(
            order(wordy).draft(Funding::AnyOf(&available), change_to),
            Err(PaymentError::Rule(RuleError::DataTooLong { got: 300, .. }))
        ));
    }

    #[test]
    fn all_goes_to_the_last_payee_and_named_coins_leave_change() {
        let key = SecretKey::from_seed([1; 32]).public_key();
        let coin = |index| Spendable {
            outpoint: OutPoint { txid: Txid::from_bytes([9; 32]), index },
            value: Amount::from_grains(10_000),
            key,
        };
        let (available, fee) = ([coin(0), coin(1), coin(2)], Fee::at_rate(FeeRate::from_grains_per_byte(1)));
        let (first, last) = (PublicKey([5; 32]), PublicKey([6; 32]));
        let outputs = vec![Output::pay(first, Amount::from_grains(7_000))];
        let all = Order { outputs: outputs.clone(), rest_to: Some(last), fee };
        let draft = all.draft(Funding::AnyOf(&available), key).unwrap();
        assert_eq!((draft.spent.len(), draft.change, draft.fee.as_grains()), (3, Amount::ZERO, 24 + 300 + 88));
        assert_eq!(draft.transaction.outputs[1], Output::pay(last, Amount::from_grains(23_000 - 412)));
        let draft = Order::pay(outputs, fee).draft(Funding::AllOf(&available[1..]), key).unwrap();
        assert_eq!(draft.spent, available[1..], "though one would do");
        assert_eq!((draft.change.as_grains(), draft.fee.as_grains()), (13_000 - 312, 312));
    }

    #[test]
    fn an_absurd_fee_is_refused_unless_it_is_allowed() {
        let key = SecretKey::from_seed([1; 32]);
        let outpoint = OutPoint { txid: Txid::from_bytes([9; 32]), index: 0 };
        let (grains, per_byte) = (Amount::from_grains, FeeRate::from_grains_per_byte);
        let available = [Spendable { outpoint, value: grains(50 * COIN), key: key.public_key() }];
        let paid = |rate, max| {
            let outputs = vec![Output::pay(PublicKey([5; 32]), grains(COIN))];
            let draft = Order::pay(outputs, Fee { rate, max }).draft(Funding::AnyOf(&available), key.public_key());
            draft.map(|draft| draft.fee)
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
        let order = Order::pay(outputs, Fee::at_rate(per_byte(1_000)));
        let dear = order.draft(Funding::AnyOf(&small), key.public_key());
        assert!(matches!(dear, Err(PaymentError::FeeTooHigh { fee, max: MAX_FEE }) if fee > MAX_FEE), "{dear:?}");
    }
}
