//! Replacing a payment that waits in the mempool: with a higher fee, or by one that takes the coins back. The rules are
//! those of the relay policy in `docs/protocol.md`, after BIP-125.

use super::coins::{SelectionError, Spendable};
use super::payment::{Draft, Fee, Funding, Order, PaymentError};
use crate::primitives::amount::{Amount, FeeRate};
use crate::primitives::keys::PublicKey;
use crate::primitives::tx::{Output, Transaction};

/// Drafts until the fee fits the size: a higher rate can only add inputs or take the change away.
const MAX_DRAFTS: usize = 5;

/// A payment of this wallet that waits in the mempool, where no other transaction spends its outputs.
#[derive(Debug, Clone)]
pub struct Replaced {
    /// As it was sent.
    pub transaction: Transaction,
    /// The coins that it spends, in the order of its inputs.
    pub spent: Vec<Spendable>,
    /// What it pays.
    pub fee: Amount,
}

/// The fee of a replacement.
#[derive(Debug, Clone, Copy)]
pub enum NewFee {
    /// At this rate, even if that is more than it must be.
    Rate(Fee),
    /// As little as the node takes, from this rate up.
    Least(Fee),
}

/// Why a payment is not replaced.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplacementError {
    /// The new payment cannot be made.
    #[error(transparent)]
    Payment(#[from] PaymentError),
    /// The fee rate asked for is too low.
    #[error(
        "a replacement of {size} bytes must pay {min} at least, it would pay {got}: leave --fee-rate out, or give {}",
        min.per(*size).fee_for(1).as_grains()
    )]
    FeeTooLow {
        /// What it would pay.
        got: Amount,
        /// What it must pay.
        min: Amount,
        /// Its bytes.
        size: usize,
    },
}

impl Replaced {
    /// The same payment with a higher fee. Change pays for it; if that is too little, the `further` coins do, which must
    /// be confirmed. `own` are the wallet's keys; `change_to` gets change if the payment has none. `relay` is what a
    /// node asks for relaying a replacement.
    ///
    /// # Errors
    /// [`ReplacementError`].
    pub fn bump(
        &self,
        own: &[PublicKey],
        further: &[Spendable],
        change_to: PublicKey,
        fee: NewFee,
        relay: FeeRate,
    ) -> Result<Draft, ReplacementError> {
        let mut outputs = self.transaction.outputs.clone();
        // Change is the last output, by this wallet's payments. A payment to itself alone has none.
        let last = outputs.pop_if(|last| last.key().is_some_and(|key| own.contains(key)));
        let last = last.as_ref().and_then(Output::key).copied();
        let (rest_to, change_to) = match last {
            Some(key) if outputs.is_empty() => (Some(key), change_to),
            Some(key) => (None, key),
            None => (None, change_to),
        };
        let mut further: Vec<&Spendable> = further.iter().filter(|coin| !self.spent.contains(coin)).collect();
        further.sort_by_key(|coin| coin.value);
        self.dear_enough(fee, relay, |fee| {
            let order = Order { outputs: outputs.clone(), rest_to, fee };
            let (mut coins, mut further) = (self.spent.clone(), further.clone());
            loop {
                match order.draft(Funding::AllOf(&coins), change_to) {
                    Err(PaymentError::Selection(SelectionError::NotEnough { .. })) if !further.is_empty() => {
                        coins.extend(further.pop().cloned());
                    }
                    other => return other,
                }
            }
        })
    }

    /// A payment of its largest coin to `key`, or of all its coins if that is too small: it can no longer be mined then.
    ///
    /// # Errors
    /// [`ReplacementError`].
    pub fn cancel(&self, key: PublicKey, fee: NewFee, relay: FeeRate) -> Result<Draft, ReplacementError> {
        let largest: Vec<Spendable> = self.spent.iter().max_by_key(|coin| coin.value).cloned().into_iter().collect();
        self.dear_enough(fee, relay, |fee| {
            let order = Order { outputs: Vec::new(), rest_to: Some(key), fee };
            match order.draft(Funding::AllOf(&largest), key) {
                Err(PaymentError::Selection(SelectionError::NotEnough { .. })) => {
                    order.draft(Funding::AllOf(&self.spent), key)
                }
                other => other,
            }
        })
    }

