//! Coin selection.
//!
//! The cost of a selection is the fee of its inputs and of what is left over: change costs an output now and an input
//! later, and less than that is left to the miner. The largest coins first need the fewest inputs. A search for coins
//! that leave no change (branch and bound, after Murch, "An evaluation of coin selection strategies", 2016) takes their
//! place only if that costs less: an output saved is not worth a hundred inputs.

use crate::consensus::coins::Coin;
use crate::consensus::params::Params;
use crate::primitives::amount::{Amount, FeeRate};
use crate::primitives::height::Height;
use crate::primitives::keys::{PublicKey, Signature};
use crate::primitives::tx::{Input, OutPoint, Output, Transaction};

/// Bytes of an input: outpoint and signature.
pub const INPUT_BYTES: usize = 36 + 64;
/// Bytes of an output to a key: value, tag and key.
pub const KEY_OUTPUT_BYTES: usize = 8 + 4 + 32;
/// Most inputs of a payment: it stays below 100 kB, which relays and verifies quickly.
pub const MAX_INPUTS: usize = 900;
/// Steps of the search for coins without change: some milliseconds.
const MAX_TRIES: usize = 100_000;

/// A coin that could be spent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spendable {
    /// The outpoint that names it.
    pub outpoint: OutPoint,
    /// What it is worth.
    pub value: Amount,
    /// The key that can spend it.
    pub key: PublicKey,
}

impl Spendable {
    /// The output that made it.
    pub fn output(&self) -> Output {
        Output::pay(self.key, self.value)
    }
}

/// Of coins that are in blocks, those that can be spent in the block at `next`, and the value of those that cannot yet, because
/// they were mined lately.
pub fn mature<'a>(
    coins: impl IntoIterator<Item = (&'a OutPoint, &'a Coin)>,
    next: Height,
    params: &Params,
) -> (Vec<Spendable>, Amount) {
    let (mut mature, mut immature) = (Vec::new(), Amount::ZERO);
    for (outpoint, coin) in coins {
        let Some(key) = coin.output.key() else { continue };
        if coin.coinbase && next < coin.height.saturating_add(params.coinbase_maturity) {
            immature = immature.saturating_add(coin.output.value);
        } else {
            mature.push(Spendable { outpoint: *outpoint, value: coin.output.value, key: *key });
        }
    }
    (mature, immature)
}

/// The coins that a payment spends, and the change that is left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The coins, largest first.
    pub coins: Vec<Spendable>,
    /// What comes back; nothing if the rest is too small to be worth an output, and goes to the fee.
    pub change: Amount,
    /// What the miner gets.
    pub fee: Amount,
}

/// Why there is no selection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // Amounts and counts, named by what they are.
pub enum SelectionError {
    /// All coins together do not suffice.
    #[error(
        "not enough coins: {available} can be spent, {} are needed ({amount} and a fee of {fee})",
        amount.saturating_add(*fee)
    )]
    NotEnough { available: Amount, amount: Amount, fee: Amount },
    /// They suffice, but too many are needed.
    #[error(
        "the {max} largest coins make {available}, not enough for {amount}: pay less at a time, or pay oneself first to join small coins"
    )]
    TooManyCoins { max: usize, available: Amount, amount: Amount },
    /// More coins than one payment spends.
    #[error(
        "{got} coins are more than the {max} of one payment: name fewer with --from, or pay an amount instead of all"
    )]
    TooManyInputs { got: usize, max: usize },
    /// The amount and its fee are beyond all bounds.
    #[error("the amount or the fee rate is beyond what there can be")]
    Overflow,
}

fn sum(amounts: impl Iterator<Item = Amount>) -> Result<Amount, SelectionError> {
    Amount::checked_sum(amounts).ok_or(SelectionError::Overflow)
}

/// What a payment of given outputs costs at a fee rate.
struct Costs {
    /// The sum of the outputs.
    amount: Amount,
    /// That and the fee of everything but inputs and change.
    target: Amount,
    /// An input.
    input: Amount,
    /// Change as an output.
    change_output: Amount,
    /// Change as an output now and as an input later: it is worth having if it is worth more.
    change: Amount,
}

impl Costs {
    fn new(outputs: &[Output], fee_rate: FeeRate) -> Result<Self, SelectionError> {
        let amount = sum(outputs.iter().map(|output| output.value))?;
        let empty =
            Transaction { version: 1, inputs: Vec::new(), outputs: outputs.to_vec(), lock_height: Height::GENESIS };
        let target = amount.checked_add(fee_rate.fee_for(empty.size())).ok_or(SelectionError::Overflow)?;
        let (input, change_output) = (fee_rate.fee_for(INPUT_BYTES), fee_rate.fee_for(KEY_OUTPUT_BYTES));
        let change = change_output.checked_add(input).ok_or(SelectionError::Overflow)?;
        Ok(Self { amount, target, input, change_output, change })
    }

