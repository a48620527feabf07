//! Payments as they are shown.

use serde::Serialize;
use serde_json::{Value, json};

use crate::cli::Common;
use crate::consensus::params::Params;
use crate::primitives::address;
use crate::primitives::amount::{Amount, counted};
use crate::primitives::hash::Txid;
use crate::primitives::keys::PublicKey;
use crate::primitives::tx::{Lock, Output};
use crate::wallet::coins::Spendable;
use crate::wallet::payment::Draft;

/// A payment before it is signed: what it spends, pays and costs.
#[derive(Debug, Serialize)]
pub struct DraftView {
    inputs: Vec<InputView>,
    outputs: Vec<OutputView>,
    /// The sum of the outputs but change.
    amount: Amount,
    fee: Amount,
    change: Amount,
    size: usize,
}

#[derive(Debug, Serialize)]
struct InputView {
    txid: Txid,
    vout: u32,
    value: Amount,
    address: String,
}

#[derive(Debug, Serialize)]
struct OutputView {
    value: Amount,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    /// In hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<String>,
    change: bool,
    /// Whether it pays this wallet.
    own: bool,
}

impl DraftView {
    /// `own` are the wallet's keys.
    pub fn new(draft: &Draft, own: &[PublicKey], params: &Params) -> Self {
        let encode = |key: &PublicKey| address::encode(&params.address_prefix, key);
        let input = |coin: &Spendable| InputView {
            txid: coin.outpoint.txid,
            vout: coin.outpoint.index,
            value: coin.value,
            address: encode(&coin.key),
        };
        let count = draft.transaction.outputs.len();
        let output = |(index, output): (usize, &Output)| {
            let (address, data) = match &output.lock {
                Lock::Key(key) => (Some(encode(key)), None),
                Lock::Data(data) => (None, Some(hex::encode(data))),
            };
            let change = draft.change > Amount::ZERO && index + 1 == count;
            OutputView {
                value: output.value,
                address,
                data,
                change,
                own: output.key().is_some_and(|k| own.contains(k)),
            }
        };
        let outputs: Vec<OutputView> = draft.transaction.outputs.iter().enumerate().map(output).collect();
        let paid = outputs.iter().filter(|output| !output.change).map(|output| output.value);
        Self {
            inputs: draft.spent.iter().map(input).collect(),
            amount: Amount::saturating_sum(paid),
            outputs,
            fee: draft.fee,
            change: draft.change,
            size: draft.transaction.size(),
        }
    }

    /// Prints it alone, and below that what was not done with it.
    ///
    /// # Errors
    /// If stdout cannot be written to.
    pub fn print_only(&self, not_done: &str, common: &Common) -> anyhow::Result<()> {
        common.print(|| format!("{}\n{not_done}", self.text()), || json!(self))
    }

    /// Its JSON once it is sent, with its id.
    pub fn sent(&self, txid: &Txid) -> Value {
        let mut shown = json!(self);
        shown["txid"] = json!(txid);
        shown
    }

    /// A line for each payee, input and output.
    pub fn text(&self) -> String {
        let mut lines = Vec::new();
        for (place, input) in self.inputs.iter().enumerate() {
            let title = if place == 0 { "spends" } else { "" };
            lines.push(format!(
                "{title:<7}  {:>20}  {}  {}:{}",
                input.value.to_string(),
                input.address,
                input.txid,
                input.vout
            ));
        }
        for (place, output) in self.outputs.iter().enumerate() {
            let title = if place == 0 { "pays" } else { "" };
            let to = match (&output.address, &output.data) {
                (Some(address), _) => address.clone(),
                (None, data) => format!("data {}", data.as_deref().unwrap_or_default()),
            };
            let mark = match (output.change, output.own) {
                (true, _) => "  change",
                (false, true) => "  this wallet",
                (false, false) => "",
            };
            lines.push(format!("{title:<7}  {:>20}  {to}{mark}", output.value.to_string()));
        }
        let rate = self.fee.per(self.size);
        lines.push(format!("fee      {:>20}  {rate}, {}", self.fee.to_string(), counted(self.size, "byte")));
        lines.join("\n")
    }

    /// Who gets how much, in a line.
    pub fn summary(&self) -> String {
        let payees = self.outputs.iter().filter(|output| !output.change);
        let paid =
            payees.filter_map(|output| Some(format!("{} to {}", output.value.in_coins(), output.address.as_ref()?)));
        let paid: Vec<String> = paid.collect();
        let rate = self.fee.per(self.size);
        format!("{}, fee {} ({rate})", paid.join(", "), self.fee)
    }
}