    /// What a replacement of `size` bytes must pay: all that this one pays and its own relay, at a higher rate.
    fn least_fee(&self, size: usize, relay: FeeRate) -> Amount {
        let relayed = self.fee.saturating_add(relay.fee_for(size));
        let same_rate = self.fee.per(self.transaction.size()).fee_for(size);
        relayed.max(same_rate.saturating_add(Amount::from_grains(1)))
    }

    fn dear_enough(
        &self,
        fee: NewFee,
        relay: FeeRate,
        draft: impl Fn(Fee) -> Result<Draft, PaymentError>,
    ) -> Result<Draft, ReplacementError> {
        let (mut fee, is_least) = match fee {
            NewFee::Rate(fee) => (fee, false),
            NewFee::Least(fee) => (fee, true),
        };
        let mut made = draft(fee)?;
        for _ in 0..MAX_DRAFTS {
            let size = made.transaction.size();
            let min = self.least_fee(size, relay);
            if made.fee >= min {
                return Ok(made);
            }
            if !is_least {
                return Err(ReplacementError::FeeTooLow { got: made.fee, min, size });
            }
            fee.rate = min.per(size);
            made = draft(fee)?;
        }
        let size = made.transaction.size();
        Err(ReplacementError::FeeTooLow { got: made.fee, min: self.least_fee(size, relay), size })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::primitives::hash::Txid;
    use crate::primitives::tx::OutPoint;

    const OWN: PublicKey = PublicKey([1; 32]);
    const CHANGE: PublicKey = PublicKey([2; 32]);
    const PAYEE: PublicKey = PublicKey([9; 32]);

    fn coin(number: u8, value: u64) -> Spendable {
        let outpoint = OutPoint { txid: Txid::from_bytes([number; 32]), index: 0 };
        Spendable { outpoint, value: Amount::from_grains(value), key: OWN }
    }

    fn at(rate: u64) -> Fee {
        Fee { rate: FeeRate::from_grains_per_byte(rate), max: Some(Amount::MAX) }
    }

    fn replaced(coins: &[Spendable], value: u64, rate: u64) -> Option<Replaced> {
        let order = Order::pay(vec![Output::pay(PAYEE, Amount::from_grains(value))], at(rate));
        let Draft { transaction, spent, fee, .. } = order.draft(Funding::AllOf(coins), CHANGE).ok()?;
        Some(Replaced { transaction, spent, fee })
    }

    fn relay() -> FeeRate {
        FeeRate::from_grains_per_byte(1)
    }

    #[test]
    fn the_payee_gets_as_much_and_change_pays() {
        let old = replaced(&[coin(1, 100_000)], 50_000, 1).unwrap();
        let new = old.bump(&[OWN, CHANGE], &[], OWN, NewFee::Least(at(1)), relay()).unwrap();
        assert_eq!((old.fee.as_grains(), new.fee.as_grains()), (212, 424));
        assert_eq!(new.transaction.outputs[0], old.transaction.outputs[0]);
        assert_eq!(new.transaction.outputs[1], Output::pay(CHANGE, Amount::from_grains(100_000 - 50_000 - 424)));
        let dear = old.bump(&[OWN, CHANGE], &[], OWN, NewFee::Rate(at(10)), relay()).unwrap();
        assert_eq!(dear.fee.as_grains(), 2_120);
        let cheap = old.bump(&[OWN, CHANGE], &[], OWN, NewFee::Rate(at(1)), relay()).unwrap_err();
        let (got, min) = (Amount::from_grains(212), Amount::from_grains(424));
        assert_eq!(cheap, ReplacementError::FeeTooLow { got, min, size: 212 });
        assert!(cheap.to_string().ends_with("give 2"), "{cheap}");
    }

    #[test]
    fn another_coin_pays_where_there_is_no_change() {
        let old = replaced(&[coin(1, 50_168)], 50_000, 1).unwrap();
        let further = [coin(2, 90_000), coin(3, 80_000)];
        let new = old.bump(&[OWN], &further, CHANGE, NewFee::Least(at(1)), relay()).unwrap();
        assert_eq!(new.spent, [coin(1, 50_168), coin(2, 90_000)]);
        assert_eq!(new.transaction.outputs[1].key(), Some(&CHANGE));
        let alone = old.bump(&[OWN], &[], CHANGE, NewFee::Least(at(1)), relay());
        let short =
            matches!(alone, Err(ReplacementError::Payment(PaymentError::Selection(SelectionError::NotEnough { .. }))));
        assert!(short, "{alone:?}");
    }

    #[test]
    fn a_payment_to_oneself_pays_from_itself() {
        let order = Order { outputs: Vec::new(), rest_to: Some(OWN), fee: at(1) };
        let Draft { transaction, spent, fee, .. } = order.draft(Funding::AllOf(&[coin(1, 9_000)]), OWN).unwrap();
        let old = Replaced { transaction, spent, fee };
        let new = old.bump(&[OWN], &[], CHANGE, NewFee::Least(at(1)), relay()).unwrap();
        assert_eq!(new.transaction.outputs, [Output::pay(OWN, Amount::from_grains(9_000 - 336))]);
    }

    #[test]
    fn a_cancelled_payment_gives_one_coin_back_or_all() {
        let old = replaced(&[coin(1, 60_000), coin(2, 70_000)], 100_000, 1).unwrap();
        let new = old.cancel(OWN, NewFee::Least(at(1)), relay()).unwrap();
        assert_eq!(new.spent, [coin(2, 70_000)]);
        // One grain more than it must be: the input and the rest are each rounded up.
        assert_eq!((new.fee.as_grains(), new.transaction.outputs.len()), (312 + 168 + 1, 1));
        let small = replaced(&[coin(1, 400), coin(2, 420)], 100, 1).unwrap();
        let new = small.cancel(OWN, NewFee::Least(at(1)), relay()).unwrap();
        assert_eq!(new.spent.len(), 2, "neither pays the fee of both");
    }

    proptest! {
        /// Whatever there is, a replacement meets the mempool's rules, and pays the payee the same.
        #[test]
        fn replacements_pay_what_they_must(
            values in proptest::collection::vec(200u64..5_000, 1..6),
            further in proptest::collection::vec(200u64..5_000, 0..6),
            value in 1u64..8_000,
            rate in 1u64..6,
        ) {
            let coins: Vec<_> = (0..).zip(&values).map(|(n, value)| coin(n, *value)).collect();
            let further: Vec<_> = (100..).zip(&further).map(|(n, value)| coin(n, *value)).collect();
            let Some(old) = replaced(&coins, value, rate) else { return Ok(()) };
            let old_size = old.transaction.size();
            let bumped = old.bump(&[OWN, CHANGE], &further, CHANGE, NewFee::Least(at(1)), relay());
            let cancelled = old.cancel(OWN, NewFee::Least(at(1)), relay());
            for new in [&bumped, &cancelled].into_iter().flatten() {
                let size = new.transaction.size();
                prop_assert!(new.fee.per(size) > old.fee.per(old_size));
                prop_assert!(new.fee.as_grains() >= old.fee.as_grains() + size as u64);
                prop_assert!(new.spent.iter().any(|coin| old.spent.contains(coin)), "they conflict");
                let spent: u64 = new.spent.iter().map(|coin| coin.value.as_grains()).sum();
                let made: u64 = new.transaction.outputs.iter().map(|output| output.value.as_grains()).sum();
                prop_assert_eq!(spent, made + new.fee.as_grains());
            }
            if let Ok(new) = bumped {
                prop_assert_eq!(&new.transaction.outputs[0], &old.transaction.outputs[0]);
            }
            let too_low = |error: &ReplacementError| matches!(error, ReplacementError::FeeTooLow { .. });
            prop_assert!(!old.bump(&[OWN, CHANGE], &further, CHANGE, NewFee::Least(at(1)), relay()).is_err_and(|e| too_low(&e)));
        }
    }
}
