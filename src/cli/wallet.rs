//! `cairn wallet`: keys in a file, and payments through a node.

use std::io::{BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use super::account::{self, Balance, HistoryEntry};
use super::client::{self, ClientArgs};
use super::console::note;
use super::{Common, prompt};
use crate::consensus::params::Params;
use crate::primitives::address;
use crate::primitives::amount::{format_coins, parse_coins};
use crate::primitives::codec;
use crate::primitives::hash::Txid;
use crate::primitives::tx::Output;
use crate::rpc::client::Client;
use crate::wallet::coins::SelectionError;
use crate::wallet::keyfile::KeyFileError;
use crate::wallet::mnemonic::Mnemonic;
use crate::wallet::payment::{self, Payment, PaymentError};
use crate::wallet::{Secret, Wallet};

/// Longest wait for a node's answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Options of `cairn wallet`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The wallet's file [default: wallet.json in the data directory]
    #[arg(long = "wallet", global = true, env = "CAIRN_WALLET", value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    node: ClientArgs,
    #[command(subcommand)]
    command: WalletCommand,
}

#[derive(Debug, Subcommand)]
enum WalletCommand {
    /// Make a wallet, or restore one from its words
    #[command(after_help = "\
Examples:
  cairn wallet new                       # 12 words, the file not encrypted
  cairn wallet new --words 24 --passphrase
  cairn wallet new --restore             # asks for the words
  cairn wallet new --restore --addresses 5 < words.txt

An existing file is never overwritten. The passphrase is asked for, or taken from CAIRN_PASSPHRASE.")]
    New(NewArgs),
    /// Print an address to be paid at
    #[command(after_help = "\
Examples:
  cairn wallet address
  cairn wallet address --new             # one that nobody has seen yet")]
    Address {
        /// Hand out a new one
        #[arg(long, env = "CAIRN_NEW", value_parser = clap::builder::FalseyValueParser::new())]
        new: bool,
        /// Print all that were handed out, oldest first
        #[arg(long, env = "CAIRN_ALL", value_parser = clap::builder::FalseyValueParser::new(), conflicts_with = "new")]
        all: bool,
    },
    /// Print the words that restore the wallet
    #[command(after_help = "\
Example:
  cairn wallet words

Whoever sees the words can take the coins.")]
    Words,
    /// Print how many coins there are
    #[command(after_help = "\
Example:
  cairn wallet balance")]
    Balance,
    /// Pay
    #[command(after_help = "\
Examples:
  cairn wallet send cairn1… 2.5
  cairn wallet send cairn1… 2.5 --data 'for the tea'

Prints the transaction's id. The amount is in coins; the fee comes on top.")]
    Send(SendArgs),
    /// Print what came and went
    #[command(after_help = "\
Example:
  cairn wallet history --limit 5")]
    History {
        /// Most entries to print, the newest ones
        #[arg(long, env = "CAIRN_LIMIT", value_name = "N", default_value_t = 50)]
        limit: usize,
    },
}

