//! Which coins to spend.
//!
//! First a search for coins that fit exactly, so that no change is left (branch and bound, after Murch, "An evaluation
//! of coin selection strategies", 2016); if there are none, the largest coins first, with change.

use crate::primitives::codec;
use crate::primitives::keys::{PublicKey, Signature};
use crate::primitives::tx::{Input, OutPoint, Output, Transaction};

/// Bytes of an input: outpoint and signature.
pub const INPUT_BYTES: u64 = 36 + 64;
/// Bytes of an output to a key: value, tag and key.
pub const KEY_OUTPUT_BYTES: u64 = 8 + 4 + 32;
/// Most inputs of a payment: it stays below 100 kB, which relays and verifies quickly.
pub const MAX_INPUTS: usize = 900;
/// Tries of the exact search: some milliseconds.
const MAX_TRIES: usize = 100_000;

/// A coin that could be spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spendable {
    /// Its name.
    pub outpoint: OutPoint,
    /// Grains.
    pub value: u64,
    /// Whose it is.
    pub key: PublicKey,
}

impl Spendable {
    /// The output that made it.
    pub fn output(&self) -> Output {
        Output::pay(self.key, self.value)
    }
}

/// What to spend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The coins, largest first.
    pub coins: Vec<Spendable>,
    /// Grains that come back; 0 if the rest is too small to be worth an output, and goes to the fee.
    pub change: u64,
    /// Grains that the miner gets.
    pub fee: u64,
}

/// Why no selection will do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // Grains and counts, named by what they are.
pub enum SelectionError {
    /// All of it would not be enough.
    #[error(
        "not enough coins: {} can be spent, {} are needed ({} and a fee of {})",
        coins(*available), coins(amount.saturating_add(*fee)), coins(*amount), coins(*fee)
    )]
    NotEnough { available: u64, amount: u64, fee: u64 },
    /// It would be, but in too many pieces.
    #[error("the {max} largest coins make {}, not enough for {}: pay less at a time, or pay oneself first to join small coins", coins(*available), coins(*amount))]
    TooManyCoins { max: usize, available: u64, amount: u64 },
    /// The amount and its fee are beyond all bounds.
    #[error("the amount or the fee rate is beyond what there can be")]
    Overflow,
}

fn coins(grains: u64) -> String {
    crate::primitives::amount::format_coins(grains)
}

/// Chooses coins that pay for `outputs` at `fee_rate` grains a byte. Deterministic.
///
/// # Errors
/// [`SelectionError`].
pub fn select(available: &[Spendable], outputs: &[Output], fee_rate: u64) -> Result<Selection, SelectionError> {
    let amount =
        outputs.iter().try_fold(0u64, |sum, output| sum.checked_add(output.value)).ok_or(SelectionError::Overflow)?;
    let pay = |bytes: u64| bytes.checked_mul(fee_rate).ok_or(SelectionError::Overflow);
    let empty = Transaction { version: 1, inputs: Vec::new(), outputs: outputs.to_vec(), lock_height: 0 };
    let target = amount.checked_add(pay(codec::encoded_len(&empty) as u64)?).ok_or(SelectionError::Overflow)?;
    let (input_cost, change_cost) = (pay(INPUT_BYTES)?, pay(KEY_OUTPUT_BYTES)?);
    // Change is worth having if it is worth more than making it now and spending it later.
    let dust = change_cost.checked_add(input_cost).ok_or(SelectionError::Overflow)?;

    // Coins that cost more to spend than they are worth are left out.
    let mut usable: Vec<&Spendable> = available.iter().filter(|coin| coin.value > input_cost).collect();
    usable.sort_by(|a, b| b.value.cmp(&a.value).then(a.outpoint.cmp(&b.outpoint)));
    let total = usable.iter().fold(0u64, |sum, coin| sum.saturating_add(coin.value));
    usable.truncate(MAX_INPUTS);
    let worth: Vec<u64> = usable.iter().map(|coin| coin.value - input_cost).collect();

    let chosen = match exact(&worth, target, dust) {
        Some(chosen) => chosen,
        None => match largest(&worth, target) {
            Some(count) => (0..count).collect(),
            None if total.saturating_sub(input_cost.saturating_mul(available.len() as u64)) >= target => {
                let available = usable.iter().map(|coin| coin.value).sum();
                return Err(SelectionError::TooManyCoins { max: MAX_INPUTS, available, amount });
            }
            None => {
                let inputs = usable.len().max(1) as u64;
                let fee = (target - amount).saturating_add(input_cost.saturating_mul(inputs));
                return Err(SelectionError::NotEnough { available: total, amount, fee });
            }
        },
    };
    let left = chosen.iter().map(|index| worth[*index]).sum::<u64>() - target;
    let change = if left > dust { left - change_cost } else { 0 };
    let coins: Vec<Spendable> = chosen.iter().map(|index| usable[*index].clone()).collect();
    let fee = coins.iter().map(|coin| coin.value).sum::<u64>() - amount - change;
    Ok(Selection { coins, change, fee })
}

/// Places of coins whose worth adds up to `target`, or at most `tolerance` more: the first such set in depth-first
/// order, taking before leaving. `None` if there is none, or none was found in time.
fn exact(worth: &[u64], target: u64, tolerance: u64) -> Option<Vec<usize>> {
    // What is still to come after each place, to give up early.
    let mut rest = vec![0u64; worth.len() + 1];
    for index in (0..worth.len()).rev() {
        rest[index] = rest[index + 1].saturating_add(worth[index]);
    }
    let most = target.saturating_add(tolerance);
    let (mut chosen, mut sum, mut next) = (Vec::new(), 0u64, 0);
    for _ in 0..MAX_TRIES {
        if (target..=most).contains(&sum) && !chosen.is_empty() {
            return Some(chosen);
        }
        if sum < target && sum.saturating_add(rest[next]) >= target {
            chosen.push(next);
            sum = sum.saturating_add(worth[next]);
            next += 1;
            continue;
        }
        // Too much, or not enough left: leave out the coin taken last. Leaving out one of several equal coins and
        // taking the next would try the same sum again.
        let last = chosen.pop()?;
        sum -= worth[last];
        next = last + 1;
        while next < worth.len() && worth[next] == worth[last] {
            next += 1;
        }
    }
    None
}