    /// Whether a coin is worth more than its input costs.
    fn pays_for_itself(&self, coin: &Spendable) -> bool {
        coin.value > self.input
    }

    /// The selection of `coins`, which leave `left` beyond the target and their own inputs.
    fn selection(&self, coins: Vec<Spendable>, left: Amount) -> Result<Selection, SelectionError> {
        let change = if left > self.change { left.saturating_sub(self.change_output) } else { Amount::ZERO };
        let fee = sum(coins.iter().map(|coin| coin.value))?.saturating_sub(self.amount).saturating_sub(change);
        Ok(Selection { coins, change, fee })
    }

    /// That `available` is too little, even if it is spent with so many inputs.
    fn not_enough(&self, available: Amount, inputs: Amount) -> SelectionError {
        let fee = self.target.saturating_sub(self.amount).saturating_add(inputs);
        SelectionError::NotEnough { available, amount: self.amount, fee }
    }
}

/// Chooses coins that pay for `outputs` at `fee_rate`. Deterministic.
///
/// # Errors
/// [`SelectionError`].
pub fn select(available: &[Spendable], outputs: &[Output], fee_rate: FeeRate) -> Result<Selection, SelectionError> {
    let costs = Costs::new(outputs, fee_rate)?;
    let (amount, target) = (costs.amount, costs.target);
    let mut usable: Vec<&Spendable> = available.iter().filter(|coin| costs.pays_for_itself(coin)).collect();
    usable.sort_by(|a, b| b.value.cmp(&a.value).then(a.outpoint.cmp(&b.outpoint)));
    let sum_of = |coins: &[&Spendable]| Amount::saturating_sum(coins.iter().map(|coin| coin.value));
    let worth_of = |coin: &&Spendable| coin.value.saturating_sub(costs.input);
    let total = sum_of(&usable);
    let total_worth = Amount::saturating_sum(usable.iter().map(worth_of));
    usable.truncate(MAX_INPUTS);
    let worth: Vec<Amount> = usable.iter().map(worth_of).collect();

    let Some(fewest) = largest(&worth, target) else {
        if total_worth >= target {
            return Err(SelectionError::TooManyCoins { max: MAX_INPUTS, available: sum_of(&usable), amount });
        }
        return Err(costs.not_enough(total, fee_rate.fee_for(INPUT_BYTES * usable.len().max(1))));
    };
    let chosen = without_change(&worth, fewest, &costs).unwrap_or_else(|| (0..fewest).collect());
    let left = sum(chosen.iter().map(|index| worth[*index]))?.saturating_sub(target);
    costs.selection(chosen.iter().map(|index| usable[*index].clone()).collect(), left)
}

/// Spends all of `coins`, in their order, for `outputs` at `fee_rate`.
///
/// # Errors
/// [`SelectionError`].
pub fn spend(coins: &[Spendable], outputs: &[Output], fee_rate: FeeRate) -> Result<Selection, SelectionError> {
    let costs = Costs::new(outputs, fee_rate)?;
    let left = left_by(coins, &costs, fee_rate)?;
    costs.selection(coins.to_vec(), left)
}

/// Spends those of `coins` that are worth more than their inputs cost, in their order, for `outputs` at `fee_rate`. What
/// is left goes to the last output, beside the value that it has; answers its value then. There is no change.
///
/// # Errors
/// [`SelectionError`]; [`SelectionError::NotEnough`] if nothing is left for the last output.
pub fn spend_on_last(
    coins: &[Spendable],
    outputs: &[Output],
    fee_rate: FeeRate,
) -> Result<(Selection, Amount), SelectionError> {
    let costs = Costs::new(outputs, fee_rate)?;
    let coins: Vec<Spendable> = coins.iter().filter(|coin| costs.pays_for_itself(coin)).cloned().collect();
    let rest = left_by(&coins, &costs, fee_rate)?;
    let total = sum(coins.iter().map(|coin| coin.value))?;
    let value = outputs.last().map_or(Amount::ZERO, |output| output.value).saturating_add(rest);
    if value == Amount::ZERO {
        return Err(costs.not_enough(total, fee_rate.fee_for(INPUT_BYTES * coins.len())));
    }
    let fee = total.saturating_sub(costs.amount).saturating_sub(rest);
    Ok((Selection { coins, change: Amount::ZERO, fee }, value))
}

