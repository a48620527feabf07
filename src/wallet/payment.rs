//! Building and signing a payment.

use super::coins::{self, Selection, SelectionError, Spendable};
use crate::consensus::check;
use crate::consensus::error::RuleError;
use crate::primitives::hash::{BlockHash, Txid};
use crate::primitives::keys::{PublicKey, SecretKey};
use crate::primitives::tx::{Output, Transaction};

/// Why there is no payment.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaymentError {
    /// The coins do not suffice.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// The outputs asked for make no valid transaction: too much data, for one.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// A coin that this wallet has no key of.
    #[error("there is no key for the coin {}:{}", coin.outpoint.txid, coin.outpoint.index)]
    NoKey {
        /// The coin.
        coin: Box<Spendable>,
    },
}

/// A signed payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// Ready to be sent.
    pub transaction: Transaction,
    /// Its id.
    pub txid: Txid,
    /// Grains that the miner gets.
    pub fee: u64,
    /// Grains that come back to the payer.
    pub change: u64,
}

/// Pays `outputs` from the coins in `available`, at `fee_rate` grains a byte, with what is left going to `change_to`.
///
/// `genesis` is the hash of the network's genesis block, without which a signature means nothing; `key_of` gives the
/// secret key of a coin's key.
///
/// # Errors
/// [`PaymentError`].
pub fn pay(
    available: &[Spendable],
    outputs: Vec<Output>,
    fee_rate: u64,
    change_to: PublicKey,
    genesis: &BlockHash,
    key_of: impl Fn(&PublicKey) -> Option<SecretKey>,
) -> Result<Payment, PaymentError> {
    let Selection { coins: spent, change, fee } = coins::select(available, &outputs, fee_rate)?;
    let inputs = spent.iter().map(coins::unsigned_input).collect();
    let mut transaction = Transaction { version: 1, inputs, outputs, lock_height: 0 };
    if change > 0 {
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
    use crate::primitives::hash::Hash256;
    use crate::primitives::keys::SignatureCheck;
    use crate::primitives::tx::OutPoint;

    #[test]
    fn every_input_is_signed_by_its_coins_key() {
        let keys = [1, 2, 3].map(|n| SecretKey::from_seed([n; 32]));
        let key_of = |key: &PublicKey| keys.iter().find(|own| own.public_key() == *key).cloned();
        let coin = |(index, key): (u32, &SecretKey)| Spendable {
            outpoint: OutPoint { txid: Hash256([9; 32]), index },
            value: 10_000,
            key: key.public_key(),
        };
        let available: Vec<Spendable> = (0..).zip(&keys).map(coin).collect();
        let outputs = vec![Output::pay(PublicKey([5; 32]), 25_000), Output::data(b"for the tea".to_vec())];
        let genesis = Hash256([4; 32]);
        let change_to = keys[0].public_key();
        let payment = pay(&available, outputs.clone(), 2, change_to, &genesis, key_of).unwrap();

        let tx = &payment.transaction;
        assert_eq!(payment.txid, tx.txid());
        assert_eq!(tx.outputs[2], Output::pay(change_to, payment.change));
        assert_eq!(payment.fee, 2 * tx.size() as u64);
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

        let foreign = pay(&available, outputs, 2, change_to, &genesis, |_| None);
        assert!(matches!(foreign, Err(PaymentError::NoKey { .. })));
        let wordy = vec![Output::data(vec![0; 300])];
        assert!(matches!(
            pay(&available, wordy, 2, change_to, &genesis, key_of),
            Err(PaymentError::Rule(RuleError::DataTooLong { got: 300, .. }))
        ));
    }
}