#[derive(Debug, clap::Args)]
struct NewArgs {
    /// Words of the backup
    #[arg(long, env = "CAIRN_WORDS", default_value = "12")]
    words: WordCount,
    /// Restore from words, which are read from stdin
    #[arg(long, env = "CAIRN_RESTORE", value_parser = clap::builder::FalseyValueParser::new())]
    restore: bool,
    /// Encrypt the file under a passphrase
    #[arg(long, value_parser = clap::builder::FalseyValueParser::new(), env = "CAIRN_ENCRYPT")]
    passphrase: bool,
    /// Addresses to hand out at once: when restoring, as many as were handed out before
    #[arg(long, env = "CAIRN_ADDRESSES", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1_000))]
    addresses: u32,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum WordCount {
    #[value(name = "12")]
    Twelve,
    #[value(name = "24")]
    TwentyFour,
}

#[derive(Debug, clap::Args)]
struct SendArgs {
    /// Who is paid
    address: String,
    /// Coins, such as 2.5
    #[arg(value_parser = parse_coins)]
    amount: u64,
    /// Fee in grains a byte [default: what the node asks for at least, and 1 at least]
    #[arg(long, env = "CAIRN_FEE_RATE", value_name = "GRAINS")]
    fee_rate: Option<u64>,
    /// Text to keep in the chain along with the payment, at most 256 bytes
    #[arg(long, env = "CAIRN_DATA", value_name = "TEXT", conflicts_with = "data_hex")]
    data: Option<String>,
    /// The same as bytes, in hex
    #[arg(long, env = "CAIRN_DATA_HEX", value_name = "HEX")]
    data_hex: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// If the wallet's file, the passphrase, the payment or the node will not do.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let path = match &args.file {
        Some(file) => file.clone(),
        None => common.data_dir()?.join("wallet.json"),
    };
    let params = common.params()?;
    match &args.command {
        WalletCommand::New(new) => make(new, &path, &params, common),
        WalletCommand::Address { new, all } => print_addresses(&path, *new, *all, &params, common),
        WalletCommand::Words => {
            let words = unlock(&Wallet::open(&path)?)?.words();
            common.print(|| words.clone(), || json!({ "words": words }))
        }
        WalletCommand::Balance => {
            let wallet = Wallet::open(&path)?;
            let node = args.node.connect(common, Some(PATIENCE))?;
            print_balance(&account::balance(&node, &addresses(&wallet, &params))?, common)
        }
        WalletCommand::Send(send) => pay(send, &args.node, &Wallet::open(&path)?, &params, common),
        WalletCommand::History { limit } => {
            let wallet = Wallet::open(&path)?;
            let node = args.node.connect(common, Some(PATIENCE))?;
            print_history(&account::history(&node, &addresses(&wallet, &params), *limit)?, common)
        }
    }
}

fn addresses(wallet: &Wallet, params: &Params) -> Vec<String> {
    wallet.keys().iter().map(|key| address::encode(&params.address_prefix, key)).collect()
}

/// The wallet's secret; asks for the passphrase only if there is one.
fn unlock(wallet: &Wallet) -> anyhow::Result<Secret> {
    let passphrase = if wallet.is_encrypted() { Some(prompt::passphrase()?) } else { None };
    Ok(wallet.unlock(passphrase.as_deref())?)
}

fn make(new: &NewArgs, path: &Path, params: &Params, common: &Common) -> anyhow::Result<()> {
    // Before anything is typed in vain. The file is created without overwriting whatever appears meanwhile.
    ensure!(!path.exists(), KeyFileError::Exists { path: path.to_owned() });
    let mnemonic = if new.restore {
        Mnemonic::parse(&read_words()?)?
    } else {
        Mnemonic::generate(matches!(new.words, WordCount::TwentyFour), &mut rand::rng())
    };
    let passphrase = if new.passphrase { Some(prompt::new_passphrase()?) } else { None };
    let mut wallet = Wallet::create(path, &mnemonic, passphrase.as_deref(), &mut rand::rng())?;
    if new.addresses > 1 {
        let secret = wallet.unlock(passphrase.as_deref())?;
        for _ in 1..new.addresses {
            wallet.add_key(&secret)?;
        }
    }
    let shown = address::encode(&params.address_prefix, &wallet.newest_key());
    common.print(
        || {
            let mut lines = vec![format!("wallet   {}", path.display()), format!("address  {shown}")];
            if !new.restore {
                lines.push(format!("words    {}", mnemonic.words()));
                lines.push(
                    "\nWrite the words down: they restore the wallet, and whoever has them has the coins.".into(),
                );
            }
            if passphrase.is_none() {
                lines.push("The file is not encrypted (--passphrase would): keep it to yourself.".into());
            }
            lines.join("\n")
        },
        || json!({ "wallet": path, "address": shown, "words": (!new.restore).then(|| mnemonic.words()) }),
    )
}

fn read_words() -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    if stdin.is_terminal() {
        note("The 12 or 24 words, in one line:");
        let mut line = String::new();
        stdin.lock().read_line(&mut line).context("cannot read the words")?;
        return Ok(line);
    }
    let mut text = String::new();
    // Many times what 24 words take.
    stdin.lock().take(4096).read_to_string(&mut text).context("cannot read the words from stdin")?;
    Ok(text)
}

fn print_addresses(path: &Path, new: bool, all: bool, params: &Params, common: &Common) -> anyhow::Result<()> {
    let mut wallet = Wallet::open(path)?;
    if new {
        let secret = unlock(&wallet)?;
        wallet.add_key(&secret)?;
    }
    let known = addresses(&wallet, params);
    let shown = if all { &known[..] } else { &known[known.len() - 1..] };
    common.print(
        || shown.join("\n"),
        || if all { json!({ "addresses": shown }) } else { json!({ "address": shown.last() }) },
    )
}

