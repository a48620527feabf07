//! Proofs of what a key owns, fetched from a node and checked without one.

use std::path::PathBuf;

use anyhow::ensure;
use serde_json::{Value, json};

use super::client;
use super::console::warn;
use super::{Common, print_line, write_file};
use crate::consensus::params::Params;
use crate::primitives::address;
use crate::primitives::amount::counted;
use crate::primitives::tx::OutPoint;
use crate::receipt::{Holding, HoldingReceipt, Proven, Question};
use crate::rpc::client::Client;
use crate::runtime::unix_now;
use crate::state::Leaf;

/// Where a proof goes, and what evidence it has.
#[derive(Debug, clap::Args)]
pub struct Shape {
    /// The file to write [default: stdout]
    #[arg(short, long, env = "CAIRN_OUTPUT", value_name = "FILE")]
    output: Option<PathBuf>,
    /// Include all headers since genesis, not only a sample of them
    #[arg(long, env = "CAIRN_ALL_HEADERS", value_parser = clap::builder::BoolishValueParser::new())]
    all_headers: bool,
}

impl Shape {
    fn evidence(&self) -> &'static str {
        if self.all_headers { "headers" } else { "succinct" }
    }
}

/// Fetches the proof of all coins of an address: their value and number, or each of them.
pub(super) fn balance(
    client: &Client,
    (address, coins): (&str, bool),
    shape: &Shape,
    common: &Common,
) -> anyhow::Result<()> {
    let params = common.params()?;
    let owner = address::decode(&params.address_prefix, address)?;
    let expected = if coins { Question::Coins(owner) } else { Question::Balance(owner) };
    let answer = client::call(client, "getaddressproof", &[json!(address), json!(coins), json!(shape.evidence())])?;
    keep(answer, |question| *question == expected, shape, common)
}

/// Fetches the proof of one coin.
pub(super) fn coin(client: &Client, coin: &OutPoint, shape: &Shape, common: &Common) -> anyhow::Result<()> {
    let params = [json!(coin.txid), json!(coin.index), json!(shape.evidence())];
    let answer = client::call(client, "getcoinproof", &params)?;
    keep(answer, |question| matches!(question, Question::Coin(_, about) if about == coin), shape, common)
}

/// Checks a node's answer, and writes it.
fn keep(answer: Value, is_asked: impl Fn(&Question) -> bool, shape: &Shape, common: &Common) -> anyhow::Result<()> {
    let params = common.params()?;
    let receipt = HoldingReceipt::from_value(answer)?;
    let (proven, shown) = receipt.verify(&params, None, unix_now())?;
    ensure!(is_asked(&receipt.question), "the node answered another question");
    let Some(path) = &shape.output else { return print_line(receipt.to_json().trim_end()) };
    let text = receipt.to_json();
    write_file(path, text.as_bytes())?;
    warn(&proven.warnings());
    let written = format!("{}: {}, {}", path.display(), summary(&shown), counted(text.len(), "byte"));
    common.print_outcome(&written, || verdict(&receipt, &proven, &shown, &params))
}

/// Prints what a receipt shows.
pub(super) fn print(
    receipt: &HoldingReceipt,
    (proven, shown): (&Proven, &Holding),
    common: &Common,
) -> anyhow::Result<()> {
    let params = common.params()?;
    common.print(|| describe(receipt, proven, shown, &params), || verdict(receipt, proven, shown, &params))
}

fn summary(shown: &Holding) -> String {
    match shown {
        Holding::Coin(Some(leaf)) => format!("{} unspent", leaf.value.in_coins()),
        Holding::Coin(None) => "not among the coins: spent by then, or made later".to_owned(),
        Holding::Balance(_) | Holding::Coins(_) => {
            let total = shown.total();
            format!("{} in {}", total.sum.in_coins(), counted(total.count, "coin"))
        }
    }
}

fn describe(receipt: &HoldingReceipt, proven: &Proven, shown: &Holding, params: &Params) -> String {
    let owner = address::encode(&params.address_prefix, receipt.question.owner());
    let mut lines = vec![
        format!("proven         {}", summary(shown)),
        format!("owner          {owner}"),
        format!("network        {} (genesis {})", params.network, params.genesis_hash),
        format!("as of block    {}, at height {}", receipt.state.block, receipt.state.height),
        format!("committed by   block {}, at height {}", proven.block, proven.height),
        format!(
            "confirmations  {}, each the work of a block; in {}",
            proven.weight.confirmations,
            counted(proven.headers, "header")
        ),
        format!("chain's tip    {}", proven.tip),
    ];
    let coin = |leaf: &Leaf| {
        let OutPoint { txid, index } = leaf.key.outpoint();
        format!("coin           {} {txid}:{index}, made at height {}", leaf.value.in_coins(), leaf.height)
    };
    lines.extend(shown.coins().unwrap_or_default().iter().map(coin));
    lines.join("\n")
}

fn verdict(receipt: &HoldingReceipt, proven: &Proven, shown: &Holding, params: &Params) -> Value {
    let total = shown.total();
    let coin = |leaf: &Leaf| {
        let OutPoint { txid, index } = leaf.key.outpoint();
        json!({ "txid": txid, "vout": index, "value": leaf.value, "height": leaf.height, "coinbase": leaf.coinbase })
    };
    json!({
        "proven": true,
        "network": params.network,
        "genesis_hash": params.genesis_hash,
        "address": address::encode(&params.address_prefix, receipt.question.owner()),
        "height": receipt.state.height,
        "blockhash": receipt.state.block,
        "value": total.sum,
        "count": total.count,
        "coins": shown.coins().map(|leaves| leaves.iter().map(coin).collect::<Vec<_>>()),
        "committed_by": proven.block,
        "committed_at": proven.height,
        "work_on_top": proven.weight.on_top.to_string(),
        "confirmations": proven.weight.confirmations,
        "headers": proven.headers,
        "warnings": proven.warnings(),
        "tip": proven.tip,
        "tip_time": proven.tip_time,
    })
}
