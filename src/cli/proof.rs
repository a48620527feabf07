//! `cairn proof`: receipts, fetched from a node and checked without one.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use clap::Subcommand;
use serde_json::{Value, json};

use super::client::{self, ClientArgs};
use super::console::warn;
use super::{Common, SlowChain, holding, print_line, write_file};
use crate::consensus::headers::Checkpoint;
use crate::consensus::params::Params;
use crate::primitives::address;
use crate::primitives::amount::counted;
use crate::primitives::hash::Txid;
use crate::primitives::tx::{Lock, OutPoint, Output};
use crate::receipt::weight::BURIED;
use crate::receipt::{
    self, Evidence, HoldingReceipt, MAX_FILE_BYTES, Proven, Receipt, ReceiptError, checkpoint_from_json,
    checkpoint_to_json,
};
use crate::runtime::unix_now;

/// Options of `cairn proof`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: ProofCommand,
}

#[derive(Debug, Subcommand)]
enum ProofCommand {
    /// Request a transaction's receipt from a node, check it, and write it to a file
    #[command(after_help = "\
Examples:
  # with every header since genesis
  cairn proof get 5f2b… -o pay.json
  # with a sample of them
  cairn proof get 5f2b… --succinct -o pay.json
  # with the headers after a checkpoint that `cairn proof verify` saved
  cairn proof get 5f2b… --since seen.json -o pay.json

The node is not trusted: the receipt is checked before it is written.")]
    Get {
        #[command(flatten)]
        node: ClientArgs,
        /// The transaction
        txid: Txid,
        /// The file to write [default: stdout]
        #[arg(short, long, env = "CAIRN_OUTPUT", value_name = "FILE")]
        output: Option<PathBuf>,
        /// Include only a sample of the headers: a few hundred kilobytes, however long the chain
        #[arg(long, env = "CAIRN_SUCCINCT", conflicts_with = "since", value_parser = clap::builder::BoolishValueParser::new())]
        succinct: bool,
        /// Include only the headers after this checkpoint
        #[arg(long, env = "CAIRN_SINCE", value_name = "CHECKPOINT")]
        since: Option<PathBuf>,
        /// Write the compact form instead of JSON
        #[arg(long, env = "CAIRN_BINARY", requires = "output", value_parser = clap::builder::BoolishValueParser::new())]
        binary: bool,
    },
    /// Request a proof of all coins of an address, as of an edge of the chain, and check it
    #[command(after_help = "\
Examples:
  # value and number of all coins
  cairn proof balance cairn1… -o balance.json
  # each of them
  cairn proof balance cairn1… --coins -o coins.json
  cairn proof verify balance.json

The coins are those after the first block of an epoch that work vouches for. What became of them since is not in the \
proof. The node is not trusted, neither for the value nor for leaving no coin out.")]
    Balance {
        #[command(flatten)]
        node: ClientArgs,
        /// Whose coins
        address: String,
        /// Show each coin: about 50 bytes more for one
        #[arg(long, env = "CAIRN_COINS", value_parser = clap::builder::BoolishValueParser::new())]
        coins: bool,
        #[command(flatten)]
        shape: holding::Shape,
    },
    /// Request a proof that a coin was unspent as of an edge of the chain, or was not, and check it
    #[command(after_help = "\
Example:
  cairn proof coin 5f2b…:0 -o coin.json")]
    Coin {
        #[command(flatten)]
        node: ClientArgs,
        /// The coin
        #[arg(value_name = "TXID:N")]
        coin: OutPoint,
        #[command(flatten)]
        shape: holding::Shape,
    },
    /// Export a receipt as a CAR for IPLD tools: header, Merkle nodes, transaction
    Car {
        /// The receipt, in either form
        file: PathBuf,
        /// The file to write
        #[arg(short, long, env = "CAIRN_OUTPUT", value_name = "FILE")]
        output: PathBuf,
        /// The checkpoint that the receipt continues from
        #[arg(long, env = "CAIRN_CHECKPOINT", value_name = "FILE")]
        checkpoint: Option<PathBuf>,
    },
    /// Export the branch of a receipt as a BUMP (BRC-74), for wallets that have the headers
    Bump {
        /// The receipt, in either form
        file: PathBuf,
        /// The file to write
        #[arg(short, long, env = "CAIRN_OUTPUT", value_name = "FILE")]
        output: PathBuf,
        /// The checkpoint that the receipt continues from
        #[arg(long, env = "CAIRN_CHECKPOINT", value_name = "FILE")]
        checkpoint: Option<PathBuf>,
    },
    /// Check a receipt offline, for a payment or for coins, with genesis.json alone
    #[command(after_help = "\
Examples:
  cairn proof verify pay.json --genesis genesis.json
  # save the end of its chain, and check a later receipt from there
  cairn proof verify first.json --save-checkpoint seen.json
  cairn proof get 5f2b… --since seen.json -o later.json
  cairn proof verify later.json --checkpoint seen.json
  # accept the work of one block
  cairn proof verify pay.json --min-work 1

Confirmations are counted in work, not in headers. The unit is the block with the most work among those shown shortly \
before the payment.

Exit codes: 0 only if the payment is proven, with enough work on top; 3 if the receipt does not hold, is from the future, \
or shows too little work on top; 5 if its chain shows less than half of the work that its miners did before; 1 if it \
cannot be read.")]
    Verify {
        /// The receipt, in either form; - for stdin
        file: PathBuf,
        /// The checkpoint that the receipt continues from
        #[arg(long, env = "CAIRN_CHECKPOINT", value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// Store the tip of the receipt's chain, so that later receipts need only the headers after it
        #[arg(long, env = "CAIRN_SAVE_CHECKPOINT", value_name = "FILE")]
        save_checkpoint: Option<PathBuf>,
        /// Confirmations to demand, measured in work on top of the payment, its own block included: one is the work of a
        /// block shortly before it [default: 6; 256 for coins]
        #[arg(long, env = "CAIRN_MIN_WORK", value_name = "BLOCKS")]
        min_work: Option<u32>,
        /// Accept a chain that shows less than half of the work that its miners did before, with a warning
        #[arg(long, env = "CAIRN_ACCEPT_SLOW_CHAIN", value_parser = clap::builder::BoolishValueParser::new())]
        accept_slow_chain: bool,
    },
}