/// What `coins` leave beyond the target and their own inputs.
fn left_by(coins: &[Spendable], costs: &Costs, fee_rate: FeeRate) -> Result<Amount, SelectionError> {
    if coins.len() > MAX_INPUTS {
        return Err(SelectionError::TooManyInputs { got: coins.len(), max: MAX_INPUTS });
    }
    let (total, inputs) = (sum(coins.iter().map(|coin| coin.value))?, fee_rate.fee_for(INPUT_BYTES * coins.len()));
    let needed = costs.target.checked_add(inputs).ok_or(SelectionError::Overflow)?;
    match total.checked_sub(needed) {
        Some(left) if !coins.is_empty() => Ok(left),
        _ => Err(costs.not_enough(total, fee_rate.fee_for(INPUT_BYTES * coins.len().max(1)))),
    }
}

/// Places of coins that leave no change and cost less than the largest coins with theirs: those that cost least, the
/// first such set in depth-first order, taking before leaving. `None` if there is none, or none was found in time.
///
/// `worth` is in descending order; the sum of its first `fewest` is at least the target.
fn without_change(worth: &[Amount], fewest: usize, costs: &Costs) -> Option<Vec<usize>> {
    // Wider than the values: no sum overflows.
    let wide = |amount: Amount| u128::from(amount.as_grains());
    let (target, input) = (wide(costs.target), wide(costs.input));
    let mut sums = vec![0u128];
    for worth in worth {
        sums.push(sums[sums.len() - 1] + wide(*worth));
    }
    // Grains beyond the inputs of the fewest coins.
    let mut least = (sums[fewest] - target).min(wide(costs.change));
    let (mut found, mut chosen, mut sum, mut next) = (None, Vec::new(), 0u128, 0);
    for _ in 0..MAX_TRIES {
        if least == 0 {
            break;
        }
        // One more input than the fewest must save more than it costs.
        let most = fewest + usize::try_from((least - 1).checked_div(input).unwrap_or(0)).unwrap_or(0);
        // Skips coins that are too large by themselves.
        let room = target + least - sum;
        next = next.max(worth.partition_point(|worth| wide(*worth) >= room));
        let end = worth.len().min(next + most.saturating_sub(chosen.len()));
        if next < end && sum + (sums[end] - sums[next]) >= target {
            chosen.push(next);
            sum += wide(worth[next]);
            next += 1;
            if sum < target {
                continue;
            }
            let cost = (chosen.len() - fewest) as u128 * input + (sum - target);
            if cost < least {
                least = cost;
                found = Some(chosen.clone());
            }
        }
        // Leave out the coin taken last. Leaving out one of several equal coins and taking the next would try the same
        // sum again.
        let Some(last) = chosen.pop() else { break };
        sum -= wide(worth[last]);
        next = last + 1;
        while next < worth.len() && worth[next] == worth[last] {
            next += 1;
        }
    }
    found
}