/// How many of the first coins reach `target`.
fn largest(worth: &[u64], target: u64) -> Option<usize> {
    let mut sum = 0u64;
    let last = worth.iter().position(|worth| {
        sum = sum.saturating_add(*worth);
        sum >= target
    })?;
    Some(last + 1)
}

/// An input that spends `coin`, not signed yet.
pub fn unsigned_input(coin: &Spendable) -> Input {
    Input { outpoint: coin.outpoint, signature: Signature::EMPTY }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::primitives::hash::Hash256;

    fn coins(values: &[u64]) -> Vec<Spendable> {
        let outpoint = |index| OutPoint { txid: Hash256([3; 32]), index };
        let coin = |(index, value): (u32, &u64)| Spendable {
            outpoint: outpoint(index),
            value: *value,
            key: PublicKey([1; 32]),
        };
        (0..).zip(values).map(coin).collect()
    }

    fn pay(value: u64) -> Vec<Output> {
        vec![Output::pay(PublicKey([2; 32]), value)]
    }

    fn transaction(selection: &Selection, mut outputs: Vec<Output>) -> Transaction {
        if selection.change > 0 {
            outputs.push(Output::pay(PublicKey([1; 32]), selection.change));
        }
        let inputs = selection.coins.iter().map(unsigned_input).collect();
        Transaction { version: 1, inputs, outputs, lock_height: 0 }
    }

    #[test]
    fn sizes_are_those_of_the_encoding() {
        let [coin] = &coins(&[1])[..] else { unreachable!() };
        assert_eq!(codec::encoded_len(&unsigned_input(coin)) as u64, INPUT_BYTES);
        assert_eq!(codec::encoded_len(&coin.output()) as u64, KEY_OUTPUT_BYTES);
    }

    #[test]
    fn an_exact_fit_leaves_no_change() {
        // One input and one output: 24 + 44 + 100 = 168 bytes.
        let selection = select(&coins(&[90_000, 50_168, 20_000]), &pay(50_000), 1).unwrap();
        assert_eq!((selection.change, selection.fee), (0, 168));
        // Two coins that fit are better than one with change.
        let selection = select(&coins(&[90_000, 30_000, 20_268]), &pay(50_000), 1).unwrap();
        assert_eq!((selection.coins.len(), selection.change, selection.fee), (2, 0, 268));
    }

    #[test]
    fn largest_first_with_change_and_dust_to_the_fee() {
        let selection = select(&coins(&[10_000, 90_000, 70_000]), &pay(100_000), 1).unwrap();
        assert_eq!(selection.coins.iter().map(|coin| coin.value).collect::<Vec<_>>(), [90_000, 70_000]);
        assert_eq!((selection.change, selection.fee), (160_000 - 100_000 - 312, 312));
        // 100 grains of change would cost 44 to make and 100 to spend.
        let selection = select(&coins(&[50_268]), &pay(50_000), 1).unwrap();
        assert_eq!((selection.change, selection.fee), (0, 268));
    }

    #[test]
    fn refusals_say_what_there_is_and_what_is_needed() {
        let error = select(&[], &pay(5), 1).unwrap_err();
        assert_eq!(error, SelectionError::NotEnough { available: 0, amount: 5, fee: 168 });
        assert_eq!(
            select(&coins(&[50_000]), &pay(50_000), 1).unwrap_err().to_string(),
            "not enough coins: 0.0005 can be spent, 0.00050168 are needed (0.0005 and a fee of 0.00000168)"
        );
        let many = select(&coins(&[1_000; 2_000]), &pay(1_000_000), 1).unwrap_err();
        assert!(matches!(many, SelectionError::TooManyCoins { max: MAX_INPUTS, available: 900_000, .. }));
        assert_eq!(select(&coins(&[5]), &pay(5), u64::MAX), Err(SelectionError::Overflow));
    }

    proptest! {
        /// Whatever is chosen pays for itself at the rate asked, and nothing appears or vanishes.
        #[test]
        fn selections_balance(
            values in proptest::collection::vec(1u64..100_000, 0..40),
            amount in 1u64..1_000_000,
            rate in 0u64..20,
        ) {
            let available = coins(&values);
            match select(&available, &pay(amount), rate) {
                Ok(selection) => {
                    let spent: u64 = selection.coins.iter().map(|coin| coin.value).sum();
                    prop_assert_eq!(spent, amount + selection.change + selection.fee);
                    let size = transaction(&selection, pay(amount)).size() as u64;
                    prop_assert!(selection.fee >= size * rate);
                    // Beyond the rate, no more than the dust that was not worth an output.
                    prop_assert!(selection.fee <= size * rate + (INPUT_BYTES + KEY_OUTPUT_BYTES) * rate);
                    prop_assert!(selection.coins.iter().all(|coin| available.contains(coin)));
                }
                Err(_) => {
                    let worth: u64 = values.iter().map(|value| value.saturating_sub(INPUT_BYTES * rate)).sum();
                    prop_assert!(worth < amount + (24 + KEY_OUTPUT_BYTES) * rate);
                }
            }
        }
    }
}