/// Blocks' worth of work that is taken for enough, unless told otherwise: Bitcoin's usual six.
pub(super) const MIN_WORK: u32 = 6;

/// Runs the command.
///
/// # Errors
/// If a file or a node fails, or the receipt is not valid.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let params = common.params()?;
    match &args.command {
        ProofCommand::Get { node, txid, output, succinct, since, binary } => {
            let held = since.as_deref().map(|path| read_checkpoint(path, &params)).transpose()?;
            let client = node.connect(common, None)?;
            let evidence = if *succinct { "succinct" } else { "headers" };
            let from = held.as_ref().map(|checkpoint| checkpoint.height);
            let answer: Value = client::call(&client, "getreceipt", &[json!(txid), json!(evidence), json!(from)])?;
            let receipt = Receipt::from_value(answer)?;
            let proven = receipt.verify(&params, held.as_ref(), unix_now())?;
            ensure!(proven.txid == *txid, "the node answered with another transaction's receipt: {}", proven.txid);
            let Some(path) = output else { return print_line(receipt.to_json().trim_end()) };
            let bytes = if *binary { receipt.to_bytes() } else { receipt.to_json().into_bytes() };
            write_file(path, &bytes)?;
            warn(&proven.warnings());
            let size = counted(bytes.len(), "byte");
            let written = format!("{}: {}, {size}", path.display(), confirmations(&proven));
            common.print_outcome(&written, || verdict(&receipt, &proven, &params))
        }
        ProofCommand::Car { file, output, checkpoint } => {
            let receipt = read_receipt(file)?;
            let held = checkpoint.as_deref().map(|path| read_checkpoint(path, &params)).transpose()?;
            let proven = receipt.verify(&params, held.as_ref(), unix_now())?;
            let car = receipt.to_car(&proven.header).context("the branch does not lead to the header")?;
            write_file(output, &car)?;
            let root = receipt::car::root(&proven.header).context("a header has a CID")?;
            let written = format!("{}: {}, root {root}", output.display(), counted(car.len(), "byte"));
            common.print_outcome(&written, || json!({ "file": output, "bytes": car.len(), "root": root }))
        }
        ProofCommand::Bump { file, output, checkpoint } => {
            let receipt = read_receipt(file)?;
            let held = checkpoint.as_deref().map(|path| read_checkpoint(path, &params)).transpose()?;
            receipt.verify(&params, held.as_ref(), unix_now())?;
            let bump = receipt.to_bump();
            write_file(output, &bump)?;
            let written = format!("{}: {}, height {}", output.display(), counted(bump.len(), "byte"), receipt.height);
            common.print_outcome(
                &written,
                || json!({ "file": output, "bytes": bump.len(), "height": receipt.height, "hex": hex::encode(&bump) }),
            )
        }
        ProofCommand::Balance { node, address, coins, shape } => {
            holding::balance(&node.connect(common, None)?, (address, *coins), shape, common)
        }
        ProofCommand::Coin { node, coin, shape } => holding::coin(&node.connect(common, None)?, coin, shape, common),
        ProofCommand::Verify { file, checkpoint, save_checkpoint, min_work, accept_slow_chain } => {
            let held = checkpoint.as_deref().map(|path| read_checkpoint(path, &params)).transpose()?;
            let accept = |proven: &Proven, least: u32| -> anyhow::Result<()> {
                warn(&proven.warnings());
                proven.demand(min_work.unwrap_or(least))?;
                match proven.weight.slow.filter(|_| !accept_slow_chain) {
                    Some(slow) => Err(SlowChain(slow).into()),
                    None => Ok(()),
                }
            };
            let receipt = match read_file(file)? {
                ProofFile::Payment(receipt) => *receipt,
                ProofFile::Holding(receipt) => {
                    ensure!(save_checkpoint.is_none(), "a checkpoint is saved only from the receipt of a payment");
                    let (proven, shown) = receipt.verify(&params, held.as_ref(), unix_now())?;
                    accept(&proven, BURIED)?;
                    return holding::print(&receipt, (&proven, &shown), common);
                }
            };
            let proven = receipt.verify(&params, held.as_ref(), unix_now())?;
            accept(&proven, MIN_WORK)?;
            if let Some(path) = save_checkpoint {
                let end = proven.checkpoint.as_ref().context("a sample of the headers leaves no checkpoint to save")?;
                write_file(path, checkpoint_to_json(end, &params).as_bytes())?;
            }
            let (text, json) = (|| describe(&receipt, &proven, &params), || verdict(&receipt, &proven, &params));
            match save_checkpoint {
                None => common.print(text, json),
                Some(path) => {
                    let done = format!("proven, and the checkpoint is in {}", path.display());
                    common.print_done(done, text, json)
                }
            }
        }
    }
}

