//! `cairn proof`: receipts, fetched from a node and checked without one.

use std::fs::File;
use std::path::PathBuf;

use anyhow::Context;
use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{self, ClientArgs};
use super::{Common, print_line};
use crate::consensus::context::check_clock;
use crate::consensus::params::Params;
use crate::primitives::address;
use crate::primitives::amount::format_coins;
use crate::primitives::hash::Txid;
use crate::primitives::tx::{Lock, Output};
use crate::receipt::{Proven, Receipt};

/// Options of `cairn proof`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    node: ClientArgs,
    #[command(subcommand)]
    command: ProofCommand,
}

#[derive(Debug, Subcommand)]
enum ProofCommand {
    /// Ask a node for a transaction's receipt, check it, and write it to a file
    #[command(after_help = "\
Example:
  cairn proof get 5f2b… -o pay.json

The node is not trusted: the receipt is checked before it is written.")]
    Get {
        /// The transaction
        txid: Txid,
        /// The file to write [default: stdout]
        #[arg(short, long, env = "CAIRN_OUTPUT", value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check a receipt offline: only genesis.json is needed, no node and no trust
    #[command(after_help = "\
Example:
  cairn proof verify pay.json --genesis genesis.json

Exit codes: 0 only if the payment is proven; 3 if the receipt does not hold; 1 if it cannot be read.")]
    Verify {
        /// The receipt; - for stdin
        file: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// If a file or a node fails, or the receipt proves nothing.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let params = common.params()?;
    match &args.command {
        ProofCommand::Get { txid, output } => {
            let client = args.node.connect(common, None)?;
            let answer: Value = client::call(&client, "getreceipt", &[json!(txid)])?;
            let receipt = Receipt::from_value(answer)?;
            let proven = receipt.verify(&params)?;
            anyhow::ensure!(
                proven.txid == *txid,
                "the node answered with another transaction's receipt: {}",
                proven.txid
            );
            let text = receipt.to_json();
            match output {
                None => print_line(text.trim_end()),
                Some(path) => {
                    std::fs::write(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
                    let written = || {
                        let name = path.display();
                        format!("{name}: {} confirmations, {} bytes", proven.confirmations, text.len())
                    };
                    common.print(written, || verdict(&receipt, &proven, &params))
                }
            }
        }
        ProofCommand::Verify { file } => {
            let receipt = if file.as_os_str() == "-" {
                Receipt::read(std::io::stdin().lock())?
            } else {
                Receipt::read(File::open(file).with_context(|| format!("cannot open {}", file.display()))?)?
            };
            let proven = receipt.verify(&params)?;
            warn_of_future(&receipt, &params);
            common.print(|| describe(&receipt, &proven, &params), || verdict(&receipt, &proven, &params))
        }
    }
}

/// A node would not accept headers from the future yet. A verifier's own clock may be wrong, so this is no refusal.
fn warn_of_future(receipt: &Receipt, params: &Params) {
    let now = super::unix_now();
    let early = receipt.headers().iter().find_map(|header| check_clock(header, now, params).err());
    if let Some(error) = early {
        eprintln!("warning: a header of this receipt is from the future: {error}");
    }
}

fn describe(receipt: &Receipt, proven: &Proven, params: &Params) -> String {
    let mut lines = vec![
        format!("proven         transaction {} is in block {}", proven.txid, proven.block),
        format!("network        {} (genesis {})", params.network, params.genesis_hash),
        format!("height         {}", proven.height),
        format!("confirmations  {}", proven.confirmations),
        format!("work on top    {:.3e} hashes", proven.work_on_top.as_f64()),
        format!("work in all    {:.3e} hashes, {}", proven.work.as_f64(), proven.work),
        format!("chain's tip    {}", proven.tip),
    ];
    lines.extend(receipt.transaction.outputs.iter().map(|output| match &output.lock {
        Lock::Key(key) => {
            let to = address::encode(&params.address_prefix, key);
            format!("pays           {} coins to {to}", format_coins(output.value))
        }
        Lock::Data(data) => format!("holds          {}", show_data(data)),
    }));
    lines.join("\n")
}

/// Text as text, everything else as hex. Control characters, which could play tricks on a terminal, count as no text.
fn show_data(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        Ok(text) if !text.is_empty() && !text.chars().any(char::is_control) => format!("{text:?}"),
        _ => format!("data {}", hex::encode(data)),
    }
}

fn verdict(receipt: &Receipt, proven: &Proven, params: &Params) -> Value {
    json!({
        "proven": true,
        "network": params.network,
        "genesis_hash": params.genesis_hash,
        "txid": proven.txid,
        "blockhash": proven.block,
        "height": proven.height,
        "time": proven.time,
        "confirmations": proven.confirmations,
        "tip": proven.tip,
        "tip_time": proven.tip_time,
        "chainwork": proven.work.to_string(),
        "work_on_top": proven.work_on_top.to_string(),
        "outputs": receipt.transaction.outputs.iter().map(|output| output_json(output, params)).collect::<Vec<_>>(),
    })
}

fn output_json(output: &Output, params: &Params) -> Value {
    match &output.lock {
        Lock::Key(key) => json!({ "value": output.value, "address": address::encode(&params.address_prefix, key) }),
        Lock::Data(data) => json!({ "value": output.value, "data": hex::encode(data) }),
    }
}