fn print_balance(balance: &Balance, common: &Common) -> anyhow::Result<()> {
    let text = || {
        let mut lines = vec![format!("spendable  {} coins", format_coins(balance.spendable))];
        if balance.immature > 0 {
            lines.push(format!("immature   {} coins, mined lately", format_coins(balance.immature)));
        }
        if balance.pending != 0 {
            lines.push(format!("pending    {} coins, not in a block yet", signed_coins(balance.pending)));
        }
        lines.join("\n")
    };
    common.print(text, || json!(balance))
}

fn signed_coins(grains: i64) -> String {
    let sign = if grains < 0 { '-' } else { '+' };
    format!("{sign}{}", format_coins(grains.unsigned_abs()))
}

fn pay(send: &SendArgs, node: &ClientArgs, wallet: &Wallet, params: &Params, common: &Common) -> anyhow::Result<()> {
    ensure!(send.amount > 0, "the amount is 0");
    let mut outputs = vec![Output::pay(address::decode(&params.address_prefix, &send.address)?, send.amount)];
    match (&send.data, &send.data_hex) {
        (Some(text), _) => outputs.push(Output::data(text.as_bytes().to_vec())),
        (None, Some(hex)) => outputs.push(Output::data(hex::decode(hex).context("--data-hex is not hex")?)),
        (None, None) => {}
    }
    let node = node.connect(common, Some(PATIENCE))?;
    let fee_rate = match send.fee_rate {
        Some(rate) => rate,
        None => account::least_fee_rate(&node)?,
    };
    let payment = pay_outputs(&outputs, fee_rate, &node, wallet, params)?;
    let (amount, fee) = (format_coins(send.amount), format_coins(payment.fee));
    note(format_args!("{amount} coins to {}, fee {fee} ({fee_rate} grains a byte)", send.address));
    common.print_payment(&payment.txid, || {
        json!({
            "txid": payment.txid,
            "amount": send.amount,
            "fee": payment.fee,
            "change": payment.change,
            "size": payment.transaction.size(),
        })
    })
}

/// Signs a payment of these outputs and hands it to a node.
pub(super) fn pay_outputs(
    outputs: &[Output],
    fee_rate: u64,
    node: &Client,
    wallet: &Wallet,
    params: &Params,
) -> anyhow::Result<Payment> {
    let coins = account::coins(node, wallet.keys(), &addresses(wallet, params))?;
    // Change goes back to the newest address: a new one would need the words to be restored with their number.
    let change_to = wallet.newest_key();
    let secret = unlock(wallet)?;
    let key_of = |key: &_| wallet.secret_key(&secret, key);
    let pay = |coins: &[_]| payment::pay(coins, outputs.to_vec(), fee_rate, change_to, &params.genesis_hash, key_of);
    // Payments that are not in a block yet may never be: they are spent only if nothing else suffices.
    let payment = match pay(&coins.confirmed) {
        Err(PaymentError::Selection(SelectionError::NotEnough { .. })) => pay(&coins.all()),
        other => other,
    }?;
    let sent =
        client::call::<Txid>(node, "sendrawtransaction", &[json!(hex::encode(codec::encode(&payment.transaction)))])?;
    ensure!(sent == payment.txid, "the node calls the transaction {sent}, not {}", payment.txid);
    Ok(payment)
}

fn print_history(entries: &[HistoryEntry], common: &Common) -> anyhow::Result<()> {
    let text = || {
        if entries.is_empty() {
            return "nothing yet".to_owned();
        }
        let mut lines = vec![format!("{:>8}  {:>13}  {:>20}  transaction", "height", "confirmations", "coins")];
        lines.extend(entries.iter().map(|entry| {
            let height = entry.height.map_or("-".to_owned(), |height| height.to_string());
            let coins = signed_coins(entry.received as i64 - entry.spent as i64);
            format!("{height:>8}  {:>13}  {coins:>20}  {}", entry.confirmations, entry.txid)
        }));
        lines.join("\n")
    };
    common.print(text, || json!(entries))
}