/// What a file proves.
enum ProofFile {
    Payment(Box<Receipt>),
    Holding(Box<HoldingReceipt>),
}

/// What is in a file, or comes from stdin if the file is `-`.
fn read_file(file: &Path) -> anyhow::Result<ProofFile> {
    let bytes = if file.as_os_str() == "-" {
        read_up_to(std::io::stdin().lock())
    } else {
        read_up_to(File::open(file).with_context(|| format!("cannot open {}", file.display()))?)
    }?;
    if HoldingReceipt::is_format_of(&bytes) {
        return Ok(ProofFile::Holding(Box::new(HoldingReceipt::from_json(&bytes)?)));
    }
    Ok(ProofFile::Payment(Box::new(Receipt::read(&bytes[..])?)))
}

/// A byte more than a receipt may have is enough to refuse it.
fn read_up_to(reader: impl Read) -> Result<Vec<u8>, ReceiptError> {
    let mut bytes = Vec::new();
    reader.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The receipt of a payment in a file; that of stdin, if the file is `-`.
fn read_receipt(file: &Path) -> anyhow::Result<Receipt> {
    match read_file(file)? {
        ProofFile::Payment(receipt) => Ok(*receipt),
        ProofFile::Holding(_) => bail!("{} is about coins, not about a payment", file.display()),
    }
}

fn read_checkpoint(path: &Path, params: &Params) -> anyhow::Result<Checkpoint> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    // Not a receipt's error: whether a payment is proven is not the question here.
    checkpoint_from_json(&text, params).map_err(|error| anyhow!("{} is not valid: {error}", path.display()))
}

