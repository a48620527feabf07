//! `cairn wallet`: keys in a file, and payments through a node.
//!
//! No option of a single payment or address is an environment variable, which would apply to all later ones.

pub(super) mod send;

mod scan;

use std::io::{BufRead, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Subcommand, ValueEnum};
use serde_json::json;
use zeroize::Zeroizing;

use self::scan::ScanArgs;
use self::send::SendArgs;
use super::account::{self, Balance, HistoryEntry};
use super::client::ClientArgs;
use super::console::note;
use super::{Common, prompt};
use crate::consensus::params::Params;
use crate::primitives::address;
use crate::primitives::amount::{Amount, counted};
use crate::wallet::keyfile::KeyFileError;
use crate::wallet::mnemonic::Mnemonic;
use crate::wallet::{Secret, Wallet};

/// Longest wait for a node's answer.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Most bytes of words that are read.
const MAX_WORDS_BYTES: usize = 4096;

/// Options of `cairn wallet`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The wallet's file [default: wallet.json in the data directory]
    #[arg(long = "wallet", global = true, env = "CAIRN_WALLET", value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(subcommand)]
    command: WalletCommand,
}

#[derive(Debug, Subcommand)]
enum WalletCommand {
    /// Create a wallet, or restore one from its words
    #[command(after_help = "\
Examples:
  cairn wallet new                       # 12 words, file not encrypted
  cairn wallet new --words 24 --passphrase
  cairn wallet new --restore             # asks for the words
  cairn wallet new --restore --gap-limit 100 < words.txt

An existing file is never overwritten. The command prompts for the passphrase, or takes it from CAIRN_PASSPHRASE.")]
    New(NewArgs),
    /// Print an address for receiving payments
    #[command(after_help = "\
Examples:
  cairn wallet address
  cairn wallet address --new             # one that was never handed out before")]
    Address {
        /// Hand out a new address
        #[arg(long)]
        new: bool,
        /// Print all addresses that were handed out, oldest first
        #[arg(long, conflicts_with = "new")]
        all: bool,
    },
    /// Search for used addresses that are not in the file, and add them
    #[command(after_help = "\
Example:
  cairn wallet scan                      # after `new --restore` without a node")]
    Scan {
        #[command(flatten)]
        node: ClientArgs,
        #[command(flatten)]
        options: ScanArgs,
    },
    /// Print the words that restore the wallet
    #[command(after_help = "\
Example:
  cairn wallet words

Anyone who sees the words can take the coins.")]
    Words,
    /// Print the balance
    #[command(after_help = "\
Example:
  cairn wallet balance")]
    Balance(ClientArgs),
    /// Pay an address
    #[command(after_help = "\
Examples:
  cairn wallet send cairn1… 2.5
  cairn wallet send cairn1… 2.5 --data 'for the tea'
  cairn wallet send cairn1… 2.5 --wait 1   # returns when it is in a block

Prints the transaction's id. The amount is in coins; the fee is added to it. A payment never replaces another one of this wallet.")]
    Send {
        #[command(flatten)]
        node: ClientArgs,
        #[command(flatten)]
        options: SendArgs,
    },
    /// Print received and sent payments
    #[command(after_help = "\
Example:
  cairn wallet history --limit 5")]
    History {
        #[command(flatten)]
        node: ClientArgs,
        /// Maximum number of entries to print, the newest ones
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
}

#[derive(Debug, clap::Args)]
struct NewArgs {
    /// Number of words
    #[arg(long, default_value = "12")]
    words: WordCount,
    /// Restore from words read from stdin, and ask a node which addresses were used
    #[arg(long)]
    restore: bool,
    /// Encrypt the file with a passphrase
    #[arg(long)]
    passphrase: bool,
    /// Minimum number of addresses to hand out at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    addresses: u32,
    #[command(flatten)]
    scan: ScanArgs,
    #[command(flatten)]
    node: ClientArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum WordCount {
    #[value(name = "12")]
    Twelve,
    #[value(name = "24")]
    TwentyFour,
}

/// Runs the command.
///
/// # Errors
/// If the wallet's file, the passphrase, the payment or the node fails.
pub fn run(args: &Args, common: &Common) -> anyhow::Result<()> {
    let path = match &args.file {
        Some(file) => file.clone(),
        None => common.data_dir()?.join("wallet.json"),
    };
    let params = common.params()?;
    match &args.command {
        WalletCommand::New(new) => make(new, &path, &params, common),
        WalletCommand::Scan { node, options } => scan_existing(options, node, &path, &params, common),
        WalletCommand::Address { new, all } => print_addresses(&path, *new, *all, &params, common),
        WalletCommand::Words => {
            let words = unlock(&Wallet::open(&path)?)?.words();
            common.print(|| words.to_string(), || json!({ "words": *words }))
        }
        WalletCommand::Balance(node) => {
            let wallet = Wallet::open(&path)?;
            let node = node.connect(common, Some(TIMEOUT))?;
            print_balance(&account::balance(&node, &addresses(&wallet, &params))?, common)
        }
        WalletCommand::Send { node, options } => send::run(options, node, &path, &params, common),
        WalletCommand::History { node, limit } => {
            let wallet = Wallet::open(&path)?;
            let node = node.connect(common, Some(TIMEOUT))?;
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
    Ok(wallet.unlock(passphrase.as_ref().map(|text| text.as_str()))?)
}

fn make(new: &NewArgs, path: &Path, params: &Params, common: &Common) -> anyhow::Result<()> {
    // Checked before any prompt. Creation does not overwrite a file that appears meanwhile.
    ensure!(!path.exists(), KeyFileError::Exists { path: path.to_owned() });
    let mnemonic = if new.restore {
        Mnemonic::parse(&read_words()?)?
    } else {
        Mnemonic::generate(matches!(new.words, WordCount::TwentyFour), &mut rand::rng())
    };
    let passphrase = if new.passphrase { Some(prompt::new_passphrase()?) } else { None };
    let scan = new.restore.then(|| scan::scan(&new.scan, &new.node, &mnemonic.account(), params, common));
    let used = scan.as_ref().and_then(|scan| scan.as_ref().ok()).map_or(0, |scan| scan.used);
    let passphrase = passphrase.as_ref().map(|text| text.as_str());
    let wallet = Wallet::create(path, &mnemonic, passphrase, new.addresses.max(used), &mut rand::rng())?;
    let shown = address::encode(&params.address_prefix, &wallet.newest_key());
    let done = format!(
        "the wallet {} is made (`cairn wallet words` prints its words, `cairn wallet address` its address)",
        path.display()
    );
    common.print_done(
        done,
        || {
            let mut lines = vec![format!("wallet   {}", path.display()), format!("address  {shown}")];
            match &scan {
                None => {
                    lines.push(format!("words    {}", *mnemonic.words()));
                    lines.push("\nWrite the words down: they restore the wallet, and are enough to spend its coins.".into());
                }
                Some(Ok(scan)) => lines.push(format!("scanned  {scan}")),
                Some(Err(error)) => lines.push(format!(
                    "scanned  nothing: {error:#}\n\nThe wallet has {} of its addresses. Others that were used are found by \
                     `cairn wallet scan`, once a node answers.",
                    wallet.keys().len()
                )),
            }
            if passphrase.is_none() {
                lines.push("The file is not encrypted (--passphrase would): keep it to yourself.".into());
            }
            lines.join("\n")
        },
        || {
            let (scanned, error) = match &scan {
                Some(Ok(scan)) => (Some(scan), None),
                Some(Err(error)) => (None, Some(format!("{error:#}"))),
                None => (None, None),
            };
            let words = (!new.restore).then(|| mnemonic.words().to_string());
            json!({ "wallet": path, "address": shown, "words": words, "scanned": scanned, "scan_error": error })
        },
    )
}

fn scan_existing(
    options: &ScanArgs,
    node: &ClientArgs,
    path: &Path,
    params: &Params,
    common: &Common,
) -> anyhow::Result<()> {
    let secret = unlock(&Wallet::open(path)?)?;
    let scan = scan::scan(options, node, secret.account(), params, common)?;
    let mut wallet = Wallet::lock(path, &secret)?;
    let before = wallet.keys().len();
    wallet.hand_out(&secret, scan.used)?;
    let added = wallet.keys().len() - before;
    common.print_done(
        format_args!("{} added to the wallet (`cairn wallet address --all` prints all)", counted(added, "address")),
        || format!("scanned  {scan}\nadded    {}", counted(added, "address")),
        || json!({ "scanned": scan, "added": added }),
    )
}

fn read_words() -> anyhow::Result<Zeroizing<String>> {
    let stdin = std::io::stdin();
    // Allocated at full size, many times 24 words: a growing buffer would leave copies in freed memory.
    let mut text = Zeroizing::new(String::with_capacity(MAX_WORDS_BYTES));
    if stdin.is_terminal() {
        note("The 12 or 24 words, in one line:");
        stdin.lock().take(MAX_WORDS_BYTES as u64).read_line(&mut text).context("cannot read the words")?;
    } else {
        let read = stdin.lock().take(MAX_WORDS_BYTES as u64).read_to_string(&mut text);
        read.context("cannot read the words from stdin")?;
    }
    Ok(text)
}

fn print_addresses(path: &Path, new: bool, all: bool, params: &Params, common: &Common) -> anyhow::Result<()> {
    let wallet = Wallet::open(path)?;
    let known = if new {
        let secret = unlock(&wallet)?;
        let mut locked = Wallet::lock(path, &secret)?;
        locked.add_key(&secret)?;
        addresses(&locked, params)
    } else {
        addresses(&wallet, params)
    };
    let shown = if all { &known[..] } else { &known[known.len() - 1..] };
    let text = || shown.join("\n");
    let json = || if all { json!({ "addresses": shown }) } else { json!({ "address": shown.last() }) };
    match new {
        true => common.print_done(format_args!("{} is handed out", text()), text, json),
        false => common.print(text, json),
    }
}

fn print_balance(balance: &Balance, common: &Common) -> anyhow::Result<()> {
    let text = || {
        let mut lines = vec![format!("spendable  {}", balance.spendable.in_coins())];
        if balance.immature > Amount::ZERO {
            lines.push(format!("immature   {}, mined lately", balance.immature.in_coins()));
        }
        if balance.pending != 0 {
            let sign = if balance.pending < 0 { '-' } else { '+' };
            let moved = Amount::from_grains(balance.pending.unsigned_abs());
            lines.push(format!("pending    {sign}{}, not in a block yet", moved.in_coins()));
        }
        lines.join("\n")
    };
    common.print(text, || json!(balance))
}

/// What came less what went, in coins with a sign.
fn gain(HistoryEntry { received, spent, .. }: &HistoryEntry) -> String {
    match received.checked_sub(*spent) {
        Some(gain) => format!("+{gain}"),
        None => format!("-{}", spent.saturating_sub(*received)),
    }
}

fn print_history(entries: &[HistoryEntry], common: &Common) -> anyhow::Result<()> {
    let text = || {
        if entries.is_empty() {
            return "nothing yet".to_owned();
        }
        let mut lines = vec![format!("{:>8}  {:>13}  {:>20}  transaction", "height", "confirmations", "coins")];
        lines.extend(entries.iter().map(|entry| {
            let height = entry.height.map_or("-".to_owned(), |height| height.to_string());
            let coins = gain(entry);
            format!("{height:>8}  {:>13}  {coins:>20}  {}", entry.confirmations, entry.txid)
        }));
        lines.join("\n")
    };
    common.print(text, || json!(entries))
}
