//! What to pay, as it is typed.

use anyhow::{Context, ensure};

use crate::cli::UsageError;
use crate::cli::account::{self, Coins};
use crate::consensus::params::Params;
use crate::primitives::address;
use crate::primitives::amount::{Amount, FeeRate};
use crate::primitives::keys::PublicKey;
use crate::primitives::tx::{OutPoint, Output};
use crate::rpc::client::{Client, ClientError};
use crate::wallet::coins::SelectionError;
use crate::wallet::payment::{Draft, Fee, Funding, Order, PaymentError};

/// The amount that stands for everything.
const ALL: &str = "all";

/// Options that say what a payment is to be.
#[derive(Debug, clap::Args)]
pub struct OrderArgs {
    /// Addresses to pay, each with its amount in coins, such as 2.5; `all` is everything that is left, less the fee
    #[arg(value_names = ["ADDRESS", "AMOUNT"], num_args = 2.., required = true)]
    payees: Vec<String>,
    /// Spend this coin; with several, all of them and no others (`cairn wallet coins` lists them)
    #[arg(long, value_name = "TXID:INDEX")]
    from: Vec<OutPoint>,
    #[command(flatten)]
    fee: FeeArgs,
    /// Text to store in the chain with the payment, at most 256 bytes
    #[arg(long, value_name = "TEXT", conflicts_with = "data_hex")]
    data: Option<String>,
    /// Data to store in the chain, in hex
    #[arg(long, value_name = "HEX", value_parser = data)]
    data_hex: Option<Data>,
}

/// Bytes, which clap would take for several values if they were bare.
#[derive(Debug, Clone)]
struct Data(Vec<u8>);

fn data(text: &str) -> Result<Data, hex::FromHexError> {
    hex::decode(text).map(Data)
}

/// What the miner gets.
#[derive(Debug, clap::Args)]
pub struct FeeArgs {
    /// Fee rate in grains a byte [default: the least that the node takes, and at least 1; with --light 1]
    #[arg(long, value_name = "GRAINS")]
    pub fee_rate: Option<u64>,
    /// Maximum fee [default: 0.1 coins, at no more than 10000 grains a byte]
    #[arg(long, value_name = "COINS")]
    pub max_fee: Option<Amount>,
}

impl FeeArgs {
    /// The fee asked for.
    ///
    /// # Errors
    /// If the node does not say what it takes.
    pub fn fee(&self, node: &Client) -> Result<Fee, ClientError> {
        let least = if self.fee_rate.is_none() { account::least_fee_rate(node)? } else { FeeRate::ZERO };
        Ok(self.fee_or(least))
    }

    /// The fee asked for, or one at the rate `least`.
    fn fee_or(&self, least: FeeRate) -> Fee {
        Fee { rate: self.fee_rate.map_or(least, FeeRate::from_grains_per_byte), max: self.max_fee }
    }
}

impl OrderArgs {
    /// What is to be paid.
    ///
    /// # Errors
    /// If an address, an amount or the data is not well formed, or the node does not say which fee it takes.
    pub fn order(&self, node: &Client, params: &Params) -> anyhow::Result<Order> {
        let order = self.order_at(FeeRate::ZERO, params)?;
        Ok(Order { fee: self.fee.fee(node)?, ..order })
    }

    /// The same without a node: where no fee rate is asked for, it is `least`.
    ///
    /// # Errors
    /// If an address, an amount or the data is not well formed.
    pub fn order_at(&self, least: FeeRate, params: &Params) -> anyhow::Result<Order> {
        let (mut outputs, mut rest_to) = (Vec::new(), None);
        for pair in self.payees.chunks(2) {
            let [address, amount] = pair else {
                return Err(UsageError(format!("{:?} has no amount: give ADDRESS AMOUNT", pair[0])).into());
            };
            if amount == ALL {
                let key = address::decode(&params.address_prefix, address)?;
                if rest_to.replace(key).is_some() {
                    return Err(UsageError("only one payee can get all".to_owned()).into());
                }
                continue;
            }
            let amount: Amount = amount.parse().map_err(|error| UsageError(format!("{error}, or all")))?;
            let key = address::decode(&params.address_prefix, address)?;
            ensure!(amount > Amount::ZERO, UsageError("the amount is 0".to_owned()));
            outputs.push(Output::pay(key, amount));
        }
        match (&self.data, &self.data_hex) {
            (Some(text), _) => outputs.push(Output::data(text.as_bytes().to_vec())),
            (None, Some(Data(bytes))) => outputs.push(Output::data(bytes.clone())),
            (None, None) => {}
        }
        Ok(Order { outputs, rest_to, fee: self.fee.fee_or(least) })
    }

    /// The coins to spend; any if there are none.
    pub fn from(&self) -> &[OutPoint] {
        &self.from
    }
}

/// The keys that an order pays.
pub fn payees(order: &Order) -> Vec<PublicKey> {
    order.outputs.iter().filter_map(Output::key).chain(&order.rest_to).copied().collect()
}

/// Chooses coins for an order: those in `from`, or any if there are none there.
///
/// # Errors
/// If a coin in `from` is not one of `coins`; [`PaymentError`].
pub fn draft(order: &Order, from: &[OutPoint], coins: &Coins, change_to: PublicKey) -> anyhow::Result<Draft> {
    if !from.is_empty() {
        let all = coins.all();
        let named = from.iter().map(|outpoint| {
            let coin = all.iter().find(|coin| coin.outpoint == *outpoint).cloned();
            coin.with_context(|| {
                format!(
                    "{outpoint} is no coin that this wallet can spend now: it is another's, does not exist, is not mature, or a \
                     payment that waits spends it"
                )
            })
        });
        return Ok(order.draft(Funding::AllOf(&named.collect::<Result<Vec<_>, _>>()?), change_to)?);
    }
    if order.rest_to.is_some() {
        return Ok(order.draft(Funding::AllOf(&coins.all()), change_to)?);
    }
    // Payments that are not in a block yet may never be: they are spent only if nothing else suffices.
    match order.draft(Funding::AnyOf(&coins.confirmed), change_to) {
        Err(PaymentError::Selection(SelectionError::NotEnough { .. } | SelectionError::TooManyCoins { .. })) => {
            Ok(order.draft(Funding::AnyOf(&coins.all()), change_to)?)
        }
        other => Ok(other?),
    }
}