/// Confirmations in work, and the headers beside them.
fn confirmations(proven: &Proven) -> String {
    format!("{} in {}", counted(proven.weight.confirmations, "confirmation"), counted(proven.headers, "header"))
}

fn describe(receipt: &Receipt, proven: &Proven, params: &Params) -> String {
    let mut lines = vec![
        format!("proven         transaction {} is in block {}", proven.txid, proven.block),
        format!("network        {} (genesis {})", params.network, params.genesis_hash),
        format!("height         {}", proven.height),
        format!("work on top    {:.3e} hashes", proven.weight.on_top.as_f64()),
        format!(
            "confirmations  {}, each the work of a block; in {}",
            proven.weight.confirmations,
            counted(proven.headers, "header")
        ),
        format!("work in all    {:.3e} hashes, {}", proven.work.as_f64(), proven.work),
        format!("chain's tip    {}", proven.tip),
        format!("shown by       {}", evidence(receipt)),
    ];
    lines.extend(receipt.transaction.outputs.iter().map(|output| describe_output(output, params)));
    lines.join("\n")
}

/// An output in one line.
pub(super) fn describe_output(output: &Output, params: &Params) -> String {
    match &output.lock {
        Lock::Key(key) => {
            let to = address::encode(&params.address_prefix, key);
            format!("pays           {} to {to}", output.value.in_coins())
        }
        Lock::Data(data) => format!("holds          {}", show_data(data)),
    }
}

fn evidence(receipt: &Receipt) -> String {
    match &receipt.evidence {
        Evidence::Headers(headers) => format!("all {} since genesis", counted(headers.len(), "header")),
        Evidence::Since { height, headers, .. } => {
            format!("all {} since the checkpoint at height {height}", counted(headers.len(), "header"))
        }
        Evidence::Succinct(proof) => format!("a sample of the headers, {}", counted(proof.len(), "byte")),
    }
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
        "time": proven.header.time,
        "work_on_top": proven.weight.on_top.to_string(),
        "unit": proven.weight.unit.to_string(),
        "confirmations": proven.weight.confirmations,
        "headers": proven.headers,
        "warnings": proven.warnings(),
        "tip": proven.tip,
        "tip_time": proven.tip_time,
        "evidence": match &receipt.evidence {
            Evidence::Headers(_) => "headers",
            Evidence::Since { .. } => "since",
            Evidence::Succinct(_) => "succinct",
        },
        "chainwork": proven.work.to_string(),
        "outputs": receipt.transaction.outputs.iter().map(|output| output_json(output, params)).collect::<Vec<_>>(),
    })
}

pub(super) fn output_json(output: &Output, params: &Params) -> Value {
    match &output.lock {
        Lock::Key(key) => json!({ "value": output.value, "address": address::encode(&params.address_prefix, key) }),
        Lock::Data(data) => json!({ "value": output.value, "data": hex::encode(data) }),
    }
}