/// How many of the first coins reach `target`.
fn largest(worth: &[Amount], target: Amount) -> Option<usize> {
    let mut sum = Amount::ZERO;
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
    use crate::primitives::amount::COIN;
    use crate::primitives::codec;
    use crate::primitives::hash::Txid;

    fn coins(values: &[u64]) -> Vec<Spendable> {
        let outpoint = |index| OutPoint { txid: Txid::from_bytes([3; 32]), index };
        let coin = |(index, value): (u32, &u64)| Spendable {
            outpoint: outpoint(index),
            value: Amount::from_grains(*value),
            key: PublicKey([1; 32]),
        };
        (0..).zip(values).map(coin).collect()
    }

    fn pay(value: u64) -> Vec<Output> {
        vec![Output::pay(PublicKey([2; 32]), Amount::from_grains(value))]
    }

    fn select(available: &[Spendable], outputs: &[Output], rate: u64) -> Result<Selection, SelectionError> {
        super::select(available, outputs, FeeRate::from_grains_per_byte(rate))
    }

    /// Grains of change and fee.
    fn change_and_fee(selection: &Selection) -> (u64, u64) {
        (selection.change.as_grains(), selection.fee.as_grains())
    }

    fn transaction(selection: &Selection, mut outputs: Vec<Output>) -> Transaction {
        if selection.change > Amount::ZERO {
            outputs.push(Output::pay(PublicKey([1; 32]), selection.change));
        }
        let inputs = selection.coins.iter().map(unsigned_input).collect();
        Transaction { version: 1, inputs, outputs, lock_height: Height::GENESIS }
    }

    #[test]
    fn sizes_are_those_of_the_encoding() {
        let [coin] = &coins(&[1])[..] else { unreachable!() };
        assert_eq!(codec::encoded_len(&unsigned_input(coin)), INPUT_BYTES);
        assert_eq!(codec::encoded_len(&coin.output()), KEY_OUTPUT_BYTES);
    }

    #[test]
    fn an_exact_fit_leaves_no_change() {
        // One input and one output: 24 + 44 + 100 = 168 bytes.
        let selection = select(&coins(&[90_000, 50_168, 20_000]), &pay(50_000), 1).unwrap();
        assert_eq!(change_and_fee(&selection), (0, 168));
        // Two coins that fit are better than one with change.
        let selection = select(&coins(&[90_000, 30_000, 20_268]), &pay(50_000), 1).unwrap();
        assert_eq!((selection.coins.len(), change_and_fee(&selection)), (2, (0, 268)));
    }

    #[test]
    fn largest_first_with_change_and_dust_to_the_fee() {
        let selection = select(&coins(&[10_000, 90_000, 70_000]), &pay(100_000), 1).unwrap();
        assert_eq!(selection.coins.iter().map(|coin| coin.value.as_grains()).collect::<Vec<_>>(), [90_000, 70_000]);
        assert_eq!(change_and_fee(&selection), (160_000 - 100_000 - 312, 312));
        // 100 grains of change would cost 44 to make and 100 to spend.
        let selection = select(&coins(&[50_268]), &pay(50_000), 1).unwrap();
        assert_eq!(change_and_fee(&selection), (0, 268));
    }

    #[test]
    fn refusals_say_what_there_is_and_what_is_needed() {
        let error = select(&[], &pay(5), 1).unwrap_err();
        let (available, amount, fee) = (Amount::ZERO, Amount::from_grains(5), Amount::from_grains(168));
        assert_eq!(error, SelectionError::NotEnough { available, amount, fee });
        assert_eq!(
            select(&coins(&[50_000]), &pay(50_000), 1).unwrap_err().to_string(),
            "not enough coins: 0.0005 can be spent, 0.00050168 are needed (0.0005 and a fee of 0.00000168)"
        );
        let many = select(&coins(&[1_000; 2_000]), &pay(1_000_000), 1).unwrap_err();
        let there_is = Amount::from_grains(900_000);
        assert!(
            matches!(many, SelectionError::TooManyCoins { max: MAX_INPUTS, available, .. } if available == there_is)
        );
        assert_eq!(select(&coins(&[5]), &pay(5), u64::MAX), Err(SelectionError::Overflow));
    }

    /// A hundred small coins and a large one: 101 inputs that fit exactly cost fifty times what one with change costs.
    #[test]
    fn many_inputs_are_not_spent_to_save_an_output() {
        let mut values = vec![50 * COIN];
        // With inputs of 100 grains each and 68 for the rest, worth one coin together.
        values.extend([COIN / 100 + 100; 99]);
        values.extend([COIN / 200 + 100, COIN / 200 + 100 + 68 + 44]);
        let selection = select(&coins(&values), &pay(COIN), 1).unwrap();
        assert_eq!((selection.coins.len(), selection.fee.as_grains()), (1, 212));
    }

    #[test]
    fn named_coins_are_all_spent() {
        let spend = |values: &[u64], value| super::spend(&coins(values), &pay(value), FeeRate::from_grains_per_byte(1));
        // Two inputs and two outputs: 24 + 200 + 88 bytes.
        let selection = spend(&[90_000, 50], 50_000).unwrap();
        assert_eq!((selection.coins.len(), change_and_fee(&selection)), (2, (90_050 - 50_000 - 312, 312)));
        let selection = spend(&[50_300], 50_000).unwrap();
        assert_eq!(change_and_fee(&selection), (0, 300), "132 grains are not worth an output");
        assert!(matches!(spend(&[50_000], 50_000), Err(SelectionError::NotEnough { .. })));
        assert!(matches!(spend(&[], 1), Err(SelectionError::NotEnough { .. })));
        assert_eq!(spend(&[1_000; 901], 1), Err(SelectionError::TooManyInputs { got: 901, max: MAX_INPUTS }));
    }

    #[test]
    fn all_is_everything_but_the_fee() {
        let rate = FeeRate::from_grains_per_byte(1);
        let all = |values: &[u64], outputs: &[Output]| super::spend_on_last(&coins(values), outputs, rate);
        let rest = Output::pay(PublicKey([2; 32]), Amount::ZERO);
        // A coin of 100 grains costs as much as it is worth.
        let (selection, value) = all(&[90_000, 100, 10_000], std::slice::from_ref(&rest)).unwrap();
        assert_eq!((selection.coins.len(), value.as_grains(), change_and_fee(&selection)), (2, 99_732, (0, 268)));
        let (selection, value) = all(&[90_000], &[pay(50_000), vec![rest.clone()]].concat()).unwrap();
        assert_eq!((value.as_grains(), change_and_fee(&selection)), (40_000 - 212, (0, 212)));
        assert_eq!(all(&[169], std::slice::from_ref(&rest)).unwrap().1, Amount::from_grains(1));
        for too_little in [&[168][..], &[100, 90], &[]] {
            let refused = all(too_little, std::slice::from_ref(&rest));
            assert!(matches!(refused, Err(SelectionError::NotEnough { .. })), "{too_little:?}: {refused:?}");
        }
    }

    /// What the selection costs now, and the input that its change costs later.
    fn cost(selection: &Selection, rate: u64) -> u64 {
        let (change, fee) = change_and_fee(selection);
        fee + if change > 0 { INPUT_BYTES as u64 * rate } else { 0 }
    }

    /// Fees and costs of all sets of coins that suffice, each with change or without as that costs less.
    fn naive(values: &[u64], amount: u64, rate: u64) -> Vec<(u64, u64)> {
        let change_cost = (INPUT_BYTES + KEY_OUTPUT_BYTES) as u64 * rate;
        let chosen = |set: u32| (0u32..).zip(values).filter(move |(index, _)| set >> index & 1 == 1);
        let of_set = |set: u32| {
            let fixed = (24 + KEY_OUTPUT_BYTES + set.count_ones() as usize * INPUT_BYTES) as u64 * rate;
            let left = chosen(set).map(|(_, value)| value).sum::<u64>().checked_sub(amount + fixed)?;
            let fee = fixed + if left > change_cost { KEY_OUTPUT_BYTES as u64 * rate } else { left };
            Some((fee, fixed + left.min(change_cost)))
        };
        (1..1u32 << values.len()).filter_map(of_set).collect()
    }

    proptest! {
        /// No selection pays more than the least fee there is and the cost of change; and none costs more than another.
        #[test]
        fn no_set_of_coins_costs_less(
            values in proptest::collection::vec(1u64..2_000, 1..10),
            amount in 1u64..6_000,
            rate in 1u64..4,
        ) {
            let sets = naive(&values, amount, rate);
            match select(&coins(&values), &pay(amount), rate) {
                Ok(selection) => {
                    let least_fee = sets.iter().map(|(fee, _)| *fee).min();
                    let most = least_fee.map(|fee| fee + (INPUT_BYTES + KEY_OUTPUT_BYTES) as u64 * rate);
                    prop_assert!(Some(selection.fee.as_grains()) <= most);
                    prop_assert_eq!(Some(cost(&selection, rate)), sets.iter().map(|(_, cost)| *cost).min());
                }
                Err(error) => {
                    let not_enough = matches!(error, SelectionError::NotEnough { .. });
                    prop_assert!(not_enough && sets.is_empty(), "{}", error);
                }
            }
        }

        /// Each selection pays the requested rate, and values balance.
        #[test]
        fn selections_balance(
            values in proptest::collection::vec(1u64..100_000, 0..40),
            amount in 1u64..1_000_000,
            rate in 0u64..20,
        ) {
            let available = coins(&values);
            match select(&available, &pay(amount), rate) {
                Ok(selection) => {
                    let spent: u64 = selection.coins.iter().map(|coin| coin.value.as_grains()).sum();
                    let (change, fee) = change_and_fee(&selection);
                    prop_assert_eq!(spent, amount + change + fee);
                    let size = transaction(&selection, pay(amount)).size() as u64;
                    prop_assert!(fee >= size * rate);
                    // Beyond the rate, no more than the dust that was not worth an output.
                    prop_assert!(fee <= size * rate + (INPUT_BYTES + KEY_OUTPUT_BYTES) as u64 * rate);
                    prop_assert!(selection.coins.iter().all(|coin| available.contains(coin)));
                }
                Err(_) => {
                    let worth: u64 = values.iter().map(|value| value.saturating_sub(INPUT_BYTES as u64 * rate)).sum();
                    prop_assert!(worth < amount + (24 + KEY_OUTPUT_BYTES) as u64 * rate);
                }
            }
        }
    }
}
